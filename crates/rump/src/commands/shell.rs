//! `rump shell`.

use crate::{
    address::{self, Address},
    glob, output,
    report::{Failure, Outcome},
    session::Session,
    signals::{self, Interruptible},
    streams,
    walk::{join, read_dir},
};
use clap::{Args, Parser};
use rumpkern::{FileType, OpenFlags};
use rumpuser::Errno;
use rumpvfs::{Calls as _, calls::At};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    os::{fd::AsFd, unix::ffi::OsStringExt},
};

/// Work on an image command by command
///
/// Reads commands from standard input, with a prompt on a terminal: all others of this tool, with plain paths for paths in the image,
/// and cd, pwd, lcd, lpwd (on the host), help, exit. Words are split at spaces; ' " and \ quote; * ? [ ] are expanded against the image
/// (not for put and find). The image is opened read-only until the first command that changes it. On a terminal ^C ends a
/// command, or drops the line. The exit status is 1 if a command failed.
#[derive(Args, Debug)]
pub(crate) struct Shell {
    /// No changes
    #[arg(short = 'r', long)]
    read_only: bool,
    /// End with the first command that fails
    #[arg(short = 'e', long)]
    errors_end: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// The image
    #[arg(value_name = "IMAGE[@PART]")]
    operand: OsString,
}

/// The state of the prompt: which image, and where in it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    root: Address,
    cwd: Vec<u8>,
    read_only: bool,
}

impl Place {
    /// What a path at the prompt names.
    pub(crate) fn address(&self, operand: &[u8]) -> Address {
        let path = if operand.starts_with(b"/") {
            operand.to_vec()
        } else {
            join(&self.cwd, operand)
        };
        Address {
            path,
            prefix: Vec::new(),
            ..self.root.clone()
        }
    }

    /// Whether the user forbade changes.
    pub(crate) fn read_only(&self) -> bool {
        self.read_only
    }
}

impl Shell {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        if session.in_shell() {
            return Err(Failure::Message("shell: this is one".into()));
        }
        let root = address::parse_whole(&self.operand).map_err(Failure::Usage)?;
        session.open(&root)?;
        let place = Place {
            cwd: root.path.clone(),
            root,
            read_only: self.read_only,
        };
        change_directory(session, place, b"")?;
        drop(streams::input()?);
        // A descriptor of its own: a command may want to lock standard input.
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let prompts = stdin.is_terminal();
        let mut input = BufReader::new(Interruptible(stdin));
        loop {
            if prompts {
                if signals::forget_interrupt() {
                    // What was typed ahead is dropped, as the terminal drops its part of it.
                    input.consume(input.buffer().len());
                    output::line("")?;
                }
                prompt(session)?;
            }
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line);
            // From here to the next prompt: one that came while the prompt was written drops the line too.
            if prompts && signals::is_interrupt() {
                continue;
            }
            signals::check()?;
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(Failure::host("standard input", &error)),
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            match self.line(session, line.strip_suffix(b"\r").unwrap_or(line)) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(failure @ (Failure::Message(_) | Failure::Fatal(_) | Failure::Usage(_))) => {
                    session.report.fail(&failure);
                }
                // What was asked for ends, and not who asks.
                Err(Failure::Interrupted) if prompts && signals::is_interrupt() => {
                    session.report.mark_failed();
                }
                Err(other) => return Err(other),
            }
            if self.errors_end && session.report.failed() {
                return Ok(());
            }
        }
        if prompts {
            output::line("")?;
        }
        Ok(())
    }

    /// Runs a line; `false`: it was the last.
    fn line(&self, session: &Session, line: &[u8]) -> Outcome<bool> {
        let words = split(line).map_err(|why| Failure::Message(why.into()))?;
        let Some(place) = session.place() else {
            return Ok(false);
        };
        let plain: Vec<Vec<u8>> = words.iter().map(Word::text).collect();
        let parts: Vec<&[u8]> = plain.iter().map(Vec::as_slice).collect();
        match &parts[..] {
            [] => {}
            [b"exit" | b"quit"] => return Ok(false),
            [b"pwd"] => output::line(crate::quote::shown(&place.cwd))?,
            [b"cd"] => change_directory(session, place, b"/")?,
            [b"cd", to] => change_directory(session, place, to)?,
            [b"lcd", to] => {
                let to = OsString::from_vec(to.to_vec());
                std::env::set_current_dir(&to).map_err(|error| Failure::host(&to, &error))?;
            }
            [b"lpwd"] => {
                let here = std::env::current_dir();
                let here = here.map_err(|error| Failure::host(".", &error))?;
                output::line(crate::quote::shown_os(here))?;
            }
            [b"cd" | b"lcd" | b"pwd" | b"lpwd" | b"exit" | b"quit", ..] => {
                return Err(Failure::Message("wrong number of operands".into()));
            }
            _ => run(session, &place, &words)?,
        }
        Ok(true)
    }
}

fn prompt(session: &Session) -> Outcome<()> {
    let cwd = session.place().map_or_else(Vec::new, |place| place.cwd);
    let mut out = io::stdout().lock();
    write!(out, "rump:{}> ", crate::quote::shown(&cwd))?;
    out.flush()?;
    Ok(())
}

/// Changes the directory; where links lead to is found out once, here.
fn change_directory(session: &Session, mut place: Place, to: &[u8]) -> Outcome<()> {
    let address = place.address(to);
    let image = session.open(&address)?;
    let fail = |errno| image.failure(&address.path, errno);
    image.proc.chdir(&address.path).map_err(fail)?;
    let path = image.proc.getcwd();
    // Nothing else of this process depends on where it is.
    image.proc.chdir("/").map_err(fail)?;
    place.cwd = path.map_err(fail)?;
    session.set_place(place);
    Ok(())
}

/// Runs one of the tool's own commands.
fn run(session: &Session, place: &Place, words: &[Word]) -> Outcome<()> {
    let mut line = vec![OsString::from("rump")];
    let first = words.first().map_or_else(Vec::new, Word::text);
    let expands = !matches!(&first[..], b"put" | b"find");
    for (number, word) in words.iter().enumerate() {
        let mut found = Vec::new();
        if number > 0 && expands && word.is_pattern() {
            found = expand(session, place, word)?;
        }
        if found.is_empty() {
            found.push(word.text());
        }
        line.extend(found.into_iter().map(OsString::from_vec));
    }
    match crate::Cli::try_parse_from(line) {
        Ok(cli) => {
            if cli.command.mount().is_given() || cli.mount.options().is_given() {
                return Err(Failure::Message(
                    "options for mounting are given to the shell itself".into(),
                ));
            }
            cli.command.run(session)
        }
        Err(error) => {
            if error.use_stderr() {
                session.report.mark_failed();
            }
            drop(error.print());
            Ok(())
        }
    }
}

/// A word of a line: bytes, and whether each was quoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word(Vec<(u8, bool)>);

impl Word {
    pub(crate) fn text(&self) -> Vec<u8> {
        self.0.iter().map(|(byte, _)| *byte).collect()
    }

    fn is_pattern(&self) -> bool {
        let live = self.0.iter().filter(|(_, quoted)| !quoted);
        glob::is_pattern(&live.map(|(byte, _)| *byte).collect::<Vec<_>>())
    }

    /// As a pattern, in which what was quoted stands for itself.
    fn pattern(&self) -> Vec<u8> {
        let mut pattern = Vec::new();
        for &(byte, quoted) in &self.0 {
            if (quoted || byte == b'\\') && matches!(byte, b'*' | b'?' | b'[' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern
    }
}

/// Splits a line into words. A `#` at the start of a word begins a comment.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b' ' | b'\t') => words.extend(word.take()),
            (None, b'#') if word.is_none() => break,
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (Some(q), _) if q == byte => quote = None,
            (None | Some(b'"'), b'\\') => {
                let next = bytes.next().ok_or("nothing after \\")?;
                let word = word.get_or_insert_default();
                // As in sh(1): between " it is itself, but before what it is needed for there.
                if quote.is_some() && !matches!(next, b'"' | b'\\') {
                    word.0.push((byte, true));
                }
                word.0.push((next, true));
            }
            (quote, _) => {
                let word = word.get_or_insert_default();
                word.0.push((byte, quote.is_some()));
            }
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// Paths of the image that match, sorted; relative ones as they were written.
fn expand(session: &Session, place: &Place, word: &Word) -> Outcome<Vec<Vec<u8>>> {
    /// More words make no sensible command.
    const MOST: usize = 100_000;
    let image = session.open(&place.root)?;
    let pattern = word.pattern();
    let start: &[u8] = if pattern.starts_with(b"/") { b"/" } else { b"" };
    let mut found = vec![start.to_vec()];
    for part in pattern.split(|&c| c == b'/').filter(|p| !p.is_empty()) {
        let mut next = Vec::new();
        for base in &found {
            let dir = place.address(base).path;
            let flags = OpenFlags::RDONLY | OpenFlags::DIRECTORY;
            let mut entries = Vec::new();
            let listed = image
                .open_at(At::Cwd, &dir, flags)
                .and_then(|fd| read_dir(&image, &fd, true, &mut entries));
            match listed {
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
                Err(errno) => return Err(image.failure(&dir, errno)),
            }
            if matches!(part, b"." | b"..") {
                next.push(join(base, part));
                continue;
            }
            for entry in entries {
                let hidden = entry.name.starts_with(b".") && !part.starts_with(b".");
                if !hidden && glob::matches(part, &entry.name, false) {
                    next.push(join(base, &entry.name));
                }
            }
        }
        if next.len() > MOST {
            return Err(Failure::Message(
                "the pattern matches too many files".into(),
            ));
        }
        found = next;
    }
    if pattern.ends_with(b"/") {
        found.retain(|path| {
            let stat = image.proc.stat(place.address(path).path);
            stat.is_ok_and(|stat| stat.file_type == FileType::Directory)
        });
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<String>, &'static str> {
        let words = split(line.as_bytes())?;
        Ok(words
            .iter()
            .map(|word| String::from_utf8(word.text()).unwrap())
            .collect())
    }

    #[test]
    fn lines() {
        let good: [(&str, &[&str]); 9] = [
            ("", &[]),
            ("  ls   -l ", &["ls", "-l"]),
            ("cat 'a b' \"c d\"e", &["cat", "a b", "c de"]),
            ("x a\\ b \\'", &["x", "a b", "'"]),
            ("x '' \"\"", &["x", "", ""]),
            ("# all", &[]),
            ("ls a#b # c", &["ls", "a#b"]),
            ("x 'a\\b' \"a\\\"b\"", &["x", "a\\b", "a\"b"]),
            ("x \"a\\b\\\\\" a\\ ", &["x", "a\\b\\", "a "]),
        ];
        for (line, expected) in good {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert!(words("a 'b").is_err());
        assert!(words("a \\").is_err());
    }

    #[test]
    fn quoted_patterns_are_none() {
        let word = |line: &str| split(line.as_bytes()).unwrap().remove(0);
        assert!(word("a*").is_pattern());
        assert!(!word("'a*'").is_pattern());
        assert!(!word("a\\*").is_pattern());
        assert_eq!(word("'*'*").pattern(), b"\\**");
    }
}
