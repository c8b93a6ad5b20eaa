//! Call-outs: functions that are called at a time.

use crate::{Kernel, border::Border, kthread::Kthreads};
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};
use core::time::Duration;
use rumpuser::{Event, Host, Instant, Result, sync::Mutex};

/// Names a call-out that has not been called yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CalloutId {
    at: Instant,
    number: u64,
}

type Call = Box<dyn FnOnce() + Send>;

/// The call-outs of a kernel, ordered by time. Their thread starts with the first.
pub(crate) struct Callouts {
    host: Arc<dyn Host>,
    threads: Arc<Kthreads>,
    border: Arc<Border>,
    event: Arc<dyn Event>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pending: BTreeMap<CalloutId, Call>,
    next: u64,
    started: bool,
    stopped: bool,
}

impl Callouts {
    pub(crate) fn new(
        host: &Arc<dyn Host>,
        threads: &Arc<Kthreads>,
        border: &Arc<Border>,
    ) -> Arc<Self> {
        Arc::new(Self {
            host: host.clone(),
            threads: threads.clone(),
            border: border.clone(),
            event: host.event(),
            state: Mutex::default(),
        })
    }

    fn add(self: &Arc<Self>, delay: Duration, call: Call) -> Result<CalloutId> {
        let mut state = self.state.lock();
        let id = CalloutId {
            at: self.host.monotonic().after(delay),
            number: state.next,
        };
        state.next += 1;
        state.pending.insert(id, call);
        let start = !state.started;
        state.started = true;
        drop(state);
        if start {
            let me = self.clone();
            if let Err(error) = self.threads.spawn("callout", move |_| me.run()) {
                let mut state = self.state.lock();
                state.started = false;
                state.pending.remove(&id);
                return Err(error);
            }
        }
        self.event.notify();
        Ok(id)
    }

    /// Calls what is due, one after the other, until stopped.
    fn run(&self) {
        loop {
            let ticket = self.event.ticket();
            let mut state = self.state.lock();
            if state.stopped {
                return;
            }
            let now = self.host.monotonic();
            let next = state.pending.first_key_value().map(|(id, _)| id.at);
            if next.is_some_and(|at| at <= now) {
                let due = state.pending.pop_first();
                drop(state);
                if let Some((_, call)) = due {
                    // A panic ends this call alone, and has been told.
                    let _ = self.border.enter_as("callout", || {
                        call();
                        Ok(())
                    });
                }
            } else {
                drop(state);
                self.event.wait(ticket, next);
            }
        }
    }

    /// Ends the thread; what is pending is never called.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        let dropped = core::mem::take(&mut state.pending);
        drop(state);
        drop(dropped);
        self.event.notify();
    }
}

impl Kernel {
    /// Has `call` called after `delay`, on the kernel's call-out thread: it must be short.
    ///
    /// # Errors
    /// `EAGAIN` when the thread cannot be started.
    pub fn callout(
        &self,
        delay: Duration,
        call: impl FnOnce() + Send + 'static,
    ) -> Result<CalloutId> {
        self.inner.callouts.add(delay, Box::new(call))
    }

    /// Takes a call-out back; `false` when it has been called or is just being called.
    pub fn cancel_callout(&self, id: CalloutId) -> bool {
        let call = self.inner.callouts.state.lock().pending.remove(&id);
        call.is_some()
    }
}
