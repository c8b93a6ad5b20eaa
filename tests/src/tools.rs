//! Native programs and temporary folders. A program that is missing fails the test that needs it.

use rumpfs_ffs::check::{Check, Finding, Options, Phase, Watch};
use rumpuser::BlockDevice;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// Runs a program to its end and returns what it printed.
///
/// # Panics
/// When it is missing or its exit status is not 0.
pub fn run(program: &str, args: &[&str]) -> String {
    let (status, output) = try_run(program, args);
    assert_eq!(status, 0, "{program} {args:?} failed:\n{output}");
    output
}

/// Runs a program to its end and returns its exit status and what it printed.
///
/// # Panics
/// When it is missing.
pub fn try_run(program: &str, args: &[&str]) -> (i32, String) {
    let output = Command::new(find(program))
        .args(args)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|e| panic!("cannot run {program}, which this test needs: {e}"));
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Where a program is: on the path, or where Debian puts mkfs and fsck, which is not on everybody's. (With a changed `PATH` the standard
/// library forks instead of spawning, which takes ten times as long in a large process.)
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(program));
    found
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| program.into())
}

/// A temporary folder that goes with the value.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new empty folder.
    ///
    /// # Panics
    /// When the host cannot make one.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "rump-test-{}-{}",
            process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Path of a file in it, as text.
    ///
    /// # Panics
    /// When the temporary folder's path is not UTF-8.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.0
            .join(name)
            .to_str()
            .expect("a UTF-8 path")
            .to_string()
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes an ext image of `size` (as mke2fs writes sizes) with the options given.
///
/// # Panics
/// When mke2fs fails.
pub fn mke2fs(image: &str, options: &[&str], size: &str) {
    let mut args = vec!["-q", "-F"];
    args.extend_from_slice(options);
    args.extend_from_slice(&[image, size]);
    run("mke2fs", &args);
}

/// Lets e2fsck look at an image without changing it.
///
/// # Panics
/// When it finds anything.
pub fn e2fsck(image: &str) {
    let (status, output) = try_run("e2fsck", &["-fn", image]);
    assert_eq!(status, 0, "e2fsck -fn {image}:\n{output}");
}

/// Makes a FAT image of `size` bytes with the options given, always with the same serial number.
///
/// # Panics
/// When mkfs.fat fails.
pub fn mkfs_fat(image: &str, options: &[&str], size: usize) {
    let file = fs::File::create(image).expect("a new file");
    file.set_len(size as u64).expect("room for the image");
    let mut args = vec!["-i", "5A1D6C0E"];
    args.extend_from_slice(options);
    args.push(image);
    run("mkfs.fat", &args);
}

/// Lets fsck.fat look at an image without changing it.
///
/// # Panics
/// When it finds anything.
pub fn fsck_fat(image: &str) {
    let (status, output) = try_run("fsck.fat", &["-n", image]);
    assert_eq!(status, 0, "fsck.fat -n {image}:\n{output}");
}

/// Makes an empty FFS image in the byte order `order`, `le` or `be`, with the options given.
///
/// # Panics
/// When makefs fails.
pub fn makefs_ffs(image: &str, order: &str, options: &str, size: &str) {
    let dir = TempDir::new();
    let empty = dir.file("empty");
    fs::create_dir(&empty).expect("an empty folder");
    let args = [
        "-t", "ffs", "-B", order, "-o", options, "-s", size, image, &empty,
    ];
    run("makefs", &args);
}

/// Lets our checker look at an FFS volume; it does not change it.
///
/// # Panics
/// When it finds anything.
pub fn check_ffs(device: Arc<dyn BlockDevice>) {
    struct Findings(Vec<String>);
    impl Watch for Findings {
        fn phase(&mut self, _phase: Phase) {}

        fn finding(&mut self, finding: &Finding) {
            self.0.push(finding.to_string());
        }

        fn progress(&mut self, _done: u64, _total: u64) -> bool {
            true
        }
    }
    let mut findings = Findings(Vec::new());
    let check = Check::open(device, Options::default()).expect("an FFS volume");
    check
        .run(&mut findings)
        .expect("a volume that can be checked");
    assert!(
        findings.0.is_empty(),
        "rump fsck -n:\n{}",
        findings.0.join("\n")
    );
}

/// A loop mount by the host's own driver, read-only, undone with the value. Needs root.
#[derive(Debug)]
pub struct LoopMount(PathBuf);

impl LoopMount {
    /// Mounts an image on a folder.
    ///
    /// # Panics
    /// When the host cannot.
    #[must_use]
    pub fn new(image: &str, on: &Path) -> Self {
        fs::create_dir_all(on).expect("a folder to mount on");
        run(
            "mount",
            &["-o", "loop,ro", image, on.to_str().expect("a UTF-8 path")],
        );
        Self(on.to_path_buf())
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        let on = self.0.to_string_lossy().into_owned();
        let mut outcome = try_run("umount", &[&on]);
        // A program that another test has just forked holds our open files until it is the other program.
        for _ in 0..200 {
            if outcome.0 == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(50));
            outcome = try_run("umount", &[&on]);
        }
        let (status, output) = outcome;
        assert!(status == 0 || thread::panicking(), "umount {on}: {output}");
    }
}

/// Whether tests may mount (root on Linux with loop devices).
#[must_use]
pub fn can_mount() -> bool {
    let (status, id) = try_run("id", &["-u"]);
    status == 0 && id.trim() == "0" && Path::new("/dev/loop-control").exists()
}
