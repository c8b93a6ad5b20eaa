//! The prompt, completions and manual pages.

mod common;

use common::{RUMP, Scratch, at, check, good, rump, rump_with, sample};
use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

#[test]
fn commands_from_standard_input() {
    let scratch = Scratch::new();
    let tree = sample(&scratch);
    let image = scratch.image("a.img", 16, Some(&tree));
    let out = scratch.text("out");
    fs::create_dir(&out).unwrap();
    let script = format!(
        "# a comment\npwd\ncd dir/sub\npwd\nls\ncd ..\ncat '../hello.txt'\ncd /absolute\npwd\nls [ab]*\n\
         mkdir -p \"new dir/x\"\nput /etc/hostname new\\ dir/\nls 'new dir'\nlcd {out}\nget big.bin .\nlpwd\n\
         mv big.bin \"new dir\"\ncd '/dir/new dir'\nls\nexit\nls /nonsense\n"
    );
    let done = rump_with(&["shell", &image], script.as_bytes());
    let expected = format!(
        "/\n/dir/sub\ndeep.c\nhello, world\n/dir\nagain\nbig.bin\nhostname\nx\n{out}\nbig.bin\nhostname\nx\n"
    );
    // Paths as the prompt knows them.
    let text = done
        .text()
        .replace("/dir/again", "again")
        .replace("/dir/big.bin", "big.bin");
    assert_eq!((done.status, &done.err[..]), (0, ""));
    assert_eq!(text, expected);
    assert!(fs::read(format!("{out}/big.bin")).unwrap() == common::noise(3_000_000));
    check(&image);
    assert_eq!(
        good(&["ls", &at(&image, "/dir/new dir")]),
        "big.bin\nhostname\nx\n"
    );
}

#[test]
fn failures_at_the_prompt() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let before = fs::read(&image).unwrap();
    let done = rump_with(
        &["shell", "-r", &image],
        b"ls\ncat /no\nfrobnicate\nls 'open\nmkdir /x\ncd /no\nshell y\nls -t ext4\nls\n",
    );
    assert_eq!(done.status, 1);
    assert_eq!(done.text(), "lost+found\nlost+found\n");
    for word in ["/no: No such file", "frobnicate", "not closed", "read-only"] {
        assert!(done.err.contains(word), "{word}: {}", done.err);
    }
    // Nothing was to be changed, so nothing was.
    assert!(fs::read(&image).unwrap() == before);
    let ended = rump_with(&["shell", "-e", &image], b"cat /no\nls\n");
    assert_eq!((ended.status, &ended.text()[..]), (1, ""));
    assert_eq!(rump_with(&["shell", &image], b"ls\n").status, 0);
    assert!(fs::read(&image).unwrap() == before);
    assert_eq!(rump(&["shell", "nosuch.img"]).status, 1);
}

#[test]
fn completions_are_valid() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = good(&["completions", shell]);
        assert!(text.contains("untar"), "{shell}");
        if shell == "bash" {
            let file = scratch.write("rump.bash", &text);
            common::tool("bash", &["-n", file.to_str().unwrap()]);
        }
    }
    assert_eq!(rump(&["completions", "frob"]).status, 2);
}

#[test]
fn manual_pages_are_those_of_the_tool() {
    let scratch = Scratch::new();
    let made = scratch.text("man");
    good(&["man", "--dir", &made]);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man");
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let again = "made anew by: rump man --dir docs/man";
    assert_eq!(names(Path::new(&made)), names(&kept), "{again}");
    for name in names(&kept) {
        let read = |dir: &Path| fs::read_to_string(dir.join(&name)).unwrap();
        assert_eq!(read(Path::new(&made)), read(&kept), "{name:?}: {again}");
    }
    assert!(good(&["man", "ls"]).contains(".TH rump-ls 1"));
}

#[test]
fn every_command_has_help() {
    let help = good(&["--help"]);
    for command in [
        "ls",
        "cat",
        "stat",
        "find",
        "tree",
        "du",
        "df",
        "info",
        "cp",
        "get",
        "put",
        "mkdir",
        "rm",
        "mv",
        "ln",
        "chmod",
        "chown",
        "touch",
        "truncate",
        "tar",
        "untar",
        "mtree",
        "verify",
        "shell",
        "completions",
        "man",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        assert!(
            good(&[command, "--help"]).contains("Usage: rump"),
            "{command}"
        );
    }
    let version = good(&["--version"]);
    assert!(version.starts_with("rump "), "{version}");
    assert!(Path::new(RUMP).is_file());
}

/// A shell on a terminal, by script(1).
struct Terminal {
    script: Child,
    said: Vec<u8>,
}

impl Terminal {
    fn new(term: &str, words: &str) -> Self {
        let script = Command::new("script")
            .env("TERM", term)
            .env("XDG_STATE_HOME", "/dev/null")
            .args([
                "-qec",
                // By the shell itself, which would die of the interrupt too.
                &format!("exec env --default-signal {RUMP} {words}"),
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            script,
            said: Vec::new(),
        }
    }

    /// Waits for the prompt, and gives what came before it.
    fn until_prompt(&mut self) -> String {
        let mut byte = [0];
        while !self.said.ends_with(b"> ") {
            let read = self
                .script
                .stdout
                .as_mut()
                .unwrap()
                .read(&mut byte)
                .unwrap();
            assert_eq!(read, 1, "{}", String::from_utf8_lossy(&self.said));
            self.said.push(byte[0]);
        }
        String::from_utf8(std::mem::take(&mut self.said)).unwrap()
    }

    fn types(&mut self, keys: &[u8]) {
        let input = self.script.stdin.as_mut().unwrap();
        input.write_all(keys).unwrap();
        input.flush().unwrap();
    }
}

/// ^C drops the line or ends the command, as in other shells, and what the command began is not there.
#[test]
fn an_interrupt_does_not_end_the_prompt() {
    // Without line editing, and with it.
    interrupt("dumb");
    interrupt("xterm");
}

fn interrupt(term: &str) {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let mut terminal = Terminal::new(term, &format!("shell {image}"));
    terminal.until_prompt();
    // The first comes while the prompt is being written, if it can.
    for typed in [&b""[..], b"rm -r /lost", b""].repeat(10) {
        terminal.types(typed);
        terminal.types(b"\x03");
        let dropped = terminal.until_prompt();
        assert!(dropped.contains('\n'), "{dropped:?}");
    }
    terminal.types(b"ls\n");
    let listed = terminal.until_prompt();
    assert!(listed.contains("\nlost+found\r\n"), "{listed:?}");
    // What it reads does not come.
    terminal.types(b"put - /new\n");
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.types(b"\x03");
    terminal.until_prompt();
    terminal.types(b"mkdir /made\n");
    terminal.until_prompt();
    terminal.types(b"ls\n");
    let listed = terminal.until_prompt();
    assert!(
        listed.contains("\nlost+found  made\r\n") || listed.contains("\nlost+found\r\nmade\r\n"),
        "{listed:?}"
    );
    terminal.types(b"exit\n");
    assert_eq!(terminal.script.wait().unwrap().code(), Some(1));
    check(&image);
}

/// Backslashes and spaces, as sh has them.
#[test]
fn words_are_quoted_as_in_sh() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let script = b"mkdir end\\ \r\nmkdir \"a\\b\\\\c\\\"d\"\nmkdir '\\' \\'x\n";
    let done = rump_with(&["shell", &image], script);
    assert_eq!((done.status, &done.err[..]), (0, ""));
    let names = rump(&["find", &at(&image, "/"), "-mindepth", "1", "-printf", "%f|"]).text();
    let mut names: Vec<_> = names.split('|').collect();
    names.sort_unstable();
    assert_eq!(names, ["", "'x", "\\", "a\\b\\c\"d", "end ", "lost+found"]);
}
