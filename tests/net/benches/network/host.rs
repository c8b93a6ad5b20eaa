//! The host's loopback interface, with the standard library's sockets.

use crate::{
    BATCH, DATAGRAM, PART,
    report::{bits, rate},
};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
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

pub(crate) struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    pub(crate) fn new() -> Self {
        let (client, server) = Listener::new().open();
        for end in [&client, &server] {
            end.set_nodelay(true).expect("option");
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
        || (&server).read(&mut [0; PART]).expect("read"),
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

    pub(crate) fn batch(&self) {
        let (data, mut buf) = ([7; DATAGRAM], [0; DATAGRAM]);
        for _ in 0..BATCH {
            assert_eq!(self.client.send_to(&data, self.to).expect("send"), DATAGRAM);
        }
        for _ in 0..BATCH {
            assert_eq!(self.server.recv(&mut buf).expect("receive"), DATAGRAM);
        }
    }
}
