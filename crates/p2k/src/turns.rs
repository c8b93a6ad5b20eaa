//! Whose turn it is to take requests.
//!
//! One thread at a time takes requests and answers them itself: it is woken where the last one was answered. Were several waiting for them, the
//! host would wake them in turn, on other processors as a rule, at a quarter more of processor time for each request. Before a thread does what
//! may take long it hands its turn over, and afterwards waits until it is needed again. So the data of a request stays where it was read.

use crate::flow::Flow;
use std::{
    cell::RefCell,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Longer than this is long: more than to hand a turn over.
const LONG: Duration = Duration::from_micros(200);
/// How many of a kind count as long after one that was.
const CAUTION: u32 = 8;

/// The threads of a session. All of them begin by waiting for requests.
pub(crate) struct Turns {
    shared: Arc<Shared>,
    flow: Arc<Flow>,
}

struct Shared {
    threads: usize,
    /// Threads that have had a request: only from then on it is known when they end.
    known: AtomicUsize,
    /// Threads that take requests; changed with `waiting` locked.
    taking: AtomicUsize,
    ended: AtomicBool,
    waiting: Mutex<Waiting>,
    called: Condvar,
}

/// Threads that wait for their turn.
#[derive(Default)]
struct Waiting {
    threads: usize,
    /// How many of them have been called, and count as taking requests.
    called: usize,
}

/// A thread's share in a session. That it ends means that the session does, or that the thread panicked: no other may go on waiting then.
struct Member(Arc<Shared>);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
        drop(self.0.lock());
        self.0.called.notify_all();
    }
}

thread_local! {
    static MEMBER: RefCell<Option<Member>> = const { RefCell::new(None) };
}

impl Turns {
    /// Of a session with so many threads, at least one, whose requests are counted.
    pub(crate) fn new(threads: usize, flow: Arc<Flow>) -> Self {
        let shared = Shared {
            threads,
            known: AtomicUsize::new(0),
            taking: AtomicUsize::new(threads),
            ended: AtomicBool::new(false),
            waiting: Mutex::default(),
            called: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
            flow,
        }
    }

    /// This thread has taken a request. When what is given is dropped it has answered, and waits for its turn to take another.
    pub(crate) fn take(&self) -> Turn<'_> {
        MEMBER.with_borrow_mut(|member| {
            if member.is_none() {
                *member = Some(Member(self.shared.clone()));
                self.shared.known.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.flow.count();
        Turn {
            shared: &self.shared,
            taking: true,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Numbers, changed in single steps.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread may wait: another one calls it when it is needed, at the latest in the end.
    fn may_wait(&self) -> bool {
        self.known.load(Ordering::Relaxed) == self.threads && !self.ended.load(Ordering::Relaxed)
    }
}

/// A thread's turn.
pub(crate) struct Turn<'a> {
    shared: &'a Shared,
    taking: bool,
}

impl Turn<'_> {
    /// Has another thread take requests from here on: this one may take long.
    pub(crate) fn hand_over(&mut self) {
        if !std::mem::take(&mut self.taking) {
            return;
        }
        let mut waiting = self.shared.lock();
        let taking = self.shared.taking.load(Ordering::Relaxed) - 1;
        if taking == 0 && waiting.threads > waiting.called {
            waiting.called += 1;
            self.shared.called.notify_one();
        } else {
            self.shared.taking.store(taking, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        if std::thread::panicking() {
            // `Member` has the others go on.
            return;
        }
        if self.taking && shared.taking.load(Ordering::Relaxed) == 1 {
            return;
        }
        let mut waiting = shared.lock();
        let others = shared.taking.load(Ordering::Relaxed) - usize::from(self.taking);
        if others == 0 || !shared.may_wait() {
            shared.taking.store(others + 1, Ordering::Relaxed);
            return;
        }
        shared.taking.store(others, Ordering::Relaxed);
        waiting.threads += 1;
        while waiting.called == 0 {
            if shared.ended.load(Ordering::Relaxed) {
                waiting.threads -= 1;
                shared.taking.fetch_add(1, Ordering::Relaxed);
                return;
            }
            waiting = shared
                .called
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        waiting.threads -= 1;
        waiting.called -= 1;
    }
}

/// Requests of one kind that are short as a rule: those that find what they need in memory.
#[derive(Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    /// Does one of them, and hands the turn over before if some have been long lately.
    pub(crate) fn of<R>(&self, turn: &mut Turn<'_>, body: impl FnOnce() -> R) -> R {
        self.begin(turn);
        let start = Instant::now();
        let done = body();
        self.end(start.elapsed());
        done
    }

    fn begin(&self, turn: &mut Turn<'_>) {
        if self.0.load(Ordering::Relaxed) > 0 {
            turn.hand_over();
        }
    }

    fn end(&self, took: Duration) {
        let caution = match took > LONG {
            true => CAUTION,
            false => self.0.load(Ordering::Relaxed).saturating_sub(1),
        };
        self.0.store(caution, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{CAUTION, LONG, Pace, Turns};
    use std::{
        sync::{
            Arc, Barrier, Mutex,
            atomic::{AtomicUsize, Ordering},
            mpsc::{Receiver, Sender, channel},
        },
        thread::{self, JoinHandle},
        time::Duration,
    };

    type Request = Box<dyn FnOnce(&Turns) + Send>;

    /// Threads that take requests as a session has them: closures from a channel, until that is closed.
    struct Host {
        requests: Sender<Request>,
        threads: Vec<JoinHandle<()>>,
        taking: Arc<AtomicUsize>,
    }

    type Requests = Arc<Mutex<Receiver<Request>>>;

    fn serve(turns: &Turns, requests: &Requests, taking: &AtomicUsize) {
        loop {
            taking.fetch_add(1, Ordering::SeqCst);
            let request = requests.lock().unwrap().recv();
            taking.fetch_sub(1, Ordering::SeqCst);
            match request {
                Ok(request) => request(turns),
                Err(_) => return,
            }
        }
    }

    impl Host {
        fn with(threads: usize) -> Self {
            let (requests, queue) = channel();
            let queue: Requests = Arc::new(Mutex::new(queue));
            let turns = Arc::new(Turns::new(threads, Arc::default()));
            let taking = Arc::new(AtomicUsize::new(0));
            let one = |_| {
                let (turns, queue, taking) = (turns.clone(), queue.clone(), taking.clone());
                thread::spawn(move || serve(&turns, &queue, &taking))
            };
            Self {
                requests,
                threads: (0..threads).map(one).collect(),
                taking,
            }
        }

        fn ask(&self, request: impl FnOnce(&Turns) + Send + 'static) {
            self.requests.send(Box::new(request)).unwrap();
        }

        /// A request for each thread at the same time, as the host wakes one after the other.
        fn ask_all(&self) {
            let all = Arc::new(Barrier::new(self.threads.len()));
            for _ in &self.threads {
                let all = all.clone();
                self.ask(move |turns| {
                    let _turn = turns.take();
                    all.wait();
                });
            }
        }

        /// Short requests until one thread alone takes them.
        fn settle(&self) {
            loop {
                let (done, wait) = channel::<()>();
                self.ask(move |turns| {
                    drop(turns.take());
                    drop(done);
                });
                let _ = wait.recv();
                thread::sleep(Duration::from_millis(1));
                if self.taking.load(Ordering::SeqCst) == 1 {
                    return;
                }
            }
        }

        fn end(self) {
            drop(self.requests);
            for thread in self.threads {
                thread.join().unwrap();
            }
        }
    }

    #[test]
    fn one_takes_requests_and_all_end() {
        let host = Host::with(4);
        host.ask_all();
        host.settle();
        host.end();
        // Without any request.
        Host::with(3).end();
    }

    #[test]
    fn long_requests_do_not_hold_up_others() {
        let host = Host::with(3);
        host.ask_all();
        host.settle();
        let (there, here) = channel::<()>();
        let (answer, answered) = channel();
        // Waits for a later one.
        host.ask(move |turns| {
            let mut turn = turns.take();
            turn.hand_over();
            turn.hand_over();
            here.recv().unwrap();
            answer.send(()).unwrap();
        });
        host.ask(move |turns| {
            let _turn = turns.take();
            there.send(()).unwrap();
        });
        answered.recv().unwrap();
        host.settle();
        host.end();
    }

    #[test]
    fn who_has_been_long_is_taken_to_be() {
        let turns = Turns::new(1, Arc::default());
        let pace = Pace::default();
        let handed_over = |took| {
            let mut turn = turns.take();
            pace.begin(&mut turn);
            pace.end(took);
            !turn.taking
        };
        assert!(!handed_over(2 * LONG));
        for _ in 0..CAUTION {
            assert!(handed_over(LONG));
        }
        assert!(!handed_over(LONG));
    }
}
