//! What was sent and is not acknowledged: when each part was sent, and what became of it (RFC 6675, section 4; RFC 8985, section
//! 5.1). A part is what was given out at once, so a large segment is one; it is cut where the peer's SACK ranges cut it.

use super::{Seq, parts::Parts};

bitflags::bitflags! {
    /// What became of a part.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Fate: u8 {
        /// The peer has it, out of order.
        const SACKED = 1;
        /// It is taken for lost, and was not sent again since.
        const LOST = 2;
        /// It was sent more than once.
        const RETRANSMITTED = 4;
        /// It was sent, or sent again, after the retransmission timer expired the last time.
        const AFTER_TIMEOUT = 8;
    }
}

/// A part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) start: Seq,
    pub(super) end: Seq,
    pub(super) fate: Fate,
    /// When it was sent last.
    pub(super) time: u64,
}

impl Part {
    pub(super) const fn len(&self) -> u32 {
        self.end.since(self.start)
    }
}

/// What an acknowledgment says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    /// Bytes that the peer has and was not known to have.
    pub(super) bytes: u32,
    /// Bytes of them by SACK.
    pub(super) sacked: u32,
    /// Of these parts the one that was sent last.
    pub(super) newest: Option<Part>,
    /// When the newest part was sent of those that were sent once.
    pub(super) once: Option<u64>,
    /// A part was among them that was sent before the timer expired and not again (RFC 5682, section 3).
    pub(super) original: bool,
    /// A part was among them that was sent once, before one that was known to have arrived (RFC 8985, section 6.2, step 3).
    pub(super) reordered: bool,
    /// A part that was sent again and not yet known to be there was among them.
    pub(super) retransmitted: bool,
}

impl Delivered {
    fn add(&mut self, part: &Part, highest: Seq) {
        self.bytes = self.bytes.saturating_add(part.len());
        let again = part.fate.contains(Fate::RETRANSMITTED);
        if again {
            self.retransmitted = true;
        } else {
            self.once = self.once.max(Some(part.time));
            self.reordered |= part.end.before(highest);
        }
        self.original |= !part.fate.contains(Fate::AFTER_TIMEOUT);
        let newer = |old: Part| (part.time, part.end.after(old.end)) >= (old.time, true);
        if self.newest.is_none_or(newer) {
            self.newest = Some(*part);
        }
    }
}

/// Parts are not cut any more when there are so many.
const PARTS_MAX: usize = 16_384;
/// Small parts are joined when there are so many.
const PARTS_MANY: usize = 1024;

/// All parts in order.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    parts: Parts,
    sacked: u32,
    lost: u32,
    /// Bytes that have been taken for lost since the beginning, modulo 2^32.
    losses: u32,
    /// No lost part is before it.
    lost_from: Seq,
    /// The highest number known to have arrived (RACK.fack).
    highest: Seq,
}

impl Scoreboard {
    /// Begins at this number.
    pub(super) fn new(start: Seq) -> Self {
        Self {
            highest: start,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes that the peer has out of order.
    pub(super) const fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes that are lost and not yet sent again.
    pub(super) const fn lost(&self) -> u32 {
        self.lost
    }

    /// Bytes that have been taken for lost, ever: differences count.
    pub(super) const fn losses(&self) -> u32 {
        self.losses
    }

    pub(super) fn first(&self) -> Option<&Part> {
        self.parts.front()
    }

    pub(super) fn last(&self) -> Option<&Part> {
        self.parts.back()
    }

    /// New data was sent.
    #[inline(always)]
    pub(super) fn sent(&mut self, start: Seq, end: Seq, time: u64, mss: u32, fate: Fate) {
        if self.parts.len() >= PARTS_MANY
            && let Some(last) = self.parts.back_mut()
            && last.end == start
            && last.fate == fate
            && end.since(last.start) <= mss
        {
            last.end = end;
            last.time = time;
            return;
        }
        self.parts.push_back(Part {
            start,
            end,
            fate,
            time,
        });
    }

    /// Everything before `una` has arrived.
    #[inline(always)]
    pub(super) fn acknowledge(&mut self, una: Seq, delivered: &mut Delivered) {
        while let Some(first) = self.parts.front_mut() {
            if first.start.from(una) {
                break;
            }
            let mut part = *first;
            if part.end.after(una) {
                part.end = una;
                first.start = una;
            } else {
                self.parts.pop_front();
            }
            if part.fate.contains(Fate::SACKED) {
                self.sacked = self.sacked.saturating_sub(part.len());
                continue;
            }
            if part.fate.contains(Fate::LOST) {
                self.lost = self.lost.saturating_sub(part.len());
            }
            delivered.add(&part, self.highest);
        }
        self.highest = self.highest.max(una);
    }

    /// The peer has what is from `start` to `end`. Of a part that this cuts, whole segments of `mss` bytes count.
    pub(super) fn sack(&mut self, start: Seq, end: Seq, mss: u32, delivered: &mut Delivered) {
        let all = self.parts.all();
        let mut index = all.partition_point(|part| part.end.up_to(start));
        while let Some(part) = self.parts.all().get(index)
            && part.start.before(end)
        {
            let part = *part;
            if part.fate.contains(Fate::SACKED) {
                index = index.saturating_add(1);
                continue;
            }
            let from = round_up(start.since_or_zero(part.start), mss);
            let to = if end.from(part.end) {
                part.len()
            } else {
                round_down(end.since(part.start), mss)
            };
            if from >= to {
                index = index.saturating_add(1);
                continue;
            }
            if self.cut(index, part.start.plus(from)) {
                index = index.saturating_add(1);
            } else if from > 0 {
                break;
            }
            if to < part.len() && !self.cut(index, part.start.plus(to)) {
                break;
            }
            self.set_sacked(index, delivered);
            index = index.saturating_add(1);
        }
    }

    fn set_sacked(&mut self, index: usize, delivered: &mut Delivered) {
        let Some(part) = self.parts.all().get_mut(index) else {
            return;
        };
        let len = part.len();
        if part.fate.contains(Fate::LOST) {
            self.lost = self.lost.saturating_sub(len);
        }
        self.sacked = self.sacked.saturating_add(len);
        delivered.sacked = delivered.sacked.saturating_add(len);
        delivered.add(part, self.highest);
        self.highest = self.highest.max(part.end);
        part.fate.remove(Fate::LOST);
        part.fate.insert(Fate::SACKED);
    }

    /// Cuts a part at a number inside of it; false if that is none or there are too many parts.
    fn cut(&mut self, index: usize, at: Seq) -> bool {
        let many = self.parts.len() >= PARTS_MAX;
        let all = self.parts.all();
        let Some(part) = all.get_mut(index) else {
            return false;
        };
        if many || !at.after(part.start) || !at.before(part.end) {
            return false;
        }
        let second = Part { start: at, ..*part };
        part.end = at;
        all.insert(index.saturating_add(1), second);
        true
    }

    /// Takes for lost each part of which `lost` says so; returns how many bytes that were.
    pub(super) fn mark_lost(&mut self, mut lost: impl FnMut(&Part) -> bool) -> u32 {
        let before = self.lost;
        for part in self.parts.iter_mut() {
            if part.fate.intersects(Fate::SACKED | Fate::LOST) || !lost(part) {
                continue;
            }
            if self.lost == 0 || part.start.before(self.lost_from) {
                self.lost_from = part.start;
            }
            part.fate.insert(Fate::LOST);
            self.lost = self.lost.saturating_add(part.len());
        }
        let lost = self.lost.saturating_sub(before);
        self.losses = self.losses.wrapping_add(lost);
        lost
    }

    /// Takes the first `len` bytes for lost, unless they are already; returns how many bytes that were.
    pub(super) fn mark_first_lost(&mut self, len: u32) -> u32 {
        let Some(start) = self.parts.front().map(|part| part.start) else {
            return 0;
        };
        self.cut(0, start.plus(len));
        self.mark_lost(|part| part.start == start)
    }

    /// The retransmission timer expired: everything that the peer is not known to have is lost, and sent originally.
    pub(super) fn timed_out(&mut self) {
        self.mark_lost(|_| true);
        for part in self.parts.iter_mut() {
            part.fate.remove(Fate::AFTER_TIMEOUT);
        }
    }

    /// The peer dropped what it had out of order, as it may (RFC 2018, section 8).
    pub(super) fn forget_sacks(&mut self) {
        for part in self.parts.iter_mut() {
            part.fate.remove(Fate::SACKED);
        }
        self.sacked = 0;
    }

    /// Nothing was lost after all.
    pub(super) fn undo_lost(&mut self) {
        for part in self.parts.iter_mut() {
            part.fate.remove(Fate::LOST);
        }
        self.lost = 0;
    }

    /// The first lost part.
    pub(super) fn next_lost(&self) -> Option<Part> {
        if self.lost == 0 {
            return None;
        }
        let from = self.lost_from;
        let mut rest = self.parts.after(from);
        rest.find(|part| part.fate.contains(Fate::LOST)).copied()
    }

    /// What begins at `start` was sent again, `len` bytes of it.
    pub(super) fn resent(&mut self, start: Seq, len: u32, time: u64) {
        let place = |parts: &mut Parts| parts.all().partition_point(|part| part.end.up_to(start));
        let end = start.plus(len);
        let index = place(&mut self.parts);
        self.cut(index, start);
        let index = place(&mut self.parts);
        self.cut(index, end);
        if let Some(part) = self.parts.all().get_mut(index) {
            if part.fate.contains(Fate::LOST) {
                self.lost = self.lost.saturating_sub(part.len());
                self.lost_from = part.end;
            }
            part.fate.remove(Fate::LOST);
            part.fate.insert(Fate::RETRANSMITTED | Fate::AFTER_TIMEOUT);
            part.time = time;
        }
    }
}

const fn round_up(len: u32, mss: u32) -> u32 {
    match len.checked_next_multiple_of(mss) {
        Some(len) => len,
        None => len,
    }
}

fn round_down(len: u32, mss: u32) -> u32 {
    len.saturating_sub(len.checked_rem(mss).unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::{Delivered, Fate, Scoreboard, Seq};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// All end after this.
    const FIRST: Seq = Seq(0);

    fn board(parts: &[u32]) -> Scoreboard {
        let mut board = Scoreboard::new(Seq(0));
        let mut at = Seq(0);
        for (n, len) in parts.iter().enumerate() {
            board.sent(at, at.plus(*len), n as u64, 10, Fate::empty());
            at = at.plus(*len);
        }
        board
    }

    fn cuts(board: &Scoreboard) -> Vec<(u32, u32, Fate)> {
        let part = |part: &super::Part| (part.start.0, part.end.0, part.fate);
        board.parts.after(FIRST).map(part).collect()
    }

    /// RFC 2018, section 5.1: what was acknowledged selectively is marked. A large part is cut at the segments that it stands for.
    #[test]
    fn cut_by_sack() {
        let mut board = board(&[100]);
        let mut delivered = Delivered::default();
        board.sack(Seq(25), Seq(57), 10, &mut delivered);
        let none = Fate::empty();
        let expected = [(0, 30, none), (30, 50, Fate::SACKED), (50, 100, none)];
        assert_eq!(cuts(&board), expected);
        assert_eq!(
            (delivered.bytes, board.sacked(), board.highest),
            (20, 20, Seq(50))
        );
        board.sack(Seq(90), Seq(100), 10, &mut delivered);
        assert!(!delivered.reordered);
        board.sack(Seq(0), Seq(10), 10, &mut delivered);
        assert!(delivered.reordered);
        board.acknowledge(Seq(60), &mut delivered);
        assert_eq!((board.sacked(), delivered.bytes), (10, 70));
        assert_eq!(cuts(&board), [(60, 90, none), (90, 100, Fate::SACKED)]);
    }

    #[test]
    fn lost_and_sent_again() {
        let mut board = board(&[10, 10, 10]);
        assert_eq!(board.mark_lost(|part| part.start != Seq(10)), 20);
        assert_eq!(board.next_lost().unwrap().start, Seq(0));
        board.resent(Seq(0), 4, 9);
        assert_eq!(
            (board.lost(), board.next_lost().unwrap().start),
            (16, Seq(4))
        );
        board.resent(Seq(4), 6, 9);
        board.resent(Seq(20), 10, 9);
        assert_eq!((board.lost(), board.next_lost().is_none()), (0, true));
        board.timed_out();
        assert_eq!(board.lost(), 30);
        board.undo_lost();
        assert_eq!(board.lost(), 0);
    }

    proptest! {
        /// The sums are those of the parts, whatever happens.
        #[test]
        fn sums(steps in prop::collection::vec((0_u8..6, 0_u32..300, 0_u32..300), 0..60)) {
            let mut board = board(&[10, 25, 60, 1, 4, 100]);
            let mut una = 0;
            for (step, a, b) in steps {
                let mut delivered = Delivered::default();
                match step {
                    0 => {
                        una = una.max(a.min(200));
                        board.acknowledge(Seq(una), &mut delivered);
                    }
                    1 => board.sack(Seq(a.min(b)), Seq(a.max(b)), 10, &mut delivered),
                    2 => drop(board.mark_lost(|part| part.start.0 % 3 == a % 3)),
                    3 => if let Some(part) = board.next_lost() {
                        board.resent(part.start, part.len().min(b + 1), 100);
                    },
                    4 => drop(board.mark_first_lost(a + 1)),
                    _ => board.timed_out(),
                }
                let sum = |fate| board.parts.after(FIRST).filter(|part| part.fate.contains(fate)).map(super::Part::len).sum::<u32>();
                prop_assert_eq!((board.sacked(), board.lost()), (sum(Fate::SACKED), sum(Fate::LOST)));
                let first_lost = board.parts.after(FIRST).find(|part| part.fate.contains(Fate::LOST)).map(|part| part.start);
                prop_assert_eq!(board.next_lost().map(|part| part.start), first_lost);
                prop_assert!(board.parts.after(FIRST).all(|part| part.len() > 0));
                prop_assert!(board.parts.after(FIRST).zip(board.parts.after(FIRST).skip(1)).all(|(one, two)| one.end == two.start));
            }
        }
    }
}
