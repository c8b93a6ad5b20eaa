//! In which order the addresses of a host are tried (RFC 6724 section 6).

use alloc::vec::Vec;
use core::{
    cmp::Ordering,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};
use rumpkern::{OpenFlags, Proc};
use rumpnet::{
    SocketCalls as _, policy,
    socket::{Domain, Kind, SockOpt},
};

/// So many are ordered: each costs a look for the address to speak to it with. The rest stays behind them.
const MOST: usize = 64;
/// Bits of an address that tell its network.
const NETWORK: u32 = 64;

/// The address that this kernel would speak to a destination with.
#[derive(Clone, Copy)]
struct Source {
    ip: IpAddr,
    /// It is to be used by what uses it already alone.
    deprecated: bool,
}

/// Puts addresses into the order in which they are to be tried.
pub(crate) fn order(proc: &Proc, all: &mut [IpAddr]) {
    let count = all.len().min(MOST);
    let Some(first) = all.get_mut(..count).filter(|first| first.len() > 1) else {
        return;
    };
    let mut pairs: Vec<_> = first.iter().map(|to| (*to, source(proc, *to))).collect();
    sort(&mut pairs);
    first
        .iter_mut()
        .zip(pairs)
        .for_each(|(place, (to, _))| *place = to);
}

/// The address that this kernel would speak to one with; `None`: it has no way there.
fn source(proc: &Proc, to: IpAddr) -> Option<Source> {
    let domain = if to.is_ipv4() {
        Domain::Inet
    } else {
        Domain::Inet6
    };
    let fd = proc
        .socket(domain, Kind::Datagram, 0, OpenFlags::CLOEXEC)
        .ok()?;
    // Nothing is sent. Any port will do.
    let to = SocketAddr::new(to, 9);
    let own = proc
        .connect(fd, &to.into())
        .and_then(|()| proc.getsockname(fd)?.inet());
    // The host's sockets do not tell.
    let told = proc.getsockopt(fd, &SockOpt::Deprecated(false));
    let _ = proc.close(fd);
    let ip = own.ok()?.ip();
    let deprecated = told == Ok(SockOpt::Deprecated(true));
    Some(Source { ip, deprecated })
}

/// Sorts destinations, each with its source. Rules 4 and 7 are about what there is not: home addresses, and ways that wrap packets in others. Rule
/// 9 is not for IPv4, whose servers order their addresses so that not all clients take the same.
fn sort(pairs: &mut [(IpAddr, Option<Source>)]) {
    pairs.sort_by(|a, b| better(*a, *b));
}

fn better(
    (a, a_from): (IpAddr, Option<Source>),
    (b, b_from): (IpAddr, Option<Source>),
) -> Ordering {
    // Rule 1.
    let (Some(a_from), Some(b_from)) = (a_from, b_from) else {
        return b_from.is_some().cmp(&a_from.is_some());
    };
    // Rules 2, 3, 5, 6 and 8.
    let rank = |to, from: Source| {
        (
            policy::scope(to) == policy::scope(from.ip),
            !from.deprecated,
            policy::label(to) == policy::label(from.ip),
            policy::precedence(to),
            u8::MAX.saturating_sub(policy::scope(to)),
        )
    };
    let first = rank(b, b_from).cmp(&rank(a, a_from));
    // Rule 9; what is equal stays as it is (rule 10).
    first.then_with(|| common(b, b_from.ip).cmp(&common(a, a_from.ip)))
}

/// Bits that two addresses of IPv6 have in common.
fn common(to: IpAddr, from: IpAddr) -> u32 {
    let bits = |ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(six) => Some(Ipv6Addr::to_bits(six)),
    };
    match (bits(to), bits(from)) {
        (Some(to), Some(from)) => (to ^ from).leading_zeros().min(NETWORK),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString as _};

    /// A source that is old ends with `!`.
    fn from(text: &str) -> Option<Source> {
        let ip = text.trim_end_matches('!').parse().ok()?;
        let deprecated = text.ends_with('!');
        Some(Source { ip, deprecated })
    }

    fn sorted(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut all: Vec<(IpAddr, Option<Source>)> = pairs
            .iter()
            .map(|(to, own)| (to.parse().unwrap(), from(own)))
            .collect();
        sort(&mut all);
        all.iter().map(|(to, _)| to.to_string()).collect()
    }

    /// The examples of RFC 6724 section 10.2 that need no home addresses and no tunnels.
    #[test]
    fn examples_of_the_rfc() {
        // Prefer matching scope.
        let all = [
            ("198.51.100.121", "169.254.13.78"),
            ("2001:db8:1::1", "2001:db8:1::2"),
        ];
        assert_eq!(sorted(&all)[0], "2001:db8:1::1");
        let all = [
            ("2001:db8:1::1", "fe80::1"),
            ("198.51.100.121", "198.51.100.117"),
        ];
        assert_eq!(sorted(&all)[0], "198.51.100.121");
        // Avoid deprecated addresses: after scope, before all that is about networks.
        let all = [
            ("2001:db8:1::1", "2001:db8:1::2!"),
            ("10.1.2.3", "10.1.2.4"),
        ];
        assert_eq!(sorted(&all)[0], "10.1.2.3");
        let all = [
            ("2001:db8:1::1", "fe80::1"),
            ("2001:db8:2::1", "2001:db8:2::2!"),
        ];
        assert_eq!(sorted(&all)[0], "2001:db8:2::1");
        // Prefer higher precedence.
        let all = [("10.1.2.3", "10.1.2.4"), ("2001:db8:1::1", "2001:db8:1::2")];
        assert_eq!(sorted(&all)[0], "2001:db8:1::1");
        // Prefer smaller scope.
        let all = [("2001:db8:1::1", "2001:db8:1::2"), ("fe80::1", "fe80::2")];
        assert_eq!(sorted(&all)[0], "fe80::1");
        // Longest matching prefix.
        let all = [
            ("2001:db8:3ffe::1", "2001:db8:3f44::2"),
            ("2001:db8:1::1", "2001:db8:1::2"),
        ];
        assert_eq!(sorted(&all)[0], "2001:db8:1::1");
        // Prefer matching label.
        let all = [
            ("2001:db8:1::1", "2002:c633:6401::2"),
            ("2002:c633:6401::1", "2002:c633:6401::2"),
        ];
        assert_eq!(sorted(&all)[0], "2002:c633:6401::1");
        // Avoid unusable destinations, and leave the rest as it is.
        let all = [
            ("2001:db8:1::1", "none"),
            ("10.1.2.3", "10.1.2.4"),
            ("10.1.2.2", "10.1.2.4"),
        ];
        assert_eq!(sorted(&all), ["10.1.2.3", "10.1.2.2", "2001:db8:1::1"]);
    }

    /// Whatever comes first, the order is one.
    #[test]
    fn an_order() {
        let all = [
            "::1",
            "2001:db8::1",
            "10.0.0.1",
            "fd00::1",
            "fe80::1",
            "2002:c633:6401::1",
        ];
        let all: Vec<IpAddr> = all.iter().map(|text| text.parse().unwrap()).collect();
        let mut pairs = Vec::new();
        for (to, deprecated) in all.iter().flat_map(|to| [(*to, false), (*to, true)]) {
            pairs.push((to, Some(Source { ip: to, deprecated })));
        }
        pairs.extend(all.iter().map(|to| (*to, None)));
        for a in &pairs {
            for b in &pairs {
                assert_eq!(better(*a, *b), better(*b, *a).reverse());
                for c in &pairs {
                    if better(*a, *b).is_le() && better(*b, *c).is_le() {
                        assert!(better(*a, *c).is_le());
                    }
                }
            }
        }
    }
}
