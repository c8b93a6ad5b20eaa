//! A list of parts of what was sent. Mostly there is none or one in flight: that one needs no memory.

use super::{Seq, scoreboard::Part};
use alloc::collections::VecDeque;

/// Parts in order.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The first one, when it came while there was no other.
    one: Option<Part>,
    /// All of them otherwise.
    more: VecDeque<Part>,
}

impl Parts {
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        match self.one {
            Some(_) => 1,
            None => self.more.len(),
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.one.is_none() && self.more.is_empty()
    }

    #[inline(always)]
    pub(super) fn front(&self) -> Option<&Part> {
        self.one.as_ref().or_else(|| self.more.front())
    }

    #[inline(always)]
    pub(super) fn front_mut(&mut self) -> Option<&mut Part> {
        self.one.as_mut().or_else(|| self.more.front_mut())
    }

    pub(super) fn back(&self) -> Option<&Part> {
        self.one.as_ref().or_else(|| self.more.back())
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut Part> {
        self.one.as_mut().or_else(|| self.more.back_mut())
    }

    #[inline(always)]
    pub(super) fn pop_front(&mut self) -> Option<Part> {
        self.one.take().or_else(|| self.more.pop_front())
    }

    #[inline(always)]
    pub(super) fn push_back(&mut self, part: Part) {
        if self.one.is_none() && self.more.is_empty() {
            self.one = Some(part);
        } else {
            self.all().push_back(part);
        }
    }

    /// All of them as a list that may have any number.
    pub(super) fn all(&mut self) -> &mut VecDeque<Part> {
        if let Some(one) = self.one.take() {
            self.more.push_front(one);
        }
        &mut self.more
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        self.one.iter_mut().chain(&mut self.more)
    }

    /// Those that have bytes from `at` on, or after it.
    pub(super) fn after(&self, at: Seq) -> impl Iterator<Item = &Part> {
        let before = |part: &Part| part.end.up_to(at);
        let first = self.more.partition_point(before);
        let one = self.one.iter().filter(move |part| !part.end.up_to(at));
        one.chain(self.more.range(first..))
    }
}
