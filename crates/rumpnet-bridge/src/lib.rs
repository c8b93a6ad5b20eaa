//! A learning bridge (IEEE 802.1D) between the Ethernet interfaces of a kernel.
//!
//! Whoever sends a frame is reached by the interface that it came from; a frame to somebody unknown, to a group or to all goes out by
//! every other interface. What is not heard of for a while is forgotten. The bridge is a device itself: attached as an interface,
//! it gives the kernel's own stack an address on the bridged network.
//!
//! Bridges that are connected in a circle pass frames round for ever: there is no spanning tree protocol. Frames to the
//! group addresses that the standard reserves for one link, that protocol's among them, are not passed on.
//!
//! ```
//! # use rumpnet::{KernelNet as _, MacAddr, wire};
//! # fn main() -> rumpuser::Result<()> {
//! # let host = rumpuser_sim::Sim::new(1);
//! # let kernel = rumpkern::Kernel::builder(host).component(rumpnet::component()).boot()?;
//! # let (one, two, config) = (MacAddr([2; 6]), MacAddr([4; 6]), wire::Config::default());
//! # let ((left, _), (right, _)) = (wire::pair(one, two, config), wire::pair(one, two, config));
//! let net = kernel.net()?;
//! let bridge = rumpnet_bridge::Bridge::new(kernel.host(), MacAddr([2, 0, 0, 0, 0, 9]), Default::default())?;
//! bridge.add(&net.attach("virt0", left)?)?;
//! bridge.add(&net.attach("virt1", right)?)?;
//! net.attach("bridge0", bridge)?; // for an address of the kernel's own
//! # Ok(())
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`table`] | who is where |
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

extern crate alloc;

pub mod table;

pub use table::Entry;

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;
use rumpnet::{
    Ifnet, MacAddr, Packet,
    ethernet::{self, Header},
    interface::{Batch, Device, Features, Input, Link, Upper},
    packet::Cast,
};
use rumpuser::{
    Errno, Host, Result,
    sync::{Mutex, RwLock},
};
use table::Table;

/// How a bridge is made.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Largest packet in bytes, without the Ethernet header: that of all members. What is larger than a member's is dropped.
    pub mtu: u32,
    /// How long an address is remembered that is not heard of (IEEE 802.1D section 7.9: 300 seconds).
    pub ageing: Duration,
    /// Addresses that are remembered at most. With more, frames to the newest go out everywhere.
    pub addresses: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1_500,
            ageing: Duration::from_secs(300),
            addresses: 4_096,
        }
    }
}

/// What has happened to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sent by the one interface where their receiver is.
    pub forwarded: u64,
    /// Sent by all others.
    pub flooded: u64,
    /// For this kernel alone.
    pub local: u64,
    /// Not sent, as their receiver is where they came from.
    pub filtered: u64,
    /// Dropped: no Ethernet frames, of a sender that cannot be, of one link alone, too long for their interface.
    pub dropped: u64,
    /// Addresses that there was no room for.
    pub table_full: u64,
}

/// A bridge.
pub struct Bridge {
    host: Arc<dyn Host>,
    mac: MacAddr,
    mtu: u32,
    /// What it brings to the kernel's own stack.
    input: RwLock<Option<Input>>,
    members: RwLock<Arc<[Member]>>,
    state: Mutex<State>,
    this: alloc::sync::Weak<Self>,
}

/// An interface of a bridge.
#[derive(Clone)]
struct Member {
    ifnet: Arc<Ifnet>,
    /// Who received its frames before.
    upper: Option<Arc<dyn Upper>>,
}

struct State {
    table: Table,
    counters: Counters,
}

/// Where a frame goes.
enum Verdict {
    Drop,
    /// To this kernel's stack.
    Local,
    /// Out by this interface.
    Port(u32),
    /// Out by all others, and to the stack if it is for several.
    Flood {
        local: bool,
    },
}

/// The interface that frames of the kernel's own stack come from.
const SELF: u32 = 0;

impl Bridge {
    /// A bridge without members, with an address of its own.
    ///
    /// # Errors
    /// `EINVAL`: the address is a group's, or the MTU is not between 68 and 65,535.
    pub fn new(host: &Arc<dyn Host>, mac: MacAddr, config: Config) -> Result<Arc<Self>> {
        if mac.is_group() || !(68..=65_535).contains(&config.mtu) {
            return Err(Errno::EINVAL);
        }
        Ok(Arc::new_cyclic(|this| Self {
            host: host.clone(),
            mac,
            mtu: config.mtu,
            input: RwLock::default(),
            members: RwLock::new(Arc::from([])),
            state: Mutex::new(State {
                table: Table::new(config.ageing, config.addresses),
                counters: Counters::default(),
            }),
            this: this.clone(),
        }))
    }

    /// Makes an interface a member, and sets it up. The stack does not receive by it any more.
    ///
    /// # Errors
    /// `EINVAL`: it is not an Ethernet. `EEXIST`: it is one already.
    pub fn add(&self, ifnet: &Arc<Ifnet>) -> Result<()> {
        if ifnet.mac().is_none() {
            return Err(Errno::EINVAL);
        }
        let this = self.this.upgrade().ok_or(Errno::EINVAL)?;
        let mut members = self.members.write();
        if members.iter().any(|m| m.ifnet.index() == ifnet.index()) {
            return Err(Errno::EEXIST);
        }
        let upper = ifnet.set_upper(Some(this));
        let new = Member {
            ifnet: ifnet.clone(),
            upper,
        };
        *members = members.iter().cloned().chain([new]).collect();
        ifnet.set_up(true);
        Ok(())
    }

    /// Has an interface be for itself again.
    ///
    /// # Errors
    /// `ENOENT`: it is no member.
    pub fn remove(&self, ifnet: &Arc<Ifnet>) -> Result<()> {
        let mut members = self.members.write();
        let is = |member: &&Member| Arc::ptr_eq(&member.ifnet, ifnet);
        let gone = members.iter().find(is).cloned().ok_or(Errno::ENOENT)?;
        let rest = members.iter().filter(|member| !is(member)).cloned();
        *members = rest.collect();
        drop(members);
        ifnet.set_upper(gone.upper);
        self.state.lock().table.forget(ifnet.index());
        Ok(())
    }

    /// Its interfaces.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Ifnet>> {
        let members = self.members.read();
        members.iter().map(|member| member.ifnet.clone()).collect()
    }

    /// The addresses that it knows, in order, with the numbers of their interfaces.
    #[must_use]
    pub fn table(&self) -> Vec<Entry> {
        let now = self.host.monotonic();
        self.state.lock().table.entries(now)
    }

    /// What has happened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Passes on frames that came by an interface, [`SELF`] for those of the stack.
    fn pass(&self, from: u32, frames: &mut Batch) {
        let members = self.members.read().clone();
        let mut local = Batch::new();
        let now = self.host.monotonic();
        let mut state = self.state.lock();
        let mut dirty = Vec::new();
        for mut frame in frames.drain(..) {
            let Some(header) = Header::parse(&mut frame) else {
                bump(&mut state.counters.dropped);
                continue;
            };
            let own = |mac: MacAddr| {
                let mut all = members.iter().filter_map(|member| member.ifnet.mac());
                mac == self.mac || all.any(|other| other == mac)
            };
            match state.judge(from, &header, own, now) {
                Verdict::Drop => {}
                Verdict::Local => local.push_back(frame),
                Verdict::Port(port) => {
                    let member = members.iter().find(|m| m.ifnet.index() == port);
                    if !member.is_some_and(|member| send(member, frame, &mut dirty)) {
                        bump(&mut state.counters.dropped);
                    }
                }
                Verdict::Flood { local: too } => {
                    for member in members.iter().filter(|m| m.ifnet.index() != from) {
                        if !send(member, frame.clone(), &mut dirty) {
                            bump(&mut state.counters.dropped);
                        }
                    }
                    if too {
                        local.push_back(frame);
                    }
                }
            }
        }
        drop(state);
        for port in dirty {
            if let Some(member) = members.iter().find(|m| m.ifnet.index() == port) {
                member.ifnet.flush();
            }
        }
        let input = self.input.read().clone();
        if let Some(input) = input
            && !local.is_empty()
        {
            input.receive(&mut local);
        }
    }
}

impl State {
    fn judge(
        &mut self,
        from: u32,
        header: &Header,
        own: impl Fn(MacAddr) -> bool,
        now: rumpuser::Instant,
    ) -> Verdict {
        let (to, sender) = (header.destination, header.source);
        if sender.is_group() || is_reserved(to) {
            bump(&mut self.counters.dropped);
            return Verdict::Drop;
        }
        // Nobody else has the addresses of this kernel, whatever he says.
        if from != SELF && !own(sender) && !self.table.learn(sender, from, now) {
            bump(&mut self.counters.table_full);
        }
        if header.cast() != Cast::Unicast {
            bump(&mut self.counters.flooded);
            return Verdict::Flood {
                local: from != SELF,
            };
        }
        if from != SELF && own(to) {
            bump(&mut self.counters.local);
            return Verdict::Local;
        }
        match self.table.find(to, now) {
            Some(port) if port == from => {
                bump(&mut self.counters.filtered);
                Verdict::Drop
            }
            Some(port) => {
                bump(&mut self.counters.forwarded);
                Verdict::Port(port)
            }
            None => {
                bump(&mut self.counters.flooded);
                Verdict::Flood { local: false }
            }
        }
    }
}

/// Puts a frame into a member's queue; `false` if it is too long for that.
fn send(member: &Member, frame: Packet, dirty: &mut Vec<u32>) -> bool {
    let mtu = usize::try_from(member.ifnet.mtu()).unwrap_or(usize::MAX);
    // A large packet may be cut into segments, or is taken whole.
    if frame.meta.segment == 0 && frame.len() > mtu.saturating_add(ethernet::HEADER) {
        return false;
    }
    member.ifnet.enqueue(frame);
    let index = member.ifnet.index();
    if !dirty.contains(&index) {
        dirty.push(index);
    }
    true
}

/// Whether an address is of those that no bridge passes on (IEEE 802.1D section 7.12.6).
const fn is_reserved(address: MacAddr) -> bool {
    matches!(address.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
}

impl Upper for Bridge {
    fn input(&self, interface: &Arc<Ifnet>, frames: &mut Batch) {
        self.pass(interface.index(), frames);
    }
}

impl Device for Bridge {
    fn link(&self) -> Link {
        Link::Ethernet(self.mac)
    }

    fn mtu(&self) -> u32 {
        self.mtu
    }

    fn features(&self) -> Features {
        // What a member does not do is done in front of it.
        Features::all()
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
        // Members refer to the bridge, and it to them.
        *self.members.write() = Arc::from([]);
    }

    fn transmit(&self, frames: &mut Batch) -> usize {
        self.pass(SELF, frames);
        0
    }

    fn link_up(&self) -> bool {
        self.members.read().iter().any(|m| m.ifnet.is_running())
    }
}

fn bump(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}
