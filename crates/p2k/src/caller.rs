//! On whose behalf a request is answered.

use crate::wire::Request;
use rumpkern::{Cred, Lwp, Proc};
use std::cell::RefCell;

/// The user and the group that ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    uid: u32,
    gid: u32,
}

impl From<&Request> for Caller {
    fn from(request: &Request) -> Self {
        Self {
            uid: request.uid,
            gid: request.gid,
        }
    }
}

/// A thread's lwp, as it was used last.
struct Kept {
    /// Which server it is of.
    server: u64,
    uid: u32,
    gid: u32,
    lwp: Lwp,
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Runs `body` as an lwp of `proc` with the credentials of who asks. Each thread keeps its lwp: a user who asks again finds it as it is.
pub(crate) fn as_caller<R>(
    proc: &Proc,
    server: u64,
    caller: Caller,
    body: impl FnOnce(&Proc) -> R,
) -> R {
    let Caller { uid, gid } = caller;
    KEPT.with_borrow_mut(|kept| {
        let same = |k: &&mut Kept| k.server == server && k.uid == uid && k.gid == gid;
        if kept.as_mut().filter(same).is_none() {
            let mut lwp = match kept.take() {
                Some(old) if old.server == server => old.lwp,
                _ => proc.lwp_create(),
            };
            lwp.set_cred(Cred {
                uid,
                gid,
                groups: Vec::new(),
            });
            *kept = Some(Kept {
                server,
                uid,
                gid,
                lwp,
            });
        }
        match kept {
            Some(kept) => body(&kept.lwp),
            None => body(proc),
        }
    })
}
