//! Where the bytes of a file lie on the device.

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
    /// Not in plain blocks: only [`FileSystem::read_pages`](super::FileSystem::read_pages) can tell (inline or compressed data). Data in the inode itself is
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
