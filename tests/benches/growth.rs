//! Cost per file of 1,000 to 1,000,000 files: `cargo bench -p rump-tests --bench growth -- [--json] [--files N,N] [WORDS]`.
//!
//! The measure is the CPU time of this process, or of the tool where that does the work: elapsed time says little on a
//! busy machine. Each number of files has a fresh volume; volumes of one kind have one size, so that only the number of
//! files differs. Small numbers are repeated and their median is given. WORDS chooses rows that contain all of them.
//!
//! Rows are `FS SHAPE WORK`. In shape `flat` all files are in one directory, in `tree` 1,000 in each. Files are empty, except
//! those that `import` brings, which have 60 bytes. Without WORDS all is measured but what needs the name of its FS as a word: `ext2` (with
//! `dir_index`), and of `ext4-1k` all except `import`. The image lies in /dev/shm. FS `host` is no kernel of ours: the same calls of
//! the host on its tmpfs, for what the memory of the machine makes of a million files.

use rumpkern::{Fd, OpenFlags, Proc};
use rumpuser::Rng;
use rumpuser_posix::{Access, Host, HostFile};
use rumpvfs::{
    Calls as _, KernelVfs as _,
    calls::{At, MountArgs},
};
use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    io::{BufWriter, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

/// Files in a directory of shape `tree`.
const PER_DIRECTORY: u32 = 1000;
/// Entries that a listing asks for at once.
const BATCH: usize = 1000;
/// A row is repeated until it was done for this many files: 100,000 three times, for one round alone may meet memory that the machine has to find first.
const ENOUGH: u32 = 300_000;
/// And not more often than this.
const MOST_ROUNDS: u32 = 15;

/// What the command line asks for.
struct Wanted {
    words: Vec<String>,
    json: bool,
    files: Vec<u32>,
}

/// Nanoseconds per file, by row and number of files; one value for each round.
type Results = BTreeMap<(String, u32), Vec<f64>>;

fn main() {
    let wanted = arguments();
    let mut results = Results::new();
    for shape in [Shape::Flat, Shape::Tree] {
        let row = |work: &str| format!("{HOST} {} {work}", shape.name());
        if !WORKS.iter().any(|work| wanted.chooses(&row(work))) {
            continue;
        }
        for &files in &wanted.files {
            for _ in 0..(ENOUGH / files).clamp(1, MOST_ROUNDS) {
                measure_host(shape, files, &mut |work: &str, nanoseconds: f64| {
                    let per_file = nanoseconds / f64::from(files);
                    results
                        .entry((row(work), files))
                        .or_default()
                        .push(per_file);
                });
            }
        }
    }
    for volume in VOLUMES {
        for shape in [Shape::Flat, Shape::Tree] {
            let row = |work: &str| format!("{} {} {work}", volume.name, shape.name());
            let named = wanted.words.iter().any(|word| word == volume.name);
            if !(volume.usual || named) || !WORKS.iter().any(|work| wanted.chooses(&row(work))) {
                continue;
            }
            for &files in &wanted.files {
                for _ in 0..(ENOUGH / files).clamp(1, MOST_ROUNDS) {
                    let mut note = |work: &str, nanoseconds: f64| {
                        let per_file = nanoseconds / f64::from(files);
                        results
                            .entry((row(work), files))
                            .or_default()
                            .push(per_file);
                    };
                    volume.measure(shape, files, &mut note);
                }
            }
        }
        if volume.imports && wanted.chooses(&format!("{} tree import", volume.name)) {
            for &files in &wanted.files {
                for _ in 0..(ENOUGH / files).clamp(1, MOST_ROUNDS) {
                    let per_file = volume.import(files) / f64::from(files);
                    let row = format!("{} tree import", volume.name);
                    results.entry((row, files)).or_default().push(per_file);
                }
            }
        }
    }
    report(&wanted, results);
}

fn arguments() -> Wanted {
    let mut wanted = Wanted {
        words: Vec::new(),
        json: false,
        files: vec![1_000, 10_000, 100_000, 1_000_000],
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => wanted.json = true,
            "--files" => {
                let numbers = arguments.next().expect("--files needs numbers");
                let number = |text: &str| text.parse().expect("a number of files");
                wanted.files = numbers.split(',').map(number).collect();
            }
            // Cargo's own.
            "--bench" => {}
            word => wanted.words.push(word.to_string()),
        }
    }
    wanted
}

impl Wanted {
    fn chooses(&self, row: &str) -> bool {
        self.words.iter().all(|word| row.contains(word.as_str()))
    }
}

fn report(wanted: &Wanted, results: Results) {
    let mut first = BTreeMap::new();
    for ((row, files), mut rounds) in results {
        if !wanted.chooses(&row) {
            continue;
        }
        rounds.sort_by(f64::total_cmp);
        let median = rounds[rounds.len() / 2];
        if wanted.json {
            println!(
                r#"{{"row":"{row}","files":{files},"ns_per_file":{median:.1},"unit":"ns of CPU time"}}"#
            );
        } else {
            let base = *first.entry(row.clone()).or_insert(median);
            println!(
                "{row:28} {files:>9} {median:>9.0} ns {:>6.2}",
                median / base
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Flat,
    Tree,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Tree => "tree",
        }
    }

    /// Files in each directory.
    fn per_directory(self, files: u32) -> u32 {
        match self {
            Self::Flat => files,
            Self::Tree => PER_DIRECTORY,
        }
    }
}

/// A kind of volume.
struct Volume {
    name: &'static str,
    fs_type: &'static str,
    /// Options of mke2fs and the size; empty for one in memory.
    mke2fs: &'static [&'static str],
    /// Whether `import` is measured: with blocks of 1 KiB a million files fit the memory of a small machine.
    imports: bool,
    /// Whether more than `import` is measured without its name as a word.
    usual: bool,
}

const VOLUMES: [Volume; 4] = [
    Volume {
        name: "tmpfs",
        fs_type: "tmpfs",
        mke2fs: &[],
        imports: false,
        usual: true,
    },
    Volume {
        name: "ext4",
        fs_type: "ext4",
        mke2fs: &["-t", "ext4", "-N", "1100000", "IMAGE", "3G"],
        imports: false,
        usual: true,
    },
    Volume {
        name: "ext4-1k",
        fs_type: "ext4",
        mke2fs: &["-t", "ext4", "-b", "1024", "-N", "1100000", "IMAGE", "3G"],
        imports: true,
        usual: false,
    },
    Volume {
        name: "ext2",
        fs_type: "ext2",
        mke2fs: &[
            "-t",
            "ext2",
            "-O",
            "dir_index",
            "-N",
            "1100000",
            "IMAGE",
            "3G",
        ],
        imports: false,
        usual: false,
    },
];

/// What [`Volume::measure`] measures.
const WORKS: [&str; 7] = [
    "create",
    "stat warm",
    "list warm",
    "list cold",
    "stat in order cold",
    "stat cold",
    "remove",
];

impl Volume {
    fn in_memory(&self) -> bool {
        self.mke2fs.is_empty()
    }

    /// Makes a fresh image.
    fn format(&self) -> Scratch {
        let image = Scratch::new("growth.img");
        let path = image.0.to_str().expect("a UTF-8 path");
        let options = self
            .mke2fs
            .iter()
            .map(|o| if *o == "IMAGE" { path } else { o });
        let status = Command::new("mke2fs")
            .stdout(Stdio::null())
            .args(["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"])
            .args(options)
            .status()
            .expect("mke2fs, of e2fsprogs");
        assert!(status.success(), "mke2fs: {status}");
        image
    }

    /// Measures everything but `import`; `note` takes the work's name and its nanoseconds.
    fn measure(&self, shape: Shape, files: u32, note: &mut impl FnMut(&str, f64)) {
        let image = (!self.in_memory()).then(|| self.format());
        let kernel = rumpkern::Kernel::builder(Host::new())
            .component(rumpfs_tmpfs::component())
            .component(rumpfs_ext2fs::component())
            .boot()
            .expect("a kernel boots");
        let proc = kernel.init_proc();
        let args = match &image {
            None => MountArgs::default()
                .option("size", Some("1G"))
                .option("nr_inodes", Some("0")),
            Some(image) => {
                let device = HostFile::open(&image.0, Access::ReadWrite).expect("the image opens");
                kernel
                    .etfs_register("/dev/image", Arc::new(device))
                    .expect("etfs");
                MountArgs::device("/dev/image")
            }
        };
        proc.mkdirat(At::Cwd, "/m", 0o755).expect("a mount point");
        proc.mount(self.fs_type, "/m", args.clone())
            .expect("a mount");
        let cold = || {
            if !self.in_memory() {
                proc.unmount("/m", false).expect("unmount");
                proc.mount(self.fs_type, "/m", args.clone())
                    .expect("a mount");
            }
        };
        let shuffled = shuffled(files);
        note("create", cpu(|| create(&proc, shape, files)));
        note(
            "stat warm",
            cpu(|| stat(&proc, shape, files, shuffled.iter().copied())),
        );
        note("list warm", cpu(|| list(&proc, shape, files)));
        cold();
        note("list cold", cpu(|| list(&proc, shape, files)));
        cold();
        note(
            "stat in order cold",
            cpu(|| stat(&proc, shape, files, 0..files)),
        );
        cold();
        note(
            "stat cold",
            cpu(|| stat(&proc, shape, files, shuffled.iter().copied())),
        );
        cold();
        note("remove", cpu(|| remove(&proc, shape, files)));
        proc.unmount("/m", false).expect("unmount");
        kernel.shutdown().expect("a clean shutdown");
    }

    /// Nanoseconds that `rump untar` takes for so many files, above those for none.
    fn import(&self, files: u32) -> f64 {
        let base = (0..5).map(|_| self.import_all(0)).fold(f64::MAX, f64::min);
        self.import_all(files) - base
    }

    fn import_all(&self, files: u32) -> f64 {
        let image = self.format();
        let before = cpu_of_children();
        let mut child = Command::new(tool())
            .arg("untar")
            .arg(format!("{}:/", image.0.display()))
            .stdin(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        let mut input = BufWriter::with_capacity(1 << 20, child.stdin.take().expect("a pipe"));
        for n in 0..files {
            write_member(&mut input, &path(Shape::Tree, n));
        }
        input
            .write_all(&[0; 1024])
            .and_then(|()| input.flush())
            .expect("the tool reads");
        drop(input);
        let status = child.wait().expect("the tool ends");
        assert!(status.success(), "rump untar: {status}");
        cpu_of_children() - before
    }
}

/// Name of the rows of the host's own tmpfs.
const HOST: &str = "host";

/// The same calls to the host in /dev/shm.
fn measure_host(shape: Shape, files: u32, note: &mut impl FnMut(&str, f64)) {
    let top = Scratch::new("growth.dir");
    let of = |n: u32| top.0.join(path(shape, n));
    let per_directory = shape.per_directory(files);
    let directories = || (0..files / per_directory).map(|n| top.0.join(format!("d{n}")));
    let make = || {
        directories().for_each(|dir| fs::create_dir_all(dir).expect("mkdir"));
        for n in 0..files {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(of(n))
                .expect("create");
        }
    };
    note("create", cpu(make));
    let look = |order: &mut dyn Iterator<Item = u32>| {
        let mut count = 0;
        for n in order {
            black_box(fs::symlink_metadata(of(n)).expect("lstat"));
            count += 1;
        }
        assert_eq!(count, files);
    };
    let shuffled = shuffled(files);
    note("stat warm", cpu(|| look(&mut shuffled.iter().copied())));
    let list = || {
        let entries = directories().flat_map(|dir| fs::read_dir(dir).expect("opendir"));
        let mut count = 0;
        for entry in entries {
            black_box(entry.expect("readdir").metadata().expect("fstatat"));
            count += 1;
        }
        assert_eq!(count, files);
    };
    note("list warm", cpu(list));
    note("stat in order cold", cpu(|| look(&mut (0..files))));
    note("remove", cpu(|| fs::remove_dir_all(&top.0).expect("rm -r")));
}

/// Path of a file below the root of the volume.
fn path(shape: Shape, n: u32) -> String {
    match shape {
        Shape::Flat => format!("d0/file{n:07}"),
        Shape::Tree => format!("d{}/file{n:07}", n / PER_DIRECTORY),
    }
}

/// All numbers below `files`, shuffled, always the same way.
fn shuffled(files: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..files).collect();
    let mut random = Rng::new(1);
    for n in (1..numbers.len()).rev() {
        numbers.swap(n, random.index(n + 1));
    }
    numbers
}

fn create(proc: &Proc, shape: Shape, files: u32) {
    let per_directory = shape.per_directory(files);
    for n in 0..files {
        if n % per_directory == 0 {
            let dir = format!("/m/d{}", n / per_directory);
            proc.mkdirat(At::Cwd, &dir, 0o755).expect("mkdir");
        }
        let path = format!("/m/{}", path(shape, n));
        let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::WRONLY;
        let fd = proc.open(&path, flags, 0o644).expect("create");
        proc.close(fd).expect("close");
    }
    proc.sync().expect("sync");
}

fn stat(proc: &Proc, shape: Shape, files: u32, order: impl Iterator<Item = u32>) {
    let count = order
        .map(|n| black_box(proc.lstat(format!("/m/{}", path(shape, n))).expect("lstat")))
        .count();
    assert_eq!(count, files as usize);
}

/// Calls `each` with each directory's path and descriptor.
fn directories(proc: &Proc, shape: Shape, files: u32, mut each: impl FnMut(&str, Fd)) {
    for n in 0..files / shape.per_directory(files) {
        let dir = format!("/m/d{n}");
        let fd = proc.open(&dir, OpenFlags::RDONLY, 0).expect("open");
        each(&dir, fd);
        proc.close(fd).expect("close");
    }
}

/// Lists with attributes, as `ls -l`, `find` and `du` of the tool do.
fn list(proc: &Proc, shape: Shape, files: u32) {
    let mut count = 0;
    directories(proc, shape, files, |_, fd| {
        loop {
            let some = black_box(proc.getdents_stat(fd, BATCH).expect("getdents_stat"));
            if some.is_empty() {
                break;
            }
            count += some.iter().filter(|entry| entry.stat.is_ok()).count();
        }
    });
    assert_eq!(count, files as usize);
}

/// Lists and removes what it finds, as `rm -r` does, and the directories.
fn remove(proc: &Proc, shape: Shape, files: u32) {
    let mut count = 0;
    let mut emptied = Vec::new();
    directories(proc, shape, files, |dir, fd| {
        loop {
            let some = proc.getdents(fd, BATCH).expect("getdents");
            if some.is_empty() {
                break;
            }
            for entry in some.iter().filter(|e| e.name != b"." && e.name != b"..") {
                proc.unlinkat(At::Fd(fd), &entry.name, false)
                    .expect("unlink");
                count += 1;
            }
        }
        emptied.push(dir.to_string());
    });
    for dir in emptied {
        proc.unlinkat(At::Cwd, &dir, true).expect("rmdir");
    }
    proc.sync().expect("sync");
    assert_eq!(count, files);
}

/// Nanoseconds of CPU time that this process takes for `work`.
fn cpu(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    let start = now();
    work();
    now() - start
}

/// Nanoseconds of CPU time that ended children of this process have taken.
fn cpu_of_children() -> f64 {
    // SAFETY: `rusage` is plain numbers, for which zeros are valid, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage), 0);
        usage
    };
    let nanoseconds = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
    nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime)
}

/// The tool as built with the same profile, or as `RUMP` names it.
fn tool() -> PathBuf {
    if let Some(path) = std::env::var_os("RUMP") {
        return path.into();
    }
    let this = std::env::current_exe().expect("the path of this program");
    let tool = this
        .ancestors()
        .nth(2)
        .expect("a target folder")
        .join("rump");
    assert!(tool.exists(), "cargo build --release -p rump comes first");
    tool
}

/// Writes a regular file of 60 bytes in the ustar format.
fn write_member(output: &mut impl std::io::Write, path: &str) {
    let mut block = [0_u8; 1024];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(
        100,
        b"0000644\x000001750\x000001750\x00000000000074\x0014000000000\x00",
    );
    put(148, b"        0");
    put(257, b"ustar\x0000");
    put(512, &[b'x'; 60]);
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    output.write_all(&block).expect("the tool reads");
}

/// A file that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        Self(folder.join(format!("rump-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file, or a folder if a measurement was broken off.
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}
