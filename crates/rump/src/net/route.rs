//! `rump net route`.

use super::{Context, errno, ifconfig::inet};
use crate::{
    json::Array,
    output::Out,
    report::{Failure, Outcome},
};
use clap::Args;
use rumpnet::{
    Cidr, KernelNet as _,
    interface::Link,
    route::{Origin, Route as Entry},
};
use serde_json::json;
use std::{io::Write as _, net::IpAddr};

/// Show and change routes
///
/// Without words, all routes. add DESTINATION GATEWAY and add DESTINATION -interface NAME add one, delete DESTINATION [GATEWAY] takes it away,
/// get HOST says which way a packet to it goes. DESTINATION is default (of IPv6 with -inet6 in front of it or such a gateway), ADDRESS/BITS or ADDRESS. metric NUMBER
/// may follow what is added: of routes to the same network the one with the smallest is used.
#[derive(Args, Debug)]
pub(crate) struct Route {
    /// Addresses as numbers (always so)
    #[arg(short = 'n')]
    numeric: bool,
    /// A JSON array
    #[arg(long)]
    json: bool,
    /// What is to be done
    #[arg(
        value_name = "show|add|delete|get",
        allow_hyphen_values = true,
        trailing_var_arg = true
    )]
    words: Vec<String>,
}

impl Route {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such route or gateway; wrong words.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        let inet = inet(context)?;
        let mut words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let six = words.contains(&"-inet6");
        // Kinds of destinations, which are seen from the destination itself.
        words.retain(|word| !matches!(*word, "-net" | "-host" | "-inet" | "-inet6" | "-n"));
        let mut metric = 0;
        if let ["add", .., "metric", number] = words[..] {
            let bad = |_| Failure::Usage(format!("route: {number}: not a metric"));
            metric = number.parse().map_err(bad)?;
            words.truncate(words.len() - 2);
        }
        match words[..] {
            [] | ["show" | "list"] => self.show(context),
            ["add", network, "-interface" | "-iface" | "dev", name] => {
                let network = destination(network, six)?;
                inet.add_route(network, None, Some(name), metric)
                    .map_err(errno(format_args!("{network}: {name}")))
            }
            ["add", network, gateway] | ["add", network, "via", gateway] => {
                let gateway: IpAddr = gateway
                    .parse()
                    .map_err(|_| Failure::Usage(format!("route: {gateway}: not an address")))?;
                let network = destination(network, gateway.is_ipv6())?;
                inet.add_route(network, Some(gateway), None, metric)
                    .map_err(errno(format_args!("{network}: gateway {gateway}")))
            }
            ["delete" | "del", network] => {
                let network = destination(network, six)?;
                inet.remove_route(network, None).map_err(errno(network))
            }
            ["delete" | "del", network, gateway] => {
                let gateway: IpAddr = gateway
                    .parse()
                    .map_err(|_| Failure::Usage(format!("route: {gateway}: not an address")))?;
                let network = destination(network, gateway.is_ipv6())?;
                inet.remove_route(network, Some(gateway))
                    .map_err(errno(network))
            }
            ["get", host] => get(context, host),
            _ => Err(Failure::Usage(format!(
                "route: {}: not understood",
                words.join(" ")
            ))),
        }
    }

    fn show(&self, context: &Context<'_>) -> Outcome<()> {
        let mut out = Out::new();
        if self.json {
            let mut array = Array::new(&mut out)?;
            for route in inet(context)?.routes() {
                array.push(&json!({
                    "destination": route.network.to_string(),
                    "gateway": route.gateway.map(|gateway| gateway.to_string()),
                    "interface": name_of(context, route.interface),
                    "metric": route.metric,
                    "flags": flags(&route),
                }))?;
            }
            array.end()?;
        } else {
            table(context, &mut out, |_| true)?;
        }
        out.flush()?;
        Ok(())
    }
}

/// The routes of those families that are wanted, as `netstat -rn` writes them.
pub(crate) fn table(
    context: &Context<'_>,
    out: &mut Out,
    wanted: impl Fn(IpAddr) -> bool,
) -> Outcome<()> {
    let routes = inet(context)?.routes();
    for (title, v4) in [("Internet:", true), ("Internet6:", false)] {
        let family = |route: &&Entry| {
            let ip = route.network.address();
            ip.is_ipv4() == v4 && wanted(ip)
        };
        let lines: Vec<[String; 5]> = routes
            .iter()
            .filter(family)
            .map(|route| {
                let to = match route.network {
                    Cidr::ANY_V4 | Cidr::ANY_V6 => "default".into(),
                    network if network == Cidr::host(network.address()) => {
                        network.address().to_string()
                    }
                    network => network.to_string(),
                };
                let name = name_of(context, route.interface);
                let gateway = route
                    .gateway
                    .map_or_else(|| "link".into(), |gateway| gateway.to_string());
                [to, gateway, flags(route), route.metric.to_string(), name]
            })
            .collect();
        if lines.is_empty() {
            continue;
        }
        let head = ["Destination", "Gateway", "Flags", "Metric", "Interface"].map(String::from);
        let width = |column: usize| {
            let all = lines.iter().chain([&head]);
            all.map(|line| line[column].len()).max().unwrap_or(0)
        };
        let (a, b, c, d) = (width(0), width(1), width(2), width(3));
        writeln!(out, "{title}")?;
        for [to, gateway, flags, metric, name] in [&head].into_iter().chain(&lines) {
            writeln!(
                out,
                "{to:a$}  {gateway:b$}  {flags:c$}  {metric:>d$}  {name}"
            )?;
        }
    }
    Ok(())
}

/// Flags as BSD has them: up, gateway, host, static, dynamic.
fn flags(route: &Entry) -> String {
    let mut flags = String::from("U");
    if route.gateway.is_some() {
        flags.push('G');
    }
    if route.network == Cidr::host(route.network.address()) {
        flags.push('H');
    }
    match route.origin {
        Origin::Connected => flags.push('C'),
        Origin::Static => flags.push('S'),
        Origin::Dynamic => flags.push('D'),
    }
    flags
}

fn name_of(context: &Context<'_>, index: u32) -> String {
    let net = context.net.kernel().net();
    let found = net.ok().and_then(|net| net.by_index(index));
    found.map_or_else(
        || format!("#{index}"),
        |interface| interface.name().to_owned(),
    )
}

/// `six`: the destination of all packets is that of IPv6.
fn destination(text: &str, six: bool) -> Outcome<Cidr> {
    match text {
        "default" if six => Ok(Cidr::ANY_V6),
        "default" => Ok(Cidr::ANY_V4),
        text => text
            .parse()
            .map_err(|_| Failure::Usage(format!("route: {text}: not a network"))),
    }
}

/// Which way a packet goes, as the stack itself chooses it for each; in the words of `ip route get`.
fn get(context: &Context<'_>, host: &str) -> Outcome<()> {
    let ip = context
        .net
        .lookup(host)
        .map_err(|error| Failure::Message(error.to_string()))?[0];
    let path = inet(context)?
        .with(|stack| stack.path(ip, None, None))
        .map_err(errno(host))?;
    let mut out = Out::new();
    if path.local {
        write!(out, "local ")?;
    } else if path.broadcast {
        write!(out, "broadcast ")?;
    } else if ip.is_multicast() {
        write!(out, "multicast ")?;
    }
    write!(out, "{ip}")?;
    if path.next_hop != ip {
        write!(out, " via {}", path.next_hop)?;
    }
    let interface = match path.local.then(|| loopback(context)).flatten() {
        Some(name) => name,
        None => name_of(context, path.interface),
    };
    write!(out, " dev {interface} src {}", path.source)?;
    let net = context.net.kernel().net().ok();
    let own = net.and_then(|net| net.by_index(path.interface));
    if !path.local && own.is_some_and(|own| path.mtu < own.mtu()) {
        // A router has said so, or a complaint.
        write!(out, " mtu {}", path.mtu)?;
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// The interface by which packets to this host itself go.
fn loopback(context: &Context<'_>) -> Option<String> {
    let net = context.net.kernel().net().ok()?;
    let all = net.interfaces();
    let lo = all.iter().find(|ifnet| ifnet.link() == Link::Loopback)?;
    Some(lo.name().to_owned())
}
