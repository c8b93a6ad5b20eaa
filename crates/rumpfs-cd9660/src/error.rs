//! What can be wrong: where on the medium, what was expected, what was found.

use alloc::boxed::Box;
use core::fmt;
use rumpuser::Errno;

/// What fallible functions of this crate return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// A structure of the medium, by its byte on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A volume descriptor.
    Descriptor(u64),
    /// A directory record.
    Record(u64),
    /// System use entries.
    SystemUse(u64),
    /// The data of the file with this directory record.
    Data(u64),
    /// The boot catalogue.
    BootCatalogue(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Descriptor(at) => write!(f, "volume descriptor at byte {at}"),
            Self::Record(at) => write!(f, "directory record at byte {at}"),
            Self::SystemUse(at) => write!(f, "system use area at byte {at}"),
            Self::Data(at) => write!(f, "file of the directory record at byte {at}"),
            Self::BootCatalogue(at) => write!(f, "boot catalogue at byte {at}"),
        }
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device failed while a structure was read. Becomes the device's error.
    Device(Place, Errno),
    /// No volume descriptors. `EINVAL`.
    NotIso9660,
    /// A field holds what it must not. `EIO`, in a volume descriptor `EINVAL`.
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
    /// There is no such session. `EINVAL`.
    NoSession(Box<str>),
    /// A part of the format that this driver does not have. `EOPNOTSUPP`.
    Unsupported(Place, &'static str),
    /// No inode has this number. `ESTALE`.
    NoInode(u64),
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
            Error::NotIso9660
            | Error::NoSession(_)
            | Error::Value {
                place: Place::Descriptor(_),
                ..
            } => Self::EINVAL,
            Error::Value { .. } => Self::EIO,
            Error::Unsupported(..) => Self::EOPNOTSUPP,
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
            Self::Device(place, errno) => write!(f, "{place} not read: {errno}"),
            Self::NotIso9660 => write!(f, "no volume descriptor CD001: no ISO 9660"),
            Self::Value {
                place,
                field,
                found,
                expected,
            } => write!(f, "{place}: {field} {found}, expected {expected}"),
            Self::NoSession(which) => write!(f, "no session {which}"),
            Self::Unsupported(place, what) => write!(f, "{place}: {what}: not supported"),
            Self::NoInode(number) => write!(f, "inode {number}: not in use"),
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
        let error = Error::value(Place::Record(40_960), "length", 12_u8, "34 or more");
        assert_eq!(
            error.to_string(),
            "directory record at byte 40960: length 12, expected 34 or more"
        );
        assert_eq!(Errno::from(&error), Errno::EIO);
        let error = Error::value(Place::Descriptor(32_768), "block size", 3_u8, "2048");
        assert_eq!(Errno::from(&error), Errno::EINVAL);
        assert_eq!(Errno::from(&Error::NoInode(3)), Errno::ESTALE);
    }
}
