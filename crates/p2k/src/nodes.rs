//! The files that the host knows: node ids, and how often each was looked up.

use rumpuser::Errno;
use rumpvfs::vop::Vnode;
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
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

/// A file that the host knows. It stays in use, so that its number is not used again and its data stays when its last name goes.
struct Node {
    vnode: Vnode,
    /// Lookups that the host has not forgotten.
    lookups: u64,
}

/// The files that the host knows.
///
/// A node id is the inode number. Where a format makes numbers up from places of directory entries, a renamed file gets another number
/// while the host knows it by the old one: it keeps its node id, and a newcomer with that number gets a made-up one.
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

    /// The vnode of a node id.
    ///
    /// # Errors
    /// `ESTALE` when the host does not know it.
    pub(crate) fn get(&self, id: u64) -> Result<Vnode, Errno> {
        if id == ROOT {
            return Ok(self.root.clone());
        }
        let table = lock(self.table(id));
        table
            .get(&id)
            .map(|node| node.vnode.clone())
            .ok_or(Errno::ESTALE)
    }

    /// The root directory.
    pub(crate) fn root(&self) -> &Vnode {
        &self.root
    }

    /// The inode number of a node id that nothing may be known of, if node ids tell that.
    pub(crate) fn ino_of(&self, id: u64) -> Option<u64> {
        self.by_vnode.is_none().then(|| self.swapped(id))
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
    pub(crate) fn count(&self, vnode: Vnode) -> u64 {
        if vnode.id() == self.root.id() {
            return ROOT;
        }
        let id = match &self.by_vnode {
            None => self.swapped(vnode.ino()),
            Some(by_vnode) => {
                // Held until the lookup is counted: a `forget` of the last one may be on its way.
                let mut by_vnode = lock(by_vnode);
                let id = self.id_by_vnode(&mut by_vnode, &vnode);
                self.enter(id, vnode);
                return id;
            }
        };
        self.enter(id, vnode);
        id
    }

    fn enter(&self, id: u64, vnode: Vnode) {
        let mut table = lock(self.table(id));
        let node = table.entry(id).or_insert(Node { vnode, lookups: 0 });
        node.lookups += 1;
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

    /// Takes lookups back. Gives the vnode when none is left: its last use may end here, which is to be done in the kernel.
    pub(crate) fn forget(&self, id: u64, lookups: u64) -> Option<Vnode> {
        let mut by_vnode = self.by_vnode.as_ref().map(lock);
        let mut table = lock(self.table(id));
        let node = table.get_mut(&id)?;
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups > 0 {
            return None;
        }
        let node = table.remove(&id)?;
        if let Some(by_vnode) = &mut by_vnode {
            by_vnode.ids.remove(&node.vnode.id());
        }
        Some(node.vnode)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Vec<Vnode> {
        let mut all = Vec::new();
        for table in &self.tables {
            all.extend(lock(table).drain().map(|(_, node)| node.vnode));
        }
        all
    }
}
