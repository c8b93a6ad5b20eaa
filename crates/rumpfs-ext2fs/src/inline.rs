//! Data in the inode: symbolic links, and files and directories with inline_data.
//!
//! Inline data is `i_block`, 60 bytes, followed by the value of the attribute `system.data` in the inode. In a directory
//! the first 4 bytes are the number of the parent; entries follow, in the two parts apart; `.` and `..` are not there.

use crate::{
    crypt,
    error::{Error, Expected, Place, Result},
    fs::Ext2fs,
    inode::{FileType, Inode, InodeFlags},
    layout::inode::I_BLOCK_SIZE,
    types::{index, number},
    xattr::{Area, NameIndex, Value},
};
use alloc::vec::Vec;

/// The rest of the name after `system.` of the attribute that continues inline data.
pub const DATA_NAME: &[u8] = b"data";

impl Ext2fs {
    /// The data of an inode with inline data: all that there is room for, which may be more than the size.
    ///
    /// # Errors
    /// [`Error::Value`] where the attributes in the inode are damaged, [`Error::Device`].
    pub fn inline_area(&self, inode: &Inode) -> Result<Vec<u8>> {
        let mut content = inode.block.to_vec();
        let (_, location, data) = self.inode_bytes(inode.ino)?;
        let size = usize::from(self.superblock().inode_size);
        let bytes = data
            .get(location.offset..location.offset.saturating_add(size))
            .unwrap_or_default();
        let Some(area) = Area::inode(inode, bytes) else {
            return Ok(content);
        };
        match area
            .find(NameIndex::SYSTEM, DATA_NAME)?
            .map(|entry| entry.value)
        {
            Some(Value::Here(value)) => content.extend_from_slice(value),
            Some(Value::Inode(ino, _)) => {
                return Err(Error::words(
                    area.place,
                    "e_value_inum",
                    ino,
                    "0 for inline data",
                ));
            }
            None => {}
        }
        Ok(content)
    }

    /// The content of a regular file or symbolic link with inline data.
    ///
    /// # Errors
    /// [`Error::Value`] if the size passes what is there, [`Error::NoKey`] if it is encrypted; as
    /// [`inline_area`](Self::inline_area).
    pub fn inline_data(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.flags.contains(InodeFlags::ENCRYPT) && inode.file_type == FileType::Regular {
            return Err(Error::NoKey(inode.ino));
        }
        let mut content = self.inline_area(inode)?;
        if inode.size > number(content.len()) {
            let range = Expected::Range(0, number(content.len()));
            return Err(Error::value(
                Place::InlineData(inode.ino),
                "i_size",
                inode.size,
                range,
            ));
        }
        content.truncate(usize::try_from(inode.size).unwrap_or(usize::MAX));
        Ok(content)
    }

    /// The target of a symbolic link. An encrypted one is shown as [`crypt::presented`] has it.
    ///
    /// # Errors
    /// [`Error::Value`] if it is empty, too long for a block or contains a zero byte; [`Error::Device`].
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        let place = Place::Inode(inode.ino);
        if inode.file_type != FileType::Symlink {
            return Err(Error::Refused(rumpuser::Errno::EINVAL));
        }
        let most = u64::from(self.block_size());
        if inode.size == 0 || inode.size > most {
            return Err(Error::value(
                place,
                "i_size",
                inode.size,
                Expected::Range(1, most),
            ));
        }
        let size = u32::try_from(inode.size).unwrap_or(u32::MAX);
        let target = if inode.flags.contains(InodeFlags::INLINE_DATA) {
            self.inline_data(inode)?
        } else if inode.is_fast_symlink(self.superblock()) {
            inode
                .block
                .get(..index(size).min(I_BLOCK_SIZE))
                .unwrap_or_default()
                .to_vec()
        } else {
            self.metadata_content(inode, size)?
        };
        if inode.flags.contains(InodeFlags::ENCRYPT) {
            return crypt::link(inode.ino, &target);
        }
        if target.contains(&0) {
            return Err(Error::words(
                place,
                "target",
                inode.size,
                "a symbolic link without a zero byte",
            ));
        }
        Ok(target)
    }
}
