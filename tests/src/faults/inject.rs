//! What goes wrong in a run.

use super::session::Kind;
use rumpkern::Errno;
use rumpuser_sim::{Fault, MemDisk, Operation};
use std::{fmt, str::FromStr};

/// Calls of a device that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A flush.
    Flush,
    /// A discard.
    Discard,
    /// Whatever it is.
    Any,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Once, with `EIO`, and nothing is done.
    Once,
    /// Once, with `EIO`, and a part is done: a short read, a torn write, a flush that lost some of its writes.
    Part,
    /// With `EIO`, and so do all that follow.
    Forever,
    /// Once, with `ENOSPC`: a thin host file on a full host.
    Full,
    /// With `ENOSPC`, and so do all that follow.
    FullForever,
}

/// The one thing that goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Nothing.
    Nothing,
    /// A call of the device, after so many of its kind.
    Call(Call, u64, Way),
    /// What lies behind this byte of the device cannot be read or written.
    Short(u64),
    /// Blocks that are free when the work begins.
    Blocks(u64),
    /// Inodes that are free when the work begins.
    Inodes(u64),
    /// Pages that the page cache may hold; vnodes and buffers as few as they get with that.
    Pages(u64),
    /// The next thread of the kernel is not started.
    Thread,
}

const CALLS: [(Call, &str); 5] = [
    (Call::Read, "read"),
    (Call::Write, "write"),
    (Call::Flush, "flush"),
    (Call::Discard, "discard"),
    (Call::Any, "any"),
];

const WAYS: [(Way, &str); 5] = [
    (Way::Once, "once"),
    (Way::Part, "part"),
    (Way::Forever, "forever"),
    (Way::Full, "full"),
    (Way::FullForever, "full-forever"),
];

impl Call {
    /// The ways in which it can fail.
    pub(super) fn ways(self) -> &'static [Way] {
        match self {
            Self::Write => &[
                Way::Once,
                Way::Part,
                Way::Forever,
                Way::Full,
                Way::FullForever,
            ],
            Self::Read | Self::Flush | Self::Discard => &[Way::Once, Way::Part, Way::Forever],
            Self::Any => &[Way::Forever],
        }
    }

    fn fault(self) -> Fault {
        match self {
            Self::Read => Fault::on(Operation::Read),
            Self::Write => Fault::on(Operation::Write),
            Self::Flush => Fault::on(Operation::Flush),
            Self::Discard => Fault::on(Operation::Discard),
            Self::Any => Fault::on_any(),
        }
    }
}

impl Injection {
    /// Makes the device fail so.
    pub(super) fn arm(self, disk: &MemDisk, len: u64) {
        match self {
            Self::Call(call, nth, way) => {
                let fault = call.fault().after(nth);
                disk.inject(match way {
                    Way::Once => fault.times(1),
                    Way::Part => fault.times(1).torn(nth),
                    Way::Forever => fault,
                    Way::Full => fault.times(1).errno(Errno::ENOSPC),
                    Way::FullForever => fault.errno(Errno::ENOSPC),
                });
            }
            Self::Short(from) => disk.inject(Fault::on_any().range(from..len)),
            _ => {}
        }
    }

    /// Its name without the number.
    pub(super) fn kind(self) -> String {
        let name = self.to_string();
        let parts = name.split(':').filter(|part| part.parse::<u64>().is_err());
        parts.collect::<Vec<_>>().join(":")
    }

    /// Whether writes or flushes of the device may fail: then the volume may go out of service for changes.
    fn stops_writing(self) -> bool {
        match self {
            Self::Call(call, ..) => call != Call::Read,
            Self::Short(_) => true,
            _ => false,
        }
    }

    /// Whether the device loses what it had taken.
    pub(super) fn loses_data(self) -> bool {
        matches!(self, Self::Call(Call::Flush, _, Way::Part))
    }

    /// Whether a failed `fsync` means that data or its transaction did not get to the device, which every other user of the file is
    /// told of, too.
    pub(super) fn fails_write_back(self) -> bool {
        matches!(self, Self::Call(Call::Write | Call::Flush, ..))
    }

    /// Why a call must not fail so. `hit`: the device failed during it; `failed`: it has failed at all.
    pub(super) fn objection(
        self,
        kind: Kind,
        error: Errno,
        hit: bool,
        failed: bool,
    ) -> Option<&'static str> {
        match self {
            Self::Nothing => Some("nothing went wrong"),
            Self::Pages(_) => Some("memory can be had by writing or dropping pages"),
            Self::Thread => (kind != Kind::Thread || error != Errno::EAGAIN)
                .then_some("only a thread could not be had"),
            Self::Blocks(_) | Self::Inodes(_) => {
                if error != Errno::ENOSPC {
                    Some("space was short")
                } else if kind != Kind::Grow {
                    Some("it needs no space")
                } else {
                    None
                }
            }
            Self::Call(..) | Self::Short(_) => {
                let full = matches!(self, Self::Call(_, _, Way::Full | Way::FullForever));
                let changes = kind != Kind::Look;
                let fits = match error {
                    Errno::EIO => true,
                    Errno::ENOSPC => full && changes,
                    Errno::EROFS => self.stops_writing() && changes,
                    // A device that is too short for its superblock, or for its volume.
                    Errno::EINVAL => kind == Kind::Mount && matches!(self, Self::Short(_)),
                    _ => false,
                };
                if !fits {
                    Some("that is another error")
                } else if !failed {
                    Some("the device has not failed yet")
                } else if !(hit || self.stops_writing() && changes) {
                    Some("the device did not fail in it")
                } else {
                    None
                }
            }
        }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Call(call, nth, way) => {
                let call = CALLS.iter().find(|(own, _)| own == call);
                let way = WAYS.iter().find(|(own, _)| own == way);
                let (call, way) = (call.map_or("", |c| c.1), way.map_or("", |w| w.1));
                write!(f, "{call}:{nth}:{way}")
            }
            Self::Short(from) => write!(f, "short:{from}"),
            Self::Blocks(count) => write!(f, "blocks:{count}"),
            Self::Inodes(count) => write!(f, "inodes:{count}"),
            Self::Pages(count) => write!(f, "pages:{count}"),
            Self::Thread => f.write_str("thread"),
        }
    }
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text} is no fault");
        let mut parts = text.split(':');
        let kind = parts.next().unwrap_or_default();
        if let Some(alone) = [("nothing", Self::Nothing), ("thread", Self::Thread)]
            .iter()
            .find(|(name, _)| *name == text)
        {
            return Ok(alone.1);
        }
        let count = parts.next().and_then(|n| n.parse().ok()).ok_or_else(bad)?;
        let way = parts.next();
        if let Some((call, _)) = CALLS.iter().find(|(_, name)| *name == kind) {
            let way = WAYS.iter().find(|(_, name)| Some(*name) == way);
            return way
                .map(|(way, _)| Self::Call(*call, count, *way))
                .ok_or_else(bad);
        }
        match kind {
            "short" => Ok(Self::Short(count)),
            "blocks" => Ok(Self::Blocks(count)),
            "inodes" => Ok(Self::Inodes(count)),
            "pages" => Ok(Self::Pages(count)),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let mut all = vec![
            Injection::Nothing,
            Injection::Thread,
            Injection::Short(512),
            Injection::Blocks(0),
            Injection::Inodes(3),
            Injection::Pages(7),
        ];
        for (call, _) in CALLS {
            all.extend(
                call.ways()
                    .iter()
                    .map(|way| Injection::Call(call, 12, *way)),
            );
        }
        for injection in all {
            assert_eq!(injection.to_string().parse(), Ok(injection));
        }
        for bad in [
            "",
            "read",
            "read:1",
            "read:x:once",
            "write:1:never",
            "pages:",
        ] {
            assert!(bad.parse::<Injection>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_fail_is_narrow() {
        let fine = |injection: Injection, kind, error, hit, failed| {
            injection.objection(kind, error, hit, failed).is_none()
        };
        let read = Injection::Call(Call::Read, 0, Way::Once);
        assert!(fine(read, Kind::Look, Errno::EIO, true, true));
        assert!(!fine(read, Kind::Look, Errno::EIO, false, true));
        assert!(!fine(read, Kind::Look, Errno::ENOENT, true, true));
        assert!(!fine(read, Kind::Grow, Errno::EROFS, true, true));
        let write = Injection::Call(Call::Write, 0, Way::Full);
        assert!(fine(write, Kind::Settle, Errno::ENOSPC, true, true));
        assert!(fine(write, Kind::Grow, Errno::EROFS, false, true));
        assert!(!fine(write, Kind::Grow, Errno::EROFS, false, false));
        assert!(!fine(write, Kind::Look, Errno::EIO, false, true));
        let blocks = Injection::Blocks(1);
        assert!(fine(blocks, Kind::Grow, Errno::ENOSPC, false, false));
        assert!(!fine(blocks, Kind::Settle, Errno::ENOSPC, false, false));
        assert!(!fine(
            Injection::Pages(1),
            Kind::Grow,
            Errno::ENOMEM,
            false,
            false
        ));
        assert!(fine(
            Injection::Thread,
            Kind::Thread,
            Errno::EAGAIN,
            false,
            false
        ));
    }
}
