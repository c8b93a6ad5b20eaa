//! `rump net ifconfig`.

use super::{Context, errno};
use crate::{
    json::Array,
    output::Out,
    report::{Failure, Outcome},
};
use clap::Args;
use rumpnet::{Cidr, Ifnet, KernelNet as _, interface::Link};
use rumpnet_inet::{Inet, KernelInet as _};
use rumpuser::Errno;
use serde_json::json;
use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// Show and change interfaces
///
/// Changes are made word by word: ADDRESS/BITS or ADDRESS netmask MASK adds an address, delete ADDRESS (or -alias ADDRESS) takes one away, up and down,
/// mtu BYTES.
#[derive(Args, Debug)]
pub(crate) struct Ifconfig {
    /// All interfaces (as without a name)
    #[arg(short = 'a')]
    all: bool,
    /// A JSON array
    #[arg(long)]
    json: bool,
    /// The interface, and what is to be changed
    #[arg(
        value_name = "INTERFACE",
        allow_hyphen_values = true,
        trailing_var_arg = true
    )]
    words: Vec<String>,
}

impl Ifconfig {
    /// Runs it.
    ///
    /// # Errors
    /// What is wrong with a word.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        let kernel = context.net.kernel();
        let (net, inet) = (kernel.net().map_err(errno("ifconfig"))?, inet(context)?);
        let found = match self.words.first() {
            Some(name) => vec![net.interface(name).map_err(errno(name))?],
            None => net.interfaces(),
        };
        if let (Some(interface), [_, change @ ..]) = (found.first(), &self.words[..])
            && !change.is_empty()
        {
            return changes(&inet, interface, change);
        }
        let mut out = Out::new();
        if self.json {
            let mut array = Array::new(&mut out)?;
            for interface in &found {
                array.push(&object(&inet, interface))?;
            }
            array.end()?;
        } else {
            for interface in &found {
                show(&mut out, &inet, interface)?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// The stack of one's own.
///
/// # Errors
/// There is none.
pub(crate) fn inet(context: &Context<'_>) -> Outcome<Arc<Inet>> {
    let none = |_| {
        Failure::Message("the host's sockets (--sockin) have no interfaces and routes here".into())
    };
    context.net.kernel().inet().map_err(none)
}

fn changes(inet: &Inet, interface: &Ifnet, words: &[String]) -> Outcome<()> {
    let name = interface.name();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let mut operand = || {
            let needs = || Failure::Usage(format!("ifconfig: {word}: an operand is missing"));
            words.next().ok_or_else(needs)
        };
        let done = match &**word {
            "up" => inet.up(name),
            "down" => {
                interface.set_up(false);
                Ok(())
            }
            "mtu" => {
                let text = operand()?;
                let mtu = text
                    .parse()
                    .map_err(|_| Failure::Usage(format!("ifconfig: mtu {text}: not a number")))?;
                interface.set_mtu(mtu)
            }
            "delete" | "-alias" => inet.remove_address(name, address(operand()?)?.address()),
            "inet" | "inet6" | "alias" => Ok(()),
            word => {
                let mut cidr = address(word)?;
                if words.next_if(|next| *next == "netmask").is_some() {
                    let mask = words.next().map_or("", String::as_str);
                    let bits = netmask(mask).ok_or_else(|| {
                        Failure::Usage(format!("ifconfig: netmask {mask}: not a mask"))
                    })?;
                    cidr = Cidr::new(cidr.address(), bits).map_err(errno(word))?;
                } else if !word.contains('/') {
                    return Err(Failure::Usage(format!(
                        "ifconfig: {word}: how many bits its network has is missing: {word}/24"
                    )));
                }
                match inet.add_address(name, cidr) {
                    Err(Errno::EADDRINUSE) => {
                        return Err(Failure::Message(format!(
                            "{name}: {word}: another host on the link has this address"
                        )));
                    }
                    done => done,
                }
            }
        };
        done.map_err(errno(format_args!("{name}: {word}")))?;
    }
    Ok(())
}

fn address(text: &str) -> Outcome<Cidr> {
    text.parse().map_err(|_| {
        Failure::Usage(format!(
            "ifconfig: {text}: neither an address nor a word that is known"
        ))
    })
}

/// The length of the prefix that a mask has.
fn netmask(text: &str) -> Option<u8> {
    let bits = text.parse::<Ipv4Addr>().map(Ipv4Addr::to_bits);
    let hex = || u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let bits = bits.ok().or_else(hex)?;
    let ones = bits.leading_ones();
    (ones + bits.trailing_zeros().min(32) == 32 || bits == u32::MAX).then_some(ones as u8)
}

/// The words that describe an interface's state, as BSD has them.
pub(crate) fn flags(interface: &Ifnet) -> Vec<&'static str> {
    let mut words = Vec::new();
    if interface.is_up() {
        words.push("UP");
    }
    match interface.link() {
        Link::Ethernet(_) => words.push("BROADCAST"),
        Link::Loopback => words.push("LOOPBACK"),
        Link::Point => words.push("POINTOPOINT"),
    }
    if interface.is_running() {
        words.push("RUNNING");
    }
    words.push("MULTICAST");
    words
}

fn show(out: &mut Out, inet: &Inet, interface: &Ifnet) -> Outcome<()> {
    let name = interface.name();
    writeln!(
        out,
        "{name}: flags=<{}> mtu {}",
        flags(interface).join(","),
        interface.mtu()
    )?;
    if let Some(mac) = interface.mac() {
        writeln!(out, "\taddress: {mac}")?;
    }
    for cidr in inet.addresses(name).unwrap_or_default() {
        match cidr.address() {
            IpAddr::V4(_) => {
                write!(out, "\tinet {cidr}")?;
                if let Some(all) = cidr.broadcast() {
                    write!(out, " broadcast {all}")?;
                }
                writeln!(out)?;
            }
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                writeln!(
                    out,
                    "\tinet6 {ip}%{name}/{} scopeid {}",
                    cidr.prefix(),
                    interface.index()
                )?;
            }
            IpAddr::V6(_) => writeln!(out, "\tinet6 {cidr}")?,
        }
    }
    let n = interface.counters();
    writeln!(
        out,
        "\tinput: {} packets, {} bytes, {} dropped",
        n.in_packets, n.in_bytes, n.in_dropped
    )?;
    writeln!(
        out,
        "\toutput: {} packets, {} bytes, {} dropped",
        n.out_packets, n.out_bytes, n.out_dropped
    )?;
    Ok(())
}

fn object(inet: &Inet, interface: &Ifnet) -> serde_json::Value {
    let addresses = inet.addresses(interface.name()).unwrap_or_default();
    let n = interface.counters();
    json!({
        "name": interface.name(),
        "index": interface.index(),
        "flags": flags(interface),
        "mtu": interface.mtu(),
        "address": interface.mac().map(|mac| mac.to_string()),
        "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "input": {"packets": n.in_packets, "bytes": n.in_bytes, "dropped": n.in_dropped},
        "output": {"packets": n.out_packets, "bytes": n.out_bytes, "dropped": n.out_dropped},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(netmask("255.255.255.0"), Some(24));
        assert_eq!(netmask("0xffff0000"), Some(16));
        assert_eq!(netmask("0.0.0.0"), Some(0));
        assert_eq!(netmask("255.255.255.255"), Some(32));
        assert_eq!(netmask("255.0.255.0"), None);
        assert_eq!(netmask("24"), None);
    }
}
