//! What is counted, for `netstat -s`, with the names of RFC 4293 (IP, ICMP), RFC 4113 (UDP) and RFC 4022 (TCP).

use crate::{ip::bump, tcp::Tally};

/// All counters of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counters {
    pub ip: Ip,
    pub ip6: Ip,
    pub icmp: Icmp,
    pub icmp6: Icmp,
    pub igmp: Igmp,
    pub udp: Udp,
    pub udp6: Udp,
    pub tcp: Tcp,
    pub arp_malformed: u64,
    pub arp_conflicts: u64,
}

impl Counters {
    /// Those of a version of IP.
    pub(crate) const fn ip(&mut self, v4: bool) -> &mut Ip {
        if v4 { &mut self.ip } else { &mut self.ip6 }
    }

    /// Those of UDP over a version of IP.
    pub(crate) const fn udp(&mut self, v4: bool) -> &mut Udp {
        if v4 { &mut self.udp } else { &mut self.udp6 }
    }
}

/// Packets of a version of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ip {
    /// All that came (ipSystemStatsInReceives).
    pub received: u64,
    /// With a header that cannot be (InHdrErrors).
    pub malformed: u64,
    /// With addresses that cannot be, or for somebody else where nothing is passed on (InAddrErrors).
    pub address_errors: u64,
    /// For a protocol that nobody speaks (InUnknownProtos).
    pub no_protocol: u64,
    /// Handed to a protocol (InDelivers).
    pub delivered: u64,
    /// That congestion was marked in.
    pub marked: u64,
    /// To be sent by protocols of this host (OutRequests).
    pub sent: u64,
    /// Passed on (OutForwDatagrams).
    pub forwarded: u64,
    /// To be passed on, for which there is no route (InNoRoutes).
    pub no_route: u64,
    /// Of this host, for which there is none (OutNoRoutes): datagrams, raw packets, messages of ICMP.
    pub no_route_out: u64,
    /// Fragments that came (ReasmReqds).
    pub fragments_received: u64,
    /// Packets put together of them (ReasmOKs).
    pub reassembled: u64,
    /// Packets of which not all came, or not what could be (ReasmFails).
    pub reassembly_failed: u64,
    /// Packets cut into fragments, also those passed on (OutFragOKs).
    pub fragmented: u64,
    /// Those too large that must not be cut (OutFragFails).
    pub fragmentation_failed: u64,
    /// Fragments made of them (OutFragCreates).
    pub fragments_sent: u64,
}

/// Messages of a version of ICMP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Icmp {
    /// All that came (icmpStatsInMsgs).
    pub received: u64,
    /// That cannot be (InErrors).
    pub malformed: u64,
    /// Of them those with a wrong sum.
    pub checksum_errors: u64,
    /// Errors that came: unreachable, too big, time exceeded, parameter problem.
    pub errors_received: u64,
    /// All whose sum was right, by type (icmpMsgStatsInPkts).
    pub received_by_type: ByType,
    /// All that were sent (OutMsgs).
    pub sent: u64,
    /// The same by type (icmpMsgStatsOutPkts).
    pub sent_by_type: ByType,
    /// Errors that were sent.
    pub errors_sent: u64,
    /// Errors that were not sent since there were too many.
    pub limited: u64,
}

impl Icmp {
    /// Counts one that is sent.
    pub fn sends(&mut self, kind: u8) {
        bump(&mut self.sent);
        self.sent_by_type.bump(kind);
    }
}

/// Numbers of messages by type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ByType([u64; 256]);

impl Default for ByType {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl core::fmt::Debug for ByType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl ByType {
    /// Counts one.
    pub fn bump(&mut self, kind: u8) {
        if let Some(count) = self.0.get_mut(usize::from(kind)) {
            bump(count);
        }
    }

    /// How many there were of a type.
    #[must_use]
    pub fn get(&self, kind: u8) -> u64 {
        self.0.get(usize::from(kind)).copied().unwrap_or(0)
    }

    /// Those types of which there were some.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u64)> {
        (0..=u8::MAX).zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// Messages of IGMP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Igmp {
    pub received: u64,
    pub malformed: u64,
    pub sent: u64,
}

/// Datagrams of UDP over a version of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// All that came.
    pub received: u64,
    /// That cannot be.
    pub malformed: u64,
    /// Of them those with a wrong sum.
    pub checksum_errors: u64,
    /// For a port that nobody has (udpNoPorts).
    pub no_port: u64,
    /// For which a socket had no room.
    pub full: u64,
    /// That were sent (udpOutDatagrams).
    pub sent: u64,
}

impl Udp {
    /// Handed to users (udpInDatagrams).
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.received
            .saturating_sub(self.malformed)
            .saturating_sub(self.no_port)
            .saturating_sub(self.full)
    }

    /// Not handed to them, but for want of a port (udpInErrors).
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.malformed.saturating_add(self.full)
    }
}

/// Segments and connections of TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Segments that came (tcpInSegs). Those that came joined count as one.
    pub received: u64,
    /// That cannot be (tcpInErrs).
    pub malformed: u64,
    /// Of them those with a wrong sum.
    pub checksum_errors: u64,
    /// Of no connection.
    pub no_connection: u64,
    /// Segments that were sent, also again.
    pub sent: u64,
    /// Resets that were sent (tcpOutRsts).
    pub resets_sent: u64,
    /// Connections that this host began and that were established.
    pub connects: u64,
    /// Connections that peers began and that were established.
    pub accepts: u64,
    /// That are established now (tcpCurrEstab).
    pub established: u64,
    /// SYNs and handshakes' ends dropped since nobody accepts fast enough.
    pub listen_full: u64,
    /// SYN cookies that were sent.
    pub cookies_sent: u64,
    /// Handshakes that came to their end with one.
    pub cookies_received: u64,
    /// Acknowledgments that could have had one, and did not.
    pub cookies_failed: u64,
    /// What happened to connections.
    pub tally: Tally,
}
