//! A queue of bytes: the data of both directions waits in one. Large pieces are shared, small ones are copied together.

use alloc::{collections::VecDeque, vec::Vec};
use bytes::{Buf as _, Bytes};
use rumpnet::Chain;

/// Pieces below this are copied: a piece costs about as much as copying some hundred bytes, and a small one may hold a large
/// buffer in memory.
const COPY_BELOW: usize = 1024;
/// So many bytes are copied out of the tail; more end it, to be shared.
const COPY_UP_TO: usize = 512;
/// Space that is reserved for small pieces: the first time, and at most.
const GRAIN_MIN: u16 = 128;
const GRAIN_MAX: u16 = 4096;
/// What a piece costs besides its bytes.
const PIECE_COST: usize = size_of::<Piece>() + 32;

struct Piece {
    /// Its place in the stream.
    start: u64,
    bytes: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start.saturating_add(wide(self.bytes.len()))
    }
}

/// Bytes in order. Places are counted from the begin of the stream and never wrap.
#[derive(Default)]
pub(super) struct ByteQueue {
    pieces: VecDeque<Piece>,
    /// What comes after the pieces.
    tail: Vec<u8>,
    /// Bytes of the tail that are gone.
    gone: usize,
    head: u64,
    end: u64,
    /// Space to reserve next.
    grain: u16,
}

/// Where it is, not what is in it.
impl core::fmt::Debug for ByteQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}..{} in {}", self.head, self.end, self.pieces.len())
    }
}

impl ByteQueue {
    /// Number of bytes.
    pub(super) fn len(&self) -> usize {
        narrow(self.end.saturating_sub(self.head))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.end == self.head
    }

    /// Place of the byte that comes next.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Place of the first byte.
    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    /// Memory that the pieces cost besides their bytes.
    pub(super) fn overhead(&self) -> usize {
        self.pieces.len().saturating_mul(PIECE_COST)
    }

    /// The bytes after the pieces.
    fn rest(&self) -> &[u8] {
        self.tail.get(self.gone..).unwrap_or_default()
    }

    fn tail_start(&self) -> u64 {
        self.end.saturating_sub(wide(self.rest().len()))
    }

    /// Appends `data`.
    pub(super) fn push(&mut self, mut data: Chain) {
        if let Some(bytes) = data.single()
            && bytes.len() < COPY_BELOW
        {
            return self.push_copy(bytes);
        }
        while let Some(bytes) = data.pop() {
            if bytes.len() < COPY_BELOW {
                self.push_copy(&bytes);
            } else {
                self.seal();
                let start = self.end;
                self.end = self.end.saturating_add(wide(bytes.len()));
                self.pieces.push_back(Piece { start, bytes });
            }
        }
    }

    /// Appends a copy of bytes.
    #[inline(always)]
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.len() < COPY_BELOW {
            self.push_copy(bytes);
        } else {
            self.push(rumpnet::pool::copy(bytes));
        }
    }

    #[inline(always)]
    fn push_copy(&mut self, bytes: &[u8]) {
        let spare = self.tail.capacity().saturating_sub(self.tail.len());
        if spare < bytes.len() {
            self.make_room(bytes.len());
        }
        self.tail.extend_from_slice(bytes);
        self.end = self.end.saturating_add(wide(bytes.len()));
    }

    fn make_room(&mut self, len: usize) {
        let live = self.rest().len();
        if self.gone >= live && self.tail.capacity().saturating_sub(live) >= len {
            // Moving the few that are left makes room for as many again.
            self.tail.drain(..self.gone);
            self.gone = 0;
            return;
        }
        self.seal();
        self.grain = self.grain.saturating_mul(2).clamp(GRAIN_MIN, GRAIN_MAX);
        self.tail.reserve_exact(len.max(usize::from(self.grain)));
    }

    /// Turns the tail into a piece.
    fn seal(&mut self) {
        let start = self.tail_start();
        if start < self.end {
            let mut bytes = Bytes::from(core::mem::take(&mut self.tail));
            bytes.advance(self.gone);
            self.pieces.push_back(Piece { start, bytes });
        } else {
            self.tail.clear();
        }
        self.gone = 0;
    }

    /// `len` bytes from `offset` after the first on, fewer at the end. They are shared, unless they are few.
    pub(super) fn slice(&mut self, offset: usize, len: usize) -> Chain {
        let from = self.head.saturating_add(wide(offset));
        let to = from.saturating_add(wide(len)).min(self.end);
        let tail_start = self.tail_start();
        if from >= tail_start && len <= COPY_UP_TO {
            let begin = narrow(from.saturating_sub(tail_start));
            let end = narrow(to.saturating_sub(tail_start));
            let bytes = self.rest().get(begin..end).unwrap_or_default();
            return Bytes::copy_from_slice(bytes).into();
        }
        if to > tail_start {
            self.seal();
        }
        let mut chain = Chain::new();
        let first = self.pieces.partition_point(|piece| piece.end() <= from);
        for piece in self.pieces.range(first..) {
            if piece.start >= to {
                break;
            }
            let begin = narrow(from.saturating_sub(piece.start));
            let end = narrow(to.min(piece.end()).saturating_sub(piece.start));
            if begin < end {
                chain.push(piece.bytes.slice(begin..end));
            }
        }
        chain
    }

    /// Copies bytes from `offset` after the first on; returns how many there were.
    pub(super) fn copy_to(&self, offset: usize, buf: &mut [u8]) -> usize {
        if self.pieces.is_empty() {
            return copy(self.rest().get(offset..), Some(buf));
        }
        let from = self.head.saturating_add(wide(offset));
        let first = self.pieces.partition_point(|piece| piece.end() <= from);
        let pieces = self.pieces.range(first..);
        let pieces = pieces.map(|piece| (piece.start, &*piece.bytes));
        let mut done = 0_usize;
        for (start, bytes) in pieces.chain([(self.tail_start(), self.rest())]) {
            let at = from.saturating_add(wide(done));
            let source = bytes.get(narrow(at.saturating_sub(start))..);
            done = done.saturating_add(copy(source, buf.get_mut(done..)));
        }
        done
    }

    /// Drops the first `count` bytes.
    pub(super) fn advance(&mut self, count: usize) {
        let to = self.head.saturating_add(wide(count)).min(self.end);
        self.head = to;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.end() > to {
                let skip = narrow(to.saturating_sub(piece.start));
                piece.bytes.advance(skip);
                piece.start = to;
                return;
            }
            self.pieces.pop_front();
        }
        let left = narrow(self.end.saturating_sub(to));
        if left == 0 {
            self.empty_tail();
        } else {
            self.gone = self.tail.len().saturating_sub(left);
        }
    }

    /// Nothing is left in the tail. More memory than a few bytes need is given back: it is in no cache when the next ones come.
    fn empty_tail(&mut self) {
        if self.tail.capacity() > usize::from(GRAIN_MIN) {
            (self.tail, self.grain) = (Vec::new(), 0);
        } else {
            self.tail.clear();
        }
        self.gone = 0;
    }

    /// Takes up to `max` bytes out.
    pub(super) fn take(&mut self, max: usize) -> Chain {
        let chain = self.slice(0, max.min(self.len()));
        self.advance(chain.len());
        chain
    }

    /// Moves bytes into `buf`; returns how many there were.
    #[inline(always)]
    pub(super) fn take_into(&mut self, buf: &mut [u8]) -> usize {
        let count = self.copy_to(0, buf);
        self.advance(count);
        count
    }

    /// Drops everything and the memory.
    pub(super) fn clear(&mut self) {
        *self = Self {
            head: self.end,
            end: self.end,
            ..Self::default()
        };
    }
}

fn copy(source: Option<&[u8]>, space: Option<&mut [u8]>) -> usize {
    let (Some(source), Some(space)) = (source, space) else {
        return 0;
    };
    let count = source.len().min(space.len());
    let (space, _) = space.split_at_mut(count);
    space.copy_from_slice(source.get(..count).unwrap_or_default());
    count
}

const fn wide(len: usize) -> u64 {
    len as u64
}

/// A difference of places; each is of bytes in memory.
fn narrow(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::ByteQueue;
    use alloc::{vec, vec::Vec};
    use bytes::Bytes;
    use proptest::prelude::*;
    use rumpnet::Chain;

    fn bytes(chain: &Chain) -> Vec<u8> {
        chain.pieces().flatten().copied().collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Slice(usize, usize),
        Advance(usize),
        Take(usize),
        Into(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let len = prop_oneof![0..20_usize, 900..1100_usize, 0..5000_usize];
        prop_oneof![
            3 => len.clone().prop_map(Step::Push),
            2 => (len.clone(), len.clone()).prop_map(|(from, len)| Step::Slice(from, len)),
            1 => len.clone().prop_map(Step::Advance),
            1 => len.clone().prop_map(Step::Take),
            1 => len.prop_map(Step::Into),
        ]
    }

    proptest! {
        /// Against a vector.
        #[test]
        fn like_a_vector(steps in prop::collection::vec(step(), 0..40)) {
            let (mut queue, mut model, mut next) = (ByteQueue::default(), Vec::new(), 0_u32);
            for step in steps {
                match step {
                    Step::Push(len) => {
                        let data: Vec<u8> = (0..len).map(|n| (next + n as u32) as u8).collect();
                        next += 7;
                        let mut chain = Chain::new();
                        for part in data.chunks(1500) {
                            chain.push(Bytes::copy_from_slice(part));
                        }
                        queue.push(chain);
                        model.extend(data);
                    }
                    Step::Slice(from, len) => {
                        let (from_, end) = (from.min(model.len()), (from + len).min(model.len()));
                        prop_assert_eq!(bytes(&queue.slice(from, len)), &model[from_..end]);
                        let mut buf = vec![0; len];
                        let count = queue.copy_to(from, &mut buf);
                        prop_assert_eq!(&buf[..count], &model[from_..end]);
                    }
                    Step::Advance(len) => {
                        queue.advance(len);
                        model.drain(..len.min(model.len()));
                    }
                    Step::Take(len) => {
                        let part: Vec<u8> = model.drain(..len.min(model.len())).collect();
                        prop_assert_eq!(bytes(&queue.take(len)), part);
                    }
                    Step::Into(len) => {
                        let part: Vec<u8> = model.drain(..len.min(model.len())).collect();
                        let mut buf = vec![0; len];
                        let count = queue.take_into(&mut buf);
                        prop_assert_eq!(&buf[..count], part);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
    }

    /// Bytes one at a time, each sent and acknowledged: no piece is left over.
    #[test]
    fn small_writes_share_memory() {
        let mut queue = ByteQueue::default();
        for n in 0..10_000_u32 {
            queue.push(Bytes::copy_from_slice(&n.to_be_bytes()).into());
            assert_eq!(bytes(&queue.slice(0, 10)), n.to_be_bytes());
            queue.advance(4);
        }
        assert!(queue.pieces.is_empty() && queue.tail.capacity() < 200);
        (0..1000).for_each(|_| queue.push(Bytes::from_static(b"x").into()));
        assert_eq!((queue.len(), queue.slice(0, 1000).len()), (1000, 1000));
        // Memory that was made larger and larger.
        assert!(queue.pieces.len() <= 4);
    }
}
