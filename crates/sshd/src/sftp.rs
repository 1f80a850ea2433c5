//! The SFTP server of a channel, on a thread of its own: a slow disk holds nobody else up.

use crate::job::{self, Graves};
use crate::net::ANY_BIT;
use crate::queue::take_front;
use crate::terminal::Seat;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use viper_rt::abi::FOREVER;
use viper_rt::handle::Event;
use viper_rt::server::Sources;
use viper_rt::sync::Mutex;
use viper_rt::thread::JoinHandle;
use viper_rt::{Error, Object};
use viper_ssh::Stream;
use viper_ssh::pump::{Duplex, Got};
use viper_ssh::sftp::{SftpFs, SftpServer};

/// Bytes that wait in each direction, at most.
const QUEUE_MAX: usize = 256 * 1024;

/// What passes between the loop and the thread.
#[derive(Debug, Default)]
struct Queues {
    input: Vec<u8>,
    input_ended: bool,
    output: VecDeque<u8>,
    /// The thread has nothing more to give.
    done: bool,
    /// The loop has lost interest.
    closed: bool,
}

/// The loop's side.
#[derive(Debug)]
pub(crate) struct Sftp {
    queues: Arc<Mutex<Queues>>,
    wake: Event,
    progress: Event,
    sources: Sources<Seat>,
    thread: Option<JoinHandle>,
    graves: Graves,
}

impl Sftp {
    /// Starts to serve these files; the loop hears of progress under `key`.
    pub(crate) fn start<F: SftpFs + Send + 'static>(
        files: F,
        sources: &Sources<Seat>,
        graves: &Graves,
        key: u32,
    ) -> Result<Sftp, Error> {
        let (wake, progress) = (Event::new()?, Event::new()?);
        let queues = Arc::new(Mutex::new(Queues::default()));
        let worker = Worker {
            queues: queues.clone(),
            wake: wake.try_clone()?,
            progress: progress.try_clone()?,
        };
        sources.watch(&progress, key, ANY_BIT)?;
        let thread = job::start(move || worker.run(SftpServer::new(files)));
        let thread = thread.inspect_err(|_| {
            let _ = sources.unwatch(&progress);
        })?;
        Ok(Sftp {
            queues,
            wake,
            progress,
            sources: sources.clone(),
            thread: Some(thread),
            graves: graves.clone(),
        })
    }
}

impl Drop for Sftp {
    fn drop(&mut self) {
        self.queues.lock().closed = true;
        let _ = self.wake.signal(1);
        let _ = self.sources.unwatch(&self.progress);
        if let Some(thread) = self.thread.take() {
            self.graves.bury(thread);
        }
    }
}

impl Duplex for Sftp {
    fn get(&mut self, stream: Stream, to: &mut [u8]) -> Got {
        if stream == Stream::Stderr {
            return Got::End;
        }
        let mut queues = self.queues.lock();
        let count = take_front(&mut queues.output, to);
        if count == 0 {
            return if queues.done { Got::End } else { Got::Nothing };
        }
        drop(queues);
        let _ = self.wake.signal(1);
        Got::Bytes(count)
    }

    fn put(&mut self, from: &[u8]) -> usize {
        let mut queues = self.queues.lock();
        if queues.done {
            return from.len();
        }
        let taken = from.len().min(QUEUE_MAX.saturating_sub(queues.input.len()));
        queues
            .input
            .extend_from_slice(from.get(..taken).unwrap_or(&[]));
        drop(queues);
        if taken > 0 {
            let _ = self.wake.signal(1);
        }
        taken
    }

    fn finish(&mut self) {
        self.queues.lock().input_ended = true;
        let _ = self.wake.signal(1);
    }
}

/// The thread's side.
struct Worker {
    queues: Arc<Mutex<Queues>>,
    wake: Event,
    progress: Event,
}

impl Worker {
    fn run<F: SftpFs>(self, mut server: SftpServer<F>) {
        let mut unread = Vec::new();
        let mut start = 0;
        loop {
            let ended = {
                let mut queues = self.queues.lock();
                if queues.closed {
                    return;
                }
                let room = QUEUE_MAX.saturating_sub(queues.output.len());
                let ready = server.poll_output();
                let count = ready.len().min(room);
                queues.output.extend(ready.get(..count).unwrap_or(&[]));
                server.output_sent(count);
                if start == unread.len() {
                    start = 0;
                    unread.clear();
                    core::mem::swap(&mut unread, &mut queues.input);
                }
                queues.input_ended && unread.is_empty()
            };
            let taken = server.handle_input(unread.get(start..).unwrap_or(&[]));
            let (taken, broken) = taken.map_or((0, true), |taken| (taken, false));
            start += taken;
            let idle = server.poll_output().is_empty();
            if broken || ended && idle {
                self.queues.lock().done = true;
                let _ = self.progress.signal(1);
                return;
            }
            let _ = self.progress.signal(1);
            // Whoever gives input, takes output or loses interest signals.
            if taken == 0 && self.wake.wait(ANY_BIT, FOREVER).is_err() {
                return;
            }
        }
    }
}
