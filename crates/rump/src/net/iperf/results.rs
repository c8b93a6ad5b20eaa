//! What came of a test, as it is exchanged and printed.

use super::test::Test;
use crate::output;
use serde_json::{Value, json};
use std::io;

/// What one side has of a test.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) seconds: f64,
}

/// All streams together.
pub(super) fn total(all: &[Sum]) -> Sum {
    all.iter().fold(Sum::default(), |sum, one| Sum {
        bytes: sum.bytes + one.bytes,
        packets: sum.packets + one.packets,
        lost: sum.lost + one.lost,
        seconds: sum.seconds.max(one.seconds),
    })
}

/// The number that iperf3 gives a stream: 1, 3, 4, ...
fn stream_id(number: usize) -> usize {
    if number == 0 { 1 } else { number + 2 }
}

/// Ours, for the other side.
pub(super) fn results(all: &[Sum], sends: bool) -> Value {
    let streams: Vec<Value> = all
        .iter()
        .enumerate()
        .map(|(number, sum)| {
            json!({
                "id": stream_id(number),
                "bytes": sum.bytes,
                "retransmits": -1,
                "jitter": 0.0,
                "errors": sum.lost,
                "omitted_errors": 0,
                "packets": sum.packets,
                "omitted_packets": 0,
                "start_time": 0.0,
                "end_time": sum.seconds,
            })
        })
        .collect();
    json!({
        "cpu_util_total": 0.0,
        "cpu_util_user": 0.0,
        "cpu_util_system": 0.0,
        "sender_has_retransmits": if sends { 0 } else { -1 },
        "streams": streams,
    })
}

/// The other side's.
pub(super) fn read_results(object: &Value) -> Sum {
    let none = Vec::new();
    let streams = object["streams"].as_array().unwrap_or(&none);
    let all: Vec<Sum> = streams
        .iter()
        .map(|stream| Sum {
            bytes: stream["bytes"].as_u64().unwrap_or(0),
            packets: stream["packets"].as_u64().unwrap_or(0),
            lost: stream["errors"].as_u64().unwrap_or(0),
            seconds: stream["end_time"].as_f64().unwrap_or(0.0),
        })
        .collect();
    total(&all)
}

fn rate(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        bytes as f64 * 8.0 / seconds
    } else {
        0.0
    }
}

/// An interval as iperf3 writes it.
pub(super) fn line((from, to): (f64, f64), bytes: u64, note: &str) -> String {
    let scaled = |mut number: f64, step: f64| {
        let mut unit = 0;
        while number >= step && unit < 4 {
            number /= step;
            unit += 1;
        }
        (number, ["", "K", "M", "G", "T"][unit])
    };
    let digits = |number: f64| match number {
        ..10.0 => format!("{number:.2}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    };
    let (amount, unit) = scaled(bytes as f64, 1_024.0);
    let (speed, unit_of_speed) = scaled(rate(bytes, to - from), 1_000.0);
    let interval = format!("{from:.2}-{to:.2}");
    let line = format!(
        "[SUM] {interval:>13} sec  {:>5} {unit}Bytes  {:>5} {unit_of_speed}bits/sec  {note}",
        digits(amount),
        digits(speed)
    );
    line.trim_end().to_owned()
}

/// Prints what both sides have; `sends`: we are the sender.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn show(
    test: &Test,
    ours: &Sum,
    theirs: &Sum,
    sends: bool,
    json: bool,
) -> io::Result<()> {
    let (sent, received) = if sends {
        (ours, theirs)
    } else {
        (theirs, ours)
    };
    if json {
        let sum = |sum: &Sum| {
            json!({
                "bytes": sum.bytes,
                "seconds": sum.seconds,
                "bits_per_second": rate(sum.bytes, sum.seconds),
                "packets": sum.packets,
                "lost_packets": sum.lost,
            })
        };
        return output::line(
            json!({"end": {"sum_sent": sum(sent), "sum_received": sum(received)}}),
        );
    }
    output::line("- - - - - - - - - - - - - - - - - - - - - - - - -")?;
    let mut lost = String::new();
    if test.udp {
        let share = received.lost as f64 * 100.0 / (received.packets.max(1)) as f64;
        lost = format!(
            "  {}/{} ({share:.2}%) lost",
            received.lost, received.packets
        );
    }
    output::line(line((0.0, sent.seconds), sent.bytes, "sender"))?;
    output::line(line(
        (0.0, received.seconds),
        received.bytes,
        &format!("receiver{lost}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(
            line((0.0, 1.0), 1_250_000_000, "sender"),
            "[SUM]     0.00-1.00 sec   1.16 GBytes   10.0 Gbits/sec  sender"
        );
        assert_eq!([0, 1, 2].map(stream_id), [1, 3, 4]);
    }
}
