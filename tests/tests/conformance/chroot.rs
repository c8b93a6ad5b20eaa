//! `chroot`: the root of a process, and attempts to get out.

use crate::prelude::*;

for_each_fs! {
    paths_start_at_the_new_root,
    dotdot_of_the_root_is_the_root,
    links_do_not_lead_out needs SYMLINKS,
    it_is_for_root,
    missing_is_enoent_and_a_file_enotdir,
    children_are_inside_too,
    a_second_chroot_does_not_lead_out,
    a_descriptor_from_before_leads_out_as_posix_leaves_open,
    getcwd_is_relative_to_the_root,
    a_moved_directory_does_not_let_go,
}

/// A process in `jail`, where it works.
fn jailed(t: &Fixture) -> Proc {
    t.root.mkdir("jail", 0o755).unwrap();
    t.root.mkdir("jail/dir", 0o755).unwrap();
    t.root.put("jail/file", b"inside").unwrap();
    t.root.put("file", b"outside").unwrap();
    let p = t.root.fork();
    p.chroot("jail").unwrap();
    p.chdir("/").unwrap();
    p
}

fn paths_start_at_the_new_root(t: &Fixture) {
    let p = jailed(t);
    assert_eq!(p.get("/file").unwrap(), b"inside");
    assert_eq!(p.get("file").unwrap(), b"inside");
    fails!(p.stat("/mnt"), ENOENT);
    p.create("/new", 0o644).unwrap();
    assert!(t.root.exists("jail/new"));
    // The other process is where it was.
    assert_eq!(t.root.get("file").unwrap(), b"outside");
    assert!(t.root.exists("/mnt"));
}

fn dotdot_of_the_root_is_the_root(t: &Fixture) {
    let p = jailed(t);
    for path in ["/..", "/../..", "..", "../..", "dir/../..", "/dir/../../.."] {
        assert_eq!(p.ino(path), p.ino("/"), "{path}");
    }
    assert_eq!(p.get("../../../../file").unwrap(), b"inside");
    p.chdir("..").unwrap();
    assert_eq!(p.get("file").unwrap(), b"inside");
    fails!(p.rename("../file", "/../dir"), EISDIR);
    let fd = p.open("/", O::DIRECTORY, 0).unwrap();
    let entries = p.getdents(fd, 2).unwrap();
    assert_eq!(entries[0].ino, entries[1].ino);
}

fn links_do_not_lead_out(t: &Fixture) {
    let p = jailed(t);
    t.root.symlink("/file", "jail/absolute").unwrap();
    t.root.symlink("../../file", "jail/dir/up").unwrap();
    t.root.symlink("/mnt/work/file", "jail/full").unwrap();
    assert_eq!(p.get("absolute").unwrap(), b"inside");
    assert_eq!(p.get("dir/up").unwrap(), b"inside");
    fails!(p.get("full"), ENOENT);
}

fn it_is_for_root(t: &Fixture) {
    t.root.mkdir("jail", 0o777).unwrap();
    fails!(t.user(100).chroot("jail"), EPERM);
}

fn missing_is_enoent_and_a_file_enotdir(t: &Fixture) {
    let p = t.root.fork();
    p.create("file", 0o644).unwrap();
    fails!(p.chroot("none"), ENOENT);
    fails!(p.chroot("file"), ENOTDIR);
    fails!(p.chroot(""), ENOENT);
    assert_eq!(p.getcwd().unwrap(), b"/mnt/work");
}

fn children_are_inside_too(t: &Fixture) {
    let child = jailed(t).fork();
    assert_eq!(child.get("/../file").unwrap(), b"inside");
    fails!(child.stat("/mnt"), ENOENT);
}

fn a_second_chroot_does_not_lead_out(t: &Fixture) {
    // The classic: chroot into a subdirectory while the current directory is above it, then climb.
    let p = jailed(t);
    p.chroot("dir").unwrap();
    // The current directory is now outside of the root; POSIX leaves open what `..` does there. Whatever it does, new
    // absolute paths are inside.
    assert!(p.names("/").is_empty());
    p.chdir("/").unwrap();
    assert!(p.names("..").is_empty());
    fails!(p.stat("../file"), ENOENT);
}

fn a_descriptor_from_before_leads_out_as_posix_leaves_open(t: &Fixture) {
    let outside = t.root.open(".", O::DIRECTORY, 0).unwrap();
    let p = jailed(t);
    // It is a capability that the parent has given.
    let fd = p.openat(At::Fd(outside), "file", O::RDONLY, 0).unwrap();
    assert_eq!(p.read_all(fd).unwrap(), b"outside");
    p.exit().unwrap();
    fails!(p.openat(At::Fd(outside), "file", O::RDONLY, 0), EBADF);
}

fn getcwd_is_relative_to_the_root(t: &Fixture) {
    let p = jailed(t);
    assert_eq!(p.getcwd().unwrap(), b"/");
    p.chdir("dir").unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/dir");
    p.chdir("../..").unwrap();
    assert_eq!(p.getcwd().unwrap(), b"/");
}

fn a_moved_directory_does_not_let_go(t: &Fixture) {
    let p = jailed(t);
    p.chdir("dir").unwrap();
    t.root.rename("jail", "prison").unwrap();
    assert_eq!(p.get("/file").unwrap(), b"inside");
    assert_eq!(p.get("../file").unwrap(), b"inside");
    assert_eq!(p.get("../../file").unwrap(), b"inside");
}
