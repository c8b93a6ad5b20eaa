//! romfs, the read-only format of `genromfs`: the example of `docs/writing-a-driver.md`.
//!
//! Format: Linux, Documentation/filesystems/romfs.rst. Numbers are big-endian. A superblock, then headers of files, each a multiple of
//! 16 bytes with the file's name in it and followed by the file's data. The headers of a directory are a list; a file's number is
//! the place of its header.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::array;
use rumpkern::{Component, FileType, Log, Phase, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result};
use rumpvfs::{KernelVfs as _, fs::*, name::NAME_MAX};

/// The driver, for the builder of a kernel.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "romfs",
        phase: Phase::Driver,
        requires: &[rumpvfs::component],
        init: |kernel| kernel.register_fs(Arc::new(Romfs)),
    }
}

/// The type, for `mount` and for those who ask what a device holds.
struct Romfs;

impl FsType for Romfs {
    fn name(&self) -> &'static str {
        "romfs"
    }

    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<Probe>> {
        let mut start = [0; 8];
        if device.len() >= 8 {
            device.read_at(0, &mut start)?;
        }
        Ok((&start == b"-rom1fs-").then(|| Probe::of("romfs")))
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        context.no_options()?;
        let device = context.read_only_device()?;
        self.probe(&*device)?.ok_or(Errno::EINVAL)?;
        let mut volume = Volume {
            size: u32::try_from(device.len()).unwrap_or(u32::MAX),
            root: 0,
            device,
            log: context.log,
        };
        // The superblock is a header whose name is the label and whose data are the other headers.
        let superblock = volume.header(0)?;
        (volume.size, volume.root) = (superblock.size, superblock.data);
        let label = String::from_utf8_lossy(&superblock.name);
        volume.log.message(format_args!("volume {label:?}"));
        Ok(erase(volume))
    }
}

/// A mounted volume.
struct Volume {
    /// Bytes of the volume: nothing of it is behind.
    size: u32,
    /// Place of the root directory's header.
    root: u32,
    device: Arc<dyn BlockDevice>,
    log: Log,
}

/// The inode: a header, checked.
struct Header {
    at: u32,
    /// Place of the directory's next header, or 0; in its last four bits whether the file is executable, and the type.
    first: u32,
    /// What it means depends on the type: first entry of a directory, target of a hard link, device number.
    info: u32,
    size: u32,
    name: Vec<u8>,
    /// Place of the data, which lies within the volume.
    data: u32,
}

impl Header {
    /// `None` for a hard link, which is no file but a name of another.
    fn file_type(&self) -> Option<FileType> {
        use FileType::{Block, Character, Directory, Fifo, Regular, Socket, Symlink};
        let types = [Directory, Regular, Symlink, Block, Character, Socket, Fifo];
        (self.first as usize & 7).checked_sub(1).map(|n| types[n])
    }
}

impl Volume {
    /// The text goes to the kernel's messages, the number to the caller.
    fn damaged<T>(&self, at: u32, what: &str) -> Result<T> {
        self.log.message(format_args!("header at {at:#x}: {what}"));
        Err(Errno::EIO)
    }

    /// Reads the header at a place that somebody names.
    fn header(&self, at: u32) -> Result<Header> {
        if !at.is_multiple_of(16) || at < self.root {
            return self.damaged(at, "no place for a header");
        }
        let mut bytes = [0; 512];
        let len = self.size.saturating_sub(at).min(512) as usize;
        self.device.read_at(at.into(), &mut bytes[..len])?;
        let name = bytes[16..].split(|byte| *byte == 0).next().unwrap_or(&[]);
        let end = 16 + (name.len() + 1).next_multiple_of(16);
        if name.len() > NAME_MAX || end > len {
            return self.damaged(at, "its name has no end");
        }
        // The sum of a header is 0; that of the superblock is over 512 bytes.
        let summed = if at == 0 { len } else { end };
        let mut words = bytes.as_chunks().0.iter().copied().map(u32::from_be_bytes);
        let sum = words.clone().take(summed / 4).fold(0, u32::wrapping_add);
        if sum != 0 {
            return self.damaged(at, "wrong checksum");
        }
        let [first, info, size] = array::from_fn(|_| words.next().unwrap_or(0));
        let data = at + end as u32;
        // Of the others only regular files and symbolic links have data. The superblock's size is the volume's.
        let start = if at == 0 { 0 } else { data };
        let has_data = at == 0 || matches!(first & 7, 2 | 3);
        if has_data && start.checked_add(size).is_none_or(|end| end > self.size) {
            return self.damaged(at, "its data is behind the end of the volume");
        }
        let name = name.to_vec();
        Ok(Header {
            at,
            first,
            info,
            size,
            name,
            data,
        })
    }
}

impl FileSystem for Volume {
    type Inode = Header;

    fn root(&self) -> Ino {
        Ino(self.root.into())
    }

    fn limits(&self) -> Limits {
        Limits::read_only(512)
    }

    fn load(&self, ino: Ino) -> Result<Header> {
        let at = u32::try_from(ino.0).map_err(|_| Errno::ESTALE)?;
        let header = self.header(at)?;
        header.file_type().map(|_| header).ok_or(Errno::ESTALE)
    }

    fn attributes(&self, inode: &Header) -> Attributes {
        let file_type = inode.file_type().unwrap_or(FileType::Regular);
        let mode = match file_type {
            FileType::Symlink => 0o777,
            _ if inode.first & 8 != 0 => 0o755,
            _ => 0o644,
        };
        let ino = Ino(inode.at.into());
        Attributes {
            rdev: DeviceNumber::new(inode.info >> 16, inode.info & 0xffff),
            ..Attributes::new(ino, file_type, mode, inode.size.into())
        }
    }

    /// A position is the place of the entry that comes next; 1, where none can be, is the end.
    fn read_dir(&self, dir: &Header, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        let mut at = match u32::try_from(from.0).map_err(|_| Errno::EINVAL)? {
            0 => dir.info & !15,
            next => next,
        };
        while at > 1 {
            let entry = self.header(at)?;
            let next = entry.first & !15;
            // A list that goes backwards could go in a circle.
            if next != 0 && next <= at {
                return self.damaged(at, "the list goes backwards");
            }
            let file_type = entry.file_type();
            let listed = DirEntry {
                name: &entry.name,
                ino: Ino(file_type.map_or(entry.info, |_| at).into()),
                file_type,
                next: DirCookie(next.max(1).into()),
            };
            if !emit.emit(listed) {
                break;
            }
            at = next;
        }
        Ok(())
    }

    fn map(&self, inode: &Header, offset: u64, _len: u64) -> Result<Extent> {
        let place = Place::Device(u64::from(inode.data) + offset);
        let len = u64::from(inode.size).saturating_sub(offset);
        Ok(Extent { place, len })
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        Some(&self.device)
    }
}
