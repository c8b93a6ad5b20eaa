//! When connections have something to do.

use super::{Role, Tcp};
use crate::stack::{Stack, earlier};
use core::cmp::Reverse;
use rumpuser::Instant;

/// Timers that are out of date before they are taken out.
const STALE: usize = 1_024;

impl Tcp {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        earlier(timer, self.waiting.deadline())
    }

    /// Notes when a connection has something to do next.
    #[inline(always)]
    pub(crate) fn arm(&mut self, id: usize) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let Role::Connection(tcb) = &mut socket.role else {
            return;
        };
        if let Some(at) = tcb.rearm()
            && socket.armed.is_none_or(|armed| at < armed)
        {
            socket.armed = Some(at);
            if self.timers.len() > self.sockets.len().saturating_mul(2).saturating_add(STALE) {
                let sockets = &self.sockets;
                self.timers.retain(|Reverse((at, id))| {
                    sockets
                        .get(*id)
                        .is_some_and(|socket| socket.armed == Some(*at))
                });
            }
            self.timers.push(Reverse((at, id)));
        }
    }
}

impl Stack {
    /// What is due by time.
    pub(crate) fn tcp_timers(&mut self) {
        let now = self.now;
        self.tcp.waiting.expire(now);
        while let Some(Reverse((at, id))) = self.tcp.timers.peek().copied() {
            if at > now {
                break;
            }
            self.tcp.timers.pop();
            let Ok(socket) = self.tcp.get(id) else {
                continue;
            };
            // An entry of a socket that had this number before, or of an earlier deadline.
            if socket.armed != Some(at) {
                continue;
            }
            socket.armed = None;
            let Role::Connection(tcb) = &mut socket.role else {
                continue;
            };
            let changes = tcb.on_timer(now);
            self.tcp_changed(id, changes);
            self.tcp.arm(id);
        }
    }
}
