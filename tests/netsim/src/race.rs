//! Flows that share a line, each with a congestion control of its own: how much each gets, and how long the queue is.

use crate::{Host, two_hosts};
use rumpkern::{Fd, OpenFlags, Proc};
use rumpnet::{
    SocketCalls as _,
    link::{Chance, Impairment},
    socket::{Domain, Kind, SockOpt},
};
use rumpuser::{Clock as _, Errno, Instant, Result};
use rumpuser_sim::Sim;
use std::{net::SocketAddr, time::Duration};

/// How often the round trips are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a write and of a read.
const PIECE: usize = 16 << 10;

/// The line.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Bits per second.
    pub rate: u64,
    /// How long a frame takes there, and another back.
    pub delay: Duration,
    /// Bytes that wait for the line at most.
    pub queue: u32,
    /// Frames that are lost on the way there.
    pub loss: Chance,
}

/// What a flow has got.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Bytes that arrived by the end of each second.
    pub seconds: Vec<u64>,
    /// Its round trips as the sender sees them, at regular times.
    pub round_trips: Vec<Duration>,
}

impl Flow {
    /// Bits per second of payload from one second to another.
    #[must_use]
    pub fn rate(&self, from: usize, to: usize) -> u64 {
        let bytes = self.seconds[to - 1] - from.checked_sub(1).map_or(0, |at| self.seconds[at]);
        bytes * 8 / (to - from) as u64
    }

    /// The round trip that this share of them, in hundredths, is not longer than.
    #[must_use]
    pub fn round_trip(&self, percent: usize) -> Duration {
        let mut sorted = self.round_trips.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * percent / 100]
    }
}

struct Runner {
    from: Fd,
    to: Fd,
    start: Instant,
    sent: u64,
    received: u64,
    flow: Flow,
}

/// The byte at a place of a flow.
const fn pattern(flow: usize, place: u64) -> u8 {
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8 ^ flow as u8
}

/// Has flows with these congestion controls send as much as they can for so many seconds; each begins a second and a half after the one before.
///
/// # Errors
/// In words, what must not be: a byte that is not the one sent.
pub fn race(
    seed: u64,
    line: Line,
    controls: &[&str],
    seconds: u64,
) -> std::result::Result<Vec<Flow>, String> {
    let call = |error: Errno| format!("a call that must not fail: {error}");
    let sim = Sim::new(seed);
    let hosts = two_hosts(&sim, false, 1_500, seed).map_err(call)?;
    let there = Impairment {
        delay: line.delay,
        rate: Some(line.rate),
        queue: line.queue,
        loss: line.loss,
        ..Impairment::default()
    };
    hosts[0].link.set(there);
    hosts[1].link.set(Impairment {
        delay: line.delay,
        ..Impairment::default()
    });
    let runners = (1_000..)
        .zip(controls)
        .map(|(port, control)| connect(&sim, &hosts, port, control));
    let runners: Result<Vec<Runner>> = runners.collect();
    let (mut runners, begin) = (runners.map_err(call)?, sim.monotonic());
    for (n, runner) in (0..).zip(&mut runners) {
        runner.start = begin.after(Duration::from_millis(1_500) * n);
    }
    let [client, server] = hosts.each_ref().map(|host| host.kernel.init_proc());
    let (mut look, mut second) = (begin.after(LOOK), begin.after(Duration::from_secs(1)));
    let end = begin.after(Duration::from_secs(seconds));
    while sim.monotonic() < end {
        sim.advance(look);
        let now = sim.monotonic();
        for (n, runner) in runners.iter_mut().enumerate() {
            runner.step(n, now, &client, &server)?;
        }
        if now >= look {
            look = look.after(LOOK);
            for runner in runners.iter_mut().filter(|runner| runner.start <= now) {
                let (_, socket) = client.fd_socket(runner.from).map_err(call)?;
                let info = rumpnet_inet::tcp_info(&socket).map_err(call)?;
                runner.flow.round_trips.push(info.rtt_latest);
            }
        }
        if now >= second {
            second = second.after(Duration::from_secs(1));
            for runner in &mut runners {
                runner.flow.seconds.push(runner.received);
            }
        }
    }
    for host in &hosts {
        host.kernel.shutdown().map_err(call)?;
    }
    Ok(runners.into_iter().map(|runner| runner.flow).collect())
}

fn connect(sim: &Sim, hosts: &[Host; 2], port: u16, control: &str) -> Result<Runner> {
    let [client, server] = hosts.each_ref().map(|host| host.kernel.init_proc());
    let address = SocketAddr::new(hosts[1].address, port);
    let listener = server.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::NONBLOCK)?;
    server.bind(listener, &address.into())?;
    server.listen(listener, 1)?;
    let from = client.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::NONBLOCK)?;
    client.setsockopt(from, &SockOpt::Congestion(control.into()))?;
    match client.connect(from, &address.into()) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let (to, _) = loop {
        match server.accept(listener, OpenFlags::NONBLOCK) {
            Err(Errno::EAGAIN) => sim.sleep(LOOK),
            other => break other?,
        }
    };
    server.close(listener)?;
    Ok(Runner {
        from,
        to,
        start: sim.monotonic(),
        sent: 0,
        received: 0,
        flow: Flow {
            seconds: Vec::new(),
            round_trips: Vec::new(),
        },
    })
}

impl Runner {
    /// Reads what has come, and writes what there is room for.
    fn step(
        &mut self,
        n: usize,
        now: Instant,
        client: &Proc,
        server: &Proc,
    ) -> std::result::Result<(), String> {
        let mut buf = [0; PIECE];
        while let Ok(count @ 1..) = server.read(self.to, &mut buf) {
            for byte in &buf[..count] {
                if *byte != pattern(n, self.received) {
                    return Err(format!("flow {n}: a wrong byte at {}", self.received));
                }
                self.received += 1;
            }
        }
        while now >= self.start {
            for (place, byte) in (self.sent..).zip(&mut buf) {
                *byte = pattern(n, place);
            }
            match client.write(self.from, &buf) {
                Ok(count) => self.sent += count as u64,
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(format!("flow {n}: {error}")),
            }
        }
        Ok(())
    }
}
