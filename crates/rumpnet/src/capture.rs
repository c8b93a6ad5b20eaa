//! Looking at the frames of an interface (as BPF).

use crate::interface::Batch;
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use rumpuser::sync::RwLock;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// Who looks at frames.
pub trait Tap: Send + Sync {
    /// Sees frames; changes nothing of them that matters to others.
    fn frames(&self, way: Way, frames: &mut Batch);
}

/// The taps of an interface. Without any they cost a load.
#[derive(Default)]
pub struct Taps {
    any: AtomicBool,
    list: RwLock<Vec<Arc<dyn Tap>>>,
}

impl Taps {
    /// Adds one.
    pub fn add(&self, tap: Arc<dyn Tap>) {
        self.list.write().push(tap);
        self.any.store(true, Ordering::Release);
    }

    /// Takes one away.
    pub fn remove(&self, tap: &Arc<dyn Tap>) {
        let mut list = self.list.write();
        list.retain(|other| !Arc::ptr_eq(other, tap));
        self.any.store(!list.is_empty(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn see(&self, frames: &mut Batch, way: Way) {
        if self.any.load(Ordering::Acquire) {
            self.show(frames, way);
        }
    }

    #[cold]
    fn show(&self, frames: &mut Batch, way: Way) {
        let list = self.list.read().clone();
        list.iter().for_each(|tap| tap.frames(way, frames));
    }
}
