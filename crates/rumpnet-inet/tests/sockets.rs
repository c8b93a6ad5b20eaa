//! What POSIX and the manuals have sockets do at their edges: options, wrong calls, ports that are shared, closing.

mod common;

use common::{address, pair, stream};
use rumpkern::{Errno, Kernel, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    Address, KernelNet as _, MacAddr, SocketCalls as _,
    socket::{Control, Domain, Kind, MsgFlags, Outgoing, Shutdown, SockOpt},
    wire,
};
use rumpnet_inet::KernelInet as _;
use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

fn datagram(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap()
}

fn raw(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet, Kind::Raw, 254, OpenFlags::empty())
        .unwrap()
}

fn bound(proc: &Proc, fd: u32, to: &str) -> u32 {
    proc.bind(fd, &address(to)).unwrap();
    fd
}

fn listener(proc: &Proc, at: &str) -> u32 {
    let fd = bound(proc, stream(proc), at);
    proc.listen(fd, 16).unwrap();
    fd
}

/// A connection from `a` to `b` at 10.0.0.2.
fn connection(a: &Proc, b: &Proc, port: u16) -> (u32, u32) {
    let at = format!("10.0.0.2:{port}");
    let (l, s) = (listener(b, &at), stream(a));
    a.connect(s, &address(&at)).unwrap();
    let (t, _) = b.accept(l, OpenFlags::empty()).unwrap();
    b.close(l).unwrap();
    (s, t)
}

fn ready(proc: &Proc, fd: u32, events: Ready) -> Ready {
    let mut fds = [PollFd {
        fd,
        events,
        ready: Ready::empty(),
    }];
    proc.poll(&mut fds, Some(Duration::ZERO)).unwrap();
    fds[0].ready
}

/// Each option is as it was set, also where it is on and off in turn, and before and after a connection is made.
#[test]
fn options_come_back_as_they_were_set() {
    use SockOpt::*;
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let second = Duration::from_secs;
    let check = |fd, options: &[SockOpt]| {
        for option in options {
            assert_eq!(a.setsockopt(fd, option), Ok(()), "{option:?}");
            assert_eq!(a.getsockopt(fd, option), Ok(option.clone()));
        }
    };
    let all = |on| [ReuseAddr(on), ReusePort(on), DontRoute(on)];
    let tcp = |on| {
        [
            KeepAlive(on),
            NoDelay(on),
            Cork(on),
            OobInline(on),
            TellUserTimeout(on),
        ]
    };
    let tcp_values = [
        KeepIdle(second(30)),
        KeepInterval(second(7)),
        KeepCount(3),
        UserTimeout(second(20)),
        Linger(Some(second(2))),
        Linger(None),
        SendBuffer(9_000),
        ReceiveBuffer(9_000),
        ReceiveLowat(2),
        Congestion("newreno".to_string()),
        Ttl(9),
        Tos(0x20),
    ];
    let udp = |on| {
        [
            Broadcast(on),
            MulticastLoop(on),
            MtuDiscover(on),
            UdpGro(on),
        ]
    };
    let told = |on| {
        [
            PacketInfo(on),
            ReceiveTtl(on),
            ReceiveTos(on),
            Timestamp(on),
        ]
    };
    let packets = [
        Ttl(9),
        Tos(0x20),
        MulticastTtl(0),
        MulticastTtl(7),
        MulticastInterface(1),
        ReceiveBuffer(9_000),
    ];
    let (s, _) = connection(&a, &b, 80);
    for fd in [s, stream(&a)] {
        for on in [true, false] {
            check(fd, &all(on));
            check(fd, &tcp(on));
        }
        check(fd, &tcp_values);
    }
    let fd = datagram(&a);
    for on in [true, false] {
        check(fd, &all(on));
        check(fd, &udp(on));
        check(fd, &told(on));
    }
    check(fd, &packets);
    check(fd, &[SendBuffer(9_000), UdpSegment(1_200)]);
    let fd = raw(&a);
    for on in [true, false] {
        check(fd, &told(on));
        check(fd, &[HeaderIncluded(on), MulticastLoop(on)]);
    }
    check(fd, &packets);
    // Some are about other sockets, and some values about none.
    for (fd, option) in [
        (stream(&a), Broadcast(true)),
        (stream(&a), UdpGro(true)),
        (datagram(&a), NoDelay(true)),
        (datagram(&a), V6Only(true)),
        (raw(&a), Cork(true)),
    ] {
        assert_eq!(a.setsockopt(fd, &option), Err(Errno::ENOPROTOOPT));
        assert_eq!(a.getsockopt(fd, &option), Err(Errno::ENOPROTOOPT));
    }
    for option in [
        Ttl(0),
        KeepIdle(Duration::ZERO),
        KeepInterval(Duration::ZERO),
        KeepCount(0),
        KeepCount(256),
        MaxSegment(0),
    ] {
        assert_eq!(a.setsockopt(stream(&a), &option), Err(Errno::EINVAL));
    }
    for fd in [datagram(&a), raw(&a)] {
        assert_eq!(a.setsockopt(fd, &Ttl(0)), Err(Errno::EINVAL));
    }
    let nobody = BindToDevice(Some("none0".to_string()));
    for fd in [stream(&a), datagram(&a), raw(&a)] {
        assert_eq!(a.setsockopt(fd, &nobody), Err(Errno::ENXIO));
    }
}

/// The times of keep-alive do not turn it on, and are kept while it is off.
#[test]
fn times_of_keep_alive() {
    let (one, _two) = pair(wire::Config::default());
    let a = one.init_proc();
    let s = stream(&a);
    let idle = SockOpt::KeepIdle(Duration::from_secs(11));
    a.setsockopt(s, &idle).unwrap();
    let on = SockOpt::KeepAlive(true);
    assert_eq!(a.getsockopt(s, &on), Ok(SockOpt::KeepAlive(false)));
    a.setsockopt(s, &on).unwrap();
    a.setsockopt(s, &SockOpt::KeepAlive(false)).unwrap();
    assert_eq!(a.getsockopt(s, &idle), Ok(idle));
}

/// A buffer without room would be one that nothing ever passes.
#[test]
fn the_smallest_buffers_work() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = connection(&a, &b, 80);
    for (proc, fd) in [(&a, s), (&b, t)] {
        proc.setsockopt(fd, &SockOpt::SendBuffer(0)).unwrap();
        proc.setsockopt(fd, &SockOpt::ReceiveBuffer(0)).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| a.write(s, &[7; 50_000]));
        let mut buf = vec![0; 50_000];
        let (count, _) = b.recvfrom(t, &mut buf, MsgFlags::WAITALL).unwrap();
        assert!(count == buf.len() && buf.iter().all(|byte| *byte == 7));
    });
    // What is longer than the buffer is no datagram that can be sent.
    let fd = datagram(&a);
    a.setsockopt(fd, &SockOpt::SendBuffer(0)).unwrap();
    let to = address("10.0.0.2:9");
    let send = |len| a.sendto(fd, &vec![0; len], MsgFlags::empty(), Some(&to));
    assert_eq!(send(2_048), Ok(2_048));
    assert_eq!(send(2_049), Err(Errno::EMSGSIZE));
}

#[test]
fn calls_at_the_wrong_time() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let mut buf = [0; 8];
    let there = address("10.0.0.2:80");
    // Nothing yet.
    let s = stream(&a);
    assert_eq!(a.read(s, &mut buf), Err(Errno::ENOTCONN));
    assert_eq!(a.write(s, b"x"), Err(Errno::ENOTCONN));
    assert_eq!(a.getpeername(s), Err(Errno::ENOTCONN));
    assert_eq!(a.shutdown(s, Shutdown::Both), Err(Errno::ENOTCONN));
    assert_eq!(a.accept(s, OpenFlags::empty()), Err(Errno::EINVAL));
    assert_eq!(a.at_mark(s), Ok(false));
    // Bound twice, and to what is not ours.
    bound(&a, s, "10.0.0.1:700");
    assert_eq!(a.bind(s, &address("10.0.0.1:701")), Err(Errno::EINVAL));
    let other = address("10.0.0.9:700");
    assert_eq!(a.bind(stream(&a), &other), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(a.bind(datagram(&a), &other), Err(Errno::EADDRNOTAVAIL));
    let six = address("[::1]:700");
    assert_eq!(a.bind(stream(&a), &six), Err(Errno::EAFNOSUPPORT));
    assert_eq!(a.connect(stream(&a), &six), Err(Errno::EAFNOSUPPORT));
    // A connection.
    let (s, t) = connection(&a, &b, 80);
    assert_eq!(a.connect(s, &there), Err(Errno::EISCONN));
    assert_eq!(a.listen(s, 1), Err(Errno::EINVAL));
    assert_eq!(a.bind(s, &address("10.0.0.1:702")), Err(Errno::EINVAL));
    assert_eq!(a.write(s, b""), Ok(0));
    assert_eq!(a.read(s, &mut []), Ok(0));
    let flags = MsgFlags::DONTWAIT;
    assert_eq!(a.recvfrom(s, &mut buf, flags), Err(Errno::EAGAIN));
    let oob = MsgFlags::OOB;
    assert_eq!(a.recvfrom(s, &mut buf, oob), Err(Errno::EINVAL));
    a.shutdown(s, Shutdown::Write).unwrap();
    a.shutdown(s, Shutdown::Write).unwrap();
    assert_eq!(a.write(s, b"x"), Err(Errno::EPIPE));
    assert_eq!(b.read(t, &mut buf), Ok(0));
    assert_eq!(b.read(t, &mut buf), Ok(0));
    b.shutdown(t, Shutdown::Read).unwrap();
    assert_eq!(b.write(t, b"y"), Ok(1));
    // A listener.
    let l = listener(&a, "0.0.0.0:7");
    assert_eq!(a.listen(l, 3), Ok(()));
    assert_eq!(a.connect(l, &there), Err(Errno::EOPNOTSUPP));
    assert_eq!(a.read(l, &mut buf), Err(Errno::ENOTCONN));
    assert_eq!(a.getpeername(l), Err(Errno::ENOTCONN));
    // Datagrams.
    let d = datagram(&a);
    assert_eq!(a.write(d, b"x"), Err(Errno::EDESTADDRREQ));
    assert_eq!(a.listen(d, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(a.accept(d, OpenFlags::empty()), Err(Errno::EOPNOTSUPP));
    assert_eq!(a.getpeername(d), Err(Errno::ENOTCONN));
    assert_eq!(a.shutdown(d, Shutdown::Both), Err(Errno::ENOTCONN));
    let flags = MsgFlags::OOB;
    assert_eq!(a.recvfrom(d, &mut buf, flags), Err(Errno::EINVAL));
    let sent = a.sendto(d, b"x", flags, Some(&there));
    assert_eq!(sent, Err(Errno::EOPNOTSUPP));
    // No socket.
    let (r, w) = a.pipe(OpenFlags::empty()).unwrap();
    assert_eq!(a.listen(r, 1), Err(Errno::ENOTSOCK));
    assert_eq!(a.connect(w, &there), Err(Errno::ENOTSOCK));
    assert_eq!(a.getsockname(999), Err(Errno::EBADF));
}

/// POSIX `connect`: a call that would wait says so, and the ones after it how it stands.
#[test]
fn a_connection_under_way() {
    let (one, two) = pair(wire::Config::default());
    let a = one.init_proc();
    let s = a
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::NONBLOCK)
        .unwrap();
    // Nobody has this address, and it takes a while until that is known.
    let nobody = address("10.0.0.77:80");
    assert_eq!(a.connect(s, &nobody), Err(Errno::EINPROGRESS));
    assert_eq!(a.connect(s, &nobody), Err(Errno::EALREADY));
    assert_eq!(ready(&a, s, Ready::OUT), Ready::empty());
    assert_eq!(a.write(s, b"x"), Err(Errno::EAGAIN));
    let b = two.init_proc();
    let l = listener(&b, "0.0.0.0:80");
    let s = a
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::NONBLOCK)
        .unwrap();
    let there = address("10.0.0.2:80");
    assert_eq!(a.connect(s, &there), Err(Errno::EINPROGRESS));
    b.accept(l, OpenFlags::empty()).unwrap();
    assert_eq!(ready(&a, s, Ready::OUT), Ready::OUT);
    assert_eq!(
        a.getsockopt(s, &SockOpt::Error(None)),
        Ok(SockOpt::Error(None))
    );
    assert_eq!(a.connect(s, &there), Err(Errno::EISCONN));
    let l = b
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::NONBLOCK)
        .unwrap();
    bound(&b, l, "0.0.0.0:81");
    b.listen(l, 1).unwrap();
    assert_eq!(b.accept(l, OpenFlags::empty()), Err(Errno::EAGAIN));
}

/// Which sockets may have one port: the table of ip(7) and socket(7).
#[test]
fn who_shares_a_port() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let with = |proc: &Proc, fd, option: &SockOpt| {
        proc.setsockopt(fd, option).unwrap();
        fd
    };
    let (address_, port) = (SockOpt::ReuseAddr(true), SockOpt::ReusePort(true));
    let at = address("0.0.0.0:90");
    let l = with(&b, stream(&b), &address_);
    b.bind(l, &at).unwrap();
    assert_eq!(b.bind(stream(&b), &at), Err(Errno::EADDRINUSE));
    // Both may have it as long as none listens, and then one.
    let other = with(&b, stream(&b), &address_);
    assert_eq!(b.bind(other, &at), Ok(()));
    b.listen(l, 4).unwrap();
    assert_eq!(b.listen(other, 4), Err(Errno::EADDRINUSE));
    let third = with(&b, stream(&b), &address_);
    assert_eq!(b.bind(third, &at), Err(Errno::EADDRINUSE));
    // A server starts again while connections of the last one go on.
    let s = stream(&a);
    a.connect(s, &address("10.0.0.2:90")).unwrap();
    let (t, _) = b.accept(l, OpenFlags::empty()).unwrap();
    b.close(l).unwrap();
    b.close(other).unwrap();
    assert_eq!(b.bind(stream(&b), &at), Err(Errno::EADDRINUSE));
    let again = with(&b, stream(&b), &address_);
    assert_eq!((b.bind(again, &at), b.listen(again, 4)), (Ok(()), Ok(())));
    assert_eq!(b.write(t, b"still here"), Ok(10));
    // Those that share the port listen at once; it takes both.
    let at = address("0.0.0.0:91");
    let l = with(&b, stream(&b), &port);
    b.bind(l, &at).unwrap();
    b.listen(l, 64).unwrap();
    assert_eq!(b.bind(stream(&b), &at), Err(Errno::EADDRINUSE));
    assert_eq!(
        b.bind(with(&b, stream(&b), &address_), &at),
        Err(Errno::EADDRINUSE)
    );
    let m = with(&b, stream(&b), &port);
    assert_eq!((b.bind(m, &at), b.listen(m, 64)), (Ok(()), Ok(())));
    let mut clients = HashSet::new();
    for _ in 0..40 {
        let s = stream(&a);
        a.connect(s, &address("10.0.0.2:91")).unwrap();
        clients.insert(format!("{:?}", a.getsockname(s).unwrap()));
    }
    for l in [l, m] {
        let mut part = 0;
        while ready(&b, l, Ready::IN) == Ready::IN {
            let (_, from) = b.accept(l, OpenFlags::empty()).unwrap();
            assert!(clients.remove(&format!("{from:?}")));
            part += 1;
        }
        assert!((5..=35).contains(&part), "{part} of 40");
    }
    assert!(clients.is_empty());
    // Datagrams of a peer always go to the same one of several.
    let at = "10.0.0.2:92";
    let shares = [0; 3].map(|_| bound(&b, with(&b, datagram(&b), &port), at));
    assert_eq!(b.bind(datagram(&b), &address(at)), Err(Errno::EADDRINUSE));
    let mut got = [0; 3];
    for _ in 0..60 {
        let d = datagram(&a);
        for _ in 0..2 {
            let sent = a.sendto(d, b"x", MsgFlags::empty(), Some(&address(at)));
            assert_eq!(sent, Ok(1));
        }
        let mut buf = [0; 1];
        for (fd, got) in shares.iter().zip(&mut got) {
            let mut here = 0;
            while b.recvfrom(*fd, &mut buf, MsgFlags::DONTWAIT).is_ok() {
                here += 1;
            }
            assert!(here == 0 || here == 2);
            *got += here;
        }
    }
    assert!(
        got.iter().sum::<i32>() == 120 && got.iter().all(|n| *n >= 10),
        "{got:?}"
    );
}

/// `SO_LINGER`: closing waits until the peer has all, or the time is over.
#[test]
fn closing_waits_for_what_is_sent() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let linger = |time| SockOpt::Linger(Some(time));
    // The peer has all at once: the time does not count.
    let (s, _) = connection(&a, &b, 80);
    a.setsockopt(s, &linger(Duration::from_secs(60))).unwrap();
    a.write(s, b"all").unwrap();
    let began = Instant::now();
    a.close(s).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    // It reads late: closing goes on when it does.
    let (s, t) = connection(&a, &b, 81);
    a.setsockopt(s, &linger(Duration::from_secs(60))).unwrap();
    b.setsockopt(t, &SockOpt::ReceiveBuffer(4_096)).unwrap();
    a.setsockopt(s, &SockOpt::SendBuffer(1 << 20)).unwrap();
    let nap = Duration::from_millis(300);
    thread::scope(|scope| {
        a.write(s, &[1; 200_000]).unwrap();
        let began = Instant::now();
        let closing = scope.spawn(|| a.close(s));
        thread::sleep(nap);
        let mut buf = vec![0; 200_000];
        let (count, _) = b.recvfrom(t, &mut buf, MsgFlags::WAITALL).unwrap();
        assert_eq!(count, buf.len());
        assert_eq!(b.read(t, &mut buf), Ok(0));
        closing.join().unwrap().unwrap();
        assert!(began.elapsed() >= nap);
    });
    // It does not read: the time is over, and what is left goes on its way all the same.
    let (s, t) = connection(&a, &b, 82);
    a.setsockopt(s, &linger(nap)).unwrap();
    b.setsockopt(t, &SockOpt::ReceiveBuffer(4_096)).unwrap();
    a.setsockopt(s, &SockOpt::SendBuffer(1 << 20)).unwrap();
    a.write(s, &[2; 200_000]).unwrap();
    let began = Instant::now();
    a.close(s).unwrap();
    assert!(began.elapsed() >= nap);
    let mut buf = vec![0; 200_000];
    let (count, _) = b.recvfrom(t, &mut buf, MsgFlags::WAITALL).unwrap();
    assert!(count == buf.len() && buf.iter().all(|byte| *byte == 2));
}

/// Urgent data as POSIX has it: `POLLPRI`, a mark in the stream, one byte beside it.
#[test]
fn urgent_data() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = connection(&a, &b, 23);
    a.setsockopt(s, &SockOpt::NoDelay(true)).unwrap();
    let both = Ready::IN | Ready::PRI;
    assert_eq!(ready(&b, t, both), Ready::empty());
    a.write(s, b"before").unwrap();
    a.sendto(s, b"!", MsgFlags::OOB, None).unwrap();
    a.write(s, b"after").unwrap();
    assert_eq!(ready(&b, t, both), both);
    assert_eq!(b.at_mark(t), Ok(false));
    let mut buf = [0; 16];
    assert_eq!(b.read(t, &mut buf), Ok(6));
    assert_eq!(b.at_mark(t), Ok(true));
    let peek = MsgFlags::OOB | MsgFlags::PEEK;
    for flags in [peek, peek, MsgFlags::OOB] {
        assert_eq!(ready(&b, t, Ready::PRI), Ready::PRI);
        assert_eq!(b.recvfrom(t, &mut buf, flags).unwrap().0, 1);
        assert_eq!(buf[0], b'!');
    }
    assert_eq!(ready(&b, t, both), Ready::IN);
    let again = b.recvfrom(t, &mut buf, MsgFlags::OOB);
    assert_eq!(again, Err(Errno::EINVAL));
    assert_eq!(b.read(t, &mut buf), Ok(5));
    assert_eq!(&buf[..5], b"after");
    assert_eq!(b.at_mark(t), Ok(false));
    // In the stream.
    b.setsockopt(t, &SockOpt::OobInline(true)).unwrap();
    a.sendto(s, b"ab!", MsgFlags::OOB, None).unwrap();
    assert_eq!(ready(&b, t, both), both);
    assert_eq!(b.read(t, &mut buf), Ok(2));
    assert_eq!(b.at_mark(t), Ok(true));
    assert_eq!(b.read(t, &mut buf), Ok(1));
    assert_eq!((buf[0], ready(&b, t, both)), (b'!', Ready::empty()));
    let oob = b.recvfrom(t, &mut buf, MsgFlags::OOB);
    assert_eq!(oob, Err(Errno::EINVAL));
}

#[test]
fn looked_at_in_several_buffers() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = connection(&a, &b, 80);
    a.write(s, b"one two ").unwrap();
    a.write(s, &[b'x'; 5_000]).unwrap();
    let (mut first, mut second, mut third) = ([0; 4], [], vec![0; 6_000]);
    for flags in [MsgFlags::PEEK, MsgFlags::empty()] {
        let bufs = &mut [&mut first[..], &mut second, &mut third];
        assert_eq!(b.recvmsg(t, bufs, flags).unwrap().len, 5_008);
        assert_eq!((&first, &third[..4]), (b"one ", &b"two "[..]));
        assert!(third[4..5_004].iter().all(|byte| *byte == b'x'));
        first.fill(0);
        third.fill(0);
    }
}

/// Who names no host means this one.
#[test]
fn to_no_address() {
    let (one, _two) = pair(wire::Config::default());
    let a = one.init_proc();
    let l = listener(&a, "0.0.0.0:80");
    let s = stream(&a);
    a.connect(s, &address("0.0.0.0:80")).unwrap();
    assert_eq!(a.getpeername(s), Ok(address("10.0.0.1:80")));
    a.accept(l, OpenFlags::empty()).unwrap();
    let (d, e) = (bound(&a, datagram(&a), "0.0.0.0:9"), datagram(&a));
    let sent = a.sendto(e, b"x", MsgFlags::empty(), Some(&address("0.0.0.0:9")));
    assert_eq!(sent, Ok(1));
    let mut buf = [0; 1];
    let (_, from) = a.recvfrom(d, &mut buf, MsgFlags::empty()).unwrap();
    assert_eq!(from.unwrap().inet().unwrap().ip().to_string(), "10.0.0.1");
}

/// RFC 3542 section 6.2: a source in a message is one of this host's. `MSG_DONTROUTE`; no hop for none.
#[test]
fn what_a_message_may_ask_for() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let inet = one.inet().unwrap();
    inet.add_route(
        "192.0.2.0/24".parse().unwrap(),
        Some("10.0.0.2".parse().unwrap()),
        None,
        0,
    )
    .unwrap();
    inet.add_address("wire0", "10.0.0.3/24".parse().unwrap())
        .unwrap();
    let d = bound(&b, datagram(&b), "10.0.0.2:9");
    let s = datagram(&a);
    let to = address("10.0.0.2:9");
    let send = |to: &Address, control: &[Control], flags| {
        let message = Outgoing {
            to: Some(to),
            bufs: &[b"x"],
            control,
            flags,
        };
        a.sendmsg(s, &message)
    };
    let from = |address: &str| Control::PacketInfo {
        address: address.parse().unwrap(),
        interface: 0,
    };
    let none = MsgFlags::empty();
    assert_eq!(send(&to, &[from("10.0.0.3")], none), Ok(1));
    let mut buf = [0; 1];
    let (_, who) = b.recvfrom(d, &mut buf, none).unwrap();
    assert_eq!(who.unwrap().inet().unwrap().ip().to_string(), "10.0.0.3");
    for strange in ["10.0.0.9", "224.0.0.1", "10.0.0.255"] {
        let sent = send(&to, &[from(strange)], none);
        assert_eq!(sent, Err(Errno::EADDRNOTAVAIL), "{strange}");
    }
    assert_eq!(send(&to, &[Control::HopLimit(0)], none), Err(Errno::EINVAL));
    let far = address("192.0.2.1:9");
    for _ in 0..2 {
        assert_eq!(send(&to, &[], MsgFlags::DONTROUTE), Ok(1));
        assert_eq!(send(&far, &[], none), Ok(1));
        let sent = send(&far, &[], MsgFlags::DONTROUTE);
        assert_eq!(sent, Err(Errno::ENETUNREACH));
    }
}

/// A socket without a peer again has no address either that it did not ask for.
#[test]
fn disconnected() {
    let (one, two) = pair(wire::Config::default());
    let (a, _b) = (one.init_proc(), two.init_proc());
    let s = datagram(&a);
    let far = address("10.0.0.2:9");
    for peer in [&far, &address("0.0.0.0:9"), &far] {
        a.connect(s, peer).unwrap();
        assert!(a.getpeername(s).is_ok());
    }
    let port = a.getsockname(s).unwrap().inet().unwrap().port();
    a.connect(s, &Address::Unspecified).unwrap();
    assert_eq!(a.getpeername(s), Err(Errno::ENOTCONN));
    assert_eq!(a.getsockname(s), Ok(address(&format!("0.0.0.0:{port}"))));
    // One that was bound stays so.
    let s = bound(&a, datagram(&a), "10.0.0.1:7");
    a.connect(s, &far).unwrap();
    a.connect(s, &Address::Unspecified).unwrap();
    assert_eq!(a.getsockname(s), Ok(address("10.0.0.1:7")));
}

/// Two kernels on two cables, 10.0.0 and 10.0.1.
fn twice() -> (Kernel, Kernel) {
    let (one, two) = pair(wire::Config::default());
    let macs = [MacAddr([2, 0, 0, 0, 1, 1]), MacAddr([2, 0, 0, 0, 1, 2])];
    let ends = wire::pair(macs[0], macs[1], wire::Config::default());
    one.net().unwrap().attach("wire1", ends.0).unwrap();
    two.net().unwrap().attach("wire1", ends.1).unwrap();
    for (kernel, address) in [(&one, "10.0.1.1/24"), (&two, "10.0.1.2/24")] {
        let inet = kernel.inet().unwrap();
        inet.add_address("wire1", address.parse().unwrap()).unwrap();
    }
    (one, two)
}

/// `SO_BINDTODEVICE`: what came by another interface is not for this socket.
#[test]
fn bound_to_an_interface() {
    let (one, two) = twice();
    let (a, b) = (one.init_proc(), two.init_proc());
    let to_device = |fd, name: &str| {
        let option = SockOpt::BindToDevice(Some(name.to_string()));
        b.setsockopt(fd, &option).unwrap();
    };
    let sockets = ["wire0", "wire1"].map(|name| {
        let fd = datagram(&b);
        b.setsockopt(fd, &SockOpt::ReuseAddr(true)).unwrap();
        to_device(fd, name);
        bound(&b, fd, "0.0.0.0:67")
    });
    let s = datagram(&a);
    let mut buf = [0; 1];
    for _ in 0..3 {
        for (n, fd) in sockets.into_iter().enumerate() {
            let to = address(&format!("10.0.{n}.2:67"));
            a.sendto(s, &[n as u8], MsgFlags::empty(), Some(&to))
                .unwrap();
            b.recvfrom(fd, &mut buf, MsgFlags::DONTWAIT).unwrap();
            assert_eq!(buf, [n as u8]);
        }
    }
    // It counts from then on also for a peer that has been heard.
    to_device(sockets[0], "wire1");
    let to = address("10.0.0.2:67");
    a.connect(s, &to).unwrap();
    a.write(s, b"x").unwrap();
    for fd in sockets {
        let got = b.recvfrom(fd, &mut buf, MsgFlags::DONTWAIT);
        assert_eq!(got, Err(Errno::EAGAIN));
    }
    assert_eq!(a.write(s, b"x"), Err(Errno::ECONNREFUSED));
    // Connections.
    let l = stream(&b);
    to_device(l, "wire1");
    bound(&b, l, "0.0.0.0:80");
    b.listen(l, 4).unwrap();
    let refused = a.connect(stream(&a), &address("10.0.0.2:80"));
    assert_eq!(refused, Err(Errno::ECONNREFUSED));
    assert_eq!(a.connect(stream(&a), &address("10.0.1.2:80")), Ok(()));
    // Raw sockets.
    let r = b
        .socket(Domain::Inet, Kind::Raw, 254, OpenFlags::NONBLOCK)
        .unwrap();
    to_device(r, "wire1");
    let s = raw(&a);
    for (n, expected) in [(0, Err(Errno::EAGAIN)), (1, Ok(21))] {
        let to = address(&format!("10.0.{n}.2:0"));
        a.sendto(s, b"x", MsgFlags::empty(), Some(&to)).unwrap();
        assert_eq!(b.read(r, &mut [0; 30]), expected);
    }
}

/// RFC 1112 section 6.1: groups are one hop away unless more is asked for, and with none what is sent stays on the host.
#[test]
fn how_far_groups_are() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let group = "239.1.2.3".parse().unwrap();
    let to = address("239.1.2.3:9");
    let hear = |proc: &Proc, fd, port: &str| {
        bound(proc, fd, port);
        proc.setsockopt(fd, &SockOpt::AddMembership(group, 1))
            .unwrap();
        proc.setsockopt(fd, &SockOpt::ReceiveTtl(true)).unwrap();
        fd
    };
    for (kind, protocol) in [(Kind::Datagram, 0), (Kind::Raw, 254)] {
        let open = |proc: &Proc| {
            proc.socket(Domain::Inet, kind, protocol, OpenFlags::NONBLOCK)
                .unwrap()
        };
        let here = hear(&a, open(&a), "0.0.0.0:9");
        let there = hear(&b, open(&b), "0.0.0.0:9");
        let ttl = |proc: &Proc, fd| {
            let mut buf = [0; 40];
            let received = proc.recvmsg(fd, &mut [&mut buf], MsgFlags::empty()).ok()?;
            received
                .control
                .into_iter()
                .find_map(|control| match control {
                    Control::HopLimit(ttl) => Some(ttl),
                    _ => None,
                })
        };
        let s = open(&a);
        let send = || a.sendto(s, b"x", MsgFlags::empty(), Some(&to)).unwrap();
        send();
        assert_eq!((ttl(&a, here), ttl(&b, there)), (Some(1), Some(1)));
        a.setsockopt(s, &SockOpt::MulticastTtl(5)).unwrap();
        a.setsockopt(s, &SockOpt::MulticastLoop(false)).unwrap();
        send();
        assert_eq!((ttl(&a, here), ttl(&b, there)), (None, Some(5)));
        a.setsockopt(s, &SockOpt::MulticastTtl(0)).unwrap();
        a.setsockopt(s, &SockOpt::MulticastLoop(true)).unwrap();
        send();
        assert_eq!((ttl(&a, here), ttl(&b, there)), (Some(0), None));
        a.close(here).unwrap();
        b.close(there).unwrap();
    }
}
