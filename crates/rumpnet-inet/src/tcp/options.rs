//! Options of the header: maximum segment size (RFC 9293, section 3.2), window scale and timestamps (RFC 7323), SACK (RFC 2018),
//! fast open (RFC 7413), user timeout (RFC 5482).

use super::Seq;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const USER_TIMEOUT: u8 = 28;
const FAST_OPEN: u8 = 34;

/// Bytes of options that a header can have.
pub const OPTIONS_MAX: usize = 40;
/// Bytes that timestamps take with their padding.
pub(super) const TIMESTAMPS_LEN: u32 = 12;

/// The timestamps option (RFC 7323, section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval.
    pub value: u32,
    /// TSecr.
    pub echo: u32,
}

impl Timestamps {
    /// Those of a header that has no other options, with their padding in front.
    #[inline]
    pub(super) fn alone(bytes: &[u8; 12]) -> Option<Self> {
        let [NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h] = *bytes else {
            return None;
        };
        Some(Self {
            value: u32::from_be_bytes([a, b, c, d]),
            echo: u32::from_be_bytes([e, f, g, h]),
        })
    }

    /// The option so.
    pub(super) const fn padded(self) -> [u8; 12] {
        let [a, b, c, d] = self.value.to_be_bytes();
        let [e, f, g, h] = self.echo.to_be_bytes();
        [NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h]
    }
}

/// Up to four ranges of a SACK option, each from its first number to the one after its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sacks {
    ranges: [(Seq, Seq); 4],
    len: u8,
}

impl Sacks {
    /// Adds a range; one too many is left out.
    pub fn push(&mut self, start: Seq, end: Seq) {
        if let Some(range) = self.ranges.get_mut(usize::from(self.len)) {
            *range = (start, end);
            self.len = self.len.saturating_add(1);
        }
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.ranges.iter().take(usize::from(self.len)).copied()
    }

    /// Number of ranges.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the first `count` ranges.
    pub fn truncate(&mut self, count: u8) {
        self.len = self.len.min(count);
        let rest = self.ranges.iter_mut().skip(usize::from(self.len));
        rest.for_each(|range| *range = (Seq(0), Seq(0)));
    }
}

/// A fast open cookie (RFC 7413, section 4.1.1), 4 to 16 bytes; of no bytes it is the request of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookie {
    bytes: [u8; 16],
    len: u8,
}

impl Cookie {
    /// A cookie of these bytes. `None` for a length that is not allowed.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let len = u8::try_from(bytes.len()).ok()?;
        if !matches!(len, 0 | 4..=16) || !len.is_multiple_of(2) {
            return None;
        }
        let mut cookie = Self {
            bytes: [0; 16],
            len,
        };
        cookie.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(cookie)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Whether it only asks for a cookie.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }
}

/// A user timeout (RFC 5482, section 3): a granularity bit - minutes or seconds - and 15 bits, not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserTimeout(core::num::NonZeroU16);

impl UserTimeout {
    const MINUTES: u16 = 1 << 15;

    /// The nearest one that is no shorter; of the longest there are, the longest.
    #[must_use]
    pub fn of(time: core::time::Duration) -> Self {
        let seconds = time
            .as_secs()
            .saturating_add((time.subsec_nanos() > 0).into());
        let coded = match u16::try_from(seconds) {
            Ok(seconds) if seconds < Self::MINUTES => seconds,
            _ => {
                let minutes = u16::try_from(seconds.div_ceil(60)).unwrap_or(u16::MAX);
                Self::MINUTES | minutes.min(!Self::MINUTES)
            }
        };
        Self(core::num::NonZeroU16::new(coded).unwrap_or(core::num::NonZeroU16::MIN))
    }

    /// `None` for zero, which says nothing.
    fn read(bytes: [u8; 2]) -> Option<Self> {
        let coded = u16::from_be_bytes(bytes);
        (coded & !Self::MINUTES != 0)
            .then(|| core::num::NonZeroU16::new(coded).map(Self))
            .flatten()
    }

    /// How long it is, a second at least and 32,767 minutes at most.
    #[must_use]
    pub const fn time(self) -> core::time::Duration {
        let coded = self.0.get();
        let unit = if coded & Self::MINUTES == 0 { 1 } else { 60 };
        core::time::Duration::from_secs(((coded & !Self::MINUTES) as u64).saturating_mul(unit))
    }
}

/// All options that this engine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The largest segment that the sender can receive; in SYN only.
    pub mss: Option<u16>,
    /// Shift count of the sender's windows; in SYN only.
    pub window_scale: Option<u8>,
    /// The sender understands SACK; in SYN only.
    pub sack_permitted: bool,
    /// What arrived out of order.
    pub sack: Sacks,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Fast open.
    pub fast_open: Option<Cookie>,
    /// How long the sender lets data be unacknowledged.
    pub user_timeout: Option<UserTimeout>,
}

impl Options {
    /// Reads options. An unknown one is skipped, one of wrong length too; when a length leads out of the options, what was read
    /// before counts (RFC 9293, section 3.2, MUST-6 and MUST-7).
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        if let [NOP, NOP, TIMESTAMPS, 10, rest @ ..] = bytes
            && rest.len() == 8
        {
            options.timestamps = timestamps(rest);
            return options;
        }
        if let [
            MSS,
            4,
            high,
            low,
            NOP,
            WINDOW_SCALE,
            3,
            shift,
            SACK_PERMITTED,
            2,
            TIMESTAMPS,
            10,
            rest @ ..,
        ] = bytes
            && rest.len() == 8
        {
            // A SYN of this engine.
            options.mss = Some(u16::from_be_bytes([*high, *low]));
            options.window_scale = Some(*shift);
            options.sack_permitted = true;
            options.timestamps = timestamps(rest);
            return options;
        }
        while let [kind, rest @ ..] = bytes {
            match *kind {
                END => break,
                NOP => bytes = rest,
                kind => {
                    let Some((body, rest)) = body(rest) else {
                        break;
                    };
                    options.set(kind, body);
                    bytes = rest;
                }
            }
        }
        options
    }

    fn set(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (MSS, &[high, low]) => self.mss = Some(u16::from_be_bytes([high, low])),
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift),
            (SACK_PERMITTED, &[]) => self.sack_permitted = true,
            (SACK, body) if body.len().is_multiple_of(8) => {
                self.sack = Sacks::default();
                let (ranges, _) = body.as_chunks::<8>();
                for &[a, b, c, d, e, f, g, h] in ranges {
                    let start = Seq(u32::from_be_bytes([a, b, c, d]));
                    self.sack.push(start, Seq(u32::from_be_bytes([e, f, g, h])));
                }
            }
            (TIMESTAMPS, body) => self.timestamps = timestamps(body).or(self.timestamps),
            (USER_TIMEOUT, &[high, low]) => {
                self.user_timeout = UserTimeout::read([high, low]).or(self.user_timeout);
            }
            (FAST_OPEN, body) => self.fast_open = Cookie::new(body).or(self.fast_open),
            _ => {}
        }
    }

    /// Bytes that [`encode`](Self::encode) writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        if self.is_timestamps_only() {
            return 12;
        }
        let mut space = [0; OPTIONS_MAX];
        self.encode(&mut space)
    }

    fn is_timestamps_only(&self) -> bool {
        self.timestamps.is_some()
            && self.mss.is_none()
            && self.window_scale.is_none()
            && !self.sack_permitted
            && self.sack.is_empty()
            && self.fast_open.is_none()
            && self.user_timeout.is_none()
    }

    /// Those of nearly every SYN, if they are.
    fn usual_syn(&self) -> Option<[u8; 20]> {
        let rare = !self.sack.is_empty() || self.fast_open.is_some() || self.user_timeout.is_some();
        let [m0, m1] = self.mss?.to_be_bytes();
        let shift = self.window_scale?;
        let Timestamps { value, echo } = self.timestamps?;
        let [v0, v1, v2, v3] = value.to_be_bytes();
        let [e0, e1, e2, e3] = echo.to_be_bytes();
        (self.sack_permitted && !rare).then_some([
            MSS,
            4,
            m0,
            m1,
            NOP,
            WINDOW_SCALE,
            3,
            shift,
            SACK_PERMITTED,
            2,
            TIMESTAMPS,
            10,
            v0,
            v1,
            v2,
            v3,
            e0,
            e1,
            e2,
            e3,
        ])
    }

    /// Writes the options, padded to a multiple of four bytes; returns how many bytes that are. What does not fit, of SACK the last
    /// ranges, is left out.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        if let Some(timestamps) = self.timestamps
            && self.is_timestamps_only()
            && let Some(space) = out.first_chunk_mut()
        {
            // Nearly all segments.
            *space = timestamps.padded();
            return space.len();
        }
        if let Some(syn) = self.usual_syn()
            && let Some(space) = out.first_chunk_mut()
        {
            *space = syn;
            return syn.len();
        }
        let mut writer = Writer { out, at: 0 };
        if let Some(mss) = self.mss {
            writer.put(&[&[MSS, 4], &mss.to_be_bytes()]);
        }
        if let Some(shift) = self.window_scale {
            writer.put(&[&[NOP, WINDOW_SCALE, 3, shift]]);
        }
        let before: &[u8] = match (self.sack_permitted, self.timestamps.is_some()) {
            (true, _) => &[SACK_PERMITTED, 2],
            (false, true) => &[NOP, NOP],
            (false, false) => &[],
        };
        if let Some(Timestamps { value, echo }) = self.timestamps {
            let (value, echo) = (value.to_be_bytes(), echo.to_be_bytes());
            writer.put(&[before, &[TIMESTAMPS, 10], &value, &echo]);
        } else if self.sack_permitted {
            writer.put(&[&[NOP, NOP], before]);
        }
        if let Some(cookie) = &self.fast_open {
            let len = cookie.len.saturating_add(2);
            let padding: &[u8] = if len.is_multiple_of(4) {
                &[]
            } else {
                &[NOP, NOP]
            };
            writer.put(&[padding, &[FAST_OPEN, len], cookie.bytes()]);
        }
        if let Some(UserTimeout(coded)) = self.user_timeout {
            writer.put(&[&[USER_TIMEOUT, 4], &coded.get().to_be_bytes()]);
        }
        writer.put_sacks(&self.sack);
        writer.at
    }
}

/// The body of an option from its length byte on, and what follows.
fn body(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len).checked_sub(2)?)
}

fn timestamps(body: &[u8]) -> Option<Timestamps> {
    let &[a, b, c, d, e, f, g, h] = body else {
        return None;
    };
    Some(Timestamps {
        value: u32::from_be_bytes([a, b, c, d]),
        echo: u32::from_be_bytes([e, f, g, h]),
    })
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn room(&self) -> usize {
        self.out.len().min(OPTIONS_MAX).saturating_sub(self.at)
    }

    /// Writes all parts or, without room, none.
    fn put(&mut self, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > self.room() {
            return;
        }
        for part in parts {
            let end = self.at.saturating_add(part.len());
            if let Some(space) = self.out.get_mut(self.at..end) {
                space.copy_from_slice(part);
                self.at = end;
            }
        }
    }

    fn put_sacks(&mut self, sacks: &Sacks) {
        let fits = self.room().saturating_sub(4) / 8;
        let count = sacks.len().min(fits);
        let Ok(len) = u8::try_from(count.saturating_mul(8).saturating_add(2)) else {
            return;
        };
        if count == 0 {
            return;
        }
        self.put(&[&[NOP, NOP, SACK, len]]);
        for (start, end) in sacks.iter().take(count) {
            self.put(&[&start.0.to_be_bytes(), &end.0.to_be_bytes()]);
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::{Cookie, NOP, OPTIONS_MAX, Options, Sacks, Seq, Timestamps, UserTimeout};
    use proptest::prelude::*;

    fn full() -> Options {
        Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 1, echo: 2 }),
            fast_open: Cookie::new(&[7; 16]),
            ..Options::default()
        }
    }

    /// All options that a SYN can have fit together (RFC 7413, section 4.1.1: a cookie of 16 bytes).
    #[test]
    fn a_syn_with_everything() {
        let mut space = [0; 40];
        assert_eq!(full().encode(&mut space), 40);
        assert_eq!(Options::parse(&space), full());
    }

    /// The usual SYN is written and read in one piece, as option by option.
    #[test]
    fn the_usual_syn() {
        let options = Options {
            mss: Some(0x0102),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                value: 0x0304_0506,
                echo: 0x0708_090a,
            }),
            ..Options::default()
        };
        let wire =
            *b"\x02\x04\x01\x02\x01\x03\x03\x07\x04\x02\x08\x0a\x03\x04\x05\x06\x07\x08\x09\x0a";
        let mut out = [0; OPTIONS_MAX];
        assert_eq!(options.encode(&mut out), wire.len());
        assert_eq!(out[..wire.len()], wire);
        assert_eq!(Options::parse(&wire), options);
        let longer = [&wire[..], &[NOP; 4]].concat();
        assert_eq!(Options::parse(&longer), options);
        for other in [
            Options {
                mss: None,
                ..options
            },
            Options {
                sack_permitted: false,
                ..options
            },
            Options {
                user_timeout: UserTimeout::read([0, 9]),
                ..options
            },
        ] {
            let len = other.encode(&mut out);
            assert_eq!(Options::parse(&out[..len]), other);
        }
    }

    /// RFC 9293, section 3.2, MUST-6: unknown options are ignored; MUST-7: lengths that are wrong do no harm.
    #[test]
    fn tolerant() {
        let mss = Options {
            mss: Some(0x0102),
            ..Options::default()
        };
        for bytes in [
            &[2, 4, 1, 2][..],
            &[99, 4, 0, 0, 2, 4, 1, 2],
            &[1, 1, 2, 4, 1, 2, 0, 3, 3, 7],
            &[2, 4, 1, 2, 99, 0],
            &[2, 4, 1, 2, 8, 40, 1],
            &[3, 4, 1, 1, 2, 4, 1, 2],
            &[2, 4, 1, 2, 8],
        ] {
            assert_eq!(Options::parse(bytes), mss, "{bytes:?}");
        }
    }

    /// RFC 2018, section 3: with timestamps three ranges fit.
    #[test]
    fn sacks_fit() {
        let mut sack = Sacks::default();
        (0..5).for_each(|n| sack.push(Seq(n), Seq(n + 1)));
        assert_eq!(sack.len(), 4);
        let mut options = Options {
            sack,
            ..Options::default()
        };
        let mut space = [0; 40];
        assert_eq!(options.encode(&mut space), 36);
        assert_eq!(Options::parse(&space[..36]), options);
        options.timestamps = Some(Timestamps::default());
        assert_eq!(options.encode(&mut space), 40);
        options.sack.truncate(3);
        assert_eq!(Options::parse(&space), options);
    }

    proptest! {
        /// Whatever the bytes, there is an answer, and what it says can be written and read again.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let options = Options::parse(&bytes);
            let mut space = [0; 40];
            let len = options.encode(&mut space);
            prop_assert!(len.is_multiple_of(4));
            let again = Options::parse(&space[..len]);
            prop_assert_eq!((again.mss, again.timestamps), (options.mss, options.timestamps));
            prop_assert_eq!(options.encoded_len(), len);
        }
    }
}
