use super::*;

/// Spawns workers that log what they do between waits; gives the log and the fingerprint.
fn run(seed: u64) -> (Vec<(usize, u64)>, u64, Vec<u8>) {
    let sim = Sim::new(seed);
    let log = Arc::new(Mutex::new(vec![]));
    let event = sim.event();
    let threads: Vec<_> = (0..4)
        .map(|worker| {
            let (sim2, log, event) = (sim.clone(), log.clone(), event.clone());
            let body = move || {
                for turn in 0..10_u64 {
                    log.lock().push((worker, sim2.monotonic().0));
                    let deadline = sim2.monotonic().after(Duration::from_micros(turn * 10));
                    event.wait(event.ticket(), Some(deadline));
                    if turn % 3 == 0 {
                        event.notify();
                    }
                }
            };
            sim.spawn(&format!("worker{worker}"), Box::new(body))
                .unwrap()
        })
        .collect();
    for thread in threads {
        thread.join();
    }
    let mut random = vec![0; 100];
    sim.random(&mut random);
    let log = log.lock().clone();
    (log, sim.fingerprint(), random)
}

#[test]
fn one_seed_one_run() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

#[test]
fn other_seeds_other_runs() {
    let mut orders: Vec<Vec<usize>> = (0..20)
        .map(|seed| run(seed).0.iter().map(|(worker, _)| *worker).collect())
        .collect();
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), 20);
}

#[test]
fn one_thread_runs_at_a_time() {
    let sim = Sim::new(3);
    let inside = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (sim2, inside) = (sim.clone(), inside.clone());
            let body = move || {
                for _ in 0..50 {
                    assert_eq!(inside.fetch_add(1, SeqCst), 0);
                    thread::yield_now();
                    assert_eq!(inside.fetch_sub(1, SeqCst), 1);
                    sim2.pause();
                }
            };
            sim.spawn("worker", Box::new(body)).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join());
    let state = sim.shared.state.lock();
    let ended = |slot: &&Slot| slot.status == Status::Ended { panicked: false };
    assert_eq!(state.threads.iter().filter(ended).count(), 8);
}

#[test]
fn clock_jumps_from_deadline_to_deadline() {
    let sim = Sim::new(0);
    let order = Arc::new(Mutex::new(vec![]));
    let real = std::time::Instant::now();
    let threads: Vec<_> = [3_u64, 1, 2]
        .map(|days| {
            let (sim2, order) = (sim.clone(), order.clone());
            let body = move || {
                sim2.sleep(Duration::from_secs(days * 86_400));
                order.lock().push((days, sim2.wall().sec));
            };
            sim.spawn("sleeper", Box::new(body)).unwrap()
        })
        .into_iter()
        .collect();
    threads.into_iter().for_each(|thread| thread.join());
    let start = 1_704_067_200;
    let expected = [1, 2, 3].map(|days| (days, start + days as i64 * 86_400));
    assert_eq!(*order.lock(), expected);
    assert!(real.elapsed() < Duration::from_secs(30));
}

#[test]
fn notification_before_the_wait_is_not_lost() {
    let sim = Sim::new(0);
    let event = sim.event();
    let ticket = event.ticket();
    event.notify();
    assert!(event.wait(ticket, None));
    assert!(
        !event.wait(event.ticket(), Some(Instant(0))),
        "a deadline in the past"
    );
}

#[test]
fn a_busy_thread_does_not_stop_the_clock() {
    let sim = Sim::new(0);
    let deadline = sim.monotonic().after(Duration::from_millis(1));
    let sim2 = sim.clone();
    let sleeper = sim.spawn(
        "sleeper",
        Box::new(move || sim2.sleep(Duration::from_millis(1))),
    );
    while sim.monotonic() <= deadline {
        sim.pause();
    }
    sleeper.unwrap().join();
}

/// The panic that ends `body`.
fn panic_of(body: impl FnOnce()) -> String {
    let mut body = Some(body);
    rumpuser_posix::catch(&mut || (body.take().unwrap())()).unwrap_err()
}

#[test]
fn deadlock_names_every_thread_and_its_wait() {
    let sim = Sim::new(11);
    let (one, two) = (sim.event(), sim.event());
    let (sim2, two2) = (sim.clone(), two.clone());
    let other = sim.spawn(
        "flusher",
        Box::new(move || assert!(two2.wait(two2.ticket(), None))),
    );
    let done = sim.spawn("short", Box::new(|| {})).unwrap();
    done.join();
    one.notify();
    let text = panic_of(|| assert!(one.wait(one.ticket(), None)));
    assert!(
        text.starts_with("simulation of seed 11: deadlock at "),
        "{text}"
    );
    assert!(
        text.contains("\n  main: waits for event 1, ticket 1"),
        "{text}"
    );
    assert!(
        text.contains("\n  flusher: waits for event 2, ticket 0"),
        "{text}"
    );
    assert!(text.contains("\n  short: has ended"), "{text}");
    drop(other);
    // Nothing goes on after it, not even what a kernel would catch.
    let again = panic_of(|| drop(sim2.catch(&mut || sim2.pause())));
    assert!(again.contains("deadlock"), "{again}");
}

#[test]
fn two_who_join_each_other_are_reported() {
    let sim = Sim::new(1);
    let event = sim.event();
    let waiter = sim
        .spawn("waiter", Box::new(move || assert!(event.wait(0, None))))
        .unwrap();
    let text = panic_of(|| waiter.join());
    assert!(text.contains("\n  main: joins waiter"), "{text}");
}

#[test]
fn an_inline_lock_across_a_wait_is_reported() {
    let options = Options {
        patience: Duration::from_millis(200),
        ..Options::default()
    };
    let sim = Sim::with(options);
    let lock = Arc::new(Mutex::new(()));
    let lock2 = lock.clone();
    let blocked = sim
        .spawn("blocked", Box::new(move || drop(lock2.lock())))
        .unwrap();
    let text = panic_of(|| {
        let _guard = lock.lock();
        sim.sleep(Duration::from_secs(1));
    });
    assert!(text.contains("the running thread does not wait"), "{text}");
    assert!(text.contains("\n  blocked: running"), "{text}");
    drop(blocked);
}

#[test]
fn panics_are_caught_with_their_place() {
    let sim = Sim::new(0);
    let error = sim.catch(&mut || panic!("mad block")).unwrap_err();
    assert!(
        error.starts_with("mad block, at ") && error.contains("tests.rs"),
        "{error}"
    );
    assert_eq!(sim.catch(&mut || sim.pause()), Ok(()));
}

#[test]
fn messages_and_parameters() {
    let sim = Sim::new(5);
    sim.message("one");
    sim.message("two");
    assert_eq!(sim.messages(), ["one", "two"]);
    assert_eq!((sim.seed(), sim.cpus(), sim.current()), (5, 4, 1));
    let host: Arc<dyn rumpuser::Host> = sim;
    assert_eq!(host.host_name(), "sim");
}

/// A task that notes when it is called, until its time is over.
fn ticking(sim: &Arc<Sim>, every: Duration) -> (Arc<dyn Task>, Arc<Mutex<Vec<u64>>>) {
    let log = Arc::new(Mutex::new(vec![]));
    let (sim2, log2) = (sim.clone(), log.clone());
    let step = move || {
        let now = sim2.monotonic();
        log2.lock().push(now.0 / 1_000_000);
        Some(now.after(every))
    };
    (sim.task("ticking", Box::new(step)).unwrap(), log)
}

#[test]
fn tasks_run_in_waits_and_end() {
    let sim = Sim::new(3);
    let (task, log) = ticking(&sim, Duration::from_millis(10));
    sim.sleep(Duration::from_millis(35));
    assert_eq!(*log.lock(), [0, 10, 20, 30]);
    task.notify();
    sim.sleep(Duration::from_millis(2));
    assert_eq!(*log.lock(), [0, 10, 20, 30, 35]);
    task.stop();
    task.stop();
    task.notify();
    sim.sleep(Duration::from_secs(1));
    assert_eq!(log.lock().len(), 5);
    assert_eq!(Arc::strong_count(&log), 1, "a step that ended is dropped");
}

#[test]
fn time_goes_on_from_event_to_event() {
    let sim = Sim::new(3);
    let (_task, log) = ticking(&sim, Duration::from_millis(10));
    let end = sim.monotonic().after(Duration::from_millis(35));
    let mut counts = vec![];
    while sim.monotonic() < end {
        sim.advance(end);
        counts.push(log.lock().len());
    }
    sim.advance(end);
    counts.push(log.lock().len());
    // No event was passed by.
    assert!(counts.windows(2).all(|two| two[1] - two[0] <= 1));
    assert_eq!(counts.last(), Some(&4));
}

#[test]
fn tasks_and_threads_in_the_order_of_the_seed() {
    let run = |seed| {
        let sim = Sim::new(seed);
        let order = Arc::new(Mutex::new(vec![]));
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let order = order.clone();
                let step = move || {
                    order.lock().push(n);
                    None
                };
                sim.task("one", Box::new(step)).unwrap()
            })
            .collect();
        sim.sleep(Duration::from_millis(1));
        let ids: Vec<_> = tasks.iter().map(|task| task.notify()).collect();
        assert_eq!(ids.len(), 4);
        sim.sleep(Duration::from_millis(1));
        let order = order.lock().clone();
        assert_eq!(order.len(), 8);
        (order, sim.fingerprint())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
#[should_panic(expected = "the task lazy waits")]
fn a_task_must_not_wait() {
    let sim = Sim::new(3);
    let sim2 = sim.clone();
    let step = move || {
        sim2.sleep(Duration::from_millis(1));
        None
    };
    let _task = sim.task("lazy", Box::new(step)).unwrap();
    sim.pause();
    sim.pause();
}
