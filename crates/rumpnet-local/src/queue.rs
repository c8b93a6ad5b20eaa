//! What waits to be received.

use alloc::{collections::VecDeque, vec::Vec};
use rumpnet::{
    Address,
    socket::{Control, Kind, MsgFlags, Received},
};

/// Bytes that a queue holds unless told otherwise.
const LIMIT: usize = 208 << 10;
/// What a message costs besides its bytes.
const OVERHEAD: usize = 64;

/// Who sent a message: process, user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Sender {
    /// Nobody told: what was sent before the receiver wanted to know. The user and the group are those that nobody has, as on Linux.
    const UNKNOWN: Self = Self {
        pid: 0,
        uid: 65_534,
        gid: 65_534,
    };

    /// Takes the sender out of what goes with a message.
    pub(crate) fn of(control: &mut Vec<Control>) -> Option<Self> {
        let mut sender = None;
        control.retain(|control| match *control {
            Control::Cred { pid, uid, gid } => {
                sender = Some(Self { pid, uid, gid });
                false
            }
            _ => true,
        });
        sender
    }

    const fn control(self) -> Control {
        let Self { pid, uid, gid } = self;
        Control::Cred { pid, uid, gid }
    }
}

/// A message, or a piece of a stream.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) data: Vec<u8>,
    /// Bytes of it that were received already.
    taken: usize,
    pub(crate) from: Address,
    pub(crate) sender: Option<Sender>,
    pub(crate) control: Vec<Control>,
}

impl Message {
    /// With who sent it in `control`, or not.
    pub(crate) fn new(data: Vec<u8>, from: Address, mut control: Vec<Control>) -> Self {
        Self {
            sender: Sender::of(&mut control),
            data,
            taken: 0,
            from,
            control,
        }
    }

    fn rest(&self) -> &[u8] {
        self.data.get(self.taken..).unwrap_or_default()
    }
}

/// Messages in order.
pub(crate) struct Queue {
    list: VecDeque<Message>,
    /// What they cost.
    used: usize,
    pub(crate) limit: usize,
    /// The receiver is told who sent each message (`SO_PASSCRED`): bytes of several senders do not come at once.
    pub(crate) tells_sender: bool,
    /// Who sent what was received last.
    last: Option<Sender>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            used: 0,
            limit: LIMIT,
            tells_sender: false,
            last: None,
        }
    }
}

impl Queue {
    /// Bytes of a stream that there is room for.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Whether a message of so many bytes has room; an empty queue takes any that is not longer than the limit.
    pub(crate) fn takes(&self, len: usize) -> bool {
        self.list.is_empty() || self.used.saturating_add(len).saturating_add(OVERHEAD) <= self.limit
    }

    /// Whether a sender should try: a quarter of the queue is free.
    pub(crate) fn is_ready(&self, kind: Kind) -> bool {
        let quarter = self.limit.checked_div(4).unwrap_or(0);
        if kind == Kind::Stream {
            self.room() >= quarter
        } else {
            self.takes(quarter)
        }
    }

    /// Adds a message; pieces of a stream that nothing parts become one.
    pub(crate) fn push(&mut self, kind: Kind, message: Message) {
        self.used = self.used.saturating_add(message.data.len());
        if kind == Kind::Stream {
            let last = self.list.back_mut();
            if let Some(last) = last.filter(|last| {
                message.control.is_empty()
                    && last.control.is_empty()
                    && last.sender == message.sender
                    && last.data.len() < 1 << 16
            }) {
                last.data.extend_from_slice(&message.data);
                return;
            }
        } else {
            self.used = self.used.saturating_add(OVERHEAD);
        }
        self.list.push_back(message);
    }

    /// Drops the messages; what came with them is returned.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = Control> + use<> {
        self.used = 0;
        let list = core::mem::take(&mut self.list);
        list.into_iter().flat_map(|message| message.control)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes that a reader of a stream finds, or of the first message.
    pub(crate) fn readable(&self, kind: Kind) -> usize {
        let mut lengths = self.list.iter().map(|message| message.rest().len());
        if kind == Kind::Stream {
            lengths.sum()
        } else {
            lengths.next().unwrap_or(0)
        }
    }

    /// Receives: of a stream all that there is room for, up to a message with something besides bytes, or of another sender if who it was is
    /// told; else one message. `None` if there is nothing.
    pub(crate) fn take(
        &mut self,
        kind: Kind,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
    ) -> Option<Received> {
        let peek = flags.contains(MsgFlags::PEEK);
        let tells = self.tells_sender;
        let first = self.list.front_mut()?;
        let sender = first.sender;
        if kind == Kind::Stream
            && flags.contains(MsgFlags::GOES_ON)
            && (!first.control.is_empty() || tells && sender != self.last)
        {
            return Some(Received::default());
        }
        let mut received = Received {
            from: Some(first.from.clone()),
            ..Received::default()
        };
        // With no place for bytes the first of a stream stays, and what comes with it.
        let consumes = kind != Kind::Stream || bufs.iter().any(|buf| !buf.is_empty());
        if peek {
            received.control.clone_from(&first.control);
        } else if consumes {
            received.control = core::mem::take(&mut first.control);
            self.last = sender;
        }
        if tells {
            let sender = sender.unwrap_or(Sender::UNKNOWN);
            received.control.push(sender.control());
        }
        if kind == Kind::Stream {
            self.take_bytes(bufs, peek, &mut received);
        } else {
            self.take_message(kind, bufs, flags, &mut received);
        }
        Some(received)
    }

    /// Receives the first message.
    fn take_message(
        &mut self,
        kind: Kind,
        bufs: &mut [&mut [u8]],
        flags: MsgFlags,
        received: &mut Received,
    ) {
        let Some(first) = self.list.front() else {
            return;
        };
        let mut done = 0_usize;
        for buf in bufs.iter_mut() {
            done = done.saturating_add(copy(first.data.get(done..).unwrap_or_default(), buf));
        }
        let len = first.data.len();
        received.flags.set(MsgFlags::TRUNC, done < len);
        let whole = kind == Kind::SeqPacket && done == len;
        received.flags.set(MsgFlags::EOR, whole);
        received.len = if flags.contains(MsgFlags::TRUNC) {
            len
        } else {
            done
        };
        if !flags.contains(MsgFlags::PEEK) {
            self.list.pop_front();
            self.used = self.used.saturating_sub(len.saturating_add(OVERHEAD));
        }
    }

    /// Receives bytes of a stream, from the first message on.
    fn take_bytes(&mut self, bufs: &mut [&mut [u8]], peek: bool, received: &mut Received) {
        let sender = self.list.front().and_then(|first| first.sender);
        let (mut at, mut place) = (0, 0_usize);
        for buf in bufs.iter_mut() {
            let mut filled = 0_usize;
            while let Some(message) = self.list.get(at) {
                let other = self.tells_sender && message.sender != sender;
                if at > 0 && (!message.control.is_empty() || other) {
                    break;
                }
                let from = message.rest().get(place..).unwrap_or_default();
                let count = copy(from, buf.get_mut(filled..).unwrap_or_default());
                filled = filled.saturating_add(count);
                if count < from.len() {
                    place = place.saturating_add(count);
                    break;
                }
                (at, place) = (at.saturating_add(1), 0);
            }
            received.len = received.len.saturating_add(filled);
        }
        if !peek {
            self.used = self.used.saturating_sub(received.len);
            self.list.drain(..at.min(self.list.len()));
            if let Some(first) = self.list.front_mut() {
                first.taken = first.taken.saturating_add(place);
            }
        }
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cred(pid: u32) -> Vec<Control> {
        Vec::from([Control::Cred {
            pid,
            uid: 0,
            gid: 0,
        }])
    }

    fn push(queue: &mut Queue, bytes: &[u8], control: Vec<Control>) {
        let message = Message::new(bytes.to_vec(), Address::Unspecified, control);
        queue.push(Kind::Stream, message);
    }

    /// The bytes of a receive, and what came with it.
    fn take(queue: &mut Queue, len: usize, flags: MsgFlags) -> (Vec<u8>, Vec<Control>) {
        let mut buf = [0; 16];
        let got = queue
            .take(Kind::Stream, &mut [&mut buf[..len]], flags)
            .unwrap();
        (buf[..got.len].to_vec(), got.control)
    }

    /// The same with the number of the sender.
    fn told(queue: &mut Queue, len: usize, flags: MsgFlags) -> (Vec<u8>, Option<u32>) {
        let (bytes, control) = take(queue, len, flags);
        let pid = |control: &Control| match control {
            Control::Cred { pid, .. } => Some(*pid),
            _ => None,
        };
        (bytes, control.iter().find_map(pid))
    }

    #[test]
    fn a_stream_is_parted_only_by_what_comes_with_bytes() {
        let mut queue = Queue::default();
        push(&mut queue, b"ab", Vec::new());
        push(&mut queue, b"cd", Vec::new());
        push(&mut queue, b"ef", Vec::from([Control::Files(Vec::new())]));
        push(&mut queue, b"gh", Vec::new());
        assert_eq!(queue.readable(Kind::Stream), 8);
        let mut take = |len: usize, flags| {
            let (bytes, control) = take(&mut queue, len, flags);
            (bytes, control.len())
        };
        assert_eq!(take(3, MsgFlags::PEEK), (b"abc".to_vec(), 0));
        assert_eq!(take(3, MsgFlags::empty()), (b"abc".to_vec(), 0));
        assert_eq!(take(9, MsgFlags::empty()), (b"d".to_vec(), 0));
        // What waits for more bytes does not go on with these, which have something with them.
        assert_eq!(take(9, MsgFlags::GOES_ON), (Vec::new(), 0));
        assert_eq!(take(1, MsgFlags::empty()), (b"e".to_vec(), 1));
        assert_eq!(take(9, MsgFlags::empty()), (b"fgh".to_vec(), 0));
        assert!(queue.is_empty() && queue.used == 0);
    }

    /// unix(7), `SO_PASSCRED`: each message received says who sent it; without the option none does, and nothing is parted.
    #[test]
    fn senders_are_told_to_who_asks_and_not_mixed() {
        let mut queue = Queue::default();
        let fill = |queue: &mut Queue| {
            push(queue, b"ab", cred(1));
            push(queue, b"cd", cred(1));
            push(queue, b"ef", cred(2));
            push(queue, b"gh", Vec::new());
        };
        fill(&mut queue);
        let all = told(&mut queue, 16, MsgFlags::empty());
        assert_eq!(all, (b"abcdefgh".to_vec(), None));
        queue.tells_sender = true;
        fill(&mut queue);
        let mut told = |len: usize, flags| told(&mut queue, len, flags);
        assert_eq!(told(16, MsgFlags::PEEK), (b"abcd".to_vec(), Some(1)));
        assert_eq!(told(1, MsgFlags::empty()), (b"a".to_vec(), Some(1)));
        assert_eq!(told(2, MsgFlags::GOES_ON), (b"bc".to_vec(), Some(1)));
        assert_eq!(told(16, MsgFlags::empty()), (b"d".to_vec(), Some(1)));
        assert_eq!(told(16, MsgFlags::GOES_ON), (Vec::new(), None));
        assert_eq!(told(16, MsgFlags::empty()), (b"ef".to_vec(), Some(2)));
        // Nobody told who sent it.
        let (bytes, control) = take(&mut queue, 16, MsgFlags::empty());
        assert_eq!(bytes, b"gh");
        assert!(matches!(
            control[..],
            [Control::Cred {
                pid: 0,
                uid: 65_534,
                gid: 65_534
            }]
        ));
        assert!(queue.is_empty() && queue.used == 0);
    }

    #[test]
    fn messages_stay_apart_and_count() {
        let mut queue = Queue {
            limit: 230,
            ..Queue::default()
        };
        assert!(queue.takes(230));
        queue.push(
            Kind::Datagram,
            Message::new([1; 100].to_vec(), Address::Unspecified, Vec::new()),
        );
        assert!(!queue.takes(100) && queue.takes(0));
        let mut buf = [0; 10];
        let got = queue
            .take(Kind::Datagram, &mut [&mut buf], MsgFlags::TRUNC)
            .unwrap();
        assert_eq!((got.len, got.flags), (100, MsgFlags::TRUNC));
        assert_eq!((queue.used, queue.is_empty()), (0, true));
    }
}
