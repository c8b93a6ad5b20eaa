//! The conformance suite: what every file system does, by the system calls. See `docs/conformance.md`.

/// What every module of cases uses.
mod prelude {
    pub(crate) use rump_tests::{
        conformance::{
            Cap, Fixture, MOUNT_POINT, Shorthand as _, acl, in_background, long_name, patiently,
        },
        fails, for_each_fs,
    };
    pub(crate) use rumpkern::{FileType, OpenFlags as O, Proc, Seek};
    pub(crate) use rumpuser::{Errno, Timespec};
    pub(crate) use rumpvfs::{
        Calls as _,
        calls::{Access, At, Flock, Follow, MountFlags, RenameFlags, SetTime},
        fs::XattrMode,
    };
}

macro_rules! groups {
    ($($group:ident),* $(,)?) => {
        $(mod $group;)*
        /// Every group with its cases.
        pub(crate) const GROUPS: &[(&str, &[(&str, rump_tests::conformance::Cap)])] =
            &[$((stringify!($group), $group::CASES),)*];
    };
}

groups! {
    everywhere,
    open,
    access,
    sticky,
    names,
    mkdir,
    rmdir,
    unlink,
    link,
    symlink,
    mknod,
    rename,
    rename_dirs,
    exchange,
    chmod,
    chown,
    protection,
    utimens,
    times,
    truncate,
    io,
    holes,
    unnamed,
    readdir,
    xattr,
    acls,
    flock,
    record_locks,
    fifo,
    chroot,
    handles,
    readonly,
    mounts,
    full,
    races,
    persistence,
}

mod panics;
mod table;
