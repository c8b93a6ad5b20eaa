//! Holes: `SEEK_DATA` and `SEEK_HOLE`, punching, reserving.

use crate::prelude::*;

for_each_fs! {
    a_file_without_holes_ends_with_one,
    an_empty_file_has_no_data,
    holes_take_no_space needs HOLES,
    data_and_holes_are_found needs HOLES,
    unwritten_data_counts_as_data_until_it_is_known needs HOLES,
    a_hole_reads_as_zeros needs HOLES,
    writing_into_a_hole_fills_it needs HOLES,
    far_apart_pieces_work needs HOLES,
    punching_makes_zeros needs PUNCH,
    punching_gives_space_back needs PUNCH,
    punching_past_the_end_keeps_the_size needs PUNCH,
    punching_follows_the_rules needs PUNCH,
    reserving_takes_space_and_reads_as_zeros needs RESERVE,
    reserving_grows_unless_told_not_to needs RESERVE,
    reserving_keeps_what_is_there needs RESERVE,
    reserved_space_can_be_written_on_a_full_volume needs RESERVE,
    reserving_too_much_is_enospc_and_changes_nothing needs RESERVE,
    reserving_follows_the_rules needs RESERVE,
    extents_tell_where_data_lies needs PERSISTENT,
}

fn a_file_without_holes_ends_with_one(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[1; 10_000]).unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    assert_eq!(p.lseek(fd, Seek::Data(0)), Ok(0));
    assert_eq!(p.lseek(fd, Seek::Data(9_999)), Ok(9_999));
    assert_eq!(p.lseek(fd, Seek::Hole(0)), Ok(10_000));
    assert_eq!(p.lseek(fd, Seek::Hole(9_999)), Ok(10_000));
    fails!(p.lseek(fd, Seek::Data(10_000)), ENXIO);
    fails!(p.lseek(fd, Seek::Hole(10_000)), ENXIO);
    fails!(p.lseek(fd, Seek::Hole(10_001)), ENXIO);
    assert_eq!(p.lseek(fd, Seek::Current(0)), Ok(10_000), "errors move nothing");
}

fn an_empty_file_has_no_data(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    let fd = t.root.open("file", O::RDONLY, 0).unwrap();
    fails!(t.root.lseek(fd, Seek::Data(0)), ENXIO);
    fails!(t.root.lseek(fd, Seek::Hole(0)), ENXIO);
}

/// 64 KiB of data, a hole of 1 MiB - 64 KiB, 64 KiB of data, a hole up to 2 MiB.
const PIECE: u64 = 65_536;
const FAR: u64 = 1 << 20;
const SIZE: u64 = 2 << 20;

fn sparse(t: &Fixture) -> u32 {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    assert_eq!(p.pwrite(fd, &[1; PIECE as usize], 0), Ok(PIECE as usize));
    assert_eq!(p.pwrite(fd, &[2; PIECE as usize], FAR), Ok(PIECE as usize));
    p.ftruncate(fd, SIZE).unwrap();
    p.fsync(fd).unwrap();
    fd
}

fn holes_take_no_space(t: &Fixture) {
    let fd = sparse(t);
    let stat = t.root.fstat(fd).unwrap();
    assert_eq!(stat.size, SIZE);
    assert!(stat.blocks * 512 >= 2 * PIECE);
    assert!(stat.blocks * 512 < 4 * PIECE, "{} blocks", stat.blocks);
}

fn data_and_holes_are_found(t: &Fixture) {
    let fd = sparse(t);
    let p = &t.root;
    let seek = |to| p.lseek(fd, to);
    assert_eq!(seek(Seek::Data(0)), Ok(0));
    assert_eq!(seek(Seek::Hole(0)), Ok(PIECE));
    assert_eq!(seek(Seek::Hole(PIECE + 5)), Ok(PIECE + 5));
    assert_eq!(seek(Seek::Data(PIECE)), Ok(FAR));
    assert_eq!(seek(Seek::Data(FAR + 7)), Ok(FAR + 7));
    assert_eq!(seek(Seek::Hole(FAR)), Ok(FAR + PIECE));
    if t.caps().contains(Cap::END_HOLES) {
        fails!(seek(Seek::Data(FAR + PIECE)), ENXIO);
    } else {
        assert!(seek(Seek::Data(FAR + PIECE)).unwrap() >= SIZE - PIECE);
    }
    let last = if t.caps().contains(Cap::END_HOLES) { SIZE - 1 } else { SIZE };
    assert_eq!(seek(Seek::Hole(SIZE - 1)), Ok(last));
    fails!(seek(Seek::Hole(SIZE)), ENXIO);
}

fn unwritten_data_counts_as_data_until_it_is_known(t: &Fixture) {
    // Data that is in the page cache alone must be found.
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.ftruncate(fd, SIZE).unwrap();
    if t.caps().contains(Cap::END_HOLES) {
        fails!(p.lseek(fd, Seek::Data(0)), ENXIO);
    } else {
        assert!(p.lseek(fd, Seek::Data(0)).unwrap() >= SIZE - PIECE);
    }
    p.pwrite(fd, b"x", FAR + 100).unwrap();
    let data = p.lseek(fd, Seek::Data(0)).unwrap();
    assert!(data <= FAR + 100 && data > FAR - PIECE, "{data}");
    let hole = p.lseek(fd, Seek::Hole(FAR + 100)).unwrap();
    assert!(hole > FAR + 100 && hole <= FAR + PIECE, "{hole}");
}

fn a_hole_reads_as_zeros(t: &Fixture) {
    sparse(t);
    let content = t.root.get("file").unwrap();
    let (piece, far) = (PIECE as usize, FAR as usize);
    assert!(content[..piece].iter().all(|&b| b == 1));
    assert!(content[piece..far].iter().all(|&b| b == 0));
    assert!(content[far..far + piece].iter().all(|&b| b == 2));
    assert!(content[far + piece..].iter().all(|&b| b == 0));
}

fn writing_into_a_hole_fills_it(t: &Fixture) {
    let fd = sparse(t);
    let p = &t.root;
    p.pwrite(fd, b"in the hole", 500_000).unwrap();
    p.fsync(fd).unwrap();
    let content = p.read_all(fd).unwrap();
    assert_eq!(&content[499_999..500_012], b"\0in the hole\0");
    assert!(content[PIECE as usize..499_999].iter().all(|&b| b == 0));
    assert_eq!(content.len() as u64, SIZE);
}

fn far_apart_pieces_work(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    let most = t.numbers().file_size_max.min(1 << 43);
    let mut offsets = vec![0, 12 * 1024, 300 * 1024, 70 << 20, 300 << 20, 5 << 30, 300 << 30];
    offsets.retain(|&offset| offset < most - 10);
    for &offset in offsets.iter().rev() {
        p.pwrite(fd, &offset.to_le_bytes(), offset).unwrap();
    }
    p.fsync(fd).unwrap();
    if t.caps().contains(Cap::PERSISTENT) {
        p.close(fd).unwrap();
        t.mount_again(MountFlags::default());
    }
    let fd = p.open("file", O::RDWR, 0).unwrap();
    let mut buf = [0; 8];
    for &offset in &offsets {
        assert_eq!(p.pread(fd, &mut buf, offset), Ok(8));
        assert_eq!(u64::from_le_bytes(buf), offset);
        assert_eq!(p.lseek(fd, Seek::Data(offset)), Ok(offset));
    }
    // From the end back to nothing.
    for &offset in offsets.iter().rev() {
        p.ftruncate(fd, offset).unwrap();
    }
    assert_eq!(p.fstat(fd).unwrap().blocks, 0);
}

fn punching_makes_zeros(t: &Fixture) {
    let p = &t.root;
    for (offset, len) in [(0, 4096), (5_000, 100), (4_096, 8_192), (1, 99_998), (99_000, 1_000)] {
        p.put("file", &[7; 100_000]).unwrap();
        let fd = p.open("file", O::RDWR, 0).unwrap();
        p.punch_hole(fd, offset, len).unwrap();
        p.fsync(fd).unwrap();
        let content = p.read_all(fd).unwrap();
        assert_eq!(content.len(), 100_000);
        for (at, &byte) in (0..).zip(&content) {
            let punched = (offset..offset + len).contains(&at);
            assert_eq!(byte, if punched { 0 } else { 7 }, "{offset} {len}: {at}");
        }
        p.close(fd).unwrap();
    }
}

fn punching_gives_space_back(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[7; 1_000_000]).unwrap();
    p.sync().unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    let before = p.fstat(fd).unwrap().blocks * 512;
    p.punch_hole(fd, 131_072, 524_288).unwrap();
    let after = p.fstat(fd).unwrap().blocks * 512;
    assert!(after + 500_000 < before, "{before} {after}");
    assert_eq!(p.lseek(fd, Seek::Hole(0)), Ok(131_072));
    assert_eq!(p.lseek(fd, Seek::Data(131_072)), Ok(131_072 + 524_288));
    p.pwrite(fd, &[8; 524_288], 131_072).unwrap();
    assert_eq!(p.lseek(fd, Seek::Hole(0)), Ok(1_000_000));
}

fn punching_past_the_end_keeps_the_size(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[7; 10_000]).unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.punch_hole(fd, 5_000, 1_000_000).unwrap();
    p.punch_hole(fd, 1_000_000, 1_000).unwrap();
    let content = p.read_all(fd).unwrap();
    assert_eq!(content.len(), 10_000);
    assert!(content[..5_000].iter().all(|&b| b == 7) && content[5_000..].iter().all(|&b| b == 0));
}

fn punching_follows_the_rules(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[7; 10_000]).unwrap();
    let reader = p.open("file", O::RDONLY, 0).unwrap();
    fails!(p.punch_hole(reader, 0, 100), EBADF);
    let fd = p.open("file", O::RDWR, 0).unwrap();
    fails!(p.punch_hole(fd, 0, 0), EINVAL);
    fails!(p.punch_hole(fd, u64::MAX, 10), EINVAL | EFBIG);
    fails!(p.punch_hole(9999, 0, 10), EBADF);
    let dir = p.open(".", O::RDONLY, 0).unwrap();
    fails!(p.punch_hole(dir, 0, 10), EBADF | EISDIR | ENODEV | EINVAL);
    let before = p.fstat(fd).unwrap();
    t.tick();
    p.punch_hole(fd, 0, 100).unwrap();
    let after = p.fstat(fd).unwrap();
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
}

fn reserving_takes_space_and_reads_as_zeros(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    let before = p.statvfs(".").unwrap();
    p.fallocate(fd, 0, 1_000_000, false).unwrap();
    let stat = p.fstat(fd).unwrap();
    assert_eq!(stat.size, 1_000_000);
    assert!(stat.blocks * 512 >= 1_000_000);
    let after = p.statvfs(".").unwrap();
    let taken = (before.blocks_free - after.blocks_free) * u64::from(after.block_size);
    assert!((1_000_000..1_200_000).contains(&taken), "{taken}");
    assert!(p.read_all(fd).unwrap().iter().all(|&b| b == 0));
    p.pwrite(fd, b"data", 500_000).unwrap();
    p.fsync(fd).unwrap();
    let content = p.read_all(fd).unwrap();
    assert_eq!(&content[499_999..500_005], b"\0data\0");
    assert_eq!(content.iter().filter(|&&b| b != 0).count(), 4);
    if t.caps().contains(Cap::PERSISTENT) {
        p.close(fd).unwrap();
        t.mount_again(MountFlags::default());
        assert!(p.get("file").unwrap() == content);
    }
}

fn reserving_grows_unless_told_not_to(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.fallocate(fd, 0, 100_000, true).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 7);
    assert!(p.fstat(fd).unwrap().blocks * 512 >= 100_000);
    assert_eq!(p.read_all(fd).unwrap(), b"content");
    p.fallocate(fd, 50_000, 10_000, false).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 60_000);
    // Inside of the file nothing grows.
    p.fallocate(fd, 0, 1_000, false).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 60_000);
    // A cut gives back what is reserved behind the end.
    p.ftruncate(fd, 0).unwrap();
    assert_eq!(p.fstat(fd).unwrap().blocks, 0);
}

fn reserving_keeps_what_is_there(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[7; 50_000]).unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    p.fallocate(fd, 10_000, 100_000, false).unwrap();
    let content = p.read_all(fd).unwrap();
    assert_eq!(content.len(), 110_000);
    assert!(content[..50_000].iter().all(|&b| b == 7));
    assert!(content[50_000..].iter().all(|&b| b == 0));
}

fn reserved_space_can_be_written_on_a_full_volume(t: &Fixture) {
    let p = &t.root;
    let fd = p.open("file", O::CREAT | O::RDWR, 0o644).unwrap();
    p.fallocate(fd, 0, 1_000_000, false).unwrap();
    let filler = p.open("filler", O::CREAT | O::WRONLY, 0o644).unwrap();
    while p.write(filler, &[1; 65_536]).is_ok() {}
    assert_eq!(p.pwrite(fd, &[9; 1_000_000], 0), Ok(1_000_000));
    p.fsync(fd).unwrap();
    assert!(p.read_all(fd).unwrap().iter().all(|&b| b == 9));
}

fn reserving_too_much_is_enospc_and_changes_nothing(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    p.sync().unwrap();
    let fd = p.open("file", O::RDWR, 0).unwrap();
    let before = p.statvfs(".").unwrap();
    fails!(p.fallocate(fd, 0, 1 << 30, false), ENOSPC);
    assert_eq!(p.get("file").unwrap(), b"content");
    let after = p.statvfs(".").unwrap();
    // What was reserved before space ran out may stay; a cut gives it back.
    p.ftruncate(fd, 0).unwrap();
    p.ftruncate(fd, 7).unwrap();
    assert!(after.blocks_free <= before.blocks_free);
    assert!(p.statvfs(".").unwrap().blocks_free >= before.blocks_free);
}

fn reserving_follows_the_rules(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let reader = p.open("file", O::RDONLY, 0).unwrap();
    fails!(p.fallocate(reader, 0, 100, false), EBADF);
    let fd = p.open("file", O::RDWR, 0).unwrap();
    fails!(p.fallocate(fd, 0, 0, false), EINVAL);
    fails!(p.fallocate(fd, u64::MAX, 100, false), EFBIG | EINVAL);
    fails!(p.fallocate(fd, i64::MAX.unsigned_abs(), 100, false), EFBIG);
    fails!(p.fallocate(9999, 0, 100, false), EBADF);
    let (_, write) = p.pipe(O::empty()).unwrap();
    fails!(p.fallocate(write, 0, 100, false), ESPIPE | ENODEV | EINVAL);
}

fn extents_tell_where_data_lies(t: &Fixture) {
    let fd = sparse(t);
    let p = &t.root;
    let extents = p.extents(fd, 0, SIZE).unwrap();
    let device = p.open("/dev/volume", O::RDONLY, 0).unwrap();
    let mut found = 0;
    for extent in &extents {
        let len = usize::try_from(extent.len).unwrap();
        found += extent.len;
        let at = extent.device.expect("plain data lies on the device");
        let (mut raw, mut data) = (vec![0; len], vec![0; len]);
        assert_eq!(p.pread(device, &mut raw, at), Ok(len));
        assert_eq!(p.pread(fd, &mut data, extent.offset), Ok(len));
        assert!(raw == data, "{extent:?}");
    }
    let data = if t.caps().contains(Cap::HOLES) { 2 * PIECE } else { SIZE };
    if t.caps().contains(Cap::END_HOLES) || !t.caps().contains(Cap::HOLES) {
        assert_eq!(found, data);
    } else {
        // And the last block.
        assert!(found > data && found <= data + PIECE, "{found}");
    }
    fails!(p.extents(9999, 0, 10), EBADF);
}
