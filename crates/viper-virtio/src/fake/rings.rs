//! The rings of a model device, walked by device address as hardware does.

use alloc::vec::Vec;

use super::device::{Device, Fault, Model};
use super::memory::FakeMemory;
use crate::transport::{INTERRUPT_CONFIG, INTERRUPT_USED, feature, status};

/// One request, as the device sees it.
#[derive(Debug)]
pub struct Chain {
    head: u16,
    /// The bytes the device may read, gathered.
    pub input: Vec<u8>,
    output: Vec<(u64, u32)>,
    /// Bytes written so far.
    pub written: u32,
    memory: FakeMemory,
    faults: u32,
}

impl Chain {
    /// How many bytes the device may still write.
    #[must_use]
    pub fn room(&self) -> usize {
        self.output.iter().map(|(_, len)| *len as usize).sum()
    }

    /// Leaves the next `len` bytes as they are.
    pub fn skip(&mut self, len: usize) {
        let mut left = len;
        while let Some((address, room)) = self.output.first_mut() {
            let now = left.min(*room as usize);
            *address = address.wrapping_add(now as u64);
            *room -= now as u32;
            left -= now;
            if *room != 0 {
                return;
            }
            self.output.remove(0);
        }
    }

    /// Writes the next bytes, over segment borders, as far as there is room.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while let Some((address, len)) = self.output.first_mut() {
            let (now, later) = bytes.split_at(bytes.len().min(*len as usize));
            if !self.memory.write(*address, now) {
                self.faults += 1;
            }
            *address = address.wrapping_add(now.len() as u64);
            *len -= now.len() as u32;
            self.written += now.len() as u32;
            bytes = later;
            if *len != 0 {
                return;
            }
            self.output.remove(0);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) size: u16,
    pub(super) is_ready: bool,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    pub(super) last_available: u16,
    pub(super) used_index: u16,
    pub(super) waiting: Vec<u16>,
}

impl<M: Model> Device<M> {
    pub(super) fn process(
        &mut self,
        index: u16,
        count: usize,
        mut pick: impl FnMut(usize) -> usize,
    ) -> usize {
        let at = usize::from(index);
        self.fetch(at);
        let old_used = self.queues.get(at).map_or(0, |queue| queue.used_index);
        let mut done = 0;
        while done < count && self.status & status::DEVICE_NEEDS_RESET == 0 {
            let Some(queue) = self.queues.get_mut(at) else {
                break;
            };
            let choices = queue.waiting.len();
            if choices == 0 {
                break;
            }
            let place = pick(choices) % choices;
            let head = queue.waiting.remove(place);
            if !self.serve(index, head) {
                if let Some(queue) = self.queues.get_mut(at) {
                    queue.waiting.insert(place, head);
                }
                break;
            }
            done += 1;
        }
        self.interrupt_after(at, old_used);
        done
    }

    /// Carries out one request, with the next fault if there is one. False if it has to wait.
    fn serve(&mut self, index: u16, head: u16) -> bool {
        let Some(mut chain) = self.chain(usize::from(index), head) else {
            return true;
        };
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Silence) => return true,
            Some(Fault::NeedsReset) => {
                self.status |= status::DEVICE_NEEDS_RESET;
                self.raise(INTERRUPT_CONFIG);
                return true;
            }
            Some(Fault::Scribble(byte)) => self.scribble(usize::from(index), byte),
            Some(Fault::Untouched) => {}
            _ if !self.model.handle(index, &mut chain) => {
                fault
                    .into_iter()
                    .for_each(|fault| self.faults.push_front(fault));
                return false;
            }
            _ => {}
        }
        self.check(chain.faults == 0, "buffer outside of memory");
        let id = if let Some(Fault::Id(id)) = fault {
            id
        } else {
            head.into()
        };
        let len = if let Some(Fault::Length(len)) = fault {
            len
        } else {
            chain.written
        };
        let Some(queue) = self.queues.get_mut(usize::from(index)) else {
            return true;
        };
        queue.give_back(&self.memory, id, len);
        match fault {
            Some(Fault::Twice) => queue.give_back(&self.memory, id, len),
            Some(Fault::IndexJump(by)) => {
                queue.used_index = queue.used_index.wrapping_add(by);
                self.memory
                    .write(queue.used + 2, &queue.used_index.to_le_bytes());
            }
            _ => {}
        }
        true
    }

    /// Learns which requests are new.
    pub(super) fn fetch(&mut self, at: usize) {
        let event_index = self.accepted & feature::EVENT_INDEX != 0;
        let running = self.status & status::DRIVER_OK != 0;
        let Some(queue) = self
            .queues
            .get_mut(at)
            .filter(|queue| queue.is_ready && running)
        else {
            return;
        };
        let index = self.memory.read_u16(queue.available + 2);
        let is_sane = index.wrapping_sub(queue.last_available) <= queue.size;
        while is_sane && queue.last_available != index {
            let entry = u64::from(queue.last_available % queue.size);
            queue
                .waiting
                .push(self.memory.read_u16(queue.available + 4 + 2 * entry));
            queue.last_available = queue.last_available.wrapping_add(1);
        }
        if event_index {
            let place = queue.used + 4 + 8 * u64::from(queue.size);
            self.memory
                .write(place, &queue.last_available.to_le_bytes());
        }
        self.check(is_sane, "available index ran ahead of the ring");
    }

    /// Reads the chain at `head`, as the standard wants it.
    fn chain(&mut self, at: usize, head: u16) -> Option<Chain> {
        let queue = self.queues.get(at)?;
        let (mut table, mut table_len) = (queue.descriptors, u32::from(queue.size));
        let memory = self.memory.clone();
        let mut chain = Chain {
            head,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            memory: memory.clone(),
            faults: 0,
        };
        let mut next = u32::from(head);
        let mut is_indirect = false;
        let mut left = u32::from(queue.size).max(256);
        loop {
            let mut raw = [0; 16];
            let is_inside = next < table_len && left > 0;
            if !is_inside || !memory.read(table + u64::from(next) * 16, &mut raw) {
                self.violations.push("descriptor outside of its table");
                return None;
            }
            left -= 1;
            let word = u128::from_le_bytes(raw);
            let (address, len) = (word as u64, (word >> 64) as u32);
            let flags = (word >> 96) as u16;
            if flags & 4 != 0 {
                let offered = self.accepted & feature::INDIRECT != 0;
                let is_legal =
                    offered && !is_indirect && flags == 4 && len.is_multiple_of(16) && len > 0;
                self.check(is_legal && chain.head == head, "bad indirect descriptor");
                (table, table_len, next, is_indirect) = (address, len / 16, 0, true);
                if !is_legal {
                    return None;
                }
                continue;
            }
            self.add_buffer(&mut chain, address, len, flags & 2 != 0);
            if flags & 1 == 0 {
                return Some(chain);
            }
            next = (word >> 112) as u32;
        }
    }

    fn add_buffer(&mut self, chain: &mut Chain, address: u64, len: u32, is_output: bool) {
        self.check(len > 0, "empty buffer");
        if is_output {
            chain.output.push((address, len));
            return;
        }
        self.check(
            chain.output.is_empty(),
            "readable buffer after a writable one",
        );
        if !self.memory.contains(address, len as usize) {
            self.violations.push("buffer outside of memory");
            return;
        }
        let mut bytes = alloc::vec![0; len as usize];
        self.memory.read(address, &mut bytes);
        chain.input.append(&mut bytes);
    }

    fn scribble(&mut self, at: usize, byte: u8) {
        let Some(queue) = self.queues.get(at) else {
            return;
        };
        let size = usize::from(queue.size);
        self.memory
            .write(queue.descriptors, &alloc::vec![byte; size * 16]);
        self.memory
            .write(queue.available, &alloc::vec![byte; size * 2 + 6]);
        self.memory
            .write(queue.used + 4, &alloc::vec![byte; size * 8 + 2]);
    }

    fn interrupt_after(&mut self, at: usize, old: u16) {
        let Some(queue) = self.queues.get(at).filter(|queue| queue.used_index != old) else {
            return;
        };
        let wanted = if self.accepted & feature::EVENT_INDEX != 0 {
            let event = self
                .memory
                .read_u16(queue.available + 4 + 2 * u64::from(queue.size));
            let new = queue.used_index;
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.memory.read_u16(queue.available) & 1 == 0
        };
        if wanted {
            self.raise(INTERRUPT_USED);
        }
    }
}

impl Queue {
    pub(super) fn give_back(&mut self, memory: &FakeMemory, id: u32, len: u32) {
        let entry = self.used + 4 + 8 * u64::from(self.used_index % self.size);
        memory.write(entry, &id.to_le_bytes());
        memory.write(entry + 4, &len.to_le_bytes());
        self.used_index = self.used_index.wrapping_add(1);
        memory.write(self.used + 2, &self.used_index.to_le_bytes());
    }
}
