//! What the objects that need no memory of ours can do.

use crate::handle::{
    Channel, Device, Event, Interrupt, Memory, Object, OwnedHandle, PollSet, Process, Quota,
    System, Timer,
};
use crate::sys;
use viper_abi::{
    EndReason, Error, FaultKind, Handle, HandleInfo, Kind, MemoryFlags, PowerAction, ProcessInfo,
    Rights, Signals, SystemInfo,
};

impl Channel {
    /// Makes a channel; each end queues at most `depth` messages (1..=64).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::LimitReached`], [`Error::OutOfMemory`].
    pub fn pair(depth: u32) -> Result<(Channel, Channel), Error> {
        let (a, b) = sys::channel_create(depth)?;
        Ok((Channel::from_raw(a), Channel::from_raw(b)))
    }
}

impl Event {
    /// Makes an event, all bits clear.
    ///
    /// # Errors
    /// [`Error::LimitReached`] or [`Error::OutOfMemory`].
    pub fn new() -> Result<Event, Error> {
        sys::event_create().map(|(h,)| Event::from_raw(h))
    }

    /// Sets bits.
    ///
    /// # Errors
    /// [`Error::NoRight`] and those of bad handles.
    pub fn signal(&self, bits: u32) -> Result<(), Error> {
        sys::event_signal(self.raw(), bits)
    }
}

impl PollSet {
    /// Makes an empty set.
    ///
    /// # Errors
    /// [`Error::LimitReached`] or [`Error::OutOfMemory`].
    pub fn new() -> Result<PollSet, Error> {
        sys::poll_create().map(|(h,)| PollSet::from_raw(h))
    }

    /// Puts an object in: its messages and the signals in `mask` come out under `key`.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::NoRight`] and those of bad handles.
    pub fn add(&self, object: &impl Object, key: u64, mask: Signals) -> Result<(), Error> {
        sys::poll_add(self.raw(), object.raw(), key, mask)
    }

    /// Takes an object out.
    ///
    /// # Errors
    /// [`Error::NotFound`] and those of bad handles.
    pub fn remove(&self, object: &impl Object) -> Result<(), Error> {
        sys::poll_remove(self.raw(), object.raw())
    }
}

impl Timer {
    /// Makes a timer that does not run.
    ///
    /// # Errors
    /// [`Error::LimitReached`] or [`Error::OutOfMemory`].
    pub fn new() -> Result<Timer, Error> {
        sys::timer_create().map(|(h,)| Timer::from_raw(h))
    }

    /// Starts it: EXPIRED at `deadline` (nanoseconds of uptime), then each `period_ns` if not 0.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for periods below 1000 and those of bad handles.
    pub fn start(&self, deadline: u64, period_ns: u64) -> Result<(), Error> {
        sys::timer_set(self.raw(), deadline, period_ns)
    }

    /// Stops it.
    ///
    /// # Errors
    /// Those of bad handles.
    pub fn stop(&self) -> Result<(), Error> {
        self.start(viper_abi::FOREVER, 0)
    }
}

impl Quota {
    /// Carves out a quota of at most this many bytes.
    ///
    /// # Errors
    /// [`Error::NoRight`], [`Error::LimitReached`], [`Error::OutOfMemory`].
    pub fn carve(&self, limit_bytes: u64) -> Result<Quota, Error> {
        sys::quota_create(self.raw(), limit_bytes).map(|(h,)| Quota::from_raw(h))
    }

    /// Limit and use in bytes.
    ///
    /// # Errors
    /// [`Error::NoRight`] and those of bad handles.
    pub fn usage(&self) -> Result<(u64, u64), Error> {
        sys::quota_info(self.raw())
    }
}

/// What a device consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Physical address of its registers.
    pub base: u64,
    /// Bytes of registers.
    pub len_bytes: u64,
    /// First interrupt line.
    pub interrupt_first: u32,
    /// Number of lines.
    pub interrupts: u32,
    /// DMA allowance left, in bytes.
    pub dma_bytes: u64,
}

impl Device {
    /// A device that is part of this one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not within, [`Error::NoRight`] without MANAGE.
    pub fn narrow(&self, part: DeviceInfo) -> Result<Device, Error> {
        let lines = u64::from(part.interrupts) << 32 | u64::from(part.interrupt_first);
        sys::device_narrow(self.raw(), part.base, part.len_bytes, lines, part.dma_bytes)
            .map(|(h,)| Device::from_raw(h))
    }

    /// What it consists of.
    ///
    /// # Errors
    /// Those of bad handles.
    pub fn describe(&self) -> Result<DeviceInfo, Error> {
        let (base, len_bytes, lines, dma_bytes) = sys::device_info(self.raw())?;
        Ok(DeviceInfo {
            base,
            len_bytes,
            interrupt_first: lines as u32,
            interrupts: (lines >> 32) as u32,
            dma_bytes,
        })
    }

    /// Reads the 32-bit register at this byte offset.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if unaligned or outside, [`Error::NoRight`].
    #[inline]
    pub fn read(&self, offset: u64) -> Result<u32, Error> {
        sys::device_read(self.raw(), offset).map(|(v,)| v)
    }

    /// Writes the 32-bit register at this byte offset.
    ///
    /// # Errors
    /// As [`Device::read`].
    #[inline]
    pub fn write(&self, offset: u64, value: u32) -> Result<(), Error> {
        sys::device_write(self.raw(), offset, value)
    }

    /// Takes the line `index` of this device.
    ///
    /// # Errors
    /// [`Error::Busy`] if it has an owner, [`Error::InvalidArgument`], [`Error::NoRight`].
    pub fn interrupt(&self, index: u32) -> Result<Interrupt, Error> {
        sys::interrupt_create(self.raw(), index).map(|(h,)| Interrupt::from_raw(h))
    }

    /// Makes contiguous memory for the device, and tells the address the device has for it.
    ///
    /// # Errors
    /// [`Error::LimitReached`], [`Error::OutOfMemory`], [`Error::InvalidArgument`].
    pub fn dma_memory(&self, size_bytes: u64) -> Result<(Memory, u64), Error> {
        sys::dma_create(self.raw(), size_bytes).map(|(h, at)| (Memory::from_raw(h), at))
    }

    /// The address the device has for somebody's contiguous memory, and its size.
    ///
    /// # Errors
    /// [`Error::NotSupported`] if it is not contiguous, [`Error::NoRight`].
    pub fn dma_address(&self, memory: &Memory) -> Result<(u64, u64), Error> {
        sys::dma_address(self.raw(), memory.raw())
    }
}

impl Interrupt {
    /// Unmasks the line after its device was served.
    ///
    /// # Errors
    /// Those of bad handles.
    pub fn acknowledge(&self) -> Result<(), Error> {
        sys::interrupt_ack(self.raw())
    }
}

impl Memory {
    /// Makes `size_bytes` of zeroed memory, rounded up to pages.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::LimitReached`], [`Error::InvalidArgument`].
    pub fn new(size_bytes: u64) -> Result<Memory, Error> {
        sys::memory_create(size_bytes, MemoryFlags::NONE).map(|(h,)| Memory::from_raw(h))
    }

    /// Makes physically contiguous memory, fit for DMA.
    ///
    /// # Errors
    /// As [`Memory::new`].
    pub fn contiguous(size_bytes: u64) -> Result<Memory, Error> {
        sys::memory_create(size_bytes, MemoryFlags::CONTIGUOUS).map(|(h,)| Memory::from_raw(h))
    }

    /// Size and committed part, in bytes.
    ///
    /// # Errors
    /// Those of bad handles.
    pub fn size(&self) -> Result<(u64, u64), Error> {
        sys::memory_info(self.raw())
    }

    /// Copies out of it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if outside or above 1 MiB, [`Error::NoRight`].
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), Error> {
        if to.is_empty() {
            return Ok(());
        }
        let (address, len) = (to.as_mut_ptr() as u64, to.len() as u64);
        // SAFETY: `to` is valid for writes of its length.
        unsafe { sys::memory_read(self.raw(), offset, address, len) }
    }

    /// Copies into it.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), Error> {
        if from.is_empty() {
            return Ok(());
        }
        let (address, len) = (from.as_ptr() as u64, from.len() as u64);
        // SAFETY: `from` is valid for reads of its length.
        unsafe { sys::memory_write(self.raw(), offset, address, len) }
    }

    /// A copy-on-write copy.
    ///
    /// # Errors
    /// [`Error::NotSupported`] for contiguous memory, [`Error::OutOfMemory`].
    pub fn snapshot(&self) -> Result<Memory, Error> {
        sys::memory_clone(self.raw()).map(|(h,)| Memory::from_raw(h))
    }
}

/// A `ProcessInfo` of nothing, to be filled in.
#[must_use]
pub const fn no_process_info() -> ProcessInfo {
    ProcessInfo {
        id: 0,
        parent: 0,
        used_bytes: 0,
        limit_bytes: 0,
        cpu_ns: 0,
        ipcs: 0,
        fault_address: 0,
        fault_pc: 0,
        exit_code: 0,
        end_reason: EndReason::RUNNING,
        fault_kind: FaultKind::NONE,
        threads: 0,
        handles: 0,
        priority: 0,
        name_len: 0,
        name: [0; 32],
    }
}

impl Process {
    /// Makes an empty process charged to `quota`. At most 32 bytes of name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::LimitReached`], [`Error::OutOfMemory`].
    pub fn new(quota: &Quota, name: &str) -> Result<Process, Error> {
        // SAFETY: the name is valid for reads of its length.
        let (h,) =
            unsafe { sys::process_create(quota.raw(), name.as_ptr() as u64, name.len() as u32)? };
        Ok(Process::from_raw(h))
    }

    /// Tells about it.
    ///
    /// # Errors
    /// [`Error::NoRight`] without READ.
    pub fn info(&self) -> Result<ProcessInfo, Error> {
        process_info(self.raw())
    }

    /// Lets it have no more than so many handles and threads at a time, or fewer if it had to do
    /// with fewer already.
    ///
    /// # Errors
    /// [`Error::Ended`] if it has, [`Error::NoRight`] without MANAGE.
    pub fn limit(&self, handles_max: u32, threads_max: u32) -> Result<(), Error> {
        sys::process_limit(self.raw(), handles_max, threads_max)?;
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`Error::Ended`] if it has, [`Error::NoRight`] without MANAGE.
    pub fn kill(&self, code: i64) -> Result<(), Error> {
        sys::process_kill(self.raw(), code)
    }

    /// Derives a handle of ours into its table. Returns the number it has there.
    ///
    /// # Errors
    /// [`Error::NoRight`] without MANAGE or TRANSFER, [`Error::Ended`], [`Error::LimitReached`].
    pub fn give(&self, handle: Handle, rights: Rights) -> Result<Handle, Error> {
        sys::handle_give(self.raw(), handle, rights).map(|(h,)| h)
    }

    /// Its handles from table index `from` on; with them the index to go on from, 0 at the end.
    ///
    /// # Errors
    /// [`Error::NoRight`] without READ.
    pub fn handles<'a>(
        &self,
        from: u32,
        space: &'a mut [HandleInfo],
    ) -> Result<(&'a [HandleInfo], u32), Error> {
        let max = u32::try_from(space.len()).unwrap_or(u32::MAX);
        // SAFETY: `space` is valid for writes of `max` entries.
        let (count, next) =
            unsafe { sys::handle_list(self.raw(), from, space.as_mut_ptr() as u64, max)? };
        Ok((space.get(..count as usize).unwrap_or(&[]), next))
    }
}

/// A `HandleInfo` of nothing, to be filled in.
#[must_use]
pub const fn no_handle_info() -> HandleInfo {
    HandleInfo {
        handle: Handle::NONE,
        kind: Kind(0),
        rights: Rights::NONE,
        reserved: 0,
        object: 0,
    }
}

/// Tells about a process; `Handle::NONE` is the caller.
///
/// # Errors
/// [`Error::NoRight`] and those of bad handles.
pub fn process_info(process: Handle) -> Result<ProcessInfo, Error> {
    let mut info = no_process_info();
    // SAFETY: `info` is valid for the write of one `ProcessInfo`.
    unsafe { sys::process_info(process, &raw mut info as u64)? };
    Ok(info)
}

impl System {
    /// Writes to the debug port, in pieces.
    ///
    /// # Errors
    /// [`Error::NoRight`] without WRITE.
    pub fn debug_write(&self, text: &[u8]) -> Result<(), Error> {
        debug_write(self.raw(), text)
    }

    /// Reads from the debug port: at least one byte.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::NoRight`] without MANAGE.
    pub fn debug_read(&self, to: &mut [u8], deadline: u64) -> Result<usize, Error> {
        let len = to.len().min(256) as u32;
        // SAFETY: `to` is valid for writes of `len` bytes.
        let (count,) =
            unsafe { sys::debug_read(self.raw(), to.as_mut_ptr() as u64, len, deadline)? };
        Ok((count as usize).min(to.len()))
    }

    /// Turns the machine off or restarts it.
    ///
    /// # Errors
    /// [`Error::NoRight`] without MANAGE.
    pub fn power(&self, action: PowerAction) -> Result<(), Error> {
        sys::system_power(self.raw(), action)
    }

    /// Tells about the machine.
    ///
    /// # Errors
    /// [`Error::NoRight`] without READ.
    pub fn info(&self) -> Result<SystemInfo, Error> {
        let mut info = SystemInfo::default();
        // SAFETY: `info` is valid for the write of one `SystemInfo`.
        unsafe { sys::system_info(self.raw(), &raw mut info as u64)? };
        Ok(info)
    }

    /// Processes with ids from `from` on; with them the id to go on from, 0 at the end.
    ///
    /// # Errors
    /// [`Error::NoRight`] without READ.
    pub fn processes<'a>(
        &self,
        from: u64,
        space: &'a mut [ProcessInfo],
    ) -> Result<(&'a [ProcessInfo], u64), Error> {
        let max = u32::try_from(space.len()).unwrap_or(u32::MAX);
        // SAFETY: `space` is valid for writes of `max` entries.
        let (count, next) =
            unsafe { sys::process_list(self.raw(), from, space.as_mut_ptr() as u64, max)? };
        Ok((space.get(..count as usize).unwrap_or(&[]), next))
    }

    /// The process with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoRight`] without MANAGE.
    pub fn open_process(&self, id: u64) -> Result<Process, Error> {
        sys::process_open(self.raw(), id).map(|(h,)| Process::from_raw(h))
    }
}

/// Writes to the debug port, in pieces of at most 256 bytes.
///
/// # Errors
/// [`Error::NoRight`] without WRITE.
pub fn debug_write(system: Handle, text: &[u8]) -> Result<(), Error> {
    for part in text.chunks(256) {
        // SAFETY: `part` is valid for reads of its length.
        unsafe { sys::debug_write(system, part.as_ptr() as u64, part.len() as u32)? };
    }
    Ok(())
}

/// The handle inside, for calls that take "none" as well.
#[must_use]
pub fn raw_or_none(handle: Option<&OwnedHandle>) -> Handle {
    handle.map_or(Handle::NONE, OwnedHandle::raw)
}
