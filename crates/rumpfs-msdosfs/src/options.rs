//! Mount options.

use crate::code_page::CodePage;
use alloc::string::String;
use core::fmt;

/// Code page of short names where none is named: that of the first PCs.
const DEFAULT_PAGE: u16 = 437;

/// What `mount` was told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `uid=`
    pub uid: u32,
    /// `gid=`
    pub gid: u32,
    /// `fmask=`, or `umask=`, octal: permission bits that files do not have.
    pub file_mask: u32,
    /// `dmask=`, or `umask=`: the same of directories.
    pub directory_mask: u32,
    /// `codepage=`: of short names.
    pub code_page: CodePage,
    /// `time_offset=`: minutes that the volume's times are ahead of Greenwich. `tz=UTC` is 0, the default.
    pub time_offset: i32,
}

/// An option that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// No option has this name.
    Unknown(String),
    /// The option takes another value.
    Value(String),
    /// No such code page.
    CodePage(u16),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "unknown mount option {name}"),
            Self::Value(name) => write!(f, "mount option {name}: wrong value"),
            Self::CodePage(page) => {
                write!(f, "mount option codepage: {page} is not known")
            }
        }
    }
}

impl Options {
    /// From pairs of name and value.
    ///
    /// # Errors
    /// [`OptionError`] for the first option that cannot be followed: `EINVAL` for the caller.
    pub fn parse(options: &[(String, Option<String>)]) -> Result<Self, OptionError> {
        let mut parsed = Self {
            uid: 0,
            gid: 0,
            file_mask: 0o022,
            directory_mask: 0o022,
            code_page: code_page(DEFAULT_PAGE)?,
            time_offset: 0,
        };
        for (name, value) in options {
            let wrong = || OptionError::Value(name.clone());
            let text = value.as_deref().ok_or_else(wrong);
            let id = || text.clone()?.parse::<u32>().map_err(|_| wrong());
            let mask = || {
                let mask = u32::from_str_radix(text.clone()?, 8).map_err(|_| wrong())?;
                Some(mask).filter(|mask| *mask <= 0o777).ok_or_else(wrong)
            };
            match name.as_str() {
                "uid" => parsed.uid = id()?,
                "gid" => parsed.gid = id()?,
                "fmask" => parsed.file_mask = mask()?,
                "dmask" => parsed.directory_mask = mask()?,
                "umask" => {
                    parsed.file_mask = mask()?;
                    parsed.directory_mask = parsed.file_mask;
                }
                "codepage" => {
                    let number = text?.parse().map_err(|_| wrong())?;
                    parsed.code_page = code_page(number)?;
                }
                "time_offset" => {
                    let minutes = text?.parse::<i32>().map_err(|_| wrong())?;
                    // As far as clocks on Earth differ.
                    if !(-1440..=1440).contains(&minutes) {
                        return Err(wrong());
                    }
                    parsed.time_offset = minutes;
                }
                "tz" if text.as_deref() == Ok("UTC") => parsed.time_offset = 0,
                "tz" => return Err(wrong()),
                _ => return Err(OptionError::Unknown(name.clone())),
            }
        }
        Ok(parsed)
    }
}

fn code_page(number: u16) -> Result<CodePage, OptionError> {
    CodePage::new(number).ok_or(OptionError::CodePage(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    fn parse(name: &str, value: Option<&str>) -> Result<Options, OptionError> {
        Options::parse(&[(name.to_string(), value.map(ToString::to_string))])
    }

    #[test]
    fn options() {
        let parsed = parse("umask", Some("077")).unwrap();
        assert_eq!((parsed.file_mask, parsed.directory_mask), (0o077, 0o077));
        assert_eq!(parse("time_offset", Some("-60")).unwrap().time_offset, -60);
        for page in [9, 1361] {
            let error = parse("codepage", Some(&page.to_string())).unwrap_err();
            assert_eq!(error, OptionError::CodePage(page));
            let text = error.to_string();
            assert!(text.contains(&format!("{page} is not known")), "{text}");
        }
        for page in ["437", "866", "932", "936", "949", "950"] {
            assert!(parse("codepage", Some(page)).is_ok(), "{page}");
        }
        for (name, value) in [("uid", None), ("fmask", Some("9")), ("tz", Some("CET"))] {
            let wrong = OptionError::Value(name.to_string());
            assert_eq!(parse(name, value).err(), Some(wrong));
        }
        let unknown = OptionError::Unknown("quiet".to_string());
        assert_eq!(parse("quiet", None).err(), Some(unknown));
    }
}
