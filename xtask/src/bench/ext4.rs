//! ext4: the jobs of the tool against e2fsprogs, the Sleuth Kit, 7-Zip, genext2fs, e2tools, the crate ext4-view and the kernel.

use super::{
    entries,
    rows::{self, KERNEL, find, fused, mounted},
    suite::{Contestant as By, Images, Row, Suite},
};

pub(crate) const SUITE: Suite = Suite {
    name: "ext4",
    title: "The tool on an ext4 image",
    tools: &[
        ("mke2fs", "e2fsprogs"),
        ("e2fsck", "e2fsprogs"),
        ("debugfs", "e2fsprogs"),
        ("fls", "sleuthkit"),
        ("icat", "sleuthkit"),
        ("tsk_recover", "sleuthkit"),
        ("7z", "7zip"),
        ("genext2fs", "genext2fs"),
        ("e2ls", "e2tools"),
        ("e2cp", "e2tools"),
        ("fuse2fs", "fuse2fs"),
        ("fusermount", "fuse3"),
        ("find", "findutils"),
        ("tar", "tar"),
        ("cat", "coreutils"),
        ("unshare", "util-linux"),
        ("mount", "mount"),
    ],
    crates: &["ext4-view"],
    images: Images {
        tree: &[
            "mke2fs", "-q", "-t", "ext4", "-d", "{tree}", "{image}", "1G",
        ],
        empty: &["mke2fs", "-q", "-t", "ext4", "{image}", "1G"],
        big: &["debugfs", "-w", "-R", "write {big} /big", "{image}"],
    },
    variant: None,
    checker: &["e2fsck", "-fn", "{volume}"],
    reader: &["debugfs", "-R", "rdump / {out}", "{volume}"],
    listing: |folder| format!("ls -l {folder}"),
    extras: &["lost+found", "[SYS]"],
    memory: 64.0,
    rows: ROWS,
};

const ROWS: &[Row] = &[
    rows::list(&[
        rows::RUMP_LIST,
        rows::SEVEN_ZIP_LIST,
        By::rival("fls", &["fls", "-rpl", "{image}"]).entries(entries::fls),
        By::rival("ext4-view", &["peer-ext4-view", "list", "{image}", "/"]).entries(entries::peer),
        By::rival("debugfs", &["debugfs", "-f", "{listing}", "{image}"]).entries(entries::debugfs),
        rows::HOST_FIND,
        By::other(KERNEL, mounted!("ro,loop", "{image}", find!("{mnt}")))
            .entries(entries::find)
            .mounts("ext4"),
    ]),
    rows::extract(&[
        rows::RUMP_EXTRACT,
        By::rival("tsk_recover", &["tsk_recover", "-a", "{image}", "{out}"]),
        By::rival(
            "debugfs rdump",
            &["debugfs", "-R", "rdump / {out}", "{image}"],
        ),
        rows::SEVEN_ZIP_EXTRACT,
        By::rival(
            "tar to tar, host files",
            &["sh", "-c", "tar -C {tree} -cf - . | tar -C {out} -xf -"],
        ),
        By::other(
            "ext4-view",
            &["peer-ext4-view", "extract", "{image}", "/", "{out}"],
        ),
        By::other(
            KERNEL,
            mounted!("ro,loop", "{image}", "cp -a {mnt}/. {out}"),
        )
        .mounts("ext4"),
    ]),
    rows::tar(&[
        By::ours("rump tar", &["rump", "tar", "{image}:/"]),
        By::other("tar, host files", &["tar", "-C", "{tree}", "-cf", "-", "."]),
        By::other(
            KERNEL,
            mounted!("ro,loop", "{image}", "tar -C {mnt} -cf - ."),
        )
        .mounts("ext4"),
    ]),
    rows::untar(
        1.5,
        &[
            By::ours("rump untar", &["rump", "untar", "{volume}:/"]).reads("{archive}"),
            By::ours(
                "mke2fs, then rump untar",
                &[
                    "sh",
                    "-c",
                    "mke2fs -q -t ext4 {volume} 1G && exec {rump} untar {volume}:/",
                ],
            )
            .reads("{archive}")
            .makes(),
            MKE2FS_D,
            GENEXT2FS,
            By::other(KERNEL, mounted!("loop", "{volume}", "tar -C {mnt} -xf -"))
                .reads("{archive}")
                .mounts("ext4"),
        ],
    ),
    rows::import(
        1.5,
        &[
            rows::RUMP_IMPORT,
            By::ours(
                "mke2fs, then rump put",
                &[
                    "sh",
                    "-c",
                    "mke2fs -q -t ext4 {volume} 1G && exec {rump} put -aT {tree} {volume}:/",
                ],
            )
            .makes(),
            MKE2FS_D,
            GENEXT2FS,
            By::other(KERNEL, mounted!("loop", "{volume}", "cp -a {tree}/. {mnt}")).mounts("ext4"),
            By::other(
                "fuse2fs",
                fused!("fuse2fs -f {volume} {mnt}", "cp -a {tree}/. {mnt}"),
            )
            .mounts("fuse"),
        ],
    ),
    rows::ls(&[
        rows::RUMP_LS,
        By::rival("e2ls", &["e2ls", "{image}"]),
        By::other("debugfs", &["debugfs", "-R", "ls -l /", "{image}"]),
        By::other("ext4-view", &["peer-ext4-view", "ls", "{image}", "/"]),
    ]),
    rows::big_out(&[
        rows::RUMP_BIG_OUT,
        rows::HOST_COPY,
        By::other("e2cp", &["e2cp", "{image}:/big", "{out}"]),
        By::other(
            "debugfs dump",
            &["debugfs", "-R", "dump /big {out}", "{image}"],
        ),
    ]),
    rows::big_stream(BIG_STREAM),
    rows::big_cold(BIG_STREAM),
    rows::big_in(&[
        rows::RUMP_BIG_IN,
        rows::HOST_COPY,
        By::other("e2cp", &["e2cp", "{big}", "{volume}:/big"]),
        By::other(
            "debugfs write",
            &["debugfs", "-w", "-R", "write {big} /big", "{volume}"],
        ),
        By::other(
            KERNEL,
            mounted!("loop", "{volume}", "cat {big} > {mnt}/big"),
        )
        .mounts("ext4"),
    ]),
];

/// The first inode that `debugfs` gives to a file is number 12.
const BIG_STREAM: &[By] = &[
    rows::RUMP_CAT,
    rows::HOST_CAT,
    rows::SEVEN_ZIP_CAT,
    By::other("icat", &["icat", "{image}", "12"]),
    By::other("ext4-view", &["peer-ext4-view", "cat", "{image}", "/big"]),
    By::other("debugfs cat", &["debugfs", "-R", "cat /big", "{image}"]),
    By::other(KERNEL, mounted!("ro,loop", "{image}", "cat {mnt}/big")).mounts("ext4"),
];

const MKE2FS_D: By = By::rival(
    "mke2fs -d",
    &[
        "mke2fs", "-q", "-t", "ext4", "-d", "{tree}", "{volume}", "1G",
    ],
)
.makes();

/// Without a journal and without extents: ext2 is all that it knows.
const GENEXT2FS: By = By::other(
    "genext2fs (ext2)",
    &[
        "genext2fs",
        "-B",
        "4096",
        "-b",
        "262144",
        "-N",
        "65536",
        "-d",
        "{tree}",
        "{volume}",
    ],
)
.makes();
