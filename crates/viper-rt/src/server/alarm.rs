//! Waking a server at its deadline.
//!
//! Deadlines move with each request, mostly to later. A receive with a deadline would set and clear
//! one in the kernel each time, and leave the kernel's short way. So a timer rings at the earliest
//! time that was asked for since it last rang: at most once too often, and nothing is set in between.

use crate::handle::{PollSet, Timer};
use viper_abi::{Error, FOREVER, Signals};

/// A timer in the server's poll set.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Timer,
    /// When it rings.
    at: u64,
}

impl Alarm {
    /// An alarm that shows in `set` under `key`.
    pub(super) fn new(set: &PollSet, key: u64) -> Result<Alarm, Error> {
        let timer = Timer::new()?;
        set.add(&timer, key, Signals::EXPIRED)?;
        Ok(Alarm { timer, at: FOREVER })
    }

    /// Rings at `deadline` at the latest; [`FOREVER`] for whenever it likes.
    #[inline]
    pub(super) fn ring_at(&mut self, deadline: u64) {
        if deadline < self.at {
            self.set(deadline);
        }
    }

    #[cold]
    fn set(&mut self, deadline: u64) {
        // Starting a timer that is there does not fail.
        if self.timer.start(deadline, 0).is_ok() {
            self.at = deadline;
        }
    }

    /// It rang.
    pub(super) fn rang(&mut self) {
        self.at = FOREVER;
    }
}
