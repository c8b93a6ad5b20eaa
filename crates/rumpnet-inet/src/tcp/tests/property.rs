//! Two connections over a hostile network: all data arrives, in order and once, and every connection ends.

use super::pair::{Fate, MS, Pair, bytes};
use crate::tcp::{Config, Congestion, State};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;
use proptest::prelude::*;
use rumpuser::Rng;

#[derive(Clone, Debug)]
struct Network {
    seed: u64,
    /// In a thousand.
    loss: u64,
    twice: u64,
    delayed: u64,
    marked: u64,
    delay: u64,
}

#[derive(Clone, Debug)]
struct Host {
    config: Config,
    mss: u16,
    /// Bytes to send, in writes of this size.
    data: usize,
    write: usize,
}

fn network() -> impl Strategy<Value = Network> {
    (
        any::<u64>(),
        0_u64..250,
        0_u64..100,
        0_u64..200,
        0_u64..200,
        0..50 * MS,
    )
        .prop_map(|(seed, loss, twice, delayed, marked, delay)| Network {
            seed,
            loss,
            twice,
            delayed,
            marked,
            delay,
        })
}

fn host() -> impl Strategy<Value = Host> {
    let flags = proptest::bits::u8::ANY;
    let sizes = (
        1_usize..60_000,
        0_usize..40_000,
        1_usize..20_000,
        100_u16..9000,
    );
    (flags, sizes, 0_u64..100).prop_map(|(flags, (buffer, data, write, mss), delay)| {
        let flag = |bit: u8| flags & (1 << bit) != 0;
        let config = Config {
            window_scaling: flag(0),
            timestamps: flag(1),
            sack: flag(2),
            ecn: flag(3),
            nodelay: flag(4),
            congestion: match (flag(5), flag(7)) {
                (true, _) => Congestion::NewReno,
                (false, true) => Congestion::Bbr,
                (false, false) => Congestion::Cubic,
            },
            receive_buffer: if flag(6) { buffer } else { 128 << 10 },
            receive_buffer_max: if flag(6) { buffer } else { 1 << 20 },
            delayed_ack: Duration::from_millis(delay),
            // So lossy a network takes its time.
            retries: 100,
            syn_retries: 100,
            syn_ack_retries: 100,
            max_rto: Duration::from_secs(60),
            ..Config::default()
        };
        Host {
            config,
            mss,
            data,
            write,
        }
    })
}

/// Runs a connection to its end.
fn run(network: &Network, hosts: &[Host; 2], limit: usize, cut: bool, short: bool) -> Pair {
    let [client, server] = hosts;
    let mut pair = Pair::new(client.config.clone(), server.config.clone());
    pair.mss = [client.mss, server.mss];
    (pair.delay, pair.limit, pair.cut) = (network.delay, limit, cut);
    pair.short = short;
    let Network {
        seed,
        loss,
        twice,
        delayed,
        marked,
        ..
    } = *network;
    let mut random = Rng::new(seed);
    pair.script = Box::new(move |_, _, _| {
        let (dice, more) = (random.below(1000), random.below(100 * MS));
        match dice {
            n if n < loss => Fate::Drop,
            n if n < loss + twice => Fate::Twice,
            n if n < loss + twice + delayed => Fate::Delay(more),
            n if n < loss + twice + delayed + marked => Fate::Mark,
            _ => Fate::Deliver,
        }
    });
    pair.connect();
    let data: Vec<Vec<u8>> = hosts.iter().map(|host| bytes(host.data)).collect();
    let mut sent = [0; 2];
    let mut closed = [false; 2];
    pair.run_until(|pair| {
        for side in 0..2 {
            if pair.side[side].is_none() || closed[side] {
                continue;
            }
            if sent[side] < data[side].len() {
                let end = data[side].len().min(sent[side] + hosts[side].write);
                sent[side] += pair.send(side, &data[side][sent[side]..end]);
            } else {
                closed[side] = true;
                pair.shutdown(side);
            }
        }
        closed == [true; 2]
            && pair
                .side
                .iter()
                .all(|tcb| tcb.as_ref().is_some_and(|tcb| tcb.state() == State::Closed))
    });
    for (side, data) in data.iter().enumerate() {
        assert_eq!(pair.tcb(side).error(), None, "side {side}");
        assert!(pair.received[1 - side] == *data, "side {side}");
    }
    pair
}

/// The state of both sides; times and counters too.
fn states(pair: &Pair) -> alloc::string::String {
    alloc::format!("{} {:?} {:?}", pair.now, pair.changes, pair.side)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_arrives(
        network in network(),
        hosts in [host(), host()],
        limit in prop_oneof![Just(1_usize), Just(20_000), Just(65_536)],
        cut in any::<bool>(),
    ) {
        let pair = run(&network, &hosts, limit, cut, false);
        // The same again is the same.
        if network.seed.is_multiple_of(8) {
            let again = run(&network, &hosts, limit, cut, false);
            prop_assert_eq!(&again.sent, &pair.sent);
            prop_assert_eq!(states(&again), states(&pair));
        }
        // So it is when what can goes the short ways.
        let short = run(&network, &hosts, limit, cut, true);
        prop_assert_eq!(&short.sent, &pair.sent);
        prop_assert_eq!(states(&short), states(&pair));
    }
}

/// Where nothing happens all goes the short ways but the handshake.
#[test]
fn questions_and_answers_go_the_short_ways() {
    let mut pair = Pair::established(Config::default(), Config::default());
    pair.short = true;
    for _ in 0..10 {
        for side in 0..2 {
            pair.send(side, b"a few bytes");
            pair.run(10 * MS);
        }
    }
    assert_eq!(pair.shortened, [20, 20]);
    pair.run(500 * MS);
    // The delayed acknowledgment of the last answer.
    assert_eq!(pair.shortened, [21, 21]);
    pair.close(0);
    pair.run(10 * MS);
    // FIN and its acknowledgment leave so, and do not come so.
    assert_eq!(pair.shortened, [23, 21]);
    let received: usize = pair.received.iter().map(Vec::len).sum();
    assert_eq!(received, 20 * 11);
}
