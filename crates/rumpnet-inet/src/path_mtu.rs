//! What paths carry, as far as somebody has complained (RFC 1191 section 6.3, RFC 8201 section 5.3).

use alloc::collections::BTreeMap;
use core::time::Duration;
use rumpuser::Instant;

/// Paths that are remembered at most.
const MOST: usize = 1_024;
/// How long: then larger packets are tried again.
const KEPT: Duration = Duration::from_secs(600);

/// The largest packet to destinations of a family, by the interface.
#[derive(Debug)]
pub struct PathMtus<A> {
    known: BTreeMap<(u32, A), (u32, Instant)>,
    /// When the first of them may be over.
    until: Option<Instant>,
}

impl<A> Default for PathMtus<A> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            until: None,
        }
    }
}

impl<A: Copy + Ord> PathMtus<A> {
    /// What a path carries, if it is known.
    #[must_use]
    pub fn get(&self, interface: u32, to: A, now: Instant) -> Option<u32> {
        let (mtu, until) = self.known.get(&(interface, to))?;
        (*until > now).then_some(*mtu)
    }

    /// Notes that packets to a destination must be smaller.
    pub fn note(&mut self, interface: u32, to: A, mtu: u32, now: Instant) {
        let key = (interface, to);
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            let oldest = self.known.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.known.remove(&oldest);
            }
        }
        let known = self.get(interface, to, now).unwrap_or(u32::MAX);
        let until = now.after(KEPT);
        self.known.insert(key, (mtu.min(known), until));
        self.until = self.until.or(Some(until));
    }

    /// Forgets those whose time is over; whether there were some.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.known.len();
        self.known.retain(|_, (_, until)| *until > now);
        self.until = self.known.values().map(|(_, until)| *until).min();
        before != self.known.len()
    }

    /// When [`expire`](Self::expire) has something to do, or earlier.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1191 section 6.3: it is kept for ten minutes; RFC 8201 section 4: nobody makes it larger before.
    #[test]
    fn kept_and_bounded() {
        let at = |seconds: u64| Instant(seconds.saturating_mul(1_000_000_000));
        let mut paths = PathMtus::default();
        paths.note(1, 7, 1_400, at(0));
        paths.note(1, 7, 1_450, at(1));
        assert_eq!(paths.get(1, 7, at(2)), Some(1_400));
        assert_eq!(
            (paths.get(2, 7, at(2)), paths.get(1, 8, at(2))),
            (None, None)
        );
        assert_eq!(paths.deadline(), Some(at(600)));
        assert!(!paths.expire(at(600)));
        assert!(paths.expire(at(601)));
        assert_eq!((paths.get(1, 7, at(601)), paths.deadline()), (None, None));
        for to in 0..5_000 {
            paths.note(1, to, 1_400, at(700 + to));
        }
        assert_eq!(paths.known.len(), MOST);
        assert_eq!(paths.get(1, 4_999, at(5_800)), Some(1_400));
    }
}
