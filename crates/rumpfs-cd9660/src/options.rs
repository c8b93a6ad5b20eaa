//! Mount options.

use crate::volume::Session;
use alloc::string::String;
use core::fmt;

/// What `mount` was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `norrip` (or `norock`): Rock Ridge is not looked at.
    pub norrip: bool,
    /// `nojoliet`: Joliet is not looked at.
    pub nojoliet: bool,
    /// `gens`: identifiers of the plain format are shown whole, with their version numbers.
    pub gens: bool,
    /// `nomaplcase`: they are not mapped to lower case.
    pub nomaplcase: bool,
    /// `uid=`, `gid=`: owner of what has none on the medium.
    pub owner: (u32, u32),
    /// `mode=`, `dmode=`, in octal: permission bits of files and directories that have none on the medium.
    pub modes: Modes,
    /// `session=first`, `session=last`, `session=N` (from 1) or `sbsector=N`: which volume of a medium of several sessions.
    pub session: Session,
}

/// Permission bits of files and of directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Of all but directories.
    pub file: u32,
    /// Of directories.
    pub directory: u32,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            file: 0o444,
            directory: 0o555,
        }
    }
}

/// An option that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// No option has this name.
    Unknown(String),
    /// The option takes no value, or another.
    Value(String),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "unknown mount option {name}"),
            Self::Value(name) => write!(f, "mount option {name}: wrong value"),
        }
    }
}

impl Options {
    /// From pairs of name and value.
    ///
    /// # Errors
    /// [`OptionError`] for the first option that cannot be followed: `EINVAL` for the caller.
    pub fn parse(options: &[(String, Option<String>)]) -> Result<Self, OptionError> {
        let mut parsed = Self::default();
        for (name, value) in options {
            let wrong = || OptionError::Value(name.clone());
            let text = value.as_deref();
            let id = || text.and_then(|text| text.parse::<u32>().ok());
            let number = || text.and_then(|text| text.parse::<u64>().ok());
            match name.as_str() {
                "norrip" | "norock" => parsed.norrip = true,
                "nojoliet" => parsed.nojoliet = true,
                "gens" => parsed.gens = true,
                "nomaplcase" => parsed.nomaplcase = true,
                "uid" => parsed.owner.0 = id().ok_or_else(wrong)?,
                "gid" => parsed.owner.1 = id().ok_or_else(wrong)?,
                "mode" => parsed.modes.file = octal(text).ok_or_else(wrong)?,
                "dmode" => parsed.modes.directory = octal(text).ok_or_else(wrong)?,
                "sbsector" => parsed.session = Session::At(number().ok_or_else(wrong)?),
                "session" => {
                    parsed.session = match text {
                        Some("first") => Session::Number(1),
                        Some("last") => Session::Last,
                        _ => match number() {
                            Some(n) if n > 0 => Session::Number(n),
                            _ => return Err(wrong()),
                        },
                    }
                }
                _ => return Err(OptionError::Unknown(name.clone())),
            }
            let flag = matches!(
                name.as_str(),
                "norrip" | "norock" | "nojoliet" | "gens" | "nomaplcase"
            );
            if flag && value.is_some() {
                return Err(wrong());
            }
        }
        Ok(parsed)
    }
}

/// Permission bits in octal.
fn octal(text: Option<&str>) -> Option<u32> {
    u32::from_str_radix(text?, 8)
        .ok()
        .filter(|bits| *bits <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn parse(name: &str, value: Option<&str>) -> Result<Options, OptionError> {
        Options::parse(&[(name.to_string(), value.map(ToString::to_string))])
    }

    #[test]
    fn options() {
        assert_eq!(Options::parse(&[]), Ok(Options::default()));
        assert!(parse("norock", None).unwrap().norrip);
        assert_eq!(parse("mode", Some("640")).unwrap().modes.file, 0o640);
        assert_eq!(parse("uid", Some("7")).unwrap().owner, (7, 0));
        assert_eq!(
            parse("session", Some("last")).unwrap().session,
            Session::Last
        );
        assert_eq!(
            parse("sbsector", Some("512")).unwrap().session,
            Session::At(512)
        );
        for (name, value) in [
            ("norrip", Some("1")),
            ("mode", Some("999")),
            ("mode", None),
            ("session", Some("0")),
            ("uid", Some("x")),
        ] {
            assert_eq!(
                parse(name, value),
                Err(OptionError::Value(name.to_string()))
            );
        }
        assert_eq!(
            parse("loop", None),
            Err(OptionError::Unknown("loop".to_string()))
        );
    }
}
