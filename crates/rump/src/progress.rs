//! A line about long work, on a terminal only.

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::{
        OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Shown only when the work takes longer.
const PATIENCE: Duration = Duration::from_millis(700);
/// So often in a second at most.
const HERTZ: u8 = 10;

/// The line that is shown, if one is.
static SHOWN: RwLock<Option<ProgressBar>> = RwLock::new(None);

/// Does what writes to the terminal, with no line in the way.
pub(crate) fn beside<T>(act: impl FnOnce() -> T) -> T {
    let shown = SHOWN.read().unwrap_or_else(PoisonError::into_inner);
    let bar = shown.clone();
    drop(shown);
    match bar {
        Some(bar) => bar.suspend(act),
        None => act(),
    }
}

/// Does what takes an unknown time in one call, with a line that says what and since when.
pub(crate) fn waiting<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let progress = Progress::new();
    if !progress.terminal {
        return act();
    }
    thread::scope(|scope| {
        let (done, ended) = channel::<()>();
        scope.spawn(move || {
            let look = Duration::from_secs(1) / HERTZ.into();
            while ended.recv_timeout(look) == Err(RecvTimeoutError::Timeout) {
                progress.show(|| format!("{what}: {} s", progress.start.elapsed().as_secs()));
            }
        });
        let result = act();
        drop(done);
        result
    })
}

/// Counts what was done, by any thread.
pub(crate) struct Progress {
    start: Instant,
    terminal: bool,
    files: AtomicU64,
    bytes: AtomicU64,
    /// When the line was changed last: milliseconds since the start.
    changed: AtomicU64,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// Begins to count.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            bar: OnceLock::new(),
        }
    }

    /// So much of a part is done.
    pub(crate) fn part(&self, title: &str, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
        self.show(|| format!("{title} {percent}%"));
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.bar.get() {
            *SHOWN.write().unwrap_or_else(PoisonError::into_inner) = None;
            bar.finish_and_clear();
        }
    }

    /// So many bytes more.
    pub(crate) fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Relaxed);
        self.show(|| self.counts());
    }

    /// One file more.
    pub(crate) fn file(&self) {
        let before = self.files.fetch_add(1, Relaxed);
        if before.is_multiple_of(64) {
            self.show(|| self.counts());
        }
    }

    fn counts(&self) -> String {
        let (bytes, files) = (self.bytes.load(Relaxed), self.files.load(Relaxed));
        counts(bytes, files, self.start.elapsed())
    }

    /// Changes the line, once it is to be shown.
    fn show(&self, text: impl FnOnce() -> String) {
        if !self.terminal {
            return;
        }
        let since = self.start.elapsed();
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let before = self.changed.load(Relaxed);
        if since < PATIENCE || now.saturating_sub(before) < 1000 / u64::from(HERTZ) {
            return;
        }
        self.changed.store(now, Relaxed);
        let bar = self.bar.get_or_init(|| {
            let target = ProgressDrawTarget::stderr_with_hz(HERTZ);
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            let bar = ProgressBar::with_draw_target(None, target);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            let shown = bar.clone();
            *SHOWN.write().unwrap_or_else(PoisonError::into_inner) = Some(shown);
            bar
        });
        bar.set_message(text());
        bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn counts(bytes: u64, files: u64, time: Duration) -> String {
    let milliseconds = time.as_millis().max(1);
    let rate = u128::from(bytes) * 1000 / milliseconds;
    let rate = BinaryBytes(u64::try_from(rate).unwrap_or(u64::MAX));
    let word = if files == 1 { "file" } else { "files" };
    format!("{} {rate}/s {files} {word}", BinaryBytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_all_the_time() {
        let text = |bytes, files, ms| counts(bytes, files, Duration::from_millis(ms));
        assert_eq!(text(900 << 20, 1, 1500), "900.00 MiB 600.00 MiB/s 1 file");
        assert_eq!(text(0, 0, 0), "0 B 0 B/s 0 files");
        assert_eq!(text(u64::MAX, 2, 0), "16.00 EiB 16.00 EiB/s 2 files");
    }
}
