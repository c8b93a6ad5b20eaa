//! What images there are. Each is made by the native tools, and by the host's own driver where it can mount them.

use super::tree::Plan;

/// How an image is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// By the host's kernel, through a loop mount, so that every structure is as it writes it. Needs root; others get [`Copied`].
    ///
    /// [`Copied`]: Self::Copied
    Mounted,
    /// By `mke2fs -d`, for what few kernels mount.
    Copied,
    /// As [`Mounted`](Self::Mounted), then changed further and taken while mounted: the journal holds committed transactions, and
    /// an unlinked file is still open. The manifest is what the kernel shows after recovery. Needs root.
    Interrupted,
    /// Not at all, and the journal is on another device: the driver must refuse it. Needs root.
    ExternalJournal,
}

/// One image.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) mib: u64,
    /// Arguments of mke2fs, besides those that all have.
    pub(crate) mke2fs: &'static [&'static str],
    pub(crate) fill: Fill,
    pub(crate) plan: Plan,
    /// Requests to debugfs when the image is full.
    pub(crate) debugfs: &'static [&'static str],
}

const PLAN: Plan = Plan {
    entries: 2000,
    large: true,
    holes: true,
    xattr: 700,
    special: true,
    portable: false,
};
const NO_XATTR: Plan = Plan { xattr: 0, ..PLAN };
const COPIED: Plan = Plan {
    special: false,
    ..PLAN
};
const HTREE: Plan = Plan {
    entries: 30_000,
    large: false,
    holes: true,
    ..PLAN
};

const fn recipe(name: &'static str, mke2fs: &'static [&'static str]) -> Recipe {
    Recipe {
        name,
        mib: 48,
        mke2fs,
        fill: Fill::Mounted,
        plan: PLAN,
        debugfs: &[],
    }
}

/// Every single image, made from nothing.
pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        plan: NO_XATTR,
        ..recipe("ext2-rev0", &["-t", "ext2", "-r", "0", "-b", "1024"])
    },
    recipe("ext2-1k", &["-t", "ext2", "-b", "1024"]),
    recipe("ext2-2k", &["-t", "ext2", "-b", "2048"]),
    recipe("ext2-4k", &["-t", "ext2", "-b", "4096"]),
    recipe("ext2-128", &["-t", "ext2", "-b", "1024", "-I", "128"]),
    Recipe {
        fill: Fill::Copied,
        plan: COPIED,
        mib: 256,
        ..recipe("ext2-64k", &["-t", "ext2", "-b", "65536"])
    },
    recipe("ext3-1k", &["-t", "ext3", "-b", "1024"]),
    recipe("ext3-4k", &["-t", "ext3", "-b", "4096"]),
    recipe("ext4-1k", &["-t", "ext4", "-b", "1024"]),
    recipe("ext4-2k", &["-t", "ext4", "-b", "2048"]),
    recipe("ext4-4k", &["-t", "ext4", "-b", "4096"]),
    Recipe {
        fill: Fill::Copied,
        plan: COPIED,
        mib: 256,
        ..recipe("ext4-64k", &["-t", "ext4", "-b", "65536"])
    },
    Recipe {
        fill: Fill::Copied,
        plan: COPIED,
        ..recipe("ext4-copied", &["-t", "ext4"])
    },
    recipe("ext4-no-journal", &["-t", "ext4", "-O", "^has_journal"]),
    recipe(
        "ext4-no-extent",
        &["-t", "ext4", "-b", "1024", "-O", "^extent,^64bit"],
    ),
    recipe(
        "ext4-no-flex-bg",
        &["-t", "ext4", "-b", "1024", "-O", "^flex_bg"],
    ),
    recipe("ext4-no-64bit", &["-t", "ext4", "-O", "^64bit"]),
    recipe("ext4-no-dir-index", &["-t", "ext4", "-O", "^dir_index"]),
    recipe("ext4-no-filetype", &["-t", "ext4", "-O", "^filetype"]),
    recipe(
        "ext4-meta-bg",
        &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
    ),
    recipe(
        "ext4-bigalloc",
        &["-t", "ext4", "-O", "bigalloc", "-C", "16384"],
    ),
    recipe(
        "ext4-uninit-bg",
        &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg"],
    ),
    recipe(
        "ext4-no-csum",
        &["-t", "ext4", "-O", "^metadata_csum,^uninit_bg"],
    ),
    recipe(
        "ext4-csum-seed",
        &["-t", "ext4", "-O", "metadata_csum_seed"],
    ),
    Recipe {
        plan: HTREE,
        ..recipe("ext4-htree", &["-t", "ext4", "-b", "1024", "-N", "40000"])
    },
    Recipe {
        plan: HTREE,
        ..recipe(
            "ext4-large-dir",
            &["-t", "ext4", "-b", "1024", "-N", "40000", "-O", "large_dir"],
        )
    },
    recipe("ext4-inline-data", &["-t", "ext4", "-O", "inline_data"]),
    recipe(
        "ext4-inline-data-1k",
        &["-t", "ext4", "-b", "1024", "-I", "512", "-O", "inline_data"],
    ),
    Recipe {
        plan: Plan {
            xattr: 40_000,
            ..PLAN
        },
        ..recipe("ext4-ea-inode", &["-t", "ext4", "-O", "ea_inode"])
    },
    recipe("ext4-orphan-file", &["-t", "ext4", "-O", "orphan_file"]),
    Recipe {
        fill: Fill::Copied,
        plan: COPIED,
        debugfs: &["sif /size/4096 projid 77"],
        ..recipe("ext4-quota", &["-t", "ext4", "-O", "quota,project"])
    },
    Recipe {
        fill: Fill::Copied,
        plan: COPIED,
        // The directory's flags: extents and casefold.
        debugfs: &["sif /xattr flags 0x40080000"],
        ..recipe(
            "ext4-casefold",
            &["-t", "ext4", "-O", "casefold", "-E", "encoding=utf8"],
        )
    },
    recipe("ext4-encrypt", &["-t", "ext4", "-O", "encrypt"]),
    recipe("ext4-verity", &["-t", "ext4", "-O", "verity"]),
    recipe(
        "ext4-sparse-super2",
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "sparse_super2,^resize_inode",
        ],
    ),
    recipe("ext4-stable-inodes", &["-t", "ext4", "-O", "stable_inodes"]),
    recipe("ext4-fast-commit", &["-t", "ext4", "-O", "fast_commit"]),
    recipe("ext4-mmp", &["-t", "ext4", "-O", "mmp"]),
    Recipe {
        fill: Fill::Interrupted,
        ..recipe("ext3-dirty", &["-t", "ext3", "-b", "1024"])
    },
    Recipe {
        fill: Fill::Interrupted,
        ..recipe("ext4-dirty", &["-t", "ext4"])
    },
    Recipe {
        fill: Fill::Interrupted,
        ..recipe(
            "ext4-dirty-orphan-file",
            &["-t", "ext4", "-O", "orphan_file"],
        )
    },
    Recipe {
        fill: Fill::ExternalJournal,
        ..recipe("ext4-external-journal", &["-t", "ext4"])
    },
];

/// A disk with a partition table, whose partitions are images from above.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) name: &'static str,
    pub(crate) scheme: Scheme,
    /// In partition 1, 2, ...; on an MBR disk from the second on as logical partitions 5, 6, ...
    pub(crate) members: &'static [&'static str],
}

/// The table of a [`Disk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Gpt,
    Gpt4096,
    Mbr,
}

/// Every disk.
pub(crate) const DISKS: &[Disk] = &[
    Disk {
        name: "disk-gpt",
        scheme: Scheme::Gpt,
        members: &["ext2-1k", "ext4-4k"],
    },
    Disk {
        name: "disk-gpt-4096",
        scheme: Scheme::Gpt4096,
        members: &["ext4-4k", "ext2-4k"],
    },
    Disk {
        name: "disk-mbr",
        scheme: Scheme::Mbr,
        members: &["ext4-1k", "ext3-4k", "ext2-2k"],
    },
];

const SMALL_PLAN: Plan = Plan {
    entries: 30,
    large: false,
    holes: true,
    xattr: 300,
    special: false,
    portable: false,
};

/// The images in fixtures/small/: for machines without the native tools. Made again, they differ in change times alone.
pub(crate) const SMALL: &[Recipe] = &[
    Recipe {
        mib: 3,
        fill: Fill::Copied,
        plan: Plan {
            xattr: 0,
            ..SMALL_PLAN
        },
        ..recipe(
            "small-ext2-rev0",
            &["-t", "ext2", "-r", "0", "-b", "1024", "-N", "400"],
        )
    },
    Recipe {
        mib: 6,
        fill: Fill::Copied,
        plan: SMALL_PLAN,
        ..recipe(
            "small-ext3",
            &["-t", "ext3", "-b", "1024", "-N", "400", "-J", "size=1"],
        )
    },
    Recipe {
        mib: 6,
        fill: Fill::Copied,
        plan: SMALL_PLAN,
        ..recipe(
            "small-ext4",
            &["-t", "ext4", "-b", "1024", "-N", "400", "-J", "size=1"],
        )
    },
    Recipe {
        mib: 12,
        fill: Fill::Copied,
        // mke2fs 1.47 cuts a hole at the end of a file when it has inline data.
        plan: Plan {
            holes: false,
            ..SMALL_PLAN
        },
        ..recipe(
            "small-ext4-inline",
            &[
                "-t",
                "ext4",
                "-b",
                "4096",
                "-N",
                "400",
                "-O",
                "inline_data,^has_journal",
            ],
        )
    },
];
