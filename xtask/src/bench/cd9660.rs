//! ISO 9660 with Rock Ridge: the jobs of the tool against isoinfo, xorriso, bsdtar, 7-Zip, the crate cdfs, fuseiso and the kernel.
//!
//! The Sleuth Kit does not take part: it shows the short names of the files.

use super::{
    entries,
    rows::{self, KERNEL, find, fused, mounted},
    suite::{Contestant as By, Images, Suite},
};

pub(crate) const SUITE: Suite = Suite {
    name: "cd9660",
    title: "The tool on an ISO 9660 image",
    tools: &[
        ("genisoimage", "genisoimage"),
        ("isoinfo", "genisoimage"),
        ("xorriso", "xorriso"),
        ("bsdtar", "libarchive-tools"),
        ("7z", "7zip"),
        ("icat", "sleuthkit"),
        ("fuseiso", "fuseiso"),
        ("find", "findutils"),
        ("cat", "coreutils"),
        ("unshare", "util-linux"),
        ("mount", "mount"),
        // The crate cdfs has a program for FUSE beside its library, and is not built without.
        ("/usr/include/fuse3/fuse.h", "libfuse3-dev"),
    ],
    crates: &["cdfs"],
    images: Images {
        tree: &["genisoimage", "-quiet", "-R", "-o", "{image}", "{tree}"],
        empty: &[],
        big: &[
            "genisoimage",
            "-quiet",
            "-R",
            "-graft-points",
            "-o",
            "{image}",
            "/big={big}",
        ],
    },
    variant: None,
    checker: &[],
    reader: &[],
    listing: str::to_owned,
    extras: &[],
    memory: 64.0,
    rows: &[
        rows::list(&[
            rows::RUMP_LIST,
            By::rival("isoinfo", &["isoinfo", "-R", "-l", "-i", "{image}"])
                .entries(entries::long_listing),
            By::rival(
                "xorriso",
                &[
                    "xorriso",
                    "-indev",
                    "stdio:{image}",
                    "-find",
                    "/",
                    "-exec",
                    "lsdl",
                    "--",
                ],
            )
            .entries(entries::long_listing),
            By::rival("bsdtar", &["bsdtar", "-tvf", "{image}"]).entries(entries::long_listing),
            rows::SEVEN_ZIP_LIST,
            By::rival("cdfs", &["peer-cdfs", "list", "{image}", "/"]).entries(entries::peer),
            By::other(
                "fuseiso",
                fused!("fuseiso -n {image} {mnt} -f", find!("{mnt}")),
            )
            .entries(entries::find)
            .mounts("fuse"),
            rows::HOST_FIND,
            By::other(KERNEL, mounted!("ro,loop", "{image}", find!("{mnt}")))
                .entries(entries::find)
                .mounts("iso9660"),
        ]),
        rows::extract(&[
            rows::RUMP_EXTRACT,
            By::rival(
                "xorriso",
                &[
                    "xorriso",
                    "-osirrox",
                    "on",
                    "-indev",
                    "stdio:{image}",
                    "-extract",
                    "/",
                    "{out}",
                ],
            ),
            By::rival("bsdtar", &["bsdtar", "-xf", "{image}", "-C", "{out}"]),
            rows::SEVEN_ZIP_EXTRACT,
            By::rival("cdfs", &["peer-cdfs", "extract", "{image}", "/", "{out}"]),
            rows::HOST_CP,
            By::other(
                "fuseiso",
                fused!("fuseiso -n {image} {mnt} -f", "cp -a {mnt}/. {out}"),
            )
            .mounts("fuse"),
            By::other(
                KERNEL,
                mounted!("ro,loop", "{image}", "cp -a {mnt}/. {out}"),
            )
            .mounts("iso9660"),
        ]),
        rows::ls(&[
            rows::RUMP_LS,
            By::rival("cdfs", &["peer-cdfs", "ls", "{image}", "/"]),
            By::other(
                "xorriso",
                &["xorriso", "-indev", "stdio:{image}", "-ls", "/"],
            ),
        ]),
        rows::big_out(&[
            rows::RUMP_BIG_OUT,
            rows::HOST_COPY,
            By::other(
                "xorriso",
                &[
                    "xorriso",
                    "-osirrox",
                    "on",
                    "-indev",
                    "stdio:{image}",
                    "-extract",
                    "/big",
                    "{out}",
                ],
            ),
        ]),
        rows::big_stream(&[
            rows::RUMP_CAT,
            rows::HOST_CAT,
            rows::SEVEN_ZIP_CAT,
            By::other("isoinfo", &["isoinfo", "-R", "-i", "{image}", "-x", "/big"]),
            By::other("bsdtar", &["bsdtar", "-xOf", "{image}", "big"]),
            By::other("icat", &["icat", "{image}", "1"]),
            By::other("cdfs", &["peer-cdfs", "cat", "{image}", "/big"]),
            By::other(KERNEL, mounted!("ro,loop", "{image}", "cat {mnt}/big")).mounts("iso9660"),
        ]),
    ],
};
