//! One body of cases for every file system.
//!
//! A case is a function of a [`Fixture`]: a kernel with a fresh volume, an empty directory on it as current directory, and
//! the superuser as process. [`for_each_fs!`](crate::for_each_fs) makes a `#[test]` of each case for each volume. After a
//! case the volume is unmounted and the format's native checker must find nothing.
//!
//! A file system joins by a [`Volume`] - how to make and check one, and [`Cap`], what its format can do - and one line in
//! the macro. A case that needs what a format cannot do becomes a test that the driver refuses it, cleanly.
//!
//! | module | what |
//! |---|---|
//! | `volume` | what can be mounted: [`Volume`], [`Cap`] |
//! | `fixture` | what a case works with |
//! | `shorthand` | system calls in the short forms that cases are written in |
//! | `refused` | what must happen instead of what a format cannot do |
//! | `acl` | values of the POSIX ACL attributes |
//! | `ram` | a medium in memory |

mod acl;
mod fixture;
mod ram;
mod refused;
mod shorthand;
mod volume;

pub use acl::acl;
pub use fixture::{Fixture, MOUNT_POINT, in_background, patiently, run};
pub use ram::{Image, Ram};
pub use shorthand::{Shorthand, long_name};
pub use volume::{
    Cap, Disk, EXT2_1K, EXT4_1K, EXT4_4K, FAT16, FAT32, FFS1_8K, FFS2_16K, FFS2_BE_4K, FFS2_LOG,
    Numbers, TMPFS, Tmpfs, VOLUMES, Volume,
};

/// Makes a `#[test]` of each case for each file system, and a list of the cases, `CASES`.
///
/// A case may need abilities: `case_name needs XATTRS HOLES`.
#[macro_export]
macro_rules! for_each_fs {
    ($($cases:tt)*) => {
        $crate::list_of_cases! { $($cases)* }
        $crate::cases_of_fs! { tmpfs TMPFS $($cases)* }
        $crate::cases_of_fs! { ext2_1k EXT2_1K $($cases)* }
        $crate::cases_of_fs! { ext4_1k EXT4_1K $($cases)* }
        $crate::cases_of_fs! { ext4_4k EXT4_4K $($cases)* }
        $crate::cases_of_fs! { fat16 FAT16 $($cases)* }
        $crate::cases_of_fs! { fat32 FAT32 $($cases)* }
        $crate::cases_of_fs! { ffs1_8k FFS1_8K $($cases)* }
        $crate::cases_of_fs! { ffs2_16k FFS2_16K $($cases)* }
        $crate::cases_of_fs! { ffs2_be_4k FFS2_BE_4K $($cases)* }
        $crate::cases_of_fs! { ffs2_log FFS2_LOG $($cases)* }
    };
}

/// Part of [`for_each_fs!`]: the tests of one file system.
#[macro_export]
macro_rules! cases_of_fs {
    ($fs:ident $volume:ident $($case:ident $(needs $($cap:ident)+)?),* $(,)?) => {
        mod $fs {
            $(#[test]
            fn $case() {
                $crate::conformance::run(
                    &$crate::conformance::$volume,
                    $crate::conformance::Cap::empty()$($(.union($crate::conformance::Cap::$cap))+)?,
                    super::$case,
                );
            })*
        }
    };
}

/// Part of [`for_each_fs!`]: the list of the cases and what each needs.
#[macro_export]
macro_rules! list_of_cases {
    ($($case:ident $(needs $($cap:ident)+)?),* $(,)?) => {
        pub(crate) const CASES: &[(&str, $crate::conformance::Cap)] = &[
            $((
                stringify!($case),
                $crate::conformance::Cap::empty()$($(.union($crate::conformance::Cap::$cap))+)?,
            ),)*
        ];
    };
}

/// Asserts that a call fails with one of the errors.
#[macro_export]
macro_rules! fails {
    ($call:expr, $($errno:ident)|+) => {
        match $call {
            Err($(rumpuser::Errno::$errno)|+) => {}
            other => panic!(
                "{}: {other:?} instead of {}",
                stringify!($call),
                stringify!($($errno)|+),
            ),
        }
    };
}
