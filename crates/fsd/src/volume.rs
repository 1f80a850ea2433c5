//! The mounted volume, or the reason why there is none.

use crate::changes::{Changes, outlast_leases};
use crate::convert::error_of;
use crate::gpt;
use crate::world::World;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use viper_rt::checksum::CRC32C;
use viper_rt::{Error, clock};
use viperfs::{BLOCK_SIZE, BlockDevice, Crc32c, Fs, MountError, MountOptions};

/// A disk that could not be mounted is tried again no earlier than this.
const RETRY_NS: u64 = 2 * clock::SECOND;
/// A disk that failed is tried again after this.
const RESUME_NS: u64 = clock::SECOND;
/// What is changed is made durable when nothing was changed for this long,
const QUIET_NS: u64 = 100 * clock::MILLISECOND;
/// and after this long in any case.
const DIRTY_NS: u64 = clock::SECOND;

/// The volume.
pub(crate) struct Volume<W: World> {
    world: W,
    state: Result<Fs<W::Disk>, Error>,
    tried_ns: u64,
    said: Option<String>,
    /// When it was first and last changed since the last sync.
    dirty: Option<(u64, u64)>,
    /// The disk failed under the mounted volume; when it is tried again.
    resume_ns: Option<u64>,
    /// Tells clients of changes.
    pub(crate) changes: Changes,
}

impl<W: World> Volume<W> {
    pub(crate) fn new(world: W) -> Self {
        let mut volume = Volume {
            world,
            state: Err(Error::NoService),
            tried_ns: 0,
            said: None,
            dirty: None,
            resume_ns: None,
            changes: Changes::new(),
        };
        let started_ns = clock::now();
        volume.mount();
        outlast_leases(started_ns);
        volume
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
        if let Ok(fs) = core::mem::replace(&mut self.state, Err(Error::NoService)) {
            let _ = fs.unmount();
        }
    }

    #[cold]
    fn mount_again(&mut self) {
        if clock::now() >= self.tried_ns.saturating_add(RETRY_NS) {
            self.mount();
        }
    }

    fn mount(&mut self) {
        self.tried_ns = clock::now();
        let disk = match self.world.open_disk(None) {
            Ok(disk) => disk,
            Err(Error::NotFound | Error::NoService) => {
                return self.without(Error::NoService, "there is no disk".into());
            }
            Err(error) => return self.without(Error::Io, format!("no disk: {error}")),
        };
        match Fs::mount(disk, options(false)) {
            Err(MountError::NoSuperblock) => self.mount_partition(),
            mounted => self.settle_mount(mounted, None),
        }
    }

    /// The disk itself has no volume: the first partition that has one is it.
    fn mount_partition(&mut self) {
        for part in self.partitions() {
            let place = Some((part.first, part.count));
            let Ok(disk) = self.world.open_disk(place) else {
                continue;
            };
            match Fs::mount(disk, options(false)) {
                Err(MountError::NoSuperblock | MountError::DeviceTooSmall) => {}
                mounted => return self.settle_mount(mounted, place),
            }
        }
        self.refused(MountError::NoSuperblock);
    }

    fn partitions(&mut self) -> Vec<gpt::Partition> {
        let Ok(mut disk) = self.world.open_disk(None) else {
            return Vec::new();
        };
        // The engine's device has blocks of 4 KiB; what is behind the last whole one is not seen.
        const SECTORS: u64 = (BLOCK_SIZE / gpt::SECTOR) as u64;
        let sectors = disk.block_count() * SECTORS;
        let found = gpt::partitions(sectors, |at, to| {
            let mut block = vec![0; BLOCK_SIZE];
            to.chunks_exact_mut(gpt::SECTOR)
                .zip(at..)
                .all(|(to, sector)| {
                    let from = (sector % SECTORS) as usize * gpt::SECTOR;
                    let is_read = disk.read(sector / SECTORS, &mut block).is_ok();
                    to.copy_from_slice(&block[from..from + gpt::SECTOR]);
                    is_read
                })
        });
        found.unwrap_or_default()
    }

    fn settle_mount(&mut self, mounted: Result<Fs<W::Disk>, MountError>, part: Option<(u64, u64)>) {
        match mounted {
            Ok(fs) => self.mounted(fs),
            Err(MountError::ReadOnlyFeatures { .. }) => self.mount_read_only(part),
            Err(error) => self.refused(error),
        }
    }

    /// A newer version wrote the volume, and lets this one read it.
    fn mount_read_only(&mut self, part: Option<(u64, u64)>) {
        let mounted = self.world.open_disk(part);
        match mounted.map(|disk| Fs::mount(disk, options(true))) {
            Ok(Ok(fs)) => {
                self.say("the volume is of a newer version: it is read-only".into());
                self.state = Ok(fs);
            }
            Ok(Err(error)) => self.refused(error),
            Err(error) => self.without(Error::Io, format!("no disk: {error}")),
        }
    }

    fn mounted(&mut self, fs: Fs<W::Disk>) {
        self.said = None;
        self.state = Ok(fs);
    }

    fn refused(&mut self, error: MountError) {
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
        self.without(told, format!("the disk is not mounted: {error}"));
    }

    fn without(&mut self, error: Error, line: String) {
        self.state = Err(error);
        self.say(line);
    }

    /// Says a line, unless it was the last one said.
    fn say(&mut self, line: String) {
        if self.said.as_ref() != Some(&line) {
            self.world.say(format_args!("{line}"));
            self.said = Some(line);
        }
    }
}

fn options(read_only: bool) -> MountOptions {
    let default = MountOptions::default();
    MountOptions {
        read_only,
        crc32c: CRC32C.map_or(default.crc32c, Crc32c),
        ..default
    }
}
