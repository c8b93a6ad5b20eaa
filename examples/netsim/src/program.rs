//! What the hosts do. Each program is both of its sides; no call of it waits, so that all of them run on one thread.

use crate::{Flow, topology::Topology};
use rumpkern::{Fd, OpenFlags, Proc};
use rumpnet::{
    SocketCalls as _,
    socket::{Domain, Kind, MsgFlags},
};
use rumpuser::{Errno, Instant, Result};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};

/// A program.
pub trait Program {
    /// Does what can be done now.
    ///
    /// # Errors
    /// Those of its system calls that it did not expect.
    fn step(&mut self, now: Instant) -> Result<()>;

    /// What it has done.
    fn report(&self) -> Flow;
}

/// A process of a host and a socket of it.
struct End {
    proc: Proc,
    fd: Fd,
}

impl End {
    fn new(topology: &Topology, host: usize, kind: Kind) -> Result<Self> {
        let proc = topology.hosts[host].init_proc();
        let fd = proc.socket(Domain::Inet, kind, 0, OpenFlags::empty())?;
        Ok(Self { proc, fd })
    }

    /// Sends what there is room for.
    fn send(&self, data: &[u8]) -> Result<usize> {
        none_yet(self.proc.sendto(self.fd, data, MsgFlags::DONTWAIT, None))
    }

    /// Receives what is there.
    fn receive(&self, buf: &mut [u8]) -> Result<usize> {
        let received = self.proc.recvfrom(self.fd, buf, MsgFlags::DONTWAIT);
        none_yet(received.map(|(count, _)| count))
    }
}

/// What would have to wait has done nothing yet.
fn none_yet(result: Result<usize>) -> Result<usize> {
    match result {
        Err(Errno::EAGAIN) => Ok(0),
        other => other,
    }
}

fn flow(topology: &Topology, program: &'static str, from: usize, to: usize) -> Flow {
    Flow {
        program,
        from: topology.name(from).0,
        to: topology.name(to).0,
        units: 0,
        bytes: 0,
        slowest: None,
    }
}

/// Connects two hosts by TCP. This waits, and the simulation goes on meanwhile.
fn connect(topology: &Topology, from: usize, to: usize, port: u16) -> Result<[End; 2]> {
    let listener = End::new(topology, to, Kind::Stream)?;
    let address = SocketAddr::from((topology.name(to).1, port));
    listener.proc.bind(listener.fd, &address.into())?;
    listener.proc.listen(listener.fd, 1)?;
    let client = End::new(topology, from, Kind::Stream)?;
    client.proc.connect(client.fd, &address.into())?;
    let (fd, _) = listener.proc.accept(listener.fd, OpenFlags::empty())?;
    listener.proc.close(listener.fd)?;
    let proc = listener.proc;
    Ok([client, End { proc, fd }])
}

/// Sends as much as the network takes, by TCP.
pub struct Transfer {
    ends: [End; 2],
    /// Begin of a message, and what is not sent of it.
    message: u64,
    left: Vec<u8>,
    flow: Flow,
}

/// Bytes of a message of a transfer.
const MESSAGE: u64 = 16_384;

/// The byte at a place of a transfer.
const fn pattern(place: u64) -> u8 {
    (place.wrapping_mul(0x9e37_79b9) >> 24) as u8
}

impl Transfer {
    /// Connects.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(topology: &Topology, from: usize, to: usize) -> Result<Self> {
        Ok(Self {
            ends: connect(topology, from, to, 80)?,
            message: 0,
            left: Vec::new(),
            flow: flow(topology, "transfer (TCP)", from, to),
        })
    }
}

impl Program for Transfer {
    fn step(&mut self, _now: Instant) -> Result<()> {
        let [sender, receiver] = &self.ends;
        if self.left.is_empty() {
            self.left = (self.message..self.message + MESSAGE)
                .map(pattern)
                .collect();
            self.message += MESSAGE;
        }
        let sent = sender.send(&self.left)?;
        self.left.drain(..sent);
        let mut buf = [0; MESSAGE as usize];
        let count = receiver.receive(&mut buf)?;
        for byte in &buf[..count] {
            // TCP promises that.
            assert_eq!(*byte, pattern(self.flow.bytes));
            self.flow.bytes += 1;
        }
        self.flow.units = self.flow.bytes / MESSAGE;
        Ok(())
    }

    fn report(&self) -> Flow {
        self.flow.clone()
    }
}

/// Asks something every 100 ms when the last answer has come, by TCP: 100 bytes for 1,000.
pub struct Questions {
    ends: [End; 2],
    asked: Option<Instant>,
    next: Instant,
    question: usize,
    answer: usize,
    flow: Flow,
}

impl Questions {
    /// Connects.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(topology: &Topology, from: usize, to: usize) -> Result<Self> {
        Ok(Self {
            ends: connect(topology, from, to, 23)?,
            asked: None,
            next: topology.now(),
            question: 0,
            answer: 0,
            flow: flow(topology, "questions (TCP)", from, to),
        })
    }
}

impl Program for Questions {
    fn step(&mut self, now: Instant) -> Result<()> {
        let [client, server] = &self.ends;
        let mut buf = [0; 1_000];
        if self.asked.is_none() && now >= self.next {
            client.send(&[7; 100])?;
            self.asked = Some(now);
            self.next = now.after(Duration::from_millis(100));
        }
        self.question += server.receive(&mut buf)?;
        if self.question == 100 {
            self.question = 0;
            server.send(&[7; 1_000])?;
        }
        self.answer += client.receive(&mut buf)?;
        if self.answer == 1_000
            && let Some(asked) = self.asked.take()
        {
            self.answer = 0;
            self.flow.units += 1;
            self.flow.bytes += 1_100;
            self.flow.slowest = self.flow.slowest.max(Some(now.since(asked)));
        }
        Ok(())
    }

    fn report(&self) -> Flow {
        self.flow.clone()
    }
}

/// Sends a datagram of 160 bytes every 20 ms, as a telephone does; some do not arrive.
pub struct Call {
    ends: [End; 2],
    next: Instant,
    number: u32,
    /// When those that have not arrived were sent.
    sent: VecDeque<(u32, Instant)>,
    flow: Flow,
}

impl Call {
    /// Opens the sockets.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(topology: &Topology, from: usize, to: usize) -> Result<Self> {
        let ends = [
            End::new(topology, from, Kind::Datagram)?,
            End::new(topology, to, Kind::Datagram)?,
        ];
        let address = SocketAddr::from((topology.name(to).1, 5_004));
        ends[1].proc.bind(ends[1].fd, &address.into())?;
        ends[0].proc.connect(ends[0].fd, &address.into())?;
        Ok(Self {
            ends,
            next: topology.now(),
            number: 0,
            sent: VecDeque::new(),
            flow: flow(topology, "call (UDP)", from, to),
        })
    }
}

impl Program for Call {
    fn step(&mut self, now: Instant) -> Result<()> {
        let [sender, receiver] = &self.ends;
        if now >= self.next {
            let mut datagram = [0; 160];
            datagram[..4].copy_from_slice(&self.number.to_be_bytes());
            sender.send(&datagram)?;
            self.sent.push_back((self.number, now));
            self.number += 1;
            self.next = self.next.after(Duration::from_millis(20));
        }
        let mut buf = [0; 160];
        while receiver.receive(&mut buf)? > 0 {
            let number = u32::from_be_bytes([buf[0], buf[1], buf[2], buf[3]]);
            let at = self.sent.iter().position(|(sent, _)| *sent == number);
            // One that comes twice counts once.
            let Some((_, then)) = at.and_then(|at| self.sent.remove(at)) else {
                continue;
            };
            self.flow.units += 1;
            self.flow.bytes += 160;
            self.flow.slowest = self.flow.slowest.max(Some(now.since(then)));
        }
        let old = |(_, then): &(u32, Instant)| now.since(*then) > Duration::from_secs(5);
        while self.sent.front().is_some_and(old) {
            self.sent.pop_front();
        }
        Ok(())
    }

    fn report(&self) -> Flow {
        self.flow.clone()
    }
}
