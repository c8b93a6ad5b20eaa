//! Speed of the TCP/IP stack beside smoltcp and the host's: `cargo bench -p rump-net-tests --bench network`.
//!
//! All take turns, five times; the medians count. Arguments after `--`: words choose the rows whose name contains one of them; `--alone` leaves
//! the peers out, for profiles; `--json` prints each row as an object on a line of its own. The program of smoltcp is `xtask/peers/smoltcp`; its path
//! is in `PEER_SMOLTCP`, without which it is left out.
//!
//! In one process: two kernels on a cable. In the rows of one thread that thread makes the calls of both ends in turn, and so does that of the peers.
//!
//! | row | one job |
//! |---|---|
//! | `bulk-MTU` | a bit of one connection's data; frames as on a wire, with sums computed and verified |
//! | `bulk-MTU-offload` | the same; frames need no sums, and ours may be larger than the MTU |
//! | `ping-pong` | one byte there and one back, by `uknet` |
//! | `connect` | a connection that is opened, accepted, and closed by both ends, by `uknet` |
//! | `..., system calls` | the same by the system calls of a process, which has descriptors |
//! | `bulk-..., no copies` | a bit of data that is sent and received by reference; of smoltcp the buffers themselves are sent and looked at |
//! | `udp-64` | a datagram of 64 bytes sent and received, 32 in a call (of smoltcp, between two polls) |
//! | `udp-64, a call each` | the same with a call for each, 32 times sent and then 32 times received |
//! | `..., two threads` | the same with an end in each thread, which wait for each other |
//! | `10,000 connections` | a bit over each in turn; the peer is one connection |
//! | `idle connections` | so many of 100,000 fit into a GiB, with both ends; the peer is the goal |
//!
//! Beyond the process: `shmif` two processes on a bus in a file, beside two threads on a cable; `sockin` the host's sockets through a kernel and
//! without; `tap` a kernel and Linux, beside two of Linux on a cable of its own (veth). The last needs root.

mod bus;
mod ends;
mod host;
mod library;
mod many;
mod ours;
mod report;
mod sockin;
mod tap;

use report::{Report, bits, peer, rate, smoltcp};
use rumpnet::interface::Features;
use std::{env, time::Duration};

/// Bytes that a call sends or takes.
const PART: usize = 131_072;
/// Datagrams that are sent before they are received.
const BATCH: usize = 32;
const DATAGRAM: usize = 64;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [bus::SERVE, file, ..] => return bus::serve(file),
        [many::IDLE, count, ..] => return many::have_idle(count),
        _ => {}
    }
    let mut report = Report::from_args();
    in_one_thread(&mut report);
    in_two_threads(&mut report);
    many_connections(&mut report);
    beyond_the_process(&mut report);
    if rump_net_tests::is_root() {
        beside_linux(&mut report);
    } else {
        eprintln!("the rows over tap are left out: network namespaces take root");
    }
}

fn in_one_thread(report: &mut Report) {
    for (name, mtu, features) in [
        ("bulk-1514", 1_500, Features::empty()),
        ("bulk-1514-offload", 1_500, Features::all()),
        ("bulk-65535", 65_521, Features::empty()),
        ("bulk-65535-offload", 65_521, Features::all()),
    ] {
        let ours = |time| ours::bulk(mtu, features, time);
        report.row(
            name,
            "bit/s",
            ours,
            &[smoltcp(2.0), peer("host", 1.0, &host::bulk)],
        );
        report.row(
            &format!("{name}, no copies"),
            "bit/s",
            |time| ours::bulk_shared(mtu, features, time),
            &[smoltcp(2.0)],
        );
    }
    small(report);
    datagrams(report);
}

/// What smoltcp and the host are meant to be beside ours.
fn peers<'a>(host: report::Job<'a>) -> [report::Peer<'a>; 2] {
    [smoltcp(1.0), peer("host", 5.0, host)]
}

/// Round trips and connections.
fn small(report: &mut Report) {
    let host = |time| {
        let mut ends = host::Connection::new();
        rate(time, || ends.ping_pong())
    };
    let library = |time| {
        let mut ends = library::Connection::new();
        rate(time, || ends.ping_pong())
    };
    let calls = |time| {
        let mut ends = ours::Connection::new();
        rate(time, || ends.ping_pong())
    };
    report.row("ping-pong", "/s", library, &peers(&host));
    report.row("ping-pong, system calls", "/s", calls, &peers(&host));
    let host = |time| {
        let ends = host::Listener::new();
        rate(time, || ends.connect())
    };
    let library = |time| {
        let ends = library::Listener::new();
        rate(time, || ends.connect())
    };
    let calls = |time| {
        let ends = ours::Listener::new();
        rate(time, || ends.connect())
    };
    report.row("connect", "/s", library, &peers(&host));
    report.row("connect, system calls", "/s", calls, &peers(&host));
}

fn datagrams(report: &mut Report) {
    report.row(
        "udp-64",
        "/s",
        |time| {
            let ends = ours::Datagrams::new();
            rate(time, || ends.batch()) * BATCH as f64
        },
        &peers(&|time| {
            let ends = host::Datagrams::new();
            rate(time, || ends.batch()) * BATCH as f64
        }),
    );
    report.row(
        "udp-64, a call each",
        "/s",
        |time| {
            let ends = ours::Datagrams::new();
            rate(time, || ends.one_by_one()) * BATCH as f64
        },
        &[peer("host", 5.0, &|time| {
            let ends = host::Datagrams::new();
            rate(time, || ends.one_by_one()) * BATCH as f64
        })],
    );
}

/// Between two kernels on a cable.
fn bulk_of_two(time: Duration) -> f64 {
    let ends = ours::Connection::new();
    bits(
        time,
        || ends.send(),
        |buf| ends.receive(buf),
        || ends.close(),
    )
}

fn in_two_threads(report: &mut Report) {
    let host = [peer("host", 1.0, &host::bulk)];
    report.row("bulk, two threads", "bit/s", bulk_of_two, &host);
    report.row(
        "ping-pong, two threads",
        "/s",
        ours::ping_pong_of_two,
        &[peer("host", 5.0, &host::ping_pong_of_two)],
    );
}

fn many_connections(report: &mut Report) {
    report.row(
        "10,000 connections",
        "bit/s",
        |time| many::active(10_000, time),
        &[peer("one of ours", 0.7, &|time| many::active(1, time))],
    );
    report.row(
        "idle connections",
        "/GiB",
        |_| many::idle(100_000),
        &[peer("the goal", 1.0, &|_| 100_000.0)],
    );
}

fn beyond_the_process(report: &mut Report) {
    let wire = [peer("one process", 0.5, &bulk_of_two)];
    report.row("shmif, bulk", "bit/s", bus::bulk, &wire);
    let wire = [peer("one process", 0.5, &ours::ping_pong_of_two)];
    report.row("shmif, ping-pong", "/s", bus::ping_pong, &wire);
    let host = [peer("host", 0.9, &host::bulk)];
    report.row("sockin, bulk", "bit/s", sockin::bulk, &host);
    let host = [peer("host", 0.9, &host::ping_pong_of_two)];
    report.row("sockin, ping-pong", "/s", sockin::ping_pong, &host);
}

fn beside_linux(report: &mut Report) {
    let veth = |time| tap::veth(ends::bulk, time);
    report.row(
        "tap, bulk out",
        "bit/s",
        |time| tap::out(true, ends::bulk, time),
        &[peer("veth", 0.7, &veth)],
    );
    report.row(
        "tap, bulk in",
        "bit/s",
        |time| tap::into(true, ends::bulk, time),
        &[peer("veth", 0.7, &veth)],
    );
    report.row(
        "tap-plain, bulk out",
        "bit/s",
        |time| tap::out(false, ends::bulk, time),
        &[smoltcp(1.2)],
    );
    report.row(
        "tap-plain, bulk in",
        "bit/s",
        |time| tap::into(false, ends::bulk, time),
        &[smoltcp(1.2)],
    );
    report.row(
        "tap, ping-pong",
        "/s",
        |time| tap::out(true, ends::ping_pong, time),
        &[
            smoltcp(1.0),
            peer("veth", 1.0, &|time| tap::veth(ends::ping_pong, time)),
        ],
    );
}
