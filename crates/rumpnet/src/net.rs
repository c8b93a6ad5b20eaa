//! The faction's state in a kernel: its interfaces and protocol families.

use crate::{
    interface::{Device, Ifnet, Upper},
    socket::{Domain, Family},
};
use alloc::{string::ToString, sync::Arc, vec::Vec};
use rumpkern::{Component, Kernel, Phase};
use rumpuser::{Errno, Result, sync::RwLock};

/// What a kernel has of the network.
#[derive(Default)]
pub struct Net {
    interfaces: RwLock<Interfaces>,
    families: RwLock<Vec<(Domain, Arc<dyn Family>)>>,
}

#[derive(Default)]
struct Interfaces {
    list: Vec<Arc<Ifnet>>,
    last_index: u32,
    /// Who receives what comes in by new interfaces.
    upper: Option<Arc<dyn Upper>>,
}

impl Net {
    /// The interfaces, by index.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Arc<Ifnet>> {
        self.interfaces.read().list.clone()
    }

    /// An interface by its name.
    ///
    /// # Errors
    /// `ENXIO`.
    pub fn interface(&self, name: &str) -> Result<Arc<Ifnet>> {
        let interfaces = self.interfaces.read();
        let found = interfaces.list.iter().find(|i| i.name() == name);
        found.cloned().ok_or(Errno::ENXIO)
    }

    /// An interface by its number.
    #[must_use]
    pub fn by_index(&self, index: u32) -> Option<Arc<Ifnet>> {
        let interfaces = self.interfaces.read();
        let at = interfaces.list.binary_search_by_key(&index, |i| i.index());
        interfaces.list.get(at.ok()?).cloned()
    }

    /// Registers a protocol family.
    ///
    /// # Errors
    /// `EEXIST`: a kernel has one for each domain.
    pub fn add_family(&self, domain: Domain, family: Arc<dyn Family>) -> Result<()> {
        let mut families = self.families.write();
        if families.iter().any(|(other, _)| *other == domain) {
            return Err(Errno::EEXIST);
        }
        families.push((domain, family));
        Ok(())
    }

    /// The family of a domain.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn family(&self, domain: Domain) -> Result<Arc<dyn Family>> {
        let families = self.families.read();
        let found = families.iter().find(|(other, _)| *other == domain);
        found
            .map(|(_, family)| family.clone())
            .ok_or(Errno::EAFNOSUPPORT)
    }

    /// Has `upper` receive what comes in by all interfaces, present and future.
    pub fn set_upper(&self, upper: &Arc<dyn Upper>) {
        let mut interfaces = self.interfaces.write();
        interfaces.upper = Some(upper.clone());
        for interface in &interfaces.list {
            interface.set_upper(Some(upper.clone()));
        }
    }

    /// Attaches a device as an interface, which is down.
    ///
    /// # Errors
    /// `EEXIST` (the name is taken), `EINVAL` (no name), what the device says.
    pub fn attach(&self, name: &str, device: Arc<dyn Device>) -> Result<Arc<Ifnet>> {
        let mut interfaces = self.interfaces.write();
        if name.is_empty() {
            return Err(Errno::EINVAL);
        }
        if interfaces.list.iter().any(|i| i.name() == name) {
            return Err(Errno::EEXIST);
        }
        let index = interfaces.last_index.checked_add(1).ok_or(Errno::ENFILE)?;
        let interface = Ifnet::new(index, name.to_string(), device, interfaces.upper.clone());
        interface.start()?;
        interfaces.last_index = index;
        interfaces.list.push(interface.clone());
        Ok(interface)
    }

    /// Detaches an interface. Its addresses, routes and neighbours go with it.
    ///
    /// # Errors
    /// `ENXIO`.
    pub fn detach(&self, name: &str) -> Result<()> {
        let mut interfaces = self.interfaces.write();
        let at = interfaces.list.iter().position(|i| i.name() == name);
        let interface = interfaces.list.remove(at.ok_or(Errno::ENXIO)?);
        let upper = interfaces.upper.clone();
        drop(interfaces);
        interface.stop();
        if let Some(upper) = upper {
            upper.detached(&interface);
        }
        Ok(())
    }

    fn halt(&self) {
        let list = core::mem::take(&mut self.interfaces.write().list);
        list.iter().for_each(|interface| interface.stop());
        self.families.write().clear();
        self.interfaces.write().upper = None;
    }
}

/// The faction as a component. Families and interfaces bring it with them.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "net",
        phase: Phase::Faction,
        requires: &[],
        init: |kernel| {
            let net = Arc::new(Net::default());
            kernel.register(net.clone())?;
            kernel.on_shutdown(move || {
                net.halt();
                Ok(())
            });
            Ok(())
        },
    }
}

/// The network of a kernel, for its consumers.
pub trait KernelNet {
    /// The faction's state.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` when the kernel has no network.
    fn net(&self) -> Result<Arc<Net>>;
}

impl KernelNet for Kernel {
    fn net(&self) -> Result<Arc<Net>> {
        self.service().ok_or(Errno::EAFNOSUPPORT)
    }
}
