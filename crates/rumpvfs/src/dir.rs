//! Listing directories.

use crate::{
    calls::{Dirent, DirentPlus},
    erased::{AnyFileSystem, AnyInode},
    file::VnodeFile,
    fs::{Attributes, DirCookie, DirEmit, DirEntry, Ino},
    mount::{Look, Mount},
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
pub(crate) struct Gather<'a> {
    pub(crate) entries: Vec<(Dirent, u64)>,
    max: usize,
    /// The mount, if attributes are wanted.
    about: Option<&'a Mount>,
    /// Those that the driver had at hand, one for each entry.
    stats: Vec<Option<Stat>>,
}

impl Gather<'_> {
    fn take(&mut self, entry: &DirEntry<'_>, attributes: Option<&Attributes>) -> bool {
        if self.entries.len() >= self.max {
            return false;
        }
        // A driver's position that does not fit ends the listing there rather than start it again.
        let next = entry.next.0.saturating_add(FIRST);
        let dirent = Dirent {
            ino: entry.ino.0,
            file_type: entry.file_type,
            name: entry.name.to_vec(),
        };
        self.entries.push((dirent, next));
        if let Some(mount) = self.about {
            let stat = attributes.map(|attributes| mount.stat_of(entry.ino, attributes));
            self.stats.push(stat);
        }
        true
    }
}

impl DirEmit for Gather<'_> {
    fn emit(&mut self, entry: DirEntry<'_>) -> bool {
        self.take(&entry, None)
    }

    fn wants_attributes(&self) -> bool {
        self.about.is_some()
    }

    fn emit_with(&mut self, entry: DirEntry<'_>, attributes: &Attributes) -> bool {
        self.take(&entry, Some(attributes))
    }
}

/// Entries of a directory, with the position behind each; with `about`, the attributes that the driver had at hand as well.
///
/// # Errors
/// Those of the driver, if it gave no entry before.
pub(crate) fn gather<'a>(
    dir: &'a VnodeRef,
    inode: &AnyInode,
    from: u64,
    max: usize,
    about: Option<&'a Mount>,
) -> Result<Gather<'a>> {
    let mut gather = Gather {
        entries: Vec::with_capacity(max.min(1024)),
        max,
        about,
        stats: Vec::new(),
    };
    if !dir.marked(REMOVED) {
        let from = DirCookie(from.saturating_sub(FIRST));
        let read = dir.mount.fs.read_dir(inode, from, &mut gather);
        // Entries before the damage are listed; the next call tells.
        if gather.entries.is_empty() {
            read?;
        }
    }
    Ok(gather)
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
        match gather(dir, &inode, *offset, room, None) {
            Ok(gathered) => {
                for (dirent, next) in gathered.entries {
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

/// How many vnodes ahead of the one that is looked at the next is brought from memory.
const AHEAD: usize = 4;

/// Attributes of all entries. Inodes are looked at where the driver has not told all about them, in the order of their numbers, which is that
/// of their places in tables and on the medium, wherever the directory has them.
fn in_order(
    mount: &Mount,
    gathered: Gather<'_>,
    look: impl Fn(Ino, &[u8]) -> Result<Stat>,
) -> Vec<DirentPlus> {
    let Gather {
        entries,
        about,
        stats,
        ..
    } = gathered;
    let mut stats = stats.into_iter();
    let (mut shown, mut order) = (Vec::with_capacity(entries.len()), Vec::new());
    for ((dirent, _), at) in entries.into_iter().zip(0_u32..) {
        let told = stats.next().flatten();
        let told = told.filter(|_| about.is_some_and(|mount| !mount.in_use(Ino(dirent.ino))));
        if told.is_none() {
            order.push((dirent.ino, at));
        }
        shown.push(DirentPlus {
            name: dirent.name,
            stat: told.ok_or(Errno::EIO),
        });
    }
    if !order.is_sorted() {
        order.sort_unstable();
    }
    for (n, &(ino, at)) in order.iter().enumerate() {
        if let Some(&(ahead, _)) = order.get(n + AHEAD) {
            mount.will_look(Ino(ahead));
        }
        let entry = &mut shown[at as usize];
        entry.stat = look(Ino(ino), &entry.name);
    }
    shown
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
    let gathered = gather(dir, &inode, *offset, max.max(1), about)?;
    if let Some((_, next)) = gathered.entries.last() {
        *offset = *next;
    }
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
    let entries = in_order(&dir.mount, gathered, look);
    drop(inode);
    drop(offset);
    file.note_read();
    Ok(entries)
}
