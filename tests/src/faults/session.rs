//! A workload's view: calls that may fail, and what every file must hold all the same.

use super::inject::Injection;
use crate::{
    crash::{
        Content, FileId, State,
        ledger::{moved, versions},
    },
    mounted::MOUNT_POINT,
    tree,
};
use rumpkern::{Errno, Fd, FileType, OpenFlags, Proc, Result};
use rumpuser_sim::{MemDisk, Rng};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, RenameFlags},
    fs::XattrMode,
};
use std::sync::Arc;

/// What a call does, as far as that decides how it may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing.
    Look,
    /// It may need space.
    Grow,
    /// It changes something and needs no space.
    Change,
    /// It makes durable: `fsync`, `sync`, `close`, `unmount`.
    Settle,
    /// It mounts.
    Mount,
    /// It starts a thread.
    Thread,
}

/// Problems that are kept of a run.
const MOST_PROBLEMS: usize = 8;

/// A mounted volume on which something may go wrong.
///
/// Its methods make a system call each, and note what follows. A call that fails must have changed nothing; then they give
/// `None` or `false`, and the workload does without.
pub struct Session {
    proc: Proc,
    disk: Option<Arc<MemDisk>>,
    injection: Injection,
    /// Of each file the state that is durable, and all that it was in since.
    files: Vec<Vec<State>>,
    problems: Vec<String>,
    /// Calls made, and those that failed.
    calls: (usize, usize),
    /// Tells every call.
    trace: bool,
    /// Chooses sizes and contents.
    pub rng: Rng,
}

impl Session {
    pub(super) fn new(
        proc: Proc,
        disk: Option<Arc<MemDisk>>,
        injection: Injection,
        seed: u64,
        trace: bool,
    ) -> Self {
        Self {
            proc,
            disk,
            injection,
            files: vec![],
            problems: vec![],
            calls: (0, 0),
            trace,
            rng: Rng::new(seed),
        }
    }

    /// The process that makes the calls.
    #[must_use]
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// The full path of a name below the mount point.
    #[must_use]
    pub fn path(name: &str) -> String {
        format!("{MOUNT_POINT}/{name}")
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.rng.fill(&mut data);
        data
    }

    /// Says that something is wrong.
    pub(super) fn problem(&mut self, text: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(text);
        }
    }

    /// What was wrong, and the states that each file may be in.
    pub(super) fn finish(self) -> (Vec<String>, Vec<Vec<State>>) {
        (self.problems, self.files)
    }

    /// Calls made, and those that failed.
    pub(super) fn calls(&self) -> (usize, usize) {
        self.calls
    }

    fn failures(&self) -> u64 {
        self.disk
            .as_ref()
            .map_or(0, |disk| disk.counters().failures)
    }

    /// Makes a call, and minds how it fails.
    pub fn call<R>(
        &mut self,
        kind: Kind,
        what: &str,
        call: impl FnOnce(&Proc) -> Result<R>,
    ) -> Option<R> {
        let before = self.failures();
        let result = call(&self.proc);
        let now = self.failures();
        self.calls.0 += 1;
        if self.trace {
            let error = result.as_ref().err().map_or("done", |error| error.name());
            let hit = if now == before {
                ""
            } else {
                " (the device failed)"
            };
            eprintln!("{what}: {error}{hit}");
        }
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.calls.1 += 1;
                let why = self
                    .injection
                    .objection(kind, error, now != before, now != 0);
                if let Some(why) = why {
                    self.problem(format!("{what}: {}, but {why}", error.name()));
                }
                None
            }
        }
    }

    fn state(&self, id: FileId) -> &State {
        self.files[id].last().expect("at least one state")
    }

    /// The content of a file as it must be seen now.
    ///
    /// # Panics
    /// When it is not a regular file.
    #[must_use]
    pub fn content(&self, id: FileId) -> Arc<[u8]> {
        match &self.state(id).content {
            Content::Bytes(bytes) => bytes.clone(),
            other => panic!("no plain content: {other:?}"),
        }
    }

    /// A file that came into being by the call before, with one name.
    fn made(&mut self, name: &str, content: Content) -> FileId {
        let state = |names| State {
            names,
            content: content.clone(),
        };
        self.files
            .push(vec![state(vec![]), state(vec![name.to_owned()])]);
        self.files.len() - 1
    }

    /// A file is in a new state by the call before; a crash may leave any of the earlier ones.
    fn changed(&mut self, id: FileId, names: Vec<String>, content: Content) {
        self.files[id].push(State { names, content });
    }

    fn durable(&mut self, id: FileId) {
        let last = self.state(id).clone();
        self.files[id] = vec![last];
    }

    fn all_durable(&mut self) {
        (0..self.files.len()).for_each(|id| self.durable(id));
    }

    /// Opens a file for reading and writing, a new one if `new`.
    fn open(&mut self, name: &str, new: bool) -> Option<Fd> {
        let (kind, flags) = if new {
            (Kind::Grow, OpenFlags::CREAT | OpenFlags::EXCL)
        } else {
            (Kind::Look, OpenFlags::empty())
        };
        let path = Self::path(name);
        self.call(kind, &format!("open {name}"), |proc| {
            proc.open(&path, OpenFlags::RDWR | flags, 0o644)
        })
    }

    /// A new, empty regular file.
    pub fn create(&mut self, name: &str) -> Option<(FileId, Fd)> {
        let Some(fd) = self.open(name, true) else {
            self.absent(name);
            return None;
        };
        let empty = Content::Bytes(Arc::from([]));
        Some((self.made(name, empty), fd))
    }

    /// Opens a file once more.
    pub fn open_again(&mut self, id: FileId) -> Option<Fd> {
        let name = self.state(id).names.first()?.clone();
        self.open(&name, false)
    }

    /// Writes at an offset: within the file, or on from its end. Whether all was written.
    pub fn write(&mut self, id: FileId, fd: Fd, offset: usize, data: &[u8]) -> bool {
        let mut done = 0;
        while done < data.len() {
            let (at, rest) = (offset + done, &data[done..]);
            let what = format!("write of {} bytes at {at}", rest.len());
            let Some(n) = self.call(Kind::Grow, &what, |proc| proc.pwrite(fd, rest, at as u64))
            else {
                self.verify(id);
                return false;
            };
            if n == 0 || n > rest.len() {
                self.problem(format!("{what}: gave {n}"));
                return false;
            }
            self.written(id, at, &rest[..n]);
            done += n;
        }
        true
    }

    fn written(&mut self, id: FileId, at: usize, data: &[u8]) {
        let old = self.content(id);
        let mut new = old.to_vec();
        new.resize(old.len().max(at + data.len()), 0);
        new[at..at + data.len()].copy_from_slice(data);
        let new: Arc<[u8]> = new.into();
        if at >= old.len() {
            let min = old.len();
            let names = self.state(id).names.clone();
            self.changed(
                id,
                names,
                Content::Prefix {
                    of: new.clone(),
                    min,
                },
            );
            self.whole(id, new);
        } else {
            self.rewritten(id, new);
        }
    }

    fn whole(&mut self, id: FileId, content: Arc<[u8]>) {
        let names = self.state(id).names.clone();
        self.changed(id, names, Content::Bytes(content));
    }

    /// The content was changed in place.
    fn rewritten(&mut self, id: FileId, new: Arc<[u8]>) {
        let mut all = versions(&self.files[id]);
        all.push(new.clone());
        let names = self.state(id).names.clone();
        self.changed(id, names, Content::Blend(all));
        self.whole(id, new);
    }

    /// Sets the size of a file by its name.
    pub fn truncate(&mut self, id: FileId, size: usize) -> bool {
        let Some(name) = self.state(id).names.first().cloned() else {
            return false;
        };
        let mut new = self.content(id).to_vec();
        // The rest of the last block is written anew; a larger size may take data out of the inode.
        let kind = Kind::Grow;
        let path = Self::path(&name);
        let what = format!("truncate {name} to {size}");
        let done = self.call(kind, &what, |proc| proc.truncate(&path, size as u64));
        if done.is_some() {
            new.resize(size, 0);
            self.rewritten(id, new.into());
        } else {
            self.verify(id);
        }
        done.is_some()
    }

    /// Makes a hole.
    pub fn punch(&mut self, id: FileId, fd: Fd, from: usize, len: usize) -> bool {
        let mut new = self.content(id).to_vec();
        let what = format!("punch {len} bytes at {from}");
        let done = self.call(Kind::Grow, &what, |proc| {
            proc.punch_hole(fd, from as u64, len as u64)
        });
        if done.is_some() {
            new[from..from + len].fill(0);
            self.rewritten(id, new.into());
        } else {
            self.verify(id);
        }
        done.is_some()
    }

    /// Makes a file durable. `other` is another descriptor of it, which must learn of a failed write, too.
    pub fn fsync(&mut self, id: FileId, fd: Fd, other: Option<Fd>) -> bool {
        let done = self.call(Kind::Settle, "fsync", |proc| proc.fsync(fd));
        if done.is_some() {
            self.durable(id);
        } else if let Some(other) = other
            && self.injection.fails_write_back()
        {
            let again = self.call(Kind::Settle, "fsync of the other", |proc| proc.fsync(other));
            if again.is_some() {
                self.problem(
                    "fsync failed, but the file's other descriptor was not told of it".into(),
                );
            }
        }
        done.is_some()
    }

    /// Makes the data of a file durable.
    pub fn fdatasync(&mut self, id: FileId, fd: Fd) -> bool {
        let done = self.call(Kind::Settle, "fdatasync", |proc| proc.fdatasync(fd));
        if done.is_some() {
            self.durable(id);
        }
        done.is_some()
    }

    /// Makes everything durable.
    pub fn sync(&mut self) -> bool {
        let done = self.call(Kind::Settle, "sync", Proc::sync);
        if done.is_some() {
            self.all_durable();
        }
        done.is_some()
    }

    /// Closes: whatever that gives, the descriptor is gone.
    pub fn close(&mut self, fd: Fd) {
        self.call(Kind::Settle, "close", |proc| proc.close(fd));
        if self.proc.fstat(fd) != Err(Errno::EBADF) {
            self.problem("a closed descriptor is still there".into());
        }
    }

    /// A new directory.
    pub fn mkdir(&mut self, name: &str) -> Option<FileId> {
        let path = Self::path(name);
        let made = self.call(Kind::Grow, &format!("mkdir {name}"), |proc| {
            proc.mkdirat(At::Cwd, &path, 0o755)
        });
        if made.is_none() {
            self.absent(name);
            return None;
        }
        Some(self.made(name, Content::Directory))
    }

    /// A new symbolic link.
    pub fn symlink(&mut self, target: &str, name: &str) -> Option<FileId> {
        let path = Self::path(name);
        let made = self.call(Kind::Grow, &format!("symlink {name}"), |proc| {
            proc.symlinkat(target.as_bytes(), At::Cwd, &path)
        });
        if made.is_none() {
            self.absent(name);
            return None;
        }
        let target = target.as_bytes().into();
        Some(self.made(name, Content::Symlink(target)))
    }

    /// One more name.
    pub fn link(&mut self, id: FileId, name: &str) -> bool {
        let mut names = self.state(id).names.clone();
        let Some(old) = names.first() else {
            return false;
        };
        let (from, to) = (Self::path(old), Self::path(name));
        let done = self.call(Kind::Grow, &format!("link {name}"), |proc| {
            let (from, to) = ((At::Cwd, from.as_bytes()), (At::Cwd, to.as_bytes()));
            proc.linkat(from, to, Follow::No)
        });
        if done.is_some() {
            names.push(name.to_owned());
            let content = self.state(id).content.clone();
            self.changed(id, names, content);
        } else {
            self.absent(name);
            self.verify(id);
        }
        done.is_some()
    }

    /// Removes a name.
    pub fn remove(&mut self, id: FileId, name: &str) -> bool {
        let dir = self.state(id).content == Content::Directory;
        let path = Self::path(name);
        let done = self.call(Kind::Change, &format!("remove {name}"), |proc| {
            proc.unlinkat(At::Cwd, &path, dir)
        });
        if done.is_some() {
            let State { mut names, content } = self.state(id).clone();
            names.retain(|own| own != name);
            self.changed(id, names, content);
            self.absent(name);
        } else {
            self.verify(id);
        }
        done.is_some()
    }

    /// Renames a file, or a directory with all below it, to a name that is free.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let done = self.rename_only(from, to);
        let mut touched = vec![];
        for id in 0..self.files.len() {
            let State { names, content } = self.state(id).clone();
            let new: Vec<String> = names.iter().map(|name| moved(name, from, to)).collect();
            if new != names {
                if done {
                    self.changed(id, new, content);
                }
                touched.push(id);
            }
        }
        if done {
            self.absent(from);
        }
        touched.into_iter().for_each(|id| self.verify(id));
        done
    }

    /// Puts the content of a file with one name in the place of another's, at once: an atomic save. It must be durable.
    pub fn replace(&mut self, from: FileId, to: FileId) -> bool {
        let (State { names, content }, target) = (self.state(from).clone(), self.state(to).clone());
        let done = self.rename_only(&names[0], &target.names[0]);
        if done {
            self.changed(to, target.names, content.clone());
            self.changed(from, vec![], content);
        }
        self.verify(to);
        self.verify(from);
        done
    }

    fn rename_only(&mut self, from: &str, to: &str) -> bool {
        let renamed = self.call(Kind::Grow, &format!("rename {from} to {to}"), |proc| {
            let (from, to) = (Self::path(from), Self::path(to));
            let (from, to) = ((At::Cwd, from.as_bytes()), (At::Cwd, to.as_bytes()));
            proc.renameat(from, to, RenameFlags::empty())
        });
        renamed.is_some()
    }

    /// Sets an attribute, which has its old value if that fails.
    pub fn set_xattr(&mut self, id: FileId, name: &str, value: &[u8]) -> bool {
        let Some(file) = self.state(id).names.first() else {
            return false;
        };
        let path = Self::path(file);
        let get = |proc: &Proc| proc.getxattr(&path, name.as_bytes(), Follow::No);
        let none = |result: Result<Vec<u8>>| match result {
            Err(Errno::ENODATA) => Ok(None),
            other => other.map(Some),
        };
        let old = self.call(Kind::Look, "getxattr", |proc| none(get(proc)));
        let done = self.call(Kind::Grow, "setxattr", |proc| {
            proc.setxattr(&path, name.as_bytes(), value, XattrMode::Set, Follow::No)
        });
        let Some(old) = old else {
            return done.is_some();
        };
        let now = self.call(Kind::Look, "getxattr", |proc| none(get(proc)));
        let wanted = if done.is_some() {
            Some(value.to_vec())
        } else {
            old
        };
        if now.is_some_and(|now| now != wanted) {
            self.problem(format!("{path}: attribute {name} has another value"));
        }
        done.is_some()
    }

    /// A name must not be there.
    fn absent(&mut self, name: &str) {
        let path = Self::path(name);
        let there = self.call(Kind::Look, &format!("lstat {name}"), |proc| {
            match proc.lstat(&path) {
                Err(Errno::ENOENT) => Ok(false),
                other => other.map(|_| true),
            }
        });
        if there == Some(true) {
            self.problem(format!("{name} is there"));
        }
    }

    /// Whatever has gone wrong, a file is seen as it must be, or not at all.
    pub fn verify(&mut self, id: FileId) {
        let state = self.state(id).clone();
        self.verify_as(&[state], self.known(id));
    }

    /// Whether the content of a file is known: not of one that was to become durable when the device lost what it had taken.
    fn known(&self, id: FileId) -> bool {
        let lost = self.injection.loses_data() && self.failures() > 0;
        !lost || self.files[id].len() == 1
    }

    /// A file is in one of these states; with `known`, its content, too.
    fn verify_as(&mut self, states: &[State], known: bool) {
        let mut names: Vec<&String> = states.iter().flat_map(|s| &s.names).collect();
        names.sort();
        names.dedup();
        let mut seen = vec![];
        for name in names {
            let Some(node) = self.look(name) else {
                // It could not be read, and that was as it should be.
                return;
            };
            seen.push((name, node));
        }
        let differs = |state: &State| {
            let count = state.names.len() as u64;
            seen.iter().find_map(|(name, node)| {
                let ours = state.names.contains(name);
                match node {
                    None => ours.then(|| format!("{name} is missing")),
                    Some(_) if !ours => Some(format!("{name} is there")),
                    Some((kind, nlink)) => {
                        if state.content != Content::Directory && *nlink != count {
                            return Some(format!("{name} has {nlink} links, not {count}"));
                        }
                        let why = state.content.differs(kind).filter(|_| known);
                        why.map(|why| format!("{name}: {why}"))
                    }
                }
            })
        };
        let why: Vec<String> = states.iter().map_while(differs).collect();
        if why.len() == states.len() {
            self.problem(why.join(" or "));
        }
    }

    /// What a name leads to, with its number of links: `None` inside if to nothing, outside if it could not be read.
    #[expect(
        clippy::option_option,
        reason = "not there, and not known, are two things"
    )]
    fn look(&mut self, name: &str) -> Option<Option<(tree::Kind, u64)>> {
        let path = Self::path(name);
        let stat = self.call(Kind::Look, &format!("lstat {name}"), |proc| {
            match proc.lstat(&path) {
                Err(Errno::ENOENT) => Ok(None),
                other => other.map(Some),
            }
        })?;
        let Some(stat) = stat else {
            return Some(None);
        };
        let kind = match stat.file_type {
            FileType::Regular => {
                let data = self.call(Kind::Look, &format!("read {name}"), |proc| {
                    tree::read_file(proc, path.as_bytes())
                })?;
                if data.len() as u64 != stat.size {
                    let (len, size) = (data.len(), stat.size);
                    self.problem(format!("{name}: {len} bytes of {size} could be read"));
                }
                tree::Kind::Regular(data)
            }
            FileType::Directory => tree::Kind::Directory,
            FileType::Symlink => {
                let target = self.call(Kind::Look, &format!("readlink {name}"), |proc| {
                    proc.readlinkat(At::Cwd, &path)
                })?;
                tree::Kind::Symlink(target)
            }
            _ => tree::Kind::Other,
        };
        Some(Some((kind, stat.nlink)))
    }

    /// Looks at all files and at the lists of all directories. `settled`: each is as it is in memory, else in any state that a
    /// crash may leave.
    pub fn verify_all(&mut self, settled: bool) {
        let mut expected = std::collections::BTreeSet::new();
        for id in 0..self.files.len() {
            let states = if settled {
                vec![self.state(id).clone()]
            } else {
                self.files[id].clone()
            };
            self.verify_as(&states, self.known(id));
            expected.extend(states.into_iter().flat_map(|state| state.names));
        }
        for name in self.listing("") {
            if name != "lost+found" && !expected.contains(&name) {
                self.problem(format!("{name} is listed"));
            }
        }
    }

    /// All paths below a directory, as far as they can be listed.
    fn listing(&mut self, dir: &str) -> Vec<String> {
        let path = Self::path(dir);
        let names = self.call(Kind::Look, &format!("list {dir}"), |proc| {
            tree::list(proc, path.as_bytes())
        });
        let mut all = vec![];
        for name in names.unwrap_or_default() {
            let name = String::from_utf8_lossy(&name).into_owned();
            let name = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            let full = Self::path(&name);
            let stat = self.call(Kind::Look, &format!("lstat {name}"), |proc| {
                proc.lstat(&full)
            });
            if stat.is_some_and(|stat| stat.file_type == FileType::Directory) {
                all.extend(self.listing(&name));
            }
            all.push(name);
        }
        all
    }

    /// The volume was unmounted without an error.
    pub(super) fn unmounted(&mut self) {
        self.all_durable();
    }

    /// A file that fills the volume, known to be durable.
    pub(super) fn ballast(&mut self, name: &str, len: usize) {
        let id = self.made(name, Content::Bytes(vec![BALLAST; len].into()));
        self.durable(id);
    }
}

/// What ballast consists of.
pub(super) const BALLAST: u8 = 0x42;
