//! The FFS checker: silent on every native image, and it finds each of a list of faults in images of both formats and byte orders.
//!
//! The faults are made by offsets alone ([`rump_tests::ufs`]), not with the driver's structures.

use rump_tests::{
    corpus, fixtures, hostile,
    tools::try_run,
    ufs::{DIRECTORY, REGULAR, Record, SYMLINK, Ufs},
};
use rumpfs_ffs::check::{Check, Error, Finding, Options, Phase, Summary, Watch, What};
use rumpuser::BlockDevice;
use rumpuser_posix::{Access, HostFile};
use rumpuser_sim::{Fault, MemDisk, Operation};
use std::{collections::BTreeSet, fs, sync::Arc};

const IMAGES: [&str; 4] = ["ffs1-le-8k", "ffs1-be-32k", "ffs2-be-4k", "ffs2-le-16k"];

#[derive(Default)]
struct Seen {
    phases: Vec<Phase>,
    findings: Vec<Finding>,
    stop: bool,
}

impl Watch for Seen {
    fn phase(&mut self, phase: Phase) {
        self.phases.push(phase);
    }

    fn finding(&mut self, finding: &Finding) {
        self.findings.push(finding.clone());
    }

    fn progress(&mut self, done: u64, total: u64) -> bool {
        assert!(done <= total);
        !self.stop
    }
}

impl Seen {
    fn all(&self) -> BTreeSet<What> {
        self.findings.iter().map(|finding| finding.what).collect()
    }

    fn text(&self) -> String {
        let lines: Vec<String> = self.findings.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }
}

fn check(device: Arc<dyn BlockDevice>, options: Options) -> (Seen, Summary) {
    let mut seen = Seen::default();
    let check = Check::open(device, options).unwrap();
    let summary = check.run(&mut seen).unwrap();
    assert_eq!(summary.findings, seen.findings.len() as u64);
    (seen, summary)
}

fn load(image: &str) -> Ufs {
    Ufs::new(fs::read(fixtures::image(image)).unwrap())
}

fn checked(ufs: &Ufs) -> Seen {
    let disk = Arc::new(MemDisk::from_bytes(&ufs.bytes));
    check(disk, Options::default()).0
}

#[test]
fn native_images_are_sound() {
    let made = corpus::made("ffs");
    assert!(made.len() >= IMAGES.len());
    let mut compared = 0;
    for case in made.into_iter().chain(corpus::given("ffs")) {
        let device = HostFile::open(&case.image, Access::ReadOnly).unwrap();
        let (seen, summary) = check(Arc::new(device), Options::default());
        assert!(seen.findings.is_empty(), "{}: {}", case.name, seen.text());
        assert!(seen.phases.is_sorted() && seen.phases.len() == 6);
        if case.name.contains("wapbl-live") {
            // What counts is in the journal.
            continue;
        }
        // The Sleuth Kit says what the summary does, if it knows the volume: not UFS2 at byte 8192, where makefs puts it.
        let (status, told) = try_run("fsstat", &[case.image.to_str().unwrap()]);
        if status != 0 {
            assert!(told.contains("Cannot determine file system type"), "{told}");
            continue;
        }
        compared += 1;
        let numbers = [summary.directories, summary.free_blocks, summary.free_frags];
        assert_eq!(numbers, sums(&told), "{}", case.name);
    }
    assert!(compared >= 2, "{compared} compared");
}

/// Directories, free blocks and fragments, from what fsstat tells of the summary of each group.
fn sums(told: &str) -> [u64; 3] {
    let names = [
        "Num of Dirs:",
        "Num of Avail Blocks:",
        "Num of Avail Frags:",
    ];
    let (mut sums, mut global) = ([0; 3], false);
    for line in told.lines().map(str::trim) {
        match line {
            _ if line.starts_with("Global Summary") => global = true,
            _ if line.starts_with("Local Summary") => global = false,
            _ => {}
        }
        for (sum, name) in sums.iter_mut().zip(names) {
            if let Some(number) = line.strip_prefix(name).filter(|_| global) {
                *sum += number.trim().parse::<u64>().unwrap();
            }
        }
    }
    sums
}

/// A way to break an image, and what has to be found then.
type Damage = (What, fn(&mut Ufs));

/// Breaks each image in each way; the finding is there, and nothing that the fault has nothing to do with.
fn find(faults: &[Damage]) {
    find_in(&IMAGES, faults);
}

fn find_in(images: &[&str], faults: &[Damage]) {
    for image in images {
        let good = load(image);
        for (number, (what, fault)) in faults.iter().enumerate() {
            let mut bad = good.clone();
            fault(&mut bad);
            let seen = checked(&bad);
            assert!(
                seen.all().contains(what),
                "{image}, fault {number}: no {what:?} in\n{}",
                seen.text()
            );
        }
    }
}

fn is(kind: u64) -> impl Fn(&Ufs, u64) -> bool {
    move |ufs, ino| ufs.kind(ino) == kind
}

/// A file with so many blocks, the last one not whole if `short`.
fn file(ufs: &Ufs, blocks: u64, short: bool) -> u64 {
    let block = ufs.block() as u64;
    ufs.find(|ufs, ino| {
        let size = ufs.file_size(ino);
        let first = ufs.pointer(ufs.direct(ino, 0));
        ufs.kind(ino) == REGULAR
            && first != 0
            && size.div_ceil(block) >= blocks
            && (!short
                || size.div_ceil(block) == blocks && size % block < block - ufs.frag() as u64)
    })
}

/// A directory below the root with a directory above and one below: the three.
fn line_of_directories(ufs: &Ufs) -> (u64, u64, u64) {
    let middle = ufs.find(|ufs, ino| {
        let is_dir = |record: &Record| {
            ![&b"."[..], b".."].contains(&&record.name[..]) && ufs.kind(record.ino) == DIRECTORY
        };
        ino != 2 && ufs.kind(ino) == DIRECTORY && ufs.records(ino).iter().any(is_dir)
    });
    let below = ufs.records(middle).into_iter().find(|record| {
        ![&b"."[..], b".."].contains(&&record.name[..]) && ufs.kind(record.ino) == DIRECTORY
    });
    (ufs.name_of(middle).0, middle, below.unwrap().ino)
}

fn some_directory(ufs: &Ufs) -> u64 {
    ufs.find(|ufs, ino| ino != 2 && ufs.kind(ino) == DIRECTORY && ufs.records(ino).len() > 3)
}

/// The record of a file in a directory below the root.
fn record(ufs: &Ufs) -> Record {
    let records = ufs.records(some_directory(ufs)).into_iter().skip(2);
    let mut files = records.filter(|record| ufs.kind(record.ino) == REGULAR);
    files.next().unwrap()
}

fn links(ufs: &Ufs, ino: u64) -> u64 {
    ufs.get(ufs.inode(ino) + 2, 2)
}

#[test]
fn faults_of_the_superblock_are_found() {
    for image in IMAGES {
        let mut fields = vec![
            (72, 4, 7, "bmask"),
            (76, 4, 7, "fmask"),
            (156, 4, 1 << 20, "cssize"),
            (60, 4, 200, "minfree"),
            (128, 4, 7, "optim"),
            (20, 4, 5, "dblkno"),
            (12, 4, 0, "cblkno"),
            (160, 4, 3, "cgsize"),
            (100, 4, 30, "fsbtodb"),
            (209, 1, 3, "clean"),
            (864, 1, 2, "journal_version"),
            (865, 1, 3, "journal_location"),
            (868, 4, 4, "journal_flags"),
            (1312, 4, 1 << 20, "flags"),
            (1316, 4, 99, "contigsumsize"),
            (1320, 4, 59, "maxsymlinklen"),
            (1328, 8, 1 << 40, "maxfilesize"),
            (1336, 8, 1, "qbmask"),
            (1344, 8, 1, "qfmask"),
        ];
        if !load(image).two {
            fields.extend([
                (36, 4, 7, "old_size"),
                (40, 4, 7, "old_dsize"),
                (152, 4, 7, "old_csaddr"),
                (136, 4, 0, "old_interleave"),
                (132, 4, 1, "old_npsect"),
            ]);
        }
        for (offset, len, value, name) in fields {
            let mut bad = load(image);
            bad.put(bad.superblock + offset, len, value);
            let seen = checked(&bad);
            let found = seen
                .findings
                .iter()
                .any(|finding| finding.what == What::SuperblockField && finding.detail == name);
            assert!(found, "{image}: no {name} in\n{}", seen.text());
        }
    }
    find(&[
        (What::SuperblockCopy, |ufs| {
            ufs.put(ufs.in_group(0, 8) + 1372, 4, 0)
        }),
        (What::SuperblockCopy, |ufs| {
            let at = ufs.in_group(0, 8);
            let value = ufs.get(at + 184, 4);
            ufs.put(at + 184, 4, value / 2);
        }),
        (What::PastDevice, |ufs| {
            let len = ufs.bytes.len() / 2;
            ufs.bytes.truncate(len);
        }),
        (What::Journal, |ufs| {
            let at = ufs.superblock;
            ufs.put(at + 864, 1, 1);
            ufs.put(at + 865, 1, 1);
            ufs.put(at + 1312, 4, 0x100);
        }),
    ]);
}

/// Says that the first block of a file without a name is the journal.
fn journal_inside(ufs: &mut Ufs) -> u64 {
    let ino = ufs.find(|ufs, ino| {
        is(REGULAR)(ufs, ino) && links(ufs, ino) == 1 && ufs.file_size(ino) > ufs.block() as u64
    });
    ufs.put(ufs.name_of(ino).1.at, 4, 0);
    ufs.put(ufs.inode(ino) + ufs.form().flags, 4, 0x40_0000);
    let frag = ufs.pointer(ufs.direct(ino, 0));
    let (at, sectors) = (ufs.superblock, ufs.frag() as u64 / 512);
    ufs.put(at + 864, 1, 1);
    ufs.put(at + 865, 1, 2);
    let count = ufs.block() as u64 / 512;
    for (n, value) in (0..).zip([frag * sectors, count, 512, ino]) {
        ufs.put(at + 872 + 8 * n, 8, value);
    }
    ino
}

#[test]
fn faults_of_inodes_that_the_superblock_lists_are_found() {
    for image in IMAGES {
        let mut good = load(image);
        let ino = journal_inside(&mut good);
        let seen = checked(&good);
        assert!(seen.findings.is_empty(), "{image}: {}", seen.text());
        let faults: [fn(&mut Ufs, u64); 6] = [
            |ufs, _| ufs.put(ufs.superblock + 896, 8, 1 << 40),
            |ufs, _| ufs.put(ufs.superblock + 896, 8, 2),
            |ufs, ino| ufs.put(ufs.inode(ino) + ufs.form().flags, 4, 0),
            |ufs, _| {
                ufs.put(
                    ufs.superblock + 872,
                    8,
                    ufs.free_block() * ufs.frag() as u64 / 512,
                )
            },
            |ufs, _| ufs.put(ufs.superblock + 880, 8, 1000),
            |ufs, ino| {
                let at = ufs.direct(ino, 0);
                let block = ufs.free_block();
                ufs.put_pointer(at, block);
            },
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            let mut bad = good.clone();
            fault(&mut bad, ino);
            let seen = checked(&bad);
            assert!(
                seen.all().contains(&What::JournalInode),
                "{image}, fault {number}:\n{}",
                seen.text()
            );
        }
    }
    find(&[
        (What::SnapshotInode, |ufs| {
            let ino = ufs.find(is(REGULAR));
            ufs.put(ufs.superblock + 1116, 4, ino);
        }),
        (What::SnapshotInode, |ufs| {
            ufs.put(ufs.superblock + 1116, 4, 0xFFFF_FFFF)
        }),
        (What::SnapshotInode, |ufs| {
            ufs.put(ufs.superblock + 1116, 4, some_directory(ufs))
        }),
    ]);
}

#[test]
fn faults_of_inodes_are_found() {
    find(&[
        (What::UnknownType, |ufs| {
            ufs.put(ufs.inode(ufs.find(is(REGULAR))), 2, 0o030_644)
        }),
        (What::PartlyAllocated, |ufs| {
            ufs.put(ufs.inode(ufs.find(is(REGULAR))), 2, 0)
        }),
        (What::Size, |ufs| {
            ufs.put_file_size(ufs.find(is(REGULAR)), u64::MAX)
        }),
        (What::DirectorySize, |ufs| {
            let ino = some_directory(ufs);
            ufs.put_file_size(ino, ufs.file_size(ino) - 1);
        }),
        (What::DirectorySize, |ufs| {
            ufs.put_file_size(some_directory(ufs), 1 << 40)
        }),
        (What::BlockCount, |ufs| {
            let ino = file(ufs, 2, false);
            let (blocks, len) = ufs.form().blocks;
            let at = ufs.inode(ino) + blocks;
            let value = ufs.get(at, len);
            ufs.put(at, len, value + 2);
        }),
        (What::LinkTarget, |ufs| {
            ufs.put(ufs.direct(ufs.find(is(SYMLINK)), 0), 1, 0)
        }),
        (What::LinkTarget, |ufs| {
            ufs.put_file_size(ufs.find(is(SYMLINK)), 0)
        }),
        (What::LinkTarget, |ufs| {
            ufs.put_file_size(ufs.find(is(SYMLINK)), 5000)
        }),
        (What::Pointers, |ufs| {
            let ino = ufs.find(|ufs, ino| ufs.kind(ino) == SYMLINK && ufs.file_size(ino) < 40);
            ufs.put_pointer(ufs.direct(ino, 11), 7);
        }),
        (What::Pointers, |ufs| {
            // What was a file is a FIFO.
            ufs.put(ufs.inode(file(ufs, 2, false)), 2, 0o010_644)
        }),
    ]);
}

/// A second file has the first block of one.
fn share_a_block(ufs: &mut Ufs) {
    let first = file(ufs, 2, false);
    let second = ufs.find(|ufs, ino| {
        ino != first && ufs.kind(ino) == REGULAR && ufs.file_size(ino) > ufs.block() as u64
    });
    ufs.put_pointer(ufs.direct(second, 0), ufs.pointer(ufs.direct(first, 0)));
}

#[test]
fn faults_of_blocks_are_found() {
    find(&[
        (What::BlockRange, |ufs| {
            ufs.put_pointer(ufs.direct(file(ufs, 2, false), 0), ufs.size())
        }),
        (What::BlockMetadata, |ufs| {
            ufs.put_pointer(ufs.direct(file(ufs, 2, false), 0), 8)
        }),
        (What::BlockMetadata, |ufs| {
            let at = ufs.direct(file(ufs, 2, false), 0);
            let frag = ufs.summary() / ufs.frag();
            let aligned = frag - frag % ufs.field(56);
            ufs.put_pointer(at, aligned as u64);
        }),
        (What::BlockAlignment, |ufs| {
            let at = ufs.direct(file(ufs, 2, false), 0);
            ufs.put_pointer(at, ufs.pointer(at) + 1);
        }),
        (What::Duplicate, share_a_block),
        (What::DuplicateFirst, share_a_block),
        (What::ManyBad, |ufs| {
            let ino = file(ufs, 2, false);
            ufs.put_file_size(ino, 12 * ufs.block() as u64);
            for n in 0..12 {
                ufs.put_pointer(ufs.direct(ino, n), ufs.size() + n as u64);
            }
        }),
        (What::PastEnd, |ufs| {
            ufs.put_pointer(ufs.direct(file(ufs, 1, true), 11), ufs.free_block())
        }),
        (What::PastEnd, |ufs| {
            ufs.put_pointer(ufs.indirect(file(ufs, 1, true), 2), ufs.free_block())
        }),
        (What::Hole, |ufs| {
            ufs.put_pointer(ufs.direct(some_directory(ufs), 0), 0)
        }),
    ]);
}

/// Four files have the block of one: three are told, and then whose it was.
#[test]
fn a_block_of_many_has_one_first_owner() {
    for image in IMAGES {
        let mut ufs = load(image);
        let used = ufs.used().into_iter();
        let files: Vec<u64> = used
            .filter(|ino| ufs.kind(*ino) == REGULAR && ufs.file_size(*ino) > ufs.block() as u64)
            .take(4)
            .collect();
        let frag = ufs.pointer(ufs.direct(files[0], 0));
        for ino in &files[1..] {
            ufs.put_pointer(ufs.direct(*ino, 0), frag);
        }
        let seen = checked(&ufs);
        let of = |what| {
            let findings = seen.findings.iter();
            let findings = findings.filter(|finding| finding.what == what);
            findings
                .map(|finding| finding.ino.unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(What::Duplicate), files[1..], "{image}");
        assert_eq!(of(What::DuplicateFirst), files[..1], "{image}");
    }
}

/// Many files share a tree of pointers: it is followed once, not once for each.
#[test]
fn shared_trees_are_followed_once() {
    let mut ufs = load("ffs2-be-4k");
    let owner = large(&ufs);
    let (tree, size) = (ufs.pointer(ufs.indirect(owner, 0)), 12 * 4096 + 512 * 4096);
    for ino in ufs.used().into_iter().filter(|ino| *ino > owner) {
        if ufs.kind(ino) == REGULAR {
            ufs.put_file_size(ino, size);
            ufs.put_pointer(ufs.indirect(ino, 0), tree);
        }
    }
    let reads = Arc::new(MemDisk::from_bytes(&ufs.bytes));
    let (seen, _) = check(reads.clone(), Options::default());
    assert!(seen.findings.len() > 100, "{}", seen.text());
    let counted = reads.counters().reads;
    assert!(counted < 4000, "{counted} reads");
}

/// The images with files that are large enough for blocks of pointers.
const WITH_INDIRECT: [&str; 3] = ["ffs1-le-8k", "ffs2-be-4k", "ffs2-le-16k"];

/// A file with blocks of pointers.
fn large(ufs: &Ufs) -> u64 {
    ufs.find(|ufs, ino| is(REGULAR)(ufs, ino) && ufs.pointer(ufs.indirect(ino, 0)) != 0)
}

#[test]
fn faults_of_blocks_of_pointers_are_found() {
    let faults: [Damage; 2] = [
        (What::PastEnd, |ufs| {
            // The last pointer of a block of them.
            let ino = large(ufs);
            let (pointers, _) = ufs.blocks(ino);
            let at = pointers.last().unwrap() + ufs.block() - ufs.form().pointer;
            let frag = ufs.free_block();
            ufs.put_pointer(at, frag);
        }),
        (What::BlockRange, |ufs| {
            let ino = large(ufs);
            let at = ufs.indirect(ino, 0);
            ufs.put_pointer(at, 0xFFFF_FFF0);
        }),
    ];
    find_in(&WITH_INDIRECT, &faults);
}

#[test]
fn faults_of_extended_attributes_are_found() {
    for image in ["ffs2-be-4k", "ffs2-le-16k"] {
        let with = |area: &[u8]| {
            let mut ufs = load(image);
            let ino = ufs.find(is(REGULAR));
            let (at, frag) = (ufs.inode(ino), ufs.free_block());
            ufs.put(at + 92, 4, area.len() as u64);
            ufs.put(at + 96, 8, frag);
            let byte = frag as usize * ufs.frag();
            ufs.bytes[byte..byte + area.len()].copy_from_slice(area);
            checked(&ufs).all()
        };
        let mut area = vec![0; 24];
        area[if image.contains("be") { 3 } else { 0 }] = 24;
        area[4..10].copy_from_slice(&[1, 3, 3, b'a', b'b', b'c']);
        let sound = with(&area);
        assert!(!sound.contains(&What::Attributes), "{sound:?}");
        // Its block is not in the block count, nor in the map.
        assert!(sound.contains(&What::BlockCount) && sound.contains(&What::FragMapFree));
        area[5] = 99;
        assert!(with(&area).contains(&What::Attributes));
        assert!(with(&[0xFF; 64]).contains(&What::Attributes));
    }
}

#[test]
fn faults_of_directories_are_found() {
    find(&[
        (What::RootMissing, |ufs| ufs.put(ufs.inode(2), 2, 0)),
        (What::RootType, |ufs| ufs.put(ufs.inode(2), 2, 0o100_644)),
        (What::Record, |ufs| ufs.put(record(ufs).at + 4, 2, 0)),
        (What::Record, |ufs| {
            let record = record(ufs);
            ufs.put(record.at + 4, 2, record.len as u64 + 2);
        }),
        (What::Record, |ufs| ufs.put(record(ufs).at + 4, 2, 60_000)),
        (What::Record, |ufs| ufs.put(record(ufs).at + 7, 1, 0)),
        (What::RecordName, |ufs| {
            ufs.put(record(ufs).at + 8, 1, b'/'.into())
        }),
        (What::RecordName, |ufs| ufs.put(record(ufs).at + 8, 1, 0)),
        (What::DotMissing, |ufs| {
            ufs.put(ufs.records(some_directory(ufs))[0].at + 8, 1, b'x'.into())
        }),
        // A record that is not in use comes first, or between the two.
        (What::DotMissing, |ufs| {
            ufs.put(ufs.records(some_directory(ufs))[0].at, 4, 0)
        }),
        (What::DotDotMissing, |ufs| {
            let dot = ufs.records(some_directory(ufs))[0].at;
            let moved = ufs.bytes[dot + 12..dot + 24].to_vec();
            ufs.bytes[dot + 24..dot + 36].copy_from_slice(&moved);
            ufs.put(dot + 12, 4, 0);
            ufs.put(dot + 16, 2, 12);
            ufs.put(dot + 24 + 4, 2, 512 - 24);
        }),
        (What::DotInode, |ufs| {
            ufs.put(ufs.records(some_directory(ufs))[0].at, 4, 2)
        }),
        (What::DotDotMissing, |ufs| {
            ufs.put(ufs.records(some_directory(ufs))[1].at + 9, 1, b'x'.into())
        }),
        (What::DotDotInode, |ufs| {
            let (_, middle, below) = line_of_directories(ufs);
            let at = ufs.records(below)[1].at;
            assert_ne!(middle, 2);
            ufs.put(at, 4, 2);
        }),
        (What::DotExtra, |ufs| {
            let at = record(ufs).at;
            ufs.put(at + 7, 1, 1);
            ufs.put(at + 8, 2, if ufs.big { 0x2E00 } else { 0x2E });
        }),
        (What::InodeRange, |ufs| {
            ufs.put(record(ufs).at, 4, 0xFFFF_FFF0)
        }),
        (What::InodeFree, |ufs| {
            let at = ufs.inode(record(ufs).ino);
            let len = ufs.form().len;
            ufs.bytes[at..at + len].fill(0);
        }),
        (What::InodeBad, |ufs| {
            ufs.put_pointer(ufs.direct(file(ufs, 2, false), 0), 8)
        }),
        (What::RecordType, |ufs| ufs.put(record(ufs).at + 6, 1, 4)),
        (What::Whiteout, |ufs| ufs.put(record(ufs).at + 6, 1, 14)),
        (What::Whiteout, |ufs| ufs.put(record(ufs).at, 4, 1)),
        (What::SeveralParents, |ufs| {
            let (_, _, below) = line_of_directories(ufs);
            let at = record(ufs).at;
            ufs.put(at, 4, below);
        }),
        (What::DirectorySkipped, |ufs| {
            ufs.put_pointer(ufs.direct(some_directory(ufs), 0), 8)
        }),
    ]);
}

#[test]
fn faults_of_the_tree_are_found() {
    find(&[
        (What::UnreferencedDirectory, |ufs| {
            let (_, middle, _) = line_of_directories(ufs);
            ufs.put(ufs.name_of(middle).1.at, 4, 0);
        }),
        (What::Loop, |ufs| {
            // A directory is moved into one that it holds.
            let (_, middle, below) = line_of_directories(ufs);
            ufs.put(ufs.name_of(middle).1.at, 4, 0);
            let inside = ufs.records(below).into_iter().nth(2).expect("something");
            ufs.put(inside.at, 4, middle);
        }),
        (What::LinkCount, |ufs| {
            let ino = ufs.find(is(REGULAR));
            ufs.put(ufs.inode(ino) + 2, 2, links(ufs, ino) + 1);
        }),
        (What::LinkCount, |ufs| {
            ufs.put(ufs.inode(2) + 2, 2, links(ufs, 2) - 1)
        }),
        (What::UnreferencedFile, |ufs| {
            let record = record(ufs);
            ufs.put(ufs.inode(record.ino) + 2, 2, 1);
            ufs.put(record.at, 4, 0);
        }),
        (What::ZeroLinks, |ufs| {
            let ino = ufs.find(|ufs, ino| is(REGULAR)(ufs, ino) && links(ufs, ino) == 1);
            let (name, inode) = (ufs.name_of(ino).1.at, ufs.inode(ino) + 2);
            ufs.put(inode, 2, 0);
            ufs.put(name, 4, 0);
        }),
    ]);
}

#[test]
fn faults_of_groups_are_found() {
    find(&[
        (What::Group, |ufs| ufs.put(ufs.group(0) + 4, 4, 1)),
        (What::Group, |ufs| ufs.put(ufs.group(0) + 12, 4, 1)),
        (What::Group, |ufs| ufs.put(ufs.group(0) + 92, 4, 60_000)),
        (What::Group, |ufs| ufs.put(ufs.group(0) + 96, 4, 60_000)),
        (What::GroupField, |ufs| {
            ufs.put(ufs.group(0) + 40, 4, 0x1000_0000)
        }),
        (What::GroupField, |ufs| {
            ufs.put(ufs.group(0) + 48, 4, 0x1000_0000)
        }),
        (What::GroupField, |ufs| {
            let at = ufs.group(0);
            let frags = ufs.get(at + 20, 4);
            ufs.put(at + 20, 4, frags - 8);
        }),
        (What::GroupField, |ufs| ufs.put(ufs.group(0) + 112, 4, 3)),
        (What::InodeMapFree, |ufs| {
            let map = ufs.table(0, 92);
            ufs.bytes[map] &= !4;
        }),
        (What::InodeMapUsed, |ufs| {
            let map = ufs.table(0, 96);
            ufs.bytes[map - 1] |= 0x80;
        }),
        (What::FragMapFree, |ufs| {
            let map = ufs.table(0, 96);
            ufs.bytes[map] |= 1;
        }),
        (What::FragMapUsed, |ufs| {
            let map = ufs.table(0, 96);
            let frag = ufs.free_block() as usize;
            ufs.bytes[map + frag / 8] &= !(1 << (frag % 8));
        }),
        (What::ClusterMap, |ufs| {
            let map = ufs.table(0, 108);
            ufs.bytes[map] ^= 1;
        }),
        (What::ClusterSums, |ufs| {
            ufs.put(ufs.table(0, 104) + 4, 4, 77)
        }),
        (What::FragSums, |ufs| ufs.put(ufs.group(0) + 52 + 4, 4, 77)),
        (What::GroupCounts, |ufs| ufs.put(ufs.group(0) + 24, 4, 3)),
        (What::GroupCounts, |ufs| ufs.put(ufs.group(0) + 28, 4, 3)),
        (What::GroupCounts, |ufs| ufs.put(ufs.group(0) + 32, 4, 3)),
        (What::GroupCounts, |ufs| ufs.put(ufs.group(0) + 36, 4, 3000)),
        (What::Summary, |ufs| ufs.put(ufs.summary() + 4, 4, 3)),
        (What::Total, |ufs| ufs.put(ufs.superblock + 1008 + 8, 8, 3)),
    ]);
}

#[test]
fn faults_of_groups_of_ufs1_are_found() {
    let faults: [Damage; 3] = [
        (What::GroupField, |ufs| ufs.put(ufs.group(0) + 18, 2, 1)),
        (What::Group, |ufs| ufs.put(ufs.group(0) + 84, 4, 60_000)),
        (What::GroupField, |ufs| ufs.put(ufs.group(0) + 88, 4, 200)),
    ];
    find_in(&["ffs1-le-8k", "ffs1-be-32k"], &faults);
}

/// The old layout of UFS1: its rotational tables are looked at, which makefs leaves empty.
#[test]
fn rotational_tables_of_the_old_layout_are_checked() {
    for image in ["ffs1-le-8k", "ffs1-be-32k"] {
        let mut ufs = load(image);
        ufs.make_old_layout();
        let wrong = checked(&ufs);
        let expected = BTreeSet::from([What::Rotational]);
        assert_eq!(wrong.all(), expected, "{}", wrong.text());
        let group = ufs.group(0);
        let free = ufs.get(group + 28, 4);
        let tables = ufs.table(0, 84);
        ufs.put(tables, 4, free);
        ufs.put(tables + 4, 2, free);
        let sound = checked(&ufs);
        assert!(sound.findings.is_empty(), "{}", sound.text());
    }
}

/// The tables of 4.2BSD have one size, however many cylinders the superblock tells of.
#[test]
fn tables_of_the_oldest_groups_are_no_larger_than_they_are() {
    let mut ufs = load("ffs1-le-8k");
    ufs.make_oldest_groups();
    let sound = checked(&ufs);
    let expected = BTreeSet::from([What::Rotational]);
    assert_eq!(sound.all(), expected, "{}", sound.text());
    for cylinders in [33, 0x7FFF_FFFF] {
        ufs.put(ufs.superblock + 180, 4, cylinders);
        let seen = checked(&ufs);
        assert!(!seen.all().contains(&What::Group), "{}", seen.text());
    }
}

/// A journal that is in use: two headers, and records with images, revocations and inodes.
#[test]
fn faults_of_the_journal_are_found() {
    let format = hostile::format("ffs").unwrap();
    for image in [
        "made-ffs1-journal",
        "made-ffs1-journal-little",
        "made-ffs2-journal",
        "made-ffs2-journal-big",
    ] {
        let good = Ufs::new(format.load(image).to_bytes());
        let seen = checked(&good);
        assert!(seen.findings.is_empty(), "{image}: {}", seen.text());
        let start = good.get(good.superblock + 872, 8) as usize * 512;
        let (ring, headers) = (start + 1024, [start, start + 512]);
        let mut faults = vec![
            (vec![ring], 4, 7),
            (vec![ring + 4], 4, 512),
            (vec![ring + 4], 4, 1 << 20),
            (vec![ring + 8], 4, 1000),
            (vec![ring + 16], 8, 1 << 40),
            (vec![ring + 16 + 12], 4, 100),
            (vec![ring + 3 * 512 + 8], 4, 1000),
            (vec![ring + 4 * 512 + 4], 4, 1024),
            (vec![ring + 4 * 512 + 8], 4, 1000),
        ];
        for (field, len, value) in [
            (0, 4, 7),
            (36, 4, 2),
            (40, 4, 30),
            (48, 8, 1 << 30),
            (48, 8, 1),
            (56, 8, 1024 + 512),
            (64, 8, 512),
            (72, 8, 1 << 30),
        ] {
            faults.push((headers.map(|header| header + field).to_vec(), len, value));
        }
        for (number, (places, len, value)) in faults.into_iter().enumerate() {
            let mut bad = good.clone();
            for at in places {
                bad.put(at, len, value);
            }
            let seen = checked(&bad);
            assert!(
                seen.all().contains(&What::Journal),
                "{image}, fault {number}:\n{}",
                seen.text()
            );
        }
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    for image in WITH_INDIRECT {
        let ufs = load(image);
        let indirect = large(&ufs);
        for byte in [
            ufs.inode(2),
            ufs.group(0),
            ufs.summary(),
            ufs.records(2)[0].at,
            ufs.blocks(indirect).0[0],
        ] {
            let byte = byte as u64;
            let disk = MemDisk::from_bytes(&ufs.bytes);
            disk.inject(Fault::on(Operation::Read).range(byte..byte + 512));
            let (seen, _) = check(Arc::new(disk), Options::default());
            assert!(
                seen.all().contains(&What::Unreadable),
                "{image}, {byte}: {}",
                seen.text()
            );
        }
    }
}

#[test]
fn findings_have_paths() {
    let mut ufs = load("ffs2-be-4k");
    let record = record(&ufs);
    let (dir, _) = ufs.name_of(record.ino);
    ufs.put(record.at + 6, 1, 4);
    let seen = checked(&ufs);
    let mut path = vec![record.name.clone()];
    let mut here = some_directory(&ufs);
    assert!(dir != 0 && here != 2);
    while here != 2 {
        let (parent, name) = ufs.name_of(here);
        path.push(name.name);
        here = parent;
    }
    path.reverse();
    let path = [&b"/"[..], &path.join(&b'/')].concat();
    assert_eq!(seen.findings.len(), 1, "{}", seen.text());
    assert_eq!(seen.findings[0].path.as_deref(), Some(&path[..]));
}

#[test]
fn a_copy_of_the_superblock_will_do() {
    for image in IMAGES {
        let mut ufs = load(image);
        let (own, copy) = (ufs.superblock, ufs.in_group(0, 8) as u64);
        ufs.bytes[own + 1372] ^= 0xFF;
        let disk = Arc::new(MemDisk::from_bytes(&ufs.bytes));
        assert!(Check::open(disk.clone(), Options::default()).is_err());
        let options = Options {
            superblock: Some(copy),
            ..Options::default()
        };
        let (seen, _) = check(disk, options);
        // Its own counts are those of the day on which it was made.
        let others = seen.all().into_iter().filter(|what| *what != What::Total);
        assert_eq!(others.count(), 0, "{image}: {}", seen.text());
    }
}

#[test]
fn memory_is_bounded_and_a_check_can_be_stopped() {
    let ufs = load("ffs2-be-4k");
    let disk: Arc<dyn BlockDevice> = Arc::new(MemDisk::from_bytes(&ufs.bytes));
    let options = Options {
        memory: 2000,
        ..Options::default()
    };
    let check = Check::open(disk.clone(), options).unwrap();
    let ended = check.run(&mut Seen::default());
    assert_eq!(ended.err(), Some(Error::TooLarge));
    let mut seen = Seen {
        stop: true,
        ..Seen::default()
    };
    let ended = Check::open(disk, Options::default())
        .unwrap()
        .run(&mut seen);
    assert_eq!(ended.err(), Some(Error::Stopped));
}
