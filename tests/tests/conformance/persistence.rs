//! What outlives the mount.

use crate::prelude::*;
use rump_tests::tree;

for_each_fs! {
    a_whole_tree_is_the_same_after_a_mount needs PERSISTENT,
    unlinked_open_files_leave_nothing needs PERSISTENT,
    a_kernel_shutdown_unmounts needs PERSISTENT,
    space_and_inodes_are_counted_right_after_a_mount needs PERSISTENT,
    memory_is_gone_with_the_mount,
}

fn build(t: &Fixture) {
    let p = &t.root;
    for dir in ["a", "a/b", "a/b/c", "empty", "big"] {
        p.mkdir(dir, 0o751).unwrap();
    }
    for n in 0..300u32 {
        p.put(&format!("big/file-with-a-name-{n}"), &vec![n as u8; n as usize * 37]).unwrap();
    }
    p.put("a/b/large", &[9; 700_000]).unwrap();
    p.truncate("a/b/large", 600_001).unwrap();
    if t.caps().contains(Cap::LINKS) {
        p.link("a/b/large", "a/b/c/second").unwrap();
    }
    if t.caps().contains(Cap::SYMLINKS) {
        p.symlink("a/b", "link").unwrap();
        p.symlink(&"t".repeat(200), "long-link").unwrap();
    }
    if t.caps().contains(Cap::NODES) {
        p.mkfifo("fifo", 0o600).unwrap();
    }
    if t.caps().contains(Cap::XATTRS) {
        p.set("a", "user.x", b"of a directory").unwrap();
        p.set("a/b/large", "user.y", &[1; 200]).unwrap();
    }
    if t.caps().contains(Cap::HOLES) {
        p.put("sparse", b"start").unwrap();
        p.truncate("sparse", 1_000_000).unwrap();
    }
    for n in (0..300).step_by(3) {
        p.unlink(&format!("big/file-with-a-name-{n}")).unwrap();
    }
    p.rename("a/b/c", "moved").unwrap();
}

fn a_whole_tree_is_the_same_after_a_mount(t: &Fixture) {
    build(t);
    // The root directory of FAT has no times.
    let top = if t.caps().contains(Cap::TIMES) { MOUNT_POINT } else { "/mnt/work" };
    let before = tree::from_mount(&t.root, top);
    assert!(before.len() > 200);
    t.mount_again(MountFlags::default());
    tree::assert_same("mounted again", &before, &tree::from_mount(&t.root, top));
    t.mount_again(MountFlags::RDONLY);
    tree::assert_same("read-only", &before, &tree::from_mount(&t.root, top));
}

fn unlinked_open_files_leave_nothing(t: &Fixture) {
    let p = &t.root;
    // Directories keep the room that they once needed.
    for n in 0..40 {
        p.create(&format!("{n}"), 0o644).unwrap();
    }
    for n in 0..40 {
        p.unlink(&format!("{n}")).unwrap();
    }
    t.mount_again(MountFlags::default());
    let before = p.statvfs(".").map(|s| (s.blocks_free, s.files_free)).unwrap();
    for n in 0..20 {
        p.put("file", &[n; 30_000]).unwrap();
        p.open("file", O::RDWR, 0).unwrap();
        p.unlink("file").unwrap();
    }
    p.unmount(MOUNT_POINT, true).unwrap();
    p.exit().unwrap();
    p.chdir("/").unwrap();
    t.check();
    t.mount(MountFlags::default());
    let after = p.statvfs(MOUNT_POINT).map(|s| (s.blocks_free, s.files_free)).unwrap();
    assert_eq!(after, before);
}

fn a_kernel_shutdown_unmounts(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.write(fd, &[4; 50_000]).unwrap();
    t.kernel.shutdown().unwrap();
    t.check();
    fails!(p.pread(fd, &mut [0; 10], 0), EBADF | EIO);
}

fn space_and_inodes_are_counted_right_after_a_mount(t: &Fixture) {
    build(t);
    let count = || t.root.statvfs(".").map(|s| (s.blocks_free, s.files_free)).unwrap();
    t.root.sync().unwrap();
    let before = count();
    t.mount_again(MountFlags::default());
    assert_eq!(count(), before);
}

fn memory_is_gone_with_the_mount(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    t.unmount();
    t.mount(MountFlags::default());
    let there = t.root.exists("/mnt/work/file");
    assert_eq!(there, t.caps().contains(Cap::PERSISTENT));
}
