//! Many datagrams in one call: what comes of it is what comes of a call each.

use proptest::prelude::*;
use rumpkern::{Errno, Kernel, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    Address, KernelNet as _, MacAddr, SocketCalls as _,
    calls::MESSAGES,
    interface::Features,
    socket::{Control, Domain, Incoming, Kind, MsgFlags, Outgoing, Received, Shutdown, SockOpt},
    wire,
};
use rumpnet_inet::KernelInet as _;
use rumpnet_inet6::KernelInet6 as _;
use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

const NOW: MsgFlags = MsgFlags::DONTWAIT;

fn pair(features: Features) -> [Kernel; 2] {
    let macs = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
    let mtu = 1_500;
    let (one, two) = wire::pair(macs[0], macs[1], wire::Config { mtu, features });
    let boot = |end, addresses: [&str; 2]| {
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(rumpnet_inet6::component())
            .boot()
            .unwrap();
        kernel.inet6().unwrap().set_probes(0).unwrap();
        kernel.net().unwrap().attach("wire0", end).unwrap();
        for address in addresses {
            let inet = kernel.inet().unwrap();
            inet.add_address("wire0", address.parse().unwrap()).unwrap();
        }
        kernel
    };
    [
        boot(one, ["fd00::1/64", "10.0.0.1/24"]),
        boot(two, ["fd00::2/64", "10.0.0.2/24"]),
    ]
}

fn address(text: &str) -> Address {
    text.parse::<SocketAddr>().unwrap().into()
}

fn udp(proc: &Proc, domain: Domain, at: &str) -> u32 {
    let fd = proc.socket(domain, Kind::Datagram, 0, OpenFlags::empty());
    let fd = fd.unwrap();
    proc.bind(fd, &address(at)).unwrap();
    fd
}

/// A message to be sent: its length, its end, and what is unusual about it.
#[derive(Clone, Debug)]
struct Message {
    len: usize,
    to: Option<usize>,
    control: Vec<u8>,
    urgent: bool,
    parts: usize,
}

fn message() -> impl Strategy<Value = Message> {
    let len = prop_oneof![4 => 0..100_usize, 2 => 100..1_500_usize, 1 => 1_500..5_000_usize, 1 => 65_500..65_600_usize];
    let control = prop_oneof![5 => Just(Vec::new()), 1 => prop::collection::vec(1..200_u8, 1..3)];
    (
        len,
        prop::option::weighted(0.95, 0..5_usize),
        control,
        prop::bool::weighted(0.05),
        1..4_usize,
    )
        .prop_map(|(len, to, control, urgent, parts)| Message {
            len,
            to,
            control,
            urgent,
            parts,
        })
}

/// What was got: bytes, from whom, flags, what came with them.
type Got = (Vec<u8>, Option<Address>, MsgFlags, usize, Vec<u8>);

fn got(buf: &[u8], received: &Received) -> Got {
    let told = received.control.iter().map(|control| match control {
        Control::HopLimit(hops) => *hops,
        Control::TrafficClass(class) => *class,
        _ => unreachable!("not asked for"),
    });
    let len = received.len.min(buf.len());
    let from = received.from.clone();
    (
        buf[..len].to_vec(),
        from,
        received.flags,
        received.len,
        told.collect(),
    )
}

/// What became of each message, and what two receivers got.
type Outcome = (Vec<Result<usize, Errno>>, [Vec<Got>; 2]);

struct Ends<'a> {
    kernels: &'a [Kernel; 2],
    client: &'a Proc,
    server: &'a Proc,
    domain: Domain,
    to: [Address; 5],
}

impl Ends<'_> {
    /// Waits until what was sent is where it shall be: the task of a clock may have been at work, and then does the rest.
    fn settle(&self) {
        let busy = |kernel: &Kernel| kernel.inet().unwrap().is_busy();
        while self.kernels.iter().any(busy) {
            thread::yield_now();
        }
    }

    /// Has the client know its neighbour, for whose address few packets wait.
    fn meet(&self) {
        let fd = self
            .client
            .socket(self.domain, Kind::Datagram, 0, OpenFlags::empty());
        let fd = fd.unwrap();
        self.client
            .sendto(fd, b"hello", NOW, Some(&self.to[2]))
            .unwrap();
        self.client.close(fd).unwrap();
        self.settle();
    }

    /// `batches`: sizes of the calls that receive, each used again and again; with none each message has calls of its own.
    fn run(&self, messages: &[Message], spaces: &[usize], batches: &[usize]) -> Outcome {
        let any = match self.domain {
            Domain::Inet => "0.0.0.0",
            _ => "[::]",
        };
        let sender = udp(self.client, self.domain, &format!("{any}:1000"));
        let receivers = [7, 8].map(|port| {
            let fd = udp(self.server, self.domain, &format!("{any}:{port}"));
            for option in [SockOpt::ReceiveTtl(true), SockOpt::ReceiveTos(true)] {
                self.server.setsockopt(fd, &option).unwrap();
            }
            fd
        });
        let data: Vec<Vec<u8>> = (0..).zip(messages).map(|(n, m)| vec![n; m.len]).collect();
        let bufs: Vec<Vec<&[u8]>> = data
            .iter()
            .zip(messages)
            .map(|(data, message)| match message.parts {
                1 => vec![&data[..]],
                parts => data.chunks(data.len() / parts + 1).collect(),
            })
            .collect();
        let controls: Vec<Vec<Control>> = messages
            .iter()
            .map(|m| {
                m.control
                    .iter()
                    .map(|n| {
                        if n % 2 == 0 {
                            Control::HopLimit(*n)
                        } else {
                            Control::TrafficClass(*n)
                        }
                    })
                    .collect()
            })
            .collect();
        let all: Vec<Outgoing<'_>> = (0..messages.len())
            .map(|n| Outgoing {
                to: messages[n].to.map(|to| &self.to[to]),
                bufs: &bufs[n],
                control: &controls[n],
                flags: if messages[n].urgent {
                    MsgFlags::OOB
                } else {
                    MsgFlags::empty()
                },
            })
            .collect();
        let mut results = Vec::new();
        while results.len() < all.len() {
            let rest = &all[results.len()..];
            if batches.is_empty() {
                results.push(self.client.sendmsg(sender, &rest[0]));
                continue;
            }
            match self.client.sendmmsg(sender, rest) {
                Ok(sent) => {
                    assert!(sent.messages > 0 && sent.last == rest[sent.messages - 1].len());
                    results.extend(rest[..sent.messages].iter().map(|m| Ok(m.len())));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        self.settle();
        let received = receivers.map(|fd| self.receive(fd, spaces, batches));
        for fd in receivers {
            self.server.close(fd).unwrap();
        }
        self.client.close(sender).unwrap();
        (results, received)
    }

    fn receive(&self, fd: u32, spaces: &[usize], batches: &[usize]) -> Vec<Got> {
        let mut all = Vec::new();
        let mut batches = batches.iter().cycle();
        loop {
            let count = batches.next().copied().unwrap_or(1);
            let mut space: Vec<Vec<u8>> = (0..count)
                .map(|n| vec![0; spaces[(all.len() + n) % spaces.len()]])
                .collect();
            if count == 1 {
                match self.server.recvmsg(fd, &mut [&mut space[0]], NOW) {
                    Ok(received) => all.push(got(&space[0], &received)),
                    Err(error) => {
                        assert_eq!(error, Errno::EAGAIN);
                        return all;
                    }
                }
                continue;
            }
            let mut bufs: Vec<[&mut [u8]; 1]> =
                space.iter_mut().map(|buf| [&mut buf[..]]).collect();
            let mut messages: Vec<_> = bufs.iter_mut().map(|bufs| Incoming::new(bufs)).collect();
            let done = match self.server.recvmmsg(fd, &mut messages, NOW, None) {
                Ok(done) => done,
                Err(error) => {
                    assert_eq!(error, Errno::EAGAIN);
                    return all;
                }
            };
            assert!(done > 0);
            let received: Vec<Received> = messages.into_iter().map(|m| m.received).collect();
            all.extend(
                space
                    .iter()
                    .zip(&received)
                    .take(done)
                    .map(|(buf, received)| got(buf, received)),
            );
        }
    }
}

#[test]
fn as_with_a_call_each() {
    for features in [Features::all(), Features::empty()] {
        let kernels = pair(features);
        let [client, server] = [0, 1].map(|n: usize| kernels[n].init_proc());
        // Two that listen, one that nobody has, one that cannot be, one that is nowhere.
        let four = [
            "10.0.0.2:7",
            "10.0.0.2:8",
            "10.0.0.2:9",
            "10.0.0.2:0",
            "10.9.0.2:7",
        ];
        let six = [
            "[fd00::2]:7",
            "[fd00::2]:8",
            "[fd00::2]:9",
            "[fd00::2]:0",
            "[fd09::2]:7",
        ];
        for (domain, to) in [(Domain::Inet, four), (Domain::Inet6, six)] {
            let ends = Ends {
                kernels: &kernels,
                client: &client,
                server: &server,
                domain,
                to: to.map(address),
            };
            ends.meet();
            let strategy = (
                prop::collection::vec(message(), 1..150),
                prop::collection::vec(0..2_000_usize, 1..4),
                prop::collection::vec(1..100_usize, 1..4),
            );
            let config = ProptestConfig::with_cases(40);
            let mut runner = prop::test_runner::TestRunner::new(config);
            runner
                .run(&strategy, |(messages, spaces, batches)| {
                    let single = ends.run(&messages, &spaces, &[]);
                    let many = ends.run(&messages, &spaces, &batches);
                    prop_assert!(single == many);
                    Ok(())
                })
                .unwrap();
        }
        for kernel in kernels {
            kernel.shutdown().unwrap();
        }
    }
}

/// The first datagram asks for the address of the neighbour; more than may wait for the answer come after it.
#[test]
fn to_a_neighbour_that_is_not_known() {
    for (domain, any, to) in [
        (Domain::Inet, "0.0.0.0:7", "10.0.0.2:7"),
        (Domain::Inet6, "[::]:7", "[fd00::2]:7"),
    ] {
        let kernels = pair(Features::all());
        let [client, server] = [0, 1].map(|n: usize| kernels[n].init_proc());
        let receiver = udp(&server, domain, any);
        let sender = client
            .socket(domain, Kind::Datagram, 0, OpenFlags::empty())
            .unwrap();
        let to = address(to);
        let message = Outgoing {
            to: Some(&to),
            bufs: &[b"hello"],
            control: &[],
            flags: MsgFlags::empty(),
        };
        let sent = client.sendmmsg(sender, &[message; 300]).unwrap();
        assert_eq!((sent.messages, sent.last), (300, 5));
        let patience = Some(Duration::from_secs(10));
        server.set_receive_timeout(receiver, patience).unwrap();
        for _ in 0..300 {
            let got = server.recvfrom(receiver, &mut [0; 9], MsgFlags::empty());
            assert_eq!(got.unwrap().0, 5);
        }
        // No more than so many at once.
        let sent = client
            .sendmmsg(sender, &vec![message; MESSAGES + 1])
            .unwrap();
        assert_eq!(sent.messages, MESSAGES);
    }
}

#[test]
fn how_long_it_waits() {
    let kernels = pair(Features::all());
    let [client, server] = [0, 1].map(|n: usize| kernels[n].init_proc());
    let receiver = udp(&server, Domain::Inet, "10.0.0.2:7");
    let sender = client
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    client.connect(sender, &address("10.0.0.2:7")).unwrap();
    let receive = |count: usize, flags, timeout: Option<u64>| {
        let mut space = vec![[0; 8]; count];
        let mut bufs: Vec<[&mut [u8]; 1]> = space.iter_mut().map(|buf| [&mut buf[..]]).collect();
        let mut messages: Vec<_> = bufs.iter_mut().map(|bufs| Incoming::new(bufs)).collect();
        let begin = Instant::now();
        let timeout = timeout.map(Duration::from_millis);
        let got = server.recvmmsg(receiver, &mut messages, flags, timeout);
        (got, begin.elapsed() >= Duration::from_millis(50))
    };
    let none = MsgFlags::empty();
    assert_eq!(receive(3, NOW, None).0, Err(Errno::EAGAIN));
    assert_eq!(receive(0, none, None).0, Ok(0));
    assert_eq!(receive(3, none, Some(50)), (Err(Errno::EAGAIN), true));
    let send = |data: &[u8]| {
        client.write(sender, data).unwrap();
        while kernels.iter().any(|k| k.inet().unwrap().is_busy()) {
            thread::yield_now();
        }
    };
    send(b"x");
    send(b"y");
    assert_eq!(receive(3, none, Some(50)), (Ok(2), true));
    send(b"x");
    assert_eq!(receive(3, NOW, None).0, Ok(1));
    send(b"x");
    assert_eq!(receive(3, MsgFlags::WAITFORONE, None).0, Ok(1));
    // The time to receive is that of each message.
    server
        .set_receive_timeout(receiver, Some(Duration::from_millis(50)))
        .unwrap();
    send(b"x");
    assert_eq!(receive(2, none, None), (Ok(1), true));
    server.set_receive_timeout(receiver, None).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(5));
                client.write(sender, b"x").unwrap();
            }
        });
        assert_eq!(receive(5, none, None).0, Ok(5));
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            client.write(sender, b"x").unwrap();
        });
        assert_eq!(receive(5, MsgFlags::WAITFORONE, None).0, Ok(1));
    });
}

/// What a port that nobody has sends back is told once, and loses no message.
#[test]
fn errors_that_come_back() {
    let kernels = pair(Features::all());
    let client = kernels[0].init_proc();
    let sender = client
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    client.connect(sender, &address("10.0.0.2:9")).unwrap();
    let message = Outgoing {
        to: None,
        bufs: &[b"x"],
        control: &[],
        flags: MsgFlags::empty(),
    };
    let complained = || {
        let mut fds = [PollFd {
            fd: sender,
            events: Ready::IN,
            ready: Ready::empty(),
        }];
        client
            .poll(&mut fds, Some(Duration::from_secs(10)))
            .unwrap();
        assert!(fds[0].ready.contains(Ready::ERR));
    };
    client.write(sender, b"x").unwrap();
    complained();
    let send = || {
        client
            .sendmmsg(sender, &[message; 4])
            .map(|sent| sent.messages)
    };
    assert_eq!(send(), Err(Errno::ECONNREFUSED));
    assert_eq!(send(), Ok(4));
    complained();
    let mut space = [0; 8];
    let mut bufs = [&mut space[..]];
    let got = client.recvmmsg(sender, &mut [Incoming::new(&mut bufs)], NOW, None);
    assert_eq!(got, Err(Errno::ECONNREFUSED));
    client.getsockopt(sender, &SockOpt::Error(None)).unwrap();
    client.shutdown(sender, Shutdown::Write).unwrap();
    assert_eq!(
        client
            .sendmmsg(sender, &[message; 4])
            .map(|sent| sent.messages),
        Err(Errno::EPIPE)
    );
    assert_eq!(
        client.sendmmsg(77, &[message]).map(|sent| sent.messages),
        Err(Errno::EBADF)
    );
}
