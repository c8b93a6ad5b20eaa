//! Hostile images: good ones, broken by seeded changes, and everything done to them that a program may do.
//!
//! A [`Format`] says where good images come from and where their structures lie ([`Map`]). [`corrupt()`] breaks a copy: fields get
//! interesting values, bytes flip, blocks are zeroed, copied and swapped, the end is cut off; checksums are repaired
//! ([`Seal`]) or not. [`read_only`] and [`read_write`] then mount it in a real kernel and use it. What chooses is a seed, or the
//! bytes of a fuzzer ([`Choose`]). Nothing here knows a format, besides one file (or more) for each.
//!
//! `cargo xtask hostile` runs many cases, `cargo xtask fuzz` looks for new ones, `docs/hostile.md` tells more.

mod case;
mod choose;
mod corrupt;
mod exercise;
mod ext;
mod ext_images;
mod ext_journal;
mod ext_map;
mod fat;
mod fat_map;
mod ffs;
mod ffs_images;
mod ffs_map;
mod iso;
mod iso_map;
mod map;
mod panics;
mod stopwatch;

pub use case::{MEMORY_MAX, Outcome, read_only, read_only_file, read_write, run};
pub use choose::Choose;
pub use corrupt::{Done, corrupt};
pub use map::{Field, Map, Seal, Structure};
pub use panics::watch_panics;
pub use stopwatch::{CLOCK_MAX, Stopwatch, TIME_MAX};

use rumpuser_sim::MemDisk;

/// A file system format whose images are broken.
pub trait Format: Sync {
    /// The type to mount.
    fn fs_type(&self) -> &'static str;

    /// Names of the good images, always in the same order.
    fn images(&self) -> Vec<String>;

    /// Names of the few small ones that a fuzzer begins with. They must be the same bytes in every run.
    fn seeds(&self) -> Vec<String>;

    /// A good image.
    ///
    /// # Panics
    /// When it cannot be made or read.
    fn load(&self, name: &str) -> MemDisk;

    /// Where the structures of a good image lie.
    fn map(&self, image: &MemDisk) -> Map;

    /// Whether it can be mounted for writing at all.
    fn writes(&self) -> bool {
        true
    }

    /// What else is done with a broken image, under the same bounds: a checker.
    ///
    /// # Errors
    /// What must not be.
    fn also(&self, _image: &MemDisk) -> Result<(), String> {
        Ok(())
    }
}

/// The format whose driver has that name.
#[must_use]
pub fn format(fs_type: &str) -> Option<&'static dyn Format> {
    const FORMATS: &[&dyn Format] = &[&ext::Ext, &fat::Fat, &ffs::Ffs, &iso::Iso];
    FORMATS
        .iter()
        .copied()
        .find(|format| format.fs_type() == fs_type)
}
