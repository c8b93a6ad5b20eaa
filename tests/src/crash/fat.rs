//! FAT12, FAT16 and FAT32 volumes.

use super::{Promise, Volume};
use crate::{
    conformance::Cap,
    tools::{TempDir, mkfs_fat, try_run},
};
use std::{fs, path::Path};

struct Fat {
    name: &'static str,
    options: &'static [&'static str],
    size: usize,
}

const ALL: &[Fat] = &[
    Fat {
        name: "fat12",
        options: &["-F", "12", "-s", "4"],
        size: 7 << 20,
    },
    Fat {
        name: "fat16",
        options: &["-F", "16", "-s", "2"],
        size: 7 << 20,
    },
    // The smallest that all call FAT32: 65,525 clusters.
    Fat {
        name: "fat32",
        options: &["-F", "32", "-s", "1"],
        size: 34 << 20,
    },
];

pub(super) fn volumes() -> Vec<&'static dyn Volume> {
    ALL.iter().map(|volume| volume as &dyn Volume).collect()
}

impl Volume for Fat {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fs_type(&self) -> &'static str {
        "msdosfs"
    }

    fn caps(&self) -> Cap {
        Cap::PERSISTENT
    }

    fn make(&self) -> Vec<u8> {
        let dir = TempDir::new();
        let image = dir.file("volume.img");
        mkfs_fat(&image, self.options, self.size);
        fs::read(&image).expect("mkfs.fat made it")
    }

    fn promise(&self) -> Promise {
        Promise::Named
    }

    fn check(&self, image: &Path) -> Result<(), String> {
        fsck("-n", image, &[0])
    }

    fn repair(&self, image: &Path) -> Result<(), String> {
        // 1: errors corrected. What remains of a directory that has lost its clusters is only seen the second time.
        fsck("-a", image, &[0, 1])?;
        fsck("-a", image, &[0, 1])
    }
}

fn fsck(how: &str, image: &Path, fine: &[i32]) -> Result<(), String> {
    let image = image.to_str().expect("a UTF-8 path");
    let (status, output) = try_run("fsck.fat", &[how, image]);
    if fine.contains(&status) {
        Ok(())
    } else {
        Err(format!("fsck.fat {how} ended with {status}:\n{output}"))
    }
}
