//! A cable between two interfaces in one process. Frames are handed over, never copied, by the thread that sends.

use crate::{
    MacAddr,
    interface::{Batch, Device, Features, Input, Link, Receiver},
};
use alloc::sync::Arc;
use core::mem;
use rumpuser::{Errno, Result, sync::Mutex};

/// How a cable is made.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// What its ends do for the stacks. With `CHECKSUM` sums are neither computed nor verified, as nothing can happen to a frame;
    /// with `LARGE` TCP sends more than one segment in a frame.
    pub features: Features,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1_500,
            features: Features::all(),
        }
    }
}

/// Where the frames of an end go: to what the other one has been started with.
#[derive(Default)]
struct Slot {
    input: Option<Input>,
    /// What comes of that. Who sends takes it out meanwhile.
    receiver: Option<Receiver>,
    /// How often it was started and stopped.
    changes: u64,
}

impl Slot {
    /// What is to be dropped without the lock.
    fn change(&mut self, input: Option<Input>) -> impl Sized + use<> {
        self.changes = self.changes.wrapping_add(1);
        (mem::replace(&mut self.input, input), self.receiver.take())
    }
}

/// One end of a cable: a device.
pub struct End {
    mac: MacAddr,
    config: Config,
    cable: Arc<[Mutex<Slot>; 2]>,
    /// Which of the two it is.
    second: bool,
}

/// Makes a cable between interfaces with these addresses.
#[must_use]
pub fn pair(first: MacAddr, second: MacAddr, config: Config) -> (Arc<End>, Arc<End>) {
    let cable = Arc::<[Mutex<Slot>; 2]>::default();
    let end = |mac, second| {
        Arc::new(End {
            mac,
            config,
            cable: cable.clone(),
            second,
        })
    };
    (end(first, false), end(second, true))
}

impl End {
    fn own(&self) -> &Mutex<Slot> {
        let [first, second] = &*self.cable;
        if self.second { second } else { first }
    }

    fn peer(&self) -> &Mutex<Slot> {
        let [first, second] = &*self.cable;
        if self.second { first } else { second }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Device for End {
    fn link(&self) -> Link {
        Link::Ethernet(self.mac)
    }

    fn mtu(&self) -> u32 {
        self.config.mtu
    }

    fn features(&self) -> Features {
        self.config.features
    }

    fn start(&self, input: Input) -> Result<()> {
        let mut own = self.own().lock();
        if own.input.is_some() {
            return Err(Errno::EBUSY);
        }
        let _none = own.change(Some(input));
        Ok(())
    }

    fn stop(&self) {
        let before = self.own().lock().change(None);
        drop(before);
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        let mut peer = self.peer().lock();
        let (changes, receiver) = (peer.changes, peer.receiver.take());
        let input = match receiver {
            Some(_) => None,
            None => peer.input.clone(),
        };
        drop(peer);
        let Some(mut receiver) = receiver.or_else(|| input?.receiver()) else {
            return frames.len();
        };
        receiver.receive(frames);
        let mut peer = self.peer().lock();
        if peer.changes == changes && peer.receiver.is_none() {
            peer.receiver = Some(receiver);
        } else {
            // The other end was stopped meanwhile, or another thread was faster.
            drop(peer);
            drop(receiver);
        }
        0
    }

    fn link_up(&self) -> bool {
        self.peer().lock().input.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, End, pair};
    use crate::{
        MacAddr, Packet,
        interface::{Batch, Device as _, Ifnet, Upper},
    };
    use alloc::{
        string::ToString,
        sync::{Arc, Weak},
    };
    use core::sync::atomic::{AtomicUsize, Ordering};

    /// Counts frames, and stops an end at the third.
    struct Third {
        seen: AtomicUsize,
        stops: Weak<End>,
    }

    impl Upper for Third {
        fn input(&self, _interface: &Arc<Ifnet>, frames: &mut Batch) {
            let seen = self.seen.fetch_add(frames.len(), Ordering::Relaxed);
            frames.clear();
            if seen == 2
                && let Some(end) = self.stops.upgrade()
            {
                end.stop();
            }
        }
    }

    fn upper(end: &Arc<End>) -> Arc<Third> {
        Arc::new(Third {
            seen: AtomicUsize::new(0),
            stops: Arc::downgrade(end),
        })
    }

    fn send(end: &End) -> usize {
        end.transmit(&mut Batch::from([Packet::with_bytes(b"four")]))
    }

    #[test]
    fn an_end_is_stopped_and_another_receives() {
        let mac = MacAddr([2; 6]);
        let (near, far) = pair(mac, mac, Config::default());
        assert_eq!((send(&near), near.link_up()), (1, false));
        let first = upper(&far);
        let ifnet = Ifnet::new(1, "if1".to_string(), far.clone(), Some(first.clone()));
        ifnet.set_up(true);
        ifnet.start().unwrap();
        assert!(near.link_up() && ifnet.start().is_err());
        assert_eq!((send(&near), send(&near)), (0, 0));
        // From now on somebody else receives.
        let second = upper(&far);
        ifnet.set_upper(Some(second.clone()));
        assert_eq!((send(&near), send(&near)), (0, 0));
        let seen = |upper: &Third| upper.seen.load(Ordering::Relaxed);
        assert_eq!((seen(&first), seen(&second)), (2, 2));
        let counters = ifnet.counters();
        assert_eq!((counters.in_packets, counters.in_bytes), (4, 16));
        // Who receives stops the end that it receives from.
        assert_eq!((send(&near), send(&near)), (0, 1));
        assert_eq!((seen(&second), ifnet.counters().in_packets), (3, 5));
        assert!(!near.link_up());
        // Nothing keeps the interface, and who received.
        let gone = (Arc::downgrade(&ifnet), Arc::downgrade(&second));
        drop((ifnet, second));
        assert!(gone.0.upgrade().is_none() && gone.1.upgrade().is_none());
    }
}
