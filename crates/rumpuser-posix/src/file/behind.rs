//! Writing behind: what has been written goes to the medium before somebody waits for it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Builder, JoinHandle},
};

/// A thread that is called each time that so many bytes have been written.
#[derive(Debug)]
pub(super) struct Behind {
    step: u64,
    written: AtomicU64,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Behind {
    /// Starts it: `begin` is to begin to bring to the medium what has been written.
    ///
    /// # Errors
    /// The host has no room for a thread.
    pub(super) fn start(step: u64, begin: impl Fn() + Send + 'static) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let thread = Builder::new().name("write-behind".into()).spawn(move || {
            loop {
                // If it is called while it works it comes back at once.
                thread::park();
                if told.load(Ordering::Acquire) {
                    return;
                }
                begin();
            }
        })?;
        Ok(Self {
            step,
            written: AtomicU64::new(0),
            ended,
            thread: Some(thread),
        })
    }

    /// So many bytes more have been written.
    pub(super) fn wrote(&self, bytes: u64) {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / self.step != before.wrapping_add(bytes) / self.step
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // If it panicked nobody has to know: it has promised nothing.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Behind;
    use std::sync::mpsc;

    #[test]
    fn begins_after_each_step() {
        let (begun, begins) = mpsc::channel();
        let behind = Behind::start(100, move || begun.send(()).unwrap()).unwrap();
        behind.wrote(99);
        for bytes in [1, 250] {
            behind.wrote(bytes);
            begins.recv().unwrap();
        }
        // 350 of them: the next step is at 400.
        behind.wrote(49);
        drop(behind);
        assert!(begins.recv().is_err(), "begun without need");
    }
}
