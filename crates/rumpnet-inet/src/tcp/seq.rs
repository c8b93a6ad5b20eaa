//! Sequence numbers (RFC 9293, section 3.4): 32 bits that wrap.

/// A sequence number. Comparisons are modulo 2^32 and hold for numbers less than 2^31 apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// The number `count` after this one.
    #[must_use]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The number `count` before this one.
    #[must_use]
    pub const fn minus(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// How far this number is after `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// How far this number is after `earlier`, 0 when it is before it.
    #[must_use]
    pub const fn since_or_zero(self, earlier: Self) -> u32 {
        if self.after(earlier) {
            self.since(earlier)
        } else {
            0
        }
    }

    /// Whether this number comes before `other`.
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        self.since(other).cast_signed() < 0
    }

    /// Whether this number comes after `other`.
    #[must_use]
    pub const fn after(self, other: Self) -> bool {
        self.since(other).cast_signed() > 0
    }

    /// Whether this number is `other` or before it.
    #[must_use]
    pub const fn up_to(self, other: Self) -> bool {
        self.since(other).cast_signed() <= 0
    }

    /// Whether this number is `other` or after it.
    #[must_use]
    pub const fn from(self, other: Self) -> bool {
        self.since(other).cast_signed() >= 0
    }

    /// The later one.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier one.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if self.after(other) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::Seq;

    /// RFC 9293, section 3.4: arithmetic modulo 2^32.
    #[test]
    fn wraps() {
        let (old, new) = (Seq(u32::MAX), Seq(u32::MAX).plus(5));
        assert_eq!((new, new.since(old), new.minus(5)), (Seq(4), 5, old));
        assert!(old.before(new) && new.after(old) && old.up_to(new) && new.from(old));
        assert!(old.up_to(old) && old.from(old) && !old.before(old) && !old.after(old));
        assert_eq!((old.max(new), old.min(new)), (new, old));
        assert_eq!((new.since_or_zero(old), old.since_or_zero(new)), (5, 0));
    }
}
