//! The prompt on a terminal: tmux is the terminal, and says what somebody would see.

mod common;

use common::{RUMP, Scratch, check, good};
use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// How long something may take that is to be seen in the end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A terminal of 60 columns and 20 rows with a sh in it, which has job control.
struct Terminal(PathBuf);

impl Terminal {
    fn new(scratch: &Scratch) -> Self {
        Self::with(scratch, "sh -i")
    }

    /// With another shell, in the scratch folder, which has the tool first in its path.
    fn with(scratch: &Scratch, shell: &str) -> Self {
        let terminal = Self(scratch.path("tmux"));
        let tools = std::path::Path::new(RUMP).parent().unwrap();
        let set = format!(
            "cd {}; export PS1='$ ' LC_ALL=C.UTF-8 TERM=screen XDG_STATE_HOME={} PATH={}:$PATH; exec {shell}",
            scratch.text(""),
            scratch.text("state"),
            tools.to_str().unwrap(),
        );
        let size = ["-x", "60", "-y", "20"];
        let new = ["-f", "/dev/null", "new-session", "-d"];
        terminal.tmux(&[&new[..], &size, &[&set]].concat());
        terminal.wait("a prompt", |rows| !rows.is_empty());
        terminal
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        let done = tmux.arg("-S").arg(&self.0).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{args:?}: {said}");
        done
    }

    /// Presses keys, by tmux's names for them or as text.
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// The rows that have something on them, without spaces at their ends.
    fn rows(&self) -> Vec<String> {
        let seen = self.tmux(&["capture-pane", "-p"]).stdout;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        let rows = seen.lines().map(|row| row.trim_end().to_owned());
        rows.filter(|row| !row.is_empty()).collect()
    }

    /// Waits until the last rows are these.
    fn shows(&self, last: &str) {
        let wanted: Vec<_> = last.lines().map(str::to_owned).collect();
        self.wait(last, |rows| rows.ends_with(&wanted));
    }

    fn wait(&self, what: &str, seen: impl Fn(&[String]) -> bool) {
        let start = Instant::now();
        while !seen(&self.rows()) {
            let rows = self.rows();
            assert!(start.elapsed() < PATIENCE, "{what:?} is not in {rows:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the prompt on an image, from the prompt of a sh: what is typed before that is there would be shown before it.
    fn shell(&self, image: &str) {
        self.shows("$");
        self.types(&format!("{RUMP} shell {image}"));
        self.keys(&["Enter"]);
        self.shows("rump:/>");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let tmux = Command::new("tmux")
            .arg("-S")
            .arg(&self.0)
            .arg("kill-server")
            .output();
        drop(tmux);
    }
}

/// A tree with names that are hard to type.
fn hard(scratch: &Scratch) -> PathBuf {
    for name in [
        "tree/dir/alpha",
        "tree/dir/alphabet",
        "tree/dir/sub/x",
        "tree/two words/it's",
        "tree/two words/so \"so\"",
        "tree/new\nline",
        "tree/\u{1b}[31mred",
        "tree/日本語",
        "tree/co:lon=$(id)",
    ] {
        scratch.write(name, name);
    }
    let odd = scratch
        .path("tree")
        .join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    fs::write(odd, "odd").unwrap();
    scratch.path("tree")
}

#[test]
fn words_are_completed() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, Some(&hard(&scratch)));
    fs::create_dir(scratch.path("host dir")).unwrap();
    scratch.write("host dir/from host", "from the host");
    let terminal = Terminal::new(&scratch);
    terminal.types(&format!("cd {}; clear; echo there", scratch.text("")));
    terminal.keys(&["Enter"]);
    terminal.shows("there\n$");
    terminal.shell(&image);
    let line = |typed: &str, tabs: usize, seen: &str| {
        terminal.keys(&["C-u"]);
        terminal.types(typed);
        terminal.keys(&vec!["Tab"; tabs]);
        terminal.shows(seen);
    };
    // Commands, options, directories; the rest of a name that several begin with, and then all of them.
    line("tru", 1, "rump:/> truncate");
    line(
        "cat -",
        1,
        "--fs-type          --kernel-messages  -o\n--help             --mount-option     -t\nrump:/> cat -",
    );
    line("mkdir --par", 1, "rump:/> mkdir --parents");
    line("ls di", 1, "rump:/> ls dir/");
    line("ls /dir/a", 1, "rump:/> ls /dir/alpha");
    line("ls /dir/a", 2, "alpha     alphabet\nrump:/> ls /dir/alpha");
    line("cd /dir/", 1, "rump:/> cd /dir/sub/");
    // What is special is quoted, in the way that was begun.
    line("cat tw", 1, "rump:/> cat two\\ words/");
    line("cat 'tw", 1, "rump:/> cat 'two words/");
    line(
        "cat \"two words/s",
        1,
        "rump:/> cat \"two words/so \\\"so\\\"\"",
    );
    line("cat 'two words/i", 1, "rump:/> cat 'two words/it'\\''s'");
    // The host's, where they are asked for.
    line("lcd h", 1, "rump:/> lcd host\\ dir/");
    line("put ho", 1, "rump:/> put host\\ dir/");
    line("nonsense di", 1, "rump:/> nonsense di");
    // Names that cannot be shown as they are reach the image as they are.
    terminal.keys(&["C-u", "C-l"]);
    for (typed, seen, text) in [
        ("cat n", "cat $'new\\012line'", "tree/new\nline"),
        ("cat o", "cat $'odd\\377'", "odd"),
        ("cat 日", "cat 日本語", "tree/日本語"),
        ("cat $'\\e", "cat $'\\033[31mred'", "tree/?[31mred"),
    ] {
        terminal.types(typed);
        terminal.keys(&["Tab"]);
        terminal.shows(&format!("rump:/> {seen}"));
        terminal.keys(&["Enter"]);
        if !text.contains('?') {
            terminal.shows(&format!("rump:/> {seen}\n{text}rump:/>"));
        }
        terminal.keys(&["C-l"]);
        terminal.shows("rump:/>");
    }
    terminal.keys(&["C-d"]);
    terminal.shows("$");
}

#[test]
fn lines_are_edited_and_remembered() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let terminal = Terminal::new(&scratch);
    terminal.shell(&image);
    // Inserted at the start, in the middle, and deleted again.
    terminal.types("kdir -p b");
    terminal.keys(&["Home"]);
    terminal.types("m");
    terminal.keys(&["M-f", "M-f", "Right"]);
    terminal.types("/日x");
    terminal.keys(&["BSpace", "End"]);
    terminal.types(" wrong");
    terminal.keys(&["C-w", "C-h"]);
    terminal.shows("rump:/> mkdir -p /日b");
    terminal.keys(&["Enter"]);
    terminal.shows("rump:/>");
    // A line of three rows, narrowed and widened.
    let long = "x".repeat(100);
    terminal.types(&format!("stat /{long}"));
    let (first, second) = long.split_at(60 - "rump:/> stat /".len());
    terminal.shows(&format!("rump:/> stat /{first}\n{second}"));
    terminal.keys(&["C-a"]);
    terminal.types("y");
    let (first, second) = long.split_at(60 - "rump:/> ystat /".len());
    terminal.shows(&format!("rump:/> ystat /{first}\n{second}"));
    terminal.keys(&["C-k", "C-u"]);
    terminal.shows("rump:/>");
    terminal.tmux(&["resize-window", "-x", "30"]);
    terminal.types("ls /日b/zzzzzzzzzzzz");
    terminal.keys(&["C-w"]);
    terminal.shows("rump:/> ls /日b/");
    terminal.keys(&["Enter"]);
    terminal.keys(&["Up", "Up"]);
    terminal.shows("rump:/> mkdir -p /日b");
    terminal.keys(&["Down"]);
    terminal.shows("rump:/> ls /日b/");
    terminal.keys(&["Down", "C-r"]);
    terminal.types("mkd");
    terminal.shows("(history) mkd: mkdir -p /日b");
    terminal.keys(&["C-g"]);
    terminal.shows("rump:/>");
    terminal.types(" pwd");
    terminal.keys(&["Enter"]);
    terminal.types("exit");
    terminal.keys(&["Enter"]);
    terminal.shows("$");
    // The next session knows them, but for the one with a space before it; nobody else does.
    let kept = scratch.path("state/rump/history");
    let text = fs::read_to_string(&kept).unwrap();
    assert_eq!(text, "mkdir -p /日b\nls /日b/\nexit\n");
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    terminal.shell(&image);
    terminal.keys(&["Up", "Up", "Up"]);
    terminal.shows("rump:/> mkdir -p /日b");
    terminal.keys(&["C-c"]);
    check(&image);
    assert_eq!(good(&["ls", &format!("{image}:/")]), "lost+found\n日b\n");
}

/// The terminal is as it was whenever something else has it.
#[test]
fn the_terminal_is_given_back() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let terminal = Terminal::new(&scratch);
    let is_as_before = || {
        terminal.types("clear; stty -a | grep -o '[-]*icanon\\|[-]*echo '");
        terminal.keys(&["Enter"]);
        terminal.shows("icanon\necho\n$");
    };
    terminal.shell(&image);
    terminal.types("pw");
    terminal.keys(&["C-z"]);
    terminal.wait("stopped", |rows| {
        rows.iter().any(|row| row.contains("Stopped"))
    });
    is_as_before();
    // What was typed is there, and goes on.
    terminal.types("fg");
    terminal.keys(&["Enter"]);
    terminal.shows("rump:/> pw");
    terminal.types("d");
    terminal.keys(&["Enter"]);
    terminal.shows("rump:/> pwd\n/\nrump:/>");
    // A signal from elsewhere; the shell's status is that of one that was ended by it.
    for (signal, status) in [("TERM", "143"), ("INT", "")] {
        let pid = Command::new("pgrep")
            .args(["-nf", &format!("^{RUMP} shell {image}")])
            .output();
        let pid = String::from_utf8(pid.unwrap().stdout).unwrap();
        common::tool("kill", &[&format!("-{signal}"), pid.trim()]);
        if status.is_empty() {
            terminal.shows("rump:/> dropped\nrump:/>");
            break;
        }
        terminal.shows("$");
        is_as_before();
        terminal.types("fg; clear; echo none");
        terminal.keys(&["Enter"]);
        terminal.shows("none\n$");
        terminal.shell(&image);
        terminal.types("dropped");
        terminal.shows("rump:/> dropped");
    }
    terminal.keys(&["C-d"]);
    terminal.shows("$");
    is_as_before();
}

/// A text that is pasted is run when Enter is pressed, and not before, whatever is in it; then line by line.
#[test]
fn what_is_pasted_waits_for_enter() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    let terminal = Terminal::new(&scratch);
    terminal.shell(&image);
    terminal.types("mkdir /x");
    terminal.tmux(&["set-buffer", "1\nmkdir /x2\t/x3\n\nmkdir /no\n"]);
    terminal.tmux(&["paste-buffer", "-p"]);
    terminal.shows("rump:/> mkdir /x1\\nmkdir /x2\\t/x3\\n\\nmkdir /no");
    // One row of the terminal, which is a line of it again.
    terminal.keys(&["C-w"]);
    terminal.types("x4");
    terminal.shows("rump:/> mkdir /x1\\nmkdir /x2\\t/x3\\n\\nmkdir /x4");
    terminal.keys(&["Enter"]);
    terminal.shows("rump:/>");
    terminal.types("ls -1");
    terminal.keys(&["Enter"]);
    terminal.shows("rump:/> ls -1\nlost+found\nx1\nx2\nx3\nx4\nrump:/>");
    // They are lines of the history.
    terminal.keys(&["Up", "Up"]);
    terminal.shows("rump:/> mkdir /x4");
    terminal.keys(&["C-u", "C-d"]);
    terminal.shows("$");
    // Nobody else gets the marks of a paste.
    terminal.types("clear; ");
    terminal.tmux(&["set-buffer", "echo pasted"]);
    terminal.tmux(&["paste-buffer", "-p"]);
    terminal.keys(&["Enter"]);
    terminal.shows("pasted\n$");
    check(&image);
}

/// A name that a pattern matches is a file, and no option.
#[test]
fn patterns_give_no_options() {
    let scratch = Scratch::new();
    for name in ["-rf", "--help", "a"] {
        scratch.write(&format!("tree/{name}"), name);
    }
    let image = scratch.image("a.img", 8, Some(&scratch.path("tree")));
    let run = |input: &[u8]| common::rump_with(&["shell", &image], input);
    let done = run(b"cat -* --h* a\nrm -- -*\nls -d *\n");
    assert_eq!((done.status, &*done.err), (0, ""));
    assert_eq!(done.text(), "--help-rf--helpa/a\n/lost+found\n");
}

/// What the tool writes to a terminal, without ends of lines.
fn on_terminal(scratch: &Scratch, words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| format!(" '{word}'"));
    let mut script = Command::new("script")
        .current_dir(scratch.path(""))
        .env("COLUMNS", "200")
        .args(["-qec", &format!("exec {RUMP}{}", words.collect::<String>())])
        .arg("/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Open until the end: it would be told as a key.
    let input = script.stdin.take();
    let said = script.wait_with_output().unwrap().stdout;
    drop(input);
    said.split(|&byte| byte == b'\n')
        .flat_map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        .collect()
}

/// Whatever a name is made of, a terminal obeys none of it.
#[test]
fn names_do_nothing_to_a_terminal() {
    let scratch = Scratch::new();
    let red = "\u{1b}[31mred";
    for name in [
        red,
        "new\nline",
        "del\u{7f}",
        "c1\u{9b}31m",
        "bidi\u{202e}x",
        "-rf",
    ] {
        scratch.write(&format!("tree/dir\u{1b}]0;x\u{7}/{name}"), "text");
    }
    let dir = scratch.path("tree/dir\u{1b}]0;x\u{7}");
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"odd\xff")), "").unwrap();
    std::os::unix::fs::symlink(red, dir.join("link\u{1b}")).unwrap();
    scratch.image("a.img", 8, Some(&scratch.path("tree")));
    let root = "a.img:/";
    let dir = &format!("{root}dir\u{1b}]0;x\u{7}");
    let file = &format!("{dir}/{red}");
    let link = &format!("{dir}/link\u{1b}");
    let option = &format!("--{red}");
    let other = &format!("{red}.img:/");
    let not = &format!("{file}x");
    let all: [&[&str]; 38] = [
        &["ls", dir],
        &["ls", "-lR", root],
        &["ls", "-1", dir],
        &["ls", "--json", dir],
        &["ls", not],
        &["ls", other],
        &["ls", option, root],
        &[option],
        &["find", root],
        &["find", root, "-print0"],
        &["find", root, "-printf", "%p %f %h %P %H %l "],
        &["find", root, "-ls"],
        &["find", "--json", root],
        &["find", root, option],
        &["tree", root],
        &["tree", "--json", root],
        &["du", "-a", root],
        &["du", "--json", "-a", root],
        &["stat", file, link],
        &["stat", "-c", "%n %N %m", file, link],
        &["stat", "--printf", "%n %N", file, link],
        &["stat", "--json", link],
        &["stat", not],
        &["df", other],
        &["info", other],
        &["tar", root],
        &["tar", "-f", red, not],
        &["mtree", root],
        &["verify", root, red],
        &["cat", not],
        &["cp", "-v", file, red],
        &["get", "-rv", dir, red],
        &["mkdir", "-v", &format!("{dir}/new{red}")],
        &["mv", "-v", file, &format!("{dir}/moved{red}")],
        &["rm", "-rv", dir],
        &["chmod", red, root],
        &["net", red],
        &["shell", other],
    ];
    let is_obeyed =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    for words in all {
        let said = on_terminal(&scratch, words);
        let zeros = words.contains(&"-print0");
        let said = String::from_utf8(said).unwrap_or_else(|_| panic!("{words:?}"));
        assert!(!said.is_empty(), "{words:?}");
        // What ends a name with -print0, and what mtree(5) aligns with.
        let is_bad = |c: char| is_obeyed(c) && !(zeros && c == '\0') && c != '\t';
        assert!(!said.contains(is_bad), "{words:?}: {said:?}");
    }
}

/// The words of a line as the shell understands them when it runs it: what it completes has to name the file.
fn completed_by(shell: &str, setup: &str, quoted: &[(&str, &str)]) {
    let scratch = Scratch::new();
    scratch.image("a.img", 8, Some(&hard(&scratch)));
    scratch.write("of the host", "");
    let terminal = Terminal::with(&scratch, shell);
    let run = |line: &str| {
        terminal.types(line);
        terminal.keys(&["Enter"]);
    };
    for line in setup.lines() {
        run(line);
    }
    run("clear; echo set up");
    terminal.shows("set up\n$");
    let line = |typed: &str, seen: &str| {
        terminal.types(typed);
        terminal.keys(&["Tab"]);
        // fish shows what there is to choose from below.
        let seen = format!("$ {seen}");
        terminal.wait(&seen, |rows| rows.contains(&seen));
        terminal.keys(&["C-u"]);
        terminal.shows("$");
    };
    line("rump ls a.img:", "rump ls a.img:/");
    line("rump ls a.img:/di", "rump ls a.img:/dir/");
    line("rump ls a.img:/dir/a", "rump ls a.img:/dir/alpha");
    // Paths of the host, options and commands as before; nothing where there is no image.
    line("rump put of", "rump put of\\ the\\ host");
    line("rump ls --full", "rump ls --full-time");
    line("rump trunc", "rump truncate");
    line("rump ls no.img:/zzqq", "rump ls no.img:/zzqq");
    for (typed, text) in quoted {
        terminal.types(&format!("clear; rump cat a.img:/{typed}"));
        terminal.keys(&["Tab"]);
        terminal.wait(typed, |rows| {
            let last = rows.last().map(|row| row.trim_end().len());
            last > Some(format!("$ clear; rump cat a.img:/{typed}").len())
        });
        terminal.types("; echo");
        terminal.keys(&["Enter"]);
        terminal.shows(&format!("{text}\n$"));
    }
}

#[test]
fn bash_completes_paths_in_images() {
    let quoted = [
        ("n", "tree/new\nline"),
        ("od", "odd"),
        ("日", "tree/日本語"),
        ("two\\ words/i", "tree/two words/it's"),
        ("two\\ words/s", "tree/two words/so \"so\""),
        ("co", "tree/co:lon=$(id)"),
    ];
    let setup = "source <(rump completions bash)";
    completed_by("bash --norc --noprofile -i", setup, &quoted);
}

#[test]
fn zsh_completes_paths_in_images() {
    let quoted = [
        ("n", "tree/new\nline"),
        ("od", "odd"),
        ("日", "tree/日本語"),
        ("two\\ words/i", "tree/two words/it's"),
        ("co", "tree/co:lon=$(id)"),
    ];
    let setup = "setopt no_prompt_sp no_prompt_cr\nautoload -U compinit; compinit -u -D\nsource <(rump completions zsh)";
    completed_by("zsh -f -i", setup, &quoted);
}

#[test]
fn fish_completes_paths_in_images() {
    let quoted = [
        ("n", "tree/new\nline"),
        ("日", "tree/日本語"),
        ("two\\ words/i", "tree/two words/it's"),
        ("co", "tree/co:lon=$(id)"),
    ];
    let setup = "set -g fish_autosuggestion_enabled 0; function fish_prompt; echo -n '$ '; end\nrump completions fish | source";
    completed_by("fish --no-config -i", setup, &quoted);
}

/// A medium that takes its time to write what it was given is not waited for in silence. strace(1) makes it slow.
#[test]
fn the_end_of_a_long_write_is_told() {
    let scratch = Scratch::new();
    let image = scratch.image("a.img", 8, None);
    scratch.write("file", common::noise(100_000));
    let terminal = Terminal::new(&scratch);
    let slow = "strace -f -qq -o /dev/null -e inject=fdatasync:delay_enter=2000000";
    terminal.types(&format!("clear; {slow} rump put file a.img:/file"));
    terminal.keys(&["Enter"]);
    let what = "a.img: writing what is left: ";
    terminal.wait(what, |rows| rows.iter().any(|row| row.contains(what)));
    // And nothing of it stays.
    terminal.wait("the end", |rows| {
        rows.last().is_some_and(|row| row == "$") && !rows.iter().any(|row| row.contains("left"))
    });
    check(&image);
    assert_eq!(
        good(&["ls", &format!("{image}:/file")]),
        format!("{image}:/file\n")
    );
}
