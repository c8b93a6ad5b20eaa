//! What every call says of a path that leads nowhere, and that a refused call changes nothing.

use crate::prelude::*;
use rumpuser::Result;

for_each_fs! {
    a_missing_directory_on_the_way_is_enoent,
    what_is_missing_is_enoent,
    an_empty_path_is_enoent,
    what_is_no_directory_on_the_way_is_enotdir,
    a_loop_on_the_way_is_eloop needs SYMLINKS,
    a_name_that_is_too_long_is_enametoolong,
    a_path_that_is_too_long_is_enametoolong,
    a_directory_that_may_not_be_searched_is_eacces needs OWNERS,
    what_exists_is_eexist_whatever_is_made_and_whatever_is_there,
    a_refused_call_changes_no_times needs OWNERS,
    unknown_bits_are_einval,
}

/// A call by its name, and how it ended.
type Ended = (&'static str, Result<()>);

/// Calls that look for what is there.
fn finding(p: &Proc, path: &str) -> Vec<Ended> {
    let there = Access::empty();
    let (atime, mtime) = (SetTime::Now, SetTime::Now);
    vec![
        ("open", p.can_open(path, O::RDONLY)),
        ("open for writing", p.can_open(path, O::WRONLY)),
        ("open a directory", p.can_open(path, O::DIRECTORY)),
        ("stat", p.stat(path).map(drop)),
        ("lstat", p.lstat(path).map(drop)),
        ("statvfs", p.statvfs(path).map(drop)),
        ("access", p.access(path, there)),
        ("readlink", p.readlink(path).map(drop)),
        ("chmod", p.chmod(path, 0o644)),
        ("chown", p.chown(path, Some(1), None)),
        ("lchown", p.lchown(path, Some(1), None)),
        ("utimens", p.utimens(path, atime, mtime)),
        ("truncate", p.truncate(path, 0)),
        ("unlink", p.unlink(path)),
        ("rmdir", p.rmdir(path)),
        ("rename from", p.rename(path, "new")),
        ("link from", p.link(path, "new")),
        ("chdir", p.chdir(path)),
        ("getxattr", p.attr(path, "user.x").map(drop)),
        ("setxattr", p.set(path, "user.x", b"")),
        ("listxattr", p.listxattr(path, Follow::Yes).map(drop)),
        ("removexattr", p.removexattr(path, b"user.x", Follow::Yes)),
    ]
}

/// Calls that make a name; there is a file `file`.
fn making(p: &Proc, path: &str) -> Vec<Ended> {
    let exclusive = O::CREAT | O::EXCL | O::WRONLY;
    let keep = RenameFlags::NOREPLACE;
    vec![
        ("open exclusively", p.can_open(path, exclusive)),
        ("mkdir", p.mkdir(path, 0o755)),
        ("symlink", p.symlink("target", path)),
        ("link to", p.link("file", path)),
        ("mkfifo", p.mkfifo(path, 0o644)),
        ("mknod", p.mknod(path, FileType::Regular, 0o644)),
        ("rename to", p.rename_with("file", path, keep)),
    ]
}

/// Those of the superuser.
fn privileged(p: &Proc, path: &str) -> Vec<Ended> {
    vec![
        ("chroot", p.chroot(path)),
        ("getfh", p.getfh(path, Follow::Yes).map(drop)),
        ("chflags", p.chflagsat(At::Cwd, path, 0, Follow::Yes)),
        ("mknod of a device", p.mknod(path, FileType::Block, 0o644)),
        ("mount", p.mount("tmpfs", path, Default::default())),
        ("unmount", p.unmount(path, false)),
    ]
}

fn all(p: &Proc, path: &str) -> Vec<Ended> {
    [finding(p, path), making(p, path), privileged(p, path)].concat()
}

#[track_caller]
fn all_fail(calls: Vec<Ended>, expected: Errno) {
    for (call, ended) in calls {
        assert_eq!(ended, Err(expected), "{call}");
    }
}

fn a_missing_directory_on_the_way_is_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    all_fail(all(&t.root, "none/x"), Errno::ENOENT);
    all_fail(all(&t.root, "none/../x"), Errno::ENOENT);
    assert_eq!(t.root.names("."), ["file"]);
}

fn what_is_missing_is_enoent(t: &Fixture) {
    all_fail(finding(&t.root, "none"), Errno::ENOENT);
    assert!(t.root.names(".").is_empty());
}

fn an_empty_path_is_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    all_fail(all(&t.root, ""), Errno::ENOENT);
}

fn what_is_no_directory_on_the_way_is_enotdir(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    for (name, kind) in t.kinds() {
        if ![FileType::Directory, FileType::Symlink].contains(&kind) {
            p.make(name, kind).unwrap();
            all_fail(all(p, &format!("{name}/x")), Errno::ENOTDIR);
        }
    }
    if t.caps().contains(Cap::SYMLINKS) {
        p.symlink("file", "link").unwrap();
        all_fail(all(p, "link/x"), Errno::ENOTDIR);
    }
}

fn a_loop_on_the_way_is_eloop(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.symlink("b", "a").unwrap();
    p.symlink("a", "b").unwrap();
    all_fail(all(p, "a/x"), Errno::ELOOP);
    assert_eq!(p.names("."), ["a", "b", "file"]);
}

fn a_name_that_is_too_long_is_enametoolong(t: &Fixture) {
    let p = &t.root;
    let name = long_name(t.numbers().name_max as usize + 1);
    p.create("file", 0o644).unwrap();
    all_fail(all(p, &name), Errno::ENAMETOOLONG);
    all_fail(all(p, &format!("{name}/x")), Errno::ENAMETOOLONG);
    assert_eq!(p.names("."), ["file"]);
}

fn a_path_that_is_too_long_is_enametoolong(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    let path = "./".repeat(2048) + "x";
    all_fail(all(&t.root, &path), Errno::ENAMETOOLONG);
    assert_eq!(t.root.names("."), ["file"]);
}

fn a_directory_that_may_not_be_searched_is_eacces(t: &Fixture) {
    let p = &t.root;
    p.mkdir("closed", 0o766).unwrap();
    p.put("closed/there", b"content").unwrap();
    let user = t.user(100);
    user.create("file", 0o644).unwrap();
    for path in ["closed/there", "closed/none"] {
        all_fail(finding(&user, path), Errno::EACCES);
        all_fail(making(&user, path), Errno::EACCES);
    }
    assert_eq!(p.names("closed"), ["there"]);
}

fn what_exists_is_eexist_whatever_is_made_and_whatever_is_there(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    // What a format cannot have is refused before or after its name is looked at.
    let lacks = |call: &str| match call {
        "symlink" => !t.caps().contains(Cap::SYMLINKS),
        "link to" => !t.caps().contains(Cap::LINKS),
        "mkfifo" => !t.caps().contains(Cap::NODES),
        _ => false,
    };
    for (name, kind) in t.kinds() {
        p.make(name, kind).unwrap();
        let before = p.lstat(name).unwrap();
        let mut calls = making(p, name);
        calls.retain(|(call, _)| !lacks(call));
        all_fail(calls, Errno::EEXIST);
        assert_eq!(p.lstat(name).unwrap(), before, "{name}");
    }
}

fn a_refused_call_changes_no_times(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.mkdir("dir/sub", 0o755).unwrap();
    p.create("dir/file", 0o644).unwrap();
    let all_three = || ["dir", "dir/sub", "dir/file"].map(|path| p.lstat(path).unwrap());
    let before = all_three();
    t.tick();
    let user = t.user(100);
    user.create("file", 0o644).unwrap();
    let refused = [
        user.chmod("dir/file", 0o600),
        user.chown("dir/file", Some(100), None),
        user.lchown("dir/file", None, Some(100)),
        user.truncate("dir/file", 0),
        user.utimens("dir/file", SetTime::Now, SetTime::Now),
        user.unlink("dir/file"),
        user.rmdir("dir/sub"),
        user.rename("dir/file", "elsewhere"),
        user.rename("dir/sub", "dir/other"),
        user.rename("file", "dir/file"),
    ];
    for (at, ended) in refused.into_iter().enumerate() {
        assert!(matches!(ended, Err(Errno::EACCES | Errno::EPERM)), "{at}: {ended:?}");
    }
    for (call, ended) in making(&user, "dir/new") {
        assert!(ended.is_err(), "{call}");
    }
    // The superuser's as well.
    fails!(p.rmdir("dir"), ENOTEMPTY | EEXIST);
    fails!(p.rename("dir/file", "dir/sub"), EISDIR);
    fails!(p.rename("dir", "dir/sub/in"), EINVAL);
    fails!(p.truncate("dir/sub", 0), EISDIR);
    fails!(p.mkdir("dir/sub", 0o755), EEXIST);
    assert_eq!(all_three(), before);
}

fn unknown_bits_are_einval(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    fails!(p.access("file", Access::from_bits_retain(8)), EINVAL);
    let unknown = RenameFlags::from_bits_retain(0x100);
    fails!(p.rename_with("file", "new", unknown), EINVAL);
    assert_eq!(p.names("."), ["file"]);
}
