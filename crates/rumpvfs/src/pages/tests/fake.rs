//! A device and a driver for tests.

use crate::{
    calls::FileExtent,
    erased::{AnyFileSystem, AnyInode, erase},
    fs::{
        Attributes, DirCookie, DirEmit, Extent, FileSystem, FlagNumbers, Found, FsStatistics, Ino,
        Limits, Place, Placed, Protection, SetAttributes, Space, WriteOrdered,
    },
    name::Name,
    pages::{FilePages, Keep, MountPages, MountedPages, PagePool},
};
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use rumpkern::FileType;
use rumpuser::{
    BlockDevice, Errno, Result, Timespec,
    sleep::SleepQueues,
    sync::{Mutex, RwLock},
};

/// What the device holds where nothing was written; tests never write it.
pub(super) const GARBAGE: u8 = 0xaa;

/// A device in memory.
pub(super) struct MemDevice {
    pub(super) bytes: RwLock<Vec<u8>>,
    pub(super) fail_writes: AtomicBool,
    pub(super) fail_reads: AtomicBool,
    pub(super) reads: AtomicUsize,
    pub(super) writes: AtomicUsize,
    /// Called before each write.
    pub(super) hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl MemDevice {
    fn new(len: usize) -> Self {
        Self {
            bytes: RwLock::new(vec![GARBAGE; len]),
            fail_writes: AtomicBool::new(false),
            fail_reads: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            hook: Mutex::new(None),
        }
    }
}

impl BlockDevice for MemDevice {
    fn len(&self) -> u64 {
        self.bytes.read().len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_vectored_at(offset, &mut [buf])
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> Result<()> {
        self.reads.fetch_add(1, SeqCst);
        if self.fail_reads.load(SeqCst) {
            return Err(Errno::EIO);
        }
        let bytes = self.bytes.read();
        let mut at = offset as usize;
        for buf in bufs {
            let from = bytes.get(at..at + buf.len()).ok_or(Errno::EIO)?;
            buf.copy_from_slice(from);
            at += buf.len();
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write_vectored_at(offset, &[data])
    }

    fn write_vectored_at(&self, offset: u64, data: &[&[u8]]) -> Result<()> {
        self.writes.fetch_add(1, SeqCst);
        if let Some(hook) = self.hook.lock().take() {
            hook();
        }
        if self.fail_writes.load(SeqCst) {
            return Err(Errno::EIO);
        }
        let mut bytes = self.bytes.write();
        let mut at = offset as usize;
        for part in data {
            let to = bytes.get_mut(at..at + part.len()).ok_or(Errno::EIO)?;
            to.copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// A file: its blocks and where they are.
#[derive(Clone, Default)]
pub(super) struct FakeInode {
    pub(super) size: u64,
    /// Block of the file: block of the device, and whether it was written.
    pub(super) blocks: BTreeMap<u64, (u64, bool)>,
    /// Data in the inode itself, instead of blocks.
    pub(super) inline: Option<Vec<u8>>,
}

/// How the driver misbehaves.
#[derive(Default)]
pub(super) struct Faults {
    /// Newly taken blocks after which `allocate` gives `ENOSPC`, once.
    pub(super) fail_after: Mutex<Option<u64>>,
    /// Blocks that one `allocate` does at most.
    pub(super) short: AtomicU64,
    /// `set_size` and `punch` give `EIO`.
    pub(super) fail_changes: AtomicBool,
    /// Each `allocate` commits its transaction before it returns.
    pub(super) commit: AtomicBool,
}

pub(super) struct Shared {
    pub(super) device: Arc<MemDevice>,
    pub(super) faults: Faults,
    free: Mutex<Vec<u64>>,
    ordered: Arc<MountPages>,
}

pub(super) struct FakeFs {
    shared: Arc<Shared>,
    block: u64,
}

impl FakeFs {
    fn take_block(&self) -> Result<u64> {
        self.shared.free.lock().pop().ok_or(Errno::ENOSPC)
    }

    fn give_block(&self, block: u64) {
        // What is freed may be overwritten at once by its next owner.
        self.shared
            .device
            .bytes
            .write()
            .get_mut((block * self.block) as usize..((block + 1) * self.block) as usize)
            .unwrap()
            .fill(GARBAGE);
        self.shared.free.lock().insert(0, block);
    }
}

impl FileSystem for FakeFs {
    type Inode = FakeInode;

    fn root(&self) -> Ino {
        Ino(1)
    }

    fn limits(&self) -> Limits {
        limits(self.block as u32)
    }

    fn statistics(&self) -> Result<FsStatistics> {
        Ok(FsStatistics::default())
    }

    fn load(&self, _ino: Ino) -> Result<FakeInode> {
        Ok(FakeInode::default())
    }

    fn attributes(&self, inode: &FakeInode) -> Attributes {
        Attributes {
            ino: Ino(2),
            generation: 0,
            file_type: FileType::Regular,
            mode: 0o644,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: Default::default(),
            size: inode.size,
            blocks: inode.blocks.len() as u64 * self.block / 512,
            atime: Timespec::default(),
            mtime: Timespec::default(),
            ctime: Timespec::default(),
            birthtime: None,
            flags: 0,
            protection: Protection::default(),
            has_acl: false,
        }
    }

    fn lookup(&self, _dir: &FakeInode, _name: Name<'_>) -> Result<Found> {
        Err(Errno::EIO)
    }

    fn parent(&self, _dir: &FakeInode) -> Result<Ino> {
        Err(Errno::EIO)
    }

    fn read_dir(&self, _: &FakeInode, _: DirCookie, _: &mut dyn DirEmit) -> Result<()> {
        Err(Errno::EIO)
    }

    fn read_link(&self, _inode: &FakeInode) -> Result<Vec<u8>> {
        Err(Errno::EIO)
    }

    fn map(&self, inode: &FakeInode, offset: u64, len: u64) -> Result<Extent> {
        assert_eq!(offset % self.block, 0, "map is asked for whole blocks");
        assert!(len > 0);
        if inode.inline.is_some() && offset == 0 {
            return Ok(Extent {
                place: Place::Opaque,
                len: self.block,
            });
        }
        let first = offset / self.block;
        let place = |n: u64| match inode.blocks.get(&n) {
            None => Place::Hole,
            Some(&(block, true)) => Place::Device((block - (n - first)) * self.block),
            Some(&(block, false)) => Place::Unwritten((block - (n - first)) * self.block),
        };
        // Neighbours that are one piece, the start of the piece being the same for all.
        let whole = |n: u64| match inode.blocks.get(&n) {
            None => Some(Place::Hole),
            Some(&(block, _)) if block >= n - first => Some(place(n)),
            Some(_) => None,
        };
        let start = whole(first).unwrap();
        let most = len.div_ceil(self.block);
        let count = (1..most)
            .find(|n| whole(first + n) != Some(start))
            .unwrap_or(most);
        Ok(Extent {
            place: start,
            len: count * self.block,
        })
    }

    fn read_pages(&self, inode: &FakeInode, offset: u64, buf: &mut [u8]) -> Result<()> {
        let data = inode.inline.as_ref().ok_or(Errno::EIO)?;
        buf.fill(0);
        let part = data.get(offset as usize..).unwrap_or_default();
        let n = part.len().min(buf.len());
        buf[..n].copy_from_slice(&part[..n]);
        Ok(())
    }

    fn set_attributes(&self, _: &mut FakeInode, _: &SetAttributes) -> Result<()> {
        Ok(())
    }

    fn allocate(
        &self,
        inode: &mut FakeInode,
        offset: u64,
        len: u64,
        size_at_least: u64,
        _space: Space,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<u64> {
        assert_eq!((offset % self.block, len % self.block), (0, 0));
        let before = inode.clone();
        let mut taken = Vec::new();
        let first = offset / self.block;
        let short = self.shared.faults.short.load(SeqCst);
        let mut end = first + len / self.block;
        if short > 0 {
            end = end.min(first + short);
        }
        let mut fail_after = self.shared.faults.fail_after.lock();
        let mut wanted: Vec<u64> = (first..end).collect();
        if inode.inline.take().is_some() && first > 0 {
            wanted.insert(0, 0);
        }
        for n in wanted {
            let found = inode.blocks.get(&n).copied();
            let block = match found {
                Some((_, true)) => continue,
                Some((block, false)) => Ok(block),
                None if *fail_after == Some(0) => {
                    *fail_after = None;
                    Err(Errno::ENOSPC)
                }
                None => self.take_block().inspect(|block| taken.push(*block)),
            };
            *fail_after = fail_after.map(|n| n.saturating_sub(1));
            let block = match block {
                Ok(block) => block,
                Err(error) => {
                    *inode = before;
                    taken.into_iter().for_each(|b| self.give_block(b));
                    return Err(error);
                }
            };
            inode.blocks.insert(n, (block, true));
            placed(Placed {
                offset: n * self.block,
                len: self.block,
                device: Some(block * self.block),
            });
        }
        let done = (end - first) * self.block;
        inode.size = inode.size.max(size_at_least.min(offset + done));
        if self.shared.faults.commit.load(SeqCst) {
            let written = self.shared.ordered.write_ordered();
            if written.is_ok() {
                self.check_no_garbage(inode);
            }
        }
        Ok(done)
    }

    fn reserve(&self, inode: &mut FakeInode, offset: u64, len: u64, _space: Space) -> Result<()> {
        for n in offset / self.block..(offset + len) / self.block {
            if inode.inline.is_none() && !inode.blocks.contains_key(&n) {
                let block = self.take_block()?;
                inode.blocks.insert(n, (block, false));
            }
        }
        Ok(())
    }

    fn set_size(&self, inode: &mut FakeInode, size: u64, _time: Timespec) -> Result<()> {
        if self.shared.faults.fail_changes.load(SeqCst) {
            return Err(Errno::EIO);
        }
        inode.size = size;
        if let Some(data) = &mut inode.inline {
            assert!(
                size <= data.len() as u64 || data.is_empty(),
                "data in the inode is moved out before"
            );
            if size > 60 {
                inode.inline = None;
                return Ok(());
            }
            data.resize(size as usize, 0);
        }
        let gone = inode.blocks.split_off(&size.div_ceil(self.block));
        for (block, _) in gone.into_values() {
            self.give_block(block);
        }
        Ok(())
    }

    fn punch(&self, inode: &mut FakeInode, offset: u64, len: u64) -> Result<()> {
        if self.shared.faults.fail_changes.load(SeqCst) {
            return Err(Errno::EIO);
        }
        assert_eq!((offset % self.block, len % self.block), (0, 0));
        assert!(
            inode.inline.is_none(),
            "data in the inode is moved out before"
        );
        for n in offset / self.block..(offset + len) / self.block {
            if let Some((block, _)) = inode.blocks.remove(&n) {
                self.give_block(block);
            }
        }
        Ok(())
    }
}

impl FakeFs {
    /// The rule of ordered data: what a durable transaction shows was written.
    fn check_no_garbage(&self, inode: &FakeInode) {
        let bytes = self.shared.device.bytes.read();
        for (n, (block, written)) in &inode.blocks {
            let end = inode.size.min((n + 1) * self.block);
            let len = end.saturating_sub(n * self.block) as usize;
            let at = (block * self.block) as usize;
            assert!(
                !*written || !bytes[at..at + len].contains(&GARBAGE),
                "block {n} shows what was on the device before"
            );
        }
    }
}

pub(super) fn limits(block_size: u32) -> Limits {
    Limits {
        block_size,
        name_max: 255,
        file_size_max: 1 << 40,
        link_max: 1,
        symlink_max: 1,
        time_granularity: 1,
        memory: false,
        revalidate: false,
        folds: false,
        flag_numbers: FlagNumbers::Own,
    }
}

/// A mounted fake with one file.
pub(super) struct Bench {
    pub(super) shared: Arc<Shared>,
    pub(super) fs: Box<dyn AnyFileSystem>,
    pub(super) pool: Arc<PagePool>,
    pub(super) mount: Arc<MountPages>,
    pub(super) mounted: MountedPages,
    pub(super) pages: FilePages,
    pub(super) inode: AnyInode,
    pub(super) block: u64,
}

impl Bench {
    pub(super) fn new(block: u64, blocks: u64, limit: usize) -> Self {
        let queues = SleepQueues::new(&*rumpuser_posix::Host::new(), 1);
        let pool = PagePool::new(&queues, limit);
        let mount = MountPages::new(&pool);
        let device = Arc::new(MemDevice::new((block * blocks) as usize));
        let mounted = mount.mounted(Some(device.clone()), &limits(block as u32));
        // Ascending runs of eleven blocks in a scrambled order: pieces of files are neither all neighbours nor all apart.
        let mut free: Vec<u64> = (0..blocks).collect();
        free.sort_by_key(|b| core::cmp::Reverse((b / 11 * 7919 % 1009, b % 11)));
        let shared = Arc::new(Shared {
            device,
            faults: Faults::default(),
            free: Mutex::new(free),
            ordered: mount.clone(),
        });
        let fs = erase(FakeFs {
            shared: shared.clone(),
            block,
        });
        let pages = FilePages::new(&mounted);
        Self {
            shared,
            fs,
            pool,
            mount,
            mounted,
            pages,
            inode: AnyInode::new(FakeInode::default()),
            block,
        }
    }

    pub(super) fn file(&mut self) -> &mut FakeInode {
        self.inode.get_mut().unwrap()
    }

    pub(super) fn size(&self) -> u64 {
        self.fs.attributes(&self.inode).unwrap().size
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        // Two buffers: pages that cross from one to the other.
        let (a, b) = data.split_at(data.len() / 3);
        self.pages
            .write(&*self.fs, &mut self.inode, offset, &[a, b], Space::Reserve)
    }

    /// Appends `data` as somebody who writes to the device himself; `fail` counts the extents down to one that fails.
    pub(super) fn write_extents(&mut self, offset: u64, data: &[u8], fail: usize) -> Result<u64> {
        let device = self.shared.device.clone();
        let mut left = fail;
        let mut put = |extent: FileExtent| {
            left = left.checked_sub(1).ok_or(Errno::EIO)?;
            let at = (extent.offset - offset) as usize;
            let piece = &data[at..at + extent.len as usize];
            device.write_at(extent.device.ok_or(Errno::EIO)?, piece)
        };
        let range = (offset, data.len() as u64);
        let now = Timespec::default();
        self.pages.write_extents(
            &*self.fs,
            &mut self.inode,
            range,
            Space::Reserve,
            now,
            &mut put,
        )
    }

    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.read_with(Keep::Pages, offset, len)
    }

    pub(super) fn read_with(&self, keep: Keep, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut data = vec![0x55; len];
        let (a, b) = data.split_at_mut(len / 3);
        let (fs, bufs) = (&*self.fs, &mut [a, b]);
        let size = self.size();
        let n = self.pages.read(fs, &self.inode, size, offset, bufs, keep)?;
        data.truncate(n);
        Ok(data)
    }

    pub(super) fn truncate(&mut self, size: u64) -> Result<()> {
        self.pages.truncate(
            &*self.fs,
            &mut self.inode,
            size,
            Space::Reserve,
            Timespec::default(),
        )
    }

    pub(super) fn punch(&mut self, offset: u64, len: u64) -> Result<()> {
        self.pages
            .punch(&*self.fs, &mut self.inode, offset, len, Space::Reserve)
    }

    /// The file as it is on the device, page cache aside.
    pub(super) fn on_device(&mut self) -> Vec<u8> {
        let block = self.block as usize;
        let shared = self.shared.clone();
        let bytes = shared.device.bytes.read();
        let file = self.file();
        let mut data = file.inline.clone().unwrap_or_default();
        data.resize(file.size as usize, 0);
        for (n, (home, written)) in &file.blocks {
            let at = *n as usize * block;
            let len = data.len().saturating_sub(at).min(block);
            if *written && len > 0 {
                let home = *home as usize * block;
                data[at..at + len].copy_from_slice(&bytes[home..home + len]);
            }
        }
        data
    }
}
