//! Mount options.

use crate::error::{Error, Result};
use alloc::string::String;

/// What `mount` was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `noreplay`: the volume is shown as it lies there, without what only the journal has.
    pub noreplay: bool,
    /// `force`: a volume that was not unmounted cleanly is written all the same.
    pub force: bool,
    /// `log`: a journal is used for writing, and made if there is none.
    pub log: bool,
}

impl Options {
    /// From pairs of name and value.
    ///
    /// # Errors
    /// [`Error::UnknownOption`], [`Error::OptionValue`].
    pub fn parse(options: &[(String, Option<String>)]) -> Result<Self> {
        let mut parsed = Self::default();
        for (name, value) in options {
            match (name.as_str(), value) {
                ("noreplay", None) => parsed.noreplay = true,
                ("force", None) => parsed.force = true,
                ("log", None) => parsed.log = true,
                ("noreplay" | "force" | "log", Some(_)) => {
                    return Err(Error::OptionValue(name.clone()));
                }
                _ => return Err(Error::UnknownOption(name.clone())),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn options() {
        let parse = |name: &str, value: Option<&str>| {
            Options::parse(&[(name.to_string(), value.map(ToString::to_string))])
        };
        let noreplay = Options {
            noreplay: true,
            ..Options::default()
        };
        assert_eq!(parse("noreplay", None), Ok(noreplay));
        assert!(parse("force", None).unwrap().force);
        assert!(parse("log", None).unwrap().log);
        assert_eq!(
            parse("noreplay", Some("1")),
            Err(Error::OptionValue("noreplay".to_string()))
        );
        assert_eq!(
            parse("async", None),
            Err(Error::UnknownOption("async".to_string()))
        );
    }
}
