//! One side of a connection, step by step: no call waits.

use crate::plan::{Act, End};
use rumpkern::{Fd, OpenFlags, Proc};
use rumpnet::{
    SocketCalls as _,
    socket::{MsgFlags, Shutdown, SockOpt},
};
use rumpuser::{Errno, Instant};
use std::{fmt, net::SocketAddr, time::Duration};

/// Reads and writes of one step at most.
const BURST: usize = 64;

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Has not called `connect` yet.
    Fresh(SocketAddr),
    /// The connection is under way.
    Connecting,
    /// Waits for somebody to connect.
    Listening,
    /// Sends and receives.
    Open,
    /// Its descriptor is closed.
    Done,
}

/// One side.
pub struct Side {
    proc: Proc,
    fd: Fd,
    act: Act,
    salt: u64,
    /// Somebody will connect, however long it takes.
    patient: bool,
    phase: Phase,
    /// When it was there.
    begin: Option<Instant>,
    sent: u64,
    received: u64,
    /// It has said that this was all.
    finished: bool,
    /// The other has.
    ended: bool,
    error: Option<Errno>,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side")
            .field("phase", &self.phase)
            .field("sent", &self.sent)
            .field("received", &self.received)
            .field("finished", &self.finished)
            .field("ended", &self.ended)
            .field("error", &self.error)
            .field("act", &self.act)
            .finish_non_exhaustive()
    }
}

/// The byte at a place of a stream.
fn pattern(salt: u64, place: u64) -> u8 {
    (place.wrapping_add(salt << 40))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_be_bytes()[0]
}

impl Side {
    /// One that connects. Streams of one connection have neighbouring salts.
    #[must_use]
    pub fn client(proc: Proc, fd: Fd, to: SocketAddr, act: Act, salt: u64) -> Self {
        Self::new(proc, fd, Phase::Fresh(to), act, salt)
    }

    /// One that accepts a connection, for ever if `patient`.
    #[must_use]
    pub fn server(proc: Proc, listener: Fd, act: Act, salt: u64, patient: bool) -> Self {
        Self {
            patient,
            ..Self::new(proc, listener, Phase::Listening, act, salt)
        }
    }

    fn new(proc: Proc, fd: Fd, phase: Phase, act: Act, salt: u64) -> Self {
        Self {
            proc,
            fd,
            act,
            salt,
            patient: true,
            phase,
            begin: None,
            sent: 0,
            received: 0,
            finished: false,
            ended: false,
            error: None,
        }
    }

    /// Whether it has closed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// What it was to do.
    #[must_use]
    pub const fn act(&self) -> Act {
        self.act
    }

    /// Bytes that it handed over.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that it got.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// What a call of it failed with.
    #[must_use]
    pub const fn error(&self) -> Option<Errno> {
        self.error
    }

    /// Does what it can, and says when it wants to do something even if nothing happens.
    ///
    /// # Errors
    /// A byte that is not the one that was sent.
    pub fn step(&mut self, now: Instant) -> Result<Instant, String> {
        let never = now.after(Duration::from_hours(1_000));
        match self.phase {
            Phase::Done => return Ok(never),
            Phase::Fresh(to) => {
                self.begin = Some(now);
                match self.proc.connect(self.fd, &to.into()) {
                    Ok(()) => self.phase = Phase::Open,
                    Err(Errno::EINPROGRESS) => self.phase = Phase::Connecting,
                    Err(error) => self.fail(error),
                }
            }
            Phase::Listening => match self.proc.accept(self.fd, OpenFlags::NONBLOCK) {
                Ok((fd, _)) => {
                    self.close();
                    (self.fd, self.phase, self.begin) = (fd, Phase::Open, Some(now));
                }
                // As long as the other tries.
                Err(Errno::EAGAIN) => return Ok(self.patience(now, never)),
                Err(error) => self.fail(error),
            },
            Phase::Connecting | Phase::Open => {}
        }
        let begin = *self.begin.get_or_insert(now);
        let after = |time: Duration| begin.after(time);
        match self.act.end {
            End::Leave(moment) if now >= after(moment) => self.close(),
            End::Abort(moment) if now >= after(moment) => {
                // It may be that there is no connection to reset.
                let _ = self
                    .proc
                    .setsockopt(self.fd, &SockOpt::Linger(Some(Duration::ZERO)));
                self.close();
            }
            _ => {}
        }
        let mut more = false;
        if !self.is_done() && now >= after(self.act.start) {
            more |= self.write();
        }
        if !self.is_done() && now >= after(self.act.nap) {
            more |= self.read()?;
        }
        if self.finished && (self.ended || self.act.end == End::Close) {
            self.close();
        }
        let moment = match self.act.end {
            End::Leave(moment) | End::Abort(moment) => moment,
            End::Orderly | End::Close => Duration::ZERO,
        };
        let times = [self.act.start, self.act.nap, moment].map(after);
        let next = times.into_iter().filter(|time| *time > now).min();
        let soon = now.after(Duration::from_millis(1));
        Ok(if more { soon } else { next.unwrap_or(never) })
    }

    /// A listener whose peer may have gone before it came closes some day.
    fn patience(&mut self, now: Instant, never: Instant) -> Instant {
        if self.patient {
            return never;
        }
        let begin = *self.begin.get_or_insert(now);
        let end = begin.after(Duration::from_hours(4));
        if now >= end {
            self.close();
        }
        end
    }

    fn fail(&mut self, error: Errno) {
        self.error = Some(error);
        self.close();
    }

    fn close(&mut self) {
        self.phase = Phase::Done;
        if let Err(error) = self.proc.close(self.fd) {
            self.error = Some(error);
        }
    }

    /// Sends; whether there may be room for more.
    fn write(&mut self) -> bool {
        for _ in 0..BURST {
            let left = self.act.data - self.sent;
            if left == 0 {
                if !self.finished && self.act.end != End::Close {
                    match self.proc.shutdown(self.fd, Shutdown::Write) {
                        Ok(()) => self.finished = true,
                        // Not connected yet.
                        Err(Errno::ENOTCONN) if self.phase == Phase::Connecting => {}
                        Err(error) => self.fail(error),
                    }
                }
                self.finished |= self.act.end == End::Close && self.phase == Phase::Open;
                self.settle();
                return false;
            }
            let len = left.min(self.act.write as u64);
            let data: Vec<u8> = (self.sent..self.sent + len)
                .map(|place| pattern(self.salt, place))
                .collect();
            match self.proc.write(self.fd, &data) {
                Ok(count) => {
                    self.phase = Phase::Open;
                    self.sent += count as u64;
                }
                Err(Errno::EAGAIN) => return false,
                Err(Errno::ENOTCONN) if self.phase == Phase::Connecting => return false,
                Err(error) => {
                    self.fail(error);
                    return false;
                }
            }
        }
        true
    }

    /// Finds out that the connection is there when there is nothing to send.
    fn settle(&mut self) {
        if self.phase == Phase::Connecting && self.proc.getpeername(self.fd).is_ok() {
            self.phase = Phase::Open;
        }
    }

    /// Receives; whether there may be more.
    fn read(&mut self) -> Result<bool, String> {
        let mut buf = vec![0; self.act.read];
        for _ in 0..BURST {
            if self.ended {
                return Ok(false);
            }
            let got = self.proc.recvfrom(self.fd, &mut buf, MsgFlags::DONTWAIT);
            if got.is_ok() {
                self.phase = Phase::Open;
            }
            match got {
                Ok((0, _)) => self.ended = true,
                Ok((count, _)) => {
                    for byte in &buf[..count] {
                        if *byte != pattern(self.salt ^ 1, self.received) {
                            return Err(format!("a wrong byte at {}: {self:#?}", self.received));
                        }
                        self.received += 1;
                    }
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::ENOTCONN) if self.phase == Phase::Connecting => return Ok(false),
                Err(error) => {
                    self.fail(error);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
