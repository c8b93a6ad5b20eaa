//! Domain names (RFC 1035 section 3.1).

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};
use rumpuser::Errno;

/// Bytes of a name in a message at most, with the length of each label and the root's (RFC 1035 section 2.3.4).
const MOST: usize = 255;
/// Bytes of a label at most.
const LABEL: usize = 63;
/// Pointers that are followed in one name at most: a name has no more labels.
const JUMPS: usize = 127;

/// A domain name, in lower case: names are compared without regard to it (RFC 4343).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(
    /// Labels with their lengths in front, without the root's.
    Vec<u8>,
);

impl Name {
    /// The root of all names.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        core::iter::from_fn(move || {
            let (len, tail) = rest.split_first()?;
            let (label, tail) = tail.split_at_checked(usize::from(*len))?;
            rest = tail;
            Some(label)
        })
    }

    /// This name under another: `www` and `example.org` give `www.example.org`; `None` when it would be too long.
    #[must_use]
    pub fn under(&self, parent: &Self) -> Option<Self> {
        let mut all = self.0.clone();
        all.extend_from_slice(&parent.0);
        (all.len() < MOST).then_some(Self(all))
    }

    /// Whether it is `parent` or lies below it.
    #[must_use]
    pub fn is_under(&self, parent: &Self) -> bool {
        let mut rest = self.0.as_slice();
        loop {
            if rest == parent.0 {
                return true;
            }
            match rest.split_first() {
                Some((len, tail)) => rest = tail.get(usize::from(*len)..).unwrap_or_default(),
                None => return false,
            }
        }
    }

    /// Adds it to a message, uncompressed.
    pub fn write(&self, message: &mut Vec<u8>) {
        message.extend_from_slice(&self.0);
        message.push(0);
    }

    /// Reads the name at `at` in a message, which may be compressed (section 4.1.4), and says where it ends. `None` if it is no name: each pointer
    /// must point further back than the one before, so that there is no way round.
    #[must_use]
    pub fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut name = Vec::new();
        let (mut place, mut end, mut before) = (at, None, at);
        for _ in 0..=JUMPS {
            let len = *message.get(place)?;
            let next = place.checked_add(1)?;
            match len {
                0 => return Some((Self(name), end.unwrap_or(next))),
                1..=63 => {
                    let after = next.checked_add(usize::from(len))?;
                    name.push(len);
                    name.extend(message.get(next..after)?.iter().map(u8::to_ascii_lowercase));
                    if name.len() >= MOST {
                        return None;
                    }
                    place = after;
                }
                0xc0.. => {
                    let low = *message.get(next)?;
                    let to = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                    end = end.or(next.checked_add(1));
                    if to >= before {
                        return None;
                    }
                    (place, before) = (to, to);
                }
                // Kinds of labels that nobody uses (RFC 6891 section 5).
                _ => return None,
            }
        }
        None
    }
}

impl FromStr for Name {
    type Err = Errno;

    /// Labels with dots between; a dot at the end makes no difference here.
    ///
    /// # Errors
    /// `EINVAL`: empty or too long labels, too long a name, bytes that no host's name has.
    fn from_str(text: &str) -> Result<Self, Errno> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut name = Vec::new();
        if text.is_empty() {
            return Err(Errno::EINVAL);
        }
        for label in text.split('.') {
            // Underscores are in names of services, and in names of hosts that exist all the same.
            let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if label.is_empty() || label.len() > LABEL || !label.bytes().all(known) {
                return Err(Errno::EINVAL);
            }
            name.push(u8::try_from(label.len()).map_err(|_| Errno::EINVAL)?);
            name.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        if name.len() >= MOST {
            return Err(Errno::EINVAL);
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for (n, label) in self.labels().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            let text: String = label
                .iter()
                .flat_map(|byte| core::ascii::escape_default(*byte))
                .map(char::from)
                .collect();
            write!(f, "{dot}{text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_back() {
        assert_eq!(name("WWW.Example.org.").to_string(), "www.example.org");
        assert_eq!(
            name("www").under(&name("example.org")),
            Some(name("www.example.org"))
        );
        assert!(name("a.b").is_under(&name("b")) && name("b").is_under(&name("b")));
        assert!(!name("ab").is_under(&name("b")) && name("b").is_under(&Name::root()));
        let long = "a".repeat(64);
        for bad in ["", ".", "a..b", ".a", "a b", "a/b", "\u{e4}", &long] {
            assert_eq!(bad.parse::<Name>(), Err(Errno::EINVAL), "{bad}");
        }
        let most = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61),
        ]
        .join(".");
        let long = name(&most);
        assert_eq!(long.under(&name("e")), None);
        assert!(alloc::format!("{most}a").parse::<Name>().is_err());
    }

    #[test]
    fn compressed_names() {
        let mut message = Vec::from(*b"\x03org\x00");
        let at = message.len();
        message.extend(b"\x07Example\xc0\x00\x03www\xc0\x05rest");
        assert_eq!(Name::read(&message, at), Some((name("example.org"), 15)));
        assert_eq!(
            Name::read(&message, 15),
            Some((name("www.example.org"), 21))
        );
        // To itself, forward, past the end, round, an unknown kind.
        for bad in [
            &b"\xc0\x00"[..],
            b"\xc0\x02\x00",
            b"\x05ab",
            b"\xc0",
            b"\x01a\xc0\x00",
            b"\x40a\x00",
            b"",
        ] {
            assert_eq!(Name::read(bad, 0), None, "{bad:?}");
        }
        let mut long = Vec::new();
        for _ in 0..64 {
            long.extend(b"\x03abc");
        }
        long.push(0);
        assert_eq!(Name::read(&long, 0), None);
    }
}
