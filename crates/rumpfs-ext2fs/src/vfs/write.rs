//! The part of the adapter that changes things: mounting for writing, and what the write methods call.

use crate::{
    acl,
    dir::Position,
    error::{Error, Place as Where, Result as FormatResult},
    fast_commit,
    features::{Compat, Incompat},
    file_write::Change,
    fs::Ext2fs,
    inode::{Device, FileType, Inode},
    journal::{self, Journal, JournalLog, LogOptions, Replay},
    layout::superblock::{EXT4_ERROR_FS, EXT4_VALID_FS},
    mmp::{self, Protection},
    names::{Dirs, NamePlace, NewKind as FormatKind, NewNode},
    options::Options,
    torn::{self, Found, TORN},
    txn::{CommitHooks, OnError, Ordered, Writer},
    types::FileBlock,
    xattr::NameIndex,
};
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use rumpbio::Volume;
use rumpkern::{Log, types::DeviceNumber};
use rumpuser::{BlockDevice, Errno, Host, Result, Timespec, sync::Mutex};
use rumpvfs::{
    fs::{
        DirSlot, MountContext, NewInode, NewKind, Placed, Rename, SetAttributes, Space,
        WriteOrdered,
    },
    name::Name,
};

/// Buffers for the few blocks that are read before the journal is replayed.
const EARLY_CACHE: usize = 1 << 20;

/// What a mount for writing has besides the volume.
pub(super) struct WriteSide {
    pub(super) writer: Arc<Writer>,
    log: Option<Arc<JournalLog>>,
    protection: Option<Protection>,
    host: Arc<dyn Host>,
}

/// The page cache's side of a commit.
struct Pages(Arc<dyn WriteOrdered>);

impl Ordered for Pages {
    fn write_ordered(&self) -> Result<()> {
        self.0.write_ordered()
    }
}

/// What [`WriteSide::new`] needs of a mount.
pub(super) struct Surroundings {
    pub(super) host: Arc<dyn Host>,
    pub(super) log: Log,
    pub(super) ordered: Arc<dyn WriteOrdered>,
    pub(super) options: Options,
}

impl Surroundings {
    pub(super) fn of(context: &MountContext, options: Options) -> Self {
        Self {
            host: context.host.clone(),
            log: context.log.clone(),
            ordered: context.ordered.clone(),
            options,
        }
    }

    fn random(&self) -> u64 {
        let mut seed = [0; 8];
        self.host.random(&mut seed);
        u64::from_le_bytes(seed)
    }
}

/// Opens a volume for writing: takes it, replays its journal, and reads it then.
pub(super) fn open(
    context: &MountContext,
    device: Arc<dyn BlockDevice>,
    around: &Surroundings,
) -> FormatResult<(Arc<Ext2fs>, WriteSide)> {
    let host = &*context.host;
    let cache = EARLY_CACHE.min(context.cache_bytes);
    let found = torn::open(&device, host, cache)?;
    Writer::check_writable(&found.fs)?;
    let taken: Arc<Mutex<Weak<Volume>>> = Arc::default();
    let protection = protect(&found.fs, &device, around, &taken)?;
    let opened = open_taken(context, device, around, found);
    match opened {
        Ok((fs, mut side)) => {
            side.protection = protection;
            *taken.lock() = Arc::downgrade(fs.volume());
            Ok((fs, side))
        }
        Err(error) => {
            // Whoever mounts next need not wait for us.
            if let Some(Err(error)) = protection.map(Protection::end) {
                around.log.message(format_args!("{error}"));
            }
            Err(error)
        }
    }
}

/// Opens a volume that nobody else writes. `found` is it as it lies there.
fn open_taken(
    context: &MountContext,
    device: Arc<dyn BlockDevice>,
    around: &Surroundings,
    found: Found,
) -> FormatResult<(Arc<Ext2fs>, WriteSide)> {
    if found.is_torn() {
        around.log.message(format_args!("{TORN}"));
        found.mend(&*device)?;
    }
    let journal = ready_journal(&found.fs, &device, around)?;
    // What was read before the replay may be old.
    drop(found);
    let fs = Arc::new(Ext2fs::open(device, &*context.host, context.cache_bytes)?);
    fs.check_root()?;
    let side = WriteSide::new(&fs, around, journal, None, true)?;
    Ok((fs, side))
}

/// Takes a volume that has multiple mount protection.
fn protect(
    fs: &Ext2fs,
    device: &Arc<dyn BlockDevice>,
    around: &Surroundings,
    taken: &Arc<Mutex<Weak<Volume>>>,
) -> FormatResult<Option<Protection>> {
    let (log, taken) = (around.log.clone(), taken.clone());
    let lost = Box::new(move |error: &Error| {
        log.message(format_args!("writing stops: {error}"));
        let volume = taken.lock().upgrade();
        if let Some(volume) = volume {
            volume.abort();
        }
    });
    if let Some((owner, wait)) = mmp::wait_ahead(fs.superblock(), device) {
        let seconds = wait.as_secs();
        around.log.message(format_args!(
            "{owner}: waiting {seconds} seconds, twice, to see whether it still is"
        ));
    }
    Protection::begin(fs.superblock(), device, &around.host, "rump", lost)
}

/// The journal of a volume, replayed and empty; `None` on volumes without.
fn ready_journal(
    fs: &Ext2fs,
    device: &Arc<dyn BlockDevice>,
    around: &Surroundings,
) -> FormatResult<Option<Journal>> {
    let (log, host) = (&around.log, &*around.host);
    let features = &fs.superblock().features;
    if !features.compat(Compat::HAS_JOURNAL) {
        return Ok(None);
    }
    let mut journal = Journal::open(fs.journal_area(device.clone())?)?;
    if !journal.is_clean() {
        let replay = journal.replay()?;
        // As for Linux: a log that the volume does not say is needed is old.
        let needed = features.incompat(Incompat::RECOVER);
        let redone = if needed && !replay.fast_commits.is_empty() {
            let size = fs.block_size();
            Some(fast_commit::replayed(device.clone(), size, &replay, host)?)
        } else {
            None
        };
        if needed {
            journal.write_home(&replay)?;
            tell_replay(log, &replay);
        }
        if let Some(redone) = &redone {
            // The log has no copy of the superblock that they make: it waits until the log is empty.
            redone
                .write_home_all_but(fs.superblock().superblock_block().0)
                .map_err(crate::error::at(Where::Superblock))?;
        }
        journal.reset(&replay)?;
        if let Some(redone) = redone {
            torn::replace(journal.spare()?, &torn::read(&*redone)?)?;
        }
    }
    Ok(Some(journal))
}

fn tell_replay(log: &Log, replay: &Replay) {
    let fast = replay.fast_commits.commits;
    log.message(format_args!(
        "journal replayed: {} transactions",
        replay.transactions.saturating_add(fast)
    ));
    if let Some(damage) = &replay.damage {
        log.message(format_args!("the journal ends early: {damage}"));
    }
}

impl WriteSide {
    /// Begins writing. With `recover`, what a crash left is freed first.
    fn new(
        fs: &Arc<Ext2fs>,
        around: &Surroundings,
        journal: Option<Journal>,
        protection: Option<Protection>,
        recover: bool,
    ) -> FormatResult<Self> {
        let now = around.host.wall();
        let sb = fs.superblock();
        let damaged = journal
            .as_ref()
            .is_some_and(|journal| journal.superblock().errno() != 0);
        if sb.state & EXT4_ERROR_FS != 0 || damaged {
            around
                .log
                .message(format_args!("the volume has errors: it should be checked"));
        } else if sb.state & EXT4_VALID_FS == 0 {
            around.log.message(format_args!(
                "the volume was not unmounted cleanly: it should be checked"
            ));
        }
        let log = around.log.clone();
        let writer = Writer::new(
            fs.clone(),
            around.random(),
            on_error(fs, &around.options),
            Box::new(move |error| log.message(format_args!("{error}"))),
        );
        let volume = fs.volume();
        let pages = Arc::new(Pages(around.ordered.clone()));
        volume.set_hooks(Arc::new(CommitHooks::new(&writer, pages)));
        writer.start(now, journal.as_ref(), damaged)?;
        let log = match journal {
            None => None,
            Some(mut journal) => {
                if damaged {
                    journal.clear_errno()?;
                }
                Some(open_log(fs, journal, &around.host)?)
            }
        };
        if let Some(log) = &log {
            volume.set_log(log.clone());
        }
        if recover {
            let (freed, shortened) = writer.recover_orphans(now)?;
            if freed > 0 || shortened > 0 {
                around.log.message(format_args!(
                    "orphans: {freed} inodes freed, {shortened} files shortened"
                ));
            }
        }
        Ok(Self {
            writer,
            log,
            protection,
            host: around.host.clone(),
        })
    }

    /// Begins writing on a volume that was mounted for reading, and has no journal to replay.
    /// `first`: it was not written in this mount yet, so that no orphan is in use.
    pub(super) fn resume(
        fs: &Arc<Ext2fs>,
        around: &Surroundings,
        first: bool,
    ) -> FormatResult<Self> {
        Writer::check_writable(fs)?;
        let device = fs.volume().device().clone();
        let taken = Arc::new(Mutex::new(Arc::downgrade(fs.volume())));
        let protection = protect(fs, &device, around, &taken)?;
        let journal = ready_journal(fs, &device, around)?;
        Self::new(fs, around, journal, protection, first)
    }

    pub(super) fn now(&self) -> Timespec {
        self.host.wall()
    }

    /// Ends writing and marks the volume as clean.
    pub(super) fn end(self) -> FormatResult<()> {
        let result = self.writer.finish(self.now(), self.log.as_deref());
        match self.protection {
            Some(protection) => result.and(protection.end()),
            None => result,
        }
    }
}

fn open_log(
    fs: &Ext2fs,
    journal: Journal,
    host: &Arc<dyn Host>,
) -> FormatResult<Arc<JournalLog>, journal::Error> {
    let features = &fs.superblock().features;
    let host = host.clone();
    journal.into_log(LogOptions {
        metadata_csum: features.metadata_csum(),
        bit64: features.incompat(Incompat::BIT64),
        wall: Box::new(move || host.wall()),
    })
}

/// What the option says, else the superblock: 2 is read-only; 3, panic, is that too, as there is no machine to stop.
fn on_error(fs: &Ext2fs, options: &Options) -> OnError {
    options.errors.unwrap_or(match fs.superblock().errors {
        2 | 3 => OnError::ReadOnly,
        _ => OnError::Continue,
    })
}

/// The place that a slot names; `None` for that of a name that was not there.
pub(super) fn position(slot: DirSlot) -> Option<Position> {
    let DirSlot([block, offset, previous]) = slot;
    let number = |n: u64| u32::try_from(n).ok();
    if slot == DirSlot::default() {
        return None;
    }
    Some(Position {
        block: FileBlock(number(block)?),
        offset: number(offset)?,
        previous: match previous.checked_sub(1) {
            Some(previous) => Some(number(previous)?),
            None => None,
        },
    })
}

pub(super) fn place<'n>(name: Name<'n>, slot: DirSlot) -> NamePlace<'n> {
    NamePlace {
        name: name.bytes(),
        position: position(slot),
    }
}

fn device(number: DeviceNumber) -> FormatResult<Device> {
    // 12 and 20 bits are all that an inode has room for.
    if number.major >= 1 << 12 || number.minor >= 1 << 20 {
        return Err(Error::Refused(Errno::EINVAL));
    }
    Ok(Device {
        major: number.major,
        minor: number.minor,
    })
}

/// Index and rest of a name, and the value as it is stored.
type StoredAttribute<'n> = ((NameIndex, &'n [u8]), Vec<u8>);

/// An attribute by its full name.
pub(super) fn attribute<'n>(name: &'n [u8], value: &[u8]) -> FormatResult<StoredAttribute<'n>> {
    let (index, rest) = NameIndex::split(name).ok_or(Error::Refused(Errno::EOPNOTSUPP))?;
    let value = if index.is_acl() {
        acl::from_attribute(value)?
    } else {
        value.to_vec()
    };
    Ok(((index, rest), value))
}

/// A new inode as the format code takes it.
pub(super) fn new_node(new: &NewInode) -> FormatResult<NewNode<'_>> {
    let kind = match &new.kind {
        NewKind::Regular => FormatKind::Plain(FileType::Regular),
        NewKind::Directory => FormatKind::Plain(FileType::Directory),
        NewKind::Fifo => FormatKind::Plain(FileType::Fifo),
        NewKind::Socket => FormatKind::Plain(FileType::Socket),
        NewKind::Symlink(target) => FormatKind::Symlink(target),
        NewKind::Block(number) => FormatKind::Device(FileType::Block, device(*number)?),
        NewKind::Character(number) => FormatKind::Device(FileType::Character, device(*number)?),
    };
    let mut xattrs = Vec::with_capacity(new.xattrs.len());
    for (name, value) in &new.xattrs {
        let ((index, rest), value) = attribute(name, value)?;
        xattrs.push((index, rest.to_vec(), value));
    }
    Ok(NewNode {
        kind,
        permissions: permissions(new.mode),
        uid: new.uid,
        gid: new.gid,
        time: new.time,
        xattrs,
        space: new.space,
    })
}

fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).unwrap_or(0)
}

pub(super) fn change(change: &SetAttributes) -> Change {
    Change {
        permissions: change.mode.map(permissions),
        uid: change.uid,
        gid: change.gid,
        atime: change.atime,
        mtime: change.mtime,
        ctime: change.ctime,
        crtime: change.birthtime,
        flags: change.flags,
        project: change.project,
    }
}

/// Renames as `rumpvfs` asks.
pub(super) fn rename(writer: &Writer, op: Rename<'_, Inode>) -> FormatResult<()> {
    let from = place(op.from.0, op.from.1);
    let to = place(op.to.0, op.to.1);
    let dirs = match op.to_dir {
        Some(to_dir) => Dirs::Two(op.from_dir, to_dir),
        None => Dirs::Same(op.from_dir),
    };
    writer.rename(
        dirs,
        &from,
        &to,
        op.inode,
        op.replaced,
        op.exchange,
        op.space,
        op.time,
    )
}

/// Gives places to blocks as `rumpvfs` asks.
pub(super) fn allocate(
    writer: &Writer,
    inode: &mut Inode,
    range: (u64, u64, u64),
    space: Space,
    now: Timespec,
    placed: &mut dyn FnMut(Placed),
) -> FormatResult<u64> {
    writer.allocate(inode, range, space, now, &mut |piece| {
        placed(Placed {
            offset: piece.offset,
            len: piece.len,
            device: Some(piece.device),
        });
    })
}
