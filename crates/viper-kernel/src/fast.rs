//! The short way of a call and its reply.
//!
//! When the receiver waits, nothing needs looking after (handles, deadlines, priorities to lend),
//! and nobody more important waits for the core, the message goes from registers to registers and
//! the core goes on with the receiver: no queue, no scheduler pass, no timer. Whatever does not fit
//! takes the way in `ipc`, with the same result: tests run both on the same input.

use viper_abi::{FOREVER, Kind, MESSAGE_MAX, MESSAGE_REGISTER_BYTES, MsgInfo, MsgKind, Rights};
use viper_sched::ThreadId;

use crate::arena::NIL;
use crate::kernel::{Kernel, cap_rights};
use crate::platform::Platform;
use crate::thread::{Context, State, Wait, Waiting};

/// Whether a message fits the short way: no handles, no more than the most data.
#[inline(always)]
const fn is_plain(info: MsgInfo) -> bool {
    info.handles() == 0 && info.len() <= MESSAGE_MAX
}

impl<P: Platform> Kernel<P> {
    /// `call`, if it fits; otherwise `None`, and nothing has changed.
    #[inline(always)]
    pub fn fast_call(&mut self, thread: u32) -> Option<*mut Context> {
        let caller = &self.threads[thread];
        let x = &caller.context.x;
        let info = MsgInfo(x[1]);
        if !is_plain(info) || x[8] != FOREVER {
            return None;
        }
        let handle = viper_cap::Handle::from_raw(x[0] as u32);
        let entry = self.caps.query(caller.table, handle).ok()?;
        let may = entry.object.kind == Kind::CHANNEL
            && entry.rights.contains(cap_rights(Rights::SEND));
        if !may {
            return None;
        }
        let end = entry.object.index ^ 1;
        let channel = &self.channels[end / 2].ends[(end % 2) as usize];
        let member = channel.notifier.member;
        let (receiver, key, set) = if member == NIL {
            (channel.receivers.first()?, 0, NIL)
        } else {
            let member = &self.members[member];
            (self.sets[member.set].receivers.first()?, member.key, member.set)
        };
        // An end whose capabilities are gone has no receivers: `close_end` woke them.
        let target = &self.threads[receiver];
        if target.deadline_at != NIL || target.priority < caller.priority {
            return None;
        }
        if !self.sched.hand_over(self.core_id(), ThreadId(receiver)) {
            return None;
        }
        let queue = if set == NIL {
            &mut self.channels[end / 2].ends[(end % 2) as usize].receivers
        } else {
            &mut self.sets[set].receivers
        };
        queue.remove::<Waiting>(&mut self.threads, receiver);
        let number = self.fresh_id();
        self.threads[thread].state = State::Blocked(Wait::Reply);
        self.threads[thread].call_number = number;
        self.threads[receiver].caller = Some((thread, number));
        Some(self.cross(thread, receiver, info.with_kind(MsgKind::Call), key))
    }

    /// `reply_receive`, if it fits; otherwise `None`, and nothing has changed.
    #[inline(always)]
    pub fn fast_reply_receive(&mut self, thread: u32) -> Option<*mut Context> {
        let server = &self.threads[thread];
        let x = &server.context.x;
        let info = MsgInfo(x[1]);
        let (caller, number) = server.caller?;
        if !is_plain(info) || x[8] != FOREVER || server.is_lifted {
            return None;
        }
        let handle = viper_cap::Handle::from_raw(x[0] as u32);
        let entry = self.caps.query(server.table, handle).ok()?;
        if !entry.rights.contains(cap_rights(Rights::RECEIVE)) {
            return None;
        }
        let source = entry.object;
        let is_empty = if source.kind == Kind::POLL_SET {
            self.sets[source.index].ready.0 == NIL
        } else if source.kind == Kind::CHANNEL {
            let ends = &self.channels[source.index / 2].ends;
            let end = &ends[(source.index % 2) as usize];
            end.queued == 0
                && end.senders.is_empty()
                && end.notifier.member == NIL
                && ends[(source.index % 2 ^ 1) as usize].refs != 0
        } else {
            false
        };
        let target = self.threads.get(caller)?;
        let waits = target.call_number == number
            && target.state == State::Blocked(Wait::Reply)
            && target.deadline_at == NIL;
        if !is_empty || !waits || !self.sched.hand_over(self.core_id(), ThreadId(caller)) {
            return None;
        }
        let (queue, wait) = if source.kind == Kind::POLL_SET {
            (&mut self.sets[source.index].receivers, Wait::ReceiveSet(source.index))
        } else {
            let end = &mut self.channels[source.index / 2].ends[(source.index % 2) as usize];
            (&mut end.receivers, Wait::ReceiveEnd(source.index))
        };
        queue.push::<Waiting>(&mut self.threads, thread);
        self.threads[thread].state = State::Blocked(wait);
        self.threads[thread].caller = None;
        self.threads[caller].call_number = 0;
        Some(self.cross(thread, caller, info.with_kind(MsgKind::Message), 0))
    }

    /// Copies the message across and makes the receiver what this core runs.
    #[inline(always)]
    fn cross(&mut self, from: u32, to: u32, info: MsgInfo, key: u64) -> *mut Context {
        let core = self.this_core;
        let sender = &mut self.threads[from];
        let (source, process) = (sender.ipc_frame, sender.process);
        let x = &sender.context.x;
        let words = [x[2], x[3], x[4], x[5], x[6], x[7]];
        if sender.fp_live {
            sender.fp_live = false;
            self.platform.fp_save(&mut sender.fp);
            self.cores[core].fp_enabled = false;
            self.platform.fp_enable(false);
        }
        self.counters.ipcs_direct += 1;
        self.processes[process].ipcs += 1;
        self.cores[core].current = to;
        let receiver = &mut self.threads[to];
        receiver.state = State::Running(core as u8);
        let target = receiver.ipc_frame;
        let context = &mut receiver.context;
        context.core = core as u32;
        context.x[0] = 0;
        context.x[1] = info.0;
        context.x[2] = words[0];
        context.x[3] = words[1];
        context.x[4] = words[2];
        context.x[5] = words[3];
        context.x[6] = words[4];
        context.x[7] = words[5];
        context.x[8] = key;
        let context: *mut Context = context;
        if info.len() > MESSAGE_REGISTER_BYTES {
            self.copy_rest(source, target, info.len());
        }
        context
    }
}
