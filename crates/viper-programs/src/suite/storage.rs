//! A file is copied while the servers below it are killed.

use super::Context;
use super::report::{Verdict, failed, want};
use alloc::format;
use viper_proto::fs::flags;
use viper_rt::{Error, clock, println};

const FILE_BYTES: u64 = 4 << 20;
const PART: usize = 128 << 10;
const FROM: &str = "/t/suite.from";
const TO: &str = "/t/suite.to";
const VICTIMS: &[&[u8]] = &[b"blkd", b"fsd"];

/// Copies `rounds` times, with a kill in the middle of each.
///
/// Without the right to kill it copies as often, and the servers may be killed from outside.
pub(super) fn run(context: &mut Context, rounds: u64) -> Verdict {
    put(context)?;
    let mut may_kill = true;
    for round in 0..rounds {
        let victim = VICTIMS[(round % VICTIMS.len() as u64) as usize];
        let victim = if may_kill { victim } else { b"" };
        match copy(context, round, victim) {
            Ok(()) => {}
            Err(reason) if reason == Error::NoRight.name() => {
                println!("# storage: no right to kill servers, which is left to others");
                may_kill = false;
            }
            Err(reason) => return Err(format!("round {round}: {reason}")),
        }
    }
    for path in [FROM, TO] {
        context
            .own
            .files
            .unlink(&context.own.names, path)
            .map_err(failed("unlink"))?;
    }
    Ok(())
}

fn fill(part: &mut [u8], at: u64) {
    for (index, byte) in part.iter_mut().enumerate() {
        *byte = ((at + index as u64) % 251) as u8;
    }
}

fn put(context: &mut Context) -> Verdict {
    let (names, files) = (&context.own.names, &mut context.own.files);
    let how = flags::WRITE | flags::CREATE;
    let (file, _) = files
        .open(names, FROM, how, 0o644)
        .map_err(failed("open"))?;
    let mut part = alloc::vec![0; PART];
    for at in (0..FILE_BYTES).step_by(PART) {
        fill(&mut part, at);
        let count = files
            .write(names, file, at, &part)
            .map_err(failed("write"))?;
        want("written", count, PART)?;
    }
    files.sync_file(names, file).map_err(failed("sync"))?;
    files.close(file).map_err(failed("close"))
}

/// Copies with a kill half way; then the copy must be right, or an error clear and the service
/// back.
fn copy(context: &mut Context, round: u64, victim: &[u8]) -> Verdict {
    let (names, files) = (&context.own.names, &mut context.own.files);
    let (from, _) = files
        .open(names, FROM, flags::READ, 0)
        .map_err(failed("open"))?;
    let how = flags::READ | flags::WRITE | flags::CREATE;
    let (to, _) = files
        .open(names, TO, how, 0o644)
        .map_err(failed("create"))?;
    let (mut part, mut expected) = (alloc::vec![0; PART], alloc::vec![0; PART]);
    let mut broken = None;
    let kill_at = FILE_BYTES / 8 * (1 + round % 6) / PART as u64 * PART as u64;
    for at in (0..FILE_BYTES).step_by(PART) {
        if at == kill_at && !victim.is_empty() {
            names.server_kill(victim).map_err(|error| error.name())?;
        }
        let step = files.read(names, from, at, &mut part).and_then(|_| {
            fill(&mut expected, at);
            if part == expected {
                files.write(names, to, at, &part)
            } else {
                Err(Error::Corrupt)
            }
        });
        match step {
            Ok(_) => {}
            Err(Error::Corrupt) => return Err(format!("wrong bytes at {at}")),
            Err(error) => broken = Some(error),
        }
    }
    if let Err(error) = files.sync_file(names, to) {
        broken = Some(error);
    }
    let _ = (files.close(from), files.close(to));
    check(context, broken)
}

fn check(context: &mut Context, broken: Option<Error>) -> Verdict {
    let (names, files) = (&context.own.names, &mut context.own.files);
    // The service must be back, whatever happened.
    let late = clock::after(20 * clock::SECOND);
    let to = loop {
        match files.open(names, TO, flags::READ, 0) {
            Ok((file, _)) => break file,
            Err(error) if clock::now() > late => return Err(format!("not back: {}", error.name())),
            Err(_) => clock::sleep(50 * clock::MILLISECOND),
        }
    };
    let (mut part, mut expected) = (alloc::vec![0; PART], alloc::vec![0; PART]);
    let mut verdict = Ok(());
    if broken.is_none() {
        for at in (0..FILE_BYTES).step_by(PART) {
            fill(&mut expected, at);
            let count = files
                .read(names, to, at, &mut part)
                .map_err(failed("read back"))?;
            if count != PART || part != expected {
                verdict = Err(format!("the copy is wrong at {at}"));
            }
        }
    }
    let _ = files.close(to);
    verdict
}
