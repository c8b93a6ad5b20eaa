//! Neighbour discovery, autoconfiguration and groups as they are on the wire, in virtual time.

#[path = "../../rumpnet-inet/tests/common/ear.rs"]
mod ear;

use ear::{Ear, MAC, PEER, attach, boot, frame, sleep};
use internet_checksum::Checksum;
use rumpkern::{Errno, Kernel, OpenFlags, Proc};
use rumpnet::{
    Address, Cidr, KernelNet as _, MacAddr, SocketCalls as _,
    neighbor::State,
    route::Route,
    socket::{Domain, Kind, MsgFlags, SockOpt},
};
use rumpnet_inet::KernelInet as _;
use rumpnet_inet6::{KernelInet6 as _, temporary::Settings};
use rumpuser_sim::{Rng, Sim};
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

const ROUTER: &str = "fe80::9";
const ALL: &str = "ff02::1";
/// The header with which routers look at a message (RFC 2711), before one of ICMPv6.
const ALERT: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];

struct Host {
    sim: Arc<Sim>,
    kernel: Kernel,
    ear: Arc<Ear>,
    proc: Proc,
    fd: u32,
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// A message of ICMPv6 with its sum, in a packet with these headers before it, in a frame.
fn message(
    (first, headers): (u8, &[u8]),
    hops: u8,
    (from, to): (&str, &str),
    body: &[u8],
) -> Vec<u8> {
    let mut body = body.to_vec();
    let (from, to) = (ip(from).octets(), ip(to).octets());
    let mut sum = Checksum::new();
    sum.add_bytes(&from);
    sum.add_bytes(&to);
    sum.add_bytes(&u32::try_from(body.len()).unwrap().to_be_bytes());
    sum.add_bytes(&[0, 0, 0, 58]);
    body[2..4].fill(0);
    sum.add_bytes(&body);
    body[2..4].copy_from_slice(&sum.checksum());
    let len = u16::try_from(headers.len() + body.len()).unwrap();
    let [l0, l1] = len.to_be_bytes();
    let head = [0x60, 0, 0, 0, l0, l1, first, hops];
    let mac = match to {
        [0xff, .., a, b, c, d] => MacAddr([0x33, 0x33, a, b, c, d]),
        _ => MAC,
    };
    frame(
        mac,
        0x86dd,
        &[&head, &from[..], &to, headers, &body].concat(),
    )
}

/// One of neighbour discovery.
fn nd(from: &str, to: &str, body: &[u8]) -> Vec<u8> {
    message((58, &[]), 255, (from, to), body)
}

fn about(kind: u8, flags: u8, target: &str, options: &[u8]) -> Vec<u8> {
    let fixed = [kind, 0, 0, 0, flags, 0, 0, 0];
    [&fixed, &ip(target).octets()[..], options].concat()
}

fn link(which: u8, mac: MacAddr) -> Vec<u8> {
    [&[which, 1][..], &mac.0].concat()
}

/// An advertisement of a router: its hops, seconds, and the two times in milliseconds.
fn router(hops: u8, life: u16, reachable: u32, retry: u32, options: &[u8]) -> Vec<u8> {
    let mut body = vec![134, 0, 0, 0, hops, 0];
    body.extend(life.to_be_bytes());
    body.extend(reachable.to_be_bytes());
    body.extend(retry.to_be_bytes());
    body.extend(options);
    body
}

fn prefix(network: &str, flags: u8, valid: u32, preferred: u32) -> Vec<u8> {
    let mut option = vec![3, 4, 64, flags];
    option.extend(valid.to_be_bytes());
    option.extend(preferred.to_be_bytes());
    option.extend([0; 4]);
    option.extend(ip(network).octets());
    option
}

/// Kind of ICMPv6 in a frame; 0 if it is another protocol.
fn kind(frame: &[u8]) -> u8 {
    if frame[20] == 58 { frame[54] } else { 0 }
}

fn kinds(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().map(|frame| kind(frame)).collect()
}

impl Host {
    /// At fd00::1, settled.
    fn new() -> Self {
        let this = Self::bare();
        this.add("fd00::1/64");
        sleep(&this.sim, 60_000);
        this.ear.sent();
        this
    }

    /// With the address of its link alone, which it is asking for.
    fn bare() -> Self {
        Self::waiting(0)
    }

    /// With the address of its link alone, which it asks for within so many milliseconds.
    fn waiting(most: u64) -> Self {
        let (sim, kernel) = boot(rumpnet_inet6::component());
        let six = kernel.inet6().unwrap();
        let off = Settings {
            on: false,
            ..Settings::default()
        };
        six.set_temporary(off).unwrap();
        six.set_delay(Duration::from_millis(most)).unwrap();
        let ear = Arc::new(Ear::default());
        attach(&kernel, "ear0", &ear);
        let proc = kernel.init_proc();
        let fd = proc
            .socket(Domain::Inet6, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        Self {
            sim,
            kernel,
            ear,
            proc,
            fd,
        }
    }

    fn add(&self, address: &str) {
        let inet = self.kernel.inet().unwrap();
        inet.add_address("ear0", address.parse().unwrap()).unwrap();
    }

    fn send(&self, to: &str) -> Vec<Vec<u8>> {
        self.ear.sent();
        let to: Address = SocketAddr::new(ip(to).into(), 9).into();
        let _ = self
            .proc
            .sendto(self.fd, b"x", MsgFlags::empty(), Some(&to));
        self.ear.sent()
    }

    fn state(&self, of: &str) -> Option<(Option<MacAddr>, State)> {
        let all = self.kernel.inet().unwrap().neighbors();
        let found = all.iter().find(|n| n.1 == IpAddr::V6(ip(of)));
        found.map(|n| (n.2, n.3))
    }

    fn routes(&self) -> Vec<Route> {
        self.kernel.inet().unwrap().routes()
    }

    fn gateway(&self) -> Option<IpAddr> {
        let all = self.routes();
        let found = all.iter().find(|route| route.network == Cidr::ANY_V6);
        found.and_then(|route| route.gateway)
    }

    fn addresses(&self, network: &str) -> Vec<Ipv6Addr> {
        let network: Cidr = network.parse().unwrap();
        let all = self.kernel.inet().unwrap().addresses("ear0").unwrap();
        let all = all.iter().map(|cidr| cidr.address());
        all.filter(|ip| network.contains(*ip))
            .filter_map(|ip| match ip {
                IpAddr::V6(ip) => Some(ip),
                IpAddr::V4(_) => None,
            })
            .collect()
    }
}

/// RFC 4861 section 7.3.2: a neighbour's life, from the question by the group to that by unicast that nobody answers.
#[test]
fn states_of_a_neighbour() {
    let host = Host::new();
    let sent = host.send("fd00::5");
    assert_eq!(
        (kinds(&sent), &sent[0][38..54]),
        (vec![135], &ip("ff02::1:ff00:5").octets()[..])
    );
    assert_eq!(host.state("fd00::5"), Some((None, State::Incomplete)));
    // Section 7.2.5: without a link address the answer says nothing yet.
    let answer = |flags, options: &[u8]| {
        let body = about(136, flags, "fd00::5", options);
        host.ear.ask(&nd("fd00::5", "fd00::1", &body))
    };
    assert_eq!(answer(0x60, &[]).len(), 0);
    assert_eq!(kinds(&answer(0x60, &link(2, PEER))), [0]);
    assert_eq!(host.state("fd00::5"), Some((Some(PEER), State::Reachable)));
    // Section 6.3.2: half a minute, or half as much or half as much again.
    sleep(&host.sim, 14_000);
    host.send("fd00::5");
    assert_eq!(host.state("fd00::5"), Some((Some(PEER), State::Reachable)));
    sleep(&host.sim, 32_000);
    assert_eq!(kinds(&host.send("fd00::5")), [0]);
    assert_eq!(host.state("fd00::5"), Some((Some(PEER), State::Delay)));
    sleep(&host.sim, 4_900);
    assert_eq!(host.ear.sent().len(), 0);
    sleep(&host.sim, 200);
    let asked = host.ear.sent();
    assert_eq!(
        (kinds(&asked), &asked[0][38..54]),
        (vec![135], &ip("fd00::5").octets()[..])
    );
    assert_eq!(&asked[0][78..86], link(1, MAC));
    assert_eq!(answer(0x40, &[]).len(), 0);
    assert_eq!(host.state("fd00::5"), Some((Some(PEER), State::Reachable)));
    sleep(&host.sim, 46_000);
    host.send("fd00::5");
    sleep(&host.sim, 20_000);
    assert_eq!(kinds(&host.ear.sent()), [135, 135, 135]);
    assert_eq!(host.state("fd00::5"), None);
    // Section 7.2.2: three questions, then the packet is given up.
    host.send("fd00::6");
    sleep(&host.sim, 10_000);
    assert_eq!(kinds(&host.ear.sent()), [135, 135]);
    assert_eq!(host.state("fd00::6"), None);
}

/// RFC 4861 sections 7.1.1 and 7.1.2: what makes messages about neighbours void.
#[test]
fn void_messages_about_neighbours() {
    let host = Host::new();
    let group = "ff02::1:ff00:1";
    let good = about(135, 0, "fd00::1", &link(1, PEER));
    assert_eq!(kinds(&host.ear.ask(&nd("fd00::9", group, &good))), [136]);
    let none = |frame: Vec<u8>, why: &str| {
        assert_eq!(host.ear.ask(&frame).len(), 0, "{why}");
        let text: Vec<_> = host.kernel.inet().unwrap().neighbors();
        assert_eq!(text.len(), 1, "{why}");
    };
    none(message((58, &[]), 254, ("fd00::8", group), &good), "hops");
    let mut code = good.clone();
    code[1] = 1;
    none(nd("fd00::8", group, &code), "code");
    none(nd("fd00::8", group, &good[..23]), "short");
    none(
        nd(
            "fd00::8",
            group,
            &[&good[..24], &[1, 0, 2, 0, 0, 0, 0, 9]].concat(),
        ),
        "option",
    );
    none(nd("fd00::8", group, &good[..31]), "option cut");
    none(
        nd("fd00::8", group, &about(135, 0, "ff02::5", &link(1, PEER))),
        "group",
    );
    none(nd("::", group, &good), "link address of nobody");
    none(nd("::", "fd00::1", &good[..24]), "nobody by unicast");
    let mut sum = nd("fd00::8", group, &good);
    sum[57] ^= 1;
    none(sum, "sum");
    // RFC 6980 section 5: in fragments, or as the only one.
    let lone = [58, 0, 0, 0, 0, 0, 0, 7];
    none(
        message((44, &lone), 255, ("fd00::8", group), &good),
        "fragment",
    );
    // An option that is not known is passed over, and a message may be long.
    let long = [&good[..], &[200, 180].repeat(720)].concat();
    assert_eq!(kinds(&host.ear.ask(&nd("fd00::9", group, &long))), [136]);
    // Advertisements: solicited to a group; of a group; nobody asked.
    host.send("fd00::5");
    let told = |to: &str, target: &str, flags| {
        host.ear.ask(&nd(
            "fd00::5",
            to,
            &about(136, flags, target, &link(2, PEER)),
        ));
        host.state("fd00::5").unwrap().1
    };
    assert_eq!(told(ALL, "fd00::5", 0x60), State::Incomplete);
    assert_eq!(told("fd00::1", "ff02::5", 0x60), State::Incomplete);
    assert_eq!(told("fd00::1", "fd00::6", 0x60), State::Incomplete);
    assert_eq!(told(ALL, "fd00::5", 0x20), State::Stale);
    assert_eq!(host.state("fd00::6"), None);
}

/// RFC 4861 section 6.3.4: the variables of a host.
#[test]
fn what_routers_say() {
    let host = Host::new();
    let say = |body: Vec<u8>| host.ear.hear(&nd(ROUTER, ALL, &body));
    say(router(7, 1_800, 2_000, 3_000, &[5, 1, 0, 0, 0, 0, 5, 0x40]));
    let to = "2001:db8::7";
    let sent = host.send(to);
    assert_eq!(kinds(&sent), [135]);
    // Its retransmission time: two more, three seconds apart.
    sleep(&host.sim, 2_900);
    assert_eq!(host.ear.sent().len(), 0);
    sleep(&host.sim, 200);
    assert_eq!(kinds(&host.ear.sent()), [135]);
    let answer = about(136, 0xe0, ROUTER, &link(2, PEER));
    host.ear.ask(&nd(ROUTER, "fd00::1", &answer));
    let sent = host.send(to);
    assert_eq!((kinds(&sent), sent[0][21]), (vec![0], 7));
    // Its time of reachability: between one second and three.
    sleep(&host.sim, 900);
    host.send(to);
    assert_eq!(host.state(ROUTER).unwrap().1, State::Reachable);
    sleep(&host.sim, 2_200);
    host.send(to);
    assert_eq!(host.state(ROUTER).unwrap().1, State::Delay);
    // What is not said stays.
    say(router(0, 1_800, 0, 0, &[]));
    let sent = host.send(to);
    assert_eq!((kinds(&sent), sent[0][21]), (vec![0], 7));
    // Sizes that cannot be are none.
    for mtu in [1_279_u32, 1_501, 0, u32::MAX] {
        let option = [&[5, 1, 0, 0][..], &mtu.to_be_bytes()].concat();
        say(router(0, 1_800, 0, 0, &option));
        host.proc
            .sendto(
                host.fd,
                &[7; 1_400],
                MsgFlags::empty(),
                Some(&SocketAddr::new(ip(to).into(), 9).into()),
            )
            .unwrap();
        let sent = host.ear.sent();
        assert_eq!((sent.len(), sent[0].len()), (2, 14 + 1_344), "{mtu}");
    }
}

/// RFC 4861 section 6.1.2.
#[test]
fn void_advertisements_of_routers() {
    let host = Host::new();
    let good = router(0, 1_800, 0, 0, &link(1, PEER));
    let mut code = good.clone();
    code[1] = 1;
    let lone = [58, 0, 0, 0, 0, 0, 0, 7];
    for (why, frame) in [
        ("source", nd("fd00::9", ALL, &good)),
        ("nobody", nd("::", ALL, &good)),
        ("hops", message((58, &[]), 64, (ROUTER, ALL), &good)),
        ("code", nd(ROUTER, ALL, &code)),
        ("short", nd(ROUTER, ALL, &good[..15])),
        ("option cut", nd(ROUTER, ALL, &good[..23])),
        (
            "no length",
            nd(
                ROUTER,
                ALL,
                &[&good[..16], &[1, 0, 2, 0, 0, 0, 0, 9]].concat(),
            ),
        ),
        ("fragment", message((44, &lone), 255, (ROUTER, ALL), &good)),
    ] {
        host.ear.hear(&frame);
        assert_eq!((host.gateway(), host.state(ROUTER)), (None, None), "{why}");
    }
    host.ear.hear(&nd(ROUTER, ALL, &good));
    assert_eq!(host.gateway(), Some(ip(ROUTER).into()));
    assert_eq!(host.state(ROUTER), Some((Some(PEER), State::Stale)));
    // Until its time is over.
    sleep(&host.sim, 1_799_000);
    assert!(host.gateway().is_some());
    sleep(&host.sim, 2_000);
    assert_eq!(host.gateway(), None);
}

/// RFC 4861 section 6.3.6: a router that does not answer is followed by another, also when packets wait for it.
#[test]
fn another_router() {
    let host = Host::new();
    for source in ["fe80::9", "fe80::8"] {
        host.ear
            .hear(&nd(source, ALL, &router(0, 1_800, 0, 0, &[])));
    }
    assert_eq!(host.gateway(), Some(ip("fe80::9").into()));
    host.send("2001:db8::1");
    host.send("2001:db8::2");
    sleep(&host.sim, 4_000);
    assert_eq!(host.gateway(), Some(ip("fe80::8").into()));
    // One that answered before, and is silent now, is found out by unicast.
    host.ear
        .hear(&nd("fe80::8", ALL, &router(0, 1_800, 0, 0, &link(1, PEER))));
    assert_eq!(kinds(&host.send("2001:db8::1")), [0]);
    sleep(&host.sim, 9_000);
    assert_eq!(host.gateway(), Some(ip("fe80::9").into()));
}

/// RFC 4861 section 6.3.7: three questions four seconds apart, until a router says that it is one.
#[test]
fn asking_for_routers() {
    let asked = |host: &Host, millis| {
        sleep(&host.sim, millis);
        let sent = host.ear.sent();
        let asked = sent.iter().filter(|frame| kind(frame) == 133);
        asked.inspect(|frame| assert_eq!(frame[21], 255)).count()
    };
    let host = Host::bare();
    assert_eq!(asked(&host, 60_000), 3);
    let host = Host::bare();
    assert_eq!(asked(&host, 1_500), 1);
    host.ear.hear(&nd(ROUTER, ALL, &router(0, 0, 0, 0, &[])));
    assert_eq!(asked(&host, 4_000), 1);
    host.ear.hear(&nd(ROUTER, ALL, &router(0, 9, 0, 0, &[])));
    assert_eq!(asked(&host, 60_000), 0);
    // Who becomes a router asks none (section 6.2.1).
    let host = Host::bare();
    assert_eq!(asked(&host, 1_500), 1);
    host.kernel.inet6().unwrap().set_forwarding(true).unwrap();
    assert_eq!(asked(&host, 60_000), 0);
}

/// RFC 4862 section 5.4.2, RFC 4861 section 6.3.7: what a host does by itself it begins within a second; what it is told it does at once.
#[test]
fn hosts_that_come_up_together() {
    // Milliseconds until the first message of a kind.
    let first = |host: &Host, which: u8| {
        (0..=1_001).find(|_| {
            let there = kinds(&host.ear.sent()).contains(&which);
            if !there {
                sleep(&host.sim, 1);
            }
            there
        })
    };
    let begins = || {
        let host = Host::waiting(1_000);
        let own = host.kernel.inet6().unwrap().tentative("ear0").unwrap();
        assert_eq!(own.len(), 1);
        // Not even the group is told of before.
        assert_eq!(host.ear.sent().len(), 0);
        let begins = first(&host, 135).unwrap();
        // An answer counts from then on, and routers are asked with the address.
        sleep(&host.sim, 900);
        assert_eq!(host.addresses("fe80::/64").len(), 0);
        assert_eq!(first(&host, 133).map(|wait| wait <= 102), Some(true));
        assert_eq!(host.addresses("fe80::/64"), own);
        (host, begins)
    };
    let ((host, begun), (_, again)) = (begins(), begins());
    assert!(begun > 0 && begun == again);
    // An address of a prefix that all hosts of the link hear of; others are tried as late.
    let option = prefix("2001:db8:5::", 0x40, 9_000, 9_000);
    let said = nd(ROUTER, ALL, &router(0, 1_800, 0, 0, &option));
    assert!(!kinds(&host.ear.ask(&said)).contains(&135));
    let mut target = host.kernel.inet6().unwrap().tentative("ear0").unwrap();
    let taken = target.remove(0).to_string();
    let theirs = nd(&taken, ALL, &about(136, 0x20, &taken, &link(2, PEER)));
    assert_eq!(host.ear.ask(&theirs).len(), 0);
    let next = host.kernel.inet6().unwrap().tentative("ear0").unwrap();
    assert!(next.len() == 1 && next[0].to_string() != taken);
    assert!(first(&host, 135).is_some_and(|wait| wait > 0));
    sleep(&host.sim, 1_001);
    assert_eq!(host.addresses("2001:db8:5::/64"), next);
    // One that is set by hand.
    host.ear.sent();
    let before = host.kernel.host().monotonic();
    host.add("fd00::1/64");
    let took = host.kernel.host().monotonic().since(before);
    assert!((1_000..1_010).contains(&took.as_millis()), "{took:?}");
    // Without a question for the address it is that for routers that waits.
    let host = Host::waiting(1_000);
    host.kernel.inet6().unwrap().set_probes(0).unwrap();
    let ear = Arc::new(Ear::default());
    attach(&host.kernel, "ear1", &ear);
    assert!(!kinds(&ear.sent()).contains(&133));
    sleep(&host.sim, 1_001);
    assert!(kinds(&ear.sent()).contains(&133));
}

/// RFC 4862 section 5.4, RFC 7527: who has an address that this host wants.
#[test]
fn duplicates() {
    let own = |host: &Host| host.kernel.inet6().unwrap().tentative("ear0").unwrap();
    let asked = |host: &Host| -> Vec<u8> {
        let sent = host.ear.sent();
        sent.into_iter().find(|frame| kind(frame) == 135).unwrap()
    };
    let settled = |host: &Host| {
        sleep(&host.sim, 1_100);
        host.addresses("fe80::/64")
    };
    let host = Host::bare();
    let first = own(&host)[0];
    let question = asked(&host);
    assert_eq!(
        (&question[22..38], &question[62..78]),
        (&[0; 16][..], &first.octets()[..])
    );
    let group = question[38..54].to_vec();
    assert_eq!(
        (&group[..13], &group[13..]),
        (&ip("ff02::1:ff00:0").octets()[..13], &first.octets()[13..])
    );
    // Its own question comes back.
    assert_eq!(question[78..80], [14, 1]);
    let mut back = question.clone();
    back[..6].copy_from_slice(&[0x33, 0x33, 0xff, group[13], group[14], group[15]]);
    host.ear.hear(&back);
    assert_eq!(settled(&host), [first]);
    // Another asks with another number, or without one; or has it.
    let (text, to) = (
        first.to_string(),
        Ipv6Addr::from(<[u8; 16]>::try_from(&group[..]).unwrap()).to_string(),
    );
    for (kind, options, flags) in [
        (135, &[14, 1, 1, 2, 3, 4, 5, 6][..], 0),
        (135, &[], 0),
        (136, &link(2, PEER)[..], 0x20),
    ] {
        let host = Host::bare();
        assert_eq!(own(&host), [first]);
        let from = if kind == 135 { "::" } else { &text };
        let to = if kind == 135 { to.as_str() } else { ALL };
        host.ear
            .hear(&nd(from, to, &about(kind, flags, &text, options)));
        assert_eq!(
            host.kernel.inet6().unwrap().counters().unwrap().duplicates,
            1
        );
        // RFC 7217 section 6: another one.
        let next = settled(&host);
        assert!(next.len() == 1 && next[0] != first);
    }
    // Section 5.4.3: who looks for it with an address of its own has not got it, and gets no answer yet.
    let host = Host::bare();
    host.ear.sent();
    let body = about(135, 0, &text, &link(1, PEER));
    assert_eq!(host.ear.ask(&nd("fe80::9", &to, &body)).len(), 0);
    assert_eq!(settled(&host), [first]);
    // Three others are tried, no more.
    let host = Host::bare();
    for _ in 0..4 {
        let now = own(&host)[0].to_string();
        host.ear
            .hear(&nd(&now, ALL, &about(136, 0x20, &now, &link(2, PEER))));
    }
    assert_eq!((own(&host).len(), settled(&host).len()), (0, 0));
}

/// An address that others are being asked for can be taken away: nothing is left of it, and it can be added again.
#[test]
fn questions_that_are_ended() {
    let host = Host::new();
    let inet = host.kernel.inet().unwrap();
    let index = inet.interface("ear0").unwrap().index();
    let groups =
        |inet: &rumpnet_inet::Inet| inet.look(|stack| stack.attached(index).unwrap().groups.len());
    let before = (groups(&inet), host.routes());
    let own: Cidr = "fd07::7/64".parse().unwrap();
    let (there, six, sim) = (inet.clone(), host.kernel.inet6().unwrap(), host.sim.clone());
    let peer = move |_: rumpkern::kthread::Life| {
        sleep(&sim, 500);
        assert_eq!(six.tentative("ear0").unwrap(), [ip("fd07::7")]);
        assert_eq!(there.add_address("ear0", own), Err(Errno::EEXIST));
        there.remove_address("ear0", own.address()).unwrap();
        assert_eq!(six.tentative("ear0").unwrap().len(), 0);
        let again = there.remove_address("ear0", own.address());
        assert_eq!(again, Err(Errno::EADDRNOTAVAIL));
    };
    host.kernel.spawn("peer", peer).unwrap();
    let begin = host.kernel.host().monotonic();
    assert_eq!(inet.add_address("ear0", own), Err(Errno::EADDRINUSE));
    let took = host.kernel.host().monotonic().since(begin);
    assert_eq!(took.as_millis(), 500);
    host.ear.sent();
    sleep(&host.sim, 10_000);
    assert!(!kinds(&host.ear.sent()).contains(&135));
    assert_eq!((groups(&inet), host.routes()), before);
    host.add("fd07::7/64");
    assert_eq!(host.addresses("fd07::/64"), [ip("fd07::7")]);
}

/// RFC 4862 section 5.1, RFC 4861 section 6.3.4: the time between questions is a router's to say, also while they are asked. Who adds an address
/// waits for as long.
#[test]
fn questions_that_take_long() {
    let host = Host::new();
    let says = |ear: &Ear, retry| ear.hear(&nd(ROUTER, ALL, &router(0, 9_000, 0, retry, &[])));
    let adds = |address: &str| {
        let begin = host.kernel.host().monotonic();
        host.add(address);
        let took = host.kernel.host().monotonic().since(begin);
        u64::try_from(took.as_millis()).unwrap()
    };
    says(&host.ear, 30_000);
    let took = adds("fd00::2/64");
    assert!((30_000..30_010).contains(&took), "{took}");
    host.kernel.inet6().unwrap().set_probes(3).unwrap();
    // More than a minute no router may say.
    let (sim, ear) = (host.sim.clone(), host.ear.clone());
    let peer = move |_: rumpkern::kthread::Life| {
        sleep(&sim, 10_000);
        says(&ear, u32::MAX);
    };
    host.kernel.spawn("peer", peer).unwrap();
    let took = adds("fd00::3/64");
    assert!((150_000..150_010).contains(&took), "{took}");
}

/// RFC 4862 section 5.5.3: which prefixes make addresses, and how long these live.
#[test]
fn addresses_of_prefixes() {
    let host = Host::new();
    let net = "2001:db8:5::";
    let say = |option: Vec<u8>| {
        host.ear
            .hear(&nd(ROUTER, ALL, &router(0, 1_800, 0, 0, &option)));
        sleep(&host.sim, 1_500);
    };
    let there = || host.addresses("2001:db8:5::/64").len();
    // Not autonomous; of another length; preferred for longer than valid; of the link; valid for no time.
    say(prefix(net, 0x80, 9_000, 9_000));
    let mut long = prefix(net, 0xc0, 9_000, 9_000);
    long[2] = 65;
    say(long);
    say(prefix(net, 0x40, 9_000, 9_001));
    say(prefix("fe80::", 0xc0, 9_000, 9_000));
    say(prefix(net, 0x40, 0, 0));
    assert_eq!((there(), host.addresses("fe80::/64").len()), (0, 1));
    say(prefix(net, 0x40, 9_000, 9_000));
    assert_eq!(there(), 1);
    // Two hours: less than is left, and less than that, shortens life to two hours.
    say(prefix(net, 0x40, 1, 0));
    sleep(&host.sim, 7_100_000);
    assert_eq!(there(), 1);
    // With less than two hours left nothing shortens it, and more than is left counts.
    say(prefix(net, 0x40, 1, 0));
    assert_eq!(there(), 1);
    say(prefix(net, 0x40, 200, 0));
    sleep(&host.sim, 150_000);
    assert_eq!(there(), 1);
    sleep(&host.sim, 60_000);
    assert_eq!(there(), 0);
    // For ever is for ever, until less is said.
    say(prefix(net, 0x40, u32::MAX, u32::MAX));
    sleep(&host.sim, 100_000_000);
    assert_eq!(there(), 1);
    say(prefix(net, 0x40, 5, 5));
    sleep(&host.sim, 7_190_000);
    assert_eq!(there(), 1);
    sleep(&host.sim, 20_000);
    assert_eq!(there(), 0);
}

/// RFC 4862 section 5.5.4, RFC 6724 section 6 rule 3: a socket tells that the address that it would speak with is an old one.
#[test]
fn old_addresses() {
    let host = Host::bare();
    sleep(&host.sim, 2_000);
    let is_old = |preferred| {
        let option = prefix("2001:db8:5::", 0x40, 9_000, preferred);
        host.ear
            .hear(&nd(ROUTER, ALL, &router(0, 9_000, 0, 0, &option)));
        sleep(&host.sim, 2_000);
        let to: Address = SocketAddr::new(ip("2001:db8::1").into(), 9).into();
        host.proc.connect(host.fd, &to).unwrap();
        host.proc.getsockopt(host.fd, &SockOpt::Deprecated(false))
    };
    assert_eq!(is_old(9_000), Ok(SockOpt::Deprecated(false)));
    assert_eq!(is_old(0), Ok(SockOpt::Deprecated(true)));
    assert_eq!(is_old(9_000), Ok(SockOpt::Deprecated(false)));
    let set = SockOpt::Deprecated(true);
    let no = Err(rumpkern::Errno::ENOPROTOOPT);
    assert_eq!(host.proc.setsockopt(host.fd, &set), no);
}

/// RFC 4862 section 5.5.4: an address whose time is over at the moment when nobody else has claimed it is none, and stays none.
#[test]
fn addresses_that_end_as_they_begin() {
    let host = Host::new();
    let option = prefix("2001:db8:5::", 0x40, 1, 1);
    host.ear
        .hear(&nd(ROUTER, ALL, &router(0, 1_800, 0, 0, &option)));
    let own = || host.kernel.inet6().unwrap().tentative("ear0").unwrap();
    assert_eq!(own().len(), 1);
    sleep(&host.sim, 3_000);
    assert_eq!(
        (own().len(), host.addresses("2001:db8:5::/64").len()),
        (0, 0)
    );
}

/// RFC 5942 section 4: hosts of a prefix that a router does not say to be on the link are reached by the router, also with an address of that
/// prefix.
#[test]
fn prefixes_off_the_link() {
    let host = Host::new();
    let other = "2001:db8:5::77";
    let say = |flags, valid| {
        let options = [prefix("2001:db8:5::", flags, valid, valid), link(1, PEER)];
        host.ear
            .hear(&nd(ROUTER, ALL, &router(0, 9_000, 0, 0, &options.concat())));
        sleep(&host.sim, 3_000);
    };
    let by_router = || {
        // It goes to the router, or one of the two is asked for.
        let sent = host.send(other);
        sleep(&host.sim, 4_000);
        match kinds(&sent)[..] {
            [0] => sent[0][..6] == PEER.0,
            [135] => sent[0][62..78] == ip(ROUTER).octets(),
            _ => panic!("{sent:?}"),
        }
    };
    say(0x40, 8_000);
    assert_eq!(host.addresses("2001:db8:5::/64").len(), 1);
    assert!(by_router());
    say(0xc0, 8_000);
    assert!(!by_router());
    // It is on the link no more; the address lives on.
    say(0x80, 0);
    assert!(by_router());
    // Who sets an address by hand says that its network is on the link.
    host.add("2001:db8:5::1/64");
    assert!(!by_router());
    let inet = host.kernel.inet().unwrap();
    inet.remove_address("ear0", ip("2001:db8:5::1").into())
        .unwrap();
    assert!(by_router());
    assert_eq!(host.addresses("2001:db8:5::/64").len(), 1);
}

/// RFC 4007 section 5: on another link the address that this host has on one is another host's, which may be the router.
#[test]
fn the_same_address_on_two_links() {
    let host = Host::new();
    let inet = host.kernel.inet().unwrap();
    let far = Arc::new(Ear::default());
    attach(&host.kernel, "ear1", &far);
    inet.add_address("ear1", format!("{ROUTER}/64").parse().unwrap())
        .unwrap();
    host.ear
        .hear(&nd(ROUTER, ALL, &router(0, 9_000, 0, 0, &[])));
    assert_eq!(host.gateway(), Some(ip(ROUTER).into()));
    assert_eq!(kinds(&host.send("2001:db8::1")), [135]);
    let answer = about(136, 0xe0, ROUTER, &link(2, PEER));
    assert_eq!(kinds(&host.ear.ask(&nd(ROUTER, "fd00::1", &answer))), [0]);
    // It itself, and this host by the other link.
    let send = |interface: &str| {
        let scope = inet.interface(interface).unwrap().index();
        let to: Address =
            SocketAddr::V6(std::net::SocketAddrV6::new(ip(ROUTER), 9, 0, scope)).into();
        host.ear.sent();
        far.sent();
        host.proc
            .sendto(host.fd, b"x", MsgFlags::empty(), Some(&to))
            .unwrap();
        (host.ear.sent().len(), far.sent().len())
    };
    assert_eq!(send("ear0"), (1, 0));
    assert_eq!(send("ear1"), (0, 0));
}

/// Nothing is left of an address that another interface had first, nor of one on a line, which has no groups.
#[test]
fn nothing_is_left_of_addresses() {
    let host = Host::new();
    let inet = host.kernel.inet().unwrap();
    let groups = |name: &str| {
        let index = inet.interface(name).unwrap().index();
        inet.look(|stack| stack.attached(index).unwrap().groups.len())
    };
    let far = Arc::new(Ear::default());
    attach(&host.kernel, "ear1", &far);
    sleep(&host.sim, 3_000);
    let before = groups("ear1");
    // The same link address on both, the same prefix: the same address.
    let option = prefix("2001:db8:5::", 0x40, 9_000, 9_000);
    let said = nd(ROUTER, ALL, &router(0, 9_000, 0, 0, &option));
    host.ear.hear(&said);
    far.hear(&said);
    assert_eq!(groups("ear1"), before + 1);
    sleep(&host.sim, 3_000);
    assert_eq!(host.addresses("2001:db8:5::/64").len(), 1);
    assert_eq!(groups("ear1"), before);
    let line = Ear::point();
    attach(&host.kernel, "line0", &line);
    inet.add_address("line0", "fd05::1/64".parse().unwrap())
        .unwrap();
    inet.remove_address("line0", "fd05::1".parse().unwrap())
        .unwrap();
    assert_eq!(groups("line0"), 0);
}

/// RFC 4861 sections 8.1 and 8.3.
#[test]
fn void_redirects() {
    let host = Host::new();
    host.ear
        .hear(&nd(ROUTER, ALL, &router(0, 1_800, 0, 0, &link(1, PEER))));
    let far = "2001:db8::1";
    let body = |target: &str, destination: &str| {
        let fixed = [137, 0, 0, 0, 0, 0, 0, 0];
        let link = link(2, PEER);
        [
            &fixed[..],
            &ip(target).octets(),
            &ip(destination).octets(),
            &link,
        ]
        .concat()
    };
    let good = body("fe80::8", far);
    let mut code = good.clone();
    code[1] = 1;
    let lone = [58, 0, 0, 0, 0, 0, 0, 7];
    let own = "fd00::1";
    for (why, frame) in [
        ("source", nd("fd00::9", own, &good)),
        ("who was not asked", nd("fe80::7", own, &good)),
        ("hops", message((58, &[]), 254, (ROUTER, own), &good)),
        ("code", nd(ROUTER, own, &code)),
        ("short", nd(ROUTER, own, &good[..39])),
        ("option cut", nd(ROUTER, own, &good[..47])),
        ("to a group", nd(ROUTER, own, &body("fe80::8", "ff05::1"))),
        (
            "by an address of no link",
            nd(ROUTER, own, &body("fd00::8", far)),
        ),
        ("by a group", nd(ROUTER, own, &body("ff02::8", far))),
        ("by this host", nd(ROUTER, own, &body(own, own))),
        ("fragment", message((44, &lone), 255, (ROUTER, own), &good)),
    ] {
        let before = host.routes().len();
        host.ear.hear(&frame);
        assert_eq!(
            (host.routes().len(), host.state("fe80::8")),
            (before, None),
            "{why}"
        );
    }
    host.ear.hear(&nd(ROUTER, own, &good));
    assert_eq!(host.state("fe80::8"), Some((Some(PEER), State::Stale)));
    let sent = host.send(far);
    assert_eq!((kinds(&sent), &sent[0][..6]), (vec![0], &PEER.0[..]));
    // It does not answer: the way is the old one.
    sleep(&host.sim, 9_000);
    let host_route = Cidr::host(ip(far).into());
    assert!(
        host.routes()
            .iter()
            .all(|route| route.network != host_route)
    );
}

/// There are no more shown ways than so many: one that nobody uses makes room, the oldest first, then the least recently used one.
#[test]
fn shown_ways_make_room() {
    let host = Host::new();
    host.ear
        .hear(&nd(ROUTER, ALL, &router(0, 1_800, 0, 0, &link(1, PEER))));
    let far = |n: usize| format!("2001:db8::{n:x}");
    let show = |n: usize| {
        let fixed = [137, 0, 0, 0, 0, 0, 0, 0];
        let (target, destination) = (ip("fe80::8").octets(), ip(&far(n)).octets());
        let body = [&fixed[..], &target, &destination, &link(2, PEER)].concat();
        host.ear.hear(&nd(ROUTER, "fd00::1", &body));
    };
    let there = |n: usize| {
        let to = Cidr::host(ip(&far(n)).into());
        host.routes().iter().any(|route| route.network == to)
    };
    let shown = || (0..7_001).filter(|n| there(*n)).collect::<Vec<_>>();
    (0..256).for_each(show);
    // One that is shown again is no other one.
    show(17);
    assert_eq!(shown(), (0..256).collect::<Vec<_>>());
    let uses = |n: usize| assert_eq!(kinds(&host.send(&far(n))), [0]);
    [3, 200].into_iter().for_each(uses);
    show(256);
    assert!(!there(0));
    (257..2_000).for_each(show);
    let all = shown();
    assert_eq!((all.len(), &all[..3]), (256, &[3, 200, 1_746][..]));
    // All are in use: what nobody uses drives out one.
    all.iter().for_each(|n| uses(*n));
    (5_000..6_001).for_each(show);
    assert_eq!(shown(), [&all[1..], &[6_000]].concat());
    // What is used drives out the one that was not for longest.
    [6_000, 200].into_iter().for_each(uses);
    show(7_000);
    assert_eq!(shown(), [&[200], &all[3..], &[6_000, 7_000]].concat());
    // Those that end otherwise make room as well.
    sleep(&host.sim, 9_000);
    assert_eq!(shown(), []);
    (0..256).for_each(show);
    assert_eq!(shown(), (0..256).collect::<Vec<_>>());
}

/// RFC 4861 section 8.2, RFC 4443 section 3.1: what a router says that sends a packet back to where it came from.
#[test]
fn what_a_router_shows() {
    let host = Host::new();
    let inet = host.kernel.inet().unwrap();
    host.kernel.inet6().unwrap().set_forwarding(true).unwrap();
    for peer in ["fd00::9", "fd00::8", "fe80::8"] {
        inet.set_neighbor("ear0", peer.parse().unwrap(), PEER)
            .unwrap();
    }
    let by = Some("fe80::8".parse().unwrap());
    inet.add_route("fd09::/64".parse().unwrap(), by, Some("ear0"), 0)
        .unwrap();
    let udp = |from: &str, to: &str| {
        let mut frame = message((17, &[]), 64, (from, to), &[7; 16]);
        frame[20] = 17;
        let sent = host.ear.ask(&frame);
        let shown = sent.iter().find(|frame| kind(frame) == 137).cloned();
        (sent.iter().filter(|frame| kind(frame) == 0).count(), shown)
    };
    let own = host.addresses("fe80::/64")[0];
    for (to, target) in [("fd09::1", "fe80::8"), ("fd00::8", "fd00::8")] {
        let (passed, shown) = udp("fd00::9", to);
        let shown = shown.unwrap();
        assert_eq!((passed, shown[21]), (1, 255));
        assert_eq!(&shown[22..38], own.octets());
        assert_eq!(
            &shown[62..94],
            [ip(target).octets(), ip(to).octets()].concat()
        );
        assert_eq!(&shown[94..102], link(2, PEER));
        // The packet, in full, after the option's head.
        assert_eq!((shown[102], shown[103], shown.len()), (4, 8, 110 + 56));
        assert_eq!(
            &shown[118..150],
            [ip("fd00::9").octets(), ip(to).octets()].concat()
        );
    }
    // Not whose way this is not, and not when it is off.
    assert_eq!(udp("fd77::9", "fd09::1"), (1, None));
    host.kernel
        .sysctl_set("net.inet6.ip6.redirect", rumpkern::sysctl::Value::Number(0))
        .unwrap();
    assert_eq!(udp("fd00::9", "fd09::1"), (1, None));
    // On a line nothing goes back.
    let line = Ear::point();
    attach(&host.kernel, "line0", &line);
    inet.add_address("line0", "fd05::1/64".parse().unwrap())
        .unwrap();
    sleep(&host.sim, 2_000);
    let mut packet = message((17, &[]), 64, ("fd05::2", "fd05::3"), &[7; 16]);
    packet[20] = 17;
    let sent = line.ask(&packet[14..]);
    assert_eq!((sent.len(), &sent[0][40..42]), (1, &[1, 3][..]));
}

/// A router's question for all groups (RFC 3810 section 5.1.9).
fn general_query() -> Vec<u8> {
    let head = [130, 0, 0, 0, 0, 100, 0, 0];
    [&head[..], &[0; 16], &[2, 125, 0, 0]].concat()
}

/// What nobody has asked to hear of groups: every other one is about this group.
fn about_groups(rng: &mut Rng, cut: bool, group: Ipv6Addr) -> Vec<u8> {
    let address = |high: u128, low: u64| Ipv6Addr::from_bits(high << 112 | u128::from(low));
    let (low, r) = (rng.next_u64(), rng.next_u64().to_be_bytes());
    let from = address(0xfe80, low).to_string();
    let about = match r[0] % 4 {
        0 | 1 => group,
        2 => Ipv6Addr::UNSPECIFIED,
        _ => address(0xff05, low),
    };
    let kind = [130, 130, 131, 132, 143][usize::from(r[1] % 5)];
    let mut body = vec![kind, 0, 0, 0, r[2] & r[3], r[4], 0, 0];
    body.extend(about.octets());
    if kind == 130 && r[5] % 8 > 0 {
        let sources = u16::from(r[5] % 64);
        body.extend([r[6], r[7]]);
        body.extend(sources.to_be_bytes());
        (0..sources).for_each(|_| body.extend(address(0x2001, rng.next_u64()).octets()));
    }
    if cut {
        body.truncate(usize::from(r[3]) % body.len() + 4);
    }
    let to = if kind == 131 {
        about.to_string()
    } else {
        ALL.into()
    };
    message((0, &ALERT), 1, (&from, &to), &body)
}

/// RFC 3810 section 6.2, RFC 2710: whose queries are answered.
#[test]
fn queries_for_groups() {
    let host = Host::new();
    let reports = |frame: &[u8]| {
        host.ear.sent();
        host.ear.hear(frame);
        sleep(&host.sim, 200);
        let sent = host.ear.sent();
        sent.iter()
            .filter(|frame| frame[20] == 0 && frame[62] == 143)
            .count()
    };
    let query = general_query();
    let with =
        |headers: &[u8], first, hops, from| message((first, headers), hops, (from, ALL), &query);
    assert_eq!(reports(&with(&ALERT, 0, 1, ROUTER)), 1);
    assert_eq!(reports(&with(&ALERT, 0, 2, ROUTER)), 0);
    assert_eq!(reports(&with(&ALERT, 0, 1, "fd00::9")), 0);
    assert_eq!(reports(&with(&ALERT, 0, 1, "::")), 0);
    assert_eq!(reports(&with(&[], 58, 1, ROUTER)), 0);
    assert_eq!(reports(&with(&[58, 0, 1, 4, 0, 0, 0, 0], 0, 1, ROUTER)), 0);
    assert_eq!(reports(&with(&ALERT, 0, 1, ROUTER)), 1);
}

/// RFC 3810 section 10: 100,000 queries and reports of strangers. What is answered is bounded, and who listens goes on.
#[test]
fn floods_about_groups() {
    let host = Host::new();
    let group = ip("ff05::1234");
    let listen: Address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 9).into();
    host.proc.bind(host.fd, &listen).unwrap();
    host.proc
        .setsockopt(host.fd, &SockOpt::AddMembership(group.into(), 0))
        .unwrap();
    sleep(&host.sim, 10_000);
    host.ear.sent();
    let inet = host.kernel.inet().unwrap();
    let index = inet.interface("ear0").unwrap().index();
    let groups = || inet.look(|stack| stack.attached(index).unwrap().groups.len());
    let (joined, mut sent) = (groups(), 0);
    let mut rng = Rng::new(7);
    for n in 0..100_000_u32 {
        host.ear.hear(&about_groups(&mut rng, n % 16 == 15, group));
        if n % 100 == 0 {
            sleep(&host.sim, 10);
            sent += host.ear.sent().len();
        }
    }
    // Each hundredth of a second that passed had one answer for each group, and one for all.
    assert!((1..1_000 * (joined + 1)).contains(&sent), "{sent}");
    assert_eq!(groups(), joined);
    assert_eq!(inet.neighbors().len(), 0);
    // Older routers are forgotten in their time: what they can say it is, seven times nine hours.
    sleep(&host.sim, 300_000_000);
    host.ear.sent();
    let query = general_query();
    host.ear
        .hear(&message((0, &ALERT), 1, (ROUTER, ALL), &query));
    sleep(&host.sim, 200);
    let reports = host.ear.sent();
    let told = reports.iter().filter(|frame| frame[62] == 143);
    let told: Vec<_> = told
        .filter(|frame| frame.windows(16).any(|bytes| bytes == group.octets()))
        .collect();
    assert_eq!(told.len(), 1);
    // What is sent to the group arrives.
    let mut udp = message(
        (17, &[]),
        1,
        (ROUTER, "ff05::1234"),
        &[0, 7, 0, 9, 0, 12, 0, 0, 0, 1, 2, 3],
    );
    let mut sum = Checksum::new();
    sum.add_bytes(&udp[22..54]);
    sum.add_bytes(&[0, 17, 0, 12]);
    udp[54..66].copy_from_slice(&[0, 7, 0, 9, 0, 12, 0, 0, 0, 1, 2, 3]);
    sum.add_bytes(&udp[54..66]);
    udp[60..62].copy_from_slice(&sum.checksum());
    host.ear.hear(&udp);
    let mut buf = [0; 8];
    let got = host.proc.recvfrom(host.fd, &mut buf, MsgFlags::DONTWAIT);
    assert_eq!(got.map(|(len, _)| len), Ok(4));
}

/// RFC 4443 section 2.4 a: an error of a type that is not known yet ends no connection, and does no harm.
#[test]
fn errors_of_the_future() {
    let host = Host::new();
    let to: Address = "[fd00::9]:9".parse::<SocketAddr>().unwrap().into();
    host.proc.connect(host.fd, &to).unwrap();
    let inet = host.kernel.inet().unwrap();
    inet.set_neighbor("ear0", "fd00::9".parse().unwrap(), PEER)
        .unwrap();
    let sent = host.send("fd00::9");
    let body = [&[77, 0, 0, 0, 0, 0, 0, 0], &sent[0][14..]].concat();
    host.ear
        .hear(&message((58, &[]), 64, ("fd00::9", "fd00::1"), &body));
    assert_eq!(inet.counters().icmp6.errors_received, 1);
    assert_eq!(
        host.proc.getsockopt(host.fd, &SockOpt::Error(None)),
        Ok(SockOpt::Error(None))
    );
}

/// RFC 8201 section 4: packets become smaller when somebody complains about one that was sent, and not about others.
#[test]
fn complaints_about_what_was_not_sent() {
    let host = Host::new();
    let inet = host.kernel.inet().unwrap();
    inet.set_neighbor("ear0", "fd00::9".parse().unwrap(), PEER)
        .unwrap();
    let to: Address = "[fd00::9]:9".parse::<SocketAddr>().unwrap().into();
    let lens = || -> Vec<usize> {
        host.ear.sent();
        host.proc
            .sendto(host.fd, &[7; 1_452], MsgFlags::empty(), Some(&to))
            .unwrap();
        host.ear
            .sent()
            .iter()
            .map(|frame| frame.len() - 14)
            .collect()
    };
    assert_eq!(lens(), [1_500]);
    host.proc
        .sendto(host.fd, &[7; 1_452], MsgFlags::empty(), Some(&to))
        .unwrap();
    let packet = host.ear.sent().remove(0).split_off(14);
    let complain = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut quoted = packet[..1_000].to_vec();
        change(&mut quoted);
        let body = [&[2, 0, 0, 0, 0, 0, 5, 0x78][..], &quoted].concat();
        host.ear
            .hear(&message((58, &[]), 64, ("fd00::9", "fd00::1"), &body));
        lens()[0]
    };
    // From another port; of another host; of TCP; of a later fragment.
    assert_eq!(complain(&|quoted| quoted[41] ^= 1), 1_500);
    assert_eq!(complain(&|quoted| quoted[23] ^= 7), 1_500);
    assert_eq!(complain(&|quoted| quoted[6] = 6), 1_500);
    let later = [17, 0, 0, 8, 0, 0, 0, 7];
    assert_eq!(
        complain(&|quoted| {
            quoted[6] = 44;
            quoted.splice(40..40, later);
        }),
        1_500
    );
    assert_eq!(complain(&|_| {}), 1_400);
}

/// RFC 6583: 100,000 messages of strangers. The tables are bounded, and who is spoken to stays.
#[test]
fn floods_of_strangers() {
    let host = Host::new();
    host.ear
        .hear(&nd(ROUTER, ALL, &router(0, 9_000, 0, 0, &link(1, PEER))));
    host.send("fd00::5");
    host.ear.hear(&nd(
        "fd00::5",
        "fd00::1",
        &about(136, 0x60, "fd00::5", &link(2, PEER)),
    ));
    host.send("2001:db8::1");
    sleep(&host.sim, 6_000);
    host.ear.hear(&nd(
        ROUTER,
        "fd00::1",
        &about(136, 0xe0, ROUTER, &link(2, PEER)),
    ));
    let mut rng = Rng::new(7);
    for n in 0..100_000_u32 {
        let (low, other) = (rng.next_u64(), rng.next_u64());
        let near = Ipv6Addr::from_bits(ip("fd00::").to_bits() | u128::from(low)).to_string();
        let of_link = Ipv6Addr::from_bits(ip("fe80::").to_bits() | u128::from(low)).to_string();
        let far = Ipv6Addr::from_bits(ip("2001:db8::").to_bits() | u128::from(other)).to_string();
        let [a, b, c, d, e, f, ..] = other.to_be_bytes();
        let mac = MacAddr([a & 0xfe, b, c, d, e, f]);
        match n % 4 {
            0 => {
                let body = about(135, 0, "fd00::1", &link(1, mac));
                host.ear.hear(&nd(&near, "ff02::1:ff00:1", &body));
            }
            1 => {
                let body = about(136, a, &near, &link(2, mac));
                host.ear
                    .hear(&nd(&near, if b & 1 == 0 { ALL } else { "fd00::1" }, &body));
            }
            2 => {
                let network = Ipv6Addr::from_bits(u128::from(other) << 64 | 0x2001 << 112);
                let option = [
                    prefix(&network.to_string(), 0xc0, 9_000, 9_000),
                    link(1, mac),
                ];
                let body = router(0, u16::from(a), 0, 0, &option.concat());
                host.ear.hear(&nd(&of_link, ALL, &body));
            }
            _ => {
                let fixed = [137, 0, 0, 0, 0, 0, 0, 0];
                let (target, link) = (ip(&of_link).octets(), link(2, mac));
                let body = [&fixed[..], &target, &ip(&far).octets(), &link].concat();
                host.ear.hear(&nd(ROUTER, "fd00::1", &body));
            }
        }
        if n % 1_000 == 0 {
            host.ear.sent();
            sleep(&host.sim, 1);
        }
    }
    let inet = host.kernel.inet().unwrap();
    assert!(inet.neighbors().len() <= 4_096);
    assert!(inet.routes().len() <= 300, "{}", inet.routes().len());
    assert!(inet.addresses("ear0").unwrap().len() <= 20);
    assert_eq!(host.state("fd00::5").unwrap().0, Some(PEER));
    assert_eq!(kinds(&host.send("fd00::5")), [0]);
    assert_eq!(host.gateway(), Some(ip(ROUTER).into()));
    assert_eq!(host.state(ROUTER).unwrap().0, Some(PEER));
}

/// What an interface had goes with it, and another one may have it.
#[test]
fn an_interface_that_goes() {
    let host = Host::new();
    let (inet, net) = (host.kernel.inet().unwrap(), host.kernel.net().unwrap());
    host.add("10.0.0.1/24");
    let peer = "fd00::9".parse().unwrap();
    inet.set_neighbor("ear0", peer, PEER).unwrap();
    let group = ip("ff02::99");
    let join = SockOpt::AddMembership(group.into(), 0);
    host.proc.setsockopt(host.fd, &join).unwrap();
    let to: Address = SocketAddr::new(peer, 9).into();
    let send = || {
        host.proc
            .sendto(host.fd, b"x", MsgFlags::empty(), Some(&to))
    };
    sleep(&host.sim, 60_000);
    host.ear.sent();
    send().unwrap();
    assert_eq!(host.ear.sent().len(), 1);
    for _ in 0..3 {
        let before = net.interface("ear0").unwrap().index();
        net.detach("ear0").unwrap();
        assert!(send().is_err());
        assert_eq!((inet.routes().len(), inet.neighbors().len()), (0, 0));
        sleep(&host.sim, 60_000);
        let another = Arc::new(Ear::default());
        attach(&host.kernel, "ear0", &another);
        assert_eq!(inet.addresses("ear0").unwrap().len(), 0);
        host.add("10.0.0.1/24");
        host.add("fd00::1/64");
        sleep(&host.sim, 60_000);
        another.sent();
        inet.set_neighbor("ear0", peer, PEER).unwrap();
        send().unwrap();
        assert_eq!((host.ear.sent().len(), another.sent().len()), (0, 1));
        assert_ne!(net.interface("ear0").unwrap().index(), before);
    }
}
