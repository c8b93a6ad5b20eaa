//! Code pages: the characters of short names above ASCII.

use alloc::string::String;
use oem_cp::{
    OEMCPHashMap,
    code_table::{DECODING_TABLE_CP_MAP, ENCODING_TABLE_CP_MAP},
    code_table_type::TableType,
};

/// A code page of single bytes.
#[derive(Clone, Copy)]
pub struct CodePage {
    number: u16,
    decode: &'static TableType,
    encode: &'static OEMCPHashMap<char, u8>,
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
        Some(Self {
            number,
            decode: DECODING_TABLE_CP_MAP.get(&number)?,
            encode: ENCODING_TABLE_CP_MAP.get(&number)?,
        })
    }

    /// The character of a byte; U+FFFD if it has none.
    #[must_use]
    pub fn decode(&self, byte: u8) -> char {
        let Some(upper) = byte.checked_sub(128) else {
            return char::from(byte);
        };
        let at = usize::from(upper);
        let found = match self.decode {
            TableType::Complete(table) => table.get(at).copied(),
            TableType::Incomplete(table) => table.get(at).copied().flatten(),
        };
        found.unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// The byte of a character, if it has one.
    #[must_use]
    pub fn encode(&self, character: char) -> Option<u8> {
        if character.is_ascii() {
            return u8::try_from(character).ok();
        }
        self.encode.get(&character).copied()
    }

    /// Decodes several bytes.
    pub(crate) fn decode_to(&self, bytes: &[u8], to: &mut String) {
        to.extend(bytes.iter().map(|byte| self.decode(*byte)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pages() {
        let page = CodePage::new(437).unwrap();
        assert_eq!((page.decode(0x81), page.encode('ü')), ('ü', Some(0x81)));
        assert_eq!(page.encode('€'), None);
        assert_eq!(CodePage::new(866).unwrap().decode(0x80), 'А');
        assert!(CodePage::new(932).is_none());
    }
}
