//! The file service: requests of clients to the engine.

use crate::clients::{Client, FileClient, OpenFile, Opened, StreamClient, TAKES_ID};
use crate::contents::Contents;
use crate::convert::{append_entry, attributes_of, changes_of, statistics_of};
use crate::known::KnownPaths;
use crate::locks::{Locks, lock_of};
use crate::mounts::Mounts;
use crate::node::Node;
use crate::paths;
use crate::user::User;
use crate::world::World;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};
use viper_proto::fs::{
    self, Attributes, Changes, LockRange, MountInfo, MountOptions, PathText, Serve, Statistics,
    TRANSFER_MAX, VolumeId, flags,
};
use viper_proto::stream;
use viper_rt::handle::{Channel, Memory};
use viper_rt::message::{Bytes, Reader};
use viper_rt::server::{Answer, Deferrable, NewClient, Outcome, Service, Sources};
use viper_rt::{Error, clock};
use viperfs::{MAX_LINK_TARGET, Quota, SeekTo, SetAttr, mode_after_write};

/// Messages that wait at a stream's end.
const STREAM_DEPTH: u32 = 4;
/// Most bytes of directory entries in one answer.
const ENTRIES_MAX: u64 = 64 * 1024;

/// The file server.
pub struct Fsd<W: World> {
    pub(crate) mounts: Mounts<W>,
    pub(crate) contents: Contents,
    pub(crate) known: KnownPaths,
    locks: Locks,
    clients: u64,
    /// The files of each client that came through the name service.
    opened: Vec<Rc<Opened>>,
    sources: Sources<Client>,
}

impl<W: World> Fsd<W> {
    /// A server of the volumes on the world's disks. Without one it serves errors.
    pub fn new(world: W, sources: Sources<Client>) -> Self {
        Fsd {
            mounts: Mounts::new(world),
            contents: Contents::new(),
            known: KnownPaths::new(),
            locks: Locks::new(),
            clients: 0,
            opened: Vec::new(),
            sources,
        }
    }

    /// Lets go of an open file. Deleting what has no name left is its business, too.
    fn release(&mut self, file: OpenFile) -> Result<(), Error> {
        let volume = self.mounts.of(file.node)?;
        let _ = volume.changing()?;
        volume.unpin(file.node.inode())
    }

    /// After a write to an open file.
    #[inline]
    pub(crate) fn wrote(&mut self, file: OpenFile) -> Result<(), Error> {
        match file.flags & TAKES_ID {
            0 => Ok(()),
            _ => self.take_id(file.node),
        }
    }

    /// Nobody runs as the owner of a file that others wrote to.
    #[cold]
    fn take_id(&mut self, node: Node) -> Result<(), Error> {
        let attr = self.mounts.attr(node)?;
        let nobody = User { user: 1, group: 1 };
        let mode = mode_after_write(attr.kind, attr.mode, &nobody.credentials());
        if mode == attr.mode {
            return Ok(());
        }
        let set = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        let volume = self.mounts.of(node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.setattr(node.inode(), &set, now).map(|_| ());
        volume.settle(result)
    }

    /// Names are about to go, or to lead elsewhere: what is known of paths may be wrong then, and
    /// files that rest would keep their blocks, or their volume.
    pub(crate) fn names_go(&mut self) {
        self.known.forget();
        self.mounts.changes.note();
        // A client whose file begins to rest after this sees the change.
        fence(Ordering::SeqCst);
        for at in 0..self.opened.len() {
            self.close_resting(at);
        }
    }

    /// Closes the files of a client that rest.
    fn close_resting(&mut self, client: usize) {
        while let Some(file) = self.opened.get(client).and_then(|o| o.take_resting()) {
            let _ = self.let_go(file);
        }
    }

    /// Room for another file of a client.
    fn make_room(&mut self, client: &FileClient) -> Result<(), Error> {
        let own = client.opened();
        if !own.has_room()
            && let Some(at) = self.opened.iter().position(|o| Rc::ptr_eq(o, own))
        {
            self.close_resting(at);
        }
        match own.has_room() {
            true => Ok(()),
            false => Err(Error::LimitReached),
        }
    }

    /// Lets go of an open file; that changes something only if it has no name left.
    fn let_go(&mut self, file: OpenFile) -> Result<(), Error> {
        if self.mounts.attr(file.node)?.nlink > 0 {
            return self.mounts.of(file.node)?.unpin(file.node.inode());
        }
        self.release(file)
    }

    fn try_read(
        &mut self,
        client: &FileClient,
        file: u32,
        position: u64,
        len: u64,
        offset: u64,
    ) -> Result<u64, Error> {
        let file = client.file_with(file, flags::READ)?;
        if file.is_directory {
            return Err(Error::IsDirectory);
        }
        let len = len.min(TRANSFER_MAX);
        let (shared, offset) = client.range(offset, len)?;
        let len = len as usize;
        let volume = self.mounts.of(file.node)?;
        Contents::read(volume, file.node.inode(), position, shared, offset, len)
    }

    fn try_write(
        &mut self,
        client: &FileClient,
        file: u32,
        position: u64,
        len: u64,
        offset: u64,
    ) -> Result<(u64, u64), Error> {
        let file = client.file_with(file, flags::WRITE)?;
        let len = len.min(TRANSFER_MAX);
        let (shared, offset) = client.range(offset, len)?;
        let position = match file.flags & flags::APPEND {
            0 => position,
            _ => self.mounts.attr(file.node)?.size,
        };
        let (inode, len) = (file.node.inode(), len as usize);
        let volume = self.mounts.of(file.node)?;
        let count = Contents::write(volume, inode, position, shared, offset, len)?;
        self.wrote(file)?;
        Ok((count, self.mounts.attr(file.node)?.size))
    }

    fn try_read_directory(
        &mut self,
        client: &FileClient,
        file: u32,
        cookie: u64,
        len: u64,
        offset: u64,
    ) -> Result<(u64, u64), Error> {
        let file = client.file(file)?;
        if !file.is_directory {
            return Err(Error::NotDirectory);
        }
        let max = len.min(ENTRIES_MAX);
        let (shared, offset) = client.range(offset, max)?;
        let mut bytes = Vec::new();
        let mut next = cookie;
        let mut is_short = false;
        let volume = self.mounts.of(file.node)?;
        let result = volume.fs()?.readdir(file.node.inode(), cookie, |entry| {
            let fits = append_entry(&mut bytes, max as usize, file.node, entry);
            if fits {
                next = entry.next;
            }
            is_short |= !fits;
            fits
        });
        volume.settle(result)?;
        if bytes.is_empty() && is_short {
            return Err(Error::InvalidArgument);
        }
        shared.write(offset, &bytes)?;
        Ok((bytes.len() as u64, next))
    }

    fn try_file_memory(&mut self, client: &FileClient, file: u32) -> Result<(u64, Memory), Error> {
        let file = client.file_with(file, flags::READ)?;
        if file.is_directory {
            return Err(Error::IsDirectory);
        }
        let attr = self.mounts.attr(file.node)?;
        let volume = self.mounts.of(file.node)?;
        let memory = self.contents.memory(volume, file.node, &attr)?;
        Ok((attr.size, memory))
    }
}

impl<W: World> Serve for Fsd<W> {
    type Client = FileClient;

    fn session(&mut self, client: &mut FileClient, memory: Memory) -> Result<(), Error> {
        client.share(&memory)
    }

    fn open(
        &mut self,
        client: &mut FileClient,
        wanted: u32,
        mode: u32,
        path: PathText,
    ) -> Result<(u32, Attributes), Error> {
        paths::check_flags(wanted)?;
        self.make_room(client)?;
        let known = match &path {
            PathText::Inline(path) if paths::follows(wanted) && client.user.is_root() => {
                self.known.find(path)
            }
            _ => None,
        };
        let (file, attr) = match known {
            Some(node) => self.open_node(client.user, node, wanted)?,
            None => {
                let opened = self.open_path(client.user, &client.path(&path)?, wanted, mode)?;
                if let (PathText::Inline(path), true) = (&path, paths::follows(wanted))
                    && client.user.is_root()
                {
                    self.known.note(path, opened.0.node);
                }
                opened
            }
        };
        self.mounts.of(file.node)?.pin(file.node.inode())?;
        let attributes = attributes_of(file.node, &attr);
        Ok((client.opened().insert(file), attributes))
    }

    fn close(&mut self, client: &mut FileClient, file: u32) -> Result<(), Error> {
        let file = client.opened().remove(file)?;
        if !client.opened().has_open(file.node) {
            self.locks.closed(file.node, client.number);
        }
        self.let_go(file)
    }

    #[inline]
    fn read(
        &mut self,
        client: &mut FileClient,
        _: Deferrable<u64>,
        file: u32,
        position: u64,
        len: u64,
        offset: u64,
    ) -> Outcome<u64> {
        Outcome::Now(self.try_read(client, file, position, len, offset))
    }

    fn write(
        &mut self,
        client: &mut FileClient,
        _: Deferrable<(u64, u64)>,
        file: u32,
        position: u64,
        len: u64,
        offset: u64,
    ) -> Outcome<(u64, u64)> {
        Outcome::Now(self.try_write(client, file, position, len, offset))
    }

    fn stat(&mut self, client: &mut FileClient, file: u32) -> Result<Attributes, Error> {
        let node = client.file(file)?.node;
        Ok(attributes_of(node, &self.mounts.attr(node)?))
    }

    fn stat_path(
        &mut self,
        client: &mut FileClient,
        follow: bool,
        path: PathText,
    ) -> Result<Attributes, Error> {
        let who = client.user;
        let known = match &path {
            PathText::Inline(path) if follow && who.is_root() => self.known.find(path),
            _ => None,
        };
        let node = match known {
            Some(node) => node,
            None => {
                let node = self.mounts.place(who, &client.path(&path)?, follow)?.node;
                if let (PathText::Inline(path), true) = (&path, follow && who.is_root()) {
                    self.known.note(path, node);
                }
                node
            }
        };
        Ok(attributes_of(node, &self.mounts.attr(node)?))
    }

    fn read_directory(
        &mut self,
        client: &mut FileClient,
        _: Deferrable<(u64, u64)>,
        file: u32,
        cookie: u64,
        len: u64,
        offset: u64,
    ) -> Outcome<(u64, u64)> {
        Outcome::Now(self.try_read_directory(client, file, cookie, len, offset))
    }

    fn make_directory(
        &mut self,
        client: &mut FileClient,
        mode: u32,
        path: PathText,
    ) -> Result<(), Error> {
        self.try_make_directory(client.user, &client.path(&path)?, mode)
    }

    fn unlink(&mut self, client: &mut FileClient, path: PathText) -> Result<(), Error> {
        self.try_unlink(client.user, &client.path(&path)?)
    }

    fn remove_directory(&mut self, client: &mut FileClient, path: PathText) -> Result<(), Error> {
        self.try_remove_directory(client.user, &client.path(&path)?)
    }

    fn rename(
        &mut self,
        client: &mut FileClient,
        from: PathText,
        to: PathText,
    ) -> Result<(), Error> {
        self.try_rename(client.user, &client.path(&from)?, &client.path(&to)?)
    }

    fn symlink(
        &mut self,
        client: &mut FileClient,
        target: PathText,
        path: PathText,
    ) -> Result<(), Error> {
        self.try_symlink(client.user, &client.text(&target)?, &client.path(&path)?)
    }

    fn read_link(
        &mut self,
        client: &mut FileClient,
        path: PathText,
        len: u64,
        offset: u64,
    ) -> Result<u64, Error> {
        let len = len.min(MAX_LINK_TARGET as u64);
        let (shared, offset) = client.range(offset, len)?;
        let path = client.path(&path)?;
        let node = self.mounts.place(client.user, &path, false)?.node;
        let target = self.mounts.read_link(node)?;
        let part = &target[..target.len().min(len as usize)];
        shared.write(offset, part)?;
        Ok(part.len() as u64)
    }

    fn link(&mut self, client: &mut FileClient, from: PathText, to: PathText) -> Result<(), Error> {
        self.try_link(client.user, &client.path(&from)?, &client.path(&to)?)
    }

    fn truncate(
        &mut self,
        client: &mut FileClient,
        file: u32,
        size_bytes: u64,
    ) -> Result<(), Error> {
        let file = client.file_with(file, flags::WRITE)?;
        let volume = self.mounts.of(file.node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.truncate(file.node.inode(), size_bytes, now);
        volume.settle(result)
    }

    fn set_attributes(
        &mut self,
        client: &mut FileClient,
        changes: Changes,
        path: PathText,
    ) -> Result<(), Error> {
        let set = changes_of(&changes)?;
        self.try_set_attributes(client.user, &client.path(&path)?, set)
    }

    fn sync_file(&mut self, client: &mut FileClient, _: Deferrable<()>, file: u32) -> Outcome<()> {
        Outcome::Now(self.sync_volume_of(client, file))
    }

    fn sync(&mut self, _: &mut FileClient, _: Deferrable<()>) -> Outcome<()> {
        Outcome::Now(self.mounts.sync())
    }

    fn statistics(&mut self, _: &mut FileClient) -> Result<Statistics, Error> {
        Ok(statistics_of(&self.mounts.of(Node::ROOT)?.fs()?.statfs()))
    }

    fn stream(
        &mut self,
        client: &mut FileClient,
        file: u32,
        position: u64,
    ) -> Result<Channel, Error> {
        let file = client.file(file)?;
        if file.is_directory {
            return Err(Error::IsDirectory);
        }
        let (ours, theirs) = Channel::pair(STREAM_DEPTH)?;
        self.mounts.of(file.node)?.pin(file.node.inode())?;
        self.sources
            .adopt(ours, Client::Stream(StreamClient { file, position }));
        Ok(theirs)
    }

    fn changes(&mut self, _: &mut FileClient) -> Result<Memory, Error> {
        self.mounts.changes.hand_out()
    }

    fn lock(
        &mut self,
        client: &mut FileClient,
        call: Deferrable<()>,
        file: u32,
        range: LockRange,
        deadline: u64,
    ) -> Outcome<()> {
        match client.file(file) {
            Ok(file) => {
                let lock = lock_of(client.number, client.process_id, &range);
                self.locks.lock(call, file.node, lock, deadline)
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn unlock(
        &mut self,
        client: &mut FileClient,
        file: u32,
        range: LockRange,
    ) -> Result<(), Error> {
        let file = client.file(file)?;
        self.locks.unlock(file.node, client.number, range)
    }

    fn lock_test(
        &mut self,
        client: &mut FileClient,
        file: u32,
        range: LockRange,
    ) -> Result<(LockRange, u64), Error> {
        let file = client.file(file)?;
        let lock = lock_of(client.number, client.process_id, &range);
        self.locks.test(file.node, &lock)
    }

    fn allocate(
        &mut self,
        client: &mut FileClient,
        file: u32,
        position: u64,
        len: u64,
        keep_size: bool,
    ) -> Result<(), Error> {
        let file = client.file_with(file, flags::WRITE)?;
        let volume = self.mounts.of(file.node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.allocate(file.node.inode(), position, len, keep_size, now);
        volume.settle(result)
    }

    fn punch(
        &mut self,
        client: &mut FileClient,
        file: u32,
        position: u64,
        len: u64,
    ) -> Result<(), Error> {
        let file = client.file_with(file, flags::WRITE)?;
        let volume = self.mounts.of(file.node)?;
        let (fs, now) = volume.changing()?;
        let result = fs.punch_hole(file.node.inode(), position, len, now);
        volume.settle(result)
    }

    fn seek(
        &mut self,
        client: &mut FileClient,
        file: u32,
        position: u64,
        to_hole: bool,
    ) -> Result<u64, Error> {
        let file = client.file_with(file, flags::READ)?;
        let to = match to_hole {
            true => SeekTo::Hole,
            false => SeekTo::Data,
        };
        // It may write what only the cache holds.
        let volume = self.mounts.of(file.node)?;
        let result = volume.fs()?.seek(file.node.inode(), position, to);
        volume.settle(result)?.ok_or(Error::NotFound)
    }

    fn volume(&mut self, _: &mut FileClient) -> Result<(VolumeId, Bytes), Error> {
        self.volume_of_node(Node::ROOT)
    }

    fn set_label(&mut self, client: &mut FileClient, label: Bytes) -> Result<(), Error> {
        client.user.administers()?;
        let label = label.as_str()?;
        let volume = self.mounts.of(Node::ROOT)?;
        let (fs, _) = volume.changing()?;
        let result = fs.set_label(label);
        volume.settle(result)
    }

    fn mount_at(
        &mut self,
        _: &mut FileClient,
        index: u32,
    ) -> Result<(MountInfo, Bytes, Bytes), Error> {
        self.try_mount_at(index)
    }

    fn mount(
        &mut self,
        client: &mut FileClient,
        options: MountOptions,
        device: Bytes,
        path: PathText,
    ) -> Result<Bytes, Error> {
        self.try_mount(
            client.user,
            &options,
            device.as_str()?,
            &client.path(&path)?,
        )
    }

    fn unmount(
        &mut self,
        client: &mut FileClient,
        force: bool,
        path: PathText,
    ) -> Result<(), Error> {
        self.try_unmount(client.user, &client.path(&path)?, force)
    }

    fn set_quota(
        &mut self,
        client: &mut FileClient,
        bytes: u64,
        inodes: u64,
        path: PathText,
    ) -> Result<(), Error> {
        client.user.administers()?;
        let node = self
            .mounts
            .place(client.user, &client.path(&path)?, true)?
            .node;
        self.mounts.set_quota(node, Quota { bytes, inodes })
    }

    fn volume_at(
        &mut self,
        client: &mut FileClient,
        path: PathText,
    ) -> Result<(VolumeId, Bytes), Error> {
        let place = self.mounts.place(client.user, &client.path(&path)?, true)?;
        self.volume_of_node(place.node)
    }

    fn statistics_at(
        &mut self,
        client: &mut FileClient,
        path: PathText,
    ) -> Result<Statistics, Error> {
        let place = self.mounts.place(client.user, &client.path(&path)?, true)?;
        Ok(statistics_of(&self.mounts.of(place.node)?.fs()?.statfs()))
    }

    fn sync_data(&mut self, client: &mut FileClient, _: Deferrable<()>, file: u32) -> Outcome<()> {
        Outcome::Now(self.sync_volume_of(client, file))
    }

    fn sync_volume(
        &mut self,
        client: &mut FileClient,
        _: Deferrable<()>,
        file: u32,
    ) -> Outcome<()> {
        Outcome::Now(self.sync_volume_of(client, file))
    }

    fn attribute_get(
        &mut self,
        client: &mut FileClient,
        flags: u32,
        path: PathText,
        name: PathText,
        len: u64,
        offset: u64,
    ) -> Result<u64, Error> {
        let value = {
            let (path, name) = (client.path(&path)?, client.text(&name)?);
            self.named_value(client.user, flags, &path, &name)?
        };
        client.give(&value, len, offset)
    }

    fn attribute_set(
        &mut self,
        client: &mut FileClient,
        flags: u32,
        path: PathText,
        name: PathText,
        len: u64,
        offset: u64,
    ) -> Result<(), Error> {
        let value = client.take(len, offset)?;
        let (path, name) = (client.path(&path)?, client.text(&name)?);
        self.set_named(client.user, flags, &path, &name, &value)
    }

    fn attribute_remove(
        &mut self,
        client: &mut FileClient,
        flags: u32,
        path: PathText,
        name: PathText,
    ) -> Result<(), Error> {
        let (path, name) = (client.path(&path)?, client.text(&name)?);
        self.remove_named(client.user, flags, &path, &name)
    }

    fn attribute_list(
        &mut self,
        client: &mut FileClient,
        flags: u32,
        path: PathText,
        len: u64,
        offset: u64,
    ) -> Result<u64, Error> {
        let names = self.list_named(client.user, flags, &client.path(&path)?)?;
        client.give(&names, len, offset)
    }

    fn resting(&mut self, client: &mut FileClient, offset: u64) -> Result<(), Error> {
        client.watch_resting(offset)
    }

    fn file_memory(
        &mut self,
        client: &mut FileClient,
        _: Deferrable<(u64, Memory)>,
        file: u32,
    ) -> Outcome<(u64, Memory)> {
        Outcome::Now(self.try_file_memory(client, file))
    }
}

impl<W: World> Service for Fsd<W> {
    type Client = Client;

    fn connect(&mut self, who: NewClient) -> Result<Client, Error> {
        self.clients += 1;
        let client = FileClient::new(self.clients, &who);
        self.opened.push(client.opened().clone());
        Ok(Client::Files(client))
    }

    #[inline]
    fn request(&mut self, client: &mut Client, request: Reader) -> Answer {
        match client {
            Client::Files(client) => fs::dispatch(self, client, request),
            Client::Stream(client) => stream::dispatch(self, client, request),
        }
    }

    fn disconnect(&mut self, client: Client) {
        match client {
            Client::Files(client) => {
                self.locks.gone(client.number);
                self.opened.retain(|o| !Rc::ptr_eq(o, client.opened()));
                let files = client.opened().take_all();
                files.into_iter().flatten().for_each(|file| {
                    let _ = self.release(file);
                });
            }
            Client::Stream(client) => {
                let _ = self.release(client.file);
            }
        }
    }

    #[inline]
    fn deadline(&self) -> u64 {
        self.mounts.deadline().min(self.locks.deadline())
    }

    fn timeout(&mut self) {
        if clock::now() >= self.mounts.deadline() {
            self.mounts.tidy();
        }
        self.locks.expire();
    }

    fn stop(&mut self) {
        self.mounts.stop();
    }
}
