//! El Torito: what can be booted from the medium.

use crate::{
    error::{Place, Result, at},
    layout::{EL_TORITO, RawBootEntry, RawBootRecord, SECTOR},
    types::index,
};
use alloc::{string::String, vec, vec::Vec};
use core::fmt;
use rumpuser::BlockDevice;
use zerocopy::FromBytes;

/// Key bytes of the validation entry (El Torito 2.1).
const KEY: [u8; 2] = [0x55, 0xAA];

/// An image that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootImage {
    /// 0: 80x86, 1: PowerPC, 2: Macintosh, 0xEF: EFI.
    pub platform: u8,
    /// Whether the firmware may boot it.
    pub bootable: bool,
    /// Emulation: 0 none, 1 to 3 diskettes of 1.2, 1.44 and 2.88 MB, 4 hard disk.
    pub media: u8,
    /// Sectors of 512 bytes that the firmware loads.
    pub sectors: u16,
    /// Byte on the device where it begins.
    pub start: u64,
}

impl fmt::Display for BootImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.platform {
            0 => write!(f, "80x86")?,
            1 => write!(f, "PowerPC")?,
            2 => write!(f, "Macintosh")?,
            0xEF => write!(f, "EFI")?,
            other => write!(f, "platform {other}")?,
        }
        let media = match self.media & 0x0F {
            0 => "no emulation",
            1 => "1.2 MB diskette",
            2 => "1.44 MB diskette",
            3 => "2.88 MB diskette",
            4 => "hard disk",
            _ => "unknown emulation",
        };
        let unit = if self.sectors == 1 {
            "sector"
        } else {
            "sectors"
        };
        let (sectors, start) = (self.sectors, self.start);
        write!(f, ", {media}, {sectors} {unit} at byte {start}")?;
        if self.bootable {
            Ok(())
        } else {
            write!(f, ", not bootable")
        }
    }
}

/// The images of the catalogue that the boot record at the byte `record` names. A catalogue is one sector here, as
/// everywhere: 64 entries.
///
/// # Errors
/// The device's.
pub fn images(device: &dyn BlockDevice, record: u64) -> Result<Vec<BootImage>> {
    let mut bytes = [0; size_of::<RawBootRecord>()];
    let read = device.read_at(record, &mut bytes);
    read.map_err(at(Place::Descriptor(record)))?;
    let Ok(raw) = RawBootRecord::ref_from_bytes(&bytes) else {
        return Ok(vec![]);
    };
    if !raw.boot_system_identifier.starts_with(EL_TORITO) {
        return Ok(vec![]);
    }
    let start = u64::from(raw.catalogue.get()).saturating_mul(SECTOR);
    let mut sector = vec![0; index(SECTOR)];
    let read = device.read_at(start, &mut sector);
    read.map_err(at(Place::BootCatalogue(start)))?;
    Ok(catalogue(&sector))
}

/// The images in a catalogue: a validation entry, the default one, then sections, each a header and its entries.
fn catalogue(bytes: &[u8]) -> Vec<BootImage> {
    let mut images = vec![];
    let mut entries = bytes.as_chunks::<32>().0.iter();
    let Some(validation) = entries.next() else {
        return images;
    };
    let [first, mut platform, ..] = *validation;
    let [.., key0, key1] = *validation;
    if first != 1 || [key0, key1] != KEY {
        return images;
    }
    let mut expected = 1_u16;
    for bytes in entries {
        let Ok(raw) = RawBootEntry::read_from_bytes(bytes) else {
            break;
        };
        if expected > 0 {
            expected = expected.saturating_sub(1);
            // 0x44: more of the entry before, for the firmware alone.
            if raw.indicator != 0x44 {
                images.push(BootImage {
                    platform,
                    bootable: raw.indicator == 0x88,
                    media: raw.media,
                    sectors: raw.sectors.get(),
                    start: u64::from(raw.start.get()).saturating_mul(SECTOR),
                });
            }
            continue;
        }
        match raw.indicator {
            0x90 | 0x91 => (platform, expected) = (raw.media, raw.segment.get()),
            _ => break,
        }
    }
    images
}

/// The images as one line for a person; `None` if there are none.
pub(crate) fn describe(images: &[BootImage]) -> Option<String> {
    use core::fmt::Write as _;
    let mut text = String::new();
    for image in images {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{image}");
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn default_entry_and_sections() {
        let mut bytes = vec![0; 2048];
        bytes[0] = 1;
        bytes[30..32].copy_from_slice(&KEY);
        bytes[32] = 0x88;
        bytes[38] = 4;
        bytes[40] = 20;
        bytes[64..68].copy_from_slice(&[0x91, 0xEF, 1, 0]);
        bytes[96] = 0x88;
        bytes[102] = 8;
        bytes[104] = 30;
        let images = catalogue(&bytes);
        let texts: Vec<_> = images.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "80x86, no emulation, 4 sectors at byte 40960",
                "EFI, no emulation, 8 sectors at byte 61440"
            ]
        );
        bytes[31] = 0;
        assert!(catalogue(&bytes).is_empty());
    }
}
