//! The kernel message buffer.

use alloc::{
    collections::VecDeque,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::fmt;
use rumpuser::{Host, Timespec, sync::Mutex};

/// Messages that are kept.
const CAPACITY: usize = 1024;

/// One kernel message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Position in the sequence of all messages of this kernel, from 0.
    pub sequence: u64,
    /// Wall time when it was written.
    pub time: Timespec,
    /// One line of text without its newline.
    pub text: String,
}

#[derive(Default)]
struct Ring {
    next: u64,
    messages: VecDeque<Message>,
}

/// A handle to the kernel message buffer that writes with a prefix. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    host: Arc<dyn Host>,
    ring: Arc<Mutex<Ring>>,
    prefix: Arc<str>,
}

impl Log {
    pub(crate) fn new(host: Arc<dyn Host>) -> Self {
        Self {
            host,
            ring: Arc::default(),
            prefix: "".into(),
        }
    }

    /// The same buffer, each line preceded by `prefix` and a colon.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        let prefix = if self.prefix.is_empty() {
            prefix.into()
        } else {
            format!("{}: {prefix}", self.prefix).into()
        };
        Self {
            prefix,
            ..self.clone()
        }
    }

    /// Writes a message.
    pub fn message(&self, text: fmt::Arguments<'_>) {
        let text = if self.prefix.is_empty() {
            text.to_string()
        } else {
            format!("{}: {text}", self.prefix)
        };
        self.host.message(&text);
        let time = self.host.wall();
        let mut ring = self.ring.lock();
        let sequence = ring.next;
        ring.next += 1;
        if ring.messages.len() == CAPACITY {
            ring.messages.pop_front();
        }
        ring.messages.push_back(Message {
            sequence,
            time,
            text,
        });
    }

    /// The sequence number that the next message will have: a mark for [`since`](Self::since).
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.ring.lock().next
    }

    /// The messages from `mark` on that are still kept.
    #[must_use]
    pub fn since(&self, mark: u64) -> Vec<Message> {
        self.ring
            .lock()
            .messages
            .iter()
            .filter(|m| m.sequence >= mark)
            .cloned()
            .collect()
    }
}
