//! Two cores, four threads: prints who has which core, millisecond by millisecond.
//!
//! `cargo run -p viper-sched --example timeline`

use viper_sched::{CoreId, CoreMask, Priority, SchedError, Scheduler, ThreadId};

const MS: u64 = 1_000_000;
const NAMES: [&str; 4] = ["editor", "indexer", "backup", "player"];

fn main() -> Result<(), SchedError> {
    let mut sched = Scheduler::new(2, [5 * MS; 8])?;
    let cores: Vec<CoreId> = (0..2).filter_map(CoreId::new).collect();
    for (index, level) in [4, 2, 2, 7].into_iter().enumerate() {
        let priority = Priority::new(level).unwrap_or(Priority::LOWEST);
        sched.add(ThreadId(index as u32), priority, CoreMask::ALL)?;
    }
    println!("  ms  {:10}{:10}", "core 0", "core 1");
    for ms in 0..40 {
        // The two batch threads always want to run, the editor now and then; the player works
        // for 1 ms in 8, and only ever on core 1.
        let mut asked = Vec::new();
        match ms {
            0 => asked.extend([sched.wake(ThreadId(1))?, sched.wake(ThreadId(2))?]),
            4 => asked.push(sched.wake(ThreadId(0))?),
            14 => asked.push(sched.suspend(ThreadId(0))?),
            6 => asked.push(sched.set_affinity(ThreadId(3), CoreMask::only(cores[1]))?),
            _ => {}
        }
        match ms % 8 {
            7 => asked.push(sched.wake(ThreadId(3))?),
            0 => asked.push(sched.suspend(ThreadId(3))?),
            _ => {}
        }
        let turns_over = cores.iter().copied().filter(|&core| {
            sched
                .slice_end_ns(core)
                .is_some_and(|end_ns| end_ns <= ms * MS)
        });
        asked.extend(turns_over.map(Some).collect::<Vec<_>>());
        // "Interrupts": each core asked reschedules, and may have another one asked.
        while let Some(core) = asked.pop() {
            asked.extend(core.map(|core| sched.reschedule(core, ms * MS).interrupt));
        }
        let name = |core: &CoreId| sched.running(*core).map_or("-", |id| NAMES[id.0 as usize]);
        println!("{ms:4}  {:10}{:10}", name(&cores[0]), name(&cores[1]));
    }
    Ok(())
}
