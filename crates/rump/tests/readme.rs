//! The commands of the project's README do what it says.

mod common;

use common::{
    RUMP, Scratch, check, good,
    mounted::{need_fuse, root, wait_for_release},
    tool,
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const README: &str = include_str!("../../../README.md");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// How the README runs the tool where it is not installed.
const FROM_SOURCE: &str = "cargo run --release -p rump -- ";

/// What stands between fences of this kind.
fn blocks(kind: &str) -> Vec<&'static str> {
    let fence = format!("```{kind}\n");
    let parts = README.split(&fence).skip(1);
    parts.filter_map(|part| part.split("```").next()).collect()
}

/// Commands of blocks for sh, without what is said of them.
fn commands(word: &str) -> Vec<&'static str> {
    let lines = blocks("sh").into_iter().flat_map(str::lines);
    let bare = lines.map(|line| line.split(" # ").next().unwrap().trim());
    bare.filter(|line| line.contains(word)).collect()
}

/// A folder with `disk.img`, the volume of the README's first command, and the tool as `rump`.
struct Place(Scratch);

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("bin")).unwrap();
        symlink(RUMP, scratch.path("bin/rump")).unwrap();
        let disk = scratch.path("disk.img");
        fs::copy(Path::new(ROOT).join("fixtures/hello.img"), disk).unwrap();
        Self(scratch)
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(&self.0.0);
        command.env("PATH", format!("{}:{path}", self.0.text("bin")));
        command.env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    /// Runs a command, which must succeed without a word on standard error; gives what it prints.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        let output = self.shell(line).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && errors.is_empty(),
            "{line}: {errors}"
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn what_it_shows_is_what_is_printed() {
    let mut shown = 0;
    for example in blocks("console")
        .into_iter()
        .flat_map(|b| b.split("$ ").skip(1))
    {
        let (line, expected) = example.split_once('\n').unwrap();
        let Some(words) = line.strip_prefix(FROM_SOURCE) else {
            continue;
        };
        let mut command = common::command(&words.split(' ').collect::<Vec<_>>());
        let output = command.current_dir(ROOT).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{line}");
        // It may leave the rest out.
        match expected.split_once("...\n") {
            Some((start, rest)) => {
                assert_eq!(rest, "", "{line}");
                assert!(printed.starts_with(start), "{line}: {printed}");
            }
            None => assert_eq!(printed.trim_end(), expected.trim_end(), "{line}"),
        }
        shown += 1;
    }
    assert_eq!(shown, 2);
}

#[test]
fn its_commands_work_on_an_image() {
    need_fuse();
    let place = Place::new();
    let tree = place.0.text("tree");
    place.0.write("tree/opt/file", "text");
    place.0.write("config/setting", "value");
    let (archive, owner) = (place.0.text("root.tar"), "--owner=12");
    tool("tar", &["-cf", &archive, owner, "-C", &tree, "opt"]);
    let mut done = Vec::new();
    for line in commands("disk.img") {
        let name = line.split(' ').nth(1).unwrap();
        let printed = match name {
            "ls" => in_a_partition(&place, line),
            "mount" => mounted(&place, line),
            _ => place.run(line),
        };
        match name {
            "info" => assert!(printed.contains("ext4"), "{printed}"),
            "ls" => assert!(printed.contains("hostname"), "{printed}"),
            "tar" => assert!(printed.contains("bin/hello"), "{printed}"),
            "mount" => assert!(printed.contains("lost+found"), "{printed}"),
            _ => assert_eq!(printed, "", "{line}"),
        }
        done.push(name);
    }
    let all = [
        "info", "ls", "tar", "untar", "cp", "mtree", "verify", "shell", "mount",
    ];
    assert_eq!(done, all);
    let disk = place.0.text("disk.img");
    assert_eq!(
        good(&["cat", &format!("{disk}:/etc/config/setting")]),
        "value"
    );
    let listed = good(&["ls", "-n", &format!("{disk}:/opt")]);
    assert!(listed.contains(" 12 "), "{listed}");
    check(&disk);
}

/// Runs a command on a disk whose first partition the volume is.
fn in_a_partition(place: &Place, line: &str) -> String {
    let disk = "mv disk.img volume; truncate -s 6M disk.img; echo start=2048,type=83 | /sbin/sfdisk -q disk.img; \
        dd if=volume of=disk.img bs=1M seek=1 conv=notrunc status=none";
    place.run(disk);
    let printed = place.run(line);
    place.run("mv volume disk.img");
    printed
}

/// Mounts in a name space of its own, so that nothing of the machine's is covered.
fn mounted(place: &Place, line: &str) -> String {
    let apart = if root() { "-m" } else { "-rm" };
    let script = format!("exec unshare {apart} sh -euc '{line}; ls /mnt; umount /mnt'");
    let listed = place.run(&script);
    wait_for_release(&place.0.path("disk.img"));
    listed
}

#[test]
fn two_programs_talk_over_a_bus() {
    let place = Place::new();
    let bus = place.0.text("bus");
    let lines: Vec<String> = commands("shmif:/tmp/bus")
        .iter()
        .map(|line| line.replace("/tmp/bus", &bus))
        .collect();
    let [server, client] = &lines[..] else {
        panic!("{lines:?}");
    };
    let mut server = place.shell(&format!("exec {server}"));
    let server = server.stdout(Stdio::piped()).spawn().unwrap();
    // It is refused until the first one listens.
    let start = Instant::now();
    let quiet = format!("{{ {client}; }} 2>/dev/null");
    while !place.shell(&quiet).status().unwrap().success() {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = server.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"hello\n");
}
