//! Operations on names, over all volumes and for every user.

use crate::node::Node;
use crate::service::Fsd;
use crate::user::User;
use crate::walk::Place;
use crate::world::World;
use viper_rt::Error;
use viperfs::{FileKind, NewNode, RenameMode, SetAttr, Want, may_remove, mode_after_write};

impl<W: World> Fsd<W> {
    pub(crate) fn try_make_directory(
        &mut self,
        who: User,
        path: &[u8],
        mode: u32,
    ) -> Result<(), Error> {
        let (parent, name) = self.mounts.parent(who, path, Error::AlreadyExists)?;
        let parent = self.to_change(who, &parent)?;
        let node = NewNode {
            kind: FileKind::Directory,
            mode,
            owner: who.owner(),
            rdev: 0,
        };
        let volume = self.mounts.of(parent)?;
        let (fs, now) = volume.changing()?;
        let result = fs.make_node(parent.inode(), name, &node, now).map(|_| ());
        volume.settle(result)
    }

    pub(crate) fn try_unlink(&mut self, who: User, path: &[u8]) -> Result<(), Error> {
        let (parent, name) = self.mounts.parent(who, path, Error::IsDirectory)?;
        self.may_remove(who, parent.node, name)?;
        self.names_go();
        let volume = self.mounts.of(parent.node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.unlink(parent.node.inode(), name, now);
        volume.settle(result)
    }

    pub(crate) fn try_remove_directory(&mut self, who: User, path: &[u8]) -> Result<(), Error> {
        let (parent, name) = self.mounts.parent(who, path, Error::Busy)?;
        self.may_remove(who, parent.node, name)?;
        self.is_not_mounted_on(&parent, name)?;
        self.names_go();
        let volume = self.mounts.of(parent.node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.rmdir(parent.node.inode(), name, now);
        volume.settle(result)
    }

    pub(crate) fn try_rename(&mut self, who: User, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let (old, old_name) = self.mounts.parent(who, from, Error::Busy)?;
        let (new, new_name) = self.mounts.parent(who, to, Error::Busy)?;
        if old.node.volume() != new.node.volume() {
            return Err(Error::CrossDevice);
        }
        self.may_remove(who, old.node, old_name)?;
        self.may_replace(who, &new, new_name)?;
        self.is_not_mounted_on(&old, old_name)?;
        self.is_not_mounted_on(&new, new_name)?;
        self.names_go();
        let volume = self.mounts.of(old.node)?;
        let (fs, now) = volume.changing()?;
        let (from, to) = (old.node.inode(), new.node.inode());
        let result = fs.rename(from, old_name, to, new_name, RenameMode::Replace, now);
        volume.settle(result)
    }

    pub(crate) fn try_symlink(
        &mut self,
        who: User,
        target: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        let (parent, name) = self.mounts.parent(who, path, Error::AlreadyExists)?;
        let parent = self.to_change(who, &parent)?;
        let volume = self.mounts.of(parent)?;
        let (fs, now) = volume.changing()?;
        let made = fs.symlink(parent.inode(), name, target, who.owner(), now);
        volume.settle(made.map(|_| ()))
    }

    pub(crate) fn try_link(&mut self, who: User, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let node = self.mounts.place(who, from, false)?.node;
        let (parent, name) = self.mounts.parent(who, to, Error::AlreadyExists)?;
        if node.volume() != parent.node.volume() {
            return Err(Error::CrossDevice);
        }
        if !who.is_root() {
            // A name of a file that is not theirs would keep it after its owner removed it.
            let attr = self.mounts.attr(node)?;
            let writes = attr.permits(&who.credentials(), Want::READ | Want::WRITE);
            who.check(attr.uid == who.user || writes)?;
        }
        let parent = self.to_change(who, &parent)?;
        let volume = self.mounts.of(parent)?;
        let (fs, now) = volume.changing()?;
        let result = fs.link(node.inode(), parent.inode(), name, now).map(|_| ());
        volume.settle(result)
    }

    /// The owner changes the mode, the group to their own, and the times; user 0 everything.
    /// Setting the times to now is anybody's who may write, which this protocol cannot tell apart.
    pub(crate) fn try_set_attributes(
        &mut self,
        who: User,
        path: &[u8],
        mut set: SetAttr,
    ) -> Result<(), Error> {
        let node = self.mounts.place(who, path, true)?.node;
        if !who.is_root() {
            let attr = self.mounts.attr(node)?;
            who.owns(&attr)?;
            who.check(set.uid.is_none_or(|uid| uid == attr.uid))?;
            who.check(
                set.gid
                    .is_none_or(|gid| gid == attr.gid || gid == who.group),
            )?;
            let mode = set.mode.unwrap_or(attr.mode);
            if set.gid.is_some_and(|gid| gid != attr.gid) {
                let taken = mode_after_write(attr.kind, mode, &who.credentials());
                set.mode = Some(taken).filter(|&mode| mode != attr.mode).or(set.mode);
            }
        }
        let volume = self.mounts.of(node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.setattr(node.inode(), &set, now).map(|_| ());
        volume.settle(result)
    }

    /// A directory that is theirs to put names into.
    fn to_change(&mut self, who: User, directory: &Place) -> Result<Node, Error> {
        let node = directory.node;
        self.mounts.permit(who, node, Want::WRITE | Want::EXECUTE)?;
        Ok(node)
    }

    fn may_remove(&mut self, who: User, directory: Node, name: &[u8]) -> Result<(), Error> {
        if who.is_root() {
            return Ok(());
        }
        let child = self.mounts.lookup(who, directory, name)?;
        let (directory, child) = (self.mounts.attr(directory)?, self.mounts.attr(child)?);
        who.check(may_remove(&directory, &child, &who.credentials()))
    }

    /// Whether a name may be put there, in the place of what has it.
    fn may_replace(&mut self, who: User, directory: &Place, name: &[u8]) -> Result<(), Error> {
        if who.is_root() {
            return Ok(());
        }
        match self.may_remove(who, directory.node, name) {
            Err(Error::NotFound) => self.to_change(who, directory).map(|_| ()),
            result => result,
        }
    }

    /// A directory that something is mounted on, or below, stays where it is.
    fn is_not_mounted_on(&mut self, directory: &Place, name: &[u8]) -> Result<(), Error> {
        if self.mounts.is_single() || !self.mounts.table.holds(&directory.join(name)) {
            Ok(())
        } else {
            Err(Error::Busy)
        }
    }
}
