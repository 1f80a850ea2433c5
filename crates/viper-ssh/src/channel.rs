//! The state of one channel (RFC 4254 section 5): its windows, its buffers, its end.

use alloc::collections::VecDeque;

use crate::Error;

/// Names a channel of one session. Never reused within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(crate) u32);

/// The most payload we take, or send, in one data message.
pub(crate) const DATA_LEN_MAX: u32 = 32 * 1024;
/// Requests whose answer may be outstanding on one channel.
const REPLIES_DUE_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We asked the peer to open it.
    Asked,
    /// The peer asked us, and the caller has still to say.
    Offered,
    Open,
}

/// Which of the two streams of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The plain data of the channel.
    Data,
    /// Standard error (SSH_EXTENDED_DATA_STDERR).
    Stderr,
}

pub(crate) struct Channel {
    pub phase: Phase,
    /// The peer's number for this channel.
    pub peer: u32,
    pub eof_sent: bool,
    pub eof_received: bool,
    pub close_sent: bool,
    pub close_received: bool,
    /// The caller has no more interest: arriving data is dropped.
    pub abandoned: bool,
    /// Answers the peer has still to give to our requests.
    pub replies_expected: usize,
    /// Answers we owe, in order; `None` is one the caller has still to decide.
    pub replies_due: VecDeque<Option<bool>>,
    send_window: u32,
    send_packet_len: u32,
    receive_window: u32,
    window_len: u32,
    data: VecDeque<u8>,
    stderr: VecDeque<u8>,
}

impl Channel {
    pub fn new(phase: Phase, window_len: u32) -> Self {
        Channel {
            phase,
            peer: 0,
            eof_sent: false,
            eof_received: false,
            close_sent: false,
            close_received: false,
            abandoned: false,
            replies_expected: 0,
            replies_due: VecDeque::new(),
            send_window: 0,
            send_packet_len: 0,
            receive_window: window_len,
            window_len,
            data: VecDeque::new(),
            stderr: VecDeque::new(),
        }
    }

    /// Sets what the peer said of its side.
    pub fn set_peer(&mut self, number: u32, window: u32, packet_len: u32) {
        self.peer = number;
        self.send_window = window;
        self.send_packet_len = packet_len.min(DATA_LEN_MAX);
    }

    /// How much may be sent in one message now.
    pub fn sendable(&self) -> u32 {
        self.send_window.min(self.send_packet_len)
    }

    pub fn sent(&mut self, len: u32) {
        self.send_window = self.send_window.saturating_sub(len);
    }

    /// "The window MUST NOT be increased above 2^32 - 1 bytes."
    pub fn widen(&mut self, len: u32) -> Result<(), Error> {
        self.send_window = self
            .send_window
            .checked_add(len)
            .ok_or(Error::WindowExceeded)?;
        Ok(())
    }

    /// Whether data can still be sent.
    pub fn check_writable(&self) -> Result<(), Error> {
        if self.phase != Phase::Open {
            return Err(Error::WrongState);
        }
        if self.eof_sent || self.close_sent || self.close_received {
            return Err(Error::ChannelClosed);
        }
        Ok(())
    }

    /// Keeps data that arrived.
    ///
    /// # Errors
    /// [`Error::WindowExceeded`] if the peer sent more than it may.
    pub fn received(&mut self, stream: Option<Stream>, data: &[u8]) -> Result<(), Error> {
        let len = u32::try_from(data.len()).map_err(|_| Error::WindowExceeded)?;
        if len > DATA_LEN_MAX {
            return Err(Error::WindowExceeded);
        }
        self.receive_window = self
            .receive_window
            .checked_sub(len)
            .ok_or(Error::WindowExceeded)?;
        match stream {
            Some(stream) if !self.abandoned => self.buffer(stream).extend(data),
            _ => {}
        }
        Ok(())
    }

    /// Moves held data to `out`; gives its length.
    pub fn read(&mut self, stream: Stream, out: &mut [u8]) -> usize {
        let buffer = self.buffer(stream);
        let len = out.len().min(buffer.len());
        let (front, back) = buffer.as_slices();
        let (first, second) = out.split_at_mut(len.min(front.len()));
        first.copy_from_slice(&front[..first.len()]);
        let second = &mut second[..len - first.len()];
        second.copy_from_slice(&back[..second.len()]);
        buffer.drain(..len);
        len
    }

    pub fn held(&self, stream: Stream) -> usize {
        match stream {
            Stream::Data => self.data.len(),
            Stream::Stderr => self.stderr.len(),
        }
    }

    /// By how much to widen the peer's window, once half of it is used up and read.
    pub fn window_adjust(&mut self) -> Option<u32> {
        let held = u32::try_from(self.data.len() + self.stderr.len()).unwrap_or(u32::MAX);
        let missing = self
            .window_len
            .saturating_sub(self.receive_window.saturating_add(held));
        let over = self.eof_received || self.close_received || self.close_sent;
        if over || self.phase != Phase::Open || missing < self.window_len / 2 {
            return None;
        }
        self.receive_window += missing;
        Some(missing)
    }

    /// Stops caring: what is held and what still arrives is dropped.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.data = VecDeque::new();
        self.stderr = VecDeque::new();
    }

    /// Whether nobody has any more use for it.
    pub fn is_over(&self) -> bool {
        self.close_sent && self.close_received && self.data.is_empty() && self.stderr.is_empty()
    }

    /// Remembers that an answer is owed.
    pub fn owe_reply(&mut self, answer: Option<bool>) -> Result<(), Error> {
        if self.replies_due.len() >= REPLIES_DUE_MAX {
            return Err(Error::LimitExceeded);
        }
        self.replies_due.push_back(answer);
        Ok(())
    }

    fn buffer(&mut self, stream: Stream) -> &mut VecDeque<u8> {
        match stream {
            Stream::Data => &mut self.data,
            Stream::Stderr => &mut self.stderr,
        }
    }
}
