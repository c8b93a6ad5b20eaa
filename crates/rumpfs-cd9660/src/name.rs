//! From identifiers (ECMA-119 7.5, Joliet) to names.

use crate::{layout::file_flag, options::Options, record::Record, volume::Extension};
use alloc::vec::Vec;

/// What NetBSD puts before the name of an associated file, so that it differs from the file's.
const ASSOCIATED: u8 = b'=';

/// Writes the name of a record without Rock Ridge to `to`.
pub(crate) fn translate(
    extension: Extension,
    options: &Options,
    record: &Record<'_>,
    to: &mut Vec<u8>,
) {
    to.clear();
    if record.has(file_flag::ASSOCIATED) {
        to.push(ASSOCIATED);
    }
    match extension {
        Extension::Joliet => utf16(record.identifier, to),
        Extension::Plain | Extension::RockRidge { .. } => {
            to.extend_from_slice(record.identifier);
            if !options.nomaplcase {
                to.make_ascii_lowercase();
            }
        }
    }
    if !options.gens && !record.is_directory() {
        let len = unversioned(to).len();
        to.truncate(len);
    }
}

/// A name without its version number and the dot of an empty extension.
pub(crate) fn unversioned(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| *byte == b';').unwrap_or(0);
    let name = match name.split_at_checked(end) {
        Some((before @ [_, ..], [_, version @ ..])) if is_version(version) => before,
        _ => name,
    };
    match name {
        [rest @ .., b'.'] if !rest.is_empty() => rest,
        _ => name,
    }
}

/// 7.5.1: a number up to 32,767.
fn is_version(bytes: &[u8]) -> bool {
    matches!(bytes.len(), 1..=5) && bytes.iter().all(u8::is_ascii_digit)
}

/// UCS-2 or UTF-16, big-endian, to UTF-8; half a pair becomes U+FFFD.
fn utf16(identifier: &[u8], to: &mut Vec<u8>) {
    let units = identifier
        .as_chunks::<2>()
        .0
        .iter()
        .map(|unit| u16::from_be_bytes(*unit));
    for unit in char::decode_utf16(units) {
        let unit = unit.unwrap_or(char::REPLACEMENT_CHARACTER);
        to.extend_from_slice(unit.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go() {
        for (identifier, name) in [
            (&b"readme.txt;1"[..], &b"readme.txt"[..]),
            (b"readme.;1", b"readme"),
            (b"readme.", b"readme"),
            (b"a;b;12", b"a;b"),
            (b"semi;colon", b"semi;colon"),
            (b";1", b";1"),
            (b".", b"."),
        ] {
            assert_eq!(unversioned(identifier), name);
        }
    }

    #[test]
    fn utf16_is_decoded() {
        let mut name = Vec::new();
        utf16(
            &[0, b'a', 0x20, 0xAC, 0xD8, 0x3D, 0xDE, 0x00, 0xD8, 0x00],
            &mut name,
        );
        assert_eq!(name, "a€\u{1F600}\u{FFFD}".as_bytes());
    }
}
