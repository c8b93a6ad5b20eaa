//! The side that does what a client wants.

use super::{
    Iperf, PATIENCE,
    control::{Control, Cookie, State},
    results::{read_results, results, show, total},
    stream::{self, Stream},
    test::Test,
};
use crate::{
    net::{Context, at, host::any},
    report::Outcome,
};
use std::{io, net::SocketAddr, time::Instant};
use uknet::{TcpListener, UdpSocket};

impl Iperf {
    pub(super) fn server(&self, context: &Context<'_>) -> Outcome<()> {
        let here = SocketAddr::new(any(true), self.port);
        let listener = TcpListener::bind(context.net, here).map_err(at(here))?;
        loop {
            self.say(format_args!("Server listening on {}", self.port))?;
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
        let (ip, port) = (peer.ip(), peer.port());
        self.say(format_args!("Accepted connection from {ip}, port {port}"))?;
        let streams = accept(listener, &mut control, &test, cookie)?;
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
        show(&test, &total(&ours), &theirs, test.reverse, self.json)?;
        // It says goodbye, or just goes.
        let _ = control.expect(State::IperfDone);
        Ok(())
    }
}

/// The streams of a test, as the client opens them.
fn accept(
    listener: &TcpListener,
    control: &mut Control,
    test: &Test,
    cookie: &Cookie,
) -> io::Result<Vec<Stream>> {
    let bind = || UdpSocket::bind(listener.net(), listener.local_addr()?);
    let mut udp = test.udp.then(bind).transpose()?;
    control.send(State::CreateStreams)?;
    let mut streams = Vec::new();
    while streams.len() < test.parallel {
        let number = streams.len();
        if let Some(socket) = udp.take() {
            streams.push(Stream::accept_udp(socket, number, PATIENCE)?);
            let more = number + 1 < test.parallel;
            udp = more.then(bind).transpose()?;
        } else if let Some(stream) = Stream::accept(listener, number, test, cookie)? {
            streams.push(stream);
        }
        // Otherwise it was another client: one test at a time.
    }
    Ok(streams)
}
