//! The console server: one terminal, many clients.

use crate::pl011::Pl011;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use viper_proto::console::{self, Mode, Serve, Size};
use viper_proto::stream::CHUNK_MAX;
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::{Channel, Interrupt};
use viper_rt::message::{Bytes, Reader};
use viper_rt::server::{Answer, Deferrable, NewClient, Outcome, Pending, Service, Sources};
use viper_rt::{Error, clock};
use viper_term::discipline::{Discipline, ReadOutcome, Signal};
use viper_term::termios::{LocalFlags, Termios};

/// Output that waits for the device, at most, in bytes. Writers wait beyond that.
pub const OUTPUT_MAX: usize = 16 * 1024;
/// Reads that wait, at most.
const READERS_MAX: usize = 64;
const CLIENT_DEPTH: u32 = 8;
const UART_KEY: u32 = 1;

/// What is kept for a client.
#[derive(Debug)]
pub struct Client {
    id: u64,
    mode: Mode,
}

#[derive(Debug)]
struct ReadRequest {
    client: u64,
    max: usize,
    deadline: u64,
    pending: Pending<Bytes>,
}

#[derive(Debug)]
struct WriteRequest {
    client: u64,
    bytes: Bytes,
    pending: Pending<u32>,
}

/// The console.
#[derive(Debug)]
pub struct Console {
    uart: Pl011,
    interrupt: Interrupt,
    sources: Sources<Client>,
    discipline: Discipline,
    output: VecDeque<u8>,
    readers: VecDeque<ReadRequest>,
    writers: VecDeque<WriteRequest>,
    drains: Vec<Pending<()>>,
    watchers: Vec<(u64, Pending<()>)>,
    /// Clients that asked for the foreground, the current one last.
    foreground: Vec<u64>,
    /// Who set the mode that is not the usual one.
    mode_owner: Option<u64>,
    mode: Mode,
    next_client: u64,
}

impl Console {
    /// A console on this UART.
    ///
    /// # Errors
    /// Those of taking its interrupt.
    pub fn new(uart: Pl011, sources: Sources<Client>) -> Result<Console, Error> {
        let interrupt = uart.registers().device().interrupt(0)?;
        sources.watch(&interrupt, UART_KEY, Signals::INTERRUPT)?;
        Ok(Console {
            uart,
            interrupt,
            sources,
            discipline: Discipline::new(Termios::cooked()),
            output: VecDeque::new(),
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            drains: Vec::new(),
            watchers: Vec::new(),
            foreground: Vec::new(),
            mode_owner: None,
            mode: Mode::COOKED,
            next_client: 0,
        })
    }

    fn client(&mut self) -> Client {
        self.next_client += 1;
        Client {
            id: self.next_client,
            mode: Mode::COOKED,
        }
    }

    /// Moves everything that can move: input, signals, echo, output, readers, writers.
    fn pump(&mut self) {
        while self.discipline.room() > 0 {
            let Some(byte) = self.uart.read() else { break };
            self.discipline.handle_input(&[byte]);
        }
        while let Some(signal) = self.discipline.poll_event() {
            self.signalled(signal);
        }
        self.echo();
        self.serve_readers();
        self.send();
        self.serve_writers();
        self.send();
        if self.output.is_empty() {
            self.drains
                .drain(..)
                .for_each(|pending| pending.answer(Ok(())));
        }
        self.uart.want_room(!self.output.is_empty());
    }

    fn echo(&mut self) {
        let mut part = [0; 256];
        loop {
            let count = self.discipline.poll_output(&mut part);
            if count == 0 {
                return;
            }
            self.output.extend(&part[..count]);
        }
    }

    fn send(&mut self) {
        while let Some(&byte) = self.output.front() {
            if !self.uart.write(byte) {
                return;
            }
            self.output.pop_front();
        }
    }

    /// Control-C: the one who watches last hears of it, and the reader whose turn it is.
    fn signalled(&mut self, signal: Signal) {
        if signal != Signal::Interrupt {
            return;
        }
        if let Some((_, pending)) = self.watchers.pop() {
            pending.answer(Ok(()));
        }
        if let Some(reader) = self
            .next_reader()
            .and_then(|index| self.readers.remove(index))
        {
            reader.pending.answer(Err(Error::Interrupted));
        }
    }

    /// The read whose turn it is: the foreground's if it reads, else the first.
    fn next_reader(&self) -> Option<usize> {
        let foreground = self.foreground.last();
        let of_foreground = self
            .readers
            .iter()
            .position(|r| Some(&r.client) == foreground);
        of_foreground.or(if self.readers.is_empty() {
            None
        } else {
            Some(0)
        })
    }

    fn serve_readers(&mut self) {
        while let Some(index) = self.next_reader() {
            let Some(reader) = self.readers.get(index) else {
                return;
            };
            let Some(result) = self.take(reader.max) else {
                break;
            };
            if let Some(reader) = self.readers.remove(index) {
                reader.pending.answer(Ok(result));
            }
        }
        let now = clock::now();
        while let Some(index) = self.readers.iter().position(|r| r.deadline <= now) {
            if let Some(reader) = self.readers.remove(index) {
                reader.pending.answer(Err(Error::TimedOut));
            }
        }
    }

    /// Input for a read: some bytes, none at the end of the input, `None` if it has to wait.
    fn take(&mut self, max: usize) -> Option<Bytes> {
        let mut part = [0; CHUNK_MAX];
        let room = part.get_mut(..max)?;
        match self.discipline.read(room) {
            ReadOutcome::Bytes(count) => part.get(..count).map(Bytes::clip),
            ReadOutcome::Eof => Some(Bytes::clip(&[])),
            ReadOutcome::Pending => None,
        }
    }

    fn accepts_output(&self) -> bool {
        self.output.len() < OUTPUT_MAX && !self.discipline.output_stopped()
    }

    fn put(&mut self, bytes: &[u8]) -> u32 {
        let mut processed = Vec::with_capacity(bytes.len() + 8);
        self.discipline.process_output(bytes, &mut processed);
        self.output.extend(processed);
        bytes.len() as u32
    }

    fn serve_writers(&mut self) {
        while self.accepts_output() {
            let Some(writer) = self.writers.pop_front() else {
                return;
            };
            let taken = self.put(&writer.bytes);
            writer.pending.answer(Ok(taken));
        }
    }

    fn apply(&mut self, mode: Mode) {
        self.mode = mode;
        let mut termios = if mode.cooked {
            Termios::cooked()
        } else {
            Termios::raw()
        };
        termios.local.set(LocalFlags::ECHO, mode.echo);
        termios.local.set(LocalFlags::ISIG, mode.signals);
        self.discipline.set_termios(termios);
    }
}

impl Service for Console {
    type Client = Client;

    fn connect(&mut self, _: NewClient) -> Result<Client, Error> {
        Ok(self.client())
    }

    fn request(&mut self, client: &mut Client, request: Reader) -> Answer {
        console::dispatch(self, client, request)
    }

    fn disconnect(&mut self, client: Client) {
        self.readers.retain(|r| r.client != client.id);
        self.writers.retain(|w| w.client != client.id);
        self.watchers.retain(|w| w.0 != client.id);
        self.foreground.retain(|id| *id != client.id);
        if self.mode_owner == Some(client.id) {
            self.mode_owner = None;
            self.apply(Mode::COOKED);
        }
        self.pump();
    }

    fn signal(&mut self, key: u32, _: Signals) {
        if key == UART_KEY {
            self.uart.acknowledge();
            self.pump();
            let _ = self.interrupt.acknowledge();
        }
    }

    fn deadline(&self) -> u64 {
        self.readers
            .iter()
            .map(|r| r.deadline)
            .min()
            .unwrap_or(FOREVER)
    }

    fn timeout(&mut self) {
        self.pump();
    }

    fn stop(&mut self) {
        while !self.output.is_empty() {
            self.send();
        }
    }
}

impl Serve for Console {
    type Client = Client;

    fn read(
        &mut self,
        client: &mut Client,
        call: Deferrable<Bytes>,
        max: u32,
        deadline: u64,
    ) -> Outcome<Bytes> {
        let max = max as usize;
        if !(1..=CHUNK_MAX).contains(&max) {
            return Outcome::Now(Err(Error::InvalidArgument));
        }
        if self.readers.is_empty()
            && let Some(bytes) = self.take(max)
        {
            return Outcome::Now(Ok(bytes));
        }
        if deadline <= clock::now() {
            return Outcome::Now(Err(Error::TimedOut));
        }
        if self.readers.len() >= READERS_MAX {
            return Outcome::Now(Err(Error::LimitReached));
        }
        match call.detach() {
            Ok(pending) => {
                self.readers.push_back(ReadRequest {
                    client: client.id,
                    max,
                    deadline,
                    pending,
                });
                self.pump();
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn write(&mut self, client: &mut Client, call: Deferrable<u32>, bytes: Bytes) -> Outcome<u32> {
        if bytes.is_empty() {
            return Outcome::Now(Ok(0));
        }
        if self.writers.is_empty() && self.accepts_output() {
            let taken = self.put(&bytes);
            self.pump();
            return Outcome::Now(Ok(taken));
        }
        match call.detach() {
            Ok(pending) => {
                self.writers.push_back(WriteRequest {
                    client: client.id,
                    bytes,
                    pending,
                });
                self.pump();
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn set_mode(&mut self, client: &mut Client, mode: Mode) -> Result<Mode, Error> {
        let before = self.mode;
        client.mode = mode;
        self.mode_owner = (mode != Mode::COOKED).then_some(client.id);
        if mode != before {
            self.apply(mode);
            self.pump();
        }
        Ok(before)
    }

    fn size(&mut self, _: &mut Client) -> Result<Size, Error> {
        // A serial line does not tell its size; this is what terminals agree on.
        Ok(Size {
            columns: 80,
            rows: 24,
        })
    }

    fn drain(&mut self, _: &mut Client, call: Deferrable<()>) -> Outcome<()> {
        self.pump();
        if self.output.is_empty() && self.writers.is_empty() {
            return Outcome::Now(Ok(()));
        }
        match call.detach() {
            Ok(pending) => {
                self.drains.push(pending);
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn interrupt(&mut self, client: &mut Client, call: Deferrable<()>) -> Outcome<()> {
        if self.watchers.iter().any(|w| w.0 == client.id) {
            return Outcome::Now(Err(Error::Busy));
        }
        match call.detach() {
            Ok(pending) => {
                self.watchers.push((client.id, pending));
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn foreground(&mut self, client: &mut Client) -> Result<(), Error> {
        self.foreground.retain(|id| *id != client.id);
        self.foreground.push(client.id);
        Ok(())
    }

    fn duplicate(&mut self, _: &mut Client) -> Result<Channel, Error> {
        let (ours, theirs) = Channel::pair(CLIENT_DEPTH)?;
        let client = self.client();
        self.sources.adopt(ours, client);
        Ok(theirs)
    }
}

#[cfg(test)]
mod tests;
