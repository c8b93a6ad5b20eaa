//! What can be wrong: where on the medium, what was expected, what was found.

use alloc::string::String;
use core::fmt;
use rumpuser::Errno;

/// What fallible functions of this crate return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// A structure of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The superblock at this byte.
    Superblock(u64),
    /// A cylinder group, by its number.
    Group(u32),
    /// An inode, by its number.
    Inode(u64),
    /// The block pointers of an inode.
    Pointers(u64),
    /// A record of a directory: the directory's inode and the offset in it.
    Record(u64, u64),
    /// The target of a symbolic link, by its inode.
    Link(u64),
    /// The data of an inode.
    Data(u64),
    /// The extended attributes of an inode.
    Attributes(u64),
    /// The journal, by byte on the device.
    Log(u64),
    /// The table with the counts of all groups.
    Counts,
    /// A fragment, by its number.
    Frag(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Superblock(at) => write!(f, "superblock at byte {at}"),
            Self::Group(group) => write!(f, "cylinder group {group}"),
            Self::Inode(ino) => write!(f, "inode {ino}"),
            Self::Pointers(ino) => write!(f, "block pointers of inode {ino}"),
            Self::Record(ino, at) => write!(f, "directory inode {ino}, record at {at}"),
            Self::Link(ino) => write!(f, "symbolic link inode {ino}"),
            Self::Data(ino) => write!(f, "data of inode {ino}"),
            Self::Attributes(ino) => write!(f, "extended attributes of inode {ino}"),
            Self::Log(at) => write!(f, "journal at byte {at}"),
            Self::Frag(frag) => write!(f, "fragment {frag}"),
            Self::Counts => write!(f, "table of the groups' counts"),
        }
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device failed while a structure was read. Becomes the device's error.
    Device(Place, Errno),
    /// No superblock. `EINVAL`.
    NotFfs,
    /// A field holds what it must not. `EIO`, in the superblock `EINVAL`.
    Value {
        /// The structure.
        place: Place,
        /// The field.
        field: &'static str,
        /// What it holds.
        found: u64,
        /// What it may hold.
        expected: &'static str,
    },
    /// A part of the format that this driver does not have. `EOPNOTSUPP`.
    Unsupported(Place, &'static str),
    /// No inode in use has this number. `ESTALE`.
    NoInode(u64),
    /// No mount option has this name. `EINVAL`.
    UnknownOption(String),
    /// The mount option takes no value. `EINVAL`.
    OptionValue(String),
    /// Not written, and why. `EROFS`.
    ReadOnly(&'static str),
    /// An answer that the caller expects, such as `ENOSPC`.
    Refused(Errno),
}

impl Error {
    /// A field that holds what it must not.
    pub(crate) fn value(
        place: Place,
        field: &'static str,
        found: impl Into<u64>,
        expected: &'static str,
    ) -> Self {
        Self::Value {
            place,
            field,
            found: found.into(),
            expected,
        }
    }
}

/// Turns a device's error into one that says what was being read.
pub(crate) fn at(place: Place) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Device(place, errno)
}

impl From<&Error> for Errno {
    fn from(error: &Error) -> Self {
        match error {
            Error::Device(_, errno) => *errno,
            Error::NotFfs
            | Error::UnknownOption(_)
            | Error::OptionValue(_)
            | Error::Value {
                place: Place::Superblock(_),
                ..
            } => Self::EINVAL,
            Error::Value { .. } => Self::EIO,
            Error::Unsupported(..) => Self::EOPNOTSUPP,
            Error::NoInode(_) => Self::ESTALE,
            Error::ReadOnly(_) => Self::EROFS,
            Error::Refused(errno) => *errno,
        }
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
            Self::Device(place, errno) => write!(f, "{place}: {errno}"),
            Self::NotFfs => write!(f, "no superblock: no UFS1 or UFS2"),
            Self::Value {
                place,
                field,
                found,
                expected,
            } => write!(f, "{place}: {field} {found}, expected {expected}"),
            Self::Unsupported(place, what) => write!(f, "{place}: {what}: not supported"),
            Self::NoInode(number) => write!(f, "inode {number}: not in use"),
            Self::UnknownOption(name) => write!(f, "unknown mount option {name}"),
            Self::OptionValue(name) => write!(f, "mount option {name}: takes no value"),
            Self::ReadOnly(why) => write!(f, "can only be read: {why}"),
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
        let error = Error::value(Place::Record(2, 512), "record length", 3_u8, "12 or more");
        assert_eq!(
            error.to_string(),
            "directory inode 2, record at 512: record length 3, expected 12 or more"
        );
        assert_eq!(Errno::from(&error), Errno::EIO);
        let error = Error::value(Place::Superblock(8192), "bsize", 3_u8, "4096");
        assert_eq!(Errno::from(&error), Errno::EINVAL);
        assert_eq!(Errno::from(&Error::NoInode(3)), Errno::ESTALE);
    }
}
