//! ext2, ext3 and ext4.

use super::{Format, Map, ext_images, ext_map};
use rumpuser_sim::MemDisk;

/// The format of `rumpfs-ext2fs`.
pub(super) struct Ext;

impl Format for Ext {
    fn fs_type(&self) -> &'static str {
        "ext2fs"
    }

    fn images(&self) -> Vec<String> {
        ext_images::names()
    }

    fn seeds(&self) -> Vec<String> {
        ext_images::seeds()
    }

    fn load(&self, name: &str) -> MemDisk {
        ext_images::load(name)
    }

    fn map(&self, image: &MemDisk) -> Map {
        ext_map::map(image)
    }
}
