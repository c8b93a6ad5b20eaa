//! SIGINT and SIGTERM ask for the end; it comes at the next safe point. SIGXFSZ is ignored.

use crate::report::{Failure, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, Read},
    os::fd::AsFd,
    sync::atomic::{AtomicI32, Ordering},
};

/// The signal that came, 0 before.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

extern "C" fn remember(signal: libc::c_int) {
    CAUGHT.store(signal, Ordering::Relaxed);
}

/// Has both signals remembered instead of ending the process. A signal that is ignored stays so (`nohup`, background jobs).
///
/// A write past the limit of file sizes is an error like others then, not the end of the process.
pub(crate) fn install() {
    // SAFETY: to ignore a signal runs no code of ours.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `old` and `new` are live and zeroed sigactions, which is a valid state of them; the handler only stores to an
        // atomic, which is safe in a signal handler.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0
                && old.sa_sigaction == libc::SIG_IGN
            {
                continue;
            }
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = remember as extern "C" fn(libc::c_int) as libc::sighandler_t;
            // Without SA_RESTART: a wait for input ends.
            libc::sigaction(signal, &raw const new, std::ptr::null_mut());
        }
    }
}

/// From now on both signals end the process at once: for waits that nothing else can end, while nothing is half done.
pub(crate) fn end_at_once() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: both are live and zeroed sigactions, which is a valid state of them; the default action runs no code of ours.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0
                && old.sa_sigaction != libc::SIG_IGN
            {
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const new, std::ptr::null_mut());
            }
        }
    }
}

/// Ends the process as the signal that came would have.
pub(crate) fn die() -> ! {
    let signal = CAUGHT.load(Ordering::Relaxed);
    end_at_once();
    // SAFETY: the action for the signal is the default one, which runs no code of ours.
    unsafe { libc::raise(signal) };
    std::process::exit(i32::from(128_u8.saturating_add(number())))
}

/// A safe point: nothing is half done here.
///
/// # Errors
/// `Interrupted` after a signal.
pub(crate) fn check() -> Outcome<()> {
    if CAUGHT.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    Err(Failure::Interrupted)
}

/// Whether the signal that came is SIGINT.
pub(crate) fn is_interrupt() -> bool {
    CAUGHT.load(Ordering::Relaxed) == libc::SIGINT
}

/// Goes on after a SIGINT as if it had not come. Whether it had.
pub(crate) fn forget_interrupt() -> bool {
    let (from, to) = (libc::SIGINT, 0);
    CAUGHT
        .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}

/// Number of the signal that came.
pub(crate) fn number() -> u8 {
    u8::try_from(CAUGHT.load(Ordering::Relaxed)).unwrap_or(0)
}

/// A stream whose reading ends with `Interrupted` (as an error of kind `Other`) when a signal comes.
pub(crate) struct Interruptible<R>(pub(crate) R);

/// How long a wait may miss a signal that came just before it.
pub(crate) const WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

impl<R: Read + AsFd> Read for Interruptible<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if check().is_err() {
                return Err(io::Error::other("interrupted"));
            }
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut fds, Some(&WAIT)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.0.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}
