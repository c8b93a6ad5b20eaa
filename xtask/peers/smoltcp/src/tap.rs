//! The stack on a tap device, with Linux at the other end in a thread. To be run in a network namespace of its own, as root.

use crate::{DATA, rate};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Medium, TunTapInterface, wait},
    socket::tcp,
    time::Instant,
    wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint},
};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd as _, RawFd},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{self, Duration},
};

const LINUX: &str = "10.9.0.1:80";

struct Stack {
    device: TunTapInterface,
    fd: RawFd,
    interface: Interface,
    sockets: SocketSet<'static>,
}

impl Stack {
    fn new() -> Self {
        let mut device = TunTapInterface::new("tap0", Medium::Ethernet).expect("a tap device");
        // Linux's own congestion control, as for the others.
        let up = "sysctl -qw net.ipv4.tcp_congestion_control=cubic; \
                  ip link set lo up; ip addr add 10.9.0.1/24 dev tap0; ip link set tap0 up";
        let status = Command::new("sh").args(["-ec", up]).status().expect("sh");
        assert!(status.success(), "{up}");
        let config = Config::new(EthernetAddress([2, 0, 0, 0, 0x10, 1]).into());
        let mut interface = Interface::new(config, &mut device, Instant::now());
        let own = IpCidr::new(IpAddress::v4(10, 9, 0, 2), 24);
        interface.update_ip_addrs(|all| all.push(own).expect("room for one"));
        let (fd, sockets) = (device.as_raw_fd(), SocketSet::new(vec![]));
        Self {
            device,
            fd,
            interface,
            sockets,
        }
    }

    /// Does what is there to do; if that is nothing, waits for a frame or a timer.
    fn poll(&mut self) {
        let now = Instant::now();
        let done = self
            .interface
            .poll(now, &mut self.device, &mut self.sockets);
        if done == smoltcp::iface::PollResult::None {
            let delay = self.interface.poll_delay(Instant::now(), &self.sockets);
            wait(self.fd, delay).expect("poll");
        }
    }

    fn connect(&mut self, buffer: usize, port: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let socket = self.sockets.add(socket);
        let to = IpEndpoint::new(IpAddress::v4(10, 9, 0, 1), 80);
        let opened = self.sockets.get_mut::<tcp::Socket<'_>>(socket).connect(
            self.interface.context(),
            to,
            port,
        );
        opened.expect("connect");
        while !self.sockets.get::<tcp::Socket<'_>>(socket).may_send() {
            self.poll();
        }
        socket
    }
}

/// Jobs of the row per second.
pub(crate) fn run(row: &str, time: Duration) -> Option<f64> {
    let mut stack = Stack::new();
    let listener = TcpListener::bind(LINUX).expect("bind");
    let best = |body: &mut dyn FnMut(usize, u16) -> f64| {
        let rates = [body(65_535, 50_000), body(1 << 20, 50_001)];
        rates.into_iter().fold(0.0, f64::max)
    };
    Some(match row {
        "tap-plain, bulk out" => best(&mut |buffer, port| {
            let socket = stack.connect(buffer, port);
            out(&mut stack, socket, accept(&listener), time / 2)
        }),
        "tap-plain, bulk in" => best(&mut |buffer, port| {
            let socket = stack.connect(buffer, port);
            into(&mut stack, socket, accept(&listener), time / 2)
        }),
        "tap, ping-pong" => {
            let socket = stack.connect(65_535, 50_000);
            ping_pong(&mut stack, socket, accept(&listener), time)
        }
        _ => return None,
    })
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (end, _) = listener.accept().expect("accept");
    end.set_nodelay(true).expect("option");
    end
}

/// Bits per second that Linux receives.
fn out(stack: &mut Stack, socket: SocketHandle, mut linux: TcpStream, time: Duration) -> f64 {
    let (bytes, start) = (AtomicU64::new(0), time::Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buf = vec![0; DATA];
            loop {
                match linux.read(&mut buf).expect("read") {
                    0 => break,
                    count => bytes.fetch_add(count as u64, Ordering::Relaxed),
                };
            }
        });
        let data = vec![7; DATA];
        while start.elapsed() < time {
            let end = stack.sockets.get_mut::<tcp::Socket<'_>>(socket);
            if end.can_send() {
                end.send_slice(&data).expect("open");
            }
            stack.poll();
        }
        stack.sockets.get_mut::<tcp::Socket<'_>>(socket).close();
        while stack.sockets.get::<tcp::Socket<'_>>(socket).send_queue() > 0 {
            stack.poll();
        }
        let rate = bytes.load(Ordering::Relaxed) as f64 * 8.0 / start.elapsed().as_secs_f64();
        while stack.sockets.get::<tcp::Socket<'_>>(socket).state() == tcp::State::FinWait1 {
            stack.poll();
        }
        rate
    })
}

/// Bits per second that it receives.
fn into(stack: &mut Stack, socket: SocketHandle, mut linux: TcpStream, time: Duration) -> f64 {
    let (stop, start) = (AtomicBool::new(false), time::Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| {
            let data = vec![7; DATA];
            while !stop.load(Ordering::Relaxed) {
                linux.write_all(&data).expect("write");
            }
            drop(linux);
        });
        let (mut buf, mut bytes, mut taken) = (vec![0; DATA], 0, None);
        loop {
            stack.poll();
            let end = stack.sockets.get_mut::<tcp::Socket<'_>>(socket);
            while end.can_recv() {
                bytes += end.recv_slice(&mut buf).expect("open");
            }
            if taken.is_none() && start.elapsed() >= time {
                taken = Some((bytes, start.elapsed()));
                stop.store(true, Ordering::Relaxed);
            }
            if !end.may_recv() {
                break;
            }
        }
        end_of(stack, socket);
        let (bytes, elapsed) = taken.expect("measured");
        bytes as f64 * 8.0 / elapsed.as_secs_f64()
    })
}

/// Round trips of a byte per second.
fn ping_pong(stack: &mut Stack, socket: SocketHandle, mut linux: TcpStream, time: Duration) -> f64 {
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            while linux.read(&mut byte).expect("read") == 1 {
                linux.write_all(&byte).expect("write");
            }
        });
        let rate = rate(time, || {
            let end = stack.sockets.get_mut::<tcp::Socket<'_>>(socket);
            end.send_slice(b"x").expect("open");
            loop {
                stack.poll();
                let end = stack.sockets.get_mut::<tcp::Socket<'_>>(socket);
                if end.can_recv() {
                    assert_eq!(end.recv_slice(&mut [0]), Ok(1));
                    break;
                }
            }
        });
        end_of(stack, socket);
        rate
    })
}

/// Closes it; the other end hears of it.
fn end_of(stack: &mut Stack, socket: SocketHandle) {
    stack.sockets.get_mut::<tcp::Socket<'_>>(socket).close();
    while stack.sockets.get::<tcp::Socket<'_>>(socket).send_queue() > 0
        || stack.sockets.get::<tcp::Socket<'_>>(socket).state() == tcp::State::FinWait1
    {
        stack.poll();
    }
}
