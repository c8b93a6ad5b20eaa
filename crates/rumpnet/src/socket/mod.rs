//! Sockets: what stands behind the descriptor, and what a protocol family provides.

mod endpoint;
mod many;
mod message;
mod option;
mod shared;
mod waiters;

use crate::Address;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    any::Any,
    sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use rumpkern::{Cred, File, FileType, Position, Proc, Stat, file::Ready, types::DeviceNumber};
use rumpuser::{Errno, Host, Instant, Result, Timespec};

pub use endpoint::{Endpoint, Family, Watcher};
pub use many::{Incoming, Sent};
pub use message::{Control, MsgFlags, Outgoing, Received};
pub use option::SockOpt;
pub(crate) use shared::message;
pub use shared::{COPY_BELOW, send_copied};
pub use waiters::Waiters;

/// A protocol family, as `socket` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// Within this kernel.
    Local,
}

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A stream of bytes.
    Stream,
    /// Datagrams.
    Datagram,
    /// A stream of records.
    SeqPacket,
    /// Packets with the headers of the network layer.
    Raw,
}

/// Which directions `shutdown` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Receiving.
    Read,
    /// Sending.
    Write,
    /// Both.
    Both,
}

impl Shutdown {
    /// Whether it ends receiving.
    #[must_use]
    pub fn reads(self) -> bool {
        self != Self::Write
    }

    /// Whether it ends sending.
    #[must_use]
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

/// A socket as a file.
pub struct Socket {
    endpoint: Box<dyn Endpoint>,
    domain: Domain,
    host: Arc<dyn Host>,
    /// Nanoseconds; `u64::MAX` for ever.
    receive_timeout: AtomicU64,
    send_timeout: AtomicU64,
    receive_lowat: AtomicUsize,
    /// An error that ended a call which had done something, for the next one; 0 for none.
    kept: AtomicI32,
}

impl Socket {
    /// Around a protocol's endpoint.
    #[must_use]
    pub fn new(domain: Domain, endpoint: Box<dyn Endpoint>, host: &Arc<dyn Host>) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            domain,
            host: host.clone(),
            receive_timeout: AtomicU64::new(u64::MAX),
            send_timeout: AtomicU64::new(u64::MAX),
            receive_lowat: AtomicUsize::new(1),
            kept: AtomicI32::new(0),
        })
    }

    /// Sets an option.
    ///
    /// # Errors
    /// As [`Endpoint::set_option`].
    pub fn set_option(&self, option: &SockOpt) -> Result<()> {
        self.endpoint.set_option(option)?;
        if let SockOpt::ReceiveLowat(_) = option
            && let SockOpt::ReceiveLowat(taken) = self.endpoint.option(option)?
        {
            self.receive_lowat.store(taken, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The protocol's side.
    #[must_use]
    pub fn endpoint(&self) -> &dyn Endpoint {
        &*self.endpoint
    }

    /// Sets how long receiving (or accepting) waits; `None` for ever.
    pub fn set_receive_timeout(&self, timeout: Option<Duration>) {
        self.receive_timeout
            .store(nanos(timeout), Ordering::Relaxed);
    }

    /// Sets how long sending (or connecting) waits; `None` for ever.
    pub fn set_send_timeout(&self, timeout: Option<Duration>) {
        self.send_timeout.store(nanos(timeout), Ordering::Relaxed);
    }

    fn deadline(&self, timeout: &AtomicU64) -> Option<Instant> {
        match timeout.load(Ordering::Relaxed) {
            u64::MAX => None,
            nanos => Some(self.host.monotonic().after(Duration::from_nanos(nanos))),
        }
    }

    /// Tells of an error that was kept, once.
    fn tell_kept(&self) -> Result<()> {
        // Nearly always there is none: this writes nothing then.
        if self.kept.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match self.kept.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            number => Err(Errno::from_number(number)),
        }
    }

    /// The value of an option.
    ///
    /// # Errors
    /// As [`Endpoint::option`].
    pub fn option(&self, which: &SockOpt) -> Result<SockOpt> {
        if let SockOpt::Error(_) = which
            && let Err(error) = self.tell_kept()
        {
            return Ok(SockOpt::Error(Some(error)));
        }
        self.endpoint.option(which)
    }

    /// Tries until it is not `EAGAIN`, and waits in between.
    fn patiently<R>(
        &self,
        interest: Ready,
        nonblock: bool,
        attempt: impl FnMut() -> Result<R>,
    ) -> Result<R> {
        self.patiently_until(interest, nonblock, None, attempt)
    }

    /// The same, and no longer than until `over`.
    fn patiently_until<R>(
        &self,
        interest: Ready,
        nonblock: bool,
        over: Option<Instant>,
        mut attempt: impl FnMut() -> Result<R>,
    ) -> Result<R> {
        // Most calls find what they need: these touch no event.
        match attempt() {
            Err(Errno::EAGAIN) if !nonblock => {}
            done => return done,
        }
        let timeout = if interest.contains(Ready::IN) {
            &self.receive_timeout
        } else {
            &self.send_timeout
        };
        let deadline = earlier(self.deadline(timeout), over);
        loop {
            let ticket = self.endpoint.ticket();
            match attempt() {
                Err(Errno::EAGAIN) => {}
                done => return done,
            }
            if !self.endpoint.wait(ticket, interest, deadline) {
                return Err(Errno::EAGAIN);
            }
        }
    }

    /// Connects; waits for it unless `nonblock`.
    ///
    /// # Errors
    /// As [`Endpoint::connect`]; `EINPROGRESS` also when the time to send is over.
    pub fn connect(&self, address: &Address, cred: &Cred, nonblock: bool) -> Result<()> {
        // A local socket has no connection under way: it waits until there is room among those that wait.
        let attempt = || self.endpoint.connect(address, cred);
        match self.patiently(Ready::OUT, nonblock, attempt) {
            Err(Errno::EINPROGRESS) if !nonblock => {}
            done => return done,
        }
        // Over a cable in the process the answer is there: this touches no event.
        if let Some(done) = self.endpoint.connected() {
            return done;
        }
        let deadline = self.deadline(&self.send_timeout);
        loop {
            let ticket = self.endpoint.ticket();
            if let Some(done) = self.endpoint.connected() {
                return done;
            }
            if !self.endpoint.wait(ticket, Ready::OUT, deadline) {
                return Err(Errno::EINPROGRESS);
            }
        }
    }

    /// Accepts a connection.
    ///
    /// # Errors
    /// As [`Endpoint::accept`].
    pub fn accept(&self, nonblock: bool) -> Result<(Arc<Self>, Address)> {
        let attempt = || self.endpoint.accept();
        let (endpoint, address) = self.patiently(Ready::IN, nonblock, attempt)?;
        let socket = Self::new(self.domain, endpoint, &self.host);
        Ok((socket, address))
    }

    /// Sends all of a message, waiting for room unless `nonblock`; then what there is room for.
    ///
    /// # Errors
    /// As [`Endpoint::send`]. After some bytes of a stream were sent, their number is returned instead.
    pub fn send(&self, message: &Outgoing<'_>, nonblock: bool) -> Result<usize> {
        self.tell_kept()?;
        self.send_all(message, nonblock)
    }

    #[inline(always)]
    fn send_all(&self, message: &Outgoing<'_>, nonblock: bool) -> Result<usize> {
        let nonblock = nonblock || message.flags.contains(MsgFlags::DONTWAIT);
        let attempt = || match self.endpoint.send(message) {
            // It connects first.
            Err(Errno::EINPROGRESS) if !nonblock => Err(Errno::EAGAIN),
            other => other,
        };
        let mut done = self.patiently(Ready::OUT, nonblock, attempt)?;
        let len = message.len();
        while done < len && !nonblock && self.endpoint.kind() == Kind::Stream {
            // Who sends stays the same; what else there was has gone with the first bytes.
            let all = message.control.iter();
            let cred: Vec<Control> = all
                .filter(|control| matches!(control, Control::Cred { .. }))
                .cloned()
                .collect();
            let mut rest = Vec::new();
            let mut skip = done;
            for buf in message.bufs {
                rest.push(buf.get(skip..).unwrap_or_default());
                skip = skip.saturating_sub(buf.len());
            }
            let attempt = || {
                self.endpoint.send(&Outgoing {
                    bufs: &rest,
                    control: &cred,
                    ..*message
                })
            };
            match self.patiently(Ready::OUT, false, attempt) {
                Ok(count) => done = done.saturating_add(count),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Receives, waiting for something unless `nonblock`; with `WAITALL` until the buffers are full or the stream ends, with
    /// [`SockOpt::ReceiveLowat`] until there are as many bytes.
    ///
    /// # Errors
    /// As [`Endpoint::receive`].
    #[inline(always)]
    pub fn receive(
        &self,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
        nonblock: bool,
    ) -> Result<Received> {
        self.tell_kept()?;
        self.receive_until(bufs, flags, nonblock, None)
    }

    /// The same; nothing is waited for after `over`.
    #[inline(always)]
    fn receive_until(
        &self,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
        nonblock: bool,
        over: Option<Instant>,
    ) -> Result<Received> {
        let nonblock = nonblock || flags.contains(MsgFlags::DONTWAIT);
        let flags = flags.difference(MsgFlags::GOES_ON);
        let mut received = self.patiently_until(Ready::IN, nonblock, over, || {
            self.endpoint.receive(bufs, flags)
        })?;
        let least = if flags.contains(MsgFlags::WAITALL) {
            usize::MAX
        } else {
            self.receive_lowat.load(Ordering::Relaxed)
        };
        let waits = !nonblock && !flags.contains(MsgFlags::PEEK);
        if least > 1 && waits && self.endpoint.kind() == Kind::Stream {
            let len: usize = bufs.iter().map(|buf| buf.len()).sum();
            while received.len < len.min(least) {
                let mut skip = received.len;
                let mut rest: Vec<&mut [u8]> = Vec::new();
                for buf in bufs.iter_mut() {
                    let (from, count) = (skip.min(buf.len()), buf.len());
                    rest.push(buf.get_mut(from..).unwrap_or_default());
                    skip = skip.saturating_sub(count);
                }
                let flags = flags | MsgFlags::GOES_ON;
                let more = self.patiently_until(Ready::IN, false, over, || {
                    self.endpoint.receive(&mut rest, flags)
                });
                match more {
                    Ok(more) if more.len > 0 => {
                        received.len = received.len.saturating_add(more.len);
                    }
                    _ => break,
                }
            }
        }
        Ok(received)
    }

    /// Waits until the peer has acknowledged all that was sent, for so long at most; it is sent on after that.
    fn linger(&self, time: Duration) {
        let deadline = Some(self.host.monotonic().after(time));
        loop {
            let ticket = self.endpoint.ticket();
            let leaving = self.endpoint.is_leaving();
            if !leaving || !self.endpoint.wait(ticket, Ready::OUT, deadline) {
                return;
            }
        }
    }

    /// The family.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        self.domain
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

fn nanos(timeout: Option<Duration>) -> u64 {
    timeout.map_or(u64::MAX, |time| {
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    })
}

impl File for Socket {
    fn read(&self, _at: Position, bufs: &mut [&mut [u8]], nonblock: bool) -> Result<usize> {
        let received = self.receive(bufs, MsgFlags::empty(), nonblock)?;
        Ok(received.len)
    }

    fn write(&self, _at: Position, bufs: &[&[u8]], nonblock: bool) -> Result<(usize, u64)> {
        let message = Outgoing {
            to: None,
            bufs,
            control: &[],
            flags: MsgFlags::empty(),
        };
        self.send(&message, nonblock).map(|done| (done, 0))
    }

    fn write_by(
        &self,
        writer: &Proc,
        at: Position,
        bufs: &[&[u8]],
        nonblock: bool,
    ) -> Result<(usize, u64)> {
        if self.domain != Domain::Local || !self.endpoint.passes_cred(None) {
            return self.write(at, bufs, nonblock);
        }
        let message = Outgoing {
            to: None,
            bufs,
            control: &[Control::sender(writer)],
            flags: MsgFlags::empty(),
        };
        self.send(&message, nonblock).map(|done| (done, 0))
    }

    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: 0,
            ino: 0,
            generation: 0,
            file_type: FileType::Socket,
            mode: 0o777,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: DeviceNumber::default(),
            size: 0,
            blksize: 4_096,
            blocks: 0,
            atime: Timespec::default(),
            mtime: Timespec::default(),
            ctime: Timespec::default(),
            birthtime: None,
            flags: 0,
        })
    }

    fn poll(&self) -> Ready {
        let mut ready = self.endpoint.poll();
        if self.kept.load(Ordering::Relaxed) != 0 {
            ready |= Ready::ERR | Ready::IN;
        }
        ready
    }

    fn closing(&self, _pid: u32) {
        self.endpoint.released();
    }

    fn close(&self) -> Result<()> {
        if let Some(time) = self.endpoint.close()? {
            self.linger(time);
        }
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
