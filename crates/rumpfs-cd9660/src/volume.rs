//! The volume: its descriptors (ECMA-119 8), its sessions, and which of its trees is shown.

use crate::{
    error::{Error, Place, Result, at},
    layout::{FIRST_DESCRIPTOR, RawVolumeDescriptor, SECTOR, STANDARD_ID, descriptor_type},
    medium::Medium,
    options::Options,
    record::{Record, Records},
    system_use,
    types::{index, number},
};
use alloc::{format, sync::Arc, vec, vec::Vec};
use rumpuser::{BlockDevice, Errno, Threads, sync::Mutex};
use zerocopy::FromBytes;

/// No more volume descriptors are looked at than this.
const MOST_DESCRIPTORS: u64 = 64;
/// No more sessions are looked for than a medium has tracks.
const MOST_SESSIONS: usize = 99;
/// First sector of the first session where a copy of the last one's descriptors comes before it.
const FIRST_BEHIND_COPY: u64 = 32;
/// Bytes read at once when sessions are looked for.
const SEARCH_STEP: u64 = 1 << 20;
/// Where the system use area of CD-ROM XA keeps the entries of SUSP (SUSP 5.3).
const XA_SKIP: usize = 14;

/// Which volume of a medium of several sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// The one that begins at this sector.
    At(u64),
    /// The first is 1.
    Number(u64),
    /// The last one.
    Last,
}

impl Default for Session {
    fn default() -> Self {
        Self::At(0)
    }
}

/// Which names and attributes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// None: those of ECMA-119.
    Plain,
    /// Names in UCS-2 or UTF-16, in a tree of their own.
    Joliet,
    /// POSIX names and attributes, after so many bytes of each system use area that are somebody else's.
    RockRidge {
        /// LEN_SKP of `SP`.
        skip: usize,
    },
}

/// An opened volume.
pub struct Iso {
    pub(crate) medium: Medium,
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) options: Options,
    pub(crate) extension: Extension,
    /// Byte of the root directory's record of itself: its inode number.
    pub(crate) root: u64,
    /// Logical blocks of the volume.
    pub(crate) blocks: u64,
    /// See [`Iso::moved_number`]; `None`: not asked yet.
    pub(crate) hides_moved: Mutex<Option<bool>>,
}

/// The descriptors of one session that matter.
pub(crate) struct Descriptors {
    /// The primary one.
    pub(crate) primary: Descriptor,
    /// The one of Joliet.
    pub(crate) joliet: Option<Descriptor>,
    /// The byte of the first boot record.
    pub(crate) boot: Option<u64>,
}

/// A volume descriptor and its byte on the device.
pub(crate) struct Descriptor {
    pub(crate) at: u64,
    bytes: Vec<u8>,
}

impl Descriptor {
    pub(crate) fn raw(&self) -> Result<&RawVolumeDescriptor> {
        RawVolumeDescriptor::ref_from_bytes(&self.bytes)
            .map_err(|_| Error::Device(Place::Descriptor(self.at), Errno::EIO))
    }
}

/// The descriptors of the session that begins at `sector`; `None` if there are none.
pub(crate) fn descriptors(device: &dyn BlockDevice, sector: u64) -> Result<Option<Descriptors>> {
    let (mut primary, mut joliet, mut boot) = (None, None, None);
    for n in 0..MOST_DESCRIPTORS {
        let start = sector.saturating_add(FIRST_DESCRIPTOR).saturating_add(n);
        let start = start.saturating_mul(SECTOR);
        if device.len() < start.saturating_add(SECTOR) {
            break;
        }
        let mut bytes = vec![0; index(SECTOR)];
        let place = Place::Descriptor(start);
        device.read_at(start, &mut bytes).map_err(at(place))?;
        let descriptor = Descriptor { at: start, bytes };
        let raw = descriptor.raw()?;
        if raw.standard_identifier != STANDARD_ID {
            break;
        }
        match raw.descriptor_type {
            descriptor_type::BOOT => boot = boot.or(Some(start)),
            descriptor_type::PRIMARY => primary = primary.or(Some(descriptor)),
            descriptor_type::SUPPLEMENTARY if is_joliet(raw) => {
                joliet = joliet.or(Some(descriptor));
            }
            descriptor_type::TERMINATOR => break,
            _ => {}
        }
    }
    Ok(primary.map(|primary| Descriptors {
        primary,
        joliet,
        boot,
    }))
}

/// Whether it has the escape sequences of UCS-2 level 1, 2 or 3 (Joliet, 1).
fn is_joliet(raw: &RawVolumeDescriptor) -> bool {
    let [percent, slash, level, ..] = raw.escape_sequences;
    (percent, slash) == (b'%', b'/') && matches!(level, b'@' | b'C' | b'E')
}

/// The first sectors of all sessions, in order. An image of a medium has no table of contents: a session is taken to begin
/// where, past the end of the one before, a primary descriptor says that its own tree lies behind it.
///
/// Where a medium can be written over, and in a file, libburn's programs (xorriso) leave the medium's start to a copy of the last session's
/// descriptors, and begin the first session at sector 32.
///
/// # Errors
/// The device's.
pub fn sessions(device: &dyn BlockDevice) -> Result<Vec<u64>> {
    let behind_copy = sessions_from(device, FIRST_BEHIND_COPY)?;
    if let Some(last) = behind_copy.last() {
        let copy = root_extent(device, 0)?;
        if copy.is_some() && copy == root_extent(device, *last)? {
            return Ok(behind_copy);
        }
    }
    sessions_from(device, 0)
}

/// Where the root directory of a session lies; `None` if it has no descriptors.
fn root_extent(device: &dyn BlockDevice, sector: u64) -> Result<Option<u32>> {
    let Some(found) = descriptors(device, sector)? else {
        return Ok(None);
    };
    Ok(Some(found.primary.raw()?.root.extent.get()))
}

/// The session that begins at the sector `first` and those behind it; none if it does not begin there.
fn sessions_from(device: &dyn BlockDevice, first: u64) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    let mut next = Some(first);
    while let Some(sector) = next {
        let Some(descriptors) = descriptors(device, sector)? else {
            break;
        };
        found.push(sector);
        if found.len() >= MOST_SESSIONS {
            break;
        }
        let space = descriptors.primary.raw()?.volume_space_size.get();
        let past_descriptors = sector.saturating_add(FIRST_DESCRIPTOR).saturating_add(1);
        next = next_session(device, past_descriptors.max(u64::from(space)))?;
    }
    Ok(found)
}

/// The first session whose primary descriptor lies at the sector `from` or behind it.
fn next_session(device: &dyn BlockDevice, from: u64) -> Result<Option<u64>> {
    let mut position = from.saturating_mul(SECTOR);
    let end = device.len();
    let mut bytes = Vec::new();
    while position < end {
        let len = SEARCH_STEP.min(end.saturating_sub(position));
        bytes.resize(index(len), 0);
        let place = Place::Descriptor(position);
        device.read_at(position, &mut bytes).map_err(at(place))?;
        for (n, sector) in bytes.chunks_exact(index(SECTOR)).enumerate() {
            let at = position.saturating_add(number(n).saturating_mul(SECTOR));
            let sector_number = at.checked_div(SECTOR).unwrap_or(0);
            let Some(start) = sector_number.checked_sub(FIRST_DESCRIPTOR) else {
                continue;
            };
            let begins = RawVolumeDescriptor::ref_from_bytes(sector).is_ok_and(|raw| {
                raw.descriptor_type == descriptor_type::PRIMARY
                    && raw.standard_identifier == STANDARD_ID
                    && u64::from(raw.root.extent.get()) >= start
            });
            if begins {
                return Ok(Some(start));
            }
        }
        position = position.saturating_add(len);
    }
    Ok(None)
}

impl Iso {
    /// Opens the volume on a device.
    ///
    /// # Errors
    /// [`Error::NotIso9660`], [`Error::NoSession`], and whatever is wrong with the descriptors or the root directory.
    pub fn open(
        device: Arc<dyn BlockDevice>,
        threads: &dyn Threads,
        cache_bytes: usize,
        options: Options,
    ) -> Result<Self> {
        let sector = session_start(&*device, options.session)?;
        let found = descriptors(&*device, sector)?.ok_or(Error::NotIso9660)?;
        let primary = found.primary.raw()?;
        let block_size = primary.logical_block_size.get();
        if !matches!(block_size, 512 | 1024 | 2048) {
            let place = Place::Descriptor(found.primary.at);
            let expected = "512, 1024 or 2048";
            return Err(Error::value(
                place,
                "logical block size",
                block_size,
                expected,
            ));
        }
        let medium = Medium::new(device.clone(), threads, cache_bytes, block_size);
        let medium = medium.map_err(at(Place::Descriptor(found.primary.at)))?;
        let skip = if options.norrip {
            None
        } else {
            rock_ridge(&medium, &found.primary)?
        };
        let joliet = found.joliet.as_ref().filter(|_| !options.nojoliet);
        let (extension, tree) = match (skip, joliet) {
            (Some(skip), _) => (Extension::RockRidge { skip }, &found.primary),
            (None, Some(joliet)) => (Extension::Joliet, joliet),
            (None, None) => (Extension::Plain, &found.primary),
        };
        let root = root(&medium, tree)?;
        Ok(Self {
            medium,
            device,
            options,
            extension,
            root,
            blocks: u64::from(primary.volume_space_size.get()),
            hides_moved: Mutex::default(),
        })
    }
}

fn session_start(device: &dyn BlockDevice, session: Session) -> Result<u64> {
    let number = match session {
        Session::At(sector) => return Ok(sector),
        Session::Number(number) => Some(number),
        Session::Last => None,
    };
    let all = sessions(device)?;
    let wanted = match number {
        Some(number) => all.get(index(number.saturating_sub(1))),
        None => all.last(),
    };
    let count = all.len();
    match (wanted, number) {
        (Some(sector), _) => Ok(*sector),
        (None, None) => Err(Error::NotIso9660),
        (None, Some(number)) => Err(Error::NoSession(
            format!("{number}, there are {count}").into(),
        )),
    }
}

/// Byte of the record of itself of a tree's root directory.
fn root(medium: &Medium, descriptor: &Descriptor) -> Result<u64> {
    let raw = descriptor.raw()?;
    let extent = raw.root.extent.get();
    let first = extent.checked_add(u32::from(raw.root.extended_attribute_length));
    let Some(first) = first.filter(|_| extent > 0) else {
        let place = Place::Descriptor(descriptor.at);
        return Err(Error::value(place, "root extent", extent, "a block"));
    };
    Ok(medium.byte_of(first))
}

/// How many bytes of each system use area are not Rock Ridge's; `None` if there is no Rock Ridge. The first record of the root
/// directory says so (SUSP 5.3, 5.5; RRIP 4.2).
pub(crate) fn rock_ridge(medium: &Medium, primary: &Descriptor) -> Result<Option<usize>> {
    let start = root(medium, primary)?;
    let length = u64::from(primary.raw()?.root.data_length.get());
    let mut records = Records::new(medium, start, length, 0);
    // A root directory that does not read is an error of the tree that is shown, not of this question.
    let Ok(Some((_, record))) = records.next() else {
        return Ok(None);
    };
    for skipped in [0, XA_SKIP] {
        if let Some(skip) = mark(&record, skipped) {
            let area = record.system_use.get(skipped..).unwrap_or_default();
            return Ok(has_rock_ridge(medium, &record, area)?.then_some(skip));
        }
    }
    Ok(None)
}

/// Whether the root directory's first record has the mark of SUSP, which in practice is that of Rock Ridge: what a probe can
/// tell without a kernel's caches.
pub(crate) fn has_rock_ridge_mark(
    device: &dyn BlockDevice,
    raw: &RawVolumeDescriptor,
) -> Result<bool> {
    let block = u64::from(raw.root.extent.get());
    let start = block.saturating_mul(u64::from(raw.logical_block_size.get()));
    let mut bytes = [0; 255];
    let read = device.read_at(start, &mut bytes);
    if read.is_err() {
        // Past the end of a device that was cut off.
        return Ok(false);
    }
    Ok(Record::parse(start, &bytes).is_ok_and(|record| {
        [0, XA_SKIP]
            .iter()
            .any(|skip| mark(&record, *skip).is_some())
    }))
}

/// The entry `SP` behind so many bytes of a record's system use area: its LEN_SKP.
fn mark(record: &Record<'_>, skipped: usize) -> Option<usize> {
    match record.system_use.get(skipped..)? {
        [b'S', b'P', 7, _, 0xBE, 0xEF, skip, ..] => Some(usize::from(*skip)),
        _ => None,
    }
}

/// Whether entries of Rock Ridge, or its name, are among those of a record.
fn has_rock_ridge(medium: &Medium, record: &Record<'_>, area: &[u8]) -> Result<bool> {
    let mut found = false;
    system_use::each(medium, record.at, area, |entry| {
        found |= match &entry.signature {
            b"RR" | b"PX" => true,
            b"ER" => {
                let length = entry.content.first().copied().map_or(0, usize::from);
                let name = entry.content.get(4..).unwrap_or_default();
                let name = name.get(..length).unwrap_or_default();
                matches!(name, b"RRIP_1991A" | b"IEEE_P1282" | b"IEEE_1282")
            }
            _ => false,
        };
        Ok(())
    })?;
    Ok(found)
}
