//! What is left to devices, done for those that do not: sums, and large packets cut into the segments of TCP or datagrams of UDP that they
//! stand for.
//!
//! A frame that came by one interface may leave by another that can do less: over a bridge, through a router.

use crate::{
    Packet, checksum,
    interface::{Batch, Features},
    packet::{Checksum, Meta},
    spares,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bytes of a header of UDP.
const UDP_LEN: usize = 8;
/// Datagrams at most that a large packet stands for.
pub const DATAGRAMS: usize = 128;
/// Place of the sum in a header of TCP.
pub(crate) const TCP_SUM: usize = 16;
/// The same of UDP.
const UDP_SUM: usize = 6;
/// Flags of TCP: those that only the first and the last of several segments have.
const CWR: u8 = 0x80;
const FIN_PSH: u8 = 0x09;

/// Whether a device with these features takes a frame as it is.
#[must_use]
#[inline]
pub fn fits(frame: &Packet, features: Features) -> bool {
    let large = is_too_large(&frame.meta, features);
    let partial = matches!(frame.meta.checksum, Checksum::Partial { .. });
    !large && (!partial || features.contains(Features::CHECKSUM))
}

/// Whether a device with these features does not cut a packet itself.
#[inline]
fn is_too_large(meta: &Meta, features: Features) -> bool {
    let takes = if meta.datagrams {
        Features::LARGE_UDP
    } else {
        Features::LARGE
    };
    meta.segment > 0 && !features.contains(takes)
}

/// Makes frames of one that does not fit. `link`: bytes of the link's header. `None`: it is not what it says it is.
pub fn fit(mut frame: Packet, link: usize, features: Features, frames: &mut Batch) -> Option<()> {
    if is_too_large(&frame.meta, features) {
        return cut(frame, link, frames);
    }
    complete(&mut frame, link)?;
    frames.push_back(frame);
    Some(())
}

/// Completes the transport sum of a frame.
fn complete(frame: &mut Packet, link: usize) -> Option<()> {
    let Checksum::Partial { start, offset } = frame.meta.checksum else {
        return Some(());
    };
    let start = link.checked_add(start.into())?;
    let at = start.checked_add(offset.into())?;
    let end = at.checked_add(2)?;
    frame.pull(end)?;
    let mut sum = crate::checksum::Sum::new();
    sum.add_bytes(frame.head().get(start..)?);
    frame
        .chain()
        .pieces()
        .for_each(|piece| sum.add_bytes(piece));
    let sum = match sum.checksum() {
        // UDP says with zero that there is no sum (RFC 768); 6 is the place of its sum.
        [0, 0] if offset == 6 => [0xff, 0xff],
        sum => sum,
    };
    frame.head_mut().get_mut(at..end)?.copy_from_slice(&sum);
    frame.meta.checksum = Checksum::Valid;
    Some(())
}

/// Where things are in a large frame.
pub(crate) struct Layout {
    pub(crate) version: u8,
    /// Begin of the header of IP.
    pub(crate) ip: usize,
    /// Begin of the header of TCP, or UDP.
    pub(crate) tcp: usize,
    /// Begin of the payload.
    pub(crate) payload: usize,
}

impl Layout {
    /// Of a segment of TCP.
    pub(crate) fn of(frame: &mut Packet, ip: usize) -> Option<Self> {
        let (version, tcp) = Self::transport(frame, ip, TCP)?;
        let offset = *frame
            .pull(tcp.checked_add(20)?)?
            .get(tcp.checked_add(12)?)?;
        let len = usize::from(offset >> 4).checked_mul(4)?;
        if len < 20 {
            return None;
        }
        let payload = tcp.checked_add(len)?;
        frame.pull(payload)?;
        Some(Self {
            version,
            ip,
            tcp,
            payload,
        })
    }

    /// Of a datagram of UDP.
    fn of_datagram(frame: &mut Packet, ip: usize) -> Option<Self> {
        let (version, udp) = Self::transport(frame, ip, UDP)?;
        let payload = udp.checked_add(UDP_LEN)?;
        frame.pull(payload)?;
        Some(Self {
            version,
            ip,
            tcp: udp,
            payload,
        })
    }

    /// The version of IP, and where the header of the transport begins if it is of this protocol.
    fn transport(frame: &mut Packet, ip: usize, protocol: u8) -> Option<(u8, usize)> {
        let bytes = frame.pull(ip.checked_add(20)?)?.get(ip..)?;
        let first = *bytes.first()?;
        let (header, said) = match first >> 4 {
            4 => (usize::from(first & 15).checked_mul(4)?, *bytes.get(9)?),
            6 => (40, *bytes.get(6)?),
            _ => return None,
        };
        if header < 20 || said != protocol {
            return None;
        }
        Some((first >> 4, ip.checked_add(header)?))
    }

    /// Source and destination.
    pub(crate) fn addresses(&self, head: &[u8]) -> Option<(IpAddr, IpAddr)> {
        let ip = head.get(self.ip..)?;
        if self.version == 4 {
            let address = |at: usize| Some(Ipv4Addr::from(*ip.get(at..)?.first_chunk::<4>()?));
            Some((address(12)?.into(), address(16)?.into()))
        } else {
            let address = |at: usize| Some(Ipv6Addr::from(*ip.get(at..)?.first_chunk::<16>()?));
            Some((address(8)?.into(), address(24)?.into()))
        }
    }
}

/// Cuts a large packet into segments or datagrams, each with headers of its own.
fn cut(mut frame: Packet, link: usize, frames: &mut Batch) -> Option<()> {
    let datagrams = frame.meta.datagrams;
    let layout = if datagrams {
        Layout::of_datagram(&mut frame, link)?
    } else {
        Layout::of(&mut frame, link)?
    };
    let segment = usize::from(frame.meta.segment);
    let mut headers = [0; 192];
    let headers = headers.get_mut(..layout.payload)?;
    frame.copy_to(0, headers);
    let meta = Meta {
        segment: 0,
        datagrams: false,
        checksum: Checksum::Valid,
        ..frame.meta
    };
    frame.strip(layout.payload);
    let mut rest = frame.into_chain();
    if datagrams && rest.len().div_ceil(segment) > DATAGRAMS {
        return None;
    }
    let count = rest.len().div_ceil(segment).max(1);
    let mut parts = spares::take(count).into_iter();
    let mut number = 0_u16;
    loop {
        let offset = usize::from(number).checked_mul(segment)?;
        let mut part = parts.next()?;
        part.append(rest.split_to(segment));
        part.meta = meta;
        let room = part.prepend(headers.len())?;
        room.copy_from_slice(headers);
        adapt_ip(&mut part, &layout, number)?;
        if datagrams {
            adapt_udp(&mut part, &layout)?;
        } else {
            adapt_tcp(&mut part, &layout, number, offset, rest.is_empty())?;
        }
        frames.push_back(part);
        if rest.is_empty() {
            return Some(());
        }
        number = number.checked_add(1)?;
    }
}

/// Makes the header of IP that of part `number`.
fn adapt_ip(part: &mut Packet, layout: &Layout, number: u16) -> Option<()> {
    let len = part.len().checked_sub(layout.ip)?;
    let head = part.head_mut();
    let ip = head.get_mut(layout.ip..layout.tcp)?;
    if layout.version == 4 {
        let [_, _, l0, l1, i0, i1, ..] = ip else {
            return None;
        };
        [*l0, *l1] = u16::try_from(len).ok()?.to_be_bytes();
        let id = u16::from_be_bytes([*i0, *i1]).wrapping_add(number);
        [*i0, *i1] = id.to_be_bytes();
        ip.get_mut(10..12)?.fill(0);
        let sum = crate::checksum::of(ip);
        ip.get_mut(10..12)?.copy_from_slice(&sum);
    } else {
        let len = u16::try_from(len.checked_sub(40)?).ok()?;
        ip.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
    }
    Some(())
}

/// Makes the header of TCP that of segment `number`, whose payload begins at `offset`.
fn adapt_tcp(
    part: &mut Packet,
    layout: &Layout,
    number: u16,
    offset: usize,
    last: bool,
) -> Option<()> {
    let head = part.head_mut();
    let tcp = head.get_mut(layout.tcp..)?;
    let seq: &mut [u8; 4] = tcp.get_mut(4..)?.first_chunk_mut()?;
    let moved = u32::try_from(offset).ok()?;
    *seq = u32::from_be_bytes(*seq).wrapping_add(moved).to_be_bytes();
    let flags = tcp.get_mut(13)?;
    if number > 0 {
        *flags &= !CWR;
    }
    if !last {
        *flags &= !FIN_PSH;
    }
    sum_up(part, layout, TCP, TCP_SUM)
}

/// Makes the header of UDP that of a datagram of this length.
fn adapt_udp(part: &mut Packet, layout: &Layout) -> Option<()> {
    let len = u16::try_from(part.len().checked_sub(layout.tcp)?).ok()?;
    let udp = part.head_mut().get_mut(layout.tcp..)?;
    udp.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
    sum_up(part, layout, UDP, UDP_SUM)
}

/// Puts the sum of the transport in its place.
fn sum_up(part: &mut Packet, layout: &Layout, protocol: u8, place: usize) -> Option<()> {
    let transport = part.len().checked_sub(layout.tcp)?;
    let place = place..place.checked_add(2)?;
    let head = part.head_mut();
    head.get_mut(layout.tcp..)?.get_mut(place.clone())?.fill(0);
    let (source, destination) = layout.addresses(head)?;
    let mut sum = checksum::pseudo(source, destination, protocol, transport);
    sum.add_bytes(part.head().get(layout.tcp..)?);
    part.chain().pieces().for_each(|piece| sum.add_bytes(piece));
    let sum = match sum.checksum() {
        // UDP says with zero that there is no sum (RFC 768).
        [0, 0] if protocol == UDP => [0xff, 0xff],
        sum => sum,
    };
    let head = part.head_mut().get_mut(layout.tcp..)?;
    head.get_mut(place)?.copy_from_slice(&sum);
    Some(())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "numbers of a test")]

    use super::{fit, fits};
    use crate::{
        Chain, Packet, checksum,
        interface::{Batch, Features},
        packet::Checksum,
    };
    use alloc::vec::Vec;
    use bytes::Bytes;
    use core::net::IpAddr;
    use proptest::prelude::*;

    pub(crate) fn large(version: u8, payload: usize, segment: u16) -> Packet {
        let mut head = Vec::from([2; 12]);
        let tcp_len = 32 + payload;
        if version == 4 {
            head.extend([8, 0, 0x45, 0]);
            head.extend(u16::try_from(20 + tcp_len).unwrap().to_be_bytes());
            head.extend([0xff, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = internet_checksum::checksum(&head[14..]);
            head[24..26].copy_from_slice(&sum);
        } else {
            head.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            head.extend(u16::try_from(tcp_len).unwrap().to_be_bytes());
            head.extend([6, 64]);
            head.extend([1; 16]);
            head.extend([9; 16]);
        }
        let start = u16::try_from(head.len() - 14).unwrap();
        // Ports, number close to its end, acknowledgment, CWR PSH FIN ACK, timestamps.
        head.extend([
            0, 80, 1, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 7, 0x80, 0x99, 4, 0,
        ]);
        head.extend([0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        let mut chain = Chain::from(Bytes::from(head));
        let bytes: Vec<u8> = (0..payload).map(|n| n.to_le_bytes()[0]).collect();
        let (first, second) = bytes.split_at(payload / 3);
        chain.push(Bytes::copy_from_slice(first));
        chain.push(Bytes::copy_from_slice(second));
        let mut packet = Packet::with_chain(chain);
        packet.meta.segment = segment;
        packet.meta.checksum = Checksum::Partial { start, offset: 16 };
        packet
    }

    /// The same, of UDP.
    fn large_udp(version: u8, payload: usize, segment: u16) -> Packet {
        let mut frame = large(version, payload, segment);
        let ip_len = if version == 4 { 20 } else { 40 };
        let mut head = frame.pull(14 + ip_len).unwrap().to_vec();
        frame.strip(14 + ip_len + 32);
        let udp_len = u16::try_from(8 + payload).unwrap();
        if version == 4 {
            head[16..18].copy_from_slice(&(udp_len + 20).to_be_bytes());
            head[23] = 17;
            head[24..26].fill(0);
            let sum = internet_checksum::checksum(&head[14..]);
            head[24..26].copy_from_slice(&sum);
        } else {
            head[18..20].copy_from_slice(&udp_len.to_be_bytes());
            head[20] = 17;
        }
        let [l0, l1] = udp_len.to_be_bytes();
        head.extend([0, 53, 1, 0, l0, l1, 0, 0]);
        let mut chain = Chain::from(Bytes::from(head));
        chain.append(frame.into_chain());
        let mut packet = Packet::with_chain(chain);
        packet.meta.segment = segment;
        packet.meta.datagrams = true;
        packet.meta.checksum = Checksum::Partial {
            start: if version == 4 { 20 } else { 40 },
            offset: 6,
        };
        packet
    }

    fn address(bytes: &[u8]) -> IpAddr {
        match bytes.len() {
            4 => IpAddr::from(*bytes.first_chunk::<4>().unwrap()),
            _ => IpAddr::from(*bytes.first_chunk::<16>().unwrap()),
        }
    }

    proptest! {
        #[test]
        fn segments_are_whole_and_in_order(
            version in prop_oneof![Just(4_u8), Just(6)],
            payload in 0_usize..60_000,
            segment in 1_u16..9_000,
        ) {
            let segment = segment.max(u16::try_from(payload / 1_000).unwrap());
            let mut frames = Batch::new();
            let frame = large(version, payload, segment);
            prop_assert!(!fits(&frame, Features::empty()));
            fit(frame, 14, Features::CHECKSUM, &mut frames).unwrap();
            let count = frames.len();
            let mut data: Vec<u8> = Vec::new();
            for (n, frame) in frames.into_iter().enumerate() {
                prop_assert!(fits(&frame, Features::empty()));
                let bytes: Vec<u8> = frame.pieces().flatten().copied().collect();
                let (tcp, from, to) = if version == 4 {
                    let ip = &bytes[14..];
                    prop_assert_eq!(internet_checksum::checksum(&ip[..20]), [0, 0]);
                    prop_assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len());
                    let id = u16::from_be_bytes([ip[4], ip[5]]);
                    prop_assert_eq!(usize::from(id), (0xffff + n) & 0xffff);
                    (34, &ip[12..16], &ip[16..20])
                } else {
                    let len = usize::from(u16::from_be_bytes([bytes[18], bytes[19]]));
                    prop_assert_eq!(len, bytes.len() - 54);
                    (54, &bytes[22..38], &bytes[38..54])
                };
                let segment = Packet::with_bytes(&bytes[tcp..]);
                prop_assert!(checksum::holds(address(from), address(to), 6, &segment));
                let tcp = &bytes[tcp..];
                let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
                let expected = 0xffff_ff00_u32.wrapping_add(u32::try_from(data.len()).unwrap());
                prop_assert_eq!(seq, expected);
                let flags = 0x10 | if n == 0 { 0x80 } else { 0 } | if n + 1 == count { 9 } else { 0 };
                prop_assert_eq!(tcp[13], flags);
                data.extend(&tcp[32..]);
            }
            prop_assert_eq!(count, payload.div_ceil(segment.into()).max(1));
            let all = (0..payload).map(|n| n.to_le_bytes()[0]);
            prop_assert!(data.into_iter().eq(all));
        }

        /// Each datagram is one of its own: lengths, identification, sum.
        #[test]
        fn datagrams_are_whole_and_in_order(
            version in prop_oneof![Just(4_u8), Just(6)],
            payload in 0_usize..60_000,
            segment in 1_u16..9_000,
        ) {
            let segment = segment.max(u16::try_from(payload / 100).unwrap());
            let frame = large_udp(version, payload, segment);
            let features = Features::CHECKSUM | Features::LARGE;
            prop_assert!(!fits(&frame, features) && fits(&frame, Features::all()));
            let mut frames = Batch::new();
            fit(frame, 14, features, &mut frames).unwrap();
            prop_assert_eq!(frames.len(), payload.div_ceil(segment.into()).max(1));
            let mut data: Vec<u8> = Vec::new();
            for (n, frame) in frames.into_iter().enumerate() {
                prop_assert!(fits(&frame, Features::empty()));
                let bytes: Vec<u8> = frame.pieces().flatten().copied().collect();
                let (udp, from, to) = if version == 4 {
                    let ip = &bytes[14..];
                    prop_assert_eq!(internet_checksum::checksum(&ip[..20]), [0, 0]);
                    prop_assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len());
                    let id = u16::from_be_bytes([ip[4], ip[5]]);
                    prop_assert_eq!(usize::from(id), (0xffff + n) & 0xffff);
                    (&bytes[34..], &ip[12..16], &ip[16..20])
                } else {
                    let len = usize::from(u16::from_be_bytes([bytes[18], bytes[19]]));
                    prop_assert_eq!(len, bytes.len() - 54);
                    (&bytes[54..], &bytes[22..38], &bytes[38..54])
                };
                prop_assert_eq!(&udp[..4], [0, 53, 1, 0]);
                prop_assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
                prop_assert_ne!(&udp[6..8], [0, 0]);
                prop_assert!(udp.len() <= 8 + usize::from(segment));
                prop_assert!(checksum::holds(address(from), address(to), 17, &Packet::with_bytes(udp)));
                data.extend(&udp[8..]);
            }
            let all = (0..payload).map(|n| n.to_le_bytes()[0]);
            prop_assert!(data.into_iter().eq(all));
        }

        /// What only says that it is large does no harm.
        #[test]
        fn nonsense(bytes in prop::collection::vec(any::<u8>(), 0..200), segment in any::<u16>(), start in any::<u16>(), offset in any::<u16>(), datagrams in any::<bool>()) {
            let mut frame = Packet::with_bytes(&bytes);
            frame.meta.segment = segment;
            frame.meta.datagrams = datagrams;
            frame.meta.checksum = Checksum::Partial { start, offset };
            let mut frames = Batch::new();
            let _ = fit(frame, 14, Features::empty(), &mut frames);
            prop_assert!(frames.iter().all(|frame| frame.len() <= 400));
        }
    }

    #[test]
    fn a_sum_alone() {
        let mut frame = large(4, 100, 0);
        let mut bytes: Vec<u8> = frame.pieces().flatten().copied().collect();
        frame.meta.checksum.complete(&mut bytes, 14);
        let mut frames = Batch::new();
        assert!(fits(&frame, Features::CHECKSUM) && !fits(&frame, Features::LARGE));
        frame.meta.segment = 0;
        fit(frame, 14, Features::LARGE, &mut frames).unwrap();
        assert!(frames[0].pieces().flatten().eq(&bytes));
        assert_eq!(frames[0].meta.checksum, Checksum::Valid);
    }
}
