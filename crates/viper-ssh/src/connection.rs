//! The connection protocol (RFC 4254): channels and requests, the same on both sides.

mod global;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use self::global::Global;
use crate::channel::{Channel, ChannelId, DATA_LEN_MAX, Phase, Stream};
use crate::request::{self, ChannelKind, Request, Tcpip};
use crate::transport::Transport;
use crate::wire::{Put, Reader};
use crate::{Config, Error, Event, message};

/// Data is written only while less than this waits in the output.
const OUTPUT_GOAL: usize = 128 * 1024;

/// The parts of a session that both roles share. Its `pub` is only for the sealed trait `Role`.
pub struct Core {
    pub(crate) transport: Transport,
    pub(crate) events: VecDeque<Event>,
    pub(crate) is_server: bool,
    pub(crate) authenticated: bool,
    pub(crate) now: Duration,
    channels: BTreeMap<u32, Channel>,
    next_channel: u32,
    channels_max: usize,
    window_len: u32,
    global: Global,
}

impl Core {
    pub(crate) fn new(
        transport: Transport,
        config: &Config,
        is_server: bool,
        now: Duration,
    ) -> Self {
        Core {
            transport,
            events: VecDeque::new(),
            is_server,
            authenticated: false,
            now,
            channels: BTreeMap::new(),
            next_channel: 0,
            channels_max: config.channels_max,
            window_len: config.window_len.max(DATA_LEN_MAX),
            global: Global::new(config, now),
        }
    }

    // What the peer sent.

    pub(crate) fn handle(&mut self, number: u8, payload: &[u8]) -> Result<(), Error> {
        let mut body = Reader::new(payload);
        body.u8()?;
        match number {
            message::GLOBAL_REQUEST => self.handle_global_request(body),
            message::REQUEST_SUCCESS => self.handle_global_reply(Some(body)),
            message::REQUEST_FAILURE => self.handle_global_reply(None),
            message::CHANNEL_OPEN => self.handle_open(body),
            message::CHANNEL_OPEN_CONFIRMATION => self.handle_confirmation(body),
            message::CHANNEL_OPEN_FAILURE => self.handle_refusal(body),
            message::CHANNEL_WINDOW_ADJUST => self.handle_window_adjust(body),
            message::CHANNEL_DATA => self.handle_data(body, false),
            message::CHANNEL_EXTENDED_DATA => self.handle_data(body, true),
            message::CHANNEL_EOF => self.handle_eof(body),
            message::CHANNEL_CLOSE => self.handle_close(body),
            message::CHANNEL_REQUEST => self.handle_request(body),
            message::CHANNEL_SUCCESS => self.handle_reply(body, true),
            message::CHANNEL_FAILURE => self.handle_reply(body, false),
            _ => self.transport.send_unimplemented(),
        }
    }

    fn handle_open(&mut self, mut body: Reader<'_>) -> Result<(), Error> {
        let name = body.text()?;
        let peer = body.u32()?;
        let window = body.u32()?;
        let packet_len = body.u32()?;
        let kind = match name {
            "session" if self.is_server => ChannelKind::Session,
            "direct-tcpip" if self.is_server => ChannelKind::DirectTcpip(Tcpip::parse(&mut body)?),
            "forwarded-tcpip" if !self.is_server => {
                let tcpip = Tcpip::parse(&mut body)?;
                // "Implementations MUST reject these messages unless they have previously
                // requested a remote TCP/IP port forwarding with the given port number."
                if !self.global.is_forwarded(tcpip.port) {
                    return self.send_refusal(peer, message::OPEN_PROHIBITED, "not asked for");
                }
                ChannelKind::ForwardedTcpip(tcpip)
            }
            _ => return self.send_refusal(peer, message::OPEN_UNKNOWN_TYPE, "unknown type"),
        };
        if self.channels.len() >= self.channels_max {
            return self.send_refusal(peer, message::OPEN_SHORTAGE, "too many channels");
        }
        let channel = self.insert(Phase::Offered)?;
        self.channel(channel)?.set_peer(peer, window, packet_len);
        self.events
            .push_back(Event::ChannelOffered { channel, kind });
        Ok(())
    }

    fn insert(&mut self, phase: Phase) -> Result<ChannelId, Error> {
        let number = self.next_channel;
        self.next_channel = number.checked_add(1).ok_or(Error::LimitExceeded)?;
        self.channels
            .insert(number, Channel::new(phase, self.window_len));
        Ok(ChannelId(number))
    }

    fn send_refusal(&mut self, peer: u32, reason: u32, text: &str) -> Result<(), Error> {
        let mut payload = channel_message(message::CHANNEL_OPEN_FAILURE, peer);
        payload.put_u32(reason);
        payload.put_string(text);
        payload.put_string("");
        self.transport.send(payload)
    }

    fn handle_confirmation(&mut self, mut body: Reader<'_>) -> Result<(), Error> {
        let id = ChannelId(body.u32()?);
        let (peer, window, packet_len) = (body.u32()?, body.u32()?, body.u32()?);
        let channel = self.channel(id)?;
        if channel.phase != Phase::Asked {
            return Err(Error::UnexpectedMessage(message::CHANNEL_OPEN_CONFIRMATION));
        }
        channel.phase = Phase::Open;
        channel.set_peer(peer, window, packet_len);
        if channel.abandoned {
            return self.close(id);
        }
        self.events.push_back(Event::ChannelOpened(id));
        Ok(())
    }

    fn handle_refusal(&mut self, mut body: Reader<'_>) -> Result<(), Error> {
        let id = ChannelId(body.u32()?);
        let reason = body.u32()?;
        let text = request::lossy(body.string()?);
        let channel = self.channel(id)?;
        if channel.phase != Phase::Asked {
            return Err(Error::UnexpectedMessage(message::CHANNEL_OPEN_FAILURE));
        }
        self.channels.remove(&id.0);
        self.events.push_back(Event::ChannelRefused {
            channel: id,
            reason,
            message: text,
        });
        Ok(())
    }

    /// The open channel of a message that the peer sent. The peer knows a channel's number only
    /// once it is open, and may not use it after its own CLOSE.
    fn peer_channel(&mut self, number: u32) -> Result<(ChannelId, &mut Channel), Error> {
        let channel = self.channels.get_mut(&number).ok_or(Error::NoSuchChannel)?;
        if channel.phase != Phase::Open || channel.close_received {
            return Err(Error::NoSuchChannel);
        }
        Ok((ChannelId(number), channel))
    }

    fn handle_window_adjust(&mut self, mut body: Reader<'_>) -> Result<(), Error> {
        let (id, channel) = self.peer_channel(body.u32()?)?;
        let was_full = channel.sendable() == 0;
        channel.widen(body.u32()?)?;
        if was_full && channel.sendable() > 0 {
            self.events.push_back(Event::Writable(id));
        }
        Ok(())
    }

    fn handle_data(&mut self, mut body: Reader<'_>, extended: bool) -> Result<(), Error> {
        let (id, channel) = self.peer_channel(body.u32()?)?;
        if channel.eof_received {
            return Err(Error::UnexpectedMessage(message::CHANNEL_DATA));
        }
        let stream = match extended {
            false => Some(Stream::Data),
            true if body.u32()? == 1 => Some(Stream::Stderr),
            true => None,
        };
        let data = body.string()?;
        channel.received(stream, data)?;
        if stream.is_some()
            && !channel.abandoned
            && self.events.back() != Some(&Event::Readable(id))
        {
            self.events.push_back(Event::Readable(id));
        }
        Ok(())
    }

    fn handle_eof(&mut self, mut body: Reader<'_>) -> Result<(), Error> {
        let (id, channel) = self.peer_channel(body.u32()?)?;
        if !core::mem::replace(&mut channel.eof_received, true) && !channel.abandoned {
            self.events.push_back(Event::Eof(id));
        }
        Ok(())
    }

    fn handle_close(&mut self, mut body: Reader<'_>) -> Result<(), Error> {
        let (id, channel) = self.peer_channel(body.u32()?)?;
        channel.close_received = true;
        self.events.push_back(Event::Closed(id));
        self.send_close(id)
    }

    fn handle_request(&mut self, mut body: Reader<'_>) -> Result<(), Error> {
        let is_server = self.is_server;
        let (id, channel) = self.peer_channel(body.u32()?)?;
        let name = body.text()?;
        let reply_wanted = body.bool()?;
        let request = Request::parse(name, &mut body)?;
        let request =
            request.filter(|request| request.is_from_client() == is_server && !channel.close_sent);
        if reply_wanted {
            channel.owe_reply(if request.is_some() { None } else { Some(false) })?;
        }
        match request {
            Some(request) => {
                self.events.push_back(Event::Request {
                    channel: id,
                    request,
                    reply_wanted,
                });
                Ok(())
            }
            None => self.send_replies(id),
        }
    }

    fn send_replies(&mut self, id: ChannelId) -> Result<(), Error> {
        let channel = self.channels.get_mut(&id.0).ok_or(Error::NoSuchChannel)?;
        while let Some(Some(success)) = channel.replies_due.front().copied() {
            channel.replies_due.pop_front();
            if channel.close_sent {
                continue;
            }
            let number = match success {
                true => message::CHANNEL_SUCCESS,
                false => message::CHANNEL_FAILURE,
            };
            self.transport.send(channel_message(number, channel.peer))?;
        }
        Ok(())
    }

    fn handle_reply(&mut self, mut body: Reader<'_>, success: bool) -> Result<(), Error> {
        let (id, channel) = self.peer_channel(body.u32()?)?;
        let number = message::CHANNEL_SUCCESS + u8::from(!success);
        let expected = channel.replies_expected.checked_sub(1);
        channel.replies_expected = expected.ok_or(Error::UnexpectedMessage(number))?;
        if !channel.abandoned {
            self.events.push_back(Event::Reply {
                channel: id,
                success,
            });
        }
        Ok(())
    }

    // What the caller does.

    fn channel(&mut self, id: ChannelId) -> Result<&mut Channel, Error> {
        self.channels.get_mut(&id.0).ok_or(Error::NoSuchChannel)
    }

    pub(crate) fn open(&mut self, kind: &ChannelKind) -> Result<ChannelId, Error> {
        let fits_role = matches!(kind, ChannelKind::ForwardedTcpip(_)) == self.is_server;
        if !self.authenticated || !fits_role {
            return Err(Error::WrongState);
        }
        if self.channels.len() >= self.channels_max {
            return Err(Error::LimitExceeded);
        }
        let mut payload = alloc::vec![message::CHANNEL_OPEN];
        payload.put_string(kind.name());
        payload.put_u32(self.next_channel);
        payload.put_u32(self.window_len);
        payload.put_u32(DATA_LEN_MAX);
        kind.write(&mut payload);
        self.transport.send(payload)?;
        self.insert(Phase::Asked)
    }

    pub(crate) fn accept(&mut self, id: ChannelId) -> Result<(), Error> {
        let window_len = self.window_len;
        let channel = self.channel(id)?;
        if channel.phase != Phase::Offered {
            return Err(Error::WrongState);
        }
        channel.phase = Phase::Open;
        let mut payload = channel_message(message::CHANNEL_OPEN_CONFIRMATION, channel.peer);
        payload.put_u32(id.0);
        payload.put_u32(window_len);
        payload.put_u32(DATA_LEN_MAX);
        self.transport.send(payload)
    }

    pub(crate) fn refuse(&mut self, id: ChannelId, reason: u32, text: &str) -> Result<(), Error> {
        let channel = self.channel(id)?;
        if channel.phase != Phase::Offered {
            return Err(Error::WrongState);
        }
        let peer = channel.peer;
        self.channels.remove(&id.0);
        self.send_refusal(peer, reason, text)
    }

    pub(crate) fn request(
        &mut self,
        id: ChannelId,
        request: &Request,
        reply_wanted: bool,
    ) -> Result<(), Error> {
        if request.is_from_client() == self.is_server {
            return Err(Error::WrongState);
        }
        let channel = self.channel(id)?;
        if channel.phase != Phase::Open {
            return Err(Error::WrongState);
        }
        if channel.close_sent || channel.close_received {
            return Err(Error::ChannelClosed);
        }
        let mut payload = channel_message(message::CHANNEL_REQUEST, channel.peer);
        payload.put_string(request.name());
        payload.put_bool(reply_wanted);
        request.write(&mut payload);
        self.transport.send(payload)?;
        self.channel(id)?.replies_expected += usize::from(reply_wanted);
        Ok(())
    }

    pub(crate) fn reply(&mut self, id: ChannelId, success: bool) -> Result<(), Error> {
        let channel = self.channel(id)?;
        let due = channel.replies_due.iter_mut().find(|reply| reply.is_none());
        *due.ok_or(Error::WrongState)? = Some(success);
        self.send_replies(id)
    }

    /// How much [`write`](Self::write) would take now.
    pub(crate) fn writable_len(&self, id: ChannelId) -> usize {
        let Some(channel) = self.channels.get(&id.0) else {
            return 0;
        };
        if self.transport.is_exchanging_keys() || channel.check_writable().is_err() {
            return 0;
        }
        let room = OUTPUT_GOAL.saturating_sub(self.transport.output().len());
        room.min(channel.sendable() as usize)
    }

    pub(crate) fn write(
        &mut self,
        id: ChannelId,
        stream: Stream,
        data: &[u8],
    ) -> Result<usize, Error> {
        self.channel(id)?.check_writable()?;
        let mut rest = data;
        while !rest.is_empty() {
            let len = self.writable_len(id).min(rest.len());
            if len == 0 {
                break;
            }
            let (chunk, tail) = rest.split_at(len);
            self.write_message(id, stream, chunk)?;
            rest = tail;
            self.transport.rekey_if_due(self.now)?;
        }
        Ok(data.len() - rest.len())
    }

    fn write_message(&mut self, id: ChannelId, stream: Stream, data: &[u8]) -> Result<(), Error> {
        let channel = self.channel(id)?;
        channel.sent(data.len() as u32);
        let mut payload = Vec::with_capacity(data.len() + 16);
        match stream {
            Stream::Data => payload.put_u8(message::CHANNEL_DATA),
            Stream::Stderr => payload.put_u8(message::CHANNEL_EXTENDED_DATA),
        }
        payload.put_u32(channel.peer);
        if stream == Stream::Stderr {
            payload.put_u32(1);
        }
        payload.put_string(data);
        self.transport.send(payload)
    }

    /// How much of a stream is there to read.
    pub(crate) fn readable_len(&self, id: ChannelId, stream: Stream) -> usize {
        self.channels
            .get(&id.0)
            .map_or(0, |channel| channel.held(stream))
    }

    pub(crate) fn read(
        &mut self,
        id: ChannelId,
        stream: Stream,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let channel = self.channel(id)?;
        let len = channel.read(stream, out);
        let peer = channel.peer;
        if channel.is_over() {
            self.channels.remove(&id.0);
        } else if let Some(adjust) = channel.window_adjust() {
            let mut payload = channel_message(message::CHANNEL_WINDOW_ADJUST, peer);
            payload.put_u32(adjust);
            self.transport.send(payload)?;
        }
        Ok(len)
    }

    pub(crate) fn eof(&mut self, id: ChannelId) -> Result<(), Error> {
        let channel = self.channel(id)?;
        channel.check_writable()?;
        channel.eof_sent = true;
        let payload = channel_message(message::CHANNEL_EOF, channel.peer);
        self.transport.send(payload)
    }

    pub(crate) fn close(&mut self, id: ChannelId) -> Result<(), Error> {
        let channel = self.channel(id)?;
        channel.abandon();
        match channel.phase {
            Phase::Asked => Ok(()),
            Phase::Offered => Err(Error::WrongState),
            Phase::Open => self.send_close(id),
        }
    }

    fn send_close(&mut self, id: ChannelId) -> Result<(), Error> {
        let channel = self.channel(id)?;
        let peer = channel.peer;
        let first = !core::mem::replace(&mut channel.close_sent, true);
        if channel.is_over() {
            self.channels.remove(&id.0);
        }
        if first {
            self.transport
                .send(channel_message(message::CHANNEL_CLOSE, peer))?;
        }
        Ok(())
    }

    /// Whether anything is still open.
    pub(crate) fn channel_count(&self) -> usize {
        self.channels.len()
    }
}

/// The start of a message about a channel.
fn channel_message(number: u8, peer: u32) -> Vec<u8> {
    let mut payload = Vec::with_capacity(32);
    payload.put_u8(number);
    payload.put_u32(peer);
    payload
}
