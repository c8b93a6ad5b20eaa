//! The host: virtual time, seeded randomness, threads that pass one baton, tasks that need none.

use crate::Rng;
use rumpuser::{
    Clock, Console, Errno, Instant, Params, Random, Result, Task, Threads, Timespec,
    sync::{Mutex, MutexGuard},
    task::Step,
};
use std::{
    collections::HashMap,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle, Thread, ThreadId},
    time::Duration,
};

/// Virtual time that a wait costs its thread. Without it a thread that never really waits would stop the clock for all.
const COST_OF_WAIT: u64 = 1_000;

/// What a simulation starts from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides every choice: which thread runs, what [`Random`] gives, how long slow disks take.
    pub seed: u64,
    /// What [`Params::cpus`] says. Nothing runs in parallel, whatever it is.
    pub cpus: usize,
    /// What [`Params::memory_limit`] says, in bytes.
    pub memory_limit: u64,
    /// Wall time at the start.
    pub wall: Timespec,
    /// Real time after which a thread that holds the baton without waiting is reported: it is blocked on an inline lock whose
    /// holder waits, or loops for ever.
    pub patience: Duration,
}

impl Default for Options {
    /// Seed 0, 4 CPUs, 64 MiB, 2024-01-01T00:00:00Z, one minute.
    fn default() -> Self {
        Self {
            seed: 0,
            cpus: 4,
            memory_limit: 64 << 20,
            wall: Timespec::from_secs(1_704_067_200),
            patience: Duration::from_secs(60),
        }
    }
}

/// The simulated host.
///
/// The thread that makes it is its first; all others are [spawned](Threads::spawn) and should be joined, for the simulation
/// stands still when its first thread does not wait. A thread from elsewhere must not wait in it.
///
/// The thread changes only inside a wait, so whoever holds an inline lock then breaks the contract of `rumpuser::sync`; that shows
/// as a report after [`Options::patience`].
pub struct Sim {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    state: Mutex<State>,
}

struct State {
    now: u64,
    schedule: Rng,
    random: Rng,
    threads: Vec<Slot>,
    tasks: Tasks,
    by_id: HashMap<ThreadId, usize>,
    /// Who holds the baton.
    running: usize,
    switches: u64,
    fingerprint: u64,
    events: u64,
    messages: Vec<String>,
    /// Threads that are refused from now on.
    refused: u64,
    /// The report, once nothing can go on. From then on every wait panics.
    stuck: Option<String>,
}

struct Slot {
    name: String,
    status: Status,
    handle: Thread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Running, or about to when the baton comes.
    Ready,
    Waiting {
        event: u64,
        ticket: u64,
        deadline: Option<Instant>,
    },
    Joining(usize),
    Ended {
        panicked: bool,
    },
}

/// Who goes on.
enum Chosen {
    Thread(usize),
    Task(usize),
}

impl Sim {
    /// A host that behaves as `seed` says.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Self::with(Options {
            seed,
            ..Options::default()
        })
    }

    /// Refuses the next `count` threads with `EAGAIN`.
    pub fn refuse_threads(&self, count: u64) {
        self.shared.state.lock().refused = count;
    }

    /// A host with options of its own.
    #[must_use]
    pub fn with(options: Options) -> Arc<Self> {
        let mut seeds = Rng::new(options.seed);
        let first = thread::current();
        let state = State {
            now: 0,
            schedule: Rng::new(seeds.next_u64()),
            random: Rng::new(seeds.next_u64()),
            by_id: HashMap::from([(first.id(), 0)]),
            threads: vec![Slot {
                name: "main".into(),
                status: Status::Ready,
                handle: first,
            }],
            tasks: Tasks::default(),
            running: 0,
            switches: 0,
            fingerprint: 0xcbf2_9ce4_8422_2325,
            events: 0,
            messages: vec![],
            refused: 0,
            stuck: None,
        };
        Arc::new(Self {
            shared: Arc::new(Shared {
                options,
                state: Mutex::new(state),
            }),
        })
    }

    /// The seed that this simulation runs by.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.options.seed
    }

    /// A number over all scheduling decisions and their times so far: equal runs have equal ones.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.shared.state.lock().fingerprint
    }

    /// The lines that the kernel printed.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        self.shared.state.lock().messages.clone()
    }

    /// Lets other threads run, as a wait that ends at once.
    pub fn pause(&self) {
        let shared = &self.shared;
        let state = shared.state.lock();
        let me = shared.me(&state);
        shared.pass_baton(state, me);
    }

    /// Waits until `time` has passed.
    pub fn sleep(&self, time: Duration) {
        let event = self.event();
        let deadline = self.monotonic().after(time);
        event.wait(event.ticket(), Some(deadline));
    }

    /// Lets run what can; if nothing can, has time go on to when something can, but not past `until`, and lets that run. For a thread
    /// that drives kernels and looks after each event what has become of it.
    pub fn advance(&self, until: Instant) {
        let state = self.shared.state.lock();
        if !state.others_can_go_on() {
            let next = state.next_deadline();
            drop(state);
            let next = next.map_or(until, |next| next.min(until));
            let event = self.event();
            event.wait(event.ticket(), Some(next));
        } else {
            drop(state);
        }
        while self.shared.state.lock().others_can_go_on() {
            self.pause();
        }
    }

    /// A number below `bound` from the stream that also decides the schedule.
    pub(crate) fn choose(&self, bound: u64) -> u64 {
        self.shared.state.lock().schedule.below(bound)
    }
}

impl Shared {
    /// The calling thread's number.
    fn me(&self, state: &State) -> usize {
        match state.by_id.get(&thread::current().id()) {
            Some(&me) => me,
            None => panic!("a thread that the simulation did not spawn waits in it"),
        }
    }

    /// Gives the baton to whom the seed chooses, and waits to get it back. The status of `me` says when that may be.
    fn pass_baton<'a>(&'a self, mut state: MutexGuard<'a, State>, me: usize) {
        self.refuse_if_stuck(&state);
        state = self.choose_next(state);
        let mut last_switch = (state.switches, std::time::Instant::now());
        while state.running != me && state.stuck.is_none() {
            drop(state);
            thread::park_timeout(self.options.patience);
            state = self.state.lock();
            if state.switches != last_switch.0 {
                last_switch = (state.switches, std::time::Instant::now());
            } else if last_switch.1.elapsed() >= self.options.patience {
                let report = state.report(&self.options, "the running thread does not wait");
                state.stop(report);
            }
        }
        self.refuse_if_stuck(&state);
    }

    fn refuse_if_stuck(&self, state: &State) {
        // What is dropped on the way out of the first panic must not panic again.
        if let Some(report) = &state.stuck
            && !thread::panicking()
        {
            panic!("{report}");
        }
    }

    /// Gives the baton to a thread that can go on, after the steps of the tasks that the seed puts before it.
    fn choose_next<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let start = std::time::Instant::now();
        let mut steps = 0_u64;
        loop {
            state.now += COST_OF_WAIT;
            if state.end_overdue_waits() == 0 {
                let next = state.next_deadline();
                state.now = next.map_or(state.now, |next| state.now.max(next.0));
                if state.end_overdue_waits() == 0 {
                    if state.some_live() {
                        let report = state.report(&self.options, "deadlock");
                        state.stop(report);
                    }
                    return state;
                }
            }
            match state.choose() {
                Chosen::Thread(next) => {
                    state.running = next;
                    state.switches += 1;
                    state.record(next as u64);
                    state.threads[next].handle.unpark();
                    return state;
                }
                Chosen::Task(task) => {
                    state.record(1 << 32 | task as u64);
                    state = self.step(state, task);
                }
            }
            steps += 1;
            if steps.is_multiple_of(1 << 16) && start.elapsed() > self.options.patience {
                let report = state.report(&self.options, "no thread can go on, only tasks");
                state.stop(report);
                return state;
            }
        }
    }
}

impl State {
    /// Ends waits whose time is over; how many threads and tasks can go on.
    fn end_overdue_waits(&mut self) -> usize {
        let mut count = 0;
        for slot in &mut self.threads {
            if let Status::Waiting {
                deadline: Some(deadline),
                ..
            } = slot.status
                && deadline.0 <= self.now
            {
                slot.status = Status::Ready;
            }
            count += usize::from(slot.status == Status::Ready);
        }
        count + self.tasks.due(Instant(self.now))
    }

    /// When the next wait is over.
    fn next_deadline(&self) -> Option<Instant> {
        let deadline = |slot: &Slot| match slot.status {
            Status::Waiting { deadline, .. } => deadline,
            _ => None,
        };
        let threads = self.threads.iter().filter_map(deadline).min();
        threads.into_iter().chain(self.tasks.deadline()).min()
    }

    /// Whether anybody but the running thread can.
    fn others_can_go_on(&self) -> bool {
        let others = self.threads.iter().enumerate();
        let mut others = others.filter(|(index, _)| *index != self.running);
        others.any(|(_, slot)| slot.status == Status::Ready)
            || self.tasks.due(Instant(self.now)) > 0
    }

    fn some_live(&self) -> bool {
        let ended = |slot: &Slot| matches!(slot.status, Status::Ended { .. });
        !self.threads.iter().all(ended)
    }

    /// Who of those that can go on does so.
    fn choose(&mut self) -> Chosen {
        let now = Instant(self.now);
        let ready = |slot: &&Slot| slot.status == Status::Ready;
        let threads = self.threads.iter().filter(ready).count();
        let count = threads + self.tasks.due(now);
        let choice = self.schedule.below(count as u64) as usize;
        match choice.checked_sub(threads) {
            Some(task) => Chosen::Task(self.tasks.nth_due(task, now)),
            None => {
                let ready = self.threads.iter().enumerate();
                let mut ready = ready.filter(|(_, slot)| slot.status == Status::Ready);
                Chosen::Thread(ready.nth(choice).map_or(0, |(index, _)| index))
            }
        }
    }

    fn record(&mut self, who: u64) {
        for part in [who, self.now] {
            self.fingerprint = (self.fingerprint ^ part).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Ends every wait with a panic.
    fn stop(&mut self, report: String) {
        self.stuck = Some(report);
        for slot in &self.threads {
            slot.handle.unpark();
        }
    }

    /// Every thread and what it waits for.
    fn report(&self, options: &Options, what: &str) -> String {
        let now = Duration::from_nanos(self.now);
        let mut text = format!("simulation of seed {}: {what} at {now:?}", options.seed);
        for (index, slot) in self.threads.iter().enumerate() {
            let name = &slot.name;
            let _infallible = match slot.status {
                Status::Ready if index == self.running => write!(text, "\n  {name}: running"),
                Status::Ready => write!(text, "\n  {name}: ready"),
                Status::Waiting {
                    event,
                    ticket,
                    deadline,
                } => {
                    let until = deadline.map(|deadline| Duration::from_nanos(deadline.0));
                    let until = until.map(|d| format!(" until {d:?}")).unwrap_or_default();
                    write!(
                        text,
                        "\n  {name}: waits for event {event}, ticket {ticket}{until}"
                    )
                }
                Status::Joining(other) => {
                    write!(text, "\n  {name}: joins {}", self.threads[other].name)
                }
                Status::Ended { panicked: false } => write!(text, "\n  {name}: has ended"),
                Status::Ended { panicked: true } => write!(text, "\n  {name}: has panicked"),
            };
        }
        self.tasks.report(&mut text);
        text
    }
}

impl Clock for Sim {
    fn monotonic(&self) -> Instant {
        Instant(self.shared.state.lock().now)
    }

    fn wall(&self) -> Timespec {
        let start = self.shared.options.wall;
        let nanos = u64::from(start.nsec) + self.shared.state.lock().now;
        let (sec, nsec) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        Timespec {
            sec: start.sec.saturating_add_unsigned(sec),
            nsec: nsec as u32,
        }
    }
}

impl Random for Sim {
    fn random(&self, buf: &mut [u8]) {
        self.shared.state.lock().random.fill(buf);
    }
}

impl Console for Sim {
    fn message(&self, line: &str) {
        self.shared.state.lock().messages.push(line.into());
    }
}

impl Params for Sim {
    fn cpus(&self) -> usize {
        self.shared.options.cpus
    }

    fn host_name(&self) -> String {
        "sim".into()
    }

    fn memory_limit(&self) -> u64 {
        self.shared.options.memory_limit
    }
}

impl Threads for Sim {
    fn spawn(
        &self,
        name: &str,
        body: Box<dyn FnOnce() + Send>,
    ) -> Result<Box<dyn rumpuser::Thread>> {
        let mut state = self.shared.state.lock();
        if state.refused > 0 {
            state.refused -= 1;
            return Err(Errno::EAGAIN);
        }
        let index = state.threads.len();
        let shared = self.shared.clone();
        let builder = thread::Builder::new().name(name.replace('\0', "?"));
        let handle = builder.spawn(move || live(&shared, index, body));
        let handle = handle.map_err(|_| Errno::EAGAIN)?;
        let thread = handle.thread().clone();
        state.by_id.insert(thread.id(), index);
        state.threads.push(Slot {
            name: name.into(),
            status: Status::Ready,
            handle: thread,
        });
        Ok(Box::new(Spawned {
            shared: self.shared.clone(),
            index,
            handle,
        }))
    }

    fn task(&self, name: &str, step: Step) -> Result<Arc<dyn Task>> {
        let mut state = self.shared.state.lock();
        if state.refused > 0 {
            state.refused -= 1;
            return Err(Errno::EAGAIN);
        }
        let index = state.tasks.add(name, step);
        drop(state);
        Ok(Arc::new(Handle::new(&self.shared, index)))
    }

    fn event(&self) -> Arc<dyn rumpuser::Event> {
        let mut state = self.shared.state.lock();
        state.events += 1;
        let number = state.events;
        Arc::new(Event {
            number,
            count: AtomicU64::new(0),
            shared: self.shared.clone(),
        })
    }

    fn catch(&self, body: &mut dyn FnMut()) -> std::result::Result<(), String> {
        let result = rumpuser_posix::catch(body);
        // The end of the simulation is nothing that a kernel could go on after.
        self.shared.refuse_if_stuck(&self.shared.state.lock());
        result
    }

    fn unwinding(&self) -> bool {
        rumpuser_posix::unwinding()
    }

    fn current(&self) -> u64 {
        let state = self.shared.state.lock();
        match state.tasks.running() {
            Some(task) => 1 << 32 | task as u64,
            None => self.shared.me(&state) as u64 + 1,
        }
    }
}

/// The life of a spawned thread.
fn live(shared: &Shared, index: usize, body: Box<dyn FnOnce() + Send>) {
    let mut state = shared.state.lock();
    while state.running != index {
        if state.stuck.is_some() {
            return;
        }
        drop(state);
        thread::park();
        state = shared.state.lock();
    }
    drop(state);

    let panicked = catch_unwind(AssertUnwindSafe(body)).is_err();

    let mut state = shared.state.lock();
    state.threads[index].status = Status::Ended { panicked };
    for slot in &mut state.threads {
        if slot.status == Status::Joining(index) {
            slot.status = Status::Ready;
        }
    }
    if state.stuck.is_none() {
        drop(shared.choose_next(state));
    }
}

/// A thread to be joined.
struct Spawned {
    shared: Arc<Shared>,
    index: usize,
    handle: JoinHandle<()>,
}

impl rumpuser::Thread for Spawned {
    fn join(self: Box<Self>) {
        let mut state = self.shared.state.lock();
        if thread::panicking() && state.stuck.is_some() {
            return; // a second panic would abort and hide the first
        }
        let me = self.shared.me(&state);
        if !matches!(state.threads[self.index].status, Status::Ended { .. }) {
            state.threads[me].status = Status::Joining(self.index);
        }
        self.shared.pass_baton(state, me);
        // It has passed the baton on and does nothing any more but end.
        drop(self.handle.join());
    }
}

/// An event count, changed under the lock of the state.
struct Event {
    number: u64,
    count: AtomicU64,
    shared: Arc<Shared>,
}

impl rumpuser::Event for Event {
    fn ticket(&self) -> u64 {
        self.count.load(SeqCst)
    }

    fn wait(&self, ticket: u64, deadline: Option<Instant>) -> bool {
        let mut state = self.shared.state.lock();
        state.tasks.must_not_wait();
        let me = self.shared.me(&state);
        if self.ticket() <= ticket {
            let event = self.number;
            state.threads[me].status = Status::Waiting {
                event,
                ticket,
                deadline,
            };
        }
        self.shared.pass_baton(state, me);
        self.ticket() > ticket
    }

    fn notify(&self) {
        let mut state = self.shared.state.lock();
        let count = self.count.fetch_add(1, SeqCst) + 1;
        for slot in &mut state.threads {
            if let Status::Waiting { event, ticket, .. } = slot.status
                && event == self.number
                && ticket < count
            {
                slot.status = Status::Ready;
            }
        }
    }
}

mod task;

use task::{Handle, Tasks};

#[cfg(test)]
mod tests;
