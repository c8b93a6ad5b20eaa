//! One broken image: mounted, used, unmounted; what must never happen.

use super::{
    Choose,
    exercise::Exercise,
    format, panics,
    stopwatch::{Stopwatch, TIME_MAX},
};
use crate::{
    memory,
    mounted::{MOUNT_POINT, Mounted},
};
use rumpkern::Errno;
use rumpuser::BlockDevice;
use rumpuser_posix::{Access, HostFile};
use rumpuser_sim::{Loss, MemDisk, Sim};
use rumpvfs::Calls as _;
use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
    time::Duration,
};

/// Most bytes that a case may hold: kernel, caches and what it writes.
pub const MEMORY_MAX: usize = 256 << 20;

/// Longest virtual time: what a mount may wait for another one that protects the volume (mmp), twice, and some.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// What became of a case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// It was mounted for reading.
    pub read: bool,
    /// It was mounted for writing.
    pub written: bool,
    /// Entries that were found.
    pub entries: usize,
    /// System calls that succeeded.
    pub succeeded: usize,
    /// System calls that failed.
    pub failed: usize,
}

/// Uses a broken image in every way: mounted for reading, then, a copy of it, for writing. `choose` says what is written.
///
/// # Errors
/// What must not be: a panic, contained or not; a changed image; too much memory; a thread that stays.
pub fn run(fs_type: &str, image: &MemDisk, choose: &mut dyn Choose) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    read_only(fs_type, image, &mut outcome)?;
    read_write(fs_type, image, choose, &mut outcome)?;
    Ok(outcome)
}

/// Mounts a broken image for reading and reads all of it, within bounds.
///
/// # Errors
/// As [`run`].
pub fn read_only(fs_type: &str, image: &MemDisk, outcome: &mut Outcome) -> Result<(), String> {
    let device = Arc::new(image.crash_image(Loss::None, 0));
    device.set_read_only(true);
    read(fs_type, device.clone(), outcome)?;
    let counters = device.counters();
    if counters.writes + counters.discards > 0 {
        return Err(format!("read-only: writes were tried: {counters:?}"));
    }
    if !device.same_content(image) {
        return Err("read-only: the image has changed".into());
    }
    match format(fs_type) {
        Some(format) => guarded("also", || format.also(image)),
        None => Ok(()),
    }
}

/// As [`read_only`], of an image in a file of the host that is opened read-only: neither its content nor its times change.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// When the file cannot be read.
pub fn read_only_file(fs_type: &str, path: &str, outcome: &mut Outcome) -> Result<(), String> {
    let look = || {
        let content = fs::read(path).expect("the image");
        let modified = fs::metadata(path).and_then(|meta| meta.modified());
        (content, modified.expect("a time"))
    };
    let before = look();
    let device = HostFile::open(path, Access::ReadOnly).expect("the image opens");
    read(fs_type, Arc::new(device), outcome)?;
    if look() == before {
        Ok(())
    } else {
        Err("read-only: the file has changed".into())
    }
}

fn read(fs_type: &str, device: Arc<dyn BlockDevice>, outcome: &mut Outcome) -> Result<(), String> {
    guarded("read-only", || {
        let Some(mounted) = mount(fs_type, device, true)? else {
            return Ok(());
        };
        outcome.read = true;
        let mut exercise = Exercise::new(&mounted.proc);
        exercise.walk();
        outcome.entries = exercise.found();
        (outcome.succeeded, outcome.failed) = exercise.calls();
        finish(mounted)
    })
}

/// Mounts a copy of a broken image for writing and changes what `choose` says.
///
/// # Errors
/// As [`run`].
pub fn read_write(
    fs_type: &str,
    image: &MemDisk,
    choose: &mut dyn Choose,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let device = Arc::new(image.crash_image(Loss::None, 0));
    guarded("read-write", || {
        let Some(mounted) = mount(fs_type, device, false)? else {
            return Ok(());
        };
        outcome.written = true;
        let mut exercise = Exercise::new(&mounted.proc);
        exercise.look();
        exercise.change(choose);
        let (succeeded, failed) = exercise.calls();
        outcome.succeeded += succeeded;
        outcome.failed += failed;
        finish(mounted)
    })
}

fn mount(
    fs_type: &str,
    device: Arc<dyn BlockDevice>,
    read_only: bool,
) -> Result<Option<Mounted>, String> {
    match Mounted::on_sim(Sim::new(1), fs_type, device, read_only) {
        Ok(mounted) => Ok(Some(mounted)),
        Err((_, log)) => match log.iter().find(|line| line.contains("panic: ")) {
            Some(line) => Err(format!("the mount panicked: {line}")),
            None => Ok(None),
        },
    }
}

/// Unmounts, and looks at what the kernel has to say.
fn finish(mounted: Mounted) -> Result<(), String> {
    let Mounted { kernel, proc } = mounted;
    let _ = proc.sync();
    if let Err(error) = proc.unmount(MOUNT_POINT, false) {
        if error == Errno::EBUSY {
            return Err("unmounting: EBUSY, though nothing is open".into());
        }
        // Whatever could not be written: it is gone all the same.
        let again = proc.unmount(MOUNT_POINT, true);
        if again != Err(Errno::EINVAL) {
            return Err(format!("unmounting: {error}, then {again:?}"));
        }
    }
    if let Err(error) = kernel.shutdown() {
        return Err(format!("shutdown: {error}"));
    }
    let waited = Duration::from_nanos(kernel.host().monotonic().0);
    if waited > WAIT_MAX {
        return Err(format!("waited for {waited:?}"));
    }
    match kernel
        .log()
        .since(0)
        .iter()
        .find(|m| m.text.contains("panic: "))
    {
        Some(message) => Err(format!("a contained panic: {}", message.text)),
        None => Ok(()),
    }
}

/// Runs a part of a case under the bounds that hold for each.
fn guarded(part: &str, body: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let threads = rumpuser_posix::threads();
    let (watch, held) = (Stopwatch::start(), memory::held());
    memory::reset_peak();
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    let (late, used) = (watch.over(TIME_MAX), memory::peak().saturating_sub(held));
    let panics = panics::take();
    if !panics.is_empty() {
        return Err(format!("{part}: panic: {}", panics.join("; ")));
    }
    match result {
        Ok(result) => result.map_err(|error| format!("{part}: {error}"))?,
        Err(_) => return Err(format!("{part}: panic (not watched)")),
    }
    if used > MEMORY_MAX {
        return Err(format!("{part}: {} MiB of memory", used >> 20));
    }
    if let Some(late) = late {
        return Err(format!("{part}: {late}"));
    }
    if !threads_end(threads) {
        return Err(format!("{part}: a thread is left"));
    }
    Ok(())
}

/// Whether kernels have no more threads than `before`, after a moment: one may be on its way out. Other threads are those of tests.
fn threads_end(before: usize) -> bool {
    (0..200).any(|_| {
        let ended = rumpuser_posix::threads() <= before;
        if !ended {
            thread::sleep(Duration::from_millis(5));
        }
        ended
    })
}
