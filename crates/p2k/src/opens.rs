//! Open files, by the numbers that the host knows them by.

use rumpuser::Errno;
use rumpvfs::vop::OpenVnode;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// Tables that are locked apart; a power of two.
const TABLES: usize = 16;

#[derive(Default)]
struct Table {
    files: Vec<Option<OpenVnode>>,
    free: Vec<usize>,
}

/// Open files. Number 0 is of none: files are then read without having been opened.
#[derive(Default)]
pub(crate) struct Opens {
    tables: [Mutex<Table>; TABLES],
    next: AtomicUsize,
}

impl Opens {
    fn lock(&self, at: usize) -> MutexGuard<'_, Table> {
        self.tables[at % TABLES]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an open file and gives its number.
    pub(crate) fn put(&self, file: OpenVnode) -> u64 {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % TABLES;
        let mut table = self.lock(at);
        let place = if let Some(place) = table.free.pop() {
            table.files[place] = Some(file);
            place
        } else {
            table.files.push(Some(file));
            table.files.len() - 1
        };
        ((place + 1) * TABLES + at) as u64
    }

    fn place(number: u64) -> Option<(usize, usize)> {
        let number = usize::try_from(number).ok()?;
        Some((number % TABLES, (number / TABLES).checked_sub(1)?))
    }

    /// An open file.
    ///
    /// # Errors
    /// `EBADF`.
    pub(crate) fn get(&self, number: u64) -> Result<OpenVnode, Errno> {
        let (at, place) = Self::place(number).ok_or(Errno::EBADF)?;
        let table = self.lock(at);
        let file = table.files.get(place).and_then(Option::as_ref);
        file.cloned().ok_or(Errno::EBADF)
    }

    /// Takes an open file out.
    pub(crate) fn take(&self, number: u64) -> Option<OpenVnode> {
        let (at, place) = Self::place(number)?;
        let mut table = self.lock(at);
        let file = table.files.get_mut(place)?.take()?;
        table.free.push(place);
        Some(file)
    }

    /// Takes all out.
    pub(crate) fn clear(&self) -> Vec<OpenVnode> {
        let mut all = Vec::new();
        for at in 0..TABLES {
            all.extend(self.lock(at).files.drain(..).flatten());
        }
        all
    }
}
