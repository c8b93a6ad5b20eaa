//! Extended attributes.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use rumpuser::{Errno, Result};
use rumpvfs::fs::XattrMode;

/// The longest name in bytes.
const NAME_MAX: usize = 255;
/// The longest value in bytes.
const VALUE_MAX: usize = 65_536;
/// Name of the access ACL.
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
/// Name of the default ACL.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// Name spaces that take any name.
const SPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// The attributes of an inode; without any, it takes no memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Xattrs(Option<Box<Values>>);

/// Values by full name.
type Values = BTreeMap<Box<[u8]>, Box<[u8]>>;

impl Xattrs {
    /// Value of a full name.
    ///
    /// # Errors
    /// `ENOATTR`; `EOPNOTSUPP` for a name space that does not exist here.
    pub(crate) fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        check_name(name)?;
        let value = self.0.as_ref().and_then(|map| map.get(name));
        value.map(|v| v.to_vec()).ok_or(Errno::ENOATTR)
    }

    /// All full names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().flat_map(|map| map.keys().map(|name| &**name))
    }

    /// Bytes that setting a value adds and that it frees. The value is not set yet.
    ///
    /// # Errors
    /// `EEXIST`, `ENOATTR` by `mode`; `E2BIG` for a value above 65,536 bytes, `ERANGE` for a name above 255 bytes,
    /// `EOPNOTSUPP`.
    pub(crate) fn cost(&self, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(u64, u64)> {
        check_name(name)?;
        if value.len() > VALUE_MAX {
            return Err(Errno::E2BIG);
        }
        let old = self.0.as_ref().and_then(|map| map.get(name));
        match (mode, old) {
            (XattrMode::Create, Some(_)) => return Err(Errno::EEXIST),
            (XattrMode::Replace, None) => return Err(Errno::ENOATTR),
            _ => (),
        }
        Ok((bytes(name, value), old.map_or(0, |old| bytes(name, old))))
    }

    /// Sets a value that [`cost`](Self::cost) has approved.
    pub(crate) fn set(&mut self, name: &[u8], value: &[u8]) {
        self.0
            .get_or_insert_default()
            .insert(name.into(), value.into());
    }

    /// Removes an attribute; the bytes that it took.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn remove(&mut self, name: &[u8]) -> Result<u64> {
        check_name(name)?;
        let map = self.0.as_mut().ok_or(Errno::ENOATTR)?;
        let value = map.remove(name).ok_or(Errno::ENOATTR)?;
        let freed = bytes(name, &value);
        if map.is_empty() {
            self.0 = None;
        }
        Ok(freed)
    }

    /// Whether there is an access ACL.
    pub(crate) fn has_acl(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|map| map.contains_key(ACCESS_ACL))
    }

    /// Bytes of all names and values.
    pub(crate) fn total(&self) -> u64 {
        let values = self.0.iter().flat_map(|map| map.iter());
        values.map(|(name, value)| bytes(name, value)).sum()
    }
}

fn bytes(name: &[u8], value: &[u8]) -> u64 {
    u64::try_from(name.len().saturating_add(value.len())).unwrap_or(u64::MAX)
}

fn check_name(name: &[u8]) -> Result<()> {
    let in_space = |space: &&[u8]| name.len() > space.len() && name.starts_with(space);
    if name != ACCESS_ACL && name != DEFAULT_ACL && !SPACES.iter().any(in_space) {
        return Err(Errno::EOPNOTSUPP);
    }
    if name.len() > NAME_MAX {
        return Err(Errno::ERANGE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Xattrs;
    use alloc::vec::Vec;
    use rumpuser::Errno;
    use rumpvfs::fs::XattrMode::{Create, Replace, Set};

    #[test]
    fn modes_and_costs() {
        let mut x = Xattrs::default();
        assert_eq!(x.cost(b"user.a", b"12", Replace), Err(Errno::ENOATTR));
        assert_eq!(x.cost(b"user.a", b"12", Create), Ok((8, 0)));
        x.set(b"user.a", b"12");
        assert_eq!(x.cost(b"user.a", b"1", Create), Err(Errno::EEXIST));
        assert_eq!(x.cost(b"user.a", b"1", Set), Ok((7, 8)));
        x.set(b"system.posix_acl_access", b"");
        assert!(x.has_acl());
        assert_eq!(
            x.names().collect::<Vec<_>>(),
            [&b"system.posix_acl_access"[..], b"user.a"]
        );
        assert_eq!(x.total(), 31);
        assert_eq!(x.remove(b"user.a"), Ok(8));
        assert_eq!(x.remove(b"user.a"), Err(Errno::ENOATTR));
        assert_eq!(x.get(b"user.a"), Err(Errno::ENOATTR));
    }

    #[test]
    fn names_and_values_have_limits() {
        let x = Xattrs::default();
        for bad in [&b"user."[..], b"system.x", b"x", b"", b"userx.a"] {
            assert_eq!(x.cost(bad, b"", Set), Err(Errno::EOPNOTSUPP));
        }
        let mut long = b"trusted.".to_vec();
        long.resize(255, b'x');
        assert_eq!(x.cost(&long, &[0; 65_536], Set), Ok((65_791, 0)));
        assert_eq!(x.cost(&long, &[0; 65_537], Set), Err(Errno::E2BIG));
        long.push(b'x');
        assert_eq!(x.cost(&long, b"", Set), Err(Errno::ERANGE));
    }
}
