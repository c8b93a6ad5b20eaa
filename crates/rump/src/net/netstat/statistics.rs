//! `rump net netstat -s`: counters by protocol, each in words and by the name that RFC 4293, 4113 or 4022 give it; where they have none,
//! that which Linux has. Messages of ICMP are counted by type (RFC 4293's `icmpMsgStatsTable`), with the names of RFC 2011 and 2466 and, for
//! others that there were, their number.

use crate::{output::Out, report::Outcome};
use rumpnet_inet::{
    counters::{Counters, Icmp, Ip, Udp},
    tcp::Count,
};
use serde_json::{Map, Value};
use std::{borrow::Cow, io::Write as _};

/// Name, words, count.
type Line = (Cow<'static, str>, Cow<'static, str>, u64);
/// The same with words that are known.
type Fixed = (&'static str, &'static str, u64);
/// A type of ICMP: its number, name, and what its messages are.
type Type = (u8, &'static str, &'static str);

const TYPES: [Type; 11] = [
    (0, "EchoReps", "echo replies"),
    (3, "DestUnreachs", "destinations unreachable"),
    (4, "SrcQuenchs", "source quenches"),
    (5, "Redirects", "redirects"),
    (8, "Echos", "echo requests"),
    (11, "TimeExcds", "times exceeded"),
    (12, "ParmProbs", "parameter problems"),
    (13, "Timestamps", "timestamp requests"),
    (14, "TimestampReps", "timestamp replies"),
    (17, "AddrMasks", "address mask requests"),
    (18, "AddrMaskReps", "address mask replies"),
];

const TYPES_6: [Type; 15] = [
    (1, "DestUnreachs", "destinations unreachable"),
    (2, "PktTooBigs", "packets too big"),
    (3, "TimeExcds", "times exceeded"),
    (4, "ParmProblems", "parameter problems"),
    (128, "Echos", "echo requests"),
    (129, "EchoReplies", "echo replies"),
    (130, "GroupMembQueries", "queries for groups"),
    (131, "GroupMembResponses", "reports of groups"),
    (132, "GroupMembReductions", "reports of groups left"),
    (133, "RouterSolicits", "router solicitations"),
    (134, "RouterAdvertisements", "router advertisements"),
    (135, "NeighborSolicits", "neighbour solicitations"),
    (136, "NeighborAdvertisements", "neighbour advertisements"),
    (137, "Redirects", "redirects"),
    (143, "MLDv2Reports", "reports of groups, version 2"),
];

/// The counters of a protocol.
pub(super) struct Section {
    pub(super) name: &'static str,
    lines: Vec<Line>,
}

/// All of them.
pub(super) fn sections(n: &Counters) -> Vec<Section> {
    let fixed = |lines: Vec<Fixed>| lines.into_iter().map(line).collect();
    let section = |name, lines| Section {
        name,
        lines: fixed(lines),
    };
    let messages = |name, n: &Icmp, types: &[Type]| Section {
        name,
        lines: [fixed(icmp(n)), by_type(n, types)].concat(),
    };
    vec![
        section("ip", ip(&n.ip)),
        section("ip6", ip(&n.ip6)),
        messages("icmp", &n.icmp, &TYPES),
        messages("icmp6", &n.icmp6, &TYPES_6),
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
                .map(|(name, _, count)| (name.to_string(), Value::from(*count)))
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

fn line((name, words, count): Fixed) -> Line {
    (name.into(), words.into(), count)
}

/// Messages by type: those that have a name, and others if there were some.
fn by_type(n: &Icmp, types: &[Type]) -> Vec<Line> {
    let ways = [
        ("In", "received", &n.received_by_type),
        ("Out", "sent", &n.sent_by_type),
    ];
    let mut lines = Vec::new();
    for (way, done, counts) in ways {
        lines.extend(types.iter().map(|(kind, name, words)| {
            let name = format!("{way}{name}").into();
            (name, format!("{words} {done}").into(), counts.get(*kind))
        }));
        let other = |kind| types.iter().all(|(known, ..)| *known != kind);
        let others = counts.iter().filter(|(kind, _)| other(*kind));
        lines.extend(others.map(|(kind, count)| {
            let name = format!("{way}Type{kind}").into();
            (
                name,
                format!("messages of type {kind} {done}").into(),
                count,
            )
        }));
    }
    lines
}

fn ip(n: &Ip) -> Vec<Fixed> {
    vec![
        ("InReceives", "packets received", n.received),
        ("InHdrErrors", "with malformed headers", n.malformed),
        ("InAddrErrors", "with addresses of others", n.address_errors),
        ("InUnknownProtos", "of unknown protocols", n.no_protocol),
        ("InDelivers", "packets delivered", n.delivered),
        ("InCEPkts", "packets marked by congestion", n.marked),
        ("OutRequests", "packets sent", n.sent),
        ("OutForwDatagrams", "packets forwarded", n.forwarded),
        (
            "InNoRoutes",
            "packets of others without a route",
            n.no_route,
        ),
        ("OutNoRoutes", "own packets without a route", n.no_route_out),
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

fn icmp(n: &Icmp) -> Vec<Fixed> {
    vec![
        ("InMsgs", "messages received", n.received),
        ("InErrors", "malformed messages", n.malformed),
        (
            "InCsumErrors",
            "of them with a wrong checksum",
            n.checksum_errors,
        ),
        ("InErrorMsgs", "errors received", n.errors_received),
        ("OutMsgs", "messages sent", n.sent),
        ("OutErrorMsgs", "errors sent", n.errors_sent),
        (
            "OutRateLimitHost",
            "errors not sent because of the limit",
            n.limited,
        ),
    ]
}

fn udp(n: &Udp) -> Vec<Fixed> {
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

fn tcp(n: &Counters) -> Vec<Fixed> {
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
