//! Two kernels on a cable, with addresses of the link alone and with others.

use rumpkern::{Errno, Kernel, OpenFlags, Proc};
use rumpnet::{
    Address, KernelNet as _, MacAddr, SocketCalls as _,
    interface::Features,
    socket::{Domain, Kind, MsgFlags, Shutdown, SockOpt},
    wire,
};
use rumpnet_inet::KernelInet as _;
use rumpnet_inet6::KernelInet6 as _;
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    thread,
    time::{Duration, Instant},
};

/// Two kernels, fd00::1 and fd00::2 (and 10.0.0.1 and 10.0.0.2), on a cable.
fn pair(config: wire::Config) -> (Kernel, Kernel) {
    let boot = || {
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(rumpnet_inet6::component())
            .component(rumpnet_loop::component())
            .boot()
            .unwrap();
        kernel.inet6().unwrap().set_probes(0).unwrap();
        kernel
    };
    let (one, two) = (boot(), boot());
    let macs = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
    let ends = wire::pair(macs[0], macs[1], config);
    one.net().unwrap().attach("wire0", ends.0).unwrap();
    two.net().unwrap().attach("wire0", ends.1).unwrap();
    let set = |kernel: &Kernel, addresses: [&str; 2]| {
        let inet = kernel.inet().unwrap();
        for address in addresses {
            inet.add_address("wire0", address.parse().unwrap()).unwrap();
        }
    };
    set(&one, ["fd00::1/64", "10.0.0.1/24"]);
    set(&two, ["fd00::2/64", "10.0.0.2/24"]);
    (one, two)
}

fn address(text: &str) -> Address {
    text.parse::<SocketAddr>().unwrap().into()
}

fn socket(proc: &Proc, kind: Kind, protocol: u8) -> u32 {
    proc.socket(Domain::Inet6, kind, protocol, OpenFlags::empty())
        .unwrap()
}

/// The address of the link that a kernel has made for itself.
fn link_local(kernel: &Kernel) -> Ipv6Addr {
    let all = kernel.inet().unwrap().addresses("wire0").unwrap();
    let found = all.iter().find_map(|cidr| match cidr.address() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
        _ => None,
    });
    found.unwrap()
}

fn data(len: u32) -> Vec<u8> {
    (0..len)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}

#[test]
fn datagrams_with_every_kind_of_cable() {
    for features in [Features::all(), Features::empty()] {
        let (one, two) = pair(wire::Config {
            mtu: 1_500,
            features,
        });
        let (a, b) = (one.init_proc(), two.init_proc());
        let (s, t) = (socket(&a, Kind::Datagram, 0), socket(&b, Kind::Datagram, 0));
        b.bind(t, &address("[::]:7")).unwrap();
        let link = SocketAddrV6::new(link_local(&two), 7, 0, 2);
        for to in [address("[fd00::2]:7"), SocketAddr::V6(link).into()] {
            for len in [0, 1, 65, 1_452, 1_453, 9_000, 65_527] {
                let data = data(len);
                let sent = a.sendto(s, &data, MsgFlags::empty(), Some(&to));
                assert_eq!(sent, Ok(data.len()), "{len}");
                let mut buf = vec![0; 70_000];
                let (count, from) = b.recvfrom(t, &mut buf, MsgFlags::empty()).unwrap();
                assert!(buf[..count] == data, "{len}");
                let from = from.as_ref();
                b.sendto(t, &buf[..count], MsgFlags::empty(), from).unwrap();
                let (count, from) = a.recvfrom(s, &mut buf, MsgFlags::empty()).unwrap();
                assert!(buf[..count] == data, "{len}");
                assert_eq!(from.as_ref(), Some(&to));
            }
        }
        let counters = two.inet().unwrap().counters();
        assert_eq!((counters.ip6.malformed, counters.udp6.malformed), (0, 0));
        assert!(counters.ip6.reassembled >= 6);
        one.shutdown().unwrap();
        two.shutdown().unwrap();
    }
}

fn receive_all(proc: &Proc, fd: u32) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 65_536]);
    loop {
        match proc.read(fd, &mut buf).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&buf[..count]),
        }
    }
}

#[test]
fn streams_by_address_of_the_link_of_the_network_and_of_the_host() {
    for features in [Features::all(), Features::empty()] {
        let (one, two) = pair(wire::Config {
            mtu: 1_500,
            features,
        });
        let (a, b) = (one.init_proc(), two.init_proc());
        let listener = socket(&b, Kind::Stream, 0);
        b.bind(listener, &address("[::]:80")).unwrap();
        b.listen(listener, 8).unwrap();
        let link = SocketAddrV6::new(link_local(&two), 80, 0, 2);
        let here = SocketAddrV6::new(link_local(&two), 80, 0, 0);
        let ways = [
            (&a, address("[fd00::2]:80")),
            (&a, SocketAddr::V6(link).into()),
            (&b, address("[::1]:80")),
            (&b, SocketAddr::V6(here).into()),
            // IPv4 by a socket of IPv6 (RFC 3493 section 3.7).
            (&a, address("[::ffff:10.0.0.2]:80")),
        ];
        for (client, to) in ways {
            let s = socket(client, Kind::Stream, 0);
            client.connect(s, &to).unwrap();
            let (t, from) = b.accept(listener, OpenFlags::empty()).unwrap();
            assert_eq!(
                client.getsockname(s).unwrap().inet().unwrap().ip(),
                from.inet().unwrap().ip()
            );
            assert_eq!(
                client.getpeername(s).unwrap().inet().unwrap().ip(),
                to.inet().unwrap().ip()
            );
            let data = data(1_000_000);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for part in data.chunks(50_000) {
                        assert_eq!(client.write(s, part), Ok(part.len()));
                    }
                    client.shutdown(s, Shutdown::Write).unwrap();
                });
                assert!(receive_all(&b, t) == data, "{to}");
            });
            b.close(t).unwrap();
            client.close(s).unwrap();
        }
        assert_eq!(two.inet().unwrap().counters().tcp.malformed, 0);
        one.shutdown().unwrap();
        two.shutdown().unwrap();
    }
}

#[test]
fn both_families_by_one_socket_or_each_by_its_own() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let both = socket(&b, Kind::Datagram, 0);
    b.bind(both, &address("[::]:53")).unwrap();
    let four = b
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    // RFC 3493 section 5.3: the wildcard of IPv6 is that of IPv4 as well.
    assert_eq!(b.bind(four, &address("0.0.0.0:53")), Err(Errno::EADDRINUSE));
    let s = a
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    a.bind(s, &address("0.0.0.0:99")).unwrap();
    let to = address("10.0.0.2:53");
    a.sendto(s, b"four", MsgFlags::empty(), Some(&to)).unwrap();
    let mut buf = [0; 8];
    let got = b.recvfrom(both, &mut buf, MsgFlags::empty());
    assert_eq!(got, Ok((4, Some(address("[::ffff:10.0.0.1]:99")))));
    let only = socket(&b, Kind::Datagram, 0);
    b.setsockopt(only, &SockOpt::V6Only(true)).unwrap();
    b.bind(only, &address("[::]:54")).unwrap();
    b.bind(four, &address("0.0.0.0:54")).unwrap();
    let mapped = Some(address("[::ffff:10.0.0.1]:99"));
    let refused = b.sendto(only, b"x", MsgFlags::empty(), mapped.as_ref());
    assert_eq!(refused, Err(Errno::EINVAL));
    let which = b.getsockopt(only, &SockOpt::V6Only(false));
    assert_eq!(which, Ok(SockOpt::V6Only(true)));
}

#[test]
fn errors_reach_who_sent() {
    let (one, _two) = pair(wire::Config::default());
    let a = one.init_proc();
    let s = socket(&a, Kind::Datagram, 0);
    a.connect(s, &address("[fd00::2]:9")).unwrap();
    assert_eq!(a.write(s, b"x"), Ok(1));
    assert_eq!(a.write(s, b"x"), Err(Errno::ECONNREFUSED));
    let t = socket(&a, Kind::Stream, 0);
    assert_eq!(
        a.connect(t, &address("[fd00::2]:9")),
        Err(Errno::ECONNREFUSED)
    );
    let t = socket(&a, Kind::Stream, 0);
    assert_eq!(
        a.connect(t, &address("[2001:db8::1]:9")),
        Err(Errno::ENETUNREACH)
    );
}

/// RFC 4443 section 4, RFC 3542 section 3.1: the sum is the stack's.
#[test]
fn ping_of_every_size() {
    let (one, two) = pair(wire::Config::default());
    let a = one.init_proc();
    let s = socket(&a, Kind::Raw, 58);
    let link = SocketAddrV6::new(link_local(&two), 0, 0, 2);
    for to in [address("[fd00::2]:0"), SocketAddr::V6(link).into()] {
        for len in [0, 56, 1_452, 1_453, 8_000, 65_527] {
            let mut request = vec![128, 0, 0, 0, 0x12, 0x34, 0, 1];
            request.extend(data(len));
            a.sendto(s, &request, MsgFlags::empty(), Some(&to)).unwrap();
            let mut buf = vec![0; 66_000];
            // Other messages come as well.
            let count = loop {
                let (count, from) = a.recvfrom(s, &mut buf, MsgFlags::empty()).unwrap();
                if buf[0] == 129 {
                    assert_eq!(from.as_ref(), Some(&to));
                    break count;
                }
            };
            assert!(buf[4..count] == request[4..], "{len}");
        }
    }
}

/// RFC 4862 section 5.4: who comes second does not get the address.
#[test]
fn an_address_that_another_has() {
    let (one, two) = pair(wire::Config::default());
    let _ = &one;
    two.inet6().unwrap().set_probes(1).unwrap();
    let inet = two.inet().unwrap();
    let add = |text: &str| inet.add_address("wire0", text.parse().unwrap());
    assert_eq!(add("fd00::1/64"), Err(Errno::EADDRINUSE));
    let before = Instant::now();
    assert_eq!(add("fd00::3/64"), Ok(()));
    assert!(before.elapsed() >= Duration::from_millis(900));
    assert_eq!(add("fd00::3/64"), Err(Errno::EEXIST));
    assert_eq!(two.inet6().unwrap().counters().unwrap().duplicates, 1);
}

/// RFC 1981 and RFC 4861 section 7.3.3: nobody answers.
#[test]
fn a_neighbour_that_is_not_there() {
    let (one, _two) = pair(wire::Config::default());
    let a = one.init_proc();
    let t = socket(&a, Kind::Datagram, 0);
    a.connect(t, &address("[fd00::77]:9")).unwrap();
    let begin = Instant::now();
    a.write(t, b"x").unwrap();
    let inet = one.inet().unwrap();
    let there = |inet: &rumpnet_inet::Inet| {
        let all = inet.neighbors();
        let gone: IpAddr = "fd00::77".parse().unwrap();
        all.iter().any(|(_, ip, _, _)| *ip == gone)
    };
    // After three questions of a second each it is given up.
    while there(&inet) {
        assert!(begin.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(begin.elapsed() > Duration::from_millis(2_900));
}

/// Groups (RFC 4291 section 2.7) with a socket that joins and leaves.
#[test]
fn groups() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = (socket(&a, Kind::Datagram, 0), socket(&b, Kind::Datagram, 0));
    b.bind(t, &address("[::]:99")).unwrap();
    let group: IpAddr = "ff02::1234".parse().unwrap();
    let to = SocketAddr::V6(SocketAddrV6::new("ff02::1234".parse().unwrap(), 99, 0, 2)).into();
    let mut buf = [0; 8];
    let send = |text: &[u8]| {
        a.sendto(s, text, MsgFlags::empty(), Some(&to)).unwrap();
        while one.inet().unwrap().is_busy() || two.inet().unwrap().is_busy() {
            thread::yield_now();
        }
    };
    send(b"no");
    b.setsockopt(t, &SockOpt::AddMembership(group, 2)).unwrap();
    send(b"yes");
    let (count, from) = b.recvfrom(t, &mut buf, MsgFlags::empty()).unwrap();
    assert_eq!(&buf[..count], b"yes");
    assert_eq!(
        from.unwrap().inet().unwrap().ip(),
        IpAddr::V6(link_local(&one))
    );
    b.setsockopt(t, &SockOpt::DropMembership(group, 2)).unwrap();
    send(b"no");
    assert_eq!(
        b.recvfrom(t, &mut buf, MsgFlags::DONTWAIT),
        Err(Errno::EAGAIN)
    );
}

/// RFC 8200 section 5: a link whose MTU is below 1280 carries no IPv6; with a larger one it does again, and what sockets have joined is told to
/// routers again. IPv4 goes on.
#[test]
fn a_link_too_small() {
    let (one, two) = pair(wire::Config::default());
    let inet = one.inet().unwrap();
    let ifnet = one.net().unwrap().interface("wire0").unwrap();
    let six = || {
        let all = inet.addresses("wire0").unwrap();
        all.iter().filter(|cidr| cidr.address().is_ipv6()).count()
    };
    let proc = one.init_proc();
    let fd = socket(&proc, Kind::Datagram, 0);
    let index = ifnet.index();
    let join = SockOpt::AddMembership("ff02::77".parse().unwrap(), index);
    proc.setsockopt(fd, &join).unwrap();
    let send = |to: &str| proc.sendto(fd, b"x", MsgFlags::empty(), Some(&address(to)));
    assert_eq!((six(), send("[fd00::2]:9")), (2, Ok(1)));
    ifnet.set_mtu(1_279).unwrap();
    assert_eq!((six(), send("[fd00::2]:9")), (0, Err(Errno::ENETUNREACH)));
    assert!(send("[::ffff:10.0.0.2]:9").is_ok());
    let route = |route: &rumpnet::route::Route| {
        route.interface == index && route.network.address().is_ipv6()
    };
    assert!(!inet.routes().iter().any(route));
    let mut neighbors = inet.neighbors().into_iter();
    assert!(!neighbors.any(|(_, address, ..)| address.is_ipv6()));
    let again = || inet.add_address("wire0", "fd00::1/64".parse().unwrap());
    assert_eq!(again(), Err(Errno::EINVAL));
    // What comes is dropped.
    let before = inet.counters().ip6;
    let other = two.init_proc();
    let from = socket(&other, Kind::Datagram, 0);
    let by = two.net().unwrap().interface("wire0").unwrap().index();
    let all = SocketAddrV6::new("ff02::1".parse().unwrap(), 9, 0, by);
    let to: Address = SocketAddr::from(all).into();
    other
        .sendto(from, b"x", MsgFlags::empty(), Some(&to))
        .unwrap();
    let after = inet.counters().ip6;
    assert_eq!(after.delivered, before.delivered);
    assert_eq!(after.address_errors, before.address_errors + 1);
    // Large enough again: an address of the link is made, others are for who configures.
    ifnet.set_mtu(1_280).unwrap();
    assert_eq!(six(), 1);
    again().unwrap();
    assert_eq!((six(), send("[fd00::2]:9")), (2, Ok(1)));
    proc.close(fd).unwrap();
    other.close(from).unwrap();
    for kernel in [one, two] {
        kernel.shutdown().unwrap();
    }
}

/// RFC 9293 section 3.7.2 (MUST-16): segments follow the MTU of the interface, also those of a connection that is there.
#[test]
fn an_mtu_that_shrinks() {
    let config = wire::Config {
        features: Features::empty(),
        ..wire::Config::default()
    };
    let (one, two) = pair(config);
    let (a, b) = (one.init_proc(), two.init_proc());
    for (to, any) in [
        ("[fd00::2]:80", "[::]:80"),
        ("[::ffff:10.0.0.2]:81", "[::]:81"),
    ] {
        let ifnet = one.net().unwrap().interface("wire0").unwrap();
        ifnet.set_mtu(1_500).unwrap();
        let l = socket(&b, Kind::Stream, 0);
        b.bind(l, &address(any)).unwrap();
        b.listen(l, 4).unwrap();
        let s = socket(&a, Kind::Stream, 0);
        a.connect(s, &address(to)).unwrap();
        let t = b.accept(l, OpenFlags::empty()).unwrap().0;
        ifnet.set_mtu(1_300).unwrap();
        let data = vec![7; 100_000];
        assert_eq!(a.write(s, &data), Ok(data.len()));
        let mut buf = vec![0; data.len()];
        b.set_receive_timeout(t, Some(Duration::from_secs(5)))
            .unwrap();
        let got = b.recvmsg(t, &mut [&mut buf], MsgFlags::WAITALL).unwrap();
        assert!(got.len == data.len() && buf == data);
        for (proc, fd) in [(&a, s), (&b, t), (&b, l)] {
            proc.close(fd).unwrap();
        }
    }
    for kernel in [one, two] {
        kernel.shutdown().unwrap();
    }
}
