//! Dates of the Gregorian calendar, as formats that keep local time have them.

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year; 0 is the one before 1.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1 on.
    pub day: u8,
}

/// Days of 400 years: then all comes again.
const ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01. A year begins in March here, so that the leap day is its last.
const EPOCH: i64 = 719_468;

impl Date {
    /// The day that is so many days after 1970-01-01.
    ///
    /// Within an era the divisions are multiplications, half of whose product is the quotient and half the remainder: listings ask this of each
    /// file (C. Neri and L. Schneider, "Euclidean affine functions and their application to calendar algorithms", 2022).
    #[must_use]
    pub const fn of_days(days: i64) -> Self {
        let shifted = days.saturating_add(EPOCH);
        let (era, day) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA) as u32);
        // Every fourth year is longer, but for the last of a century, but for the last of an era: of quarters of days, each century and each
        // year in it have the same number.
        let quarters = 4 * day + 3;
        let (century, quarters) = (quarters / ERA as u32, (quarters % ERA as u32) | 3);
        // 2^32 / 1461, up: exact for all quarters of a century.
        let product = 2_939_745 * quarters as u64;
        let (year, day) = ((product >> 32) as u32, product as u32 / 2_939_745 / 4);
        // Months from March on have 31, 30, 31, 30, 31 days, and again: 2^16 / 2141 days on average.
        let product = 2141 * day + 197_913;
        let (month, day) = (product >> 16, (product & 0xFFFF) / 2141);
        let next = month > 12;
        Self {
            year: era * 400 + (100 * century + year + next as u32) as i64,
            month: if next { month - 12 } else { month } as u8,
            day: day as u8 + 1,
        }
    }

    /// Days from 1970-01-01 to it. A day behind the end of its month counts on into the next.
    #[must_use]
    pub const fn days(self) -> i64 {
        let early = self.month <= 2;
        let year = self.year.saturating_sub(early as i64);
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400) as u32);
        let month = self.month as u32 + if early { 12 } else { 0 };
        // Days before the month, in a year from March on, by the average of 979 / 32.
        let before = year * 365 + year / 4 - year / 100 + (979 * month - 2919) / 32;
        let day = before as i64 + self.day as i64 - 1;
        era.saturating_mul(ERA).saturating_add(day - EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_all_kinds_of_years() {
        for (days, year, month, day) in [
            (0, 1970, 1, 1),
            (-1, 1969, 12, 31),
            (3652, 1980, 1, 1),
            (11_016, 2000, 2, 29),
            (11_017, 2000, 3, 1),
            (47_540, 2100, 2, 28),
            (47_541, 2100, 3, 1),
            (-25_567, 1900, 1, 1),
            (-719_528, 0, 1, 1),
        ] {
            let date = Date { year, month, day };
            assert_eq!((date.days(), Date::of_days(days)), (days, date));
        }
        let next_month = Date {
            year: 2023,
            month: 2,
            day: 29,
        };
        assert_eq!(Date::of_days(next_month.days()).month, 3);
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = Date::of_days(-800_000);
        for days in -799_999..800_000 {
            let date = Date::of_days(days);
            assert!(before < date && date.days() == days, "{date:?}");
            before = date;
        }
    }
}
