//! The kernel that a command line describes.

use super::at;
use crate::{
    report::{Failure, Outcome},
    signals,
};
use clap::Args;
use rumpnet::{
    KernelNet as _,
    capture::Tap,
    pcap,
    socket::{Shutdown, Socket},
};
use std::{
    fs::File,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use uknet::{Cidr, DhcpOptions, Interface, MacAddr, Net, Resolv};

/// How long connections that are closed have for their last segments.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a signal may be missed.
const LOOK: Duration = Duration::from_millis(50);

/// How the stack is made.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// An interface: shmif:FILE (an Ethernet in a file) or tap:NAME (a tap device of the host), then addresses and settings with commas
    /// between: ADDRESS/BITS, dhcp, mtu=BYTES, mac=ADDRESS, name=NAME. May be given several times
    #[arg(long = "if", value_name = "DEVICE[,ADDRESS/BITS|,dhcp][,NAME=VALUE]", value_parser = spec)]
    interfaces: Vec<Spec>,
    /// The host's sockets instead of a stack
    #[arg(long, conflicts_with_all = ["interfaces", "gateway", "forward", "pcap"])]
    sockin: bool,
    /// The router for what is beyond the links; one for each family
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// A name server (without one and with --sockin: those of the host); may be given several times
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = server)]
    nameserver: Vec<SocketAddr>,
    /// A domain that names are looked for in; may be given several times
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    search: Vec<rumpnet_dns::Name>,
    /// Names that are known without a name server, as in /etc/hosts
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Pass packets for others on between the interfaces
    #[arg(long)]
    forward: bool,
    /// Write what the first interface sends and receives to a file, as pcap, or as pcapng if it is named so
    #[arg(long, value_name = "FILE", requires = "interfaces")]
    pcap: Option<PathBuf>,
    /// With --pcap: another interface than the first, by its name
    #[arg(long = "pcap-if", value_name = "INTERFACE", requires = "pcap")]
    pcap_interface: Option<String>,
    /// With --pcap: only frames of which this is true, as tcpdump has it: `tcp port 80 and not host 10.0.0.1`
    #[arg(long = "pcap-filter", value_name = "EXPRESSION", requires = "pcap")]
    pcap_filter: Option<pcap::Expression>,
    /// Show messages of the kernel as they come
    #[arg(long = "kernel-messages")]
    messages: bool,
}

/// What an interface is to be.
#[derive(Clone, Debug)]
struct Spec {
    text: String,
    device: Device,
    addresses: Vec<Cidr>,
    dhcp: bool,
    mtu: Option<u32>,
    mac: Option<MacAddr>,
    name: Option<String>,
}

#[derive(Clone, Debug)]
enum Device {
    Shmif(PathBuf),
    Tap(String),
}

fn spec(text: &str) -> Result<Spec, String> {
    let mut parts = text.split(',');
    let device = parts.next().unwrap_or_default();
    let device = match device.split_once(':') {
        Some(("shmif", file)) if !file.is_empty() => Device::Shmif(file.into()),
        Some(("tap", name)) if !name.is_empty() => Device::Tap(name.into()),
        _ => return Err("shmif:FILE or tap:NAME is needed".into()),
    };
    let mut spec = Spec {
        text: text.into(),
        device,
        addresses: Vec::new(),
        dhcp: false,
        mtu: None,
        mac: None,
        name: None,
    };
    for part in parts {
        let bad =
            || format!("{part}: neither an address with the bits of its network nor a setting");
        match part.split_once('=') {
            Some(("mtu", value)) => spec.mtu = Some(value.parse().map_err(|_| bad())?),
            Some(("mac", value)) => spec.mac = Some(value.parse().map_err(|_| bad())?),
            Some(("name", value)) if !value.is_empty() => spec.name = Some(value.into()),
            Some(_) => return Err(bad()),
            None if part == "dhcp" => spec.dhcp = true,
            None if part.contains('/') => spec.addresses.push(part.parse().map_err(|_| bad())?),
            None => return Err(bad()),
        }
    }
    Ok(spec)
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let plain = text
        .parse()
        .map(|ip: IpAddr| SocketAddr::new(ip, rumpnet_dns::config::PORT));
    plain
        .or_else(|_| text.parse())
        .map_err(|_| "not an address".into())
}

fn domain(text: &str) -> Result<rumpnet_dns::Name, String> {
    text.parse().map_err(|_| "not a domain".into())
}

/// A stack that runs. Clones are the same stack.
#[derive(Clone)]
pub(crate) struct Stack {
    net: Net,
    capture: Option<(Arc<Mutex<Capture>>, String)>,
    /// A signal ends it and the process.
    watched: Arc<AtomicBool>,
}

/// A file that frames are written to, and the first error.
struct Capture {
    file: std::io::BufWriter<File>,
    error: Option<std::io::Error>,
}

impl Options {
    /// Boots it.
    ///
    /// # Errors
    /// What is wrong with an interface, an address, a file.
    pub(crate) fn boot(&self) -> Outcome<Stack> {
        let resolv = self.resolv()?;
        if self.sockin {
            let net = Net::host().map_err(at("sockin"))?;
            if !resolv.servers.is_empty() || self.hosts.is_some() {
                net.resolver().set_config(resolv);
            }
            return Ok(Stack::new(net, None));
        }
        let mut builder = Net::builder()
            .resolv(resolv)
            .forwarding(self.forward)
            .kernel_messages(self.messages);
        let (mut first, mut by_dhcp) = (None, Vec::new());
        for (index, spec) in self.interfaces.iter().enumerate() {
            let (name, interface) = spec.open(index)?;
            if spec.dhcp {
                by_dhcp.push(name.clone());
            }
            first.get_or_insert(name);
            builder = builder.interface(interface);
        }
        for gateway in &self.gateway {
            builder = builder.gateway(*gateway);
        }
        let net = builder
            .boot()
            .map_err(|error| Failure::Fatal(error.to_string()))?;
        let capture = match (&self.pcap, first) {
            (Some(path), Some(first)) => {
                let name = self.pcap_interface.as_ref().unwrap_or(&first);
                let capture = capture(
                    &net,
                    name,
                    path,
                    self.pcap_filter.clone().unwrap_or_default(),
                )?;
                Some((capture, path.display().to_string()))
            }
            _ => None,
        };
        for name in by_dhcp {
            let options = DhcpOptions {
                delay: super::dhcp::NO_DELAY,
                ..DhcpOptions::default()
            };
            let lease = net.dhcp(&name, options, super::dhcp::PATIENCE);
            lease.map_err(at(format_args!("{name}: dhcp")))?;
        }
        Ok(Stack::new(net, capture))
    }

    fn resolv(&self) -> Outcome<Resolv> {
        let mut resolv = Resolv {
            servers: self.nameserver.clone(),
            search: self.search.clone(),
            ..Resolv::default()
        };
        if let Some(path) = &self.hosts {
            let text =
                std::fs::read_to_string(path).map_err(|error| Failure::host(path, &error))?;
            resolv.hosts = rumpnet_dns::Hosts::parse(&text);
        }
        Ok(resolv)
    }
}

impl Spec {
    fn open(&self, index: usize) -> Outcome<(String, Interface)> {
        let mac = self.mac.unwrap_or_else(uknet::new_mac);
        let (kind, interface) = match &self.device {
            Device::Shmif(file) => ("shmif", Interface::shmif_at(file, mac)),
            Device::Tap(name) => ("virt", Interface::tap_at(name, mac)),
        };
        let interface =
            interface.map_err(|error| Failure::at(&self.text, crate::report::io_reason(&error)))?;
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| format!("{kind}{index}"));
        let mut interface = interface.named(&name);
        for address in &self.addresses {
            interface = interface.address(*address);
        }
        if let Some(mtu) = self.mtu {
            interface = interface.mtu(mtu);
        }
        Ok((name, interface))
    }
}

/// Begins to write an interface's frames to a file.
fn capture(
    net: &Net,
    name: &str,
    path: &PathBuf,
    filter: pcap::Expression,
) -> Outcome<Arc<Mutex<Capture>>> {
    let kernel = net.kernel();
    let interface = kernel.net().and_then(|net| net.interface(name));
    let interface = interface.map_err(super::errno(name))?;
    let file = File::create(path).map_err(|error| Failure::host(path, &error))?;
    let capture = Arc::new(Mutex::new(Capture {
        file: std::io::BufWriter::new(file),
        error: None,
    }));
    let format = match path.extension() {
        Some(end) if end == "pcapng" => pcap::Format::PcapNg,
        _ => pcap::Format::Pcap,
    };
    let into = capture.clone();
    let sink = Box::new(move |bytes: &[u8]| {
        let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = into.file.write_all(bytes) {
            into.error.get_or_insert(error);
        }
    });
    let snap = usize::from(u16::MAX) + 64;
    let writer: Arc<dyn Tap> =
        pcap::Writer::new(format, &interface, kernel.host(), snap, filter, sink);
    interface.taps().add(writer);
    Ok(capture)
}

impl Stack {
    fn new(net: Net, capture: Option<(Arc<Mutex<Capture>>, String)>) -> Self {
        let watched = Arc::default();
        Self {
            net,
            capture,
            watched,
        }
    }

    /// Has a signal end the process from now on, in the middle of any wait. Peers are told as they would be if the host's kernel had the
    /// sockets, and nothing that [`end`](Self::end) does is left out.
    pub(crate) fn end_at_signal(&self) {
        if self.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let stack = self.clone();
        thread::spawn(move || {
            while signals::check().is_ok() {
                thread::sleep(LOOK);
            }
            for open in stack.net.proc().held_files() {
                let file = open.file().clone().as_any();
                if let Ok(socket) = file.downcast::<Socket>() {
                    // Those without a peer have nobody to tell.
                    let _ = socket.endpoint().shutdown(Shutdown::Both);
                }
            }
            if let Err(failure) = stack.end() {
                crate::report::say(failure);
            }
            signals::die()
        });
    }

    /// Waits for the end of the process, if a signal has come that means it. What a command says by then is of no interest: its sockets are
    /// gone.
    pub(crate) fn leave(&self) {
        while self.watched.load(Ordering::Relaxed) && signals::check().is_err() {
            thread::park();
        }
    }

    /// It.
    pub(crate) fn net(&self) -> &Net {
        &self.net
    }

    /// Ends it.
    ///
    /// # Errors
    /// The capture could not be written.
    pub(crate) fn end(&self) -> Outcome<()> {
        // Commands that send data have seen to it; what is left is goodbyes, perhaps to who is gone already.
        let _ = self.net.settle(GOODBYE);
        self.net.release().map_err(at("dhcp"))?;
        if let Some((capture, path)) = &self.capture {
            let mut capture = capture.lock().unwrap_or_else(PoisonError::into_inner);
            let flushed = capture.file.flush().err();
            if let Some(error) = capture.error.take().or(flushed) {
                return Err(Failure::host(path, &error));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces() {
        let good =
            spec("shmif:/tmp/bus,10.0.0.1/24,fd00::1/64,mtu=9000,mac=2:0:0:0:0:1,name=a0").unwrap();
        assert!(matches!(good.device, Device::Shmif(file) if file.as_os_str() == "/tmp/bus"));
        assert_eq!(
            (good.addresses.len(), good.mtu, good.name.as_deref()),
            (2, Some(9_000), Some("a0"))
        );
        assert_eq!(good.mac, Some(MacAddr([2, 0, 0, 0, 0, 1])));
        for bad in [
            "",
            "shmif",
            "shmif:",
            "eth:x",
            "tap:t,10.0.0.1",
            "tap:t,10.0.0.1/33",
            "tap:t,mtu=x",
            "tap:t,x=1",
            "tap:t,",
        ] {
            assert!(spec(bad).is_err(), "{bad}");
        }
    }
}
