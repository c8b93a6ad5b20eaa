//! Mount options.

use crate::txn::OnError;
use alloc::string::String;
use core::fmt;

/// What `mount` was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `norecovery` (or `noload`): the journal is not looked at, the volume is shown as it lies on the medium. Only for
    /// reading.
    pub norecovery: bool,
    /// `errors=`: what becomes of a mount for writing when the volume is found damaged; `None`: what the superblock says.
    pub errors: Option<OnError>,
    /// `resuid=`: the user who may take the blocks that the volume keeps back; `None`: whom the superblock names.
    pub resuid: Option<u32>,
    /// `resgid=`: the group whose members may, if it is not 0; `None`: the one that the superblock names.
    pub resgid: Option<u32>,
}

/// An option that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// No option has this name.
    Unknown(String),
    /// The option takes no value, or another.
    Value(String),
    /// The option needs a mount for reading only.
    NeedsReadOnly(String),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "unknown mount option {name}"),
            Self::Value(name) => write!(f, "mount option {name}: wrong value"),
            Self::NeedsReadOnly(name) => write!(f, "mount option {name} is for read-only mounts"),
        }
    }
}

impl Options {
    /// From pairs of name and value.
    ///
    /// # Errors
    /// [`OptionError`] for the first option that cannot be followed: `EINVAL` for the caller.
    pub fn parse(
        options: &[(String, Option<String>)],
        read_only: bool,
    ) -> Result<Self, OptionError> {
        let mut parsed = Self::default();
        for (name, value) in options {
            match name.as_str() {
                "norecovery" | "noload" => parsed.norecovery = true,
                "errors" => {
                    parsed.errors = Some(match value.as_deref() {
                        Some("continue") => OnError::Continue,
                        Some("remount-ro") => OnError::ReadOnly,
                        _ => return Err(OptionError::Value(name.clone())),
                    });
                    continue;
                }
                "resuid" => {
                    parsed.resuid = Some(number(name, value.as_deref())?);
                    continue;
                }
                "resgid" => {
                    parsed.resgid = Some(number(name, value.as_deref())?);
                    continue;
                }
                _ => return Err(OptionError::Unknown(name.clone())),
            }
            if value.is_some() {
                return Err(OptionError::Value(name.clone()));
            }
            if parsed.norecovery && !read_only {
                return Err(OptionError::NeedsReadOnly(name.clone()));
            }
        }
        Ok(parsed)
    }
}

/// A number as the value of an option.
fn number(name: &str, value: Option<&str>) -> Result<u32, OptionError> {
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| OptionError::Value(String::from(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn parse(name: &str, value: Option<&str>, read_only: bool) -> Result<Options, OptionError> {
        Options::parse(
            &[(name.to_string(), value.map(ToString::to_string))],
            read_only,
        )
    }

    #[test]
    fn options() {
        assert_eq!(Options::parse(&[], false), Ok(Options::default()));
        assert_eq!(
            parse("noload", None, true),
            Ok(Options {
                norecovery: true,
                ..Options::default()
            })
        );
        assert_eq!(
            parse("norecovery", None, false),
            Err(OptionError::NeedsReadOnly("norecovery".to_string()))
        );
        assert_eq!(
            parse("noload", Some("1"), true),
            Err(OptionError::Value("noload".to_string()))
        );
        assert_eq!(
            parse("errors", Some("remount-ro"), false).map(|options| options.errors),
            Ok(Some(OnError::ReadOnly))
        );
        assert_eq!(
            parse("errors", None, false),
            Err(OptionError::Value("errors".to_string()))
        );
        let reserve = parse("resuid", Some("1000"), false).map(|options| options.resuid);
        assert_eq!(reserve, Ok(Some(1000)));
        let reserve = parse("resgid", Some("0"), false).map(|options| options.resgid);
        assert_eq!(reserve, Ok(Some(0)));
        for wrong in [None, Some(""), Some("-1"), Some("root")] {
            assert_eq!(
                parse("resgid", wrong, false),
                Err(OptionError::Value("resgid".to_string()))
            );
        }
        assert_eq!(
            parse("data", Some("journal"), true),
            Err(OptionError::Unknown("data".to_string()))
        );
    }
}
