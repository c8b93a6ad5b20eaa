//! Settings of IPv6 in the tree of named values, with the names that the BSDs have.

use crate::state::State;
use alloc::sync::Arc;
use core::time::Duration;
use rumpkern::{Kernel, sysctl::Node};
use rumpnet_inet::{
    Inet,
    sysctl::{number, switch},
};
use rumpuser::{Errno, Result};

/// A switch of IPv6.
fn flag(inet: &Arc<Inet>, of: fn(&mut State) -> &mut bool, get: fn(&State) -> bool) -> Node {
    number(
        inet,
        move |stack| stack.state().is_ok_and(get).into(),
        move |stack, value| {
            *of(stack.state_mut()?) = switch(value)?;
            Ok(())
        },
    )
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Puts them into the tree.
///
/// # Errors
/// `EEXIST`.
pub(crate) fn add(kernel: &Kernel, inet: &Arc<Inet>) -> Result<()> {
    let time = |value: i64| u64::try_from(value).map_err(|_| Errno::EINVAL);
    let preferred = number(
        inet,
        |stack| {
            stack
                .state::<State>()
                .map_or(0, |s| seconds(s.temporary.preferred))
        },
        move |stack, value| {
            let state: &mut State = stack.state_mut()?;
            let mut new = state.temporary;
            new.preferred = Duration::from_secs(time(value)?);
            state.temporary = new.checked()?;
            Ok(())
        },
    );
    let valid = number(
        inet,
        |stack| {
            stack
                .state::<State>()
                .map_or(0, |s| seconds(s.temporary.valid))
        },
        move |stack, value| {
            let state: &mut State = stack.state_mut()?;
            let mut new = state.temporary;
            new.valid = Duration::from_secs(time(value)?);
            state.temporary = new.checked()?;
            Ok(())
        },
    );
    let probes = number(
        inet,
        |stack| stack.state::<State>().map_or(0, |s| s.probes.into()),
        |stack, value| {
            let state: &mut State = stack.state_mut()?;
            state.probes = u8::try_from(value).map_err(|_| Errno::EINVAL)?;
            Ok(())
        },
    );
    let all = [
        (
            "net.inet6.ip6.forwarding",
            flag(inet, |s| &mut s.forwarding, |s| s.forwarding),
        ),
        (
            "net.inet6.ip6.redirect",
            flag(inet, |s| &mut s.redirects, |s| s.redirects),
        ),
        (
            "net.inet6.ip6.accept_rtadv",
            flag(
                inet,
                |s| &mut s.accept_advertisements,
                |s| s.accept_advertisements,
            ),
        ),
        (
            "net.inet6.ip6.use_tempaddr",
            flag(inet, |s| &mut s.temporary.on, |s| s.temporary.on),
        ),
        ("net.inet6.ip6.temppltime", preferred),
        ("net.inet6.ip6.tempvltime", valid),
        ("net.inet6.ip6.dad_count", probes),
    ];
    all.into_iter()
        .try_for_each(|(name, node)| kernel.sysctl_add(name, node))
}
