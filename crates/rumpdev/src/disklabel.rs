//! BSD disklabels: partitions with letters, inside a partition of an MBR or on a disk of their own.
//!
//! `disklabel(5)` of NetBSD has the structure. It is in the byte order of the machine, and where it lies depends on the machine: somewhere
//! in the first 8 KiB.

use crate::{Partition, PartitionType, Table, TableError, Window};
use alloc::{format, string::String, sync::Arc, vec, vec::Vec};
use core::fmt;
use rumpuser::{BlockDevice, Result};

const MAGIC: u32 = 0x8256_4557;
/// Bytes in which the label is looked for.
const SEARCHED: u64 = 8192;
/// Bytes before the partitions.
const HEADER: usize = 148;
/// Bytes of a partition's entry.
const ENTRY: usize = 16;
/// Partitions for which a sector has room.
const MOST: usize = 22;
/// The partition that is the whole of the label's part of the disk.
const RAW: usize = 2;

/// Types of MBR partitions that hold a label: FreeBSD's, OpenBSD's, NetBSD's.
const HOLDERS: [u8; 3] = [FREEBSD, 0xA6, 0xA9];
const FREEBSD: u8 = 0xA5;

/// A label that was found and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disklabel {
    /// Its first byte on the medium.
    pub at: u64,
    /// First byte of the partition that holds it; 0 on a disk of its own.
    pub holder: u64,
    /// Bytes of a sector, as the label counts.
    pub sector_size: u32,
    /// The partitions in use, by letter.
    pub partitions: Vec<Slice>,
}

/// A partition of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// `a` for the first.
    pub letter: char,
    /// First byte on the medium.
    pub start: u64,
    /// Length in bytes, above 0.
    pub length: u64,
    /// `p_fstype`: what the label says it is for; not 0.
    pub kind: u8,
}

impl Slice {
    /// The partition as a device.
    ///
    /// # Errors
    /// `ENXIO` if it passes the end of the device.
    pub fn window(&self, device: Arc<dyn BlockDevice>) -> Result<Window> {
        Window::new(device, self.start, self.length)
    }

    /// What the type is called.
    #[must_use]
    pub fn kind_name(&self) -> String {
        match kind_name(self.kind) {
            Some(name) => name.into(),
            None => format!("type {}", self.kind),
        }
    }
}

/// One line: letter, length, start, type.
impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            letter,
            start,
            length,
            ..
        } = self;
        let kind = self.kind_name();
        write!(f, "{letter}: {length} bytes at {start}, {kind}")
    }
}

/// The types that all makers of labels number alike.
fn kind_name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        1 => "swap",
        7 => "4.2BSD",
        8 => "MSDOS",
        9 => "LFS",
        11 => "HPFS",
        12 => "ISO9660",
        13 => "boot",
        15 => "HFS",
        17 => "ext2",
        18 => "NTFS",
        19 => "RAID",
        _ => return None,
    })
}

impl Disklabel {
    /// Finds the label of `device`: in a partition of an MBR that is there for it, or else on the device itself.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn read(device: &dyn BlockDevice) -> Result<Option<Self>, TableError> {
        let table = Table::read(device)?;
        let partitions = table.iter().flat_map(|table| &table.partitions);
        for partition in partitions {
            if let Some(label) = Self::within(device, partition)? {
                return Ok(Some(label));
            }
        }
        Ok(search(device, 0, device.len())?.map(|raw| raw.label(0, 0)))
    }

    fn within(device: &dyn BlockDevice, partition: &Partition) -> Result<Option<Self>> {
        let PartitionType::Mbr(kind) = partition.kind else {
            return Ok(None);
        };
        if !HOLDERS.contains(&kind) {
            return Ok(None);
        }
        let Some(raw) = search(device, partition.start, partition.length)? else {
            return Ok(None);
        };
        // FreeBSD counts from where its raw partition begins, which is where the holder begins; the others from the disk's start.
        let base = if kind == FREEBSD { partition.start } else { 0 };
        Ok(Some(raw.label(partition.start, base)))
    }

    /// The partition with that letter.
    #[must_use]
    pub fn slice(&self, letter: char) -> Option<&Slice> {
        self.partitions.iter().find(|slice| slice.letter == letter)
    }

    /// What it has, in one line.
    #[must_use]
    pub fn contents(&self) -> String {
        let all: Vec<_> = self.partitions.iter().map(|s| format!("{s}")).collect();
        format!("the disklabel has {}", all.join("; "))
    }
}

/// The bytes of a label whose magic numbers and checksum are right.
struct Raw {
    at: u64,
    bytes: Vec<u8>,
    big: bool,
    sector_size: u32,
}

/// The first label in the first 8 KiB of a range.
fn search(device: &dyn BlockDevice, start: u64, length: u64) -> Result<Option<Raw>> {
    let end = start.saturating_add(length).min(device.len());
    let len = end.saturating_sub(start).min(SEARCHED);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    device.read_at(start, &mut bytes)?;
    let mut places = (0..bytes.len()).step_by(4);
    Ok(places.find_map(|offset| {
        let rest = bytes.get(offset..)?;
        let at = start.checked_add(offset as u64)?;
        Raw::check(rest, at, false).or_else(|| Raw::check(rest, at, true))
    }))
}

impl Raw {
    fn check(bytes: &[u8], at: u64, big: bool) -> Option<Self> {
        if word(bytes, 0, big)? != MAGIC || word(bytes, 132, big)? != MAGIC {
            return None;
        }
        let count = usize::from(half(bytes, 138, big)?);
        let len = HEADER.checked_add(count.checked_mul(ENTRY)?)?;
        let bytes = bytes.get(..len).filter(|_| count <= MOST)?;
        // The same in both orders: a sum without carries over all halves, the checksum's own among them, is 0.
        let halves = bytes.as_chunks::<2>().0.iter();
        let sum = halves.fold(0, |sum, half| sum ^ u16::from_le_bytes(*half));
        let sector_size = word(bytes, 40, big)?;
        let valid = sum == 0 && sector_size.is_power_of_two() && sector_size <= 1 << 16;
        (valid && sector_size >= 512).then(|| Self {
            at,
            bytes: bytes.to_vec(),
            big,
            sector_size,
        })
    }

    /// Size, offset (in sectors) and type of the `n`th partition.
    fn entry(&self, n: usize) -> Option<(u32, u32, u8)> {
        let at = n.checked_mul(ENTRY)?.checked_add(HEADER)?;
        let entry = self.bytes.get(at..)?.get(..ENTRY)?;
        let (size, offset) = (word(entry, 0, self.big)?, word(entry, 4, self.big)?);
        Some((size, offset, *entry.get(12)?))
    }

    /// The label; sectors count from `base` if that is not 0, less where the raw partition says that it begins.
    fn label(&self, holder: u64, base: u64) -> Disklabel {
        let raw = match base {
            0 => 0,
            _ => self.entry(RAW).map_or(0, |(_, offset, _)| offset),
        };
        let bytes = |sectors: u32| u64::from(sectors).saturating_mul(self.sector_size.into());
        let slices = ('a'..='v').enumerate().filter_map(|(n, letter)| {
            let (size, offset, kind) = self.entry(n)?;
            let used = size > 0 && (kind > 0 || n == RAW);
            used.then(|| Slice {
                letter,
                start: base.saturating_add(bytes(offset.saturating_sub(raw))),
                length: bytes(size),
                kind,
            })
        });
        Disklabel {
            at: self.at,
            holder,
            sector_size: self.sector_size,
            partitions: slices.collect(),
        }
    }
}

fn word(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(if big {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    })
}

fn half(bytes: &[u8], at: usize, big: bool) -> Option<u16> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(if big {
        u16::from_be_bytes(bytes)
    } else {
        u16::from_le_bytes(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ram::Ram;

    /// A disk of 64 KiB, with a label at the byte `at`: a at sector 40, 16 sectors, FFS; c the whole; d not in use.
    fn disk(at: usize, big: bool, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut disk = vec![0; 65_536];
        let label = &mut disk[at..at + HEADER + 4 * ENTRY];
        let mut put = |at: usize, n: u32| {
            let bytes = if big {
                n.to_be_bytes()
            } else {
                n.to_le_bytes()
            };
            label[at..at + 4].copy_from_slice(&bytes);
        };
        for (at, n) in [(0, MAGIC), (132, MAGIC), (40, 512)] {
            put(at, n);
        }
        for (n, size, offset) in [(0, 16, 40), (2, 128, 8), (3, 7, 7)] {
            put(HEADER + n * ENTRY, size);
            put(HEADER + n * ENTRY + 4, offset);
        }
        label[HEADER + 12] = 7;
        label[if big { 139 } else { 138 }] = 4;
        change(label);
        let halves = label.as_chunks::<2>().0.iter();
        let sum = halves.fold([0, 0], |sum, half| [sum[0] ^ half[0], sum[1] ^ half[1]]);
        label[136..138].copy_from_slice(&sum);
        disk
    }

    fn read(bytes: Vec<u8>) -> Option<Disklabel> {
        Disklabel::read(&Ram::new(bytes)).unwrap()
    }

    /// An MBR with one partition of that type from sector 16 on.
    fn with_mbr(mut disk: Vec<u8>, kind: u8) -> Vec<u8> {
        disk[446 + 4] = kind;
        disk[446 + 8] = 16;
        disk[446 + 12] = 100;
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        disk
    }

    #[test]
    fn labels_are_found_in_both_orders_wherever_they_lie() {
        for (at, big) in [(512, false), (64, true), (128, false), (0, true)] {
            let label = read(disk(at, big, |_| {})).unwrap();
            assert_eq!(label.partitions.len(), 2, "{at}");
            let a = label.slice('a').unwrap();
            assert_eq!((a.start, a.length, a.kind), (40 * 512, 16 * 512, 7));
            assert_eq!(format!("{a}"), "a: 8192 bytes at 20480, 4.2BSD");
            assert_eq!(label.slice('d'), None);
        }
        assert_eq!(read(disk(8192, false, |_| {})), None);
    }

    #[test]
    fn a_label_that_is_damaged_is_none() {
        for at in [0, 40, 132, 137, 138, HEADER, HEADER + 5] {
            let mut bytes = disk(512, false, |_| {});
            bytes[512 + at] ^= 0x40;
            assert_eq!(read(bytes), None, "byte {at}");
        }
        // With the right checksum, but more partitions than there can be.
        assert_eq!(read(disk(512, false, |label| label[138] = 23)), None);
        assert_eq!(read(disk(512, false, |label| label[41] = 0)), None);
    }

    #[test]
    fn inside_an_mbr_freebsd_counts_from_its_partition() {
        let at = 16 * 512 + 512;
        let start = |kind: u8| {
            let label = read(with_mbr(disk(at, false, |_| {}), kind))?;
            assert_eq!((label.holder, label.at), (16 * 512, at as u64));
            Some(label.slice('a')?.start)
        };
        assert_eq!(start(0xA9), Some(40 * 512));
        assert_eq!(start(0xA6), Some(40 * 512));
        assert_eq!(start(0xA5), Some((16 + 40 - 8) * 512));
        assert_eq!(start(0x83), None);
    }
}
