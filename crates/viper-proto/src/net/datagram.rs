//! Datagrams in a byte ring: a header with length, port and address, then the bytes.

use super::Endpoint;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use viper_rt::Error;
use viper_rt::ring::{Consumer, Producer};

/// Bytes before each datagram: length u32, port u16, two of zero, address of 16 bytes.
pub const HEADER_BYTES: usize = 24;
/// Most bytes in a datagram.
pub const BYTES_MAX: usize = 8192;

/// Writes a datagram, all or nothing. Publish it then.
///
/// # Errors
/// [`Error::WouldBlock`] without room, [`Error::MessageTooLarge`], [`Error::Corrupt`].
pub fn write(ring: &mut Producer, bytes: &[u8], peer: SocketAddr) -> Result<(), Error> {
    if bytes.len() > BYTES_MAX || HEADER_BYTES + bytes.len() > ring.capacity() {
        return Err(Error::MessageTooLarge);
    }
    if ring.room()? < HEADER_BYTES + bytes.len() {
        return Err(Error::WouldBlock);
    }
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    header[4..6].copy_from_slice(&peer.port().to_le_bytes());
    let address = match peer.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    header[8..].copy_from_slice(&address.octets());
    ring.write(&header)?;
    ring.write(bytes)?;
    Ok(())
}

/// Takes a datagram; what does not fit `to` is cut off. Returns how many bytes `to` got, and the
/// other end. Release the ring then.
///
/// # Errors
/// [`Error::WouldBlock`] if there is none, [`Error::Corrupt`] for one that is cut short.
pub fn read(ring: &mut Consumer, to: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
    match ring.available()? {
        0 => return Err(Error::WouldBlock),
        1..HEADER_BYTES => return Err(Error::Corrupt),
        _ => {}
    }
    let mut header = [0; HEADER_BYTES];
    ring.read(&mut header)?;
    let (fixed, address) = header.split_at(8);
    let len = u32::from_le_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]) as usize;
    if len > BYTES_MAX || ring.available()? < len {
        return Err(Error::Corrupt);
    }
    let fits = len.min(to.len());
    ring.read(&mut to[..fits])?;
    ring.skip(len - fits)?;
    let octets: [u8; 16] = address.try_into().map_err(|_| Error::Internal)?;
    let peer = Endpoint {
        address: IpAddr::V6(Ipv6Addr::from(octets)).into(),
        port: u16::from_le_bytes([fixed[4], fixed[5]]),
    };
    Ok((fits, peer.into()))
}
