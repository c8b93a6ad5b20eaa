//! What `stat` tells of inodes, many at a time, with or without vnodes of them.

use super::{Mount, table::Table};
use crate::{
    erased::AnyFileSystem,
    fs::{Attributes, Ino},
    slots::{ROW, Row, Slot, TABLES, table_of},
    vnode::{COVERED, Vnode, VnodeRef},
};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use rumpkern::{FileType, Stat};
use rumpuser::{Errno, Result, sync::MutexGuard};

/// What [`Mount::look`] finds.
pub(crate) enum Look {
    Vnode(VnodeRef),
    /// There is no vnode.
    Stat(Stat),
}

/// How many inodes of a listing are looked at together.
const GROUP: usize = 128;
/// How many of them ahead of what is looked at vnodes are brought from memory.
const AHEAD: usize = 16;

/// Some tables of a mount, locked.
type Locked<'m> = [Option<MutexGuard<'m, Table>>; TABLES as usize];

/// The rows of inodes.
fn rows_of<'t>(tables: &'t Locked<'_>, inodes: &[(u64, u32)]) -> [Option<&'t Row>; GROUP] {
    let mut rows = [None; GROUP];
    let mut last = (None, None);
    for (row, (ino, _)) in rows.iter_mut().zip(inodes) {
        if last.0 != Some(ino / ROW) {
            let table = tables[table_of(*ino)].as_ref();
            last = (Some(ino / ROW), table.and_then(|t| t.slots.row(*ino)));
        }
        *row = last.1;
    }
    rows
}

impl Mount {
    /// What `stat` tells of an inode, without a vnode for it if none is live. Directories get one all the same: who lists
    /// them goes on into them.
    ///
    /// # Errors
    /// As [`vnode`](Self::vnode).
    pub(crate) fn look(self: &Arc<Self>, ino: Ino) -> Result<Look> {
        if self.fs.is_dead() || self.closing.load(Ordering::Acquire) {
            return Err(Errno::EIO);
        }
        let slot = match self.reserve(ino) {
            Ok(vnode) => return Ok(Look::Vnode(vnode)),
            Err(slot) => slot,
        };
        let inode = self.fs.load(ino)?;
        let attributes = self.fs.attributes(&inode)?;
        if attributes.file_type == FileType::Directory || !self.evictable(attributes.file_type) {
            return Ok(Look::Vnode(self.install(slot, inode)?));
        }
        // Nobody else can load or change it before the slot is given back.
        self.fs.reclaim(inode)?;
        Ok(Look::Stat(self.stat_of(ino, &attributes)))
    }

    /// What `stat` tells of a few inodes, without a use of vnodes: of those that are live, and of others if the driver tells it at a glance. Those that
    /// need more than a look are left out, or taken back: an error. The numbers rise; `at` of each goes to `found`.
    ///
    /// Where there are very many, each step from a number to its vnode waits for memory. So all make a step before any makes the next,
    /// with all tables locked from the first to the last of a group, for no lock to stand between.
    pub(crate) fn look_many(
        &self,
        inodes: &[(u64, u32)],
        mut found: impl FnMut(u32, Result<Stat>),
    ) {
        if self.limits.revalidate || self.closing.load(Ordering::Acquire) {
            return;
        }
        let mut absent = Vec::new();
        let mut loads = [None; TABLES as usize];
        for group in inodes.chunks(GROUP) {
            let tables = self.tables_of(group);
            for (before, table) in loads.iter_mut().zip(&tables) {
                *before = before.or(table.as_ref().map(|table| table.loads));
            }
            let rows = rows_of(&tables, group);
            self.bring_rows(&rows);
            let mut ahead = rows.iter().zip(group);
            ahead.by_ref().take(AHEAD).for_each(|next| self.bring(next));
            for (&(ino, at), row) in group.iter().zip(rows) {
                if let Some(next) = ahead.next() {
                    self.bring(next);
                }
                match row.and_then(|row| row.get(ino)) {
                    None => absent.push((Ino(ino), at)),
                    Some(Slot::Live(vnode))
                        if !vnode.ending() && !vnode.marked(COVERED) && !vnode.is_dir() =>
                    {
                        found(at, vnode.stat());
                    }
                    _ => {}
                }
            }
        }
        if self.limits.memory || absent.is_empty() {
            return;
        }
        let inodes: Vec<Ino> = absent.iter().map(|(ino, _)| *ino).collect();
        self.fs.glance(&inodes, &mut |n, attributes| {
            // Who lists directories goes on into them.
            if let Some(&(ino, at)) = absent.get(n)
                && attributes.file_type != FileType::Directory
            {
                found(at, Ok(self.stat_of(ino, attributes)));
            }
        });
        // One that was loaded meanwhile may have been changed, and told half of it.
        let loaded =
            |n: usize| loads[n].is_some_and(|before| self.tables[n].lock().loads != before);
        let loaded: [bool; TABLES as usize] = core::array::from_fn(loaded);
        for (ino, at) in absent {
            if loaded[table_of(ino.0)] {
                found(at, Err(Errno::EIO));
            }
        }
    }

    /// A few inodes are looked at soon: their vnodes are brought from memory.
    pub(crate) fn will_look(&self, inodes: &[(u64, u32)]) {
        for group in inodes.chunks(GROUP) {
            let tables = self.tables_of(group);
            let rows = rows_of(&tables, group);
            self.bring_rows(&rows);
            rows.iter().zip(group).for_each(|next| self.bring(next));
        }
    }

    /// The tables that a few inodes are in, all others left out.
    fn tables_of(&self, inodes: &[(u64, u32)]) -> Locked<'_> {
        let wanted = inodes
            .iter()
            .fold(0_u16, |wanted, (ino, _)| wanted | 1 << table_of(*ino));
        // In order, as for each who locks more than one.
        core::array::from_fn(|n| (wanted & 1 << n != 0).then(|| self.tables[n].lock()))
    }

    /// Has rows brought from memory.
    fn bring_rows(&self, rows: &[Option<&Row>]) {
        let mut last = core::ptr::null();
        for row in rows.iter().flatten() {
            let place = core::ptr::from_ref(*row).cast();
            if place != last {
                self.caches.host.will_read(place, size_of::<Row>());
                last = place;
            }
        }
    }

    /// Has a vnode brought from memory, if there is one.
    fn bring(&self, (row, (ino, _)): (&Option<&Row>, &(u64, u32))) {
        if let Some(vnode) = row.and_then(|row| row.live(*ino)) {
            let place = Arc::as_ptr(vnode).cast();
            self.caches.host.will_read(place, Vnode::STAT);
        }
    }

    /// Whether there is a vnode of this inode, or is about to be.
    pub(crate) fn in_use(&self, ino: Ino) -> bool {
        self.table(ino).lock().slots.get(ino.0).is_some()
    }

    /// What `stat` tells of an inode with these attributes.
    #[inline]
    pub(crate) fn stat_of(&self, ino: Ino, a: &Attributes) -> Stat {
        Stat {
            dev: self.id,
            ino: ino.0,
            generation: a.generation,
            file_type: a.file_type,
            mode: a.mode,
            nlink: a.nlink,
            uid: a.uid,
            gid: a.gid,
            rdev: a.rdev,
            size: a.size,
            blksize: self.limits.block_size.max(4096),
            blocks: a.blocks,
            atime: a.atime,
            mtime: a.mtime,
            ctime: a.ctime,
            birthtime: a.birthtime,
            flags: a.flags,
        }
    }
}
