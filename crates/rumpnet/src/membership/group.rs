//! What is kept for a group on a link.

use super::{Filter, Kind, Record};
use alloc::{collections::BTreeMap, vec::Vec};
use core::net::IpAddr;
use rumpuser::Instant;

/// Sources of queries that are remembered for a group; if there are more, all sources are told of.
const ASKED: usize = 256;

/// A group that is listened to, or was until a moment ago.
#[derive(Default)]
pub(super) struct Group {
    pub(super) filter: Filter,
    /// How often it is still to be said which sources are wanted, all of them.
    pub(super) mode_left: u8,
    /// The same for sources that came or went.
    sources_left: BTreeMap<IpAddr, u8>,
    /// When that is said next.
    pub(super) again: Option<Instant>,
    /// When a query is answered, and for which sources: none is all.
    pub(super) answer: Option<(Instant, Filter)>,
    /// To a router of an older version: this host was the last one to report it.
    pub(super) reporter: bool,
}

impl Group {
    /// Whether there is something to be said still.
    pub(super) fn is_pending(&self) -> bool {
        self.mode_left > 0 || !self.sources_left.is_empty()
    }

    pub(super) fn nothing_pending(&mut self) {
        (self.mode_left, self.again, self.answer) = (0, None, None);
        self.sources_left.clear();
    }

    /// Notes what is to be said of a new filter, `times` times (RFC 3376 section 5.1).
    pub(super) fn change(&mut self, filter: Filter, times: u8) {
        if filter.exclude != self.filter.exclude || self.mode_left > 0 {
            self.mode_left = times;
            self.sources_left.clear();
        } else {
            let changed = filter.sources.symmetric_difference(&self.filter.sources);
            self.sources_left
                .extend(changed.map(|source| (*source, times)));
        }
        self.filter = filter;
    }

    /// Says once more what has changed.
    pub(super) fn changes(&mut self, group: IpAddr) -> Vec<Record> {
        if self.mode_left > 0 {
            self.mode_left = self.mode_left.saturating_sub(1);
            let kind = if self.filter.exclude {
                Kind::ToExclude
            } else {
                Kind::ToInclude
            };
            return Vec::from([self.record(kind, group)]);
        }
        let changed = self.sources_left.keys().copied();
        let (allow, block): (Vec<_>, Vec<_>) = changed.partition(|s| self.filter.passes(*s));
        self.sources_left.retain(|_, left| {
            *left = left.saturating_sub(1);
            *left > 0
        });
        let both = [(Kind::Allow, allow), (Kind::Block, block)];
        let both = both.into_iter().filter(|(_, list)| !list.is_empty());
        both.map(|(kind, sources)| Record {
            kind,
            group,
            sources,
        })
        .collect()
    }

    fn record(&self, kind: Kind, group: IpAddr) -> Record {
        Record {
            kind,
            group,
            sources: self.filter.sources.iter().copied().collect(),
        }
    }

    /// What is listened to now.
    pub(super) fn current(&self, group: IpAddr) -> Option<Record> {
        let kind = if self.filter.exclude {
            Kind::IsExclude
        } else {
            Kind::IsInclude
        };
        (!self.filter.is_none()).then(|| self.record(kind, group))
    }

    /// A query for it, to be answered at `at` (RFC 3376 section 5.2, rules 3 to 5).
    pub(super) fn asked(&mut self, sources: impl Iterator<Item = IpAddr>, at: Instant) {
        let asked = Filter {
            exclude: false,
            sources: sources.collect(),
        };
        self.answer = Some(match self.answer.take() {
            None => (at, asked),
            Some((earlier, mut known)) => {
                if known.is_none() || asked.is_none() {
                    known.sources.clear();
                } else {
                    known.sources.extend(asked.sources);
                }
                if known.sources.len() > ASKED {
                    known.sources.clear();
                }
                (earlier.min(at), known)
            }
        });
    }

    /// The answer to what was asked.
    pub(super) fn answered(&mut self, group: IpAddr) -> Option<Record> {
        let (_, asked) = self.answer.take()?;
        if asked.is_none() {
            return self.current(group);
        }
        let wanted = asked.sources.into_iter();
        let sources: Vec<_> = wanted.filter(|s| self.filter.passes(*s)).collect();
        (!sources.is_empty()).then_some(Record {
            kind: Kind::IsInclude,
            group,
            sources,
        })
    }
}
