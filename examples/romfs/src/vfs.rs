//! The driver contract over the format.

use crate::header::{self, Error, Header, NAME_MAX, Volume};
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use rumpkern::{FileType, Log, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result};
use rumpvfs::{
    fs::{
        AnyFileSystem, Attributes, DirCookie, DirEmit, DirEntry, Extent, FileSystem, FsStatistics,
        FsType, Ino, Limits, MountContext, Place, Probe, erase,
    },
    name::Name,
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
        let log = context.log;
        if !header::is_volume(&*device)? {
            log.message(format_args!("no romfs"));
            return Err(Errno::EINVAL);
        }
        let volume = Volume::open(device).map_err(|error| flatten(&log, error))?;
        log.message(format_args!(
            "volume {:?}",
            String::from_utf8_lossy(&volume.label)
        ));
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

/// The file that an entry of a directory is.
fn ino(entry: &Header) -> Ino {
    let hard_link = entry.kind == 0;
    Ino(u64::from(if hard_link { entry.info } else { entry.at }))
}

impl FileSystem for Mounted {
    type Inode = Header;

    fn root(&self) -> Ino {
        Ino(u64::from(self.volume.root))
    }

    fn limits(&self) -> Limits {
        Limits {
            name_max: NAME_MAX as usize,
            ..Limits::read_only(BLOCK)
        }
    }

    fn statistics(&self) -> Result<FsStatistics> {
        Ok(FsStatistics {
            block_size: BLOCK,
            blocks: u64::from(self.volume.size.div_ceil(BLOCK)),
            ..FsStatistics::default()
        })
    }

    fn load(&self, ino: Ino) -> Result<Header> {
        let at = u32::try_from(ino.0).map_err(|_| Errno::ESTALE)?;
        let header = self.volume.header(at);
        let header = header.map_err(|error| flatten(&self.log, error))?;
        // The number of no file: a hard link is a name of another.
        if file_type(&header).is_none() {
            return Err(Errno::ESTALE);
        }
        Ok(header)
    }

    fn attributes(&self, inode: &Header) -> Attributes {
        // `load` lets no other in.
        let file_type = file_type(inode).unwrap_or(FileType::Regular);
        let mode = match file_type {
            FileType::Symlink => 0o777,
            FileType::Directory => 0o755,
            _ if inode.executable => 0o755,
            _ => 0o644,
        };
        let ino = Ino(u64::from(inode.at));
        Attributes {
            rdev: DeviceNumber {
                major: inode.info >> 16,
                minor: inode.info & 0xffff,
            },
            ..Attributes::new(ino, file_type, mode, u64::from(inode.size))
        }
    }

    fn parent(&self, dir: &Header) -> Result<Ino> {
        for entry in self.volume.list(dir.info & !15) {
            let entry = entry.map_err(|error| flatten(&self.log, error))?;
            if entry.name == b".." {
                return Ok(ino(&entry));
            }
        }
        Err(flatten(&self.log, Error::Damaged(dir.at, "it has no `..`")))
    }

    fn read_dir(&self, dir: &Header, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        // A position is the entry that was listed last, which is listed again and passed over.
        let last = u32::try_from(from.0).map_err(|_| Errno::EINVAL)?;
        let first = if last == 0 { dir.info & !15 } else { last };
        for entry in self.volume.list(first) {
            let entry = entry.map_err(|error| flatten(&self.log, error))?;
            if entry.at == last || Name::new(&entry.name).is_err() {
                continue;
            }
            let took = emit.emit(DirEntry {
                name: &entry.name,
                ino: ino(&entry),
                file_type: file_type(&entry),
                next: DirCookie(u64::from(entry.at)),
            });
            if !took {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, inode: &Header) -> Result<Vec<u8>> {
        let len = inode.size.min(4095);
        let target = self.volume.read(inode.data, len);
        target.map_err(|error| flatten(&self.log, error))
    }

    fn map(&self, inode: &Header, offset: u64, _len: u64) -> Result<Extent> {
        // Whole blocks of the file lie on the device in one piece. What is left is less than a block, and what follows it on
        // the device is another file's.
        let whole = u64::from(inode.size / BLOCK * BLOCK);
        Ok(if offset < whole {
            Extent {
                place: Place::Device(u64::from(inode.data) + offset),
                len: whole - offset,
            }
        } else {
            Extent {
                place: Place::Opaque,
                len: u64::from(BLOCK),
            }
        })
    }

    fn read_pages(&self, inode: &Header, offset: u64, buf: &mut [u8]) -> Result<()> {
        let left = u64::from(inode.size).saturating_sub(offset);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let (data, behind) = buf.split_at_mut(len);
        behind.fill(0);
        let device = &self.volume.device;
        device.read_at(u64::from(inode.data) + offset, data)
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        Some(&self.volume.device)
    }
}
