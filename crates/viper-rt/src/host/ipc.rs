//! Messages of the fake kernel.

use super::objects::ChannelEnd;
use super::state::{Guard, Id, Kernel, Obj, Pid, changed, uptime, wait};
use super::{exit, ipc_buffer};
use std::cell::Cell;
use viper_abi::{
    Error, Handle, MESSAGE_HANDLES_MAX, MESSAGE_MAX, MsgInfo, MsgKind, Rights, Signals,
};

pub(super) struct Message {
    info: MsgInfo,
    data: [u8; MESSAGE_MAX],
    handles: Vec<(Id, Rights)>,
    call: Option<u64>,
}

thread_local! {
    /// The call this thread received last and has not replied to.
    static CALL: Cell<Option<u64>> = const { Cell::new(None) };
}

impl Kernel {
    pub(super) fn end_gone(&mut self, end: ChannelEnd) {
        if let Some(Obj::Channel(peer)) = end.peer.and_then(|id| self.object_mut(id)) {
            peer.peer = None;
        }
        end.queue
            .into_iter()
            .for_each(|message| self.discard(message));
    }

    fn discard(&mut self, message: Message) {
        message.handles.iter().for_each(|&(id, _)| self.release(id));
        if let Some(call) = message.call {
            self.fail_call(call);
        }
    }

    pub(super) fn fail_call(&mut self, call: u64) {
        if let Some(place @ None) = self.calls.get_mut(&call) {
            *place = Some(Err(Error::PeerClosed));
        }
        changed();
    }

    /// Takes a message out of a thread's registers and buffer; its handles leave the table.
    fn compose(&mut self, pid: Pid, r: &[u64; 9]) -> Result<Message, Error> {
        let info = MsgInfo(r[1]);
        if info.len() > MESSAGE_MAX || info.handles() > MESSAGE_HANDLES_MAX {
            return Err(Error::MessageTooLarge);
        }
        // SAFETY: this thread's page.
        let buffer = unsafe { ipc_buffer().read() };
        let mut data = buffer.data;
        for (word, place) in r[2..8].iter().zip(data.as_chunks_mut::<8>().0) {
            *place = word.to_le_bytes();
        }
        let wanted = &buffer.handles[..info.handles()];
        for handle in wanted {
            let (_, rights) = self.find(pid, *handle)?;
            if !rights.contains(Rights::TRANSFER) {
                return Err(Error::NoRight);
            }
        }
        let mut handles = Vec::new();
        for handle in wanted {
            handles.extend(self.process(pid).handles.remove(&handle.0));
        }
        if handles.len() != wanted.len() {
            return Err(Error::BadHandle);
        }
        Ok(Message {
            info: info.with_kind(MsgKind::Message),
            data,
            handles,
            call: None,
        })
    }

    /// Puts a message into a thread's registers and buffer.
    fn deliver(&mut self, pid: Pid, message: Message, key: u64, r: &mut [u64; 9]) {
        let mut handles = [Handle::NONE; MESSAGE_HANDLES_MAX];
        for (place, (id, rights)) in handles.iter_mut().zip(message.handles) {
            *place = self.insert(pid, id, rights);
            self.release(id);
        }
        let kind = if message.call.is_some() {
            MsgKind::Call
        } else {
            MsgKind::Message
        };
        r[0] = 0;
        r[1] = message.info.with_kind(kind).0;
        for (word, bytes) in r[2..8].iter_mut().zip(message.data.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        r[8] = key;
        // SAFETY: this thread's page. The data of registers is left as noise there on purpose.
        unsafe {
            let buffer = ipc_buffer();
            let mut data = message.data;
            data[..48].fill(0xa5);
            data[message.info.len().clamp(48, MESSAGE_MAX)..].fill(0x5a);
            (&raw mut (*buffer).data).write(data);
            (&raw mut (*buffer).handles).write(handles);
        }
    }

    fn channel(&mut self, pid: Pid, handle: Handle) -> Result<(Id, Option<Id>), Error> {
        let (id, _) = self.find(pid, handle)?;
        match self.object(id) {
            Some(Obj::Channel(end)) => Ok((id, end.peer)),
            _ => Err(Error::WrongKind),
        }
    }
}

/// Every blocking call: `step` until it gives something, the deadline passes or the process ends.
pub(super) fn block<T>(
    mut kernel: Guard,
    pid: Pid,
    deadline: u64,
    mut step: impl FnMut(&mut Kernel) -> Result<Option<T>, Error>,
) -> (Guard, Result<T, Error>) {
    loop {
        let looked_ns = uptime();
        match step(&mut kernel) {
            Ok(Some(value)) => return (kernel, Ok(value)),
            Err(error) => return (kernel, Err(error)),
            Ok(None) => {}
        }
        if kernel.process(pid).end.is_some() {
            drop(kernel);
            exit();
        }
        if deadline == 0 {
            return (kernel, Err(Error::WouldBlock));
        }
        if uptime() >= deadline {
            return (kernel, Err(Error::TimedOut));
        }
        kernel = wait(kernel, looked_ns, deadline);
    }
}

/// Queues a message, waiting for a place.
fn enqueue(
    kernel: Guard,
    pid: Pid,
    channel: Handle,
    message: Message,
    deadline: u64,
) -> (Guard, Result<(), (Error, Message)>) {
    let mut message = Some(message);
    let (kernel, result) = block(kernel, pid, deadline, |k| {
        let (_, peer) = k.channel(pid, channel)?;
        let Some(Obj::Channel(end)) = peer.and_then(|id| k.object_mut(id)) else {
            return Err(Error::PeerClosed);
        };
        if end.queue.len() >= end.depth {
            return Ok(None);
        }
        end.queue.extend(message.take());
        changed();
        Ok(Some(()))
    });
    let result = match (result, message) {
        (Err(error), Some(message)) => Err((error, message)),
        _ => Ok(()),
    };
    (kernel, result)
}

/// A failed send keeps its handles with the sender, under the numbers they had.
fn hand_back(kernel: &mut Kernel, pid: Pid, message: Message) {
    // SAFETY: this thread's page.
    let numbers = unsafe { ipc_buffer().read().handles };
    for (number, place) in numbers.iter().zip(message.handles) {
        kernel.process(pid).handles.insert(number.0, place);
    }
}

pub(super) fn send(mut kernel: Guard, pid: Pid, r: &mut [u64; 9]) -> Result<(), Error> {
    let message = kernel.compose(pid, r)?;
    let (mut kernel, result) = enqueue(kernel, pid, Handle(r[0] as u32), message, r[8]);
    result.map_err(|(error, message)| {
        hand_back(&mut kernel, pid, message);
        error
    })
}

pub(super) fn call(mut kernel: Guard, pid: Pid, r: &mut [u64; 9]) -> Result<(), Error> {
    let mut message = kernel.compose(pid, r)?;
    let id = kernel.add(Obj::Quota).0;
    message.call = Some(id);
    kernel.calls.insert(id, None);
    let deadline = r[8];
    let (mut kernel, queued) = enqueue(kernel, pid, Handle(r[0] as u32), message, deadline);
    if let Err((error, message)) = queued {
        kernel.calls.remove(&id);
        hand_back(&mut kernel, pid, message);
        return Err(error);
    }
    let (mut kernel, reply) = block(kernel, pid, deadline, |k| {
        Ok(k.calls.get_mut(&id).and_then(Option::take))
    });
    kernel.calls.remove(&id);
    let message = reply??;
    kernel.deliver(pid, message, 0, r);
    Ok(())
}

/// A thread that ends leaves its call without an answer.
pub(super) fn abandon(kernel: &mut Kernel) {
    if let Some(call) = CALL.take() {
        kernel.fail_call(call);
    }
}

pub(super) fn detach() -> Result<u64, Error> {
    CALL.take().ok_or(Error::NotFound)
}

fn answer(kernel: &mut Kernel, call: u64, message: Message) -> Result<(), Error> {
    match kernel.calls.get_mut(&call) {
        Some(place @ None) => {
            *place = Some(Ok(message));
            changed();
            Ok(())
        }
        _ => {
            kernel.discard(message);
            Err(Error::NotFound)
        }
    }
}

pub(super) fn reply(mut kernel: Guard, pid: Pid, r: &mut [u64; 9]) -> Result<(), Error> {
    let handle = Handle(r[0] as u32);
    let call = if handle.is_none() {
        CALL.take().ok_or(Error::NotFound)?
    } else {
        let (id, _) = kernel.find(pid, handle)?;
        match kernel.object(id) {
            Some(Obj::Reply(call)) => *call,
            _ => return Err(Error::WrongKind),
        }
    };
    let message = kernel.compose(pid, r)?;
    let result = answer(&mut kernel, call, message);
    if !handle.is_none() {
        let _ = kernel.close(pid, handle);
    }
    result
}

pub(super) fn reply_receive(mut kernel: Guard, pid: Pid, r: &mut [u64; 9]) -> Result<(), Error> {
    if let Some(call) = CALL.get() {
        let message = kernel.compose(pid, r)?;
        CALL.take();
        let _ = answer(&mut kernel, call, message);
    }
    receive(kernel, pid, r)
}

pub(super) fn receive(mut kernel: Guard, pid: Pid, r: &mut [u64; 9]) -> Result<(), Error> {
    if let Some(call) = CALL.take() {
        kernel.fail_call(call);
    }
    let source = Handle(r[0] as u32);
    let (mut kernel, got) = block(kernel, pid, r[8], |k| {
        let (id, _) = k.find(pid, source)?;
        match k.object(id) {
            Some(Obj::Channel(end)) if end.polled => Err(Error::Busy),
            Some(Obj::Channel(end)) if end.queue.is_empty() && end.peer.is_none() => {
                Err(Error::PeerClosed)
            }
            Some(Obj::Channel(_)) => Ok(pop(k, id).map(|m| (0, Ok(m)))),
            Some(Obj::PollSet { .. }) => Ok(from_set(k, id)),
            _ => Err(Error::WrongKind),
        }
    });
    match got? {
        (key, Ok(message)) => {
            CALL.set(message.call);
            kernel.deliver(pid, message, key, r);
        }
        (key, Err(signals)) => {
            *r = [0; 9];
            r[1] = MsgInfo::new(0, 8, 0).with_kind(MsgKind::Signals).0;
            r[2] = signals.0;
            r[8] = key;
        }
    }
    Ok(())
}

fn pop(kernel: &mut Kernel, id: Id) -> Option<Message> {
    match kernel.object_mut(id) {
        Some(Obj::Channel(end)) => {
            changed();
            end.queue.pop_front()
        }
        _ => None,
    }
}

type Got = (u64, Result<Message, Signals>);

/// The next message or signals of a set, in turn.
fn from_set(kernel: &mut Kernel, set: Id) -> Option<Got> {
    let (members, turn) = match kernel.object(set) {
        Some(Obj::PollSet { members, turn }) => (members.clone(), *turn),
        _ => return None,
    };
    for n in 0..members.len() {
        let index = (turn + n) % members.len();
        let (id, key, mask) = members[index];
        let got = match pop(kernel, id) {
            Some(message) => Some((key, Ok(message))),
            None => {
                let now = kernel.signals(id).unwrap_or_default().intersection(mask);
                let now = now.without(Signals::READABLE);
                kernel_take(kernel, id, now).map(|s| (key, Err(s)))
            }
        };
        if got.is_some() {
            if let Some(Obj::PollSet { turn, .. }) = kernel.object_mut(set) {
                *turn = index + 1;
            }
            return got;
        }
    }
    None
}

fn kernel_take(kernel: &mut Kernel, id: Id, now: Signals) -> Option<Signals> {
    if now == Signals::NONE {
        return None;
    }
    kernel.take_signals(id, now);
    Some(now)
}
