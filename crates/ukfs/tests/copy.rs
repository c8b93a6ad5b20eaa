//! Trees copied into images and out of them; rsync, diff and checkers are the judges.

mod common;

use common::{TempDir, run, text};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, UNIX_EPOCH},
};
use ukfs::{Errno, Fs};

/// A tree of the host with something of everything that needs no privileges.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("dir/deep/er")).unwrap();
    fs::write(root.join("file"), "content\n").unwrap();
    fs::write(root.join("dir/empty"), "").unwrap();
    fs::write(root.join("dir/deep/er/last"), vec![7; 300_001]).unwrap();
    fs::hard_link(root.join("file"), root.join("dir/second name")).unwrap();
    symlink("../file", root.join("dir/link")).unwrap();
    fs::hard_link(root.join("dir/link"), root.join("dir/link again")).unwrap();
    symlink("/etc", root.join("outside")).unwrap();
    run("mkfifo", &["-m", "640", text(&root.join("dir/fifo"))]);
    run(
        "setfattr",
        &["-n", "user.what", "-v", "tree", text(&root.join("dir"))],
    );
    run(
        "setfattr",
        &["-n", "user.what", "-v", "file", text(&root.join("file"))],
    );
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"far", 40 << 20).unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
    };
    mode("file", 0o4755);
    mode("sparse", 0o600);
    // Full, and then closed to everybody who might add to it.
    mode("dir/deep", 0o555);
    for (name, second) in [("file", 86_400), ("dir", 1_000_000_000), (".", 5)] {
        let time = UNIX_EPOCH + Duration::new(second, 123_456_789);
        let file = fs::File::open(root.join(name)).unwrap();
        let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
        file.set_times(times).unwrap();
    }
}

/// What rsync would do to make the second tree like the first one: nothing.
fn same(one: &Path, other: &Path) {
    let (one, other) = (format!("{}/", text(one)), format!("{}/", text(other)));
    let args = ["-aHAX", "--checksum", "--dry-run", "--itemize-changes"];
    let mut args = args.to_vec();
    args.extend(["--delete", &*one, &*other]);
    let told = run("rsync", &args);
    assert_eq!(String::from_utf8_lossy(&told), "");
}

#[test]
fn a_tree_is_the_same_after_both_ways() {
    let dir = TempDir::new();
    let (from, to) = (dir.file("from"), dir.file("to"));
    tree(&from);
    let image = dir.copy("ext4-4k");
    let fs = Fs::options().write(true).open(&image).unwrap();
    let into = fs.copy_in(&from, "/copied").unwrap();
    assert_eq!(into.lost, 0, "{:?}", into.first_lost);
    assert_eq!(into.entries, 13);
    assert_eq!(into.bytes % 4096, (8 + 300_001) % 4096);
    let sparse = fs.metadata("/copied/sparse").unwrap();
    assert!(sparse.blocks() < 100, "{} blocks", sparse.blocks());
    let out = fs.copy_out("/copied", &to).unwrap();
    assert_eq!((out.lost, out.entries), (0, 13), "{:?}", out.first_lost);
    same(&from, &to);
    assert!(fs::metadata(to.join("sparse")).unwrap().blocks() < 100);
    // The same again: everything is replaced by what it was.
    fs.copy_in(&from, "/copied").unwrap();
    fs.copy_out("/copied", &to).unwrap();
    same(&from, &to);
    fs.unmount().unwrap();
    run("e2fsck", &["-fn", text(&image)]);
    // And as another reader gives it.
    let dumped = dir.file("dumped");
    fs::create_dir(&dumped).unwrap();
    let command = format!("rdump /copied {}", text(&dumped));
    run("debugfs", &["-R", &command, text(&image)]);
    let (one, other) = (from.join("dir"), dumped.join("copied/dir"));
    run("diff", &["-r", "-x", "fifo", text(&one), text(&other)]);
}

#[test]
fn what_a_format_cannot_have_is_counted() {
    let dir = TempDir::new();
    let (from, to) = (dir.file("from"), dir.file("to"));
    tree(&from);
    let image = dir.file("fat.img");
    let made = fs::File::create(&image).unwrap();
    made.set_len(256 << 20).unwrap();
    run("mkfs.fat", &["-F", "32", text(&image)]);
    let fs = Fs::options().write(true).open(&image).unwrap();
    let into = fs.copy_in(&from, "/copied").unwrap();
    assert!(into.lost > 0);
    let first = into.first_lost.unwrap();
    assert!(
        matches!(first.errno(), Errno::EPERM | Errno::EOPNOTSUPP),
        "{first}"
    );
    // Both names of the file, but neither symbolic links nor the FIFO.
    assert_eq!(into.entries, 9);
    fs.copy_out("/copied", &to).unwrap();
    fs.unmount().unwrap();
    run("fsck.fat", &["-n", text(&image)]);
    for name in ["file", "dir/second name", "dir/deep/er/last", "sparse"] {
        run("cmp", &[text(&from.join(name)), text(&to.join(name))]);
    }
    assert!(!to.join("dir/link").exists());
}

#[test]
fn nothing_in_an_image_leads_out() {
    let dir = TempDir::new();
    let (to, victim) = (dir.file("to"), dir.file("victim"));
    fs::create_dir_all(&to).unwrap();
    fs::create_dir(&victim).unwrap();
    symlink(&victim, to.join("sub")).unwrap();
    fs::write(victim.join("file"), "mine").unwrap();
    symlink(victim.join("file"), to.join("file")).unwrap();
    let image = Fs::memory().unwrap();
    image.create_dir_all("/t/sub").unwrap();
    image.write("/t/sub/planted", "").unwrap();
    let error = image.copy_out("/t", &to).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOTDIR);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    // A link in a file's place is replaced, not written through.
    image.write("/t/file", "image's").unwrap();
    image.remove_dir_all("/t/sub").unwrap();
    image.copy_out("/t", &to).unwrap();
    assert_eq!(fs::read(victim.join("file")).unwrap(), b"mine");
    assert_eq!(fs::read(to.join("file")).unwrap(), b"image's");
}

#[test]
fn one_file_goes_where_it_is_told() {
    let dir = TempDir::new();
    let file = dir.file("file");
    fs::write(&file, "one").unwrap();
    let link = dir.file("link");
    symlink(&file, &link).unwrap();
    let image = Fs::memory().unwrap();
    // The start is followed.
    assert_eq!(image.copy_in(&link, "/to").unwrap().bytes, 3);
    assert!(image.symlink_metadata("/to").unwrap().is_file());
    image.create_dir("/dir").unwrap();
    let refused = |to: &str| image.copy_in(&file, to).unwrap_err().errno();
    assert_eq!(refused("/dir"), Errno::EISDIR);
    assert_eq!(refused("/"), Errno::EINVAL);
    assert_eq!(refused("/none/to"), Errno::ENOENT);
    let missing = image.copy_in(dir.file("none"), "/x").unwrap_err();
    assert_eq!(missing.errno(), Errno::ENOENT);
    assert!(!image.exists("/x").unwrap());
    // What fails leaves what was there, and nothing else.
    let small = Fs::options().memory(4 << 20).open_memory().unwrap();
    small.write("/to", "before").unwrap();
    fs::write(&file, vec![1; 32 << 20]).unwrap();
    let error = small.copy_in(&file, "/to").unwrap_err();
    assert!(
        matches!(error.errno(), Errno::ENOSPC | Errno::ENOMEM),
        "{error}"
    );
    assert_eq!(small.read("/to").unwrap(), b"before");
    assert_eq!(small.read_dir("/").unwrap().count(), 1);
}

#[test]
fn a_deep_tree_is_copied() {
    let image = Fs::memory().unwrap();
    let mut at = std::path::PathBuf::from("/t");
    for _ in 0..300 {
        at.push("component");
    }
    image.create_dir_all(&at).unwrap();
    image.write(at.join("last"), "there").unwrap();
    let dir = TempDir::new();
    let to = dir.file("to");
    let copied = image.copy_out("/t", &to).unwrap();
    assert_eq!(copied.entries, 302);
    let at = to.join(at.strip_prefix("/t").unwrap());
    assert_eq!(fs::read(at.join("last")).unwrap(), b"there");
    let again = Fs::memory().unwrap();
    assert_eq!(again.copy_in(&to, "/u").unwrap().entries, 302);
}
