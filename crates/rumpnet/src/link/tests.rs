#![allow(clippy::arithmetic_side_effects, reason = "numbers of a test")]

use super::{Chance, Counters, Impairment, LossyLink, pair};
use crate::{
    Ifnet, MacAddr, Net, Packet,
    interface::{Batch, Device as _, Upper},
};
use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;
use rumpuser::{Host, sync::Mutex};
use rumpuser_sim::Sim;

const MS: Duration = Duration::from_millis(1);

/// Keeps what comes, with the time.
struct Receiver {
    host: Arc<dyn Host>,
    got: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Upper for Receiver {
    fn input(&self, _interface: &Arc<Ifnet>, frames: &mut Batch) {
        let micros = self.host.monotonic().0 / 1_000;
        for frame in frames.drain(..) {
            let bytes = frame.pieces().flatten().copied().collect();
            self.got.lock().push((micros, bytes));
        }
    }
}

struct Setup {
    sim: Arc<Sim>,
    link: Arc<LossyLink>,
    out: Arc<Ifnet>,
    receiver: Arc<Receiver>,
    net: Net,
}

impl Setup {
    fn new(impairment: Impairment, seed: u64) -> Self {
        let sim = Sim::new(seed);
        let host: Arc<dyn Host> = sim.clone();
        let macs = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let (one, two) = pair(
            &host,
            macs,
            1_500,
            [impairment, Impairment::default()],
            seed,
        );
        let net = Net::default();
        let out = net.attach("one", one.clone()).unwrap();
        let back = net.attach("two", two).unwrap();
        let receiver = Arc::new(Receiver {
            host,
            got: Mutex::default(),
        });
        back.set_upper(Some(receiver.clone()));
        out.set_up(true);
        back.set_up(true);
        Self {
            sim,
            link: one,
            out,
            receiver,
            net,
        }
    }

    /// Sends frames with their numbers, this often.
    fn send(&self, frames: u32, len: usize, every: Duration) {
        for number in 0..frames {
            let mut bytes = alloc::vec![0; len];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            self.out.enqueue(Packet::with_bytes(&bytes));
            self.out.flush();
            self.sim.sleep(every);
        }
    }

    /// What has come: times in microseconds, numbers.
    fn got(&self) -> Vec<(u64, u32)> {
        self.sim.sleep(Duration::from_secs(60));
        let number = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().unwrap());
        let got = self.receiver.got.lock();
        got.iter().map(|(at, bytes)| (*at, number(bytes))).collect()
    }

    fn counters(&self) -> Counters {
        self.link.counters()
    }
}

#[test]
fn a_delay() {
    let delay = Impairment {
        delay: 50 * MS,
        ..Impairment::default()
    };
    let setup = Setup::new(delay, 1);
    setup.send(100, 60, MS);
    let got = setup.got();
    assert_eq!(got.len(), 100);
    for (n, (at, number)) in (0..).zip(&got) {
        assert_eq!(*number, n);
        // A wait of the simulation costs a microsecond.
        let expected = 50_000 + u64::from(n) * 1_000;
        assert!((expected..expected + 1_000).contains(at), "{n} at {at}");
    }
    // Without one a frame is there before the call returns.
    let setup = Setup::new(Impairment::default(), 1);
    setup.out.enqueue(Packet::with_bytes(&[7; 60]));
    setup.out.flush();
    assert_eq!(setup.receiver.got.lock().len(), 1);
}

#[test]
fn a_rate_and_its_queue() {
    // A frame of 1,000 bytes takes a millisecond; four come each.
    let rate = Impairment {
        rate: Some(8_000_000),
        queue: 20_000,
        ..Impairment::default()
    };
    let setup = Setup::new(rate, 1);
    setup.send(400, 1_000, MS / 4);
    let got = setup.got();
    let counters = setup.counters();
    assert_eq!(counters.overflowed + counters.passed, 400);
    assert!((115..=125).contains(&got.len()), "{}", got.len());
    let gaps = got.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.clone().all(|gap| (990..1_010).contains(&gap)));
    // Who waits longest waits for 20 others.
    assert_eq!(got[19].1, 19);
}

#[test]
fn frames_are_lost_doubled_and_overtaken_as_often_as_was_said() {
    let trouble = Impairment {
        delay: 5 * MS,
        jitter: 2 * MS,
        loss: Chance::percent(10),
        duplicate: Chance::percent(5),
        reorder: Chance::percent(20),
        hold: 20 * MS,
        corrupt: Chance::per_mille(50),
        ..Impairment::default()
    };
    let run = |seed| {
        let setup = Setup::new(trouble, seed);
        setup.send(4_000, 1_400, MS);
        (setup.got(), setup.counters())
    };
    let (got, counters) = run(7);
    assert!((340..460).contains(&counters.lost), "{counters:?}");
    assert!((140..220).contains(&counters.duplicated), "{counters:?}");
    assert!((640..800).contains(&counters.reordered), "{counters:?}");
    assert!((140..220).contains(&counters.corrupted), "{counters:?}");
    assert_eq!(
        counters.passed,
        counters.taken - counters.lost + counters.duplicated
    );
    assert_eq!(got.len() as u64, counters.passed);
    let overtaken = got.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
    assert!(overtaken > 300, "{overtaken}");
    assert_eq!(run(7), (got.clone(), counters));
    assert_ne!(run(8).0, got);
}

#[test]
fn jitter_keeps_the_order() {
    let jitter = Impairment {
        jitter: 30 * MS,
        ..Impairment::default()
    };
    let setup = Setup::new(jitter, 3);
    setup.send(1_000, 60, MS);
    let got = setup.got();
    assert!(got.iter().map(|(_, number)| *number).eq(0..1_000));
}

#[test]
fn what_is_on_its_way_ends_with_the_interface() {
    let delay = Impairment {
        delay: 1_000 * MS,
        ..Impairment::default()
    };
    let setup = Setup::new(delay, 1);
    setup.send(10, 60, MS);
    assert_eq!(setup.link.flying(), 10);
    setup.net.detach("one").unwrap();
    assert_eq!((setup.link.flying(), setup.got().len()), (0, 0));
    assert!(!setup.link.link_up() || setup.link.counters().passed == 0);
    // Frames that nothing limits do not pile up without end.
    let setup = Setup::new(delay, 1);
    for _ in 0..70_000 {
        setup.out.enqueue(Packet::with_bytes(&[7; 60]));
        setup.out.flush();
    }
    assert_eq!(setup.link.flying(), super::FLYING);
    assert_eq!(setup.counters().overflowed, 70_000 - super::FLYING as u64);
}

#[test]
fn on_a_real_host() {
    let host: Arc<dyn Host> = rumpuser_posix::Host::new();
    let delay = Impairment {
        delay: 30 * MS,
        ..Impairment::default()
    };
    let macs = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
    let (one, two) = pair(&host, macs, 1_500, [delay; 2], 1);
    let net = Net::default();
    let (out, back) = (
        net.attach("one", one).unwrap(),
        net.attach("two", two).unwrap(),
    );
    let receiver = Arc::new(Receiver {
        host: host.clone(),
        got: Mutex::default(),
    });
    back.set_upper(Some(receiver.clone()));
    out.set_up(true);
    back.set_up(true);
    let start = host.monotonic();
    out.enqueue(Packet::with_bytes(&[7; 60]));
    out.flush();
    let event = host.event();
    while receiver.got.lock().is_empty() {
        assert!(host.monotonic().since(start) < 10_000 * MS);
        event.wait(event.ticket(), Some(host.monotonic().after(MS)));
    }
    assert!(receiver.got.lock()[0].0 >= start.0 / 1_000 + 30_000);
    net.detach("one").unwrap();
    net.detach("two").unwrap();
}
