//! A cable between two interfaces in one process. Frames are handed over, never copied, by the thread that sends.

use crate::{
    MacAddr,
    interface::{Batch, Device, Features, Input, Link, Look, Receiver},
};
use alloc::sync::Arc;
use core::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
};
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
    input: Mutex<Option<Input>>,
    /// How often it was started and stopped; written with the input locked.
    changes: AtomicU64,
    /// What comes of the input, and after how many changes. Locked by who sends, for as long as the frames are on their way: one thread at a time does
    /// ([`Device`]).
    receiver: Mutex<Option<(u64, Receiver)>>,
}

impl Slot {
    /// What is to be dropped without the lock.
    fn change(&self, place: &mut Option<Input>, input: Option<Input>) -> impl Sized + use<> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let before = mem::replace(place, input);
        // If it is locked, who sends drops it when he is done; should he have looked for changes just before this one, with the next frame, or when his
        // end goes.
        (
            before,
            self.receiver.try_lock().and_then(|mut it| it.take()),
        )
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Hands frames over; gives the number of those that are lost.
    fn hand_over(&self, frames: &mut Batch, look: Option<Look>) -> usize {
        let Some(mut receiver) = self.receiver.try_lock() else {
            // Somebody sends beside the one whose turn it is: the long way does for him.
            return self.hand_over_beside(frames);
        };
        let changes = self.changes();
        let before = receiver.take_if(|(of, _)| *of != changes);
        if receiver.is_none() {
            *receiver = self.find();
        }
        let lost = match &mut *receiver {
            Some((_, receiver)) => {
                receiver.receive_at(frames, look);
                0
            }
            None => frames.len(),
        };
        // Who receives may have stopped this end.
        let after = receiver.take_if(|(of, _)| *of != self.changes());
        drop(receiver);
        drop((before, after));
        lost
    }

    #[cold]
    fn hand_over_beside(&self, frames: &mut Batch) -> usize {
        let input = self.input.lock().clone();
        let Some(input) = input else {
            return frames.len();
        };
        input.receive(frames);
        0
    }

    #[cold]
    fn find(&self) -> Option<(u64, Receiver)> {
        let place = self.input.lock();
        let (changes, input) = (self.changes(), place.clone());
        drop(place);
        Some((changes, input?.receiver()?))
    }
}

/// One end of a cable: a device.
pub struct End {
    mac: MacAddr,
    config: Config,
    cable: Arc<[Slot; 2]>,
    /// Which of the two it is.
    second: bool,
}

/// Makes a cable between interfaces with these addresses.
#[must_use]
pub fn pair(first: MacAddr, second: MacAddr, config: Config) -> (Arc<End>, Arc<End>) {
    let cable = Arc::<[Slot; 2]>::default();
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
    fn own(&self) -> &Slot {
        let [first, second] = &*self.cable;
        if self.second { second } else { first }
    }

    fn peer(&self) -> &Slot {
        let [first, second] = &*self.cable;
        if self.second { first } else { second }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.stop();
        // Nobody sends there any more.
        let left = self.peer().receiver.try_lock().and_then(|mut it| it.take());
        drop(left);
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
        let own = self.own();
        let mut place = own.input.lock();
        if place.is_some() {
            return Err(Errno::EBUSY);
        }
        let before = own.change(&mut place, Some(input));
        drop(place);
        drop(before);
        Ok(())
    }

    fn stop(&self) {
        let own = self.own();
        let mut place = own.input.lock();
        let before = own.change(&mut place, None);
        drop(place);
        drop(before);
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        self.transmit_at(frames, None)
    }

    fn transmit_at(&self, frames: &mut Batch, look: Option<Look>) -> usize {
        self.peer().hand_over(frames, look)
    }

    fn link_up(&self) -> bool {
        self.peer().input.lock().is_some()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{Config, End, pair};
    use crate::{
        MacAddr, Packet,
        interface::{Batch, Device as _, Ifnet, Look, Upper},
    };
    use alloc::{
        string::ToString,
        sync::{Arc, Weak},
    };
    use core::sync::atomic::{AtomicUsize, Ordering};
    use rumpuser::{Instant, sync::Mutex};

    /// Counts frames, and stops an end at the third.
    struct Third {
        seen: AtomicUsize,
        /// The look at a clock that came last.
        look: Mutex<Option<Look>>,
        stops: Weak<End>,
    }

    impl Upper for Third {
        fn input(&self, interface: &Arc<Ifnet>, frames: &mut Batch) {
            self.input_at(interface, frames, None);
        }

        fn input_at(&self, _interface: &Arc<Ifnet>, frames: &mut Batch, look: Option<Look>) {
            *self.look.lock() = look;
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
            look: Mutex::default(),
            stops: Arc::downgrade(end),
        })
    }

    fn send(end: &End) -> usize {
        end.transmit(&mut Batch::from([Packet::with_bytes(b"four")]))
    }

    #[test]
    fn a_look_at_the_clock_goes_with_the_frames_of_its_turn() {
        let mac = MacAddr([2; 6]);
        let (near, far) = pair(mac, mac, Config::default());
        let hears = upper(&far);
        hears.seen.store(3, Ordering::Relaxed);
        let there = Ifnet::new(1, "if1".to_string(), far.clone(), Some(hears.clone()));
        let here = Ifnet::new(1, "if1".to_string(), near, None);
        for ifnet in [&there, &here] {
            ifnet.set_up(true);
            ifnet.start().unwrap();
        }
        let look = Look {
            at: Instant(7),
            clock: 1,
        };
        let frame = || Batch::from([Packet::with_bytes(b"four")]);
        let turn = here.turn(&mut frame(), Some(look)).unwrap();
        // Another thread has a frame meanwhile, and may have looked later.
        assert!(here.turn(&mut frame(), Some(look)).is_none());
        turn.send();
        assert_eq!(hears.seen.load(Ordering::Relaxed), 5);
        assert_eq!(*hears.look.lock(), None);
        here.turn(&mut frame(), Some(look)).unwrap().send();
        assert_eq!(*hears.look.lock(), Some(look));
        // What waits was put there by others, too.
        here.enqueue(Packet::with_bytes(b"four"));
        here.turn(&mut frame(), Some(look)).unwrap().send();
        assert_eq!(*hears.look.lock(), None);
    }

    #[test]
    fn two_threads_send_beside_each_other() {
        let mac = MacAddr([2; 6]);
        let (near, far) = pair(mac, mac, Config::default());
        let hears = upper(&far);
        hears.seen.store(3, Ordering::Relaxed);
        let there = Ifnet::new(1, "if1".to_string(), far, Some(hears));
        there.set_up(true);
        there.start().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..1_000).for_each(|_| assert_eq!(send(&near), 0)));
            }
        });
        assert_eq!(there.counters().in_packets, 2_000);
        there.stop();
        let gone = Arc::downgrade(&there);
        drop(there);
        assert!(gone.upgrade().is_none());
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
