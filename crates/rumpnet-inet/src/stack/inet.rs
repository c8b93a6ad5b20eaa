//! Who works on the stack.
//!
//! All state of a kernel's Internet family is behind one lock. Whoever holds it - a system call, a device with frames, the clock -
//! also does the work that others left at the door in the meantime (`Inet::with`), and sends frames and wakes sleepers after it has let
//! go. The thread that sends a frame over a cable in the process so carries it through the other kernel's stack, and its answer
//! back, without a switch of threads.

use super::{Counters, Few, Stack};
use crate::{flow, ipv4};
use alloc::{
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    mem,
    sync::atomic::{AtomicBool, Ordering, fence},
};
use rumpkern::poll::Pollers;
use rumpnet::{
    Ifnet, Net, Packet,
    interface::{Batch, Look, Turn, Upper},
};
use rumpuser::{
    Event, Fetch, Host, Instant, Result, Task,
    sync::{Mutex, MutexGuard},
};

/// Frames that wait for the stack at most.
const INBOX: usize = 16_384;

/// The clock's task is due at multiples of so many nanoseconds: a millisecond.
const TICK: u64 = 1_000_000;

/// The Internet family of a kernel.
pub struct Inet {
    pub(crate) host: Arc<dyn Host>,
    /// The number of the host's clock.
    clock_number: Option<u32>,
    pub(crate) net: Arc<Net>,
    pub(crate) pollers: Arc<Pollers>,
    stack: Mutex<Stack>,
    /// Notified when addresses come or go.
    pub(crate) addresses_changed: Arc<dyn Event>,
    inbox: Inbox,
    /// The task of the clock.
    clock: Mutex<Option<Arc<dyn Task>>>,
    /// It is at work.
    ticking: AtomicBool,
}

/// Frames at the door. Whether there are any is known without its lock.
#[derive(Default)]
struct Inbox {
    frames: Mutex<Batch>,
    /// Written with the lock held.
    filled: AtomicBool,
}

impl Inbox {
    /// Adds frames, as many as there is room for, and empties the batch. Whoever cannot take the stack's lock then leaves them to its holder.
    fn put(&self, frames: &mut Batch) {
        let mut inbox = self.frames.lock();
        let room = INBOX.saturating_sub(inbox.len());
        frames.truncate(room);
        inbox.append(frames);
        self.filled.store(!inbox.is_empty(), Ordering::SeqCst);
        drop(inbox);
        // Before the look at the lock of the stack; in `any` it is the other way round: one of the two sees what the other did.
        fence(Ordering::SeqCst);
    }

    /// Exchanges the frames for an empty batch.
    fn take(&self, frames: &mut Batch) {
        let mut inbox = self.frames.lock();
        mem::swap(&mut *inbox, frames);
        self.filled.store(false, Ordering::SeqCst);
    }

    /// Whether there are any, asked after the stack's lock was let go.
    fn any(&self) -> bool {
        fence(Ordering::SeqCst);
        self.seems_any()
    }

    /// The same with the lock held; what is missed is seen by [`any`](Self::any).
    fn seems_any(&self) -> bool {
        self.filled.load(Ordering::SeqCst)
    }
}

impl Inet {
    pub(crate) fn new(host: &Arc<dyn Host>, net: &Arc<Net>, pollers: &Arc<Pollers>) -> Arc<Self> {
        let addresses_changed = host.event();
        Arc::new(Self {
            stack: Mutex::new(Stack::new(&**host, &addresses_changed)),
            addresses_changed,
            clock_number: host.clock(),
            host: host.clone(),
            net: net.clone(),
            pollers: pollers.clone(),
            inbox: Inbox::default(),
            clock: Mutex::default(),
            ticking: AtomicBool::new(false),
        })
    }

    /// Does something with the stack, then what others have left to do, and sends what comes of it.
    pub fn with<R>(&self, body: impl FnOnce(&mut Stack) -> R) -> R {
        let mut stack = self.stack.lock();
        self.look_at_clock(&mut stack);
        let result = body(&mut stack);
        self.finish(stack);
        result
    }

    /// For a call: what it sends takes the look along.
    fn look_at_clock(&self, stack: &mut Stack) {
        let at = self.host.monotonic();
        stack.now = at;
        stack.look = self.clock_number.map(|clock| Look { at, clock });
    }

    /// Looks at the stack; nothing comes of it.
    pub fn look<R>(&self, body: impl FnOnce(&Stack) -> R) -> R {
        let stack = self.stack.lock();
        let result = body(&stack);
        self.finish_if_left(stack);
        result
    }

    /// Does something with the stack that takes no time and sends nothing.
    pub(crate) fn quick<R>(&self, body: impl FnOnce(&mut Stack) -> R) -> R {
        let mut stack = self.stack.lock();
        let result = body(&mut stack);
        self.finish_if_left(stack);
        result
    }

    /// Does something with the stack that takes no time, and mostly sends nothing; if it does, the rest is done as by [`with`](Self::with).
    #[inline(always)]
    pub(crate) fn lightly<R>(&self, body: impl FnOnce(&mut Stack) -> R) -> R {
        let mut stack = self.stack.lock();
        let result = body(&mut stack);
        if stack.is_quiet() {
            self.finish_if_left(stack);
        } else {
            self.look_at_clock(&mut stack);
            self.finish(stack);
        }
        result
    }

    /// Does something with an item and the stack, the swift way, which may send and takes no time, or the usual one if that gives the item
    /// back.
    pub(crate) fn swiftly<T, R>(
        &self,
        item: T,
        swift: impl FnOnce(&mut Stack, T) -> core::result::Result<R, T>,
        usual: impl FnOnce(&mut Stack, T) -> R,
    ) -> R {
        let mut stack = self.stack.lock();
        match swift(&mut stack, item) {
            Ok(result) if stack.is_idle() => {
                self.let_go(stack, false);
                self.look_again();
                result
            }
            Ok(result) => {
                stack.now = self.host.monotonic();
                self.finish(stack);
                result
            }
            Err(item) => {
                stack.now = self.host.monotonic();
                let result = usual(&mut stack, item);
                self.finish(stack);
                result
            }
        }
    }

    /// Does something with the stack that takes no time and mostly sends nothing, but may set a deadline.
    pub(crate) fn calmly<R>(&self, body: impl FnOnce(&mut Stack) -> R) -> R {
        let mut stack = self.stack.lock();
        let result = body(&mut stack);
        if stack.is_idle() {
            let alarm = rearm(&mut stack);
            self.let_go(stack, alarm);
            self.look_again();
        } else {
            stack.now = self.host.monotonic();
            self.finish(stack);
        }
        result
    }

    fn finish_if_left(&self, stack: MutexGuard<'_, Stack>) {
        drop(stack);
        self.look_again();
    }

    /// After the lock was let go.
    #[inline]
    fn look_again(&self) {
        // A frame may have come in the meantime, and have been left to this thread.
        if self.inbox.any()
            && let Some(mut stack) = self.stack.try_lock()
        {
            stack.now = self.host.monotonic();
            self.finish(stack);
        }
    }

    fn finish<'a>(&'a self, stack: MutexGuard<'a, Stack>) {
        self.finish_with(stack, None);
    }

    /// Works off what has come and these frames, lets the lock go, sends and wakes; again if frames came in the meantime.
    fn finish_with<'a>(&'a self, mut stack: MutexGuard<'a, Stack>, mut frames: Option<&mut Batch>) {
        loop {
            self.work_off(&mut stack, frames.take());
            let alarm = rearm(&mut stack);
            self.let_go(stack, alarm);
            if !self.inbox.any() {
                return;
            }
            match self.stack.try_lock() {
                Some(again) => {
                    stack = again;
                    stack.now = self.host.monotonic();
                }
                // Its holder looks at the inbox after it has let go.
                None => return,
            }
        }
    }

    /// Lets the lock go, sends and wakes.
    fn let_go(&self, mut stack: MutexGuard<'_, Stack>, alarm: bool) {
        let (mut first, mut rest) = (None, Vec::new());
        let look = stack.look.take();
        let Stack {
            interfaces, spare, ..
        } = &mut *stack;
        for here in interfaces {
            if here.out.is_empty() {
                continue;
            }
            let turn = here.ifnet.turn(&mut here.out, look);
            if here.out.capacity() == 0 {
                mem::swap(&mut here.out, spare);
            }
            if first.is_none() {
                first = turn;
            } else {
                rest.extend(turn);
            }
        }
        // Most packets wake nobody.
        let some = !stack.wakes.is_empty();
        let wakes = some.then(|| Wakes(mem::take(&mut stack.wakes)));
        let changed = mem::take(&mut stack.changed);
        drop(stack);
        if let Some(turn) = first {
            turn.send();
        }
        if !rest.is_empty() {
            rest.into_iter().for_each(Turn::send);
        }
        drop(wakes);
        if changed {
            self.pollers.changed_under_lock();
        }
        if alarm && let Some(clock) = &*self.clock.lock() {
            clock.notify();
        }
    }

    /// Takes from the front of frames those that go a short way, which takes no time. Whether all did.
    fn hear(&self, stack: &mut Stack, frames: &mut Batch) -> bool {
        if !stack.is_idle() || self.inbox.seems_any() {
            return false;
        }
        let datagram = |frame: &Packet| flow::looks_like(frame, ipv4::protocol::UDP);
        loop {
            match frames.front() {
                None => {
                    stack.spare(frames);
                    return true;
                }
                Some(frame) if !datagram(frame) => return false,
                Some(_) => {}
            }
            if let Some(frame) = frames.pop_front()
                && let Err(frame) = stack.udp_hear(frame)
            {
                frames.push_front(frame);
                return false;
            }
        }
    }

    /// Frames that wait came before `frames`.
    fn work_off(&self, stack: &mut Stack, mut frames: Option<&mut Batch>) {
        loop {
            if self.inbox.seems_any() {
                stack.look = None;
                let mut waiting = mem::take(&mut stack.spare);
                self.inbox.take(&mut waiting);
                while let Some(frame) = waiting.pop_front() {
                    stack.input(frame);
                }
                stack.spare = waiting;
            }
            if let Some(frames) = frames.take() {
                while let Some(frame) = frames.pop_front() {
                    stack.input(frame);
                }
                stack.spare(frames);
            }
            while let Some(packet) = stack.local.pop_front() {
                stack.ip_input(packet.meta.interface, packet);
            }
            stack.tcp_output();
            if !self.inbox.seems_any() && stack.local.is_empty() {
                return;
            }
        }
    }

    /// Waits for a socket's event. Meanwhile this thread fetches frames itself, of devices that let it.
    pub(crate) fn wait(&self, event: &dyn Event, ticket: u64, deadline: Option<Instant>) -> bool {
        // Whoever waits keeps no device open that is taken away.
        let devices: Vec<Weak<Ifnet>> = self.look(|stack| {
            let all = stack.interfaces.iter().map(|here| &here.ifnet);
            let polls = all.filter(|ifnet| ifnet.polls());
            polls.map(Arc::downgrade).collect()
        });
        if devices.is_empty() {
            return event.wait(ticket, deadline);
        }
        let mut fetch = |fetch| {
            let there = devices.iter().filter_map(Weak::upgrade);
            there.for_each(|device| match fetch {
                Fetch::Now => device.poll(),
                Fetch::NoMore => device.leave(),
            });
        };
        event.wait_fetching(ticket, deadline, &mut fetch)
    }

    /// Whether something that was handed to the stack is left to the task of the clock. Where one thread drives kernels, as in
    /// tests, all has been done and sent when this is `false`.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        // In this order: that task looks at the inbox before it says that it is done.
        self.ticking.load(Ordering::SeqCst) || self.inbox.any()
    }

    /// Frames that wait for the stack.
    pub(crate) fn inbox_len(&self) -> usize {
        self.inbox.frames.lock().len()
    }

    /// A step of the clock's task: does what is due, and says when something is again.
    pub(crate) fn tick(&self) -> Option<Instant> {
        self.ticking.store(true, Ordering::SeqCst);
        let armed = self.with(|stack| {
            let now = stack.now;
            if stack.armed.is_none_or(|armed| armed <= now) {
                stack.clock();
                stack.armed = stack.deadline().map(at_tick);
            }
            stack.armed
        });
        self.ticking.store(false, Ordering::SeqCst);
        armed
    }

    /// That task.
    pub(crate) fn set_clock(&self, task: Arc<dyn Task>) {
        *self.clock.lock() = Some(task.clone());
        // Whoever had something for it before could not say so.
        task.notify();
    }

    /// An interface of the kernel.
    ///
    /// # Errors
    /// `ENXIO`.
    pub fn interface(&self, name: &str) -> Result<Arc<Ifnet>> {
        self.net.interface(name)
    }

    /// The number of the interface that a socket is to be bound to, if it has the name of one.
    pub(crate) fn bound_interface(&self, name: Option<&String>) -> Result<Option<u32>> {
        let interface = name.map(|name| self.interface(name)).transpose()?;
        Ok(interface.map(|interface| interface.index()))
    }

    /// What has happened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.look(|stack| {
            let mut all = stack.counters;
            (all.tcp.tally, all.tcp.established) = stack.tcp.tally();
            all
        })
    }

    /// A number that nobody can guess.
    pub(crate) fn random_u64(host: &dyn Host) -> u64 {
        let mut bytes = [0; 8];
        host.random(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

/// Who is woken when this is dropped, even if a device panics before.
struct Wakes(Few<Arc<dyn Event>>);

impl Drop for Wakes {
    fn drop(&mut self) {
        mem::take(&mut self.0).each(|event| event.notify());
    }
}

impl Upper for Inet {
    fn input(&self, interface: &Arc<Ifnet>, frames: &mut Batch) {
        self.input_at(interface, frames, None);
    }

    fn input_at(&self, _interface: &Arc<Ifnet>, frames: &mut Batch, look: Option<Look>) {
        let mut free = self.stack.try_lock();
        if free.is_none() {
            self.inbox.put(frames);
            free = self.stack.try_lock();
        }
        if let Some(mut stack) = free {
            if self.hear(&mut stack, frames) {
                self.let_go(stack, false);
                self.look_again();
                return;
            }
            // A look that somebody else has had meanwhile may be later.
            stack.now = match look.filter(|look| Some(look.clock) == self.clock_number) {
                Some(look) => stack.now.max(look.at),
                None => self.host.monotonic(),
            };
            self.finish_with(stack, Some(frames));
        }
    }

    fn mtu_changed(&self, interface: &Ifnet) {
        let index = interface.index();
        self.with(|stack| {
            let here = stack.attached(index);
            if here.is_some_and(|here| here.ifnet.is_up()) {
                stack.tell_up(index);
            }
            stack.routes.touch();
        });
    }

    fn detached(&self, interface: &Ifnet) {
        self.with(|stack| stack.detach(interface.index()));
    }
}

/// Whether the task of the clock has to run earlier than it will. It may run too early: deadlines mostly move back.
#[inline(always)]
fn rearm(stack: &mut Stack) -> bool {
    let Some(deadline) = stack.deadline() else {
        return false;
    };
    // What it is armed for is the end of a tick, and that of the deadline's is no earlier.
    let latest = Instant(deadline.0.saturating_add(TICK.saturating_sub(1)));
    if stack.armed.is_some_and(|armed| armed <= latest) {
        return false;
    }
    stack.armed = Some(at_tick(deadline));
    true
}

/// Thousands of connections have deadlines in each moment: those of a tick are dealt with at once.
const fn at_tick(deadline: Instant) -> Instant {
    Instant(deadline.0.div_ceil(TICK).saturating_mul(TICK))
}
