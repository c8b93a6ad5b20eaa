//! The vnode interface for consumers: what a driver can do, without paths and descriptors.
//!
//! A server such as p2k holds [`Vnode`]s and works on them. An extension trait of [`Proc`]: `use rumpvfs::VnodeCalls as _;`.
//!
//! **Permissions are the consumer's.** Nothing here is refused for a permission bit, an owner or an access control list: whoever serves a
//! file system has checked that ([`vop_access`](VnodeCalls::vop_access) does, if asked). The credentials of the call say who owns what is
//! made and whose blocks it takes. What a file's flags, a read-only mount or the format forbid stays forbidden.

use crate::{
    attr::{set_attributes, set_size},
    calls::{Access, FileExtent, Follow, RenameFlags, SetTime},
    create::NewNode,
    data,
    dir::{self, DOT, DOTDOT, FIRST},
    erased::AnyFileSystem as _,
    file::VnodeFile,
    fs::{Ino, SetAttributes, XattrMode},
    mount::Look,
    pages::Keep,
    perm,
    process::{Ctx, Start},
    vnode::{NAMELESS, VnodeRef},
    walk::{self, damaged},
};
use alloc::{sync::Arc, vec::Vec};
use rumpkern::{
    File as _, FileType, OpenFlags, Position, Proc, Stat, Statvfs, file::Seekable as _,
};
use rumpuser::{Errno, Result, Timespec};

pub use crate::fs::{FlagNumbers, NewKind};

/// A vnode in use: as long as the value lives the inode stays in memory, and if it loses its last name its data stays readable.
#[derive(Clone)]
pub struct Vnode(VnodeRef);

/// An open vnode: what is kept between `open` and `close`. It may be read and written whatever it was opened for; who may do what is the
/// consumer's to check.
#[derive(Clone)]
pub struct OpenVnode(Arc<VnodeFile>);

/// A file to be made.
#[derive(Clone, Debug)]
pub struct NewVnode {
    /// Type with what only that type has.
    pub kind: NewKind,
    /// Permission bits as asked for, at most 0o7777.
    pub mode: u32,
    /// Permission bits that it does not get, unless its directory has a default access control list.
    pub umask: u32,
}

/// A change of attributes; what is `None` or [`SetTime::Omit`] stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnodeChange {
    /// Size, of a regular file.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner. A new owner or group takes the set-id bits of what is no directory, whoever asks.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time.
    pub atime: SetTime,
    /// Modification time.
    pub mtime: SetTime,
    /// Inode change time, for a consumer that keeps it itself; otherwise it is now.
    pub ctime: Option<Timespec>,
}

/// What a write does besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteHow {
    /// It is a user's whose writes take set-id bits away.
    pub clear_set_id: bool,
    /// The times of the file stay: the consumer keeps those of the change, and sets them.
    pub keep_times: bool,
}

/// An entry of a directory.
pub struct VnodeDirent {
    /// Name; `.` and `..` are listed.
    pub name: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// Type.
    pub file_type: FileType,
    /// The offset that the listing goes on from after this entry.
    pub next: u64,
    /// Its vnode, where they were asked for; never of `.` and `..`.
    pub vnode: Option<Result<Vnode>>,
}

impl Vnode {
    /// Names the vnode among all of its kernel, for as long as it lives; never used again for another.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Its inode number. Where [`renumbers`](Self::renumbers) says so it changes when the file is renamed.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.0.ino().0
    }

    /// Its type.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.0.file_type
    }

    /// Whether inode numbers of its file system change when files are renamed, and names that differ may lead to the same entry (msdosfs).
    #[must_use]
    pub fn renumbers(&self) -> bool {
        self.0.mount.limits.folds
    }

    /// Whether its file system is mounted read-only.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.0.mount.read_only()
    }

    /// The finest step of times of its file system in nanoseconds.
    #[must_use]
    pub fn time_granularity(&self) -> u32 {
        self.0.mount.limits.time_granularity
    }

    /// Whether it has set-id bits that a write by an ordinary user takes away.
    #[must_use]
    pub fn has_set_id(&self) -> bool {
        perm::mode_after_write(&self.0.owner(), false).is_some()
    }

    /// Whose numbers the flags of its file system are.
    #[must_use]
    pub fn flag_numbers(&self) -> FlagNumbers {
        self.0.mount.limits.flag_numbers
    }

    /// The largest size that a file of its file system can have.
    #[must_use]
    pub fn file_size_max(&self) -> u64 {
        self.0.mount.limits.file_size_max
    }

    /// Whether it was made without a name and may get its first one.
    #[must_use]
    pub fn awaits_name(&self) -> bool {
        self.0.marked(NAMELESS)
    }

    fn start(&self) -> Start {
        Some(self.0.clone())
    }
}

impl OpenVnode {
    /// Its vnode.
    #[must_use]
    pub fn vnode(&self) -> Vnode {
        Vnode(self.0.vnode.clone())
    }
}

/// Operations on vnodes. Implemented by [`Proc`]. Every one may give `EIO`.
pub trait VnodeCalls {
    /// What a path leads to; permissions along the path are checked.
    ///
    /// # Errors
    /// Those of paths.
    fn vfs_lookup(&self, path: &[u8]) -> Result<Vnode>;
    /// The vnode of an inode number on the file system that `on` is of.
    ///
    /// # Errors
    /// `ESTALE` when no inode in use has it.
    fn vfs_vget(&self, on: &Vnode, ino: u64) -> Result<Vnode>;
    /// Numbers of the file system.
    ///
    /// # Errors
    /// `EIO`.
    fn vfs_statvfs(&self, on: &Vnode) -> Result<Statvfs>;
    /// Makes everything of the file system durable.
    ///
    /// # Errors
    /// The first error; all is tried.
    fn vfs_sync(&self, on: &Vnode) -> Result<()>;
    /// Finds a name, `.` and `..` among them. A symbolic link is not followed.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENAMETOOLONG`.
    fn vop_lookup(&self, dir: &Vnode, name: &[u8]) -> Result<Vnode>;
    /// Attributes.
    ///
    /// # Errors
    /// `EIO`.
    fn vop_getattr(&self, vnode: &Vnode) -> Result<Stat>;
    /// Changes attributes: the size first, then all others at once.
    ///
    /// # Errors
    /// `EROFS`, `EPERM` (flags of the file), `EISDIR`, `EINVAL`, `EFBIG`, `ENOSPC`.
    fn vop_setattr(&self, vnode: &Vnode, change: &VnodeChange) -> Result<()>;
    /// Whether the caller's credentials allow an access.
    ///
    /// # Errors
    /// `EACCES`, `EROFS`, `EPERM`.
    fn vop_access(&self, vnode: &Vnode, access: Access) -> Result<()>;

    /// Sets the file flags, in [the numbers of the format](Vnode::flag_numbers). Who may is looked at here, by the credentials of the call: the owner,
    /// and of flags that forbid changes the superuser.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`; `EOPNOTSUPP` for flags that cannot be set.
    fn vop_setflags(&self, vnode: &Vnode, flags: u32) -> Result<()>;
    /// The project that a file belongs to, 0 if none.
    ///
    /// # Errors
    /// `EOPNOTSUPP` on a volume without projects.
    fn vop_getproject(&self, vnode: &Vnode) -> Result<u32>;
    /// Gives a file to a project. Who may is looked at here: the owner and the superuser.
    ///
    /// # Errors
    /// `EOPNOTSUPP`; `EPERM`, also where the file is immutable; `EROFS`; `EOVERFLOW` (the file's inode has no room for it).
    fn vop_setproject(&self, vnode: &Vnode, project: u32) -> Result<()>;
    /// Makes a file of any type with a name.
    ///
    /// # Errors
    /// `EEXIST`, `EROFS`, `ENOSPC`, `EMLINK`, `ENAMETOOLONG`, `EOPNOTSUPP` (not in this format).
    fn vop_create(&self, dir: &Vnode, name: &[u8], new: NewVnode) -> Result<Vnode>;

    /// Makes a regular file without a name (`O_TMPFILE`) in the file system of a directory; [`vop_link`](Self::vop_link) can give it one.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the format has none, else those of [`vop_create`](Self::vop_create).
    fn vop_create_unnamed(&self, dir: &Vnode, mode: u32, umask: u32) -> Result<Vnode>;
    /// Gives a file one more name.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM` (a directory), `EMLINK`, `EXDEV`, `EROFS`, `ENOSPC`, `EOPNOTSUPP`.
    fn vop_link(&self, dir: &Vnode, name: &[u8], vnode: &Vnode) -> Result<()>;
    /// Removes a name of what is no directory.
    ///
    /// # Errors
    /// `ENOENT`, `EPERM`, `EROFS`.
    fn vop_remove(&self, dir: &Vnode, name: &[u8]) -> Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`.
    fn vop_rmdir(&self, dir: &Vnode, name: &[u8]) -> Result<()>;
    /// Renames.
    ///
    /// # Errors
    /// As [`renameat`](crate::Calls::renameat).
    fn vop_rename(
        &self,
        from: (&Vnode, &[u8]),
        to: (&Vnode, &[u8]),
        flags: RenameFlags,
    ) -> Result<()>;
    /// Target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` if it is none.
    fn vop_readlink(&self, vnode: &Vnode) -> Result<Arc<[u8]>>;
    /// Entries of a directory from an offset on (0: the start), `max` at most; none at the end. With `vnodes`, those of the entries come along.
    ///
    /// # Errors
    /// `ENOTDIR`, `EIO`.
    fn vop_readdir(
        &self,
        dir: &Vnode,
        offset: u64,
        max: usize,
        vnodes: bool,
    ) -> Result<Vec<VnodeDirent>>;
    /// Opens a regular file or a directory. Of `flags` the access mode and `TRUNC` count.
    ///
    /// # Errors
    /// `EROFS`, `EPERM` (flags of the file), `EISDIR`; `ENXIO` for a file of another type.
    fn vop_open(&self, vnode: &Vnode, flags: OpenFlags) -> Result<OpenVnode>;
    /// What `close` does for the last descriptor: brings times to the driver, tells of writes that failed.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC` of delayed writes.
    fn vop_close(&self, open: &OpenVnode) -> Result<()>;
    /// Reads into a buffer; fewer bytes at the end of the file alone. Who asks keeps what it gets, so that does not go into the cache here;
    /// what is read ahead of a file that is read in sequence does.
    ///
    /// # Errors
    /// `EISDIR`.
    fn vop_read(&self, open: &OpenVnode, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// Writes.
    ///
    /// # Errors
    /// `EFBIG`, `ENOSPC`, `EROFS`, `EPERM`.
    fn vop_write(&self, open: &OpenVnode, offset: u64, data: &[u8], how: WriteHow)
    -> Result<usize>;
    /// Appends a range (offset and length) whose bytes the consumer puts on the device itself: `put` is called with every extent, in ascending order. Gives
    /// the bytes done, above 0; what is missing at the end is written in the usual way.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where this cannot be: not at a page behind the end, or too short. Those of `put`, and `ENOSPC`, `EROFS`. In any case nothing
    /// was done.
    fn vop_write_extents(
        &self,
        open: &OpenVnode,
        range: (u64, u64),
        how: WriteHow,
        put: &mut dyn FnMut(FileExtent) -> Result<()>,
    ) -> Result<u64>;
    /// Makes a file's data, and unless `data_only` its attributes, durable; tells of writes that failed since it was opened.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    fn vop_fsync(&self, open: &OpenVnode, data_only: bool) -> Result<()>;
    /// Reserves space.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENOSPC`, `EFBIG`, `EINVAL`.
    fn vop_allocate(&self, open: &OpenVnode, range: (u64, u64), keep_size: bool) -> Result<()>;
    /// Makes a hole; the size stays.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL`.
    fn vop_deallocate(&self, open: &OpenVnode, offset: u64, len: u64) -> Result<()>;
    /// Offset of the first data, or with `hole` of the first hole, at or after `from`.
    ///
    /// # Errors
    /// `ENXIO`, `EINVAL`.
    fn vop_seek(&self, open: &OpenVnode, from: u64, hole: bool) -> Result<u64>;
    /// Value of an extended attribute.
    ///
    /// # Errors
    /// `ENOATTR`, `EOPNOTSUPP`.
    fn vop_getxattr(&self, vnode: &Vnode, name: &[u8]) -> Result<Vec<u8>>;
    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST`, `ENOATTR`, `EOPNOTSUPP`, `ENOSPC`, `ERANGE`, `EROFS`, `EPERM`.
    fn vop_setxattr(&self, vnode: &Vnode, name: &[u8], value: &[u8], mode: XattrMode)
    -> Result<()>;
    /// Names of the extended attributes.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    fn vop_listxattr(&self, vnode: &Vnode) -> Result<Vec<Vec<u8>>>;
    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENOATTR`, `EOPNOTSUPP`, `EROFS`, `EPERM`.
    fn vop_removexattr(&self, vnode: &Vnode, name: &[u8]) -> Result<()>;
}

/// A path of one component: names with slashes are none.
fn component(name: &[u8]) -> Result<&[u8]> {
    match name {
        [] => Err(Errno::ENOENT),
        _ if name.contains(&b'/') || name.contains(&0) => Err(Errno::EINVAL),
        _ => Ok(name),
    }
}

impl VnodeCalls for Proc {
    fn vfs_lookup(&self, path: &[u8]) -> Result<Vnode> {
        self.enter(|| Ctx::new(self)?.resolve(&None, path, Follow::Yes).map(Vnode))
    }

    fn vfs_vget(&self, on: &Vnode, ino: u64) -> Result<Vnode> {
        self.enter(|| on.0.mount.vnode(Ino(ino)).map(Vnode))
    }

    fn vfs_statvfs(&self, on: &Vnode) -> Result<Statvfs> {
        self.enter(|| on.0.mount.statvfs())
    }

    fn vfs_sync(&self, on: &Vnode) -> Result<()> {
        self.enter(|| on.0.mount.sync())
    }

    fn vop_lookup(&self, dir: &Vnode, name: &[u8]) -> Result<Vnode> {
        self.enter(|| {
            let ctx = Ctx::checked(self, 0)?;
            ctx.resolve(&dir.start(), component(name)?, Follow::No)
                .map(Vnode)
        })
    }

    fn vop_getattr(&self, vnode: &Vnode) -> Result<Stat> {
        self.enter(|| vnode.0.stat())
    }

    fn vop_setattr(&self, vnode: &Vnode, change: &VnodeChange) -> Result<()> {
        self.enter(|| setattr(&Ctx::checked(self, 0)?, &vnode.0, change))
    }

    fn vop_access(&self, vnode: &Vnode, access: Access) -> Result<()> {
        self.enter(|| Ctx::new(self)?.access(&vnode.start(), b"", access, Follow::No))
    }

    fn vop_getproject(&self, vnode: &Vnode) -> Result<u32> {
        self.enter(|| Ctx::project(&vnode.0))
    }

    fn vop_setproject(&self, vnode: &Vnode, project: u32) -> Result<()> {
        self.enter(|| Ctx::new(self)?.set_project(&vnode.0, project))
    }

    fn vop_setflags(&self, vnode: &Vnode, flags: u32) -> Result<()> {
        self.enter(|| Ctx::new(self)?.chflags(&vnode.start(), b"", flags, Follow::No))
    }

    fn vop_create(&self, dir: &Vnode, name: &[u8], new: NewVnode) -> Result<Vnode> {
        self.enter(|| {
            let ctx = Ctx::checked(self, new.umask & 0o777)?;
            let node = NewNode {
                kind: new.kind,
                mode: new.mode & 0o7777,
            };
            ctx.make_at(&dir.start(), component(name)?, node).map(Vnode)
        })
    }

    fn vop_create_unnamed(&self, dir: &Vnode, mode: u32, umask: u32) -> Result<Vnode> {
        self.enter(|| {
            let ctx = Ctx::checked(self, umask & 0o777)?;
            ctx.make_unnamed(&dir.0, mode & 0o7777, true).map(Vnode)
        })
    }

    fn vop_link(&self, dir: &Vnode, name: &[u8], vnode: &Vnode) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::checked(self, 0)?;
            let to = (&dir.start(), component(name)?);
            ctx.link((&vnode.start(), b""), to, Follow::No)
        })
    }

    fn vop_remove(&self, dir: &Vnode, name: &[u8]) -> Result<()> {
        self.enter(|| Ctx::checked(self, 0)?.unlink(&dir.start(), component(name)?))
    }

    fn vop_rmdir(&self, dir: &Vnode, name: &[u8]) -> Result<()> {
        self.enter(|| Ctx::checked(self, 0)?.rmdir(&dir.start(), component(name)?))
    }

    fn vop_rename(
        &self,
        from: (&Vnode, &[u8]),
        to: (&Vnode, &[u8]),
        flags: RenameFlags,
    ) -> Result<()> {
        self.enter(|| {
            let ctx = Ctx::checked(self, 0)?;
            let from = (&from.0.start(), component(from.1)?);
            ctx.rename(from, (&to.0.start(), component(to.1)?), flags)
        })
    }

    fn vop_readlink(&self, vnode: &Vnode) -> Result<Arc<[u8]>> {
        self.enter(|| match vnode.0.file_type {
            FileType::Symlink => walk::read_link(&vnode.0),
            _ => Err(Errno::EINVAL),
        })
    }

    fn vop_readdir(
        &self,
        dir: &Vnode,
        offset: u64,
        max: usize,
        vnodes: bool,
    ) -> Result<Vec<VnodeDirent>> {
        self.enter(|| readdir(self, &dir.0, offset, max, vnodes))
    }

    fn vop_open(&self, vnode: &Vnode, flags: OpenFlags) -> Result<OpenVnode> {
        self.enter(|| {
            let ctx = Ctx::checked(self, 0)?;
            let kept = OpenFlags::WRONLY | OpenFlags::RDWR | OpenFlags::TRUNC | OpenFlags::APPEND;
            let flags = flags & kept;
            ctx.open_plain(vnode.0.clone(), flags)
                .map(|file| OpenVnode(Arc::new(file)))
        })
    }

    fn vop_close(&self, open: &OpenVnode) -> Result<()> {
        self.enter(|| open.0.close())
    }

    fn vop_read(&self, open: &OpenVnode, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.enter(|| (open.0).read_data(Position::At(offset), &mut [buf], Keep::Ahead))
    }

    fn vop_write(
        &self,
        open: &OpenVnode,
        offset: u64,
        data: &[u8],
        how: WriteHow,
    ) -> Result<usize> {
        self.enter(|| {
            open.0.vnode.mount.writable()?;
            let at = Position::At(offset);
            let (done, _) = open.0.write_data(at, &[data], how.keep_times)?;
            if how.clear_set_id {
                self::clear_set_id(&open.0.vnode)?;
            }
            Ok(done)
        })
    }

    fn vop_write_extents(
        &self,
        open: &OpenVnode,
        range: (u64, u64),
        how: WriteHow,
        put: &mut dyn FnMut(FileExtent) -> Result<()>,
    ) -> Result<u64> {
        self.enter(|| {
            open.0.vnode.mount.writable()?;
            let done = open.0.write_extents(range, how.keep_times, put)?;
            if how.clear_set_id {
                self::clear_set_id(&open.0.vnode)?;
            }
            Ok(done)
        })
    }

    fn vop_fsync(&self, open: &OpenVnode, data_only: bool) -> Result<()> {
        self.enter(|| open.0.sync(data_only))
    }

    fn vop_allocate(&self, open: &OpenVnode, range: (u64, u64), keep_size: bool) -> Result<()> {
        self.enter(|| data::allocate(&open.0, OpenFlags::RDWR, range, keep_size))
    }

    fn vop_deallocate(&self, open: &OpenVnode, offset: u64, len: u64) -> Result<()> {
        self.enter(|| data::punch(&open.0, OpenFlags::RDWR, offset, len))
    }

    fn vop_seek(&self, open: &OpenVnode, from: u64, hole: bool) -> Result<u64> {
        self.enter(|| {
            if hole {
                open.0.hole(from)
            } else {
                open.0.data(from)
            }
        })
    }

    fn vop_getxattr(&self, vnode: &Vnode, name: &[u8]) -> Result<Vec<u8>> {
        self.enter(|| Ctx::checked(self, 0)?.getxattr(&vnode.0, name))
    }

    fn vop_setxattr(
        &self,
        vnode: &Vnode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.enter(|| Ctx::checked(self, 0)?.setxattr(&vnode.0, name, value, mode))
    }

    fn vop_listxattr(&self, vnode: &Vnode) -> Result<Vec<Vec<u8>>> {
        self.enter(|| Ctx::checked(self, 0)?.listxattr(&vnode.0))
    }

    fn vop_removexattr(&self, vnode: &Vnode, name: &[u8]) -> Result<()> {
        self.enter(|| Ctx::checked(self, 0)?.removexattr(&vnode.0, name))
    }
}

fn setattr(ctx: &Ctx<'_>, vnode: &VnodeRef, wanted: &VnodeChange) -> Result<()> {
    if let Some(size) = wanted.size {
        let space = vnode.mount.fs.space_for(&ctx.cred);
        set_size(vnode, size, ctx.cred.is_root(), space)?;
    }
    let rest = VnodeChange {
        size: None,
        ..*wanted
    };
    if rest == VnodeChange::default() {
        return Ok(());
    }
    if rest.mode.is_some() && vnode.file_type == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    // Times that the consumer has kept for the file are told whatever is forbidden since.
    let told = rest.ctime.is_some()
        && VnodeChange {
            atime: SetTime::Omit,
            mtime: SetTime::Omit,
            ctime: None,
            ..rest
        } == VnodeChange::default();
    ctx.change(vnode, |now| {
        if !told {
            match (rest.mode, rest.uid, rest.gid, rest.atime, rest.mtime) {
                // To the present: a file that only grows may have that.
                (None, None, None, SetTime::Now, SetTime::Now) => {
                    perm::extendable(now.protection)?;
                }
                _ => perm::changeable(now.protection)?,
            }
        }
        let owner = rest.uid.is_some() || rest.gid.is_some();
        let cleared = (owner && now.file_type != FileType::Directory)
            .then(|| perm::mode_after_write(&vnode.owner(), false))
            .flatten();
        let (atime, mtime) = vnode.mount.times((rest.atime, rest.mtime));
        Ok(SetAttributes {
            mode: rest.mode.map(|mode| mode & 0o7777).or(cleared),
            uid: rest.uid,
            gid: rest.gid,
            atime,
            mtime,
            ctime: rest.ctime.map(|time| vnode.mount.round(time)),
            ..SetAttributes::default()
        })
    })
}

/// Takes the set-id bits of a file away that an ordinary user has written.
fn clear_set_id(vnode: &VnodeRef) -> Result<()> {
    if perm::mode_after_write(&vnode.owner(), false).is_none() {
        return Ok(());
    }
    let mut inode = vnode.exclusive()?;
    let Some(mode) = perm::mode_after_write(&vnode.owner(), false) else {
        return Ok(());
    };
    let change = SetAttributes {
        mode: Some(mode),
        ..SetAttributes::default()
    };
    set_attributes(vnode, &mut inode, change)
}

fn readdir(
    proc: &Proc,
    dir: &VnodeRef,
    offset: u64,
    max: usize,
    vnodes: bool,
) -> Result<Vec<VnodeDirent>> {
    if !dir.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let mut entries = Vec::new();
    let special = |ino, name: &[u8], next| VnodeDirent {
        ino,
        file_type: FileType::Directory,
        name: name.to_vec(),
        next,
        vnode: None,
    };
    if offset == DOT && max > 0 {
        entries.push(special(dir.ino().0, b".", DOTDOT));
    }
    if offset <= DOTDOT && entries.len() < max {
        entries.push(special(dir::dotdot(proc, dir)?, b"..", FIRST));
    }
    let room = max.saturating_sub(entries.len());
    if room == 0 {
        return Ok(entries);
    }
    // One lock from listing to noting: the names stay true while their inodes are loaded.
    let inode = dir.shared()?;
    let gathered = match dir::gather(dir, &inode, offset.max(FIRST), room) {
        Ok(gathered) => gathered,
        Err(_) if !entries.is_empty() => return Ok(entries),
        Err(error) => return Err(error),
    };
    let first = entries.len();
    entries.extend(gathered.into_iter().map(|(dirent, next)| VnodeDirent {
        name: dirent.name,
        ino: dirent.ino,
        file_type: dirent.file_type.unwrap_or(FileType::Regular),
        next,
        vnode: (vnodes || dirent.file_type.is_none()).then_some(Err(Errno::EIO)),
    }));
    // In the order of their numbers, which is that of their places on the medium.
    let found = entries.get_mut(first..).unwrap_or_default();
    let mut wanted: Vec<_> = found.iter_mut().filter(|e| e.vnode.is_some()).collect();
    wanted.sort_unstable_by_key(|entry| entry.ino);
    for entry in wanted {
        if vnodes {
            entry.vnode = Some(find_vnode(dir, entry));
        } else {
            find_type(dir, entry);
            entry.vnode = None;
        }
    }
    drop(inode);
    dir.data_read();
    Ok(entries)
}

/// The type of a file that a directory does not tell. If there is an error it is listed all the same; who opens it is told.
fn find_type(dir: &VnodeRef, entry: &mut VnodeDirent) {
    match dir.mount.look(Ino(entry.ino)) {
        Ok(Look::Stat(stat)) => entry.file_type = stat.file_type,
        Ok(Look::Vnode(vnode)) => entry.file_type = vnode.file_type,
        Err(_) => {}
    }
}

/// The vnode of an entry, whose name is known from then on.
fn find_vnode(dir: &VnodeRef, entry: &mut VnodeDirent) -> Result<Vnode> {
    let vnode = dir.mount.vnode(Ino(entry.ino)).map_err(damaged)?;
    entry.file_type = vnode.file_type;
    let names = &dir.mount.caches.names;
    names.enter(dir, &entry.name, Some(vnode.arc()));
    Ok(Vnode(vnode))
}
