//! The tool on what is large or deep. Each command ends within the time of the test run, so none writes or reads holes.

mod common;

use common::{Scratch, at, check, good, rump_with, tool};
use std::{fs::File, os::unix::fs::FileExt, os::unix::fs::MetadataExt};

const TIB: u64 = 1 << 40;

/// Space that a file of the host takes, in bytes.
fn space(path: &str) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

fn holds(path: &str) {
    let file = File::open(path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), TIB);
    assert!(space(path) < 1 << 20, "{path} takes {} bytes", space(path));
    let mut buf = [0; 3];
    for at in [0, TIB / 2, TIB - 3] {
        file.read_exact_at(&mut buf, at).unwrap();
        assert_eq!(&buf, b"abc", "at {at}");
    }
}

#[test]
fn a_sparse_file_of_one_tebibyte_stays_sparse() {
    let scratch = Scratch::new();
    let image = scratch.image("image", 64, None);
    let (large, back) = (scratch.text("large"), scratch.text("back"));
    let file = File::create(&large).unwrap();
    file.set_len(TIB).unwrap();
    for at in [0, TIB / 2, TIB - 3] {
        file.write_all_at(b"abc", at).unwrap();
    }
    good(&["put", &large, &at(&image, "/large")]);
    good(&["cp", &at(&image, "/large"), &at(&image, "/copy")]);
    good(&["get", &at(&image, "/copy"), &back]);
    holds(&back);
    check(&image);

    let archive = scratch.text("archive.tar");
    good(&["tar", "-f", &archive, &at(&image, "/large")]);
    assert!(space(&archive) < 1 << 20);
    let folder = scratch.text("unpacked");
    std::fs::create_dir(&folder).unwrap();
    tool("tar", &["-xf", &archive, "-C", &folder]);
    holds(&format!("{folder}/large"));

    let other = scratch.image("other", 64, None);
    let bytes = std::fs::read(&archive).unwrap();
    assert_eq!(rump_with(&["untar", &at(&other, "/")], &bytes).err, "");
    std::fs::remove_file(&back).unwrap();
    good(&["get", &at(&other, "/large"), &back]);
    holds(&back);
    check(&other);
}

#[test]
fn a_tree_a_thousand_deep() {
    let scratch = Scratch::new();
    let image = scratch.image("image", 32, None);
    let deep = vec!["a"; 1000].join("/");
    good(&["mkdir", "-p", &at(&image, &format!("/{deep}"))]);
    scratch.write("file", "deep");
    good(&[
        "put",
        &scratch.text("file"),
        &at(&image, &format!("/{deep}/file")),
    ]);
    assert_eq!(good(&["find", &at(&image, "/a")]).lines().count(), 1001);
    good(&["cp", "-a", &at(&image, "/a"), &at(&image, "/b")]);
    let copied = format!("/b/{}/file", &deep[2..]);
    assert_eq!(good(&["cat", &at(&image, &copied)]), "deep");
    let archive = scratch.text("archive.tar");
    good(&["tar", "-f", &archive, &at(&image, "/a")]);
    let other = scratch.image("other", 32, None);
    let bytes = std::fs::read(&archive).unwrap();
    assert_eq!(rump_with(&["untar", &at(&other, "/")], &bytes).err, "");
    assert_eq!(
        good(&["cat", &at(&other, &format!("/{}/file", &deep[2..]))]),
        "deep"
    );
    good(&["get", "-a", &at(&image, "/b"), &scratch.text("out")]);
    good(&["put", "-a", &scratch.text("out"), &at(&other, "/c")]);
    good(&["rm", "-r", &at(&image, "/a"), &at(&image, "/b")]);
    assert_eq!(good(&["ls", &at(&image, "/")]), "lost+found\n");
    check(&image);
    check(&other);
}

#[test]
fn many_entries_need_little_memory() {
    let scratch = Scratch::new();
    let image = scratch.image_as(
        "image",
        128,
        None,
        &["-t", "ext4", "-b", "1024", "-N", "60000"],
    );
    let mut archive = Vec::new();
    for n in 0..50_000 {
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("d/file{n}")).unwrap();
        header.set_mode(0o644);
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
    }
    archive.extend_from_slice(&[0; 1024]);
    assert_eq!(rump_with(&["untar", &at(&image, "/")], &archive).err, "");
    check(&image);
    // `find` does not keep the directory.
    let script = "ulimit -v 160000; exec \"$0\" find \"$1\" | wc -l";
    let found = tool("sh", &["-c", script, common::RUMP, &at(&image, "/d")]);
    assert_eq!(found.trim(), "50001");
    good(&["rm", "-r", &at(&image, "/d")]);
    check(&image);
}
