//! The resolver against a server of the test's own, which answers, lies, is silent and cuts short as it is told.

use rumpkern::{Kernel, OpenFlags, Proc};
use rumpnet::{
    Address, SocketCalls as _,
    socket::{Domain, Kind, MsgFlags},
};
use rumpnet_dns::{Config, Error, Families, Resolver};
use rumpnet_inet::KernelInet as _;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

fn kernel() -> Kernel {
    let kernel = Kernel::builder(rumpuser_posix::Host::new())
        .component(rumpnet_loop::component())
        .boot()
        .unwrap();
    for n in 2..=5 {
        let address = format!("127.0.0.{n}/32").parse().unwrap();
        kernel.inet().unwrap().add_address("lo0", address).unwrap();
    }
    kernel
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The name and the type that a question asks for, and where it ends.
fn asked(message: &[u8]) -> (String, u16, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    (labels.join("."), kind, at + 5)
}

/// An answer with `addresses` of IPv4 and a time to live of an hour.
fn answer(query: &[u8], code: u8, addresses: &[[u8; 4]]) -> Vec<u8> {
    let (_, _, end) = asked(query);
    let mut message = query[..end].to_vec();
    message[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    message[6..12].copy_from_slice(&[0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    for address in addresses {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4]);
        message.extend(address);
    }
    message
}

/// Runs a server: `reply` is given each question of UDP, and says what is sent back.
fn serve(
    proc: &Proc,
    at: &str,
    reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> Arc<AtomicUsize> {
    let fd = proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    proc.bind(fd, &address(at).into()).unwrap();
    let (proc, questions) = (proc.clone(), Arc::new(AtomicUsize::new(0)));
    let count = questions.clone();
    thread::spawn(move || {
        let mut buf = [0; 1_500];
        while let Ok((len, Some(from))) = proc.recvfrom(fd, &mut buf, MsgFlags::empty()) {
            count.fetch_add(1, SeqCst);
            for message in reply(&buf[..len]) {
                proc.sendto(fd, &message, MsgFlags::empty(), Some(&from))
                    .unwrap();
            }
        }
    });
    questions
}

/// How long who answers may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one that never answers is waited for.
const SHORT: Duration = Duration::from_millis(300);

fn resolver(servers: &[&str], timeout: Duration) -> Resolver {
    Resolver::new(Config {
        servers: servers.iter().map(|text| address(text)).collect(),
        search: vec!["example.org".parse().unwrap()],
        timeout,
        ..Config::default()
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn lies_are_not_believed_and_answers_are_kept() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let questions = serve(&proc, "127.0.0.1:53", |query| {
        let (name, kind, _) = asked(query);
        if kind == 28 {
            return vec![answer(query, 0, &[])];
        }
        assert_eq!(name, "www.example.org");
        let truth = answer(query, 0, &[[192, 0, 2, 1]]);
        let mut number = answer(query, 0, &[[6, 6, 6, 6]]);
        number[0] ^= 1;
        let mut question = answer(query, 0, &[[6, 6, 6, 6]]);
        question[13] = b'v';
        vec![number, question, truth[..20].to_vec(), truth]
    });
    let resolver = resolver(&["127.0.0.1:53"], PATIENCE);
    assert_eq!(resolver.lookup(&proc, "www"), Ok(vec![ip("192.0.2.1")]));
    // What has no time to live is asked for again; what has one is not.
    assert_eq!(questions.load(SeqCst), 2);
    let again = resolver.lookup_in(&proc, "WWW.example.org", Families::V4);
    assert_eq!(again, Ok(vec![ip("192.0.2.1")]));
    assert_eq!(questions.load(SeqCst), 2);
    assert_eq!(
        resolver.lookup(&proc, "192.0.2.9"),
        Ok(vec![ip("192.0.2.9")])
    );
    assert_eq!(resolver.lookup(&proc, "bad name"), Err(Error::BadName));
    let local = resolver.lookup_in(&proc, "localhost", Families::V4);
    assert_eq!(local, Ok(vec![ip("127.0.0.1")]));
    kernel.shutdown().unwrap();
}

#[test]
fn a_flood_of_lies_ends_in_time() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let fd = proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    proc.bind(fd, &address("127.0.0.1:53").into()).unwrap();
    let over = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buf = [0; 1_500];
            let (len, from) = proc.recvfrom(fd, &mut buf, MsgFlags::empty()).unwrap();
            let mut lie = answer(&buf[..len], 0, &[[6, 6, 6, 6]]);
            lie[0] ^= 1;
            while over.load(SeqCst) == 0 {
                // Nobody may listen any more.
                let _ = proc.sendto(fd, &lie, MsgFlags::empty(), from.as_ref());
            }
        });
        let resolver = resolver(&["127.0.0.1:53"], SHORT);
        let found = resolver.lookup_in(&proc, "www.example.org.", Families::V4);
        over.store(1, SeqCst);
        assert_eq!(found, Err(Error::TimedOut));
    });
    kernel.shutdown().unwrap();
}

#[test]
fn silent_failing_and_absent_servers_are_passed_over() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    let silent = serve(&proc, "127.0.0.2:53", |_| vec![]);
    let failing = serve(&proc, "127.0.0.3:53", |query| vec![answer(query, 2, &[])]);
    serve(&proc, "127.0.0.4:53", |query| match &*asked(query).0 {
        "none.example.org" => vec![answer(query, 3, &[])],
        "none" => vec![answer(query, 3, &[])],
        // It has nothing to say about addresses of IPv6.
        "four.example.org" if asked(query).1 == 28 => vec![answer(query, 5, &[])],
        _ => vec![answer(query, 0, &[[192, 0, 2, 4]])],
    });
    let others = ["127.0.0.5:53", "127.0.0.3:53", "127.0.0.4:53"];
    let all = resolver(&others, PATIENCE);
    let found = all.lookup_in(&proc, "a.b", Families::V4);
    assert_eq!(found, Ok(vec![ip("192.0.2.4")]));
    assert_eq!(failing.load(SeqCst), 1);
    assert_eq!(
        all.lookup_in(&proc, "none", Families::V4),
        Err(Error::NoName)
    );
    let half = resolver(&others[2..], PATIENCE).lookup(&proc, "four");
    assert_eq!(half, Ok(vec![ip("192.0.2.4")]));
    let lookup = |servers: &[&str], timeout| {
        resolver(servers, timeout).lookup_in(&proc, "a.b", Families::V4)
    };
    // Long enough for the one that answers, in one of two rounds.
    let passed_over = lookup(&["127.0.0.2:53", "127.0.0.4:53"], Duration::from_secs(3));
    assert_eq!(passed_over, Ok(vec![ip("192.0.2.4")]));
    assert!(silent.load(SeqCst) > 0);
    assert_eq!(lookup(&["127.0.0.2:53"], SHORT), Err(Error::TimedOut));
    assert_eq!(
        lookup(&["127.0.0.3:53"], PATIENCE),
        Err(Error::ServerFailure(2))
    );
    assert_eq!(
        lookup(&["127.0.0.5:53"], PATIENCE),
        Err(Error::Network(rumpkern::Errno::ECONNREFUSED))
    );
    assert_eq!(lookup(&[], PATIENCE), Err(Error::NoServer));
    kernel.shutdown().unwrap();
}

#[test]
fn without_edns_and_over_tcp() {
    let kernel = kernel();
    let proc = kernel.init_proc();
    serve(&proc, "127.0.0.1:53", |query| {
        // With a record of EDNS it does not understand; and then it has no room.
        let edns = query[11] != 0;
        let mut reply = answer(query, u8::from(edns), &[]);
        reply[2] |= if edns { 0 } else { 2 };
        vec![reply]
    });
    let listener = proc
        .socket(Domain::Inet, Kind::Stream, 0, OpenFlags::empty())
        .unwrap();
    proc.bind(listener, &address("127.0.0.1:53").into())
        .unwrap();
    proc.listen(listener, 5).unwrap();
    let server = proc.clone();
    let many: Vec<[u8; 4]> = (0..200).map(|n| [192, 0, 2, n]).collect();
    let sent = many.clone();
    let tcp = thread::spawn(move || {
        let (fd, from) = server.accept(listener, OpenFlags::empty()).unwrap();
        assert!(matches!(from, Address::Inet(_)));
        let mut buf = [0; 600];
        let mut len = 0;
        while len < 2 || len < 2 + usize::from(u16::from_be_bytes([buf[0], buf[1]])) {
            len += server.read(fd, &mut buf[len..]).unwrap();
        }
        let message = answer(&buf[2..len], 0, &sent);
        let size = u16::try_from(message.len()).unwrap().to_be_bytes();
        server.write(fd, &size[..1]).unwrap();
        server.write(fd, &size[1..]).unwrap();
        for part in message.chunks(700) {
            server.write(fd, part).unwrap();
        }
        server.close(fd).unwrap();
    });
    let found = resolver(&["127.0.0.1:53"], PATIENCE).lookup_in(&proc, "a.b", Families::V4);
    let many: Vec<IpAddr> = many.into_iter().map(IpAddr::from).collect();
    assert_eq!(found, Ok(many));
    tcp.join().unwrap();
    kernel.shutdown().unwrap();
}
