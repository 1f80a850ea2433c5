//! A mounted volume, or the reason why there is none.

use crate::changes::Changes;
use crate::convert::error_of;
use crate::device::Device;
use crate::gpt;
use crate::uses::Uses;
use crate::world::World;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use viper_proto::fs::mount_state;
use viper_rt::checksum::CRC32C;
use viper_rt::{Error, clock};
use viperfs::{BLOCK_SIZE, BlockDevice, Crc32c, Fs, MountError, MountOptions, Quota};

/// A disk that could not be mounted is tried again no earlier than this.
const RETRY_NS: u64 = 2 * clock::SECOND;
/// A disk that failed is tried again after this.
const RESUME_NS: u64 = clock::SECOND;
/// What is changed is made durable when nothing was changed for this long,
const QUIET_NS: u64 = 100 * clock::MILLISECOND;
/// and after this long in any case.
const DIRTY_NS: u64 = clock::SECOND;

/// Blocks that are cached of a volume that is not the first.
const FURTHER_CACHE_BLOCKS: usize = 512;

/// How a volume is to be mounted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) read_only: bool,
    pub(crate) quota: Quota,
}

impl How {
    /// As the first volume is.
    pub(crate) const PLAIN: How = How {
        read_only: false,
        quota: Quota::NONE,
    };
}

/// Why a device was not mounted: what clients are told, and a sentence.
pub(crate) struct Refused {
    error: Error,
    pub(crate) line: String,
}

/// What mounting looked at, and what came of it.
type Mounted<W> = Result<Fs<<W as World>::Disk>, MountError>;

/// A volume.
pub(crate) struct Volume<W: World> {
    world: W,
    /// Which it is, and what lines about it begin with.
    number: u32,
    name: String,
    pub(crate) device: Device,
    pub(crate) how: How,
    uses: Rc<Uses>,
    state: Result<Fs<W::Disk>, Error>,
    tried_ns: u64,
    said: Option<String>,
    /// When it was first and last changed since the last sync.
    dirty: Option<(u64, u64)>,
    /// The disk failed under the mounted volume; when it is tried again.
    resume_ns: Option<u64>,
    /// Files that are open on it.
    pub(crate) open_files: u32,
    /// Tells clients of changes.
    changes: Rc<Changes>,
}

impl<W: World> Volume<W> {
    /// A volume that is not mounted yet. `name` begins lines about it.
    pub(crate) fn new(
        world: W,
        number: u32,
        name: String,
        device: Device,
        how: How,
        shared: (&Rc<Uses>, &Rc<Changes>),
    ) -> Self {
        Volume {
            world,
            number,
            name,
            device,
            how,
            uses: shared.0.clone(),
            state: Err(Error::NoService),
            tried_ns: 0,
            said: None,
            dirty: None,
            resume_ns: None,
            open_files: 0,
            changes: shared.1.clone(),
        }
    }

    /// The file system.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub(crate) fn fs(&mut self) -> Result<&mut Fs<W::Disk>, Error> {
        if self.state.is_err() {
            self.mount_again();
        }
        self.state.as_mut().map_err(|error| *error)
    }

    /// Keeps an inode while it is open.
    pub(crate) fn pin(&mut self, inode: u64) -> Result<(), Error> {
        let result = self.fs()?.pin(inode);
        self.settle(result)?;
        self.open_files += 1;
        Ok(())
    }

    /// An open file is closed.
    #[inline]
    pub(crate) fn unpin(&mut self, inode: u64) -> Result<(), Error> {
        self.open_files = self.open_files.saturating_sub(1);
        let result = self.fs()?.unpin(inode);
        self.settle(result)
    }

    /// The file system, to be changed, and the time.
    ///
    /// # Errors
    /// As [`Self::fs`].
    pub(crate) fn changing(&mut self) -> Result<(&mut Fs<W::Disk>, i64), Error> {
        let now = clock::now();
        self.dirty = Some((self.dirty.map_or(now, |(first, _)| first), now));
        self.changes.note();
        let time = self.world.wall_clock_ns();
        Ok((self.fs()?, time))
    }

    /// What a client is told about a result; says so once if the volume is in trouble.
    pub(crate) fn settle<T>(&mut self, result: Result<T, viperfs::Error>) -> Result<T, Error> {
        result.map_err(|error| self.trouble(error))
    }

    #[cold]
    fn trouble(&mut self, error: viperfs::Error) -> Error {
        match error {
            viperfs::Error::Device(_) | viperfs::Error::ReadOnly => {
                if self.state.as_ref().is_ok_and(|fs| fs.statfs().failed) {
                    self.say("the disk failed: the volume is read-only until it works".into());
                    let again = clock::after(RESUME_NS);
                    self.resume_ns = self.resume_ns.or(Some(again));
                } else if matches!(error, viperfs::Error::Device(_)) {
                    self.say("the disk has unreadable blocks".into());
                }
            }
            viperfs::Error::Corrupt => self.say("the volume is damaged: check it".into()),
            viperfs::Error::Bug => self.say("internal error".into()),
            _ => {}
        }
        error_of(error)
    }

    /// When [`Self::tidy`] wants to be called.
    #[inline]
    pub(crate) fn deadline(&self) -> u64 {
        if let Some(resume_ns) = self.resume_ns {
            return resume_ns;
        }
        match self.dirty {
            None => viper_rt::abi::FOREVER,
            Some((first, last)) => (first + DIRTY_NS).min(last + QUIET_NS),
        }
    }

    /// Tries a disk that failed. Everything acknowledged is in memory still, and goes to it first.
    fn resume(&mut self) {
        self.resume_ns = Some(clock::after(RESUME_NS));
        if let Ok(fs) = &mut self.state
            && fs.resume().is_ok()
        {
            self.resume_ns = None;
            self.dirty = None;
            self.say("the disk works again".into());
        }
    }

    /// Makes changes durable.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if self.dirty.take().is_some() {
            // Blocks get their places now: attributes tell how many there are.
            self.changes.note();
        }
        let result = self.fs()?.sync();
        self.settle(result)
    }

    /// Makes changes durable; errors have been said.
    pub(crate) fn tidy(&mut self) {
        if self.resume_ns.is_some() {
            self.resume();
        } else if self.dirty.is_some() {
            let _ = self.sync();
        }
    }

    /// Leaves an empty journal behind, if the disk takes it.
    pub(crate) fn unmount(&mut self) {
        self.uses.ends(self.number);
        if let Ok(fs) = core::mem::replace(&mut self.state, Err(Error::NoService)) {
            let _ = fs.unmount();
        }
    }

    /// Whether there is a file system.
    pub(crate) fn is_mounted(&self) -> bool {
        self.state.is_ok()
    }

    /// See [`mount_state`].
    pub(crate) fn mount_state(&self) -> u32 {
        match self.state.as_ref().map(Fs::statfs) {
            Err(_) => mount_state::ABSENT,
            Ok(stat) if stat.failed => mount_state::FAILED,
            Ok(stat) if stat.read_only => mount_state::READ_ONLY,
            Ok(_) => mount_state::WRITABLE,
        }
    }

    /// Files and directories there are, if they are counted.
    pub(crate) fn inodes(&self) -> Option<u64> {
        self.state.as_ref().ok()?.statfs().inodes
    }

    /// What it may hold from now on.
    ///
    /// # Errors
    /// Those of counting what is there.
    pub(crate) fn set_quota(&mut self, quota: Quota) -> Result<(), Error> {
        let result = self.fs()?.set_quota(quota);
        self.settle(result)?;
        self.how.quota = quota;
        Ok(())
    }

    #[cold]
    fn mount_again(&mut self) {
        if clock::now() >= self.tried_ns.saturating_add(RETRY_NS) {
            self.mount();
        }
    }

    /// Mounts it, or says why not.
    pub(crate) fn mount(&mut self) {
        if let Err(refused) = self.try_mount() {
            self.state = Err(refused.error);
            self.say(refused.line);
        }
    }

    /// Mounts it.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn try_mount(&mut self) -> Result<(), Refused> {
        self.tried_ns = clock::now();
        match self.device.partition {
            None if self.uses.are_free(self.device.disk, None) => match self.open(None)? {
                Err(MountError::NoSuperblock) => self.mount_partition(),
                mounted => self.settle_mount(mounted, None),
            },
            _ => self.mount_partition(),
        }
    }

    /// Looks for a volume on the disk, or on a part of it. Nothing is written if there is none.
    fn open(&mut self, part: Option<(u64, u64)>) -> Result<Mounted<W>, Refused> {
        self.open_as(part, self.how.read_only)
    }

    fn open_as(
        &mut self,
        part: Option<(u64, u64)>,
        read_only: bool,
    ) -> Result<Mounted<W>, Refused> {
        let options = self.options(read_only);
        match self.disk(part) {
            Ok(disk) => Ok(Fs::mount(disk, options)),
            Err(refused) => Err(refused),
        }
    }

    fn disk(&mut self, part: Option<(u64, u64)>) -> Result<W::Disk, Refused> {
        let opened = self.world.open_disk(self.device.disk, part);
        opened.map_err(|error| match error {
            Error::NotFound | Error::NoService if self.number == 0 => Refused {
                error: Error::NoService,
                line: "there is no disk".into(),
            },
            Error::NotFound | Error::NoService => Refused {
                error: Error::NoService,
                line: format!("there is no disk {}", self.device.whole()),
            },
            Error::OutOfMemory => Refused {
                error,
                line: "there is not enough memory for another volume".into(),
            },
            error => Refused {
                error: Error::Io,
                line: format!("no disk: {error}"),
            },
        })
    }

    /// The disk itself has no volume, or a partition is wanted: that one, or the first that has one.
    fn mount_partition(&mut self) -> Result<(), Refused> {
        let partitions = self.partitions()?;
        let wanted = self.device.partition;
        let is_wanted = |part: &&gpt::Partition| wanted.is_none_or(|n| n == part.number);
        let mut in_use = None;
        for part in partitions.iter().flatten().filter(is_wanted) {
            let place = (part.first, part.count);
            if !self.uses.are_free(self.device.disk, Some(place)) {
                in_use = Some(part.number);
                continue;
            }
            match self.open(Some(place))? {
                Err(MountError::NoSuperblock | MountError::DeviceTooSmall) if wanted.is_none() => {}
                mounted => return self.settle_mount(mounted, Some(place)),
            }
        }
        let device = self.device;
        let is_used = in_use.is_some() || !self.uses.are_free(device.disk, None);
        Err(match (partitions, wanted) {
            (_, None) if is_used => in_use_elsewhere(device),
            (_, Some(_)) if in_use.is_some() => in_use_elsewhere(device),
            (None, Some(_)) => Refused {
                error: Error::NotFound,
                line: format!("{} has no intact partition table", device.whole()),
            },
            (Some(all), Some(n)) => Refused {
                error: Error::NotFound,
                line: format!(
                    "{} has no partition {n}, but {}",
                    device.whole(),
                    match all.len() {
                        1 => "1 other".into(),
                        count => format!("{count} others"),
                    }
                ),
            },
            (_, None) => self.refused(MountError::NoSuperblock),
        })
    }

    /// The partitions of the disk; `None` if it has no intact table of them.
    fn partitions(&mut self) -> Result<Option<Vec<gpt::Partition>>, Refused> {
        let mut disk = self.disk(None)?;
        // The engine's device has blocks of 4 KiB; what is behind the last whole one is not seen.
        const SECTORS: u64 = (BLOCK_SIZE / gpt::SECTOR) as u64;
        let sectors = disk.block_count() * SECTORS;
        Ok(gpt::partitions(sectors, |at, to| {
            let mut block = vec![0; BLOCK_SIZE];
            to.chunks_exact_mut(gpt::SECTOR)
                .zip(at..)
                .all(|(to, sector)| {
                    let from = (sector % SECTORS) as usize * gpt::SECTOR;
                    let is_read = disk.read(sector / SECTORS, &mut block).is_ok();
                    to.copy_from_slice(&block[from..from + gpt::SECTOR]);
                    is_read
                })
        }))
    }

    fn settle_mount(
        &mut self,
        mounted: Mounted<W>,
        part: Option<(u64, u64)>,
    ) -> Result<(), Refused> {
        let fs = match mounted {
            Ok(fs) => fs,
            // A newer version wrote the volume, and lets this one read it.
            Err(MountError::ReadOnlyFeatures { .. }) => {
                let fs = self
                    .open_as(part, true)?
                    .map_err(|error| self.refused(error))?;
                self.say("the volume is of a newer version: it is read-only".into());
                fs
            }
            Err(MountError::Device(_)) if !self.how.read_only => self.mount_what_fails(part)?,
            Err(error) => return Err(self.refused(error)),
        };
        self.uses.begins(self.number, self.device.disk, part);
        self.said = self
            .said
            .take()
            .filter(|said| said.contains("newer version"));
        self.state = Ok(fs);
        Ok(())
    }

    /// A disk that failed as it was mounted: that may have been once. If only writes fail, what is
    /// there can be read.
    #[cold]
    fn mount_what_fails(&mut self, part: Option<(u64, u64)>) -> Result<Fs<W::Disk>, Refused> {
        if let Ok(fs) = self.open_as(part, false)? {
            return Ok(fs);
        }
        let fs = self
            .open_as(part, true)?
            .map_err(|error| self.refused(error))?;
        self.say("the disk takes no writes: it is read-only".into());
        Ok(fs)
    }

    fn refused(&self, error: MountError) -> Refused {
        let told = match error {
            MountError::NoSuperblock => Error::NoService,
            MountError::NewerFormat { .. } | MountError::UnknownFeatures { .. } => {
                Error::NotSupported
            }
            MountError::DeviceTooSmall | MountError::Corrupt => Error::Corrupt,
            MountError::Device(_) => Error::Io,
            MountError::Recovery(error) => error_of(error),
            _ => Error::NotSupported,
        };
        let line = match self.number {
            0 => format!("the disk is not mounted: {error}"),
            _ => format!("{}: {error}", self.device),
        };
        Refused { error: told, line }
    }

    /// Says a line, unless it was the last one said.
    fn say(&mut self, line: String) {
        if self.said.as_ref() != Some(&line) {
            match self.name.as_str() {
                "" => self.world.say(format_args!("{line}")),
                name => self.world.say(format_args!("{name}: {line}")),
            }
            self.said = Some(line);
        }
    }

    fn options(&self, read_only: bool) -> MountOptions {
        let default = MountOptions::default();
        let cache_blocks = match self.number {
            0 => default.cache_blocks,
            _ => FURTHER_CACHE_BLOCKS,
        };
        MountOptions {
            read_only,
            cache_blocks,
            crc32c: CRC32C.map_or(default.crc32c, Crc32c),
            quota: self.how.quota,
            ..default
        }
    }
}

fn in_use_elsewhere(device: Device) -> Refused {
    Refused {
        error: Error::Busy,
        line: format!("{device} is mounted already"),
    }
}
