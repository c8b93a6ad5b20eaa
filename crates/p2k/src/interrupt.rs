//! Requests that end early when whoever asked has got a signal (`INTERRUPT`).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Requests under way that can end early, by their number, and whether they are to.
#[derive(Default)]
pub(crate) struct Interrupts(Mutex<HashMap<u64, bool>>);

impl Interrupts {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, bool>> {
        // Changed in single steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that can end early, until what is given is dropped. To be said before another thread takes requests: it may be the one that interrupts.
    pub(crate) fn watch(&self, unique: u64) -> Watched<'_> {
        self.lock().insert(unique, false);
        Watched { all: self, unique }
    }

    /// Whoever asked for `unique` has got a signal. Of other requests nothing is kept: they are answered soon, or have been.
    pub(crate) fn interrupt(&self, unique: u64) {
        if let Some(interrupted) = self.lock().get_mut(&unique) {
            *interrupted = true;
        }
    }
}

/// A request under way.
pub(crate) struct Watched<'a> {
    all: &'a Interrupts,
    unique: u64,
}

impl Watched<'_> {
    /// Whether it is to end: with what it has done, or with `EINTR`.
    pub(crate) fn interrupted(&self) -> bool {
        self.all.lock().get(&self.unique) == Some(&true)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.unique);
    }
}

#[cfg(test)]
mod tests {
    use super::Interrupts;

    #[test]
    fn only_what_is_under_way_is_interrupted() {
        let all = Interrupts::default();
        all.interrupt(2);
        let (first, second) = (all.watch(2), all.watch(4));
        assert!(!first.interrupted());
        all.interrupt(2);
        assert!(first.interrupted() && !second.interrupted());
        drop(first);
        assert!(!all.watch(2).interrupted());
        drop(second);
        assert!(all.lock().is_empty());
    }
}
