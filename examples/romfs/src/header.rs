//! The superblock and the headers of files.

use alloc::{sync::Arc, vec, vec::Vec};
use core::fmt;
use rumpuser::{BlockDevice, Errno};

const MAGIC: &[u8; 8] = b"-rom1fs-";
/// Longest name in bytes.
pub const NAME_MAX: usize = 255;

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
    next: u32,
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
    if device.len() >= MAGIC.len() as u64 {
        device.read_at(0, &mut start)?;
    }
    Ok(start == *MAGIC)
}

impl Volume {
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self, Error> {
        let size = u32::try_from(device.len()).unwrap_or(u32::MAX);
        let mut volume = Self {
            device,
            size,
            label: Vec::new(),
            root: 0,
        };
        // The superblock is made as a header is, with a sum over 512 bytes.
        let ([_, _, size, _], label, root) = volume.raw(0, |[_, _, size, _]| 512.min(size))?;
        if size > volume.size {
            return Err(Error::Damaged(0, "the volume is larger than its device"));
        }
        (volume.size, volume.label, volume.root) = (size, label, root);
        Ok(volume)
    }

    /// Reads the header at a place that somebody names.
    pub fn header(&self, at: u32) -> Result<Header, Error> {
        if !at.is_multiple_of(16) || at < self.root {
            return Err(Error::Damaged(at, "no place for a header"));
        }
        let ([first, info, size, _], name, data) = self.raw(at, |_| 0)?;
        let kind = first & 7;
        // Directories say 32; data is what must lie within the volume.
        let size = if matches!(kind, 2 | 3) { size } else { 0 };
        if data.checked_add(size).is_none_or(|end| end > self.size) {
            let what = "its data is behind the end of the volume";
            return Err(Error::Damaged(at, what));
        }
        Ok(Header {
            at,
            next: first & !15,
            kind,
            executable: first & 8 != 0,
            info,
            size,
            name,
            data,
        })
    }

    /// The headers of a directory from one of them on. A list that goes backwards could go in a circle: it is damaged.
    pub fn list(&self, first: u32) -> impl Iterator<Item = Result<Header, Error>> {
        let (mut before, mut next) = (0, first);
        core::iter::from_fn(move || {
            let header = match next {
                0 => return None,
                next if next > before => self.header(next),
                _ => Err(Error::Damaged(before, "the list goes backwards")),
            };
            (before, next) = (next, header.as_ref().map_or(0, |h| h.next));
            Some(header)
        })
    }

    /// The four words of a header, its name, and where it ends. The sum of the header, or of `sum_over` bytes if they are more, is 0.
    fn raw(
        &self,
        at: u32,
        sum_over: fn([u32; 4]) -> u32,
    ) -> Result<([u32; 4], Vec<u8>, u32), Error> {
        let damaged = |what| Error::Damaged(at, what);
        let mut bytes = vec![0; self.size.saturating_sub(at).min(512) as usize];
        let read = self.device.read_at(at.into(), &mut bytes);
        read.map_err(Error::Device)?;
        let names = bytes.get(16..).ok_or(damaged("no room for a header"))?;
        let name = names.split(|byte| *byte == 0).next().unwrap_or_default();
        let end = 16 + (name.len() + 1).next_multiple_of(16);
        if name.len() > NAME_MAX || end > bytes.len() {
            return Err(damaged("its name has no end"));
        }
        let words = bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_be_bytes(*word));
        let mut first = words.clone();
        let head = core::array::from_fn(|_| first.next().unwrap_or(0));
        let covered = end.max(sum_over(head) as usize);
        if words.take(covered / 4).fold(0, u32::wrapping_add) != 0 {
            return Err(damaged("wrong checksum"));
        }
        Ok((head, name.to_vec(), at.saturating_add(end as u32)))
    }
}
