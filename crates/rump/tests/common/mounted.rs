//! Images behind the host's kernel.

use super::{RUMP, Scratch, good, tool};
use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// For shell scripts that end with the first command that fails: `no COMMAND` fails if the command does not. (What stands behind a `!` ends none.)
pub(crate) const NO: &str = "no() { if \"$@\"; then echo \"done: $*\" >&2; exit 1; fi; };";

/// How long a server may take to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this process may mount by itself.
pub(crate) fn root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Whether the host has FUSE is not a matter of luck.
pub(crate) fn need_fuse() {
    let there = Path::new("/dev/fuse").exists();
    assert!(
        there,
        "/dev/fuse is missing: these tests need FUSE (modprobe fuse)"
    );
}

/// A mount, gone with the value.
pub(crate) struct Mount {
    pub(crate) image: PathBuf,
    pub(crate) dir: PathBuf,
}

impl Mount {
    pub(crate) fn new(scratch: &Scratch, image: &str, options: &[&str]) -> Self {
        need_fuse();
        let dir = scratch.path("mnt");
        fs::create_dir_all(&dir).unwrap();
        let text = dir.to_str().unwrap();
        let mut args = vec!["mount"];
        args.extend(options);
        args.extend([image, text]);
        let mount = Self {
            image: image.into(),
            dir: dir.clone(),
        };
        assert_eq!(good(&args), "");
        mount
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs a shell script inside; every command must succeed, and those after `no` must fail. Gives what it prints.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let script = format!("{NO} cd '{}'; {script}", self.dir.display());
        tool("sh", &["-euc", &script])
    }

    pub(crate) fn wait(&self) {
        wait_for_release(&self.image);
    }

    /// Unmounts as users do, and waits for the server's end.
    #[track_caller]
    pub(crate) fn unmount(self) {
        let dir = self.dir.to_str().unwrap();
        if root() {
            tool("umount", &[dir]);
        } else {
            tool("fusermount3", &["-u", dir]);
        }
        self.wait();
    }

    /// The server's process.
    pub(crate) fn server(&self) -> i32 {
        let mounts = tool(
            "pgrep",
            &["-f", &format!("^{RUMP} mount .*{}$", self.dir.display())],
        );
        // The mounter has the server for its parent.
        let all: Vec<i32> = mounts.lines().map(|l| l.parse().unwrap()).collect();
        let parent = |pid: &i32| -> i32 {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let rest = stat.rsplit(')').next().unwrap();
            rest.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let servers: Vec<_> = all
            .iter()
            .filter(|pid| !all.contains(&parent(pid)))
            .collect();
        assert_eq!(servers.len(), 1, "{all:?}");
        *servers[0]
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = self.server();
        // SAFETY: sends a signal to the server that this test has started.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let dir = &self.dir;
        let _ = if root() {
            Command::new("umount")
                .arg("-lq")
                .arg(dir)
                .stderr(Stdio::null())
                .status()
        } else {
            Command::new("fusermount3")
                .args(["-uzq"])
                .arg(dir)
                .stderr(Stdio::null())
                .status()
        };
    }
}

/// Waits until nobody holds an image.
#[track_caller]
pub(crate) fn wait_for_release(image: &Path) {
    if !image.is_file() {
        return;
    }
    let file = File::open(image).unwrap();
    let start = Instant::now();
    while file.try_lock().is_err() {
        assert!(start.elapsed() < PATIENCE, "the server does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Not just closed: a process that another test is starting may have a copy for a moment.
    file.unlock().unwrap();
}
