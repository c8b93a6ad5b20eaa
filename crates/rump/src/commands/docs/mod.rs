//! `rump completions`, `rump man`.

mod complete;

use crate::{
    report::{Failure, Outcome},
    session::{MountOptions, Session},
};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Write completions for a shell to standard output
///
/// Those of bash, zsh and fish complete paths in images as well: they ask the rump that is found first in $PATH for names.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
    /// What a word that names a path in an image can become: what the completions ask for
    #[arg(long, hide = true, value_name = "WORD", allow_hyphen_values = true)]
    word: Option<OsString>,
    /// Where bash begins another word
    #[arg(
        long,
        hide = true,
        value_name = "CHARACTERS",
        default_value = "",
        allow_hyphen_values = true
    )]
    breaks: String,
}

/// Write manual pages
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// All pages, as files in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
    /// The page of this command, to standard output: also of one of net, as two words
    command: Vec<String>,
}

impl Completions {
    /// No image is mounted.
    pub(crate) fn mount(&self) -> MountOptions {
        MountOptions::default()
    }

    /// Runs it.
    ///
    /// # Errors
    /// Of the output.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let mut text = Vec::new();
        match &self.word {
            Some(word) => {
                let found = complete::words(session, self.shell, word.as_bytes(), &self.breaks);
                // No word of ours goes between those that somebody is typing.
                match found {
                    Some(found) => text = found,
                    None => session.report.mark_failed(),
                }
            }
            None => {
                clap_complete::generate(self.shell, &mut crate::Cli::command(), "rump", &mut text);
                text = complete::with_paths(self.shell, text);
            }
        }
        io::stdout().lock().write_all(&text)?;
        Ok(())
    }

    /// Whether it reads an image.
    pub(crate) fn only_reads(&self) -> bool {
        self.word.is_some()
    }
}

impl Man {
    /// No image is mounted.
    pub(crate) fn mount(&self) -> MountOptions {
        MountOptions::default()
    }

    /// Runs it.
    ///
    /// # Errors
    /// There is no such command; the output fails.
    pub(crate) fn run(&self, _session: &Session) -> Outcome<()> {
        let mut all = crate::Cli::command();
        all.build();
        if let Some(dir) = &self.dir {
            return write_pages(&all, "rump", dir);
        }
        let (mut command, mut page) = (&all, String::from("rump"));
        for name in &self.command {
            let found = command.find_subcommand(name);
            command = found.ok_or_else(|| Failure::Usage(format!("man: no command '{name}'")))?;
            page = format!("{page}-{name}");
        }
        let page = render(command, page)?;
        io::stdout().lock().write_all(&page)?;
        Ok(())
    }
}

fn render(command: &clap::Command, name: String) -> Outcome<Vec<u8>> {
    // clap keeps names for as long as the program runs.
    let name: &'static str = name.leak();
    let usage = command.get_bin_name().unwrap_or("rump").to_owned();
    let page = command
        .clone()
        .name(name)
        .display_name(name)
        .bin_name(usage);
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .date("")
        .render(&mut text)
        .map_err(|error| Failure::at("man", error))?;
    Ok(text)
}

/// Writes the page of a command, and those of the commands below it: `rump.1`, `rump-ls.1`, `rump-net-ping.1`.
fn write_pages(command: &clap::Command, name: &str, dir: &Path) -> Outcome<()> {
    let path = dir.join(format!("{name}.1"));
    let fail = |error| Failure::host(&path, &error);
    fs::create_dir_all(dir).map_err(|error| Failure::host(dir, &error))?;
    fs::write(&path, render(command, name.into())?).map_err(fail)?;
    let below = command.get_subcommands();
    for command in below.filter(|c| c.get_name() != "help") {
        write_pages(command, &format!("{name}-{}", command.get_name()), dir)?;
    }
    Ok(())
}
