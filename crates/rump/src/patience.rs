//! Mounts that have to wait.

use crate::{report::say, signals};
use rumpkern::Log;
use rumpuser_posix::{Access, HostFile, OpenError};
use rumpvfs::fs::Probe;
use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// How often it is looked what there is to say.
const LOOK: Duration = Duration::from_millis(200);
/// How long an image may stay in use that is not mounted, and how often it is tried.
const RELEASE: Duration = Duration::from_secs(3);
const TRY: Duration = Duration::from_millis(10);

/// Opens an image. One whose mount has just ended (`umount a; rump mount a.img b`) stays in use until its server has written what it has: it is
/// waited for.
///
/// # Errors
/// As [`HostFile::open`].
pub(crate) fn open(path: &Path, access: Access) -> Result<HostFile, OpenError> {
    let start = Instant::now();
    loop {
        let opened = HostFile::open(path, access);
        let locked = opened.as_ref().is_err_and(OpenError::is_locked);
        if !locked || start.elapsed() > RELEASE || is_mounted(path) || signals::check().is_err() {
            return opened;
        }
        thread::sleep(TRY);
    }
}

/// Whether the host has a server's mount of this image.
fn is_mounted(image: &Path) -> bool {
    let (Ok(image), Ok(mounts)) = (fs::metadata(image), fs::read("/proc/self/mounts")) else {
        return false;
    };
    let same = |source: &[u8]| {
        let source = fs::metadata(OsStr::from_bytes(source));
        source.is_ok_and(|source| (source.dev(), source.ino()) == (image.dev(), image.ino()))
    };
    mounts.split(|&byte| byte == b'\n').any(|line| {
        let mut words = line.split(|&byte| byte == b' ');
        let (source, kind) = (words.next().unwrap_or_default(), words.nth(1));
        let source = p2k::mount::unescape(source);
        // Of a partition the image comes first.
        let whole = source.rsplitn(2, |&byte| byte == b'@').nth(1);
        kind == Some(b"fuse.rump") && (same(&source) || whole.is_some_and(same))
    })
}

/// Whether a mount for writing may have to wait to see whether somebody else has the volume mounted.
pub(crate) fn may_wait(probe: Option<&Probe>) -> bool {
    let facts = probe.map(|probe| &probe.facts[..]).unwrap_or_default();
    let mut features = facts.iter().filter(|(name, _)| name == "features");
    features.any(|(_, list)| list.split(' ').any(|feature| feature == "mmp"))
}

/// Mounts, and says meanwhile what the kernel has to say about it. From then on a signal ends the program at once, as nothing else could:
/// what a mount writes is in the journal first, or marks the volume as one that is in use, as it was before.
pub(crate) fn telling<T>(name: &str, log: &Log, mount: impl FnOnce() -> T) -> T {
    let mut mark = log.mark();
    let (done, waiting) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut told = false;
            while waiting.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                for message in log.since(mark) {
                    mark = message.sequence + 1;
                    told = true;
                    say(format_args!("{name}: {}", message.text));
                }
                if told && signals::check().is_err() {
                    signals::die();
                }
            }
        });
        let mounted = mount();
        drop(done);
        mounted
    })
}
