//! The kinds of volumes that writing is tested on.

/// Name, arguments of mke2fs, size.
pub(crate) type Kind = (&'static str, &'static [&'static str], &'static str);

/// Every feature set that changes how something is written.
pub(crate) const KINDS: &[Kind] = &[
    ("ext2-1k", &["-t", "ext2", "-b", "1024"], "16M"),
    ("ext2-4k", &["-t", "ext2", "-b", "4096"], "32M"),
    ("ext2-rev0", &["-t", "ext2", "-r", "0", "-b", "1024"], "16M"),
    ("ext3-1k", &["-t", "ext3", "-b", "1024"], "32M"),
    ("ext3-4k", &["-t", "ext3", "-b", "4096"], "64M"),
    ("ext4-1k", &["-t", "ext4", "-b", "1024"], "32M"),
    ("ext4-4k", &["-t", "ext4", "-b", "4096"], "64M"),
    (
        "ext4-old",
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "^metadata_csum,uninit_bg,^64bit",
        ],
        "64M",
    ),
    (
        "ext4-nocsum",
        &["-t", "ext4", "-O", "^metadata_csum,^uninit_bg"],
        "64M",
    ),
    (
        "ext4-nojournal",
        &["-t", "ext4", "-O", "^has_journal"],
        "64M",
    ),
    (
        "ext4-bigalloc",
        &["-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "8192"],
        "64M",
    ),
    (
        "ext4-inline",
        &["-t", "ext4", "-O", "inline_data", "-I", "256"],
        "64M",
    ),
    (
        "ext4-64k",
        &["-t", "ext4", "-b", "65536", "-F", "-O", "^has_journal"],
        "128M",
    ),
    (
        "ext4-eainode",
        &["-t", "ext4", "-b", "1024", "-O", "ea_inode,large_dir"],
        "64M",
    ),
    (
        "ext4-metabg",
        &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
        "64M",
    ),
    (
        "ext4-orphanfile",
        &["-t", "ext4", "-O", "orphan_file"],
        "64M",
    ),
    (
        "ext4-noindex",
        &["-t", "ext4", "-b", "1024", "-O", "^dir_index"],
        "32M",
    ),
    (
        "ext4-small",
        &["-t", "ext4", "-b", "1024", "-J", "size=1"],
        "12M",
    ),
    (
        "ext4-mmp",
        &["-t", "ext4", "-b", "1024", "-O", "mmp"],
        "32M",
    ),
    (
        "ext4-locked",
        &["-t", "ext4", "-O", "encrypt,casefold,verity"],
        "64M",
    ),
    ("ext4-128", &["-t", "ext4", "-I", "128"], "64M"),
    (
        "ext4-flexless",
        &["-t", "ext4", "-b", "1024", "-O", "^flex_bg"],
        "64M",
    ),
];
