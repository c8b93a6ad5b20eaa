//! The contract between `rumpvfs` and file system drivers.
//!
//! `rumpvfs` walks paths, caches names, inodes and pages, checks permissions and read-only mounts, locks, and decides
//! about times. A driver only translates: names and offsets on one side, its format on the other.
//!
//! **Locking is in the signature.** `rumpvfs` keeps each live inode behind a sleep lock and hands it in as `&Inode`
//! (shared) or `&mut Inode` (exclusive). A driver never locks an inode; what it shares between inodes (allocation maps)
//! it locks itself, below all inodes.
//!
//! **All or nothing.** A method that returns an error has changed nothing: neither the medium (drop the
//! [`Handle`](rumpbio::Handle)) nor the `&mut Inode` (put the copy back).
//!
//! **Checked before the call**, so that no driver repeats it: the mount is writable, permissions, sticky bits, name
//! length and form, that `dir` is a directory, that both ends of a link or rename are on this mount, that a rename does
//! not put a directory into itself, and that the types of replaced and replacing file agree.
//!
//! **Times.** `create`, `link`, `unlink`, `rename` and `set_attributes` are given the time in their arguments or take
//! [`MountContext::now`]; they update the times of what they change as POSIX says (the parent's mtime and ctime, the
//! target's ctime). For reads and writes of data, `rumpvfs` gathers times and brings them with `set_attributes`.

mod dir;
mod extent;
mod fs_type;
mod inode;
mod limits;

use crate::name::Name;
use alloc::{sync::Arc, vec, vec::Vec};
use rumpkern::Cred;
use rumpuser::{BlockDevice, Errno, Result, Timespec};

/// An erased [`FileSystem`]; [`erase`] makes one.
pub use crate::erased::{AnyFileSystem, erase};
pub use dir::{DirCookie, DirEmit, DirEntry, DirSlot, Found, Rename, Renamed};
pub use extent::{Extent, Place, Placed};
pub use fs_type::{FsType, MountContext, Probe, WriteOrdered};
pub use inode::{Attributes, Ino, NewInode, NewKind, Protection, SetAttributes};
pub use limits::{FlagNumbers, FsStatistics, Limits};
pub use rumpbio::{Space, XattrMode};

/// A mounted file system.
///
/// Required methods make a read-only driver; the others say `EROFS` or `EOPNOTSUPP` until overridden.
pub trait FileSystem: Send + Sync + 'static {
    /// A live inode.
    type Inode: Send + Sync + 'static;

    /// Number of the root directory.
    fn root(&self) -> Ino;

    /// What does not change while it is mounted.
    fn limits(&self) -> Limits;

    /// Space and inodes. Unless overridden, none are told.
    ///
    /// # Errors
    /// `EIO`.
    fn statistics(&self) -> Result<FsStatistics> {
        Ok(FsStatistics {
            block_size: self.limits().block_size,
            ..FsStatistics::default()
        })
    }

    /// Which free blocks may be used on behalf of `cred`. Unless overridden, the superuser may use those that are kept back. Pure
    /// and quick; asked at `open` for all that is written through the descriptor, else at each call.
    fn space_for(&self, cred: &Cred) -> Space {
        if cred.is_root() {
            Space::Reserve
        } else {
            Space::Ordinary
        }
    }

    /// Reads an inode. Called once until [`reclaim`](Self::reclaim): `rumpvfs` keeps loads of the same number apart.
    ///
    /// # Errors
    /// `ESTALE` when the number is of no inode in use (file handles come here unchecked), `EIO` when it is damaged.
    fn load(&self, ino: Ino) -> Result<Self::Inode>;

    /// Attributes of an inode. Pure and quick.
    fn attributes(&self, inode: &Self::Inode) -> Attributes;

    /// Calls `each` with what [`load`](Self::load) and [`attributes`](Self::attributes) would tell of inodes, by their place in `inodes`, for listings,
    /// which need no more of most files. None of them is live now; their numbers rise. What is not told is loaded, and that is all unless overridden.
    fn glance(&self, _inodes: &[Ino], _each: &mut dyn FnMut(usize, &Attributes)) {}

    /// Finds a name. Never called for `.` and `..`. Unless overridden, the directory is listed until the name comes: enough
    /// for a driver that only reads and whose directories have no index.
    ///
    /// # Errors
    /// `EIO` when the directory is damaged.
    fn lookup(&self, dir: &Self::Inode, name: Name<'_>) -> Result<Found> {
        let mut find = Find {
            name: name.bytes(),
            found: None,
        };
        let read = self.read_dir(dir, DirCookie::default(), &mut find);
        let slot = DirSlot::default();
        match find.found {
            Some(ino) => Ok(Found::Entry(ino, slot)),
            None => read.map(|()| Found::Absent(slot)),
        }
    }

    /// Number of the directory that holds this directory (its `..`); the root's is itself. Unless overridden, the directory is listed
    /// until `..` comes.
    ///
    /// # Errors
    /// `EIO` when the directory is damaged.
    fn parent(&self, dir: &Self::Inode) -> Result<Ino> {
        let mut find = Find {
            name: b"..",
            found: None,
        };
        let read = self.read_dir(dir, DirCookie::default(), &mut find);
        find.found.ok_or(read.err().unwrap_or(Errno::EIO))
    }

    /// Lists a directory from a position on, until its end or until `emit` says `false`.
    ///
    /// # Errors
    /// `EIO` when the directory is damaged; entries before the damage have been emitted.
    fn read_dir(&self, dir: &Self::Inode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()>;

    /// Target of a symbolic link, 1 to `symlink_max` bytes. Called for symbolic links only. Unless overridden, it is what the inode
    /// has as data, in one piece.
    ///
    /// # Errors
    /// `EIO` when it is damaged.
    fn read_link(&self, inode: &Self::Inode) -> Result<Vec<u8>> {
        let limit = self.limits().symlink_max as u64;
        let size = self.attributes(inode).size;
        let extent = self.map(inode, 0, size)?;
        if size > limit || extent.len < size {
            return Err(Errno::EIO);
        }
        let mut target = vec![0; size as usize];
        match (extent.place, self.device()) {
            (Place::Device(at), Some(device)) => device.read_at(at, &mut target)?,
            (Place::Opaque, _) => self.read_pages(inode, 0, &mut target)?,
            _ => return Err(Errno::EIO),
        }
        Ok(target)
    }

    /// Where the file's data at `offset` is. `len` says how much the caller is interested in (a hint for how far to look).
    /// Offsets past the end are asked too and may be holes. `offset` is a multiple of the block size.
    ///
    /// # Errors
    /// `EIO` when the map is damaged.
    fn map(&self, inode: &Self::Inode, offset: u64, len: u64) -> Result<Extent>;

    /// Fills `buf` with the file's bytes at `offset` for [`Place::Opaque`] pieces; bytes past the end become zeros.
    /// `offset` is a multiple of the block size.
    ///
    /// # Errors
    /// `EIO`; `EOPNOTSUPP` for data in a form that the driver cannot read (encrypted).
    fn read_pages(&self, _inode: &Self::Inode, _offset: u64, _buf: &mut [u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes an inode with a name in `dir`, at `slot`, which an unsuccessful `lookup` gave. For a directory: with its `.`
    /// and `..`, and `dir`'s link count raised.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `EIO`; `EMLINK` when `dir` cannot have one more subdirectory; `EOPNOTSUPP` for a kind that the
    /// format does not have.
    fn create(
        &self,
        _dir: &mut Self::Inode,
        _slot: DirSlot,
        _name: Name<'_>,
        _new: &NewInode,
    ) -> Result<(Ino, Self::Inode)> {
        Err(Errno::EROFS)
    }

    /// Makes an inode without a name (`O_TMPFILE`), as one of `dir` in all else: link count 0, freed by [`reclaim`](Self::reclaim) or after a crash.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    fn create_unnamed(&self, _dir: &Self::Inode, _new: &NewInode) -> Result<(Ino, Self::Inode)> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives a file that is no directory one more name.
    ///
    /// # Errors
    /// `EMLINK`, `ENOSPC`, `EIO`, `EOPNOTSUPP`.
    fn link(
        &self,
        _dir: &mut Self::Inode,
        _slot: DirSlot,
        _name: Name<'_>,
        _target: &mut Self::Inode,
        _space: Space,
        _time: Timespec,
    ) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Takes a name away; `slot` is where `lookup` found it. The target keeps its data until [`reclaim`](Self::reclaim)
    /// even when this was its last name; a crash before frees it (orphan list). For a directory (rmdir): it must be
    /// empty, and `dir`'s link count falls.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `EIO`.
    fn unlink(
        &self,
        _dir: &mut Self::Inode,
        _slot: DirSlot,
        _name: Name<'_>,
        _target: &mut Self::Inode,
        _time: Timespec,
    ) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Renames, in one transaction. A moved directory's `..` and the link counts of both parents follow.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `ENOSPC`, `EMLINK`, `EIO`; `EOPNOTSUPP` for an exchange that the format cannot do atomically.
    fn rename(&self, _op: Rename<'_, Self::Inode>) -> Result<Renamed> {
        Err(Errno::EROFS)
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// `EIO`; `EOPNOTSUPP` for flags that the format has not; formats without owners or modes ignore those.
    fn set_attributes(&self, _inode: &mut Self::Inode, _change: &SetAttributes) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Makes sure that every block of `offset .. offset + len` of a regular file has a place on the device and counts as
    /// written, and that the size is at least `size_at_least`, in one transaction. What was reserved is written whatever `space`
    /// says. `placed` is called, inside the
    /// transaction, for each piece that was a hole, unwritten or opaque before: `rumpvfs` then has its pages dirty in the
    /// page cache before the transaction can commit, and writes them before it commits. Data that must leave the inode is
    /// placed as well, even if the range does not touch it (`placed` at offset 0). May do less than asked (the
    /// transaction's limit): returns the bytes done from `offset` on, above 0, and `size_at_least` is then cut to that.
    ///
    /// Blocks at the end of the file that had a place may get another (fragments of ffs). The driver has copied their bytes on the
    /// device then, and `placed` tells of them as well, before the range or in it: what the page cache has of them is dirty from then on.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `EFBIG`, `EIO`. On error `placed` may have been called: `rumpvfs` forgets those pages.
    fn allocate(
        &self,
        _inode: &mut Self::Inode,
        _offset: u64,
        _len: u64,
        _size_at_least: u64,
        _space: Space,
        _placed: &mut dyn FnMut(Placed),
    ) -> Result<u64> {
        Err(Errno::EROFS)
    }

    /// Reserves blocks without writing them (`posix_fallocate`): they read as zeros. The size does not change.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); `EOPNOTSUPP`.
    fn reserve(
        &self,
        _inode: &mut Self::Inode,
        _offset: u64,
        _len: u64,
        _space: Space,
    ) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets the size of a regular file. Blocks past a smaller size are freed; pages past it are gone already, and the rest
    /// of the last page is zero in the page cache and dirty. A larger size makes a hole; data in the inode has been moved to
    /// blocks by [`allocate`](Self::allocate) before, unless there is none. Very large files may be
    /// shortened in several transactions, crash-safe (the file stays on the orphan list meanwhile).
    ///
    /// # Errors
    /// `EFBIG`, `EIO`.
    fn set_size(&self, _inode: &mut Self::Inode, _size: u64, _time: Timespec) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// [Sets](Self::set_size) a larger size. For drivers that give the end of the file another place for that, as
    /// [`allocate`](Self::allocate) may: `placed` tells of it in the transaction.
    ///
    /// # Errors
    /// As `set_size`; `ENOSPC`.
    fn grow(
        &self,
        inode: &mut Self::Inode,
        size: u64,
        _space: Space,
        time: Timespec,
        _placed: &mut dyn FnMut(Placed),
    ) -> Result<()> {
        self.set_size(inode, size, time)
    }

    /// Makes a hole of whole blocks (offset and length are multiples of the block size). Never called while data is in the
    /// inode.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EIO`.
    fn punch(&self, _inode: &mut Self::Inode, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The last reference is gone. An inode without a name is freed with its blocks; another is just dropped (its changes
    /// are in transactions already).
    ///
    /// # Errors
    /// `EIO`; the inode stays on the orphan list.
    fn reclaim(&self, _inode: Self::Inode) -> Result<()> {
        Ok(())
    }

    /// Makes everything durable that methods changed. File data has been written (not flushed) by `rumpvfs` before.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Makes one inode durable: its data (written before by `rumpvfs`, not flushed), what is needed to find it, and unless
    /// `data_only` its attributes.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    fn sync_inode(&self, _inode: &Self::Inode, _data_only: bool) -> Result<()> {
        self.sync()
    }

    /// Called after operations, with no lock held: the driver may commit a transaction that has grown.
    ///
    /// # Errors
    /// As [`sync`](Self::sync). They are told in the kernel's messages: the operations are done, and a later `sync` fails.
    fn balance(&self) -> Result<()> {
        Ok(())
    }

    /// Value of an extended attribute by its full name (`user.x`, `system.posix_acl_access`, ...).
    ///
    /// # Errors
    /// `ENOATTR`, `EOPNOTSUPP` (format or name space), `EIO`.
    fn get_xattr(&self, _inode: &Self::Inode, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The project that a file belongs to, 0 if none.
    ///
    /// # Errors
    /// `EOPNOTSUPP` on a volume without projects.
    fn project(&self, _inode: &Self::Inode) -> Result<u32> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Calls `each` with every full attribute name.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EIO`.
    fn list_xattrs(&self, _inode: &Self::Inode, _each: &mut dyn FnMut(&[u8])) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute. Setting `system.posix_acl_access` does not change the mode; `rumpvfs` does.
    ///
    /// # Errors
    /// `EEXIST` or `ENOATTR` by `mode`, `ENOSPC`, `E2BIG`, `EOPNOTSUPP`, `EIO`.
    fn set_xattr(
        &self,
        _inode: &mut Self::Inode,
        _name: &[u8],
        _value: &[u8],
        _mode: XattrMode,
        _space: Space,
        _time: Timespec,
    ) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENOATTR`, `EOPNOTSUPP`, `EIO`.
    fn remove_xattr(&self, _inode: &mut Self::Inode, _name: &[u8], _time: Timespec) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Changes between read-only and read-write. On the way to read-only everything was synced and no file is open for
    /// writing.
    ///
    /// # Errors
    /// `EROFS` when the device or a feature allows no writes, `EIO`; `EOPNOTSUPP`, unless overridden.
    fn remount(&self, _read_only: bool) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The end: no inode is live, everything is synced. Marks the volume clean.
    ///
    /// # Errors
    /// `EIO`; the mount is gone all the same.
    fn unmount(&self) -> Result<()> {
        Ok(())
    }

    /// The device that [`Place::Device`] speaks of.
    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        None
    }
}

/// Looks for a name in a listing.
struct Find<'a> {
    name: &'a [u8],
    found: Option<Ino>,
}

impl DirEmit for Find<'_> {
    fn emit(&mut self, entry: DirEntry<'_>) -> bool {
        if entry.name == self.name {
            self.found = Some(entry.ino);
        }
        self.found.is_none()
    }
}
