//! Changing inline data.

use crate::{
    error::Result,
    extents_node::empty_root,
    features::Incompat,
    inline::DATA_NAME,
    inode::{Inode, InodeFlags},
    layout::{
        inode::{EXT4_GOOD_OLD_INODE_SIZE, I_BLOCK_SIZE},
        xattr::{RawXattrEntry, XATTR_IBODY_HEADER},
    },
    txn::Txn,
    xattr::{Area, NameIndex},
};
use rumpuser::Errno;
use zerocopy::FromBytes;

impl Txn<'_> {
    /// Flags of a new map: what maps new files have on this volume.
    pub(crate) fn map_flags(&self) -> InodeFlags {
        if self.sb().features.incompat(Incompat::EXTENTS) {
            InodeFlags::EXTENTS
        } else {
            InodeFlags::empty()
        }
    }

    /// `i_block` of an empty file with these flags.
    pub(crate) fn initial_map(&self, flags: InodeFlags) -> [u8; I_BLOCK_SIZE] {
        if flags.contains(InodeFlags::EXTENTS) {
            empty_root()
        } else {
            [0; I_BLOCK_SIZE]
        }
    }

    /// Takes the inline data of an inode away and gives it an empty map.
    pub(crate) fn drop_inline_data(&mut self, inode: &mut Inode) -> Result<()> {
        match self.remove_xattr(inode, NameIndex::SYSTEM, DATA_NAME) {
            // Data of up to 60 bytes may come without the attribute.
            Ok(()) | Err(crate::Error::Refused(Errno::ENODATA)) => {}
            Err(error) => return Err(error),
        }
        inode.flags.remove(InodeFlags::INLINE_DATA);
        inode.flags.insert(self.map_flags());
        inode.block = self.initial_map(inode.flags);
        Ok(())
    }

    /// Changes the part of inline data that is behind `i_block`, if there is one.
    pub(crate) fn modify_inline_rest(
        &mut self,
        inode: &Inode,
        f: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let start = usize::from(EXT4_GOOD_OLD_INODE_SIZE)
            .saturating_add(usize::from(inode.extra_isize))
            .saturating_add(XATTR_IBODY_HEADER);
        let (_, location, data) = self.fs().inode_bytes(inode.ino)?;
        let size = usize::from(self.sb().inode_size);
        let bytes = data
            .get(location.offset..location.offset.saturating_add(size))
            .unwrap_or_default();
        let Some(area) = Area::inode(inode, bytes) else {
            return Ok(());
        };
        let found = area.find(NameIndex::SYSTEM, DATA_NAME)?.and_then(|entry| {
            let raw = area.bytes.get(entry.offset..)?;
            let (raw, _) = RawXattrEntry::ref_from_prefix(raw).ok()?;
            Some((usize::from(raw.e_value_offs.get()), entry.value_len()))
        });
        drop(data);
        let Some((offset, len)) = found.filter(|(_, len)| *len > 0) else {
            return Ok(());
        };
        let at = start.saturating_add(offset);
        self.modify_inode_bytes(inode.ino, |bytes| {
            if let Some(value) = bytes.get_mut(at..at.saturating_add(len)) {
                f(value);
            }
        })
    }
}
