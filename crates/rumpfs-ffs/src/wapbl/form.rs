//! Headers and records as bytes, in either byte order.

use super::ring::Ring;
use crate::{
    layout::{RawBlockList, RawInodeList, RawListedInode, RawLogHeader, RawLogged, log_type},
    types::{Order, index, number},
};
use alloc::vec::Vec;
use rumpuser::Timespec;
use zerocopy::{
    BigEndian, ByteOrder, FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, LittleEndian,
    Unaligned,
};

/// The only version.
const VERSION: u32 = 1;
/// Bytes of an entry of a list of blocks, and of what precedes the entries in any list.
pub(super) const ENTRY_LEN: u64 = 16;
const LISTED_INODE_LEN: u64 = 8;
const _: () = assert!(size_of::<RawLogged<LittleEndian>>() == 16);
const _: () = assert!(size_of::<RawListedInode<LittleEndian>>() == 8);

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) generation: u32,
    pub(super) version: u32,
    /// Logarithm of the bytes of the journal's blocks.
    pub(super) block_bits: u32,
    /// Logarithm of the unit that all lengths in lists are multiples of.
    pub(super) unit_bits: u32,
    pub(super) head: u64,
    pub(super) tail: u64,
    pub(super) ring: Ring,
}

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = size_of::<RawLogHeader<LittleEndian>>();

impl Header {
    /// The header in front of `bytes`, if one is there.
    pub(super) fn parse(order: Order, bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        match order {
            Order::Little => Self::parse_as::<LittleEndian>(bytes),
            Order::Big => Self::parse_as::<BigEndian>(bytes),
        }
    }

    fn parse_as<O: ByteOrder>(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let raw = RawLogHeader::<O>::ref_from_bytes(bytes).ok()?;
        (raw.kind.get() == log_type::HEADER).then(|| Self {
            generation: raw.generation.get(),
            version: raw.version.get(),
            block_bits: raw.log_dev_bshift.get(),
            unit_bits: raw.fs_dev_bshift.get(),
            head: raw.head.get(),
            tail: raw.tail.get(),
            ring: Ring {
                start: raw.circ_off.get(),
                size: raw.circ_size.get(),
            },
        })
    }

    /// A header of the only version.
    pub(super) fn new(block_bits: u32, unit_bits: u32, ring: Ring) -> Self {
        Self {
            generation: 0,
            version: VERSION,
            block_bits,
            unit_bits,
            head: 0,
            tail: 0,
            ring,
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.version == VERSION
    }

    /// Puts it in front of `block`, which is as long as a block of the journal.
    pub(super) fn write(&self, order: Order, time: Timespec, block: &mut [u8]) {
        match order {
            Order::Little => self.write_as::<LittleEndian>(time, block),
            Order::Big => self.write_as::<BigEndian>(time, block),
        }
    }

    fn write_as<O: ByteOrder>(&self, time: Timespec, block: &mut [u8]) {
        let mut raw = RawLogHeader::<O>::new_zeroed();
        raw.kind.set(log_type::HEADER);
        raw.len.set(length(block));
        raw.generation.set(self.generation);
        raw.time.set(u64::try_from(time.sec).unwrap_or(0));
        raw.timensec.set(time.nsec);
        raw.version.set(self.version);
        raw.log_dev_bshift.set(self.block_bits);
        raw.fs_dev_bshift.set(self.unit_bits);
        raw.head.set(self.head);
        raw.tail.set(self.tail);
        raw.circ_off.set(self.ring.start);
        raw.circ_size.set(self.ring.size);
        put(block, raw.as_bytes());
    }
}

/// A range of sectors that a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The first, of 512 bytes.
    pub(super) sector: u64,
    pub(super) bytes: u32,
}

/// An inode in use that no name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedInode {
    /// Its number.
    pub ino: u32,
    /// Its mode; 0 if it was only allocated.
    pub mode: u32,
}

/// What the first block of a record says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    Blocks(Vec<Listed>),
    Revocations(Vec<Listed>),
    Inodes {
        /// Those listed before do not count.
        clear: bool,
        inodes: Vec<ListedInode>,
    },
}

/// Why a block is not the first of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kind(u32),
    Count(u32),
}

/// Entries that fit a list in a block of `block_len` bytes.
pub(super) fn listed_per_block(block_len: u64) -> usize {
    fitting(block_len, ENTRY_LEN)
}

/// Inodes that fit a list in a block of `block_len` bytes.
pub(super) fn inodes_per_block(block_len: u64) -> usize {
    fitting(block_len, LISTED_INODE_LEN)
}

fn fitting(block_len: u64, entry: u64) -> usize {
    let entries = block_len.saturating_sub(ENTRY_LEN).checked_div(entry);
    index(entries.unwrap_or(0))
}

/// The record that begins with `block`, and its length.
pub(super) fn parse(order: Order, block: &[u8]) -> Result<(Record, u64), Fault> {
    match order {
        Order::Little => parse_as::<LittleEndian>(block),
        Order::Big => parse_as::<BigEndian>(block),
    }
}

fn parse_as<O: ByteOrder>(block: &[u8]) -> Result<(Record, u64), Fault> {
    let Ok((raw, rest)) = RawBlockList::<O>::ref_from_prefix(block) else {
        return Err(Fault::Kind(0));
    };
    let (kind, len, count) = (raw.kind.get(), raw.len.get(), raw.count.get());
    let listed = || {
        let entries = entries::<RawLogged<O>>(rest, count)?;
        let listed = entries.map(|raw| Listed {
            sector: raw.daddr.get(),
            bytes: raw.dlen.get(),
        });
        Ok(listed.collect())
    };
    let record = match kind {
        log_type::BLOCKS => Record::Blocks(listed()?),
        log_type::REVOCATIONS => Record::Revocations(listed()?),
        log_type::INODES => {
            let clear = RawInodeList::<O>::ref_from_prefix(block);
            let inodes = entries::<RawListedInode<O>>(rest, count)?;
            let inodes = inodes.map(|raw| ListedInode {
                ino: raw.inumber.get(),
                mode: raw.imode.get(),
            });
            Record::Inodes {
                clear: clear.is_ok_and(|(raw, _)| raw.clear.get() != 0),
                inodes: inodes.collect(),
            }
        }
        other => return Err(Fault::Kind(other)),
    };
    Ok((record, len.into()))
}

/// The first `count` entries in `bytes`.
fn entries<'b, T: FromBytes + KnownLayout + Immutable + Unaligned + 'b>(
    bytes: &'b [u8],
    count: u32,
) -> Result<impl Iterator<Item = &'b T>, Fault> {
    let whole = bytes.chunks_exact(size_of::<T>());
    if number(whole.len()) < count.into() {
        return Err(Fault::Count(count));
    }
    let parts = whole.take(index(count.into()));
    Ok(parts.filter_map(|part| T::ref_from_bytes(part).ok()))
}

/// Puts the start of a record of images (`len` bytes with these) or of revocations in `block`.
pub(super) fn write_list(order: Order, kind: u32, len: u64, entries: &[Listed], block: &mut [u8]) {
    match order {
        Order::Little => write_list_as::<LittleEndian>(kind, len, entries, block),
        Order::Big => write_list_as::<BigEndian>(kind, len, entries, block),
    }
}

fn write_list_as<O: ByteOrder>(kind: u32, len: u64, entries: &[Listed], block: &mut [u8]) {
    let mut raw = RawBlockList::<O>::new_zeroed();
    raw.kind.set(kind);
    raw.len.set(u32::try_from(len).unwrap_or(u32::MAX));
    raw.count
        .set(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    let rest = put(block, raw.as_bytes());
    for (entry, place) in entries
        .iter()
        .zip(rest.chunks_exact_mut(size_of::<RawLogged<O>>()))
    {
        let mut raw = RawLogged::<O>::new_zeroed();
        raw.daddr.set(entry.sector);
        raw.dlen.set(entry.bytes);
        put(place, raw.as_bytes());
    }
}

/// Puts a record of inodes in `block`.
pub(super) fn write_inodes(order: Order, clear: bool, inodes: &[ListedInode], block: &mut [u8]) {
    match order {
        Order::Little => write_inodes_as::<LittleEndian>(clear, inodes, block),
        Order::Big => write_inodes_as::<BigEndian>(clear, inodes, block),
    }
}

fn write_inodes_as<O: ByteOrder>(clear: bool, inodes: &[ListedInode], block: &mut [u8]) {
    let mut raw = RawInodeList::<O>::new_zeroed();
    raw.kind.set(log_type::INODES);
    raw.len.set(length(block));
    raw.count
        .set(u32::try_from(inodes.len()).unwrap_or(u32::MAX));
    raw.clear.set(clear.into());
    let rest = put(block, raw.as_bytes());
    for (inode, place) in inodes
        .iter()
        .zip(rest.chunks_exact_mut(size_of::<RawListedInode<O>>()))
    {
        let mut raw = RawListedInode::<O>::new_zeroed();
        raw.inumber.set(inode.ino);
        raw.imode.set(inode.mode);
        put(place, raw.as_bytes());
    }
}

fn length(block: &[u8]) -> u32 {
    u32::try_from(block.len()).unwrap_or(u32::MAX)
}

/// Puts `bytes` in front of `to`; what follows.
fn put<'b>(to: &'b mut [u8], bytes: &[u8]) -> &'b mut [u8] {
    let (front, rest) = to.split_at_mut(bytes.len().min(to.len()));
    front.copy_from_slice(bytes.get(..front.len()).unwrap_or_default());
    rest
}
