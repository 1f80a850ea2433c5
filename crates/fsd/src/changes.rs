//! Telling clients that what they keep of files may not be right any more.
//!
//! A page that every client may map has a number that is another one after each change of content.
//! A client that reads ahead compares it before it uses what it has: no message is needed, and what
//! it uses is what the server would have answered. A number cannot change any more when the server
//! is dead; so what clients keep is good for [`LEASE_NS`] only, and the successor waits for so long
//! before it answers anybody.

use core::cell::Cell;
use viper_proto::fs::LEASE_NS;
use viper_rt::abi::Rights;
use viper_rt::handle::Memory;
use viper_rt::{Error, Mapping, Object, clock, sys};

/// The page, for all volumes.
#[derive(Debug)]
pub(crate) struct Changes {
    page: Option<(Memory, Mapping)>,
    number: Cell<u64>,
}

impl Changes {
    /// A page; without memory for one, clients keep nothing.
    pub(crate) fn new() -> Changes {
        let page = Memory::new(8).and_then(|memory| {
            let mapping = Mapping::whole(&memory)?;
            mapping.write(0, &[0; 8])?;
            Ok((memory, mapping))
        });
        Changes {
            page: page.ok(),
            number: Cell::new(0),
        }
    }

    /// Something changes: to be called before that is answered.
    #[inline]
    pub(crate) fn note(&self) {
        let number = self.number.get() + 1;
        self.number.set(number);
        if let Some((_, mapping)) = &self.page {
            let _ = mapping.write(0, &number.to_ne_bytes());
        }
    }

    /// The page for a client.
    pub(crate) fn hand_out(&self) -> Result<Memory, Error> {
        let (memory, _) = self.page.as_ref().ok_or(Error::NotSupported)?;
        memory.duplicate(Rights::READ | Rights::MAP | Rights::TRANSFER)
    }
}

/// Waits until nobody uses what the server before this one, which started before `now_ns`, said.
pub(crate) fn outlast_leases(now_ns: u64) {
    let _ = sys::sleep_until(now_ns.saturating_add(LEASE_NS));
    debug_assert!(clock::now() >= now_ns);
}
