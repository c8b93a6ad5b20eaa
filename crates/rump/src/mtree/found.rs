//! The files of a tree, with what a specification tells of them.

use super::{
    contents::{self, Task},
    digest::{Algorithm, Digests},
};
use crate::{
    report::Outcome,
    session::{Image, Session},
    walk::{Entry, Event, Walk},
};
use rumpkern::{FileType, Stat, types::DeviceNumber};
use rumpvfs::{Calls as _, calls::Follow};
use std::collections::BTreeSet;

/// A file, with what must be read for its description.
pub(crate) struct Found {
    /// From the start, without leading slash.
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    pub(crate) link: Option<Vec<u8>>,
    /// Those that were wanted, of a regular file.
    pub(crate) digests: Digests,
    /// Flags that a user sets, in the format's own numbers.
    pub(crate) flags: u32,
}

/// What is wanted of a file.
#[derive(PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All, with these digests.
    Described(BTreeSet<Algorithm>),
    /// Nothing that is in it.
    Ignored,
}

/// Reads a tree, sorted.
///
/// # Errors
/// What ends the command.
pub(crate) fn gather(
    session: &Session,
    image: &Image,
    start: &[u8],
    wanted: &mut dyn FnMut(&Entry) -> Wanted,
) -> Outcome<Vec<Found>> {
    let mut all = Vec::new();
    let mut tasks = Vec::new();
    let mut places = Vec::new();
    let flags = flags_of_users(image.fs_type());
    let mut walk = Walk::new(image, start, Follow::Yes).sorted();
    while let Some(event) = walk.next() {
        let Some(Event::Enter(entry)) = session.report.step(event)? else {
            continue;
        };
        let mut link = None;
        match (entry.stat.file_type, wanted(&entry)) {
            (FileType::Regular, Wanted::Described(algorithms)) if !algorithms.is_empty() => {
                places.push(all.len());
                tasks.push(Task {
                    path: walk.full(&entry),
                    size: entry.stat.size,
                    algorithms,
                });
            }
            (FileType::Directory, Wanted::Ignored) => walk.prune(),
            (FileType::Symlink, _) => {
                let (at, name) = walk.locate(&entry);
                let target = image.proc.readlinkat(at, name);
                let target = target.map_err(|errno| walk.failure(&entry, errno));
                link = session.report.step(target)?;
            }
            _ => {}
        }
        all.push(Found {
            flags: entry.stat.flags & flags,
            path: entry.path,
            stat: entry.stat,
            link,
            digests: Digests::new(),
        });
    }
    let digests = contents::digests(image, &tasks);
    for (place, digests) in places.into_iter().zip(digests) {
        all[place].digests = session.report.step(digests)?.unwrap_or_default();
    }
    Ok(all)
}

/// Which of the flags in a type's attributes are those of chflags(1) and chattr(1): immutable, append-only, nodump. Others tell how a file is kept.
fn flags_of_users(fs_type: &str) -> u32 {
    match fs_type {
        // EXT2_IMMUTABLE_FL, EXT2_APPEND_FL, EXT2_NODUMP_FL
        "ext2fs" => 0x10 | 0x20 | 0x40,
        "ffs" => u32::MAX,
        _ => 0,
    }
}

impl Found {
    /// Of a device, which it is.
    pub(crate) fn device(&self) -> Option<DeviceNumber> {
        let is_device = matches!(self.stat.file_type, FileType::Block | FileType::Character);
        is_device.then_some(self.stat.rdev)
    }
}
