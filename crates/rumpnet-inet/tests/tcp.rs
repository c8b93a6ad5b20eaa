//! Connections between two kernels over a cable.

mod common;

use common::{address, pair, stream};
use rumpkern::{Errno, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    SocketCalls as _,
    capture::{Tap, Way},
    interface::{Batch, Features},
    socket::{MsgFlags, Shutdown, SockOpt},
    wire,
};
use rumpnet_inet::KernelInet as _;
use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

fn listener(proc: &Proc, port: u16) -> u32 {
    let fd = stream(proc);
    proc.bind(fd, &address(&format!("0.0.0.0:{port}"))).unwrap();
    proc.listen(fd, 16).unwrap();
    fd
}

/// A connection from one kernel's process to the other's: client's and server's descriptors.
fn connection(a: &Proc, b: &Proc, port: u16) -> (u32, u32) {
    let l = listener(b, port);
    let s = stream(a);
    a.connect(s, &address(&format!("10.0.0.2:{port}"))).unwrap();
    let (t, from) = b.accept(l, OpenFlags::empty()).unwrap();
    assert_eq!(Ok(from), a.getsockname(s));
    b.close(l).unwrap();
    (s, t)
}

/// A page is fetched, in one thread.
#[test]
fn a_request_and_its_answer() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = connection(&a, &b, 80);
    assert_eq!(a.getpeername(s), Ok(address("10.0.0.2:80")));
    a.write(s, b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
    let mut buf = [0; 100];
    let count = b.read(t, &mut buf).unwrap();
    assert_eq!(&buf[..count], b"GET /index.html HTTP/1.0\r\n\r\n");
    b.write(t, b"HTTP/1.0 200 OK\r\n\r\n<html>").unwrap();
    b.close(t).unwrap();
    let count = a.read(s, &mut buf).unwrap();
    assert_eq!(&buf[..count], b"HTTP/1.0 200 OK\r\n\r\n<html>");
    assert_eq!(a.read(s, &mut buf), Ok(0));
    a.close(s).unwrap();
    one.shutdown().unwrap();
    two.shutdown().unwrap();
}

/// What IP says of fragments in the headers of segments.
#[derive(Default)]
struct Fragments(Mutex<Vec<[u8; 4]>>);

impl Tap for Fragments {
    fn frames(&self, _way: Way, frames: &mut Batch) {
        for frame in frames.iter() {
            let head = frame.head();
            if head[12..14] == [0x08, 0x00] && head[23] == 6 {
                self.0
                    .lock()
                    .unwrap()
                    .push(*head[18..].first_chunk().unwrap());
            }
        }
    }
}

/// RFC 6864, section 4.1: they are never fragmented, and tell nobody by an identification how many there were.
#[test]
fn segments_are_atomic_datagrams() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let seen = Arc::<Fragments>::default();
    let interface = one.inet().unwrap().interface("wire0").unwrap();
    interface.taps().add(seen.clone());
    let (s, t) = connection(&a, &b, 80);
    a.write(s, b"few").unwrap();
    assert_eq!(b.read(t, &mut [0; 100]), Ok(3));
    b.write(t, &[7; 5_000]).unwrap();
    a.close(s).unwrap();
    b.close(t).unwrap();
    let seen = seen.0.lock().unwrap();
    assert!(seen.len() > 6, "{seen:?}");
    assert!(
        seen.iter().all(|field| *field == [0, 0, 0x40, 0]),
        "{seen:?}"
    );
    one.shutdown().unwrap();
    two.shutdown().unwrap();
}

#[test]
fn megabytes_both_ways_over_every_kind_of_cable() {
    let kinds = [
        (1_500, Features::all()),
        (1_500, Features::empty()),
        (1_500, Features::CHECKSUM),
        (65_535, Features::all()),
        (576, Features::empty()),
    ];
    for (mtu, features) in kinds {
        let (one, two) = pair(wire::Config { mtu, features });
        let (a, b) = (one.init_proc(), two.init_proc());
        let (s, t) = connection(&a, &b, 5_001);
        let data: Vec<u8> = (0..3_000_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let send = |proc: &Proc, fd| {
            for part in data.chunks(70_001) {
                assert_eq!(proc.write(fd, part), Ok(part.len()));
            }
            proc.shutdown(fd, Shutdown::Write).unwrap();
        };
        let receive = |proc: &Proc, fd| {
            let (mut got, mut buf) = (Vec::new(), vec![0; 50_000]);
            loop {
                match proc.read(fd, &mut buf).unwrap() {
                    0 => break,
                    count => got.extend_from_slice(&buf[..count]),
                }
            }
            assert!(got == data);
        };
        thread::scope(|scope| {
            scope.spawn(|| send(&a, s));
            scope.spawn(|| send(&b, t));
            scope.spawn(|| receive(&a, s));
            receive(&b, t);
        });
        one.shutdown().unwrap();
        two.shutdown().unwrap();
    }
}

#[test]
fn refused_unreachable_and_reset() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let s = stream(&a);
    assert_eq!(
        a.connect(s, &address("10.0.0.2:81")),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(
        a.connect(s, &address("192.0.2.1:81")),
        Err(Errno::ENETUNREACH)
    );
    assert_eq!(a.write(s, b"x"), Err(Errno::ENOTCONN));
    let (s, t) = connection(&a, &b, 82);
    assert_eq!(a.connect(s, &address("10.0.0.2:82")), Err(Errno::EISCONN));
    b.setsockopt(t, &SockOpt::Linger(Some(Duration::ZERO)))
        .unwrap();
    b.close(t).unwrap();
    let mut buf = [0; 4];
    assert_eq!(a.read(s, &mut buf), Err(Errno::ECONNRESET));
    assert_eq!(a.read(s, &mut buf), Ok(0));
    assert_eq!(a.write(s, b"x"), Err(Errno::EPIPE));
    // Data that nobody reads: the closing side resets.
    let (s, t) = connection(&a, &b, 83);
    a.write(s, b"unread").unwrap();
    b.close(t).unwrap();
    assert_eq!(a.read(s, &mut buf), Err(Errno::ECONNRESET));
}

#[test]
fn half_closed() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (s, t) = connection(&a, &b, 7);
    a.write(s, b"question").unwrap();
    a.shutdown(s, Shutdown::Write).unwrap();
    assert_eq!(a.write(s, b"x"), Err(Errno::EPIPE));
    let mut buf = [0; 16];
    assert_eq!(b.read(t, &mut buf), Ok(8));
    assert_eq!(b.read(t, &mut buf), Ok(0));
    b.write(t, b"answer").unwrap();
    assert_eq!(a.read(s, &mut buf), Ok(6));
    b.close(t).unwrap();
    assert_eq!(a.read(s, &mut buf), Ok(0));
}

#[test]
fn without_waiting() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let l = listener(&b, 9);
    let (s, t) = connection(&a, &b, 10);
    let set = |proc: &Proc, fd| {
        let open = proc.fd_file(fd).unwrap();
        open.set_flags(open.flags() | OpenFlags::NONBLOCK);
    };
    set(&b, l);
    assert_eq!(b.accept(l, OpenFlags::empty()), Err(Errno::EAGAIN));
    set(&a, s);
    assert_eq!(a.read(s, &mut [0]), Err(Errno::EAGAIN));
    // Until nothing goes any more.
    let part = vec![7; 100_000];
    let mut total = 0;
    loop {
        match a.write(s, &part) {
            Ok(count) => total += count,
            Err(error) => break assert_eq!(error, Errno::EAGAIN),
        }
    }
    assert!(total > 100_000, "{total}");
    let wait = |proc: &Proc, fd, events, ms| {
        let mut fds = [PollFd {
            fd,
            events,
            ready: Ready::empty(),
        }];
        proc.poll(&mut fds, Some(Duration::from_millis(ms)))
            .unwrap();
        fds[0].ready
    };
    assert_eq!(wait(&a, s, Ready::OUT, 0), Ready::empty());
    let mut buf = vec![0; 65_536];
    while total > 0 {
        total -= b.read(t, &mut buf).unwrap();
    }
    assert_eq!(wait(&a, s, Ready::OUT, 1_000), Ready::OUT);
    assert_eq!(wait(&b, l, Ready::IN, 0), Ready::empty());
    let u = stream(&a);
    a.connect(u, &address("10.0.0.2:9")).unwrap();
    assert_eq!(wait(&b, l, Ready::IN, 1_000), Ready::IN);
}

#[test]
fn the_backlog_is_a_limit_and_closing_the_listener_resets() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let l = stream(&b);
    b.bind(l, &address("0.0.0.0:11")).unwrap();
    b.listen(l, 2).unwrap();
    let (s, t, u) = (stream(&a), stream(&a), stream(&a));
    a.connect(s, &address("10.0.0.2:11")).unwrap();
    a.connect(t, &address("10.0.0.2:11")).unwrap();
    a.set_send_timeout(u, Some(Duration::from_millis(50)))
        .unwrap();
    assert_eq!(
        a.connect(u, &address("10.0.0.2:11")),
        Err(Errno::EINPROGRESS)
    );
    assert_eq!(a.connect(u, &address("10.0.0.2:11")), Err(Errno::EALREADY));
    b.close(l).unwrap();
    assert_eq!(a.read(s, &mut [0]), Err(Errno::ECONNRESET));
    assert_eq!(two.inet_sockets(), 0);
}

/// Nothing is left of connections that are over, but those that wait for old segments.
#[test]
fn ten_thousand_short_connections() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let l = listener(&b, 12);
    for n in 0..10_000_u32 {
        let s = stream(&a);
        a.connect(s, &address("10.0.0.2:12")).unwrap();
        let (t, _) = b.accept(l, OpenFlags::empty()).unwrap();
        a.write(s, &n.to_le_bytes()).unwrap();
        let mut buf = [0; 4];
        assert_eq!(b.read(t, &mut buf), Ok(4));
        assert_eq!(buf, n.to_le_bytes());
        // The client closes first: it waits for old segments, and takes other ports.
        a.close(s).unwrap();
        assert_eq!(b.read(t, &mut buf), Ok(0));
        b.close(t).unwrap();
    }
    assert_eq!((one.inet_sockets(), two.inet_sockets()), (10_000, 1));
}

trait Sockets {
    fn inet_sockets(&self) -> usize;
}

impl Sockets for rumpkern::Kernel {
    fn inet_sockets(&self) -> usize {
        use rumpnet_inet::KernelInet as _;
        self.inet().unwrap().tcp_sockets().len()
    }
}

/// A port whose connection has just been closed by the server is taken again at once (RFC 6191).
#[test]
fn the_same_port_again() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let l = listener(&b, 13);
    for _ in 0..100 {
        let s = stream(&a);
        // The last acknowledgment may still wait for the thread that has the stack.
        while a.bind(s, &address("10.0.0.1:2000")) == Err(Errno::EADDRINUSE) {
            thread::yield_now();
        }
        a.connect(s, &address("10.0.0.2:13")).unwrap();
        let (t, _) = b.accept(l, OpenFlags::empty()).unwrap();
        b.close(t).unwrap();
        assert_eq!(a.read(s, &mut [0]), Ok(0));
        a.close(s).unwrap();
    }
    while (one.inet_sockets(), two.inet_sockets()) != (0, 2) {
        thread::yield_now();
    }
}

/// `SO_RCVLOWAT` (POSIX): fewer bytes neither end a wait nor make a socket readable, unless no more will come.
#[test]
fn a_low_water_mark() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let (near, far) = connection(&a, &b, 80);
    // What is written goes at once, and waits for no acknowledgment of what went before.
    a.setsockopt(near, &SockOpt::NoDelay(true)).unwrap();
    let set = |bytes| b.setsockopt(far, &SockOpt::ReceiveLowat(bytes)).unwrap();
    let lowat = || b.getsockopt(far, &SockOpt::ReceiveLowat(0));
    assert_eq!(lowat(), Ok(SockOpt::ReceiveLowat(1)));
    // More than a buffer can have is cut to what it can.
    set(usize::MAX);
    let Ok(SockOpt::ReceiveLowat(most)) = lowat() else {
        panic!();
    };
    assert!((1_000..1 << 30).contains(&most), "{most}");
    set(10);
    let readable = |time| {
        let mut fds = [PollFd {
            fd: far,
            events: Ready::IN,
            ready: Ready::empty(),
        }];
        b.poll(&mut fds, Some(time)).unwrap() == 1
    };
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(10));
    let mut buf = [0; 100];
    a.write(near, b"123456789").unwrap();
    assert!(!readable(short));
    a.write(near, b"0").unwrap();
    assert!(readable(long));
    assert_eq!(b.read(far, &mut buf), Ok(10));
    // A read that does not wait takes what there is; one that waits does so for ten bytes, or as many as it has room for.
    a.write(near, b"abc").unwrap();
    assert!(!readable(short));
    let now = b.recvfrom(far, &mut buf, MsgFlags::DONTWAIT);
    assert_eq!(now.unwrap().0, 3);
    let writer = a.clone();
    let writing = thread::spawn(move || {
        for part in [b"1234", b"5678", b"90ab"] {
            writer.write(near, part).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(b.read(far, &mut buf), Ok(12));
    writing.join().unwrap();
    a.write(near, b"xyz").unwrap();
    assert_eq!(b.read(far, &mut buf[..3]), Ok(3));
    // No more will come: what there is is enough.
    a.write(near, b"end").unwrap();
    a.close(near).unwrap();
    assert!(readable(long));
    assert_eq!(b.read(far, &mut buf), Ok(3));
    assert_eq!(b.read(far, &mut buf), Ok(0));
}
