//! Commands that only read, compared with the native tools on the tree that the image was made from.

mod common;

use common::{Scratch, at, fails, good, noise, rump, sample, tool};
use serde_json::Value;
use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

fn prepared() -> (Scratch, String, String) {
    let scratch = Scratch::new();
    let tree = sample(&scratch);
    let image = scratch.image("a.img", 16, Some(&tree));
    (scratch, image, tree.to_str().unwrap().to_owned())
}

/// Lines of both, sorted, must be the same.
#[track_caller]
fn same(a: &str, b: &str) {
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.split_inclusive('\n').map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(a), sorted(b));
}

#[test]
fn ls_is_like_ls() {
    let (_scratch, image, tree) = prepared();
    for path in ["/dir", "/dir/sub", "/日本"] {
        let host = format!("{tree}{path}");
        for options in [
            &["-1"][..],
            &["-1a"],
            &["-1A"],
            &["-lnA", "--full-time"],
            &["-ln", "--time-style=long-iso"],
            &["-lnt", "--time-style=full-iso"],
            &["-lnSr", "--time-style=iso"],
            &["-lnhs", "--time-style=long-iso"],
            &["-1F"],
            &["-1p"],
            &["-1tr"],
        ] {
            let ours = good(&[&["ls"], options, &[&at(&image, path)[..]]].concat());
            // Raw names, as this tool writes them when nobody looks.
            let theirs = tool("ls", &[options, &["-N", &host[..]]].concat());
            if options[0].contains('s') || options[0].contains('l') {
                // Space in use differs between the file systems, and so does the size of directories.
                let lines = |text: &str| -> Vec<String> {
                    let lines = text.lines().filter(|l| !l.starts_with("total"));
                    let lines = lines.filter(|l| !l.contains("drwx"));
                    lines
                        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
                        .map(|l| match options[0].contains('s') {
                            true => l.split_once(' ').unwrap_or(("", "")).1.to_owned(),
                            false => l,
                        })
                        .collect()
                };
                assert_eq!(lines(&ours), lines(&theirs), "{path} {options:?}");
            } else {
                assert_eq!(ours, theirs, "{path} {options:?}");
            }
        }
    }
}

#[test]
fn ls_of_operands() {
    let (_scratch, image, _) = prepared();
    let file = at(&image, "/hello.txt");
    let dir = at(&image, "/dir/sub");
    assert_eq!(good(&["ls", &file]), format!("{file}\n"));
    assert_eq!(good(&["ls", &dir]), "deep.c\n");
    assert_eq!(good(&["ls", "-d", &dir]), format!("{dir}\n"));
    let both = good(&["ls", &dir, &file]);
    assert_eq!(both, format!("{file}\n\n{dir}:\ndeep.c\n"));
    // A link to a directory is followed, but not with -l.
    assert!(good(&["ls", &at(&image, "/absolute")]).contains("big.bin\n"));
    let link = good(&["ls", "-l", &at(&image, "/absolute")]);
    assert!(link.ends_with("/absolute -> /dir\n"), "{link}");
    let all = good(&["ls", "-R", &at(&image, "/")]);
    assert!(
        all.contains(&format!("\n\n{}:\nagain\nbig.bin\n", at(&image, "/dir"))),
        "{all}"
    );
    let missing = rump(&["ls", &at(&image, "/no"), &dir]);
    assert_eq!(
        (missing.status, missing.text()),
        (1, format!("{dir}:\ndeep.c\n"))
    );
    assert_eq!(
        missing.err,
        format!("rump: {image}:/no: No such file or directory\n")
    );
}

#[test]
fn find_is_like_find() {
    let (_scratch, image, tree) = prepared();
    let format = "%y %m %U %G %n %s %T@ %l %P\\n";
    for expression in [
        &["-not", "-type", "d"][..],
        &["-type", "f", "-size", "+1k"],
        &["-name", "*.c", "-o", "-name", "h*"],
        &[
            "(", "-iname", "HELLO*", "-o", "-type", "l", ")", "!", "-name", "dang*",
        ],
        &["-empty", "-not", "-name", "none"],
        &["-type", "f", "-perm", "-u+s"],
        &["-type", "f", "-perm", "/4000"],
        &["-mindepth", "3"],
        &["-maxdepth", "1", "-type", "f,l,p"],
        &[
            "-type",
            "f",
            "-newermt",
            "2001-09-09 00:00",
            "-not",
            "-newermt",
            "2002-01-01",
        ],
        &["-links", "+1", "-type", "f"],
        &["-name", "dir", "-prune", "-o", "-type", "f"],
        &["-lname", "*dir"],
        &["-path", "*/sub/*"],
        &["-depth", "-type", "f"],
        &["-false", "-o", "-type", "p"],
    ] {
        // Directories' sizes and link counts are the file system's own.
        let filter = ["(", "-not", "-type", "d", ")", "-printf", format];
        let excluded = ["-not", "-path", "*/lost+found*"];
        let mut words = vec!["("];
        words.extend(expression);
        words.push(")");
        words.extend(excluded);
        words.extend(filter);
        let root = at(&image, "/");
        let ours = good(&[&["find", &root[..]], &words[..]].concat());
        let theirs = tool("find", &[&[&tree[..]], &words[..]].concat());
        same(&ours, &theirs);
    }
    let plain = good(&[
        "find",
        &at(&image, "/dir"),
        "-maxdepth",
        "1",
        "-name",
        "[ab]*",
    ]);
    same(
        &plain,
        &format!("{image}:/dir/again\n{image}:/dir/big.bin\n"),
    );
    let zero = good(&["find", &at(&image, "/dir/sub"), "-print0"]);
    assert_eq!(zero, format!("{image}:/dir/sub\0{image}:/dir/sub/deep.c\0"));
    let newer = good(&[
        "find",
        &at(&image, "/"),
        "-type",
        "f",
        "-newer",
        "/dir/big.bin",
        "-name",
        "e*",
    ]);
    same(&newer, &format!("{image}:/empty\n"));
    fails(&["find", &at(&image, "/"), "-exec", "rm"], 2, &["-exec"]);
    fails(
        &["find", &at(&image, "/"), "-newer", "/no"],
        2,
        &["/no", "No such file"],
    );
}

/// -P, -H and -L, with links that lead nowhere, to themselves, back, and to one place from two.
#[test]
fn find_follows_links_as_find_does() {
    let scratch = Scratch::new();
    let tree = scratch.text("src");
    scratch.write("src/d/file", "x");
    for (name, target) in [
        ("loop", "loop"),
        ("nowhere", "none"),
        ("d/up", ".."),
        ("one", "d/file"),
        ("two", "d"),
        ("three", "d"),
    ] {
        std::os::unix::fs::symlink(target, scratch.path(&format!("src/{name}"))).unwrap();
    }
    let image = scratch.image("a.img", 8, Some(Path::new(&tree)));
    for options in ["", "-P", "-H", "-L", "-L -P", "-P -H"] {
        for start in ["/", "/loop", "/nowhere", "/one", "/two"] {
            let words = |start: &str| {
                let tests = "( -name lost+found -prune ) -o ( -type l -printf %P->%l, ) -o -printf %P:%y%d,";
                let words = format!("{options} {start} {tests}");
                words
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let sorted = |out: &[u8]| {
                let mut names: Vec<_> = out.split(|byte| *byte == b',').collect();
                names.sort_unstable();
                String::from_utf8(names.join(&b',')).unwrap()
            };
            let ours = rump(&[&["find".to_owned()][..], &words(&at(&image, start))[..]].concat());
            let theirs = words(&format!("{tree}{start}"));
            let theirs = Command::new("find").args(theirs).output().unwrap();
            let context = format!("{options} {start}: {}", ours.err);
            assert_eq!(sorted(&ours.out), sorted(&theirs.stdout), "{context}");
            assert_eq!(Some(ours.status), theirs.status.code(), "{context}");
            let complaints = String::from_utf8_lossy(&theirs.stderr).lines().count();
            assert_eq!(ours.err.lines().count(), complaints, "{context}");
        }
    }
}

#[test]
fn cat_writes_what_is_there() {
    let (scratch, image, tree) = prepared();
    let two = rump(&[
        "cat",
        &at(&image, "/hello.txt"),
        &at(&image, "/dir/big.bin"),
    ]);
    let expected = [
        fs::read(scratch.path("src/hello.txt")).unwrap(),
        fs::read(scratch.path("src/dir/big.bin")).unwrap(),
    ];
    assert_eq!(two.status, 0);
    assert!(two.out == expected.concat());
    // Through links, relative and absolute, and with holes.
    let link = rump(&["cat", &at(&image, "/absolute/again"), &at(&image, "/link")]);
    assert_eq!(link.text(), "hello, world\nhello, world\n");
    let sparse = rump(&["cat", &at(&image, "/sparse")]);
    assert!(sparse.out == fs::read(format!("{tree}/sparse")).unwrap());
    let some = rump(&["cat", &at(&image, "/dir"), &at(&image, "/hello.txt")]);
    assert_eq!((some.status, some.text()), (1, "hello, world\n".into()));
    assert_eq!(some.err, format!("rump: {image}:/dir: Is a directory\n"));
    fails(
        &["cat", &at(&image, "/dangling")],
        1,
        &["/dangling: No such file"],
    );
    fails(&["cat", &at(&image, "/pipe")], 1, &["/pipe: "]);
}

#[test]
fn stat_is_like_stat() {
    let (_scratch, image, tree) = prepared();
    for format in [
        "%a %A %f %F %g %h %s %u",
        "%X %.3Y %y",
        "[%10s|%-10s|%010s]",
        "[%+s|% s|%+8s|%+08s|%.5s|%08.5s|%8.3s|%-8.3s|%.0s]",
        "[%#a|%#.5a|%#08a|%.2a|%#f|%.6f|%08f|%#010f|%+f|%.4h|%+h]",
        "[%.3F|%.4A|%10.3F|%-10.3F|%.0F|%010F|%.5y]",
        "[%.Y|%.0Y|%.2Y|%14.3Y|%-18.3Y|%+Y|%+.1Y|%.12Y|%Hr|%Lr]",
    ] {
        for path in ["/hello.txt", "/link", "/dir/sub/deep.c", "/pipe", "/empty"] {
            let ours = good(&["stat", "-c", format, &at(&image, path)]);
            let theirs = tool("stat", &["-c", format, &format!("{tree}{path}")]);
            // Access times are kept by mke2fs only to the second, and reading changed them since.
            let ignores_access = |text: String| match format.starts_with("%X") {
                true => text.split_once(' ').unwrap().1.to_owned(),
                false => text,
            };
            assert_eq!(
                ignores_access(ours),
                ignores_access(theirs),
                "{path} {format}"
            );
        }
    }
    let printed = good(&["stat", "--printf", "%n\\0%N", &at(&image, "/link")]);
    assert_eq!(
        printed,
        format!("{image}:/link\0'{image}:/link' -> 'hello.txt'")
    );
    let text = good(&["stat", &at(&image, "/hello.txt")]);
    assert!(text.contains("Access: (0640/-rw-r-----)"), "{text}");
    assert!(
        text.contains("Modify: 2001-09-09 01:46:40.000000000 +0000"),
        "{text}"
    );
    let followed = good(&["stat", "-Lc", "%s", &at(&image, "/link")]);
    assert_eq!(followed, "13\n");
}

#[test]
fn tree_draws() {
    let (_scratch, image, _) = prepared();
    let drawn = good(&["tree", &at(&image, "/dir")]);
    let expected = format!(
        "{image}:/dir\n├── again\n├── big.bin\n├── esc\\033[31m\\nname\n├── sub\n│   └── deep.c\n└── with space\n\n\
         1 directory, 5 files\n"
    );
    assert_eq!(drawn, expected);
    let one = good(&["tree", "-L", "1", "-d", "--noreport", &at(&image, "/dir")]);
    assert_eq!(one, format!("{image}:/dir\n└── sub\n"));
    let links = good(&["tree", "-L", "1", "-a", &at(&image, "/")]);
    assert!(links.contains("├── .hidden\n") && links.contains("├── absolute -> /dir\n"));
}

#[test]
fn du_counts_blocks_and_hard_links_once() {
    let (scratch, image, _) = prepared();
    let mount_free = good(&["du", "-s", &at(&image, "/")]);
    let whole: u64 = mount_free.split('\t').next().unwrap().parse().unwrap();
    assert!((2900..4000).contains(&whole), "{mount_free}");
    let bytes = good(&["du", "-ab", &at(&image, "/dir")]);
    assert!(
        bytes.contains(&format!("3000000\t{image}:/dir/big.bin\n")),
        "{bytes}"
    );
    let twice = scratch.path("twice");
    fs::create_dir(&twice).unwrap();
    fs::write(twice.join("a"), vec![1; 100_000]).unwrap();
    fs::hard_link(twice.join("a"), twice.join("b")).unwrap();
    let image = scratch.image_as("b.img", 8, Some(&twice), &["-b", "1024"]);
    let all = good(&["du", "-a", "-d", "1", &at(&image, "/")]);
    assert!(all.contains("/a\n") != all.contains("/b\n"), "{all}");
    // Under several operands too, as with du.
    let sum = good(&["du", "-sb", "--total", &at(&image, "/a"), &at(&image, "/b")]);
    let (a, b) = (scratch.text("twice/a"), scratch.text("twice/b"));
    let host = tool("du", &["-sb", "--total", &a, &b]);
    assert_eq!(sum, host.replace(&a, &at(&image, "/a")));
    assert_eq!(sum, format!("100000\t{image}:/a\n100000\ttotal\n"));
    let kib = good(&["du", "-hk", &at(&image, "/a")]);
    assert_eq!(kib, format!("99\t{image}:/a\n"));
    assert_eq!(
        good(&["du", "-kh", &at(&image, "/a")]),
        format!("99K\t{image}:/a\n")
    );
    assert!(good(&["df", "-hk", &image]).contains(" 1K-blocks "));
    assert_eq!(rump(&["du", "-bk", &at(&image, "/a")]).status, 2);
    let human = good(&["du", "-sh", &at(&image, "/a")]);
    assert_eq!(human, format!("99K\t{image}:/a\n"));
}

#[test]
fn df_and_info_agree_with_dumpe2fs() {
    let scratch = Scratch::new();
    let how = [
        "-t",
        "ext4",
        "-L",
        "mylabel",
        "-U",
        "01234567-89ab-cdef-0123-456789abcdef",
    ];
    let image = scratch.image_as("a.img", 16, None, &how);
    let dump = tool("dumpe2fs", &["-h", &image]);
    let number = |name: &str| -> u64 {
        let line = dump.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let info = rump(&["info", "--json", &image]);
    let info: Value = serde_json::from_slice(&info.out).unwrap();
    let volume = &info[0]["file_system"];
    assert_eq!(volume["label"], "mylabel");
    assert_eq!(volume["uuid"], "01234567-89ab-cdef-0123-456789abcdef");
    assert_eq!(volume["variant"], "ext4");
    assert_eq!(volume["blocks_free"], number("Free blocks:"));
    assert_eq!(volume["files"], number("Inode count:"));
    assert_eq!(volume["files_free"], number("Free inodes:"));
    let text = good(&["info", &image]);
    for line in [
        "label:            mylabel",
        "variant:          ext4",
        "size:             16777216 bytes (16M)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let df = good(&["df", "-i", &image]);
    let used = number("Inode count:") - number("Free inodes:");
    assert!(df.contains(&format!(" {used} ")), "{df}");
    let json: Value = serde_json::from_str(&good(&["df", "--json", &image])).unwrap();
    assert_eq!(json[0]["blocks_free"], number("Free blocks:"));
}

/// What `xorriso` says that can be booted from an image, in our words.
fn bootable(image: &str) -> Vec<String> {
    let report = tool("xorriso", &["-indev", image, "-report_el_torito", "plain"]);
    let lines = report.lines().filter_map(|line| {
        let fields = line.strip_prefix("El Torito boot img :")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [_, platform, bootable, media, _, _, sectors, block] = fields[..] else {
            panic!("{line}");
        };
        let platform = match platform {
            "BIOS" => "80x86",
            "UEFI" => "EFI",
            other => panic!("{other}"),
        };
        let media = match media {
            "none" => "no emulation",
            "fd1.4" => "1.44 MB diskette",
            other => panic!("{other}"),
        };
        let unit = if sectors == "1" { "sector" } else { "sectors" };
        let byte = block.parse::<u64>().unwrap() * 2048;
        let no = if bootable == "y" {
            ""
        } else {
            ", not bootable"
        };
        Some(format!(
            "{platform}, {media}, {sectors} {unit} at byte {byte}{no}"
        ))
    });
    lines.collect()
}

#[test]
fn what_can_be_booted_is_told() {
    let scratch = Scratch::new();
    let tree = scratch.path("tree");
    fs::create_dir_all(tree.join("boot")).unwrap();
    for (name, len) in [("loader", 3000), ("efi.img", 40_000), ("disk", 1_474_560)] {
        fs::write(tree.join("boot").join(name), noise(len)).unwrap();
    }
    let tree = tree.to_str().unwrap();
    let (bios, raw) = (["-c", "boot/catalog", "-b"], "-no-emul-boot");
    let one = [&bios[..], &["boot/disk"]].concat();
    let two = [
        &bios[..],
        &["boot/loader", raw, "-boot-load-size", "4"],
        &["-eltorito-alt-boot", "-e", "boot/efi.img", raw],
    ]
    .concat();
    let hidden = [&bios[..], &["boot/loader", raw, "-no-boot"]].concat();
    for (program, options, count) in [
        ("genisoimage", &one, 1),
        ("genisoimage", &two, 2),
        ("genisoimage", &hidden, 1),
        ("xorrisofs", &two, 2),
    ] {
        let image = scratch.text("boot.iso");
        let args = [&["-quiet", "-o", &image], &options[..], &[tree]].concat();
        tool(program, &args);
        let expected = bootable(&image);
        assert_eq!(expected.len(), count, "{program}");
        let expected = expected.join("; ");
        let text = good(&["info", &image]);
        assert!(
            text.contains(&format!("El Torito:        {expected}\n")),
            "{expected}: {text}"
        );
        let info: Value = serde_json::from_str(&good(&["info", "--json", &image])).unwrap();
        assert_eq!(info[0]["file_system"]["facts"]["El_Torito"], expected);
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn json_has_one_form_everywhere() {
    let scratch = Scratch::new();
    let tree = sample(&scratch);
    let raw = std::os::unix::ffi::OsStrExt::as_bytes(std::ffi::OsStr::new("x")).to_vec();
    let odd = [&raw[..], b"\xff"].concat();
    let odd = tree.join(std::path::Path::new(
        <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&odd),
    ));
    fs::write(odd, "").unwrap();
    let image = scratch.image("a.img", 16, Some(&tree));
    let parse = |args: &[&str]| -> Vec<Value> {
        match serde_json::from_str(&good(args)).unwrap() {
            Value::Array(values) => values,
            other => panic!("{other}"),
        }
    };
    let named = |values: &[Value], path: &str| -> Value {
        values
            .iter()
            .find(|v| v["path"] == path)
            .unwrap_or_else(|| panic!("{path}"))
            .clone()
    };
    let root = at(&image, "/");
    let listed = named(&parse(&["ls", "--json", &root]), "/hello.txt");
    let file = at(&image, "/hello.txt");
    assert_eq!(listed, parse(&["stat", "--json", &file])[0]);
    assert_eq!(
        listed,
        named(&parse(&["find", "--json", &root]), "/hello.txt")
    );
    assert_eq!(
        listed,
        named(&parse(&["tree", "--json", &root]), "/hello.txt")
    );
    assert_eq!(listed["mode"], "0640");
    assert_eq!(listed["mtime"], "2001-09-09T01:46:40.000000000Z");
    assert_eq!(listed["size"], 13);
    let link = named(&parse(&["ls", "--json", &root]), "/link");
    assert_eq!(
        (&link["type"], &link["target"]),
        (&"link".into(), &"hello.txt".into())
    );
    let odd = named(&parse(&["ls", "--json", &root]), "/x\u{fffd}");
    assert_eq!(odd["name_bytes"], "78ff");
}

#[test]
fn reading_never_changes_an_image() {
    let (scratch, image, _) = prepared();
    let before = fs::read(&image).unwrap();
    let root = at(&image, "/");
    let out = scratch.text("out");
    fs::create_dir(&out).unwrap();
    for args in [
        &["ls", "-lR", &root][..],
        &["cat", &at(&image, "/hello.txt")],
        &["stat", &root],
        &["find", &root],
        &["tree", &root],
        &["du", &root],
        &["df", &image],
        &["info", &image],
        &["mtree", &root],
        &["get", "-a", &root, &out],
    ] {
        assert_eq!(rump(args).status, 0, "{args:?}");
        assert!(fs::read(&image).unwrap() == before, "{args:?}");
    }
    // Nor is it written when the file itself may not be.
    let mut permissions = fs::metadata(&image).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&image, permissions).unwrap();
    good(&["ls", &root]);
}

#[test]
fn partitions_are_found_by_number_label_and_offset() {
    let scratch = Scratch::new();
    let tree = sample(&scratch);
    let how = ["-t", "ext4", "-L", "inner"];
    let part = scratch.image_as("part.img", 16, Some(&tree), &how);
    let disk = scratch.text("disk.img");
    fs::File::create(&disk).unwrap().set_len(24 << 20).unwrap();
    tool(
        "sgdisk",
        &[
            "-n",
            "1:2048:+1M",
            "-n",
            "2:8192:+16M",
            "-c",
            "2:outer",
            "-t",
            "2:8300",
            &disk,
        ],
    );
    let data = fs::read(&part).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &data, 8192 * 512).unwrap();
    let expected = good(&["ls", &at(&part, "/")]);
    for name in [
        "@2",
        "@label=inner",
        "@label=outer",
        "@linux",
        "@@4M",
        "@@4194304",
    ] {
        // Two partitions have the type "linux": sgdisk's default.
        if name == "@linux" {
            fails(&["ls", &format!("{disk}{name}:/")], 1, &["may be any of"]);
            continue;
        }
        assert_eq!(
            good(&["ls", &format!("{disk}{name}:/")]),
            expected,
            "{name}"
        );
    }
    fails(
        &["ls", &format!("{disk}:/")],
        1,
        &["a disk with partitions", "@NUMBER", "outer"],
    );
    fails(
        &["ls", &format!("{disk}@7:/")],
        1,
        &[&disk, "no partition 7"],
    );
    fails(&["ls", &format!("{disk}@label=no:/")], 1, &["label=no"]);
    fails(&["ls", &format!("{disk}@frob:/")], 2, &["frob"]);
    let info = good(&["info", &disk]);
    assert!(
        info.contains("GPT") && info.contains("labelled \"inner\""),
        "{info}"
    );
    // Writing goes to that partition and to nothing else.
    good(&["mkdir", &format!("{disk}@2:/new")]);
    let after = fs::read(&disk).unwrap();
    fs::write(&part, &after[8192 * 512..8192 * 512 + data.len()]).unwrap();
    common::check(&part);
    assert!(good(&["ls", &at(&part, "/")]).contains("new\n"));
    tool("sgdisk", &["-v", &disk]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (_scratch, image, _) = prepared();
    for command in ["cat", "tar"] {
        let path = if command == "cat" {
            "/dir/big.bin"
        } else {
            "/"
        };
        let script = format!(
            "{} {command} '{}' 2>err | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}; cat err",
            common::RUMP,
            at(&image, path)
        );
        let scratch = Scratch::new();
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .current_dir(&scratch.0)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{command}");
    }
    let full = std::process::Command::new("sh")
        .args([
            "-c",
            &format!(
                "{} cat '{}' >/dev/full",
                common::RUMP,
                at(&image, "/dir/big.bin")
            ),
        ])
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    let err = String::from_utf8_lossy(&full.stderr);
    assert_eq!(err, "rump: standard output: No space left on device\n");
    for help in [&["--help"][..], &["ls", "--help"], &["--version"]] {
        let full = fs::File::create("/dev/full").unwrap();
        let output = common::command(help).stdout(full).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(err, "rump: standard output: No space left on device\n");
        assert_eq!(output.status.code(), Some(1), "{help:?}");
    }
}

/// What `cat` writes with standard output as `open` makes it.
fn cat_into(paths: &[String], out: fs::File) {
    let mut cat = common::command(&[&["cat".to_owned()], paths].concat());
    assert!(cat.stdout(out).status().unwrap().success());
}

#[test]
fn cat_writes_the_same_whatever_standard_output_is() {
    let scratch = Scratch::new();
    // Longer than a buffer, with a hole in it and one at its end.
    let mut bytes = common::noise(1_500_001);
    bytes[400_000..900_000].fill(0);
    bytes.resize(2_100_000, 0);
    scratch.write("tree/.keep", "");
    let image = scratch.image("a.img", 16, Some(&scratch.path("tree")));
    let sparse = scratch.path("sparse");
    let file = fs::File::create(&sparse).unwrap();
    for range in [0..400_000, 900_000..1_500_001] {
        let part = &bytes[range.clone()];
        std::os::unix::fs::FileExt::write_all_at(&file, part, range.start as u64).unwrap();
    }
    file.set_len(bytes.len() as u64).unwrap();
    good(&["put", sparse.to_str().unwrap(), &at(&image, "/f")]);
    good(&["put", &scratch.text("tree/.keep"), &at(&image, "/empty")]);
    let paths = ["/f", "/empty", "/f"].map(|path| at(&image, path));
    let twice = [&bytes[..], &bytes[..]].concat();

    let piped = rump(&[&["cat".to_owned()], &paths[..]].concat());
    assert!(piped.out == twice);

    // A file is written where it stands, and stands behind that afterwards.
    let out = scratch.write("out", "xy......z");
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(&out)
        .unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(2)).unwrap();
    cat_into(&paths, file.try_clone().unwrap());
    std::io::Write::write_all(&mut file, b"end").unwrap();
    assert!(fs::read(&out).unwrap() == [b"xy", &twice[..], b"end"].concat());

    // What is appended to grows.
    let out = scratch.write("log", "before ");
    cat_into(
        &paths[..1],
        fs::File::options().append(true).open(&out).unwrap(),
    );
    assert!(fs::read(&out).unwrap() == [b"before ", &bytes[..]].concat());

    let device = good(&["cp", &paths[0], "/dev/null"]);
    assert_eq!(device, "");
}

#[test]
fn who_only_reads_gives_up_the_rest() {
    let scratch = Scratch::new();
    let source = scratch.path("src");
    scratch.write("src/big", noise(1 << 20));
    let image = scratch.image("a.img", 8, Some(&source));
    let mut child = common::command(&["cat", &at(&image, "/big")])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It waits for somebody to read on.
    let mut some = [0; 4096];
    let mut stdout = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut some).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What it has given up, a command shows while it waits for somebody to read on.
#[test]
fn commands_that_read_give_up_the_rest() {
    let scratch = Scratch::new();
    scratch.write("tree/large", common::noise(1 << 20));
    let image = scratch.image("a.img", 16, Some(&scratch.path("tree")));
    let (all, large) = (at(&image, "/"), at(&image, "/large"));
    let cases: [(&[&str], &str); 4] = [
        (&["cat", &large], "2"),
        (&["tar", &all], "2"),
        (&["--no-sandbox", "cat", &large], "0"),
        (&["--no-sandbox", "tar", &all], "0"),
    ];
    for (args, seccomp) in cases {
        let mut child = common::command(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0];
        let printed = child.stdout.as_mut().unwrap().read_exact(&mut first);
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        printed.unwrap();
        let status = status.unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} {status}")).trim()
        };
        assert_eq!(field("Seccomp:"), seccomp, "{args:?}");
        if seccomp == "2" {
            assert_eq!(field("NoNewPrivs:"), "1");
            // CAP_DAC_READ_SEARCH is the third.
            let kept = u64::from_str_radix(field("CapEff:"), 16).unwrap();
            assert_eq!(kept & !4, 0, "{kept:x}");
        }
    }
}
