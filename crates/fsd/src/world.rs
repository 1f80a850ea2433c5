//! What the server needs of the world: a disk, a clock, a place to complain.

use crate::disk::{BlockDisk, Connect};
use alloc::rc::Rc;
use core::fmt;
use viper_proto::{block, names};
use viper_rt::{Error, clock, eprintln};
use viperfs::BlockDevice;

/// The world around the server.
pub trait World {
    /// A disk.
    type Disk: BlockDevice;

    /// Gets at the disk, or at a part of it: first sector and count.
    ///
    /// # Errors
    /// Why there is none.
    fn open_disk(&mut self, part: Option<(u64, u64)>) -> Result<Self::Disk, Error>;

    /// Nanoseconds since 1970, as far as anybody knows.
    fn wall_clock_ns(&self) -> i64;

    /// Says one line about a problem.
    fn say(&mut self, line: fmt::Arguments<'_>);
}

/// A connector by name, to all of the disk or to a part.
#[derive(Clone, Debug)]
pub struct ByName {
    names: Rc<names::Client>,
    part: Option<(u64, u64)>,
}

impl Connect for ByName {
    fn connect(&mut self, deadline: u64) -> Result<block::Client, Error> {
        let disk = self.names.connect(b"BLKD:", deadline);
        let disk = disk.map(block::Client::new)?;
        match self.part {
            Some((first, count)) => disk.narrow(first, count).map(block::Client::new),
            None => Ok(disk),
        }
    }
}

/// The system: the name service knows the block server and the time.
#[derive(Debug)]
pub struct System {
    names: Option<Rc<names::Client>>,
    boot_ns: u64,
}

impl System {
    /// The system behind this name channel.
    #[must_use]
    pub fn new(names: Option<names::Client>) -> System {
        let boot_ns = names.as_ref().and_then(|names| names.wall_clock().ok());
        System {
            names: names.map(Rc::new),
            boot_ns: boot_ns.unwrap_or(0),
        }
    }
}

impl World for System {
    type Disk = BlockDisk<ByName>;

    fn open_disk(&mut self, part: Option<(u64, u64)>) -> Result<Self::Disk, Error> {
        let names = self.names.clone().ok_or(Error::NoService)?;
        BlockDisk::open(ByName { names, part })
    }

    fn wall_clock_ns(&self) -> i64 {
        i64::try_from(self.boot_ns.saturating_add(clock::now())).unwrap_or(i64::MAX)
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        eprintln!("fsd: {line}");
    }
}
