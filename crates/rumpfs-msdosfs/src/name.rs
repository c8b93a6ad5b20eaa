//! Names: long ones in UTF-16, short ones of eight and three bytes, and how one is made from the other.

use crate::{
    code_page::{CodePage, Encoded},
    error::{Error, Result},
    layout::{DELETED, KANJI, LOWER_BASE, LOWER_EXTENSION, RawEntry},
};
use alloc::{string::String, vec::Vec};
use rumpuser::Errno;

/// UTF-16 units in the longest name.
pub(crate) const LONGEST: usize = 255;

/// A name as it is looked for: folded, so that case does not count.
#[must_use]
pub(crate) fn fold(name: &str) -> String {
    name.chars().map(upper).collect()
}

/// Upper case, where that is one character.
pub(crate) fn upper(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => character,
    }
}

/// A hash of a folded name.
#[must_use]
pub(crate) fn hash(folded: &str) -> u32 {
    folded.bytes().fold(0x811C_9DC5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// A name as a caller gives it, without the dots at its end, which do not count.
///
/// # Errors
/// `EINVAL` if it is not UTF-8, `ENAMETOOLONG` if no entry has room for it.
pub(crate) fn given(name: &[u8]) -> Result<&str> {
    let name = core::str::from_utf8(name).map_err(|_| Error::Refused(Errno::EINVAL))?;
    let name = name.trim_end_matches('.');
    // A unit is at least one byte.
    if name.len() > LONGEST && name.encode_utf16().count() > LONGEST {
        return Err(Error::Refused(Errno::ENAMETOOLONG));
    }
    Ok(name)
}

/// The UTF-16 units of a name that can be made.
///
/// # Errors
/// `EINVAL` for characters that no name has, `ENAMETOOLONG`.
pub(crate) fn to_utf16(name: &str) -> Result<Vec<u16>> {
    let bad = |c: char| {
        c < ' '
            || matches!(
                c,
                '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|' | '\x7F'
            )
    };
    if name.is_empty() || name.chars().any(bad) {
        return Err(Error::Refused(Errno::EINVAL));
    }
    let units: Vec<u16> = name.encode_utf16().collect();
    if units.len() > LONGEST {
        return Err(Error::Refused(Errno::ENAMETOOLONG));
    }
    Ok(units)
}

/// A long name as text; half a pair becomes U+FFFD.
#[must_use]
pub(crate) fn from_utf16(units: &[u16]) -> String {
    char::decode_utf16(units.iter().copied())
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// The checksum of a short name that the pieces of its long name have (7.2 of the specification).
#[must_use]
pub fn checksum(short: &[u8; 11]) -> u8 {
    short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// A short name as text, in the case that its entry asks for.
#[must_use]
pub(crate) fn short_text(entry: &RawEntry, page: &CodePage) -> String {
    let mut bytes = entry.name;
    if let [first, ..] = &mut bytes
        && *first == KANJI
    {
        *first = DELETED;
    }
    let (base, extension) = bytes.split_at(8);
    let mut text = String::new();
    let add = |bytes: &[u8], lower: bool| {
        let end = bytes.iter().rposition(|byte| *byte != b' ');
        let bytes = bytes.get(..end.map_or(0, |end| end.saturating_add(1)));
        let mut part = String::new();
        page.decode_to(bytes.unwrap_or_default(), &mut part);
        if lower {
            part = part.chars().map(lower_of).collect();
        }
        part
    };
    let base = add(base, entry.case & LOWER_BASE != 0);
    let extension = add(extension, entry.case & LOWER_EXTENSION != 0);
    text.push_str(&base);
    if !extension.is_empty() {
        text.push('.');
        text.push_str(&extension);
    }
    text
}

fn lower_of(character: char) -> char {
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => character,
    }
}

/// What a new entry is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewName {
    /// The short name.
    pub(crate) short: [u8; 11],
    /// Case of the short name.
    pub(crate) case: u8,
    /// The long name; empty if the short one says it all.
    pub(crate) long: Vec<u16>,
}

/// Characters of short names besides letters and digits.
const SHORT_SPECIAL: &str = "$%'-_@~`!(){}^#&";

/// Makes the names of a new entry. `taken` says of a short name whether the directory has it.
///
/// # Errors
/// As [`to_utf16`]; `EEXIST` when no short name is left; those of `taken`.
pub(crate) fn make(
    name: &str,
    page: &CodePage,
    mut taken: impl FnMut(&[u8; 11]) -> Result<bool>,
) -> Result<NewName> {
    let long = to_utf16(name)?;
    let basis = Basis::of(name, page);
    if basis.exact {
        let short = basis.short(&[]);
        if !taken(&short)? {
            let (case, long) = match basis.case {
                Some(case) => (case, Vec::new()),
                None => (0, long),
            };
            return Ok(NewName { short, case, long });
        }
    }
    for tail in Basis::tails(&long) {
        let short = basis.short(tail.as_bytes());
        if !taken(&short)? {
            let case = 0;
            return Ok(NewName { short, case, long });
        }
    }
    Err(Error::Refused(Errno::EEXIST))
}

/// What a short name is made of (the basis name of the specification).
struct Basis {
    base: Vec<Encoded>,
    extension: Vec<Encoded>,
    /// Nothing was left out or replaced but case.
    exact: bool,
    /// The case flags with which the short name shows as the name; `None`: it cannot.
    case: Option<u8>,
}

impl Basis {
    fn of(name: &str, page: &CodePage) -> Self {
        let trimmed = name.trim_start_matches(['.', ' ']);
        let (base, extension) = match trimmed.rsplit_once('.') {
            Some((base, extension)) => (base, extension),
            None => (trimmed, ""),
        };
        let mut exact = trimmed.len() == name.len();
        let mut part = |text: &str, most: usize| {
            let mut characters = Vec::new();
            for character in text.chars() {
                if matches!(character, ' ' | '.') {
                    exact = false;
                    continue;
                }
                let upper = upper(character);
                let can_be = !upper.is_ascii()
                    || upper.is_ascii_alphanumeric()
                    || SHORT_SPECIAL.contains(upper);
                let known = page
                    .encode(upper)
                    .filter(|encoded| can_be && !looks_bad(encoded));
                exact &= known.is_some();
                characters.push(known.unwrap_or(Encoded::UNKNOWN));
            }
            let keep = fitting(&characters, most);
            exact &= keep == characters.len();
            characters.truncate(keep);
            characters
        };
        let (base_characters, extension_characters) = (part(base, 8), part(extension, 3));
        // A name that ends with a dot does not exist; one without a base has no exact short name.
        exact &= !base_characters.is_empty();
        let case = match (case_of(base), case_of(extension)) {
            (Some(base), Some(extension)) => Some(
                if base { LOWER_BASE } else { 0 } | if extension { LOWER_EXTENSION } else { 0 },
            ),
            _ => None,
        };
        Self {
            base: base_characters,
            extension: extension_characters,
            exact,
            case,
        }
    }

    /// The short name with a tail at the end of its base.
    fn short(&self, tail: &[u8]) -> [u8; 11] {
        let mut short = [b' '; 11];
        let keep = fitting(&self.base, 8_usize.saturating_sub(tail.len()));
        let base = self.base.iter().take(keep).flat_map(Encoded::bytes);
        let (to_base, to_extension) = short.split_at_mut(8);
        for (to, from) in to_base.iter_mut().zip(base.chain(tail)) {
            *to = *from;
        }
        let extension = self.extension.iter().flat_map(Encoded::bytes);
        for (to, from) in to_extension.iter_mut().zip(extension) {
            *to = *from;
        }
        if let [first, ..] = &mut short
            && *first == DELETED
        {
            *first = KANJI;
        }
        short
    }

    /// The tails that are tried, as Windows does: four numbers, then a checksum of the long name and a number, so that many
    /// similar names do not take many tries.
    fn tails(long: &[u16]) -> impl Iterator<Item = String> + use<> {
        let sum = long
            .iter()
            .fold(0_u16, |sum, unit| sum.rotate_right(1).wrapping_add(*unit));
        let few = (1..=4_u32).map(|n| alloc::format!("~{n}"));
        let many = (0..=u16::MAX).flat_map(move |round| {
            let sum = sum.wrapping_add(round);
            (1..=9_u32).map(move |n| alloc::format!("{sum:04X}~{n}"))
        });
        few.chain(many)
    }
}

/// Whether a character has a byte that no short name has, as its second: for who looks at bytes, such as fsck.fat, the name
/// would be bad. (Of all such bytes these two alone are second ones.)
fn looks_bad(encoded: &Encoded) -> bool {
    encoded
        .bytes()
        .iter()
        .any(|byte| matches!(byte, b'\\' | b'|'))
}

/// How many characters from the first one on fit into `most` bytes: one of two bytes is not cut.
fn fitting(characters: &[Encoded], most: usize) -> usize {
    let mut len = 0_usize;
    let fit = characters.iter().take_while(|character| {
        len = len.saturating_add(character.bytes().len());
        len <= most
    });
    fit.count()
}

/// Whether the letters of a part are all lower (`true`) or all upper case or none; `None`: mixed.
fn case_of(part: &str) -> Option<bool> {
    let lower = part.chars().any(|c| upper(c) != c);
    let is_upper = part.chars().any(|c| lower_of(c) != c);
    match (lower, is_upper) {
        (true, true) => None,
        (lower, _) => Some(lower),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn page() -> CodePage {
        CodePage::new(437).unwrap()
    }

    /// The short name made when `there` are taken, and whether there is a long one.
    fn made(name: &str, there: &[&str]) -> (String, u8, bool) {
        let taken = |short: &[u8; 11]| {
            let text: String = short.iter().map(|byte| char::from(*byte)).collect();
            Ok(there.contains(&text.as_str()))
        };
        let new = make(name, &page(), taken).unwrap();
        let text = new.short.iter().map(|byte| char::from(*byte)).collect();
        (text, new.case, !new.long.is_empty())
    }

    #[test]
    fn short_names() {
        for (name, short, case, long) in [
            ("README.TXT", "README  TXT", 0, false),
            ("readme.txt", "README  TXT", 0x18, false),
            ("README.txt", "README  TXT", 0x10, false),
            ("Readme.txt", "README  TXT", 0, true),
            ("noext", "NOEXT      ", 8, false),
            ("a long name.text", "ALONGN~1TEX", 0, true),
            (".hidden", "HIDDEN~1   ", 0, true),
            ("two.dots.tar", "TWODOT~1TAR", 0, true),
            ("a+b", "A_B~1      ", 0, true),
            ("ÄRGER.TXT", "\u{8E}RGER   TXT", 0, false),
            ("日本", "__~1       ", 0, true),
        ] {
            assert_eq!(made(name, &[]), (short.into(), case, long), "{name}");
        }
        let there = ["ALONGN~1TEX", "ALONGN~2TEX", "ALONGN~3TEX", "ALONGN~4TEX"];
        let (short, ..) = made("a long name.text", &there);
        assert!(
            short.starts_with("AL") && short.ends_with("~1TEX"),
            "{short}"
        );
        assert_eq!(made("README.TXT", &["README  TXT"]).0, "README~1TXT");
    }

    #[test]
    fn short_names_of_two_byte_characters() {
        let page = CodePage::new(932).unwrap();
        let made = |name: &str, there: usize| {
            let mut asked = 0;
            let new = make(name, &page, |_| {
                asked += 1;
                Ok(asked <= there)
            });
            let new = new.unwrap();
            (new.short, !new.long.is_empty())
        };
        // A second byte may be that of a letter.
        assert_eq!(made("日.ア", 0), (*b"\x93\xFA      \x83\x41 ", false));
        // That of a backslash is none, but is taken for one.
        assert_eq!(made("表.ア", 0), (*b"_~1     \x83\x41 ", true));
        // No character is cut, neither at the end nor before a tail.
        let (short, long) = made("日本語名.テス", 0);
        assert_eq!(
            (&short, long),
            (b"\x93\xFA\x96\x7B\x8C\xEA~1\x83\x65 ", true)
        );
        assert_eq!(
            made("A日本語名.TXT", 0),
            (*b"A\x93\xFA\x96\x7B~1 TXT", true)
        );
        let (short, _) = made("A日本語", 5);
        assert!(short[..5].is_ascii(), "{short:x?}");
        // Its first byte marks a deleted entry elsewhere.
        assert_eq!(made("蛻.A", 0).0, *b"\x05\x88      A  ");
        // Half-width characters are one byte; others too have upper case.
        assert_eq!(made("ﾃｽﾄ.txt", 0), (*b"\xC3\xBD\xC4     TXT", false));
        assert_eq!(made("ａ", 0), (*b"\x82\x60         ", false));
        // A yen sign would be a backslash.
        assert_eq!(made("a¥b", 0), (*b"A_B~1      ", true));
    }

    #[test]
    fn shown_names() {
        let mut entry = RawEntry {
            name: *b"README  TXT",
            attributes: 0,
            case: LOWER_EXTENSION,
            creation_hundredths: 0,
            creation_time: 0.into(),
            creation_date: 0.into(),
            access_date: 0.into(),
            cluster_high: 0.into(),
            write_time: 0.into(),
            write_date: 0.into(),
            cluster_low: 0.into(),
            size: 0.into(),
        };
        assert_eq!(short_text(&entry, &page()), "README.txt");
        entry.name = *b"\x05A         ";
        assert_eq!(short_text(&entry, &page()), "σA");
        entry.case = LOWER_BASE | LOWER_EXTENSION;
        entry.name = *b"\x05\x88A\x83\x41   \x83\x41B";
        let page = CodePage::new(932).unwrap();
        assert_eq!(short_text(&entry, &page), "蛻aア.アb");
        assert_eq!(checksum(b"README  TXT"), 0x73);
    }

    #[test]
    fn names_that_cannot_be() {
        for name in ["a:b", "a*", "", "a\u{1}", "x|y", "q?"] {
            assert_eq!(to_utf16(name), Err(Error::Refused(Errno::EINVAL)), "{name}");
        }
        assert_eq!(to_utf16("a\u{1F980}"), Ok(vec![97, 0xD83E, 0xDD80]));
        assert_eq!(given(b"name..."), Ok("name"));
        assert!(given(&[0xFF]).is_err());
        assert_eq!(fold("straße.Txt"), "STRAßE.TXT");
    }
}
