//! Digests of a file's data: what mtree(5) knows, all that are asked for in one pass.

use crate::json::hex;
use crc::{CRC_32_CKSUM, Crc, Table};
use std::collections::{BTreeMap, BTreeSet};

/// Values as a specification has them: hexadecimal in small letters, a decimal number of cksum(1).
pub(crate) type Digests = BTreeMap<Algorithm, String>;

/// How a digest is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    /// The checksum of cksum(1), POSIX.
    Cksum,
    Md5,
    Rmd160,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 7] = [
        Self::Cksum,
        Self::Md5,
        Self::Rmd160,
        Self::Sha1,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
    ];

    /// The one that a keyword means. Each has two or more, which are one: mtree(8) of NetBSD writes the short ones, libarchive and FreeBSD the long.
    pub(crate) fn of(keyword: &str) -> Option<Self> {
        Some(match keyword {
            "cksum" => Self::Cksum,
            "md5" | "md5digest" => Self::Md5,
            "rmd160" | "rmd160digest" | "ripemd160" | "ripemd160digest" => Self::Rmd160,
            "sha1" | "sha1digest" => Self::Sha1,
            "sha256" | "sha256digest" => Self::Sha256,
            "sha384" | "sha384digest" => Self::Sha384,
            "sha512" | "sha512digest" => Self::Sha512,
            _ => return None,
        })
    }

    /// The keyword that is written: the one all readers know.
    pub(crate) fn keyword(self) -> &'static str {
        match self {
            Self::Cksum => "cksum",
            Self::Md5 => "md5digest",
            Self::Rmd160 => "rmd160digest",
            Self::Sha1 => "sha1digest",
            Self::Sha256 => "sha256digest",
            Self::Sha384 => "sha384digest",
            Self::Sha512 => "sha512digest",
        }
    }

    /// Reads a value; `None` if it is none of this kind.
    pub(crate) fn parse(self, text: &str) -> Option<String> {
        let bits = match self {
            Self::Cksum => return text.parse().ok().map(|sum: u32| sum.to_string()),
            Self::Md5 => 128,
            Self::Rmd160 | Self::Sha1 => 160,
            Self::Sha256 => 256,
            Self::Sha384 => 384,
            Self::Sha512 => 512,
        };
        let is_one = text.len() == bits / 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_one.then(|| text.to_ascii_lowercase())
    }

    fn start(self) -> Box<dyn State> {
        match self {
            Self::Cksum => Box::new(Cksum::new()),
            Self::Md5 => Box::new(md5::Md5::default()),
            Self::Rmd160 => Box::new(ripemd::Ripemd160::default()),
            Self::Sha1 => Box::new(sha1::Sha1::default()),
            Self::Sha256 => Box::new(sha2::Sha256::default()),
            Self::Sha384 => Box::new(sha2::Sha384::default()),
            Self::Sha512 => Box::new(sha2::Sha512::default()),
        }
    }
}

/// Digests that are being made of the same data.
pub(crate) struct Digesting(Vec<(Algorithm, Box<dyn State>)>);

impl Digesting {
    /// Begins with no data.
    pub(crate) fn new(algorithms: &BTreeSet<Algorithm>) -> Self {
        let states = algorithms
            .iter()
            .map(|&algorithm| (algorithm, algorithm.start()));
        Self(states.collect())
    }

    /// Takes the data that follows.
    pub(crate) fn update(&mut self, data: &[u8]) {
        /// So much at a time goes through all of them, so that it is still near: in bytes.
        const NEAR: usize = 16 << 10;
        for data in data.chunks(NEAR) {
            for (_, state) in &mut self.0 {
                state.update(data);
            }
        }
    }

    /// The digests of all that was taken.
    pub(crate) fn finish(self) -> Digests {
        let states = self.0.into_iter();
        states
            .map(|(algorithm, state)| (algorithm, state.finish()))
            .collect()
    }
}

/// A digest that is being made.
trait State {
    fn update(&mut self, data: &[u8]);
    fn finish(self: Box<Self>) -> String;
}

impl<D: sha2::Digest> State for D {
    fn update(&mut self, data: &[u8]) {
        sha2::Digest::update(self, data);
    }

    fn finish(self: Box<Self>) -> String {
        hex(&self.finalize())
    }
}

/// The sum of cksum(1): a CRC of the data and, after it, of its length in as few bytes as it takes, the lowest first.
struct Cksum {
    sum: crc::Digest<'static, u32, Table<16>>,
    length: u64,
}

impl Cksum {
    fn new() -> Self {
        static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_CKSUM);
        Self {
            sum: CRC.digest(),
            length: 0,
        }
    }
}

impl State for Cksum {
    fn update(&mut self, data: &[u8]) {
        self.sum.update(data);
        self.length += data.len() as u64;
    }

    fn finish(mut self: Box<Self>) -> String {
        let used = 8 - self.length.leading_zeros() as usize / 8;
        self.sum.update(&self.length.to_le_bytes()[..used]);
        self.sum.finalize().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those of cksum(1), md5sum(1), openssl(1) and sha*sum(1) for three bytes, "abc".
    #[test]
    fn known_digests() {
        let mut digesting = Digesting::new(&Algorithm::ALL.into());
        digesting.update(b"a");
        digesting.update(b"bc");
        let digests = digesting.finish();
        let known = [
            (Algorithm::Cksum, "1219131554"),
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (
                Algorithm::Rmd160,
                "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc",
            ),
            (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ];
        for (algorithm, value) in known {
            assert_eq!(digests[&algorithm], value, "{algorithm:?}");
        }
        assert_eq!(digests.len(), Algorithm::ALL.len());
        // What is made can be read, under the keyword it is written with.
        for (algorithm, value) in &digests {
            assert_eq!(algorithm.parse(value).as_ref(), Some(value));
            assert_eq!(Algorithm::of(algorithm.keyword()), Some(*algorithm));
        }
    }

    #[test]
    fn values_that_are_none() {
        for (algorithm, text) in [
            (Algorithm::Cksum, "4294967296"),
            (Algorithm::Cksum, "-1"),
            (Algorithm::Cksum, ""),
            (Algorithm::Md5, "0"),
            (Algorithm::Md5, "g00150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "900150983cd24fb0d6963f7d28e17f72"),
        ] {
            assert_eq!(algorithm.parse(text), None, "{algorithm:?} {text}");
        }
        let large = "A9993E364706816ABA3E25717850C26C9CD0D89D";
        assert_eq!(Algorithm::Sha1.parse(large), Some(large.to_lowercase()));
    }
}
