//! Mounts that have to wait.

use crate::{report::say, signals};
use rumpkern::Log;
use rumpvfs::fs::Probe;
use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// How often it is looked what there is to say.
const LOOK: Duration = Duration::from_millis(200);

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
