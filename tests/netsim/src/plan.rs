//! What a seed decides.

use rumpnet::link::{Chance, Impairment};
use rumpnet_inet::tcp::{Config, Congestion, KeepAlive};
use rumpuser_sim::Rng;
use std::time::Duration;

/// A case.
#[derive(Clone, Debug)]
pub struct Plan {
    /// IPv6 rather than IPv4.
    pub six: bool,
    /// Of the cable.
    pub mtu: u32,
    /// What the cable does to the frames of each host.
    pub impairments: [Impairment; 2],
    /// Settings of each host.
    pub configs: [Config; 2],
    /// What both sides of each connection do.
    pub connections: Vec<[Act; 2]>,
}

/// How a side ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Sends all, says that this was all, reads to the end, closes.
    Orderly,
    /// Closes when all is handed over, and does not wait for what the other still sends.
    Close,
    /// Closes at some moment, whatever has been read and sent.
    Leave(Duration),
    /// Resets at some moment.
    Abort(Duration),
}

/// What one side does.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// Bytes to send.
    pub data: u64,
    /// Bytes of a write.
    pub write: usize,
    /// Bytes of a read.
    pub read: usize,
    /// It reads nothing for so long: the window closes.
    pub nap: Duration,
    /// When it begins to send.
    pub start: Duration,
    /// How it ends.
    pub end: End,
}

impl Act {
    /// Whether it takes part to the end.
    #[must_use]
    pub fn is_orderly(&self) -> bool {
        self.end == End::Orderly
    }
}

/// A number up to `most`, often a small one.
fn skewed(rng: &mut Rng, most: u64) -> u64 {
    let bits = rng.below(u64::from(most.ilog2()) + 2);
    rng.below((1 << bits).min(most) + 1)
}

fn millis(rng: &mut Rng, most: u64) -> Duration {
    Duration::from_millis(skewed(rng, most))
}

impl Plan {
    /// A case.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        let six = rng.below(3) == 0;
        let smallest = if six { 1_280 } else { 576 };
        let mtu = match rng.below(3) {
            0 => 1_500,
            1 => smallest,
            _ => smallest + rng.below(9_000 - u64::from(smallest)) as u32,
        };
        let orderly = rng.below(3) > 0;
        let impairments = [impairment(rng), impairment(rng)];
        let configs = [config(rng, orderly), config(rng, orderly)];
        let count = 1 + rng.below(3);
        let connections = (0..count).map(|_| {
            let mut acts = [act(rng, orderly), act(rng, orderly)];
            // Not too many calls, and not too many round trips, for what there is.
            for (here, there) in [(0, 1), (1, 0)] {
                let room = configs[here].send_buffer.min(configs[there].receive_buffer);
                acts[here].data = acts[here].data.min(1_000 * room as u64);
                let data = [here, there].map(|side: usize| acts[side].data as usize);
                acts[here].write = acts[here].write.max(data[0] / 500);
                acts[here].read = acts[here].read.max(data[1] / 500);
            }
            acts
        });
        let connections = connections.collect();
        Self {
            six,
            mtu,
            impairments,
            configs,
            connections,
        }
    }
}

/// One that loses up to a fifth, and does everything else.
fn impairment(rng: &mut Rng) -> Impairment {
    let mut chance = |most: u64| Chance(skewed(rng, most) as u32);
    let (loss, duplicate) = (chance(200_000), chance(100_000));
    let (reorder, corrupt, mark) = (chance(200_000), chance(50_000), chance(200_000));
    Impairment {
        delay: millis(rng, 200),
        jitter: millis(rng, 50),
        rate: (rng.below(3) == 0).then(|| 500_000 + rng.below(100_000_000)),
        queue: 10_000 + rng.below(200_000) as u32,
        loss,
        duplicate,
        reorder,
        hold: millis(rng, 200),
        corrupt,
        mark,
    }
}

fn config(rng: &mut Rng, orderly: bool) -> Config {
    let small = 1 + skewed(rng, 60_000) as usize;
    let is_small = rng.flip();
    let buffer = if is_small { small } else { 128 << 10 };
    Config {
        window_scaling: rng.flip(),
        timestamps: rng.flip(),
        sack: rng.flip(),
        ecn: rng.flip(),
        nodelay: rng.flip(),
        congestion: match rng.below(3) {
            0 => Congestion::NewReno,
            1 => Congestion::Bbr,
            _ => Congestion::Cubic,
        },
        receive_buffer: buffer,
        receive_buffer_max: if is_small { small } else { 1 << 20 },
        send_buffer: 1 + skewed(rng, 200_000) as usize,
        send_buffer_max: 1 << 20,
        delayed_ack: Duration::from_millis(rng.below(200)),
        // So bad a network takes its time.
        retries: 200,
        syn_retries: 200,
        syn_ack_retries: 200,
        max_rto: Duration::from_secs(60),
        // Who is left without a word finds out by asking.
        keep_alive: !orderly,
        keep_times: KeepAlive {
            idle: Duration::from_mins(10),
            interval: Duration::from_secs(60),
            count: 20,
        },
        ..Config::default()
    }
}

fn act(rng: &mut Rng, orderly: bool) -> Act {
    let moment = millis(rng, 4_000);
    let end = match rng.below(5) {
        _ if orderly => End::Orderly,
        0 => End::Orderly,
        1 => End::Close,
        2 | 3 => End::Leave(moment),
        _ => End::Abort(moment),
    };
    Act {
        data: skewed(rng, 400_000),
        write: 1 + skewed(rng, 20_000) as usize,
        read: 1 + skewed(rng, 40_000) as usize,
        nap: match rng.below(4) {
            0 => millis(rng, 60_000),
            _ => Duration::ZERO,
        },
        start: millis(rng, 2_000),
        end,
    }
}
