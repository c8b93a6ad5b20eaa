//! What the tests of the tool share: running it, making images with the native tools, comparing trees.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod mounted;
pub(crate) mod volumes;

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The tool.
pub(crate) const RUMP: &str = env!("CARGO_BIN_EXE_rump");

/// A folder for one test, gone with the value.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rump-cli-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A path as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().into()
    }

    /// Writes a file, with the directories above.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Makes an ext4 image of so many MiB, holding the tree at `from` if there is one.
    pub(crate) fn image(&self, name: &str, mib: u64, from: Option<&Path>) -> String {
        self.image_as(name, mib, from, &["-t", "ext4"])
    }

    /// The same with options of mke2fs.
    pub(crate) fn image_as(
        &self,
        name: &str,
        mib: u64,
        from: Option<&Path>,
        how: &[&str],
    ) -> String {
        let image = self.text(name);
        let file = fs::File::create(&image).unwrap();
        file.set_len(mib << 20).unwrap();
        let mut args = vec!["-q", "-F"];
        args.extend(how);
        let from = from.map(|path| path.to_str().unwrap());
        if let Some(from) = from {
            args.extend(["-d", from]);
        }
        args.push(&image);
        tool("mke2fs", &args);
        image
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What the tool did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }
}

fn done(output: Output) -> Done {
    let done = Done {
        status: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(!done.err.contains("panicked"), "{}", done.err);
    done
}

pub(crate) fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(RUMP);
    command.args(args).env("TZ", "UTC").env_remove("COLUMNS");
    command
}

/// The tool with these arguments, which every signal ends: whoever runs the tests in the background has them inherit an ignored SIGINT.
pub(crate) fn interruptible<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(RUMP).args(args);
    command.env("TZ", "UTC").env_remove("COLUMNS");
    command
}

/// Runs the tool.
pub(crate) fn rump<S: AsRef<OsStr>>(args: &[S]) -> Done {
    done(command(args).stdin(Stdio::null()).output().unwrap())
}

/// Runs the tool with something on its standard input.
pub(crate) fn rump_with<S: AsRef<OsStr>>(args: &[S], input: &[u8]) -> Done {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    done(output)
}

/// Runs the tool, which must succeed without a word on standard error; gives what it printed.
#[track_caller]
pub(crate) fn good<S: AsRef<OsStr> + std::fmt::Debug>(args: &[S]) -> String {
    let done = rump(args);
    assert_eq!((done.status, &done.err[..]), (0, ""), "{args:?}");
    done.text()
}

/// Runs the tool, which must fail with that status and say so in one line with these words.
#[track_caller]
pub(crate) fn fails<S: AsRef<OsStr> + std::fmt::Debug>(args: &[S], status: i32, words: &[&str]) {
    let done = rump(args);
    assert_eq!(done.status, status, "{args:?}: {done:?}");
    for word in words {
        assert!(done.err.contains(word), "{args:?}: {word}: {}", done.err);
    }
}

/// Runs a native tool, which must be there and succeed; gives what it printed.
#[track_caller]
pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(args)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .output()
        .unwrap_or_else(|error| panic!("{program}, which this test needs: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {text}{errors}"
    );
    text
}

/// The image has no fault.
#[track_caller]
pub(crate) fn check(image: &str) {
    tool("e2fsck", &["-fn", image]);
}

/// `IMAGE:path`.
pub(crate) fn at(image: &str, path: &str) -> String {
    format!("{image}:{path}")
}

/// A specification of a tree of an image, without its root's line and the link counts of directories.
#[track_caller]
pub(crate) fn spec(address: &str) -> Vec<String> {
    let text = good(&["mtree", address]);
    text.lines()
        .filter(|line| !line.starts_with("#mtree") && !line.starts_with(". "))
        .filter(|line| !line.starts_with("./lost+found "))
        .map(str::to_owned)
        .collect()
}

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    rumpuser::Rng::new(1).bytes(len)
}

/// A tree with something of everything that needs no privileges.
pub(crate) fn sample(scratch: &Scratch) -> PathBuf {
    sample_at(scratch, 0)
}

/// The same, with times that many nanoseconds after a second.
pub(crate) fn sample_at(scratch: &Scratch, nanoseconds: usize) -> PathBuf {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let root = scratch.path("src");
    fs::create_dir_all(&root).unwrap();
    scratch.write("src/hello.txt", "hello, world\n");
    scratch.write("src/empty", "");
    scratch.write("src/.hidden", "dot\n");
    scratch.write("src/dir/sub/deep.c", "int main(void) { return 0; }\n");
    scratch.write("src/dir/big.bin", noise(3_000_000));
    scratch.write("src/dir/with space", "x");
    scratch.write("src/dir/esc\u{1b}[31m\nname", "y");
    scratch.write("src/日本/é", "z");
    fs::create_dir_all(root.join("none")).unwrap();
    fs::hard_link(root.join("hello.txt"), root.join("dir/again")).unwrap();
    symlink("hello.txt", root.join("link")).unwrap();
    symlink("/dir", root.join("absolute")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(5_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 2_500_000).unwrap();
    let mode = |name: &str, mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(root.join(name), permissions).unwrap();
    };
    mode("hello.txt", 0o640);
    mode("dir/sub/deep.c", 0o4755);
    mode("none", 0o1777);
    tool("mkfifo", &[root.join("pipe").to_str().unwrap()]);
    // Times in the past, for directories after what is in them.
    let all = tool("find", &[root.to_str().unwrap(), "-depth", "-print0"]);
    for (number, path) in all.split_terminator('\0').enumerate() {
        let time = format!(
            "@{}.{:09}",
            1_000_000_000 + number * 1_000_003,
            nanoseconds + number.min(nanoseconds)
        );
        tool("touch", &["-h", "-d", &time, path]);
    }
    tool(
        "touch",
        &[
            "-d",
            &format!("@1000000000.{nanoseconds:09}"),
            root.join("hello.txt").to_str().unwrap(),
        ],
    );
    root
}

/// Copies the tool to where anybody may run it. By another process: a file that this one has open for writing could be held
/// by a program that another test has just forked, and then not be run.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn copy_of_rump(to: &std::path::Path) {
    let done = Command::new("cp").arg(RUMP).arg(to).status();
    assert!(done.expect("cp is needed").success());
}
