//! A line about long work, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    cell::{Cell, OnceCell},
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Shown only when the work takes longer.
const PATIENCE: Duration = Duration::from_millis(700);

/// Counts what was done.
pub(crate) struct Progress {
    start: Instant,
    terminal: bool,
    files: Cell<u64>,
    bytes: Cell<u64>,
    bar: OnceCell<ProgressBar>,
}

impl Progress {
    /// Begins to count.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            files: Cell::new(0),
            bytes: Cell::new(0),
            bar: OnceCell::new(),
        }
    }

    /// So many bytes more.
    pub(crate) fn bytes(&self, count: u64) {
        self.bytes.set(self.bytes.get().saturating_add(count));
        self.show();
    }

    /// One file more.
    pub(crate) fn file(&self) {
        self.files.set(self.files.get() + 1);
        if self.files.get().is_multiple_of(64) {
            self.show();
        }
    }

    fn show(&self) {
        if !self.terminal || self.bar.get().is_none() && self.start.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let style = ProgressStyle::with_template("{spinner} {bytes} {bytes_per_sec} {msg}");
            let bar = ProgressBar::with_draw_target(None, target);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        bar.set_message(format!("{} files", self.files.get()));
        bar.set_position(self.bytes.get());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
