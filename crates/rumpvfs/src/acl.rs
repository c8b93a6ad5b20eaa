//! POSIX access control lists (IEEE 1003.1e draft 17) in the form of the `system.posix_acl_access` and
//! `system.posix_acl_default` attributes, version 2: a little-endian `u32` 2, then 8 bytes per entry - tag and permissions
//! as `u16`, user or group as `u32`.

use crate::calls::Access;
use alloc::vec::Vec;
use rumpkern::Cred;
use rumpuser::{Errno, Result};

/// Attribute that holds the access ACL.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attribute of a directory that holds what new files in it start with.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// In the id of an entry that has none.
const NO_ID: u32 = u32::MAX;
/// More entries than any format here can store.
const ENTRIES_MAX: usize = 8192;

/// A valid access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    /// Permissions of the owner, at most 7.
    user: u32,
    /// Users by name, ascending: id and permissions.
    users: Vec<(u32, u32)>,
    group: u32,
    /// Groups by name, ascending.
    groups: Vec<(u32, u32)>,
    /// What all but owner and others have at most; always there with named entries.
    mask: Option<u32>,
    other: u32,
}

impl Acl {
    /// Reads and checks the attribute's value. `None` when it is empty: there is no ACL.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for another version, `EINVAL` when it is not valid.
    pub(crate) fn parse(value: &[u8]) -> Result<Option<Self>> {
        let Some((version, entries)) = value.split_first_chunk() else {
            return if value.is_empty() {
                Ok(None)
            } else {
                Err(Errno::EINVAL)
            };
        };
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() || entries.len() > ENTRIES_MAX {
            return Err(Errno::EINVAL);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let (mut user, mut group, mut mask, mut other) = (None, None, None, None);
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        let mut last = 0;
        for &[t0, t1, p0, p1, i0, i1, i2, i3] in entries {
            let tag = u16::from_le_bytes([t0, t1]);
            let perm = u32::from(u16::from_le_bytes([p0, p1]));
            let id = u32::from_le_bytes([i0, i1, i2, i3]);
            // Entries come in the order of their tags.
            if perm > 7 || tag < last {
                return Err(Errno::EINVAL);
            }
            last = tag;
            let doubled = match tag {
                USER_OBJ => user.replace(perm).is_some(),
                GROUP_OBJ => group.replace(perm).is_some(),
                MASK => mask.replace(perm).is_some(),
                OTHER => other.replace(perm).is_some(),
                USER => named(&mut users, id, perm),
                GROUP => named(&mut groups, id, perm),
                _ => true,
            };
            if doubled {
                return Err(Errno::EINVAL);
            }
        }
        let (Some(user), Some(group), Some(other)) = (user, group, other) else {
            return Err(Errno::EINVAL);
        };
        if mask.is_none() && !(users.is_empty() && groups.is_empty()) {
            return Err(Errno::EINVAL);
        }
        users.sort_unstable();
        groups.sort_unstable();
        Ok(Some(Self {
            user,
            users,
            group,
            groups,
            mask,
            other,
        }))
    }

    /// The attribute's value.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::from(VERSION.to_le_bytes());
        let mut put = |tag: u16, perm: u32, id: u32| {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&(perm as u16).to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        };
        put(USER_OBJ, self.user, NO_ID);
        for &(id, perm) in &self.users {
            put(USER, perm, id);
        }
        put(GROUP_OBJ, self.group, NO_ID);
        for &(id, perm) in &self.groups {
            put(GROUP, perm, id);
        }
        if let Some(mask) = self.mask {
            put(MASK, mask, NO_ID);
        }
        put(OTHER, self.other, NO_ID);
        out
    }

    /// Whether it says no more than permission bits can.
    pub(crate) fn is_minimal(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.mask.is_none()
    }

    /// The permission bits that stand for it: the group bits are the mask where there is one.
    pub(crate) fn mode(&self) -> u32 {
        self.user << 6 | self.mask.unwrap_or(self.group) << 3 | self.other
    }

    /// What `chmod` makes of it.
    pub(crate) fn with_mode(mut self, mode: u32) -> Self {
        self.user = mode >> 6 & 7;
        match &mut self.mask {
            Some(mask) => *mask = mode >> 3 & 7,
            None => self.group = mode >> 3 & 7,
        }
        self.other = mode & 7;
        self
    }

    /// What a file made with `mode` in a directory gets of the directory's default ACL.
    pub(crate) fn inherited(mut self, mode: u32) -> Self {
        self.user &= mode >> 6;
        match &mut self.mask {
            Some(mask) => *mask &= mode >> 3,
            None => self.group &= mode >> 3,
        }
        self.other &= mode;
        self
    }

    /// Whether it grants `want` to `cred` on a file of `uid` and `gid` (the algorithm of 1003.1e, 23.1.5).
    pub(crate) fn grants(&self, uid: u32, gid: u32, cred: &Cred, want: Access) -> bool {
        let want = want.bits();
        let has = |perm: u32| perm & want == want;
        let mask = self.mask.unwrap_or(7);
        if cred.uid == uid {
            return has(self.user);
        }
        if let Ok(at) = self.users.binary_search_by_key(&cred.uid, |&(id, _)| id) {
            return has(self.users[at].1 & mask);
        }
        let mut member = false;
        if cred.in_group(gid) {
            member = true;
            if has(self.group & mask) {
                return true;
            }
        }
        for &(id, perm) in &self.groups {
            if cred.in_group(id) {
                member = true;
                if has(perm & mask) {
                    return true;
                }
            }
        }
        !member && has(self.other)
    }
}

/// Adds a named entry; whether there was one of that name already.
fn named(entries: &mut Vec<(u32, u32)>, id: u32, perm: u32) -> bool {
    if id == NO_ID || entries.iter().any(|&(other, _)| other == id) {
        return true;
    }
    entries.push((id, perm));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut out = Vec::from(2u32.to_le_bytes());
        for (tag, perm, id) in entries {
            out.extend(tag.to_le_bytes());
            out.extend(perm.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        out
    }

    fn example() -> Acl {
        let bytes = value(&[
            (USER_OBJ, 7, NO_ID),
            (USER, 6, 100),
            (USER, 0, 101),
            (GROUP_OBJ, 4, NO_ID),
            (GROUP, 7, 200),
            (MASK, 5, NO_ID),
            (OTHER, 1, NO_ID),
        ]);
        let acl = Acl::parse(&bytes).unwrap().unwrap();
        assert_eq!(acl.bytes(), bytes);
        acl
    }

    fn who(uid: u32, gid: u32) -> Cred {
        Cred {
            uid,
            gid,
            groups: Vec::new(),
        }
    }

    #[test]
    fn entries_are_chosen_by_who_asks() {
        let acl = example();
        let may = |uid, gid, want| acl.grants(1, 2, &who(uid, gid), want);
        assert!(may(1, 9, Access::R | Access::W | Access::X));
        // The mask takes write away from a named user.
        assert!(may(100, 9, Access::R));
        assert!(!may(100, 9, Access::W));
        // A named user with nothing gets nothing, even if others have something.
        assert!(!may(101, 200, Access::X));
        assert!(may(50, 2, Access::R));
        assert!(!may(50, 2, Access::X));
        assert!(may(50, 200, Access::R | Access::X));
        assert!(!may(50, 200, Access::W));
        assert!(may(50, 9, Access::X));
        assert!(!may(50, 9, Access::R));
    }

    #[test]
    fn mode_and_acl_follow_each_other() {
        let acl = example();
        assert_eq!(acl.mode(), 0o751);
        let changed = acl.clone().with_mode(0o640);
        assert_eq!(changed.mode(), 0o640);
        assert_eq!(changed.group, 4);
        assert_eq!(acl.inherited(0o640).mode(), 0o640);
    }

    #[test]
    fn invalid_lists_are_refused() {
        let minimal = [
            (USER_OBJ, 7, NO_ID),
            (GROUP_OBJ, 5, NO_ID),
            (OTHER, 0, NO_ID),
        ];
        assert!(Acl::parse(&value(&minimal)).unwrap().unwrap().is_minimal());
        assert_eq!(Acl::parse(b"").unwrap(), None);
        let bad = [
            vec_of(&minimal[..2]),
            vec_of(&[minimal[0], (USER, 7, 5), minimal[1], minimal[2]]),
            vec_of(&[minimal[0], minimal[0], minimal[1], minimal[2]]),
            vec_of(&[
                minimal[0],
                (USER, 8, 5),
                minimal[1],
                (MASK, 7, NO_ID),
                minimal[2],
            ]),
            vec_of(&[minimal[1], minimal[0], minimal[2]]),
        ];
        for bytes in bad {
            assert_eq!(Acl::parse(&bytes), Err(Errno::EINVAL));
        }
        assert_eq!(Acl::parse(&[1, 0, 0, 0]), Err(Errno::EOPNOTSUPP));
        assert_eq!(Acl::parse(&[2, 0, 0]), Err(Errno::EINVAL));
    }

    fn vec_of(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        value(entries)
    }
}
