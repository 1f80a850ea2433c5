//! A disk of host memory behind the server, for tests on the fake kernel.
//!
//! It outlives the servers that run on it, as a disk does, and can be told to fail.
#![allow(unsafe_code)]

use crate::{Blkd, Disk, Hardware, open_window};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use viper_rt::abi::Slot;
use viper_rt::handle::{Device, OwnedHandle};
use viper_rt::{Object, host, program, server};
use viper_virtio::{BlockInfo, Completion, Error, Request, RequestKind, Status};

const SECTOR: usize = 512;

/// A request: what, first sector, address and length of its segments, token.
type Waiting = (RequestKind, u64, Vec<(u64, u32)>, u64);

/// What the disk is and does.
#[derive(Debug, Default)]
pub struct Platter {
    /// What a power failure would leave.
    pub durable: Vec<u8>,
    /// What reads see: with the writes that were not flushed.
    pub data: Vec<u8>,
    /// Requests that were not carried out yet.
    waiting: VecDeque<Waiting>,
    done: VecDeque<Completion>,
    /// Carries nothing out by itself.
    pub is_held: bool,
    /// Does not reset.
    pub is_stuck: bool,
    /// Writes are refused.
    pub is_read_only: bool,
    /// Requests from this sector on fail.
    pub bad_from: Option<u64>,
    /// Writes fail after this many.
    pub writes_left: Option<u64>,
    /// Resets so far.
    pub restarts: u32,
    /// Flushes carried out.
    pub flushes: u32,
    /// Reads carried out.
    pub reads: u32,
    /// Writes carried out.
    pub writes: u32,
}

impl Platter {
    fn carry_out(&mut self) {
        while let Some((kind, sector, segments, token)) = self.waiting.pop_front() {
            let bytes = segments.iter().map(|s| s.1).sum();
            let status = self.one(kind, sector, &segments);
            self.done.push_back(Completion {
                token,
                status,
                bytes,
            });
        }
    }

    fn one(&mut self, kind: RequestKind, sector: u64, segments: &[(u64, u32)]) -> Status {
        let fails = self.bad_from.is_some_and(|bad| sector >= bad);
        let worn_out = kind == RequestKind::Write && self.writes_left == Some(0);
        if fails && kind != RequestKind::Flush || worn_out {
            return Status::IoError;
        }
        if kind == RequestKind::Flush {
            self.flushes += 1;
            self.durable.clone_from(&self.data);
            return Status::Ok;
        }
        let mut at = sector as usize * SECTOR;
        for &(address, len) in segments {
            let place = &mut self.data[at..at + len as usize];
            // SAFETY: the server checked the segments against memory it keeps, and on the fake
            // kernel a device address is the address of the memory.
            unsafe {
                match kind {
                    RequestKind::Read => {
                        core::ptr::copy(place.as_ptr(), address as *mut u8, place.len())
                    }
                    _ => core::ptr::copy(address as *const u8, place.as_mut_ptr(), place.len()),
                }
            }
            at += len as usize;
        }
        match kind {
            RequestKind::Read => self.reads += 1,
            _ => {
                self.writes += 1;
                self.writes_left = self.writes_left.map(|n| n - 1);
            }
        }
        Status::Ok
    }
}

/// The disk, as the test holds it.
#[derive(Clone, Debug)]
pub struct FakeDisk {
    platter: Arc<Mutex<Platter>>,
    device: Option<Arc<Device>>,
}

impl FakeDisk {
    /// A disk of zeroes.
    #[must_use]
    pub fn new(sectors: usize) -> FakeDisk {
        FakeDisk::holding(vec![0; sectors * SECTOR])
    }

    /// A disk that holds these bytes.
    #[must_use]
    pub fn holding(bytes: Vec<u8>) -> FakeDisk {
        let platter = Platter {
            durable: bytes.clone(),
            data: bytes,
            ..Platter::default()
        };
        FakeDisk {
            platter: Arc::new(Mutex::new(platter)),
            device: None,
        }
    }

    /// What it is and does.
    pub fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what waits; the caller then raises the interrupt of its device.
    pub fn carry_out(&self) {
        self.platter().carry_out();
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.platter().waiting.len()
    }

    /// Serves this disk with the device in `Slot::DEVICE`: the main function of a fake process.
    pub fn serve(&self, patience_ns: u64) -> i64 {
        let device = program::take(Slot::DEVICE).map(OwnedHandle::into_object::<Device>);
        let served = server::serve(|sources| {
            let Some(device) = device else {
                return Blkd::<FakeDisk>::new(None, &sources);
            };
            let interrupt = device.interrupt(0)?;
            let for_clients = device.try_clone()?;
            let mut disk = self.clone();
            disk.device = Some(Arc::new(device));
            let hardware = Hardware {
                disk,
                interrupt,
                open: Box::new(move |memory| open_window(&for_clients, memory)),
                serial: 7,
            };
            Ok(Blkd::new(Some(hardware), &sources)?.with_patience(patience_ns))
        });
        i64::from(served.is_err())
    }
}

impl Disk for FakeDisk {
    fn info(&self) -> BlockInfo {
        let platter = self.platter();
        BlockInfo {
            capacity_sectors: (platter.data.len() / SECTOR) as u64,
            block_len: SECTOR as u32,
            segments_max: 3,
            segment_len_max: 1 << 20,
            depth: 4,
            is_read_only: platter.is_read_only,
            has_flush: true,
            topology: None,
        }
    }

    fn in_flight(&self) -> u16 {
        let platter = self.platter();
        (platter.waiting.len() + platter.done.len()) as u16
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), Error> {
        if self.in_flight() >= 4 {
            return Err(Error::Full);
        }
        let segments = request
            .segments
            .iter()
            .map(|s| (s.address().raw(), s.len()))
            .collect();
        let entry = (request.kind, request.sector, segments, request.token);
        self.platter().waiting.push_back(entry);
        Ok(())
    }

    fn kick(&mut self) -> Result<(), Error> {
        if self.platter().is_held {
            return Ok(());
        }
        self.carry_out();
        if let Some(device) = &self.device {
            host::raise(device, 0);
        }
        Ok(())
    }

    fn on_interrupt(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn poll_completion(&mut self) -> Result<Option<Completion>, Error> {
        Ok(self.platter().done.pop_front())
    }

    fn restart(&mut self, cancelled: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let mut platter = self.platter();
        if platter.is_stuck {
            return Err(Error::ResetTimeout);
        }
        platter.restarts += 1;
        let waiting: Vec<u64> = platter.waiting.drain(..).map(|w| w.3).collect();
        let done: Vec<u64> = platter.done.drain(..).map(|c| c.token).collect();
        drop(platter);
        waiting.into_iter().chain(done).for_each(cancelled);
        Ok(())
    }
}

/// Registers of nothing: the device is only there for its interrupt and its addresses.
#[derive(Debug)]
pub struct NoRegisters;

impl host::DeviceModel for NoRegisters {
    fn read(&self, _: u64) -> u32 {
        0
    }

    fn write(&self, _: u64, _: u32) {}
}
