//! What a link changes in frames.

use crate::{
    Packet, ethernet,
    ethernet::EtherType,
    packet::{Checksum, Meta},
};
use alloc::vec::Vec;
use rumpuser::Rng;

/// Makes one bit of a frame another. From now on its sum has to be looked at.
pub(super) fn flip(frame: &mut Packet, rng: &mut Rng) {
    let mut bytes: Vec<u8> = frame.pieces().flatten().copied().collect();
    let meta = frame.meta;
    meta.checksum.complete(&mut bytes, ethernet::HEADER);
    let len = u64::try_from(bytes.len()).unwrap_or(1);
    let at = usize::try_from(rng.below(len.max(1))).unwrap_or(0);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1_u8.rotate_left(u32::try_from(rng.below(8)).unwrap_or(0));
    }
    *frame = Packet::with_bytes(&bytes);
    frame.meta = Meta {
        checksum: Checksum::InPacket,
        ..meta
    };
}

/// Marks a frame of Ethernet with congestion (RFC 3168 section 5): whether its sender wants that.
pub(super) fn mark(frame: &mut Packet) -> bool {
    let Some(header) = ethernet::Header::parse(frame) else {
        return false;
    };
    match header.ethertype {
        EtherType::IPV4 => mark_ipv4(frame).is_some(),
        EtherType::IPV6 => mark_ipv6(frame).is_some(),
        _ => false,
    }
}

fn mark_ipv4(frame: &mut Packet) -> Option<()> {
    let header = frame.pull(ethernet::HEADER.saturating_add(20))?;
    let header = header.get_mut(ethernet::HEADER..)?;
    let [first, tos, _, _, _, _, _, _, _, _, c0, c1, ..] = header else {
        return None;
    };
    if matches!(*tos & 3, 0 | 3) {
        return None;
    }
    let old = [*first, *tos];
    *tos |= 3;
    // RFC 1624.
    [*c0, *c1] = internet_checksum::update([*c0, *c1], &old, &[*first, *tos]);
    Some(())
}

fn mark_ipv6(frame: &mut Packet) -> Option<()> {
    let header = frame.pull(ethernet::HEADER.saturating_add(2))?;
    let [_, second] = header.get_mut(ethernet::HEADER..)? else {
        return None;
    };
    if matches!((*second >> 4) & 3, 0 | 3) {
        return None;
    }
    *second |= 0x30;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{flip, mark};
    use crate::{Packet, packet::Checksum};
    use alloc::vec::Vec;
    use rumpuser::Rng;

    fn bytes(frame: &Packet) -> Vec<u8> {
        frame.pieces().flatten().copied().collect()
    }

    #[test]
    fn one_bit_of_all() {
        let good = Packet::with_bytes(&[0; 100]);
        let mut rng = Rng::new(1);
        let mut seen = [false; 100];
        for _ in 0..2_000 {
            let mut frame = good.clone();
            frame.meta.checksum = Checksum::Valid;
            flip(&mut frame, &mut rng);
            let changed = bytes(&frame);
            let ones: u32 = changed.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!((ones, changed.len()), (1, 100));
            assert_eq!(frame.meta.checksum, Checksum::InPacket);
            if let Some(at) = changed.iter().position(|byte| *byte != 0) {
                seen[at] = true;
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn marks_where_they_are_understood() {
        let mut four = [0; 34];
        four[12] = 8;
        four[14..16].copy_from_slice(&[0x45, 0xb8 | 2]);
        let sum = internet_checksum::checksum(&four[14..34]);
        four[24..26].copy_from_slice(&sum);
        let mut frame = Packet::with_bytes(&four);
        assert!(mark(&mut frame) && !mark(&mut frame));
        assert_eq!(frame.head()[15], 0xb8 | 3);
        assert_eq!(internet_checksum::checksum(&frame.head()[14..]), [0, 0]);

        let mut six = [0; 54];
        six[12..16].copy_from_slice(&[0x86, 0xdd, 0x6b, 0x85]);
        // Neither bit: it is left alone.
        assert!(!mark(&mut Packet::with_bytes(&six)));
        six[15] = 0x95;
        let mut frame = Packet::with_bytes(&six);
        assert!(mark(&mut frame));
        assert_eq!(frame.head()[14..16], [0x6b, 0xb5]);
        assert!(!mark(&mut Packet::with_bytes(&[8, 6])));
    }
}
