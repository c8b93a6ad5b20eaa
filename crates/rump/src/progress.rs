//! A line about long work, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Shown only when the work takes longer.
const PATIENCE: Duration = Duration::from_millis(700);

/// Counts what was done, by any thread.
pub(crate) struct Progress {
    start: Instant,
    terminal: bool,
    files: AtomicU64,
    bytes: AtomicU64,
    bar: OnceLock<ProgressBar>,
    template: &'static str,
}

impl Progress {
    /// Begins to count.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bar: OnceLock::new(),
            template: "{spinner} {bytes} {bytes_per_sec} {msg}",
        }
    }

    /// Of work in parts, which is told by [`part`](Self::part).
    pub(crate) fn of_phases() -> Self {
        let mut progress = Self::new();
        progress.template = "{spinner} {msg}";
        progress
    }

    /// So much of a part is done.
    pub(crate) fn part(&self, title: &str, done: u64, total: u64) {
        if let Some(bar) = self.bar() {
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
            bar.set_message(format!("{title} {percent}%"));
            bar.tick();
        }
    }

    /// Does what writes to the terminal.
    pub(crate) fn suspend<T>(&self, act: impl FnOnce() -> T) -> T {
        match self.bar.get() {
            Some(bar) => bar.suspend(act),
            None => act(),
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }

    /// So many bytes more.
    pub(crate) fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Relaxed);
        self.show();
    }

    /// One file more.
    pub(crate) fn file(&self) {
        let before = self.files.fetch_add(1, Relaxed);
        if before.is_multiple_of(64) {
            self.show();
        }
    }

    /// The line, once it is to be shown.
    fn bar(&self) -> Option<&ProgressBar> {
        if !self.terminal || self.bar.get().is_none() && self.start.elapsed() < PATIENCE {
            return None;
        }
        Some(self.bar.get_or_init(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let style = ProgressStyle::with_template(self.template);
            let bar = ProgressBar::with_draw_target(None, target);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        }))
    }

    fn show(&self) {
        if let Some(bar) = self.bar() {
            bar.set_message(format!("{} files", self.files.load(Relaxed)));
            bar.set_position(self.bytes.load(Relaxed));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
