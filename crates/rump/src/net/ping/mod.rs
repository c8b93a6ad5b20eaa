//! `rump net ping`.

mod tally;

use super::{
    Context, errno,
    host::{Family, host},
    icmp::{Message, Socket, What, headers, own_id, quoted_echo},
    seconds,
};
use crate::{
    output::line,
    report::{Failure, Outcome},
    signals,
};
use clap::Args;
use rumpnet::socket::SockOpt;
use rumpuser::Errno;
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use tally::Tally;

/// Largest payload of an echo: an IPv4 packet of 65535 bytes.
const MOST: usize = 65_507;

/// Ask a host for echoes
///
/// Exit status 0: at least one came back; 1: none did.
#[derive(Args, Debug)]
pub(crate) struct Ping {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    family: Family,
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
    #[arg(short = 't', value_name = "TTL", value_parser = clap::value_parser!(u8).range(1..))]
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
        let wanted = |ip| self.family.wants(ip);
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
            // The host's sockets of some kinds know none for groups.
            let _ = socket.set(&SockOpt::MulticastTtl(ttl));
            socket
                .set(&SockOpt::Ttl(ttl))
                .map_err(errno("time to live"))?;
        }
        if let Some(source) = self.source {
            socket.bind(source).map_err(errno(source))?;
        }
        line(format_args!(
            "PING {name} ({}) {}({}) bytes of data.",
            to.ip(),
            self.size,
            self.size + headers(v4)
        ))?;
        let start = Instant::now();
        let tally = self.exchange(&socket, to, start)?;
        tally.print(name, start.elapsed())?;
        if tally.received == 0 {
            context.report.mark_failed();
        }
        Ok(())
    }

    fn exchange(&self, socket: &Socket<'_>, to: SocketAddr, start: Instant) -> Outcome<Tally> {
        let id = own_id();
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
                    line(format_args!("ping: {}: {error}", to.ip()))?;
                }
                tally.sent += 1;
                times.push(Some(Instant::now()));
                let last = self.count.is_some_and(|count| tally.sent >= count);
                next = now + if last { self.patience } else { self.interval };
                continue;
            }
            let mut wait = next.saturating_duration_since(now);
            if let Some(end) = end {
                wait = wait.min(end.saturating_duration_since(now));
            }
            let message = socket.receive(&mut buf, wait).map_err(errno(to.ip()))?;
            if let Some(message) = message {
                self.take(socket, &message, id, &data, &mut times, &mut tally)?;
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
    ) -> Outcome<()> {
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
                    return Ok(());
                };
                let Some(sent) = slot.take() else {
                    tally.doubled += 1;
                    return Ok(());
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
                    line(format_args!(
                        "{} bytes from {}: icmp_seq={number}{ttl} time={}{wrong}",
                        echoed.len() + 8,
                        message.from,
                        milliseconds(time)
                    ))?;
                }
            }
            What::Error(reason, protocol, quoted) => {
                if let Some((theirs, number)) = quoted_echo(v4, *protocol, quoted)
                    && (theirs == id || !socket.keeps_ids())
                {
                    tally.errors += 1;
                    if !self.quiet {
                        let (from, why) = (message.from, reason.text());
                        line(format_args!("From {from} icmp_seq={number} {why}"))?;
                    }
                }
            }
            What::Echo(..) => {}
        }
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
