//! What the faction holds, as values of sysctl.
//!
//! | name | what |
//! |---|---|
//! | `vfs.vnodes` | vnodes of all mounts, used and idle |
//! | `vfs.names` | names in the cache |
//! | `vfs.pages.used` | bytes of pages, those of file systems in memory not counted |
//! | `vfs.pages.dirty` | bytes of dirty pages |
//! | `vfs.pages.limit` | bytes of pages above which some are dropped |

use crate::vfs::Vfs;
use alloc::sync::Arc;
use rumpkern::{
    Kernel,
    sysctl::{Node, Value},
};
use rumpuser::Result;

/// Puts them into the tree.
pub(crate) fn register(kernel: &Kernel, vfs: &Arc<Vfs>) -> Result<()> {
    let add = |name, get: fn(&Vfs) -> usize| {
        let vfs = vfs.clone();
        let get = move || Value::Number(i64::try_from(get(&vfs)).unwrap_or(i64::MAX));
        kernel.sysctl_add(name, Node::read_only(get))
    };
    add("vfs.vnodes", |vfs| {
        vfs.all_mounts().iter().map(|m| m.vnode_count()).sum()
    })?;
    add("vfs.names", |vfs| vfs.caches.names.len())?;
    add("vfs.pages.used", |vfs| vfs.caches.pool.used())?;
    add("vfs.pages.dirty", |vfs| vfs.caches.pool.dirty())?;
    add("vfs.pages.limit", |vfs| vfs.caches.pool.limit())
}
