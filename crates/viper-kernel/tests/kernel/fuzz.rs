//! Random system calls from several processes on several cores: nothing they do may break an
//! invariant or leave anything behind.

use viper_abi::{FOREVER, FaultKind, Handle, IPC_BUFFERS, Kind, MsgInfo, Rights, SYSCALLS, number};
use viper_kernel::Exception;
use viper_kernel::fake::{Census, FakeMachine};
use viper_kernel::object::{Device, ObjectRef};

/// A small generator of numbers that look random (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

struct Fuzz {
    machine: FakeMachine,
    dice: Dice,
    quota: u32,
    at_first: Census,
    stale: Vec<u32>,
    cores: usize,
    /// By call: how often it was made, and how often it came back at once and well.
    tally: [(u64, u64); 128],
}

impl Fuzz {
    fn new(seed: u64) -> Fuzz {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let cores = 1 + dice.below(4) as usize;
        let mut machine = FakeMachine::new(cores, 640);
        machine.is_short = !dice.one_in(4);
        machine.is_prompt = !dice.one_in(3);
        machine.kernel.work_max = dice.of(&[1, 7, 100, machine.kernel.work_max]);
        let limit = dice.of(&[1 << 20, 2 << 20, 400 << 10]);
        let quota = machine.root_quota(limit);
        let at_first = machine.census();
        Fuzz {
            machine,
            dice,
            quota,
            at_first,
            stale: Vec::new(),
            cores,
            tally: [(0, 0); 128],
        }
    }

    /// A process with handles to the machine, its device and one end of everything.
    fn spawn(&mut self) {
        let priority = self.dice.below(8) as u8;
        let Ok((process, _)) = self.machine.spawn(self.quota, priority) else {
            return;
        };
        let system = ObjectRef::new(Kind::SYSTEM, 0);
        let rights = Rights(Rights::ALL.0 & !(self.dice.next() as u32 & Rights::MANAGE.0));
        let _ = self.machine.give(process, system, rights);
        let _ = self.machine.give_device(
            process,
            Device {
                base: 0x0900_0000,
                len: 0x4000,
                line: 40,
                lines: 8,
                dma_bytes: 64 << 10,
                refs: 0,
                quota: self.quota,
            },
        );
        // Something in common with the others.
        for other in self.machine.kernel.processes.indices().collect::<Vec<_>>() {
            let table = self.machine.kernel.processes[other].table;
            let Ok(table) = self.machine.kernel.caps.table(table) else {
                continue;
            };
            let all: Vec<_> = table.iter().map(|(_, entry)| *entry).collect();
            for _ in 0..all.len().min(2) {
                let entry = self.dice.of(&all);
                if entry.object.kind != Kind::REPLY {
                    let rights = Rights(entry.rights.bits());
                    let _ = self.machine.give(process, entry.object, rights);
                }
            }
            let process = ObjectRef::new(Kind::PROCESS, process);
            let _ = self.machine.give(other, process, Rights::ALL);
        }
    }

    fn handle(&mut self, thread: u32, wanted: &[Kind]) -> u64 {
        if self.dice.one_in(30) {
            return self.dice.next();
        }
        if self.dice.one_in(30) && !self.stale.is_empty() {
            return u64::from(self.dice.of(&self.stale));
        }
        let k = &self.machine.kernel;
        let Ok(table) = k.caps.table(k.table_of(thread)) else {
            return 0;
        };
        let any = self.dice.one_in(15);
        let fit: Vec<u32> = table
            .iter()
            .filter(|(_, e)| any || wanted.contains(&e.object.kind))
            .map(|(h, _)| h.raw())
            .collect();
        if fit.is_empty() {
            return 0;
        }
        let chosen = self.dice.of(&fit);
        if self.dice.one_in(10) {
            self.stale.push(chosen);
        }
        u64::from(chosen)
    }

    fn address(&mut self, thread: u32) -> u64 {
        let offset = self.dice.of(&[0, 0, 4, 8, 4088, 4095, 4096, 1 << 13]);
        match self.dice.below(12) {
            0 => self.dice.next(),
            1 => IPC_BUFFERS + offset,
            2 => u64::MAX - offset,
            3 => (1 << 39) - offset,
            4 => 0x2_0000 + (self.dice.below(64) << 12),
            _ => {
                let k = &self.machine.kernel;
                let regions = &k.processes[k.threads[thread].process].regions;
                let starts: Vec<u64> = regions.iter().map(|r| r.range.start().0).collect();
                if starts.is_empty() {
                    return offset;
                }
                self.dice.of(&starts) + offset
            }
        }
    }

    fn deadline(&mut self) -> u64 {
        let soon = self.machine.now_ns() + self.dice.below(4000);
        self.dice.of(&[0, soon, soon, soon, FOREVER])
    }

    fn size(&mut self) -> u64 {
        let any = self.dice.next();
        self.dice
            .of(&[0, 1, 16, 100, 4096, 8192, 3 * 4096, 16384, 1 << 20, any])
    }

    fn extent(&mut self) -> u64 {
        let any = self.size();
        self.dice.of(&[1, 4096, 4096, 4096, 8192, 12288, any])
    }

    fn protection(&mut self) -> u64 {
        self.dice.of(&[0, 1, 1, 2, 3, 3, 3, 4, 5, 5, 7, 8])
    }

    fn page(&mut self, thread: u32) -> u64 {
        let any = self.address(thread);
        self.dice
            .of(&[0, 0, any, any & !4095, any & !4095, any & !4095])
    }

    fn message(&mut self) -> u64 {
        let len = self.dice.of(&[0, 8, 48, 49, 64, 255, 256, 257]) as usize;
        let handles = if self.dice.one_in(2) {
            0
        } else {
            self.dice.below(6) as usize
        };
        MsgInfo::new(self.dice.next() as u32, len, handles).0
    }

    /// Puts handles into the IPC buffer, which the thread has mapped unless it was ended.
    fn fill_buffer(&mut self, core: usize, thread: u32) {
        const MOVED: &[Kind] = &[
            Kind::CHANNEL,
            Kind::CHANNEL,
            Kind::CHANNEL,
            Kind::EVENT,
            Kind::MEMORY,
            Kind::PROCESS,
            Kind::POLL_SET,
            Kind::TIMER,
            Kind::QUOTA,
        ];
        let handles: Vec<Handle> = (0..4)
            .map(|_| {
                let kind = self.dice.of(MOVED);
                Handle(self.handle(thread, &[kind]) as u32)
            })
            .collect();
        self.machine.put_handles(core, &handles);
    }

    fn call(&mut self, core: usize) {
        let thread = self.machine.running(core).expect("asked before");
        let mut number = self.dice.of(SYSCALLS).number;
        if self.dice.one_in(3) {
            number = self.dice.of(&[
                number::call,
                number::send,
                number::receive,
                number::reply_receive,
                number::reply,
                number::channel_create,
                number::memory_map,
                number::poll_add,
                number::thread_create,
                number::memory_map,
                number::memory_clone,
                number::memory_write,
                number::memory_protect,
                number::memory_unmap,
            ]);
        }
        let rare = [
            number::process_exit,
            number::thread_exit,
            number::process_kill,
            number::system_power,
        ];
        if rare.contains(&number) && !self.dice.one_in(8) {
            return;
        }
        let mut x = [0; 9];
        for word in &mut x {
            *word = self.dice.next();
        }
        x[8] = self.deadline();
        let rights = self.dice.next() & self.dice.of(&[u64::MAX, 0x1fff, 0x3ff]);
        const ANY: &[Kind] = &[
            Kind::PROCESS,
            Kind::THREAD,
            Kind::MEMORY,
            Kind::CHANNEL,
            Kind::EVENT,
            Kind::POLL_SET,
            Kind::TIMER,
            Kind::INTERRUPT,
            Kind::QUOTA,
            Kind::REPLY,
        ];
        const PROCESS: &[Kind] = &[Kind::PROCESS];
        match number {
            number::handle_close | number::handle_revoke => {
                let kind = self.dice.of(ANY);
                x[0] = self.handle(thread, &[kind]);
            }
            number::handle_duplicate => {
                x[0] = self.handle(thread, ANY);
                x[1] = rights;
            }
            number::handle_query => {
                x[0] = self.handle(thread, ANY);
                x[1] = self.address(thread);
            }
            number::handle_give => {
                x[0] = self.handle(thread, PROCESS);
                x[1] = self.handle(thread, ANY);
                x[2] = rights;
            }
            number::handle_list => {
                x[0] = self.handle(thread, PROCESS);
                x[1] = self.dice.below(5);
                x[2] = self.address(thread);
                x[3] = self.dice.below(10);
            }
            number::channel_create => x[0] = self.dice.below(5),
            number::call | number::send => {
                x[0] = self.handle(thread, &[Kind::CHANNEL]);
                x[1] = self.message();
                self.fill_buffer(core, thread);
            }
            number::receive | number::reply_receive => {
                x[0] = self.handle(thread, &[Kind::CHANNEL, Kind::POLL_SET]);
                x[1] = self.message();
                self.fill_buffer(core, thread);
            }
            number::reply => {
                x[0] = self.handle(thread, &[Kind::REPLY]);
                x[1] = self.message();
                self.fill_buffer(core, thread);
            }
            number::event_signal => x[0] = self.handle(thread, &[Kind::EVENT]),
            number::object_wait => {
                x[0] = self.handle(thread, ANY);
                x[1] = self.dice.of(&[0, u64::MAX, 1, 1 << 34]);
                x[2] = self.deadline();
            }
            number::poll_add | number::poll_remove => {
                x[0] = self.handle(thread, &[Kind::POLL_SET]);
                x[1] = self.handle(thread, ANY);
            }
            number::timer_set => {
                x[0] = self.handle(thread, &[Kind::TIMER]);
                x[1] = self.deadline();
                x[2] = self.dice.of(&[0, 0, 1, 1000, 5000, u64::MAX]);
            }
            number::sleep_until => x[0] = self.deadline(),
            number::memory_create => {
                x[0] = self.size();
                x[1] = self.dice.of(&[0, 0, 0, 1, 2]);
            }
            number::memory_clone | number::memory_info => {
                x[0] = self.handle(thread, &[Kind::MEMORY])
            }
            number::memory_map => {
                x[0] = if self.dice.one_in(2) {
                    0
                } else {
                    self.handle(thread, PROCESS)
                };
                x[1] = self.handle(thread, &[Kind::MEMORY]);
                x[2] = self
                    .dice
                    .of(&[0, 0, 0, 0, 0, 4096, 8192, 1, u64::MAX - 4095]);
                x[3] = self.extent();
                let any = self.protection();
                x[4] = self.dice.of(&[1, 3, 3, 3, 3, 3, 5, any])
                    | self.dice.of(&[0, 0, 0, 1 << 8, 1 << 9, 1 << 10, 1 << 10]);
                x[5] = self.page(thread);
            }
            number::memory_unmap | number::memory_protect => {
                x[0] = if self.dice.one_in(2) {
                    0
                } else {
                    self.handle(thread, PROCESS)
                };
                x[1] = self.page(thread);
                x[2] = self.extent();
                x[3] = self.protection();
            }
            number::memory_read | number::memory_write => {
                x[0] = self.handle(thread, &[Kind::MEMORY]);
                x[1] = self.dice.of(&[0, 0, 1, 4000, 8192]);
                x[2] = self.address(thread);
                x[3] = self.extent();
            }
            number::memory_sync_code => {
                x[0] = self.address(thread);
                x[1] = self.size();
            }
            number::process_create => {
                x[0] = self.handle(thread, &[Kind::QUOTA]);
                x[1] = self.address(thread);
                x[2] = self.dice.below(40);
            }
            number::process_kill | number::process_info => {
                x[0] = self.handle(thread, PROCESS);
                x[1] = self.address(thread);
            }
            number::process_list => {
                x[0] = self.handle(thread, &[Kind::SYSTEM]);
                x[1] = self.dice.below(5);
                x[2] = self.address(thread);
                x[3] = self.dice.below(10);
            }
            number::process_open => {
                x[0] = self.handle(thread, &[Kind::SYSTEM]);
                x[1] = self.dice.below(50);
            }
            number::thread_create => {
                x[0] = if self.dice.one_in(2) {
                    0
                } else {
                    self.handle(thread, PROCESS)
                };
                x[2] &= !15;
                x[5] = self.dice.below(9) | self.dice.of(&[0, 0, 1, 2, 3, 0xff, 0x80]) << 8;
            }
            number::thread_set => {
                x[0] = if self.dice.one_in(2) {
                    0
                } else {
                    self.handle(thread, &[Kind::THREAD])
                };
                x[1] = self.dice.below(9) | self.dice.of(&[0, 0, 1, 2, 3, 0xff, 0x80]) << 8;
            }
            number::futex_wait | number::futex_wake => {
                x[0] = self.address(thread) & !3;
                x[1] = self.dice.below(2);
                x[2] = self.deadline();
            }
            number::quota_create | number::quota_info => {
                x[0] = self.handle(thread, &[Kind::QUOTA]);
                x[1] = self.size();
            }
            number::device_narrow => {
                x[0] = self.handle(thread, &[Kind::DEVICE]);
                x[1] = 0x0900_0000 + self.dice.of(&[0, 4096, 16, u64::MAX - 0x0900_0000]);
                x[2] = self.size();
                x[3] = (40 + self.dice.below(9)) | self.dice.below(5) << 32;
                x[4] = self.size();
            }
            number::device_info | number::device_map | number::device_read => {
                x[0] = self.handle(thread, &[Kind::DEVICE]);
                x[1] = self.dice.below(20) * 4;
            }
            number::device_write => x[0] = self.handle(thread, &[Kind::DEVICE]),
            number::interrupt_create => {
                x[0] = self.handle(thread, &[Kind::DEVICE]);
                x[1] = self.dice.below(9);
            }
            number::interrupt_ack => x[0] = self.handle(thread, &[Kind::INTERRUPT]),
            number::dma_create | number::dma_address => {
                x[0] = self.handle(thread, &[Kind::DEVICE]);
                x[1] = if number == number::dma_create {
                    self.size()
                } else {
                    self.handle(thread, &[Kind::MEMORY])
                };
            }
            number::debug_write
            | number::debug_read
            | number::system_power
            | number::system_info => {
                x[0] = self.handle(thread, &[Kind::SYSTEM]);
                x[1] = self.address(thread);
                x[2] = self.dice.below(300);
                x[3] = self.deadline();
            }
            _ => {}
        }
        let number = if self.dice.one_in(500) {
            self.dice.next() as u16
        } else {
            number
        };
        self.machine.syscall(core, number, &x);
        let went_on = self.machine.running(core) == Some(thread);
        if let Some(tally) = self.tally.get_mut(number as usize) {
            tally.0 += 1;
            tally.1 += u64::from(went_on && self.machine.results(thread).is_ok());
        }
    }

    fn step(&mut self) {
        let core = self.dice.below(self.cores as u64) as usize;
        match self.dice.below(40) {
            0 => {
                let ns = self.dice.of(&[1, 100, 2000, 20_000, 6_000_000]);
                self.machine.advance(ns);
            }
            1 => self
                .machine
                .interrupt(core, Some(40 + self.dice.below(8) as u32)),
            2 => {
                let byte = self.dice.next() as u8;
                self.machine.kernel.platform.debug_input.push_back(byte);
                self.machine.interrupt(core, Some(33));
            }
            3 if self.dice.one_in(40) && self.machine.running(core).is_some() => {
                let what = Exception::Other(FaultKind::ILLEGAL, 0);
                self.machine.except(core, what);
            }
            4 if self.machine.running(core).is_some() => {
                self.machine.except(core, Exception::Vector);
            }
            5..11 => {
                if let Some(thread) = self.machine.running(core) {
                    let at = self.address(thread);
                    let at = if self.dice.one_in(8) { at } else { at & !4095 };
                    let known = self.machine.kernel.processes
                        [self.machine.kernel.threads[thread].process]
                        .regions
                        .find(viper_vm::VirtAddr(at))
                        .is_some();
                    if known || self.dice.one_in(20) {
                        let value = self.dice.one_in(2).then_some(7);
                        self.machine.access(core, at, value);
                    }
                }
            }
            11 => self.machine.settle(),
            12 if self.dice.one_in(4) => {
                let more = self.dice.below(12) as u32;
                let left = &mut self.machine.kernel.frames.fail_after;
                *left = if *left == u32::MAX { more } else { u32::MAX };
            }
            13 if self.dice.one_in(30) => self.spawn(),
            _ => {
                if self.machine.running(core).is_some() {
                    self.call(core);
                } else {
                    self.machine.settle();
                    self.machine.advance(500);
                }
            }
        }
        if (0..self.cores).all(|c| self.machine.running(c).is_none()) && self.dice.one_in(4) {
            self.machine.kernel.frames.fail_after = u32::MAX;
            self.machine.advance(5000);
            self.spawn();
        }
    }

    fn run(mut self, steps: u32) -> [(u64, u64); 128] {
        for _ in 0..3 {
            self.spawn();
        }
        for step in 0..steps {
            self.step();
            if step % 8 == 0 {
                self.machine.check();
            }
            if step % 256 == 0 {
                self.machine.check_all();
            }
            if self.machine.kernel.processes.len() > 12 {
                self.thin_out();
            }
        }
        self.machine.kernel.frames.fail_after = u32::MAX;
        while self.thin_out() {}
        self.machine.check_all();
        assert_eq!(
            self.machine.census(),
            self.at_first,
            "something was left behind"
        );
        self.tally
    }

    /// Kills a process that lives.
    fn thin_out(&mut self) -> bool {
        let k = &self.machine.kernel;
        let Some(process) = k
            .processes
            .indices()
            // One without a name is on its way out already.
            .find(|&p| k.processes[p].pages.is_some() && k.processes[p].refs > 0)
        else {
            return false;
        };
        self.machine.kill(process);
        true
    }
}

#[test]
fn random_calls_break_nothing() {
    let first = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let seeds = match first {
        Some(seed) => seed..seed + 1,
        None => {
            1..std::env::var("SEEDS")
                .ok()
                .and_then(|s| s.parse().ok())
                .unwrap_or(100)
        }
    };
    let steps = std::env::var("STEPS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(2000);
    let mut tally = [(0, 0); 128];
    for seed in seeds {
        println!("seed {seed}");
        let more = Fuzz::new(seed).run(steps);
        for (sum, more) in tally.iter_mut().zip(more) {
            *sum = (sum.0 + more.0, sum.1 + more.1);
        }
    }
    for call in SYSCALLS {
        let (made, well) = tally[call.number as usize];
        println!("{:16} {made:8} {well:8}", call.name);
    }
}
