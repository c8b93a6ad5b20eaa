//! Two kernels on a cable.

use crate::{BATCH, DATAGRAM, PART, report::rate};
use bytes::Bytes;
use rumpkern::{Errno, Kernel, OpenFlags, Proc};
use rumpnet::{
    Address, Chain, KernelNet as _, MacAddr, SocketCalls as _,
    interface::Features,
    socket::{Domain, Incoming, Kind, MsgFlags, Outgoing, Shutdown, SockOpt},
    wire,
};
use rumpnet_inet::KernelInet as _;
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const SERVER: &str = "10.0.0.2:80";

fn address(text: &str) -> Address {
    text.parse::<SocketAddr>().expect("an address").into()
}

/// Both kernels and a process of each.
pub(crate) struct Ends {
    kernels: [Kernel; 2],
    pub(crate) client: Proc,
    pub(crate) server: Proc,
}

impl Ends {
    pub(crate) fn new(config: wire::Config) -> Self {
        let macs = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
        let cable = wire::pair(macs[0], macs[1], config);
        let boot = |end, own: &str| {
            let kernel = Kernel::builder(rumpuser_posix::Host::new())
                .component(rumpnet_inet::component())
                .boot()
                .expect("boot");
            kernel
                .net()
                .expect("net")
                .attach("wire0", end)
                .expect("attach");
            let own = own.parse().expect("an address");
            kernel
                .inet()
                .expect("inet")
                .add_address("wire0", own)
                .expect("address");
            kernel
        };
        let kernels = [boot(cable.0, "10.0.0.1/24"), boot(cable.1, "10.0.0.2/24")];
        let [client, server] = [0, 1].map(|n: usize| kernels[n].init_proc());
        Self {
            kernels,
            client,
            server,
        }
    }

    pub(crate) fn socket(proc: &Proc, kind: Kind) -> u32 {
        proc.socket(Domain::Inet, kind, 0, OpenFlags::empty())
            .expect("socket")
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        for kernel in &self.kernels {
            kernel.shutdown().expect("shutdown");
        }
    }
}

/// A server that listens.
pub(crate) struct Listener {
    ends: Ends,
    fd: u32,
}

impl Listener {
    pub(crate) fn new() -> Self {
        Self::on(wire::Config::default())
    }

    fn on(config: wire::Config) -> Self {
        let ends = Ends::new(config);
        let fd = Ends::socket(&ends.server, Kind::Stream);
        ends.server.bind(fd, &address(SERVER)).expect("bind");
        ends.server.listen(fd, 16).expect("listen");
        Self { ends, fd }
    }

    fn open(&self) -> (u32, u32) {
        let client = Ends::socket(&self.ends.client, Kind::Stream);
        let to = address(SERVER);
        self.ends.client.connect(client, &to).expect("connect");
        let accepted = self.ends.server.accept(self.fd, OpenFlags::empty());
        (client, accepted.expect("accept").0)
    }

    /// The server closes first, so that it is not the client who has to wait with the port.
    pub(crate) fn connect(&self) {
        let (client, server) = self.open();
        self.ends.server.close(server).expect("close");
        self.ends.client.close(client).expect("close");
    }
}

/// A connection.
pub(crate) struct Connection {
    listener: Listener,
    client: u32,
    server: u32,
    data: Vec<u8>,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self::on(wire::Config::default())
    }

    fn on(config: wire::Config) -> Self {
        let listener = Listener::on(config);
        let (client, server) = listener.open();
        for (proc, fd) in [
            (&listener.ends.client, client),
            (&listener.ends.server, server),
        ] {
            proc.setsockopt(fd, &SockOpt::NoDelay(true))
                .expect("option");
        }
        Self {
            listener,
            client,
            server,
            data: vec![7; PART],
        }
    }

    pub(crate) fn ping_pong(&mut self) {
        let Ends { client, server, .. } = &self.listener.ends;
        let mut byte = [0];
        assert_eq!(client.write(self.client, b"x"), Ok(1));
        assert_eq!(server.read(self.server, &mut byte), Ok(1));
        assert_eq!(server.write(self.server, &byte), Ok(1));
        assert_eq!(client.read(self.client, &mut byte), Ok(1));
    }

    pub(crate) fn send(&self) {
        let client = &self.listener.ends.client;
        client.write(self.client, &self.data).expect("write");
    }

    pub(crate) fn receive(&self, buf: &mut [u8]) -> usize {
        let server = &self.listener.ends.server;
        server.read(self.server, buf).expect("read")
    }

    pub(crate) fn close(&self) {
        let client = &self.listener.ends.client;
        client
            .shutdown(self.client, Shutdown::Write)
            .expect("shutdown");
    }
}

/// Bits per second in one thread.
pub(crate) fn bulk(mtu: u32, features: Features, time: Duration) -> f64 {
    let ends = Connection::on(wire::Config { mtu, features });
    let Ends { client, server, .. } = &ends.listener.ends;
    let (mut buf, mut bytes) = (vec![0; PART], 0);
    let start = Instant::now();
    while start.elapsed() < time {
        match client.sendto(ends.client, &ends.data, MsgFlags::DONTWAIT, None) {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => panic!("{error}"),
        }
        loop {
            match server.recvfrom(ends.server, &mut buf, MsgFlags::DONTWAIT) {
                Ok((count, _)) => bytes += count,
                Err(Errno::EAGAIN) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    bytes as f64 * 8.0 / start.elapsed().as_secs_f64()
}

/// The same with data that is passed on and not copied.
pub(crate) fn bulk_shared(mtu: u32, features: Features, time: Duration) -> f64 {
    let ends = Connection::on(wire::Config { mtu, features });
    let Ends { client, server, .. } = &ends.listener.ends;
    let data = Bytes::from(vec![7; PART]);
    let (mut rest, mut bytes) = (Chain::new(), 0);
    let start = Instant::now();
    while start.elapsed() < time {
        if rest.is_empty() {
            rest.push(data.clone());
        }
        match client.send_bytes(ends.client, &mut rest, MsgFlags::DONTWAIT, None) {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => panic!("{error}"),
        }
        loop {
            match server.recv_bytes(ends.server, PART, MsgFlags::DONTWAIT) {
                Ok((data, _)) => bytes += data.len(),
                Err(Errno::EAGAIN) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    bytes as f64 * 8.0 / start.elapsed().as_secs_f64()
}

/// Round trips per second with an end in each thread.
pub(crate) fn ping_pong_of_two(time: Duration) -> f64 {
    let ends = Connection::new();
    let Ends { client, server, .. } = &ends.listener.ends;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = [0];
            while server.read(ends.server, &mut byte) == Ok(1) {
                assert_eq!(server.write(ends.server, &byte), Ok(1));
            }
            assert!(stop.load(Ordering::Relaxed));
        });
        let rate = rate(time, || {
            let mut byte = [0];
            assert_eq!(client.write(ends.client, b"x"), Ok(1));
            assert_eq!(client.read(ends.client, &mut byte), Ok(1));
        });
        stop.store(true, Ordering::Relaxed);
        ends.close();
        rate
    })
}

/// Two sockets of UDP.
pub(crate) struct Datagrams {
    ends: Ends,
    client: u32,
    server: u32,
    to: Address,
}

impl Datagrams {
    pub(crate) fn new() -> Self {
        let ends = Ends::new(wire::Config::default());
        let client = Ends::socket(&ends.client, Kind::Datagram);
        let server = Ends::socket(&ends.server, Kind::Datagram);
        let to = address(SERVER);
        ends.server.bind(server, &to).expect("bind");
        Self {
            ends,
            client,
            server,
            to,
        }
    }

    /// All in one call.
    pub(crate) fn batch(&self) {
        let data = [7; DATAGRAM];
        let message = Outgoing {
            to: Some(&self.to),
            bufs: &[&data],
            control: &[],
            flags: MsgFlags::empty(),
        };
        let sent = self.ends.client.sendmmsg(self.client, &[message; BATCH]);
        assert_eq!(sent.map(|sent| sent.messages), Ok(BATCH));
        let mut space = [[0; DATAGRAM]; BATCH];
        let mut bufs = space.each_mut().map(|buf| [&mut buf[..]]);
        let mut messages = bufs.each_mut().map(|bufs| Incoming::new(bufs));
        let server = &self.ends.server;
        let got = server.recvmmsg(self.server, &mut messages, MsgFlags::empty(), None);
        assert_eq!(got, Ok(BATCH));
        assert!(messages.iter().all(|one| one.received.len == DATAGRAM));
    }

    pub(crate) fn one_by_one(&self) {
        let (data, mut buf) = ([7; DATAGRAM], [0; DATAGRAM]);
        for _ in 0..BATCH {
            let sent =
                self.ends
                    .client
                    .sendto(self.client, &data, MsgFlags::empty(), Some(&self.to));
            assert_eq!(sent, Ok(DATAGRAM));
        }
        for _ in 0..BATCH {
            let got = self
                .ends
                .server
                .recvfrom(self.server, &mut buf, MsgFlags::empty());
            assert_eq!(got.expect("a datagram").0, DATAGRAM);
        }
    }
}
