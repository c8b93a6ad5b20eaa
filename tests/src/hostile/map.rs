//! Where the structures of an image lie, and how their checksums are repaired.

use rumpuser::BlockDevice as _;
use rumpuser_sim::MemDisk;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// A field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As the specification calls it.
    pub name: &'static str,
    /// Offset in the structure.
    pub at: usize,
    /// Bytes. Up to 8 are a number.
    pub len: usize,
    /// Whether the most significant byte comes first.
    pub big: bool,
}

/// The fields of a raw structure by name: `fields!(RawInode: i_mode, i_uid)`; big-endian ones with `big` in front.
macro_rules! fields {
    (big $raw:ty: $($name:ident),* $(,)?) => { $crate::hostile::map::fields!(@ true, $raw: $($name),*) };
    ($raw:ty: $($name:ident),* $(,)?) => { $crate::hostile::map::fields!(@ false, $raw: $($name),*) };
    (@ $big:literal, $raw:ty: $($name:ident),*) => {{
        const fn size<S, F>(_: fn(&S) -> &F) -> usize {
            size_of::<F>()
        }
        const FIELDS: &[$crate::hostile::map::Field] = &[$($crate::hostile::map::Field {
            name: stringify!($name),
            at: core::mem::offset_of!($raw, $name),
            len: size(|raw: &$raw| &raw.$name),
            big: $big,
        }),*];
        FIELDS
    }};
}
pub(super) use fields;

/// What brings the checksum in these bytes up to date. It may look at the rest of the image.
pub(super) type Fix = Arc<dyn Fn(&mut [u8], &MemDisk) + Send + Sync>;

/// Bytes that a checksum covers, itself among them or not.
#[derive(Clone)]
pub struct Seal {
    /// Offset in the image.
    pub at: u64,
    /// Bytes.
    pub len: usize,
    /// Repairs.
    pub(super) fix: Fix,
    /// What has to be repaired after it: a checksum over the place where this one is kept.
    pub then: Option<Arc<Self>>,
}

impl Seal {
    /// Repairs the checksum, and those over it.
    pub fn repair(&self, image: &MemDisk) {
        let mut bytes = vec![0; self.len];
        // What lies behind a cut end needs no repair.
        if image.read_at(self.at, &mut bytes).is_ok() {
            (self.fix)(&mut bytes, image);
            let _ = image.write_at(self.at, &bytes);
        }
        if let Some(then) = &self.then {
            then.repair(image);
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.len, self.at)
    }
}

/// A structure of a good image.
#[derive(Clone, Debug)]
pub struct Structure {
    /// What it is: `inode`.
    pub kind: &'static str,
    /// Offset in the image.
    pub at: u64,
    /// Bytes.
    pub len: usize,
    /// Fields, none if it is a bitmap or the like.
    pub fields: &'static [Field],
    /// The checksum over it.
    pub seal: Option<Arc<Seal>>,
}

/// The structures of a good image by kind, so that the one superblock is as likely to be hit as one of a thousand inodes.
#[derive(Debug)]
pub struct Map {
    /// Bytes in a block, the unit of numbers that point.
    pub block: u64,
    kinds: Vec<Vec<Structure>>,
}

impl Map {
    /// A map of these structures.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn new(block: u64, structures: Vec<Structure>) -> Self {
        let mut kinds: BTreeMap<&str, Vec<Structure>> = BTreeMap::new();
        for structure in structures {
            kinds.entry(structure.kind).or_default().push(structure);
        }
        assert!(!kinds.is_empty(), "no structure was found");
        let kinds = kinds.into_values().collect();
        Self { block, kinds }
    }

    /// The structures of each kind; no kind is empty.
    #[must_use]
    pub fn kinds(&self) -> &[Vec<Structure>] {
        &self.kinds
    }
}
