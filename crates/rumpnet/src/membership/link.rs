//! What is kept for a link.

use super::{Filter, Message, Query, Record, Version, group::Group};
use alloc::{collections::BTreeMap, vec::Vec};
use core::{net::IpAddr, time::Duration};
use rumpuser::{Instant, rng::Rng};

/// How often what may get lost is said, unless routers say otherwise (RFC 3376 section 8.1).
const ROBUSTNESS: u8 = 2;
/// The time between two queries, likewise (section 8.2).
const INTERVAL: Duration = Duration::from_secs(125);
/// Within this time a change is said again (section 8.11; RFC 2236 section 8.10).
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_OLD: Duration = Duration::from_secs(10);
/// Routers of the first version do not say by when they want an answer (RFC 2236 section 4).
const RESPONSE_ONE: Duration = Duration::from_secs(10);

/// The groups of a link.
pub struct Link {
    groups: BTreeMap<IpAddr, Group>,
    /// When a query for all groups is answered.
    general: Option<Instant>,
    robustness: u8,
    interval: Duration,
    /// Until when there is a router of the first version, and of the second.
    older: [Option<Instant>; 2],
    rng: Rng,
    deadline: Option<Instant>,
}

impl Link {
    /// One without groups. The seed is for the times at which it speaks.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            groups: BTreeMap::new(),
            general: None,
            robustness: ROBUSTNESS,
            interval: INTERVAL,
            older: [None; 2],
            rng: Rng::new(seed),
            deadline: None,
        }
    }

    /// The version that is spoken: that of the oldest router (RFC 3376 section 7.2.1).
    #[must_use]
    pub const fn version(&self) -> Version {
        match self.older {
            [Some(_), _] => Version::One,
            [None, Some(_)] => Version::Two,
            [None, None] => Version::Three,
        }
    }

    /// When [`clock`](Self::clock) has something to do.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Groups that something is kept of.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.groups.len()
    }

    /// A moment within some time from now.
    fn within(&mut self, now: Instant, most: Duration) -> Instant {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        now.after(Duration::from_nanos(self.rng.below(most)))
    }

    fn find_deadline(&mut self) {
        let groups = self.groups.values();
        let groups = groups.flat_map(|group| [group.again, group.answer.as_ref().map(|a| a.0)]);
        let all = groups.chain(self.older).chain([self.general]);
        self.deadline = all.flatten().min();
    }

    /// From now on these sources of a group are wanted; what is to be said of it at once.
    pub fn set(&mut self, group: IpAddr, filter: Filter, now: Instant) -> Vec<Message> {
        let times = self.robustness;
        let version = self.version();
        let entry = self.groups.entry(group).or_default();
        let before = !entry.filter.is_none();
        if entry.filter == filter {
            if !before && !entry.is_pending() {
                self.groups.remove(&group);
            }
            return Vec::new();
        }
        let listens = !filter.is_none();
        let mut messages = Vec::new();
        if version == Version::Three {
            entry.change(filter, times);
            let records = entry.changes(group);
            messages.push(Message::Records(records));
            self.plan(group, now, AGAIN);
        } else {
            entry.filter = filter;
            match (before, listens) {
                (false, true) => {
                    // RFC 2236 section 3: reported at once, and again.
                    entry.mode_left = times.saturating_sub(1);
                    entry.reporter = true;
                    messages.push(Message::Report(version, group));
                    self.plan(group, now, AGAIN_OLD);
                }
                (true, false) => {
                    if version == Version::Two && entry.reporter {
                        messages.push(Message::Leave(group));
                    }
                    self.groups.remove(&group);
                }
                _ => {}
            }
        }
        self.find_deadline();
        messages
    }

    /// Plans what is still to be said of a group; forgets it if that is nothing and nobody listens.
    fn plan(&mut self, group: IpAddr, now: Instant, most: Duration) {
        let at = self.within(now, most);
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.again = entry.is_pending().then_some(at);
            if entry.again.is_none() && entry.filter.is_none() {
                self.groups.remove(&group);
            }
        }
    }

    /// A router asks.
    pub fn query(&mut self, query: &Query, now: Instant) {
        let response = match query.version {
            Version::One => RESPONSE_ONE,
            _ => query.response,
        };
        let before = self.version();
        let place = match query.version {
            Version::One => self.older.first_mut(),
            Version::Two => self.older.get_mut(1),
            Version::Three => None,
        };
        if let Some(until) = place {
            // RFC 3376 section 8.12.
            let quiet = self.interval.saturating_mul(self.robustness.into());
            *until = Some(now.after(quiet.saturating_add(response)));
        } else {
            self.robustness = match query.robustness {
                0 => ROBUSTNESS,
                said => said,
            };
            self.interval = query.interval.unwrap_or(INTERVAL);
        }
        self.changed_from(before);
        let at = self.within(now, response);
        if self.version() < Version::Three {
            // RFC 2236 section 3: each group has a time of its own, which is not put off.
            let groups: Vec<IpAddr> = match query.group {
                None => self.groups.keys().copied().collect(),
                Some(group) => Vec::from([group]),
            };
            for group in groups {
                let at = self.within(now, response);
                if let Some(entry) = self.groups.get_mut(&group) {
                    entry.asked(core::iter::empty(), at);
                }
            }
        } else if self.general.is_none_or(|general| general > at) {
            // RFC 3376 section 5.2, rules 1 and 2.
            match query.group {
                None => self.general = Some(at),
                Some(group) => {
                    if let Some(entry) = self.groups.get_mut(&group)
                        && !entry.filter.is_none()
                    {
                        entry.asked(query.sources.iter().copied(), at);
                    }
                }
            }
        }
        self.find_deadline();
    }

    /// Another version is spoken: what was planned is not said any more (RFC 3376 section 7.2.1).
    fn changed_from(&mut self, before: Version) {
        if self.version() == before {
            return;
        }
        self.general = None;
        self.groups.retain(|_, group| {
            group.nothing_pending();
            group.reporter = true;
            !group.filter.is_none()
        });
    }

    /// Another host listens to a group: to older routers that is enough (RFC 2236 section 3, RFC 2710 section 4).
    pub fn heard(&mut self, group: IpAddr) {
        if self.version() == Version::Three {
            return;
        }
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.nothing_pending();
            entry.reporter = false;
        }
        self.find_deadline();
    }

    /// What is to be said by now.
    pub fn clock(&mut self, now: Instant) -> Vec<Message> {
        if self.deadline.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let before = self.version();
        let over = |until: &&mut Option<Instant>| until.is_some_and(|until| until <= now);
        self.older.iter_mut().filter(over).for_each(|o| *o = None);
        self.changed_from(before);
        let messages = if self.version() == Version::Three {
            self.records(now)
        } else {
            self.reports(now)
        };
        self.find_deadline();
        messages
    }

    fn records(&mut self, now: Instant) -> Vec<Message> {
        let mut records: Vec<Record> = Vec::new();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let again: Vec<IpAddr> = {
            let groups = self.groups.iter();
            let again = groups.filter(|(_, group)| due(group.again));
            again.map(|(group, _)| *group).collect()
        };
        for group in again {
            if let Some(entry) = self.groups.get_mut(&group) {
                records.extend(entry.changes(group));
            }
            self.plan(group, now, AGAIN);
        }
        let general = due(self.general);
        if general {
            self.general = None;
        }
        for (group, entry) in &mut self.groups {
            if general {
                entry.answer = None;
                records.extend(entry.current(*group));
            } else if due(entry.answer.as_ref().map(|answer| answer.0)) {
                records.extend(entry.answered(*group));
            }
        }
        if records.is_empty() {
            return Vec::new();
        }
        Vec::from([Message::Records(records)])
    }

    fn reports(&mut self, now: Instant) -> Vec<Message> {
        let version = self.version();
        let mut messages = Vec::new();
        let mut again = Vec::new();
        for (group, entry) in &mut self.groups {
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if due(entry.again) {
                entry.mode_left = entry.mode_left.saturating_sub(1);
                again.push(*group);
            } else if due(entry.answer.as_ref().map(|answer| answer.0)) {
                entry.answer = None;
            } else {
                continue;
            }
            entry.reporter = true;
            messages.push(Message::Report(version, *group));
        }
        for group in again {
            self.plan(group, now, AGAIN_OLD);
        }
        messages
    }
}
