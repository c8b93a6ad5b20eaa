//! Specifications: what is written holds, each kind of difference is found, and nothing else.

mod common;

use common::{Scratch, at, fails, good, rump, rump_with, sample, tool};
use std::fs;

fn prepared() -> (Scratch, String, String) {
    let scratch = Scratch::new();
    let tree = sample(&scratch);
    let image = scratch.image("a.img", 16, Some(&tree));
    let spec = good(&["mtree", &at(&image, "/")]);
    fs::write(scratch.path("spec"), &spec).unwrap();
    (scratch, image, spec)
}

#[test]
fn what_is_written_holds() {
    let (scratch, image, spec) = prepared();
    let root = at(&image, "/");
    assert_eq!(good(&["verify", &root, &scratch.text("spec")]), "");
    assert_eq!(
        rump_with(&["verify", &root, "-"], spec.as_bytes()).status,
        0
    );
    assert!(
        spec.starts_with("#mtree v2.0\n. type=dir mode=0755 uid="),
        "{spec}"
    );
    assert!(
        spec.contains("./dir/esc\\033\\133\\063"[..17].trim_end()),
        "{spec}"
    );
    assert!(
        spec.contains("./dir/with\\040space type=file mode=0644 "),
        "{spec}"
    );
    assert!(spec.contains("./link type=link mode=0777 "), "{spec}");
    assert!(spec.contains(" link=hello.txt\n"), "{spec}");
    let hash = common::tool("sha256sum", &[&scratch.text("src/dir/big.bin")]);
    assert!(spec.contains(hash.split(' ').next().unwrap()));
    // Of a directory below: paths start there.
    let below = good(&["mtree", &at(&image, "/dir")]);
    assert!(
        below.contains("\n./sub/deep.c type=file mode=4755 "),
        "{below}"
    );
}

/// Specifications by mtree(8) of NetBSD and by libarchive hold of a copy, and ours hold for mtree(8): names, times, devices and flags are one language.
#[test]
fn others_write_and_read_the_same_language() {
    let scratch = Scratch::new();
    let tree = sample(&scratch);
    scratch.write("src/dir/a#b*c?[d]=\\e", "x");
    scratch.write("src/dir/..x", "y");
    // Others write nanoseconds without leading zeros.
    for (time, name) in [("@-1.25", "empty"), ("@5.000012345", "dir/..x")] {
        tool(
            "touch",
            &["-d", time, &scratch.text(&format!("src/{name}"))],
        );
    }
    let host = tree.to_str().unwrap();
    if tool("id", &["-u"]) == "0\n" {
        for (name, words) in [("null", "c 1 3"), ("block", "b 259 65540")] {
            let path = scratch.text(&format!("src/{name}"));
            let words: Vec<&str> = words.split(' ').collect();
            tool("mknod", &[&[&path[..]], &words[..]].concat());
        }
    }
    let image = scratch.image("a.img", 16, None);
    let root = at(&image, "/");
    good(&["rm", "-r", &at(&image, "/lost+found")]);
    good(&["cp", "-aT", host, &root]);
    let ours = scratch.write("ours", good(&["mtree", &root]));
    assert_eq!(
        tool("mtree", &["-f", ours.to_str().unwrap(), "-p", host]),
        ""
    );
    let bsdtar = "type,mode,uid,gid,nlink,size,time,link,device,sha256";
    let bsdtar = format!("mtree:!all,{bsdtar}");
    for theirs in [
        tool("mtree", &["-c", "-p", host]),
        tool("mtree", &["-c", "-K", "sha256,device", "-p", host]),
        tool("mtree", &["-C", "-f", ours.to_str().unwrap()]),
        tool("mtree", &["-D", "-f", ours.to_str().unwrap()]),
        tool(
            "bsdtar",
            &[
                "-cf",
                "-",
                "--format=mtree",
                "--options",
                &bsdtar,
                "-C",
                host,
                ".",
            ],
        ),
    ] {
        let done = rump_with(&["verify", &root, "-"], theirs.as_bytes());
        assert_eq!(
            (done.status, done.text(), done.err),
            (0, String::new(), String::new()),
            "{theirs}"
        );
    }
    // A flag is not none.
    let plain = tool("mtree", &["-c", "-p", host]);
    tool("debugfs", &["-w", "-R", "sif /empty flags 0x80010", &image]);
    let done = rump_with(&["verify", &root, "-"], plain.as_bytes());
    assert_eq!(
        (done.status, done.text()),
        (1, "./empty: flags: expected none, found 0x10\n".into())
    );
    let done = rump_with(
        &["verify", "--ignore", "flags", &root, "-"],
        plain.as_bytes(),
    );
    assert_eq!(done.status, 0);
}

#[test]
fn every_difference_is_found_alone() {
    let (scratch, image, spec) = prepared();
    let root = at(&image, "/");
    let line = |start: &str| spec.lines().find(|line| line.starts_with(start)).unwrap();
    let hello = line("./hello.txt ");
    let changed = |from: &str, to: &str| spec.replace(hello, &hello.replace(from, to));
    let size = "size=13";
    for (text, expected) in [
        (
            changed("mode=0640", "mode=0600"),
            "./hello.txt: mode: expected 0600, found 0640\n",
        ),
        (
            changed(size, "size=14"),
            "./hello.txt: size: expected 14, found 13\n",
        ),
        (
            changed("nlink=2", "nlink=3"),
            "./hello.txt: nlink: expected 3, found 2\n",
        ),
        (
            changed("time=1000000000.000000000", "time=1000000000.000000001"),
            "./hello.txt: time: expected 1000000000.000000001, found 1000000000.000000000\n",
        ),
        (
            spec.replace(" link=hello.txt", " link=x"),
            "./link: link: expected x, found hello.txt\n",
        ),
        (
            spec.replace(&format!("{hello}\n"), ""),
            "./hello.txt: extra (file)\n",
        ),
        (
            format!("{spec}./more type=fifo\n"),
            "./more: missing (fifo)\n",
        ),
        (
            spec.replace("./pipe type=fifo", "./pipe type=socket"),
            "./pipe: type: expected socket, found fifo\n",
        ),
    ] {
        assert_ne!(text, spec);
        let done = rump_with(&["verify", &root, "-"], text.as_bytes());
        assert_eq!(
            (done.status, &done.text()[..], &done.err[..]),
            (1, expected, "")
        );
    }
    let digest = hello.rsplit('=').next().unwrap();
    let done = rump_with(
        &["verify", &root, "-"],
        changed(digest, &"0".repeat(64)).as_bytes(),
    );
    assert_eq!(done.status, 1);
    assert!(done.text().contains("sha256digest: expected 0000"));
    let json = changed(size, "size=14");
    let json = rump_with(&["verify", "--json", &root, "-"], json.as_bytes());
    let json: serde_json::Value = serde_json::from_slice(&json.out).unwrap();
    assert_eq!(json[0]["difference"], "size");
    assert_eq!(
        (&json[0]["expected"], &json[0]["found"]),
        (&"14".into(), &"13".into())
    );
    // Options.
    let seconds = changed("time=1000000000.000000000", "time=1000000000.000000001");
    let args = ["verify", "--times-in-seconds", &root, "-"];
    assert_eq!(rump_with(&args, seconds.as_bytes()).status, 0);
    let whole = changed("time=1000000000.000000000", "time=1000000000");
    assert_eq!(
        rump_with(&["verify", &root, "-"], whole.as_bytes()).status,
        0
    );
    let fewer = spec.replace(&format!("{hello}\n"), "");
    assert_eq!(
        rump_with(&["verify", "--allow-extra", &root, "-"], fewer.as_bytes()).status,
        0
    );
    drop(scratch);
}

#[test]
fn parts_of_a_specification() {
    let (_scratch, image, _) = prepared();
    let root = at(&image, "/");
    let verify = |options: &[&str], text: &str| {
        let args = [&["verify", "--allow-extra"], options, &[&root[..], "-"]].concat();
        rump_with(&args, text.as_bytes())
    };
    // Nested form, defaults, absent keywords.
    let nested = "/set type=file mode=0644\n. type=dir mode=0755\n  dir type=dir mode=0755\n    \
                  big.bin size=3000000\n    sub type=dir mode=0755\n      deep.c mode=4755\n    ..\n  ..\n\
                  \x20 empty size=0\n  none type=dir mode=1777 ignore\n  nowhere optional\n";
    let done = verify(&[], nested);
    assert_eq!((done.status, &done.text()[..]), (0, ""), "{}", done.err);
    let unknown = verify(
        &[],
        "./empty type=file md5=d41d8cd98f00b204e9800998ecf8427e\n",
    );
    assert_eq!(unknown.status, 1);
    assert!(
        unknown.err.contains("keyword md5 cannot be checked"),
        "{}",
        unknown.err
    );
    assert_eq!(
        verify(&["--ignore", "md5"], "./empty type=file md5=x\n").status,
        0
    );
    for (bad, reason) in [
        ("", "empty specification"),
        ("./a type=frob\n", "-:1: type=frob"),
        ("\n\n./a mode=x\n", "-:3: mode=x"),
        ("./a/../b type=dir\n", "-:1: "),
    ] {
        let done = verify(&[], bad);
        assert_eq!(done.status, 1);
        assert!(done.err.contains(reason), "{}", done.err);
    }
    fails(
        &["verify", &root, "/no/spec"],
        1,
        &["/no/spec: No such file"],
    );
    let missing = rump(&["verify", &at(&image, "/no"), "/dev/null"]);
    assert_eq!(missing.status, 1);
}

/// Patterns stand for the files of a directory that have no entry of their own, as mtree(8) of NetBSD has it.
#[test]
fn patterns_in_a_specification() {
    let scratch = Scratch::new();
    for name in ["a.txt", "b.txt", ".c.txt", "[d].bin", "deep/x/y"] {
        let path = scratch.path(&format!("src/{name}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let host = scratch.text("src");
    let image = scratch.image("a.img", 16, None);
    let root = at(&image, "/");
    good(&["rm", "-r", &at(&image, "/lost+found")]);
    good(&["cp", "-aT", &host, &root]);
    let files = "*.txt type=file size=1\n";
    let whole = ". type=dir\nFILES[d].bin type=file\nd* type=dir ignore\n..\n..\n";
    let both = |files: &str| {
        let spec = whole.replace("FILES", files);
        let theirs = std::process::Command::new("mtree")
            .args(["-f", "/dev/stdin", "-p", &host])
            .stdin(std::fs::File::open(scratch.write("spec", &spec)).unwrap())
            .output()
            .unwrap();
        let ours = rump_with(&["verify", &root, "-"], spec.as_bytes());
        (theirs.stdout.is_empty(), ours.status, ours.text(), ours.err)
    };
    let none = String::new;
    assert_eq!(both(files), (true, 0, none(), none()));
    assert_eq!(
        both(&format!("{files}n*\n")),
        (false, 1, "./n\\052: missing\n".into(), none())
    );
    assert_eq!(
        both(&format!("{files}n* optional\n")),
        (true, 0, none(), none())
    );
    let (theirs, status, text, _) = both("?.txt type=file size=2\n.[a-c].txt type=file\n");
    assert_eq!((theirs, status), (false, 1));
    assert_eq!(
        text,
        "./a.txt: size: expected 2, found 1\n./b.txt: size: expected 2, found 1\n"
    );
    let (_, status, text, _) = both("[ab].txt type=file\n");
    assert_eq!((status, &text[..]), (1, "./.c.txt: extra (file)\n"));
    // An escaped star is one.
    let (_, status, text, _) = both("\\052.txt type=file optional\n");
    assert_eq!((status, text.matches("extra").count()), (1, 3));
    for below in [
        "d*/x type=file\n",
        "e* type=dir optional\nx type=file\n..\n",
    ] {
        let (_, status, _, said) = both(below);
        assert_eq!(status, 1);
        assert!(said.contains("a pattern stands for"), "{said}");
    }
}
