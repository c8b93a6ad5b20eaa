//! `rump net nc`.

use super::{
    Context, LINGER, LOOK, at,
    host::{Family, any},
    seconds,
};
use crate::report::{Failure, Outcome, io_reason};
use clap::Args;
use std::{
    cmp::{max, min},
    io::{self, IsTerminal as _, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr},
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};
use uknet::{Net, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

/// Connect standard input and output with a host
///
/// The end of standard input ends the sending; the command ends when the peer has ended, too.
#[derive(Args, Debug)]
pub(crate) struct Nc {
    /// Wait for a connection instead; the host may be left out
    #[arg(short = 'l')]
    listen: bool,
    /// With -l: wait for the next one after that
    #[arg(short = 'k', requires = "listen")]
    keep: bool,
    /// UDP: each read is a datagram
    #[arg(short = 'u')]
    udp: bool,
    /// Only look whether somebody listens; PORT may be FIRST-LAST
    #[arg(short = 'z', conflicts_with_all = ["listen", "udp"])]
    scan: bool,
    /// Give up after so long without anything
    #[arg(short = 'w', value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// End so long after the end of standard input, whatever the peer does
    #[arg(short = 'q', value_name = "SECONDS", value_parser = seconds)]
    quit: Option<Duration>,
    /// Nothing is read from standard input
    #[arg(short = 'd')]
    no_input: bool,
    /// Send the end of standard input to the peer (always so)
    #[arg(short = 'N')]
    end: bool,
    /// Addresses as numbers (always shown so)
    #[arg(short = 'n')]
    numeric: bool,
    /// The address to send from
    #[arg(short = 's', value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// The port to send from; with -l the port to wait at, as it may also stand alone
    #[arg(short = 'p', value_name = "PORT")]
    port: Option<u16>,
    /// Say what happens
    #[arg(short = 'v')]
    verbose: bool,
    #[command(flatten)]
    family: Family,
    /// The host, and the port
    #[arg(value_name = "HOST PORT", num_args = 0..=2)]
    words: Vec<String>,
}

impl Nc {
    /// Runs it.
    ///
    /// # Errors
    /// Nobody listens there; a connection breaks.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        context.stack.end_at_signal();
        let net = context.net;
        match (&self.words[..], self.listen) {
            (words, true) => self.serve(net, words),
            ([host, ports], false) if self.scan => self.look(context, host, ports),
            ([host, port], false) => self.connect(net, host, port),
            _ => Err(Failure::Usage("nc: a host and a port are needed".into())),
        }
    }

    fn say(&self, text: impl std::fmt::Display) {
        if self.verbose {
            crate::report::say(text);
        }
    }

    fn addresses(&self, net: &Net, host: &str, port: &str) -> Outcome<Vec<SocketAddr>> {
        let port: u16 = number(port)?;
        let all = (host, port).to_socket_addrs(net);
        let all = all.map_err(|error| Failure::Message(error.to_string()))?;
        let wanted = |to: &SocketAddr| self.family.wants(to.ip());
        let all: Vec<SocketAddr> = all.into_iter().filter(wanted).collect();
        if all.is_empty() {
            return Err(Failure::at(host, "no address of that family"));
        }
        Ok(all)
    }

    fn open(&self, net: &Net, to: SocketAddr) -> io::Result<TcpStream> {
        if self.source.is_none() && self.port.is_none() {
            return match self.timeout {
                Some(timeout) => TcpStream::connect_timeout(net, &to, timeout),
                None => TcpStream::connect(net, to),
            };
        }
        let source = self.source.unwrap_or(any(to.is_ipv4()));
        let from = SocketAddr::new(source, self.port.unwrap_or(0));
        match self.timeout {
            Some(timeout) => TcpStream::connect_from_timeout(net, from, &to, timeout),
            None => TcpStream::connect_from(net, from, to),
        }
    }

    fn connect(&self, net: &Net, host: &str, port: &str) -> Outcome<()> {
        let all = self.addresses(net, host, port)?;
        if self.udp {
            let to = all[0];
            let from = self.source.unwrap_or(any(to.is_ipv4()));
            let from = (from, self.port.unwrap_or(0));
            let socket = UdpSocket::bind(net, from).map_err(at(from.0))?;
            socket.connect(to).map_err(at(to))?;
            return self.datagrams(socket, to);
        }
        let mut last = None;
        for to in all {
            match self.open(net, to) {
                Ok(stream) => {
                    self.say(format_args!("{to}: connected"));
                    return self.exchange(net, stream, to);
                }
                Err(error) => last = Some(at(to)(error)),
            }
        }
        Err(last.unwrap_or(Failure::BrokenPipe))
    }

    fn look(&self, context: &Context<'_>, host: &str, ports: &str) -> Outcome<()> {
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (number(first)?, number(last)?);
        let (first, last): (u16, u16) = (min(first, last), max(first, last));
        let mut any = false;
        for port in first..=last {
            let to = self.addresses(context.net, host, &port.to_string())?[0];
            match self.open(context.net, to) {
                Ok(_) => {
                    crate::output::line(format_args!(
                        "Connection to {host} {port} port [tcp] succeeded!"
                    ))?;
                    any = true;
                }
                Err(error) => self.say(at(to)(error)),
            }
        }
        if !any {
            context.report.mark_failed();
        }
        Ok(())
    }

    fn serve(&self, net: &Net, words: &[String]) -> Outcome<()> {
        let (host, port) = match (words, self.port) {
            ([port], None) => (None, number(port)?),
            ([host, port], None) => (Some(host), number(port)?),
            ([host], Some(port)) => (Some(host), port),
            ([], Some(port)) => (None, port),
            _ => return Err(Failure::Usage("nc: -l: a port is needed".into())),
        };
        let here = match host {
            Some(host) => self.addresses(net, host, &port.to_string())?[0],
            None => (self.family.any(), port).into(),
        };
        if self.udp {
            let socket = UdpSocket::bind(net, here).map_err(at(here))?;
            // The first to send becomes the peer.
            let from = socket.peek_from(&mut [0; 1]).map_err(at(here))?.1;
            socket.connect(from).map_err(at(from))?;
            return self.datagrams(socket, from);
        }
        let listener = TcpListener::bind(net, here).map_err(at(here))?;
        self.say(format_args!("{here}: listening"));
        loop {
            let (stream, from) = listener.accept().map_err(at(here))?;
            self.say(format_args!("{from}: connected"));
            let done = self.exchange(net, stream, from);
            if !self.keep {
                return done;
            }
            if let Err(failure) = done {
                crate::report::say(failure);
            }
        }
    }

    fn exchange(&self, net: &Net, stream: TcpStream, peer: SocketAddr) -> Outcome<()> {
        stream.set_read_timeout(self.timeout).map_err(at(peer))?;
        // It is over when both directions are; a thread that waits for standard input cannot be ended.
        let (ended, ends) = mpsc::channel();
        let sending = !self.no_input;
        if sending {
            let (sender, ended) = (stream.try_clone().map_err(at(peer))?, ended.clone());
            let quit = self.quit;
            thread::spawn(move || {
                let sent = copy(&mut io::stdin().lock(), &mut &sender);
                // The peer may be gone already.
                let _ = sender.shutdown(Shutdown::Write);
                drop(sender);
                let sent = sent.map_err(Side::turned);
                let _ = ended.send((Way::Out, sent));
                if let Some(quit) = quit {
                    thread::sleep(quit);
                    let _ = ended.send((Way::In, Ok(())));
                }
            });
        } else {
            // Nothing will be sent.
            stream.shutdown(Shutdown::Write).map_err(at(peer))?;
        }
        let receiver = stream.try_clone().map_err(at(peer))?;
        thread::spawn(move || {
            let received = copy(&mut &receiver, &mut io::stdout().lock());
            drop(receiver);
            let _ = ended.send((Way::In, received));
        });
        let (mut done, mut left) = (
            Ok(()),
            if sending {
                vec![Way::In, Way::Out]
            } else {
                vec![Way::In]
            },
        );
        while !left.is_empty() {
            let Ok((way, result)) = ends.recv() else {
                break;
            };
            left.retain(|other| *other != way);
            // Who types to a peer that has ended would only find out with the next line.
            if way == Way::In && io::stdin().is_terminal() || result.is_err() {
                left.clear();
            }
            done = done.and(result);
        }
        drop(stream);
        let settled = net.settle(LINGER);
        match done {
            Err(Side::Output(error)) => Err(error.into()),
            Err(Side::Peer(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(Failure::at(peer, "nothing came in time"))
            }
            Err(Side::Peer(error)) => Err(at(peer)(error)),
            Ok(()) if !settled => Err(Failure::at(peer, "not all was acknowledged")),
            Ok(()) => Ok(()),
        }
    }

    fn datagrams(&self, socket: UdpSocket, peer: SocketAddr) -> Outcome<()> {
        socket.set_read_timeout(Some(LOOK)).map_err(at(peer))?;
        let over: Arc<OnceLock<io::Result<()>>> = Arc::default();
        if !self.no_input {
            let (sender, over) = (socket.try_clone().map_err(at(peer))?, over.clone());
            let quit = self.quit;
            thread::spawn(move || {
                let sent = send_all(&sender);
                match (&sent, quit) {
                    (Ok(()), None) => return,
                    (Ok(()), Some(quit)) => thread::sleep(quit),
                    (Err(_), _) => {}
                }
                let _ = over.set(sent);
            });
        }
        let mut buf = vec![0; 1 << 16];
        let mut last = Instant::now();
        loop {
            match socket.recv(&mut buf) {
                Ok(count) => {
                    let mut out = io::stdout().lock();
                    out.write_all(&buf[..count])?;
                    out.flush()?;
                    last = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let quiet = |most| last.elapsed() >= most;
                    if self.timeout.is_some_and(quiet) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(at(peer)(error)),
            }
            match over.get() {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => return Err(Failure::at(peer, io_reason(error))),
                None => {}
            }
        }
    }
}

/// Sends standard input, each read as a datagram.
fn send_all(socket: &UdpSocket) -> io::Result<()> {
    let mut buf = vec![0; 16 << 10];
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(count) => socket.send(&buf[..count]).map(drop)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// Which side of a copy failed.
enum Side {
    Peer(io::Error),
    Output(io::Error),
}

impl Side {
    /// Of what is sent it is the other way round.
    fn turned(self) -> Self {
        match self {
            Self::Peer(error) => Self::Output(error),
            Self::Output(error) => Self::Peer(error),
        }
    }
}

/// Copies everything, each piece at once.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), Side> {
    let mut buf = vec![0; 1 << 16];
    loop {
        match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(count) => to
                .write_all(&buf[..count])
                .and_then(|()| to.flush())
                .map_err(Side::Output)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Side::Peer(error)),
        }
    }
}

fn number(text: &str) -> Outcome<u16> {
    text.parse()
        .map_err(|_| Failure::Usage(format!("nc: {text}: not a port")))
}
