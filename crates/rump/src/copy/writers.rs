//! Regular files, written to the host by several threads while the source is walked.
//!
//! The walk gathers files in batches of one directory; threads take the batches as they come. Making a file costs the host
//! more than finding it costs us, so the walk is mostly waiting for a free place in the queue, which bounds the memory.

use super::{
    Content, Job, Meta, Piece,
    host_file::{FileWriter, Parent},
};
use crate::{
    quote::shown,
    report::{Failure, Outcome, io_reason},
};
use std::{
    ffi::OsString,
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Scope, ScopedJoinHandle},
};

/// A batch is handed over when it has so many files or bytes.
const BATCH_FILES: usize = 32;
const BATCH_BYTES: u64 = 1 << 20;
/// Batches that wait for a thread at most.
const QUEUE: usize = 8;
/// More threads than that wait for each other in the host's file system.
const THREADS: usize = 4;

/// Content that does not depend on its source any more: every piece lies in a file of the host.
pub(crate) struct Detached {
    /// The source, for messages.
    pub(crate) name: Vec<u8>,
    /// `None`: there are no pieces.
    pub(crate) file: Option<Arc<File>>,
    pub(crate) pieces: Vec<Piece>,
}

impl Content for Detached {
    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Outcome<usize> {
        let at = self.pieces.iter().find_map(|piece| {
            let inside = offset.checked_sub(piece.offset)?;
            (inside < piece.len).then(|| piece.host?.checked_add(inside))?
        });
        let read = match (&self.file, at) {
            (Some(file), Some(at)) => file.read_at(buf, at),
            _ => Ok(0),
        };
        match read {
            Ok(0) => Err(Failure::at(
                shown(&self.name),
                "became shorter while it was read",
            )),
            Ok(got) => Ok(got),
            Err(error) => Err(Failure::at(shown(&self.name), io_reason(&error))),
        }
    }

    fn host_file(&self) -> Option<&File> {
        self.file.as_deref()
    }
}

struct NewFile {
    name: OsString,
    meta: Meta,
    content: Detached,
}

struct Batch {
    dir: Arc<Parent>,
    files: Vec<NewFile>,
}

/// The threads, started when there is enough to do, and what is gathered for them.
pub(crate) struct Writers<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    job: &'scope Job<'scope>,
    batch: Option<Batch>,
    /// Bytes in the files of the batch.
    bytes: u64,
    running: Option<Running<'scope>>,
}

struct Running<'scope> {
    queue: SyncSender<Batch>,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope, 'env> Writers<'scope, 'env> {
    /// No thread runs yet.
    pub(crate) fn new(scope: &'scope Scope<'scope, 'env>, job: &'scope Job<'scope>) -> Self {
        Self {
            scope,
            job,
            batch: None,
            bytes: 0,
            running: None,
        }
    }

    /// Has a file written sooner or later. Its failure is reported then.
    pub(crate) fn add(&mut self, dir: &Arc<Parent>, name: OsString, meta: Meta, content: Detached) {
        if !matches!(&self.batch, Some(batch) if Arc::ptr_eq(&batch.dir, dir)) {
            self.hand_over();
        }
        self.bytes = self.bytes.saturating_add(meta.size);
        let batch = self.batch.get_or_insert_with(|| Batch {
            dir: dir.clone(),
            files: Vec::new(),
        });
        batch.files.push(NewFile {
            name,
            meta,
            content,
        });
        if batch.files.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.bytes = 0;
        let Some(batch) = self.batch.take() else {
            return;
        };
        let (scope, job) = (self.scope, self.job);
        let running = self.running.get_or_insert_with(|| start(scope, job));
        // There is no thread if the host gave none, or all have panicked: that the scope tells.
        if let Err(mut unsent) = running.queue.send(batch) {
            write(&mut unsent.0, &mut FileWriter::default(), job);
        }
    }

    /// Waits until every file is written.
    pub(crate) fn settle(&mut self) {
        match (self.running.is_some(), self.batch.take()) {
            // For a file or two no thread is started.
            (false, Some(mut batch)) => write(&mut batch, &mut FileWriter::default(), self.job),
            (_, batch) => {
                self.batch = batch;
                self.hand_over();
            }
        }
        self.bytes = 0;
        let Some(running) = self.running.take() else {
            return;
        };
        drop(running.queue);
        for thread in running.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn start<'scope>(scope: &'scope Scope<'scope, '_>, job: &'scope Job<'scope>) -> Running<'scope> {
    let (queue, batches) = sync_channel(QUEUE);
    let batches = Arc::new(Mutex::new(batches));
    let count = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(THREADS));
    let threads = (0..count).map_while(|_| {
        let batches = batches.clone();
        let body = move || work(&batches, job);
        std::thread::Builder::new().spawn_scoped(scope, body).ok()
    });
    let threads = threads.collect();
    Running { queue, threads }
}

/// A thread's life: batches until there are no more.
fn work(batches: &Mutex<Receiver<Batch>>, job: &Job<'_>) {
    let mut writer = FileWriter::default();
    loop {
        // Who waits for a batch holds the lock; the others wait for that.
        let next = batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(mut batch) = next else { return };
        write(&mut batch, &mut writer, job);
    }
}

fn write(batch: &mut Batch, writer: &mut FileWriter, job: &Job<'_>) {
    for file in &mut batch.files {
        let content = &mut file.content;
        match writer.write(&batch.dir, &file.name, &file.meta, content, job) {
            Ok(()) => {}
            // The walk notices the signal as well, and ends the command.
            Err(Failure::Interrupted) => return,
            Err(failure) => job.report.fail(&failure),
        }
    }
}
