//! Directories: as many entries as a reply takes.

use crate::{
    attr::file_type,
    caller::Caller,
    server::{Server, answer},
};
use fuser::{FileAttr, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use rumpkern::FileType;
use rumpuser::{Errno, Result};
use rumpvfs::{VnodeCalls as _, vop::VnodeDirent};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

/// What a directory entry takes in a reply besides its name, without and with attributes.
const DIRENT: usize = 24;
const DIRENT_PLUS: usize = 152;
/// What a name is taken to be long, when entries are asked for to fill a reply.
const NAME: usize = 16;
/// Marks the number of an entry whose inode cannot be read.
const UNREADABLE: u64 = 1 << 63;

/// About how many entries fit into a reply, without and with attributes.
pub(crate) struct Fits([AtomicUsize; 2]);

impl Default for Fits {
    fn default() -> Self {
        Self([DIRENT, DIRENT_PLUS].map(|size| AtomicUsize::new((32 << 10) / (size + NAME))))
    }
}

impl Fits {
    fn get(&self, attributes: bool) -> usize {
        self.0[usize::from(attributes)].load(Ordering::Relaxed)
    }

    /// Of `listed` entries `taken` went into a reply. How large that is, `fuser` keeps to itself: as many as fitted, and a few more, are
    /// listed the next time.
    fn note(&self, listed: usize, taken: usize, attributes: bool) {
        /// A reply that all fitted into may have room for more.
        const MOST: usize = 4096;
        let next = match self.get(attributes) {
            _ if taken < listed => taken + taken / 8 + 2,
            max if listed == max => (max + max / 4).min(MOST),
            _ => return,
        };
        self.0[usize::from(attributes)].store(next, Ordering::Relaxed);
    }
}

impl Server {
    fn listed(
        &self,
        caller: Caller,
        (node, offset): (INodeNo, u64),
        vnodes: bool,
    ) -> Result<Vec<VnodeDirent>> {
        let max = self.fits.get(vnodes);
        self.call(caller, |proc| {
            let dir = self.vnode(node)?;
            proc.vop_readdir(&dir, offset, max, vnodes)
        })
    }

    /// Entries of a directory from an offset on.
    pub(crate) fn list(&self, caller: Caller, at: (INodeNo, u64), mut reply: ReplyDirectory) {
        let listed = self.listed(caller, at, false);
        answer!(reply, listed, entries => {
            let (all, mut taken) = (entries.len(), 0);
            for entry in entries {
                let number = INodeNo(self.nodes.listed(entry.ino));
                let kind = file_type(entry.file_type);
                if reply.add(number, entry.next, kind, OsStr::from_bytes(&entry.name)) {
                    break;
                }
                taken += 1;
            }
            self.fits.note(all, taken, false);
            reply.ok();
        });
    }

    /// The same with attributes; each that has them counts as looked up.
    pub(crate) fn list_with_attributes(
        &self,
        caller: Caller,
        at: (INodeNo, u64),
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.listed(caller, at, true);
        answer!(reply, listed, entries => {
            let (all, mut taken) = (entries.len(), 0);
            for entry in entries {
                let counted = match entry.vnode {
                    Some(Ok(vnode)) => self.call(caller, |proc| self.entry(proc, &vnode)),
                    Some(Err(error)) => Err(error),
                    None => Err(Errno::ENOENT),
                };
                let counts = counted.is_ok();
                let mut timeout = self.options.entry_timeout;
                let (attr, generation) = match counted {
                    Ok(entry) => {
                        // One time for both.
                        timeout = timeout.min(self.lifetime(&entry.attributes));
                        (entry.attributes, entry.generation)
                    }
                    // `.`, `..`, and what cannot be read: only listed. The host forgets a number that nobody counts, and looks it up when asked.
                    Err(error) => {
                        timeout = Duration::ZERO;
                        let number = if error == Errno::ENOENT { entry.ino } else { entry.ino | UNREADABLE };
                        (bare(number, entry.file_type), Generation(0))
                    }
                };
                let name = OsStr::from_bytes(&entry.name);
                if reply.add(attr.ino, entry.next, name, &timeout, &attr, generation) {
                    if counts {
                        self.forget(attr.ino.0, 1);
                    }
                    break;
                }
                taken += 1;
            }
            self.fits.note(all, taken, true);
            reply.ok();
        });
    }
}

/// What an entry needs that is only listed.
pub(crate) fn bare(number: u64, kind: FileType) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(kind),
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}
