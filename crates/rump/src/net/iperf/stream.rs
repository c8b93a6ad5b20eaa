//! The streams of a test.

use super::{PATIENCE, control::Cookie, results::Sum, test::Test};
use crate::net::{LOOK, host::any};
use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};
use uknet::{Net, TcpListener, TcpStream, UdpSocket};

/// The first datagram of a stream, and the answer to it.
const HELLO: [u8; 4] = 0x3637_3839_u32.to_le_bytes();
const WELCOME: [u8; 4] = 0x3938_3736_u32.to_le_bytes();

/// Sets what the test says of a stream.
fn prepare(stream: &TcpStream, test: &Test) -> io::Result<()> {
    stream.set_nodelay(test.no_delay)?;
    match &test.congestion {
        Some(name) => stream.set_congestion(name),
        None => Ok(()),
    }
}

pub(super) struct Stream {
    number: usize,
    socket: Socket,
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Stream {
    pub(super) fn connect(
        net: &Net,
        to: SocketAddr,
        number: usize,
        test: &Test,
        cookie: &Cookie,
    ) -> io::Result<Self> {
        if !test.udp {
            let mut stream = TcpStream::connect_timeout(net, &to, PATIENCE)?;
            prepare(&stream, test)?;
            stream.write_all(&cookie.0)?;
            return Ok(Self {
                number,
                socket: Socket::Tcp(stream),
            });
        }
        let socket = UdpSocket::bind(net, (any(to.is_ipv4()), 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        // Either datagram may be lost; a second answer of a stream that runs is taken for data of a stranger.
        for _ in 0..5 {
            socket.send(&HELLO)?;
            match socket.recv(&mut [0; 4]) {
                Ok(_) => {
                    return Ok(Self {
                        number,
                        socket: Socket::Udp(socket),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// A stream of the test with the cookie; `None`: it was a stranger's.
    pub(super) fn accept(
        listener: &TcpListener,
        number: usize,
        test: &Test,
        cookie: &Cookie,
    ) -> io::Result<Option<Self>> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut theirs = [0; 37];
        stream.read_exact(&mut theirs)?;
        if theirs != cookie.0 {
            stream.write_all(&[0xff])?;
            return Ok(None);
        }
        prepare(&stream, test)?;
        Ok(Some(Self {
            number,
            socket: Socket::Tcp(stream),
        }))
    }

    pub(super) fn accept_udp(socket: UdpSocket, number: usize, most: Duration) -> io::Result<Self> {
        socket.set_read_timeout(Some(most))?;
        let (_, from) = socket.recv_from(&mut [0; 4])?;
        socket.connect(from)?;
        socket.send(&WELCOME)?;
        Ok(Self {
            number,
            socket: Socket::Udp(socket),
        })
    }

    /// Sends or receives until it is told to stop.
    pub(super) fn run(self, test: &Test, sends: bool) -> Running {
        let shared = Arc::new(Shared::default());
        let (test, with) = (test.clone(), shared.clone());
        let thread = thread::spawn(move || {
            let done = match (self.socket, sends) {
                (Socket::Tcp(stream), true) => send(
                    &test,
                    self.number,
                    &with,
                    |data, _| match (&stream).write(data) {
                        // It looks whether it is to stop, and goes on where it was.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                        done => done,
                    },
                    || stream.set_write_timeout(Some(LOOK)),
                ),
                (Socket::Tcp(stream), false) => receive(&test, &with, &stream),
                (Socket::Udp(socket), true) => send(
                    &test,
                    self.number,
                    &with,
                    |data, number| {
                        let head = head(number, test.wide);
                        let len = if test.wide { 16 } else { 12 };
                        data[..len].copy_from_slice(&head[..len]);
                        match socket.send(data) {
                            // The queue of an interface is full: as on any network.
                            Err(error)
                                if error.raw_os_error() == Some(uknet::Errno::ENOBUFS.number()) =>
                            {
                                Ok(data.len())
                            }
                            done => done,
                        }
                    },
                    || Ok(()),
                ),
                (Socket::Udp(socket), false) => receive_udp(&test, &with, &socket),
            };
            if let (Err(error), false) = (done, with.stop.load(Relaxed)) {
                *with.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        Running { shared, thread }
    }
}

/// Time and number at the head of a datagram.
fn head(number: u64, wide: bool) -> [u8; 16] {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut head = [0; 16];
    head[..4].copy_from_slice(&(now.as_secs() as u32).to_be_bytes());
    head[4..8].copy_from_slice(&now.subsec_micros().to_be_bytes());
    if wide {
        head[8..].copy_from_slice(&number.to_be_bytes());
    } else {
        head[8..12].copy_from_slice(&(number as u32).to_be_bytes());
    }
    head
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    bytes: AtomicU64,
    packets: AtomicU64,
    lost: AtomicU64,
    error: Mutex<Option<io::Error>>,
}

/// A stream under way.
pub(super) struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Running {
    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Relaxed)
    }

    pub(super) fn error(&self) -> Option<io::Error> {
        self.shared
            .error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Stops the streams, and says what they did.
pub(super) fn finish(running: Vec<Running>, start: Instant) -> Vec<Sum> {
    let seconds = start.elapsed().as_secs_f64();
    for one in &running {
        one.shared.stop.store(true, Relaxed);
    }
    let sum = |one: Running| {
        // A thread that panicked has said so.
        let _ = one.thread.join();
        Sum {
            bytes: one.shared.bytes.load(Relaxed),
            packets: one.shared.packets.load(Relaxed),
            lost: one.shared.lost.load(Relaxed),
            seconds,
        }
    };
    running.into_iter().map(sum).collect()
}

fn send(
    test: &Test,
    number: usize,
    shared: &Shared,
    mut write: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    prepare: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    prepare()?;
    let mut data: Vec<u8> = (0..test.len).map(|n| n as u8).collect();
    // The streams share the bytes that are to be sent.
    let parts = test.parallel as u64;
    let most = test
        .bytes
        .map(|all| all / parts + u64::from((number as u64) < all % parts));
    let start = Instant::now();
    let mut sent = 0;
    while !shared.stop.load(Relaxed) {
        let left = most.map_or(u64::MAX, |most| most - sent);
        if left == 0 {
            return Ok(());
        }
        if test.rate > 0 {
            let due = Duration::from_secs_f64(sent as f64 * 8.0 / test.rate as f64);
            let ahead = due.saturating_sub(start.elapsed());
            if !ahead.is_zero() {
                thread::sleep(ahead.min(LOOK));
                continue;
            }
        }
        let len = if test.udp {
            test.len
        } else {
            usize::try_from(left).unwrap_or(usize::MAX).min(test.len)
        };
        let count = write(&mut data[..len], shared.packets.load(Relaxed) + 1)? as u64;
        sent = most.unwrap_or(u64::MAX).min(sent + count);
        shared.bytes.fetch_add(count, Relaxed);
        shared.packets.fetch_add(1, Relaxed);
    }
    Ok(())
}

fn receive(test: &Test, shared: &Shared, mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    let mut buf = vec![0; test.len.max(1 << 16)];
    while !shared.stop.load(Relaxed) {
        match stream.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                shared.bytes.fetch_add(count as u64, Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn receive_udp(test: &Test, shared: &Shared, socket: &UdpSocket) -> io::Result<()> {
    socket.set_read_timeout(Some(LOOK))?;
    let mut buf = vec![0; 1 << 16];
    let mut received = 0;
    while !shared.stop.load(Relaxed) {
        match socket.recv(&mut buf) {
            Ok(count) => {
                let head = buf[..count].get(8..).unwrap_or_default();
                let number = if test.wide {
                    head.first_chunk().copied().map(u64::from_be_bytes)
                } else {
                    let number = head.first_chunk().copied();
                    number.map(u32::from_be_bytes).map(u64::from)
                };
                // What is too short for a number is nobody's datagram of this test.
                let Some(number) = number else {
                    continue;
                };
                received += 1;
                shared.bytes.fetch_add(count as u64, Relaxed);
                let highest = shared.packets.fetch_max(number, Relaxed).max(number);
                shared.lost.store(highest.saturating_sub(received), Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
