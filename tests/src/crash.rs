//! Crash exploration: power cuts at many points of a workload on a disk in memory.
//!
//! A workload (`workloads.rs`) runs on a [`MemDisk`](rumpuser_sim::MemDisk) that records every write and flush, and notes in a
//! [`Ledger`] what must be there from which write on. A crash state is a prefix of the recording of which the writes
//! since its last flush have arrived, or not, or in part. Each is mounted for writing, compared with the ledger, unmounted, and
//! shown to the native checker. Nothing here knows a format; a [`Volume`] says how one is made and checked.
//!
//! `cargo xtask crash` runs many states, `docs/crash.md` tells more.

mod explore;
mod ext;
mod ledger;
mod session;
mod state;
mod workloads;

pub use explore::{Report, explore};
pub use ledger::{Content, FileId, Ledger, State};
pub use session::Session;

use std::path::Path;

/// A file system on which power cuts are explored.
pub trait Volume: Sync {
    /// Its name on the command line and in reports: `ext4-1k`.
    fn name(&self) -> String;

    /// The type to mount.
    fn fs_type(&self) -> &'static str;

    /// An empty volume.
    fn make(&self) -> Vec<u8>;

    /// Whether a cut never leaves damage (a journal). Without, the native checker repairs before the volume is mounted, and only
    /// what was durable and not being changed is promised.
    fn survives(&self) -> bool;

    /// Whether the native checker finds nothing; else what it printed.
    ///
    /// # Errors
    /// What it printed.
    fn check(&self, image: &Path) -> Result<(), String>;

    /// Lets the native checker repair.
    ///
    /// # Errors
    /// What it printed if it could not.
    fn repair(&self, image: &Path) -> Result<(), String>;
}

/// The volumes of a file system (`ext2fs`), of a family of them (`ext4`), or the one of that name (`ext4-1k`).
#[must_use]
pub fn volumes(name: &str) -> Vec<Box<dyn Volume>> {
    let all = ext::volumes().into_iter();
    all.filter(|volume| {
        let its = volume.name();
        volume.fs_type() == name || its == name || its.split('-').next() == Some(name)
    })
    .collect()
}
