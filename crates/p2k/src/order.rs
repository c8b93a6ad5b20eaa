//! Writes to a file in the order in which the host sends them.
//!
//! What is appended goes straight to the device; what comes in between later goes through the cache. The host writes back what it has kept in ascending order, so
//! threads that each do a large piece of it must not overtake each other.

use std::sync::{
    Condvar, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Queues; a power of two. Files that share one wait for each other.
const QUEUES: usize = 16;

/// Writes under way.
#[derive(Default)]
pub(crate) struct Order([Queue; QUEUES]);

#[derive(Default)]
struct Queue {
    /// Places given.
    given: AtomicU64,
    /// Places left.
    left: AtomicU64,
    /// Guards no data: who waits looks at `left` with it held.
    lock: Mutex<()>,
    moved: Condvar,
}

/// A place in the queue of a file, in front of all that are given later, until it is dropped.
pub(crate) struct Place<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Order {
    /// The next place in the queue of the file with this node id.
    pub(crate) fn place(&self, node: u64) -> Place<'_> {
        let queue = &self.0[node as usize % QUEUES];
        let number = queue.given.fetch_add(1, Ordering::SeqCst);
        Place { queue, number }
    }
}

impl Place<'_> {
    /// Whether nobody is in front.
    pub(crate) fn is_first(&self) -> bool {
        self.queue.left.load(Ordering::SeqCst) == self.number
    }

    /// Waits until nobody is in front.
    pub(crate) fn wait(&self) {
        if self.is_first() {
            return;
        }
        let Queue { lock, moved, .. } = self.queue;
        let mut held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_first() {
            held = moved.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.wait();
        let next = self.number + 1;
        self.queue.left.store(next, Ordering::SeqCst);
        // Who takes a place after this sees that it is first.
        if self.queue.given.load(Ordering::SeqCst) != next {
            drop(self.queue.lock.lock());
            self.queue.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, QUEUES};
    use std::{sync::Mutex, thread, time::Duration};

    #[test]
    fn writes_keep_their_order() {
        let order = Order::default();
        let places: Vec<_> = (0..8).map(|_| order.place(7)).collect();
        assert!(places[0].is_first() && !places[1].is_first());
        // Another file is not held up.
        assert!(order.place(8).is_first());
        // Nor by one whose place was dropped without waiting.
        assert!(order.place(8 + QUEUES as u64).is_first());
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            // The last ones come first.
            for (number, place) in places.into_iter().enumerate().rev() {
                let done = &done;
                scope.spawn(move || {
                    place.wait();
                    done.lock().unwrap().push(number);
                });
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(done.into_inner().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
