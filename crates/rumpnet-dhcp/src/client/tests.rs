//! What RFC 2131 says of clients.

use super::*;
use crate::message::{Incoming, Kind};
use alloc::vec::Vec;
use core::time::Duration;
use rumpnet::Cidr;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn at(seconds: f64) -> Instant {
    Instant::default().after(Duration::from_secs_f64(seconds))
}

fn client(probes: u8) -> Client {
    let options = Options {
        probes,
        delay: Duration::ZERO,
        ..Options::default()
    };
    Client::new(MAC, options, 5, at(1.0))
}

fn says(client: &Client, kind: Kind) -> Incoming {
    Incoming {
        kind: Some(kind),
        xid: client.xid,
        yiaddr: Some(IP),
        chaddr: MAC,
        server: Some(SERVER),
        prefix: Some(24),
        routers: alloc::vec![SERVER],
        lease: Some(Duration::from_secs(800)),
        ..Incoming::default()
    }
}

/// The kind of a message.
fn kind(bytes: &[u8]) -> u8 {
    bytes[242]
}

fn bound(probes: u8) -> Client {
    let mut client = client(probes);
    let Some(Step::Broadcast(bytes)) = client.next(at(1.0)) else {
        panic!()
    };
    assert_eq!(kind(&bytes), Kind::Discover as u8);
    client.on_message(&says(&client, Kind::Offer), at(1.5));
    let Some(Step::Broadcast(bytes)) = client.next(at(1.5)) else {
        panic!()
    };
    assert_eq!(kind(&bytes), Kind::Request as u8);
    client.on_message(&says(&client, Kind::Ack), at(2.0));
    client
}

#[test]
fn names_fit_into_their_option() {
    let named = |len| Options {
        host_name: Some("n".repeat(len)),
        ..Options::default()
    };
    assert_eq!([1, 255].map(|len| named(len).check()), [Ok(()); 2]);
    assert_eq!(
        [0, 256].map(|len| named(len).check()),
        [Err(Errno::EINVAL); 2]
    );
    assert_eq!(Options::default().check(), Ok(()));
}

/// RFC 2131 section 4.4.1: not all clients begin at once, those of the same seed do.
#[test]
fn the_first_message_waits() {
    let begins = |seed| {
        let client = Client::new(MAC, Options::default(), seed, at(1.0));
        client.deadline().unwrap()
    };
    let mut all: Vec<Instant> = (0..100).map(begins).collect();
    assert_eq!(all[7], begins(7));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 100);
    assert!(all[0] >= at(1.0) && all[99] < at(2.0));
    assert!(all[50].since(all[0]) > Duration::from_millis(200));
    let mut client = Client::new(MAC, Options::default(), 7, at(1.0));
    assert_eq!(client.next(at(1.0)), None);
    assert!(matches!(client.next(begins(7)), Some(Step::Broadcast(_))));
}

#[test]
fn a_lease_is_probed_bound_and_renewed() {
    let mut client = bound(2);
    assert_eq!(client.next(at(2.0)), Some(Step::Probe(IP)));
    assert_eq!(client.next(at(2.1)), None);
    assert_eq!(client.next(at(2.2)), Some(Step::Probe(IP)));
    assert_eq!(client.next(at(2.3)), None);
    let Some(Step::Bind(lease)) = client.next(at(2.4)) else {
        panic!()
    };
    assert_eq!(lease.address, "10.0.0.9/24".parse().unwrap());
    assert_eq!(lease.routes, [(Cidr::ANY_V4, Some(SERVER))]);
    // T1 is half of the time, from the request on (section 4.4.5).
    assert_eq!(client.deadline(), Some(at(401.5)));
    let Some(Step::Unicast(SERVER, bytes)) = client.next(at(401.5)) else {
        panic!()
    };
    assert_eq!(
        (kind(&bytes), &bytes[12..16]),
        (Kind::Request as u8, &[10, 0, 0, 9][..])
    );
    // Half of what is left to T2 at 701.5.
    assert_eq!(client.deadline(), Some(at(551.5)));
    client.on_message(&says(&client, Kind::Ack), at(402.0));
    assert!(matches!(client.next(at(402.0)), Some(Step::Bind(_))));
    assert_eq!(client.deadline(), Some(at(801.5)));
}

#[test]
fn without_an_answer_it_asks_all_and_gives_up_in_the_end() {
    let mut client = bound(0);
    assert!(matches!(client.next(at(2.0)), Some(Step::Bind(_))));
    let (mut to_server, mut to_all, mut now) = (0, 0, at(2.0));
    loop {
        now = now.max(client.deadline().unwrap());
        match client.next(now) {
            Some(Step::Unicast(..)) => to_server += 1,
            Some(Step::BroadcastBound(_)) => to_all += 1,
            Some(Step::Unbind) => break,
            None => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(now, at(801.5));
    // After half of what is left each time, but at least a minute apart: at 401.5, 551.5, 626.5, 686.5; at 701.5, 761.5.
    assert_eq!((to_server, to_all), (4, 2));
    assert_eq!(client.lease(), None);
    assert!(matches!(client.next(now), Some(Step::Broadcast(_))));
}

#[test]
fn silence_makes_it_ask_less_often() {
    let mut client = client(0);
    assert!(matches!(client.next(at(1.0)), Some(Step::Broadcast(_))));
    let mut last = at(1.0);
    for wait in [4.0, 8.0, 16.0, 32.0, 64.0, 64.0] {
        let due = client.deadline().unwrap();
        let waited = due.since(last).as_secs_f64();
        assert!((wait - 1.0..wait + 1.0).contains(&waited), "{waited}");
        assert!(matches!(client.next(due), Some(Step::Broadcast(_))));
        last = due;
    }
}

#[test]
fn a_conflict_is_declined_and_a_no_starts_over() {
    let mut client = bound(3);
    assert_eq!(client.next(at(2.0)), Some(Step::Probe(IP)));
    client.on_conflict(SERVER, at(2.1));
    client.on_conflict(IP, at(2.1));
    let Some(Step::Broadcast(bytes)) = client.next(at(2.1)) else {
        panic!()
    };
    assert_eq!(kind(&bytes), Kind::Decline as u8);
    assert_eq!(client.next(at(12.0)), None);
    assert!(matches!(client.next(at(12.1)), Some(Step::Broadcast(_))));
    client.on_message(&says(&client, Kind::Offer), at(13.0));
    assert!(matches!(client.next(at(13.0)), Some(Step::Broadcast(_))));
    client.on_message(&says(&client, Kind::Nak), at(13.1));
    let Some(Step::Broadcast(bytes)) = client.next(at(13.1)) else {
        panic!()
    };
    assert_eq!(kind(&bytes), Kind::Discover as u8);
}

#[test]
fn strangers_and_leases_that_make_no_sense() {
    let mut client = client(0);
    assert!(client.next(at(1.0)).is_some());
    let offer = says(&client, Kind::Offer);
    for bad in [
        Incoming {
            xid: !client.xid,
            ..offer.clone()
        },
        Incoming {
            chaddr: MacAddr::BROADCAST,
            ..offer.clone()
        },
        Incoming {
            yiaddr: None,
            ..offer.clone()
        },
        Incoming {
            yiaddr: Some(Ipv4Addr::BROADCAST),
            ..offer.clone()
        },
        Incoming {
            server: None,
            ..offer.clone()
        },
        Incoming {
            lease: None,
            ..offer.clone()
        },
        Incoming {
            kind: Some(Kind::Ack),
            ..offer.clone()
        },
    ] {
        client.on_message(&bad, at(1.1));
        assert_eq!(client.next(at(1.1)), None, "{bad:?}");
    }
    let odd = Incoming {
        t1: Some(Duration::from_secs(900)),
        t2: Some(Duration::from_secs(1)),
        mtu: Some(68),
        ..offer
    };
    let lease = Lease::of(&odd).unwrap();
    assert_eq!(
        (lease.t1.as_secs(), lease.t2.as_secs(), lease.mtu),
        (400, 700, None)
    );
}

#[test]
fn what_lasts_for_ever_is_never_asked_for_again() {
    let mut client = client(0);
    assert!(client.next(at(1.0)).is_some());
    client.on_message(&says(&client, Kind::Offer), at(1.0));
    assert!(client.next(at(1.0)).is_some());
    let ack = Incoming {
        lease: Some(Duration::MAX),
        ..says(&client, Kind::Ack)
    };
    client.on_message(&ack, at(1.0));
    assert!(matches!(client.next(at(1.0)), Some(Step::Bind(_))));
    assert_eq!(
        (client.deadline(), client.next(Instant(u64::MAX))),
        (None, None)
    );
}

#[test]
fn what_is_not_needed_is_given_back() {
    let mut client = bound(0);
    assert!(matches!(client.next(at(2.0)), Some(Step::Bind(_))));
    client.release(at(3.0));
    let Some(Step::Unicast(SERVER, bytes)) = client.next(at(3.0)) else {
        panic!()
    };
    assert_eq!(kind(&bytes), Kind::Release as u8);
    assert_eq!(client.next(at(3.0)), Some(Step::Unbind));
    assert_eq!((client.next(at(9_999.0)), client.deadline()), (None, None));
}

fn rebooting(keep: bool) -> Client {
    let options = Options {
        probes: 0,
        delay: Duration::ZERO,
        last: Some(IP),
        keep,
        ..Options::default()
    };
    Client::new(MAC, options, 5, at(1.0))
}

/// RFC 2131 section 4.3.2: the address is in option 50, no server is named, and nothing is in ciaddr.
#[test]
fn the_address_of_the_last_time() {
    let mut client = rebooting(true);
    let Some(Step::Broadcast(bytes)) = client.next(at(1.0)) else {
        panic!()
    };
    assert_eq!(
        (kind(&bytes), &bytes[12..16]),
        (Kind::Request as u8, &[0; 4][..])
    );
    let has = |option: &[u8]| bytes[240..].windows(option.len()).any(|w| w == option);
    assert!(has(&[50, 4, 10, 0, 0, 9]) && !has(&[54, 4, 10, 0, 0, 1]));
    // Another address than that is not what was asked for.
    let other = Incoming {
        yiaddr: Some(SERVER),
        ..says(&client, Kind::Ack)
    };
    client.on_message(&other, at(1.1));
    assert_eq!(client.next(at(1.1)), None);
    client.on_message(&says(&client, Kind::Ack), at(1.2));
    let Some(Step::Bind(lease)) = client.next(at(1.2)) else {
        panic!()
    };
    assert_eq!(lease.address, "10.0.0.9/24".parse().unwrap());
    // T1 counts from the request on.
    assert_eq!(client.deadline(), Some(at(401.0)));
    // It is kept for the next time.
    client.release(at(2.0));
    assert_eq!(client.next(at(2.0)), Some(Step::Unbind));
    assert_eq!((client.next(at(2.0)), client.deadline()), (None, None));
}

/// RFC 2131 section 3.2: a no, or silence, and it is as the first time.
#[test]
fn an_address_that_nobody_gives_any_more() {
    let mut client = rebooting(false);
    assert!(client.next(at(1.0)).is_some());
    client.on_message(&says(&client, Kind::Nak), at(1.5));
    let Some(Step::Broadcast(bytes)) = client.next(at(1.5)) else {
        panic!()
    };
    assert_eq!(kind(&bytes), Kind::Discover as u8);
    let mut client = rebooting(false);
    let mut sent = Vec::new();
    let mut now = at(1.0);
    while sent.last() != Some(&(Kind::Discover as u8)) {
        now = now.max(client.deadline().unwrap());
        if let Some(Step::Broadcast(bytes)) = client.next(now) {
            sent.push(kind(&bytes));
        }
    }
    let request = Kind::Request as u8;
    assert_eq!(sent, [request, request, Kind::Discover as u8]);
    assert!(now <= at(16.0) && now >= at(11.0), "{now:?}");
    // Somebody has it: it is declined, and not asked for again.
    let mut client = rebooting(false);
    client.options.probes = 1;
    assert!(client.next(at(1.0)).is_some());
    client.on_message(&says(&client, Kind::Ack), at(1.1));
    assert_eq!(client.next(at(1.1)), Some(Step::Probe(IP)));
    client.on_conflict(IP, at(1.2));
    let Some(Step::Broadcast(bytes)) = client.next(at(1.2)) else {
        panic!()
    };
    assert_eq!(kind(&bytes), Kind::Decline as u8);
    let Some(Step::Broadcast(bytes)) = client.next(at(12.0)) else {
        panic!()
    };
    assert_eq!(kind(&bytes), Kind::Discover as u8);
}

/// RFC 5227 section 2.4: who asks for the address of a lease is answered by the stack, a claim of it is defended, and only a second one within ten
/// seconds takes it. Section 2.1.1: while it is asked for, who asks for it as well is in conflict.
#[test]
fn the_address_of_a_lease_is_not_given_away() {
    let mut client = bound(0);
    assert!(matches!(client.next(at(2.0)), Some(Step::Bind(_))));
    client.on_probe(IP, at(3.0));
    client.on_conflict(IP, at(4.0));
    client.on_probe(IP, at(5.0));
    client.on_conflict(SERVER, at(5.0));
    client.on_conflict(IP, at(15.0));
    assert_eq!(client.next(at(15.0)), None);
    assert!(client.lease().is_some());
    client.on_conflict(IP, at(24.0));
    assert_eq!(client.next(at(24.0)), Some(Step::Unbind));
    let Some(Step::Broadcast(bytes)) = client.next(at(24.0)) else {
        panic!()
    };
    assert_eq!((kind(&bytes), client.lease()), (Kind::Decline as u8, None));
    let mut client = bound(1);
    assert_eq!(client.next(at(2.0)), Some(Step::Probe(IP)));
    client.on_probe(IP, at(2.1));
    assert!(matches!(client.next(at(2.1)), Some(Step::Broadcast(_))));
}

/// A server that says no to what it has offered is asked less and less often.
#[test]
fn a_server_that_always_says_no() {
    let mut client = client(0);
    let mut now = at(1.0);
    let mut waits = Vec::new();
    for _ in 0..9 {
        let due = client.deadline().unwrap().max(now);
        waits.push(due.since(now).as_secs());
        now = due;
        assert!(matches!(client.next(now), Some(Step::Broadcast(_))));
        client.on_message(&says(&client, Kind::Offer), now);
        assert!(matches!(client.next(now), Some(Step::Broadcast(_))));
        client.on_message(&says(&client, Kind::Nak), now);
    }
    assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 64]);
    // A lease makes it forget.
    now = client.deadline().unwrap();
    assert!(client.next(now).is_some());
    client.on_message(&says(&client, Kind::Offer), now);
    assert!(client.next(now).is_some());
    client.on_message(&says(&client, Kind::Ack), now);
    assert!(matches!(client.next(now), Some(Step::Bind(_))));
    assert_eq!(client.refusals, 0);
}

/// RFC 2131 sections 4.3.1 and 4.4.5: what is given is what was asked for, by who was asked.
#[test]
fn servers_that_lie() {
    let other = Ipv4Addr::new(10, 0, 0, 77);
    let mut client = client(0);
    assert!(client.next(at(1.0)).is_some());
    client.on_message(&says(&client, Kind::Offer), at(1.0));
    assert!(client.next(at(1.0)).is_some());
    let ack = says(&client, Kind::Ack);
    let (address, server) = (
        Incoming {
            yiaddr: Some(other),
            ..ack.clone()
        },
        Incoming {
            server: Some(other),
            ..ack.clone()
        },
    );
    let no = Incoming {
        kind: Some(Kind::Nak),
        ..server.clone()
    };
    for lie in [&address, &server, &no] {
        client.on_message(lie, at(1.1));
        assert_eq!(client.next(at(1.1)), None);
    }
    client.on_message(&ack, at(1.2));
    assert!(matches!(client.next(at(1.2)), Some(Step::Bind(_))));
    // Nothing was asked.
    for unasked in [Kind::Ack, Kind::Nak, Kind::Offer] {
        client.on_message(&says(&client, unasked), at(2.0));
        assert_eq!(client.next(at(2.0)), None);
    }
    assert!(matches!(
        client.next(at(401.0)),
        Some(Step::Unicast(SERVER, _))
    ));
    let xid = client.xid;
    for lie in [address, no] {
        client.on_message(&Incoming { xid, ..lie }, at(401.1));
        assert_eq!(client.next(at(401.1)), None);
    }
    assert_eq!(
        client.lease().unwrap().address,
        "10.0.0.9/24".parse().unwrap()
    );
    let no = says(&client, Kind::Nak);
    client.on_message(&no, at(401.2));
    assert_eq!(client.next(at(401.2)), Some(Step::Unbind));
}

/// Addresses that no host can have make no lease, and routers that cannot be no route.
#[test]
fn leases_of_nothing() {
    let client = client(0);
    let good = says(&client, Kind::Ack);
    let lease = |ip: [u8; 4], prefix| {
        Lease::of(&Incoming {
            yiaddr: Some(ip.into()),
            prefix: Some(prefix),
            ..good.clone()
        })
    };
    assert!(lease([10, 0, 0, 9], 24).is_some() && lease([10, 0, 0, 8], 31).is_some());
    for (ip, prefix) in [
        ([0, 0, 0, 9], 24),
        ([127, 0, 0, 9], 24),
        ([224, 0, 0, 9], 24),
        ([240, 0, 0, 9], 24),
        ([10, 0, 0, 0], 24),
        ([10, 0, 0, 255], 24),
        ([10, 0, 0, 9], 0),
    ] {
        assert_eq!(lease(ip, prefix), None, "{ip:?}/{prefix}");
    }
    let by = |routers: &[[u8; 4]]| {
        let routers = routers.iter().copied().map(Ipv4Addr::from).collect();
        let message = Incoming {
            routers,
            ..good.clone()
        };
        Lease::of(&message).unwrap().routes
    };
    let bad = [
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [255; 4],
        [224, 0, 0, 1],
        IP.octets(),
    ];
    assert_eq!(by(&bad), []);
    assert_eq!(
        by(&[bad[0], SERVER.octets()]),
        [(Cidr::ANY_V4, Some(SERVER))]
    );
    let routes = alloc::vec![
        ("192.0.2.0/24".parse().unwrap(), Ipv4Addr::UNSPECIFIED),
        ("198.51.100.0/24".parse().unwrap(), Ipv4Addr::BROADCAST),
    ];
    let message = Incoming {
        routes: Some(routes),
        ..good.clone()
    };
    let lease = Lease::of(&message).unwrap();
    assert_eq!(lease.routes, [("192.0.2.0/24".parse().unwrap(), None)]);
}
