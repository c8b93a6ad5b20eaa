//! What is read: frames, and the memory that they lie in.

use crate::vnet;
use bytes::Bytes;
use rumpnet::{
    Packet,
    interface::Batch,
    pool::{self, Buffer},
    spares,
};
use rustix::fd::OwnedFd;
use std::{
    mem,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Largest frame with its header in front.
const FRAME: usize = vnet::LEN + 14 + 65_535;
const _: () = assert!(pool::FILLED + FRAME <= pool::BLOCK);
/// Frames that are handed to the stack at once at most, and bytes: what is handed on is still in the processor's cache when it is read.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 512 << 10;
/// A block that is filled less than this is not worth its memory: frames of which few come at a time are copied out of it.
const WORTH: usize = pool::FILLED / 4;
/// Blocks that are shared at the same time at most: a host that sends what is kept, such as fragments, a bit of it in each block, is not to hold
/// all the others. What comes beyond is copied.
const LENT: usize = 512;
/// Shorter frames are copied into their packet, longer ones stay where they were read to.
const COPIED: usize = 512;

/// Frames in a row, as they are read.
pub(crate) struct Reading {
    batch: Batch,
    bytes: usize,
    /// Frames one behind the other.
    block: Buffer,
    /// Packets of the batch and what they get of the block.
    parts: Vec<(usize, Range<usize>)>,
    /// Blocks that packets share.
    lent: Arc<AtomicUsize>,
    /// Packets to use next.
    spares: Vec<Packet>,
}

/// A block that packets share.
struct Lent {
    block: Buffer,
    count: Arc<AtomicUsize>,
}

impl Lent {
    fn new(block: Buffer, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        let count = count.clone();
        Self { block, count }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.block
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

impl Reading {
    pub(crate) fn new() -> Self {
        Self {
            batch: Batch::new(),
            bytes: 0,
            block: Buffer::block(),
            lent: Arc::default(),
            parts: Vec::new(),
            spares: Vec::new(),
        }
    }

    /// Whether the stack is to have them before more are read.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    /// The frames that were read; the batch is to be emptied.
    pub(crate) fn frames(&mut self) -> &mut Batch {
        self.seal();
        self.bytes = 0;
        &mut self.batch
    }

    /// Reads a frame, behind a header if they have `headers`. One that is not what its header says is left out.
    pub(crate) fn read(&mut self, fd: &OwnedFd, headers: bool) -> rustix::io::Result<()> {
        if self.block.len() >= pool::FILLED {
            self.seal();
        }
        let before = self.block.len();
        let count = rustix::io::read(fd, rustix::buffer::spare_capacity(&mut self.block))?;
        self.bytes = self.bytes.saturating_add(count);
        if !self.take(before, headers).unwrap_or(false) {
            self.block.truncate(before);
        }
        Ok(())
    }

    /// Adds the frame that begins there in the block to the batch; whether it stays there.
    fn take(&mut self, mut begin: usize, headers: bool) -> Option<bool> {
        let mut packet = self.packet();
        let mut bytes = &self.block[begin..];
        if headers {
            let header;
            (header, bytes) = bytes.split_at_checked(vnet::LEN)?;
            packet.meta = vnet::read(header, bytes)?;
            begin += vnet::LEN;
        }
        let stays = bytes.len() >= COPIED;
        if stays {
            self.parts.push((self.batch.len(), begin..self.block.len()));
        } else {
            packet.fill(bytes);
        }
        self.batch.push_back(packet);
        Some(stays)
    }

    /// Gives the packets what they have in the block, and begins another.
    fn seal(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        let shared = self.block.len() >= WORTH && self.lent.load(Relaxed) < LENT;
        let block = shared.then(|| {
            let block = mem::replace(&mut self.block, Buffer::block());
            Bytes::from_owner(Lent::new(block, &self.lent))
        });
        for (place, range) in self.parts.drain(..) {
            let bytes = match &block {
                Some(block) => block.slice(range),
                None => Bytes::copy_from_slice(&self.block[range]),
            };
            if let Some(packet) = self.batch.get_mut(place) {
                packet.append(bytes.into());
            }
        }
        self.block.clear();
    }

    /// An empty packet.
    fn packet(&mut self) -> Packet {
        if self.spares.is_empty() {
            self.spares = spares::take(BATCH / 4);
        }
        self.spares.pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH, LENT, Reading};
    use crate::vnet;
    use rustix::io::Errno;
    use std::os::{fd::OwnedFd, unix::net::UnixDatagram};

    fn frame(len: usize) -> Vec<u8> {
        (0..=250_u8).cycle().skip(len % 251).take(len).collect()
    }

    /// What is sent by a socket of datagrams is read as by a device.
    fn pair() -> (UnixDatagram, OwnedFd) {
        let (one, other) = UnixDatagram::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        (one, other.into())
    }

    #[test]
    fn frames_of_all_lengths_come_as_they_are() {
        let (device, fd) = pair();
        let mut reading = Reading::new();
        let lens = [
            60, 511, 512, 1_514, 1_514, 9_014, 14, 1_514, 65_549, 65_549, 200, 4_000, 1_514,
        ];
        for headers in [false, true] {
            for _ in 0..5 {
                for len in lens {
                    let header = if headers { vnet::LEN } else { 0 };
                    device
                        .send(&[vec![0; header], frame(len)].concat())
                        .unwrap();
                    reading.read(&fd, headers).unwrap();
                }
                assert_eq!(reading.read(&fd, headers), Err(Errno::AGAIN));
                let all = reading.frames();
                assert_eq!(all.len(), lens.len());
                for (packet, len) in all.drain(..).zip(lens) {
                    let bytes: Vec<u8> = packet.pieces().flatten().copied().collect();
                    assert_eq!(bytes, frame(len));
                }
            }
        }
    }

    #[test]
    fn what_is_not_what_its_header_says_is_left_out() {
        let (device, fd) = pair();
        let mut reading = Reading::new();
        let good = [vec![0; vnet::LEN], frame(1_514)].concat();
        // A sum behind the end, and less than a header.
        let mut bad = good.clone();
        bad[0] = 1;
        bad[6..8].fill(0xff);
        for bytes in [&good[..], &bad, &good[..3], &good] {
            device.send(bytes).unwrap();
            reading.read(&fd, true).unwrap();
        }
        let all = reading.frames();
        assert_eq!(all.len(), 2);
        for packet in all.iter() {
            let bytes: Vec<u8> = packet.pieces().flatten().copied().collect();
            assert_eq!(bytes, frame(1_514));
        }
    }

    /// The block of many is used by them all, and few leave it.
    #[test]
    fn few_frames_hold_no_block() {
        let (device, fd) = pair();
        let mut reading = Reading::new();
        for (count, own) in [(2, true), (3, false), (1, true), (40, false)] {
            for _ in 0..count {
                device.send(&frame(1_514)).unwrap();
                reading.read(&fd, false).unwrap();
            }
            let block = reading.block.as_ptr_range();
            let kept = reading.frames().drain(..).next_back().unwrap();
            let held = block.contains(&kept.chain().single().unwrap().as_ptr());
            assert_eq!((held, block.start == reading.block.as_ptr()), (!own, own));
        }
    }

    /// Who keeps a frame of each block soon keeps no more than that frame.
    #[test]
    fn kept_frames_hold_few_blocks() {
        let (device, fd) = pair();
        let mut reading = Reading::new();
        let mut kept = Vec::new();
        let mut more = |held: bool| {
            for _ in 0..6 {
                device.send(&frame(1_514)).unwrap();
                reading.read(&fd, false).unwrap();
            }
            let block = reading.block.as_ptr_range();
            kept.extend(reading.frames().drain(..).next_back());
            let bytes = kept.last().unwrap().chain().single().unwrap();
            assert_eq!(bytes, &frame(1_514)[..]);
            assert_eq!(block.contains(&bytes.as_ptr()), held);
            if !held {
                kept.clear();
            }
        };
        for _ in 0..2 {
            (0..LENT).for_each(|_| more(true));
            more(false);
        }
    }

    #[test]
    fn there_are_not_too_many_at_once() {
        let (device, fd) = pair();
        let mut reading = Reading::new();
        for count in 0..BATCH {
            assert!(!reading.is_full(), "{count}");
            device.send(&frame(60)).unwrap();
            reading.read(&fd, false).unwrap();
        }
        assert!(reading.is_full());
        reading.frames().clear();
        assert!(!reading.is_full());
    }
}
