//! Captures as files: pcap, as every analyser reads it, and pcapng.

use crate::{
    Packet,
    capture::{Tap, Way},
    interface::{Batch, Ifnet, Link},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use rumpuser::{Host, Timespec, sync::Mutex};

/// Numbers of link types in both formats.
const ETHERNET: u16 = 1;
const RAW_IP: u16 = 101;

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

/// Which frames are kept.
pub type Filter = Box<dyn Fn(Way, &Packet) -> bool + Send + Sync>;

/// Writes the frames of an interface as a capture.
pub struct Writer {
    format: Format,
    host: Arc<dyn Host>,
    snap: usize,
    /// Where the network header begins.
    network: usize,
    filter: Option<Filter>,
    sink: Mutex<Sink>,
}

impl Writer {
    /// Begins a capture of an interface, with at most `snap` bytes of each frame; [`Taps::add`](crate::capture::Taps::add) makes
    /// it run. The sink is called in the middle of the traffic: it should be quick.
    #[must_use]
    pub fn new(
        format: Format,
        interface: &Ifnet,
        host: &Arc<dyn Host>,
        snap: usize,
        filter: Option<Filter>,
        mut sink: Sink,
    ) -> Arc<Self> {
        let (link, network) = match interface.link() {
            Link::Ethernet(_) => (ETHERNET, crate::ethernet::HEADER),
            Link::Loopback | Link::Point => (RAW_IP, 0),
        };
        let mut head = Vec::new();
        let snap32 = u32::try_from(snap).unwrap_or(u32::MAX);
        match format {
            Format::Pcap => {
                // Magic number for nanoseconds, version 2.4, time zone and accuracy that nobody uses.
                head.extend(0xa1b2_3c4d_u32.to_le_bytes());
                head.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                head.extend(snap32.to_le_bytes());
                head.extend(u32::from(link).to_le_bytes());
            }
            Format::PcapNg => {
                let mut section = Vec::new();
                section.extend(0x1a2b_3c4d_u32.to_le_bytes());
                section.extend([1, 0, 0, 0]);
                section.extend(u64::MAX.to_le_bytes());
                block(&mut head, 0x0a0d_0d0a, &section);
                let mut description = Vec::new();
                description.extend(link.to_le_bytes());
                description.extend([0, 0]);
                description.extend(snap32.to_le_bytes());
                option(&mut description, 2, interface.name().as_bytes());
                // Times in nanoseconds.
                option(&mut description, 9, &[9]);
                option(&mut description, 0, &[]);
                block(&mut head, 1, &description);
            }
        }
        sink(&head);
        Arc::new(Self {
            format,
            host: host.clone(),
            snap,
            network,
            filter,
            sink: Mutex::new(sink),
        })
    }

    fn record(&self, out: &mut Vec<u8>, way: Way, frame: &Packet, time: Timespec) {
        let len = frame.len().min(self.snap);
        let mut bytes = alloc::vec![0; len];
        frame.copy_to(0, &mut bytes);
        if len == frame.len() {
            frame.meta.checksum.complete(&mut bytes, self.network);
        }
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        match self.format {
            Format::Pcap => {
                // Seconds of this format end in 2106.
                let seconds = u32::try_from(time.sec).unwrap_or(u32::MAX);
                out.extend(seconds.to_le_bytes());
                out.extend(time.nsec.to_le_bytes());
                out.extend(short(len));
                out.extend(short(frame.len()));
                out.extend(bytes);
            }
            Format::PcapNg => {
                let seconds = u64::try_from(time.sec).unwrap_or(0);
                let nanos = seconds
                    .saturating_mul(1_000_000_000)
                    .saturating_add(time.nsec.into());
                let mut packet = Vec::new();
                packet.extend([0; 4]);
                let high = u32::try_from(nanos >> 32).unwrap_or(u32::MAX);
                let low = u32::try_from(nanos & 0xffff_ffff).unwrap_or(u32::MAX);
                packet.extend(high.to_le_bytes());
                packet.extend(low.to_le_bytes());
                packet.extend(short(len));
                packet.extend(short(frame.len()));
                packet.extend(bytes);
                pad(&mut packet);
                let direction: u32 = if way == Way::In { 1 } else { 2 };
                option(&mut packet, 2, &direction.to_le_bytes());
                option(&mut packet, 0, &[]);
                block(out, 6, &packet);
            }
        }
    }
}

impl Tap for Writer {
    fn frames(&self, way: Way, frames: &mut Batch) {
        let time = self.host.wall();
        let mut out = Vec::new();
        for frame in frames.iter() {
            if self.filter.as_ref().is_none_or(|filter| filter(way, frame)) {
                self.record(&mut out, way, frame, time);
            }
        }
        if !out.is_empty() {
            (self.sink.lock())(&out);
        }
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    out.extend(value);
    pad(out);
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = u32::try_from(body.len().saturating_add(12)).unwrap_or(u32::MAX);
    out.extend(kind.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(body);
    out.extend(len.to_le_bytes());
}
