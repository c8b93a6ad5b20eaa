//! The system calls on sockets.

use crate::{
    Address, Chain, KernelNet as _, Net,
    socket::{
        Control, Domain, Incoming, Kind, MsgFlags, Outgoing, Received, Sent, Shutdown, SockOpt,
        Socket, message,
    },
};
use alloc::{sync::Arc, vec::Vec};
use core::{any::Any, time::Duration};
use rumpkern::{Fd, OpenFile, OpenFlags, Passed, Proc};
use rumpuser::{Errno, Result};

/// Descriptors that a message may carry (`SCM_MAX_FD`).
pub const RIGHTS: usize = 253;
/// Messages that one call sends or receives at most (`UIO_MAXIOV`).
pub const MESSAGES: usize = 1_024;

/// System calls on sockets, for `Proc`. None raises a signal.
pub trait SocketCalls {
    /// Makes a socket. Of `flags`, `CLOEXEC` and `NONBLOCK` count; protocol 0 is the usual one of the kind.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`, `EPROTONOSUPPORT`, `EPROTOTYPE`, `EACCES`, `EMFILE`.
    fn socket(&self, domain: Domain, kind: Kind, protocol: u8, flags: OpenFlags) -> Result<Fd>;
    /// Makes two sockets that are connected.
    ///
    /// # Errors
    /// As [`socket`](Self::socket); `EOPNOTSUPP`.
    fn socketpair(
        &self,
        domain: Domain,
        kind: Kind,
        protocol: u8,
        flags: OpenFlags,
    ) -> Result<(Fd, Fd)>;
    /// Gives a socket an address.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL`, `ENOTSOCK`, `EBADF`.
    fn bind(&self, fd: Fd, address: &Address) -> Result<()>;
    /// Connects.
    ///
    /// # Errors
    /// `EINPROGRESS` (non-blocking), `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, `EISCONN`, `EALREADY`, ...
    fn connect(&self, fd: Fd, address: &Address) -> Result<()>;
    /// Lets a socket accept connections.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL`, `EADDRINUSE`.
    fn listen(&self, fd: Fd, backlog: usize) -> Result<()>;
    /// Accepts a connection. Of `flags`, `CLOEXEC` and `NONBLOCK` count.
    ///
    /// # Errors
    /// `EAGAIN`, `EINVAL`, `EOPNOTSUPP`, `ECONNABORTED`, `EMFILE`.
    fn accept(&self, fd: Fd, flags: OpenFlags) -> Result<(Fd, Address)>;
    /// Sends a message. Descriptors go to who is at the other end of a local socket ([`Control::Rights`], at most [`RIGHTS`]).
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` (too many descriptors at once), `ETOOMANYREFS` (too many are on their way), `EPERM` (the sender is somebody else);
    /// `EAGAIN`, `EPIPE`, `EMSGSIZE`, `ENOTCONN`, `EDESTADDRREQ`, `ECONNRESET`, ...
    fn sendmsg(&self, fd: Fd, message: &Outgoing<'_>) -> Result<usize>;
    /// Receives a message, and whatever descriptors come with it: close them, or call [`recvmsg_rights`](Self::recvmsg_rights).
    ///
    /// # Errors
    /// `EAGAIN`, `ENOTCONN`, `ECONNRESET`, ...
    fn recvmsg(&self, fd: Fd, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received> {
        self.recvmsg_rights(fd, bufs, flags, usize::MAX)
    }
    /// Receives a message with at most `most` descriptors. Those that are too many, or that the process has no room for, are closed, and
    /// [`MsgFlags::CTRUNC`] tells of it.
    ///
    /// # Errors
    /// As [`recvmsg`](Self::recvmsg).
    fn recvmsg_rights(
        &self,
        fd: Fd,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
        most: usize,
    ) -> Result<Received>;
    /// Sends messages in order, as by a [`sendmsg`](Self::sendmsg) each, the first [`MESSAGES`] of them at most. It ends with the one that fails, or
    /// that is not sent whole, which only a stream does. Many datagrams cost less so: what is done for a call, a socket and an
    /// interface is done once for all.
    ///
    /// # Errors
    /// As [`sendmsg`](Self::sendmsg), if nothing was sent. An error after that is not told: whoever sends the rest hears of it then.
    fn sendmmsg(&self, fd: Fd, messages: &[Outgoing<'_>]) -> Result<Sent>;
    /// Receives messages in order, as by a [`recvmsg`](Self::recvmsg) each, the first [`MESSAGES`] of them at most; returns how many there were. A
    /// socket that waits does so until all are there, with [`MsgFlags::WAITFORONE`] until the first is, and no longer than
    /// `timeout`. (On Linux the timeout is looked at only when a message comes; here it is over when it is over.)
    ///
    /// # Errors
    /// As [`recvmsg`](Self::recvmsg), `EAGAIN` also for the timeout, if nothing was received. Another error after that is kept: the next
    /// call that sends or receives on the socket, or asks for [`SockOpt::Error`], has it.
    fn recvmmsg(
        &self,
        fd: Fd,
        messages: &mut [Incoming<'_, '_>],
        flags: MsgFlags,
        timeout: Option<Duration>,
    ) -> Result<usize>;
    /// Sends bytes, to an address if given.
    ///
    /// # Errors
    /// As [`sendmsg`](Self::sendmsg).
    fn sendto(&self, fd: Fd, data: &[u8], flags: MsgFlags, to: Option<&Address>) -> Result<usize> {
        self.sendmsg(
            fd,
            &Outgoing {
                to,
                bufs: &[data],
                control: &[],
                flags,
            },
        )
    }
    /// Receives bytes, and says from whom. Descriptors that came with them are closed.
    ///
    /// # Errors
    /// As [`recvmsg`](Self::recvmsg).
    fn recvfrom(
        &self,
        fd: Fd,
        buf: &mut [u8],
        flags: MsgFlags,
    ) -> Result<(usize, Option<Address>)> {
        let received = self.recvmsg_rights(fd, &mut [buf], flags, 0)?;
        Ok((received.len, received.from))
    }
    /// Sends the bytes of a chain ([`Chain::from`] a `Bytes`), and takes out of it what was sent: all, unless the socket does not wait, or an
    /// error came in between. TCP and UDP keep the pieces and copy nothing; the memory of a piece is free when the peer has
    /// acknowledged its last byte, or when nobody else has it. Others copy, as `send` does.
    ///
    /// What is kept counts in the send buffer with its bytes and a little for each piece. Pieces of less than a kibibyte are copied, so that a small
    /// one does not hold a large buffer; behind a larger one may be more memory than is counted, at the caller's expense, who made it.
    ///
    /// # Errors
    /// As [`sendmsg`](Self::sendmsg); the chain is as it was then.
    fn send_bytes(
        &self,
        fd: Fd,
        data: &mut Chain,
        flags: MsgFlags,
        to: Option<&Address>,
    ) -> Result<usize>;
    /// Receives at most `most` bytes of a stream, all that are there, or a message, in the pieces in which the socket has them. What is
    /// told of them is that of [`recvmsg`](Self::recvmsg). No bytes of a stream: it has ended.
    ///
    /// What was received no longer counts in the receive buffer, whose window opens: its memory is the caller's, as long as he holds any of the
    /// pieces. Of a larger buffer no piece of less than a kibibyte is given, but a copy.
    ///
    /// # Errors
    /// As [`recvmsg`](Self::recvmsg).
    fn recv_bytes(&self, fd: Fd, most: usize, flags: MsgFlags) -> Result<(Chain, Received)>;
    /// Ends a direction.
    ///
    /// # Errors
    /// `ENOTCONN`, `ENOTSOCK`.
    fn shutdown(&self, fd: Fd, how: Shutdown) -> Result<()>;
    /// The socket's own address.
    ///
    /// # Errors
    /// `EINVAL`, `ENOTSOCK`.
    fn getsockname(&self, fd: Fd) -> Result<Address>;
    /// The peer's address.
    ///
    /// # Errors
    /// `ENOTCONN`, `ENOTSOCK`.
    fn getpeername(&self, fd: Fd) -> Result<Address>;
    /// Sets an option.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`, `EDOM`.
    fn setsockopt(&self, fd: Fd, option: &SockOpt) -> Result<()>;
    /// The value of an option: `which` names it, its own value is ignored.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    fn getsockopt(&self, fd: Fd, which: &SockOpt) -> Result<SockOpt>;
    /// Whether the next byte that is read is the one that was sent as urgent (`sockatmark`).
    ///
    /// # Errors
    /// `ENOTSOCK`, `EBADF`, `EOPNOTSUPP` (a socket of the host).
    fn at_mark(&self, fd: Fd) -> Result<bool>;
    /// Sets how long receiving and accepting wait (`SO_RCVTIMEO`), `None` for ever: `EAGAIN` after that.
    ///
    /// # Errors
    /// `ENOTSOCK`.
    fn set_receive_timeout(&self, fd: Fd, timeout: Option<Duration>) -> Result<()>;
    /// Sets how long sending and connecting wait (`SO_SNDTIMEO`).
    ///
    /// # Errors
    /// `ENOTSOCK`.
    fn set_send_timeout(&self, fd: Fd, timeout: Option<Duration>) -> Result<()>;
    /// Makes a socket that has no descriptor, in the network of the kernel: [`Proc::hold`] opens it without one. To be [entered](Proc::enter)
    /// for, as all that is done with it.
    ///
    /// # Errors
    /// As [`socket`](Self::socket), without `EMFILE`.
    fn new_socket(
        &self,
        net: &Net,
        domain: Domain,
        kind: Kind,
        protocol: u8,
    ) -> Result<Arc<Socket>>;
    /// The socket behind a descriptor.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`.
    fn fd_socket(&self, fd: Fd) -> Result<(Arc<OpenFile>, Arc<Socket>)>;
}

/// Flags of a descriptor that a call which makes one takes.
fn checked(flags: OpenFlags) -> Result<OpenFlags> {
    if (OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        Ok(flags | OpenFlags::RDWR)
    } else {
        Err(Errno::EINVAL)
    }
}

/// The socket that a descriptor refers to.
fn socket_of(open: &OpenFile) -> Result<&Socket> {
    let file: &dyn Any = &**open.file();
    file.downcast_ref().ok_or(Errno::ENOTSOCK)
}

fn waits(open: &OpenFile) -> bool {
    !open.flags().contains(OpenFlags::NONBLOCK)
}

/// The path that names a local socket.
fn path<'a>(address: &'a Address, socket: &Socket) -> Option<&'a [u8]> {
    match address {
        Address::Local(path) if socket.domain() == Domain::Local => {
            let first = path.first()?;
            (*first != 0).then_some(path)
        }
        _ => None,
    }
}

/// Gives a local socket a file.
fn bind_path(proc: &Proc, socket: &Socket, path: &[u8]) -> Result<()> {
    let endpoint = socket.endpoint();
    // A file is made only for who has none yet.
    if endpoint.local() != Ok(Address::Unspecified) {
        return Err(Errno::EINVAL);
    }
    let made = proc
        .kernel()
        .name_space(|names| names.make_socket(proc, path));
    let node = match made {
        Err(Errno::EEXIST) => return Err(Errno::EADDRINUSE),
        made => made?,
    };
    let path = path.to_vec();
    endpoint.bind(&Address::Node { path, node }, &proc.cred())
}

/// The file of a local socket that a path names.
fn find(proc: &Proc, socket: &Socket, address: &Address) -> Result<Option<Address>> {
    let Some(path) = path(address, socket) else {
        return Ok(None);
    };
    let node = proc
        .kernel()
        .name_space(|names| names.find_socket(proc, path))?;
    let path = path.to_vec();
    Ok(Some(Address::Node { path, node }))
}

/// What goes with a message, as the endpoint gets it.
fn departing(proc: &Proc, control: &Control) -> Result<Control> {
    match control {
        Control::Rights(fds) => {
            let passed: Result<Vec<_>> = fds.iter().map(|fd| proc.fd_pass(*fd)).collect();
            Ok(Control::Files(passed?))
        }
        Control::Cred { pid, uid, gid } => {
            let cred = proc.cred();
            let truth = *pid == proc.getpid() && *uid == cred.uid && *gid == cred.gid;
            // Only the superuser says that somebody else sends.
            if truth || cred.is_root() {
                Ok(control.clone())
            } else {
                Err(Errno::EPERM)
            }
        }
        other => Ok(other.clone()),
    }
}

/// Whether the endpoint gets a message as it is.
fn is_plain(socket: &Socket, message: &Outgoing<'_>) -> bool {
    message.control.is_empty() && socket.domain() != Domain::Local
}

/// Sends a message to a name, or with something besides bytes.
fn send_with(
    proc: &Proc,
    socket: &Socket,
    message: &Outgoing<'_>,
    nonblock: bool,
) -> Result<usize> {
    let rights = message.control.iter().map(|control| match control {
        Control::Rights(fds) => fds.len(),
        _ => 0,
    });
    if rights.sum::<usize>() > RIGHTS {
        return Err(Errno::EINVAL);
    }
    let control: Result<Vec<_>> = message
        .control
        .iter()
        .map(|control| departing(proc, control))
        .collect();
    let mut control = control?;
    let found = match message.to {
        Some(to) => find(proc, socket, to)?,
        None => None,
    };
    let to = found.as_ref().or(message.to);
    let says = |control: &Control| matches!(control, Control::Cred { .. });
    let local = socket.domain() == Domain::Local;
    if local && !control.iter().any(says) && socket.endpoint().passes_cred(to) {
        control.push(Control::sender(proc));
    }
    let message = Outgoing {
        to,
        control: &control,
        ..*message
    };
    socket.send(&message, nonblock)
}

/// Puts at most so many descriptors that came with a message into the process, and tells if there were more.
fn take_rights(proc: &Proc, received: &mut Received, flags: MsgFlags, most: usize) {
    if received.control.is_empty() {
        return;
    }
    let close_on_exec = flags.contains(MsgFlags::CMSG_CLOEXEC);
    let mut room = most;
    for control in core::mem::take(&mut received.control) {
        let Control::Files(files) = control else {
            received.control.push(control);
            continue;
        };
        let (rights, all) = arrive(proc, files, room, close_on_exec);
        if let Some(Control::Rights(fds)) = &rights {
            room = room.saturating_sub(fds.len());
        }
        received.control.extend(rights);
        if !all {
            received.flags.insert(MsgFlags::CTRUNC);
        }
    }
}

/// Gives descriptors that came with a message to the process; whether it got all.
fn arrive(
    proc: &Proc,
    files: Vec<Passed>,
    most: usize,
    close_on_exec: bool,
) -> (Option<Control>, bool) {
    let (count, mut fds) = (files.len(), Vec::new());
    for passed in files.into_iter().take(most) {
        let Ok(place) = proc.fd_reserve() else {
            break;
        };
        fds.extend(place.receive(passed, close_on_exec));
    }
    let all = fds.len() == count;
    let rights = Some(fds).filter(|fds| !fds.is_empty());
    (rights.map(Control::Rights), all)
}

impl SocketCalls for Proc {
    fn socket(&self, domain: Domain, kind: Kind, protocol: u8, flags: OpenFlags) -> Result<Fd> {
        self.enter(|| {
            let flags = checked(flags)?;
            let socket = self.new_socket(&*self.kernel().net()?, domain, kind, protocol)?;
            self.fd_alloc(socket, flags)
        })
    }

    fn socketpair(
        &self,
        domain: Domain,
        kind: Kind,
        protocol: u8,
        flags: OpenFlags,
    ) -> Result<(Fd, Fd)> {
        self.enter(|| {
            let (flags, kernel) = (checked(flags)?, self.kernel());
            let family = kernel.net()?.family(domain)?;
            let (one, two) = family.pair(kind, protocol, &self.cred())?;
            let socket = |end| Socket::new(domain, end, kernel.host());
            let one = self.fd_alloc(socket(one), flags)?;
            match self.fd_alloc(socket(two), flags) {
                Ok(two) => Ok((one, two)),
                Err(error) => {
                    self.close(one)?;
                    Err(error)
                }
            }
        })
    }

    fn bind(&self, fd: Fd, address: &Address) -> Result<()> {
        self.enter(|| {
            let (_, socket) = self.fd_socket(fd)?;
            if let Some(path) = path(address, &socket) {
                return bind_path(self, &socket, path);
            }
            socket.endpoint().bind(address, &self.cred())
        })
    }

    fn connect(&self, fd: Fd, address: &Address) -> Result<()> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            let socket = socket_of(&open)?;
            let found = find(self, socket, address)?;
            let address = found.as_ref().unwrap_or(address);
            socket.connect(address, &self.cred(), !waits(&open))
        })
    }

    fn listen(&self, fd: Fd, backlog: usize) -> Result<()> {
        self.enter(|| self.fd_socket(fd)?.1.endpoint().listen(backlog))
    }

    fn accept(&self, fd: Fd, flags: OpenFlags) -> Result<(Fd, Address)> {
        self.enter(|| {
            let flags = checked(flags)?;
            let open = self.fd_file(fd)?;
            let socket = socket_of(&open)?;
            // The descriptor comes first: a connection that has been taken could not be put back.
            let place = self.fd_reserve()?;
            let (new, address) = socket.accept(!waits(&open))?;
            Ok((place.fill(new, flags), address))
        })
    }

    fn sendmsg(&self, fd: Fd, message: &Outgoing<'_>) -> Result<usize> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            let socket = socket_of(&open)?;
            if is_plain(socket, message) {
                return socket.send(message, !waits(&open));
            }
            send_with(self, socket, message, !waits(&open))
        })
    }

    fn sendmmsg(&self, fd: Fd, messages: &[Outgoing<'_>]) -> Result<Sent> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            let socket = socket_of(&open)?;
            let messages = messages.get(..MESSAGES).unwrap_or(messages);
            if messages.iter().all(|message| is_plain(socket, message)) {
                return socket.send_many(messages, !waits(&open));
            }
            let mut sent = Sent::default();
            for message in messages {
                match send_with(self, socket, message, !waits(&open)) {
                    Ok(bytes) if sent.add(message, bytes) => {}
                    Err(error) if sent.messages == 0 => return Err(error),
                    _ => break,
                }
            }
            Ok(sent)
        })
    }

    fn recvmsg_rights(
        &self,
        fd: Fd,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
        most: usize,
    ) -> Result<Received> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            let socket = socket_of(&open)?;
            let mut received = socket.receive(bufs, flags, !waits(&open))?;
            take_rights(self, &mut received, flags, most);
            Ok(received)
        })
    }

    fn recvmmsg(
        &self,
        fd: Fd,
        messages: &mut [Incoming<'_, '_>],
        flags: MsgFlags,
        timeout: Option<Duration>,
    ) -> Result<usize> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            let socket = socket_of(&open)?;
            let most = messages.len().min(MESSAGES);
            let messages = messages.get_mut(..most).unwrap_or_default();
            let count = socket.receive_many(messages, flags, timeout, !waits(&open))?;
            for Incoming { received, .. } in messages.iter_mut().take(count) {
                take_rights(self, received, flags, usize::MAX);
            }
            Ok(count)
        })
    }

    fn send_bytes(
        &self,
        fd: Fd,
        data: &mut Chain,
        flags: MsgFlags,
        to: Option<&Address>,
    ) -> Result<usize> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            let socket = socket_of(&open)?;
            if socket.domain() != Domain::Local {
                return socket.send_bytes(data, to, flags, !waits(&open));
            }
            // A name is looked up, and who sends it may have to be told.
            let sent = message(data, to, flags, |message| {
                send_with(self, socket, message, !waits(&open))
            })?;
            data.advance(sent);
            Ok(sent)
        })
    }

    fn recv_bytes(&self, fd: Fd, most: usize, flags: MsgFlags) -> Result<(Chain, Received)> {
        self.enter(|| {
            let open = self.fd_file(fd)?;
            let socket = socket_of(&open)?;
            let (data, mut received) = socket.receive_bytes(most, flags, !waits(&open))?;
            take_rights(self, &mut received, flags, usize::MAX);
            Ok((data, received))
        })
    }

    fn shutdown(&self, fd: Fd, how: Shutdown) -> Result<()> {
        self.enter(|| self.fd_socket(fd)?.1.endpoint().shutdown(how))
    }

    fn getsockname(&self, fd: Fd) -> Result<Address> {
        self.enter(|| self.fd_socket(fd)?.1.endpoint().local())
    }

    fn getpeername(&self, fd: Fd) -> Result<Address> {
        self.enter(|| self.fd_socket(fd)?.1.endpoint().peer())
    }

    fn setsockopt(&self, fd: Fd, option: &SockOpt) -> Result<()> {
        self.enter(|| self.fd_socket(fd)?.1.set_option(option))
    }

    fn getsockopt(&self, fd: Fd, which: &SockOpt) -> Result<SockOpt> {
        self.enter(|| self.fd_socket(fd)?.1.option(which))
    }

    fn at_mark(&self, fd: Fd) -> Result<bool> {
        self.enter(|| self.fd_socket(fd)?.1.endpoint().at_mark())
    }

    fn set_receive_timeout(&self, fd: Fd, timeout: Option<Duration>) -> Result<()> {
        self.fd_socket(fd)?.1.set_receive_timeout(timeout);
        Ok(())
    }

    fn set_send_timeout(&self, fd: Fd, timeout: Option<Duration>) -> Result<()> {
        self.fd_socket(fd)?.1.set_send_timeout(timeout);
        Ok(())
    }

    fn new_socket(
        &self,
        net: &Net,
        domain: Domain,
        kind: Kind,
        protocol: u8,
    ) -> Result<Arc<Socket>> {
        let family = net.family(domain)?;
        let endpoint = family.socket(kind, protocol, &self.cred())?;
        Ok(Socket::new(domain, endpoint, self.host()))
    }

    fn fd_socket(&self, fd: Fd) -> Result<(Arc<OpenFile>, Arc<Socket>)> {
        let open = self.fd_file(fd)?;
        let socket = open.file().clone().as_any().downcast();
        Ok((open, socket.map_err(|_| Errno::ENOTSOCK)?))
    }
}
