//! Random system calls from children with quotas of their own, four at a time.
#![allow(unsafe_code, reason = "makes calls with arbitrary arguments")]

use super::Context;
use super::exhaust::unchanged;
use super::report::{Verdict, failed, want};
use crate::machine::{NUMBER_MAX, system_call};
use crate::own::end_of;
use alloc::vec::Vec;
use alloc::{format, string::ToString};
use viper_rt::abi::{EndReason, Handle, PAGE_SIZE, Rights, SYSCALLS, Slot, number};
use viper_rt::handle::{Channel, Event, Memory};
use viper_rt::{Mapping, Object, clock, program};

const CHILDREN: u64 = 4;
const CHILD_BYTES: u64 = 4 << 20;
const TIMEOUT_NS: u64 = 300 * clock::SECOND;

/// A small generator of numbers (xorshift64*).
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Random {
        Random(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is above 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }
}

/// A register as an attacker would fill it. `handles` are real ones, `page` mapped memory.
fn register(random: &mut Random, handles: &[u64], page: u64) -> u64 {
    match random.below(16) {
        0 => 0,
        1 => u64::MAX,
        2 => random.number(),
        3 => 1 << random.below(64),
        4 => 0xffff_0000_4000_0000 + random.below(1 << 28),
        5 => page + random.below(64),
        6 => page + PAGE_SIZE as u64 - random.below(16),
        7 => random.below(1 << 39) & !0xfff,
        8 => random.below(300),
        // A stale or forged one: right index, another generation.
        9 => {
            handles
                .get(random.below(handles.len().max(1) as u64) as usize)
                .copied()
                .unwrap_or(1)
                ^ 1 << (24 + random.below(8))
        }
        10 => random.below(64),
        _ => handles
            .get(random.below(handles.len().max(1) as u64) as usize)
            .copied()
            .unwrap_or(0),
    }
}

/// Whether a call is left out: it ends or stops the caller, or takes its own memory away.
fn spared(call: u16, r: &[u64; 9], own: u64) -> bool {
    let process = r[0] == 0 || r[0] & 0xff_ffff == own & 0xff_ffff;
    match call {
        number::process_exit | number::thread_exit => true,
        // A thread at an arbitrary place writes to arbitrary memory of the process.
        number::process_kill
        | number::memory_map
        | number::memory_unmap
        | number::memory_protect
        | number::thread_create => process,
        number::handle_close | number::handle_revoke => process,
        _ => false,
    }
}

/// The child's part: so many calls. Memory that the kernel writes to is its own page only by
/// chance, so the child keeps nothing that matters in memory it does not check.
pub(super) fn role(calls: u64, seed: u64) -> i64 {
    let mut random = Random::new(seed);
    let Ok(memory) = Memory::new(2 * PAGE_SIZE as u64) else {
        return 1;
    };
    let Ok(mapping) = Mapping::new(&memory, 0, PAGE_SIZE) else {
        return 1;
    };
    let page = mapping.leak() as u64;
    let own = program::peek(Slot::PROCESS).map_or(0, |h| u64::from(h.0));
    let slots = program::startup()
        .into_iter()
        .flat_map(|s| s.handles().collect::<Vec<_>>());
    let mut handles: Vec<u64> = slots.map(|(_, h)| u64::from(h.0)).collect();
    if let (Ok(event), Ok((a, b))) = (Event::new(), Channel::pair(2)) {
        let made = [
            memory.into_owned(),
            event.into_owned(),
            a.into_owned(),
            b.into_owned(),
        ];
        handles.extend(made.map(|h| u64::from(h.into_raw().0)));
    }
    for _ in 0..calls {
        let call = random.below(u64::from(NUMBER_MAX) + 1) as u16;
        let mut r = [0; 9];
        for place in &mut r {
            *place = register(&mut random, &handles, page);
        }
        soon(call, &mut r);
        if !harmless(&r) || spared(call, &r, own) {
            continue;
        }
        // SAFETY: `harmless` and `spared` left out what could change memory of this program that
        // is in use: addresses are the page's, the kernel's or in no mapping.
        let out = unsafe { system_call(call, r) };
        let code = out[0] as i64;
        if code > 0 || code < 0 && viper_rt::Error::from_code(code).is_none() {
            return 3;
        }
        keep(&mut random, &mut handles, call, &r, &out, own);
    }
    // The heap's records may have been written over; giving memory back would read them.
    core::mem::forget(handles);
    0
}

/// Remembers a handle that a call made, in place of another one.
fn keep(
    random: &mut Random,
    handles: &mut [u64],
    call: u16,
    r: &[u64; 9],
    out: &[u64; 9],
    own: u64,
) {
    let made = SYSCALLS
        .iter()
        .any(|info| info.number == call && matches!(info.results.first(), Some((_, "Handle"))));
    // A number in another table is none here, and a second name of the process would get past
    // `spared`.
    let foreign = call == number::handle_give || r[0] & 0xff_ffff == own & 0xff_ffff;
    if out[0] == 0 && made && !foreign {
        let at = random.below(handles.len().max(1) as u64) as usize;
        if let Some(place) = handles.get_mut(at) {
            *place = out[1];
        }
    }
}

/// Deadlines become near ones: nothing waits for ever.
fn soon(call: u16, r: &mut [u64; 9]) {
    let at = match call {
        number::call | number::send | number::receive | number::reply_receive | number::reply => 8,
        number::object_wait | number::futex_wait => 2,
        number::debug_read => 3,
        number::sleep_until => 0,
        _ => return,
    };
    r[at] = [0, 1, clock::now()][(r[at] % 3) as usize];
}

/// Whether no register names memory that this program uses itself.
fn harmless(r: &[u64; 9]) -> bool {
    // The image, the IPC buffers (whose kernel part is safe) and stacks lie outside of these.
    let image = 0x20_0000..0x1000_0000;
    r.iter().all(|word| !image.contains(word))
}

/// The test: children in groups of four, then everything is as before.
pub(super) fn run(context: &mut Context, calls: u64, seed: u64) -> Verdict {
    let secret = Memory::new(PAGE_SIZE as u64).map_err(failed("memory"))?;
    let ours = Mapping::whole(&secret).map_err(failed("map"))?;
    let pattern: Vec<u8> = (0..PAGE_SIZE).map(|at| (at * 7 + 3) as u8).collect();
    ours.write(0, &pattern).map_err(failed("write"))?;
    let mut round = 0;
    let context = &*context;
    unchanged(&context.own, || {
        round += 1;
        group(context, calls / CHILDREN / 2, seed.wrapping_mul(2) + round)
    })?;
    let mut now = alloc::vec![0; PAGE_SIZE];
    ours.read(0, &mut now).map_err(failed("read"))?;
    want("the secret page", now == pattern, true)
}

fn group(context: &Context, calls: u64, seed: u64) -> Verdict {
    let (ours, theirs) = Channel::pair(4).map_err(failed("channel"))?;
    let event = Event::new().map_err(failed("event"))?;
    let handles: [(Slot, Handle, Rights); 2] = [
        (Slot::CHANNEL, theirs.raw(), Rights::ALL),
        (Slot(Slot::CHANNEL.0 + 1), event.raw(), Rights::WAIT),
    ];
    let mut children = Vec::new();
    for index in 0..CHILDREN {
        let (calls, seed) = (calls.to_string(), (seed * CHILDREN + index).to_string());
        let child = context
            .own
            .child(CHILD_BYTES, &["fuzz", &calls, &seed], &handles);
        children.push(child.map_err(failed("start"))?);
    }
    let deadline = clock::after(TIMEOUT_NS);
    for (index, (child, _quota)) in children.iter().enumerate() {
        let name = format!("child {index} of seed {seed}");
        let info = end_of(child, deadline).map_err(|e| format!("{name}: {}", e.name()))?;
        // One that ends by itself has made all its calls, with the statuses that there are.
        let clean = info.end_reason == EndReason::EXITED && info.exit_code == 0;
        let how = format!("{} {}", info.end_reason.name(), info.exit_code);
        want(&name, (clean, how.as_str()), (true, how.as_str()))?;
    }
    drop(ours);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_repeat_with_the_seed_and_differ_without() {
        let take = |seed| {
            (0..4)
                .map(|_| ())
                .scan(Random::new(seed), |r, ()| Some(r.number()))
        };
        assert!(take(1).eq(take(1)));
        assert!(!take(1).eq(take(2)));
    }

    #[test]
    fn registers_are_of_all_sorts() {
        let mut random = Random::new(5);
        let words: Vec<u64> = (0..1000)
            .map(|_| register(&mut random, &[0x0100_0007], 4096))
            .collect();
        assert!(words.contains(&0) && words.contains(&u64::MAX) && words.contains(&0x0100_0007));
        assert!(
            words
                .iter()
                .any(|w| *w >= 0xffff_0000_4000_0000 && *w != u64::MAX)
        );
        let _ = register(&mut random, &[], 4096);
    }

    #[test]
    fn calls_that_end_the_child_are_spared() {
        assert!(spared(number::process_exit, &[0; 9], 7));
        assert!(spared(number::memory_unmap, &[0; 9], 7));
        assert!(!spared(number::event_signal, &[0; 9], 7));
    }

    #[test]
    fn deadlines_become_near() {
        let mut r = [9; 9];
        soon(number::object_wait, &mut r);
        assert_ne!(r[2], 9);
        assert_eq!(r[8], 9);
    }
}
