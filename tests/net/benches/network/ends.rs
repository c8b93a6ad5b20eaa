//! Ends of connections, whoever's they are, each with a thread of its own.

use crate::{PART, report};
use rumpkern::{OpenFlags, Proc};
use rumpnet::{
    SocketCalls as _,
    socket::{Domain, Kind, Shutdown, SockOpt},
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

/// One end of a connection.
pub(crate) trait End: Sync {
    /// Sends some of it.
    fn send(&self, data: &[u8]);
    /// Waits for something; 0: the other end sends no more.
    fn receive(&self, buf: &mut [u8]) -> usize;
    /// Sends no more.
    fn finish(&self);
}

/// An end on a stack of ours. It is closed with the value.
pub(crate) struct Ours {
    proc: Proc,
    fd: u32,
}

impl Ours {
    /// An end of a connection that is there.
    fn new(proc: &Proc, fd: u32) -> Self {
        proc.setsockopt(fd, &SockOpt::NoDelay(true))
            .expect("option");
        let proc = proc.clone();
        Self { proc, fd }
    }

    /// Connects to somebody.
    pub(crate) fn connect(proc: &Proc, to: SocketAddr) -> Self {
        let fd = socket(proc);
        proc.connect(fd, &to.into()).expect("connect");
        Self::new(proc, fd)
    }

    pub(crate) fn set(&self, option: &SockOpt) {
        self.proc.setsockopt(self.fd, option).expect("option");
    }
}

fn socket(proc: &Proc) -> u32 {
    proc.socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .expect("socket")
}

/// Waits for connections on a stack of ours.
pub(crate) struct Listener(Ours);

impl Listener {
    pub(crate) fn new(proc: &Proc, at: SocketAddr) -> Self {
        let fd = socket(proc);
        proc.bind(fd, &at.into()).expect("bind");
        proc.listen(fd, 16).expect("listen");
        let proc = proc.clone();
        Self(Ours { proc, fd })
    }

    pub(crate) fn accept(&self) -> Ours {
        let Ours { proc, fd } = &self.0;
        let (fd, _) = proc.accept(*fd, OpenFlags::empty()).expect("accept");
        Ours::new(proc, fd)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.proc.close(self.fd).expect("close");
    }
}

impl End for Ours {
    fn send(&self, data: &[u8]) {
        self.proc.write(self.fd, data).expect("write");
    }

    fn receive(&self, buf: &mut [u8]) -> usize {
        self.proc.read(self.fd, buf).expect("read")
    }

    fn finish(&self) {
        self.proc
            .shutdown(self.fd, Shutdown::Write)
            .expect("shutdown");
    }
}

impl End for TcpStream {
    fn send(&self, data: &[u8]) {
        (&mut &*self).write_all(data).expect("write");
    }

    fn receive(&self, buf: &mut [u8]) -> usize {
        (&mut &*self).read(buf).expect("read")
    }

    fn finish(&self) {
        self.shutdown(std::net::Shutdown::Write).expect("shutdown");
    }
}

/// Bits per second from one end to the other.
pub(crate) fn bulk(time: Duration, from: &dyn End, to: &dyn End) -> f64 {
    let data = vec![7; PART];
    report::bits(
        time,
        || from.send(&data),
        |buf| to.receive(buf),
        || from.finish(),
    )
}

/// Round trips of a byte per second.
pub(crate) fn ping_pong(time: Duration, one: &dyn End, other: &dyn End) -> f64 {
    thread::scope(|scope| {
        scope.spawn(|| echo(other));
        let rate = asks(time, one);
        one.finish();
        rate
    })
}

/// Sends bytes back until no more come.
pub(crate) fn echo(end: &dyn End) {
    let mut byte = [0];
    while end.receive(&mut byte) == 1 {
        end.send(&byte);
    }
}

/// Round trips of a byte per second to somebody who sends it back.
pub(crate) fn asks(time: Duration, end: &dyn End) -> f64 {
    report::rate(time, || {
        let mut byte = [0];
        end.send(b"x");
        assert_eq!(end.receive(&mut byte), 1);
    })
}
