//! Volumes without space or inodes: nothing is lost, and space comes back.

use crate::prelude::*;

for_each_fs! {
    writing_until_it_is_full_is_enospc,
    a_short_write_comes_before_the_error,
    what_was_written_is_there,
    space_comes_back_with_the_file,
    making_names_on_a_full_volume_fails_cleanly,
    removing_works_on_a_full_volume,
    truncating_works_on_a_full_volume,
    overwriting_works_on_a_full_volume,
    renaming_works_on_a_full_volume,
    no_inodes_is_enospc needs INODES,
    a_full_directory_tree_can_be_removed,
    filling_many_times_loses_nothing,
    delayed_writes_have_their_space,
}

const CHUNK: usize = 65_536;

/// Writes until nothing fits; the bytes written.
fn fill(p: &Proc, path: &str) -> u64 {
    let fd = p.open(path, O::CREAT | O::RDWR, 0o644).unwrap();
    let mut total = 0;
    for size in [CHUNK, 1] {
        loop {
            match p.write(fd, &vec![(total >> 16) as u8; size]) {
                Ok(len) => total += len as u64,
                Err(error) => {
                    assert_eq!(error, Errno::ENOSPC);
                    break;
                }
            }
            assert!(total < 1 << 30, "no end");
        }
    }
    p.close(fd).unwrap();
    total
}

fn free(p: &Proc) -> (u64, u64) {
    p.sync().unwrap();
    p.statvfs(MOUNT_POINT).map(|s| (s.blocks_free, s.files_free)).unwrap()
}

fn writing_until_it_is_full_is_enospc(t: &Fixture) {
    let before = t.root.statvfs(".").unwrap();
    let total = fill(&t.root, "file");
    let room = before.blocks_free * u64::from(before.block_size);
    assert!(total <= room && total > room * 9 / 10, "{total} of {room}");
    let after = t.root.statvfs(".").unwrap();
    assert!(after.blocks_free < 16, "{after:?}");
    assert_eq!(t.root.stat("file").unwrap().size, total);
    let put = |n: usize| t.root.put(&format!("other-{n}"), b"x");
    let spare = t.numbers().spare_files;
    let others = (0..spare).take_while(|n| put(*n).is_ok()).count();
    fails!(put(others), ENOSPC);
}

fn a_short_write_comes_before_the_error(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    let all = vec![1; 64 << 20];
    let len = p.write(fd, &all).unwrap();
    assert!(len > 0 && len < all.len());
    assert_eq!(p.fstat(fd).unwrap().size, len as u64);
    assert_eq!(p.lseek(fd, Seek::Current(0)), Ok(len as u64));
    // What is left may be some bytes of the last block.
    let mut more = 0;
    while let Ok(len) = p.write(fd, &all) {
        more += len;
        assert!(more < 1 << 20, "it was not full");
    }
    let one = p.write(fd, b"x");
    assert_eq!(one, Err(Errno::ENOSPC), "{} {more} {:?}", len, p.statvfs("."));
    let content = p.read_all(fd).unwrap();
    assert!(content.len() == len + more && content.iter().all(|&b| b == 1));
}

fn what_was_written_is_there(t: &Fixture) {
    let total = fill(&t.root, "file");
    if t.caps().contains(Cap::PERSISTENT) {
        t.mount_again(MountFlags::default());
    }
    let content = t.root.get("file").unwrap();
    assert_eq!(content.len() as u64, total);
    let whole = content.len() - content.len() % CHUNK;
    let right = |(at, &b): (usize, &u8)| b == (at >> 16) as u8;
    // Pieces shorter than a chunk come only at the end.
    assert!(content[..whole].iter().enumerate().all(right));
}

fn space_comes_back_with_the_file(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.unlink("file").unwrap();
    let before = free(p);
    fill(p, "file");
    p.unlink("file").unwrap();
    assert_eq!(free(p), before);
    let first = fill(p, "file");
    p.unlink("file").unwrap();
    assert_eq!(fill(p, "file"), first);
}

fn making_names_on_a_full_volume_fails_cleanly(t: &Fixture) {
    let p = &t.root;
    fill(p, "file");
    // Until nothing can be made any more.
    let mut made = 0;
    let refused = loop {
        match p.mkdir(&format!("a-directory-with-a-rather-long-name-{made}"), 0o755) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 10_000, "no end");
    };
    assert_eq!(refused, Errno::ENOSPC);
    assert_eq!(p.names(".").len(), made + 1);
    assert_eq!(p.nlink("."), Ok(t.dir_links(made as u64)));
    if t.caps().contains(Cap::SYMLINKS) {
        let target = "t".repeat(t.numbers().symlink_max);
        fails!(p.symlink(&target, "link"), ENOSPC);
        assert!(!p.exists("link"));
    }
}

fn removing_works_on_a_full_volume(t: &Fixture) {
    let p = &t.root;
    for n in 0..20 {
        p.mkdir(&format!("dir{n}"), 0o755).unwrap();
        p.put(&format!("dir{n}/file"), &[1; 5000]).unwrap();
    }
    fill(p, "filler");
    for n in 0..20 {
        p.unlink(&format!("dir{n}/file")).unwrap();
        p.rmdir(&format!("dir{n}")).unwrap();
    }
    assert_eq!(p.names("."), ["filler"]);
    p.put("new", &[1; 5000]).unwrap();
}

fn truncating_works_on_a_full_volume(t: &Fixture) {
    let p = &t.root;
    let total = fill(p, "file");
    p.truncate("file", total / 2).unwrap();
    assert_eq!(p.stat("file").unwrap().size, total / 2);
    p.put("other", &[1; 100_000]).unwrap();
    p.truncate("file", 0).unwrap();
}

fn overwriting_works_on_a_full_volume(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[1; 100_000]).unwrap();
    p.sync().unwrap();
    fill(p, "filler");
    let fd = p.open("file", O::RDWR, 0).unwrap();
    assert_eq!(p.pwrite(fd, &[2; 100_000], 0), Ok(100_000));
    p.fsync(fd).unwrap();
    assert!(p.read_all(fd).unwrap() == [2; 100_000]);
    p.chmod("file", 0o600).unwrap();
    p.utimens("file", SetTime::Now, SetTime::Now).unwrap();
}

fn renaming_works_on_a_full_volume(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.put("a", b"in a").unwrap();
    p.put("dir/b", b"in b").unwrap();
    fill(p, "filler");
    p.rename("a", "c").unwrap();
    p.rename("c", "dir/b").unwrap();
    assert_eq!(p.get("dir/b").unwrap(), b"in a");
}

fn no_inodes_is_enospc(t: &Fixture) {
    let p = &t.root;
    let before = free(p);
    p.mkdir("dir", 0o755).unwrap();
    let mut made = 0;
    let refused = loop {
        match p.create(&format!("dir/{made}"), 0o644) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 100_000, "no end");
    };
    assert_eq!(refused, Errno::ENOSPC);
    assert_eq!(p.statvfs(".").unwrap().files_free, 0);
    fails!(p.mkdir("more", 0o755), ENOSPC);
    fails!(p.mkfifo("more", 0o644), ENOSPC | EOPNOTSUPP);
    assert_eq!(p.names("dir").len(), made);
    for n in 0..made {
        p.unlink(&format!("dir/{n}")).unwrap();
    }
    p.rmdir("dir").unwrap();
    assert_eq!(free(p), before);
}

fn a_full_directory_tree_can_be_removed(t: &Fixture) {
    let p = &t.root;
    let before = free(p);
    let mut made = Vec::new();
    'full: for n in 0..500 {
        let dir = format!("dir{n}");
        if p.mkdir(&dir, 0o755).is_err() {
            break;
        }
        made.push((dir.clone(), true));
        for m in 0..4 {
            let file = format!("{dir}/file{m}");
            let Ok(fd) = p.open(&file, O::CREAT | O::WRONLY, 0o644) else {
                break 'full;
            };
            made.push((file, false));
            let full = p.write(fd, &[1; 50_000]).is_err();
            p.close(fd).unwrap();
            if full {
                break 'full;
            }
        }
    }
    assert!(made.len() > 50);
    for (path, dir) in made.iter().rev() {
        p.unlinkat(At::Cwd, path, *dir).unwrap();
    }
    assert!(p.names(".").is_empty());
    // The directory itself may have grown.
    let after = free(p);
    assert!(after.0 + 32 >= before.0 && after.1 == before.1, "{before:?} {after:?}");
}

fn filling_many_times_loses_nothing(t: &Fixture) {
    let p = &t.root;
    let first = fill(p, "file");
    for _ in 0..5 {
        p.unlink("file").unwrap();
        assert_eq!(fill(p, "file"), first);
    }
}

fn delayed_writes_have_their_space(t: &Fixture) {
    // What write() has taken, close() and fsync() do not refuse.
    let p = &t.root;
    let mut files = Vec::new();
    for n in 0..1000u32 {
        let fd = p.open(format!("file{n}"), O::CREAT | O::RDWR, 0o644);
        let Ok(fd) = fd else { break };
        let written = p.write(fd, &[n as u8; 30_000]);
        files.push((fd, n, written.unwrap_or(0)));
        if written != Ok(30_000) {
            break;
        }
    }
    assert!(files.len() > 100);
    for (fd, n, len) in files {
        p.fsync(fd).unwrap();
        assert!(p.read_all(fd).unwrap() == vec![n as u8; len]);
        p.close(fd).unwrap();
    }
}
