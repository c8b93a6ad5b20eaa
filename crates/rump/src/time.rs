//! Calendar time: showing it in the user's zone, and reading what `touch -d` takes.

use crate::units::push_right;
use rumpuser::{Timespec, civil::Date};
use std::{fmt, sync::OnceLock};

/// A point in time, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    /// Year of the Gregorian calendar, astronomical numbering.
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    /// 0 to 23.
    pub(crate) hour: u32,
    /// 0 to 59.
    pub(crate) minute: u32,
    /// 0 to 59.
    pub(crate) second: u32,
    /// Nanoseconds.
    pub(crate) nanosecond: u32,
    /// Seconds east of Greenwich.
    pub(crate) offset: i32,
}

const DAY: i64 = 86_400;

impl Civil {
    /// In Greenwich.
    pub(crate) fn utc(time: Timespec) -> Self {
        Self::with_offset(time, 0)
    }

    /// In the zone of the user (`TZ`).
    pub(crate) fn local(time: Timespec) -> Self {
        static UTC: OnceLock<bool> = OnceLock::new();
        if *UTC.get_or_init(zone_is_utc) {
            return Self::utc(time);
        }
        match local_time(time.sec) {
            Some(tm) => Self {
                year: i64::from(tm.tm_year) + 1900,
                month: tm.tm_mon.unsigned_abs() + 1,
                day: tm.tm_mday.unsigned_abs(),
                hour: tm.tm_hour.unsigned_abs(),
                minute: tm.tm_min.unsigned_abs(),
                second: tm.tm_sec.unsigned_abs(),
                nanosecond: time.nsec,
                offset: i32::try_from(tm.tm_gmtoff).unwrap_or(0),
            },
            // A year that is no int.
            None => Self::utc(time),
        }
    }

    fn with_offset(time: Timespec, offset: i32) -> Self {
        let seconds = time.sec.saturating_add(offset.into());
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY) as u32);
        let date = Date::of_days(days);
        Self {
            year: date.year,
            month: date.month.into(),
            day: date.day.into(),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            nanosecond: time.nsec,
            offset,
        }
    }

    /// The point in time.
    pub(crate) fn timespec(self) -> Timespec {
        let date = Date {
            year: self.year,
            month: self.month as u8,
            day: self.day as u8,
        };
        let seconds = self.hour * 3600 + self.minute * 60 + self.second;
        Timespec {
            sec: date.days() * DAY + i64::from(seconds) - i64::from(self.offset),
            nsec: self.nanosecond,
        }
    }

    /// `+0100`.
    pub(crate) fn zone(self) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs() / 60;
        format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
    }

    /// `2026-01-31`.
    pub(crate) fn date(self) -> impl fmt::Display {
        struct Date(Civil);
        impl fmt::Display for Date {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Civil {
                    year, month, day, ..
                } = self.0;
                write!(f, "{year:04}-{month:02}-{day:02}")
            }
        }
        Date(self)
    }

    /// `2026-01-31 23:59:59.000000000 +0100`, as `ls --full-time` and `stat`.
    pub(crate) fn full(self) -> String {
        format!(
            "{} {:02}:{:02}:{:02}.{:09} {}",
            self.date(),
            self.hour,
            self.minute,
            self.second,
            self.nanosecond,
            self.zone()
        )
    }
}

/// `2026-01-31T22:59:59.000000000Z`: the form of all times in JSON.
pub(crate) fn rfc3339(time: Timespec) -> String {
    let t = Civil::utc(time);
    format!(
        "{}T{:02}:{:02}:{:02}.{:09}Z",
        t.date(),
        t.hour,
        t.minute,
        t.second,
        t.nanosecond
    )
}

/// The form of `ls -l`: with the time of day when it is at most half a year old and not in the future, else with the year.
pub(crate) fn ls_default(time: Timespec, now: Timespec) -> String {
    let mut text = Vec::with_capacity(12);
    push_ls_default(&mut text, time, now);
    text.into_iter().map(char::from).collect()
}

/// Appends what [`ls_default`] gives, which is ASCII.
pub(crate) fn push_ls_default(line: &mut Vec<u8>, time: Timespec, now: Timespec) {
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    const HALF_A_YEAR: i64 = 31_556_952 / 2;
    let t = Civil::local(time);
    let two = |n: u32| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    let [m, o, n] = *MONTHS[(t.month as usize - 1).min(11)];
    let [ten, one] = two(t.day);
    let ten = if ten == b'0' { b' ' } else { ten };
    // Twelve bytes in one piece.
    let [a, b, c, d, e] = if recent(time, now, HALF_A_YEAR) {
        let ([a, b], [d, e]) = (two(t.hour), two(t.minute));
        [a, b, b':', d, e]
    } else if let Some(year) = u32::try_from(t.year)
        .ok()
        .filter(|year| (1000..10_000).contains(year))
    {
        let ([b, c], [d, e]) = (two(year / 100), two(year));
        [b' ', b, c, d, e]
    } else {
        line.extend_from_slice(&[m, o, n, b' ', ten, one, b' ']);
        return push_right(line, t.year.to_string().as_bytes(), 5);
    };
    line.extend_from_slice(&[m, o, n, b' ', ten, one, b' ', a, b, c, d, e]);
}

fn recent(time: Timespec, now: Timespec, span: i64) -> bool {
    time <= now && time.sec > now.sec.saturating_sub(span)
}

/// The present, by the host's clock.
pub(crate) fn now() -> Timespec {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Timespec {
        sec: now.tv_sec,
        nsec: u32::try_from(now.tv_nsec).unwrap_or(0),
    }
}

/// Seconds east of Greenwich in the user's zone at that time.
fn zone_offset(sec: i64) -> i32 {
    local_time(sec).map_or(0, |tm| i32::try_from(tm.tm_gmtoff).unwrap_or(0))
}

/// Whether the user's zone is UTC and has always been: a listing then need not ask the C library for each time, which takes as long as all
/// else that is printed of a file.
fn zone_is_utc() -> bool {
    // Before there were zones, in each century since, in winter and summer.
    let times = (-50..100_i64).map(|n| n * 15_778_476 * 5);
    let is_utc = |sec| {
        let known = local_time(sec).filter(|tm| !tm.tm_zone.is_null());
        known.is_some_and(|tm| {
            // SAFETY: localtime_r has set it to a string of the zone, which stays while no other zone is set.
            let name = unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) };
            tm.tm_gmtoff == 0 && name == c"UTC"
        })
    };
    times.into_iter().all(is_utc)
}

/// The time in the user's zone, if the C library can tell it.
fn local_time(sec: i64) -> Option<libc::tm> {
    // SAFETY: `tm` is a live tm, zero being a valid state of it; localtime_r reads `sec` and writes `tm`. It may read the
    // environment, which this program never changes.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        let told = libc::localtime_r(&raw const sec, &raw mut tm);
        (!told.is_null()).then_some(tm)
    }
}

/// Reads a time: `@SECONDS[.FRACTION]`, `now`, or `YYYY-MM-DD[(T| )hh:mm[:ss[.FRACTION]]][ ][Z|UTC|(+|-)hh[[:]mm]]`; without a zone, in
/// the user's.
pub(crate) fn parse(text: &str) -> Option<Timespec> {
    let text = text.trim();
    if text == "now" {
        return Some(now());
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return parse_seconds(seconds);
    }
    let (date, rest) = text.split_at_checked(text.find(['T', 't', ' ']).unwrap_or(text.len()))?;
    let mut fields = date.splitn(3, '-');
    let year = fields.next()?;
    let (month, day) = (two(fields.next()?)?, two(fields.next()?)?);
    if year.len() < 4 || !year.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let year = year.parse().ok().filter(|&y: &i64| y < 1_000_000)?;
    let rest = rest.trim_start_matches(['T', 't', ' ']);
    let (clock, zone) = rest.split_at_checked(
        rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.')))
            .unwrap_or(rest.len()),
    )?;
    let (hour, minute, second, nanosecond) = if clock.is_empty() {
        (0, 0, 0, 0)
    } else {
        parse_clock(clock)?
    };
    let days = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > days {
        return None;
    }
    let civil = Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
        nanosecond,
        offset: 0,
    };
    Some(match parse_zone(zone.trim())? {
        Some(offset) => Civil { offset, ..civil }.timespec(),
        None => local(civil),
    })
}

/// The point at which clocks in the user's zone show `civil`.
fn local(civil: Civil) -> Timespec {
    let guess = civil.timespec().sec;
    let offset = zone_offset(guess - i64::from(zone_offset(guess)));
    Civil { offset, ..civil }.timespec()
}

/// `SECONDS[.FRACTION]`, perhaps negative.
pub(crate) fn parse_seconds(text: &str) -> Option<Timespec> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let sec: i64 = whole.parse().ok()?;
    let nsec = if fraction.is_empty() {
        0
    } else {
        parse_fraction(fraction)?
    };
    if whole.starts_with('-') && nsec > 0 {
        // -1.5 is 1.5 s before: half a second after -2.
        let sec = sec.checked_sub(1)?;
        let nsec = 1_000_000_000 - nsec;
        return Some(Timespec { sec, nsec });
    }
    Some(Timespec { sec, nsec })
}

fn parse_fraction(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    nine.parse().ok()
}

fn parse_clock(clock: &str) -> Option<(u32, u32, u32, u32)> {
    let mut fields = clock.splitn(3, ':');
    let hour = two(fields.next()?)?;
    let minute = two(fields.next()?)?;
    let (second, nanosecond) = match fields.next() {
        None => (0, 0),
        Some(rest) => match rest.split_once('.') {
            None => (two(rest)?, 0),
            Some((second, fraction)) => (two(second)?, parse_fraction(fraction)?),
        },
    };
    (hour < 24 && minute < 60 && second < 61).then_some((hour, minute, second, nanosecond))
}

/// `Some(None)`: none was given.
fn parse_zone(zone: &str) -> Option<Option<i32>> {
    if zone.is_empty() {
        return Some(None);
    }
    if matches!(zone, "Z" | "z" | "UTC" | "GMT") {
        return Some(Some(0));
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replacen(':', "", 1);
    let (hours, minutes) = match digits.len() {
        2 => (two(&digits)?, 0),
        4 => (two(digits.get(..2)?)?, two(digits.get(2..)?)?),
        _ => return None,
    };
    if hours > 24 || minutes > 59 {
        return None;
    }
    Some(Some(sign * (hours * 3600 + minutes * 60) as i32))
}

fn two(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 2 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sec: i64, nsec: u32) -> Timespec {
        Timespec { sec, nsec }
    }

    #[test]
    fn there_and_back() {
        for sec in [
            0,
            -1,
            951_782_400,
            1_709_164_799,
            -100_000_000,
            4_200_000_000,
            -62_135_596_801,
            253_402_300_800,
        ] {
            let time = at(sec, 5);
            assert_eq!(Civil::utc(time).timespec(), time);
        }
        assert_eq!(
            rfc3339(at(1_709_164_799, 7)),
            "2024-02-28T23:59:59.000000007Z"
        );
        assert_eq!(
            Civil::utc(at(-1, 0)).full(),
            "1969-12-31 23:59:59.000000000 +0000"
        );
    }

    #[test]
    fn what_touch_takes() {
        for (text, time) in [
            ("@0", at(0, 0)),
            ("@-1.5", at(-2, 500_000_000)),
            ("@12.25", at(12, 250_000_000)),
            ("1970-01-02T00:00Z", at(86_400, 0)),
            ("1970-01-01 01:00:00.5 +0100", at(0, 500_000_000)),
            ("1970-01-01 01:00:00+01:00", at(0, 0)),
            ("2024-02-29 00:00 UTC", at(1_709_164_800, 0)),
        ] {
            assert_eq!(parse(text), Some(time), "{text}");
        }
        for bad in [
            "",
            "@",
            "@x",
            "2023-02-29",
            "2024-13-01",
            "2024-01-01 25:00",
            "24-01-01",
            "tomorrow",
            "2024-01-01 10:00 CEST",
            "@1.-5",
            "é",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
