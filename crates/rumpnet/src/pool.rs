//! Large buffers that are used again. Memory that a C library gives back to its host comes again as pages to be cleared, which costs more than the
//! copy that it is for; and what was used a moment ago is still in the processor's cache.

use crate::Chain;
use alloc::vec::Vec;
use bytes::Bytes;
use core::{
    mem,
    ops::{Deref, DerefMut},
};
use rumpuser::sync::Mutex;

/// Bytes that a buffer has room for: the largest packet with headers of devices in front.
pub const ROOM: usize = 65_536 + 128;
/// A block is full with so many bytes: some frames of an Ethernet.
pub const FILLED: usize = 16_384;
/// Bytes that it has room for: behind those, the largest packet. It is mostly memory that nobody touches.
pub const BLOCK: usize = FILLED + ROOM;
/// Bytes of a [`copy`] that share a buffer.
const PART: usize = 65_536;
/// A buffer that is filled less than this is not worth its memory.
const WORTH: usize = PART / 2;

/// Buffers of a size that wait to be used again.
struct Free {
    room: usize,
    /// So many at most.
    kept: usize,
    waiting: Mutex<Vec<Vec<u8>>>,
}

/// Four megabytes for all kernels of a process.
static LONG: Free = Free::new(ROOM, 64);
/// One to five megabytes.
static BLOCKS: Free = Free::new(BLOCK, 64);

impl Free {
    const fn new(room: usize, kept: usize) -> Self {
        let waiting = Mutex::new(Vec::new());
        Self {
            room,
            kept,
            waiting,
        }
    }

    fn take(&self) -> Buffer {
        let used = self.waiting.lock().pop();
        Buffer(used.unwrap_or_else(|| Vec::with_capacity(self.room)))
    }
}

/// A vector, empty at first, with room for [`ROOM`] or [`BLOCK`] bytes. Its memory is used again when it and what was made of it are gone.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// One with room for [`ROOM`] bytes.
    #[must_use]
    pub fn new() -> Self {
        LONG.take()
    }

    /// One with room for [`BLOCK`] bytes.
    #[must_use]
    pub fn block() -> Self {
        BLOCKS.take()
    }

    /// What is in it, to be shared.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = mem::take(&mut self.0);
        buffer.clear();
        // One that has grown or shrunk is not kept.
        let fits = |free: &&Free| {
            (free.room..free.room.saturating_add(FILLED)).contains(&buffer.capacity())
        };
        if let Some(free) = [&LONG, &BLOCKS].into_iter().find(fits) {
            let mut waiting = free.waiting.lock();
            if waiting.len() < free.kept {
                waiting.push(buffer);
            }
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// A copy of bytes, to be shared. Many of them lie in pieces, in memory that is used again.
#[must_use]
pub fn copy(bytes: &[u8]) -> Chain {
    let mut chain = Chain::new();
    for part in bytes.chunks(PART) {
        chain.push(if part.len() < WORTH {
            Bytes::copy_from_slice(part)
        } else {
            let mut buffer = Buffer::new();
            buffer.extend_from_slice(part);
            buffer.freeze()
        });
    }
    chain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "numbers of a test")]

    use super::{BLOCKS, Buffer, FILLED, LONG, copy};
    use alloc::vec::Vec;

    #[test]
    fn used_again_and_not_without_end() {
        for (free, make) in [
            (&LONG, Buffer::new as fn() -> Buffer),
            (&BLOCKS, Buffer::block),
        ] {
            let all: Vec<Buffer> = (0..2 * free.kept).map(|_| make()).collect();
            let fresh = |buffer: &Buffer| buffer.is_empty() && buffer.capacity() >= free.room;
            assert!(all.iter().all(fresh));
            drop(all);
            let mut grown = make();
            grown.resize(3 * free.room, 1);
            drop(grown);
            let waiting = free.waiting.lock();
            assert!((1..=free.kept).contains(&waiting.len()));
            assert!(
                waiting
                    .iter()
                    .all(|one| one.capacity() < free.room + FILLED)
            );
        }
    }

    #[test]
    fn copies() {
        for len in [0_usize, 1, 40_000, 65_536, 65_537, 200_000] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            let chain = copy(&bytes);
            let all: Vec<u8> = chain.pieces().flatten().copied().collect();
            assert_eq!(all, bytes);
        }
    }
}
