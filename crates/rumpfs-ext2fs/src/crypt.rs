//! Encrypted names without a key.
//!
//! This driver has no keys. File contents are [`Error::NoKey`]; names in encrypted directories and targets of encrypted
//! links are shown as base64url of what the medium has, so that a tree can be listed, walked and, by those names, looked
//! up. Linux shows such names as well, in a form of its own that also carries the name's hash; the two differ. A
//! ciphertext whose base64url would pass 255 bytes is shown as that of its start, a full stop, and a 64-bit hash of all.

use crate::error::{Error, Place, Result};
use crate::types::{InodeNumber, number};
use alloc::vec::Vec;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Longest ciphertext that is shown whole: its base64url has 255 bytes.
const WHOLE_MAX: usize = 191;
/// What is shown of a longer one: a multiple of three.
const START: usize = 162;

/// The form in which a ciphertext is shown: at most 255 bytes, none of them `/`, zero or, in the first place, a full stop.
#[must_use]
pub fn presented(ciphertext: &[u8]) -> Vec<u8> {
    if ciphertext.len() <= WHOLE_MAX {
        return base64url(ciphertext);
    }
    let mut shown = base64url(ciphertext.get(..START).unwrap_or(ciphertext));
    shown.push(b'.');
    // FNV-1a: only to tell names apart whose starts agree.
    let hash = ciphertext
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    shown.extend_from_slice(&base64url(&hash.to_be_bytes()));
    shown
}

/// The target of an encrypted link: a length of two bytes and the ciphertext.
pub(crate) fn link(ino: InodeNumber, content: &[u8]) -> Result<Vec<u8>> {
    let wrong = || {
        Error::words(
            Place::Inode(ino),
            "i_size",
            number(content.len()),
            "the length of an encrypted link",
        )
    };
    let (len, rest) = content.split_first_chunk::<2>().ok_or_else(wrong)?;
    let ciphertext = rest
        .get(..usize::from(u16::from_le_bytes(*len)))
        .filter(|c| !c.is_empty())
        .ok_or_else(wrong)?;
    Ok(presented(ciphertext))
}

fn base64url(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = byte(0).wrapping_shl(16) | byte(1).wrapping_shl(8) | byte(2);
        for shift in [18, 12, 6, 0]
            .into_iter()
            .take(chunk.len().saturating_add(1))
        {
            let digit = usize::try_from((bits >> shift) & 63).unwrap_or(0);
            text.push(ALPHABET[digit & 63]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn base64url_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text.as_bytes());
        }
        assert_eq!(base64url(&[0xfb, 0xff]), b"-_8");
    }

    #[test]
    fn long_names_stay_names_and_differ() {
        let (a, mut b) = (vec![7; 255], vec![7; 255]);
        b[254] = 8;
        assert!(presented(&a).len() <= 255 && presented(&[1; 191]).len() == 255);
        assert_ne!(presented(&a), presented(&b));
    }

    #[test]
    fn link_lengths_are_checked() {
        assert_eq!(
            link(InodeNumber(12), &[3, 0, b'f', b'o', b'o', 0]),
            Ok(b"Zm9v".to_vec())
        );
        assert!(link(InodeNumber(12), &[4, 0, b'f']).is_err());
        assert!(link(InodeNumber(12), &[0, 0]).is_err());
    }
}
