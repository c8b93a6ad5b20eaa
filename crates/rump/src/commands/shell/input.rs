//! Where the lines of the prompt come from.

use super::complete::complete;
use crate::{
    edit::{self, Editor, Typed, history::History},
    report::{Failure, Outcome},
    session::Session,
    signals::Interruptible,
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write as _},
    os::fd::AsFd as _,
};

/// Standard input.
pub(super) enum Input {
    /// A terminal on which lines can be edited; and what is left of several that were pasted and ended with one Enter.
    Edited(Editor, VecDeque<Vec<u8>>),
    /// Anything else; whether it is a terminal, and gets a prompt.
    Plain(BufReader<Interruptible<File>>, bool),
}

impl Input {
    /// Standard input, by a descriptor of its own: a command may want to lock the other.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub(super) fn open() -> Outcome<Self> {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        if edit::is_possible(&stdin) {
            let editor = Editor::new(stdin, History::load());
            return Ok(Self::Edited(editor, VecDeque::new()));
        }
        let prompts = stdin.is_terminal();
        Ok(Self::Plain(BufReader::new(Interruptible(stdin)), prompts))
    }

    /// Whether somebody types.
    pub(super) fn prompts(&self) -> bool {
        match self {
            Self::Edited(..) => true,
            Self::Plain(_, prompts) => *prompts,
        }
    }

    /// Drops what was read and not used.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Edited(editor, lines) => {
                editor.forget();
                lines.clear();
            }
            Self::Plain(input, _) => input.consume(input.buffer().len()),
        }
    }

    /// The next line, with a prompt if somebody types; `None` at the end.
    ///
    /// # Errors
    /// A signal came; of the input, or the prompt's.
    pub(super) fn line(&mut self, session: &Session) -> Outcome<Option<Vec<u8>>> {
        let cwd = session.place().map_or_else(Vec::new, |place| place.cwd);
        let prompt = format!("rump:{}> ", crate::quote::shown(&cwd));
        match self {
            Self::Edited(_, lines) if !lines.is_empty() => Ok(lines.pop_front()),
            Self::Edited(editor, lines) => {
                let typed = editor.read_line(&prompt, |before| complete(session, before))?;
                let Typed::Line(text) = typed else {
                    return Ok(None);
                };
                lines.extend(text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec));
                Ok(lines.pop_front())
            }
            Self::Plain(input, prompts) => {
                if *prompts {
                    let mut out = io::stdout().lock();
                    out.write_all(prompt.as_bytes())?;
                    out.flush()?;
                }
                let mut line = Vec::new();
                match input.read_until(b'\n', &mut line) {
                    Ok(0) => Ok(None),
                    Ok(_) => Ok(Some(line)),
                    Err(error) => Err(Failure::host("standard input", &error)),
                }
            }
        }
    }
}
