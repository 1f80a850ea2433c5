//! Channels, messages, events and poll sets.

use viper_abi::{Error, Handle, Kind, MsgInfo, Rights, Signals};

use crate::arena::NIL;
use crate::kernel::{Handled, Kernel, Stop, cap_handle};
use crate::object::{Channel, ChannelEnd, Event, Notifier, ObjectRef, PollSet};
use crate::platform::Platform;
use crate::quota::OBJECT_BYTES;
use crate::thread::Queue;

/// Rights of the maker of a channel end.
const CHANNEL_RIGHTS: Rights = Rights(
    Rights::DUPLICATE.0 | Rights::TRANSFER.0 | Rights::SEND.0 | Rights::RECEIVE.0 | Rights::WAIT.0,
);

impl<P: Platform> Kernel<P> {
    #[cold]
    #[inline(never)]
    fn why_not_waitable(&mut self, thread: u32, handle: Handle, error: Error) -> Error {
        match self.any_object(thread, handle, Rights::NONE) {
            Ok(object) if self.notifier(object).is_none() => Error::WrongKind,
            _ => error,
        }
    }

    /// The object behind a handle, if it has signals and the handle may wait for them.
    #[inline(always)]
    fn waitable(&mut self, thread: u32, handle: Handle) -> Result<ObjectRef, Error> {
        match self.any_object(thread, handle, Rights::WAIT) {
            Ok(object) => Ok(object),
            Err(error) => Err(self.why_not_waitable(thread, handle, error)),
        }
    }

    pub fn channel_create(&mut self, thread: u32, depth: u32) -> Handled<(Handle, Handle)> {
        if depth == 0 || depth > 64 {
            return Err(Error::InvalidArgument.into());
        }
        let quota = self.charge_object(thread, OBJECT_BYTES)?;
        let made = self.channels.insert(Channel {
            ends: [ChannelEnd::NEW, ChannelEnd::NEW],
            depth,
            quota,
        });
        let index = match made {
            Ok(index) => index,
            Err(e) => {
                self.refund_object(quota, OBJECT_BYTES);
                return Err(e.into());
            }
        };
        let ends = [2 * index, 2 * index + 1].map(|end| ObjectRef::new(Kind::CHANNEL, end));
        let a = self.install(thread, ends[0], CHANNEL_RIGHTS);
        let b = a.and_then(|_| self.install(thread, ends[1], CHANNEL_RIGHTS));
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Ok(a), Err(e)) => {
                let table = self.table_of(thread);
                let _ = self.caps.close(table, cap_handle(a));
                self.drop_ref(ends[0]);
                self.drop_ref(ends[1]);
                Err(e.into())
            }
            (Err(e), _) => {
                self.drop_ref(ends[0]);
                self.drop_ref(ends[1]);
                Err(e.into())
            }
        }
    }

    pub fn call(
        &mut self,
        thread: u32,
        channel: Handle,
        info: MsgInfo,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Handled<(MsgInfo, u64, u64, u64, u64, u64, u64)> {
        self.call_channel(thread, channel, info)?;
        Err(Stop::Written)
    }

    pub fn send(
        &mut self,
        thread: u32,
        channel: Handle,
        info: MsgInfo,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Handled<()> {
        self.send_channel(thread, channel, info)
    }

    pub fn receive(
        &mut self,
        thread: u32,
        source: Handle,
    ) -> Handled<(MsgInfo, u64, u64, u64, u64, u64, u64)> {
        self.receive_from(thread, source)?;
        Err(Stop::Written)
    }

    pub fn reply_receive(
        &mut self,
        thread: u32,
        source: Handle,
        info: MsgInfo,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Handled<(MsgInfo, u64, u64, u64, u64, u64, u64)> {
        self.reply_and_receive(thread, source, info)?;
        Err(Stop::Written)
    }

    pub fn reply(
        &mut self,
        thread: u32,
        reply: Handle,
        info: MsgInfo,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Handled<()> {
        self.reply_to(thread, reply, info)
    }

    pub fn reply_detach(&mut self, thread: u32) -> Handled<(Handle,)> {
        self.detach_reply(thread)
    }

    pub fn event_create(&mut self, thread: u32) -> Handled<(Handle,)> {
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::SIGNAL | Rights::WAIT;
        let make = |quota| Event {
            notifier: Notifier::NEW,
            refs: 1,
            quota,
        };
        let (handle, _) =
            self.create(thread, None, Kind::EVENT, rights, |k| &mut k.events, make)?;
        Ok((handle,))
    }

    pub fn event_signal(&mut self, thread: u32, event: Handle, bits: u32) -> Handled<()> {
        let index = self.object(thread, event, Kind::EVENT, Rights::SIGNAL)?;
        self.signal_event(index, Signals(u64::from(bits)));
        Ok(())
    }

    pub fn object_wait(
        &mut self,
        thread: u32,
        object: Handle,
        mask: Signals,
        deadline: u64,
    ) -> Handled<(Signals,)> {
        let object = self.waitable(thread, object)?;
        self.wait_for(thread, object, mask, deadline)
    }

    pub fn poll_create(&mut self, thread: u32) -> Handled<(Handle,)> {
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::RECEIVE | Rights::MANAGE;
        let make = |quota| PollSet {
            receivers: Queue::EMPTY,
            ready: (NIL, NIL),
            members: NIL,
            refs: 1,
            quota,
        };
        let (handle, _) =
            self.create(thread, None, Kind::POLL_SET, rights, |k| &mut k.sets, make)?;
        Ok((handle,))
    }

    pub fn poll_add(
        &mut self,
        thread: u32,
        set: Handle,
        object: Handle,
        key: u64,
        mask: Signals,
    ) -> Handled<()> {
        let set = self.object(thread, set, Kind::POLL_SET, Rights::MANAGE)?;
        let named = self.waitable(thread, object)?;
        if named.kind == Kind::CHANNEL && !self.has_rights(thread, object, Rights::RECEIVE) {
            return Err(Error::NoRight.into());
        }
        let by = (self.table_of(thread), cap_handle(object));
        self.add_member(set, named, by, key, mask)?;
        Ok(())
    }

    pub fn poll_remove(&mut self, thread: u32, set: Handle, object: Handle) -> Handled<()> {
        let set = self.object(thread, set, Kind::POLL_SET, Rights::MANAGE)?;
        let object = self.any_object(thread, object, Rights::NONE)?;
        let member = self.notifier(object).ok_or(Error::NotFound)?.member;
        if member == NIL || self.members[member].set != set {
            return Err(Error::NotFound.into());
        }
        self.remove_member(member);
        Ok(())
    }
}
