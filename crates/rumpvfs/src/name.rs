//! One component of a path.

use alloc::boxed::Box;
use core::fmt;
use rumpuser::{Errno, Result};

/// The longest name in bytes that any format here allows: 255 units of UTF-16, of three bytes each in UTF-8. How long the names of a
/// mount are, its [`Limits`](crate::fs::Limits) say.
pub const NAME_MAX: usize = 765;

/// A name in a directory: 1 to [`NAME_MAX`] bytes without `/` and NUL, and neither `.` nor `..`. Having one is the proof.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks a component.
    ///
    /// # Errors
    /// `ENAMETOOLONG` above [`NAME_MAX`] bytes; `EINVAL` for an empty one, one with `/` or NUL, `.` and `..`.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|b| matches!(b, 0 | b'/')) {
            return Err(Errno::EINVAL);
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloc::string::String::from_utf8_lossy(self.0))
    }
}

/// Bytes of a name to be kept; up to 30 of them without an allocation of its own, which would be one more cache line to look at.
pub struct NameBytes(Bytes);

const INLINE: usize = 30;

enum Bytes {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl NameBytes {
    /// Keeps a copy.
    #[must_use]
    pub fn new(name: &[u8]) -> Self {
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(name);
                Self(Bytes::Inline(len, bytes))
            }
            _ => Self(Bytes::Heap(name.into())),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn get(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Bytes::Heap(bytes) => bytes,
        }
    }
}

impl fmt::Debug for NameBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloc::string::String::from_utf8_lossy(self.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, NameBytes};
    use rumpuser::Errno;

    #[test]
    fn bytes_are_kept() {
        for len in [0, 1, 29, 30, 31, 255, 765] {
            let name = [b'n'; 765];
            assert_eq!(NameBytes::new(&name[..len]).get(), &name[..len]);
        }
        assert_eq!(size_of::<NameBytes>(), 32);
    }

    #[test]
    fn only_components_pass() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert_eq!(Name::new(bad).err(), Some(Errno::EINVAL));
        }
        assert_eq!(Name::new(&[b'x'; 766]).err(), Some(Errno::ENAMETOOLONG));
        assert_eq!(
            Name::new(&[b'x'; 765]).map(Name::bytes),
            Ok(&[b'x'; 765][..])
        );
    }
}
