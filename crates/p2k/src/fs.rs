//! The operations of FUSE, each by one of the vnode interface.

use crate::{
    attr::{decode_device, from_system, set_time},
    data::{TRANSFER, with_buffer},
    flow::{Flow, Guide, Means},
    list::bare,
    order::Order,
    server::{Entry, Server, answer},
    turns::{Pace, Turns},
};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rumpkern::FileType;
use rumpuser::Errno;
use rumpvfs::{
    VnodeCalls as _, calls,
    calls::{Access, SetTime},
    fs::XattrMode,
    vop::{NewKind, NewVnode, VnodeChange, WriteHow},
};
use std::{
    ffi::OsStr,
    io,
    ops::Deref,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Writes up to this are done where they are read: they go into the cache as a rule.
const SHORT: usize = 128 << 10;
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

impl Filesystem for Front {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let server = &mut self.server;
        let offered = config.capabilities();
        let mut wanted = InitFlags::FUSE_ATOMIC_O_TRUNC
            | InitFlags::FUSE_EXPORT_SUPPORT
            | InitFlags::FUSE_DONT_MASK
            // Always: whoever lists names mostly goes on to the files, and each would be looked up.
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_EXPLICIT_INVAL_DATA
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2;
        if server.options.writeback_cache && !server.read_only {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
        server.writeback = wanted.intersects(InitFlags::FUSE_WRITEBACK_CACHE & offered);
        if server.options.xattrs && server.has_acls() {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        server.without_xattrs = !server.options.xattrs
            || matches!(
                server.proc.vop_listxattr(server.nodes.root()),
                Err(Errno::EOPNOTSUPP)
            );
        server.without_open = server.read_only && offered.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        server.without_opendir = offered.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        // What this host does not know it does its own way.
        let _ = config.add_capabilities(wanted & offered);
        let _ = config.set_max_write(TRANSFER);
        let _ = config.set_max_background(BACKGROUND);
        if let Err(most) = config.set_max_readahead(TRANSFER) {
            let _ = config.set_max_readahead(most);
        }
        let step = server
            .nodes
            .root()
            .time_granularity()
            .clamp(1, 1_000_000_000);
        let power = 10_u64.pow(step.ilog10());
        let _ = config.set_time_granularity(Duration::from_nanos(power));
        Ok(())
    }

    fn destroy(&mut self) {
        let all = (self.opens.clear(), self.nodes.clear());
        self.let_go(all);
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.turns.take();
        let found = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            let found = proc.vop_lookup(&dir, name.as_bytes())?;
            self.entry(proc, &found)
        });
        let timeout = self.options.negative_timeout;
        if let Err(Errno::ENOENT) = found
            && !timeout.is_zero()
        {
            // Node id 0: it is not there, and will not be until the host makes it.
            return reply.entry(&timeout, &bare(0, FileType::Regular), Generation(0));
        }
        self.reply_entry(reply, found);
    }

    fn forget(&self, _request: &Request, node: INodeNo, lookups: u64) {
        // No turn is taken: these come many at a time, and to wait in between would leave the rest undone.
        self.server.forget(node.0, lookups);
    }

    fn getattr(
        &self,
        request: &Request,
        node: INodeNo,
        _file: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let _turn = self.turns.take();
        let stat = self.call(request, |proc| proc.vop_getattr(&self.vnode(node)?));
        answer!(reply, stat, stat => {
            let number = if node == INodeNo::ROOT { stat.ino } else { node.0 };
            let attributes = self.attributes(&stat, number);
            reply.attr(&self.lifetime(&attributes), &attributes);
        });
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _file: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _turn = self.turns.take();
        let change = VnodeChange {
            size,
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            atime: set_time(atime),
            mtime: set_time(mtime),
            ctime: ctime.map(from_system),
        };
        let stat = self.call(request, |proc| {
            let vnode = self.vnode(node)?;
            if self.writeback && only_kept_times(&change) {
                let stat = proc.vop_getattr(&vnode)?;
                if stat.nlink == 0 && stat.file_type == FileType::Regular {
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
            let number = if node == INodeNo::ROOT { stat.ino } else { node.0 };
            let attributes = self.attributes(&stat, number);
            reply.attr(&self.lifetime(&attributes), &attributes);
        });
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let _turn = self.turns.take();
        let target = self.call(request, |proc| proc.vop_readlink(&self.vnode(node)?));
        answer!(reply, target, target => reply.data(&target));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
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
                return reply.error(fuser::Errno::EINVAL);
            }
        };
        let mode = mode & 0o7777;
        let made = self.make(request, parent, name, NewVnode { kind, mode, umask });
        self.reply_entry(reply, made.map_err(not_in_this_format));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let _turn = self.turns.take();
        let kind = NewKind::Directory;
        let made = self.make(request, parent, name, NewVnode { kind, mode, umask });
        self.reply_entry(reply, made);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turns.take();
        let done = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            self.losing_name(proc, (&dir, name), || {
                proc.vop_remove(&dir, name.as_bytes())
            })
        });
        answer!(reply, done, () => reply.ok());
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turns.take();
        let done = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            self.losing_name(proc, (&dir, name), || proc.vop_rmdir(&dir, name.as_bytes()))
        });
        answer!(reply, done, () => reply.ok());
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let _turn = self.turns.take();
        let new = NewVnode {
            kind: NewKind::Symlink(target.as_os_str().as_bytes().to_vec()),
            mode: 0o777,
            umask: 0,
        };
        let made = self.make(request, parent, name, new);
        self.reply_entry(reply, made.map_err(not_in_this_format));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        if flags.intersects(!(RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_EXCHANGE)) {
            return reply.error(fuser::Errno::EINVAL);
        }
        let exchange = flags.contains(RenameFlags::RENAME_EXCHANGE);
        let mut how = calls::RenameFlags::empty();
        how.set(calls::RenameFlags::EXCHANGE, exchange);
        let keep = flags.contains(RenameFlags::RENAME_NOREPLACE);
        how.set(calls::RenameFlags::NOREPLACE, keep);
        let done = self.call(request, |proc| {
            let (from, to) = (self.vnode(parent)?, self.vnode(new_parent)?);
            let rename =
                || proc.vop_rename((&from, name.as_bytes()), (&to, new_name.as_bytes()), how);
            if exchange || keep {
                return rename();
            }
            self.losing_name(proc, (&to, new_name), rename)
        });
        match done {
            // rename(2): a flag that the file system does not know.
            Err(Errno::EOPNOTSUPP) if exchange => reply.error(fuser::Errno::EINVAL),
            done => answer!(reply, done, () => reply.ok()),
        }
    }

    fn link(
        &self,
        request: &Request,
        node: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let _turn = self.turns.take();
        let linked = self.call(request, |proc| {
            let (vnode, dir) = (self.vnode(node)?, self.vnode(new_parent)?);
            proc.vop_link(&dir, new_name.as_bytes(), &vnode)?;
            self.entry(proc, &vnode)
        });
        self.reply_entry(reply, linked.map_err(not_in_this_format));
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turns.take();
        if self.without_open {
            return reply.error(fuser::Errno::ENOSYS);
        }
        let opened = self.call(request, |proc| {
            let vnode = self.vnode(node)?;
            if flags.0 & libc::O_TRUNC != 0 {
                self.drop_capabilities(&vnode)?;
            }
            proc.vop_open(&vnode, Server::open_flags(flags.0))
        });
        answer!(reply, opened, file => {
            let number = self.opens.put(file);
            reply.opened(FileHandle(number), FopenFlags::FOPEN_KEEP_CACHE);
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let _turn = self.turns.take();
        let made = self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            let new = NewVnode {
                kind: NewKind::Regular,
                mode: mode & 0o7777,
                umask,
            };
            let vnode = match proc.vop_create(&dir, name.as_bytes(), new) {
                // It came in between.
                Err(Errno::EEXIST) if flags & libc::O_EXCL == 0 => {
                    proc.vop_lookup(&dir, name.as_bytes())?
                }
                made => made?,
            };
            let file = proc.vop_open(&vnode, Server::open_flags(flags))?;
            Ok((self.entry(proc, &vnode)?, file))
        });
        answer!(reply, made, (entry, file) => {
            let number = self.opens.put(file);
            let Entry { attributes, generation } = entry;
            let timeout = self.lifetime(&attributes).min(self.options.entry_timeout);
            let number = FileHandle(number);
            reply.created(&timeout, &attributes, generation, number, FopenFlags::FOPEN_KEEP_CACHE);
        });
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        file: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut turn = self.turns.take();
        let size = size as usize;
        let read = || {
            with_buffer(size, |buffer| {
                let got = self.call(request, |proc| {
                    let file = self.open_file(proc, node, file)?;
                    proc.vop_read(&file, offset, buffer)
                });
                answer!(reply, got, got => reply.data(&buffer[..got]));
            });
        };
        if size <= SHORT {
            self.reads.of(&mut turn, read);
        } else {
            turn.hand_over();
            read();
        }
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let how = WriteHow {
            clear_set_id: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
            // A host that writes back what it has kept tells when that was changed, but not if it has told that time already.
            keep_times: self.writeback && write_flags.contains(WriteFlags::FUSE_WRITE_CACHE),
        };
        let mut turn = self.turns.take();
        let place = self.order.place(node.0);
        let write = || {
            let done = self.call(request, |proc| {
                let file = self.open_file(proc, node, file)?;
                self.drop_capabilities(&file.vnode())?;
                proc.vop_write(&file, offset, data, how)
            });
            // No more than `data`, whose length the protocol has in 32 bits.
            answer!(reply, done, done => reply.written(done as u32));
        };
        if data.len() <= SHORT && place.is_first() {
            self.writes.of(&mut turn, write);
        } else {
            turn.hand_over();
            place.wait();
            write();
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _node: INodeNo,
        _file: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // The host has written its cache and reported what failed; it need not ask again.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn release(
        &self,
        request: &Request,
        _node: INodeNo,
        file: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        let closed = match self.opens.take(file.0) {
            Some(file) => self.call(request, |proc| {
                // Its last use ends within the kernel.
                let file = file;
                proc.vop_close(&file)
            }),
            None => Ok(()),
        };
        answer!(reply, closed, () => reply.ok());
    }

    fn fsync(
        &self,
        request: &Request,
        node: INodeNo,
        file: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let mut turn = self.turns.take();
        turn.hand_over();
        self.sync((node, file), data_only, request.into(), reply);
    }

    fn opendir(&self, _request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turns.take();
        if self.without_opendir {
            // Directories are listed by node id; nothing need be kept for an open one.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
        reply.opened(FileHandle(0), flags);
    }

    fn readdir(
        &self,
        request: &Request,
        node: INodeNo,
        _file: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let _turn = self.turns.take();
        self.list(request.into(), (node, offset), reply);
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        _file: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let _turn = self.turns.take();
        self.list_with_attributes(request.into(), (node, offset), reply);
    }

    fn fsyncdir(
        &self,
        request: &Request,
        node: INodeNo,
        _file: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let mut turn = self.turns.take();
        turn.hand_over();
        self.sync((node, FileHandle(0)), data_only, request.into(), reply);
    }

    fn statfs(&self, request: &Request, node: INodeNo, reply: ReplyStatfs) {
        let _turn = self.turns.take();
        let numbers = self.call(request, |proc| proc.vfs_statvfs(&self.vnode(node)?));
        answer!(reply, numbers, n => reply.statfs(
            n.blocks,
            n.blocks_free,
            n.blocks_available,
            n.files,
            n.files_free,
            n.block_size,
            n.name_max,
            n.block_size,
        ));
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        if self.without_xattrs {
            return reply.error(fuser::Errno::EOPNOTSUPP);
        }
        let mode = match flags {
            0 => XattrMode::Set,
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => return reply.error(fuser::Errno::EINVAL),
        };
        let done = self.call(request, |proc| {
            proc.vop_setxattr(&self.vnode(node)?, name.as_bytes(), value, mode)
        });
        answer!(reply, done, () => reply.ok());
    }

    fn getxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let _turn = self.turns.take();
        if self.without_xattrs {
            // The host then does not ask for `security.capability` again, each time that a file is written or given away.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let value = self.call(request, |proc| {
            proc.vop_getxattr(&self.vnode(node)?, name.as_bytes())
        });
        answer!(reply, value, value => sized(reply, &value, size));
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.turns.take();
        // A file system without attributes lists none.
        let names = match self.without_xattrs {
            true => Ok(Vec::new()),
            false => self.call(request, |proc| proc.vop_listxattr(&self.vnode(node)?)),
        };
        answer!(reply, names, names => {
            let mut list = Vec::new();
            // trusted.* is the superuser's; who else asks does not see that it is there.
            let seen = |name: &Vec<u8>| request.uid() == 0 || !name.starts_with(b"trusted.");
            for name in names.iter().filter(|name| seen(name)) {
                list.extend_from_slice(name);
                list.push(0);
            }
            sized(reply, &list, size);
        });
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turns.take();
        if self.without_xattrs {
            return reply.error(fuser::Errno::EOPNOTSUPP);
        }
        let done = self.call(request, |proc| {
            proc.vop_removexattr(&self.vnode(node)?, name.as_bytes())
        });
        answer!(reply, done, () => reply.ok());
    }

    fn access(&self, request: &Request, node: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let _turn = self.turns.take();
        let mut access = Access::empty();
        access.set(Access::R, mask.contains(AccessFlags::R_OK));
        access.set(Access::W, mask.contains(AccessFlags::W_OK));
        access.set(Access::X, mask.contains(AccessFlags::X_OK));
        let done = self.call(request, |proc| proc.vop_access(&self.vnode(node)?, access));
        answer!(reply, done, () => reply.ok());
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        file: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const HOLE: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        const KEPT_ZEROS: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        let mut turn = self.turns.take();
        turn.hand_over();
        let done = self.call(request, |proc| {
            let file = self.open_file(proc, node, file)?;
            self.drop_capabilities(&file.vnode())?;
            match mode {
                0 => proc.vop_allocate(&file, (offset, len), false),
                libc::FALLOC_FL_KEEP_SIZE => proc.vop_allocate(&file, (offset, len), true),
                HOLE => proc.vop_deallocate(&file, offset, len),
                libc::FALLOC_FL_ZERO_RANGE => Server::zero(proc, &file, (offset, len), false),
                KEPT_ZEROS => Server::zero(proc, &file, (offset, len), true),
                _ => Err(Errno::EOPNOTSUPP),
            }
        });
        answer!(reply, done, () => reply.ok());
    }

    fn lseek(
        &self,
        request: &Request,
        node: INodeNo,
        file: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let _turn = self.turns.take();
        if self.writeback {
            // What the host has written into its cache alone would be a hole here: it then says itself that all is data.
            return reply.error(fuser::Errno::ENOSYS);
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
            i64::try_from(found).map_err(|_| Errno::EOVERFLOW)
        });
        answer!(reply, found, found => reply.offset(found));
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from_node: INodeNo,
        from_file: FileHandle,
        from_offset: u64,
        to_node: INodeNo,
        to_file: FileHandle,
        to_offset: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let mut turn = self.turns.take();
        turn.hand_over();
        let done = self.call(request, |proc| {
            let from = self.open_file(proc, from_node, from_file)?;
            let to = self.open_file(proc, to_node, to_file)?;
            self.drop_capabilities(&to.vnode())?;
            Server::copy(proc, (&from, from_offset), (&to, to_offset), len)
        });
        // At most `COPY`.
        answer!(reply, done, done => reply.written(done as u32));
    }
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
fn sized(reply: ReplyXattr, value: &[u8], room: u32) {
    if room == 0 {
        // Values and lists are 64 KiB at most, or a few times that.
        reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX));
    } else if value.len() > room as usize {
        reply.error(fuser::Errno::ERANGE);
    } else {
        reply.data(value);
    }
}
