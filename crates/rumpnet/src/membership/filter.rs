//! Whose packets to a group are wanted (RFC 3376 section 2, RFC 3678).

use alloc::collections::BTreeSet;
use core::net::IpAddr;

/// A filter of sources: those that are wanted, or those that are not. No source wanted is no membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// All but the sources are wanted, not the sources alone.
    pub exclude: bool,
    /// The sources.
    pub sources: BTreeSet<IpAddr>,
}

impl Filter {
    /// Every source is wanted.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            exclude: true,
            sources: BTreeSet::new(),
        }
    }

    /// Whether none is.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.exclude && self.sources.is_empty()
    }

    /// Whether a source is wanted.
    #[must_use]
    pub fn passes(&self, source: IpAddr) -> bool {
        self.sources.contains(&source) != self.exclude
    }

    /// What an interface wants whose sockets want these (RFC 3376 section 3.2): what any of them wants.
    #[must_use]
    pub fn merge<'a>(filters: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let included = || {
            let all = filters.clone().filter(|filter| !filter.exclude);
            all.flat_map(|filter| filter.sources.iter().copied())
        };
        let mut excluding = filters.clone().filter(|filter| filter.exclude);
        let Some(first) = excluding.next() else {
            return Self {
                exclude: false,
                sources: included().collect(),
            };
        };
        let mut sources = first.sources.clone();
        excluding.for_each(|filter| sources.retain(|source| filter.sources.contains(source)));
        included().for_each(|source| {
            sources.remove(&source);
        });
        Self {
            exclude: true,
            sources,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn filter(exclude: bool, hosts: &[u8]) -> Filter {
        let source = |host: &u8| Ipv4Addr::new(10, 0, 0, *host).into();
        Filter {
            exclude,
            sources: hosts.iter().map(source).collect(),
        }
    }

    /// The examples of RFC 3376 section 3.2.
    #[test]
    fn merging() {
        let (a, b, c, d) = (1, 2, 3, 4);
        let merge = |all: &[Filter]| Filter::merge(all.iter());
        // s1: EXCLUDE {a, b, c, d}, s2: EXCLUDE {b, c, d, e}, s3: INCLUDE {d, e, f}.
        let one = [
            filter(true, &[a, b, c, d]),
            filter(true, &[b, c, d, 5]),
            filter(false, &[d, 5, 6]),
        ];
        assert_eq!(merge(&one), filter(true, &[b, c]));
        // INCLUDE {a, b, c}, INCLUDE {b, c, d}, INCLUDE {e, f}.
        let two = [
            filter(false, &[a, b, c]),
            filter(false, &[b, c, d]),
            filter(false, &[5, 6]),
        ];
        assert_eq!(merge(&two), filter(false, &[a, b, c, d, 5, 6]));
        assert!(merge(&[]).is_none());
        assert_eq!(merge(&[filter(true, &[a]), Filter::all()]), Filter::all());
    }

    #[test]
    fn passing() {
        let source = |host| Ipv4Addr::new(10, 0, 0, host).into();
        assert!(filter(false, &[1]).passes(source(1)) && !filter(false, &[1]).passes(source(2)));
        assert!(!filter(true, &[1]).passes(source(1)) && filter(true, &[1]).passes(source(2)));
        assert!(Filter::all().passes(source(1)) && !Filter::default().passes(source(1)));
    }
}
