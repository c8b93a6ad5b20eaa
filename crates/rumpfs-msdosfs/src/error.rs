//! What can be wrong: where on the medium, what was expected, what was found.

use crate::types::Cluster;
use core::fmt;
use rumpuser::Errno;

/// What fallible functions of this crate return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// A structure of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The boot sector.
    BootSector,
    /// The FSInfo sector.
    FsInfo,
    /// The entry of a cluster in the FAT.
    Fat(Cluster),
    /// The chain of clusters that begins with this one.
    Chain(Cluster),
    /// A directory entry, by its byte on the device.
    Entry(u64),
    /// File data at this byte of the device.
    Data(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BootSector => write!(f, "boot sector"),
            Self::FsInfo => write!(f, "FSInfo"),
            Self::Fat(cluster) => write!(f, "FAT entry {cluster}"),
            Self::Chain(cluster) => write!(f, "chain from cluster {cluster}"),
            Self::Entry(at) => write!(f, "directory entry at byte {at}"),
            Self::Data(at) => write!(f, "data at byte {at}"),
        }
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device failed while a structure was read or written. Becomes the device's error.
    Device(Place, Errno),
    /// A field holds what it must not. `EIO`, in the boot sector `EINVAL`.
    Value {
        /// The structure.
        place: Place,
        /// The field, or what it means.
        field: &'static str,
        /// What it holds.
        found: u64,
        /// What it may hold.
        expected: &'static str,
    },
    /// The device is shorter than the file system. `EINVAL`.
    Truncated {
        /// Bytes of the file system.
        volume: u64,
        /// Bytes of the device.
        device: u64,
    },
    /// A cluster that a file was to give back is free already, or another file's as well: what is done to one would be done to
    /// the other. `EIO`.
    NotOwned(Cluster),
    /// No inode has this number. `ESTALE`.
    NoInode(u64),
    /// The caller asked for what cannot be: the answer of the operation, not a fault of the medium.
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

    /// Whether the medium is at fault, so that a message in the kernel's buffer is due.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::NoInode(_))
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
            Error::Truncated { .. }
            | Error::Value {
                place: Place::BootSector,
                ..
            } => Self::EINVAL,
            Error::Value { .. } | Error::NotOwned(_) => Self::EIO,
            Error::NoInode(_) => Self::ESTALE,
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
            Self::Value {
                place,
                field,
                found,
                expected,
            } => write!(f, "{place}: {field} {found}, expected {expected}"),
            Self::Truncated { volume, device } => write!(
                f,
                "the file system has {volume} bytes, the device {device}: the image is cut off"
            ),
            Self::NotOwned(cluster) => write!(
                f,
                "FAT entry {cluster}: the cluster is not one file's alone: it should be checked"
            ),
            Self::NoInode(number) => write!(f, "inode {number}: not in use"),
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
        let error = Error::value(Place::Fat(Cluster(7)), "next", 1_u8, "2 to 90");
        assert_eq!(error.to_string(), "FAT entry 7: next 1, expected 2 to 90");
        assert_eq!(Errno::from(&error), Errno::EIO);
        let error = Error::value(
            Place::BootSector,
            "sectors per cluster",
            3_u8,
            "a power of two",
        );
        assert_eq!(Errno::from(&error), Errno::EINVAL);
        assert!(!Error::Refused(Errno::ENOSPC).is_corruption());
    }
}
