//! Every panic counts, a contained one as well.

use std::{
    panic,
    sync::{Mutex, Once, PoisonError},
};

static SEEN: Mutex<Vec<String>> = Mutex::new(vec![]);

/// From here on every panic of the process is noted, on any thread, whoever catches it.
pub fn watch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        // The host wraps the hook when it catches for the first time; ours has to be around that one.
        let caught = rumpuser_posix::catch(&mut || {});
        debug_assert!(caught.is_ok());
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.to_string();
            SEEN.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(text);
            previous(info);
        }));
    });
}

/// The panics since the last call.
pub(super) fn take() -> Vec<String> {
    std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner))
}
