//! A member of a bus: a device of a kernel.

use crate::Bus;
use rumpnet::{
    MacAddr,
    interface::{Batch, Device, Features, Input, Link},
};
use rumpuser::{Errno, Result};
use rumpuser_posix::Patience;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Frames that are handed to the stack at once at most.
const BATCH: usize = 64;
/// How long a member that has nothing to read waits before it looks whether it should end.
const WAIT: Duration = Duration::from_secs(1);

/// A member of a bus.
pub struct Shmif {
    bus: Arc<Bus>,
    number: u32,
    mac: MacAddr,
    mtu: u32,
    reader: Mutex<Option<Reader>>,
}

struct Reader {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
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
            reader: Mutex::default(),
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
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.is_some() {
            return Err(Errno::EBUSY);
        }
        let ending = Arc::new(AtomicBool::new(false));
        let (bus, number, end) = (self.bus.clone(), self.number, ending.clone());
        let place = bus.head();
        let builder = thread::Builder::new().name("shmif".into());
        let run = move || receive(&bus, number, place, &input, &end);
        let thread = builder.spawn(run).map_err(|_| Errno::EAGAIN)?;
        *reader = Some(Reader { ending, thread });
        Ok(())
    }

    fn stop(&self) {
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reader) = reader {
            reader.ending.store(true, Ordering::SeqCst);
            self.bus.nudge();
            // The reader may itself be the one that drops the last of a kernel; it ends anyway.
            if reader.thread.thread().id() != thread::current().id() {
                let ended = reader.thread.join();
                debug_assert!(ended.is_ok());
            }
        }
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        self.bus.send(self.number, frames)
    }
}

impl Drop for Shmif {
    fn drop(&mut self) {
        self.stop();
    }
}

fn receive(bus: &Bus, number: u32, mut place: u64, input: &Input, ending: &AtomicBool) {
    let (mut batch, patience) = (Batch::new(), Patience::default());
    while !ending.load(Ordering::SeqCst) {
        let head = bus.head();
        while place != head && batch.len() < BATCH {
            if let Some(next) = bus.after_own(place, number) {
                place = next;
                continue;
            }
            match bus.read(place) {
                Some(frame) => {
                    batch.push_back(frame.packet);
                    place = frame.next;
                }
                // Too slow: what there was is lost, and it goes on with what is new.
                None => place = bus.head(),
            }
        }
        if !batch.is_empty() {
            input.receive(&mut batch);
        } else if place == head && !patience.look(None, || bus.head() != head) {
            bus.wait(head, WAIT);
        }
    }
}
