//! The files that the host knows: node ids, and how often each was looked up.

use rumpvfs::vop::Vnode;
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The root directory's node id.
pub(crate) const ROOT: u64 = 1;

/// Tables that are locked apart; a power of two.
const TABLES: usize = 64;

/// Where node ids begin that are no inode numbers.
const MADE_UP: u64 = 1 << 62;

/// Node ids are mostly numbers in a row, and who makes an image cannot choose many that the host looks up.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

type Table = HashMap<u64, Node, BuildHasherDefault<Spread>>;

/// A file that the host knows.
struct Node {
    /// Kept in use where its number would not lead to it.
    vnode: Option<Vnode>,
    /// Lookups that the host has not forgotten.
    lookups: u64,
    /// When it lost one of several names.
    lost_name: Option<Instant>,
}

/// What a node id leads to.
pub(crate) enum Place {
    /// A file that is in use.
    Held(Vnode),
    /// The inode of this number, which the host knows to be in use.
    Known(u64),
    /// An inode number from a handle that is older than what the host remembers (NFS): it may have been freed.
    Unknown(u64),
    /// The number tells nothing.
    Nowhere,
}

/// The files that the host knows: all that it has ever looked up, until it is short of memory. So no more is kept of a file than its
/// number, by which the kernel finds it again.
///
/// A file without a name [is held](Nodes::hold): its number would be used again. Where a format makes numbers up from places of directory
/// entries all are held. A renamed file gets another number there while the host knows it by the old one: it keeps its node id, and a
/// newcomer with that number gets a made-up one.
pub(crate) struct Nodes {
    root: Vnode,
    tables: Vec<Mutex<Table>>,
    /// Node ids by vnode, where they may differ from inode numbers.
    by_vnode: Option<Mutex<ByVnode>>,
}

#[derive(Default)]
struct ByVnode {
    ids: HashMap<u64, u64>,
    made_up: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is changed in single steps: whole whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nodes {
    pub(crate) fn new(root: Vnode) -> Self {
        Self {
            by_vnode: root.renumbers().then(Mutex::default),
            root,
            tables: (0..TABLES).map(|_| Mutex::default()).collect(),
        }
    }

    fn table(&self, id: u64) -> &Mutex<Table> {
        // Neighbours are looked up by one thread in a row, as a rule: they may share a table.
        let at = (id >> 4) as usize % TABLES;
        &self.tables[at]
    }

    /// What a node id leads to.
    pub(crate) fn get(&self, id: u64) -> Place {
        if id == ROOT {
            return Place::Held(self.root.clone());
        }
        let node = lock(self.table(id)).get(&id).map(|node| node.vnode.clone());
        match node {
            Some(Some(vnode)) => Place::Held(vnode),
            Some(None) => Place::Known(self.swapped(id)),
            None if self.by_vnode.is_none() => Place::Unknown(self.swapped(id)),
            None => Place::Nowhere,
        }
    }

    /// Whether files can lose what their numbers mean, so that those without a name must be [held](Self::hold).
    pub(crate) fn by_number(&self) -> bool {
        self.by_vnode.is_none()
    }

    /// Keeps a file in use from now on if the host knows it.
    pub(crate) fn hold(&self, vnode: &Vnode) {
        let id = self.swapped(vnode.ino());
        if let Some(node) = lock(self.table(id)).get_mut(&id) {
            node.vnode = Some(vnode.clone());
        }
    }

    /// The root directory.
    pub(crate) fn root(&self) -> &Vnode {
        &self.root
    }

    /// The root directory has node id 1; whatever has that number has the root's.
    fn swapped(&self, number: u64) -> u64 {
        let root = self.root.ino();
        match number {
            ROOT => root,
            _ if number == root => ROOT,
            _ => number,
        }
    }

    /// The number of an entry that is only listed.
    pub(crate) fn listed(&self, ino: u64) -> u64 {
        if ino == ROOT { self.root.ino() } else { ino }
    }

    /// Counts a lookup and gives the node id.
    pub(crate) fn count(&self, vnode: &Vnode) -> u64 {
        if vnode.id() == self.root.id() {
            return ROOT;
        }
        let Some(by_vnode) = &self.by_vnode else {
            let id = self.swapped(vnode.ino());
            self.enter(id, None);
            return id;
        };
        // Locked until the lookup is counted: a `forget` of the last one may be on its way.
        let mut by_vnode = lock(by_vnode);
        let id = self.id_by_vnode(&mut by_vnode, vnode);
        self.enter(id, Some(vnode.clone()));
        id
    }

    fn enter(&self, id: u64, vnode: Option<Vnode>) {
        let mut table = lock(self.table(id));
        let node = table.entry(id).or_insert(Node {
            vnode,
            lookups: 0,
            lost_name: None,
        });
        node.lookups += 1;
    }

    /// A file that has several names is about to lose one.
    pub(crate) fn loses_name(&self, vnode: &Vnode) {
        let id = self.swapped(vnode.ino());
        if let Some(node) = lock(self.table(id)).get_mut(&id) {
            node.lost_name = Some(Instant::now());
        }
    }

    /// Whether a file has lost one of its names so shortly ago that the host may not have heard of it.
    pub(crate) fn lost_name(&self, id: u64) -> bool {
        /// Nobody waits longer for a processor.
        const HEARD: Duration = Duration::from_secs(10);
        let mut table = lock(self.table(id));
        let Some(node) = table.get_mut(&id) else {
            return false;
        };
        let lately = node.lost_name.is_some_and(|at| at.elapsed() < HEARD);
        if !lately {
            node.lost_name = None;
        }
        lately
    }

    fn id_by_vnode(&self, by_vnode: &mut ByVnode, vnode: &Vnode) -> u64 {
        if let Some(&id) = by_vnode.ids.get(&vnode.id()) {
            return id;
        }
        let ino = vnode.ino();
        let free = ino > ROOT && ino < MADE_UP && !lock(self.table(ino)).contains_key(&ino);
        let id = if free {
            ino
        } else {
            by_vnode.made_up += 1;
            MADE_UP + by_vnode.made_up
        };
        by_vnode.ids.insert(vnode.id(), id);
        id
    }

    /// Takes lookups back. Gives the vnode, if it was held, when none is left: its last use may end here, which is to be done in the kernel.
    pub(crate) fn forget(&self, id: u64, lookups: u64) -> Option<Vnode> {
        let mut by_vnode = self.by_vnode.as_ref().map(lock);
        let mut table = lock(self.table(id));
        let node = table.get_mut(&id)?;
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups > 0 {
            return None;
        }
        let vnode = table.remove(&id)?.vnode?;
        if let Some(by_vnode) = &mut by_vnode {
            by_vnode.ids.remove(&vnode.id());
        }
        Some(vnode)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Vec<Vnode> {
        let mut all = Vec::new();
        for table in &self.tables {
            all.extend(lock(table).drain().filter_map(|(_, node)| node.vnode));
        }
        all
    }
}
