//! Neighbours: link addresses of the hosts on a link, for ARP (RFC 826, RFC 1122 section 2.3.2) and neighbour discovery (RFC 4861
//! section 7.3).

use crate::{MacAddr, Packet};
use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::{net::IpAddr, time::Duration};
use rumpuser::Instant;

/// Bytes of packets that wait for one address at most, as much as a socket sends unless told otherwise: the largest packet of IP is 45
/// fragments on Ethernet, and without one of them all are lost. RFC 1122 section 2.3.2.2 asks for one packet, the latest.
const WAITING: usize = 208 << 10;
/// The same for all addresses together; beyond it each has its latest packet.
const WAITING_ALL: usize = 4 << 20;
/// What a packet that waits costs besides its bytes.
const OVERHEAD: usize = 256;
/// Neighbours that are remembered at most.
const MOST: usize = 4_096;
/// Unanswered requests before a host counts as gone.
const REQUESTS: u8 = 3;
/// Time between two requests.
const RETRY: Duration = Duration::from_secs(1);
/// How long an address that was confirmed is used without asking.
const REACHABLE: Duration = Duration::from_secs(30);
/// How long an entry that nobody uses is kept.
const KEPT: Duration = Duration::from_secs(1_200);

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was asked for, and has not answered yet.
    Incomplete,
    /// It was heard of not long ago.
    Reachable,
    /// Its address is used, and asked for again when it is.
    Stale,
    /// Entered by hand.
    Permanent,
}

struct Neighbor {
    mac: MacAddr,
    state: State,
    /// When the state ends or the next request is due.
    until: Instant,
    used: Instant,
    requests: u8,
    waiting: Waiting,
}

/// Packets that wait for an address.
#[derive(Default)]
struct Waiting {
    packets: VecDeque<Packet>,
    /// What they cost.
    bytes: usize,
}

impl Waiting {
    fn cost(packet: &Packet) -> usize {
        packet.len().saturating_add(OVERHEAD)
    }

    /// Adds a packet, which takes the place of those that were there first if there is no room; `all` is what wait for all addresses.
    fn push(&mut self, packet: Packet, all: &mut usize) {
        let more = Self::cost(&packet);
        while self.bytes.saturating_add(more) > WAITING || all.saturating_add(more) > WAITING_ALL {
            let Some(first) = self.packets.pop_front() else {
                break;
            };
            let less = Self::cost(&first);
            self.bytes = self.bytes.saturating_sub(less);
            *all = all.saturating_sub(less);
        }
        self.bytes = self.bytes.saturating_add(more);
        *all = all.saturating_add(more);
        self.packets.push_back(packet);
    }

    /// Takes them out.
    fn take(&mut self, all: &mut usize) -> Vec<Packet> {
        *all = all.saturating_sub(core::mem::take(&mut self.bytes));
        core::mem::take(&mut self.packets).into()
    }
}

/// What to do with a packet.
#[derive(Debug)]
pub enum Resolution {
    /// It goes to this address.
    Known(MacAddr, Packet),
    /// The same, and the host should be asked by unicast whether it still has it.
    Confirm(MacAddr, Packet),
    /// It waits; a request is to be sent.
    Ask,
    /// It waits.
    Wait,
}

/// What time has brought.
#[derive(Debug)]
pub enum Due {
    /// Ask for the address (again).
    Ask {
        /// The interface's number.
        interface: u32,
        /// Whose.
        address: IpAddr,
    },
    /// Nobody answered: these packets cannot be delivered.
    Failed {
        /// The interface's number.
        interface: u32,
        /// Whose.
        address: IpAddr,
        /// What waited.
        packets: Vec<Packet>,
    },
}

/// The neighbours of all interfaces.
#[derive(Default)]
pub struct Cache {
    map: BTreeMap<(u32, IpAddr), Neighbor>,
    /// Not after the time when the first one that was asked for is due. It is looked at for every packet.
    due: Option<Instant>,
    changes: u64,
    /// What all packets that wait cost.
    waiting: usize,
}

impl Cache {
    fn ask_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// How often something has changed: who keeps what [`settled`](Self::settled) said knows by it whether that is old.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    const fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// The address of a neighbour that is not to be asked for, and until when that is so if nothing changes.
    #[must_use]
    pub fn settled(
        &self,
        interface: u32,
        address: IpAddr,
        now: Instant,
    ) -> Option<(MacAddr, Instant)> {
        let neighbor = self.map.get(&(interface, address))?;
        match neighbor.state {
            State::Permanent => Some((neighbor.mac, Instant(u64::MAX))),
            State::Reachable if neighbor.until > now => Some((neighbor.mac, neighbor.until)),
            _ => None,
        }
    }

    /// Finds the address for a packet, or keeps the packet until it is found.
    pub fn resolve(
        &mut self,
        interface: u32,
        address: IpAddr,
        packet: Packet,
        now: Instant,
    ) -> Resolution {
        if let Some(neighbor) = self.map.get_mut(&(interface, address)) {
            neighbor.used = now;
            match neighbor.state {
                State::Permanent => return Resolution::Known(neighbor.mac, packet),
                State::Reachable if neighbor.until > now => {
                    return Resolution::Known(neighbor.mac, packet);
                }
                State::Reachable | State::Stale => {
                    neighbor.state = State::Stale;
                    if neighbor.until > now {
                        return Resolution::Known(neighbor.mac, packet);
                    }
                    neighbor.until = now.after(RETRY);
                    if neighbor.requests >= REQUESTS {
                        // It has not confirmed its address: all are asked (RFC 4861 section 7.3.3, RFC 1122 section 2.3.2.1).
                        neighbor.state = State::Incomplete;
                        neighbor.requests = 1;
                        neighbor.waiting.push(packet, &mut self.waiting);
                        self.ask_at(now.after(RETRY));
                        return Resolution::Ask;
                    }
                    neighbor.requests = neighbor.requests.saturating_add(1);
                    return Resolution::Confirm(neighbor.mac, packet);
                }
                State::Incomplete => {
                    neighbor.waiting.push(packet, &mut self.waiting);
                    return Resolution::Wait;
                }
            }
        }
        self.make_room();
        let mut waiting = Waiting::default();
        waiting.push(packet, &mut self.waiting);
        self.map.insert(
            (interface, address),
            Neighbor {
                mac: MacAddr::default(),
                state: State::Incomplete,
                until: now.after(RETRY),
                used: now,
                requests: 1,
                waiting,
            },
        );
        self.ask_at(now.after(RETRY));
        Resolution::Ask
    }

    /// A neighbour has told its address. Returns the packets that waited for it. One that nobody asked for is remembered only if
    /// `create`, as RFC 826 has it for requests to this host.
    pub fn learn(
        &mut self,
        interface: u32,
        address: IpAddr,
        mac: MacAddr,
        create: bool,
        now: Instant,
    ) -> Vec<Packet> {
        let key = (interface, address);
        if !self.map.contains_key(&key) {
            if !create {
                return Vec::new();
            }
            self.make_room();
        }
        self.changed();
        let neighbor = self.map.entry(key).or_insert_with(|| Neighbor {
            mac,
            state: State::Stale,
            until: now,
            used: now,
            requests: 0,
            waiting: Waiting::default(),
        });
        if neighbor.state != State::Permanent {
            neighbor.mac = mac;
            neighbor.state = State::Reachable;
            neighbor.until = now.after(REACHABLE);
            neighbor.requests = 0;
        }
        neighbor.waiting.take(&mut self.waiting)
    }

    /// A neighbour has told its address in passing, which does not show that it hears this host (RFC 4861 section 7.2.3). Returns the
    /// packets that waited for it.
    pub fn hear(
        &mut self,
        interface: u32,
        address: IpAddr,
        mac: MacAddr,
        now: Instant,
    ) -> Vec<Packet> {
        let key = (interface, address);
        let known = self.map.get(&key);
        let same = |n: &Neighbor| n.state != State::Incomplete && n.mac == mac;
        if known.is_some_and(|n| n.state == State::Permanent || same(n)) {
            return Vec::new();
        }
        let waiting = self.learn(interface, address, mac, true, now);
        self.doubt(key, now);
        waiting
    }

    /// A neighbour has advertised itself (RFC 4861 section 7.2.5). `mac`: the link address, if it says one. Returns the packets that
    /// waited for it; nothing if the advertisement is to change nothing.
    pub fn advertised(
        &mut self,
        key: (u32, IpAddr),
        mac: Option<MacAddr>,
        solicited: bool,
        overrides: bool,
        now: Instant,
    ) -> Option<Vec<Packet>> {
        let neighbor = self.map.get(&key)?;
        let (known, waits) = (neighbor.mac, neighbor.state == State::Incomplete);
        let mac = mac.or_else(|| (!waits).then_some(known))?;
        if !waits && mac != known && !overrides {
            // Two say that they have it: the first is kept, and asked.
            if neighbor.state == State::Reachable {
                self.doubt(key, now);
            }
            return None;
        }
        if solicited || waits || mac != known {
            let waiting = self.learn(key.0, key.1, mac, false, now);
            if !solicited {
                self.doubt(key, now);
            }
            return Some(waiting);
        }
        Some(Vec::new())
    }

    fn doubt(&mut self, key: (u32, IpAddr), now: Instant) {
        self.changed();
        if let Some(neighbor) = self.map.get_mut(&key)
            && neighbor.state == State::Reachable
        {
            (neighbor.state, neighbor.until) = (State::Stale, now);
        }
    }

    /// Enters an address by hand.
    pub fn set(&mut self, interface: u32, address: IpAddr, mac: MacAddr, now: Instant) {
        self.changed();
        let neighbor = Neighbor {
            mac,
            state: State::Permanent,
            until: now,
            used: now,
            requests: 0,
            waiting: Waiting::default(),
        };
        if let Some(mut before) = self.map.insert((interface, address), neighbor) {
            before.waiting.take(&mut self.waiting);
        }
    }

    /// Removes those that `gone` chooses; returns how many.
    pub fn remove(&mut self, mut gone: impl FnMut(u32, IpAddr) -> bool) -> usize {
        self.changed();
        let before = self.map.len();
        self.map.retain(|(interface, address), neighbor| {
            let gone = gone(*interface, *address);
            if gone {
                neighbor.waiting.take(&mut self.waiting);
            }
            !gone
        });
        before.saturating_sub(self.map.len())
    }

    /// All of them: interface, address, link address (if known), state.
    pub fn iter(&self) -> impl Iterator<Item = (u32, IpAddr, Option<MacAddr>, State)> {
        self.map.iter().map(|((interface, address), neighbor)| {
            let known = neighbor.state != State::Incomplete;
            let mac = known.then_some(neighbor.mac);
            (*interface, *address, mac, neighbor.state)
        })
    }

    /// When [`expire`](Self::expire) has something to do, or earlier.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What time has brought. Forgets what was not used for long.
    pub fn expire(&mut self, now: Instant) -> Vec<Due> {
        let before = self.map.len();
        let mut due = Vec::new();
        self.map.retain(|&(interface, address), neighbor| {
            if neighbor.state != State::Incomplete {
                let idle = now.since(neighbor.used) > KEPT;
                return neighbor.state == State::Permanent || !idle;
            }
            if neighbor.until > now {
                return true;
            }
            if neighbor.requests >= REQUESTS {
                let packets = neighbor.waiting.take(&mut self.waiting);
                due.push(Due::Failed {
                    interface,
                    address,
                    packets,
                });
                return false;
            }
            neighbor.requests = neighbor.requests.saturating_add(1);
            neighbor.until = now.after(RETRY);
            due.push(Due::Ask { interface, address });
            true
        });
        let incomplete = self.map.values().filter(|n| n.state == State::Incomplete);
        self.due = incomplete.map(|neighbor| neighbor.until).min();
        if self.map.len() != before {
            self.changed();
        }
        due
    }

    /// Forgets the one that was not used for the longest time when there are too many.
    fn make_room(&mut self) {
        if self.map.len() < MOST {
            return;
        }
        self.changed();
        let mut loose = self.map.iter().filter(|(_, n)| n.state != State::Permanent);
        let first = loose.next().map(|(key, n)| (*key, n.used));
        let oldest = loose.fold(first, |oldest, (key, n)| match oldest {
            Some((_, used)) if used <= n.used => oldest,
            _ => Some((*key, n.used)),
        });
        if let Some((key, _)) = oldest {
            let gone = self.map.remove(&key);
            gone.map(|mut gone| gone.waiting.take(&mut self.waiting));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 2));
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn at(seconds: u64) -> Instant {
        Instant(seconds.saturating_mul(1_000_000_000))
    }

    #[test]
    fn packets_wait_for_the_answer() {
        let mut cache = Cache::default();
        let send = |text: &[u8], cache: &mut Cache, now| {
            cache.resolve(1, HOST, Packet::with_bytes(text), now)
        };
        assert!(matches!(send(b"a", &mut cache, at(0)), Resolution::Ask));
        assert!(matches!(send(b"b", &mut cache, at(0)), Resolution::Wait));
        let waited = cache.learn(1, HOST, MAC, false, at(0));
        let texts: Vec<_> = waited.iter().map(Packet::head).collect();
        assert_eq!(texts, [b"a", b"b"]);
        assert!(matches!(
            send(b"c", &mut cache, at(1)),
            Resolution::Known(MAC, _)
        ));
        assert!(matches!(
            send(b"d", &mut cache, at(40)),
            Resolution::Confirm(MAC, _)
        ));
        assert!(matches!(
            send(b"e", &mut cache, at(40)),
            Resolution::Known(MAC, _)
        ));
    }

    #[test]
    fn silence_ends_after_three_requests() {
        let mut cache = Cache::default();
        let packet = Packet::with_bytes(b"lost");
        assert!(matches!(
            cache.resolve(1, HOST, packet, at(0)),
            Resolution::Ask
        ));
        assert_eq!(cache.deadline(), Some(at(1)));
        assert!(matches!(cache.expire(at(1))[..], [Due::Ask { .. }]));
        assert!(matches!(cache.expire(at(2))[..], [Due::Ask { .. }]));
        let due = cache.expire(at(3));
        assert!(matches!(&due[..], [Due::Failed { packets, .. }] if packets.len() == 1));
        assert_eq!((cache.deadline(), cache.iter().count()), (None, 0));
    }

    /// The largest packet of IP in fragments waits as a whole; what waits has a limit for each address, one for all, and is forgotten with
    /// its neighbour.
    #[test]
    fn what_waits_is_bounded() {
        let mut cache = Cache::default();
        let host = |n| IpAddr::V4(core::net::Ipv4Addr::from_bits(n));
        let send = |cache: &mut Cache, n, packet: &[u8]| {
            cache.resolve(1, host(n), Packet::with_bytes(packet), at(0));
        };
        let fragment = |n: u8| alloc::vec![n; 1_500];
        (0..45).for_each(|n| send(&mut cache, 1, &fragment(n)));
        let waited = cache.learn(1, host(1), MAC, false, at(0));
        assert_eq!((waited.len(), cache.waiting), (45, 0));
        // The latest stay.
        (0..200).for_each(|n| send(&mut cache, 2, &fragment(n)));
        assert!(cache.waiting <= WAITING);
        let waited = cache.learn(1, host(2), MAC, false, at(0));
        assert!((100..200).contains(&waited.len()));
        let mut last = [0];
        assert_eq!(waited.last().unwrap().copy_to(0, &mut last), 1);
        assert_eq!(last, [199]);
        // Many addresses: each keeps one.
        for n in 10..1_010 {
            (0..20).for_each(|_| send(&mut cache, n, &fragment(0)));
        }
        let most = WAITING_ALL + 1_000 * (1_500 + OVERHEAD);
        assert!((WAITING_ALL / 2..most).contains(&cache.waiting));
        assert_eq!(cache.remove(|_, address| address == host(10)), 1);
        cache.set(1, host(11), MAC, at(0));
        for second in 1..=3 {
            for due in cache.expire(at(second)) {
                assert!(!matches!(due, Due::Failed { packets, .. } if packets.is_empty()));
            }
        }
        assert_eq!(cache.waiting, 0);
    }

    /// RFC 4861 section 7.3.3: who does not confirm its address is asked for by all, and is gone then.
    #[test]
    fn who_does_not_confirm_is_asked_for_again() {
        let mut cache = Cache::default();
        cache.learn(1, HOST, MAC, true, at(0));
        let send = |cache: &mut Cache, now| cache.resolve(1, HOST, Packet::with_bytes(b"x"), now);
        for second in 40..43 {
            let sent = send(&mut cache, at(second));
            assert!(matches!(sent, Resolution::Confirm(MAC, _)), "{sent:?}");
        }
        assert!(matches!(send(&mut cache, at(43)), Resolution::Ask));
        assert!(matches!(send(&mut cache, at(43)), Resolution::Wait));
        assert_eq!(cache.learn(1, HOST, MAC, false, at(43)).len(), 2);
        assert!(matches!(
            send(&mut cache, at(44)),
            Resolution::Known(MAC, _)
        ));
    }

    /// RFC 4861 section 7.2.3: what is said in passing is used, and doubted.
    #[test]
    fn what_is_heard_in_passing() {
        let mut cache = Cache::default();
        let packet = || Packet::with_bytes(b"x");
        assert!(cache.hear(1, HOST, MAC, at(0)).is_empty());
        let sent = cache.resolve(1, HOST, packet(), at(0));
        assert!(matches!(sent, Resolution::Confirm(MAC, _)));
        cache.learn(1, HOST, MAC, false, at(0));
        // The same address again changes nothing, another one does.
        cache.hear(1, HOST, MAC, at(1));
        assert!(matches!(
            cache.resolve(1, HOST, packet(), at(1)),
            Resolution::Known(MAC, _)
        ));
        let other = MacAddr([2, 0, 0, 0, 0, 3]);
        cache.hear(1, HOST, other, at(1));
        let sent = cache.resolve(1, HOST, packet(), at(1));
        assert!(matches!(sent, Resolution::Confirm(mac, _) if mac == other));
    }

    /// RFC 4861 section 7.2.5.
    #[test]
    fn advertisements() {
        let mut cache = Cache::default();
        let (key, other) = ((1, HOST), MacAddr([2, 0, 0, 0, 0, 3]));
        let state = |cache: &Cache| cache.iter().next().map(|(_, _, mac, state)| (mac, state));
        // Nobody asked.
        let none = cache.advertised(key, Some(MAC), true, true, at(0));
        assert!(none.is_none() && state(&cache).is_none());
        cache.resolve(1, HOST, Packet::with_bytes(b"x"), at(0));
        // It says no link address: it is still not known.
        assert!(cache.advertised(key, None, true, true, at(0)).is_none());
        let waited = cache.advertised(key, Some(MAC), true, false, at(0));
        assert_eq!(waited.map(|waited| waited.len()), Some(1));
        assert_eq!(state(&cache), Some((Some(MAC), State::Reachable)));
        // Another says that it has the address, and does not insist.
        let kept = cache.advertised(key, Some(other), false, false, at(0));
        assert!(kept.is_none());
        assert_eq!(state(&cache), Some((Some(MAC), State::Stale)));
        cache.advertised(key, None, true, false, at(0));
        assert_eq!(state(&cache), Some((Some(MAC), State::Reachable)));
        // It insists, unasked.
        cache.advertised(key, Some(other), false, true, at(0));
        assert_eq!(state(&cache), Some((Some(other), State::Stale)));
    }

    #[test]
    fn strangers_are_not_remembered_and_memory_is_bounded() {
        let mut cache = Cache::default();
        cache.learn(1, HOST, MAC, false, at(0));
        assert_eq!(cache.iter().count(), 0);
        for n in 0..10_000_u32 {
            let address = IpAddr::V4(core::net::Ipv4Addr::from_bits(n));
            cache.learn(1, address, MAC, true, at(n.into()));
        }
        assert_eq!(cache.iter().count(), MOST);
    }
}
