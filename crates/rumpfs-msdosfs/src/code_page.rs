//! Code pages: the characters of short names above ASCII. In those of eastern Asia a character has one or two bytes, and the
//! second may look like any of ASCII from `0` on: names are looked at by character, never by byte.

use alloc::string::String;
use encoding_rs::{BIG5, DecoderResult, EUC_KR, EncoderResult, Encoding, GBK, SHIFT_JIS};
use oem_cp::{
    OEMCPHashMap,
    code_table::{DECODING_TABLE_CP_MAP, ENCODING_TABLE_CP_MAP},
    code_table_type::TableType,
};

/// A code page.
#[derive(Clone, Copy)]
pub struct CodePage {
    number: u16,
    table: Table,
}

#[derive(Clone, Copy)]
enum Table {
    Single {
        decode: &'static TableType,
        encode: &'static OEMCPHashMap<char, u8>,
    },
    Double(&'static Encoding),
}

/// The bytes of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// One.
    Single([u8; 1]),
    /// Two.
    Double([u8; 2]),
}

impl Encoded {
    /// Stands for what a short name cannot have.
    pub(crate) const UNKNOWN: Self = Self::Single([b'_']);

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Single(bytes) => bytes,
            Self::Double(bytes) => bytes,
        }
    }
}

impl core::fmt::Debug for CodePage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "code page {}", self.number)
    }
}

impl CodePage {
    /// The one of that number; `None` if it is not known.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        let table = match number {
            932 => Table::Double(SHIFT_JIS),
            936 => Table::Double(GBK),
            949 => Table::Double(EUC_KR),
            950 => Table::Double(BIG5),
            _ => Table::Single {
                decode: DECODING_TABLE_CP_MAP.get(&number)?,
                encode: ENCODING_TABLE_CP_MAP.get(&number)?,
            },
        };
        Some(Self { number, table })
    }

    /// The bytes of a character, if it has some.
    #[must_use]
    pub fn encode(&self, character: char) -> Option<Encoded> {
        if character.is_ascii() {
            let byte = u8::try_from(character).ok()?;
            return Some(Encoded::Single([byte]));
        }
        match self.table {
            Table::Single { encode, .. } => {
                let byte = encode.get(&character)?;
                Some(Encoded::Single([*byte]))
            }
            Table::Double(encoding) => encode_double(encoding, character),
        }
    }

    /// Decodes bytes. What is no character becomes U+FFFD.
    pub fn decode_to(&self, mut bytes: &[u8], to: &mut String) {
        while let [byte, rest @ ..] = bytes {
            bytes = rest;
            if byte.is_ascii() {
                to.push(char::from(*byte));
                continue;
            }
            match self.table {
                Table::Single { decode, .. } => to.push(decode_single(decode, *byte)),
                Table::Double(encoding) => {
                    let pair = rest.first().map(|second| [*byte, *second]);
                    if decode_double(encoding, &[*byte], to) {
                        continue;
                    }
                    let known = pair.is_some_and(|pair| decode_double(encoding, &pair, to));
                    if !known {
                        to.push(char::REPLACEMENT_CHARACTER);
                    }
                    // A second byte that may be a character of its own stays one.
                    if known || pair.is_some_and(|[_, second]| !second.is_ascii()) {
                        bytes = rest.get(1..).unwrap_or_default();
                    }
                }
            }
        }
    }
}

/// The character of a byte above ASCII.
fn decode_single(table: &TableType, byte: u8) -> char {
    let at = usize::from(byte & 0x7F);
    let found = match table {
        TableType::Complete(table) => table.get(at).copied(),
        TableType::Incomplete(table) => table.get(at).copied().flatten(),
    };
    found.unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Appends what these bytes are in all to `to`; tells whether they are something.
fn decode_double(encoding: &'static Encoding, bytes: &[u8], to: &mut String) -> bool {
    // Two characters of three bytes at most.
    let mut text = [0; 16];
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (result, _, written) = decoder.decode_to_utf8_without_replacement(bytes, &mut text, true);
    let text = text.get(..written).unwrap_or_default();
    match core::str::from_utf8(text) {
        Ok(text) if result == DecoderResult::InputEmpty && !text.is_empty() => {
            to.push_str(text);
            true
        }
        _ => false,
    }
}

/// The bytes of a character above ASCII, if they mean that character and no other: the encodings' rules for the web have a yen
/// sign become a backslash.
fn encode_double(encoding: &'static Encoding, character: char) -> Option<Encoded> {
    let (mut utf8, mut bytes) = ([0; 4], [0; 16]);
    let text: &str = character.encode_utf8(&mut utf8);
    let mut encoder = encoding.new_encoder();
    let (result, _, written) = encoder.encode_from_utf8_without_replacement(text, &mut bytes, true);
    let encoded = match *bytes.get(..written)? {
        [byte] => Encoded::Single([byte]),
        [first, second] => Encoded::Double([first, second]),
        _ => return None,
    };
    let mut again = String::new();
    let meant = result == EncoderResult::InputEmpty
        && decode_double(encoding, encoded.bytes(), &mut again)
        && again == text;
    meant.then_some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(page: u16, bytes: &[u8]) -> String {
        let mut text = String::new();
        CodePage::new(page).unwrap().decode_to(bytes, &mut text);
        text
    }

    fn encoded(page: u16, character: char) -> Option<Encoded> {
        CodePage::new(page).unwrap().encode(character)
    }

    #[test]
    fn single_bytes() {
        assert_eq!(decoded(437, b"a\x81"), "aü");
        assert_eq!(encoded(437, 'ü'), Some(Encoded::Single([0x81])));
        assert_eq!(encoded(437, '€'), None);
        assert_eq!(decoded(866, b"\x80"), "А");
        assert!(CodePage::new(1361).is_none());
    }

    #[test]
    fn two_bytes() {
        for (page, character, bytes) in [
            (932, '表', *b"\x95\x5C"),
            (936, '表', *b"\xB1\xED"),
            (949, '한', *b"\xC7\xD1"),
            (950, '功', *b"\xA5\x5C"),
        ] {
            assert_eq!(encoded(page, character), Some(Encoded::Double(bytes)));
            assert_eq!(decoded(page, &bytes), String::from(character), "{page}");
            assert_eq!(encoded(page, '\u{1F980}'), None);
            assert_eq!(encoded(page, 'A'), Some(Encoded::Single([b'A'])));
        }
        assert_eq!(encoded(932, 'ｱ'), Some(Encoded::Single([0xB1])));
        assert_eq!(encoded(932, '¥'), None);
        assert_eq!(decoded(932, b"\xB1\x5C"), "ｱ\\");
    }

    #[test]
    fn what_is_no_character() {
        assert_eq!(decoded(932, b"A\x95"), "A\u{FFFD}");
        assert_eq!(decoded(932, b"\x95\x20B"), "\u{FFFD} B");
        assert_eq!(decoded(936, b"\x81\x30\x81\x30"), "\u{FFFD}0\u{FFFD}0");
        assert_eq!(decoded(949, b"\xFF\xFFB"), "\u{FFFD}B");
    }
}
