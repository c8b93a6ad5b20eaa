//! Tasks: their steps are called by the thread that gives the baton away, before it does.

use super::{Shared, State};
use rumpuser::{
    Instant,
    sync::{Mutex, MutexGuard},
    task::Step,
};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// All tasks of a simulation.
#[derive(Default)]
pub(super) struct Tasks {
    list: Vec<Slot>,
    /// Whose step is being called.
    running: Option<usize>,
}

struct Slot {
    name: String,
    deadline: Option<Instant>,
    notified: bool,
    /// `None`: it is being called, or never again.
    step: Option<Step>,
    stopped: bool,
}

impl Slot {
    fn is_due(&self, now: Instant) -> bool {
        let over = self.deadline.is_some_and(|deadline| deadline <= now);
        !self.stopped && (self.notified || over)
    }
}

impl Tasks {
    pub(super) fn add(&mut self, name: &str, step: Step) -> usize {
        self.list.push(Slot {
            name: name.into(),
            deadline: None,
            notified: true,
            step: Some(step),
            stopped: false,
        });
        self.list.len() - 1
    }

    /// How many have something to do.
    pub(super) fn due(&self, now: Instant) -> usize {
        self.list.iter().filter(|slot| slot.is_due(now)).count()
    }

    /// One of these.
    pub(super) fn nth_due(&self, n: usize, now: Instant) -> usize {
        let due = self.list.iter().enumerate();
        let mut due = due.filter(|(_, slot)| slot.is_due(now));
        due.nth(n).map_or(0, |(index, _)| index)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let live = self.list.iter().filter(|slot| !slot.stopped);
        live.filter_map(|slot| slot.deadline).min()
    }

    pub(super) const fn running(&self) -> Option<usize> {
        self.running
    }

    /// Panics in a step.
    pub(super) fn must_not_wait(&self) {
        if let Some(task) = self.running {
            panic!("the task {} waits", self.list[task].name);
        }
    }

    pub(super) fn report(&self, text: &mut String) {
        for slot in &self.list {
            let state = match (slot.stopped, slot.deadline) {
                (true, _) => "has ended".into(),
                (false, None) => "nothing to do".into(),
                (false, Some(Instant(at))) => format!("due at {:?}", Duration::from_nanos(at)),
            };
            let _infallible = write!(text, "\n  task {}: {state}", slot.name);
        }
    }
}

impl Shared {
    /// Calls the step of a task.
    pub(super) fn step<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        task: usize,
    ) -> MutexGuard<'a, State> {
        let slot = &mut state.tasks.list[task];
        (slot.notified, slot.deadline) = (false, None);
        let Some(step) = slot.step.take() else {
            return state;
        };
        state.tasks.running = Some(task);
        drop(state);

        let mut running = Running {
            shared: self,
            task,
            step: Some(step),
        };
        let deadline = running.step.as_mut().and_then(|step| step());

        let mut state = self.state.lock();
        state.tasks.running = None;
        let slot = &mut state.tasks.list[task];
        if !slot.stopped {
            (slot.deadline, slot.step) = (deadline, running.step.take());
            return state;
        }
        // What the step holds may look at the simulation when it goes.
        drop(state);
        drop(running.step.take());
        self.state.lock()
    }
}

/// A step that is being called. If it panics, it is not called again.
struct Running<'a> {
    shared: &'a Shared,
    task: usize,
    step: Option<Step>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.step.is_some() {
            let mut state = self.shared.state.lock();
            state.tasks.running = None;
            state.tasks.list[self.task].stopped = true;
        }
    }
}

/// A task to be notified and ended.
pub(super) struct Handle {
    shared: Arc<Shared>,
    index: usize,
    /// Ending it happens once.
    ended: Mutex<bool>,
}

impl Handle {
    pub(super) fn new(shared: &Arc<Shared>, index: usize) -> Self {
        Self {
            shared: shared.clone(),
            index,
            ended: Mutex::new(false),
        }
    }
}

impl rumpuser::Task for Handle {
    fn notify(&self) {
        self.shared.state.lock().tasks.list[self.index].notified = true;
    }

    fn stop(&self) {
        if std::mem::replace(&mut *self.ended.lock(), true) {
            return;
        }
        let mut state = self.shared.state.lock();
        let slot = &mut state.tasks.list[self.index];
        slot.stopped = true;
        let step = slot.step.take();
        drop(state);
        drop(step);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        rumpuser::Task::stop(self);
    }
}
