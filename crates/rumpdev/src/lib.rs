//! The device faction: partitions of block devices.
//!
//! A disk image may hold a file system as it is, or a partition table with several. [`Table::read`] finds and checks
//! the table, a [`Selector`] names one partition (or a plain offset), and [`select`] gives the [`Window`] on the medium
//! that is then mounted.
//!
//! | table | what is read | source |
//! |---|---|---|
//! | GPT | primary or backup, both checksums, sectors of 512 to 4096 bytes whatever the device says | UEFI 2.10, section 5.3 |
//! | MBR | four primary partitions, chains of logical ones | UEFI 2.10, section 5.2; the chain is custom, not standard |
//! | BSD disklabel | in a partition of an MBR, or on a disk of its own; both byte orders | NetBSD's disklabel(5) |
//!
//! | module | what |
//! |---|---|
//! | [`table`] | [`Table`], [`Partition`]: what any table tells |
//! | `gpt`, `mbr` | reading the two formats |
//! | [`disklabel`] | [`Disklabel`]: the partitions with letters |
//! | [`types`] | partition types, their names and aliases |
//! | [`selector`] | `2`, `a`, `label=data`, `uuid=...`, `root`, `@1M` |
//! | [`window`] | [`Window`]: a range of a device as a device |
//!
//! Not read: Apple partition maps, SGI volume headers. Nothing here writes.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

extern crate alloc;

pub mod disklabel;
mod gpt;
mod mbr;
pub mod selector;
pub mod table;
pub mod types;
pub mod window;

#[cfg(test)]
mod ram;

pub use disklabel::Disklabel;
pub use selector::{SelectError, Selector, SelectorError, VolumeId, select};
pub use table::{Partition, Scheme, Table, TableError};
pub use types::PartitionType;
pub use window::Window;
