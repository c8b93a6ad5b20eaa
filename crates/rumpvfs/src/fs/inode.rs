//! Inodes as drivers show them: their attributes, and what changes and makes them.

use super::Space;
use alloc::vec::Vec;
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::Timespec;

/// An inode number, unique on its mount. For formats without such numbers the driver makes them up (see
/// [`Renamed::rekeyed`](super::Renamed::rekeyed)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

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
    /// Whether an access ACL may exist: `rumpvfs` then asks [`FileSystem::get_xattr`](super::FileSystem::get_xattr) for it.
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
    /// New project, in a format that [has them](super::FileSystem::project).
    pub project: Option<u32>,
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
