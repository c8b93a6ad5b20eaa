//! Power cuts on every volume that can be written, a few states of each; `cargo xtask crash` explores many.

use rump_tests::{
    crash::{Progress, explore, volumes},
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, e2fsck, mke2fs, try_run},
};
use rumpkern::OpenFlags;
use rumpuser::BlockDevice as _;
use rumpuser_sim::{Loss, MemDisk};
use rumpvfs::{Calls as _, calls::At};
use std::{
    collections::HashSet,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

const STATES: usize = 150;

fn short(name: &str) {
    let [volume] = volumes(name)[..] else {
        panic!("one volume {name}");
    };
    let report = explore(volume, STATES, 1, &Progress::default());
    println!("{report}");
    assert!(report.states >= STATES, "{} states", report.states);
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
}

macro_rules! volumes {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            short($name);
        })*
    };
}

volumes! {
    ext2fs_ext2_1k: "ext2-1k";
    ext2fs_ext2_4k: "ext2-4k";
    ext2fs_ext3_1k: "ext3-1k";
    ext2fs_ext3_4k: "ext3-4k";
    ext2fs_ext4_1k: "ext4-1k";
    ext2fs_ext4_4k: "ext4-4k";
    msdosfs_fat12: "fat12";
    msdosfs_fat16: "fat16";
    msdosfs_fat32: "fat32";
    ffs_ffs1: "ffs1-8k";
    ffs_ffs2: "ffs2-16k";
    ffs_ffs1_log: "ffs1-log";
    ffs_ffs2_log: "ffs2-log";
}

/// The superblock is written home and the power goes between its two sectors.
#[test]
fn ext2fs_torn_superblock_is_taken_from_the_journal() {
    for block in ["1024", "4096"] {
        let dir = TempDir::new();
        let image = dir.file("volume.img");
        mke2fs(&image, &["-t", "ext4", "-b", block, "-J", "size=4"], "16M");
        let disk = Arc::new(MemDisk::from_bytes(&fs::read(&image).unwrap()));
        let mounted = Mounted::on_device("ext2fs", disk.clone(), false).unwrap();
        let name = format!("{MOUNT_POINT}/durable");
        let flags = OpenFlags::RDWR | OpenFlags::CREAT;
        let fd = mounted.proc.open(&name, flags, 0o644).unwrap();
        mounted.proc.write(fd, b"content").unwrap();
        mounted.proc.fsync(fd).unwrap();
        mounted.proc.close(fd).unwrap();
        let crashed = disk.crash_image(Loss::All, 1);
        mounted.unmount();
        let tear = |disk: &MemDisk| {
            // s_free_inodes_count, of another time than the checksum in the second sector.
            let mut count = [0];
            disk.read_at(1024 + 0x10, &mut count).unwrap();
            disk.write_at(1024 + 0x10, &[count[0] ^ 1]).unwrap();
        };
        tear(&crashed);
        for read_only in [true, false] {
            let device = Arc::new(crashed.crash_image(Loss::None, 1));
            let mounted = Mounted::on_device("ext2fs", device.clone(), read_only).unwrap();
            assert_eq!(mounted.proc.stat(&name).unwrap().size, 7);
            mounted.unmount();
            if !read_only {
                fs::write(&image, device.to_bytes()).unwrap();
                e2fsck(&image);
            }
        }
    }
}

/// A mount for writing begins and ends with a write of the superblock alone, while the log is empty: at every cut in and between
/// them, and whatever sectors have arrived, the volume is there, also for e2fsck where the superblock is whole.
#[test]
fn ext2fs_superblock_is_whole_at_every_cut_of_a_mount() {
    let (mut torn, mut seen) = (0, HashSet::new());
    for (block, journal, size) in [("1024", "size=1", "3M"), ("4096", "size=4", "9M")] {
        let dir = TempDir::new();
        let image = dir.file("volume.img");
        mke2fs(&image, &["-t", "ext4", "-b", block, "-J", journal], size);
        let disk = Arc::new(MemDisk::from_bytes(&fs::read(&image).unwrap()));
        disk.record();
        let mounted = Mounted::simulated("ext2fs", disk.clone(), 1).unwrap();
        let name = format!("{MOUNT_POINT}/new");
        mounted.proc.mkdirat(At::Cwd, &name, 0o755).unwrap();
        mounted.unmount();
        // The next one finds the copies of this one.
        let mounted = Mounted::simulated("ext2fs", disk.clone(), 2).unwrap();
        mounted.unmount();
        let history = disk.history();
        let mut replay = history.replay();
        while replay.step() {
            for seed in 0..8 {
                let crashed = replay.crash_image(Loss::Sectors, seed);
                let bytes = crashed.to_bytes();
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                if !seen.insert(hasher.finish()) {
                    continue;
                }
                fs::write(&image, &bytes).unwrap();
                let (status, output) = try_run("e2fsck", &["-p", &image]);
                let whole = superblock_checksum(&bytes[1024..]);
                assert!(status <= 1 || !whole, "e2fsck -p: {output}");
                torn += usize::from(!whole);
                crashed.set_read_only(true);
                let crashed = Arc::new(crashed);
                let mounted = Mounted::on_device("ext2fs", crashed.clone(), true).unwrap();
                mounted.unmount();
                assert!(crashed.to_bytes() == bytes);
                crashed.set_read_only(false);
                let mounted = Mounted::on_device("ext2fs", crashed.clone(), false).unwrap();
                mounted.unmount();
                fs::write(&image, crashed.to_bytes()).unwrap();
                e2fsck(&image);
            }
        }
    }
    println!("{} states, {torn} torn superblocks", seen.len());
    assert!(torn > 8, "{torn} torn superblocks: hardly any");
}

fn superblock_checksum(superblock: &[u8]) -> bool {
    let stored = u32::from_le_bytes(superblock[1020..1024].try_into().unwrap());
    rumpfs_ext2fs::superblock::checksum(superblock) == stored
}

/// A superblock that is damaged, not torn, is refused though the journal has a copy of another time.
#[test]
fn ext2fs_copy_of_another_time_is_no_superblock() {
    let dir = TempDir::new();
    let image = dir.file("volume.img");
    mke2fs(&image, &["-t", "ext4", "-b", "1024", "-J", "size=4"], "16M");
    let disk = Arc::new(MemDisk::from_bytes(&fs::read(&image).unwrap()));
    let mounted = Mounted::on_device("ext2fs", disk.clone(), false).unwrap();
    mounted.unmount();
    // s_mtime in the first sector and s_wtime_hi in the second.
    for offset in [0x2c, 0x274] {
        let mut byte = [0];
        disk.read_at(1024 + offset, &mut byte).unwrap();
        disk.write_at(1024 + offset, &[byte[0] ^ 1]).unwrap();
    }
    for read_only in [true, false] {
        let Err((_, log)) = Mounted::on_device("ext2fs", disk.clone(), read_only) else {
            panic!("mounted")
        };
        assert!(log.iter().any(|line| line.contains("superblock checksum")));
    }
}
