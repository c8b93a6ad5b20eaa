//! ISO 9660: every image reads back to its manifest, in each of its trees; sessions; what is broken.

use rump_tests::{
    corpus::{self, Case},
    fixtures,
    mounted::{MOUNT_POINT, Mounted},
    sparse_iso::{self, SparseFile},
    tools::{TempDir, run},
    tree::{self, list, read_file},
};
use rumpkern::{Errno, Fd, FileType, OpenFlags, types::Seek};
use rumpuser::BlockDevice;
use rumpuser_posix::{Access, HostFile};
use rumpuser_sim::MemDisk;
use rumpvfs::{Calls as _, calls::At};
use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

type Options<'a> = &'a [(&'static str, Option<&'static str>)];

/// Manifests beside the image's own, and the options with which it reads so.
const OTHERWISE: [(&str, Options<'static>); 5] = [
    ("plain", &[("norrip", None), ("nojoliet", None)]),
    ("joliet", &[("norrip", None)]),
    (
        "raw",
        &[
            ("norrip", None),
            ("nojoliet", None),
            ("gens", None),
            ("nomaplcase", None),
        ],
    ),
    ("session1", &[("session", Some("1"))]),
    ("session2", &[("session", Some("2"))]),
];

/// Where the manifest is what a reader saw that finds Joliet names whatever their case is: two names in it lead to a third file.
const CASE_BLIND: &str = "iso-rrj-boot-joliet.mtree";

fn cases() -> Vec<Case> {
    let mut cases = corpus::made("cd9660");
    for mut case in corpus::given("iso-") {
        if case.name.ends_with("iso-multisession.mtree") {
            case.options = vec![("session", Some("last"))];
        }
        let others = OTHERWISE
            .iter()
            .filter_map(|(suffix, options)| corpus::otherwise(&case, suffix, options));
        cases.extend(others.collect::<Vec<_>>());
        cases.push(case);
    }
    for case in &mut cases {
        if case.name.ends_with(CASE_BLIND) {
            let lines = case.manifest.lines();
            let kept = lines.filter(|line| !line.to_lowercase().starts_with("./names/readme "));
            case.manifest = kept.collect::<Vec<_>>().join("\n");
        }
    }
    cases
}

#[test]
fn images_show_their_manifests_and_do_not_change() {
    let mut wrong = Vec::new();
    for case in cases() {
        let before = wrong.len();
        case.check_read_only("cd9660", &mut wrong);
        if case.name.ends_with(CASE_BLIND) {
            let extra = |line: &String| line.to_lowercase().contains("names/readme: not in");
            let found = wrong.split_off(before);
            wrong.extend(found.into_iter().filter(|line| !extra(line)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A tree with a name that each of the three forms writes in its own way.
fn source(dir: &Path) -> std::path::PathBuf {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("Sub.Dir")).unwrap();
    fs::write(tree.join("Readme.Text"), b"one\n").unwrap();
    fs::write(tree.join("noext"), b"two\n").unwrap();
    std::os::unix::fs::symlink("Readme.Text", tree.join("link")).unwrap();
    tree
}

fn mount(image: &str, options: Options<'_>) -> Mounted {
    let device = HostFile::open(image, Access::ReadOnly).unwrap();
    Mounted::with_options("cd9660", Arc::new(device), true, options)
        .unwrap_or_else(|(error, messages)| panic!("{error}: {messages:?}"))
}

fn names(mounted: &Mounted) -> Vec<String> {
    let names = list(&mounted.proc, MOUNT_POINT.as_bytes()).unwrap();
    let mut names: Vec<_> = names
        .into_iter()
        .map(|name| String::from_utf8(name).unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn each_tree_has_its_names() {
    let dir = TempDir::new();
    let tree = source(dir.path());
    let image = dir.file("image.iso");
    let tree = tree.to_str().unwrap();
    run("genisoimage", &["-quiet", "-R", "-J", "-o", &image, tree]);
    let seen = |options: Options<'_>| names(&mount(&image, options));
    assert_eq!(seen(&[]), ["Readme.Text", "Sub.Dir", "link", "noext"]);
    assert_eq!(
        seen(&[("norrip", None)]),
        // Without Rock Ridge a link is an empty file.
        ["Readme.Text", "Sub.Dir", "link", "noext"]
    );
    let plain = [("norrip", None), ("nojoliet", None)];
    assert_eq!(seen(&plain), ["link", "noext", "readme.tex", "sub.dir"]);
    let raw = [plain[0], plain[1], ("gens", None), ("nomaplcase", None)];
    assert_eq!(
        seen(&raw),
        ["LINK.;1", "NOEXT.;1", "README.TEX;1", "SUB.DIR"]
    );
    let mounted = mount(&image, &raw);
    for name in ["README.TEX;1", "README.TEX"] {
        let path = format!("{MOUNT_POINT}/{name}");
        assert_eq!(read_file(&mounted.proc, path.as_bytes()).unwrap(), b"one\n");
    }
    let mounted = mount(&image, &[("norrip", None), ("mode", Some("640"))]);
    let stat = mounted.proc.stat(format!("{MOUNT_POINT}/noext")).unwrap();
    assert_eq!((stat.mode, stat.file_type), (0o640, FileType::Regular));
}

/// Directories deeper than eight levels are moved to another place and lead back by CL, PL and RE.
#[test]
fn moved_directories_are_where_they_were() {
    let dir = TempDir::new();
    let tree = dir.path().join("tree");
    let deep = "1/2/3/4/5/6/7";
    for below in ["8/9/10/11/12/13/14/15/16/17/18", "other/more"] {
        fs::create_dir_all(tree.join(deep).join(below)).unwrap();
        fs::write(tree.join(deep).join(below).join("file"), below).unwrap();
    }
    fs::write(tree.join(deep).join("8/beside"), b"beside").unwrap();
    let image = dir.file("image.iso");
    let from = tree.to_str().unwrap();
    run("genisoimage", &["-quiet", "-R", "-o", &image, from]);
    let plain = run("isoinfo", &["-f", "-i", &image]);
    for moved in ["/RR_MOVED/8/9", "/RR_MOVED/OTHER"] {
        assert!(plain.lines().any(|line| line == moved), "{plain}");
    }
    let mounted = mount(&image, &[]);
    let mut found = tree::from_mount(&mounted.proc, MOUNT_POINT);
    // Where they were moved to is a directory without entries.
    assert!(found.remove(&b"rr_moved"[..]).is_some());
    let kinds = |tree: &tree::Tree| -> Vec<_> {
        let nodes = tree.iter();
        nodes
            .map(|(path, node)| (path.clone(), node.kind.clone()))
            .collect()
    };
    assert_eq!(kinds(&found), kinds(&tree::from_host(&tree)));
    let listed = run("bsdtar", &["-tf", &image]);
    let listed = listed.lines().map(|line| match line {
        "." => &b""[..],
        line => line.as_bytes(),
    });
    let listed: BTreeSet<&[u8]> = listed.collect();
    assert_eq!(
        found.keys().map(Vec::as_slice).collect::<BTreeSet<_>>(),
        listed
    );
    let number = |path: &str| {
        let path = format!("{MOUNT_POINT}/{deep}/{path}");
        mounted.proc.stat(path).unwrap().ino
    };
    for moved in ["8", "other"] {
        assert_eq!(number(&format!("{moved}/..")), number("."), "{moved}");
    }
    assert_eq!(
        number("8/9/10/11/12/13/14/15/.."),
        number("8/9/10/11/12/13/14")
    );
}

#[test]
fn sessions_are_found() {
    let dir = TempDir::new();
    let tree = source(dir.path());
    let (image, second) = (dir.file("image.iso"), dir.file("second.iso"));
    let path = tree.to_str().unwrap().to_owned();
    run("genisoimage", &["-quiet", "-R", "-o", &image, &path]);
    let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
    file.set_len(512 * 2048).unwrap();
    fs::write(tree.join("added"), b"three\n").unwrap();
    let session = [
        "-quiet", "-R", "-C", "0,512", "-M", &image, "-o", &second, &path,
    ];
    run("genisoimage", &session);
    let both = [fs::read(&image).unwrap(), fs::read(&second).unwrap()].concat();
    fs::write(&image, both).unwrap();
    let first = ["Readme.Text", "Sub.Dir", "link", "noext"];
    let last = ["Readme.Text", "Sub.Dir", "added", "link", "noext"];
    let seen = |options: Options<'_>| names(&mount(&image, options));
    assert_eq!(seen(&[]), first);
    assert_eq!(seen(&[("session", Some("first"))]), first);
    for value in [("session", "last"), ("session", "2"), ("sbsector", "512")] {
        assert_eq!(seen(&[(value.0, Some(value.1))]), last, "{value:?}");
    }
    let device = HostFile::open(&image, Access::ReadOnly).unwrap();
    let none = [("session", Some("3"))];
    let refused = Mounted::with_options("cd9660", Arc::new(device), true, &none);
    let (error, messages) = refused.err().unwrap();
    assert_eq!(error, Errno::EINVAL);
    assert!(
        messages[0].contains("no session 3, there are 2"),
        "{messages:?}"
    );
}

/// xorriso puts a copy of the last session's descriptors to the start of a file.
#[test]
fn sessions_behind_a_copy_are_found() {
    let dir = TempDir::new();
    let image = dir.file("image.iso");
    for name in ["one", "two", "three"] {
        let path = dir.file(name);
        fs::write(&path, name).unwrap();
        let map = ["-map", &path, name, "-commit"];
        run("xorriso", &[&["-dev", &*image][..], &map].concat());
    }
    let seen = |options: Options<'_>| names(&mount(&image, options));
    let all: &[&str] = &["one", "three", "two"];
    for (session, expected) in [
        ("first", &["one"][..]),
        ("1", &["one"]),
        ("2", &["one", "two"]),
        ("3", all),
        ("last", all),
    ] {
        assert_eq!(seen(&[("session", Some(session))]), expected, "{session}");
    }
    assert_eq!(seen(&[]), all);
}

/// genisoimage cuts the entry of a link whose component goes over from the one before: the link is lost, its directory is not.
#[test]
fn a_broken_link_is_broken_alone() {
    let dir = TempDir::new();
    let tree = source(dir.path());
    let image = dir.file("image.iso");
    let target = [&"x".repeat(200), "/", &"y".repeat(240)].concat();
    std::os::unix::fs::symlink(target, tree.join("long")).unwrap();
    run(
        "genisoimage",
        &["-quiet", "-R", "-o", &image, tree.to_str().unwrap()],
    );
    let mounted = mount(&image, &[]);
    assert_eq!(
        names(&mounted),
        ["Readme.Text", "Sub.Dir", "link", "long", "noext"]
    );
    let path = format!("{MOUNT_POINT}/long");
    assert_eq!(mounted.proc.readlinkat(At::Cwd, path), Err(Errno::EIO));
}

#[test]
fn mounting_for_writing_is_refused() {
    let dir = TempDir::new();
    let image = dir.file("image.iso");
    fs::copy(fixtures::image("cd9660-rock-ridge"), &image).unwrap();
    let refused = Mounted::try_new("cd9660", &image, false);
    assert_eq!(refused.err().unwrap().0, Errno::EROFS);
}

/// An image with a change made to it.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Mounted, (Errno, Vec<String>)> {
    let mut bytes = fs::read(fixtures::image("cd9660-rock-ridge")).unwrap();
    change(&mut bytes);
    let disk: Arc<dyn BlockDevice> = Arc::new(MemDisk::from_bytes(&bytes));
    Mounted::on_device("cd9660", disk, true)
}

/// Where `pattern` is for the first time.
fn find(bytes: &[u8], pattern: &[u8]) -> usize {
    let mut windows = bytes.windows(pattern.len());
    windows.position(|window| window == pattern).unwrap()
}

#[test]
fn broken_descriptors_are_refused() {
    for (offset, value) in [(32_768 + 1, b'X'), (32_768 + 128, 3), (32_768 + 158, 0)] {
        let refused = changed(|bytes| {
            bytes[offset] = value;
            if value == 0 {
                bytes[offset..offset + 4].fill(0);
            }
        });
        assert_eq!(refused.err().unwrap().0, Errno::EINVAL, "byte {offset}");
    }
}

/// A file recorded in units with gaps is there with all that is known of it; its bytes are not read.
#[test]
fn an_interleaved_file_is_listed_and_not_read() {
    let dir = TempDir::new();
    let (tree, image) = (dir.file("tree"), dir.file("image.iso"));
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/file"), [7; 5000]).unwrap();
    run("xorrisofs", &["-quiet", "-R", "-o", &image, &tree]);
    let mut bytes = fs::read(&image).unwrap();
    // The root's extent is told by its record in the first descriptor; the third record there is the file's.
    let root = 32_768 + 156;
    let block = u32::from_le_bytes(bytes[root + 2..root + 6].try_into().unwrap());
    let mut record = block as usize * 2048;
    for _ in 0..2 {
        record += usize::from(bytes[record]);
    }
    let seen = |bytes: &[u8]| {
        let disk = Arc::new(MemDisk::from_bytes(bytes));
        let mounted = Mounted::on_device("cd9660", disk, true).unwrap();
        let path = format!("{MOUNT_POINT}/file");
        let stat = mounted.proc.lstat(&path).unwrap();
        assert_eq!((stat.file_type, stat.size), (FileType::Regular, 5000));
        read_file(&mounted.proc, path.as_bytes())
    };
    assert_eq!(seen(&bytes), Ok(vec![7; 5000]));
    // 9.1.7 and 9.1.8: blocks of a unit and of a gap.
    (bytes[record + 26], bytes[record + 27]) = (1, 1);
    assert_eq!(seen(&bytes), Err(Errno::EOPNOTSUPP));
}

#[test]
fn a_link_area_that_leads_to_itself_ends() {
    let mounted = changed(|bytes| {
        // The first continuation, that of the root directory, is made its own continuation.
        let at = find(bytes, b"CE\x1C\x01");
        let block = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
        let offset = u32::from_le_bytes(bytes[at + 12..at + 16].try_into().unwrap());
        let area = block as usize * 2048 + offset as usize;
        let entry = bytes[at..at + 28].to_vec();
        bytes[area..area + 28].copy_from_slice(&entry);
    });
    let (error, messages) = mounted.err().unwrap();
    assert_eq!(error, Errno::EIO);
    let text = messages.join("\n");
    assert!(
        text.contains("continuation areas 64, expected fewer"),
        "{text}"
    );
}

/// Zeros between records are padding. A directory said to lie in zeros would have the whole medium behind it looked through, which
/// costs its owner nothing: a sparse file is as long as one likes.
#[test]
fn a_directory_in_zeros_is_not_looked_for_to_the_end_of_the_medium() {
    let dir = TempDir::new();
    let (tree, image) = (dir.file("tree"), dir.file("image.iso"));
    fs::create_dir_all(format!("{tree}/sub")).unwrap();
    run("xorrisofs", &["-quiet", "-R", "-o", &image, &tree]);
    let mut bytes = fs::read(&image).unwrap();
    let root = 32_768 + 156;
    let block = u32::from_le_bytes(bytes[root + 2..root + 6].try_into().unwrap());
    let mut record = block as usize * 2048;
    for _ in 0..2 {
        record += usize::from(bytes[record]);
    }
    let zeros = bytes.len().next_multiple_of(2048) as u32 / 2048;
    bytes[record + 2..record + 6].copy_from_slice(&zeros.to_le_bytes());
    bytes[record + 6..record + 10].copy_from_slice(&zeros.to_be_bytes());
    let disk = Arc::new(MemDisk::from_bytes(&bytes).with_len(1 << 30));
    let mounted = Mounted::on_device("cd9660", disk.clone(), true).unwrap();
    let before = disk.counters().bytes_read;
    let found = mounted.proc.lstat(format!("{MOUNT_POINT}/sub"));
    assert_eq!(found.map(|stat| stat.ino), Err(Errno::EIO));
    let read = disk.counters().bytes_read - before;
    assert!(read < 1 << 20, "{read} bytes read");
}

#[test]
fn a_cut_off_image_reads_as_far_as_it_goes() {
    let mounted = changed(|bytes| bytes.truncate(bytes.len() / 2)).unwrap();
    let mut errors = 0;
    for name in list(&mounted.proc, format!("{MOUNT_POINT}/size").as_bytes()).unwrap() {
        let path = [MOUNT_POINT.as_bytes(), b"/size/", &name].concat();
        match read_file(&mounted.proc, &path) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, Errno::EIO);
                errors += 1;
            }
        }
    }
    assert!(errors > 0);
}

fn open(mounted: &Mounted, name: &str) -> Fd {
    let path = format!("{MOUNT_POINT}/{name}");
    mounted.proc.open(path, OpenFlags::RDONLY, 0).unwrap()
}

fn sparse(bytes: &[u8]) -> Mounted {
    let disk: Arc<dyn BlockDevice> = Arc::new(MemDisk::from_bytes(bytes));
    Mounted::on_device("cd9660", disk, true).unwrap()
}

fn messages(mounted: &Mounted) -> String {
    let messages = mounted.kernel.log().since(0);
    let lines: Vec<String> = messages.into_iter().map(|message| message.text).collect();
    lines.join("\n")
}

/// Where data begins and ends, as `lseek` tells.
fn data(mounted: &Mounted, fd: Fd) -> Vec<(u64, u64)> {
    let (mut found, mut at) = (vec![], 0);
    while let Ok(data) = mounted.proc.lseek(fd, Seek::Data(at)) {
        at = mounted.proc.lseek(fd, Seek::Hole(data)).unwrap();
        found.push((data, at));
    }
    found
}

#[test]
fn sparse_files_are_read_and_their_holes_known() {
    let files = sparse_iso::files();
    let (bytes, _) = sparse_iso::volume(&files);
    let mounted = sparse(&bytes);
    for file in &files {
        let fd = open(&mounted, file.name);
        let stat = mounted.proc.fstat(fd).unwrap();
        assert_eq!(stat.size, file.size, "{}", file.name);
        assert!(stat.blocks * 512 < 200 << 10, "{}", stat.blocks);
        let mut places: Vec<u64> = (0..80).map(|n| n * 4099).collect();
        for (start, data) in &file.pieces {
            let end = start + data.len() as u64;
            places.extend([start.saturating_sub(3000), start + 1, end.saturating_sub(5)]);
        }
        for (n, at) in places.into_iter().enumerate() {
            let len = [1, 255, 2048, 5001, 70_000][n % 5];
            let mut read = vec![0xAA; len];
            let count = mounted.proc.pread(fd, &mut read, at).unwrap();
            assert_eq!(read[..count], file.read(at, len), "{} at {at}", file.name);
        }
    }
    let whole = read_file(&mounted.proc, format!("{MOUNT_POINT}/OLD").as_bytes()).unwrap();
    assert_eq!(whole, files[1].read(0, 300_000));
    let found = |n: usize| data(&mounted, open(&mounted, files[n].name));
    // Where every second unit has data, no block is a hole.
    assert_eq!(found(0), [(0, 131_072), (262_144, 300_000)]);
    assert_eq!(found(1), found(0));
    let end = 5 << 40;
    let large = [(0, 2048), (1 << 32, (1 << 32) + 71_680), (end, end + 777)];
    assert_eq!(found(2), large);
    assert_eq!(found(3), []);
    let listed = mounted.proc.stat(format!("{MOUNT_POINT}/HOLE")).unwrap();
    assert_eq!(listed.size, 5000);
}

/// What reading the first file of a volume says after a change to its recorded form.
fn read_broken(change: impl FnOnce(&mut [u8])) -> (Errno, String) {
    let files = sparse_iso::files();
    let (mut bytes, places) = sparse_iso::volume(&files);
    change(&mut bytes[places[0]..]);
    let mounted = sparse(&bytes);
    let fd = open(&mounted, files[0].name);
    let error = mounted.proc.pread(fd, &mut [0; 10], 200_000).unwrap_err();
    let seek = mounted.proc.lseek(fd, Seek::Data(0));
    assert_eq!(seek, Err(error));
    (error, messages(&mounted))
}

#[test]
fn broken_tables_of_sparse_files_are_told() {
    // An entry of the first table, of depth 2: four have something, 65,536 bytes each.
    let set = |bytes: &mut [u8], n: usize, value: u32| {
        bytes[2048 + 8 * n..][..4].copy_from_slice(&value.to_le_bytes());
    };
    let table = 1 << 30;
    let cases: [(&str, usize, u32); 5] = [
        ("table 99999, expected inside the file", 2, table | 99_999),
        ("data 99999, expected inside the file", 2, 99_999),
        // Data that begins inside and does not end there.
        ("expected inside the file", 2, 600),
        // Its own table, one deeper: what are tables for it are data for nobody.
        ("expected data at depth 1", 2, table | 1),
        ("expected inside the file", 0, 0x00FF_FFFF),
    ];
    for (expected, n, value) in cases {
        let (error, messages) = read_broken(|bytes| set(bytes, n, value));
        assert_eq!(error, Errno::EIO, "{expected}");
        assert!(messages.contains(expected), "{expected}: {messages}");
    }
}

#[test]
fn a_table_in_many_places_ends() {
    let hole = || SparseFile {
        name: "LOOP",
        size: 1 << 56,
        depth: Some(7),
        pieces: vec![(0, vec![1])],
    };
    let (mut bytes, places) = sparse_iso::volume(&[hole()]);
    // Every table has the next one in all of its entries; the last one has data in none.
    let tables = &mut bytes[places[0] + 2048..][..7 * 2048];
    for (n, table) in tables.chunks_mut(2048).enumerate() {
        let value: u32 = if n == 6 {
            1 << 31
        } else {
            (1 << 30) | (n as u32 + 2)
        };
        for entry in table.chunks_mut(8) {
            entry[..4].copy_from_slice(&value.to_le_bytes());
        }
    }
    let mounted = sparse(&bytes);
    let fd = open(&mounted, "LOOP");
    assert_eq!(mounted.proc.lseek(fd, Seek::Data(0)), Err(Errno::EIO));
    let messages = messages(&mounted);
    assert!(messages.contains("each in one place"), "{messages}");
}

#[test]
fn a_sparse_file_of_impossible_depth_is_listed_only() {
    let files = sparse_iso::files();
    for depth in [0, 8, 1] {
        let (mut bytes, _) = sparse_iso::volume(&files);
        let at = find(&bytes, b"SF\x15\x01");
        bytes[at + 20] = depth;
        let mounted = sparse(&bytes);
        let path = list(&mounted.proc, MOUNT_POINT.as_bytes()).unwrap();
        assert_eq!(path.len(), 4);
        // xorriso sorts by name: the first entry is that of `HOLE`, small enough for depth 1.
        let result = mounted.proc.pread(open(&mounted, "HOLE"), &mut [0; 4], 0);
        let expected = if depth == 1 {
            Ok(4)
        } else {
            Err(Errno::EOPNOTSUPP)
        };
        assert_eq!(result, expected, "depth {depth}");
    }
}
