//! Copying between images and the host: nothing is lost, nothing leads outside, nothing half is left.

mod common;

use common::{
    RUMP, Scratch, at, check, fails, good, noise, rump, rump_with, sample_at, spec, tool,
};
use std::{
    fs,
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    process::Stdio,
    time::{Duration, Instant},
};

/// What `find` of the host says about a tree, without what a file system has its own mind about.
fn listing(tree: &str) -> Vec<String> {
    let format = "%P %y %m %U %G %n %s %T@ %l\\0";
    let text = tool(
        "find",
        &[
            tree,
            "-mindepth",
            "1",
            "-not",
            "-type",
            "d",
            "-printf",
            format,
        ],
    );
    let dirs = tool(
        "find",
        &[
            tree,
            "-mindepth",
            "1",
            "-type",
            "d",
            "-printf",
            "%P %m %U %G %T@\\0",
        ],
    );
    let mut lines: Vec<_> = text
        .split('\0')
        .chain(dirs.split('\0'))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn archives_of_the_host_come_back_as_they_were() {
    let scratch = Scratch::new();
    let tree = sample_at(&scratch, 987_654_321);
    let tree = tree.to_str().unwrap();
    let image = scratch.image("a.img", 16, None);
    good(&["cp", "-a", &format!("{tree}/."), &at(&image, "/")]);
    check(&image);
    let out = scratch.text("out");
    fs::create_dir(&out).unwrap();
    good(&["rm", "-r", &at(&image, "/lost+found")]);
    good(&["cp", "-a", &at(&image, "/"), &out]);
    assert_eq!(listing(&out), listing(tree));
    tool(
        "diff",
        &["-r", "--no-dereference", "--exclude=pipe", tree, &out],
    );
    let root = good(&["stat", "-c", "%f %.9Y", &at(&image, "/")]);
    assert_eq!(root, tool("stat", &["-c", "%f %.9Y", &out]));
    // Holes stay holes on both sides.
    let blocks = good(&["stat", "-c", "%b", &at(&image, "/sparse")]);
    assert!(blocks.trim().parse::<u64>().unwrap() < 100, "{blocks}");
    assert!(fs::metadata(format!("{out}/sparse")).unwrap().blocks() < 100);
    // From image to image, whole and in part.
    let second = scratch.image("b.img", 16, None);
    good(&["cp", "-a", &at(&image, "/."), &at(&second, "/")]);
    check(&second);
    assert_eq!(spec(&at(&second, "/")), spec(&at(&image, "/")));
    good(&["cp", "-a", &at(&image, "/dir"), &at(&second, "/copy")]);
    assert_eq!(
        spec(&at(&second, "/copy")).len(),
        spec(&at(&image, "/dir")).len()
    );
    good(&["mkdir", &at(&image, "/within")]);
    good(&["cp", "-a", &at(&image, "/日本"), &at(&image, "/within")]);
    assert_eq!(good(&["cat", &at(&image, "/within/日本/é")]), "z");
    check(&image);
}

#[test]
fn trees_of_many_files_by_several_threads() {
    let scratch = Scratch::new();
    let tree = scratch.path("tree");
    let data = noise(400_000);
    for dir in 0..6 {
        let dir = tree.join(format!("d{dir}/e"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..70_usize {
            let len = [0, 1, 700, 4096, 5000, 17_000, 70_000][file % 7];
            fs::write(dir.join(format!("f{file}")), &data[file..file + len]).unwrap();
        }
        fs::write(dir.join("large"), &data).unwrap();
        fs::hard_link(dir.join("f4"), dir.join("linked")).unwrap();
        fs::set_permissions(dir.join("f2"), fs::Permissions::from_mode(0o4511)).unwrap();
    }
    fs::hard_link(tree.join("d0/e/large"), tree.join("d5/large too")).unwrap();
    let tree = tree.to_str().unwrap();
    let image = scratch.image("a.img", 32, None);
    good(&["put", "-aT", tree, &at(&image, "/tree")]);
    check(&image);
    let out = scratch.text("out");
    good(&["get", "-a", &at(&image, "/tree"), &out]);
    assert_eq!(listing(&out), listing(tree));
    tool("diff", &["-r", tree, &out]);
    // Once more over what is there: replaced, and nothing but that.
    good(&["get", "-a", &at(&image, "/tree/."), &out]);
    assert_eq!(listing(&out), listing(tree));
    tool("diff", &["-r", tree, &out]);
    // A file where a directory should go: what is in that is left out, the rest is not, and nothing is made outside.
    let second = scratch.image("b.img", 32, None);
    let blocked = scratch.write("blocked", "file");
    good(&["mkdir", &at(&second, "/tree")]);
    let blocked = blocked.to_str().unwrap();
    good(&["put", blocked, &at(&second, "/tree/d3")]);
    let done = rump(&["put", "-aT", tree, &at(&second, "/tree")]);
    assert_eq!(done.status, 1);
    assert!(done.err.contains("/tree/d3"), "{done:?}");
    assert_eq!(done.err.lines().count(), 1, "{done:?}");
    check(&second);
    assert_eq!(good(&["cat", &at(&second, "/tree/d3")]), "file");
    let names = good(&["find", &at(&second, "/tree"), "-type", "f"]);
    // Per directory 72 names, one directory less, one file in its place, one link at the end.
    assert_eq!(names.lines().count(), 5 * 72 + 2);
    // On the way out as well.
    let third = scratch.path("third");
    fs::create_dir(&third).unwrap();
    fs::write(third.join("d1"), "file").unwrap();
    let third_text = third.to_str().unwrap();
    fails(
        &["get", "-a", &at(&image, "/tree/."), third_text],
        1,
        &["d1"],
    );
    assert_eq!(fs::read_to_string(third.join("d1")).unwrap(), "file");
    assert_eq!(fs::read(third.join("d4/e/large")).unwrap(), data);
    assert_eq!(fs::read_dir(third.join("d5/e")).unwrap().count(), 72);
}

#[test]
fn get_and_put_are_cp_with_known_sides() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let colon = scratch.write("odd:/name@1", "odd\n");
    good(&["put", colon.to_str().unwrap(), &at(&image, "/plain")]);
    assert_eq!(good(&["cat", &at(&image, "/plain")]), "odd\n");
    let to = scratch.text("to:here");
    good(&["get", &at(&image, "/plain"), &to]);
    assert_eq!(fs::read_to_string(&to).unwrap(), "odd\n");
    let done = common::command(&["get", &at(&image, "/plain")])
        .current_dir(&scratch.0)
        .status();
    assert!(done.unwrap().success());
    assert_eq!(fs::read_to_string(scratch.path("plain")).unwrap(), "odd\n");
    // Escapes and ./ for cp.
    let name = |text: &str| format!("{}/{text}", scratch.0.display());
    good(&["cp", &at(&image, "/plain"), &name("esc\\@1")]);
    assert_eq!(fs::read_to_string(name("esc@1")).unwrap(), "odd\n");
    good(&["cp", &name("odd\\:/name@1"), &at(&image, "/b")]);
    good(&["cp", &name("odd:/name@1"), &at(&image, "/c")]);
    assert_eq!(
        good(&["cat", &at(&image, "/b"), &at(&image, "/c")]),
        "odd\nodd\n"
    );
    // Streams.
    assert_eq!(good(&["get", &at(&image, "/plain"), "-"]), "odd\n");
    assert_eq!(
        rump_with(&["put", "-", &at(&image, "/stream")], b"from a pipe\n").status,
        0
    );
    assert_eq!(good(&["cp", &at(&image, "/stream"), "-"]), "from a pipe\n");
    assert_eq!(good(&["cp", &at(&image, "/stream"), "/dev/null"]), "");
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    let script = format!("{RUMP} put <(echo piped) '{}'", at(&image, "/piped"));
    tool("bash", &["-c", &script]);
    assert_eq!(good(&["cat", &at(&image, "/piped")]), "piped\n");
    // What says that it is empty and is not.
    good(&["put", "/proc/version", &at(&image, "/version")]);
    let version = fs::read_to_string("/proc/version").unwrap();
    assert_eq!(good(&["cat", &at(&image, "/version")]), version);
    // Several, to a directory; not to anything else.
    good(&["mkdir", &at(&image, "/d")]);
    good(&["put", "/etc/hostname", "/etc/passwd", &at(&image, "/d")]);
    assert_eq!(good(&["ls", &at(&image, "/d")]), "hostname\npasswd\n");
    fails(
        &["put", "/etc/hostname", "/etc/passwd", &at(&image, "/no")],
        1,
        &["not a directory"],
    );
    fails(&["get", &at(&image, "/d"), &to], 1, &["-r is missing"]);
    fails(&["put", "-", &at(&image, "/d")], 1, &["name of a file"]);
    // A name with a slash behind it is that of a directory.
    let new = format!("{}/", scratch.text("new"));
    let word = &["/: not a directory"][..];
    fails(&["get", &at(&image, "/plain"), &new], 1, word);
    fails(&["get", "-r", &at(&image, "/plain"), &new], 1, word);
    fails(&["put", "/etc/hostname", &at(&image, "/new/")], 1, word);
    fails(&["cp", "-r", &to, &at(&image, "/new/")], 1, word);
    fails(&["put", "-", &at(&image, "/new/")], 1, word);
    fails(&["ls", &at(&image, "/new")], 1, &["No such file"]);
    assert!(!scratch.path("new").exists());
    good(&["get", "-r", &at(&image, "/d"), &new]);
    assert!(scratch.path("new/passwd").is_file());
    good(&["put", "-r", &new, &at(&image, "/new/")]);
    assert_eq!(good(&["ls", &at(&image, "/new")]), "hostname\npasswd\n");
    check(&image);
}

#[test]
fn modes_owners_and_times_as_cp() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let file = scratch.write("f", "x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o6775)).unwrap();
    tool("touch", &["-d", "@1000000000.5", file.to_str().unwrap()]);
    let file = file.to_str().unwrap();
    let stat = |name: &str| good(&["stat", "-c", "%a %u %g %.1Y", &at(&image, name)]);
    good(&["put", file, &at(&image, "/plain")]);
    assert!(stat("/plain").starts_with("755 0 0 "), "{}", stat("/plain"));
    assert!(!stat("/plain").contains("1000000000"));
    good(&[
        "put",
        "-p",
        "--owner",
        "5:3000000000",
        file,
        &at(&image, "/owned"),
    ]);
    assert_eq!(stat("/owned"), "6775 5 3000000000 1000000000.5\n");
    good(&[
        "put",
        "--preserve",
        "timestamps",
        file,
        &at(&image, "/times"),
    ]);
    assert_eq!(stat("/times"), "755 0 0 1000000000.5\n");
    // What is there is replaced, or not.
    let other = scratch.write("g", "other");
    good(&["put", "-n", other.to_str().unwrap(), &at(&image, "/owned")]);
    assert_eq!(good(&["cat", &at(&image, "/owned")]), "x");
    good(&["put", other.to_str().unwrap(), &at(&image, "/owned")]);
    assert_eq!(good(&["cat", &at(&image, "/owned")]), "other");
    fails(
        &[
            "put",
            file,
            &at(&image, "/lost+found/../lost+found/."),
            "-T",
        ],
        1,
        &[],
    );
    check(&image);
}

#[test]
fn symbolic_links_are_followed_where_cp_follows_them() {
    let scratch = Scratch::new();
    let tree = sample_at(&scratch, 0);
    let image = scratch.image("a.img", 16, Some(&tree));
    let out = |name: &str| scratch.text(name);
    good(&["get", &at(&image, "/link"), &out("followed")]);
    assert_eq!(
        fs::read_to_string(out("followed")).unwrap(),
        "hello, world\n"
    );
    good(&["get", "-P", &at(&image, "/link"), &out("kept")]);
    assert_eq!(
        fs::read_link(out("kept")).unwrap().to_str(),
        Some("hello.txt")
    );
    fs::create_dir(out("r")).unwrap();
    good(&["get", "-r", &at(&image, "/"), &out("r")]);
    assert!(fs::symlink_metadata(out("r/link")).unwrap().is_symlink());
    fs::create_dir(out("L")).unwrap();
    good(&["get", "-rL", &at(&image, "/"), &out("L")]);
    assert!(fs::symlink_metadata(out("L/link")).unwrap().is_file());
    // The absolute link shows /dir a second time.
    tool("diff", &["-r", &out("L/absolute"), &out("L/dir")]);
    // One that leads back has no end.
    good(&["ln", "-s", "..", &at(&image, "/dir/sub/up")]);
    let back = rump(&["get", "-rL", &at(&image, "/dir"), &out("back")]);
    let expected = format!("rump: {image}:/dir/sub/up: leads to a directory that it is in\n");
    assert_eq!((back.status, back.err), (1, expected));
    assert!(fs::symlink_metadata(out("back/sub/up")).is_err());
    // Nor has it on the way in, whichever way it is put.
    let dir = out("in");
    fs::create_dir_all(format!("{dir}/sub")).unwrap();
    symlink("..", format!("{dir}/sub/up")).unwrap();
    for command in ["put", "cp"] {
        let to = at(&image, &format!("/{command}"));
        let put = rump(&[command, "-rL", &dir, &to]);
        let expected = format!("rump: {dir}/sub/up: leads to a directory that it is in\n");
        assert_eq!((put.status, put.err), (1, expected));
        let found = good(&["find", &to]);
        assert_eq!(found, format!("{to}\n{to}/sub\n"));
    }
}

/// An image whose tree tries to get out of the directory that it is copied to.
#[test]
fn nothing_leaves_the_target() {
    let scratch = Scratch::new();
    let victim = scratch.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("precious"), "precious").unwrap();
    let victim = victim.to_str().unwrap().to_owned();
    let image = scratch.image("a.img", 8, None);
    good(&["mkdir", "-p", &at(&image, "/a/dir"), &at(&image, "/b")]);
    let evil = scratch.write("evil", "evil");
    let evil = evil.to_str().unwrap();
    good(&["put", evil, &at(&image, "/a/dir/precious")]);
    good(&["put", evil, &at(&image, "/a/file")]);
    // Two sources: the first leaves a link, the second wants to go through it.
    good(&["ln", "-s", &victim, &at(&image, "/b/dir")]);
    let out = scratch.text("out");
    fs::create_dir(&out).unwrap();
    good(&["get", "-r", &at(&image, "/b/."), &out]);
    let through = rump(&["get", "-a", &at(&image, "/a/."), &out]);
    assert_eq!(through.status, 1);
    assert!(
        through.err.contains("symbolic link is in the way"),
        "{}",
        through.err
    );
    // The rest was copied all the same.
    assert_eq!(fs::read_to_string(format!("{out}/file")).unwrap(), "evil");
    // A link that was there before is not followed either, nor written through.
    let target = format!("{victim}/precious");
    let _ = fs::remove_file(format!("{out}/file"));
    symlink(&target, format!("{out}/file")).unwrap();
    good(&["get", &at(&image, "/a/file"), &out]);
    assert!(
        fs::symlink_metadata(format!("{out}/file"))
            .unwrap()
            .is_file()
    );
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    // A name that no file system should have: debugfs puts a slash into it.
    let raw = scratch.image("raw.img", 8, None);
    good(&["put", evil, &at(&raw, "/..Xvictim")]);
    let mut bytes = fs::read(&raw).unwrap();
    let name = b"..Xvictim";
    let found: Vec<_> = (0..bytes.len() - name.len())
        .filter(|&at| &bytes[at..at + name.len()] == name)
        .collect();
    assert!(!found.is_empty());
    for place in found {
        bytes[place + 2] = b'/';
    }
    fs::write(&raw, bytes).unwrap();
    let deep = scratch.text("deep");
    fs::create_dir(&deep).unwrap();
    rump(&["get", "-a", &at(&raw, "/"), &deep]);
    assert!(fs::metadata(scratch.path("victim")).unwrap().is_dir());
    assert!(fs::read_dir(&victim).unwrap().count() == 1);
}

#[test]
fn copies_onto_and_into_themselves() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    good(&["mkdir", "-p", &at(&image, "/d/e")]);
    let file = scratch.write("f", "x");
    good(&["put", file.to_str().unwrap(), &at(&image, "/d/f")]);
    fails(
        &["cp", &at(&image, "/d/f"), &at(&image, "/d/f")],
        1,
        &["the same"],
    );
    assert_eq!(good(&["cat", &at(&image, "/d/f")]), "x");
    fails(
        &["cp", "-r", &at(&image, "/d"), &at(&image, "/d")],
        1,
        &["into itself"],
    );
    fails(
        &["cp", "-r", &at(&image, "/"), &at(&image, "/d/all")],
        1,
        &["into itself"],
    );
    check(&image);
    let out = scratch.text("h");
    fs::create_dir_all(format!("{out}/x")).unwrap();
    fails(&["cp", "-r", &out, &out], 1, &["into itself"]);
}

/// Another name of the source, and a link's own target, are the same file: as cp says, on either side.
#[test]
fn a_file_is_not_copied_onto_itself_by_another_name() {
    let scratch = Scratch::new();
    scratch.write("src/a", "x");
    scratch.write("src/from/f", "y");
    fs::create_dir(scratch.path("src/to")).unwrap();
    let tree = scratch.path("src");
    fs::hard_link(tree.join("a"), tree.join("hard")).unwrap();
    fs::hard_link(tree.join("from/f"), tree.join("to/f")).unwrap();
    std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("../to/f", tree.join("from/g")).unwrap();
    let image = scratch.image("a.img", 8, Some(&tree));
    let host = tree.to_str().unwrap();
    let names = |place: &str, program: &str| {
        let words = [
            place,
            "-name",
            "lost+found",
            "-prune",
            "-o",
            "-printf",
            "%P %n %l\\n",
        ];
        let text = match program {
            "find" => tool("find", &words),
            _ => good(&[&["find"][..], &words].concat()),
        };
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains(' '))
            .map(str::to_owned)
            .collect();
        lines.retain(|line| {
            !line.starts_with(' ') && !line.starts_with("from ") && !line.starts_with("to ")
        });
        lines.sort();
        lines
    };
    let before = names(host, "find");
    for (options, from, to) in [
        ("", "/a", "/hard"),
        ("-a", "/a", "/hard"),
        ("-r", "/a", "/hard"),
        ("", "/a", "/link"),
        ("-P", "/link", "/a"),
        ("-P", "/link", "/link"),
        ("-r", "/from/f", "/to"),
        ("-f", "/hard", "/a"),
    ] {
        let options: Vec<&str> = options.split_whitespace().collect();
        let run = |program: &[&str], place: &dyn Fn(&str) -> String| {
            let (from, to) = (place(from), place(to));
            let words = [program, &options, &[&from, &to]].concat();
            let status = std::process::Command::new(words[0])
                .args(&words[1..])
                .output()
                .unwrap();
            (
                status.status.code(),
                String::from_utf8_lossy(&status.stderr).lines().count(),
            )
        };
        let on_host = |path: &str| format!("{host}{path}");
        let theirs = run(&["cp"], &on_host);
        assert_eq!(theirs, (Some(1), 1), "{options:?} {from} {to}");
        assert_eq!(
            run(&[common::RUMP, "cp"], &on_host),
            theirs,
            "{options:?} {from} {to}"
        );
        assert_eq!(
            run(&[common::RUMP, "cp"], &|path| at(&image, path)),
            theirs,
            "{options:?} {from} {to}"
        );
    }
    assert_eq!(names(host, "find"), before);
    assert_eq!(names(&at(&image, "/"), "rump"), before);
    // In a tree, the others are copied.
    scratch.write("src/from/new", "z");
    good(&["put", &format!("{host}/from/new"), &at(&image, "/from")]);
    let trees = [
        (format!("{host}/from/."), format!("{host}/to")),
        (at(&image, "/from/."), at(&image, "/to")),
    ];
    for (from, to) in trees {
        let done = rump(&["cp", "-r", &from, &to]);
        let said: Vec<_> = done
            .err
            .lines()
            .filter(|line| line.ends_with("/f: source and target are the same"))
            .collect();
        assert_eq!(
            (done.status, said.len(), done.err.lines().count()),
            (1, 1, 1),
            "{done:?}"
        );
    }
    let expected = "f 2\ng 1\nnew 1\n";
    assert_eq!(
        good(&[
            "find",
            &at(&image, "/to"),
            "-type",
            "f,l",
            "-printf",
            "%f %n\\n"
        ])
        .split('\n')
        .collect::<std::collections::BTreeSet<_>>(),
        expected.split('\n').collect()
    );
    check(&image);
}

/// Nodes are made anew with -r; else what comes out of them is copied, as with cp, and out of a socket or an image nothing does.
#[test]
fn nodes_that_are_named_are_read() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let (fifo, socket, link) = (
        scratch.text("fifo"),
        scratch.text("socket"),
        scratch.text("link"),
    );
    tool("mkfifo", &[&fifo]);
    let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::os::unix::fs::symlink("fifo", &link).unwrap();
    let (to, root) = (at(&image, "/new"), at(&image, "/"));
    let words = ["socket: No such device or address"];
    fails(&["put", &socket, &to], 1, &words);
    fails(&["stat", &to], 1, &["No such file"]);
    // The link itself, which nobody has to write into.
    good(&["put", "-P", &link, &root]);
    good(&["put", "-r", &fifo, &socket, &root]);
    let types = good(&[
        "stat",
        "-c",
        "%F",
        &at(&image, "/link"),
        &at(&image, "/fifo"),
        &at(&image, "/socket"),
    ]);
    assert_eq!(types, "symbolic link\nfifo\nsocket\n");
    let out = scratch.text("out");
    for name in ["/fifo", "/socket"] {
        let said = format!("{name}: No such device or address");
        fails(&["get", &at(&image, name), &out], 1, &[&said]);
    }
    assert!(!scratch.path("out").exists());
    check(&image);
}

/// What stays is not named: nothing was copied.
#[test]
fn names_are_those_of_what_is_copied() {
    let scratch = Scratch::new();
    scratch.write("src/old", "x");
    scratch.write("src/new", "y");
    let image = scratch.image("a.img", 8, Some(&scratch.path("src")));
    scratch.write("out/old", "mine");
    let (out, old, new) = (scratch.text("out"), at(&image, "/old"), at(&image, "/new"));
    let done = rump(&["get", "-nv", &old, &new, &out]);
    assert_eq!((done.status, &done.err[..]), (0, "new\n"));
    assert_eq!(fs::read(scratch.path("out/old")).unwrap(), b"mine");
    let (to, host) = (at(&image, "/"), scratch.text("src/new"));
    let third = scratch.write("third", "z");
    let done = rump(&["put", "-nv", &host, third.to_str().unwrap(), &to]);
    assert_eq!((done.status, &done.err[..]), (0, "third\n"));
}

/// A directory that was there before keeps its mode unless modes are copied, as with cp.
#[test]
fn directories_that_are_there_keep_their_modes() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    scratch.write("src/sub/f", "x");
    let mode = |name: &str, bits: u32| {
        fs::set_permissions(scratch.path(name), fs::Permissions::from_mode(bits)).unwrap();
    };
    mode("src/sub", 0o755);
    let image = scratch.image("a.img", 8, None);
    let (from, out) = (scratch.text("src/."), scratch.text("out"));
    fs::create_dir_all(scratch.path("out/sub")).unwrap();
    mode("out/sub", 0o711);
    good(&["mkdir", "-m", "711", &at(&image, "/sub")]);
    for (options, bits) in [
        (&["--owner", "0:0"][..], 0o711),
        (&["--preserve", "timestamps"], 0o711),
        (&["-p"], 0o755),
    ] {
        let to = at(&image, "/");
        for to in [&out, &to] {
            good(&[&["cp", "-r"], options, &[&from[..], to]].concat());
        }
        let host = fs::metadata(scratch.path("out/sub")).unwrap();
        assert_eq!(host.permissions().mode() & 0o777, bits, "{options:?}");
        let there = good(&["stat", "-c", "%a", &at(&image, "/sub")]);
        assert_eq!(there, format!("{bits:o}\n"), "{options:?}");
    }
}

#[test]
fn nodes_and_attributes() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let file = scratch.write("f", "x");
    tool(
        "setfattr",
        &["-n", "user.colour", "-v", "red", file.to_str().unwrap()],
    );
    good(&["cp", "-a", file.to_str().unwrap(), &at(&image, "/f")]);
    let out = scratch.text("out");
    good(&["cp", "-a", &at(&image, "/f"), &out]);
    let value = tool("getfattr", &["--only-values", "-n", "user.colour", &out]);
    assert_eq!(value, "red");
    good(&["cp", "-p", &at(&image, "/f"), &scratch.text("bare")]);
    assert_eq!(tool("getfattr", &["-d", &scratch.text("bare")]), "");
    // Devices, made by an archive that needs no privileges.
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Char);
    header.set_mode(0o600);
    header.set_size(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(5);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    archive.append_data(&mut header, "null", &[][..]).unwrap();
    let archive = archive.into_inner().unwrap();
    assert_eq!(rump_with(&["untar", &at(&image, "/")], &archive).status, 0);
    assert_eq!(
        good(&["stat", "-c", "%F %Hr,%Lr", &at(&image, "/null")]),
        "character special file 1,3\n"
    );
    let copied = rump(&["cp", "-a", &at(&image, "/null"), &scratch.text("null")]);
    match fs::metadata(scratch.path("null")) {
        Ok(made) => assert!(made.file_type().is_char_device() && copied.status == 0),
        // Not everybody may.
        Err(_) => assert!(copied.status == 1 && copied.err.contains("device nodes are left out")),
    }
    check(&image);
}

#[test]
fn owners_that_cannot_be_kept_are_said_once() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let file = scratch.write("f", "x");
    for name in ["/a", "/b", "/c"] {
        good(&[
            "put",
            "--owner",
            "7:8",
            file.to_str().unwrap(),
            &at(&image, name),
        ]);
    }
    let root = fs::metadata(&file).unwrap().uid() == 0;
    let root_address = at(&image, "/.");
    for (options, status) in [(&["-a"][..], 0), (&["-a", "--strict"], 1)] {
        let out = scratch.path(if status == 0 { "lax" } else { "strict" });
        fs::create_dir(&out).unwrap();
        if root {
            std::os::unix::fs::chown(&out, Some(65_534), Some(65_534)).unwrap();
        }
        let args = [
            &["get"],
            options,
            &[&root_address[..], out.to_str().unwrap()],
        ]
        .concat();
        let mut command = common::command(&args);
        if root {
            use std::os::unix::process::CommandExt;
            fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&image, fs::Permissions::from_mode(0o644)).unwrap();
            let copy = scratch.path("rump");
            common::copy_of_rump(copy.as_ref());
            command = std::process::Command::new(copy);
            command.args(&args).uid(65_534).gid(65_534);
        }
        let done = command.output().unwrap();
        let err = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(status), "{err}");
        assert_eq!(err.matches("owners are not kept").count(), 1, "{err}");
        assert_eq!(fs::read_to_string(out.join("c")).unwrap(), "x");
    }
}

#[test]
fn a_signal_ends_cleanly() {
    let scratch = Scratch::new();
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let image = scratch.image("a.img", 32, None);
        // An archive whose last member never comes to its end.
        let mut archive = tar::Builder::new(Vec::new());
        for (name, len) in [("first", 100_000), ("second", 20_000_000)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(len);
            header.set_mode(0o644);
            let data = noise(usize::try_from(len).unwrap());
            archive.append_data(&mut header, name, &data[..]).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let mut child = common::interruptible(&["untar", &at(&image, "/")])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&archive[..10_000_000]).unwrap();
        tool("kill", &["-s", signal, &child.id().to_string()]);
        let start = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(start.elapsed() < Duration::from_secs(20));
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        drop(stdin);
        check(&image);
        // What was complete is there, what was not is gone.
        assert_eq!(good(&["ls", &at(&image, "/")]), "first\nlost+found\n");
        assert!(rump(&["cat", &at(&image, "/first")]).out == noise(100_000));
    }
}

/// Nobody writes into a FIFO: the wait for him is ended by a signal.
#[test]
fn a_signal_ends_the_wait_for_who_writes() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let fifo = scratch.text("fifo");
    tool("mkfifo", &[&fifo]);
    for words in [
        &["put", &fifo, &at(&image, "/f")][..],
        &["untar", "-f", &fifo, &at(&image, "/")],
        &["cp", &fifo, "-"],
    ] {
        let mut child = common::interruptible(words).spawn().unwrap();
        let start = Instant::now();
        let status = loop {
            // It may not wait yet.
            tool("kill", &["-s", "INT", &child.id().to_string()]);
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{words:?}");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(
            matches!(status.code(), Some(130) | None),
            "{words:?}: {status}"
        );
        check(&image);
    }
}

/// The access control list of every file below, by its name, as getfacl(1) shows them.
fn acls(root: &str) -> Vec<String> {
    let text = tool("sh", &["-c", &format!("cd '{root}' && getfacl -nR .")]);
    let mut files: Vec<_> = text
        .split("\n\n")
        .map(|file| file.trim().replace('\n', " "))
        .filter(|file| !file.is_empty() && !file.contains("lost+found"))
        .collect();
    files.sort();
    files
}

/// What belongs to a mode besides its bits goes where cp(1) has it go: into directories that give an access control list to what is made in
/// them, on the host and in an image, for several umasks.
#[test]
fn access_control_lists_are_those_that_cp_makes() {
    let scratch = Scratch::new();
    let src = scratch.text("src");
    for (name, mode) in [
        ("a600", 0o600),
        ("b640", 0o640),
        ("c777", 0o777),
        ("sub/d664", 0o664),
    ] {
        let file = scratch.write(&format!("src/{name}"), name);
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }
    scratch.write("src/listed", "listed");
    tool(
        "setfacl",
        &["-m", "u:7:rw,g::r", &scratch.text("src/listed")],
    );
    tool("setfacl", &["-d", "-m", "u:8:rx", &scratch.text("src/sub")]);
    let targets = |at: &str| {
        for (dir, acl) in [
            ("full", "u::rwx,g::r-x,o::---,u:1234:rwx,m::rwx"),
            ("short", "u::rwx,g::r-x,o::---"),
            ("none", ""),
        ] {
            let dir = format!("{}/{dir}", scratch.text(at));
            fs::create_dir_all(&dir).unwrap();
            if !acl.is_empty() {
                tool("setfacl", &["-d", "-m", acl, &dir]);
            }
        }
    };
    for at in ["theirs", "ours", "empty"] {
        targets(at);
    }
    let from = scratch.image("from.img", 8, Some(&scratch.path("src")));
    let into = scratch.image("into.img", 8, Some(&scratch.path("empty")));
    let theirs = scratch.text("theirs");
    for umask in ["022", "077", "002"] {
        for (number, how) in ["-r", "-rp", "-a", "-r --preserve=mode"].iter().enumerate() {
            for dir in ["full", "short", "none"] {
                let name = format!("{dir}/{umask}-{number}");
                let run = |line: String| tool("sh", &["-c", &format!("umask {umask}; {line}")]);
                run(format!("cp {how} '{src}' '{theirs}/{name}'"));
                run(format!(
                    "'{RUMP}' get {how} '{from}:/' '{}/{name}'",
                    scratch.text("ours")
                ));
                run(format!("'{RUMP}' put {how} '{src}' '{into}:/{name}'"));
            }
        }
    }
    let expected = acls(&theirs);
    assert!(expected.iter().any(|file| file.contains("user:7:rw-")));
    // The root of an image is a directory of its own mode.
    let below = |files: Vec<String>| -> Vec<String> {
        let is_root = |file: &str| {
            file.split(' ')
                .nth(2)
                .is_some_and(|path| path.matches('/').count() < 2)
        };
        files.into_iter().filter(|file| !is_root(file)).collect()
    };
    assert_eq!(below(acls(&scratch.text("ours"))), below(expected.clone()));
    check(&into);
    let out = scratch.text("out");
    good(&["get", "-a", &at(&into, "/"), &out]);
    assert_eq!(below(acls(&out)), below(expected));
}

/// Attributes belong to the new file, not to the one that it takes the place of.
#[test]
fn a_file_that_is_replaced_has_the_attributes_of_the_new_one() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let file = scratch.write("file", "new");
    let file = file.to_str().unwrap();
    tool("setfattr", &["-n", "user.which", "-v", "old", file]);
    good(&["put", "-a", file, &at(&image, "/file")]);
    tool("setfattr", &["-n", "user.which", "-v", "new", file]);
    good(&["put", "-a", file, &at(&image, "/file")]);
    let seen = tool("debugfs", &["-R", "ea_get /file user.which", &image]);
    assert!(seen.contains("\"new\""), "{seen}");
    check(&image);
}
