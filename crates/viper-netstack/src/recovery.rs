//! Finds out that segments were lost sooner than the engine does.
//!
//! The engine repeats one segment after three duplicate acknowledgements, and everything after a
//! time-out; when a window lost two segments it always waits for the time-out, of 200 ms at least.
//! This watches both directions of a connection and says when the first segment that is not
//! acknowledged is to be repeated at once:
//!
//! * an acknowledgement of a part of what was on its way when the last loss was found: the next
//!   segment was lost, too (NewReno, RFC 6582);
//! * fewer than three duplicates when no more can come (early retransmit, RFC 5827);
//! * nothing for about two round trips: the probe of RFC 8985, 7, with the first segment in place
//!   of the last, since the peer's selective acknowledgements are not read. Its time doubles with
//!   each probe, and after a few the engine's time-out has its turn.

/// What is known of the data that a connection has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recovery {
    /// The first byte that is not acknowledged; `None` before anything was.
    first: Option<u32>,
    /// Where the data ends that is on its way, and the furthest end ever.
    end: u32,
    furthest: u32,
    /// A loss was found; what was on its way then ends here.
    until: Option<u32>,
    /// The first segment is about to be repeated, by three duplicates or by us.
    expects_repeat: bool,
    duplicates: u32,
    /// The longest segment, for the number of those on their way.
    segment_len: u32,
    smoothed_ns: u64,
    variance_ns: u64,
    sample: Option<(u32, u64)>,
    probe_at: Option<u64>,
    probes: u32,
}

impl Recovery {
    /// Data has left.
    pub(crate) fn note_sent(&mut self, now: u64, sequence: u32, len: u32) {
        let end = sequence.wrapping_add(len);
        let Some(first) = self.first.filter(|_| len > 0) else {
            return;
        };
        if is_after(self.end, first) && !is_after(end, self.end) {
            self.sample = None;
            if core::mem::take(&mut self.expects_repeat) {
                return;
            }
            // The engine begins anew: it will repeat everything, one after the other.
            self.until = None;
            self.end = end;
        } else {
            self.end = end;
        }
        if is_after(end, self.furthest) || !is_after(self.furthest, first) {
            self.furthest = end;
            self.sample = self.sample.or(Some((end, now)));
        }
        self.segment_len = self.segment_len.max(len);
        self.arm(now);
    }

    /// An acknowledgement has come, bare or with data. Whether to repeat the first segment now.
    pub(crate) fn note_acknowledged(&mut self, now: u64, number: u32, is_bare: bool) -> bool {
        let Some(first) = self.first else {
            (self.first, self.end, self.furthest) = (Some(number), number, number);
            return false;
        };
        if is_after(number, first) {
            return self.advance(now, number);
        }
        let is_waiting = is_after(self.end, first);
        if number != first || !is_bare || !is_waiting {
            return false;
        }
        self.duplicates = self.duplicates.saturating_add(1);
        if self.until.is_some() {
            return false;
        }
        let on_way = self
            .end
            .wrapping_sub(first)
            .div_ceil(self.segment_len.max(1));
        let is_enough = self.duplicates >= ENOUGH;
        // Early: all others on their way have arrived, and no more duplicates can come.
        let is_early = (2..=ENOUGH).contains(&on_way) && self.duplicates + 1 >= on_way;
        if is_enough || is_early {
            self.begin();
        }
        is_early && !is_enough
    }

    fn advance(&mut self, now: u64, number: u32) -> bool {
        self.first = Some(number);
        self.duplicates = 0;
        self.probes = 0;
        self.expects_repeat = false;
        if let Some((end, sent)) = self.sample
            && !is_after(end, number)
        {
            self.sample = None;
            self.measure(now.saturating_sub(sent));
        }
        if !is_after(self.end, number) {
            // All is there.
            self.end = number;
            self.until = None;
            self.probe_at = None;
            return false;
        }
        if self.until.is_some_and(|until| !is_after(until, number)) {
            self.until = None;
        }
        self.arm(now);
        self.expects_repeat = self.until.is_some();
        self.expects_repeat
    }

    /// The first byte that the peer has not acknowledged.
    pub(crate) const fn first(&self) -> Option<u32> {
        self.first
    }

    /// When [`is_overdue`](Self::is_overdue) will have something to say.
    pub(crate) const fn next(&self) -> Option<u64> {
        self.probe_at
    }

    /// Whether to repeat the first segment for want of any answer.
    pub(crate) fn is_overdue(&mut self, now: u64) -> bool {
        if self.probe_at.is_none_or(|time| time > now) {
            return false;
        }
        self.probe_at = None;
        if self.probes >= PROBES_MAX {
            return false;
        }
        self.probes += 1;
        self.begin();
        self.arm(now);
        true
    }

    fn begin(&mut self) {
        self.until = Some(self.end);
        self.expects_repeat = true;
        self.sample = None;
    }

    fn arm(&mut self, now: u64) {
        self.probe_at = (self.smoothed_ns > 0).then(|| now.saturating_add(self.patience()));
    }

    /// How long no answer is no reason for worry.
    fn patience(&self) -> u64 {
        let (smoothed, variance) = (self.smoothed_ns, self.variance_ns);
        let base = (smoothed * 2)
            .max(smoothed + variance * 4)
            .max(PATIENCE_MIN_NS);
        let on_way = self.first.map_or(0, |first| self.end.wrapping_sub(first));
        // The peer may wait before it acknowledges one segment alone; not so behind a gap.
        let delay = if on_way <= self.segment_len && self.until.is_none() {
            DELAYED_NS
        } else {
            0
        };
        (base << self.probes.min(PROBES_MAX)).saturating_add(delay)
    }

    /// RFC 6298, 2.
    fn measure(&mut self, trip_ns: u64) {
        let trip_ns = trip_ns.clamp(1, TRIP_MAX_NS);
        if self.smoothed_ns == 0 {
            (self.smoothed_ns, self.variance_ns) = (trip_ns, trip_ns / 2);
        } else {
            let apart = self.smoothed_ns.abs_diff(trip_ns);
            self.variance_ns = (self.variance_ns * 3 + apart) / 4;
            self.smoothed_ns = ((self.smoothed_ns * 7 + trip_ns) / 8).max(1);
        }
    }
}

/// Whether one sequence number is behind another one (RFC 9293, 3.4).
const fn is_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// Duplicates that the engine acts on by itself.
const ENOUGH: u32 = 3;
/// Probes in a row, before the engine's time-out.
const PROBES_MAX: u32 = 5;
/// No probe comes earlier: other systems' clocks tick every few milliseconds.
const PATIENCE_MIN_NS: u64 = 10_000_000;
/// How long others wait before they acknowledge a segment alone: 40 ms in Linux.
const DELAYED_NS: u64 = 50_000_000;
const TRIP_MAX_NS: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const LEN: u32 = 1000;

    /// A connection with a round trip of 2 ms and `count` segments on their way from byte 1000.
    fn busy(count: u32) -> Recovery {
        let mut recovery = Recovery::default();
        assert!(!recovery.note_acknowledged(0, 0, true));
        recovery.note_sent(0, 0, LEN);
        assert!(!recovery.note_acknowledged(2 * MS, LEN, true));
        assert_eq!((recovery.smoothed_ns, recovery.next()), (2 * MS, None));
        for number in 1..=count {
            recovery.note_sent(3 * MS, number * LEN, LEN);
        }
        recovery
    }

    #[test]
    fn a_stream_without_loss_repeats_nothing() {
        let mut recovery = busy(10);
        for number in 2..=11 {
            assert!(!recovery.note_acknowledged(5 * MS, number * LEN, true));
        }
        assert_eq!(recovery.next(), None);
        assert!(!recovery.is_overdue(u64::MAX));
    }

    #[test]
    fn the_second_loss_of_a_window_is_found_by_the_partial_acknowledgement() {
        let mut recovery = busy(10);
        for _ in 0..3 {
            // The engine repeats after the third by itself.
            assert!(!recovery.note_acknowledged(5 * MS, LEN, true));
        }
        recovery.note_sent(5 * MS, LEN, LEN);
        assert!(recovery.note_acknowledged(7 * MS, 4 * LEN, true));
        recovery.note_sent(7 * MS, 4 * LEN, LEN);
        assert!(!recovery.note_acknowledged(7 * MS, 4 * LEN, true));
        assert!(recovery.note_acknowledged(9 * MS, 7 * LEN, true));
        // All that was on its way when the loss was found has come.
        assert!(!recovery.note_acknowledged(11 * MS, 11 * LEN, true));
        assert_eq!(recovery.until, None);
    }

    #[test]
    fn two_on_their_way_need_one_duplicate() {
        let mut recovery = busy(2);
        assert!(recovery.note_acknowledged(5 * MS, LEN, true));
        let mut recovery = busy(3);
        assert!(!recovery.note_acknowledged(5 * MS, LEN, true));
        assert!(recovery.note_acknowledged(5 * MS, LEN, true));
        // Data of the peer that acknowledges nothing new says nothing.
        assert!(!busy(2).note_acknowledged(5 * MS, LEN, false));
    }

    #[test]
    fn silence_is_answered_by_probes_that_become_rarer() {
        let mut recovery = busy(4);
        let mut times = Vec::new();
        while let Some(time) = recovery.next() {
            assert!(!recovery.is_overdue(time - 1));
            if recovery.is_overdue(time) {
                times.push(time / MS);
                recovery.note_sent(time, LEN, LEN);
            }
        }
        assert_eq!(times, [13, 33, 73, 153, 313]);
    }

    #[test]
    fn one_segment_alone_is_given_more_time() {
        assert_eq!(busy(1).next(), Some(63 * MS));
        assert_eq!(busy(2).next(), Some(13 * MS));
    }

    #[test]
    fn when_the_engine_begins_anew_nothing_else_is_repeated() {
        let mut recovery = busy(10);
        for _ in 0..3 {
            recovery.note_acknowledged(5 * MS, LEN, true);
        }
        recovery.note_sent(5 * MS, LEN, LEN);
        // Its time-out: the first again, and on from there.
        recovery.note_sent(205 * MS, LEN, LEN);
        assert!(!recovery.note_acknowledged(207 * MS, 2 * LEN, true));
        recovery.note_sent(207 * MS, 2 * LEN, LEN);
        recovery.note_sent(207 * MS, 3 * LEN, LEN);
        assert!(!recovery.note_acknowledged(209 * MS, 4 * LEN, true));
        assert!(!recovery.note_acknowledged(209 * MS, 11 * LEN, true));
    }

    #[test]
    fn numbers_go_round() {
        let start = u32::MAX - 500;
        let mut recovery = Recovery::default();
        recovery.note_acknowledged(0, start, true);
        for number in 0..4_u32 {
            recovery.note_sent(0, start.wrapping_add(number * LEN), LEN);
        }
        assert!(!recovery.note_acknowledged(MS, start.wrapping_add(LEN), true));
        assert!(!recovery.note_acknowledged(MS, start.wrapping_add(LEN), true));
        assert!(recovery.note_acknowledged(MS, start.wrapping_add(LEN), true));
        assert!(!recovery.note_acknowledged(MS, start.wrapping_add(4 * LEN), true));
    }
}
