//! ext2, ext3 and ext4 volumes.

use super::Volume;
use crate::tools::{TempDir, mke2fs, try_run};
use std::{fs, path::Path};

struct Ext {
    family: &'static str,
    block: u32,
}

/// Small, so that e2fsck is quick; with 4 KiB blocks the smallest journal takes 4 MiB.
pub(super) fn volumes() -> Vec<Box<dyn Volume>> {
    let mut all: Vec<Box<dyn Volume>> = vec![];
    for family in ["ext2", "ext3", "ext4"] {
        for block in [1024, 4096] {
            all.push(Box::new(Ext { family, block }));
        }
    }
    all
}

impl Volume for Ext {
    fn name(&self) -> String {
        format!("{}-{}k", self.family, self.block / 1024)
    }

    fn fs_type(&self) -> &'static str {
        "ext2fs"
    }

    fn make(&self) -> Vec<u8> {
        let dir = TempDir::new();
        let image = dir.file("volume.img");
        let block = self.block.to_string();
        // A fixed identity: directory hashes depend on it.
        let mut options = vec!["-t", self.family, "-b", &block, "-N", "512", "-U"];
        options.push("6d1c7f0e-52a3-4b0a-9a46-0f6a3a7f1c11");
        options.extend(["-E", "hash_seed=0b2f4c55-9d3e-4f6b-8a15-7c1de3f2a901"]);
        let size = if self.survives() {
            options.extend([
                "-J",
                if self.block == 1024 {
                    "size=1"
                } else {
                    "size=4"
                },
            ]);
            if self.block == 1024 { "7M" } else { "10M" }
        } else {
            "6M"
        };
        mke2fs(&image, &options, size);
        fs::read(&image).expect("mke2fs made it")
    }

    fn survives(&self) -> bool {
        self.family != "ext2"
    }

    fn check(&self, image: &Path) -> Result<(), String> {
        e2fsck("-fn", image, &[0])
    }

    fn repair(&self, image: &Path) -> Result<(), String> {
        // 1: errors corrected.
        e2fsck("-fy", image, &[0, 1])
    }
}

fn e2fsck(how: &str, image: &Path, fine: &[i32]) -> Result<(), String> {
    let image = image.to_str().expect("a UTF-8 path");
    let (status, output) = try_run("e2fsck", &[how, image]);
    if fine.contains(&status) {
        Ok(())
    } else {
        Err(format!("e2fsck {how} ended with {status}:\n{output}"))
    }
}
