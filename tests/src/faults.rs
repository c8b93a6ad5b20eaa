//! Fault exploration: one fault at every place that a workload reaches, one at a time.
//!
//! A workload (`workloads.rs`) runs once without a fault on a disk in memory, which counts what it is asked to do. Then it runs
//! again and again, each time with one [`Injection`]: a call of the device that fails, a device that ends early, a volume with so
//! many free blocks or inodes, a kernel with so much memory, a host that gives no thread. A [`Session`] makes the calls: it knows which
//! may fail and how, and what every file must hold whatever failed. After the run nothing may be left behind in the kernel, and what
//! is on the medium is mounted on a healthy device, compared, and shown to the native checker.
//!
//! Nothing here knows a format. A driver whose volumes are [explored for power cuts](crate::crash::Volume) has its faults explored,
//! too; a file system in memory is named in [`subjects`].
//!
//! `cargo xtask faults` runs all of it, `docs/faults.md` tells more.

mod explore;
mod inject;
mod run;
mod session;
mod workloads;

pub use explore::{Report, end_if_hanging, explore, repeat};
pub use inject::Injection;
pub use session::Session;

use crate::crash;

/// A file system whose faults are explored.
pub enum Subject {
    /// On a device.
    Volume(&'static dyn crash::Volume),
    /// In memory: the type to mount.
    Memory(&'static str),
}

impl Subject {
    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Volume(volume) => volume.name(),
            Self::Memory(fs_type) => fs_type,
        }
    }

    /// The type to mount.
    #[must_use]
    pub fn fs_type(&self) -> &'static str {
        match self {
            Self::Volume(volume) => volume.fs_type(),
            Self::Memory(fs_type) => fs_type,
        }
    }
}

/// The subjects of a file system (`ext2fs`, `tmpfs`), of a family of them (`ext4`), or the one of that name (`ext4-1k`); `all` for all.
#[must_use]
pub fn subjects(name: &str) -> Vec<Subject> {
    let mut subjects = vec![];
    if ["tmpfs", "all"].contains(&name) {
        subjects.push(Subject::Memory("tmpfs"));
    }
    let volumes = crash::volumes(name);
    subjects.extend(volumes.into_iter().map(Subject::Volume));
    subjects
}
