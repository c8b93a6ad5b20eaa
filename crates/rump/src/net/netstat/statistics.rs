//! `rump net netstat -s`: counters by protocol, each in words and by the name that RFC 4293, 4113 or 4022 give it; where they have none,
//! that which Linux has.

use crate::{output::Out, report::Outcome};
use rumpnet_inet::{
    counters::{Counters, Icmp, Ip, Udp},
    tcp::Count,
};
use serde_json::{Map, Value};
use std::io::Write as _;

/// Name, words, count.
type Line = (&'static str, &'static str, u64);

/// The counters of a protocol.
pub(super) struct Section {
    pub(super) name: &'static str,
    lines: Vec<Line>,
}

/// All of them.
pub(super) fn sections(n: &Counters) -> Vec<Section> {
    let section = |name, lines| Section { name, lines };
    vec![
        section("ip", ip(&n.ip)),
        section("ip6", ip(&n.ip6)),
        section("icmp", icmp(&n.icmp)),
        section("icmp6", icmp(&n.icmp6)),
        section(
            "igmp",
            vec![
                ("InMsgs", "messages received", n.igmp.received),
                ("InErrors", "malformed messages", n.igmp.malformed),
                ("OutMsgs", "messages sent", n.igmp.sent),
            ],
        ),
        section(
            "arp",
            vec![
                ("InErrors", "malformed packets", n.arp_malformed),
                (
                    "Conflicts",
                    "claims of addresses of this host",
                    n.arp_conflicts,
                ),
            ],
        ),
        section("udp", udp(&n.udp)),
        section("udp6", udp(&n.udp6)),
        section("tcp", tcp(n)),
    ]
}

/// As text, or as an object of objects.
pub(super) fn write(out: &mut Out, sections: &[Section], json: bool) -> Outcome<()> {
    if json {
        let object = |section: &Section| {
            let lines = section.lines.iter();
            lines
                .map(|(name, _, count)| ((*name).into(), Value::from(*count)))
                .collect::<Map<_, _>>()
        };
        let all = sections
            .iter()
            .map(|section| (section.name.into(), object(section).into()));
        writeln!(out, "{}", Value::Object(all.collect()))?;
        return Ok(());
    }
    for section in sections {
        writeln!(out, "{}:", section.name)?;
        for (name, words, count) in &section.lines {
            writeln!(out, "\t{count} {words} ({name})")?;
        }
    }
    Ok(())
}

fn ip(n: &Ip) -> Vec<Line> {
    vec![
        ("InReceives", "packets received", n.received),
        ("InHdrErrors", "with malformed headers", n.malformed),
        ("InAddrErrors", "with addresses of others", n.address_errors),
        ("InUnknownProtos", "of unknown protocols", n.no_protocol),
        ("InDelivers", "packets delivered", n.delivered),
        ("InCEPkts", "packets marked by congestion", n.marked),
        ("OutRequests", "packets sent", n.sent),
        ("OutForwDatagrams", "packets forwarded", n.forwarded),
        ("InNoRoutes", "packets without a route", n.no_route),
        ("ReasmReqds", "fragments received", n.fragments_received),
        ("ReasmOKs", "packets reassembled", n.reassembled),
        ("ReasmFails", "reassemblies failed", n.reassembly_failed),
        ("OutFragOKs", "packets fragmented", n.fragmented),
        (
            "OutFragFails",
            "packets that must not be fragmented",
            n.fragmentation_failed,
        ),
        ("OutFragCreates", "fragments sent", n.fragments_sent),
    ]
}

fn icmp(n: &Icmp) -> Vec<Line> {
    vec![
        ("InMsgs", "messages received", n.received),
        ("InErrors", "malformed messages", n.malformed),
        (
            "InCsumErrors",
            "of them with a wrong checksum",
            n.checksum_errors,
        ),
        ("InErrorMsgs", "errors received", n.errors_received),
        ("InEchos", "echo requests received", n.echoes_received),
        ("InRedirects", "redirects received", n.redirects_received),
        ("OutMsgs", "messages sent", n.sent),
        ("OutErrorMsgs", "errors sent", n.errors_sent),
        (
            "OutRateLimitHost",
            "errors not sent because of the limit",
            n.limited,
        ),
    ]
}

fn udp(n: &Udp) -> Vec<Line> {
    vec![
        ("InDatagrams", "datagrams received", n.delivered()),
        ("NoPorts", "datagrams to no port", n.no_port),
        (
            "InErrors",
            "datagrams dropped for other reasons",
            n.errors(),
        ),
        (
            "InCsumErrors",
            "of them with a wrong checksum",
            n.checksum_errors,
        ),
        ("RcvbufErrors", "of them for a full socket", n.full),
        ("OutDatagrams", "datagrams sent", n.sent),
    ]
}

fn tcp(n: &Counters) -> Vec<Line> {
    let n = &n.tcp;
    let again = n.tally.get(Count::RetransSegs);
    let mut lines = vec![
        ("CurrEstab", "connections established", n.established),
        ("InSegs", "segments received", n.received),
        ("InErrs", "malformed segments", n.malformed),
        (
            "InCsumErrors",
            "of them with a wrong checksum",
            n.checksum_errors,
        ),
        ("OutSegs", "segments sent", n.sent.saturating_sub(again)),
        ("OutRsts", "resets sent", n.resets_sent),
        ("NoConnection", "segments of no connection", n.no_connection),
        (
            "ListenOverflows",
            "handshakes dropped since a listener was full",
            n.listen_full,
        ),
        ("SyncookiesSent", "SYN cookies sent", n.cookies_sent),
        ("SyncookiesRecv", "SYN cookies received", n.cookies_received),
        (
            "SyncookiesFailed",
            "SYN cookies that were wrong",
            n.cookies_failed,
        ),
    ];
    lines.extend(Count::ALL.map(|what| {
        let (name, words) = named(what);
        (name, words, n.tally.get(what))
    }));
    lines
}

fn named(what: Count) -> (&'static str, &'static str) {
    match what {
        Count::ActiveOpens => ("ActiveOpens", "connections requested"),
        Count::PassiveOpens => ("PassiveOpens", "connections asked for by peers"),
        Count::AttemptFails => ("AttemptFails", "connections not established"),
        Count::EstabResets => ("EstabResets", "established connections reset"),
        Count::TimeoutAborts => ("TCPAbortOnTimeout", "connections given up for silence"),
        Count::RetransSegs => ("RetransSegs", "segments sent again"),
        Count::SynRetrans => ("TCPSynRetrans", "of them SYNs"),
        Count::Timeouts => ("TCPTimeouts", "retransmission timeouts"),
        Count::SpuriousTimeouts => ("TCPSpuriousRTOs", "of them for nothing"),
        Count::SackRecoveries => ("TCPSackRecovery", "recoveries by SACK"),
        Count::RenoRecoveries => ("TCPRenoRecovery", "recoveries by duplicate acknowledgments"),
        Count::FastRetrans => ("TCPFastRetrans", "segments sent again in recoveries"),
        Count::LossProbes => ("TCPLossProbes", "tail loss probes"),
        Count::LossProbeRecoveries => ("TCPLossProbeRecovery", "losses repaired by them"),
        Count::SackReneging => ("TCPSACKReneging", "SACK ranges taken back by peers"),
        Count::DuplicateReports => ("TCPDSACKRecv", "duplicates reported by peers"),
        Count::EcnReductions => ("TCPEcnReductions", "windows reduced for marks"),
        Count::WindowProbes => ("TCPWinProbe", "probes of closed windows"),
        Count::KeepAlives => ("TCPKeepAlive", "keep-alive probes"),
        Count::OutOfOrder => ("TCPOFOQueue", "segments received out of order"),
        Count::PawsRejected => ("PAWSEstab", "segments with an old timestamp"),
        Count::ChallengeAcks => ("TCPChallengeACK", "challenge acknowledgments"),
        Count::ChallengesLimited => ("TCPACKSkipped", "challenges not sent because of the limit"),
    }
}
