//! Path walk.
//!
//! Two gears: along cached names under the lock of the thread's lane of the name cache, with borrowed vnodes ([`Way`]), and one
//! component at a time through the driver ([`Walker`]), which enters what it finds into the cache and goes on in the first gear.

use crate::{
    acl::{self, Acl},
    calls::{Access, Follow},
    erased::AnyFileSystem,
    fs::Found,
    name::Name,
    namecache::{Crossings, LaneNames, Names, Target, Wanted},
    perm,
    process::{Ctx, Start},
    vnode::{COVERED, REMOVED, Vnode, VnodeRef},
};
use alloc::{borrow::Cow, sync::Arc, vec::Vec};
use core::ops::Deref;
use rumpkern::{Cred, FileType};
use rumpuser::{Errno, Result};

/// Longest path in bytes, without a terminating NUL.
const PATH_MAX: usize = 4095;
/// Symbolic links that one path may lead over.
const LINKS_MAX: u32 = 32;

/// Where a walk along cached names ended.
pub(crate) enum Cached<'t> {
    /// At the end.
    Found(&'t Arc<Vnode>),
    /// In this directory, before the component at this offset: the cache does not know it, or it needs more than a look.
    Stopped(&'t Arc<Vnode>, usize),
}

/// A way along cached names.
pub(crate) struct Way<'l> {
    pub(crate) names: &'l Names,
    pub(crate) crossings: &'l Crossings,
    pub(crate) root: &'l Arc<Vnode>,
    /// Where a relative path starts.
    pub(crate) start: &'l Arc<Vnode>,
    pub(crate) cred: &'l Cred,
}

/// A vnode on the way: borrowed from the lane, or got from the table.
enum At<'l> {
    Lane(&'l Arc<Vnode>),
    Table(Arc<Vnode>),
}

impl Deref for At<'_> {
    type Target = Arc<Vnode>;
    fn deref(&self) -> &Arc<Vnode> {
        match self {
            Self::Lane(vnode) => vnode,
            Self::Table(vnode) => vnode,
        }
    }
}

impl<'l> Way<'l> {
    /// Walks as far as cached names go, and gives where that is to `then`: `ENOENT`, `ENOTDIR`, `EACCES`, `ENAMETOOLONG` where the
    /// caches know that there is no way.
    pub(crate) fn along<R>(
        &self,
        lane: &mut LaneNames,
        path: &[u8],
        follow: Follow,
        then: impl FnOnce(Result<Cached<'_>>) -> R,
    ) -> R {
        let mut wanted = None;
        let (at, stopped) = match self.go(lane, path, follow, &mut wanted) {
            Ok(found) => found,
            Err(error) => return then(Err(error)),
        };
        let result = then(Ok(match stopped {
            None => Cached::Found(&at),
            Some(pos) => Cached::Stopped(&at, pos),
        }));
        drop(at);
        if let Some(wanted) = wanted {
            lane.keep(wanted);
        }
        result
    }

    /// Where cached names lead, and the offset of the component before which they end, if they do not lead to the end.
    fn go<'a>(
        &'a self,
        lane: &'a LaneNames,
        path: &[u8],
        follow: Follow,
        wanted: &mut Option<Wanted>,
    ) -> Result<(At<'a>, Option<usize>)> {
        let mut dir = At::Lane(if path.first() == Some(&b'/') {
            self.root
        } else {
            self.start
        });
        let mut pos = 0;
        loop {
            while path.get(pos) == Some(&b'/') {
                pos += 1;
            }
            let Some(rest) = path.get(pos..).filter(|r| !r.is_empty()) else {
                return if dir.is_dir() || path.last() != Some(&b'/') {
                    Ok((dir, None))
                } else {
                    Err(Errno::ENOTDIR)
                };
            };
            let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            if !dir.searchable() {
                let owner = dir.owner();
                if owner.file_type != FileType::Directory {
                    return Err(Errno::ENOTDIR);
                }
                if owner.has_acl && !self.cred.is_root() {
                    return Ok((dir, Some(pos)));
                }
                perm::access(&owner, None, self.cred, Access::X)?;
            }
            let next = match &rest[..len] {
                b"." => {
                    pos += len;
                    continue;
                }
                b".." => self.parent(lane, &dir, wanted)?,
                name => {
                    if name.len() > dir.mount.limits.name_max {
                        return Err(Errno::ENAMETOOLONG);
                    }
                    self.name(lane, &dir, name, wanted)?
                }
            };
            match next {
                Some(next)
                    if next.file_type != FileType::Symlink
                        || (len == rest.len() && follow == Follow::No) =>
                {
                    dir = next;
                }
                _ => return Ok((dir, Some(pos))),
            }
            pos += len;
        }
    }

    /// What a name leads to, mounts crossed; `None` if the caches do not know.
    ///
    /// # Errors
    /// `ENOENT`.
    fn name<'a>(
        &'a self,
        lane: &'a LaneNames,
        dir: &Vnode,
        name: &[u8],
        wanted: &mut Option<Wanted>,
    ) -> Result<Option<At<'a>>> {
        let hash = self.names.hash(dir.id, name);
        let found = match lane.get(dir, hash, name) {
            Some(Target::Vnode(vnode)) => At::Lane(vnode),
            Some(Target::Nothing) => return Err(Errno::ENOENT),
            None => {
                // One name in each walk: those of directories near the root come first.
                let takes = || wanted.is_none() && lane.takes();
                let Some((target, new)) = self.names.get(dir, hash, name, takes) else {
                    return Ok(None);
                };
                if new.is_some() {
                    *wanted = new;
                }
                match target {
                    Target::Vnode(vnode) => At::Table(vnode),
                    Target::Nothing => return Err(Errno::ENOENT),
                }
            }
        };
        Ok(Some(match self.crossings.over(&found) {
            Some(root) => At::Lane(root),
            None => found,
        }))
    }

    fn parent<'a>(
        &'a self,
        lane: &'a LaneNames,
        dir: &At<'a>,
        wanted: &mut Option<Wanted>,
    ) -> Result<Option<At<'a>>> {
        let mut dir: &Arc<Vnode> = dir;
        let again = |dir: &Arc<Vnode>| Ok(Some(At::Table(dir.clone())));
        if dir.id == self.root.id {
            return again(dir);
        }
        while dir.is_root() {
            match self.crossings.covered(dir.mount.id) {
                Some(covered) => dir = covered,
                None => return again(dir),
            }
        }
        match self.name(lane, dir, b"..", wanted) {
            // What is not there any more is the driver's to tell.
            Err(Errno::ENOENT) => Ok(None),
            found => found,
        }
    }
}

/// The last component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last<'p> {
    Name(Name<'p>),
    Dot,
    DotDot,
    /// There is none: the path is all slashes.
    Root,
}

/// A path without its last component; the last component; whether slashes follow it.
///
/// # Errors
/// `ENOENT` when empty, `ENAMETOOLONG`, `EINVAL` for a NUL.
pub(crate) fn split_last(path: &[u8]) -> Result<(&[u8], Last<'_>, bool)> {
    check_length(path)?;
    let end = path
        .iter()
        .rposition(|&b| b != b'/')
        .map_or(0, |last| last + 1);
    let slash = end < path.len();
    let path = &path[..end];
    let start = path
        .iter()
        .rposition(|&b| b == b'/')
        .map_or(0, |last| last + 1);
    let last = match &path[start..] {
        b"" => Last::Root,
        b"." => Last::Dot,
        b".." => Last::DotDot,
        name => Last::Name(Name::new(name)?),
    };
    Ok((&path[..start], last, slash))
}

fn check_length(path: &[u8]) -> Result<()> {
    match path.len() {
        0 => Err(Errno::ENOENT),
        1..=PATH_MAX => Ok(()),
        _ => Err(Errno::ENAMETOOLONG),
    }
}

/// Resolves paths on behalf of somebody. Symbolic links are counted over its whole life.
pub(crate) struct Walker<'a> {
    ctx: &'a Ctx<'a>,
    links: u32,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(ctx: &'a Ctx<'a>) -> Self {
        Self { ctx, links: 0 }
    }

    fn names(&self) -> &Names {
        &self.ctx.vfs.caches.names
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// Those of paths.
    pub(crate) fn resolve(
        &mut self,
        start: &Start,
        path: &[u8],
        follow: Follow,
    ) -> Result<VnodeRef> {
        check_length(path)?;
        match self.ctx.resolve_cached(start, path, follow)? {
            Some(found) => Ok(found),
            None => self.resolve_slowly(start, path, follow),
        }
    }

    /// The same where cached names do not lead to the end.
    fn resolve_slowly(&mut self, start: &Start, path: &[u8], follow: Follow) -> Result<VnodeRef> {
        let root = self.ctx.root()?;
        let mut path = Cow::Borrowed(path);
        let mut pos = 0;
        // Where a path starts that is relative to `dir` or absolute.
        let first = |dir: VnodeRef, path: &[u8]| match path.first() {
            Some(b'/') => root.clone(),
            _ => dir,
        };
        let mut dir = first(self.ctx.start(start)?, &path);
        loop {
            let (at, skipped) = match self.along(&root, &dir, &path[pos..], follow)? {
                (found, None) => return Ok(found),
                (at, Some(skipped)) => (at, skipped),
            };
            let rest = &path[pos + skipped..];
            let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            let (component, rest) = rest.split_at(len);
            let next = self.step(&root, &at, component)?;
            if next.file_type == FileType::Symlink && (!rest.is_empty() || follow == Follow::Yes) {
                path = Cow::Owned(self.expand(&next, rest)?);
                pos = 0;
                dir = first(at, &path);
            } else {
                pos = path.len() - rest.len();
                dir = next;
            }
        }
    }

    /// The directory that a path's last component is to be looked up in.
    ///
    /// # Errors
    /// Those of paths; `ENOTDIR`.
    pub(crate) fn directory(&mut self, start: &Start, prefix: &[u8]) -> Result<VnodeRef> {
        let dir = if prefix.is_empty() {
            self.ctx.start(start)?
        } else {
            self.resolve(start, prefix, Follow::Yes)?
        };
        if dir.is_dir() {
            Ok(dir)
        } else {
            Err(Errno::ENOTDIR)
        }
    }

    /// Goes along cached names from `dir`: to the end, or to the directory and offset where the cache knows no further.
    fn along(
        &self,
        root: &VnodeRef,
        dir: &VnodeRef,
        path: &[u8],
        follow: Follow,
    ) -> Result<(VnodeRef, Option<usize>)> {
        let names = self.names();
        let mut lane = names.lane();
        let lane = &mut *lane;
        let way = Way {
            names,
            crossings: &lane.crossings,
            root: root.arc(),
            start: dir.arc(),
            cred: self.ctx.judge(),
        };
        // A path that goes on begins with a slash, and goes on from `dir`.
        let slashes = path.iter().take_while(|&&b| b == b'/').count();
        let rest = &path[slashes..];
        if rest.is_empty() && !path.is_empty() && !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let found = way.along(&mut lane.names, rest, follow, |found| -> Result<_> {
            let (at, pos) = match found? {
                Cached::Found(vnode) => (vnode, None),
                Cached::Stopped(dir, pos) => (dir, Some(pos + slashes)),
            };
            Ok(VnodeRef::acquire(at).map(|at| (at, pos)))
        })?;
        match found {
            Some(found) => Ok(found),
            // It is on its way out of the caches: go to the driver from the start, which waits for that.
            None if rest.is_empty() => Err(Errno::ENOENT),
            None => Ok((dir.clone(), Some(slashes))),
        }
    }

    /// The path that is left when a symbolic link is followed.
    ///
    /// # Errors
    /// `ELOOP`, `ENAMETOOLONG`, `ENOENT` for an empty target, `EIO`.
    pub(crate) fn expand(&mut self, link: &VnodeRef, rest: &[u8]) -> Result<Vec<u8>> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        let target = read_link(link)?;
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() + rest.len() > PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok([&target, rest].concat())
    }

    /// One component, through the driver.
    fn step(&self, root: &VnodeRef, dir: &VnodeRef, component: &[u8]) -> Result<VnodeRef> {
        if !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        check_access(dir, self.ctx.judge(), Access::X)?;
        match component {
            b"." => Ok(dir.clone()),
            b".." => self.parent(root, dir),
            name => {
                let name = Name::new(name)?;
                self.lookup(dir, name)?.ok_or(Errno::ENOENT)
            }
        }
    }

    /// What a name leads to, mounts crossed; `None` if there is none. The caller has checked search permission.
    ///
    /// # Errors
    /// `ENAMETOOLONG`, `ENOENT` when the directory was removed, `EIO`.
    pub(crate) fn lookup(&self, dir: &VnodeRef, name: Name<'_>) -> Result<Option<VnodeRef>> {
        let mount = &dir.mount;
        if name.bytes().len() > mount.limits.name_max {
            return Err(Errno::ENAMETOOLONG);
        }
        if dir.marked(REMOVED) {
            return Err(Errno::ENOENT);
        }
        let inode = dir.shared()?;
        let found = match mount.fs.lookup(&inode, name)? {
            Found::Entry(ino, _) => Some(mount.vnode(ino).map_err(damaged)?),
            Found::Absent(_) => None,
        };
        let target = found.as_ref().map(VnodeRef::arc);
        self.names().enter(dir, name.bytes(), target);
        drop(inode);
        Ok(found.map(|vnode| self.top(vnode)))
    }

    /// The root of what is mounted on a directory, else the directory.
    pub(crate) fn top(&self, vnode: VnodeRef) -> VnodeRef {
        if !vnode.marked(COVERED) {
            return vnode;
        }
        let lane = self.names().lane();
        // It cannot be acquired while it is being unmounted.
        let crossed = lane.crossings.over(&vnode).and_then(VnodeRef::acquire);
        drop(lane);
        crossed.unwrap_or(vnode)
    }

    /// `..` of a directory.
    fn parent(&self, root: &VnodeRef, dir: &VnodeRef) -> Result<VnodeRef> {
        if dir.same(root) {
            return Ok(dir.clone());
        }
        let mut at = dir.clone();
        while at.is_root() {
            let covered = at.mount.anchors.lock().covered.clone();
            match covered {
                Some(covered) => at = covered,
                None => return Ok(at),
            }
        }
        parent_on_mount(&at).map(|parent| self.top(parent))
    }
}

/// `..` of a directory that is no root.
///
/// # Errors
/// `ENOENT` when it was removed, `EIO`.
pub(crate) fn parent_on_mount(dir: &VnodeRef) -> Result<VnodeRef> {
    // Where a renaming gives inodes other numbers, the old one must not be met.
    let _one = dir.mount.limits.folds.then(|| dir.mount.rename.lock());
    parent_locked(dir)
}

/// [`parent_on_mount`] for who holds the rename lock of the mount.
///
/// # Errors
/// As there.
pub(crate) fn parent_locked(dir: &VnodeRef) -> Result<VnodeRef> {
    let inode = dir.shared()?;
    if dir.marked(REMOVED) {
        return Err(Errno::ENOENT);
    }
    let ino = dir.mount.fs.parent(&inode)?;
    let parent = dir.mount.vnode(ino).map_err(damaged)?;
    if !parent.is_dir() {
        return Err(Errno::EIO);
    }
    dir.mount.caches.names.enter(dir, b"..", Some(parent.arc()));
    Ok(parent)
}

/// A number that a directory has must be of an inode in use.
pub(crate) fn damaged(error: Errno) -> Errno {
    if error == Errno::ESTALE {
        Errno::EIO
    } else {
        error
    }
}

/// Target of a symbolic link.
///
/// # Errors
/// `EIO`.
pub(crate) fn read_link(link: &Vnode) -> Result<Arc<[u8]>> {
    if let Some(target) = link.extra.lock().target.clone() {
        return Ok(target);
    }
    let inode = link.shared()?;
    let target: Arc<[u8]> = link.mount.fs.read_link(&inode)?.into();
    link.extra.lock().target = Some(target.clone());
    Ok(target)
}

/// Whether `cred` may access a file that way.
///
/// # Errors
/// `EACCES`, `EIO`.
pub(crate) fn check_access(vnode: &Vnode, cred: &Cred, want: Access) -> Result<()> {
    let owner = vnode.owner();
    let acl = if owner.has_acl && !cred.is_root() {
        access_acl(vnode)?
    } else {
        None
    };
    perm::access(&owner, acl.as_deref(), cred, want)
}

/// The access ACL of a file, if it has one.
///
/// # Errors
/// `EIO`.
pub(crate) fn access_acl(vnode: &Vnode) -> Result<Option<Arc<Acl>>> {
    if let Some(known) = &vnode.extra.lock().access {
        return Ok(known.clone());
    }
    let inode = vnode.shared()?;
    let acl = stored_acl(vnode, &vnode.mount.fs.get_xattr(&inode, acl::ACCESS))?;
    vnode.extra.lock().access = Some(acl.clone());
    Ok(acl)
}

/// An ACL as the driver gave it. One that is not valid must not open a file to all: `EIO`.
pub(crate) fn stored_acl(vnode: &Vnode, value: &Result<Vec<u8>>) -> Result<Option<Arc<Acl>>> {
    match value {
        Ok(value) => match Acl::parse(value) {
            Ok(acl) => Ok(acl.map(Arc::new)),
            Err(_) => {
                vnode.mount.caches.log.message(format_args!(
                    "{}: inode {}: damaged access control list",
                    vnode.mount.from,
                    vnode.ino().0
                ));
                Err(Errno::EIO)
            }
        },
        Err(Errno::ENOATTR | Errno::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(*error),
    }
}
