//! Digests of many files, on as many threads as there are processors.

use super::digest::{Algorithm, Digesting, Digests};
use crate::{
    copy::{Content, for_chunks, image_source::ImageContent},
    report::{Failure, Outcome},
    session::Image,
};
use rumpvfs::calls::At;
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A file whose data is to be read.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) path: Vec<u8>,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) algorithms: BTreeSet<Algorithm>,
}

/// Digests of the files, in their order.
pub(crate) fn digests(image: &Image, tasks: &[Task]) -> Vec<Outcome<Digests>> {
    /// More would only wait for the image's file.
    const THREADS_MAX: usize = 4;
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.min(THREADS_MAX).min(tasks.len());
    if threads <= 1 {
        return tasks.iter().map(|task| one(image, task)).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Outcome<Digests>>>> =
        Mutex::new(tasks.iter().map(|_| None).collect());
    let work = || {
        // A few files at a time, as most are small.
        const BATCH: usize = 16;
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = tasks.get(first..) else {
                return;
            };
            if batch.is_empty() {
                return;
            }
            let batch = batch.iter().take(BATCH);
            let done: Vec<_> = batch.map(|task| one(image, task)).collect();
            let mut results = results.lock().unwrap_or_else(|e| e.into_inner());
            for (place, result) in results[first..].iter_mut().zip(done) {
                *place = Some(result);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results
        .into_iter()
        .map(|result| result.unwrap_or(Err(Failure::Interrupted)))
        .collect()
}

/// The digests of one file. Holes are as many zeros.
fn one(image: &Image, task: &Task) -> Outcome<Digests> {
    crate::signals::check()?;
    let mut content = ImageContent::open(image, At::Cwd, &task.path, task.path.clone())?;
    let pieces = content.pieces().to_vec();
    let mut digesting = Digesting::new(&task.algorithms);
    let mut at = 0;
    for_chunks(&mut content, &pieces, &mut |offset, data| {
        zeros(&mut digesting, offset.saturating_sub(at))?;
        digesting.update(data);
        at = offset + data.len() as u64;
        Ok(())
    })?;
    zeros(&mut digesting, task.size.saturating_sub(at))?;
    Ok(digesting.finish())
}

fn zeros(digesting: &mut Digesting, count: u64) -> Outcome<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut left = count;
    while left > 0 {
        crate::signals::check()?;
        let step = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        digesting.update(&ZEROS[..step]);
        left -= step as u64;
    }
    Ok(())
}
