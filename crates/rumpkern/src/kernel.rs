//! The kernel as a value.

use crate::{
    Component, Log, Proc, border::Border, callout::Callouts, kthread::Kthreads, lwp, poll::Pollers,
    proc, sysctl::Sysctl,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    any::{Any, TypeId},
    sync::atomic::{AtomicU32, Ordering},
};
use hashbrown::HashMap;
use rumpuser::{
    Errno, Host, Result,
    sleep::SleepQueues,
    sync::{Lanes, Mutex, RwLock},
};

/// A rump kernel. It owns all of its state; a process may hold as many as it likes. Cloning gives another handle of the
/// same kernel.
///
/// [`shutdown`](Self::shutdown) ends it in order; when the last handle goes without that, its threads are stopped and
/// its file systems are left as after a power cut.
#[derive(Clone)]
pub struct Kernel {
    pub(crate) inner: Arc<Inner>,
}

type Service = Arc<dyn Any + Send + Sync>;
type Halt = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// Events that all sleep locks of a kernel share.
const SLEEP_QUEUES: usize = 16;

pub(crate) struct Inner {
    host: Arc<dyn Host>,
    log: Log,
    pub(crate) border: Arc<Border>,
    queues: Lanes<Arc<SleepQueues>>,
    services: RwLock<HashMap<TypeId, Service>>,
    halts: Mutex<Vec<Halt>>,
    pids: AtomicU32,
    init: Arc<proc::Inner>,
    pub(crate) threads: Arc<Kthreads>,
    pub(crate) callouts: Arc<Callouts>,
    pub(crate) pollers: Arc<Pollers>,
    pub(crate) sysctl: Sysctl,
}

impl Inner {
    pub(crate) fn queues(&self) -> &Arc<SleepQueues> {
        self.queues.of(self.host.current())
    }

    pub(crate) const fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    pub(crate) fn border(&self) -> &Border {
        &self.border
    }

    pub(crate) fn next_pid(&self) -> u32 {
        self.pids.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.callouts.stop();
        self.threads.stop_all();
    }
}

/// Gathers the components of a kernel.
pub struct Builder {
    host: Arc<dyn Host>,
    components: Vec<Component>,
}

impl Kernel {
    /// Starts to put a kernel together that runs on `host`.
    pub fn builder<H: Host>(host: Arc<H>) -> Builder {
        Builder {
            host,
            components: Vec::new(),
        }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.inner.host
    }

    /// The message buffer.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// The events on which the sleep locks of this kernel wait, in the calling thread's share.
    #[must_use]
    pub fn sleep_queues(&self) -> &Arc<SleepQueues> {
        self.inner.queues()
    }

    /// The first process: root's credentials, pid 1.
    #[must_use]
    pub fn init_proc(&self) -> Proc {
        Proc {
            inner: self.inner.init.clone(),
            kernel: self.inner.clone(),
            lwp: lwp::Identity::first(),
        }
    }

    /// Makes a faction's state findable by its type.
    ///
    /// # Errors
    /// `EEXIST` when there is one of that type.
    pub fn register<T: Any + Send + Sync>(&self, service: Arc<T>) -> Result<()> {
        let mut services = self.inner.services.write();
        if services.contains_key(&TypeId::of::<T>()) {
            return Err(Errno::EEXIST);
        }
        services.insert(TypeId::of::<T>(), service);
        Ok(())
    }

    /// The state of a faction, by type.
    #[must_use]
    pub fn service<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let service = self.inner.services.read().get(&TypeId::of::<T>())?.clone();
        service.downcast().ok()
    }

    /// Has `halt` called by [`shutdown`](Self::shutdown), in reverse order of registration.
    pub fn on_shutdown(&self, halt: impl Fn() -> Result<()> + Send + Sync + 'static) {
        self.inner.halts.lock().push(Box::new(halt));
    }

    /// Ends the kernel: closes the first process's descriptors, unmounts everything, stops its threads. The first error is
    /// returned, all steps are done.
    ///
    /// # Errors
    /// What closing and unmounting gave: `EIO` (also after a panic), `ENOSPC`, `EBUSY`.
    pub fn shutdown(&self) -> Result<()> {
        let mut result = self.inner.init.exit();
        self.inner.callouts.stop();
        loop {
            let Some(halt) = self.inner.halts.lock().pop() else {
                break;
            };
            let step = self.enter(halt);
            result = result.and(step);
        }
        self.inner.threads.stop_all();
        result
    }
}

impl Builder {
    /// Adds a component, and with it those that it requires.
    #[must_use]
    pub fn component(mut self, component: Component) -> Self {
        self.add(component);
        self
    }

    fn add(&mut self, component: Component) {
        if self.components.iter().any(|c| c.name == component.name) {
            return;
        }
        for require in component.requires {
            self.add(require());
        }
        self.components.push(component);
    }

    /// Boots: starts the components phase by phase, within a phase those that others require first.
    ///
    /// # Errors
    /// The first error of a component; `EIO` when it panics.
    pub fn boot(mut self) -> Result<Kernel> {
        self.components.sort_by_key(|c| c.phase);
        let host = self.host;
        let log = Log::new(host.clone());
        let border = Border::new(&host, &log);
        let threads = Kthreads::new(&host, &border);
        let queues = SleepQueues::new(&*host, SLEEP_QUEUES);
        let kernel = Kernel {
            inner: Arc::new(Inner {
                queues: Lanes::new(host.cpus(), |_| queues.share()),
                services: RwLock::default(),
                halts: Mutex::default(),
                pids: AtomicU32::new(2),
                init: Arc::new(proc::Inner::first(&border)),
                callouts: Callouts::new(&host, &threads, &border),
                pollers: Pollers::new(&*host),
                sysctl: Sysctl::new(&*host, &threads),
                threads,
                border,
                log,
                host,
            }),
        };
        for component in &self.components {
            kernel.enter(|| (component.init)(&kernel))?;
        }
        Ok(kernel)
    }
}
