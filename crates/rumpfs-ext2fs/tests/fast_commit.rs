//! Volumes whose last changes are in fast commits, as Linux 6.18 left them: read as the kernel showed them, and clean after
//! a mount for writing.

mod write_support;

use rumpfs_ext2fs::{
    Ext2fs,
    checksum::crc32c,
    inode::{FileType, Inode},
    journal::Journal,
    map::Mapping,
    types::{FileBlock, InodeNumber},
};
use rumpkern::{Kernel, Proc};
use rumpuser::{BlockDevice as _, Rng};
use rumpuser_sim::{Loss, MemDisk};
use rumpvfs::{Calls as _, KernelVfs as _, calls::MountArgs};
use sha2::{Digest, Sha256};
use std::{fs, path::Path, process::Command, sync::Arc};
use write_support::{TempDir, tool};

/// Made by `testdata/fast_commit_trees.sh`.
const IMAGES: [&str; 4] = ["1k", "4k", "inline", "bigalloc"];

fn image(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/testdata/fast_commit_{name}.img.zst",
        env!("CARGO_MANIFEST_DIR")
    );
    let output = Command::new("zstd").args(["-qdc", &path]).output();
    let output = output.expect("zstd is needed by this test");
    assert!(output.status.success(), "{path}");
    output.stdout
}

fn manifest(name: &str) -> String {
    let path = format!(
        "{}/tests/testdata/fast_commit_{name}.tree",
        env!("CARGO_MANIFEST_DIR")
    );
    fs::read_to_string(path).unwrap()
}

fn read_only(device: Arc<MemDisk>) -> rumpfs_ext2fs::Result<Ext2fs> {
    device.set_read_only(true);
    let host = rumpuser_posix::Host::new();
    Ext2fs::open_read_only(device, &*host, 16 << 20, false).map(|opened| opened.fs)
}

fn content(fs: &Ext2fs, inode: &Inode) -> Vec<u8> {
    let size = usize::try_from(inode.size).unwrap();
    let block = fs.block_size() as usize;
    let mut bytes = Vec::new();
    while bytes.len() < size {
        let at = FileBlock(u32::try_from(bytes.len() / block).unwrap());
        let left = u32::try_from((size - bytes.len()).div_ceil(block)).unwrap();
        let start = bytes.len();
        match fs.map(inode, at, left).unwrap() {
            Mapping::OnDisk { block: first, len } => {
                bytes.resize(start + len as usize * block, 0);
                let device = fs.volume().device();
                device
                    .read_at(first.0 * block as u64, &mut bytes[start..])
                    .unwrap();
            }
            Mapping::Unwritten { len, .. } | Mapping::Hole { len } => {
                bytes.resize(start + len as usize * block, 0);
            }
            Mapping::Inline => bytes = fs.inline_data(inode).unwrap(),
        }
    }
    bytes.truncate(size);
    bytes
}

/// The tree in the form of the manifests.
fn tree(fs: &Ext2fs) -> String {
    let mut lines = Vec::new();
    walk(fs, InodeNumber::ROOT, "", &mut lines);
    lines.sort();
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

fn walk(fs: &Ext2fs, dir: InodeNumber, path: &str, lines: &mut Vec<(Vec<u8>, String)>) {
    let mut entries = Vec::new();
    fs.read_dir(&fs.inode(dir).unwrap(), 0, |entry| {
        entries.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.ino));
        true
    })
    .unwrap();
    for (name, ino) in entries {
        if matches!(&*name, "." | ".." | "lost+found") {
            continue;
        }
        let path = format!("{path}{name}");
        let inode = fs.inode(ino).unwrap();
        let found = fs.lookup(&fs.inode(dir).unwrap(), name.as_bytes()).unwrap();
        assert_eq!(found.unwrap().ino, ino, "{path} by its index");
        let extra = match inode.file_type {
            FileType::Regular => {
                let hash = Sha256::digest(content(fs, &inode));
                hash.iter().map(|byte| format!("{byte:02x}")).collect()
            }
            FileType::Symlink => String::from_utf8(fs.read_link(&inode).unwrap()).unwrap(),
            FileType::Block | FileType::Character => {
                let device = inode.device().unwrap();
                format!("{}:{}", device.major, device.minor)
            }
            _ => "-".to_owned(),
        };
        let size = match inode.file_type {
            FileType::Regular => inode.size,
            _ => 0,
        };
        let Inode {
            links, uid, gid, ..
        } = inode;
        let mode = inode.mode();
        let line = format!("{mode:x} {links} {uid} {gid}\t{size}\t{extra}\t{path}");
        lines.push((path.clone().into_bytes(), line));
        if inode.is_dir() {
            walk(fs, ino, &format!("{path}/"), lines);
        }
    }
}

fn compare(name: &str, what: &str, found: &str) {
    let wanted = manifest(name);
    let (found, wanted): (Vec<_>, Vec<_>) = (found.lines().collect(), wanted.lines().collect());
    for line in &wanted {
        assert!(found.contains(line), "{name}: {what} is without {line:?}");
    }
    for line in &found {
        assert!(wanted.contains(line), "{name}: {what} has {line:?}");
    }
    assert!(wanted.len() > 150);
}

/// e2fsck must find nothing in what is on the disk.
fn check(disk: &MemDisk, dir: &Path) {
    let path = dir.join("checked");
    fs::write(&path, disk.to_bytes()).unwrap();
    let text = tool("e2fsck", &["-f", "-n", path.to_str().unwrap()]);
    for line in text.lines() {
        let quiet = line.starts_with("e2fsck ")
            || line.starts_with("Pass ")
            || line.contains(" files (")
            || line.contains("could be narrower.  Optimize? no")
            || line.is_empty();
        assert!(quiet, "e2fsck: {line}\n{text}");
    }
}

#[test]
fn a_reader_sees_what_the_kernel_showed() {
    for name in IMAGES {
        let bytes = image(name);
        let disk = Arc::new(MemDisk::from_bytes(&bytes));
        let plain = Ext2fs::open(disk.clone(), &*rumpuser_posix::Host::new(), 1 << 20).unwrap();
        let journal = Journal::open(plain.journal_area(disk.clone()).unwrap()).unwrap();
        let commits = journal.replay().unwrap().fast_commits.commits;
        assert!(commits > 10, "{name}: {commits}");
        let fs = read_only(disk.clone()).unwrap();
        compare(name, "the tree", &tree(&fs));
        assert!(disk.to_bytes() == bytes, "nothing is written");
    }
}

/// A kernel with the volume mounted for writing. Its messages say what was replayed.
fn mount(disk: &Arc<MemDisk>) -> Result<(Kernel, Proc), String> {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpfs_ext2fs::component())
        .boot()
        .unwrap();
    let proc = kernel.init_proc();
    kernel.etfs_register("/dev/image", disk.clone()).unwrap();
    match proc.mount("ext2fs", "/", MountArgs::device("/dev/image")) {
        Ok(()) => Ok((kernel, proc)),
        Err(error) => Err(format!("{error}: {:?}", kernel.log().since(0))),
    }
}

/// Mounts for writing and unmounts.
fn mount_once(disk: &Arc<MemDisk>) {
    let (kernel, proc) = mount(disk).unwrap();
    proc.unmount("/", false).unwrap();
    kernel.shutdown().unwrap();
}

#[test]
fn a_mount_for_writing_leaves_a_clean_volume() {
    let dir = TempDir::new();
    for name in IMAGES {
        let disk = Arc::new(MemDisk::from_bytes(&image(name)));
        mount_once(&disk);
        check(&disk, dir.path());
        compare(name, "the mounted tree", &tree(&read_only(disk).unwrap()));
    }
}

/// A power cut while the blocks are written home, or before the log is emptied: the next mount does all of it again.
#[test]
fn a_power_cut_on_the_way_loses_nothing() {
    let dir = TempDir::new();
    let name = "1k";
    let bytes = image(name);
    let disk = Arc::new(MemDisk::from_bytes(&bytes));
    mount_once(&disk);
    let writes = disk.counters().writes;
    assert!(writes > 3, "{writes}");
    let mut torn_superblocks = 0;
    for cut in 0..writes.min(40) {
        let disk = MemDisk::from_bytes(&bytes);
        disk.cut_power_after(cut);
        let disk = Arc::new(disk);
        // Where the power goes late the volume is mounted already.
        drop(mount(&disk));
        let kinds = [Loss::All, Loss::None, Loss::Any].map(|loss| disk.crash_image(loss, cut));
        let sectors = (0..4).map(|seed| disk.crash_image(Loss::Sectors, seed));
        let torn: Vec<MemDisk> = sectors.filter(is_torn).take(1).collect();
        torn_superblocks += torn.len();
        for left in kinds.into_iter().chain(torn) {
            let left = Arc::new(left);
            let copy = Arc::new(MemDisk::from_bytes(&left.to_bytes()));
            compare(
                name,
                "the tree after a power cut",
                &tree(&read_only(copy).unwrap()),
            );
            mount_once(&left);
            check(&left, dir.path());
        }
    }
    assert!(torn_superblocks > 1, "{torn_superblocks}");
}

/// Whether one sector of the superblock is of another time than the other.
fn is_torn(disk: &MemDisk) -> bool {
    let mut bytes = [0; 1024];
    disk.read_at(1024, &mut bytes).unwrap();
    let [.., a, b, c, d] = bytes;
    crc32c(!0, &bytes[..1020]) != u32::from_le_bytes([a, b, c, d])
}

/// The blocks of the fast-commit area, by their offsets on the volume.
fn area(disk: &Arc<MemDisk>) -> Vec<usize> {
    let host = rumpuser_posix::Host::new();
    let fs = Ext2fs::open(disk.clone(), &*host, 1 << 20).unwrap();
    let inode = fs.inode(fs.superblock().journal.unwrap()).unwrap();
    let block = fs.block_size() as usize;
    let at = |n: u32| match fs.map(&inode, FileBlock(n), 1).unwrap() {
        Mapping::OnDisk { block: at, .. } => at.0 as usize * block,
        other => panic!("{other:?}"),
    };
    let bytes = disk.to_bytes();
    let field = |offset: usize| {
        let raw = &bytes[at(0) + offset..][..4];
        u32::from_be_bytes(raw.try_into().unwrap())
    };
    // s_maxlen and s_num_fc_blks.
    let (end, count) = (field(0x10), field(0x54));
    (end - count + 1..end).map(at).collect()
}

/// Changes values of the area, and brings the checksums behind them up to date.
fn change(bytes: &mut [u8], blocks: &[usize], size: usize, numbers: &mut Rng, changes: usize) {
    let mut values = Vec::new();
    let mut tails = Vec::new();
    let mut covered: Vec<(usize, usize)> = Vec::new();
    'area: for &block in blocks {
        let mut at = block;
        while at + 4 <= block + size {
            let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let (tag, len) = (word(at), usize::from(word(at + 2)));
            if tag == 0 || tag > 9 || at + 4 + len > block + size {
                break 'area;
            }
            if tag == 8 {
                covered.push((at, 8));
                tails.push((std::mem::take(&mut covered), at + 8));
            } else {
                covered.push((at, 4 + len));
                if !matches!(tag, 7 | 9) {
                    values.push((at + 4, len));
                }
            }
            at += 4 + len;
        }
    }
    assert!(tails.len() > 10 && values.len() > 100);
    for _ in 0..changes {
        let (at, len) = values[numbers.index(values.len())];
        // Mostly what comes first: numbers of inodes, of blocks, modes.
        let len = if numbers.index(2) == 0 {
            len.min(12)
        } else {
            len
        };
        let byte = at + numbers.index(len);
        bytes[byte] = match numbers.index(4) {
            0 => 0,
            1 => 0xFF,
            2 => numbers.index(40) as u8,
            _ => numbers.index(256) as u8,
        };
    }
    for (covered, crc_at) in tails {
        let crc = covered
            .iter()
            .fold(0, |crc, &(at, len)| crc32c(crc, &bytes[at..at + len]));
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Whatever an operation says: an answer or an error, no panic, no hang, and nothing of a refused volume is written.
#[test]
fn hostile_operations() {
    let mut numbers = Rng::new(1);
    let (mut opened, mut refused) = (0, 0);
    for name in IMAGES {
        let bytes = image(name);
        let disk = Arc::new(MemDisk::from_bytes(&bytes));
        let blocks = area(&disk);
        let size = if name == "4k" { 4096 } else { 1024 };
        let mut same = bytes.clone();
        change(&mut same, &blocks, size, &mut numbers, 0);
        assert!(same == bytes, "the checksums are understood");
        for round in 0..20 {
            let mut bytes = bytes.clone();
            change(&mut bytes, &blocks, size, &mut numbers, 1 + round % 5);
            let disk = Arc::new(MemDisk::from_bytes(&bytes));
            match read_only(disk.clone()) {
                Ok(_) => opened += 1,
                Err(_) => refused += 1,
            }
            disk.set_read_only(false);
            match mount(&disk) {
                Ok((kernel, proc)) => {
                    let _ = proc.unmount("/", false);
                    let _ = kernel.shutdown();
                }
                Err(_) => assert!(disk.to_bytes() == bytes, "{name} {round}"),
            }
        }
    }
    assert!(
        opened > 10 && refused > 10,
        "{opened} opened, {refused} refused"
    );
}
