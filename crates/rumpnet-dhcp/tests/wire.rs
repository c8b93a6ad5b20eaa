//! The client as the link sees it, in virtual time: a lease, and whoever wants to take it away.

#[path = "../../rumpnet-inet/tests/common/ear.rs"]
mod ear;

use ear::{Ear, MAC, PEER, attach, boot, frame, sleep};
use internet_checksum::Checksum;
use rumpnet::MacAddr;
use rumpnet_dhcp::{Lease, Options};
use rumpnet_inet::KernelInet as _;
use rumpuser_sim::Rng;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

const SERVER: [u8; 4] = [10, 0, 0, 1];
const OWN: [u8; 4] = [10, 0, 0, 9];

/// A message of a server in a frame: its number, kind, and the address that it gives.
fn message(xid: [u8; 4], kind: u8, given: [u8; 4], server: [u8; 4]) -> Vec<u8> {
    let mut body = vec![2, 1, 6, 0];
    body.extend(xid);
    body.resize(16, 0);
    body.extend(given);
    body.resize(28, 0);
    body.extend(MAC.0);
    body.resize(236, 0);
    body.extend([99, 130, 83, 99, 53, 1, kind, 54, 4]);
    body.extend(server);
    body.extend([51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 255]);
    let len = u16::try_from(body.len()).unwrap();
    let mut head = vec![0x45, 0];
    head.extend((len + 28).to_be_bytes());
    head.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    head.extend(server);
    head.extend([255; 4]);
    let sum = internet_checksum::checksum(&head);
    head[10..12].copy_from_slice(&sum);
    let mut udp = vec![0, 67, 0, 68];
    udp.extend((len + 8).to_be_bytes());
    udp.extend([0, 0]);
    let mut sum = Checksum::new();
    sum.add_bytes(&head[12..20]);
    sum.add_bytes(&[0, 17]);
    sum.add_bytes(&(len + 8).to_be_bytes());
    sum.add_bytes(&udp);
    sum.add_bytes(&body);
    udp[6..8].copy_from_slice(&sum.checksum());
    frame(MacAddr::BROADCAST, 0x0800, &[head, udp, body].concat())
}

fn arp(mac: MacAddr, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
    body.extend(mac.0);
    body.extend(from);
    body.extend([0; 6]);
    body.extend(to);
    frame(MacAddr::BROADCAST, 0x0806, &body)
}

/// Kind and number of the messages of a client among frames.
fn said(frames: &[Vec<u8>]) -> Vec<(u8, [u8; 4])> {
    let to_servers = frames
        .iter()
        .filter(|frame| frame[12..14] == [8, 0] && frame[36..38] == [0, 67]);
    to_servers
        .map(|frame| (frame[284], frame[46..50].try_into().unwrap()))
        .collect()
}

/// What a lease has not brought it does not take away.
#[test]
fn addresses_of_others_stay() {
    let (sim, kernel) = boot(rumpnet_inet::component());
    let ear = Arc::new(Ear::default());
    attach(&kernel, "ear0", &ear);
    let inet = kernel.inet().unwrap();
    let own = "10.0.0.9/24".parse().unwrap();
    inet.add_address("ear0", own).unwrap();
    ear.sent();
    let options = Options {
        probes: 0,
        ..Options::default()
    };
    let dhcp = rumpnet_dhcp::start(&kernel, "ear0", options).unwrap();
    sleep(&sim, 2_000);
    let xid = said(&ear.sent())[0].1;
    ear.hear(&message(xid, 2, OWN, SERVER));
    sleep(&sim, 100);
    ear.hear(&message(xid, 5, OWN, SERVER));
    sleep(&sim, 100);
    assert_eq!(dhcp.lease().map(|lease| lease.address), Some(own));
    dhcp.release().unwrap();
    assert_eq!(inet.addresses("ear0").unwrap(), [own]);
}

/// RFC 2131 section 4.4, RFC 5227 section 2.4: 100,000 messages and claims of strangers leave the lease as it is, and the tables bounded.
#[test]
fn floods_of_strangers() {
    let (sim, kernel) = boot(rumpnet_inet::component());
    let ear = Arc::new(Ear::default());
    attach(&kernel, "ear0", &ear);
    let dhcp = rumpnet_dhcp::start(&kernel, "ear0", Options::default()).unwrap();
    sleep(&sim, 1_001);
    let [(1, xid)] = said(&ear.sent())[..] else {
        panic!("no DISCOVER");
    };
    ear.hear(&message(xid, 2, OWN, SERVER));
    sleep(&sim, 100);
    assert_eq!(said(&ear.sent()), [(3, xid)]);
    ear.hear(&message(xid, 5, OWN, SERVER));
    sleep(&sim, 2_000);
    let lease = || dhcp.lease().map(|lease: Lease| lease.address);
    let own = Some("10.0.0.9/24".parse().unwrap());
    assert_eq!(lease(), own);
    // It is announced; then it is quiet.
    sleep(&sim, 5_000);
    ear.sent();
    let mut rng = Rng::new(7);
    let mut sent = Vec::new();
    for n in 0..100_000_u32 {
        let [a, b, c, d, e, f, g, h] = rng.next_u64().to_be_bytes();
        let stranger = MacAddr([2, a, b, c, d, e]);
        match n % 4 {
            // Of other exchanges.
            0 => ear.hear(&message([a, b, c, d], e % 9, [10, 0, 0, f], [10, 0, g, h])),
            // Of the one that is over, which everybody has seen.
            1 => ear.hear(&message(
                xid,
                [2, 5, 6][usize::from(a % 3)],
                [10, 0, 0, f],
                SERVER,
            )),
            // Who asks for the address, and for others.
            2 => ear.hear(&arp(stranger, [0; 4], OWN)),
            _ => ear.hear(&arp(stranger, [10, 0, f, g], OWN)),
        }
        // The client looks at 64 frames at most in a row.
        if n % 32 == 0 {
            sleep(&sim, 1);
            sent.extend(said(&ear.sent()));
        }
    }
    assert_eq!((lease(), sent), (own, vec![]));
    let inet = kernel.inet().unwrap();
    assert!(inet.neighbors().len() <= 4_096);
    assert!(
        inet.addresses("ear0")
            .unwrap()
            .iter()
            .any(|cidr| Some(*cidr) == own)
    );
    // One claim is answered by the stack; with the second, within ten seconds, it is lost and declined.
    ear.hear(&arp(PEER, OWN, SERVER));
    sleep(&sim, 100);
    let frames = ear.sent();
    let defended = |frame: &Vec<u8>| frame[12..14] == [8, 6] && frame[28..32] == OWN;
    assert!(frames.iter().any(defended) && lease() == own);
    ear.hear(&arp(PEER, OWN, SERVER));
    sleep(&sim, 100);
    let kinds: Vec<u8> = said(&ear.sent()).iter().map(|said| said.0).collect();
    assert_eq!((kinds, lease()), (vec![4], None));
    let none: Vec<_> = inet.addresses("ear0").unwrap();
    assert!(
        none.iter()
            .all(|cidr| cidr.address() != Ipv4Addr::from(OWN))
    );
    dhcp.release().unwrap();
    sim.sleep(Duration::from_secs(1));
}
