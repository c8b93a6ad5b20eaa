use super::*;

#[test]
fn a_disk_without_faults() {
    let disk = MemDisk::new(1 << 50);
    disk.write_at((1 << 49) + 5, b"far out").unwrap();
    disk.write_vectored_at(10, &[b"ab", b"", b"cd"]).unwrap();
    let (mut one, mut two) = ([0; 3], [0; 3]);
    disk.read_vectored_at(9, &mut [&mut one, &mut two]).unwrap();
    assert_eq!((&one, &two), (b"\0ab", b"cd\0"));
    let mut far = [0; 7];
    disk.read_at((1 << 49) + 5, &mut far).unwrap();
    assert_eq!(&far, b"far out");
    disk.flush().unwrap();
    let expected = Counters {
        reads: 2,
        writes: 2,
        flushes: 1,
        discards: 0,
        bytes_read: 13,
        bytes_written: 11,
        failures: 0,
    };
    assert_eq!(disk.counters(), expected);
}

#[test]
fn ranges_past_the_end_are_refused() {
    let disk = MemDisk::from_bytes(&[1; 1000]);
    for offset in [997, 1000, u64::MAX] {
        assert_eq!(disk.read_at(offset, &mut [0; 4]), Err(Errno::EIO));
        assert_eq!(disk.write_at(offset, &[0; 4]), Err(Errno::EIO));
        assert_eq!(disk.discard(offset, 4), Err(Errno::EIO));
    }
    assert_eq!(disk.to_bytes(), [1; 1000]);
}

#[test]
fn the_nth_operation_fails() {
    let disk = MemDisk::new(4096);
    disk.inject(Fault::on(Operation::Write).after(2).times(1));
    disk.inject(Fault::on(Operation::Flush).times(1));
    let results: Vec<bool> = (0..5).map(|_| disk.write_at(0, &[1]).is_ok()).collect();
    assert_eq!(results, [true, true, false, true, true]);
    assert_eq!(disk.flush(), Err(Errno::EIO));
    assert_eq!(disk.flush(), Ok(()));
    disk.inject(Fault::on(Operation::Read).after(1));
    assert_eq!(disk.read_at(0, &mut [0]), Ok(()));
    assert_eq!(disk.read_at(0, &mut [0]), Err(Errno::EIO));
    assert_eq!(disk.read_vectored_at(0, &mut [&mut [0]]), Err(Errno::EIO));
    disk.heal();
    assert_eq!(disk.read_at(0, &mut [0]), Ok(()));
}

#[test]
fn bad_ranges_fail() {
    let disk = MemDisk::new(4096);
    disk.inject(Fault::on(Operation::Read).range(512..1024));
    for (offset, len, good) in [
        (0, 512, true),
        (1024, 512, true),
        (0, 513, false),
        (1023, 5, false),
        (0, 4096, false),
    ] {
        assert_eq!(
            disk.read_at(offset, &mut vec![0; len]).is_ok(),
            good,
            "{offset} {len}"
        );
    }
    disk.inject(Fault::on(Operation::Discard).errno(Errno::EOPNOTSUPP));
    assert_eq!(disk.discard(0, 512), Err(Errno::EOPNOTSUPP));
}

#[test]
fn a_full_host() {
    let disk = MemDisk::new(4096);
    disk.inject(Fault::on(Operation::Write).after(1).errno(Errno::ENOSPC));
    assert_eq!(disk.write_at(0, &[1; 512]), Ok(()));
    assert_eq!(disk.write_at(512, &[1; 512]), Err(Errno::ENOSPC));
    assert_eq!(disk.to_bytes()[511..513], [1, 0]);
}

#[test]
fn torn_writes_leave_some_sectors() {
    let torn = |seed| {
        let disk = MemDisk::new(64 * 512);
        disk.inject(Fault::on(Operation::Write).torn(seed).times(1));
        assert_eq!(disk.write_at(0, &[1; 64 * 512]), Err(Errno::EIO));
        disk.to_bytes()
    };
    let bytes = torn(1);
    let written = bytes
        .chunks(512)
        .filter(|sector| **sector == [1; 512])
        .count();
    let missing = bytes
        .chunks(512)
        .filter(|sector| **sector == [0; 512])
        .count();
    assert_eq!(written + missing, 64);
    assert!((16..48).contains(&written), "{written}");
    assert_eq!(torn(1), bytes);
    assert_ne!(torn(2), bytes);
}

#[test]
fn read_only_disks_refuse_changes() {
    let disk = MemDisk::new(4096);
    disk.set_read_only(true);
    assert!(disk.read_only());
    assert_eq!(disk.write_at(0, &[1]), Err(Errno::EROFS));
    assert_eq!(disk.discard(0, 512), Err(Errno::EROFS));
    assert_eq!(disk.flush(), Ok(()));
    disk.set_read_only(false);
    assert_eq!(disk.write_at(0, &[1]), Ok(()));
}

#[test]
fn the_power_goes_during_a_write() {
    let disk = MemDisk::new(4096);
    disk.cut_power_after(2);
    disk.write_at(0, &[1; 512]).unwrap();
    disk.flush().unwrap();
    disk.write_at(512, &[2; 512]).unwrap();
    assert_eq!(disk.write_at(1024, &[3; 1024]), Err(Errno::EIO));
    assert_eq!(
        disk.write_at(0, &[4; 512]),
        Err(Errno::EIO),
        "everything fails from then on"
    );
    assert_eq!(disk.read_at(0, &mut [0]), Err(Errno::EIO));
    assert_eq!(disk.flush(), Err(Errno::EIO));
    assert_eq!(disk.discard(0, 512), Err(Errno::EIO));

    let firsts = |loss, seed| -> Vec<u8> {
        let bytes = disk.crash_image(loss, seed).to_bytes();
        bytes.chunks(512).take(4).map(|sector| sector[0]).collect()
    };
    assert_eq!(firsts(Loss::All, 0), [1, 0, 0, 0]);
    assert_eq!(firsts(Loss::None, 0), [1, 2, 3, 3]);
    // The interrupted write may be there in part.
    assert!((0..100).any(|seed| firsts(Loss::Sectors, seed) == [1, 2, 0, 3]));
}

#[test]
fn discarded_bytes_are_not_zero() {
    let disk = MemDisk::from_bytes(&[1; 2048]);
    disk.discard(512, 512).unwrap();
    let bytes = disk.to_bytes();
    assert!(bytes[512..1024].iter().all(|&byte| byte != 0 && byte != 1));
    assert_eq!((bytes[511], bytes[1024]), (1, 1));
}

#[test]
fn content_is_compared() {
    let disk = MemDisk::from_bytes(&[7; 200_000]);
    let copy = disk.crash_image(Loss::None, 0);
    assert!(copy.same_content(&disk));
    copy.write_at(150_000, &[7]).unwrap();
    assert!(copy.same_content(&disk), "the same byte");
    copy.write_at(150_000, &[8]).unwrap();
    assert!(!copy.same_content(&disk) && !disk.same_content(&copy));
    let empty = MemDisk::new(200_000);
    let zeros = MemDisk::new(200_000);
    zeros.write_at(0, &[0; 10]).unwrap();
    assert!(empty.same_content(&zeros) && zeros.same_content(&empty));
    assert!(!empty.same_content(&disk) && !disk.same_content(&empty));
}

#[test]
fn the_end_can_be_elsewhere() {
    let disk = MemDisk::from_bytes(&[7; 3000]).with_len(1000);
    assert_eq!((disk.len(), disk.to_bytes()), (1000, vec![7; 1000]));
    assert_eq!(disk.read_at(999, &mut [0; 2]), Err(Errno::EIO));
    assert!(!disk.same_content(&MemDisk::from_bytes(&[7; 3000])));
}

#[test]
fn what_fails_in_part_is_done_in_part() {
    let disk = MemDisk::from_bytes(&[1; 4096]);
    disk.inject(Fault::on(Operation::Read).times(2).torn(3));
    let mut buf = [0; 4096];
    assert_eq!(disk.read_at(0, &mut buf), Err(Errno::EIO));
    let read = buf.iter().take_while(|&&byte| byte == 1).count();
    assert!(read > 0 && read < 4096, "{read}");
    assert!(buf[read..].iter().all(|&byte| byte != 0 && byte != 1));
    // A flush that fails has lost some of what came before it.
    disk.heal();
    for sector in 0..8 {
        disk.write_at(sector * 512, &[2; 512]).unwrap();
    }
    disk.inject(Fault::on(Operation::Flush).times(1).torn(5));
    assert_eq!(disk.flush(), Err(Errno::EIO));
    assert_eq!(disk.flush(), Ok(()));
    let bytes = disk.to_bytes();
    let lost = bytes.chunks(512).filter(|sector| sector[0] == 1).count();
    assert!(lost > 0 && lost < 8, "{lost}");
    assert_eq!(disk.counters().failures, 2);
}

#[test]
fn a_device_that_is_gone_does_nothing() {
    let disk = MemDisk::new(4096);
    disk.inject(Fault::on_any().after(2));
    disk.flush().unwrap();
    disk.write_at(0, &[1]).unwrap();
    assert_eq!(disk.read_at(0, &mut [0]), Err(Errno::EIO));
    assert_eq!(disk.flush(), Err(Errno::EIO));
    assert_eq!(disk.write_at(0, &[2]), Err(Errno::EIO));
    assert_eq!(disk.to_bytes()[0], 1);
}
