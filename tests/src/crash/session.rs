//! A workload's view: system calls, and what they promise.

use super::{
    Volume,
    ledger::{Content, FileId, Ledger, State, moved, versions},
    state::Cut,
};
use crate::{
    conformance::Cap,
    mounted::{MOUNT_POINT, Mounted},
    tree,
};
use rumpkern::{Fd, OpenFlags, Proc};
use rumpuser::{BlockDevice, Threads as _, sync::Mutex};
use rumpuser_sim::{History, MemDisk, Options, Rng, Sim, SlowDisk};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow, MountFlags, RenameFlags},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What a run of a workload starts from.
pub(super) struct Start<'a> {
    pub(super) volume: &'a dyn Volume,
    /// The empty volume.
    pub(super) image: &'a [u8],
    /// What the kernel may use, in bytes.
    pub(super) memory: u64,
    /// Free bytes, about.
    pub(super) room: Option<u64>,
    /// Most time that a transfer takes: other threads run meanwhile.
    pub(super) latency: Duration,
    pub(super) seed: u64,
}

/// A mounted volume whose every change of the medium is recorded, and the ledger of what must be left. Threads have one each, of one
/// volume.
pub struct Session {
    stage: Arc<Stage>,
    proc: Proc,
    /// Of each file of this session the durable state and all that it was in since.
    files: BTreeMap<FileId, Vec<State>>,
    /// Chooses sizes, names and contents.
    pub rng: Rng,
}

/// What the sessions of one volume share.
struct Stage {
    sim: Arc<Sim>,
    mounted: Mounted,
    disk: Arc<MemDisk>,
    /// Changes before the recording began.
    base: u64,
    fs_type: &'static str,
    options: &'static [(&'static str, Option<&'static str>)],
    caps: Cap,
    /// Locked for a moment, never across a system call.
    ledger: Mutex<Ledger>,
}

impl Session {
    /// Mounts the volume and moves the log's head by a number of commits that the seed chooses, so that some runs wrap it; records
    /// from there.
    pub(super) fn start(start: &Start<'_>) -> Self {
        let Start { volume, seed, .. } = *start;
        let disk = Arc::new(MemDisk::from_bytes(start.image));
        let sim = Sim::with(Options {
            seed,
            memory_limit: start.memory,
            ..Options::default()
        });
        let device: Arc<dyn BlockDevice> = if start.latency.is_zero() {
            disk.clone()
        } else {
            Arc::new(SlowDisk::new(sim.clone(), disk.clone(), start.latency))
        };
        let mounted = Mounted::on_sim_with(sim.clone(), volume.fs_type(), device, volume.options())
            .unwrap_or_else(|(error, log)| panic!("mounting: {error}; {log:?}"));
        if let Some(room) = start.room {
            fill(&mounted.proc, room);
        }
        let empty = tree::from_mount(&mounted.proc, MOUNT_POINT);
        let mut rng = Rng::new(seed);
        warm_up(&mounted.proc, rng.below(160));
        disk.record();
        let stage = Stage {
            sim,
            base: changes(&disk),
            fs_type: volume.fs_type(),
            options: volume.options(),
            caps: volume.caps(),
            ledger: Mutex::new(Ledger::of(&empty)),
            mounted,
            disk,
        };
        Self {
            proc: stage.mounted.proc.fork(),
            stage: Arc::new(stage),
            files: BTreeMap::new(),
            rng,
        }
    }

    /// What was recorded, and the ledger for it. The power goes instead of an unmount.
    pub(super) fn finish(self) -> (History, Ledger) {
        let end = self.now();
        let history = self.stage.disk.history();
        assert_eq!(history.len(), end, "every change was counted");
        (history, self.stage.ledger.lock().clone())
    }

    /// Runs workloads at the same time, each in a thread with a session of its own.
    ///
    /// # Panics
    /// When one does.
    pub fn together(&mut self, works: &[fn(&mut Self)]) {
        let ended = Arc::new(AtomicUsize::new(0));
        let start = |work: &fn(&mut Self)| {
            let mut session = Self {
                stage: self.stage.clone(),
                proc: self.proc.fork(),
                files: BTreeMap::new(),
                rng: Rng::new(self.rng.next_u64()),
            };
            let (work, ended) = (*work, ended.clone());
            let body = move || {
                work(&mut session);
                ended.fetch_add(1, Ordering::Relaxed);
            };
            let thread = self.stage.sim.spawn("workload", Box::new(body));
            thread.expect("a thread")
        };
        let threads: Vec<_> = works.iter().map(start).collect();
        threads.into_iter().for_each(|thread| thread.join());
        assert_eq!(
            ended.load(Ordering::Relaxed),
            works.len(),
            "a thread panicked"
        );
    }

    /// Changes of the medium since the recording began.
    fn now(&self) -> Cut {
        usize::try_from(changes(&self.stage.disk) - self.stage.base).expect("few")
    }

    /// The process that makes the calls.
    #[must_use]
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// What the format can do.
    #[must_use]
    pub fn caps(&self) -> Cap {
        self.stage.caps
    }

    /// Free bytes of the volume.
    #[must_use]
    pub fn room(&self) -> usize {
        usize::try_from(room(&self.proc)).expect("small")
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

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.rng.below((to - from + 1) as u64) as usize
    }

    /// Opens a file for reading and writing that is there or is made.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn open(&self, name: &str) -> Fd {
        let flags = OpenFlags::RDWR | OpenFlags::CREAT;
        let opened = self.proc().open(Self::path(name), flags, 0o644);
        opened.unwrap_or_else(|error| panic!("open {name}: {error}"))
    }

    /// The state in which a file is now for who looks at it.
    #[must_use]
    pub fn state(&self, id: FileId) -> &State {
        self.files[&id].last().expect("at least one state")
    }

    /// Its content now.
    ///
    /// # Panics
    /// When it is a directory or not settled.
    #[must_use]
    pub fn content(&self, id: FileId) -> Arc<[u8]> {
        match &self.state(id).content {
            Content::Bytes(bytes) => bytes.clone(),
            other => panic!("no plain content: {other:?}"),
        }
    }

    fn new_file(&mut self, name: &str, states: Vec<State>) -> FileId {
        let absent = State {
            names: vec![],
            content: Content::Directory,
        };
        let id = self.stage.ledger.lock().add(0, absent.clone());
        self.files.insert(id, vec![absent]);
        debug_assert!(states.iter().all(|state| state.names == [name]));
        self.change(id, states);
        id
    }

    /// Says, before the call that does it, that a file goes through these states, the last being the one that stays: until it
    /// is durable a cut may leave any of them.
    pub fn change(&mut self, id: FileId, states: Vec<State>) {
        let all = self.files.get_mut(&id).expect("a file of this session");
        all.extend(states);
        // A write has to come first: a cut now still finds the old state.
        let from = self.now() + 1;
        let states = self.files[&id].clone();
        self.stage.ledger.lock().set(id, from, states);
    }

    /// Says, after the call that made it so, that a file's present state is durable.
    pub fn durable(&mut self, id: FileId) {
        let last = self.state(id).clone();
        self.files.insert(id, vec![last.clone()]);
        let from = self.now();
        self.stage.ledger.lock().set(id, from, vec![last]);
    }

    fn all_durable(&mut self) {
        let all: Vec<FileId> = self.files.keys().copied().collect();
        all.into_iter().for_each(|id| self.durable(id));
    }

    /// A new regular file; `data` is written to it in pieces of `piece` bytes, not yet durable.
    ///
    /// # Panics
    /// When a call fails.
    pub fn create(&mut self, name: &str, data: &[u8], piece: usize) -> (FileId, Fd) {
        let of: Arc<[u8]> = data.into();
        let state = |content| State {
            names: vec![name.to_owned()],
            content,
        };
        let growing = Content::Prefix {
            of: of.clone(),
            min: 0,
        };
        let id = self.new_file(name, vec![state(growing), state(Content::Bytes(of))]);
        let fd = self.open(name);
        for part in data.chunks(piece.max(1)) {
            assert_eq!(self.proc().write(fd, part), Ok(part.len()), "{name}");
        }
        (id, fd)
    }

    /// Appends, not yet durable.
    ///
    /// # Panics
    /// When a call fails.
    pub fn append(&mut self, id: FileId, fd: Fd, data: &[u8]) {
        let old = self.content(id);
        let of: Arc<[u8]> = [&old[..], data].concat().into();
        let names = self.state(id).names.clone();
        let growing = Content::Prefix {
            of: of.clone(),
            min: old.len(),
        };
        let states = [growing, Content::Bytes(of)].map(|content| State {
            names: names.clone(),
            content,
        });
        self.change(id, states.into());
        let written = self.proc().pwrite(fd, data, old.len() as u64);
        assert_eq!(written, Ok(data.len()));
    }

    /// Changes the content in place by `call`, not yet durable.
    pub fn rewrite(&mut self, id: FileId, new: Vec<u8>, call: impl FnOnce(&Proc)) {
        let new: Arc<[u8]> = new.into();
        // Earlier versions that are not durable may show through.
        let mut versions = versions(&self.files[&id]);
        versions.push(new.clone());
        let names = self.state(id).names.clone();
        let states = [Content::Blend(versions), Content::Bytes(new)].map(|content| State {
            names: names.clone(),
            content,
        });
        self.change(id, states.into());
        call(&self.proc);
    }

    /// Makes one file durable, by `fdatasync` if `data_only`.
    ///
    /// # Panics
    /// When it fails.
    pub fn fsync(&mut self, id: FileId, fd: Fd, data_only: bool) {
        let done = if data_only {
            self.proc().fdatasync(fd)
        } else {
            self.proc().fsync(fd)
        };
        done.expect("fsync");
        self.durable(id);
    }

    /// Makes everything durable, and notes that of the files of this session.
    ///
    /// # Panics
    /// When it fails.
    pub fn sync(&mut self) {
        self.proc().sync().expect("sync");
        self.all_durable();
    }

    /// Unmounts and mounts again: everything is durable then.
    ///
    /// # Panics
    /// When that fails.
    pub fn mount_again(&mut self) {
        let done = self.proc().unmount(MOUNT_POINT, false);
        done.expect("unmount");
        self.all_durable();
        let mounted = self
            .stage
            .mounted
            .mount(self.stage.fs_type, false, self.stage.options);
        mounted.unwrap_or_else(|(error, log)| panic!("mounting: {error}; {log:?}"));
    }

    /// Makes the mount read-only, after which everything is durable, and writable again.
    ///
    /// # Panics
    /// When that fails.
    pub fn remount(&mut self) {
        let done = self.proc().remount(MOUNT_POINT, MountFlags::RDONLY);
        done.expect("remount for reading");
        self.all_durable();
        let done = self.proc().remount(MOUNT_POINT, MountFlags::default());
        done.expect("remount for writing");
    }

    /// A new directory, not yet durable.
    ///
    /// # Panics
    /// When it fails.
    pub fn mkdir(&mut self, name: &str) -> FileId {
        let state = State {
            names: vec![name.to_owned()],
            content: Content::Directory,
        };
        let id = self.new_file(name, vec![state]);
        let made = self.proc().mkdirat(At::Cwd, Self::path(name), 0o755);
        made.unwrap_or_else(|error| panic!("mkdir {name}: {error}"));
        id
    }

    fn with_names(&self, id: FileId, names: Vec<String>) -> State {
        let content = self.state(id).content.clone();
        State { names, content }
    }

    /// Gives a file one more name.
    ///
    /// # Panics
    /// When it fails.
    pub fn link(&mut self, id: FileId, name: &str) {
        let mut names = self.state(id).names.clone();
        let from = Self::path(&names[0]);
        names.push(name.to_owned());
        let new = self.with_names(id, names);
        self.change(id, vec![new]);
        let to = Self::path(name);
        let (from, to) = ((At::Cwd, from.as_bytes()), (At::Cwd, to.as_bytes()));
        self.proc().linkat(from, to, Follow::No).expect("link");
    }

    /// Removes a name, of a directory if `dir`.
    ///
    /// # Panics
    /// When it fails.
    pub fn remove(&mut self, id: FileId, name: &str, dir: bool) {
        let mut names = self.state(id).names.clone();
        names.retain(|own| own != name);
        let new = self.with_names(id, names);
        self.change(id, vec![new]);
        let removed = self.proc().unlinkat(At::Cwd, Self::path(name), dir);
        removed.unwrap_or_else(|error| panic!("remove {name}: {error}"));
    }

    /// Renames a file or a directory with all below it.
    ///
    /// # Panics
    /// When it fails.
    pub fn rename(&mut self, from: &str, to: &str) {
        for id in self.files.keys().copied().collect::<Vec<_>>() {
            let old = &self.state(id).names;
            let new: Vec<String> = old.iter().map(|name| moved(name, from, to)).collect();
            if new != *old {
                let state = self.with_names(id, new);
                self.change(id, vec![state]);
            }
        }
        self.rename_only(from, to);
    }

    /// Puts the new content of `from` in the place of `to` at once: an atomic save. `from` must be durable.
    ///
    /// # Panics
    /// When it fails.
    pub fn replace(&mut self, from: FileId, to: FileId) {
        let (source, target) = (self.state(from).clone(), self.state(to).names.clone());
        let saved = State {
            names: target.clone(),
            content: source.content.clone(),
        };
        let gone = self.with_names(from, vec![]);
        self.change(to, vec![saved]);
        self.change(from, vec![gone]);
        self.rename_only(&source.names[0], &target[0]);
    }

    fn rename_only(&self, from: &str, to: &str) {
        let paths = (Self::path(from), Self::path(to));
        let from_to = ((At::Cwd, paths.0.as_bytes()), (At::Cwd, paths.1.as_bytes()));
        let done = self
            .proc()
            .renameat(from_to.0, from_to.1, RenameFlags::empty());
        done.unwrap_or_else(|error| panic!("rename {from} to {to}: {error}"));
    }

    /// Closes.
    ///
    /// # Panics
    /// When it fails.
    pub fn close(&self, fd: Fd) {
        self.proc().close(fd).expect("close");
    }
}

/// Writes, discards and flushes that a disk has seen.
fn changes(disk: &MemDisk) -> u64 {
    let counters = disk.counters();
    counters.writes + counters.discards + counters.flushes
}

/// Free bytes of the volume.
fn room(proc: &Proc) -> u64 {
    let volume = proc.statvfs(MOUNT_POINT).expect("statvfs");
    volume.blocks_free * u64::from(volume.block_size)
}

/// Leaves no more than `left` bytes of the volume free.
fn fill(proc: &Proc, left: u64) {
    let path = format!("{MOUNT_POINT}/filler");
    let fd = proc.open(&path, OpenFlags::RDWR | OpenFlags::CREAT, 0o644);
    let fd = fd.expect("a file");
    while room(proc) > left {
        proc.write(fd, &[0x66; 16 << 10]).expect("write");
    }
    proc.fsync(fd).expect("fsync");
    proc.close(fd).expect("close");
}

/// Commits many times, and leaves nothing.
fn warm_up(proc: &Proc, commits: u64) {
    for n in 0..commits {
        let path = format!("{MOUNT_POINT}/warm{n}");
        let fd = proc.open(&path, OpenFlags::RDWR | OpenFlags::CREAT, 0o644);
        let fd = fd.expect("a file");
        proc.write(fd, &[7; 100]).expect("write");
        proc.fsync(fd).expect("fsync");
        proc.close(fd).expect("close");
        proc.unlinkat(At::Cwd, &path, false).expect("unlink");
    }
    proc.sync().expect("sync");
}
