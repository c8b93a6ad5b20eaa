//! The master boot record and its chain of logical partitions.
//!
//! UEFI 2.10, section 5.2.1 has the record. The chain is custom since DOS 3.3: an extended partition starts with a record of
//! the same form, whose first entry is a logical partition, relative to that record, and whose second entry is the next
//! record, relative to the start of the extended partition.

use crate::{Partition, PartitionType, Scheme, Table};
use alloc::{format, string::String, vec, vec::Vec};
use bytemuck::pod_read_unaligned;
use gpt_disk_types::{MasterBootRecord, MbrPartitionRecord};
use rumpuser::{BlockDevice, Result};

/// Logical partitions that are followed at most; Linux stops at 256 partitions of any kind.
const MAX_LOGICAL: usize = 256;

const BOOTABLE: u8 = 0x80;
const PROTECTIVE: u8 = 0xee;

/// So much may be wrong with a table. With more, these are no entries but the code or the parameters of some boot sector.
const MAX_FAULTS: usize = 1;

/// What sector 0 holds.
pub(crate) enum Found {
    /// No table.
    Nothing,
    /// An MBR that says: there is a GPT. If it has other entries that make sense (a hybrid MBR), these as a table.
    Protective(Option<Table>),
    /// A table of its own.
    Table(Table),
}

/// Reads the MBR of `device`, if it has one that makes sense.
pub(crate) fn read(device: &dyn BlockDevice) -> Result<Found> {
    let Some(record) = read_record(device, 0)? else {
        return Ok(Found::Nothing);
    };
    let table = sound_table(device, &record)?;
    Ok(match table {
        table if record.partitions.iter().any(is_protective) => Found::Protective(table),
        Some(table) => Found::Table(table),
        None => Found::Nothing,
    })
}

/// An entry and its number.
type Numbered<'a> = (u32, &'a MbrPartitionRecord);

/// The table of the entries that make sense, if there are any and not much is wrong besides.
fn sound_table(device: &dyn BlockDevice, record: &MasterBootRecord) -> Result<Option<Table>> {
    let mut sound: Vec<Numbered<'_>> = vec![];
    let mut warnings = vec![];
    for (number, entry) in (1..).zip(&record.partitions) {
        match fault(device, entry)? {
            Some(fault) => warnings.push(format!("entry {number} is left out: {fault}")),
            None if is_used(entry) && !is_protective(entry) => sound.push((number, entry)),
            None => {}
        }
    }
    warnings.extend(overlaps(&sound));
    if sound.is_empty() || warnings.len() > MAX_FAULTS {
        return Ok(None);
    }
    let extended = sound.iter().find(|(_, entry)| is_extended(entry));
    let sector_size = match extended {
        Some((_, extended)) => sector_size_of_chain(device, extended)?,
        None => device.sector_size(),
    };
    let signature = match u32::from_le_bytes(record.unique_mbr_disk_signature) {
        0 => None,
        signature => Some(signature),
    };
    let mut reader = Reader {
        device,
        sector_size,
        signature,
        next_logical: 5,
        partitions: Vec::new(),
        warnings,
    };
    for (number, entry) in sound.iter().filter(|(_, entry)| !is_extended(entry)) {
        reader.push(*number, 0, entry);
    }
    for (_, entry) in sound.iter().filter(|(_, entry)| is_extended(entry)) {
        reader.follow_chain(entry.starting_lba.to_u32())?;
    }
    Ok(Some(Table {
        scheme: Scheme::Mbr,
        sector_size,
        uuid: signature.map(|signature| format!("{signature:08x}")),
        partitions: reader.partitions,
        warnings: reader.warnings,
    }))
}

/// Why an entry cannot be one, if it cannot.
fn fault(device: &dyn BlockDevice, entry: &MbrPartitionRecord) -> Result<Option<String>> {
    if !matches!(entry.boot_indicator, 0 | BOOTABLE) {
        return Ok(Some(format!("its flag is {:#04x}", entry.boot_indicator)));
    }
    if !is_used(entry) {
        return Ok(None);
    }
    let start = u64::from(entry.starting_lba.to_u32());
    let byte = start.saturating_mul(device.sector_size().into());
    Ok(if byte >= device.len() {
        Some(format!("sector {start}, where it begins, is past the end"))
    } else if start == 0 && !is_cd(device)? {
        Some("it begins with the table itself".into())
    } else {
        None
    })
}

struct Reader<'a> {
    device: &'a dyn BlockDevice,
    sector_size: u32,
    signature: Option<u32>,
    next_logical: u32,
    partitions: Vec<Partition>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    /// Notes a partition whose entry counts sectors from `base` on.
    fn push(&mut self, number: u32, base: u64, entry: &MbrPartitionRecord) {
        // Three 32-bit numbers: neither sum nor product reaches 64 bits.
        let sector_size = u64::from(self.sector_size);
        let start = base.saturating_add(entry.starting_lba.to_u32().into());
        self.partitions.push(Partition {
            number,
            start: start.saturating_mul(sector_size),
            length: u64::from(entry.size_in_lba.to_u32()).saturating_mul(sector_size),
            kind: PartitionType::Mbr(entry.os_indicator),
            name: String::new(),
            uuid: self
                .signature
                .map(|signature| format!("{signature:08x}-{number:02x}")),
            bootable: entry.boot_indicator == BOOTABLE,
        });
    }

    /// Follows the records of the extended partition that begins at sector `extended`.
    fn follow_chain(&mut self, extended: u32) -> Result<()> {
        let extended = u64::from(extended);
        let mut seen = vec![];
        let mut at = extended;
        loop {
            if seen.contains(&at) {
                self.warn(format!("logical partitions: sector {at} is linked twice"));
                return Ok(());
            }
            if seen.len() == MAX_LOGICAL {
                self.warn(format!(
                    "logical partitions: only the first {MAX_LOGICAL} are read"
                ));
                return Ok(());
            }
            seen.push(at);
            let byte = at.saturating_mul(self.sector_size.into());
            let Some(record) = read_record(self.device, byte)? else {
                self.warn(format!("logical partitions: no record at sector {at}"));
                return Ok(());
            };
            let [logical, link, ..] = &record.partitions;
            if is_used(logical) && !is_extended(logical) {
                self.push(self.next_logical, at, logical);
                self.next_logical = self.next_logical.saturating_add(1);
            }
            if !is_used(link) || !is_extended(link) {
                return Ok(());
            }
            at = extended.saturating_add(link.starting_lba.to_u32().into());
        }
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

/// The record at byte `at`; `None` if it passes the end of the device or lacks the signature.
fn read_record(device: &dyn BlockDevice, at: u64) -> Result<Option<MasterBootRecord>> {
    if at.checked_add(512).is_none_or(|end| end > device.len()) {
        return Ok(None);
    }
    let mut sector = [0; size_of::<MasterBootRecord>()];
    device.read_at(at, &mut sector)?;
    let record: MasterBootRecord = pod_read_unaligned(&sector);
    Ok((record.signature == [0x55, 0xaa]).then_some(record))
}

/// An MBR does not say what a sector is. The first record of a chain lies where the sector size of its maker puts it, so an
/// image of a disk with larger sectors than this device's gives itself away.
fn sector_size_of_chain(device: &dyn BlockDevice, extended: &MbrPartitionRecord) -> Result<u32> {
    for sector_size in [device.sector_size(), 512, 4096] {
        let at = u64::from(extended.starting_lba.to_u32()).saturating_mul(sector_size.into());
        if read_record(device, at)?.is_some() {
            return Ok(sector_size);
        }
    }
    Ok(device.sector_size())
}

/// Whether the medium is a CD that is written to disks as well. The table of such an image has an entry for the whole of it, which begins with
/// the table's own sector and covers the other entries.
fn is_cd(device: &dyn BlockDevice) -> Result<bool> {
    // ECMA-119, 8.1: the first volume descriptor is in the 2048-byte sector 16, its standard identifier behind the type.
    const IDENTIFIER: u64 = 16 * 2048 + 1;
    let mut found = [0; 5];
    if device.len() < IDENTIFIER.saturating_add(5) {
        return Ok(false);
    }
    device.read_at(IDENTIFIER, &mut found)?;
    Ok(&found == b"CD001")
}

fn is_used(entry: &MbrPartitionRecord) -> bool {
    entry.os_indicator != 0 && entry.size_in_lba.to_u32() != 0
}

/// UEFI 2.10, table 5.4: the entry covers the disk from the GPT's header on.
fn is_protective(entry: &MbrPartitionRecord) -> bool {
    let is_active = matches!(entry.boot_indicator, 0 | BOOTABLE);
    entry.os_indicator == PROTECTIVE && entry.starting_lba.to_u32() == 1 && is_active
}

fn is_extended(entry: &MbrPartitionRecord) -> bool {
    matches!(entry.os_indicator, 0x05 | 0x0f | 0x85)
}

/// Which entries claim the same sectors. The one of a CD for the whole of it covers the others.
fn overlaps(entries: &[Numbered<'_>]) -> Vec<String> {
    let mut ranges: Vec<(u64, u64, u32)> = entries
        .iter()
        .map(|(number, entry)| {
            let start = u64::from(entry.starting_lba.to_u32());
            let length = u64::from(entry.size_in_lba.to_u32());
            (start, start.saturating_add(length), *number)
        })
        .filter(|(start, ..)| *start > 0)
        .collect();
    ranges.sort_unstable();
    let overlap = |pair: &[(u64, u64, u32)]| match pair {
        [(_, end, one), (start, _, other)] if end > start => {
            let (low, high) = (one.min(other), one.max(other));
            Some(format!("entries {low} and {high} overlap"))
        }
        _ => None,
    };
    ranges.windows(2).filter_map(overlap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ram::Ram;

    const SECTORS: usize = 1000;

    /// A record: entries are (flag, type, first sector, sectors).
    fn put(disk: &mut [u8], sector: usize, entries: &[(u8, u8, u32, u32)]) {
        let at = sector * 512;
        for (index, (flag, kind, start, len)) in entries.iter().enumerate() {
            let entry = &mut disk[at + 446 + 16 * index..][..16];
            entry[0] = *flag;
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..].copy_from_slice(&len.to_le_bytes());
        }
        disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
    }

    fn blank() -> Vec<u8> {
        vec![0; SECTORS * 512]
    }

    fn table(disk: Vec<u8>) -> Option<Table> {
        match read(&Ram::new(disk)).unwrap() {
            Found::Table(table) => Some(table),
            Found::Nothing => None,
            Found::Protective(_) => panic!("protective"),
        }
    }

    #[test]
    fn primary_partitions() {
        let mut disk = blank();
        disk[440..444].copy_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        put(
            &mut disk,
            0,
            &[(0, 0x83, 10, 20), (0, 0, 0, 0), (0x80, 0x0c, 30, 2000)],
        );
        let table = table(disk).unwrap();
        assert_eq!(table.uuid.as_deref(), Some("1a2b3c4d"));
        assert_eq!(table.warnings, Vec::<String>::new());
        let [one, three] = &table.partitions[..] else {
            panic!("{table:?}")
        };
        assert_eq!((one.number, one.start, one.length), (1, 5120, 10240));
        assert_eq!((one.bootable, three.bootable), (false, true));
        assert_eq!(three.uuid.as_deref(), Some("1a2b3c4d-03"));
        // It passes the end of this (cut) medium; that shows when it is opened.
        assert_eq!((three.number, three.length), (3, 2000 * 512));
    }

    #[test]
    fn boot_sectors_that_are_no_mbr() {
        let mut disk = blank();
        assert!(table(disk.clone()).is_none(), "no signature");
        put(&mut disk, 0, &[]);
        assert!(table(disk.clone()).is_none(), "no partition");
        let good = (0, 0x83, 10, 20);
        for bad in [
            vec![(0x7f, 0x83, 10, 20)],
            vec![(0, 0x83, 0, 20)],
            vec![(0, 0x83, 5000, 20)],
            // More than one thing that cannot be.
            vec![good, (0x7f, 0, 0, 0), (0, 0x83, 0, 20)],
            vec![good, (0, 0x83, 5000, 20), (0, 0x83, 29, 20)],
            vec![good, (0, 0x83, 29, 20), (0, 0x83, 48, 20)],
            vec![good, (0x41, 0x83, 40, 20), (0x42, 0x83, 60, 20)],
        ] {
            put(&mut disk, 0, &[(0, 0, 0, 0); 4]);
            put(&mut disk, 0, &bad);
            assert!(table(disk.clone()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn one_entry_that_makes_no_sense() {
        for (bad, warning) in [
            (
                (0x7f, 0x83, 40, 20),
                "entry 2 is left out: its flag is 0x7f",
            ),
            ((0x7f, 0, 0, 0), "entry 2 is left out: its flag is 0x7f"),
            (
                (0, 0x83, 0, 20),
                "entry 2 is left out: it begins with the table itself",
            ),
            (
                (0, 0x83, 5000, 20),
                "entry 2 is left out: sector 5000, where it begins, is past the end",
            ),
            (
                (0, 0x05, 5000, 20),
                "entry 2 is left out: sector 5000, where it begins, is past the end",
            ),
        ] {
            let mut disk = blank();
            put(&mut disk, 0, &[(0, 0x83, 10, 20), bad, (0, 0x83, 60, 20)]);
            let table = table(disk).unwrap();
            let numbers: Vec<_> = table.partitions.iter().map(|p| p.number).collect();
            assert_eq!(
                (&numbers[..], &table.warnings[..]),
                (&[1, 3][..], &[warning.into()][..])
            );
        }
        // Of two that overlap either may be the right one.
        let mut disk = blank();
        put(&mut disk, 0, &[(0, 0x83, 29, 20), (0, 0x83, 10, 20)]);
        let table = table(disk).unwrap();
        assert_eq!(
            (table.partitions.len(), &table.warnings[..]),
            (2, &["entries 1 and 2 overlap".into()][..])
        );
    }

    #[test]
    fn other_entries_beside_a_protective_one() {
        let mut disk = blank();
        put(&mut disk, 0, &[(0, 0xee, 1, 9), (0x80, 0x83, 10, 20)]);
        let Found::Protective(Some(table)) = read(&Ram::new(disk.clone())).unwrap() else {
            panic!("not a hybrid MBR");
        };
        assert_eq!((table.partitions[0].number, table.partitions.len()), (2, 1));
        put(&mut disk, 0, &[(0, 0xee, 1, 999), (0, 0, 0, 0)]);
        let found = read(&Ram::new(disk)).unwrap();
        assert!(matches!(found, Found::Protective(None)));
    }

    #[test]
    fn the_whole_of_a_cd_is_an_entry() {
        let mut disk = blank();
        put(&mut disk, 0, &[(0x80, 0x17, 0, 900), (0, 0xef, 200, 40)]);
        let no_cd = table(disk.clone()).unwrap();
        assert_eq!((no_cd.partitions.len(), no_cd.warnings.len()), (1, 1));
        disk[32_769..32_774].copy_from_slice(b"CD001");
        let found = table(disk.clone()).unwrap();
        let ranges = found.partitions.iter().map(|p| (p.start, p.length));
        let expected = [(0, 900 * 512), (200 * 512, 40 * 512)];
        assert_eq!(ranges.collect::<Vec<_>>(), expected);
        assert_eq!(found.warnings, Vec::<String>::new());
        // What overlaps besides is told on a CD as well.
        let third = [(0x80, 0x17, 0, 900), (0, 0xef, 200, 40), (0, 0x83, 239, 9)];
        put(&mut disk, 0, &third);
        assert_eq!(table(disk).unwrap().warnings, ["entries 2 and 3 overlap"]);
    }

    #[test]
    fn logical_partitions() {
        let mut disk = blank();
        put(&mut disk, 0, &[(0, 0x83, 10, 20), (0, 0x05, 100, 500)]);
        put(&mut disk, 100, &[(0, 0x83, 10, 20), (0, 0x05, 200, 100)]);
        put(&mut disk, 300, &[(0, 0x82, 5, 15), (0, 0x05, 50, 100)]); // backwards is allowed
        put(&mut disk, 150, &[(0, 0x83, 1, 9)]);
        let table = table(disk).unwrap();
        let found: Vec<_> = table
            .partitions
            .iter()
            .map(|p| (p.number, p.start / 512, p.length / 512))
            .collect();
        assert_eq!(
            found,
            [(1, 10, 20), (5, 110, 20), (6, 305, 15), (7, 151, 9)]
        );
        assert_eq!(table.warnings, Vec::<String>::new());
    }

    #[test]
    fn chains_that_loop_or_break() {
        let mut disk = blank();
        put(&mut disk, 0, &[(0, 0x0f, 100, 500)]);
        put(&mut disk, 100, &[(0, 0x83, 10, 20), (0, 0x05, 200, 100)]);
        put(&mut disk, 300, &[(0, 0x83, 10, 20), (0, 0x05, 0, 100)]);
        let looped = table(disk.clone()).unwrap();
        assert_eq!(looped.partitions.len(), 2);
        assert_eq!(
            looped.warnings,
            ["logical partitions: sector 100 is linked twice"]
        );

        put(
            &mut disk,
            300,
            &[(0, 0x83, 10, 20), (0, 0x05, 4_000_000_000, 100)],
        );
        let broken = table(disk).unwrap();
        assert_eq!(broken.partitions.len(), 2);
        assert_eq!(
            broken.warnings,
            ["logical partitions: no record at sector 4000000100"]
        );
    }

    #[test]
    fn endless_chain_is_cut() {
        let mut disk = blank();
        put(&mut disk, 0, &[(0, 0x05, 1, 990)]);
        for sector in 1..900 {
            put(
                &mut disk,
                sector,
                &[(0, 0x83, 1, 1), (0, 0x05, sector as u32, 1)],
            );
        }
        let table = table(disk).unwrap();
        assert_eq!(table.partitions.len(), MAX_LOGICAL);
        assert_eq!(table.warnings.len(), 1);
    }

    #[test]
    fn larger_sectors_show_in_the_chain() {
        let mut disk = blank();
        put(&mut disk, 0, &[(0, 0x83, 4, 2), (0, 0x05, 10, 50)]);
        put(&mut disk, 80, &[(0, 0x83, 1, 5)]);
        let table = table(disk).unwrap();
        assert_eq!(table.sector_size, 4096);
        let starts: Vec<_> = table.partitions.iter().map(|p| p.start / 4096).collect();
        assert_eq!(starts, [4, 11]);
    }
}
