//! `rump net netstat`.

mod statistics;

use super::{Context, ifconfig::inet, route};
use crate::{output::Out, report::Outcome};
use clap::Args;
use rumpnet::KernelNet as _;
use rumpnet_inet::tcp::State;
use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

/// Show sockets, routes, interfaces and counters
#[derive(Args, Debug)]
pub(crate) struct Netstat {
    /// Sockets that listen, too
    #[arg(short = 'a')]
    all: bool,
    /// Addresses as numbers (always so)
    #[arg(short = 'n')]
    numeric: bool,
    /// Only sockets of TCP
    #[arg(short = 't')]
    tcp: bool,
    /// Only sockets of UDP
    #[arg(short = 'u')]
    udp: bool,
    /// Only sockets that listen
    #[arg(short = 'l')]
    listening: bool,
    /// Routes instead
    #[arg(short = 'r', conflicts_with_all = ["interfaces", "statistics"])]
    routes: bool,
    /// Interfaces instead
    #[arg(short = 'i', conflicts_with = "statistics")]
    interfaces: bool,
    /// Counters of the protocols instead
    #[arg(short = 's')]
    statistics: bool,
    /// With -s: a JSON object, of the names in parentheses
    #[arg(long, requires = "statistics")]
    json: bool,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    v6: bool,
}

impl Netstat {
    /// Runs it.
    ///
    /// # Errors
    /// Of the output; there is no stack of one's own.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        let mut out = Out::new();
        if self.routes {
            route::table(context, &mut out, |ip| self.wants(ip))?;
        } else if self.interfaces {
            interfaces(context, &mut out, |ip| self.wants(ip))?;
        } else if self.statistics {
            let all = !self.tcp && !self.udp;
            let version = |name: &str| match name {
                "ip6" | "icmp6" | "udp6" => !self.v4,
                "tcp" => true,
                _ => !self.v6,
            };
            let mut sections = statistics::sections(&inet(context)?.counters());
            sections.retain(|section| {
                let wanted = match section.name {
                    "tcp" => all || self.tcp,
                    "udp" | "udp6" => all || self.udp,
                    _ => all,
                };
                wanted && version(section.name)
            });
            statistics::write(&mut out, &sections, self.json)?;
        } else {
            self.sockets(context, &mut out)?;
        }
        out.flush()?;
        Ok(())
    }

    fn wants(&self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { !self.v6 } else { !self.v4 }
    }

    fn sockets(&self, context: &Context<'_>, out: &mut Out) -> Outcome<()> {
        let inet = inet(context)?;
        let mut lines =
            vec![["Proto", "Local Address", "Foreign Address", "State"].map(String::from)];
        let proto = |name: &str, local: SocketAddr| {
            let six = if local.is_ipv4() { "" } else { "6" };
            format!("{name}{six}")
        };
        if self.tcp || !self.udp {
            for (local, peer, state) in inet.tcp_sockets() {
                let listens = state.is_none();
                // A socket that was never used is nothing to show.
                let shown = local.port() != 0 && (self.all || self.listening == listens);
                if shown && self.wants(local.ip()) {
                    let state = state.map_or("LISTEN", word).into();
                    lines.push([proto("tcp", local), place(Some(local)), place(peer), state]);
                }
            }
        }
        if self.udp || !self.tcp {
            for (local, peer) in inet.udp_sockets() {
                let shown = self.all || self.listening == peer.is_none();
                if shown && local.port() != 0 && self.wants(local.ip()) {
                    lines.push([
                        proto("udp", local),
                        place(Some(local)),
                        place(peer),
                        String::new(),
                    ]);
                }
            }
        }
        let width = |column: usize| {
            lines
                .iter()
                .map(|line| line[column].len())
                .max()
                .unwrap_or(0)
        };
        let (a, b, c) = (width(0), width(1), width(2));
        for [proto, local, peer, state] in &lines {
            let line = format!("{proto:a$}  {local:b$}  {peer:c$}  {state}");
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn place(address: Option<SocketAddr>) -> String {
    match address {
        Some(address) if address.ip().is_unspecified() => format!("*:{}", address.port()),
        Some(address) => address.to_string(),
        None => "*:*".into(),
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Closed => "CLOSED",
        State::SynSent => "SYN_SENT",
        State::SynReceived => "SYN_RECEIVED",
        State::Established => "ESTABLISHED",
        State::FinWait1 => "FIN_WAIT_1",
        State::FinWait2 => "FIN_WAIT_2",
        State::CloseWait => "CLOSE_WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST_ACK",
        State::TimeWait => "TIME_WAIT",
    }
}

fn interfaces(
    context: &Context<'_>,
    out: &mut Out,
    wanted: impl Fn(IpAddr) -> bool,
) -> Outcome<()> {
    let inet = inet(context)?;
    let net = context
        .net
        .kernel()
        .net()
        .map_err(super::errno("netstat"))?;
    let (name, mtu, address) = ("Name", "Mtu", "Address");
    writeln!(
        out,
        "{name:<10} {mtu:>6}  {address:<40} {:>10} {:>7} {:>10} {:>7}",
        "Ipkts", "Idrops", "Opkts", "Odrops"
    )?;
    for interface in net.interfaces() {
        let n = interface.counters();
        let mac = interface
            .mac()
            .map_or_else(|| "-".into(), |mac| mac.to_string());
        let addresses = inet.addresses(interface.name()).unwrap_or_default();
        let addresses = addresses.iter().filter(|cidr| wanted(cidr.address()));
        let all = std::iter::once(mac).chain(addresses.map(ToString::to_string));
        for address in all {
            writeln!(
                out,
                "{:<10} {:>6}  {address:<40} {:>10} {:>7} {:>10} {:>7}",
                interface.name(),
                interface.mtu(),
                n.in_packets,
                n.in_dropped,
                n.out_packets,
                n.out_dropped,
            )?;
        }
    }
    Ok(())
}
