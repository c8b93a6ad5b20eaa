//! The records of a directory, in the order of the medium, damaged ones too.

use super::{
    blocks::{Blocks, Item, Next},
    reader::{Dinode, Reader},
};
use crate::{
    layout::{DIRECTORY_BLOCK, RawRecord},
    superblock::Superblock,
    types::{Order, index, number},
};
use alloc::vec::Vec;
use zerocopy::{BigEndian, ByteOrder, FromBytes, LittleEndian};

const FIXED: usize = size_of::<RawRecord<LittleEndian>>();

/// A record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) ino: u32,
    /// Type; 0 in old directories.
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    /// A zero byte follows the name.
    pub(super) ended: bool,
}

/// What a piece of 512 bytes holds next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Met<'a> {
    /// A record in use.
    Entry(Entry<'a>),
    /// One that is not.
    Unused,
    /// Nothing more can be read in this piece: the offset.
    Damage(u64),
}

/// Pieces of a directory: fragments of whole blocks with what offset they begin at.
pub(super) fn pieces(reader: &Reader, inode: &Dinode) -> Vec<(u64, u64, u64)> {
    let mut pieces = Vec::new();
    let bits = reader.superblock.block_bits;
    let mut visit = |item| {
        if let Item::Data { frag, count, block } = item {
            pieces.push((block.wrapping_shl(bits), frag, count));
        }
        Next::On
    };
    Blocks::new(reader, inode).walk(true, &mut visit);
    pieces
}

/// Gives the records of one piece to `each` until that says `false`. `end`: the size of the directory.
pub(super) fn scan<'a>(
    superblock: &Superblock,
    start: u64,
    end: u64,
    bytes: &'a [u8],
    each: &mut dyn FnMut(Met<'a>) -> bool,
) {
    let mut offset = start;
    for piece in bytes.chunks_exact(index(DIRECTORY_BLOCK)) {
        if offset >= end {
            return;
        }
        let go_on = match superblock.order {
            Order::Little => block::<LittleEndian>(superblock, offset, piece, each),
            Order::Big => block::<BigEndian>(superblock, offset, piece, each),
        };
        if !go_on {
            return;
        }
        offset = offset.saturating_add(DIRECTORY_BLOCK);
    }
}

fn block<'a, O: ByteOrder>(
    superblock: &Superblock,
    start: u64,
    bytes: &'a [u8],
    each: &mut dyn FnMut(Met<'a>) -> bool,
) -> bool {
    let mut at = 0_usize;
    while at < bytes.len() {
        let offset = start.saturating_add(number(at));
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((len, entry)) = record::<O>(superblock, rest) else {
            return each(Met::Damage(offset));
        };
        if !each(entry.map_or(Met::Unused, Met::Entry)) {
            return false;
        }
        at = at.saturating_add(len);
    }
    true
}

/// The length of a record, and what it holds if it is in use; `None` if it is damaged.
fn record<'a, O: ByteOrder>(
    superblock: &Superblock,
    rest: &'a [u8],
) -> Option<(usize, Option<Entry<'a>>)> {
    let (raw, _) = RawRecord::<O>::ref_from_prefix(rest).ok()?;
    let len = usize::from(raw.reclen.get());
    if len & 3 != 0 || len < FIXED || len > rest.len() {
        return None;
    }
    let ino = raw.ino.get();
    if ino == 0 {
        return Some((len, None));
    }
    let old = superblock.old_directories;
    let (name_len, high) = match (old, superblock.order) {
        (true, Order::Little) => (raw.kind, raw.namlen),
        _ => (raw.namlen, raw.kind),
    };
    if old && high != 0 || name_len == 0 {
        return None;
    }
    let name_len = usize::from(name_len);
    let room = rest.get(FIXED..len)?;
    let name = room.get(..name_len)?;
    let entry = Entry {
        ino,
        kind: if old { 0 } else { raw.kind },
        name,
        ended: room.get(name_len) == Some(&0),
    };
    Some((len, Some(entry)))
}
