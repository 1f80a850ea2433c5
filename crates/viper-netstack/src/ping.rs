//! Echo requests and their answers.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::icmp::{Endpoint, PacketBuffer, PacketMetadata, SendError, Socket as Engine};
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, Ipv6Address};

use crate::address::{is_unicast, to_engine};
use crate::frame::word;
use crate::slot::{Half, Socket};
use crate::stack::instant;
use crate::{Error, SocketId, Stack};

/// A ping socket.
pub(crate) struct Ping {
    pub(crate) ident: u16,
    pub(crate) error: Option<Error>,
    halves: Vec<Half>,
}

/// What answers an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EchoReply {
    /// Who answered.
    pub from: IpAddr,
    /// The number of the request.
    pub sequence: u16,
    /// How many bytes came back.
    pub len: usize,
}

impl Ping {
    pub(crate) fn halves_mut(&mut self) -> &mut [Half] {
        &mut self.halves
    }

    /// Nobody answers on that interface.
    pub(crate) fn give_up(&mut self, index: usize) {
        self.error = Some(Error::HostUnreachable);
        let has_answers = |half: &Half| half.get::<Engine>().can_recv();
        self.halves
            .retain(|half| half.interface != index || has_answers(half));
    }

    pub(crate) fn receive_queue(&self) -> usize {
        self.halves
            .iter()
            .map(|half| half.get::<Engine>().recv_queue())
            .sum()
    }
}

impl Stack {
    /// A socket for echo requests, with an identifier of its own.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn ping_open(&mut self) -> Result<SocketId, Error> {
        self.room_for_socket()?;
        let ident = self.ephemeral(|stack, ident| !stack.pings.contains_key(&ident));
        let ident = ident.ok_or(Error::NoMemory)?;
        let id = self.slots.insert(Socket::Ping(Ping {
            ident,
            error: None,
            halves: Vec::new(),
        }));
        self.pings.insert(ident, id);
        Ok(id)
    }

    /// Asks `to` to send `data` back.
    ///
    /// # Errors
    ///
    /// `BadArgument`, `NoRoute`, `TooLarge`, `WouldBlock`, `BadSocket`.
    pub fn ping_send(
        &mut self,
        id: SocketId,
        to: IpAddr,
        sequence: u16,
        data: &[u8],
    ) -> Result<(), Error> {
        let ident = self.ping_mut(id)?.ident;
        if !is_unicast(to) {
            return Err(Error::BadArgument);
        }
        if data.len() > DATA_MAX {
            return Err(Error::TooLarge);
        }
        let index = self.route_to(to).ok_or(Error::NoRoute)?;
        self.source_for(index, to)
            .ok_or(Error::AddressNotAvailable)?;
        let socket = self.ping_mut(id)?;
        let half = match socket
            .halves
            .iter()
            .position(|half| half.interface == index)
        {
            Some(position) => socket.halves.get_mut(position),
            None => {
                socket.halves.push(new_half(index, ident)?);
                socket.halves.last_mut()
            }
        };
        let half = half.ok_or(Error::BadSocket)?;
        half.to = Some(to);
        let engine = half.get_mut::<Engine>();
        let buffer = engine
            .send(HEADER_LEN + data.len(), to_engine(to))
            .map_err(|error| match error {
                SendError::BufferFull => Error::WouldBlock,
                SendError::Unaddressable => Error::BadArgument,
            })?;
        write_request(buffer, to, ident, sequence, data);
        self.mark_dirty(id);
        Ok(())
    }

    /// The oldest answer; `take` sees the bytes that came back.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; `HostUnreachable` or `Refused` if that is what came back,
    /// once; `BadSocket`.
    pub fn ping_recv_with(
        &mut self,
        id: SocketId,
        take: impl FnOnce(&[u8]),
    ) -> Result<EchoReply, Error> {
        let socket = self.ping_mut(id)?;
        for half in &mut socket.halves {
            while let Ok((message, from)) = half.get_mut::<Engine>().recv() {
                let from = IpAddr::from(from);
                if let (Some(sequence), Some(data)) = (word(message, 6), message.get(HEADER_LEN..))
                {
                    take(data);
                    return Ok(EchoReply {
                        from,
                        sequence,
                        len: data.len(),
                    });
                }
            }
        }
        Err(socket.error.take().unwrap_or(Error::WouldBlock))
    }

    /// Takes an answer in; `false` if nobody has asked.
    pub(crate) fn take_echo(&mut self, index: usize, frame: &[u8], ident: Option<u16>) -> bool {
        let Some(&id) = ident.and_then(|ident| self.pings.get(&ident)) else {
            return false;
        };
        let now = instant(self.now);
        let Some(slot) = self.slots.get_mut(id) else {
            return false;
        };
        let Socket::Ping(socket) = &mut slot.socket else {
            return false;
        };
        let half = socket
            .halves
            .iter_mut()
            .find(|half| half.interface == index);
        let (Some(half), Some(port)) = (half, self.ports.get_mut(index)) else {
            return false;
        };
        port.feed(now, frame, &mut half.set);
        if half.get::<Engine>().can_recv() {
            self.mark_ready(id);
        }
        true
    }

    pub(crate) fn close_ping(&mut self, id: SocketId) -> Result<(), Error> {
        let ident = self.ping_mut(id)?.ident;
        self.pings.remove(&ident);
        self.slots.remove(id);
        Ok(())
    }

    fn ping_mut(&mut self, id: SocketId) -> Result<&mut Ping, Error> {
        match &mut self.slots.get_mut(id).ok_or(Error::BadSocket)?.socket {
            Socket::Ping(socket) => Ok(socket),
            _ => Err(Error::BadSocket),
        }
    }
}

fn new_half(index: usize, ident: u16) -> Result<Half, Error> {
    let buffer = || PacketBuffer::new(vec![PacketMetadata::EMPTY; 16], vec![0; BUFFER_LEN]);
    let mut engine = Engine::new(buffer(), buffer());
    engine
        .bind(Endpoint::Ident(ident))
        .map_err(|_| Error::BadArgument)?;
    Ok(Half::new(index, engine))
}

/// The engine fills in addresses and checksum when it sends.
fn write_request(buffer: &mut [u8], to: IpAddr, ident: u16, seq_no: u16, data: &[u8]) {
    let sums = ChecksumCapabilities::ignored();
    match to {
        IpAddr::V4(_) => Icmpv4Repr::EchoRequest {
            ident,
            seq_no,
            data,
        }
        .emit(&mut Icmpv4Packet::new_unchecked(buffer), &sums),
        IpAddr::V6(_) => Icmpv6Repr::EchoRequest {
            ident,
            seq_no,
            data,
        }
        .emit(
            &Ipv6Address::UNSPECIFIED,
            &Ipv6Address::UNSPECIFIED,
            &mut Icmpv6Packet::new_unchecked(buffer),
            &sums,
        ),
    }
}

const HEADER_LEN: usize = 8;
/// The largest echo request that a buffer of the engine takes with its headers.
const DATA_MAX: usize = 16_384 - 28;
const BUFFER_LEN: usize = 32_768;
