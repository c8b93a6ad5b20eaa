//! Components: what a kernel is put together from.

use crate::Kernel;
use rumpuser::Result;

/// When a component starts during boot. Phases run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Parts of the base.
    Kern,
    /// The factions themselves: vfs, net, dev.
    Faction,
    /// Drivers that register with a faction: file system types, protocol families.
    Driver,
    /// Interfaces and what configures them.
    Interface,
    /// What needs all of the above: the root file system is mounted here.
    Late,
}

/// One component, as a crate's `component()` gives it to the builder. Components that it requires come with it.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// Unique name, such as `"ext2fs"`. A second component of the same name is ignored.
    pub name: &'static str,
    /// When it starts.
    pub phase: Phase,
    /// What must be there before, by constructor.
    pub requires: &'static [fn() -> Component],
    /// Starts it. An error ends the boot with that error.
    pub init: fn(&Kernel) -> Result<()>,
}
