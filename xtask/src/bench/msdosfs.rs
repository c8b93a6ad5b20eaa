//! FAT: the jobs of the tool against mtools, 7-Zip, the Sleuth Kit and the kernel.

use super::{
    entries,
    rows::{self, KERNEL, find, mounted},
    suite::{Check, Contestant as By, Images, Suite},
};

const IMPORT: &[By] = &[
    rows::RUMP_IMPORT,
    By::rival(
        "mcopy",
        &["sh", "-c", "exec mcopy -s -m -i {volume} {tree}/* ::/"],
    ),
    // What is left when the files are only read, and their bytes put into one: no import of the tree can take less.
    By::other(
        "cat, host files",
        &[
            "sh",
            "-c",
            "exec find {tree} -type f -exec cat {} + > {out}",
        ],
    )
    .gives(Check::Joined),
    By::other(KERNEL, mounted!("loop", "{volume}", "cp -r {tree}/. {mnt}")).mounts("vfat"),
];

pub(crate) const SUITE: Suite = Suite {
    name: "msdosfs",
    title: "The tool on a FAT image",
    tools: &[
        ("mkfs.fat", "dosfstools"),
        ("fsck.fat", "dosfstools"),
        ("mdir", "mtools"),
        ("mcopy", "mtools"),
        ("mtype", "mtools"),
        ("fls", "sleuthkit"),
        ("icat", "sleuthkit"),
        ("tsk_recover", "sleuthkit"),
        ("7z", "7zip"),
        ("find", "findutils"),
        ("cat", "coreutils"),
        ("unshare", "util-linux"),
        ("mount", "mount"),
    ],
    crates: &[],
    images: Images {
        tree: &[
            "sh",
            "-ec",
            "truncate -s 1G {image}; mkfs.fat -F 32 {image}; mcopy -s -m -i {image} {tree}/* ::/",
        ],
        empty: &[
            "sh",
            "-ec",
            "truncate -s 1G {image}; mkfs.fat -F 32 {image}",
        ],
        big: &["mcopy", "-i", "{image}", "{big}", "::/big"],
    },
    variant: None,
    checker: &["fsck.fat", "-n", "{volume}"],
    reader: &["7z", "x", "-y", "-o{out}", "{volume}"],
    listing: str::to_owned,
    extras: &["$OrphanFiles"],
    memory: 64.0,
    rows: &[
        rows::list(&[
            rows::RUMP_LIST,
            By::rival("mdir", &["mdir", "-/", "-i", "{image}", "::/"]).entries(entries::mdir),
            rows::SEVEN_ZIP_LIST,
            By::rival("fls", &["fls", "-rpl", "{image}"]).entries(entries::fls),
            rows::HOST_FIND,
            By::other(KERNEL, mounted!("ro,loop", "{image}", find!("{mnt}")))
                .entries(entries::find)
                .mounts("vfat"),
        ]),
        rows::extract(&[
            rows::RUMP_EXTRACT,
            By::rival(
                "mcopy",
                &["mcopy", "-s", "-m", "-n", "-i", "{image}", "::/*", "{out}"],
            ),
            rows::SEVEN_ZIP_EXTRACT,
            By::rival("tsk_recover", &["tsk_recover", "-a", "{image}", "{out}"]),
            rows::HOST_CP,
            By::other(
                KERNEL,
                mounted!("ro,loop", "{image}", "cp -a {mnt}/. {out}"),
            )
            .mounts("vfat"),
        ]),
        rows::import(10.0, IMPORT),
        rows::import_crowded(10.0, IMPORT),
        rows::ls(&[
            rows::RUMP_LS,
            By::rival("mdir", &["mdir", "-i", "{image}", "::/"]),
            By::other("fls", &["fls", "-p", "{image}"]),
        ]),
        rows::big_out(&[
            rows::RUMP_BIG_OUT,
            rows::HOST_COPY,
            By::other(
                "mcopy",
                &["mcopy", "-n", "-i", "{image}", "::/big", "{out}"],
            ),
        ]),
        rows::big_stream(&[
            rows::RUMP_CAT,
            rows::HOST_CAT,
            rows::SEVEN_ZIP_CAT,
            By::other("mtype", &["mtype", "-i", "{image}", "::/big"]),
            By::other("icat", &["icat", "{image}", "3"]),
            By::other(KERNEL, mounted!("ro,loop", "{image}", "cat {mnt}/big")).mounts("vfat"),
        ]),
        rows::big_in(&[
            rows::RUMP_BIG_IN,
            rows::HOST_COPY,
            By::other("mcopy", &["mcopy", "-i", "{volume}", "{big}", "::/big"]),
            By::other(
                KERNEL,
                mounted!("loop", "{volume}", "cat {big} > {mnt}/big"),
            )
            .mounts("vfat"),
        ]),
    ],
};
