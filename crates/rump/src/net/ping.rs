//! `rump net ping`.

use super::{
    Context, errno,
    icmp::{Message, Socket, What, quoted_echo},
    seconds,
};
use crate::{
    output::Out,
    report::{Failure, Outcome},
    signals,
};
use clap::Args;
use rumpnet::socket::SockOpt;
use rumpuser::Errno;
use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use uknet::ToSocketAddrs as _;

/// Largest payload of an echo: an IPv4 packet of 65535 bytes.
const MOST: usize = 65_507;
/// How long a wait may miss a signal.
const LOOK: Duration = Duration::from_millis(100);

/// Ask a host for echoes
///
/// Exit status 0: at least one came back; 1: none did.
#[derive(Args, Debug)]
pub(crate) struct Ping {
    #[command(flatten)]
    options: Options,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    v6: bool,
    /// A name or an address
    host: String,
}

/// Ask a host for echoes of ICMPv6
#[derive(Args, Debug)]
pub(crate) struct Ping6 {
    #[command(flatten)]
    options: Options,
    /// A name or an address, %INTERFACE after that of a link
    host: String,
}

#[derive(Args, Debug)]
struct Options {
    /// So many, and then an end; otherwise until a signal comes
    #[arg(short = 'c', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Time from one to the next
    #[arg(short = 'i', value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Bytes to be echoed
    #[arg(short = 's', value_name = "BYTES", default_value = "56")]
    size: usize,
    /// How long the last one has
    #[arg(short = 'W', value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    patience: Duration,
    /// An end after so long, whatever came
    #[arg(short = 'w', value_name = "SECONDS", value_parser = seconds)]
    deadline: Option<Duration>,
    /// Time to live, hop limit
    #[arg(short = 't', value_name = "TTL")]
    ttl: Option<u8>,
    /// The address to send from
    #[arg(short = 'I', value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Addresses as numbers (always so)
    #[arg(short = 'n')]
    numeric: bool,
    /// Only the sum
    #[arg(short = 'q')]
    quiet: bool,
}

impl Ping {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such host; the stack does not send.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        let wanted = |ip: IpAddr| if ip.is_ipv4() { !self.v6 } else { !self.v4 };
        self.options.run(context, &self.host, wanted)
    }
}

impl Ping6 {
    /// Runs it.
    ///
    /// # Errors
    /// As [`Ping::run`].
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        self.options.run(context, &self.host, |ip| ip.is_ipv6())
    }
}

/// The first address of a host that is wanted. Where both families will do IPv4 comes last, but is taken if the stack has no way to the other.
///
/// # Errors
/// There is none.
pub(crate) fn host(
    context: &Context<'_>,
    host: &str,
    wanted: impl Fn(IpAddr) -> bool,
) -> Outcome<SocketAddr> {
    let (name, scope) = match host.split_once('%') {
        Some((name, interface)) => (name, Some(scope(context, interface)?)),
        None => (host, None),
    };
    let all = (name, 0).to_socket_addrs(context.net);
    let all = all.map_err(|error| Failure::Message(error.to_string()))?;
    let all: Vec<SocketAddr> = all.into_iter().filter(|to| wanted(to.ip())).collect();
    let reachable = |to: &&SocketAddr| {
        let any: IpAddr = if to.is_ipv4() {
            [0; 4].into()
        } else {
            [0; 16].into()
        };
        let socket = uknet::UdpSocket::bind(context.net, (any, 0));
        socket.is_ok_and(|socket| socket.connect(SocketAddr::new(to.ip(), 9)).is_ok())
    };
    let none = || Failure::at(name, "no address of that family");
    let mut to = *all
        .iter()
        .find(reachable)
        .or(all.first())
        .ok_or_else(none)?;
    if let (SocketAddr::V6(to), Some(scope)) = (&mut to, scope) {
        to.set_scope_id(scope);
    }
    Ok(to)
}

/// The number of an interface.
fn scope(context: &Context<'_>, name: &str) -> Outcome<u32> {
    use rumpnet::KernelNet as _;
    let net = context.net.kernel().net().map_err(errno(name))?;
    Ok(net.interface(name).map_err(errno(name))?.index())
}

/// What was measured.
#[derive(Default)]
struct Tally {
    sent: u64,
    received: u64,
    doubled: u64,
    errors: u64,
    /// Milliseconds: shortest, longest, sum, sum of squares.
    shortest: f64,
    longest: f64,
    sum: f64,
    squares: f64,
}

impl Tally {
    fn count(&mut self, time: f64) {
        self.shortest = if self.received == 0 {
            time
        } else {
            self.shortest.min(time)
        };
        self.longest = self.longest.max(time);
        self.received += 1;
        self.sum += time;
        self.squares += time * time;
    }
}

impl Options {
    fn run(
        &self,
        context: &Context<'_>,
        name: &str,
        wanted: impl Fn(IpAddr) -> bool,
    ) -> Outcome<()> {
        if self.size > MOST {
            return Err(Failure::Usage(format!("ping: at most {MOST} bytes")));
        }
        let to = host(context, name, wanted)?;
        let v4 = to.is_ipv4();
        let proc = context.net.proc();
        let socket = Socket::open(proc, v4, true)?;
        if let Some(ttl) = self.ttl {
            socket
                .set(&SockOpt::Ttl(ttl))
                .map_err(errno("time to live"))?;
        }
        if let Some(source) = self.source {
            socket.bind(source).map_err(errno(source))?;
        }
        let head = if v4 { 28 } else { 48 };
        println!(
            "PING {name} ({}) {}({}) bytes of data.",
            to.ip(),
            self.size,
            self.size + head
        );
        let start = Instant::now();
        let tally = self.exchange(&socket, to, start)?;
        self.summary(name, &tally, start.elapsed())?;
        if tally.received == 0 {
            context.report.mark_failed();
        }
        Ok(())
    }

    fn exchange(&self, socket: &Socket<'_>, to: SocketAddr, start: Instant) -> Outcome<Tally> {
        let id = (std::process::id() & 0xffff) as u16;
        let data: Vec<u8> = (0..self.size).map(|n| n as u8).collect();
        let mut times: Vec<Option<Instant>> = Vec::new();
        let mut tally = Tally::default();
        let mut buf = vec![0; 1 << 16];
        let mut next = start;
        let end = self.deadline.map(|most| start + most);
        loop {
            let now = Instant::now();
            let all = self.count.is_some_and(|count| tally.sent >= count);
            if signals::check().is_err()
                || end.is_some_and(|end| now >= end)
                || all && (tally.received >= tally.sent || now >= next)
            {
                return Ok(tally);
            }
            if !all && now >= next {
                let number = tally.sent.wrapping_add(1) as u16;
                if let Err(error) = socket.ask(to, id, number, &data) {
                    // A link that is down for a while is no end; what never goes is.
                    if !matches!(
                        error,
                        Errno::ENOBUFS
                            | Errno::EHOSTUNREACH
                            | Errno::ENETUNREACH
                            | Errno::EHOSTDOWN
                    ) {
                        return Err(errno(to.ip())(error));
                    }
                    tally.errors += 1;
                    println!("ping: {}: {error}", to.ip());
                }
                tally.sent += 1;
                times.push(Some(Instant::now()));
                let last = self.count.is_some_and(|count| tally.sent >= count);
                next = now + if last { self.patience } else { self.interval };
                continue;
            }
            let mut wait = next.saturating_duration_since(now).min(LOOK);
            if let Some(end) = end {
                wait = wait.min(end.saturating_duration_since(now));
            }
            let message = socket.receive(&mut buf, wait).map_err(errno(to.ip()))?;
            if let Some(message) = message {
                self.take(socket, &message, id, &data, &mut times, &mut tally);
            }
        }
    }

    fn take(
        &self,
        socket: &Socket<'_>,
        message: &Message,
        id: u16,
        data: &[u8],
        times: &mut [Option<Instant>],
        tally: &mut Tally,
    ) {
        // Numbers have 16 bits: the last one that was sent with it.
        let place = |number: u16, len: usize| {
            let back = (len as u16).wrapping_sub(number);
            len.checked_sub(usize::from(back) + 1)
        };
        let v4 = message.from.is_ipv4();
        match &message.what {
            What::Echo(theirs, number, echoed) if *theirs == id || !socket.keeps_ids() => {
                let Some(slot) = place(*number, times.len()).and_then(|place| times.get_mut(place))
                else {
                    return;
                };
                let Some(sent) = slot.take() else {
                    tally.doubled += 1;
                    return;
                };
                let time = sent.elapsed().as_secs_f64() * 1_000.0;
                tally.count(time);
                if !self.quiet {
                    let ttl = message
                        .ttl
                        .map_or_else(String::new, |ttl| format!(" ttl={ttl}"));
                    let wrong = if echoed == data {
                        ""
                    } else {
                        " (its content is wrong)"
                    };
                    println!(
                        "{} bytes from {}: icmp_seq={number}{ttl} time={}{wrong}",
                        echoed.len() + 8,
                        message.from,
                        milliseconds(time)
                    );
                }
            }
            What::Error(reason, protocol, quoted) => {
                if let Some((theirs, number)) = quoted_echo(v4, *protocol, quoted)
                    && (theirs == id || !socket.keeps_ids())
                {
                    tally.errors += 1;
                    if !self.quiet {
                        println!("From {} icmp_seq={number} {}", message.from, reason.text());
                    }
                }
            }
            What::Echo(..) => {}
        }
    }

    fn summary(&self, name: &str, tally: &Tally, time: Duration) -> Outcome<()> {
        let mut out = Out::new();
        writeln!(out, "\n--- {name} ping statistics ---")?;
        write!(
            out,
            "{} packets transmitted, {} received",
            tally.sent, tally.received
        )?;
        if tally.doubled > 0 {
            write!(out, ", +{} duplicates", tally.doubled)?;
        }
        if tally.errors > 0 {
            write!(out, ", +{} errors", tally.errors)?;
        }
        let lost =
            (tally.sent - tally.received.min(tally.sent)) as f64 * 100.0 / tally.sent.max(1) as f64;
        // As many digits as it needs, six at most.
        let lost = format!("{lost:.4}");
        let lost = lost.trim_end_matches('0').trim_end_matches('.');
        writeln!(out, ", {lost}% packet loss, time {}ms", time.as_millis())?;
        if tally.received > 0 {
            let count = tally.received as f64;
            let mean = tally.sum / count;
            let deviation = (tally.squares / count - mean * mean).max(0.0).sqrt();
            writeln!(
                out,
                "rtt min/avg/max/mdev = {:.3}/{mean:.3}/{:.3}/{deviation:.3} ms",
                tally.shortest, tally.longest
            )?;
        }
        out.flush()?;
        Ok(())
    }
}

/// With as many digits as people expect.
fn milliseconds(time: f64) -> String {
    match time {
        ..1.0 => format!("{time:.3} ms"),
        1.0..10.0 => format!("{time:.2} ms"),
        10.0..100.0 => format!("{time:.1} ms"),
        _ => format!("{time:.0} ms"),
    }
}
