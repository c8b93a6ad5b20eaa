//! Archives, written for and read from GNU tar, bsdtar and the tar crate.

mod common;

use common::{Scratch, at, check, fails, good, noise, rump, rump_with, sample_at, spec, tool};
use std::{fs, os::unix::fs::MetadataExt};

fn prepared() -> (Scratch, String, String) {
    let scratch = Scratch::new();
    let tree = sample_at(&scratch, 123_456_789);
    let image = scratch.image("a.img", 16, None);
    good(&[
        "cp",
        "-a",
        &format!("{}/.", tree.display()),
        &at(&image, "/"),
    ]);
    good(&["rm", "-r", &at(&image, "/lost+found")]);
    (scratch, image, tree.to_str().unwrap().to_owned())
}

#[test]
fn what_is_written_is_read_by_others() {
    let (scratch, image, tree) = prepared();
    let long = format!("/{}/{}", "d".repeat(150), "n".repeat(200));
    good(&["mkdir", "-p", &at(&image, &long)]);
    good(&["ln", "-s", &"t".repeat(300), &at(&image, "/longlink")]);
    good(&["chown", "3000000:4000000000", &at(&image, "/empty")]);
    let file = scratch.write("x", "x");
    tool(
        "setfattr",
        &["-n", "user.a=b", "-v", "v%", file.to_str().unwrap()],
    );
    good(&[
        "cp",
        "-a",
        file.to_str().unwrap(),
        &at(&image, "/attributed"),
    ]);
    let archive = scratch.text("a.tar");
    good(&["tar", "-f", &archive, &at(&image, "/")]);
    // The same to a pipe, and every time.
    let piped = rump(&["tar", &at(&image, "/")]);
    assert!(piped.out == fs::read(&archive).unwrap());
    assert_eq!(piped.out.len() % 10_240, 0);
    let root = fs::metadata(&file).unwrap().uid() == 0;
    for program in ["tar", "bsdtar"] {
        let out = scratch.text(program);
        fs::create_dir(&out).unwrap();
        let extra: &[&str] = match program {
            "tar" => &["--xattrs", "--xattrs-include=*"],
            _ => &["--xattrs"],
        };
        tool(
            program,
            &[&["-xp", "-f", &archive, "-C", &out], extra].concat(),
        );
        tool(
            "diff",
            &[
                "-r",
                "--no-dereference",
                "-x",
                "pipe",
                &tree,
                &out,
                "-x",
                "longlink",
                "-x",
                "attributed",
                "-x",
                "ddd*",
            ],
        );
        let times = |tree: &str| {
            let mut lines: Vec<_> = tool(
                "find",
                &[
                    tree,
                    "-mindepth",
                    "1",
                    "-not",
                    "-name",
                    "*é*",
                    "-not",
                    "-name",
                    "d*",
                    "-not",
                    "-name",
                    "longlink",
                    "-not",
                    "-name",
                    "attributed",
                    "-not",
                    "-name",
                    "n*",
                    "-printf",
                    "%P %m %T@ %l\\n",
                ],
            )
            .lines()
            .map(str::to_owned)
            .collect();
            lines.sort();
            lines
        };
        assert_eq!(times(&out), times(&tree), "{program}");
        assert!(fs::metadata(format!("{out}{long}")).unwrap().is_dir());
        assert_eq!(
            fs::read_link(format!("{out}/longlink"))
                .unwrap()
                .as_os_str()
                .len(),
            300
        );
        let same = |a: &str, b: &str| {
            let id = |name: &str| fs::metadata(format!("{out}/{name}")).unwrap().ino();
            id(a) == id(b)
        };
        assert!(same("hello.txt", "dir/again"));
        assert!(
            fs::metadata(format!("{out}/sparse")).unwrap().blocks() < 200,
            "{program}"
        );
        if root {
            let empty = fs::metadata(format!("{out}/empty")).unwrap();
            assert_eq!((empty.uid(), empty.gid()), (3_000_000, 4_000_000_000));
        }
        if program == "tar" {
            let attribute = [
                "--only-values",
                "-n",
                "user.a=b",
                &format!("{out}/attributed"),
            ];
            assert_eq!(tool("getfattr", &attribute), "v%");
        }
    }
    // And back into an image.
    let second = scratch.image("b.img", 16, None);
    good(&["untar", "-f", &archive, &at(&second, "/")]);
    check(&second);
    assert_eq!(spec(&at(&second, "/")), spec(&at(&image, "/")));
    let blocks = good(&["stat", "-c", "%b", &at(&second, "/sparse")]);
    assert!(blocks.trim().parse::<u64>().unwrap() < 100);
}

#[test]
fn what_others_write_is_read() {
    let (scratch, image, tree) = prepared();
    let wanted = spec(&at(&image, "/"));
    let whole_seconds = |lines: &[String]| -> Vec<String> {
        lines
            .iter()
            .map(|line| {
                let words = line
                    .split(' ')
                    .map(|word| match word.strip_prefix("time=") {
                        Some(time) => format!("time={}", time.split('.').next().unwrap()),
                        None => word.to_owned(),
                    });
                words.collect::<Vec<_>>().join(" ")
            })
            .collect()
    };
    for (number, how) in [
        &["tar", "--format=ustar"][..],
        &["tar", "--format=gnu"],
        &["tar", "--format=gnu", "--sparse"],
        &["tar", "--format=oldgnu", "--sparse"],
        &["tar", "--format=pax"],
        &["tar", "--format=pax", "--sparse", "--sparse-version=0.0"],
        &["tar", "--format=pax", "--sparse", "--sparse-version=0.1"],
        &["tar", "--format=pax", "--sparse", "--sparse-version=1.0"],
        &["bsdtar", "--format=pax"],
        &["bsdtar", "--format=ustar"],
        &["bsdtar", "--format=gnutar"],
    ]
    .into_iter()
    .enumerate()
    {
        let archive = scratch.text("o.tar");
        tool(
            how[0],
            &[&how[1..], &["-cf", &archive, "-C", &tree, "."]].concat(),
        );
        let target = scratch.image(&format!("{number}.img"), 16, None);
        let done = rump_with(&["untar", &at(&target, "/")], &fs::read(&archive).unwrap());
        assert_eq!((done.status, &done.err[..]), (0, ""), "{how:?}");
        check(&target);
        let found = spec(&at(&target, "/"));
        if how.contains(&"--format=pax") {
            assert_eq!(found, wanted, "{how:?}");
        } else {
            assert_eq!(whole_seconds(&found), whole_seconds(&wanted), "{how:?}");
        }
        if how.contains(&"--sparse") {
            let blocks = good(&["stat", "-c", "%b", &at(&target, "/sparse")]);
            assert!(blocks.trim().parse::<u64>().unwrap() < 100, "{how:?}");
        }
    }
}

#[test]
fn members_that_try_to_get_out() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    good(&["mkdir", &at(&image, "/dir")]);
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &[u8], kind: tar::EntryType, link: &[u8], data: &[u8]| {
        // Not through the crate's own checks.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        archive.append(&header, data).unwrap();
    };
    use tar::EntryType::{Link, Regular, Symlink};
    add(b"../escaped", Regular, b"", b"x");
    add(b"a/../../escaped", Regular, b"", b"x");
    add(b"trap", Symlink, b"..", b"");
    add(b"trap/escaped", Regular, b"", b"x");
    add(b"hard", Link, b"../../lost+found", b"");
    add(b"/absolute", Regular, b"", b"inside");
    let archive = archive.into_inner().unwrap();
    let done = rump_with(&["untar", &at(&image, "/dir")], &archive);
    assert_eq!(done.status, 1);
    assert_eq!(done.err.lines().count(), 4, "{}", done.err);
    assert_eq!(good(&["ls", &at(&image, "/")]), "dir\nlost+found\n");
    assert_eq!(good(&["ls", &at(&image, "/dir")]), "absolute\ntrap\n");
    check(&image);
}

#[test]
fn options_of_untar() {
    let (scratch, _, tree) = prepared();
    let archive = scratch.text("o.tar");
    tool("tar", &["-cf", &archive, "-C", &tree, "dir", "hello.txt"]);
    let image = scratch.image("b.img", 16, None);
    good(&[
        "untar",
        "-f",
        &archive,
        "--strip-components",
        "1",
        "--owner",
        "12:34",
        &at(&image, "/"),
    ]);
    assert_eq!(
        good(&["stat", "-c", "%u:%g", &at(&image, "/sub/deep.c")]),
        "12:34\n"
    );
    assert!(!good(&["ls", &at(&image, "/")]).contains("hello"));
    let other = scratch.write("other", "kept");
    good(&["put", other.to_str().unwrap(), &at(&image, "/hello.txt")]);
    let kept = rump(&["untar", "-k", "-f", &archive, &at(&image, "/")]);
    assert_eq!(
        good(&["cat", &at(&image, "/hello.txt")]),
        "kept",
        "{}",
        kept.err
    );
    good(&["untar", "-f", &archive, &at(&image, "/")]);
    assert_eq!(good(&["cat", &at(&image, "/hello.txt")]), "hello, world\n");
    let listed = rump(&["untar", "-v", "-f", &archive, &at(&image, "/")]);
    assert!(listed.err.contains("dir/sub/deep.c\n"));
    fails(
        &["untar", "-f", &archive, &at(&image, "/no")],
        1,
        &["/no: No such file"],
    );
    check(&image);
}

#[test]
fn damaged_archives() {
    let (scratch, image, tree) = prepared();
    let archive = scratch.text("o.tar");
    tool("tar", &["-cf", &archive, "-C", &tree, "dir"]);
    let whole = fs::read(&archive).unwrap();
    let into = at(&image, "/none");
    let untar = |data: &[u8]| rump_with(&["untar", &into], data);
    for (data, reason) in [
        (vec![], "empty"),
        (noise(10_000), "not a tar archive"),
        (whole[..700_000].to_vec(), "ends too early"),
        (whole[..512].to_vec(), "no end mark"),
    ] {
        let done = untar(&data);
        assert_eq!(done.status, 1, "{reason}");
        assert!(done.err.contains(reason), "{reason}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    }
    for (program, command) in [("gzip", "zcat"), ("xz", "xzcat"), ("zstd", "zstdcat")] {
        let packed = scratch.text("packed");
        tool(
            "sh",
            &["-c", &format!("{program} -c <'{archive}' >'{packed}'")],
        );
        fails(&["untar", "-f", &packed, &into], 1, &[program, command]);
    }
    check(&image);
    // What cannot be written whole is not written.
    let target = scratch.text("no/such/dir.tar");
    fails(
        &["tar", "-f", &target, &at(&image, "/")],
        1,
        &["No such file"],
    );
    fails(
        &["tar", &at(&image, "/nowhere")],
        1,
        &["/nowhere: No such file"],
    );
}
