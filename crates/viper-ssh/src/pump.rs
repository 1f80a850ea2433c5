//! Moving bytes between a session and things that never block.
//!
//! A caller that has sockets, programs or files which take and give as much as they can at once
//! implements [`Duplex`] for them, and calls [`Wire::pump`] and [`Joint::pump`] whenever one of
//! them may have become ready. Nothing here waits; nothing is lost when only a part moves.

use alloc::vec::Vec;
use core::time::Duration;

use crate::Error;
use crate::channel::{ChannelId, Stream};
use crate::session::{Role, Session};

/// What there was to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
}

/// Something with bytes in both directions that never blocks.
pub trait Duplex {
    /// Takes bytes that are there. What has no standard error gives its end at once.
    fn get(&mut self, stream: Stream, to: &mut [u8]) -> Got;

    /// Puts bytes in; gives how many it took. What is gone takes, and drops, all of them.
    fn put(&mut self, from: &[u8]) -> usize;

    /// Nothing more will be put in.
    fn finish(&mut self);
}

/// What came from the network and was not taken yet.
#[derive(Debug, Default)]
pub struct Wire {
    held: Vec<u8>,
    start: usize,
    ended: bool,
}

impl Wire {
    /// Sends the session's output and gives it input, once around; tells whether anything moved.
    ///
    /// Handle the session's events, and call it again while it says so. `space` is for bytes on
    /// their way and may be of any size above zero.
    ///
    /// # Errors
    /// Those of [`Session::handle_input`].
    pub fn pump<R: Role>(
        &mut self,
        now: Duration,
        session: &mut Session<R>,
        socket: &mut impl Duplex,
        space: &mut [u8],
    ) -> Result<bool, Error> {
        let mut moved = send(session, socket);
        if self.start == self.held.len() && !self.ended {
            self.start = 0;
            self.held.clear();
            match socket.get(Stream::Data, space) {
                Got::Bytes(len) => self.held.extend_from_slice(space.get(..len).unwrap_or(&[])),
                Got::Nothing => {}
                Got::End => self.ended = true,
            }
        }
        // Also without bytes: the session may go on with what it holds.
        let unread = self.held.get(self.start..).unwrap_or(&[]);
        let taken = session.handle_input(now, unread);
        // An error leaves a last message to be sent.
        send(session, socket);
        let taken = taken?;
        self.start += taken;
        moved |= taken > 0;
        Ok(moved)
    }

    /// Whether the peer has closed the connection and all it sent was taken.
    pub fn is_over(&self) -> bool {
        self.ended && self.start == self.held.len()
    }
}

fn send<R: Role>(session: &mut Session<R>, socket: &mut impl Duplex) -> bool {
    let mut moved = false;
    while !session.poll_output().is_empty() {
        let len = socket.put(session.poll_output());
        if len == 0 {
            break;
        }
        session.output_sent(len);
        moved = true;
    }
    moved
}

/// A channel joined with something local.
#[derive(Debug, Default)]
pub struct Joint {
    /// Bytes of the channel that the local side did not take yet.
    held: Vec<u8>,
    start: usize,
    eof_received: bool,
    finished: bool,
    data_ended: bool,
    stderr_ended: bool,
    eof_sent: bool,
}

impl Joint {
    /// Notes [`Event::Eof`](crate::Event::Eof), or the end of the channel.
    pub fn eof_received(&mut self) {
        self.eof_received = true;
    }

    /// Whether the local side has given all it had, and the peer was told so.
    pub fn is_drained(&self) -> bool {
        self.eof_sent
    }

    /// Whether the local side was given all that came, and was told so.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Moves what can be moved, in both directions; tells whether anything did.
    ///
    /// At most as much as `space` holds goes in each direction, so that others get their turn.
    pub fn pump<R: Role>(
        &mut self,
        session: &mut Session<R>,
        channel: ChannelId,
        local: &mut impl Duplex,
        space: &mut [u8],
    ) -> bool {
        let inward = self.pump_in(session, channel, local, space);
        let outward = self.pump_out(session, channel, local, space);
        inward || outward
    }

    fn pump_in<R: Role>(
        &mut self,
        session: &mut Session<R>,
        channel: ChannelId,
        local: &mut impl Duplex,
        space: &mut [u8],
    ) -> bool {
        if self.start == self.held.len() {
            self.start = 0;
            self.held.clear();
            // A channel that is no more has nothing to read.
            let len = session.read(channel, space).unwrap_or(0);
            self.held.extend_from_slice(space.get(..len).unwrap_or(&[]));
        }
        let unread = self.held.get(self.start..).unwrap_or(&[]);
        let taken = if unread.is_empty() {
            0
        } else {
            local.put(unread)
        };
        self.start = (self.start + taken).min(self.held.len());
        let all_taken = self.start == self.held.len();
        let nothing_more = session.readable_len(channel, Stream::Data) == 0;
        if self.eof_received && all_taken && nothing_more && !self.finished {
            self.finished = true;
            local.finish();
            return true;
        }
        taken > 0
    }

    fn pump_out<R: Role>(
        &mut self,
        session: &mut Session<R>,
        channel: ChannelId,
        local: &mut impl Duplex,
        space: &mut [u8],
    ) -> bool {
        let mut moved = false;
        for stream in [Stream::Stderr, Stream::Data] {
            let ended = match stream {
                Stream::Data => &mut self.data_ended,
                Stream::Stderr => &mut self.stderr_ended,
            };
            let room = session.writable_len(channel).min(space.len());
            if *ended || room == 0 {
                continue;
            }
            match local.get(stream, space.get_mut(..room).unwrap_or(&mut [])) {
                Got::Bytes(len) => {
                    let bytes = space.get(..len).unwrap_or(&[]);
                    // It takes all, as there was room; an error means that nobody listens.
                    moved |= session.write_to(channel, stream, bytes).is_ok();
                }
                Got::Nothing => {}
                Got::End => *ended = true,
            }
        }
        if self.data_ended && self.stderr_ended && !self.eof_sent {
            self.eof_sent = true;
            moved = true;
            // The peer may have closed the channel meanwhile.
            let _ = session.send_eof(channel);
        }
        moved
    }
}
