//! A card with buffers of its own: frames are lent to closures, and never copied.
#![allow(unsafe_code)]

use alloc::vec::Vec;

use super::{Cancelled, Checksum, ChecksumPlace, Net, NetConfig, NetInfo, RECEIVE_LEN_MIN};
use super::{FRAME_LEN_MAX, Transmit};
use crate::dma::{DmaBuffers, DmaRegion};
use crate::error::Error;
use crate::transport::{Interrupt, Registers, Transport};

/// Sizes of [`NetFrames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetFramesConfig {
    /// The driver below. Its depths are the numbers of buffers.
    pub net: NetConfig,
    /// Bytes of a receive buffer, at least [`RECEIVE_LEN_MIN`].
    pub receive_bytes: usize,
    /// Bytes of a transmit buffer: the longest frame that can be sent.
    pub transmit_bytes: usize,
}

impl Default for NetFramesConfig {
    /// 128 buffers of 2 KiB each way.
    fn default() -> Self {
        let net = NetConfig {
            segments_max: 1,
            ..NetConfig::default()
        };
        Self {
            net,
            receive_bytes: 2048,
            transmit_bytes: 2048,
        }
    }
}

impl NetFramesConfig {
    /// Bytes of DMA memory that suffice for this configuration.
    #[must_use]
    pub const fn dma_len(&self) -> usize {
        self.rings_len() + self.receive_len() + self.transmit_len()
    }

    const fn rings_len(&self) -> usize {
        self.net.dma_len().next_multiple_of(64)
    }

    const fn receive_len(&self) -> usize {
        self.net.receive_depth as usize * self.receive_bytes
    }

    const fn transmit_len(&self) -> usize {
        self.net.transmit_depth as usize * self.transmit_bytes
    }
}

/// A network card that moves frames between its own buffers and closures.
#[derive(Debug)]
pub struct NetFrames<R> {
    net: Net<R>,
    receive: DmaBuffers,
    transmit: DmaBuffers,
    /// Transmit buffers that are ours.
    free: Vec<u16>,
}

impl<R: Registers> NetFrames<R> {
    /// Takes over a device, whatever state it is in, starts it and posts all receive buffers.
    ///
    /// `memory` is at least [`NetFramesConfig::dma_len`] long; it is lost if this fails.
    ///
    /// # Errors
    ///
    /// As for [`Net::new`].
    pub fn new(
        transport: Transport<R>,
        mut memory: DmaRegion,
        config: NetFramesConfig,
    ) -> Result<Self, Error> {
        let longest = config.receive_bytes.max(config.transmit_bytes);
        if config.receive_bytes < RECEIVE_LEN_MIN as usize || longest > FRAME_LEN_MAX as usize {
            return Err(Error::Invalid);
        }
        let rings = memory.split_front(config.rings_len())?;
        let receive = memory.split_front(config.receive_len())?;
        let net = Net::new(transport, rings, config.net)?;
        let (receive_depth, transmit_depth) = (net.info().receive_depth, net.info().transmit_depth);
        let transmit = DmaBuffers::new(memory, config.transmit_bytes, transmit_depth.into());
        let mut card = Self {
            net,
            receive: DmaBuffers::new(receive, config.receive_bytes, receive_depth.into()),
            free: (0..transmit.count() as u16).collect(),
            transmit,
        };
        card.post_all()?;
        Ok(card)
    }

    /// Hands the oldest received frame to `take` and posts its buffer again: the device learns of
    /// that at the next [`Self::kick`]. `None` means that an interrupt will follow the next one.
    ///
    /// # Errors
    ///
    /// As for [`Net::poll_receive`].
    pub fn receive<T>(
        &mut self,
        take: impl FnOnce(&[u8], Checksum) -> T,
    ) -> Result<Option<T>, Error> {
        let Some(received) = self.net.poll_receive()? else {
            return Ok(None);
        };
        let index = received.token as usize;
        // SAFETY: the device has given back the request with this token, which `post` gave it.
        unsafe { self.receive.take_back(index) };
        let frame = self.receive.bytes(index, received.bytes as usize);
        let result = take(frame.unwrap_or(&[]), received.checksum);
        self.post(index)?;
        Ok(Some(result))
    }

    /// Whether a buffer is free to send a frame.
    #[must_use]
    pub fn can_transmit(&self) -> bool {
        !self.free.is_empty()
    }

    /// Takes back the buffers of frames that the device is done with, without asking for an
    /// interrupt.
    ///
    /// # Errors
    ///
    /// As for [`Net::reclaim_transmit`].
    pub fn reclaim(&mut self) -> Result<(), Error> {
        while let Some(token) = self.net.reclaim_transmit()? {
            self.sent(token);
        }
        Ok(())
    }

    /// Queues a frame of `len` bytes that `fill` writes; `false` if no buffer is free. The device
    /// learns of it at the next [`Self::kick`].
    ///
    /// # Errors
    ///
    /// As for [`Net::transmit`].
    pub fn transmit(
        &mut self,
        len: usize,
        checksum: Option<ChecksumPlace>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<bool, Error> {
        if len == 0 || len > self.transmit.len_each() {
            return Err(Error::Invalid);
        }
        if self.free.is_empty() {
            self.reclaim()?;
        }
        let Some(index) = self.free.pop() else {
            return Ok(false);
        };
        if let Some(bytes) = self.transmit.bytes_mut(index.into(), len) {
            fill(bytes);
        }
        let segment = self
            .transmit
            .lend(index.into(), len)
            .ok_or(Error::Invalid)?;
        let queued = self.net.transmit(&Transmit {
            segments: &[segment],
            checksum,
            token: index.into(),
        });
        if let Err(error) = queued {
            // SAFETY: nothing was queued, so the device never saw the segment.
            unsafe { self.transmit.take_back(index.into()) };
            self.free.push(index);
            return if error == Error::Full {
                Ok(false)
            } else {
                Err(error)
            };
        }
        Ok(true)
    }

    /// Shows the device all that was queued and posted: at most one register access each way.
    ///
    /// # Errors
    ///
    /// As for [`Net::kick`].
    pub fn kick(&mut self) -> Result<(), Error> {
        self.net.kick()
    }

    /// Acknowledges an interrupt.
    ///
    /// # Errors
    ///
    /// As for [`Net::on_interrupt`].
    pub fn on_interrupt(&mut self) -> Result<Interrupt, Error> {
        self.net.on_interrupt()
    }

    /// Asks for an interrupt when a frame that is being sent is done; to be called when
    /// [`Self::can_transmit`] said no. Whether there is a free buffer already.
    ///
    /// # Errors
    ///
    /// As for [`Net::poll_transmit`].
    pub fn want_room(&mut self) -> Result<bool, Error> {
        while let Some(token) = self.net.poll_transmit()? {
            self.sent(token);
        }
        Ok(!self.free.is_empty())
    }

    /// Resets the device and starts it anew. Frames that were being sent may be lost.
    ///
    /// # Errors
    ///
    /// As for [`Net::reset_and_reinit`].
    pub fn reset(&mut self) -> Result<(), Error> {
        let (receive, transmit, free) = (&mut self.receive, &mut self.transmit, &mut self.free);
        self.net.reset_and_reinit(|cancelled| match cancelled {
            // SAFETY: the device was reset, it does not know the buffer any more.
            Cancelled::Receive(token) => unsafe { receive.take_back(token as usize) },
            Cancelled::Transmit(token) => {
                // SAFETY: as above.
                unsafe { transmit.take_back(token as usize) };
                free.push(token as u16);
            }
        })?;
        self.post_all()
    }

    /// What the device is.
    #[must_use]
    pub const fn info(&self) -> &NetInfo {
        self.net.info()
    }

    fn post_all(&mut self) -> Result<(), Error> {
        for index in 0..self.receive.count() {
            self.post(index)?;
        }
        self.kick()
    }

    fn post(&mut self, index: usize) -> Result<(), Error> {
        let len = self.receive.len_each();
        let Some(segment) = self.receive.lend(index, len) else {
            return Ok(());
        };
        let posted = self.net.post_receive(&[segment], index as u64);
        if posted.is_err() {
            // SAFETY: nothing was posted, so the device never saw the segment.
            unsafe { self.receive.take_back(index) };
        }
        posted
    }

    fn sent(&mut self, token: u64) {
        // SAFETY: the device has given back the request with this token.
        unsafe { self.transmit.take_back(token as usize) };
        self.free.push(token as u16);
    }
}
