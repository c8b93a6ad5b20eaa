//! `rump net`: two processes on an Ethernet in a file, and the host's sockets.

mod common;

use common::{Scratch, interruptible};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// An interface on the Ethernet of a folder.
fn interface(folder: &Scratch, number: u8) -> String {
    format!("--if=shmif:{},10.0.0.{number}/24", folder.text("bus"))
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rump"));
    command.arg("net").args(words).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    command(words).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A process that ends with the value.
struct Background(Child);

impl Background {
    fn start(words: &[&str], out: Stdio) -> Self {
        Self(command(words).stdout(out).spawn().unwrap())
    }

    fn wait(mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a host answers.
fn until_there(folder: &Scratch, host: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    let own = interface(folder, 99);
    while !run(&[&own, "ping", "-c", "1", "-W", "0.2", "-q", host])
        .status
        .success()
    {
        assert!(Instant::now() < end, "{host} does not answer");
    }
}

/// What comes of a command once somebody listens to it.
fn once_there(words: &[&str]) -> Output {
    until_listened(&mut command(words))
}

/// The same of any program.
fn until_listened(program: &mut Command) -> Output {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let output = program.output().unwrap();
        let early = [&output.stdout, &output.stderr]
            .iter()
            .any(|said| String::from_utf8_lossy(said).contains("Connection refused"));
        if !early || Instant::now() >= end {
            return output;
        }
    }
}

fn data() -> Vec<u8> {
    (0..1_000_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect()
}

#[test]
fn hosts_on_a_bus_are_seen_by_tools() {
    let folder = Scratch::new();
    let _host = Background::start(&[&interface(&folder, 1), "wait"], Stdio::null());
    until_there(&folder, "10.0.0.1");
    let own = interface(&folder, 2);
    let words = [
        &own, "ping", "-c", "2", "-i", "0.1", "-s", "4000", "10.0.0.1", "--", "arp", "-an", "--",
        "route", "-n", "--", "ifconfig", "--json", "--", "netstat", "-s",
    ];
    let said = text(&run(&words));
    assert!(
        said.contains("4008 bytes from 10.0.0.1: icmp_seq=2 ttl=64 time="),
        "{said}"
    );
    assert!(
        said.contains("2 packets transmitted, 2 received, 0% packet loss"),
        "{said}"
    );
    assert!(said.contains("? (10.0.0.1) at "), "{said}");
    assert!(said.contains("10.0.0.0/24"), "{said}");
    assert!(said.contains("\"name\":\"shmif0\""), "{said}");
    assert!(said.contains("packets reassembled"), "{said}");
    let said = text(&run(&[
        &own,
        "traceroute",
        "-q",
        "1",
        "-w",
        "2",
        "10.0.0.1",
    ]));
    assert!(said.contains("\n 1  10.0.0.1  "), "{said}");
    // Nobody: 1. No way: 1. Wrong words: 2.
    let code = |words: &[&str]| run(words).status.code();
    assert_eq!(
        code(&[&own, "ping", "-c", "1", "-W", "0.1", "10.0.0.77"]),
        Some(1)
    );
    assert_eq!(
        code(&[&own, "ping", "-c", "1", "-W", "0.1", "192.0.2.1"]),
        Some(1)
    );
    assert_eq!(code(&[&own, "ping", "nobody"]), Some(1));
    assert_eq!(code(&[&own, "ping"]), Some(2));
    assert_eq!(code(&["--if=tap", "wait"]), Some(2));
    assert_eq!(code(&[&own, "route", "add", "x"]), Some(2));
    assert_eq!(code(&["--sockin", "ifconfig"]), Some(1));
    assert_eq!(code(&[&own, "ifconfig", "shmif9"]), Some(1));
}

/// Who wants an address asks the link for it, if told to, and says what is wrong when another host has it.
#[test]
fn an_address_that_another_host_has() {
    let folder = Scratch::new();
    let theirs = [
        &interface(&folder, 1),
        "ifconfig",
        "shmif0",
        "fd00::1/64",
        "--",
        "wait",
    ];
    let _host = Background::start(&theirs, Stdio::null());
    let own = interface(&folder, 2);
    until_there(&folder, "10.0.0.1");
    let end = Instant::now() + Duration::from_secs(20);
    let six = [&own, "ifconfig", "shmif0", "fd00::2/64", "--"];
    let ping = ["ping", "-c", "1", "-W", "0.2", "-q", "fd00::1"];
    while !run(&[&six[..], &ping].concat()).status.success() {
        assert!(Instant::now() < end, "fd00::1 does not answer");
    }
    // The more questions, the more time for an answer to each; the first answer ends it.
    for (setting, address) in [
        ("net.inet.ip.dad_count=9", "10.0.0.1/24"),
        ("net.inet6.ip6.dad_count=9", "fd00::1/64"),
    ] {
        let asks = [&own, "sysctl", setting, "--", "ifconfig", "shmif0", address];
        let output = run(&asks);
        assert_eq!(output.status.code(), Some(1), "{address}");
        let said = String::from_utf8_lossy(&output.stderr);
        let why = format!("shmif0: {address}: another host on the link has this address\n");
        assert!(said.ends_with(&why), "{said}");
    }
    let free = [
        &own,
        "sysctl",
        "net.inet.ip.dad_count=1",
        "--",
        "ifconfig",
        "shmif0",
        "10.0.0.3/24",
        "--",
        "ifconfig",
    ];
    assert!(text(&run(&free)).contains("10.0.0.3/24"));
}

/// Who reads no more ends a command, and it says so or not; it does not panic.
#[test]
fn nobody_reads_standard_output() {
    let folder = Scratch::new();
    let _host = Background::start(&[&interface(&folder, 1), "wait"], Stdio::null());
    let _server = Background::start(&[&interface(&folder, 3), "iperf", "-s"], Stdio::null());
    until_there(&folder, "10.0.0.1");
    let own = interface(&folder, 2);
    let commands: [&[&str]; 5] = [
        &["ping", "-c", "5", "-i", "0.05", "10.0.0.1"],
        &["ping", "-c", "1", "192.0.2.1"],
        &["traceroute", "10.0.0.1"],
        &["iperf", "-c", "10.0.0.3", "-n", "1M"],
        &["route"],
    ];
    for words in commands {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        for out in [Stdio::from(full), Stdio::from(writer)] {
            let mut command = command(&[&own]);
            let output = command.args(words).stdout(out).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!said.contains("panicked"), "{words:?}: {said}");
            assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?}");
        }
    }
}

/// Options that say nothing to a command are refused, and not ignored.
#[test]
fn options_that_do_not_go_together() {
    let wrong: [&[&str]; 15] = [
        &["ping", "-t", "0", "127.0.0.1"],
        &["traceroute", "-f", "5", "-m", "4", "127.0.0.1"],
        &["traceroute", "-p", "65530", "127.0.0.1"],
        &["iperf", "-s", "-R"],
        &["iperf", "-s", "-t", "1"],
        &["iperf", "-s", "-P", "2"],
        &["iperf", "-s", "-C", "bbr"],
        &["iperf", "-c", "127.0.0.1", "-1"],
        &["iperf", "-c", "127.0.0.1", "-t", "1", "-n", "1K"],
        &["arp", "-s", "fd00::1", "02:00:00:00:00:01"],
        &["ndp", "-s", "10.0.0.1", "02:00:00:00:00:01"],
        &["arp", "-d", "-a", "-i", "lo0"],
        &["route", "add", "10.8.0.0/16", "10.7.0.9", "metric"],
        &["route", "add", "10.8.0.0/16", "10.7.0.9", "metric", "-1"],
        &["route", "add", "10.8.0.0/16", "10.7.0.9", "5"],
    ];
    for words in wrong {
        assert_eq!(run(words).status.code(), Some(2), "{words:?}");
    }
    assert_eq!(run(&["arp", "-i", "none0"]).status.code(), Some(1));
    let said = text(&run(&["netstat", "-s", "-t"]));
    assert!(said.contains("tcp:") && !said.contains("udp:"), "{said}");
    assert!(
        said.contains("\t0 segments sent again (RetransSegs)"),
        "{said}"
    );
    let folder = Scratch::new();
    let own = format!("--if=shmif:{},10.7.0.1/24", folder.text("bus"));
    let add = "route add 10.8.0.0/16 10.7.0.9 metric 5 -- route add 10.8.0.0/16 10.7.0.8";
    let get = "route get 10.8.1.2 -- route get 10.7.0.1 -- route get 10.7.0.255";
    let all = format!("{own} {add} -- {get}");
    let words: Vec<&str> = all.split(' ').collect();
    // The one with the smaller metric, though it was added later.
    let ways = "10.8.1.2 via 10.7.0.8 dev shmif0 src 10.7.0.1\n\
                local 10.7.0.1 dev lo0 src 10.7.0.1\n\
                broadcast 10.7.0.255 dev shmif0 src 10.7.0.1\n";
    assert_eq!(text(&run(&words)), ways);
    let nowhere = run(&["route", "get", "192.0.2.1"]);
    assert_eq!(nowhere.status.code(), Some(1));
    let said = text(&run(&["netstat", "-s", "-u", "-6", "--json"]));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["udp6"]["NoPorts"], 0, "{said}");
    assert_eq!(said.as_object().unwrap().len(), 1, "{said}");
    let said = text(&run(&["netstat", "-i", "-4"]));
    assert!(
        said.contains("127.0.0.1/8") && !said.contains("::1"),
        "{said}"
    );
}

#[test]
fn settings_have_names() {
    let words = [
        "sysctl",
        "net.inet.tcp.keepidle=77",
        "net.inet.tcp.congctl.selected=bbr",
        "net.inet.tcp",
        "--",
        "sysctl",
        "-n",
        "net.inet6.ip6.dad_count",
        "--",
        "sysctl",
        "--json",
        "net.inet.ip.forwarding",
    ];
    let said = text(&run(&words));
    for line in [
        "net.inet.tcp.keepidle = 77",
        "net.inet.tcp.congctl.selected = bbr",
        "1",
        "{\"name\":\"net.inet.ip.forwarding\",\"value\":0}",
    ] {
        assert!(said.lines().any(|other| other == line), "{line}: {said}");
    }
    assert!(!said.contains("net.inet.ip.redirect"), "{said}");
    let all = text(&run(&["sysctl", "-a"]));
    assert!(all.contains("net.inet.ip.redirect = 1\n"), "{all}");
    let code = |word| run(&["sysctl", word]).status.code();
    assert_eq!(code("net.inet.tcp.keepidle=0"), Some(1));
    assert_eq!(code("net.inet.tcp.keepidle=x"), Some(2));
    assert_eq!(code("net.inet.tcp.congctl.available=x"), Some(1));
    assert_eq!(code("net.inet.tcp.keep"), Some(1));
}

/// Of two routes to a network that with the smaller metric is used.
#[test]
fn routes_have_metrics() {
    let words = [
        "ifconfig",
        "lo0",
        "10.7.0.1/24",
        "--",
        "route",
        "add",
        "10.8.0.0/16",
        "10.7.0.9",
        "metric",
        "7",
        "--",
        "route",
        "get",
        "10.8.1.1",
        "--",
        "route",
        "add",
        "10.8.0.0/16",
        "10.7.0.8",
        "metric",
        "3",
        "--",
        "route",
        "get",
        "10.8.1.1",
        "--",
        "route",
        "--",
        "route",
        "add",
        "-inet6",
        "default",
        "-interface",
        "lo0",
        "--",
        "route",
        "delete",
        "-inet6",
        "default",
    ];
    let said = text(&run(&words));
    let ways: Vec<&str> = said.lines().filter(|line| line.contains("via")).collect();
    let way = |gateway| format!("10.8.1.1 via {gateway} dev lo0 src 10.7.0.1");
    assert_eq!(ways, [way("10.7.0.9"), way("10.7.0.8")]);
    let column = |metric| format!("  {metric}  lo0");
    let line = |metric| {
        said.lines()
            .any(|line| line.starts_with("10.8.0.0/16") && line.ends_with(&column(metric)))
    };
    assert!(line(7) && line(3), "{said}");
}

#[test]
fn a_shell_changes_a_stack_step_by_step() {
    let script = "ifconfig lo0 10.7.0.1/24 # an address\nroute add 10.8.0.0/16 10.7.0.9\nroute get 10.8.1.1\n\
                  'route' delete 10.8.0.0/16\nroute get 10.8.1.1\nping -c 1 -q 10.7.0.1\n";
    let mut child = command(&["shell"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("10.8.1.1 via 10.7.0.9 dev lo0 src 10.7.0.1"),
        "{said}"
    );
    assert!(said.contains("1 received"), "{said}");
    // After the route was gone, the way to it failed.
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn files_pass_whole_by_nc() {
    let folder = Scratch::new();
    fs::write(folder.path("sent"), data()).unwrap();
    let own = interface(&folder, 2);
    let got = fs::File::create(folder.path("got")).unwrap();
    let server = Background::start(&[&interface(&folder, 1), "nc", "-l", "7"], got.into());
    until_there(&folder, "10.0.0.1");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let sent = fs::File::open(folder.path("sent")).unwrap();
        let done = command(&[&own, "nc", "10.0.0.1", "7"])
            .stdin(sent)
            .status()
            .unwrap();
        if done.success() {
            break;
        }
        assert!(Instant::now() < end, "nobody listens");
    }
    assert_eq!(server.wait(), 0);
    assert!(fs::read(folder.path("got")).unwrap() == data());
    assert_eq!(
        run(&[&own, "nc", "-z", "10.0.0.2", "7"]).status.code(),
        Some(1)
    );
}

/// Sends a signal.
fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_signal_ends_a_connection_and_a_capture_as_it_should() {
    for name in ["INT", "TERM"] {
        let folder = Scratch::new();
        let mut listening = Background(
            command(&[&interface(&folder, 1), "nc", "-v", "-l", "-d", "7000"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut line = String::new();
        let said = listening.0.stderr.as_mut().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        assert!(line.contains("listening"), "{line}");
        let capture = folder.text("frames.pcap");
        let own = interface(&folder, 2);
        let mut talking = interruptible(&["net", &own, "--pcap", &capture, "nc", "10.0.0.1"])
            .arg("7000")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // Open until the signal has done its work: its end would be one as well.
        let mut stdin = talking.stdin.take().unwrap();
        stdin.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        let out = listening.0.stdout.as_mut().unwrap();
        out.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        signal(&talking, name);
        let status = talking.wait().unwrap();
        assert_eq!(status.code(), None, "{status}");
        drop(stdin);
        // The peer hears that it is over, and ends, too.
        assert_eq!(listening.wait(), 0);
        let read = Command::new("tcpdump")
            .args(["-n", "-r", &capture, "tcp[tcpflags] & tcp-fin != 0"])
            .output()
            .unwrap();
        let frames = String::from_utf8_lossy(&read.stdout).into_owned();
        assert!(frames.contains("10.0.0.2"), "{read:?}");
    }
}

#[test]
fn ports_times_and_ends_of_nc_are_as_they_are_asked_for() {
    let folder = Scratch::new();
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = peer.local_addr().unwrap().port().to_string();
    let mut asking = command(&["--sockin", "nc", "-u", "-q", "0.2", "127.0.0.1", &port])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    asking.stdin.take().unwrap().write_all(b"datagram").unwrap();
    let mut buf = [0; 100];
    assert_eq!(peer.recv(&mut buf).unwrap(), 8);
    assert!(asking.wait().unwrap().success());
    // Nobody is there: that is told and not waited for.
    let own = interface(&folder, 1);
    let start = Instant::now();
    let words = [&own, "nc", "-w", "0.5", "-s", "10.0.0.1", "10.0.0.9", "7"];
    assert_eq!(run(&words).status.code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(10));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let from = free.port().to_string();
    let asking = Background::start(
        &["--sockin", "nc", "-d", "-p", &from, "127.0.0.1", &port],
        Stdio::null(),
    );
    let (stream, peer) = listener.accept().unwrap();
    assert_eq!(peer.port(), free.port());
    drop(stream);
    assert_eq!(asking.wait(), 0);
}

#[test]
fn a_bus_is_dumped_and_played() {
    let folder = Scratch::new();
    let (bus, capture) = (folder.path("bus"), folder.path("bus.pcap"));
    let host = Background::start(&[&interface(&folder, 1), "wait"], Stdio::null());
    until_there(&folder, "10.0.0.1");
    let (own, seen) = (interface(&folder, 2), folder.path("seen.pcap"));
    text(&run(&[
        &own,
        "--pcap",
        seen.to_str().unwrap(),
        "--pcap-filter",
        "icmp and outbound and len = 98",
        "ping",
        "-c2",
        "-i0.1",
        "10.0.0.1",
    ]));
    assert_eq!(fs::read(&seen).unwrap().len(), 24 + 2 * (16 + 98));
    drop(host);
    text(&run(&[
        "dumpbus",
        bus.to_str().unwrap(),
        "-w",
        capture.to_str().unwrap(),
    ]));
    let bytes = fs::read(&capture).unwrap();
    assert_eq!(bytes[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    // Only what is asked for, and nothing for an expression that is none.
    let dump =
        |expression: &[&str]| run(&[&["dumpbus", bus.to_str().unwrap()], expression].concat());
    let arps = dump(&["arp", "and", "host", "10.0.0.1"]).stdout;
    assert!(arps.len() > 24 && arps.len() < bytes.len());
    assert_eq!(dump(&["tcp port 1 or udp port 1"]).stdout.len(), 24);
    let wrong = dump(&["port", "http"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("at 5: a port is a number"), "{said}");
    let other = folder.path("other");
    let said = text(&run(&[
        "pcapin",
        "--fast",
        other.to_str().unwrap(),
        capture.to_str().unwrap(),
    ]));
    assert!(
        said.ends_with(" frames sent\n") && !said.starts_with("0 "),
        "{said}"
    );
    assert_eq!(
        run(&["dumpbus", folder.path("none").to_str().unwrap()])
            .status
            .code(),
        Some(1)
    );
    fs::write(&capture, b"no capture").unwrap();
    assert_eq!(
        run(&["pcapin", other.to_str().unwrap(), capture.to_str().unwrap()])
            .status
            .code(),
        Some(1)
    );
}

/// Answers requests by their path, and ends with the path `/end`.
fn web() -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap() == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let page = data();
            let (head, body) = match path {
                "/whole" => (format!("200 OK\r\nContent-Length: {}", page.len()), page),
                "/short" => (
                    format!("200 OK\r\nContent-Length: {}", page.len() + 1),
                    page,
                ),
                "/chunks" => {
                    let mut body = Vec::new();
                    for part in page.chunks(70_000) {
                        body.extend(format!("{:x};a=b\r\n", part.len()).into_bytes());
                        body.extend(part);
                        body.extend(b"\r\n");
                    }
                    body.extend(b"0\r\nA: b\r\n\r\n");
                    ("200 OK\r\nTransfer-Encoding: chunked".into(), body)
                }
                "/moved" => ("302 Found\r\nLocation: /whole".into(), Vec::new()),
                "/away" => (
                    "302 Found\r\nLocation: https://127.0.0.1/".into(),
                    Vec::new(),
                ),
                "/screen" => ("500 \x1b[2Jall gone".into(), Vec::new()),
                "/soon" => {
                    let soon = "100 Continue\r\n\r\nHTTP/1.1 ";
                    (format!("{}404 Never", soon.repeat(100)), Vec::new())
                }
                "/end" => return,
                _ => ("404 Not Found".into(), Vec::new()),
            };
            stream
                .write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes())
                .unwrap();
            // Who does not want it may go.
            let _ = stream.write_all(&body);
        }
    });
    (port, serving)
}

#[test]
fn pages_are_fetched_whole_or_not_at_all() {
    let folder = Scratch::new();
    let (port, serving) = web();
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    for path in ["whole", "chunks"] {
        let output = run(&["--sockin", "fetch", &url(path)]);
        assert!(output.status.success() && output.stdout == data(), "{path}");
    }
    let file = folder.path("page");
    let to = file.to_str().unwrap();
    let fetch = |words: &[&str]| run(&[&["--sockin", "fetch", "-o", to][..], words].concat());
    let error = |output: &Output| {
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let nothing = |file: &Path| {
        assert!(!file.exists());
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 0);
    };
    assert!(error(&fetch(&[&url("none")])).contains("404 Not Found"));
    nothing(&file);
    assert!(error(&fetch(&[&url("short")])).contains("the connection ended before the page did"));
    nothing(&file);
    assert!(error(&fetch(&[&url("moved")])).contains("moved to /whole"));
    nothing(&file);
    assert!(error(&fetch(&["-L", &url("away")])).contains("without TLS"));
    nothing(&file);
    // What a server says does not move the cursor.
    assert!(error(&fetch(&[&url("screen")])).contains("500 \\033[2Jall gone"));
    assert!(error(&fetch(&[&url("soon")])).contains("too many answers"));
    nothing(&file);
    assert_eq!(fetch(&["https://127.0.0.1/"]).status.code(), Some(2));
    text(&fetch(&["-L", &url("moved")]));
    assert!(fs::read(&file).unwrap() == data());
    assert_eq!(
        run(&["--sockin", "fetch", &url("end")]).status.code(),
        Some(1)
    );
    serving.join().unwrap();
}

/// Lines of both sides say the same number of bytes.
#[test]
fn throughput_is_measured_by_both_sides() {
    let folder = Scratch::new();
    let own = interface(&folder, 2);
    for words in [
        &["-n", "20M"][..],
        &["-n", "20M", "-R", "-P", "3"],
        &["-n", "20M", "-C", "bbr"],
        &["-t", "1", "-u", "-b", "5M"],
    ] {
        let server = Background::start(
            &[&interface(&folder, 1), "iperf", "-s", "-1", "-J"],
            Stdio::piped(),
        );
        until_there(&folder, "10.0.0.1");
        let client = [&[&own, "iperf", "-J", "-c", "10.0.0.1"][..], words].concat();
        let said = text(&once_there(&client));
        let sums: serde_json::Value = serde_json::from_str(&said).unwrap();
        let (sent, received) = (&sums["end"]["sum_sent"], &sums["end"]["sum_received"]);
        let bytes = received["bytes"].as_u64().unwrap();
        assert!(
            bytes > 0 && sent["bytes"].as_u64().unwrap() >= bytes,
            "{said}"
        );
        assert_eq!(server.wait(), 0);
    }
    assert_eq!(
        run(&[&own, "iperf", "-c", "10.0.0.2"]).status.code(),
        Some(1)
    );
}

/// Programs that others wrote, on both sides, over the host's sockets.
#[test]
fn iperf3_is_understood() {
    let free = || {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
            .to_string()
    };
    for words in [
        &["-t", "1"][..],
        &["-t", "1", "-R", "-P", "2", "-C", "reno"],
        // As many datagrams as a host keeps for who does not come to read.
        &["-n", "64K", "-u", "-b", "5M"],
    ] {
        let port = free();
        let server = Command::new("iperf3")
            .args(["-s", "-1", "-p", &port])
            .stdout(Stdio::null())
            .spawn();
        let server = Background(server.expect("iperf3 is installed"));
        let client = [
            &["--sockin", "iperf", "-J", "-c", "127.0.0.1", "-p", &port][..],
            words,
        ]
        .concat();
        text(&once_there(&client));
        assert_eq!(server.wait(), 0);
        let port = free();
        let server = Background::start(
            &["--sockin", "iperf", "-s", "-1", "-p", &port],
            Stdio::null(),
        );
        let mut client = Command::new("iperf3");
        client.args(["-J", "-c", "127.0.0.1", "-p", &port]);
        let output = until_listened(client.args(words));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success() && said["error"].is_null(), "{said}");
        let lost = said["end"]["sum"]["lost_percent"].as_f64().unwrap_or(0.0);
        assert_eq!(lost, 0.0, "{said}");
        assert_eq!(server.wait(), 0);
    }
}

/// A lease in a file is asked for again and not given back; without one it is (RFC 2131 section 3.2). The server is dnsmasq.
#[test]
#[ignore = "needs root and /dev/net/tun"]
fn dhcp_keeps_a_lease_in_a_file() {
    const SCRIPT: &str = r#"
        cd "$1"; rump=$2
        ip link set lo up
        ip tuntap add dev tap0 mode tap
        ip addr add 10.9.0.1/24 dev tap0
        ip link set tap0 up
        dnsmasq --keep-in-foreground --conf-file=/dev/null --log-facility="$1/log" --log-dhcp --user=root --port=0 --interface=tap0 \
            --bind-interfaces --pid-file="$1/pid" --dhcp-leasefile="$1/leases" --dhcp-range=10.9.0.100,10.9.0.150,255.255.255.0,2m \
            --dhcp-authoritative --no-ping &
        server=$!
        trap 'kill $server' EXIT
        for n in $(seq 100); do grep -qs 'DHCP, IP range' log && break; sleep 0.1; done
        dhcp() { "$rump" net --if tap:tap0,mac=02:00:00:00:10:01 dhcp "$@"; }
        # Exchanges, by their numbers: a message that is sent again has the same.
        count() { echo "$1: $(sed -n "s/.*: \\([0-9]*\\) $1(.*/\\1/p" log | sort -u | wc -l)"; }
        counts() { count DHCPDISCOVER; count DHCPACK; count DHCPNAK; count DHCPRELEASE; }
        dhcp --lease lease --json > first; cp lease kept; counts > counts1
        dhcp --lease lease --json > second; counts > counts2
        sed 's/10[.]9[.]0[.][0-9]*/10.77.0.5/' lease > other
        dhcp --lease other --json > third; counts > counts3
        dhcp --json > fourth
        for n in $(seq 50); do grep -q 'DHCPRELEASE(' log && break; sleep 0.1; done
        counts > counts4
        echo nonsense > bad
        no() { if "$@"; then exit 1; fi; }
        no dhcp -h "" 2> unnamed
        grep -q "1 to 255 bytes" unnamed
        no dhcp --lease bad 2> error
        cat bad
    "#;
    let folder = Scratch::new();
    let output = Command::new("unshare")
        .args(["-n", "sh", "-ec", SCRIPT, "sh", &folder.text("")])
        .arg(env!("CARGO_BIN_EXE_rump"))
        .output()
        .unwrap();
    assert_eq!(text(&output), "nonsense\n");
    let read = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    let address = |name: &str| {
        let lease: serde_json::Value = serde_json::from_str(&read(name)).unwrap();
        let address = lease["address"].as_str().unwrap().to_owned();
        assert!(
            address.starts_with("10.9.0.") && address.ends_with("/24"),
            "{name}: {address}"
        );
        address
    };
    let counts = |name: &str, discover, ack, nak, release| {
        let expected = format!(
            "DHCPDISCOVER: {discover}\nDHCPACK: {ack}\nDHCPNAK: {nak}\nDHCPRELEASE: {release}\n"
        );
        assert_eq!(read(name), expected, "{name}\n{}", read("log"));
    };
    let first = address("first");
    assert_eq!(read("kept"), read("first"));
    counts("counts1", 1, 1, 0, 0);
    // At once, and the same again.
    assert_eq!(address("second"), first);
    counts("counts2", 1, 2, 0, 0);
    // One that is refused is forgotten; the file has what there is now.
    address("third");
    assert_eq!(read("other"), read("third"));
    counts("counts3", 2, 3, 1, 0);
    address("fourth");
    counts("counts4", 3, 4, 1, 1);
    assert!(
        read("error").contains("bad: this is no lease"),
        "{}",
        read("error")
    );
}
