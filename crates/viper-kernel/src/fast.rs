//! The short ways: a call and its reply, a signal and the wait for one.
//!
//! When the receiver waits, nothing needs looking after (handles, deadlines, priorities to lend),
//! and nobody more important waits for the core, the message goes from registers to registers and
//! the core goes on with the receiver: no queue, no scheduler pass, no timer. The scheduler is told
//! later, by `Kernel::settle`, if anybody asks it anything before the reply has come back.
//!
//! On a machine with one core, a signal that wakes a single thread, no more important than the one
//! that runs, only notes whom it woke (`Kernel::woken`); if the signaller then waits, too, the core
//! goes on with the woken one. Whatever does not fit takes the ways in `ipc` and `wait`, with the
//! same result: tests run both on the same input.

use viper_abi::{
    FOREVER, Kind, MESSAGE_MAX, MESSAGE_REGISTER_BYTES, MsgInfo, MsgKind, Rights, Signals,
};
use viper_sched::{CoreId, Priority};
use viper_vm::Frame;

use crate::arena::NIL;
use crate::kernel::{CORES_MAX, Kernel, WOKEN, cap_rights};
use crate::platform::Platform;
use crate::thread::{Context, Special, State, Thread, Wait};

/// What the caller's registers say.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The thread.
    pub thread: u32,
    /// The core it runs on.
    pub core: u8,
    /// Its handle table.
    pub table: viper_cap::TableId,
    /// `x0`.
    pub handle: viper_cap::Handle,
    /// `x1`: info of a message, bits of a signal.
    pub word: u64,
    /// The deadline, where there is one.
    pub deadline: u64,
}

/// Where the short way leads.
#[derive(Clone, Copy, Debug)]
pub struct Across {
    /// The context to go on with.
    pub next: *mut Context,
    /// Whether its thread or the one before has vector registers, so that
    /// `Kernel::exchange_vectors` must be called.
    pub has_vectors: bool,
}

impl Across {
    #[inline(always)]
    fn new(next: *mut Context, special: Special) -> Across {
        Across {
            next,
            has_vectors: special != Special::NONE,
        }
    }
}

/// Whether a message fits the short way: no handles, no more than the most data.
#[inline(always)]
const fn is_plain(info: MsgInfo) -> bool {
    info.handles() == 0 && info.len() <= MESSAGE_MAX
}

impl<P: Platform> Kernel<P> {
    /// `call`, if it fits; otherwise `None`, and nothing has changed.
    #[inline(always)]
    pub fn fast_call(&mut self, way: Way) -> Option<Across> {
        let Kernel {
            threads,
            caps,
            channels,
            members,
            sets,
            next_id,
            ..
        } = self;
        let Way {
            thread,
            core,
            table,
            handle,
            word,
            ..
        } = way;
        let info = MsgInfo(word);
        if !is_plain(info) || way.deadline != FOREVER {
            return None;
        }
        let entry = caps.table_at(table)?.lookup(handle)?;
        let may =
            entry.object.kind == Kind::CHANNEL && entry.rights.contains(cap_rights(Rights::SEND));
        if !may {
            return None;
        }
        let end = entry.object.index ^ 1;
        let end = &mut channels.get_mut(end / 2)?.ends[(end % 2) as usize];
        // An end whose capabilities are gone has no receivers: `close_end` woke them.
        let (queue, key) = if end.notifier.member == NIL {
            (&mut end.receivers, 0)
        } else {
            let member = members.get(end.notifier.member)?;
            (&mut sets.get_mut(member.set)?.receivers, member.key)
        };
        let receiver = queue.first()?;
        let (from, to) = threads.pair_mut(thread, receiver)?;
        let special = from.special.or(to.special);
        let fits = to.deadline_at == NIL && to.priority >= from.priority && !special.is_awkward();
        if !fits || !queue.take_only(&mut to.queue_link) {
            return None;
        }
        let number = *next_id;
        *next_id += 1;
        from.state = State::Blocked(Wait::Reply);
        from.call_number = number;
        to.caller = Some((thread, number));
        let frames = (from.ipc_frame, to.ipc_frame);
        let next = cross(from, to, core, info.with_kind(MsgKind::Call), key);
        self.after_crossing(core, receiver, frames, info.len());
        Some(Across::new(next, special))
    }

    /// `reply_receive`, if it fits; otherwise `None`, and nothing has changed.
    #[inline(always)]
    pub fn fast_reply_receive(&mut self, way: Way) -> Option<Across> {
        let Kernel {
            threads,
            caps,
            channels,
            sets,
            sched,
            unsettled,
            ..
        } = self;
        let Way {
            thread,
            core,
            table,
            handle,
            word,
            ..
        } = way;
        let info = MsgInfo(word);
        if !is_plain(info) || way.deadline != FOREVER {
            return None;
        }
        let entry = caps.table_at(table)?.lookup(handle)?;
        if !entry.rights.contains(cap_rights(Rights::RECEIVE)) {
            return None;
        }
        let source = entry.object.index;
        let (queue, wait) = if entry.object.kind == Kind::POLL_SET {
            let set = sets.get_mut(source)?;
            if set.ready.0 != NIL {
                return None;
            }
            (&mut set.receivers, Wait::ReceiveSet(source))
        } else if entry.object.kind == Kind::CHANNEL {
            let ends = &mut channels.get_mut(source / 2)?.ends;
            let is_open = ends[((source % 2) ^ 1) as usize].refs != 0;
            let end = &mut ends[(source % 2) as usize];
            let is_empty = end.queued == 0 && end.senders.is_empty();
            if !is_open || !is_empty || end.notifier.member != NIL {
                return None;
            }
            (&mut end.receivers, Wait::ReceiveEnd(source))
        } else {
            return None;
        };
        let (caller, number) = threads.get(thread)?.caller?;
        let (from, to) = threads.pair_mut(thread, caller)?;
        let special = from.special.or(to.special);
        let fits = to.call_number == number
            && to.state == State::Blocked(Wait::Reply)
            && to.deadline_at == NIL
            && !sched.is_waiting_above(level(to.priority))
            && *unsettled & WOKEN == 0
            && !special.is_awkward();
        if !fits || !queue.put_only(thread) {
            return None;
        }
        from.state = State::Blocked(wait);
        from.caller = None;
        to.call_number = 0;
        let frames = (from.ipc_frame, to.ipc_frame);
        let next = cross(from, to, core, info.with_kind(MsgKind::Message), 0);
        self.after_crossing(core, caller, frames, info.len());
        Some(Across::new(next, special))
    }

    /// `event_signal`, if it fits; otherwise `false`, and nothing has changed. The status is 0.
    #[inline(always)]
    pub fn fast_signal(&mut self, way: Way) -> bool {
        self.try_signal(way).is_some()
    }

    #[inline(always)]
    fn try_signal(&mut self, way: Way) -> Option<()> {
        let entry = self.caps.table_at(way.table)?.lookup(way.handle)?;
        let may =
            entry.object.kind == Kind::EVENT && entry.rights.contains(cap_rights(Rights::SIGNAL));
        if !may {
            return None;
        }
        let notifier = &mut self.events.get_mut(entry.object.index)?.notifier;
        let set = notifier.signals | Signals(u64::from(way.word as u32));
        if notifier.member != NIL {
            return None;
        }
        if notifier.waiters.is_empty() {
            notifier.signals = set;
            return Some(());
        }
        // One core, whose timer will go off before the woken thread has waited too long.
        let this = &self.cores[usize::from(way.core) % CORES_MAX];
        let is_in_time = self
            .sched
            .slice_end_ns(CoreId::FIRST)
            .is_some_and(|end| end >= this.timer_at);
        if self.sched.core_count() != 1 || self.unsettled & WOKEN != 0 || !is_in_time {
            return None;
        }
        let waiter = notifier.waiters.first()?;
        let (from, to) = self.threads.pair_mut(way.thread, waiter)?;
        let State::Blocked(Wait::Signals(_, mask)) = to.state else {
            return None;
        };
        let taken = set.intersection(mask);
        let fits = taken != Signals::NONE
            && to.deadline_at == NIL
            && to.priority <= from.priority
            && !to.special.is_awkward();
        if !fits || !notifier.waiters.take_only(&mut to.queue_link) {
            return None;
        }
        notifier.signals = set.without(taken);
        to.context.x[0] = 0;
        to.context.x[1] = taken.0;
        to.state = State::Ready;
        self.woken = waiter;
        self.unsettled |= WOKEN;
        Some(())
    }

    /// `object_wait` for an event, if it fits; otherwise `None`, and nothing has changed.
    #[inline(always)]
    pub fn fast_wait(&mut self, way: Way) -> Option<Across> {
        let Way { thread, core, .. } = way;
        let mask = Signals(way.word);
        let entry = self.caps.table_at(way.table)?.lookup(way.handle)?;
        let object = entry.object;
        let may = object.kind == Kind::EVENT && entry.rights.contains(cap_rights(Rights::WAIT));
        if !may || way.deadline != FOREVER || mask == Signals::NONE {
            return None;
        }
        let notifier = &mut self.events.get_mut(object.index)?.notifier;
        let taken = notifier.signals.intersection(mask);
        if notifier.member != NIL {
            return None;
        }
        if taken != Signals::NONE {
            let context = &mut self.threads.get_mut(thread)?.context;
            notifier.signals = notifier.signals.without(taken);
            (context.x[0], context.x[1]) = (0, taken.0);
            return Some(Across::new(context, Special::NONE));
        }
        if self.unsettled & WOKEN == 0 {
            return None;
        }
        let woken = self.woken;
        let (from, to) = self.threads.pair_mut(thread, woken)?;
        let special = from.special.or(to.special);
        let fits = !self.sched.is_waiting_from(level(to.priority)) && !special.is_awkward();
        if !fits || !notifier.waiters.put_only(thread) {
            return None;
        }
        from.state = State::Blocked(Wait::Signals(object, mask));
        to.state = State::Running(core);
        to.context.core = u32::from(core);
        let next: *mut Context = &mut to.context;
        self.unsettled = self.unsettled & !WOKEN | 1 << (core & 7);
        self.cores[usize::from(core) % CORES_MAX].current = woken;
        Some(Across::new(next, special))
    }

    /// What is left to do once the message's words have crossed.
    #[inline(always)]
    fn after_crossing(
        &mut self,
        core: u8,
        to: u32,
        (source, target): (Frame, Frame),
        len_bytes: usize,
    ) {
        self.cores[usize::from(core) % CORES_MAX].current = to;
        self.unsettled |= 1 << (core & 7);
        if len_bytes > MESSAGE_REGISTER_BYTES {
            self.copy_rest(source, target, len_bytes);
        }
    }
}

/// A thread's priority as the scheduler has it.
#[inline(always)]
const fn level(priority: u8) -> Priority {
    match Priority::new(priority & 7) {
        Some(level) => level,
        None => Priority::HIGHEST,
    }
}

/// Copies the words of a message across and makes the receiver what this core runs.
#[inline(always)]
fn cross(from: &mut Thread, to: &mut Thread, core: u8, info: MsgInfo, key: u64) -> *mut Context {
    from.ipcs += 1;
    to.state = State::Running(core);
    let (x, y) = (&from.context.x, &mut to.context.x);
    let words = [x[2], x[3], x[4], x[5], x[6], x[7]];
    y[0] = 0;
    y[1] = info.0;
    [y[2], y[3], y[4], y[5], y[6], y[7]] = words;
    y[8] = key;
    to.context.core = u32::from(core);
    &mut to.context
}
