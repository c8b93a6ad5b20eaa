//! A device that a test holds both ends of.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test program uses a part"
)]

#[allow(
    unused_extern_crates,
    reason = "unit tests of a crate that has none without"
)]
extern crate std;

use rumpnet::{
    MacAddr, Packet,
    interface::{Batch, Device, Input, Link},
};
use std::{
    sync::{Arc, Mutex},
    vec::Vec,
};

pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

#[derive(Default)]
pub struct Ear {
    input: Mutex<Option<Input>>,
    sent: Mutex<Vec<Vec<u8>>>,
    point: bool,
}

impl Device for Ear {
    fn link(&self) -> Link {
        if self.point {
            Link::Point
        } else {
            Link::Ethernet(MAC)
        }
    }

    fn mtu(&self) -> u32 {
        1_500
    }

    fn start(&self, input: Input) -> rumpkern::Result<()> {
        *self.input.lock().unwrap() = Some(input);
        Ok(())
    }

    fn stop(&self) {
        *self.input.lock().unwrap() = None;
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        let bytes = |frame: Packet| frame.pieces().flatten().copied().collect();
        let mut sent = self.sent.lock().unwrap();
        sent.extend(frames.drain(..).map(bytes));
        0
    }
}

impl Ear {
    /// One end of a line.
    pub fn point() -> Arc<Self> {
        Arc::new(Self {
            point: true,
            ..Self::default()
        })
    }

    /// Hands a frame to the kernel.
    pub fn hear(&self, frame: &[u8]) {
        self.receive(Packet::with_bytes(frame));
    }

    /// The same with what the device knows of it.
    pub fn receive(&self, frame: Packet) {
        let input = self.input.lock().unwrap().clone().unwrap();
        input.receive(&mut Batch::from([frame]));
    }

    /// What the kernel has sent since this was asked last.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.sent.lock().unwrap())
    }

    /// Hands it a frame, and returns what it sends because of it.
    pub fn ask(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.sent();
        self.hear(frame);
        self.sent()
    }
}

/// A frame from the peer.
pub fn frame(to: MacAddr, ethertype: u16, body: &[u8]) -> Vec<u8> {
    [&to.0[..], &PEER.0, &ethertype.to_be_bytes(), body].concat()
}
