//! The short way of a call and its reply.
//!
//! When the receiver waits, nothing needs looking after (handles, deadlines, priorities to lend),
//! and nobody more important waits for the core, the message goes from registers to registers and
//! the core goes on with the receiver: no queue, no scheduler pass, no timer. The scheduler is told
//! later, by `Kernel::settle`, if anybody asks it anything before the reply has come back. Whatever
//! does not fit takes the way in `ipc`, with the same result: tests run both on the same input.

use viper_abi::{FOREVER, Kind, MESSAGE_MAX, MESSAGE_REGISTER_BYTES, MsgInfo, MsgKind, Rights};
use viper_sched::Priority;
use viper_vm::Frame;

use crate::arena::NIL;
use crate::kernel::{CORES_MAX, Kernel, cap_rights};
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
    /// `x1`.
    pub info: MsgInfo,
    /// `x8`.
    pub deadline: u64,
}

/// Whether a message fits the short way: no handles, no more than the most data.
#[inline(always)]
const fn is_plain(info: MsgInfo) -> bool {
    info.handles() == 0 && info.len() <= MESSAGE_MAX
}

impl<P: Platform> Kernel<P> {
    /// The short way of a thread that has vector registers: it puts them away, then tries again.
    #[inline(never)]
    pub fn fast_without_vectors(
        &mut self,
        core: usize,
        thread: u32,
        number: u16,
    ) -> Option<*mut Context> {
        if !self.threads.get(thread)?.special.has(Special::VECTORS) {
            return None;
        }
        self.take_vectors(thread);
        self.close_vectors(core);
        let context = &self.threads.get(thread)?.context;
        let way = Way {
            thread,
            core: core as u8,
            table: context.table,
            handle: viper_cap::Handle::from_raw(context.x[0] as u32),
            info: MsgInfo(context.x[1]),
            deadline: context.x[8],
        };
        match number {
            viper_abi::number::call => self.fast_call(way),
            viper_abi::number::reply_receive => self.fast_reply_receive(way),
            _ => None,
        }
    }

    /// `call`, if it fits; otherwise `None`, and nothing has changed.
    #[inline(always)]
    pub fn fast_call(&mut self, way: Way) -> Option<*mut Context> {
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
            info,
            ..
        } = way;
        if !is_plain(info) || way.deadline != FOREVER {
            return None;
        }
        let entry = caps.table_at(table).lookup(handle)?;
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
        let fits = to.deadline_at == NIL
            && to.priority >= from.priority
            && Special::neither(from.special, to.special);
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
        Some(next)
    }

    /// `reply_receive`, if it fits; otherwise `None`, and nothing has changed.
    #[inline(always)]
    pub fn fast_reply_receive(&mut self, way: Way) -> Option<*mut Context> {
        let Kernel {
            threads,
            caps,
            channels,
            sets,
            sched,
            ..
        } = self;
        let Way {
            thread,
            core,
            table,
            handle,
            info,
            ..
        } = way;
        if !is_plain(info) || way.deadline != FOREVER {
            return None;
        }
        let entry = caps.table_at(table).lookup(handle)?;
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
        let fits = to.call_number == number
            && to.state == State::Blocked(Wait::Reply)
            && to.deadline_at == NIL
            && !sched.is_waiting_above(level(to.priority))
            && Special::neither(from.special, to.special);
        if !fits || !queue.put_only(thread) {
            return None;
        }
        from.state = State::Blocked(wait);
        from.caller = None;
        to.call_number = 0;
        let frames = (from.ipc_frame, to.ipc_frame);
        let next = cross(from, to, core, info.with_kind(MsgKind::Message), 0);
        self.after_crossing(core, caller, frames, info.len());
        Some(next)
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
