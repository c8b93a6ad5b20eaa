//! `rump shell`.

mod complete;
mod input;
pub(crate) mod words;

use crate::{
    address::{self, Address},
    glob, output,
    report::{Failure, Outcome, explain},
    session::Session,
    signals, streams,
    walk::{join, read_dir},
};
use clap::{Args, Parser};
use input::Input;
use rumpkern::{FileType, OpenFlags};
use rumpuser::Errno;
use rumpvfs::{Calls as _, calls::At};
use std::{ffi::OsString, os::unix::ffi::OsStringExt};
use words::{Word, split};

/// Work on an image command by command
///
/// Reads commands from standard input, with a prompt on a terminal: all others of this tool, with plain paths for paths in the image,
/// and cd, pwd, lcd, lpwd (on the host), help, exit. Words are split at spaces; ' " \ and, with escapes such as \n and \377, $' quote; * ? [ ] are
/// expanded against the image (not for put and find). The image is opened read-only until the first command that changes it.
///
/// On a terminal the line can be edited with the keys of other shells; Tab completes commands, options and paths; ^R searches the lines before,
/// which $XDG_STATE_HOME/rump/history (~/.local/state) keeps unless they begin with a space. ^C ends a command, or drops the line. The exit status is
/// 1 if a command failed.
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
        let mut input = Input::open()?;
        let prompts = input.prompts();
        loop {
            if prompts && signals::forget_interrupt() {
                // What was typed ahead is dropped, as the terminal drops its part of it.
                input.forget();
                output::line("")?;
            }
            let read = input.line(session);
            // From here to the next prompt: one that came while the prompt was written drops the line too.
            if prompts && signals::is_interrupt() {
                continue;
            }
            signals::check()?;
            let Some(line) = read? else {
                break;
            };
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
    match crate::Cli::try_parse_from(&line) {
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
            explain(&error, &line)?;
            Ok(())
        }
    }
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
    // Whoever made the image chose the names: none of them becomes an option.
    for path in found.iter_mut().filter(|path| path.starts_with(b"-")) {
        *path = join(b".", path);
    }
    Ok(found)
}
