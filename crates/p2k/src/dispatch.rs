//! Which operation answers a request, and what it gets of the request's body.

use crate::{
    data::Data,
    fs::{Front, SHORT},
    pipe::Piped,
    reply::Reply,
    wire::{Body, FSYNC_FDATASYNC, Request, fattr, op},
};
use rumpuser::{Errno, Timespec};
use rumpvfs::{calls::SetTime, vop::VnodeChange};
use rustix::fd::BorrowedFd;
use std::sync::atomic::Ordering;

impl Front {
    /// Whether the next request is likely to be a write of much.
    pub(crate) fn expects_data(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// Answers a request whose body this is; the data of a write may be in a pipe. Gives nothing if the body is not as the protocol has it:
    /// whoever asked then gets `EIO`.
    pub(crate) fn serve(
        &self,
        device: BorrowedFd<'_>,
        request: &Request,
        mut body: Body<'_>,
        piped: Option<Piped<'_>>,
    ) -> Option<()> {
        let node = request.node;
        let reply = match request.op {
            op::FORGET => {
                self.forget(node, body.u64()?);
                return Some(());
            }
            op::BATCH_FORGET => {
                let count = body.u32()?;
                body.skip(4)?;
                for _ in 0..count {
                    self.forget(body.u64()?, body.u64()?);
                }
                return Some(());
            }
            op::INTERRUPT => {
                // The answer is that of the request that ends.
                self.interrupts.interrupt(body.u64()?);
                return Some(());
            }
            op::WRITE => {
                let reply = Reply::to(device, request.unique);
                return self.serve_write(request, body, piped, reply);
            }
            _ => Reply::to(device, request.unique),
        };
        if self.expects_data() {
            self.writing.store(false, Ordering::Relaxed);
        }
        match request.op {
            op::LOOKUP => self.lookup(request, node, body.name()?, reply),
            op::GETATTR => self.getattr(request, node, reply),
            op::STATX => self.statx(request, node, reply),
            op::SETATTR => self.setattr(request, node, change(&mut body)?, reply),
            op::ACCESS => self.access(request, node, body.u32()?.cast_signed(), reply),
            op::READLINK => self.readlink(request, node, reply),
            op::STATFS => self.statfs(request, node, reply),
            op::OPENDIR => self.opendir(reply),
            op::RELEASEDIR | op::DESTROY => reply.ok(),
            op::SETXATTR => {
                let (size, flags) = (body.u32()?, body.u32()?.cast_signed());
                let name = body.name()?;
                let value = body.bytes(size as usize)?;
                self.setxattr(request, node, name, value, flags, reply);
            }
            op::GETXATTR => {
                let size = body.u32()?;
                body.skip(4)?;
                self.getxattr(request, node, body.name()?, size, reply);
            }
            op::LISTXATTR => self.listxattr(request, node, body.u32()?, reply),
            op::REMOVEXATTR => self.removexattr(request, node, body.name()?, reply),
            op::SYMLINK..=op::LINK | op::RENAME2 | op::CREATE | op::TMPFILE => {
                return self.serve_names(request, body, reply);
            }
            _ => return self.serve_files(request, body, reply),
        }
        Some(())
    }

    /// Requests that change names.
    fn serve_names(&self, request: &Request, mut body: Body<'_>, reply: Reply<'_>) -> Option<()> {
        let node = request.node;
        match request.op {
            op::SYMLINK => {
                let name = body.name()?;
                self.symlink(request, node, name, body.name()?, reply);
            }
            op::MKNOD => {
                let (mode, rdev, umask) = (body.u32()?, body.u32()?, body.u32()?);
                body.skip(4)?;
                self.mknod(request, (node, body.name()?), (mode, umask), rdev, reply);
            }
            op::MKDIR => {
                let (mode, umask) = (body.u32()?, body.u32()?);
                self.mkdir(request, node, body.name()?, mode, umask, reply);
            }
            op::UNLINK => self.unlink(request, node, body.name()?, reply),
            op::RMDIR => self.rmdir(request, node, body.name()?, reply),
            op::RENAME | op::RENAME2 => {
                let to = body.u64()?;
                let mut flags = 0;
                if request.op == op::RENAME2 {
                    flags = body.u32()?;
                    body.skip(4)?;
                }
                let name = body.name()?;
                self.rename(request, (node, name), (to, body.name()?), flags, reply);
            }
            op::LINK => {
                let file = body.u64()?;
                self.link(request, file, node, body.name()?, reply);
            }
            op::CREATE => {
                let flags = body.u32()?.cast_signed();
                let modes = (body.u32()?, body.u32()?);
                body.skip(4)?;
                self.create(request, node, body.name()?, modes, flags, reply);
            }
            op::TMPFILE => {
                let flags = body.u32()?.cast_signed();
                let modes = (body.u32()?, body.u32()?);
                self.create_unnamed(request, node, modes, flags, reply);
            }
            _ => reply.error(Errno::ENOSYS),
        }
        Some(())
    }

    /// Requests about what is open.
    fn serve_files(&self, request: &Request, mut body: Body<'_>, reply: Reply<'_>) -> Option<()> {
        let node = request.node;
        match request.op {
            op::OPEN => self.open(request, node, body.u32()?.cast_signed(), reply),
            op::READ => {
                let (file, offset) = (body.u64()?, body.u64()?);
                self.read(request, node, file, offset, body.u32()?, reply);
            }
            op::RELEASE => self.release(request, body.u64()?, reply),
            op::FSYNC | op::FSYNCDIR => {
                let given = body.u64()?;
                // Nothing is kept for an open directory.
                let file = if request.op == op::FSYNC { given } else { 0 };
                let data_only = body.u32()? & FSYNC_FDATASYNC != 0;
                self.fsync(request, node, file, data_only, reply);
            }
            op::READDIR | op::READDIRPLUS => {
                body.skip(8)?;
                let at = (node, body.u64()?);
                self.readdir(request, at, body.u32()?, reply);
            }
            op::FALLOCATE => {
                let (file, range) = (body.u64()?, (body.u64()?, body.u64()?));
                let mode = body.u32()?.cast_signed();
                self.fallocate(request, node, file, range, mode, reply);
            }
            op::LSEEK => {
                let (file, offset) = (body.u64()?, body.u64()?.cast_signed());
                let whence = body.u32()?.cast_signed();
                self.lseek(request, node, file, offset, whence, reply);
            }
            op::COPY_FILE_RANGE => {
                let from = (node, body.u64()?, body.u64()?);
                let to_node = body.u64()?;
                let to = (to_node, body.u64()?, body.u64()?);
                self.copy_file_range(request, from, to, body.u64()?, reply);
            }
            op::IOCTL => {
                // The open file: the node says which.
                body.skip(12)?;
                let command = body.u32()?;
                body.skip(8)?;
                let (given, room) = (body.u32()?, body.u32()?);
                let given = body.bytes(given as usize)?;
                self.ioctl(request, command, given, room, reply);
            }
            // `flush` among them: the host has written its cache and reported what failed, and need not ask again. So it is with locks, which it then
            // keeps itself.
            _ => reply.error(Errno::ENOSYS),
        }
        Some(())
    }

    fn serve_write(
        &self,
        request: &Request,
        mut body: Body<'_>,
        piped: Option<Piped<'_>>,
        reply: Reply<'_>,
    ) -> Option<()> {
        let (place, size) = ((body.u64()?, body.u64()?), body.u32()?);
        let flags = body.u32()?;
        body.skip(16)?;
        let data = match piped {
            Some(piped) => Data::Piped(piped),
            None => Data::Bytes(body.bytes(size as usize)?),
        };
        let much = data.len() > SHORT;
        if self.expects_data() != much {
            self.writing.store(much, Ordering::Relaxed);
        }
        self.write(request, place, data, flags, reply);
        Some(())
    }
}

/// What is to be changed (`fuse_setattr_in`).
fn change(body: &mut Body<'_>) -> Option<VnodeChange> {
    let valid = body.u32()?;
    // The open file: the node says which.
    body.skip(12)?;
    let size = body.u64()?;
    body.skip(8)?;
    let seconds = [body.u64()?, body.u64()?, body.u64()?].map(u64::cast_signed);
    let nanoseconds = [body.u32()?, body.u32()?, body.u32()?];
    let mode = body.u32()?;
    body.skip(4)?;
    let (uid, gid) = (body.u32()?, body.u32()?);
    let given = |flag| valid & flag != 0;
    let time = |at: usize| Timespec {
        sec: seconds[at],
        nsec: nanoseconds[at],
    };
    let set = |flag, now, at| match (given(flag), given(now)) {
        (true, true) => SetTime::Now,
        (true, false) => SetTime::To(time(at)),
        (false, _) => SetTime::Omit,
    };
    Some(VnodeChange {
        size: given(fattr::SIZE).then_some(size),
        mode: given(fattr::MODE).then_some(mode & 0o7777),
        uid: given(fattr::UID).then_some(uid),
        gid: given(fattr::GID).then_some(gid),
        atime: set(fattr::ATIME, fattr::ATIME_NOW, 0),
        mtime: set(fattr::MTIME, fattr::MTIME_NOW, 1),
        ctime: given(fattr::CTIME).then(|| time(2)),
    })
}
