//! A member of a bus: a device of a kernel.

use crate::Bus;
use rumpnet::{
    MacAddr,
    interface::{Batch, Device, Features, Input, Link},
};
use rumpuser::{Errno, Result, sync::Mutex};
use rumpuser_posix::{Patience, Relief, Worker};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Frames that are handed to the stack at once at most, and bytes: what is handed on is still in the processor's cache when it is read.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 << 10;
/// How long a member that has nothing to read waits before it looks whether it should end.
const WAIT: Duration = Duration::from_secs(1);

/// A member of a bus.
pub struct Shmif {
    bus: Arc<Bus>,
    number: u32,
    mac: MacAddr,
    mtu: u32,
    reader: Worker<Shared>,
}

/// What the member's thread and those share that fetch what they wait for.
struct Shared {
    bus: Arc<Bus>,
    number: u32,
    /// Held by who reads; nobody waits for it.
    reading: Mutex<Reading>,
    /// Up to where has been read.
    place: AtomicU64,
    relief: Relief,
    ending: AtomicBool,
}

struct Reading {
    batch: Batch,
    input: Input,
}

impl Shmif {
    /// Joins a bus with an address of its own. All members should have the same MTU.
    ///
    /// # Errors
    /// `EINVAL` for an MTU below 68 or above 65,535.
    pub fn join(bus: &Arc<Bus>, mac: MacAddr, mtu: u32) -> Result<Arc<Self>> {
        if !(68..=65_535).contains(&mtu) {
            return Err(Errno::EINVAL);
        }
        Ok(Arc::new(Self {
            bus: bus.clone(),
            number: bus.join(),
            mac,
            mtu,
            reader: Worker::default(),
        }))
    }
}

impl Device for Shmif {
    fn link(&self) -> Link {
        Link::Ethernet(self.mac)
    }

    fn mtu(&self) -> u32 {
        self.mtu
    }

    fn features(&self) -> Features {
        // Memory changes no bytes, and a frame may be as long as a packet of IP.
        Features::all()
    }

    fn start(&self, input: Input) -> Result<()> {
        let shared = Shared {
            bus: self.bus.clone(),
            number: self.number,
            reading: Mutex::new(Reading {
                batch: Batch::new(),
                input,
            }),
            place: AtomicU64::new(self.bus.head()),
            relief: Relief::default(),
            ending: AtomicBool::new(false),
        };
        self.reader.start("shmif".into(), shared, Shared::receive)
    }

    fn stop(&self) {
        self.reader.stop(|shared| {
            shared.ending.store(true, Ordering::SeqCst);
            shared.bus.nudge();
            shared.relief.rouse();
        });
    }

    fn polls(&self) -> bool {
        true
    }

    fn poll(&self) {
        if let Some(shared) = self.reader.shared() {
            shared.poll();
        }
    }

    fn leave(&self) {
        if let Some(shared) = self.reader.shared() {
            shared.relief.leave();
        }
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        let lost = self.bus.send(self.number, frames);
        // What is answered meanwhile needs no thread of its own.
        self.poll();
        lost
    }
}

impl Drop for Shmif {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Whether there is something that has not been read.
    fn any(&self) -> bool {
        self.bus.head() != self.place.load(Ordering::Acquire)
    }

    /// Fetches in place of the member's thread.
    fn poll(&self) {
        self.relief.fetching();
        if self.any() {
            self.fetch(|| false);
        }
    }

    /// Hands what there is to the stack, a batch of it, or the first frames when `enough`. `false`: there was nothing but the member's own.
    fn fetch(&self, enough: impl Fn() -> bool) -> bool {
        let Some(mut reading) = self.reading.try_lock() else {
            // Another thread is at it.
            self.relief.fetching();
            return true;
        };
        let Reading { batch, input } = &mut *reading;
        let (head, mut place) = (self.bus.head(), self.place.load(Ordering::Relaxed));
        let mut bytes = 0;
        while place != head && batch.len() < BATCH && bytes < BATCH_BYTES {
            if let Some(next) = self.bus.after_own(place, self.number) {
                place = next;
                continue;
            }
            match self.bus.read(place) {
                Some(frame) => {
                    bytes += frame.packet.len();
                    batch.push_back(frame.packet);
                    place = frame.next;
                    if enough() {
                        break;
                    }
                }
                // Too slow: what there was is lost, and it goes on with what is new.
                None => place = self.bus.head(),
            }
        }
        self.place.store(place, Ordering::Release);
        if batch.is_empty() || self.ending.load(Ordering::SeqCst) {
            return false;
        }
        input.receive(batch);
        true
    }

    /// The member's thread.
    fn receive(&self) {
        let patience = Patience::default();
        // The last who fetched something was this thread.
        let mut alone = true;
        while !self.ending.load(Ordering::SeqCst) {
            if self.relief.nap() {
                alone = false;
                continue;
            }
            // Whoever waits meanwhile shall see soon what is there, and then fetch itself.
            if self.fetch(|| self.relief.is_fetched()) {
                alone = true;
                continue;
            }
            // Somebody who sleeps is woken when something comes, and then needs the processor that this thread would look on.
            alone &= !self.relief.has_left();
            let place = self.place.load(Ordering::Acquire);
            let came = || self.any() || self.relief.is_fetched();
            if !(alone && patience.look(None, came)) {
                self.bus.wait(place, WAIT);
            }
        }
    }
}
