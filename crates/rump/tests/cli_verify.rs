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

/// A specification of a folder as libarchive writes it.
#[track_caller]
fn of_bsdtar(options: &str, folder: &str) -> String {
    let how = ["-cf", "-", "--format=mtree", "--options", options];
    tool("bsdtar", &[&how[..], &["-C", folder, "."]].concat())
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
        of_bsdtar(&bsdtar, host),
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
    let unknown = verify(&[], "./empty type=file inode=12\n");
    assert_eq!(unknown.status, 1);
    assert!(
        unknown.err.contains("keyword inode cannot be checked"),
        "{}",
        unknown.err
    );
    assert_eq!(
        verify(&["--ignore", "inode"], "./empty type=file inode=x\n").status,
        0
    );
    for (bad, reason) in [
        ("", "empty specification"),
        ("./a type=frob\n", "-:1: type=frob"),
        ("\n\n./a mode=x\n", "-:3: mode=x"),
        ("./a md5=x\n", "-:1: md5=x"),
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

/// The tools that make a digest of a file, and the keyword of each.
const DIGESTS: [(&str, &[&str]); 7] = [
    ("cksum", &["cksum"]),
    ("md5digest", &["md5sum"]),
    ("rmd160digest", &["openssl", "dgst", "-rmd160", "-r"]),
    ("sha1digest", &["sha1sum"]),
    ("sha256digest", &["sha256sum"]),
    ("sha384digest", &["sha384sum"]),
    ("sha512digest", &["sha512sum"]),
];

/// Digests are those of the tools of their names; a specification of mtree(8) or libarchive holds with all of them, and each that is not so is found.
#[test]
fn digests() {
    let scratch = Scratch::new();
    // With a hole, at a size that is no multiple of anything.
    let path = scratch.write("src/file", "x".repeat(70_001));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(300_003).unwrap();
    scratch.write("src/empty", "");
    let host = scratch.text("src");
    let image = scratch.image("a.img", 16, None);
    let root = at(&image, "/");
    good(&["rm", "-r", &at(&image, "/lost+found")]);
    good(&["cp", "-aT", &host, &root]);
    let ours = good(&["mtree", "-k", "all", &root]);
    for name in ["file", "empty"] {
        let line = ours
            .lines()
            .find(|line| line.starts_with(&format!("./{name} ")));
        let words: Vec<_> = line.unwrap().split(' ').collect();
        for (keyword, command) in DIGESTS {
            let path = scratch.text(&format!("src/{name}"));
            let said = tool(command[0], &[&command[1..], &[&path[..]]].concat());
            let word = format!("{keyword}={}", said.split(' ').next().unwrap());
            assert!(words.contains(&&word[..]), "{word}: {line:?}");
        }
    }
    let verify = |options: &[&str], spec: &str| {
        let args = [&["verify"], options, &[&root[..], "-"]].concat();
        let done = rump_with(&args, spec.as_bytes());
        (done.status, done.text(), done.err)
    };
    let holds = (0, String::new(), String::new());
    let file = scratch.write("ours", &ours);
    let read = tool("mtree", &["-f", file.to_str().unwrap(), "-p", &host]);
    assert_eq!(read, "");
    let names = "cksum,md5,rmd160,sha1,sha256,sha384,sha512";
    let options = format!("mtree:!all,type,{names}");
    for theirs in [
        tool("mtree", &["-c", "-k", names, "-p", &host]),
        of_bsdtar(&options, &host),
    ] {
        assert_eq!(theirs.matches("sha384").count(), 2, "{theirs}");
        assert_eq!(verify(&[], &theirs), holds);
    }
    for (keyword, _) in DIGESTS {
        let line = ours
            .lines()
            .find(|line| line.starts_with("./file "))
            .unwrap();
        let (before, after) = line.split_once(&format!(" {keyword}=")).unwrap();
        let value = after.split(' ').next().unwrap();
        let (start, last) = value.split_at(value.len() - 1);
        let other = format!("{start}{}", if last == "1" { 2 } else { 1 });
        let short = keyword.trim_end_matches("digest");
        let spec = format!("{before} {short}={other}\n");
        let found = format!("./file: {keyword}: expected {other}, found {value}\n");
        let extra = ["--allow-extra"];
        assert_eq!(verify(&extra, &spec), (1, found, String::new()));
        for name in [short, keyword] {
            assert_eq!(verify(&["--allow-extra", "--ignore", name], &spec), holds);
        }
    }
}

/// -k, -K and -R choose keywords as those of mtree(8) do.
#[test]
fn chosen_keywords() {
    let scratch = Scratch::new();
    scratch.write("src/file", "abc");
    let image = scratch.image("a.img", 8, Some(&scratch.path("src")));
    let file = at(&image, "/");
    let of = |options: &[&str]| {
        let text = good(&[&["mtree"], options, &[&file[..]]].concat());
        let line = text.lines().find(|line| line.starts_with("./file"));
        line.unwrap().to_owned()
    };
    assert_eq!(
        of(&["-k", "cksum size,md5"]),
        "./file type=file size=3 cksum=1219131554 md5digest=900150983cd24fb0d6963f7d28e17f72"
    );
    assert_eq!(of(&["-k", "size", "-R", "type"]), "./file size=3");
    assert_eq!(of(&["-R", "all"]), "./file");
    let plain = of(&[]);
    let more = of(&["-K", "sha1digest"]);
    assert!(more.contains(" sha1digest=a9993e364706816aba3e25717850c26c9cd0d89d sha256digest="));
    assert_eq!(
        more.replace(" sha1digest=a9993e364706816aba3e25717850c26c9cd0d89d", ""),
        plain
    );
    fails(
        &["mtree", "-k", "inode", &file],
        2,
        &["inode cannot be written"],
    );
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
        let whole = match files.contains("type=dir") {
            _ if files.starts_with("./") => ". type=dir\nFILES".to_owned(),
            true => whole.replace("d* type=dir ignore\n..\n", ""),
            false => whole.to_owned(),
        };
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
    // What is in a directory that matches, one after the other; what need not be there needs nothing in it.
    let below = |inside: &str| format!("{files}dee* type=dir\n{inside}..\n");
    let x = "x type=dir\ny type=file size=1\n..\n";
    assert_eq!(both(&below(x)), (true, 0, none(), none()));
    assert_eq!(
        both(&below(&x.replace("size=1", "size=2"))),
        (
            false,
            1,
            "./deep/x/y: size: expected 2, found 1\n".into(),
            none()
        )
    );
    assert_eq!(
        both(&below(&format!("{x}z type=file\n"))),
        (false, 1, "./dee\\052/z: missing (file)\n".into(), none())
    );
    let (theirs, status, text, _) = both(&below("x type=dir\n..\n"));
    assert_eq!((theirs, status), (false, 1));
    assert_eq!(text, "./deep/x/y: extra (file)\n");
    assert_eq!(
        both(&format!(
            "{files}e* type=dir optional\nx type=file\n..\ndeep type=dir ignore\n..\n"
        )),
        (true, 0, none(), none())
    );
    // In whole paths, and in more than one of their names.
    let paths = "./*.txt type=file\n./\\133d].bin type=file\n\
                 ./d?ep type=dir\n./d?ep/* type=dir\n./d?ep/*/y size=1 type=file\n";
    assert_eq!(both(paths), (true, 0, none(), none()));
}

/// Names of users and groups are those of the image; bsdtar(1) writes them as it finds them on the host.
#[test]
fn names_of_users_and_groups() {
    let scratch = Scratch::new();
    scratch.write("src/file", "x");
    let host = scratch.text("src");
    let image = scratch.image("a.img", 8, Some(&scratch.path("src")));
    let root = at(&image, "/");
    good(&["chown", "7:8", &at(&image, "/file")]);
    let verify = |options: &[&str], spec: &str| {
        let args = [&["verify", "--allow-extra"], options, &[&root[..], "-"]].concat();
        rump_with(&args, spec.as_bytes())
    };
    let spec = "./file uname=hero gname=the\\040heroes type=file\n";
    // Nothing says who that is.
    let done = verify(&[], spec);
    assert_eq!((done.status, done.text()), (1, String::new()));
    for words in [
        format!("uname cannot be checked (--ignore uname): {image}:/etc/passwd: No such file"),
        format!("gname cannot be checked (--ignore gname): {image}:/etc/group: No such file"),
    ] {
        assert!(done.err.contains(&words), "{}", done.err);
    }
    assert_eq!(verify(&["--ignore", "uname,gname"], spec).status, 0);
    let put = |name: &str, text: &str| {
        let from = scratch.write(name, text);
        good(&[
            "put",
            from.to_str().unwrap(),
            &at(&image, &format!("/etc/{name}")),
        ]);
    };
    good(&["mkdir", &at(&image, "/etc")]);
    put("passwd", "root:x:0:0::/:\nhero:x:7:8::/:\nhero:x:1:1::/:\n");
    put("group", "root:x:0:\nthe heroes:x:8:hero\n");
    let done = verify(&[], spec);
    assert_eq!(
        (done.status, done.text(), done.err),
        (0, String::new(), String::new())
    );
    good(&["chown", "0:9", &at(&image, "/file")]);
    assert_eq!(
        verify(&[], spec).text(),
        "./file: uname: expected hero, found root\n./file: gname: expected the heroes, found 9\n"
    );
    let done = verify(&["--ignore", "gname"], "./file uname=no\\033one gname=x\n");
    assert_eq!((done.status, done.text()), (1, String::new()));
    let words = format!("uname=no\\033one: cannot be checked: not in {image}:/etc/passwd");
    assert!(done.err.contains(&words), "{}", done.err);
    // What libarchive writes of its own accord.
    if tool("id", &["-un"]) == "root\n" {
        good(&["chown", "0:0", &at(&image, "/file")]);
        let theirs = tool("bsdtar", &["-cf", "-", "--format=mtree", "-C", &host, "."]);
        assert!(theirs.contains(" uname=root "), "{theirs}");
        let done = verify(&["--ignore", "time"], &theirs);
        assert_eq!(
            (done.status, done.text(), done.err),
            (0, String::new(), String::new())
        );
    }
}

/// Trees on FAT and on a CD, as others see them: mtools, libarchive, mtree(8).
#[test]
fn specifications_of_other_file_systems() {
    let scratch = Scratch::new();
    for name in ["SUB/DEEP.BIN", "long name with é.txt", "odd#name=x"] {
        scratch.write(&format!("src/{name}"), name);
    }
    let host = scratch.text("src");
    let disc = scratch.text("a.iso");
    tool("genisoimage", &["-quiet", "-R", "-o", &disc, &host]);
    let theirs = tool(
        "bsdtar",
        &["-cf", "-", "--format=mtree", &format!("@{disc}")],
    );
    let verify = |image: &str, words: &[&str], spec: &str| {
        let root = at(image, "/");
        let done = rump_with(
            &[&["verify"], words, &[&root[..], "-"]].concat(),
            spec.as_bytes(),
        );
        assert_eq!(
            (done.status, done.text(), done.err),
            (0, String::new(), String::new()),
            "{spec}"
        );
    };
    assert!(theirs.contains("DEEP.BIN"), "{theirs}");
    verify(&disc, &["--ignore", "uname,gname"], &theirs);
    let volume = scratch.text("a.fat");
    tool("mkfs.fat", &["-C", &volume, "8192"]);
    // Two seconds are the least that FAT tells apart.
    for name in ["SUB/DEEP.BIN", "SUB", "long name with é.txt", "odd#name=x"] {
        tool("touch", &["-d", "@1000000000", &format!("{host}/{name}")]);
    }
    good(&["cp", "-rpT", &host, &at(&volume, "/")]);
    let out = scratch.text("out");
    std::fs::create_dir(&out).unwrap();
    tool(
        "mcopy",
        &[
            "-s",
            "-m",
            "-i",
            &volume,
            "::/SUB",
            "::/long name with é.txt",
            "::/odd#name=x",
            &out,
        ],
    );
    let keywords = "type,size,time,sha256";
    let options = format!("mtree:!all,{keywords}");
    for theirs in [
        tool("mtree", &["-c", "-k", keywords, "-p", &out]),
        of_bsdtar(&options, &out),
    ] {
        // The root of a volume has no time of its own.
        let rest: Vec<_> = theirs
            .lines()
            .filter(|line| !line.starts_with(". "))
            .collect();
        let root = ". type=dir";
        let spec = match theirs.contains("./SUB") {
            true => rest.join("\n"),
            false => theirs.replace("\n. ", &format!("\n{root}\n#")),
        };
        verify(&volume, &["--allow-extra"], &spec);
    }
}
