//! Messages of ICMP and ICMPv6, as `ping` and `traceroute` send and read them.

use super::LOOK;
use crate::report::{Failure, Outcome};
use rumpkern::{Fd, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    Address, SocketCalls as _,
    socket::{Control, Domain, Kind, MsgFlags, Received, SockOpt},
};
use rumpuser::Errno;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Bytes in front of what is echoed or quoted.
const HEADER: usize = 8;

/// Bytes of the headers of an echo or a datagram, with that of IP.
pub(crate) const fn headers(v4: bool) -> usize {
    HEADER + if v4 { 20 } else { 40 }
}

/// What tells the echoes of this process from those of others.
pub(crate) fn own_id() -> u16 {
    (std::process::id() & 0xffff) as u16
}

/// A socket of ICMP, to one family.
pub(crate) struct Socket<'a> {
    proc: &'a Proc,
    fd: Fd,
    v4: bool,
    kind: Kind,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) from: IpAddr,
    /// Hops that it had left, if the stack tells.
    pub(crate) ttl: Option<u8>,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An answer: identifier, number, and what was echoed.
    Echo(u16, u16, Vec<u8>),
    /// An error about a packet of ours: why, its protocol, and what was in it.
    Error(Reason, u8, Vec<u8>),
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    TimeExceeded,
    NetUnreachable,
    HostUnreachable,
    PortUnreachable,
    ProtocolUnreachable,
    TooBig,
    Prohibited,
    Other(u8, u8),
}

impl Reason {
    fn of(v4: bool, kind: u8, code: u8) -> Option<Self> {
        Some(match (v4, kind, code) {
            (true, 11, 0) | (false, 3, 0) => Self::TimeExceeded,
            (true, 3, 0) | (false, 1, 0) => Self::NetUnreachable,
            (true, 3, 1) | (false, 1, 3) => Self::HostUnreachable,
            (true, 3, 2) | (false, 4, 1) => Self::ProtocolUnreachable,
            (true, 3, 3) | (false, 1, 4) => Self::PortUnreachable,
            (true, 3, 4) | (false, 2, _) => Self::TooBig,
            (true, 3, 9 | 10 | 13) | (false, 1, 1) => Self::Prohibited,
            (true, 3 | 11 | 12, _) | (false, 1 | 3 | 4, _) => Self::Other(kind, code),
            _ => return None,
        })
    }

    /// For people.
    pub(crate) fn text(self) -> String {
        match self {
            Self::TimeExceeded => "Time to live exceeded".into(),
            Self::NetUnreachable => "Destination Net Unreachable".into(),
            Self::HostUnreachable => "Destination Host Unreachable".into(),
            Self::PortUnreachable => "Destination Port Unreachable".into(),
            Self::ProtocolUnreachable => "Destination Protocol Unreachable".into(),
            Self::TooBig => "Packet too big".into(),
            Self::Prohibited => "Communication prohibited".into(),
            Self::Other(kind, code) => format!("ICMP type {kind}, code {code}"),
        }
    }

    /// As `traceroute` marks it; nothing when it is what was hoped for.
    pub(crate) fn mark(self) -> String {
        match self {
            Self::TimeExceeded | Self::PortUnreachable => String::new(),
            Self::NetUnreachable => " !N".into(),
            Self::HostUnreachable => " !H".into(),
            Self::ProtocolUnreachable => " !P".into(),
            Self::TooBig => " !F".into(),
            Self::Prohibited => " !X".into(),
            Self::Other(_, code) => format!(" !{code}"),
        }
    }
}

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        let _ = self.proc.close(self.fd);
    }
}

impl<'a> Socket<'a> {
    /// A raw socket; one for echoes alone where the host lets this user have no other.
    ///
    /// # Errors
    /// The host lets the user have none.
    pub(crate) fn open(proc: &'a Proc, v4: bool, echoes: bool) -> Outcome<Self> {
        let (domain, protocol) = if v4 {
            (Domain::Inet, ICMP)
        } else {
            (Domain::Inet6, ICMPV6)
        };
        let flags = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK;
        let mut kind = Kind::Raw;
        let mut fd = proc.socket(domain, kind, protocol, flags);
        if echoes && matches!(fd, Err(Errno::EPERM | Errno::EACCES)) {
            kind = Kind::Datagram;
            fd = proc.socket(domain, kind, protocol, flags);
        }
        let why = |errno| {
            let hint = if matches!(errno, Errno::EPERM | Errno::EACCES) {
                " (with --sockin it takes CAP_NET_RAW of the host)"
            } else {
                ""
            };
            Failure::Fatal(format!("socket of ICMP: {errno}{hint}"))
        };
        let this = Self {
            proc,
            fd: fd.map_err(why)?,
            v4,
            kind,
        };
        // Where it is not told, it is not shown.
        let _ = proc.setsockopt(this.fd, &SockOpt::ReceiveTtl(true));
        Ok(this)
    }

    /// Sets an option.
    ///
    /// # Errors
    /// As the stack says.
    pub(crate) fn set(&self, option: &SockOpt) -> Result<(), Errno> {
        self.proc.setsockopt(self.fd, option)
    }

    /// Gives it an address to send from.
    ///
    /// # Errors
    /// As the stack says.
    pub(crate) fn bind(&self, address: IpAddr) -> Result<(), Errno> {
        self.proc.bind(self.fd, &SocketAddr::new(address, 0).into())
    }

    /// Asks for an echo.
    ///
    /// # Errors
    /// As the stack says.
    pub(crate) fn ask(
        &self,
        to: SocketAddr,
        id: u16,
        number: u16,
        data: &[u8],
    ) -> Result<(), Errno> {
        let mut message = vec![if self.v4 { 8 } else { 128 }, 0, 0, 0];
        message.extend(id.to_be_bytes());
        message.extend(number.to_be_bytes());
        message.extend(data);
        if self.v4 {
            // Of IPv6 the stack fills it in.
            let sum = internet_checksum::checksum(&message);
            message[2..4].copy_from_slice(&sum);
        }
        let sent = self
            .proc
            .sendto(self.fd, &message, MsgFlags::empty(), Some(&to.into()));
        sent.map(|_| ())
    }

    /// Waits for a message that is about us, at most so long, and no longer than a signal may be missed.
    ///
    /// # Errors
    /// As the stack says.
    pub(crate) fn receive(&self, buf: &mut [u8], most: Duration) -> Result<Option<Message>, Errno> {
        let mut fds = [PollFd {
            fd: self.fd,
            events: Ready::IN,
            ready: Ready::empty(),
        }];
        if self.proc.poll(&mut fds, Some(most.min(LOOK)))? == 0 {
            return Ok(None);
        }
        match self
            .proc
            .recvmsg(self.fd, &mut [&mut *buf], MsgFlags::empty())
        {
            Ok(received) => Ok(self.read(buf, &received)),
            // Somebody else's packet was not for us, or an error that is told as a message as well.
            Err(Errno::EAGAIN | Errno::ECONNREFUSED | Errno::EHOSTUNREACH) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn read(&self, buf: &[u8], received: &Received) -> Option<Message> {
        let Some(Address::Inet(from)) = received.from else {
            return None;
        };
        let mut message = buf.get(..received.len)?;
        let mut ttl = received.control.iter().find_map(|control| match control {
            Control::HopLimit(ttl) => Some(*ttl),
            _ => None,
        });
        if self.v4 && self.kind == Kind::Raw {
            ttl = message.get(8).copied();
            message = strip_v4(message)?;
        }
        let what = read(self.v4, message)?;
        Some(Message {
            from: from.ip(),
            ttl,
            what,
        })
    }

    /// Whether answers have the identifier that was sent: the host chooses one for sockets that are for echoes alone.
    pub(crate) fn keeps_ids(&self) -> bool {
        self.kind == Kind::Raw
    }
}

/// What comes after a header of IPv4.
fn strip_v4(packet: &[u8]) -> Option<&[u8]> {
    let len = usize::from(packet.first()? & 0xf) * 4;
    packet.get(len.max(20)..)
}

fn read(v4: bool, message: &[u8]) -> Option<What> {
    let (&[kind, code, _, _, id0, id1, n0, n1], rest) = message.split_first_chunk::<HEADER>()?;
    if kind == if v4 { 0 } else { 129 } {
        let (id, number) = (u16::from_be_bytes([id0, id1]), u16::from_be_bytes([n0, n1]));
        return Some(What::Echo(id, number, rest.to_vec()));
    }
    let reason = Reason::of(v4, kind, code)?;
    let (protocol, quoted) = if v4 {
        (*rest.get(9)?, strip_v4(rest)?)
    } else {
        (*rest.get(6)?, rest.get(40..)?)
    };
    Some(What::Error(reason, protocol, quoted.to_vec()))
}

/// Identifier and number of the echo that an error quotes.
pub(crate) fn quoted_echo(v4: bool, protocol: u8, quoted: &[u8]) -> Option<(u16, u16)> {
    let &[kind, _, _, _, id0, id1, n0, n1] = quoted.first_chunk::<HEADER>()?;
    let ours = (protocol, kind) == if v4 { (ICMP, 8) } else { (ICMPV6, 128) };
    ours.then(|| (u16::from_be_bytes([id0, id1]), u16::from_be_bytes([n0, n1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_and_errors() {
        assert_eq!(
            read(true, &[0, 0, 9, 9, 0, 7, 0, 1, 5]),
            Some(What::Echo(7, 1, vec![5]))
        );
        let mut error = vec![11, 0, 9, 9, 0, 0, 0, 0];
        error.extend([
            0x45, 0, 0, 28, 0, 0, 0, 0, 1, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        error.extend([8, 0, 0, 0, 0, 7, 0, 2]);
        let Some(What::Error(Reason::TimeExceeded, ICMP, quoted)) = read(true, &error) else {
            panic!();
        };
        assert_eq!(quoted_echo(true, ICMP, &quoted), Some((7, 2)));
        assert_eq!(quoted_echo(false, ICMP, &quoted), None);
        for len in 0..28 {
            assert_eq!(read(true, &error[..len]), None, "{len}");
        }
        // A question is no answer.
        assert_eq!(read(true, &[8, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
