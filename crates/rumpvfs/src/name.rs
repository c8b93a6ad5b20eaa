//! One component of a path.

use alloc::boxed::Box;
use core::{
    cmp::Ordering,
    fmt,
    hash::{BuildHasher, Hasher},
    ops::Deref,
};
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
#[derive(Clone)]
pub struct NameBytes(Bytes);

const INLINE: usize = 30;

#[derive(Clone)]
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

impl Deref for NameBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.get()
    }
}

impl AsRef<[u8]> for NameBytes {
    fn as_ref(&self) -> &[u8] {
        self.get()
    }
}

/// By the bytes.
impl PartialEq for NameBytes {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for NameBytes {}

impl PartialOrd for NameBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NameBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        self.get().cmp(other.get())
    }
}

impl fmt::Debug for NameBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloc::string::String::from_utf8_lossy(self.get()))
    }
}

/// How many of a name's last bytes are looked through for its number: `IMG_0042.jpeg` has it there.
const TAIL: usize = 8;

/// Stands for the digit of a name that has none.
const NO_DIGIT: u8 = b'9' + 1;

/// Hash of a name in the directory `dir`, for hash tables in which names with successive numbers are neighbours.
///
/// Files that are made, looked up and removed one after the other mostly have names that count up. A hash that scatters them
/// brings several cache lines from memory for each; with this one, names that differ in their last digit alone have ten hashes in a
/// row. As for any hash, who chooses names cannot make many of them meet: those with equal hashes but for the digit have the same
/// other bytes, so there are 80 of them at most.
pub fn hash(state: &impl BuildHasher, dir: u64, name: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write_u64(dir);
    let digit = match name {
        [head @ .., digit @ b'0'..=b'9'] => {
            hasher.write(head);
            *digit
        }
        _ => {
            let (head, tail) = name.split_at(name.len().saturating_sub(TAIL));
            match tail.iter().rposition(u8::is_ascii_digit) {
                Some(at) => {
                    hasher.write(&name[..head.len() + at]);
                    hasher.write(&tail[at + 1..]);
                    tail[at]
                }
                None => {
                    hasher.write(name);
                    NO_DIGIT
                }
            }
        }
    };
    let digit = u64::from(digit - b'0');
    // The low bits say where in a table, and the top bits are what it compares first: those differ, too.
    hasher.finish().wrapping_add(digit) ^ digit << 57
}

#[cfg(test)]
mod tests {
    use super::{Name, NameBytes, hash};
    use alloc::{collections::BTreeSet, format, vec::Vec};
    use hashbrown::DefaultHashBuilder;
    use rumpuser::Errno;

    #[test]
    fn names_that_count_up_have_hashes_in_a_row_and_others_are_spread() {
        let state = DefaultHashBuilder::default();
        for (head, tail) in [("file000", ""), ("IMG_", ".jpeg"), ("", ""), ("v1.", "-rc")] {
            let hashes = (0..10).map(|n| hash(&state, 7, format!("{head}{n}{tail}").as_bytes()));
            let hashes: Vec<_> = hashes.collect();
            let low: Vec<_> = hashes.iter().map(|h| h & 0xff_ffff).collect();
            assert!(
                low.is_sorted_by(|a, b| (a + 1) & 0xff_ffff == *b),
                "{low:x?}"
            );
            let tags: BTreeSet<_> = hashes.iter().map(|h| h >> 57).collect();
            assert_eq!(tags.len(), 10);
        }
        let names = (0..2560).map(|n| format!("{n}"));
        let others = (0..256).map(|n| format!("name{}", "x".repeat(n)));
        let dirs: BTreeSet<_> = (0..256).map(|dir| hash(&state, dir, b"a9")).collect();
        let all: BTreeSet<_> = names
            .chain(others)
            .map(|n| hash(&state, 7, n.as_bytes()))
            .collect();
        assert_eq!((all.len(), dirs.len()), (2816, 256));
        let places: BTreeSet<_> = all.iter().map(|h| h >> 4 & 0xffff).collect();
        assert!(places.len() > 400, "{}", places.len());
    }

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
