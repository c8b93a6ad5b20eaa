//! The journal as its description has it, byte by byte: a reader and a writer that share nothing with the driver.

use std::collections::BTreeMap;

pub(crate) const HEADER: u32 = 0x5741_424C;
pub(crate) const INODES: u32 = 0x5741_424D;
pub(crate) const REVOCATIONS: u32 = 0x5741_424E;
pub(crate) const BLOCKS: u32 = 0x5741_424F;

/// Numbers in one byte order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) big: bool,
}

impl Numbers {
    pub(crate) fn get32(self, bytes: &[u8], at: usize) -> u32 {
        let four = bytes[at..at + 4].try_into().unwrap();
        if self.big {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        }
    }

    pub(crate) fn get64(self, bytes: &[u8], at: usize) -> u64 {
        let eight = bytes[at..at + 8].try_into().unwrap();
        if self.big {
            u64::from_be_bytes(eight)
        } else {
            u64::from_le_bytes(eight)
        }
    }

    pub(crate) fn put32(self, bytes: &mut [u8], at: usize, n: u32) {
        bytes[at..at + 4].copy_from_slice(&if self.big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        });
    }

    pub(crate) fn put64(self, bytes: &mut [u8], at: usize, n: u64) {
        bytes[at..at + 8].copy_from_slice(&if self.big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        });
    }
}

/// What a journal holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) generations: Vec<u32>,
    /// Types of the records, in order.
    pub(crate) records: Vec<u32>,
    /// By sector of 512 bytes.
    pub(crate) images: BTreeMap<u64, Vec<u8>>,
    /// Number and mode.
    pub(crate) inodes: Vec<(u32, u32)>,
    /// Whether the records go round the end of the ring.
    pub(crate) wraps: bool,
}

impl Held {
    /// Puts the images where they belong.
    pub(crate) fn apply(&self, disk: &mut [u8]) {
        for (sector, image) in &self.images {
            let at = *sector as usize * 512;
            disk[at..at + 512].copy_from_slice(image);
        }
    }
}

/// Reads the journal at the byte `start` of a disk, whose blocks have `block` bytes. Panics where it is not as it should be.
pub(crate) fn read(numbers: Numbers, disk: &[u8], start: usize, block: usize) -> Held {
    let log = &disk[start..];
    let mut held = Held::default();
    let mut newest: Option<&[u8]> = None;
    for slot in 0..2 {
        let header = &log[slot * block..][..block];
        if numbers.get32(header, 0) != HEADER {
            continue;
        }
        let generation = numbers.get32(header, 12);
        assert_eq!(
            generation as usize % 2,
            slot,
            "generation {generation} in block {slot}"
        );
        held.generations.push(generation);
        if newest.is_none_or(|newest| numbers.get32(newest, 12) < generation) {
            newest = Some(header);
        }
    }
    let header = newest.expect("a header");
    assert_eq!(
        numbers.get32(header, 4) as usize,
        block,
        "length of the header"
    );
    assert_eq!(numbers.get32(header, 8), 0, "checksum");
    assert_eq!(numbers.get32(header, 36), 1, "version");
    assert_eq!(1 << numbers.get32(header, 40), block, "log_dev_bshift");
    let unit = 1_u64 << numbers.get32(header, 44);
    let [head, tail, first, size] = [48, 56, 64, 72].map(|at| numbers.get64(header, at));
    assert_eq!(first as usize, 2 * block, "circ_off");
    assert_eq!(size as usize % block, 0, "circ_size");
    let round = |at: u64| if at >= first + size { at - size } else { at };
    let mut left = match (head, tail) {
        (0, 0) => 0,
        (head, tail) => (head + size - 1 - tail) % size + 1,
    };
    held.wraps = left > 0 && tail + left > first + size;
    let mut at = tail;
    while left > 0 {
        assert!((first..first + size).contains(&at), "record at {at}");
        let list = &log[at as usize..][..block];
        let [kind, len, count] = [0, 4, 8].map(|offset| numbers.get32(list, offset));
        held.records.push(kind);
        let mut image_at = round(at + block as u64);
        let mut needed = block as u64;
        match kind {
            INODES => {
                if numbers.get32(list, 12) != 0 {
                    held.inodes.clear();
                }
                for n in 0..count as usize {
                    let [ino, mode] = [16, 20].map(|offset| numbers.get32(list, offset + n * 8));
                    held.inodes.push((ino, mode));
                }
            }
            BLOCKS | REVOCATIONS => {
                for n in 0..count as usize {
                    let sector = numbers.get64(list, 16 + n * 16);
                    let bytes = u64::from(numbers.get32(list, 28 + n * 16));
                    assert!(bytes > 0 && bytes % unit == 0, "{bytes} bytes");
                    for n in 0..bytes / 512 {
                        if kind == REVOCATIONS {
                            held.images.remove(&(sector + n));
                            continue;
                        }
                        let image = log[image_at as usize..][..512].to_vec();
                        held.images.insert(sector + n, image);
                        image_at = round(image_at + 512);
                        needed += 512;
                    }
                }
            }
            other => panic!("record of type {other:#x} at {at}"),
        }
        let needed = needed.next_multiple_of(block as u64);
        assert_eq!(u64::from(len), needed, "length of the record at {at}");
        assert!(needed <= left, "the record at {at} ends behind the head");
        left -= needed;
        at = round(at + needed);
    }
    held
}

/// A journal that is written by hand.
pub(crate) struct Writer {
    pub(crate) numbers: Numbers,
    /// The whole disk.
    pub(crate) disk: Vec<u8>,
    pub(crate) start: usize,
    pub(crate) block: usize,
    /// Bytes of the ring.
    pub(crate) size: usize,
    pub(crate) tail: usize,
    pub(crate) head: usize,
}

impl Writer {
    /// On a disk of `len` bytes, a journal at its end whose ring has `blocks` blocks, and whose tail is its block `tail`.
    pub(crate) fn new(big: bool, len: usize, block: usize, blocks: usize, tail: usize) -> Self {
        let at = (2 + tail) * block;
        Self {
            numbers: Numbers { big },
            disk: vec![0; len],
            start: len - (blocks + 2) * block,
            block,
            size: blocks * block,
            tail: at,
            head: at,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(512) {
            let at = self.start + self.head;
            self.disk[at..at + part.len()].copy_from_slice(part);
            self.head += 512;
            if self.head == 2 * self.block + self.size {
                self.head = 2 * self.block;
            }
        }
    }

    /// A record of images: sector and content.
    pub(crate) fn blocks(&mut self, images: &[(u64, Vec<u8>)]) {
        let bytes: usize = images.iter().map(|(_, image)| image.len()).sum();
        let padded = bytes.next_multiple_of(self.block);
        let ranges = images.iter().map(|(sector, image)| (*sector, image.len()));
        self.list(BLOCKS, self.block + padded, &ranges.collect::<Vec<_>>());
        for (_, image) in images {
            self.put(image);
        }
        self.put(&vec![0; padded - bytes]);
    }

    /// A record of revocations: sectors and bytes.
    pub(crate) fn revocations(&mut self, ranges: &[(u64, usize)]) {
        self.list(REVOCATIONS, self.block, ranges);
    }

    fn list(&mut self, kind: u32, len: usize, ranges: &[(u64, usize)]) {
        let mut list = vec![0; self.block];
        self.numbers.put32(&mut list, 0, kind);
        self.numbers.put32(&mut list, 4, len as u32);
        self.numbers.put32(&mut list, 8, ranges.len() as u32);
        for (n, (sector, bytes)) in ranges.iter().enumerate() {
            self.numbers.put64(&mut list, 16 + n * 16, *sector);
            self.numbers.put32(&mut list, 28 + n * 16, *bytes as u32);
        }
        self.put(&list);
    }

    pub(crate) fn inodes(&mut self, clear: bool, inodes: &[(u32, u32)]) {
        let mut list = vec![0; self.block];
        let words = [INODES, self.block as u32, inodes.len() as u32, clear.into()];
        for (n, word) in words.into_iter().enumerate() {
            self.numbers.put32(&mut list, n * 4, word);
        }
        for (n, (ino, mode)) in inodes.iter().enumerate() {
            self.numbers.put32(&mut list, 16 + n * 8, *ino);
            self.numbers.put32(&mut list, 20 + n * 8, *mode);
        }
        self.put(&list);
    }

    /// A header with the present head.
    pub(crate) fn header(&mut self, generation: u32) {
        let mut header = vec![0; self.block];
        let bits = self.block.trailing_zeros();
        for (at, n) in [
            (0, HEADER),
            (4, self.block as u32),
            (12, generation),
            (36, 1),
            (40, bits),
            (44, bits),
        ] {
            self.numbers.put32(&mut header, at, n);
        }
        let places = [self.head, self.tail, 2 * self.block, self.size];
        for (n, place) in places.into_iter().enumerate() {
            self.numbers.put64(&mut header, 48 + n * 8, place as u64);
        }
        let at = self.start + generation as usize % 2 * self.block;
        self.disk[at..at + self.block].copy_from_slice(&header);
    }
}
