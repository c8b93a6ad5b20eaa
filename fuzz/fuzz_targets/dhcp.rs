//! Frames and messages of DHCP servers, and a client that hears them.
#![no_main]

use rumpnet::{MacAddr, Packet};
use rumpnet_dhcp::{
    Client, Options,
    client::Step,
    frame::{Seen, look},
    message::Incoming,
};
use rumpuser::Instant;
use std::time::Duration;

/// Steps that one message may lead to.
const STEPS: usize = 16;

/// A hundred years.
const LATEST: Instant = Instant(100 * 365 * 86_400 * 1_000_000_000);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Some(Seen::Message(bytes)) = look(&Packet::with_bytes(input)) {
        let _ = Incoming::parse(&bytes);
    }
    let Some(message) = Incoming::parse(input) else {
        return;
    };
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let mut now = Instant(1);
    let mut client = Client::new(mac, Options::default(), 5, now);
    for round in 0..8 {
        let mut xid = None;
        for step in std::iter::from_fn(|| client.next(now)).take(STEPS) {
            if let Step::Broadcast(bytes) | Step::BroadcastBound(bytes) | Step::Unicast(_, bytes) =
                step
            {
                xid = bytes[4..8].first_chunk().copied().map(u32::from_be_bytes);
            }
        }
        assert!(client.next(now).is_none(), "it goes on for ever");
        let kind = if round == 0 {
            Some(rumpnet_dhcp::message::Kind::Offer)
        } else {
            message.kind
        };
        if let Some(xid) = xid {
            client.on_message(
                &Incoming {
                    xid,
                    chaddr: mac,
                    kind,
                    ..message.clone()
                },
                now,
            );
        }
        // The clock itself ends some day.
        if let Some(due) = client.deadline().filter(|due| *due < LATEST) {
            now = now.max(due).after(Duration::from_millis(1));
        }
    }
});
