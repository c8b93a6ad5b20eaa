//! File flags that forbid changes: immutable and append-only.

use crate::prelude::*;

for_each_fs! {
    an_immutable_file_does_not_change needs FLAGS,
    an_immutable_directory_keeps_its_names needs FLAGS,
    an_immutable_file_can_be_read needs FLAGS,
    an_append_only_file_only_grows needs FLAGS,
    an_append_only_directory_takes_names_and_keeps_them needs FLAGS,
    protecting_is_for_root needs OWNERS FLAGS,
    protection_ends_when_root_says_so needs FLAGS,
    protection_survives_the_mount needs PERSISTENT FLAGS,
    writing_that_began_before_goes_on_or_is_eperm needs FLAGS,
}

fn protect(t: &Fixture, path: &str, flag: u32) {
    let flags = t.root.stat(path).unwrap().flags;
    t.root
        .chflagsat(At::Cwd, path, flags | flag, Follow::Yes)
        .unwrap();
    assert_eq!(t.root.stat(path).unwrap().flags, flags | flag);
}

fn release(t: &Fixture, path: &str) {
    let (immutable, append) = t.numbers().flags;
    let flags = t.root.stat(path).unwrap().flags & !(immutable | append);
    t.root.chflagsat(At::Cwd, path, flags, Follow::Yes).unwrap();
}

fn an_immutable_file_does_not_change(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    p.put("other", b"other").unwrap();
    protect(t, "file", t.numbers().flags.0);
    fails!(p.open("file", O::WRONLY, 0), EPERM);
    fails!(p.open("file", O::RDWR | O::APPEND, 0), EPERM);
    fails!(p.truncate("file", 0), EPERM);
    fails!(p.unlink("file"), EPERM);
    fails!(p.rename("file", "new"), EPERM);
    fails!(p.rename("other", "file"), EPERM);
    fails!(p.chmod("file", 0o600), EPERM);
    fails!(p.chown("file", Some(1), None), EPERM);
    let then = SetTime::To(Timespec::from_secs(1));
    fails!(p.utimens("file", then, then), EPERM);
    fails!(p.access("file", Access::W), EPERM | EACCES);
    if t.caps().contains(Cap::LINKS) {
        fails!(p.link("file", "new"), EPERM);
    }
    if t.caps().contains(Cap::XATTRS) {
        fails!(p.set("file", "user.x", b"v"), EPERM);
    }
    assert_eq!(p.get("file").unwrap(), b"content");
    release(t, "file");
}

fn an_immutable_directory_keeps_its_names(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o777).unwrap();
    p.put("dir/file", b"content").unwrap();
    p.create("other", 0o644).unwrap();
    protect(t, "dir", t.numbers().flags.0);
    fails!(p.create("dir/new", 0o644), EPERM);
    fails!(p.mkdir("dir/new", 0o755), EPERM);
    fails!(p.unlink("dir/file"), EPERM);
    fails!(p.rename("dir/file", "new"), EPERM);
    fails!(p.rename("other", "dir/new"), EPERM);
    fails!(p.rmdir("dir"), EPERM | ENOTEMPTY);
    // What is in it is another matter.
    p.put("dir/file", b"changed").unwrap();
    assert_eq!(p.names("dir"), ["file"]);
    release(t, "dir");
}

fn an_immutable_file_can_be_read(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    protect(t, "file", t.numbers().flags.0);
    assert_eq!(p.get("file").unwrap(), b"content");
    p.access("file", Access::R).unwrap();
    p.can_open("file", O::RDONLY | O::CREAT).unwrap();
    release(t, "file");
}

fn an_append_only_file_only_grows(t: &Fixture) {
    let p = &t.root;
    p.put("log", b"first").unwrap();
    protect(t, "log", t.numbers().flags.1);
    fails!(p.open("log", O::WRONLY, 0), EPERM);
    fails!(p.open("log", O::WRONLY | O::APPEND | O::TRUNC, 0), EPERM);
    fails!(p.truncate("log", 0), EPERM);
    fails!(p.unlink("log"), EPERM);
    fails!(p.rename("log", "new"), EPERM);
    fails!(p.chmod("log", 0o600), EPERM);
    let fd = p.open("log", O::RDWR | O::APPEND, 0).unwrap();
    assert_eq!(p.write(fd, b" second"), Ok(7));
    fails!(p.pwrite(fd, b"F", 0), EPERM);
    fails!(p.ftruncate(fd, 0), EPERM);
    assert_eq!(p.get("log").unwrap(), b"first second");
    release(t, "log");
}

fn an_append_only_directory_takes_names_and_keeps_them(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o777).unwrap();
    protect(t, "dir", t.numbers().flags.1);
    p.create("dir/file", 0o644).unwrap();
    fails!(p.unlink("dir/file"), EPERM);
    fails!(p.rename("dir/file", "dir/new"), EPERM);
    assert_eq!(p.names("dir"), ["file"]);
    release(t, "dir");
}

fn protecting_is_for_root(t: &Fixture) {
    t.user(100).create("file", 0o644).unwrap();
    let (immutable, append) = t.numbers().flags;
    for flag in [immutable, append] {
        let flags = t.root.stat("file").unwrap().flags;
        let set = |p: &Proc, flags| p.chflagsat(At::Cwd, "file", flags, Follow::Yes);
        fails!(set(&t.user(100), flags | flag), EPERM);
        fails!(set(&t.user(101), flags), EPERM);
        assert_eq!(t.root.stat("file").unwrap().flags, flags);
        set(&t.root, flags | flag).unwrap();
        fails!(set(&t.user(100), flags), EPERM);
        release(t, "file");
    }
}

fn protection_ends_when_root_says_so(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    protect(t, "file", t.numbers().flags.0);
    release(t, "file");
    p.put("file", b"changed").unwrap();
    p.unlink("file").unwrap();
}

fn protection_survives_the_mount(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    protect(t, "file", t.numbers().flags.0);
    t.mount_again(MountFlags::default());
    fails!(t.root.put("file", b"changed"), EPERM);
    fails!(t.root.unlink("file"), EPERM);
    release(t, "file");
    t.mount_again(MountFlags::default());
    t.root.put("file", b"changed").unwrap();
}

fn writing_that_began_before_goes_on_or_is_eperm(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    protect(t, "file", t.numbers().flags.0);
    // Linux lets it go on for data; a new size is refused by most.
    if let Err(error) = p.pwrite(fd, b"C", 0) {
        assert_eq!(error, Errno::EPERM);
    }
    fails!(p.ftruncate(fd, 0), EPERM);
    release(t, "file");
}
