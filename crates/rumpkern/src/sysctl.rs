//! The tree of named values: `kern.hostname`, `kern.threads`, `hw.ncpu`, `vfs.…`, `net.…`.

use crate::{Kernel, kthread::Kthreads};
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::fmt;
use rumpuser::{Errno, Host, Result, sync::RwLock};

/// A value of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

type Get = Box<dyn Fn() -> Value + Send + Sync>;
type Set = Box<dyn Fn(Value) -> Result<()> + Send + Sync>;

/// What stands behind a name.
pub struct Node {
    get: Get,
    set: Option<Set>,
}

impl Node {
    /// A value that can only be read, computed at each reading.
    pub fn read_only(get: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        Self {
            get: Box::new(get),
            set: None,
        }
    }

    /// A value that can be set; `set` says `EINVAL` to what it does not take.
    pub fn settable(
        get: impl Fn() -> Value + Send + Sync + 'static,
        set: impl Fn(Value) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            get: Box::new(get),
            set: Some(Box::new(set)),
        }
    }
}

/// The tree, by full name.
pub(crate) struct Sysctl {
    nodes: RwLock<BTreeMap<String, Arc<Node>>>,
}

impl Sysctl {
    pub(crate) fn new(host: &dyn Host, threads: &Arc<Kthreads>) -> Self {
        let text = |text: &str| {
            let text = text.to_string();
            Arc::new(Node::read_only(move || Value::Text(text.clone())))
        };
        let cpus = i64::try_from(host.cpus()).unwrap_or(i64::MAX);
        let memory = i64::try_from(host.memory_limit()).unwrap_or(i64::MAX);
        let number = |n: i64| Arc::new(Node::read_only(move || Value::Number(n)));
        let threads = threads.clone();
        let threads = Node::read_only(move || {
            Value::Number(i64::try_from(threads.count()).unwrap_or(i64::MAX))
        });
        let nodes = BTreeMap::from([
            ("kern.ostype".to_string(), text("rump")),
            (
                "kern.osrelease".to_string(),
                text(env!("CARGO_PKG_VERSION")),
            ),
            ("kern.hostname".to_string(), text(&host.host_name())),
            ("kern.threads".to_string(), Arc::new(threads)),
            ("hw.ncpu".to_string(), number(cpus)),
            ("hw.usermem".to_string(), number(memory)),
        ]);
        Self {
            nodes: RwLock::new(nodes),
        }
    }

    fn find(&self, name: &str) -> Result<Arc<Node>> {
        self.nodes.read().get(name).cloned().ok_or(Errno::ENOENT)
    }
}

impl Kernel {
    /// Puts a value into the tree.
    ///
    /// # Errors
    /// `EEXIST`.
    pub fn sysctl_add(&self, name: &str, node: Node) -> Result<()> {
        let mut nodes = self.inner.sysctl.nodes.write();
        if nodes.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        nodes.insert(name.to_string(), Arc::new(node));
        Ok(())
    }

    /// Reads a value.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn sysctl(&self, name: &str) -> Result<Value> {
        self.enter(|| self.inner.sysctl.find(name).map(|node| (node.get)()))
    }

    /// Sets a value.
    ///
    /// # Errors
    /// `ENOENT`; `EPERM` if it can only be read; `EINVAL` from the node.
    pub fn sysctl_set(&self, name: &str, value: Value) -> Result<()> {
        self.enter(|| {
            let node = self.inner.sysctl.find(name)?;
            node.set
                .as_ref()
                .map_or(Err(Errno::EPERM), |set| set(value))
        })
    }

    /// The names that begin with `prefix`, in order.
    #[must_use]
    pub fn sysctl_names(&self, prefix: &str) -> Vec<String> {
        let nodes = self.inner.sysctl.nodes.read();
        nodes
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }
}
