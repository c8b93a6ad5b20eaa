//! Work that is done in steps, by a thread of its own or without one.

use crate::{Event, Instant, Result, Thread, Threads, sync::Mutex};
use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::{AtomicBool, Ordering};

/// A step: does what is to be done now, and says when it has to be called again, if it is not told before. It must not wait for
/// anything.
pub type Step = Box<dyn FnMut() -> Option<Instant> + Send>;

/// Work that is under way. Dropped, it ends soon, and nobody waits for that.
pub trait Task: Send + Sync {
    /// There is something to do: has the step called soon, once more if it is just running.
    fn notify(&self);

    /// Ends the work: waits for a step that is running, and calls no other. A step must not do this to its own task.
    fn stop(&self);
}

/// A task on a thread of its own.
struct Threaded {
    event: Arc<dyn Event>,
    ending: Arc<AtomicBool>,
    thread: Mutex<Option<Box<dyn Thread>>>,
}

/// Starts a thread for a task.
pub(crate) fn threaded<T: Threads + ?Sized>(
    host: &T,
    name: &str,
    mut step: Step,
) -> Result<Arc<dyn Task>> {
    let event = host.event();
    let ending = Arc::new(AtomicBool::new(false));
    let (wake, end) = (event.clone(), ending.clone());
    let body = move || {
        loop {
            let ticket = wake.ticket();
            if end.load(Ordering::SeqCst) {
                break;
            }
            let deadline = step();
            wake.wait(ticket, deadline);
        }
    };
    let thread = host.spawn(name, Box::new(body))?;
    Ok(Arc::new(Threaded {
        event,
        ending,
        thread: Mutex::new(Some(thread)),
    }))
}

impl Task for Threaded {
    fn notify(&self) {
        self.event.notify();
    }

    fn stop(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.event.notify();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            thread.join();
        }
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        self.event.notify();
    }
}
