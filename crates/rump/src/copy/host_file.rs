//! One regular file, written to the host; and the attributes of whatever is put there.

use super::{Content, Job, Loss, Meta, for_chunks, mover::Mover};
use crate::{
    hostfs::{Unnamed, timestamps},
    quote::shown_os,
    report::{Failure, Outcome, io_reason},
};
use rumpkern::FileType;
use rustix::{
    fs::{self, AtFlags, Gid, Mode, OFlags, Uid, XattrFlags},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
};

/// A directory of the host that files are written to.
pub(crate) struct Parent {
    pub(crate) fd: OwnedFd,
    /// Where it is, for messages.
    pub(crate) path: PathBuf,
    /// This copy made it, and nobody else may enter it before the end.
    pub(crate) ours: bool,
    /// What its default ACL lets new files have.
    pub(crate) default_mode: Option<u32>,
}

impl Parent {
    /// Takes what its default ACL gave from a new file that is to have none.
    fn take_back_acls(&self, job: &Job<'_>, fd: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
        match self.default_mode {
            Some(_) => remove_acls(job, fd, meta),
            None => Ok(()),
        }
    }
}

/// Writes files, one after another.
#[derive(Default)]
pub(crate) struct FileWriter {
    mover: Mover,
}

impl FileWriter {
    /// Writes a file with its content and attributes. What has its name is replaced when the new one is whole, unless it
    /// is to stay.
    ///
    /// # Errors
    /// Those of the content and of the host; the file is not there then, and what was there before is.
    pub(crate) fn write(
        &mut self,
        dir: &Parent,
        name: &OsStr,
        meta: &Meta,
        content: &mut dyn Content,
        job: &Job<'_>,
    ) -> Outcome<()> {
        let shown = dir.path.join(name);
        // Attributes of users are only taken by a file that its owner may write to.
        let in_place = dir.ours && meta.xattrs.is_empty();
        if in_place && self.write_in_place(dir, name, &shown, meta, content, job)? {
            return Ok(());
        }
        let fail = |error: io::Error| Failure::host(&shown, &error);
        let mut mode = new_mode(job, meta, dir.default_mode);
        if let Ok(there) = fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            if job.options.no_clobber {
                return Ok(());
            }
            match fs::FileType::from_raw_mode(there.st_mode) {
                fs::FileType::Directory => return Err(fail(Errno::ISDIR.into())),
                // As with cp, a file that is replaced keeps its mode.
                fs::FileType::RegularFile if !job.options.keep.mode => {
                    mode = there.st_mode & 0o7777;
                }
                _ => {}
            }
        }
        let make = |dir: BorrowedFd<'_>, name: &OsStr| create(dir, name, 0o600);
        let (unnamed, file) = Unnamed::make(dir.fd.as_fd(), make).map_err(fail)?;
        self.fill(&file, &shown, meta, content, job)?;
        dir.take_back_acls(job, file.as_fd(), meta).map_err(fail)?;
        attributes(job, &shown, file.as_fd(), meta, Some(mode)).map_err(fail)?;
        drop(file);
        unnamed.publish(name, job.options.no_clobber).map_err(fail)
    }

    /// Writes a new file under its name, in a directory of our own. Nobody but its owner finds it there before it is whole,
    /// and until then it has no permissions at all: what a killed program leaves does not look like a file that was
    /// copied. That saves the temporary name, which costs more than all attributes together. `false`: the name is taken.
    fn write_in_place(
        &mut self,
        dir: &Parent,
        name: &OsStr,
        shown: &Path,
        meta: &Meta,
        content: &mut dyn Content,
        job: &Job<'_>,
    ) -> Outcome<bool> {
        let fail = |error: io::Error| Failure::host(shown, &error);
        let file = match create(dir.fd.as_fd(), name, 0) {
            Ok(file) => file,
            Err(Errno::EXIST) => return Ok(false),
            Err(error) => return Err(fail(error.into())),
        };
        let done = self.fill(&file, shown, meta, content, job).and_then(|()| {
            let mode = Some(new_mode(job, meta, dir.default_mode));
            dir.take_back_acls(job, file.as_fd(), meta)
                .and_then(|()| attributes(job, shown, file.as_fd(), meta, mode))
                .map_err(fail)
        });
        if done.is_err() {
            let _ = fs::unlinkat(&dir.fd, name, AtFlags::empty());
        }
        done.map(|()| true)
    }

    /// Writes the content.
    fn fill(
        &mut self,
        file: &File,
        shown: &Path,
        meta: &Meta,
        content: &mut dyn Content,
        job: &Job<'_>,
    ) -> Outcome<()> {
        let fail = |error: io::Error| Failure::host(shown, &error);
        let pieces = content.pieces().to_vec();
        for piece in &pieces {
            let mut tell = |moved| job.progress.bytes(moved);
            let at = Some(piece.offset);
            let moved = self.mover.move_piece(content, piece, file, at, &mut tell)?;
            let rest = piece.behind(moved);
            for_chunks(content, &[rest], &mut |offset, data| {
                file.write_all_at(data, offset).map_err(fail)?;
                job.progress.bytes(data.len() as u64);
                Ok(())
            })?;
        }
        let end = pieces.last().map_or(0, |piece| piece.offset + piece.len);
        if end < meta.size {
            file.set_len(meta.size).map_err(fail)?;
        }
        Ok(())
    }
}

fn create(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> rustix::io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    fs::openat(dir, name, flags, Mode::from_raw_mode(mode)).map(File::from)
}

/// The mode of something new. Where its directory has a default ACL, that takes the umask's place: `default_mode`.
pub(super) fn new_mode(job: &Job<'_>, meta: &Meta, default_mode: Option<u32>) -> u32 {
    if job.options.keep.mode {
        meta.mode
    } else {
        meta.mode & 0o777 & default_mode.unwrap_or(!job.options.umask)
    }
}

pub(super) fn owner(job: &Job<'_>, meta: &Meta) -> Option<(u32, u32)> {
    match job.options.owner {
        Some(owner) => Some(owner),
        None => job.options.keep.owner.then_some((meta.uid, meta.gid)),
    }
}

/// Takes the result of a chown: that it is not permitted is a loss, said once. Whether the owner is right.
pub(super) fn owner_result(
    job: &Job<'_>,
    shown: &Path,
    changed: rustix::io::Result<()>,
) -> io::Result<bool> {
    match changed {
        Ok(()) => Ok(true),
        Err(error @ (Errno::PERM | Errno::INVAL)) => {
            job.lose(Loss::Owners, &shown_os(shown), &io_reason(&error.into()));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn xattr_result(
    job: &Job<'_>,
    shown: &Path,
    name: &OsStr,
    set: rustix::io::Result<()>,
) -> io::Result<()> {
    match set {
        Ok(()) => Ok(()),
        Err(error @ (Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS)) => {
            let first = format!("{} ({})", shown_os(shown), shown_os(name));
            job.lose(Loss::Xattrs, &first, &io_reason(&error.into()));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes the result of removing an access control list, which need not have been there.
pub(super) fn acl_result(removed: rustix::io::Result<()>) -> io::Result<()> {
    match removed {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the access control lists away that an open file should not have, if they are kept at all.
pub(super) fn remove_acls(job: &Job<'_>, fd: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    if job.options.keep.acls {
        for name in meta.missing_acls() {
            acl_result(fs::fremovexattr(fd, name))?;
        }
    }
    Ok(())
}

/// Owner, extended attributes, mode (`None` stays) and times of an open file. Owner first, as that takes set-id bits and capabilities away; the mode after
/// the attributes, as a read-only file takes none.
pub(super) fn attributes(
    job: &Job<'_>,
    shown: &Path,
    fd: BorrowedFd<'_>,
    meta: &Meta,
    mut mode: Option<u32>,
) -> io::Result<()> {
    if let Some((uid, gid)) = owner(job, meta) {
        let changed = fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        if !owner_result(job, shown, changed)? && meta.kind == FileType::Regular {
            // Set-id to another than its owner would be a present for somebody.
            mode = mode.map(|mode| mode & 0o1777);
        }
    }
    for (name, value) in &meta.xattrs {
        let name = OsStr::from_bytes(name);
        let set = fs::fsetxattr(fd, name, value, XattrFlags::empty());
        xattr_result(job, shown, name, set)?;
    }
    if let Some(mode) = mode {
        fs::fchmod(fd, Mode::from_raw_mode(mode))?;
    }
    if job.options.keep.times {
        fs::futimens(fd, &timestamps(meta.atime, meta.mtime))?;
    }
    Ok(())
}
