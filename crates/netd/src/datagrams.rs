//! UDP and echo sockets between a program's rings and the stack.

use crate::convert;
use crate::pipe::Pipe;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use viper_netstack::{Error as StackError, SocketId, Stack};
use viper_proto::net::{bits, datagram};
use viper_rt::Error;

/// A socket for datagrams.
#[derive(Debug)]
pub struct Datagrams {
    /// Its name in the stack.
    pub id: SocketId,
    /// The rings.
    pub pipe: Pipe,
    /// Where it is bound; of an echo socket, nowhere.
    pub local: SocketAddr,
    /// Whether it is for echoes.
    pub is_ping: bool,
    /// Taken from the ring, but not sent yet.
    held: Option<(Vec<u8>, SocketAddr)>,
}

/// What a datagram would be sent or received past.
pub trait Gate {
    /// Whether the socket at `local` may have to do with that end.
    fn may_exchange(&self, local: SocketAddr, with: SocketAddr) -> bool;
    /// Whether there may soon be a way where there is none.
    fn is_settling(&self) -> bool;
}

impl Datagrams {
    /// A socket of the stack.
    #[must_use]
    pub fn new(id: SocketId, pipe: Pipe, local: SocketAddr, is_ping: bool) -> Datagrams {
        Datagrams {
            id,
            pipe,
            local,
            is_ping,
            held: None,
        }
    }

    /// Moves what can be moved, either way, and wakes the owner if it waits for that.
    ///
    /// # Errors
    /// [`Error::NoRight`] if the owner sent where it may not; [`Error::Corrupt`] if it broke the
    /// rings.
    pub fn pump(&mut self, stack: &mut Stack, gate: &impl Gate) -> Result<(), Error> {
        let mut wake = 0;
        let outcome = self
            .send(stack, gate, &mut wake)
            .and_then(|()| self.receive(stack, gate, &mut wake));
        self.pipe.wake(wake);
        outcome
    }

    fn send(&mut self, stack: &mut Stack, gate: &impl Gate, wake: &mut u32) -> Result<(), Error> {
        let mut space = vec![0; 0];
        loop {
            let (bytes, to) = match self.held.take() {
                Some(held) => held,
                None => {
                    space.resize(datagram::BYTES_MAX, 0);
                    match datagram::read(&mut self.pipe.tx, &mut space) {
                        Ok((len, to)) => (Vec::from(&space[..len]), to),
                        Err(Error::WouldBlock) => {
                            if self.pipe.tx.release() {
                                *wake |= bits::WRITE;
                            }
                            if self.pipe.tx.prepare_wait()? {
                                break;
                            }
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            if !self.is_ping && !gate.may_exchange(self.local, to) {
                return Err(Error::NoRight);
            }
            match self.send_one(stack, &bytes, to) {
                Err(StackError::WouldBlock) => {
                    self.held = Some((bytes, to));
                    break;
                }
                Err(StackError::NoRoute | StackError::AddressNotAvailable)
                    if gate.is_settling() =>
                {
                    self.held = Some((bytes, to));
                    break;
                }
                // A datagram may get lost; what a control message said of an older one is no
                // reason to lose this one.
                Err(StackError::Refused | StackError::HostUnreachable) => {
                    let _ = self.send_one(stack, &bytes, to);
                }
                _ => {}
            }
        }
        if self.pipe.tx.release() {
            *wake |= bits::WRITE;
        }
        Ok(())
    }

    fn send_one(&self, stack: &mut Stack, bytes: &[u8], to: SocketAddr) -> Result<(), StackError> {
        if self.is_ping {
            stack.ping_send(self.id, to.ip(), to.port(), bytes)
        } else {
            stack.udp_send(self.id, to, bytes)
        }
    }

    fn receive(
        &mut self,
        stack: &mut Stack,
        gate: &impl Gate,
        wake: &mut u32,
    ) -> Result<(), Error> {
        const ROOM: usize = datagram::HEADER_BYTES + datagram::BYTES_MAX;
        loop {
            let rx = &mut self.pipe.rx;
            if rx.room()? < ROOM {
                if rx.publish() {
                    *wake |= bits::READ;
                }
                if rx.prepare_wait(ROOM)? {
                    break;
                }
                continue;
            }
            let (local, mut written) = (self.local, Ok(()));
            let outcome = if self.is_ping {
                let mut bytes = Vec::new();
                let reply = stack.ping_recv_with(self.id, |data| bytes.extend_from_slice(data));
                reply.map(|reply| {
                    let from = SocketAddr::new(reply.from, reply.sequence);
                    written = datagram::write(rx, &bytes, from);
                })
            } else {
                stack.udp_recv_with(self.id, |data, from, _| {
                    if gate.may_exchange(local, from) {
                        written = datagram::write(rx, data, from);
                    }
                })
            };
            match (outcome, written) {
                (_, Err(Error::Corrupt)) => return Err(Error::Corrupt),
                (Err(StackError::WouldBlock), _) => break,
                (Err(StackError::BadSocket), _) => {
                    return Err(convert::error(StackError::BadSocket));
                }
                // Too large ones, and what control messages say: as if lost.
                _ => {}
            }
        }
        if self.pipe.rx.publish() {
            *wake |= bits::READ;
        }
        Ok(())
    }
}
