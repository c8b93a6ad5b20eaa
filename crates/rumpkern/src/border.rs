//! The border of a kernel, where panics end.
//!
//! Whatever enters a kernel passes here: every system call (except those that cannot panic because they only look a
//! value up), kernel threads, call-outs, what a component starts and stops. A panic inside becomes `EIO`; its message and
//! place go to the message buffer. On its way it has let go of every lock; who keeps a state that may be half changed looks
//! for [`unwinding`](rumpuser::Threads::unwinding) when it lets go, and takes that out of service.

use crate::{Kernel, Log, Proc};
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use rumpuser::{Errno, Host, Result, sync::RwLock};

type After = Box<dyn Fn() + Send + Sync>;

/// Where panics of a kernel end.
pub(crate) struct Border {
    host: Arc<dyn Host>,
    log: Log,
    /// What factions do after a panic.
    after: RwLock<Vec<After>>,
}

impl Border {
    pub(crate) fn new(host: &Arc<dyn Host>, log: &Log) -> Arc<Self> {
        Arc::new(Self {
            host: host.clone(),
            log: log.clone(),
            after: RwLock::default(),
        })
    }

    pub(crate) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// Runs `body`; a panic in it is told and becomes `EIO`.
    ///
    /// # Errors
    /// That of `body`; `EIO` after a panic.
    #[inline]
    pub(crate) fn enter<R>(&self, body: impl FnOnce() -> Result<R>) -> Result<R> {
        self.enter_as("", body)
    }

    /// As [`enter`](Self::enter), for what has a name.
    ///
    /// # Errors
    /// As `enter`.
    #[inline]
    pub(crate) fn enter_as<R>(&self, what: &str, body: impl FnOnce() -> Result<R>) -> Result<R> {
        let mut body = Some(body);
        let mut result = Err(Errno::EIO);
        let mut run = || {
            if let Some(body) = body.take() {
                result = body();
            }
        };
        match self.host.catch(&mut run) {
            Ok(()) => result,
            Err(panic) => {
                self.panicked(what, &panic);
                Err(Errno::EIO)
            }
        }
    }

    #[cold]
    fn panicked(&self, what: &str, panic: &str) {
        // The host's clock and console are needed for a message, and one of them may be what panicked: then nobody is left
        // to tell.
        let _ = self.host.catch(&mut || {
            if what.is_empty() {
                self.log.message(format_args!("panic: {panic}"));
            } else {
                self.log.message(format_args!("{what}: panic: {panic}"));
            }
        });
        for after in &*self.after.read() {
            let _ = self.host.catch(&mut || after());
        }
    }
}

/// Runs `body`; a panic in it becomes the text of what it said and where. For a component that has to know: what it is in
/// charge of then goes out of service. Where nobody has to, the border catches.
///
/// # Errors
/// The panic's text.
pub fn catch<R>(host: &dyn Host, body: impl FnOnce() -> R) -> core::result::Result<R, String> {
    let mut body = Some(body);
    let mut result = None;
    host.catch(&mut || result = body.take().map(|body| body()))?;
    result.ok_or_else(|| "the host did not run what it was to catch".into())
}

impl Kernel {
    /// Enters the kernel: what a faction's calls for a consumer run in, as [`Proc::enter`].
    ///
    /// # Errors
    /// That of `body`; `EIO` after a panic.
    #[inline]
    pub fn enter<R>(&self, body: impl FnOnce() -> Result<R>) -> Result<R> {
        self.inner.border.enter(body)
    }

    /// Has `after` called when a panic has ended at the border, on the thread that panicked: a faction tells there what went
    /// out of service, and wakes who waits for it.
    pub fn on_panic(&self, after: impl Fn() + Send + Sync + 'static) {
        self.inner.border.after.write().push(Box::new(after));
    }
}

impl Proc {
    /// Enters the kernel: every system call that may hit a bug runs in this. A panic in `body` becomes `EIO`, its message
    /// goes to the kernel's messages.
    ///
    /// # Errors
    /// That of `body`; `EIO` after a panic.
    #[inline]
    pub fn enter<R>(&self, body: impl FnOnce() -> Result<R>) -> Result<R> {
        self.kernel.border().enter(body)
    }
}
