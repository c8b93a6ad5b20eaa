#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "numbers of a test"
)]

use super::{Malformed, Reader};
use crate::{
    Packet,
    capture::Way,
    pcap::{Encoder, Format, LinkType},
};
use alloc::{vec, vec::Vec};
use proptest::prelude::*;
use rumpuser::Timespec;

fn written(format: Format, snap: usize) -> Vec<u8> {
    let encoder = Encoder::new(format, LinkType::ETHERNET, snap);
    let mut file = encoder.head("virt0");
    for (number, len) in [60_usize, 61, 1_514].into_iter().enumerate() {
        let time = Timespec {
            sec: 1_700_000_000,
            nsec: 7 + number as u32,
        };
        let way = [Some(Way::In), Some(Way::Out), None][number];
        encoder.record(&mut file, way, &Packet::with_bytes(&vec![7; len]), time);
    }
    file
}

#[test]
fn what_was_written_is_read() {
    for format in [Format::Pcap, Format::PcapNg] {
        let file = written(format, 1_000);
        let records: Vec<_> = Reader::new(&file).unwrap().map(Result::unwrap).collect();
        let lens: Vec<_> = records.iter().map(|r| (r.len, r.bytes.len())).collect();
        assert_eq!(lens, [(60, 60), (61, 61), (1_514, 1_000)]);
        let nanos: Vec<_> = records.iter().map(|r| r.time.unwrap().nsec).collect();
        assert_eq!(nanos, [7, 8, 9]);
        assert!(records.iter().all(|r| r.link == LinkType::ETHERNET));
        // Wherever it is cut there is an error or a whole number of records.
        for end in 0..file.len() {
            match Reader::new(&file[..end]) {
                Err(error) => assert!(end < 24, "{error} at {end}"),
                Ok(reader) => {
                    let good = reader.clone().filter(Result::is_ok).count();
                    let bad = reader.filter(Result::is_err).count();
                    assert!(good < 3 && bad <= 1, "{end}");
                }
            }
        }
    }
}

/// Files as other programs make them: other byte order, microseconds, blocks that are skipped, a simple packet, two sections.
#[test]
fn what_others_write() {
    let mut file = vec![];
    for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, 101] {
        file.extend(word.to_be_bytes());
    }
    for word in [5_u32, 999_999, 3, 40] {
        file.extend(word.to_be_bytes());
    }
    file.extend(b"abc");
    let records: Vec<_> = Reader::new(&file).unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].bytes, records[0].len), (&b"abc"[..], 40));
    assert_eq!(records[0].link, LinkType::RAW_IP);
    let time = Timespec {
        sec: 5,
        nsec: 999_999_000,
    };
    assert_eq!(records[0].time, Some(time));

    let mut file = vec![];
    let mut block = |words: &[u32]| {
        let len = (words.len() as u32 + 2) * 4;
        for word in [&words[..1], &[len], &words[1..], &[len]].concat() {
            file.extend(word.to_be_bytes());
        }
    };
    // Section; interface with times in halves of a second, 100 s later; a comment; packets of three kinds.
    block(&[0x0a0d_0d0a, 0x1a2b_3c4d, 0x0001_0000, !0, !0]);
    block(&[
        1,
        0x0001_0000,
        0,
        0x0009_0001,
        0x8100_0000,
        0x000e_0008,
        0,
        100,
        0,
    ]);
    block(&[0xbad, 1, 2, 3]);
    block(&[6, 0, 0, 7, 2, 2, 0x6162_0000]);
    block(&[3, 4, 0x6364_6566]);
    block(&[2, 0, 0, 8, 1, 1, 0x6700_0000]);
    block(&[0x0a0d_0d0a, 0x1a2b_3c4d, 0x0001_0000, !0, !0]);
    block(&[6, 0, 0, 7, 2, 2, 0x6162_0000]);
    let mut reader = Reader::new(&file).unwrap();
    let half = Some(Timespec {
        sec: 103,
        nsec: 500_000_000,
    });
    let first = reader.next().unwrap().unwrap();
    assert_eq!((first.bytes, first.time), (&b"ab"[..], half));
    let second = reader.next().unwrap().unwrap();
    assert_eq!((second.bytes, second.time), (&b"cdef"[..], None));
    assert_eq!(reader.next().unwrap().unwrap().bytes, b"g");
    // The second section has no interface.
    assert!(matches!(reader.next(), Some(Err(Malformed::Interface(_)))));
    assert_eq!(reader.next(), None);
}

#[test]
fn what_is_no_capture() {
    assert_eq!(Reader::new(b"").err(), Some(Malformed::NotACapture));
    assert_eq!(Reader::new(b"GIF89a").err(), Some(Malformed::NotACapture));
    let mut file = written(Format::Pcap, 100);
    file[4] = 3;
    assert_eq!(Reader::new(&file).err(), Some(Malformed::Version(3)));
    let mut file = written(Format::PcapNg, 100);
    file[12] = 3;
    let next = Reader::new(&file).unwrap().next();
    assert_eq!(next, Some(Err(Malformed::Version(3))));
}

proptest! {
    /// Bytes changed anywhere do no harm, and the end is reached.
    #[test]
    fn broken_files(
        ng in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = written(if ng { Format::PcapNg } else { Format::Pcap }, 100);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(reader) = Reader::new(&file) {
            prop_assert!(reader.count() <= file.len());
        }
    }
}
