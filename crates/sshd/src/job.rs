//! Work that may take its time, on a thread of its own: the loop goes on meanwhile.

use crate::net::ANY_BIT;
use crate::terminal::Seat;
use alloc::sync::Arc;
use alloc::vec::Vec;
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::Event;
use viper_rt::server::Sources;
use viper_rt::sync::Mutex;
use viper_rt::thread::{self, JoinHandle, Options};
use viper_rt::{Error, Object};

/// Bytes of stack of a worker.
const STACK_BYTES: usize = 128 * 1024;
const PRIORITY: u8 = 3;

/// Threads whose work is of no interest any more: their stacks are freed when they have ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graves(Arc<Mutex<Vec<JoinHandle>>>);

impl Graves {
    pub(crate) fn bury(&self, thread: JoinHandle) {
        self.0.lock().push(thread);
        self.tidy();
    }

    /// Frees what has ended. Returns how many threads still run.
    pub(crate) fn tidy(&self) -> usize {
        let mut threads = self.0.lock();
        let mut index = 0;
        while let Some(handle) = threads.get(index) {
            if handle.thread().wait(Signals::ENDED, 0).is_err() {
                index += 1;
                continue;
            }
            // It has ended, so this does not wait.
            let _ = threads.swap_remove(index).join(FOREVER);
        }
        threads.len()
    }
}

/// Starts a worker.
pub(crate) fn start(body: impl FnOnce() + Send + 'static) -> Result<JoinHandle, Error> {
    let options = Options {
        stack_bytes: STACK_BYTES,
        priority: PRIORITY,
        cores: 0,
    };
    thread::spawn_with(options, body)
}

/// Something that is being worked out.
#[derive(Debug)]
pub(crate) struct Job<T> {
    result: Arc<Mutex<Option<T>>>,
    done: Event,
    sources: Sources<Seat>,
    thread: Option<JoinHandle>,
    graves: Graves,
}

impl<T: Send + 'static> Job<T> {
    /// Starts to work; the loop hears of the end under `key`.
    pub(crate) fn start(
        sources: &Sources<Seat>,
        graves: &Graves,
        key: u32,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Job<T>, Error> {
        let done = Event::new()?;
        let signal = done.try_clone()?;
        let result = Arc::new(Mutex::new(None));
        let place = result.clone();
        sources.watch(&done, key, ANY_BIT)?;
        let thread = start(move || {
            let value = body();
            *place.lock() = Some(value);
            let _ = signal.signal(1);
        });
        let thread = thread.inspect_err(|_| {
            let _ = sources.unwatch(&done);
        })?;
        Ok(Job {
            result,
            done,
            sources: sources.clone(),
            thread: Some(thread),
            graves: graves.clone(),
        })
    }

    /// What was worked out, once.
    pub(crate) fn poll(&mut self) -> Option<T> {
        self.result.lock().take()
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        let _ = self.sources.unwatch(&self.done);
        if let Some(thread) = self.thread.take() {
            self.graves.bury(thread);
        }
    }
}
