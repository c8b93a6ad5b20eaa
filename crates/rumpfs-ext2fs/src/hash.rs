//! Hashes of names in indexed directories ("Hash Tree Directories": legacy, half MD4, TEA).

/// What `dx_root_info` may say in `hash_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashVersion {
    /// The first one, of the development versions.
    Legacy,
    /// MD4 with fewer rounds.
    HalfMd4,
    /// The Tiny Encryption Algorithm as a hash.
    Tea,
    /// SipHash of the folded name, with the key of the directory: encrypted case-insensitive directories.
    SipHash,
}

impl HashVersion {
    /// From the medium. The unsigned variants (3 to 5) stand in memory only; on the medium the superblock says which.
    #[must_use]
    pub fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Legacy,
            1 => Self::HalfMd4,
            2 => Self::Tea,
            6 => Self::SipHash,
            _ => return None,
        })
    }

    /// As on the medium.
    #[must_use]
    pub fn to_raw(self) -> u8 {
        match self {
            Self::Legacy => 0,
            Self::HalfMd4 => 1,
            Self::Tea => 2,
            Self::SipHash => 6,
        }
    }
}

/// The hash of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameHash {
    /// What the index is sorted by; bit 0 is clear.
    pub hash: u32,
    /// Tells names of the same hash apart, for listings in hash order.
    pub minor: u32,
}

/// The state that MD4 and TEA start from when the volume has no seed.
const DEFAULT_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// The largest hash is kept back as the end of the directory.
const END_OF_DIRECTORY: u32 = 0x7fff_ffff << 1;

/// How a volume hashes: the seed, and whether characters count as signed.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    /// `s_hash_seed`.
    pub seed: [u32; 4],
    /// Characters are unsigned.
    pub unsigned: bool,
}

impl Hasher {
    /// The hash of `name`; `None` for SipHash, whose key only the owner of the directory has.
    #[must_use]
    pub fn hash(&self, version: HashVersion, name: &[u8]) -> Option<NameHash> {
        let seed = if self.seed == [0; 4] {
            DEFAULT_SEED
        } else {
            self.seed
        };
        let (hash, minor) = match version {
            HashVersion::Legacy => (self.legacy(name), 0),
            HashVersion::HalfMd4 => {
                let mut state = seed;
                for (n, chunk) in name.chunks(32).enumerate() {
                    state = half_md4(state, self.words(chunk, rest(name, n, 32)));
                }
                (state[1], state[2])
            }
            HashVersion::Tea => {
                let mut state = seed;
                for (n, chunk) in name.chunks(16).enumerate() {
                    state = tea(state, self.words(chunk, rest(name, n, 16)));
                }
                (state[0], state[1])
            }
            HashVersion::SipHash => return None,
        };
        let hash = hash & !1;
        let hash = if hash == END_OF_DIRECTORY {
            END_OF_DIRECTORY.wrapping_sub(2)
        } else {
            hash
        };
        Some(NameHash { hash, minor })
    }

    fn character(&self, byte: u8) -> u32 {
        if self.unsigned {
            u32::from(byte)
        } else {
            i32::from(byte.cast_signed()).cast_unsigned()
        }
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut newer, mut older) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
        for &byte in name {
            let product = self.character(byte).wrapping_mul(7_152_373);
            let mut hash = older.wrapping_add(newer ^ product);
            if hash & 0x8000_0000 != 0 {
                hash = hash.wrapping_sub(0x7fff_ffff);
            }
            (older, newer) = (newer, hash);
        }
        newer.wrapping_shl(1)
    }

    /// `N` words of at most four characters each, filled up with the length of what is left of the name.
    fn words<const N: usize>(&self, chunk: &[u8], rest: u32) -> [u32; N] {
        let pad = rest | rest.wrapping_shl(8);
        let pad = pad | pad.wrapping_shl(16);
        let mut words = [pad; N];
        for (word, characters) in words.iter_mut().zip(chunk.chunks(4)) {
            for &byte in characters {
                *word = self.character(byte).wrapping_add(word.wrapping_shl(8));
            }
        }
        words
    }
}

/// Length of the name from its chunk `n` of `size` bytes on.
fn rest(name: &[u8], n: usize, size: usize) -> u32 {
    u32::try_from(name.len().saturating_sub(n.saturating_mul(size))).unwrap_or(u32::MAX)
}

fn tea(state: [u32; 4], key: [u32; 4]) -> [u32; 4] {
    const DELTA: u32 = 0x9E37_79B9;
    let mix = |sum: u32, word: u32, low: u32, high: u32| {
        word.wrapping_shl(4).wrapping_add(low)
            ^ word.wrapping_add(sum)
            ^ (word >> 5).wrapping_add(high)
    };
    let [mut a, mut b, c, d] = state;
    let mut sum = 0_u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        a = a.wrapping_add(mix(sum, b, key[0], key[1]));
        b = b.wrapping_add(mix(sum, a, key[2], key[3]));
    }
    [state[0].wrapping_add(a), state[1].wrapping_add(b), c, d]
}

fn half_md4(state: [u32; 4], input: [u32; 8]) -> [u32; 4] {
    /// Order of the input words, added constant and rotations of one of the three rounds.
    struct Round {
        order: [usize; 8],
        constant: u32,
        rotate: [u32; 4],
        mix: fn(u32, u32, u32) -> u32,
    }
    const ROUNDS: [Round; 3] = [
        Round {
            order: [0, 1, 2, 3, 4, 5, 6, 7],
            constant: 0,
            rotate: [3, 7, 11, 19],
            mix: |x, y, z| z ^ (x & (y ^ z)),
        },
        Round {
            order: [1, 3, 5, 7, 0, 2, 4, 6],
            constant: 0x5a82_7999,
            rotate: [3, 5, 9, 13],
            mix: |x, y, z| (x & y).wrapping_add((x ^ y) & z),
        },
        Round {
            order: [3, 7, 2, 6, 1, 5, 0, 4],
            constant: 0x6ed9_eba1,
            rotate: [3, 9, 11, 15],
            mix: |x, y, z| x ^ y ^ z,
        },
    ];
    let [mut a, mut b, mut c, mut d] = state;
    for round in &ROUNDS {
        for (n, &word) in round.order.iter().enumerate() {
            let added = (round.mix)(b, c, d)
                .wrapping_add(input[word & 7])
                .wrapping_add(round.constant);
            let next = a.wrapping_add(added).rotate_left(round.rotate[n & 3]);
            (a, b, c, d) = (d, next, b, c);
        }
    }
    [
        state[0].wrapping_add(a),
        state[1].wrapping_add(b),
        state[2].wrapping_add(c),
        state[3].wrapping_add(d),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed of the values below, taken from `debugfs -R "dx_hash -h VERSION -s SEED NAME"`:
    /// 01020304-0506-0708-090a-0b0c0d0e0f10, words in the order of the medium.
    const SEED: [u32; 4] = [0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d];
    const LONG: &[u8] = b"a-name-that-is-longer-than-thirty-two-characters";

    #[test]
    fn values_of_debugfs() {
        let cases: [(HashVersion, bool, &[u8], u32, u32); 15] = [
            (HashVersion::Legacy, false, b"a", 0xe74b53e2, 0x0),
            (HashVersion::Legacy, false, b"hello.txt", 0x65a05776, 0x0),
            (HashVersion::Legacy, false, LONG, 0x3e386e70, 0x0),
            (
                HashVersion::Legacy,
                false,
                "grüße".as_bytes(),
                0xcc69faba,
                0x0,
            ),
            (HashVersion::HalfMd4, false, b"a", 0x8d08ec4c, 0x2fbccd78),
            (
                HashVersion::HalfMd4,
                false,
                b"hello.txt",
                0xac15d19c,
                0x21f363,
            ),
            (HashVersion::HalfMd4, false, LONG, 0x505cceac, 0x18256b5e),
            (
                HashVersion::HalfMd4,
                false,
                "grüße".as_bytes(),
                0x502ca218,
                0x33ddce59,
            ),
            (HashVersion::Tea, false, b"a", 0xf53528f0, 0xea54fb01),
            (
                HashVersion::Tea,
                false,
                b"hello.txt",
                0x8912606c,
                0x9fdd508e,
            ),
            (HashVersion::Tea, false, LONG, 0xa9985350, 0x432876e3),
            (
                HashVersion::Tea,
                false,
                "grüße".as_bytes(),
                0xe017506c,
                0xf8ecf413,
            ),
            (
                HashVersion::Legacy,
                true,
                "grüße".as_bytes(),
                0xfa3484be,
                0x0,
            ),
            (
                HashVersion::HalfMd4,
                true,
                "grüße".as_bytes(),
                0x881516dc,
                0x3c837ac6,
            ),
            (
                HashVersion::Tea,
                true,
                "grüße".as_bytes(),
                0x7152db06,
                0x1ba8cb9f,
            ),
        ];
        for (version, unsigned, name, hash, minor) in cases {
            let hasher = Hasher {
                seed: SEED,
                unsigned,
            };
            assert_eq!(
                hasher.hash(version, name),
                Some(NameHash { hash, minor }),
                "{version:?} unsigned {unsigned} {name:?}"
            );
        }
    }

    #[test]
    fn siphash_needs_a_key() {
        assert_eq!(
            Hasher {
                seed: SEED,
                unsigned: false
            }
            .hash(HashVersion::SipHash, b"x"),
            None
        );
    }
}
