//! Datagrams between two kernels over a cable.

mod common;

use common::{address, pair};
use rumpkern::{Errno, Kernel, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    KernelNet as _, MacAddr, SocketCalls as _,
    socket::{Control, Domain, Kind, MsgFlags, Outgoing, Shutdown, SockOpt},
    wire,
};
use rumpnet_inet::KernelInet as _;
use std::{
    thread,
    time::{Duration, Instant},
};

fn udp(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap()
}

#[test]
fn there_and_back_with_every_kind_of_cable() {
    for features in [rumpnet::interface::Features::all(), Default::default()] {
        let (one, two) = pair(wire::Config {
            mtu: 1_500,
            features,
        });
        let (a, b) = (one.init_proc(), two.init_proc());
        let (s, t) = (udp(&a), udp(&b));
        b.bind(t, &address("0.0.0.0:7")).unwrap();
        // Short, one piece, fragments, the largest.
        for len in [0, 1, 64, 65, 1_472, 1_473, 9_000, 65_507] {
            let data: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0] ^ 0x5a).collect();
            let sent = a.sendto(s, &data, MsgFlags::empty(), Some(&address("10.0.0.2:7")));
            assert_eq!(sent, Ok(data.len()), "{len}");
            let mut buf = vec![0; 70_000];
            let (count, from) = b.recvfrom(t, &mut buf, MsgFlags::empty()).unwrap();
            assert!(buf[..count] == data, "{len}");
            b.sendto(t, &buf[..count], MsgFlags::empty(), from.as_ref())
                .unwrap();
            let (count, from) = a.recvfrom(s, &mut buf, MsgFlags::empty()).unwrap();
            assert!(buf[..count] == data, "{len}");
            assert_eq!(from, Some(address("10.0.0.2:7")));
        }
        let big = vec![0; 65_508];
        let sent = a.sendto(s, &big, MsgFlags::empty(), Some(&address("10.0.0.2:7")));
        assert_eq!(sent, Err(Errno::EMSGSIZE));
        one.shutdown().unwrap();
        two.shutdown().unwrap();
    }
}

#[test]
fn a_closed_port_is_told_to_who_is_connected() {
    let (one, two) = pair(wire::Config::default());
    let a = one.init_proc();
    let s = udp(&a);
    a.connect(s, &address("10.0.0.2:9")).unwrap();
    assert_eq!(a.write(s, b"x"), Ok(1));
    assert_eq!(a.write(s, b"x"), Err(Errno::ECONNREFUSED));
    assert_eq!(a.write(s, b"x"), Ok(1));
    let error = a.getsockopt(s, &SockOpt::Error(None)).unwrap();
    assert_eq!(error, SockOpt::Error(Some(Errno::ECONNREFUSED)));
    assert_eq!(one.inet().unwrap().counters().icmp.received, 2);
    // Of one in fragments, too: the error is about the whole, and not about the fragment that came last.
    let before = two.inet().unwrap().counters().ip.reassembled;
    let large = vec![7; 20_000];
    assert_eq!(a.write(s, &large), Ok(large.len()));
    assert_eq!(a.write(s, b"x"), Err(Errno::ECONNREFUSED));
    assert_eq!(two.inet().unwrap().counters().ip.reassembled, before + 1);
}

#[test]
fn errors_of_the_calls() {
    let (one, _two) = pair(wire::Config::default());
    let a = one.init_proc();
    let (s, t) = (udp(&a), udp(&a));
    assert_eq!(a.write(s, b"x"), Err(Errno::EDESTADDRREQ));
    assert_eq!(
        a.bind(s, &address("10.0.0.9:53")),
        Err(Errno::EADDRNOTAVAIL)
    );
    assert_eq!(a.bind(s, &address("[::1]:53")), Err(Errno::EAFNOSUPPORT));
    a.bind(s, &address("10.0.0.1:53")).unwrap();
    assert_eq!(a.bind(s, &address("10.0.0.1:54")), Err(Errno::EINVAL));
    assert_eq!(a.bind(t, &address("0.0.0.0:53")), Err(Errno::EADDRINUSE));
    assert_eq!(
        a.connect(t, &address("192.0.2.1:9")),
        Err(Errno::ENETUNREACH)
    );
    let far = Some(address("192.0.2.1:9"));
    assert_eq!(
        a.sendto(t, b"x", MsgFlags::empty(), far.as_ref()),
        Err(Errno::ENETUNREACH)
    );
    let all = Some(address("10.0.0.255:9"));
    assert_eq!(
        a.sendto(t, b"x", MsgFlags::empty(), all.as_ref()),
        Err(Errno::EACCES)
    );
    assert_eq!(a.getpeername(s), Err(Errno::ENOTCONN));
    assert_eq!(a.listen(s, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(a.shutdown(s, Shutdown::Both), Err(Errno::ENOTCONN));
    assert_eq!(
        a.recvfrom(s, &mut [0], MsgFlags::DONTWAIT),
        Err(Errno::EAGAIN)
    );
    let (r, _) = a.pipe(OpenFlags::empty()).unwrap();
    assert_eq!(a.listen(r, 1), Err(Errno::ENOTSOCK));
    let six = a.socket(Domain::Inet6, Kind::Datagram, 0, OpenFlags::empty());
    assert_eq!(six, Err(Errno::EAFNOSUPPORT));
    let user = a.fork();
    user.set_cred(rumpkern::Cred {
        uid: 1,
        gid: 1,
        groups: vec![],
    });
    let u = udp(&user);
    assert_eq!(user.bind(u, &address("0.0.0.0:1023")), Err(Errno::EACCES));
    assert_eq!(user.bind(u, &address("0.0.0.0:1024")), Ok(()));
}

#[test]
fn to_itself_to_all_and_to_groups() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = (udp(&a), udp(&b));
    a.bind(s, &address("0.0.0.0:99")).unwrap();
    b.bind(t, &address("0.0.0.0:99")).unwrap();
    let mut buf = [0; 8];
    // To itself.
    a.sendto(s, b"me", MsgFlags::empty(), Some(&address("10.0.0.1:99")))
        .unwrap();
    assert_eq!(
        a.recvfrom(s, &mut buf, MsgFlags::empty()),
        Ok((2, Some(address("10.0.0.1:99"))))
    );
    // To all.
    a.setsockopt(s, &SockOpt::Broadcast(true)).unwrap();
    for to in ["10.0.0.255:99", "255.255.255.255:99"] {
        a.sendto(s, b"all", MsgFlags::empty(), Some(&address(to)))
            .unwrap();
        assert_eq!(
            b.recvfrom(t, &mut buf, MsgFlags::empty()),
            Ok((3, Some(address("10.0.0.1:99"))))
        );
    }
    // To a group, before and after joining it.
    let settle = || {
        while one.inet().unwrap().is_busy() || two.inet().unwrap().is_busy() {
            thread::yield_now();
        }
    };
    let group = "239.1.2.3:99";
    a.sendto(s, b"no", MsgFlags::empty(), Some(&address(group)))
        .unwrap();
    settle();
    assert_eq!(
        b.recvfrom(t, &mut buf, MsgFlags::DONTWAIT),
        Err(Errno::EAGAIN)
    );
    let ip = "239.1.2.3".parse().unwrap();
    b.setsockopt(t, &SockOpt::AddMembership(ip, 1)).unwrap();
    b.setsockopt(t, &SockOpt::PacketInfo(true)).unwrap();
    b.setsockopt(t, &SockOpt::ReceiveTtl(true)).unwrap();
    a.sendto(s, b"yes", MsgFlags::empty(), Some(&address(group)))
        .unwrap();
    settle();
    let got = b.recvmsg(t, &mut [&mut buf], MsgFlags::empty()).unwrap();
    assert!(matches!(got.control[..], [
        Control::PacketInfo { address, interface: 1 },
        Control::HopLimit(1),
    ] if address == ip));
    b.setsockopt(t, &SockOpt::DropMembership(ip, 1)).unwrap();
    a.sendto(s, b"no", MsgFlags::empty(), Some(&address(group)))
        .unwrap();
    settle();
    assert_eq!(
        b.recvfrom(t, &mut buf, MsgFlags::DONTWAIT),
        Err(Errno::EAGAIN)
    );
}

#[test]
fn receiving_waits_peeks_and_cuts() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = (udp(&a), udp(&b));
    b.bind(t, &address("0.0.0.0:7")).unwrap();
    let waiter = thread::spawn(move || {
        let mut buf = [0; 4];
        let peeked = b
            .recvmsg(t, &mut [&mut buf], MsgFlags::PEEK | MsgFlags::TRUNC)
            .unwrap();
        assert_eq!((peeked.len, peeked.flags), (6, MsgFlags::TRUNC));
        let got = b.recvmsg(t, &mut [&mut buf], MsgFlags::empty()).unwrap();
        assert_eq!((got.len, got.flags, &buf), (4, MsgFlags::TRUNC, b"data"));
        b.set_receive_timeout(t, Some(Duration::from_millis(20)))
            .unwrap();
        assert_eq!(b.read(t, &mut buf), Err(Errno::EAGAIN));
    });
    thread::sleep(Duration::from_millis(20));
    a.sendto(
        s,
        b"datagr",
        MsgFlags::empty(),
        Some(&address("10.0.0.2:7")),
    )
    .unwrap();
    waiter.join().unwrap();
}

#[test]
fn a_neighbour_that_is_not_there() {
    let (one, _two) = pair(wire::Config::default());
    let a = one.init_proc();
    let s = udp(&a);
    a.connect(s, &address("10.0.0.77:9")).unwrap();
    let begin = Instant::now();
    a.write(s, b"x").unwrap();
    let inet = one.inet().unwrap();
    assert_eq!(inet.neighbors().len(), 1);
    // After three requests of a second each it is given up.
    while !inet.neighbors().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(begin.elapsed() > Duration::from_millis(2_900));
}

/// An echo request of ICMP with `len` bytes of data.
fn echo_request(len: u32) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    bytes.extend((0..len).map(|n| n.to_le_bytes()[0]));
    let sum = internet_checksum::checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum);
    bytes
}

#[test]
fn ping_of_every_size() {
    let (one, _two) = pair(wire::Config::default());
    let a = one.init_proc();
    let s = a
        .socket(Domain::Inet, Kind::Raw, 1, OpenFlags::empty())
        .unwrap();
    for len in [0, 56, 1_472, 1_473, 8_000, 65_507] {
        let request = echo_request(len);
        a.sendto(s, &request, MsgFlags::empty(), Some(&address("10.0.0.2:0")))
            .unwrap();
        let mut buf = vec![0; 66_000];
        let (count, from) = a.recvfrom(s, &mut buf, MsgFlags::empty()).unwrap();
        assert_eq!(from, Some(address("10.0.0.2:0")));
        // The IP header comes with it; the type is that of a reply, and the sum accordingly.
        assert_eq!((buf[0], buf[9], buf[20]), (0x45, 1, 0));
        assert!(buf[24..count] == request[4..]);
        assert_eq!(internet_checksum::checksum(&buf[20..count]), [0, 0]);
    }
    let user = a.fork();
    user.set_cred(rumpkern::Cred {
        uid: 1,
        gid: 1,
        groups: vec![],
    });
    let refused = user.socket(Domain::Inet, Kind::Raw, 1, OpenFlags::empty());
    assert_eq!(refused, Err(Errno::EACCES));
}

/// RFC 1112 section 6.1, RFC 3678 section 3: what this host sends to a group comes back to all its sockets that want it, with and without `lo0`.
#[test]
fn groups_within_a_host() {
    use rumpnet::membership::Filter;
    let (one, _two) = pair(wire::Config::default());
    let a = one.init_proc();
    let (s, t, u) = (udp(&a), udp(&a), udp(&a));
    for fd in [t, u] {
        a.setsockopt(fd, &SockOpt::ReuseAddr(true)).unwrap();
        a.bind(fd, &address("0.0.0.0:99")).unwrap();
    }
    let group = "239.1.2.3".parse().unwrap();
    let own = "10.0.0.1".parse().unwrap();
    let other = "10.0.0.7".parse().unwrap();
    a.setsockopt(t, &SockOpt::JoinSource(group, own, 1))
        .unwrap();
    a.setsockopt(u, &SockOpt::JoinSource(group, other, 1))
        .unwrap();
    let joined = a.setsockopt(t, &SockOpt::AddMembership(group, 1));
    assert_eq!(joined, Err(Errno::EADDRINUSE));
    let mut buf = [0; 8];
    let mut heard = |expected: [bool; 2]| {
        a.sendto(s, b"x", MsgFlags::empty(), Some(&address("239.1.2.3:99")))
            .unwrap();
        for (fd, expected) in [t, u].into_iter().zip(expected) {
            let got = a.recvfrom(fd, &mut buf, MsgFlags::DONTWAIT);
            assert_eq!(got.is_ok(), expected, "{got:?}");
        }
    };
    heard([true, false]);
    a.setsockopt(u, &SockOpt::SourceFilter(group, 1, Filter::all()))
        .unwrap();
    heard([true, true]);
    a.setsockopt(u, &SockOpt::BlockSource(group, own, 1))
        .unwrap();
    heard([true, false]);
    a.setsockopt(s, &SockOpt::MulticastLoop(false)).unwrap();
    heard([false, false]);
    a.setsockopt(s, &SockOpt::MulticastLoop(true)).unwrap();
    // Nobody hears of it any more when the last one is closed.
    a.close(t).unwrap();
    a.setsockopt(u, &SockOpt::DropMembership(group, 0)).unwrap();
    let left = a.setsockopt(u, &SockOpt::DropMembership(group, 0));
    assert_eq!(left, Err(Errno::EADDRNOTAVAIL));
    let bad = |option| a.setsockopt(u, &option);
    assert_eq!(bad(SockOpt::JoinSource(own, own, 1)), Err(Errno::EINVAL));
    assert_eq!(
        bad(SockOpt::JoinSource(group, group, 1)),
        Err(Errno::EINVAL)
    );
    assert_eq!(bad(SockOpt::AddMembership(group, 9)), Err(Errno::ENODEV));
    let many = Filter {
        exclude: true,
        sources: (0..129_u32)
            .map(|n| std::net::Ipv4Addr::from_bits(n + 1).into())
            .collect(),
    };
    assert_eq!(
        bad(SockOpt::SourceFilter(group, 1, many)),
        Err(Errno::ENOBUFS)
    );
}

/// `SO_TIMESTAMP`: the wall time of the arrival, not that of the call which receives it.
fn arrival_is_told(host: &Kernel, fd: u32, send: impl FnOnce()) {
    let proc = host.init_proc();
    let on = SockOpt::Timestamp(true);
    assert_eq!(proc.getsockopt(fd, &on), Ok(SockOpt::Timestamp(false)));
    proc.setsockopt(fd, &on).unwrap();
    assert_eq!(proc.getsockopt(fd, &on), Ok(on));
    let nanos = || {
        let now = host.host().wall();
        i128::from(now.sec) * 1_000_000_000 + i128::from(now.nsec)
    };
    let before = nanos();
    send();
    let mut fds = [PollFd {
        fd,
        events: Ready::IN,
        ready: Ready::empty(),
    }];
    proc.poll(&mut fds, Some(Duration::from_secs(10))).unwrap();
    let after = nanos();
    thread::sleep(Duration::from_millis(300));
    let mut buf = [0; 99];
    let mut receive = |flags| proc.recvmsg(fd, &mut [&mut buf], flags).unwrap().control;
    // Looked at or taken, it is the same message.
    for flags in [MsgFlags::PEEK, MsgFlags::empty()] {
        let control = receive(flags);
        let [Control::Timestamp(told)] = control[..] else {
            panic!("no time was told");
        };
        let told = i128::from(told.sec) * 1_000_000_000 + i128::from(told.nsec);
        // The two clocks of the host are read one after the other: a little either way.
        let little = 50_000_000;
        assert!(
            (before - little..=after + little).contains(&told),
            "{before} {told} {after}"
        );
    }
}

#[test]
fn when_a_datagram_came() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = (udp(&a), udp(&b));
    b.bind(t, &address("0.0.0.0:7")).unwrap();
    arrival_is_told(&two, t, || {
        let to = address("10.0.0.2:7");
        a.sendto(s, b"x", MsgFlags::empty(), Some(&to)).unwrap();
    });
}

#[test]
fn when_a_packet_came_to_a_raw_socket() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let [s, t] = [&a, &b].map(|proc| {
        proc.socket(Domain::Inet, Kind::Raw, 1, OpenFlags::empty())
            .unwrap()
    });
    let send = || {
        let (request, to) = (echo_request(56), address("10.0.0.2:0"));
        a.sendto(s, &request, MsgFlags::empty(), Some(&to)).unwrap();
    };
    arrival_is_told(&two, t, send);
    // Off again, nothing is told.
    b.setsockopt(t, &SockOpt::Timestamp(false)).unwrap();
    send();
    let received = b.recvmsg(t, &mut [&mut [0; 99]], MsgFlags::empty());
    assert!(received.unwrap().control.is_empty());
}

/// `SO_DONTROUTE`: only to the links. `IP_MTU`: of the way to the peer.
#[test]
fn ways_without_gateways_and_their_mtu() {
    let (one, _two) = pair(wire::Config {
        mtu: 1_400,
        ..wire::Config::default()
    });
    let a = one.init_proc();
    let gateway = Some("10.0.0.2".parse().unwrap());
    let inet = one.inet().unwrap();
    inet.add_route(rumpnet::Cidr::ANY_V4, gateway, None, 0)
        .unwrap();
    let s = udp(&a);
    let send = |to: &str| a.sendto(s, b"x", MsgFlags::empty(), Some(&address(to)));
    assert_eq!(send("192.0.2.1:7"), Ok(1));
    a.setsockopt(s, &SockOpt::DontRoute(true)).unwrap();
    assert_eq!(send("192.0.2.1:7"), Err(Errno::ENETUNREACH));
    for near in ["10.0.0.2:7", "10.0.0.1:7"] {
        assert_eq!(send(near).err(), None, "{near}");
    }
    a.setsockopt(s, &SockOpt::DontRoute(false)).unwrap();
    assert_eq!(send("192.0.2.1:7"), Ok(1));
    let mtu = |fd| a.getsockopt(fd, &SockOpt::Mtu(0));
    assert_eq!(mtu(s), Err(Errno::ENOTCONN));
    a.connect(s, &address("192.0.2.1:7")).unwrap();
    assert_eq!(mtu(s), Ok(SockOpt::Mtu(1_400)));
    let t = common::stream(&a);
    assert_eq!(mtu(t), Err(Errno::ENOTCONN));
    a.setsockopt(t, &SockOpt::DontRoute(true)).unwrap();
    assert_eq!(
        a.connect(t, &address("192.0.2.1:7")),
        Err(Errno::ENETUNREACH)
    );
}

/// udp(7), `UDP_SEGMENT` and `UDP_GRO`: what is longer goes as several datagrams, and who wants them whole gets them so, over cables that
/// can take large packets and those that cannot, and within a host.
#[test]
fn several_datagrams_at_once() {
    for features in [rumpnet::interface::Features::all(), Default::default()] {
        let (one, two) = pair(wire::Config {
            mtu: 1_500,
            features,
        });
        let (a, b) = (one.init_proc(), two.init_proc());
        for (receiver, to) in [(&b, "10.0.0.2:7"), (&a, "10.0.0.1:7")] {
            datagrams_of_one_message(&a, receiver, &address(to), !features.is_empty());
        }
        one.shutdown().unwrap();
        two.shutdown().unwrap();
    }
}

fn datagrams_of_one_message(a: &Proc, b: &Proc, to: &rumpnet::Address, whole: bool) {
    let (s, t) = (udp(a), udp(b));
    b.bind(t, &address("0.0.0.0:7")).unwrap();
    let data: Vec<u8> = (0..50_000_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    let send = |len: usize, control: &[Control]| {
        let message = Outgoing {
            to: Some(to),
            bufs: &[&data[..len]],
            control,
            flags: MsgFlags::empty(),
        };
        a.sendmsg(s, &message)
    };
    // The bytes of a message, and how long each datagram was that it stands for.
    let receive = |flags| {
        let mut buf = vec![0; 70_000];
        let got = b.recvmsg(t, &mut [&mut buf], flags)?;
        buf.truncate(got.len);
        let told = got.control.iter().find_map(|control| match control {
            Control::Segment(bytes) => Some(*bytes),
            _ => None,
        });
        Ok::<_, Errno>((buf, told))
    };
    let several = |len: usize, each: usize| {
        for part in data[..len].chunks(each) {
            assert_eq!(receive(MsgFlags::empty()), Ok((part.to_vec(), None)));
        }
        assert_eq!(receive(MsgFlags::DONTWAIT), Err(Errno::EAGAIN));
    };
    // One as before: from now on the short ways are known.
    send(1_400, &[]).unwrap();
    several(1_400, 1_400);
    let segment = |bytes| a.setsockopt(s, &SockOpt::UdpSegment(bytes)).unwrap();
    let get = || a.getsockopt(s, &SockOpt::UdpSegment(9));
    assert_eq!(get(), Ok(SockOpt::UdpSegment(0)));
    segment(1_000);
    assert_eq!(get(), Ok(SockOpt::UdpSegment(1_000)));
    // Shorter ones between, on their short way; what is just as long is one.
    for len in [1_000, 1_400, 900, 1_001, 50_000, 2_000, 1] {
        assert_eq!(send(len, &[]), Ok(len));
        several(len, 1_000);
    }
    // A message says it for itself.
    assert_eq!(send(5_000, &[Control::Segment(700)]), Ok(5_000));
    several(5_000, 700);
    segment(0);
    assert_eq!(send(5_000, &[Control::Segment(1_400)]), Ok(5_000));
    several(5_000, 1_400);
    // One must fit the link, and 128 are the most.
    if to == &address("10.0.0.2:7") {
        assert_eq!(send(5_000, &[Control::Segment(1_473)]), Err(Errno::EINVAL));
        assert_eq!(send(1_472, &[Control::Segment(1_472)]), Ok(1_472));
        several(1_472, 1_472);
    }
    assert_eq!(send(1_281, &[Control::Segment(10)]), Err(Errno::EINVAL));
    assert_eq!(send(1_280, &[Control::Segment(10)]), Ok(1_280));
    several(1_280, 10);
    // Who wants them whole gets them so, if they came so.
    assert_eq!(
        b.getsockopt(t, &SockOpt::UdpGro(true)),
        Ok(SockOpt::UdpGro(false))
    );
    b.setsockopt(t, &SockOpt::UdpGro(true)).unwrap();
    segment(1_200);
    for len in [1_200, 1_000, 20_000, 256, 1_201] {
        assert_eq!(send(len, &[]), Ok(len));
        if whole || to == &address("10.0.0.1:7") {
            let told = (len > 1_200).then_some(1_200);
            assert_eq!(receive(MsgFlags::empty()), Ok((data[..len].to_vec(), told)));
        } else {
            several(len, 1_200);
        }
    }
    a.close(s).unwrap();
    b.close(t).unwrap();
}

/// Two hosts with a router between them, whose link to the second takes 700 bytes.
fn narrow() -> [rumpkern::Kernel; 3] {
    let large = wire::Config::default();
    let (one, router) = pair(large);
    let (_, two) = pair(large);
    let macs = (MacAddr([2, 0, 0, 0, 1, 1]), MacAddr([2, 0, 0, 0, 1, 2]));
    let (near, far) = wire::pair(macs.0, macs.1, wire::Config { mtu: 700, ..large });
    let inet = router.inet().unwrap();
    for (kernel, device, own) in [(&router, near, "10.1.0.1/24"), (&two, far, "10.1.0.2/24")] {
        kernel.net().unwrap().attach("wire1", device).unwrap();
        let inet = kernel.inet().unwrap();
        inet.add_address("wire1", own.parse().unwrap()).unwrap();
    }
    inet.set_forwarding(true);
    // The other end of the second's own cable is gone: its way back is by the router.
    for (kernel, to, gateway) in [
        (&one, "10.1.0.0/24", "10.0.0.2"),
        (&two, "10.0.0.1/32", "10.1.0.1"),
    ] {
        let gateway = Some(gateway.parse().unwrap());
        let inet = kernel.inet().unwrap();
        inet.add_route(to.parse().unwrap(), gateway, None, 0)
            .unwrap();
    }
    [one, router, two]
}

/// RFC 1191 section 6.3: what a router says of a path counts for all that goes there, for datagrams of other sockets and new connections too.
#[test]
fn a_path_that_takes_less() {
    let [one, router, two] = narrow();
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = (udp(&a), udp(&b));
    b.bind(t, &address("0.0.0.0:7")).unwrap();
    b.set_receive_timeout(t, Some(Duration::from_secs(5)))
        .unwrap();
    let to = address("10.1.0.2:7");
    a.connect(s, &to).unwrap();
    let mtu = |fd| a.getsockopt(fd, &SockOpt::Mtu(0));
    a.setsockopt(s, &SockOpt::MtuDiscover(true)).unwrap();
    assert_eq!(mtu(s), Ok(SockOpt::Mtu(1_500)));
    assert_eq!(a.write(s, &[1; 1_000]), Ok(1_000));
    let told = a.getsockopt(s, &SockOpt::Error(None));
    assert_eq!(told, Ok(SockOpt::Error(Some(Errno::EMSGSIZE))));
    assert_eq!(mtu(s), Ok(SockOpt::Mtu(700)));
    assert_eq!(a.write(s, &[2; 673]), Err(Errno::EMSGSIZE));
    assert_eq!(a.write(s, &[2; 672]), Ok(672));
    let mut buf = [0; 2_000];
    assert_eq!(b.read(t, &mut buf), Ok(672));
    // A socket without a peer that does not want fragments, and one that does not mind: it makes them itself.
    let other = udp(&a);
    let send = || a.sendto(other, &[3; 1_500], MsgFlags::empty(), Some(&to));
    a.setsockopt(other, &SockOpt::MtuDiscover(true)).unwrap();
    assert_eq!(send(), Err(Errno::EMSGSIZE));
    a.setsockopt(other, &SockOpt::MtuDiscover(false)).unwrap();
    let before = one.inet().unwrap().counters().ip.fragments_sent;
    assert_eq!((send(), b.read(t, &mut buf)), (Ok(1_500), Ok(1_500)));
    let after = one.inet().unwrap().counters().ip.fragments_sent;
    assert_eq!(after - before, 3);
    // A connection begins with segments that pass.
    let listener = b
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    b.bind(listener, &to).unwrap();
    b.listen(listener, 1).unwrap();
    let c = a
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    a.connect(c, &to).unwrap();
    let segment = a.getsockopt(c, &SockOpt::MaxSegment(0));
    assert!(
        matches!(segment, Ok(SockOpt::MaxSegment(1..=660))),
        "{segment:?}"
    );
    router.shutdown().unwrap();
}

/// A router whose next link takes less cuts what stands for several datagrams, and sums up what has no sum yet, before it makes fragments.
#[test]
fn large_packets_through_a_router() {
    let [one, _router, two] = narrow();
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = (udp(&a), udp(&b));
    b.bind(t, &address("0.0.0.0:7")).unwrap();
    b.set_receive_timeout(t, Some(Duration::from_secs(5)))
        .unwrap();
    let data: Vec<u8> = (0..20_000_u32).map(|n| n.to_le_bytes()[0] ^ 0xa5).collect();
    for (segment, len) in [
        (0, 600),
        (0, 1_200),
        (500, 20_000),
        (1_200, 20_000),
        (0, 9_000),
    ] {
        a.setsockopt(s, &SockOpt::UdpSegment(segment)).unwrap();
        let to = address("10.1.0.2:7");
        let sent = a.sendto(s, &data[..len], MsgFlags::empty(), Some(&to));
        assert_eq!(sent, Ok(len));
        let each = if segment == 0 { len } else { segment.into() };
        for part in data[..len].chunks(each) {
            let mut buf = vec![0; 10_000];
            let count = b.read(t, &mut buf);
            assert_eq!(count, Ok(part.len()), "{len} by {segment}");
            assert!(buf[..part.len()] == *part);
        }
    }
    assert_eq!(two.inet().unwrap().counters().udp.malformed, 0);
}
