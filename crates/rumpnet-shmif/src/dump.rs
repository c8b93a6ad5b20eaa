//! A bus as a capture: `rump net dumpbus`.

use crate::Bus;
use rumpnet::pcap::{Encoder, Expression, Format, LinkType};
use std::{
    io::{self, Write},
    time::Duration,
};

/// Bytes of a frame that are kept: all.
const SNAP: usize = 262_144;

/// Writes what passes over a bus as a capture, from the oldest frame on that the bus still has.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumpnet::pcap::Format;
/// let bus = rumpnet_shmif::Bus::open_existing("/tmp/bus")?;
/// let mut file = std::fs::File::create("bus.pcap")?;
/// let mut dump = rumpnet_shmif::Dump::new(&bus, Format::Pcap, &mut file)?;
/// println!("{} frames", dump.copy(&mut file)?);
/// # Ok(())
/// # }
/// ```
pub struct Dump<'a> {
    bus: &'a Bus,
    encoder: Encoder,
    filter: Expression,
    place: u64,
    lost: bool,
}

impl<'a> Dump<'a> {
    /// Begins a capture in `to`.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn new(bus: &'a Bus, format: Format, to: &mut impl Write) -> io::Result<Self> {
        let encoder = Encoder::new(format, LinkType::ETHERNET, SNAP);
        to.write_all(&encoder.head("bus"))?;
        Ok(Self {
            bus,
            encoder,
            filter: Expression::default(),
            place: bus.oldest(),
            lost: false,
        })
    }

    /// Leaves out frames that an expression does not match.
    #[must_use]
    pub fn filtered(mut self, filter: Expression) -> Self {
        self.filter = filter;
        self
    }

    /// Writes the frames that are there and have not been looked at; returns how many. Those that are sent meanwhile are
    /// left for the next time, so it comes to an end.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn copy(&mut self, to: &mut impl Write) -> io::Result<u64> {
        let head = self.bus.head();
        let (mut count, mut out) = (0, Vec::new());
        while self.place < head {
            let Some(frame) = self.bus.read(self.place) else {
                // Overtaken: what there was is lost.
                self.lost = true;
                let oldest = self.bus.oldest();
                self.place = if oldest > self.place { oldest } else { head };
                continue;
            };
            if self.filter.matches(LinkType::ETHERNET, None, &frame.packet) {
                out.clear();
                self.encoder
                    .record(&mut out, None, &frame.packet, frame.time);
                to.write_all(&out)?;
                count += 1;
            }
            self.place = frame.next;
        }
        Ok(count)
    }

    /// Waits until there is more to copy, but no longer than `time`.
    pub fn wait(&self, time: Duration) {
        let head = self.bus.head();
        if head == self.place {
            self.bus.wait(head, time);
        }
    }

    /// Whether frames were lost because the bus was faster.
    #[must_use]
    pub const fn lost(&self) -> bool {
        self.lost
    }
}
