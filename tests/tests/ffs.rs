//! FFS: every image reads back to its manifest; what is damaged is refused or told, never followed.

use rump_tests::{
    corpus, fixtures,
    mounted::{MOUNT_POINT, Mounted},
    tools::{TempDir, check_ffs, run},
    tree::{self, Kind, Tree, list, read_file},
};
use rumpkern::{Errno, OpenFlags, Proc};
use rumpuser::BlockDevice;
use rumpuser_posix::{Access, HostFile};
use rumpuser_sim::MemDisk;
use rumpvfs::{
    Calls as _,
    calls::{At, RenameFlags},
};
use std::{fs, sync::Arc};

/// Its manifest is that of the folder that it was made of, whose times makefs takes by the second.
const FROM_SOURCE: &str = "ffs2-le-sb8k.mtree";

/// A manifest with its times cut to seconds.
fn in_seconds(manifest: &str) -> String {
    let cut = |word: &str| match word.split_once('.') {
        Some((seconds, _)) if word.starts_with("time=") => format!("{seconds}.000000000"),
        _ => word.to_string(),
    };
    let lines = manifest.lines();
    let lines = lines.map(|line| line.split(' ').map(cut).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn images_show_their_manifests_and_do_not_change() {
    let mut cases = corpus::made("ffs");
    assert!(!cases.is_empty());
    cases.extend(corpus::given("ffs").into_iter().map(|mut case| {
        if case.name.ends_with(FROM_SOURCE) {
            case.manifest = in_seconds(&case.manifest);
        }
        case
    }));
    let mut wrong = Vec::new();
    for case in cases {
        case.check_read_only("ffs", &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_would_be_damaged_by_writing_is_not_written() {
    // Offset in the superblock, value, and why.
    for (offset, value, why) in [
        (209, 0_u8, "not unmounted cleanly"),
        (1116, 7, "snapshots"),
        (1312, 0x10, "ACLs"),
        (1312, 0x08, "a journal of FreeBSD"),
    ] {
        let mut bytes = fs::read(fixtures::image("ffs1-le-8k")).unwrap();
        bytes[SUPERBLOCK + offset] = value;
        let before = bytes.clone();
        let disk = Arc::new(MemDisk::from_bytes(&bytes));
        let refused = Mounted::on_device("ffs", disk.clone(), false);
        let (error, messages) = refused.err().unwrap();
        assert_eq!(error, Errno::EROFS, "{why}");
        assert!(messages.join("\n").contains(why), "{messages:?}");
        let mut after = vec![0; before.len()];
        disk.read_at(0, &mut after).unwrap();
        assert!(before == after, "{why}");
    }
}

/// Everything that names and files can have done to them, on one volume.
fn use_volume(proc: &Proc) {
    let at = |name: &str| format!("{MOUNT_POINT}/{name}").into_bytes();
    let write = |name: &str, len: usize| {
        let path = at(name);
        let fd = proc
            .openat(At::Cwd, &path, OpenFlags::CREAT | OpenFlags::WRONLY, 0o644)
            .unwrap();
        assert_eq!(proc.write(fd, &vec![7; len]), Ok(len));
        proc.close(fd).unwrap();
    };
    proc.mkdirat(At::Cwd, at("new"), 0o755).unwrap();
    for n in 0..60 {
        write(&format!("new/a name of some length {n}"), n * 50);
    }
    write("new/large", 300_000);
    proc.symlinkat(&[b'x'; 200], At::Cwd, at("new/link"))
        .unwrap();
    let (from, to) = (at("new/large"), at("moved"));
    proc.renameat((At::Cwd, &from), (At::Cwd, &to), RenameFlags::default())
        .unwrap();
    for n in (0..60).step_by(3) {
        proc.unlinkat(
            At::Cwd,
            at(&format!("new/a name of some length {n}")),
            false,
        )
        .unwrap();
    }
    proc.truncate(at("moved"), 20_000).unwrap();
    proc.sync().unwrap();
}

#[test]
fn images_can_be_written_and_stay_right() {
    let mut cases = corpus::made("ffs");
    cases.extend(corpus::given("ffs"));
    let mut written = 0;
    for case in cases {
        let bytes = fs::read(&case.image).unwrap();
        let disk = Arc::new(MemDisk::from_bytes(&bytes));
        let mounted = match Mounted::on_device("ffs", disk.clone(), false) {
            Ok(mounted) => mounted,
            Err((error, messages)) => {
                // A journal in use.
                assert_eq!(error, Errno::EROFS, "{}: {messages:?}", case.name);
                continue;
            }
        };
        use_volume(&mounted.proc);
        mounted.unmount();
        check_ffs(disk.clone());
        let again = Mounted::on_device("ffs", disk, true).ok().unwrap();
        let moved = read_file(&again.proc, format!("{MOUNT_POINT}/moved").as_bytes()).unwrap();
        assert!(moved == vec![7; 20_000], "{}", case.name);
        let names = list(&again.proc, format!("{MOUNT_POINT}/new").as_bytes()).unwrap();
        assert_eq!(names.len(), 41, "{}", case.name);
        again.unmount();
        written += 1;
    }
    assert!(written >= 4);
}

/// The largest blocks that the format has: files of makefs are read, and what we write is read by the Sleuth Kit.
#[test]
fn blocks_of_64_kib_are_read_and_written() {
    let dir = TempDir::new();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    // A fragment, a tail of fragments, direct blocks, and some behind the first indirect one.
    for size in [0, 1, 8192, 65_536 * 2 + 8193, 65_536 * 12, 65_536 * 14 + 1] {
        let content: Vec<u8> = (0..size).map(|n| (n / 251) as u8).collect();
        fs::write(source.join(format!("sub/{size}")), content).unwrap();
    }
    std::os::unix::fs::symlink("sub/1", source.join("link")).unwrap();
    let kinds = |tree: &Tree| -> Vec<_> {
        let nodes = tree.iter();
        nodes
            .map(|(path, node)| (path.clone(), node.kind.clone()))
            .collect()
    };
    let expected = kinds(&tree::from_host(&source));
    for (version, order) in [(1, "le"), (1, "be"), (2, "le"), (2, "be")] {
        let image = dir.file(&format!("{version}{order}.img"));
        let options = format!("version={version},bsize=65536,fsize=8192");
        let from = source.to_str().unwrap();
        let args = [
            "-t", "ffs", "-B", order, "-o", &options, "-s", "64m", &image, from,
        ];
        run("makefs", &args);
        let open = || HostFile::open(&image, Access::ReadWrite).unwrap();
        let mounted = Mounted::on_device("ffs", Arc::new(open()), false);
        let mounted = mounted.unwrap_or_else(|(error, why)| panic!("{error}: {why:?}"));
        assert_eq!(
            kinds(&tree::from_mount(&mounted.proc, MOUNT_POINT)),
            expected
        );
        use_volume(&mounted.proc);
        mounted.unmount();
        check_ffs(Arc::new(open()));
        let again = Mounted::on_device("ffs", Arc::new(open()), true)
            .ok()
            .unwrap();
        let written = kinds(&tree::from_mount(&again.proc, MOUNT_POINT));
        again.unmount();
        assert_eq!(written.len(), expected.len() + 43);
        // Of UFS2 it does not find the superblock of makefs.
        if version == 1 {
            let type_ = ["-f", "ufs1"];
            let names = run("fls", &[type_[0], type_[1], "-rp", &image]);
            let entry = |path: &str| {
                let line = names
                    .lines()
                    .find(|line| line.ends_with(&format!("\t{path}")));
                let number = line.and_then(|line| line.split([' ', ':']).nth(1));
                number
                    .unwrap_or_else(|| panic!("{path}: {names}"))
                    .to_owned()
            };
            let content = dir.file("content");
            for path in ["moved", "new/a name of some length 58", "sub/917505"] {
                let number = entry(path);
                let save = format!("icat -f ufs1 '{image}' {number} > '{content}'");
                run("sh", &["-c", &save]);
                let read = fs::read(&content).unwrap();
                let same = |(at, kind): &(Vec<u8>, Kind)| {
                    at == path.as_bytes() && *kind == Kind::Regular(read.clone())
                };
                assert!(written.iter().any(same), "{path}, {} bytes", read.len());
            }
        }
    }
}

/// A little-endian UFS1 image, its superblock at 8192, with a change made to it.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Mounted, (Errno, Vec<String>)> {
    let mut bytes = fs::read(fixtures::image("ffs1-le-8k")).unwrap();
    change(&mut bytes);
    let disk: Arc<dyn BlockDevice> = Arc::new(MemDisk::from_bytes(&bytes));
    Mounted::on_device("ffs", disk, true)
}

/// A change made to an image.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

const SUPERBLOCK: usize = 8192;

fn field(bytes: &[u8], offset: usize) -> usize {
    let bytes = &bytes[SUPERBLOCK + offset..][..4];
    u32::from_le_bytes(bytes.try_into().unwrap()) as usize
}

/// Byte of an inode of the first group.
fn inode(bytes: &[u8], ino: usize) -> usize {
    field(bytes, 16) * field(bytes, 52) + ino * 128
}

/// Byte of the root directory's first block.
fn root_directory(bytes: &[u8]) -> usize {
    let pointer = inode(bytes, 2) + 40;
    let frag = u32::from_le_bytes(bytes[pointer..pointer + 4].try_into().unwrap());
    frag as usize * field(bytes, 52)
}

#[test]
fn each_broken_field_of_the_superblock_is_named() {
    for (offset, value, name) in [
        (44, 0_u32, "ncg"),
        (48, 1000, "bsize"),
        (52, 256, "fsize"),
        (56, 3, "frag"),
        (80, 9, "bshift"),
        (104, 9000, "sbsize"),
        (116, 7, "nindir"),
        (120, 7, "inopb"),
        (16, 0x7FFF_FFFF, "iblkno"),
        (184, 0, "ipg"),
        (188, 0, "fpg"),
        (1084, 0x7FFF_FFFF, "size"),
        (1320, 4000, "maxsymlinklen"),
    ] {
        let refused = changed(|bytes| {
            let at = SUPERBLOCK + offset;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        });
        let (error, messages) = refused.err().unwrap();
        assert_eq!(error, Errno::EINVAL, "{name}");
        let expected = format!("superblock at byte 8192: {name} ");
        assert!(messages.join("\n").contains(&expected), "{messages:?}");
    }
    for offset in [1372, 1000] {
        let refused = changed(|bytes| bytes[SUPERBLOCK + offset] ^= 1);
        let (error, messages) = refused.err().unwrap();
        assert_eq!(error, Errno::EINVAL);
        assert!(messages[0].contains("no superblock"), "{messages:?}");
    }
}

#[test]
fn broken_roots_are_named() {
    let listed = |change: Change<'_>| {
        let mounted = match changed(|bytes| change(bytes)) {
            Ok(mounted) => mounted,
            Err((error, messages)) => return (error, messages.join("\n")),
        };
        let error = list(&mounted.proc, MOUNT_POINT.as_bytes()).unwrap_err();
        let messages = mounted.kernel.log().since(0).into_iter();
        let messages: Vec<_> = messages.map(|message| message.text).collect();
        (error, messages.join("\n"))
    };
    let directory = |at: usize, value: u8| {
        move |bytes: &mut Vec<u8>| {
            let start = root_directory(bytes);
            bytes[start + at] = value;
        }
    };
    let of_inode = |at: usize, value: [u8; 4]| {
        move |bytes: &mut Vec<u8>| {
            let start = inode(bytes, 2) + at;
            bytes[start..start + 4].copy_from_slice(&value);
        }
    };
    let cases: [(Change<'_>, &str); 8] = [
        (&directory(4, 0), "record at 0: record length 0"),
        (&directory(4, 13), "record at 0: record length 13"),
        (&directory(5, 3), "record at 0: record length 780"),
        (&directory(19, 200), "record at 12: name length 200"),
        (
            &of_inode(40, [0xFF; 4]),
            "pointers of inode 2: pointer 4294967295",
        ),
        (
            &of_inode(40, [0; 4]),
            "record at 0: block 0, expected not a hole",
        ),
        (
            &of_inode(8, [1, 2, 0, 0]),
            "inode 2: size of a directory 513",
        ),
        (&of_inode(12, [0, 1, 0, 0]), "inode 2: size of a directory"),
    ];
    for (change, text) in cases {
        let (error, messages) = listed(change);
        assert_eq!(error, Errno::EIO, "{text}");
        assert!(messages.contains(text), "{text}: {messages}");
    }
}

/// Else the pointers of a directory, all to one block, would keep whoever searches it busy for years.
#[test]
fn a_directory_is_no_larger_than_the_device_whatever_the_superblock_says() {
    let refused = changed(|bytes| {
        let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let (groups, frags) = (16_u32, 1_u32 << 30);
        set(SUPERBLOCK + 44, &groups.to_le_bytes());
        set(SUPERBLOCK + 188, &frags.to_le_bytes());
        set(SUPERBLOCK + 1080, &(1_u64 << 34).to_le_bytes());
        let root = inode(bytes, 2);
        bytes[root + 8..root + 16].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    });
    let (error, messages) = refused.err().unwrap();
    assert_eq!(error, Errno::EIO);
    let text = messages.join("\n");
    assert!(text.contains("inode 2: size of a directory"), "{text}");
}

#[test]
fn a_cut_off_image_reads_as_far_as_it_goes() {
    let mounted = changed(|bytes| {
        // makefs fills a volume from its beginning.
        let free = field(bytes, 1008 + 8) * 8 + field(bytes, 1008 + 24);
        let used = (field(bytes, 1080) - free) * field(bytes, 52);
        bytes.truncate(used * 3 / 4);
    });
    let mounted = mounted.unwrap();
    let (mut read, mut errors) = (0, 0);
    for dir in list(&mounted.proc, MOUNT_POINT.as_bytes()).unwrap() {
        let dir = [MOUNT_POINT.as_bytes(), b"/", &dir].concat();
        let names = list(&mounted.proc, &dir).unwrap_or_default();
        for name in names {
            match read_file(&mounted.proc, &[&dir[..], b"/", &name].concat()) {
                Ok(_) => read += 1,
                Err(Errno::EIO) => errors += 1,
                // Of other types than files.
                Err(_) => {}
            }
        }
    }
    assert!(read > 0 && errors > 0, "{read} read, {errors} errors");
}

#[test]
fn the_free_space_is_told() {
    let mounted = changed(|_| {}).unwrap();
    let bytes = fs::read(fixtures::image("ffs1-le-8k")).unwrap();
    let space = mounted.proc.statvfs(MOUNT_POINT).unwrap();
    let expected = field(&bytes, 1008 + 8) * 8 + field(&bytes, 1008 + 24);
    assert_eq!(space.blocks_free, expected as u64);
    assert_eq!(space.files_free, field(&bytes, 1008 + 16) as u64);
}

/// A disk as NetBSD lays it out: an MBR, its partition of type 0xA9, a disklabel in the second sector of that, and the
/// volume as partition `a`, by absolute sector.
#[test]
fn a_volume_is_found_by_the_letter_of_a_disklabel() {
    let volume = fs::read(fixtures::image("ffs1-le-8k")).unwrap();
    let (holder, first) = (64_u32, 128_u32);
    let sectors = u32::try_from(volume.len() / 512).unwrap();
    let mut disk = vec![0; first as usize * 512];
    disk[446 + 4] = 0xA9;
    disk[446 + 8..446 + 12].copy_from_slice(&holder.to_le_bytes());
    disk[446 + 12..446 + 16].copy_from_slice(&(sectors + first - holder).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    let label = &mut disk[(holder as usize + 1) * 512..][..148 + 16];
    for (at, n) in [
        (0, 0x8256_4557),
        (132, 0x8256_4557),
        (40, 512),
        (148, sectors),
        (152, first),
        (160, 7),
    ] {
        label[at..at + 4].copy_from_slice(&n.to_le_bytes());
    }
    label[138] = 1;
    let halves = label.as_chunks::<2>().0.iter();
    let sum = halves.fold([0, 0], |sum, half| [sum[0] ^ half[0], sum[1] ^ half[1]]);
    label[136..138].copy_from_slice(&sum);
    disk.extend(volume);
    let disk: Arc<dyn BlockDevice> = Arc::new(MemDisk::from_bytes(&disk));
    let select = |text: &str| rumpdev::select(&disk, &text.parse().unwrap(), &|_| None);
    let mounted = Mounted::on_device("ffs", Arc::new(select("a").unwrap()), true).unwrap();
    assert!(
        !list(&mounted.proc, MOUNT_POINT.as_bytes())
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        select("b").err().unwrap().to_string(),
        format!(
            "no partition b; the disklabel has a: {} bytes at 65536, 4.2BSD",
            u64::from(sectors) * 512
        )
    );
}
