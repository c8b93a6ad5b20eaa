//! ext4: the jobs of the tool against e2fsprogs, the Sleuth Kit, 7-Zip, genext2fs, e2tools, the crate ext4-view and the kernel.

use super::suite::{Check, Contestant as By, Data, Row, Suite};

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
    image: &[
        "mke2fs", "-q", "-t", "ext4", "-d", "{tree}", "{image}", "1G",
    ],
    empty: &["mke2fs", "-q", "-t", "ext4", "{image}", "1G"],
    image_big: &["debugfs", "-w", "-R", "write {big} /big", "{image}"],
    checker: &["e2fsck", "-fn", "{volume}"],
    reader: &["debugfs", "-R", "rdump / {out}", "{volume}"],
    listing: |folder| format!("ls -l {folder}"),
    extras: &["lost+found", "[SYS]"],
    rows: ROWS,
};

const ROWS: &[Row] = &[
    Row {
        name: "list",
        job: "list everything with all attributes",
        data: Data::Tree,
        check: Check::Listing,
        goal: Some(1.5),
        repeat: 1,
        contestants: &[
            By::ours("rump ls -lR", &["rump", "ls", "-lR", "{image}:/"]).entries(long_listing),
            By::rival("7z", &["7z", "l", "-slt", "{image}"]).entries(seven_zip),
            By::rival("fls", &["fls", "-rpl", "{image}"]).entries(fls),
            By::rival("ext4-view", &["peer-ext4-view", "list", "{image}", "/"]).entries(last_is_path),
            By::rival("debugfs", &["debugfs", "-f", "{listing}", "{image}"]).entries(debugfs),
            By::other(
                "find, host files",
                &["find", "{tree}", "-printf", "%y %m %U %G %s %T@ %A@ %p\\n"],
            )
            .entries(find),
            By::other("kernel, loop mount", &["unshare", "-m", "sh", "-ec",
                "mount -o ro,loop {image} {mnt}; find {mnt} -printf '%y %m %U %G %s %T@ %A@ %p\\n'; umount {mnt}"])
            .entries(find)
            .root(),
        ],
    },
    Row {
        name: "extract",
        job: "extract everything",
        data: Data::Tree,
        check: Check::Folder,
        goal: Some(1.2),
        repeat: 1,
        contestants: &[
            By::ours("rump get -a", &["rump", "get", "-a", "{image}:/", "{out}"]),
            By::rival("tsk_recover", &["tsk_recover", "-a", "{image}", "{out}"]),
            By::rival("debugfs rdump", &["debugfs", "-R", "rdump / {out}", "{image}"]),
            By::rival("7z", &["7z", "x", "-y", "-o{out}", "{image}"]),
            By::rival(
                "tar to tar, host files",
                &["sh", "-c", "tar -C {tree} -cf - . | tar -C {out} -xf -"],
            ),
            By::other("ext4-view", &["peer-ext4-view", "extract", "{image}", "/", "{out}"]),
            By::other("kernel, loop mount", &["unshare", "-m", "sh", "-ec",
                "mount -o ro,loop {image} {mnt}; cp -a {mnt}/. {out}; umount {mnt}"])
            .root(),
        ],
    },
    Row {
        name: "tar",
        job: "write everything as an archive",
        data: Data::Tree,
        check: Check::Archive,
        goal: None,
        repeat: 1,
        contestants: &[
            By::ours("rump tar", &["rump", "tar", "{image}:/"]),
            By::other("tar, host files", &["tar", "-C", "{tree}", "-cf", "-", "."]),
            By::other("kernel, loop mount", &["unshare", "-m", "sh", "-ec",
                "mount -o ro,loop {image} {mnt}; tar -C {mnt} -cf - .; umount {mnt}"])
            .root(),
        ],
    },
    Row {
        name: "untar",
        job: "import an archive",
        data: Data::Tree,
        check: Check::Volume,
        goal: Some(1.5),
        repeat: 1,
        contestants: &[
            By::ours("rump untar", &["rump", "untar", "{volume}:/"]).reads("{archive}"),
            By::ours("mke2fs, then rump untar", &["sh", "-c",
                "mke2fs -q -t ext4 {volume} 1G && exec {rump} untar {volume}:/"])
            .reads("{archive}")
            .makes(),
            MKE2FS_D,
            GENEXT2FS,
            By::other("kernel, loop mount", &["unshare", "-m", "sh", "-ec",
                "mount -o loop {volume} {mnt}; tar -C {mnt} -xf -; umount {mnt}"])
            .reads("{archive}")
            .root(),
        ],
    },
    Row {
        name: "import",
        job: "import a folder",
        data: Data::Tree,
        check: Check::Volume,
        goal: Some(1.5),
        repeat: 1,
        contestants: &[
            By::ours("rump put -a", &["rump", "put", "-aT", "{tree}", "{volume}:/"]),
            By::ours("mke2fs, then rump put", &["sh", "-c",
                "mke2fs -q -t ext4 {volume} 1G && exec {rump} put -aT {tree} {volume}:/"])
            .makes(),
            MKE2FS_D,
            GENEXT2FS,
            By::other("kernel, loop mount", &["unshare", "-m", "sh", "-ec",
                "mount -o loop {volume} {mnt}; cp -a {tree}/. {mnt}; umount {mnt}"])
            .root(),
            By::other("fuse2fs", &["unshare", "-m", "sh", "-ec",
                "fuse2fs -f {volume} {mnt} & until mountpoint -q {mnt}; do sleep 0.01; done; \
                 cp -a {tree}/. {mnt}; umount {mnt}; wait"])
            .root()
            .once(),
        ],
    },
    Row {
        name: "ls",
        job: "one ls of the root, with process start",
        data: Data::Tree,
        check: Check::Names,
        goal: Some(1.0),
        repeat: 20,
        contestants: &[
            By::ours("rump ls", &["rump", "ls", "{image}:/"]),
            By::rival("e2ls", &["e2ls", "{image}"]),
            By::other("debugfs", &["debugfs", "-R", "ls -l /", "{image}"]),
            By::other("ext4-view", &["peer-ext4-view", "ls", "{image}", "/"]),
        ],
    },
    Row {
        name: "big-out",
        job: "a large file to the host",
        data: Data::Big,
        check: Check::BigOut,
        goal: Some(1.0),
        repeat: 1,
        contestants: &[
            By::ours("rump get", &["rump", "get", "{image}:/big", "{out}"]),
            By::rival("cat, host file", &["sh", "-c", "exec cat {big} > {out}"]),
            By::other("e2cp", &["e2cp", "{image}:/big", "{out}"]),
            By::other("debugfs dump", &["debugfs", "-R", "dump /big {out}", "{image}"]),
        ],
    },
    Row {
        name: "big-stream",
        job: "a large file to standard output",
        data: Data::Big,
        check: Check::BigStream,
        goal: Some(1.0),
        repeat: 1,
        contestants: BIG_STREAM,
    },
    Row {
        name: "big-cold",
        job: "a large file to standard output, from a cold cache",
        data: Data::ColdBig,
        check: Check::BigStream,
        goal: Some(1.0),
        repeat: 1,
        contestants: BIG_STREAM,
    },
    Row {
        name: "big-in",
        job: "a large file from the host",
        data: Data::Big,
        check: Check::BigIn,
        goal: Some(1.0),
        repeat: 1,
        contestants: &[
            By::ours("rump put", &["rump", "put", "{big}", "{volume}:/big"]),
            By::rival("cat, host file", &["sh", "-c", "exec cat {big} > {out}"]).gives(Check::BigOut),
            By::other("e2cp", &["e2cp", "{big}", "{volume}:/big"]),
            By::other("debugfs write", &["debugfs", "-w", "-R", "write {big} /big", "{volume}"]),
            By::other("kernel, loop mount", &["unshare", "-m", "sh", "-ec",
                "mount -o loop {volume} {mnt}; cat {big} > {mnt}/big; umount {mnt}"])
            .root(),
        ],
    },
];

/// The first inode that `debugfs` gives to a file is number 12.
const BIG_STREAM: &[By] = &[
    By::ours("rump cat", &["rump", "cat", "{image}:/big"]),
    By::rival("cat, host file", &["cat", "{big}"]),
    By::other("7z", &["7z", "x", "-so", "{image}", "big"]),
    By::other("icat", &["icat", "{image}", "12"]),
    By::other("ext4-view", &["peer-ext4-view", "cat", "{image}", "/big"]),
    By::other("debugfs cat", &["debugfs", "-R", "cat /big", "{image}"]),
    By::other(
        "kernel, loop mount",
        &[
            "unshare",
            "-m",
            "sh",
            "-ec",
            "mount -o ro,loop {image} {mnt}; cat {mnt}/big; umount {mnt}",
        ],
    )
    .root(),
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

/// `ls -l`: size fifth, name last.
fn long_listing(line: &str, _: &mut String) -> Option<(String, u64)> {
    let line = line.strip_prefix('-')?;
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(((*words.last()?).to_owned(), words.get(4)?.parse().ok()?))
}

/// Type, mode, owner, group, size, times, path.
fn find(line: &str, _: &mut String) -> Option<(String, u64)> {
    let words: Vec<&str> = line.strip_prefix("f ")?.split(' ').collect();
    Some((base(words.last()?), words.get(3)?.parse().ok()?))
}

fn last_is_path(line: &str, _: &mut String) -> Option<(String, u64)> {
    let words: Vec<&str> = line.strip_prefix("Regular ")?.split(' ').collect();
    Some((base(words.last()?), words.get(3)?.parse().ok()?))
}

fn fls(line: &str, _: &mut String) -> Option<(String, u64)> {
    let columns: Vec<&str> = line.strip_prefix("r/r ")?.split('\t').collect();
    Some((base(columns.get(1)?), columns.get(6)?.parse().ok()?))
}

/// `Path = ` first, `Size = ` some lines later.
fn seven_zip(line: &str, path: &mut String) -> Option<(String, u64)> {
    if let Some(name) = line.strip_prefix("Path = ") {
        *path = base(name);
    }
    let size = line.strip_prefix("Size = ")?.parse().ok()?;
    Some((path.clone(), size))
}

fn debugfs(line: &str, _: &mut String) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if !words.get(1)?.starts_with("100") {
        return None;
    }
    Some(((*words.last()?).to_owned(), words.get(5)?.parse().ok()?))
}

fn base(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings() {
        let mut before = String::new();
        let mut read = |entry: super::super::suite::Entry, lines: &[&str]| {
            let found: Vec<_> = lines
                .iter()
                .filter_map(|line| entry(line, &mut before))
                .collect();
            assert_eq!(found, [("f.dat".to_owned(), 123)], "{lines:?}");
        };
        read(
            long_listing,
            &[
                "total 1",
                "drwxr-xr-x 2 0 0 4096 Nov 26 22:45 d",
                "-rw-r--r-- 1 0 0  123 Nov 26 22:45 f.dat",
            ],
        );
        read(
            find,
            &[
                "d 755 0 0 4096 1.0 1.0 /d",
                "f 644 0 0 123 1.0 1.0 /d/f.dat",
            ],
        );
        read(
            fls,
            &[
                "d/d 12:\td\tt\tt\tt\tt\t4096\t0\t0",
                "r/r 14:\td/f.dat\tt\tt\tt\tt\t123\t0\t0",
            ],
        );
        read(
            seven_zip,
            &["Path = d", "Size = ", "Path = d/f.dat", "Size = 123"],
        );
        read(
            debugfs,
            &[
                " 12 40755 (2) 0 0 4096 26-Nov-2026 22:45 d",
                " 14 100644 (1) 0 0 123 26-Nov-2026 22:45 f.dat",
            ],
        );
        read(
            last_is_path,
            &[
                "Directory 40755 0 0 4096 1 0 /d",
                "Regular 100644 0 0 123 1 0 /d/f.dat",
            ],
        );
    }
}
