//! The name cache: what names in directories lead to, also to nothing.
//!
//! `(directory, name)` is the key; a directory is named by the serial number of its vnode, which is never used again, so names
//! of a vnode that is gone are garbage but never wrong. `..` of a directory is a name like others.
//!
//! Two levels. The *table* holds all names, in shards by directory, so that changes in different directories do not meet; in a shard each
//! directory has tables of its own, so that the names of one lie together and not among a million others. Nearly every vnode has one name: the vnode
//! keeps its first, beside what `stat` looks at, and the table leads to the vnode alone. Further names, and those that lead to nothing, are entries that have the name
//! themselves. A *lane* is what a few threads keep for themselves: names that they use again and again, the crossings of mounts, and what they know
//! of their process. A walk takes its lane's inline lock once and goes along borrowed vnodes; where all names are in the lane it
//! writes no memory that other lanes' walks touch, allocates nothing and counts no reference. What a lane lacks it gets
//! from the table.
//!
//! A name in a lane holds as long as its directory's [`Vnode::names_changes`] is what it was when the name was copied from the table:
//! each change of the table counts there, under the lock of the shard.
//!
//! Names of a directory change in the table only under its inode lock: shared to note what a lookup found, exclusive to
//! change. Drivers never see the cache.

use crate::{
    byhash::ByHash,
    name::{self, NameBytes},
    vnode::{COVERED, NAMED, Vnode},
};
use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use rumpkern::Cred;
use rumpuser::{
    Host,
    sync::{CachePadded, Lanes, Mutex, MutexGuard, RwLock},
};

/// What a name leads to.
#[derive(Clone)]
pub(crate) enum Target {
    Vnode(Arc<Vnode>),
    Nothing,
}

struct Entry {
    hash: u64,
    name: NameBytes,
    target: Target,
    touched: AtomicBool,
}

/// Shards of the table; a power of two.
const SHARDS: usize = 16;

/// Names that one new name has looked at, if the clock has too many that are gone.
const OLD_STEPS: u32 = 8;

/// Names in a lane at most: then those that were not used since the last time go.
const LANE_NAMES: usize = 1024;
/// Of how many names that it might take a lane takes one at least.
const LANE_RAREST: u32 = 64;

/// The name cache of a kernel.
pub(crate) struct Names {
    hasher: DefaultHashBuilder,
    /// Names at most.
    limit: usize,
    shards: [CachePadded<Locked>; SHARDS],
    /// The truth of which each lane has a copy.
    crossings: Mutex<Arc<Crossings>>,
    lanes: Lanes<Mutex<Lane>>,
    host: Arc<dyn Host>,
}

/// A shard and its number of names, which others read without the lock.
#[derive(Default)]
struct Locked {
    len: AtomicUsize,
    shard: RwLock<Shard>,
}

#[derive(Default)]
struct Shard {
    /// The names of each directory that has some, or had until lately.
    dirs: HashMap<u64, DirNames>,
    /// Names of all of them.
    len: usize,
    /// Order of insertion, for the second chance before eviction: directory and hash.
    clock: VecDeque<(u64, u64)>,
}

/// The names of a directory.
#[derive(Default)]
struct DirNames {
    /// Vnodes under their [first names](Vnode::first_name).
    first: ByHash<Arc<Vnode>>,
    other: HashTable<Entry>,
}

/// Where walks go from one mount to another.
#[derive(Clone, Default)]
pub(crate) struct Crossings {
    /// The root directory of the kernel.
    pub(crate) root: Option<Arc<Vnode>>,
    /// Covered directory (by serial number) to the root of what is mounted there.
    down: HashMap<u64, Arc<Vnode>>,
    /// Mount to the directory that it covers.
    up: HashMap<u64, Arc<Vnode>>,
}

/// What a few threads keep for themselves. Under its lock: no wait, no driver, no [`VnodeRef`](crate::vnode::VnodeRef) dropped.
pub(crate) struct Lane {
    pub(crate) crossings: Arc<Crossings>,
    /// The process that made the last call here.
    pub(crate) view: Option<View>,
    pub(crate) names: LaneNames,
}

/// The names that a lane has copied from the table.
///
/// Where names are looked up all over a large tree, a copy is hardly ever used before it has to go, and costs more than it
/// saves. So a lane that finds its names unused takes one of two, then of four, and so on.
#[derive(Default)]
pub(crate) struct LaneNames {
    entries: HashTable<LaneEntry>,
    /// Of how many names it takes one.
    rarity: u32,
    /// Names that it will not take now.
    passed: Cell<u32>,
}

/// What a lane knows of a process. The vnodes are in use by the process, not by the lane.
pub(crate) struct View {
    pub(crate) pid: u32,
    pub(crate) cred_changes: u64,
    pub(crate) dirs_changes: u64,
    /// The credentials of the lwp that is not the process's, as they were set: kept, so that no others get their address.
    pub(crate) own_cred: Option<Arc<Cred>>,
    /// A copy of the lane's own: its references are counted on a cache line of this lane.
    pub(crate) cred: Arc<CachePadded<Cred>>,
    pub(crate) cwd: Option<Arc<Vnode>>,
    pub(crate) root: Option<Arc<Vnode>>,
}

struct LaneEntry {
    hash: u64,
    dir: u64,
    /// [`Vnode::names_changes`] of the directory when the name was copied.
    changes: u64,
    name: NameBytes,
    target: Target,
    used: Cell<bool>,
}

/// A name that a walk found in the table and that its lane shall have.
pub(crate) struct Wanted(LaneEntry);

impl Names {
    /// Number of names in the table.
    pub(crate) fn len(&self) -> usize {
        let of = |locked: &CachePadded<Locked>| locked.shard.read().len;
        self.shards.iter().map(of).sum()
    }

    pub(crate) fn new(limit: usize, host: &Arc<dyn Host>) -> Self {
        let crossings = Arc::new(Crossings::default());
        let lane = |_| {
            Mutex::new(Lane {
                crossings: crossings.clone(),
                view: None,
                names: LaneNames::default(),
            })
        };
        Self {
            hasher: DefaultHashBuilder::default(),
            limit,
            shards: Default::default(),
            lanes: Lanes::new(host.cpus(), lane),
            crossings: Mutex::new(crossings),
            host: host.clone(),
        }
    }

    /// The calling thread's lane.
    pub(crate) fn lane(&self) -> MutexGuard<'_, Lane> {
        self.lanes.of(self.host.current()).lock()
    }

    pub(crate) fn hash(&self, dir: u64, name: &[u8]) -> u64 {
        name::hash(&self.hasher, dir, name)
    }

    fn shard(&self, dir: u64) -> &Locked {
        // Multiplication mixes upwards: the top bits are the best.
        let mixed = dir.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.shards[mixed as usize % SHARDS]
    }

    /// Whether a shard of `len` names has to give some up: it has more than its share, and all together have too many.
    fn too_many(&self, len: usize) -> bool {
        let all = || self.shards.iter().map(|s| s.len.load(Ordering::Relaxed));
        len > self.limit / SHARDS && all().sum::<usize>() > self.limit
    }

    /// What a name leads to, if that is in the table. The second time that it is asked for, it is wanted in the lane if that takes
    /// names.
    pub(crate) fn get(
        &self,
        dir: &Vnode,
        hash: u64,
        name: &[u8],
        takes: impl FnOnce() -> bool,
    ) -> Option<(Target, Option<Wanted>)> {
        let shard = self.shard(dir.id).shard.read();
        let names = shard.dirs.get(&dir.id)?;
        let is = |vnode: &Arc<Vnode>| {
            // All lines that are looked at from here on come at once.
            let place = Arc::as_ptr(vnode).cast();
            self.host.will_read(place, Vnode::FRONT);
            vnode.first_named(name)
        };
        let (target, touched) = match names.first.find(hash, is) {
            Some(vnode) => (Target::Vnode(vnode.clone()), vnode.marked(NAMED)),
            None => {
                let entry = names.other.find(hash, |e| e.name.get() == name)?;
                (
                    entry.target.clone(),
                    entry.touched.swap(true, Ordering::Relaxed),
                )
            }
        };
        if let (Target::Vnode(vnode), false) = (&target, touched) {
            vnode.mark(NAMED);
        }
        let wanted = if touched && takes() {
            Some(Wanted(LaneEntry {
                hash,
                dir: dir.id,
                changes: dir.names_changes(),
                name: NameBytes::new(name),
                target: target.clone(),
                used: Cell::new(false),
            }))
        } else {
            None
        };
        Some((target, wanted))
    }

    /// Notes what a name leads to.
    pub(crate) fn enter(&self, dir: &Vnode, name: &[u8], target: Option<&Arc<Vnode>>) {
        let limits = &dir.mount.limits;
        if limits.revalidate || limits.folds && name != b".." {
            return;
        }
        let hash = self.hash(dir.id, name);
        let first = target.is_some_and(|vnode| {
            let first = vnode.name_first((dir.id, hash), name);
            if !first {
                vnode.extra.lock().note_name((dir.id, hash));
            }
            first
        });
        let target = target.map_or(Target::Nothing, |v| Target::Vnode(v.clone()));
        let locked = self.shard(dir.id);
        let mut shard = locked.shard.write();
        let shard = &mut *shard;
        let names = shard.dirs.entry(dir.id).or_default();
        let is = |its: &[u8], _: Leads<'_>| its == name;
        let old = match names.same(hash, name, &target) {
            Some(true) => return,
            Some(false) => names.remove(hash, is),
            None => {
                shard.len += 1;
                shard.clock.push_back((dir.id, hash));
                None
            }
        };
        match target {
            Target::Vnode(vnode) if first => names.first.insert(hash, vnode),
            target => {
                let entry = Entry {
                    hash,
                    name: NameBytes::new(name),
                    target,
                    touched: AtomicBool::new(false),
                };
                names.other.insert_unique(hash, entry, |e| e.hash);
            }
        }
        dir.count_names_change();
        self.age(locked, shard);
        drop(old);
    }

    /// Has a shard give up what is too much of it.
    fn age(&self, locked: &Locked, shard: &mut Shard) {
        locked.len.store(shard.len, Ordering::Relaxed);
        // What the clock has of names that are gone goes a little at a time.
        let mut steps = OLD_STEPS;
        while self.too_many(shard.len) || steps > 0 && shard.clock.len() > 2 * shard.len + 64 {
            if !shard.evict() {
                break;
            }
            steps = steps.saturating_sub(1);
            locked.len.store(shard.len, Ordering::Relaxed);
        }
    }

    /// Forgets a name.
    pub(crate) fn forget(&self, dir: &Vnode, name: &[u8]) {
        let hash = self.hash(dir.id, name);
        let locked = self.shard(dir.id);
        let mut shard = locked.shard.write();
        dir.count_names_change();
        let old = shard.remove(dir.id, hash, |its, _| its == name);
        locked.len.store(shard.len, Ordering::Relaxed);
        drop(shard);
        drop(old);
    }

    /// Forgets all names that lead to a vnode which ends. Lanes see that it does.
    pub(crate) fn forget_vnode(&self, vnode: &Arc<Vnode>) {
        let names = vnode.extra.lock().take_names();
        for (dir, hash) in vnode.first_place().into_iter().chain(names) {
            let locked = self.shard(dir);
            let mut shard = locked.shard.write();
            while shard.remove(dir, hash, |_, to| leads(to, vnode)).is_some() {}
            locked.len.store(shard.len, Ordering::Relaxed);
        }
    }

    /// Forgets everything about a mount, and with it all names that lead nowhere: those do not tell whose they are, and are
    /// soon found again.
    pub(crate) fn forget_mount(&self, mount: u64) {
        for locked in &self.shards {
            let mut shard = locked.shard.write();
            let Shard { dirs, len, clock } = &mut *shard;
            dirs.retain(|_, names| {
                names.first.retain(|v| v.mount.id != mount);
                let stays =
                    |e: &mut Entry| matches!(&e.target, Target::Vnode(v) if v.mount.id != mount);
                names.other.retain(stays);
                !names.is_empty()
            });
            *len = dirs.values().map(DirNames::len).sum();
            clock.retain(|(dir, hash)| {
                let names = dirs.get(dir);
                names.is_some_and(|names| names.has(*hash, |_, _| true))
            });
            locked.len.store(*len, Ordering::Relaxed);
        }
        self.change_crossings(|crossings| {
            crossings.root.take_if(|r| r.mount.id == mount);
        });
        for lane in self.lanes.iter() {
            let mut lane = lane.lock();
            lane.names = LaneNames::default();
            lane.view = None;
        }
    }

    /// Changes the truth, then the copy of each lane: when this is done, no walk goes the old way.
    fn change_crossings(&self, change: impl FnOnce(&mut Crossings)) {
        let mut truth = self.crossings.lock();
        change(Arc::make_mut(&mut truth));
        for lane in self.lanes.iter() {
            lane.lock().crossings = truth.clone();
        }
    }

    /// From now on walks cross from `covered` to `root` and back.
    pub(crate) fn cross(&self, covered: &Arc<Vnode>, root: &Arc<Vnode>) {
        self.change_crossings(|crossings| {
            crossings.down.insert(covered.id, root.clone());
            crossings.up.insert(root.mount.id, covered.clone());
        });
        covered.mark(COVERED);
    }

    /// Undoes [`cross`](Self::cross).
    pub(crate) fn uncross(&self, covered: &Vnode, mount: u64) {
        self.change_crossings(|crossings| {
            crossings.down.remove(&covered.id);
            crossings.up.remove(&mount);
        });
        covered.unmark(COVERED);
    }

    pub(crate) fn set_root(&self, root: Option<Arc<Vnode>>) {
        self.change_crossings(|crossings| crossings.root = root);
    }

    /// A name of a vnode in a directory, if one is cached.
    pub(crate) fn name_of(&self, dir: u64, vnode: &Arc<Vnode>) -> Option<Vec<u8>> {
        let names: Vec<_> = vnode.extra.lock().names.clone();
        let shard = self.shard(dir).shard.read();
        let cached = shard.dirs.get(&dir)?;
        let first = vnode.first_place().into_iter();
        first.chain(names).find_map(|(d, hash)| {
            let mut name = None;
            let named = (d == dir).then(|| {
                cached.has(hash, |its, to| {
                    let named = leads(to, vnode) && its != b"..";
                    if named {
                        name = Some(its.to_vec());
                    }
                    named
                })
            });
            name.filter(|_| named == Some(true))
        })
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for locked in &self.shards {
            *locked.shard.write() = Shard::default();
        }
        self.change_crossings(|crossings| *crossings = Crossings::default());
        for lane in self.lanes.iter() {
            let mut lane = lane.lock();
            lane.names = LaneNames::default();
            lane.view = None;
        }
    }
}

/// What an entry leads to, if not to nothing.
type Leads<'a> = Option<&'a Arc<Vnode>>;

fn leads(to: Leads<'_>, vnode: &Arc<Vnode>) -> bool {
    to.is_some_and(|to| Arc::ptr_eq(to, vnode))
}

impl DirNames {
    fn len(&self) -> usize {
        self.first.len() + self.other.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a name leads there already; `None` if there is no such name.
    fn same(&self, hash: u64, name: &[u8], target: &Target) -> Option<bool> {
        if let Some(first) = self.first.find(hash, |v| v.first_named(name)) {
            return Some(leads(target.leads(), first));
        }
        let entry = self.other.find(hash, |e| e.name.get() == name)?;
        Some(entry.target.same(target))
    }

    /// Whether there is such an entry.
    fn has(&self, hash: u64, mut which: impl FnMut(&[u8], Leads<'_>) -> bool) -> bool {
        let first = self.first.find(hash, |v| which(v.first_bytes(), Some(v)));
        first.is_some() || {
            let is = |e: &Entry| e.hash == hash && which(e.name.get(), e.target.leads());
            self.other.find(hash, is).is_some()
        }
    }

    /// Takes such an entry out. A table that is far too large for what is left of it shrinks.
    fn remove(
        &mut self,
        hash: u64,
        mut which: impl FnMut(&[u8], Leads<'_>) -> bool,
    ) -> Option<Target> {
        if let Some(vnode) = self.first.remove(hash, |v| which(v.first_bytes(), Some(v))) {
            self.first.shrink();
            return Some(Target::Vnode(vnode));
        }
        let other = &mut self.other;
        let is = |e: &Entry| e.hash == hash && which(e.name.get(), e.target.leads());
        let (entry, _) = other.find_entry(hash, is).ok()?.remove();
        if other.capacity() > 64 && other.len() < other.capacity() / 8 {
            other.shrink_to(other.len() * 2, |e| e.hash);
        }
        Some(entry.target)
    }
}

impl Target {
    fn leads(&self) -> Leads<'_> {
        match self {
            Self::Vnode(vnode) => Some(vnode),
            Self::Nothing => None,
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => true,
            (Self::Vnode(one), Self::Vnode(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl LaneNames {
    /// What a name leads to, if the lane knows.
    pub(crate) fn get(&self, dir: &Vnode, hash: u64, name: &[u8]) -> Option<&Target> {
        let entry = self
            .entries
            .find(hash, |e| e.dir == dir.id && e.name.get() == name)?;
        let holds = entry.changes == dir.names_changes();
        if !entry.used.get() {
            entry.used.set(true);
        }
        match &entry.target {
            Target::Vnode(vnode) if vnode.ending() => None,
            target => holds.then_some(target),
        }
    }

    /// Whether it takes one more name.
    pub(crate) fn takes(&self) -> bool {
        let passed = self.passed.get();
        self.passed.set(passed.saturating_sub(1));
        passed == 0
    }

    /// Makes room: names that were used stay for another turn.
    fn age(&mut self) {
        self.entries.retain(|e| e.used.take());
        let used = self.entries.len();
        self.rarity = if used < LANE_NAMES / 4 {
            (self.rarity.max(1) * 2).min(LANE_RAREST)
        } else {
            self.rarity / 2
        };
        if used > LANE_NAMES / 4 * 3 {
            self.entries.clear();
        }
    }

    /// Takes a name from the table.
    pub(crate) fn keep(&mut self, Wanted(new): Wanted) {
        if self.entries.len() >= LANE_NAMES {
            self.age();
        }
        self.passed.set(self.rarity.saturating_sub(1));
        let equal = |e: &LaneEntry| e.dir == new.dir && e.name.get() == new.name.get();
        match self.entries.find_mut(new.hash, equal) {
            Some(entry) => *entry = new,
            None => {
                self.entries.insert_unique(new.hash, new, |e| e.hash);
            }
        }
    }
}

impl Crossings {
    /// The topmost root that is mounted on a directory, if one is.
    pub(crate) fn over(&self, vnode: &Vnode) -> Option<&Arc<Vnode>> {
        let mut top = None;
        let mut at = vnode;
        while at.marked(COVERED)
            && let Some(root) = self.down.get(&at.id)
        {
            top = Some(root);
            at = root;
        }
        top
    }

    /// The directory that a mount covers.
    pub(crate) fn covered(&self, mount: u64) -> Option<&Arc<Vnode>> {
        self.up.get(&mount)
    }
}

impl Shard {
    /// Takes a name away, if it is there.
    fn remove(
        &mut self,
        dir: u64,
        hash: u64,
        which: impl FnMut(&[u8], Leads<'_>) -> bool,
    ) -> Option<Target> {
        let removed = self.dirs.get_mut(&dir)?.remove(hash, which);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Takes the oldest name away, or gives it a second chance if it was used; `false` if there is none.
    ///
    /// Each name was put into the clock, so tables that became empty are found here, and go.
    fn evict(&mut self) -> bool {
        let Some((dir, hash)) = self.clock.pop_front() else {
            return false;
        };
        let Some(names) = self.dirs.get_mut(&dir) else {
            return true;
        };
        let mut used = false;
        if let Some(vnode) = names.first.find(hash, |_| true) {
            used = vnode.marked(NAMED);
            vnode.unmark(NAMED);
        } else if let Some(entry) = names.other.find(hash, |e| e.hash == hash) {
            used = entry.touched.swap(false, Ordering::Relaxed);
        }
        if used {
            self.clock.push_back((dir, hash));
        } else if names.remove(hash, |_, _| true).is_some() {
            self.len -= 1;
        }
        if names.is_empty() {
            self.dirs.remove(&dir);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Shard, Target};
    use crate::name::NameBytes;
    use alloc::format;
    use core::sync::atomic::AtomicBool;

    fn shard(dirs: u64, names: u64) -> Shard {
        let mut shard = Shard::default();
        for dir in 0..dirs {
            for hash in 0..names {
                let entry = Entry {
                    hash,
                    name: NameBytes::new(format!("{hash}").as_bytes()),
                    target: Target::Nothing,
                    touched: AtomicBool::new(hash % 2 == 1),
                };
                let names = shard.dirs.entry(dir).or_default();
                names.other.insert_unique(hash, entry, |e| e.hash);
                shard.len += 1;
                shard.clock.push_back((dir, hash));
            }
        }
        shard
    }

    #[test]
    fn tables_give_their_memory_back_as_names_go() {
        let mut shard = shard(2, 1000);
        for hash in 0..990 {
            assert!(shard.remove(0, hash, |_, _| true).is_some());
            assert!(shard.remove(0, hash, |_, _| true).is_none());
        }
        assert_eq!((shard.len, shard.dirs[&0].len()), (1010, 10));
        let capacity = |dir| shard.dirs[&dir].other.capacity();
        assert!(capacity(0) < 128 && capacity(1) >= 1000);
        for hash in 990..1000 {
            let name = format!("{hash}");
            let is = |its: &[u8], _: Option<&_>| its == name.as_bytes();
            assert!(shard.remove(0, hash, is).is_some());
        }
        assert!(shard.remove(0, 0, |_, _| true).is_none());
        assert_eq!(shard.len, 1000);
        // The directory goes with the first of them in the clock.
        assert!(shard.dirs.contains_key(&0) && shard.evict() && !shard.dirs.contains_key(&0));
    }

    #[test]
    fn the_oldest_name_goes_first_unless_it_was_used() {
        let mut shard = shard(2, 4);
        // What was used stays for another turn.
        for _ in 0..8 {
            assert!(shard.evict());
        }
        assert_eq!(shard.len, 4);
        let left = |shard: &Shard| shard.clock.iter().copied().collect::<alloc::vec::Vec<_>>();
        assert_eq!(left(&shard), [(0, 1), (0, 3), (1, 1), (1, 3)]);
        // One that is gone already is passed over.
        assert!(shard.remove(0, 1, |_, _| true).is_some());
        assert!(shard.evict() && shard.evict());
        assert_eq!((shard.len, left(&shard)), (2, [(1, 1), (1, 3)].into()));
        assert!(shard.evict() && shard.evict() && !shard.evict());
        assert_eq!((shard.len, shard.dirs.len()), (0, 0));
    }
}
