//! Commands that change an image: their results are as the native tools' on the host, and e2fsck is content.

mod common;

use common::{Scratch, at, check, fails, good, noise, rump, tool};
use std::{fs, os::unix::fs::PermissionsExt as _};

#[test]
fn directories() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let mode = |path: &str| good(&["stat", "-c", "%a", &at(&image, path)]);
    good(&["mkdir", "-p", "-m", "2750", &at(&image, "/a/b/c")]);
    assert_eq!(
        (mode("/a/b/c"), mode("/a/b")),
        ("2750\n".into(), "755\n".into())
    );
    good(&["mkdir", "-p", &at(&image, "/a/b/c")]);
    good(&[
        "mkdir",
        "-m",
        "u=rwx,go=",
        &at(&image, "/x"),
        &at(&image, "/y"),
    ]);
    assert_eq!((mode("/x"), mode("/y")), ("700\n".into(), "700\n".into()));
    fails(
        &["rm", "-d", &at(&image, "/a")],
        1,
        &["/a: Directory not empty"],
    );
    good(&["rm", "-d", &at(&image, "/x")]);
    good(&["rm", "-r", &at(&image, "/a"), &at(&image, "/y")]);
    good(&["rm", "-f", &at(&image, "/none")]);
    assert_eq!(good(&["ls", &at(&image, "/")]), "lost+found\n");
    check(&image);
}

#[test]
fn many_files_come_and_go() {
    let scratch = Scratch::new();
    let tree = scratch.path("src");
    for number in 0..600 {
        scratch.write(
            &format!("src/d{}/file-{number:04}", number % 7),
            noise(number * 17),
        );
    }
    let image = scratch.image("a.img", 32, None);
    good(&["put", "-r", tree.to_str().unwrap(), &at(&image, "/")]);
    check(&image);
    let out = scratch.text("out");
    good(&["get", "-r", &at(&image, "/src"), &out]);
    tool("diff", &["-r", tree.to_str().unwrap(), &out]);
    good(&["rm", "-r", &at(&image, "/src")]);
    check(&image);
    let fresh = scratch.image("b.img", 32, None);
    let free = |image: &str| {
        good(&["stat", "-c", "%F", &at(image, "/")])
            + &good(&["df", "-i", image]).replace(image, "")
    };
    assert_eq!(free(&image), free(&fresh));
}

#[test]
fn names() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let file = scratch.write("f", "one");
    let other = scratch.write("g", "two");
    good(&["put", file.to_str().unwrap(), &at(&image, "/f")]);
    good(&["put", other.to_str().unwrap(), &at(&image, "/g")]);
    good(&["mkdir", &at(&image, "/d")]);
    good(&["mv", "-n", &at(&image, "/f"), &at(&image, "/g")]);
    assert_eq!(
        good(&["cat", &at(&image, "/f"), &at(&image, "/g")]),
        "onetwo"
    );
    good(&["mv", &at(&image, "/f"), &at(&image, "/g")]);
    assert_eq!(good(&["cat", &at(&image, "/g")]), "one");
    good(&["mv", &at(&image, "/g"), &at(&image, "/d")]);
    good(&["ln", &at(&image, "/d/g"), &at(&image, "/hard")]);
    assert_eq!(good(&["stat", "-c", "%h", &at(&image, "/hard")]), "2\n");
    good(&["ln", "-s", "d/g", &at(&image, "/soft")]);
    assert_eq!(good(&["cat", &at(&image, "/soft")]), "one");
    fails(
        &["ln", "-s", "x", &at(&image, "/soft")],
        1,
        &["/soft: File exists"],
    );
    good(&["ln", "-sf", "elsewhere", &at(&image, "/soft")]);
    assert_eq!(
        good(&["stat", "-c", "%N", &at(&image, "/soft")]),
        format!("'{image}:/soft' -> 'elsewhere'\n")
    );
    good(&["ln", "-s", "/abs", &at(&image, "/d")]);
    assert_eq!(good(&["ls", &at(&image, "/d")]), "abs\ng\n");
    fails(
        &["mv", &at(&image, "/d"), &at(&image, "/d/sub")],
        1,
        &["Invalid argument"],
    );
    fails(
        &["mv", &at(&image, "/no"), &at(&image, "/x")],
        1,
        &["/no: No such file"],
    );
    fails(
        &["ln", &at(&image, "/d"), &at(&image, "/x")],
        1,
        &["Operation not permitted"],
    );
    let second = scratch.image("b.img", 8, None);
    fails(
        &["mv", &at(&image, "/hard"), &at(&second, "/")],
        1,
        &["within one file system"],
    );
    good(&["mv", "-T", &at(&image, "/d"), &at(&image, "/e")]);
    check(&image);
}

/// One target that is no directory is one mistake, and nothing is touched.
#[test]
fn many_go_into_a_directory_or_nowhere() {
    let scratch = Scratch::new();
    let file = scratch.write("f", "x");
    let image = scratch.image("a.img", 8, None);
    let (a, b, c) = (at(&image, "/a"), at(&image, "/b"), at(&image, "/c"));
    for to in [&a, &b, &c] {
        good(&["put", file.to_str().unwrap(), to]);
    }
    let before = fs::read(&image).unwrap();
    for (command, to) in [("mv", "/c"), ("mv", "/none"), ("ln", "/c"), ("ln", "/none")] {
        let done = rump(&[command, &a, &b, &at(&image, to)]);
        let expected = format!("rump: {image}:{to}: not a directory\n");
        assert_eq!((done.status, done.err), (1, expected), "{command}");
    }
    let names = |image: &str| good(&["find", &at(image, "/"), "-printf", "%P %n\\n"]);
    let after = names(&image);
    fs::write(scratch.path("b.img"), before).unwrap();
    assert_eq!(after, names(&scratch.text("b.img")));
    check(&image);
}

#[test]
fn what_is_done_is_said_with_the_image() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let i = |path: &str| at(&image, path);
    for (words, said) in [
        (&["mkdir", "-v", &i("/d")][..], i("/d")),
        (&["ln", "-sv", "x/y", &i("/l")], i("/l") + " -> x/y"),
        (
            &["ln", "-v", &i("/l"), &i("/d/")],
            format!("{} -> {}", i("/d/l"), i("/l")),
        ),
        (
            &["mv", "-v", &i("/l"), &i("/m")],
            format!("{} -> {}", i("/l"), i("/m")),
        ),
        (
            &["mv", "-v", &i("/d//"), &i("/e")],
            format!("{} -> {}", i("/d//"), i("/e")),
        ),
        (&["rm", "-v", &i("/m")], i("/m")),
    ] {
        assert_eq!(good(words), said + "\n", "{words:?}");
    }
    // A slash too much is not a name.
    good(&["mkdir", &i("/f")]);
    good(&["mv", &i("/f//"), &i("/e")]);
    assert_eq!(good(&["ls", &i("/e")]), "f\nl\n");
}

#[test]
fn modes_and_owners_are_as_chmod_makes_them() {
    let scratch = Scratch::new();
    let tree = scratch.path("src");
    scratch.write("src/dir/file", "x");
    let image = scratch.image("a.img", 8, None);
    for mode in [
        "644",
        "4755",
        "u+x,go-w",
        "a=r",
        "+x",
        "-w",
        "g=u",
        "u+s,o+t",
        "a+X",
        "00755",
        "=",
        "7777",
        "u=rwX,go=rX",
    ] {
        good(&["put", "-r", "-T", tree.to_str().unwrap(), &at(&image, "/t")]);
        good(&["chmod", "-R", "00755", &at(&image, "/t")]);
        tool("chmod", &["-R", "00755", tree.to_str().unwrap()]);
        good(&["chmod", "-R", mode, &at(&image, "/t/dir")]);
        let host = tree.join("dir");
        tool(
            "sh",
            &[
                "-c",
                &format!("umask 022; chmod -R '{mode}' '{}'", host.display()),
            ],
        );
        for path in ["/dir", "/dir/file"] {
            let ours = good(&["stat", "-c", "%a", &at(&image, &format!("/t{path}"))]);
            let theirs = tool("stat", &["-c", "%a", &format!("{}{path}", tree.display())]);
            assert_eq!(ours, theirs, "{mode} {path}");
        }
        tool("chmod", &["-R", "00755", tree.to_str().unwrap()]);
        good(&["rm", "-r", &at(&image, "/t")]);
    }
    good(&["put", "-r", "-T", tree.to_str().unwrap(), &at(&image, "/t")]);
    good(&["ln", "-s", "dir", &at(&image, "/t/link")]);
    let owner = |path: &str| good(&["stat", "-c", "%u:%g", &at(&image, path)]);
    good(&["chown", "-R", "3000000000:70000", &at(&image, "/t")]);
    assert_eq!(owner("/t/dir/file"), "3000000000:70000\n");
    good(&["chown", ":5", &at(&image, "/t/link")]);
    assert_eq!(
        (owner("/t/dir"), owner("/t/link")),
        ("3000000000:5\n".into(), "3000000000:70000\n".into())
    );
    good(&["chown", "-h", "1", &at(&image, "/t/link")]);
    assert_eq!(owner("/t/link"), "1:70000\n");
    check(&image);
}

#[test]
fn times_and_sizes() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let file = at(&image, "/f");
    let stat = |format: &str| good(&["stat", "-c", format, &file]);
    good(&["touch", "-c", &file]);
    fails(&["stat", &file], 1, &["No such file"]);
    good(&["touch", "-d", "2001-02-03 04:05:06.789 +0100", &file]);
    assert_eq!(
        stat("%a %s %y"),
        "644 0 2001-02-03 03:05:06.789000000 +0000\n"
    );
    good(&["touch", "-a", "-d", "@-5.25", &file]);
    // As stat(1) of the same file on the host.
    let host = scratch.write("old", "");
    let host = host.to_str().unwrap();
    tool("touch", &["-a", "-d", "@-5.25", host]);
    let theirs = tool("stat", &["-c", "%X %.X %.2X %.1X %+12.3X", host]);
    assert_eq!(stat("%X %.X %.2X %.1X %+12.3X"), theirs);
    assert_eq!(stat("%.2X %.3Y"), "-5.25 981169506.789\n");
    good(&["touch", "-m", "-d", "@15000000000", &file]);
    assert_eq!(stat("%Y"), "15000000000\n");
    let other = at(&image, "/g");
    good(&["touch", "-r", &file, &other]);
    assert_eq!(
        good(&["stat", "-c", "%.2X %Y", &other]),
        "-5.25 15000000000\n"
    );
    for (size, expected) in [
        ("100", "100"),
        ("+1K", "1124"),
        ("-24", "1100"),
        ("<1000", "1000"),
        (">2M", "2097152"),
        ("/1000", "2097000"),
        ("%1024", "2097152"),
        ("5G", "5368709120"),
        ("0", "0"),
    ] {
        good(&["truncate", "-s", size, &file]);
        assert_eq!(stat("%s"), format!("{expected}\n"), "{size}");
        check(&image);
    }
    good(&["truncate", "-c", "-s", "5", &at(&image, "/none")]);
    fails(
        &["truncate", "-s", "5", &at(&image, "/lost+found")],
        1,
        &["Is a directory"],
    );
    fails(&["truncate", "-s", "15E", &file], 1, &["File too large"]);
    assert_eq!(stat("%s"), "0\n");
}

#[test]
fn one_failure_does_not_keep_the_others() {
    let scratch = Scratch::new();
    let (a, b) = (
        scratch.image("a.img", 8, None),
        scratch.image("b.img", 8, None),
    );
    let done = rump(&[
        "mkdir",
        &at(&a, "/x"),
        &at(&a, "/no/x"),
        &at("nosuch.img", "/x"),
        &at(&b, "/x"),
    ]);
    assert_eq!(done.status, 1);
    assert_eq!(done.err.lines().count(), 2, "{}", done.err);
    for image in [&a, &b] {
        assert!(good(&["ls", &at(image, "/")]).ends_with("x\n"));
        check(image);
    }
    let listed = good(&["ls", &at(&a, "/"), &at(&b, "/")]);
    assert_eq!(
        listed,
        format!("{a}:/:\nlost+found\nx\n\n{b}:/:\nlost+found\nx\n")
    );
    assert!(fs::metadata("nosuch.img").is_err());
}

#[test]
fn what_mv_is_asked_last_and_cannot_do() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    for (name, size) in [("/a", "1"), ("/b", "2"), ("/c", "3")] {
        good(&["truncate", "-s", size, &at(&image, name)]);
    }
    let size = |name: &str| good(&["stat", "-c", "%s", &at(&image, name)]);
    good(&["mv", "-fn", &at(&image, "/a"), &at(&image, "/b")]);
    assert_eq!((size("/a"), size("/b")), ("1\n".into(), "2\n".into()));
    good(&["mv", "-nf", &at(&image, "/a"), &at(&image, "/b")]);
    assert_eq!(size("/b"), "1\n");
    good(&["mkdir", "-p", &at(&image, "/d/e")]);
    // The source is what is wrong, and the message names both.
    for (from, to, words) in [
        ("/d", "/d/e", ":/d: cannot be moved to /d/e/d: "),
        ("/d/.", "/f", ":/d/.: cannot be moved to /f: "),
        ("/", "/f", ":/: cannot be moved to /f: "),
    ] {
        fails(&["mv", &at(&image, from), &at(&image, to)], 1, &[words]);
    }
    check(&image);
}

#[test]
fn owners_that_a_file_system_cannot_keep() {
    let scratch = Scratch::new();
    let image = scratch.text("fat.img");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(2 << 20)
        .unwrap();
    common::tool("mkfs.fat", &["-F", "12", &image]);
    let file = at(&image, "/f");
    good(&["touch", &file]);
    good(&["chown", "0:0", &file]);
    fails(
        &["chown", "5", &file],
        1,
        &[":/f: this file system keeps no owners"],
    );
    fails(&["chown", ":5", &file], 1, &["keeps no owners"]);
    assert_eq!(good(&["stat", "-c", "%u %g", &file]), "0 0\n");
    // chown(2) takes this number for no owner at all.
    for args in [
        &["chown", "4294967295"][..],
        &["cp", "--owner", "0:4294967295", "x"],
    ] {
        assert_eq!(rump(&[args, &[&file]].concat()).status, 2, "{args:?}");
    }
}

/// umask(2): it counts unless the directory has a default ACL.
#[test]
fn a_default_acl_decides_and_not_the_umask() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 16, None);
    let host = scratch.path("shared");
    fs::create_dir(&host).unwrap();
    let host = host.to_str().unwrap();
    tool("setfacl", &["-d", "-m", "g:23456:rwx,o::r-x", host]);
    good(&["put", "-a", host, &at(&image, "/shared")]);
    scratch.write("src/file", "x");
    let source = scratch.path("src");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(source.join("file"), fs::Permissions::from_mode(0o666)).unwrap();
    let script = "umask 077; cd \"$2\"; for d in / /shared/; do \"$0\" put -r src \"$1:$d\"; echo x | \"$0\" put - \"$1:$d\"p; \
        \"$0\" put -rp src \"$1:$d\"k; \"$0\" put src/file \"$1:$d\"c; \"$0\" touch \"$1:$d\"f; \"$0\" truncate -s 5 \"$1:$d\"t; \
        \"$0\" mkdir -p \"$1:$d\"a/b; \"$0\" mkdir -m 750 \"$1:$d\"m; done";
    let dir = scratch.0.to_str().unwrap();
    tool("sh", &["-ec", script, common::RUMP, &image, dir]);
    let modes = |dir: &str| {
        let made = ["f", "t", "a", "a/b", "m"];
        let copied = ["src", "src/file", "p", "c", "k", "k/file"];
        let modes = made.iter().chain(&copied).map(|name| {
            let path = at(&image, &format!("{dir}{name}"));
            good(&["stat", "-c", "%a", &path]).trim().to_owned()
        });
        modes.collect::<Vec<_>>().join(" ")
    };
    let expected = "600 600 700 700 750 700 600 600 600 777 666";
    assert_eq!(modes("/"), expected);
    let expected = "664 664 775 775 750 775 664 664 664 777 666";
    assert_eq!(modes("/shared/"), expected);
    check(&image);
}
