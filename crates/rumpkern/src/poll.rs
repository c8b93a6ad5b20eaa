//! Waiting until one of several descriptors is ready.

use crate::{Fd, Proc, file::Ready};
use alloc::{sync::Arc, vec::Vec};
use core::{
    sync::atomic::{AtomicUsize, Ordering, fence},
    time::Duration,
};
use rumpuser::{Event, Result, Threads};

/// Who polls in a kernel. Files whose readiness changes call [`changed`](Self::changed).
pub struct Pollers {
    event: Arc<dyn Event>,
    waiting: AtomicUsize,
}

impl Pollers {
    pub(crate) fn new(threads: &dyn Threads) -> Arc<Self> {
        Arc::new(Self {
            event: threads.event(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Some file has become ready, which was noted under a lock that its [`File::poll`](crate::File::poll) takes. Called after that lock was
    /// taken, it costs a load when nobody polls.
    ///
    /// It needs no fence. Who polls counts himself and then looks at the file. If he took the lock before the change was made, he had counted himself
    /// by then, which is seen here, as the same lock was taken after him; if he took it later, he sees the change.
    pub fn changed_under_lock(&self) {
        if self.waiting.load(Ordering::Relaxed) != 0 {
            self.event.notify();
        }
    }

    /// Some file has become ready. Costs a fence and a load when nobody polls.
    pub fn changed(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) != 0 {
            self.event.notify();
        }
    }
}

/// One descriptor of a [`Proc::poll`] and what to wait for.
#[derive(Clone, Copy, Debug)]
pub struct PollFd {
    /// The descriptor.
    pub fd: Fd,
    /// What is asked for; `ERR` and `HUP` are always reported.
    pub events: Ready,
    /// What is ready.
    pub ready: Ready,
}

impl Proc {
    /// The pollers of this process's kernel, for files that become ready.
    #[must_use]
    pub fn pollers(&self) -> Arc<Pollers> {
        self.kernel.pollers.clone()
    }

    /// Waits until a descriptor is ready or `timeout` is over (`None`: for ever). Returns how many are ready.
    ///
    /// # Errors
    /// `EBADF`: unlike poll(2), which reports it per descriptor.
    pub fn poll(&self, fds: &mut [PollFd], timeout: Option<Duration>) -> Result<usize> {
        self.enter(|| {
            let files = fds
                .iter()
                .map(|p| self.fd_file(p.fd))
                .collect::<Result<Vec<_>>>()?;
            let host = self.kernel().host().clone();
            let deadline = timeout.map(|t| host.monotonic().after(t));
            let pollers = &self.kernel.pollers;
            pollers.waiting.fetch_add(1, Ordering::SeqCst);
            let ready = loop {
                let ticket = pollers.event.ticket();
                fence(Ordering::SeqCst);
                let mut count = 0;
                for (poll, open) in fds.iter_mut().zip(&files) {
                    poll.ready = open.file().poll() & (poll.events | Ready::ERR | Ready::HUP);
                    count += usize::from(!poll.ready.is_empty());
                }
                let over = deadline.is_some_and(|d| host.monotonic() >= d);
                if count > 0 || over {
                    break count;
                }
                pollers.event.wait(ticket, deadline);
            };
            pollers.waiting.fetch_sub(1, Ordering::SeqCst);
            Ok(ready)
        })
    }
}
