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
//! | [`report`] | failures, and the exit status |
//! | [`signals`] | ending at a safe point |
//! | [`output`], [`progress`], [`quote`], [`json`] | standard output and error; names for people; entries for programs |
//! | [`mode`], [`units`], [`time`], [`glob`] | small languages of the command line |
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "comments of commands and options are their help texts"
)]

mod address;
mod archive;
mod commands;
mod copy;
mod glob;
mod hostfs;
mod json;
mod mode;
mod mtree;
mod output;
mod progress;
mod quote;
mod report;
mod session;
mod signals;
mod time;
mod units;
mod walk;

use clap::{Parser, Subcommand};
use session::Session;
use std::process::ExitCode;

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
    #[command(subcommand)]
    command: Command,
}

macro_rules! commands {
    ($($name:ident($args:ty),)*) => {
        #[derive(Subcommand, Debug)]
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
    };
}

commands! {
    Ls(commands::ls::Ls),
    Cat(commands::cat::Cat),
    Stat(commands::stat::Stat),
    Find(commands::find::Find),
    Tree(commands::tree::Tree),
    Du(commands::du::Du),
    Df(commands::df::Df),
    Info(commands::info::Info),
    Cp(commands::cp::Cp),
    Get(commands::cp::Get),
    Put(commands::cp::Put),
    Mkdir(commands::mkdir::Mkdir),
    Rm(commands::rm::Rm),
    Mv(commands::mv::Mv),
    Ln(commands::mv::Ln),
    Chmod(commands::attributes::Chmod),
    Chown(commands::attributes::Chown),
    Touch(commands::touch::Touch),
    Truncate(commands::touch::Truncate),
    Tar(commands::tar::Tar),
    Untar(commands::tar::Untar),
    Mtree(commands::mtree::Mtree),
    Verify(commands::mtree::Verify),
    Shell(commands::shell::Shell),
    Completions(commands::docs::Completions),
    Man(commands::docs::Man),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    signals::install();
    let session = Session::new(cli.command.mount().or(cli.mount.options()));
    let outcome = cli.command.run(&session);
    session.finish();
    session.report.exit(outcome)
}
