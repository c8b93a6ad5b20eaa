//! Path walk.
//!
//! Two gears: along cached names under the one lock of the name cache, with borrowed vnodes (`cached`), and one component
//! at a time through the driver (`Walker`), which enters what it finds into the cache and goes on in the first gear.

use crate::{
    acl::{self, Acl},
    calls::{Access, Follow},
    erased::AnyFileSystem,
    fs::Found,
    mount::Caches,
    name::Name,
    namecache::{Names, Table, Target},
    perm,
    vnode::{COVERED, REMOVED, Vnode, VnodeRef},
};
use alloc::{borrow::Cow, sync::Arc, vec::Vec};
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

/// Walks along cached names as far as that goes.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`, `ENAMETOOLONG`.
pub(crate) fn cached<'t>(
    names: &Names,
    table: &'t Table,
    (root, start): (&'t Arc<Vnode>, &'t Arc<Vnode>),
    path: &[u8],
    follow: Follow,
    cred: &Cred,
) -> Result<Cached<'t>> {
    let mut dir = start;
    let mut pos = 0;
    loop {
        while path.get(pos) == Some(&b'/') {
            pos += 1;
        }
        let Some(rest) = path.get(pos..).filter(|r| !r.is_empty()) else {
            return if dir.is_dir() || path.last() != Some(&b'/') {
                Ok(Cached::Found(dir))
            } else {
                Err(Errno::ENOTDIR)
            };
        };
        let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        let component = &rest[..len];
        if !dir.searchable() {
            let owner = dir.owner();
            if owner.file_type != FileType::Directory {
                return Err(Errno::ENOTDIR);
            }
            if owner.has_acl && !cred.is_root() {
                return Ok(Cached::Stopped(dir, pos));
            }
            perm::access(&owner, None, cred, Access::X)?;
        }
        let next = match component {
            b"." => Some(dir),
            b".." => cached_parent(names, table, root, dir),
            name => {
                if name.len() > dir.mount.limits.name_max {
                    return Err(Errno::ENAMETOOLONG);
                }
                match table.get(names.hash(dir.id, name), dir.id, name) {
                    Some(Target::Vnode(vnode)) => Some(table.top(vnode)),
                    Some(Target::Nothing) => return Err(Errno::ENOENT),
                    None => None,
                }
            }
        };
        match next {
            Some(next)
                if next.file_type != FileType::Symlink
                    || (len == rest.len() && follow == Follow::No) =>
            {
                dir = next;
            }
            _ => return Ok(Cached::Stopped(dir, pos)),
        }
        pos += len;
    }
}

fn cached_parent<'t>(
    names: &Names,
    table: &'t Table,
    root: &'t Arc<Vnode>,
    mut dir: &'t Arc<Vnode>,
) -> Option<&'t Arc<Vnode>> {
    if dir.id == root.id {
        return Some(dir);
    }
    while dir.is_root() {
        match table.covered(dir.mount.id) {
            Some(covered) => dir = covered,
            None => return Some(dir),
        }
    }
    match table.get(names.hash(dir.id, b".."), dir.id, b"..")? {
        Target::Vnode(parent) => Some(table.top(parent)),
        Target::Nothing => None,
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
    pub(crate) caches: &'a Caches,
    pub(crate) cred: &'a Cred,
    pub(crate) root: VnodeRef,
    links: u32,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(caches: &'a Caches, cred: &'a Cred, root: VnodeRef) -> Self {
        Self {
            caches,
            cred,
            root,
            links: 0,
        }
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// Those of paths.
    pub(crate) fn resolve(
        &mut self,
        start: &VnodeRef,
        path: &[u8],
        follow: Follow,
    ) -> Result<VnodeRef> {
        check_length(path)?;
        let mut path = Cow::Borrowed(path);
        let mut pos = 0;
        let mut dir = self.first(start, &path);
        loop {
            let (at, skipped) = match self.along(&dir, &path[pos..], follow)? {
                (found, None) => return Ok(found),
                (at, Some(skipped)) => (at, skipped),
            };
            let rest = &path[pos + skipped..];
            let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            let (component, rest) = rest.split_at(len);
            let next = self.step(&at, component)?;
            if next.file_type == FileType::Symlink && (!rest.is_empty() || follow == Follow::Yes) {
                path = Cow::Owned(self.expand(&next, rest)?);
                pos = 0;
                dir = self.first(&at, &path);
            } else {
                pos = path.len() - rest.len();
                dir = next;
            }
        }
    }

    /// Where a path starts that is relative to `dir` or absolute.
    fn first(&self, dir: &VnodeRef, path: &[u8]) -> VnodeRef {
        if path.first() == Some(&b'/') {
            self.root.clone()
        } else {
            dir.clone()
        }
    }

    /// The directory that a path's last component is to be looked up in.
    ///
    /// # Errors
    /// Those of paths; `ENOTDIR`.
    pub(crate) fn resolve_dir(&mut self, start: &VnodeRef, prefix: &[u8]) -> Result<VnodeRef> {
        let dir = if prefix.is_empty() {
            start.clone()
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
        dir: &VnodeRef,
        path: &[u8],
        follow: Follow,
    ) -> Result<(VnodeRef, Option<usize>)> {
        let names = &self.caches.names;
        let table = names.read();
        let ends = (self.root.arc(), dir.arc());
        let (at, pos) = match cached(names, &table, ends, path, follow, self.cred)? {
            Cached::Found(vnode) => (vnode, None),
            Cached::Stopped(dir, pos) => (dir, Some(pos)),
        };
        if let Some(at) = VnodeRef::acquire(at) {
            return Ok((at, pos));
        }
        // It is on its way out of the caches: go to the driver from the start, which waits for that.
        let start = path.iter().position(|&b| b != b'/');
        drop(table);
        Ok((dir.clone(), Some(start.ok_or(Errno::ENOENT)?)))
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
    fn step(&self, dir: &VnodeRef, component: &[u8]) -> Result<VnodeRef> {
        if !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        check_access(dir, self.cred, Access::X)?;
        match component {
            b"." => Ok(dir.clone()),
            b".." => self.parent(dir),
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
        self.caches
            .names
            .enter(dir, name.bytes(), found.as_ref().map(VnodeRef::arc));
        drop(inode);
        Ok(found.map(|vnode| self.top(vnode)))
    }

    /// The root of what is mounted on a directory, else the directory.
    pub(crate) fn top(&self, vnode: VnodeRef) -> VnodeRef {
        if !vnode.marked(COVERED) {
            return vnode;
        }
        let table = self.caches.names.read();
        let top = table.top(vnode.arc());
        // It cannot be acquired while it is being unmounted.
        let crossed = (top.id != vnode.id).then(|| VnodeRef::acquire(top));
        drop(table);
        crossed.flatten().unwrap_or(vnode)
    }

    /// `..` of a directory.
    fn parent(&self, dir: &VnodeRef) -> Result<VnodeRef> {
        if dir.same(&self.root) {
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
