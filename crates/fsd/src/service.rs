//! The file service: requests of clients to the engine.

use crate::clients::{Client, FileClient, OpenFile, Opened, StreamClient};
use crate::contents::Contents;
use crate::convert::{append_entry, attributes_of, changes_of, statistics_of};
use crate::known::KnownPaths;
use crate::locks::{Locks, lock_of};
use crate::paths::{self, nameless};
use crate::volume::Volume;
use crate::world::World;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};
use viper_proto::fs::{
    self, Attributes, Changes, LockRange, PathText, Serve, Statistics, TRANSFER_MAX, VolumeId,
    flags,
};
use viper_proto::stream;
use viper_rt::handle::{Channel, Memory};
use viper_rt::message::{Bytes, Reader};
use viper_rt::server::{Answer, Deferrable, NewClient, Outcome, Service, Sources};
use viper_rt::{Error, clock};
use viperfs::{MAX_LINK_TARGET, NewNode, Owner, ROOT_INO, RenameMode, SeekTo};

/// Messages that wait at a stream's end.
const STREAM_DEPTH: u32 = 4;
/// Most bytes of directory entries in one answer.
const ENTRIES_MAX: u64 = 64 * 1024;

/// The file server.
pub struct Fsd<W: World> {
    pub(crate) volume: Volume<W>,
    contents: Contents,
    known: KnownPaths,
    locks: Locks,
    clients: u64,
    /// The files of each client that came through the name service.
    opened: Vec<Rc<Opened>>,
    sources: Sources<Client>,
}

impl<W: World> Fsd<W> {
    /// A server of the volume on the world's disk. Without one it serves errors.
    pub fn new(world: W, sources: Sources<Client>) -> Self {
        Fsd {
            volume: Volume::new(world),
            contents: Contents::new(),
            known: KnownPaths::new(),
            locks: Locks::new(),
            clients: 0,
            opened: Vec::new(),
            sources,
        }
    }

    fn pin(&mut self, inode: u64) -> Result<(), Error> {
        let result = self.volume.fs()?.pin(inode);
        self.volume.settle(result)
    }

    /// Lets go of an open file. Deleting what has no name left is its business, too.
    fn release(&mut self, file: OpenFile) -> Result<(), Error> {
        let (fs, _) = self.volume.changing()?;
        let result = fs.unpin(file.inode);
        self.volume.settle(result)
    }

    /// A name is about to go: what is known of paths may be wrong then, and files that rest under
    /// it would keep their blocks. That something changes must have been noted.
    fn names_go(&mut self) {
        self.known.forget();
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
        if self.attr(file.inode)?.nlink > 0 {
            let result = self.volume.fs()?.unpin(file.inode);
            return self.volume.settle(result);
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
        Contents::read(&mut self.volume, file.inode, position, shared, offset, len)
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
            _ => self.attr(file.inode)?.size,
        };
        let (inode, len) = (file.inode, len as usize);
        let count = Contents::write(&mut self.volume, inode, position, shared, offset, len)?;
        Ok((count, self.attr(inode)?.size))
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
        let result = self.volume.fs()?.readdir(file.inode, cookie, |entry| {
            let fits = append_entry(&mut bytes, max as usize, entry);
            if fits {
                next = entry.next;
            }
            is_short |= !fits;
            fits
        });
        self.volume.settle(result)?;
        if bytes.is_empty() && is_short {
            return Err(Error::InvalidArgument);
        }
        shared.write(offset, &bytes)?;
        Ok((bytes.len() as u64, next))
    }

    fn attr(&mut self, inode: u64) -> Result<viperfs::Attr, Error> {
        let result = self.volume.fs()?.getattr(inode);
        self.volume.settle(result)
    }

    fn walk(&mut self, path: &[u8], follow: bool) -> Result<u64, Error> {
        let result = self.volume.fs()?.walk(ROOT_INO, path, follow);
        self.volume.settle(result)
    }

    /// The directory and last name of a path; `otherwise` for a path that has no last name.
    fn parent<'p>(&mut self, path: &'p [u8], otherwise: Error) -> Result<(u64, &'p [u8]), Error> {
        match self.volume.fs()?.walk_parent(ROOT_INO, path) {
            Err(error @ viperfs::Error::InvalidName) => Err(nameless(error, otherwise)),
            result => self.volume.settle(result),
        }
    }

    fn try_file_memory(&mut self, client: &FileClient, file: u32) -> Result<(u64, Memory), Error> {
        let file = client.file_with(file, flags::READ)?;
        if file.is_directory {
            return Err(Error::IsDirectory);
        }
        let attr = self.attr(file.inode)?;
        Ok((attr.size, self.contents.memory(&mut self.volume, &attr)?))
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
        let (fs, now) = match paths::may_change(wanted) {
            true => self.volume.changing()?,
            false => (self.volume.fs()?, 0),
        };
        let inode = match &path {
            PathText::Inline(path) if paths::follows(wanted) => self.known.find(path),
            _ => None,
        };
        let result = match inode {
            Some(inode) => paths::open_inode(fs, inode, wanted, now),
            None => paths::open(fs, &client.path(&path)?, wanted, mode, now),
        };
        let (file, attr) = self.volume.settle(result)?;
        if let (None, PathText::Inline(path), true) = (inode, &path, paths::follows(wanted)) {
            self.known.note(path, file.inode);
        }
        self.pin(file.inode)?;
        Ok((client.opened().insert(file), attributes_of(&attr)))
    }

    fn close(&mut self, client: &mut FileClient, file: u32) -> Result<(), Error> {
        let file = client.opened().remove(file)?;
        if !client.opened().has_open(file.inode) {
            self.locks.closed(file.inode, client.number);
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
        Ok(attributes_of(&self.attr(client.file(file)?.inode)?))
    }

    fn stat_path(
        &mut self,
        client: &mut FileClient,
        follow: bool,
        path: PathText,
    ) -> Result<Attributes, Error> {
        let inode = match &path {
            PathText::Inline(path) if follow => self.known.find(path),
            _ => None,
        };
        let inode = match inode {
            Some(inode) => inode,
            None => {
                let inode = self.walk(&client.path(&path)?, follow)?;
                if let (PathText::Inline(path), true) = (&path, follow) {
                    self.known.note(path, inode);
                }
                inode
            }
        };
        Ok(attributes_of(&self.attr(inode)?))
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
        let path = client.path(&path)?;
        let (parent, name) = self.parent(&path, Error::AlreadyExists)?;
        let node = NewNode {
            kind: viperfs::FileKind::Directory,
            mode,
            owner: Owner::default(),
            rdev: 0,
        };
        let (fs, now) = self.volume.changing()?;
        let result = fs.make_node(parent, name, &node, now).map(|_| ());
        self.volume.settle(result)
    }

    fn unlink(&mut self, client: &mut FileClient, path: PathText) -> Result<(), Error> {
        let path = client.path(&path)?;
        let (parent, name) = self.parent(&path, Error::IsDirectory)?;
        self.volume.changing()?;
        self.names_go();
        let (fs, now) = self.volume.changing()?;
        let result = fs.unlink(parent, name, now);
        self.volume.settle(result)
    }

    fn remove_directory(&mut self, client: &mut FileClient, path: PathText) -> Result<(), Error> {
        let path = client.path(&path)?;
        let (parent, name) = self.parent(&path, Error::Busy)?;
        self.volume.changing()?;
        self.names_go();
        let (fs, now) = self.volume.changing()?;
        let result = fs.rmdir(parent, name, now);
        self.volume.settle(result)
    }

    fn rename(
        &mut self,
        client: &mut FileClient,
        from: PathText,
        to: PathText,
    ) -> Result<(), Error> {
        let (from, to) = (client.path(&from)?, client.path(&to)?);
        let (old, old_name) = self.parent(&from, Error::Busy)?;
        let (new, new_name) = self.parent(&to, Error::Busy)?;
        self.volume.changing()?;
        self.names_go();
        let (fs, now) = self.volume.changing()?;
        let result = fs.rename(old, old_name, new, new_name, RenameMode::Replace, now);
        self.volume.settle(result)
    }

    fn symlink(
        &mut self,
        client: &mut FileClient,
        target: PathText,
        path: PathText,
    ) -> Result<(), Error> {
        let (target, path) = (client.text(&target)?, client.path(&path)?);
        let (parent, name) = self.parent(&path, Error::AlreadyExists)?;
        let (fs, now) = self.volume.changing()?;
        let result = fs
            .symlink(parent, name, &target, Owner::default(), now)
            .map(|_| ());
        self.volume.settle(result)
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
        let inode = self.walk(&client.path(&path)?, false)?;
        let result = self.volume.fs()?.readlink(inode);
        let target = self.volume.settle(result)?;
        let part = &target[..target.len().min(len as usize)];
        shared.write(offset, part)?;
        Ok(part.len() as u64)
    }

    fn link(&mut self, client: &mut FileClient, from: PathText, to: PathText) -> Result<(), Error> {
        let (from, to) = (client.path(&from)?, client.path(&to)?);
        let inode = self.walk(&from, false)?;
        let (parent, name) = self.parent(&to, Error::AlreadyExists)?;
        let (fs, now) = self.volume.changing()?;
        let result = fs.link(inode, parent, name, now).map(|_| ());
        self.volume.settle(result)
    }

    fn truncate(
        &mut self,
        client: &mut FileClient,
        file: u32,
        size_bytes: u64,
    ) -> Result<(), Error> {
        let file = client.file_with(file, flags::WRITE)?;
        let (fs, now) = self.volume.changing()?;
        let result = fs.truncate(file.inode, size_bytes, now);
        self.volume.settle(result)
    }

    fn set_attributes(
        &mut self,
        client: &mut FileClient,
        changes: Changes,
        path: PathText,
    ) -> Result<(), Error> {
        let set = changes_of(&changes)?;
        let inode = self.walk(&client.path(&path)?, true)?;
        let (fs, now) = self.volume.changing()?;
        let result = fs.setattr(inode, &set, now).map(|_| ());
        self.volume.settle(result)
    }

    fn sync_file(&mut self, client: &mut FileClient, _: Deferrable<()>, file: u32) -> Outcome<()> {
        // One commit makes everything durable.
        Outcome::Now(client.file(file).and_then(|_| self.volume.sync()))
    }

    fn sync(&mut self, _: &mut FileClient, _: Deferrable<()>) -> Outcome<()> {
        Outcome::Now(self.volume.sync())
    }

    fn statistics(&mut self, _: &mut FileClient) -> Result<Statistics, Error> {
        Ok(statistics_of(&self.volume.fs()?.statfs()))
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
        self.pin(file.inode)?;
        self.sources
            .adopt(ours, Client::Stream(StreamClient { file, position }));
        Ok(theirs)
    }

    fn changes(&mut self, _: &mut FileClient) -> Result<Memory, Error> {
        self.volume.changes.hand_out()
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
                self.locks.lock(call, file.inode, lock, deadline)
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
        self.locks.unlock(file.inode, client.number, range)
    }

    fn lock_test(
        &mut self,
        client: &mut FileClient,
        file: u32,
        range: LockRange,
    ) -> Result<(LockRange, u64), Error> {
        let file = client.file(file)?;
        let lock = lock_of(client.number, client.process_id, &range);
        self.locks.test(file.inode, &lock)
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
        let (fs, now) = self.volume.changing()?;
        let result = fs.allocate(file.inode, position, len, keep_size, now);
        self.volume.settle(result)
    }

    fn punch(
        &mut self,
        client: &mut FileClient,
        file: u32,
        position: u64,
        len: u64,
    ) -> Result<(), Error> {
        let file = client.file_with(file, flags::WRITE)?;
        let (fs, now) = self.volume.changing()?;
        let result = fs.punch_hole(file.inode, position, len, now);
        self.volume.settle(result)
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
        let result = self.volume.fs()?.seek(file.inode, position, to);
        self.volume.settle(result)?.ok_or(Error::NotFound)
    }

    fn volume(&mut self, _: &mut FileClient) -> Result<(VolumeId, Bytes), Error> {
        let stat = self.volume.fs()?.statfs();
        let (high, low) = stat.uuid.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
        let volume = VolumeId {
            uuid_high: number(high),
            uuid_low: number(low),
            failed: stat.failed,
        };
        Ok((volume, Bytes::new(stat.label.as_bytes())?))
    }

    fn set_label(&mut self, _: &mut FileClient, label: Bytes) -> Result<(), Error> {
        let label = label.as_str()?;
        let (fs, _) = self.volume.changing()?;
        let result = fs.set_label(label);
        self.volume.settle(result)
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
        let client = FileClient::new(self.clients, who.process_id);
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
        self.volume.deadline().min(self.locks.deadline())
    }

    fn timeout(&mut self) {
        if clock::now() >= self.volume.deadline() {
            self.volume.tidy();
        }
        self.locks.expire();
    }

    fn stop(&mut self) {
        self.volume.unmount();
    }
}
