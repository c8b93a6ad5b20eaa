//! Many connections at once, between two kernels on a cable.

use crate::{PART, ours::Ends};
use rumpkern::{Errno, OpenFlags, proc::Limits};
use rumpnet::{
    Address, SocketCalls as _,
    interface::Features,
    socket::{Kind, MsgFlags},
    wire,
};
use std::{
    env, fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

/// Connections to one port.
const EACH: usize = 10_000;

/// Connections, as pairs of descriptors of client and server.
struct Many {
    ends: Ends,
    all: Vec<(u32, u32)>,
}

impl Many {
    fn new(count: usize) -> Self {
        let ends = Ends::new(wire::Config {
            features: Features::all(),
            ..wire::Config::default()
        });
        for proc in [&ends.client, &ends.server] {
            let open_files = count + count.div_ceil(EACH);
            proc.set_limits(Limits {
                open_files,
                ..proc.limits()
            });
        }
        let mut all = Vec::with_capacity(count);
        for port in 0..count.div_ceil(EACH) {
            let at: SocketAddr = format!("10.0.0.2:{}", 1_000 + port)
                .parse()
                .expect("an address");
            let at: Address = at.into();
            let listener = Ends::socket(&ends.server, Kind::Stream);
            ends.server.bind(listener, &at).expect("bind");
            ends.server.listen(listener, 16).expect("listen");
            for _ in 0..EACH.min(count - all.len()) {
                let client = Ends::socket(&ends.client, Kind::Stream);
                ends.client.connect(client, &at).expect("connect");
                let accepted = ends.server.accept(listener, OpenFlags::empty());
                all.push((client, accepted.expect("accept").0));
            }
        }
        Self { ends, all }
    }
}

/// The argument that makes this program one that has idle connections; their number follows.
pub(crate) const IDLE: &str = "--idle";

/// Has so many connections on which nothing is sent, and prints the bytes of memory that they take.
pub(crate) fn have_idle(count: &str) {
    let count = count.parse().expect("a number");
    let before = resident();
    let many = Many::new(count);
    assert_eq!(many.all.len(), count);
    println!("{}", resident() - before);
}

/// How many fit into a GiB of memory: another process has them, whose memory nobody has used before.
pub(crate) fn idle(count: usize) -> f64 {
    let output = Command::new(env::current_exe().expect("this program"))
        .args([IDLE, &count.to_string()])
        .output()
        .expect("this program");
    assert!(output.status.success(), "idle connections: {output:?}");
    let text = String::from_utf8(output.stdout).expect("a number");
    let taken: f64 = text.trim().parse().expect("a number");
    count as f64 / (taken / f64::from(1 << 30))
}

/// Bytes of memory of this process.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: f64 = number.and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024.0
}

/// Bits per second over all of so many connections, one after the other in one thread.
pub(crate) fn active(count: usize, time: Duration) -> f64 {
    let many = Many::new(count);
    let (client, server) = (&many.ends.client, &many.ends.server);
    let (data, mut buf, mut bytes) = (vec![7; PART], vec![0; PART], 0);
    // Once each before it counts: windows open, buffers grow.
    let mut turn = |pair: &(u32, u32)| {
        match client.sendto(pair.0, &data, MsgFlags::DONTWAIT, None) {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => panic!("{error}"),
        }
        loop {
            match server.recvfrom(pair.1, &mut buf, MsgFlags::DONTWAIT) {
                Ok((got, _)) => bytes += got,
                Err(Errno::EAGAIN) => break bytes,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let before = many.all.iter().map(&mut turn).last().unwrap_or(0);
    let start = Instant::now();
    let mut pairs = many.all.iter().cycle();
    let after = loop {
        let after = pairs.next().map_or(before, &mut turn);
        if start.elapsed() >= time {
            break after;
        }
    };
    (after - before) as f64 * 8.0 / start.elapsed().as_secs_f64()
}
