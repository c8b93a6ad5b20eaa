//! `truncate` and `ftruncate`.

use crate::prelude::*;

for_each_fs! {
    shrinking_cuts_the_end,
    growing_adds_zeros,
    what_was_cut_does_not_come_back,
    every_size_around_a_block,
    a_directory_is_eisdir,
    missing_is_enoent,
    write_permission_is_needed needs OWNERS,
    a_descriptor_for_reading_is_refused,
    too_large_is_efbig,
    the_limit_of_the_process_is_efbig,
    offsets_of_descriptors_stay,
    others_see_it_at_once,
    blocks_are_given_back,
    a_large_file_shrinks_and_grows,
}

fn shrinking_cuts_the_end(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    p.truncate("file", 4).unwrap();
    assert_eq!(p.get("file").unwrap(), b"cont");
    p.truncate("file", 0).unwrap();
    assert_eq!(p.get("file").unwrap(), b"");
}

fn growing_adds_zeros(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"ab").unwrap();
    p.truncate("file", 10_000).unwrap();
    let content = p.get("file").unwrap();
    assert_eq!(content.len(), 10_000);
    assert_eq!(&content[..2], b"ab");
    assert!(content[2..].iter().all(|&b| b == 0));
}

fn what_was_cut_does_not_come_back(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[7; 20_000]).unwrap();
    p.truncate("file", 5_001).unwrap();
    p.truncate("file", 20_000).unwrap();
    let content = p.get("file").unwrap();
    assert!(content[..5_001].iter().all(|&b| b == 7));
    assert!(content[5_001..].iter().all(|&b| b == 0));
    if t.caps().contains(Cap::PERSISTENT) {
        t.mount_again(MountFlags::default());
        assert!(p.get("file").unwrap() == content);
    }
}

fn every_size_around_a_block(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    for size in [1, 511, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 12_289] {
        p.ftruncate(fd, 0).unwrap();
        assert_eq!(p.pwrite(fd, &vec![9; 16_384], 0), Ok(16_384));
        p.ftruncate(fd, size).unwrap();
        p.fsync(fd).unwrap();
        p.ftruncate(fd, 16_384).unwrap();
        let content = p.read_all(fd).unwrap();
        let data = content.iter().filter(|&&b| b == 9).count() as u64;
        assert_eq!((content.len(), data), (16_384, size));
    }
}

fn a_directory_is_eisdir(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    fails!(t.root.truncate("dir", 0), EISDIR);
    let fd = t.root.open("dir", O::RDONLY, 0).unwrap();
    fails!(t.root.ftruncate(fd, 0), EINVAL | EBADF);
}

fn missing_is_enoent(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.truncate("none", 0), ENOENT);
    fails!(t.root.truncate("", 0), ENOENT);
    fails!(t.root.truncate("file/x", 0), ENOTDIR);
    fails!(t.root.ftruncate(9999, 0), EBADF);
}

fn write_permission_is_needed(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    t.root.chmod("file", 0o444).unwrap();
    fails!(t.user(100).truncate("file", 0), EACCES);
    assert_eq!(t.root.get("file").unwrap(), b"content");
}

fn a_descriptor_for_reading_is_refused(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    let fd = t.root.open("file", O::RDONLY, 0).unwrap();
    fails!(t.root.ftruncate(fd, 0), EINVAL | EBADF);
    assert_eq!(t.root.get("file").unwrap(), b"content");
}

fn too_large_is_efbig(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    fails!(t.root.truncate("file", u64::MAX), EFBIG | EINVAL);
    let most = t.numbers().file_size_max;
    if most < i64::MAX.unsigned_abs() {
        fails!(t.root.truncate("file", most + 1), EFBIG);
    }
    assert_eq!(t.root.get("file").unwrap(), b"content");
}

fn the_limit_of_the_process_is_efbig(t: &Fixture) {
    let p = t.root.fork();
    p.put("file", b"content").unwrap();
    let mut limits = p.limits();
    limits.file_size = 1000;
    p.set_limits(limits);
    fails!(p.truncate("file", 1001), EFBIG);
    p.truncate("file", 1000).unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    fails!(p.ftruncate(fd, 1001), EFBIG);
    fails!(p.pwrite(fd, b"x", 1000), EFBIG);
    assert_eq!(p.pwrite(fd, b"x", 999), Ok(1));
    assert_eq!(p.fstat(fd).unwrap().size, 1000);
}

fn offsets_of_descriptors_stay(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    assert_eq!(p.write(fd, b"0123456789"), Ok(10));
    p.ftruncate(fd, 4).unwrap();
    assert_eq!(p.lseek(fd, Seek::Current(0)), Ok(10));
    assert_eq!(p.read(fd, &mut [0; 4]), Ok(0));
    assert_eq!(p.write(fd, b"x"), Ok(1));
    assert_eq!(p.read_all(fd).unwrap(), b"0123\0\0\0\0\0\0x");
}

fn others_see_it_at_once(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let reader = p.open("file", O::RDONLY, 0).unwrap();
    assert_eq!(p.read_all(reader).unwrap(), b"content");
    p.truncate("file", 3).unwrap();
    assert_eq!(p.fstat(reader).unwrap().size, 3);
    assert_eq!(p.read_all(reader).unwrap(), b"con");
}

fn blocks_are_given_back(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[1; 100_000]).unwrap();
    p.sync().unwrap();
    let blocks = || p.stat("file").unwrap().blocks * 512;
    assert!(blocks() >= 100_000);
    p.truncate("file", 10_000).unwrap();
    assert!((10_000..40_000).contains(&blocks()), "{}", blocks());
    p.truncate("file", 0).unwrap();
    assert_eq!(blocks(), 0);
}

fn a_large_file_shrinks_and_grows(t: &Fixture) {
    let p = &t.root;
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n / 1000) as u8).collect();
    p.put("file", &data).unwrap();
    for size in [2_999_999, 1_500_000, 300_001, 70_000] {
        p.truncate("file", size).unwrap();
        let kept = usize::try_from(size).unwrap();
        assert!(p.get("file").unwrap() == data[..kept], "{size}");
    }
}
