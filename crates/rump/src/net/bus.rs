//! `rump net dumpbus`, `rump net pcapin`: an Ethernet in a file, as a capture and from one. No stack is needed.

use super::{Context, LOOK, seconds};
use crate::{
    report::{Failure, Outcome, say},
    signals,
};
use clap::Args;
use rumpnet::pcap::{Expression, Format};
use rumpnet_shmif::{
    Bus, Dump,
    replay::{Pace, replay},
};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

/// Write the frames that an Ethernet in a file still has as a capture
#[derive(Args, Debug)]
pub(crate) struct Dumpbus {
    /// Go on with frames as they come, until a signal does
    #[arg(short = 'f', long)]
    follow: bool,
    /// With -f: end after so long
    #[arg(short = 't', long, value_name = "SECONDS", requires = "follow", value_parser = seconds)]
    time: Option<Duration>,
    /// pcapng instead of pcap
    #[arg(long)]
    pcapng: bool,
    /// Write to this file instead of standard output
    #[arg(short = 'w', value_name = "FILE")]
    output: Option<PathBuf>,
    /// The bus
    #[arg(value_name = "BUS")]
    bus: PathBuf,
    /// Which frames, as tcpdump has it: `tcp port 80 and not host 10.0.0.1`
    #[arg(value_name = "EXPRESSION")]
    expression: Vec<String>,
}

/// Send the frames of a capture onto an Ethernet in a file
#[derive(Args, Debug)]
pub(crate) struct Pcapin {
    /// Without the pauses between the times in the capture
    #[arg(long)]
    fast: bool,
    /// The bus
    #[arg(value_name = "BUS")]
    bus: PathBuf,
    /// The capture, pcap or pcapng
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
}

impl Dumpbus {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such bus; the output fails.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        let expression = self.expression.join(" ");
        let filter: Expression = expression
            .parse()
            .map_err(|error| Failure::Usage(format!("{expression}: {error}")))?;
        let bus = Bus::open_existing(&self.bus);
        let bus = bus.map_err(|errno| Failure::at(self.bus.display(), errno))?;
        match &self.output {
            None => self.dump(
                context,
                &bus,
                filter,
                &mut BufWriter::new(io::stdout().lock()),
                &Failure::from,
            ),
            Some(path) => {
                let fail = |error: io::Error| Failure::host(path, &error);
                let file = File::create(path).map_err(fail)?;
                self.dump(context, &bus, filter, &mut BufWriter::new(file), &fail)
            }
        }
    }

    fn dump(
        &self,
        context: &Context<'_>,
        bus: &Bus,
        filter: Expression,
        out: &mut impl Write,
        fail: &dyn Fn(io::Error) -> Failure,
    ) -> Outcome<()> {
        let format = if self.pcapng {
            Format::PcapNg
        } else {
            Format::Pcap
        };
        let dump = Dump::new(bus, format, out).map_err(fail)?;
        let mut dump = dump.filtered(filter);
        let end = self.time.map(|time| Instant::now() + time);
        loop {
            dump.copy(out).map_err(fail)?;
            out.flush().map_err(fail)?;
            let over = end.is_some_and(|end| Instant::now() >= end);
            if !self.follow || over || signals::check().is_err() {
                break;
            }
            dump.wait(LOOK);
        }
        if dump.lost() {
            context.report.mark_failed();
            say(format_args!(
                "{}: frames were lost: the bus was faster",
                self.bus.display()
            ));
        }
        Ok(())
    }
}

impl Pcapin {
    /// Runs it.
    ///
    /// # Errors
    /// The capture cannot be read or is broken; there is no such bus.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        signals::end_at_once();
        let capture =
            std::fs::read(&self.capture).map_err(|error| Failure::host(&self.capture, &error))?;
        let bus = Bus::open(&self.bus).map_err(|errno| Failure::at(self.bus.display(), errno))?;
        let pace = if self.fast {
            Pace::Fast
        } else {
            Pace::Recorded
        };
        let done = replay(&bus, &capture, pace)
            .map_err(|broken| Failure::at(self.capture.display(), broken))?;
        crate::output::line(format_args!("{} frames sent", done.frames))?;
        if done.skipped > 0 {
            context.report.mark_failed();
            say(format_args!(
                "{}: {} frames are none of Ethernet, or not whole",
                self.capture.display(),
                done.skipped
            ));
        }
        Ok(())
    }
}
