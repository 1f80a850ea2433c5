//! The registers and rings of a model device.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use super::memory::FakeMemory;
use crate::transport::{
    INTERRUPT_CONFIG, INTERRUPT_USED, MAGIC, Registers, VERSION_MODERN, feature, reg, status,
};

/// What a device does with the requests it gets.
pub trait Model {
    /// Its device id.
    const ID: u32;
    /// How many queues it has.
    const QUEUES: u16;

    /// The features of its kind that it offers.
    fn features(&self) -> u64;

    /// Its configuration space.
    fn config(&self) -> Vec<u8>;

    /// Carries out a request. False keeps it for later: it is offered again at the next
    /// [`Fake::process`].
    fn handle(&mut self, queue: u16, chain: &mut Chain) -> bool;
}

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

    /// Writes the next bytes, over segment borders, as far as there is room.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while let Some((address, len)) = self.output.first_mut() {
            let (now, later) = bytes.split_at(bytes.len().min(*len as usize));
            if !self.memory.write(*address, now) {
                self.faults += 1;
            }
            *address += now.len() as u64;
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

/// A way to misbehave, at the next completion if not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Give back this id instead of the request's.
    Id(u32),
    /// Give the request back twice.
    Twice,
    /// Say that this many bytes were written.
    Length(u32),
    /// Advance the used index by this much more.
    IndexJump(u16),
    /// Never give the request back.
    Silence,
    /// Give the request back without touching it: data and status stay as they were.
    Untouched,
    /// Overwrite the driver's rings and tables with this byte, then give the request back.
    Scribble(u8),
    /// Stop working and ask for a reset.
    NeedsReset,
    /// At once and from now on: ignore resets.
    StuckReset,
}

/// How often the driver touched the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Register reads.
    pub reads: u32,
    /// Register writes, notifications among them.
    pub writes: u32,
    /// Notifications.
    pub notifications: u32,
    /// Interrupts that the device raised.
    pub interrupts: u32,
    /// Resets that the driver made.
    pub resets: u32,
}

/// A device and the handle by which a test controls it.
#[derive(Debug)]
pub struct Fake<M>(Rc<RefCell<Device<M>>>);

/// The driver's side of a [`Fake`].
#[derive(Debug)]
pub struct FakeRegisters<M>(Rc<RefCell<Device<M>>>);

#[derive(Debug)]
struct Device<M> {
    model: M,
    memory: FakeMemory,
    extra_features: u64,
    queue_size_max: u32,
    is_eager: bool,
    counts: Counts,
    violations: Vec<&'static str>,
    faults: VecDeque<Fault>,
    is_stuck: bool,
    status: u32,
    device_features_sel: u32,
    driver_features_sel: u32,
    accepted: u64,
    queue_sel: u32,
    queues: Vec<Queue>,
    interrupt: u32,
    generation: u32,
}

#[derive(Debug, Default)]
struct Queue {
    size: u16,
    is_ready: bool,
    descriptors: u64,
    available: u64,
    used: u64,
    last_available: u16,
    used_index: u16,
    waiting: Vec<u16>,
}

impl<M: Model> Fake<M> {
    /// A device that carries out requests as soon as it is notified. It offers indirect
    /// descriptors and the event index, and takes rings of up to 1024 entries.
    pub fn new(model: M, memory: &FakeMemory) -> Self {
        Self(Rc::new(RefCell::new(Device {
            model,
            memory: memory.clone(),
            extra_features: feature::VERSION_1 | feature::INDIRECT | feature::EVENT_INDEX,
            queue_size_max: 1024,
            is_eager: true,
            counts: Counts::default(),
            violations: Vec::new(),
            faults: VecDeque::new(),
            is_stuck: false,
            status: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            accepted: 0,
            queue_sel: 0,
            queues: (0..M::QUEUES).map(|_| Queue::default()).collect(),
            interrupt: 0,
            generation: 0,
        })))
    }

    /// The registers, for a driver. Several may exist: a restarted driver gets new ones.
    #[must_use]
    pub fn registers(&self) -> FakeRegisters<M> {
        FakeRegisters(Rc::clone(&self.0))
    }

    /// Whether to offer indirect descriptors and the event index.
    pub fn offer(&self, indirect: bool, event_index: bool) {
        let mut device = self.0.borrow_mut();
        device.extra_features = feature::VERSION_1;
        device.extra_features |= if indirect { feature::INDIRECT } else { 0 };
        device.extra_features |= if event_index { feature::EVENT_INDEX } else { 0 };
    }

    /// The largest ring the device takes.
    pub fn limit_queue_size(&self, size_max: u32) {
        self.0.borrow_mut().queue_size_max = size_max;
    }

    /// Whether to work when notified (as at first) or only in [`Self::process`].
    pub fn set_eager(&self, is_eager: bool) {
        self.0.borrow_mut().is_eager = is_eager;
    }

    /// Misbehaves once in this way. Faults are used up in order, one per request.
    pub fn inject(&self, fault: Fault) {
        let mut device = self.0.borrow_mut();
        match fault {
            Fault::StuckReset => device.is_stuck = true,
            fault => device.faults.push_back(fault),
        }
    }

    /// Behaves again: forgets faults not used yet.
    pub fn behave(&self) {
        let mut device = self.0.borrow_mut();
        device.is_stuck = false;
        device.faults.clear();
    }

    /// Carries out up to `count` waiting requests of `queue`. `pick` chooses the next among the
    /// waiting ones, given how many there are: `|_| 0` keeps the order. Returns how many were
    /// given back or dropped.
    pub fn process(&self, queue: u16, count: usize, pick: impl FnMut(usize) -> usize) -> usize {
        self.0.borrow_mut().process(queue, count, pick)
    }

    /// Requests of `queue` that the device has been shown and has not given back.
    #[must_use]
    pub fn waiting(&self, queue: u16) -> usize {
        let mut device = self.0.borrow_mut();
        device.fetch(usize::from(queue));
        device
            .queues
            .get(usize::from(queue))
            .map_or(0, |queue| queue.waiting.len())
    }

    /// Whether the interrupt line is up.
    #[must_use]
    pub fn is_interrupting(&self) -> bool {
        self.0.borrow().interrupt != 0
    }

    /// Raises a configuration change interrupt, after a change through [`Self::model`].
    pub fn config_changed(&self) {
        let mut device = self.0.borrow_mut();
        device.generation = device.generation.wrapping_add(1);
        device.raise(INTERRUPT_CONFIG);
    }

    /// What the driver did against the standard.
    #[must_use]
    pub fn violations(&self) -> Vec<&'static str> {
        self.0.borrow().violations.clone()
    }

    /// How often the driver touched the device so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.borrow().counts
    }

    /// Features that the driver accepted.
    #[must_use]
    pub fn accepted_features(&self) -> u64 {
        self.0.borrow().accepted
    }

    /// Access to the model.
    pub fn model<T>(&self, access: impl FnOnce(&mut M) -> T) -> T {
        access(&mut self.0.borrow_mut().model)
    }
}

impl<M: Model> Registers for FakeRegisters<M> {
    fn read(&self, offset: usize) -> u32 {
        self.0.borrow_mut().read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.0.borrow_mut().write(offset, value);
    }
}

impl<M: Model> Device<M> {
    fn read(&mut self, offset: usize) -> u32 {
        self.counts.reads += 1;
        let queue = self.queues.get(self.queue_sel as usize);
        match offset {
            reg::MAGIC => MAGIC,
            reg::VERSION => VERSION_MODERN,
            reg::DEVICE_ID => M::ID,
            reg::DEVICE_FEATURES => half(self.offered(), self.device_features_sel),
            reg::QUEUE_NUM_MAX => queue.map_or(0, |_| self.queue_size_max),
            reg::QUEUE_READY => queue.map_or(0, |queue| queue.is_ready.into()),
            reg::INTERRUPT_STATUS => self.interrupt,
            reg::STATUS => self.status,
            reg::CONFIG_GENERATION => self.generation,
            reg::CONFIG..0x200 if offset.is_multiple_of(4) => {
                let config = self.model.config();
                let byte = |i: usize| config.get(offset - reg::CONFIG + i).copied().unwrap_or(0);
                u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
            }
            _ => {
                self.violations.push("read of no register");
                0
            }
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.counts.writes += 1;
        match offset {
            reg::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            reg::DRIVER_FEATURES => self.accept(value),
            reg::QUEUE_SEL => self.queue_sel = value,
            reg::QUEUE_NOTIFY => self.notify(value),
            reg::INTERRUPT_ACK => self.interrupt &= !value,
            reg::STATUS => self.set_status(value),
            _ => self.write_queue(offset, value),
        }
    }

    fn write_queue(&mut self, offset: usize, value: u32) {
        let expected = status::FEATURES_OK_SET;
        self.check(
            self.status == expected,
            "queue set up outside of FEATURES_OK..DRIVER_OK",
        );
        let size_max = self.queue_size_max;
        let Some(queue) = self.queues.get_mut(self.queue_sel as usize) else {
            self.violations.push("no such queue");
            return;
        };
        let mut is_legal = !queue.is_ready;
        match offset {
            reg::QUEUE_NUM => {
                is_legal &= value.is_power_of_two() && value <= size_max;
                queue.size = value as u16;
            }
            reg::QUEUE_DESC => set_half(&mut queue.descriptors, 0, value),
            0x084 => set_half(&mut queue.descriptors, 1, value),
            reg::QUEUE_DRIVER => set_half(&mut queue.available, 0, value),
            0x094 => set_half(&mut queue.available, 1, value),
            reg::QUEUE_DEVICE => set_half(&mut queue.used, 0, value),
            0x0a4 => set_half(&mut queue.used, 1, value),
            reg::QUEUE_READY => {
                is_legal &= value == 1 && queue.size != 0;
                is_legal &= queue.descriptors.is_multiple_of(16);
                is_legal &= queue.available.is_multiple_of(2) && queue.used.is_multiple_of(4);
                queue.is_ready = true;
            }
            _ => is_legal = false,
        }
        self.check(is_legal, "bad queue register write");
    }

    fn offered(&self) -> u64 {
        self.model.features() | self.extra_features
    }

    fn accept(&mut self, value: u32) {
        let expected = status::ACKNOWLEDGE | status::DRIVER;
        self.check(
            self.status == expected,
            "features accepted at the wrong time",
        );
        set_half(&mut self.accepted, self.driver_features_sel, value);
        self.check(
            self.accepted & !self.offered() == 0,
            "feature accepted but not offered",
        );
    }

    fn set_status(&mut self, value: u32) {
        if value != 0 {
            self.check(
                value & self.status & 0x3f == self.status & 0x3f,
                "status bit cleared",
            );
            let order = [status::DRIVER, status::FEATURES_OK, status::DRIVER_OK];
            let before = [status::ACKNOWLEDGE, status::DRIVER, status::FEATURES_OK];
            for (bit, before) in order.into_iter().zip(before) {
                self.check(
                    value & bit == 0 || value & before != 0,
                    "status bits out of order",
                );
            }
            self.status = value;
            return;
        }
        self.counts.resets += 1;
        if self.is_stuck {
            return;
        }
        self.status = 0;
        self.accepted = 0;
        self.interrupt = 0;
        self.queues
            .iter_mut()
            .for_each(|queue| *queue = Queue::default());
    }

    fn notify(&mut self, queue: u32) {
        self.counts.notifications += 1;
        self.check(
            self.status & status::DRIVER_OK != 0,
            "notified before DRIVER_OK",
        );
        self.check(queue < self.queues.len() as u32, "notified for no queue");
        if self.is_eager {
            self.process(queue as u16, usize::MAX, |_| 0);
        }
    }

    fn process(&mut self, index: u16, count: usize, mut pick: impl FnMut(usize) -> usize) -> usize {
        let at = usize::from(index);
        self.fetch(at);
        let old_used = self.queues.get(at).map_or(0, |queue| queue.used_index);
        let mut done = 0;
        let mut skip = 0;
        while done < count && self.status & status::DEVICE_NEEDS_RESET == 0 {
            let Some(queue) = self.queues.get_mut(at) else {
                break;
            };
            let choices = queue.waiting.len().saturating_sub(skip);
            if choices == 0 {
                break;
            }
            let place = skip + pick(choices) % choices;
            let head = queue.waiting.remove(place);
            if self.serve(index, head) {
                done += 1;
            } else if let Some(queue) = self.queues.get_mut(at) {
                queue.waiting.insert(0, head);
                skip += 1;
            }
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
    fn fetch(&mut self, at: usize) {
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
        let mut bytes = alloc::vec![0; len as usize];
        let is_inside = self.memory.read(address, &mut bytes);
        self.check(is_inside, "buffer outside of memory");
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

    fn raise(&mut self, bit: u32) {
        if self.interrupt == 0 {
            self.counts.interrupts += 1;
        }
        self.interrupt |= bit;
    }

    fn check(&mut self, is_right: bool, violation: &'static str) {
        if !is_right {
            self.violations.push(violation);
        }
    }
}

impl Queue {
    fn give_back(&mut self, memory: &FakeMemory, id: u32, len: u32) {
        let entry = self.used + 4 + 8 * u64::from(self.used_index % self.size);
        memory.write(entry, &id.to_le_bytes());
        memory.write(entry + 4, &len.to_le_bytes());
        self.used_index = self.used_index.wrapping_add(1);
        memory.write(self.used + 2, &self.used_index.to_le_bytes());
    }
}

fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

fn set_half(value: &mut u64, select: u32, half: u32) {
    match select {
        0 => *value = *value & !0xffff_ffff | u64::from(half),
        1 => *value = *value & 0xffff_ffff | u64::from(half) << 32,
        _ => {}
    }
}
