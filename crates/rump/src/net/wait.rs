//! `rump net wait`.

use super::{Context, LOOK, seconds};
use crate::{report::Outcome, signals};
use clap::Args;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Be a host of the network for a while, which answers, and passes packets on with --forward
#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// So long; otherwise until a signal comes
    #[arg(value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,
}

impl Wait {
    /// Runs it.
    ///
    /// # Errors
    /// A signal came before the time was over.
    pub(crate) fn run(&self, _context: &Context<'_>) -> Outcome<()> {
        let start = Instant::now();
        loop {
            let left = self.time.map(|time| time.saturating_sub(start.elapsed()));
            match (left, signals::check()) {
                (Some(Duration::ZERO), _) | (None, Err(_)) => return Ok(()),
                (_, check) => check?,
            }
            thread::sleep(left.unwrap_or(LOOK).min(LOOK));
        }
    }
}
