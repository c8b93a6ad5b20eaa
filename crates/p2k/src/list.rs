//! Directories: as many entries as a reply takes.

use crate::{
    caller::Caller,
    reply::{Entries, Reply, put_entry},
    server::{Server, answer},
    wire::Attributes,
};
use rumpuser::{Errno, Result};
use rumpvfs::{VnodeCalls as _, vop::VnodeDirent};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
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

    /// Of `listed` entries `taken` went into a reply: as many, and a few more, are listed the next time.
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
        (node, offset): (u64, u64),
        vnodes: bool,
    ) -> Result<Vec<VnodeDirent>> {
        let max = self.fits.get(vnodes);
        self.call(caller, |proc| {
            let dir = self.vnode(node)?;
            proc.vop_readdir(&dir, offset, max, vnodes)
        })
    }

    /// Entries of a directory from an offset on, in at most so many bytes.
    pub(crate) fn list(&self, caller: Caller, at: (u64, u64), room: u32, reply: Reply<'_>) {
        let listed = self.listed(caller, at, false);
        answer!(reply, listed, entries => {
            let (all, mut taken) = (entries.len(), 0);
            let mut listed = Entries::with_room(room);
            for entry in entries {
                let number = self.nodes.listed(entry.ino);
                if !listed.add((number, entry.next, entry.file_type), &entry.name, |_| ()) {
                    break;
                }
                taken += 1;
            }
            self.fits.note(all, taken, false);
            listed.reply(reply);
        });
    }

    /// The same with attributes; each that has them counts as looked up.
    pub(crate) fn list_with_attributes(
        &self,
        caller: Caller,
        at: (u64, u64),
        room: u32,
        reply: Reply<'_>,
    ) {
        let listed = self.listed(caller, at, true);
        answer!(reply, listed, entries => {
            let (all, mut taken) = (entries.len(), 0);
            let mut listed = Entries::with_room(room);
            for entry in entries {
                let counted = match entry.vnode {
                    Some(Ok(vnode)) => self.call(caller, |proc| self.entry(proc, &vnode)),
                    Some(Err(error)) => Err(error),
                    None => Err(Errno::ENOENT),
                };
                let (counts, mut times) = (counted.is_ok(), (Duration::ZERO, Duration::ZERO));
                let (attr, generation) = match counted {
                    Ok(entry) => {
                        times = (self.lifetime(&entry.attributes), self.options.entry_timeout);
                        (entry.attributes, entry.generation)
                    }
                    // `.`, `..`, and what cannot be read: only listed. The host forgets a number that nobody counts, and looks it up when asked.
                    Err(error) => {
                        let number = if error == Errno::ENOENT { entry.ino } else { entry.ino | UNREADABLE };
                        (Attributes::bare(number, entry.file_type), 0)
                    }
                };
                let added = listed.add((attr.ino, entry.next, attr.kind), &entry.name, |out| {
                    put_entry(out, times, &attr, generation);
                });
                if !added {
                    if counts {
                        self.forget(attr.ino, 1);
                    }
                    break;
                }
                taken += 1;
            }
            self.fits.note(all, taken, true);
            listed.reply(reply);
        });
    }
}
