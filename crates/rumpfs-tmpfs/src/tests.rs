//! The driver alone, and with the page cache over it.

mod files;
mod tree;

use crate::{Tmpfs, node::Node, options::Options};
use alloc::{format, sync::Arc, vec::Vec};
use rumpuser::{Host, Result, Timespec};
use rumpvfs::fs::Space;
use rumpvfs::{
    fs::{
        DirCookie, DirEmit, DirEntry, DirSlot, FileSystem, Found, Ino, NewInode, NewKind, Rename,
    },
    name::Name,
};

const T1: Timespec = Timespec::from_secs(1);
const T2: Timespec = Timespec { sec: 2, nsec: 5 };

fn options(size: u64, inodes: u64) -> Options {
    Options {
        size,
        inodes,
        mode: 0o755,
        uid: 0,
        gid: 0,
    }
}

fn mounted(options: &Options) -> Tmpfs {
    let host: Arc<dyn Host> = rumpuser_posix::Host::new();
    Tmpfs::new(&host, options, T1)
}

fn new(kind: NewKind) -> NewInode {
    NewInode {
        kind,
        mode: 0o644,
        uid: 1,
        gid: 2,
        time: T1,
        xattrs: Vec::new(),
        space: Space::Ordinary,
    }
}

fn name(bytes: &str) -> Name<'_> {
    Name::new(bytes.as_bytes()).unwrap()
}

/// Where a name is or would be.
fn slot(fs: &Tmpfs, dir: &Node, of: &str) -> DirSlot {
    match fs.lookup(dir, name(of)).unwrap() {
        Found::Entry(_, slot) | Found::Absent(slot) => slot,
    }
}

fn found(fs: &Tmpfs, dir: &Node, of: &str) -> Option<Ino> {
    match fs.lookup(dir, name(of)).unwrap() {
        Found::Entry(ino, _) => Some(ino),
        Found::Absent(_) => None,
    }
}

fn create(fs: &Tmpfs, dir: &mut Node, of: &str, kind: NewKind) -> Result<Node> {
    let slot = slot(fs, dir, of);
    fs.create(dir, slot, name(of), &new(kind)).map(|(_, n)| n)
}

fn unlink(fs: &Tmpfs, dir: &mut Node, of: &str, target: &mut Node) -> Result<()> {
    let slot = slot(fs, dir, of);
    fs.unlink(dir, slot, name(of), target, T2)
}

struct Names<'a>(&'a mut Vec<(Vec<u8>, Ino)>, usize, DirCookie);

impl DirEmit for Names<'_> {
    fn emit(&mut self, entry: DirEntry<'_>) -> bool {
        if self.0.len() == self.1 {
            return false;
        }
        self.0.push((entry.name.to_vec(), entry.ino));
        self.2 = entry.next;
        true
    }
}

/// The names of a directory, listed `step` at a time.
fn list(fs: &Tmpfs, dir: &Node, step: usize) -> Vec<(Vec<u8>, Ino)> {
    let mut all = Vec::new();
    let mut from = DirCookie(0);
    loop {
        let most = all.len() + step;
        let mut names = Names(&mut all, most, from);
        fs.read_dir(dir, from, &mut names).unwrap();
        from = names.2;
        if all.len() < most {
            return all;
        }
    }
}
