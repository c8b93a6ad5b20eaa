//! Memory that the host fills and empties fast.

/// Bytes that begin where a page of memory does.
///
/// Large blocks of the C library begin sixteen bytes behind that. The host's kernel copies to and from its own pages, and a processor copies
/// half again as fast when both sides lie alike in their lines.
#[derive(Default)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
}

const PAGE: usize = 4096;

impl Buffer {
    /// Has no memory yet.
    pub(crate) const fn new() -> Self {
        Self { memory: Vec::new() }
    }

    /// The first `len` bytes; what they are is left from earlier use.
    pub(crate) fn first(&mut self, len: usize) -> &mut [u8] {
        if self.memory.len() < len + PAGE {
            self.memory = vec![0; len + PAGE]; // nothing is to be kept
        }
        let skip = self.memory.as_ptr().align_offset(PAGE).min(PAGE);
        &mut self.memory[skip..skip + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_a_page_and_keeps_its_bytes() {
        let mut buf = Buffer::new();
        for len in [1, 5000, 1 << 20, 300] {
            let bytes = buf.first(len);
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr().align_offset(PAGE), 0);
            bytes.fill(7);
            assert!(buf.first(len).iter().all(|&byte| byte == 7));
        }
    }
}
