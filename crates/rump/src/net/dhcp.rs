//! `rump net dhcp`.

use super::{Context, at, errno, ifconfig::inet, seconds};
use crate::{
    output::Out,
    report::{Failure, Outcome},
};
use clap::Args;
use rumpnet::KernelNet as _;
use std::{io::Write as _, time::Duration};
use uknet::{DhcpOptions, Lease};

/// How long a server has.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Get an address for an interface by DHCP, and show what the server says
///
/// The stack keeps the lease until its last command has ended, and gives it back then.
#[derive(Args, Debug)]
pub(crate) struct Dhcp {
    /// How long a server has
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
    /// The name that the server is told
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Do not look whether another host has the address
    #[arg(long)]
    no_probe: bool,
    /// A JSON object
    #[arg(long)]
    json: bool,
    /// The interface (without one: the only one that there is)
    interface: Option<String>,
}

impl Dhcp {
    /// Runs it.
    ///
    /// # Errors
    /// No server answers; there is no such interface.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        inet(context)?;
        let net = context.net.kernel().net().map_err(errno("dhcp"))?;
        let ethernets: Vec<String> = net
            .interfaces()
            .iter()
            .filter(|interface| interface.mac().is_some())
            .map(|interface| interface.name().to_owned())
            .collect();
        let name = match (&self.interface, &ethernets[..]) {
            (Some(name), _) => name,
            (None, [only]) => only,
            (None, _) => return Err(Failure::Usage("dhcp: which interface?".into())),
        };
        let options = DhcpOptions {
            host_name: self.hostname.clone(),
            probes: if self.no_probe {
                0
            } else {
                DhcpOptions::default().probes
            },
        };
        let lease = context
            .net
            .dhcp(name, options, self.timeout)
            .map_err(at(name))?;
        let mut out = Out::new();
        if self.json {
            writeln!(out, "{}", object(name, &lease))?;
        } else {
            show(&mut out, name, &lease)?;
        }
        out.flush()?;
        Ok(())
    }
}

fn seconds_of(time: Duration) -> String {
    if time == Duration::MAX {
        return "for ever".into();
    }
    format!("{} s", time.as_secs())
}

fn show(out: &mut Out, name: &str, lease: &Lease) -> Outcome<()> {
    writeln!(
        out,
        "{name}: {} from {}, {}",
        lease.address,
        lease.server,
        seconds_of(lease.time)
    )?;
    for (network, router) in &lease.routes {
        match router {
            Some(router) => writeln!(out, "\troute {network} via {router}")?,
            None => writeln!(out, "\troute {network}")?,
        }
    }
    for server in &lease.dns {
        writeln!(out, "\tname server {server}")?;
    }
    if let Some(domain) = &lease.domain {
        writeln!(out, "\tdomain {}", domain.escape_debug())?;
    }
    if let Some(mtu) = lease.mtu {
        writeln!(out, "\tmtu {mtu}")?;
    }
    Ok(())
}

fn object(name: &str, lease: &Lease) -> serde_json::Value {
    serde_json::json!({
        "interface": name,
        "address": lease.address.to_string(),
        "server": lease.server.to_string(),
        "routes": lease.routes.iter().map(|(network, router)| serde_json::json!({
            "network": network.to_string(),
            "router": router.map(|router| router.to_string()),
        })).collect::<Vec<_>>(),
        "name_servers": lease.dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "domain": lease.domain,
        "mtu": lease.mtu,
        "seconds": (lease.time != Duration::MAX).then_some(lease.time.as_secs()),
    })
}
