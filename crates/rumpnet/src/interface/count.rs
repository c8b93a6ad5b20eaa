//! What has gone by an interface.

use super::Batch;
use crate::Packet;
use core::sync::atomic::{AtomicU64, Ordering};

/// Counters of an interface, since it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub in_packets: u64,
    /// Bytes in them.
    pub in_bytes: u64,
    /// Frames dropped on their way in.
    pub in_dropped: u64,
    /// Frames sent.
    pub out_packets: u64,
    /// Bytes in them.
    pub out_bytes: u64,
    /// Frames dropped on their way out.
    pub out_dropped: u64,
}

/// Frames and bytes of one way.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Count {
    #[inline]
    pub(super) fn add(&mut self, frames: &Batch) {
        let bytes: usize = match frames.len() {
            1 => frames.front().map_or(0, Packet::len),
            _ => frames.iter().map(Packet::len).sum(),
        };
        self.packets = self.packets.wrapping_add(frames.len() as u64);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }

    pub(super) fn add_count(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// What one at a time counts, and writes without asking others.
#[derive(Default)]
pub(super) struct Lane {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Lane {
    #[inline]
    pub(super) fn add(&self, frames: &Batch) {
        let mut count = self.count();
        count.add(frames);
        self.packets.store(count.packets, Ordering::Relaxed);
        self.bytes.store(count.bytes, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> Count {
        Count {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
