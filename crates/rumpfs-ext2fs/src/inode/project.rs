//! Projects: what inodes of several users are counted together as.

use super::Inode;
use crate::{
    error::{Error, Result},
    features::RoCompat,
    inode::InodeFlags,
    layout::inode::RawInodeExtra,
    superblock::Superblock,
};
use core::mem::offset_of;
use rumpuser::Errno;

/// What has to be there of an inode's second part for its project.
const EXTRA: u16 = 32;

impl Inode {
    /// The project of what is made in this directory.
    pub(crate) fn project_of_children(&self) -> u32 {
        match self.flags.contains(InodeFlags::PROJINHERIT) {
            true => self.projid,
            false => 0,
        }
    }

    /// Whether a name in this directory may lead to `inode`: one whose children have its project takes no others.
    ///
    /// # Errors
    /// `EXDEV`, as for Linux.
    pub(crate) fn admits(&self, inode: &Self) -> Result<()> {
        if self.flags.contains(InodeFlags::PROJINHERIT) && self.projid != inode.projid {
            return Err(Error::Refused(Errno::EXDEV));
        }
        Ok(())
    }

    /// Gives the inode to a project.
    ///
    /// # Errors
    /// `EOPNOTSUPP` on a volume without projects, `EOVERFLOW` if there is no room for it.
    pub(crate) fn set_project(&mut self, sb: &Superblock, project: u32) -> Result<()> {
        if !sb.features.ro_compat(RoCompat::PROJECT) {
            return Err(Error::Refused(Errno::EOPNOTSUPP));
        }
        // Of what came before the project it has all, and there is room for attributes that nobody uses.
        let can_grow = usize::from(self.extra_isize) == offset_of!(RawInodeExtra, i_projid)
            && !self.has_inode_xattrs
            && !self.flags.contains(InodeFlags::INLINE_DATA)
            && sb.inode_size >= 128 + EXTRA;
        if can_grow {
            self.extra_isize = EXTRA;
        }
        if self.extra_isize < EXTRA {
            return Err(Error::Refused(Errno::EOVERFLOW));
        }
        self.projid = project;
        Ok(())
    }
}

const _: () = assert!(size_of::<RawInodeExtra>() == EXTRA as usize);
