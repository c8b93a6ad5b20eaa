//! How addresses are preferred to each other (RFC 6724 sections 2.1 and 3): what choosing a source and ordering destinations have in common.

use core::net::{IpAddr, Ipv6Addr};

/// What the policy says of a network.
struct Entry {
    network: u128,
    prefix: u32,
    precedence: u8,
    label: u8,
}

const fn entry(network: u128, prefix: u32, precedence: u8, label: u8) -> Entry {
    Entry {
        network,
        prefix,
        precedence,
        label,
    }
}

/// The default policy, the longest prefixes first; the last one has all.
const POLICY: [Entry; 9] = [
    entry(1, 128, 50, 0),
    entry(0xffff << 32, 96, 35, 4),
    entry(0, 96, 1, 3),
    entry(0x2001_0000 << 96, 32, 5, 5),
    entry(0x2002 << 112, 16, 30, 2),
    entry(0x3ffe << 112, 16, 1, 12),
    entry(0xfec0 << 112, 10, 1, 11),
    entry(0xfc00 << 112, 7, 3, 13),
    entry(0, 0, 40, 1),
];

/// An address as the policy has it: those of IPv4 are mapped ones.
fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

fn find(address: IpAddr) -> (u8, u8) {
    let bits = six(address).to_bits();
    let found = POLICY.iter().find(|entry| {
        let rest = 128_u32.saturating_sub(entry.prefix);
        bits.checked_shr(rest).unwrap_or(0) == entry.network.checked_shr(rest).unwrap_or(0)
    });
    found.map_or((40, 1), |entry| (entry.precedence, entry.label))
}

/// How good a destination is by itself; the greater, the better.
#[must_use]
pub fn precedence(address: IpAddr) -> u8 {
    find(address).0
}

/// Sources and destinations with the same label go together.
#[must_use]
pub fn label(address: IpAddr) -> u8 {
    find(address).1
}

/// How far an address reaches: 2 is the link, 14 everywhere (section 3.1, and 3.2 for IPv4).
#[must_use]
pub const fn scope(address: IpAddr) -> u8 {
    let six = match address {
        IpAddr::V4(four) => {
            return if four.is_loopback() || four.is_link_local() {
                2
            } else {
                14
            };
        }
        IpAddr::V6(six) => six,
    };
    let [first, second, ..] = six.octets();
    if first == 0xff {
        return second & 15;
    }
    if six.is_unicast_link_local() || six.is_loopback() {
        return 2;
    }
    // Site-local addresses, which are no longer made.
    if first == 0xfe && second & 0xc0 == 0xc0 {
        return 5;
    }
    14
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6724 section 2.1, its table; sections 3.1 and 3.2.
    #[test]
    fn the_default_policy() {
        let of = |text: &str| {
            let ip: IpAddr = text.parse().unwrap();
            (precedence(ip), label(ip), scope(ip))
        };
        assert_eq!(of("::1"), (50, 0, 2));
        assert_eq!(of("2001:db8::1"), (40, 1, 14));
        assert_eq!(of("10.0.0.1"), (35, 4, 14));
        assert_eq!(of("169.254.1.1"), (35, 4, 2));
        assert_eq!(of("127.0.0.1"), (35, 4, 2));
        assert_eq!(of("2002:c633:6401::1"), (30, 2, 14));
        assert_eq!(of("2001:0:1::1"), (5, 5, 14));
        assert_eq!(of("fd00::1"), (3, 13, 14));
        assert_eq!(of("::10.0.0.1"), (1, 3, 14));
        assert_eq!(of("fec0::1"), (1, 11, 5));
        assert_eq!(of("3ffe::1"), (1, 12, 14));
        assert_eq!(of("fe80::1"), (40, 1, 2));
        assert_eq!((of("ff05::1").2, of("ff02::1").2), (5, 2));
    }
}
