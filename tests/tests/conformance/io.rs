//! Reading and writing.

use crate::prelude::*;
use rumpuser::Rng;

for_each_fs! {
    what_is_written_is_read,
    patterns_of_sizes_and_offsets_are_read_back,
    reading_at_and_past_the_end_gives_nothing,
    offsets_move,
    positional_calls_leave_the_offset,
    seeking_follows_the_rules,
    seeking_past_the_end_and_writing_makes_zeros,
    append_writes_at_the_end,
    append_finds_the_end_anew,
    append_can_be_switched_on,
    duplicates_share_the_offset,
    forked_descriptors_share_the_offset,
    separate_opens_have_their_own_offset,
    vectors_are_read_and_written_in_order,
    a_directory_is_eisdir,
    writing_past_the_largest_size_is_efbig,
    every_reader_sees_every_write,
    sync_calls_succeed,
    synchronous_writes_work,
    dup_follows_the_rules,
    overwriting_keeps_the_rest,
    a_file_of_many_pieces_is_whole,
    writes_are_atomic_to_readers,
    appends_of_many_threads_do_not_mix,
    pipes_cannot_seek,
}

/// Bytes that tell their offset.
fn pattern(offset: u64, len: usize) -> Vec<u8> {
    (offset..).take(len).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

fn what_is_written_is_read(t: &Fixture) {
    let p = &t.root;
    for len in [0, 1, 511, 512, 1023, 1024, 1025, 4095, 4096, 4097, 65_536, 1_000_003] {
        let data = pattern(0, len);
        p.put("file", &data).unwrap();
        assert!(p.get("file").unwrap() == data, "{len}");
        assert_eq!(p.stat("file").unwrap().size, len as u64);
    }
}

fn patterns_of_sizes_and_offsets_are_read_back(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    let mut expected = vec![0; 300_000];
    let mut rng = Rng::new(1);
    let mut random = |below| rng.below(below);
    p.ftruncate(fd, 300_000).unwrap();
    for _ in 0..300 {
        let offset = random(290_000);
        let len = usize::try_from(random(10_000)).unwrap();
        let data: Vec<u8> = pattern(random(1_000_000), len);
        assert_eq!(p.pwrite(fd, &data, offset), Ok(len));
        let at = usize::try_from(offset).unwrap();
        expected[at..at + len].copy_from_slice(&data);
        let (from, len) = (random(299_000), usize::try_from(random(20_000)).unwrap());
        let from_at = usize::try_from(from).unwrap();
        let end = (from_at + len).min(expected.len());
        let mut buf = vec![1; len];
        assert_eq!(p.pread(fd, &mut buf, from), Ok(end - from_at));
        assert!(buf[..end - from_at] == expected[from_at..end]);
    }
    p.fsync(fd).unwrap();
    if t.caps().contains(Cap::PERSISTENT) {
        p.close(fd).unwrap();
        t.mount_again(MountFlags::default());
    }
    assert!(p.get("file").unwrap() == expected);
}

fn reading_at_and_past_the_end_gives_nothing(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    let mut buf = [1; 10];
    assert_eq!(p.pread(fd, &mut buf, 7), Ok(0));
    assert_eq!(p.pread(fd, &mut buf, 1_000_000), Ok(0));
    assert_eq!(p.pread(fd, &mut buf, i64::MAX.unsigned_abs()), Ok(0));
    assert_eq!(buf, [1; 10], "nothing was touched");
    assert_eq!(p.pread(fd, &mut buf, 4), Ok(3));
    assert_eq!(&buf[..4], b"ent\x01");
}

fn offsets_move(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    assert_eq!(p.write(fd, b"hello "), Ok(6));
    assert_eq!(p.write(fd, b"world"), Ok(5));
    assert_eq!(p.lseek(fd, Seek::Current(0)), Ok(11));
    p.lseek(fd, Seek::Set(6)).unwrap();
    let mut buf = [0; 3];
    assert_eq!((p.read(fd, &mut buf), &buf), (Ok(3), b"wor"));
    assert_eq!(p.read(fd, &mut buf), Ok(2));
    assert_eq!(p.read(fd, &mut buf), Ok(0));
}

fn positional_calls_leave_the_offset(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.write(fd, b"0123456789").unwrap();
    assert_eq!(p.pwrite(fd, b"x", 2), Ok(1));
    assert_eq!(p.pread(fd, &mut [0; 4], 0), Ok(4));
    assert_eq!(p.lseek(fd, Seek::Current(0)), Ok(10));
    assert_eq!(p.read_all(fd).unwrap(), b"01x3456789");
}

fn seeking_follows_the_rules(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.write(fd, b"0123456789").unwrap();
    assert_eq!(p.lseek(fd, Seek::End(-3)), Ok(7));
    assert_eq!(p.lseek(fd, Seek::Current(-7)), Ok(0));
    fails!(p.lseek(fd, Seek::Current(-1)), EINVAL);
    fails!(p.lseek(fd, Seek::End(-11)), EINVAL);
    assert_eq!(p.lseek(fd, Seek::Current(0)), Ok(0), "an error moves nothing");
    assert_eq!(p.lseek(fd, Seek::End(1000)), Ok(1010));
    assert_eq!(p.read(fd, &mut [0; 4]), Ok(0));
    assert_eq!(p.fstat(fd).unwrap().size, 10, "seeking changes no size");
    fails!(p.lseek(fd, Seek::Set(u64::MAX)), EOVERFLOW | EINVAL);
    fails!(p.lseek(9999, Seek::Set(0)), EBADF);
}

fn seeking_past_the_end_and_writing_makes_zeros(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.write(fd, b"start").unwrap();
    p.lseek(fd, Seek::Set(20_000)).unwrap();
    p.write(fd, b"end").unwrap();
    let content = p.read_all(fd).unwrap();
    assert_eq!(content.len(), 20_003);
    assert_eq!((&content[..5], &content[20_000..]), (&b"start"[..], &b"end"[..]));
    assert!(content[5..20_000].iter().all(|&b| b == 0));
}

fn append_writes_at_the_end(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"first").unwrap();
    let fd = p.open("file", O::RDWR | O::APPEND, 0).unwrap();
    let mut buf = [0; 2];
    p.read(fd, &mut buf).unwrap();
    assert_eq!(&buf, b"fi", "reading starts at the start");
    assert_eq!(p.write(fd, b" second"), Ok(7));
    assert_eq!(p.lseek(fd, Seek::Current(0)), Ok(12));
    p.lseek(fd, Seek::Set(0)).unwrap();
    assert_eq!(p.write(fd, b" third"), Ok(6));
    // POSIX: pwrite() writes at its offset all the same.
    assert_eq!(p.pwrite(fd, b"F", 0), Ok(1));
    assert_eq!(p.read_all(fd).unwrap(), b"First second third");
}

fn append_finds_the_end_anew(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let a = p.open("file", O::WRONLY | O::APPEND, 0).unwrap();
    let b = p.open("file", O::WRONLY | O::APPEND, 0).unwrap();
    for (fd, text) in [(a, b"a"), (b, b"b"), (a, b"c"), (b, b"d")] {
        p.write(fd, text).unwrap();
    }
    assert_eq!(p.get("file").unwrap(), b"abcd");
    p.truncate("file", 1).unwrap();
    p.write(b, b"z").unwrap();
    assert_eq!(p.get("file").unwrap(), b"az");
}

fn append_can_be_switched_on(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.set_status_flags(fd, O::APPEND).unwrap();
    p.write(fd, b"!").unwrap();
    p.set_status_flags(fd, O::empty()).unwrap();
    p.lseek(fd, Seek::Set(0)).unwrap();
    p.write(fd, b"C").unwrap();
    assert_eq!(p.get("file").unwrap(), b"Content!");
    assert!(p.status_flags(fd).unwrap().contains(O::RDWR));
}

fn duplicates_share_the_offset(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"0123456789").unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    let copy = p.dup(fd).unwrap();
    let mut buf = [0; 3];
    p.read(fd, &mut buf).unwrap();
    p.read(copy, &mut buf).unwrap();
    assert_eq!(&buf, b"345");
    p.close(fd).unwrap();
    p.read(copy, &mut buf).unwrap();
    assert_eq!(&buf, b"678");
}

fn forked_descriptors_share_the_offset(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"0123456789").unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    let child = p.fork();
    let mut buf = [0; 3];
    child.read(fd, &mut buf).unwrap();
    child.close(fd).unwrap();
    p.read(fd, &mut buf).unwrap();
    assert_eq!(&buf, b"345");
}

fn separate_opens_have_their_own_offset(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"0123456789").unwrap();
    let a = p.open("file", O::RDONLY, 0).unwrap();
    let b = p.open("file", O::RDONLY, 0).unwrap();
    let mut buf = [0; 3];
    p.read(a, &mut buf).unwrap();
    p.read(b, &mut buf).unwrap();
    assert_eq!(&buf, b"012");
}

fn vectors_are_read_and_written_in_order(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    let long = pattern(0, 10_000);
    assert_eq!(p.writev(fd, &[b"ab", b"", &long, b"c"]), Ok(10_003));
    let (mut a, mut b, mut c) = ([0; 2], vec![0; 10_000], [0; 9]);
    assert_eq!(p.preadv(fd, &mut [&mut a, &mut b, &mut c], 0), Ok(10_003));
    assert_eq!((&a, &c), (b"ab", b"c\0\0\0\0\0\0\0\0"));
    assert!(b == long);
    assert_eq!(p.pwritev(fd, &[b"x", b"y"], 1), Ok(2));
    p.lseek(fd, Seek::Set(0)).unwrap();
    assert_eq!(p.readv(fd, &mut [&mut a, &mut []]), Ok(2));
    assert_eq!(&a, b"ax");
}

fn a_directory_is_eisdir(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    let fd = t.root.open("dir", O::RDONLY, 0).unwrap();
    fails!(t.root.read(fd, &mut [0; 10]), EISDIR);
    fails!(t.root.pread(fd, &mut [0; 10], 0), EISDIR);
    fails!(t.root.write(fd, b"x"), EBADF);
}

fn writing_past_the_largest_size_is_efbig(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    let most = t.numbers().file_size_max;
    fails!(p.pwrite(fd, b"x", most), EFBIG);
    fails!(p.pwrite(fd, b"x", i64::MAX.unsigned_abs()), EFBIG);
    fails!(p.pwrite(fd, b"x", u64::MAX), EFBIG | EINVAL);
    // With nothing to write there is nothing too large.
    assert_eq!(p.pwrite(fd, b"", 0), Ok(0));
    assert_eq!(p.fstat(fd).unwrap().size, 0);
    if t.caps().contains(Cap::HOLES) {
        // What fits is written.
        let last = p.pwrite(fd, b"xy", most - 1);
        assert!(matches!(last, Ok(1) | Err(Errno::EFBIG)), "{last:?}");
        assert_eq!(p.pwrite(fd, b"x", most - 1), Ok(1));
        assert_eq!(p.fstat(fd).unwrap().size, most);
        let mut end = [0; 4];
        assert_eq!(p.pread(fd, &mut end, most - 2), Ok(2));
        assert_eq!(&end[..2], b"\0x");
        p.ftruncate(fd, 0).unwrap();
    }
}

fn every_reader_sees_every_write(t: &Fixture) {
    let p = &t.root;
    let writer = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    let reader = t.user(100).open("file", O::RDONLY, 0);
    let user = t.user(100);
    let reader = reader.and_then(|_| user.open("file", O::RDONLY, 0)).unwrap();
    for n in 0..50u8 {
        p.pwrite(writer, &[n; 100], u64::from(n) * 50).unwrap();
        let mut buf = [0; 100];
        assert_eq!(user.pread(reader, &mut buf, u64::from(n) * 50), Ok(100));
        assert_eq!(buf, [n; 100]);
    }
}

fn sync_calls_succeed(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.write(fd, &[1; 10_000]).unwrap();
    p.fsync(fd).unwrap();
    p.write(fd, &[2; 10_000]).unwrap();
    p.fdatasync(fd).unwrap();
    p.sync().unwrap();
    let dir = p.open(".", O::DIRECTORY, 0).unwrap();
    p.fsync(dir).unwrap();
    // A file opened for reading can be synchronised as well.
    let reader = p.open("file", O::RDONLY, 0).unwrap();
    p.fsync(reader).unwrap();
    fails!(p.fsync(9999), EBADF);
}

fn synchronous_writes_work(t: &Fixture) {
    let p = &t.root;
    for flag in [O::SYNC, O::DSYNC] {
        let fd = p.open("file", O::CREAT | O::RDWR | flag, 0o644).unwrap();
        assert_eq!(p.write(fd, &[3; 5_000]), Ok(5_000));
        p.close(fd).unwrap();
    }
    t.root.remount(MOUNT_POINT, MountFlags::SYNCHRONOUS).unwrap();
    p.put("other", &[4; 5_000]).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    assert_eq!(p.get("other").unwrap(), [4; 5_000]);
}

fn dup_follows_the_rules(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDONLY | O::CLOEXEC, 0).unwrap();
    let copy = p.dup(fd).unwrap();
    assert_eq!((p.close_on_exec(fd), p.close_on_exec(copy)), (Ok(true), Ok(false)));
    assert_eq!(p.dup2(fd, fd), Ok(fd));
    fails!(p.dup3(fd, fd, false), EINVAL);
    assert_eq!(p.dup2(fd, 50), Ok(50));
    assert!(p.dup_from(fd, 60, true).unwrap() >= 60);
    fails!(p.dup(9999), EBADF);
    fails!(p.dup2(9999, 5), EBADF);
    p.exec().unwrap();
    fails!(p.fstat(fd), EBADF);
    assert_eq!(p.read_all(copy).unwrap(), b"content");
}

fn overwriting_keeps_the_rest(t: &Fixture) {
    let p = &t.root;
    let data = pattern(0, 30_000);
    p.put("file", &data).unwrap();
    p.sync().unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.pwrite(fd, b"changed", 10_000).unwrap();
    let mut expected = data;
    expected[10_000..10_007].copy_from_slice(b"changed");
    assert!(p.read_all(fd).unwrap() == expected);
    assert_eq!(p.fstat(fd).unwrap().size, 30_000);
}

fn a_file_of_many_pieces_is_whole(t: &Fixture) {
    // Two files growing in turns: neither lies in one piece.
    let p = &t.root;
    let a = p.open("a", O::CREAT | O::RDWR, 0o644).unwrap();
    let b = p.open("b", O::CREAT | O::RDWR, 0o644).unwrap();
    for n in 0..100u8 {
        assert_eq!(p.write(a, &[n; 5_000]), Ok(5_000));
        assert_eq!(p.write(b, &[n ^ 0xff; 5_000]), Ok(5_000));
        p.fsync(if n % 2 == 0 { a } else { b }).unwrap();
    }
    if t.caps().contains(Cap::PERSISTENT) {
        p.close(a).unwrap();
        p.close(b).unwrap();
        t.mount_again(MountFlags::default());
    }
    for (name, flip) in [("a", 0), ("b", 0xff)] {
        let content = p.get(name).unwrap();
        assert_eq!(content.len(), 500_000);
        assert!((0u8..).zip(content.chunks(5_000)).all(|(n, c)| c.iter().all(|&x| x == n ^ flip)));
    }
}

fn writes_are_atomic_to_readers(t: &Fixture) {
    // POSIX 2.9.7: a read sees all of a write or nothing of it.
    const LEN: usize = 20_000;
    let p = t.root.clone();
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.write(fd, &[0; LEN]).unwrap();
    let writer = {
        let p = p.clone();
        std::thread::spawn(move || {
            for n in 1..=200u8 {
                assert_eq!(p.pwrite(fd, &[n; LEN], 0), Ok(LEN));
            }
        })
    };
    let mut buf = vec![0; LEN];
    while !writer.is_finished() {
        assert_eq!(p.pread(fd, &mut buf, 0), Ok(LEN));
        assert!(buf.iter().all(|&b| b == buf[0]), "a torn write");
    }
    writer.join().unwrap();
}

fn appends_of_many_threads_do_not_mix(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let threads: Vec<_> = (0..4u8)
        .map(|n| {
            let p = p.fork();
            std::thread::spawn(move || {
                let fd = p.open("file", O::WRONLY | O::APPEND, 0).unwrap();
                for _ in 0..100 {
                    assert_eq!(p.write(fd, &[n; 777]), Ok(777));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let content = p.get("file").unwrap();
    assert_eq!(content.len(), 4 * 100 * 777);
    let mut counts = [0; 4];
    for piece in content.chunks(777) {
        assert!(piece.iter().all(|&b| b == piece[0]));
        counts[usize::from(piece[0])] += 1;
    }
    assert_eq!(counts, [100; 4]);
}

fn pipes_cannot_seek(t: &Fixture) {
    let p = &t.root;
    let (read, write) = p.pipe(O::empty()).unwrap();
    fails!(p.lseek(read, Seek::Set(0)), ESPIPE);
    fails!(p.pread(read, &mut [0], 0), ESPIPE);
    fails!(p.pwrite(write, b"x", 0), ESPIPE);
    fails!(p.ftruncate(write, 0), EINVAL);
}
