//! The adapter to `rumpvfs`: the only file that names it.

use crate::{
    error::{Error, Place as Where, Result as FormatResult},
    inode::{Content, FileType as InodeType, Inode},
    layout::{ROOT_INO, volume_flag},
    options::Options,
    superblock::{self, Maker, Superblock},
    types::round_up,
    volume::Ffs,
};
use alloc::{
    boxed::Box,
    format,
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
        Found, FsStatistics, FsType, Ino, Limits, MountContext, Place, Probe, Protection, erase,
    },
    name::{NAME_MAX, Name},
};

/// The component: registers the type `ffs`.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "ffs",
        phase: Phase::Driver,
        requires: &[rumpvfs::component],
        init: |kernel| kernel.register_fs(Arc::new(FfsType)),
    }
}

/// The file system type `ffs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FfsType;

impl FsType for FfsType {
    fn name(&self) -> &'static str {
        "ffs"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["ufs", "ffs1", "ffs2"]
    }

    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<Probe>> {
        let Some(found) = superblock::find(device)? else {
            return Ok(None);
        };
        Ok(Some(match found.check() {
            Ok(superblock) => describe(&superblock),
            Err(error) => Probe {
                variant: "ffs".to_string(),
                facts: vec![("damage".to_string(), error.to_string())],
                ..Probe::default()
            },
        }))
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        let log = context.log.clone();
        let options = Options::parse(&context.options).map_err(|error| report(&log, &error))?;
        let device = context.device.clone().ok_or(Errno::EINVAL)?;
        if !context.read_only {
            log.message(format_args!(
                "writing is not supported yet; mount it read-only"
            ));
            return Err(Errno::EROFS);
        }
        let ffs = Ffs::open(device, &*context.host, context.cache_bytes, options)
            .map_err(|error| report(&log, &error))?;
        Ok(erase(Mounted { ffs, log }))
    }
}

/// What the superblock says.
fn describe(superblock: &Superblock) -> Probe {
    let mut facts = vec![
        ("block size", superblock.block_size().to_string()),
        ("fragment size", superblock.frag_size().to_string()),
        ("fragments", superblock.size.to_string()),
        ("inodes", superblock.inodes().to_string()),
        ("cylinder groups", superblock.groups.to_string()),
        ("byte order", superblock.order.name().to_string()),
        ("superblock", format!("at byte {}", superblock.at)),
        ("state", state(superblock)),
    ];
    match superblock.maker {
        Maker::NetBsd => facts.push(("made by", "NetBSD".to_string())),
        Maker::FreeBsd => facts.push(("made by", "FreeBSD".to_string())),
        Maker::Unknown => {}
    }
    let features = features(superblock);
    if !features.is_empty() {
        facts.push(("features", features.join(", ")));
    }
    if !superblock.mounted_on.is_empty() {
        let path = String::from_utf8_lossy(&superblock.mounted_on);
        facts.push(("last mounted on", path.into_owned()));
    }
    let [first, second] = superblock.id;
    Probe {
        variant: superblock.variant().to_string(),
        label: superblock.label(),
        // As blkid has it.
        uuid: (superblock.id != [0, 0]).then(|| format!("{first:08x}{second:08x}")),
        facts: facts
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
    }
}

fn state(superblock: &Superblock) -> String {
    if superblock.log.is_some() {
        return "journal to be replayed".to_string();
    }
    match superblock.clean {
        0 => "not clean",
        1 => "clean",
        _ => "in use, clean before",
    }
    .to_string()
}

fn features(superblock: &Superblock) -> Vec<&'static str> {
    let free_bsd = superblock.maker == Maker::FreeBsd;
    let flags = [
        (volume_flag::SOFT_UPDATES, "soft updates"),
        (volume_flag::SUJ, "soft updates journal"),
        (volume_flag::ACLS, "ACLs"),
        (volume_flag::MULTILABEL, "MAC labels"),
        (volume_flag::GJOURNAL, "gjournal"),
        (
            volume_flag::WAPBL,
            if free_bsd { "NFSv4 ACLs" } else { "WAPBL" },
        ),
        (
            volume_flag::QUOTA2,
            if free_bsd { "check hashes" } else { "quota" },
        ),
        (volume_flag::TRIM, "trim"),
        (volume_flag::NEEDS_FSCK, "needs fsck"),
    ];
    let set = flags.iter().filter(|(bit, _)| superblock.flags & bit != 0);
    let mut names: Vec<_> = set.map(|(_, name)| *name).collect();
    if superblock.has_snapshots {
        names.push("snapshots");
    }
    names
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
    ffs: Ffs,
    log: Log,
}

impl Mounted {
    fn told<T>(&self, result: FormatResult<T>) -> Result<T> {
        result.map_err(|error| report(&self.log, &error))
    }

    fn map_bytes(&self, inode: &Inode, offset: u64, len: u64) -> FormatResult<Extent> {
        let superblock = &self.ffs.superblock;
        if inode.is_snapshot() {
            let place = Where::Data(inode.ino);
            return Err(Error::Unsupported(place, "reading a snapshot"));
        }
        let end = round_up(inode.size, superblock.frag_bits);
        if offset >= end {
            return Ok(Extent {
                place: Place::Hole,
                len: superblock.block_size(),
            });
        }
        let within = offset & superblock.block_size().wrapping_sub(1);
        let first = offset.wrapping_shr(superblock.block_bits);
        let most = round_up(within.saturating_add(len), superblock.block_bits);
        let most = most.wrapping_shr(superblock.block_bits);
        let run = self.ffs.run(inode, first, most)?;
        let reach = run.blocks.saturating_mul(superblock.block_size());
        let left = end.saturating_sub(offset);
        Ok(Extent {
            place: match run.frag {
                Some(frag) => {
                    let start = frag.saturating_mul(superblock.frag_size());
                    Place::Device(start.saturating_add(within))
                }
                None => Place::Hole,
            },
            len: reach.saturating_sub(within).min(left),
        })
    }

    fn xattr(&self, inode: &Inode, wanted: &[u8]) -> Result<Vec<u8>> {
        let mut found = None;
        self.told(self.ffs.each_attribute(inode, |attribute| {
            if wanted.strip_prefix(attribute.prefix) == Some(attribute.name) {
                found = Some(attribute.value.to_vec());
            }
        }))?;
        found.ok_or(Errno::ENOATTR)
    }
}

impl FileSystem for Mounted {
    type Inode = Inode;

    fn root(&self) -> Ino {
        Ino(ROOT_INO)
    }

    fn limits(&self) -> Limits {
        let superblock = &self.ffs.superblock;
        Limits {
            name_max: NAME_MAX,
            file_size_max: superblock.max_file_size(),
            link_max: 32_767,
            ..Limits::read_only(1_u32.wrapping_shl(superblock.frag_bits))
        }
    }

    fn statistics(&self) -> Result<FsStatistics> {
        let superblock = &self.ffs.superblock;
        let whole = superblock.free.blocks;
        let free = whole
            .saturating_mul(1_u64.wrapping_shl(superblock.ratio_bits()))
            .saturating_add(superblock.free.frags);
        let kept = superblock
            .data_size
            .saturating_mul(superblock.min_free.into());
        Ok(FsStatistics {
            block_size: self.limits().block_size,
            blocks: superblock.data_size,
            blocks_free: free,
            blocks_available: free.saturating_sub(kept.wrapping_div(100)),
            // Two numbers are never used.
            files: superblock.inodes().saturating_sub(ROOT_INO),
            files_free: superblock.free.inodes,
        })
    }

    fn load(&self, ino: Ino) -> Result<Inode> {
        self.told(self.ffs.inode(ino.0))
    }

    fn attributes(&self, inode: &Inode) -> Attributes {
        let (major, minor) = match inode.content {
            Content::Device(major, minor) => (major, minor),
            _ => (0, 0),
        };
        Attributes {
            ino: Ino(inode.ino),
            generation: inode.generation.into(),
            file_type: file_type(inode.file_type),
            mode: inode.mode,
            nlink: inode.links.into(),
            uid: inode.uid,
            gid: inode.gid,
            rdev: DeviceNumber { major, minor },
            size: inode.size,
            blocks: inode.blocks,
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            birthtime: inode.birthtime,
            flags: inode.flags,
            protection: Protection {
                immutable: inode.is_immutable(),
                append_only: inode.is_append_only(),
            },
            has_acl: false,
        }
    }

    fn lookup(&self, dir: &Inode, name: Name<'_>) -> Result<Found> {
        let found = self.told(self.ffs.lookup(dir, name.bytes()))?;
        Ok(match found {
            Some(ino) => Found::Entry(Ino(ino), DirSlot::default()),
            None => Found::Absent(DirSlot::default()),
        })
    }

    fn parent(&self, dir: &Inode) -> Result<Ino> {
        self.told(self.ffs.parent(dir)).map(Ino)
    }

    fn read_dir(&self, dir: &Inode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        let listed = self.ffs.list(dir, from.0, |record| {
            if Name::new(record.name).is_err() {
                self.log.message(format_args!(
                    "{}: no name: {:?}",
                    Where::Record(dir.ino, record.offset),
                    String::from_utf8_lossy(record.name)
                ));
                return true;
            }
            emit.emit(DirEntry {
                name: record.name,
                ino: Ino(record.ino),
                file_type: record.file_type.map(file_type),
                next: DirCookie(record.next),
            })
        });
        self.told(listed)
    }

    fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        match &inode.content {
            Content::Link(target) => Ok(target.clone()),
            _ => self.told(self.ffs.read_all(inode, Where::Link(inode.ino))),
        }
    }

    fn map(&self, inode: &Inode, offset: u64, len: u64) -> Result<Extent> {
        self.told(self.map_bytes(inode, offset, len))
    }

    fn get_xattr(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        if !self.ffs.has_attributes() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.xattr(inode, name)
    }

    fn list_xattrs(&self, inode: &Inode, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        if !self.ffs.has_attributes() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.told(self.ffs.each_attribute(inode, |attribute| {
            each(&[attribute.prefix, attribute.name].concat());
        }))
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        Some(&self.ffs.device)
    }
}

fn file_type(inode_type: InodeType) -> FileType {
    match inode_type {
        InodeType::Regular => FileType::Regular,
        InodeType::Directory => FileType::Directory,
        InodeType::Symlink => FileType::Symlink,
        InodeType::Character => FileType::Character,
        InodeType::Block => FileType::Block,
        InodeType::Fifo => FileType::Fifo,
        InodeType::Socket => FileType::Socket,
    }
}
