//! Reading: each block once, bounded, ahead.

mod common;

use common::{BLOCK, Disk, get, put, volume};
use rumpbio::{Volume, VolumeOptions};
use rumpuser::Errno;
use std::{sync::Arc, thread};

#[test]
fn block_sizes_are_checked() {
    let disk = Disk::new(4);
    for size in [0, 256, 1000, 131_072] {
        let options = VolumeOptions {
            block_size: size,
            cache_bytes: 0,
        };
        assert_eq!(
            Volume::new(disk.clone(), &common::StdThreads, options).err(),
            Some(Errno::EINVAL)
        );
    }
}

#[test]
fn a_block_is_read_once() {
    let disk = Disk::new(16);
    let volume = volume(&disk, 64);
    assert_eq!(get(&volume, 3), 3);
    assert_eq!(get(&volume, 3), 3);
    assert!(Arc::ptr_eq(
        &volume.read(3).unwrap(),
        &volume.read(3).unwrap()
    ));
    assert_eq!(disk.inner().reads, [(3 * BLOCK as u64, BLOCK)]);
    assert_eq!(volume.read(16).unwrap_err(), Errno::EIO);
    assert_eq!(volume.read(u64::MAX).unwrap_err(), Errno::EIO);
}

#[test]
fn many_blocks_are_taken_at_once_as_far_as_they_are_there() {
    let disk = Disk::new(1024);
    let volume = volume(&disk, 4096);
    let cached = |block: u64| block.is_multiple_of(3);
    (0..900)
        .filter(|block| cached(*block))
        .for_each(|block| drop(volume.read(block)));
    let reads = disk.inner().reads.len();
    // In any order, one of them twice, and offsets past the end of a block.
    let places: Vec<_> = (0..100)
        .chain([9, 5000, u64::MAX])
        .map(|n: u64| (n.wrapping_mul(7) % 1000, n as usize % 2000))
        .collect();
    let found = volume.cached_all(&common::StdThreads, &places, 256);
    assert_eq!(found.len(), places.len());
    for (found, (block, _)) in found.into_iter().zip(places) {
        assert_eq!(found.is_some(), block < 900 && cached(block), "{block}");
        if let Some(buf) = found {
            assert!(Arc::ptr_eq(&buf, &volume.read(block).unwrap()));
        }
    }
    assert_eq!(disk.inner().reads.len(), reads);
}

#[test]
fn threads_that_ask_at_once_share_one_transfer() {
    let disk = Disk::new(16);
    let volume = volume(&disk, 64);
    disk.hold_reads();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(|| get(&volume, 5))).collect();
        // A block that becomes metadata while its old content is on the way: the old content does not win.
        disk.wait_until_a_read_is_held();
        let creator = scope.spawn(|| {
            let mut handle = volume.begin(1).unwrap();
            let buf = handle.create(5).unwrap();
            handle.modify(&buf, |data| data[1] = 1);
            handle.commit();
        });
        thread::sleep(std::time::Duration::from_millis(20));
        disk.release_reads();
        for reader in readers {
            assert!([0, 5].contains(&reader.join().unwrap()));
        }
        creator.join().unwrap();
    });
    assert_eq!(volume.read(5).unwrap().data()[..2], [0, 1]);
    assert_eq!(disk.inner().reads.len(), 1);
}

#[test]
fn a_failed_read_is_told_to_all_and_tried_again_later() {
    let disk = Disk::new(16);
    let volume = volume(&disk, 64);
    disk.inner().bad_byte = Some(5 * BLOCK as u64);
    disk.hold_reads();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| volume.read(5).unwrap_err()))
            .collect();
        disk.wait_until_a_read_is_held();
        thread::sleep(std::time::Duration::from_millis(20));
        disk.release_reads();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), Errno::EIO);
        }
    });
    disk.inner().bad_byte = None;
    assert_eq!(get(&volume, 5), 5);
}

#[test]
fn read_ahead_takes_one_transfer() {
    let disk = Disk::new(64);
    let volume = volume(&disk, 64);
    volume.read_ahead(8, 16);
    assert_eq!(disk.inner().reads, [(8 * BLOCK as u64, 16 * BLOCK)]);
    for block in 8..24 {
        assert_eq!(get(&volume, block), block as u8);
    }
    assert_eq!(disk.inner().reads.len(), 1);
    // What is there is not read again.
    volume.read_ahead(4, 24);
    assert_eq!(
        disk.inner().reads[1..],
        [
            (4 * BLOCK as u64, 4 * BLOCK),
            (24 * BLOCK as u64, 4 * BLOCK)
        ]
    );
    // Past the end, and absurd counts.
    volume.read_ahead(60, u32::MAX);
    assert_eq!(disk.inner().reads[3..], [(60 * BLOCK as u64, 4 * BLOCK)]);
    volume.read_ahead(u64::MAX, u32::MAX);
    volume.read_ahead(64, 1);
    assert_eq!(disk.inner().reads.len(), 4);
}

#[test]
fn a_failed_read_ahead_leaves_good_blocks_readable() {
    let disk = Disk::new(64);
    let volume = volume(&disk, 64);
    disk.inner().bad_byte = Some(10 * BLOCK as u64);
    volume.read_ahead(8, 8);
    assert_eq!(volume.cached_bytes(), 0);
    assert_eq!(get(&volume, 9), 9);
    assert_eq!(volume.read(10).unwrap_err(), Errno::EIO);
}

#[test]
fn what_is_derived_of_blocks_counts_as_they_do() {
    let disk = Disk::new(4096);
    let volume = volume(&disk, 128);
    for block in 0..4096 {
        let buf = volume.read(block).unwrap();
        buf.derive(&buf.data(), volume.derived([0_u8; BLOCK / 4]));
    }
    let bytes = volume.cached_bytes();
    // With a quarter of each block more there is room for 102 of them.
    assert!((100 * BLOCK..=140 * BLOCK).contains(&bytes), "{bytes}");
    volume.discard_all();
    assert_eq!(volume.cached_bytes(), 0);
}

#[test]
fn the_cache_is_bounded_and_changed_blocks_stay() {
    let disk = Disk::new(4096);
    let volume = volume(&disk, 128);
    put(&volume, 1, 77);
    let kept = volume.read(2).unwrap();
    for block in 100..4096 {
        assert_eq!(get(&volume, block), block as u8);
    }
    assert!(
        volume.cached_bytes() <= 130 * BLOCK,
        "{}",
        volume.cached_bytes()
    );
    let reads = disk.inner().reads.len();
    assert_eq!(get(&volume, 1), 77);
    assert!(Arc::ptr_eq(&kept, &volume.read(2).unwrap()));
    assert_eq!(disk.inner().reads.len(), reads);
    // Once home, a block may go, and comes back with the content it had.
    volume.commit().unwrap();
    for block in 100..4096 {
        get(&volume, block);
    }
    let reads = disk.inner().reads.len();
    assert_eq!(get(&volume, 1), 77);
    assert_eq!(disk.inner().reads.len(), reads + 1);
}
