//! Two stacks in one process, and the host's: what programs do with `std::net`.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    thread,
    time::{Duration, Instant},
};
use uknet::{Errno, Interface, Net, Resolv, TcpListener, TcpStream, UdpSocket};

fn two() -> (Net, Net) {
    let (one, two) = uknet::cable();
    let host = |device, n: u8| {
        let mut resolv = Resolv::default();
        resolv
            .hosts
            .add("server".parse().unwrap(), [10, 0, 0, 1].into());
        Net::builder()
            .interface(
                Interface::device("wire0", device)
                    .address(format!("10.0.0.{n}/24").parse().unwrap()),
            )
            .resolv(resolv)
            .boot()
            .unwrap()
    };
    (host(one, 1), host(two, 2))
}

fn data(len: u32) -> Vec<u8> {
    (0..len)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

#[test]
fn streams_by_name_and_both_ways() {
    let (server, client) = two();
    let listener = TcpListener::bind(&server, "10.0.0.1:7").unwrap();
    let echo = thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut writer = stream.try_clone().unwrap();
            assert!(io::copy(&mut stream, &mut writer).unwrap() > 0);
            writer.shutdown(Shutdown::Write).unwrap();
        }
    });
    for to in ["server:7", "10.0.0.1:7"] {
        let stream = TcpStream::connect(&client, to).unwrap();
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap());
        stream.set_ttl(9).unwrap();
        assert_eq!(stream.ttl().unwrap(), 9);
        assert_eq!(
            stream.set_ttl(256).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            stream.peer_addr().unwrap(),
            "10.0.0.1:7".parse::<SocketAddr>().unwrap()
        );
        let data = data(3_000_000);
        thread::scope(|scope| {
            scope.spawn(|| {
                (&stream).write_all(&data).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            let mut first = [0; 2];
            while stream.peek(&mut first).unwrap() < 2 {}
            assert_eq!(first, data[..2]);
            let mut back = Vec::new();
            (&stream).read_to_end(&mut back).unwrap();
            assert!(back == data);
        });
    }
    echo.join().unwrap();
    assert!(client.settle(Duration::from_secs(5)));
}

#[test]
fn what_would_wait_and_what_fails() {
    let (server, client) = two();
    let listener = TcpListener::bind(&server, ("10.0.0.1", 7)).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut stream = TcpStream::connect(&client, "10.0.0.1:7").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert_eq!(
        stream.read_timeout().unwrap(),
        Some(Duration::from_millis(50))
    );
    let start = Instant::now();
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert!(start.elapsed() >= Duration::from_millis(50));
    let zero = stream.set_write_timeout(Some(Duration::ZERO));
    assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
    let refused = TcpStream::connect(&client, "10.0.0.1:8").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let absent = "10.0.0.9:7".parse().unwrap();
    let late = TcpStream::connect_timeout(&client, &absent, Duration::from_millis(50));
    assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
    let nowhere = TcpStream::connect(&client, "192.0.2.1:7").unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NetworkUnreachable);
    let unknown = TcpStream::connect(&client, "nobody:7").unwrap_err();
    assert_eq!(unknown.to_string(), "nobody: no name server is known");
    let taken = TcpListener::bind(&server, "10.0.0.1:7").unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    for bad in ["10.0.0.1", "10.0.0.1:x", "10.0.0.1:70000"] {
        let error = TcpStream::connect(&client, bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
    }
}

/// A handle needs no descriptor, but may have one, and ends with its stack.
#[test]
fn handles_and_descriptors() {
    let (server, client) = two();
    let listener = TcpListener::bind(&server, "10.0.0.1:7").unwrap();
    let mut near = TcpStream::connect(&client, "10.0.0.1:7").unwrap();
    let (mut far, _) = listener.accept().unwrap();
    assert!(!format!("{far:?}").contains("fd"));
    let fd = far.fd().unwrap();
    assert_eq!(far.fd().unwrap(), fd);
    assert!(format!("{far:?}").contains(&format!("fd: {fd}")));
    // Both are the same open file.
    far.set_nonblocking(true).unwrap();
    let proc = server.proc().clone();
    assert_eq!(proc.read(fd, &mut [0]), Err(Errno::EAGAIN));
    near.write_all(b"both").unwrap();
    let mut byte = [0];
    assert_eq!((proc.read(fd, &mut byte), &byte), (Ok(1), b"b"));
    assert_eq!((far.read(&mut byte).unwrap(), &byte), (1, b"o"));
    let again = far.try_clone().unwrap();
    drop(far);
    assert_eq!(proc.read(fd, &mut byte), Ok(1));
    drop(again);
    assert_eq!(proc.read(fd, &mut byte), Err(Errno::EBADF));
    // It was closed with a byte that nobody had read (RFC 1122 section 4.2.2.13).
    assert_eq!(
        near.read(&mut byte).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );

    let mut near = TcpStream::connect(&client, "10.0.0.1:7").unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let waits = thread::spawn(move || listener.accept().map(drop));
    server.kernel().shutdown().unwrap();
    assert_eq!(near.read(&mut byte).unwrap(), 0);
    let closed = Some(Errno::EBADF.number());
    assert_eq!(far.read(&mut byte).unwrap_err().raw_os_error(), closed);
    assert_eq!(far.fd().unwrap_err().raw_os_error(), closed);
    assert_eq!(
        far.set_nonblocking(true).unwrap_err().raw_os_error(),
        closed
    );
    assert!(waits.join().unwrap().is_err());
}

/// Who waits for data is not forgotten while others on the same socket wait for room again and again.
#[test]
fn readers_and_writers_wait_for_one_socket() {
    const LEN: usize = 20_000_000;
    let (server, client) = two();
    let listener = TcpListener::bind(&server, "10.0.0.1:7").unwrap();
    let near = TcpStream::connect(&client, "10.0.0.1:7").unwrap();
    let (mut far, _) = listener.accept().unwrap();
    thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| (&near).read(&mut [0])));
        let writers =
            [(); 2].map(|()| scope.spawn(|| (&near).write_all(&data(1_000).repeat(LEN / 2_000))));
        let mut buf = vec![0; LEN];
        far.read_exact(&mut buf).unwrap();
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
        for _ in &readers {
            thread::sleep(Duration::from_millis(20));
            far.write_all(b"x").unwrap();
        }
        assert_eq!(
            readers.map(|reader| reader.join().unwrap().unwrap()),
            [1, 1]
        );
    });
}

#[test]
fn datagrams() {
    let (server, client) = two();
    let one = UdpSocket::bind(&server, "0.0.0.0:9").unwrap();
    let two = UdpSocket::bind(&client, "0.0.0.0:0").unwrap();
    assert_eq!(two.send(b"x").unwrap_err().raw_os_error(), Some(89));
    two.connect("server:9").unwrap();
    for len in [0, 1, 1_472, 9_000, 65_507] {
        let data = data(len);
        assert_eq!(two.send(&data).unwrap(), data.len());
        let mut buf = vec![0; 70_000];
        assert_eq!(one.peek_from(&mut buf).unwrap().0, data.len());
        let (count, from) = one.recv_from(&mut buf).unwrap();
        assert!(buf[..count] == data);
        assert_eq!(from, two.local_addr().unwrap());
        one.send_to(&buf[..count], from).unwrap();
        assert_eq!(two.recv(&mut buf).unwrap(), data.len());
    }
    let all = two.send_to(b"x", "10.0.0.255:9").unwrap_err();
    assert_eq!(all.kind(), ErrorKind::PermissionDenied);
    one.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert_eq!(
        one.recv(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn ipv6_and_both_families() {
    let (one, two) = uknet::cable();
    let host = |device, address: &str| {
        let interface = Interface::device("wire0", device).address(address.parse().unwrap());
        Net::builder().interface(interface).boot().unwrap()
    };
    let (server, client) = (host(one, "fd00::1/64"), host(two, "fd00::2/64"));
    let listener = TcpListener::bind(&server, "[::]:7").unwrap();
    let mut stream = TcpStream::connect(&client, "[fd00::1]:7").unwrap();
    let (mut other, from) = listener.accept().unwrap();
    assert_eq!(from, stream.local_addr().unwrap());
    stream.write_all(b"six").unwrap();
    let mut three = [0; 3];
    other.read_exact(&mut three).unwrap();
    assert_eq!(&three, b"six");
    let mut local = TcpStream::connect(&server, "localhost:7").unwrap();
    local.write_all(b"x").unwrap();
    let (_, from) = listener.accept().unwrap();
    assert!(from.ip().is_loopback());
}

/// The host's sockets on one side, the standard library on the other.
#[test]
fn the_hosts_sockets() {
    let net = Net::host().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let data = data(1_000_000);
    let sent = data.clone();
    let sender = thread::spawn(move || {
        let mut stream = TcpStream::connect(&net, to).unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert!(all == data);
    stream.write_all(b"done").unwrap();
    drop(stream);
    assert_eq!(sender.join().unwrap(), "done");
}
