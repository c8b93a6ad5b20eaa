//! Speed of the TCP/IP stack in one process, beside smoltcp and the host's loopback interface: `cargo bench -p rump-tests --bench network`.
//!
//! Ours: two kernels on a cable. In the rows of one thread that thread makes the calls of both ends in turn, and so does that of the peers.
//! All take turns, five times; the medians count. Arguments after `--`: words choose the rows whose name contains one of them; `--alone` leaves
//! the peers out, for profiles; `--json` prints each row as an object on a line of its own. The program of smoltcp is `xtask/peers/smoltcp`; its path
//! is in `PEER_SMOLTCP`, without which it is left out.
//!
//! | row | one job |
//! |---|---|
//! | `bulk-MTU` | a bit of one connection's data; frames as on a wire, with sums computed and verified |
//! | `bulk-MTU-offload` | the same; frames need no sums, and ours may be larger than the MTU |
//! | `ping-pong` | one byte there and one back |
//! | `connect` | a connection that is opened, accepted, and closed by both ends |
//! | `udp-64` | a datagram of 64 bytes sent and received, 32 at a time |
//! | `..., two threads` | the same with an end in each thread, which wait for each other |

mod host;
mod ours;
mod report;

use report::{By, Report, bits, rate};
use rumpnet::interface::Features;

/// Bytes that a call sends or takes.
const PART: usize = 131_072;
/// Datagrams that are sent before they are received.
const BATCH: usize = 32;
const DATAGRAM: usize = 64;

fn main() {
    let mut report = Report::from_args();
    for (name, mtu, features) in [
        ("bulk-1514", 1_500, Features::empty()),
        ("bulk-1514-offload", 1_500, Features::all()),
        ("bulk-65535", 65_521, Features::empty()),
        ("bulk-65535-offload", 65_521, Features::all()),
    ] {
        report.row(
            name,
            "bit/s",
            &[(By::Smoltcp, 2.0), (By::Host, 1.0)],
            |time| ours::bulk(mtu, features, time),
            host::bulk,
        );
    }
    report.row(
        "ping-pong",
        "/s",
        &[(By::Smoltcp, 1.0), (By::Host, 5.0)],
        |time| {
            let mut ends = ours::Connection::new();
            rate(time, || ends.ping_pong())
        },
        |time| {
            let mut ends = host::Connection::new();
            rate(time, || ends.ping_pong())
        },
    );
    report.row(
        "connect",
        "/s",
        &[(By::Smoltcp, 1.0), (By::Host, 5.0)],
        |time| {
            let ends = ours::Listener::new();
            rate(time, || ends.connect())
        },
        |time| {
            let ends = host::Listener::new();
            rate(time, || ends.connect())
        },
    );
    report.row(
        "udp-64",
        "/s",
        &[(By::Smoltcp, 1.0), (By::Host, 5.0)],
        |time| {
            let ends = ours::Datagrams::new();
            rate(time, || ends.batch()) * BATCH as f64
        },
        |time| {
            let ends = host::Datagrams::new();
            rate(time, || ends.batch()) * BATCH as f64
        },
    );
    report.row(
        "bulk, two threads",
        "bit/s",
        &[(By::Host, 1.0)],
        |time| {
            let ends = ours::Connection::new();
            bits(time, || ends.send(), || ends.receive(), || ends.close())
        },
        host::bulk,
    );
    report.row(
        "ping-pong, two threads",
        "/s",
        &[(By::Host, 5.0)],
        ours::ping_pong_of_two,
        host::ping_pong_of_two,
    );
}
