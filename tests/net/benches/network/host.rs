//! The host's loopback interface, with the standard library's sockets.

use crate::{
    BATCH, DATAGRAM, PART,
    report::{bits, rate},
};
use std::{
    io::{Read as _, Write as _},
    mem,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    ptr, thread,
    time::Duration,
};

pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        Self { listener, address }
    }

    fn open(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.address).expect("connect");
        (client, self.listener.accept().expect("accept").0)
    }

    /// The server closes first, as with ours.
    pub(crate) fn connect(&self) {
        let (client, server) = self.open();
        drop(server);
        drop(client);
    }
}

/// The congestion control of Linux's ends, whatever the host is set to. One that paces by timers, such as BBR, would show how precise those are, as
/// a link in memory is faster.
pub(crate) const CONGESTION: &str = "cubic";

fn control_congestion(end: &TcpStream) {
    let (name, len) = (CONGESTION.as_ptr(), CONGESTION.len() as libc::socklen_t);
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_CONGESTION);
    // SAFETY: the call reads the name, which lives until it returns.
    let done = unsafe { libc::setsockopt(end.as_raw_fd(), level, option, name.cast(), len) };
    assert_eq!(done, 0, "{CONGESTION} is not there, or not allowed");
}

pub(crate) struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    pub(crate) fn new() -> Self {
        let (client, server) = Listener::new().open();
        for end in [&client, &server] {
            end.set_nodelay(true).expect("option");
            control_congestion(end);
        }
        Self { client, server }
    }

    pub(crate) fn ping_pong(&mut self) {
        let mut byte = [0];
        self.client.write_all(b"x").expect("write");
        self.server.read_exact(&mut byte).expect("read");
        self.server.write_all(&byte).expect("write");
        self.client.read_exact(&mut byte).expect("read");
    }
}

/// Bits per second; in two threads, which is faster than in one.
pub(crate) fn bulk(time: Duration) -> f64 {
    let Connection { client, server } = Connection::new();
    let data = vec![7; PART];
    bits(
        time,
        || (&client).write_all(&data).expect("write"),
        |buf| (&server).read(buf).expect("read"),
        || client.shutdown(Shutdown::Write).expect("shutdown"),
    )
}

/// Round trips per second with an end in each thread.
pub(crate) fn ping_pong_of_two(time: Duration) -> f64 {
    let Connection { mut client, server } = Connection::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut end, mut byte) = (&server, [0]);
            while end.read(&mut byte).expect("read") == 1 {
                end.write_all(&byte).expect("write");
            }
        });
        let rate = rate(time, || {
            let mut byte = [0];
            client.write_all(b"x").expect("write");
            client.read_exact(&mut byte).expect("read");
        });
        client.shutdown(Shutdown::Write).expect("shutdown");
        rate
    })
}

pub(crate) struct Datagrams {
    client: UdpSocket,
    server: UdpSocket,
    to: SocketAddr,
}

impl Datagrams {
    pub(crate) fn new() -> Self {
        let bind = || UdpSocket::bind("127.0.0.1:0").expect("bind");
        let (client, server) = (bind(), bind());
        let to = server.local_addr().expect("address");
        Self { client, server, to }
    }

    /// All in one call.
    pub(crate) fn batch(&self) {
        let SocketAddr::V4(to) = self.to else {
            panic!("{}: not as it was bound", self.to);
        };
        let to = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(to.ip().octets()),
            },
            sin_zero: [0; 8],
        };
        let count = messages(&mut [[7; DATAGRAM]; BATCH], Some(to), |all| {
            // SAFETY: the headers, and what they point to, live as long as the call.
            unsafe { libc::sendmmsg(self.client.as_raw_fd(), all.as_mut_ptr(), BATCH as u32, 0) }
        });
        assert_eq!(count, BATCH as i32);
        let count = messages(&mut [[0; DATAGRAM]; BATCH], None, |all| {
            let (fd, none) = (self.server.as_raw_fd(), ptr::null_mut());
            // SAFETY: the same.
            unsafe { libc::recvmmsg(fd, all.as_mut_ptr(), BATCH as u32, 0, none) }
        });
        assert_eq!(count, BATCH as i32);
    }

    pub(crate) fn one_by_one(&self) {
        let (data, mut buf) = ([7; DATAGRAM], [0; DATAGRAM]);
        for _ in 0..BATCH {
            assert_eq!(self.client.send_to(&data, self.to).expect("send"), DATAGRAM);
        }
        for _ in 0..BATCH {
            assert_eq!(self.server.recv(&mut buf).expect("receive"), DATAGRAM);
        }
    }
}

/// Does something with headers of messages that have these bytes, or room for them.
fn messages(
    space: &mut [[u8; DATAGRAM]; BATCH],
    mut to: Option<libc::sockaddr_in>,
    call: impl FnOnce(&mut [libc::mmsghdr; BATCH]) -> i32,
) -> i32 {
    let mut parts = space.each_mut().map(|part| libc::iovec {
        iov_base: part.as_mut_ptr().cast(),
        iov_len: DATAGRAM,
    });
    let mut all = parts.each_mut().map(|part| {
        // SAFETY: a header of zeros is one with no address and no data.
        let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
        (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
        if let Some(to) = &mut to {
            message.msg_hdr.msg_name = ptr::from_mut(to).cast();
            message.msg_hdr.msg_namelen = size_of_val(to) as libc::socklen_t;
        }
        message
    });
    call(&mut all)
}
