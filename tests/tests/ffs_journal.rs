//! The journal of FFS as a mount uses it: made inside a volume, gone on with, left by a crash with files that were open.

use rump_tests::{
    conformance::Shorthand as _,
    corpus,
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, run},
    tree,
};
use rumpfs_ffs::{
    check::{Check, Finding, Options, Phase, Watch},
    superblock::{Superblock, find},
};
use rumpkern::OpenFlags;
use rumpuser::{BlockDevice as _, Errno};
use rumpuser_sim::{Loss, MemDisk};
use rumpvfs::{
    Calls as _,
    calls::{At, MountFlags},
};
use std::{fs, sync::Arc};

struct Findings(Vec<Finding>);

impl Watch for Findings {
    fn phase(&mut self, _phase: Phase) {}

    fn finding(&mut self, finding: &Finding) {
        self.0.push(finding.clone());
    }

    fn progress(&mut self, _done: u64, _total: u64) -> bool {
        true
    }
}

/// The checker finds nothing; inodes in use and free fragments.
fn check(disk: &Arc<MemDisk>) -> (u64, u64) {
    let check = Check::open(disk.clone(), Options::default()).unwrap();
    assert_eq!(check.journal_error(), None);
    let mut findings = Findings(vec![]);
    let summary = check.run(&mut findings).unwrap();
    assert_eq!(findings.0, []);
    (summary.files, summary.free())
}

fn superblock(disk: &MemDisk) -> Superblock {
    find(disk).unwrap().unwrap().check().unwrap()
}

/// An empty volume that ends with its device.
fn volume(order: &str, layout: &str) -> Arc<MemDisk> {
    volume_of("9m", order, layout)
}

/// The same, of any size that makefs understands.
fn volume_of(size: &str, order: &str, layout: &str) -> Arc<MemDisk> {
    let dir = TempDir::new();
    let (image, tree) = (dir.file("volume.img"), dir.file("tree"));
    fs::create_dir(&tree).unwrap();
    let args = [
        "-t", "ffs", "-s", size, "-f", "1000", "-B", order, "-o", layout,
    ];
    run("makefs", &[&args[..], &[&*image, &*tree]].concat());
    Arc::new(MemDisk::from_bytes(&fs::read(&image).unwrap()))
}

const LOG: &[(&str, Option<&str>)] = &[("log", None)];

fn mount(disk: &Arc<MemDisk>, options: &[(&str, Option<&str>)]) -> Mounted {
    Mounted::with_options("ffs", disk.clone(), false, options).unwrap()
}

fn path(name: &str) -> String {
    format!("{MOUNT_POINT}/{name}")
}

const LAYOUTS: [(&str, &str); 4] = [
    ("le", "version=1,bsize=8192,fsize=1024"),
    ("be", "version=1,bsize=4096,fsize=512"),
    ("le", "version=2,bsize=16384,fsize=2048"),
    ("be", "version=2,bsize=8192,fsize=1024"),
];

#[test]
fn a_journal_is_made_inside_and_used_again() {
    for (order, layout) in LAYOUTS {
        let disk = volume(order, layout);
        let (files, free) = check(&disk);
        mount(&disk, LOG).unmount();
        let after = superblock(&disk);
        let place = after.journal.unwrap();
        assert_eq!((place.version, place.location), (1, 2), "{layout}");
        assert_eq!((after.log, after.clean), (None, 1));
        assert_eq!(place.count * place.block_size, 1 << 20);
        let (with, left) = check(&disk);
        assert_eq!(with, files + 1);
        let frags = (1 << 20) / after.frag_size();
        assert!(
            left <= free - frags && left + 64 >= free - frags,
            "{layout}"
        );
        // It stays where it is, used or not.
        for options in [LOG, &[]] {
            let mounted = mount(&disk, options);
            let in_use = superblock(&disk.crash_image(Loss::None, 1)).log;
            assert_eq!(in_use, (!options.is_empty()).then_some(place), "{layout}");
            mounted.proc.mkdirat(At::Cwd, path("dir"), 0o755).unwrap();
            mounted.proc.unlinkat(At::Cwd, path("dir"), true).unwrap();
            mounted.unmount();
            assert_eq!(superblock(&disk).journal, Some(place));
            assert_eq!(check(&disk), (with, left));
        }
    }
}

/// A transaction changes more bytes where fragments are large: a journal of a 1024th of the volume would be refused.
#[test]
fn a_journal_is_made_large_enough_for_large_blocks() {
    for (order, layout) in [
        ("le", "version=1,bsize=32768,fsize=32768"),
        ("be", "version=2,bsize=32768,fsize=4096"),
        ("le", "version=2,bsize=65536,fsize=16384"),
    ] {
        let disk = volume_of("64m", order, layout);
        let (files, _) = check(&disk);
        for _ in 0..2 {
            let mounted = mount(&disk, LOG);
            let in_use = superblock(&disk.crash_image(Loss::None, 1)).log;
            assert!(in_use.is_some(), "{layout}");
            mounted.proc.mkdirat(At::Cwd, path("dir"), 0o755).unwrap();
            mounted.proc.unlinkat(At::Cwd, path("dir"), true).unwrap();
            mounted.unmount();
            assert_eq!(superblock(&disk).clean, 1, "{layout}");
            assert_eq!(check(&disk).0, files + 1, "{layout}");
        }
    }
}

/// What cannot be had is refused, and the volume needs no check afterwards.
#[test]
fn a_journal_that_cannot_be_made_leaves_the_volume_clean() {
    let layout = "version=2,bsize=65536,fsize=16384";
    let full = volume_of("64m", "le", layout);
    let mounted = mount(&full, &[]);
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY;
    let file = mounted.proc.open(path("filler"), flags, 0o644).unwrap();
    let data = vec![7; 1 << 20];
    let mut filled = 0;
    while let Ok(count) = mounted.proc.pwrite(file, &data, filled) {
        filled += count as u64;
    }
    mounted.proc.close(file).unwrap();
    mounted.unmount();
    let asked = volume_of("64m", "be", layout);
    ask(&asked, "be", 1, Some(1 << 20));
    for (disk, errno) in [(full, Errno::ENOSPC), (asked, Errno::EROFS)] {
        let before = check(&disk);
        let refused = Mounted::with_options("ffs", disk.clone(), false, LOG);
        assert_eq!(refused.err().map(|(errno, _)| errno), Some(errno));
        assert_eq!(superblock(&disk).clean, 1);
        assert_eq!(check(&disk), before);
        mount(&disk, &[]).unmount();
        assert_eq!(check(&disk), before);
    }
}

#[test]
fn open_files_without_names_are_freed_after_a_crash() {
    for (order, layout) in LAYOUTS {
        let disk = volume(order, layout);
        mount(&disk, LOG).unmount();
        let before = check(&disk);
        let mounted = mount(&disk, LOG);
        let proc = &mounted.proc;
        let mut open = vec![];
        for n in 0..70 {
            let name = path(&format!("open{n}"));
            let flags = OpenFlags::RDWR | OpenFlags::CREAT;
            let fd = proc.open(&name, flags, 0o644).unwrap();
            proc.write(fd, &vec![n; 200 * usize::from(n)]).unwrap();
            proc.unlinkat(At::Cwd, &name, false).unwrap();
            open.push(fd);
        }
        proc.sync().unwrap();
        let crashed = Arc::new(disk.crash_image(Loss::All, 1));
        assert!(superblock(&crashed).log.is_some());
        // Still there, known to be dead; without the option it is gone on with all the same.
        let (files, _) = check(&crashed);
        assert_eq!(files, before.0 + 70, "{layout}");
        mount(&crashed, &[]).unmount();
        assert_eq!(superblock(&crashed).log, None);
        assert_eq!(check(&crashed), before, "{layout}");
        for fd in open {
            proc.close(fd).unwrap();
        }
        mounted.unmount();
        assert_eq!(check(&disk), before, "{layout}");
    }
}

/// Volumes of NetBSD's kernel: the one that was in use is replayed and written to, and reads as its manifest has it.
#[test]
fn journals_of_netbsd_are_gone_on_with() {
    for case in corpus::given("ffs") {
        let disk = MemDisk::from_bytes(&fs::read(&case.image).unwrap());
        let found = superblock(&disk);
        if found.journal.is_none() {
            continue;
        }
        let disk = Arc::new(disk);
        let reading = Mounted::on_device("ffs", disk.clone(), true).unwrap();
        let before = tree::from_mount(&reading.proc, MOUNT_POINT);
        reading.unmount();
        let mounted = mount(&disk, LOG);
        assert_eq!(tree::from_mount(&mounted.proc, MOUNT_POINT), before);
        mounted.proc.mkdirat(At::Cwd, path("new"), 0o755).unwrap();
        mounted.proc.sync().unwrap();
        let crashed = Arc::new(disk.crash_image(Loss::All, 1));
        mounted.unmount();
        let again = mount(&crashed, &[]);
        again.proc.unlinkat(At::Cwd, path("new"), true).unwrap();
        again.unmount();
        for disk in [&disk, &crashed] {
            let after = superblock(disk);
            assert_eq!((after.journal, after.log), (found.journal, None));
            assert_eq!(after.clean, 1);
            check(disk);
        }
    }
}

/// A volume whose journal has a directory that the rest has not, as a power cut leaves it.
fn dirty(order: &str, layout: &str) -> Arc<MemDisk> {
    let disk = volume(order, layout);
    let mounted = mount(&disk, LOG);
    mounted
        .proc
        .mkdirat(At::Cwd, path("before"), 0o755)
        .unwrap();
    mounted.proc.sync().unwrap();
    let crashed = Arc::new(disk.crash_image(Loss::All, 1));
    mounted.unmount();
    assert!(superblock(&crashed).log.is_some());
    crashed
}

#[test]
fn a_volume_that_is_read_is_replayed_when_it_is_to_be_written() {
    for (order, layout) in LAYOUTS {
        let disk = dirty(order, layout);
        let mounted = Mounted::on_device("ffs", disk.clone(), true).unwrap();
        let proc = &mounted.proc;
        proc.stat(path("before")).unwrap();
        let open = proc.open(path("before"), OpenFlags::DIRECTORY, 0).unwrap();
        let untouched = disk.crash_image(Loss::None, 1);
        assert!(superblock(&untouched).log.is_some(), "{layout}");
        // There and back, and there again.
        for name in ["first", "second"] {
            proc.remount(MOUNT_POINT, MountFlags::default()).unwrap();
            proc.mkdirat(At::Fd(open), name, 0o755).unwrap();
            proc.remount(MOUNT_POINT, MountFlags::RDONLY).unwrap();
            let clean = superblock(&disk.crash_image(Loss::None, 1));
            assert_eq!((clean.log, clean.clean), (None, 1), "{layout}");
        }
        proc.close(open).unwrap();
        mounted.unmount();
        check(&disk);
        let again = mount(&disk, &[]);
        for name in ["before/first", "before/second"] {
            again.proc.stat(path(name)).unwrap();
        }
        again.unmount();
    }
}

/// `fs_journal_flags` of tunefs(8), and the size that a journal is to have.
fn ask(disk: &Arc<MemDisk>, order: &str, flags: u32, bytes: Option<u64>) {
    let at = superblock(disk).at;
    let number = |n: u64, len: usize| match order {
        "le" => n.to_le_bytes()[..len].to_vec(),
        _ => n.to_be_bytes()[8 - len..].to_vec(),
    };
    disk.write_at(at + 868, &number(flags.into(), 4)).unwrap();
    if let Some(bytes) = bytes {
        // Version 1, inside; its blocks are not known yet.
        disk.write_at(at + 864, &[1, 2]).unwrap();
        for (n, value) in (0..).zip([0, bytes, 0, 0]) {
            disk.write_at(at + 872 + 8 * n, &number(value, 8)).unwrap();
        }
    }
}

#[test]
fn a_journal_is_given_up_and_made_as_tunefs_asks() {
    const CREATE: u32 = 1;
    const CLEAR: u32 = 2;
    for (order, layout) in LAYOUTS {
        let empty = check(&volume(order, layout));
        // One that is not in use; one that is, though it has nothing yet (a replay would bring back the superblock of before).
        let unused = volume(order, layout);
        mount(&unused, LOG).unmount();
        let mounted = mount(&unused, LOG);
        let used = Arc::new(unused.crash_image(Loss::None, 1));
        mounted.unmount();
        assert!(superblock(&used).log.is_some());
        for disk in [unused, used] {
            ask(&disk, order, CLEAR, None);
            // Reading changes nothing.
            Mounted::on_device("ffs", disk.clone(), true)
                .unwrap()
                .unmount();
            assert!(superblock(&disk).journal.is_some());
            mount(&disk, &[]).unmount();
            let after = superblock(&disk);
            assert_eq!((after.journal, after.journal_flags), (None, 0), "{layout}");
            assert_eq!((after.log, after.clean), (None, 1), "{layout}");
            assert_eq!(check(&disk), empty, "{layout}");
        }
        // Cleared, and another one made in the same mount.
        let disk = volume(order, layout);
        mount(&disk, LOG).unmount();
        ask(&disk, order, CLEAR, None);
        mount(&disk, LOG).unmount();
        let after = superblock(&disk);
        assert_eq!((after.journal_flags, after.clean), (0, 1), "{layout}");
        assert_eq!(after.journal.unwrap().location, 2);
        assert_eq!(check(&disk).0, empty.0 + 1, "{layout}");
        // As large as was asked for.
        let disk = volume(order, layout);
        ask(&disk, order, CREATE, Some(2 << 20));
        mount(&disk, LOG).unmount();
        let after = superblock(&disk);
        let place = after.journal.unwrap();
        assert_eq!((after.journal_flags, place.location), (0, 2), "{layout}");
        assert_eq!(place.count * place.block_size, 2 << 20, "{layout}");
        check(&disk);
    }
}

#[test]
fn a_directory_gets_shorter_when_a_name_is_made() {
    for (order, layout) in LAYOUTS {
        for options in [&[][..], LOG] {
            let disk = volume(order, layout);
            let m = mount(&disk, options);
            m.proc.mkdir(&path("dir"), 0o755).unwrap();
            let fd = m.proc.open(path("file"), OpenFlags::CREAT, 0o644).unwrap();
            m.proc.close(fd).unwrap();
            let size = |m: &Mounted| m.proc.stat(path("dir")).unwrap().size;
            let link = |m: &Mounted, name: &str| m.proc.link(&path("file"), &path(name)).unwrap();
            let long = |n: u32| format!("dir/{n:0240}");
            link(&m, &long(0));
            m.unmount();
            let (files, free) = check(&disk);
            // Two names to a block of 512 bytes, one to the first; so many that pointers lie outside of the inode.
            let m = mount(&disk, options);
            (1..1200).for_each(|n| link(&m, &long(n)));
            let large = size(&m);
            assert_eq!(large, 601 * 512);
            (300..1200).for_each(|n| m.proc.unlink(&path(&long(n))).unwrap());
            assert_eq!(size(&m), large);
            link(&m, "dir/next");
            assert_eq!(size(&m), 151 * 512, "{layout}");
            // A name in the last block keeps them all.
            (300..400).for_each(|n| link(&m, &long(n)));
            (1..399).for_each(|n| m.proc.unlink(&path(&long(n))).unwrap());
            link(&m, "dir/one more");
            assert_eq!(size(&m), 201 * 512, "{layout}");
            m.unmount();
            check(&disk);
            let m = mount(&disk, options);
            let mut names = tree::list(&m.proc, path("dir").as_bytes()).unwrap();
            names.sort();
            let wanted = [&long(0)[4..], &long(399)[4..], "next", "one more"];
            assert_eq!(names, wanted.map(|name| name.as_bytes().to_vec()));
            for name in [&long(399), "dir/next", "dir/one more"] {
                m.proc.unlink(&path(name)).unwrap();
            }
            m.proc.rename(&path("file"), &path("dir/file")).unwrap();
            assert_eq!(size(&m), 512, "{layout}");
            m.proc.rename(&path("dir/file"), &path("file")).unwrap();
            m.unmount();
            assert_eq!(check(&disk), (files, free), "{layout}");
        }
    }
}

#[test]
fn a_file_that_finds_no_room_has_no_pointers_behind_its_end() {
    for (order, layout) in LAYOUTS {
        for options in [&[][..], LOG] {
            let disk = volume(order, layout);
            let block = usize::try_from(superblock(&disk).block_size()).unwrap();
            let m = mount(&disk, options);
            let open = |name: &str| {
                let flags = OpenFlags::CREAT | OpenFlags::WRONLY;
                m.proc.open(path(name), flags, 0o644).unwrap()
            };
            let (file, filler) = (open("file"), open("filler"));
            let data = vec![7; 11 * block];
            let mut filled = 0;
            while let Ok(count) = m.proc.pwrite(filler, &data[..block], filled) {
                filled += count as u64;
            }
            let mut half = 0;
            for less in 11..17 {
                m.proc
                    .ftruncate(filler, filled - less * block as u64)
                    .unwrap();
                m.proc.ftruncate(file, 0).unwrap();
                m.proc.sync().unwrap();
                // The thirteenth block needs one of pointers besides: where there is room for one of the two, the call is done by half.
                assert_eq!(m.proc.pwrite(file, &data, 0), Ok(data.len()));
                let written = m.proc.pwrite(file, &data[..2 * block], data.len() as u64);
                half += usize::from(written == Ok(block));
                m.proc.sync().unwrap();
                let copy = Arc::new(disk.crash_image(Loss::None, 1));
                mount(&copy, &[("force", None)]).unmount();
                check(&copy);
            }
            m.proc.close(file).unwrap();
            m.proc.close(filler).unwrap();
            m.unmount();
            check(&disk);
            assert!(half > 0, "{layout}");
        }
    }
}

/// What a volume of NetBSD says about its journal: `fs_clean`, `fs_flags`, and all from `fs_journal_version` on.
fn said(disk: &MemDisk) -> (u8, u32, Vec<u8>) {
    let mut bytes = vec![0; 1376];
    disk.read_at(superblock(disk).at, &mut bytes).unwrap();
    let flags = u32::from_le_bytes(bytes[1312..1316].try_into().unwrap());
    (bytes[209], flags, bytes[864..904].to_vec())
}

#[test]
fn netbsds_volumes_say_of_their_journal_what_netbsd_has_them_say() {
    for case in corpus::given("ffs1-64m-wapbl") {
        let disk = Arc::new(MemDisk::from_bytes(&fs::read(&case.image).unwrap()));
        let (_, _, fields) = said(&disk);
        // Version 1, inside, nothing asked for: so it is in use and not.
        assert_eq!(fields[..8], [1, 2, 0, 0, 0, 0, 0, 0], "{}", case.name);
        let (unused, used) = ((1, 0, fields.clone()), (2, 0x100, fields));
        let live = case.name.contains("live");
        assert_eq!(
            said(&disk),
            if live { used.clone() } else { unused.clone() }
        );
        for options in [&[][..], LOG, LOG] {
            let m = mount(&disk, options);
            if options == LOG {
                assert_eq!(
                    said(&disk.crash_image(Loss::None, 1)),
                    used,
                    "{}",
                    case.name
                );
            }
            m.unmount();
            assert_eq!(said(&disk), unused, "{}", case.name);
        }
    }
}
