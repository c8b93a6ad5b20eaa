//! Which address to speak with (RFC 6724 section 5).

use core::net::{IpAddr, Ipv6Addr};
use rumpnet::policy;

/// An address that could be spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub address: Ipv6Addr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// It is still good for old connections.
    pub deprecated: bool,
    /// It is one for some time (RFC 8981).
    pub temporary: bool,
}

/// How far an address reaches: 2 is the link, 14 everywhere.
#[must_use]
pub const fn scope(address: Ipv6Addr) -> u8 {
    policy::scope(IpAddr::V6(address))
}

fn label(address: Ipv6Addr) -> u8 {
    policy::label(IpAddr::V6(address))
}

/// How good a candidate is for a destination; the greater, the better.
fn rank(one: &Candidate, to: Ipv6Addr) -> (bool, bool, u8, bool, bool, bool, u32) {
    let (reach, wanted) = (scope(one.address), scope(to));
    // Rule 2: the smallest scope that reaches; without such, the largest.
    let (reaches, near) = if reach >= wanted {
        (true, 15_u8.saturating_sub(reach))
    } else {
        (false, reach)
    };
    let common = (one.address.to_bits() ^ to.to_bits()).leading_zeros();
    (
        one.address == to,
        reaches,
        near,
        !one.deprecated,
        label(one.address) == label(to),
        one.temporary,
        common.min(one.prefix.into()),
    )
}

/// The best of the candidates, the first of equals.
#[must_use]
pub fn choose(candidates: &[Candidate], to: Ipv6Addr) -> Option<Ipv6Addr> {
    let mut best: Option<&Candidate> = None;
    for one in candidates {
        if best.is_none_or(|best| rank(one, to) > rank(best, to)) {
            best = Some(one);
        }
    }
    best.map(|best| best.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(candidates: &[&str], to: &str) -> alloc::string::String {
        use alloc::string::ToString as _;
        let candidates: alloc::vec::Vec<Candidate> = candidates
            .iter()
            .map(|text| Candidate {
                address: text.trim_end_matches(['!', '~']).parse().unwrap(),
                prefix: 64,
                deprecated: text.ends_with('!'),
                temporary: text.ends_with('~'),
            })
            .collect();
        choose(&candidates, to.parse().unwrap())
            .unwrap()
            .to_string()
    }

    /// RFC 6724 section 10.1, where its examples do not need what is not there (home addresses).
    #[test]
    fn examples_of_the_rfc() {
        let to = "2001:db8:1::1";
        assert_eq!(pick(&["2001:db8:3::1", "fe80::1"], to), "2001:db8:3::1");
        assert_eq!(
            pick(&["2001:db8:3::1", "fe80::1"], "ff05::1"),
            "2001:db8:3::1"
        );
        assert_eq!(pick(&["fe80::1", "2001:db8:1::1"], to), "2001:db8:1::1");
        assert_eq!(pick(&["fe80::2", "2001:db8:1::1!"], "fe80::1"), "fe80::2");
        assert_eq!(pick(&["2001:db8:3::1", "fe80::1"], "fe80::5"), "fe80::1");
        // Rule 6: labels.
        let ours = ["2002:c633:6401::d5e3:7953:13eb:22e8", "2001:db8:1::2"];
        assert_eq!(pick(&ours, to), "2001:db8:1::2");
        let ours = ["fd11:1111:1111:1::1", "2001:db8:1::2"];
        assert_eq!(pick(&ours, "fd22::1"), "fd11:1111:1111:1::1");
        // Rule 7: temporary addresses, before rule 8.
        let ours = ["2001:db8:1::2", "2001:db8:1::d5e3:0:0:1~"];
        assert_eq!(pick(&ours, to), "2001:db8:1:0:d5e3::1");
        let ours = ["2001:db8:1::2", "2001:db8:3::d5e3:0:0:1~"];
        assert_eq!(pick(&ours, to), "2001:db8:3:0:d5e3::1");
        // Rule 8: the longest prefix in common.
        assert_eq!(
            pick(&["2001:db8:3::2", "2001:db8:1::2"], to),
            "2001:db8:1::2"
        );
    }

    /// RFC 6724 section 5, rules 1 to 3.
    #[test]
    fn same_scope_then_not_deprecated() {
        assert_eq!(
            pick(&["2001:db8::2", "2001:db8::1!"], "2001:db8::1"),
            "2001:db8::1"
        );
        assert_eq!(
            pick(&["2001:db8:1::2!", "2001:db8:9::2"], "2001:db8:1::9"),
            "2001:db8:9::2"
        );
        assert_eq!(
            pick(&["fe80::1", "2001:db8::9!"], "2001:db8::1"),
            "2001:db8::9"
        );
    }
}
