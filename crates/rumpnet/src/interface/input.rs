//! The way in.

use super::{
    Batch, Ifnet, Look, Upper,
    count::{Count, Lane},
};
use crate::{capture::Way, join::join};
use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::Ordering;

/// Where a device puts the frames that it receives.
#[derive(Clone)]
pub struct Input(pub(super) Weak<Ifnet>);

impl Input {
    /// Hands frames to the stack, and empties the batch.
    pub fn receive(&self, frames: &mut Batch) {
        match self.0.upgrade() {
            Some(interface) => interface.input(frames),
            None => frames.clear(),
        }
    }

    /// For a device that hands frames over in one place at a time. `None`: the interface is gone.
    #[must_use]
    pub fn receiver(&self) -> Option<Receiver> {
        let ifnet = self.0.upgrade()?;
        let lane = Arc::<Lane>::default();
        let mut inward = ifnet.inward.lock();
        inward.lanes.push(lane.clone());
        let upper = inward.upper.clone();
        let changes = ifnet.upper_changes.load(Ordering::Acquire);
        drop(inward);
        Some(Receiver {
            ifnet,
            upper,
            changes,
            lane,
        })
    }
}

/// As [`Input`], and remembers what that looks for each time. It keeps the interface: to be dropped when the device is stopped.
pub struct Receiver {
    ifnet: Arc<Ifnet>,
    upper: Option<Arc<dyn Upper>>,
    /// How often who receives had changed.
    changes: u64,
    lane: Arc<Lane>,
}

impl Receiver {
    /// Hands frames to the stack, and empties the batch.
    pub fn receive(&mut self, frames: &mut Batch) {
        self.receive_at(frames, None);
    }

    /// The same with the look at the clock of who sends them now.
    #[inline(always)]
    pub fn receive_at(&mut self, frames: &mut Batch, look: Option<Look>) {
        let changes = self.ifnet.upper_changes.load(Ordering::Acquire);
        if self.changes != changes {
            let upper = self.ifnet.inward.lock().upper.clone();
            (self.changes, self.upper) = (changes, upper);
        }
        self.lane.add(frames);
        self.ifnet.hand_up(self.upper.as_ref(), frames, look);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut inward = self.ifnet.inward.lock();
        inward.lanes.retain(|lane| !Arc::ptr_eq(lane, &self.lane));
        let count = self.lane.count();
        inward.count.add_count(count);
    }
}

/// What an interface has of it.
pub(super) struct Inward {
    pub(super) upper: Option<Arc<dyn Upper>>,
    /// Without what receivers count.
    pub(super) count: Count,
    pub(super) lanes: Vec<Arc<Lane>>,
}

impl Ifnet {
    fn input(self: &Arc<Self>, frames: &mut Batch) {
        let mut inward = self.inward.lock();
        inward.count.add(frames);
        let upper = inward.upper.clone();
        drop(inward);
        self.hand_up(upper.as_ref(), frames, None);
    }

    /// Hands frames that are counted to who receives them.
    #[inline(always)]
    fn hand_up(
        self: &Arc<Self>,
        upper: Option<&Arc<dyn Upper>>,
        frames: &mut Batch,
        look: Option<Look>,
    ) {
        self.taps.see(frames, Way::In);
        let Some(upper) = upper.filter(|_| self.is_up()) else {
            self.lose(&self.lost_in, frames.len());
            frames.clear();
            return;
        };
        join(frames, self.link.header());
        for at in 0..frames.len() {
            if let Some(frame) = frames.get_mut(at) {
                frame.meta.interface = self.index;
            }
        }
        upper.input_at(self, frames, look);
    }
}
