//! Changing extended attributes of UFS2.

use crate::{
    error::{Error, Place, Result},
    inode::Inode,
    order::Step,
    txn::{Size, Txn},
    types::{Order, index, number, round_up},
    volume::{Ffs, Neighbours},
};
use alloc::vec::Vec;
use rumpbio::{Space, XattrMode};
use rumpuser::{Errno, Timespec};

/// Bytes before the name of a record.
const FIXED: usize = 7;

/// Name space and name as they are stored. Those of other systems' name spaces are in the system's, under their whole names.
fn stored(name: &[u8]) -> Result<(u8, &[u8])> {
    if let Some(rest) = name.strip_prefix(b"user.") {
        return Ok((1, rest));
    }
    if name.starts_with(b"trusted.") || name.starts_with(b"security.") {
        return Ok((2, name));
    }
    match name.strip_prefix(b"system.") {
        // ACLs have a form of their own here, which nobody enforces.
        Some(rest) if !rest.starts_with(b"posix_acl_") && !rest.starts_with(b"posix1e.") => {
            Ok((2, rest))
        }
        _ => Err(Error::Refused(Errno::EOPNOTSUPP)),
    }
}

/// Adds a record to an area.
fn push(area: &mut Vec<u8>, order: Order, namespace: u8, name: &[u8], value: &[u8]) -> Result<()> {
    let too_big = || Error::Refused(Errno::E2BIG);
    let name_len = u8::try_from(name.len()).map_err(|_| Error::Refused(Errno::ERANGE))?;
    let start = area.len();
    let head = FIXED.saturating_add(name.len()).next_multiple_of(8);
    let padded = value
        .len()
        .checked_next_multiple_of(8)
        .ok_or_else(too_big)?;
    let padding = padded.saturating_sub(value.len());
    let len = u32::try_from(head.saturating_add(padded)).map_err(|_| too_big())?;
    area.extend_from_slice(&order.bytes_u32(len));
    area.extend_from_slice(&[namespace, u8::try_from(padding).unwrap_or(0), name_len]);
    area.extend_from_slice(name);
    area.resize(start.saturating_add(head), 0);
    area.extend_from_slice(value);
    area.resize(start.saturating_add(head).saturating_add(padded), 0);
    Ok(())
}

impl Ffs {
    /// Sets an extended attribute, or with `None` removes it.
    ///
    /// # Errors
    /// `EOPNOTSUPP` in UFS1 and for ACLs; `EEXIST` and `ENOATTR` by `mode`; `ENOSPC`, also
    /// when two blocks do not hold all of the inode's; what is wrong with the volume.
    pub fn set_attribute(
        &self,
        inode: &mut Inode,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
        (space, time): (Space, Timespec),
    ) -> Result<()> {
        if !self.has_attributes() {
            return Err(Error::Refused(Errno::EOPNOTSUPP));
        }
        let (namespace, short) = stored(name)?;
        let order = self.superblock.order;
        let mut area = Vec::new();
        let mut there = false;
        let mut kept = Ok(());
        self.each_attribute(inode, |attribute| {
            let full = attribute.name_with_prefix();
            if full == name {
                there = true;
            } else if kept.is_ok() {
                kept = stored(&full)
                    .or(Ok((2, attribute.name)))
                    .and_then(|(space, short)| {
                        push(&mut area, order, space, short, attribute.value)
                    });
            }
        })?;
        kept?;
        match mode {
            XattrMode::Create if there => return Err(Error::Refused(Errno::EEXIST)),
            XattrMode::Replace if !there => return Err(Error::Refused(Errno::ENOATTR)),
            _ => {}
        }
        if let Some(value) = value {
            push(&mut area, order, namespace, short, value)?;
        }
        if number(area.len()) > self.superblock.block_size().saturating_mul(2) {
            return Err(Error::Refused(Errno::ENOSPC));
        }
        self.transact_on(Size::Names, space, time, inode, |txn, inode| {
            let before = inode.clone();
            txn.new_attributes(inode, &area)?;
            txn.drop_attributes(inode, &before)?;
            inode.ctime = time;
            txn.store_inode(inode)
        })
    }
}

impl Txn<'_> {
    /// Fragments of each of the two blocks of an area.
    fn attribute_frags(&self, size: u64) -> [u64; 2] {
        let sb = self.sb();
        let first = size.min(sb.block_size());
        [first, size.saturating_sub(first)]
            .map(|len| round_up(len, sb.frag_bits).wrapping_shr(sb.frag_bits))
    }

    /// Writes an area of attributes to blocks of its own.
    fn new_attributes(&mut self, inode: &mut Inode, area: &[u8]) -> Result<()> {
        let sb = self.sb();
        let ratio = 1_u64.wrapping_shl(sb.ratio_bits());
        let place = Place::Attributes(inode.ino);
        let mut blocks = [0; 2];
        let parts = area.chunks(index(sb.block_size()));
        let counts = self.attribute_frags(number(area.len()));
        for ((slot, count), part) in blocks.iter_mut().zip(counts).zip(parts) {
            let group = self.inode_group(inode.ino);
            let rotor = self.look(group)?.map_or(0, |maps| maps.rotor());
            let goal = sb.group_base(group).saturating_add(rotor.into());
            let first = if count == ratio {
                self.take_blocks(goal, 1)?.frag
            } else {
                self.take_frags(goal, u32::try_from(count).unwrap_or(1))?
            };
            self.create(first, count, place)?;
            let block = Neighbours { first, count };
            for (frag, bytes) in (first..).zip(part.chunks(index(sb.frag_size()))) {
                let buf = self.buf(frag, block, place)?;
                self.modify(&buf, Step::Inodes, |data| {
                    if let Some(to) = data.get_mut(..bytes.len()) {
                        to.copy_from_slice(bytes);
                    }
                })?;
            }
            self.count_frags(inode, count, true);
            *slot = first;
        }
        let size = u32::try_from(area.len()).map_err(|_| Error::Refused(Errno::E2BIG))?;
        inode.attributes = (size, blocks);
        Ok(())
    }

    /// Frees the blocks that an inode had for its attributes.
    fn drop_attributes(&mut self, inode: &mut Inode, before: &Inode) -> Result<()> {
        let (size, blocks) = before.attributes;
        let counts = self.attribute_frags(size.into());
        for (first, count) in blocks.into_iter().zip(counts) {
            if first == 0 || count == 0 {
                continue;
            }
            self.forget(first, count)?;
            self.free(first, count)?;
            self.count_frags(inode, count, false);
        }
        Ok(())
    }

    /// Frees the blocks of an inode's extended attributes.
    pub(crate) fn free_attributes(&mut self, inode: &mut Inode) -> Result<()> {
        let before = inode.clone();
        self.drop_attributes(inode, &before)?;
        inode.attributes = (0, [0; 2]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn records_are_padded_to_eight() {
        let mut area = vec![];
        push(&mut area, Order::Big, 1, b"abc", b"value").unwrap();
        assert_eq!(area, b"\0\0\0\x18\x01\x03\x03abc\0\0\0\0\0\0value\0\0\0");
        push(&mut area, Order::Little, 2, b"z", b"").unwrap();
        assert_eq!(&area[24..], b"\x08\0\0\0\x02\0\x01z");
    }

    #[test]
    fn names_have_their_space() {
        assert_eq!(stored(b"user.a"), Ok((1, &b"a"[..])));
        assert_eq!(stored(b"trusted.a"), Ok((2, &b"trusted.a"[..])));
        assert_eq!(stored(b"system.a"), Ok((2, &b"a"[..])));
        let refused = Err(Error::Refused(Errno::EOPNOTSUPP));
        assert_eq!(stored(b"system.posix_acl_access"), refused);
        assert_eq!(stored(b"other.a"), refused);
    }
}
