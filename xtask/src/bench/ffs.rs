//! FFS: the jobs of the tool against makefs, the Sleuth Kit and the crate rufs.
//!
//! makefs puts the superblock of UFS2 where the Sleuth Kit does not look, and rufs knows UFS2 alone: so the image is UFS2, and a second
//! one with the same data UFS1. 7-Zip does not know the format, and Debian has no newfs and no fsck for it.

use super::{
    entries, rows,
    suite::{Contestant as By, Images, Suite},
};

/// An image of 1 GiB with what is in a folder.
macro_rules! makefs {
    ($version:literal, $image:literal, $folder:literal) => {
        &[
            "makefs",
            "-t",
            "ffs",
            "-s",
            "1g",
            "-f",
            "40000",
            "-o",
            concat!("version=", $version, ",bsize=16384,fsize=2048"),
            $image,
            $folder,
        ]
    };
}

/// The same with what a command has put into the folder `{image}.d`.
macro_rules! makefs_of {
    ($version:literal, $fill:literal) => {
        &[
            "sh",
            "-ec",
            concat!(
                "mkdir {image}.d; ",
                $fill,
                "; makefs -t ffs -s 1g -f 40000 -o version=",
                $version,
                ",bsize=16384,fsize=2048 {image} {image}.d; rm -r {image}.d"
            ),
        ]
    };
}

pub(crate) const SUITE: Suite = Suite {
    name: "ffs",
    title: "The tool on an FFS image",
    tools: &[
        ("makefs", "makefs"),
        ("fls", "sleuthkit"),
        ("icat", "sleuthkit"),
        ("tsk_recover", "sleuthkit"),
        ("find", "findutils"),
        ("cat", "coreutils"),
    ],
    crates: &["rufs"],
    images: Images {
        tree: makefs!("2", "{image}", "{tree}"),
        empty: makefs_of!("2", "true"),
        big: makefs_of!("2", "ln {big} {image}.d/big"),
    },
    variant: Some(Images {
        tree: makefs!("1", "{image}", "{tree}"),
        empty: makefs_of!("1", "true"),
        big: makefs_of!("1", "ln {big} {image}.d/big"),
    }),
    checker: &["peer-rufs", "list", "{volume}", "/"],
    reader: &["peer-rufs", "extract", "{volume}", "/", "{out}"],
    listing: str::to_owned,
    extras: &["$OrphanFiles"],
    memory: 64.0,
    rows: &[
        rows::list(&[
            rows::RUMP_LIST,
            By::ours("rump ls -lR (UFS1)", &["rump", "ls", "-lR", "{variant}:/"])
                .entries(entries::long_listing),
            By::rival("rufs", &["peer-rufs", "list", "{image}", "/"]).entries(entries::peer),
            By::rival("fls (UFS1)", &["fls", "-f", "ufs1", "-rpl", "{variant}"])
                .entries(entries::fls),
            rows::HOST_FIND,
        ]),
        rows::extract(&[
            rows::RUMP_EXTRACT,
            By::ours(
                "rump get -a (UFS1)",
                &["rump", "get", "-a", "{variant}:/", "{out}"],
            ),
            By::rival("rufs", &["peer-rufs", "extract", "{image}", "/", "{out}"]),
            By::rival(
                "tsk_recover (UFS1)",
                &["tsk_recover", "-f", "ufs1", "-a", "{variant}", "{out}"],
            ),
            rows::HOST_CP,
        ]),
        rows::import(
            1.2,
            &[
                rows::RUMP_IMPORT,
                By::rival("makefs", makefs!("2", "{volume}", "{tree}")).makes(),
            ],
        ),
        rows::ls(&[
            rows::RUMP_LS,
            By::rival("rufs", &["peer-rufs", "ls", "{image}", "/"]),
            By::other("fls (UFS1)", &["fls", "-f", "ufs1", "{variant}"]),
        ]),
        rows::big_out(&[rows::RUMP_BIG_OUT, rows::HOST_COPY]),
        rows::big_stream(&[
            rows::RUMP_CAT,
            rows::HOST_CAT,
            By::other("icat (UFS1)", &["icat", "-f", "ufs1", "{variant}", "3"]),
            By::other("rufs", &["peer-rufs", "cat", "{image}", "/big"]),
        ]),
        rows::big_in(&[rows::RUMP_BIG_IN, rows::HOST_COPY]),
    ],
};
