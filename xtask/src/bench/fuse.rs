//! Mounts: `rump mount` against fuse2fs on the same ext4 image, ntfs-3g on an image of its own, the kernel's loop mount; on an ISO image fuseiso.
//!
//! Of each contestant the job is measured that programs do in the mount, not that it is mounted; where something is written, until it is unmounted, by
//! when all has reached the image. Memory is the server's.

use super::{
    entries,
    rows::{KERNEL, find},
    suite::{Check, Contestant as By, Data, Images, Row, Server, Suite},
};

pub(crate) const SUITE: Suite = Suite {
    name: "fuse",
    title: "Mounts of an ext4 image",
    tools: &[
        ("mke2fs", "e2fsprogs"),
        ("e2fsck", "e2fsprogs"),
        ("debugfs", "e2fsprogs"),
        ("fuse2fs", "fuse2fs"),
        ("ntfs-3g", "ntfs-3g"),
        ("mkfs.ntfs", "ntfs-3g"),
        ("fusermount", "fuse3"),
        ("fio", "fio"),
        ("find", "findutils"),
        ("tar", "tar"),
        ("cat", "coreutils"),
        ("mount", "mount"),
    ],
    crates: &[],
    images: Images {
        tree: &[
            "mke2fs", "-q", "-t", "ext4", "-d", "{tree}", "{image}", "1G",
        ],
        empty: &["mke2fs", "-q", "-t", "ext4", "{image}", "1G"],
        big: &["debugfs", "-w", "-R", "write {big} /big", "{image}"],
    },
    variant: Some(Images {
        tree: &[
            "sh",
            "-ec",
            "truncate -s 1G {image}; mkfs.ntfs -qQF {image} >&2; ntfs-3g {image} {mnt}; cp -a {tree}/. {mnt}; umount {mnt}; \
             flock -w 60 {image} true",
        ],
        empty: &["true"],
        big: &["true"],
    }),
    checker: &["e2fsck", "-fn", "{volume}"],
    reader: &["debugfs", "-R", "rdump / {out}", "{volume}"],
    listing: str::to_owned,
    extras: &["lost+found"],
    memory: 128.0,
    rows: &[
        list(
            4.0,
            &[
                listed(By::ours("rump mount", LIST), RUMP_RO),
                listed(By::rival("fuse2fs", LIST), FUSE2FS_RO),
                listed(By::other("ntfs-3g, its own image", LIST), NTFS_RO).at_least(1.0),
                listed(By::other(KERNEL, LIST), KERNEL_RO).mounts("ext4"),
            ],
        ),
        extract(
            3.0,
            &[
                By::ours("rump mount", EXTRACT).served(RUMP_RO),
                By::rival("fuse2fs", EXTRACT).served(FUSE2FS_RO),
                By::other("ntfs-3g, its own image", EXTRACT)
                    .served(NTFS_RO)
                    .at_least(1.0),
                By::other(KERNEL, EXTRACT).served(KERNEL_RO).mounts("ext4"),
            ],
        ),
        Row {
            name: "import",
            job: "import everything, by tar",
            data: Data::Tree,
            check: Check::Volume,
            goal: Some(5.0),
            repeat: 1,
            more_rounds: 1,
            contestants: &[
                By::ours("rump mount", IMPORT)
                    .reads("{archive}")
                    .served(RUMP.until_unmounted()),
                By::ours("rump mount -o noxattr", IMPORT)
                    .reads("{archive}")
                    .served(RUMP_NOXATTR.until_unmounted()),
                By::rival("fuse2fs", IMPORT)
                    .reads("{archive}")
                    .served(FUSE2FS.until_unmounted()),
                By::other("ntfs-3g, its own image", IMPORT)
                    .reads("{archive}")
                    .served(NTFS.until_unmounted())
                    .gives(Check::MountedTree)
                    .makes()
                    .at_least(1.0),
                By::other(KERNEL, IMPORT)
                    .reads("{archive}")
                    .served(LOOP.until_unmounted())
                    .mounts("ext4"),
            ],
        },
        Row {
            name: "create",
            job: "make 5,000 empty files and remove them",
            data: Data::Tree,
            check: Check::Sound,
            goal: Some(10.0),
            repeat: 1,
            more_rounds: 1,
            contestants: &[
                By::ours("rump mount", CREATE).served(RUMP.until_unmounted()),
                By::rival("fuse2fs", CREATE).served(FUSE2FS.until_unmounted()),
                By::other("ntfs-3g, its own image", CREATE)
                    .served(NTFS.until_unmounted())
                    .gives(Check::Status)
                    .makes()
                    .at_least(2.0),
                By::other(KERNEL, CREATE)
                    .served(LOOP.until_unmounted())
                    .mounts("ext4"),
            ],
        },
        Row {
            name: "read",
            job: "read a large file",
            data: Data::Big,
            check: Check::MountedBig,
            goal: Some(0.9),
            repeat: 1,
            more_rounds: 1,
            contestants: &[
                By::ours("rump mount", READ).served(RUMP_RO),
                By::other("fuse2fs", READ).served(FUSE2FS_RO),
                By::rival(KERNEL, READ).served(KERNEL_RO).mounts("ext4"),
            ],
        },
        Row {
            name: "write",
            job: "write a large file",
            data: Data::Big,
            check: Check::BigIn,
            goal: Some(0.9),
            repeat: 1,
            more_rounds: 1,
            contestants: &[
                By::ours("rump mount", WRITE).served(RUMP.until_unmounted()),
                By::other("fuse2fs", WRITE).served(FUSE2FS.until_unmounted()),
                By::rival(KERNEL, WRITE)
                    .served(LOOP.until_unmounted())
                    .mounts("ext4"),
            ],
        },
        Row {
            name: "random-warm",
            job: "read 65,536 random blocks of 4 KiB, past the cache that the host has of the mount",
            data: Data::Big,
            check: Check::Status,
            goal: Some(2.0),
            repeat: 1,
            more_rounds: 1,
            contestants: &[
                random(By::ours("rump mount", RANDOM_WARM)).served(RUMP_RO),
                random(By::rival("fuse2fs", RANDOM_WARM)).served(FUSE2FS_RO),
                random(By::other(KERNEL, RANDOM_WARM))
                    .served(KERNEL_RO)
                    .mounts("ext4"),
            ],
        },
        // No server is asked: what differs is chance, so there is no goal.
        Row {
            name: "random-cached",
            job: "read 65,536 random blocks of 4 KiB that the host has in its cache",
            data: Data::Big,
            check: Check::Status,
            goal: None,
            repeat: 1,
            more_rounds: 1,
            contestants: &[
                random(By::ours("rump mount", RANDOM_CACHED)).served(RUMP_RO.after(READ)),
                random(By::rival("fuse2fs", RANDOM_CACHED)).served(FUSE2FS_RO.after(READ)),
                random(By::other(KERNEL, RANDOM_CACHED))
                    .served(KERNEL_RO.after(READ))
                    .mounts("ext4"),
            ],
        },
        Row {
            name: "random-cold",
            job: "read 4,096 random blocks of 4 KiB, from a cold cache",
            data: Data::ColdBig,
            check: Check::Status,
            goal: Some(1.0),
            repeat: 1,
            more_rounds: 1,
            contestants: &[
                random(By::ours("rump mount", RANDOM_COLD)).served(RUMP_RO),
                random(By::rival("fuse2fs", RANDOM_COLD)).served(FUSE2FS_RO),
                random(By::other(KERNEL, RANDOM_COLD))
                    .served(KERNEL_RO)
                    .mounts("ext4"),
            ],
        },
    ],
};

/// The jobs that an ISO image can be asked for.
pub(crate) const ISO: Suite = Suite {
    name: "fuse-iso",
    title: "Mounts of an ISO 9660 image",
    tools: &[
        ("genisoimage", "genisoimage"),
        ("fuseiso", "fuseiso"),
        ("fusermount", "fuse3"),
        ("find", "findutils"),
        ("tar", "tar"),
        ("mount", "mount"),
    ],
    crates: &[],
    images: Images {
        tree: &["genisoimage", "-quiet", "-R", "-o", "{image}", "{tree}"],
        empty: &[],
        big: &[],
    },
    variant: None,
    checker: &[],
    reader: &[],
    listing: str::to_owned,
    extras: &[],
    memory: 128.0,
    rows: &[
        list(
            1.0,
            &[
                listed(By::ours("rump mount", LIST), RUMP_RO),
                listed(By::rival("fuseiso", LIST), FUSEISO),
                listed(By::other(KERNEL, LIST), KERNEL_RO).mounts("iso9660"),
            ],
        ),
        extract(
            1.0,
            &[
                By::ours("rump mount", EXTRACT).served(RUMP_RO),
                By::rival("fuseiso", EXTRACT).served(FUSEISO),
                By::other(KERNEL, EXTRACT)
                    .served(KERNEL_RO)
                    .mounts("iso9660"),
            ],
        ),
    ],
};

const fn list(goal: f64, contestants: &'static [By]) -> Row {
    Row {
        name: "list",
        job: "list everything with all attributes",
        data: Data::Tree,
        check: Check::Listing,
        goal: Some(goal),
        repeat: 1,
        more_rounds: 1,
        contestants,
    }
}

const fn extract(goal: f64, contestants: &'static [By]) -> Row {
    Row {
        name: "extract",
        job: "extract everything, by tar",
        data: Data::Tree,
        check: Check::Folder,
        goal: Some(goal),
        repeat: 1,
        more_rounds: 1,
        contestants,
    }
}

const fn listed(by: By, server: Server) -> By {
    by.entries(entries::find).served(server)
}

/// Of `fio` the reads count, as it tells, and not its own start of some 0.35 s.
const fn random(by: By) -> By {
    by.telling(fio_seconds)
}

/// For how long `fio` has read, by its terse output of version 3: milliseconds in the ninth field.
fn fio_seconds(said: &str) -> Option<f64> {
    let mut fields = said.lines().find(|line| line.starts_with("3;"))?.split(';');
    Some(fields.nth(8)?.parse::<f64>().ok()? / 1000.0)
}

const RUMP: Server = Server::program(&["rump", "mount", "-f", "{volume}", "{mnt}"]);
const RUMP_NOXATTR: Server =
    Server::program(&["rump", "mount", "-f", "-o", "noxattr", "{volume}", "{mnt}"]);
const RUMP_RO: Server = Server::program(&["rump", "mount", "-f", "-o", "ro", "{image}", "{mnt}"]);
/// `fuse2fs` does not let the superuser write to files of others without `fakeroot`.
const FUSE2FS: Server = Server::program(&["fuse2fs", "-f", "-o", "fakeroot", "{volume}", "{mnt}"]);
const FUSE2FS_RO: Server =
    Server::program(&["fuse2fs", "-f", "-o", "ro,fakeroot", "{image}", "{mnt}"]);
const NTFS: Server = Server::program(&[
    "sh",
    "-ec",
    "truncate -s 1G {volume}; mkfs.ntfs -qQF {volume} >&2; exec ntfs-3g -o no_detach {volume} {mnt}",
]);
const NTFS_RO: Server = Server::program(&["ntfs-3g", "-o", "no_detach,ro", "{variant}", "{mnt}"]);
const FUSEISO: Server = Server::program(&["fuseiso", "-n", "{image}", "{mnt}", "-f"]);
const LOOP: Server = Server::kernel(&["mount", "-o", "loop", "{volume}", "{mnt}"]);
const KERNEL_RO: Server = Server::kernel(&["mount", "-o", "ro,loop", "{image}", "{mnt}"]);

const LIST: &[&str] = &["sh", "-c", concat!("exec ", find!("{mnt}"))];
const EXTRACT: &[&str] = &["sh", "-c", "tar -C {mnt} -cf - . | tar -C {out} -xf -"];
const IMPORT: &[&str] = &["tar", "-C", "{mnt}", "-xf", "-"];
const CREATE: &[&str] = &[
    "sh",
    "-ec",
    "mkdir {mnt}/d; cd {mnt}/d; seq -f name-%.0f 5000 | xargs touch; cd ..; rm -r d",
];
const READ: &[&str] = &["dd", "if={mnt}/big", "of=/dev/null", "bs=1M", "status=none"];
const WRITE: &[&str] = &["dd", "if={big}", "of={mnt}/big", "bs=1M", "status=none"];
/// `fio` on the large file, with some words more.
macro_rules! random {
    ($($word:literal),*) => {
        &[
            "fio",
            "--name=random",
            "--filename={mnt}/big",
            "--readonly",
            "--rw=randread",
            "--bs=4k",
            "--randseed=1",
            "--ioengine=psync",
            "--output-format=terse",
            $($word),*
        ]
    };
}

/// The host drops what it has of the file before (`--invalidate=1`), and no block is read twice: each read asks the server.
const RANDOM_WARM: &[&str] = random!("--io_size=256m", "--invalidate=1");
const RANDOM_CACHED: &[&str] = random!("--io_size=256m", "--invalidate=0");
const RANDOM_COLD: &[&str] = random!("--io_size=16m");

#[cfg(test)]
mod tests {
    #[test]
    fn fio_tells_how_long_it_has_read() {
        let said = "fio: a warning\n3;fio-3.33;random;0;0;262144;321254;80313;816;0;0;0.0;0.0\n";
        assert_eq!(super::fio_seconds(said), Some(0.816));
        assert_eq!(super::fio_seconds("fio: failed\n"), None);
    }
}
