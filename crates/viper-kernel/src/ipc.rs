//! Messages: send, receive, call, reply, and what becomes of them when somebody ends.
//!
//! A message goes from the sender's registers and IPC buffer to the receiver's, when both are
//! there; until then it stays with the blocked sender, or (for `send`) in the receiving end's
//! queue. The handles of a blocked sender stay in its table until the moment of delivery, and move
//! all or none.

use viper_abi::{
    Error, Kind, MESSAGE_HANDLES_MAX, MESSAGE_MAX, MESSAGE_REGISTER_BYTES, MsgInfo, MsgKind,
    Rights, Signals,
};
use viper_cap::{CapError, Handle, Parked};
use viper_vm::{Frame, PhysAddr};

use crate::arena::NIL;
use crate::kernel::{Handled, Kernel, Stop, cap_error, cap_rights};
use crate::object::{ChannelEnd, Message, ObjectRef, Rest};
use crate::platform::Platform;
use crate::quota::{MESSAGE_BYTES, OBJECT_BYTES};
use crate::thread::{State, Wait, Waiting, abi_handle};

/// Where the handles stand in an IPC buffer, in bytes.
const HANDLES_AT: u64 = MESSAGE_MAX as u64;

/// Why a delivery failed, and whose doing it is.
enum Blame {
    Sender(Error),
    Receiver(Error),
}

impl<P: Platform> Kernel<P> {
    #[inline]
    fn end(&mut self, end: u32) -> &mut ChannelEnd {
        &mut self.channels[end / 2].ends[(end % 2) as usize]
    }

    #[inline]
    fn is_closed(&mut self, end: u32) -> bool {
        self.end(end).refs == 0
    }

    /// Whether a message waits at this end.
    pub fn end_has_message(&mut self, end: u32) -> bool {
        let end = self.end(end);
        end.queued > 0 || !end.senders.is_empty()
    }

    /// The signals of a channel end.
    pub fn end_signals(&mut self, end: u32) -> Signals {
        let mut signals = Signals::NONE;
        if self.end_has_message(end) {
            signals = signals | Signals::READABLE;
        }
        if self.is_closed(end ^ 1) {
            signals = signals | Signals::PEER_CLOSED;
        }
        signals
    }

    // ----- Delivery --------------------------------------------------------------------------

    /// Reads and checks the info word of an outgoing message.
    #[inline]
    fn outgoing(info: MsgInfo) -> Result<MsgInfo, Error> {
        if info.len() > MESSAGE_MAX || info.handles() > MESSAGE_HANDLES_MAX {
            return Err(Error::MessageTooLarge);
        }
        Ok(info)
    }

    /// The handles in a thread's IPC buffer, checked for TRANSFER.
    fn outgoing_handles(
        &self,
        sender: u32,
        count: usize,
    ) -> Result<[Handle; MESSAGE_HANDLES_MAX], Error> {
        let mut handles = [Handle::INVALID; MESSAGE_HANDLES_MAX];
        let at = self.threads[sender].ipc_frame.addr().0 + HANDLES_AT;
        let table = self.table_of(sender);
        for (i, handle) in handles.iter_mut().enumerate().take(count) {
            let mut raw = [0; 4];
            self.platform
                .read_bytes(PhysAddr(at + 4 * i as u64), &mut raw);
            *handle = Handle::from_raw(u32::from_le_bytes(raw));
            let entry = self.caps.query(table, *handle).map_err(cap_error)?;
            if !entry.rights.contains(cap_rights(Rights::TRANSFER)) {
                return Err(Error::NoRight);
            }
        }
        Ok(handles)
    }

    fn put_handles(&mut self, receiver: u32, handles: &[Handle]) {
        let at = self.threads[receiver].ipc_frame.addr().0 + HANDLES_AT;
        for (i, &handle) in handles.iter().enumerate() {
            let raw = abi_handle(handle).0.to_le_bytes();
            self.platform.write_bytes(PhysAddr(at + 4 * i as u64), &raw);
        }
    }

    /// Moves the handles of a message from one thread's process to another's.
    fn move_handles(&mut self, sender: u32, receiver: u32, count: usize) -> Result<(), Blame> {
        let handles = self
            .outgoing_handles(sender, count)
            .map_err(Blame::Sender)?;
        let (from, to) = (self.table_of(sender), self.table_of(receiver));
        self.make_room(self.threads[receiver].process, count)
            .map_err(Blame::Receiver)?;
        let moved = match self.caps.transfer_many(from, &handles[..count], to) {
            Ok(moved) => moved,
            Err(e @ (CapError::TableFull | CapError::OutOfMemory | CapError::BadTable)) => {
                return Err(Blame::Receiver(cap_error(e)));
            }
            Err(e) => return Err(Blame::Sender(cap_error(e))),
        };
        self.put_handles(receiver, &moved[..count]);
        Ok(())
    }

    /// Copies what does not travel in registers of a message that is longer than these.
    #[inline(always)]
    pub fn copy_rest(&mut self, from: Frame, to: Frame, len_bytes: usize) {
        let words = (len_bytes - MESSAGE_REGISTER_BYTES).div_ceil(8);
        self.platform
            .copy_words(to, from, MESSAGE_REGISTER_BYTES, words);
    }

    /// Hands a thread's message to another thread.
    #[inline]
    fn deliver(
        &mut self,
        sender: u32,
        receiver: u32,
        kind: MsgKind,
        key: u64,
    ) -> Result<(), Blame> {
        let info = MsgInfo(self.threads[sender].context.x[1]);
        if info.handles() != 0 {
            self.move_handles(sender, receiver, info.handles())?;
        }
        let from = self.threads[sender].ipc_frame;
        let words: [u64; 6] = self.threads[sender].context.x[2..8]
            .try_into()
            .expect("six words");
        let to = &mut self.threads[receiver];
        to.context.x[0] = 0;
        to.context.x[1] = info.with_kind(kind).0;
        to.context.x[2..8].copy_from_slice(&words);
        to.context.x[8] = key;
        let frame = to.ipc_frame;
        if info.len() > MESSAGE_REGISTER_BYTES {
            self.copy_rest(from, frame, info.len());
        }
        self.counters.ipcs += 1;
        self.threads[sender].ipcs += 1;
        Ok(())
    }

    /// Gives a thread the next message of a channel end, if there is one.
    ///
    /// # Errors
    /// [`Error::LimitReached`] or [`Error::OutOfMemory`]: the receiver's table has no room for the
    /// handles. The message waits on.
    pub fn take_message(&mut self, end: u32, receiver: u32, key: u64) -> Result<bool, Error> {
        if self.end(end).queued > 0 {
            self.take_queued(end, receiver, key)?;
            return Ok(true);
        }
        while let Some(sender) = self.end(end).senders.first() {
            let calls = self.threads[sender].state == State::Blocked(Wait::Call(end));
            let kind = if calls {
                MsgKind::Call
            } else {
                MsgKind::Message
            };
            match self.deliver(sender, receiver, kind, key) {
                Err(Blame::Sender(e)) => self.wake_with(sender, Err(e)),
                Err(Blame::Receiver(e)) => return Err(e),
                Ok(()) if calls => {
                    let channel = &mut self.channels[end / 2].ends[(end % 2) as usize];
                    channel.senders.remove::<Waiting>(&mut self.threads, sender);
                    self.threads[sender].state = State::Blocked(Wait::Reply);
                    self.owe_reply(receiver, sender);
                    return Ok(true);
                }
                Ok(()) => {
                    self.wake_with(sender, Ok(()));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn take_queued(&mut self, end: u32, receiver: u32, key: u64) -> Result<(), Error> {
        let at = self.end(end).messages.0;
        let table = self.table_of(receiver);
        let count = self.messages[at].parked.len();
        if count > 0 {
            self.make_room(self.threads[receiver].process, count)?;
            let mut parked = core::mem::replace(&mut self.messages[at].parked, Parked::EMPTY);
            let moved = self.caps.unpark(&mut parked, table);
            self.messages[at].parked = parked;
            self.put_handles(receiver, &moved.map_err(cap_error)?[..count]);
        }
        let Message {
            next,
            info,
            words,
            rest,
            ..
        } = self.messages.remove(at).ok_or(Error::Internal)?;
        let end_ref = self.end(end);
        end_ref.queued -= 1;
        end_ref.messages.0 = next;
        if next == NIL {
            end_ref.messages.1 = NIL;
        }
        let to = &mut self.threads[receiver];
        to.context.x[0] = 0;
        to.context.x[1] = MsgInfo(info).with_kind(MsgKind::Message).0;
        to.context.x[2..8].copy_from_slice(&words);
        to.context.x[8] = key;
        let base = to.ipc_frame.addr().0 + MESSAGE_REGISTER_BYTES as u64;
        if let Some(rest) = self.rests.remove(rest) {
            let len = (MsgInfo(info).len() - MESSAGE_REGISTER_BYTES).div_ceil(8);
            for (i, &word) in rest.iter().enumerate().take(len) {
                self.platform.write_u64(PhysAddr(base + 8 * i as u64), word);
            }
        }
        let quota = self.channels[end / 2].quota;
        self.refund(quota, MESSAGE_BYTES);
        Ok(())
    }

    /// The receiver has a call to answer, and meanwhile runs at the caller's priority at least.
    #[inline]
    fn owe_reply(&mut self, receiver: u32, caller: u32) {
        let number = self.fresh_id();
        self.threads[caller].call_number = number;
        self.threads[receiver].caller = Some((caller, number));
        self.donate(caller, receiver);
    }

    /// A thread that waits to receive what comes to this end, and the key it comes with.
    #[inline]
    fn receiver_of(&mut self, end: u32) -> Option<(u32, u64)> {
        let e = self.end(end);
        let member = e.notifier.member;
        if member == NIL {
            return e.receivers.first().map(|r| (r, 0));
        }
        let member = &self.members[member];
        self.sets[member.set]
            .receivers
            .first()
            .map(|r| (r, member.key))
    }

    /// A message has come to stand at an end without a receiver.
    fn announce(&mut self, end: u32) {
        self.notify(ObjectRef::new(Kind::CHANNEL, end), Signals::NONE);
    }

    // ----- The calls -------------------------------------------------------------------------

    /// The end of a channel that a sender's handle names.
    #[inline]
    fn sending_end(&self, thread: u32, channel: viper_abi::Handle) -> Result<u32, Error> {
        self.object(thread, channel, Kind::CHANNEL, Rights::SEND)
    }

    /// `call`.
    ///
    /// # Errors
    /// As documented.
    pub fn call_channel(
        &mut self,
        thread: u32,
        channel: viper_abi::Handle,
        info: MsgInfo,
    ) -> Handled<()> {
        let to = self.sending_end(thread, channel)? ^ 1;
        let info = Self::outgoing(info)?;
        let deadline = self.threads[thread].context.x[8];
        if self.is_closed(to) {
            return Err(Error::PeerClosed.into());
        }
        if let Some((receiver, key)) = self.receiver_of(to) {
            match self.deliver(thread, receiver, MsgKind::Call, key) {
                Err(Blame::Sender(e) | Blame::Receiver(e)) => return Err(e.into()),
                Ok(()) => {}
            }
            self.unwait(receiver);
            self.block(thread, Wait::Reply, deadline);
            self.owe_reply(receiver, thread);
            self.hand_over(receiver);
            return Err(Stop::Written);
        }
        if deadline == 0 {
            return Err(Error::WouldBlock.into());
        }
        self.outgoing_handles(thread, info.handles())?;
        self.queue_sender(thread, to);
        self.block(thread, Wait::Call(to), deadline);
        self.announce(to);
        Err(Stop::Written)
    }

    fn queue_sender(&mut self, thread: u32, end: u32) {
        let e = &mut self.channels[end / 2].ends[(end % 2) as usize];
        e.senders.push::<Waiting>(&mut self.threads, thread);
    }

    /// `send`.
    ///
    /// # Errors
    /// As documented.
    pub fn send_channel(
        &mut self,
        thread: u32,
        channel: viper_abi::Handle,
        info: MsgInfo,
    ) -> Handled<()> {
        let to = self.sending_end(thread, channel)? ^ 1;
        let info = Self::outgoing(info)?;
        if self.is_closed(to) {
            return Err(Error::PeerClosed.into());
        }
        if let Some((receiver, key)) = self.receiver_of(to) {
            match self.deliver(thread, receiver, MsgKind::Message, key) {
                Err(Blame::Sender(e) | Blame::Receiver(e)) => return Err(e.into()),
                Ok(()) => {}
            }
            self.unwait(receiver);
            self.make_ready(receiver);
            return Ok(());
        }
        if self.end(to).queued < self.channels[to / 2].depth {
            self.queue_message(thread, to, info)?;
            self.announce(to);
            return Ok(());
        }
        let deadline = self.threads[thread].context.x[8];
        if deadline == 0 {
            return Err(Error::WouldBlock.into());
        }
        self.outgoing_handles(thread, info.handles())?;
        self.queue_sender(thread, to);
        self.block(thread, Wait::Send(to), deadline);
        Err(Stop::Written)
    }

    fn queue_message(&mut self, thread: u32, to: u32, info: MsgInfo) -> Result<(), Error> {
        let handles = self.outgoing_handles(thread, info.handles())?;
        let quota = self.channels[to / 2].quota;
        self.charge(quota, MESSAGE_BYTES)?;
        let words: [u64; 6] = self.threads[thread].context.x[2..8]
            .try_into()
            .expect("six words");
        let rest = match self.keep_rest(thread, info) {
            Ok(rest) => rest,
            Err(e) => {
                self.refund(quota, MESSAGE_BYTES);
                return Err(e);
            }
        };
        let message = Message {
            next: NIL,
            info: info.0,
            words,
            rest,
            parked: Parked::EMPTY,
        };
        let at = self.messages.insert(message).inspect_err(|_| {
            self.rests.remove(rest);
            self.refund(quota, MESSAGE_BYTES);
        })?;
        if info.handles() > 0 {
            let table = self.table_of(thread);
            match self.caps.park(table, &handles[..info.handles()]) {
                Ok(parked) => self.messages[at].parked = parked,
                Err(e) => {
                    self.messages.remove(at);
                    self.rests.remove(rest);
                    self.refund(quota, MESSAGE_BYTES);
                    return Err(cap_error(e));
                }
            }
        }
        let last = self.end(to).messages.1;
        if last == NIL {
            self.end(to).messages = (at, at);
        } else {
            self.messages[last].next = at;
            self.end(to).messages.1 = at;
        }
        self.end(to).queued += 1;
        self.counters.ipcs += 1;
        self.threads[thread].ipcs += 1;
        Ok(())
    }

    /// Keeps what does not travel in registers of a sender's message, if there is any.
    fn keep_rest(&mut self, sender: u32, info: MsgInfo) -> Result<u32, Error> {
        if info.len() <= MESSAGE_REGISTER_BYTES {
            return Ok(NIL);
        }
        let base = self.threads[sender].ipc_frame.addr().0 + MESSAGE_REGISTER_BYTES as u64;
        let mut rest: Rest = [0; _];
        let len = (info.len() - MESSAGE_REGISTER_BYTES).div_ceil(8);
        for (i, word) in rest.iter_mut().enumerate().take(len) {
            *word = self.platform.read_u64(PhysAddr(base + 8 * i as u64));
        }
        self.rests.insert(rest)
    }

    /// What a thread receives from.
    fn source(&self, thread: u32, source: viper_abi::Handle) -> Result<Wait, Error> {
        let entry = self
            .caps
            .query(self.table_of(thread), crate::kernel::cap_handle(source))
            .map_err(cap_error)?;
        let wait = match entry.object.kind {
            Kind::CHANNEL => Wait::ReceiveEnd(entry.object.index),
            Kind::POLL_SET => Wait::ReceiveSet(entry.object.index),
            _ => return Err(Error::WrongKind),
        };
        if !entry.rights.contains(cap_rights(Rights::RECEIVE)) {
            return Err(Error::NoRight);
        }
        Ok(wait)
    }

    /// `receive`.
    ///
    /// # Errors
    /// As documented.
    pub fn receive_from(&mut self, thread: u32, source: viper_abi::Handle) -> Handled<()> {
        let wait = self.source(thread, source)?;
        self.abandon_caller(thread);
        self.receive_or_wait(thread, wait)
    }

    fn receive_or_wait(&mut self, thread: u32, wait: Wait) -> Handled<()> {
        let taken = match wait {
            Wait::ReceiveEnd(end) => {
                if self.end(end).notifier.member != NIL {
                    return Err(Error::Busy.into());
                }
                let taken = self.take_message(end, thread, 0)?;
                if !taken && self.is_closed(end ^ 1) {
                    return Err(Error::PeerClosed.into());
                }
                taken
            }
            Wait::ReceiveSet(set) => self.take_from_set(set, thread)?,
            _ => return Err(Error::Internal.into()),
        };
        if taken {
            return Err(Stop::Written);
        }
        let deadline = self.threads[thread].context.x[8];
        if deadline == 0 {
            return Err(Error::WouldBlock.into());
        }
        match wait {
            Wait::ReceiveEnd(end) => {
                let e = &mut self.channels[end / 2].ends[(end % 2) as usize];
                e.receivers.push::<Waiting>(&mut self.threads, thread);
            }
            Wait::ReceiveSet(set) => {
                self.sets[set]
                    .receivers
                    .push::<Waiting>(&mut self.threads, thread);
            }
            _ => {}
        }
        self.block(thread, wait, deadline);
        Err(Stop::Written)
    }

    /// `reply_receive`.
    ///
    /// # Errors
    /// As documented.
    pub fn reply_and_receive(
        &mut self,
        thread: u32,
        source: viper_abi::Handle,
        info: MsgInfo,
    ) -> Handled<()> {
        let wait = self.source(thread, source)?;
        let info = Self::outgoing(info)?;
        if let Some(call) = self.threads[thread].caller {
            match self.answer(thread, call, info) {
                Ok(caller) => {
                    self.forget_caller(thread);
                    let received = self.receive_or_wait(thread, wait);
                    if matches!(self.threads[thread].state, State::Blocked(_)) {
                        self.hand_over(caller);
                    } else {
                        self.make_ready(caller);
                    }
                    return received;
                }
                // The caller gave up: nobody to tell.
                Err(Error::NotFound) => self.forget_caller(thread),
                Err(e @ Error::LimitReached) => {
                    self.forget_caller(thread);
                    return Err(e.into());
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.receive_or_wait(thread, wait)
    }

    /// `reply`.
    ///
    /// # Errors
    /// As documented.
    pub fn reply_to(
        &mut self,
        thread: u32,
        reply: viper_abi::Handle,
        info: MsgInfo,
    ) -> Handled<()> {
        let info = Self::outgoing(info)?;
        let table = self.table_of(thread);
        let call = if reply.is_none() {
            self.threads[thread].caller.ok_or(Error::NotFound)?
        } else {
            let handle = crate::kernel::cap_handle(reply);
            let object = self.caps.query(table, handle).map_err(cap_error)?.object;
            if object.kind != Kind::REPLY {
                return Err(Error::WrongKind.into());
            }
            (object.index, object.extra)
        };
        let answered = self.answer(thread, call, info);
        if matches!(answered, Ok(_) | Err(Error::NotFound | Error::LimitReached)) {
            if reply.is_none() {
                self.forget_caller(thread);
            } else {
                // The call is over, so that dropping the right tells nobody.
                let _ = self.caps.close(table, crate::kernel::cap_handle(reply));
            }
        }
        let caller = answered?;
        self.make_ready(caller);
        Ok(())
    }

    /// Delivers a reply. The caller is not yet ready to run afterwards, but waits no longer.
    fn answer(&mut self, thread: u32, call: (u32, u64), info: MsgInfo) -> Result<u32, Error> {
        let (caller, number) = call;
        let waits = self
            .threads
            .get(caller)
            .is_some_and(|t| t.state == State::Blocked(Wait::Reply) && t.call_number == number);
        if !waits {
            return Err(Error::NotFound);
        }
        // The words are in x2..=x7 and the info in x1 for every kind of reply.
        self.threads[thread].context.x[1] = info.0;
        match self.deliver(thread, caller, MsgKind::Message, 0) {
            Err(Blame::Sender(e)) => return Err(e),
            Err(Blame::Receiver(_)) => {
                self.wake_with(caller, Err(Error::LimitReached));
                return Err(Error::LimitReached);
            }
            Ok(()) => {}
        }
        self.unwait(caller);
        self.threads[caller].call_number = 0;
        Ok(caller)
    }

    /// `reply_detach`.
    ///
    /// # Errors
    /// As documented.
    pub fn detach_reply(&mut self, thread: u32) -> Handled<(viper_abi::Handle,)> {
        let (caller, number) = self.threads[thread].caller.ok_or(Error::NotFound)?;
        let object = ObjectRef {
            kind: Kind::REPLY,
            index: caller,
            extra: number,
        };
        let handle = self.install(thread, object, Rights::NONE)?;
        self.forget_caller(thread);
        Ok((handle,))
    }

    /// The right to reply to a call is gone: the caller learns that nobody will.
    pub fn abandon_call(&mut self, caller: u32, number: u64) {
        let waits = self
            .threads
            .get(caller)
            .is_some_and(|t| t.state == State::Blocked(Wait::Reply) && t.call_number == number);
        if waits {
            self.wake_with(caller, Err(Error::PeerClosed));
        }
    }

    /// A thread will not reply to the call it received last.
    pub fn abandon_caller(&mut self, thread: u32) {
        if let Some((caller, number)) = self.threads[thread].caller.take() {
            self.undonate(thread);
            self.abandon_call(caller, number);
        }
    }

    /// The last capability to a channel end is gone.
    pub fn close_end(&mut self, end: u32) {
        let object = ObjectRef::new(Kind::CHANNEL, end);
        while let Some(receiver) = self.end(end).receivers.first() {
            self.wake_with(receiver, Err(Error::BadHandle));
        }
        while let Some(sender) = self.end(end).senders.first() {
            self.wake_with(sender, Err(Error::PeerClosed));
        }
        self.forget_notifier(object);
        self.drop_queue(end);
        self.end(end).is_buried = true;
        let peer = end ^ 1;
        if self.is_closed(peer) {
            if !self.end(peer).is_buried {
                return;
            }
            let quota = self.channels[end / 2].quota;
            self.channels.remove(end / 2);
            self.refund_object(quota, OBJECT_BYTES);
            return;
        }
        while let Some(receiver) = self.end(peer).receivers.first() {
            self.wake_with(receiver, Err(Error::PeerClosed));
        }
        self.notify(ObjectRef::new(Kind::CHANNEL, peer), Signals::PEER_CLOSED);
    }

    /// Drops the messages that are queued at an end.
    pub fn drop_queue(&mut self, end: u32) {
        let quota = self.channels[end / 2].quota;
        let (mut at, _) = core::mem::replace(&mut self.end(end).messages, (NIL, NIL));
        self.end(end).queued = 0;
        while let Some(message) = self.messages.remove(at) {
            self.rests.remove(message.rest);
            self.drop_parked(message.parked);
            self.refund(quota, MESSAGE_BYTES);
            at = message.next;
        }
    }

    /// Ends the capabilities of a message that will not be delivered.
    pub fn drop_parked(&mut self, parked: Parked) {
        let mut ended = [None; MESSAGE_HANDLES_MAX];
        let mut places = ended.iter_mut();
        self.caps.drop_parked(parked, |object| {
            if let Some(place) = places.next() {
                *place = Some(object);
            }
        });
        for object in ended.into_iter().flatten() {
            self.drop_ref(object);
        }
    }
}
