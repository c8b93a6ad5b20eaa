//! Logs that we write, replayed by e2fsck and by us, after power cuts too.

mod journal_support;

use journal_support::{
    FileDevice, Layout, MemoryDevice, Step, TempDir, debugfs, e2fsck_replay, mkfs, mkfs_journal,
    tool,
};
use rumpbio::{Log, LogRecord};
use rumpfs_ext2fs::journal::{Checksums, JournalLog, LogOptions};
use rumpuser::{BlockDevice, Errno, Rng, Timespec};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

fn options(metadata_csum: bool, bit64: bool) -> LogOptions {
    LogOptions {
        metadata_csum,
        bit64,
        wall: Box::new(|| Timespec {
            sec: 1_700_000_000,
            nsec: 5,
        }),
    }
}

fn record(block: u64, data: Vec<u8>) -> LogRecord {
    LogRecord {
        block,
        data: data.into(),
    }
}

/// What the blocks of a volume should be after a replay.
type Model = BTreeMap<u64, Vec<u8>>;

/// Appends random blocks out of `count` from `first` on, and notes them in the model.
fn append_some(
    log: &JournalLog,
    numbers: &mut Rng,
    size: usize,
    homes: (u64, u64),
    count: usize,
    model: &mut Model,
) {
    let mut blocks = BTreeMap::new();
    while blocks.len() < count {
        let mut data = numbers.bytes(size);
        if blocks.len() % 7 == 0 {
            data[..4].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98]);
        }
        blocks.insert(homes.0 + numbers.below(homes.1), data);
    }
    let records: Vec<LogRecord> = blocks
        .iter()
        .map(|(block, data)| record(*block, data.clone()))
        .collect();
    log.append(&records, &[]).unwrap();
    model.extend(blocks);
}

/// Lets e2fsck replay the image, and checks blocks.
fn check_with_e2fsck(image: &Path, layout: &Layout, model: &Model, what: &str) {
    debugfs(image, "feature needs_recovery\n");
    let dump = tool(
        "debugfs",
        &["-R", "logdump -a", image.to_str().unwrap()],
        &[0],
    );
    assert!(
        !dump.contains("corrupt") && !dump.contains("CHECKSUM"),
        "{what}: {dump}"
    );
    assert!(e2fsck_replay(image), "{what}: e2fsck complains");
    let device = FileDevice::open(image, true);
    let mut block = vec![0; layout.block_size as usize];
    for (home, data) in model {
        device
            .read_at(home * u64::from(layout.block_size), &mut block)
            .unwrap();
        assert!(block == *data, "{what}: block {home}");
    }
    assert!(layout.journal(device).is_clean());
}

/// Leaves a journal whose log has checksums of version 1 or 2, which mke2fs does not make.
fn with_checksums(dir: &TempDir, image: &Path, size: u32, version: &str) {
    std::fs::write(dir.file("one"), vec![1; size as usize]).unwrap();
    let end = 24 * 1024 * 1024 / u64::from(size) - 1;
    debugfs(
        image,
        &format!(
            "jo -c -v {version}\njw -b {end} {}\njc\n",
            dir.file("one").display()
        ),
    );
    assert!(e2fsck_replay(image));
}

#[test]
fn e2fsck_replays_all_forms() {
    let forms = [
        ("^metadata_csum,^64bit", false, false, "", Checksums::None),
        (
            "^metadata_csum,64bit,extent",
            false,
            true,
            "",
            Checksums::None,
        ),
        ("^metadata_csum,^64bit", false, false, "1", Checksums::V1),
        (
            "metadata_csum,^64bit,extent",
            false,
            false,
            "2",
            Checksums::V2,
        ),
        (
            "metadata_csum,64bit,extent",
            false,
            true,
            "2",
            Checksums::V2,
        ),
        (
            "metadata_csum,^64bit,extent",
            true,
            false,
            "",
            Checksums::V3,
        ),
        ("metadata_csum,64bit,extent", true, true, "", Checksums::V3),
    ];
    for size in [1024, 4096] {
        for (features, metadata_csum, bit64, version, checksums) in forms {
            let what = format!("{size} {features} {version}");
            let dir = TempDir::new("write");
            let image = dir.file("image");
            mkfs(&image, size, features, "24M");
            if !version.is_empty() {
                with_checksums(&dir, &image, size, version);
            }
            let layout = Layout::of(&image);
            let device = FileDevice::open(&image, false);
            let log = layout
                .journal(device.clone())
                .into_log(options(metadata_csum, bit64))
                .unwrap();
            let homes = (layout.blocks - 250, 240);
            let mut numbers = Rng::new(u64::from(size));
            let mut model = Model::new();
            let bytes = size as usize;
            // Enough for several descriptor blocks.
            append_some(&log, &mut numbers, bytes, homes, 200, &mut model);
            append_some(&log, &mut numbers, bytes, homes, 20, &mut model);
            // What is revoked stays as it is on the medium: here, as file data that was written over it.
            let revoked: Vec<u64> = model.keys().copied().step_by(3).collect();
            let records = [
                record(revoked[1], vec![5; bytes]),
                record(homes.0 + 245, vec![6; bytes]),
            ];
            log.append(&records, &revoked).unwrap();
            for block in &revoked {
                device
                    .write_at(block * u64::from(size), &vec![9; bytes])
                    .unwrap();
                model.insert(*block, vec![9; bytes]);
            }
            model.extend(records.iter().map(|r| (r.block, r.data.to_vec())));
            // Revoked before, and metadata again.
            log.append(&[record(revoked[2], vec![7; bytes])], &[homes.0 + 249])
                .unwrap();
            model.insert(revoked[2], vec![7; bytes]);
            assert_eq!(log.shutdown(), Err(Errno::EBUSY));

            let journal = layout.journal(device.clone());
            assert_eq!(journal.superblock().checksums(), checksums, "{what}");
            let replay = journal.replay().unwrap();
            assert_eq!((replay.transactions, replay.damage), (4, None), "{what}");
            for (home, place) in &replay.blocks {
                assert!(
                    journal.content(*place).unwrap() == model[home],
                    "{what}: block {home}"
                );
            }
            check_with_e2fsck(&image, &layout, &model, &what);
        }
    }
}

#[test]
fn the_log_wraps_around() {
    for features in ["^metadata_csum,^64bit", "metadata_csum,64bit,extent"] {
        let dir = TempDir::new("wrap");
        let image = dir.file("image");
        mkfs_journal(&image, 1024, features, "24M", 1);
        let layout = Layout::of(&image);
        let device = FileDevice::open(&image, false);
        let log = layout
            .journal(device.clone())
            .into_log(options(features.starts_with('m'), false))
            .unwrap();
        let mut numbers = Rng::new(3);
        let mut model = Model::new();
        let homes = (layout.blocks - 1000, 990);
        for round in 0..14 {
            for _ in 0..3 {
                append_some(&log, &mut numbers, 1024, homes, 90 + round, &mut model);
            }
            if round == 13 {
                break;
            }
            for (home, data) in &model {
                device.write_at(home * 1024, data).unwrap();
            }
            log.checkpointed().unwrap();
            assert!(layout.journal(device.clone()).is_clean());
        }
        let journal = layout.journal(device.clone());
        let (start, log_blocks) = (
            journal.superblock().start().unwrap(),
            journal.superblock().log(),
        );
        assert!(
            start + 320 > log_blocks.end,
            "the last round starts at {start}: it does not wrap"
        );
        assert_eq!(journal.replay().unwrap().transactions, 3);
        check_with_e2fsck(&image, &layout, &model, features);
    }
}

#[test]
fn sequence_numbers_wrap_around() {
    let dir = TempDir::new("sequence");
    let image = dir.file("image");
    mkfs_journal(&image, 1024, "^metadata_csum,^64bit", "24M", 1);
    let layout = Layout::of(&image);
    let device = FileDevice::open(&image, false);
    device
        .write_at(layout.offset(0) + 0x18, &0xFFFF_FFFC_u32.to_be_bytes())
        .unwrap();
    let log = layout
        .journal(device.clone())
        .into_log(options(false, false))
        .unwrap();
    let homes = (layout.blocks - 100, 90);
    let (mut numbers, mut model) = (Rng::new(8), Model::new());
    for _ in 0..6 {
        append_some(&log, &mut numbers, 1024, homes, 10, &mut model);
    }
    let block = *model.keys().next().unwrap();
    log.append(&[record(homes.0 + 95, vec![1; 1024])], &[block])
        .unwrap();
    model.insert(block, vec![0; 1024]);
    let replay = layout.journal(device).replay().unwrap();
    assert_eq!((replay.transactions, replay.end.0), (7, 4));
    assert!(!replay.blocks.contains_key(&block));
    check_with_e2fsck(&image, &layout, &model, "around 2^32");
}

#[test]
fn a_superblock_of_version_1_is_brought_up_to_date() {
    let dir = TempDir::new("version1");
    let image = dir.file("image");
    mkfs_journal(&image, 1024, "^metadata_csum,^64bit", "24M", 1);
    let layout = Layout::of(&image);
    let device = FileDevice::open(&image, false);
    device
        .write_at(layout.offset(0) + 4, &3_u32.to_be_bytes())
        .unwrap();
    // What lies behind the fields of version 1 has no meaning.
    device
        .write_at(layout.offset(0) + 0x24, &[0xEE; 64])
        .unwrap();
    let log = layout
        .journal(device.clone())
        .into_log(options(false, false))
        .unwrap();
    let homes = (layout.blocks - 100, 90);
    let (mut numbers, mut model) = (Rng::new(9), Model::new());
    append_some(&log, &mut numbers, 1024, homes, 30, &mut model);
    let block = *model.keys().next().unwrap();
    log.append(&[record(homes.0 + 95, vec![1; 1024])], &[block])
        .unwrap();
    model.insert(block, vec![0; 1024]);
    assert!(
        !layout
            .journal(device)
            .replay()
            .unwrap()
            .blocks
            .contains_key(&block)
    );
    check_with_e2fsck(&image, &layout, &model, "version 1");
}

#[test]
fn capacity_is_what_fits() {
    for (features, metadata_csum) in [
        ("^metadata_csum,^64bit", false),
        ("metadata_csum,64bit,extent", true),
    ] {
        let dir = TempDir::new("capacity");
        let image = dir.file("image");
        mkfs_journal(&image, 1024, features, "24M", 1);
        let layout = Layout::of(&image);
        let device = FileDevice::open(&image, false);
        let log = layout
            .journal(device.clone())
            .into_log(options(metadata_csum, true))
            .unwrap();
        let capacity = log.capacity();
        let first = layout.blocks - 2000;
        let records: Vec<LogRecord> = (0..=capacity as u64)
            .map(|i| record(first + i, vec![i as u8; 1024]))
            .collect();
        assert_eq!(log.append(&records, &[]), Err(Errno::ENOSPC));
        assert!(
            layout.journal(device.clone()).is_clean(),
            "nothing was written"
        );
        log.append(&records[1..], &[]).unwrap();
        assert_eq!(log.append(&records[..1], &[]), Err(Errno::ENOSPC));
        let replay = layout.journal(device.clone()).replay().unwrap();
        assert_eq!(replay.blocks.len(), capacity);
        log.checkpointed().unwrap();
        log.append(&records[..1], &[]).unwrap();
        log.checkpointed().unwrap();
        log.shutdown().unwrap();
        assert!(layout.journal(device).is_clean());
    }
}

#[test]
fn impossible_homes_are_refused() {
    let dir = TempDir::new("homes");
    let image = dir.file("image");
    mkfs_journal(&image, 1024, "^metadata_csum,^64bit", "24M", 1);
    let layout = Layout::of(&image);
    let log = layout
        .journal(FileDevice::open(&image, false))
        .into_log(options(false, false))
        .unwrap();
    for block in [layout.runs[0].physical, layout.blocks, u64::MAX] {
        assert_eq!(
            log.append(&[record(block, vec![0; 1024])], &[]),
            Err(Errno::EIO)
        );
    }
    assert_eq!(
        log.append(&[record(1000, vec![0; 512])], &[]),
        Err(Errno::EIO)
    );
    log.append(&[record(layout.blocks - 1, vec![0; 1024])], &[])
        .unwrap();
}

#[test]
fn a_log_that_failed_stays_failed() {
    let dir = TempDir::new("failed");
    let image = dir.file("image");
    mkfs_journal(&image, 1024, "metadata_csum,64bit,extent", "24M", 1);
    let layout = Layout::of(&image);
    let bytes = std::fs::read(&image).unwrap();
    for budget in 0..20 {
        let device = MemoryDevice::new(bytes.clone());
        let log = layout
            .journal(device.clone())
            .into_log(options(true, true))
            .unwrap();
        device.budget.store(budget, Ordering::Relaxed);
        let block = layout.blocks - 1;
        let mut result = Ok(());
        for _ in 0..5 {
            result = log.append(&[record(block, vec![1; 1024])], &[]);
        }
        assert_eq!(result, Err(Errno::EIO));
        device.budget.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(
            log.append(&[record(block, vec![1; 1024])], &[]),
            Err(Errno::EIO)
        );
        assert_eq!(log.checkpointed(), Err(Errno::EIO));
        assert_eq!(log.shutdown(), Err(Errno::EIO));
        assert_eq!(layout.journal(device).replay().unwrap().damage, None);
    }
}

/// What the writer had done when a step reached the device.
struct Mark {
    step: usize,
    /// Transactions that are durable.
    durable: usize,
}

/// Appends and checkpoints; the states of the homes after each transaction, and when which was durable.
fn work(device: &Arc<MemoryDevice>, layout: &Layout, csum: bool) -> (Vec<Model>, Vec<Mark>) {
    let log = layout
        .journal(device.clone())
        .into_log(options(csum, csum))
        .unwrap();
    let mut numbers = Rng::new(11);
    let homes = (layout.blocks - 40, 39);
    let mut model: Model = (homes.0..layout.blocks)
        .map(|block| (block, vec![0; 1024]))
        .collect();
    let mut states = vec![model.clone()];
    let mut marks = vec![Mark {
        step: 0,
        durable: 0,
    }];
    for round in 0..12_usize {
        append_some(&log, &mut numbers, 1024, homes, 3 + round % 4, &mut model);
        states.push(model.clone());
        marks.push(Mark {
            step: device.steps.lock().unwrap().len(),
            durable: states.len() - 1,
        });
        if round % 5 == 4 {
            for (home, data) in &model {
                device.write_at(home * 1024, data).unwrap();
            }
            device.flush().unwrap();
            log.checkpointed().unwrap();
        }
    }
    (states, marks)
}

/// Replays an image for good; the homes then.
fn recovered(bytes: Vec<u8>, layout: &Layout, states: &[Model], fail_at: u64) -> Model {
    let device = MemoryDevice::new(bytes);
    let recover = || {
        let mut journal = layout.journal(device.clone());
        let replay = journal.replay().unwrap();
        assert!(replay.damage.is_none(), "{:?}", replay.damage);
        journal.write_home(&replay)?;
        journal.reset(&replay)
    };
    // A recovery that a power cut ends is done once more.
    device.budget.store(fail_at, Ordering::Relaxed);
    if recover().is_err() {
        device.budget.store(u64::MAX, Ordering::Relaxed);
        recover().unwrap();
    }
    assert!(layout.journal(device.clone()).is_clean());
    let bytes = device.bytes.lock().unwrap();
    states[0]
        .keys()
        .map(|home| (*home, bytes[*home as usize * 1024..][..1024].to_vec()))
        .collect()
}

#[test]
fn power_cuts_leave_whole_transactions() {
    for (features, csum) in [
        ("^metadata_csum,^64bit", false),
        ("metadata_csum,64bit,extent", true),
    ] {
        let dir = TempDir::new("crash");
        let image = dir.file("image");
        mkfs_journal(&image, 1024, features, "3M", 1);
        let layout = Layout::of(&image);
        let start = std::fs::read(&image).unwrap();
        let device = MemoryDevice::new(start.clone());
        let (states, marks) = work(&device, &layout, csum);
        let steps = device.steps.lock().unwrap().clone();
        let mut numbers = Rng::new(5);
        for cut in 0..=steps.len() {
            let flushed = steps[..cut]
                .iter()
                .rposition(|step| matches!(step, Step::Flush))
                .map_or(0, |at| at + 1);
            let mut bytes = start.clone();
            for (at, step) in steps[..cut].iter().enumerate() {
                // What was flushed is there; of the rest anything may be, in any order.
                if let Step::Write(offset, data) = step
                    && (at < flushed || numbers.below(2) == 0)
                {
                    bytes[*offset as usize..][..data.len()].copy_from_slice(data);
                }
            }
            let durable = marks
                .iter()
                .rev()
                .find(|mark| mark.step <= cut)
                .unwrap()
                .durable;
            let found = recovered(bytes, &layout, &states, numbers.below(12));
            let state = states.iter().position(|state| *state == found);
            let state = state.unwrap_or_else(|| panic!("{features}: cut at {cut}: no state"));
            assert!(
                (durable..=durable + 1).contains(&state),
                "{features}: cut at {cut}: {state}, not {durable}"
            );
        }
    }
}
