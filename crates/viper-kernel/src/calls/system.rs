//! The debug port and the machine as a whole.

use viper_abi::{Error, Handle, Kind, PowerAction, Rights, SystemInfo};

use super::encode;
use crate::kernel::{Handled, Kernel, Stop};
use crate::mapping::Access;
use crate::platform::Platform;
use crate::thread::{Wait, Waiting};

/// Most bytes in a debug port call.
const DEBUG_MAX: usize = 256;

impl<P: Platform> Kernel<P> {
    pub fn debug_write(&mut self, thread: u32, system: Handle, text: u64, len: u32) -> Handled<()> {
        self.object(thread, system, Kind::SYSTEM, Rights::WRITE)?;
        let mut buffer = [0; DEBUG_MAX];
        let text_bytes = buffer
            .get_mut(..len as usize)
            .ok_or(Error::InvalidArgument)?;
        self.read_user(thread, text, text_bytes)?;
        self.platform.debug_write(text_bytes);
        Ok(())
    }

    pub fn debug_read(
        &mut self,
        thread: u32,
        system: Handle,
        text: u64,
        len: u32,
        deadline: u64,
    ) -> Handled<(u32,)> {
        self.object(thread, system, Kind::SYSTEM, Rights::MANAGE)?;
        let mut buffer = [0; DEBUG_MAX];
        let bytes = buffer
            .get_mut(..len as usize)
            .filter(|bytes| !bytes.is_empty())
            .ok_or(Error::InvalidArgument)?;
        self.prepare_user(thread, text, u64::from(len), Access::Write)?;
        let count = self.platform.debug_read(bytes);
        if count > 0 {
            self.write_user(thread, text, &buffer[..count])?;
            return Ok((count as u32,));
        }
        if deadline <= self.platform.now_ns() {
            return Err(Error::TimedOut.into());
        }
        if let Some(line) = self.platform.debug_interrupt() {
            self.platform.set_interrupt(line, true);
        }
        self.debug_readers
            .push::<Waiting>(&mut self.threads, thread);
        self.block(thread, Wait::DebugRead(text, len), deadline);
        Err(Stop::Written)
    }

    pub fn system_power(
        &mut self,
        thread: u32,
        system: Handle,
        action: PowerAction,
    ) -> Handled<()> {
        self.object(thread, system, Kind::SYSTEM, Rights::MANAGE)?;
        if !matches!(action, PowerAction::OFF | PowerAction::RESET) {
            return Err(Error::InvalidArgument.into());
        }
        self.platform.power(action);
        Ok(())
    }

    pub fn system_info(&mut self, thread: u32, system: Handle, info: u64) -> Handled<()> {
        self.object(thread, system, Kind::SYSTEM, Rights::READ)?;
        let c = self.counters;
        // The short way counts in the threads only: what they have and `c.ipcs` lacks went there.
        let ipcs = c.ended_ipcs
            + self
                .threads
                .indices()
                .map(|t| self.threads[t].ipcs)
                .sum::<u64>()
            + self
                .processes
                .indices()
                .map(|p| self.processes[p].ipcs)
                .sum::<u64>();
        let facts = SystemInfo {
            ram_bytes: c.ram_bytes,
            free_bytes: self.platform_free_bytes(),
            kernel_bytes: c.kernel_bytes,
            uptime_ns: self.platform.now_ns(),
            counter_hz: c.counter_hz,
            cores: self.sched.core_count() as u32,
            processes: self.processes.len(),
            threads: self.threads.len(),
            handles: self.caps.len() as u32,
            channels: self.channels.len(),
            memories: self.memories.len(),
            idle_ns: c.idle_ns,
            ipcs,
            ipcs_direct: c.ipcs_direct + (ipcs - c.ipcs),
            switches: c.switches,
            page_faults: c.page_faults,
            first_ns: c.first_ns,
        };
        self.write_user(thread, info, &encode::system(&facts))?;
        Ok(())
    }

    pub fn null(&mut self, _: u32) -> Handled<()> {
        Ok(())
    }
}
