//! `rump net traceroute`.

use super::{
    Context, at, errno,
    host::{Family, any, host},
    icmp::{Message, Reason, Socket, What, headers, own_id, quoted_echo},
    seconds,
};
use crate::{
    output::{Out, line},
    report::{Failure, Outcome},
    signals,
};
use clap::Args;
use rumpnet::socket::SockOpt;
use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use uknet::UdpSocket;

/// Protocol of UDP.
const UDP: u8 = 17;

/// Show the routers on the way to a host
///
/// Sends datagrams to ports that nobody uses with rising times to live. Exit status 0: the host was reached.
#[derive(Args, Debug)]
pub(crate) struct Traceroute {
    /// Hops at most
    #[arg(short = 'm', value_name = "HOPS", default_value = "30", value_parser = clap::value_parser!(u8).range(1..))]
    most: u8,
    /// The first hop that is asked
    #[arg(short = 'f', value_name = "HOP", default_value = "1", value_parser = clap::value_parser!(u8).range(1..))]
    first: u8,
    /// Packets to each hop
    #[arg(short = 'q', value_name = "COUNT", default_value = "3", value_parser = clap::value_parser!(u8).range(1..=10))]
    queries: u8,
    /// How long a hop has to answer
    #[arg(short = 'w', value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    patience: Duration,
    /// Echoes of ICMP instead of datagrams
    #[arg(short = 'I', long)]
    icmp: bool,
    /// The first port
    #[arg(short = 'p', value_name = "PORT", default_value = "33434")]
    port: u16,
    /// The address to send from
    #[arg(short = 's', value_name = "ADDRESS")]
    source: Option<IpAddr>,
    #[command(flatten)]
    family: Family,
    /// Addresses as numbers (always so)
    #[arg(short = 'n')]
    numeric: bool,
    /// A name or an address
    host: String,
    /// Bytes of a packet with its headers
    #[arg(default_value = "60")]
    size: usize,
}

/// How a packet asks.
enum Probe {
    Udp(UdpSocket),
    Icmp,
}

impl Traceroute {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such host; the stack does not send.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        let to = host(context, &self.host, |ip| self.family.wants(ip))?;
        let headers = headers(to.is_ipv4());
        if !(headers..=65_000).contains(&self.size) {
            return Err(Failure::Usage(format!(
                "traceroute: from {headers} to 65000 bytes"
            )));
        }
        self.check()?;
        let socket = Socket::open(context.net.proc(), to.is_ipv4(), false)?;
        let probe = if self.icmp {
            if let Some(source) = self.source {
                socket.bind(source).map_err(errno(source))?;
            }
            Probe::Icmp
        } else {
            let from = self.source.unwrap_or(any(to.is_ipv4()));
            Probe::Udp(UdpSocket::bind(context.net, (from, 0)).map_err(at(from))?)
        };
        line(format_args!(
            "traceroute to {} ({}), {} hops max, {} byte packets",
            self.host,
            to.ip(),
            self.most,
            self.size
        ))?;
        let data = vec![0; self.size - headers];
        let mut number = 0;
        for hop in self.first..=self.most {
            if self.hop(&socket, &probe, to, hop, &data, &mut number)? {
                return Ok(());
            }
        }
        context.report.mark_failed();
        Ok(())
    }

    /// Whether there are hops to ask, and ports to ask them at.
    fn check(&self) -> Outcome<()> {
        if self.first > self.most {
            return Err(Failure::Usage(
                "traceroute: the first hop is beyond the last".into(),
            ));
        }
        let hops = u16::from(self.most - self.first) + 1;
        let last = self.port.checked_add(hops * u16::from(self.queries));
        if !self.icmp && last.is_none() {
            return Err(Failure::Usage("traceroute: no port is that large".into()));
        }
        Ok(())
    }

    /// Asks one hop; whether it was the last.
    fn hop(
        &self,
        socket: &Socket<'_>,
        probe: &Probe,
        to: SocketAddr,
        hop: u8,
        data: &[u8],
        number: &mut u16,
    ) -> Outcome<bool> {
        let mut out = Out::new();
        write!(out, "{hop:2} ")?;
        let (mut last, mut over) = (None, false);
        for _ in 0..self.queries {
            *number = number.wrapping_add(1);
            let sent = Instant::now();
            match probe {
                Probe::Udp(udp) => {
                    udp.set_ttl(hop.into()).map_err(at("time to live"))?;
                    let mut to = to;
                    to.set_port(self.port.wrapping_add(*number));
                    udp.send_to(data, to).map_err(at(to.ip()))?;
                }
                Probe::Icmp => {
                    socket
                        .set(&SockOpt::Ttl(hop))
                        .map_err(errno("time to live"))?;
                    let asked = socket.ask(to, own_id(), *number, data);
                    asked.map_err(errno(to.ip()))?;
                }
            }
            let Some((from, reason)) = self.answer(socket, to, *number, sent)? else {
                write!(out, " *")?;
                out.flush()?;
                continue;
            };
            if last != Some(from) {
                write!(out, " {from}")?;
                last = Some(from);
            }
            let time = sent.elapsed().as_secs_f64() * 1_000.0;
            let mark = reason.map_or_else(String::new, Reason::mark);
            write!(out, "  {time:.3} ms{mark}")?;
            out.flush()?;
            over |= reason != Some(Reason::TimeExceeded);
        }
        writeln!(out)?;
        out.flush()?;
        Ok(over)
    }

    /// Who answered a packet, and with which error; without one it was an echo.
    fn answer(
        &self,
        socket: &Socket<'_>,
        to: SocketAddr,
        number: u16,
        sent: Instant,
    ) -> Outcome<Option<(IpAddr, Option<Reason>)>> {
        let mut buf = vec![0; 1 << 16];
        loop {
            signals::check()?;
            let left = self.patience.saturating_sub(sent.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            let message = socket.receive(&mut buf, left).map_err(errno(to.ip()))?;
            if let Some(message) = message
                && let Some(reason) = self.about(&message, to, number)
            {
                return Ok(Some((message.from, reason)));
            }
        }
    }

    fn about(&self, message: &Message, to: SocketAddr, number: u16) -> Option<Option<Reason>> {
        let ours = own_id();
        match &message.what {
            What::Echo(id, n, _) => (self.icmp && (*id, *n) == (ours, number)).then_some(None),
            What::Error(reason, protocol, quoted) if self.icmp => {
                let quoted = quoted_echo(to.is_ipv4(), *protocol, quoted);
                (quoted == Some((ours, number))).then_some(Some(*reason))
            }
            What::Error(reason, UDP, quoted) => {
                let port = quoted.get(2..4)?;
                let port = u16::from_be_bytes([port[0], port[1]]);
                (port == self.port.wrapping_add(number)).then_some(Some(*reason))
            }
            What::Error(..) => None,
        }
    }
}
