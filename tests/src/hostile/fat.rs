//! FAT12, FAT16 and FAT32.

use super::{Format, Map, fat_map};
use crate::{
    fixtures,
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, mkfs_fat},
};
use rumpkern::{OpenFlags, Proc};
use rumpuser_sim::{Loss, MemDisk};
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::{fs, sync::Arc};

/// The format of `rumpfs-msdosfs`.
pub(super) struct Fat;

/// A small image with much in it: mkfs.fat makes it, this driver fills it.
struct Made {
    name: &'static str,
    options: &'static [&'static str],
    size: usize,
    /// Taken while mounted: marked as in use, with clusters that nobody has.
    dirty: bool,
}

const MADE: &[Made] = &[
    Made {
        name: "made-fat12",
        options: &["-F", "12", "-s", "1"],
        size: 1 << 20,
        dirty: false,
    },
    Made {
        name: "made-fat12-large-sectors",
        options: &["-F", "12", "-S", "4096", "-s", "1"],
        size: 4 << 20,
        dirty: true,
    },
    Made {
        name: "made-fat16",
        options: &["-F", "16", "-s", "1", "-r", "64"],
        size: 4 << 20,
        dirty: true,
    },
    Made {
        name: "made-fat16-one-fat",
        options: &["-F", "16", "-s", "4", "-f", "1"],
        size: 12 << 20,
        dirty: false,
    },
    Made {
        name: "made-fat32",
        options: &["-F", "32", "-s", "1"],
        size: 34 << 20,
        dirty: false,
    },
    // Fewer clusters than others take for FAT32, which mkfs.fat allows.
    Made {
        name: "made-fat32-small",
        options: &["-F", "32", "-s", "2"],
        size: 3 << 20,
        dirty: true,
    },
];

impl Format for Fat {
    fn fs_type(&self) -> &'static str {
        "msdosfs"
    }

    fn images(&self) -> Vec<String> {
        [fixtures::images("msdosfs"), self.seeds()].concat()
    }

    fn seeds(&self) -> Vec<String> {
        MADE.iter().map(|made| made.name.to_owned()).collect()
    }

    fn load(&self, name: &str) -> MemDisk {
        if let Some(made) = MADE.iter().find(|made| made.name == name) {
            return make(made);
        }
        let path = fixtures::image(name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        MemDisk::from_bytes(&bytes)
    }

    fn map(&self, image: &MemDisk) -> Map {
        fat_map::map(image)
    }
}

fn make(made: &Made) -> MemDisk {
    let dir = TempDir::new();
    let image = dir.file("image");
    // Nothing in it may depend on when it is made.
    let options = [&["--invariant"], made.options].concat();
    mkfs_fat(&image, &options, made.size);
    let bytes = fs::read(&image).expect("mkfs.fat made it");
    let disk = Arc::new(MemDisk::from_bytes(&bytes));
    let mounted = Mounted::simulated("msdosfs", disk.clone(), 1)
        .unwrap_or_else(|(error, log)| panic!("mounting {}: {error}; {log:?}", made.name));
    populate(&mounted.proc);
    mounted.proc.sync().expect("sync");
    if made.dirty {
        leave_work(&mounted.proc);
    } else {
        mounted.unmount();
    }
    disk.crash_image(Loss::None, 0)
}

fn path(name: &str) -> String {
    format!("{MOUNT_POINT}/{name}")
}

fn write(proc: &Proc, name: &str, pieces: &[(u64, usize)]) {
    let flags = OpenFlags::RDWR | OpenFlags::CREAT;
    let fd = proc.open(path(name), flags, 0o644).expect("a file");
    for &(offset, len) in pieces {
        let data: Vec<u8> = (0..len).map(|n| n as u8 | 1).collect();
        assert_eq!(proc.pwrite(fd, &data, offset), Ok(len), "{name}");
    }
    proc.close(fd).expect("close");
}

/// Of everything a little: short and long names, chains in pieces, directories of several clusters.
fn populate(proc: &Proc) {
    for name in [
        "DIR",
        "DIR/inner directory",
        "DIR/inner directory/deeper",
        "many",
        "empty",
    ] {
        proc.mkdirat(At::Cwd, path(name), 0o755).expect("mkdir");
    }
    write(proc, "TINY.TXT", &[(0, 20)]);
    write(proc, "A long name with \u{1F600} in it", &[(0, 9000)]);
    // Two files that grow by turns have their clusters in pieces.
    for n in 0..24 {
        write(proc, "first", &[(n * 2000, 2000)]);
        write(proc, "second", &[(n * 1500, 1500)]);
        proc.sync().expect("sync");
    }
    for n in 0..70 {
        write(proc, &format!("many/a name of some length {n}"), &[]);
    }
    write(proc, "DIR/inner directory/deeper/bottom", &[(0, 100)]);
    write(proc, "DIR/read-only", &[(0, 700)]);
    proc.fchmodat(At::Cwd, path("DIR/read-only"), 0o444, Follow::Yes)
        .expect("chmod");
}

/// Leaves deleted entries, a removed file that is open, and the marks of a volume in use.
fn leave_work(proc: &Proc) {
    for n in 0..30 {
        let name = path(&format!("many/a name of some length {n}"));
        proc.unlinkat(At::Cwd, name, false).expect("unlink");
    }
    proc.open(path("second"), OpenFlags::RDWR, 0)
        .expect("stays open");
    proc.unlinkat(At::Cwd, path("second"), false)
        .expect("unlink");
    write(proc, "DIR/after", &[(0, 3000)]);
    proc.sync().expect("sync");
}
