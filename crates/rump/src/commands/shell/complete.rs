//! What a word at the prompt can be: a command, an option, a path of the image or of the host.

use super::words::{Open, Word, parse, quote};
use crate::{
    complete::{Found, common, host_names, image_names},
    edit::Completion,
    session::Session,
};
use clap::{CommandFactory as _, ValueHint};

/// The prompt's own commands.
const OWN: [&str; 7] = ["cd", "exit", "help", "lcd", "lpwd", "pwd", "quit"];
/// Commands of the tool that the prompt has no use for.
const ELSEWHERE: [&str; 5] = ["completions", "fsck", "man", "mount", "shell"];

/// Where a path may lie.
#[derive(Clone, Copy, Default)]
struct Places {
    image: bool,
    host: bool,
    /// Nothing but directories.
    dirs: bool,
}

/// Completes the last word of a line up to the cursor.
pub(super) fn complete(session: &Session, before: &[u8]) -> Completion {
    let parsed = parse(before);
    let open = parsed.open.unwrap_or_else(|| Open {
        start: before.len(),
        ..Open::default()
    });
    if parsed.in_comment || open.escapes {
        return Completion::default();
    }
    let text = open.word.text();
    let words: Vec<_> = parsed.words.iter().map(Word::text).collect();
    let Some((name, rest)) = words.split_first() else {
        return offer(&open, 0, &commands());
    };
    let mut cli = crate::Cli::command();
    cli.build();
    let command = std::str::from_utf8(name)
        .ok()
        .and_then(|name| cli.find_subcommand(name));
    if let Some(command) = command
        && text.starts_with(b"-")
    {
        return offer(&open, 0, &options(command));
    }
    let places = places(name, rest, command);
    let (dir, prefix) = text.split_at(text.iter().rposition(|&c| c == b'/').map_or(0, |at| at + 1));
    let mut names = Vec::new();
    if places.image
        && let Some(place) = session.place()
        && let Ok(image) = session.open(&place.address(dir))
    {
        names.extend(image_names(&image, &place.address(dir).path, prefix));
    }
    if places.host {
        names.extend(host_names(dir, prefix));
    }
    if places.dirs {
        names.retain(|name| name.is_dir);
    }
    offer(&open, dir.len(), &names)
}

fn commands() -> Vec<Found> {
    let cli = crate::Cli::command();
    let all = cli.get_subcommands().map(clap::Command::get_name);
    let here = all.filter(|name| !ELSEWHERE.contains(name));
    here.chain(OWN)
        .map(|name| Found::new(name.as_bytes(), false))
        .collect()
}

fn options(command: &clap::Command) -> Vec<Found> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let names = shown.flat_map(|arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        long.into_iter().chain(short)
    });
    names
        .map(|name| Found::new(name.as_bytes(), false))
        .collect()
}

/// Where an operand of a command lies that comes after these words.
fn places(name: &[u8], rest: &[Vec<u8>], command: Option<&clap::Command>) -> Places {
    let host = Places {
        host: true,
        ..Places::default()
    };
    let image = Places {
        image: true,
        ..Places::default()
    };
    let both = Places {
        image: true,
        host: true,
        dirs: false,
    };
    let operands = rest.iter().filter(|word| !word.starts_with(b"-")).count();
    if let Some(command) = command
        && let Some(hint) = rest.last().and_then(|word| hint_of_option(command, word))
    {
        return if hint == ValueHint::FilePath {
            host
        } else {
            Places::default()
        };
    }
    match name {
        b"cd" => Places {
            dirs: true,
            ..image
        },
        b"lcd" => Places { dirs: true, ..host },
        // The last operand lies elsewhere, and any but the first may be the last.
        b"put" if operands == 0 => host,
        b"put" => both,
        b"get" if operands > 0 => both,
        b"verify" if operands > 0 => host,
        b"help" | b"net" => Places::default(),
        _ if command.is_some() => image,
        _ => Places::default(),
    }
}

/// What the value of an option is, if the word is one whose value comes next.
fn hint_of_option(command: &clap::Command, word: &[u8]) -> Option<ValueHint> {
    let word = std::str::from_utf8(word).ok()?;
    let mut args = command.get_arguments();
    let arg = match word.strip_prefix("--") {
        Some(long) => args.find(|arg| arg.get_long() == Some(long)),
        None => {
            let last = word.strip_prefix('-')?.chars().last()?;
            args.find(|arg| arg.get_short() == Some(last))
        }
    }?;
    arg.get_action()
        .takes_values()
        .then(|| arg.get_value_hint())
}

/// What of these the open word can become; the last component of its text begins at `from`.
fn offer(open: &Open, from: usize, names: &[Found]) -> Completion {
    let text = open.word.text();
    let (dir, prefix) = text.split_at(from);
    let mut names: Vec<_> = names
        .iter()
        .filter(|found| found.name.starts_with(prefix))
        .collect();
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    names.dedup_by(|a, b| a.name == b.name);
    let write = |name: &[u8], is_whole| {
        // As an option it would mean something else.
        let here: &[u8] = match (dir, name) {
            (b"", [b'-', ..]) if !text.starts_with(b"-") => b"./",
            (dir, _) => dir,
        };
        quote(&[here, name].concat(), open.quote, is_whole)
    };
    let text = match &names[..] {
        [] => None,
        [one] if one.is_dir => Some(write(&[&one.name[..], b"/"].concat(), false)),
        [one] => Some([&write(&one.name, true)[..], b" "].concat()),
        names => {
            let common = common(names.iter().map(|found| &found.name[..]));
            (common.len() > prefix.len()).then(|| write(common, false))
        }
    };
    let shown = match names.len() {
        1 => Vec::new(),
        _ => names.iter().map(|found| found.shown()).collect(),
    };
    Completion {
        start: open.start,
        text,
        shown,
    }
}
