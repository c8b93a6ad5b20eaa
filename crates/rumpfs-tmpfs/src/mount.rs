//! The file system type.

use crate::{Tmpfs, options::Options};
use alloc::{boxed::Box, sync::Arc};
use rumpkern::{Component, Phase};
use rumpuser::{Errno, Result};
use rumpvfs::{
    KernelVfs as _,
    fs::{AnyFileSystem, FsType, MountContext, erase},
};

/// The component: registers the type `tmpfs`.
#[must_use]
pub fn component() -> Component {
    Component {
        name: "tmpfs",
        phase: Phase::Driver,
        requires: &[rumpvfs::component],
        init: |kernel| kernel.register_fs(Arc::new(Type)),
    }
}

struct Type;

impl FsType for Type {
    fn name(&self) -> &'static str {
        "tmpfs"
    }

    fn nodev(&self) -> bool {
        true
    }

    fn mount(&self, context: MountContext) -> Result<Box<dyn AnyFileSystem>> {
        if context.device.is_some() {
            context
                .log
                .message(format_args!("takes no device: it lives in memory"));
            return Err(Errno::EINVAL);
        }
        let memory = context.host.memory_limit();
        match Options::parse(&context.options, memory) {
            Ok(options) => Ok(erase(Tmpfs::new(&context.host, &options, context.now()))),
            Err((error, option)) => {
                context.log.message(format_args!(
                    "option {option}: not known or not a good value"
                ));
                Err(error)
            }
        }
    }
}
