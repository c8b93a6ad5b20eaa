//! Keywords: those that are written, and those that are not checked.

use super::digest::Algorithm;
use std::collections::BTreeSet;

/// What is written of a file, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Keyword {
    Type,
    Mode,
    Uid,
    Gid,
    Nlink,
    Size,
    Time,
    Link,
    Device,
    Digest(Algorithm),
}

/// Keywords that are written of each file, as far as they apply to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keywords(BTreeSet<Keyword>);

const PLAIN: [(Keyword, &str); 9] = [
    (Keyword::Type, "type"),
    (Keyword::Mode, "mode"),
    (Keyword::Uid, "uid"),
    (Keyword::Gid, "gid"),
    (Keyword::Nlink, "nlink"),
    (Keyword::Size, "size"),
    (Keyword::Time, "time"),
    (Keyword::Link, "link"),
    (Keyword::Device, "device"),
];

impl Default for Keywords {
    fn default() -> Self {
        let plain = PLAIN.iter().map(|(keyword, _)| *keyword);
        Self(plain.chain([Keyword::Digest(Algorithm::Sha256)]).collect())
    }
}

impl Keywords {
    /// Reads words between commas or blanks; `all` is each that there is.
    ///
    /// # Errors
    /// A word that is none of them, and which they are.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut keywords = BTreeSet::new();
        let words = text.split(|c: char| c == ',' || c.is_ascii_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            let plain = PLAIN.iter().find(|(_, name)| *name == word);
            if word == "all" {
                keywords.extend(PLAIN.iter().map(|(keyword, _)| *keyword));
                keywords.extend(Algorithm::ALL.map(Keyword::Digest));
            } else if let Some((keyword, _)) = plain {
                keywords.insert(*keyword);
            } else if let Some(algorithm) = Algorithm::of(word) {
                keywords.insert(Keyword::Digest(algorithm));
            } else {
                let plain = PLAIN.map(|(_, name)| name);
                let digests = Algorithm::ALL.map(Algorithm::keyword);
                let known = [&plain[..], &digests].concat().join(" ");
                return Err(format!("{word} cannot be written; one of: all {known}"));
            }
        }
        Ok(Self(keywords))
    }

    /// As the options -k, -K and -R of mtree(8) make it: these and `type` instead of the usual, those as well, those not.
    pub(crate) fn chosen(only: &[Self], added: &[Self], removed: &[Self]) -> Self {
        let mut chosen = match only {
            [] => Self::default(),
            _ => Self([Keyword::Type].into()),
        };
        chosen
            .0
            .extend(only.iter().chain(added).flat_map(|some| &some.0));
        for keyword in removed.iter().flat_map(|some| &some.0) {
            chosen.0.remove(keyword);
        }
        chosen
    }

    /// All of them, in the order in which they are written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Keyword> {
        self.0.iter().copied()
    }

    /// The digests among them.
    pub(crate) fn algorithms(&self) -> BTreeSet<Algorithm> {
        let algorithm = |keyword| match keyword {
            Keyword::Digest(algorithm) => Some(algorithm),
            _ => None,
        };
        self.iter().filter_map(algorithm).collect()
    }
}

impl Keyword {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        if let Self::Digest(algorithm) = self {
            return algorithm.keyword();
        }
        let plain = PLAIN.iter().find(|(keyword, _)| *keyword == self);
        plain.map_or("", |(_, name)| name)
    }
}

/// Keywords that are not checked, by any of their names.
#[derive(Debug)]
pub(crate) struct Ignored(BTreeSet<String>);

impl Ignored {
    /// These.
    pub(crate) fn new(keywords: &[String]) -> Self {
        Self(keywords.iter().map(|word| one(word).to_owned()).collect())
    }

    /// Whether it is one of them.
    pub(crate) fn has(&self, keyword: &str) -> bool {
        self.0.contains(one(keyword))
    }
}

/// The name among those that mean the same: sha256 and sha256digest are one keyword.
fn one(keyword: &str) -> &str {
    Algorithm::of(keyword).map_or(keyword, |algorithm| algorithm.keyword())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        let names = |only: &[&str], added: &[&str], removed: &[&str]| {
            let [only, added, removed] = [only, added, removed].map(|words| {
                let words = words.iter().map(|word| Keywords::parse(word).unwrap());
                words.collect::<Vec<_>>()
            });
            let chosen = Keywords::chosen(&only, &added, &removed);
            chosen
                .iter()
                .map(Keyword::name)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let usual = "type mode uid gid nlink size time link device sha256digest";
        assert_eq!(names(&[], &[], &[]), usual);
        assert_eq!(
            names(&["sha1, md5digest", "cksum"], &[], &[]),
            "type cksum md5digest sha1digest"
        );
        assert_eq!(
            names(&["size"], &["ripemd160digest mode"], &["type"]),
            "mode size rmd160digest"
        );
        assert_eq!(
            names(&[], &["sha512"], &["time,sha256"]),
            "type mode uid gid nlink size link device sha512digest"
        );
        assert_eq!(names(&[], &[], &["all"]), "");
        assert_eq!(names(&["all"], &[], &[]).split(' ').count(), 16);
        let wrong = Keywords::parse("size,inode").unwrap_err();
        assert!(wrong.starts_with("inode cannot be written; one of: all type mode"));
    }
}
