//! Attributes with names.
//!
//! `user.` is everybody's who may read or write the file; other namespaces are user 0's to change.

use crate::node::Node;
use crate::service::Fsd;
use crate::user::User;
use crate::world::World;
use alloc::vec::Vec;
use viper_proto::fs::attribute;
use viper_rt::Error;
use viperfs::{Want, XattrMode};

const ALL: u32 = attribute::NO_FOLLOW | attribute::CREATE | attribute::REPLACE;
const OPEN_TO_ALL: &[u8] = b"user.";

impl<W: World> Fsd<W> {
    pub(crate) fn named_value(
        &mut self,
        who: User,
        flags: u32,
        path: &[u8],
        name: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let node = self.named(who, flags, path, Want::READ)?;
        let volume = self.mounts.of(node)?;
        let result = volume.fs()?.xattr(node.inode(), name);
        volume.settle(result)
    }

    pub(crate) fn set_named(
        &mut self,
        who: User,
        flags: u32,
        path: &[u8],
        name: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        let mode = match flags & (attribute::CREATE | attribute::REPLACE) {
            0 => XattrMode::Set,
            attribute::CREATE => XattrMode::Create,
            attribute::REPLACE => XattrMode::Replace,
            _ => return Err(Error::InvalidArgument),
        };
        let node = self.named_to_change(who, flags, path, name)?;
        let volume = self.mounts.of(node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.set_xattr(node.inode(), name, value, mode, now);
        volume.settle(result)
    }

    pub(crate) fn remove_named(
        &mut self,
        who: User,
        flags: u32,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), Error> {
        let node = self.named_to_change(who, flags, path, name)?;
        let volume = self.mounts.of(node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.remove_xattr(node.inode(), name, now);
        volume.settle(result)
    }

    /// The names, each with a zero byte behind it.
    pub(crate) fn list_named(
        &mut self,
        who: User,
        flags: u32,
        path: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let node = self.named(who, flags, path, Want::NOTHING)?;
        let mut names = Vec::new();
        let volume = self.mounts.of(node)?;
        let result = volume.fs()?.list_xattrs(node.inode(), |name| {
            names.extend_from_slice(name);
            names.push(0);
            true
        });
        volume.settle(result)?;
        Ok(names)
    }

    fn named(&mut self, who: User, flags: u32, path: &[u8], want: Want) -> Result<Node, Error> {
        if flags & !ALL != 0 {
            return Err(Error::InvalidArgument);
        }
        let follow = flags & attribute::NO_FOLLOW == 0;
        let node = self.mounts.place(who, path, follow)?.node;
        self.mounts.permit(who, node, want)?;
        Ok(node)
    }

    fn named_to_change(
        &mut self,
        who: User,
        flags: u32,
        path: &[u8],
        name: &[u8],
    ) -> Result<Node, Error> {
        who.check(name.starts_with(OPEN_TO_ALL))?;
        self.named(who, flags, path, Want::WRITE)
    }
}
