//! The side that says what the test is to be.

use super::{
    Iperf,
    control::{Control, Cookie, State},
    results::{line, read_results, results, show, total},
    stream::{self, Stream},
    test::Test,
};
use crate::{
    net::{Context, at},
    report::{Failure, Outcome},
};
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};
use uknet::ToSocketAddrs as _;

impl Iperf {
    pub(super) fn client(&self, context: &Context<'_>, host: &str) -> Outcome<()> {
        let test = self.test()?;
        let all = (host, self.port).to_socket_addrs(context.net);
        let all = all.map_err(|error| Failure::Message(error.to_string()))?;
        let cookie = Cookie::new(context.net);
        let mut control = Control::connect(context.net, &all, &cookie).map_err(at(host))?;
        let to = control.peer().map_err(at(host))?;
        let port = self.port;
        self.say(format_args!("Connecting to host {host}, port {port}"))?;
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
        show(test, &total(&ours), &theirs, sends, self.json)?;
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
                let interval = ((last - start).as_secs_f64(), (now - start).as_secs_f64());
                self.say(line(interval, so_far - bytes, ""))?;
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
}
