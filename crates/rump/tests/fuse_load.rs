//! Loads on mounts: four processes at once, each of which knows what it has written, and fio; the checker afterwards. For seconds, or for as many as
//! `RUMP_LOAD_SECONDS` says.

mod common;
mod load;

use common::{
    Scratch,
    mounted::Mount,
    tool,
    volumes::{self, Can, Volume},
};
use load::Load;
use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How many processes work at once.
const PROCESSES: u64 = 4;
/// The test that a process of the load runs.
const WORKER: &str = "the_load_holds_on_the_host";

fn seconds() -> u64 {
    env::var("RUMP_LOAD_SECONDS").map_or(3, |seconds| seconds.parse().unwrap())
}

fn seed() -> u64 {
    env::var("RUMP_LOAD_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// The load itself must be right: the host's own file system stands it. A process of a load on a mount runs this as well, there.
#[test]
fn the_load_holds_on_the_host() {
    let can = |text: &str| match text {
        "little" => Can::Little,
        "most" => Can::Most,
        _ => Can::All,
    };
    if let Ok(dir) = env::var("RUMP_LOAD_DIR") {
        let can = can(&env::var("RUMP_LOAD_CAN").unwrap());
        Load::new(dir.into(), can, seed()).run(Duration::from_secs(seconds()));
        return;
    }
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("shared")).unwrap();
    // Whether the host's place for such files has attributes and can reserve is its own matter.
    Load::new(scratch.0.clone(), Can::Little, seed()).run(Duration::from_secs(1));
}

/// Four processes in one mount.
fn work(mount: &Mount, can: Can) {
    let can = match can {
        Can::Little => "little",
        Can::Most => "most",
        Can::All => "all",
    };
    fs::create_dir(mount.path("shared")).unwrap();
    let start = |number: u64| {
        let child = Command::new(env::current_exe().unwrap())
            .args([WORKER, "--exact"])
            .env("RUMP_LOAD_DIR", &mount.dir)
            .env("RUMP_LOAD_CAN", can)
            .env("RUMP_LOAD_SEED", (seed() * PROCESSES + number).to_string())
            .env("RUMP_LOAD_SECONDS", seconds().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        child.unwrap()
    };
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}");
        assert!(told.contains("1 passed"), "{told}");
    }
}

/// fio: random reads and writes of all sizes, each block with a checksum that is looked at when it is read.
fn fio(mount: &Mount) {
    let dir = format!("--directory={}", mount.dir.display());
    let runtime = format!("--runtime={}", seconds());
    let mut args = vec![
        "--name=load",
        "--rw=randrw",
        "--bssplit=512/20:4k/40:12k/20:64k/20",
        "--size=12m",
        "--numjobs=4",
        "--ioengine=psync",
        "--fsync=128",
        "--fallocate=none",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_backlog=64",
        "--verify_state_save=0",
        "--time_based",
        "--invalidate=1",
        "--output-format=terse",
    ];
    args.extend([&*dir, &*runtime]);
    tool("fio", &args);
}

/// All that is in a tree, a line for each file.
fn listing(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                walk(&path, all);
            }
            all.push(path);
        }
    }
    let mut all = Vec::new();
    walk(dir, &mut all);
    all.sort();
    let line = |path: &PathBuf| {
        let about = path.symlink_metadata().unwrap();
        let what = match () {
            () if about.is_file() => format!("{:x?}", load::digest(&fs::read(path).unwrap())),
            () if about.is_symlink() => format!("{:?}", fs::read_link(path).unwrap()),
            () => String::new(),
        };
        let size = if about.is_dir() { 0 } else { about.size() };
        let name = path.strip_prefix(dir).unwrap();
        format!(
            "{name:?} {:o} {} {size} {what}",
            about.mode(),
            about.nlink()
        )
    };
    all.iter().map(line).collect()
}

fn stands_the_load(volume: &Volume) {
    let scratch = Scratch::new();
    let image = volume.image(&scratch, 256);
    let mount = volume.mount(&scratch, &image, &[]);
    work(&mount, volume.can);
    fio(&mount);
    let before = listing(&mount.dir);
    assert!(before.len() > 100, "{} files", before.len());
    mount.unmount();
    if volume.name == "tmpfs" {
        return;
    }
    volume.check(&image);
    let mount = volume.mount(&scratch, &image, &["-o", "ro"]);
    let after = listing(&mount.dir);
    let different: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
    assert_eq!(different, [], "{}", volume.name);
    assert_eq!(before.len(), after.len());
    mount.unmount();
}

#[test]
fn ext2_stands_the_load() {
    stands_the_load(&volumes::EXT2);
}

#[test]
fn ext4_stands_the_load() {
    stands_the_load(&volumes::EXT4);
}

#[test]
fn ffs_stands_the_load() {
    stands_the_load(&volumes::UFS2);
}

#[test]
fn ffs_with_a_log_stands_the_load() {
    stands_the_load(&volumes::UFS2_LOG);
}

#[test]
fn msdosfs_stands_the_load() {
    stands_the_load(&volumes::FAT32);
}

#[test]
fn tmpfs_stands_the_load() {
    stands_the_load(&volumes::TMPFS);
}
