//! The adapter to `rumpvfs`: the only file that names it.

use crate::{
    boot::{self, Boot, Identity},
    error::{Error, Place as Where, Result as FormatResult},
    file_write::{Change, LARGEST},
    fs::Msdosfs,
    inode::{Inode, ROOT},
    name,
    names::Renaming,
    options::Options,
    probe,
};
use alloc::{
    boxed::Box,
    string::{String, ToString},
    sync::{Arc, Weak},
    vec,
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, Ordering};
use rumpbio::{Handle, LogRecord};
use rumpkern::{Component, FileType, Log, Phase, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Result, Timespec};
use rumpvfs::{
    KernelVfs as _,
    fs::{
        AnyFileSystem, Attributes, DirCookie, DirEmit, DirEntry, DirSlot, Extent, FileSystem,
        FlagNumbers, Found, FsStatistics, FsType, Ino, Limits, MountContext, NewInode, NewKind,
        Place, Placed, Probe, Protection, Rename, Renamed, SetAttributes, Space, WriteOrdered,
        erase,
    },
    name::{NAME_MAX, Name},
};

/// The component: registers the type `msdosfs`.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "msdosfs",
        phase: Phase::Driver,
        requires: &[rumpvfs::component],
        init: |kernel| kernel.register_fs(Arc::new(MsdosType)),
    }
}

/// The file system type `msdosfs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MsdosType;

impl FsType for MsdosType {
    fn name(&self) -> &'static str {
        "msdosfs"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["msdos", "vfat", "fat"]
    }

    fn probe(&self, device: &dyn BlockDevice) -> Result<Option<Probe>> {
        match boot::read(device) {
            Ok(found) => Ok(found.map(|(boot, identity)| describe(device, &boot, &identity))),
            Err(Error::Device(_, errno)) => Err(errno),
            // It looks like a boot sector and is none that could be used.
            Err(_) => Ok(None),
        }
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        let log = context.log.clone();
        let options = Options::parse(&context.options).map_err(|error| {
            log.message(format_args!("{error}"));
            Errno::EINVAL
        })?;
        let device = context.device.clone().ok_or(Errno::EINVAL)?;
        let fs = Msdosfs::open(device, &*context.host, context.cache_bytes, options);
        let fs = Arc::new(fs.map_err(|error| report(&log, &error))?);
        if fs.was_dirty() {
            log.message(format_args!(
                "the volume was not unmounted; it may have to be repaired"
            ));
        }
        if context.read_only && fs.cut_off() {
            log.message(format_args!("the image is cut off: some files do not read"));
        }
        fs.volume().set_hooks(Arc::new(CommitHooks {
            fs: Arc::downgrade(&fs),
            ordered: context.ordered.clone(),
        }));
        if !context.read_only {
            fs.begin_writing().map_err(|error| report(&log, &error))?;
            tell_shared(&fs, &log);
        }
        Ok(erase(Mounted {
            fs,
            log,
            writable: AtomicBool::new(!context.read_only),
        }))
    }
}

/// Says that some files cannot be changed.
fn tell_shared(fs: &Msdosfs, log: &Log) {
    if fs.any_shared() {
        log.message(format_args!(
            "there are clusters that belong to two files: the volume should be checked"
        ));
    }
}

/// What the volume asks for when it commits.
struct CommitHooks {
    fs: Weak<Msdosfs>,
    ordered: Arc<dyn WriteOrdered>,
}

impl rumpbio::Hooks for CommitHooks {
    fn commit_blocks(&self) -> usize {
        1
    }

    fn before_commit(&self, handle: &mut Handle<'_>) -> Result<()> {
        match self.fs.upgrade() {
            Some(fs) => fs.before_commit(handle),
            None => Ok(()),
        }
    }

    fn write_ordered(&self) -> Result<()> {
        self.ordered.write_ordered()?;
        match self.fs.upgrade() {
            Some(fs) if fs.order.needs_flush() => fs.device.flush(),
            _ => Ok(()),
        }
    }

    fn home_steps(&self, records: &[LogRecord]) -> Vec<Vec<LogRecord>> {
        match self.fs.upgrade() {
            Some(fs) => fs.order.of_closed(records),
            None => Vec::new(),
        }
    }
}

fn describe(device: &dyn BlockDevice, boot: &Boot, identity: &Identity) -> Probe {
    let state = if identity.dirty { "not clean" } else { "clean" };
    let mut facts = vec![
        ("sector size", boot.sector_size.to_string()),
        ("cluster size", boot.cluster_size().to_string()),
        ("clusters", boot.clusters.to_string()),
        ("FATs", boot.fats.to_string()),
        ("state", state.to_string()),
    ];
    let maker = String::from_utf8_lossy(&identity.oem_name);
    let maker = maker.trim_matches([' ', '\0']);
    if !maker.is_empty() {
        facts.push(("made by", maker.to_string()));
    }
    Probe {
        variant: boot.kind.name().to_string(),
        label: probe::label(device, boot, identity),
        uuid: identity.serial.clone(),
        facts: facts
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
    }
}

/// Writes what is wrong with the medium to the kernel's messages and flattens it.
fn report(log: &Log, error: &Error) -> Errno {
    if error.is_corruption() {
        log.message(format_args!("{error}"));
    }
    error.into()
}

/// A mounted volume.
pub struct Mounted {
    fs: Arc<Msdosfs>,
    log: Log,
    writable: AtomicBool,
}

impl Mounted {
    fn told<T>(&self, result: FormatResult<T>) -> Result<T> {
        result.map_err(|error| {
            if matches!(error, Error::NotOwned(_)) {
                // What was done before stays; who knows what else is wrong.
                let _ = self.fs.volume().commit();
                self.fs.volume().abort();
            }
            report(&self.log, &error)
        })
    }

    fn map_bytes(&self, inode: &Inode, offset: u64, len: u64) -> FormatResult<Extent> {
        let end = self.fs.data_end(inode);
        let Some(piece) = self.fs.piece(inode, offset)? else {
            if offset < end {
                let place = Where::Entry(0);
                let expected = "a chain that reaches to the file's end";
                return Err(Error::value(place, "offset", offset, expected));
            }
            return Ok(Extent {
                place: Place::Hole,
                len: len.max(u64::from(self.fs.boot().sector_size)),
            });
        };
        Ok(match end.checked_sub(offset).filter(|data| *data > 0) {
            Some(data) => Extent {
                place: Place::Device(piece.byte),
                len: piece.len.min(data),
            },
            None => Extent {
                place: Place::Unwritten(piece.byte),
                len: piece.len,
            },
        })
    }
}

impl FileSystem for Mounted {
    type Inode = Inode;

    fn root(&self) -> Ino {
        Ino(ROOT)
    }

    fn limits(&self) -> Limits {
        Limits {
            block_size: self.fs.boot().sector_size,
            name_max: NAME_MAX,
            file_size_max: LARGEST,
            link_max: 1,
            symlink_max: 0,
            time_granularity: 2_000_000_000,
            memory: false,
            revalidate: false,
            folds: true,
            flag_numbers: FlagNumbers::Own,
        }
    }

    fn statistics(&self) -> Result<FsStatistics> {
        let free = self.told(self.fs.free_clusters())?;
        Ok(FsStatistics {
            block_size: self.fs.boot().cluster_size(),
            blocks: self.fs.boot().clusters.into(),
            blocks_free: free.into(),
            blocks_available: free.into(),
            files: 0,
            files_free: 0,
        })
    }

    fn load(&self, ino: Ino) -> Result<Inode> {
        let inode = self.told(self.fs.inode(ino.0))?;
        if let Some(cluster) = inode.shared {
            let byte = ino.0.saturating_mul(32);
            self.log.message(format_args!(
                "directory entry at byte {byte}: another file has cluster {cluster}, too: it is not changed"
            ));
        }
        Ok(inode)
    }

    fn attributes(&self, inode: &Inode) -> Attributes {
        let cluster = u64::from(self.fs.boot().cluster_size());
        Attributes {
            ino: Ino(inode.ino),
            generation: 0,
            file_type: if inode.is_directory {
                FileType::Directory
            } else {
                FileType::Regular
            },
            mode: inode.mode(&self.fs),
            nlink: u64::from(inode.named),
            uid: self.fs.options.uid,
            gid: self.fs.options.gid,
            rdev: DeviceNumber { major: 0, minor: 0 },
            size: inode.size,
            blocks: inode.size.next_multiple_of(cluster).div_ceil(512),
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            birthtime: (!inode.is_root()).then_some(inode.birthtime),
            flags: inode.attributes().into(),
            protection: Protection {
                immutable: inode.shared.is_some(),
                append_only: false,
            },
            has_acl: false,
        }
    }

    fn lookup(&self, dir: &Inode, name: Name<'_>) -> Result<Found> {
        let name = match name::given(name.bytes()) {
            Err(Error::Refused(Errno::EINVAL)) => {
                // No UTF-8: no entry has such a name.
                return Ok(Found::Absent(DirSlot::default()));
            }
            other => self.told(other)?,
        };
        let entry = self.told(self.fs.lookup(dir, name))?;
        Ok(match entry {
            Some(entry) => Found::Entry(Ino(entry.ino), DirSlot([entry.first, 0, 0])),
            None => Found::Absent(DirSlot::default()),
        })
    }

    fn parent(&self, dir: &Inode) -> Result<Ino> {
        self.told(self.fs.parent(dir)).map(Ino)
    }

    fn read_dir(&self, dir: &Inode, from: DirCookie, emit: &mut dyn DirEmit) -> Result<()> {
        let wanted = emit.wants_attributes();
        let listed = self.fs.list(dir, from.0, |entry| {
            let shown = DirEntry {
                name: entry.name.as_bytes(),
                ino: Ino(entry.ino),
                file_type: Some(if entry.is_directory() {
                    FileType::Directory
                } else {
                    FileType::Regular
                }),
                next: DirCookie(entry.end()),
            };
            // What is wrong with an inode is told by who looks for it alone.
            let inode =
                (wanted && !entry.is_directory()).then(|| self.fs.inode_of(entry.ino, entry.raw));
            match inode {
                Some(Ok(inode)) => emit.emit_with(shown, &self.attributes(&inode)),
                _ => emit.emit(shown),
            }
        });
        self.told(listed)
    }

    fn read_link(&self, _inode: &Inode) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    fn map(&self, inode: &Inode, offset: u64, len: u64) -> Result<Extent> {
        self.told(self.map_bytes(inode, offset, len))
    }

    fn create(
        &self,
        dir: &mut Inode,
        _slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<(Ino, Inode)> {
        let is_directory = match new.kind {
            NewKind::Regular => false,
            NewKind::Directory => true,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let read_only = new.mode & 0o222 == 0;
        let created = self
            .fs
            .create(dir, name.bytes(), is_directory, read_only, new.time);
        let inode = self.told(created)?;
        Ok((Ino(inode.ino), inode))
    }

    fn link(
        &self,
        _dir: &mut Inode,
        _slot: DirSlot,
        _name: Name<'_>,
        _target: &mut Inode,
        _space: Space,
        _time: Timespec,
    ) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn unlink(
        &self,
        dir: &mut Inode,
        slot: DirSlot,
        _name: Name<'_>,
        target: &mut Inode,
        time: Timespec,
    ) -> Result<()> {
        let DirSlot([first, ..]) = slot;
        self.told(self.fs.unlink(dir, first, target, time))
    }

    fn rename(&self, op: Rename<'_, Inode>) -> Result<Renamed> {
        if op.exchange {
            return Err(Errno::EOPNOTSUPP);
        }
        let DirSlot([from_first, ..]) = op.from.1;
        let DirSlot([to_first, ..]) = op.to.1;
        let mut renaming = Renaming {
            from_dir: op.from_dir,
            to_dir: op.to_dir,
            from_first,
            to_first,
            to_name: op.to.0.bytes(),
            inode: op.inode,
            replaced: op.replaced,
            time: op.time,
        };
        self.told(self.fs.rename(&mut renaming))?;
        Ok(Renamed {
            rekeyed: Some(Ino(renaming.inode.ino)),
            replaced: renaming.replaced.map(|inode| Ino(inode.ino)),
        })
    }

    fn set_attributes(&self, inode: &mut Inode, change: &SetAttributes) -> Result<()> {
        let attributes = match change.flags {
            Some(flags) => Some(u8::try_from(flags).map_err(|_| Errno::EOPNOTSUPP)?),
            None => None,
        };
        if attributes.is_some_and(|flags| flags & !crate::inode::USER_ATTRIBUTES != 0) {
            return Err(Errno::EOPNOTSUPP);
        }
        let change = Change {
            writable: change.mode.map(|mode| mode & 0o222 != 0),
            attributes,
            atime: change.atime,
            mtime: change.mtime,
            ctime: change.ctime,
            birthtime: change.birthtime,
        };
        self.told(self.fs.set_attributes(inode, &change))
    }

    fn allocate(
        &self,
        inode: &mut Inode,
        offset: u64,
        len: u64,
        size_at_least: u64,
        _space: Space,
        placed: &mut dyn FnMut(Placed),
    ) -> Result<u64> {
        let done = self
            .fs
            .allocate(inode, offset, len, size_at_least, &mut |piece| {
                placed(Placed {
                    offset: piece.offset,
                    len: piece.len,
                    device: Some(piece.byte),
                });
            });
        self.told(done)
    }

    fn set_size(&self, inode: &mut Inode, size: u64, time: Timespec) -> Result<()> {
        self.told(self.fs.set_size(inode, size, time))
    }

    fn reclaim(&self, inode: Inode) -> Result<()> {
        self.told(self.fs.reclaim(inode))
    }

    fn sync(&self) -> Result<()> {
        if self.writable.load(Ordering::Relaxed) {
            self.fs.volume().commit()?;
        }
        Ok(())
    }

    fn balance(&self) -> Result<()> {
        self.fs.volume().balance()
    }

    fn remount(&self, read_only: bool) -> Result<()> {
        if read_only {
            self.told(self.fs.end_writing())?;
        } else if self.fs.device.read_only() {
            return Err(Errno::EROFS);
        } else {
            self.told(self.fs.begin_writing())?;
            if self.fs.any_shared() {
                // Files that are open were not looked at.
                tell_shared(&self.fs, &self.log);
                self.told(self.fs.end_writing())?;
                return Err(Errno::EROFS);
            }
        }
        self.writable.store(!read_only, Ordering::Relaxed);
        Ok(())
    }

    fn unmount(&self) -> Result<()> {
        if !self.writable.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let ended = self.told(self.fs.end_writing());
        self.fs.volume().discard_all();
        ended
    }

    fn device(&self) -> Option<&Arc<dyn BlockDevice>> {
        Some(&self.fs.device)
    }
}
