//! `rump`: inspects and edits disk images through a kernel of its own, without privileges.
//!
//! | module | what |
//! |---|---|
//! | [`address`] | operands: `IMAGE[@PART]:/path`, host paths, `-` |
//! | [`session`] | images opened, their part found, mounted in a kernel each |
//! | [`walk`] | trees of an image, entry by entry |
//! | [`commands`] | one file for each command or group of commands |
//! | [`archive`] | tar archives, written and read |
//! | [`mtree`] | specifications, read and written |
//! | [`copy`], [`hostfs`] | copying between images, the host and archives; the host's files touched safely |
//! | [`net`] | a network stack of one's own, and tools on it |
//! | [`report`] | failures, and the exit status |
//! | [`signals`], [`patience`] | ending at a safe point; mounts that wait |
//! | [`complete`], [`edit`] | names that a path may go on with; lines from a terminal: edited, completed, taken from a history |
//! | [`output`], [`progress`], [`quote`], [`json`], [`streams`] | standard output and error; names for people; entries for programs; what was closed |
//! | [`mode`], [`units`], [`time`], [`glob`] | small languages of the command line |
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "comments of commands and options are their help texts"
)]

mod address;
mod archive;
mod commands;
mod complete;
mod copy;
mod edit;
mod glob;
mod hostfs;
mod json;
mod memory;
mod mode;
mod mtree;
mod net;
mod output;
mod patience;
mod progress;
mod quote;
mod report;
mod session;
mod signals;
mod streams;
mod time;
mod units;
mod walk;

use clap::{
    ArgMatches, Args as _, CommandFactory as _, FromArgMatches, Parser, Subcommand,
    error::ErrorKind,
};
use session::Session;
use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    process::ExitCode,
};

/// Inspect and edit disk images without mounting them and without privileges
///
/// Paths in images are written IMAGE[@PART]:/path, as with scp. PART is a partition's number, label=NAME, uuid=UUID, a type such as esp or
/// root, or @OFFSET (so that it reads IMAGE@@1M). The type of a file system is found by its content.
#[derive(Parser, Debug)]
#[command(name = "rump", version, max_term_width = 100, disable_help_flag = true)]
struct Cli {
    /// Print help
    #[arg(long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    mount: commands::Mount,
    /// Do not give up what a command that reads images, or a server, has no use for: to write or make files, connections, programs
    #[arg(long)]
    no_sandbox: bool,
    #[command(subcommand)]
    command: Command,
}

macro_rules! commands {
    ($($word:literal => $name:ident($args:ty),)*) => {
        #[derive(Debug)]
        enum Command {
            $($name($args),)*
        }

        impl Command {
            fn mount(&self) -> session::MountOptions {
                match self {
                    $(Self::$name(args) => args.mount(),)*
                }
            }

            fn run(&self, session: &Session) -> report::Outcome<()> {
                match self {
                    $(Self::$name(args) => args.run(session),)*
                }
            }
        }

        // As derived, but for `defer` and `ONLY`: setting up every command takes longer than listing a directory.
        impl Subcommand for Command {
            fn augment_subcommands(mut all: clap::Command) -> clap::Command {
                let only = ONLY.get();
                $(
                    if only.is_none_or(|only| only == $word) {
                        all = all.subcommand(clap::Command::new($word).defer(<$args>::augment_args));
                    }
                )*
                all
            }

            fn augment_subcommands_for_update(all: clap::Command) -> clap::Command {
                Self::augment_subcommands(all)
            }

            fn has_subcommand(name: &str) -> bool {
                Self::word(name).is_some()
            }
        }

        impl Command {
            /// A command's name as it is known for ever.
            fn word(name: &str) -> Option<&'static str> {
                [$($word),*].into_iter().find(|word| *word == name)
            }
        }

        impl FromArgMatches for Command {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Self::from_arg_matches_mut(&mut matches.clone())
            }

            fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
                let Some((name, mut matches)) = matches.remove_subcommand() else {
                    return Err(clap::Error::new(ErrorKind::MissingSubcommand));
                };
                match &*name {
                    $($word => <$args>::from_arg_matches_mut(&mut matches).map(Self::$name),)*
                    _ => Err(clap::Error::new(ErrorKind::InvalidSubcommand)),
                }
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

commands! {
    "ls" => Ls(commands::ls::Ls),
    "cat" => Cat(commands::cat::Cat),
    "stat" => Stat(commands::stat::Stat),
    "find" => Find(commands::find::Find),
    "tree" => Tree(commands::tree::Tree),
    "du" => Du(commands::du::Du),
    "df" => Df(commands::df::Df),
    "info" => Info(commands::info::Info),
    "fsck" => Fsck(commands::fsck::Fsck),
    "cp" => Cp(commands::cp::Cp),
    "get" => Get(commands::cp::Get),
    "put" => Put(commands::cp::Put),
    "mkdir" => Mkdir(commands::mkdir::Mkdir),
    "rm" => Rm(commands::rm::Rm),
    "mv" => Mv(commands::mv::Mv),
    "ln" => Ln(commands::mv::Ln),
    "chmod" => Chmod(commands::attributes::Chmod),
    "chown" => Chown(commands::attributes::Chown),
    "touch" => Touch(commands::touch::Touch),
    "truncate" => Truncate(commands::touch::Truncate),
    "tar" => Tar(commands::tar::Tar),
    "untar" => Untar(commands::tar::Untar),
    "mtree" => Mtree(commands::mtree::Mtree),
    "verify" => Verify(commands::verify::Verify),
    "mount" => Mount(commands::mount::Mount),
    "shell" => Shell(commands::shell::Shell),
    "net" => Net(Box<net::NetCommand>),
    "completions" => Completions(commands::docs::Completions),
    "man" => Man(commands::docs::Man),
}

impl Command {
    /// Whether it reads images and writes to standard output alone.
    fn only_reads(&self) -> bool {
        use Command::{
            Cat, Completions, Df, Du, Find, Fsck, Info, Ls, Mtree, Stat, Tar, Tree, Verify,
        };
        match self {
            Ls(_) | Cat(_) | Stat(_) | Find(_) | Tree(_) | Du(_) | Df(_) | Info(_) | Fsck(_)
            | Mtree(_) | Verify(_) => true,
            Tar(tar) => !tar.makes_a_file(),
            Completions(completions) => completions.only_reads(),
            _ => false,
        }
    }
}

thread_local! {
    /// The command that a command line begins with, while that is read: no other can follow.
    static ONLY: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// A command line that has nothing but a command, single letters that no other rules out, and operands. To describe all options of `ls` takes
/// longer than to list a directory.
fn plain(mut words: impl Iterator<Item = OsString>) -> Option<Cli> {
    let command = words.next()?;
    let (mut letters, mut operands) = (Vec::new(), Vec::new());
    for word in words {
        match word.as_encoded_bytes() {
            [b'-', more @ ..] if operands.is_empty() && !more.is_empty() => letters.extend(more),
            [b'-', ..] => return None,
            _ => operands.push(word),
        }
    }
    if operands.is_empty() {
        return None;
    }
    let command = match command.to_str()? {
        "ls" => Command::Ls(commands::ls::Ls::plain(&letters, operands)?),
        "cat" if letters.is_empty() => Command::Cat(commands::cat::Cat::plain(operands)),
        _ => return None,
    };
    Some(Cli {
        help: None,
        mount: commands::Mount::default(),
        no_sandbox: false,
        command,
    })
}

/// Reads the command line; ends the program when it is wrong or asks for help. Whether mount(8) calls.
fn parse() -> (Cli, bool) {
    let (args, then) = net::split(std::env::args_os().collect());
    let is_helper = commands::mount::is_helper(&args);
    let args = commands::mount::translate(args);
    if let Some(cli) = plain(args.iter().skip(1).cloned()) {
        return (cli, false);
    }
    let word = args
        .get(1)
        .map(OsString::as_os_str)
        .and_then(OsStr::to_str)
        .and_then(Command::word);
    ONLY.set(word);
    let mut cli = Cli::command();
    ONLY.set(None);
    if word.is_none() {
        cli.build(); // the program's own help says what each command does
    }
    let read = cli.try_get_matches_from_mut(args.iter());
    let mut matches = read.unwrap_or_else(|error| {
        let usage = match word {
            _ if !error.use_stderr() => told(&error, &args),
            Some("fsck") => commands::fsck::status::USAGE,
            _ if is_helper => report::MOUNT_USAGE,
            _ => told(&error, &args),
        };
        drop(report::explain(&error, &args));
        std::process::exit(usage.into());
    });
    let parsed = Cli::from_arg_matches_mut(&mut matches);
    let mut parsed = parsed.unwrap_or_else(|error| told(&error.format(&mut cli), &args));
    if let Command::Net(first) = &mut parsed.command {
        let words: Vec<_> = then.iter().flatten().cloned().collect();
        let read = first.then(then);
        read.unwrap_or_else(|error| told(&error, &words));
    }
    (parsed, is_helper)
}

/// Ends the program with what clap has to say; help that cannot be written is a failure, as any output.
fn told(error: &clap::Error, words: &[OsString]) -> ! {
    match report::explain(error, words) {
        Err(failure) if !error.use_stderr() => {
            std::process::exit(match report::Failure::from(failure) {
                report::Failure::BrokenPipe => 0,
                failure => {
                    report::say(failure);
                    1
                }
            })
        }
        _ => std::process::exit(error.exit_code()),
    }
}

fn main() -> ExitCode {
    memory::keep();
    streams::install();
    let (mut cli, is_helper) = parse();
    signals::install();
    if let Command::Mount(mount) = &mut cli.command {
        mount.no_sandbox |= cli.no_sandbox;
    }
    if cli.command.only_reads() && !cli.no_sandbox {
        // A check is told how much it may remember.
        let memory = (!matches!(cli.command, Command::Fsck(_))).then_some(memory::ADDRESSES);
        // A host that has no such thing lets it read all the same.
        let _ = p2k::contain::read_only(p2k::contain::Limits { memory });
    }
    let session = Session::new(cli.command.mount().or(cli.mount.options()));
    if is_helper {
        session.report.use_status_of_mount();
    }
    let outcome = cli.command.run(&session);
    session.finish();
    session.report.exit(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_command_line_is_read_as_any_other() {
        for words in [
            &["ls", "image:/"][..],
            &["ls", "a@1:/x", "", "b", "a-b:/-"],
            &["ls", "-lR", "image:/"],
            &["ls", "-naA1", "-hi", "-rFp", "a:/", "b:/"],
            &["cat", "image:/a", "image:/b"],
        ] {
            let short = plain(words.iter().map(OsString::from)).expect("plain");
            let whole = Cli::parse_from(std::iter::once(&"rump").chain(words));
            assert_eq!(format!("{short:?}"), format!("{whole:?}"));
        }
        for words in [
            &["ls"][..],
            &["cat"],
            &["cat", "-l", "a:/"],
            &["ls", "-"],
            &["ls", "-l"],
            &["ls", "-ll", "a:/"],
            &["ls", "-lt", "a:/"],
            &["ls", "--", "a:/"],
            &["ls", "a:/", "-l"],
        ] {
            assert!(plain(words.iter().map(OsString::from)).is_none());
        }
    }
}
