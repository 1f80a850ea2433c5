//! Opening by path, over all volumes and for every user.

use crate::clients::{OpenFile, TAKES_ID};
use crate::node::Node;
use crate::paths;
use crate::service::Fsd;
use crate::user::User;
use crate::walk::Place;
use crate::world::World;
use viper_proto::fs::flags;
use viper_rt::Error;
use viperfs::{Attr, FileKind, MAX_LINKS, Want};

impl<W: World> Fsd<W> {
    /// Opens the file that a path leads to, or makes it. It is not pinned yet.
    ///
    /// # Errors
    /// As OPEN documents.
    pub(crate) fn open_path(
        &mut self,
        who: User,
        path: &[u8],
        wanted: u32,
        mode: u32,
    ) -> Result<(OpenFile, Attr), Error> {
        if !self.mounts.is_plain(who) {
            return self.open_across(who, path, wanted, mode);
        }
        let volume = self.mounts.of(Node::ROOT)?;
        let (fs, now) = match paths::may_change(wanted) {
            true => volume.changing()?,
            false => (volume.fs()?, 0),
        };
        let result = paths::open(fs, path, wanted, mode, now);
        volume.settle(result)
    }

    /// Opens a file that is there, as far as the client may.
    ///
    /// # Errors
    /// As OPEN documents.
    pub(crate) fn open_node(
        &mut self,
        who: User,
        node: Node,
        wanted: u32,
    ) -> Result<(OpenFile, Attr), Error> {
        if !who.is_root() {
            self.mounts.permit(who, node, wants(wanted))?;
        }
        let volume = self.mounts.of(node)?;
        let (fs, now) = match paths::may_change(wanted) {
            true => volume.changing()?,
            false => (volume.fs()?, 0),
        };
        let result = paths::open_node(fs, node, wanted, now);
        let (file, attr) = volume.settle(result)?;
        Ok((guarded(file, who), attr))
    }

    fn open_across(
        &mut self,
        who: User,
        path: &[u8],
        wanted: u32,
        mode: u32,
    ) -> Result<(OpenFile, Attr), Error> {
        if wanted & flags::CREATE == 0 {
            let follow = wanted & flags::NO_FOLLOW == 0;
            let node = self.mounts.place(who, path, follow)?.node;
            return self.open_node(who, node, wanted);
        }
        let mut path = path.to_vec();
        for _ in 0..MAX_LINKS {
            // The root, `..` and the like have no last name, but they exist.
            let nameless = Error::LockLost;
            let (directory, name) = match self.mounts.parent(who, &path, nameless) {
                Err(error) if error == nameless => return self.found(who, &path, wanted),
                result => result?,
            };
            let node = match self.mounts.lookup(who, directory.node, name) {
                Err(Error::NotFound) if path.last() == Some(&b'/') => {
                    return Err(Error::IsDirectory);
                }
                Err(Error::NotFound) => {
                    return self.make_file(who, &directory, name, wanted, mode);
                }
                result => result?,
            };
            let follow = paths::follows(wanted);
            if !follow || self.mounts.attr(node)?.kind != FileKind::Symlink {
                return self.found(who, &path, wanted);
            }
            // As POSIX has it: a link that leads nowhere makes the file where it leads.
            let target = self.mounts.read_link(node)?;
            path = match target.first() {
                Some(b'/') => target,
                _ => directory.join(&target),
            };
        }
        Err(Error::Loop)
    }

    /// With CREATE, but it is there.
    fn found(&mut self, who: User, path: &[u8], wanted: u32) -> Result<(OpenFile, Attr), Error> {
        let node = self.mounts.place(who, path, paths::follows(wanted))?.node;
        match wanted & flags::EXCLUSIVE {
            0 => self.open_node(who, node, wanted),
            _ => Err(Error::AlreadyExists),
        }
    }

    /// A new file is its maker's to read and write, whatever its mode says.
    fn make_file(
        &mut self,
        who: User,
        directory: &Place,
        name: &[u8],
        wanted: u32,
        mode: u32,
    ) -> Result<(OpenFile, Attr), Error> {
        let parent = directory.node;
        self.mounts
            .permit(who, parent, Want::WRITE | Want::EXECUTE)?;
        let volume = self.mounts.of(parent)?;
        let (fs, now) = volume.changing()?;
        let result = fs.create(parent.inode(), name, mode, who.owner(), now);
        let attr = volume.settle(result)?;
        let file = OpenFile {
            node: parent.beside(attr.ino),
            flags: wanted,
            is_directory: false,
        };
        Ok((guarded(file, who), attr))
    }
}

/// A file that others than user 0 write to loses the bits that let others act for its owner.
fn guarded(file: OpenFile, who: User) -> OpenFile {
    let takes = !who.is_root() && file.flags & flags::WRITE != 0;
    OpenFile {
        flags: file.flags | if takes { TAKES_ID } else { 0 },
        ..file
    }
}

/// What opening with these flags asks of the file.
fn wants(wanted: u32) -> Want {
    let mut want = Want::NOTHING;
    if wanted & flags::READ != 0 {
        want = want | Want::READ;
    }
    if wanted & (flags::WRITE | flags::TRUNCATE) != 0 {
        want = want | Want::WRITE;
    }
    want
}
