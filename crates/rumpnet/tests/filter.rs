//! Filters of captures beside tcpdump's: the same frames of the same file.

use proptest::{prelude::*, sample::select};
use rumpnet::{
    Packet,
    pcap::{Encoder, Expression, Format, LinkType, Reader},
};
use rumpuser::Timespec;
use std::{fs, path::PathBuf, process::Command};

fn ethernet(to: u8, kind: u16, payload: &[u8]) -> Vec<u8> {
    let group = if to == 1 { 0x33 } else { 2 };
    let mut frame = match to {
        0xff => vec![0xff; 6],
        _ => vec![group, 0, 0, 0, 0, to],
    };
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(options: usize, fragment: u16, protocol: u8, to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options;
    let len = u16::try_from(header + payload.len()).unwrap();
    let mut packet = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 1]);
    packet.extend(to);
    packet.resize(header, 1);
    packet.extend(payload);
    packet
}

fn ipv6(protocol: u8, last: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([protocol, 64]);
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let group = if last == 0xff { 0xff } else { 0xfe };
    packet.extend([group, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    packet.extend(payload);
    packet
}

fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 16, 0, 0, 0, 0, 0]);
    segment
}

fn udp(from: u16, to: u16, len: usize) -> Vec<u8> {
    let mut datagram = [from.to_be_bytes(), to.to_be_bytes()].concat();
    datagram.extend([0, 8, 0, 0]);
    datagram.resize(8 + len, 0x50);
    datagram
}

fn frames() -> Vec<Vec<u8>> {
    let (web, name) = (tcp(40_000, 80, 2), udp(53, 5_353, 400));
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 1];
    arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let v4 = |packet: Vec<u8>| ethernet(5, 0x0800, &packet);
    let v6 = |packet: Vec<u8>| ethernet(5, 0x86dd, &packet);
    vec![
        v4(ipv4(0, 0, 6, [10, 0, 0, 2], &web)),
        v4(ipv4(12, 0x4000, 6, [10, 0, 0, 3], &tcp(80, 40_000, 0x12))),
        v4(ipv4(0, 0x2000, 17, [10, 0, 0, 2], &name)),
        v4(ipv4(0, 100, 17, [10, 0, 0, 2], &name)),
        v4(ipv4(0, 0, 17, [192, 168, 1, 80], &name)),
        v4(ipv4(40, 0, 1, [10, 0, 0, 2], &[8, 0, 0, 0, 0, 0, 0, 0])),
        v4(ipv4(0, 0, 2, [224, 0, 0, 22], &[0x22, 0, 0, 0])),
        v4(ipv4(0, 0, 6, [10, 0, 0, 2], &web[..3])),
        v4(ipv4(0, 0, 6, [10, 0, 0, 2], &[])),
        v4(vec![0x45, 0, 0]),
        ethernet(0xff, 0x0800, &ipv4(0, 0, 17, [255; 4], &udp(68, 67, 300))),
        ethernet(0xff, 0x0806, &arp),
        ethernet(5, 0x0806, &arp[..16]),
        v6(ipv6(6, 2, &web)),
        v6(ipv6(17, 2, &name)),
        ethernet(1, 0x86dd, &ipv6(58, 0xff, &[135, 0, 0, 0, 0, 0, 0, 0])),
        v6(ipv6(58, 2, &[128, 0, 0, 0, 0, 0, 0, 0])),
        v6(ipv6(59, 2, &[])),
        ethernet(5, 0x88cc, &[1, 2, 3]),
        vec![2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 9],
        vec![],
    ]
}

/// A capture in a file of its own, and what tcpdump keeps of it.
struct Dump {
    path: PathBuf,
    frames: Vec<Vec<u8>>,
}

impl Dump {
    fn new(name: &str, frames: Vec<Vec<u8>>) -> Self {
        let encoder = Encoder::new(Format::Pcap, LinkType::ETHERNET, 65_535);
        let mut file = encoder.head("test");
        for (number, frame) in frames.iter().enumerate() {
            let time = Timespec {
                sec: i64::try_from(number).unwrap(),
                nsec: 0,
            };
            encoder.record(&mut file, None, &Packet::with_bytes(frame), time);
        }
        let path = std::env::temp_dir().join(format!("rump-filter-{name}-{}", std::process::id()));
        fs::write(&path, file).unwrap();
        Self { path, frames }
    }

    /// The numbers of the frames that tcpdump lets through.
    fn theirs(&self, expression: &str) -> Vec<i64> {
        let tcpdump = Command::new("tcpdump")
            .args(["-Z", "root", "-w", "-", "-r"])
            .args([self.path.as_os_str(), expression.as_ref()])
            .output()
            .expect("tcpdump is needed");
        let told = String::from_utf8_lossy(&tcpdump.stderr);
        if told.contains("expression rejects all packets") {
            return Vec::new();
        }
        assert!(tcpdump.status.success(), "{expression}: {told}");
        let records = Reader::new(&tcpdump.stdout).unwrap();
        records
            .map(|record| record.unwrap().time.unwrap().sec)
            .collect()
    }

    fn ours(&self, expression: &str) -> Vec<i64> {
        let filter: Expression = expression
            .parse()
            .unwrap_or_else(|error| panic!("{expression}: {error}"));
        let all = (0..).zip(&self.frames);
        let wanted = all.filter(|(_, frame)| {
            filter.matches(LinkType::ETHERNET, None, &Packet::with_bytes(frame))
        });
        wanted.map(|(number, _)| number).collect()
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

const PARTS: [&str; 52] = [
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "igmp",
    "ip",
    "ip6",
    "arp",
    "broadcast",
    "multicast",
    "ip multicast",
    "ip6 multicast",
    "ether broadcast",
    "ether multicast",
    "port 80",
    "src port 80",
    "dst port 80",
    "tcp port 80",
    "udp port 80",
    "port 53",
    "src and dst port 80",
    "portrange 60-100",
    "udp src portrange 50-60",
    "host 10.0.0.1",
    "src host 10.0.0.1",
    "dst 10.0.0.2",
    "host 10.0.0.2 or 10.0.0.3",
    "ip host 10.0.0.2",
    "arp host 10.0.0.2",
    "net 10.0.0.0/8",
    "dst net 192.168.0.0/16",
    "src or dst net 10.0.0.2/31",
    "host fe80::2",
    "ip6 src host fe80::1",
    "net fe80::/10",
    "net ff00::/8",
    "ip proto 17",
    "ip6 proto 59",
    "proto 6",
    "ip proto \\tcp",
    "ether proto 0x88cc",
    "ether proto \\arp",
    "ether host 02:00:00:00:00:09",
    "ether dst 02:00:00:00:00:05",
    "less 60",
    "greater 100",
    "len > 60",
    "ip[0] & 0xf > 5",
    "ip[6:2] & 0x1fff != 0",
    "ether[12:2] = 0x800",
    "len - 14 >= 20 * 2",
    "(len + 1) / 2 <= 17 << 1",
];

#[test]
fn each_part_is_as_tcpdump_has_it() {
    let dump = Dump::new("parts", frames());
    for part in PARTS {
        assert_eq!(dump.ours(part), dump.theirs(part), "{part}");
    }
    // Bytes of what a packet carries tcpdump sees with IPv4 alone.
    for part in [
        "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
        "icmp[icmptype] = icmp-echo",
        "udp[0:2] < 1024",
    ] {
        let here = dump.ours(&format!("ip and {part}"));
        assert_eq!(here, dump.theirs(part), "{part}");
        assert!(!here.is_empty(), "{part}");
    }
    assert_eq!(dump.ours("ip6 and tcp[tcpflags] = tcp-syn"), [13]);
}

/// Parts that are joined, with and without parentheses; names without a keyword would be something else behind another part.
fn joined() -> impl Strategy<Value = String> {
    let part = select(PARTS.to_vec()).prop_map(str::to_owned);
    part.prop_recursive(4, 12, 2, |inner| {
        let words = select(vec!["and", "or", "&&", "||"]);
        let two = (inner.clone(), words, inner.clone());
        prop_oneof![
            two.prop_map(|(a, word, b)| format!("{a} {word} {b}")),
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.prop_map(|a| format!("({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    /// Of frames that have all that is asked for: tcpdump drops others, whatever else is asked of them.
    #[test]
    fn joined_they_are_as_well(text in joined()) {
        let mut frames = frames();
        frames.retain(|frame| frame.len() >= 54 && !frame.ends_with(&[0x45, 0, 0]));
        let dump = Dump::new("joined", frames);
        prop_assert_eq!(dump.ours(&text), dump.theirs(&text), "{}", text);
    }
}
