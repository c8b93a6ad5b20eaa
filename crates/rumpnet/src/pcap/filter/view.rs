//! What a filter sees of a frame.

use super::Base;
use crate::{MacAddr, Packet, ethernet::EtherType, pcap::LinkType};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Extension headers of IPv6 that are passed at most.
const EXTENSIONS: usize = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame with the places of its headers.
pub(super) struct View<'a> {
    frame: &'a Packet,
    /// Bytes of the header of the link.
    link: usize,
    pub(super) kind: Option<EtherType>,
    /// From and to, of IP and ARP.
    pub(super) addresses: Option<(IpAddr, IpAddr)>,
    /// What a packet carries.
    pub(super) protocol: Option<u8>,
    /// Where that begins; not in fragments but the first.
    transport: Option<usize>,
}

impl<'a> View<'a> {
    pub(super) fn of(link: LinkType, frame: &'a Packet) -> Self {
        let mut view = Self {
            frame,
            link: link.header(),
            kind: None,
            addresses: None,
            protocol: None,
            transport: None,
        };
        view.kind = match link {
            LinkType::ETHERNET => view.bytes(12).map(u16::from_be_bytes).map(EtherType),
            _ => match view.bytes(0).map(|[first]: [u8; 1]| first >> 4) {
                Some(4) => Some(EtherType::IPV4),
                Some(6) => Some(EtherType::IPV6),
                _ => None,
            },
        };
        // What is cut off is not there.
        let _ = match view.kind {
            Some(EtherType::IPV4) => view.ipv4(),
            Some(EtherType::IPV6) => view.ipv6(),
            Some(EtherType::ARP) => view.arp(),
            _ => None,
        };
        view
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.frame.len()).unwrap_or(u32::MAX)
    }

    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.frame.copy_to(at, &mut bytes) == N).then_some(bytes)
    }

    /// Behind the header of the link.
    fn net<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes(self.link.saturating_add(at))
    }

    /// Source and destination of a frame of Ethernet.
    pub(super) fn macs(&self) -> Option<(MacAddr, MacAddr)> {
        let here = self.link > 0;
        let (to, from) = (self.bytes(0)?, self.bytes(6)?);
        here.then_some((MacAddr(from), MacAddr(to)))
    }

    fn ipv4(&mut self) -> Option<()> {
        let address = |bytes: [u8; 4]| IpAddr::from(Ipv4Addr::from(bytes));
        self.addresses = Some((address(self.net(12)?), address(self.net(16)?)));
        let [first] = self.net(0)?;
        let [protocol] = self.net(9)?;
        let fragment = u16::from_be_bytes(self.net(6)?);
        self.protocol = Some(protocol);
        let header = usize::from(first & 15).saturating_mul(4);
        self.transport = (fragment & 0x1fff == 0).then(|| self.link.saturating_add(header));
        Some(())
    }

    fn ipv6(&mut self) -> Option<()> {
        let address = |bytes: [u8; 16]| IpAddr::from(Ipv6Addr::from(bytes));
        self.addresses = Some((address(self.net(8)?), address(self.net(24)?)));
        let [mut next] = self.net(6)?;
        let mut at = 40_usize;
        for _ in 0..EXTENSIONS {
            self.protocol = Some(next);
            let header: Option<[u8; 8]> = self.net(at);
            let (len, follows) = match (next, header) {
                (0 | 43 | 60, Some([follows, len, ..])) => (
                    usize::from(len).saturating_add(1).saturating_mul(8),
                    follows,
                ),
                (51, Some([follows, len, ..])) => (
                    usize::from(len).saturating_add(2).saturating_mul(4),
                    follows,
                ),
                (44, Some([follows, _, high, low, ..])) => {
                    if u16::from_be_bytes([high, low]) & !7 != 0 {
                        self.protocol = Some(follows);
                        return None;
                    }
                    (8, follows)
                }
                (0 | 43 | 44 | 51 | 60, None) => return None,
                _ => {
                    self.transport = Some(self.link.saturating_add(at));
                    return Some(());
                }
            };
            (at, next) = (at.saturating_add(len), follows);
        }
        None
    }

    /// Of Ethernet and IPv4.
    fn arp(&mut self) -> Option<()> {
        let address = |bytes: [u8; 4]| IpAddr::from(Ipv4Addr::from(bytes));
        self.addresses = Some((address(self.net(14)?), address(self.net(24)?)));
        Some(())
    }

    /// Source and destination port of a protocol, or of any that has some.
    pub(super) fn ports(&self, wanted: Option<u8>) -> Option<(u16, u16)> {
        let protocol = self.protocol?;
        let right = wanted.map_or(matches!(protocol, TCP | UDP), |wanted| wanted == protocol);
        let [a, b, c, d] = self.bytes(self.transport.filter(|_| right)?)?;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// A number of 1, 2 or 4 bytes in a header.
    pub(super) fn load(&self, base: Base, at: u32, size: u8) -> Option<u32> {
        let begin = match base {
            Base::Link => Some(0),
            Base::Network(kind) => (self.kind == Some(kind)).then_some(self.link),
            Base::Transport(protocol) => self.transport.filter(|_| self.protocol == Some(protocol)),
        };
        let at = begin?.checked_add(usize::try_from(at).ok()?)?;
        match size {
            1 => self.bytes(at).map(|[byte]: [u8; 1]| byte.into()),
            2 => self.bytes(at).map(|bytes| u16::from_be_bytes(bytes).into()),
            _ => self.bytes(at).map(u32::from_be_bytes),
        }
    }
}
