//! Journals that we write, read by a reader that goes by the description alone, and by the driver after power cuts; and journals written by
//! hand.

mod cuts;
mod paper;

use paper::{Held, Numbers, Writer};
use rumpbio::{Log as _, LogRecord};
use rumpfs_ffs::{
    Error, Order,
    superblock::LogPlace,
    wapbl::{Journal, ListedInode, Wall, Wapbl},
};
use rumpuser::{BlockDevice as _, Errno, Timespec};
use rumpuser_sim::{MemDisk, Rng};
use std::{collections::BTreeMap, process::Command, sync::Arc};

fn wall() -> Wall {
    Box::new(|| Timespec {
        sec: 1_700_000_000,
        nsec: 5,
    })
}

/// What a journal is tried with.
#[derive(Clone, Copy, Debug)]
struct Case {
    order: Order,
    /// Bytes of the journal's blocks, and of the disk's sectors.
    sector: u32,
    /// Bytes of the engine's blocks.
    frag: u32,
    /// Blocks of the engine on the volume.
    volume: u64,
    /// Bytes of the journal, behind them.
    log: u64,
}

impl Case {
    fn disk(&self) -> Arc<MemDisk> {
        let len = self.volume * u64::from(self.frag) + self.log;
        Arc::new(MemDisk::new(len).with_sector_size(self.sector))
    }

    fn place(&self) -> LogPlace {
        let block_size = u64::from(self.sector);
        LogPlace {
            version: 1,
            location: 1,
            start: self.volume * u64::from(self.frag) / block_size,
            count: self.log / block_size,
            block_size,
            inode: 0,
        }
    }

    fn create(&self, disk: &Arc<MemDisk>) -> Wapbl {
        let bits = self.frag.trailing_zeros();
        Wapbl::create(disk.clone(), self.order, &self.place(), bits, wall()).unwrap()
    }

    fn journal(&self, disk: &Arc<MemDisk>) -> Journal {
        Journal::open(disk.clone(), self.order, &self.place()).unwrap()
    }

    fn read_paper(&self, disk: &[u8]) -> Held {
        let numbers = Numbers {
            big: self.order == Order::Big,
        };
        let start = self.volume * u64::from(self.frag);
        paper::read(numbers, disk, start as usize, self.sector as usize)
    }

    /// Both readers find the same; what is there, and the disk with it laid over.
    fn read(&self, disk: &Arc<MemDisk>) -> (Held, Vec<u8>) {
        let mut bytes = disk.to_bytes();
        let held = self.read_paper(&bytes);
        held.apply(&mut bytes);
        let replay = self.journal(disk).replay().unwrap();
        let inodes: Vec<_> = replay.inodes().iter().map(|i| (i.ino, i.mode)).collect();
        assert_eq!(inodes, held.inodes, "{self:?}");
        let over = replay.overlay(disk.clone());
        let mut ours = vec![0; bytes.len()];
        over.read_at(0, &mut ours).unwrap();
        assert!(ours == bytes, "{self:?}: the readers do not agree");
        (held, bytes)
    }
}

const CASES: [Case; 6] = [
    case(Order::Little, 512, 1024, 128 << 10),
    case(Order::Big, 512, 512, 64 << 10),
    case(Order::Big, 4096, 4096, 256 << 10),
    case(Order::Little, 512, 65_536, 1 << 20),
    case(Order::Big, 512, 65_536, 1 << 20),
    // A journal behind a volume with smaller fragments than the sectors of its disk.
    case(Order::Little, 4096, 512, 256 << 10),
];

const fn case(order: Order, sector: u32, frag: u32, log: u64) -> Case {
    Case {
        order,
        sector,
        frag,
        volume: if frag == 65_536 { 8 } else { 64 },
        log,
    }
}

fn content(rng: &mut Rng, len: u32) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    rng.fill(&mut bytes);
    bytes
}

fn record(block: u64, data: &[u8]) -> LogRecord {
    LogRecord {
        block,
        data: data.into(),
    }
}

fn records(blocks: &BTreeMap<u64, Vec<u8>>) -> Vec<LogRecord> {
    let blocks = blocks.iter();
    blocks.map(|(block, data)| record(*block, data)).collect()
}

fn some_blocks(rng: &mut Rng, case: &Case, most: u64) -> BTreeMap<u64, Vec<u8>> {
    let count = rng.below(most) + 1;
    let blocks = (0..count).map(|_| (rng.below(case.volume), content(rng, case.frag)));
    blocks.collect()
}

/// The bytes of an engine's block on a disk.
fn of<'d>(case: &Case, disk: &'d [u8], block: u64) -> &'d [u8] {
    let frag = case.frag as usize;
    &disk[block as usize * frag..][..frag]
}

#[test]
fn transactions_are_there_round_the_ring() {
    for case in CASES {
        let disk = case.disk();
        let log = case.create(&disk);
        assert!(log.capacity() > 1, "{case:?}: {}", log.capacity());
        let mut rng = Rng::new(3);
        let mut model = BTreeMap::new();
        let (mut wraps, mut full) = (0, 0);
        for turn in 0..60 {
            let blocks = some_blocks(&mut rng, &case, log.capacity().min(20) as u64);
            let orphans: Vec<_> = (0..rng.below(9) as u32)
                .map(|ino| ListedInode {
                    ino: ino + turn + 3,
                    mode: 0o100_644,
                })
                .collect();
            log.set_orphans(orphans.clone()).unwrap();
            if let Err(error) = log.append(&records(&blocks), &[]) {
                assert_eq!(error, Errno::ENOSPC, "{case:?}");
                full += 1;
                let mut bytes = disk.to_bytes();
                case.read_paper(&bytes).apply(&mut bytes);
                disk.write_at(0, &bytes[..(case.volume * u64::from(case.frag)) as usize])
                    .unwrap();
                log.checkpointed().unwrap();
                log.append(&records(&blocks), &[]).unwrap();
            }
            model.extend(blocks);
            let (held, over) = case.read(&disk);
            wraps += usize::from(held.wraps);
            let listed = orphans.iter().map(|inode| (inode.ino, inode.mode));
            assert_eq!(held.inodes, listed.collect::<Vec<_>>());
            for (block, data) in &model {
                assert!(of(&case, &over, *block) == data, "{case:?}: block {block}");
            }
        }
        assert!(wraps > 0 && full > 0, "{case:?}: {wraps} {full}");
    }
}

fn log_capacity(case: &Case) -> u64 {
    let most = case.create(&case.disk()).capacity() as u64;
    most.next_multiple_of(4)
}

#[test]
fn the_largest_transactions_fit() {
    for mut case in CASES {
        case.volume = 2 * log_capacity(&case);
        let disk = case.disk();
        let log = case.create(&disk);
        let most = log.most_orphans();
        let orphans = |from: u32| -> Vec<ListedInode> {
            let all = (from..).take(most);
            all.map(|ino| ListedInode { ino, mode: 0 }).collect()
        };
        let too_many = [orphans(3), orphans(9)].concat();
        assert_eq!(log.set_orphans(too_many), Err(Errno::ENOSPC));
        let data = vec![7; case.frag as usize];
        // None next to another: each needs an entry.
        let apart = |from: u64| (0..log.capacity() as u64).map(move |n| from + 2 * n);
        let all: Vec<_> = apart(0).map(|block| record(block, &data)).collect();
        for from in [3, 1000] {
            log.set_orphans(orphans(from)).unwrap();
            log.append(&all, &[]).unwrap();
            assert_eq!(case.read(&disk).0.inodes.len(), most);
            log.checkpointed().unwrap();
            let held = case.read(&disk).0;
            assert_eq!((held.images.len(), held.inodes.len()), (0, most));
        }
    }
}

#[test]
fn revoked_blocks_stay_as_they_are() {
    for case in CASES {
        let disk = case.disk();
        let log = case.create(&disk);
        let [old, new] = [1, 2].map(|byte| vec![byte; case.frag as usize]);
        log.append(&[record(3, &old), record(4, &old)], &[])
            .unwrap();
        // What never was in the journal needs none.
        log.append(&[], &[9]).unwrap();
        assert_eq!(case.read(&disk).0.records, [paper::BLOCKS, paper::INODES]);
        log.append(&[record(5, &old)], &[3, 4]).unwrap();
        log.append(&[record(4, &new)], &[]).unwrap();
        let (held, over) = case.read(&disk);
        assert!(held.records.contains(&paper::REVOCATIONS));
        assert!(of(&case, &over, 3).iter().all(|byte| *byte == 0));
        assert!(of(&case, &over, 4) == new);
        assert!(of(&case, &over, 5) == old);
    }
}

#[test]
fn a_new_journal_is_empty_and_begins_with_both_headers() {
    for case in CASES {
        let disk = case.disk();
        let dirty = case.create(&disk);
        dirty
            .append(&[record(1, &vec![1; case.frag as usize])], &[])
            .unwrap();
        assert_eq!(dirty.shutdown(), Err(Errno::EBUSY));
        let log = case.create(&disk);
        let held = case.read(&disk).0;
        assert_eq!((held.generations, held.records), (vec![0, 1], vec![]));
        log.shutdown().unwrap();
        assert_eq!(log.append(&[], &[]), Err(Errno::EIO));
    }
}

#[test]
fn blocks_of_the_journal_are_no_homes() {
    let case = CASES[0];
    let disk = case.disk();
    let log = case.create(&disk);
    let before = disk.to_bytes();
    let data = vec![1; case.frag as usize];
    for block in [case.volume, case.volume + 5, u64::MAX / 2] {
        assert_eq!(log.append(&[record(block, &data)], &[]), Err(Errno::EIO));
    }
    assert_eq!(log.append(&[record(1, &[0; 512])], &[]), Err(Errno::EIO));
    assert!(disk.to_bytes() == before);
}

#[test]
fn numbers_of_headers_go_round() {
    let case = CASES[0];
    let disk = case.disk();
    drop(case.create(&disk));
    let at = (case.volume * u64::from(case.frag)) as usize;
    for (slot, generation) in [(0, u32::MAX - 1), (1, u32::MAX - 2)] {
        let bytes = generation.to_le_bytes();
        disk.write_at((at + slot * 512 + 12) as u64, &bytes)
            .unwrap();
    }
    let journal = case.journal(&disk);
    let replay = journal.replay().unwrap();
    let log = journal.start(&replay, 10, wall()).unwrap();
    for n in 0..4 {
        let data = vec![n; 1024];
        log.append(&[record(n.into(), &data)], &[]).unwrap();
        let (held, over) = case.read(&disk);
        assert!(of(&case, &over, n.into()) == data, "{:?}", held.generations);
    }
}

#[test]
fn too_small_and_too_large_places_are_refused() {
    let case = CASES[0];
    let disk = case.disk();
    for (count, expected) in [(127, "length"), (1 << 20, "length")] {
        let place = LogPlace {
            count,
            ..case.place()
        };
        let refused = Wapbl::create(disk.clone(), case.order, &place, 10, wall());
        let Err(Error::Value { field, .. }) = refused else {
            panic!("{count}: {refused:?}");
        };
        assert_eq!(field, expected);
    }
}

/// Journals as NetBSD writes them on machines and volumes of which there is no image: records round the end, big-endian, blocks of 64 KiB.
#[test]
fn journals_written_by_hand_are_replayed() {
    let mut rng = Rng::new(9);
    for (big, block, image) in [
        (true, 512, 8192),
        (false, 512, 65_536),
        (true, 512, 65_536),
        (true, 4096, 65_536),
        (false, 65_536, 65_536),
    ] {
        let blocks = (12 * image / block).max(12);
        let len = (1 << 20) + (blocks + 2) * block;
        let mut log = Writer::new(big, len, block, blocks, blocks - 3);
        let homes = 512 * image as u64 / 65_536;
        let mut one = |n: u64| (n * homes / 8, content(&mut rng, image as u32));
        let images = [one(1), one(8), one(2)];
        log.blocks(&images);
        log.revocations(&[(images[0].0, image)]);
        log.inodes(true, &[(7, 0o100_644)]);
        log.blocks(&[one(2)]);
        log.inodes(true, &[(9, 0o40_755), (12, 0)]);
        log.inodes(false, &[(11, 0)]);
        log.header(41);
        let case = Case {
            order: if big { Order::Big } else { Order::Little },
            sector: block as u32,
            frag: 512,
            volume: (log.start / 512) as u64,
            log: ((blocks + 2) * block) as u64,
        };
        let disk = Arc::new(MemDisk::from_bytes(&log.disk));
        let (held, over) = case.read(&disk);
        assert!(held.wraps);
        let inodes = [(9, 0o40_755), (12, 0), (11, 0)];
        assert_eq!(held.inodes, inodes);
        let journal = case.journal(&disk);
        let replay = journal.replay().unwrap();
        replay.write_home(&*disk).unwrap();
        let volume = log.start;
        assert!(disk.to_bytes()[..volume] == over[..volume]);
        let started = journal.start(&replay, 9, wall()).unwrap();
        let held = case.read(&disk).0;
        assert_eq!((held.images.len(), &*held.inodes), (0, &inodes[..]));
        assert_eq!(held.generations.iter().max(), Some(&42));
        // Freed: the list goes with the next checkpoint.
        started.set_orphans(vec![]).unwrap();
        started.append(&[], &[]).unwrap();
        assert_eq!(case.read(&disk).0.inodes, []);
        started.checkpointed().unwrap();
        assert_eq!(case.read(&disk).0.records, []);
        started.shutdown().unwrap();
    }
}

/// A list of inodes that is not the last of the records is written again behind them.
#[test]
fn a_list_before_other_records_is_kept() {
    let mut log = Writer::new(false, 1 << 20, 512, 64, 60);
    log.inodes(true, &[(7, 0o100_644)]);
    log.blocks(&[(1, vec![3; 512])]);
    log.header(6);
    let case = Case {
        order: Order::Little,
        sector: 512,
        frag: 512,
        volume: (log.start / 512) as u64,
        log: 66 * 512,
    };
    let disk = Arc::new(MemDisk::from_bytes(&log.disk));
    let journal = case.journal(&disk);
    let replay = journal.replay().unwrap();
    replay.write_home(&*disk).unwrap();
    drop(journal.start(&replay, 9, wall()).unwrap());
    let held = case.read(&disk).0;
    assert_eq!((held.images.len(), held.inodes), (0, vec![(7, 0o100_644)]));
}

#[test]
fn records_over_the_journal_itself_are_refused() {
    let mut log = Writer::new(true, 1 << 20, 512, 64, 0);
    let sector = (log.start / 512) as u64;
    log.blocks(&[(sector + 4, vec![3; 512])]);
    log.header(6);
    let case = Case {
        order: Order::Big,
        sector: 512,
        frag: 512,
        volume: sector,
        log: 66 * 512,
    };
    let disk = Arc::new(MemDisk::from_bytes(&log.disk));
    let refused = case.journal(&disk).replay();
    assert!(
        matches!(
            refused,
            Err(Error::Value {
                field: "address of an entry",
                ..
            })
        ),
        "{refused:?}"
    );
}

/// The journal of a UFS1 volume of 64 MiB that NetBSD's kernel had mounted (`newfs -O 1`, `mount -o log`), copied while it was in use.
#[test]
fn a_journal_of_netbsd_is_read_as_its_description_has_it() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/testdata/netbsd_journal.bin.zst"
    );
    let tool = Command::new("zstd").args(["-dcq", file]).output().unwrap();
    assert!(tool.status.success(), "zstd: {tool:?}");
    let case = Case {
        order: Order::Little,
        sector: 512,
        frag: 512,
        volume: 66_608,
        log: 1 << 20,
    };
    let disk = Arc::new(MemDisk::new(64 << 20));
    let start = case.volume * 512;
    disk.write_at(start, &tool.stdout).unwrap();
    let (held, _) = case.read(&disk);
    assert_eq!(held.generations, [6, 7]);
    let kinds = [paper::BLOCKS, paper::REVOCATIONS, paper::INODES];
    for kind in kinds {
        assert!(held.records.contains(&kind), "{:x?}", held.records);
    }
    assert_eq!(held.records.last(), Some(&paper::INODES));
    assert!(held.images.len() > 100, "{}", held.images.len());
    // And we go on with it.
    let journal = case.journal(&disk);
    let replay = journal.replay().unwrap();
    let inodes = held.inodes.len();
    let log = journal.start(&replay, 10, wall()).unwrap();
    log.append(&[record(64, &[5; 1024])], &[]).unwrap();
    let (held, _) = case.read(&disk);
    assert_eq!((held.images.len(), held.inodes.len()), (2, inodes));
    assert_eq!(held.generations, [8, 9]);
}
