//! What the objects of the fake kernel are made of, and their signals.

use super::ipc::Message;
use super::state::{Id, Kernel, Obj, lock, uptime};
use crate::handle::{Device as DeviceHandle, Object};
use std::collections::VecDeque;
use std::sync::Arc;
use viper_abi::{Error, Signals};

pub(super) struct ChannelEnd {
    pub peer: Option<Id>,
    pub depth: usize,
    pub queue: VecDeque<Message>,
    pub polled: bool,
}

/// Page-aligned memory, shared by raw pointer like memory that is mapped twice.
pub(super) struct Buffer {
    pub start: *mut u8,
    pub len: usize,
}

// SAFETY: the memory is only reached through raw pointers, by copies.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    pub(super) fn new(len: usize) -> Option<Buffer> {
        let layout = std::alloc::Layout::from_size_align(len, 4096).ok()?;
        // SAFETY: the caller refuses a length of zero.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        (!start.is_null()).then_some(Buffer { start, len })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Ok(layout) = std::alloc::Layout::from_size_align(self.len, 4096) {
            // SAFETY: allocated in `new` with the same layout.
            unsafe { std::alloc::dealloc(self.start, layout) };
        }
    }
}

/// What is behind the registers of a fake device. Called without any lock held.
pub trait DeviceModel: Send + Sync {
    /// Reads the 32-bit register at a byte offset.
    fn read(&self, offset: u64) -> u32;
    /// Writes it.
    fn write(&self, offset: u64, value: u32);
}

pub(super) struct Device {
    pub model: Arc<dyn DeviceModel>,
    pub len_bytes: u64,
    pub lines: Vec<Option<Id>>,
}

impl Device {
    pub(super) fn new(model: Arc<dyn DeviceModel>, len_bytes: u64, lines: u32) -> Device {
        Device {
            model,
            len_bytes,
            lines: vec![None; lines as usize],
        }
    }
}

/// Fires the interrupt line `index` of a device, if somebody owns it.
pub fn raise(device: &DeviceHandle, index: usize) {
    let pid = super::current();
    let mut kernel = lock();
    let line = kernel
        .find(pid, device.raw())
        .ok()
        .and_then(|(id, _)| match kernel.object(id) {
            Some(Obj::Device(d)) => d.lines.get(index).copied().flatten(),
            _ => None,
        });
    if let Some(Obj::Interrupt { fired }) = line.and_then(|id| kernel.object_mut(id)) {
        *fired = true;
    }
    super::state::changed();
}

impl Kernel {
    /// The signals that an object has now; `None` if it has none by its kind.
    pub(super) fn signals(&self, id: Id) -> Option<Signals> {
        let when = |condition: bool, signal| if condition { signal } else { Signals::NONE };
        Some(match self.object(id)? {
            Obj::Channel(end) => when(!end.queue.is_empty(), Signals::READABLE)
                .union(when(end.peer.is_none(), Signals::PEER_CLOSED)),
            Obj::Event(bits) => Signals(u64::from(*bits)),
            Obj::Timer { deadline, .. } => when(*deadline <= uptime(), Signals::EXPIRED),
            Obj::Process(pid) => {
                let ended = self.processes.get(pid).is_none_or(|p| p.end.is_some());
                when(ended, Signals::ENDED)
            }
            Obj::Thread { ended } => when(*ended, Signals::ENDED),
            Obj::Interrupt { fired } => when(*fired, Signals::INTERRUPT),
            _ => return None,
        })
    }

    /// Clears what is cleared by being returned.
    pub(super) fn take_signals(&mut self, id: Id, taken: Signals) {
        match self.object_mut(id) {
            Some(Obj::Event(bits)) => *bits &= !(taken.0 as u32),
            Some(Obj::Interrupt { fired }) => *fired = false,
            Some(Obj::Timer { deadline, period }) => {
                *deadline = match *period {
                    0 => u64::MAX,
                    period => *deadline + period,
                };
            }
            _ => {}
        }
    }

    pub(super) fn buffer(&self, id: Id) -> Result<Arc<Buffer>, Error> {
        match self.object(id) {
            Some(Obj::Memory(buffer)) => Ok(buffer.clone()),
            _ => Err(Error::WrongKind),
        }
    }
}
