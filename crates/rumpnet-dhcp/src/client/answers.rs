//! What a client hears.

use super::{
    Client, DECLINED, DEFENDED, Lease, Step,
    state::{Asked, Offer, Retry, State},
};
use crate::message::{Incoming, Kind, Outgoing};
use core::net::Ipv4Addr;
use rumpuser::Instant;

impl Client {
    /// A message has come.
    pub fn on_message(&mut self, message: &Incoming, now: Instant) {
        if message.xid != self.xid || message.chaddr != self.mac {
            return;
        }
        match message.kind {
            Some(Kind::Offer) => self.on_offer(message, now),
            Some(Kind::Ack) => self.on_ack(message, now),
            Some(Kind::Nak) => self.on_nak(message, now),
            _ => {}
        }
    }

    /// The first offer that can be told is taken.
    fn on_offer(&mut self, message: &Incoming, now: Instant) {
        let State::Selecting(_) = self.state else {
            return;
        };
        let (Some(_), Some(address), Some(server)) =
            (Lease::of(message), message.yiaddr, message.server)
        else {
            return;
        };
        self.request(address, server, now);
        let due = self.backoff(0, now);
        let offer = Offer {
            address,
            server,
            asked: now,
        };
        self.state = State::Requesting(offer, Retry { count: 1, due });
    }

    /// What was asked for is given: a new lease is probed, one that there is lasts longer.
    fn on_ack(&mut self, message: &Incoming, now: Instant) {
        match &self.state {
            State::Rebooting(asked, _) => {
                let Asked { address, at } = *asked;
                if let Some(lease) = Lease::of(message).filter(|_| message.yiaddr == Some(address))
                {
                    self.probe(lease, at, now);
                }
            }
            State::Requesting(offer, _) => {
                let asked = offer.asked;
                // What was offered, and was asked for, is given by who offered it (section 4.3.1), or nothing is.
                let given = (Some(offer.address), Some(offer.server));
                let meant = (message.yiaddr, message.server) == given;
                if let Some(lease) = Lease::of(message).filter(|_| meant) {
                    self.probe(lease, asked, now);
                }
            }
            State::Bound {
                lease,
                renewing: Some(sent),
                ..
            } => {
                let asked = *sent;
                // Of a renewal the server need not say who it is.
                let server = message.server.or(Some(lease.server));
                let same = lease.address.address();
                let new = Lease::of(&Incoming {
                    server,
                    ..message.clone()
                });
                // More time is given for the address that there is (section 4.4.5), which was probed.
                if let Some(new) = new.filter(|new| new.address.address() == same) {
                    self.bind(new, asked);
                }
            }
            _ => {}
        }
    }

    /// What was asked for is refused, by who was asked.
    fn on_nak(&mut self, message: &Incoming, now: Instant) {
        match &self.state {
            // Its network is another one now, or somebody else has it.
            State::Rebooting(..) => self.refused(now),
            State::Requesting(offer, _) if message.server == Some(offer.server) => {
                self.refused(now);
            }
            State::Bound {
                lease,
                asked,
                renewing: Some(sent),
                ..
            } => {
                // Until T2 one server was asked.
                let all = *sent >= asked.after(lease.t2);
                if all || message.server.is_none_or(|server| server == lease.server) {
                    self.steps.push_back(Step::Unbind);
                    self.refused(now);
                }
            }
            _ => {}
        }
    }

    /// Another host asks for an address. It is a conflict for who is asking for it, too (RFC 5227 section 2.1.1), and nothing for who has it and
    /// will answer.
    pub fn on_probe(&mut self, address: Ipv4Addr, now: Instant) {
        if matches!(self.state, State::Probing { .. }) {
            self.on_conflict(address, now);
        }
    }

    /// Another host has an address. The stack defends that of a lease; who claims it all the same has it (section 2.4 b).
    pub fn on_conflict(&mut self, address: Ipv4Addr, now: Instant) {
        let (State::Probing { lease, .. } | State::Bound { lease, .. }) = &self.state else {
            return;
        };
        if lease.address.address() != address {
            return;
        }
        let bound = matches!(self.state, State::Bound { .. });
        let before = self.claimed.replace(now);
        if bound && before.is_none_or(|before| now.since(before) > DEFENDED) {
            return;
        }
        let message = Outgoing {
            requested: Some(address),
            server: Some(lease.server),
            ..self.message(Kind::Decline, now)
        };
        let bytes = message.bytes();
        if bound {
            self.steps.push_back(Step::Unbind);
        }
        self.claimed = None;
        self.steps.push_back(Step::Broadcast(bytes));
        self.restart(now.after(DECLINED));
    }
}
