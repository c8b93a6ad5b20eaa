//! What goes wrong, and how it is said: one line on standard error for each thing, and the exit status.

use crate::{
    commands::fsck::status,
    progress::beside,
    quote::{plain, shown},
};
use rumpuser::Errno;
use std::{
    borrow::Cow,
    ffi::OsString,
    fmt,
    io::{self, Write},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
};

/// What ends a step or the whole command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A path and a reason; the next operand is tried.
    Message(String),
    /// As [`Message`](Self::Message), but nothing can be tried after it.
    Fatal(String),
    /// The command line makes no sense: exit status 2.
    Usage(String),
    /// Nobody reads standard output any more: the end, without a word.
    BrokenPipe,
    /// A signal asked for the end.
    Interrupted,
}

/// Result of a step.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A reason about a path of the host.
    pub(crate) fn host(path: impl AsRef<Path>, error: &io::Error) -> Self {
        let path = path.as_ref().as_os_str().as_encoded_bytes();
        Self::Message(format!("{}: {}", shown(path), io_reason(error)))
    }

    /// A reason about anything that has a name.
    pub(crate) fn at(name: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::Message(format!("{name}: {reason}"))
    }

    /// Whether the whole command ends with it, rather than one operand.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Message(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(text) | Self::Fatal(text) | Self::Usage(text) => f.write_str(text),
            Self::BrokenPipe => f.write_str(Errno::EPIPE.text()),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// An error of standard output: the only input or output that is used with a bare `?`.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Message(output_reason(&error))
    }
}

/// What is wrong with standard output.
pub(crate) fn output_reason(error: &io::Error) -> String {
    let reason = match crate::streams::is_output_closed() {
        true => Errno::EBADF.text().into(),
        false => io_reason(error),
    };
    format!("standard output: {reason}")
}

/// The reason of an error of the host, without the "(os error N)" that std adds.
pub(crate) fn io_reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) if Errno::from_number(number).number() == number => {
            Errno::from_number(number).text().into()
        }
        _ => {
            let text = error.to_string();
            match text.find(" (os error ") {
                Some(end) => text[..end].into(),
                None => text,
            }
        }
    }
}

/// Exit status of mount(8): wrong usage or permissions.
pub(crate) const MOUNT_USAGE: u8 = 1;
/// Exit status of mount(8): the mount failed.
const MOUNT_FAILED: u8 = 32;

/// Whether anything has failed so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    failed: AtomicBool,
    /// The exit status is that of fsck(8).
    fsck: AtomicBool,
    /// Bits of it.
    status: AtomicU8,
    /// The exit status is that of a helper of mount(8).
    mount: AtomicBool,
}

impl Report {
    /// Says what failed; the exit status will be 1.
    pub(crate) fn fail(&self, failure: &Failure) {
        self.failed.store(true, Ordering::Relaxed);
        say(failure);
    }

    /// Remembers that something failed or differs, without a word.
    pub(crate) fn mark_failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Takes the failure of one operand and goes on; passes on what ends the command.
    ///
    /// # Errors
    /// The failure, if it is final.
    pub(crate) fn step<T>(&self, outcome: Outcome<T>) -> Outcome<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(failure) if failure.is_final() => Err(failure),
            Err(failure) => {
                self.fail(&failure);
                Ok(None)
            }
        }
    }

    /// Whether anything failed.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The exit status will be that of fsck(8).
    pub(crate) fn use_status_of_fsck(&self) {
        self.fsck.store(true, Ordering::Relaxed);
    }

    /// Adds bits to the exit status; whoever takes 1 for all that fails sees that.
    pub(crate) fn add_status(&self, bits: u8) {
        self.status.fetch_or(bits, Ordering::Relaxed);
    }

    /// The exit status will be that of mount(8).
    pub(crate) fn use_status_of_mount(&self) {
        self.mount.store(true, Ordering::Relaxed);
    }

    fn exit_of_fsck(&self, outcome: Outcome<()>) -> ExitCode {
        let mut bits = self.status.load(Ordering::Relaxed);
        if self.failed() {
            bits |= status::OPERATIONAL;
        }
        match outcome {
            Ok(()) | Err(Failure::BrokenPipe) => {}
            Err(Failure::Interrupted) => bits |= status::CANCELLED,
            Err(failure @ Failure::Usage(_)) => {
                say(&failure);
                say("try 'rump fsck --help'");
                bits |= status::USAGE;
            }
            Err(failure) => {
                say(&failure);
                bits |= status::OPERATIONAL;
            }
        }
        ExitCode::from(bits)
    }

    /// The exit status that belongs to the outcome of the whole command.
    pub(crate) fn exit(&self, outcome: Outcome<()>) -> ExitCode {
        if self.fsck.load(Ordering::Relaxed) {
            return self.exit_of_fsck(outcome);
        }
        let (failed, usage) = match self.mount.load(Ordering::Relaxed) {
            true => (MOUNT_FAILED, MOUNT_USAGE),
            false => (1, 2),
        };
        match outcome {
            Ok(()) | Err(Failure::BrokenPipe) if !self.failed() => ExitCode::SUCCESS,
            Ok(()) | Err(Failure::BrokenPipe) => ExitCode::from(failed),
            Err(Failure::Interrupted) => {
                ExitCode::from(128_u8.saturating_add(crate::signals::number()))
            }
            Err(failure @ Failure::Usage(_)) => {
                say(&failure);
                say("try 'rump --help'");
                ExitCode::from(usage)
            }
            Err(failure @ (Failure::Message(_) | Failure::Fatal(_))) => {
                say(&failure);
                ExitCode::from(failed)
            }
        }
    }
}

/// Prints what clap has to say about a command line: an error without control characters of its words, which may be names from an image.
///
/// # Errors
/// Those of write(2), of help.
pub(crate) fn explain(error: &clap::Error, words: &[OsString]) -> io::Result<()> {
    if !error.use_stderr() {
        error.print()?;
        return io::stdout().flush();
    }
    let is_safe = |word: &OsString| matches!(shown(word.as_bytes()), Cow::Borrowed(_));
    let _ = match words.iter().all(is_safe) {
        true => error.print(),
        false => {
            // Without colors, which cannot be told from what is in the words.
            let text = error.render().to_string();
            io::stderr().lock().write_all(plain(&text).as_bytes())
        }
    };
    Ok(())
}

/// A line on standard error, without control characters: some of the words may be an image's or a server's. That it cannot be written
/// changes nothing.
pub(crate) fn say(text: impl fmt::Display) {
    let text = text.to_string();
    beside(|| drop(writeln!(io::stderr().lock(), "rump: {}", plain(&text))));
}
