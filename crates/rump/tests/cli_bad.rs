//! What is wrong is said with its name and reason, and changes nothing.

mod common;

use common::{Scratch, at, check, fails, good, noise, rump};
use std::{fs, os::unix::process::CommandExt};

#[test]
fn what_is_no_image() {
    let scratch = Scratch::new();
    let empty = scratch.write("empty.img", "");
    let junk = scratch.write("junk.img", noise(100_000));
    let short = scratch.write("short.img", "x");
    let fifo = scratch.path("fifo");
    common::tool("mkfifo", &[fifo.to_str().unwrap()]);
    let socket = scratch.path("socket");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let no_medium = "neither a regular file nor a block device";
    for (path, reason) in [
        (&empty, "empty"),
        (&junk, "no file system found in 100000 bytes (tried: "),
        (&short, "no file system found in 1 bytes"),
        (&scratch.path("missing"), "No such file or directory"),
        (&scratch.0, "Is a directory"),
        (&"/dev/null".into(), no_medium),
        (&"/dev/zero".into(), no_medium),
        (&fifo, no_medium),
        (&socket, no_medium),
    ] {
        let image = path.to_str().unwrap();
        let root = at(image, "/");
        for words in [
            &["ls", &root][..],
            &["touch", &at(image, "/x")],
            &["info", image],
            &["df", image],
            &["mount", image, "/"],
            &["shell", image],
        ] {
            let done = rump(words);
            assert_eq!(done.status, 1, "{words:?}");
            let start = format!("rump: {}: {reason}", path.display());
            assert!(done.err.starts_with(&start), "{words:?}: {}", done.err);
            assert_eq!(done.err.lines().count(), 1);
            assert!(done.out.is_empty());
        }
        // No word goes between those that somebody is typing.
        let done = rump(&["completions", "bash", &format!("--word={root}")]);
        assert_eq!((done.status, done.out.len(), &*done.err), (1, 0, ""));
    }
    assert_eq!(fs::read(junk).unwrap(), noise(100_000));
}

/// What qemu-img and packers make is named, with the way to what can be read; nothing is written into it.
#[test]
fn what_holds_an_image_in_another_form() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let root = |name: &str| at(&scratch.text(name), "/");
    let mut packed = vec!["a.img.gz", "a.img.xz", "a.img.zst"];
    for packer in ["gzip -k", "xz -k0", "zstd -q"] {
        let words: Vec<&str> = packer.split(' ').collect();
        common::tool(words[0], &[&words[1..], &[&image]].concat());
    }
    let marks: [(&str, usize, &[u8]); 5] = [
        ("qcow2", 0, b"QFI\xfb\0\0\0\x03"),
        ("vmdk", 0, b"KDMV\x01\0\0\0"),
        ("vhd", 0, b"conectix"),
        ("vhdx", 0, b"vhdxfile"),
        ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ];
    for (name, at, mark) in marks {
        let mut bytes = vec![0; 70_000];
        bytes[at..at + mark.len()].copy_from_slice(mark);
        scratch.write(name, bytes);
        packed.push(name);
    }
    for name in packed {
        let before = fs::read(scratch.path(name)).unwrap();
        let words = ["packed as ", "unpack it with "];
        for command in ["ls", "mkdir", "info"] {
            fails(&[command, &root(name)], 1, &words);
        }
        assert!(fs::read(scratch.path(name)).unwrap() == before);
    }
}

#[test]
fn damaged_and_cut_images() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 16, None);
    let whole = fs::read(&image).unwrap();
    let cut = scratch.write("cut.img", &whole[..200_000]);
    let cut = at(cut.to_str().unwrap(), "/");
    fails(
        &["ls", &cut],
        1,
        &["cut.img", "cannot be mounted as ext2fs", "cut off"],
    );
    fails(
        &["mkdir", &at(cut.trim_end_matches(":/"), "/x")],
        1,
        &["cut off"],
    );
    assert!(fs::read(scratch.path("cut.img")).unwrap() == whole[..200_000]);
    // A feature that nobody knows.
    let mut unknown = whole.clone();
    unknown[1024 + 0x60 + 3] |= 0x40;
    let path = scratch.write("unknown.img", &unknown);
    let done = rump(&["ls", &at(path.to_str().unwrap(), "/")]);
    assert_eq!(done.status, 1);
    assert!(
        done.err
            .contains("unknown.img: cannot be mounted as ext2fs"),
        "{}",
        done.err
    );
}

#[test]
fn wrong_types_parts_and_usage() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let root = at(&image, "/");
    fails(
        &["-t", "ntfs", "ls", &root],
        1,
        &[&image, "unknown file system type 'ntfs'"],
    );
    fails(&["-t", "tmpfs", "ls", &root], 1, &[&image, "tmpfs"]);
    for name in ["ext2", "ext3", "ext4", "ext2fs"] {
        assert_eq!(good(&["-t", name, "ls", &root]), "lost+found\n");
        assert_eq!(good(&["df", "-T", "-t", name, &image]).lines().count(), 2);
    }
}

#[test]
fn usage_errors_are_2() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let before = fs::read(&image).unwrap();
    for args in [
        &["ls"][..],
        &["frobnicate"],
        &["ls", &image],
        &["ls", "--no-such-option", "x:/"],
        &["cp", "one"],
        &["chmod", "9", &at(&image, "/")],
        &["chown", "root", &at(&image, "/")],
        &["touch", "-d", "tomorrow", &at(&image, "/x")],
        &["truncate", "-s", "x", &at(&image, "/x")],
        &["stat", "-c", "%q", &at(&image, "/")],
        &["find", &at(&image, "/"), "-size", "x"],
        &["get", "not-an-address", "."],
        &["put", "/etc/hostname", "not-an-address"],
        &["mkdir", &format!("{image}@:/x")],
        &["mkdir", &format!("{image}@@x:/x")],
        &["man", "frob"],
    ] {
        let done = rump(args);
        assert_eq!(done.status, 2, "{args:?}: {done:?}");
        assert!(!done.err.is_empty());
    }
    assert!(fs::read(&image).unwrap() == before);
}

/// mount(8) passes on what its helper says: 1 for wrong usage, 32 for a mount that failed.
#[test]
fn a_helper_of_mount_has_its_statuses() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let (helper, dir) = (scratch.path("mount.rump"), scratch.text("dir"));
    std::os::unix::fs::symlink(common::RUMP, &helper).unwrap();
    fs::create_dir(&dir).unwrap();
    let status = |program: &str, words: &[&str]| {
        let mut command = std::process::Command::new(program);
        let output = command.args(words).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let none = scratch.text("none");
    for (words, ours, plain) in [
        (&[&image[..]][..], 1, 2),
        (&[&image, &dir, "-Q"], 1, 2),
        (&[&image, &dir, "-o", "attr_timeout=x"], 1, 2),
        (&[&none, &dir], 32, 1),
        (&[&image, &none], 32, 1),
        (&[&image, &dir, "-o", "nonsense"], 32, 1),
    ] {
        let done = status(helper.to_str().unwrap(), words);
        assert_eq!(done.0, ours, "{words:?}: {}", done.1);
        let done = status(common::RUMP, &[&["mount"], words].concat());
        assert_eq!(done.0, plain, "{words:?}: {}", done.1);
    }
    let (code, said) = status(common::RUMP, &["mount", "-t", "nofs", &image, &dir]);
    assert!(
        code == 1 && said.contains("known: ") && said.contains("tmpfs"),
        "{said}"
    );
}

#[test]
fn the_driver_says_what_the_number_does_not() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    fails(
        &["-o", "frobnicate=1", "ls", &at(&image, "/")],
        1,
        &[&image, "frobnicate"],
    );
}

#[test]
fn permissions_of_the_host() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    // The test may run as root, whom nothing is forbidden: then somebody else tries.
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    fs::set_permissions(&image, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = common::command(&["ls", &at(&image, "/")]);
    if fs::metadata(&image).unwrap().uid() == 0 {
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
        let copy = scratch.path("rump");
        common::copy_of_rump(copy.as_ref());
        command = std::process::Command::new(copy);
        command
            .args(["ls", &at(&image, "/")])
            .uid(65_534)
            .gid(65_534);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(err, format!("rump: {image}: Permission denied\n"));
}

#[test]
fn names_and_paths() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let long = format!("/{}", "x".repeat(256));
    fails(
        &["mkdir", &at(&image, &long)],
        1,
        &["xxx: File name too long"],
    );
    fails(&["put", "/dev/null", &at(&image, &long)], 1, &[]);
    fails(
        &["ls", &at(&image, "/no/such")],
        1,
        &[":/no/such: No such file"],
    );
    fails(
        &["mkdir", &at(&image, "/no/such")],
        1,
        &[":/no/such: No such file"],
    );
    fails(&["rmdir", &at(&image, "/")], 2, &[]);
    fails(&["mkdir", &at(&image, "/lost+found")], 1, &["File exists"]);
    let file = scratch.write("f", "x");
    good(&["put", file.to_str().unwrap(), &at(&image, "/f")]);
    fails(
        &["cat", &at(&image, "/f/g")],
        1,
        &[":/f/g: Not a directory"],
    );
    fails(&["rm", &at(&image, "/lost+found")], 1, &["-r is missing"]);
    fails(&["rm", "-d", &at(&image, "/")], 1, &["the root"]);
    check(&image);
}

#[test]
fn a_full_volume_keeps_what_it_had_and_no_half_file() {
    let scratch = Scratch::new();
    let image = scratch.image_as("a.img", 4, None, &["-t", "ext4", "-m", "0"]);
    let small = scratch.write("small", "precious\n");
    let big = scratch.write("big", noise(8 << 20));
    good(&["put", small.to_str().unwrap(), &at(&image, "/keep")]);
    // Under a new name, and in place of what is there.
    for target in ["/big", "/keep"] {
        fails(
            &["put", big.to_str().unwrap(), &at(&image, target)],
            1,
            &[target, "No space left on device"],
        );
        assert_eq!(good(&["ls", &at(&image, "/")]), "keep\nlost+found\n");
        assert_eq!(good(&["cat", &at(&image, "/keep")]), "precious\n");
        check(&image);
    }
}

#[test]
fn an_image_in_use_is_left_alone() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let file = fs::File::open(&image).unwrap();
    file.lock_shared().unwrap();
    fails(&["mkdir", &at(&image, "/x")], 1, &[&image, "in use"]);
    good(&["ls", &at(&image, "/")]);
    file.unlock().unwrap();
    file.lock().unwrap();
    fails(&["ls", &at(&image, "/")], 1, &[&image, "in use"]);
}
