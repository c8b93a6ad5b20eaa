//! The driver as `rumpvfs` sees it.

use crate::{
    budget::Budget,
    dir::{self, Dir},
    extents::Extents,
    inodes::Inodes,
    node::{Kind, LINK_MAX, Node, Regular},
    options::{BLOCK, Options},
};
use alloc::{sync::Arc, vec::Vec};
use hashbrown::{DefaultHashBuilder, HashMap};
use rumpuser::{
    Errno, Host, PackedTime, Result, Timespec,
    sync::{CachePadded, Mutex},
};
use rumpvfs::{
    fs::{
        Attributes, DirCookie, DirEmit, DirEntry, DirSlot, Extent, FileSystem, FlagNumbers, Found,
        FsStatistics, Ino, Limits, NewInode, NewKind, Place, Placed, Rename, Renamed,
        SetAttributes, Space, XattrMode,
    },
    name::Name,
};

/// Number of the root directory; numbers below mean something special elsewhere.
const ROOT: Ino = Ino(2);
/// Largest file in bytes.
const FILE_SIZE_MAX: u64 = i64::MAX as u64;
/// Past the last block of any file.
const BLOCKS_END: u64 = FILE_SIZE_MAX / BLOCK + 1;
/// Longest target of a symbolic link in bytes.
const SYMLINK_MAX: usize = 4095;

/// A mounted tmpfs.
#[derive(Debug)]
pub struct Tmpfs {
    pub(crate) space: CachePadded<Budget>,
    pub(crate) inodes: Inodes,
    hasher: DefaultHashBuilder,
    /// Inodes with a name that `rumpvfs` does not hold now.
    parked: Mutex<HashMap<u64, Node>>,
}

impl Tmpfs {
    /// An empty file system; `now` is the time of its root directory.
    #[must_use]
    pub fn new(host: &Arc<dyn Host>, options: &Options, now: Timespec) -> Self {
        let fs = Self {
            space: CachePadded(Budget::new(options.size)),
            inodes: Inodes::new(host, options.inodes, ROOT.0),
            hasher: DefaultHashBuilder::default(),
            parked: Mutex::default(),
        };
        let new = NewInode {
            kind: NewKind::Directory,
            mode: options.mode,
            uid: options.uid,
            gid: options.gid,
            time: now,
            xattrs: Vec::new(),
            space: Space::Reserve,
        };
        // The first number is the root's; a limit of one inode holds it.
        if let Ok(mut root) = fs.make(&new, Some(ROOT)) {
            root.nlink = 2;
            fs.parked.lock().insert(ROOT.0, root);
        }
        fs
    }

    /// Hash of a name: from its slot, if that has one.
    pub(crate) fn hash(&self, slot: DirSlot, name: Name<'_>) -> u64 {
        if slot == DirSlot::default() {
            Dir::hash(&self.hasher, name)
        } else {
            dir::hash_of(slot)
        }
    }

    /// Takes space for the missing ones of the blocks `start .. end`, as many from the start on as there is space for. Where
    /// it came to.
    fn take_blocks(&self, extents: &Extents, start: u64, end: u64) -> u64 {
        let missing = extents.missing(start, end);
        if missing == 0 {
            return end;
        }
        let mut left = self.space.take_some(missing, BLOCK);
        if left == missing {
            return end;
        }
        let mut reached = end;
        extents.gaps(start, end, |from, to| {
            let count = to.saturating_sub(from);
            if count > left {
                reached = from.saturating_add(left);
                return false;
            }
            left = left.saturating_sub(count);
            true
        });
        reached
    }

    /// Frees the blocks `start .. end`.
    fn free_blocks(&self, file: &mut Regular, start: u64, end: u64) {
        let freed = file.extents.remove(start, end);
        file.blocks = file.blocks.saturating_sub(freed);
        self.space.give(freed.saturating_mul(BLOCK));
    }
}

/// The blocks that `offset .. offset + len` touches.
fn blocks(offset: u64, len: u64) -> Result<(u64, u64)> {
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    let end = end.div_ceil(BLOCK);
    if end > BLOCKS_END {
        return Err(Errno::EFBIG);
    }
    Ok((offset / BLOCK, end))
}

impl FileSystem for Tmpfs {
    type Inode = Node;

    fn root(&self) -> Ino {
        ROOT
    }

    fn limits(&self) -> Limits {
        Limits {
            block_size: 4096,
            name_max: 255,
            file_size_max: FILE_SIZE_MAX,
            link_max: LINK_MAX,
            symlink_max: SYMLINK_MAX,
            time_granularity: 1,
            memory: true,
            revalidate: false,
            folds: false,
            flag_numbers: FlagNumbers::Bsd,
        }
    }

    fn statistics(&self) -> Result<FsStatistics> {
        let space = self.space.limit().unwrap_or(0);
        let free = space.saturating_sub(self.space.used()) / BLOCK;
        let files = self.inodes.limit().unwrap_or(0);
        Ok(FsStatistics {
            block_size: 4096,
            blocks: space / BLOCK,
            blocks_free: free,
            blocks_available: free,
            files,
            files_free: files.saturating_sub(self.inodes.used()),
        })
    }

    fn load(&self, ino: Ino) -> Result<Node> {
        self.parked.lock().remove(&ino.0).ok_or(Errno::ESTALE)
    }

    fn attributes(&self, inode: &Node) -> Attributes {
        inode.attributes()
    }

    fn lookup(&self, dir: &Node, name: Name<'_>) -> Result<Found> {
        let hash = Dir::hash(&self.hasher, name);
        Ok(match dir.dir()?.find(hash, name) {
            Some((entry, slot)) => Found::Entry(entry.ino, slot),
            None => Found::Absent(dir::absent(hash)),
        })
    }

    fn parent(&self, dir: &Node) -> Result<Ino> {
        Ok(dir.dir()?.parent)
    }

    fn read_dir(&self, dir: &Node, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        for entry in dir.dir()?.list(from.0) {
            let more = emit.emit(DirEntry {
                name: entry.name(),
                ino: entry.ino,
                file_type: Some(entry.file_type),
                next: DirCookie(entry.sequence.saturating_add(1)),
            });
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, inode: &Node) -> Result<Vec<u8>> {
        match &inode.kind {
            Kind::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn map(&self, inode: &Node, offset: u64, _len: u64) -> Result<Extent> {
        let (inside, end) = inode.regular()?.extents.find(offset / BLOCK);
        Ok(Extent {
            place: if inside { Place::Resident } else { Place::Hole },
            len: end.saturating_mul(BLOCK).saturating_sub(offset).max(1),
        })
    }

    fn create(
        &self,
        dir: &mut Node,
        slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<(Ino, Node)> {
        let node = self.create_in(dir, slot, name, new)?;
        Ok((node.ino, node))
    }

    fn create_unnamed(&self, _dir: &Node, new: &NewInode) -> Result<(Ino, Node)> {
        let node = self.make(new, None)?;
        Ok((node.ino, node))
    }

    fn link(
        &self,
        dir: &mut Node,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut Node,
        _space: Space,
        time: Timespec,
    ) -> Result<()> {
        self.link_in(dir, slot, name, target, time)
    }

    fn unlink(
        &self,
        dir: &mut Node,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut Node,
        time: Timespec,
    ) -> Result<()> {
        self.unlink_in(dir, slot, name, target, time)
    }

    fn rename(&self, op: Rename<'_, Node>) -> Result<Renamed> {
        self.move_entry(op)?;
        Ok(Renamed::default())
    }

    fn set_attributes(&self, inode: &mut Node, change: &SetAttributes) -> Result<()> {
        inode.set_attributes(change)
    }

    fn allocate(
        &self,
        inode: &mut Node,
        offset: u64,
        len: u64,
        size_at_least: u64,
        _space: Space,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<u64> {
        let (start, end) = blocks(offset, len)?;
        let file = inode.regular_mut()?;
        let end = self.take_blocks(&file.extents, start, end);
        if end == start {
            return Err(Errno::ENOSPC);
        }
        let mut added = 0_u64;
        file.extents.gaps(start, end, |from, to| {
            let count = to.saturating_sub(from);
            added = added.saturating_add(count);
            placed(Placed {
                offset: from.saturating_mul(BLOCK),
                len: count.saturating_mul(BLOCK),
                device: None,
            });
            true
        });
        file.extents.insert(start, end);
        file.blocks = file.blocks.saturating_add(added);
        let reached = end.saturating_mul(BLOCK);
        file.size = file.size.max(size_at_least.min(reached));
        Ok(reached.saturating_sub(offset))
    }

    fn reserve(&self, inode: &mut Node, offset: u64, len: u64, _space: Space) -> Result<()> {
        let (start, end) = blocks(offset, len)?;
        let file = inode.regular_mut()?;
        let missing = file.extents.missing(start, end);
        self.space
            .take(missing.checked_mul(BLOCK).ok_or(Errno::ENOSPC)?)?;
        file.extents.insert(start, end);
        file.blocks = file.blocks.saturating_add(missing);
        Ok(())
    }

    fn set_size(&self, inode: &mut Node, size: u64, time: Timespec) -> Result<()> {
        if size > FILE_SIZE_MAX {
            return Err(Errno::EFBIG);
        }
        let file = inode.regular_mut()?;
        self.free_blocks(file, size.div_ceil(BLOCK), BLOCKS_END);
        file.size = size;
        inode.changed(time);
        Ok(())
    }

    fn punch(&self, inode: &mut Node, offset: u64, len: u64) -> Result<()> {
        let (start, end) = blocks(offset, len)?;
        self.free_blocks(inode.regular_mut()?, start, end);
        Ok(())
    }

    fn reclaim(&self, inode: Node) -> Result<()> {
        if inode.nlink > 0 {
            self.parked.lock().insert(inode.ino.0, inode);
        } else {
            let space = inode.space();
            if space > 0 {
                self.space.give(space);
            }
            self.inodes.give();
        }
        Ok(())
    }

    fn get_xattr(&self, inode: &Node, name: &[u8]) -> Result<Vec<u8>> {
        inode.xattrs.get(name)
    }

    fn list_xattrs(&self, inode: &Node, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        inode.xattrs.names().for_each(each);
        Ok(())
    }

    fn set_xattr(
        &self,
        inode: &mut Node,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        _space: Space,
        time: Timespec,
    ) -> Result<()> {
        let (added, freed) = inode.xattrs.cost(name, value, mode)?;
        self.space.take(added.saturating_sub(freed))?;
        inode.xattrs.set(name, value);
        self.space.give(freed.saturating_sub(added));
        inode.ctime = PackedTime::new(time);
        Ok(())
    }

    fn remove_xattr(&self, inode: &mut Node, name: &[u8], time: Timespec) -> Result<()> {
        let freed = inode.xattrs.remove(name)?;
        self.space.give(freed);
        inode.ctime = PackedTime::new(time);
        Ok(())
    }

    fn remount(&self, _read_only: bool) -> Result<()> {
        Ok(())
    }
}
