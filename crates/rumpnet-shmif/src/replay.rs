//! A capture played onto a bus: `rump net pcapin`.

use crate::{Bus, bus::FRAME};
use rumpnet::{
    Packet,
    interface::Batch,
    pcap::{LinkType, Malformed, Reader},
};
use rumpuser::Timespec;
use std::{thread, time::Duration};

/// Frames that are sent at once at most, where their times do not matter.
const BATCH: usize = 64;

/// When frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One after the other without a pause. Members that are slower than that lose frames.
    Fast,
    /// With the pauses between the times in the capture.
    Recorded,
}

/// What became of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Frames that were sent.
    pub frames: u64,
    /// Frames that were not: of another link than Ethernet, cut short by the capture, too long, or too short for a header.
    pub skipped: u64,
}

/// Sends the frames of a capture, pcap or pcapng, as a member of its own.
///
/// # Errors
/// [`Malformed`]: the capture is broken; the frames before have been sent.
pub fn replay(bus: &Bus, capture: &[u8], pace: Pace) -> Result<Replayed, Malformed> {
    let sender = bus.join();
    let mut result = Replayed::default();
    let mut batch = Batch::new();
    let mut last: Option<Timespec> = None;
    let mut reader = Reader::new(capture)?;
    let error = loop {
        let record = match reader.next() {
            None => break None,
            Some(Err(error)) => break Some(error),
            Some(Ok(record)) => record,
        };
        let whole = usize::try_from(record.len).is_ok_and(|len| len == record.bytes.len());
        let fits = (rumpnet::ethernet::HEADER..=FRAME).contains(&record.bytes.len());
        if record.link != LinkType::ETHERNET || !whole || !fits {
            result.skipped += 1;
            continue;
        }
        if let (Pace::Recorded, Some(time)) = (pace, record.time) {
            let pause = last.map_or(Duration::ZERO, |last| between(last, time));
            if !pause.is_zero() {
                bus.send(sender, &mut batch);
                thread::sleep(pause);
            }
            last = Some(time);
        }
        batch.push_back(Packet::with_bytes(record.bytes));
        result.frames += 1;
        if batch.len() >= BATCH {
            bus.send(sender, &mut batch);
        }
    };
    bus.send(sender, &mut batch);
    error.map_or(Ok(result), Err)
}

/// The time from one point to a later one, nothing if it is earlier.
fn between(from: Timespec, to: Timespec) -> Duration {
    let nanos = |time: Timespec| i128::from(time.sec) * 1_000_000_000 + i128::from(time.nsec);
    u64::try_from(nanos(to) - nanos(from)).map_or(Duration::ZERO, Duration::from_nanos)
}
