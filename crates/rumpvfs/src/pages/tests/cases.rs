//! Single behaviours.

use super::fake::{Bench, GARBAGE};
use crate::{
    calls::FileExtent,
    fs::{Space, WriteOrdered as _},
    pages::{FilePages, Keep},
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::sync::atomic::Ordering::SeqCst;
use rumpuser::Errno;

fn reads(bench: &Bench) -> usize {
    bench.shared.device.reads.load(SeqCst)
}

fn writes(bench: &Bench) -> usize {
    bench.shared.device.writes.load(SeqCst)
}

/// A file of ones, written and out of the cache.
fn cold(block: u64, len: usize, limit: usize) -> Bench {
    let mut bench = Bench::new(block, len as u64 / block + 64, limit);
    assert_eq!(bench.write(0, &vec![1; len]), Ok(len));
    bench.pages.flush().unwrap();
    bench.pages.drop_clean();
    bench
}

#[test]
fn cached_reads_leave_the_device_alone() {
    let bench = cold(4096, 20_000, 1 << 20);
    assert_eq!(bench.read(0, 100).unwrap(), [1; 100]);
    let before = reads(&bench);
    assert!(before > 0);
    assert_eq!(bench.read(10, 19_000).unwrap(), [1; 19_000]);
    assert_eq!(bench.read(19_999, 5).unwrap(), [1]);
    assert_eq!(bench.read(20_000, 5).unwrap(), []);
    assert_eq!(bench.read(u64::MAX, 5).unwrap(), []);
    assert_eq!(reads(&bench), before);
}

#[test]
fn a_sequential_reader_is_read_ahead_of() {
    let bench = cold(4096, 4 << 20, 64 << 20);
    let before = reads(&bench);
    for n in 0..1024 {
        assert_eq!(bench.read(n * 4096, 4096).unwrap(), [1; 4096]);
    }
    // Blocks lie together in runs of eleven.
    let sequential = reads(&bench) - before;
    assert!((4..=200).contains(&sequential), "{sequential} transfers");

    let random = cold(4096, 4 << 20, 64 << 20);
    let before = reads(&random);
    for n in 0..64 {
        random.read((n * 37 % 1024) * 4096 + 4096, 100).unwrap();
    }
    assert!(random.pool.used() < 80 * 4096, "{:?}", random.pool);
    assert!(reads(&random) - before <= 70);
}

#[test]
fn what_the_caller_keeps_is_not_kept_here_too() {
    let bench = cold(4096, 4 << 20, 64 << 20);
    let before = reads(&bench);
    let read = |at, len| bench.read_with(Keep::Ahead, at, len).unwrap();
    for n in 0..64 {
        let at = (n * 37 % 1024) * 4096 + 4096;
        assert_eq!(read(at, 4096), [1; 4096]);
        assert_eq!(read(at + 5, 100), [1; 100]);
    }
    assert_eq!(bench.pool.used(), 0, "{:?}", bench.pool);
    assert!(reads(&bench) - before <= 2 * 70);
    // All of a file at once, to its end, which is not that of a block.
    let mut small = Bench::new(1024, 64, 64 << 20);
    small.write(0, &[2; 20_000]).unwrap();
    small.pages.flush().unwrap();
    small.pages.drop_clean();
    let read = |at, len| small.read_with(Keep::Ahead, at, len).unwrap();
    assert_eq!(read(0, 20_480), [2; 20_000]);
    assert_eq!(small.pool.used(), 0, "{:?}", small.pool);
    // What is read ahead is.
    assert_eq!(read(0, 4096), [2; 4096]);
    let before = reads(&small);
    assert_eq!(read(4096, 16_384), [2; 15_904]);
    assert_eq!(reads(&small), before);
    // And what is dirty is newer than the device.
    small.pages.drop_clean();
    small.write(9000, &[3; 10]).unwrap();
    let data = small.read_with(Keep::Ahead, 0, 20_000).unwrap();
    assert_eq!(data[9000..9010], [3; 10]);
    assert_eq!(data.iter().filter(|b| **b == 2).count(), 19_990);
}

#[test]
fn large_reads_pass_the_cache() {
    let mut bench = Bench::new(65_536, 64, 64 << 20);
    bench.write(0, &vec![7; 2 << 20]).unwrap();
    bench.pages.flush().unwrap();
    bench.pages.drop_clean();
    assert_eq!(bench.pool.used(), 0);
    assert_eq!(bench.read(100, 700_000).unwrap(), vec![7; 700_000]);
    assert!(bench.pool.used() <= 128 << 10, "{:?}", bench.pool);
    // What is dirty in the middle is newer than the device.
    bench.write(300_000, &[9; 10]).unwrap();
    let data = bench.read(0, 700_000).unwrap();
    assert_eq!(data[300_000..300_010], [9; 10]);
    assert_eq!(data.iter().filter(|b| **b == 7).count(), 699_990);
}

#[test]
fn large_appends_pass_the_cache() {
    let mut bench = Bench::new(1024, 4000, 64 << 20);
    bench.shared.faults.commit.store(true, SeqCst);
    bench.write(0, &vec![3; 1_000_000]).unwrap();
    assert_eq!(bench.pool.used(), 0, "{:?}", bench.pool);
    assert_eq!(bench.on_device(), vec![3; 1_000_000]);
    let last = bench.file().blocks[&976].0 as usize * 1024;
    let block = bench.shared.device.bytes.read()[last..][..1024].to_vec();
    assert_eq!(block[576..], [0; 448], "past the end of the file");
    // A piece of a page, and a hole before the next.
    bench.write(1_000_000, &[4; 5000]).unwrap();
    let at = 1_200_128;
    bench.write(at, &vec![5; 200_000]).unwrap();
    assert!(bench.pool.used() <= 4 * 4096, "{:?}", bench.pool);
    bench.pages.flush().unwrap();
    let mut wanted = vec![3; 1_000_000];
    wanted.extend([4; 5000]);
    wanted.resize(at as usize, 0);
    wanted.extend(vec![5; 200_000]);
    assert_eq!(bench.on_device(), wanted);
    assert_eq!(bench.read(0, 2_000_000).unwrap(), wanted);
}

#[test]
fn a_large_append_that_the_device_does_not_take_is_kept() {
    let mut bench = Bench::new(4096, 400, 64 << 20);
    bench.shared.device.fail_writes.store(true, SeqCst);
    assert_eq!(bench.write(0, &[8; 200_704]), Ok(200_704));
    assert_eq!(bench.read(0, 300_000).unwrap(), [8; 200_704]);
    assert_eq!(bench.pages.flush(), Err(Errno::EIO));
    bench.shared.device.fail_writes.store(false, SeqCst);
    assert_eq!(bench.pages.flush(), Ok(()));
    assert_eq!(bench.on_device(), [8; 200_704]);
}

#[test]
fn a_large_append_to_blocks_that_are_reserved_or_too_few() {
    let mut bench = Bench::new(4096, 64, 64 << 20);
    bench
        .fs
        .reserve(&mut bench.inode, 0, 128 << 10, Space::Reserve)
        .expect("room for 32 blocks");
    bench.shared.faults.short.store(5, SeqCst);
    assert_eq!(bench.write(0, &[2; 200_704]), Ok(200_704));
    bench.shared.faults.short.store(0, SeqCst);
    bench.pages.flush().unwrap();
    assert_eq!(bench.on_device(), [2; 200_704]);
    // Of 64 blocks 15 are left.
    assert_eq!(bench.write(200_704, &[2; 200_704]), Ok(61_440));
    assert_eq!(bench.write(262_144, &[2; 200_704]), Err(Errno::ENOSPC));
    bench.pages.flush().unwrap();
    assert_eq!(bench.on_device(), [2; 262_144]);
}

#[test]
fn an_error_of_the_device_is_reported_once_to_each_user_and_nothing_is_lost() {
    let mut bench = Bench::new(1024, 100, 1 << 20);
    bench.write(0, &[5; 3000]).unwrap();
    let (one, other) = (bench.pages.error_cursor(), bench.pages.error_cursor());
    bench.shared.device.fail_writes.store(true, SeqCst);
    assert_eq!(bench.mount.write_ordered(), Err(Errno::EIO));
    bench.shared.device.fail_writes.store(false, SeqCst);
    let late = bench.pages.error_cursor();
    assert_eq!(bench.pages.flush(), Ok(()), "that of now");
    for cursor in [&one, &other, &late] {
        let told = bench.pages.check_error(cursor);
        assert_eq!(told, Err(Errno::EIO), "of the write before");
        assert_eq!(bench.pages.check_error(cursor), Ok(()), "once");
    }
    let later = bench.pages.error_cursor();
    assert_eq!(bench.pages.check_error(&later), Ok(()), "that is known");
    assert_eq!(bench.on_device(), [5; 3000]);
}

#[test]
fn a_writer_is_held_back_and_told_when_nothing_can_be_written() {
    let mut bench = Bench::new(4096, 4000, 1 << 20);
    bench.shared.device.fail_writes.store(true, SeqCst);
    let mut written = 0;
    let error = loop {
        match bench.write(written, &[6; 100_000]) {
            Ok(n) => written += n as u64,
            Err(error) => break error,
        }
        assert!(written < 3 << 20, "memory is bounded");
    };
    assert_eq!(error, Errno::EIO);
    bench.shared.device.fail_writes.store(false, SeqCst);
    assert_eq!(bench.size(), written);
    let _ = bench.pages.flush();
    assert_eq!(bench.pages.flush(), Ok(()));
    assert_eq!(bench.on_device(), vec![6; written as usize]);
}

#[test]
fn memory_stays_within_the_limit() {
    let mut bench = Bench::new(4096, 8000, 1 << 20);
    for n in 0..16 {
        bench.write(n << 20, &vec![n as u8 + 1; 1 << 20]).unwrap();
        assert!(bench.pool.used() <= 3 << 20, "{:?}", bench.pool);
        assert!(bench.pool.dirty() <= 5 << 18, "{:?}", bench.pool);
    }
    for n in 0..4096 {
        assert_eq!(bench.read(n << 12, 1).unwrap(), [(n >> 8) as u8 + 1]);
    }
    assert!(bench.pool.used() <= 5 << 18, "{:?}", bench.pool);
}

#[test]
fn many_small_files_are_written_in_few_transfers() {
    let mut bench = Bench::new(4096, 2000, 64 << 20);
    let mut files = Vec::new();
    for n in 0..500 {
        bench.write(0, &[n as u8 | 1; 6000]).unwrap();
        let pages = FilePages::new(&bench.mounted);
        let inode = crate::erased::AnyInode::new(super::fake::FakeInode::default());
        files.push((
            core::mem::replace(&mut bench.pages, pages),
            core::mem::replace(&mut bench.inode, inode),
        ));
    }
    let before = writes(&bench);
    bench.mount.write_ordered().unwrap();
    let transfers = writes(&bench) - before;
    assert!(transfers <= 1000 / 11 + 2, "{transfers} transfers");
    for (n, (pages, inode)) in files.into_iter().enumerate() {
        bench.pages = pages;
        bench.inode = inode;
        assert_eq!(bench.on_device(), [n as u8 | 1; 6000]);
    }
}

#[test]
fn bytes_past_the_end_are_never_seen() {
    for block in [512, 1024, 4096, 16_384] {
        let mut bench = Bench::new(block, 100, 1 << 20);
        bench.write(0, &[3; 700]).unwrap();
        bench.pages.flush().unwrap();
        // Another system left garbage behind the end.
        let file = bench.file();
        let home = file.blocks[&(699 / block)].0;
        let tail = (home * block + 700 % block) as usize;
        let end = ((home + 1) * block) as usize;
        bench.shared.device.bytes.write()[tail..end].fill(GARBAGE);
        bench.pages.drop_clean();
        bench.write(50_000, &[4; 10]).unwrap();
        bench.pages.flush().unwrap();
        let mut expected = vec![3; 700];
        expected.resize(50_000, 0);
        expected.extend([4; 10]);
        assert_eq!(bench.on_device(), expected, "{block}");
        bench.pages.drop_clean();
        assert_eq!(bench.read(0, 60_000).unwrap(), expected, "{block}");
    }
}

#[test]
fn extents_join_and_leave_holes_out() {
    let mut bench = Bench::new(4096, 100, 1 << 20);
    bench.write(0, &[1; 8192]).unwrap();
    bench.write(40_960, &[2; 100]).unwrap();
    let (first, third) = (bench.file().blocks[&0].0, bench.file().blocks[&10].0);
    let extents = bench
        .pages
        .extents(&*bench.fs, &bench.inode, bench.size(), 100, u64::MAX)
        .unwrap();
    let extent = |offset, len, device| FileExtent {
        offset,
        len,
        device: Some(device),
    };
    assert_eq!(
        extents,
        [
            extent(100, 8092, first * 4096 + 100),
            extent(40_960, 100, third * 4096)
        ]
    );
    assert!(!bench.pages.is_dirty(), "the device has the data");
}

#[test]
fn a_failed_read_is_an_error_and_may_be_tried_again() {
    let bench = cold(1024, 10_000, 1 << 20);
    bench.shared.device.fail_reads.store(true, SeqCst);
    assert_eq!(bench.read(0, 10), Err(Errno::EIO));
    bench.shared.device.fail_reads.store(false, SeqCst);
    assert_eq!(bench.read(0, 10_000).unwrap(), [1; 10_000]);
}

#[test]
fn writing_past_the_largest_size_is_refused() {
    let mut bench = Bench::new(4096, 100, 1 << 20);
    assert_eq!(bench.write(1 << 40, &[1; 10]), Err(Errno::EFBIG));
    assert_eq!(bench.write(u64::MAX, &[1; 10]), Err(Errno::EFBIG));
    assert_eq!(bench.write((1 << 40) - 4, &[1; 10]), Ok(4));
    assert_eq!(bench.size(), 1 << 40);
    assert_eq!(bench.truncate((1 << 40) + 1), Err(Errno::EFBIG));
}

#[test]
fn a_file_that_is_dropped_or_invalidated_writes_nothing() {
    for drop_it in [false, true] {
        let mut bench = Bench::new(1024, 16, 1 << 20);
        bench.write(0, &[1; 5000]).unwrap();
        assert!(!bench.mount.is_clean());
        if drop_it {
            bench.pages = FilePages::new(&bench.mounted);
        } else {
            bench.pages.invalidate();
        }
        assert!(bench.mount.is_clean());
        bench.mount.write_ordered().unwrap();
        assert_eq!((writes(&bench), bench.pool.used()), (0, 0));
    }
}

#[test]
fn a_page_that_is_being_written_is_not_dropped() {
    let mut bench = Bench::new(4096, 16, 0);
    bench.shared.device.fail_writes.store(true, SeqCst);
    let _ = bench.write(0, &[1; 4096]);
    bench.shared.device.fail_writes.store(false, SeqCst);
    let inner = bench.pages.inner.clone();
    *bench.shared.device.hook.lock() = Some(alloc::boxed::Box::new(move || {
        inner.evict(9);
        inner.evict(9);
        assert!(inner.state.read().pages.contains(0));
    }));
    bench.pages.flush().unwrap();
    assert!(bench.shared.device.hook.lock().is_none(), "it was written");
    assert_eq!(bench.read(0, 4096).unwrap(), [1; 4096]);
}

#[test]
fn readers_and_write_back_run_beside_each_other() {
    // A writer makes a page dirty again and again, whole pages of one byte; a second thread writes back. The device never
    // holds a page of two bytes, and in the end holds the last.
    let mut bench = Bench::new(4096, 16, 1 << 20);
    bench.write(0, &[1; 4096]).unwrap();
    let home = bench.file().blocks[&0].0 as usize * 4096;
    let mount = bench.mount.clone();
    let device = bench.shared.device.clone();
    let done = Arc::new(core::sync::atomic::AtomicBool::new(false));
    let stop = done.clone();
    let body = alloc::boxed::Box::new(move || {
        while !stop.load(SeqCst) {
            mount.write_ordered().unwrap();
            let bytes = device.bytes.read();
            let page = &bytes[home..home + 4096];
            assert!(page.iter().all(|b| *b == page[0]), "a torn page");
        }
    });
    use rumpuser::Threads as _;
    let host = rumpuser_posix::Host::new();
    let thread = host.spawn("writeback", body).unwrap();
    for n in 0..20_000_u32 {
        bench.write(0, &[(n % 100) as u8 + 1; 4096]).unwrap();
    }
    done.store(true, SeqCst);
    thread.join();
    bench.pages.flush().unwrap();
    assert_eq!(bench.on_device(), [100; 4096]);
}

#[test]
fn bytes_that_somebody_else_puts_on_the_device() {
    let mut bench = Bench::new(4096, 4096, 64 << 20);
    let data: Vec<u8> = (0..100_003).map(|n| (n % 251) as u8).collect();
    assert_eq!(bench.write_extents(0, &data, usize::MAX), Ok(100_003));
    assert_eq!((bench.size(), bench.pool.used()), (100_003, 0));
    assert_eq!(bench.on_device(), data);
    // What is behind the end in its block is zeros and not what was there.
    bench.truncate(110_000).unwrap();
    let behind = bench.read(100_003, 10_000).unwrap();
    assert_eq!(behind, vec![0; 110_000 - 100_003]);
    // Behind a hole.
    assert_eq!(bench.write_extents(131_072, &data, usize::MAX), Ok(100_003));
    assert_eq!(bench.read(110_000, 21_072).unwrap(), vec![0; 21_072]);
    assert_eq!(bench.read(131_072, 200_000).unwrap(), data);
}

#[test]
fn bytes_that_nobody_puts_on_the_device_are_not_in_the_file() {
    let mut bench = Bench::new(4096, 4096, 64 << 20);
    bench.write(0, &[3; 8192]).unwrap();
    let data = vec![7; 200_000];
    for fail in [0, 1, 20] {
        assert_eq!(bench.write_extents(8192, &data, fail), Err(Errno::EIO));
        assert_eq!(bench.size(), 8192);
        assert_eq!(bench.file().blocks.len(), 2);
    }
    // With the device full: nothing, and no error of the one who puts.
    let all = vec![7; 17 << 20];
    assert_eq!(bench.write_extents(8192, &all, usize::MAX), Ok(8 << 20));
    assert_eq!(bench.size(), 8192 + (8 << 20));
    let full = bench.write_extents(8192 + (8 << 20), &all, usize::MAX);
    assert_eq!(full, Err(Errno::ENOSPC));
    assert_eq!(bench.size(), 8192 + (8 << 20));
}

#[test]
fn where_bytes_cannot_be_put_on_the_device() {
    let mut bench = Bench::new(4096, 4096, 64 << 20);
    let refused = Err(Errno::EOPNOTSUPP);
    let data = vec![7; 100_000];
    assert_eq!(bench.write_extents(0, &data[..1000], 9), refused);
    assert_eq!(bench.write_extents(0, &[], 9), Ok(0));
    assert_eq!(bench.write_extents(100, &data, 9), refused);
    bench.write(0, &data).unwrap();
    assert_eq!(bench.write_extents(0, &data, 9), refused);
    assert_eq!(bench.write_extents(100_000, &data, 9), refused);
    // Data in the inode must move out first.
    let mut bench = Bench::new(4096, 4096, 64 << 20);
    bench.file().inline = Some(vec![1; 10]);
    bench.file().size = 10;
    assert_eq!(bench.write_extents(4096, &data, 9), refused);
}
