//! ext2, ext3 and ext4 volumes.

use super::{Promise, Volume};
use crate::{
    conformance::Cap,
    tools::{TempDir, mke2fs, try_run},
};
use std::{fs, path::Path};

struct Ext {
    /// Of the family, the size of blocks, and what is special.
    name: &'static str,
    family: &'static str,
    block: u32,
    /// More options of mke2fs.
    options: &'static [&'static str],
}

/// The volumes that `cargo test` explores come first.
const ALL: &[Ext] = &[
    ext("ext2-1k", "ext2", 1024, &[]),
    ext("ext2-4k", "ext2", 4096, &[]),
    ext("ext3-1k", "ext3", 1024, &[]),
    ext("ext3-4k", "ext3", 4096, &[]),
    ext("ext4-1k", "ext4", 1024, &[]),
    ext("ext4-4k", "ext4", 4096, &[]),
    ext("ext4-1k-nocsum", "ext4", 1024, &["-O", "^metadata_csum"]),
    ext("ext4-4k-nocsum", "ext4", 4096, &["-O", "^metadata_csum"]),
    ext("ext4-1k-orphanfile", "ext4", 1024, &["-O", "orphan_file"]),
    ext("ext4-4k-orphanfile", "ext4", 4096, &["-O", "orphan_file"]),
    ext("ext4-1k-fastcommit", "ext4", 1024, &["-O", "fast_commit"]),
    ext(
        "ext4-4k-bigalloc",
        "ext4",
        4096,
        &["-O", "bigalloc", "-C", "16384"],
    ),
    ext("ext4-4k-inline", "ext4", 4096, &["-O", "inline_data"]),
];

const fn ext(
    name: &'static str,
    family: &'static str,
    block: u32,
    options: &'static [&'static str],
) -> Ext {
    Ext {
        name,
        family,
        block,
        options,
    }
}

pub(super) fn volumes() -> Vec<&'static dyn Volume> {
    ALL.iter().map(|volume| volume as &dyn Volume).collect()
}

impl Volume for Ext {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fs_type(&self) -> &'static str {
        "ext2fs"
    }

    fn caps(&self) -> Cap {
        Cap::all()
    }

    /// Small, so that e2fsck is quick; with 4 KiB blocks the smallest journal takes 4 MiB.
    fn make(&self) -> Vec<u8> {
        let dir = TempDir::new();
        let image = dir.file("volume.img");
        let block = self.block.to_string();
        // A fixed identity: directory hashes depend on it.
        let mut options = vec!["-t", self.family, "-b", &block, "-N", "512", "-U"];
        options.push("6d1c7f0e-52a3-4b0a-9a46-0f6a3a7f1c11");
        options.extend(["-E", "hash_seed=0b2f4c55-9d3e-4f6b-8a15-7c1de3f2a901"]);
        options.extend(self.options);
        let (journal, size) = match (self.promise(), self.block) {
            (Promise::Repaired | Promise::Named | Promise::Readable, _) => (None, "6M"),
            (Promise::Whole, 1024) => (Some("size=1"), "7M"),
            (Promise::Whole, _) => (Some("size=4"), "10M"),
        };
        options.extend(journal.iter().flat_map(|size| ["-J", size]));
        mke2fs(&image, &options, size);
        fs::read(&image).expect("mke2fs made it")
    }

    fn promise(&self) -> Promise {
        if self.family == "ext2" {
            Promise::Repaired
        } else {
            Promise::Whole
        }
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
