//! Threads and tasks of the kernel.

use crate::{Kernel, border::Border};
use alloc::{boxed::Box, string::ToString, sync::Arc, vec::Vec};
use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use rumpuser::{Errno, Event, Host, Instant, Result, Task, Thread, sync::Mutex};

/// What a kernel thread sees of its own life.
#[derive(Clone)]
pub struct Life {
    host: Arc<dyn Host>,
    ending: Arc<AtomicBool>,
    event: Arc<dyn Event>,
}

impl Life {
    /// Whether the thread has been told to end.
    #[must_use]
    pub fn ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// What wakes the thread when it is told to end. Who has work for it notifies it as well.
    #[must_use]
    pub fn event(&self) -> &Arc<dyn Event> {
        &self.event
    }

    /// Sleeps for `time`, less if told to end; `true` while life goes on.
    #[must_use]
    pub fn sleep(&self, time: Duration) -> bool {
        let ticket = self.event.ticket();
        if !self.ending() {
            let deadline = self.host.monotonic().after(time);
            self.event.wait(ticket, Some(deadline));
        }
        !self.ending()
    }
}

/// All threads of a kernel.
pub(crate) struct Kthreads {
    host: Arc<dyn Host>,
    border: Arc<Border>,
    running: Mutex<Vec<Running>>,
}

enum Running {
    Thread {
        ending: Arc<AtomicBool>,
        event: Arc<dyn Event>,
        thread: Box<dyn Thread>,
    },
    Task(Arc<dyn Task>),
}

impl Kthreads {
    pub(crate) fn new(host: &Arc<dyn Host>, border: &Arc<Border>) -> Arc<Self> {
        Arc::new(Self {
            host: host.clone(),
            border: border.clone(),
            running: Mutex::default(),
        })
    }

    /// Number of threads and tasks that were started and not stopped.
    pub(crate) fn count(&self) -> usize {
        self.running.lock().len()
    }

    /// Starts a thread. A panic in it ends it, with a message.
    pub(crate) fn spawn(&self, name: &str, body: impl FnOnce(Life) + Send + 'static) -> Result<()> {
        let life = Life {
            host: self.host.clone(),
            ending: Arc::new(AtomicBool::new(false)),
            event: self.host.event(),
        };
        let (ending, event) = (life.ending.clone(), life.event.clone());
        let (border, label) = (self.border.clone(), name.to_string());
        let thread = self.host.spawn(
            name,
            Box::new(move || {
                let ended = border.enter_as(&label, || {
                    body(life);
                    Ok(())
                });
                debug_assert!(ended.is_ok() || ended == Err(Errno::EIO));
            }),
        )?;
        self.running.lock().push(Running::Thread {
            ending,
            event,
            thread,
        });
        Ok(())
    }

    /// Starts a task. A panic in it ends it, with a message.
    pub(crate) fn task(
        &self,
        name: &str,
        mut step: impl FnMut() -> Option<Instant> + Send + 'static,
    ) -> Result<Arc<dyn Task>> {
        let (border, label) = (self.border.clone(), name.to_string());
        let mut ended = false;
        let guarded = move || {
            if ended {
                return None;
            }
            let next = border.enter_as(&label, || Ok(step()));
            ended = next.is_err();
            next.unwrap_or(None)
        };
        let task = self.host.task(name, Box::new(guarded))?;
        self.running.lock().push(Running::Task(task.clone()));
        Ok(task)
    }

    /// Tells all threads and tasks to end and waits until they have.
    pub(crate) fn stop_all(&self) {
        let running = core::mem::take(&mut *self.running.lock());
        for one in &running {
            if let Running::Thread { ending, event, .. } = one {
                ending.store(true, Ordering::Release);
                event.notify();
            }
        }
        for one in running {
            match one {
                Running::Thread { thread, .. } => thread.join(),
                Running::Task(task) => task.stop(),
            }
        }
    }
}

impl Kernel {
    /// Starts a kernel thread. It must end soon after [`Life::ending`]: shutdown waits for it.
    ///
    /// # Errors
    /// `EAGAIN`.
    pub fn spawn(&self, name: &str, body: impl FnOnce(Life) + Send + 'static) -> Result<()> {
        self.inner.threads.spawn(name, body)
    }

    /// Starts a kernel task: `step` does what is to be done, and says when it has to be called again if nobody notifies the task
    /// before. It must not wait. Shutdown ends it.
    ///
    /// # Errors
    /// `EAGAIN`.
    pub fn task(
        &self,
        name: &str,
        step: impl FnMut() -> Option<Instant> + Send + 'static,
    ) -> Result<Arc<dyn Task>> {
        self.inner.threads.task(name, step)
    }
}
