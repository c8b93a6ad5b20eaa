//! A thread that tells a kernel's pollers when a socket of the host becomes ready. It starts with the first poll: who only
//! reads and writes does without it. Sockets that are watched are told of one by one.

use crate::errno;
use rumpkern::poll::Pollers;
use rumpnet::socket::Watcher;
use rumpuser::Result;
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fd::{BorrowedFd, OwnedFd},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

/// Marks the event that ends the thread.
const END: u64 = u64::MAX;
/// Marks sockets that nobody watches.
const POLLED: u64 = 0;

/// Who watches sockets, by number from 1.
#[derive(Default)]
struct Watchers {
    last: u64,
    list: HashMap<u64, Arc<dyn Watcher>>,
}

pub(crate) struct Reactor {
    epoll: Arc<OwnedFd>,
    end: OwnedFd,
    pollers: Arc<Pollers>,
    watchers: Arc<Mutex<Watchers>>,
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
            watchers: Arc::default(),
            thread: Mutex::default(),
        })
    }

    /// Tells the pollers once when one of `events` comes true of a socket.
    pub(crate) fn tell_once(&self, fd: BorrowedFd<'_>, events: epoll::EventFlags) -> Result<()> {
        let once = events | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(POLLED);
        match epoll::modify(&self.epoll, fd, data, once) {
            Err(rustix::io::Errno::NOENT) => {
                epoll::add(&self.epoll, fd, data, once).map_err(errno)?;
            }
            done => done.map_err(errno)?,
        }
        self.start()
    }

    /// Tells a watcher, and the pollers, each time that a socket becomes ready for something; a number for [`forget`](Self::forget).
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, watcher: Arc<dyn Watcher>) -> Result<u64> {
        let number = {
            let mut watchers = lock(&self.watchers);
            watchers.last += 1;
            let number = watchers.last;
            watchers.list.insert(number, watcher);
            number
        };
        use epoll::EventFlags as On;
        let events = On::IN | On::OUT | On::RDHUP | On::ET;
        let data = epoll::EventData::new_u64(number);
        let done = match epoll::modify(&self.epoll, fd, data, events) {
            Err(rustix::io::Errno::NOENT) => epoll::add(&self.epoll, fd, data, events),
            done => done,
        };
        let done = done.map_err(errno).and_then(|()| self.start());
        if done.is_err() {
            self.forget(number);
        }
        done.map(|()| number)
    }

    /// A socket goes.
    pub(crate) fn forget(&self, number: u64) {
        let gone = lock(&self.watchers).list.remove(&number);
        drop(gone); // when the lock is free again: it may be the last of much
    }

    fn start(&self) -> Result<()> {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let (epoll, pollers) = (self.epoll.clone(), self.pollers.clone());
            let watchers = self.watchers.clone();
            let builder = thread::Builder::new().name("sockin".into());
            let run = move || run(&epoll, &pollers, &watchers);
            *thread = Some(builder.spawn(run).map_err(|_| rumpuser::Errno::EAGAIN)?);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(epoll: &OwnedFd, pollers: &Pollers, watchers: &Mutex<Watchers>) {
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
        for event in &events {
            let watcher = lock(watchers).list.get(&event.data.u64()).cloned();
            if let Some(watcher) = watcher {
                watcher.changed();
            }
        }
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
