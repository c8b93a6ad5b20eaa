//! Who waits for a socket.

use super::Watcher;
use alloc::sync::Arc;
use rumpuser::{Event, Fetch, Host, Instant};

/// Who is to hear that a socket's readiness may have changed: threads that wait, and a [`Watcher`]. A family keeps it with its socket, behind the
/// same lock. Most sockets are never waited for: they have no event.
#[derive(Default)]
pub struct Waiters {
    event: Option<Arc<dyn Event>>,
    /// Somebody has taken a ticket of the event since it was last notified.
    awaited: bool,
    /// It is to be notified each time.
    watched: bool,
}

impl Waiters {
    /// A number for [`Event::wait`], which passes with the next change: who waits takes one before he looks whether he has to.
    pub fn ticket(&mut self, host: &(impl Host + ?Sized)) -> u64 {
        self.awaited = true;
        self.event.get_or_insert_with(|| host.event()).ticket()
    }

    /// What is waited for, with the lock let go.
    pub fn event(&mut self, host: &(impl Host + ?Sized)) -> Arc<dyn Event> {
        self.event.get_or_insert_with(|| host.event()).clone()
    }

    /// Tells a watcher as well, from now on. Who waits goes on.
    pub fn watch(&mut self, host: &(impl Host + ?Sized), watcher: Arc<dyn Watcher>) {
        let event = self.event(host);
        self.event = Some(Arc::new(Watched { event, watcher }));
        self.watched = true;
    }

    /// The event that is to be notified of a change when the lock is free, if anybody is to hear of it. Who waits takes a ticket before each
    /// time, with the lock held as it is here: so one for whom it was not notified yet has taken his since the last time.
    #[inline]
    pub fn told(&mut self) -> Option<Arc<dyn Event>> {
        if !self.awaited && !self.watched {
            return None;
        }
        self.awaited = false;
        self.event.clone()
    }
}

/// An event that tells a [`Watcher`], too.
struct Watched {
    event: Arc<dyn Event>,
    watcher: Arc<dyn Watcher>,
}

impl Event for Watched {
    fn ticket(&self) -> u64 {
        self.event.ticket()
    }

    fn wait(&self, ticket: u64, deadline: Option<Instant>) -> bool {
        self.event.wait(ticket, deadline)
    }

    fn wait_fetching(
        &self,
        ticket: u64,
        deadline: Option<Instant>,
        fetch: &mut dyn FnMut(Fetch),
    ) -> bool {
        self.event.wait_fetching(ticket, deadline, fetch)
    }

    fn notify(&self) {
        self.event.notify();
        self.watcher.changed();
    }
}
