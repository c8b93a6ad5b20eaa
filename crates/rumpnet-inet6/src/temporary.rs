//! Temporary addresses (RFC 8981): beside the stable address of a prefix one at random, which is spoken with, and after a day another.

use crate::{
    address,
    state::{Own, State},
};
use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use rumpnet::Cidr;
use rumpnet_inet::{stack::Stack, tcp::cookie};
use rumpuser::{Errno, Instant, Result};

/// How often another is made when somebody has it (`TEMP_IDGEN_RETRIES`, section 3.8).
const RETRIES: u8 = 3;
/// Of a link at most, whatever routers say.
const MOST: usize = 32;

/// What is set for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// They are made.
    pub on: bool,
    /// They are spoken with so long at most (`TEMP_PREFERRED_LIFETIME`): a day unless told otherwise.
    pub preferred: Duration,
    /// They are heard so long at most (`TEMP_VALID_LIFETIME`): two days.
    pub valid: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            on: true,
            preferred: DAY,
            valid: DAY.saturating_mul(2),
        }
    }
}

impl Settings {
    /// The same, if it can be.
    ///
    /// # Errors
    /// `EINVAL`: preferred for longer than valid, or for not even a minute.
    pub(crate) fn checked(self) -> Result<Self> {
        if self.preferred > self.valid || self.preferred.as_secs() < 60 {
            return Err(Errno::EINVAL);
        }
        Ok(self)
    }
}

/// What is kept for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temporary {
    /// Whatever routers say it is preferred and valid no longer than this (section 3.4).
    preferred: Instant,
    valid: Instant,
    /// When the next one is made; `None`: it was.
    pub(crate) next: Option<Instant>,
    /// How often another had the one that was made before.
    tries: u8,
}

/// How long before one is no more preferred the next is made: it must not be in use by another (`REGEN_ADVANCE`, section 3.8).
fn advance(probes: u8, retry: Duration) -> Duration {
    let questions = u32::from(RETRIES).saturating_mul(probes.into());
    retry
        .saturating_mul(questions)
        .saturating_add(Duration::from_secs(2))
}

/// A router has said how long addresses of a prefix live; these live as long, but no longer than they may (section 3.4 step 1).
pub(crate) fn prolong(own: &mut Own, now: Instant, advance: Duration) {
    let Some(temporary) = &mut own.temporary else {
        return;
    };
    let limit = |life: Option<Instant>, most: Instant| Some(life.map_or(most, |at| at.min(most)));
    own.preferred = limit(own.preferred, temporary.preferred);
    own.valid = limit(own.valid, temporary.valid);
    if temporary.next.is_some() {
        temporary.next = own.preferred.map(|at| before(at, advance, now));
    }
}

/// So long before a moment, but not before now.
fn before(at: Instant, advance: Duration, now: Instant) -> Instant {
    now.after(at.since(now).saturating_sub(advance))
}

/// Prolongs those of a prefix, and makes one if there is none that lasts (section 3.4).
pub(crate) fn advertised(stack: &mut Stack, interface: u32, network: Cidr) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let probes = state.probes;
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let advance = advance(probes, link.retry);
    let all = link.addresses.iter_mut();
    let mut lasts = false;
    for own in all.filter(|own| own.cidr.network() == network) {
        prolong(own, now, advance);
        lasts |= own.temporary.is_some_and(|t| t.next.is_some());
    }
    if !lasts {
        make(stack, interface, network, 0);
    }
}

/// Makes one beside the stable address of a prefix (section 3.4 steps 3 to 6).
fn make(stack: &mut Stack, interface: u32, network: Cidr, tries: u8) {
    let (now, IpAddr::V6(prefix)) = (stack.now, network.address()) else {
        return;
    };
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let settings = state.temporary;
    let desync = state.desync(settings.preferred);
    let probes = state.probes;
    let Some(link) = state.links.get(&interface) else {
        return;
    };
    let mut all = link.addresses.iter();
    let stable = all.find(|own| own.made.is_some() && own.cidr.network() == network);
    let count = link.addresses.iter().filter(|o| o.temporary.is_some());
    let Some(stable) = stable
        .copied()
        .filter(|_| settings.on && count.count() < MOST)
    else {
        return;
    };
    let advance = advance(probes, link.retry);
    let mut own = Own {
        temporary: Some(Temporary {
            preferred: now.after(settings.preferred.saturating_sub(desync)),
            valid: now.after(settings.valid),
            next: Some(now),
            tries,
        }),
        made: None,
        tentative: None,
        nonce: None,
        listens: false,
        ..stable
    };
    prolong(&mut own, now, advance);
    // One that would have to be followed at once is none.
    if own.preferred.is_none_or(|at| at <= now.after(advance)) {
        return;
    }
    own.ip = state.random_in(prefix);
    let Ok(cidr) = Cidr::new(own.ip.into(), network.prefix()) else {
        return;
    };
    own.cidr = cidr;
    // It cannot be there already but by chance.
    let _ = address::begin(stack, interface, own);
}

/// Somebody has one: another is made, a few times (section 3.4 step 7).
pub(crate) fn duplicate(stack: &mut Stack, interface: u32, own: &Own) {
    if let Some(temporary) = own.temporary
        && temporary.tries < RETRIES
    {
        let tries = temporary.tries.saturating_add(1);
        make(stack, interface, own.cidr.network(), tries);
    }
}

/// Makes those that follow others (section 3.5).
pub(crate) fn clock(stack: &mut Stack, interface: u32) {
    let now = stack.now;
    let Ok(state) = stack.state_mut::<State>() else {
        return;
    };
    let Some(link) = state.links.get_mut(&interface) else {
        return;
    };
    let mut due = alloc::vec::Vec::new();
    for own in &mut link.addresses {
        if let Some(temporary) = &mut own.temporary
            && temporary.next.is_some_and(|at| at <= now)
        {
            temporary.next = None;
            due.push(own.cidr.network());
        }
    }
    for network in due {
        make(stack, interface, network, 0);
    }
}

impl State {
    /// How much earlier than others one is left (`DESYNC_FACTOR`, section 3.8): up to 0.4 of the time.
    fn desync(&mut self, preferred: Duration) -> Duration {
        let most = preferred.saturating_mul(2).as_nanos() / 5;
        let most = u64::try_from(most).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.rng.below(most))
    }

    /// A number that nobody can guess, whatever numbers he has seen.
    pub(crate) fn unforeseeable(&mut self) -> u64 {
        let salt = self.rng.next_u64().to_be_bytes();
        cookie::keyed(&self.temporary_secret, &salt)
    }

    /// An address that nobody can guess (section 3.3.1), without identifiers that are reserved (RFC 5453).
    fn random_in(&mut self, network: Ipv6Addr) -> Ipv6Addr {
        loop {
            let low = self.unforeseeable();
            if !address::is_reserved(low) {
                return Ipv6Addr::from_bits(network.to_bits() | u128::from(low));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8981 section 3.8: 2 s and three times the questions.
    #[test]
    fn the_next_one_is_made_in_time() {
        assert_eq!(advance(1, Duration::from_secs(1)).as_secs(), 5);
        assert_eq!(advance(3, Duration::from_millis(500)).as_millis(), 6_500);
        assert_eq!(advance(0, Duration::from_secs(1)).as_secs(), 2);
    }

    /// RFC 8981 section 3.4 step 1: as routers say, but no longer than may be.
    #[test]
    fn lives_have_an_end() {
        let at = |seconds| Instant(0).after(Duration::from_secs(seconds));
        let ip: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let mut own = Own {
            cidr: Cidr::host(ip.into()),
            ip,
            tentative: None,
            nonce: None,
            listens: false,
            preferred: None,
            valid: None,
            made: None,
            temporary: Some(Temporary {
                preferred: at(100),
                valid: at(200),
                next: Some(at(0)),
                tries: 0,
            }),
        };
        let advance = Duration::from_secs(5);
        prolong(&mut own, at(10), advance);
        assert_eq!((own.preferred, own.valid), (Some(at(100)), Some(at(200))));
        assert_eq!(own.temporary.unwrap().next, Some(at(95)));
        (own.preferred, own.valid) = (Some(at(40)), Some(at(50)));
        prolong(&mut own, at(20), advance);
        assert_eq!((own.preferred, own.valid), (Some(at(40)), Some(at(50))));
        assert_eq!(own.temporary.unwrap().next, Some(at(35)));
        // Its successor is there already.
        own.temporary.as_mut().unwrap().next = None;
        (own.preferred, own.valid) = (Some(at(90)), None);
        prolong(&mut own, at(30), advance);
        assert_eq!(own.temporary.unwrap().next, None);
    }
}
