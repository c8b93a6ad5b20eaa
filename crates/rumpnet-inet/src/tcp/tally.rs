//! What happens to connections and is counted, for all of them together: RFC 4022 and, where it has no name, what hosts have counted since.

use super::Tcb;
use alloc::boxed::Box;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count {
            $($(#[$doc])* $name,)*
        }

        impl Count {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];
        }
    };
}

counts! {
    /// Connections begun by this side (tcpActiveOpens).
    ActiveOpens,
    /// Connections begun by a peer (tcpPassiveOpens).
    PassiveOpens,
    /// Connections that ended before they were established (tcpAttemptFails).
    AttemptFails,
    /// Established connections that were reset, by either side (tcpEstabResets).
    EstabResets,
    /// Connections that ended because the peer did not answer.
    TimeoutAborts,
    /// Segments sent again (tcpRetransSegs): SYN, data, FIN, tail loss probes.
    RetransSegs,
    /// Of them those of SYN and its answer.
    SynRetrans,
    /// The retransmission timer expired.
    Timeouts,
    /// Timeouts that F-RTO found to be for nothing (RFC 5682).
    SpuriousTimeouts,
    /// Recoveries that began by SACK (RFC 6675, 8985).
    SackRecoveries,
    /// Recoveries that began by three duplicate acknowledgments (RFC 6582).
    RenoRecoveries,
    /// Segments sent again in such recoveries.
    FastRetrans,
    /// Tail loss probes (RFC 8985, section 7).
    LossProbes,
    /// Losses that such a probe repaired.
    LossProbeRecoveries,
    /// SACK was taken back by the peer (RFC 2018, section 8).
    SackReneging,
    /// Duplicates that the peer reported (RFC 2883).
    DuplicateReports,
    /// Windows reduced since the peer reported marks (RFC 3168).
    EcnReductions,
    /// Probes of closed windows.
    WindowProbes,
    /// Keep-alive probes.
    KeepAlives,
    /// Segments with data out of order.
    OutOfOrder,
    /// Segments dropped because their timestamp was old (RFC 7323, section 5).
    PawsRejected,
    /// Acknowledgments sent to challenge who may have guessed (RFC 5961).
    ChallengeAcks,
    /// Challenges not sent because of their limit (RFC 5961, section 7).
    ChallengesLimited,
}

/// How often each thing has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Count::ALL.len()]);

impl Tally {
    /// How often this has happened.
    #[must_use]
    pub fn get(&self, what: Count) -> u64 {
        self.0.get(what as usize).copied().unwrap_or(0)
    }

    /// It has happened `times` more.
    pub(crate) fn count(&mut self, what: Count, times: u64) {
        if let Some(count) = self.0.get_mut(what as usize) {
            *count = count.wrapping_add(times);
        }
    }

    /// What another has counted, too.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.wrapping_add(more);
        }
    }
}

impl Tcb {
    /// Counts, of this connection. To most of them nothing of this happens, and they have no memory for it.
    pub(super) fn count(&mut self, what: Count, times: u32) {
        self.tally
            .get_or_insert_with(Box::default)
            .count(what, times.into());
    }

    /// What was counted of this connection.
    #[must_use]
    pub fn tally(&self) -> Option<&Tally> {
        self.tally.as_deref()
    }
}
