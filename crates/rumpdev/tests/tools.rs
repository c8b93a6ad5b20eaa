//! Tables made by the partitioning tools of Linux distributions: sfdisk, fdisk and sgdisk.

use rumpdev::{Scheme, Selector, Table, Window, select};
use rumpuser::BlockDevice;
use rumpuser_posix::{Access, HostFile};
use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

const MIB: u64 = 1 << 20;

/// An image that goes away with the test.
struct Image(PathBuf);

impl Image {
    fn new(len: u64) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rumpdev-{}-{number}", std::process::id()));
        File::create(&path).unwrap().set_len(len).unwrap();
        Self(path)
    }

    /// Runs a tool on the image, with `script` as its standard input.
    fn run(&self, tool: &str, arguments: &[&str], script: &str) {
        let sbin = format!(
            "{}:/usr/sbin:/sbin",
            std::env::var("PATH").unwrap_or_default()
        );
        let mut child = Command::new(tool)
            .args(arguments)
            .arg(&self.0)
            .env("PATH", sbin)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{tool}: {error} (packages fdisk and gdisk have it)"));
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
    }

    fn device(&self) -> Arc<dyn BlockDevice> {
        Arc::new(HostFile::open(&self.0, Access::ReadOnly).unwrap())
    }

    fn table(&self) -> Table {
        Table::read(&*self.device()).unwrap().expect("a table")
    }

    fn select(&self, selector: &str) -> Window {
        let selector: Selector = selector.parse().unwrap();
        select(&self.device(), &selector, &|_| None).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Numbers, starts and lengths of a table.
fn layout(table: &Table) -> Vec<(u32, u64, u64)> {
    table
        .partitions
        .iter()
        .map(|p| (p.number, p.start, p.length))
        .collect()
}

#[test]
fn sfdisk_gpt() {
    let image = Image::new(64 * MIB);
    let script = "label: gpt
        label-id: 11111111-2222-4333-8444-555555555555
        start=2048, size=8192, type=U, name=boot, uuid=AAAAAAAA-0000-4000-8000-000000000001
        size=16384, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=\"The root \u{e4}\u{f6}\", attrs=LegacyBIOSBootable
        5 : start=40960, size=2048, type=S
        6 : type=H";
    image.run("sfdisk", &["--quiet"], script);
    let table = image.table();
    assert_eq!((table.scheme, table.sector_size), (Scheme::Gpt, 512));
    assert_eq!(
        table.uuid.as_deref(),
        Some("11111111-2222-4333-8444-555555555555")
    );
    assert_eq!(table.warnings, Vec::<String>::new());
    let [boot, root, swap, home] = &table.partitions[..] else {
        panic!("{table:?}")
    };
    assert_eq!((boot.number, boot.start, boot.length), (1, MIB, 4 * MIB));
    assert_eq!(
        boot.uuid.as_deref(),
        Some("aaaaaaaa-0000-4000-8000-000000000001")
    );
    assert_eq!(
        (root.number, root.start, root.length),
        (2, 5 * MIB, 8 * MIB)
    );
    assert_eq!(
        (root.name.as_str(), root.bootable),
        ("The root \u{e4}\u{f6}", true)
    );
    assert_eq!((swap.number, swap.start, swap.length), (5, 20 * MIB, MIB));
    assert_eq!(home.number, 6);

    assert_eq!(image.select("esp").start(), MIB);
    assert_eq!(image.select("root").len(), 8 * MIB);
    assert_eq!(image.select("swap").start(), 20 * MIB);
    assert_eq!(image.select("home").start(), home.start);
    assert_eq!(image.select("label=boot").start(), MIB);
    assert_eq!(
        image
            .select("uuid=AAAAAAAA-0000-4000-8000-000000000001")
            .start(),
        MIB
    );
}

#[test]
fn sgdisk_gpt_and_its_backup() {
    let image = Image::new(32 * MIB);
    let arguments = [
        "--new=1:1M:+4M",
        "--typecode=1:8300",
        "--change-name=1:alpha",
        "--new=3:8M:+2M",
        "--typecode=3:ef02",
    ];
    image.run("sgdisk", &arguments, "");
    let table = image.table();
    assert_eq!(layout(&table), [(1, MIB, 4 * MIB), (3, 8 * MIB, 2 * MIB)]);
    assert_eq!(image.select("linux").start(), MIB);
    assert_eq!(image.select("bios").start(), 8 * MIB);

    // Lose the first copy: all of it but the protective MBR.
    let file = File::options().write(true).open(&image.0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 33 * 512], 512).unwrap();
    drop(file);
    let backup = image.table();
    assert_eq!(backup.partitions, table.partitions);
    assert_eq!(
        backup.warnings,
        ["primary GPT: no header; using the backup"]
    );
}

#[test]
fn gpt_of_a_disk_with_4096_byte_sectors() {
    let image = Image::new(64 * MIB);
    image.run(
        "fdisk",
        &["--sector-size", "4096"],
        "g\nn\n1\n512\n+8M\nn\n2\n\n+16M\nt\n2\n1\nw\n",
    );
    let table = image.table();
    assert_eq!((table.scheme, table.sector_size), (Scheme::Gpt, 4096));
    let [one, two] = &table.partitions[..] else {
        panic!("{table:?}")
    };
    assert_eq!((one.start, one.length), (2 * MIB, 8 * MIB));
    assert_eq!((two.start, two.length), (10 * MIB, 16 * MIB));
    assert_eq!(image.select("esp").start(), 10 * MIB);

    let file = File::options().write(true).open(&image.0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 5 * 4096], 4096).unwrap();
    drop(file);
    assert_eq!(image.table().partitions, table.partitions);
}

#[test]
fn sfdisk_mbr_with_logical_partitions() {
    let image = Image::new(64 * MIB);
    let script = "label: dos
        label-id: 0x1a2b3c4d
        1 : start=2048, size=8192, type=c, bootable
        2 : size=8192, type=83
        3 : size=65536, type=5
        4 : start=110592, size=2048, type=83
        5 : start=20480, size=2048, type=82
        6 : size=4096, type=83
        7 : size=4096, type=83";
    image.run("sfdisk", &["--quiet"], script);
    let table = image.table();
    assert_eq!(
        (table.scheme, table.uuid.as_deref()),
        (Scheme::Mbr, Some("1a2b3c4d"))
    );
    assert_eq!(table.warnings, Vec::<String>::new());
    let numbers: Vec<u32> = table.partitions.iter().map(|p| p.number).collect();
    assert_eq!(numbers, [1, 2, 4, 5, 6, 7]);
    assert!(table.partitions[0].bootable && !table.partitions[1].bootable);
    assert_eq!(
        table.partition(6).unwrap().uuid.as_deref(),
        Some("1a2b3c4d-06")
    );

    // What sfdisk itself says about them.
    let dump = Command::new("/usr/sbin/sfdisk")
        .arg("--dump")
        .arg(&image.0)
        .output()
        .unwrap();
    let dump = String::from_utf8(dump.stdout).unwrap();
    let field = |line: &str, name: &str| -> u64 {
        let rest = line.split_once(name).unwrap().1;
        rest.split(',').next().unwrap().trim().parse().unwrap()
    };
    let expected: Vec<(u32, u64, u64)> = dump
        .lines()
        .filter(|line| line.contains("start=") && !line.contains("type=5"))
        .map(|line| {
            let node = line.split_once(" : ").unwrap().0.trim();
            let number = node.strip_prefix(image.0.to_str().unwrap()).unwrap();
            let (start, size) = (field(line, "start="), field(line, "size="));
            (
                number.trim_start_matches('p').parse().unwrap(),
                start * 512,
                size * 512,
            )
        })
        .collect();
    assert_eq!(layout(&table), expected, "{dump}");
    assert_eq!(
        image.select("swap").start(),
        table.partition(5).unwrap().start
    );
    assert_eq!(image.select("uuid=1A2B3C4D-01").start(), MIB);
}
