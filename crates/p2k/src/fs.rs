//! The operations of FUSE, each by one of the vnode interface.

use crate::{
    attr::decode_device,
    data::{Data, Range, TRANSFER, with_buffer},
    flags,
    flow::{Flow, Guide, Means},
    interrupt::Interrupts,
    nodes::ROOT,
    order::Order,
    reply::Reply,
    server::{Entry, Server, answer},
    turns::{Pace, Turns},
    wire::{
        Attributes, Init, MAJOR, MINOR, OUT_HEADER, Request, WRITE_CACHE, WRITE_KILL_SUIDGID,
        fopen, init, op,
    },
};
use rumpkern::FileType;
use rumpuser::Errno;
use rumpvfs::{
    VnodeCalls as _,
    calls::{Access, RenameFlags, SetTime},
    fs::XattrMode,
    vop::{NewKind, NewVnode, VnodeChange, WriteHow},
};
use std::{
    io,
    ops::Deref,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// Writes up to this are done where they are read: they go into the cache as a rule.
pub(crate) const SHORT: usize = 128 << 10;
/// Requests that may be under way without anybody who waits: read-ahead, write-back.
const BACKGROUND: u16 = 64;

/// A [`Server`] as several threads serve it.
pub(crate) struct Front {
    server: Server,
    turns: Turns,
    /// Short reads.
    reads: Pace,
    /// Short writes.
    writes: Pace,
    order: Order,
    pub(crate) interrupts: Interrupts,
    /// The last request was a write of much.
    pub(crate) writing: AtomicBool,
    /// There until the end.
    _guide: Guide,
}

impl Front {
    /// For a session with so many threads. It waits awake for requests while they flow, by these means.
    ///
    /// # Errors
    /// The host has no room for a thread.
    pub(crate) fn new(server: Server, threads: usize, means: Means) -> io::Result<Self> {
        let flow = Arc::new(Flow::default());
        let guide = Guide::start(flow.clone(), means)?;
        Ok(Self {
            server,
            turns: Turns::new(threads, flow),
            reads: Pace::default(),
            writes: Pace::default(),
            order: Order::default(),
            interrupts: Interrupts::default(),
            writing: AtomicBool::new(false),
            _guide: guide,
        })
    }
}

impl Deref for Front {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Front {
    /// Agrees with the host on what both do; `host` is what it offers, and what is given the answer to that. Writes are of so many bytes at most.
    pub(crate) fn init(&mut self, host: Init, max_write: u32) -> [u32; 16] {
        let server = &mut self.server;
        let mut wanted = init::ASYNC_READ
            | init::BIG_WRITES
            | init::MAX_PAGES
            | init::ATOMIC_O_TRUNC
            | init::EXPORT_SUPPORT
            | init::DONT_MASK
            // Always: whoever lists names mostly goes on to the files, and each would be looked up.
            | init::DO_READDIRPLUS
            | init::ASYNC_DIO
            | init::PARALLEL_DIROPS
            | init::CACHE_SYMLINKS
            | init::EXPLICIT_INVAL_DATA
            | init::HANDLE_KILLPRIV_V2;
        if server.options.writeback_cache && !server.read_only {
            wanted |= init::WRITEBACK_CACHE;
        }
        server.writeback = wanted & init::WRITEBACK_CACHE & host.flags != 0;
        if server.options.xattrs && server.has_acls() {
            wanted |= init::POSIX_ACL;
        }
        server.without_xattrs = !server.options.xattrs
            || matches!(
                server.proc.vop_listxattr(server.nodes.root()),
                Err(Errno::EOPNOTSUPP)
            );
        server.without_open = server.read_only && host.flags & init::NO_OPEN_SUPPORT != 0;
        server.without_opendir = host.flags & init::NO_OPENDIR_SUPPORT != 0;
        let step = server
            .nodes
            .root()
            .time_granularity()
            .clamp(1, 1_000_000_000);
        // Of nanoseconds: a power of ten.
        let granularity = 10_u32.pow(step.ilog10());
        // SAFETY: gives a number; no memory is touched.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let pages = TRANSFER as u64 / page.cast_unsigned().max(1);
        let mut answer = [0; 16];
        answer[..9].copy_from_slice(&[
            MAJOR,
            MINOR,
            host.max_readahead.min(TRANSFER),
            // What this host does not know it does its own way.
            wanted & host.flags,
            halves(BACKGROUND, BACKGROUND / 4 * 3),
            max_write,
            granularity,
            halves(pages as u16, 0),
            0,
        ]);
        answer
    }

    /// The session has ended.
    pub(crate) fn destroy(&self) {
        let all = (self.opens.clear(), self.nodes.clear());
        self.let_go(all);
    }

    pub(crate) fn lookup(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<'_>) {
        let _turn = self.turns.take();
        let found = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            let found = proc.vop_lookup(&dir, name)?;
            self.entry(proc, &found)
        });
        let timeout = self.options.negative_timeout;
        if let Err(Errno::ENOENT) = found
            && !timeout.is_zero()
        {
            // Node id 0: it is not there, and will not be until the host makes it.
            return reply.entry(
                (timeout, timeout),
                &Attributes::bare(0, FileType::Regular),
                0,
            );
        }
        self.reply_entry(reply, found);
    }

    pub(crate) fn forget(&self, node: u64, lookups: u64) {
        // No turn is taken: these come many at a time, and to wait in between would leave the rest undone.
        self.server.forget(node, lookups);
    }

    pub(crate) fn getattr(&self, request: &Request, node: u64, reply: Reply<'_>) {
        let _turn = self.turns.take();
        let stat = self.call(request, |proc| proc.vop_getattr(&self.vnode(node)?));
        answer!(reply, stat, stat => {
            let number = if node == ROOT { stat.ino } else { node };
            let attributes = self.attributes(&stat, number);
            reply.attr(self.lifetime(&attributes), &attributes);
        });
    }

    /// Attributes with the time of birth.
    pub(crate) fn statx(&self, request: &Request, node: u64, reply: Reply<'_>) {
        let _turn = self.turns.take();
        let stat = self.call(request, |proc| proc.vop_getattr(&self.vnode(node)?));
        answer!(reply, stat, stat => {
            let number = if node == ROOT { stat.ino } else { node };
            let attributes = self.attributes(&stat, number);
            reply.statx(self.lifetime(&attributes), &attributes, stat.birthtime);
        });
    }

    pub(crate) fn setattr(
        &self,
        request: &Request,
        node: u64,
        change: VnodeChange,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        let VnodeChange { size, uid, gid, .. } = change;
        let stat = self.call(request, |proc| {
            let vnode = self.vnode(node)?;
            if self.writeback && only_kept_times(&change) {
                let stat = proc.vop_getattr(&vnode)?;
                let gone = stat.nlink == 0 && !vnode.awaits_name();
                if gone && stat.file_type == FileType::Regular {
                    // The host tells when the file lost its last name, and keeps that itself; nobody will find it on the medium.
                    return Ok(stat);
                }
            }
            if size.is_some() || uid.is_some() || gid.is_some() {
                self.drop_capabilities(&vnode)?;
            }
            proc.vop_setattr(&vnode, &change)?;
            proc.vop_getattr(&vnode)
        });
        answer!(reply, stat, stat => {
            let number = if node == ROOT { stat.ino } else { node };
            let attributes = self.attributes(&stat, number);
            reply.attr(self.lifetime(&attributes), &attributes);
        });
    }

    pub(crate) fn readlink(&self, request: &Request, node: u64, reply: Reply<'_>) {
        let _turn = self.turns.take();
        let target = self.call(request, |proc| proc.vop_readlink(&self.vnode(node)?));
        answer!(reply, target, target => reply.data(&target));
    }

    pub(crate) fn mknod(
        &self,
        request: &Request,
        (parent, name): (u64, &[u8]),
        (mode, umask): (u32, u32),
        rdev: u32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        let kind = match FileType::from_mode(mode) {
            Some(FileType::Regular) => NewKind::Regular,
            None if mode & libc::S_IFMT == 0 => NewKind::Regular,
            Some(FileType::Fifo) => NewKind::Fifo,
            Some(FileType::Socket) => NewKind::Socket,
            Some(FileType::Block) => NewKind::Block(decode_device(rdev)),
            Some(FileType::Character) => NewKind::Character(decode_device(rdev)),
            Some(FileType::Directory | FileType::Symlink) | None => {
                return reply.error(Errno::EINVAL);
            }
        };
        let mode = mode & 0o7777;
        let made = self.make(request, parent, name, NewVnode { kind, mode, umask });
        self.reply_entry(reply, made.map_err(not_in_this_format));
    }

    pub(crate) fn mkdir(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        mode: u32,
        umask: u32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        let kind = NewKind::Directory;
        let made = self.make(request, parent, name, NewVnode { kind, mode, umask });
        self.reply_entry(reply, made);
    }

    pub(crate) fn unlink(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<'_>) {
        let _turn = self.turns.take();
        let done = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            self.losing_name(proc, (&dir, name), || proc.vop_remove(&dir, name))
        });
        answer!(reply, done, () => reply.ok());
    }

    pub(crate) fn rmdir(&self, request: &Request, parent: u64, name: &[u8], reply: Reply<'_>) {
        let _turn = self.turns.take();
        let done = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            self.losing_name(proc, (&dir, name), || proc.vop_rmdir(&dir, name))
        });
        answer!(reply, done, () => reply.ok());
    }

    pub(crate) fn symlink(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        target: &[u8],
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        let new = NewVnode {
            kind: NewKind::Symlink(target.to_vec()),
            mode: 0o777,
            umask: 0,
        };
        let made = self.make(request, parent, name, new);
        self.reply_entry(reply, made.map_err(not_in_this_format));
    }

    pub(crate) fn rename(
        &self,
        request: &Request,
        (parent, name): (u64, &[u8]),
        (new_parent, new_name): (u64, &[u8]),
        flags: u32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) != 0 {
            return reply.error(Errno::EINVAL);
        }
        let exchange = flags & libc::RENAME_EXCHANGE != 0;
        let mut how = RenameFlags::empty();
        how.set(RenameFlags::EXCHANGE, exchange);
        let keep = flags & libc::RENAME_NOREPLACE != 0;
        how.set(RenameFlags::NOREPLACE, keep);
        let done = self.call(request, |proc| {
            let (from, to) = (self.vnode(parent)?, self.vnode(new_parent)?);
            let rename = || proc.vop_rename((&from, name), (&to, new_name), how);
            if exchange || keep {
                return rename();
            }
            self.losing_name(proc, (&to, new_name), rename)
        });
        match done {
            // rename(2): a flag that the file system does not know.
            Err(Errno::EOPNOTSUPP) if exchange => reply.error(Errno::EINVAL),
            done => answer!(reply, done, () => reply.ok()),
        }
    }

    pub(crate) fn link(
        &self,
        request: &Request,
        node: u64,
        new_parent: u64,
        new_name: &[u8],
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        let linked = self.call(request, |proc| {
            let (vnode, dir) = (self.vnode(node)?, self.vnode(new_parent)?);
            proc.vop_link(&dir, new_name, &vnode)?;
            self.entry(proc, &vnode)
        });
        self.reply_entry(reply, linked.map_err(not_in_this_format));
    }

    pub(crate) fn open(&self, request: &Request, node: u64, flags: i32, reply: Reply<'_>) {
        let _turn = self.turns.take();
        if self.without_open {
            return reply.error(Errno::ENOSYS);
        }
        let opened = self.call(request, |proc| {
            let vnode = self.vnode(node)?;
            if flags & libc::O_TRUNC != 0 {
                self.drop_capabilities(&vnode)?;
            }
            proc.vop_open(&vnode, Server::open_flags(flags))
        });
        answer!(reply, opened, file => {
            let number = self.opens.put(file);
            reply.opened(number, fopen::KEEP_CACHE);
        });
    }

    pub(crate) fn create(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        (mode, umask): (u32, u32),
        flags: i32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        let made = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            let new = NewVnode {
                kind: NewKind::Regular,
                mode: mode & 0o7777,
                umask,
            };
            let vnode = match proc.vop_create(&dir, name, new) {
                // It came in between.
                Err(Errno::EEXIST) if flags & libc::O_EXCL == 0 => proc.vop_lookup(&dir, name)?,
                made => made?,
            };
            let file = proc.vop_open(&vnode, Server::open_flags(flags))?;
            Ok((self.entry(proc, &vnode)?, file))
        });
        answer!(reply, made, (entry, file) => {
            let number = self.opens.put(file);
            let Entry { attributes, generation } = entry;
            let timeout = self.lifetime(&attributes).min(self.options.entry_timeout);
            reply.created((timeout, timeout), &attributes, generation, (number, fopen::KEEP_CACHE));
        });
    }

    /// `O_TMPFILE`.
    pub(crate) fn create_unnamed(
        &self,
        request: &Request,
        parent: u64,
        (mode, umask): (u32, u32),
        flags: i32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        let made = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            let vnode = proc.vop_create_unnamed(&dir, mode & 0o7777, umask)?;
            let file = proc.vop_open(&vnode, Server::open_flags(flags))?;
            let entry = self.entry(proc, &vnode)?;
            // No number leads to it.
            self.nodes.hold(&vnode);
            Ok((entry, file))
        });
        answer!(reply, made, (entry, file) => {
            let number = self.opens.put(file);
            let Entry { attributes, generation } = entry;
            let times = (self.lifetime(&attributes), Duration::ZERO);
            reply.created(times, &attributes, generation, (number, fopen::KEEP_CACHE));
        });
    }

    /// What lsattr(1) and chattr(1) ask.
    pub(crate) fn ioctl(
        &self,
        request: &Request,
        command: u32,
        given: &[u8],
        room: u32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        let done = self.call(request, |proc| {
            flags::ioctl(proc, &self.vnode(request.node)?, command, given)
        });
        answer!(reply, done, out => match out.len() <= room as usize {
            true => reply.ioctl(&out),
            false => reply.error(Errno::EINVAL),
        });
    }

    pub(crate) fn read(
        &self,
        request: &Request,
        node: u64,
        file: u64,
        offset: u64,
        size: u32,
        reply: Reply<'_>,
    ) {
        let mut turn = self.turns.take();
        let size = size as usize;
        let read = || {
            with_buffer(OUT_HEADER + size, |buffer| {
                let got = self.call(request, |proc| {
                    let file = self.open_file(proc, node, file)?;
                    proc.vop_read(&file, offset, &mut buffer[OUT_HEADER..])
                });
                answer!(reply, got, got => reply.whole(&mut buffer[..OUT_HEADER + got]));
            });
        };
        if size <= SHORT {
            self.reads.of(&mut turn, read);
        } else {
            turn.hand_over();
            read();
        }
    }

    pub(crate) fn write(
        &self,
        request: &Request,
        (file, offset): (u64, u64),
        data: Data<'_>,
        flags: u32,
        reply: Reply<'_>,
    ) {
        let how = WriteHow {
            clear_set_id: flags & WRITE_KILL_SUIDGID != 0,
            // A host that writes back what it has kept tells when that was changed, but not if it has told that time already.
            keep_times: self.writeback && flags & WRITE_CACHE != 0,
        };
        let mut turn = self.turns.take();
        let node = request.node;
        let place = self.order.place(node);
        let short = data.len() <= SHORT;
        let write = || {
            let done = self.call(request, |proc| {
                let file = self.open_file(proc, node, file)?;
                self.drop_capabilities(&file.vnode())?;
                self.put(proc, (&file, offset), data, how)
            });
            // No more than `data`, whose length the protocol has in 32 bits.
            answer!(reply, done, done => reply.written(done as u32));
        };
        if short && place.is_first() {
            self.writes.of(&mut turn, write);
        } else {
            turn.hand_over();
            place.wait();
            write();
        }
    }

    pub(crate) fn release(&self, request: &Request, file: u64, reply: Reply<'_>) {
        let _turn = self.turns.take();
        let closed = match self.opens.take(file) {
            Some(file) => self.call(request, |proc| {
                // Its last use ends within the kernel.
                let file = file;
                proc.vop_close(&file)
            }),
            None => Ok(()),
        };
        answer!(reply, closed, () => reply.ok());
    }

    pub(crate) fn fsync(
        &self,
        request: &Request,
        node: u64,
        file: u64,
        data_only: bool,
        reply: Reply<'_>,
    ) {
        let mut turn = self.turns.take();
        turn.hand_over();
        self.sync((node, file), data_only, request.into(), reply);
    }

    pub(crate) fn opendir(&self, reply: Reply<'_>) {
        let _turn = self.turns.take();
        if self.without_opendir {
            // Directories are listed by node id; nothing need be kept for an open one.
            return reply.error(Errno::ENOSYS);
        }
        reply.opened(0, fopen::KEEP_CACHE | fopen::CACHE_DIR);
    }

    /// Lists a directory, with attributes if the request asks for these.
    pub(crate) fn readdir(&self, request: &Request, at: (u64, u64), room: u32, reply: Reply<'_>) {
        let _turn = self.turns.take();
        match request.op {
            op::READDIRPLUS => self.list_with_attributes(request.into(), at, room, reply),
            _ => self.list(request.into(), at, room, reply),
        }
    }

    pub(crate) fn statfs(&self, request: &Request, node: u64, reply: Reply<'_>) {
        let _turn = self.turns.take();
        let numbers = self.call(request, |proc| proc.vfs_statvfs(&self.vnode(node)?));
        answer!(reply, numbers, n => reply.numbers(
            [n.blocks, n.blocks_free, n.blocks_available, n.files, n.files_free],
            // One word of these and six at the end have no use.
            [n.block_size, n.name_max, n.block_size, 0, 0, 0, 0, 0, 0, 0],
        ));
    }

    pub(crate) fn setxattr(
        &self,
        request: &Request,
        node: u64,
        name: &[u8],
        value: &[u8],
        flags: i32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        if self.without_xattrs {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let mode = match flags {
            0 => XattrMode::Set,
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let done = self.call(request, |proc| {
            proc.vop_setxattr(&self.vnode(node)?, name, value, mode)
        });
        answer!(reply, done, () => reply.ok());
    }

    pub(crate) fn getxattr(
        &self,
        request: &Request,
        node: u64,
        name: &[u8],
        size: u32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        if self.without_xattrs {
            // The host then does not ask for `security.capability` again, each time that a file is written or given away.
            return reply.error(Errno::ENOSYS);
        }
        let value = self.call(request, |proc| proc.vop_getxattr(&self.vnode(node)?, name));
        answer!(reply, value, value => sized(reply, &value, size));
    }

    pub(crate) fn listxattr(&self, request: &Request, node: u64, size: u32, reply: Reply<'_>) {
        let _turn = self.turns.take();
        // A file system without attributes lists none.
        let names = match self.without_xattrs {
            true => Ok(Vec::new()),
            false => self.call(request, |proc| proc.vop_listxattr(&self.vnode(node)?)),
        };
        answer!(reply, names, names => {
            let mut list = Vec::new();
            // trusted.* is the superuser's; who else asks does not see that it is there.
            let seen = |name: &Vec<u8>| request.uid == 0 || !name.starts_with(b"trusted.");
            for name in names.iter().filter(|name| seen(name)) {
                list.extend_from_slice(name);
                list.push(0);
            }
            sized(reply, &list, size);
        });
    }

    pub(crate) fn removexattr(&self, request: &Request, node: u64, name: &[u8], reply: Reply<'_>) {
        let _turn = self.turns.take();
        if self.without_xattrs {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let done = self.call(request, |proc| {
            proc.vop_removexattr(&self.vnode(node)?, name)
        });
        answer!(reply, done, () => reply.ok());
    }

    pub(crate) fn access(&self, request: &Request, node: u64, mask: i32, reply: Reply<'_>) {
        let _turn = self.turns.take();
        let mut access = Access::empty();
        access.set(Access::R, mask & libc::R_OK != 0);
        access.set(Access::W, mask & libc::W_OK != 0);
        access.set(Access::X, mask & libc::X_OK != 0);
        let done = self.call(request, |proc| proc.vop_access(&self.vnode(node)?, access));
        answer!(reply, done, () => reply.ok());
    }

    pub(crate) fn fallocate(
        &self,
        request: &Request,
        node: u64,
        file: u64,
        (offset, len): (u64, u64),
        mode: i32,
        reply: Reply<'_>,
    ) {
        const HOLE: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        const KEPT_ZEROS: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        let mut turn = self.turns.take();
        let watched = self.interrupts.watch(request.unique);
        turn.hand_over();
        let done = self.call(request, |proc| {
            let file = self.open_file(proc, node, file)?;
            self.drop_capabilities(&file.vnode())?;
            let range = Range {
                file: &file,
                offset,
                len,
                watched: &watched,
            };
            match mode {
                0 => range.reserve(proc, false),
                libc::FALLOC_FL_KEEP_SIZE => range.reserve(proc, true),
                HOLE => range.punch(proc),
                libc::FALLOC_FL_ZERO_RANGE => range.zero(proc, false),
                KEPT_ZEROS => range.zero(proc, true),
                _ => Err(Errno::EOPNOTSUPP),
            }
        });
        answer!(reply, done, () => reply.ok());
    }

    pub(crate) fn lseek(
        &self,
        request: &Request,
        node: u64,
        file: u64,
        offset: i64,
        whence: i32,
        reply: Reply<'_>,
    ) {
        let _turn = self.turns.take();
        if self.writeback {
            // What the host has written into its cache alone would be a hole here: it then says itself that all is data.
            return reply.error(Errno::ENOSYS);
        }
        let found = self.call(request, |proc| {
            let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let hole = match whence {
                libc::SEEK_DATA => false,
                libc::SEEK_HOLE => true,
                _ => return Err(Errno::EINVAL),
            };
            let file = self.open_file(proc, node, file)?;
            let found = proc.vop_seek(&file, from, hole)?;
            // The host has it as an `off_t`.
            let signed = i64::try_from(found).is_ok();
            signed.then_some(found).ok_or(Errno::EOVERFLOW)
        });
        answer!(reply, found, found => reply.numbers([found], []));
    }

    pub(crate) fn copy_file_range(
        &self,
        request: &Request,
        (from_node, from_file, from_offset): (u64, u64, u64),
        (to_node, to_file, to_offset): (u64, u64, u64),
        len: u64,
        reply: Reply<'_>,
    ) {
        let mut turn = self.turns.take();
        let watched = self.interrupts.watch(request.unique);
        turn.hand_over();
        let done = self.call(request, |proc| {
            let from = self.open_file(proc, from_node, from_file)?;
            let to = self.open_file(proc, to_node, to_file)?;
            self.drop_capabilities(&to.vnode())?;
            let (from, to) = ((&from, from_offset), (&to, to_offset));
            Server::copy(proc, from, to, len, &watched)
        });
        // At most `COPY`.
        answer!(reply, done, done => reply.written(done as u32));
    }
}

/// Two numbers of 16 bits that lie one behind the other.
fn halves(first: u16, second: u16) -> u32 {
    let [a, b] = first.to_ne_bytes();
    let [c, d] = second.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// link(2), symlink(2) and mknod(2) have an error of their own for what the file system does not have.
fn not_in_this_format(error: Errno) -> Errno {
    match error {
        Errno::EOPNOTSUPP => Errno::EPERM,
        error => error,
    }
}

/// Whether a change is what a host tells of a file whose times it keeps, and nothing else.
fn only_kept_times(change: &VnodeChange) -> bool {
    let VnodeChange {
        size,
        mode,
        uid,
        gid,
        atime,
        mtime,
        ctime,
    } = change;
    let others = size.is_some() || mode.is_some() || uid.is_some() || gid.is_some();
    !others
        && ctime.is_some()
        && matches!(atime, SetTime::Omit)
        && matches!(mtime, SetTime::Omit | SetTime::To(_))
}

/// Answers with a value, its size if that is asked, or that the room is too small.
fn sized(reply: Reply<'_>, value: &[u8], room: u32) {
    if room == 0 {
        // Values and lists are 64 KiB at most, or a few times that.
        reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX));
    } else if value.len() > room as usize {
        reply.error(Errno::ERANGE);
    } else {
        reply.data(value);
    }
}
