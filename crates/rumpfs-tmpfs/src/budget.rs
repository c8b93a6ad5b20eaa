//! A limit and what is used of it.

use core::sync::atomic::{AtomicU64, Ordering};
use rumpuser::{Errno, Result};

/// An amount that many may take from and give back to, never above its limit.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// `limit` is `u64::MAX` for none.
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Takes all of `amount`.
    ///
    /// # Errors
    /// `ENOSPC`, and nothing is taken.
    pub(crate) fn take(&self, amount: u64) -> Result<()> {
        let more = |used: u64| used.checked_add(amount).filter(|sum| *sum <= self.limit);
        match self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::ENOSPC),
        }
    }

    /// Takes as many whole units as there are, `count` at most; how many.
    pub(crate) fn take_some(&self, count: u64, unit: u64) -> u64 {
        let mut taken = 0;
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let room = self.limit.saturating_sub(used);
                taken = room.checked_div(unit).unwrap_or(0).min(count);
                used.checked_add(taken.saturating_mul(unit))
            });
        taken
    }

    /// Gives back what was taken.
    pub(crate) fn give(&self, amount: u64) {
        let less = |used: u64| Some(used.saturating_sub(amount));
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// The limit, if there is one.
    pub(crate) fn limit(&self) -> Option<u64> {
        (self.limit != u64::MAX).then_some(self.limit)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use rumpuser::Errno;

    #[test]
    fn the_limit_is_exact() {
        let budget = Budget::new(10);
        assert_eq!(budget.take(7), Ok(()));
        assert_eq!(budget.take(4), Err(Errno::ENOSPC));
        assert_eq!(budget.take(u64::MAX), Err(Errno::ENOSPC));
        assert_eq!(budget.take_some(9, 2), 1);
        assert_eq!(budget.take(1), Ok(()));
        assert_eq!(budget.take_some(1, 1), 0);
        budget.give(10);
        assert_eq!(budget.used(), 0);
        assert_eq!(Budget::new(u64::MAX).limit(), None);
    }
}
