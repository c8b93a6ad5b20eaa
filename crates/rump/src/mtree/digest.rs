//! SHA-256 of many files, on as many threads as there are processors.

use crate::{
    copy::{Content, for_chunks, image_source::ImageContent},
    json::hex,
    report::{Failure, Outcome},
    session::Image,
};
use rumpvfs::calls::At;
use sha2::{Digest, Sha256};
use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Digests of the files at these paths, in their order, in hexadecimal.
pub(crate) fn all(image: &Image, paths: &[(Vec<u8>, u64)]) -> Vec<Outcome<String>> {
    /// More would only wait for the image's file.
    const THREADS_MAX: usize = 4;
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.min(THREADS_MAX).min(paths.len());
    if threads <= 1 {
        return paths
            .iter()
            .map(|(path, size)| one(image, path, *size))
            .collect();
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Outcome<String>>>> =
        Mutex::new(paths.iter().map(|_| None).collect());
    let work = || {
        // A few files at a time, as most are small.
        const BATCH: usize = 16;
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = paths.get(first..) else {
                return;
            };
            if batch.is_empty() {
                return;
            }
            let done: Vec<_> = batch
                .iter()
                .take(BATCH)
                .map(|(path, size)| one(image, path, *size))
                .collect();
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

/// The digest of one file. Holes are as many zeros.
fn one(image: &Image, path: &[u8], size: u64) -> Outcome<String> {
    crate::signals::check()?;
    let mut content = ImageContent::open(image, At::Cwd, path, path.to_vec())?;
    let pieces = content.pieces().to_vec();
    let mut hash = Sha256::new();
    let mut at = 0;
    for_chunks(&mut content, &pieces, &mut |offset, data| {
        zeros(&mut hash, offset.saturating_sub(at))?;
        hash.update(data);
        at = offset + data.len() as u64;
        Ok(())
    })?;
    zeros(&mut hash, size.saturating_sub(at))?;
    Ok(hex(&hash.finalize()))
}

fn zeros(hash: &mut Sha256, count: u64) -> Outcome<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut left = count;
    while left > 0 {
        crate::signals::check()?;
        let step = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        hash.update(&ZEROS[..step]);
        left -= step as u64;
    }
    Ok(())
}
