//! The engine of TCP (RFC 9293): no I/O, no clock, no threads, no locks, no randomness. Time and initial sequence numbers are
//! arguments; a [`Tcb`] takes segments in and gives segments out, and knows nothing of addresses and of the version of IP.
//!
//! | module | what |
//! |---|---|
//! | [`seq`] | sequence numbers |
//! | [`segment`], [`options`], [`header`] | segments, and how they are on the wire |
//! | [`config`] | what can be set |
//! | [`tcb`] | the state of a connection, how it begins |
//! | `calls` | what a user does: send, receive, shut down, close, abort, options |
//! | `input`, `handshake`, `acknowledgment`, `data` | segments that arrive (RFC 9293, section 3.10.7) |
//! | `output`, `plain`, `syn`, `probes` | segments that leave: data, Nagle, the silly window syndrome |
//! | `offer` | the window that we offer |
//! | `timers` | the one deadline and what is due at it |
//! | `byte_queue`, `reassembly` | data that waits to be sent, to be read, for a gap to be filled |
//! | `parts`, `scoreboard`, `loss`, `rack`, `prr` | what is in flight and what is lost (RFC 6675, 8985, 5682, 6582, 9937) |
//! | `rtt`, [`congestion`], `model` | round-trip times (RFC 6298), congestion control, what one with a model is told, pacing |
//! | `tuning` | buffers that grow |
//! | [`icmp`] | errors from the network |
//! | [`time_wait`] | what is left of a closed connection |
//! | [`cookie`] | initial sequence numbers, SYN cookies, fast open cookies |
//! | [`info`] | `TCP_INFO` |
//! | [`tally`] | what is counted of all connections |

mod acknowledgment;
mod byte_queue;
mod calls;
pub mod config;
pub mod congestion;
pub mod cookie;
mod data;
mod handshake;
pub mod header;
pub mod icmp;
pub mod info;
mod input;
mod loss;
mod model;
mod offer;
pub mod options;
mod output;
mod parts;
mod plain;
mod probes;
mod prr;
mod rack;
mod reassembly;
mod rtt;
mod scoreboard;
pub mod segment;
pub mod seq;
mod syn;
pub mod tally;
pub mod tcb;
#[cfg(test)]
mod tests;
pub mod time_wait;
mod timers;
mod tuning;

pub use config::{Config, KeepAlive, Path};
pub use congestion::Congestion;
pub use header::{CHECKSUM_OFFSET, HEADER_LEN, Malformed, Ports};
pub use icmp::NetworkError;
pub use info::Info;
pub use options::{Cookie, OPTIONS_MAX, Options, Sacks, Timestamps, UserTimeout};
pub use output::{Outgoing, TransmitLimit};
pub(crate) use plain::Plain;
pub(crate) use segment::Numbers;
pub use segment::{Flags, Segment, reset_for};
pub use seq::Seq;
pub use tally::{Count, Tally};
pub use tcb::{Changes, State, Tcb};
pub use time_wait::TimeWait;

use byte_queue::ByteQueue;

/// A number of bytes as a distance of sequence numbers; what is in memory or in a segment is less than 4 GiB.
fn bytes_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

const fn nanos(duration: core::time::Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        duration
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(duration.subsec_nanos() as u64)
    }
}
