//! Packets as they are on the wire: a device that the test holds both ends of.

#[path = "../../rumpnet-inet/tests/common/device.rs"]
mod device;

use device::{Ear, MAC, PEER, frame};
use internet_checksum::Checksum;
use rumpkern::{Kernel, OpenFlags};
use rumpnet::{
    KernelNet as _, MacAddr, SocketCalls as _,
    socket::{Domain, Kind, MsgFlags},
};
use rumpnet_inet::{Inet, KernelInet as _};
use rumpnet_inet6::KernelInet6 as _;
use rumpuser_sim::Rng;
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// The device, and whose it is.
struct Wire {
    ear: Arc<Ear>,
    inet: Arc<Inet>,
}

impl Wire {
    /// Hands a packet to the kernel; returns the packets that it has sent because of it, without their Ethernet headers.
    fn ask(&self, packet: &[u8]) -> Vec<Vec<u8>> {
        let to = if packet.len() >= 40 && packet[24] == 0xff {
            MacAddr([0x33, 0x33, packet[36], packet[37], packet[38], packet[39]])
        } else {
            MAC
        };
        self.sent();
        self.ear.hear(&frame(to, 0x86dd, packet));
        while self.inet.is_busy() {
            std::thread::yield_now();
        }
        let sent = self.sent();
        sent.iter().map(|frame| frame[14..].to_vec()).collect()
    }

    /// Frames since this was asked last.
    fn sent(&self) -> Vec<Vec<u8>> {
        self.ear.sent()
    }
}

/// A kernel at fd00::1 whose peer, at fd00::9, has been heard.
fn kernel() -> (Kernel, Wire) {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_inet6::component())
        .boot()
        .unwrap();
    kernel.inet6().unwrap().set_probes(0).unwrap();
    let ear = Arc::new(Ear::default());
    kernel.net().unwrap().attach("ear0", ear.clone()).unwrap();
    let inet = kernel.inet().unwrap();
    inet.add_address("ear0", "fd00::1/64".parse().unwrap())
        .unwrap();
    for peer in ["fd00::9", "fe80::9"] {
        inet.set_neighbor("ear0", peer.parse().unwrap(), PEER)
            .unwrap();
    }
    (kernel, Wire { ear, inet })
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// A packet with this header behind its own.
fn packet(next: u8, hops: u8, from: &str, to: &str, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    let fixed = [0x60, 0, 0, 0, len[0], len[1], next, hops];
    let (from, to) = (ip(from).octets(), ip(to).octets());
    [&fixed[..], &from, &to, body].concat()
}

/// A message of ICMPv6 with its sum.
fn icmp(from: &str, to: &str, mut body: Vec<u8>) -> Vec<u8> {
    let mut sum = Checksum::new();
    sum.add_bytes(&ip(from).octets());
    sum.add_bytes(&ip(to).octets());
    sum.add_bytes(&u32::try_from(body.len()).unwrap().to_be_bytes());
    sum.add_bytes(&[0, 0, 0, 58]);
    sum.add_bytes(&body);
    body[2..4].copy_from_slice(&sum.checksum());
    body
}

fn echo() -> Vec<u8> {
    let mut body = vec![128, 0, 0, 0, 0, 7, 0, 1];
    body.extend(b"twentyfour bytes of data");
    icmp("fd00::9", "fd00::1", body)
}

/// Sends headers in front of an echo request; returns type, code and pointer of the answer.
fn with(ear: &Wire, first: u8, headers: &[u8]) -> Option<(u8, u8, u32)> {
    let body = [headers, &echo()].concat();
    let sent = ear.ask(&packet(first, 64, "fd00::9", "fd00::1", &body));
    let answer = sent.first()?;
    let pointer = u32::from_be_bytes(answer[44..48].try_into().unwrap());
    Some((answer[40], answer[41], pointer))
}

const REPLY: Option<(u8, u8, u32)> = Some((129, 0, 0x0007_0001));

/// RFC 8200 section 4, RFC 5095, RFC 6946.
#[test]
fn extension_headers() {
    let (_kernel, ear) = kernel();
    let with = |first, headers: &[u8]| with(&ear, first, headers);
    assert_eq!(with(58, &[]), REPLY);
    // Options for every hop and for the destination, all known or to be skipped.
    assert_eq!(
        with(0, &[60, 0, 5, 2, 0, 0, 1, 0, 58, 0, 1, 4, 0, 0, 0, 0]),
        REPLY
    );
    assert_eq!(with(60, &[58, 0, 0x1e, 4, 0, 0, 0, 0]), REPLY);
    // Section 4.2: unknown ones, by their highest bits.
    assert_eq!(with(60, &[58, 0, 0x5e, 4, 0, 0, 0, 0]), None);
    assert_eq!(with(60, &[58, 0, 0x9e, 4, 0, 0, 0, 0]), Some((4, 2, 42)));
    assert_eq!(with(0, &[58, 0, 0, 0xde, 3, 0, 0, 0]), Some((4, 2, 43)));
    // Section 4.3: only at the begin.
    assert_eq!(
        with(60, &[0, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4, 0, 0, 0, 0]),
        Some((4, 1, 40))
    );
    // Section 4.4: a route that is over is ignored, any other refused.
    assert_eq!(with(43, &[58, 0, 0, 0, 0, 0, 0, 0]), REPLY);
    assert_eq!(with(43, &[58, 0, 0, 1, 0, 0, 0, 0]), Some((4, 0, 42)));
    // Section 4: a header that is not known.
    assert_eq!(with(200, &[]), Some((4, 1, 6)));
    assert_eq!(with(60, &[200, 0, 1, 4, 0, 0, 0, 0]), Some((4, 1, 40)));
    // Nothing follows; longer than the packet; more than anybody sends.
    assert_eq!(with(59, &[]), None);
    assert_eq!(with(60, &[58, 200, 1, 4, 0, 0, 0, 0]), None);
    let many = [60, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    assert_eq!(with(60, &many), None);
    // RFC 6946: a lone fragment is none.
    assert_eq!(with(44, &[58, 0, 0, 0, 1, 2, 3, 4]), REPLY);
    // Section 4.5: a fragment that is no multiple of 8 bytes but says that more follow, and one that ends beyond 65535.
    let odd = [&[17, 0, 0, 1, 1, 2, 3, 4], &[0; 9][..]].concat();
    let sent = ear.ask(&packet(44, 64, "fd00::9", "fd00::1", &odd));
    assert_eq!((sent[0][40..42].to_vec(), sent[0][47]), (vec![4, 0], 4));
    let far = [&[17, 0, 0xff, 0xf8, 1, 2, 3, 4], &[0; 16][..]].concat();
    let sent = ear.ask(&packet(44, 64, "fd00::9", "fd00::1", &far));
    assert_eq!((sent[0][40..42].to_vec(), sent[0][47]), (vec![4, 0], 42));
}

/// RFC 8200 section 4.5, RFC 5722 section 4.
#[test]
fn fragments() {
    let (kernel, ear) = kernel();
    let message = echo();
    let send = |id: u8, from: usize, to: usize, more: bool| {
        let offset = u16::try_from(from).unwrap().to_be_bytes();
        let head = [58, 0, offset[0], offset[1] | u8::from(more), 0, 0, 0, id];
        let body = [&head[..], &message[from..to]].concat();
        ear.ask(&packet(44, 64, "fd00::9", "fd00::1", &body))
    };
    // In any order, and one of them twice.
    assert_eq!(send(1, 16, 32, false).len(), 0);
    assert_eq!(send(1, 16, 32, false).len(), 0);
    let sent = send(1, 0, 16, true);
    assert_eq!(sent[0][40], 129);
    assert_eq!(&sent[0][48..], b"twentyfour bytes of data");
    // One that overlaps has the packet given up, also what comes afterwards.
    assert_eq!(send(2, 16, 32, false).len(), 0);
    assert_eq!(send(2, 0, 24, true).len(), 0);
    assert_eq!(send(2, 0, 16, true).len(), 0);
    assert_eq!(send(2, 16, 32, false).len(), 0);
    // A first one without all headers is refused (RFC 7112 section 5): those of the destination end where the next one begins.
    let chain = [
        &[60, 0, 1, 4, 0, 0, 0, 0],
        &[58, 0, 1, 4, 0, 0, 0, 0],
        &message[..8],
    ]
    .concat();
    let start = |len: usize| {
        let body = [&[60, 0, 0, 1, 0, 0, 0, 3], &chain[..len]].concat();
        ear.ask(&packet(44, 64, "fd00::9", "fd00::1", &body))
    };
    let sent = start(8);
    assert_eq!(
        sent[0][40..48],
        [4, 3, sent[0][42], sent[0][43], 0, 0, 0, 0]
    );
    // What is of ICMP may be an error itself, and is not answered.
    assert_eq!(start(16).len(), 0);
    let failed = || kernel.inet().unwrap().counters().ip6.reassembly_failed;
    let before = failed();
    assert_eq!((start(24).len(), failed()), (0, before));
    let counters = kernel.inet().unwrap().counters();
    assert_eq!(counters.ip6.reassembled, 1);
    assert!(counters.ip6.reassembly_failed >= 1);
}

/// RFC 4861 sections 7.1.1 and 7.2.4, RFC 4862 section 5.4.3.
#[test]
fn solicitations_are_answered() {
    let (_kernel, ear) = kernel();
    let ask = |hops: u8, from: &str, to: &str, target: &str, option: &[u8]| {
        let body = [
            &[135, 0, 0, 0, 0, 0, 0, 0],
            &ip(target).octets()[..],
            option,
        ]
        .concat();
        ear.ask(&packet(58, hops, from, to, &icmp(from, to, body)))
    };
    let group = "ff02::1:ff00:1";
    let link = [1, 1, 2, 0, 0, 0, 0, 9];
    let sent = ask(255, "fd00::9", group, "fd00::1", &link);
    assert_eq!(sent[0][24..40], ip("fd00::9").octets());
    assert_eq!((sent[0][7], sent[0][40], sent[0][44]), (255, 136, 0x60));
    assert_eq!(sent[0][48..64], ip("fd00::1").octets());
    assert_eq!(sent[0][64..72], [2, 1, 2, 0, 0, 0, 0, 1]);
    // Who has no address yet is answered by way of all.
    let sent = ask(255, "::", group, "fd00::1", &[]);
    assert_eq!(sent[0][24..40], ip("ff02::1").octets());
    assert_eq!(sent[0][44], 0x20);
    // From beyond the link; without an address but with a link address; of another; with an option of no length.
    assert_eq!(ask(254, "fd00::9", group, "fd00::1", &link).len(), 0);
    assert_eq!(ask(255, "::", group, "fd00::1", &link).len(), 0);
    assert_eq!(ask(255, "fd00::9", "fd00::1", "fd00::2", &link).len(), 0);
    assert_eq!(
        ask(255, "fd00::9", group, "fd00::1", &[1, 0, 2, 0, 0, 0, 0, 9]).len(),
        0
    );
}

fn advertisement(lifetime: u16, options: &[u8]) -> Vec<u8> {
    let life = lifetime.to_be_bytes();
    let fixed = [
        134, 0, 0, 0, 61, 0, life[0], life[1], 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let body = [&fixed, options].concat();
    icmp("fe80::9", "ff02::1", body)
}

fn prefix(valid: u32, preferred: u32) -> Vec<u8> {
    let mut option = vec![3, 4, 64, 0xc0];
    option.extend(valid.to_be_bytes());
    option.extend(preferred.to_be_bytes());
    option.extend([0; 4]);
    option.extend(ip("2001:db8:5::").octets());
    option
}

/// RFC 4861 section 6.3.4, RFC 4862 section 5.5.3.
#[test]
fn routers_are_followed() {
    let (kernel, ear) = kernel();
    let six = kernel.inet6().unwrap();
    let settings = rumpnet_inet6::temporary::Settings {
        on: false,
        ..six.temporary().unwrap()
    };
    six.set_temporary(settings).unwrap();
    let inet = kernel.inet().unwrap();
    let send = |hops: u8, message: &[u8]| ear.ask(&packet(58, hops, "fe80::9", "ff02::1", message));
    let made = || {
        let all = inet.addresses("ear0").unwrap();
        let network: rumpnet::Cidr = "2001:db8:5::/64".parse().unwrap();
        let found = all.iter().find(|cidr| network.contains(cidr.address()));
        found.map(|cidr| cidr.address())
    };
    let gateway = || {
        let all = inet.routes();
        let found = all
            .iter()
            .find(|route| route.network == rumpnet::Cidr::ANY_V6);
        found.and_then(|route| route.gateway)
    };
    let mtu = [5, 1, 0, 0, 0, 0, 5, 0x78];
    let whole = advertisement(1_800, &[&prefix(9_000, 8_000), &mtu[..]].concat());
    send(254, &whole);
    assert_eq!((made(), gateway()), (None, None));
    send(255, &whole);
    let address = made().unwrap();
    assert_eq!(gateway(), Some(IpAddr::V6(ip("fe80::9"))));
    // What goes out to hosts beyond the router goes to it, from the address that was made, in packets of its MTU.
    let proc = kernel.init_proc();
    let fd = proc
        .socket(Domain::Inet6, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    let far = "[2001:db8:77::1]:9".parse::<SocketAddr>().unwrap().into();
    ear.sent();
    proc.sendto(fd, &[7; 3_000], MsgFlags::empty(), Some(&far))
        .unwrap();
    let IpAddr::V6(source) = address else {
        unreachable!()
    };
    let sent = ear.sent();
    assert_eq!((sent.len(), sent[0][21]), (3, 61));
    assert_eq!(
        (sent[0].len(), sent[0][22..38].to_vec()),
        (14 + 1_400, source.octets().to_vec())
    );
    // It stays one, whatever somebody says who does not change what is known of it (RFC 4861 section 7.2.5).
    let claim = |flags: u8, mac: u8| {
        let fixed = [136, 0, 0, 0, flags, 0, 0, 0];
        let link = [2, 1, 2, 0, 0, 0, 0, mac];
        let body = [&fixed[..], &ip("fe80::9").octets(), &link].concat();
        send(255, &icmp("fe80::9", "ff02::1", body));
        gateway().is_some()
    };
    assert!(claim(0, 77));
    // An address's life is not cut below two hours, but it may be deprecated; a router may go.
    send(255, &advertisement(0, &prefix(0, 0)));
    assert_eq!((made(), gateway()), (Some(address), None));
    // As it does when it says itself that it is none.
    send(255, &whole);
    assert!(claim(0x80, 9));
    assert!(!claim(0, 9));
    // More preferred than valid is void.
    send(255, &advertisement(0, &prefix(5, 6)));
    // Many prefixes do not make many addresses.
    for n in 0..100_u8 {
        let mut other = prefix(9_000, 8_000);
        other[21] = n;
        send(255, &advertisement(0, &other));
    }
    assert!(inet.addresses("ear0").unwrap().len() <= 18);
}

/// RFC 8201 section 4.
#[test]
fn smaller_packets_when_told() {
    let (kernel, ear) = kernel();
    let proc = kernel.init_proc();
    let fd = proc
        .socket(Domain::Inet6, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    let to = "[fd00::9]:9".parse::<SocketAddr>().unwrap().into();
    let send = || {
        ear.sent();
        proc.sendto(fd, &[7; 1_452], MsgFlags::empty(), Some(&to))
            .unwrap();
        let sent = ear.sent();
        sent.iter().map(|frame| frame[14..].to_vec()).collect()
    };
    let first: Vec<Vec<u8>> = send();
    assert_eq!((first.len(), first[0].len()), (1, 1_500));
    let complain = |mtu: u32| {
        let mut body = vec![2, 0, 0, 0];
        body.extend(mtu.to_be_bytes());
        body.extend(&first[0][..1_000]);
        let body = icmp("fd00::9", "fd00::1", body);
        ear.ask(&packet(58, 64, "fd00::9", "fd00::1", &body));
    };
    complain(1_400);
    let sent = send();
    assert_eq!((sent.len(), sent[0].len()), (2, 1_400));
    // Never less than every link carries, and no more than before.
    complain(68);
    complain(1_500);
    assert_eq!(send()[0].len(), 1_280);
}

/// RFC 8200 section 8.1: a datagram without a sum; RFC 4443 section 2.4: no error about a group or an error.
#[test]
fn what_is_not_answered() {
    let (kernel, ear) = kernel();
    let datagram = [0, 1, 0, 99, 0, 9, 0, 0, 7];
    assert_eq!(
        ear.ask(&packet(17, 64, "fd00::9", "fd00::1", &datagram))
            .len(),
        0
    );
    assert_eq!(kernel.inet().unwrap().counters().udp6.malformed, 1);
    let option = [58, 0, 0xde, 4, 0, 0, 0, 0];
    assert_eq!(
        ear.ask(&packet(60, 64, "fd00::9", "ff02::1", &option))
            .len(),
        0
    );
    let always = [58, 0, 0x9e, 4, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        ear.ask(&packet(60, 64, "fd00::9", "ff02::1", &always))
            .len(),
        1
    );
    let error = [58, 0, 0x9e, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        ear.ask(&packet(60, 64, "fd00::9", "fd00::1", &error)).len(),
        0
    );
    for from in ["::1", "ff02::1", "::ffff:10.0.0.1", "::"] {
        assert_eq!(
            ear.ask(&packet(200, 64, from, "fd00::1", &[0; 8])).len(),
            0,
            "{from}"
        );
    }
    // No more than so many errors at once.
    let sent: usize = (0..2_000)
        .map(|_| ear.ask(&packet(200, 64, "fd00::9", "fd00::1", &[])).len())
        .sum();
    assert!((10..2_000).contains(&sent), "{sent}");
}

/// RFC 4861 section 8: only the router that was asked may show another way, to a neighbour of the link.
#[test]
fn redirects() {
    let (kernel, ear) = kernel();
    let inet = kernel.inet().unwrap();
    ear.ask(&packet(
        58,
        255,
        "fe80::9",
        "ff02::1",
        &advertisement(1_800, &[]),
    ));
    let send = |from: &str, target: &str, destination: &str| {
        let mut body = vec![137, 0, 0, 0, 0, 0, 0, 0];
        body.extend(ip(target).octets());
        body.extend(ip(destination).octets());
        body.extend([2, 1, 2, 0, 0, 0, 0, 8]);
        ear.ask(&packet(
            58,
            255,
            from,
            "fd00::1",
            &icmp(from, "fd00::1", body),
        ));
        let host = rumpnet::Cidr::host(IpAddr::V6(ip(destination)));
        let all = inet.routes();
        let found = all.iter().find(|route| route.network == host);
        found.map(|route| route.gateway)
    };
    let far = "2001:db8:77::1";
    assert_eq!(send("fe80::5", "fe80::8", far), None);
    assert_eq!(send("fd00::9", "fe80::8", far), None);
    assert_eq!(send("fe80::9", "fd00::8", far), None);
    assert_eq!(send("fe80::9", "fe80::8", "ff02::5"), None);
    let gateway = Some(Some(IpAddr::V6(ip("fe80::8"))));
    assert_eq!(send("fe80::9", "fe80::8", far), gateway);
    // The router is not asked for it any more, so it has nothing to say.
    assert_eq!(send("fe80::9", far, far), gateway);
    assert_eq!(send("fe80::8", far, far), Some(None));
    for n in 0..1_000 {
        send("fe80::9", "fe80::8", &format!("2001:db8:78::{n:x}"));
    }
    assert!(inet.routes().len() < 300);
}

/// RFC 8200 section 3, RFC 4443 sections 3.1 to 3.3: from one link to another.
#[test]
fn passing_on() {
    let (kernel, ear) = kernel();
    let inet = kernel.inet().unwrap();
    let other = Arc::new(Ear::default());
    let net = kernel.net().unwrap();
    net.attach("ear1", other.clone()).unwrap();
    inet.add_address("ear1", "fd01::1/64".parse().unwrap())
        .unwrap();
    inet.set_neighbor("ear1", "fd01::9".parse().unwrap(), PEER)
        .unwrap();
    let send = |hops: u8, from: &str, to: &str, len: usize| {
        other.sent();
        let told = ear.ask(&packet(17, hops, from, to, &vec![7; len]));
        let passed = other.sent();
        let what = |bytes: &Vec<u8>| (bytes[40], bytes[41]);
        (
            passed.first().map(|frame| frame[21]),
            told.first().map(what),
        )
    };
    // Off unless told so.
    assert_eq!(send(64, "fd00::9", "fd01::9", 100), (None, None));
    kernel.inet6().unwrap().set_forwarding(true).unwrap();
    assert_eq!(send(64, "fd00::9", "fd01::9", 100), (Some(63), None));
    assert_eq!(send(1, "fd00::9", "fd01::9", 100), (None, Some((3, 0))));
    assert_eq!(send(64, "fd00::9", "fd02::9", 100), (None, Some((1, 0))));
    assert_eq!(send(64, "fe80::9", "fd01::9", 100), (None, Some((1, 2))));
    assert_eq!(send(64, "fd00::9", "ff05::9", 100), (None, None));
    net.interface("ear1").unwrap().set_mtu(1_280).unwrap();
    assert_eq!(send(64, "fd00::9", "fd01::9", 1_240), (Some(63), None));
    assert_eq!(send(64, "fd00::9", "fd01::9", 1_241), (None, Some((2, 0))));
}

/// Whatever comes, nothing breaks, and an echo is answered afterwards.
#[test]
fn nonsense() {
    let (kernel, ear) = kernel();
    let seeds = [
        packet(
            58,
            255,
            "fe80::9",
            "ff02::1",
            &advertisement(9, &prefix(9, 9)),
        ),
        packet(58, 64, "fd00::9", "fd00::1", &echo()),
        packet(
            0,
            1,
            "fe80::9",
            "ff02::1",
            &[58, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0, 0xff, 0xff],
        ),
        packet(
            44,
            64,
            "fd00::9",
            "fd00::1",
            &[&[58, 0, 0, 1, 0, 0, 0, 1], &[0; 64][..]].concat(),
        ),
        packet(
            58,
            255,
            "fd00::9",
            "ff02::1:ff00:1",
            &[&[135, 0, 0, 0, 0, 0, 0, 0], &[0; 24][..]].concat(),
        ),
        packet(6, 64, "fd00::9", "fd00::1", &[0; 40]),
        packet(17, 64, "fd00::9", "fd00::1", &[0; 40]),
        packet(
            43,
            64,
            "fd00::9",
            "fd00::1",
            &[
                60, 0, 0, 0, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 0,
            ],
        ),
    ];
    let mut rng = Rng::new(7);
    for _ in 0..150_000 {
        let mut bytes = seeds[rng.index(seeds.len())].clone();
        for _ in 0..rng.below(6) {
            let at = rng.index(bytes.len());
            bytes[at] = u8::try_from(rng.below(256)).unwrap();
        }
        if rng.below(4) == 0 {
            bytes.truncate(rng.index(bytes.len()));
        }
        // Half of what says ICMPv6 gets a sum that holds, so that more than the sum is tried.
        if rng.flip() && bytes.len() > 44 && bytes[6] == 58 {
            let address = |at: usize| {
                let octets: [u8; 16] = bytes[at..at + 16].try_into().unwrap();
                Ipv6Addr::from(octets).to_string()
            };
            let (from, to) = (address(8), address(24));
            bytes[42..44].fill(0);
            let body = icmp(&from, &to, bytes[40..].to_vec());
            bytes[40..].copy_from_slice(&body);
        }
        ear.ask(&bytes);
    }
    let inet = kernel.inet().unwrap();
    assert!(inet.neighbors().len() <= 4_096 && inet.routes().len() < 64);
    // The clock may be sending questions of its own in between.
    let answered = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        with(&ear, 58, &[]) == REPLY
    });
    assert!(answered);
}
