//! The driver contract over the format.

use crate::header::{self, Error, Header, NAME_MAX, Volume};
use alloc::{boxed::Box, string::String, sync::Arc, vec, vec::Vec};
use rumpkern::{FileType, Log, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result};
use rumpvfs::fs::{
    AnyFileSystem, Attributes, DirCookie, DirEmit, DirEntry, Extent, FileSystem, FsStatistics,
    FsType, Ino, Limits, MountContext, Place, Probe, erase,
};

/// Unit in which `map` is asked.
const BLOCK: u32 = 512;

/// The type, for `mount` and for those who ask what a device holds.
pub struct Romfs;

impl FsType for Romfs {
    fn name(&self) -> &'static str {
        "romfs"
    }

    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<Probe>> {
        Ok(header::is_volume(device)?.then(|| Probe {
            variant: "romfs".into(),
            ..Probe::default()
        }))
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        context.no_options()?;
        let device = context.read_only_device()?;
        if !header::is_volume(&*device)? {
            return Err(Errno::EINVAL);
        }
        let log = context.log;
        let volume = Volume::open(device).map_err(|error| flatten(&log, error))?;
        let label = String::from_utf8_lossy(&volume.label);
        log.message(format_args!("volume {label:?}"));
        Ok(erase(Mounted { volume, log }))
    }
}

/// A mounted volume. Its inodes are checked headers.
struct Mounted {
    volume: Volume,
    log: Log,
}

/// The text of an error goes to the kernel's messages, its number to the caller.
fn flatten(log: &Log, error: Error) -> Errno {
    log.message(format_args!("{error}"));
    match error {
        Error::Device(errno) => errno,
        Error::Damaged(..) => Errno::EIO,
    }
}

/// The type of a header; `None` for a hard link, which has none of its own.
fn file_type(header: &Header) -> Option<FileType> {
    Some(match header.kind {
        1 => FileType::Directory,
        2 => FileType::Regular,
        3 => FileType::Symlink,
        4 => FileType::Block,
        5 => FileType::Character,
        6 => FileType::Socket,
        7 => FileType::Fifo,
        _ => return None,
    })
}

impl FileSystem for Mounted {
    type Inode = Header;

    fn root(&self) -> Ino {
        Ino(self.volume.root.into())
    }

    fn limits(&self) -> Limits {
        Limits {
            name_max: NAME_MAX,
            ..Limits::read_only(BLOCK)
        }
    }

    fn statistics(&self) -> Result<FsStatistics> {
        Ok(FsStatistics {
            block_size: BLOCK,
            blocks: self.volume.size.div_ceil(BLOCK).into(),
            ..FsStatistics::default()
        })
    }

    fn load(&self, ino: Ino) -> Result<Header> {
        let at = u32::try_from(ino.0).map_err(|_| Errno::ESTALE)?;
        let header = self.volume.header(at);
        let header = header.map_err(|error| flatten(&self.log, error))?;
        // A hard link is no file but a name of another.
        file_type(&header).map(|_| header).ok_or(Errno::ESTALE)
    }

    fn attributes(&self, inode: &Header) -> Attributes {
        let file_type = file_type(inode).unwrap_or(FileType::Regular);
        let mode = match file_type {
            FileType::Symlink => 0o777,
            FileType::Directory => 0o755,
            _ if inode.executable => 0o755,
            _ => 0o644,
        };
        let (major, minor) = (inode.info >> 16, inode.info & 0xffff);
        Attributes {
            rdev: DeviceNumber { major, minor },
            ..Attributes::new(Ino(inode.at.into()), file_type, mode, inode.size.into())
        }
    }

    fn read_dir(&self, dir: &Header, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        // A position is the entry that was listed last, which is passed over.
        let last = u32::try_from(from.0).map_err(|_| Errno::EINVAL)?;
        let first = if last == 0 { dir.info & !15 } else { last };
        for entry in self.volume.list(first) {
            let entry = entry.map_err(|error| flatten(&self.log, error))?;
            let hard_link = entry.kind == 0;
            let listed = DirEntry {
                name: &entry.name,
                ino: Ino(u64::from(if hard_link { entry.info } else { entry.at })),
                file_type: file_type(&entry),
                next: DirCookie(entry.at.into()),
            };
            if entry.at != last && !emit.emit(listed) {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, inode: &Header) -> Result<Vec<u8>> {
        let mut target = vec![0; inode.size.min(4095) as usize];
        self.volume.device.read_at(inode.data.into(), &mut target)?;
        Ok(target)
    }

    fn map(&self, inode: &Header, offset: u64, _len: u64) -> Result<Extent> {
        // Whole blocks lie on the device in one piece. What follows the rest of a file there is another file's.
        let whole = u64::from(inode.size / BLOCK * BLOCK);
        let (place, len) = match whole.checked_sub(offset) {
            Some(left) if left > 0 => (Place::Device(u64::from(inode.data) + offset), left),
            _ => (Place::Opaque, BLOCK.into()),
        };
        Ok(Extent { place, len })
    }

    fn read_pages(&self, inode: &Header, offset: u64, buf: &mut [u8]) -> Result<()> {
        let left = u64::from(inode.size).saturating_sub(offset);
        let (data, behind) = buf.split_at_mut(left.min(buf.len() as u64) as usize);
        behind.fill(0);
        let at = u64::from(inode.data) + offset;
        self.volume.device.read_at(at, data)
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        Some(&self.volume.device)
    }
}
