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
/// So many are forgotten at most when there are too many: to look for them takes a walk through all.
const AT_ONCE: usize = 64;
/// Unanswered requests before a host counts as gone (`MAX_MULTICAST_SOLICIT`, `MAX_UNICAST_SOLICIT` of RFC 4861 section 10).
const REQUESTS: u8 = 3;
/// How long the confirmation of an address that is used again is waited for before it is asked for (`DELAY_FIRST_PROBE_TIME`).
const DELAY: Duration = Duration::from_secs(5);
/// How long an entry that nobody uses is kept, and how often such are looked for.
const KEPT: Duration = Duration::from_secs(1_200);
const SWEEP: Duration = Duration::from_secs(60);

/// The times of a link (RFC 4861 section 6.3.2), which routers may set for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long an address that was confirmed is used without asking (`ReachableTime`).
    pub reachable: Duration,
    /// The time between two requests (`RetransTimer`).
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            reachable: Duration::from_secs(30),
            retry: Duration::from_secs(1),
        }
    }
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was asked for, and has not answered yet.
    Incomplete,
    /// It was heard of not long ago.
    Reachable,
    /// Its address is doubted as soon as it is used.
    Stale,
    /// It is used, and is asked for soon unless it is confirmed before.
    Delay,
    /// It is used, and was asked whether it still is.
    Probe,
    /// Entered by hand.
    Permanent,
}

struct Neighbor {
    mac: MacAddr,
    state: State,
    /// When the state ends or the next request is due.
    until: Instant,
    used: Instant,
    /// Something was sent to it.
    wanted: bool,
    /// It has answered a question, or what was sent to it is known to have arrived.
    confirmed: bool,
    requests: u8,
    waiting: Waiting,
}

impl Neighbor {
    /// The time when something is due for it.
    fn due(&self) -> Option<Instant> {
        let timed = matches!(self.state, State::Incomplete | State::Delay | State::Probe);
        timed.then_some(self.until)
    }

    /// What is forgotten first if there are too many (RFC 6583 section 7.1): strangers that nobody has spoken to, addresses that nobody may have,
    /// who was only answered, then the others. `None`: never.
    const fn worth(&self) -> Option<u8> {
        match self.state {
            State::Permanent => None,
            _ if !self.wanted => Some(0),
            State::Incomplete => Some(1),
            _ if !self.confirmed => Some(2),
            _ => Some(3),
        }
    }
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
        /// The one that had it; `None` is all.
        to: Option<MacAddr>,
    },
    /// Nobody answered: the neighbour is gone, and these packets cannot be delivered.
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
    /// What routers have said of links, for IPv6.
    times: BTreeMap<u32, Times>,
    /// When those that nobody uses are looked for.
    sweep: Instant,
}

impl Cache {
    fn ask_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Sets the times of IPv6 on an interface, for what comes from now on.
    pub fn set_times(&mut self, interface: u32, times: Times) {
        self.times.insert(interface, times);
    }

    fn times(&self, interface: u32, address: IpAddr) -> Times {
        let said = self.times.get(&interface).filter(|_| address.is_ipv6());
        said.copied().unwrap_or_default()
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
            State::Reachable | State::Delay | State::Probe if neighbor.until > now => {
                Some((neighbor.mac, neighbor.until))
            }
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
        let retry = self.times(interface, address).retry;
        if let Some(neighbor) = self.map.get_mut(&(interface, address)) {
            (neighbor.used, neighbor.wanted) = (now, true);
            let doubted = match neighbor.state {
                State::Incomplete => {
                    neighbor.waiting.push(packet, &mut self.waiting);
                    return Resolution::Wait;
                }
                State::Reachable => neighbor.until <= now,
                State::Stale => true,
                State::Delay | State::Probe | State::Permanent => false,
            };
            let mac = neighbor.mac;
            if doubted {
                (neighbor.state, neighbor.until) = (State::Delay, now.after(DELAY));
                self.ask_at(now.after(DELAY));
            }
            return Resolution::Known(mac, packet);
        }
        self.make_room();
        let mut waiting = Waiting::default();
        waiting.push(packet, &mut self.waiting);
        self.map.insert(
            (interface, address),
            Neighbor {
                mac: MacAddr::default(),
                state: State::Incomplete,
                until: now.after(retry),
                used: now,
                wanted: true,
                confirmed: false,
                requests: 1,
                waiting,
            },
        );
        self.ask_at(now.after(retry));
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
        let reachable = self.times(interface, address).reachable;
        let neighbor = self.map.entry(key).or_insert_with(|| Neighbor {
            mac,
            state: State::Stale,
            until: now,
            used: now,
            wanted: false,
            confirmed: false,
            requests: 0,
            waiting: Waiting::default(),
        });
        if neighbor.state != State::Permanent {
            neighbor.confirmed |= matches!(neighbor.state, State::Incomplete | State::Probe);
            neighbor.mac = mac;
            neighbor.state = State::Reachable;
            neighbor.until = now.after(reachable);
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
        let confirmed = known.is_some_and(|n| n.confirmed);
        let same = |n: &Neighbor| n.state != State::Incomplete && n.mac == mac;
        if known.is_some_and(|n| n.state == State::Permanent || same(n)) {
            return Vec::new();
        }
        let waiting = self.learn(interface, address, mac, true, now);
        if let Some(neighbor) = self.map.get_mut(&key) {
            neighbor.confirmed = confirmed;
        }
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
            wanted: true,
            confirmed: true,
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

    /// Forgets all that is known of an interface's link.
    pub fn detach(&mut self, interface: u32) {
        self.remove(|on, _| on == interface);
        self.times.remove(&interface);
    }

    /// All of them: interface, address, link address (if known), state.
    pub fn iter(&self) -> impl Iterator<Item = (u32, IpAddr, Option<MacAddr>, State)> {
        self.map.iter().map(|((interface, address), neighbor)| {
            let known = neighbor.state != State::Incomplete;
            let mac = known.then_some(neighbor.mac);
            (*interface, *address, mac, neighbor.state)
        })
    }

    /// Those that [`expire`](Self::expire) would ask by unicast now, each with the time from which on news of it counts.
    #[must_use]
    pub fn doubted(&self, now: Instant) -> BTreeMap<(u32, IpAddr), Instant> {
        if self.due.is_none_or(|at| at > now) {
            return BTreeMap::new();
        }
        let doubted = self.map.iter().filter(|(_, neighbor)| {
            matches!(neighbor.state, State::Delay | State::Probe) && neighbor.until <= now
        });
        // The first question comes so long after it was doubted; of the time before others it was known that there was nothing.
        let since = Instant(0).after(now.since(Instant(0)).saturating_sub(DELAY));
        doubted.map(|(key, _)| (*key, since)).collect()
    }

    /// Somebody knows that what is sent to a neighbour arrived there at some time (RFC 4861 section 7.3.1).
    pub fn confirm(&mut self, key: (u32, IpAddr), at: Instant) {
        let reachable = self.times(key.0, key.1).reachable;
        if let Some(neighbor) = self.map.get_mut(&key)
            && matches!(neighbor.state, State::Delay | State::Probe)
        {
            (neighbor.state, neighbor.requests) = (State::Reachable, 0);
            (neighbor.until, neighbor.confirmed) = (at.after(reachable), true);
        }
    }

    /// When [`expire`](Self::expire) has something to do, or earlier.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What time has brought. Forgets what was not used for long.
    pub fn expire(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        if self.due.is_none_or(|at| at > now) && self.sweep > now {
            return due;
        }
        self.sweep = now.after(SWEEP);
        let before = self.map.len();
        let Self {
            map,
            times,
            waiting,
            ..
        } = self;
        map.retain(|&(interface, address), neighbor| {
            let Some(at) = neighbor.due() else {
                // While an address is settled packets may go to it without a look here.
                let idle = now.since(neighbor.used.max(neighbor.until)) > KEPT;
                return neighbor.state == State::Permanent || !idle;
            };
            if at > now {
                return true;
            }
            if neighbor.state == State::Delay {
                (neighbor.state, neighbor.requests) = (State::Probe, 0);
            }
            if neighbor.requests >= REQUESTS {
                let packets = neighbor.waiting.take(waiting);
                due.push(Due::Failed {
                    interface,
                    address,
                    packets,
                });
                return false;
            }
            let said = times.get(&interface).filter(|_| address.is_ipv6());
            neighbor.requests = neighbor.requests.saturating_add(1);
            neighbor.until = now.after(said.copied().unwrap_or_default().retry);
            due.push(Due::Ask {
                interface,
                address,
                to: (neighbor.state == State::Probe).then_some(neighbor.mac),
            });
            true
        });
        self.due = self.map.values().filter_map(Neighbor::due).min();
        if self.map.len() != before {
            self.changed();
        }
        due
    }

    /// Forgets some when there are too many: of those that are worth least the ones that were not used for the longest time.
    fn make_room(&mut self) {
        if self.map.len() < MOST {
            return;
        }
        self.changed();
        let Some(least) = self.map.values().filter_map(Neighbor::worth).min() else {
            return;
        };
        let all = self.map.iter();
        let mut loose: Vec<_> = all
            .filter(|(_, neighbor)| neighbor.worth() == Some(least))
            .map(|(key, neighbor)| (neighbor.used, *key))
            .collect();
        loose.sort_unstable();
        for (_, key) in loose.iter().take(AT_ONCE) {
            if let Some(mut gone) = self.map.remove(key) {
                gone.waiting.take(&mut self.waiting);
            }
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

    /// RFC 4861 section 7.3.3: an address that is used again is doubted for five seconds, then asked for by unicast, three times; who does not
    /// answer is gone. In all that time packets go to it.
    #[test]
    fn who_does_not_confirm_is_gone() {
        let mut cache = Cache::default();
        let key = (1, HOST);
        let state = |cache: &Cache| cache.iter().next().map(|(.., state)| state);
        let sends = |cache: &mut Cache, now| {
            let sent = cache.resolve(1, HOST, Packet::with_bytes(b"x"), now);
            matches!(sent, Resolution::Known(MAC, _))
        };
        cache.learn(1, HOST, MAC, true, at(0));
        assert_eq!(
            (state(&cache), cache.deadline()),
            (Some(State::Reachable), None)
        );
        assert!(sends(&mut cache, at(29)) && cache.deadline().is_none());
        assert!(sends(&mut cache, at(40)));
        assert_eq!(state(&cache), Some(State::Delay));
        assert_eq!(cache.deadline(), Some(at(45)));
        assert_eq!(cache.settled(1, HOST, at(41)), Some((MAC, at(45))));
        assert!(cache.expire(at(44)).is_empty());
        for second in 45..48 {
            let due = cache.expire(at(second));
            assert!(
                matches!(due[..], [Due::Ask { to: Some(MAC), .. }]),
                "{due:?}"
            );
            assert_eq!(state(&cache), Some(State::Probe));
            assert!(sends(&mut cache, at(second)));
        }
        // The answer ends it.
        cache.advertised(key, None, true, false, at(47));
        assert_eq!(state(&cache), Some(State::Reachable));
        assert!(cache.expire(at(48)).is_empty());
        assert!(sends(&mut cache, at(80)));
        for second in 85..88 {
            assert_eq!(cache.expire(at(second)).len(), 1);
        }
        let due = cache.expire(at(88));
        assert!(matches!(&due[..], [Due::Failed { packets, .. }] if packets.is_empty()));
        assert_eq!((state(&cache), cache.deadline()), (None, None));
    }

    /// RFC 4861 section 7.3.1: who is known to hear what is sent to it is not asked.
    #[test]
    fn who_is_known_to_hear_is_not_asked() {
        let mut cache = Cache::default();
        let key = (1, HOST);
        let send = |cache: &mut Cache, now| {
            cache.resolve(1, HOST, Packet::with_bytes(b"x"), now);
        };
        let state = |cache: &Cache| cache.iter().next().map(|(.., state)| state);
        cache.learn(1, HOST, MAC, true, at(0));
        send(&mut cache, at(40));
        assert!(cache.doubted(at(44)).is_empty());
        assert_eq!(cache.doubted(at(45)), BTreeMap::from([(key, at(40))]));
        cache.confirm(key, at(43));
        assert!(cache.expire(at(45)).is_empty());
        assert_eq!(cache.settled(1, HOST, at(46)), Some((MAC, at(73))));
        // Also one that was asked already.
        send(&mut cache, at(80));
        assert_eq!(cache.expire(at(85)).len(), 1);
        assert_eq!(cache.doubted(at(86)), BTreeMap::from([(key, at(81))]));
        cache.confirm(key, at(86));
        assert!(cache.expire(at(86)).is_empty() && cache.deadline().is_none());
        assert_eq!(state(&cache), Some(State::Reachable));
        // Nobody else.
        cache.resolve(1, IpAddr::from([10, 0, 0, 3]), Packet::new(), at(86));
        cache.confirm((1, IpAddr::from([10, 0, 0, 3])), at(86));
        cache.confirm((1, IpAddr::from([10, 0, 0, 4])), at(86));
        assert!(cache.doubted(at(87)).is_empty());
        let known = cache.iter().filter(|(_, _, mac, _)| mac.is_some());
        assert_eq!((known.count(), cache.iter().count()), (1, 2));
    }

    /// RFC 4861 section 6.3.4: the times are what routers say, for IPv6.
    #[test]
    fn times_of_a_link() {
        let mut cache = Cache::default();
        let six = IpAddr::V6(core::net::Ipv6Addr::LOCALHOST);
        let times = Times {
            reachable: Duration::from_secs(2),
            retry: Duration::from_secs(4),
        };
        cache.set_times(1, times);
        cache.resolve(1, six, Packet::with_bytes(b"x"), at(0));
        assert_eq!(cache.deadline(), Some(at(4)));
        assert_eq!(cache.expire(at(4)).len(), 1);
        assert_eq!(cache.deadline(), Some(at(8)));
        cache.learn(1, six, MAC, false, at(5));
        cache.learn(1, HOST, MAC, true, at(5));
        assert_eq!(cache.settled(1, six, at(6)), Some((MAC, at(7))));
        assert_eq!(cache.settled(1, HOST, at(6)), Some((MAC, at(35))));
        cache.learn(2, six, MAC, true, at(5));
        assert_eq!(cache.settled(2, six, at(6)), Some((MAC, at(35))));
    }

    /// Who is settled for longer than what nobody uses is kept is not forgotten: packets go to it without a look at it.
    #[test]
    fn settled_for_long() {
        let mut cache = Cache::default();
        let six = IpAddr::V6(core::net::Ipv6Addr::LOCALHOST);
        let reachable = KEPT.saturating_mul(2);
        let times = Times {
            reachable,
            ..Times::default()
        };
        cache.set_times(1, times);
        cache.resolve(1, six, Packet::with_bytes(b"x"), at(0));
        cache.learn(1, six, MAC, false, at(0));
        let end = reachable.as_secs();
        for seconds in [end - 1, end + KEPT.as_secs()] {
            assert!(cache.expire(at(seconds)).is_empty());
            assert_eq!(cache.iter().count(), 1, "{seconds}");
        }
        cache.expire(at(end + KEPT.as_secs() + 61));
        assert_eq!(cache.iter().count(), 0);
    }

    /// RFC 4861 section 7.2.3: what is said in passing is used, and doubted.
    #[test]
    fn what_is_heard_in_passing() {
        let mut cache = Cache::default();
        let packet = || Packet::with_bytes(b"x");
        let state = |cache: &Cache| cache.iter().next().map(|(.., state)| state);
        assert!(cache.hear(1, HOST, MAC, at(0)).is_empty());
        assert_eq!(state(&cache), Some(State::Stale));
        let sent = cache.resolve(1, HOST, packet(), at(0));
        assert!(matches!(sent, Resolution::Known(MAC, _)));
        assert_eq!(state(&cache), Some(State::Delay));
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
        assert!(matches!(sent, Resolution::Known(mac, _) if mac == other));
        assert_eq!(state(&cache), Some(State::Delay));
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
        assert!((MOST - AT_ONCE..=MOST).contains(&cache.iter().count()));
    }

    /// RFC 6583 section 7.1: who floods the cache with strangers, or has addresses asked for that nobody has, drives out none that is spoken to.
    #[test]
    fn floods_leave_those_that_are_used() {
        let mut cache = Cache::default();
        let host = |n: u32| IpAddr::V4(core::net::Ipv4Addr::from_bits(n));
        let send = |cache: &mut Cache, n, now| {
            cache.resolve(1, host(n), Packet::with_bytes(b"x"), now);
        };
        for n in 0..1_000 {
            send(&mut cache, n, at(0));
            cache.learn(1, host(n), MAC, false, at(0));
        }
        for n in 10_000..40_000 {
            cache.hear(1, host(n), MAC, at(n.into()));
            // Every other one is answered.
            if n % 2 == 0 {
                send(&mut cache, n, at(n.into()));
            }
            send(&mut cache, n + 100_000, at(n.into()));
        }
        let known = |n| {
            cache
                .iter()
                .any(|(_, ip, mac, _)| ip == host(n) && mac == Some(MAC))
        };
        assert!((0..1_000).all(known));
        assert!(cache.iter().count() <= MOST && cache.waiting <= MOST * (OVERHEAD + 1));
    }
}
