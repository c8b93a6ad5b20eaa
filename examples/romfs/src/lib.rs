//! romfs, the read-only format of `genromfs`: the example of `docs/writing-a-driver.md`.
//!
//! Format: Linux, Documentation/filesystems/romfs.rst. Numbers are big-endian. A superblock, then headers of files, each a multiple of
//! 16 bytes with the file's name in it and followed by the file's data. The headers of a directory are a list; a file's number is
//! the place of its header. `header` knows them, checked, and nothing of a kernel; `vfs` is the driver contract over them.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod header;
mod vfs;

use alloc::sync::Arc;
use rumpkern::{Component, Phase};
use rumpvfs::KernelVfs as _;

/// The driver, for the builder of a kernel.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "romfs",
        phase: Phase::Driver,
        requires: &[rumpvfs::component],
        init: |kernel| kernel.register_fs(Arc::new(vfs::Romfs)),
    }
}
