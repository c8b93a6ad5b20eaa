//! UFS1 and UFS2.

use super::{Format, Map, ffs_images, ffs_map};
use crate::fixtures;
use rumpfs_ffs::check::{Check, Error, Finding, Options, Phase, Watch};
use rumpuser_sim::{Loss, MemDisk};
use std::{fs, sync::Arc};

/// The format of `rumpfs-ffs`.
pub(super) struct Ffs;

/// What a check of a small image may remember.
const CHECK_MEMORY: u64 = 16 << 20;

impl Format for Ffs {
    fn fs_type(&self) -> &'static str {
        "ffs"
    }

    fn images(&self) -> Vec<String> {
        [fixtures::images("ffs"), self.seeds()].concat()
    }

    fn seeds(&self) -> Vec<String> {
        ffs_images::NAMES.iter().map(ToString::to_string).collect()
    }

    fn load(&self, name: &str) -> MemDisk {
        if ffs_images::NAMES.contains(&name) {
            return MemDisk::from_bytes(&ffs_images::make(name));
        }
        let path = fixtures::image(name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        MemDisk::from_bytes(&bytes)
    }

    fn map(&self, image: &MemDisk) -> Map {
        ffs_map::map(image)
    }

    /// The checker has to get through it as well.
    fn also(&self, image: &MemDisk) -> Result<(), String> {
        for noreplay in [false, true] {
            let device = Arc::new(image.crash_image(Loss::None, 0));
            device.set_read_only(true);
            let options = Options {
                noreplay,
                memory: CHECK_MEMORY,
                ..Options::default()
            };
            let Ok(check) = Check::open(device.clone(), options) else {
                continue;
            };
            let mut count = Count::default();
            match check.run(&mut count) {
                Ok(summary) if summary.findings == count.findings => {}
                Err(Error::TooLarge) => {}
                other => return Err(format!("check: {other:?}, {} findings", count.findings)),
            }
            if device.counters().writes > 0 {
                return Err("check: writes were tried".into());
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Count {
    findings: u64,
    text: usize,
}

impl Watch for Count {
    fn phase(&mut self, _phase: Phase) {}

    fn finding(&mut self, finding: &Finding) {
        self.findings += 1;
        self.text += finding.to_string().len();
    }

    fn progress(&mut self, _done: u64, _total: u64) -> bool {
        true
    }
}
