//! The first process: loaded from the boot archive, with every capability there is.

use viper_abi::{Error, Kind, PAGE_SIZE, Protection, Rights, Slot, StartupWriter};
use viper_elf::Perms;
use viper_vm::{Frame, PageList, PhysAddr};

use crate::arena::NIL;
use crate::kernel::{Kernel, vm_error};
use crate::object::{Backing, Device, Memory, ObjectRef, Quota};
use crate::platform::Platform;
use crate::process::Start;
use crate::thread::Queue;

/// What the boot code found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The first process's executable.
    pub init: &'a [u8],
    /// The kernel command line.
    pub command_line: &'a [u8],
    /// Where the boot archive lies.
    pub archive: (PhysAddr, u64),
    /// Where the device tree lies.
    pub device_tree: (PhysAddr, u64),
    /// Registers of all devices: below the RAM.
    pub devices: (u64, u64),
    /// Interrupt lines that programs may have.
    pub lines: (u32, u32),
    /// RAM that the first quota gets.
    pub quota_bytes: u64,
}

/// Stack of the first process.
const STACK_BYTES: u64 = 256 << 10;
const STACK_TOP: u64 = 0x1_0000_0000;
const STARTUP_AT: u64 = 0x1_0001_0000;

impl<P: Platform> Kernel<P> {
    /// Makes and starts the first process.
    ///
    /// # Errors
    /// [`Error::NotExecutable`] if `init` is no ELF file this system runs, or what is lacking.
    pub fn start_first(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let image = viper_elf::Image::parse(found.init).map_err(|_| Error::NotExecutable)?;
        self.reserve_dead()?;
        let quota = self.quotas.insert(Quota {
            parent: NIL,
            limit: found.quota_bytes,
            used: 0,
            depth: 0,
            refs: 1,
        })?;
        let process = self.new_process(quota, 0, b"init")?;
        self.first_process = self.processes[process].id;
        self.log_level = crate::log::level(found.command_line);
        let (cores, free) = (self.sched.core_count(), self.platform_free_bytes());
        self.log(
            crate::log::INFO,
            format_args!("{cores} cores, {} KiB free", free >> 10),
        );
        for segment in image.headers().segments() {
            let bytes = segment.page_end() - segment.page_start();
            let memory = self.first_memory(quota, bytes)?;
            self.fill(
                memory,
                segment.vaddr - segment.page_start(),
                image.data(segment),
            )?;
            let protection = protection(segment.perms);
            self.map_memory(
                process,
                memory,
                0,
                bytes,
                protection,
                7,
                segment.page_start(),
            )?;
        }
        let stack = self.first_memory(quota, STACK_BYTES)?;
        let rw = Protection::READ | Protection::WRITE | Protection::FIXED;
        self.map_memory(
            process,
            stack,
            0,
            STACK_BYTES,
            rw,
            3,
            STACK_TOP - STACK_BYTES,
        )?;
        let startup = self.startup_block(process, quota, found)?;
        let ro = Protection::READ | Protection::FIXED;
        self.map_memory(process, startup, 0, PAGE_SIZE as u64, ro, 1, STARTUP_AT)?;
        let start = Start {
            entry: image.headers().entry(),
            stack: STACK_TOP,
            argument: STARTUP_AT,
            tls: 0,
            options: 7,
        };
        self.new_thread(process, &start, 7)?;
        Ok(())
    }

    /// A memory object of the first process, kept by its mappings alone.
    fn first_memory(&mut self, quota: u32, bytes: u64) -> Result<u32, Error> {
        let pages = bytes.div_ceil(PAGE_SIZE as u64) as u32;
        let list = PageList::new(pages).map_err(vm_error)?;
        self.add_first_memory(quota, Backing::Paged(list), pages, 0)
    }

    fn add_first_memory(
        &mut self,
        quota: u32,
        backing: Backing,
        len_pages: u32,
        refs: u32,
    ) -> Result<u32, Error> {
        self.reserve_dead()?;
        self.charge(quota, crate::quota::OBJECT_BYTES)?;
        self.quotas[quota].refs += 1;
        self.memories.insert(Memory {
            backing,
            len_pages,
            quota,
            refs,
            maps: 0,
            futexes: Queue::EMPTY,
        })
    }

    fn fill(&mut self, memory: u32, offset: u64, data: &[u8]) -> Result<(), Error> {
        let page = PAGE_SIZE as u64;
        let mut done = 0u64;
        while done < data.len() as u64 {
            let at = offset + done;
            let part = (page - at % page).min(data.len() as u64 - done);
            let frame = self.frame_for(memory, (at / page) as u32, true)?;
            let bytes = &data[done as usize..(done + part) as usize];
            self.platform
                .write_bytes(PhysAddr(frame.addr().0 + at % page), bytes);
            done += part;
        }
        Ok(())
    }

    fn startup_block(&mut self, process: u32, quota: u32, found: &Found<'_>) -> Result<u32, Error> {
        let table = self.processes[process].table;
        let give = |k: &mut Self, object: ObjectRef, rights: Rights| {
            k.add_ref(object);
            k.caps
                .insert_root(table, object, crate::kernel::cap_rights(rights))
                .map(|h| viper_abi::Handle(h.raw()))
                .map_err(crate::kernel::cap_error)
        };
        let fixed = |k: &mut Self, (at, len): (PhysAddr, u64)| {
            let first = Frame((at.0 / PAGE_SIZE as u64) as u32);
            let pages = (at.0 % PAGE_SIZE as u64 + len).div_ceil(PAGE_SIZE as u64) as u32;
            k.add_first_memory(quota, Backing::Fixed(first), pages, 0)
        };
        let read = Rights::READ | Rights::MAP | Rights::DUPLICATE | Rights::TRANSFER;
        let archive = fixed(self, found.archive)?;
        let tree = fixed(self, found.device_tree)?;
        self.charge(quota, crate::quota::OBJECT_BYTES)?;
        self.quotas[quota].refs += 1;
        let device = self.devices.insert(Device {
            base: found.devices.0,
            len: found.devices.1,
            line: found.lines.0,
            lines: found.lines.1,
            dma_bytes: found.quota_bytes,
            refs: 0,
            quota,
        })?;
        let handles = [
            (
                Slot::PROCESS,
                give(
                    self,
                    ObjectRef::new(Kind::PROCESS, process),
                    crate::calls::PROCESS_RIGHTS,
                )?,
            ),
            (
                Slot::QUOTA,
                give(self, ObjectRef::new(Kind::QUOTA, quota), Rights::ALL)?,
            ),
            (
                Slot::SYSTEM,
                give(self, ObjectRef::new(Kind::SYSTEM, 0), Rights::ALL)?,
            ),
            (
                Slot::ROOT_DEVICE,
                give(self, ObjectRef::new(Kind::DEVICE, device), Rights::ALL)?,
            ),
            (
                Slot::BOOT_ARCHIVE,
                give(self, ObjectRef::new(Kind::MEMORY, archive), read)?,
            ),
            (
                Slot::DEVICE_TREE,
                give(self, ObjectRef::new(Kind::MEMORY, tree), read)?,
            ),
        ];
        let mut block = [0u8; 2048];
        let mut writer = StartupWriter::new(&mut block, &handles)?;
        writer.argument(b"vinit")?;
        for word in found
            .command_line
            .split(u8::is_ascii_whitespace)
            .filter(|w| !w.is_empty())
        {
            writer.argument(word)?;
        }
        // Where in their pages the archive and the tree begin, and how long they are.
        for (name, (at, len)) in [("archive", found.archive), ("tree", found.device_tree)] {
            use core::fmt::Write;
            let mut line = crate::line::Line::new();
            let _ = write!(line, "viper.{name}={},{len}", at.0 % PAGE_SIZE as u64);
            writer.environment(line.as_bytes())?;
        }
        let len = writer.finish();
        let memory = self.first_memory(quota, PAGE_SIZE as u64)?;
        self.fill(memory, 0, &block[..len])?;
        Ok(memory)
    }
}

const fn protection(perms: Perms) -> Protection {
    let access = match perms {
        Perms::Read => Protection::NONE,
        Perms::ReadWrite => Protection::WRITE,
        Perms::ReadExecute => Protection::EXECUTE,
    };
    access.union(Protection::READ).union(Protection::FIXED)
}
