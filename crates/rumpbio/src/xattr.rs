//! How an extended attribute is set.

/// How an extended attribute is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Make or replace.
    Set,
    /// Make; `EEXIST` if it is there.
    Create,
    /// Replace; `ENOATTR` if it is not there.
    Replace,
}
