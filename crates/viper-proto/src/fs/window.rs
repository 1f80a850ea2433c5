//! Reading ahead without telling lies: small reads in order cost a message for each 64 KiB.
//!
//! The upper half of a session's memory has two windows. A file that is read in small pieces, one
//! after the other, is read into one of them, and the next pieces are taken from there. Nobody sees
//! old data by that: the server changes a number in a page that every client maps before it answers
//! a change of any file, and a window is used only while the number is what it was before the window
//! was filled. A dead server cannot change it; a window is therefore used for
//! [`LEASE_NS`](super::LEASE_NS) at most, and the successor of a server waits for so long.

use super::LEASE_NS;
use super::files::DATA_BYTES;
use viper_rt::handle::Memory;
use viper_rt::{Mapping, clock};

/// Longest read that looks into a window.
pub(super) const READ_MAX: usize = 16 * 1024;
/// Bytes of a window.
const WINDOW_BYTES: usize = DATA_BYTES / 4;
/// The first time a window is filled, for a file of which nothing more may be wanted.
const FIRST_BYTES: usize = 16 * 1024;
const WINDOWS: usize = 2;
/// Where the windows begin.
const WINDOWS_AT: usize = DATA_BYTES - WINDOWS * WINDOW_BYTES;

/// The number of changes, and when it was read.
pub(super) type Seen = (u64, u64);

/// What stands in a window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The file, by the server's number; `None`: nothing.
    file: Option<u32>,
    position: u64,
    len: usize,
    /// The file ended there.
    is_end: bool,
    /// The number of changes before it was filled.
    changes: u64,
    /// When it must not be used any more.
    until_ns: u64,
}

/// The windows of a session.
#[derive(Debug)]
pub(super) struct Windows {
    /// `None`: the server does not tell of changes, so nothing is kept.
    page: Option<Mapping>,
    windows: [Window; WINDOWS],
    /// The one that was filled last.
    last: usize,
}

impl Windows {
    pub(super) fn new(page: Option<&Memory>) -> Windows {
        Windows {
            page: page.and_then(|page| Mapping::read_only(page, 0, 8).ok()),
            windows: [Window::default(); WINDOWS],
            last: 0,
        }
    }

    /// The number of changes now; `None` if the server does not tell.
    #[inline]
    pub(super) fn changes(&self) -> Option<Seen> {
        let mut number = [0; 8];
        // The clock first: what is read after this was right at that time.
        let now = clock::now();
        self.page.as_ref()?.read(0, &mut number).ok()?;
        Some((u64::from_ne_bytes(number), now))
    }

    /// Whether what was answered after `seen` is right still.
    #[inline]
    pub(super) fn is_still(&self, seen: Option<Seen>) -> bool {
        let (Some((number, since)), Some((changes, now))) = (seen, self.changes()) else {
            return false;
        };
        changes == number && now < since.saturating_add(LEASE_NS)
    }

    /// Where in the memory `len` bytes at `position` stand, or what of them the file has.
    #[inline]
    pub(super) fn find(&self, file: u32, position: u64, len: usize) -> Option<(usize, usize)> {
        let index = self.windows.iter().position(|w| w.file == Some(file))?;
        let window = self.windows.get(index)?;
        let at = usize::try_from(position.checked_sub(window.position)?).ok()?;
        let there = window.len.checked_sub(at)?;
        if there < len && !window.is_end {
            return None;
        }
        let (changes, now) = self.changes()?;
        let is_right = changes == window.changes && now < window.until_ns;
        is_right.then_some((start(index) + at, there.min(len)))
    }

    /// Where to read `len` bytes to, and how many: more than `len` if they are the next ones, or
    /// were in a window that is not right any more.
    pub(super) fn place(
        &mut self,
        file: u32,
        position: u64,
        len: usize,
        is_next: bool,
    ) -> (usize, usize) {
        let own = self.windows.iter().position(|w| w.file == Some(file));
        let index = own.unwrap_or((self.last + 1) % WINDOWS);
        let (Some(window), true) = (self.windows.get_mut(index), self.page.is_some()) else {
            return (0, len);
        };
        let end = window.position + window.len as u64;
        let is_inside = own.is_some() && (window.position..end).contains(&position);
        if !is_next && !is_inside {
            return (0, len);
        }
        let goes_on = own.is_some() && (window.position + 1..=end).contains(&position);
        window.file = None;
        self.last = index;
        let ahead = if goes_on { WINDOW_BYTES } else { FIRST_BYTES };
        (start(index), ahead.max(len))
    }

    /// `count` bytes at `position`, of `wanted`, were read to `at`; `seen` was before that.
    pub(super) fn fill(
        &mut self,
        at: usize,
        file: u32,
        position: u64,
        (count, wanted): (usize, usize),
        seen: Option<Seen>,
    ) {
        let index = at.checked_sub(WINDOWS_AT).map(|at| at / WINDOW_BYTES);
        let window = index.and_then(|index| self.windows.get_mut(index));
        if let (Some(window), Some((changes, now))) = (window, seen) {
            *window = Window {
                file: Some(file),
                position,
                len: count,
                is_end: count < wanted,
                changes,
                until_ns: now.saturating_add(LEASE_NS),
            };
        }
    }

    /// The first `len` bytes of the memory were used for something else.
    pub(super) fn touched(&mut self, len: usize) {
        for (index, window) in self.windows.iter_mut().enumerate() {
            if len > start(index) {
                window.file = None;
            }
        }
    }

    /// The server's number of a file will mean another one.
    pub(super) fn closed(&mut self, file: u32) {
        let windows = self.windows.iter_mut();
        windows
            .filter(|window| window.file == Some(file))
            .for_each(|window| window.file = None);
    }
}

const fn start(index: usize) -> usize {
    WINDOWS_AT + index * WINDOW_BYTES
}
