//! Positions in the ring: bytes from the journal's start.

/// The part of a journal that records go round in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// Its first byte.
    pub(super) start: u64,
    /// Its bytes.
    pub(super) size: u64,
}

impl Ring {
    /// The byte behind it.
    pub(super) fn end(self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// The place `len` bytes after `at`, round the end; `len` is no more than the ring.
    pub(super) fn advance(self, at: u64, len: u64) -> u64 {
        let to = at.saturating_add(len);
        if to >= self.end() {
            to.saturating_sub(self.size)
        } else {
            to
        }
    }

    /// Bytes that hold records. Where head and tail meet it is full, unless both are 0.
    pub(super) fn used(self, head: u64, tail: u64) -> u64 {
        match (head, tail) {
            (0, 0) => 0,
            (head, tail) if head > tail => head.saturating_sub(tail),
            (head, tail) => self.size.saturating_sub(tail.saturating_sub(head)),
        }
    }

    /// How many of `len` bytes from `at` on come before the end.
    pub(super) fn before_end(self, at: u64, len: u64) -> u64 {
        len.min(self.end().saturating_sub(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_round() {
        let ring = Ring {
            start: 1024,
            size: 3072,
        };
        assert_eq!(ring.advance(1024, 3071), 4095);
        assert_eq!(ring.advance(1024, 3072), 1024);
        assert_eq!(ring.advance(3584, 1024), 1536);
        assert_eq!(ring.used(0, 0), 0);
        assert_eq!(ring.used(1024, 1024), 3072);
        assert_eq!(ring.used(2048, 1024), 1024);
        assert_eq!(ring.used(1024, 3584), 512);
        assert_eq!(ring.before_end(3584, 1024), 512);
        assert_eq!(ring.before_end(1024, 1024), 1024);
    }
}
