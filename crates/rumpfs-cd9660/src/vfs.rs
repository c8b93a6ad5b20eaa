//! The adapter to `rumpvfs`: the only file that names it.

use crate::{
    boot,
    error::{Error, Place as Where, Result as FormatResult},
    inode::{Content, Inode, Section},
    layout::{RawLongTime, RawVolumeDescriptor},
    options::Options,
    sparse::Piece,
    types::number,
    volume::{self, Descriptors, Iso},
};
use alloc::{
    boxed::Box,
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};
use rumpkern::{Component, FileType, Log, Phase, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result};
use rumpvfs::{
    KernelVfs as _,
    fs::{
        AnyFileSystem, Attributes, DirCookie, DirEmit, DirEntry, DirSlot, Extent, FileSystem,
        Found, FsStatistics, FsType, Ino, Limits, MountContext, Place, Probe, erase,
    },
    name::Name,
};

/// The component: registers the type `cd9660`.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "cd9660",
        phase: Phase::Driver,
        requires: &[rumpvfs::component],
        init: |kernel| kernel.register_fs(Arc::new(Cd9660Type)),
    }
}

/// The file system type `cd9660`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cd9660Type;

impl FsType for Cd9660Type {
    fn name(&self) -> &'static str {
        "cd9660"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["iso9660"]
    }

    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<Probe>> {
        let Some(found) = volume::descriptors(device, 0)? else {
            return Ok(None);
        };
        Ok(Some(describe(device, &found)?))
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        let log = context.log.clone();
        let options = Options::parse(&context.options).map_err(|error| {
            log.message(format_args!("{error}"));
            Errno::EINVAL
        })?;
        let device = context.read_only_device()?;
        let iso = Iso::open(device, &*context.host, context.cache_bytes, options)
            .map_err(|error| report(&log, &error))?;
        Ok(erase(Mounted { iso, log }))
    }
}

/// What the descriptors say, unchecked.
fn describe(device: &dyn BlockDevice, found: &Descriptors) -> FormatResult<Probe> {
    let raw = found.primary.raw()?;
    let mut facts = vec![
        ("block size", raw.logical_block_size.get().to_string()),
        ("blocks", raw.volume_space_size.get().to_string()),
    ];
    let mut extensions = vec![];
    if volume::has_rock_ridge_mark(device, raw)? {
        extensions.push("Rock Ridge");
    }
    if found.joliet.is_some() {
        extensions.push("Joliet");
    }
    if !extensions.is_empty() {
        facts.push(("extensions", extensions.join(", ")));
    }
    let texts = [
        ("system", text(&raw.system_identifier)),
        ("volume set", text(&raw.volume_set_identifier)),
        ("publisher", text(&raw.publisher_identifier)),
        ("preparer", text(&raw.data_preparer_identifier)),
        ("application", text(&raw.application_identifier)),
        ("created", digits(&raw.creation)),
        ("modified", digits(&raw.modification)),
    ];
    let texts = texts.into_iter();
    facts.extend(texts.filter_map(|(name, value)| Some((name, value?))));
    if let Some(record) = found.boot {
        let images = boot::images(device, record)?;
        if let Some(images) = boot::describe(&images) {
            facts.push(("El Torito", images));
        }
    }
    Ok(Probe {
        variant: "iso9660".to_string(),
        label: text(&raw.volume_identifier),
        uuid: identity(raw),
        facts: facts
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
    })
}

/// A field of text padded with spaces; `None` if it is empty.
fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches([' ', '\0']);
    (!text.is_empty()).then(|| text.to_string())
}

/// `YYYY-MM-DD HH:MM:SS`, if the field is a time.
fn digits(raw: &RawLongTime) -> Option<String> {
    crate::time::long(raw)?;
    let text = core::str::from_utf8(&raw.digits).ok()?;
    let part = |from, to| text.get(from..to).unwrap_or_default();
    Some(alloc::format!(
        "{}-{}-{} {}:{}:{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    ))
}

/// What blkid takes for the UUID of such a volume: the time of its last change, or of its creation.
fn identity(raw: &RawVolumeDescriptor) -> Option<String> {
    let time = [&raw.modification, &raw.creation]
        .into_iter()
        .find(|time| crate::time::long(time).is_some())?;
    let text = core::str::from_utf8(&time.digits).ok()?;
    let part = |from, to| text.get(from..to).unwrap_or_default();
    let parts = [
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14),
        part(14, 16),
    ];
    Some(parts.join("-"))
}

/// Writes what is wrong with the medium to the kernel's messages and flattens it.
fn report(log: &Log, error: &Error) -> Errno {
    if !matches!(error, Error::NoInode(_)) {
        log.message(format_args!("{error}"));
    }
    error.into()
}

/// A mounted volume.
pub struct Mounted {
    iso: Iso,
    log: Log,
}

impl Mounted {
    fn told<T>(&self, result: FormatResult<T>) -> Result<T> {
        result.map_err(|error| report(&self.log, &error))
    }

    fn map_bytes(&self, inode: &Inode, offset: u64, len: u64) -> FormatResult<Extent> {
        let hole = Extent {
            place: Place::Hole,
            len: self.iso.medium.block_size(),
        };
        let extent = |section: &Section| {
            let skipped = offset.saturating_sub(section.offset);
            let start = section.start.saturating_add(skipped);
            let left = section.len.saturating_sub(skipped);
            let len = left.checked_next_multiple_of(self.iso.medium.block_size());
            Extent {
                place: Place::Device(start),
                len: len.unwrap_or(left),
            }
        };
        match &inode.content {
            Content::Sections(sections) => {
                let after = sections.partition_point(|section| section.offset <= offset);
                let sections = sections.get(..after).unwrap_or_default();
                // Sections without a byte have the same offset as the next.
                let section = sections.last().filter(|_| offset < inode.size);
                Ok(section.map_or(hole, extent))
            }
            Content::Unaligned(_) | Content::Compressed(_) => Ok(Extent {
                place: Place::Opaque,
                len: inode.size.saturating_sub(offset).max(1),
            }),
            Content::Sparse(_) if offset >= inode.size => Ok(hole),
            Content::Sparse(file) => {
                let piece = self.iso.sparse_piece(inode.ino, file, offset, len)?;
                let (place, len) = match piece {
                    Piece::Hole(len) => (Place::Hole, len),
                    Piece::Data(len) => (Place::Opaque, len),
                };
                Ok(Extent { place, len })
            }
            Content::Unsupported(what) => Err(Error::Unsupported(Where::Data(inode.ino), what)),
            Content::Directory(_) | Content::Link(_) | Content::BrokenLink(_) | Content::None => {
                Ok(hole)
            }
        }
    }

    fn read_opaque(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> FormatResult<()> {
        match &inode.content {
            Content::Compressed(file) => self.iso.read_compressed(inode.ino, file, offset, buf),
            Content::Sparse(file) => self.iso.read_sparse(inode.ino, file, offset, buf),
            Content::Unaligned(sections) => {
                let left = inode.size.saturating_sub(offset);
                let len = crate::types::index(left.min(number(buf.len())));
                let (data, rest) = buf.split_at_mut(len);
                rest.fill(0);
                self.iso.read_sections(inode.ino, sections, offset, data)
            }
            _ => Err(Error::Unsupported(Where::Data(inode.ino), "content")),
        }
    }
}

impl FileSystem for Mounted {
    type Inode = Inode;

    fn root(&self) -> Ino {
        Ino(self.iso.root)
    }

    fn limits(&self) -> Limits {
        let block_size = u32::try_from(self.iso.medium.block_size()).unwrap_or(2048);
        Limits {
            time_granularity: 10_000_000,
            ..Limits::read_only(block_size)
        }
    }

    fn statistics(&self) -> Result<FsStatistics> {
        Ok(FsStatistics {
            block_size: self.limits().block_size,
            blocks: self.iso.blocks,
            ..FsStatistics::default()
        })
    }

    fn load(&self, ino: Ino) -> Result<Inode> {
        self.told(self.iso.inode(ino.0))
    }

    fn attributes(&self, inode: &Inode) -> Attributes {
        Attributes {
            nlink: u64::from(inode.links),
            uid: inode.uid,
            gid: inode.gid,
            rdev: DeviceNumber {
                major: inode.device.0,
                minor: inode.device.1,
            },
            blocks: blocks(inode),
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            birthtime: inode.birthtime,
            ..Attributes::new(Ino(inode.ino), inode.file_type, inode.mode, inode.size)
        }
    }

    fn lookup(&self, dir: &Inode, name: Name<'_>) -> Result<Found> {
        let entry = self.told(self.iso.lookup(dir, name.bytes()))?;
        Ok(match entry {
            Some(entry) => Found::Entry(Ino(entry.ino), DirSlot::default()),
            None => Found::Absent(DirSlot::default()),
        })
    }

    fn parent(&self, dir: &Inode) -> Result<Ino> {
        self.told(self.iso.parent(dir)).map(Ino)
    }

    fn read_dir(&self, dir: &Inode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        let wanted = emit.wants_attributes();
        let listed = self
            .iso
            .list(dir, from.0, wanted, |name, entry, position, inode| {
                let shown = DirEntry {
                    name,
                    ino: Ino(entry.ino),
                    file_type: entry.is_directory.map(|is_directory| {
                        if is_directory {
                            FileType::Directory
                        } else {
                            FileType::Regular
                        }
                    }),
                    next: DirCookie(position),
                };
                match inode {
                    Some(inode) => emit.emit_with(shown, &self.attributes(inode)),
                    None => emit.emit(shown),
                }
            });
        self.told(listed)
    }

    fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        match &inode.content {
            Content::Link(target) => Ok(target.clone()),
            Content::BrokenLink(fault) => self.told(Err(fault.clone())),
            _ => Err(Errno::EINVAL),
        }
    }

    fn map(&self, inode: &Inode, offset: u64, len: u64) -> Result<Extent> {
        self.told(self.map_bytes(inode, offset, len))
    }

    fn read_pages(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.told(self.read_opaque(inode, offset, buf))
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        Some(&self.iso.device)
    }
}

/// Space on the medium in units of 512 bytes.
fn blocks(inode: &Inode) -> u64 {
    let bytes = match &inode.content {
        Content::Sections(_) | Content::Unaligned(_) | Content::Directory(_) => inode.size,
        Content::Compressed(file) => file.packed_len(),
        Content::Sparse(file) => file.recorded(),
        _ => 0,
    };
    bytes.div_ceil(512)
}
