//! `rump net arp`, `rump net ndp`.

use super::{Context, errno, ifconfig::inet};
use crate::{
    json::Array,
    output::Out,
    report::{Failure, Outcome},
};
use clap::Args;
use rumpnet::{KernelNet as _, MacAddr, neighbor::State};
use rumpnet_inet::Inet;
use serde_json::json;
use std::{io::Write as _, net::IpAddr};

/// Show and change link addresses of hosts of IPv4
#[derive(Args, Debug)]
pub(crate) struct Arp {
    #[command(flatten)]
    words: Words,
}

/// Show and change link addresses of hosts of IPv6
#[derive(Args, Debug)]
pub(crate) struct Ndp {
    #[command(flatten)]
    words: Words,
}

#[derive(Args, Debug)]
struct Words {
    /// All hosts (as without a host)
    #[arg(short = 'a')]
    all: bool,
    /// Addresses as numbers (always so)
    #[arg(short = 'n')]
    numeric: bool,
    /// Forget a host, with -a all
    #[arg(short = 'd', conflicts_with = "set")]
    delete: bool,
    /// Enter a host by hand
    #[arg(short = 's', num_args = 2, value_names = ["HOST", "LINK-ADDRESS"])]
    set: Vec<String>,
    /// Only hosts on this interface, or the one that -s is about
    #[arg(short = 'i', value_name = "INTERFACE", conflicts_with = "delete")]
    interface: Option<String>,
    /// A JSON array
    #[arg(long)]
    json: bool,
    /// The host
    host: Option<IpAddr>,
}

impl Arp {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such host; wrong words.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        self.words.run(context, true)
    }
}

impl Ndp {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such host; wrong words.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        self.words.run(context, false)
    }
}

impl Words {
    fn run(&self, context: &Context<'_>, v4: bool) -> Outcome<()> {
        let inet = inet(context)?;
        if let [host, mac] = &self.set[..] {
            return self.enter(context, &inet, host, mac, v4);
        }
        let wanted = |ip: IpAddr| ip.is_ipv4() == v4 && self.host.is_none_or(|host| host == ip);
        match self.delete {
            true => self.forget(&inet, wanted),
            false => self.list(context, &inet, wanted),
        }
    }

    fn enter(
        &self,
        context: &Context<'_>,
        inet: &Inet,
        host: &str,
        mac: &str,
        v4: bool,
    ) -> Outcome<()> {
        let ip: IpAddr = host
            .parse()
            .map_err(|_| Failure::Usage(format!("{host}: not an address")))?;
        if ip.is_ipv4() != v4 {
            return Err(Failure::Usage(format!("{ip}: of the other family")));
        }
        let mac: MacAddr = mac
            .parse()
            .map_err(|_| Failure::Usage(format!("{mac}: not a link address")))?;
        let net = context.net.kernel().net().map_err(errno("neighbours"))?;
        let on = self.interface.clone().or_else(|| {
            let all = net.interfaces();
            let mut all = all.iter().filter(|interface| {
                let here = inet.addresses(interface.name()).unwrap_or_default();
                here.iter().any(|cidr| cidr.contains(ip))
            });
            all.next().map(|interface| interface.name().to_owned())
        });
        let on = on.ok_or_else(|| Failure::at(ip, "on no link; -i INTERFACE says which"))?;
        inet.set_neighbor(&on, ip, mac)
            .map_err(errno(format_args!("{on}: {ip}")))
    }

    fn forget(&self, inet: &Inet, wanted: impl Fn(IpAddr) -> bool) -> Outcome<()> {
        if self.host.is_none() && !self.all {
            return Err(Failure::Usage("-d: a host or -a is needed".into()));
        }
        let all = inet.neighbors();
        let gone = all.iter().map(|n| n.1).filter(|ip| wanted(*ip));
        let count: usize = gone.map(|ip| inet.forget_neighbors(Some(ip))).sum();
        if let (Some(host), 0) = (self.host, count) {
            return Err(Failure::at(host, "not there"));
        }
        Ok(())
    }

    fn list(
        &self,
        context: &Context<'_>,
        inet: &Inet,
        wanted: impl Fn(IpAddr) -> bool,
    ) -> Outcome<()> {
        let net = context.net.kernel().net().map_err(errno("neighbours"))?;
        let here = self.interface.as_deref().map(|name| {
            let interface = net.interface(name).map_err(errno(name))?;
            Outcome::Ok(interface.index())
        });
        let here = here.transpose()?;
        let mut found = inet.neighbors();
        found.retain(|(index, ip, ..)| wanted(*ip) && here.is_none_or(|here| here == *index));
        if let (Some(host), true) = (self.host, found.is_empty()) {
            return Err(Failure::at(host, "no entry"));
        }
        let interface = |index| {
            let interface = net.by_index(index);
            interface.map_or_else(String::new, |interface| interface.name().to_owned())
        };
        let mut out = Out::new();
        if self.json {
            let mut array = Array::new(&mut out)?;
            for (index, ip, mac, state) in found {
                array.push(&json!({
                    "host": ip.to_string(),
                    "address": mac.map(|mac| mac.to_string()),
                    "interface": interface(index),
                    "state": word(state),
                }))?;
            }
            array.end()?;
        } else {
            for (index, ip, mac, state) in found {
                let mac = mac.map_or_else(|| "(incomplete)".into(), |mac| mac.to_string());
                let (on, state) = (interface(index), word(state));
                writeln!(out, "? ({ip}) at {mac} on {on} {state}")?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Incomplete => "incomplete",
        State::Reachable => "reachable",
        State::Stale => "stale",
        State::Delay => "delay",
        State::Probe => "probe",
        State::Permanent => "permanent",
    }
}
