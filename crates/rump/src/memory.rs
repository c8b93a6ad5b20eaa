//! How much memory this program takes, and how the C library keeps it.

/// How much address space a server, or a command that reads images, may have in bytes.
pub(crate) const ADDRESSES: u64 = 8 << 30;
/// Freed memory that is kept for the next piece of work rather than given back to the host, in bytes.
const KEPT: libc::c_int = 64 << 20;
/// How much is asked of the host at once, in bytes.
const STEP: libc::c_int = 1 << 20;
/// Pieces from this size on come from the host alone and go back to it, in bytes.
const LARGE: libc::c_int = 4 << 20;

/// Tells the C library that this program ends soon: to give memory back between two directories and to fault it in again takes longer than
/// to list them.
pub(crate) fn keep() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_TRIM_THRESHOLD, KEPT),
        (libc::M_TOP_PAD, STEP),
        (libc::M_MMAP_THRESHOLD, LARGE),
    ] {
        // SAFETY: mallopt takes its own lock and keeps no pointer; what it does not understand it leaves as it is.
        unsafe { libc::mallopt(what, value) };
    }
}
