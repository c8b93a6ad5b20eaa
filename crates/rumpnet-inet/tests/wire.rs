//! IPv4, ICMP, ARP and IGMP as they are on the wire.

#[path = "common/ear.rs"]
mod ear;

use ear::{Ear, MAC, PEER, attach, boot, frame, sleep};
use rumpkern::{Kernel, OpenFlags};
use rumpnet::{
    Address, Cidr, KernelNet as _, MacAddr, SocketCalls as _,
    neighbor::State,
    socket::{Domain, Kind, MsgFlags, SockOpt},
};
use rumpnet_inet::KernelInet as _;
use rumpuser_sim::{Rng, Sim};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

const PEER_IP: &str = "10.0.0.9";

/// A kernel at 10.0.0.1, whose peer at 10.0.0.9 is known.
fn kernel() -> (Arc<Sim>, Kernel, Arc<Ear>) {
    let (sim, kernel) = boot(rumpnet_inet::component());
    let ear = Arc::new(Ear::default());
    attach(&kernel, "ear0", &ear);
    let inet = kernel.inet().unwrap();
    let own: Cidr = "10.0.0.1/24".parse().unwrap();
    inet.add_address("ear0", own).unwrap();
    inet.set_neighbor("ear0", PEER_IP.parse().unwrap(), PEER)
        .unwrap();
    sleep(&sim, 10_000);
    ear.sent();
    (sim, kernel, ear)
}

fn ip(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

fn with_sum(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = internet_checksum::checksum(&bytes);
    bytes[at..at + 2].copy_from_slice(&sum);
    bytes
}

/// A packet with options; `place` is flags and offset of a fragment.
fn packet(
    protocol: u8,
    (ttl, place): (u8, u16),
    (from, to): (&str, &str),
    options: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let len = u16::try_from(20 + options.len() + body.len()).unwrap();
    let words = u8::try_from(options.len() / 4).unwrap();
    let mut head = vec![0x45 + words, 0];
    head.extend(len.to_be_bytes());
    head.extend([0, 7]);
    head.extend(place.to_be_bytes());
    head.extend([ttl, protocol, 0, 0]);
    head.extend(ip(from));
    head.extend(ip(to));
    head.extend(options);
    [with_sum(head, 10), body.to_vec()].concat()
}

/// The same in a frame.
fn framed(mac: MacAddr, protocol: u8, from: &str, to: &str, body: &[u8]) -> Vec<u8> {
    frame(
        mac,
        0x0800,
        &packet(protocol, (64, 0), (from, to), &[], body),
    )
}

fn echo() -> Vec<u8> {
    with_sum(vec![8, 0, 0, 0, 0, 1, 0, 1], 2)
}

/// Type and code of an ICMP message in a frame.
fn told(frames: &[Vec<u8>]) -> Option<(u8, u8)> {
    let frame = frames.iter().find(|frame| frame[12..14] == [8, 0])?;
    (frame[23] == 1).then(|| (frame[34], frame[35]))
}

const ALL: MacAddr = MacAddr::BROADCAST;

/// RFC 1122 sections 3.2.1.3 and 3.3.6: what nobody sends.
#[test]
fn addresses_of_nobody() {
    let (_sim, _kernel, ear) = kernel();
    let echo = |mac, from, to| told(&ear.ask(&framed(mac, 1, from, to, &echo())));
    assert_eq!(echo(MAC, PEER_IP, "10.0.0.1"), Some((0, 0)));
    for from in [
        "10.0.0.255",
        "0.0.0.0",
        "0.0.0.9",
        "224.0.0.1",
        "255.255.255.255",
        "127.0.0.1",
    ] {
        assert_eq!(echo(MAC, from, "10.0.0.1"), None, "{from}");
    }
    assert_eq!(echo(ALL, PEER_IP, "10.0.0.1"), None);
    for to in ["10.0.0.255", "255.255.255.255", "224.0.0.1", "0.0.0.0"] {
        assert_eq!(echo(ALL, PEER_IP, to), None, "{to}");
    }
}

/// RFC 1122 section 3.2.2: about what no error is sent; RFC 1812 section 4.3.2.8: and how many.
#[test]
fn errors_to_nobody() {
    let (sim, kernel, ear) = kernel();
    let closed = [0, 9, 0, 99, 0, 8, 0, 0];
    let ask = |mac, protocol, from, to, body: &[u8]| {
        sleep(&sim, 100);
        told(&ear.ask(&framed(mac, protocol, from, to, body)))
    };
    assert_eq!(ask(MAC, 17, PEER_IP, "10.0.0.1", &closed), Some((3, 3)));
    assert_eq!(ask(MAC, 200, PEER_IP, "10.0.0.1", &[0; 8]), Some((3, 2)));
    for (mac, from, to) in [
        (ALL, PEER_IP, "10.0.0.1"),
        (ALL, PEER_IP, "10.0.0.255"),
        (ALL, PEER_IP, "224.0.0.1"),
        (MAC, "0.0.0.0", "10.0.0.1"),
        (MAC, "240.0.0.9", "10.0.0.1"),
    ] {
        assert_eq!(ask(mac, 17, from, to, &closed), None, "{from} {to}");
        assert_eq!(ask(mac, 200, from, to, &[0; 8]), None, "{from} {to}");
    }
    // A fragment whose rest does not come: whoever it was for.
    for (mac, to, expected) in [
        (MAC, "10.0.0.1", Some((11, 1))),
        (ALL, "10.0.0.255", None),
        (MacAddr([1, 0, 0x5e, 0, 0, 1]), "224.0.0.1", None),
    ] {
        let first = packet(17, (64, 0x2000), (PEER_IP, to), &[], &[0; 64]);
        ear.ask(&frame(mac, 0x0800, &first));
        sleep(&sim, 31_000);
        assert_eq!(told(&ear.sent()), expected, "{to}");
    }
    // Not the first fragment, not an error; an echo is none.
    let later = packet(200, (64, 9), (PEER_IP, "10.0.0.1"), &[], &[0; 8]);
    ear.ask(&frame(MAC, 0x0800, &later));
    sleep(&sim, 31_000);
    assert_eq!(told(&ear.sent()), None);
    // What is quoted: the header and as much as fits 576 bytes, from a source that was spoken to.
    sleep(&sim, 1_000);
    let sent = ear.ask(&framed(MAC, 200, PEER_IP, "10.0.0.1", &[7; 1_000]));
    assert_eq!(
        (sent[0].len(), &sent[0][26..30]),
        (14 + 576, &ip("10.0.0.1")[..])
    );
    let many: usize = (0..1_000)
        .map(|_| {
            ear.ask(&framed(MAC, 200, PEER_IP, "10.0.0.1", &[7; 9]))
                .len()
        })
        .sum();
    assert!((1..=50).contains(&many), "{many}");
    assert!(kernel.inet().unwrap().counters().icmp.limited >= 950);
}

/// RFC 1812 sections 5.2.7, 5.3.1, 5.3.4, 5.3.7; RFC 2644.
#[test]
fn passing_on() {
    let (sim, kernel, ear) = kernel();
    let inet = kernel.inet().unwrap();
    let other = Arc::new(Ear::default());
    attach(&kernel, "ear1", &other);
    let own: Cidr = "10.1.0.1/24".parse().unwrap();
    inet.add_address("ear1", own).unwrap();
    inet.set_neighbor("ear1", "10.1.0.9".parse().unwrap(), PEER)
        .unwrap();
    inet.set_forwarding(true);
    let send = |mac, ttl, place, from: &str, to: &str, len: usize| {
        sleep(&sim, 100);
        other.sent();
        let packet = packet(17, (ttl, place), (from, to), &[], &vec![7; len]);
        let told = told(&ear.ask(&frame(mac, 0x0800, &packet)));
        let passed = other.sent();
        (passed.first().map(|frame| frame[22]), told)
    };
    let far = "10.1.0.9";
    assert_eq!(send(MAC, 64, 0, PEER_IP, far, 9), (Some(63), None));
    assert_eq!(send(MAC, 1, 0, PEER_IP, far, 9), (None, Some((11, 0))));
    assert_eq!(send(MAC, 0, 0, PEER_IP, far, 9), (None, Some((11, 0))));
    assert_eq!(
        send(MAC, 64, 0, PEER_IP, "10.7.0.1", 9),
        (None, Some((3, 0)))
    );
    assert_eq!(send(ALL, 64, 0, PEER_IP, far, 9), (None, None));
    for (from, to) in [
        (PEER_IP, "10.1.0.255"),
        (PEER_IP, "224.0.0.9"),
        (PEER_IP, "240.0.0.9"),
        (PEER_IP, "0.0.0.9"),
        (PEER_IP, "127.0.0.9"),
        (PEER_IP, "169.254.0.9"),
        ("0.0.0.0", far),
        ("10.0.0.255", far),
        ("240.0.0.9", far),
        ("127.0.0.1", far),
        ("169.254.0.9", far),
        ("224.0.0.1", far),
    ] {
        assert_eq!(send(MAC, 64, 0, from, to, 9), (None, None), "{from} {to}");
    }
    kernel
        .net()
        .unwrap()
        .interface("ear1")
        .unwrap()
        .set_mtu(600)
        .unwrap();
    let before = inet.counters().ip;
    assert_eq!(
        send(MAC, 64, 0x4000, PEER_IP, far, 581),
        (None, Some((3, 4)))
    );
    assert_eq!(send(MAC, 64, 0, PEER_IP, far, 581), (Some(63), None));
    let after = inet.counters().ip;
    assert_eq!(after.forwarded - before.forwarded, 1);
    assert_eq!(after.fragmentation_failed - before.fragmentation_failed, 1);
    assert_eq!(after.fragments_sent - before.fragments_sent, 2);
    // Unanswered by the next hop.
    assert_eq!(send(MAC, 64, 0, PEER_IP, "10.1.0.8", 9).1, None);
    sleep(&sim, 5_000);
    assert_eq!(told(&ear.sent()), Some((3, 1)));
}

fn arp(operation: u8, (mac, from): (MacAddr, &str), to: &str) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    body.extend(mac.0);
    body.extend(ip(from));
    body.extend([0; 6]);
    body.extend(ip(to));
    frame(ALL, 0x0806, &body)
}

/// RFC 826, RFC 5227 section 2.1.1: who is answered.
#[test]
fn who_asks_for_an_address() {
    let (_sim, kernel, ear) = kernel();
    let ask = |from: &str, to: &str| ear.ask(&arp(1, (PEER, from), to)).len();
    assert_eq!(ask(PEER_IP, "10.0.0.1"), 1);
    assert_eq!(ask("0.0.0.0", "10.0.0.1"), 1);
    assert_eq!(ask(PEER_IP, "10.0.0.2"), 0);
    assert_eq!(ear.ask(&arp(2, (PEER, PEER_IP), "10.0.0.1")).len(), 0);
    // Another kind of network, another protocol, and a message that is cut.
    let good = arp(1, (PEER, PEER_IP), "10.0.0.1");
    for at in [15, 16, 18, 19] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(ear.ask(&bad).len(), 0, "{at}");
    }
    (14..good.len()).for_each(|len| assert_eq!(ear.ask(&good[..len]).len(), 0));
    let answer = &ear.ask(&good)[0];
    assert_eq!((&answer[..6], answer[21]), (&PEER.0[..], 2));
    assert_eq!(&answer[22..32], [&MAC.0[..], &ip("10.0.0.1")].concat());
    // Nobody is all hosts, and none that was not asked for is remembered.
    let known = || kernel.inet().unwrap().neighbors().len();
    let before = known();
    ear.hear(&arp(1, (ALL, "10.0.0.7"), "10.0.0.1"));
    ear.hear(&arp(1, (PEER, "10.0.0.7"), "10.0.0.2"));
    assert_eq!(known(), before);
}

/// RFC 1122 section 2.3.2: requests are few, a neighbour is asked before it is forgotten, and a packet waits.
#[test]
fn neighbours_of_ipv4() {
    let (sim, kernel, ear) = kernel();
    let proc = kernel.init_proc();
    let fd = proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    let to: Address = "10.0.0.5:9".parse::<SocketAddr>().unwrap().into();
    let send = || {
        proc.sendto(fd, b"x", MsgFlags::empty(), Some(&to)).unwrap();
        ear.sent()
    };
    let kinds = |frames: &[Vec<u8>]| -> Vec<u8> { frames.iter().map(|frame| frame[13]).collect() };
    assert_eq!(kinds(&send()), [6]);
    assert_eq!(kinds(&send()), []);
    let answer = |mac| ear.ask(&arp(2, (mac, "10.0.0.5"), "10.0.0.1"));
    assert_eq!(kinds(&answer(PEER)), [0, 0]);
    let five: IpAddr = "10.0.0.5".parse().unwrap();
    let state = || {
        let all = kernel.inet().unwrap().neighbors();
        all.iter().find(|n| n.1 == five).map(|n| (n.2, n.3))
    };
    assert_eq!(state(), Some((Some(PEER), State::Reachable)));
    sleep(&sim, 31_000);
    assert_eq!(kinds(&send()), [0]);
    assert_eq!(state(), Some((Some(PEER), State::Delay)));
    sleep(&sim, 5_100);
    let asked = ear.sent();
    assert_eq!((kinds(&asked), &asked[0][..6]), (vec![6], &PEER.0[..]));
    assert_eq!(kinds(&send()), [0]);
    // It moves.
    let other = MacAddr([2, 0, 0, 0, 0, 5]);
    answer(other);
    assert_eq!(state(), Some((Some(other), State::Reachable)));
    sleep(&sim, 31_000);
    send();
    sleep(&sim, 9_000);
    assert_eq!((kinds(&ear.sent()), state()), (vec![6, 6, 6], None));
}

/// RFC 4861 section 7.3.1, RFC 1122 section 2.3.2.1: who acknowledges what a connection sends is not asked for; who only speaks is.
#[test]
fn connections_that_go_forward() {
    let (sim, kernel, ear) = kernel();
    let proc = kernel.init_proc();
    let peer = "10.0.0.5";
    ear.hear(&arp(1, (PEER, peer), "10.0.0.1"));
    let fd = proc
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    proc.bind(fd, &SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 9).into())
        .unwrap();
    proc.listen(fd, 1).unwrap();
    let segment = |flags: u8, seq: u32, ack: u32, window: u16, data: &[u8]| {
        let mut body = vec![0, 7, 0, 9];
        body.extend(seq.to_be_bytes());
        body.extend(ack.to_be_bytes());
        body.extend([0x50, flags]);
        body.extend(window.to_be_bytes());
        body.extend([0; 4]);
        body.extend(data);
        let len = u8::try_from(body.len()).unwrap();
        let pseudo = [&ip(peer)[..], &ip("10.0.0.1"), &[0, 6, 0, len], &body].concat();
        body[16..18].copy_from_slice(&internet_checksum::checksum(&pseudo));
        framed(MAC, 6, peer, "10.0.0.1", &body)
    };
    let sent = ear.ask(&segment(2, 0, 0, 1_000, &[]));
    let mut ack = u32::from_be_bytes(sent[0][38..42].try_into().unwrap()) + 1;
    ear.hear(&segment(16, 1, ack, 1_000, &[]));
    let (fd, _) = proc.accept(fd, OpenFlags::empty()).unwrap();
    let asked = || {
        let sent = ear.sent();
        sent.iter().filter(|frame| frame[12..14] == [8, 6]).count()
    };
    asked();
    // What it says is new: it hears the acknowledgments.
    for n in 0..40 {
        ear.hear(&segment(24, 1 + n, ack, 1_000, b"x"));
        sleep(&sim, 3_000);
    }
    assert_eq!(asked(), 0);
    // It acknowledges what is new.
    for _ in 0..40 {
        assert_eq!(proc.write(fd, b"y"), Ok(1));
        ack += 1;
        ear.hear(&segment(16, 41, ack, 1_000, &[]));
        sleep(&sim, 3_000);
    }
    assert_eq!(asked(), 0);
    // It says again and again that it has room, while what is sent to it is lost.
    assert_eq!(proc.write(fd, b"z"), Ok(1));
    for n in 0..20 {
        ear.hear(&segment(16, 41, ack, 2_000 + n, &[]));
        sleep(&sim, 3_000);
    }
    assert!(asked() >= 3);
}

/// Strangers without end: the tables are bounded, and whoever is spoken to stays.
#[test]
fn floods_of_strangers() {
    let (sim, kernel, ear) = kernel();
    let inet = kernel.inet().unwrap();
    let proc = kernel.init_proc();
    let fd = proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    proc.setsockopt(fd, &SockOpt::Broadcast(true)).unwrap();
    inet.add_address("ear0", "172.16.0.1/12".parse().unwrap())
        .unwrap();
    let good: IpAddr = "10.0.0.5".parse().unwrap();
    let to: Address = SocketAddr::new(good, 9).into();
    let send = || {
        ear.sent();
        proc.sendto(fd, b"x", MsgFlags::empty(), Some(&to)).unwrap();
        ear.sent().iter().any(|frame| frame[13] == 0)
    };
    send();
    ear.hear(&arp(2, (PEER, "10.0.0.5"), "10.0.0.1"));
    let mut random = Rng::new(1);
    let gateway = Some("10.0.0.9".parse().unwrap());
    inet.add_route(Cidr::ANY_V4, gateway, None, 0).unwrap();
    let routes = inet.routes().len();
    for n in 0..100_000_u32 {
        let r = random.next_u64().to_be_bytes();
        let (a, b) = (u32::from_be_bytes([172, 16 | r[0] & 15, r[1], r[2]]), r[3]);
        let from = Ipv4Addr::from_bits(a).to_string();
        let mac = MacAddr([2, b, r[4], r[5], r[6], r[7]]);
        match n % 4 {
            0 => ear.hear(&arp(1, (mac, &from), "10.0.0.1")),
            1 => ear.hear(&arp(2, (mac, &from), "10.0.0.1")),
            2 => {
                // A redirect by the gateway, of a packet of ours.
                let far = Ipv4Addr::from([198, 18, r[0], r[1]]).to_string();
                let quoted = packet(17, (64, 0), ("10.0.0.1", &far), &[], &[0; 8]);
                let head = [&[5, 1, 0, 0][..], &[10, 0, 0, b], &quoted].concat();
                ear.hear(&framed(MAC, 1, PEER_IP, "10.0.0.1", &with_sum(head, 2)));
            }
            _ => {
                let group = Ipv4Addr::from([224 | r[0] & 15, r[1], r[2], r[3]]);
                let kind = [0x11, 0x12, 0x16, 0x17, 0x22][usize::from(r[4] % 5)];
                let mut body = vec![kind, r[5], 0, 0];
                body.extend(group.octets());
                body.extend([r[6], r[7], 0, 1]);
                body.extend(r.iter().take(4));
                let body = with_sum(body, 2);
                let alert = [148, 4, 0, 0];
                let query = packet(2, (1, 0), (&from, "224.0.0.1"), &alert, &body);
                ear.hear(&frame(MacAddr([1, 0, 0x5e, 0, 0, 1]), 0x0800, &query));
            }
        }
        if n % 1_000 == 0 {
            ear.sent();
            sleep(&sim, 1);
        }
    }
    assert!(inet.neighbors().len() <= 4_096);
    assert!(inet.routes().len() <= routes + 64);
    assert!(
        inet.neighbors()
            .iter()
            .any(|n| n.1 == good && n.2 == Some(PEER))
    );
    assert!(send());
}

/// RFC 5227 sections 2.3 and 2.4: an address is announced twice, and defended once in ten seconds.
#[test]
fn addresses_are_defended() {
    let (sim, kernel, ear) = kernel();
    let inet = kernel.inet().unwrap();
    inet.add_address("ear0", "10.0.0.2/24".parse().unwrap())
        .unwrap();
    let claims = || {
        let sent = ear.sent();
        let arp = sent.iter().filter(|frame| frame[12..14] == [8, 6]);
        let claim = |frame: &&Vec<u8>| frame[28..32] == frame[38..42] && frame[22..28] == MAC.0;
        let claims: Vec<u8> = arp.filter(claim).map(|frame| frame[31]).collect();
        claims
    };
    assert_eq!(claims(), [2]);
    sleep(&sim, 1_900);
    assert_eq!(claims(), []);
    sleep(&sim, 10_000);
    assert_eq!(claims(), [2]);
    let takes = |mac, ip| {
        for operation in [1, 2] {
            ear.hear(&arp(operation, (mac, ip), ip));
        }
        claims()
    };
    assert_eq!(takes(PEER, "10.0.0.1"), [1]);
    assert_eq!(takes(PEER, "10.0.0.1"), []);
    assert_eq!(takes(PEER, "10.0.0.2"), [2]);
    // What comes back is no conflict, and a probe is answered.
    sleep(&sim, 10_001);
    assert_eq!(takes(MAC, "10.0.0.1"), []);
    assert_eq!(ear.ask(&arp(1, (PEER, "0.0.0.0"), "10.0.0.1")).len(), 1);
    assert_eq!(takes(PEER, "10.0.0.1"), [1]);
    assert_eq!(inet.counters().arp_conflicts, 8);
    assert_eq!(inet.addresses("ear0").unwrap().len(), 2);
    // One that is gone is not announced again.
    inet.add_address("ear0", "10.0.0.3/24".parse().unwrap())
        .unwrap();
    inet.remove_address("ear0", "10.0.0.3".parse().unwrap())
        .unwrap();
    claims();
    sleep(&sim, 5_000);
    assert_eq!(claims(), []);
}

/// RFC 5227 section 2.1.1: an address is asked for three times before it is used, if that is wanted, and not used if another has it or asks, too.
#[test]
fn addresses_are_asked_for() {
    let (sim, kernel, ear) = kernel();
    let inet = kernel.inet().unwrap();
    let name = "net.inet.ip.dad_count";
    let set = |count| kernel.sysctl_set(name, rumpkern::sysctl::Value::Number(count));
    assert_eq!(set(256), Err(rumpkern::Errno::EINVAL));
    set(3).unwrap();
    let own: Cidr = "10.0.0.2/24".parse().unwrap();
    // Adds it, while the peer does something after so many milliseconds; how that ends, after how long, and senders and operations of what is sent.
    let add = |at: u64, frame: &[u8]| {
        ear.sent();
        let frame = frame.to_vec();
        let (peer_sim, peer_ear) = (sim.clone(), ear.clone());
        let peer = move |_: rumpkern::kthread::Life| {
            sleep(&peer_sim, at);
            peer_ear.hear(&frame);
        };
        kernel.spawn("peer", peer).unwrap();
        let begin = kernel.host().monotonic();
        let done = inet.add_address("ear0", own);
        let took = kernel.host().monotonic().since(begin).as_millis();
        let sent = ear.sent();
        let said: Vec<_> = sent
            .iter()
            .map(|frame| {
                assert_eq!(
                    (&frame[12..14], &frame[38..42]),
                    (&[8, 6][..], &ip("10.0.0.2")[..])
                );
                (frame[21], frame[31])
            })
            .collect();
        sleep(&sim, 3_000);
        let _ = inet.remove_address("ear0", own.address());
        (done, took, said)
    };
    let all = [(1, 0), (1, 0), (1, 0), (1, 2)];
    // What others ask for with addresses of their own is no conflict, and not answered yet; nor is what this host has sent and hears.
    for innocent in [
        arp(1, (PEER, PEER_IP), "10.0.0.2"),
        arp(1, (MAC, "0.0.0.0"), "10.0.0.2"),
        arp(1, (PEER, "0.0.0.0"), "10.0.0.3"),
        arp(2, (PEER, "10.0.0.3"), "10.0.0.2"),
    ] {
        let (done, took, said) = add(900, &innocent);
        assert_eq!((done, said), (Ok(()), all.to_vec()));
        assert!((4_000..=7_000).contains(&took), "{took}");
    }
    assert_eq!(inet.counters().arp_conflicts, 0);
    for conflict in [
        arp(1, (PEER, "10.0.0.2"), "10.0.0.2"),
        arp(2, (PEER, "10.0.0.2"), "10.0.0.9"),
        arp(1, (PEER, "0.0.0.0"), "10.0.0.2"),
    ] {
        let (done, took, said) = add(900, &conflict);
        assert_eq!((done, took), (Err(rumpkern::Errno::EADDRINUSE), 900));
        assert!(said.len() <= 1);
        // It is not asked for any more.
        sleep(&sim, 10_000);
        assert_eq!(
            (ear.sent().len(), inet.addresses("ear0").unwrap().len()),
            (0, 1)
        );
    }
    assert_eq!(inet.counters().arp_conflicts, 3);
    // It is seen to wait, nobody else begins to have it, and it can be taken away.
    let (there, peer_sim) = (inet.clone(), sim.clone());
    let peer = move |_: rumpkern::kthread::Life| {
        sleep(&peer_sim, 1_500);
        let ip = own.address();
        assert_eq!(there.tentative("ear0").unwrap(), [ip]);
        assert_eq!(there.add_address("ear0", own), Err(rumpkern::Errno::EEXIST));
        there.remove_address("ear0", ip).unwrap();
        assert_eq!(there.tentative("ear0").unwrap().len(), 0);
    };
    kernel.spawn("peer", peer).unwrap();
    assert_eq!(
        inet.add_address("ear0", own),
        Err(rumpkern::Errno::EADDRINUSE)
    );
    // Whoever has asked already, a line, and who does not want it.
    let at_once = |done: &dyn Fn() -> rumpkern::Result<()>| {
        let begin = kernel.host().monotonic();
        done().unwrap();
        assert_eq!(kernel.host().monotonic(), begin);
    };
    at_once(&|| inet.add_probed_address("ear0", own));
    attach(&kernel, "line0", &Ear::point());
    at_once(&|| inet.add_address("line0", "10.1.0.1/24".parse().unwrap()));
    set(0).unwrap();
    at_once(&|| inet.add_address("ear0", "10.0.0.3/24".parse().unwrap()));
}

/// RFC 4293: messages are counted by type, and packets of this host that have no way.
#[test]
fn what_is_counted() {
    let (_sim, kernel, ear) = kernel();
    let inet = kernel.inet().unwrap();
    let proc = kernel.init_proc();
    let fd = proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    let far: Address = "192.0.2.1:9".parse::<SocketAddr>().unwrap().into();
    let sent = proc.sendto(fd, b"x", MsgFlags::empty(), Some(&far));
    assert_eq!(sent, Err(rumpkern::Errno::ENETUNREACH));
    assert_eq!(proc.connect(fd, &far), Err(rumpkern::Errno::ENETUNREACH));
    let before = inet.counters();
    assert_eq!((before.ip.no_route_out, before.ip.no_route), (1, 0));
    ear.ask(&framed(MAC, 1, PEER_IP, "10.0.0.1", &echo()));
    // A reply to who is beyond has no way either.
    ear.ask(&framed(MAC, 1, "192.0.2.1", "10.0.0.1", &echo()));
    ear.ask(&framed(MAC, 200, PEER_IP, "10.0.0.1", &[0; 8]));
    let odd = with_sum(vec![77, 0, 0, 0, 0, 0, 0, 0], 2);
    ear.ask(&framed(MAC, 1, PEER_IP, "10.0.0.1", &odd));
    ear.ask(&framed(
        MAC,
        1,
        PEER_IP,
        "10.0.0.1",
        &[8, 0, 1, 1, 0, 0, 0, 0],
    ));
    let all = inet.counters();
    let came: Vec<_> = all.icmp.received_by_type.iter().collect();
    assert_eq!(came, [(8, 2), (77, 1)]);
    let went: Vec<_> = all.icmp.sent_by_type.iter().collect();
    assert_eq!(went, [(0, 1), (3, 1)]);
    assert_eq!((all.icmp.sent, all.icmp.received), (2, 4));
    assert_eq!(all.icmp.checksum_errors, 1);
    assert_eq!(all.ip.no_route_out, 2);
    // Connections that cannot begin, and what TCP says to who is beyond.
    let tcp = proc
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    assert_eq!(proc.connect(tcp, &far), Err(rumpkern::Errno::ENETUNREACH));
    assert_eq!(inet.counters().ip.no_route_out, 3);
    let syn = |port: u8| {
        let mut body = vec![
            0, 9, 0, port, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0,
        ];
        let pseudo = [&ip("192.0.2.1")[..], &ip("10.0.0.1"), &[0, 6, 0, 20], &body].concat();
        body[16..18].copy_from_slice(&internet_checksum::checksum(&pseudo));
        ear.ask(&framed(MAC, 6, "192.0.2.1", "10.0.0.1", &body))
            .len()
    };
    assert_eq!((syn(9), inet.counters().ip.no_route_out), (0, 4));
    proc.bind(
        tcp,
        &SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 8).into(),
    )
    .unwrap();
    proc.listen(tcp, 1).unwrap();
    assert_eq!((syn(8), inet.counters().ip.no_route_out), (0, 5));
}

/// RFC 3376 sections 4.1.12, 7.2.1 and 9.1: whose queries are answered, and in which version.
#[test]
fn queries_for_groups() {
    let (sim, kernel, ear) = kernel();
    let proc = kernel.init_proc();
    let fd = proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    let group: IpAddr = "239.1.2.3".parse().unwrap();
    proc.setsockopt(fd, &SockOpt::AddMembership(group, 0))
        .unwrap();
    sleep(&sim, 20_000);
    let alert: &[u8] = &[148, 4, 0, 0];
    // The kinds of reports, within a second.
    let ask = |ttl, to, options: &[u8], body: &[u8]| {
        let body = with_sum(body.to_vec(), 2);
        ear.sent();
        let query = packet(2, (ttl, 0), (PEER_IP, to), options, &body);
        let mac = if to == "10.0.0.1" {
            MAC
        } else {
            MacAddr([1, 0, 0x5e, 0, 0, 1])
        };
        ear.hear(&frame(mac, 0x0800, &query));
        sleep(&sim, 1_100);
        let kinds: Vec<u8> = ear.sent().iter().map(|frame| frame[38]).collect();
        kinds
    };
    let all = "224.0.0.1";
    let third = [0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0];
    assert_eq!(ask(1, all, alert, &third), [0x22]);
    assert_eq!(ask(1, "10.0.0.1", alert, &third), [0x22]);
    // From beyond; without an alert; to a group that is not that of all; cut; for what is no group.
    assert_eq!(ask(2, all, alert, &third), []);
    assert_eq!(ask(1, all, &[], &third), []);
    assert_eq!(ask(1, "239.1.2.3", alert, &third), []);
    assert_eq!(ask(1, all, alert, &third[..9]), []);
    let mut host = third;
    host[4..8].copy_from_slice(&[10, 0, 0, 1]);
    assert_eq!(ask(1, all, alert, &host), []);
    // For the group itself; for another one.
    let mut own = third;
    own[4..8].copy_from_slice(&[239, 1, 2, 3]);
    assert_eq!(ask(1, "239.1.2.3", alert, &own), [0x22]);
    own[7] = 9;
    assert_eq!(ask(1, all, alert, &own), []);
    // An older router has its version spoken, for its time and no longer.
    let second = [0x11, 10, 0, 0, 0, 0, 0, 0];
    assert_eq!(ask(1, all, &[], &second), []);
    assert_eq!(ask(1, all, alert, &second), [0x16]);
    assert_eq!(ask(1, all, alert, &third), [0x16]);
    sleep(&sim, 252_000);
    assert_eq!(ask(1, all, alert, &third), [0x22]);
    assert_eq!(kernel.inet().unwrap().counters().igmp.malformed, 6);
}

/// There are no more shown ways than so many: one that nobody here has sent along makes room, the oldest first.
#[test]
fn shown_ways_make_room() {
    let (_sim, kernel, ear) = kernel();
    let inet = kernel.inet().unwrap();
    let router = Some(PEER_IP.parse().unwrap());
    inet.add_route(Cidr::ANY_V4, router, None, 0).unwrap();
    inet.set_neighbor("ear0", "10.0.0.8".parse().unwrap(), PEER)
        .unwrap();
    let far = |n: u16| format!("198.51.{}.{}", n / 256, n % 256);
    let hears = |protocol, from: &str, body: Vec<u8>| {
        let packet = packet(protocol, (64, 0), (from, "10.0.0.1"), &[], &body);
        ear.ask(&frame(MAC, 0x0800, &packet))
    };
    let show = |n: u16| {
        let quoted = packet(17, (64, 0), ("10.0.0.1", &far(n)), &[], &[0; 8]);
        let body = [&[5, 1, 0, 0, 10, 0, 0, 8][..], &quoted].concat();
        hears(1, PEER_IP, with_sum(body, 2));
    };
    let shown = || -> Vec<u16> {
        let all = inet.routes();
        let there = |to: &IpAddr| all.iter().any(|route| route.network == Cidr::host(*to));
        (0..2_000)
            .filter(|n| there(&far(*n).parse().unwrap()))
            .collect()
    };
    (0..64).for_each(show);
    assert_eq!(shown(), (0..64).collect::<Vec<_>>());
    let proc = kernel.init_proc();
    let to = |n: u16| -> Address {
        format!("{}:9", far(n))
            .parse::<SocketAddr>()
            .unwrap()
            .into()
    };
    let udp = proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    proc.sendto(udp, b"x", MsgFlags::empty(), Some(&to(5)))
        .unwrap();
    let tcp = proc
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::NONBLOCK)
        .unwrap();
    let begun = proc.connect(tcp, &to(7));
    assert_eq!(begun, Err(rumpkern::Errno::EINPROGRESS));
    // An answer that anybody can have is no use.
    let ping = with_sum(vec![8, 0, 0, 0, 0, 1, 0, 1], 2);
    assert_eq!(hears(1, &far(9), ping).len(), 1);
    (64..1_000).for_each(show);
    let left: Vec<u16> = [5, 7].into_iter().chain(938..1_000).collect();
    assert_eq!(shown(), left);
    assert_eq!(ear.sent().len(), 0);
}
