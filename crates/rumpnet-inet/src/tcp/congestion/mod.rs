//! Congestion control: how large the window of data in flight is (RFC 5681). An algorithm sees acknowledgments and losses;
//! which data is lost is for others to say.

mod bandwidth;
mod bbr;
mod cubic;
mod newreno;
mod pacer;
mod rate;

use alloc::boxed::Box;
use cubic::Cubic;
use newreno::NewReno;

pub(super) use bbr::{Ack, Bbr};

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
    /// NewReno (RFC 5681, RFC 6582).
    NewReno,
    /// BBR (draft-cardwell-iccrg-bbr-congestion-control-00), which paces what it sends and does not take each loss for congestion. Its data
    /// is not ECN-capable, as it would not heed marks.
    Bbr,
}

impl Congestion {
    /// All, with their names.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Cubic, "cubic"),
        (Self::NewReno, "newreno"),
        (Self::Bbr, "bbr"),
    ];

    /// Its name, as `TCP_CONGESTION` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find(|(one, _)| *one == self)
            .map_or("", |(_, name)| name)
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|(_, known)| *known == name).map(|(one, _)| one)
    }
}

/// The window, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// cwnd.
    pub(super) size: u32,
    /// ssthresh.
    pub(super) threshold: u32,
    /// Payload of a full segment.
    pub(super) mss: u32,
}

impl Window {
    pub(super) const fn in_slow_start(&self) -> bool {
        self.size < self.threshold
    }

    /// Slow start (RFC 5681, section 3.1; counted in bytes as RFC 3465 does, without its limit, since a large segment stands for
    /// many). Returns what of `acked` is left over at the threshold.
    fn slow_start(&mut self, acked: u32) -> u32 {
        let step = acked.min(self.threshold.saturating_sub(self.size));
        self.size = self.size.saturating_add(step);
        acked.saturating_sub(step)
    }
}

/// What an algorithm does.
trait Algorithm {
    /// `acked` bytes were acknowledged, and the window was used up.
    fn acked(&mut self, window: &mut Window, acked: u32, now: u64, srtt: u64);
    /// Loss, or a mark of congestion: the new threshold. `in_flight` is what was under way.
    fn threshold(&mut self, window: &Window, in_flight: u32) -> u32;
    /// The retransmission timer expired.
    fn timed_out(&mut self);
    /// Nothing was lost after all: forget the last call of `threshold`.
    fn undo(&mut self);
    /// Nothing was sent from `since` to `now`, or the window was not used up.
    fn idle(&mut self, since: u64, now: u64);
}

/// An algorithm with its state.
#[derive(Clone, Debug)]
pub(super) enum Control {
    Cubic(Cubic),
    NewReno(NewReno),
    Bbr(Box<Bbr>),
}

impl Control {
    /// `seed`: a number that differs between connections.
    pub(super) fn new(congestion: Congestion, seed: u32) -> Self {
        match congestion {
            Congestion::Cubic => Self::Cubic(Cubic::default()),
            Congestion::NewReno => Self::NewReno(NewReno::default()),
            Congestion::Bbr => Self::Bbr(Box::new(Bbr::new(seed))),
        }
    }

    pub(super) const fn congestion(&self) -> Congestion {
        match self {
            Self::Cubic(_) => Congestion::Cubic,
            Self::NewReno(_) => Congestion::NewReno,
            Self::Bbr(_) => Congestion::Bbr,
        }
    }

    /// The algorithm that keeps a model and paces, if it is that one.
    #[inline]
    pub(super) fn bbr(&mut self) -> Option<&mut Bbr> {
        match self {
            Self::Bbr(bbr) => Some(bbr),
            Self::Cubic(_) | Self::NewReno(_) => None,
        }
    }

    #[inline]
    pub(super) const fn is_bbr(&self) -> bool {
        matches!(self, Self::Bbr(_))
    }

    /// Whether what there is to send waits for its time.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        match self {
            Self::Bbr(bbr) => bbr.paced().is_held(),
            Self::Cubic(_) | Self::NewReno(_) => false,
        }
    }

    /// That time; `u64::MAX` if nothing waits for one.
    #[inline]
    pub(super) fn deadline(&self) -> u64 {
        match self {
            Self::Bbr(bbr) => bbr.paced().deadline(),
            Self::Cubic(_) | Self::NewReno(_) => u64::MAX,
        }
    }

    /// Most that is sent at once.
    #[inline]
    pub(super) const fn quantum(&self) -> u32 {
        match self {
            Self::Bbr(bbr) => bbr.quantum(),
            Self::Cubic(_) | Self::NewReno(_) => u32::MAX,
        }
    }

    pub(super) fn acked(&mut self, window: &mut Window, acked: u32, now: u64, srtt: u64) {
        if self.is_bbr() {
            return;
        }
        let acked = if window.in_slow_start() {
            window.slow_start(acked)
        } else {
            acked
        };
        if acked > 0 {
            match self {
                Self::Cubic(cubic) => cubic.acked(window, acked, now, srtt),
                Self::NewReno(newreno) => newreno.acked(window, acked, now, srtt),
                Self::Bbr(_) => {}
            }
        }
    }

    pub(super) fn threshold(&mut self, window: &Window, in_flight: u32) -> u32 {
        match self.get() {
            Some(algorithm) => algorithm.threshold(window, in_flight),
            None => window.threshold,
        }
    }

    pub(super) fn timed_out(&mut self, window: &Window) {
        match self {
            Self::Bbr(bbr) => bbr.timed_out(window),
            Self::Cubic(cubic) => cubic.timed_out(),
            Self::NewReno(newreno) => newreno.timed_out(),
        }
    }

    pub(super) fn undo(&mut self, window: &mut Window) {
        match self {
            Self::Bbr(bbr) => bbr.exit_recovery(window),
            Self::Cubic(cubic) => cubic.undo(),
            Self::NewReno(newreno) => newreno.undo(),
        }
    }

    pub(super) fn idle(&mut self, since: u64, now: u64) {
        if let Some(algorithm) = self.get() {
            algorithm.idle(since, now);
        }
    }

    /// What knows a threshold.
    fn get(&mut self) -> Option<&mut dyn Algorithm> {
        match self {
            Self::Cubic(cubic) => Some(cubic),
            Self::NewReno(newreno) => Some(newreno),
            Self::Bbr(_) => None,
        }
    }
}

/// RFC 6928, section 2: the initial window is min(10 MSS, max(2 MSS, 14600)); here with `segments` in the place of 10.
pub(super) const fn initial_window(mss: u32, segments: u16) -> u32 {
    let segments = segments as u32;
    let (most, bytes) = (
        mss.saturating_mul(segments),
        1460_u32.saturating_mul(segments),
    );
    let least = mss.saturating_mul(2);
    let bytes = if least > bytes { least } else { bytes };
    if most < bytes { most } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::{Congestion, Control, Window, initial_window};

    /// RFC 6928, section 2.
    #[test]
    fn ten_segments_at_first() {
        assert_eq!(initial_window(1000, 10), 10_000);
        assert_eq!(initial_window(1460, 10), 14_600);
        assert_eq!(initial_window(4000, 10), 14_600);
        assert_eq!(initial_window(9000, 10), 18_000);
    }

    /// RFC 5681, section 3.1: in slow start the window doubles with each round trip, whatever the algorithm.
    #[test]
    fn slow_start() {
        for congestion in [Congestion::Cubic, Congestion::NewReno] {
            let mut control = Control::new(congestion, 0);
            let mut window = Window {
                size: 10_000,
                threshold: 35_000,
                mss: 1000,
            };
            control.acked(&mut window, 10_000, 0, 1);
            assert_eq!(window.size, 20_000);
            (0..10).for_each(|_| control.acked(&mut window, 1000, 0, 1));
            assert_eq!(window.size, 30_000);
            // Beyond the threshold it grows slowly.
            control.acked(&mut window, 10_000, 0, 1);
            assert!((35_000..36_000).contains(&window.size), "{window:?}");
        }
    }
}
