//! The volumes, and where they are mounted.
//!
//! The first is at `/`. While it is the only one, everything is on it, and nothing is looked up.
//! A mount is kept with the supervisor, under its number: a server that follows one that died has
//! the same volumes under the same numbers, so that clients find their files again.

use crate::changes::{Changes, outlast_leases};
use crate::device::Device;
use crate::node::{Node, VOLUMES_MAX};
use crate::uses::Uses;
use crate::volume::{How, Volume};
use crate::world::World;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::fs::MOUNT_PATH_MAX;
use viper_rt::{Error, clock};
use viperfs::{MountTable, Quota};

/// The volumes.
pub(crate) struct Mounts<W: World> {
    world: W,
    root: Volume<W>,
    /// Those mounted elsewhere, from number 1 on.
    others: Vec<Option<Volume<W>>>,
    /// The numbers of the others by their paths.
    pub(crate) table: MountTable<u32>,
    uses: Rc<Uses>,
    pub(crate) changes: Rc<Changes>,
}

impl<W: World> Mounts<W> {
    /// The first volume, and what the server before this one had mounted.
    pub(crate) fn new(world: W) -> Self {
        let started_ns = clock::now();
        let (uses, changes) = (Rc::new(Uses::default()), Rc::new(Changes::new()));
        let shared = (&uses, &changes);
        let first = Device::FIRST;
        let mut root = Volume::new(world.clone(), 0, String::new(), first, How::PLAIN, shared);
        root.mount();
        let mut mounts = Mounts {
            world,
            root,
            others: Vec::new(),
            table: MountTable::new(),
            uses,
            changes,
        };
        (1..VOLUMES_MAX as u32).for_each(|number| mounts.restore(number));
        outlast_leases(started_ns);
        mounts
    }

    /// Whether there is but one volume.
    #[inline]
    pub(crate) fn is_single(&self) -> bool {
        self.others.is_empty()
    }

    /// The volume that a file is on.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is none, which does not happen while a file is open.
    #[inline]
    pub(crate) fn of(&mut self, node: Node) -> Result<&mut Volume<W>, Error> {
        match node.volume() {
            0 => Ok(&mut self.root),
            number => self.other(number),
        }
    }

    #[cold]
    fn other(&mut self, number: u32) -> Result<&mut Volume<W>, Error> {
        let place = self.others.get_mut(number as usize - 1);
        place.and_then(Option::as_mut).ok_or(Error::Internal)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Volume<W>> {
        core::iter::once(&mut self.root).chain(self.others.iter_mut().flatten())
    }

    /// When [`Self::tidy`] wants to be called.
    #[inline]
    pub(crate) fn deadline(&self) -> u64 {
        let first = self.root.deadline();
        match self.is_single() {
            true => first,
            false => {
                let others = self.others.iter().flatten().map(Volume::deadline);
                others.fold(first, u64::min)
            }
        }
    }

    /// Makes changes durable where it is time; errors have been said.
    pub(crate) fn tidy(&mut self) {
        let now = clock::now();
        let due = self.all().filter(|volume| volume.deadline() <= now);
        due.for_each(Volume::tidy);
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The first that there was; the other volumes are durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        let results = self.all().map(Volume::sync);
        results.fold(Ok(()), Result::and)
    }

    /// Leaves empty journals behind.
    pub(crate) fn stop(&mut self) {
        // Who ends it wants an end: what follows mounts what was mounted.
        self.all().for_each(Volume::unmount);
    }

    /// The mount at `index`, in the order of numbers, with its path.
    pub(crate) fn at(&mut self, index: u32) -> Option<(&mut Volume<W>, Vec<u8>)> {
        let mut numbers = (1..).zip(&self.others).filter(|(_, other)| other.is_some());
        let number = match index {
            0 => return Some((&mut self.root, b"/".to_vec())),
            index => numbers.nth(index as usize - 1)?.0,
        };
        let path = self.table.iter().find(|(_, at)| **at == number)?.0.to_vec();
        Some((self.other(number).ok()?, path))
    }

    /// Mounts a device at a real path; `Some`: why not.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::NameTooLong`], [`Error::LimitReached`].
    pub(crate) fn mount(
        &mut self,
        device: Device,
        path: &[u8],
        how: How,
    ) -> Result<Option<String>, Error> {
        let Ok(text) = core::str::from_utf8(path) else {
            return Err(Error::InvalidArgument);
        };
        if path.len() > MOUNT_PATH_MAX {
            return Err(Error::NameTooLong);
        }
        if path == b"/" || self.table.at(path).is_some() {
            return Err(Error::AlreadyExists);
        }
        let free = self.others.iter().position(Option::is_none);
        let number = free.unwrap_or(self.others.len()) as u32 + 1;
        if number as usize >= VOLUMES_MAX {
            return Err(Error::LimitReached);
        }
        let mut volume = self.volume(number, text, device, how);
        if let Err(refused) = volume.try_mount() {
            return Ok(Some(refused.line));
        }
        self.put(number, text, volume)?;
        self.world.keep(number, &kept_text(device, text, how));
        Ok(None)
    }

    /// Ends the mount at a real path. Files of it must not be known any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`]; those of the disk unless `force`.
    pub(crate) fn unmount(&mut self, path: &[u8], force: bool) -> Result<(), Error> {
        if path == b"/" {
            return Err(Error::Busy);
        }
        let number = *self.table.at(path).ok_or(Error::NotFound)?;
        let below = self
            .table
            .iter()
            .filter(|(at, _)| is_below(path, at))
            .count();
        let volume = self.other(number)?;
        if volume.open_files > 0 || below > 0 {
            return Err(Error::Busy);
        }
        if volume.is_mounted() && !force {
            volume.sync()?;
        }
        volume.unmount();
        let _ = self.table.unmount(path);
        if let Some(place) = self.others.get_mut(number as usize - 1) {
            *place = None;
        }
        while self.others.last().is_some_and(Option::is_none) {
            self.others.pop();
        }
        self.world.keep(number, "");
        Ok(())
    }

    /// Sets what a volume may hold, and keeps it.
    ///
    /// # Errors
    /// Those of counting what is there.
    pub(crate) fn set_quota(&mut self, node: Node, quota: Quota) -> Result<(), Error> {
        let volume = self.of(node)?;
        volume.set_quota(quota)?;
        let (device, how, number) = (volume.device, volume.how, node.volume());
        let found = self.table.iter().find(|(_, at)| **at == number);
        if let Some((path, _)) = found
            && let Ok(path) = core::str::from_utf8(path)
        {
            let text = kept_text(device, path, how);
            self.world.keep(number, &text);
        }
        Ok(())
    }

    /// Mounts what the server before this one had under a number. A disk that is not there now is
    /// tried again when somebody wants it.
    fn restore(&mut self, number: u32) {
        let kept = self.world.kept(number);
        if let Some((device, path, how)) = parse_kept(&kept) {
            let mut volume = self.volume(number, path, device, how);
            volume.mount();
            let _ = self.put(number, path, volume);
        }
    }

    fn volume(&self, number: u32, path: &str, device: Device, how: How) -> Volume<W> {
        let shared = (&self.uses, &self.changes);
        Volume::new(self.world.clone(), number, path.into(), device, how, shared)
    }

    fn put(&mut self, number: u32, path: &str, volume: Volume<W>) -> Result<(), Error> {
        let mounted = self.table.mount(path.as_bytes(), number);
        mounted.map_err(|_| Error::AlreadyExists)?;
        let at = number as usize;
        if self.others.len() < at {
            self.others.resize_with(at, || None);
        }
        if let Some(place) = self.others.get_mut(at - 1) {
            *place = Some(volume);
        }
        Ok(())
    }
}

fn is_below(path: &[u8], at: &[u8]) -> bool {
    at.strip_prefix(path)
        .is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// A mount as a line: device, `ro` or `rw`, limits, path.
fn kept_text(device: Device, path: &str, how: How) -> String {
    let mode = if how.read_only { "ro" } else { "rw" };
    let (bytes, inodes) = (how.quota.bytes, how.quota.inodes);
    format!("{device} {mode} {bytes} {inodes} {path}")
}

fn parse_kept(line: &str) -> Option<(Device, &str, How)> {
    let mut words = line.splitn(5, ' ');
    let device = Device::parse(words.next()?)?;
    let read_only = words.next()? == "ro";
    let quota = Quota {
        bytes: words.next()?.parse().ok()?,
        inodes: words.next()?.parse().ok()?,
    };
    Some((device, words.next()?, How { read_only, quota }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_line_is_read_as_it_was_written() {
        let device = Device::parse("D1.2").unwrap();
        let quota = Quota {
            bytes: 5,
            inodes: u64::MAX,
        };
        let how = How {
            read_only: true,
            quota,
        };
        let line = kept_text(device, "/mnt/with a blank", how);
        let (device, path, how) = parse_kept(&line).unwrap();
        assert_eq!(format!("{device} {path}"), "D1.2 /mnt/with a blank");
        assert!(how.read_only && how.quota == quota);
        for bad in ["", "D1", "D1 ro 5", "D9 ro 5 5 /x", "D1 ro x 5 /x"] {
            assert!(parse_kept(bad).is_none(), "{bad}");
        }
    }
}
