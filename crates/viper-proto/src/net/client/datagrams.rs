//! Sockets whose rings hold datagrams: UDP and ICMP echoes.

use super::session::{End, Inner, open};
use super::{IpAddr, SocketAddr};
use crate::net::{bits, datagram};
use alloc::sync::Arc;
use viper_rt::Error;
use viper_rt::abi::FOREVER;
use viper_rt::handle::Event;
use viper_rt::ring::{Consumer, Producer};

/// A UDP socket.
#[derive(Debug)]
pub struct UdpSocket(Datagrams);

pub(super) fn udp(inner: &Arc<Inner>, at: SocketAddr) -> Result<UdpSocket, Error> {
    let made = inner.with(|session| {
        let made = session.call(|client| client.udp_bind(at.into()))?;
        open(session.clone(), made)
    });
    made.map(|(end, tx, rx)| UdpSocket(Datagrams { end, tx, rx }))
}

pub(super) fn ping(inner: &Arc<Inner>) -> Result<PingSocket, Error> {
    let made = inner.with(|session| {
        let made = session.call(|client| client.ping_open())?;
        open(session.clone(), made)
    });
    made.map(|(end, tx, rx)| PingSocket(Datagrams { end, tx, rx }))
}

impl UdpSocket {
    /// Sends a datagram, if need be after waiting for room. It may get lost on its way.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] above [`datagram::BYTES_MAX`] bytes, [`Error::ServerDied`];
    /// [`Error::NoRight`] once one was sent where this client may not.
    pub fn send_to(&mut self, bytes: &[u8], to: SocketAddr) -> Result<(), Error> {
        self.0.send(bytes, to)
    }

    /// Takes a datagram that has come, what fits `to` of it: how many bytes, and from where.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if there is none: the event is signalled when that changes.
    /// [`Error::ServerDied`].
    pub fn try_recv_from(&mut self, to: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        self.0.try_receive(to)
    }

    /// The same, waiting for one.
    ///
    /// # Errors
    /// As [`UdpSocket::try_recv_from`]; [`Error::TimedOut`] instead of `WouldBlock`.
    pub fn recv_from(
        &mut self,
        to: &mut [u8],
        deadline: u64,
    ) -> Result<(usize, SocketAddr), Error> {
        self.0.receive(to, deadline)
    }

    /// Where it is.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.0.end.link().local.into()
    }

    /// Signalled when a datagram has come, and when there is room again.
    #[must_use]
    pub fn event(&self) -> &Event {
        self.0.end.event()
    }
}

/// A socket for ICMP echoes: what `ping` uses.
#[derive(Debug)]
pub struct PingSocket(Datagrams);

impl PingSocket {
    /// Sends an echo request.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    pub fn send(&mut self, to: IpAddr, sequence: u16, bytes: &[u8]) -> Result<(), Error> {
        self.0.send(bytes, SocketAddr::new(to, sequence))
    }

    /// Takes an echo reply to a request of this socket, waiting for one: how many bytes, from
    /// where, and the sequence number.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn receive(&mut self, to: &mut [u8], deadline: u64) -> Result<(usize, IpAddr, u16), Error> {
        let (count, from) = self.0.receive(to, deadline)?;
        Ok((count, from.ip(), from.port()))
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`UdpSocket::try_recv_from`].
    pub fn try_receive(&mut self, to: &mut [u8]) -> Result<(usize, IpAddr, u16), Error> {
        let (count, from) = self.0.try_receive(to)?;
        Ok((count, from.ip(), from.port()))
    }

    /// Signalled when a reply has come, and when there is room again.
    #[must_use]
    pub fn event(&self) -> &Event {
        self.0.end.event()
    }
}

#[derive(Debug)]
struct Datagrams {
    end: Arc<End>,
    tx: Producer,
    rx: Consumer,
}

impl Datagrams {
    fn send(&mut self, bytes: &[u8], to: SocketAddr) -> Result<(), Error> {
        loop {
            self.end.is_open()?;
            match datagram::write(&mut self.tx, bytes, to) {
                Ok(()) if self.tx.publish() => return self.end.ring(bits::READ),
                Err(Error::WouldBlock) => {}
                result => return result,
            }
            if self.tx.prepare_wait(datagram::HEADER_BYTES + bytes.len())? {
                self.end.wait(bits::WRITE, FOREVER)?;
            }
        }
    }

    fn try_receive(&mut self, to: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        loop {
            match datagram::read(&mut self.rx, to) {
                Err(Error::WouldBlock) => {}
                result => {
                    if self.rx.release() {
                        self.end.ring(bits::WRITE)?;
                    }
                    return result;
                }
            }
            self.end.is_open()?;
            if self.rx.prepare_wait()? {
                return Err(Error::WouldBlock);
            }
        }
    }

    fn receive(&mut self, to: &mut [u8], deadline: u64) -> Result<(usize, SocketAddr), Error> {
        loop {
            match self.try_receive(to) {
                Err(Error::WouldBlock) => self.end.wait(bits::READ, deadline)?,
                result => return result,
            }
        }
    }
}
