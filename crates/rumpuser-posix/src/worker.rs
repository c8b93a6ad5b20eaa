//! A device's thread.

use rumpuser::{Errno, Result, sync::Mutex};
use std::{
    sync::Arc,
    thread::{self, Builder, JoinHandle},
};

/// A thread that is started and stopped, and what it shares with others that do its work in between.
#[derive(Debug)]
pub struct Worker<S>(Mutex<Option<(Arc<S>, JoinHandle<()>)>>);

impl<S> Default for Worker<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Send + Sync + 'static> Worker<S> {
    /// Starts it.
    ///
    /// # Errors
    /// `EBUSY`: it runs; `EAGAIN`: the host has no room for a thread.
    pub fn start(&self, name: String, shared: S, run: fn(&S)) -> Result<()> {
        let mut running = self.0.lock();
        if running.is_some() {
            return Err(Errno::EBUSY);
        }
        let shared = Arc::new(shared);
        let its = shared.clone();
        let thread = Builder::new().name(name).spawn(move || run(&its));
        *running = Some((shared, thread.map_err(|_| Errno::EAGAIN)?));
        Ok(())
    }

    /// Ends it if it runs: `tell` has it end soon.
    pub fn stop(&self, tell: impl FnOnce(&S)) {
        let running = self.0.lock().take();
        if let Some((shared, thread)) = running {
            tell(&shared);
            // It may itself be the one that drops the last of a kernel; it ends anyway.
            if thread.thread().id() != thread::current().id() {
                // If it panicked there is nobody to tell.
                let _ = thread.join();
            }
        }
    }

    /// What it shares, while it runs. Who asks does not wait for whoever starts and stops it.
    #[must_use]
    pub fn shared(&self) -> Option<Arc<S>> {
        let running = self.0.try_lock()?;
        running.as_ref().map(|(shared, _)| shared.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::Worker;
    use rumpuser::Errno;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn it_runs_until_it_is_told_to_end() {
        let worker = Worker::default();
        let run = |end: &AtomicBool| {
            while !end.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        };
        for _ in 0..2 {
            assert!(worker.shared().is_none());
            worker
                .start("one".into(), AtomicBool::new(false), run)
                .unwrap();
            let again = worker.start("two".into(), AtomicBool::new(false), run);
            assert_eq!(again, Err(Errno::EBUSY));
            let shared = worker.shared().unwrap();
            assert!(!shared.load(Ordering::SeqCst));
            worker.stop(|end| end.store(true, Ordering::SeqCst));
            assert_eq!(std::sync::Arc::strong_count(&shared), 1);
        }
        worker.stop(|_| unreachable!());
    }

    #[test]
    fn one_that_panics_can_be_stopped_and_started() {
        let worker = Worker::default();
        worker
            .start("one".into(), (), |()| {
                std::panic::resume_unwind(Box::new(()))
            })
            .unwrap();
        worker.stop(|()| ());
        worker.start("two".into(), (), |()| ()).unwrap();
        worker.stop(|()| ());
    }
}
