//! Times of directory entries: local time, from 1980 to 2107.

use rumpuser::{Timespec, civil::Date};

/// A date and a time as an entry has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Bits 0 to 4 day, 5 to 8 month, 9 to 15 years since 1980.
    pub date: u16,
    /// Bits 0 to 4 seconds divided by two, 5 to 10 minute, 11 to 15 hour.
    pub time: u16,
    /// Hundredths of a second, 0 to 199, to be added.
    pub hundredths: u8,
}

const FIRST_YEAR: i64 = 1980;
/// Days from 1970-01-01 to 1980-01-01.
const EPOCH: i64 = 3652;
const DAY: i64 = 86_400;
/// Days of 1980 to 2107.
const DAYS: i64 = 46_751;

impl Stamp {
    /// The time it stands for, `minutes` being the distance of local time from Greenwich to the east. What is no date counts as
    /// the start of 1980.
    #[must_use]
    pub fn decode(self, minutes: i32) -> Timespec {
        let (day, month, year) = (
            self.date & 31,
            self.date.wrapping_shr(5) & 15,
            self.date.wrapping_shr(9),
        );
        let (second, minute, hour) = (
            self.time & 31,
            self.time.wrapping_shr(5) & 63,
            self.time.wrapping_shr(11),
        );
        let valid = (1..=12).contains(&month) && day > 0 && second < 30 && minute < 60 && hour < 24;
        let hundredths = u32::from(self.hundredths.min(199));
        let local = if valid {
            let small = |value| u8::try_from(value).unwrap_or(0);
            let date = Date {
                year: i64::from(year).saturating_add(FIRST_YEAR),
                month: small(month),
                day: small(day),
            };
            let days = date.days().saturating_sub(EPOCH);
            let minutes = i64::from(hour)
                .saturating_mul(60)
                .saturating_add(minute.into());
            days.saturating_mul(DAY)
                .saturating_add(minutes.saturating_mul(60))
                .saturating_add(i64::from(second).saturating_mul(2))
                .saturating_add(i64::from(hundredths.wrapping_div(100)))
        } else {
            0
        };
        let sec = EPOCH
            .saturating_mul(DAY)
            .saturating_add(local)
            .saturating_sub(i64::from(minutes).saturating_mul(60));
        Timespec {
            sec,
            nsec: hundredths.wrapping_rem(100).saturating_mul(10_000_000),
        }
    }

    /// A time as an entry can have it; what lies outside of its years becomes the nearest that does not. `minutes` as for
    /// [`decode`](Self::decode).
    #[must_use]
    pub fn encode(time: Timespec, minutes: i32) -> Self {
        let local = time
            .sec
            .saturating_add(i64::from(minutes).saturating_mul(60))
            .saturating_sub(EPOCH.saturating_mul(DAY));
        let most = DAYS.saturating_mul(DAY).saturating_sub(1);
        let local = local.clamp(0, most);
        let (days, seconds) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let date = Date::of_days(days.saturating_add(EPOCH));
        let small = |value: i64| u16::try_from(value).unwrap_or(0);
        let (hour, minute) = (small(seconds / 3600), small(seconds / 60 % 60));
        let second = small(seconds % 60);
        let odd = if second & 1 == 1 { 100 } else { 0 };
        let hundredths = u8::try_from(time.nsec / 10_000_000).unwrap_or(99).min(99);
        Self {
            date: small(date.year.saturating_sub(FIRST_YEAR)).wrapping_shl(9)
                | u16::from(date.month).wrapping_shl(5)
                | u16::from(date.day),
            time: hour.wrapping_shl(11) | minute.wrapping_shl(5) | second.wrapping_shr(1),
            hundredths: hundredths.saturating_add(odd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (sec, nsec) in [
            (315_532_800, 0),
            (1_709_210_096, 0),
            (1_709_164_799, 990_000_000),
            (4_107_542_399, 0),
            (4_107_542_400, 0),
            (4_354_819_199, 0),
        ] {
            let time = Timespec { sec, nsec };
            for minutes in [0, 120, -300] {
                let local = sec + i64::from(minutes) * 60;
                if (315_532_800..=4_354_819_199).contains(&local) {
                    assert_eq!(Stamp::encode(time, minutes).decode(minutes), time, "{sec}");
                }
            }
        }
        let stamp = Stamp::encode(Timespec::from_secs(1_709_210_096), 0);
        assert_eq!(
            (stamp.date, stamp.time),
            (44 << 9 | 2 << 5 | 29, 12 << 11 | 34 << 5 | 28)
        );
    }

    #[test]
    fn what_cannot_be() {
        let first = Timespec::from_secs(315_532_800);
        assert_eq!(Stamp::default().decode(0), first);
        assert_eq!(Stamp::encode(Timespec::from_secs(-5), 0).decode(0), first);
        let last = Stamp::encode(Timespec::from_secs(i64::MAX), 0);
        assert_eq!(last.decode(0).sec, 4_354_819_199);
    }
}
