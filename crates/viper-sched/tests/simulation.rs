//! A machine of 1 to 8 cores with random arrivals, calls, blocks and interrupts that arrive late.
//! What the scheduler promises is checked after each step.
//!
//! `VIPER_SCHED_CASES` sets how many machines are tried.

use std::collections::HashMap;

use proptest::prelude::*;
use viper_sched::{
    CoreId, CoreMask, PRIORITIES, Priority, SchedError, Scheduler, ThreadId, ThreadState,
};

const SLICE_NS: u64 = 5_000_000;
const THREADS: u32 = 24;

#[derive(Clone, Debug)]
enum Op {
    Add {
        thread: u32,
        priority: u8,
        affinity: u8,
    },
    Remove {
        thread: u32,
    },
    Wake {
        thread: u32,
    },
    Suspend {
        thread: u32,
    },
    Block {
        core: usize,
    },
    Yield {
        core: usize,
    },
    HandOver {
        core: usize,
        to: u32,
    },
    SetBase {
        thread: u32,
        priority: u8,
    },
    Donate {
        thread: u32,
        priority: Option<u8>,
    },
    SetAffinity {
        thread: u32,
        affinity: u8,
    },
    Pass {
        ns: u64,
    },
    /// A core that was asked to gets round to rescheduling.
    Interrupt {
        core: usize,
    },
    /// All of them do.
    Settle,
}

fn op() -> impl Strategy<Value = Op> {
    let thread = || 0..THREADS;
    let core = || 0..8usize;
    let priority = || 0..PRIORITIES as u8;
    let affinity = || prop_oneof![Just(0xFF), (0..8u8).prop_map(|core| 1 << core), any::<u8>()];
    prop_oneof![
        6 => (thread(), priority(), affinity())
            .prop_map(|(thread, priority, affinity)| Op::Add { thread, priority, affinity }),
        1 => thread().prop_map(|thread| Op::Remove { thread }),
        12 => thread().prop_map(|thread| Op::Wake { thread }),
        2 => thread().prop_map(|thread| Op::Suspend { thread }),
        6 => core().prop_map(|core| Op::Block { core }),
        2 => core().prop_map(|core| Op::Yield { core }),
        4 => (core(), thread()).prop_map(|(core, to)| Op::HandOver { core, to }),
        2 => (thread(), priority())
            .prop_map(|(thread, priority)| Op::SetBase { thread, priority }),
        4 => (thread(), proptest::option::of(priority()))
            .prop_map(|(thread, priority)| Op::Donate { thread, priority }),
        2 => (thread(), affinity())
            .prop_map(|(thread, affinity)| Op::SetAffinity { thread, affinity }),
        4 => (0..2 * SLICE_NS).prop_map(|ns| Op::Pass { ns }),
        6 => core().prop_map(|core| Op::Interrupt { core }),
        4 => Just(Op::Settle),
    ]
}

/// What a thread should be, as far as its own history tells.
#[derive(Clone, Copy, Debug)]
struct Expected {
    is_runnable: bool,
    base: u8,
    donated: Option<u8>,
    affinity: u8,
}

struct Machine {
    sched: Scheduler,
    cores: Vec<CoreId>,
    threads: HashMap<u32, Expected>,
    /// Interrupts on their way.
    asked: Vec<bool>,
    now_ns: u64,
}

impl Machine {
    fn new(core_count: usize) -> Self {
        Self {
            sched: Scheduler::new(core_count, [SLICE_NS; PRIORITIES]).unwrap(),
            cores: (0..core_count).filter_map(CoreId::new).collect(),
            threads: HashMap::new(),
            asked: vec![false; core_count],
            now_ns: 0,
        }
    }

    fn core(&self, core: usize) -> CoreId {
        self.cores[core % self.cores.len()]
    }

    fn ask(&mut self, core: Option<CoreId>) {
        if let Some(core) = core {
            assert!(self.sched.needs_reschedule(core));
            self.asked[core.index()] = true;
        }
    }

    fn reschedule(&mut self, core: CoreId) {
        self.asked[core.index()] = false;
        let switch = self.sched.reschedule(core, self.now_ns);
        assert_eq!(switch.thread, self.sched.running(core));
        assert!(!self.sched.needs_reschedule(core) || switch.interrupt == Some(core));
        self.ask(switch.interrupt);
    }

    /// Lets interrupts arrive until none is on its way.
    fn settle(&mut self) {
        for _round in 0..100 {
            let Some(at) = self.asked.iter().position(|&asked| asked) else {
                return;
            };
            self.reschedule(self.cores[at]);
        }
        panic!("the cores interrupt each other for ever");
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Add {
                thread,
                priority,
                affinity,
            } => self.add(thread, priority, affinity),
            Op::Remove { thread } => {
                let result = self.sched.remove(ThreadId(thread));
                assert_eq!(result.is_ok(), self.threads.remove(&thread).is_some());
                self.ask(result.unwrap_or(None));
            }
            Op::Wake { thread } => self.wake(thread),
            Op::Suspend { thread } => {
                let result = self.sched.suspend(ThreadId(thread));
                assert_eq!(
                    result.is_ok(),
                    self.expect(thread, |e| e.is_runnable = false)
                );
                self.ask(result.unwrap_or(None));
            }
            Op::Block { core } => {
                let core = self.core(core);
                let expected = self.sched.running(core);
                assert_eq!(self.sched.block(core), expected);
                if let Some(id) = expected {
                    self.expect(id.0, |e| e.is_runnable = false);
                    self.reschedule(core);
                }
            }
            Op::Yield { core } => {
                self.sched.end_slice(self.core(core));
                self.reschedule(self.core(core));
            }
            Op::HandOver { core, to } => self.hand_over(self.core(core), to),
            Op::SetBase { thread, priority } => {
                let base = Priority::new(priority).unwrap();
                let result = self.sched.set_base(ThreadId(thread), base);
                assert_eq!(result.is_ok(), self.expect(thread, |e| e.base = priority));
                self.ask(result.unwrap_or(None));
            }
            Op::Donate { thread, priority } => {
                let donated = priority.and_then(Priority::new);
                let result = self.sched.set_donated(ThreadId(thread), donated);
                assert_eq!(
                    result.is_ok(),
                    self.expect(thread, |e| e.donated = priority)
                );
                self.ask(result.unwrap_or(None));
            }
            Op::SetAffinity { thread, affinity } => {
                let result = self
                    .sched
                    .set_affinity(ThreadId(thread), CoreMask(affinity));
                if result.is_ok() {
                    assert!(self.expect(thread, |e| e.affinity = affinity));
                }
                self.ask(result.unwrap_or(None));
            }
            Op::Pass { ns } => self.pass(ns),
            Op::Interrupt { core } => {
                let core = self.core(core);
                if self.asked[core.index()] {
                    self.reschedule(core);
                }
            }
            Op::Settle => {
                self.settle();
                self.check_settled();
            }
        }
        self.check();
    }

    fn expect(&mut self, thread: u32, change: impl FnOnce(&mut Expected)) -> bool {
        self.threads.get_mut(&thread).map(change).is_some()
    }

    fn add(&mut self, thread: u32, priority: u8, affinity: u8) {
        let base = Priority::new(priority).unwrap();
        let result = self.sched.add(ThreadId(thread), base, CoreMask(affinity));
        let has_core = self
            .cores
            .iter()
            .any(|&core| CoreMask(affinity).contains(core));
        match result {
            Ok(()) => {
                assert!(has_core);
                let new = Expected {
                    is_runnable: false,
                    base: priority,
                    donated: None,
                    affinity,
                };
                assert!(self.threads.insert(thread, new).is_none());
            }
            Err(SchedError::NoCore) => assert!(!has_core),
            Err(error) => {
                assert_eq!(error, SchedError::ThreadExists);
                assert!(self.threads.contains_key(&thread));
            }
        }
    }

    fn wake(&mut self, thread: u32) {
        let expected = self.threads.get(&thread).copied();
        match self.sched.wake(ThreadId(thread)) {
            Ok(interrupt) => {
                assert!(!expected.unwrap().is_runnable);
                self.expect(thread, |e| e.is_runnable = true);
                self.ask(interrupt);
            }
            Err(SchedError::NoThread) => assert!(expected.is_none()),
            Err(_) => assert!(expected.unwrap().is_runnable),
        }
    }

    fn hand_over(&mut self, core: CoreId, to: u32) {
        let from = self.sched.running(core);
        let end_ns = self.sched.slice_end_ns(core);
        if self.sched.hand_over(core, ThreadId(to)) {
            assert!(!self.threads[&to].is_runnable);
            self.expect(from.unwrap().0, |e| e.is_runnable = false);
            self.expect(to, |e| e.is_runnable = true);
            assert_eq!(self.sched.running(core), Some(ThreadId(to)));
            assert_eq!(self.sched.slice_end_ns(core), end_ns);
        }
    }

    /// Time passes; timers fire where turns end.
    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        for core in self.cores.clone() {
            if self
                .sched
                .slice_end_ns(core)
                .is_some_and(|end| end <= self.now_ns)
            {
                self.reschedule(core);
            }
        }
    }

    /// Holds always: nothing is lost, nothing is in two places, asked cores were told.
    fn check(&self) {
        assert!(self.sched.is_consistent());
        for (&thread, expected) in &self.threads {
            let state = self.sched.state(ThreadId(thread)).unwrap();
            assert_eq!(
                state != ThreadState::Blocked,
                expected.is_runnable,
                "{thread}: {state:?}"
            );
            let level = expected.base.max(expected.donated.unwrap_or(0));
            assert_eq!(
                self.sched.priority(ThreadId(thread)).unwrap().level(),
                level
            );
        }
        for &core in &self.cores {
            assert_eq!(self.sched.needs_reschedule(core), self.asked[core.index()]);
        }
    }

    /// Holds when no interrupt is on its way: nobody waits for a core that does less or nothing,
    /// and nobody is where it may not be.
    fn check_settled(&self) {
        let waits = |thread: &u32| {
            matches!(
                self.sched.state(ThreadId(*thread)),
                Ok(ThreadState::Queued(_))
            )
        };
        for &core in &self.cores {
            if let Some(id) = self.sched.running(core) {
                assert!(CoreMask(self.threads[&id.0].affinity).contains(core));
            }
            let allowed = |thread: &u32| CoreMask(self.threads[thread].affinity).contains(core);
            for &thread in self
                .threads
                .keys()
                .filter(|thread| waits(thread) && allowed(thread))
            {
                let priority = self.sched.priority(ThreadId(thread)).unwrap();
                let running = self
                    .sched
                    .running(core)
                    .expect("an idle core and a waiting thread");
                assert!(self.sched.priority(running).unwrap() >= priority);
                assert!(!self.sched.should_preempt(core, priority));
            }
        }
    }
}

fn from_env(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: from_env("VIPER_SCHED_CASES", 256),
        ..ProptestConfig::default()
    })]

    #[test]
    fn promises_hold_on_any_machine(
        core_count in 1..=8usize,
        ops in proptest::collection::vec(op(), 1..300),
    ) {
        let mut machine = Machine::new(core_count);
        for op in &ops {
            machine.apply(op);
        }
        machine.apply(&Op::Settle);
    }
}

#[test]
fn a_core_that_keeps_its_thread_passes_the_waiting_one_on() {
    let mut machine = Machine::new(4);
    let steps = [
        Op::Add {
            thread: 1,
            priority: 1,
            affinity: 0xFF,
        },
        Op::Add {
            thread: 7,
            priority: 2,
            affinity: 0b1010,
        },
        Op::Add {
            thread: 22,
            priority: 0,
            affinity: 0xFF,
        },
        Op::Wake { thread: 1 },
        Op::Wake { thread: 22 },
        Op::Settle,
        // Core 1 is asked to take it, but then has something as important already.
        Op::Wake { thread: 7 },
        Op::SetBase {
            thread: 22,
            priority: 2,
        },
        Op::Settle,
    ];
    for step in &steps {
        machine.apply(step);
    }
    let state = machine.sched.state(ThreadId(7)).unwrap();
    assert_eq!(state, ThreadState::Running(machine.core(3)));
}

/// Runs `threads` equal threads for a while; gives the time each one had.
fn time_shares(core_count: usize, threads: u32, turns: u64) -> Vec<u64> {
    let mut machine = Machine::new(core_count);
    for thread in 0..threads {
        machine.add(thread, 3, 0xFF);
        machine.wake(thread);
        machine.settle();
    }
    let mut had = vec![0; threads as usize];
    for _ in 0..turns {
        for core in machine.cores.clone() {
            if let Some(id) = machine.sched.running(core) {
                had[id.0 as usize] += 1;
            }
        }
        machine.pass(SLICE_NS);
        machine.settle();
        machine.check();
        machine.check_settled();
    }
    had
}

#[test]
fn equal_threads_on_one_core_get_equal_time() {
    assert_eq!(time_shares(1, 5, 100), [20; 5]);
}

#[test]
fn equal_threads_get_about_equal_time_on_any_number_of_cores() {
    for cores in [1, 2, 3, 4, 8] {
        for threads in cores as u32..=3 * cores as u32 + 1 {
            let shares = time_shares(cores, threads, 400);
            let fair = 400 * cores as u64 / u64::from(threads);
            let all_fair = shares.iter().all(|&had| had.abs_diff(fair) <= fair / 5 + 2);
            assert!(
                all_fair,
                "{cores} cores, {threads} threads: {shares:?}, fair is {fair}"
            );
        }
    }
}
