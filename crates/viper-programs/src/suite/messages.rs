//! Messages, with and without handles, and poll sets.

use super::report::{Report, Verdict, failed, want};
use viper_rt::abi::{FOREVER, MsgInfo, MsgKind, Rights, Signals};
use viper_rt::handle::{Channel, Event, PollSet, Reply};
use viper_rt::message::{Reader, Writer};
use viper_rt::{Error, Object, clock, sys, thread};

const WORDS: [u64; 6] = [1, 2, 3, 4, 5, 6];

/// All tests of this file.
pub(super) fn tests(report: &mut Report<'_>) {
    let tests: &[super::Test] = &[
        ("message/order", order),
        ("message/long", long),
        ("message/handle-moves", handle_moves),
        ("message/handle-without-transfer", no_transfer),
        ("message/too-large", too_large),
        ("message/peer-closed", peer_closed),
        ("message/queue-full", queue_full),
        ("message/call-deadline", call_deadline),
        ("message/detached-reply", detached),
        ("message/dropped-reply", dropped_reply),
        ("poll/messages-and-signals", poll),
        ("poll/one-set-only", one_set),
        ("revoke/derived-only", revoke),
    ];
    for (name, test) in tests {
        report.run(name, test);
    }
}

fn pair() -> Result<(Channel, Channel), alloc::string::String> {
    Channel::pair(4).map_err(failed("channel"))
}

fn send(channel: &Channel, label: u32, len: usize, handles: usize) -> Result<(), Error> {
    sys::send(channel.raw(), MsgInfo::new(label, len, handles), WORDS, 0).check()
}

fn order() -> Verdict {
    let (a, b) = pair()?;
    for label in 0..4 {
        want("send", send(&a, label, 48, 0), Ok(()))?;
    }
    for label in 0..4 {
        let got = sys::receive(b.raw(), 0);
        want(
            "receive",
            (got.check(), got.info.label(), got.words),
            (Ok(()), label, WORDS),
        )?;
    }
    want(
        "empty",
        sys::receive(b.raw(), 0).check(),
        Err(Error::WouldBlock),
    )
}

fn long() -> Verdict {
    let (a, b) = pair()?;
    let text: alloc::vec::Vec<u8> = (0..240).collect();
    let mut message = Writer::new();
    message.bytes(&text).map_err(failed("bytes"))?;
    let (info, words) = message.finish(3);
    sys::send(a.raw(), info, words, 0)
        .check()
        .map_err(failed("send"))?;
    let got = sys::receive(b.raw(), 0);
    got.check().map_err(failed("receive"))?;
    let back = Reader::new(&got).bytes().map_err(failed("read"))?;
    want("text", &back[..] == text.as_slice(), true)
}

fn with_handle(channel: &Channel, event: Event) -> Result<(), Error> {
    let mut message = Writer::new();
    message.handle(event.into_owned())?;
    let (info, words) = message.finish(1);
    sys::send(channel.raw(), info, words, 0).check()
}

fn handle_moves() -> Verdict {
    let (a, b) = pair()?;
    let event = Event::new().map_err(failed("event"))?;
    let copy = event.try_clone().map_err(failed("clone"))?;
    let number = copy.raw();
    want("send", with_handle(&a, copy), Ok(()))?;
    want(
        "the sender's",
        sys::event_signal(number, 1),
        Err(Error::BadHandle),
    )?;
    let got = sys::receive(b.raw(), 0);
    let there: Event = Reader::new(&got).handle().map_err(failed("handle"))?;
    want("signal", there.signal(4), Ok(()))?;
    want("wait", event.wait(Signals(4), 0), Ok(Signals(4)))
}

fn no_transfer() -> Verdict {
    let (a, _b) = pair()?;
    let event = Event::new().map_err(failed("event"))?;
    let bound = event
        .duplicate(Rights::SIGNAL)
        .map_err(failed("duplicate"))?;
    let number = bound.raw();
    want("send", with_handle(&a, bound), Err(Error::NoRight))?;
    want("kept", sys::event_signal(number, 1), Ok(()))?;
    want("close", sys::handle_close(number), Ok(()))
}

fn too_large() -> Verdict {
    let (a, _b) = pair()?;
    want(
        "257 bytes",
        send(&a, 1, 257, 0),
        Err(Error::MessageTooLarge),
    )?;
    want("5 handles", send(&a, 1, 0, 5), Err(Error::MessageTooLarge))
}

fn peer_closed() -> Verdict {
    let (a, b) = pair()?;
    send(&a, 5, 8, 0).map_err(failed("send"))?;
    drop(a);
    let got = sys::receive(b.raw(), 0);
    want("queued first", (got.check(), got.info.label()), (Ok(()), 5))?;
    want(
        "then",
        sys::receive(b.raw(), FOREVER).check(),
        Err(Error::PeerClosed),
    )?;
    want("send", send(&b, 1, 0, 0), Err(Error::PeerClosed))
}

fn queue_full() -> Verdict {
    let (a, _b) = pair()?;
    for _ in 0..4 {
        send(&a, 1, 8, 0).map_err(failed("send"))?;
    }
    want("full", send(&a, 1, 8, 0), Err(Error::WouldBlock))?;
    let late = clock::after(clock::MILLISECOND);
    let got = sys::send(a.raw(), MsgInfo::new(1, 8, 0), WORDS, late);
    want("deadline", got.check(), Err(Error::TimedOut))
}

fn call_deadline() -> Verdict {
    let (a, b) = pair()?;
    let late = clock::after(2 * clock::MILLISECOND);
    let got = sys::call(a.raw(), MsgInfo::new(1, 8, 0), WORDS, late);
    want("nobody answers", got.check(), Err(Error::TimedOut))?;
    want("in time", clock::now() >= late, true)?;
    drop(b);
    let got = sys::call(a.raw(), MsgInfo::new(1, 8, 0), WORDS, FOREVER);
    want("nobody there", got.check(), Err(Error::PeerClosed))
}

/// Calls from a thread; `answer` has the reply as a handle. The caller's status and first word.
fn detach_and(
    answer: impl FnOnce(Reply) -> Verdict,
) -> Result<(Result<(), Error>, u64), alloc::string::String> {
    let (a, b) = pair()?;
    let (status, first) = (alloc::sync::Arc::new(viper_rt::sync::Mutex::new(None)), 0);
    let there = status.clone();
    let caller = thread::spawn(move || {
        let got = sys::call(a.raw(), MsgInfo::new(1, 48, 0), WORDS, FOREVER);
        *there.lock() = Some((got.check(), got.words[0]));
    })
    .map_err(failed("thread"))?;
    let got = sys::receive(b.raw(), FOREVER);
    want("kind", got.info.kind(), Some(MsgKind::Call))?;
    let (reply,) = sys::reply_detach().map_err(failed("detach"))?;
    answer(Reply::from_raw(reply))?;
    caller.join(FOREVER).map_err(failed("join"))?;
    let end = *status.lock();
    Ok(end.unwrap_or((Err(Error::Internal), first)))
}

fn detached() -> Verdict {
    let end = detach_and(|reply| {
        let got = sys::reply(reply.raw(), MsgInfo::new(0, 8, 0), [77, 0, 0, 0, 0, 0], 0);
        want("reply", got.check(), Ok(()))?;
        let again = sys::reply(reply.raw(), MsgInfo::new(0, 8, 0), [78, 0, 0, 0, 0, 0], 0);
        want("used up", again.check().is_err(), true)
    })?;
    want("answer", end, (Ok(()), 77))
}

fn dropped_reply() -> Verdict {
    let (status, _) = detach_and(|reply| {
        drop(reply);
        Ok(())
    })?;
    want("caller", status, Err(Error::PeerClosed))
}

fn poll() -> Verdict {
    let (a, b) = pair()?;
    let set = PollSet::new().map_err(failed("set"))?;
    let event = Event::new().map_err(failed("event"))?;
    set.add(&b, 11, Signals::PEER_CLOSED)
        .map_err(failed("add"))?;
    set.add(&event, 22, Signals(1)).map_err(failed("add"))?;
    send(&a, 3, 8, 0).map_err(failed("send"))?;
    let got = sys::receive(set.raw(), FOREVER);
    want(
        "message",
        (got.check(), got.key, got.info.label()),
        (Ok(()), 11, 3),
    )?;
    want("member", sys::receive(b.raw(), 0).check(), Err(Error::Busy))?;
    event.signal(3).map_err(failed("signal"))?;
    let got = sys::receive(set.raw(), FOREVER);
    want(
        "signal",
        (got.key, got.words[0], got.info.kind()),
        (22, 1, Some(MsgKind::Signals)),
    )?;
    drop(a);
    let got = sys::receive(set.raw(), FOREVER);
    let closed = Signals(got.words[0]).contains(Signals::PEER_CLOSED);
    want("closed", (got.key, closed), (11, true))?;
    drop(event);
    drop(b);
    want(
        "nothing",
        sys::receive(set.raw(), 0).check(),
        Err(Error::WouldBlock),
    )
}

fn one_set() -> Verdict {
    let set = PollSet::new().map_err(failed("set"))?;
    let other = PollSet::new().map_err(failed("set"))?;
    let event = Event::new().map_err(failed("event"))?;
    want("first", set.add(&event, 1, Signals(1)), Ok(()))?;
    want(
        "twice",
        set.add(&event, 1, Signals(1)),
        Err(Error::AlreadyExists),
    )?;
    want(
        "other",
        other.add(&event, 1, Signals(1)),
        Err(Error::AlreadyExists),
    )?;
    want("wait", event.wait(Signals(1), 0), Err(Error::Busy))?;
    want("remove", set.remove(&event), Ok(()))?;
    want("again", other.add(&event, 1, Signals(1)), Ok(()))
}

fn revoke() -> Verdict {
    let event = Event::new().map_err(failed("event"))?;
    let one = event.try_clone().map_err(failed("clone"))?;
    let two = one.try_clone().map_err(failed("clone"))?;
    want("of one", one.revoke(), Ok(1))?;
    want("two", two.signal(1), Err(Error::BadHandle))?;
    want("one", one.signal(1), Ok(()))?;
    want("of all", event.revoke(), Ok(1))?;
    want("itself", event.signal(1), Ok(()))
}
