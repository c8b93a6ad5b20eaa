//! A cable between two interfaces in one process. Frames are handed over, never copied, by the thread that sends.

use crate::{
    MacAddr,
    interface::{Batch, Device, Features, Input, Link},
};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use rumpuser::{
    Errno, Result,
    sync::{Mutex, RwLock},
};

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

/// Where the frames of each end go: to what the other one has been started with.
#[derive(Default)]
struct Cable {
    inputs: [RwLock<Option<Input>>; 2],
    /// How often they have changed.
    changes: AtomicU64,
}

/// What an end knows of the other's input, and how often the inputs had changed by then.
#[derive(Default)]
struct Known {
    changes: u64,
    receiver: Option<Input>,
}

/// One end of a cable: a device.
pub struct End {
    mac: MacAddr,
    config: Config,
    cable: Arc<Cable>,
    /// Which of the two it is.
    second: bool,
    /// Locked while it transmits.
    known: Mutex<Known>,
}

/// Makes a cable between interfaces with these addresses.
#[must_use]
pub fn pair(first: MacAddr, second: MacAddr, config: Config) -> (Arc<End>, Arc<End>) {
    let cable = Arc::new(Cable::default());
    let end = |mac, second| {
        Arc::new(End {
            mac,
            config,
            cable: cable.clone(),
            second,
            known: Mutex::default(),
        })
    };
    (end(first, false), end(second, true))
}

impl End {
    fn input(&self) -> &RwLock<Option<Input>> {
        let [first, second] = &self.cable.inputs;
        if self.second { second } else { first }
    }

    fn receiver(&self) -> Option<Input> {
        let [first, second] = &self.cable.inputs;
        let peer = if self.second { first } else { second };
        peer.read().clone()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.stop();
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
        let mut here = self.input().write();
        if here.is_some() {
            return Err(Errno::EBUSY);
        }
        *here = Some(input);
        self.cable.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn stop(&self) {
        *self.input().write() = None;
        self.cable.changes.fetch_add(1, Ordering::Release);
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        let changes = self.cable.changes.load(Ordering::Acquire);
        // One thread transmits at a time; another would look for itself.
        let known = self.known.try_lock().map(|mut known| {
            if known.changes != changes {
                (known.changes, known.receiver) = (changes, self.receiver());
            }
            known
        });
        let other;
        let receiver = match &known {
            Some(known) => &known.receiver,
            None => {
                other = self.receiver();
                &other
            }
        };
        match receiver {
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
