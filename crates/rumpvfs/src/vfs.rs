//! The faction's state, one per kernel.

use crate::{
    caches::Caches, counters, etfs::Devices, fs::FsType, idle::IdleQueue, lock::LockManager,
    mount::Mount, namecache::Names, pages::PagePool, vnode::VnodeRef,
};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use rumpkern::{Component, Kernel, Phase};
use rumpuser::{
    Errno, Result,
    sleep::SleepMutex,
    sync::{Lanes, Mutex, RwLock},
};

/// Memory that an idle vnode takes, about, with its driver's inode and its name.
const VNODE_BYTES: usize = 1024;
/// Vnodes that a kernel may have however small its memory is.
const LEAST_VNODES: usize = 16;
/// Memory that a name in the name cache takes, about.
const NAME_BYTES: usize = 160;

/// Up to here a sixteenth of the memory is for vnodes, of what is above a quarter: pages are more use to a small kernel.
const SMALL_MEMORY: usize = 2 << 30;

/// How many vnodes a kernel keeps whose caches may hold `memory` bytes.
fn most_vnodes(memory: usize) -> usize {
    let bytes = memory.min(SMALL_MEMORY) / 16 + memory.saturating_sub(SMALL_MEMORY) / 4;
    (bytes / VNODE_BYTES).max(LEAST_VNODES)
}

/// State of the file system faction.
pub struct Vfs {
    pub(crate) caches: Arc<Caches>,
    pub(crate) types: RwLock<Vec<Arc<dyn FsType>>>,
    /// In the order of mounting.
    pub(crate) mounts: RwLock<Vec<Arc<Mount>>>,
    /// One mount or unmount at a time.
    pub(crate) mounting: SleepMutex<()>,
    pub(crate) next_mount: AtomicU64,
    pub(crate) devices: Mutex<Devices>,
}

impl Vfs {
    fn new(kernel: &Kernel) -> Arc<Self> {
        let host = kernel.host();
        let memory = usize::try_from(host.memory_limit()).unwrap_or(usize::MAX);
        let vnodes = most_vnodes(memory);
        // On a file system in memory vnodes of files stay as long as the files, so names may well be more than vnodes.
        let names = (memory / 32 / NAME_BYTES).max(vnodes.saturating_mul(2));
        let queues = kernel.sleep_queues();
        Arc::new(Self {
            caches: Arc::new(Caches {
                host: host.clone(),
                log: kernel.log().clone(),
                queues: Lanes::new(host.cpus(), |_| queues.share()),
                pollers: kernel.init_proc().pollers(),
                names: Names::new(names, host),
                locks: LockManager::new(&**host),
                idle: IdleQueue::new(vnodes),
                pool: PagePool::new(queues, memory / 2),
                serials: Lanes::new(host.cpus(), |_| AtomicU64::new(1)),
                live: AtomicUsize::new(0),
            }),
            types: RwLock::default(),
            mounts: RwLock::default(),
            mounting: SleepMutex::new(queues, ()),
            next_mount: AtomicU64::new(1),
            devices: Mutex::default(),
        })
    }

    /// The root directory of the kernel.
    ///
    /// # Errors
    /// `ENOENT` when nothing is mounted.
    pub(crate) fn root(&self) -> Result<VnodeRef> {
        let lane = self.caches.names.lane();
        let root = lane.crossings.root.as_ref();
        root.and_then(VnodeRef::acquire).ok_or(Errno::ENOENT)
    }

    pub(crate) fn fs_type(&self, name: &str) -> Option<Arc<dyn FsType>> {
        let types = self.types.read();
        let named = |t: &&Arc<dyn FsType>| t.name() == name || t.aliases().contains(&name);
        types.iter().find(named).cloned()
    }

    pub(crate) fn all_mounts(&self) -> Vec<Arc<Mount>> {
        self.mounts.read().clone()
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The first error; all mounts are tried.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut result = Ok(());
        for mount in self.all_mounts() {
            result = result.and(mount.fs.contain(|| mount.sync()));
        }
        result
    }

    /// After a panic: tells what went out of service, and has those look who wait for locks there.
    fn after_panic(&self) {
        let mut any = false;
        for mount in self.all_mounts() {
            any |= mount.fs.tell_loss();
        }
        if any {
            self.caches.locks.mount_gone();
        }
    }

    pub(crate) fn next_mount_id(&self) -> u64 {
        self.next_mount.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Vfs {
    /// Mounts and their vnodes refer to each other; a kernel that ends without a shutdown leaves them mounted.
    fn drop(&mut self) {
        let mounts = core::mem::take(&mut *self.mounts.write());
        for mount in &mounts {
            mount.abandon();
        }
        self.caches.names.clear();
        self.caches.idle.clear();
    }
}

/// The faction.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "vfs",
        phase: Phase::Faction,
        requires: &[root_component],
        init: |kernel| {
            let vfs = Vfs::new(kernel);
            kernel.register(vfs.clone())?;
            kernel.set_name_space(alloc::boxed::Box::new(crate::sockets::Names))?;
            counters::register(kernel, &vfs)?;
            let after = vfs.clone();
            kernel.on_panic(move || after.after_panic());
            kernel.on_shutdown(move || vfs.unmount_all());
            Ok(())
        },
    }
}

/// Mounts the root file system when all drivers are there: the first that needs no device.
fn root_component() -> Component {
    Component {
        name: "vfs-root",
        phase: Phase::Late,
        requires: &[],
        init: |kernel| {
            let vfs = kernel.service::<Vfs>().ok_or(Errno::ENOSYS)?;
            let first = vfs.types.read().iter().find(|t| t.nodev()).cloned();
            first.map_or(Ok(()), |fs_type| vfs.mount_root(&*fs_type))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vnodes_grow_with_the_memory() {
        assert_eq!(most_vnodes(0), LEAST_VNODES);
        assert_eq!(most_vnodes(16 << 20), 1024);
        assert_eq!(most_vnodes(SMALL_MEMORY), 131_072);
        // A host of 24 GiB, which gives a quarter of it to the caches.
        assert!(most_vnodes(6 << 30) > 1_000_000);
    }
}
