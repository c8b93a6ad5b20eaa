//! What can be wrong: where on the medium, what was expected, what was found.

use crate::journal;
use crate::types::{FileBlock, FsBlock, GroupNumber, InodeNumber};
use alloc::boxed::Box;
use core::fmt;
use rumpuser::Errno;

/// What fallible functions of this crate return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// A structure of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The superblock.
    Superblock,
    /// A group's descriptor.
    GroupDescriptor(GroupNumber),
    /// A group's block bitmap.
    BlockBitmap(GroupNumber),
    /// A group's inode bitmap.
    InodeBitmap(GroupNumber),
    /// An inode.
    Inode(InodeNumber),
    /// A node of an inode's extent tree; `None` is the root in the inode.
    ExtentNode(InodeNumber, Option<FsBlock>),
    /// An indirect block of an inode; `None` is the array in the inode.
    IndirectBlock(InodeNumber, Option<FsBlock>),
    /// A block of a directory and the byte offset of an entry in it.
    Directory {
        /// The directory.
        ino: InodeNumber,
        /// The block in it.
        block: FileBlock,
        /// Offset in the block in bytes.
        offset: u32,
    },
    /// A block of a directory's index.
    Htree(InodeNumber, FileBlock),
    /// The data of an inode that lies in the inode.
    InlineData(InodeNumber),
    /// The extended attributes in an inode.
    InodeXattrs(InodeNumber),
    /// The extended attributes of an inode in a block of their own.
    XattrBlock(InodeNumber, FsBlock),
    /// An inode that holds the value of an extended attribute.
    XattrInode(InodeNumber),
    /// The block of multiple mount protection.
    Mmp(FsBlock),
    /// A block of the orphan file.
    OrphanFile(FsBlock),
    /// A block of the journal, counted from its start.
    Journal(FileBlock),
    /// A block of the volume whose use is not known at this point.
    Block(FsBlock),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Superblock => write!(f, "superblock"),
            Self::GroupDescriptor(group) => write!(f, "group {group}: descriptor"),
            Self::BlockBitmap(group) => write!(f, "group {group}: block bitmap"),
            Self::InodeBitmap(group) => write!(f, "group {group}: inode bitmap"),
            Self::Inode(ino) => write!(f, "inode {ino}:"),
            Self::ExtentNode(ino, None) => write!(f, "inode {ino}: extent tree root"),
            Self::ExtentNode(ino, Some(block)) => {
                write!(f, "inode {ino}: extent tree block {block}")
            }
            Self::IndirectBlock(ino, None) => write!(f, "inode {ino}: block map"),
            Self::IndirectBlock(ino, Some(block)) => {
                write!(f, "inode {ino}: indirect block {block}")
            }
            Self::Directory { ino, block, offset } => {
                write!(f, "directory {ino}: block {block} offset {offset}:")
            }
            Self::Htree(ino, block) => write!(f, "directory {ino}: index block {block}"),
            Self::InlineData(ino) => write!(f, "inode {ino}: inline data"),
            Self::InodeXattrs(ino) => write!(f, "inode {ino}: attributes in the inode"),
            Self::XattrBlock(ino, block) => write!(f, "inode {ino}: attribute block {block}"),
            Self::XattrInode(ino) => write!(f, "attribute value inode {ino}:"),
            Self::Mmp(block) => write!(f, "MMP block {block}"),
            Self::OrphanFile(block) => write!(f, "orphan file block {block}"),
            Self::Journal(block) => write!(f, "journal block {block}"),
            Self::Block(block) => write!(f, "block {block}"),
        }
    }
}

/// What a field should have held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This value.
    Exactly(u64),
    /// A value from the first to the second, both included.
    Range(u64, u64),
    /// In words.
    Words(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exactly(value) => write!(f, "{value}"),
            Self::Range(low, high) => write!(f, "{low} to {high}"),
            Self::Words(text) => f.write_str(text),
        }
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device failed while a structure was read or written. Becomes the device's error.
    Device(Place, Errno),
    /// No superblock: the magic number is another. `EINVAL`.
    NotExt2 {
        /// What is in the place of `s_magic`.
        found: u16,
    },
    /// Features that must be known to mount and are not. `EOPNOTSUPP`.
    UnsupportedFeatures(Box<str>),
    /// The volume can only be read, and this is why. `EROFS`.
    ReadOnly(Box<str>),
    /// Somebody else has the volume, and this is who (multiple mount protection). `EBUSY`.
    InUse(Box<str>),
    /// The device is shorter than the file system. `EINVAL`.
    Truncated {
        /// Blocks of the file system.
        blocks: u64,
        /// Whole blocks of that size on the device.
        device: u64,
    },
    /// A checksum does not match. `EIO`.
    Checksum {
        /// The structure.
        place: Place,
        /// The checksum on the medium.
        stored: u32,
        /// The one of the content.
        computed: u32,
    },
    /// A field holds what it must not. `EIO`, in the superblock `EINVAL`.
    Value {
        /// The structure.
        place: Place,
        /// The field's name in the kernel's documentation, or what it means.
        field: &'static str,
        /// What it holds.
        found: u64,
        /// What it may hold.
        expected: Expected,
    },
    /// The inode is not in use. `ESTALE`.
    Unallocated(InodeNumber),
    /// A part of the format that this driver does not have. `EOPNOTSUPP`.
    Unsupported(Place, &'static str),
    /// The content is encrypted and there is no key. `ENOKEY`.
    NoKey(InodeNumber),
    /// The journal cannot be used. Becomes the journal error's own number.
    Journal(journal::Error),
    /// The caller asked for what cannot be: the answer of the operation, not a fault of the medium.
    Refused(Errno),
}

impl Error {
    /// A field that holds what it must not.
    pub(crate) fn value(
        place: Place,
        field: &'static str,
        found: impl Into<u64>,
        expected: Expected,
    ) -> Self {
        Self::Value {
            place,
            field,
            found: found.into(),
            expected,
        }
    }

    /// A field that holds what it must not, with what is expected in words.
    pub(crate) fn words(
        place: Place,
        field: &'static str,
        found: impl Into<u64>,
        expected: &'static str,
    ) -> Self {
        Self::value(place, field, found, Expected::Words(expected))
    }

    /// Whether the medium is at fault, so that a message in the kernel's buffer is due.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::Device(..) | Self::Checksum { .. } | Self::Value { .. } | Self::Journal(_)
        )
    }
}

/// Turns a device's error into one that says what was being read.
pub(crate) fn at(place: Place) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Device(place, errno)
}

impl From<&Error> for Errno {
    fn from(error: &Error) -> Self {
        match error {
            Error::Device(_, errno) | Error::Refused(errno) => *errno,
            Error::NotExt2 { .. }
            | Error::Truncated { .. }
            | Error::Value {
                place: Place::Superblock,
                ..
            } => Self::EINVAL,
            Error::UnsupportedFeatures(_) | Error::Unsupported(..) => Self::EOPNOTSUPP,
            Error::ReadOnly(_) => Self::EROFS,
            Error::InUse(_) => Self::EBUSY,
            Error::Checksum { .. } | Error::Value { .. } => Self::EIO,
            Error::Unallocated(_) => Self::ESTALE,
            Error::NoKey(_) => Self::ENOKEY,
            Error::Journal(error) => (*error).into(),
        }
    }
}

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Self {
        Self::Journal(error)
    }
}

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(place, errno) => write!(f, "{place} not read: {errno}"),
            Self::NotExt2 { found } => write!(
                f,
                "superblock magic 0x{found:04x}, expected 0xef53: no ext2, ext3 or ext4"
            ),
            Self::UnsupportedFeatures(names) => write!(f, "unsupported features: {names}"),
            Self::ReadOnly(why) => write!(f, "read-only: {why}"),
            Self::InUse(who) => write!(f, "in use: {who}"),
            Self::Truncated { blocks, device } => {
                write!(
                    f,
                    "the file system has {blocks} blocks, the device {device}: the image is cut off"
                )
            }
            Self::Checksum {
                place,
                stored,
                computed,
            } => {
                write!(
                    f,
                    "{place} checksum 0x{stored:04x}, computed 0x{computed:04x}"
                )
            }
            Self::Value {
                place,
                field,
                found,
                expected,
            } => write!(f, "{place} {field} {found}, expected {expected}"),
            Self::Unallocated(ino) => write!(f, "inode {ino}: not in use"),
            Self::Unsupported(place, what) => write!(f, "{place} {what}: not supported"),
            Self::NoKey(ino) => write!(f, "inode {ino}: encrypted, and there is no key"),
            // It names the journal itself.
            Self::Journal(error) => error.fmt(f),
            Self::Refused(errno) => write!(f, "{errno}"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn texts_say_where_and_what() {
        let place = Place::GroupDescriptor(GroupNumber(3));
        assert_eq!(
            Error::Checksum {
                place,
                stored: 0x1234,
                computed: 0x4321
            }
            .to_string(),
            "group 3: descriptor checksum 0x1234, computed 0x4321"
        );
        assert_eq!(
            Error::value(
                Place::Superblock,
                "s_log_block_size",
                9_u64,
                Expected::Range(0, 6)
            )
            .to_string(),
            "superblock s_log_block_size 9, expected 0 to 6"
        );
        assert_eq!(
            Error::Journal(crate::journal::Error::External).to_string(),
            "journal: external or shared journals are not supported"
        );
    }

    #[test]
    fn errnos() {
        assert_eq!(
            Errno::from(&Error::Truncated {
                blocks: 2,
                device: 1
            }),
            Errno::EINVAL
        );
        assert_eq!(
            Errno::from(&Error::words(
                Place::Inode(InodeNumber(9)),
                "i_mode",
                0_u64,
                "a type"
            )),
            Errno::EIO
        );
        assert_eq!(Errno::from(&Error::NoKey(InodeNumber(12))), Errno::ENOKEY);
        assert_eq!(
            Errno::from(&Error::Device(Place::Superblock, Errno::EIO)),
            Errno::EIO
        );
    }
}
