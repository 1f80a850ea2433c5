//! The registers and rings of a model device.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use super::memory::FakeMemory;
use super::rings::{Chain, Queue};
use crate::transport::{INTERRUPT_CONFIG, MAGIC, Registers, VERSION_MODERN, feature, reg, status};

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

    /// Carries out a request. False keeps it and those after it for later: they are offered again
    /// at the next [`Fake::process`] or notification.
    fn handle(&mut self, queue: u16, chain: &mut Chain) -> bool;
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
pub(super) struct Device<M> {
    pub(super) model: M,
    pub(super) memory: FakeMemory,
    pub(super) extra_features: u64,
    pub(super) queue_size_max: u32,
    pub(super) is_eager: bool,
    pub(super) counts: Counts,
    pub(super) violations: Vec<&'static str>,
    pub(super) faults: VecDeque<Fault>,
    pub(super) is_stuck: bool,
    pub(super) status: u32,
    pub(super) device_features_sel: u32,
    pub(super) driver_features_sel: u32,
    pub(super) accepted: u64,
    pub(super) queue_sel: u32,
    pub(super) queues: Vec<Queue>,
    pub(super) interrupt: u32,
    pub(super) generation: u32,
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
        if offset == reg::QUEUE_READY && value == 0 {
            self.queues
                .iter_mut()
                .skip(self.queue_sel as usize)
                .take(1)
                .for_each(|queue| *queue = Queue::default());
            return;
        }
        if offset >= reg::CONFIG {
            return;
        }
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

    pub(super) fn raise(&mut self, bit: u32) {
        if self.interrupt == 0 {
            self.counts.interrupts += 1;
        }
        self.interrupt |= bit;
    }

    pub(super) fn check(&mut self, is_right: bool, violation: &'static str) {
        if !is_right {
            self.violations.push(violation);
        }
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
