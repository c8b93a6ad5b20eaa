//! The kernel as a value.

use crate::{Component, Log, Proc};
use alloc::{sync::Arc, vec::Vec};
use core::any::{Any, TypeId};
use hashbrown::HashMap;
use rumpuser::{
    Errno, Host, Result,
    sync::{Mutex, RwLock},
};

/// A rump kernel. It owns all of its state; a process may hold as many as it likes. Cloning gives another handle of the
/// same kernel.
#[derive(Clone)]
pub struct Kernel {
    pub(crate) inner: Arc<Inner>,
}

type Service = Arc<dyn Any + Send + Sync>;
type Halt = alloc::boxed::Box<dyn Fn() -> Result<()> + Send + Sync>;

pub(crate) struct Inner {
    host: Arc<dyn Host>,
    log: Log,
    services: RwLock<HashMap<TypeId, Service>>,
    halts: Mutex<Vec<Halt>>,
    init: RwLock<Option<Proc>>,
}

/// Gathers the components of a kernel.
pub struct Builder {
    host: Arc<dyn Host>,
    components: Vec<Component>,
}

impl Kernel {
    /// Starts to put a kernel together that runs on `host`.
    pub fn builder(host: impl Host) -> Builder {
        Builder {
            host: Arc::new(host),
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

    /// The first process: root's credentials, pid 1.
    #[must_use]
    pub fn init_proc(&self) -> Proc {
        self.inner
            .init
            .read()
            .clone()
            .expect("a kernel has its first process before boot() returns it")
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
        self.inner.halts.lock().push(alloc::boxed::Box::new(halt));
    }

    /// Ends the kernel: unmounts everything, stops its threads. The first error is returned, all steps are done.
    ///
    /// # Errors
    /// What unmounting gave: `EIO`, `EBUSY`.
    pub fn shutdown(&self) -> Result<()> {
        let mut result = Ok(());
        loop {
            let Some(halt) = self.inner.halts.lock().pop() else {
                return result;
            };
            let step = halt();
            result = result.and(step);
        }
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
        self.components.push(component);
        for require in component.requires {
            self.add(require());
        }
    }

    /// Boots: starts the components phase by phase.
    ///
    /// # Errors
    /// The first error of a component.
    pub fn boot(mut self) -> Result<Kernel> {
        self.components.sort_by_key(|c| c.phase);
        let kernel = Kernel {
            inner: Arc::new(Inner {
                log: Log::new(self.host.clone()),
                host: self.host,
                services: RwLock::default(),
                halts: Mutex::default(),
                init: RwLock::default(),
            }),
        };
        *kernel.inner.init.write() = Some(Proc::first(&kernel));
        for component in &self.components {
            (component.init)(&kernel)?;
        }
        Ok(kernel)
    }
}
