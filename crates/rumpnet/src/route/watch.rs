//! Notices of changes: what a routing socket tells (`PF_ROUTE`, `RTM_ADD` and `RTM_DELETE`), as values.

use super::Route;
use alloc::{
    collections::VecDeque,
    sync::{Arc, Weak},
    vec::Vec,
};
use rumpuser::{Event, Instant, sync::Mutex};

/// Notices that wait for one watch at most.
const MOST: usize = 1_024;

/// What has happened to a table of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A route was added.
    Added(Route),
    /// A route was removed. One that was changed is removed, then added.
    Removed(Route),
    /// So many changes were not taken that they were dropped: who follows the table is to look at all of it again. Later ones come after this.
    Lost,
}

/// Notices of the changes of a table from now on, in their order, as long as the value lives.
pub struct Watch(Arc<Queue>);

struct Queue {
    changes: Mutex<VecDeque<Change>>,
    event: Arc<dyn Event>,
}

impl Watch {
    /// The next change, if there is one.
    #[must_use]
    pub fn try_next(&self) -> Option<Change> {
        self.0.changes.lock().pop_front()
    }

    /// Waits for the next change. `None`: there was none until the deadline.
    #[must_use]
    pub fn next(&self, deadline: Option<Instant>) -> Option<Change> {
        loop {
            let ticket = self.0.event.ticket();
            if let Some(change) = self.try_next() {
                return Some(change);
            }
            if !self.0.event.wait(ticket, deadline) {
                return self.try_next();
            }
        }
    }
}

/// The watches of a table.
#[derive(Default)]
pub(super) struct Watches(Vec<Weak<Queue>>);

impl Watches {
    pub(super) fn add(&mut self, event: Arc<dyn Event>) -> Watch {
        let queue = Arc::new(Queue {
            changes: Mutex::default(),
            event,
        });
        self.0.retain(|other| other.strong_count() > 0);
        self.0.push(Arc::downgrade(&queue));
        Watch(queue)
    }

    pub(super) fn tell(&mut self, change: Change) {
        self.0.retain(|watch| {
            let Some(queue) = watch.upgrade() else {
                return false;
            };
            let mut changes = queue.changes.lock();
            if changes.len() >= MOST {
                changes.clear();
                changes.push_back(Change::Lost);
            }
            changes.push_back(change);
            drop(changes);
            queue.event.notify();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Origin, Table};
    use rumpuser::{Clock as _, Threads as _};
    use rumpuser_sim::Sim;

    fn route(metric: u32) -> Route {
        Route {
            network: "10.0.0.0/8".parse().unwrap(),
            gateway: None,
            interface: 1,
            metric,
            source: None,
            origin: Origin::Static,
        }
    }

    #[test]
    fn changes_come_in_order_and_only_once_each() {
        let sim = Sim::new(1);
        let mut table = Table::default();
        table.add(route(0)).unwrap();
        let watch = table.watch(sim.event());
        let other = table.watch(sim.event());
        assert_eq!(watch.try_next(), None);
        table.add(route(1)).unwrap();
        // What fails, removes nothing, or is none of the table's is no change.
        assert!(table.add(route(1)).is_err());
        assert!(table.remove(|route| route.metric == 7).is_empty());
        table.touch();
        assert_eq!(table.remove(|_| true).len(), 2);
        let told: Vec<Change> = core::iter::from_fn(|| watch.try_next()).collect();
        let removed = [Change::Removed(route(0)), Change::Removed(route(1))];
        assert_eq!(told[0], Change::Added(route(1)));
        assert_eq!(told[1..], removed);
        assert_eq!(other.try_next(), Some(Change::Added(route(1))));
        // Nobody watches any more.
        drop((watch, other));
        table.add(route(2)).unwrap();
        assert!(table.watches.0.is_empty());
    }

    #[test]
    fn who_does_not_listen_is_told_that_much_was_missed() {
        let sim = Sim::new(1);
        let mut table = Table::default();
        let watch = table.watch(sim.event());
        let most = u32::try_from(MOST).unwrap();
        for metric in 0..=most {
            table.add(route(metric)).unwrap();
        }
        let last = Change::Added(route(most));
        let told = [watch.try_next(), watch.try_next(), watch.try_next()];
        assert_eq!(told, [Some(Change::Lost), Some(last), None]);
    }

    #[test]
    fn a_wait_ends_with_a_change_or_with_the_time() {
        let sim = Sim::new(1);
        let mut table = Table::default();
        let watch = table.watch(sim.event());
        let second = core::time::Duration::from_secs(1);
        let soon = sim.monotonic().after(second);
        assert_eq!(watch.next(Some(soon)), None);
        assert!(sim.monotonic() >= soon);
        let adding = sim.clone();
        let thread = sim.spawn(
            "adds",
            alloc::boxed::Box::new(move || {
                adding.sleep(second);
                table.add(route(3)).unwrap();
            }),
        );
        assert_eq!(watch.next(None), Some(Change::Added(route(3))));
        thread.unwrap().join();
    }
}
