//! Redirects of IPv4 (RFC 1122 section 3.2.2.2), from a router that may not mean well.

mod common;

use common::{address, pair};
use rumpkern::{OpenFlags, sysctl::Value};
use rumpnet::{
    Cidr, SocketCalls as _,
    route::{Change, Origin, Route, Watch},
    socket::{Domain, Kind, MsgFlags},
    wire,
};
use rumpnet_inet::KernelInet as _;
use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::Duration,
};

/// A redirect to `gateway` that quotes a packet.
fn redirect(gateway: &str, source: &str, destination: &str) -> Vec<u8> {
    let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
    let mut message = vec![5, 1, 0, 0];
    message.extend(ip(gateway));
    message.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    message.extend(ip(source));
    message.extend(ip(destination));
    message.extend([0; 8]);
    let sum = internet_checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum);
    message
}

#[test]
fn who_is_believed() {
    let (router, host) = pair(wire::Config::default());
    let inet = host.inet().unwrap();
    let gateway = Some("10.0.0.1".parse().unwrap());
    inet.add_route(Cidr::ANY_V4, gateway, None, 0).unwrap();
    let other = router.inet().unwrap();
    other
        .add_address("wire0", "10.0.0.5/24".parse().unwrap())
        .unwrap();
    let proc = router.init_proc();
    let raw = |from: &str| {
        let fd = proc
            .socket(Domain::Inet, Kind::Raw, 1, OpenFlags::empty())
            .unwrap();
        proc.bind(fd, &address(from)).unwrap();
        fd
    };
    let (good, stranger) = (raw("10.0.0.1:0"), raw("10.0.0.5:0"));
    let shown = |fd, gateway, source, destination: &str| {
        let message = redirect(gateway, source, destination);
        let to = address("10.0.0.2:0");
        proc.sendto(fd, &message, MsgFlags::empty(), Some(&to))
            .unwrap();
        while inet.is_busy() || other.is_busy() {
            thread::yield_now();
        }
        let to = Cidr::host(destination.parse().unwrap());
        let all = inet.routes();
        let found = all.iter().find(|route| route.network == to);
        assert!(found.is_none_or(|route| route.origin == Origin::Dynamic));
        found.and_then(|route| route.gateway)
    };
    let far = "192.0.2.7";
    // From who is not asked; about a packet of somebody else; to another link, to itself, to all; a host of the link.
    assert_eq!(shown(stranger, "10.0.0.7", "10.0.0.2", far), None);
    assert_eq!(shown(good, "10.0.0.7", "10.0.0.3", far), None);
    assert_eq!(shown(good, "10.1.0.7", "10.0.0.2", far), None);
    assert_eq!(shown(good, "10.0.0.2", "10.0.0.2", far), None);
    assert_eq!(shown(good, "10.0.0.255", "10.0.0.2", far), None);
    assert_eq!(shown(good, "10.0.0.7", "10.0.0.2", "10.0.0.9"), None);
    let accept = |value| {
        host.sysctl_set("net.inet.icmp.rediraccept", Value::Number(value))
            .unwrap();
    };
    accept(0);
    assert_eq!(shown(good, "10.0.0.7", "10.0.0.2", far), None);
    accept(1);
    let seven = Some(IpAddr::from([10, 0, 0, 7]));
    // There is a most: others make room.
    for n in 0..100 {
        let to = format!("198.51.100.{n}");
        assert_eq!(shown(good, "10.0.0.7", "10.0.0.2", &to), seven);
    }
    let watch = inet.watch_routes();
    assert_eq!(shown(good, "10.0.0.7", "10.0.0.2", far), seven);
    // Who watches the routes is told of it, and later of its end.
    let is_ours =
        |route: &Route| route.network == Cidr::host(far.parse().unwrap()) && route.gateway == seven;
    let told = watch.try_next();
    assert!(
        matches!(&told, Some(Change::Added(route)) if is_ours(route)),
        "{told:?}"
    );
    // Now somebody else is asked, and the first router has nothing to say any more.
    assert_eq!(shown(good, "10.0.0.8", "10.0.0.2", far), seven);
    let all = inet.routes();
    let dynamic = all.iter().filter(|route| route.origin == Origin::Dynamic);
    assert_eq!(dynamic.count(), 64);
    // The gateway does not answer: the old way is taken again.
    let proc = host.init_proc();
    let fd = proc
        .socket(Domain::Inet, Kind::Datagram, 0, OpenFlags::empty())
        .unwrap();
    proc.sendto(fd, b"x", MsgFlags::empty(), Some(&address("192.0.2.7:9")))
        .unwrap();
    let end = host.host().monotonic().after(Duration::from_secs(20));
    let removed = |watch: &Watch| loop {
        match watch.next(Some(end)).expect("an end of the old way") {
            Change::Removed(route) if is_ours(&route) => break,
            _ => {}
        }
    };
    removed(&watch);
    let left = inet.routes();
    assert!(left.iter().all(|route| route.origin != Origin::Dynamic));
    router.shutdown().unwrap();
    host.shutdown().unwrap();
}
