//! One run with one injection, and what is left of it.

use super::{
    Injection, Session, Subject,
    session::{BALLAST, Kind},
    workloads::Workload,
};
use crate::{
    crash::{self, FileId, Ledger, Promise, State, bench::Bench, state},
    memory,
    mounted::{MOUNT_POINT, Mounted, boot_on},
    tree,
};
use rumpkern::{Kernel, OpenFlags, Proc, sysctl::Value};
use rumpuser_sim::{Counters, Loss, MemDisk, Options, Sim};
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{At, MountArgs},
};
use std::{collections::BTreeMap, sync::Arc};

const DEVICE: &str = "/dev/volume";
const PAGE: u64 = 4096;

/// Counters of the kernel that must be as before when a volume is gone.
const COUNTERS: [&str; 5] = [
    "vfs.vnodes",
    "vfs.names",
    "vfs.pages.used",
    "vfs.pages.dirty",
    "kern.threads",
];

/// Parts of a run.
pub(super) const PHASES: [&str; 5] = ["mount", "work", "sync", "unmount", "remount"];

/// What a run was.
pub(super) struct Run<'a> {
    pub(super) subject: &'a Subject,
    /// The empty volume.
    pub(super) image: &'a [u8],
    pub(super) workload: Workload,
    pub(super) injection: Injection,
    pub(super) seed: u64,
    /// Tells every call.
    pub(super) trace: bool,
}

/// What happened in a run.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) problems: Vec<String>,
    /// What the device had been asked for at the end of each phase.
    pub(super) phases: Vec<Counters>,
    /// Calls, and those that failed.
    pub(super) calls: (usize, usize),
    /// Bytes of pages at the end of the work.
    pub(super) pages: u64,
    /// Blocks and inodes that the work took.
    pub(super) used: (u64, u64),
    /// Bytes that are allocated after the run and were not before.
    pub(super) held: isize,
    /// In which phase something went wrong first.
    pub(super) failed_in: Option<&'static str>,
}

impl Seen {
    /// Memory that it holds itself, when there are no problems.
    fn bytes(&self) -> isize {
        let bytes = self.phases.capacity() * size_of::<Counters>();
        isize::try_from(bytes).expect("a few")
    }
}

/// What a run leaves on the medium.
struct Left {
    image: Vec<u8>,
    /// As a power cut after it leaves it, if that is something else.
    cut: Option<Vec<u8>>,
    files: Vec<Vec<State>>,
    /// The last unmount succeeded.
    clean: bool,
}

/// Carries a run out and judges what is left.
pub(super) fn run(run: &Run<'_>, bench: &mut Bench) -> Seen {
    let before = held();
    let mut seen = Seen::default();
    let left = World::boot(run).live(run, &mut seen);
    let after = held();
    if let (Subject::Volume(volume), Some(left)) = (run.subject, &left)
        && let Err(why) = judge(run, *volume, bench, left)
    {
        seen.problems.push(why);
    }
    let with = held();
    drop(left);
    let left = with - held();
    seen.held = after - before - left - seen.bytes();
    seen
}

/// Bytes that the process holds; always 0 in one that does not count them.
fn held() -> isize {
    memory::held().cast_signed()
}

/// A kernel with a volume.
struct World {
    sim: Arc<Sim>,
    kernel: Kernel,
    proc: Proc,
    disk: Option<Arc<MemDisk>>,
}

impl World {
    fn boot(run: &Run<'_>) -> Self {
        let mut options = Options {
            seed: run.seed,
            ..Options::default()
        };
        if let Injection::Pages(pages) = run.injection {
            // Half of the memory is for pages.
            options.memory_limit = 2 * pages * PAGE;
        }
        let sim = Sim::with(options);
        let kernel = boot_on(sim.clone());
        let proc = kernel.init_proc();
        proc.umask(0);
        proc.mkdirat(At::Cwd, MOUNT_POINT, 0o755).expect("mkdir");
        let disk = match run.subject {
            Subject::Volume(_) => {
                let disk = Arc::new(MemDisk::from_bytes(run.image));
                kernel.etfs_register(DEVICE, disk.clone()).expect("etfs");
                Some(disk)
            }
            Subject::Memory(_) => None,
        };
        Self {
            sim,
            kernel,
            proc,
            disk,
        }
    }

    fn args(&self, injection: Injection) -> MountArgs {
        if self.disk.is_some() {
            return MountArgs::device(DEVICE);
        }
        let args = MountArgs::default();
        // One inode is the root's.
        match injection {
            Injection::Blocks(count) => {
                // No size at all is no limit.
                args.option("size", Some(&(count.max(1) * PAGE).to_string()))
            }
            Injection::Inodes(count) => args.option("nr_inodes", Some(&(count + 1).to_string())),
            _ => args,
        }
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        let get = |name| (name, self.number(name));
        let mut all: BTreeMap<_, _> = COUNTERS.into_iter().map(get).collect();
        if let Some(disk) = &self.disk {
            all.insert("users of the device", Arc::strong_count(disk) as u64);
        }
        all
    }

    /// The parts of a run. `None` without a medium.
    fn live(self, run: &Run<'_>, seen: &mut Seen) -> Option<Left> {
        let injection = run.injection;
        let device = self.disk.clone();
        let mut s = Session::new(self.proc.clone(), device, injection, run.seed, run.trace);
        let before = self.counters();
        if let Some(disk) = &self.disk {
            injection.arm(disk, run.image.len() as u64);
        }
        let mut clean = false;
        let mounted = self.mount(&mut s, run);
        self.note(seen, 0);
        if mounted {
            self.fill(&mut s, injection);
            let free = self.free();
            if injection == Injection::Thread {
                self.sim.refuse_threads(1);
            }
            (run.workload.1)(&mut s, &self.sim);
            s.verify_all(true);
            self.note(seen, 1);
            let now = self.free();
            seen.used = (free.0.saturating_sub(now.0), free.1.saturating_sub(now.1));
            s.sync();
            self.note(seen, 2);
            seen.pages = self.number("vfs.pages.used");
            clean = self.unmount(&mut s);
            if clean {
                s.unmounted();
            }
            self.note(seen, 3);
        }
        // Without a journal, what was not unmounted cleanly is for the checker to mend, first of all.
        let fit = match run.subject {
            Subject::Volume(volume) => clean || volume.promise() == Promise::Whole,
            Subject::Memory(_) => false,
        };
        if mounted && fit {
            let whole = clean;
            clean = self.mount(&mut s, run);
            if clean {
                s.verify_all(whole);
                clean = self.unmount(&mut s);
            }
        }
        self.note(seen, 4);
        self.finish(s, &before, seen, clean, run.trace)
    }

    /// Free blocks and inodes.
    fn free(&self) -> (u64, u64) {
        let all = self.proc.statvfs(MOUNT_POINT).unwrap_or_default();
        (all.blocks_free, all.files_free)
    }

    fn number(&self, name: &str) -> u64 {
        match self.kernel.sysctl(name) {
            Ok(Value::Number(number)) => u64::try_from(number).expect("a count"),
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The end of a phase.
    fn note(&self, seen: &mut Seen, phase: usize) {
        let counters = self.disk.as_ref().map(|disk| disk.counters());
        let counters = counters.unwrap_or_default();
        if counters.failures > 0 {
            seen.failed_in.get_or_insert(PHASES[phase]);
        }
        seen.phases.push(counters);
    }

    fn mount(&self, s: &mut Session, run: &Run<'_>) -> bool {
        let args = self.args(run.injection);
        let fs_type = run.subject.fs_type();
        s.call(Kind::Mount, "mount", |proc| {
            proc.mount(fs_type, MOUNT_POINT, args)
        })
        .is_some()
    }

    /// Whatever it gives, the volume is gone then.
    fn unmount(&self, s: &mut Session) -> bool {
        let done = s.call(Kind::Settle, "unmount", |proc| {
            proc.unmount(MOUNT_POINT, false)
        });
        if self.proc.getvfsstat().iter().any(|m| m.on == MOUNT_POINT) {
            s.problem("the volume is still mounted".into());
            let _ = self.proc.unmount(MOUNT_POINT, true);
        }
        done.is_some()
    }

    /// Leaves as many blocks or inodes free as the injection says.
    fn fill(&self, s: &mut Session, injection: Injection) {
        if self.disk.is_none() {
            return;
        }
        match injection {
            Injection::Blocks(keep) => self.fill_blocks(s, keep),
            Injection::Inodes(keep) => {
                let free = self.proc.statvfs(MOUNT_POINT).expect("statvfs").files_free;
                for n in 0..free.saturating_sub(keep) {
                    self.add_ballast(s, &format!("inode{n}"), 0);
                }
            }
            _ => return,
        }
        self.proc.sync().expect("nothing has failed yet");
    }

    fn fill_blocks(&self, s: &mut Session, keep: u64) {
        let free = || {
            let all = self.proc.statvfs(MOUNT_POINT).expect("statvfs");
            (all.blocks_free.saturating_sub(keep), all.block_size)
        };
        // What says where a large file's blocks are takes blocks, too: the rest is filled one by one.
        let mut n = 0;
        loop {
            let (blocks, size) = free();
            let now = match blocks {
                0 => return,
                1..=16 => 1,
                more => more - more / 50 - 8,
            };
            self.add_ballast(s, &format!("block{n}"), (now * u64::from(size)) as usize);
            n += 1;
        }
    }

    fn add_ballast(&self, s: &mut Session, name: &str, len: usize) {
        let flags = OpenFlags::RDWR | OpenFlags::CREAT;
        let fd = self.proc.open(Session::path(name), flags, 0o644);
        let fd = fd.expect("room for ballast");
        let written = self.proc.write(fd, &vec![BALLAST; len]);
        assert_eq!(written, Ok(len), "room for ballast");
        self.proc.close(fd).expect("close");
        s.ballast(name, len);
    }

    /// Nothing is left in the kernel; what is left on the medium.
    fn finish(
        self,
        mut s: Session,
        before: &BTreeMap<&'static str, u64>,
        seen: &mut Seen,
        clean: bool,
        trace: bool,
    ) -> Option<Left> {
        seen.calls = s.calls();
        let mut after = self.counters();
        // The syncer lives as long as the kernel.
        if after["kern.threads"] == 1 {
            after.insert("kern.threads", 0);
        }
        for (name, value) in &after {
            if *value > before[name] {
                s.problem(format!("{name}: {value}, {} before", before[name]));
            }
        }
        if let Err(error) = self.kernel.shutdown() {
            s.problem(format!("shutdown: {}", error.name()));
        }
        if self.number("kern.threads") != 0 {
            s.problem("threads are left after the shutdown".into());
        }
        for message in self.kernel.log().since(0) {
            if trace {
                eprintln!("kernel: {}", message.text);
            }
            if message.text.contains("panic") {
                s.problem(message.text);
            }
        }
        let (problems, files) = s.finish();
        seen.problems.extend(problems);
        drop((self.proc, self.kernel, self.sim));
        let disk = Arc::into_inner(self.disk?);
        let Some(disk) = disk else {
            seen.problems
                .push("the device is in use after the end of the kernel".into());
            return None;
        };
        let cut = (disk.unflushed() > 0).then(|| disk.crash_image(Loss::All, 0).to_bytes());
        Some(Left {
            image: disk.to_bytes(),
            cut,
            files,
            clean,
        })
    }
}

/// What is on the medium is what may be there, on a device that is healthy again.
fn judge(
    run: &Run<'_>,
    volume: &dyn crash::Volume,
    bench: &mut Bench,
    left: &Left,
) -> Result<(), String> {
    let empty = mounted(volume, &Arc::new(MemDisk::from_bytes(run.image)))?;
    let mut ledger = Ledger::of(&tree::from_mount(&empty.proc, MOUNT_POINT));
    empty.unmount();
    for states in &left.files {
        let id: FileId = ledger.add(0, states[0].clone());
        ledger.set(id, 0, states.clone());
    }
    if left.clean {
        bench.put(&MemDisk::from_bytes(&left.image));
        let checked = volume.check(bench.path());
        checked.map_err(|why| format!("unmounted without an error, but {why}"))?;
    }
    let images = [
        ("", Some(&left.image)),
        ("after a power cut: ", left.cut.as_ref()),
    ];
    for (when, image) in images {
        if let Some(image) = image {
            let disk = Arc::new(MemDisk::from_bytes(image));
            let examined = examine(run, volume, bench, &disk, &ledger, left.clean);
            examined.map_err(|why| format!("{when}{why}"))?;
        }
    }
    Ok(())
}

/// Mounts, compares, writes a little if there is room, unmounts and checks.
fn examine(
    run: &Run<'_>,
    volume: &dyn crash::Volume,
    bench: &mut Bench,
    disk: &Arc<MemDisk>,
    ledger: &Ledger,
    clean: bool,
) -> Result<(), String> {
    let whole = clean || volume.promise() == Promise::Whole;
    if !whole {
        bench.put(disk);
        volume.repair(bench.path())?;
        bench.take(disk);
    }
    let mounted = mounted(volume, disk)?;
    let found = tree::from_mount(&mounted.proc, MOUNT_POINT);
    if whole {
        ledger.compare(0, &found)?;
    } else {
        ledger.compare_repaired(0, &found)?;
    }
    if !matches!(run.injection, Injection::Blocks(_) | Injection::Inodes(_)) {
        state::probe(&mounted).map_err(|error| format!("using it afterwards: {error}"))?;
    }
    mounted.unmount();
    if clean {
        // It has been checked as it was left.
        return Ok(());
    }
    bench.put(disk);
    volume.check(bench.path())
}

/// On a healthy device.
fn mounted(volume: &dyn crash::Volume, disk: &Arc<MemDisk>) -> Result<Mounted, String> {
    Mounted::simulated(volume.fs_type(), disk.clone(), 1)
        .map_err(|(error, log)| format!("mounting: {error}; {log:?}"))
}
