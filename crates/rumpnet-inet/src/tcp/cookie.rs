//! Numbers that nobody else can guess: initial sequence numbers (RFC 6528), SYN cookies (RFC 4987, section 3.6), fast open cookies
//! (RFC 7413, section 4.1.2). A secret and the addresses are arguments, and the hash is SipHash-2-4.

use super::{Config, Cookie, Flags, Options, Path, Segment, Seq, Timestamps, tcb::timestamp_clock};
use rumpuser::Instant;

/// A key that only this host knows.
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; 16]);

/// The largest segments that a SYN cookie can remember.
const MSS_TABLE: [u16; 8] = [216, 536, 1220, 1300, 1400, 1440, 1460, 8960];
/// A cookie's counter goes on every 64 seconds; a cookie is good for this and the next.
const PERIOD: u64 = 64 * 1_000_000_000;
/// After so long none of those sent is good any more.
pub const LIFE: core::time::Duration = core::time::Duration::from_nanos(2 * PERIOD);
/// Bits of the timestamp that remember window scale (4) and SACK (1); 15 says that there is no scaling.
const TIMESTAMP_BITS: u32 = 5;
const NO_SCALE: u8 = 15;

/// What a hash is for, so that one says nothing of another.
#[derive(Clone, Copy)]
enum Purpose {
    Isn = 1,
    SynCookie = 2,
    FastOpen = 3,
    Other = 4,
}

/// The initial sequence number of a connection (RFC 6528, section 3): a clock plus a hash of `tuple`, the bytes of both addresses and
/// ports. A unit of the clock is 64 nanoseconds, as in Linux, and not 4 microseconds: in those a connection between two kernels begins and
/// ends, and the next one with its ports would not have a later number. It goes round in 275 seconds, longer than a segment lives.
#[must_use]
pub fn isn(secret: &Secret, tuple: &[u8], now: Instant) -> Seq {
    beginning(secret, tuple, now).0
}

/// The same, and what to add to the clock of timestamps for a pair of addresses (RFC 7323, section 5.4 and appendix; see
/// [`Path::timestamp_offset`]): both from halves of one hash.
#[must_use]
pub fn beginning(secret: &Secret, tuple: &[u8], now: Instant) -> (Seq, u32) {
    let hash = hash(secret, Purpose::Isn, 0, tuple);
    (
        Seq(low(now.0 / 64).wrapping_add(low(hash))),
        low(hash >> 32),
    )
}

/// The fast open cookie of a client (RFC 7413, section 4.1.2). A client's is right when it equals this one.
#[must_use]
pub fn fast_open_cookie(secret: &Secret, client: &[u8]) -> Cookie {
    let bytes = hash(secret, Purpose::FastOpen, 0, client).to_be_bytes();
    Cookie::new(&bytes).unwrap_or_default()
}

/// A number that only who knows the secret can tell from `bytes`, for other uses than TCP's: interface identifiers of IPv6.
#[must_use]
pub fn keyed(secret: &Secret, bytes: &[u8]) -> u64 {
    hash(secret, Purpose::Other, 0, bytes)
}

/// The answer to a SYN that keeps no state (RFC 4987, section 3.6): its sequence number, and with timestamps the timestamp,
/// remember what the SYN said.
#[must_use]
pub fn syn_cookie(
    secret: &Secret,
    tuple: &[u8],
    syn: &Segment,
    config: &Config,
    path: Path,
    now: Instant,
) -> Segment {
    let said = syn.options.mss.unwrap_or(536);
    let index = MSS_TABLE.iter().rposition(|mss| *mss <= said).unwrap_or(0);
    let index = u8::try_from(index).unwrap_or(0);
    let counter = now.0 / PERIOD;
    let seq = cookie(secret, tuple, syn.seq, counter, index);
    let timestamps = syn.options.timestamps.filter(|_| config.timestamps);
    let mut options = Options {
        mss: Some(path.mss),
        ..Options::default()
    };
    if let Some(timestamps) = timestamps {
        let scale = syn.options.window_scale.filter(|_| config.window_scaling);
        let sack = config.sack && syn.options.sack_permitted;
        options.window_scale = scale.map(|_| config.window_scale());
        options.sack_permitted = sack;
        let clock = timestamp_clock(now.0).wrapping_add(path.timestamp_offset);
        options.timestamps = Some(Timestamps {
            value: remember(clock, scale, sack),
            echo: timestamps.value,
        });
    }
    let buffer = config.receive_buffer;
    Segment {
        seq,
        ack: Some(syn.seq.plus(1)),
        flags: Flags::SYN,
        window: u16::try_from(buffer).unwrap_or(u16::MAX),
        options,
        ..Segment::default()
    }
}

/// Whether the ACK of a segment answers a SYN cookie: the options of the SYN, for
/// [`Tcb::accept_cookie`](super::Tcb::accept_cookie).
#[must_use]
pub fn check_syn_cookie(
    secret: &Secret,
    tuple: &[u8],
    segment: &Segment,
    now: Instant,
) -> Option<Options> {
    let seq = segment.ack?.minus(1);
    if segment.flags.intersects(Flags::SYN | Flags::RST) {
        return None;
    }
    let [top, ..] = seq.0.to_be_bytes();
    let (period, index) = (top >> 3, top & 7);
    let client = segment.seq.minus(1);
    let current = now.0 / PERIOD;
    let good = [current, current.saturating_sub(1)]
        .into_iter()
        .any(|counter| {
            counter & 31 == u64::from(period)
                && cookie(secret, tuple, client, counter, index) == seq
        });
    if !good {
        return None;
    }
    let mut options = Options {
        mss: MSS_TABLE.get(usize::from(index)).copied(),
        ..Options::default()
    };
    if let Some(timestamps) = segment.options.timestamps {
        let [.., bits] = timestamps.echo.to_be_bytes();
        let scale = bits & NO_SCALE;
        options.window_scale = (scale != NO_SCALE).then_some(scale);
        options.sack_permitted = bits & 16 != 0;
        options.timestamps = Some(timestamps);
    }
    Some(options)
}

/// 5 bits of the counter, 3 of the MSS, 24 of the hash.
fn cookie(secret: &Secret, tuple: &[u8], client: Seq, counter: u64, index: u8) -> Seq {
    let salt = (u64::from(client.0) << 32) | ((counter & 0x0fff_ffff) << 4) | u64::from(index & 7);
    let hash = low(hash(secret, Purpose::SynCookie, salt, tuple)) & 0x00ff_ffff;
    let top = low(((counter & 31) << 3) | u64::from(index & 7));
    Seq((top << 24) | hash)
}

/// A timestamp not later than `clock` with options in its low bits.
fn remember(clock: u32, scale: Option<u8>, sack: bool) -> u32 {
    let bits = u32::from(scale.map_or(NO_SCALE, |scale| scale.min(14))) | if sack { 16 } else { 0 };
    let value = (clock >> TIMESTAMP_BITS << TIMESTAMP_BITS) | bits;
    if value > clock {
        value.wrapping_sub(1 << TIMESTAMP_BITS)
    } else {
        value
    }
}

const fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn hash(secret: &Secret, purpose: Purpose, salt: u64, bytes: &[u8]) -> u64 {
    let mut sip = Sip::new(secret);
    sip.word((purpose as u64) << 56);
    sip.word(salt);
    sip.finish(bytes, 16)
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012).
struct Sip([u64; 4]);

impl Sip {
    fn new(secret: &Secret) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = secret.0;
        let one = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let two = u64::from_le_bytes(rest);
        Self([
            one ^ 0x736f_6d65_7073_6575,
            two ^ 0x646f_7261_6e64_6f6d,
            one ^ 0x6c79_6765_6e65_7261,
            two ^ 0x7465_6462_7974_6573,
        ])
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    fn word(&mut self, word: u64) {
        let [.., last] = &mut self.0;
        *last ^= word;
        self.round();
        self.round();
        let [first, ..] = &mut self.0;
        *first ^= word;
    }

    /// The hash, after `before` bytes given as words.
    fn finish(mut self, bytes: &[u8], before: u8) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let [low, ..] = bytes.len().to_le_bytes();
        let [.., top] = &mut last;
        *top = low.wrapping_add(before);
        self.word(u64::from_le_bytes(last));
        let [_, _, third, _] = &mut self.0;
        *third ^= 0xff;
        (0..4).for_each(|_| self.round());
        self.0.into_iter().fold(0, |all, word| all ^ word)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        PERIOD, Purpose, Secret, Sip, check_syn_cookie, fast_open_cookie, hash, isn, syn_cookie,
    };
    use crate::tcp::{Config, Flags, Options, Path, Segment, Seq, Timestamps};
    use rumpuser::Instant;

    const SECRET: Secret = Secret([7; 16]);

    /// The test vector of the paper, appendix A.
    #[test]
    fn siphash() {
        let secret = Secret([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let input = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        assert_eq!(Sip::new(&secret).finish(&input, 0), 0xa129_ca61_49be_45e5);
        assert_ne!(
            hash(&SECRET, Purpose::Isn, 0, b"a"),
            hash(&SECRET, Purpose::FastOpen, 0, b"a")
        );
    }

    /// RFC 6528, section 3: for the same addresses numbers go on with a clock, for others they begin elsewhere.
    #[test]
    fn initial_numbers() {
        let first = isn(&SECRET, b"one", Instant(0));
        assert_eq!(
            isn(&SECRET, b"one", Instant(4_000_000_000)).since(first),
            62_500_000
        );
        assert_ne!(isn(&SECRET, b"two", Instant(0)), first);
        assert_ne!(isn(&Secret([8; 16]), b"one", Instant(0)), first);
    }

    fn syn(timestamps: bool) -> Segment {
        Segment {
            seq: Seq(77),
            flags: Flags::SYN,
            options: Options {
                mss: Some(1455),
                window_scale: Some(9),
                sack_permitted: true,
                timestamps: timestamps.then_some(Timestamps { value: 5, echo: 0 }),
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    fn answer(reply: &Segment) -> Segment {
        let echo = |timestamps: Timestamps| Timestamps {
            value: 6,
            echo: timestamps.value,
        };
        Segment {
            seq: Seq(78),
            ack: Some(reply.seq.plus(1)),
            options: Options {
                timestamps: reply.options.timestamps.map(echo),
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    /// RFC 4987, section 3.6: the cookie remembers the MSS, with timestamps the other options.
    #[test]
    fn cookies_remember() {
        let now = Instant(1000 * PERIOD);
        for timestamps in [true, false] {
            let reply = syn_cookie(
                &SECRET,
                b"t",
                &syn(timestamps),
                &Config::default(),
                Path::default(),
                now,
            );
            assert_eq!((reply.ack, reply.flags), (Some(Seq(78)), Flags::SYN));
            let options = check_syn_cookie(&SECRET, b"t", &answer(&reply), now).unwrap();
            assert_eq!(options.mss, Some(1440));
            let expected = if timestamps {
                (Some(9), true)
            } else {
                (None, false)
            };
            assert_eq!((options.window_scale, options.sack_permitted), expected);
        }
    }

    /// RFC 4987, section 3.6: a cookie is good for one host, one connection and a short time.
    #[test]
    fn cookies_are_checked() {
        let now = Instant(1000 * PERIOD);
        let reply = syn_cookie(
            &SECRET,
            b"t",
            &syn(true),
            &Config::default(),
            Path::default(),
            now,
        );
        let good = answer(&reply);
        let check = |tuple: &[u8], segment: &Segment, periods: u64| {
            check_syn_cookie(&SECRET, tuple, segment, Instant(periods * PERIOD)).is_some()
        };
        assert!(check(b"t", &good, 1000) && check(b"t", &good, 1001));
        assert!(
            !check(b"t", &good, 1002) && !check(b"t", &good, 1032) && !check(b"u", &good, 1000)
        );
        let mut bad = good.clone();
        bad.seq = Seq(79);
        assert!(!check(b"t", &bad, 1000));
        for bit in 0..32 {
            let mut bad = good.clone();
            bad.ack = Some(Seq(reply.seq.plus(1).0 ^ (1 << bit)));
            assert!(!check(b"t", &bad, 1000), "{bit}");
        }
        let mut bad = good;
        bad.flags = Flags::RST;
        assert!(!check(b"t", &bad, 1000));
    }

    /// RFC 7413, section 4.1.2: a cookie belongs to an address.
    #[test]
    fn fast_open() {
        let cookie = fast_open_cookie(&SECRET, b"client");
        assert_eq!(
            (cookie, cookie.bytes().len()),
            (fast_open_cookie(&SECRET, b"client"), 8)
        );
        assert_ne!(cookie, fast_open_cookie(&SECRET, b"other"));
    }
}
