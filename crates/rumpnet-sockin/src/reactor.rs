//! A thread that tells a kernel's pollers when a socket of the host becomes ready. It starts with the first poll: who only
//! reads and writes does without it.

use crate::errno;
use rumpkern::poll::Pollers;
use rumpuser::Result;
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fd::{BorrowedFd, OwnedFd},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

/// Marks the event that ends the thread.
const END: u64 = u64::MAX;

pub(crate) struct Reactor {
    epoll: Arc<OwnedFd>,
    end: OwnedFd,
    pollers: Arc<Pollers>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reactor {
    pub(crate) fn new(pollers: Arc<Pollers>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(errno)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC).map_err(errno)?;
        let data = epoll::EventData::new_u64(END);
        epoll::add(&epoll, &end, data, epoll::EventFlags::IN).map_err(errno)?;
        Ok(Self {
            epoll: Arc::new(epoll),
            end,
            pollers,
            thread: Mutex::default(),
        })
    }

    /// Tells the pollers once when one of `events` comes true of a socket.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, events: epoll::EventFlags) -> Result<()> {
        let once = events | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(0);
        match epoll::modify(&self.epoll, fd, data, once) {
            Err(rustix::io::Errno::NOENT) => {
                epoll::add(&self.epoll, fd, data, once).map_err(errno)?;
            }
            done => done.map_err(errno)?,
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (epoll, pollers) = (self.epoll.clone(), self.pollers.clone());
            let builder = thread::Builder::new().name("sockin".into());
            let run = move || run(&epoll, &pollers);
            *thread = Some(builder.spawn(run).map_err(|_| rumpuser::Errno::EAGAIN)?);
        }
        Ok(())
    }
}

fn run(epoll: &OwnedFd, pollers: &Pollers) {
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if events.iter().any(|event| event.data.u64() == END) {
            return;
        }
        pollers.changed();
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            let woken = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
            // The last reference may be dropped on any thread but this one, which holds none.
            if woken.is_ok() && thread.join().is_err() {
                self.pollers.changed();
            }
        }
    }
}
