//! Signals and poll sets: who waits for what, and who is woken by it.

use viper_abi::{Error, Kind, MsgInfo, MsgKind, Signals};
use viper_cap::{Handle, TableId};

use crate::arena::NIL;
use crate::kernel::{Handled, Kernel, Stop};
use crate::object::{Member, Notifier, ObjectRef};
use crate::platform::Platform;
use crate::thread::{Queue, State, Wait, Waiting};

/// Signals that are taken by being returned.
const TAKEN: Signals = Signals(0xffff_ffff | Signals::EXPIRED.0 | Signals::INTERRUPT.0);

impl<P: Platform> Kernel<P> {
    /// The signals of an object that has some.
    #[inline(always)]
    pub fn notifier(&mut self, object: ObjectRef) -> Option<&mut Notifier> {
        if object.kind == Kind::EVENT {
            return Some(&mut self.events[object.index].notifier);
        }
        self.other_notifier(object)
    }

    fn other_notifier(&mut self, object: ObjectRef) -> Option<&mut Notifier> {
        let i = object.index;
        Some(match object.kind {
            Kind::PROCESS => &mut self.processes[i].notifier,
            Kind::THREAD => &mut self.threads[i].notifier,
            Kind::CHANNEL => &mut self.channels[i / 2].ends[(i % 2) as usize].notifier,
            Kind::TIMER => &mut self.timers[i].notifier,
            Kind::INTERRUPT => &mut self.interrupts[i].notifier,
            _ => return None,
        })
    }

    /// What is set on an object now.
    pub fn signals(&mut self, object: ObjectRef) -> Signals {
        if object.kind == Kind::CHANNEL {
            return self.end_signals(object.index);
        }
        self.notifier(object).map_or(Signals::NONE, |n| n.signals)
    }

    /// Sets signals, and wakes who waits for them.
    #[inline]
    pub fn notify(&mut self, object: ObjectRef, bits: Signals) {
        let Some(notifier) = self.notifier(object) else {
            return;
        };
        notifier.signals = notifier.signals | bits;
        let (first, member) = (notifier.waiters.first(), notifier.member);
        if let Some(first) = first {
            self.wake_waiters(object, first);
        }
        if member != NIL {
            self.mark_ready(member);
        }
    }

    fn wake_waiters(&mut self, object: ObjectRef, first: u32) {
        let mut next = Some(first);
        while let Some(thread) = next {
            next = Queue::after::<Waiting>(&mut self.threads, thread);
            let State::Blocked(Wait::Signals(_, mask)) = self.threads[thread].state else {
                continue;
            };
            let taken = self.take_signals(object, mask);
            if taken != Signals::NONE {
                self.threads[thread].context.x[1] = taken.0;
                self.wake_with(thread, Ok(()));
            }
        }
    }

    /// Sets bits of an event. The usual case, one waiter without a deadline, looks nothing up
    /// twice; the result is that of [`notify`](Self::notify).
    #[inline]
    pub fn signal_event(&mut self, event: u32, bits: Signals) {
        let notifier = &mut self.events[event].notifier;
        if notifier.waiters.is_empty() && notifier.member == NIL {
            notifier.signals = notifier.signals | bits;
            return;
        }
        if notifier.waiters.is_single()
            && notifier.member == NIL
            && let Some(waiter) = notifier.waiters.first()
        {
            let thread = &mut self.threads[waiter];
            if let State::Blocked(Wait::Signals(_, mask)) = thread.state
                && thread.deadline_at == NIL
            {
                let set = notifier.signals | bits;
                let taken = set.intersection(mask);
                notifier.signals = set.without(taken);
                if taken != Signals::NONE {
                    notifier.waiters.take_only(&mut thread.queue_link);
                    thread.context.x[0] = 0;
                    thread.context.x[1] = taken.0;
                    thread.state = State::Ready;
                    self.enqueue(waiter);
                }
                return;
            }
        }
        self.notify_all(ObjectRef::new(Kind::EVENT, event), bits);
    }

    #[inline(never)]
    fn notify_all(&mut self, object: ObjectRef, bits: Signals) {
        self.notify(object, bits);
    }

    /// The signals in `mask` that are set; those that do not last are cleared.
    #[inline]
    fn take_signals(&mut self, object: ObjectRef, mask: Signals) -> Signals {
        if object.kind == Kind::CHANNEL {
            return self.end_signals(object.index).intersection(mask); // they all last
        }
        let Some(notifier) = self.notifier(object) else {
            return Signals::NONE;
        };
        let taken = notifier.signals.intersection(mask);
        notifier.signals = notifier.signals.without(taken.intersection(TAKEN));
        taken
    }

    /// Waits for signals of one object.
    ///
    /// # Errors
    /// As `object_wait` documents.
    #[inline]
    pub fn wait_for(
        &mut self,
        thread: u32,
        object: ObjectRef,
        mask: Signals,
        deadline: u64,
    ) -> Handled<(Signals,)> {
        if mask == Signals::NONE {
            return Err(Error::InvalidArgument.into());
        }
        if object.kind == Kind::EVENT && deadline == u64::MAX {
            // The usual case, without looking things up twice; all of an event's bits are taken.
            let notifier = &mut self.events[object.index].notifier;
            let taken = notifier.signals.intersection(mask);
            if notifier.member == NIL && taken != Signals::NONE {
                notifier.signals = notifier.signals.without(taken);
                return Ok((taken,));
            }
            if notifier.member == NIL && notifier.waiters.put_only(thread) {
                self.block(thread, Wait::Signals(object, mask), u64::MAX);
                return Err(Stop::Written);
            }
        }
        self.wait_for_any(thread, object, mask, deadline)
    }

    #[inline(never)]
    fn wait_for_any(
        &mut self,
        thread: u32,
        object: ObjectRef,
        mask: Signals,
        deadline: u64,
    ) -> Handled<(Signals,)> {
        let notifier = self.notifier(object).ok_or(Error::WrongKind)?;
        if notifier.member != NIL {
            return Err(Error::Busy.into());
        }
        let taken = self.take_signals(object, mask);
        if taken != Signals::NONE {
            return Ok((taken,));
        }
        if deadline == 0 {
            return Err(Error::WouldBlock.into());
        }
        let notifier = self.notifier(object).ok_or(Error::WrongKind)?;
        let mut waiters = notifier.waiters;
        waiters.push::<Waiting>(&mut self.threads, thread);
        self.notifier(object).ok_or(Error::WrongKind)?.waiters = waiters;
        self.block(thread, Wait::Signals(object, mask), deadline);
        Err(Stop::Written)
    }

    /// Wakes all who wait for an object that ends, and takes it out of its poll set.
    pub fn forget_notifier(&mut self, object: ObjectRef) {
        while let Some(thread) = self.notifier(object).and_then(|n| n.waiters.first()) {
            self.wake_with(thread, Err(Error::BadHandle));
        }
        let member = self.notifier(object).map_or(NIL, |n| n.member);
        if member != NIL {
            self.remove_member(member);
        }
    }

    /// Takes a blocked thread out of the queue it stands in.
    pub fn leave_queue(&mut self, thread: u32, wait: Wait) {
        let threads = &mut self.threads;
        match wait {
            Wait::ReceiveEnd(e) => {
                let end = &mut self.channels[e / 2].ends[(e % 2) as usize];
                end.receivers.remove::<Waiting>(threads, thread);
            }
            Wait::ReceiveSet(s) => self.sets[s].receivers.remove::<Waiting>(threads, thread),
            Wait::Call(e) | Wait::Send(e) => {
                let end = &mut self.channels[e / 2].ends[(e % 2) as usize];
                end.senders.remove::<Waiting>(threads, thread);
            }
            Wait::Signals(object, _) => {
                let Some(notifier) = self.notifier(object) else {
                    return;
                };
                let mut waiters = notifier.waiters;
                waiters.remove::<Waiting>(&mut self.threads, thread);
                if let Some(notifier) = self.notifier(object) {
                    notifier.waiters = waiters;
                }
            }
            Wait::Futex(key) => {
                self.memories[key.memory]
                    .futexes
                    .remove::<Waiting>(threads, thread);
            }
            Wait::DebugRead(..) => self.debug_readers.remove::<Waiting>(threads, thread),
            Wait::Reply | Wait::Sleep => {}
        }
    }

    // ----- Revocation ------------------------------------------------------------------------

    /// Capabilities to an object were revoked: nobody waits through one of them any longer, and
    /// it stands in no poll set by one of them.
    pub fn cut_off(&mut self, object: ObjectRef) {
        let i = object.index;
        match object.kind {
            Kind::CHANNEL => {
                let (end, peer) = (i % 2, (i % 2) ^ 1);
                let ends = &self.channels[i / 2].ends;
                let (here, there) = (ends[end as usize].receivers, ends[peer as usize].senders);
                self.cut_off_queue(here);
                // Who sends through this end stands in line at the other one.
                self.cut_off_queue(there);
            }
            Kind::POLL_SET => self.cut_off_queue(self.sets[i].receivers),
            Kind::SYSTEM => self.cut_off_queue(self.debug_readers),
            _ => {}
        }
        let Some(&mut Notifier {
            waiters, member, ..
        }) = self.notifier(object)
        else {
            return;
        };
        self.cut_off_queue(waiters);
        if member != NIL {
            let (table, handle) = self.members[member].by;
            if self.caps.query(table, handle).is_err() {
                self.remove_member(member);
            }
        }
    }

    fn cut_off_queue(&mut self, queue: Queue) {
        let mut next = queue.first();
        while let Some(thread) = next {
            next = Queue::after::<Waiting>(&mut self.threads, thread);
            self.cut_off_thread(thread);
        }
    }

    /// Whoever waits for the reply to a call through a revoked handle gives up.
    pub fn cut_off_callers(&mut self) {
        let mut next = self.threads.next_from(0);
        while let Some(thread) = next {
            next = self.threads.next_from(thread + 1);
            if self.threads[thread].state == State::Blocked(Wait::Reply) {
                self.cut_off_thread(thread);
            }
        }
    }

    /// Ends a wait if the handle it goes through is no more. It stands in `x0` until the call ends.
    fn cut_off_thread(&mut self, thread: u32) {
        let handle = Handle::from_raw(self.threads[thread].context.x[0] as u32);
        if self.caps.query(self.table_of(thread), handle).is_err() {
            self.wake_with(thread, Err(Error::BadHandle));
        }
    }

    // ----- Poll sets -------------------------------------------------------------------------

    /// Puts an object into a poll set.
    ///
    /// # Errors
    /// As `poll_add` documents.
    pub fn add_member(
        &mut self,
        set: u32,
        object: ObjectRef,
        by: (TableId, Handle),
        key: u64,
        mask: Signals,
    ) -> Result<(), Error> {
        let notifier = self.notifier(object).ok_or(Error::WrongKind)?;
        if notifier.member != NIL {
            return Err(Error::AlreadyExists);
        }
        let quota = self.sets[set].quota;
        self.charge(quota, crate::quota::OBJECT_BYTES)?;
        let head = self.sets[set].members;
        let member = self
            .members
            .insert(Member {
                set,
                object,
                key,
                by,
                mask,
                told: Signals::NONE,
                is_ready: false,
                ready_link: (NIL, NIL),
                set_link: (head, NIL),
            })
            .inspect_err(|_| self.refund(quota, crate::quota::OBJECT_BYTES))?;
        if head != NIL {
            self.members[head].set_link.1 = member;
        }
        self.sets[set].members = member;
        self.notifier(object).ok_or(Error::Internal)?.member = member;
        if object.kind == Kind::CHANNEL {
            // What comes to this end goes to the set from now on.
            let i = object.index;
            while let Some(receiver) = self.channels[i / 2].ends[(i % 2) as usize]
                .receivers
                .first()
            {
                self.wake_with(receiver, Err(Error::Busy));
            }
        }
        if self.has_pending(member) {
            self.mark_ready(member);
        }
        Ok(())
    }

    /// Takes an object out of its poll set.
    pub fn remove_member(&mut self, member: u32) {
        self.unready(member);
        let Member {
            set,
            object,
            set_link: (next, previous),
            ..
        } = self.members[member];
        match previous {
            NIL => self.sets[set].members = next,
            p => self.members[p].set_link.0 = next,
        }
        if next != NIL {
            self.members[next].set_link.1 = previous;
        }
        if let Some(notifier) = self.notifier(object) {
            notifier.member = NIL;
        }
        self.members.remove(member);
        let quota = self.sets[set].quota;
        self.refund(quota, crate::quota::OBJECT_BYTES);
    }

    /// Ends a poll set: its members are free again, who waits in it learns that it is gone.
    pub fn end_set(&mut self, set: u32) {
        while let Some(thread) = self.sets[set].receivers.first() {
            self.wake_with(thread, Err(Error::BadHandle));
        }
        while self.sets[set].members != NIL {
            let member = self.sets[set].members;
            self.remove_member(member);
        }
        let quota = self.sets[set].quota;
        self.sets.remove(set);
        self.refund_object(quota, crate::quota::OBJECT_BYTES);
    }

    fn has_pending(&mut self, member: u32) -> bool {
        let Member {
            object, mask, told, ..
        } = self.members[member];
        if object.kind == Kind::CHANNEL && self.end_has_message(object.index) {
            return true;
        }
        self.signals(object).intersection(mask).without(told) != Signals::NONE
    }

    /// A member has something to deliver: it takes its turn, and waiting receivers are served.
    pub fn mark_ready(&mut self, member: u32) {
        if !self.members[member].is_ready {
            if !self.has_pending(member) {
                return;
            }
            self.push_ready(member);
        }
        let set = self.members[member].set;
        while let Some(receiver) = self.sets[set].receivers.first() {
            match self.take_from_set(set, receiver) {
                Ok(true) => {
                    self.unwait(receiver);
                    self.make_ready(receiver);
                }
                Ok(false) => return,
                Err(e) => self.wake_with(receiver, Err(e)),
            }
        }
    }

    fn push_ready(&mut self, member: u32) {
        let set = self.members[member].set;
        let (first, last) = self.sets[set].ready;
        self.members[member].is_ready = true;
        self.members[member].ready_link = (NIL, last);
        if last == NIL {
            self.sets[set].ready = (member, member);
        } else {
            self.members[last].ready_link.0 = member;
            self.sets[set].ready = (first, member);
        }
    }

    fn unready(&mut self, member: u32) {
        if !self.members[member].is_ready {
            return;
        }
        let Member {
            set,
            ready_link: (next, previous),
            ..
        } = self.members[member];
        let (mut first, mut last) = self.sets[set].ready;
        match previous {
            NIL => first = next,
            p => self.members[p].ready_link.0 = next,
        }
        match next {
            NIL => last = previous,
            n => self.members[n].ready_link.1 = previous,
        }
        self.sets[set].ready = (first, last);
        self.members[member].is_ready = false;
    }

    /// Gives a thread the next message or signals of a poll set, if there are any.
    ///
    /// # Errors
    /// [`Error::LimitReached`] or [`Error::OutOfMemory`] if its table has no room for a message's
    /// handles; the message waits on.
    pub fn take_from_set(&mut self, set: u32, receiver: u32) -> Result<bool, Error> {
        loop {
            let member = self.sets[set].ready.0;
            if member == NIL {
                return Ok(false);
            }
            self.unready(member);
            let Member {
                object,
                key,
                mask,
                told,
                ..
            } = self.members[member];
            if object.kind == Kind::CHANNEL {
                let taken = self.take_message(object.index, receiver, key);
                if taken != Ok(false) && self.has_pending(member) {
                    self.push_ready(member);
                }
                if taken != Ok(false) {
                    return taken;
                }
            }
            let bits = self.take_signals(object, mask.without(told));
            if bits == Signals::NONE {
                continue;
            }
            let member = &mut self.members[member];
            member.told = member.told | bits.without(TAKEN);
            let x = &mut self.threads[receiver].context.x;
            x[0] = 0;
            x[1] = MsgInfo::new(0, 8, 0).with_kind(MsgKind::Signals).0;
            x[2] = bits.0;
            x[8] = key;
            return Ok(true);
        }
    }
}
