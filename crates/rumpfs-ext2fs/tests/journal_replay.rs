//! Logs that others wrote, replayed; e2fsck's replay is the measure.

mod journal_support;

use journal_support::{FileDevice, Layout, TempDir, debugfs, e2fsck_replay, mkfs};
use rumpfs_ext2fs::journal::{
    Checksums, DamageKind, Error, Journal, JournalArea, OverlayDevice, Run, ScratchDevice,
    error::AreaFault, error::SuperblockFault,
};
use rumpuser::{BlockDevice, Errno, Rng};
use std::{path::Path, sync::Arc};

/// Forms of a log that debugfs can write: features of the file system, arguments of `jo`, what the journal then has.
const FORMS: [(&str, &str, Checksums); 7] = [
    ("^metadata_csum,^64bit", "", Checksums::None),
    ("^metadata_csum,64bit,extent", "", Checksums::None),
    ("^metadata_csum,^64bit", "-c", Checksums::V1),
    ("metadata_csum,^64bit,extent", "-c -v 2", Checksums::V2),
    ("metadata_csum,64bit,extent", "-c -v 2", Checksums::V2),
    ("metadata_csum,^64bit,extent", "-c -v 3", Checksums::V3),
    ("metadata_csum,64bit,extent", "-c -v 3", Checksums::V3),
];

/// Replays the image's log in memory and in place, and compares both with e2fsck's replay.
fn compare_with_e2fsck(image: &Path) {
    let theirs = image.with_extension("theirs");
    let ours = image.with_extension("ours");
    std::fs::copy(image, &theirs).unwrap();
    std::fs::copy(image, &ours).unwrap();
    assert!(e2fsck_replay(&theirs), "e2fsck complains");
    let layout = Layout::of(image);
    let theirs = FileDevice::open(&theirs, true);

    let device = FileDevice::open(image, true);
    let replay = layout.journal(device.clone()).replay().unwrap();
    assert_eq!(replay.damage, None);
    let overlay = OverlayDevice::new(device.clone(), layout.block_size, &replay);
    assert_eq!(layout.differences(&overlay, &*theirs), [], "overlay");
    assert_eq!(overlay.write_at(0, &[0]), Err(Errno::EROFS));
    let scratch = ScratchDevice::new(device.clone(), layout.block_size, &replay, 1 << 20);
    assert_eq!(layout.differences(&scratch, &*theirs), [], "scratch");
    assert_ne!(
        layout.differences(&*device, &*theirs),
        [],
        "the log had nothing"
    );

    let device = FileDevice::open(&ours, false);
    let mut journal = layout.journal(device.clone());
    journal.write_home(&replay).unwrap();
    let again = layout.journal(device.clone()).replay().unwrap();
    assert_eq!(
        again.blocks, replay.blocks,
        "the log is there until it is reset"
    );
    journal.reset(&replay).unwrap();
    assert_eq!(layout.differences(&*device, &*theirs), [], "in place");
    assert!(layout.journal(device).is_clean());
    // The log is empty for e2fsck, too: it finds the journal's superblock right and replays nothing.
    assert!(e2fsck_replay(&ours));
    assert_eq!(
        layout.differences(&*FileDevice::open(&ours, true), &*theirs),
        [],
        "after e2fsck"
    );
}

/// An image whose log has three transactions: blocks, blocks and revokes, blocks again.
fn logged(dir: &TempDir, block_size: u32, features: &str, open: &str) -> std::path::PathBuf {
    let image = dir.file("image");
    mkfs(&image, block_size, features, "24M");
    let size = block_size as usize;
    let mut numbers = Rng::new(u64::from(block_size) + 77);
    let mut first = numbers.bytes(40 * size);
    // One block that looks like a block of a log.
    first[3 * size..3 * size + 4].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98]);
    std::fs::write(dir.file("first"), &first).unwrap();
    std::fs::write(dir.file("second"), numbers.bytes(10 * size)).unwrap();
    std::fs::write(dir.file("third"), numbers.bytes(2 * size)).unwrap();
    // The last blocks of the volume are free.
    let end = 24 * 1024 * 1024 / u64::from(block_size);
    let list =
        |range: std::ops::Range<u64>| range.map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let path = |name: &str| dir.file(name).to_str().unwrap().to_owned();
    // debugfs loses the commit block of a transaction with revokes if another follows before the journal is closed.
    // It also counts revocation blocks into a checksum of version 1, which neither e2fsck nor the kernel does.
    let revokes = if open == "-c" {
        String::new()
    } else {
        format!("-r {}", list(end - 90..end - 80))
    };
    let script = format!(
        "jo {open}\njw -b {} {}\njc\njo\njw -b {} {revokes} {}\njc\njo\njw -b {} {}\njc\n",
        list(end - 100..end - 60),
        path("first"),
        list(end - 70..end - 60),
        path("second"),
        list(end - 85..end - 83),
        path("third"),
    );
    let text = debugfs(&image, &script);
    // The commands come back as debugfs reads them; complaints are longer.
    assert!(
        text.lines()
            .all(|l| l.starts_with("debugfs") || l.starts_with("Setting csum")),
        "{text}"
    );
    image
}

#[test]
fn logs_of_debugfs_in_all_forms() {
    for block_size in [1024, 4096] {
        for (features, open, checksums) in FORMS {
            let dir = TempDir::new("forms");
            let image = logged(&dir, block_size, features, open);
            let layout = Layout::of(&image);
            let journal = layout.journal(FileDevice::open(&image, true));
            assert_eq!(
                journal.superblock().checksums(),
                checksums,
                "{features} {open}"
            );
            let replay = journal.replay().unwrap();
            assert_eq!(replay.transactions, 3, "{features} {open}");
            assert_eq!(
                replay.blocks.values().filter(|place| place.escaped).count(),
                1
            );
            // 40 written, 10 of them revoked, 2 of these written again.
            let blocks = if checksums == Checksums::V1 { 40 } else { 32 };
            assert_eq!(replay.blocks.len(), blocks, "{features} {open}");
            compare_with_e2fsck(&image);
        }
    }
}

#[test]
fn transaction_without_commit_block_never_happened() {
    let dir = TempDir::new("uncommitted");
    let image = logged(&dir, 1024, "metadata_csum,64bit,extent", "-c -v 3");
    let end = 24 * 1024;
    std::fs::write(dir.file("fourth"), vec![7; 1024]).unwrap();
    debugfs(
        &image,
        &format!(
            "jo\njw -c -b {} {}\njc\n",
            end - 95,
            dir.file("fourth").display()
        ),
    );
    let layout = Layout::of(&image);
    let replay = layout
        .journal(FileDevice::open(&image, true))
        .replay()
        .unwrap();
    assert_eq!((replay.transactions, replay.damage), (3, None));
    assert_eq!(replay.next_sequence, replay.end.next());
    compare_with_e2fsck(&image);
}

/// Flips a byte at `at` of journal block `block`.
fn flip(image: &Path, layout: &Layout, block: u32, at: u64) {
    let device = FileDevice::open(image, false);
    let mut byte = [0];
    device
        .read_at(layout.offset(block) + at, &mut byte)
        .unwrap();
    byte[0] ^= 0x40;
    device.write_at(layout.offset(block) + at, &byte).unwrap();
}

#[test]
fn damage_in_the_middle_is_told_from_a_torn_end() {
    // Block 1 is the first descriptor, 2 to 41 its data, 42 its commit block; 43 to 54 the second transaction
    // (descriptor, 10 blocks, revocation block) with its commit block 55; 56 to 58 the third, 59 its commit block.
    let first = 1;
    let cases = [
        (1, 30, DamageKind::Descriptor, 0, true),
        (20, 500, DamageKind::Data, 0, true),
        (42, 55, DamageKind::Commit, 0, true),
        (58, 5, DamageKind::Data, 2, true),
        (59, 17, DamageKind::Commit, 2, false),
    ];
    for (block, at, kind, whole, later) in cases {
        let dir = TempDir::new("damage");
        let image = logged(&dir, 1024, "metadata_csum,64bit,extent", "-c -v 3");
        let layout = Layout::of(&image);
        flip(&image, &layout, block, at);
        let replay = layout
            .journal(FileDevice::open(&image, true))
            .replay()
            .unwrap();
        let damage = replay
            .damage
            .unwrap_or_else(|| panic!("block {block}: no damage"));
        assert_eq!(
            (damage.kind, replay.transactions),
            (kind, whole),
            "block {block}"
        );
        assert_eq!(damage.sequence.0, first + whole);
        assert_eq!(damage.later.is_some(), later, "block {block}: {damage}");
        assert_eq!(damage.torn(), !later);
        assert!(
            replay
                .next_sequence
                .is_newer(damage.later.unwrap_or(damage.sequence))
        );
    }
}

#[test]
fn every_byte_of_the_log_headers_may_be_anything() {
    for (features, open, _) in FORMS {
        let dir = TempDir::new("hostile");
        let image = logged(&dir, 1024, features, open);
        let layout = Layout::of(&image);
        let good = std::fs::read(&image).unwrap();
        let device = journal_support::MemoryDevice::new(good);
        let mut numbers = Rng::new(99);
        // Superblock, descriptor, commit block, revocation block.
        for (block, len) in [(0, 1024), (1, 200), (42, 64), (54, 120)] {
            for at in 0..len {
                let place = usize::try_from(layout.offset(block)).unwrap() + at;
                let before = device.bytes.lock().unwrap()[place];
                for value in [0, 0xFF, before ^ 1, before ^ 0x80, numbers.next_u64() as u8] {
                    device.bytes.lock().unwrap()[place] = value;
                    let area = layout.area(device.clone());
                    if let Ok(journal) = rumpfs_ext2fs::journal::Journal::open(area)
                        && let Ok(replay) = journal.replay()
                    {
                        assert!(replay.blocks.len() <= 4096);
                        assert!(
                            replay
                                .blocks
                                .keys()
                                .all(|block| *block < layout.blocks && !layout.has(*block))
                        );
                    }
                }
                device.bytes.lock().unwrap()[place] = before;
            }
        }
    }
}

#[test]
fn a_log_without_end_ends() {
    // All of the log is descriptor blocks of one transaction, so that it never meets a commit block.
    let dir = TempDir::new("endless");
    let image = logged(&dir, 1024, "^metadata_csum,^64bit", "");
    let layout = Layout::of(&image);
    let device = FileDevice::open(&image, false);
    let mut block = vec![0; 1024];
    device.read_at(layout.offset(54), &mut block).unwrap();
    assert_eq!(block[7], 5, "a revocation block");
    block[11] = 1;
    for at in 1..4096 {
        device.write_at(layout.offset(at), &block).unwrap();
    }
    let replay = layout.journal(device).replay().unwrap();
    assert_eq!((replay.transactions, replay.blocks.len()), (0, 0));
}

#[test]
fn areas_that_cannot_be() {
    let device = journal_support::MemoryDevice::new(vec![0; 100 * 1024]);
    let area = |block_size: u32, runs: &[(u32, u64, u32)]| {
        let runs = runs
            .iter()
            .map(|&(logical, physical, count)| Run {
                logical,
                physical,
                count,
            })
            .collect();
        JournalArea::new(device.clone(), block_size, 200, runs)
    };
    let fault = |block_size, runs: &[(u32, u64, u32)]| match area(block_size, runs) {
        Err(Error::Area(fault)) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(512, &[]), AreaFault::BlockSize(512));
    assert_eq!(fault(3000, &[]), AreaFault::BlockSize(3000));
    assert_eq!(fault(1024, &[(0, 10, 0)]), AreaFault::Run { logical: 0 });
    // The volume claims 200 blocks, the device has 100.
    assert_eq!(fault(1024, &[(0, 90, 11)]), AreaFault::Run { logical: 0 });
    assert_eq!(
        fault(1024, &[(5, u64::MAX, 2)]),
        AreaFault::Run { logical: 5 }
    );
    assert_eq!(
        fault(1024, &[(u32::MAX, 1, 2)]),
        AreaFault::Run { logical: u32::MAX }
    );
    assert_eq!(
        fault(1024, &[(0, 10, 5), (4, 30, 5)]),
        AreaFault::Overlap { block: 4 }
    );
    assert_eq!(
        fault(1024, &[(0, 10, 5), (5, 14, 5)]),
        AreaFault::Overlap { block: 14 }
    );
    assert_eq!(
        area(1024, &[(5, 30, 5), (0, 10, 5), (11, 50, 9)])
            .unwrap()
            .mapped(),
        10
    );
    let empty = Journal::open(area(1024, &[]).unwrap());
    assert!(matches!(
        empty,
        Err(Error::Area(AreaFault::Hole { logical: 0 }))
    ));
    let zeros = Journal::open(area(1024, &[(0, 10, 5)]).unwrap());
    assert!(matches!(
        zeros,
        Err(Error::Superblock(SuperblockFault::Magic(0)))
    ));
    assert_eq!(Errno::from(Error::External), Errno::EOPNOTSUPP);
    assert_eq!(Errno::from(Error::UnknownIncompat(0x40)), Errno::EOPNOTSUPP);
    assert_eq!(Errno::from(zeros.unwrap_err()), Errno::EIO);
}

#[test]
fn scratch_keeps_writes_in_memory() {
    let dir = TempDir::new("scratch");
    let image = logged(&dir, 1024, "^metadata_csum,^64bit", "");
    let layout = Layout::of(&image);
    let before = std::fs::read(&image).unwrap();
    let device = FileDevice::open(&image, true);
    let replay = layout.journal(device.clone()).replay().unwrap();
    let scratch = ScratchDevice::new(device, 1024, &replay, replay.blocks.len() + 3);
    let mut model = vec![0; before.len()];
    scratch.read_at(0, &mut model).unwrap();
    let log = *replay.blocks.keys().next().unwrap() as usize;
    // Part of a block; two parts over a border; a whole block; part of a block of the log.
    for (at, len) in [
        (20_000_usize, 10_usize),
        (20_470, 20),
        (21_504, 1024),
        (log * 1024 + 1, 3),
    ] {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        scratch.write_at(at as u64, &data).unwrap();
        model[at..at + len].copy_from_slice(&data);
    }
    assert_eq!(scratch.write_at(50_000, &[1]), Err(Errno::ENOSPC));
    let frozen: Arc<dyn BlockDevice> = Arc::new(scratch.freeze());
    let mut now = vec![0; before.len()];
    frozen.read_at(0, &mut now).unwrap();
    assert!(now == model);
    let (mut a, mut b) = (vec![0; 1500], vec![0; 700]);
    frozen
        .read_vectored_at((log * 1024 - 300) as u64, &mut [&mut a, &mut b])
        .unwrap();
    assert!(a == model[log * 1024 - 300..][..1500] && b == model[log * 1024 + 1200..][..700]);
    assert_eq!(
        frozen.read_at(before.len() as u64 - 1, &mut [0, 0]),
        Err(Errno::EIO)
    );
    assert!(std::fs::read(&image).unwrap() == before);
}

#[test]
#[ignore = "needs root for a loop mount"]
fn logs_of_the_kernel() {
    for (block_size, features) in [
        (1024, "^metadata_csum,^64bit"),
        (4096, "metadata_csum,64bit,extent"),
    ] {
        let dir = TempDir::new("kernel");
        let image = dir.file("image");
        mkfs(&image, block_size, features, "24M");
        // The copy is made while the volume is mounted: what the kernel has committed is in the log only.
        let script = r#"
            set -e
            mkdir "$2"
            mount -o loop "$1" "$2"
            trap 'for i in $(seq 200); do umount "$2" && break; sleep 0.05; done' EXIT
            mkdir "$2/d"
            for i in $(seq 300); do seq $i 400 > "$2/d/$i"; done
            sync "$2/d/1"
            for i in $(seq 2 2 300); do rm "$2/d/$i"; done
            for i in $(seq 100); do mkdir "$2/d/dir$i"; done
            sync "$2/d/1"
            cp "$1" "$1.copy"
        "#;
        let status = std::process::Command::new("bash")
            .args(["-c", script, "bash"])
            .arg(&image)
            .arg(dir.file("mounted"))
            .status()
            .expect("bash is needed");
        assert!(status.success());
        compare_with_e2fsck(&image.with_extension("copy"));
    }
}
