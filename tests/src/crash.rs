//! Crash exploration: power cuts at many points of a workload on a disk in memory.
//!
//! A workload (`workloads.rs`) runs on a [`MemDisk`](rumpuser_sim::MemDisk) that records every write and flush, and notes in a
//! [`Ledger`] what must be there from which write on. A crash state is a prefix of the recording of which the writes
//! since its last flush have arrived, or not, or in part. Each is mounted for writing, compared with the ledger, unmounted, and
//! shown to the native checker. Nothing here knows a format; a [`Volume`] says how one is made and checked.
//!
//! `cargo xtask crash` runs many states, `docs/crash.md` tells more.

pub(crate) mod bench;
mod explore;
mod ext;
mod fat;
mod ffs;
pub(crate) mod ledger;
mod point;
mod session;
pub(crate) mod state;
mod workloads;

pub use explore::{Progress, Report, Share, explore, repeat};
pub use ledger::{Content, FileId, Ledger, State};
pub use point::{Point, PowerCut};
pub use session::Session;

use crate::conformance::Cap;
use std::path::Path;

/// What a format promises for a power cut at any point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The volume is whole after the driver has replayed its journal: nothing that was ever durable is lost, nothing is there that
    /// nobody made, and the native checker finds nothing.
    Whole,
    /// The native checker repairs the volume before it is mounted, and then finds nothing. Files that were durable and not being changed have
    /// their content, under their names or under others that nobody but the checker gave.
    Repaired,
    /// Mounted for reading as it is, files that were durable and not being changed have their content, and the checker finds nothing that a
    /// repair could not mend.
    Readable,
    /// The same as `Repaired`; and each name has the content of a file that had it, also while it is being changed. One that a new file takes over is
    /// always there.
    Named,
}

/// A file system on which power cuts are explored.
pub trait Volume: Sync {
    /// Its name on the command line and in reports, the family first: `ext4-1k`.
    fn name(&self) -> &'static str;

    /// The type to mount.
    fn fs_type(&self) -> &'static str;

    /// Options of the driver for a mount for writing.
    fn options(&self) -> &'static [(&'static str, Option<&'static str>)] {
        &[]
    }

    /// What the format can do: workloads that need more are left out.
    fn caps(&self) -> Cap;

    /// An empty volume, always the same.
    fn make(&self) -> Vec<u8>;

    /// What a power cut leaves.
    fn promise(&self) -> Promise;

    /// Whether the native checker finds nothing; it must not change the image.
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

/// Every volume; a format adds those of its file here.
#[must_use]
pub fn all() -> Vec<&'static dyn Volume> {
    [ext::volumes(), fat::volumes(), ffs::volumes()].concat()
}

/// The volumes of a file system (`ext2fs`), of a family of them (`ext4`), or the one of that name (`ext4-1k`); `all` for all.
#[must_use]
pub fn volumes(name: &str) -> Vec<&'static dyn Volume> {
    let mut found = all();
    found.retain(|volume| {
        let its = volume.name();
        let family = its.split('-').next();
        name == "all" || volume.fs_type() == name || its == name || family == Some(name)
    });
    found
}
