//! TCP fast open (RFC 7413) by the calls on sockets, and what is told of connections.

mod common;

use common::{address, pair};
use rumpkern::{Errno, OpenFlags, Proc};
use rumpnet::{
    KernelNet as _, SocketCalls as _,
    capture::{Tap, Way},
    interface::Batch,
    socket::{Domain, Kind, MsgFlags, Shutdown, SockOpt},
    wire,
};
use rumpnet_inet::{KernelInet as _, tcp::State};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes of payload that SYNs of clients have had.
#[derive(Default)]
struct Syns(AtomicUsize);

impl Tap for Syns {
    fn frames(&self, way: Way, frames: &mut Batch) {
        for frame in frames.iter().filter(|_| way == Way::Out) {
            let mut head = [0; 48];
            frame.copy_to(0, &mut head);
            if head[12..14] == [8, 0] && head[23] == 6 && head[47] & 0x12 == 2 {
                let headers = 14 + 20 + usize::from(head[46] >> 4) * 4;
                self.0.fetch_add(frame.len() - headers, Ordering::SeqCst);
            }
        }
    }
}

fn stream(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap()
}

fn listener(proc: &Proc, at: &str, fast: u32) -> u32 {
    let fd = stream(proc);
    proc.setsockopt(fd, &SockOpt::FastOpen(fast)).unwrap();
    proc.bind(fd, &address(at)).unwrap();
    proc.listen(fd, 8).unwrap();
    fd
}

fn read(proc: &Proc, fd: u32) -> Vec<u8> {
    let mut buf = [0; 100];
    let count = proc.read(fd, &mut buf).unwrap();
    buf[..count].to_vec()
}

#[test]
fn data_goes_with_the_second_syn() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let syns = Arc::new(Syns::default());
    let interface = one.net().unwrap().interface("wire0").unwrap();
    interface.taps().add(syns.clone());
    let server = listener(&b, "10.0.0.2:7", 5);
    let mut before = 0;
    for (n, expected) in [0, 7, 7].into_iter().enumerate() {
        let fd = stream(&a);
        let to = address("10.0.0.2:7");
        assert_eq!(
            a.sendto(fd, b"request", MsgFlags::FASTOPEN, Some(&to)),
            Ok(7)
        );
        let (end, _) = b.accept(server, OpenFlags::empty()).unwrap();
        assert_eq!(read(&b, end), b"request", "{n}");
        b.write(end, b"answer").unwrap();
        b.shutdown(end, Shutdown::Write).unwrap();
        assert_eq!(read(&a, fd), b"answer");
        assert_eq!(read(&a, fd), b"");
        let now = syns.0.load(Ordering::SeqCst);
        assert_eq!(now - before, expected, "{n}");
        before = now;
        a.close(fd).unwrap();
        b.close(end).unwrap();
    }
    // A server that takes none, and one that has as many as it takes: the data comes all the same.
    let plain = listener(&b, "10.0.0.2:8", 0);
    let fd = stream(&a);
    let to = address("10.0.0.2:8");
    assert_eq!(
        a.sendto(fd, b"request", MsgFlags::FASTOPEN, Some(&to)),
        Ok(7)
    );
    assert!(syns.0.load(Ordering::SeqCst) > before);
    let (end, _) = b.accept(plain, OpenFlags::empty()).unwrap();
    assert_eq!(read(&b, end), b"request");
    // A server's cookie is forgotten: the next SYN asks for one.
    one.inet().unwrap().forget_fast_open();
    let fd = a
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::NONBLOCK)
        .unwrap();
    let sent = a.sendto(fd, b"request", MsgFlags::FASTOPEN, Some(&to));
    assert_eq!(sent, Err(Errno::EINPROGRESS));
    let nobody = stream(&a);
    let to = address("10.0.0.2:9");
    let sent = a.sendto(nobody, b"request", MsgFlags::FASTOPEN, Some(&to));
    assert_eq!(sent, Err(Errno::ECONNREFUSED));
    one.shutdown().unwrap();
    two.shutdown().unwrap();
}

/// TCP_MAXSEG and TCP_INFO.
#[test]
fn what_is_told_of_a_connection() {
    let (one, two) = pair(wire::Config::default());
    let (a, b) = (one.init_proc(), two.init_proc());
    let server = listener(&b, "10.0.0.2:7", 0);
    let fd = stream(&a);
    for bad in [0, 87, 40_000] {
        let set = a.setsockopt(fd, &SockOpt::MaxSegment(bad));
        assert_eq!(set, Err(Errno::EINVAL));
    }
    a.setsockopt(fd, &SockOpt::MaxSegment(512)).unwrap();
    let (_, socket) = a.fd_socket(fd).unwrap();
    assert_eq!(rumpnet_inet::tcp_info(&socket), Err(Errno::ENOTCONN));
    a.connect(fd, &address("10.0.0.2:7")).unwrap();
    let (end, _) = b.accept(server, OpenFlags::empty()).unwrap();
    a.write(fd, &[7; 5_000]).unwrap();
    let mut buf = [0; 5_000];
    let got = b.recvmsg(end, &mut [&mut buf], MsgFlags::WAITALL).unwrap();
    assert_eq!(got.len, 5_000);
    // With timestamps, which are 12 bytes of it.
    let info = rumpnet_inet::tcp_info(&socket).unwrap();
    assert_eq!(
        (info.state, info.send_mss, info.sent_bytes),
        (State::Established, 500, 5_000)
    );
    let (_, other) = b.fd_socket(end).unwrap();
    let info = rumpnet_inet::tcp_info(&other).unwrap();
    assert_eq!((info.send_mss, info.received_bytes), (500, 5_000));
    assert_eq!(
        a.getsockopt(fd, &SockOpt::MaxSegment(0)),
        Ok(SockOpt::MaxSegment(500))
    );
    let set = a.setsockopt(fd, &SockOpt::MaxSegment(600));
    assert_eq!(set, Err(Errno::EINVAL));
    let udp = a
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    let (_, socket) = a.fd_socket(udp).unwrap();
    assert_eq!(rumpnet_inet::tcp_info(&socket), Err(Errno::ENOPROTOOPT));
    one.shutdown().unwrap();
    two.shutdown().unwrap();
}
