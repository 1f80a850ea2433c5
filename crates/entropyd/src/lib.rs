#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::collections::VecDeque;
use viper_proto::entropy::{self, GET_MAX, Serve};
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::Interrupt;
use viper_rt::message::{Bytes, Reader};
use viper_rt::server::{Answer, Deferrable, NewClient, Outcome, Pending, Service};
use viper_rt::{Error, clock};
use viper_virtio::{Registers, Rng};
use zeroize::Zeroize;

/// Key of the device's interrupt among the server's sources.
pub const DEVICE_KEY: u32 = 1;
/// How long the device may take for a request.
const TIMEOUT_NS: u64 = clock::SECOND;
/// Requests that wait, at most.
const WAITERS_MAX: usize = 64;
/// Bytes that are compared with those before: a source that repeats itself is broken.
const BLOCK: usize = 16;

/// The entropy server on a virtio entropy device.
///
/// Bytes are given out once and then erased. Nothing is ever given that did not come from the
/// device, and nothing at all once the device gives the same block twice running.
#[derive(Debug)]
pub struct Entropy<R> {
    device: Option<Rng<R>>,
    interrupt: Option<Interrupt>,
    pool: VecDeque<u8>,
    waiters: VecDeque<(usize, Pending<Bytes>)>,
    last_block: [u8; BLOCK],
    deadline: u64,
}

impl<R: Registers> Entropy<R> {
    /// A server on this device; without one, every request is answered with `NoService`.
    #[must_use]
    pub fn new(device: Option<Rng<R>>, interrupt: Option<Interrupt>) -> Entropy<R> {
        Entropy {
            device,
            interrupt,
            pool: VecDeque::new(),
            waiters: VecDeque::new(),
            last_block: [0; BLOCK],
            deadline: FOREVER,
        }
    }

    /// Takes what has come, answers who waits, and asks for more while somebody still does.
    fn pump(&mut self) {
        loop {
            let came = self.collect();
            self.serve();
            if !self.ask() && !came {
                return;
            }
        }
    }

    /// Takes what the device brought. Whether it brought something.
    fn collect(&mut self) -> bool {
        let Some(device) = &mut self.device else {
            return false;
        };
        let mut bytes = [0; 256];
        match device.poll(&mut bytes) {
            Ok(Some(count)) => {
                self.deadline = FOREVER;
                self.take(&bytes[..count]);
                bytes.zeroize();
                true
            }
            Ok(None) => false,
            Err(_) => {
                self.broken();
                false
            }
        }
    }

    fn serve(&mut self) {
        while let Some(&(len, _)) = self.waiters.front()
            && self.pool.len() >= len
            && let Some((len, pending)) = self.waiters.pop_front()
        {
            let bytes = self.draw(len);
            pending.answer(Ok(bytes));
        }
    }

    /// Asks the device for more if somebody waits. Whether it did.
    fn ask(&mut self) -> bool {
        let Some(device) = &mut self.device else {
            self.waiters
                .drain(..)
                .for_each(|(_, p)| p.answer(Err(Error::NoService)));
            return false;
        };
        if self.waiters.is_empty() || self.deadline != FOREVER {
            return false;
        }
        match device.request(Rng::<R>::REQUEST_LEN_MAX) {
            Ok(()) => {
                self.deadline = clock::after(TIMEOUT_NS);
                true
            }
            Err(_) => {
                self.broken();
                false
            }
        }
    }

    /// Checks bytes from the device and keeps them.
    fn take(&mut self, bytes: &[u8]) {
        for block in bytes.chunks_exact(BLOCK) {
            if block == self.last_block {
                self.pool.clear();
                self.broken();
                return;
            }
            self.last_block.copy_from_slice(block);
        }
        self.pool.extend(bytes);
    }

    fn draw(&mut self, len: usize) -> Bytes {
        let mut bytes = [0; GET_MAX as usize];
        for (place, byte) in bytes.iter_mut().zip(self.pool.drain(..len)) {
            *place = byte;
        }
        let drawn = Bytes::clip(&bytes[..len]);
        bytes.zeroize();
        drawn
    }

    /// The device failed: who waits hears of it, and it is started anew.
    fn broken(&mut self) {
        self.deadline = FOREVER;
        self.waiters
            .drain(..)
            .for_each(|(_, p)| p.answer(Err(Error::Io)));
        if let Some(device) = &mut self.device
            && device.reset_and_reinit().is_err()
        {
            self.device = None;
        }
    }
}

impl<R: Registers> Service for Entropy<R> {
    type Client = ();

    fn connect(&mut self, _: NewClient) -> Result<(), Error> {
        Ok(())
    }

    fn request(&mut self, client: &mut (), request: Reader) -> Answer {
        entropy::dispatch(self, client, request)
    }

    fn signal(&mut self, key: u32, _: Signals) {
        if key != DEVICE_KEY {
            return;
        }
        if let Some(device) = &mut self.device
            && device.on_interrupt().is_err()
        {
            self.broken();
        }
        self.pump();
        if let Some(interrupt) = &self.interrupt {
            let _ = interrupt.acknowledge();
        }
    }

    fn deadline(&self) -> u64 {
        self.deadline
    }

    fn timeout(&mut self) {
        self.pump();
        if self.deadline <= clock::now() {
            self.broken();
        }
    }
}

impl<R: Registers> Serve for Entropy<R> {
    type Client = ();

    fn get(&mut self, _: &mut (), call: Deferrable<Bytes>, len: u32) -> Outcome<Bytes> {
        if !(1..=GET_MAX).contains(&len) {
            return Outcome::Now(Err(Error::InvalidArgument));
        }
        if self.device.is_none() {
            return Outcome::Now(Err(Error::NoService));
        }
        let len = len as usize;
        if self.waiters.is_empty() && self.pool.len() >= len {
            return Outcome::Now(Ok(self.draw(len)));
        }
        if self.waiters.len() >= WAITERS_MAX {
            return Outcome::Now(Err(Error::LimitReached));
        }
        match call.detach() {
            Ok(pending) => {
                self.waiters.push_back((len, pending));
                self.pump();
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests;
