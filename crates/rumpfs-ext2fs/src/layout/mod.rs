//! The structures of the medium, byte for byte.
//!
//! All numbers are little-endian, all types have alignment one, so that they can be seen in place in a block that was
//! read (`ref_from_prefix`) and changed in place in a block that will be written (`mut_from_prefix`). Names are those of
//! the kernel's documentation (Documentation/filesystems/ext4), sizes are asserted. Nothing is checked here: the
//! validated forms are in the modules of the same names one level up.
//!
//! | module | structure |
//! |---|---|
//! | [`superblock`] | `struct ext4_super_block`, 1024 bytes |
//! | [`group_desc`] | `struct ext4_group_desc`, 32 or 64 bytes |
//! | [`inode`] | `struct ext4_inode`, 128 bytes and more |
//! | [`extent`] | extent tree nodes |
//! | [`dir_entry`] | directory entries and the checksum tail |
//! | [`htree`] | the index of hashed directories |
//! | [`xattr`] | extended attributes |
//! | [`mmp`] | multiple mount protection |
//! | [`orphan`] | the tail of orphan file blocks |

pub mod dir_entry;
pub mod extent;
pub mod group_desc;
pub mod htree;
pub mod inode;
pub mod mmp;
pub mod orphan;
pub mod superblock;
pub mod xattr;

pub use zerocopy::little_endian::{U16, U32, U64};

/// Asserts the size of a structure of the medium.
macro_rules! assert_size {
    ($type:ty, $size:literal) => {
        const _: () = assert!(core::mem::size_of::<$type>() == $size);
        const _: () = assert!(core::mem::align_of::<$type>() == 1);
    };
}
pub(crate) use assert_size;
