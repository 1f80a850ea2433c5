//! What a process of the manifest has started ends with it: nobody else could wait for it.

use alloc::vec;
use viper_rt::Error;
use viper_rt::abi::EndReason;
use viper_rt::handle::System;
use viper_rt::object::no_process_info;

/// Ends a process that `starter` has started, and its children, and theirs.
///
/// # Errors
/// [`Error::NotFound`] if there is no such process, [`Error::NoRight`] if somebody else started it.
pub(super) fn end_family(system: &System, process_id: u64, starter: u64) -> Result<(), Error> {
    let mut space = [no_process_info()];
    let (infos, _) = system.processes(process_id, &mut space)?;
    let info = infos.first().filter(|info| info.id == process_id);
    let info = info.ok_or(Error::NotFound)?;
    if starter == 0 || info.parent != starter {
        return Err(Error::NoRight);
    }
    if info.end_reason == EndReason::RUNNING {
        // It may have ended meanwhile, which is as good.
        let _ = system.open_process(process_id).and_then(|p| p.kill(20));
    }
    end(system, process_id);
    Ok(())
}

/// Most generations that are looked at; a child that starts others faster than that is ended by
/// its quota.
const ROUNDS: u32 = 16;

/// Ends the children of a process, and theirs.
pub(super) fn end(system: &System, process_id: u64) {
    if process_id == 0 {
        return;
    }
    let mut family = vec![process_id];
    for _ in 0..ROUNDS {
        let before = family.len();
        let mut space = [const { no_process_info() }; 16];
        let mut from = 0;
        while let Ok((infos, next)) = system.processes(from, &mut space) {
            for info in infos {
                let is_orphan = family.contains(&info.parent) && !family.contains(&info.id);
                if is_orphan && info.end_reason == EndReason::RUNNING {
                    family.push(info.id);
                    // It may have ended meanwhile, which is as good.
                    let _ = system.open_process(info.id).and_then(|p| p.kill(20));
                }
            }
            if next == 0 {
                break;
            }
            from = next;
        }
        if family.len() == before {
            return;
        }
    }
}
