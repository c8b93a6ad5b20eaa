//! Times of the medium.

use crate::layout::{RawLongTime, RawShortTime};
use rumpuser::{Timespec, civil::Date};

/// Civil time as both forms record it.
struct Civil {
    date: Date,
    hour: u8,
    minute: u8,
    second: u8,
    zone: i8,
}

/// The time of a directory record; `None` if it is not one (all zeros: not recorded).
#[must_use]
pub fn short(raw: &RawShortTime) -> Option<Timespec> {
    let civil = Civil {
        date: Date {
            year: i64::from(raw.year).saturating_add(1900),
            month: raw.month,
            day: raw.day,
        },
        hour: raw.hour,
        minute: raw.minute,
        second: raw.second,
        zone: raw.zone,
    };
    Some(Timespec::from_secs(civil.seconds()?))
}

/// A time in digits; `None` if it is not one (all digits zero: not recorded).
#[must_use]
pub fn long(raw: &RawLongTime) -> Option<Timespec> {
    let mut digits = raw.digits.iter();
    let mut take = |count: usize| {
        digits.by_ref().take(count).try_fold(0_u16, |sum, digit| {
            let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
            sum.checked_mul(10)?.checked_add(u16::from(digit))
        })
    };
    let year = i64::from(take(4)?);
    let mut two = || u8::try_from(take(2)?).ok();
    let civil = Civil {
        date: Date {
            year,
            month: two()?,
            day: two()?,
        },
        hour: two()?,
        minute: two()?,
        second: two()?,
        zone: raw.zone,
    };
    let hundredths = u32::from(two()?);
    Some(Timespec {
        sec: civil.seconds()?,
        nsec: hundredths.checked_mul(10_000_000)?,
    })
}

impl Civil {
    /// Seconds since 1970 at Greenwich.
    fn seconds(&self) -> Option<i64> {
        let valid = (1..=12).contains(&self.date.month)
            && (1..=31).contains(&self.date.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        if !valid {
            return None;
        }
        let minutes = self
            .date
            .days()
            .checked_mul(24)?
            .checked_add(i64::from(self.hour))?
            .checked_mul(60)?
            .checked_add(i64::from(self.minute))?;
        // 9.1.5: from -48 to +52; what lies outside means nothing.
        let zone = if (-48..=52).contains(&self.zone) {
            i64::from(self.zone).checked_mul(15)?
        } else {
            0
        };
        minutes
            .checked_sub(zone)?
            .checked_mul(60)?
            .checked_add(i64::from(self.second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(bytes: [u8; 6], zone: i8) -> Option<i64> {
        let [year, month, day, hour, minute, second] = bytes;
        let raw = RawShortTime {
            year,
            month,
            day,
            hour,
            minute,
            second,
            zone,
        };
        short(&raw).map(|time| time.sec)
    }

    #[test]
    fn short_times() {
        assert_eq!(seconds([70, 1, 1, 0, 0, 0], 0), Some(0));
        assert_eq!(seconds([124, 2, 29, 12, 34, 56], 0), Some(1_709_210_096));
        assert_eq!(seconds([124, 2, 29, 13, 34, 56], 4), Some(1_709_210_096));
        assert_eq!(seconds([138, 1, 19, 3, 14, 8], 0), Some(2_147_483_648));
        assert_eq!(seconds([0, 1, 1, 0, 0, 0], 0), Some(-2_208_988_800));
        assert_eq!(seconds([124, 2, 29, 12, 34, 56], 100), Some(1_709_210_096));
        assert_eq!(seconds([0; 6], 0), None);
        assert_eq!(seconds([124, 13, 1, 0, 0, 0], 0), None);
        assert_eq!(seconds([124, 1, 1, 24, 0, 0], 0), None);
    }

    #[test]
    fn long_times() {
        let raw = |digits: &[u8; 16]| RawLongTime {
            digits: *digits,
            zone: -4,
        };
        assert_eq!(
            long(&raw(b"2024022911345678")),
            Some(Timespec {
                sec: 1_709_210_096,
                nsec: 780_000_000
            })
        );
        assert_eq!(long(&raw(b"0000000000000000")), None);
        assert_eq!(long(&raw(b"20240229 1345678")), None);
    }
}
