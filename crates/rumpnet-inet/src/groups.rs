//! The groups that a socket has joined, with the sources that it wants (RFC 3678).

use crate::stack::Stack;
use alloc::vec::Vec;
use core::net::IpAddr;
use rumpnet::{membership::Filter, socket::SockOpt};
use rumpuser::{Errno, Result};

/// Groups that a socket may join, and sources that it may name for each.
const GROUPS: usize = 256;
const SOURCES: usize = 128;

struct Membership {
    interface: u32,
    group: IpAddr,
    filter: Filter,
}

/// The memberships of a socket.
#[derive(Default)]
pub(crate) struct Groups(Vec<Membership>);

impl Groups {
    /// Whether the socket wants what came for a group. One that has not joined it hears whatever others have joined it for.
    pub(crate) fn wants(&self, interface: u32, group: IpAddr, source: IpAddr) -> bool {
        self.find(group, interface)
            .is_none_or(|(_, here)| here.filter.passes(source))
    }

    /// The membership of a group, on any interface if that is 0.
    fn find(&self, group: IpAddr, interface: u32) -> Option<(usize, &Membership)> {
        let mut all = self.0.iter().enumerate();
        all.find(|(_, here)| here.group == group && (interface == 0 || here.interface == interface))
    }

    /// `getsourcefilter`.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`: it is not joined.
    pub(crate) fn filter(&self, group: IpAddr, interface: u32) -> Result<SockOpt> {
        let (_, here) = self.find(group, interface).ok_or(Errno::EADDRNOTAVAIL)?;
        let filter = here.filter.clone();
        Ok(SockOpt::SourceFilter(group, here.interface, filter))
    }
}

/// Which group and interface an option is about; `None` if it is about something else.
pub(crate) const fn subject(option: &SockOpt) -> Option<(IpAddr, u32)> {
    match option {
        SockOpt::AddMembership(group, interface)
        | SockOpt::DropMembership(group, interface)
        | SockOpt::JoinSource(group, _, interface)
        | SockOpt::LeaveSource(group, _, interface)
        | SockOpt::BlockSource(group, _, interface)
        | SockOpt::UnblockSource(group, _, interface)
        | SockOpt::SourceFilter(group, interface, _) => Some((*group, *interface)),
        _ => None,
    }
}

/// The filter that an option makes of one (RFC 3678 sections 4.1.3 and 5.1.2).
fn changed(before: Option<&Filter>, option: &SockOpt) -> Result<Filter> {
    // Adds a source to a list of the mode, or takes it out of one.
    let edit = |exclude: bool, source: &IpAddr, add: bool| {
        let mut filter = match before {
            Some(before) if before.exclude != exclude => return Err(Errno::EINVAL),
            Some(before) => before.clone(),
            None if exclude => return Err(Errno::EINVAL),
            None => Filter::default(),
        };
        let done = if add {
            filter.sources.insert(*source)
        } else {
            filter.sources.remove(source)
        };
        if done {
            Ok(filter)
        } else {
            Err(Errno::EADDRNOTAVAIL)
        }
    };
    match option {
        SockOpt::AddMembership(..) if before.is_some() => Err(Errno::EADDRINUSE),
        SockOpt::AddMembership(..) => Ok(Filter::all()),
        SockOpt::DropMembership(..) => match before {
            Some(_) => Ok(Filter::default()),
            None => Err(Errno::EADDRNOTAVAIL),
        },
        SockOpt::JoinSource(_, source, _) => edit(false, source, true),
        SockOpt::LeaveSource(_, source, _) => edit(false, source, false),
        SockOpt::BlockSource(_, source, _) => edit(true, source, true),
        SockOpt::UnblockSource(_, source, _) => edit(true, source, false),
        SockOpt::SourceFilter(_, _, filter) => Ok(filter.clone()),
        _ => Err(Errno::ENOPROTOOPT),
    }
}

impl Stack {
    /// Does what an option of group membership says.
    ///
    /// # Errors
    /// `EINVAL` (no group, a source of another family or that is a group; sources are listed the other way round), `EADDRINUSE` (it is joined),
    /// `EADDRNOTAVAIL` (it is not, or the source is listed already or not at all), `ENOBUFS`, `ENODEV`, `ENETUNREACH`.
    pub(crate) fn change_groups(&mut self, groups: &mut Groups, option: &SockOpt) -> Result<()> {
        let (group, interface) = subject(option).ok_or(Errno::ENOPROTOOPT)?;
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let interface = match (groups.find(group, interface), interface) {
            (Some((_, here)), _) => here.interface,
            (None, 0) => self.path(group, None, None)?.interface,
            (None, interface) => interface,
        };
        let at = groups.find(group, interface).map(|(at, _)| at);
        let before = at.and_then(|at| groups.0.get(at)).map(|here| &here.filter);
        let filter = changed(before, option)?;
        let strange = |source: &IpAddr| {
            source.is_multicast() || source.is_ipv4() != group.is_ipv4() || source.is_unspecified()
        };
        if filter.sources.iter().any(strange) {
            return Err(Errno::EINVAL);
        }
        if filter.sources.len() > SOURCES || at.is_none() && groups.0.len() >= GROUPS {
            return Err(Errno::ENOBUFS);
        }
        let after = Some(filter.clone()).filter(|filter| !filter.is_none());
        self.membership(interface, group, before, after)?;
        match (at, filter.is_none()) {
            (Some(at), true) => {
                groups.0.swap_remove(at);
            }
            (Some(at), false) => {
                if let Some(here) = groups.0.get_mut(at) {
                    here.filter = filter;
                }
            }
            (None, true) => {}
            (None, false) => groups.0.push(Membership {
                interface,
                group,
                filter,
            }),
        }
        Ok(())
    }

    /// A socket is closed.
    pub(crate) fn leave_groups(&mut self, groups: Groups) {
        for here in groups.0 {
            // The interface may be gone.
            let _ = self.membership(here.interface, here.group, Some(&here.filter), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// RFC 3678 section 4.1.3: which calls go with which mode.
    #[test]
    fn deltas() {
        let group = IpAddr::from(Ipv4Addr::new(232, 0, 0, 1));
        let source = |n| IpAddr::from(Ipv4Addr::new(10, 0, 0, n));
        let filter = |exclude, hosts: &[u8]| Filter {
            exclude,
            sources: hosts.iter().map(|host| source(*host)).collect(),
        };
        let join = |n| SockOpt::JoinSource(group, source(n), 1);
        let leave = |n| SockOpt::LeaveSource(group, source(n), 1);
        let block = |n| SockOpt::BlockSource(group, source(n), 1);
        let unblock = |n| SockOpt::UnblockSource(group, source(n), 1);
        let (add, drop) = (
            SockOpt::AddMembership(group, 1),
            SockOpt::DropMembership(group, 1),
        );
        let one = filter(false, &[1]);
        assert_eq!(changed(None, &join(1)), Ok(one.clone()));
        assert_eq!(changed(Some(&one), &join(2)), Ok(filter(false, &[1, 2])));
        assert_eq!(changed(Some(&one), &join(1)), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(changed(Some(&one), &leave(2)), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(changed(Some(&one), &leave(1)), Ok(Filter::default()));
        assert_eq!(changed(Some(&one), &block(1)), Err(Errno::EINVAL));
        assert_eq!(changed(Some(&one), &add), Err(Errno::EADDRINUSE));
        assert_eq!(changed(Some(&one), &drop), Ok(Filter::default()));
        assert_eq!(changed(None, &add), Ok(Filter::all()));
        assert_eq!(changed(None, &drop), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(changed(None, &block(1)), Err(Errno::EINVAL));
        let all = Filter::all();
        assert_eq!(changed(Some(&all), &join(1)), Err(Errno::EINVAL));
        assert_eq!(changed(Some(&all), &block(1)), Ok(filter(true, &[1])));
        assert_eq!(changed(Some(&all), &unblock(1)), Err(Errno::EADDRNOTAVAIL));
    }
}
