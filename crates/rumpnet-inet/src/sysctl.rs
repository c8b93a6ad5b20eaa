//! Settings of the family in the tree of named values, with the names that NetBSD has.

use crate::{
    stack::{Inet, Stack},
    tcp::{Config, Congestion, KeepAlive},
    tcp_socket::{BUFFER_MAX, BUFFER_MIN},
};
use alloc::{string::ToString as _, sync::Arc};
use core::time::Duration;
use rumpkern::{
    Kernel,
    sysctl::{Node, Value},
};
use rumpuser::{Errno, Result};

/// A number of the stack that can be set.
#[must_use]
pub fn number(
    inet: &Arc<Inet>,
    get: impl Fn(&Stack) -> i64 + Send + Sync + 'static,
    set: impl Fn(&mut Stack, i64) -> Result<()> + Send + Sync + 'static,
) -> Node {
    let (read, write) = (inet.clone(), inet.clone());
    Node::settable(
        move || Value::Number(read.look(|stack| get(stack))),
        move |value| match value {
            Value::Number(number) => write.with(|stack| set(stack, number)),
            Value::Text(_) => Err(Errno::EINVAL),
        },
    )
}

/// A switch: 0 is off, 1 is on.
///
/// # Errors
/// `EINVAL`: neither of them.
pub const fn switch(number: i64) -> Result<bool> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

/// A switch of TCP's settings.
fn tcp_switch(inet: &Arc<Inet>, of: fn(&mut Config) -> &mut bool) -> Node {
    number(
        inet,
        move |stack| i64::from(*of(&mut (*stack.tcp.config).clone())),
        move |stack, value| {
            *of(Arc::make_mut(&mut stack.tcp.config)) = switch(value)?;
            Ok(())
        },
    )
}

/// A number of bytes of TCP's settings.
fn tcp_bytes(inet: &Arc<Inet>, of: fn(&mut Config) -> &mut usize) -> Node {
    number(
        inet,
        move |stack| {
            let bytes = *of(&mut (*stack.tcp.config).clone());
            i64::try_from(bytes).unwrap_or(i64::MAX)
        },
        move |stack, value| {
            let bytes = usize::try_from(value).map_err(|_| Errno::EINVAL)?;
            if !(BUFFER_MIN..=BUFFER_MAX).contains(&bytes) {
                return Err(Errno::EINVAL);
            }
            *of(Arc::make_mut(&mut stack.tcp.config)) = bytes;
            Ok(())
        },
    )
}

/// A time of keep-alive, in seconds.
fn keep_time(inet: &Arc<Inet>, of: fn(&mut KeepAlive) -> &mut Duration) -> Node {
    number(
        inet,
        move |stack| {
            let seconds = of(&mut stack.tcp.config.keep_times.clone()).as_secs();
            i64::try_from(seconds).unwrap_or(i64::MAX)
        },
        move |stack, value| {
            let seconds = u32::try_from(value).ok().filter(|seconds| *seconds > 0);
            let seconds = seconds.ok_or(Errno::EINVAL)?;
            let config = Arc::make_mut(&mut stack.tcp.config);
            *of(&mut config.keep_times) = Duration::from_secs(seconds.into());
            Ok(())
        },
    )
}

/// So many probes without an answer end a connection.
fn keep_count(inet: &Arc<Inet>) -> Node {
    number(
        inet,
        |stack| stack.tcp.config.keep_times.count.into(),
        |stack, value| {
            let count = u8::try_from(value).ok().filter(|count| *count > 0);
            let count = count.ok_or(Errno::EINVAL)?;
            Arc::make_mut(&mut stack.tcp.config).keep_times.count = count;
            Ok(())
        },
    )
}

/// The algorithm of congestion control, by name.
fn congestion(inet: &Arc<Inet>) -> Node {
    let (read, write) = (inet.clone(), inet.clone());
    Node::settable(
        move || Value::Text(read.tcp_config().congestion.name().to_string()),
        move |value| {
            let Value::Text(name) = value else {
                return Err(Errno::EINVAL);
            };
            let congestion = Congestion::by_name(&name).ok_or(Errno::EINVAL)?;
            write.set_tcp_config(Config {
                congestion,
                ..write.tcp_config()
            });
            Ok(())
        },
    )
}

/// The names of all there are.
fn congestions() -> Node {
    Node::read_only(|| {
        let names = Congestion::ALL.map(|(_, name)| name);
        Value::Text(names.join(" "))
    })
}

/// Puts them into the tree. What is set counts for sockets that are made afterwards.
///
/// # Errors
/// `EEXIST`.
pub(crate) fn add(kernel: &Kernel, inet: &Arc<Inet>) -> Result<()> {
    let forwarding = number(
        inet,
        |stack| stack.ip.forwarding.into(),
        |stack, value| {
            stack.ip.forwarding = switch(value)?;
            Ok(())
        },
    );
    let accept = number(
        inet,
        |stack| stack.redirects.accept.into(),
        |stack, value| {
            stack.redirects.accept = switch(value)?;
            Ok(())
        },
    );
    let send = number(
        inet,
        |stack| stack.redirects.send.into(),
        |stack, value| {
            stack.redirects.send = switch(value)?;
            Ok(())
        },
    );
    let probes = number(
        inet,
        |stack| stack.ip.arp.probes.into(),
        |stack, value| {
            stack.ip.arp.probes = u8::try_from(value).map_err(|_| Errno::EINVAL)?;
            Ok(())
        },
    );
    let all = [
        ("net.inet.ip.dad_count", probes),
        ("net.inet.icmp.rediraccept", accept),
        ("net.inet.ip.redirect", send),
        ("net.inet.ip.forwarding", forwarding),
        ("net.inet.tcp.congctl.available", congestions()),
        ("net.inet.tcp.congctl.selected", congestion(inet)),
        (
            "net.inet.tcp.sack.enable",
            tcp_switch(inet, |c| &mut c.sack),
        ),
        ("net.inet.tcp.ecn.enable", tcp_switch(inet, |c| &mut c.ecn)),
        (
            "net.inet.tcp.timestamps",
            tcp_switch(inet, |c| &mut c.timestamps),
        ),
        (
            "net.inet.tcp.recvspace",
            tcp_bytes(inet, |c| &mut c.receive_buffer),
        ),
        (
            "net.inet.tcp.recvbuf_max",
            tcp_bytes(inet, |c| &mut c.receive_buffer_max),
        ),
        (
            "net.inet.tcp.sendspace",
            tcp_bytes(inet, |c| &mut c.send_buffer),
        ),
        (
            "net.inet.tcp.sendbuf_max",
            tcp_bytes(inet, |c| &mut c.send_buffer_max),
        ),
        ("net.inet.tcp.keepidle", keep_time(inet, |k| &mut k.idle)),
        (
            "net.inet.tcp.keepintvl",
            keep_time(inet, |k| &mut k.interval),
        ),
        ("net.inet.tcp.keepcnt", keep_count(inet)),
    ];
    all.into_iter()
        .try_for_each(|(name, node)| kernel.sysctl_add(name, node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_count() {
        let kernel = Kernel::builder(rumpuser_posix::Host::new())
            .component(crate::component())
            .boot()
            .unwrap();
        let names = kernel.sysctl_names("net.inet.");
        assert_eq!(names.len(), 16, "{names:?}");
        let set = |name: &str, value| kernel.sysctl_set(name, Value::Number(value));
        for name in ["net.inet.ip.forwarding", "net.inet.tcp.sack.enable"] {
            assert_eq!(set(name, 2), Err(Errno::EINVAL));
            for value in [0, 1] {
                assert_eq!(set(name, value), Ok(()));
                assert_eq!(kernel.sysctl(name), Ok(Value::Number(value)));
            }
        }
        let space = "net.inet.tcp.recvspace";
        assert_eq!(set(space, -1), Err(Errno::EINVAL));
        assert_eq!(set(space, 1 << 31), Err(Errno::EINVAL));
        assert_eq!(set(space, 65_536), Ok(()));
        use crate::KernelInet as _;
        let inet = kernel.inet().unwrap();
        assert_eq!(inet.tcp_config().receive_buffer, 65_536);
        for (name, most) in [
            ("keepidle", i64::from(u32::MAX)),
            ("keepintvl", i64::from(u32::MAX)),
            ("keepcnt", 255),
        ] {
            let name = alloc::format!("net.inet.tcp.{name}");
            for wrong in [-1, 0, most + 1] {
                assert_eq!(set(&name, wrong), Err(Errno::EINVAL));
            }
            for right in [most, 7] {
                assert_eq!(set(&name, right), Ok(()));
                assert_eq!(kernel.sysctl(&name), Ok(Value::Number(right)));
            }
        }
        let times = inet.tcp_config().keep_times;
        assert_eq!((times.idle, times.count), (Duration::from_secs(7), 7));
        let name = "net.inet.tcp.congctl.selected";
        let text = |text: &str| Value::Text(text.to_string());
        assert_eq!(kernel.sysctl(name), Ok(text("cubic")));
        assert_eq!(kernel.sysctl_set(name, text("none")), Err(Errno::EINVAL));
        let all = kernel.sysctl("net.inet.tcp.congctl.available");
        assert_eq!(all, Ok(text("cubic newreno bbr")));
        for (congestion, one) in Congestion::ALL {
            assert_eq!(kernel.sysctl_set(name, text(one)), Ok(()));
            assert_eq!(inet.tcp_config().congestion, congestion);
        }
        kernel.shutdown().unwrap();
    }
}
