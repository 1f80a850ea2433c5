//! What the server needs of the world: a disk, a clock, a place to complain.

use crate::disk::{BlockDisk, Connect};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use core::fmt;
use viper_proto::{block, names};
use viper_rt::{Error, clock, eprintln};
use viperfs::BlockDevice;

/// The world around the server. A clone is the same world.
pub trait World: Clone {
    /// A disk.
    type Disk: BlockDevice;

    /// Gets at a disk, counted from 0, or at a part of it: first sector and count.
    ///
    /// # Errors
    /// Why there is none.
    fn open_disk(&mut self, number: u32, part: Option<(u64, u64)>) -> Result<Self::Disk, Error>;

    /// Nanoseconds since 1970, as far as anybody knows.
    fn wall_clock_ns(&self) -> i64;

    /// Says one line about a problem.
    fn say(&mut self, line: fmt::Arguments<'_>);

    /// Keeps a text in a slot for the server that follows if this one dies; an empty one: forgets.
    fn keep(&mut self, slot: u32, text: &str);

    /// The text that is kept in a slot; empty if there is none.
    fn kept(&mut self, slot: u32) -> String;
}

/// A connector by name, to all of the disk or to a part.
#[derive(Clone, Debug)]
pub struct ByName {
    names: Rc<names::Client>,
    number: u32,
    part: Option<(u64, u64)>,
}

impl Connect for ByName {
    fn connect(&mut self, deadline: u64) -> Result<block::Client, Error> {
        let service = match self.number {
            0 => String::from("BLKD:"),
            n => format!("BLKD{n}:"),
        };
        let disk = self.names.connect(service.as_bytes(), deadline);
        let disk = disk.map(block::Client::new)?;
        match self.part {
            Some((first, count)) => disk.narrow(first, count).map(block::Client::new),
            None => Ok(disk),
        }
    }
}

/// The system: the name service knows the block server and the time.
#[derive(Clone, Debug)]
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

    fn open_disk(&mut self, number: u32, part: Option<(u64, u64)>) -> Result<Self::Disk, Error> {
        let names = self.names.clone().ok_or(Error::NoService)?;
        BlockDisk::open(ByName {
            names,
            number,
            part,
        })
    }

    fn wall_clock_ns(&self) -> i64 {
        i64::try_from(self.boot_ns.saturating_add(clock::now())).unwrap_or(i64::MAX)
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        eprintln!("fsd: {line}");
    }

    fn keep(&mut self, slot: u32, text: &str) {
        if let Some(names) = &self.names {
            // Without it the next server does not know of a mount: no reason to refuse that.
            let _ = names.keep(slot, text.as_bytes());
        }
    }

    fn kept(&mut self, slot: u32) -> String {
        let kept = self.names.as_ref().and_then(|names| names.kept(slot).ok());
        kept.and_then(|text| text.as_str().ok().map(String::from))
            .unwrap_or_default()
    }
}
