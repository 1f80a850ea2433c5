//! Wire forms of the records that calls write: little endian, in the order of declaration.

use viper_abi::{HandleInfo, ProcessInfo, SystemInfo};

struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    const fn new() -> Self {
        Writer {
            bytes: [0; N],
            at: 0,
        }
    }
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
    fn words(&mut self, words: &[u64]) {
        for word in words {
            self.put(&word.to_le_bytes());
        }
    }
    fn halves(&mut self, halves: &[u32]) {
        for half in halves {
            self.put(&half.to_le_bytes());
        }
    }
}

pub fn process(info: &ProcessInfo) -> [u8; size_of::<ProcessInfo>()] {
    let mut w = Writer::new();
    w.words(&[
        info.id,
        info.parent,
        info.used_bytes,
        info.limit_bytes,
        info.cpu_ns,
        info.ipcs,
        info.fault_address,
        info.fault_pc,
        info.exit_code as u64,
    ]);
    w.halves(&[
        info.end_reason.0,
        info.fault_kind.0,
        info.threads,
        info.handles,
        info.priority,
        info.name_len,
    ]);
    w.put(&info.name);
    w.bytes
}

pub fn handle(info: &HandleInfo) -> [u8; size_of::<HandleInfo>()] {
    let mut w = Writer::new();
    w.halves(&[info.handle.0, info.kind.0, info.rights.0, 0]);
    w.words(&[info.object]);
    w.bytes
}

pub fn system(info: &SystemInfo) -> [u8; size_of::<SystemInfo>()] {
    let mut w = Writer::new();
    w.words(&[
        info.ram_bytes,
        info.free_bytes,
        info.kernel_bytes,
        info.uptime_ns,
        info.counter_hz,
    ]);
    w.halves(&[
        info.cores,
        info.processes,
        info.threads,
        info.handles,
        info.channels,
        info.memories,
    ]);
    w.words(&[
        info.idle_ns,
        info.ipcs,
        info.ipcs_direct,
        info.switches,
        info.page_faults,
        info.first_ns,
    ]);
    w.bytes
}
