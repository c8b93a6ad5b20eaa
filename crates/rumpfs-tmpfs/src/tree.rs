//! Creating, linking, removing, renaming.

use crate::{
    Tmpfs,
    dir::Dir,
    node::{Kind, LINK_MAX, Node, Regular},
    xattr::Xattrs,
};
use alloc::boxed::Box;
use rumpuser::{Errno, PackedTime, Result, Timespec};
use rumpvfs::{
    fs::{DirSlot, Ino, NewInode, NewKind, Rename, XattrMode},
    name::Name,
};

impl Tmpfs {
    /// Makes an inode, without a name and with a link count of 0; for a directory in `parent`.
    pub(crate) fn make(&self, new: &NewInode, parent: Option<Ino>) -> Result<Node> {
        let kind = match &new.kind {
            NewKind::Regular => Kind::Regular(Regular::default()),
            NewKind::Directory => {
                Kind::Directory(Box::new(Dir::new(parent.ok_or(Errno::EOPNOTSUPP)?)))
            }
            NewKind::Symlink(target) => Kind::Symlink(target.as_slice().into()),
            NewKind::Fifo => Kind::Fifo,
            NewKind::Socket => Kind::Socket,
            NewKind::Block(device) => Kind::Block(*device),
            NewKind::Character(device) => Kind::Character(*device),
        };
        let mut xattrs = Xattrs::default();
        for (name, value) in &new.xattrs {
            xattrs.cost(name, value, XattrMode::Set)?;
            xattrs.set(name, value);
        }
        let time = PackedTime::new(new.time);
        let node = Node {
            ino: self.inodes.take_new()?,
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            flags: 0,
            nlink: 0,
            atime: time,
            mtime: time,
            ctime: time,
            birthtime: time,
            xattrs,
            kind,
        };
        let space = node.space();
        if space > 0 {
            self.space.take(space).inspect_err(|_| self.inodes.give())?;
        }
        Ok(node)
    }

    /// Makes an inode with a name.
    pub(crate) fn create_in(
        &self,
        dir: &mut Node,
        slot: DirSlot,
        name: Name<'_>,
        new: &NewInode,
    ) -> Result<Node> {
        let is_dir = new.kind == NewKind::Directory;
        alive(dir)?;
        let dir_links = more_links(dir, is_dir)?;
        let hash = self.hash(slot, name);
        let ino = dir.ino;
        let entries = dir.dir_mut()?;
        entries.room()?;
        let mut node = self.make(new, Some(ino))?;
        node.nlink = if is_dir { 2 } else { 1 };
        entries.insert(hash, name, node.ino, node.file_type());
        dir.nlink = dir_links;
        dir.changed(new.time);
        Ok(node)
    }

    /// Gives an inode one more name.
    pub(crate) fn link_in(
        &self,
        dir: &mut Node,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut Node,
        time: Timespec,
    ) -> Result<()> {
        alive(dir)?;
        if target.is_dir() {
            return Err(Errno::EPERM);
        }
        let links = more_links(target, true)?;
        let hash = self.hash(slot, name);
        let entries = dir.dir_mut()?;
        entries.room()?;
        // The first name came with the inode.
        if target.nlink > 0 {
            self.inodes.take()?;
        }
        entries.insert(hash, name, target.ino, target.file_type());
        target.nlink = links;
        target.ctime = PackedTime::new(time);
        dir.changed(time);
        Ok(())
    }

    /// Takes a name away.
    pub(crate) fn unlink_in(
        &self,
        dir: &mut Node,
        slot: DirSlot,
        name: Name<'_>,
        target: &mut Node,
        time: Timespec,
    ) -> Result<()> {
        check_empty(target)?;
        let hash = self.hash(slot, name);
        dir.dir_mut()?.remove(hash, name);
        if target.is_dir() {
            dir.nlink = dir.nlink.saturating_sub(1);
        }
        dir.changed(time);
        self.lose_name(target, time);
        Ok(())
    }

    /// An inode has lost a name.
    fn lose_name(&self, node: &mut Node, time: Timespec) {
        node.ctime = PackedTime::new(time);
        if node.is_dir() {
            node.nlink = 0;
            return;
        }
        node.nlink = node.nlink.saturating_sub(1);
        // The last name goes with the inode.
        if node.nlink > 0 {
            self.inodes.give();
        }
    }

    /// Renames.
    pub(crate) fn move_entry(&self, op: Rename<'_, Node>) -> Result<()> {
        if op.exchange {
            self.exchange(op)
        } else {
            self.rename_over(op)
        }
    }

    fn rename_over(&self, op: Rename<'_, Node>) -> Result<()> {
        let Rename {
            from_dir,
            mut to_dir,
            inode,
            replaced,
            time,
            ..
        } = op;
        let ((from, from_slot), (to, to_slot)) = (op.from, op.to);
        let (from_hash, to_hash) = (self.hash(from_slot, from), self.hash(to_slot, to));
        // Everything that can fail comes first.
        from_dir.dir()?;
        if let Some(replaced) = replaced.as_deref() {
            check_empty(replaced)?;
        }
        if let Some(to_dir) = to_dir.as_deref() {
            to_dir.dir()?;
            alive(to_dir)?;
            more_links(to_dir, inode.is_dir())?;
        }
        to_dir.as_deref().unwrap_or(from_dir).dir()?.room()?;
        let entry = (inode.ino, inode.file_type());
        let target = to_dir.as_deref_mut().unwrap_or(from_dir);
        match replaced.is_some() {
            true => target.dir_mut()?.replace(to_hash, to, entry.0, entry.1),
            false => target.dir_mut()?.insert(to_hash, to, entry.0, entry.1),
        }
        if let Some(replaced) = replaced {
            if replaced.is_dir() {
                target.nlink = target.nlink.saturating_sub(1);
            }
            self.lose_name(replaced, time);
        }
        from_dir.dir_mut()?.remove(from_hash, from);
        from_dir.changed(time);
        if let Some(to_dir) = to_dir {
            move_dir(inode, from_dir, to_dir)?;
            to_dir.changed(time);
        }
        inode.ctime = PackedTime::new(time);
        Ok(())
    }

    fn exchange(&self, op: Rename<'_, Node>) -> Result<()> {
        let Rename {
            from_dir,
            mut to_dir,
            inode,
            replaced,
            time,
            ..
        } = op;
        let ((from, from_slot), (to, to_slot)) = (op.from, op.to);
        let (from_hash, to_hash) = (self.hash(from_slot, from), self.hash(to_slot, to));
        let other = replaced.ok_or(Errno::ENOENT)?;
        from_dir.dir()?;
        if let Some(to_dir) = to_dir.as_deref() {
            to_dir.dir()?;
            more_links(to_dir, inode.is_dir())?;
            more_links(from_dir, other.is_dir())?;
        }
        let target = to_dir.as_deref_mut().unwrap_or(from_dir);
        let entries = target.dir_mut()?;
        entries.replace(to_hash, to, inode.ino, inode.file_type());
        let entries = from_dir.dir_mut()?;
        entries.replace(from_hash, from, other.ino, other.file_type());
        from_dir.changed(time);
        if let Some(to_dir) = to_dir {
            move_dir(inode, from_dir, to_dir)?;
            move_dir(other, to_dir, from_dir)?;
            to_dir.changed(time);
        }
        inode.ctime = PackedTime::new(time);
        other.ctime = PackedTime::new(time);
        Ok(())
    }
}

/// A moved directory's `..` and what it means for the link counts of its parents.
fn move_dir(inode: &mut Node, from: &mut Node, to: &mut Node) -> Result<()> {
    if inode.is_dir() {
        inode.dir_mut()?.parent = to.ino;
        from.nlink = from.nlink.saturating_sub(1);
        to.nlink = to.nlink.saturating_add(1);
    }
    Ok(())
}

/// Nothing is made in a directory that was removed.
fn alive(dir: &Node) -> Result<()> {
    if dir.nlink == 0 {
        return Err(Errno::ENOENT);
    }
    Ok(())
}

/// The link count after one more, if there is `one`.
fn more_links(node: &Node, one: bool) -> Result<u64> {
    if one && node.nlink >= LINK_MAX {
        return Err(Errno::EMLINK);
    }
    Ok(node.nlink.saturating_add(u64::from(one)))
}

fn check_empty(node: &Node) -> Result<()> {
    match &node.kind {
        Kind::Directory(dir) if !dir.is_empty() => Err(Errno::ENOTEMPTY),
        _ => Ok(()),
    }
}
