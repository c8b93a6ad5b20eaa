//! Space of open files: `fallocate`, holes, and where data lies.

use crate::{
    calls::FileExtent,
    file::VnodeFile,
    pages::FilePages,
    perm,
    vnode::{Vnode, VnodeRef},
};
use alloc::vec::Vec;
use rumpkern::{FileType, OpenFlags};
use rumpuser::{Errno, Result};

fn pages(vnode: &Vnode) -> Result<&FilePages> {
    vnode.pages().ok_or(match vnode.file_type {
        FileType::Fifo => Errno::ESPIPE,
        FileType::Directory => Errno::EISDIR,
        _ => Errno::ENODEV,
    })
}

/// Checks what both need: open for writing, a writable mount, a range that is one.
fn writable(vnode: &Vnode, flags: OpenFlags, offset: u64, len: u64) -> Result<()> {
    if !flags.writes() {
        return Err(Errno::EBADF);
    }
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    if end > vnode.mount.limits.file_size_max {
        return Err(Errno::EFBIG);
    }
    vnode.mount.writable()
}

/// `posix_fallocate`, and without a change of size `FALLOC_FL_KEEP_SIZE`.
pub(crate) fn allocate(
    file: &VnodeFile,
    flags: OpenFlags,
    (offset, len): (u64, u64),
    keep_size: bool,
) -> Result<()> {
    let vnode = &file.vnode;
    let pages = pages(vnode)?;
    writable(vnode, flags, offset, len)?;
    let mount = &vnode.mount;
    let mut inode = vnode.exclusive()?;
    perm::extendable(vnode.protection())?;
    let mut result = pages.reserve(&mount.fs, &mut inode, offset, len, file.space);
    let end = offset + len;
    if result.is_ok() && !keep_size && end > vnode.size() {
        result = pages.truncate(&mount.fs, &mut inode, end, file.space, mount.now());
    }
    file.note_write(&mut inode, result)?;
    drop(inode);
    mount.changed()
}

/// `FALLOC_FL_PUNCH_HOLE`.
pub(crate) fn punch(file: &VnodeFile, flags: OpenFlags, offset: u64, len: u64) -> Result<()> {
    let vnode = &file.vnode;
    let pages = pages(vnode)?;
    writable(vnode, flags, offset, len)?;
    let mount = &vnode.mount;
    let mut inode = vnode.exclusive()?;
    perm::changeable(vnode.protection())?;
    let result = pages.punch(&mount.fs, &mut inode, offset, len, file.space);
    file.note_write(&mut inode, result)?;
    drop(inode);
    mount.changed()
}

/// Where the data in a range lies.
pub(crate) fn extents(vnode: &VnodeRef, offset: u64, len: u64) -> Result<Vec<FileExtent>> {
    let pages = vnode.pages().ok_or(Errno::EINVAL)?;
    let inode = vnode.shared()?;
    pages.extents(&vnode.mount.fs, &inode, vnode.size(), offset, len)
}
