//! What is sent and received, and how.

use crate::Address;
use alloc::vec::Vec;
use rumpkern::{Fd, Passed, Proc};
use rumpuser::Timespec;

bitflags::bitflags! {
    /// Flags of a transfer, and what a receiver is told of a message.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MsgFlags: u32 {
        /// Urgent data.
        const OOB = 0x1;
        /// What is received stays.
        const PEEK = 0x2;
        /// Not through a gateway.
        const DONTROUTE = 0x4;
        /// Told: control data did not fit.
        const CTRUNC = 0x8;
        /// Told: the datagram was longer than the buffers. Asked for: return its whole length.
        const TRUNC = 0x20;
        /// Without waiting.
        const DONTWAIT = 0x40;
        /// End of a record.
        const EOR = 0x80;
        /// Wait until all buffers are full.
        const WAITALL = 0x100;
        /// An error of the peer raises no signal. Always so here.
        const NOSIGNAL = 0x4000;
        /// More is coming.
        const MORE = 0x8000;
        /// Of many messages wait for the first alone.
        const WAITFORONE = 0x1_0000;
        /// Connects with the data (TCP): it may go with the SYN.
        const FASTOPEN = 0x2000_0000;
        /// Descriptors that are received are closed on exec.
        const CMSG_CLOEXEC = 0x4000_0000;
        /// Of the kernel alone: what is received goes on with what was received before. Of a local stream nothing is when something parts
        /// the two.
        const GOES_ON = 0x8000_0000;
    }
}

/// What is sent besides bytes.
#[derive(Clone)]
pub enum Control {
    /// Descriptors (local sockets): the sender's, and what they are in the receiver.
    Rights(Vec<Fd>),
    /// The same on their way: what an endpoint gets and gives.
    Files(Vec<Passed>),
    /// Who sent it (local sockets).
    Cred {
        /// Process.
        pid: u32,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// The address that a datagram was sent to, and the interface that it came in by.
    PacketInfo {
        /// The destination, or when sending: the source to use.
        address: core::net::IpAddr,
        /// The interface's number; 0 for any.
        interface: u32,
    },
    /// Time to live, hop limit.
    HopLimit(u8),
    /// Type of service, traffic class.
    TrafficClass(u8),
    /// When it was received.
    Timestamp(Timespec),
    /// Payload bytes of each datagram that a message stands for (UDP; the last may have fewer): when sending as [`SockOpt::UdpSegment`](super::SockOpt::UdpSegment), when
    /// receiving because of [`SockOpt::UdpGro`](super::SockOpt::UdpGro).
    Segment(u16),
}

impl Control {
    /// Who sends: this process.
    #[must_use]
    pub fn sender(proc: &Proc) -> Self {
        let cred = proc.cred();
        Self::Cred {
            pid: proc.getpid(),
            uid: cred.uid,
            gid: cred.gid,
        }
    }
}

/// A message to be sent.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// To whom; `None` for the peer.
    pub to: Option<&'a Address>,
    /// The bytes, in order.
    pub bufs: &'a [&'a [u8]],
    /// What goes with them.
    pub control: &'a [Control],
    /// How.
    pub flags: MsgFlags,
}

impl Outgoing<'_> {
    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bufs.iter().map(|buf| buf.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was received.
#[derive(Clone, Default)]
pub struct Received {
    /// Bytes put into the buffers; with [`MsgFlags::TRUNC`] asked for, the length of the datagram.
    pub len: usize,
    /// From whom.
    pub from: Option<Address>,
    /// What is told of it.
    pub flags: MsgFlags,
    /// What came with it.
    pub control: Vec<Control>,
}
