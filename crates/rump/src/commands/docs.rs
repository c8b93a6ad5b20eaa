//! `rump completions`, `rump man`.

use crate::{
    report::{Failure, Outcome},
    session::{MountOptions, Session},
};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Write completions for a shell to standard output
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

/// Write manual pages
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// All pages, as files in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
    /// The page of this command, to standard output
    command: Option<String>,
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
    pub(crate) fn run(&self, _session: &Session) -> Outcome<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "rump", &mut text);
        io::stdout().lock().write_all(&text)?;
        Ok(())
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
            return write_pages(&all, dir);
        }
        let command = match &self.command {
            None => all,
            Some(name) => {
                let found = all.find_subcommand(name).cloned();
                found.ok_or_else(|| Failure::Usage(format!("man: no command '{name}'")))?
            }
        };
        let page = render(&command)?;
        io::stdout().lock().write_all(&page)?;
        Ok(())
    }
}

/// The name of a command's page: `rump`, `rump-ls`.
fn page_name(command: &clap::Command) -> String {
    match command.get_name() {
        "rump" => "rump".into(),
        name => format!("rump-{name}"),
    }
}

fn render(command: &clap::Command) -> Outcome<Vec<u8>> {
    let name = page_name(command);
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

fn write_pages(all: &clap::Command, dir: &Path) -> Outcome<()> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Failure::host(&path, &error)
    };
    fs::create_dir_all(dir).map_err(fail(dir))?;
    let commands = all.get_subcommands().filter(|c| c.get_name() != "help");
    for command in std::iter::once(all).chain(commands) {
        let path = dir.join(format!("{}.1", page_name(command)));
        fs::write(&path, render(command)?).map_err(fail(&path))?;
    }
    Ok(())
}
