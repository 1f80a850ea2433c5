//! The standard input, read on a thread: the loop hears of it by an event.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use viper_proto::console::Client;
use viper_proto::stream::CHUNK_MAX;
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::Event;
use viper_rt::sync::Mutex;
use viper_rt::{Error, Object, thread};
use viper_ssh::Stream;
use viper_ssh::pump::{Duplex, Got};

/// Bytes that are read ahead.
const AHEAD_MAX: usize = 32 * 1024;

#[derive(Debug, Default)]
struct Queue {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// The standard input.
#[derive(Debug)]
pub struct Keyboard {
    queue: Arc<Mutex<Queue>>,
    event: Event,
    room: Event,
}

impl Keyboard {
    /// Starts to read; without an input there is nothing but its end.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn new(input: Option<Client>) -> Result<Keyboard, Error> {
        let (event, room) = (Event::new()?, Event::new()?);
        let queue = Arc::new(Mutex::new(Queue {
            ended: input.is_none(),
            ..Queue::default()
        }));
        if let Some(input) = input {
            let (queue, event, room) = (queue.clone(), event.try_clone()?, room.try_clone()?);
            thread::spawn(move || {
                while read(&input, &queue, &room) {
                    if event.signal(1).is_err() {
                        return;
                    }
                }
                queue.lock().ended = true;
                let _ = event.signal(1);
            })?;
        }
        Ok(Keyboard { queue, event, room })
    }

    /// Signalled when there is input.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }
}

/// Reads once; `false` at the end.
fn read(input: &Client, queue: &Mutex<Queue>, room: &Event) -> bool {
    while queue.lock().bytes.len() >= AHEAD_MAX {
        if room.wait(Signals(1), FOREVER).is_err() {
            return false;
        }
    }
    match input.read(CHUNK_MAX as u32, FOREVER) {
        Ok(bytes) if bytes.is_empty() => false,
        Ok(bytes) => {
            queue.lock().bytes.extend(bytes.iter());
            true
        }
        // Control-C, where it is no byte.
        Err(Error::Interrupted) => {
            queue.lock().bytes.push_back(0x03);
            true
        }
        Err(_) => false,
    }
}

impl Duplex for Keyboard {
    fn get(&mut self, stream: Stream, to: &mut [u8]) -> Got {
        if stream == Stream::Stderr {
            return Got::End;
        }
        let mut queue = self.queue.lock();
        let count = queue.bytes.len().min(to.len());
        for (place, byte) in to.iter_mut().zip(queue.bytes.drain(..count)) {
            *place = byte;
        }
        match count {
            0 if queue.ended => Got::End,
            0 => Got::Nothing,
            count => {
                drop(queue);
                let _ = self.room.signal(1);
                Got::Bytes(count)
            }
        }
    }

    fn put(&mut self, from: &[u8]) -> usize {
        from.len()
    }

    fn finish(&mut self) {}
}
