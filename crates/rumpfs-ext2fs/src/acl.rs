//! POSIX access control lists: the medium's form and the one that the attributes `system.posix_acl_*` have.
//!
//! On the medium: a version of 4 bytes (1), entries of tag and permissions (2 bytes each), those of a named user or group
//! with the number (4 bytes). As an attribute, as Linux's programs read it: a version of 4 bytes (2), entries of tag and
//! permissions (2 bytes each) and number (4 bytes), all ones where it means nothing.

use crate::error::{Error, Place, Result};
use crate::types::{InodeNumber, number};
use alloc::vec::Vec;
use rumpuser::Errno;

const MEDIUM_VERSION: u32 = 1;
const ATTRIBUTE_VERSION: u32 = 2;
const NO_ID: u32 = !0;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Whether an entry with this tag names a user or a group; `None` for no tag.
fn has_id(tag: u16) -> Option<bool> {
    match tag {
        USER | GROUP => Some(true),
        USER_OBJ | GROUP_OBJ | MASK | OTHER => Some(false),
        _ => None,
    }
}

/// Takes the first `N` bytes off.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// From the medium's form to the attribute's.
///
/// # Errors
/// [`Error::Value`] for another version, an unknown tag or a size that does not fit.
pub fn to_attribute(ino: InodeNumber, stored: &[u8]) -> Result<Vec<u8>> {
    let wrong =
        |field, found: u64, expected| Error::words(Place::Inode(ino), field, found, expected);
    let mut rest = stored;
    let version = take::<4>(&mut rest).map_or(0, u32::from_le_bytes);
    if version != MEDIUM_VERSION {
        return Err(wrong("a_version", u64::from(version), "1"));
    }
    let mut value = Vec::with_capacity(stored.len().saturating_mul(2));
    value.extend_from_slice(&ATTRIBUTE_VERSION.to_le_bytes());
    while !rest.is_empty() {
        let cut = || wrong("ACL size", number(stored.len()), "whole entries");
        let [tag_low, tag_high, perm_low, perm_high] = take::<4>(&mut rest).ok_or_else(cut)?;
        let tag = u16::from_le_bytes([tag_low, tag_high]);
        let id = match has_id(tag) {
            Some(true) => take::<4>(&mut rest)
                .map(u32::from_le_bytes)
                .ok_or_else(cut)?,
            Some(false) => NO_ID,
            None => return Err(wrong("e_tag", u64::from(tag), "a tag")),
        };
        value.extend_from_slice(&[tag_low, tag_high, perm_low, perm_high]);
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(value)
}

/// From the attribute's form to the medium's. That the list makes sense as a whole (one owner, a mask if anybody is
/// named) is the caller's to check.
///
/// # Errors
/// [`Error::Refused`]: `EOPNOTSUPP` for another version, `EINVAL` for an unknown tag, permissions past 7 or a size that
/// does not fit.
pub fn from_attribute(value: &[u8]) -> Result<Vec<u8>> {
    let refused = || Error::Refused(Errno::EINVAL);
    let mut rest = value;
    let version = take::<4>(&mut rest)
        .map(u32::from_le_bytes)
        .ok_or_else(refused)?;
    if version != ATTRIBUTE_VERSION {
        return Err(Error::Refused(Errno::EOPNOTSUPP));
    }
    let mut stored = Vec::with_capacity(value.len());
    stored.extend_from_slice(&MEDIUM_VERSION.to_le_bytes());
    while !rest.is_empty() {
        let entry @ [tag_low, tag_high, perm_low, perm_high] =
            take::<4>(&mut rest).ok_or_else(refused)?;
        let id = take::<4>(&mut rest).ok_or_else(refused)?;
        if u16::from_le_bytes([perm_low, perm_high]) > 7 {
            return Err(refused());
        }
        stored.extend_from_slice(&entry);
        if has_id(u16::from_le_bytes([tag_low, tag_high])).ok_or_else(refused)? {
            stored.extend_from_slice(&id);
        }
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// u::rw-, u:1000:r--, g::r--, m::r--, o::---
    const STORED: [u8; 28] = [
        1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xE8, 3, 0, 0, 4, 0, 4, 0, 0x10, 0, 4, 0, 0x20, 0, 0, 0,
    ];

    #[test]
    fn there_and_back() {
        let value = to_attribute(InodeNumber(12), &STORED).unwrap();
        assert_eq!(value.len(), 4 + 5 * 8);
        assert_eq!(
            value[..20],
            [
                2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xE8, 3, 0, 0
            ]
        );
        assert_eq!(from_attribute(&value).unwrap(), STORED);
    }

    #[test]
    fn damage_is_told() {
        let field = |bytes: &[u8]| match to_attribute(InodeNumber(12), bytes) {
            Err(Error::Value { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(&[2, 0, 0, 0]), "a_version");
        assert_eq!(field(&[1, 0, 0, 0, 3, 0, 7, 0]), "e_tag");
        assert_eq!(field(&STORED[..10]), "ACL size");
        assert_eq!(
            from_attribute(&[1, 0, 0, 0]),
            Err(Error::Refused(Errno::EOPNOTSUPP))
        );
        assert_eq!(
            from_attribute(&[2, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0]),
            Err(Error::Refused(Errno::EINVAL))
        );
    }
}
