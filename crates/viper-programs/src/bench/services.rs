//! Rows that pass through servers.

use super::{Figure, Sampler};
use crate::kept::Kept;
use crate::own::{Own, end_of, load};
use viper_proto::block::{self, Vector};
use viper_proto::fs::flags;
use viper_rt::abi::FOREVER;
use viper_rt::handle::Memory;
use viper_rt::spawn::{Program, Start};
use viper_rt::{Error, Object, clock};

type Row = (
    &'static str,
    fn(&Sampler, &mut Own) -> Result<Figure, Error>,
);

/// The rows, in order.
pub(super) const ROWS: &[Row] = &[
    ("spawn-exit-wait", spawn),
    ("spawn-exit-wait-anew", spawn_anew),
    ("block-read-4k", |s, own| {
        block_read(s, own, 13, "block-read-4k", 8)
    }),
    ("block-read-1m", |s, own| {
        block_read(s, own, 14, "block-read-1m", 2048)
    }),
    ("cached-read-4k", cached_read),
    ("cached-read-4k-message", cached_read_apart),
    ("open-close", open_close),
    ("stat", stat),
    ("create-write-fsync", create),
    ("cold-read-8m", cold_read),
];

/// A small program, which is there for sure.
const FILE: &str = "/c/hello";
/// One of more than half a megabyte: this program.
const LARGE_FILE: &str = "/c/bench";
const SCRATCH: &str = "/t/bench.tmp";
/// Bytes of the file that is read cold.
const COLD_BYTES: u64 = 8 << 20;
const BLOCK_BYTES: u64 = 1 << 20;

/// The file is asked about, and is the one that was started before: as the shell does it.
fn spawn(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    let mut kept = Kept::default();
    sampler.take(11, "spawn-exit-wait", 11, || {
        let program = kept.load(&own.names, &mut own.files, FILE)?;
        run(own, &program)
    })
}

fn spawn_anew(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    sampler.take(11, "spawn-exit-wait-anew", 11, || {
        let program = load(&own.names, &mut own.files, FILE)?;
        run(own, &program)
    })
}

fn run(own: &Own, program: &Program) -> Result<(), Error> {
    let process = program.start(&Start {
        name: "hello",
        quota: &own.quota,
        priority: 3,
        arguments: &[b"hello"],
        environment: &[],
        handles: &[],
    })?;
    end_of(&process, FOREVER).map(|_| ())
}

fn block_read(
    sampler: &Sampler,
    own: &mut Own,
    row: u32,
    name: &'static str,
    sectors: u64,
) -> Result<Figure, Error> {
    let channel = own.names.connect(b"BLKD:", clock::after(clock::SECOND))?;
    let client = block::Client::new(channel);
    let memory = Memory::contiguous(BLOCK_BYTES)?;
    let session = client.session(memory.try_clone()?)?;
    let vectors = [Vector {
        sector: 0,
        count: sectors,
        offset: 0,
    }];
    let figure = sampler.take(row, name, 31, || client.read(session, &vectors));
    client.session_close(session)?;
    figure
}

fn cached_read(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    let Own { names, files, .. } = own;
    // A server that has nothing left to write waits for requests alone.
    files.sync(names)?;
    let (file, _) = files.open(names, FILE, flags::READ, 0)?;
    let mut to = [0; 4096];
    let figure = sampler.take(15, "cached-read-4k", 101, || {
        match files.read(names, file, 0, &mut to)? {
            4096 => Ok(()),
            _ => Err(Error::Io),
        }
    });
    files.close(file)?;
    figure
}

/// Positions that do not follow each other, and that no read before has come near: each read is a
/// message to the server.
fn cached_read_apart(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    let Own { names, files, .. } = own;
    files.sync(names)?;
    let (file, _) = files.open(names, LARGE_FILE, flags::READ, 0)?;
    let mut to = [0; 4096];
    let mut at = 256 << 10;
    let figure = sampler.take(15, "cached-read-4k-message", 101, || {
        at = (768 << 10) - at;
        match files.read(names, file, at, &mut to)? {
            4096 => Ok(()),
            _ => Err(Error::Io),
        }
    });
    files.close(file)?;
    figure
}

fn open_close(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    let Own { names, files, .. } = own;
    sampler.take(16, "open-close", 101, || {
        let (file, _) = files.open(names, FILE, flags::READ, 0)?;
        files.close(file)
    })
}

fn stat(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    let Own { names, files, .. } = own;
    sampler.take(16, "stat", 101, || {
        files.stat_path(names, FILE, true).map(|_| ())
    })
}

fn create(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    let Own { names, files, .. } = own;
    let bytes = [7; 4096];
    let how = flags::READ | flags::WRITE | flags::CREATE | flags::EXCLUSIVE;
    let files = core::cell::RefCell::new(files);
    let figure = sampler.take_with(
        17,
        "create-write-fsync",
        11,
        || match files.borrow_mut().unlink(names, SCRATCH) {
            Ok(()) | Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        },
        |()| {
            let files = &mut **files.borrow_mut();
            let (file, _) = files.open(names, SCRATCH, how, 0o644)?;
            files.write(names, file, 0, &bytes)?;
            files.sync_file(names, file)?;
            files.close(file)
        },
    );
    let _ = files.borrow_mut().unlink(names, SCRATCH);
    figure
}

/// Reads a file 4 KiB at a time right after the file server was started.
fn cold_read(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    let Own { names, files, .. } = own;
    let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
    let (file, _) = files.open(names, SCRATCH, how, 0o644)?;
    let part = alloc::vec![7; 64 << 10];
    for at in (0..COLD_BYTES).step_by(part.len()) {
        files.write(names, file, at, &part)?;
    }
    files.sync_file(names, file)?;
    files.close(file)?;
    let files = core::cell::RefCell::new(files);
    let mut to = [0; 4096];
    let figure = sampler.take_with(
        18,
        "cold-read-8m",
        3,
        || {
            names.server_restart(b"fsd")?;
            let (file, _) = files.borrow_mut().open(names, SCRATCH, flags::READ, 0)?;
            Ok(file)
        },
        |file| {
            let files = &mut **files.borrow_mut();
            for at in (0..COLD_BYTES).step_by(to.len()) {
                if files.read(names, file, at, &mut to)? != to.len() {
                    return Err(Error::Io);
                }
            }
            Ok(())
        },
    );
    let _ = files.borrow_mut().unlink(names, SCRATCH);
    figure
}
