//! A cable between two interfaces in one process. Frames are handed over, never copied, by the thread that sends.

use crate::{
    MacAddr,
    interface::{Batch, Device, Features, Input, Link},
};
use alloc::sync::{Arc, Weak};
use rumpuser::{Errno, Result, sync::RwLock};

/// How a cable is made.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// What its ends do for the stacks. With `CHECKSUM` sums are neither computed nor verified, as nothing can happen to a frame;
    /// with `LARGE` TCP sends more than one segment in a frame.
    pub features: Features,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1_500,
            features: Features::all(),
        }
    }
}

/// One end of a cable: a device.
pub struct End {
    mac: MacAddr,
    config: Config,
    input: RwLock<Option<Input>>,
    peer: RwLock<Weak<Self>>,
}

/// Makes a cable between interfaces with these addresses.
#[must_use]
pub fn pair(first: MacAddr, second: MacAddr, config: Config) -> (Arc<End>, Arc<End>) {
    let end = |mac, peer: Weak<End>| {
        Arc::new(End {
            mac,
            config,
            input: RwLock::default(),
            peer: RwLock::new(peer),
        })
    };
    let one = end(first, Weak::new());
    let two = end(second, Arc::downgrade(&one));
    *one.peer.write() = Arc::downgrade(&two);
    (one, two)
}

impl End {
    fn receiver(&self) -> Option<Input> {
        let peer = self.peer.read().upgrade()?;
        peer.input.read().clone()
    }
}

impl Device for End {
    fn link(&self) -> Link {
        Link::Ethernet(self.mac)
    }

    fn mtu(&self) -> u32 {
        self.config.mtu
    }

    fn features(&self) -> Features {
        self.config.features
    }

    fn start(&self, input: Input) -> Result<()> {
        let mut here = self.input.write();
        if here.is_some() {
            return Err(Errno::EBUSY);
        }
        *here = Some(input);
        Ok(())
    }

    fn stop(&self) {
        *self.input.write() = None;
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        match self.receiver() {
            Some(input) => {
                input.receive(frames);
                0
            }
            None => frames.len(),
        }
    }

    fn link_up(&self) -> bool {
        self.receiver().is_some()
    }
}
