//! Payload: bytes in order, in pieces that nobody copies.

use alloc::{boxed::Box, collections::VecDeque};
use bytes::{Buf as _, Bytes};

/// Bytes in order, in pieces that are shared and never changed. Most packets have one piece, and then nothing is allocated
/// besides it. No piece is empty.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Empty only when the chain is.
    first: Bytes,
    #[expect(
        clippy::box_collection,
        reason = "chains pass through many hands, and few have it"
    )]
    rest: Option<Box<VecDeque<Bytes>>>,
    len: usize,
}

impl Chain {
    /// No bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: Bytes::new(),
            rest: None,
            len: 0,
        }
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        let first = (!self.first.is_empty()).then_some(&self.first);
        let rest = self.rest.as_deref().into_iter().flatten();
        first.into_iter().chain(rest)
    }

    /// The bytes in one piece, if they are.
    #[must_use]
    pub fn single(&self) -> Option<&[u8]> {
        let whole = self.rest.as_ref().is_none_or(|rest| rest.is_empty());
        whole.then_some(&self.first)
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.len = self.len.saturating_add(piece.len());
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.get_or_insert_default().push_back(piece);
        }
    }

    /// Takes the first piece out.
    pub fn pop(&mut self) -> Option<Bytes> {
        if self.first.is_empty() {
            return None;
        }
        let next = self.next();
        let first = core::mem::replace(&mut self.first, next);
        self.len = self.len.saturating_sub(first.len());
        Some(first)
    }

    /// The same bytes. Pieces of less than `below` are copied: a small one may hold a large buffer in memory.
    #[must_use]
    pub fn detached(mut self, below: usize) -> Self {
        if self.pieces().all(|piece| piece.len() >= below) {
            return self;
        }
        let mut own = Self::new();
        while let Some(piece) = self.pop() {
            own.push(if piece.len() < below {
                Bytes::copy_from_slice(&piece)
            } else {
                piece
            });
        }
        own
    }

    /// Adds all pieces of `other` at the end.
    pub fn append(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.push(other.first);
        if let Some(rest) = other.rest {
            let len = rest.iter().map(Bytes::len).sum();
            self.len = self.len.saturating_add(len);
            self.rest.get_or_insert_default().extend(*rest);
        }
    }

    /// Takes the piece after the first out; an empty one if there is none.
    fn next(&mut self) -> Bytes {
        let rest = self.rest.as_mut();
        rest.and_then(|rest| rest.pop_front()).unwrap_or_default()
    }

    /// Takes the first `count` bytes away, all if there are fewer.
    pub fn advance(&mut self, count: usize) {
        drop(self.split_to(count));
    }

    /// Takes the first `count` bytes out, all if there are fewer.
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Self {
        if count >= self.len {
            return core::mem::take(self);
        }
        let mut taken = Self::new();
        while taken.len < count {
            let wanted = count.saturating_sub(taken.len);
            if self.first.len() > wanted {
                self.len = self.len.saturating_sub(wanted);
                taken.push(self.first.split_to(wanted));
                break;
            }
            self.len = self.len.saturating_sub(self.first.len());
            let next = self.next();
            taken.push(core::mem::replace(&mut self.first, next));
        }
        taken
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            *self = self.split_to(len);
        }
    }

    /// `len` bytes from `from` on, fewer at the end. The pieces are shared.
    #[must_use]
    pub fn slice(&self, from: usize, len: usize) -> Self {
        let mut part = Self::new();
        let mut skip = from;
        for piece in self.pieces() {
            let wanted = len.saturating_sub(part.len);
            if wanted == 0 {
                break;
            }
            if skip >= piece.len() {
                skip = skip.saturating_sub(piece.len());
                continue;
            }
            let end = piece.len().min(skip.saturating_add(wanted));
            part.push(piece.slice(skip..end));
            skip = 0;
        }
        part
    }

    /// Copies bytes from `from` on into `buf`; returns how many there were.
    pub fn copy_to(&self, from: usize, buf: &mut [u8]) -> usize {
        let (mut skip, mut done) = (from, 0_usize);
        for piece in self.pieces() {
            let source = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            let Some(space) = buf.get_mut(done..).filter(|space| !space.is_empty()) else {
                break;
            };
            let count = source.len().min(space.len());
            if let (Some(to), Some(from)) = (space.get_mut(..count), source.get(..count)) {
                to.copy_from_slice(from);
            }
            done = done.saturating_add(count);
        }
        done
    }

    /// Moves bytes from the front into `buf`; returns how many there were.
    pub fn take_into(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0_usize;
        while let Some(space) = buf.get_mut(done..).filter(|space| !space.is_empty()) {
            if self.first.is_empty() {
                break;
            }
            let count = self.first.len().min(space.len());
            if let Some(space) = space.get_mut(..count) {
                self.first.copy_to_slice(space);
            }
            if self.first.is_empty() {
                self.first = self.next();
            }
            self.len = self.len.saturating_sub(count);
            done = done.saturating_add(count);
        }
        done
    }
}

impl From<Bytes> for Chain {
    fn from(piece: Bytes) -> Self {
        let mut chain = Self::new();
        chain.push(piece);
        chain
    }
}

/// By content, however it is cut.
impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |chain: &Self| chain.clone().pieces().flatten().copied().collect();
        let (one, two): (alloc::vec::Vec<u8>, alloc::vec::Vec<u8>) = (bytes(self), bytes(other));
        one == two
    }
}

impl Eq for Chain {}

#[cfg(test)]
mod tests {
    use super::Chain;
    use alloc::vec::Vec;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn bytes(chain: &Chain) -> Vec<u8> {
        chain.pieces().flatten().copied().collect()
    }

    #[test]
    fn small_pieces_are_copied() {
        let large = Bytes::from([1; 100].to_vec());
        let mut chain = Chain::from(large.slice(3..13));
        chain.push(large.clone());
        let own = chain.clone().detached(11);
        assert_eq!(own, chain);
        let mut own = own;
        assert_ne!(own.pop().unwrap().as_ptr(), large[3..].as_ptr());
        assert_eq!(own.pop().unwrap().as_ptr(), large.as_ptr());
        assert_eq!((own.pop(), own.len()), (None, 0));
    }

    proptest! {
        /// Against a vector.
        #[test]
        fn like_a_vector(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            cut in 0_usize..200,
            len in 0_usize..200,
        ) {
            let mut chain = Chain::new();
            for piece in &pieces {
                chain.push(Bytes::copy_from_slice(piece));
            }
            let all = pieces.concat();
            prop_assert_eq!(chain.len(), all.len());
            let (from, end) = (cut.min(all.len()), cut.saturating_add(len).min(all.len()));
            prop_assert_eq!(bytes(&chain.slice(cut, len)), &all[from..end]);
            let mut buf = [0; 200];
            let count = chain.copy_to(cut, &mut buf[..len]);
            prop_assert_eq!(&buf[..count], &all[from..end]);
            let mut second = chain.clone();
            let first = second.split_to(cut);
            prop_assert_eq!((bytes(&first), first.len()), (all[..from].to_vec(), from));
            prop_assert_eq!((bytes(&second), second.len()), (all[from..].to_vec(), all.len().saturating_sub(from)));
            let mut joined = first.clone();
            joined.append(second.clone());
            prop_assert_eq!(&joined, &chain);
            let taken = chain.take_into(&mut buf[..len]);
            prop_assert_eq!(&buf[..taken], &all[..len.min(all.len())]);
            prop_assert_eq!(bytes(&chain), &all[taken..]);
            prop_assert!(second.pieces().all(|piece| !piece.is_empty()));
        }
    }
}
