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

use crate::name::Name;
use alloc::{boxed::Box, string::String, sync::Arc, vec, vec::Vec};
use rumpkern::{Cred, FileType, Log, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Host, Result, Timespec};

pub use rumpbio::Space;

/// An inode number, unique on its mount. For formats without such numbers the driver makes them up (see
/// [`Renamed::rekeyed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

/// Where in a directory an entry is or could be put: found by `lookup`, used by the `create`, `link`, `unlink` or
/// `rename` that follows under the same exclusive lock of the directory. Its words mean something to the driver alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirSlot(pub [u64; 3]);

/// What `lookup` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An entry, and where it is.
    Entry(Ino, DirSlot),
    /// No entry, and where one could be put.
    Absent(DirSlot),
}

/// Position in a directory listing. 0 is the start; other values are the driver's, and stay valid while the directory is
/// open: an entry that is there all the time is listed exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirCookie(pub u64);

/// One entry of a directory as listed. `rumpvfs` makes `.` and `..` itself and passes over those of a driver, and with a message over
/// what is no [`Name`].
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Name, as bytes of the medium.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: Ino,
    /// Type where the directory tells it.
    pub file_type: Option<FileType>,
    /// Where listing goes on after this entry.
    pub next: DirCookie,
}

/// Takes the entries of a directory listing.
pub trait DirEmit {
    /// Takes one entry; `false` when it had no room: the listing ends before this entry.
    fn emit(&mut self, entry: DirEntry<'_>) -> bool;

    /// Whether attributes are wanted beside the entries. A format whose directories hold all about a file then gives what is no
    /// directory through [`emit_with`](Self::emit_with), which saves that each inode is looked for.
    fn wants_attributes(&self) -> bool {
        false
    }

    /// As [`emit`](Self::emit), with what [`attributes`](FileSystem::attributes) would tell of the inode.
    fn emit_with(&mut self, entry: DirEntry<'_>, attributes: &Attributes) -> bool {
        let _ = attributes;
        self.emit(entry)
    }
}

/// Attributes of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub ino: Ino,
    /// Generation: with the number, unique for all time.
    pub generation: u64,
    /// Type.
    pub file_type: FileType,
    /// Permission, set-id and sticky bits: at most 0o7777.
    pub mode: u32,
    /// Number of names.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of device nodes.
    pub rdev: DeviceNumber,
    /// Size in bytes.
    pub size: u64,
    /// Space in use in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of data.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Creation.
    pub birthtime: Option<Timespec>,
    /// File flags in the format's own numbers.
    pub flags: u32,
    /// `immutable` and `append only`, which `rumpvfs` enforces.
    pub protection: Protection,
    /// Whether an access ACL may exist: `rumpvfs` then asks [`FileSystem::get_xattr`] for it.
    pub has_acl: bool,
}

impl Attributes {
    /// Attributes of a file in a format that knows no more of it: one name, root's, times 0.
    #[must_use]
    pub const fn new(ino: Ino, file_type: FileType, mode: u32, size: u64) -> Self {
        let epoch = Timespec::from_secs(0);
        Self {
            ino,
            generation: 0,
            file_type,
            mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: DeviceNumber { major: 0, minor: 0 },
            size,
            blocks: size.div_ceil(512),
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            birthtime: None,
            flags: 0,
            protection: Protection {
                immutable: false,
                append_only: false,
            },
            has_acl: false,
        }
    }
}

/// Flags that forbid changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// Nothing may be changed.
    pub immutable: bool,
    /// Data may only be appended.
    pub append_only: bool,
}

/// A change of attributes; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// New permission bits, at most 0o7777.
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New access time.
    pub atime: Option<Timespec>,
    /// New modification time.
    pub mtime: Option<Timespec>,
    /// New inode change time.
    pub ctime: Option<Timespec>,
    /// New creation time, where the format keeps one; else ignored.
    pub birthtime: Option<Timespec>,
    /// New file flags.
    pub flags: Option<u32>,
}

/// A file to be made.
#[derive(Clone, Debug)]
pub struct NewInode {
    /// Type with what only that type has.
    pub kind: NewKind,
    /// Permission bits, after umask and default ACL: at most 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group, after BSD or System V rules.
    pub gid: u32,
    /// Time for all its times.
    pub time: Timespec,
    /// Extended attributes that it is born with (inherited ACLs): name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Which blocks it may take.
    pub space: Space,
}

/// Type of a file to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewKind {
    /// Empty regular file.
    Regular,
    /// Empty directory.
    Directory,
    /// Symbolic link with its target, 1 to 4,095 bytes.
    Symlink(Vec<u8>),
    /// FIFO.
    Fifo,
    /// Local socket.
    Socket,
    /// Block device node.
    Block(DeviceNumber),
    /// Character device node.
    Character(DeviceNumber),
}

/// A renaming. One directory when `to_dir` is `None`: the locks of the call are then `from_dir`, the moved inode, the
/// replaced one.
pub struct Rename<'a, I> {
    /// Directory of the old name.
    pub from_dir: &'a mut I,
    /// Directory of the new name, if another.
    pub to_dir: Option<&'a mut I>,
    /// Old name and its place.
    pub from: (Name<'a>, DirSlot),
    /// New name and its place (of the entry that is replaced, or where one could be put). After the old entry is taken
    /// away or the new one put into the same directory, the other slot may be stale; the driver sees to it.
    pub to: (Name<'a>, DirSlot),
    /// What moves.
    pub inode: &'a mut I,
    /// What the new name referred to. A directory must be empty: the driver checks, `ENOTEMPTY`.
    pub replaced: Option<&'a mut I>,
    /// With `true`, `inode` and `replaced` (always there) change places, and a directory need not be empty.
    pub exchange: bool,
    /// Which blocks the new name may take.
    pub space: Space,
    /// Time for the times that change.
    pub time: Timespec,
}

/// What came of a renaming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// The moved inode's new number, where the number is made from the place of the entry (msdosfs).
    pub rekeyed: Option<Ino>,
    /// The new number of the inode that was replaced, if the moved one has its place now.
    pub replaced: Option<Ino>,
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where the data is.
    pub place: Place,
    /// Bytes from the offset asked for that this holds for, above 0. May reach past the end of the file.
    pub len: u64,
}

/// Where the data of a piece of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the device, from this byte on.
    Device(u64),
    /// Blocks are reserved at this byte of the device, but read as zeros.
    Unwritten(u64),
    /// Nowhere: it reads as zeros.
    Hole,
    /// Not in plain blocks: only [`FileSystem::read_pages`] can tell (inline or compressed data). Data in the inode itself is
    /// shorter than 4 KiB.
    Opaque,
    /// In the page cache alone (tmpfs).
    Resident,
}

/// Where `allocate` put newly allocated bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Offset in the file, a multiple of the block size.
    pub offset: u64,
    /// Bytes, a multiple of the block size.
    pub len: u64,
    /// Byte on the device; `None` for memory (tmpfs).
    pub device: Option<u64>,
}

/// Numbers of a mounted file system that do not change while it is mounted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Unit of allocation of file data in bytes, a power of two: pages are never smaller.
    pub block_size: u32,
    /// Longest name in bytes, at most [`NAME_MAX`](crate::name::NAME_MAX).
    pub name_max: usize,
    /// Largest file in bytes.
    pub file_size_max: u64,
    /// Most names of one inode.
    pub link_max: u64,
    /// Longest symbolic link in bytes; 0: the format has none.
    pub symlink_max: usize,
    /// Finest step of times in nanoseconds: `rumpvfs` rounds down to it.
    pub time_granularity: u32,
    /// Pages are the only copy of the data: never dropped, never written (tmpfs).
    pub memory: bool,
    /// The truth lies elsewhere (nfs, puffs): names and attributes must be asked for again.
    pub revalidate: bool,
    /// Names that differ in case, or in other ways that the driver knows, lead to the same entry (msdosfs): no name is
    /// cached but `..`, and a renaming to another form of the same name comes to the driver as one that replaces nothing.
    /// Renamings of such a mount, which may give new numbers, come one at a time.
    pub folds: bool,
}

impl Limits {
    /// Numbers of a format that is only read and sets no limits of its own.
    #[must_use]
    pub const fn read_only(block_size: u32) -> Self {
        Self {
            block_size,
            name_max: crate::name::NAME_MAX,
            file_size_max: i64::MAX.unsigned_abs(),
            link_max: u32::MAX as u64,
            symlink_max: 4095,
            time_granularity: 1,
            memory: false,
            revalidate: false,
            folds: false,
        }
    }
}

/// Space and inodes of a mounted file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsStatistics {
    /// Unit of the block counts in bytes.
    pub block_size: u32,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for [`Space::Ordinary`].
    pub blocks_available: u64,
    /// All inodes; 0 if there is no fixed number.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

/// How an extended attribute is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Make or replace.
    Set,
    /// Make; `EEXIST` if it is there.
    Create,
    /// Replace; `ENOATTR` if it is not there.
    Replace,
}

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

    /// Makes an inode without a name (`O_TMPFILE`): link count 0, freed by [`reclaim`](Self::reclaim) or after a crash.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    fn create_unnamed(&self, _new: &NewInode) -> Result<(Ino, Self::Inode)> {
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

    /// Changes between read-only and read-write, or gives new options. On the way to read-only everything was synced and
    /// no file is open for writing.
    ///
    /// # Errors
    /// `EROFS` when the device or a feature allows no writes, `EINVAL` for an option.
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

/// What a driver gets at mount.
pub struct MountContext {
    /// The device, if one was named. A driver without a device must refuse one, and the other way round, with `EINVAL`.
    pub device: Option<Arc<dyn BlockDevice>>,
    /// Nothing may be written, not even by the replay of a log.
    pub read_only: bool,
    /// Options of the driver: name and value. It must refuse what it does not know with `EINVAL` and a message.
    pub options: Vec<(String, Option<String>)>,
    /// Clocks, randomness, threads.
    pub host: Arc<dyn Host>,
    /// Writes to the kernel's messages, prefixed with the type and the device's path.
    pub log: Log,
    /// To be called from [`Hooks::write_ordered`](rumpbio::Hooks::write_ordered): writes all dirty pages of this mount that
    /// have a place on the device.
    pub ordered: Arc<dyn WriteOrdered>,
    /// Bytes that the driver's metadata cache may take.
    pub cache_bytes: usize,
}

impl MountContext {
    /// Wall time.
    #[must_use]
    pub fn now(&self) -> Timespec {
        self.host.wall()
    }

    /// For a driver without options: there must be none.
    ///
    /// # Errors
    /// `EINVAL`, with a message.
    pub fn no_options(&self) -> Result<()> {
        match self.options.first() {
            None => Ok(()),
            Some((name, _)) => {
                self.log.message(format_args!("unknown option {name}"));
                Err(Errno::EINVAL)
            }
        }
    }

    /// The device, for a driver that only reads.
    ///
    /// # Errors
    /// `EINVAL` when there is none; `EROFS`, with a message, when the mount is not read-only.
    pub fn read_only_device(&self) -> Result<Arc<dyn BlockDevice>> {
        let device = self.device.clone().ok_or(Errno::EINVAL)?;
        if self.read_only {
            return Ok(device);
        }
        self.log
            .message(format_args!("this file system can only be read"));
        Err(Errno::EROFS)
    }
}

/// The page cache's side of `data=ordered`.
pub trait WriteOrdered: Send + Sync {
    /// Writes the dirty pages of the mount to the device, without a flush. Takes no inode lock.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    fn write_ordered(&self) -> Result<()>;
}

/// What a probe found on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// How it would be called more exactly, such as `"ext4"`.
    pub variant: String,
    /// Volume label.
    pub label: Option<String>,
    /// Volume UUID or serial number as text.
    pub uuid: Option<String>,
    /// More facts for a person, in order: name and value (`"block size"`, `"1024"`; `"features"`, ...; `"state"`, `"clean"`).
    pub facts: Vec<(String, String)>,
}

impl Probe {
    /// Nothing but what it would be called.
    #[must_use]
    pub fn of(variant: &str) -> Self {
        Self {
            variant: variant.into(),
            ..Self::default()
        }
    }
}

/// A kind of file system: what a driver registers.
pub trait FsType: Send + Sync {
    /// Name for `mount`, such as `"ext2fs"`.
    fn name(&self) -> &'static str;

    /// Other names that `mount` takes, such as `"ext4"`.
    fn aliases(&self) -> &'static [&'static str] {
        &[]
    }

    /// Looks whether the device holds this format, by magic numbers alone: a damaged volume is still found.
    ///
    /// # Errors
    /// `EIO` from the device.
    fn probe(&self, _device: &dyn BlockDevice) -> Result<Option<Probe>> {
        Ok(None)
    }

    /// Whether it needs no device.
    fn nodev(&self) -> bool {
        false
    }

    /// Mounts.
    ///
    /// # Errors
    /// `EINVAL` when it is not this format or an option is wrong, `EIO` when damaged, `EROFS` when it can only be mounted
    /// read-only and `read_only` is not set, `EOPNOTSUPP` for a feature that is not supported. The log tells more.
    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>>;
}

/// An erased [`FileSystem`]; [`erase`] makes one.
pub use crate::erased::{AnyFileSystem, erase};
