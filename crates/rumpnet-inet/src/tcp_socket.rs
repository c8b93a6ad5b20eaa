//! The sockets of TCP.

mod shared;

use crate::{
    ip::{self, scope, scoped},
    port::{self, Speaks},
    stack::{Inet, Stack},
    tcp::{Config, Congestion, Count, Info, State, Tcb},
    tcp_table::{Listener, Pair, Role, Socket},
};
use alloc::{boxed::Box, string::ToString, sync::Arc};
use bytes::{Bytes, BytesMut};
use core::{net::SocketAddr, time::Duration};
use rumpkern::{Cred, file::Ready};
use rumpnet::{
    Address, Chain,
    socket::{Domain, Endpoint, Kind, MsgFlags, Outgoing, Received, Shutdown, SockOpt, Watcher},
};
use rumpuser::{Errno, Instant, Result};

/// Connections that wait at most, whatever a caller says (`somaxconn`).
const BACKLOG: usize = 4_096;
/// What a buffer has at least, whatever a caller says: with none nothing would ever be sent; and at most, as no window is larger (RFC 7323
/// section 2.3).
pub(crate) const BUFFER_MIN: usize = 2_048;
pub(crate) const BUFFER_MAX: usize = 1 << 30;

/// A socket of TCP.
struct TcpSocket {
    inet: Arc<Inet>,
    id: usize,
}

/// The family's sockets of this kind.
pub(crate) fn socket(inet: &Arc<Inet>, domain: Domain) -> Box<dyn Endpoint> {
    let id = inet.quick(|stack| stack.tcp.create(Speaks::new(domain)));
    Box::new(TcpSocket {
        inet: inet.clone(),
        id,
    })
}

/// What can be told of a connection (`TCP_INFO`).
///
/// # Errors
/// `ENOPROTOOPT`: it is no socket of TCP. `ENOTCONN`.
pub fn info(socket: &rumpnet::socket::Socket) -> Result<Info> {
    let endpoint: &dyn core::any::Any = socket.endpoint();
    let tcp: &TcpSocket = endpoint.downcast_ref().ok_or(Errno::ENOPROTOOPT)?;
    tcp.of(|socket| socket.tcb().map(|tcb| tcb.info()))?
}

impl Socket {
    /// The connection.
    fn tcb(&mut self) -> Result<&mut Tcb> {
        match &mut self.role {
            Role::Connection(tcb) => Ok(tcb),
            Role::Fresh | Role::Listener(_) => Err(Errno::ENOTCONN),
        }
    }

    fn ready(&mut self) -> Ready {
        let error = self.error.is_some();
        let mut ready = Ready::empty();
        match &mut self.role {
            Role::Fresh => ready = Ready::OUT | Ready::HUP,
            Role::Listener(queue) => ready.set(Ready::IN, !queue.ready.is_empty()),
            Role::Connection(tcb) => {
                let state = tcb.state();
                let opening = match state {
                    State::SynSent => true,
                    State::SynReceived => !self.early,
                    _ => false,
                };
                let closed = state == State::Closed;
                let enough = if tcb.expects_more() {
                    self.receive_lowat
                } else {
                    1
                };
                let readable = tcb.readable() >= enough || tcb.at_end() || closed;
                ready.set(Ready::IN, readable);
                let writable = tcb.check_send().is_err() || tcb.send_room() > tcb.send_buffer() / 3;
                ready.set(Ready::OUT, !opening && writable);
                ready.set(Ready::PRI, tcb.has_urgent());
                ready.set(Ready::HUP, closed);
            }
        }
        ready.set(Ready::ERR, error);
        ready
    }
}

impl Stack {
    /// Begins a connection. `fast`: data that follows may go with its SYN.
    fn tcp_connect(&mut self, id: usize, to: SocketAddr, fast: bool) -> Result<()> {
        let socket = self.tcp.get(id)?;
        match &socket.role {
            Role::Fresh => {}
            Role::Listener(_) => return Err(Errno::EOPNOTSUPP),
            Role::Connection(tcb) => match tcb.state() {
                State::SynSent | State::SynReceived => return Err(Errno::EALREADY),
                State::Closed => {
                    self.tcp.settle(id);
                    self.tcp.get(id)?.role = Role::Fresh;
                }
                _ => return Err(Errno::EISCONN),
            },
        }
        let socket = self.tcp.get(id)?;
        socket.error = None;
        if to.port() == 0 || to.ip().is_multicast() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let by = socket.interface.or(scope(&to));
        let (from, bound) = (socket.local, socket.port);
        let dont_route = socket.dont_route;
        let to = self.this_host(to);
        let path = self.tcp_path(to.ip(), from, by);
        let path = self.way_out(to.ip(), path)?;
        self.shown.uses(to.ip());
        path.allowed(to.ip(), dont_route)?;
        let to = scoped(to, path.interface);
        if path.broadcast {
            return Err(Errno::EACCES);
        }
        if path.source.is_unspecified() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if bound == 0 {
            self.tcp.take_port_to(id, path.source, to)?;
        }
        let socket = self.tcp.get(id)?;
        let pair = Pair {
            local: SocketAddr::new(path.source, socket.port),
            peer: to,
        };
        let most = socket.max_segment;
        let now = self.now;
        let (mut way, iss) = self.tcp.begin(&pair, &path, now);
        way.mss = way.mss.min(most.unwrap_or(u16::MAX));
        if fast {
            way.fast_open = self.tcp.fast_open.cookie_for(to.ip());
        }
        let tcb = Tcb::connect(&self.tcp.get(id)?.config, way, iss, now);
        self.tcp.establish(id, pair, tcb)?;
        self.tcp.tally.count(Count::ActiveOpens, 1);
        self.tcp_remember_path(id, &path);
        self.tcp.list(id);
        Err(Errno::EINPROGRESS)
    }

    /// Connects with data (RFC 7413 section 4.1.3): it goes with the SYN if the server has given a cookie before, else after the
    /// handshake, which then is waited for.
    fn tcp_write_first(&mut self, id: usize, message: &Outgoing<'_>) -> Result<usize> {
        let socket = self.tcp.get(id)?;
        let to = match (&socket.role, message.to) {
            (Role::Fresh, Some(to)) => socket.speaks.address(to)?,
            _ => return self.tcp_write(id, message),
        };
        match self.tcp_connect(id, to, true) {
            Err(Errno::EINPROGRESS) => {}
            other => return other.map(|()| 0),
        }
        let known = self.tcp.fast_open.cookie_for(to.ip());
        if known.is_none_or(|cookie| cookie.is_request()) {
            return Err(Errno::EINPROGRESS);
        }
        let tcb = self.tcp.get(id)?.tcb()?;
        let room = tcb.send_room().min(message.len());
        Ok(tcb.send(copy(message.bufs, room)))
    }

    /// How many of `len` bytes can be sent now; `None` if there are none to send.
    #[inline(always)]
    fn tcp_room(&mut self, id: usize, len: usize, flags: MsgFlags) -> Result<Option<usize>> {
        let socket = self.tcp.get(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let more = flags.contains(MsgFlags::MORE);
        let cork = socket.config.cork || more;
        let tcb = socket.tcb()?;
        if tcb.state() == State::SynSent {
            return Err(Errno::EAGAIN);
        }
        tcb.check_send().map_err(|_| Errno::EPIPE)?;
        if tcb.cork() != cork {
            tcb.set_cork(cork);
        }
        if len == 0 {
            return Ok(None);
        }
        let room = tcb.send_room().min(len);
        if room == 0 {
            // It notes that somebody waits for room.
            tcb.send(Chain::from(Bytes::from_static(b"-")));
            return Err(Errno::EAGAIN);
        }
        Ok(Some(room))
    }

    #[inline(always)]
    fn tcp_write(&mut self, id: usize, message: &Outgoing<'_>) -> Result<usize> {
        let len = message.len();
        let Some(room) = self.tcp_room(id, len, message.flags)? else {
            return Ok(0);
        };
        let tcb = self.tcp.get(id)?.tcb()?;
        let urgent = message.flags.contains(MsgFlags::OOB) && room == len;
        let sent = match message.bufs {
            [one] if !urgent => tcb.send_bytes(one.get(..room).unwrap_or(one)),
            bufs if urgent => tcb.send_urgent(copy(bufs, room)),
            bufs => tcb.send(copy(bufs, room)),
        };
        self.tcp.list(id);
        Ok(sent)
    }

    #[inline(always)]
    fn tcp_read(&mut self, id: usize, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received> {
        let tcb = self.tcp.get(id)?.tcb()?;
        let mut received = Received::default();
        if flags.contains(MsgFlags::OOB) {
            let byte = tcb.receive_urgent(flags.contains(MsgFlags::PEEK))?;
            if let Some(place) = bufs.iter_mut().find_map(|buf| buf.first_mut()) {
                *place = byte;
                received.len = 1;
            }
            received.flags = MsgFlags::OOB;
            return Ok(received);
        }
        if flags.contains(MsgFlags::PEEK) {
            received.len = tcb.peek(bufs);
        } else {
            for buf in bufs.iter_mut() {
                let count = tcb.receive_into(buf);
                received.len = received.len.saturating_add(count);
                if count < buf.len() {
                    break;
                }
            }
        }
        let empty = bufs.iter().all(|buf| buf.is_empty());
        self.tcp_has_read(id, received.len > 0 || empty)?;
        Ok(received)
    }

    /// Says what a call comes to that has read something, or found nothing: `Ok` without bytes is the end.
    #[inline(always)]
    fn tcp_has_read(&mut self, id: usize, something: bool) -> Result<()> {
        let socket = self.tcp.get(id)?;
        let error = socket.error;
        let tcb = socket.tcb()?;
        if something {
            if tcb.has_output() {
                self.tcp.list(id);
            }
            return Ok(());
        }
        let ended = tcb.at_end() || tcb.state() == State::Closed;
        if let Some(error) = error {
            socket.error = None;
            return Err(error);
        }
        if ended { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    fn tcp_close(&mut self, id: usize) -> Result<Option<Duration>> {
        let now = self.now;
        let socket = self.tcp.get(id)?;
        socket.closed = true;
        let linger = socket.linger;
        let abort = linger == Some(Duration::ZERO);
        let event = socket.waiters.told();
        match &mut socket.role {
            Role::Connection(_) if abort => self.tcp_abort(id),
            Role::Connection(tcb) => {
                let changes = tcb.close(now);
                self.tcp_changed(id, changes);
                self.tcp.list(id);
            }
            Role::Listener(_) => {
                socket.role = Role::Fresh;
                self.tcp_unlisten(id);
            }
            Role::Fresh => {}
        }
        self.wake(event.as_ref());
        Ok(linger)
    }
}

/// The first `len` bytes of the buffers.
fn copy(bufs: &[&[u8]], len: usize) -> Chain {
    if let [one] = bufs {
        return Bytes::copy_from_slice(one.get(..len).unwrap_or(one)).into();
    }
    let mut all = BytesMut::with_capacity(len);
    for buf in bufs {
        let room = len.saturating_sub(all.len()).min(buf.len());
        all.extend_from_slice(buf.get(..room).unwrap_or(buf));
    }
    all.freeze().into()
}

impl TcpSocket {
    fn of<R>(&self, body: impl FnOnce(&mut Socket) -> R) -> Result<R> {
        self.inet.quick(|stack| stack.tcp.get(self.id).map(body))
    }
}

impl Endpoint for TcpSocket {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn bind(&self, address: &Address, cred: &Cred) -> Result<()> {
        let address = self.of(|socket| socket.speaks.address(address))??;
        port::allowed(address.port(), cred)?;
        self.inet.with(|stack| {
            let local = Some(address.ip()).filter(|ip| !ip.is_unspecified());
            if local.is_some_and(|ip| !stack.is_ours(ip)) {
                return Err(Errno::EADDRNOTAVAIL);
            }
            let socket = stack.tcp.get(self.id)?;
            if socket.port != 0 || !matches!(socket.role, Role::Fresh) {
                return Err(Errno::EINVAL);
            }
            stack.tcp.take_port(self.id, local, address.port())
        })
    }

    fn connect(&self, address: &Address, _cred: &Cred) -> Result<()> {
        self.inet.with(|stack| {
            let address = stack.tcp.get(self.id)?.speaks.address(address)?;
            stack.tcp_connect(self.id, address, false)
        })
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        let backlog = backlog.clamp(1, BACKLOG);
        self.inet.with(|stack| {
            let socket = stack.tcp.get(self.id)?;
            match &mut socket.role {
                Role::Listener(queue) => {
                    queue.backlog = backlog;
                    return Ok(());
                }
                Role::Connection(_) => return Err(Errno::EINVAL),
                Role::Fresh => {}
            }
            if socket.port == 0 {
                stack.tcp.take_port(self.id, None, 0)?;
            }
            let listener = Listener {
                backlog,
                ..Listener::default()
            };
            stack.tcp.listen(self.id, listener)
        })
    }

    fn accept(&self) -> Result<(Box<dyn Endpoint>, Address)> {
        let (id, peer) = self.inet.quick(|stack| stack.tcp_accept(self.id))?;
        let inet = self.inet.clone();
        Ok((Box::new(Self { inet, id }), peer.into()))
    }

    fn send(&self, message: &Outgoing<'_>) -> Result<usize> {
        if !message.control.is_empty() {
            return Err(Errno::EINVAL);
        }
        // As POSIX has it, a connection may ignore the address.
        self.inet.with(|stack| {
            if message.flags.contains(MsgFlags::FASTOPEN) {
                return stack.tcp_write_first(self.id, message);
            }
            stack.tcp_write(self.id, message)
        })
    }

    fn receive(&self, bufs: &mut [&mut [u8]], flags: MsgFlags) -> Result<Received> {
        self.inet
            .lightly(|stack| stack.tcp_read(self.id, bufs, flags))
    }

    fn send_bytes(&self, data: &mut Chain, to: Option<&Address>, flags: MsgFlags) -> Result<usize> {
        shared::send(self, data, to, flags)
    }

    fn receive_bytes(&self, most: usize, flags: MsgFlags) -> Result<(Chain, Received)> {
        shared::receive(self, most, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.inet.with(|stack| {
            let socket = stack.tcp.get(self.id)?;
            if let Role::Listener(_) = socket.role
                && how.reads()
            {
                socket.role = Role::Fresh;
                let event = socket.waiters.told();
                stack.tcp_unlisten(self.id);
                stack.wake(event.as_ref());
                return Ok(());
            }
            let event = socket.waiters.told();
            let early = socket.early;
            let tcb = socket.tcb()?;
            if !tcb.state().is_synchronized() && !early {
                return Err(Errno::ENOTCONN);
            }
            if how.reads() {
                tcb.shutdown_read();
            }
            if how.writes() {
                tcb.shutdown_write();
            }
            stack.tcp.list(self.id);
            stack.wake(event.as_ref());
            Ok(())
        })
    }

    fn local(&self) -> Result<Address> {
        self.of(|socket| socket.speaks.local(socket.local, socket.port).into())
    }

    fn peer(&self) -> Result<Address> {
        self.of(|socket| {
            let peer = socket.peer;
            let tcb = socket.tcb()?;
            let connected = !matches!(tcb.state(), State::SynSent | State::Closed);
            let peer = peer.filter(|_| connected).ok_or(Errno::ENOTCONN)?;
            Ok(socket.speaks.told(peer).into())
        })?
    }

    fn set_option(&self, option: &SockOpt) -> Result<()> {
        if let SockOpt::BindToDevice(name) = option {
            let index = self.inet.bound_interface(name.as_ref())?;
            return self.of(|socket| socket.interface = index);
        }
        self.inet.with(|stack| {
            let now = stack.now;
            let socket = stack.tcp.get(self.id)?;
            // They may be others now.
            socket.prepared = None;
            match option {
                SockOpt::ReuseAddr(on) => socket.reuse.address = *on,
                SockOpt::ReusePort(on) => socket.reuse.port = *on,
                SockOpt::Ttl(ttl) => socket.ttl = Some(ip::hops(*ttl)?),
                SockOpt::Tos(tos) => socket.tos = *tos,
                SockOpt::Linger(time) => socket.linger = *time,
                SockOpt::FastOpen(count) => socket.fast_open = *count,
                SockOpt::ReceiveLowat(bytes) => {
                    // More than fits would never be there (as on Linux half of it, for what the window lets through).
                    let buffer = match &socket.role {
                        Role::Connection(tcb) => tcb.receive_buffer(),
                        _ => socket.config.receive_buffer,
                    };
                    socket.receive_lowat = (*bytes).clamp(1, buffer.div_ceil(2).max(1));
                    let event = socket.waiters.told();
                    stack.wake(event.as_ref());
                }
                SockOpt::DontRoute(on) => socket.dont_route = *on,
                SockOpt::MaxSegment(bytes) => {
                    // As small as on Linux; a connection has said already what it takes.
                    let fresh = !matches!(socket.role, Role::Connection(_));
                    if !fresh || !(88..=32_767).contains(bytes) {
                        return Err(Errno::EINVAL);
                    }
                    socket.max_segment = Some(*bytes);
                }
                SockOpt::V6Only(on) => socket.speaks.set_only(*on, socket.port != 0)?,
                option => {
                    configure(Arc::make_mut(&mut socket.config), option)?;
                    let config = socket.config.clone();
                    if let Role::Connection(tcb) = &mut socket.role {
                        apply(tcb, &config, option, now);
                    }
                }
            }
            stack.tcp.list(self.id);
            Ok(())
        })
    }

    fn option(&self, which: &SockOpt) -> Result<SockOpt> {
        if let SockOpt::Mtu(_) = which {
            return self.inet.with(|stack| {
                let connected = matches!(&stack.tcp.get(self.id)?.role, Role::Connection(_));
                let way = stack.tcp_way(self.id).filter(|_| connected);
                let (_, path, _) = way.ok_or(Errno::ENOTCONN)?;
                Ok(SockOpt::Mtu(path.mtu))
            });
        }
        self.of(|socket| {
            let config = &socket.config;
            let keep = config.keep_times;
            Ok(match which {
                SockOpt::Error(_) => SockOpt::Error(socket.error.take()),
                SockOpt::Kind(_) => SockOpt::Kind(Kind::Stream),
                SockOpt::AcceptConn(_) => {
                    SockOpt::AcceptConn(matches!(socket.role, Role::Listener(_)))
                }
                SockOpt::ReuseAddr(_) => SockOpt::ReuseAddr(socket.reuse.address),
                SockOpt::ReusePort(_) => SockOpt::ReusePort(socket.reuse.port),
                SockOpt::Ttl(_) => SockOpt::Ttl(socket.ttl.unwrap_or(crate::ip::DEFAULT_TTL)),
                SockOpt::Tos(_) => SockOpt::Tos(socket.tos),
                SockOpt::V6Only(_) => SockOpt::V6Only(socket.speaks.only()?),
                SockOpt::Linger(_) => SockOpt::Linger(socket.linger),
                SockOpt::FastOpen(_) => SockOpt::FastOpen(socket.fast_open),
                SockOpt::DontRoute(_) => SockOpt::DontRoute(socket.dont_route),
                SockOpt::ReceiveLowat(_) => SockOpt::ReceiveLowat(socket.receive_lowat),
                SockOpt::MaxSegment(_) => SockOpt::MaxSegment(match &socket.role {
                    Role::Connection(tcb) => u16::try_from(tcb.info().send_mss).unwrap_or(u16::MAX),
                    _ => socket.max_segment.unwrap_or(536),
                }),
                SockOpt::NoDelay(_) => SockOpt::NoDelay(config.nodelay),
                SockOpt::Cork(_) => SockOpt::Cork(config.cork),
                SockOpt::OobInline(_) => SockOpt::OobInline(config.urgent_inline),
                SockOpt::KeepAlive(_) => SockOpt::KeepAlive(config.keep_alive),
                SockOpt::KeepIdle(_) => SockOpt::KeepIdle(keep.idle),
                SockOpt::KeepInterval(_) => SockOpt::KeepInterval(keep.interval),
                SockOpt::KeepCount(_) => SockOpt::KeepCount(keep.count.into()),
                SockOpt::UserTimeout(_) => {
                    SockOpt::UserTimeout(config.user_timeout.unwrap_or_default())
                }
                SockOpt::TellUserTimeout(_) => SockOpt::TellUserTimeout(config.tell_user_timeout),
                SockOpt::Congestion(_) => SockOpt::Congestion(config.congestion.name().to_string()),
                SockOpt::SendBuffer(_) => match &socket.role {
                    Role::Connection(tcb) => SockOpt::SendBuffer(tcb.send_buffer()),
                    _ => SockOpt::SendBuffer(config.send_buffer),
                },
                SockOpt::ReceiveBuffer(_) => match &socket.role {
                    Role::Connection(tcb) => SockOpt::ReceiveBuffer(tcb.receive_buffer()),
                    _ => SockOpt::ReceiveBuffer(config.receive_buffer),
                },
                _ => return Err(Errno::ENOPROTOOPT),
            })
        })?
    }

    fn poll(&self) -> Ready {
        self.of(Socket::ready).unwrap_or(Ready::ERR)
    }

    fn connected(&self) -> Option<Result<()>> {
        let done = self.of(|socket| {
            let ready = socket.ready();
            let over = ready.intersects(Ready::OUT | Ready::ERR | Ready::HUP);
            over.then(|| socket.error.take().map_or(Ok(()), Err))
        });
        done.unwrap_or_else(|error| Some(Err(error)))
    }

    fn at_mark(&self) -> Result<bool> {
        self.of(|socket| socket.tcb().is_ok_and(|tcb| tcb.at_mark()))
    }

    fn is_leaving(&self) -> bool {
        let leaving = |state| matches!(state, State::FinWait1 | State::Closing | State::LastAck);
        let state = self.of(|socket| socket.tcb().map(|tcb| tcb.state()));
        matches!(state, Ok(Ok(state)) if leaving(state))
    }

    fn readable(&self) -> usize {
        let readable = self.of(|socket| socket.tcb().map(|tcb| tcb.readable()));
        readable.and_then(|readable| readable).unwrap_or(0)
    }

    fn ticket(&self) -> u64 {
        let ticket = self.of(|socket| socket.waiters.ticket(&*self.inet.host));
        ticket.unwrap_or(0)
    }

    fn wait(&self, ticket: u64, _interest: Ready, deadline: Option<Instant>) -> bool {
        let event = self.of(|socket| socket.waiters.event(&*self.inet.host));
        event.is_ok_and(|event| self.inet.wait(&*event, ticket, deadline))
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> Result<()> {
        self.of(|socket| socket.waiters.watch(&*self.inet.host, watcher))
    }

    fn close(&self) -> Result<Option<Duration>> {
        self.inet.with(|stack| stack.tcp_close(self.id))
    }
}

/// Sets an option in the settings of a socket.
fn configure(config: &mut Config, option: &SockOpt) -> Result<()> {
    // Without a pause probes would have no end, and none at all would end the connection.
    let pause = |time: &Duration| {
        let some = Some(*time).filter(|time| !time.is_zero());
        some.ok_or(Errno::EINVAL)
    };
    let keep = &mut config.keep_times;
    match option {
        SockOpt::NoDelay(on) => config.nodelay = *on,
        SockOpt::Cork(on) => config.cork = *on,
        SockOpt::OobInline(on) => config.urgent_inline = *on,
        SockOpt::KeepAlive(on) => config.keep_alive = *on,
        SockOpt::KeepIdle(time) => keep.idle = pause(time)?,
        SockOpt::KeepInterval(time) => keep.interval = pause(time)?,
        SockOpt::KeepCount(count) => {
            let count = u8::try_from(*count).ok().filter(|count| *count > 0);
            keep.count = count.ok_or(Errno::EINVAL)?;
        }
        SockOpt::UserTimeout(time) => {
            config.user_timeout = Some(*time).filter(|time| !time.is_zero());
        }
        SockOpt::TellUserTimeout(on) => config.tell_user_timeout = *on,
        SockOpt::Congestion(name) => {
            config.congestion = Congestion::by_name(name).ok_or(Errno::ENOENT)?;
        }
        SockOpt::SendBuffer(size) => {
            let size = (*size).clamp(BUFFER_MIN, BUFFER_MAX);
            (config.send_buffer, config.send_buffer_max) = (size, size);
        }
        SockOpt::ReceiveBuffer(size) => {
            let size = (*size).clamp(BUFFER_MIN, BUFFER_MAX);
            (config.receive_buffer, config.receive_buffer_max) = (size, size);
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

/// The same for a connection that is there.
fn apply(tcb: &mut Tcb, config: &Config, option: &SockOpt, now: Instant) {
    match option {
        SockOpt::NoDelay(on) => tcb.set_nodelay(*on),
        SockOpt::Cork(on) => tcb.set_cork(*on),
        SockOpt::OobInline(on) => tcb.set_urgent_inline(*on),
        SockOpt::UserTimeout(_) | SockOpt::TellUserTimeout(_) => {
            tcb.set_user_timeout(config.user_timeout, config.tell_user_timeout);
        }
        SockOpt::Congestion(_) => tcb.set_congestion(config.congestion),
        SockOpt::SendBuffer(_) => tcb.set_send_buffer(config.send_buffer),
        SockOpt::ReceiveBuffer(_) => tcb.set_receive_buffer(config.receive_buffer),
        _ => tcb.set_keep_alive(config.keeps_alive(), now),
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        let closed = self.inet.calmly(|stack| stack.tcp_release_closed(self.id));
        if !closed {
            // A socket that never got a descriptor was not closed.
            self.inet.with(|stack| {
                let _ = stack.tcp_close(self.id);
                stack.tcp_release(self.id);
            });
        }
    }
}
