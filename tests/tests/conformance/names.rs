//! Names and paths: lengths, slashes, dots, bytes.

use crate::prelude::*;

for_each_fs! {
    a_name_of_255_bytes_works_everywhere,
    a_name_of_256_bytes_is_enametoolong_everywhere,
    a_long_component_on_the_way_is_enametoolong,
    a_path_of_4095_bytes_works,
    a_path_of_4096_bytes_is_enametoolong,
    many_slashes_are_one,
    dot_is_the_directory_and_dotdot_its_parent,
    dotdot_above_a_mount_leads_out_of_it,
    dotdot_follows_a_moved_directory,
    names_are_bytes needs BYTES,
    every_byte_is_a_name_or_refused,
    names_differ_by_case needs CASE,
    similar_names_are_different_names,
    deep_trees_work,
    a_nul_in_a_path_is_refused,
    absolute_paths_start_at_the_root,
    getcwd_tells_the_path,
    getcwd_of_a_removed_directory_is_enoent,
    chdir_to_a_file_is_enotdir,
    chdir_by_descriptor_works,
}

fn a_name_of_255_bytes_works_everywhere(t: &Fixture) {
    let p = &t.root;
    let (a, b) = (long_name(255), format!("{}y", long_name(254)));
    p.put(&a, b"content").unwrap();
    p.rename(&a, &b).unwrap();
    assert_eq!(p.get(&b).unwrap(), b"content");
    if t.caps().contains(Cap::LINKS) {
        p.link(&b, &a).unwrap();
        assert_eq!(p.names("."), [a.clone(), b.clone()]);
        p.unlink(&a).unwrap();
    }
    if t.caps().contains(Cap::SYMLINKS) {
        p.symlink(&b, &a).unwrap();
        assert_eq!(p.get(&a).unwrap(), b"content");
        p.unlink(&a).unwrap();
    }
    p.mkdir(&a, 0o755).unwrap();
    p.rmdir(&a).unwrap();
    p.unlink(&b).unwrap();
    assert!(p.names(".").is_empty());
}

fn a_name_of_256_bytes_is_enametoolong_everywhere(t: &Fixture) {
    let p = &t.root;
    let name = &long_name(256);
    p.create("file", 0o644).unwrap();
    fails!(p.open(name, O::RDONLY, 0), ENAMETOOLONG);
    fails!(p.open(name, O::CREAT | O::WRONLY, 0o644), ENAMETOOLONG);
    fails!(p.stat(name), ENAMETOOLONG);
    fails!(p.mkdir(name, 0o755), ENAMETOOLONG);
    fails!(p.rmdir(name), ENAMETOOLONG);
    fails!(p.unlink(name), ENAMETOOLONG);
    fails!(p.rename("file", name), ENAMETOOLONG);
    fails!(p.rename(name, "file"), ENAMETOOLONG);
    fails!(p.link("file", name), ENAMETOOLONG);
    fails!(p.symlink("file", name), ENAMETOOLONG);
    fails!(p.mkfifo(name, 0o644), ENAMETOOLONG);
    fails!(p.chmod(name, 0o644), ENAMETOOLONG);
    fails!(p.truncate(name, 0), ENAMETOOLONG);
    fails!(p.readlink(name), ENAMETOOLONG);
    fails!(p.chdir(name), ENAMETOOLONG);
    assert_eq!(p.names("."), ["file"]);
}

fn a_long_component_on_the_way_is_enametoolong(t: &Fixture) {
    fails!(t.root.stat(format!("{}/x", long_name(256))), ENAMETOOLONG);
    fails!(t.root.stat(format!("{}/x", long_name(255))), ENOENT);
}

/// `./././file`, so many bytes long.
fn path_of(len: usize) -> String {
    let path = "./".repeat(len / 2 - 2) + if len.is_multiple_of(2) { "file" } else { "/file" };
    assert_eq!(path.len(), len);
    path
}

fn a_path_of_4095_bytes_works(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    assert_eq!(t.root.get(&path_of(4095)).unwrap(), b"content");
    t.root.chmod(&path_of(4095), 0o600).unwrap();
    t.root.unlink(&path_of(4095)).unwrap();
}

fn a_path_of_4096_bytes_is_enametoolong(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let path = &path_of(4096);
    fails!(p.stat(path), ENAMETOOLONG);
    fails!(p.open(path, O::RDONLY, 0), ENAMETOOLONG);
    fails!(p.open(path, O::CREAT | O::WRONLY, 0o644), ENAMETOOLONG);
    fails!(p.unlink(path), ENAMETOOLONG);
    fails!(p.mkdir(path, 0o755), ENAMETOOLONG);
    fails!(p.rename(path, "x"), ENAMETOOLONG);
    fails!(p.rename("file", path), ENAMETOOLONG);
}

fn many_slashes_are_one(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.create("dir/file", 0o644).unwrap();
    assert_eq!(p.stat("dir///file"), p.stat("dir/file"));
    assert_eq!(p.stat("dir//"), p.stat("dir"));
    assert_eq!(p.stat("//mnt//work//dir"), p.stat("dir"));
}

fn dot_is_the_directory_and_dotdot_its_parent(t: &Fixture) {
    let p = &t.root;
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("a/b", 0o755).unwrap();
    assert_eq!(p.ino("a/."), p.ino("a"));
    assert_eq!(p.ino("a/b/.."), p.ino("a"));
    assert_eq!(p.ino("a/b/../.."), p.ino("."));
    assert_eq!(p.ino("a/b/../../a/./b"), p.ino("a/b"));
}

fn dotdot_above_a_mount_leads_out_of_it(t: &Fixture) {
    let p = &t.root;
    let up = p.stat(format!("{MOUNT_POINT}/..")).unwrap();
    assert_eq!(up, p.stat("/").unwrap());
    assert_ne!(up.dev, p.stat(MOUNT_POINT).unwrap().dev);
    assert_eq!(p.stat("/.."), p.stat("/"));
}

fn dotdot_follows_a_moved_directory(t: &Fixture) {
    let p = &t.root;
    for dir in ["a", "b", "a/moved"] {
        p.mkdir(dir, 0o755).unwrap();
    }
    let fd = p.open("a/moved", O::DIRECTORY, 0).unwrap();
    let up = || p.fstatat(At::Fd(fd), "..", Follow::Yes).map(|stat| stat.ino);
    assert_eq!(up(), p.ino("a"));
    p.rename("a/moved", "b/moved").unwrap();
    assert_eq!(up(), p.ino("b"));
    assert_eq!(p.ino("b/moved/.."), p.ino("b"));
}

fn names_are_bytes(t: &Fixture) {
    let p = &t.root;
    let names: [&[u8]; 6] = [b" ", b"\n", b"\xff\xfe", b"...", b"-rf", "grüße".as_bytes()];
    for name in names {
        let fd = p.open(name, O::CREAT | O::EXCL | O::WRONLY, 0o644).unwrap();
        p.close(fd).unwrap();
    }
    let dir = p.open(".", O::DIRECTORY, 0).unwrap();
    let mut listed: Vec<_> = p.getdents(dir, 100).unwrap();
    listed.retain(|entry| entry.name != b"." && entry.name != b"..");
    let mut listed: Vec<_> = listed.into_iter().map(|entry| entry.name).collect();
    listed.sort();
    let mut expected: Vec<_> = names.iter().map(|name| name.to_vec()).collect();
    expected.sort();
    assert_eq!(listed, expected);
    for name in names {
        p.unlinkat(At::Cwd, name, false).unwrap();
    }
}

fn every_byte_is_a_name_or_refused(t: &Fixture) {
    let p = &t.root;
    for byte in 0..=u8::MAX {
        let name = [byte];
        let made = p.open(name, O::CREAT | O::EXCL | O::WRONLY, 0o644);
        match (byte, made) {
            (0, made) => fails!(made, EINVAL),
            (b'/' | b'.', made) => fails!(made, EEXIST | EISDIR),
            (_, Ok(fd)) => {
                p.close(fd).unwrap();
                let dir = p.open(".", O::DIRECTORY, 0).unwrap();
                let listed = p.getdents(dir, 10).unwrap();
                assert!(listed.iter().any(|entry| entry.name == name), "{byte}: {listed:?}");
                p.close(dir).unwrap();
                p.unlinkat(At::Cwd, name, false).unwrap();
            }
            (_, made) => {
                assert!(!t.caps().contains(Cap::BYTES), "{byte}: {made:?}");
                fails!(made, EINVAL | EILSEQ);
            }
        }
    }
    assert!(p.names(".").is_empty());
}

fn names_differ_by_case(t: &Fixture) {
    t.root.put("name", b"small").unwrap();
    t.root.put("NAME", b"capital").unwrap();
    assert_eq!(t.root.get("name").unwrap(), b"small");
    assert_eq!(t.root.get("NAME").unwrap(), b"capital");
}

fn similar_names_are_different_names(t: &Fixture) {
    let p = &t.root;
    for len in 1..=100 {
        p.create(&long_name(len), 0o644).unwrap();
    }
    assert_eq!(p.names(".").len(), 100);
    for len in (1..=100).step_by(2) {
        p.unlink(&long_name(len)).unwrap();
    }
    for len in 1..=100 {
        assert_eq!(p.exists(&long_name(len)), len.is_multiple_of(2), "{len}");
    }
}

fn deep_trees_work(t: &Fixture) {
    let p = t.root.fork();
    for depth in 0..300 {
        p.mkdir("sub", 0o755).unwrap();
        p.chdir("sub").unwrap_or_else(|error| panic!("{depth}: {error}"));
    }
    p.put("file", b"deep").unwrap();
    assert_eq!(p.getcwd().unwrap().len(), "/mnt/work".len() + 300 * "/sub".len());
    p.unlink("file").unwrap();
    for _ in 0..300 {
        p.chdir("..").unwrap();
        p.rmdir("sub").unwrap();
    }
    assert!(p.names(".").is_empty());
}

fn a_nul_in_a_path_is_refused(t: &Fixture) {
    fails!(t.root.open("a\0b", O::CREAT | O::WRONLY, 0o644), EINVAL | ENOENT);
    fails!(t.root.stat("a\0b"), EINVAL | ENOENT);
    fails!(t.root.mkdir("a\0b", 0o755), EINVAL | ENOENT);
}

fn absolute_paths_start_at_the_root(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    assert_eq!(t.root.stat("/mnt/work/file"), t.root.stat("file"));
    fails!(t.root.stat("/file"), ENOENT);
    fails!(t.root.stat("mnt/work/file"), ENOENT);
}

fn getcwd_tells_the_path(t: &Fixture) {
    let p = t.root.fork();
    assert_eq!(p.getcwd().unwrap(), b"/mnt/work");
    p.mkdir("a", 0o755).unwrap();
    p.mkdir("a/b", 0o755).unwrap();
    p.chdir("a/b").unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/mnt/work/a/b");
    t.root.rename("a", "c").unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/mnt/work/c/b");
    p.chdir("/").unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/");
    // The parent is where it was.
    assert_eq!(t.root.getcwd().unwrap(), b"/mnt/work");
}

fn getcwd_of_a_removed_directory_is_enoent(t: &Fixture) {
    let p = t.root.fork();
    p.mkdir("dir", 0o755).unwrap();
    p.chdir("dir").unwrap();
    t.root.rmdir("dir").unwrap();
    fails!(p.getcwd(), ENOENT);
    fails!(p.create("file", 0o644), ENOENT);
    fails!(p.stat(".."), ENOENT);
    p.stat(".").unwrap();
    // A new one of the same name is another one.
    t.root.mkdir("dir", 0o755).unwrap();
    fails!(p.getcwd(), ENOENT);
    p.chdir("/mnt/work/dir").unwrap();
}

fn chdir_to_a_file_is_enotdir(t: &Fixture) {
    let p = t.root.fork();
    p.create("file", 0o644).unwrap();
    fails!(p.chdir("file"), ENOTDIR);
    fails!(p.chdir("none"), ENOENT);
    fails!(p.chdir(""), ENOENT);
    assert_eq!(p.getcwd().unwrap(), b"/mnt/work");
}

fn chdir_by_descriptor_works(t: &Fixture) {
    let p = t.root.fork();
    p.mkdir("dir", 0o755).unwrap();
    p.create("file", 0o644).unwrap();
    let dir = p.open("dir", O::DIRECTORY, 0).unwrap();
    let file = p.open("file", O::RDONLY, 0).unwrap();
    p.fchdir(dir).unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/mnt/work/dir");
    fails!(p.fchdir(file), ENOTDIR);
    fails!(p.fchdir(9999), EBADF);
}
