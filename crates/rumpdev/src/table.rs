//! What a partition table of any kind tells.

use crate::{PartitionType, Window, gpt, mbr};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::fmt;
use rumpuser::{BlockDevice, Errno, Result};

/// The kind of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// GUID partition table.
    Gpt,
    /// Master boot record, with or without logical partitions.
    Mbr,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt => "GPT",
            Self::Mbr => "MBR",
        })
    }
}

/// A partition, as its table describes it. It may pass the end of a medium that was cut; [`window`](Self::window) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The number by which the host's kernel and tools call it: from 1 on; logical partitions of an MBR from 5 on.
    pub number: u32,
    /// First byte on the medium.
    pub start: u64,
    /// Length in bytes, above 0; `start + length` does not overflow.
    pub length: u64,
    /// What the table says it is for.
    pub kind: PartitionType,
    /// The name of a GPT partition, also called its label. Empty if it has none, as in an MBR.
    pub name: String,
    /// The partition's own identifier in lower case: a GUID, or disk signature and number (`1a2b3c4d-01`) in an MBR with a
    /// signature.
    pub uuid: Option<String>,
    /// The MBR's active flag, or GPT's legacy BIOS bootable attribute.
    pub bootable: bool,
}

impl Partition {
    /// The partition as a device.
    ///
    /// # Errors
    /// `ENXIO` if it passes the end of the device.
    pub fn window(&self, device: Arc<dyn BlockDevice>) -> Result<Window> {
        Window::new(device, self.start, self.length)
    }
}

/// One line: number, start, length, type, name, identifier.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} bytes at {}, {}",
            self.number, self.length, self.start, self.kind
        )?;
        if !self.name.is_empty() {
            write!(f, ", label \"{}\"", self.name.escape_debug())?;
        }
        if let Some(uuid) = &self.uuid {
            write!(f, ", uuid {uuid}")?;
        }
        Ok(())
    }
}

/// A partition table that was found and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its kind.
    pub scheme: Scheme,
    /// Bytes in a sector, as the table counts.
    pub sector_size: u32,
    /// The disk's identifier: a GUID, or the signature of an MBR if it has one.
    pub uuid: Option<String>,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
    /// What is wrong with the table without making it useless, in words.
    pub warnings: Vec<String>,
}

impl Table {
    /// Finds the partition table of `device`; `None` if there is none.
    ///
    /// A GPT counts if a protective MBR announces it. Then one of its two copies must be valid, or the MBR must have other entries (a hybrid
    /// MBR). What looks like an MBR but makes no sense as one is none: many boot sectors end in the MBR's signature. One thing that cannot be is
    /// forgiven and told.
    ///
    /// # Errors
    /// [`TableError::Device`] if the device fails, [`TableError::Gpt`] if a GPT is announced and both copies are damaged.
    pub fn read(device: &dyn BlockDevice) -> Result<Option<Self>, TableError> {
        match mbr::read(device)? {
            mbr::Found::Nothing => Ok(None),
            mbr::Found::Protective(hybrid) => match (gpt::read(device), hybrid) {
                (Err(damage @ TableError::Gpt { .. }), Some(mut table)) => {
                    let note = format!("{damage}; using the other entries of the MBR");
                    table.warnings.insert(0, note);
                    Ok(Some(table))
                }
                (table, _) => table.map(Some),
            },
            mbr::Found::Table(table) => Ok(Some(table)),
        }
    }

    /// What it has, in one line.
    #[must_use]
    pub fn contents(&self) -> String {
        if self.partitions.is_empty() {
            return format!("the {} table is empty", self.scheme);
        }
        let all = self.partitions.iter().map(ToString::to_string);
        let all: Vec<_> = all.chain(self.warnings.iter().cloned()).collect();
        format!("the {} table has {}", self.scheme, all.join("; "))
    }

    /// The partition of that number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.number == number)
    }
}

/// Why a partition table could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The device failed.
    Device(Errno),
    /// The protective MBR announces a GPT, but neither copy is valid.
    Gpt {
        /// What is wrong with the one at the beginning.
        primary: String,
        /// What is wrong with the one at the end.
        backup: String,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(errno) => write!(f, "partition table: {errno}"),
            Self::Gpt { primary, backup } => {
                write!(f, "damaged GPT: primary: {primary}; backup: {backup}")
            }
        }
    }
}

impl core::error::Error for TableError {}

impl From<Errno> for TableError {
    fn from(errno: Errno) -> Self {
        Self::Device(errno)
    }
}

impl From<TableError> for Errno {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Device(errno) => errno,
            TableError::Gpt { .. } => Self::EINVAL,
        }
    }
}
