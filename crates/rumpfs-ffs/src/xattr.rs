//! Extended attributes of UFS2: records in up to two blocks that only they use (FreeBSD's format).

use crate::{
    error::{Error, Place, Result},
    inode::Inode,
    layout::RawAttribute,
    types::{Order, Version, index, number, round_up},
    volume::{Ffs, Neighbours},
};
use alloc::vec::Vec;
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `user.` or `system.`; nothing before names that begin with another name space, as this driver stores them.
    pub prefix: &'static [u8],
    /// Name behind it.
    pub name: &'a [u8],
    /// Value.
    pub value: &'a [u8],
}

impl Attribute<'_> {
    /// The whole name.
    #[must_use]
    pub fn name_with_prefix(&self) -> Vec<u8> {
        [self.prefix, self.name].concat()
    }
}

impl Ffs {
    /// Whether the format has extended attributes.
    #[must_use]
    pub fn has_attributes(&self) -> bool {
        self.superblock.version == Version::Ufs2
    }

    /// Gives the extended attributes of an inode to `each`.
    ///
    /// # Errors
    /// [`Error::Value`] where they are damaged, [`Error::Device`].
    pub fn each_attribute(&self, inode: &Inode, each: impl FnMut(Attribute<'_>)) -> Result<()> {
        let bytes = self.attribute_bytes(inode)?;
        parse(self.superblock.order, inode.ino, &bytes, each)
    }

    fn attribute_bytes(&self, inode: &Inode) -> Result<Vec<u8>> {
        let superblock = &self.superblock;
        let place = Place::Attributes(inode.ino);
        let (size, blocks) = inode.attributes;
        let size = u64::from(size);
        if size > superblock.block_size().saturating_mul(2) {
            return Err(Error::value(place, "extsize", size, "two blocks or less"));
        }
        let mut bytes = Vec::new();
        for first in blocks {
            let left = size.saturating_sub(number(bytes.len()));
            let here = left.min(superblock.block_size());
            let count = round_up(here, superblock.frag_bits).wrapping_shr(superblock.frag_bits);
            if count == 0 {
                break;
            }
            let end = first
                .checked_add(count)
                .filter(|end| *end <= superblock.size);
            let Some(end) = end.filter(|_| first != 0) else {
                return Err(Error::value(place, "pointer", first, "within the volume"));
            };
            for frag in first..end {
                let data = self.frag(frag, Neighbours { first, count }, place)?;
                bytes.extend_from_slice(&data);
            }
        }
        bytes.truncate(index(size));
        Ok(bytes)
    }
}

/// Gives the records of an inode's area to `each`.
pub(crate) fn parse(
    order: Order,
    ino: u64,
    bytes: &[u8],
    each: impl FnMut(Attribute<'_>),
) -> Result<()> {
    match order {
        Order::Little => records::<LittleEndian>(ino, bytes, each),
        Order::Big => records::<BigEndian>(ino, bytes, each),
    }
}

fn records<O: ByteOrder>(
    ino: u64,
    bytes: &[u8],
    mut each: impl FnMut(Attribute<'_>),
) -> Result<()> {
    let place = Place::Attributes(ino);
    let mut rest = bytes;
    while let Ok((raw, _)) = RawAttribute::<O>::ref_from_prefix(rest) {
        let len = raw.length.get();
        if len == 0 {
            // Nothing behind it.
            break;
        }
        let record = rest
            .get(..index(len.into()))
            .filter(|_| len >= 8 && len & 7 == 0);
        let Some(record) = record else {
            let expected = "a multiple of 8 within the area";
            return Err(Error::value(place, "record length", len, expected));
        };
        rest = rest.get(record.len()..).unwrap_or_default();
        let prefix: &[u8] = match raw.namespace {
            1 => b"user.",
            2 => b"system.",
            // Not in use.
            _ => continue,
        };
        let (name, value) = split(record, raw.namelength, raw.contentpadlen).ok_or_else(|| {
            Error::value(
                place,
                "name length",
                raw.namelength,
                "1 to what the record holds",
            )
        })?;
        let whole = name.starts_with(b"trusted.") || name.starts_with(b"security.");
        each(Attribute {
            prefix: if whole && raw.namespace == 2 {
                b""
            } else {
                prefix
            },
            name,
            value,
        });
    }
    Ok(())
}

/// Name and value of a record.
fn split(record: &[u8], name_len: u8, padding: u8) -> Option<(&[u8], &[u8])> {
    let fixed = size_of::<RawAttribute<LittleEndian>>();
    let name_end = fixed.checked_add(name_len.into())?;
    let name = record
        .get(fixed..name_end)
        .filter(|name| !name.is_empty())?;
    let start = name_end.checked_next_multiple_of(8)?;
    let end = record.len().checked_sub(padding.into())?;
    Some((name, record.get(start..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    fn all(bytes: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = vec![];
        records::<BigEndian>(7, bytes, |attribute| {
            let name = [attribute.prefix, attribute.name].concat();
            found.push((name, attribute.value.to_vec()));
        })?;
        Ok(found)
    }

    #[test]
    fn records_are_read_and_checked() {
        let mut bytes = b"\0\0\0\x18\x01\x03\x03abc\0\0\0\0\0\0value\0\0\0".to_vec();
        bytes.extend_from_slice(b"\0\0\0\x08\x02\0\x01z");
        assert_eq!(bytes.len(), 32);
        let expected = vec![
            (b"user.abc".to_vec(), b"value".to_vec()),
            (b"system.z".to_vec(), vec![]),
        ];
        assert_eq!(all(&bytes), Ok(expected));
        for (at, field) in [(3, "record length"), (6, "name length"), (5, "name length")] {
            let mut broken = bytes.clone();
            broken[at] = 0xFF;
            let wrong = all(&broken);
            assert!(
                matches!(wrong, Err(Error::Value { field: f, .. }) if f == field),
                "{wrong:?}"
            );
        }
    }
}
