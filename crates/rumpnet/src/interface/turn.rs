//! The way out: one thread at a time sends.

use super::{Batch, Ifnet, Look, count::Lane};
use crate::{Packet, capture::Way, offload};
use alloc::sync::Arc;
use core::{
    mem,
    sync::atomic::{AtomicU8, Ordering},
};
use rumpuser::sync::Mutex;

/// Frames that wait for an interface at most; what is more is dropped and counted.
const QUEUE: usize = 4_096;

/// Some thread has the [`Turn`].
const TAKEN: u8 = 1;
/// Frames wait in the queue.
const QUEUED: u8 = 2;

/// The way out. Who finds nobody there needs no lock.
#[derive(Default)]
pub(super) struct Outward {
    /// [`TAKEN`] and [`QUEUED`]; the latter is changed with the queue locked.
    state: AtomicU8,
    queue: Mutex<Batch>,
    /// Written by who has the turn.
    pub(super) lane: Lane,
}

impl Outward {
    /// The turn if nobody has it and no frames wait.
    fn take(&self) -> bool {
        let taken = self
            .state
            .compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    /// Ends a turn, unless frames wait.
    fn end(&self) -> bool {
        let ended = self
            .state
            .compare_exchange(TAKEN, 0, Ordering::Release, Ordering::Relaxed);
        ended.is_ok()
    }

    /// Exchanges the frames that wait for those of an empty batch. For who has the turn.
    pub(super) fn fetch(&self, frames: &mut Batch) {
        let mut queue = self.queue.lock();
        mem::swap(&mut *queue, frames);
        self.state.fetch_and(!QUEUED, Ordering::AcqRel);
    }
}

/// A thread's turn to send what it has, and what others put into the queue meanwhile. There is one at a time, so that frames keep their order,
/// and a frame that is answered on the same thread does not go round and round on its stack.
#[must_use = "frames wait for it"]
pub struct Turn {
    ifnet: Arc<Ifnet>,
    frames: Batch,
    look: Option<Look>,
    over: bool,
}

impl Turn {
    /// Sends. No lock may be held.
    #[inline(always)]
    pub fn send(mut self) {
        let Self {
            ifnet,
            frames,
            look,
            over,
        } = &mut self;
        loop {
            ifnet.taps.see(frames, Way::Out);
            let lost = ifnet.device.transmit_at(frames, look.take());
            if lost > 0 {
                ifnet.lose(&ifnet.lost_out, lost);
            }
            frames.clear();
            if ifnet.outward.end() {
                *over = true;
                return;
            }
            ifnet.outward.fetch(frames);
            ifnet.outward.lane.add(frames);
        }
    }
}

impl Drop for Turn {
    /// After a panic of the device: the next one has its turn.
    fn drop(&mut self) {
        if !self.over {
            let state = &self.ifnet.outward.state;
            state.fetch_and(!TAKEN, Ordering::Release);
        }
    }
}

impl Ifnet {
    /// Puts a frame into a batch as the device takes it: what is left to the device and it does not do is done here.
    #[inline]
    pub fn prepare(&self, frame: Packet, frames: &mut Batch) {
        if frames.len() >= QUEUE {
            self.lose(&self.lost_out, 1);
        } else if offload::fits(&frame, self.features) {
            frames.push_back(frame);
        } else if offload::fit(frame, self.link.header(), self.features, frames).is_none() {
            self.lose(&self.lost_out, 1);
        }
    }

    /// Puts frames that are [prepared](Self::prepare) behind those that wait, and empties the batch. If no thread is sending, it is the
    /// caller's turn; else the one that is sends these as well. This may be called with a lock held. `look`: that of the caller, if he has only
    /// sent since.
    #[inline(always)]
    pub fn turn(self: &Arc<Self>, frames: &mut Batch, mut look: Option<Look>) -> Option<Turn> {
        let out = &self.outward;
        if out.take() {
            self.admit(0, frames);
            if frames.is_empty() {
                if out.end() {
                    return None;
                }
                // Somebody has put some into the queue meanwhile.
                look = None;
                out.fetch(frames);
            }
        } else {
            let mut queue = out.queue.lock();
            self.admit(queue.len(), frames);
            if queue.is_empty() {
                // Nothing is copied, and the queue needs no memory of its own.
                mem::swap(&mut *queue, frames);
            } else {
                queue.append(frames);
            }
            if queue.is_empty() {
                return None;
            }
            let before = out.state.fetch_or(TAKEN | QUEUED, Ordering::AcqRel);
            drop(queue);
            if before & TAKEN != 0 {
                return None;
            }
            look = None;
            out.fetch(frames);
        }
        out.lane.add(frames);
        Some(Turn {
            ifnet: self.clone(),
            frames: mem::take(frames),
            look,
            over: false,
        })
    }

    /// Drops of frames what there is no room for behind those that wait.
    fn admit(&self, waiting: usize, frames: &mut Batch) {
        let room = match self.is_up() {
            true => QUEUE.saturating_sub(waiting),
            false => 0,
        };
        if frames.len() > room {
            self.lose(&self.lost_out, frames.len().saturating_sub(room));
            frames.truncate(room);
        }
    }

    /// Puts a frame into the queue; [`flush`](Self::flush) sends it.
    pub fn enqueue(&self, frame: Packet) {
        let mut frames = Batch::new();
        self.prepare(frame, &mut frames);
        let mut queue = self.outward.queue.lock();
        self.admit(queue.len(), &mut frames);
        queue.append(&mut frames);
        if !queue.is_empty() {
            self.outward.state.fetch_or(QUEUED, Ordering::AcqRel);
        }
    }

    /// Sends what is in the queue, if no other thread is sending. No lock may be held.
    pub fn flush(self: &Arc<Self>) {
        if let Some(turn) = self.turn(&mut Batch::new(), None) {
            turn.send();
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use crate::{
        Packet,
        interface::{Batch, Device, Ifnet, Input, Link},
    };
    use alloc::{string::ToString, sync::Arc, vec::Vec};
    use core::sync::atomic::{AtomicBool, Ordering};
    use rumpuser::{Result, sync::Mutex};

    const THREADS: u8 = 4;
    const FRAMES: u16 = 5_000;

    /// Keeps the frames that it sends, and whether two threads did so at a time.
    #[derive(Default)]
    struct Kept {
        frames: Mutex<Vec<(u8, u16)>>,
        busy: AtomicBool,
    }

    impl Device for Kept {
        fn link(&self) -> Link {
            Link::Point
        }

        fn mtu(&self) -> u32 {
            1_500
        }

        fn start(&self, _input: Input) -> Result<()> {
            Ok(())
        }

        fn stop(&self) {}

        fn transmit(&self, frames: &mut Batch) -> usize {
            assert!(!frames.is_empty() && !self.busy.swap(true, Ordering::SeqCst));
            for frame in frames.iter() {
                let [thread, high, low] = *frame.head().first_chunk().unwrap();
                let number = u16::from_be_bytes([high, low]);
                self.frames.lock().push((thread, number));
            }
            self.busy.store(false, Ordering::SeqCst);
            0
        }
    }

    /// No frame is lost, doubled or passed by another of its thread, and one thread sends at a time.
    #[test]
    fn turns() {
        let device = Arc::<Kept>::default();
        let ifnet = Ifnet::new(1, "if1".to_string(), device.clone(), None);
        ifnet.set_up(true);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let ifnet = &ifnet;
                scope.spawn(move || {
                    for number in 0..FRAMES {
                        let [high, low] = number.to_be_bytes();
                        let frame = Packet::with_bytes(&[thread, high, low]);
                        if number % 3 == 0 {
                            ifnet.enqueue(frame);
                            continue;
                        }
                        let mut frames = Batch::from([frame]);
                        if let Some(turn) = ifnet.turn(&mut frames, None) {
                            turn.send();
                        }
                        // Fewer wait than there is room for.
                        while ifnet.outward.queue.lock().len() > 1_000 {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        ifnet.flush();
        let sent = device.frames.lock();
        for thread in 0..THREADS {
            let of_thread = sent.iter().filter(|(by, _)| *by == thread);
            assert!(of_thread.map(|(_, number)| *number).eq(0..FRAMES));
        }
        let count = u64::from(THREADS) * u64::from(FRAMES);
        let counters = ifnet.counters();
        assert_eq!(
            (counters.out_packets, counters.out_bytes),
            (count, 3 * count)
        );
        assert_eq!(counters.out_dropped, 0);
    }
}
