//! Values that system calls take and give.

use bitflags::bitflags;
use rumpuser::Timespec;

/// Type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Block device.
    Block,
    /// Character device.
    Character,
    /// FIFO.
    Fifo,
    /// Local socket.
    Socket,
}

impl FileType {
    /// The `S_IFMT` bits of `st_mode`.
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::Character => 0o020_000,
            Self::Directory => 0o040_000,
            Self::Block => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The type in the `S_IFMT` bits of a `st_mode`, if they name one.
    #[must_use]
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::Character,
            0o040_000 => Self::Directory,
            0o060_000 => Self::Block,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }
}

/// A device number, as `dev_t` of the C library: major and minor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl DeviceNumber {
    /// A device number of its two parts.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

/// What `stat` tells about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Number of the mount.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Inode generation, for file handles.
    pub generation: u64,
    /// Type.
    pub file_type: FileType,
    /// Permission bits with set-id and sticky bits, at most 0o7777.
    pub mode: u32,
    /// Number of names.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, else zero.
    pub rdev: DeviceNumber,
    /// Size in bytes.
    pub size: u64,
    /// Preferred size of a transfer in bytes.
    pub blksize: u32,
    /// Space in use, in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of the data.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Creation, where the format keeps it.
    pub birthtime: Option<Timespec>,
    /// File flags: `chflags`'s on BSD formats, `FS_IOC_GETFLAGS`'s on ext.
    pub flags: u32,
}

/// What `statvfs` tells about a mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statvfs {
    /// Unit of the block counts in bytes.
    pub block_size: u32,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for an unprivileged process.
    pub blocks_available: u64,
    /// All inodes; 0 where the format has no fixed number.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Longest name in bytes.
    pub name_max: u32,
    /// Mount number (`Stat::dev`).
    pub fsid: u64,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Type, such as `"ext2fs"`.
    pub fs_type: alloc::string::String,
    /// What is mounted: device path.
    pub from: alloc::string::String,
    /// Where it is mounted.
    pub on: alloc::string::String,
}

bitflags! {
    /// How a file is opened. Bit values are this project's own, not a host's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        /// Reading only: the absence of the two below.
        const RDONLY = 0;
        /// Writing only.
        const WRONLY = 1;
        /// Reading and writing.
        const RDWR = 2;
        /// Create it if it is not there.
        const CREAT = 1 << 2;
        /// With `CREAT`: fail with `EEXIST` if it is there.
        const EXCL = 1 << 3;
        /// Truncate to nothing.
        const TRUNC = 1 << 4;
        /// Every write goes to the end.
        const APPEND = 1 << 5;
        /// Do not wait.
        const NONBLOCK = 1 << 6;
        /// `ENOTDIR` unless it is a directory.
        const DIRECTORY = 1 << 7;
        /// `ELOOP` if the last component is a symbolic link.
        const NOFOLLOW = 1 << 8;
        /// Closed by exec.
        const CLOEXEC = 1 << 9;
        /// Writes are durable when they return.
        const SYNC = 1 << 10;
        /// As `SYNC`, for the data alone.
        const DSYNC = 1 << 11;
        /// Do not change the access time.
        const NOATIME = 1 << 12;
        /// A descriptor that only names the file (`O_PATH`).
        const PATH = 1 << 13;
        /// An unnamed file in the directory given.
        const TMPFILE = 1 << 14;
    }
}

impl OpenFlags {
    /// Whether reading is asked for.
    #[must_use]
    pub fn reads(self) -> bool {
        !self.contains(Self::WRONLY)
    }

    /// Whether writing is asked for.
    #[must_use]
    pub fn writes(self) -> bool {
        self.intersects(Self::WRONLY.union(Self::RDWR))
    }
}

/// Where `lseek` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// To an offset from the start.
    Set(u64),
    /// Relative to the present offset.
    Current(i64),
    /// Relative to the end.
    End(i64),
    /// To the first data at or after an offset.
    Data(u64),
    /// To the first hole at or after an offset; the end counts as one.
    Hole(u64),
}
