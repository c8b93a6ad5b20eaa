//! The one list of file systems. Everything that is done "for each file system" follows it.

/// A driver and what its tests need.
pub(crate) struct FileSystem {
    /// Its name, as `-t` takes it; its crate is `rumpfs-NAME`.
    pub(crate) name: &'static str,
    /// Programs of the host that its tests and images use, each with the Debian package that has it.
    pub(crate) tools: &'static [(&'static str, &'static str)],
}

/// What every test may use.
pub(crate) const COMMON_TOOLS: &[(&str, &str)] = &[
    ("sfdisk", "fdisk"),
    ("fdisk", "fdisk"),
    ("sgdisk", "gdisk"),
    ("mkfifo", "coreutils"),
    ("gzip", "gzip"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("bash", "bash"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("tmux", "tmux"),
    ("script", "bsdutils"),
    ("strace", "strace"),
    ("diff", "diffutils"),
    ("find", "findutils"),
    ("tar", "tar"),
    ("bsdtar", "libarchive-tools"),
    ("mtree", "mtree-netbsd"),
    ("openssl", "openssl"),
    ("zstd", "zstd"),
    ("getfattr", "attr"),
    ("setfattr", "attr"),
    ("getfacl", "acl"),
    ("setfacl", "acl"),
    ("fusermount3", "fuse3"),
    ("fio", "fio"),
    ("rsync", "rsync"),
    ("sqlite3", "sqlite3"),
    ("git", "git"),
    ("pgrep", "procps"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("radvd", "radvd"),
    ("tc", "iproute2"),
    ("dnsmasq", "dnsmasq-base"),
    ("curl", "curl"),
    ("nc", "netcat-openbsd"),
    ("traceroute", "traceroute"),
    ("nginx", "nginx-light"),
    ("iperf3", "iperf3"),
    ("tshark", "tshark"),
    ("tcpdump", "tcpdump"),
];

/// Every file system driver of the workspace.
pub(crate) const FILE_SYSTEMS: &[FileSystem] = &[
    FileSystem {
        name: "cd9660",
        tools: &[
            ("genisoimage", "genisoimage"),
            ("xorrisofs", "xorriso"),
            ("makefs", "makefs"),
        ],
    },
    FileSystem {
        name: "ext2fs",
        tools: &[
            ("mke2fs", "e2fsprogs"),
            ("debugfs", "e2fsprogs"),
            ("e2fsck", "e2fsprogs"),
            ("dumpe2fs", "e2fsprogs"),
            ("tune2fs", "e2fsprogs"),
        ],
    },
    FileSystem {
        name: "ffs",
        tools: &[("makefs", "makefs"), ("tsk_recover", "sleuthkit")],
    },
    FileSystem {
        name: "msdosfs",
        tools: &[
            ("mkfs.fat", "dosfstools"),
            ("fsck.fat", "dosfstools"),
            ("mcopy", "mtools"),
            ("mdir", "mtools"),
            ("7z", "p7zip-full"),
        ],
    },
    FileSystem {
        name: "tmpfs",
        tools: &[],
    },
];

/// The driver of docs/writing-a-driver.md, a package outside the workspace: `examples/NAME`.
pub(crate) const EXAMPLE: FileSystem = FileSystem {
    name: "romfs",
    tools: &[("genromfs", "genromfs")],
};

/// The file system of that name.
pub(crate) fn find(name: &str) -> Option<&'static FileSystem> {
    FILE_SYSTEMS.iter().find(|fs| fs.name == name)
}
