//! When a process is started, and started again: a state machine without a clock.

use crate::manifest::{Restart, RestartWhen};

const MILLISECOND: u64 = 1_000_000;
const FIRST_DELAY_MS: u64 = 100;

/// What a supervised process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started yet: it waits for what it needs.
    Pending,
    /// Switched off.
    Off,
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Ended; starts again at this time.
    Waiting(u64),
    /// Ended; its rule does not start it again.
    Failed,
}

/// The supervision of one process. Times are nanoseconds of uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    rule: Restart,
    state: State,
    starts: u32,
    started_ns: u64,
    delay_ms: u64,
}

impl Supervision {
    /// A process that waits for its first start.
    #[must_use]
    pub fn new(rule: Restart) -> Supervision {
        Supervision {
            rule,
            state: State::Pending,
            starts: 0,
            started_ns: 0,
            delay_ms: FIRST_DELAY_MS,
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How often it was started.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// When it was started last.
    #[must_use]
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Starting | State::Ready)
    }

    /// Whether it may become ready without anybody's command.
    #[must_use]
    pub fn has_hope(&self) -> bool {
        !matches!(self.state, State::Off | State::Failed)
    }

    /// It was started.
    pub fn started(&mut self, now: u64) {
        self.state = State::Starting;
        self.starts += 1;
        self.started_ns = now;
    }

    /// It says that it is ready.
    pub fn ready(&mut self) {
        if self.state == State::Starting {
            self.state = State::Ready;
            // It works: what it took to get here does not count against it any more.
            self.delay_ms = FIRST_DELAY_MS;
        }
    }

    /// It has ended, or could not be started. Decides when it starts again.
    pub fn ended(&mut self, now: u64, failed: bool) {
        let again = match self.rule.when {
            RestartWhen::Never => false,
            RestartWhen::OnFailure => failed,
            RestartWhen::Always => true,
        };
        if !again {
            self.state = if failed { State::Failed } else { State::Off };
            return;
        }
        let run_min = u64::from(self.rule.run_min_ms) * MILLISECOND;
        if self.is_running() && now.saturating_sub(self.started_ns) >= run_min {
            self.delay_ms = FIRST_DELAY_MS;
            self.state = State::Waiting(now);
            return;
        }
        // Dying young costs a short wait; dying before it was ready, one that grows each time.
        let delay_max = u64::from(self.rule.delay_max_ms).max(FIRST_DELAY_MS);
        let was_ready = self.state == State::Ready;
        self.state = State::Waiting(now + self.delay_ms.min(delay_max) * MILLISECOND);
        if !was_ready {
            self.delay_ms = (self.delay_ms * 2).min(delay_max);
        }
    }

    /// Somebody wants it started now.
    pub fn wanted(&mut self, now: u64) {
        self.delay_ms = FIRST_DELAY_MS;
        self.state = State::Waiting(now);
    }

    /// Somebody switches it off.
    pub fn switched_off(&mut self) {
        self.state = State::Off;
    }

    /// Whether it is to be started at this time.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        matches!(self.state, State::Waiting(at) if at <= now)
    }

    /// When it is to be started, if that is known.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        match self.state {
            State::Waiting(at) => Some(at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always() -> Restart {
        Restart {
            when: RestartWhen::Always,
            run_min_ms: 1000,
            delay_max_ms: 500,
        }
    }

    #[test]
    fn short_runs_wait_longer_each_time_and_long_runs_do_not() {
        let mut s = Supervision::new(always());
        let mut now = 5;
        for delay_ms in [100, 200, 400, 500, 500] {
            s.started(now);
            s.ended(now, true);
            assert_eq!(s.due(), Some(now + delay_ms * MILLISECOND));
            now += delay_ms * MILLISECOND;
            assert!(s.is_due(now) && !s.is_due(now - 1));
        }
        for _ in 0..5 {
            s.started(now);
            s.ready();
            assert_eq!(s.state(), State::Ready);
            s.ended(now, true);
            assert_eq!(
                s.due(),
                Some(now + 100 * MILLISECOND),
                "one that was ready is back soon, however often it dies"
            );
            now += 100 * MILLISECOND;
        }
        s.started(now);
        s.ended(now + 1000 * MILLISECOND, false);
        assert!(
            s.is_due(now + 1000 * MILLISECOND),
            "ran long enough: at once"
        );
        s.started(now);
        s.ended(now, true);
        assert_eq!(
            s.due(),
            Some(now + 100 * MILLISECOND),
            "and the waits begin anew"
        );
    }

    #[test]
    fn rules_decide_whether_it_starts_again() {
        for (when, failed, state) in [
            (RestartWhen::Never, true, State::Failed),
            (RestartWhen::Never, false, State::Off),
            (RestartWhen::OnFailure, false, State::Off),
        ] {
            let mut s = Supervision::new(Restart { when, ..always() });
            s.started(0);
            s.ended(0, failed);
            assert_eq!(s.state(), state);
            assert!(!s.has_hope());
            s.wanted(7);
            assert!(s.is_due(7));
        }
    }

    #[test]
    fn ready_counts_only_while_starting() {
        let mut s = Supervision::new(always());
        s.ready();
        assert_eq!(s.state(), State::Pending);
        s.switched_off();
        s.ready();
        assert_eq!(s.state(), State::Off);
    }
}
