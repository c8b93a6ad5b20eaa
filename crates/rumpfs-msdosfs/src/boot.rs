//! The boot sector: the geometry of the volume.

use crate::{
    error::{Error, Place, Result, at},
    layout::{ACTIVE_FAT, HAS_LABEL, HAS_SERIAL, NOT_MIRRORED, RawBpb, RawBpb32, RawExtended},
    types::Cluster,
};
use alloc::{format, string::String};
use rumpuser::BlockDevice;
use zerocopy::FromBytes;

/// Bytes of the boot sector that are read: up to the signature.
const READ: usize = 512;
/// Where the parameters of the kind begin.
const AFTER_BPB: usize = size_of::<RawBpb>();
/// Most clusters of FAT12 and of FAT16.
const MOST_12: u32 = 4084;
const MOST_16: u32 = 65_524;
/// Most of FAT32: numbers have 28 bits, and the largest mean something else.
const MOST_32: u32 = 0x0FFF_FFF5;

/// Which of the three formats: they differ in the width of the entries of the FAT, and the number of clusters alone says which it is
/// (fatgen103, "FAT Type Determination").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// FAT12
    Fat12,
    /// FAT16
    Fat16,
    /// FAT32
    Fat32,
}

/// Where the root directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// In sectors of its own (FAT12, FAT16).
    Fixed {
        /// First byte on the device.
        start: u64,
        /// Its bytes.
        len: u64,
    },
    /// In a chain of clusters (FAT32).
    Chain(Cluster),
}

/// A checked boot sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Bits of a FAT entry.
    pub kind: Kind,
    /// Bytes in a sector: 512 to 4096, a power of two.
    pub sector_size: u32,
    /// Sectors in a cluster: 1 to 128, a power of two.
    pub cluster_sectors: u32,
    /// First sector of the first FAT.
    pub fat_start: u64,
    /// Sectors of one FAT.
    pub fat_sectors: u32,
    /// Number of FATs, 1 or more.
    pub fats: u8,
    /// The only FAT in use, if they are not kept alike.
    pub active: Option<u8>,
    /// First sector of cluster 2.
    pub data_start: u64,
    /// Number of data clusters.
    pub clusters: u32,
    /// The root directory.
    pub root: Root,
    /// Sector of FSInfo.
    pub fs_info: Option<u64>,
    /// Sectors of the volume.
    pub sectors: u64,
    /// Byte in the boot sector with the state of the volume.
    pub state_byte: u32,
    /// Media descriptor: the lowest byte of FAT entry 0.
    pub media: u8,
}

/// What the boot sector says about itself, for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Serial number, `1234-ABCD`.
    pub serial: Option<String>,
    /// Label as the boot sector has it, in bytes of the code page.
    pub label: Option<[u8; 11]>,
    /// Name of the system that made the volume.
    pub oem_name: [u8; 8],
    /// Whether the volume is marked as in use.
    pub dirty: bool,
}

/// Reads the boot sector; `None` if the device cannot be such a volume.
///
/// # Errors
/// The device's; what is wrong with a boot sector that claims to be one.
pub fn read(device: &dyn BlockDevice) -> Result<Option<(Boot, Identity)>> {
    let mut bytes = [0; READ];
    if device.len() < crate::types::number(READ) {
        return Ok(None);
    }
    device
        .read_at(0, &mut bytes)
        .map_err(at(Place::BootSector))?;
    if !looks_like(&bytes) {
        return Ok(None);
    }
    let boot = Boot::parse(&bytes)?;
    let identity = identity(&bytes, boot.kind);
    Ok(Some((boot, identity)))
}

/// Whether a sector has what all boot sectors of FAT volumes have in common, and those of others (NTFS, exFAT, a partition
/// table) have not.
fn looks_like(bytes: &[u8; READ]) -> bool {
    let Ok((bpb, _)) = RawBpb::read_from_prefix(bytes) else {
        return false;
    };
    // The jump may be missing on old diskettes, the signature at the end as well.
    let jump = matches!(bpb.jump, [0xEB, _, _] | [0xE9, _, _]) || bpb.jump == [0x69, 0, 0];
    let size = bpb.bytes_per_sector.get();
    let plausible = size.is_power_of_two()
        && (512..=4096).contains(&size)
        && bpb.sectors_per_cluster.is_power_of_two()
        && bpb.reserved_sectors.get() > 0
        && bpb.fats > 0
        && (bpb.media == 0xF0 || bpb.media >= 0xF8);
    let signed = bytes.ends_with(&[0x55, 0xAA]);
    plausible && (jump || signed)
}

fn identity(bytes: &[u8; READ], kind: Kind) -> Identity {
    let after = bytes.get(AFTER_BPB..).unwrap_or_default();
    let extended = match kind {
        Kind::Fat32 => RawBpb32::read_from_prefix(after)
            .ok()
            .map(|(raw, _)| raw.extended),
        _ => RawExtended::read_from_prefix(after)
            .ok()
            .map(|(raw, _)| raw),
    };
    let mut identity = Identity::default();
    if let Ok((bpb, _)) = RawBpb::read_from_prefix(bytes) {
        identity.oem_name = bpb.oem_name;
    }
    let Some(extended) = extended else {
        return identity;
    };
    if matches!(extended.signature, HAS_SERIAL | HAS_LABEL) {
        let serial = extended.serial.get();
        let text = format!("{:04X}-{:04X}", serial.wrapping_shr(16), serial & 0xFFFF);
        identity.serial = Some(text);
    }
    if extended.signature == HAS_LABEL {
        identity.label = Some(extended.label).filter(|label| label != b"NO NAME    ");
    }
    identity.dirty = extended.state & crate::layout::STATE_DIRTY != 0;
    identity
}

impl Boot {
    fn parse(bytes: &[u8; READ]) -> Result<Self> {
        let wrong =
            |field, found: u64, expected| Error::value(Place::BootSector, field, found, expected);
        let short = || wrong("length", crate::types::number(READ), "more");
        let (bpb, after) = RawBpb::read_from_prefix(bytes).map_err(|_| short())?;
        let (bpb32, _) = RawBpb32::read_from_prefix(after).map_err(|_| short())?;
        let sector_size = u32::from(bpb.bytes_per_sector.get());
        let cluster_sectors = u32::from(bpb.sectors_per_cluster);
        let is_32 = bpb.fat_sectors_16.get() == 0;
        let fat_sectors = if is_32 {
            bpb32.fat_sectors.get()
        } else {
            u32::from(bpb.fat_sectors_16.get())
        };
        let sectors = match bpb.total_sectors_16.get() {
            0 => bpb.total_sectors_32.get(),
            sectors => u32::from(sectors),
        };
        let fat_start = u64::from(bpb.reserved_sectors.get());
        let fats_len = u64::from(fat_sectors).saturating_mul(u64::from(bpb.fats));
        let root_start = fat_start.saturating_add(fats_len);
        let root_len = u64::from(bpb.root_entries.get()).saturating_mul(32);
        let root_sectors = root_len.div_ceil(u64::from(sector_size).max(1));
        let data_start = root_start.saturating_add(root_sectors);
        let data_sectors = u64::from(sectors).checked_sub(data_start);
        let Some(data_sectors) = data_sectors.filter(|_| fat_sectors > 0) else {
            let expected = "more than the FATs take";
            return Err(wrong("total sectors", sectors.into(), expected));
        };
        let clusters = data_sectors.checked_div(u64::from(cluster_sectors));
        let fat_bytes = u64::from(fat_sectors).saturating_mul(u64::from(sector_size));
        let (kind, clusters) = kind_of(is_32, clusters.unwrap_or(0), fat_bytes)?;
        let mut boot = Self {
            kind,
            sector_size,
            cluster_sectors,
            fat_start,
            fat_sectors,
            fats: bpb.fats,
            active: None,
            data_start,
            clusters,
            root: Root::Fixed {
                start: root_start.saturating_mul(u64::from(sector_size)),
                len: root_len,
            },
            fs_info: None,
            sectors: sectors.into(),
            state_byte: 37,
            media: bpb.media,
        };
        if is_32 {
            boot.parse_32(&bpb32)?;
        } else if root_len == 0 {
            return Err(wrong("root entries", 0, "1 or more"));
        }
        Ok(boot)
    }

    fn parse_32(&mut self, raw: &RawBpb32) -> Result<()> {
        let wrong = |field, found: u32, expected| {
            Err(Error::value(Place::BootSector, field, found, expected))
        };
        if raw.version.get() != 0 {
            return wrong("version", raw.version.get().into(), "0");
        }
        let root = Cluster(raw.root_cluster.get());
        if !self.is_data(root) {
            return wrong("root cluster", root.0, "a data cluster");
        }
        self.root = Root::Chain(root);
        let flags = raw.flags.get();
        if flags & NOT_MIRRORED != 0 {
            let active = u8::try_from(flags & ACTIVE_FAT).unwrap_or(0);
            if active >= self.fats {
                return wrong("active FAT", active.into(), "one of the FATs");
            }
            self.active = Some(active);
        }
        let fs_info = u64::from(raw.fs_info.get());
        self.fs_info = Some(fs_info).filter(|sector| (1..self.fat_start).contains(sector));
        self.state_byte = 65;
        Ok(())
    }

    /// Whether a number is that of a data cluster.
    #[must_use]
    pub fn is_data(&self, cluster: Cluster) -> bool {
        cluster >= Cluster::FIRST && cluster.0 < self.clusters.saturating_add(2)
    }

    /// Bytes in a cluster.
    #[must_use]
    pub fn cluster_size(&self) -> u32 {
        self.sector_size.saturating_mul(self.cluster_sectors)
    }

    /// First sector of a data cluster.
    #[must_use]
    pub fn sector_of(&self, cluster: Cluster) -> u64 {
        let index = u64::from(cluster.0.saturating_sub(2));
        self.data_start
            .saturating_add(index.saturating_mul(u64::from(self.cluster_sectors)))
    }

    /// First byte of a data cluster.
    #[must_use]
    pub fn byte_of(&self, cluster: Cluster) -> u64 {
        self.sector_of(cluster)
            .saturating_mul(u64::from(self.sector_size))
    }

    /// Bytes of the volume.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sectors.saturating_mul(u64::from(self.sector_size))
    }
}

/// What the number of clusters says of the FAT, and how many are used.
fn kind_of(is_32: bool, clusters: u64, fat_bytes: u64) -> Result<(Kind, u32)> {
    let clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
    let (kind, most) = match (is_32, clusters) {
        (true, _) => (Kind::Fat32, MOST_32),
        (false, 0..=MOST_12) => (Kind::Fat12, MOST_12),
        _ => (Kind::Fat16, MOST_16),
    };
    let entries = fat_bytes.saturating_mul(8).checked_div(kind.bits().into());
    // The FAT may be too small for the volume: then the rest of it is not used.
    let reachable = entries.unwrap_or(0).saturating_sub(2);
    let clusters = clusters.min(u32::try_from(reachable).unwrap_or(u32::MAX));
    if clusters == 0 || clusters > most {
        let expected = "1 to the kind's most";
        return Err(Error::value(
            Place::BootSector,
            "clusters",
            clusters,
            expected,
        ));
    }
    Ok((kind, clusters))
}

impl Kind {
    /// Bits of an entry of the FAT.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }

    /// As the specification calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A diskette of 1.44 MB.
    fn floppy() -> [u8; READ] {
        let mut bytes = [0; READ];
        bytes[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
        bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
        bytes[13] = 1;
        bytes[14] = 1;
        bytes[16] = 2;
        bytes[17] = 224;
        bytes[19..21].copy_from_slice(&2880_u16.to_le_bytes());
        bytes[21] = 0xF0;
        bytes[22] = 9;
        bytes[510..].copy_from_slice(&[0x55, 0xAA]);
        bytes
    }

    #[test]
    fn a_diskette() {
        assert!(looks_like(&floppy()));
        let boot = Boot::parse(&floppy()).unwrap();
        assert_eq!(
            (boot.kind, boot.clusters, boot.data_start),
            (Kind::Fat12, 2847, 33)
        );
        assert_eq!(boot.byte_of(Cluster(2)), 33 * 512);
        assert!(boot.is_data(Cluster(2848)) && !boot.is_data(Cluster(2849)));
    }

    #[test]
    fn broken_fields() {
        for (byte, value) in [(11, 1), (13, 3), (13, 0), (14, 0), (16, 0), (21, 1)] {
            let mut bytes = floppy();
            bytes[byte] = value;
            assert!(!looks_like(&bytes), "byte {byte}");
        }
        for (byte, value) in [(17, 0), (20, 0), (23, 200)] {
            let mut bytes = floppy();
            bytes[byte] = value;
            if byte == 20 {
                bytes[19] = 20;
            }
            assert!(Boot::parse(&bytes).is_err(), "byte {byte}");
        }
    }
}
