//! Rock Ridge (RRIP, IEEE P1282): POSIX names and attributes in system use entries.

use crate::{
    error::{Error, Place, Result},
    layout::{Both32, RawLongTime, RawOldSf, RawPn, RawPx, RawSf, RawShortTime, RawZf, SF_DEPTH},
    medium::Medium,
    record::Record,
    system_use,
    time::{long, short},
};
use alloc::vec::Vec;
use rumpuser::Timespec;
use zerocopy::{FromBytes, IntoBytes as _};

/// Longest name and longest link in bytes.
const NAME_MOST: usize = 255;
const LINK_MOST: usize = 4095;

/// `NM` and `SL` (RRIP 4.1.3.1, 4.1.4): it goes on in the next entry.
const CONTINUE: u8 = 1;
/// The name, or a component, is `.`.
const CURRENT: u8 = 2;
/// It is `..`.
const PARENT: u8 = 4;
/// The component is the root directory.
const ROOT: u8 = 8;

/// `TF`: the time of the last change of attributes is there.
const ATTRIBUTES: u8 = 8;

/// The times of `TF` (RRIP 4.1.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) creation: Option<Timespec>,
    pub(crate) modify: Option<Timespec>,
    pub(crate) access: Option<Timespec>,
    /// Of the attributes: ctime.
    pub(crate) attributes: Option<Timespec>,
}

/// What the entries of one record say. Kept and filled again, so that listing a directory allocates nothing.
#[derive(Default)]
pub(crate) struct RockRidge {
    /// `NM`; empty if there is none.
    pub(crate) name: Vec<u8>,
    /// The name is longer than 255 bytes: nothing can name it.
    pub(crate) name_too_long: bool,
    /// `PX`
    pub(crate) attributes: Option<RawPx>,
    /// `PN`
    pub(crate) device: Option<RawPn>,
    /// `SL`; empty if there is none.
    pub(crate) link: Vec<u8>,
    /// Why `link` is not what the link leads to. Only that is lost: genisoimage writes an `SL` shorter than its content when a
    /// component goes over from the entry before.
    pub(crate) link_fault: Option<Error>,
    /// `CL`: the directory lies elsewhere, at this block.
    pub(crate) child: Option<u32>,
    /// `PL`: its parent before it was moved.
    pub(crate) parent: Option<u32>,
    /// `RE`: an entry that is shown elsewhere.
    pub(crate) relocated: bool,
    /// `TF`
    pub(crate) times: Times,
    /// `ZF`
    pub(crate) compressed: Option<RawZf>,
    /// `SF`: size of the file and depth of its first table.
    pub(crate) sparse: Option<(u64, u8)>,
    /// Whether the next component of a link needs a `/` before it.
    separate: bool,
    /// Times that were read last, those of attributes apart.
    seen: [(RawShortTime, Option<Timespec>); 2],
}

impl RockRidge {
    /// Reads the entries of a record, of which the first `skip` bytes of the system use area are somebody else's (SUSP 5.3).
    pub(crate) fn read(&mut self, medium: &Medium, record: &Record<'_>, skip: usize) -> Result<()> {
        self.clear();
        let at = record.at;
        let area = record.system_use.get(skip..).unwrap_or_default();
        system_use::each(medium, at, area, |entry| {
            self.take(at, entry.signature, entry.content)
        })
    }

    /// Field by field: to make a new one and copy it here takes as long as to read the entries.
    fn clear(&mut self) {
        let Self {
            name,
            name_too_long,
            attributes,
            device,
            link,
            link_fault,
            child,
            parent,
            relocated,
            times,
            compressed,
            sparse,
            separate,
            seen: _,
        } = self;
        name.clear();
        link.clear();
        *link_fault = None;
        (*attributes, *device, *compressed) = (None, None, None);
        (*child, *parent, *sparse) = (None, None, None);
        (*name_too_long, *relocated, *separate) = (false, false, false);
        *times = Times::default();
    }

    fn take(&mut self, at: u64, signature: [u8; 2], content: &[u8]) -> Result<()> {
        let short = |field| {
            let place = Place::SystemUse(at);
            Error::value(
                place,
                field,
                crate::types::number(content.len()),
                "more bytes",
            )
        };
        match &signature {
            b"NM" => self.add_name(content),
            b"PX" => {
                let raw = RawPx::read_from_prefix(content);
                self.attributes = Some(raw.map_err(|_| short("PX length"))?.0);
            }
            b"PN" => {
                let raw = RawPn::read_from_prefix(content);
                self.device = Some(raw.map_err(|_| short("PN length"))?.0);
            }
            b"SL" if self.link_fault.is_none() => {
                self.link_fault = self.add_components(at, content).err();
            }
            b"CL" | b"PL" => {
                let raw = Both32::read_from_prefix(content);
                let block = raw.map_err(|_| short("CL or PL length"))?.0.get();
                if signature == *b"CL" {
                    self.child = Some(block);
                } else {
                    self.parent = Some(block);
                }
            }
            b"RE" => self.relocated = true,
            b"TF" => self.take_times(content),
            b"ZF" => {
                let raw = RawZf::read_from_prefix(content);
                self.compressed = Some(raw.map_err(|_| short("ZF length"))?.0);
            }
            b"SF" => self.sparse = Some(sparse(content).ok_or_else(|| short("SF length"))?),
            // Others', such as AS of AmigaOS.
            _ => {}
        }
        Ok(())
    }

    fn add_name(&mut self, content: &[u8]) {
        let Some((flags, part)) = content.split_first() else {
            return;
        };
        if flags & (CURRENT | PARENT) != 0 || self.name_too_long {
            return;
        }
        if self.name.len().saturating_add(part.len()) > NAME_MOST {
            self.name_too_long = true;
        } else {
            self.name.extend_from_slice(part);
        }
    }

    /// The components of one `SL` (RRIP 4.1.3).
    fn add_components(&mut self, at: u64, content: &[u8]) -> Result<()> {
        let mut rest = content.get(1..).unwrap_or_default();
        while let [flags, length, bytes @ ..] = rest {
            let length = usize::from(*length);
            let (Some(part), Some(after)) = (bytes.get(..length), bytes.get(length..)) else {
                let place = Place::SystemUse(at);
                let found = crate::types::number(length);
                return Err(Error::value(place, "SL component length", found, "less"));
            };
            rest = after;
            let part = match *flags & (CURRENT | PARENT | ROOT) {
                CURRENT => &b"."[..],
                PARENT => b"..",
                ROOT => b"/",
                _ => part,
            };
            if self.separate && *flags & ROOT == 0 {
                self.link.push(b'/');
            }
            self.link.extend_from_slice(part);
            if self.link.len() > LINK_MOST {
                let place = Place::SystemUse(at);
                let found = crate::types::number(self.link.len());
                return Err(Error::value(place, "link length", found, "4095 or less"));
            }
            self.separate = *flags & (CONTINUE | ROOT) == 0;
        }
        Ok(())
    }

    fn take_times(&mut self, content: &[u8]) {
        let Some((flags, mut rest)) = content.split_first() else {
            return;
        };
        let is_long = flags & 0x80 != 0;
        let seen = &mut self.seen;
        let mut next = |bit: u8| {
            if flags & bit == 0 {
                return None;
            }
            if is_long {
                let (raw, after) = RawLongTime::read_from_prefix(rest).ok()?;
                rest = after;
                long(&raw)
            } else {
                let (raw, after) = RawShortTime::read_from_prefix(rest).ok()?;
                rest = after;
                // Most files have some time twice, and one that their neighbours have.
                let (known, time) = &mut seen[usize::from(bit == ATTRIBUTES)];
                if known.as_bytes() != raw.as_bytes() {
                    (*known, *time) = (raw, short(&raw));
                }
                *time
            }
        };
        self.times = Times {
            creation: next(1),
            modify: next(2),
            access: next(4),
            attributes: next(ATTRIBUTES),
        };
    }
}

/// Size and depth of `SF`, in either of its forms.
fn sparse(content: &[u8]) -> Option<(u64, u8)> {
    if let Ok(raw) = RawOldSf::read_from_bytes(content) {
        return Some((raw.size.get().into(), SF_DEPTH));
    }
    let (raw, _) = RawSf::read_from_prefix(content).ok()?;
    let high = u64::from(raw.high.get()).wrapping_shl(32);
    Some((high | u64::from(raw.low.get()), raw.depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(entries: &[(&[u8; 2], &[u8])]) -> Result<RockRidge> {
        let mut all = RockRidge::default();
        for (signature, content) in entries {
            all.take(0, **signature, content)?;
        }
        Ok(all)
    }

    #[test]
    fn names_are_joined() {
        let all = taken(&[(b"NM", b"\x01first"), (b"NM", b"\0-second")]).unwrap();
        assert_eq!(all.name, b"first-second");
        assert!(taken(&[(b"NM", b"\x02")]).unwrap().name.is_empty());
        // AmigaOS' protection bits and comment are not looked at.
        let all = taken(&[(b"AS", b"\x03\0\0\0\x0F\x08comment"), (b"NM", b"\0name")]);
        assert_eq!(all.unwrap().name, b"name");
        let long = [0_u8; 200];
        let all = taken(&[(b"NM", &long), (b"NM", &long)]).unwrap();
        assert!(all.name_too_long);
    }

    #[test]
    fn links_are_joined() {
        let link = |content: &[u8]| taken(&[(b"SL", content)]).map(|all| all.link);
        assert_eq!(link(b"\0\x08\0\0\x03usr\0\x03bin").unwrap(), b"/usr/bin");
        assert_eq!(link(b"\0\x04\0\x02\0\0\x01a").unwrap(), b".././a");
        // One component in two pieces, over two entries.
        let all = taken(&[(b"SL", b"\x01\x01\x02ab"), (b"SL", b"\0\0\x02cd\0\x01e")]).unwrap();
        assert_eq!(all.link, b"abcd/e");
        // One that is broken is that for itself alone.
        let rest: (&[u8; 2], &[u8]) = (b"NM", b"\0name");
        for broken in [&b"\0\0\x09short"[..], b"\0\0\xC8"] {
            let all = taken(&[(b"SL", broken), (b"SL", b"\0\0\x01e"), rest]).unwrap();
            assert!(all.link_fault.is_some());
            assert_eq!(all.name, b"name");
        }
    }

    #[test]
    fn sparse_files_in_both_forms() {
        let sparse = |content: &[u8]| taken(&[(b"SF", content)]).map(|all| all.sparse);
        let low = b"\x78\x56\x34\x12\x12\x34\x56\x78";
        assert_eq!(sparse(low).unwrap(), Some((0x1234_5678, 3)));
        let all = [&b"\x01\0\0\0\0\0\0\x01"[..], low, b"\x05"].concat();
        assert_eq!(sparse(&all).unwrap(), Some((0x1_1234_5678, 5)));
        assert!(sparse(&all[..16]).is_err());
        assert!(sparse(b"").is_err());
    }

    #[test]
    fn times_by_flags() {
        let all = taken(&[(b"TF", b"\x06\x46\x01\x01\0\0\0\0\x46\x01\x02\0\0\0\0")]).unwrap();
        assert_eq!(all.times.modify, Some(Timespec::from_secs(0)));
        assert_eq!(all.times.access, Some(Timespec::from_secs(86_400)));
        assert_eq!(all.times.creation, None);
        // Cut off: what is there counts.
        let all = taken(&[(b"TF", b"\x06\x46\x01\x01\0\0\0\0\x46")]).unwrap();
        assert_eq!((all.times.access, all.times.modify.is_some()), (None, true));
    }
}
