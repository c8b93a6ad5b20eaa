//! `rump net dhcp`.

use super::{Context, at, errno, ifconfig::inet, seconds};
use crate::{
    output::Out,
    report::{Failure, Outcome},
};
use clap::Args;
use rumpnet::KernelNet as _;
use std::{
    io::{ErrorKind, Write as _},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};
use uknet::{DhcpOptions, Lease};

/// Who runs this program waits for it, and is not all hosts of a link that come up together: it asks at once.
pub(crate) const NO_DELAY: Duration = Duration::ZERO;
/// How long a server has.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Get an address for an interface by DHCP, and show what the server says
///
/// The stack keeps the lease until its last command has ended, and gives it back then, unless `--lease` keeps it for the next time.
#[derive(Args, Debug)]
pub(crate) struct Dhcp {
    /// How long a server has
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
    /// The name that the server is told, of at most 255 bytes
    #[arg(short = 'h', long, value_name = "NAME", value_parser = host_name)]
    hostname: Option<String>,
    /// Do not look whether another host has the address
    #[arg(long)]
    no_probe: bool,
    /// Ask for the address that this file has from the last time, and keep the lease in it: it is not given back at the end. Servers know who asks by the address of the interface (mac=)
    #[arg(long, value_name = "FILE")]
    lease: Option<PathBuf>,
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
        let last = match &self.lease {
            Some(path) => last(path)?,
            None => None,
        };
        let options = DhcpOptions {
            host_name: self.hostname.clone(),
            delay: NO_DELAY,
            probes: if self.no_probe {
                0
            } else {
                DhcpOptions::default().probes
            },
            last,
            keep: self.lease.is_some(),
        };
        let lease = context
            .net
            .dhcp(name, options, self.timeout)
            .map_err(at(name))?;
        if let Some(path) = &self.lease {
            keep(path, &object(name, &lease))?;
        }
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

/// The address of the last time; `None` if there was none yet.
fn last(path: &Path) -> Outcome<Option<Ipv4Addr>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Failure::host(path, &error))?,
    };
    let object: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let address = object
        .as_ref()
        .and_then(|lease| lease.get("address")?.as_str());
    let address = address.and_then(|address| address.split('/').next()?.parse().ok());
    match address {
        Some(address) => Ok(Some(address)),
        None => Err(Failure::Fatal(format!(
            "{}: this is no lease",
            path.display()
        ))),
    }
}

/// Keeps a lease: the file has the old one or the new one, whatever happens.
fn keep(path: &Path, lease: &serde_json::Value) -> Outcome<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    let written =
        std::fs::write(&new, format!("{lease}\n")).and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        // It is not there, or nobody wants it.
        let _ = std::fs::remove_file(&new);
        Failure::host(path, &error)
    })
}

/// A name that fits into its option.
fn host_name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.into()),
        _ => Err("a name has 1 to 255 bytes".into()),
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
