//! A served file system: its files as the host knows them, and what several operations do.

use crate::{
    attr::attributes,
    caller::{Caller, as_caller},
    data::Image,
    list::Fits,
    nodes::{Nodes, Place},
    opens::Opens,
    reply::Reply,
    wire::{Attributes, Request},
};
use rumpkern::{Proc, Stat};
use rumpuser::{Errno, Result};
use rumpvfs::{
    VnodeCalls as _,
    vop::{NewVnode, OpenVnode, Vnode},
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How a file system is served.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long the host may use names without asking.
    pub entry_timeout: Duration,
    /// How long the host may use attributes without asking.
    pub attr_timeout: Duration,
    /// How long the host may know that a name is not there without asking.
    pub negative_timeout: Duration,
    /// Whether the host may keep written data in its cache for a while.
    pub writeback_cache: bool,
    /// Whether the host is told of extended attributes, access control lists among them. Without, it does not ask for capabilities of a file
    /// that is written or given away, and they are taken away here.
    pub xattrs: bool,
    /// Owner, group and permissions that all files have for the host, whatever the medium says.
    pub shown: Shown,
}

/// What is shown in place of what the medium says, as with mount.fuse(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `uid=`: the owner.
    pub uid: Option<u32>,
    /// `gid=`: the group.
    pub gid: Option<u32>,
    /// `umask=`: permission bits that are missing; all others are there.
    pub umask: Option<u32>,
}

impl Shown {
    fn apply(&self, attributes: &mut Attributes) {
        attributes.uid = self.uid.unwrap_or(attributes.uid);
        attributes.gid = self.gid.unwrap_or(attributes.gid);
        if let Some(umask) = self.umask {
            attributes.perm = 0o777 & !umask;
        }
    }
}

impl Default for Options {
    /// Everything for an hour: nobody but the host changes the volume.
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            entry_timeout: HOUR,
            attr_timeout: HOUR,
            negative_timeout: HOUR,
            writeback_cache: true,
            xattrs: true,
            shown: Shown::default(),
        }
    }
}

/// A file system of a rump kernel as it is served.
pub(crate) struct Server {
    /// Tells the servers of a process apart.
    pub(crate) number: u64,
    pub(crate) proc: Proc,
    pub(crate) nodes: Nodes,
    pub(crate) opens: Opens,
    pub(crate) options: Options,
    pub(crate) read_only: bool,
    /// What the host can do with this session.
    pub(crate) without_open: bool,
    pub(crate) without_opendir: bool,
    /// The format has no extended attributes, or the host is told so.
    pub(crate) without_xattrs: bool,
    /// The host keeps written data back.
    pub(crate) writeback: bool,
    /// About how many entries fit into a reply, without and with attributes.
    pub(crate) fits: Fits,
    /// What the host can move data into.
    pub(crate) image: Option<Image>,
}

/// An entry as it is answered.
pub(crate) struct Entry {
    pub(crate) attributes: Attributes,
    pub(crate) generation: u64,
}

/// Answers with a value or an error.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $ok:expr) => {
        match $result {
            Ok($value) => $ok,
            Err(error) => $reply.error(error),
        }
    };
}
pub(crate) use answer;

impl Server {
    pub(crate) fn new(proc: Proc, root: Vnode, mut options: Options, image: Option<Image>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        if root.renumbers() {
            // The host would keep each spelling of a name as a name of its own.
            options.entry_timeout = Duration::ZERO;
            options.negative_timeout = Duration::ZERO;
        }
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            proc,
            read_only: root.read_only(),
            nodes: Nodes::new(root),
            opens: Opens::default(),
            options,
            without_open: false,
            without_opendir: false,
            without_xattrs: false,
            writeback: false,
            fits: Fits::default(),
            image,
        }
    }

    pub(crate) fn call<R>(
        &self,
        caller: impl Into<Caller>,
        body: impl FnOnce(&Proc) -> Result<R>,
    ) -> Result<R> {
        // Within the kernel to the end: what `body` drops may end the last use of a file.
        as_caller(&self.proc, self.number, caller.into(), |proc| {
            proc.enter(|| body(proc))
        })
    }

    pub(crate) fn vnode(&self, node: u64) -> Result<Vnode> {
        let root = self.nodes.root();
        match self.nodes.get(node) {
            Place::Held(vnode) => Ok(vnode),
            Place::Known(ino) => self.proc.vfs_vget(root, ino),
            Place::Unknown(ino) => {
                let vnode = self.proc.vfs_vget(root, ino)?;
                let linked = self.proc.vop_getattr(&vnode)?.nlink > 0;
                linked.then_some(vnode).ok_or(Errno::ESTALE)
            }
            Place::Nowhere => Err(Errno::ESTALE),
        }
    }

    /// What `name` leads to, before `change` takes the name away; if that was its last one it stays as it is while the host knows it.
    pub(crate) fn losing_name(
        &self,
        proc: &Proc,
        (dir, name): (&Vnode, &[u8]),
        change: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !self.nodes.by_number() {
            return change();
        }
        let loser = proc.vop_lookup(dir, name);
        if let Ok(loser) = &loser
            && proc.vop_getattr(loser).is_ok_and(|stat| stat.nlink > 1)
        {
            // Before it happens: who asks right after it must not be told too much.
            self.nodes.loses_name(loser);
        }
        change()?;
        if let Ok(loser) = loser
            && !proc.vop_getattr(&loser).is_ok_and(|stat| stat.nlink > 0)
        {
            self.nodes.hold(&loser);
        }
        Ok(())
    }

    /// The vnode of an entry, counted as looked up.
    pub(crate) fn entry(&self, proc: &Proc, vnode: &Vnode) -> Result<Entry> {
        let stat = proc.vop_getattr(vnode)?;
        let number = self.nodes.count(vnode);
        Ok(Entry {
            attributes: self.attributes(&stat, number),
            generation: stat.generation,
        })
    }

    /// Attributes for the host, of the file that it knows as `number`.
    pub(crate) fn attributes(&self, stat: &Stat, number: u64) -> Attributes {
        let mut attributes = attributes(stat, number);
        self.options.shown.apply(&mut attributes);
        attributes
    }

    /// How long the host may use attributes without asking: those of a file that has just lost one of its names, not at all. The host takes one off
    /// the count that it knows when it hears that the name is gone; another program may have asked meanwhile, and what it was told is right
    /// already. One too low then, the count would stay so, and at 0 the file gets no further name (`ENOENT`).
    pub(crate) fn lifetime(&self, attributes: &Attributes) -> Duration {
        if self.nodes.lost_name(attributes.ino) {
            Duration::ZERO
        } else {
            self.options.attr_timeout
        }
    }

    pub(crate) fn reply_entry(&self, reply: Reply<'_>, entry: Result<Entry>) {
        answer!(reply, entry, entry => {
            let times = (self.lifetime(&entry.attributes), self.options.entry_timeout);
            reply.entry(times, &entry.attributes, entry.generation);
        });
    }

    pub(crate) fn forget(&self, node: u64, lookups: u64) {
        if let Some(vnode) = self.nodes.forget(node, lookups) {
            self.let_go(vnode);
        }
    }

    /// The last use of a file may end with `what`: in the kernel, as that can fail.
    pub(crate) fn let_go<T>(&self, what: T) {
        // There is nobody to tell; the kernel has logged it.
        let _ = self.proc.enter(|| {
            drop(what);
            Ok(())
        });
    }

    /// The open file of a request; without a number it is opened for the moment.
    pub(crate) fn open_file(&self, proc: &Proc, node: u64, file: u64) -> Result<OpenVnode> {
        if file != 0 {
            return self.opens.get(file);
        }
        proc.vop_open(&self.vnode(node)?, rumpkern::OpenFlags::RDONLY)
    }

    pub(crate) fn make(
        &self,
        request: &Request,
        parent: u64,
        name: &[u8],
        new: NewVnode,
    ) -> Result<Entry> {
        self.call(request, |proc| {
            let dir = self.vnode(parent)?;
            let made = proc.vop_create(&dir, name, new)?;
            self.entry(proc, &made)
        })
    }

    /// Takes the capabilities of a file away that is changed, where the host cannot see them and so does not do it.
    pub(crate) fn drop_capabilities(&self, vnode: &Vnode) -> Result<()> {
        const NAME: &[u8] = b"security.capability";
        if self.options.xattrs {
            return Ok(());
        }
        match self.proc.vop_getxattr(vnode, NAME) {
            Ok(_) => self.proc.vop_removexattr(vnode, NAME),
            Err(Errno::ENOATTR | Errno::EOPNOTSUPP) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the host is to look at access control lists. A file system that keeps them does not say that there are no such attributes; where
    /// owners or permissions are shown that are not the medium's, its lists tell nothing either.
    pub(crate) fn has_acls(&self) -> bool {
        if self.options.shown != Shown::default() {
            return false;
        }
        let asked = self
            .proc
            .vop_getxattr(self.nodes.root(), b"system.posix_acl_access");
        matches!(asked, Ok(_) | Err(Errno::ENOATTR))
    }
}
