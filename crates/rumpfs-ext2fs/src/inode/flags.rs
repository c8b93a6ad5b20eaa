//! `i_flags`.

use bitflags::bitflags;

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InodeFlags: u32 {
        /// Delete securely.
        const SECRM = 0x0000_0001;
        /// Keep for undeletion.
        const UNRM = 0x0000_0002;
        /// Compress.
        const COMPR = 0x0000_0004;
        /// Write synchronously.
        const SYNC = 0x0000_0008;
        /// May not be changed.
        const IMMUTABLE = 0x0000_0010;
        /// May only grow at the end.
        const APPEND = 0x0000_0020;
        /// Not for dump.
        const NODUMP = 0x0000_0040;
        /// Access times stay.
        const NOATIME = 0x0000_0080;
        /// Compressed and dirty.
        const DIRTY = 0x0000_0100;
        /// Has compressed clusters.
        const COMPRBLK = 0x0000_0200;
        /// Do not compress.
        const NOCOMPR = 0x0000_0400;
        /// Content is encrypted.
        const ENCRYPT = 0x0000_0800;
        /// The directory has an index.
        const INDEX = 0x0000_1000;
        /// AFS directory.
        const IMAGIC = 0x0000_2000;
        /// File data goes through the journal.
        const JOURNAL_DATA = 0x0000_4000;
        /// The tail of the file must not be merged.
        const NOTAIL = 0x0000_8000;
        /// Directory changes are synchronous.
        const DIRSYNC = 0x0001_0000;
        /// Top of a directory hierarchy, for the allocator.
        const TOPDIR = 0x0002_0000;
        /// `i_blocks` counts in blocks of the file system.
        const HUGE_FILE = 0x0004_0000;
        /// `i_block` is the root of an extent tree.
        const EXTENTS = 0x0008_0000;
        /// Has a Merkle tree after its end.
        const VERITY = 0x0010_0000;
        /// Holds the value of an extended attribute.
        const EA_INODE = 0x0020_0000;
        /// Blocks past the end of the file.
        const EOFBLOCKS = 0x0040_0000;
        /// Direct access.
        const DAX = 0x0200_0000;
        /// Data lies in the inode.
        const INLINE_DATA = 0x1000_0000;
        /// Children have the same project.
        const PROJINHERIT = 0x2000_0000;
        /// Case-insensitive directory.
        const CASEFOLD = 0x4000_0000;
        /// Reserved.
        const RESERVED = 0x8000_0000;
        const _ = !0;
    }
}
