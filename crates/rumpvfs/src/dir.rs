//! Listing directories.

use crate::{
    calls::{Dirent, DirentPlus},
    erased::{AnyFileSystem, AnyInode},
    file::VnodeFile,
    fs::{Attributes, DirCookie, DirEmit, DirEntry, Ino},
    mount::{Look, Mount},
    name::NameBytes,
    process::{Ctx, data},
    vnode::{REMOVED, VnodeRef},
    walk::{damaged, parent_on_mount},
};
use alloc::{sync::Arc, vec::Vec};
use rumpkern::{Fd, FileType, OpenFile, OpenFlags, Proc, Stat};
use rumpuser::{Errno, Result};

/// Offsets of an open directory: before `.`, before `..`, then those of the driver, moved up.
pub(crate) const DOT: u64 = 0;
pub(crate) const DOTDOT: u64 = 1;
pub(crate) const FIRST: u64 = 2;

/// Entries as the driver gives them, until there are enough.
pub(crate) struct Gather {
    pub(crate) entries: Vec<(Dirent, u64)>,
    max: usize,
}

/// A driver's position as that of an open directory. One that does not fit ends the listing there rather than start it again.
fn position(entry: &DirEntry<'_>) -> u64 {
    entry.next.0.saturating_add(FIRST)
}

impl DirEmit for Gather {
    fn emit(&mut self, entry: DirEntry<'_>) -> bool {
        if self.entries.len() >= self.max {
            return false;
        }
        let dirent = Dirent {
            ino: entry.ino.0,
            file_type: entry.file_type,
            name: entry.name.to_vec(),
        };
        self.entries.push((dirent, position(&entry)));
        true
    }
}

/// Entries of a directory, with the position behind each.
///
/// # Errors
/// Those of the driver, if it gave no entry before.
pub(crate) fn gather(
    dir: &VnodeRef,
    inode: &AnyInode,
    from: u64,
    max: usize,
) -> Result<Vec<(Dirent, u64)>> {
    let entries = Vec::new();
    let mut gather = Gather { entries, max };
    read(dir, inode, from, &mut gather, |gather| {
        gather.entries.is_empty()
    })?;
    Ok(gather.entries)
}

/// Has the driver give entries. Those before damage are listed; the next call tells.
fn read<E: DirEmit>(
    dir: &VnodeRef,
    inode: &AnyInode,
    from: u64,
    to: &mut E,
    is_empty: impl Fn(&E) -> bool,
) -> Result<()> {
    if dir.marked(REMOVED) {
        return Ok(());
    }
    let from = DirCookie(from.saturating_sub(FIRST));
    let read = dir.mount.fs.read_dir(inode, from, to);
    if is_empty(to) { read } else { Ok(()) }
}

/// Entries of a listing for which there is room from the start, at most.
const MOST_ROOM: usize = 1024;

/// As [`Gather`], with attributes where the driver has them at hand.
struct GatherPlus<'a> {
    /// Those without attributes yet have `EIO` for them.
    shown: Vec<DirentPlus>,
    /// Inode number of each.
    numbers: Vec<u64>,
    next: u64,
    max: usize,
    /// The mount, if the driver's attributes are wanted.
    about: Option<&'a Mount>,
    /// Whether inodes stay in the caches.
    keep: bool,
}

impl GatherPlus<'_> {
    #[inline]
    fn take(&mut self, entry: &DirEntry<'_>, stat: Result<Stat>) -> bool {
        if self.shown.len() >= self.max {
            return false;
        }
        self.shown.push(DirentPlus {
            name: NameBytes::new(entry.name),
            stat,
        });
        self.numbers.push(entry.ino.0);
        self.next = position(entry);
        true
    }

    /// Attributes of all entries. Inodes are looked at where the driver has not told all about them, in the order of their numbers, which is that
    /// of their places in tables and on the medium, wherever the directory has them.
    fn complete(self, mount: &Mount, look: impl Fn(Ino, &[u8]) -> Result<Stat>) -> Vec<DirentPlus> {
        let mut shown = self.shown;
        let mut order = Vec::with_capacity(shown.len());
        for ((entry, ino), at) in shown.iter_mut().zip(self.numbers).zip(0_u32..) {
            let in_use = |mount: &Mount| mount.in_use(Ino(ino));
            if entry.stat.is_err() || self.about.is_some_and(in_use) {
                entry.stat = Err(Errno::EIO);
                order.push((ino, at));
            }
        }
        if !order.is_sorted() {
            order.sort_unstable();
        }
        if self.keep {
            mount.will_look(&order);
        } else {
            mount.look_many(&order, |at, stat| shown[at as usize].stat = stat);
        }
        for (ino, at) in order {
            let entry = &mut shown[at as usize];
            if entry.stat.is_err() {
                entry.stat = look(Ino(ino), &entry.name);
            }
        }
        shown
    }
}

impl DirEmit for GatherPlus<'_> {
    fn emit(&mut self, entry: DirEntry<'_>) -> bool {
        self.take(&entry, Err(Errno::EIO))
    }

    fn wants_attributes(&self) -> bool {
        self.about.is_some()
    }

    fn emit_with(&mut self, entry: DirEntry<'_>, attributes: &Attributes) -> bool {
        let stat = self.about.map(|mount| mount.stat_of(entry.ino, attributes));
        self.take(&entry, stat.ok_or(Errno::EIO))
    }
}

fn open_dir(proc: &Proc, fd: Fd) -> Result<(Arc<OpenFile>, Arc<VnodeFile>)> {
    let open = proc.fd_file(fd)?;
    if open.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF);
    }
    let file = VnodeFile::of(&open).ok_or(Errno::ENOTDIR)?;
    if !file.vnode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    Ok((open, file))
}

/// `..` as a listing shows it: past a mount's root that is the covered directory's.
pub(crate) fn dotdot(proc: &Proc, dir: &VnodeRef) -> Result<u64> {
    let mut at = dir.clone();
    let root = data(proc)?.dirs.read().root.clone();
    if root.is_some_and(|root| root.same(dir)) {
        return Ok(dir.ino().0);
    }
    while at.is_root() {
        let covered = at.mount.anchors.lock().covered.clone();
        match covered {
            Some(covered) => at = covered,
            None => return Ok(at.ino().0),
        }
    }
    match parent_on_mount(&at) {
        Ok(parent) => Ok(parent.ino().0),
        // A removed directory has no parent any more.
        Err(Errno::ENOENT) => Ok(at.ino().0),
        Err(error) => Err(error),
    }
}

pub(crate) fn getdents(proc: &Proc, fd: Fd, max: usize) -> Result<Vec<Dirent>> {
    let (open, file) = open_dir(proc, fd)?;
    let dir = &file.vnode;
    let mut offset = open.offset().lock();
    let mut entries = Vec::new();
    let special = |ino, name: &[u8]| Dirent {
        ino,
        file_type: Some(FileType::Directory),
        name: name.to_vec(),
    };
    if dir.marked(REMOVED) {
        return Ok(entries);
    }
    let max = max.max(1);
    if *offset == DOT && entries.len() < max {
        entries.push(special(dir.ino().0, b"."));
        *offset = DOTDOT;
    }
    if *offset == DOTDOT && entries.len() < max {
        entries.push(special(dotdot(proc, dir)?, b".."));
        *offset = FIRST;
    }
    let room = max - entries.len();
    if *offset >= FIRST && room > 0 {
        let inode = dir.shared()?;
        match gather(dir, &inode, *offset, room) {
            Ok(gathered) => {
                for (dirent, next) in gathered {
                    entries.push(dirent);
                    *offset = next;
                }
            }
            Err(error) if entries.is_empty() => return Err(error),
            Err(_) => {}
        }
    }
    drop(offset);
    file.note_read();
    Ok(entries)
}

/// Entries with attributes; `keep` says whether their inodes and names stay in the caches.
pub(crate) fn getdents_plus(
    proc: &Proc,
    fd: Fd,
    max: usize,
    keep: bool,
) -> Result<Vec<DirentPlus>> {
    let (open, file) = open_dir(proc, fd)?;
    let ctx = Ctx::new(proc)?;
    let dir = &file.vnode;
    let mut offset = open.offset().lock();
    *offset = (*offset).max(FIRST);
    // One lock from listing to noting: the names stay true while their inodes are loaded.
    let inode = dir.shared()?;
    // What the medium tells is all there is to tell only where nothing changes: else an inode in use may know more.
    let about = (!keep && dir.mount.read_only()).then_some(&**dir.mount);
    // A guess: a format takes some 20 bytes for an entry, and an estimate that is too high costs nothing up to here.
    let guess = usize::try_from(dir.size() / 20).unwrap_or(MOST_ROOM);
    let room = guess.clamp(16, MOST_ROOM).min(max);
    let mut gather = GatherPlus {
        shown: Vec::with_capacity(room),
        numbers: Vec::with_capacity(room),
        next: *offset,
        max: max.max(1),
        about,
        keep,
    };
    read(dir, &inode, *offset, &mut gather, |gather| {
        gather.shown.is_empty()
    })?;
    *offset = gather.next;
    let walker = ctx.walker();
    let names = &ctx.vfs.caches.names;
    let look = |ino, name: &[u8]| {
        let found = if keep {
            dir.mount.vnode(ino).map(Look::Vnode)
        } else {
            dir.mount.look(ino)
        };
        found.map_err(damaged).and_then(|found| match found {
            Look::Stat(stat) => Ok(stat),
            Look::Vnode(vnode) => {
                names.enter(dir, name, Some(vnode.arc()));
                walker.top(vnode).stat()
            }
        })
    };
    let entries = gather.complete(&dir.mount, look);
    drop(inode);
    drop(offset);
    file.note_read();
    Ok(entries)
}
