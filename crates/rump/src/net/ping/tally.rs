//! What a `ping` has measured.

use crate::{output::Out, report::Outcome};
use std::{io::Write as _, time::Duration};

/// What was measured.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) doubled: u64,
    pub(super) errors: u64,
    /// Milliseconds: shortest, longest, sum, sum of squares.
    shortest: f64,
    longest: f64,
    sum: f64,
    squares: f64,
}

impl Tally {
    /// An echo came after so many milliseconds.
    pub(super) fn count(&mut self, time: f64) {
        self.shortest = if self.received == 0 {
            time
        } else {
            self.shortest.min(time)
        };
        self.longest = self.longest.max(time);
        self.received += 1;
        self.sum += time;
        self.squares += time * time;
    }

    /// Prints the sum.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn print(&self, name: &str, time: Duration) -> Outcome<()> {
        let mut out = Out::new();
        writeln!(out, "\n--- {name} ping statistics ---")?;
        write!(
            out,
            "{} packets transmitted, {} received",
            self.sent, self.received
        )?;
        if self.doubled > 0 {
            write!(out, ", +{} duplicates", self.doubled)?;
        }
        if self.errors > 0 {
            write!(out, ", +{} errors", self.errors)?;
        }
        let lost =
            (self.sent - self.received.min(self.sent)) as f64 * 100.0 / self.sent.max(1) as f64;
        // As many digits as it needs, six at most.
        let lost = format!("{lost:.4}");
        let lost = lost.trim_end_matches('0').trim_end_matches('.');
        writeln!(out, ", {lost}% packet loss, time {}ms", time.as_millis())?;
        if self.received > 0 {
            let count = self.received as f64;
            let mean = self.sum / count;
            let deviation = (self.squares / count - mean * mean).max(0.0).sqrt();
            writeln!(
                out,
                "rtt min/avg/max/mdev = {:.3}/{mean:.3}/{:.3}/{deviation:.3} ms",
                self.shortest, self.longest
            )?;
        }
        out.flush()?;
        Ok(())
    }
}
