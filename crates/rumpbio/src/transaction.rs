//! The running transaction, and what is held for it and for the one that commits.

use crate::{Buf, LogRecord, ranges::RangeSet};
use alloc::vec::Vec;
use hashbrown::HashSet;

/// What the lock of the running transaction guards.
#[derive(Default)]
pub(crate) struct Transactions {
    pub(crate) running: Running,
    /// Ranges held by the open handle.
    pub(crate) open_held: RangeSet,
    /// The open handle leads to new file data.
    pub(crate) open_leads_to_data: bool,
    /// Ranges held by the transaction that is being committed.
    committing_held: RangeSet,
}

impl Transactions {
    /// Whether any of the blocks is held.
    pub(crate) fn held(&self, first: u64, count: u64) -> bool {
        [&self.open_held, &self.running.held, &self.committing_held]
            .iter()
            .any(|set| set.touches(first, count))
    }

    /// The first held range that overlaps `first .. end`.
    pub(crate) fn first_held(&self, first: u64, end: u64) -> Option<(u64, u64)> {
        [&self.open_held, &self.running.held, &self.committing_held]
            .iter()
            .filter_map(|set| set.first_in(first, end))
            .min()
    }

    /// What the open handle notes beside its changes is the running transaction's from now on.
    pub(crate) fn join_notes(&mut self) {
        self.running.held.append(&mut self.open_held);
        self.running.leads_to_data |= core::mem::take(&mut self.open_leads_to_data);
    }

    /// What the open handle notes beside its changes is undone.
    pub(crate) fn drop_notes(&mut self) {
        self.open_held.clear();
        self.open_leads_to_data = false;
    }

    /// Closes the running transaction and begins the next. Called under the handle lock, so no content changes.
    pub(crate) fn close(&mut self) -> Frozen {
        let next = Running {
            id: self.running.id + 1,
            ..Running::default()
        };
        let closed = core::mem::replace(&mut self.running, next);
        self.committing_held = closed.held;
        let mut bufs = closed.bufs;
        bufs.retain(|buf| buf.transaction() == closed.id);
        bufs.sort_unstable_by_key(|buf| buf.block());
        bufs.dedup_by_key(|buf| buf.block());
        let records = bufs
            .iter()
            .map(|buf| LogRecord {
                block: buf.block(),
                data: buf.data(),
            })
            .collect();
        let mut revoked: Vec<u64> = closed.revoked.into_iter().collect();
        revoked.sort_unstable();
        Frozen {
            bufs,
            records,
            revoked,
            leads_to_data: closed.leads_to_data,
        }
    }

    /// The transaction that was being committed is durable.
    pub(crate) fn release_held(&mut self) {
        self.committing_held.clear();
    }
}

/// The transaction that handles join.
pub(crate) struct Running {
    /// Names the transaction in its buffers.
    id: u64,
    /// Its changed buffers, kept in the cache by the reference. One that was forgotten does not bear `id` any more.
    bufs: Vec<Buf>,
    revoked: HashSet<u64>,
    held: RangeSet,
    leads_to_data: bool,
}

impl Default for Running {
    fn default() -> Self {
        // A new buffer is of transaction 0.
        Self {
            id: 1,
            bufs: Vec::new(),
            revoked: HashSet::new(),
            held: RangeSet::default(),
            leads_to_data: false,
        }
    }
}

impl Running {
    /// A buffer was changed.
    pub(crate) fn add(&mut self, buf: Buf) {
        if !self.revoked.is_empty() {
            self.revoked.remove(&buf.block());
        }
        if buf.transaction() != self.id {
            buf.set_transaction(self.id);
            self.bufs.push(buf);
        }
    }

    /// A block was forgotten; `buf` is the buffer that it had.
    pub(crate) fn revoke(&mut self, block: u64, buf: Option<&Buf>) {
        if let Some(buf) = buf {
            buf.set_transaction(0);
        }
        self.revoked.insert(block);
    }

    /// How many records of the log it needs, counting generously what its revocations take.
    pub(crate) fn records(&self, block_size: u32) -> usize {
        let revocations_per_block = (block_size / 16) as usize;
        self.bufs.len() + self.revoked.len().div_ceil(revocations_per_block)
    }
}

/// A closed transaction: its content as it was at the close, in block order.
pub(crate) struct Frozen {
    /// The buffers of `records`, kept in the cache until they are home.
    pub(crate) bufs: Vec<Buf>,
    pub(crate) records: Vec<LogRecord>,
    pub(crate) revoked: Vec<u64>,
    /// Something of it leads to file data that nothing led to before.
    pub(crate) leads_to_data: bool,
}

impl Frozen {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.revoked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;
    use alloc::{sync::Arc, vec};

    fn buf(block: u64) -> Buf {
        Arc::new(Buffer::new(block, [0; 8].into()))
    }

    #[test]
    fn closing_sorts_and_leaves_out_what_was_forgotten() {
        let mut transactions = Transactions::default();
        let (a, b, c) = (buf(30), buf(10), buf(20));
        for buf in [&a, &b, &a, &c] {
            transactions.running.add(buf.clone());
        }
        transactions.running.revoke(10, Some(&b));
        transactions.running.revoke(99, None);
        transactions.running.revoke(98, None);
        let again = buf(98);
        transactions.running.add(again);
        let frozen = transactions.close();
        assert_eq!(
            frozen.records.iter().map(|r| r.block).collect::<Vec<_>>(),
            vec![20, 30, 98]
        );
        assert_eq!(frozen.revoked, vec![10, 99]);
        assert_eq!(transactions.running.records(512), 0);
        // The next transaction takes the same buffers anew.
        transactions.running.add(a);
        assert_eq!(transactions.close().records.len(), 1);
    }

    #[test]
    fn a_buffer_forgotten_and_changed_again_is_there_once() {
        let mut transactions = Transactions::default();
        let a = buf(5);
        transactions.running.add(a.clone());
        transactions.running.revoke(5, Some(&a));
        transactions.running.add(a);
        let frozen = transactions.close();
        assert_eq!((frozen.records.len(), frozen.revoked.len()), (1, 0));
    }

    #[test]
    fn held_until_released() {
        let mut transactions = Transactions::default();
        transactions.open_held.insert(5, 2);
        assert!(transactions.held(6, 1));
        transactions.join_notes();
        assert!(transactions.held(6, 1));
        transactions.close();
        assert!(transactions.held(6, 1) && !transactions.held(7, 1));
        transactions.release_held();
        assert!(!transactions.held(6, 1));
    }
}
