//! The end of objects, processes and derived capabilities, in slices.
//!
//! What can be long is done in slices of about [`WORK_MAX`] pages or capabilities. Between two of
//! them the core leaves the kernel: its lock is free, interrupts come in. For the end of objects
//! and processes the core's timer, set to go off at once, leads back here; a call that revokes or
//! unmaps is made again by its thread (`Stop::Again`) until all is done.

use viper_abi::{EndReason, Kind, Signals};
use viper_cap::Handle;

use crate::arena::NIL;
use crate::kernel::{Handled, Kernel, Stop, cap_error};
use crate::log::INFO;
use crate::object::{Interrupt, ObjectRef, Process};
use crate::platform::Platform;
use crate::quota::OBJECT_BYTES;

/// Pages and capabilities that are torn down in one go.
pub const WORK_MAX: u32 = 1024;
/// Capabilities that are ended at a time.
const BATCH: usize = 32;
/// Descriptors of translation tables looked at for the price of a page.
const DESCRIPTORS: usize = 64;
/// Regions that are unmapped at a time.
const REGIONS: usize = 64;

impl<P: Platform> Kernel<P> {
    /// Ends objects that nothing names any more, and processes without threads: one slice.
    #[inline(never)]
    pub fn bury(&mut self) {
        let mut left = self.work_max;
        while let Some(object) = self.dead.pop() {
            let at = self.dead.len();
            if !self.bury_part(object, &mut left) {
                // What it has brought here goes first.
                self.dead.insert(at, object);
            }
            if left == 0 {
                break;
            }
        }
        self.is_timer_stale |= !self.dead.is_empty();
    }

    /// Ends an object, or part of one; says whether it is gone.
    fn bury_part(&mut self, object: ObjectRef, left: &mut u32) -> bool {
        let is_done = match object.kind {
            Kind::PROCESS if object.extra == ObjectRef::ENDING => {
                self.end_part(object.index, self.dead.len(), left)
            }
            Kind::MEMORY => self.shrink_memory(object.index, left),
            _ => true,
        };
        if is_done && object.extra != ObjectRef::ENDING {
            *left = left.saturating_sub(1);
            self.bury_whole(object);
        }
        is_done
    }

    fn bury_whole(&mut self, object: ObjectRef) {
        let i = object.index;
        let quota = match object.kind {
            Kind::CHANNEL => return self.close_end(i),
            Kind::POLL_SET => return self.end_set(i),
            Kind::MEMORY => return self.end_memory(i),
            Kind::PROCESS => return self.forget_process(i),
            Kind::EVENT => {
                self.forget_notifier(object);
                self.events.remove(i).map(|event| event.quota)
            }
            Kind::TIMER => {
                self.forget_notifier(object);
                self.stop_timer(i);
                self.deadlines.remove_owner();
                self.timers.remove(i).map(|timer| timer.quota)
            }
            Kind::INTERRUPT => {
                self.forget_notifier(object);
                let Interrupt { line, quota, .. } = self.interrupts[i];
                self.platform.set_interrupt(line, false);
                self.line_owner[line as usize] = NIL;
                self.interrupts.remove(i);
                Some(quota)
            }
            Kind::DEVICE => self.devices.remove(i).map(|device| device.quota),
            Kind::QUOTA => {
                let parent = self.quotas.remove(i).map(|quota| quota.parent);
                parent.filter(|&parent| parent != NIL)
            }
            Kind::THREAD => {
                self.forget_notifier(object);
                let process = self.threads[i].process;
                self.threads.remove(i);
                self.drop_ref(ObjectRef::new(Kind::PROCESS, process));
                None
            }
            _ => None,
        };
        if let Some(quota) = quota {
            self.refund_object(quota, OBJECT_BYTES);
        }
    }

    /// Nothing names a process any more.
    fn forget_process(&mut self, process: u32) {
        if self.processes[process].end.reason == EndReason::RUNNING {
            // It has no thread that could reach it. It comes by here again when it has ended.
            self.end_process(process, EndReason::KILLED, 0);
            return;
        }
        self.forget_notifier(ObjectRef::new(Kind::PROCESS, process));
        let Process { quota, ipcs, .. } = self.processes[process];
        self.counters.ended_ipcs += ipcs;
        self.processes.remove(process);
        self.drop_ref(ObjectRef::new(Kind::QUOTA, quota));
    }

    // ----- Processes -------------------------------------------------------------------------

    /// The last thread of a process is gone: everything it had goes back from now on.
    pub fn finish_process(&mut self, process: u32) {
        self.processes[process].refs += 1;
        // Room was reserved when the process was made.
        self.dead.push(ObjectRef {
            extra: ObjectRef::ENDING,
            ..ObjectRef::new(Kind::PROCESS, process)
        });
        self.has_news = true;
    }

    /// Gives back part of what a process had; says whether nothing is left.
    ///
    /// Translations go first, so that no frame is given away while it can still be reached, and
    /// those who wait for the process's end are told last: when of the dead there are no more than
    /// `others` left, which came before it.
    fn end_part(&mut self, process: u32, others: usize, left: &mut u32) -> bool {
        if let Some(pages) = self.processes[process].pages.take() {
            let owner = &mut self.processes[process];
            self.platform.invalidate_asid(owner.asid);
            owner.ruin = Some(pages.destroy());
        }
        if !self.end_tables(process, left) || !self.end_regions(process, left) {
            return false;
        }
        let table = self.processes[process].table;
        loop {
            if *left == 0 || self.dead.len() > others {
                return false;
            }
            *left = left.saturating_sub(BATCH as u32);
            let mut batch = Batch::EMPTY;
            let step = self
                .caps
                .destroy_table_step(table, BATCH, |object| batch.add(object));
            self.drop_batch(&batch);
            match step {
                Ok(step) if !step.is_done => {}
                Ok(_) => self.collect_cycles(),
                // It was done before: what it brought here is gone by now.
                Err(_) => break,
            }
        }
        let owner = &mut self.processes[process];
        let (quota, overhead) = (owner.quota, core::mem::take(&mut owner.overhead_bytes));
        self.refund(quota, overhead);
        self.tell_end(process);
        true
    }

    fn end_tables(&mut self, process: u32, left: &mut u32) -> bool {
        let owner = &mut self.processes[process];
        let Some(ruin) = &mut owner.ruin else {
            return true;
        };
        while *left > 0 {
            *left -= 1;
            if ruin.step(&self.platform, &mut self.frames, DESCRIPTORS) {
                owner.ruin = None;
                let asid = owner.asid;
                self.give_asid(asid);
                return true;
            }
        }
        false
    }

    fn end_regions(&mut self, process: u32, left: &mut u32) -> bool {
        loop {
            let regions = &self.processes[process].regions;
            let mut first = regions.iter().take(REGIONS);
            let Some(start) = first.next().map(|region| region.range) else {
                return true;
            };
            let end = first.last().map_or(start, |region| region.range).end();
            if *left == 0 {
                return false;
            }
            *left = left.saturating_sub(REGIONS as u32);
            // Whole regions go: nothing is split, so nothing is needed.
            let part = viper_vm::PageRange::between(start.start(), end).unwrap_or(start);
            let _ = self.unmap(process, part);
        }
    }

    fn tell_end(&mut self, process: u32) {
        let Process {
            id,
            end,
            name,
            name_len,
            ..
        } = self.processes[process];
        let name = core::str::from_utf8(&name[..usize::from(name_len)]).unwrap_or("?");
        self.log(
            INFO,
            format_args!("{name} ({id}) {}, code {}", end.reason.name(), end.code),
        );
        self.notify(ObjectRef::new(Kind::PROCESS, process), Signals::ENDED);
        if self.processes[process].id == self.first_process {
            self.platform
                .debug_write(b"the first process has ended; the machine stops\r\n");
            self.platform.power(viper_abi::PowerAction::OFF);
        }
        self.drop_ref(ObjectRef::new(Kind::PROCESS, process));
    }

    // ----- Capabilities ----------------------------------------------------------------------

    /// Revokes what was derived from a handle of a thread's process, and tells how many there
    /// were: one slice, or the last one.
    ///
    /// # Errors
    /// [`Error::BadHandle`](viper_abi::Error::BadHandle), [`Stop::Again`].
    pub fn revoke(&mut self, thread: u32, handle: Handle) -> Handled<u64> {
        let table = self.table_of(thread);
        let mut left = self.work_max;
        loop {
            let mut batch = Batch::EMPTY;
            let step = self
                .caps
                .revoke_step(table, handle, BATCH, |object| batch.add(object));
            self.cut_off_batch(&batch);
            self.drop_batch(&batch);
            let step = step.map_err(cap_error)?;
            self.threads[thread].progress += step.count as u64;
            left = left.saturating_sub(BATCH as u32);
            if step.is_done {
                self.cut_off_callers();
                return Ok(core::mem::take(&mut self.threads[thread].progress));
            }
            if left == 0 {
                return Err(Stop::Again);
            }
        }
    }

    /// Who waited through one of these capabilities learns that it is gone.
    fn cut_off_batch(&mut self, batch: &Batch) {
        let mut before = None;
        for &object in batch.objects() {
            // Copies of one handle stand next to each other.
            if before.replace(object) != Some(object) {
                self.cut_off(object);
            }
        }
    }

    fn drop_batch(&mut self, batch: &Batch) {
        for &object in batch.objects() {
            self.drop_ref(object);
        }
    }
}

/// What capabilities that were ended named.
struct Batch {
    objects: [ObjectRef; BATCH],
    len: usize,
}

impl Batch {
    const EMPTY: Batch = Batch {
        objects: [ObjectRef::new(Kind(0), NIL); BATCH],
        len: 0,
    };

    #[inline]
    fn add(&mut self, object: ObjectRef) {
        if let Some(place) = self.objects.get_mut(self.len) {
            *place = object;
            self.len += 1;
        }
    }

    fn objects(&self) -> &[ObjectRef] {
        self.objects.get(..self.len).unwrap_or_default()
    }
}
