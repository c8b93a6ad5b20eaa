//! The fast-commit area, as Linux 6.18 wrote it.

mod journal_support;

use journal_support::MemoryDevice;
use rumpfs_ext2fs::journal::{
    Error, FastCommitOp, FastCommitTarget, FastCommits, Journal, JournalArea, Run, apply,
    fast_commit::Dentry,
    layout::{Incompat, MAGIC, RawSuperblock, SUPERBLOCK_V2},
};
use rumpuser::{Errno, Result};
use zerocopy::{FromZeros, IntoBytes};

/// See `testdata/fast_commits.sh`.
const AREA: &[u8] = include_bytes!("testdata/fast_commits_1k.bin");
const BLOCK: usize = 1024;
/// Where the journal lies on the volume of 48 MiB, and the first block of its fast-commit area.
const JOURNAL: u64 = 40_000;
const MAX_LEN: u32 = 2112;
const FIRST: usize = (JOURNAL as usize + MAX_LEN as usize - 64 + 1) * BLOCK;

/// A volume whose journal has an empty log, which goes on with transaction `sequence`, and `area` as its fast commits.
fn volume(sequence: u32, area: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 48 << 20];
    let mut raw = RawSuperblock::new_zeroed();
    raw.s_header.h_magic.set(MAGIC);
    raw.s_header.h_blocktype.set(SUPERBLOCK_V2);
    raw.s_blocksize.set(BLOCK as u32);
    raw.s_maxlen.set(MAX_LEN);
    raw.s_first.set(1);
    raw.s_start.set(1);
    raw.s_sequence.set(sequence);
    raw.s_feature_incompat
        .set((Incompat::FAST_COMMIT | Incompat::BIT64).bits());
    raw.s_num_fc_blocks.set(64);
    bytes[JOURNAL as usize * BLOCK..][..1024].copy_from_slice(raw.as_bytes());
    bytes[FIRST..][..area.len()].copy_from_slice(area);
    bytes
}

fn read(bytes: Vec<u8>) -> core::result::Result<FastCommits, Error> {
    let runs = vec![Run {
        logical: 0,
        physical: JOURNAL,
        count: MAX_LEN,
    }];
    let area = JournalArea::new(MemoryDevice::new(bytes), BLOCK as u32, 48 << 10, runs)?;
    let replay = Journal::open(area)?.replay()?;
    assert!(replay.blocks.is_empty());
    assert_eq!(replay.is_empty(), replay.fast_commits.is_empty());
    Ok(replay.fast_commits)
}

/// Writes down what it is told to do.
#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    fail_at: Option<usize>,
}

impl Notes {
    fn note(&mut self, line: String) -> Result<()> {
        self.lines.push(line);
        if self.fail_at == Some(self.lines.len()) {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }
}

impl FastCommitTarget for Notes {
    fn begin(&mut self, ops: &[FastCommitOp]) -> Result<()> {
        self.note(format!("begin {}", ops.len()))
    }
    fn add_range(
        &mut self,
        ino: u32,
        logical: u32,
        physical: u64,
        count: u16,
        unwritten: bool,
    ) -> Result<()> {
        self.note(format!(
            "add {ino}: {logical} at {physical} x {count}{}",
            if unwritten { " unwritten" } else { "" }
        ))
    }
    fn del_range(&mut self, ino: u32, logical: u32, count: u32) -> Result<()> {
        self.note(format!("del {ino}: {logical} x {count}"))
    }
    fn set_inode(&mut self, ino: u32, raw: &[u8]) -> Result<()> {
        assert_eq!(
            raw.len(),
            128 + 32,
            "inodes of 256 bytes with i_extra_isize 32"
        );
        let mode = u16::from_le_bytes([raw[0], raw[1]]);
        self.note(format!("inode {ino}: {mode:o}"))
    }
    fn creat(&mut self, parent: u32, ino: u32, name: &[u8]) -> Result<()> {
        self.note(format!("creat {parent}/{} = {ino}", name.escape_ascii()))
    }
    fn link(&mut self, parent: u32, ino: u32, name: &[u8]) -> Result<()> {
        self.note(format!("link {parent}/{} = {ino}", name.escape_ascii()))
    }
    fn unlink(&mut self, parent: u32, ino: u32, name: &[u8]) -> Result<()> {
        self.note(format!("unlink {parent}/{} = {ino}", name.escape_ascii()))
    }
    fn finish(&mut self) -> Result<()> {
        self.note("finish".to_owned())
    }
}

/// The operations, as `debugfs -R "logdump -S"` of the image lists them too.
const OPS: &str = "\
begin 78
inode 19: 100644
add 19: 0 at 8706 x 7
creat 12/new1 = 19
inode 19: 100644
inode 20: 100644
add 20: 0 at 9217 x 7
creat 12/new2 = 20
inode 20: 100644
inode 21: 100644
add 21: 0 at 8713 x 7
creat 12/new3 = 21
inode 21: 100644
link 13/hard = 19
inode 19: 100644
link 12/renamed = 20
unlink 12/new2 = 20
inode 20: 100644
unlink 12/gone = 16
inode 16: 100644
add 16: 0 at 8720 x 1
creat 12/after = 16
inode 16: 100644
add 15: 4 at 8498 x 1
del 15: 5 x 2147483647
del 15: 2147483652 x 2147483643
inode 15: 100644
inode 22: 100755
add 22: 0 at 3359 x 29 unwritten
add 22: 29 at 3388 x 1
add 22: 30 at 3389 x 39 unwritten
creat 12/sparse = 22
inode 22: 100755
add 14: 97 at 3482 x 1
inode 14: 100644
inode 23: 40755
creat 12/newdir = 23
inode 24: 100644
add 24: 0 at 9224 x 1
creat 23/deep = 24
inode 24: 100644
inode 21: 104711
inode 25: 100644
add 25: 0 at 9225 x 1
creat 12/with a longer name 1 = 25
inode 26: 100644
creat 12/with a longer name 2 = 26
inode 27: 100644
creat 12/with a longer name 3 = 27
inode 28: 100644
creat 12/with a longer name 4 = 28
inode 29: 100644
creat 12/with a longer name 5 = 29
inode 30: 100644
creat 12/with a longer name 6 = 30
inode 31: 100644
creat 12/with a longer name 7 = 31
inode 32: 100644
creat 12/with a longer name 8 = 32
inode 33: 100644
creat 12/with a longer name 9 = 33
inode 34: 100644
creat 12/with a longer name 10 = 34
inode 35: 100644
creat 12/with a longer name 11 = 35
inode 36: 100644
creat 12/with a longer name 12 = 36
inode 25: 100644
inode 26: 100644
inode 27: 100644
inode 28: 100644
inode 29: 100644
inode 30: 100644
inode 31: 100644
inode 32: 100644
inode 33: 100644
inode 34: 100644
inode 35: 100644
inode 36: 100644
finish
";

#[test]
fn operations_of_the_kernel() {
    let found = read(volume(3, AREA)).unwrap();
    assert_eq!(found.commits, 12);
    let mut notes = Notes::default();
    apply(&found.ops, &mut notes).unwrap();
    assert_eq!(notes.lines.join("\n") + "\n", OPS);
    let mut notes = Notes {
        fail_at: Some(5),
        ..Notes::default()
    };
    assert_eq!(apply(&found.ops, &mut notes), Err(Errno::EIO));
    assert_eq!(notes.lines.len(), 5);
}

#[test]
fn fast_commits_of_another_transaction_are_old() {
    for sequence in [2, 4] {
        assert!(read(volume(sequence, AREA)).unwrap().is_empty());
    }
}

#[test]
fn an_unfinished_fast_commit_never_happened() {
    let all = read(volume(3, AREA)).unwrap().ops;
    for blocks in 0..=AREA.len() / BLOCK {
        let found = read(volume(3, &AREA[..blocks * BLOCK])).unwrap();
        // One block each but the last, which has five.
        let commits = if blocks < 16 { blocks.min(11) } else { 12 };
        assert_eq!(found.commits as usize, commits);
        assert!(all.starts_with(&found.ops));
    }
}

#[test]
fn any_broken_byte_ends_the_area_before_it() {
    let all = read(volume(3, AREA)).unwrap();
    let runs = vec![Run {
        logical: 0,
        physical: JOURNAL,
        count: MAX_LEN,
    }];
    let device = MemoryDevice::new(volume(3, AREA));
    let mut starts = vec![0];
    // How many operations are in whole fast commits before each block.
    for blocks in 1..=AREA.len() / BLOCK {
        starts.push(read(volume(3, &AREA[..blocks * BLOCK])).unwrap().ops.len());
    }
    for at in 0..AREA.len() {
        for flip in [0x01, 0x80, 0xFF] {
            device.bytes.lock().unwrap()[FIRST + at] ^= flip;
            let area =
                JournalArea::new(device.clone(), BLOCK as u32, 48 << 10, runs.clone()).unwrap();
            match Journal::open(area).unwrap().replay() {
                // What fills up the block behind a TAIL means nothing.
                Ok(found) if found.fast_commits.ops.len() == all.ops.len() => {
                    assert_eq!(AREA[at], 0)
                }
                Ok(found) => assert_eq!(
                    found.fast_commits.ops.len(),
                    starts[at / BLOCK],
                    "byte {at}"
                ),
                Err(error) => {
                    assert!((4..8).contains(&at) && matches!(error, Error::UnknownFastCommit(_)))
                }
            }
            device.bytes.lock().unwrap()[FIRST + at] ^= flip;
        }
    }
}

#[test]
fn fields_of_operations_are_checked() {
    // What a checksum cannot tell: written so by somebody. The values before are fine, the area ends at each of these.
    let value = |tag: u16, fields: &[&[u8]]| {
        let body = fields.concat();
        [
            &tag.to_le_bytes()[..],
            &(body.len() as u16).to_le_bytes(),
            &body,
        ]
        .concat()
    };
    let n = |number: u32| number.to_le_bytes();
    let extent = |ino: u32, logical: u32, count: u16, physical: u32| {
        value(
            1,
            &[
                &n(ino),
                &n(logical),
                &count.to_le_bytes(),
                &[0, 0],
                &n(physical),
            ],
        )
    };
    let good: Vec<Vec<u8>> = vec![
        extent(12, 0, 1, 100),
        extent(12, 7, 0x8000, 100),
        extent(12, 7, 0x8001, 100),
        value(2, &[&n(12), &n(0), &n(u32::MAX)]),
        value(3, &[&n(2), &n(12), b"a"]),
        value(4, &[&n(2), &n(12), &[b'x'; 255]]),
        value(5, &[&n(2), &n(12), b".hidden"]),
        value(6, &[&n(12), &[0; 128]]),
        value(7, &[]),
    ];
    let bad: Vec<Vec<u8>> = vec![
        extent(0, 0, 1, 100),
        extent(12, 0, 0, 100),
        extent(12, u32::MAX, 1, 100),
        extent(12, 0, 1, 0),
        extent(12, 0, 1, 48 << 10),
        extent(12, 0, 2, (48 << 10) - 1),
        extent(12, 0, 100, JOURNAL as u32 - 50),
        extent(12, 0, 0x8000, JOURNAL as u32 - 50),
        value(1, &[&n(12), &[0; 11]]),
        value(2, &[&n(12), &n(5), &n(0)]),
        value(2, &[&n(12), &n(2), &n(u32::MAX)]),
        value(2, &[&n(0), &n(5), &n(1)]),
        value(3, &[&n(2), &n(12)]),
        value(3, &[&n(0), &n(12), b"a"]),
        value(3, &[&n(2), &n(0), b"a"]),
        value(4, &[&n(2), &n(12), b"a/b"]),
        value(4, &[&n(2), &n(12), b"a\0"]),
        value(4, &[&n(2), &n(12), &[b'x'; 256]]),
        value(5, &[&n(2)]),
        value(6, &[&n(12), &[0; 127]]),
        value(6, &[&n(0), &[0; 128]]),
        value(10, &[&n(0)]),
        value(0, &[]),
    ];
    for (case, ok) in good
        .iter()
        .map(|case| (case, true))
        .chain(bad.iter().map(|case| (case, false)))
    {
        let mut block = [
            value(9, &[&n(0), &n(3)]),
            value(4, &[&n(2), &n(11), b"before"]),
            case.clone(),
        ]
        .concat();
        block.extend_from_slice(&[8, 0]);
        block.extend_from_slice(&((BLOCK - block.len() - 2) as u16).to_le_bytes());
        block.extend_from_slice(&n(3));
        let crc = crc::Crc::<u32>::new(&crc::Algorithm {
            init: 0,
            xorout: 0,
            ..crc::CRC_32_ISCSI
        })
        .checksum(&block);
        block.extend_from_slice(&n(crc));
        block.resize(BLOCK, 0);
        let found = read(volume(3, &block)).unwrap();
        assert_eq!(found.commits, u32::from(ok), "{case:?}");
        if ok {
            let before = Dentry {
                parent: 2,
                ino: 11,
                name: (*b"before").into(),
            };
            assert_eq!(found.ops[0], FastCommitOp::Link(before));
        }
    }
}
