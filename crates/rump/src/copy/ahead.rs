//! A tree of the host that is read by a thread of its own, ahead of the sink.
//!
//! The thread puts its entries into a queue that looks like a sink; the caller takes them from there and puts them where they
//! belong. So one processor reads the host's files while the other works in the image. The queue bounds how far ahead the
//! thread may be: in entries, and small files wait in it with their bytes.

use super::{Body, Content, Identity, Job, Meta, Piece, Sink, writers::Detached};
use crate::{
    quote::shown,
    report::{Failure, Outcome},
};
use rumpvfs::calls::Follow;
use std::{
    ops::Range,
    panic::resume_unwind,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
};

/// Entries come in batches of so many or with so many bytes: waking the other thread costs more than an entry.
const BATCH_ENTRIES: usize = 64;
const BATCH_BYTES: usize = 256 << 10;
/// Batches that wait at most.
const BATCHES: usize = 2;
/// A file of so many bytes waits with its bytes.
const SMALL: u64 = 64 << 10;

/// Puts into `sink` what `source` puts into the sink that it is given in a thread of its own. That one knows no identities: the
/// source must be nothing that the sink could lie in.
///
/// # Errors
/// What ends the command, on either side.
pub(crate) fn read_ahead(
    sink: &mut dyn Sink,
    job: &Job<'_>,
    source: impl FnOnce(&mut dyn Sink) -> Outcome<()> + Send,
) -> Outcome<()> {
    thread::scope(|scope| {
        let (queue, batches) = sync_channel(BATCHES);
        let (returned, spares) = channel();
        let reader = scope.spawn(move || {
            let mut queue = Queue {
                queue,
                batch: Batch::default(),
                spares,
            };
            let read = source(&mut queue);
            // What was read before an error is put all the same.
            let sent = queue.hand_over();
            read.and(sent)
        });
        let put = put_all(batches, &returned, sink, job);
        // The queue is gone: a reader that has more notices.
        let read = reader.join().unwrap_or_else(|panic| resume_unwind(panic));
        put.and(read)
    })
}

fn put_all(
    batches: Receiver<Batch>,
    returned: &Sender<Buffer>,
    sink: &mut dyn Sink,
    job: &Job<'_>,
) -> Outcome<()> {
    // Directories that could not be made: what is in them is left out.
    let mut missing: Vec<Vec<u8>> = Vec::new();
    for batch in batches {
        for entry in batch.entries {
            crate::signals::check()?;
            if missing.iter().any(|dir| is_below(dir, &entry.path)) {
                continue;
            }
            let is_dir = matches!(entry.body, Waiting::Directory);
            let done = put(&entry.path, &entry.meta, entry.body, &batch.small, sink);
            let failed = matches!(&done, Err(failure) if !failure.is_final());
            if failed && is_dir {
                missing.push(entry.path);
            }
            match entry.answer {
                Some(answer) => drop(answer.send(done)),
                None => drop(job.report.step(done)?),
            }
        }
        // Nobody needs it when the reader has come to its end.
        drop(returned.send(batch.small));
    }
    Ok(())
}

fn put(
    path: &[u8],
    meta: &Meta,
    body: Waiting,
    small: &Buffer,
    sink: &mut dyn Sink,
) -> Outcome<()> {
    let body = match body {
        Waiting::Directory => Body::Directory,
        Waiting::Symlink(target) => return sink.put(path, meta, Body::Symlink(&target)),
        Waiting::Node => Body::Node,
        Waiting::Link(to) => return sink.put(path, meta, Body::Link(&to)),
        Waiting::Small(pieces, range) => {
            let data = small.bytes.get(range).unwrap_or_default();
            return sink.put(path, meta, Body::Regular(&mut Small { pieces, data }));
        }
        Waiting::Detached(mut content) => return sink.put(path, meta, Body::Regular(&mut content)),
    };
    sink.put(path, meta, body)
}

fn is_below(dir: &[u8], path: &[u8]) -> bool {
    let rest = path.strip_prefix(dir);
    rest.is_some_and(|rest| dir.is_empty() || rest.first() == Some(&b'/'))
}

/// Entries that come together.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    /// The bytes of the small files among them.
    small: Buffer,
}

/// An entry in the queue.
struct Entry {
    path: Vec<u8>,
    meta: Meta,
    body: Waiting,
    /// The reader waits for the outcome.
    answer: Option<SyncSender<Outcome<()>>>,
}

/// A body that belongs to nobody else.
enum Waiting {
    Directory,
    Symlink(Vec<u8>),
    Node,
    Link(Vec<u8>),
    /// Where the bytes of the pieces are in the batch's buffer, one after another.
    Small(Vec<Piece>, Range<usize>),
    Detached(Detached),
}

/// Bytes, of which the first `len` count: its memory is used again and again and not cleared between.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    /// Reads so many bytes of a file from `offset` on, to where the buffer ends now.
    fn append(&mut self, content: &mut dyn Content, offset: u64, count: usize) -> Outcome<()> {
        let (mut offset, end) = (offset, self.len + count);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        while self.len < end {
            let got = content.read_at(offset, &mut self.bytes[self.len..end])?;
            self.len += got;
            offset += got as u64;
        }
        Ok(())
    }
}

/// The content of a small file.
struct Small<'a> {
    pieces: Vec<Piece>,
    data: &'a [u8],
}

impl Content for Small<'_> {
    fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Outcome<usize> {
        let data = self.lend(offset, buf.len())?.unwrap_or_default();
        buf[..data.len()].copy_from_slice(data);
        Ok(data.len())
    }

    fn lend(&mut self, offset: u64, most: usize) -> Outcome<Option<&[u8]>> {
        let mut start = 0;
        for piece in &self.pieces {
            if let Some(inside) = offset.checked_sub(piece.offset)
                && inside < piece.len
            {
                // All are below `SMALL`.
                let (at, end) = ((start + inside) as usize, (start + piece.len) as usize);
                return Ok(self.data.get(at..end.min(at + most)));
            }
            start += piece.len;
        }
        Ok(None)
    }
}

/// The reader's end of the queue.
struct Queue {
    queue: SyncSender<Batch>,
    batch: Batch,
    /// Buffers that come back.
    spares: Receiver<Buffer>,
}

impl Queue {
    fn send(&mut self, path: &[u8], meta: &Meta, body: Waiting) -> Outcome<()> {
        let (answer, outcome) = if meta.more_names {
            let (answer, outcome) = sync_channel(1);
            (Some(answer), Some(outcome))
        } else {
            (None, None)
        };
        self.batch.entries.push(Entry {
            path: path.to_vec(),
            meta: meta.clone(),
            body,
            answer,
        });
        let full = self.batch.entries.len() >= BATCH_ENTRIES || self.batch.small.len >= BATCH_BYTES;
        if outcome.is_some() || full {
            self.hand_over()?;
        }
        match outcome {
            // No answer: it was left out.
            Some(outcome) => outcome.recv().unwrap_or(Ok(())),
            None => Ok(()),
        }
    }

    fn hand_over(&mut self) -> Outcome<()> {
        let mut batch = Batch {
            entries: Vec::with_capacity(BATCH_ENTRIES),
            small: self.spares.try_recv().unwrap_or_default(),
        };
        batch.small.len = 0;
        let batch = std::mem::replace(&mut self.batch, batch);
        // Whoever takes them has ended the command, for a reason of its own.
        self.queue.send(batch).map_err(|_| Failure::Interrupted)
    }

    fn regular(&mut self, path: &[u8], meta: &Meta, content: &mut dyn Content) -> Outcome<()> {
        let pieces = content.pieces().to_vec();
        let total = pieces.iter().map(|piece| piece.len);
        let total = total.fold(0, u64::saturating_add);
        if total <= SMALL {
            let buffer = &mut self.batch.small;
            let start = buffer.len;
            for piece in &pieces {
                let read = buffer.append(content, piece.offset, piece.len as usize);
                if read.is_err() {
                    buffer.len = start;
                    return read;
                }
            }
            let range = start..buffer.len;
            return self.send(path, meta, Waiting::Small(pieces, range));
        }
        let detached = content.detached().ok_or_else(|| {
            let reason = "is not a file of the host that can be read later";
            Failure::at(shown(path), reason)
        })?;
        self.send(path, meta, Waiting::Detached(detached))
    }
}

impl Sink for Queue {
    fn put(&mut self, path: &[u8], meta: &Meta, body: Body<'_>) -> Outcome<()> {
        match body {
            Body::Directory => self.send(path, meta, Waiting::Directory),
            Body::Regular(content) => self.regular(path, meta, content),
            Body::Symlink(target) => self.send(path, meta, Waiting::Symlink(target.to_vec())),
            Body::Node => self.send(path, meta, Waiting::Node),
            Body::Link(to) => self.send(path, meta, Waiting::Link(to.to_vec())),
        }
    }

    fn finish(&mut self) -> Outcome<()> {
        Ok(())
    }

    fn identity(&mut self, _path: &[u8], _follow: Follow) -> Option<Identity> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_a_directory() {
        assert!(is_below(b"", b"a"));
        assert!(is_below(b"a", b"a/b"));
        assert!(!is_below(b"a", b"ab"));
        assert!(!is_below(b"a", b"b/a"));
    }
}
