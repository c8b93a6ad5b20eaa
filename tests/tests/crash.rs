//! Power cuts on every volume that can be written, a few states of each; `cargo xtask crash` explores many.

use rump_tests::{
    crash::{explore, volumes},
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, e2fsck, mke2fs},
};
use rumpkern::OpenFlags;
use rumpuser::BlockDevice as _;
use rumpuser_sim::{Loss, MemDisk};
use rumpvfs::Calls as _;
use std::{fs, sync::Arc};

const STATES: usize = 150;

fn short(name: &str) {
    let [volume] = &volumes(name)[..] else {
        panic!("one volume {name}");
    };
    let report = explore(volume.as_ref(), STATES, 1);
    println!("{report}");
    assert!(report.states > STATES / 2, "hardly any state");
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
        // Unmounted cleanly, there is no other copy to trust.
        tear(&disk);
        for read_only in [true, false] {
            let refused = Mounted::on_device("ext2fs", disk.clone(), read_only);
            let Err((_, log)) = refused else {
                panic!("mounted")
            };
            assert!(log.iter().any(|line| line.contains("superblock checksum")));
        }
    }
}
