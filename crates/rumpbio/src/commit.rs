//! How a transaction becomes durable and goes home.

use crate::{
    Buf, BufData, Handle, Hooks, Log, LogRecord, Volume, buffer::Spares, transaction::Frozen,
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;
use rumpuser::{Errno, Result};

/// What the commit lock guards.
pub(crate) struct Committer {
    /// The checkpoint list: the newest durable content of each block that is in the log and not known to be home.
    logged: BTreeMap<u64, Logged>,
    /// Whether the log holds a transaction.
    log_used: bool,
    /// Number of the last close that is durable.
    durable: u64,
    /// Contents that left the checkpoint list and are no buffer's any more, for the next handle. Where each transaction changes thousands of
    /// blocks, to have malloc look for them again costs more than to copy them.
    spares: Spares,
}

/// A block on the checkpoint list.
struct Logged {
    /// Keeps the buffer in the cache: its home has older content.
    _buf: Buf,
    /// The durable content. The buffer may have newer one, which must not go home.
    data: BufData,
}

impl Committer {
    pub(crate) fn new(spares: Spares) -> Self {
        Self {
            logged: BTreeMap::new(),
            log_used: false,
            durable: 0,
            spares,
        }
    }

    fn add(&mut self, frozen: Frozen) {
        for (buf, record) in frozen.bufs.into_iter().zip(frozen.records) {
            let logged = Logged {
                _buf: buf,
                data: record.data,
            };
            if let Some(older) = self.logged.insert(record.block, logged) {
                self.spares.put(older.data);
            }
        }
    }
}

impl Volume {
    /// Makes all handles that committed so far durable, and what was written to the device itself before the call.
    ///
    /// No handle may be open in the calling thread. Takes no lock of the caller's; [`Hooks`] says what is called. A device
    /// that is read-only has nothing to commit: that is no error.
    ///
    /// # Errors
    /// What [`Hooks::before_commit`] gives: the transaction stays running. `EIO` or `ENOSPC` from the device or the log,
    /// and what [`Hooks::write_ordered`] gives: the volume is then aborted. `EIO` when it was aborted before.
    pub fn commit(&self) -> Result<()> {
        let closes = self.closes.load(Ordering::SeqCst);
        let mut committer = self.committer.lock();
        // A transaction that was closed after the call began and is durable by now had all of the caller's changes.
        if committer.durable > closes && !self.aborted() {
            return Ok(());
        }
        self.commit_running(&mut committer)
    }

    /// [Commits](Self::commit) if it is time to ([`needs_commit`](Self::needs_commit)).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn balance(&self) -> Result<()> {
        if self.needs_commit() {
            self.commit()
        } else {
            Ok(())
        }
    }

    /// Commits, writes every block home and empties the log: what a clean unmount and `sync` at the end do. Afterwards
    /// nothing is dirty.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn checkpoint(&self) -> Result<()> {
        let mut committer = self.committer.lock();
        self.commit_running(&mut committer)?;
        match self.log() {
            Some(log) => self.or_abort(self.write_back(&mut committer, &*log)),
            None => Ok(()),
        }
    }

    /// Lets go of everything, and writes nothing: the cache, what is not durable, the log and the hooks. For the end of
    /// an unmount; after a [`checkpoint`](Self::checkpoint) nothing is lost by it. If something is, the volume counts
    /// as aborted (without a call of [`Hooks::aborted`]). Dropping a volume never writes either.
    pub fn discard_all(&self) {
        let mut committer = self.committer.lock();
        let mut desk = self.handle.lock();
        desk.spares.clear();
        let running = self.transactions.lock().close();
        self.transactions.lock().release_held();
        if !running.is_empty() || !committer.logged.is_empty() {
            self.aborted.store(true, Ordering::SeqCst);
        }
        committer.logged.clear();
        committer.spares.clear();
        self.cache.clear();
        let owners = (self.log.lock().take(), self.hooks.lock().take());
        drop(desk);
        drop(committer);
        drop((running, owners));
    }

    /// Closes the running transaction and makes it durable.
    fn commit_running(&self, committer: &mut Committer) -> Result<()> {
        if self.device().read_only() {
            return Ok(());
        }
        if self.aborted() {
            return Err(Errno::EIO);
        }
        let hooks = self.hooks();
        let (frozen, number) = self.close_running(committer, hooks.as_deref())?;
        // What cannot be made durable stays on the checkpoint list: that keeps it in the cache, and an aborted volume never
        // writes it.
        if let Some(hooks) = &hooks
            && let Err(error) = hooks.write_ordered()
        {
            committer.add(frozen);
            return self.or_abort(Err(error));
        }
        self.or_abort(match self.log() {
            Some(log) => self.commit_to_log(committer, &*log, frozen),
            None => self.commit_home(committer, frozen, hooks.as_deref()),
        })?;
        committer.durable = number;
        self.transactions.lock().release_held();
        Ok(())
    }

    /// Runs the last handle and closes the transaction while the handle lock is still taken.
    fn close_running(
        &self,
        committer: &mut Committer,
        hooks: Option<&dyn Hooks>,
    ) -> Result<(Frozen, u64)> {
        let mut handle = Handle::new(self, self.handle.lock());
        handle.put_spares(&mut committer.spares);
        if let Some(hooks) = hooks {
            hooks.before_commit(&mut handle)?;
        }
        let _closed = handle.close();
        let number = self.closes.fetch_add(1, Ordering::SeqCst) + 1;
        Ok((self.transactions.lock().close(), number))
    }

    fn commit_to_log(
        &self,
        committer: &mut Committer,
        log: &dyn Log,
        frozen: Frozen,
    ) -> Result<()> {
        if frozen.is_empty() {
            return self.device().flush();
        }
        let appended = self.append(committer, log, &frozen);
        let revoked = frozen.revoked.clone();
        committer.add(frozen);
        appended?;
        // Durable: from now on the revoked blocks may be file data.
        for block in revoked {
            committer.logged.remove(&block);
        }
        if committer.logged.len() > self.most_logged {
            self.write_back(committer, log)?;
        }
        Ok(())
    }

    fn append(&self, committer: &mut Committer, log: &dyn Log, frozen: &Frozen) -> Result<()> {
        self.check_alive()?;
        // Even a failed append may leave something in the log.
        committer.log_used = true;
        match log.append(&frozen.records, &frozen.revoked) {
            Err(Errno::ENOSPC) => {
                // Blocks that this transaction forgets still go home, as it is not durable.
                self.write_back(committer, log)?;
                committer.log_used = true;
                log.append(&frozen.records, &frozen.revoked)
            }
            other => other,
        }
    }

    /// Writes a transaction home on a volume without a log, in the steps that [`Hooks::home_steps`] tells of.
    fn commit_home(
        &self,
        committer: &mut Committer,
        frozen: Frozen,
        hooks: Option<&dyn Hooks>,
    ) -> Result<()> {
        let steps = hooks.map_or_else(Vec::new, |hooks| hooks.home_steps(&frozen.records));
        let written = self.write_steps(&frozen, &steps);
        match written {
            Ok(()) => frozen.bufs.iter().for_each(|buf| buf.set_created(false)),
            Err(_) => committer.add(frozen),
        }
        written
    }

    fn write_steps(&self, frozen: &Frozen, steps: &[Vec<LogRecord>]) -> Result<()> {
        let with_bufs = || frozen.bufs.iter().zip(&frozen.records);
        let created = with_bufs().filter(|(buf, _)| buf.created());
        let created: Vec<u64> = created.map(|(_, record)| record.block).collect();
        let is_created = |record: &LogRecord| created.binary_search(&record.block).is_ok();
        if frozen.leads_to_data && created.is_empty() && !frozen.records.is_empty() {
            self.device().flush()?;
        }
        let mut first: Vec<&LogRecord> = with_bufs()
            .map(|(_, record)| record)
            .filter(|record| is_created(record))
            .collect();
        let mut parts = Vec::with_capacity(steps.len() + 2);
        // What each block is like at home by then.
        let mut home: BTreeMap<u64, &BufData> = BTreeMap::new();
        for step in steps {
            let step = step.iter().filter(|record| !is_created(record));
            first.extend(step);
            home.extend(first.iter().map(|record| (record.block, &record.data)));
            first.sort_unstable_by_key(|record| record.block);
            parts.push(core::mem::take(&mut first));
        }
        parts.push(first);
        let left = frozen
            .records
            .iter()
            .filter(|record| !is_created(record) && home.get(&record.block) != Some(&&record.data));
        parts.push(left.collect());
        parts.retain(|part| !part.is_empty());
        if parts.is_empty() {
            // What the driver wrote itself is to be durable all the same.
            return self.device().flush();
        }
        parts.iter().try_for_each(|part| self.write_all(part))
    }

    /// Writes blocks home and makes them durable.
    fn write_all(&self, records: &[&LogRecord]) -> Result<()> {
        self.write_home(records.iter().map(|record| (record.block, &record.data)))?;
        self.device().flush()
    }

    /// Writes the checkpoint list home and empties the log.
    fn write_back(&self, committer: &mut Committer, log: &dyn Log) -> Result<()> {
        if !committer.log_used {
            return Ok(());
        }
        self.write_home(
            committer
                .logged
                .iter()
                .map(|(block, logged)| (*block, &logged.data)),
        )?;
        self.device().flush()?;
        self.check_alive()?;
        log.checkpointed()?;
        committer.log_used = false;
        for (_, logged) in core::mem::take(&mut committer.logged) {
            committer.spares.put(logged.data);
        }
        Ok(())
    }

    /// Writes blocks, given in ascending order, to their homes: neighbours in one transfer.
    fn write_home<'a>(&self, blocks: impl Iterator<Item = (u64, &'a BufData)>) -> Result<()> {
        let most = (Self::TRANSFER_BYTES / self.block_size() as usize).max(1);
        let mut run: Vec<&[u8]> = Vec::new();
        let (mut first, mut next) = (0, 0);
        for (block, data) in blocks {
            if !run.is_empty() && (block != next || run.len() >= most) {
                self.write_run(first, &run)?;
                run.clear();
            }
            if run.is_empty() {
                first = block;
            }
            run.push(data);
            next = block + 1;
        }
        self.write_run(first, &run)
    }

    fn write_run(&self, first: u64, run: &[&[u8]]) -> Result<()> {
        self.check_alive()?;
        match run {
            [] => Ok(()),
            [one] => self.device().write_at(self.offset(first), one),
            many => self.device().write_vectored_at(self.offset(first), many),
        }
    }

    fn check_alive(&self) -> Result<()> {
        if self.aborted() {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }

    fn or_abort(&self, result: Result<()>) -> Result<()> {
        if result.is_err() {
            self.abort();
        }
        result
    }

    /// Turns the volume read-only: every later [`begin`](Self::begin) is `EROFS`, and nothing more is written. What is cached
    /// stays readable, also what will never be durable. For a driver that finds the medium too damaged to go on.
    pub fn abort(&self) {
        if !self.aborted.swap(true, Ordering::SeqCst)
            && let Some(hooks) = self.hooks()
        {
            hooks.aborted(self);
        }
    }

    /// Whether the volume was aborted.
    #[must_use]
    pub fn aborted(&self) -> bool {
        self.aborted.load(Ordering::SeqCst)
    }

    pub(crate) fn hooks(&self) -> Option<Arc<dyn Hooks>> {
        self.hooks.lock().clone()
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.log.lock().clone()
    }
}
