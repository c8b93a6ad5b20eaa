//! CUBIC (RFC 9438): after a loss the window grows as a cubic function of time, slow near the size at which the loss was. In
//! integers: bytes, and milliseconds for the function.

use super::{Algorithm, Window};

/// beta_cubic, 0.7 (RFC 9438, section 4.6).
const BETA: u64 = 7;
/// alpha_cubic = 3 * (1 - 0.7) / (1 + 0.7) = 9 / 17 (RFC 9438, section 4.3).
const ALPHA: (u64, u64) = (9, 17);
/// Farther from K than this (ms) the function is not computed: 100 seconds.
const DISTANCE_MAX: u64 = 100_000;
const NANOS_PER_MS: u64 = 1_000_000;

/// Its state, as RFC 9438 (section 4.1.2) names it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cubic {
    /// W_max.
    w_max: u32,
    /// W_max before the last reduction, for `undo`.
    w_max_before: u32,
    /// W_est: the window that Reno would have.
    w_est: u32,
    /// cwnd at the last reduction (cwnd_prior).
    prior: u32,
    /// Acknowledged bytes not yet turned into growth.
    acked: u32,
    acked_est: u32,
    /// K in milliseconds.
    k: u32,
    /// Begin of this epoch, nanoseconds; 0 for none.
    epoch: u64,
}

impl Cubic {
    fn begin_epoch(&mut self, window: &Window, now: u64) {
        self.epoch = now.max(1);
        self.acked = 0;
        self.acked_est = 0;
        self.w_est = window.size;
        if self.w_max > window.size {
            // K = cbrt((W_max - cwnd_epoch) / C), C = 0.4, windows in segments; 1 / 0.4 s^3 = 2.5e9 ms^3.
            let distance = u64::from(self.w_max.saturating_sub(window.size));
            let segments = divide(distance.saturating_mul(2_500_000_000), window.mss.into());
            self.k = cube_root(segments);
        } else {
            self.k = 0;
            self.w_max = window.size;
        }
    }

    /// W_cubic(t) (RFC 9438, section 4.2, equation 1), t milliseconds after the begin of the epoch.
    fn w_cubic(&self, t: u64, mss: u32) -> u32 {
        let k = u64::from(self.k);
        let distance = t.abs_diff(k).min(DISTANCE_MAX);
        // C * d^3 segments = 0.4 * d^3 / 1e9 * mss bytes, in an order that neither overflows nor loses much.
        let cube = distance.saturating_mul(distance).saturating_mul(distance);
        let bytes = (cube / 1000).saturating_mul(u64::from(mss)) / 1_000_000;
        let bytes = u32::try_from(bytes.saturating_mul(4) / 10).unwrap_or(u32::MAX);
        if t < k {
            self.w_max.saturating_sub(bytes)
        } else {
            self.w_max.saturating_add(bytes)
        }
    }

    /// The Reno-friendly window (RFC 9438, section 4.3, equation 4).
    fn grow_estimate(&mut self, window: &Window, acked: u32) {
        self.acked_est = self.acked_est.saturating_add(acked);
        let mss = u64::from(window.mss);
        // Once W_est reaches cwnd_prior alpha is 1.
        let (over, under) = if self.w_est >= self.prior {
            (1, 1)
        } else {
            ALPHA
        };
        let growth = u64::from(self.acked_est)
            .saturating_mul(mss)
            .saturating_mul(over);
        let step = divide(growth, u64::from(window.size).saturating_mul(under));
        if step >= mss.min(1000) {
            self.w_est = self
                .w_est
                .saturating_add(u32::try_from(step).unwrap_or(u32::MAX));
            self.acked_est = 0;
        }
    }
}

impl Algorithm for Cubic {
    fn acked(&mut self, window: &mut Window, acked: u32, now: u64, srtt: u64) {
        if self.epoch == 0 {
            self.begin_epoch(window, now);
        }
        self.grow_estimate(window, acked);
        let since = now.saturating_sub(self.epoch);
        // RFC 9438, section 4.4: the target is what the function says one round trip from now, between cwnd and 1.5 cwnd.
        let t = since.saturating_add(srtt) / NANOS_PER_MS;
        let most = window.size.saturating_add(window.size / 2);
        let target = self.w_cubic(t, window.mss).clamp(window.size, most);
        if self.w_cubic(since / NANOS_PER_MS, window.mss) < self.w_est {
            window.size = window.size.max(self.w_est);
            return;
        }
        // (target - cwnd) / cwnd for each segment that is acknowledged.
        self.acked = self.acked.saturating_add(acked);
        let missing = u64::from(target.saturating_sub(window.size));
        let step = divide(
            missing.saturating_mul(self.acked.into()),
            window.size.into(),
        );
        if step > 0 {
            let step = u32::try_from(step).unwrap_or(u32::MAX);
            window.size = window
                .size
                .saturating_add(step)
                .min(target.max(window.size));
            self.acked = 0;
        } else {
            self.acked = self.acked.min(window.size);
        }
    }

    /// Multiplicative decrease and fast convergence (RFC 9438, sections 4.6 and 4.7).
    fn threshold(&mut self, window: &Window, in_flight: u32) -> u32 {
        self.w_max_before = self.w_max;
        self.prior = window.size;
        self.w_max = if window.size < self.w_max {
            // cwnd * (1 + beta) / 2
            share(window.size, BETA.saturating_add(10), 20)
        } else {
            window.size
        };
        self.epoch = 0;
        // Section 4.6: from what was in flight, when the window was not used up.
        let used = window.size.min(in_flight.saturating_add(window.mss));
        share(used, BETA, 10).max(window.mss.saturating_mul(2))
    }

    /// RFC 9438, section 4.8: after a timeout the function begins at the window of the first acknowledgment after slow start.
    fn timed_out(&mut self) {
        self.epoch = 0;
    }

    fn undo(&mut self) {
        self.w_max = self.w_max_before.max(self.prior);
        self.epoch = 0;
    }

    /// RFC 9438, section 4.2: time in which the application sent too little does not count.
    fn idle(&mut self, since: u64, now: u64) {
        if self.epoch != 0 {
            self.epoch = self
                .epoch
                .saturating_add(now.saturating_sub(since))
                .min(now);
        }
    }
}

/// Windows and segments are not 0; if they were, nothing would grow.
fn divide(over: u64, under: u64) -> u64 {
    over.checked_div(under).unwrap_or(0)
}

fn share(value: u32, over: u64, under: u64) -> u32 {
    let share = u64::from(value).saturating_mul(over).checked_div(under);
    u32::try_from(share.unwrap_or(0)).unwrap_or(u32::MAX)
}

/// The cube root, rounded down, bit by bit.
fn cube_root(value: u64) -> u32 {
    let mut root = 0_u64;
    for bit in (0..22).rev() {
        let candidate = root | (1 << bit);
        let cube = candidate
            .checked_mul(candidate)
            .and_then(|square| square.checked_mul(candidate));
        if cube.is_some_and(|cube| cube <= value) {
            root = candidate;
        }
    }
    u32::try_from(root).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::{Algorithm, Cubic, NANOS_PER_MS, Window, cube_root};

    const MSS: u32 = 1000;

    fn window(segments: u32) -> Window {
        Window {
            size: segments * MSS,
            threshold: 0,
            mss: MSS,
        }
    }

    #[test]
    fn cube_roots() {
        for (value, root) in [
            (0, 0),
            (1, 1),
            (7, 1),
            (8, 2),
            (26, 2),
            (27, 3),
            (u64::MAX, 2_642_245),
        ] {
            assert_eq!(cube_root(value), root, "{value}");
        }
    }

    /// RFC 9438, section 4.6: the window becomes 0.7 of what it was; section 4.7: the next maximum is lower when the window did not
    /// reach the last one.
    #[test]
    fn decrease_and_fast_convergence() {
        let mut cubic = Cubic::default();
        assert_eq!(cubic.threshold(&window(100), 100 * MSS), 70 * MSS);
        assert_eq!(cubic.w_max, 100 * MSS);
        assert_eq!(cubic.threshold(&window(80), 80 * MSS), 56 * MSS);
        assert_eq!(cubic.w_max, 68 * MSS);
        assert_eq!(cubic.threshold(&window(1), MSS), 2 * MSS);
    }

    /// RFC 9438, section 4.2, equations 1 and 2: K is the time until the window is W_max again.
    #[test]
    fn the_function() {
        let mut cubic = Cubic {
            w_max: 1000 * MSS,
            ..Cubic::default()
        };
        cubic.begin_epoch(&window(700), 1);
        // cbrt(300 / 0.4) = 9.0856 s
        assert_eq!(cubic.k, 9085);
        assert!(cubic.w_cubic(0, MSS).abs_diff(700 * MSS) < MSS);
        assert_eq!(cubic.w_cubic(9085, MSS), 1000 * MSS);
        // 0.4 * 10^3 segments 10 s later
        assert_eq!(cubic.w_cubic(19_085, MSS), 1400 * MSS);
        assert_eq!(cubic.w_cubic(u64::MAX, 65_535), u32::MAX);
    }

    /// RFC 9438, sections 4.4 and 4.5: concave up to W_max, there slow, then convex.
    #[test]
    fn concave_then_convex() {
        let mut cubic = Cubic::default();
        let mut window = window(1000);
        window.size = cubic.threshold(&window, window.size);
        let rtt = 100 * NANOS_PER_MS;
        let mut sizes = alloc::vec![window.size];
        for round in 1..=200_u64 {
            for _ in 0..window.size / MSS {
                cubic.acked(&mut window, MSS, round * rtt, rtt);
            }
            sizes.push(window.size);
        }
        let growth = |round: usize| sizes[round + 1] - sizes[round];
        assert!(growth(5) > 4 * growth(80), "{} {}", growth(5), growth(80));
        assert!(
            growth(150) > 4 * growth(90),
            "{} {}",
            growth(150),
            growth(90)
        );
        assert!(sizes[91].abs_diff(1000 * MSS) < 20 * MSS, "{}", sizes[91]);
    }

    /// RFC 9438, section 4.3: where Reno would grow faster, so does CUBIC: about alpha = 9/17 segments per round trip until it is at the
    /// old size, then one.
    #[test]
    fn friendly_to_reno() {
        let mut cubic = Cubic::default();
        let mut window = window(20);
        window.size = cubic.threshold(&window, window.size);
        let rtt = NANOS_PER_MS;
        let grow = |cubic: &mut Cubic, window: &mut Window, rounds: core::ops::Range<u64>| {
            let before = window.size;
            for round in rounds {
                for _ in 0..window.size / MSS {
                    cubic.acked(window, MSS, round * rtt, rtt);
                }
            }
            window.size - before
        };
        let first = grow(&mut cubic, &mut window, 1..11);
        assert!((4 * MSS..=6 * MSS).contains(&first), "{first}");
        window.size = 30 * MSS;
        cubic.w_est = 30 * MSS;
        let then = grow(&mut cubic, &mut window, 11..21);
        assert!((8 * MSS..=11 * MSS).contains(&then), "{then}");
    }

    /// RFC 9438, section 4.9: a reduction for nothing is taken back.
    #[test]
    fn undone() {
        let mut cubic = Cubic::default();
        cubic.threshold(&window(100), 100 * MSS);
        cubic.threshold(&window(80), 80 * MSS);
        cubic.undo();
        assert_eq!(cubic.w_max, 100 * MSS);
    }

    /// RFC 9438, section 4.2: time without sending does not count.
    #[test]
    fn idle_time() {
        let mut cubic = Cubic::default();
        cubic.begin_epoch(&window(10), 1000);
        cubic.idle(5000, 9000);
        assert_eq!(cubic.epoch, 5000);
    }
}
