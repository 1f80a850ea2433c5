//! Cores as loom's threads, and the programs that run on them.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::collections::VecDeque;
use viper_abi::{EndReason, Error, Handle, Rights, number};
use viper_kernel::fake::FakeMachine;
use viper_kernel::object::ObjectRef;

/// Where threads begin: nothing of theirs is executed.
const HOME: u64 = 0x1_0000_0000;

/// What a program does next: on a core, as a thread.
pub type Step = Box<dyn FnOnce(&mut World, usize, u32)>;

/// A machine with a process of one thread for each program.
pub struct World {
    pub m: FakeMachine,
    pub programs: Vec<Program>,
    /// What the programs have noted, in this order.
    pub notes: Vec<Note>,
    quota: u32,
    /// Nanoseconds by which the clock is put forward, once.
    tick_ns: Option<u64>,
}

pub struct Program {
    pub process: u32,
    pub thread: u32,
    steps: VecDeque<Step>,
    has_exited: bool,
}

/// What a call of a program came to: its number, and the first two results.
pub type Note = (usize, Result<[u64; 2], Error>);

impl World {
    pub fn new(cores: usize, is_short: bool) -> World {
        let mut m = FakeMachine::new(cores, 96);
        m.is_short = is_short;
        let quota = m.root_quota(8 << 20);
        World {
            m,
            programs: Vec::new(),
            notes: Vec::new(),
            quota,
            tick_ns: None,
        }
    }

    /// A process that does nothing yet. Its number.
    pub fn process(&mut self, priority: u8) -> usize {
        let (process, thread) = self.m.spawn(self.quota, priority).unwrap();
        self.m.settle();
        self.add(process, thread)
    }

    /// Another thread in the process of a program: a program, too.
    pub fn thread(&mut self, program: usize, priority: u64) -> usize {
        self.ask(
            program,
            number::thread_create,
            &[0, HOME, HOME, 0, 0, priority],
        );
        let process = self.programs[program].process;
        let running = (0..8).filter_map(|core| self.m.running(core));
        let is_new = |thread: &u32| self.programs.iter().all(|p| p.thread != *thread);
        let thread = { running }.find(is_new).expect("a core for each");
        self.add(process, thread)
    }

    fn add(&mut self, process: u32, thread: u32) -> usize {
        self.programs.push(Program {
            process,
            thread,
            steps: VecDeque::new(),
            has_exited: false,
        });
        self.programs.len() - 1
    }

    /// A page of a program's process, which is there.
    pub fn page(&mut self, program: usize) -> u64 {
        let core = self.core_of(program);
        let (_, at) = self.m.map(core, 1).unwrap();
        self.m.store(core, at, &[0]);
        at
    }

    fn core_of(&self, program: usize) -> usize {
        let thread = self.programs[program].thread;
        let core = (0..8).find(|&core| self.m.running(core) == Some(thread));
        core.expect("it runs")
    }

    /// A call of a program before anything begins.
    pub fn ask(&mut self, program: usize, call: u16, arguments: &[u64]) -> [u64; 8] {
        let core = self.core_of(program);
        let got = self.m.ask(core, call, arguments).unwrap();
        self.m.settle();
        got
    }

    /// Gives what a handle of one program names to another.
    pub fn share(&mut self, from: usize, handle: u64, to: usize) -> u64 {
        let object = self
            .m
            .object(self.programs[from].process, Handle(handle as u32));
        self.give(to, object.unwrap())
    }

    pub fn give(&mut self, to: usize, object: ObjectRef) -> u64 {
        let process = self.programs[to].process;
        u64::from(self.m.give(process, object, Rights::ALL).unwrap().0)
    }

    /// The next step of a program: a call.
    pub fn calls(&mut self, program: usize, call: u16, arguments: &[u64]) {
        let arguments = arguments.to_vec();
        self.does(program, move |world, core, _| {
            world.m.syscall(core, call, &arguments);
        });
    }

    /// The next step of a program: a call, and a note of what it came to.
    pub fn notes(&mut self, program: usize, call: u16, arguments: &[u64]) {
        self.calls(program, call, arguments);
        self.does(program, move |world, _, thread| {
            let result = world.m.results(thread);
            world.notes.push((program, result.map(|x| [x[0], x[1]])));
        });
    }

    pub fn does(&mut self, program: usize, step: impl FnOnce(&mut World, usize, u32) + 'static) {
        self.programs[program].steps.push_back(Box::new(step));
    }

    /// What a program does before everything else that it was to do.
    pub fn does_first(
        &mut self,
        program: usize,
        step: impl FnOnce(&mut World, usize, u32) + 'static,
    ) {
        self.programs[program].steps.push_front(Box::new(step));
    }

    /// Some core puts the clock forward, whenever.
    pub fn ticks(&mut self, ns: u64) {
        self.tick_ns = Some(ns);
    }

    pub fn noted(&self, program: usize) -> Vec<Result<[u64; 2], Error>> {
        let own = self.notes.iter().filter(|note| note.0 == program);
        own.map(|note| note.1).collect()
    }

    /// Lets a core do one thing, if it has anything to do.
    fn enter(&mut self, core: usize) -> bool {
        if self.m.kernel.platform.called & 1 << core != 0 {
            self.m.kernel.platform.called &= !(1 << core);
            self.m.interrupt(core, None);
            return true;
        }
        let Some(thread) = self.m.running(core) else {
            return false;
        };
        let program = self.programs.iter_mut().find(|p| p.thread == thread);
        let program = program.expect("every thread is a program's");
        match program.steps.pop_front() {
            Some(step) => step(self, core, thread),
            None => {
                program.has_exited = true;
                // The one thread, or the last one of several, ends the process.
                self.m.syscall(core, number::thread_exit, &[]);
            }
        }
        true
    }

    fn tick(&mut self) {
        if let Some(ns) = self.tick_ns.take() {
            self.m.advance(ns);
        }
    }

    fn is_over(&self) -> bool {
        let has_ended = |p: &Program| {
            let process = self.m.kernel.processes.get(p.process);
            process.is_none_or(|process| process.end.reason != EndReason::RUNNING)
        };
        self.tick_ns.is_none() && self.programs.iter().all(|p| p.has_exited || has_ended(p))
    }
}

/// Runs what `prepare` makes in the orders of entries that the bound allows, by the short and by
/// the long way, and judges how each ended. A thread that waits for ever is a deadlock, which loom
/// reports.
pub fn in_every_order(cores: usize, prepare: fn(&mut World), judge: fn(&World)) {
    for is_short in [true, false] {
        let ways = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = ways.clone();
        let mut model = loom::model::Builder::new();
        // An entry is many accesses: there are more ways to interrupt it than matter.
        model.preemption_bound = model.preemption_bound.map(|bound| bound.clamp(2, 4) - 1);
        model.check(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut world = World::new(cores, is_short);
            prepare(&mut world);
            let has_clock = world.tick_ns.is_some();
            let shared = Arc::new((Mutex::new(world), Condvar::new()));
            let others: Vec<_> = (1..cores)
                .map(|core| {
                    let shared = shared.clone();
                    thread::spawn(move || run(&shared, core))
                })
                .collect();
            let clock = has_clock.then(|| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.0.lock().unwrap().tick();
                    shared.1.notify_all();
                })
            });
            run(&shared, 0);
            for other in others.into_iter().chain(clock) {
                other.join().unwrap();
            }
            let mut world = shared.0.lock().unwrap();
            world.m.settle();
            world.m.check_all();
            judge(&world);
        });
        let ways = ways.load(std::sync::atomic::Ordering::Relaxed);
        assert!(ways > 1, "there is more than one order");
        eprintln!("# {ways} orders, short way {is_short}");
    }
}

/// What a core does.
fn run(shared: &(Mutex<World>, Condvar), core: usize) {
    let (world, changed) = shared;
    let mut inside = world.lock().unwrap();
    while !inside.is_over() {
        if inside.enter(core) {
            changed.notify_all();
            drop(inside);
            inside = world.lock().unwrap();
        } else {
            inside = changed.wait(inside).unwrap();
        }
    }
    changed.notify_all();
}
