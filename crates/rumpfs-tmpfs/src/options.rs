//! Mount options.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `size=` | bytes that files may take, rounded up to whole blocks; with `K`, `M`, `G`, or `%` of the kernel's memory limit; 0: no limit | half of the memory limit |
//! | `nr_inodes=` | files and further names, with the same suffixes (`%` of the default's double); 0: no limit | one for each 512 bytes of the default size |
//! | `mode=` | permission bits of the root directory, octal | 1777 |
//! | `uid=`, `gid=` | owner and group of the root directory | 0 |

use alloc::string::String;
use rumpuser::{Errno, Result};

/// Bytes in a block.
pub(crate) const BLOCK: u64 = 4096;
/// Memory that an inode takes, about.
const INODE_BYTES: u64 = 512;

/// Mount options, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes for files, a multiple of 4,096; `u64::MAX` for no limit.
    pub size: u64,
    /// Inodes and further names; `u64::MAX` for no limit.
    pub inodes: u64,
    /// Permission bits of the root directory, at most 0o7777.
    pub mode: u32,
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
}

impl Options {
    /// Parses options on a machine that lends the kernel `memory` bytes.
    ///
    /// # Errors
    /// `EINVAL` with the option that is not known or has no good value.
    pub fn parse(options: &[(String, Option<String>)], memory: u64) -> Result<Self, (Errno, &str)> {
        let half = memory.div_ceil(2).div_ceil(BLOCK).saturating_mul(BLOCK);
        let inodes_max = memory.div_ceil(INODE_BYTES);
        let mut parsed = Self {
            size: half,
            inodes: inodes_max.div_ceil(2),
            mode: 0o1777,
            uid: 0,
            gid: 0,
        };
        for (name, value) in options {
            let bad = (Errno::EINVAL, name.as_str());
            let value = value.as_deref().ok_or(bad)?;
            match name.as_str() {
                "size" => {
                    let size = scaled(value, memory).ok_or(bad)?;
                    let blocks = size.div_ceil(BLOCK);
                    parsed.size = unlimited(blocks.checked_mul(BLOCK).ok_or(bad)?);
                }
                "nr_inodes" => parsed.inodes = unlimited(scaled(value, inodes_max).ok_or(bad)?),
                "mode" => {
                    parsed.mode = u32::from_str_radix(value, 8).map_err(|_| bad)?;
                    if parsed.mode > 0o7777 {
                        return Err(bad);
                    }
                }
                "uid" => parsed.uid = value.parse().map_err(|_| bad)?,
                "gid" => parsed.gid = value.parse().map_err(|_| bad)?,
                _ => return Err(bad),
            }
        }
        Ok(parsed)
    }
}

fn unlimited(limit: u64) -> u64 {
    if limit == 0 { u64::MAX } else { limit }
}

/// A number with a suffix; `whole` is what 100 % is.
fn scaled(text: &str, whole: u64) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (digits, suffix) = text.split_at(split.unwrap_or(text.len()));
    let number: u64 = digits.parse().ok()?;
    let unit: u64 = match suffix {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        "%" => {
            let part = u128::from(whole).checked_mul(u128::from(number))? / 100;
            return u64::try_from(part).ok();
        }
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::Options;
    use alloc::string::ToString;
    use rumpuser::Errno;

    fn parse(name: &str, value: Option<&str>) -> Result<Options, Errno> {
        let options = [(name.to_string(), value.map(ToString::to_string))];
        Options::parse(&options, 1 << 30).map_err(|(error, bad)| {
            assert_eq!(bad, name);
            error
        })
    }

    #[test]
    fn numbers_have_suffixes() {
        let size = |value| parse("size", Some(value)).map(|o| o.size);
        assert_eq!(size("1"), Ok(4096));
        assert_eq!(size("8192"), Ok(8192));
        assert_eq!(size("3k"), Ok(4096));
        assert_eq!(size("3M"), Ok(3 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        assert_eq!(size("25%"), Ok(1 << 28));
        assert_eq!(size("0"), Ok(u64::MAX));
        for bad in [
            "",
            "k",
            "1x",
            "1kk",
            "-1",
            "99999999999999999999",
            "99999999999G",
        ] {
            assert_eq!(size(bad), Err(Errno::EINVAL), "{bad}");
        }
        let inodes = |value| parse("nr_inodes", Some(value)).map(|o| o.inodes);
        assert_eq!(inodes("2k"), Ok(2048));
        assert_eq!(inodes("0"), Ok(u64::MAX));
        assert_eq!(inodes("100%"), Ok(1 << 21));
    }

    #[test]
    fn root_attributes() {
        assert_eq!(parse("mode", Some("755")).map(|o| o.mode), Ok(0o755));
        assert_eq!(parse("mode", Some("10000")).err(), Some(Errno::EINVAL));
        assert_eq!(parse("mode", Some("8")).err(), Some(Errno::EINVAL));
        assert_eq!(parse("uid", Some("7")).map(|o| o.uid), Ok(7));
        assert_eq!(parse("gid", Some("x")).err(), Some(Errno::EINVAL));
        assert_eq!(parse("gid", None).err(), Some(Errno::EINVAL));
        assert_eq!(parse("huge", Some("always")).err(), Some(Errno::EINVAL));
        let defaults = Options::parse(&[], 1 << 30).unwrap();
        assert_eq!(
            (defaults.size, defaults.inodes, defaults.mode),
            (1 << 29, 1 << 20, 0o1777)
        );
    }
}
