//! A server behind the host's kernel keeps what its driver must not have: files, connections, processes. And a panic takes one mount along, no more.
//! What a program that reads images does not need, it cannot do either.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A server with two mounts, gone with the value.
struct Server {
    child: Child,
    dirs: [PathBuf; 2],
}

impl Server {
    fn start(name: &str) -> Self {
        let fuse = Path::new("/dev/fuse").exists();
        assert!(
            fuse,
            "/dev/fuse is missing: this test needs FUSE (modprobe fuse)"
        );
        let base = std::env::temp_dir().join(format!("rump-{name}-{}", std::process::id()));
        let dirs = ["one", "two"].map(|dir| base.join(dir));
        for dir in &dirs {
            fs::create_dir_all(dir).unwrap();
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_contained"))
            .args(&dirs)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Self { child, dirs }
    }

    /// How an attempt ended.
    fn attempt(&self, dir: usize, name: &str) -> std::io::Result<String> {
        let text = fs::read_to_string(self.dirs[dir].join(name))?;
        Ok(text.trim_end().to_owned())
    }

    fn unmount(&mut self) {
        for dir in &self.dirs {
            let root = is_root();
            let mut command = if root {
                Command::new("umount")
            } else {
                let mut command = Command::new("fusermount3");
                command.arg("-u");
                command
            };
            assert!(command.arg(dir).status().unwrap().success());
        }
        assert!(self.child.wait().unwrap().success());
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for dir in &self.dirs {
            let _ = Command::new("umount")
                .arg("-lq")
                .arg(dir)
                .stderr(Stdio::null())
                .status();
        }
        let _ = fs::remove_dir_all(self.dirs[0].parent().unwrap());
    }
}

#[test]
fn what_a_driver_must_not_do_fails_and_the_mount_goes_on() {
    let mut server = Server::start("contain");
    assert_eq!(server.attempt(0, "fine").unwrap(), "done");
    for name in ["read", "write", "connect", "fork", "exec", "kill"] {
        let ended = server.attempt(0, name).unwrap();
        assert!(
            ended.starts_with("Operation not permitted"),
            "{name}: {ended}"
        );
        assert_eq!(fs::read_dir(&server.dirs[0]).unwrap().count(), 8);
    }
    assert!(!Path::new("/tmp/rump-contained").exists());
    server.unmount();
}

#[test]
fn a_panic_takes_one_mount_out_of_service() {
    let mut server = Server::start("panic");
    let error = server.attempt(0, "panic").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    let error = server.attempt(0, "fine").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(server.attempt(1, "fine").unwrap(), "done");
    assert_eq!(
        server.attempt(1, "fork").unwrap(),
        "Operation not permitted (os error 1)"
    );
    server.unmount();
}

#[test]
fn a_reader_reads_and_nothing_else() {
    let file = std::env::temp_dir().join(format!("rump-reader-{}", std::process::id()));
    fs::write(&file, "content").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_contained"))
        .arg(&file)
        .output()
        .unwrap();
    let kept = fs::read(&file);
    fs::remove_file(&file).unwrap();
    assert!(output.status.success());
    assert_eq!(kept.unwrap(), b"content");
    let said = String::from_utf8(output.stdout).unwrap();
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for line in said.lines() {
        match line.split_once(": ").unwrap() {
            (name, "done") => done.push(name),
            (name, "permission denied") => refused.push(name),
            (name, "out of memory") if name == "memory" => refused.push(name),
            _ => panic!("{line}"),
        }
    }
    assert_eq!(done, ["thread", "read it", "fine", "read"]);
    let expected = [
        "write it",
        "remove it",
        "change it",
        "datagrams",
        "local socket",
        "memory",
        "write",
        "connect",
        "fork",
        "exec",
        "kill",
    ];
    assert_eq!(refused, expected);
}
