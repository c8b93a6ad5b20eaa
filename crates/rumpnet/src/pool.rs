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
/// Buffers that wait to be used again at most: four megabytes for all kernels of a process.
const KEPT: usize = 64;
/// Bytes of a [`copy`] that share a buffer.
const PART: usize = 65_536;
/// A buffer that is filled less than this is not worth its memory.
const WORTH: usize = PART / 2;

/// Those that wait.
static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A vector, empty at first, with room for [`ROOM`] bytes. Its memory is used again when it and what was made of it are gone.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// One that has been used before if there is one.
    #[must_use]
    pub fn new() -> Self {
        let used = FREE.lock().pop();
        Self(used.unwrap_or_else(|| Vec::with_capacity(ROOM)))
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
        // One that has grown is not kept.
        if !(ROOM..2 * ROOM).contains(&buffer.capacity()) {
            return;
        }
        let mut free = FREE.lock();
        if free.len() < KEPT {
            free.push(buffer);
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
    use super::{Buffer, FREE, KEPT, ROOM, copy};
    use alloc::vec::Vec;

    #[test]
    fn used_again_and_not_without_end() {
        let all: Vec<Buffer> = (0..2 * KEPT).map(|_| Buffer::new()).collect();
        assert!(
            all.iter()
                .all(|buffer| buffer.is_empty() && buffer.capacity() >= ROOM)
        );
        drop(all);
        assert!(FREE.lock().len() <= KEPT);
        let mut grown = Buffer::new();
        grown.resize(3 * ROOM, 1);
        drop(grown);
        assert!(FREE.lock().iter().all(|free| free.capacity() < 2 * ROOM));
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
