//! FAT: every image reads back to its manifest; every kind of write and random operations leave volumes in which fsck.fat
//! finds nothing and which 7-Zip reads the same.

use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use rump_tests::{
    conformance::Shorthand as _,
    corpus,
    model::{Format, Model, Op, Place},
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, run},
    tree::{self, Tree, list, read_file},
};
use rumpkern::{Errno, OpenFlags, Timespec};
use rumpuser_posix::{Access, HostFile};
use rumpuser_sim::MemDisk;
use rumpvfs::{
    Calls as _,
    calls::{At, MountFlags, RenameFlags, SetTime},
};
use std::{fs, sync::Arc};

/// Asserts that the native checker finds nothing.
fn fsck(image: &str) {
    run("fsck.fat", &["-n", image]);
}

/// A new volume.
fn mkfs(dir: &TempDir, options: &str, size: &str) -> String {
    let image = dir.file("volume.img");
    run("truncate", &["-s", size, &image]);
    let mut arguments: Vec<&str> = options.split(' ').collect();
    arguments.push(&image);
    run("mkfs.fat", &arguments);
    image
}

#[test]
fn images_show_their_manifests_and_do_not_change() {
    let mut wrong = Vec::new();
    let mut cases = corpus::made("msdosfs");
    cases.extend(corpus::given("fat"));
    for case in &cases {
        case.check_read_only("msdosfs", &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn images_mounted_for_writing_stay_clean() {
    let dir = TempDir::new();
    let mut wrong = Vec::new();
    let mut cases = corpus::made("msdosfs");
    cases.extend(corpus::given("fat"));
    for case in &cases {
        let copy = dir.path().join("copy.img");
        fs::copy(&case.image, &copy).unwrap();
        case.check("msdosfs", &copy, "read-write", false, &mut wrong);
        fsck(copy.to_str().unwrap());
        case.check("msdosfs", &copy, "read again", true, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A volume mounted for writing, worked on, unmounted, and checked.
fn with_volume(options: &str, size: &str, work: impl FnOnce(&Mounted)) -> (TempDir, String) {
    let dir = TempDir::new();
    let image = mkfs(&dir, options, size);
    let mounted = Mounted::new("msdosfs", &image, false);
    work(&mounted);
    mounted.unmount();
    fsck(&image);
    (dir, image)
}

fn at(path: &str) -> String {
    format!("{MOUNT_POINT}/{path}")
}

fn put(mounted: &Mounted, path: &str, data: &[u8]) {
    let flags = OpenFlags::CREAT | OpenFlags::TRUNC | OpenFlags::WRONLY;
    let fd = mounted.proc.open(at(path), flags, 0o644).unwrap();
    assert_eq!(mounted.proc.write(fd, data), Ok(data.len()));
    mounted.proc.close(fd).unwrap();
}

fn get(mounted: &Mounted, path: &str) -> Vec<u8> {
    read_file(&mounted.proc, at(path).as_bytes()).unwrap()
}

fn names(mounted: &Mounted, path: &str) -> Vec<String> {
    let names = list(&mounted.proc, at(path).as_bytes()).unwrap();
    let mut names: Vec<_> = names
        .into_iter()
        .map(|name| String::from_utf8(name).unwrap())
        .collect();
    names.sort();
    names
}

/// With mirroring off (bit 7 of the flags at byte 40) one FAT counts and is kept; the other is left as it is.
#[test]
fn only_the_active_fat_is_kept() {
    let (_dir, image) = with_volume("-F 32 -s 1", "40M", |mounted| {
        put(mounted, "one", &[1; 100_000]);
    });
    let mut bytes = fs::read(&image).unwrap();
    let reserved = usize::from(u16::from_le_bytes([bytes[14], bytes[15]])) * 512;
    let len = u32::from_le_bytes(bytes[36..40].try_into().unwrap()) as usize * 512;
    let (first, second) = (reserved..reserved + len, reserved + len..reserved + 2 * len);
    bytes[40..42].copy_from_slice(&0x81_u16.to_le_bytes());
    bytes[first.clone()].fill(0x55);
    fs::write(&image, &bytes).unwrap();
    let mounted = Mounted::new("msdosfs", &image, false);
    assert_eq!(get(&mounted, "one"), [1; 100_000]);
    put(&mounted, "two", &[2; 50_000]);
    mounted.unmount();
    let mut bytes = fs::read(&image).unwrap();
    let kept = bytes[first.clone()].iter().position(|byte| *byte != 0x55);
    assert_eq!(kept, None);
    // Programs that keep both find nothing wrong when the active one is made both.
    bytes.copy_within(second, first.start);
    bytes[40..42].fill(0);
    fs::write(&image, &bytes).unwrap();
    fsck(&image);
    let told = run("mtype", &["-i", &image, "::two"]);
    assert_eq!(told.as_bytes(), [2; 50_000]);
}

/// A volume's clock may be ahead of Greenwich: what is on the medium is its time.
#[test]
fn times_are_those_of_the_volumes_clock() {
    // 2026-01-02 03:04:06 UTC.
    const MOMENT: i64 = 1_767_323_046;
    let dir = TempDir::new();
    let image = mkfs(&dir, "-F 16", "20M");
    let mount = |minutes| {
        let device = HostFile::open(&image, Access::ReadWrite).unwrap();
        let options = [("time_offset", Some(minutes))];
        Mounted::with_options("msdosfs", Arc::new(device), false, &options).unwrap()
    };
    let mounted = mount("90");
    put(&mounted, "file", b"");
    let to = SetTime::To(Timespec::from_secs(MOMENT));
    mounted.proc.utimens(&at("file"), to, to).unwrap();
    assert_eq!(mounted.proc.stat(at("file")).unwrap().mtime.sec, MOMENT);
    mounted.unmount();
    let told = run("mdir", &["-i", &image, "::"]);
    assert!(told.contains("2026-01-02   4:34"), "{told}");
    let mounted = mount("0");
    let seen = mounted.proc.stat(at("file")).unwrap().mtime.sec;
    assert_eq!(seen, MOMENT + 90 * 60);
    mounted.unmount();
}

/// A short name as it is on the medium, in the host's conversion.
fn short_name(dir: &TempDir, page: &str, base: &str, extension: &str) -> Vec<u8> {
    let encoded = |text: &str, len: usize| {
        let (from, to) = (dir.file("from"), dir.file("to"));
        fs::write(&from, text).unwrap();
        // Where there is nothing to convert it writes nothing.
        fs::write(&to, "").unwrap();
        let page = format!("CP{page}");
        run("iconv", &["-f", "UTF-8", "-t", &page, "-o", &to, &from]);
        let mut bytes = fs::read(&to).unwrap();
        bytes.resize(len, b' ');
        bytes
    };
    let mut name = [encoded(base, 8), encoded(extension, 3)].concat();
    if name[0] == 0xE5 {
        name[0] = 5;
    }
    name
}

/// A code page, a name that another system makes, and names with their extensions that we make.
type Page = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

#[test]
fn short_names_have_characters_of_two_bytes() {
    let pages: [Page; 4] = [
        (
            "932",
            "表ソ",
            &[
                ("日本語名", "ア"),
                ("蛻", "TXT"),
                ("ﾃｽﾄ", "TXT"),
                ("Ａ", ""),
                ("日ア", ""),
            ],
        ),
        ("936", "乗", &[("中文", "文"), ("乧А", "TXT"), ("鰽", "")]),
        ("949", "똠", &[("한국", "말"), ("갂", "TXT")]),
        ("950", "功許", &[("中文", "檔"), ("台灣", "TXT")]),
    ];
    for (page, theirs, all) in pages {
        let dir = TempDir::new();
        let image = mkfs(&dir, "-F 12", "2M");
        let mount = || {
            let device = HostFile::open(&image, Access::ReadWrite).unwrap();
            let options = [("codepage", Some(page))];
            Mounted::with_options("msdosfs", Arc::new(device), false, &options)
                .unwrap_or_else(|(error, messages)| panic!("{error}: {messages:?}"))
        };
        let full = |(base, extension): &(&str, &str)| match *extension {
            "" => base.to_string(),
            _ => format!("{base}.{extension}"),
        };
        let mut wanted: Vec<String> = all.iter().map(full).collect();
        let m = mount();
        for name in &wanted {
            put(&m, &name.to_lowercase(), name.as_bytes());
        }
        m.unmount();
        fsck(&image);
        // No long names: lower case is a flag, or there is none.
        let bytes = fs::read(&image).unwrap();
        let slots = bytes.as_chunks::<32>().0;
        for (base, extension) in all {
            let name = short_name(&dir, page, base, extension);
            let count = slots.iter().filter(|slot| slot[..11] == name).count();
            assert_eq!(count, 1, "{page}, {base}: {name:x?}");
        }
        let config = dir.file("mtoolsrc");
        let line = format!("drive x: file=\"{image}\" codepage={page}\n");
        fs::write(&config, line).unwrap();
        let mtools = |program: &[&str]| {
            let config = format!("MTOOLSRC={config}");
            run(
                "timeout",
                &[&["20", "env", "LC_ALL=C.UTF-8", &config], program].concat(),
            )
        };
        let listed = mtools(&["mdir", "-b", "x:"]).to_uppercase();
        let name = &wanted[0];
        assert!(listed.contains(name), "{page}, {name}: {listed}");
        // An entry as Windows makes it: mtools cuts such names too short.
        let (base, file) = (theirs, dir.file("file"));
        fs::write(&file, "theirs").unwrap();
        mtools(&["mcopy", &file, "x:/THEIRS.ZZ"]);
        let mut bytes = fs::read(&image).unwrap();
        let slots = bytes.as_chunks_mut::<32>().0;
        let slot = slots
            .iter_mut()
            .find(|slot| slot.starts_with(b"THEIRS  ZZ "));
        slot.unwrap()[..11].copy_from_slice(&short_name(&dir, page, base, "ZZ"));
        fs::write(&image, bytes).unwrap();
        let theirs = format!("{base}.ZZ");
        let m = mount();
        wanted.push(theirs.clone());
        wanted.sort();
        let mut seen: Vec<String> = names(&m, "")
            .iter()
            .map(|name| name.to_uppercase())
            .collect();
        seen.sort();
        assert_eq!(seen, wanted, "{page}");
        assert_eq!(get(&m, &theirs.to_lowercase()), b"theirs");
        // A second name in another case is the same.
        let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::WRONLY;
        let again = m.proc.open(at(&wanted[0]), flags, 0o644);
        assert_eq!(again, Err(Errno::EEXIST), "{page}");
        // A backslash that is half a character is not in a short name.
        put(&m, "功表", b"long");
        m.proc.rename(&at(&theirs), &at("renamed")).unwrap();
        m.unmount();
        fsck(&image);
        assert_eq!(get(&mount(), "功表"), b"long");
    }
}

#[test]
fn a_name_is_the_same_in_any_case_and_keeps_its_own() {
    let (_dir, image) = with_volume("-F 16", "16M", |m| {
        put(m, "Read Me.text", b"1");
        assert_eq!(get(m, "READ ME.TEXT"), b"1");
        assert_eq!(get(m, "readme~1.tex"), b"1");
        put(m, "read me.TEXT", b"22");
        assert_eq!(names(m, ""), ["Read Me.text"]);
        let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::WRONLY;
        let again = m.proc.open(at("READ me.text"), flags, 0o644);
        assert_eq!(again, Err(Errno::EEXIST));
        // The name takes another form; nothing is lost.
        m.proc
            .rename(&at("read me.text"), &at("READ ME.text"))
            .unwrap();
        assert_eq!(names(m, ""), ["READ ME.text"]);
        assert_eq!(get(m, "Read me.Text"), b"22");
        m.proc.unlink(&at("read me.text")).unwrap();
        assert_eq!(m.proc.stat(at("READ ME.text")).err(), Some(Errno::ENOENT));
        // Dots at the end do not count.
        put(m, "dots...", b"3");
        assert_eq!(names(m, ""), ["dots"]);
        assert_eq!(get(m, "dots."), b"3");
        for bad in [
            "a:b",
            "a*b",
            "what?",
            "pipe|",
            "quo\"te",
            "back\\slash",
            "...",
        ] {
            let made = m.proc.open(at(bad), flags, 0o644);
            assert_eq!(made, Err(Errno::EINVAL), "{bad}");
        }
    });
    assert!(run("7z", &["l", &image]).contains("dots"));
}

#[test]
fn short_names_are_made_as_windows_does() {
    let (_dir, image) = with_volume("-F 16", "16M", |m| {
        for n in 1..=6 {
            put(m, &format!("A long name {n}.text"), b"");
        }
        put(m, "SHORT.TXT", b"");
        put(m, "lower.txt", b"");
    });
    let listing = run("mdir", &["-b", "-a", "-i", &image, "::"]);
    assert!(listing.contains("SHORT.TXT") && listing.contains("lower.txt"));
    let full = run("mdir", &["-a", "-i", &image, "::"]);
    for short in ["ALONGN~1 TEX", "ALONGN~4 TEX", "SHORT    TXT"] {
        assert!(full.contains(short), "{short}: {full}");
    }
    // From the fifth on with a checksum.
    assert!(!full.contains("ALONGN~5"), "{full}");
}

#[test]
fn what_was_open_when_it_was_removed_lives_on() {
    with_volume("-F 32 -s 1", "40M", |m| {
        put(m, "file", &[7; 5000]);
        let fd = m.proc.open(at("file"), OpenFlags::RDWR, 0).unwrap();
        m.proc.unlink(&at("file")).unwrap();
        // The entry's slot is free, but must not be taken: the number of the open file is made from it.
        put(m, "other", b"other");
        let mut back = [0; 5000];
        assert_eq!(m.proc.pread(fd, &mut back, 0), Ok(5000));
        assert!(back.iter().all(|byte| *byte == 7));
        m.proc.close(fd).unwrap();
        put(m, "third", b"third");
        assert_eq!(get(m, "other"), b"other");
    });
}

#[test]
fn what_grows_is_zero() {
    // A volume full of old content.
    let dir = TempDir::new();
    let image = mkfs(&dir, "-F 16", "16M");
    let mounted = Mounted::new("msdosfs", &image, false);
    put(&mounted, "old", &[0xAA; 8 << 20]);
    mounted.proc.unlink(&at("old")).unwrap();
    mounted.unmount();
    let mounted = Mounted::new("msdosfs", &image, false);
    put(&mounted, "file", b"start");
    let fd = mounted.proc.open(at("file"), OpenFlags::RDWR, 0).unwrap();
    mounted.proc.pwrite(fd, b"end", 3_000_000).unwrap();
    mounted.proc.ftruncate(fd, 4_000_000).unwrap();
    mounted.proc.close(fd).unwrap();
    mounted.unmount();
    fsck(&image);
    let mounted = Mounted::new("msdosfs", &image, true);
    let mut expected = vec![0; 4_000_000];
    expected[..5].copy_from_slice(b"start");
    expected[3_000_000..3_000_003].copy_from_slice(b"end");
    assert!(get(&mounted, "file") == expected);
    mounted.unmount();
}

#[test]
fn a_full_volume_refuses_and_stays_clean() {
    with_volume("-F 12 -s 1", "1M", |m| {
        let flags = OpenFlags::CREAT | OpenFlags::WRONLY;
        let fd = m.proc.open(at("big"), flags, 0o644).unwrap();
        let block = [1; 65_536];
        let full = std::iter::repeat_with(|| m.proc.write(fd, &block))
            .take(64)
            .find_map(Result::err);
        assert_eq!(full, Some(Errno::ENOSPC));
        m.proc.close(fd).unwrap();
        assert_eq!(
            m.proc.mkdirat(At::Cwd, at("dir"), 0o755),
            Err(Errno::ENOSPC)
        );
        m.proc.unlink(&at("big")).unwrap();
        m.proc.mkdirat(At::Cwd, at("dir"), 0o755).unwrap();
        // A fixed root directory has a fixed number of slots.
        let made = (0..600).map(|n| {
            let fd = m.proc.open(at(&format!("{n}")), flags, 0o644)?;
            m.proc.close(fd)
        });
        let full = made.filter_map(Result::err).next();
        assert_eq!(full, Some(Errno::ENOSPC));
    });
}

/// A FAT16 volume as bytes, so that its FAT can be broken.
struct Raw {
    bytes: Vec<u8>,
}

impl Raw {
    fn read(image: &str) -> Self {
        let bytes = fs::read(image).unwrap();
        Self { bytes }
    }

    fn word(&self, at: usize) -> usize {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]).into()
    }

    /// Byte of the entry of a file with that short name.
    fn entry(&self, name: &[u8; 11]) -> usize {
        let found = self.bytes.windows(11).position(|part| part == name);
        found.expect("a file of that name")
    }

    /// Clusters of a file, in order.
    fn chain(&self, name: &[u8; 11]) -> Vec<usize> {
        let fat = self.word(14) * 512;
        let mut next = self.word(self.entry(name) + 26);
        let mut chain = Vec::new();
        while (2..0xFFF0).contains(&next) {
            chain.push(next);
            next = self.word(fat + 2 * next);
        }
        chain
    }

    /// Has one cluster lead to another.
    fn lead(&mut self, from: usize, to: usize) {
        let (start, fat) = (self.word(14) * 512, self.word(22) * 512);
        for at in [start, start + fat] {
            let at = at + 2 * from;
            self.bytes[at..at + 2].copy_from_slice(&(to as u16).to_le_bytes());
        }
    }

    /// Has a file begin elsewhere, and be so many bytes long.
    fn begin(&mut self, name: &[u8; 11], at: usize, size: u32) {
        let entry = self.entry(name) + 26;
        self.bytes[entry..entry + 2].copy_from_slice(&(at as u16).to_le_bytes());
        self.bytes[entry + 2..entry + 6].copy_from_slice(&size.to_le_bytes());
    }
}

/// A volume with two files of twenty clusters and another, broken by `damage`.
fn cross_linked(damage: impl FnOnce(&mut Raw)) -> (TempDir, String) {
    let (dir, image) = with_volume("-F 16 -s 1", "4M", |m| {
        put(m, "A", &[0xA; 20 * 512]);
        put(m, "B", &[0xB; 20 * 512]);
        put(m, "C", &[0xC; 512]);
    });
    let mut raw = Raw::read(&image);
    damage(&mut raw);
    fs::write(&image, &raw.bytes).unwrap();
    (dir, image)
}

const A: &[u8; 11] = b"A          ";
const B: &[u8; 11] = b"B          ";

/// What `lines` of the kernel's messages say.
fn messages(mounted: &Mounted) -> String {
    let messages = mounted.kernel.log().since(0);
    let texts: Vec<_> = messages.into_iter().map(|m| m.text).collect();
    texts.join("\n")
}

/// No way to change a file works; reading does.
fn unchangeable(m: &Mounted, name: &str) {
    let before = get(m, name);
    let path = at(name);
    let refused = Some(Errno::EPERM);
    assert_eq!(m.proc.open(&path, OpenFlags::WRONLY, 0).err(), refused);
    assert_eq!(m.proc.truncate(&path, 600).err(), refused);
    assert_eq!(m.proc.unlink(&path).err(), refused);
    assert_eq!(m.proc.rename(&path, &at("elsewhere")).err(), refused);
    assert_eq!(m.proc.rename(&at("C"), &path).err(), refused);
    assert!(get(m, name) == before);
}

#[test]
fn files_that_share_clusters_are_not_changed() {
    let ends: [fn(&mut Raw); 2] = [
        // The ends of both are one.
        |raw| raw.lead(raw.chain(A)[4], raw.chain(B)[5]),
        // A circle and what leads into it.
        |raw| raw.lead(raw.chain(A)[19], raw.chain(B)[3]),
    ];
    for damage in ends {
        let (_dir, image) = cross_linked(damage);
        let before = Raw::read(&image);
        let m = Mounted::new("msdosfs", &image, false);
        assert!(messages(&m).contains("belong to two files"));
        unchangeable(&m, "A");
        unchangeable(&m, "B");
        // The rest of the volume goes on.
        put(&m, "C", &[0xCC; 5000]);
        put(&m, "D", &[0xD; 100_000]);
        m.proc.unlink(&at("C")).unwrap();
        m.unmount();
        let after = Raw::read(&image);
        for name in [A, B] {
            assert_eq!(before.chain(name), after.chain(name));
        }
        // Mounted for reading nothing is looked for.
        let m = Mounted::new("msdosfs", &image, true);
        assert!(!messages(&m).contains("two files"));
        assert!(get(&m, "D") == [0xD; 100_000]);
        m.unmount();
    }
}

#[test]
fn a_file_that_begins_inside_another_is_not_changed() {
    let inside = |raw: &mut Raw| raw.begin(B, raw.chain(A)[7], 13 * 512);
    let (_dir, image) = cross_linked(inside);
    let m = Mounted::new("msdosfs", &image, false);
    unchangeable(&m, "B");
    unchangeable(&m, "A");
    m.unmount();
    // The other way round the first is not known to share anything: what it would give back is not taken.
    for size in [512, 10 * 512] {
        let m = Mounted::new("msdosfs", &image, false);
        let a = m.proc.open(at("A"), OpenFlags::RDWR, 0).unwrap();
        let b = get(&m, "B");
        assert_eq!(m.proc.ftruncate(a, size), Err(Errno::EIO));
        assert!(messages(&m).contains("not one file's alone"));
        assert_eq!(m.proc.mkdirat(At::Cwd, at("dir"), 0o755), Err(Errno::EROFS));
        assert!(get(&m, "B") == b);
        assert_eq!(get(&m, "A").len(), 20 * 512);
        m.proc.close(a).unwrap();
        let _ = m.proc.unmount(MOUNT_POINT, false);
        drop(m);
        let m = Mounted::new("msdosfs", &image, true);
        assert!(get(&m, "B") == b);
        m.unmount();
    }
}

#[test]
fn two_entries_with_one_first_cluster_are_not_changed() {
    let same = |raw: &mut Raw| raw.begin(B, raw.chain(A)[0], 13 * 512);
    let (_dir, image) = cross_linked(same);
    let before = Raw::read(&image);
    let m = Mounted::new("msdosfs", &image, false);
    unchangeable(&m, "A");
    unchangeable(&m, "B");
    put(&m, "C", &[0xCC; 5000]);
    m.proc.rename(&at("C"), &at("D")).unwrap();
    put(&m, "C", &[0xC; 700]);
    m.proc.truncate(at("D"), 0).unwrap();
    put(&m, "E", &[0xE; 5000]);
    for name in ["C", "D", "E"] {
        m.proc.unlink(&at(name)).unwrap();
    }
    assert_eq!(messages(&m).matches("another file has cluster").count(), 2);
    m.unmount();
    let after = Raw::read(&image);
    for name in [A, B] {
        assert_eq!(before.chain(name), after.chain(name));
    }
}

#[test]
fn two_directories_with_entries_of_one_first_cluster() {
    let (_dir, image) = with_volume("-F 16 -s 1", "4M", |m| {
        m.proc.mkdirat(At::Cwd, at("D"), 0o755).unwrap();
        put(m, "A", &[0xA; 20 * 512]);
        put(m, "D/B", &[0xB; 20 * 512]);
    });
    let mut raw = Raw::read(&image);
    raw.begin(B, raw.chain(A)[0], 20 * 512);
    fs::write(&image, &raw.bytes).unwrap();
    let m = Mounted::new("msdosfs", &image, false);
    // The first that is looked at does not know; the second does, and what the first would give back is not taken.
    let a = m.proc.open(at("A"), OpenFlags::RDWR, 0).unwrap();
    let refused = Some(Errno::EPERM);
    assert_eq!(m.proc.unlink(&at("D/B")).err(), refused);
    assert_eq!(m.proc.ftruncate(a, 3 * 512), Err(Errno::EIO));
    assert_eq!(m.proc.mkdirat(At::Cwd, at("dir"), 0o755), Err(Errno::EROFS));
    assert!(get(&m, "D/B") == [0xA; 20 * 512]);
    m.proc.close(a).unwrap();
    let _ = m.proc.unmount(MOUNT_POINT, false);
}

#[test]
fn a_volume_with_shared_clusters_is_not_made_writable() {
    let (_dir, image) = cross_linked(|raw| raw.lead(raw.chain(A)[4], raw.chain(B)[5]));
    let m = Mounted::new("msdosfs", &image, true);
    let writable = m.proc.remount(MOUNT_POINT, MountFlags::empty());
    assert_eq!(writable, Err(Errno::EROFS));
    assert_eq!(get(&m, "A").len(), 20 * 512);
    m.unmount();
}

#[test]
fn a_large_gap_takes_no_memory_on_a_disk_in_memory() {
    let dir = TempDir::new();
    let image = mkfs(&dir, "-F 32 -s 1", "40M");
    let disk = Arc::new(MemDisk::from_bytes(&fs::read(&image).unwrap()));
    let before = disk.pieces().len();
    let m = Mounted::simulated("msdosfs", disk.clone(), 1).unwrap();
    let flags = OpenFlags::CREAT | OpenFlags::RDWR;
    let fd = m.proc.open(at("f"), flags, 0o644).unwrap();
    m.proc.pwrite(fd, b"end", 35 << 20).unwrap();
    m.proc.close(fd).unwrap();
    m.unmount();
    // Of the FAT, and of the two clusters with data.
    let added = disk.pieces().len() - before;
    assert!(added < 30, "{added} pieces of {} bytes", MemDisk::PIECE);
}

#[test]
fn the_largest_file() {
    with_volume("-F 32 -s 64", "5G", |m| {
        let flags = OpenFlags::CREAT | OpenFlags::WRONLY;
        let fd = m.proc.open(at("largest"), flags, 0o644).unwrap();
        let most = u64::from(u32::MAX);
        assert_eq!(m.proc.pwrite(fd, b"x", most), Err(Errno::EFBIG));
        assert_eq!(m.proc.ftruncate(fd, most + 1), Err(Errno::EFBIG));
        m.proc.ftruncate(fd, most).unwrap();
        assert_eq!(m.proc.pwrite(fd, b"x", most - 1), Ok(1));
        m.proc.close(fd).unwrap();
        assert_eq!(m.proc.stat(at("largest")).unwrap().size, most);
        m.proc.truncate(at("largest"), 10).unwrap();
    });
}

#[test]
fn directories_move_with_their_parent_entry() {
    with_volume("-F 32 -s 1", "40M", |m| {
        for dir in ["a", "b", "a/sub", "a/sub/deep"] {
            m.proc.mkdirat(At::Cwd, at(dir), 0o755).unwrap();
        }
        m.proc.rename(&at("a/sub"), &at("b/moved")).unwrap();
        assert_eq!(names(m, "b/moved"), ["deep"]);
        assert_eq!(names(m, "b/moved/deep/../.."), ["moved"]);
        let noreplace = m.proc.renameat(
            (At::Cwd, at("a").as_bytes()),
            (At::Cwd, at("B").as_bytes()),
            RenameFlags::NOREPLACE,
        );
        assert_eq!(noreplace, Err(Errno::EEXIST));
        assert_eq!(m.proc.rename(&at("a"), &at("b")), Err(Errno::ENOTEMPTY));
        m.proc.rename(&at("b/moved"), &at("top")).unwrap();
        assert_eq!(names(m, "top/.."), ["a", "b", "top"]);
        m.proc.rename(&at("a"), &at("b")).unwrap();
        assert_eq!(names(m, ""), ["b", "top"]);
    });
}

#[test]
fn what_a_directory_leaves_is_where_its_name_was() {
    let (_dir, image) = with_volume("-F 32 -s 1", "40M", |m| {
        // The name of the second one begins in one cluster and ends in another, before which the medium has its own first cluster.
        let (one, two) = ("1".repeat(150), "2".repeat(150));
        for dir in ["a", &format!("a/{one}"), &format!("a/{two}")] {
            m.proc.mkdirat(At::Cwd, at(dir), 0o755).unwrap();
        }
        m.proc
            .rename(&at(&format!("a/{two}")), &at("moved"))
            .unwrap();
        let long = "3".repeat(170);
        put(m, &format!("moved/{long}"), b"3");
        m.proc.sync().unwrap();
        assert_eq!(names(m, "moved"), [long]);
    });
    let mounted = Mounted::new("msdosfs", &image, true);
    assert_eq!(names(&mounted, "moved"), ["3".repeat(170)]);
    mounted.unmount();
}

fn place() -> impl Strategy<Value = Place> {
    (any::<u16>(), any::<u8>()).prop_map(|(dir, name)| Place {
        dir,
        // Not the names that are no UTF-8.
        name: if matches!(name % 48, 10 | 11) {
            12
        } else {
            name
        },
    })
}

fn operation() -> impl Strategy<Value = Op> {
    let n = any::<u16>;
    prop_oneof![
        10 => (place(), n()).prop_map(|(p, m)| Op::Create(p, m | 0o600)),
        12 => (n(), any::<u32>(), any::<u32>(), any::<u8>())
            .prop_map(|(file, offset, len, fill)| Op::Write { file, offset, len, fill }),
        8 => (n(), n(), any::<u8>()).prop_map(|(file, len, fill)| Op::Append { file, len, fill }),
        6 => (n(), any::<u32>()).prop_map(|(file, size)| Op::Truncate { file, size }),
        5 => (place(), n()).prop_map(|(p, m)| Op::Mkdir(p, m)),
        5 => place().prop_map(Op::Rmdir),
        9 => place().prop_map(Op::Unlink),
        2 => (place(), any::<u32>()).prop_map(|(p, l)| Op::UnlinkOpen(p, l)),
        12 => (place(), place()).prop_map(|(a, b)| Op::Rename(a, b, 0)),
        3 => (place(), place()).prop_map(|(a, b)| Op::Rename(a, b, 1)),
        1 => n().prop_map(Op::Fsync),
        1 => Just(Op::Sync),
    ]
}

/// What the format keeps of a tree.
fn only_contents(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        (node.mode, node.uid, node.gid, node.nlink) = (0, 0, 0, 0);
        (node.mtime, node.xattrs) = (None, None);
    }
    tree
}

const SEQUENCES: u32 = 10;
const OPERATIONS: usize = 1_000;
/// A new mount after so many operations.
const REMOUNT: usize = 250;

fn check(options: &str, size: &str, ops: &[Op]) {
    let dir = TempDir::new();
    let image = mkfs(&dir, options, size);
    let mut model = Model::new(Format {
        granularity: 2_000_000_000,
        max: i64::from(i32::MAX),
        xattrs: false,
    });
    for part in ops.chunks(REMOUNT) {
        let mounted = Mounted::new("msdosfs", &image, false);
        for op in part {
            model.step(&mounted.proc, MOUNT_POINT, op);
        }
        mounted.unmount();
    }
    fsck(&image);
    let expected = only_contents(model.tree());
    let again = Mounted::new("msdosfs", &image, true);
    let found = only_contents(tree::from_mount(&again.proc, MOUNT_POINT));
    tree::assert_same("read again", &expected, &found);
    again.unmount();
    let out = dir.file("out");
    run("7z", &["x", "-y", "-bd", &format!("-o{out}"), &image]);
    let found = only_contents(tree::from_host(out.as_ref()));
    tree::assert_same("7-Zip", &expected, &found);
}

fn random(options: &str, size: &str) {
    let config = Config {
        cases: SEQUENCES,
        max_shrink_iters: 60,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Config::default()
    };
    let ops = proptest::collection::vec(operation(), OPERATIONS);
    let outcome = TestRunner::new(config).run(&ops, |ops| {
        check(options, size, &ops);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

macro_rules! shapes {
    ($($name:ident: $options:literal, $size:literal;)*) => {
        mod random_operations {
            $(#[test]
            fn $name() {
                super::random($options, $size);
            })*
        }
    };
}

shapes! {
    fat12: "-F 12 -s 128", "200M";
    fat12_sectors_of_4096: "-F 12 -S 4096 -s 16", "200M";
    fat16: "-F 16 -s 8", "200M";
    fat16_one_fat: "-F 16 -s 16 -f 1", "200M";
    fat32: "-F 32 -s 1", "200M";
    fat32_sectors_of_2048: "-F 32 -S 2048 -s 1", "200M";
}
