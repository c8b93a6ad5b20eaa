//! Which operations of a disk fail, and how.

use crate::Rng;
use rumpuser::Errno;
use std::ops::Range;

/// What a disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `read_at`, or a whole `read_vectored_at`.
    Read,
    /// `write_at`, or a whole `write_vectored_at`.
    Write,
    /// `flush`.
    Flush,
    /// `discard`.
    Discard,
}

/// An error that a disk gives on purpose. By default every operation of its kind fails with `EIO` and does nothing.
///
/// ```
/// use rumpuser_sim::{Fault, Operation};
/// // The second write from now on that touches the first 4096 bytes leaves only some of its sectors.
/// let fault = Fault::on(Operation::Write).range(0..4096).after(1).times(1).torn(42);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    /// `None`: any.
    operation: Option<Operation>,
    range: Option<Range<u64>>,
    /// Operations that match and still succeed.
    after: u64,
    /// Operations that then fail.
    times: u64,
    errno: Errno,
    torn: Option<Rng>,
}

/// What happens to an operation that a fault hits.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    /// For a torn operation: decides which part of it is done all the same.
    pub(crate) torn: Option<Rng>,
}

impl Fault {
    /// A fault of every `operation`.
    #[must_use]
    pub fn on(operation: Operation) -> Self {
        Self::of(Some(operation))
    }

    /// A fault of every operation, whatever it is: the device is gone.
    #[must_use]
    pub fn on_any() -> Self {
        Self::of(None)
    }

    fn of(operation: Option<Operation>) -> Self {
        Self {
            operation,
            range: None,
            after: 0,
            times: u64::MAX,
            errno: Errno::EIO,
            torn: None,
        }
    }

    /// Only of operations that touch `range`, in bytes. A flush touches nothing.
    #[must_use]
    pub fn range(self, range: Range<u64>) -> Self {
        Self {
            range: Some(range),
            ..self
        }
    }

    /// The first `count` that match still succeed.
    #[must_use]
    pub fn after(self, count: u64) -> Self {
        Self {
            after: count,
            ..self
        }
    }

    /// It happens `count` times, then no more.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            times: count,
            ..self
        }
    }

    /// It gives another error than `EIO`, such as `ENOSPC`.
    #[must_use]
    pub fn errno(self, errno: Errno) -> Self {
        Self { errno, ..self }
    }

    /// What fails so is done in part, as `seed` chooses: a write leaves some of its sectors on the medium, a read fills the start of
    /// its buffer and spoils the rest, a flush loses some of the writes that it was to make durable (as a disk does that gives up a
    /// cache that it cannot write).
    #[must_use]
    pub fn torn(self, seed: u64) -> Self {
        Self {
            torn: Some(Rng::new(seed)),
            ..self
        }
    }

    /// Counts an operation; says whether it fails.
    pub(crate) fn hit(&mut self, operation: Operation, touched: &Range<u64>) -> Option<Failure> {
        let matches = self.operation.is_none_or(|own| own == operation)
            && self
                .range
                .as_ref()
                .is_none_or(|range| range.start.max(touched.start) < range.end.min(touched.end));
        if !matches || self.times == 0 {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        self.times -= 1;
        // Each torn write tears elsewhere.
        let torn = self.torn.as_mut().map(|rng| Rng::new(rng.next_u64()));
        Some(Failure {
            errno: self.errno,
            torn,
        })
    }
}
