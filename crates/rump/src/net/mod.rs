//! `rump net`: a network stack of one's own, and the tools that people know, on it.
//!
//! | module | what |
//! |---|---|
//! | [`stack`] | the kernel that a command line describes |
//! | [`ifconfig`], [`route`], [`neighbor`], [`netstat`], [`sysctl`], [`dhcp`] | what it is set to, and what it has seen |
//! | [`ping`], [`traceroute`], `icmp` | with messages of ICMP |
//! | [`nc`], [`fetch`], [`iperf`] | with connections |
//! | [`bus`] | an Ethernet in a file, as a capture and from one |

mod bus;
mod dhcp;
mod fetch;
mod host;
mod icmp;
mod ifconfig;
mod iperf;
mod nc;
mod neighbor;
mod netstat;
mod ping;
mod route;
mod stack;
mod sysctl;
mod traceroute;
mod wait;

use crate::{
    report::{Failure, Outcome, Report, explain, io_reason},
    session::{MountOptions, Session},
    signals::{self, Interruptible},
};
use clap::{Args, Parser, Subcommand};
use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _},
    os::{fd::AsFd as _, unix::ffi::OsStringExt as _},
    time::Duration,
};
use uknet::Net;

/// How long the end of the program waits for data that is still on its way.
const LINGER: Duration = Duration::from_secs(10);
/// How long a wait may miss a signal.
const LOOK: Duration = Duration::from_millis(100);

/// Use a network stack of one's own
///
/// Boots a TCP/IP stack in this process with the interfaces that --if names (or the host's sockets with --sockin), runs a command on it, and
/// ends it. Several commands share one stack when -- stands between them: rump net --if shmif:/tmp/bus,10.0.0.2/24 ping -c 1 10.0.0.1 -- arp.
/// Without a privilege of the host: shmif joins an Ethernet that is a file, which any number of processes may be on.
#[derive(Args, Debug)]
#[command(subcommand_precedence_over_arg = true)]
pub(crate) struct NetCommand {
    #[command(flatten)]
    stack: stack::Options,
    #[command(subcommand)]
    command: Tool,
    /// Commands that follow on the same stack.
    #[arg(skip)]
    then: Vec<Tool>,
}

/// What is done on the stack.
#[derive(Subcommand, Debug)]
enum Tool {
    Ifconfig(ifconfig::Ifconfig),
    Route(route::Route),
    Arp(neighbor::Arp),
    Ndp(neighbor::Ndp),
    Netstat(netstat::Netstat),
    Sysctl(sysctl::Sysctl),
    Dhcp(dhcp::Dhcp),
    Ping(ping::Ping),
    Ping6(ping::Ping6),
    Traceroute(traceroute::Traceroute),
    Nc(nc::Nc),
    Fetch(fetch::Fetch),
    Iperf(iperf::Iperf),
    Dumpbus(bus::Dumpbus),
    Pcapin(bus::Pcapin),
    Wait(wait::Wait),
    Shell(Shell),
}

/// Read commands from standard input, one a line
///
/// Words are split at spaces; ' " and \ quote; # begins a comment. The exit status is 1 if a command failed.
#[derive(Args, Debug)]
pub(crate) struct Shell {
    /// End with the first command that fails
    #[arg(short = 'e', long)]
    errors_end: bool,
}

/// A command alone, as it stands after `--` or at the prompt.
#[derive(Parser, Debug)]
#[command(name = "rump net", disable_help_flag = true, no_binary_name = true)]
struct Line {
    /// Print help
    #[arg(long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Tool,
}

/// What a command works with.
pub(crate) struct Context<'a> {
    net: &'a Net,
    stack: &'a stack::Stack,
    report: &'a Report,
}

impl Context<'_> {
    /// Runs a command.
    fn run(&self, tool: &Tool) -> Outcome<()> {
        let done = tool.run(self);
        self.stack.leave();
        done
    }
}

/// The words of the first command, and of those after each `--`, if the words are those of `rump net`.
pub(crate) fn split(words: Vec<OsString>) -> (Vec<OsString>, Vec<Vec<OsString>>) {
    if words.get(1).is_none_or(|word| word != "net") {
        return (words, Vec::new());
    }
    let mut parts = words.split(|word| word == "--").map(<[_]>::to_vec);
    (parts.next().unwrap_or_default(), parts.collect())
}

impl NetCommand {
    /// No image is mounted.
    pub(crate) fn mount(&self) -> MountOptions {
        MountOptions::default()
    }

    /// Adds the commands that follow.
    ///
    /// # Errors
    /// Wrong usage.
    pub(crate) fn then(&mut self, lines: Vec<Vec<OsString>>) -> Result<(), clap::Error> {
        for words in lines {
            self.then.push(Line::try_parse_from(words)?.command);
        }
        Ok(())
    }

    /// Runs them, up to the first that cannot be gone on from.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let stack = self.stack.boot()?;
        let context = Context {
            net: stack.net(),
            stack: &stack,
            report: &session.report,
        };
        let mut tools = std::iter::once(&self.command).chain(&self.then);
        let done = tools.try_for_each(|tool| session.report.step(context.run(tool)).map(drop));
        done.and(stack.end())
    }
}

impl Tool {
    fn run(&self, context: &Context<'_>) -> Outcome<()> {
        match self {
            Self::Ifconfig(args) => args.run(context),
            Self::Route(args) => args.run(context),
            Self::Arp(args) => args.run(context),
            Self::Ndp(args) => args.run(context),
            Self::Netstat(args) => args.run(context),
            Self::Sysctl(args) => args.run(context),
            Self::Dhcp(args) => args.run(context),
            Self::Ping(args) => args.run(context),
            Self::Ping6(args) => args.run(context),
            Self::Traceroute(args) => args.run(context),
            Self::Nc(args) => args.run(context),
            Self::Fetch(args) => args.run(context),
            Self::Iperf(args) => args.run(context),
            Self::Dumpbus(args) => args.run(context),
            Self::Pcapin(args) => args.run(context),
            Self::Wait(args) => args.run(context),
            Self::Shell(args) => args.run(context),
        }
    }
}

impl Shell {
    fn run(&self, context: &Context<'_>) -> Outcome<()> {
        // A descriptor of its own: a command may want to lock standard input.
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let prompts = stdin.is_terminal();
        let mut input = BufReader::new(Interruptible(stdin));
        loop {
            signals::check()?;
            if prompts {
                let mut stdout = io::stdout();
                write!(stdout, "rump net> ")?;
                stdout.flush()?;
            }
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line);
            signals::check()?;
            if read.map_err(|error| Failure::host("standard input", &error))? == 0 {
                return Ok(());
            }
            let words = crate::commands::shell::words::split(line.trim_ascii());
            let words = words.map_err(|why| Failure::Message(why.into()))?;
            let words: Vec<OsString> = words
                .iter()
                .map(|word| OsString::from_vec(word.text()))
                .collect();
            match words.first().and_then(|word| word.to_str()) {
                None => continue,
                Some("exit" | "quit") => return Ok(()),
                Some("help") => {
                    if let Err(help) = Line::try_parse_from(["--help"]) {
                        explain(&help, &[])?;
                    }
                    continue;
                }
                Some(_) => {}
            }
            match Line::try_parse_from(&words) {
                Ok(Line {
                    command: Tool::Shell(_),
                    ..
                }) => {
                    context
                        .report
                        .fail(&Failure::Message("shell: this is one".into()));
                }
                Ok(line) => match context.run(&line.command) {
                    Ok(()) => {}
                    Err(failure @ (Failure::BrokenPipe | Failure::Interrupted)) => {
                        return Err(failure);
                    }
                    Err(failure) => context.report.fail(&failure),
                },
                Err(error) => {
                    explain(&error, &words)?;
                    if error.use_stderr() {
                        context.report.mark_failed();
                    }
                }
            }
            if self.errors_end && context.report.failed() {
                return Ok(());
            }
        }
    }
}

/// An error of the network about something that has a name.
fn at<E: Into<io::Error>>(name: impl fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::at(name, io_reason(&error.into()))
}

/// The same for an error's number.
fn errno(name: impl fmt::Display) -> impl FnOnce(rumpuser::Errno) -> Failure {
    move |errno| Failure::at(name, errno)
}

/// Reads seconds with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parted_by_two_hyphens() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let (first, rest) = split(words("rump net --sockin ping a -- arp -a -- netstat"));
        assert_eq!(first, words("rump net --sockin ping a"));
        assert_eq!(rest, [words("arp -a"), words("netstat")]);
        assert!(split(words("rump rm -- a:/b")).1.is_empty());
    }
}
