//! A host without room and a device that fails: exit status 1, a message that names what, and nothing that looks whole.

mod common;

use common::{
    Done, RUMP, Scratch, at, check, command, fails, good, interruptible, noise, rump, tool,
};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    process::{Command, Stdio},
};

/// Bytes of the file that does not fit.
const LEN: usize = 3_000_000;

/// Runs the tool where no file may grow past 1 MiB.
fn limited(args: &[&str], stdin: Option<&str>) -> Done {
    let stdin = stdin.map_or(Stdio::null(), |path| File::open(path).unwrap().into());
    let output = Command::new("bash")
        .args(["-c", "ulimit -f 1024; exec \"$@\"", "bash", RUMP])
        .args(args)
        .stdin(stdin)
        .output()
        .unwrap();
    Done {
        status: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn prepared() -> (Scratch, String) {
    let scratch = Scratch::new();
    let big = scratch.write("big", noise(LEN));
    let image = scratch.image("full.img", 16, None);
    good(&["put", big.to_str().unwrap(), &at(&image, "/big")]);
    (scratch, image)
}

#[test]
fn a_full_device_is_written_into_and_says_so() {
    let (scratch, image) = prepared();
    // By another name, so that nothing happens to the device itself.
    let full = scratch.text("full");
    symlink("/dev/full", &full).unwrap();
    let words = ["full: No space left on device"];
    fails(&["get", &at(&image, "/big"), &full], 1, &words);
    fails(&["tar", "-f", &full, &at(&image, "/")], 1, &words);
    assert!(fs::symlink_metadata(&full).unwrap().is_symlink());
    let (big, root) = (&at(&image, "/big"), &at(&image, "/"));
    let spec = scratch.write("spec", ". type=file\n");
    for args in [
        &["cat", big][..],
        &["get", big, "-"],
        &["tar", root],
        &["ls", root],
        &["ls", "-l", root],
        &["ls", "--json", root],
        &["stat", root],
        &["stat", "-c", "%n", root],
        &["stat", "--json", root],
        &["find", root],
        &["find", root, "-printf", "x"],
        &["find", "--json", root],
        &["tree", root],
        &["tree", "--json", root],
        &["du", root],
        &["df", &image],
        &["info", &image],
        &["info", "--json", &image],
        &["mtree", root],
        &["verify", root, spec.to_str().unwrap()],
        &["mkdir", "-v", &at(&image, "/made")],
        &["completions", "fish"],
        &["completions", "bash", &format!("--word={root}")],
        &["man", "ls"],
        &["help", "ls"],
        &["--version"],
    ] {
        let stdout = File::options().write(true).open("/dev/full").unwrap();
        let output = command(args).stdout(stdout).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(
            text.contains("standard output: No space left on device"),
            "{text}"
        );
    }
}

/// `<&-` and `>&-`: what cannot be written or read is a failure, and what needs neither is done. With cat, cp and tar it is so.
#[test]
fn streams_that_are_closed() {
    let (scratch, image) = prepared();
    let run = |redirection: &str, words: &[&str]| {
        let script = format!("exec \"$@\" {redirection}");
        let output = Command::new("bash")
            .args(["-c", &script, "bash", RUMP])
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (root, big, out) = (at(&image, "/"), at(&image, "/big"), scratch.text("out"));
    for words in [
        &["ls", &root][..],
        &["ls", "-l", &root],
        &["cat", &big],
        &["get", &big, "-"],
        &["stat", &big],
        &["find", &root],
        &["tree", &root],
        &["du", &root],
        &["df", &image],
        &["info", "--json", &image],
        &["tar", &root],
        &["mtree", &root],
        &["mkdir", "-v", &at(&image, "/made")],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
        &["ls", "--help"],
    ] {
        let expected = "rump: standard output: Bad file descriptor\n".to_owned();
        assert_eq!(run(">&-", words), (Some(1), expected), "{words:?}");
    }
    for words in [
        &["get", &big, &out][..],
        &["mkdir", &at(&image, "/quiet")],
        &["tar", "-f", &scratch.text("tar"), &root],
    ] {
        assert_eq!(run(">&-", words), (Some(0), String::new()), "{words:?}");
    }
    let new = at(&image, "/new");
    for words in [
        &["put", "-", &new][..],
        &["cp", "-", &new],
        &["untar", &root],
        &["verify", &root, "-"],
    ] {
        let expected = "rump: standard input: Bad file descriptor\n".to_owned();
        assert_eq!(run("<&-", words), (Some(1), expected), "{words:?}");
    }
    fails(&["stat", &new], 1, &["No such file"]);
    assert_eq!(run("<&-", &["rm", &big]), (Some(0), String::new()));
    check(&image);
}

/// A sparse image that its own file system has no room for: what is there stays, and the journal has it right.
#[test]
fn an_image_that_cannot_grow() {
    let scratch = Scratch::new();
    let big = scratch.write("big", noise(LEN));
    let image = scratch.image_as("a.img", 64, None, &["-t", "ext4", "-J", "size=4"]);
    let size = fs::metadata(&image).unwrap().len();
    good(&["mkdir", &at(&image, "/kept")]);
    // No part of the file behind its first megabytes can be written.
    let done = limited(&["put", big.to_str().unwrap(), &at(&image, "/new")], None);
    assert_eq!(done.status, 1, "{done:?}");
    let first = done.err.lines().next().unwrap_or_default();
    assert!(first.contains("a.img"), "{done:?}");
    assert!(!done.err.contains(":unmounting"), "{done:?}");
    assert_eq!(fs::metadata(&image).unwrap().len(), size);
    assert_eq!(good(&["ls", &at(&image, "/")]), "kept\nlost+found\n");
    tool("e2fsck", &["-fy", "-E", "journal_only", &image]);
    check(&image);
}

/// A volume with multiple mount protection that was not unmounted: why nothing happens is said, and a signal ends it.
#[test]
fn a_wait_for_another_mount_is_said_and_can_be_ended() {
    let scratch = Scratch::new();
    let image = scratch.image_as("a.img", 16, None, &["-t", "ext4", "-O", "mmp"]);
    // Whoever has it mounted is killed.
    let mut shell = command(&["shell", &image])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = shell.stdin.as_mut().unwrap();
    input.write_all(b"mkdir -v /made\n").unwrap();
    let mut said = [0];
    let read = shell.stdout.as_mut().unwrap().read(&mut said).unwrap();
    assert_eq!(read, 1);
    shell.kill().unwrap();
    shell.wait().unwrap();
    let before = fs::read(&image).unwrap();
    let mut child = interruptible(&["touch", &at(&image, "/f")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut line).unwrap();
    assert!(
        line.contains("mounted by host") && line.contains("waiting 21 seconds"),
        "{line}"
    );
    tool("kill", &["-INT", &child.id().to_string()]);
    let ended = child.wait().unwrap();
    assert_eq!(ended.signal(), Some(libc::SIGINT), "{ended:?}");
    assert!(fs::read(&image).unwrap() == before);
}

/// Who says what he does to somebody who does not listen stops and says that, and what he has done is whole.
#[test]
fn nobody_hears_what_is_done() {
    let (_scratch, image) = prepared();
    let commands: [&[&str]; 6] = [
        &["mkdir", "-vp", "IMAGE:/a/b"],
        &["ln", "-sv", "/big", "IMAGE:/link"],
        &["chmod", "-Rv", "700", "IMAGE:/"],
        &["chown", "-v", "7", "IMAGE:/big"],
        &["mv", "-v", "IMAGE:/big", "IMAGE:/moved"],
        &["rm", "-rv", "IMAGE:/moved"],
    ];
    for words in commands {
        let words: Vec<String> = words.iter().map(|w| w.replace("IMAGE", &image)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&words).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "rump: standard output: Broken pipe\n", "{words:?}");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        check(&image);
    }
    let listed = good(&["ls", "-l", &at(&image, "/")]);
    assert!(
        listed.contains("link -> /big") && !listed.contains("moved"),
        "{listed}"
    );
}

#[test]
fn a_host_without_room_gets_no_part_of_a_file() {
    let (scratch, image) = prepared();
    let (out, archive) = (scratch.text("out"), scratch.text("out.tar"));
    let before = fs::read_dir(&scratch.0).unwrap().count();
    for (args, name) in [
        (vec!["get", "IMAGE:/big", &out], "out"),
        (vec!["cp", "IMAGE:/big", &out], "out"),
        (vec!["tar", "-f", &archive, "IMAGE:/"], "out.tar"),
    ] {
        let args: Vec<String> = args.iter().map(|a| a.replace("IMAGE", &image)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let done = limited(&args, None);
        assert_eq!(done.status, 1, "{args:?}: {done:?}");
        let said = done.err.contains(&format!("{name}: File too large"));
        assert!(said, "{args:?}: {done:?}");
        let after = fs::read_dir(&scratch.0).unwrap().count();
        assert_eq!(after, before, "{args:?}");
    }
}

#[test]
fn an_image_that_takes_no_more_is_as_before() {
    let (scratch, source) = prepared();
    let archive = scratch.text("in.tar");
    good(&["tar", "-f", &archive, &at(&source, "/")]);
    let image = scratch.image("a.img", 16, None);
    let (big, from, to) = (scratch.text("big"), at(&source, "/big"), at(&image, "/new"));
    let root = at(&image, "/");
    for (args, stdin) in [
        (vec!["put", &big, &to], None),
        (vec!["cp", &from, &to], None),
        (vec!["untar", &root], Some(archive.as_str())),
    ] {
        let done = limited(&args, stdin);
        assert_eq!(done.status, 1, "{args:?}: {done:?}");
        assert!(done.err.contains("a.img"), "{args:?}: {done:?}");
        assert!(done.err.contains("File too large"), "{args:?}: {done:?}");
        check(&image);
        assert_eq!(rump(&["ls", &root]).text(), "lost+found\n", "{args:?}");
    }
    // Nothing is wrong with it.
    good(&["put", &big, &to]);
    assert!(rump(&["cat", &to]).out == fs::read(&big).unwrap());
    check(&image);
}

/// Somebody cuts off an image while it is read, and while it is written: no file of it is taken for whole, and the image does not grow again.
#[test]
fn an_image_that_becomes_shorter() {
    let (scratch, image) = prepared();
    let cut = |len| {
        File::options()
            .write(true)
            .open(&image)
            .unwrap()
            .set_len(len)
    };
    // The shell has the image open, and reads the file only when it is told to.
    let told = |commands: &[&str], len: u64| {
        let mut shell = interruptible(&["shell", &image])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        writeln!(input, "{}\npwd", commands[0]).unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let mut line = String::new();
        while line != "/\n" {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0);
        }
        cut(len).unwrap();
        writeln!(input, "{}", commands[1]).unwrap();
        drop(input);
        std::io::copy(&mut output, &mut std::io::sink()).unwrap();
        let done = shell.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(1));
        String::from_utf8(done.stderr).unwrap()
    };
    let whole = fs::read(&image).unwrap();
    let len = whole.len();
    let why = |now: usize| format!("the image was {len} bytes long, and is {now} now");
    let said = told(&["ls", "cat big"], 1 << 20);
    assert!(said.contains(&why(1 << 20)), "{said}");
    assert!(said.contains("/big: Input/output error"), "{said}");
    fs::write(&image, &whole).unwrap();
    let new = scratch.write("new", noise(1 << 20));
    let said = told(
        &["mkdir x", &format!("put {} x", new.to_str().unwrap())],
        1 << 19,
    );
    assert!(said.contains(&why(1 << 19)), "{said}");
    // The prompt has named it all the time.
    assert!(
        said.lines()
            .all(|line| line.starts_with(&format!("rump: {image}:"))),
        "{said}"
    );
    assert_eq!(fs::metadata(&image).unwrap().len(), 1 << 19);
}
