//! Answers, for as long as their servers say (RFC 2181 section 5.2, RFC 2308).

use crate::{Name, message::Kind};
use alloc::{collections::BTreeMap, vec::Vec};
use core::{net::IpAddr, time::Duration};
use rumpuser::Instant;

/// Entries at most.
const MOST: usize = 1_024;
/// An answer is kept this long at most.
const LONGEST: Duration = Duration::from_secs(86_400);
/// A "no" is kept this long at most (RFC 2308 section 5).
const LONGEST_NO: Duration = Duration::from_secs(900);

/// Answers that still hold: addresses, or none where there are none.
#[derive(Default)]
pub struct Cache(BTreeMap<(Name, Kind), Entry>);

struct Entry {
    addresses: Vec<IpAddr>,
    end: Instant,
}

impl Cache {
    /// What is known: empty where it is known that there is nothing.
    #[must_use]
    pub fn get(&self, name: &Name, kind: Kind, now: Instant) -> Option<Vec<IpAddr>> {
        let entry = self.0.get(&(name.clone(), kind))?;
        (now < entry.end).then(|| entry.addresses.clone())
    }

    /// Keeps an answer.
    pub fn put(
        &mut self,
        name: Name,
        kind: Kind,
        addresses: Vec<IpAddr>,
        ttl: Duration,
        now: Instant,
    ) {
        let longest = if addresses.is_empty() {
            LONGEST_NO
        } else {
            LONGEST
        };
        let ttl = ttl.min(longest);
        if ttl.is_zero() {
            return;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, entry| now < entry.end);
        }
        if self.0.len() >= MOST {
            // The one that would go first.
            let first = self.0.iter().min_by_key(|(_, entry)| entry.end);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                self.0.remove(&key);
            }
        }
        let end = now.after(ttl);
        self.0.insert((name, kind), Entry { addresses, end });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn for_as_long_as_they_hold_and_not_too_many() {
        let mut cache = Cache::default();
        let second = |n: u64| Instant(n * 1_000_000_000);
        let name = |n: usize| alloc::format!("h{n}.org").parse::<Name>().unwrap();
        let ip = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let ttl = Duration::from_secs(10);
        cache.put(name(0), Kind::A, ip.to_vec(), ttl, second(0));
        cache.put(name(1), Kind::A, ip.to_vec(), Duration::ZERO, second(0));
        assert_eq!(cache.get(&name(0), Kind::A, second(9)), Some(ip.to_vec()));
        assert_eq!(cache.get(&name(0), Kind::A, second(10)), None);
        assert_eq!(cache.get(&name(0), Kind::Aaaa, second(0)), None);
        assert_eq!(cache.get(&name(1), Kind::A, second(0)), None);
        cache.put(
            name(2),
            Kind::A,
            Vec::new(),
            Duration::from_secs(9_999),
            second(0),
        );
        assert_eq!(cache.get(&name(2), Kind::A, second(899)), Some(Vec::new()));
        assert_eq!(cache.get(&name(2), Kind::A, second(900)), None);
        for n in 0..5_000 {
            cache.put(name(n), Kind::A, ip.to_vec(), ttl, second(20));
        }
        assert_eq!(cache.0.len(), MOST);
        assert!(cache.get(&name(4_999), Kind::A, second(20)).is_some());
    }
}
