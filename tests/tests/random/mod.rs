//! Sequences of random operations: ten of a thousand each.

use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use rump_tests::model::{Op, Place};

const SEQUENCES: u32 = 10;
const OPERATIONS: usize = 1_000;
/// A new mount after so many operations.
pub(crate) const REMOUNT: usize = 250;

fn place() -> impl Strategy<Value = Place> {
    (any::<u16>(), any::<u8>()).prop_map(|(dir, name)| Place { dir, name })
}

fn operation() -> impl Strategy<Value = Op> {
    let n = any::<u16>;
    prop_oneof![
        10 => (place(), n()).prop_map(|(p, m)| Op::Create(p, m)),
        12 => (n(), any::<u32>(), any::<u32>(), any::<u8>())
            .prop_map(|(file, offset, len, fill)| Op::Write { file, offset, len, fill }),
        8 => (n(), n(), any::<u8>()).prop_map(|(file, len, fill)| Op::Append { file, len, fill }),
        6 => (n(), any::<u32>()).prop_map(|(file, size)| Op::Truncate { file, size }),
        3 => (n(), any::<u32>(), any::<u32>()).prop_map(|(file, offset, len)| Op::Punch { file, offset, len }),
        3 => (n(), any::<u32>(), any::<u32>()).prop_map(|(file, offset, len)| Op::Reserve { file, offset, len }),
        5 => (place(), n()).prop_map(|(p, m)| Op::Mkdir(p, m)),
        5 => place().prop_map(Op::Rmdir),
        9 => place().prop_map(Op::Unlink),
        2 => (place(), any::<u32>()).prop_map(|(p, l)| Op::UnlinkOpen(p, l)),
        4 => (n(), place()).prop_map(|(f, p)| Op::Link(f, p)),
        4 => (place(), n()).prop_map(|(p, l)| Op::Symlink(p, l)),
        1 => place().prop_map(Op::Mkfifo),
        12 => (place(), place(), any::<u8>()).prop_map(|(a, b, k)| Op::Rename(a, b, k)),
        3 => (n(), n()).prop_map(|(f, m)| Op::Chmod(f, m)),
        2 => (n(), any::<u32>(), any::<u32>()).prop_map(|(f, u, g)| Op::Chown(f, u, g)),
        4 => (n(), any::<i64>(), any::<u32>()).prop_map(|(f, s, ns)| Op::Utimes(f, s, ns)),
        4 => (n(), any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(file, name, len, fill)| Op::SetXattr { file, name, len, fill }),
        2 => (n(), any::<u8>()).prop_map(|(file, name)| Op::RemoveXattr { file, name }),
        1 => n().prop_map(Op::Fsync),
        1 => Just(Op::Sync),
    ]
}

/// Gives sequences of operations to `check`, and looks for a short one when it panics.
///
/// # Panics
/// When `check` does.
pub(crate) fn sequences(check: impl Fn(&[Op])) {
    let config = Config {
        cases: SEQUENCES,
        max_shrink_iters: 60,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Config::default()
    };
    let ops = proptest::collection::vec(operation(), OPERATIONS);
    let outcome = TestRunner::new(config).run(&ops, |ops| {
        check(&ops);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
