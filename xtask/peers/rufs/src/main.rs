//! The crate rufs, which reads and writes UFS2.
//!
//! It looks for the superblock at 64 KiB alone, where newfs puts it. That of makefs is at 8 KiB; so as long as the volume is being opened,
//! this program shows it at 64 KiB as well.

#[path = "../../jobs.rs"]
mod jobs;

use jobs::{About, Entry, Kind, Result, Volume};
use rufs::{BlockReader, InodeNum, InodeType, Ufs};
use std::{
    cell::Cell,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    rc::Rc,
    time::UNIX_EPOCH,
};

const EXPECTED: u64 = 65_536;
const ACTUAL: u64 = 8_192;
const LENGTH: u64 = 8_192;
/// What the crate itself reads at a time is this: the block size of the host's file system.
const BLOCK: usize = 4_096;

/// The image.
struct Image {
    file: File,
    at: u64,
    opening: Rc<Cell<bool>>,
}

impl Read for Image {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt as _;
        let moved = self.opening.get() && (EXPECTED..EXPECTED + LENGTH).contains(&self.at);
        let from = if moved {
            self.at - EXPECTED + ACTUAL
        } else {
            self.at
        };
        let count = self.file.read_at(buffer, from)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Image {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

impl Write for Image {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Disk(Ufs<Image>);

fn main() -> Result {
    jobs::run::<Disk>()
}

impl Volume for Disk {
    type Node = InodeNum;

    fn open(image: &str) -> Result<Self> {
        let file = File::open(image)?;
        let mut magic = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut magic, ACTUAL + 1372)?;
        let opening = Rc::new(Cell::new(magic == 0x1954_0119_u32.to_le_bytes()));
        let image = Image {
            file,
            at: 0,
            opening: opening.clone(),
        };
        let ufs = Ufs::new(BlockReader::new(image, BLOCK, false))?;
        opening.set(false);
        Ok(Self(ufs))
    }

    fn find(&mut self, path: &str) -> Result<InodeNum> {
        let mut found = InodeNum::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            found = self.0.dir_lookup(found, OsStr::new(name))?;
        }
        Ok(found)
    }

    fn entries(&mut self, folder: &InodeNum) -> Result<Vec<Entry<InodeNum>>> {
        let mut entries = vec![];
        self.0.dir_iter(*folder, |name, node, kind| {
            if name != "." && name != ".." {
                entries.push(Entry {
                    name: name.to_string_lossy().into_owned(),
                    kind: match kind {
                        InodeType::RegularFile => Kind::Regular,
                        InodeType::Directory => Kind::Directory,
                        _ => Kind::Other,
                    },
                    node,
                });
            }
            None::<()>
        })?;
        Ok(entries)
    }

    fn about(&mut self, node: &InodeNum) -> Result<About> {
        let about = self.0.inode_attr(*node)?;
        let modified = about.mtime.duration_since(UNIX_EPOCH)?;
        Ok(About {
            mode: about.perm.into(),
            uid: about.uid,
            gid: about.gid,
            size: about.size,
            modified: (modified.as_secs().try_into()?, modified.subsec_nanos()),
        })
    }

    fn copy(&mut self, file: &InodeNum, out: &mut impl Write, buffer: &mut [u8]) -> Result {
        let mut at = 0;
        loop {
            let count = self.0.inode_read(*file, at, buffer)?;
            if count == 0 {
                return Ok(());
            }
            out.write_all(&buffer[..count])?;
            at += count as u64;
        }
    }
}
