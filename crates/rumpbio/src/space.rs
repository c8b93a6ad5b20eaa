//! Which free blocks an operation may use.

/// Which free blocks an operation may use. Formats keep some back (`s_r_blocks_count` of ext2fs, `fs_minfree` of ffs), so that
/// a volume that users have filled still works for its administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// All but those that are kept back: `ENOSPC` when only they are left.
    Ordinary,
    /// All: for those whom the volume keeps them back for, and for what must be done to give blocks back.
    Reserve,
}
