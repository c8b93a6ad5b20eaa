//! What a mounted file system can do, and how full it is.

/// Whose numbers the file flags of a format are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagNumbers {
    /// Those of `FS_IOC_GETFLAGS` (Linux, ext2 and its heirs).
    Linux,
    /// Those of chflags(2).
    Bsd,
    /// Those of nobody else.
    Own,
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
    /// Whose numbers [`Attributes::flags`](super::Attributes::flags) are.
    pub flag_numbers: FlagNumbers,
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
            flag_numbers: FlagNumbers::Own,
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
    /// Free blocks for [`Space::Ordinary`](super::Space::Ordinary).
    pub blocks_available: u64,
    /// All inodes; 0 if there is no fixed number.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}
