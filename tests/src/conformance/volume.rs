//! What can be mounted.

use super::{Image, Ram};
use crate::tools::{TempDir, check_ffs, e2fsck, fsck_fat, makefs_ffs, mke2fs, mkfs_fat};
use std::{
    collections::HashMap,
    fs::{self, File},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

bitflags::bitflags! {
    /// What a format can do beyond directories and regular files.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Cap: u32 {
        /// Owners, groups and permission bits of each file.
        const OWNERS = 1;
        /// Several names of one file.
        const LINKS = 1 << 1;
        /// Symbolic links.
        const SYMLINKS = 1 << 2;
        /// FIFOs, sockets and device nodes.
        const NODES = 1 << 3;
        /// Extended attributes.
        const XATTRS = 1 << 4;
        /// POSIX access control lists.
        const ACLS = 1 << 5;
        /// Files with holes.
        const HOLES = 1 << 6;
        /// Making a hole in a file.
        const PUNCH = 1 << 7;
        /// Reserving space.
        const RESERVE = 1 << 8;
        /// Files without a name.
        const UNNAMED = 1 << 9;
        /// Two names changing places in one step.
        const EXCHANGE = 1 << 10;
        /// Content that outlives the mount.
        const PERSISTENT = 1 << 11;
        /// A fixed number of inodes.
        const INODES = 1 << 12;
        /// Positions in listings that stay right whatever is made or removed meanwhile.
        const STEADY = 1 << 13;
        /// File flags that forbid changes.
        const FLAGS = 1 << 14;
        /// Names of any bytes.
        const BYTES = 1 << 15;
        /// Names that differ in case alone.
        const CASE = 1 << 16;
        /// Link counts of directories that tell how many directories are in them.
        const SUBDIRS = 1 << 17;
        /// Handles that follow their file through renames and never open another one.
        const HANDLES = 1 << 18;
        /// All times of every file and directory, kept exactly, from 1901 to 2106 and beyond.
        const TIMES = 1 << 19;
        /// Files that end with a hole.
        const END_HOLES = 1 << 20;
        /// Inode numbers that files keep through renames. FAT has no inodes: the number is made from the place of the entry, and the vnode gets
        /// the new one (`Renamed::rekeyed`), so that it is still one file.
        const NUMBERS = 1 << 21;
    }
}

/// Numbers of a format.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Finest step of times in nanoseconds.
    pub granularity: u32,
    /// Most names of one file, where a test can get there.
    pub link_max: Option<u64>,
    /// Longest symbolic link in bytes.
    pub symlink_max: usize,
    /// Longest name in bytes that `statvfs` tells.
    pub name_max: u32,
    /// Largest file in bytes.
    pub file_size_max: u64,
    /// File flags: nothing may change, and data may only be appended.
    pub flags: (u32, u32),
    /// Seconds that a file's times cannot be, and what becomes of them; for formats that do not keep all times.
    pub clamped: Option<(i64, i64)>,
    /// Short files that may find room when a long one finds none: fragments are left of blocks that hold something.
    pub spare_files: usize,
}

/// A file system as the suite sees it.
pub trait Volume: Sync {
    /// Name in tables and messages.
    fn name(&self) -> &'static str;
    /// Type for `mount`.
    fn fs_type(&self) -> &'static str;
    /// What the format can do.
    fn caps(&self) -> Cap;
    /// Its numbers.
    fn numbers(&self) -> Numbers;
    /// Options for `mount`.
    fn options(&self) -> Vec<(String, Option<String>)> {
        Vec::new()
    }
    /// The content of a new, empty volume; `None` where there is no device.
    fn make(&self) -> Option<Image>;
    /// Lets the format's native checker look at a volume.
    ///
    /// # Panics
    /// When it finds anything.
    fn check(&self, image: &Image);
}

/// tmpfs.
pub struct Tmpfs;

impl Volume for Tmpfs {
    fn name(&self) -> &'static str {
        "tmpfs"
    }

    fn fs_type(&self) -> &'static str {
        "tmpfs"
    }

    fn caps(&self) -> Cap {
        Cap::all() - Cap::PERSISTENT
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            granularity: 1,
            link_max: None,
            symlink_max: 4095,
            name_max: 255,
            file_size_max: i64::MAX.unsigned_abs(),
            // SF_IMMUTABLE, SF_APPEND.
            flags: (0x2_0000, 0x4_0000),
            clamped: None,
            spare_files: 0,
        }
    }

    fn options(&self) -> Vec<(String, Option<String>)> {
        let option = |name: &str, value: &str| (name.into(), Some(value.into()));
        vec![option("size", "16M"), option("nr_inodes", "4096")]
    }

    fn make(&self) -> Option<Image> {
        None
    }

    fn check(&self, _image: &Image) {
        unreachable!("tmpfs has no image");
    }
}

/// New volumes by name, made once.
type Images = HashMap<&'static str, Image>;

/// The new volume of a name, which `make` makes in a file the first time.
fn made(name: &'static str, make: fn(&str)) -> Image {
    static MADE: LazyLock<Mutex<Images>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let image = made.entry(name).or_insert_with(|| {
        let dir = TempDir::new();
        let image = dir.file("volume.img");
        make(&image);
        Image::new(&fs::read(&image).expect("the new image"))
    });
    image.clone()
}

/// A file system on a disk, made and checked by native tools, or by our checker where there is none.
pub struct Disk {
    name: &'static str,
    fs_type: &'static str,
    caps: Cap,
    numbers: Numbers,
    options: &'static [(&'static str, Option<&'static str>)],
    /// Makes a new volume in a file.
    make: fn(&str),
    check: fn(&Image),
}

impl Volume for Disk {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fs_type(&self) -> &'static str {
        self.fs_type
    }

    fn caps(&self) -> Cap {
        self.caps
    }

    fn numbers(&self) -> Numbers {
        self.numbers
    }

    fn options(&self) -> Vec<(String, Option<String>)> {
        let options = self.options.iter();
        options
            .map(|(option, value)| ((*option).into(), value.map(Into::into)))
            .collect()
    }

    fn make(&self) -> Option<Image> {
        Some(made(self.name, self.make))
    }

    fn check(&self, image: &Image) {
        (self.check)(image);
    }
}

/// Lets a native checker look at a file with the volume in it.
fn check_file(image: &Image, check: fn(&str)) {
    let dir = TempDir::new();
    let path = dir.file("volume.img");
    image.save(&path);
    check(&path);
}

/// tmpfs with room for 16 MiB and 4,096 inodes.
pub static TMPFS: Tmpfs = Tmpfs;

/// ext2, ext3 or ext4.
const fn ext(name: &'static str, caps: Cap, numbers: Numbers, make: fn(&str)) -> Disk {
    Disk {
        name,
        fs_type: "ext2fs",
        caps,
        numbers,
        options: &[],
        make,
        check: |image| check_file(image, e2fsck),
    }
}

/// Those of ext4 with blocks of 4 KiB.
const EXT_NUMBERS: Numbers = Numbers {
    granularity: 1,
    link_max: Some(65_000),
    symlink_max: 4095,
    name_max: 255,
    file_size_max: u32::MAX as u64 * 4096,
    // FS_IMMUTABLE_FL, FS_APPEND_FL.
    flags: (0x10, 0x20),
    clamped: None,
    spare_files: 0,
};
/// ext2 with blocks of 1 KiB.
pub static EXT2_1K: Disk = ext(
    "ext2_1k",
    Cap::all().difference(Cap::RESERVE),
    Numbers {
        link_max: Some(32_000),
        symlink_max: 1023,
        // What double and triple indirect blocks of 256 numbers reach.
        file_size_max: (12 + 256 + 256 * 256 + 256 * 256 * 256) * 1024,
        ..EXT_NUMBERS
    },
    |image| {
        let options = ["-t", "ext2", "-b", "1024", "-N", "2048"];
        mke2fs(image, &options, "16M");
    },
);
/// ext4 with blocks of 1 KiB.
pub static EXT4_1K: Disk = ext(
    "ext4_1k",
    Cap::all(),
    Numbers {
        symlink_max: 1023,
        file_size_max: u32::MAX as u64 * 1024,
        ..EXT_NUMBERS
    },
    |image| {
        let options = ["-t", "ext4", "-b", "1024", "-N", "2048", "-J", "size=1"];
        mke2fs(image, &options, "16M");
    },
);
/// ext4 with blocks of 4 KiB.
pub static EXT4_4K: Disk = ext("ext4_4k", Cap::all(), EXT_NUMBERS, |image| {
    let options = ["-t", "ext4", "-b", "4096", "-N", "2048", "-J", "size=4"];
    mke2fs(image, &options, "24M");
});

const fn fat(name: &'static str, make: fn(&str)) -> Disk {
    Disk {
        name,
        fs_type: "msdosfs",
        caps: Cap::PERSISTENT.union(Cap::STEADY),
        numbers: Numbers {
            granularity: 2_000_000_000,
            link_max: None,
            symlink_max: 0,
            // 255 UTF-16 units of three bytes.
            name_max: 765,
            file_size_max: u32::MAX as u64,
            flags: (0, 0),
            // 1980-01-01.
            clamped: Some((-1, 315_532_800)),
            spare_files: 0,
        },
        // Anybody may do anything, as the format has no owners.
        options: &[("umask", Some("0"))],
        make,
        check: |image| check_file(image, fsck_fat),
    }
}

/// FAT16 with clusters of 2 KiB.
pub static FAT16: Disk = fat("fat16", |image| {
    mkfs_fat(image, &["-F", "16", "-s", "4"], 16 << 20);
});
/// FAT32 with clusters of 512 bytes.
pub static FAT32: Disk = fat("fat32", |image| {
    mkfs_fat(image, &["-F", "32", "-s", "1"], 36 << 20);
});

/// UFS1 or UFS2.
const fn ffs(name: &'static str, lacks: Cap, numbers: Numbers, make: fn(&str)) -> Disk {
    Disk {
        name,
        fs_type: "ffs",
        caps: Cap::all().difference(lacks),
        numbers,
        options: &[],
        make,
        check: |image| check_ffs(Arc::new(Ram::new(image.clone()))),
    }
}

/// What UFS1 and UFS2 lack, with any blocks.
const FFS_LACKS: Cap = Cap::RESERVE.union(Cap::ACLS).union(Cap::END_HOLES);
/// What UFS2 has with `pointers` in blocks of `block` bytes.
const fn ffs2_numbers(pointers: u64, block: u64) -> Numbers {
    Numbers {
        granularity: 1,
        link_max: Some(32_767),
        symlink_max: 4095,
        name_max: 255,
        file_size_max: (12 + pointers + pointers.pow(2) + pointers.pow(3)) * block,
        // UF_IMMUTABLE, UF_APPEND.
        flags: (0x2, 0x4),
        clamped: None,
        spare_files: 7,
    }
}
/// UFS1 with blocks of 8 KiB and fragments of 1 KiB.
pub static FFS1_8K: Disk = ffs(
    "ffs1_8k",
    FFS_LACKS.union(Cap::XATTRS).union(Cap::TIMES),
    Numbers {
        // Blocks are numbered with 31 bits, which is less than what is in reach of pointers.
        file_size_max: 0x7FFF_FFFF * 8192,
        clamped: Some((5_000_000_000, i32::MAX as i64)),
        ..ffs2_numbers(2048, 8192)
    },
    |image| {
        let options = "version=1,bsize=8192,fsize=1024,density=8192";
        makefs_ffs(image, "le", options, "16m");
    },
);
/// UFS2 with blocks of 16 KiB and fragments of 2 KiB.
pub static FFS2_16K: Disk = ffs("ffs2_16k", FFS_LACKS, ffs2_numbers(2048, 16_384), |image| {
    let options = "version=2,bsize=16384,fsize=2048,density=8192";
    makefs_ffs(image, "le", options, "16m");
});
/// UFS2 in big-endian order with blocks of 4 KiB and fragments of 512 bytes.
pub static FFS2_BE_4K: Disk = ffs("ffs2_be_4k", FFS_LACKS, ffs2_numbers(512, 4096), |image| {
    let options = "version=2,bsize=4096,fsize=512,density=8192";
    makefs_ffs(image, "be", options, "16m");
});
/// UFS2 with blocks of 8 KiB, fragments of 1 KiB and a journal behind the volume.
pub static FFS2_LOG: Disk = Disk {
    options: &[("log", None)],
    ..ffs("ffs2_log", FFS_LACKS, ffs2_numbers(1024, 8192), |image| {
        let options = "version=2,bsize=8192,fsize=1024,density=8192";
        makefs_ffs(image, "le", options, "16m");
        let file = File::options().write(true).open(image);
        let file = file.expect("makefs made it");
        file.set_len(17 << 20).expect("room for the journal");
    })
};
/// All that the cases run on.
pub static VOLUMES: [&dyn Volume; 10] = [
    &TMPFS,
    &EXT2_1K,
    &EXT4_1K,
    &EXT4_4K,
    &FAT16,
    &FAT32,
    &FFS1_8K,
    &FFS2_16K,
    &FFS2_BE_4K,
    &FFS2_LOG,
];
