//! What few vnodes have.

use crate::acl::Acl;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::{Deref, DerefMut};
use rumpkern::{Pipe, types::DeviceNumber};
use rumpuser::BlockDevice;

/// What few vnodes have: made when it is first changed, and reads as empty before.
#[derive(Default)]
pub(crate) struct Extra(Option<Box<Rare>>);

/// What few vnodes have.
#[derive(Default)]
pub(crate) struct Rare {
    /// Target of a symbolic link, once read.
    pub(crate) target: Option<Arc<[u8]>>,
    /// Access ACL, once asked for.
    pub(crate) access: Option<Option<Arc<Acl>>>,
    /// Default ACL, once asked for.
    pub(crate) default: Option<Option<Arc<Acl>>>,
    /// The number of a device.
    pub(super) rdev: DeviceNumber,
    /// The stream of a FIFO.
    pub(crate) pipe: Option<Arc<Pipe>>,
    /// The object of the host that a regular file shows.
    pub(crate) host: Option<(DeviceNumber, Arc<dyn BlockDevice>)>,
    /// Places in the name cache, directory and hash, beside that of the first name.
    pub(crate) names: Vec<(u64, u64)>,
}

impl Deref for Extra {
    type Target = Rare;
    fn deref(&self) -> &Rare {
        static NONE: Rare = Rare {
            target: None,
            access: None,
            default: None,
            rdev: DeviceNumber { major: 0, minor: 0 },
            pipe: None,
            host: None,
            names: Vec::new(),
        };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Extra {
    fn deref_mut(&mut self) -> &mut Rare {
        self.0.get_or_insert_default()
    }
}

impl Extra {
    /// Places in the name cache that are noted of one vnode. A file has few names; those beyond are found when they age.
    const MOST_NAMES: usize = 64;

    /// Notes a place in the name cache.
    pub(crate) fn note_name(&mut self, place: (u64, u64)) {
        if !self.names.contains(&place) {
            if self.names.len() >= Self::MOST_NAMES {
                self.names.remove(0);
            }
            self.names.push(place);
        }
    }

    /// The places that were noted; none are afterwards.
    pub(crate) fn take_names(&mut self) -> Vec<(u64, u64)> {
        let rare = self.0.as_mut();
        rare.map_or_else(Vec::new, |rare| core::mem::take(&mut rare.names))
    }

    /// The ACLs are to be asked for again.
    pub(crate) fn forget_acls(&mut self) {
        if let Some(rare) = &mut self.0 {
            (rare.access, rare.default) = (None, None);
        }
    }
}
