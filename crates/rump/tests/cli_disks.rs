//! Disks with several partitions: what is in them, read and written by their names, beside what other programs find there.

mod common;

use common::{Scratch, fails, good, noise, tool};
use serde_json::Value;
use std::{fs, os::unix::fs::FileExt};

const SECTOR: u64 = 512;

/// A tree whose names and times any of the formats can hold.
fn tree(scratch: &Scratch) -> String {
    scratch.write("src/HELLO.TXT", "hello\n");
    scratch.write("src/SUB/DEEP.BIN", noise(100_000));
    scratch.write("src/EMPTY", "");
    for path in ["HELLO.TXT", "SUB/DEEP.BIN", "EMPTY", "SUB", ""] {
        let path = scratch.text(&format!("src/{path}"));
        tool("touch", &["-d", "2020-02-02 02:02:02 UTC", &path]);
    }
    scratch.text("src")
}

/// A FAT volume made and filled by others.
fn fat(scratch: &Scratch, kib: u64, how: &[&str]) -> Vec<u8> {
    let image = scratch.text("fat");
    tool("truncate", &["-s", &format!("{kib}K"), &image]);
    tool("mkfs.fat", &[how, &["-n", "FATVOL", &image]].concat());
    let sources = ["HELLO.TXT", "SUB", "EMPTY"].map(|name| scratch.text(&format!("src/{name}")));
    let sources: Vec<&str> = sources.iter().map(|text| &text[..]).collect();
    tool(
        "mcopy",
        &[&["-s", "-m", "-i", &image], &sources[..], &["::/"]].concat(),
    );
    fs::read(image).unwrap()
}

/// The count of free clusters in FSInfo is a hint: df and info say what the FAT says, as fsck.fat does.
#[test]
fn free_space_of_fat_is_counted() {
    let scratch = Scratch::new();
    tree(&scratch);
    let image = scratch.text("fat.img");
    let mut volume = fat(&scratch, 64 << 10, &["-F", "32", "-s", "1"]);
    let numbers = |volume: &[u8]| {
        std::fs::write(&image, volume).unwrap();
        (good(&["df", &image]), info(&image)["file_system"].clone())
    };
    let right = numbers(&volume);
    let free = right.1["blocks_free"].as_u64().unwrap();
    let (at, signature) = (512 + 488, volume[512 + 484..512 + 488].to_vec());
    assert_eq!(signature, b"rrAa");
    let written = u32::from_le_bytes(volume[at..at + 4].try_into().unwrap());
    assert_eq!(u64::from(written), free);
    for wrong in [0, 5, u32::MAX] {
        volume[at..at + 4].copy_from_slice(&wrong.to_le_bytes());
        assert!(numbers(&volume) == right, "{wrong}");
    }
}

/// A disk of so many sectors, with its table by sfdisk and volumes at sectors.
fn disk(
    scratch: &Scratch,
    name: &str,
    sectors: u64,
    script: &str,
    volumes: &[(u64, &[u8])],
) -> String {
    let image = scratch.text(name);
    let file = fs::File::create(&image).unwrap();
    file.set_len(sectors * SECTOR).unwrap();
    let table = scratch.write("script", script);
    let (table, quoted) = (table.to_str().unwrap(), image.replace('\'', "'\\''"));
    tool("sh", &["-c", &format!("sfdisk -q '{quoted}' < '{table}'")]);
    for (sector, bytes) in volumes {
        file.write_all_at(bytes, sector * SECTOR).unwrap();
    }
    image
}

/// A whole tree in a partition: listed, copied out and compared by a manifest.
#[track_caller]
fn reads(scratch: &Scratch, part: &str) {
    assert!(
        good(&["ls", &format!("{part}:/")]).contains("HELLO.TXT\n"),
        "{part}"
    );
    let out = scratch.text("out");
    good(&["get", "-r", &format!("{part}:/SUB"), &out]);
    let deep = fs::read(scratch.path("out/DEEP.BIN")).unwrap();
    assert!(deep == noise(100_000), "{part}");
    fs::remove_dir_all(&out).unwrap();
    let manifest = scratch.write("manifest", good(&["mtree", &format!("{part}:/")]));
    good(&["verify", &format!("{part}:/"), manifest.to_str().unwrap()]);
    let text = fs::read_to_string(&manifest).unwrap();
    for name in ["HELLO.TXT", "EMPTY", "SUB/DEEP.BIN"] {
        assert!(text.contains(&format!("./{name} type=file ")), "{text}");
    }
}

/// A FAT partition: read, written to, and then sound and the same to others, with nothing outside of it changed.
#[track_caller]
fn reads_and_writes_fat(scratch: &Scratch, image: &str, part: &str, start: u64, length: u64) {
    reads(scratch, part);
    let before = fs::read(image).unwrap();
    let new = scratch.write("new", noise(50_000));
    good(&[
        "put",
        new.to_str().unwrap(),
        &format!("{part}:/SUB/Some new file"),
    ]);
    good(&["rm", &format!("{part}:/HELLO.TXT")]);

    let after = fs::read(image).unwrap();
    let range = start as usize..(start + length) as usize;
    let outside = |bytes: &[u8]| [&bytes[..range.start], &bytes[range.end..]].concat();
    assert!(
        outside(&before) == outside(&after),
        "{part}: changed outside"
    );
    let alone = scratch.write("alone", &after[range]);
    tool("fsck.fat", &["-n", alone.to_str().unwrap()]);
    let theirs = tool("mdir", &["-b", "-/", "-i", &format!("{image}@@{start}")]);
    let mut names: Vec<&str> = theirs.lines().collect();
    names.sort_unstable();
    let expected = [
        "::/EMPTY",
        "::/SUB/",
        "::/SUB/DEEP.BIN",
        "::/SUB/Some new file",
    ];
    assert_eq!(names, expected, "{part}");
    let copy = scratch.text("copy");
    let source = "::/SUB/Some new file";
    tool(
        "mcopy",
        &["-n", "-i", &format!("{image}@@{start}"), source, &copy],
    );
    assert!(fs::read(copy).unwrap() == noise(50_000), "{part}");
}

/// `rump info` as JSON, and a partition's description by its number or letter.
fn info(image: &str) -> Value {
    let all: Value = serde_json::from_str(&good(&["info", "--json", image])).unwrap();
    all[0].clone()
}

#[track_caller]
fn part<'a>(partitions: &'a Value, key: &str, value: &Value) -> &'a Value {
    let all = partitions["partitions"].as_array().unwrap();
    let found = all.iter().find(|part| part[key] == *value);
    found.unwrap_or_else(|| panic!("no {key} {value} in {partitions}"))
}

/// A disklabel as NetBSD writes it: partitions by letter, with the sectors counted from the disk's start.
fn disklabel(sectors: u64, partitions: &[(char, u64, u64, u8)]) -> Vec<u8> {
    const MAGIC: u32 = 0x8256_4557;
    let count = 8;
    let mut label = vec![0; 148 + 16 * count];
    let mut put = |at: usize, n: u64| {
        label[at..at + 4].copy_from_slice(&u32::try_from(n).unwrap().to_le_bytes());
    };
    for at in [0, 132] {
        put(at, MAGIC.into());
    }
    for (at, n) in [(40, SECTOR), (44, 63), (48, 16), (56, 1008), (60, sectors)] {
        put(at, n);
    }
    put(52, sectors / 1008);
    put(140, 8192);
    put(144, 8192);
    for &(letter, start, length, kind) in partitions {
        let at = 148 + 16 * (letter as usize - 'a' as usize);
        put(at, length);
        put(at + 4, start);
        put(at + 12, kind.into());
    }
    label[8..15].copy_from_slice(b"unknown");
    label[24..32].copy_from_slice(b"fictious");
    label[138] = count as u8;
    let halves = label.as_chunks::<2>().0.iter();
    let sum = halves.fold(0, |sum, half| sum ^ u16::from_le_bytes(*half));
    label[136..138].copy_from_slice(&sum.to_le_bytes());
    label
}

#[test]
fn a_disk_of_netbsd() {
    let scratch = Scratch::new();
    let from = tree(&scratch);
    let ffs = scratch.text("ffs");
    tool("makefs", &["-t", "ffs", "-s", "4m", &ffs, &from]);
    let (ffs, fat) = (fs::read(ffs).unwrap(), fat(&scratch, 4096, &[]));
    // A usual one: `a` begins with the MBR's partition and has the label in its boot blocks.
    let (holder, a_len, e, e_len, all) = (64, 8192, 64 + 8192, 8192, 64 + 8192 + 8192 + 36);
    let image = disk(
        &scratch,
        "netbsd",
        all,
        &format!("label: dos\nstart={holder} size=16384 type=a9 bootable\n"),
        &[(holder, &ffs), (e, &fat)],
    );
    let label = disklabel(
        all,
        &[
            ('a', holder, a_len, 7),
            ('c', holder, 16384, 0),
            ('d', 0, all, 0),
            ('e', e, e_len, 8),
        ],
    );
    let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
    file.write_all_at(&label, (holder + 1) * SECTOR).unwrap();

    // A reader that is not ours finds the same.
    let theirs = tool("mmls", &["-t", "bsd", "-o", &holder.to_string(), &image]);
    for (start, length, name) in [(holder, a_len, "4.2BSD"), (e, e_len, "MSDOS")] {
        let line = format!("{start:010}   {:010}   {length:010}", start + length - 1);
        let found = theirs.lines().find(|l| l.contains(&line));
        assert!(found.is_some_and(|l| l.contains(name)), "{line}: {theirs}");
    }
    assert!(tool("fdisk", &["-l", &image]).contains("NetBSD"));

    let facts = info(&image);
    let found = &facts["disklabel"];
    assert_eq!(found["start"], (holder + 1) * SECTOR);
    for (letter, start, length, kind, fs_type) in [
        ("a", holder, a_len, "4.2BSD", "ffs"),
        ("e", e, e_len, "MSDOS", "msdosfs"),
    ] {
        let part = part(found, "letter", &letter.into());
        assert_eq!(part["start"], start * SECTOR);
        assert_eq!(part["length"], length * SECTOR);
        assert_eq!(
            (&part["type"], &part["truncated"]),
            (&kind.into(), &false.into())
        );
        assert_eq!(part["file_system"]["type"], fs_type);
    }
    let one = part(&facts["partition_table"], "number", &1.into());
    assert_eq!(
        (&one["alias"], &one["start"]),
        (&"netbsd".into(), &(holder * SECTOR).into())
    );
    assert_eq!(facts["file_system"], Value::Null);
    let text = good(&["info", &image]);
    assert!(
        text.contains("e: 4194304 bytes at 4227072, MSDOS; holds FAT12 labelled \"FATVOL\""),
        "{text}"
    );
    assert!(good(&["info", &format!("{image}@a")]).contains("ffs"));

    for part in ["a", "1", "netbsd", "@32K"] {
        reads(&scratch, &format!("{image}@{part}"));
    }
    // A label of a volume is found behind the letter, once although `d` and others overlap.
    reads(&scratch, &format!("{image}@label=FATVOL"));
    reads_and_writes_fat(
        &scratch,
        &image,
        &format!("{image}@e"),
        e * SECTOR,
        e_len * SECTOR,
    );
    let at = format!("{image}@b:/");
    fails(
        &["ls", &at],
        1,
        &["no partition b; the disklabel has a: 4194304 bytes at 32768, 4.2BSD; c:"],
    );
    fails(
        &["ls", &format!("{image}@label=NOTHING:/")],
        1,
        &["no partition label=NOTHING; the MBR table has 1:"],
    );
    fails(
        &["ls", &format!("{image}:/")],
        1,
        &["a disk with partitions"],
    );

    // The same without an MBR.
    file.write_all_at(&[0; 512], 0).unwrap();
    file.write_all_at(&vec![0; label.len()], (holder + 1) * SECTOR)
        .unwrap();
    file.write_all_at(&label, SECTOR).unwrap();
    assert_eq!(info(&image)["disklabel"]["start"], SECTOR);
    reads(&scratch, &format!("{image}@a"));
    fails(
        &["ls", &format!("{image}:/")],
        1,
        &["name one as", "@LETTER; the disklabel has a:"],
    );
}

#[test]
fn a_gpt_with_an_esp() {
    let scratch = Scratch::new();
    let from = tree(&scratch);
    let fat = fat(&scratch, 40 << 10, &["-F", "32", "-s", "1"]);
    let ext4 = scratch.image_as(
        "ext4",
        4,
        Some(from.as_ref()),
        &["-t", "ext4", "-L", "sysroot"],
    );
    let ext4 = fs::read(ext4).unwrap();
    let (esp, esp_len, root, all) = (2048, 81_920, 2048 + 81_920, 2048 + 81_920 + 8192 + 2048);
    let guid = "0E0C1E5A-7C32-4C0B-9A7D-0123456789AB";
    let image = disk(
        &scratch,
        "gpt",
        all,
        &format!(
            "label: gpt\nstart={esp} size={esp_len} type=U name=\"EFI part\" uuid={guid}\n\
             start={root} size=8192 type=L name=data\n"
        ),
        &[(esp, &fat), (root, &ext4)],
    );
    let theirs = tool("sgdisk", &["-p", &image]);
    let esp_line = theirs.lines().find(|line| line.contains("EF00")).unwrap();
    let columns: Vec<_> = esp_line.split_whitespace().take(3).collect();
    assert_eq!(columns, ["1", "2048", "83967"]);

    let facts = info(&image);
    let one = part(&facts["partition_table"], "number", &1.into());
    assert_eq!(one["start"], esp * SECTOR);
    assert_eq!(one["length"], esp_len * SECTOR);
    assert_eq!(
        (&one["alias"], &one["label"]),
        (&"esp".into(), &"EFI part".into())
    );
    assert_eq!(one["file_system"]["variant"], "FAT32");

    let lower = guid.to_ascii_lowercase();
    let serial = one["file_system"]["uuid"].as_str().unwrap();
    for part in [
        "1",
        "esp",
        "ESP",
        "label=EFI part",
        "label=FATVOL",
        &format!("uuid={guid}"),
        &format!("uuid={lower}"),
        &format!("uuid={serial}"),
        "@1M",
    ] {
        reads(&scratch, &format!("{image}@{part}"));
    }
    for part in ["2", "linux", "label=data", "label=sysroot"] {
        reads(&scratch, &format!("{image}@{part}"));
    }
    let part = format!("{image}@esp");
    reads_and_writes_fat(&scratch, &image, &part, esp * SECTOR, esp_len * SECTOR);
    assert!(tool("sgdisk", &["-v", &image]).contains("No problems found"));
    fails(
        &["ls", &format!("{image}@3:/")],
        1,
        &["no partition 3; the GPT table has 1:"],
    );
    fails(
        &["ls", &format!("{image}@a:/")],
        1,
        &["no partition a: no disklabel"],
    );
}

/// A CD that is also a disk: the address without a partition is the CD, and the table is there besides.
#[test]
fn a_cd_with_partitions() {
    let scratch = Scratch::new();
    let from = tree(&scratch);
    let fat = scratch.write("efi.img", fat(&scratch, 4096, &[]));
    let fat = fat.to_str().unwrap();
    let code = scratch.write("code", noise(432));
    scratch.write("boot/LOADER", noise(2048));
    let boot = scratch.text("boot");
    tool("cp", &[fat, &format!("{boot}/efi.img")]);
    let code = code.to_str().unwrap();
    let isohybrid = [
        "-isohybrid-mbr",
        code,
        "-b",
        "LOADER",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
        "-eltorito-alt-boot",
        "-e",
        "efi.img",
        "-no-emul-boot",
        "-isohybrid-gpt-basdat",
        &boot,
    ];
    let ways: [(&str, &[&str]); 3] = [
        ("MBR", &["-append_partition", "2", "0xef", fat]),
        (
            "GPT",
            &[
                "-append_partition",
                "2",
                "0xef",
                fat,
                "-appended_part_as_gpt",
            ],
        ),
        ("MBR", &isohybrid),
    ];
    for (number, (scheme, how)) in ways.into_iter().enumerate() {
        let image = scratch.text(&format!("cd{number}"));
        let args = [
            &[
                "-as", "mkisofs", "-quiet", "-R", "-V", "THECD", "-o", &image,
            ],
            how,
            &[&from],
        ];
        tool("xorriso", &args.concat());
        let facts = info(&image);
        assert_eq!(facts["file_system"]["type"], "cd9660");
        assert_eq!(facts["file_system"]["label"], "THECD");
        assert_eq!(facts["partition_table"]["scheme"], scheme);
        let two = part(&facts["partition_table"], "number", &2.into());
        assert_eq!(
            (&two["alias"], &two["file_system"]["type"]),
            (&"esp".into(), &"msdosfs".into())
        );
        let field = |key: &str| two[key].as_u64().unwrap();
        let (start, length) = (field("start"), field("length"));
        // Where sfdisk finds it, too.
        let theirs: String = tool("sfdisk", &["-d", &image]).split_whitespace().collect();
        let entry = format!("start={},size={},", start / SECTOR, length / SECTOR);
        assert!(theirs.contains(&entry), "{entry}: {theirs}");

        reads(&scratch, &image);
        reads(&scratch, &format!("{image}@2"));
        reads_and_writes_fat(&scratch, &image, &format!("{image}@esp"), start, length);
        reads(&scratch, &image);
        let names = tool("isoinfo", &["-R", "-f", "-i", &image]);
        assert!(names.contains("/SUB/DEEP.BIN\n"), "{names}");
        if number == 0 {
            // The entry for the CD itself, which begins with the table's own sector.
            reads(&scratch, &format!("{image}@1"));
        }
    }
}

/// Numbers, first sectors and lengths in sectors of partitions, as sfdisk has them.
fn by_sfdisk(image: &str) -> Vec<(u64, u64, u64)> {
    let dump = tool("sfdisk", &["-d", image]);
    let lines = dump.lines().filter_map(|line| line.strip_prefix(image));
    let number = |text: &str| text.trim().parse().unwrap();
    let parts = lines.map(|line| {
        let (at, rest) = line.split_once(" : start=").unwrap();
        let (start, rest) = rest.split_once(", size=").unwrap();
        (
            number(at),
            number(start),
            number(rest.split(',').next().unwrap()),
        )
    });
    parts.collect()
}

/// The same as the tool has them, and what it says about the table.
fn by_rump(image: &str) -> (Vec<(u64, u64, u64)>, Value) {
    let table = &info(image)["partition_table"];
    let number = |part: &Value, key: &str| part[key].as_u64().unwrap();
    let parts = table["partitions"].as_array().unwrap().iter().map(|part| {
        let sectors = |key| number(part, key) / SECTOR;
        (number(part, "number"), sectors("start"), sectors("length"))
    });
    (parts.collect(), table["warnings"].clone())
}

/// What one entry has that cannot be does not hide the others, and sfdisk and mmls have the same others.
#[test]
fn an_mbr_with_an_entry_that_makes_no_sense() {
    let scratch = Scratch::new();
    let script = "label: dos\nstart=2048, size=8192, type=c\nstart=10240, size=8192, type=83\n\
                  start=20480, size=100, type=83\n";
    tree(&scratch);
    let volume = fat(&scratch, 4096, &[]);
    for (name, at, bytes, words) in [
        (
            "flag",
            0,
            &[0x7f][..],
            "entry 3 is left out: its flag is 0x7f",
        ),
        ("past", 8, &90_000_u32.to_le_bytes(), "past the end"),
        ("start", 8, &[0; 4], "begins with the table itself"),
        (
            "overlap",
            8,
            &12_000_u32.to_le_bytes(),
            "entries 2 and 3 overlap",
        ),
    ] {
        let image = disk(&scratch, name, 40_960, script, &[(2048, &volume)]);
        let file = fs::File::options().write(true).open(&image).unwrap();
        file.write_all_at(bytes, 446 + 2 * 16 + at).unwrap();
        let theirs = by_sfdisk(&image);
        let (ours, told) = by_rump(&image);
        let kept = if name == "overlap" { 3 } else { 2 };
        assert_eq!((ours.len(), &ours[..]), (kept, &theirs[..kept]), "{name}");
        assert!(told[0].as_str().unwrap().contains(words), "{told}");
        assert_eq!(told.as_array().unwrap().len(), 1);
        let seen = tool("mmls", &["-a", "-M", &image]);
        for (_, start, length) in &ours {
            let row = format!("{start:010}   {:010}   {length:010}", start + length - 1);
            assert!(seen.contains(&row), "{row}: {seen}");
        }
        assert!(good(&["ls", &format!("{image}@1:/")]).contains("HELLO.TXT\n"));
        common::fails(&["ls", &format!("{image}:/")], 1, &["name one as", words]);
    }
}

#[test]
fn chains_of_logical_partitions_that_end_in_a_circle() {
    let scratch = Scratch::new();
    let script = "label: dos\nstart=2048, size=8192, type=c\nstart=10240, size=20000, type=5\n\
                  start=10248, size=100, type=83\nstart=11248, size=100, type=83\n";
    let image = disk(&scratch, "a.img", 40_960, script, &[]);
    let sound = by_sfdisk(&image);
    let logical: Vec<_> = sound
        .iter()
        .copied()
        .filter(|(number, ..)| *number != 2)
        .collect();
    assert_eq!(by_rump(&image), (logical.clone(), serde_json::json!([])));
    // The record of the last one leads back to the first.
    let (file, mut link) = (
        fs::File::options()
            .read(true)
            .write(true)
            .open(&image)
            .unwrap(),
        [0; 16],
    );
    file.read_exact_at(&mut link, 10_240 * SECTOR + 462)
        .unwrap();
    let second = 10_240 + u64::from(u32::from_le_bytes(link[8..12].try_into().unwrap()));
    link[8..12].fill(0);
    file.write_all_at(&link, second * SECTOR + 462).unwrap();
    let told = serde_json::json!(["logical partitions: sector 10240 is linked twice"]);
    assert_eq!(by_rump(&image), (logical.clone(), told));
    let seen = tool("mmls", &["-a", "-M", &image]);
    let rows = |start: u64| seen.matches(&format!("{start:010}   ")).count();
    assert!(
        logical.iter().all(|(_, start, _)| rows(*start) == 1),
        "{seen}"
    );
}

#[test]
fn a_gpt_with_entries_of_an_mbr_and_damage() {
    let scratch = Scratch::new();
    tree(&scratch);
    let volume = fat(&scratch, 4096, &[]);
    let script = "label: gpt\nstart=2048, size=8192, type=U\nstart=10240, size=8192\n";
    let image = disk(&scratch, "a.img", 40_960, script, &[(2048, &volume)]);
    let theirs = by_sfdisk(&image);
    tool("sgdisk", &["-h", "1:2", &image]);
    // Both kinds of entries: the GPT counts, as for sfdisk.
    assert_eq!(by_sfdisk(&image), theirs);
    assert_eq!(by_rump(&image), (theirs.clone(), serde_json::json!([])));
    // Its first header is damaged, the other is not.
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0xff], SECTOR + 40).unwrap();
    let (ours, told) = by_rump(&image);
    assert_eq!((&ours, &by_sfdisk(&image)), (&theirs, &theirs));
    assert!(
        told[0].as_str().unwrap().contains("using the backup"),
        "{told}"
    );
    // Both are: what is left are the MBR's own.
    file.write_all_at(&[0xff], 40_959 * SECTOR + 40).unwrap();
    let (ours, told) = by_rump(&image);
    let ranges: Vec<_> = ours
        .iter()
        .map(|(_, start, length)| (*start, *length))
        .collect();
    assert_eq!(ranges, [(2048, 8192), (10_240, 8192)]);
    assert!(
        told[0]
            .as_str()
            .unwrap()
            .contains("other entries of the MBR"),
        "{told}"
    );
    let number = ours[0].0;
    assert!(good(&["ls", &format!("{image}@{number}:/")]).contains("HELLO.TXT\n"));
    let seen = tool("mmls", &["-t", "dos", "-a", "-M", &image]);
    for (start, length) in ranges {
        let row = format!("{start:010}   {:010}   {length:010}", start + length - 1);
        assert!(seen.contains(&row), "{row}: {seen}");
    }
}

/// A loop device, gone with the value.
struct Loop(String);

impl Loop {
    fn new(how: &[&str], image: &str) -> Self {
        let name = tool("losetup", &[how, &["--find", "--show", image]].concat());
        Self(name.trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(
            std::process::Command::new("losetup")
                .args(["-d", &self.0])
                .output(),
        );
    }
}

/// Devices of the host: their size, their lock, and that some take no writes.
#[test]
#[ignore = "needs root for loop devices"]
fn devices_of_the_host() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let new = scratch.write("new", "new");
    let new = new.to_str().unwrap();
    let device = Loop::new(&[], &image);
    good(&["put", new, &format!("{}:/", device.0)]);
    assert_eq!(good(&["cat", &format!("{}:/new", device.0)]), "new");
    assert_eq!(info(&device.0)["size"], 8 << 20);
    drop(device);
    let device = Loop::new(&["-r"], &image);
    let before = fs::read(&image).unwrap();
    let told = format!("{}: a read-only device", device.0);
    common::fails(&["put", new, &format!("{}:/other", device.0)], 1, &[&told]);
    assert!(good(&["ls", &format!("{}:/", device.0)]).contains("lost+found"));
    assert!(fs::read(&image).unwrap() == before);
    drop(device);
    common::check(&image);
}

/// What the host has mounted by way of a loop device is not ours to write, by the name of its file too.
#[test]
#[ignore = "needs root for loop devices and mounts"]
fn an_image_that_the_host_has_mounted() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let point = scratch.text("point");
    fs::create_dir(&point).unwrap();
    let device = Loop::new(&[], &image);
    good(&["touch", &format!("{image}:/before")]);
    tool("mount", &[&device.0, &point]);
    let told = format!("{image}: in use by the host, which may have it mounted");
    common::fails(&["touch", &format!("{image}:/x")], 1, &[&told]);
    let seen = good(&["ls", &format!("{image}:/")]);
    tool("umount", &[&point]);
    assert_eq!(seen, "before\nlost+found\n");
    good(&["touch", &format!("{image}:/x")]);
    drop(device);
    common::check(&image);
}

/// A server that does not answer any more.
struct Stopped(Vec<String>);

impl Stopped {
    fn new(pids: &str) -> Self {
        let pids = pids.lines().map(str::to_owned).collect();
        let stopped = Self(pids);
        stopped.signal("-STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        let mut words = vec![signal];
        words.extend(self.0.iter().map(|pid| &pid[..]));
        tool("kill", &words);
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// A loop device over a file that nobody answers for: other images do not wait for it.
#[test]
#[ignore = "needs root for loop devices, and FUSE"]
fn a_loop_device_over_a_file_that_is_out_of_reach() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let outer = scratch.image("outer.img", 32, None);
    let inner = scratch.image("inner.img", 8, None);
    let point = scratch.text("point");
    fs::create_dir(&point).unwrap();
    good(&["put", &inner, &format!("{outer}:/")]);
    // The host is to keep nothing of it that would answer instead.
    let options = "ro,attr_timeout=0,entry_timeout=0";
    good(&["mount", "-o", options, &outer, &point]);
    let device = Loop::new(&["-r"], &format!("{point}/inner.img"));
    let server = Stopped::new(&tool("pgrep", &["-f", &outer]));
    // It asks nobody, or waits without end; a minute is more than it takes under any load.
    let rump = env!("CARGO_BIN_EXE_rump");
    tool(
        "timeout",
        &["-s", "KILL", "60", rump, "mkdir", &format!("{image}:/x")],
    );
    drop(server);
    drop(device);
    tool("fusermount3", &["-u", &point]);
    common::check(&image);
}
