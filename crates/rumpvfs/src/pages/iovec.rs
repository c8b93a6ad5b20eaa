//! Cursors over the caller's buffers.

use alloc::vec::Vec;

/// Takes bytes into consecutive buffers.
pub(super) struct Sink<'a, 'b> {
    bufs: &'a mut [&'b mut [u8]],
    /// Buffer that the next byte goes to, and where in it.
    index: usize,
    at: usize,
}

impl<'a, 'b> Sink<'a, 'b> {
    pub(super) fn new(bufs: &'a mut [&'b mut [u8]]) -> Self {
        Self {
            bufs,
            index: 0,
            at: 0,
        }
    }

    /// Calls `each` with the next pieces of the buffers, `len` bytes altogether (less when the buffers end).
    fn pieces(&mut self, len: usize, mut each: impl FnMut(usize, &mut [u8])) {
        let mut done = 0;
        while done < len && self.index < self.bufs.len() {
            let buf = &mut self.bufs[self.index];
            let n = (buf.len() - self.at).min(len - done);
            each(done, &mut buf[self.at..self.at + n]);
            done += n;
            self.at += n;
            if self.at == buf.len() {
                self.index += 1;
                self.at = 0;
            }
        }
    }

    /// Takes `data`.
    pub(super) fn put(&mut self, data: &[u8]) {
        self.pieces(data.len(), |done, piece| {
            piece.copy_from_slice(&data[done..done + piece.len()]);
        });
    }

    /// Takes `len` zeros.
    pub(super) fn zeros(&mut self, len: usize) {
        self.pieces(len, |_, piece| piece.fill(0));
    }

    /// The next `len` bytes of the buffers, to be filled in place. Followed by [`skip`](Self::skip) when they were.
    pub(super) fn next(&mut self, len: usize) -> Vec<&mut [u8]> {
        let mut left = len;
        let mut at = self.at;
        let mut slices = Vec::new();
        for buf in &mut self.bufs[self.index..] {
            if left == 0 {
                break;
            }
            let n = (buf.len() - at).min(left);
            if n > 0 {
                slices.push(&mut buf[at..at + n]);
            }
            left -= n;
            at = 0;
        }
        slices
    }

    /// Passes over `len` bytes.
    pub(super) fn skip(&mut self, len: usize) {
        self.pieces(len, |_, _| ());
    }
}

/// Gives bytes from consecutive buffers. A copy of it is another cursor at the same place.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, 'b> {
    bufs: &'a [&'b [u8]],
    index: usize,
    at: usize,
}

impl<'a, 'b> Source<'a, 'b> {
    pub(super) fn new(bufs: &'a [&'b [u8]]) -> Self {
        Self {
            bufs,
            index: 0,
            at: 0,
        }
    }

    fn pieces(&mut self, len: usize, mut each: impl FnMut(usize, &[u8])) {
        let mut done = 0;
        while done < len && self.index < self.bufs.len() {
            let buf = self.bufs[self.index];
            let n = (buf.len() - self.at).min(len - done);
            each(done, &buf[self.at..self.at + n]);
            done += n;
            self.at += n;
            if self.at == buf.len() {
                self.index += 1;
                self.at = 0;
            }
        }
    }

    /// Fills `to` with the next bytes.
    pub(super) fn fill(&mut self, to: &mut [u8]) {
        self.pieces(to.len(), |done, piece| {
            to[done..done + piece.len()].copy_from_slice(piece);
        });
    }

    /// Passes over `len` bytes.
    pub(super) fn skip(&mut self, len: usize) {
        self.pieces(len, |_, _| ());
    }

    /// The next `len` bytes, in pieces.
    pub(super) fn slices(&self, len: usize) -> Vec<&'b [u8]> {
        let mut left = len;
        let mut at = self.at;
        let mut slices = Vec::new();
        for buf in self.bufs.get(self.index..).unwrap_or_default() {
            if left == 0 {
                break;
            }
            let n = (buf.len() - at).min(left);
            if n > 0 {
                slices.push(&buf[at..at + n]);
            }
            left -= n;
            at = 0;
        }
        slices
    }

    /// The next `len` bytes, if they lie in one buffer.
    pub(super) fn contiguous(&self, len: usize) -> Option<&'b [u8]> {
        self.bufs
            .get(self.index)?
            .get(self.at..self.at.checked_add(len)?)
    }
}

/// Bytes in all buffers; saturates.
pub(super) fn total(lens: impl Iterator<Item = usize>) -> usize {
    lens.fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::{Sink, Source};

    #[test]
    fn bytes_cross_buffers_and_empty_ones() {
        let (mut a, mut b, mut c) = ([0; 3], [0; 0], [0; 4]);
        let mut bufs = [&mut a[..], &mut b[..], &mut c[..]];
        let mut sink = Sink::new(&mut bufs);
        sink.put(&[1, 2]);
        sink.skip(1);
        assert_eq!(
            sink.next(3).iter().map(|s| s.len()).sum::<usize>(),
            3,
            "an empty buffer gives nothing"
        );
        sink.put(&[4, 5, 6, 7]);
        sink.zeros(9);
        assert_eq!((a, c), ([1, 2, 0], [4, 5, 6, 7]));

        let bufs = [&[1, 2, 3][..], &[], &[4, 5]];
        let mut source = Source::new(&bufs);
        assert_eq!(source.contiguous(3), Some(&[1, 2, 3][..]));
        assert_eq!(source.contiguous(4), None);
        source.skip(2);
        assert_eq!(source.slices(2), [&[3][..], &[4]]);
        let mut to = [0; 3];
        source.fill(&mut to);
        assert_eq!(to, [3, 4, 5]);
    }
}
