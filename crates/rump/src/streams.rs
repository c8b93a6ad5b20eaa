//! Standard input and output that the program was started without (`<&-`, `>&-`).
//!
//! std opens `/dev/null` for them before `main`, so that no other file gets their numbers. What is written there would be lost without a word,
//! and what is read there would look like an empty file.

use crate::{
    report::{Failure, Outcome},
    signals::Interruptible,
};
use rumpuser::Errno;
use std::{
    fs::File,
    io::{self, StdinLock},
    sync::atomic::{AtomicBool, Ordering},
};

static INPUT_CLOSED: AtomicBool = AtomicBool::new(false);
static OUTPUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// The C library calls it before `main`, and so before std opens anything.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for (number, closed) in [(0, &INPUT_CLOSED), (1, &OUTPUT_CLOSED)] {
        // SAFETY: asks for the flags of a descriptor; no memory is touched, and a number without a file is an error like others.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        closed.store(flags == -1, Ordering::Relaxed);
    }
}

/// Has what is written to a standard output that is closed fail. Nothing else does: a command that has nothing to say does not need it.
pub(crate) fn install() {
    if is_output_closed()
        && let Ok(full) = File::options().write(true).open("/dev/full")
    {
        let _ = rustix::stdio::dup2_stdout(full);
    }
}

/// Whether there is no standard output. Errors of writing to it say less than that.
pub(crate) fn is_output_closed() -> bool {
    OUTPUT_CLOSED.load(Ordering::Relaxed)
}

/// Standard input, until a signal comes.
///
/// # Errors
/// It is closed.
pub(crate) fn input() -> Outcome<Interruptible<StdinLock<'static>>> {
    if INPUT_CLOSED.load(Ordering::Relaxed) {
        return Err(Failure::at("standard input", Errno::EBADF));
    }
    Ok(Interruptible(io::stdin().lock()))
}
