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
    let followed = rump(&["get", "-rL", &at(&image, "/"), &out("L")]);
    // The absolute link shows /dir a second time, which a walk that follows does not enter again.
    assert_eq!(followed.status, 1, "{}", followed.err);
    assert!(fs::symlink_metadata(out("L/link")).unwrap().is_file());
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
