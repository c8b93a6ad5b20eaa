//! Who may do what.

use crate::*;
use rumpkern::Timespec;
use rumpvfs::{
    calls::{Access, SetTime},
    fs::XattrMode,
};

fn chmod(p: &Proc, path: &str, mode: u32) -> Result<()> {
    p.fchmodat(At::Cwd, path, mode, Follow::Yes)
}

fn chown(p: &Proc, path: &str, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    p.fchownat(At::Cwd, path, uid, gid, Follow::Yes)
}

/// A kernel with `/d`, owned by 10:20.
fn with_dir() -> (Kernel, Proc) {
    let kernel = boot();
    let root = kernel.init_proc();
    root.umask(0);
    mkdir(&root, "/d").unwrap();
    chown(&root, "/d", Some(10), Some(20)).unwrap();
    (kernel, root)
}

#[test]
fn search_needs_the_x_bit_each_time() {
    let (kernel, root) = with_dir();
    write(&root, "/d/f", b"");
    let other = user(&kernel, 11, 21);
    assert!(other.stat("/d/f").is_ok());
    chmod(&root, "/d", 0o766).unwrap();
    // The name is cached; that gives no right.
    fails(other.stat("/d/f"), Errno::EACCES);
    fails(other.stat("/d/none"), Errno::EACCES);
    fails(other.stat("/d/."), Errno::EACCES);
    fails(other.stat("/d/.."), Errno::EACCES);
    fails(other.chdir("/d"), Errno::EACCES);
    assert!(other.stat("/d").is_ok());
    assert!(user(&kernel, 10, 0).stat("/d/f").is_ok());
    assert!(root.stat("/d/f").is_ok());
    assert!(list(&other, "/d").contains(&"f".to_string()));
    chmod(&root, "/d", 0o711).unwrap();
    assert!(other.stat("/d/f").is_ok());
    fails(other.open("/d", OpenFlags::RDONLY, 0), Errno::EACCES);
}

#[test]
fn names_change_in_writable_directories_only() {
    let (kernel, root) = with_dir();
    chmod(&root, "/d", 0o755).unwrap();
    write(&root, "/d/f", b"");
    chmod(&root, "/d/f", 0o666).unwrap();
    mkdir(&root, "/d/sub").unwrap();
    chmod(&root, "/d/sub", 0o755).unwrap();
    mkdir(&root, "/open").unwrap();
    let other = user(&kernel, 11, 21);
    fails(create(&other, "/d/new"), Errno::EACCES);
    fails(mkdir(&other, "/d/new"), Errno::EACCES);
    fails(mkdir(&other, "/d/sub"), Errno::EEXIST);
    fails(symlink(&other, "x", "/d/new"), Errno::EACCES);
    fails(link(&other, "/d/f", "/d/new"), Errno::EACCES);
    fails(unlink(&other, "/d/f"), Errno::EACCES);
    fails(rmdir(&other, "/d/sub"), Errno::EACCES);
    fails(rename(&other, "/d/f", "/open/f"), Errno::EACCES);
    write(&other, "/open/g", b"");
    fails(rename(&other, "/open/g", "/d/g"), Errno::EACCES);
    fails(rename(&other, "/open/g", "/d/f"), Errno::EACCES);
    // Opening what exists is a matter of the file.
    assert!(create(&other, "/d/f").is_ok());
    let owner = user(&kernel, 10, 1);
    unlink(&owner, "/d/f").unwrap();
    // A directory that changes its parent is written itself.
    let mine = user(&kernel, 11, 21);
    chmod(&root, "/d", 0o777).unwrap();
    fails(rename(&mine, "/d/sub", "/open/sub"), Errno::EACCES);
    rename(&mine, "/d/sub", "/d/sub2").unwrap();
}

#[test]
fn sticky_directories_protect_names() {
    let (kernel, root) = with_dir();
    chmod(&root, "/d", 0o1777).unwrap();
    let (a, b) = (user(&kernel, 30, 1), user(&kernel, 31, 1));
    write(&a, "/d/a", b"");
    write(&b, "/d/b", b"");
    fails(unlink(&b, "/d/a"), Errno::EPERM);
    fails(rename(&b, "/d/a", "/d/x"), Errno::EPERM);
    fails(rename(&b, "/d/b", "/d/a"), Errno::EPERM);
    unlink(&a, "/d/a").unwrap();
    // The directory's owner may.
    unlink(&user(&kernel, 10, 1), "/d/b").unwrap();
}

#[test]
fn chmod_and_chown_are_the_owners() {
    let (kernel, root) = with_dir();
    write(&root, "/d/f", b"");
    chown(&root, "/d/f", Some(10), Some(20)).unwrap();
    let owner = user(&kernel, 10, 20);
    let other = user(&kernel, 11, 20);
    fails(chmod(&other, "/d/f", 0o777), Errno::EPERM);
    chmod(&owner, "/d/f", 0o6755).unwrap();
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o6755);
    fails(chown(&owner, "/d/f", Some(11), None), Errno::EPERM);
    fails(chown(&owner, "/d/f", None, Some(99)), Errno::EPERM);
    fails(chown(&other, "/d/f", None, Some(20)), Errno::EPERM);
    // Their own group they may set; the set-id bits go.
    chown(&owner, "/d/f", Some(10), Some(20)).unwrap();
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o755);
    // Set-group-id of a foreign group is not set.
    chown(&root, "/d/f", None, Some(99)).unwrap();
    chmod(&owner, "/d/f", 0o2755).unwrap();
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o755);
    // Root keeps the bits when it gives a file away.
    chmod(&root, "/d/f", 0o6755).unwrap();
    chown(&root, "/d/f", Some(50), None).unwrap();
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o6755);
    symlink(&root, "f", "/d/l").unwrap();
    fails(
        root.fchmodat(At::Cwd, "/d/l", 0o777, Follow::No),
        Errno::EOPNOTSUPP,
    );
    root.fchownat(At::Cwd, "/d/l", Some(7), None, Follow::No)
        .unwrap();
    assert_eq!(root.lstat("/d/l").unwrap().uid, 7);
    assert_eq!(root.stat("/d/l").unwrap().uid, 50);
}

#[test]
fn writing_takes_set_id_bits() {
    let (kernel, root) = with_dir();
    write(&root, "/d/f", b"data");
    let other = user(&kernel, 11, 21);
    chmod(&root, "/d/f", 0o6777).unwrap();
    let fd = root.open("/d/f", OpenFlags::WRONLY, 0).unwrap();
    root.write(fd, b"x").unwrap();
    assert_eq!(root.fstat(fd).unwrap().mode, 0o6777);
    let fd = other.open("/d/f", OpenFlags::WRONLY, 0).unwrap();
    other.write(fd, b"x").unwrap();
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o777);
    chmod(&root, "/d/f", 0o4777).unwrap();
    other.ftruncate(fd, 0).unwrap();
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o777);
}

#[test]
fn groups_are_inherited_from_setgid_directories() {
    let (kernel, root) = with_dir();
    chmod(&root, "/d", 0o777).unwrap();
    let who = user(&kernel, 11, 21);
    write(&who, "/d/plain", b"");
    assert_eq!(root.stat("/d/plain").unwrap().gid, 21);
    chmod(&root, "/d", 0o2777).unwrap();
    write(&who, "/d/file", b"");
    mkdir(&who, "/d/sub").unwrap();
    let file = root.stat("/d/file").unwrap();
    let sub = root.stat("/d/sub").unwrap();
    assert_eq!((file.uid, file.gid, file.mode & 0o7000), (11, 20, 0));
    assert_eq!((sub.gid, sub.mode & 0o7000), (20, 0o2000));
}

#[test]
fn times_are_set_by_owners_and_writers() {
    let (kernel, root) = with_dir();
    write(&root, "/d/f", b"");
    chown(&root, "/d/f", Some(10), None).unwrap();
    chmod(&root, "/d/f", 0o646).unwrap();
    let set = |p: &Proc, a, m| p.utimensat(At::Cwd, "/d/f", a, m, Follow::Yes);
    let to = |sec| SetTime::To(Timespec { sec, nsec: 5 });
    let owner = user(&kernel, 10, 1);
    let writer = user(&kernel, 11, 1);
    set(&owner, to(1000), to(2000)).unwrap();
    let stat = root.stat("/d/f").unwrap();
    assert_eq!((stat.atime.sec, stat.mtime.sec), (1000, 2000));
    assert!(stat.ctime.sec > 2000);
    set(&owner, SetTime::Omit, to(-1)).unwrap();
    let stat = root.stat("/d/f").unwrap();
    assert_eq!((stat.atime.sec, stat.mtime.sec), (1000, -1));
    fails(set(&writer, to(1), to(1)), Errno::EPERM);
    fails(set(&writer, SetTime::Now, SetTime::Omit), Errno::EPERM);
    set(&writer, SetTime::Now, SetTime::Now).unwrap();
    assert!(root.stat("/d/f").unwrap().mtime.sec > 2000);
    set(&writer, SetTime::Omit, SetTime::Omit).unwrap();
    chmod(&root, "/d/f", 0o644).unwrap();
    fails(set(&writer, SetTime::Now, SetTime::Now), Errno::EACCES);
    let bad = SetTime::To(Timespec {
        sec: 0,
        nsec: 1_000_000_000,
    });
    fails(set(&owner, bad, SetTime::Omit), Errno::EINVAL);
}

#[test]
fn access_asks_for_the_caller() {
    let (kernel, root) = with_dir();
    write(&root, "/d/f", b"");
    chmod(&root, "/d/f", 0o640).unwrap();
    chown(&root, "/d/f", Some(10), Some(20)).unwrap();
    let ask = |p: &Proc, what| p.faccessat(At::Cwd, "/d/f", what, Follow::Yes);
    ask(&user(&kernel, 10, 0), Access::R | Access::W).unwrap();
    ask(&user(&kernel, 11, 20), Access::R).unwrap();
    fails(ask(&user(&kernel, 11, 20), Access::W), Errno::EACCES);
    fails(ask(&user(&kernel, 11, 21), Access::R), Errno::EACCES);
    ask(&user(&kernel, 11, 21), Access::empty()).unwrap();
    fails(ask(&root, Access::X), Errno::EACCES);
    ask(&root, Access::R | Access::W).unwrap();
    fails(
        user(&kernel, 11, 20).open("/d/f", OpenFlags::RDWR, 0),
        Errno::EACCES,
    );
    fails(
        user(&kernel, 11, 20).open("/d/f", OpenFlags::RDONLY | OpenFlags::TRUNC, 0),
        Errno::EACCES,
    );
}

/// A value of `system.posix_acl_...`.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = Vec::from(2u32.to_le_bytes());
    for (tag, perm, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(perm.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}

const NONE: u32 = u32::MAX;

#[test]
fn access_control_lists_decide() {
    let (kernel, root) = with_dir();
    write(&root, "/d/f", b"");
    chown(&root, "/d/f", Some(10), Some(20)).unwrap();
    chmod(&root, "/d/f", 0o600).unwrap();
    let reader = user(&kernel, 100, 1);
    fails(reader.open("/d/f", OpenFlags::RDONLY, 0), Errno::EACCES);
    let value = acl(&[
        (1, 6, NONE),
        (2, 6, 100),
        (4, 0, NONE),
        (16, 4, NONE),
        (32, 0, NONE),
    ]);
    let name = b"system.posix_acl_access";
    let set = |p: &Proc, value: &[u8]| p.setxattr("/d/f", name, value, XattrMode::Set, Follow::Yes);
    fails(set(&reader, &value), Errno::EPERM);
    set(&user(&kernel, 10, 20), &value).unwrap();
    assert_eq!(root.getxattr("/d/f", name, Follow::Yes).unwrap(), value);
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o640);
    reader.open("/d/f", OpenFlags::RDONLY, 0).unwrap();
    fails(reader.open("/d/f", OpenFlags::WRONLY, 0), Errno::EACCES);
    // chmod moves the mask.
    chmod(&root, "/d/f", 0o660).unwrap();
    reader.open("/d/f", OpenFlags::WRONLY, 0).unwrap();
    // The owning group's entry stays: nothing.
    fails(
        user(&kernel, 101, 20).open("/d/f", OpenFlags::RDONLY, 0),
        Errno::EACCES,
    );
    // One that says no more than bits is not kept.
    set(&root, &acl(&[(1, 7, NONE), (4, 5, NONE), (32, 1, NONE)])).unwrap();
    fails(root.getxattr("/d/f", name, Follow::Yes), Errno::ENOATTR);
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o751);
    fails(set(&root, b"\x02\0\0\0junk"), Errno::EINVAL);
}

#[test]
fn default_lists_are_inherited() {
    let (kernel, root) = with_dir();
    root.umask(0o077);
    let value = acl(&[
        (1, 7, NONE),
        (2, 7, 100),
        (4, 5, NONE),
        (16, 7, NONE),
        (32, 5, NONE),
    ]);
    let name = b"system.posix_acl_default";
    write(&root, "/plain", b"");
    fails(
        root.setxattr("/plain", name, &value, XattrMode::Set, Follow::Yes),
        Errno::EACCES,
    );
    root.setxattr("/d", name, &value, XattrMode::Set, Follow::Yes)
        .unwrap();
    // The umask does not count where a default ACL is.
    write(&root, "/d/f", b"");
    assert_eq!(root.stat("/d/f").unwrap().mode, 0o664);
    let reader = user(&kernel, 100, 1);
    reader.open("/d/f", OpenFlags::RDWR, 0).unwrap();
    mkdir(&root, "/d/sub").unwrap();
    assert_eq!(root.getxattr("/d/sub", name, Follow::Yes).unwrap(), value);
    write(&root, "/d/sub/g", b"");
    reader.open("/d/sub/g", OpenFlags::RDWR, 0).unwrap();
    root.removexattr("/d", name, Follow::Yes).unwrap();
    write(&root, "/d/h", b"");
    assert_eq!(root.stat("/d/h").unwrap().mode, 0o600);
}

#[test]
fn attribute_names_have_spaces() {
    let (kernel, root) = with_dir();
    write(&root, "/d/f", b"");
    chmod(&root, "/d/f", 0o664).unwrap();
    chown(&root, "/d/f", Some(10), Some(20)).unwrap();
    let set = |p: &Proc, path: &str, name: &[u8]| {
        p.setxattr(path, name, b"v", XattrMode::Set, Follow::No)
    };
    let get = |p: &Proc, name: &[u8]| p.getxattr("/d/f", name, Follow::Yes);
    let owner = user(&kernel, 10, 20);
    let reader = user(&kernel, 11, 21);
    set(&owner, "/d/f", b"user.a").unwrap();
    assert_eq!(get(&reader, b"user.a").unwrap(), b"v");
    fails(set(&reader, "/d/f", b"user.b"), Errno::EACCES);
    fails(set(&owner, "/d/f", b"trusted.a"), Errno::EPERM);
    fails(set(&owner, "/d/f", b"security.a"), Errno::EPERM);
    fails(set(&owner, "/d/f", b"other.a"), Errno::EOPNOTSUPP);
    fails(set(&owner, "/d/f", b""), Errno::ERANGE);
    set(&root, "/d/f", b"trusted.a").unwrap();
    fails(get(&owner, b"trusted.a"), Errno::ENOATTR);
    let names = owner.listxattr("/d/f", Follow::Yes).unwrap();
    assert_eq!(names, [b"user.a".to_vec()]);
    assert_eq!(root.listxattr("/d/f", Follow::Yes).unwrap().len(), 2);
    symlink(&root, "f", "/d/l").unwrap();
    fails(set(&root, "/d/l", b"user.a"), Errno::EPERM);
    fails(
        root.setxattr("/d/f", b"user.a", b"", XattrMode::Create, Follow::Yes),
        Errno::EEXIST,
    );
    fails(
        root.setxattr("/d/f", b"user.z", b"", XattrMode::Replace, Follow::Yes),
        Errno::ENOATTR,
    );
    root.removexattr("/d/f", b"user.a", Follow::Yes).unwrap();
    fails(get(&root, b"user.a"), Errno::ENOATTR);
    fails(
        root.removexattr("/d/f", b"user.a", Follow::Yes),
        Errno::ENOATTR,
    );
}
