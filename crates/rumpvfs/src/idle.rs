//! Vnodes that nobody uses, the longest unused first.

use crate::vnode::{QUEUED, TOUCHED, Vnode};
use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use rumpuser::sync::Mutex;

/// A queue with second chance. A vnode enters when its last use ends and stays when it is used again; what is used when it
/// comes to the front leaves, what was used since gets to the back.
pub(crate) struct IdleQueue {
    /// Vnodes, used and idle, above which idle ones are given back.
    pub(crate) limit: usize,
    queue: Mutex<VecDeque<Arc<Vnode>>>,
}

impl IdleQueue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            queue: Mutex::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.lock().len()
    }

    /// Takes a vnode that has been marked [`QUEUED`] by the caller.
    pub(crate) fn push(&self, vnode: Arc<Vnode>) {
        self.queue.lock().push_back(vnode);
    }

    /// The next candidate for eviction, out of the queue.
    pub(crate) fn pop(&self) -> Option<Arc<Vnode>> {
        let mut queue = self.queue.lock();
        for _ in 0..queue.len() {
            let vnode = queue.pop_front()?;
            if vnode.marked(TOUCHED) && vnode.users() == 0 {
                vnode.unmark(TOUCHED);
                queue.push_back(vnode);
                continue;
            }
            vnode.unmark(QUEUED);
            // Its last use may have ended between the look and the unmarking.
            return Some(vnode);
        }
        let vnode = queue.pop_front()?;
        vnode.unmark(QUEUED);
        Some(vnode)
    }

    /// Takes all vnodes of a mount out.
    pub(crate) fn take(&self, mount: u64) -> Vec<Arc<Vnode>> {
        let mut queue = self.queue.lock();
        let (taken, kept): (Vec<_>, Vec<_>) = queue.drain(..).partition(|v| v.mount.id == mount);
        queue.extend(kept);
        drop(queue);
        for vnode in &taken {
            vnode.unmark(QUEUED);
        }
        taken
    }

    pub(crate) fn clear(&self) {
        let queue = core::mem::take(&mut *self.queue.lock());
        drop(queue);
    }
}
