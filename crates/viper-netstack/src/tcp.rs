//! Connections: what callers do with them, and what becomes of them.

mod incoming;

pub(crate) use incoming::acknowledgement;

use alloc::vec::Vec;
use core::net::SocketAddr;

use smoltcp::socket::tcp::{CongestionControl, RecvError, Socket as Engine, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use crate::address::is_unicast;
use crate::flow::Key;
use crate::frame::Segment;
use crate::recovery::Recovery;
use crate::slot::{Half, Socket};
use crate::stack::{HASTE, instant};
use crate::status::state;
use crate::{Error, FrameDevice, SocketId, Stack, TcpOptions, TcpState};

/// A connection.
pub(crate) struct Tcp {
    pub(crate) half: Half,
    pub(crate) role: Role,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Its entry in the table of connections, while it has one.
    pub(crate) key: Option<Key>,
    /// The state that was last acted on.
    state: State,
    error: Option<Error>,
    /// The peer has closed its half.
    is_finished: bool,
    /// Something was not taken for want of room.
    wants_room: bool,
    /// Nothing may be sent any more: the engine is not to know.
    is_muted: bool,
    has_sent: bool,
    times_asked_again: u8,
    /// Received bytes that the owner knows of.
    seen: usize,
    /// When the connection is given up, in nanoseconds.
    give_up: Option<u64>,
    /// How long the peer may be silent while something is expected of it.
    timeout_ns: Option<u64>,
    has_keep_alive: bool,
    /// When the peer was heard last, or when something began to be expected of it.
    heard: u64,
    is_expecting: bool,
    /// The sequence number of the peer's first byte, and how many have been read.
    first: Option<u32>,
    read: u32,
    /// What the peer has acknowledged last.
    acknowledged: Option<u32>,
    /// The window that the peer has told last, as it stands in its segments.
    window: u16,
    recovery: Recovery,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A listener's that has not heard the peer's acknowledgement yet.
    HalfOpen(SocketId),
    /// A listener's, to be accepted.
    Queued,
    /// A caller's.
    Owned,
    /// Nobody's: it sends what it has, and goes.
    Orphan,
}

impl Tcp {
    pub(crate) fn new(
        half: Half,
        role: Role,
        (local, remote): (SocketAddr, SocketAddr),
        options: &TcpOptions,
    ) -> Self {
        Self {
            half,
            role,
            local,
            remote,
            key: None,
            state: State::Closed,
            error: None,
            is_finished: false,
            wants_room: false,
            is_muted: false,
            has_sent: false,
            times_asked_again: 0,
            seen: 0,
            give_up: None,
            timeout_ns: options.timeout_ns,
            has_keep_alive: options.keep_alive_ns.is_some(),
            heard: 0,
            is_expecting: false,
            first: None,
            read: 0,
            acknowledged: None,
            window: 0,
            recovery: Recovery::default(),
        }
    }

    fn engine(&self) -> &Engine<'static> {
        self.half.get()
    }

    fn engine_mut(&mut self) -> &mut Engine<'static> {
        self.half.get_mut()
    }

    /// Why there is nothing to read now.
    fn nothing_to_read(&self) -> Error {
        match self.engine().state() {
            _ if self.is_finished => Error::Finished,
            State::Closed => self.error.unwrap_or(Error::NotConnected),
            _ => Error::WouldBlock,
        }
    }

    /// Why nothing can be sent now.
    fn nothing_to_send(&self) -> Error {
        match self.engine().state() {
            State::SynSent | State::SynReceived => Error::WouldBlock,
            _ => self.error.unwrap_or(Error::NotConnected),
        }
    }

    /// When the silence of the peer will have been too long, if it is to say something.
    ///
    /// The engine has a time-out, too, but it ends connections that are merely idle.
    fn silence_ends(&mut self, now: u64) -> Option<u64> {
        let engine = self.engine();
        let is_expecting = match engine.state() {
            State::Closed | State::Listen | State::TimeWait => false,
            State::Established | State::CloseWait | State::FinWait2 => {
                engine.send_queue() > 0 || self.has_keep_alive
            }
            _ => true,
        };
        if is_expecting && !self.is_expecting {
            self.heard = now;
        }
        self.is_expecting = is_expecting;
        let timeout = self.timeout_ns.filter(|_| is_expecting)?;
        Some(self.heard.saturating_add(timeout))
    }

    fn room(&self) -> usize {
        let engine = self.engine();
        if engine.may_send() {
            engine.send_capacity() - engine.send_queue()
        } else {
            0
        }
    }

    pub(crate) fn set_give_up(&mut self, time: u64) {
        self.give_up = Some(time);
    }

    pub(crate) fn clear_give_up(&mut self) {
        self.give_up = None;
    }
}

impl Stack {
    /// Begins a connection to `remote`, from `local` or from wherever suits.
    ///
    /// The socket becomes ready when the connection stands or has failed;
    /// [`tcp_is_connected`](Self::tcp_is_connected) tells. Port 0 in `local` means any.
    ///
    /// # Errors
    ///
    /// `BadArgument`, `NoRoute`, `AddressNotAvailable`, `AddressInUse`, `NoMemory`.
    pub fn tcp_connect(
        &mut self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &TcpOptions,
    ) -> Result<SocketId, Error> {
        if remote.port() == 0 || !is_unicast(remote.ip()) {
            return Err(Error::BadArgument);
        }
        self.room_for_socket()?;
        let index = self.route_to(remote.ip()).ok_or(Error::NoRoute)?;
        let local = self.local_end(index, remote, local)?;
        let key = Key::new(index, local, remote);
        if self.connections.contains_key(&key) || self.time_wait.contains(&key) {
            return Err(Error::AddressInUse);
        }
        let mut half = self.new_half(index, options)?;
        let port = self.ports.get_mut(index).ok_or(Error::NoRoute)?;
        half.get_mut::<Engine>()
            .connect(port.engine.context(), endpoint(remote), endpoint(local))
            .map_err(|_| Error::BadArgument)?;
        let mut connection = Tcp::new(half, Role::Owned, (local, remote), options);
        connection.key = Some(key);
        connection.state = State::SynSent;
        let id = self.slots.insert(Socket::Tcp(connection));
        self.connections.insert(key, id);
        self.mark_dirty(id);
        Ok(id)
    }

    /// Whether a connection stands: `false` while the peer has not answered.
    ///
    /// # Errors
    ///
    /// `BadSocket`, or why it came to nothing or ended.
    pub fn tcp_is_connected(&self, id: SocketId) -> Result<bool, Error> {
        let connection = self.tcp(id)?;
        match connection.engine().state() {
            State::SynSent | State::SynReceived => Ok(false),
            State::Closed if !connection.is_finished || connection.error.is_some() => {
                Err(connection.error.unwrap_or(Error::NotConnected))
            }
            _ => Ok(true),
        }
    }

    /// Lets `take` have the received bytes that lie in one piece; it says how many it took.
    ///
    /// Returns that number. Call it again until it says `WouldBlock`: bytes may lie in two
    /// pieces, and the socket is told ready only when more arrive.
    ///
    /// # Errors
    ///
    /// `WouldBlock`; `Finished` when everything has been read that the peer sent before it
    /// closed its half; `BadSocket`, or why the connection ended.
    pub fn tcp_recv_with(
        &mut self,
        id: SocketId,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Result<usize, Error> {
        let connection = self.tcp_mut(id)?;
        if !connection.engine().can_recv() {
            return Err(connection.nothing_to_read());
        }
        let taken = connection.engine_mut().recv(|bytes| {
            let taken = take(bytes).min(bytes.len());
            (taken, taken)
        });
        let taken = taken.map_err(|error| end_of(connection, error))?;
        self.note_read(id, taken);
        Ok(taken)
    }

    /// Copies received bytes to `to` and says how many; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// As [`tcp_recv_with`](Self::tcp_recv_with), without `Finished`.
    pub fn tcp_recv(&mut self, id: SocketId, to: &mut [u8]) -> Result<usize, Error> {
        let connection = self.tcp_mut(id)?;
        if !connection.engine().can_recv() {
            return match connection.nothing_to_read() {
                Error::Finished => Ok(0),
                error => Err(error),
            };
        }
        let taken = connection.engine_mut().recv_slice(to);
        let taken = taken.map_err(|error| end_of(connection, error))?;
        self.note_read(id, taken);
        Ok(taken)
    }

    /// Lets `fill` write into the free room of the send buffer that lies in one piece; it says
    /// how many bytes it wrote.
    ///
    /// Returns that number. If `fill` leaves nothing free, the socket becomes ready when a good
    /// part of the buffer is free again. Call [`poll`](Self::poll) to send.
    ///
    /// # Errors
    ///
    /// `WouldBlock` without room or before the connection stands; `NotConnected` after
    /// [`tcp_shutdown`](Self::tcp_shutdown); `BadSocket`, or why the connection ended.
    pub fn tcp_send_with(
        &mut self,
        id: SocketId,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, Error> {
        let connection = self.tcp_mut(id)?;
        let sent = connection.engine_mut().send(|bytes| {
            let room = bytes.len();
            let filled = if room == 0 { 0 } else { fill(bytes).min(room) };
            (filled, (filled, room))
        });
        let Ok((filled, room)) = sent else {
            return Err(connection.nothing_to_send());
        };
        connection.wants_room |= connection.room() == 0;
        if room == 0 {
            return Err(Error::WouldBlock);
        }
        if filled > 0 {
            self.mark_dirty(id);
        }
        Ok(filled)
    }

    /// Copies bytes into the send buffer, as many as fit, and says how many.
    ///
    /// # Errors
    ///
    /// As [`tcp_send_with`](Self::tcp_send_with).
    pub fn tcp_send(&mut self, id: SocketId, from: &[u8]) -> Result<usize, Error> {
        let connection = self.tcp_mut(id)?;
        let Ok(sent) = connection.engine_mut().send_slice(from) else {
            return Err(connection.nothing_to_send());
        };
        connection.wants_room |= connection.room() == 0;
        if sent > 0 {
            self.mark_dirty(id);
        } else if !from.is_empty() {
            return Err(Error::WouldBlock);
        }
        Ok(sent)
    }

    /// How many received bytes wait, and for how many there is room to send.
    ///
    /// # Errors
    ///
    /// `BadSocket`.
    pub fn tcp_space(&self, id: SocketId) -> Result<(usize, usize), Error> {
        let connection = self.tcp(id)?;
        Ok((connection.engine().recv_queue(), connection.room()))
    }

    /// Closes the sending half: the peer sees the end of the stream after what was sent.
    ///
    /// # Errors
    ///
    /// `BadSocket`; `NotConnected` if there is no connection, or none yet.
    pub fn tcp_shutdown(&mut self, id: SocketId) -> Result<(), Error> {
        let connection = self.tcp_mut(id)?;
        match connection.engine().state() {
            State::Established | State::CloseWait => connection.engine_mut().close(),
            State::Closed | State::Listen | State::SynSent | State::SynReceived => {
                return Err(connection.error.unwrap_or(Error::NotConnected));
            }
            _ => {}
        }
        connection.state = connection.engine().state();
        self.mark_dirty(id);
        Ok(())
    }

    /// Ends a connection at once, with a reset. Its name is no longer valid.
    ///
    /// # Errors
    ///
    /// `BadSocket`.
    pub fn tcp_abort(&mut self, id: SocketId) -> Result<(), Error> {
        let connection = self.tcp_mut(id)?;
        connection.engine_mut().abort();
        self.abandon(id);
        Ok(())
    }

    /// The two ends of a connection, ours first.
    ///
    /// # Errors
    ///
    /// `BadSocket`.
    pub fn tcp_ends(&self, id: SocketId) -> Result<(SocketAddr, SocketAddr), Error> {
        self.tcp(id)
            .map(|connection| (connection.local, connection.remote))
    }

    /// The state of a connection.
    ///
    /// # Errors
    ///
    /// `BadSocket`.
    pub fn tcp_state(&self, id: SocketId) -> Result<TcpState, Error> {
        self.tcp(id)
            .map(|connection| state(connection.engine().state()))
    }

    /// Changes how a connection behaves. The sizes of its buffers stay as they are.
    ///
    /// # Errors
    ///
    /// `BadSocket`.
    pub fn tcp_set_options(&mut self, id: SocketId, options: &TcpOptions) -> Result<(), Error> {
        let connection = self.tcp_mut(id)?;
        connection.timeout_ns = options.timeout_ns;
        connection.has_keep_alive = options.keep_alive_ns.is_some();
        apply(connection.engine_mut(), options);
        self.mark_dirty(id);
        Ok(())
    }

    /// Sends what is left, or a reset if something was not read, and forgets the connection.
    pub(crate) fn tcp_close(&mut self, id: SocketId) -> Result<(), Error> {
        let connection = self.tcp_mut(id)?;
        if connection.engine().recv_queue() > 0 {
            // RFC 2525, 2.17: the peer must learn that its data was lost.
            connection.engine_mut().abort();
        } else {
            connection.engine_mut().close();
        }
        self.abandon(id);
        Ok(())
    }

    /// Takes a connection from its owner; it goes when it is done.
    pub(crate) fn abandon(&mut self, id: SocketId) {
        let give_up = self.now.saturating_add(self.config.linger_ns);
        let Some(connection) = self.slots.tcp_mut(id) else {
            return;
        };
        connection.role = Role::Orphan;
        connection.give_up = Some(give_up);
        if !self.bury(id) {
            self.mark_dirty(id);
        }
    }

    /// Lets a connection send what it has to send.
    pub(crate) fn send_tcp(&mut self, id: SocketId, devices: &mut [&mut dyn FrameDevice]) -> bool {
        let now = self.now;
        let Some(connection) = self.slots.tcp_mut(id) else {
            return false;
        };
        if connection.is_muted {
            return false;
        }
        if connection.give_up.is_some_and(|time| time <= now) {
            connection.give_up = None;
            connection.engine_mut().abort();
        }
        let silence_ends = connection.silence_ends(now);
        if silence_ends.is_some_and(|time| time <= now) {
            connection.engine_mut().abort();
        }
        let index = connection.half.interface;
        if connection.recovery.is_overdue(now) {
            self.repeat_first(id);
        }
        let (Some(port), Some(connection)) = (self.ports.get_mut(index), self.slots.tcp_mut(id))
        else {
            return false;
        };
        let mut sent = port.flush(
            instant(now),
            &mut connection.half,
            (index != 0).then_some((&mut connection.recovery, now)),
            Self::device(devices, index),
        );
        connection.has_sent |= sent.packets > 0;
        // The engine forgets the stream when TIME-WAIT ends; the owner may still want to read.
        if connection.engine().state() == State::TimeWait {
            sent.next = None;
        }
        let was_silent = if connection.has_sent {
            Error::TimedOut
        } else {
            Error::HostUnreachable
        };
        let is_here = self
            .ports
            .get(index)
            .is_some_and(|port| index == 0 || port.has_address(connection.local.ip()));
        let cause = if is_here {
            was_silent
        } else {
            Error::AddressGone
        };
        let probe = connection.recovery.next();
        sent.next = [sent.next, connection.give_up, silence_ends, probe]
            .into_iter()
            .flatten()
            .min();
        let remote = connection.remote.ip();
        self.settle(id, cause);
        if sent.is_waiting {
            match self.wait_for(id, index, remote, sent.has_asked) {
                Some(asks) => return self.note_sent(id, sent) | asks,
                None => self.give_up_reset(id),
            }
        }
        self.note_sent(id, sent)
    }

    /// Acts on a new state of a connection. `cause` is why it has ended, if it has.
    pub(crate) fn settle(&mut self, id: SocketId, cause: Error) {
        let Some(connection) = self.slots.tcp_mut(id) else {
            return;
        };
        let (old, new) = (connection.state, connection.engine().state());
        connection.state = new;
        connection.is_finished |= is_peer_done(new) || (new == State::Closed && was_closing(old));
        if new == State::Closed && old != new && connection.error.is_none() {
            connection.error = match (old, cause) {
                (State::SynSent, Error::Reset) => Some(Error::Refused),
                _ if was_closing(old) => None,
                (_, cause) => Some(cause),
            };
        }
        match connection.role {
            Role::HalfOpen(listener) => self.settle_half_open(id, listener, new),
            Role::Orphan => drop(self.bury(id)),
            Role::Owned | Role::Queued => {
                let received = connection.engine().recv_queue();
                let mut news = old != new || received > connection.seen;
                connection.seen = received;
                if connection.wants_room
                    && connection.room() >= connection.engine().send_capacity() / ROOM_PART
                {
                    connection.wants_room = false;
                    news = true;
                }
                if new == State::Closed && connection.engine().remote_endpoint().is_none() {
                    self.forget_key(id);
                }
                if news {
                    self.mark_ready(id);
                }
            }
        }
    }

    /// Removes a connection that nobody owns if it is done; `true` if so.
    pub(crate) fn bury(&mut self, id: SocketId) -> bool {
        let end = self.now.saturating_add(self.config.time_wait_ns);
        let Some(connection) = self.slots.tcp_mut(id) else {
            return true;
        };
        match connection.engine().state() {
            State::Closed if connection.engine().remote_endpoint().is_none() => {}
            // The reset that it owes goes out if it can, but nobody waits for a neighbour.
            State::Closed if connection.is_muted => {}
            State::TimeWait => {
                if let Some(key) = connection.key {
                    self.time_wait.insert(key, end);
                }
            }
            _ => return false,
        }
        self.remove_connection(id);
        true
    }

    /// An error message about a connection: it ends if it does not stand yet (RFC 5461, 4).
    pub(crate) fn refuse(&mut self, id: SocketId, error: Error) {
        let Some(connection) = self.slots.tcp_mut(id) else {
            return;
        };
        if connection.engine().state() != State::SynSent {
            return;
        }
        connection.error = Some(error);
        connection.is_muted = true;
        connection.engine_mut().abort();
        self.forget_key(id);
        self.settle(id, error);
    }

    /// Nobody answers where a connection leads to. If all it owes is a reset, it goes without.
    fn give_up_reset(&mut self, id: SocketId) {
        self.refuse(id, Error::HostUnreachable);
        let Some(connection) = self.slots.tcp_mut(id) else {
            return;
        };
        if connection.role == Role::Orphan && connection.engine().state() == State::Closed {
            self.remove_connection(id);
        }
    }

    /// Takes a connection out of all tables and keeps its buffers for another one.
    pub(crate) fn remove_connection(&mut self, id: SocketId) {
        self.forget_key(id);
        let Some(slot) = self.slots.remove(id) else {
            return;
        };
        if let Socket::Tcp(mut connection) = slot.socket
            && self.idle.len() < IDLE_MAX
        {
            // It may have been in any state; only a closed one can be used again.
            connection.engine_mut().abort();
            self.idle.push(connection.half);
        }
    }

    /// A connection's buffers: those of one that has ended, or new ones.
    pub(crate) fn new_half(&mut self, index: usize, options: &TcpOptions) -> Result<Half, Error> {
        let sizes = (clamp(options.receive_bytes), clamp(options.send_bytes));
        let suits = |half: &Half| {
            let engine = half.get::<Engine>();
            (engine.recv_capacity(), engine.send_capacity()) == sizes
        };
        let mut half = match self.idle.iter().rposition(suits) {
            Some(position) => self.idle.swap_remove(position).renew(index),
            None => {
                let (receive, send) = (storage(sizes.0)?, storage(sizes.1)?);
                let socket = Engine::new(SocketBuffer::new(receive), SocketBuffer::new(send));
                Half::new(index, socket)
            }
        };
        let engine = half.get_mut::<Engine>();
        engine.set_congestion_control(if index == 0 {
            CongestionControl::None
        } else {
            CongestionControl::Reno
        });
        apply(engine, options);
        Ok(half)
    }

    pub(crate) fn room_for_socket(&self) -> Result<(), Error> {
        if self.slots.len() >= self.config.sockets_max {
            return Err(Error::NoMemory);
        }
        Ok(())
    }

    fn forget_key(&mut self, id: SocketId) {
        if let Some(connection) = self.slots.tcp_mut(id)
            && let Some(key) = connection.key.take()
        {
            self.connections.remove(&key);
        }
    }

    fn note_read(&mut self, id: SocketId, len: usize) {
        let Some(connection) = self.slots.tcp_mut(id) else {
            return;
        };
        connection.read = connection.read.wrapping_add(len as u32);
        connection.seen = connection.engine().recv_queue();
        if connection.engine().state() != State::TimeWait {
            self.mark_dirty(id);
        }
    }

    fn local_end(
        &mut self,
        index: usize,
        remote: SocketAddr,
        wanted: Option<SocketAddr>,
    ) -> Result<SocketAddr, Error> {
        let address = match wanted
            .map(|wanted| wanted.ip())
            .filter(|ip| !ip.is_unspecified())
        {
            Some(ip) if ip.is_ipv4() != remote.is_ipv4() => return Err(Error::BadArgument),
            Some(ip) if !self.may_bind(ip) => return Err(Error::AddressNotAvailable),
            Some(ip) => ip,
            None => self
                .source_for(index, remote.ip())
                .ok_or(Error::AddressNotAvailable)?,
        };
        match wanted.map_or(0, |wanted| wanted.port()) {
            0 => {
                let port = self.connection_port(address, remote, |stack, port| {
                    let key = Key::new(index, SocketAddr::new(address, port), remote);
                    !stack.connections.contains_key(&key)
                        && !stack.time_wait.contains(&key)
                        && !stack.listeners.contains_key(&port)
                });
                Ok(SocketAddr::new(address, port.ok_or(Error::AddressInUse)?))
            }
            port => Ok(SocketAddr::new(address, port)),
        }
    }

    fn tcp(&self, id: SocketId) -> Result<&Tcp, Error> {
        self.slots
            .tcp(id)
            .filter(|tcp| tcp.role == Role::Owned)
            .ok_or(Error::BadSocket)
    }

    fn tcp_mut(&mut self, id: SocketId) -> Result<&mut Tcp, Error> {
        self.slots
            .tcp_mut(id)
            .filter(|tcp| tcp.role == Role::Owned)
            .ok_or(Error::BadSocket)
    }
}

fn end_of(connection: &Tcp, error: RecvError) -> Error {
    match error {
        RecvError::Finished => Error::Finished,
        RecvError::InvalidState => connection.nothing_to_read(),
    }
}

/// The peer's FIN has been received, and everything before it.
const fn is_peer_done(state: State) -> bool {
    matches!(
        state,
        State::CloseWait | State::LastAck | State::Closing | State::TimeWait
    )
}

/// From there a connection ends well.
const fn was_closing(state: State) -> bool {
    matches!(state, State::LastAck | State::TimeWait | State::Closing)
}

fn apply(engine: &mut Engine<'static>, options: &TcpOptions) {
    engine.set_nagle_enabled(options.nagle);
    engine.set_timeout(None);
    engine.set_keep_alive(options.keep_alive_ns.map(duration));
    engine.set_ack_delay(options.ack_delay_ns.map(duration));
    engine.set_hop_limit((options.hop_limit != 0).then_some(options.hop_limit));
}

fn duration(nanos: u64) -> Duration {
    Duration::from_micros((nanos / (1000 / HASTE)).clamp(1, DURATION_MAX_US))
}

fn storage(len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Error::NoMemory)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

fn clamp(size: usize) -> usize {
    size.clamp(1 << 10, 16 << 20)
}

pub(crate) fn endpoint(address: SocketAddr) -> IpEndpoint {
    IpEndpoint::new(address.ip().into(), address.port())
}

pub(crate) fn listen_endpoint(address: SocketAddr) -> IpListenEndpoint {
    endpoint(address).into()
}

impl Segment {
    /// What the peer expects next, if it has sent this.
    pub(crate) const fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.len)
    }
}

/// Room is told when this part of the buffer is free: one packet's worth is not worth a visit.
const ROOM_PART: usize = 4;
/// Pairs of buffers that wait for another connection at most.
const IDLE_MAX: usize = 16;
/// Ten years: longer waits overflow nothing, but mean the same.
const DURATION_MAX_US: u64 = 10 * 365 * 86_400 * 1_000_000;
