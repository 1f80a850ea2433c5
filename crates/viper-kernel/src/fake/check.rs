//! What must hold between any two entries, whatever programs do.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use viper_abi::Kind;
use viper_sched::{CoreId, ThreadId, ThreadState};
use viper_vm::Frame;

use super::machine::FakeMachine;
use crate::arena::NIL;
use crate::kernel::WOKEN;
use crate::object::{Backing, ObjectRef, Region};
use crate::platform::Frames;
use crate::quota::{MESSAGE_BYTES, OBJECT_BYTES, THREAD_BYTES};
use crate::thread::{Queue, Siblings, State, Wait, Waiting};

/// How much of everything there is: what a process has taken must be back when it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    frames: usize,
    asids: u32,
    capabilities: usize,
    objects: [u32; 13],
    used: Vec<(u32, u64, u32)>,
    lines: usize,
}

impl FakeMachine {
    /// Counts everything.
    pub fn census(&self) -> Census {
        let k = &self.kernel;
        Census {
            frames: k.frames.free_frames(),
            asids: k.asids.iter().map(|w| w.count_ones()).sum(),
            capabilities: k.caps.len(),
            objects: [
                k.processes.len(),
                k.threads.len(),
                k.memories.len(),
                k.channels.len(),
                k.messages.len(),
                k.rests.len(),
                k.events.len(),
                k.timers.len(),
                k.sets.len(),
                k.members.len(),
                k.devices.len(),
                k.interrupts.len(),
                k.quotas.len(),
            ],
            used: k
                .quotas
                .indices()
                .map(|q| (q, k.quotas[q].used, k.quotas[q].refs))
                .collect(),
            lines: k.line_owner.iter().filter(|&&owner| owner != NIL).count(),
        }
    }

    /// Checks what is quick to check.
    ///
    /// # Panics
    /// If something does not fit together.
    pub fn check(&mut self) {
        assert!(self.kernel.sched.is_consistent(), "the scheduler's lists");
        let is_buried = self.kernel.dead.is_empty();
        assert!(is_buried || !self.is_prompt, "everything dead is buried");
        assert!(
            self.kernel.arrival == NIL && !self.kernel.gives_up,
            "a decision is due"
        );
        self.check_threads();
        self.check_queues();
    }

    /// Checks everything: references, quotas, capabilities.
    ///
    /// # Panics
    /// If something does not fit together.
    pub fn check_all(&mut self) {
        self.tear_down();
        self.check();
        assert!(self.kernel.caps.is_consistent(), "the capabilities");
        self.check_refs();
        self.check_quotas();
        self.check_members();
        self.check_translations();
    }

    /// What is mapped is what the regions and the memory objects say, and no shared frame can be
    /// written.
    fn check_translations(&self) {
        let k = &self.kernel;
        for p in k.processes.indices() {
            let process = &k.processes[p];
            let Some(table) = &process.pages else {
                assert!(
                    process.regions.is_empty(),
                    "an ended process has no regions"
                );
                continue;
            };
            let visit = |leaf: viper_vm::Leaf| {
                let region = process
                    .regions
                    .find(leaf.va)
                    .expect("only regions are mapped");
                let Region {
                    memory,
                    offset,
                    protection,
                    ..
                } = region.value;
                if memory == NIL {
                    return ControlFlow::Continue(());
                }
                let at = leaf.va.0 - region.range.start().0 + offset;
                let page = (at / 4096) as u32;
                let frame = match &k.memories[memory].backing {
                    Backing::Paged(list) => list.frame(page),
                    Backing::Contiguous(first) | Backing::Fixed(first) => {
                        Some(Frame(first.0 + page))
                    }
                };
                assert_eq!(
                    frame,
                    leaf.target.pa.frame(),
                    "page {page} of memory {memory}"
                );
                if leaf.target.perms.can_write() {
                    assert!(protection & 2 != 0, "the region can be written");
                    let owners = frame.map(|frame| k.frames.ref_count(frame));
                    assert_eq!(owners, Some(1), "a shared frame can be written");
                }
                let may_execute = !leaf.target.perms.can_execute() || protection & 4 != 0;
                assert!(may_execute, "the region can be executed");
                ControlFlow::Continue(())
            };
            table
                .walk(&k.platform, crate::object::user_bounds(), visit)
                .expect("within bounds");
        }
    }

    fn check_threads(&self) {
        let k = &self.kernel;
        for t in k.threads.indices() {
            let thread = &k.threads[t];
            let known = k.sched.state(ThreadId(t)).ok();
            match thread.state {
                State::Running(core) => {
                    assert_eq!(
                        k.cores[core as usize].current, t,
                        "{t} is what its core runs"
                    );
                    if k.unsettled & 1 << core == 0 {
                        let core = CoreId::new(core as usize).expect("a core");
                        assert_eq!(known, Some(ThreadState::Running(core)), "thread {t}");
                    }
                }
                State::Ready if k.unsettled & WOKEN != 0 && k.woken == t => {
                    assert_eq!(
                        known,
                        Some(ThreadState::Blocked),
                        "thread {t} was just woken"
                    );
                }
                State::Ready => {
                    assert!(matches!(known, Some(ThreadState::Queued(_))), "thread {t}");
                }
                State::Blocked(_) => match known {
                    Some(ThreadState::Blocked) => {}
                    Some(ThreadState::Running(core)) => {
                        let is_unsettled = k.unsettled & 1 << core.index() != 0;
                        assert!(is_unsettled, "thread {t} is blocked and runs");
                    }
                    other => panic!("thread {t} is blocked and {other:?}"),
                },
                State::Dying(core) => {
                    assert_eq!(known, None, "thread {t}");
                    assert_eq!(k.cores[core as usize].current, t);
                }
                State::Ended => assert_eq!(known, None, "thread {t}"),
            }
            assert_eq!(thread.context.thread, t);
        }
        for (at, core) in k.cores.iter().enumerate() {
            if core.current != NIL {
                let state = k.threads[core.current].state;
                let core = at as u8;
                assert!(
                    state == State::Running(core) || state == State::Dying(core),
                    "core {core} runs {state:?}"
                );
            }
        }
    }

    /// Who waits stands in the queue of what it waits for, and nobody else does.
    fn check_queues(&mut self) {
        let mut waiting = BTreeMap::new();
        let mut deadlines = 0;
        for t in self.kernel.threads.indices() {
            let thread = &self.kernel.threads[t];
            if thread.deadline_at != NIL {
                assert!(
                    matches!(thread.state, State::Blocked(_)),
                    "thread {t} has a deadline"
                );
                deadlines += 1;
            }
            if let State::Blocked(wait) = thread.state
                && !matches!(wait, Wait::Reply | Wait::Sleep)
            {
                waiting.insert(t, wait);
            }
        }
        let mut stand = |m: &mut Self, queue: Queue, fits: &dyn Fn(Wait) -> bool| {
            let mut next = queue.first();
            while let Some(t) = next {
                let wait = waiting.remove(&t).expect("who stands in a queue waits");
                assert!(fits(wait), "{t} waits for {wait:?} in another queue");
                next = Queue::after::<Waiting>(&mut m.kernel.threads, t);
            }
        };
        for i in self.kernel.channels.indices().collect::<Vec<_>>() {
            for side in 0..2 {
                let (e, end) = (2 * i + side, &self.kernel.channels[i].ends[side as usize]);
                let (receivers, senders) = (end.receivers, end.senders);
                let waiters = end.notifier.waiters;
                stand(self, receivers, &|w| w == Wait::ReceiveEnd(e));
                stand(self, senders, &|w| w == Wait::Call(e) || w == Wait::Send(e));
                stand(self, waiters, &|w| {
                    is_for(w, ObjectRef::new(Kind::CHANNEL, e))
                });
            }
        }
        for i in self.kernel.sets.indices().collect::<Vec<_>>() {
            let receivers = self.kernel.sets[i].receivers;
            stand(self, receivers, &|w| w == Wait::ReceiveSet(i));
        }
        for i in self.kernel.memories.indices().collect::<Vec<_>>() {
            let futexes = self.kernel.memories[i].futexes;
            stand(
                self,
                futexes,
                &|w| matches!(w, Wait::Futex(key) if key.memory == i),
            );
        }
        for object in self.notifiers() {
            let waiters = self
                .kernel
                .notifier(object)
                .map_or(Queue::EMPTY, |n| n.waiters);
            stand(self, waiters, &|w| is_for(w, object));
        }
        let readers = self.kernel.debug_readers;
        stand(self, readers, &|w| matches!(w, Wait::DebugRead(..)));
        assert!(waiting.is_empty(), "wait in no queue: {waiting:?}");
        let k = &self.kernel;
        deadlines += k
            .timers
            .indices()
            .filter(|&t| k.timers[t].deadline_at != NIL)
            .count();
        assert_eq!(k.deadlines.len(), deadlines, "deadlines");
    }

    /// Objects with signals, channel ends apart.
    fn notifiers(&self) -> Vec<ObjectRef> {
        let k = &self.kernel;
        let mut all = Vec::new();
        all.extend(
            k.processes
                .indices()
                .map(|i| ObjectRef::new(Kind::PROCESS, i)),
        );
        all.extend(k.threads.indices().map(|i| ObjectRef::new(Kind::THREAD, i)));
        all.extend(k.events.indices().map(|i| ObjectRef::new(Kind::EVENT, i)));
        all.extend(k.timers.indices().map(|i| ObjectRef::new(Kind::TIMER, i)));
        all.extend(
            k.interrupts
                .indices()
                .map(|i| ObjectRef::new(Kind::INTERRUPT, i)),
        );
        all
    }

    fn check_refs(&mut self) {
        let k = &mut self.kernel;
        let mut named: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let mut name =
            |object: ObjectRef| *named.entry((object.kind.0, object.index)).or_default() += 1;
        for p in k.processes.indices() {
            let process = &k.processes[p];
            name(ObjectRef::new(Kind::QUOTA, process.quota));
            if let Ok(table) = k.caps.table(process.table) {
                table.iter().for_each(|(_, entry)| name(entry.object));
            }
            for region in process.regions.iter().filter(|r| r.value.memory != NIL) {
                name(ObjectRef::new(Kind::MEMORY, region.value.memory));
            }
        }
        for t in k.threads.indices() {
            let thread = &k.threads[t];
            name(ObjectRef::new(Kind::PROCESS, thread.process));
            if thread.state != State::Ended {
                name(ObjectRef::new(Kind::THREAD, t));
            }
        }
        for m in k.messages.indices() {
            let parked = &k.messages[m].parked;
            for at in 0..parked.len() {
                if let Some(entry) = k.caps.parked(parked, at) {
                    name(entry.object);
                }
            }
        }
        let quotas = (k.memories.indices().map(|i| k.memories[i].quota))
            .chain(k.channels.indices().map(|i| k.channels[i].quota))
            .chain(k.events.indices().map(|i| k.events[i].quota))
            .chain(k.timers.indices().map(|i| k.timers[i].quota))
            .chain(k.sets.indices().map(|i| k.sets[i].quota))
            .chain(k.devices.indices().map(|i| k.devices[i].quota))
            .chain(k.interrupts.indices().map(|i| k.interrupts[i].quota))
            .chain(k.quotas.indices().map(|i| k.quotas[i].parent));
        for quota in quotas.filter(|&q| q != NIL) {
            name(ObjectRef::new(Kind::QUOTA, quota));
        }
        // The reference that a test holds on its first quota.
        for q in k.quotas.indices().filter(|&q| k.quotas[q].parent == NIL) {
            name(ObjectRef::new(Kind::QUOTA, q));
        }
        let refs = |kind: Kind, index: u32| named.get(&(kind.0, index)).copied().unwrap_or(0);
        for i in k.channels.indices() {
            for side in 0..2 {
                let end = k.channels[i].ends[side as usize].refs;
                assert_eq!(
                    end,
                    refs(Kind::CHANNEL, 2 * i + side),
                    "channel end {i}.{side}"
                );
            }
        }
        for i in k.memories.indices() {
            assert_eq!(k.memories[i].refs, refs(Kind::MEMORY, i), "memory {i}");
            let regions = |p: u32| {
                let of = |r: &&viper_vm::Region<crate::object::Region>| r.value.memory == i;
                k.processes[p].regions.iter().filter(of).count() as u32
            };
            let maps: u32 = k.processes.indices().map(regions).sum();
            assert_eq!(k.memories[i].maps, maps, "mappings of memory {i}");
        }
        let of = |kind: Kind, indices: Vec<u32>, have: &dyn Fn(u32) -> u32| {
            for i in indices {
                assert_eq!(have(i), refs(kind, i), "{} {i}", kind.name());
            }
        };
        of(Kind::PROCESS, k.processes.indices().collect(), &|i| {
            k.processes[i].refs
        });
        of(Kind::THREAD, k.threads.indices().collect(), &|i| {
            k.threads[i].refs
        });
        of(Kind::EVENT, k.events.indices().collect(), &|i| {
            k.events[i].refs
        });
        of(Kind::TIMER, k.timers.indices().collect(), &|i| {
            k.timers[i].refs
        });
        of(Kind::POLL_SET, k.sets.indices().collect(), &|i| {
            k.sets[i].refs
        });
        of(Kind::DEVICE, k.devices.indices().collect(), &|i| {
            k.devices[i].refs
        });
        of(Kind::INTERRUPT, k.interrupts.indices().collect(), &|i| {
            k.interrupts[i].refs
        });
        of(Kind::QUOTA, k.quotas.indices().collect(), &|i| {
            k.quotas[i].refs
        });
    }

    fn check_quotas(&self) {
        let k = &self.kernel;
        let mut used: BTreeMap<u32, u64> = BTreeMap::new();
        let mut add = |quota: u32, bytes: u64| {
            let mut at = quota;
            while at != NIL {
                *used.entry(at).or_default() += bytes;
                at = k.quotas[at].parent;
            }
        };
        for i in k.memories.indices() {
            let pages = match &k.memories[i].backing {
                Backing::Paged(list) => list.present(),
                Backing::Contiguous(_) => k.memories[i].len_pages,
                Backing::Fixed(_) => 0,
            };
            add(k.memories[i].quota, u64::from(pages) * 4096 + OBJECT_BYTES);
        }
        for i in k.channels.indices() {
            let queued: u32 = k.channels[i].ends.iter().map(|e| e.queued).sum();
            add(
                k.channels[i].quota,
                OBJECT_BYTES + u64::from(queued) * MESSAGE_BYTES,
            );
        }
        (k.events.indices()).for_each(|i| add(k.events[i].quota, OBJECT_BYTES));
        (k.timers.indices()).for_each(|i| add(k.timers[i].quota, OBJECT_BYTES));
        (k.sets.indices()).for_each(|i| add(k.sets[i].quota, OBJECT_BYTES));
        (k.members.indices()).for_each(|i| add(k.sets[k.members[i].set].quota, OBJECT_BYTES));
        (k.devices.indices()).for_each(|i| add(k.devices[i].quota, OBJECT_BYTES));
        (k.interrupts.indices()).for_each(|i| add(k.interrupts[i].quota, OBJECT_BYTES));
        (k.quotas.indices()).for_each(|i| add(k.quotas[i].parent, OBJECT_BYTES));
        for i in k.processes.indices() {
            let p = &k.processes[i];
            add(
                p.quota,
                p.overhead_bytes + u64::from(p.thread_count) * THREAD_BYTES,
            );
        }
        for q in k.quotas.indices() {
            assert_eq!(
                k.quotas[q].used,
                used.get(&q).copied().unwrap_or(0),
                "quota {q}"
            );
            assert!(k.quotas[q].used <= k.quotas[q].limit, "quota {q} is kept");
        }
    }

    /// Members, sets and what they name agree; threads of a process are in its list.
    fn check_members(&mut self) {
        for m in self.kernel.members.indices().collect::<Vec<_>>() {
            let object = self.kernel.members[m].object;
            let member = self.kernel.notifier(object).map(|n| n.member);
            assert_eq!(member, Some(m), "member {m}");
        }
        for p in self.kernel.processes.indices().collect::<Vec<_>>() {
            let mut next = self.kernel.processes[p].threads.first();
            let mut count = 0;
            while let Some(t) = next {
                assert_eq!(self.kernel.threads[t].process, p);
                next = Queue::after::<Siblings>(&mut self.kernel.threads, t);
                count += 1;
            }
            assert_eq!(self.kernel.processes[p].thread_count, count);
        }
    }
}

fn is_for(wait: Wait, object: ObjectRef) -> bool {
    matches!(wait, Wait::Signals(of, _) if of == object)
}
