//! Devices, interrupts and DMA.

use viper_abi::{Error, Handle, Kind, PAGE_SIZE, Rights};
use viper_vm::{MemType, PageRange, Perms, PhysAddr, Target, VirtAddr};

use crate::arena::NIL;
use crate::kernel::{Handled, Kernel, LINES};
use crate::object::{Device, Interrupt, Notifier, Region};
use crate::platform::Platform;

impl<P: Platform> Kernel<P> {
    fn register(&self, thread: u32, device: Handle, offset: u64) -> Result<PhysAddr, Error> {
        let index = self.object(thread, device, Kind::DEVICE, Rights::MAP)?;
        let device = &self.devices[index];
        let inside = offset.checked_add(4).is_some_and(|end| end <= device.len);
        if !inside || !offset.is_multiple_of(4) {
            return Err(Error::InvalidArgument);
        }
        Ok(PhysAddr(device.base + offset))
    }

    pub fn device_narrow(
        &mut self,
        thread: u32,
        device: Handle,
        base: u64,
        len_bytes: u64,
        interrupts: u64,
        dma_bytes: u64,
    ) -> Handled<(Handle,)> {
        let parent = self.object(thread, device, Kind::DEVICE, Rights::MANAGE)?;
        let (line, lines) = (interrupts as u32, (interrupts >> 32) as u32);
        let whole = &self.devices[parent];
        let within = |start: u64, len: u64, of: u64, of_len: u64| {
            let end = start.checked_add(len);
            len == 0 || start >= of && end.is_some_and(|end| end <= of + of_len)
        };
        let fits = within(base, len_bytes, whole.base, whole.len)
            && within(
                u64::from(line),
                u64::from(lines),
                u64::from(whole.line),
                u64::from(whole.lines),
            );
        if !fits || dma_bytes > whole.dma_bytes {
            return Err(Error::InvalidArgument.into());
        }
        let make = |quota| Device {
            base,
            len: len_bytes,
            line,
            lines,
            dma_bytes,
            refs: 1,
            quota,
        };
        let rights = self.rights_of(thread, device)?;
        let (handle, _) = self.create(
            thread,
            Some(device),
            Kind::DEVICE,
            rights,
            |k| &mut k.devices,
            make,
        )?;
        Ok((handle,))
    }

    pub fn device_info(&mut self, thread: u32, device: Handle) -> Handled<(u64, u64, u64, u64)> {
        let index = self.object(thread, device, Kind::DEVICE, Rights::NONE)?;
        let d = &self.devices[index];
        Ok((
            d.base,
            d.len,
            u64::from(d.line) | u64::from(d.lines) << 32,
            d.dma_bytes,
        ))
    }

    pub fn device_map(&mut self, thread: u32, device: Handle) -> Handled<(u64,)> {
        let index = self.object(thread, device, Kind::DEVICE, Rights::MAP)?;
        let (base, len) = (self.devices[index].base, self.devices[index].len);
        let page = PAGE_SIZE as u64;
        if len == 0 || !base.is_multiple_of(page) || !len.is_multiple_of(page) || len > 16 << 20 {
            return Err(Error::NotSupported.into());
        }
        let process = self.threads[thread].process;
        let within = PageRange::between(VirtAddr(1 << 32), VirtAddr(viper_abi::IPC_BUFFERS))?;
        let request = viper_vm::GapRequest {
            len_bytes: len,
            align_bytes: page,
            hint: None,
            within,
            guard_bytes: page,
        };
        let range = self.processes[process]
            .regions
            .find_gap(&request)
            .map_err(|_| Error::OutOfMemory)?;
        let value = Region {
            memory: NIL,
            offset: 0,
            protection: 3,
            protection_max: 0,
        };
        self.processes[process].regions.insert(range, value)?;
        for at in (0..len).step_by(PAGE_SIZE) {
            let target = Target {
                pa: PhysAddr(base + at),
                perms: Perms::ReadWrite,
                mem_type: MemType::DeviceNgnre,
            };
            if let Err(e) = self.map_frame(process, VirtAddr(range.start().0 + at), target) {
                self.unmap(process, range)?;
                return Err(e.into());
            }
        }
        Ok((range.start().0,))
    }

    pub fn device_read(&mut self, thread: u32, device: Handle, offset: u64) -> Handled<(u32,)> {
        let at = self.register(thread, device, offset)?;
        Ok((self.platform.device_read(at),))
    }

    pub fn device_write(
        &mut self,
        thread: u32,
        device: Handle,
        offset: u64,
        value: u32,
    ) -> Handled<()> {
        let at = self.register(thread, device, offset)?;
        self.platform.device_write(at, value);
        Ok(())
    }

    pub fn interrupt_create(&mut self, thread: u32, by: Handle, index: u32) -> Handled<(Handle,)> {
        let device = self.object(thread, by, Kind::DEVICE, Rights::IRQ)?;
        let (first, lines) = (self.devices[device].line, self.devices[device].lines);
        if index >= lines || (first + index) as usize >= LINES {
            return Err(Error::InvalidArgument.into());
        }
        let line = first + index;
        if self.line_owner[line as usize] != NIL {
            return Err(Error::Busy.into());
        }
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::WAIT;
        let make = |quota| Interrupt {
            notifier: Notifier::NEW,
            line,
            refs: 1,
            quota,
        };
        let (handle, made) = self.create(
            thread,
            Some(by),
            Kind::INTERRUPT,
            rights,
            |k| &mut k.interrupts,
            make,
        )?;
        self.line_owner[line as usize] = made;
        self.platform.set_interrupt(line, true);
        Ok((handle,))
    }

    pub fn interrupt_ack(&mut self, thread: u32, interrupt: Handle) -> Handled<()> {
        let index = self.object(thread, interrupt, Kind::INTERRUPT, Rights::WAIT)?;
        let line = self.interrupts[index].line;
        self.platform.set_interrupt(line, true);
        Ok(())
    }

    pub fn dma_create(&mut self, thread: u32, device: Handle, size: u64) -> Handled<(Handle, u64)> {
        let index = self.object(thread, device, Kind::DEVICE, Rights::DMA)?;
        let bytes = size
            .checked_next_multiple_of(PAGE_SIZE as u64)
            .ok_or(Error::InvalidArgument)?;
        if bytes > self.devices[index].dma_bytes {
            return Err(if bytes > 16 << 20 {
                Error::InvalidArgument
            } else {
                Error::LimitReached
            }
            .into());
        }
        let (handle, memory) = self.new_memory(thread, size, true)?;
        self.devices[index].dma_bytes -= bytes;
        let crate::object::Backing::Contiguous(first) = self.memories[memory].backing else {
            return Err(Error::Internal.into());
        };
        Ok((handle, first.addr().0))
    }

    pub fn dma_address(
        &mut self,
        thread: u32,
        device: Handle,
        memory: Handle,
    ) -> Handled<(u64, u64)> {
        self.object(thread, device, Kind::DEVICE, Rights::DMA)?;
        let index = self.object(thread, memory, Kind::MEMORY, Rights::MAP)?;
        let memory = &self.memories[index];
        match memory.backing {
            crate::object::Backing::Contiguous(first) => Ok((
                first.addr().0,
                u64::from(memory.len_pages) * PAGE_SIZE as u64,
            )),
            _ => Err(Error::NotSupported.into()),
        }
    }
}
