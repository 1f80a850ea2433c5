//! The way of requests through the servers, from their trace rings.

use super::Viper;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use viper_proto::interface::Operation;
use viper_proto::{block, console, entropy, fs, names};
use viper_rt::trace::{self, RING_BYTES, Record, TraceEvent};
use viper_rt::{Error, Mapping, clock};
use viper_shell::system::TraceRecord;

impl Viper {
    /// What all rings hold since then, in the order of time.
    pub(super) fn traced(&self, since_ns: u64) -> Result<Vec<TraceRecord>, Error> {
        let mut records: Vec<(u64, Record, String)> = Vec::new();
        let mut keep = |record: Record, process: &str| {
            let time = clock::at_counter(record.stamp);
            if record.id != 0 && time >= since_ns {
                records.push((time, record, process.to_string()));
            }
        };
        let _ = trace::read_own(|record| keep(record, "sh"));
        for index in 0.. {
            let name = match self.names.server_at(index) {
                Ok((name, _)) => name,
                Err(Error::NotFound) => break,
                Err(error) => return Err(error),
            };
            let process = name.as_str()?;
            // A server that never ran has no ring.
            let Ok(ring) = self.names.trace_ring(&name) else {
                continue;
            };
            let ring = Mapping::read_only(&ring, 0, RING_BYTES)?;
            trace::read(&ring, |record| keep(record, process))?;
        }
        records.sort_by_key(|(time, _, _)| *time);
        Ok(records.into_iter().map(shown).collect())
    }
}

fn shown((time_ns, record, process): (u64, Record, String)) -> TraceRecord {
    TraceRecord {
        time_ns,
        request: u64::from(record.id),
        event: event(&record, &process),
        process,
    }
}

fn event(record: &Record, process: &str) -> String {
    let argument = record.argument;
    match record.event {
        TraceEvent::CALL => format!("call {argument}"),
        TraceEvent::RETURN => format!("return {}", status(argument)),
        TraceEvent::BEGIN => format!("begin {}", operation(process, argument)),
        TraceEvent::END => format!("end {}", status(argument)),
        TraceEvent::LATER => String::from("answers later"),
        TraceEvent::DEVICE => format!("to the device, {argument}"),
        TraceEvent::COMPLETE => format!("from the device, {argument}"),
        TraceEvent::HIT => format!("cached, {argument}"),
        TraceEvent::MISS => format!("not cached, {argument}"),
        TraceEvent(other) => format!("event {other}, {argument}"),
    }
}

/// The name of an operation of a server.
fn operation(server: &str, number: u64) -> String {
    let operations: &[Operation] = match server {
        "blkd" => block::OPERATIONS,
        "fsd" => fs::OPERATIONS,
        "consoled" => console::OPERATIONS,
        "entropyd" => entropy::OPERATIONS,
        "vinit" => names::OPERATIONS,
        _ => &[],
    };
    let found = operations.iter().find(|o| u64::from(o.number) == number);
    found.map_or_else(|| format!("operation {number}"), |o| o.name.to_string())
}

/// A status as a word: `ok`, or the error's name.
fn status(label: u64) -> String {
    match label as u32 as i32 {
        0 => String::from("ok"),
        code => Error::from_code(i64::from(code))
            .map_or("?", Error::name)
            .to_string(),
    }
}
