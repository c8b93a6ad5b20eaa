//! Captures as files: pcap, as every analyser reads it, and pcapng.
//!
//! | module | what |
//! |---|---|
//! | [`write`](mod@write) | [`Encoder`]: the bytes of a capture |
//! | [`read`] | [`Reader`]: the frames in a file of either format |
//! | [`filter`](mod@filter) | [`Expression`]: which frames, in the language of pcap-filter(7) |
//!
//! pcap is draft-ietf-opsawg-pcap, pcapng is draft-ietf-opsawg-pcapng; numbers of links are those of the registry that both name.

pub mod filter;
pub mod read;
pub mod write;

pub use filter::{Expression, SyntaxError};
pub use read::{Malformed, Reader, Record};
pub use write::Encoder;

use crate::{
    capture::{Tap, Way},
    interface::{Batch, Ifnet, Link},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use rumpuser::{Host, sync::Mutex};

/// What the frames of a capture are, by its number in both formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkType(pub u16);

impl LinkType {
    /// Frames of Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// Packets of IPv4 and IPv6, as their first byte says.
    pub const RAW_IP: Self = Self(101);

    /// Bytes in front of the network header.
    const fn header(self) -> usize {
        match self {
            Self::ETHERNET => crate::ethernet::HEADER,
            _ => 0,
        }
    }
}

impl From<Link> for LinkType {
    fn from(link: Link) -> Self {
        match link {
            Link::Ethernet(_) => Self::ETHERNET,
            Link::Loopback | Link::Point => Self::RAW_IP,
        }
    }
}

/// A format of captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// pcap with times in nanoseconds.
    Pcap,
    /// pcapng (one section, one interface), which also tells the direction.
    PcapNg,
}

/// Where the bytes of a capture go.
pub type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// Writes the frames of an interface as a capture.
pub struct Writer {
    encoder: Encoder,
    host: Arc<dyn Host>,
    link: LinkType,
    filter: Expression,
    sink: Mutex<Sink>,
}

impl Writer {
    /// Begins a capture of an interface, with at most `snap` bytes of each frame; [`Taps::add`](crate::capture::Taps::add) makes
    /// it run. Frames that the filter does not match are left out. The sink is called in the middle of the traffic: it should be quick.
    #[must_use]
    pub fn new(
        format: Format,
        interface: &Ifnet,
        host: &Arc<dyn Host>,
        snap: usize,
        filter: Expression,
        mut sink: Sink,
    ) -> Arc<Self> {
        let link = interface.link().into();
        let encoder = Encoder::new(format, link, snap);
        sink(&encoder.head(interface.name()));
        Arc::new(Self {
            encoder,
            host: host.clone(),
            link,
            filter,
            sink: Mutex::new(sink),
        })
    }
}

impl Tap for Writer {
    fn frames(&self, way: Way, frames: &mut Batch) {
        let time = self.host.wall();
        let mut out = Vec::new();
        for frame in frames.iter() {
            if self.filter.matches(self.link, Some(way), frame) {
                self.encoder.record(&mut out, Some(way), frame, time);
            }
        }
        if !out.is_empty() {
            (self.sink.lock())(&out);
        }
    }
}
