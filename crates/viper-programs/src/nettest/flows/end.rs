//! The ends of connections in this program, and how each ended.

use super::super::CHUNK;
use alloc::sync::Arc;
use alloc::vec;
use core::sync::atomic::{AtomicU64, Ordering};
use viper_proto::net::client::TcpStream;
use viper_rt::abi::FOREVER;
use viper_rt::sync::Mutex;
use viper_rt::thread::{self, JoinHandle};
use viper_rt::{Error, clock};

/// How often one end moves before others have their turn.
const MOVES_MAX: u32 = 4;

/// How an end ended: without an error at the end of the stream.
pub(super) type Ending = Result<(), Error>;

/// An end that is waited for with all others: bytes go one way.
pub(super) struct End {
    pub(super) stream: TcpStream,
    sends: bool,
    pub(super) moved_bytes: u64,
    /// How it ended, and when.
    pub(super) over: Option<(Ending, u64)>,
}

impl End {
    pub(super) fn new(stream: TcpStream, sends: bool) -> End {
        End {
            stream,
            sends,
            moved_bytes: 0,
            over: None,
        }
    }

    /// Moves what can be moved. Whether there may be more at once.
    pub(super) fn pump(&mut self, chunk: &mut [u8]) -> bool {
        for _ in 0..MOVES_MAX {
            if self.over.is_some() {
                return false;
            }
            let ending = match self.step(chunk) {
                Ok(0) => Ok(()),
                Ok(count) => {
                    self.moved_bytes += count as u64;
                    continue;
                }
                Err(Error::WouldBlock) => return false,
                Err(error) => Err(error),
            };
            self.over = Some((ending, clock::now()));
        }
        true
    }

    fn step(&mut self, chunk: &mut [u8]) -> Result<usize, Error> {
        match self.sends {
            true => self.stream.try_write(chunk),
            false => self.stream.try_read(chunk),
        }
    }

    /// What one that has ended says of reading and writing, if not that the server died.
    pub(super) fn says_something_else(mut self) -> Option<&'static str> {
        let expected = Err(Error::ServerDied);
        let text = |outcome: Result<usize, Error>| outcome.map_or_else(Error::text, |_| "success");
        let read = self.stream.try_read(&mut [0]);
        if read != expected {
            return Some(text(read));
        }
        let written = self.stream.try_write(&[0]);
        (written != expected).then(|| text(written))
    }
}

/// An end that a thread of its own waits for.
pub(super) struct Waiter {
    thread: JoinHandle,
    shared: Arc<Shared>,
    reads: bool,
}

#[derive(Default)]
struct Shared {
    moved_bytes: AtomicU64,
    over: Mutex<Option<(Ending, u64)>>,
}

impl Waiter {
    /// Waits for a byte that does not come.
    pub(super) fn reads(mut stream: TcpStream) -> Result<Waiter, Error> {
        Waiter::start(true, move |_| match stream.read(&mut [0], FOREVER)? {
            0 => Ok(()),
            _ => Err(Error::Corrupt),
        })
    }

    /// Writes, waiting for room.
    pub(super) fn writes(mut stream: TcpStream) -> Result<Waiter, Error> {
        Waiter::start(false, move |moved_bytes| {
            let chunk = vec![0; CHUNK / 4];
            loop {
                stream.write_all(&chunk, FOREVER)?;
                moved_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        })
    }

    fn start(
        reads: bool,
        body: impl FnOnce(&AtomicU64) -> Ending + Send + 'static,
    ) -> Result<Waiter, Error> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = thread::spawn(move || {
            let ending = body(&theirs.moved_bytes);
            *theirs.over.lock() = Some((ending, clock::now()));
        })?;
        Ok(Waiter {
            thread,
            shared,
            reads,
        })
    }

    pub(super) fn over(&self) -> Option<(Ending, u64)> {
        *self.shared.over.lock()
    }

    pub(super) fn moved_bytes(&self) -> u64 {
        self.shared.moved_bytes.load(Ordering::Relaxed)
    }

    /// Whether it waits, or has written and may wait.
    pub(super) fn is_at_work(&self) -> bool {
        self.reads || self.moved_bytes() > 0
    }

    /// For one that has ended.
    pub(super) fn join(self) -> Result<(), Error> {
        self.thread.join(clock::after(clock::SECOND))
    }
}
