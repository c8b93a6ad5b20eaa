//! `rump net iperf`: measures throughput, as a client or server of iperf3's protocol.
//!
//! A control connection carries states of one byte and JSON with its length in front; the streams are connections of their own to
//! the same port, which begin with the client's cookie.

mod client;
mod control;
mod results;
mod server;
mod stream;
mod test;

use super::{Context, seconds};
use crate::report::{Failure, Outcome};
use clap::Args;
use std::{fmt, io, time::Duration};
use test::{SHORTEST, Test, default_len, longest};

/// How long the other side has for a step.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measure throughput to another host that runs this or iperf3
#[derive(Args, Debug)]
pub(crate) struct Iperf {
    /// Be the server
    #[arg(
        short = 's',
        long,
        conflicts_with = "client",
        required_unless_present = "client"
    )]
    server: bool,
    /// Be the client of this server
    #[arg(short = 'c', long, value_name = "HOST")]
    client: Option<String>,
    /// The server's port
    #[arg(short = 'p', long, default_value = "5201")]
    port: u16,
    /// With -s: end after one test
    #[arg(short = '1', long, conflicts_with = "client")]
    one_off: bool,
    /// How long
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "10", value_parser = seconds, conflicts_with_all = ["bytes", "server"])]
    time: Duration,
    /// So many bytes on all streams, instead of a time (K, M, G may follow)
    #[arg(short = 'n', long, value_name = "BYTES", value_parser = size, conflicts_with = "server")]
    bytes: Option<u64>,
    /// The server sends
    #[arg(short = 'R', long, conflicts_with = "server")]
    reverse: bool,
    /// Streams at once
    #[arg(short = 'P', long, default_value = "1", value_parser = clap::value_parser!(u64).range(1..=128), conflicts_with = "server")]
    parallel: u64,
    /// Bytes of each write
    #[arg(short = 'l', long = "length", value_name = "BYTES", value_parser = size, conflicts_with = "server")]
    len: Option<u64>,
    /// Datagrams instead of a stream
    #[arg(short = 'u', long, conflicts_with = "server")]
    udp: bool,
    /// Bits a second of each stream at most (K, M, G may follow; 0 for no limit; of datagrams 1M unless told otherwise)
    #[arg(short = 'b', long, value_name = "BITS", value_parser = bits, conflicts_with = "server")]
    bitrate: Option<u64>,
    /// Small segments go out at once
    #[arg(short = 'N', long, conflicts_with = "server")]
    no_delay: bool,
    /// The congestion control: cubic, newreno, bbr (with --sockin what the host has)
    #[arg(short = 'C', long, value_name = "NAME", conflicts_with_all = ["udp", "server"])]
    congestion: Option<String>,
    /// A JSON object
    #[arg(short = 'J', long)]
    json: bool,
}

fn size(text: &str) -> Result<u64, String> {
    crate::units::parse_size(text).ok_or_else(|| "not a number of bytes".into())
}

/// Reads a rate, whose letters are powers of 1000.
fn bits(text: &str) -> Result<u64, String> {
    let bad = || "not a number of bits a second".to_owned();
    let (digits, factor) = match text.chars().last() {
        Some('k' | 'K') => (&text[..text.len() - 1], 1e3),
        Some('m' | 'M') => (&text[..text.len() - 1], 1e6),
        Some('g' | 'G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let number: f64 = digits.parse().map_err(|_| bad())?;
    if number.is_finite() && number >= 0.0 {
        Ok((number * factor) as u64)
    } else {
        Err(bad())
    }
}

impl Iperf {
    /// Runs it.
    ///
    /// # Errors
    /// There is no server; the other side breaks off.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        context.stack.end_at_signal();
        match &self.client {
            Some(host) => self.client(context, host),
            None => self.server(context),
        }
    }

    fn test(&self) -> Outcome<Test> {
        let len = self.len.unwrap_or(default_len(self.udp).into());
        let most = longest(self.udp);
        if !(SHORTEST..=most).contains(&len) {
            return Err(Failure::Usage(format!(
                "iperf: writes are from 16 to {most} bytes long"
            )));
        }
        Ok(Test {
            udp: self.udp,
            reverse: self.reverse,
            time: self.time,
            bytes: self.bytes,
            parallel: self.parallel as usize,
            len: len as usize,
            rate: self.bitrate.unwrap_or(if self.udp { 1_000_000 } else { 0 }),
            no_delay: self.no_delay,
            congestion: self.congestion.clone(),
            wide: true,
        })
    }

    /// For people, not for programs.
    fn say(&self, text: impl fmt::Display) -> io::Result<()> {
        if !self.json {
            crate::output::line(text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(bits("1.5M"), Ok(1_500_000));
        assert!(bits("x").is_err() && bits("-1").is_err());
    }
}
