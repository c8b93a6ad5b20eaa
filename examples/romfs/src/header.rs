//! The superblock and the headers of files.

use alloc::{sync::Arc, vec, vec::Vec};
use core::fmt;
use rumpuser::{BlockDevice, Errno};

const MAGIC: &[u8] = b"-rom1fs-";
/// Headers and data begin at multiples of this.
const ALIGN: u32 = 16;
/// Longest name in bytes.
pub const NAME_MAX: u32 = 255;

/// What can be wrong with a volume.
#[derive(Debug)]
pub enum Error {
    /// The device could not be read.
    Device(Errno),
    /// The superblock or header at this byte is damaged.
    Damaged(u32, &'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(errno) => write!(f, "{errno}"),
            Self::Damaged(at, what) => write!(f, "header at {at:#x}: {what}"),
        }
    }
}

/// A volume whose superblock has been checked.
pub struct Volume {
    pub device: Arc<dyn BlockDevice>,
    /// Bytes of the volume: nothing of it is behind.
    pub size: u32,
    pub label: Vec<u8>,
    /// Place of the root directory's header.
    pub root: u32,
}

/// A header, checked.
pub struct Header {
    pub at: u32,
    /// The next header of the directory; 0: there is none.
    pub next: u32,
    /// Type, 0 (hard link) to 7.
    pub kind: u32,
    pub executable: bool,
    /// What it means depends on the type: first entry of a directory, target of a hard link, device number.
    pub info: u32,
    pub size: u32,
    pub name: Vec<u8>,
    /// Place of the data, which lies within the volume.
    pub data: u32,
}

/// Whether this is the start of a volume.
pub fn is_volume(device: &dyn BlockDevice) -> Result<bool, Errno> {
    let mut start = [0; MAGIC.len()];
    if device.len() < MAGIC.len() as u64 {
        return Ok(false);
    }
    device.read_at(0, &mut start)?;
    Ok(start == MAGIC)
}

impl Volume {
    /// Reads the superblock: magic, size, checksum over 512 bytes, label.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self, Error> {
        let mut volume = Self {
            size: u32::try_from(device.len()).unwrap_or(u32::MAX),
            device,
            label: Vec::new(),
            root: 0,
        };
        let bytes = volume.read(0, 512)?;
        let size = word(&bytes, 8).ok_or(Error::Damaged(0, "no room for a superblock"))?;
        if size > volume.size {
            return Err(Error::Damaged(0, "the volume is larger than its device"));
        }
        volume.size = size;
        let covered = bytes.get(..size.min(512) as usize).unwrap_or_default();
        (volume.label, volume.root) = checked(0, &bytes, covered)?;
        Ok(volume)
    }

    /// Reads the header at a place that somebody names.
    pub fn header(&self, at: u32) -> Result<Header, Error> {
        let damaged = |what| Error::Damaged(at, what);
        if !at.is_multiple_of(ALIGN) || at < self.root {
            return Err(damaged("no place for a header"));
        }
        let bytes = self.read(at, ALIGN + NAME_MAX + 1)?;
        let end = bytes.get(16..).and_then(name_end);
        let covered = bytes.get(..16 + end.unwrap_or(0)).unwrap_or_default();
        let (name, data) = checked(at, &bytes, covered)?;
        let field = |offset| word(&bytes, offset).ok_or(damaged("no room for a header"));
        let (first, info, size) = (field(0)?, field(4)?, field(8)?);
        let kind = first & 7;
        // Directories say 32; data is what must lie within the volume.
        let has_data = kind == 2 || kind == 3;
        if has_data && data.checked_add(size).is_none_or(|end| end > self.size) {
            return Err(damaged("its data is behind the end of the volume"));
        }
        Ok(Header {
            at,
            next: first & !15,
            kind,
            executable: first & 8 != 0,
            info,
            size: if has_data { size } else { 0 },
            name,
            data,
        })
    }

    /// The headers of a directory from one of them on. A list that goes backwards could go in a circle: it is damaged.
    pub fn list(&self, first: u32) -> impl Iterator<Item = Result<Header, Error>> {
        let (mut before, mut next) = (0, first);
        core::iter::from_fn(move || {
            if next == 0 {
                return None;
            }
            let header = if next > before {
                self.header(next)
            } else {
                Err(Error::Damaged(before, "the list goes backwards"))
            };
            (before, next) = (next, header.as_ref().map_or(0, |h| h.next));
            Some(header)
        })
    }

    /// Up to `len` bytes at a place, as far as the volume goes.
    pub fn read(&self, at: u32, len: u32) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len.min(self.size.saturating_sub(at)) as usize];
        self.device
            .read_at(u64::from(at), &mut bytes)
            .map_err(Error::Device)?;
        Ok(bytes)
    }
}

/// Checks the sum over `covered` - as 32-bit words, which give 0 - and gives the name in a header and where the header ends.
fn checked(at: u32, bytes: &[u8], covered: &[u8]) -> Result<(Vec<u8>, u32), Error> {
    let damaged = |what| Error::Damaged(at, what);
    let names = bytes.get(16..).unwrap_or_default();
    let end = name_end(names).ok_or(damaged("its name has no end"))?;
    let words = (0..covered.len()).step_by(4);
    let sum = words.fold(0_u32, |sum, n| {
        sum.wrapping_add(word(covered, n).unwrap_or(0))
    });
    if sum != 0 || covered.is_empty() {
        return Err(damaged("wrong checksum"));
    }
    let name = names.iter().copied().take_while(|b| *b != 0).collect();
    let end = u32::try_from(16 + end)
        .ok()
        .and_then(|len| at.checked_add(len));
    Ok((
        name,
        end.ok_or(damaged("it is behind the end of the volume"))?,
    ))
}

/// Bytes of a name with its NUL and padding.
fn name_end(bytes: &[u8]) -> Option<usize> {
    let len = bytes.iter().position(|b| *b == 0)?;
    let end = (len + 1).next_multiple_of(ALIGN as usize);
    (end <= bytes.len()).then_some(end)
}

/// The big-endian word at an offset.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}
