//! Where the names of a large directory are, kept in memory: the format has no index, and each search for a name that is not there would
//! read all of the directory.

use crate::{
    error::Result,
    inode::Inode,
    layout::{DIRECTORY_BLOCK, DIRECTORY_BLOCK_BITS},
    types::number,
    volume::Ffs,
};
use alloc::collections::BTreeMap;

/// Directories up to this size are searched.
const SMALL: u64 = 4096;
/// Those above this are searched too: the memory for them would be too much.
const LARGE: u64 = 64 << 20;

/// The names of a directory.
#[derive(Debug, Default)]
pub(crate) enum Names {
    /// Not read yet.
    #[default]
    Unread,
    /// Blocks of 512 bytes by the hash of each name in them.
    Known(BTreeMap<u64, u32>),
    /// Two names have the same hash: the directory is searched.
    Ambiguous,
}

/// Where a name can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// In this block or nowhere, unless another name has its hash.
    Block(u64),
    /// Nowhere.
    Absent,
    /// Anywhere.
    Unknown,
}

/// FNV-1a, mixed once more.
fn hash(name: &[u8]) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325_u64;
    let hash = name.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let mixed = (hash ^ hash.wrapping_shr(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed.wrapping_shr(29)
}

fn block_number(offset: u64) -> u32 {
    u32::try_from(offset.wrapping_shr(DIRECTORY_BLOCK_BITS)).unwrap_or(u32::MAX)
}

impl Names {
    /// A name has come into a block.
    pub(crate) fn add(&mut self, name: &[u8], block: u64) {
        let number = block_number(block);
        let clash = match self {
            Self::Known(blocks) => blocks
                .insert(hash(name), number)
                .is_some_and(|before| before != number),
            _ => false,
        };
        if clash {
            *self = Self::Ambiguous;
        }
    }

    /// A name has gone.
    pub(crate) fn remove(&mut self, name: &[u8]) {
        if let Self::Known(blocks) = self {
            blocks.remove(&hash(name));
        }
    }
}

impl Ffs {
    /// Where a name can be.
    ///
    /// # Errors
    /// What is wrong with the directory.
    pub(crate) fn whereabouts(&self, dir: &Inode, name: &[u8]) -> Result<Whereabouts> {
        if dir.size <= SMALL || dir.size > LARGE {
            return Ok(Whereabouts::Unknown);
        }
        if matches!(*dir.names.lock(), Names::Unread) {
            let read = self.read_names(dir)?;
            *dir.names.lock() = read;
        }
        Ok(match &*dir.names.lock() {
            Names::Known(blocks) => match blocks.get(&hash(name)) {
                Some(block) => {
                    Whereabouts::Block(u64::from(*block).saturating_mul(DIRECTORY_BLOCK))
                }
                None => Whereabouts::Absent,
            },
            _ => Whereabouts::Unknown,
        })
    }

    fn read_names(&self, dir: &Inode) -> Result<Names> {
        let mut blocks = BTreeMap::new();
        let mut records = 0_u64;
        self.list_all(dir, |record| {
            blocks.insert(hash(record.name), block_number(record.offset));
            records = records.saturating_add(1);
        })?;
        Ok(if number(blocks.len()) == records {
            Names::Known(blocks)
        } else {
            Names::Ambiguous
        })
    }
}
