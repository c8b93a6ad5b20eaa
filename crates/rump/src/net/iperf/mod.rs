//! `rump net iperf`: measures throughput, as a client or server of iperf3's protocol.
//!
//! A control connection carries states of one byte and JSON with its length in front; the streams are connections of their own to
//! the same port, which begin with the client's cookie.

mod control;
mod stream;

use super::{Context, at, seconds};
use crate::{
    report::{Failure, Outcome},
    signals,
};
use clap::Args;
use control::{Control, Cookie, State};
use serde_json::{Value, json};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use stream::Stream;
use uknet::{TcpListener, ToSocketAddrs as _, UdpSocket};

/// Streams at most.
const PARALLEL: u64 = 128;
/// Payload of a datagram unless told otherwise: it fits in a packet of 1500 bytes with any headers.
const UDP_LEN: u32 = 1_432;
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
    #[arg(short = '1', long, requires = "server")]
    one_off: bool,
    /// How long
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    time: Duration,
    /// So many bytes on all streams, instead of a time (K, M, G may follow)
    #[arg(short = 'n', long, value_name = "BYTES", value_parser = size)]
    bytes: Option<u64>,
    /// The server sends
    #[arg(short = 'R', long)]
    reverse: bool,
    /// Streams at once
    #[arg(short = 'P', long, default_value = "1", value_parser = clap::value_parser!(u64).range(1..=128))]
    parallel: u64,
    /// Bytes of each write
    #[arg(short = 'l', long = "length", value_name = "BYTES", value_parser = size)]
    len: Option<u64>,
    /// Datagrams instead of a stream
    #[arg(short = 'u', long)]
    udp: bool,
    /// Bits a second of each stream at most (K, M, G may follow; 0 for no limit; of datagrams 1M unless told otherwise)
    #[arg(short = 'b', long, value_name = "BITS", value_parser = bits)]
    bitrate: Option<u64>,
    /// Small segments go out at once
    #[arg(short = 'N', long)]
    no_delay: bool,
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

/// What a test is to be, as the client tells the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    udp: bool,
    reverse: bool,
    time: Duration,
    bytes: Option<u64>,
    parallel: usize,
    len: usize,
    rate: u64,
    no_delay: bool,
    /// Datagrams have numbers of 64 bits.
    wide: bool,
}

impl Test {
    fn to_json(&self) -> Value {
        let mut object = json!({
            "omit": 0,
            "time": self.time.as_secs().max(1),
            "num": self.bytes.unwrap_or(0),
            "blockcount": 0,
            "parallel": self.parallel,
            "len": self.len,
            "bandwidth": self.rate,
            "pacing_timer": 1_000,
            "client_version": "3.16",
        });
        object[if self.udp { "udp" } else { "tcp" }] = true.into();
        if self.udp {
            object["udp_counters_64bit"] = 1.into();
        }
        if self.reverse {
            object["reverse"] = true.into();
        }
        if self.no_delay {
            object["nodelay"] = true.into();
        }
        object
    }

    /// What another client wants; an error when it is more than there is here.
    fn of_json(object: &Value) -> Result<Self, &'static str> {
        let flag = |name: &str| object[name].as_bool().unwrap_or(false);
        let number = |name: &str| object[name].as_u64().unwrap_or(0);
        if flag("bidirectional") {
            return Err("both directions at once are not done here");
        }
        if flag("sctp") || flag("tcp") == flag("udp") {
            return Err("neither TCP nor UDP");
        }
        let (parallel, len) = (number("parallel").max(1), number("len"));
        let udp = flag("udp");
        if parallel > PARALLEL || len > 1 << 20 || udp && len > 65_507 {
            return Err("more streams or longer writes than are done here");
        }
        Ok(Self {
            udp,
            reverse: flag("reverse"),
            time: Duration::from_secs(number("time").min(86_400)),
            bytes: Some(number("num")).filter(|count| *count > 0),
            parallel: parallel as usize,
            len: if len > 0 {
                len as usize
            } else {
                default_len(udp) as usize
            },
            rate: number("bandwidth"),
            no_delay: flag("nodelay"),
            wide: number("udp_counters_64bit") == 1,
        })
    }
}

fn default_len(udp: bool) -> u32 {
    if udp { UDP_LEN } else { 128 << 10 }
}

/// What one side has of a test.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    bytes: u64,
    packets: u64,
    lost: u64,
    seconds: f64,
}

impl Iperf {
    /// Runs it.
    ///
    /// # Errors
    /// There is no server; the other side breaks off.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        signals::end_at_once();
        match &self.client {
            Some(host) => self.client(context, host),
            None => self.server(context),
        }
    }

    fn test(&self) -> Outcome<Test> {
        let len = self.len.unwrap_or(default_len(self.udp).into());
        let most = if self.udp { 65_507 } else { 1 << 20 };
        if !(16..=most).contains(&len) {
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
            wide: true,
        })
    }

    fn client(&self, context: &Context<'_>, host: &str) -> Outcome<()> {
        let test = self.test()?;
        let all = (host, self.port).to_socket_addrs(context.net);
        let all = all.map_err(|error| Failure::Message(error.to_string()))?;
        let cookie = Cookie::new(context.net);
        let mut control = Control::connect(context.net, &all, &cookie).map_err(at(host))?;
        let to = control.peer().map_err(at(host))?;
        if !self.json {
            println!("Connecting to host {host}, port {}", self.port);
        }
        let done = self.client_steps(context, &mut control, &test, &cookie, to);
        done.map_err(at(host))
    }

    fn client_steps(
        &self,
        context: &Context<'_>,
        control: &mut Control,
        test: &Test,
        cookie: &Cookie,
        to: SocketAddr,
    ) -> io::Result<()> {
        control.expect(State::ParamExchange)?;
        control.send_json(&test.to_json())?;
        control.expect(State::CreateStreams)?;
        let mut streams = Vec::new();
        for number in 0..test.parallel {
            streams.push(Stream::connect(context.net, to, number, test, cookie)?);
        }
        control.expect(State::TestStart)?;
        control.expect(State::TestRunning)?;
        let sends = !test.reverse;
        let start = Instant::now();
        let running: Vec<_> = streams
            .into_iter()
            .map(|stream| stream.run(test, sends))
            .collect();
        self.watch(&running, test, start, control)?;
        control.send(State::TestEnd)?;
        let ours = if sends {
            let ours = stream::finish(running, start);
            control.expect(State::ExchangeResults)?;
            ours
        } else {
            // The other side sends until it has read that; without a reader that would be an error to it.
            control.expect(State::ExchangeResults)?;
            stream::finish(running, start)
        };
        control.send_json(&results(&ours, sends))?;
        let theirs = read_results(&control.receive_json()?);
        control.expect(State::DisplayResults)?;
        control.send(State::IperfDone)?;
        let total = total(&ours);
        let (sent, received) = if sends {
            (total, theirs)
        } else {
            (theirs, total)
        };
        self.show(test, &sent, &received);
        Ok(())
    }

    /// Until the time is over, or all bytes are sent; tells of each second.
    fn watch(
        &self,
        running: &[stream::Running],
        test: &Test,
        start: Instant,
        control: &Control,
    ) -> io::Result<()> {
        let (mut last, mut bytes) = (start, 0);
        loop {
            let now = Instant::now();
            let so_far: u64 = running.iter().map(stream::Running::bytes).sum();
            let over = match test.bytes {
                Some(most) => so_far >= most,
                None => now >= start + test.time,
            };
            if now - last >= Duration::from_secs(1) || over && now > last {
                if !self.json {
                    let interval = ((last - start).as_secs_f64(), (now - start).as_secs_f64());
                    println!("{}", line(interval, so_far - bytes, ""));
                }
                (last, bytes) = (now, so_far);
            }
            if over {
                return Ok(());
            }
            if let Some(error) = running.iter().find_map(stream::Running::error) {
                return Err(error);
            }
            if control.is_closed() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let next = (last + Duration::from_secs(1)).saturating_duration_since(now);
            let end = match test.bytes {
                Some(_) => Duration::from_millis(5),
                None => (start + test.time).saturating_duration_since(now),
            };
            std::thread::sleep(next.min(end).min(Duration::from_millis(100)));
        }
    }

    fn show(&self, test: &Test, sent: &Sum, received: &Sum) {
        if self.json {
            let sum = |sum: &Sum| {
                json!({
                    "bytes": sum.bytes,
                    "seconds": sum.seconds,
                    "bits_per_second": rate(sum.bytes, sum.seconds),
                    "packets": sum.packets,
                    "lost_packets": sum.lost,
                })
            };
            println!(
                "{}",
                json!({"end": {"sum_sent": sum(sent), "sum_received": sum(received)}})
            );
            return;
        }
        println!("- - - - - - - - - - - - - - - - - - - - - - - - -");
        let mut lost = String::new();
        if test.udp {
            let share = received.lost as f64 * 100.0 / (received.packets.max(1)) as f64;
            lost = format!(
                "  {}/{} ({share:.2}%) lost",
                received.lost, received.packets
            );
        }
        println!("{}", line((0.0, sent.seconds), sent.bytes, "sender"));
        println!(
            "{}",
            line(
                (0.0, received.seconds),
                received.bytes,
                &format!("receiver{lost}")
            )
        );
    }

    fn server(&self, context: &Context<'_>) -> Outcome<()> {
        let any: IpAddr = [0; 4].into();
        let here = SocketAddr::new(any, self.port);
        let listener = TcpListener::bind(context.net, here).map_err(at(here))?;
        loop {
            if !self.json {
                println!("Server listening on {}", self.port);
            }
            let (stream, from) = listener.accept().map_err(at(here))?;
            let done = Control::accept(stream)
                .and_then(|(control, cookie)| self.server_steps(&listener, control, &cookie));
            match done {
                Ok(()) if self.one_off => return Ok(()),
                Ok(()) => {}
                Err(error) if self.one_off => return Err(at(from)(error)),
                Err(error) => context.report.fail(&at(from)(error)),
            }
        }
    }

    fn server_steps(
        &self,
        listener: &TcpListener,
        mut control: Control,
        cookie: &Cookie,
    ) -> io::Result<()> {
        control.send(State::ParamExchange)?;
        let test = match Test::of_json(&control.receive_json()?) {
            Ok(test) => test,
            Err(why) => {
                control.refuse()?;
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        };
        let peer = control.peer()?;
        if !self.json {
            println!(
                "Accepted connection from {}, port {}",
                peer.ip(),
                peer.port()
            );
        }
        let mut udp = None;
        if test.udp {
            udp = Some(UdpSocket::bind(listener.net(), listener.local_addr()?)?);
        }
        control.send(State::CreateStreams)?;
        let mut streams = Vec::new();
        while streams.len() < test.parallel {
            let number = streams.len();
            streams.push(match udp.take() {
                Some(socket) => {
                    let accepted = Stream::accept_udp(socket, number, PATIENCE)?;
                    if number + 1 < test.parallel {
                        udp = Some(UdpSocket::bind(listener.net(), listener.local_addr()?)?);
                    }
                    accepted
                }
                None => match Stream::accept(listener, number, &test, cookie)? {
                    Some(stream) => stream,
                    // Another client: one test at a time.
                    None => continue,
                },
            });
        }
        control.send(State::TestStart)?;
        control.send(State::TestRunning)?;
        let start = Instant::now();
        let running: Vec<_> = streams
            .into_iter()
            .map(|stream| stream.run(&test, test.reverse))
            .collect();
        let most = test.time + PATIENCE;
        control.wait_for_end((test.bytes.is_none()).then_some(most))?;
        let ours = stream::finish(running, start);
        control.send(State::ExchangeResults)?;
        let theirs = read_results(&control.receive_json()?);
        control.send_json(&results(&ours, test.reverse))?;
        control.send(State::DisplayResults)?;
        let total = total(&ours);
        let (sent, received) = if test.reverse {
            (total, theirs)
        } else {
            (theirs, total)
        };
        self.show(&test, &sent, &received);
        // It says goodbye, or just goes.
        let _ = control.expect(State::IperfDone);
        Ok(())
    }
}

fn total(all: &[Sum]) -> Sum {
    all.iter().fold(Sum::default(), |sum, one| Sum {
        bytes: sum.bytes + one.bytes,
        packets: sum.packets + one.packets,
        lost: sum.lost + one.lost,
        seconds: sum.seconds.max(one.seconds),
    })
}

/// The number that iperf3 gives a stream: 1, 3, 4, ...
fn stream_id(number: usize) -> usize {
    if number == 0 { 1 } else { number + 2 }
}

fn results(all: &[Sum], sends: bool) -> Value {
    let streams: Vec<Value> = all
        .iter()
        .enumerate()
        .map(|(number, sum)| {
            json!({
                "id": stream_id(number),
                "bytes": sum.bytes,
                "retransmits": -1,
                "jitter": 0.0,
                "errors": sum.lost,
                "omitted_errors": 0,
                "packets": sum.packets,
                "omitted_packets": 0,
                "start_time": 0.0,
                "end_time": sum.seconds,
            })
        })
        .collect();
    json!({
        "cpu_util_total": 0.0,
        "cpu_util_user": 0.0,
        "cpu_util_system": 0.0,
        "sender_has_retransmits": if sends { 0 } else { -1 },
        "streams": streams,
    })
}

fn read_results(object: &Value) -> Sum {
    let none = Vec::new();
    let streams = object["streams"].as_array().unwrap_or(&none);
    let all: Vec<Sum> = streams
        .iter()
        .map(|stream| Sum {
            bytes: stream["bytes"].as_u64().unwrap_or(0),
            packets: stream["packets"].as_u64().unwrap_or(0),
            lost: stream["errors"].as_u64().unwrap_or(0),
            seconds: stream["end_time"].as_f64().unwrap_or(0.0),
        })
        .collect();
    total(&all)
}

fn rate(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        bytes as f64 * 8.0 / seconds
    } else {
        0.0
    }
}

/// An interval as iperf3 writes it.
fn line((from, to): (f64, f64), bytes: u64, note: &str) -> String {
    let scaled = |mut number: f64, step: f64| {
        let mut unit = 0;
        while number >= step && unit < 4 {
            number /= step;
            unit += 1;
        }
        (number, ["", "K", "M", "G", "T"][unit])
    };
    let digits = |number: f64| match number {
        ..10.0 => format!("{number:.2}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    };
    let (amount, unit) = scaled(bytes as f64, 1_024.0);
    let (speed, unit_of_speed) = scaled(rate(bytes, to - from), 1_000.0);
    let interval = format!("{from:.2}-{to:.2}");
    let line = format!(
        "[SUM] {interval:>13} sec  {:>5} {unit}Bytes  {:>5} {unit_of_speed}bits/sec  {note}",
        digits(amount),
        digits(speed)
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_survive_the_way() {
        let test = Test {
            udp: false,
            reverse: true,
            time: Duration::from_secs(7),
            bytes: Some(9),
            parallel: 3,
            len: 4_096,
            rate: 5,
            no_delay: true,
            wide: false,
        };
        assert_eq!(Test::of_json(&test.to_json()), Ok(test));
        for bad in [
            json!({}),
            json!({"tcp": true, "bidirectional": true}),
            json!({"tcp": true, "parallel": 1_000}),
            json!({"udp": true, "len": 70_000}),
            json!({"sctp": true}),
        ] {
            assert!(Test::of_json(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines() {
        assert_eq!(
            line((0.0, 1.0), 1_250_000_000, "sender"),
            "[SUM]     0.00-1.00 sec   1.16 GBytes   10.0 Gbits/sec  sender"
        );
        assert_eq!(bits("1.5M"), Ok(1_500_000));
        assert!(bits("x").is_err() && bits("-1").is_err());
        assert_eq!([0, 1, 2].map(stream_id), [1, 3, 4]);
    }
}
