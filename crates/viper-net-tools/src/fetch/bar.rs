//! How far it got: a bar on a terminal, a line at the end.

use super::World;
use alloc::format;
use alloc::string::String;

/// A transfer that is over sooner shows no bar.
const FIRST_NS: u64 = 1_000_000_000;
/// From one drawing to the next.
const AGAIN_NS: u64 = 250_000_000;
/// Columns that numbers need beside the bar.
const NUMBERS: usize = 48;

/// The state of a transfer, as it is shown.
#[derive(Debug)]
pub(super) struct Bar {
    start_ns: u64,
    next_ns: u64,
    had: u64,
    done: u64,
    total: Option<u64>,
    quiet: bool,
    columns: Option<usize>,
    drawn: bool,
}

impl Bar {
    pub(super) fn new(
        now_ns: u64,
        had: u64,
        total: Option<u64>,
        quiet: bool,
        columns: Option<usize>,
    ) -> Bar {
        Bar {
            start_ns: now_ns,
            next_ns: now_ns.saturating_add(FIRST_NS),
            had,
            done: had,
            total,
            quiet,
            columns,
            drawn: false,
        }
    }

    /// Bytes of the file that are there.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn advance<W: World>(&mut self, world: &mut W, now_ns: u64, len: u64) {
        self.done = self.done.saturating_add(len);
        if self.quiet || now_ns < self.next_ns {
            return;
        }
        if let Some(columns) = self.columns {
            self.next_ns = now_ns.saturating_add(AGAIN_NS);
            self.drawn = true;
            world.show(&format!("\r{}\x1b[K", self.line(now_ns, columns)));
        }
    }

    /// Removes the bar.
    pub(super) fn clear<W: World>(&mut self, world: &mut W) {
        if self.drawn {
            world.show("\r\x1b[K");
            self.drawn = false;
        }
    }

    pub(super) fn summary<W: World>(&self, world: &mut W, now_ns: u64, to: &str) {
        if self.quiet {
            return;
        }
        let seconds = now_ns.saturating_sub(self.start_ns) / 100_000_000;
        world.show(&format!(
            "{to}: {} in {}.{} s ({}/s)\n",
            size(self.done),
            seconds / 10,
            seconds % 10,
            size(self.rate(now_ns)),
        ));
    }

    fn rate(&self, now_ns: u64) -> u64 {
        let elapsed = u128::from(now_ns.saturating_sub(self.start_ns)).max(1);
        let moved = u128::from(self.done.saturating_sub(self.had));
        u64::try_from(moved * 1_000_000_000 / elapsed).unwrap_or(u64::MAX)
    }

    fn line(&self, now_ns: u64, columns: usize) -> String {
        let rate = size(self.rate(now_ns));
        let Some(total) = self.total.filter(|total| *total > 0) else {
            return format!("{} at {rate}/s", size(self.done));
        };
        let share = u128::from(self.done.min(total)) * 1000 / u128::from(total);
        let width = columns.saturating_sub(NUMBERS).min(50);
        let full = (share as usize * width / 1000).min(width);
        format!(
            "[{}{}] {:3} % {} of {} at {rate}/s",
            "#".repeat(full),
            ".".repeat(width - full),
            share / 10,
            size(self.done),
            size(total),
        )
    }
}

/// A number of bytes with a unit that suits it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or("");
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}
