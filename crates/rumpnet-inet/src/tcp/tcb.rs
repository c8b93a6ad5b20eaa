//! The transmission control block: the state of a connection.

use super::{
    ByteQueue, Config, Count, Flags, Options, Path, Segment, Seq, Tally,
    config::KeepAlive,
    congestion::{Control, Window, initial_window},
    loss::Loss,
    nanos,
    options::Cookie,
    reassembly::Reassembly,
    rtt::Rtt,
    scoreboard::Scoreboard,
    timers::Timers,
};
use alloc::{boxed::Box, sync::Arc};
use rumpuser::{Errno, Instant};

/// States of a connection (RFC 9293, section 3.3.2). LISTEN has no [`Tcb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// There is no connection any more.
    Closed,
    /// SYN was sent.
    SynSent,
    /// SYN was sent and received.
    SynReceived,
    /// Data flows.
    Established,
    /// Our side is closed, its FIN not acknowledged.
    FinWait1,
    /// Our side is closed, the peer's is not.
    FinWait2,
    /// The peer's side is closed, ours is not.
    CloseWait,
    /// Both are closed, our FIN is not acknowledged.
    Closing,
    /// The peer's side was closed first, our FIN is not acknowledged.
    LastAck,
    /// All is done; old segments may still arrive.
    TimeWait,
}

impl State {
    /// Whether the handshake is over and the connection not.
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::SynSent | Self::SynReceived)
    }

    /// Whether data or FIN may be under way or still to be sent.
    pub(super) const fn sends(self) -> bool {
        matches!(
            self,
            Self::Established | Self::CloseWait | Self::FinWait1 | Self::Closing | Self::LastAck
        )
    }

    /// Whether the peer may still send data.
    pub(super) const fn receives(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }
}

bitflags::bitflags! {
    /// What a segment, a deadline or an error changed.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Changes: u16 {
        /// The connection is established.
        const CONNECTED = 1 << 0;
        /// There is data to read, or the end of it.
        const READABLE = 1 << 1;
        /// There is room to send.
        const WRITABLE = 1 << 2;
        /// The peer sent FIN.
        const PEER_CLOSED = 1 << 3;
        /// The peer reset the connection.
        const RESET = 1 << 4;
        /// The peer refused the connection.
        const REFUSED = 1 << 5;
        /// The peer does not answer.
        const TIMED_OUT = 1 << 6;
        /// The state is CLOSED: the block can go, after what it still has to transmit.
        const CLOSED = 1 << 7;
        /// [`Tcb::poll_transmit`] should be called.
        const OUTPUT = 1 << 8;
        /// The deadline is earlier than the one last taken by [`Tcb::rearm`].
        const TIMER = 1 << 9;
        /// Urgent data arrived.
        const URGENT = 1 << 10;
        /// The state is TIME-WAIT: the block can be exchanged for a [`TimeWait`](super::time_wait::TimeWait).
        const TIME_WAIT = 1 << 11;
        /// There is an error to be reported that does not end the connection.
        const SOFT_ERROR = 1 << 12;
        /// Our FIN was acknowledged, and all data before it.
        const FIN_ACKNOWLEDGED = 1 << 13;
    }
}

bitflags::bitflags! {
    /// What else is so.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Bits: u32 {
        /// An acknowledgment is due.
        const ACK_NOW = 1 << 0;
        /// SYN is to be sent (again).
        const SYN_NOW = 1 << 1;
        /// A probe of a closed window is due.
        const WINDOW_PROBE_NOW = 1 << 2;
        /// A tail loss probe is due.
        const TAIL_PROBE_NOW = 1 << 3;
        /// A keep-alive probe is due.
        const KEEP_ALIVE_NOW = 1 << 4;
        /// The user sends no more: FIN follows the data.
        const FIN_QUEUED = 1 << 5;
        /// FIN was sent.
        const FIN_SENT = 1 << 6;
        /// FIN was received.
        const FIN_RECEIVED = 1 << 7;
        /// Nobody can read any more.
        const ORPHANED = 1 << 8;
        /// Timestamps are in use.
        const TIMESTAMPS = 1 << 9;
        /// SACK is in use.
        const SACK = 1 << 10;
        /// ECN is in use.
        const ECN = 1 << 11;
        /// Congestion was experienced: the peer is told until it says that it knows.
        const ECHO_CE = 1 << 12;
        /// The peer is to be told that the window was reduced.
        const CWR_QUEUED = 1 << 13;
        const NODELAY = 1 << 14;
        const CORK = 1 << 15;
        /// The congestion window was what held data back.
        const WINDOW_LIMITED = 1 << 16;
        /// Read data is thrown away.
        const READ_SHUT = 1 << 17;
        /// The peer did open first.
        const PASSIVE = 1 << 18;
        /// Only a segment at the left edge has its peer's window: the option of scaling was in both SYNs.
        const SCALING = 1 << 19;
        /// The receive buffer was set and does not grow.
        const RECEIVE_FIXED = 1 << 20;
        /// The send buffer was set and does not grow.
        const SEND_FIXED = 1 << 21;
        /// Urgent data stays in the stream.
        const URGENT_INLINE = 1 << 22;
        /// The send buffer was full.
        const SEND_FULL = 1 << 23;
        /// SYN was sent more than once.
        const SYN_RESENT = 1 << 24;
        /// The peer knows how to do fast open, and the SYN's data counts.
        const FAST_OPEN = 1 << 25;
        /// An error of the network was seen and not yet reported.
        const URGENT_SENDING = 1 << 26;
        const URGENT_RECEIVING = 1 << 27;
        /// Data of our SYN is in flight.
        const SYN_DATA = 1 << 28;
        /// The peer is told the user timeout, and what it tells counts.
        const TELL_TIMEOUT = 1 << 29;
        /// The next segment tells it.
        const TELL_TIMEOUT_NOW = 1 << 30;
        /// The user has said how long it is.
        const TIMEOUT_FIXED = 1 << 31;
    }
}

/// The send sequence space (RFC 9293, section 3.3.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct SendSpace {
    pub(super) iss: Seq,
    pub(super) una: Seq,
    pub(super) nxt: Seq,
    /// The number of the first byte in the queue.
    pub(super) queued: Seq,
    pub(super) wnd: u32,
    pub(super) wl1: Seq,
    pub(super) wl2: Seq,
    pub(super) max_wnd: u32,
    /// After the last segment that was not full (Nagle).
    pub(super) small: Seq,
    /// The number after the last urgent byte.
    pub(super) up: Seq,
    /// Once this is acknowledged the next round trip is measured.
    pub(super) measured: Seq,
    /// Largest payload with options counted in.
    pub(super) mss: u16,
    /// What the peer said that it can receive.
    pub(super) peer_mss: u16,
    pub(super) scale: u8,
    /// When data was sent last.
    pub(super) last: u64,
    /// Since when data is unacknowledged without progress.
    pub(super) progress: u64,
}

impl SendSpace {
    #[inline]
    const fn new(iss: Seq, mss: u16, now: u64) -> Self {
        Self {
            iss,
            una: iss,
            nxt: iss,
            queued: iss.plus(1),
            wnd: 0,
            wl1: Seq(0),
            wl2: Seq(0),
            max_wnd: 0,
            small: iss,
            up: iss,
            measured: iss,
            mss,
            peer_mss: u16::MAX,
            scale: 0,
            last: now,
            progress: now,
        }
    }
}

/// The receive sequence space, and what is needed for acknowledgments.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveSpace {
    pub(super) irs: Seq,
    pub(super) nxt: Seq,
    /// The right edge of the window that the peer knows.
    pub(super) edge: Seq,
    /// RCV.NXT of the last acknowledgment sent (Last.ACK.sent of RFC 7323).
    pub(super) acked: Seq,
    /// The number of a FIN that came out of order.
    pub(super) fin: Option<Seq>,
    /// The duplicate to be reported (RFC 2883).
    pub(super) duplicate: Option<(Seq, Seq)>,
    /// The number after the last urgent byte.
    pub(super) up: Seq,
    pub(super) ts_recent: u32,
    pub(super) ts_time: u64,
    pub(super) ts_offset: u32,
    /// Payload of the peer's full segments, as seen.
    pub(super) mss: u16,
    /// The MSS that we said.
    pub(super) mss_said: u16,
    pub(super) scale: u8,
    pub(super) buffer: u32,
    /// When a segment arrived last.
    pub(super) last: u64,
    /// When it went forward last: with data that was new, or an acknowledgment of data for the first time.
    pub(super) forward: u64,
    /// The round-trip time as data shows it, 0 before it does; and the timestamp that was used for it.
    pub(super) rtt: u64,
    pub(super) echo: u32,
    /// Begin of the round of dynamic right-sizing: time and place in the stream.
    pub(super) round: (u64, u64),
}

impl ReceiveSpace {
    #[inline]
    fn new(config: &Config, ts_offset: u32, mss: u16, now: u64) -> Self {
        Self {
            irs: Seq(0),
            nxt: Seq(0),
            edge: Seq(0),
            acked: Seq(0),
            fin: None,
            duplicate: None,
            up: Seq(0),
            ts_recent: 0,
            ts_time: now,
            ts_offset,
            mss: mss.min(536),
            mss_said: mss,
            scale: 0,
            buffer: super::bytes_u32(config.receive_buffer).min(BUFFER_MAX),
            last: now,
            forward: 0,
            rtt: 0,
            echo: 0,
            round: (now, 0),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Tcb {
    pub(super) state: State,
    pub(super) bits: Bits,
    pub(super) snd: SendSpace,
    pub(super) rcv: ReceiveSpace,
    pub(super) timers: Timers,
    pub(super) window: Window,
    pub(super) board: Scoreboard,
    pub(super) rtt: Rtt,
    pub(super) sending: ByteQueue,
    pub(super) ready: ByteQueue,
    pub(super) reassembly: Option<Box<Reassembly>>,
    pub(super) loss: Loss,
    pub(super) control: Control,
    pub(super) config: Arc<Config>,
    pub(super) times: Times,
    /// What is set for this connection alone.
    pub(super) keep_alive: Option<Box<KeepAlive>>,
    pub(super) user_timeout: u64,
    pub(super) send_buffer: u32,
    /// A reset to be sent: its number and, perhaps, acknowledgment.
    pub(super) reset: Option<(Seq, Option<Seq>)>,
    pub(super) error: Option<Errno>,
    pub(super) soft_error: Option<Errno>,
    /// Retransmissions without progress.
    pub(super) retries: u8,
    pub(super) keep_probes: u8,
    /// Challenge ACKs in this interval, and its begin (RFC 5961, section 7).
    pub(super) challenges: u8,
    pub(super) challenge_time: u64,
    pub(super) counters: Counters,
    pub(super) path: Option<Box<PathState>>,
    pub(super) tally: Option<Box<Tally>>,
}

/// Times of the configuration that are needed for each segment, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) min_rto: u64,
    pub(super) max_rto: u64,
    pub(super) delayed_ack: u64,
}

/// What only some connections need.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PathState {
    /// A cookie that we sent, or that the peer gave us.
    pub(super) fast_open: Option<Cookie>,
    /// The urgent byte, out of the stream.
    pub(super) urgent: Option<u8>,
    /// Its place in the stream.
    pub(super) mark: Option<u64>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) sent_bytes: u64,
    pub(super) acked_bytes: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_segments: u32,
    pub(super) received_segments: u32,
    pub(super) retransmitted: u32,
}

impl Tcb {
    /// Begins a connection: SYN-SENT. `iss` is from [`cookie::isn`](super::cookie::isn).
    #[must_use]
    pub fn connect(config: &Arc<Config>, path: Path, iss: Seq, now: Instant) -> Box<Self> {
        let mut tcb = Self::new(config, path, iss, State::SynSent, now);
        tcb.bits.insert(Bits::SYN_NOW);
        tcb.bits.set(Bits::TIMESTAMPS, config.timestamps);
        tcb.bits.set(Bits::SACK, config.sack);
        tcb.bits.set(Bits::ECN, config.ecn);
        tcb.bits.set(Bits::SCALING, config.window_scaling);
        tcb.bits.set(Bits::FAST_OPEN, path.fast_open.is_some());
        if path.fast_open.is_some() {
            tcb.rare().fast_open = path.fast_open;
        }
        tcb
    }

    /// Answers the SYN that a listener received: SYN-RECEIVED. With [`Config::fast_open`] its data counts, and `path.fast_open` is
    /// the cookie that the answer carries.
    #[must_use]
    pub fn accept(
        config: &Arc<Config>,
        path: Path,
        iss: Seq,
        syn: &Segment,
        now: Instant,
    ) -> Box<Self> {
        let mut tcb = Self::new(config, path, iss, State::SynReceived, now);
        tcb.bits.insert(Bits::SYN_NOW | Bits::PASSIVE);
        tcb.take_syn(syn, now.0);
        // RFC 3168, section 6.1.1: a SYN with both ECE and CWR offers ECN.
        let offer = syn.flags.contains(Flags::ECE | Flags::CWR);
        tcb.bits.set(Bits::ECN, config.ecn && offer);
        if path.fast_open.is_some() {
            tcb.rare().fast_open = path.fast_open;
        }
        if config.fast_open {
            tcb.take_syn_data(syn);
        }
        tcb
    }

    /// A connection from the ACK that answers a SYN cookie (RFC 4987, section 3.6). `options` are those that the cookie remembers:
    /// MSS and, when timestamps were there, window scale and SACK. The segment is to be given to
    /// [`on_segment`](Self::on_segment) afterwards.
    #[must_use]
    pub fn accept_cookie(
        config: &Arc<Config>,
        path: Path,
        ack: &Segment,
        options: &Options,
        now: Instant,
    ) -> Box<Self> {
        let iss = ack.ack.unwrap_or_default().minus(1);
        let mut tcb = Self::new(config, path, iss, State::SynReceived, now);
        tcb.bits.insert(Bits::PASSIVE);
        let syn = Segment {
            seq: ack.seq.minus(1),
            flags: Flags::SYN,
            window: ack.window,
            options: Options {
                timestamps: ack.options.timestamps,
                ..*options
            },
            ..Segment::default()
        };
        tcb.take_syn(&syn, now.0);
        tcb.snd.nxt = iss.plus(1);
        tcb.rcv.edge = tcb.rcv.nxt.plus(tcb.rcv.buffer.min(0xffff));
        tcb.rcv.acked = tcb.rcv.nxt;
        tcb
    }

    /// It is large, and is made where it stays.
    fn new(config: &Arc<Config>, path: Path, iss: Seq, state: State, now: Instant) -> Box<Self> {
        let mss = path.mss.max(config.mss_min).max(1);
        let mut bits = Bits::empty();
        bits.set(Bits::NODELAY, config.nodelay);
        bits.set(Bits::CORK, config.cork);
        bits.set(Bits::URGENT_INLINE, config.urgent_inline);
        bits.set(Bits::TELL_TIMEOUT, config.tell_user_timeout);
        bits.set(Bits::TIMEOUT_FIXED, config.user_timeout.is_some());
        // Its memory is there before it is, so that nothing is copied.
        let mut tcb = Box::write(
            Box::new_uninit(),
            Self {
                state,
                bits,
                snd: SendSpace::new(iss, mss, now.0),
                rcv: ReceiveSpace::new(config, path.timestamp_offset, mss, now.0),
                timers: Timers::default(),
                window: Window {
                    size: 0,
                    threshold: u32::MAX,
                    mss: u32::from(mss),
                },
                board: Scoreboard::new(iss.plus(1)),
                rtt: Rtt::default(),
                sending: ByteQueue::default(),
                ready: ByteQueue::default(),
                reassembly: None,
                loss: Loss::new(iss),
                control: Control::new(config.congestion, iss.0),
                config: Arc::clone(config),
                times: Times {
                    min_rto: nanos(config.min_rto),
                    max_rto: nanos(config.max_rto),
                    delayed_ack: nanos(config.delayed_ack),
                },
                keep_alive: config.keeps_alive().map(Box::new),
                user_timeout: config.user_timeout.map_or(u64::MAX, nanos),
                send_buffer: super::bytes_u32(config.send_buffer).min(BUFFER_MAX),
                reset: None,
                error: None,
                soft_error: None,
                retries: 0,
                keep_probes: 0,
                challenges: 0,
                challenge_time: now.0,
                counters: Counters::default(),
                path: None,
                tally: None,
            },
        );
        tcb.arm_keep_alive(now.0);
        tcb
    }

    /// Payload of a full segment, with the options that each has.
    pub(super) fn full(&self) -> u32 {
        self.payload_of(self.snd.mss)
    }

    /// The same of a segment of another size.
    pub(super) fn payload_of(&self, mss: u16) -> u32 {
        let options = if self.bits.contains(Bits::TIMESTAMPS) {
            super::options::TIMESTAMPS_LEN
        } else {
            0
        };
        u32::from(mss).saturating_sub(options).max(1)
    }

    /// A segment of another size: the window counts in it.
    pub(super) fn set_mss(&mut self, mss: u16) {
        self.snd.mss = mss;
        self.window.mss = self.full();
    }

    pub(super) fn start_window(&mut self) {
        // RFC 6928, section 2: one segment when SYN was lost.
        let segments = if self.bits.contains(Bits::SYN_RESENT) {
            1
        } else {
            self.config.initial_window.max(1)
        };
        self.window.size = if segments == 1 {
            self.window.mss
        } else {
            initial_window(self.window.mss, segments)
        };
    }

    pub(super) fn rare(&mut self) -> &mut PathState {
        self.path.get_or_insert_default()
    }

    /// Bytes in flight, however they fared, SYN and FIN counted.
    pub(super) const fn flight(&self) -> u32 {
        self.snd.nxt.since(self.snd.una)
    }

    /// The number after the last byte in the queue: that of FIN.
    pub(super) fn end_of_data(&self) -> Seq {
        self.snd.queued.plus(super::bytes_u32(self.sending.len()))
    }

    /// The connection is over.
    pub(super) fn finish_with(&mut self, error: Option<Errno>, changes: &mut Changes) {
        match self.state {
            State::SynSent | State::SynReceived => self.count(Count::AttemptFails, 1),
            State::Established | State::CloseWait
                if self.reset.is_some() || changes.contains(Changes::RESET) =>
            {
                self.count(Count::EstabResets, 1);
            }
            _ => {}
        }
        self.state = State::Closed;
        self.error = self.error.or(error);
        self.timers.stop();
        self.bits.remove(
            Bits::ACK_NOW
                | Bits::SYN_NOW
                | Bits::WINDOW_PROBE_NOW
                | Bits::TAIL_PROBE_NOW
                | Bits::KEEP_ALIVE_NOW,
        );
        self.sending.clear();
        self.board = Scoreboard::new(self.snd.nxt);
        self.reassembly = None;
        *changes |= Changes::CLOSED | Changes::READABLE | Changes::WRITABLE;
    }

    /// Adds what follows from the state after a call.
    #[inline(always)]
    pub(super) fn finish(&mut self, mut changes: Changes) -> Changes {
        if self.has_output() {
            changes |= Changes::OUTPUT;
        }
        if self.next_deadline() < self.timers.armed {
            changes |= Changes::TIMER;
        }
        changes
    }

    /// The clock of timestamps (RFC 7323, section 5.4): milliseconds.
    pub(super) fn timestamp(&self, now: u64) -> u32 {
        timestamp_clock(now).wrapping_add(self.rcv.ts_offset)
    }
}

/// The low 32 bits of a count of milliseconds.
pub(super) const fn timestamp_clock(now: u64) -> u32 {
    ((now / 1_000_000) & 0xffff_ffff) as u32
}

/// Sequence numbers are compared within 2^31, and a window can be 2^30 (RFC 7323, section 2.3).
pub(super) const BUFFER_MAX: u32 = 1 << 30;
