//! The crate smoltcp: one interface that hears what it says, with both ends of each connection, in one thread.
//!
//! `peer-smoltcp ROW MILLISECONDS` prints how many times a second the job of that row is done (bits per second for `bulk`). What a row can be set to
//! - the size of buffers - is tried and the best counts. Rows over a tap device (`tap`) have Linux as the other end.

mod tap;

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::{tcp, udp},
    time::Instant,
    wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint},
};
use std::{
    collections::VecDeque,
    env,
    process::ExitCode,
    time::{self, Duration},
};

const HERE: IpAddress = IpAddress::v4(10, 0, 0, 1);
/// Bytes that a call sends or takes.
const DATA: usize = 131_072;
/// Datagrams that are sent before they are received.
const BATCH: usize = 32;
const DATAGRAM: usize = 64;
/// Jobs between two looks at the clock.
const RUN: u64 = 256;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [row, ms] = arguments.as_slice() else {
        eprintln!("usage: peer-smoltcp ROW MILLISECONDS");
        return ExitCode::FAILURE;
    };
    let Ok(ms) = ms.parse() else {
        eprintln!("peer-smoltcp: {ms}: not a number");
        return ExitCode::FAILURE;
    };
    let time = Duration::from_millis(ms);
    let (row, copies) = match row.strip_suffix(", no copies") {
        Some(row) => (row, Copies::None),
        None => (row.as_str(), Copies::InAndOut),
    };
    let rate = match row {
        "bulk-1514" => bulk(1_514, Sums::Computed, copies, time),
        "bulk-1514-offload" => bulk(1_514, Sums::LeftOut, copies, time),
        "bulk-65535" => bulk(65_535, Sums::Computed, copies, time),
        "bulk-65535-offload" => bulk(65_535, Sums::LeftOut, copies, time),
        "ping-pong" => Stack::new(1_514, Sums::Computed).ping_pong(time),
        "connect" => Stack::new(1_514, Sums::Computed).connect(time),
        "udp-64" => Stack::new(1_514, Sums::Computed).datagrams(time),
        row => {
            let Some(rate) = tap::run(row, time) else {
                eprintln!("peer-smoltcp: {row}: no such row");
                return ExitCode::FAILURE;
            };
            rate
        }
    };
    println!("{rate}");
    ExitCode::SUCCESS
}

/// Whether sums are computed and verified.
#[derive(Clone, Copy, PartialEq)]
enum Sums {
    Computed,
    LeftOut,
}

/// Whether the program's data is copied into the socket's buffer and out of it. Without that it is where it is: the buffer is sent as it is, and
/// what is received is looked at there.
#[derive(Clone, Copy, PartialEq)]
enum Copies {
    InAndOut,
    None,
}

/// Frames that have been sent and not yet received, and buffers to use again.
struct Wire {
    mtu: usize,
    sums: Sums,
    queue: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

struct Rx<'a>(Vec<u8>, &'a mut Vec<Vec<u8>>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>, Vec<u8>);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.0);
        self.1.push(self.0);
        result
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, length: usize, write: F) -> R {
        self.1.resize(length, 0);
        let result = write(&mut self.1);
        self.0.push_back(self.1);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let frame = self.queue.pop_front()?;
        let spare = self.spare.pop().unwrap_or_default();
        Some((Rx(frame, &mut self.spare), Tx(&mut self.queue, spare)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        let spare = self.spare.pop().unwrap_or_default();
        Some(Tx(&mut self.queue, spare))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut able = DeviceCapabilities::default();
        able.medium = Medium::Ethernet;
        able.max_transmission_unit = self.mtu;
        if self.sums == Sums::LeftOut {
            able.checksum = ChecksumCapabilities::ignored();
            able.checksum.ipv4 = Checksum::None;
        }
        able
    }
}

struct Stack {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    started: time::Instant,
}

impl Stack {
    fn new(mtu: usize, sums: Sums) -> Self {
        let mut wire = Wire {
            mtu,
            sums,
            queue: VecDeque::new(),
            spare: vec![],
        };
        let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into());
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|all| all.push(IpCidr::new(HERE, 24)).expect("room for one"));
        Self {
            wire,
            interface,
            sockets: SocketSet::new(vec![]),
            started: time::Instant::now(),
        }
    }

    fn now(&self) -> Instant {
        let micros = self.started.elapsed().as_micros();
        Instant::from_micros(i64::try_from(micros).expect("no such long run"))
    }

    fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        // What it has sent has not been heard yet.
        while !self.wire.queue.is_empty() {
            self.interface.poll(now, &mut self.wire, &mut self.sockets);
        }
    }

    /// As [`poll`](Self::poll), but what is heard is not answered before all of it is: for much data that is less work.
    fn poll_in_bulk(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        while !self.wire.queue.is_empty() {
            self.interface
                .poll_ingress_single(now, &mut self.wire, &mut self.sockets);
        }
    }

    fn tcp(&mut self, buffer: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    fn open(&mut self, client: SocketHandle, server: SocketHandle, port: u16) {
        self.sockets
            .get_mut::<tcp::Socket<'_>>(server)
            .listen(80)
            .expect("listen");
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(client);
        socket
            .connect(self.interface.context(), IpEndpoint::new(HERE, 80), port)
            .expect("connect");
        while !self.sockets.get::<tcp::Socket<'_>>(server).may_send() {
            self.poll();
        }
    }

    fn pair(&mut self, buffer: usize) -> (SocketHandle, SocketHandle) {
        let (client, server) = (self.tcp(buffer), self.tcp(buffer));
        self.open(client, server, 49_152);
        (client, server)
    }

    fn ping_pong(&mut self, time: Duration) -> f64 {
        let (client, server) = self.pair(65_535);
        let mut pass = |from, to| {
            let sent = self
                .sockets
                .get_mut::<tcp::Socket<'_>>(from)
                .send_slice(b"x");
            assert_eq!(sent, Ok(1));
            self.poll();
            let mut byte = [0];
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(to);
            assert_eq!(socket.recv_slice(&mut byte), Ok(1));
        };
        rate(time, || {
            pass(client, server);
            pass(server, client);
        })
    }

    /// A connection with the shortest way to end: the one that would wait for two minutes is taken out of that state.
    fn connect(&mut self, time: Duration) -> f64 {
        let (client, server) = (self.tcp(2_048), self.tcp(2_048));
        let mut port = 49_152;
        rate(time, || {
            port = if port == u16::MAX { 49_152 } else { port + 1 };
            self.open(client, server, port);
            for end in [server, client] {
                self.sockets.get_mut::<tcp::Socket<'_>>(end).close();
                self.poll();
            }
            while self.sockets.get::<tcp::Socket<'_>>(client).is_open() {
                let state = self.sockets.get::<tcp::Socket<'_>>(server).state();
                if state == tcp::State::TimeWait {
                    self.sockets.get_mut::<tcp::Socket<'_>>(server).abort();
                }
                self.poll();
            }
            self.sockets.get_mut::<tcp::Socket<'_>>(server).abort();
        })
    }

    fn datagrams(&mut self, time: Duration) -> f64 {
        let [one, two] = [1, 2].map(|port| {
            let buffer = || {
                let meta = vec![udp::PacketMetadata::EMPTY; 2 * BATCH];
                udp::PacketBuffer::new(meta, vec![0; 2 * BATCH * DATAGRAM])
            };
            let mut socket = udp::Socket::new(buffer(), buffer());
            socket.bind(port).expect("bind");
            self.sockets.add(socket)
        });
        let (to, data) = (IpEndpoint::new(HERE, 2), [7; DATAGRAM]);
        // The first one waits until its receiver's address is known.
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(one);
        socket.send_slice(&data, to).expect("room");
        loop {
            self.poll();
            if self.sockets.get_mut::<udp::Socket<'_>>(two).recv().is_ok() {
                break;
            }
        }
        let batches = rate(time, || {
            for _ in 0..BATCH {
                let socket = self.sockets.get_mut::<udp::Socket<'_>>(one);
                socket.send_slice(&data, to).expect("room");
            }
            self.poll();
            let mut buffer = [0; DATAGRAM];
            for _ in 0..BATCH {
                let socket = self.sockets.get_mut::<udp::Socket<'_>>(two);
                let (length, _) = socket.recv_slice(&mut buffer).expect("a datagram");
                assert_eq!(length, DATAGRAM);
            }
        });
        batches * BATCH as f64
    }
}

fn bulk(mtu: usize, sums: Sums, copies: Copies, time: Duration) -> f64 {
    let sizes = [65_535, 262_144, 1 << 20];
    let each = sizes.map(|buffer| bulk_with(Stack::new(mtu, sums), buffer, copies, time / 3));
    each.into_iter().fold(0.0, f64::max)
}

/// Bits per second.
fn bulk_with(mut stack: Stack, buffer: usize, copies: Copies, time: Duration) -> f64 {
    let (client, server) = stack.pair(buffer);
    let (data, mut got) = (vec![7; DATA], vec![0; DATA]);
    let mut bytes = 0;
    let start = time::Instant::now();
    while start.elapsed() < time {
        let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(client);
        if socket.can_send() {
            match copies {
                Copies::InAndOut => socket.send_slice(&data),
                Copies::None => socket.send(|space| (space.len(), space.len())),
            }
            .expect("open");
        }
        stack.poll_in_bulk();
        let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(server);
        while socket.can_recv() {
            bytes += match copies {
                Copies::InAndOut => socket.recv_slice(&mut got),
                Copies::None => socket.recv(|data| (data.len(), data.len())),
            }
            .expect("open");
        }
    }
    bytes as f64 * 8.0 / start.elapsed().as_secs_f64()
}

/// Jobs per second.
fn rate(time: Duration, mut job: impl FnMut()) -> f64 {
    let (mut count, start) = (0, time::Instant::now());
    loop {
        (0..RUN).for_each(|_| job());
        count += RUN;
        if start.elapsed() >= time {
            return count as f64 / start.elapsed().as_secs_f64();
        }
    }
}
