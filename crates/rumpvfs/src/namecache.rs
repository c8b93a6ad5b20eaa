//! The name cache: what names in directories lead to, also to nothing.
//!
//! One table for all mounts under one inline lock, so that a walk along cached names takes that lock once, uses borrowed
//! vnodes on the way, and allocates nothing. `(directory, name)` is the key; a directory is named by the serial number of
//! its vnode, which is never used again, so names of a vnode that is gone are garbage but never wrong. `..` of a directory
//! is a name like others.
//!
//! Entries of a directory change only under its inode lock: shared to note what a lookup found, exclusive to change.
//! Drivers never see the cache.

use crate::vnode::{COVERED, Vnode};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc};
use core::{
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicBool, Ordering},
};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use rumpuser::sync::RwLock;

/// Names kept without an allocation of their own.
const INLINE: usize = 30;

enum NameBytes {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl NameBytes {
    fn new(name: &[u8]) -> Self {
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(name);
                Self::Inline(len, bytes)
            }
            _ => Self::Heap(name.into()),
        }
    }

    fn get(&self) -> &[u8] {
        match self {
            Self::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }
}

/// What a name leads to.
pub(crate) enum Target {
    Vnode(Arc<Vnode>),
    Nothing,
}

struct Entry {
    hash: u64,
    dir: u64,
    name: NameBytes,
    target: Target,
    touched: AtomicBool,
}

/// The name cache of a kernel.
pub(crate) struct Names {
    hasher: DefaultHashBuilder,
    limit: usize,
    table: RwLock<Table>,
}

/// What the lock guards: read by walks.
#[derive(Default)]
pub(crate) struct Table {
    entries: HashTable<Entry>,
    /// Order of insertion, for the second chance before eviction: directory and hash.
    clock: VecDeque<(u64, u64)>,
    /// The root directory of the kernel.
    pub(crate) root: Option<Arc<Vnode>>,
    /// Covered directory (by serial number) to the root of what is mounted there.
    down: HashMap<u64, Arc<Vnode>>,
    /// Mount to the directory that it covers.
    up: HashMap<u64, Arc<Vnode>>,
}

impl Names {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            limit,
            table: RwLock::default(),
        }
    }

    /// The table for a walk. An inline lock: no wait, no driver, no [`VnodeRef`](crate::vnode::VnodeRef) dropped under it.
    pub(crate) fn read(&self) -> rumpuser::sync::RwLockReadGuard<'_, Table> {
        self.table.read()
    }

    pub(crate) fn hash(&self, dir: u64, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(dir);
        hasher.write(name);
        hasher.finish()
    }

    /// Notes what a name leads to.
    pub(crate) fn enter(&self, dir: &Vnode, name: &[u8], target: Option<&Arc<Vnode>>) {
        if dir.mount.limits.revalidate {
            return;
        }
        let hash = self.hash(dir.id, name);
        if let Some(vnode) = target {
            let mut extra = vnode.extra.lock();
            if !extra.names.contains(&(dir.id, hash)) {
                // A file has few names; those beyond are found when they age.
                if extra.names.len() >= 64 {
                    extra.names.remove(0);
                }
                extra.names.push((dir.id, hash));
            }
        }
        let target = target.map_or(Target::Nothing, |v| Target::Vnode(v.clone()));
        let mut table = self.table.write();
        let table = &mut *table;
        let equal = |e: &Entry| e.dir == dir.id && e.name.get() == name;
        let old = if let Some(entry) = table.entries.find_mut(hash, equal) {
            Some(core::mem::replace(&mut entry.target, target))
        } else {
            let entry = Entry {
                hash,
                dir: dir.id,
                name: NameBytes::new(name),
                target,
                touched: AtomicBool::new(false),
            };
            table.entries.insert_unique(hash, entry, |e| e.hash);
            table.clock.push_back((dir.id, hash));
            None
        };
        table.evict(self.limit);
        drop(old);
    }

    /// Forgets a name.
    pub(crate) fn forget(&self, dir: u64, name: &[u8]) {
        let hash = self.hash(dir, name);
        let mut table = self.table.write();
        if let Ok(entry) = table
            .entries
            .find_entry(hash, |e| e.dir == dir && e.name.get() == name)
        {
            entry.remove();
        }
    }

    /// Forgets all names that lead to a vnode.
    pub(crate) fn forget_vnode(&self, vnode: &Arc<Vnode>) {
        let names = core::mem::take(&mut vnode.extra.lock().names);
        if names.is_empty() {
            return;
        }
        let mut table = self.table.write();
        for (dir, hash) in names {
            let leads = |e: &Entry| {
                e.dir == dir && matches!(&e.target, Target::Vnode(v) if Arc::ptr_eq(v, vnode))
            };
            while let Ok(entry) = table.entries.find_entry(hash, leads) {
                entry.remove();
            }
        }
    }

    /// Forgets everything about a mount.
    pub(crate) fn forget_mount(&self, mount: u64) {
        let mut table = self.table.write();
        table
            .entries
            .retain(|e| !matches!(&e.target, Target::Vnode(v) if v.mount.id == mount));
        if table.root.as_ref().is_some_and(|r| r.mount.id == mount) {
            table.root = None;
        }
    }

    /// From now on walks cross from `covered` to `root` and back.
    pub(crate) fn cross(&self, covered: &Arc<Vnode>, root: &Arc<Vnode>) {
        let mut table = self.table.write();
        table.down.insert(covered.id, root.clone());
        table.up.insert(root.mount.id, covered.clone());
        covered.mark(COVERED);
    }

    /// Undoes [`cross`](Self::cross).
    pub(crate) fn uncross(&self, covered: &Vnode, mount: u64) {
        let mut table = self.table.write();
        table.down.remove(&covered.id);
        table.up.remove(&mount);
        covered.unmark(COVERED);
    }

    pub(crate) fn set_root(&self, root: Option<Arc<Vnode>>) {
        self.table.write().root = root;
    }

    /// A name of a vnode in a directory, if one is cached.
    pub(crate) fn name_of(&self, dir: u64, vnode: &Arc<Vnode>) -> Option<alloc::vec::Vec<u8>> {
        let names = vnode.extra.lock().names.clone();
        let table = self.table.read();
        names.iter().find_map(|&(d, hash)| {
            let leads = |e: &Entry| {
                e.dir == d && matches!(&e.target, Target::Vnode(v) if Arc::ptr_eq(v, vnode))
            };
            let entry = table.entries.find(hash, leads)?;
            (d == dir && entry.name.get() != b"..").then(|| entry.name.get().to_vec())
        })
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.table.write() = Table::default();
    }
}

impl Table {
    /// What a name leads to, if that is cached.
    pub(crate) fn get(&self, hash: u64, dir: u64, name: &[u8]) -> Option<&Target> {
        let entry = self
            .entries
            .find(hash, |e| e.dir == dir && e.name.get() == name)?;
        if !entry.touched.load(Ordering::Relaxed) {
            entry.touched.store(true, Ordering::Relaxed);
        }
        Some(&entry.target)
    }

    /// The topmost root that is mounted on a directory, else the directory.
    pub(crate) fn top<'a>(&'a self, mut vnode: &'a Arc<Vnode>) -> &'a Arc<Vnode> {
        while vnode.marked(COVERED)
            && let Some(root) = self.down.get(&vnode.id)
        {
            vnode = root;
        }
        vnode
    }

    /// The directory that a mount covers.
    pub(crate) fn covered(&self, mount: u64) -> Option<&Arc<Vnode>> {
        self.up.get(&mount)
    }

    fn evict(&mut self, limit: usize) {
        while self.entries.len() > limit || self.clock.len() > limit.saturating_mul(2) {
            let Some((dir, hash)) = self.clock.pop_front() else {
                return;
            };
            let Ok(entry) = self
                .entries
                .find_entry(hash, |e| e.dir == dir && e.hash == hash)
            else {
                continue;
            };
            if entry.get().touched.swap(false, Ordering::Relaxed) {
                self.clock.push_back((dir, hash));
            } else {
                entry.remove();
            }
        }
    }
}
