//! The GUID partition table: UEFI 2.10, section 5.3.

use crate::{Partition, PartitionType, Scheme, Table, TableError};
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use bytemuck::{bytes_of, pod_read_unaligned};
use crc::{CRC_32_ISO_HDLC, Crc, Table as CrcTable};
use gpt_disk_types::{GptHeader, GptPartitionEntry, GptPartitionName};
use rumpuser::{BlockDevice, Errno};

/// Both checksums of the format.
static CRC32: Crc<u32, CrcTable<1>> = Crc::<u32, CrcTable<1>>::new(&CRC_32_ISO_HDLC);

/// Entries are 128 bytes, 128 of them in practice; nobody has more than a few hundred. Keeps what a table can make us read small.
const MAX_ARRAY_BYTES: u64 = 1 << 20;

const HEADER_LEN: usize = size_of::<GptHeader>();
const ENTRY_LEN: usize = size_of::<GptPartitionEntry>();

/// Sector sizes under which tables are looked for after the device's own: an image of a disk with 4096-byte sectors is a file
/// to us, and a file has sectors of 512.
const SECTOR_SIZES: [u32; 4] = [512, 4096, 1024, 2048];

/// What is wrong with one copy of the table.
enum Damage {
    /// The device failed, or the copy would lie outside of it.
    Device(Errno),
    /// No signature: no header here at all.
    Missing,
    /// In words.
    Bad(String),
    /// The header is good, but not the entries; where it says the other copy is.
    Entries(String, u64),
}

impl core::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Device(errno) => write!(f, "{errno}"),
            Self::Missing => f.write_str("no header"),
            Self::Bad(text) | Self::Entries(text, _) => f.write_str(text),
        }
    }
}

/// Reads the table that a protective MBR has announced: the primary copy, or else the backup.
pub(crate) fn read(device: &dyn BlockDevice) -> Result<Table, TableError> {
    let own = device.sector_size();
    let sizes = || {
        [own]
            .into_iter()
            .chain(SECTOR_SIZES.into_iter().filter(move |&s| s != own))
    };

    let mut primary = Damage::Missing;
    let mut alternates = vec![];
    for sector_size in sizes() {
        match read_copy(device, sector_size, 1) {
            Ok(table) => return Ok(table),
            Err(Damage::Missing) => {}
            Err(damage) => {
                if let Damage::Entries(_, alternate) = damage {
                    alternates.push((sector_size, alternate));
                }
                primary = damage;
            }
        }
    }

    // The backup is in the last sector, unless the medium has grown since.
    let last = sizes().filter_map(|size| {
        let sectors = device.len().checked_div(size.into())?;
        Some((size, sectors.checked_sub(1)?))
    });
    let mut backup = Damage::Missing;
    for (sector_size, sector) in last.chain(alternates) {
        match read_copy(device, sector_size, sector) {
            Ok(mut table) => {
                let note = format!("primary GPT: {primary}; using the backup");
                table.warnings.insert(0, note);
                return Ok(table);
            }
            Err(Damage::Missing) => {}
            Err(damage) => backup = damage,
        }
    }
    Err(TableError::Gpt {
        primary: primary.to_string(),
        backup: backup.to_string(),
    })
}

/// Reads the copy whose header is in `sector`.
fn read_copy(device: &dyn BlockDevice, sector_size: u32, sector: u64) -> Result<Table, Damage> {
    let header = read_header(device, sector_size, sector)?;
    let alternate = header.alternate_lba.to_u64();
    let array = read_entries(device, sector_size, &header)
        .map_err(|text| Damage::Entries(text, alternate))?;

    let mut partitions = vec![];
    let mut warnings = vec![];
    let stride = usize::try_from(header.size_of_partition_entry.to_u32()).unwrap_or(usize::MAX);
    for (number, bytes) in (1_u32..).zip(array.chunks_exact(stride)) {
        let Some(bytes) = bytes.get(..ENTRY_LEN) else {
            break;
        };
        let entry: GptPartitionEntry = pod_read_unaligned(bytes);
        if entry.is_used() {
            match partition(number, sector_size, &entry) {
                Some(partition) => partitions.push(partition),
                None => warnings.push(format!("GPT: entry {number} has an impossible range")),
            }
        }
    }
    Ok(Table {
        scheme: Scheme::Gpt,
        sector_size,
        uuid: Some({ header.disk_guid }.to_string()),
        partitions,
        warnings,
    })
}

/// Reads and checks a header. Section 5.3.2: signature, size, checksum over that size with the checksum itself as zero, and its
/// own position.
fn read_header(
    device: &dyn BlockDevice,
    sector_size: u32,
    sector: u64,
) -> Result<GptHeader, Damage> {
    let size = u64::from(sector_size);
    let at = sector.checked_mul(size).ok_or(Damage::Missing)?;
    if at.checked_add(size).is_none_or(|end| end > device.len()) {
        return Err(Damage::Missing);
    }
    let mut bytes = vec![0; usize::try_from(sector_size).unwrap_or(usize::MAX)];
    device.read_at(at, &mut bytes).map_err(Damage::Device)?;
    let (fixed, _) = bytes.split_at_checked(HEADER_LEN).ok_or(Damage::Missing)?;
    let header: GptHeader = pod_read_unaligned(fixed);
    if !header.is_signature_valid() {
        return Err(Damage::Missing);
    }

    let header_size = header.header_size.to_u32();
    let covered = usize::try_from(header_size)
        .ok()
        .and_then(|size| bytes.get(HEADER_LEN..size));
    let Some(covered) = covered else {
        let text = format!("header size {header_size}, sector size {sector_size}");
        return Err(Damage::Bad(text));
    };
    let mut zeroed = header;
    zeroed.header_crc32 = Default::default();
    let mut digest = CRC32.digest();
    digest.update(bytes_of(&zeroed));
    digest.update(covered);
    let (stored, computed) = (header.header_crc32.0.to_u32(), digest.finalize());
    if stored != computed {
        return Err(Damage::Bad(format!(
            "header checksum {stored:#010x}, computed {computed:#010x}"
        )));
    }
    let own = header.my_lba.to_u64();
    if own != sector {
        return Err(Damage::Bad(format!(
            "header in sector {sector} says it is in {own}"
        )));
    }
    Ok(header)
}

/// Reads the array of entries and checks its checksum.
fn read_entries(
    device: &dyn BlockDevice,
    sector_size: u32,
    header: &GptHeader,
) -> Result<Vec<u8>, String> {
    let count = u64::from(header.number_of_partition_entries.to_u32());
    let stride = header.size_of_partition_entry.to_u32();
    // "128 x 2^n, where n is an integer greater than or equal to zero"
    if stride < 128 || !stride.is_power_of_two() {
        return Err(format!("entry size {stride}"));
    }
    let len = count.saturating_mul(stride.into());
    if len > MAX_ARRAY_BYTES {
        return Err(format!(
            "{count} entries of {stride} bytes, at most 1 MiB is read"
        ));
    }
    let sector = header.partition_entry_lba.to_u64();
    let at = sector.checked_mul(sector_size.into());
    let end = at.and_then(|at| at.checked_add(len));
    let (Some(at), Some(end)) = (at, end) else {
        return Err(format!("entries at sector {sector}"));
    };
    if end > device.len() {
        return Err(format!(
            "entries at sector {sector} pass the end of the medium"
        ));
    }
    let mut array = vec![0; usize::try_from(len).map_err(|_| "too many entries")?];
    device
        .read_at(at, &mut array)
        .map_err(|errno| format!("entries: {errno}"))?;
    let (stored, computed) = (
        header.partition_entry_array_crc32.0.to_u32(),
        CRC32.checksum(&array),
    );
    if stored != computed {
        return Err(format!(
            "checksum of entries {stored:#010x}, computed {computed:#010x}"
        ));
    }
    Ok(array)
}

/// The partition of an entry; `None` if its last sector is before the first, or byte offsets do not fit in 64 bits.
fn partition(number: u32, sector_size: u32, entry: &GptPartitionEntry) -> Option<Partition> {
    let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
    let size = u64::from(sector_size);
    let start = first.checked_mul(size)?;
    let length = last.checked_sub(first)?.checked_add(1)?.checked_mul(size)?;
    start.checked_add(length)?;
    Some(Partition {
        number,
        start,
        length,
        kind: PartitionType::Gpt({ entry.partition_type_guid }.0),
        name: name(&{ entry.name }),
        uuid: Some({ entry.unique_partition_guid }.to_string()),
        bootable: { entry.attributes }.legacy_bios_bootable(),
    })
}

/// A name as far as its first NUL. Makers write UTF-16 where the specification says UCS-2.
fn name(raw: &GptPartitionName) -> String {
    let units = raw
        .0
        .as_chunks::<2>()
        .0
        .iter()
        .map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units.take_while(|&unit| unit != 0))
        .map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests;
