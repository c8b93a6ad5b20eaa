//! Lwps: threads of a process, for credentials of their own.

use crate::{Cred, Proc};
use alloc::sync::Arc;
use core::ops::Deref;

/// A thread of a process in whose name system calls are made: a [`Proc`] with a number and, if wanted, credentials of its own.
/// Everything else - descriptors, current and root directory, umask, limits - is the process's. A server makes the calls
/// for each of its clients as an lwp with the client's credentials.
///
/// All calls of `Proc` are an lwp's calls. It belongs to one thread of the host at a time, which alone may change its
/// credentials. Copies of the `Proc` inside, and children, have the credentials that it has then.
pub struct Lwp(Proc);

impl Lwp {
    /// Sets its credentials; those of the process and of its other lwps stay. Nothing is checked, as with
    /// [`Proc::set_cred`].
    pub fn set_cred(&mut self, cred: Cred) {
        self.0.lwp.cred = Some(Arc::new(cred));
    }

    /// Gives up its own credentials: from now on it has those of the process, whatever they become.
    pub fn reset_cred(&mut self) {
        self.0.lwp.cred = None;
    }
}

impl Deref for Lwp {
    type Target = Proc;
    fn deref(&self) -> &Proc {
        &self.0
    }
}

/// Which lwp of its process a [`Proc`] makes its calls as.
#[derive(Clone)]
pub(crate) struct Identity {
    number: u64,
    /// Its own credentials, in place of the process's.
    pub(crate) cred: Option<Arc<Cred>>,
}

impl Identity {
    /// The first lwp of a process, which has the process's credentials.
    pub(crate) const fn first() -> Self {
        Self {
            number: 1,
            cred: None,
        }
    }
}

impl Proc {
    /// One more lwp of this process, with the credentials of this one.
    #[must_use]
    pub fn lwp_create(&self) -> Lwp {
        let mut proc = self.clone();
        proc.lwp.number = self.inner.next_lwp();
        Lwp(proc)
    }

    /// The credentials that the [`Lwp`] has in place of the process's, if it has: each time they are set, another value.
    #[must_use]
    pub fn own_cred(&self) -> Option<&Arc<Cred>> {
        self.lwp.cred.as_ref()
    }

    /// The number of the lwp that makes the calls, among those of the process: 1 is the first, which a `Proc` is that was not
    /// made as an [`Lwp`]. A number is not used again.
    #[must_use]
    pub fn lwp_self(&self) -> u64 {
        self.lwp.number
    }
}
