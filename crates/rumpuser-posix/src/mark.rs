//! Whether a socket of the host is at the urgent mark.

use rumpuser::Result;
use std::{
    ffi::c_int,
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

unsafe extern "C" {
    // POSIX has it, the crate libc not.
    fn sockatmark(socket: c_int) -> c_int;
}

/// Whether the next byte that is read from a socket is that of the urgent mark (`sockatmark`).
///
/// # Errors
/// What the host says: `ENOTTY`, `EINVAL` for what has no such mark.
pub fn at_mark(socket: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: the descriptor is open as long as it is borrowed, and the call takes nothing else.
    match unsafe { sockatmark(socket.as_raw_fd()) } {
        -1 => Err(crate::errno(&io::Error::last_os_error())),
        mark => Ok(mark == 1),
    }
}
