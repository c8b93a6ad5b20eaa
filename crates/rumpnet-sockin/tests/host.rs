//! A kernel's sockets against those of the standard library.

use rumpkern::{Errno, Kernel, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    Address, SocketCalls as _,
    socket::{Domain, Incoming, Kind, MsgFlags, Outgoing, Shutdown, SockOpt},
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

fn kernel() -> Kernel {
    Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_sockin::component())
        .boot()
        .unwrap()
}

fn inet(address: Address) -> SocketAddr {
    address.inet().unwrap()
}

fn socket(proc: &Proc, kind: Kind) -> u32 {
    proc.socket(Domain::Inet, kind, 0, OpenFlags::empty())
        .unwrap()
}

#[test]
fn a_client_and_a_server_of_the_host() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let echo = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let fd = socket(&proc, Kind::Stream);
    proc.connect(fd, &address.into()).unwrap();
    assert_eq!(proc.getpeername(fd), Ok(address.into()));
    proc.setsockopt(fd, &SockOpt::NoDelay(true)).unwrap();
    assert_eq!(
        proc.getsockopt(fd, &SockOpt::NoDelay(false)),
        Ok(SockOpt::NoDelay(true))
    );
    let data: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    assert_eq!(proc.write(fd, &data), Ok(data.len()));
    proc.shutdown(fd, Shutdown::Write).unwrap();
    let mut buf = vec![0; data.len()];
    let got = proc
        .recvmsg(fd, &mut [&mut buf], MsgFlags::WAITALL)
        .unwrap();
    assert!(got.len == data.len() && buf == data);
    assert_eq!(proc.read(fd, &mut buf), Ok(0));
    echo.join().unwrap();
    kernel.shutdown().unwrap();
}

#[test]
fn a_server_of_the_kernel_and_poll() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let fd = socket(&proc, Kind::Stream);
    proc.bind(fd, &"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    proc.listen(fd, 4).unwrap();
    let address = inet(proc.getsockname(fd).unwrap());
    let poll = |fd, events, ms| {
        let mut fds = [PollFd {
            fd,
            events,
            ready: Ready::empty(),
        }];
        proc.poll(&mut fds, Some(Duration::from_millis(ms)))
            .unwrap();
        fds[0].ready
    };
    assert_eq!(poll(fd, Ready::IN, 0), Ready::empty());
    let client = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        let mut stream = TcpStream::connect(address).unwrap();
        thread::sleep(Duration::from_millis(50));
        stream.write_all(b"late").unwrap();
        stream
    });
    // Told by the thread that watches: long before the time is over.
    assert_eq!(poll(fd, Ready::IN, 20_000), Ready::IN);
    let (accepted, from) = proc.accept(fd, OpenFlags::empty()).unwrap();
    assert_eq!(poll(accepted, Ready::IN, 20_000), Ready::IN);
    let mut buf = [0; 8];
    assert_eq!(proc.read(accepted, &mut buf), Ok(4));
    let stream = client.join().unwrap();
    assert_eq!(inet(from), stream.local_addr().unwrap());
    proc.set_receive_timeout(accepted, Some(Duration::from_millis(20)))
        .unwrap();
    assert_eq!(proc.read(accepted, &mut buf), Err(Errno::EAGAIN));
    drop(stream);
    assert_eq!(proc.read(accepted, &mut buf), Ok(0));
}

#[test]
fn datagrams_and_errors() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let fd = socket(&proc, Kind::Datagram);
    let to = peer.local_addr().unwrap().into();
    proc.sendto(fd, b"there", MsgFlags::empty(), Some(&to))
        .unwrap();
    let mut buf = [0; 8];
    let (count, from) = peer.recv_from(&mut buf).unwrap();
    peer.send_to(&buf[..count], from).unwrap();
    let got = proc.recvfrom(fd, &mut buf, MsgFlags::empty());
    assert_eq!(got, Ok((5, Some(to))));
    assert_eq!(
        proc.recvfrom(fd, &mut buf, MsgFlags::DONTWAIT),
        Err(Errno::EAGAIN)
    );
    // A port that nobody has: it was just given back.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let stream = socket(&proc, Kind::Stream);
    assert_eq!(proc.connect(stream, &gone.into()), Err(Errno::ECONNREFUSED));
    let six = proc.socket(Domain::Inet6, Kind::Stream, 0, OpenFlags::empty());
    assert!(six.is_ok() || six == Err(Errno::EAFNOSUPPORT));
    let local = proc.socket(Domain::Local, Kind::Stream, 0, OpenFlags::empty());
    assert_eq!(local, Err(Errno::EAFNOSUPPORT));
}

/// Many datagrams, to several hosts, in one call: they come in order, and one that cannot be sent ends it.
#[test]
fn many_datagrams() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let peers = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = peers
        .each_ref()
        .map(|peer| peer.local_addr().unwrap().into());
    let fd = socket(&proc, Kind::Datagram);
    let data: Vec<[u8; 3]> = (0..10).map(|n| [n, n, n]).collect();
    let bufs: Vec<[&[u8]; 2]> = data.iter().map(|data| [&data[..1], &data[1..]]).collect();
    let large = vec![0; 70_000];
    let too_large: [&[u8]; 1] = [&large];
    let message = |bufs, n: usize| Outgoing {
        to: Some(&to[n % 2]),
        bufs,
        control: &[],
        flags: MsgFlags::empty(),
    };
    let all = bufs.iter().enumerate();
    let mut messages: Vec<Outgoing<'_>> = all.map(|(n, bufs)| message(bufs, n)).collect();
    let sent = proc.sendmmsg(fd, &messages).unwrap();
    assert_eq!((sent.messages, sent.last), (10, 3));
    let mut buf = [0; 8];
    for n in 0..10 {
        let count = peers[n % 2].recv(&mut buf).unwrap();
        assert_eq!((count, usize::from(buf[0])), (3, n));
    }
    messages[4] = message(&too_large, 4);
    let sent = proc.sendmmsg(fd, &messages).unwrap();
    assert_eq!(sent.messages, 4);
    let error = proc.sendmmsg(fd, &messages[4..]);
    assert_eq!(error.map(|sent| sent.messages), Err(Errno::EMSGSIZE));
}

/// Many datagrams are received in one call: as many as there are, whole or cut, with their senders; of those that are waited for the rest comes
/// later.
#[test]
fn many_datagrams_come() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let peers = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let fd = socket(&proc, Kind::Datagram);
    let any = "127.0.0.1:0".parse::<SocketAddr>().unwrap();
    proc.bind(fd, &any.into()).unwrap();
    let here = inet(proc.getsockname(fd).unwrap());
    let send = |n: usize, text: &[u8]| peers[n % 2].send_to(text, here).unwrap();
    let receive = |count: usize, flags: MsgFlags| {
        let mut bytes = vec![[0_u8; 5]; count];
        let mut bufs: Vec<[&mut [u8]; 2]> = bytes
            .iter_mut()
            .map(|bytes| {
                let (one, two) = bytes.split_at_mut(2);
                [one, two]
            })
            .collect();
        let mut rooms: Vec<Incoming<'_, '_>> =
            bufs.iter_mut().map(|bufs| Incoming::new(bufs)).collect();
        let got = proc.recvmmsg(fd, &mut rooms, flags, None)?;
        let received: Vec<_> = rooms.drain(..).map(|room| room.received).collect();
        Ok::<_, Errno>((got, received, bytes))
    };
    let now = MsgFlags::DONTWAIT;
    assert_eq!(receive(3, now).err(), Some(Errno::EAGAIN));
    for (n, text) in [&b"one"[..], b"", b"seventh"].iter().enumerate() {
        send(n, text);
    }
    let (got, received, bytes) = receive(5, now).unwrap();
    assert_eq!((got, &bytes[0][..3], &bytes[2]), (3, &b"one"[..], b"seven"));
    for (n, (len, cut)) in [(3, false), (0, false), (5, true)].into_iter().enumerate() {
        let one = &received[n];
        let from = Some(peers[n % 2].local_addr().unwrap().into());
        assert_eq!((one.len, one.from.clone()), (len, from));
        assert_eq!(one.flags.contains(MsgFlags::TRUNC), cut);
    }
    // All that are asked for.
    for n in 0..300 {
        send(n, &[7]);
        if n % 100 == 99 {
            assert_eq!(receive(100, MsgFlags::empty()).unwrap().0, 100);
        }
    }
    // The first one is waited for, the others are not.
    let late = thread::scope(|scope| {
        let wait = scope.spawn(|| receive(2, MsgFlags::WAITFORONE).unwrap().0);
        send(0, b"late");
        wait.join().unwrap()
    });
    assert_eq!(late, 1);
}

/// `sockatmark`: as the host has it.
#[test]
fn the_urgent_mark() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let l = socket(&proc, Kind::Stream);
    let any = "127.0.0.1:0".parse::<SocketAddr>().unwrap();
    proc.bind(l, &any.into()).unwrap();
    proc.listen(l, 1).unwrap();
    let s = socket(&proc, Kind::Stream);
    proc.connect(s, &proc.getsockname(l).unwrap()).unwrap();
    let t = proc.accept(l, OpenFlags::empty()).unwrap().0;
    assert_eq!(proc.at_mark(t), Ok(false));
    proc.sendto(s, b"abc", MsgFlags::empty(), None).unwrap();
    proc.sendto(s, b"!", MsgFlags::OOB, None).unwrap();
    let mut buf = [0; 8];
    assert_eq!(proc.read(t, &mut buf), Ok(3));
    assert_eq!(proc.at_mark(t), Ok(true));
    let datagrams = socket(&proc, Kind::Datagram);
    assert!(proc.at_mark(datagrams).is_err());
}

/// A kernel has the host's sockets or a stack of its own.
#[test]
fn not_beside_a_stack() {
    let booted = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_sockin::component())
        .component(rumpnet_inet::component())
        .boot();
    assert_eq!(booted.err(), Some(Errno::EEXIST));
}
