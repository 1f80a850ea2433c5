//! What a program of a session has as standard input and output: a terminal, or three streams.
//!
//! It serves the console protocol on the program's channels, as the console server does, with the
//! SSH channel in the place of the device.

use crate::queue::take_front;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use viper_proto::console::{Mode, Size};
use viper_proto::stream::CHUNK_MAX;
use viper_rt::abi::FOREVER;
use viper_rt::message::Bytes;
use viper_rt::server::{Deferrable, Outcome, Pending};
use viper_rt::{Error, clock};
use viper_ssh::pump::{Duplex, Got};
use viper_ssh::{ChannelId, Stream};
use viper_term::discipline::{Discipline, ReadOutcome, Signal};
use viper_term::termios::{LocalFlags, Termios};

/// Output that waits for the peer, at most, in bytes. Writers wait beyond that.
const OUTPUT_MAX: usize = 32 * 1024;
/// Input that waits for the program, at most, where there is no terminal.
const INPUT_MAX: usize = 64 * 1024;
/// Calls of one kind that wait, at most.
const WAITING_MAX: usize = 64;

/// One channel of a program to its terminal or streams.
#[derive(Clone, Debug)]
pub struct Seat {
    pub(crate) connection: u32,
    pub(crate) channel: ChannelId,
    pub(crate) id: u64,
    pub(crate) kind: SeatKind,
}

/// What a [`Seat`] is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatKind {
    /// Everything: it is a terminal.
    Terminal,
    /// Reading.
    Input,
    /// Writing to the standard output.
    Output,
    /// Writing to the standard error.
    Errors,
}

#[derive(Debug)]
struct ReadRequest {
    seat: u64,
    max: usize,
    deadline: u64,
    pending: Pending<Bytes>,
}

#[derive(Debug)]
struct WriteRequest {
    seat: u64,
    stream: Stream,
    bytes: Bytes,
    pending: Pending<u32>,
}

#[derive(Debug)]
enum Input {
    Plain(VecDeque<u8>),
    Terminal(Discipline, Size),
}

/// The console of one program.
#[derive(Debug)]
pub(crate) struct Terminal {
    input: Input,
    input_ended: bool,
    output: VecDeque<u8>,
    errors: VecDeque<u8>,
    readers: VecDeque<ReadRequest>,
    writers: VecDeque<WriteRequest>,
    drains: Vec<(u64, Pending<()>)>,
    watchers: Vec<(u64, Pending<()>)>,
    /// Seats that asked for the foreground, the current one last.
    foreground: Vec<u64>,
    mode: Mode,
    /// Who set the mode that is not the usual one.
    mode_owner: Option<u64>,
    /// The program has ended: what is still there goes out, and nothing more comes.
    hung_up: bool,
}

impl Terminal {
    /// A terminal of this size, or three streams.
    pub(crate) fn new(size: Option<Size>) -> Terminal {
        let input = match size {
            Some(size) => Input::Terminal(Discipline::new(Termios::cooked()), size),
            None => Input::Plain(VecDeque::new()),
        };
        Terminal {
            input,
            input_ended: false,
            output: VecDeque::new(),
            errors: VecDeque::new(),
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            drains: Vec::new(),
            watchers: Vec::new(),
            foreground: Vec::new(),
            mode: Mode::COOKED,
            mode_owner: None,
            hung_up: false,
        }
    }

    /// The peer's window has another size.
    pub(crate) fn resize(&mut self, new: Size) {
        if let Input::Terminal(_, size) = &mut self.input {
            *size = new;
        }
    }

    /// Control-C, or the signal of that meaning; tells whether anybody heard of it.
    pub(crate) fn interrupt(&mut self) -> bool {
        let watched = self.watchers.pop();
        let heard = watched.is_some();
        if let Some((_, pending)) = watched {
            pending.answer(Ok(()));
        }
        let index = self.next_reader();
        match index.and_then(|index| self.readers.remove(index)) {
            Some(reader) => {
                reader.pending.answer(Err(Error::Interrupted));
                true
            }
            None => heard,
        }
    }

    /// The program has ended.
    pub(crate) fn hang_up(&mut self) {
        self.hung_up = true;
        self.readers.clear();
        self.writers.clear();
        self.drains.clear();
        self.watchers.clear();
    }

    /// Whether everything written was taken by the peer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.output.is_empty() && self.errors.is_empty()
    }

    /// How much waits for the peer, in bytes.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len() + self.errors.len()
    }

    /// When a read times out.
    pub(crate) fn deadline(&self) -> u64 {
        let deadlines = self.readers.iter().map(|r| r.deadline);
        deadlines.min().unwrap_or(FOREVER)
    }

    /// A seat is empty: its program ended, or closed it.
    pub(crate) fn leave(&mut self, seat: &Seat) {
        self.readers.retain(|r| r.seat != seat.id);
        self.writers.retain(|w| w.seat != seat.id);
        self.drains.retain(|d| d.0 != seat.id);
        self.watchers.retain(|w| w.0 != seat.id);
        self.foreground.retain(|id| *id != seat.id);
        if self.mode_owner == Some(seat.id) {
            self.mode_owner = None;
            self.apply(Mode::COOKED);
        }
    }

    /// Moves what can be moved between the program's calls and the queues.
    pub(crate) fn advance(&mut self) {
        if let Input::Terminal(discipline, _) = &mut self.input {
            let mut interrupts = 0;
            while let Some(signal) = discipline.poll_event() {
                interrupts += usize::from(signal == Signal::Interrupt);
            }
            let mut part = [0; 256];
            loop {
                let count = discipline.poll_output(&mut part);
                if count == 0 {
                    break;
                }
                self.output.extend(part.get(..count).unwrap_or(&[]));
            }
            for _ in 0..interrupts {
                self.interrupt();
            }
        }
        self.serve_readers();
        self.serve_writers();
        if self.is_quiet() && self.writers.is_empty() {
            let drains = self.drains.drain(..);
            drains.for_each(|(_, pending)| pending.answer(Ok(())));
        }
    }

    /// The read whose turn it is: the foreground's if it reads, else the first.
    fn next_reader(&self) -> Option<usize> {
        let foreground = self.foreground.last();
        let preferred = self
            .readers
            .iter()
            .position(|r| Some(&r.seat) == foreground);
        preferred.or(if self.readers.is_empty() {
            None
        } else {
            Some(0)
        })
    }

    fn serve_readers(&mut self) {
        while let Some(index) = self.next_reader() {
            let Some(max) = self.readers.get(index).map(|r| r.max) else {
                break;
            };
            let Some(bytes) = self.take(max) else { break };
            if let Some(reader) = self.readers.remove(index) {
                reader.pending.answer(Ok(bytes));
            }
        }
        if self.deadline() == FOREVER {
            return;
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
        let count = match &mut self.input {
            Input::Plain(bytes) => Some(take_front(bytes, room)).filter(|count| *count > 0),
            Input::Terminal(discipline, _) => match discipline.read(room) {
                ReadOutcome::Bytes(count) => Some(count),
                ReadOutcome::Eof => Some(0),
                ReadOutcome::Pending => None,
            },
        };
        let count = count.or(self.input_ended.then_some(0))?;
        part.get(..count).map(Bytes::clip)
    }

    fn has_room(&self, stream: Stream) -> bool {
        let stopped = match &self.input {
            Input::Terminal(discipline, _) => discipline.output_stopped(),
            Input::Plain(_) => false,
        };
        let queue = match stream {
            Stream::Data => &self.output,
            Stream::Stderr => &self.errors,
        };
        queue.len() < OUTPUT_MAX && !stopped
    }

    fn put_out(&mut self, stream: Stream, bytes: &[u8]) -> u32 {
        match (&mut self.input, stream) {
            (Input::Terminal(discipline, _), _) => {
                let mut processed = Vec::with_capacity(bytes.len() + 8);
                discipline.process_output(bytes, &mut processed);
                self.output.extend(processed);
            }
            (_, Stream::Data) => self.output.extend(bytes),
            (_, Stream::Stderr) => self.errors.extend(bytes),
        }
        bytes.len() as u32
    }

    fn serve_writers(&mut self) {
        let mut index = 0;
        while let Some(writer) = self.writers.get(index) {
            if !self.has_room(writer.stream) {
                index += 1;
                continue;
            }
            if let Some(writer) = self.writers.remove(index) {
                let taken = self.put_out(writer.stream, &writer.bytes);
                writer.pending.answer(Ok(taken));
            }
        }
    }

    fn apply(&mut self, mode: Mode) {
        self.mode = mode;
        if let Input::Terminal(discipline, _) = &mut self.input {
            let mut termios = if mode.cooked {
                Termios::cooked()
            } else {
                Termios::raw()
            };
            termios.local.set(LocalFlags::ECHO, mode.echo);
            termios.local.set(LocalFlags::ISIG, mode.signals);
            discipline.set_termios(termios);
        }
    }
}

/// The operations of the console protocol.
impl Terminal {
    pub(crate) fn read(
        &mut self,
        seat: &Seat,
        call: Deferrable<Bytes>,
        max: u32,
        deadline: u64,
    ) -> Outcome<Bytes> {
        let max = max as usize;
        if !(1..=CHUNK_MAX).contains(&max) {
            return Outcome::Now(Err(Error::InvalidArgument));
        }
        if !matches!(seat.kind, SeatKind::Terminal | SeatKind::Input) {
            return Outcome::Now(Err(Error::NoRight));
        }
        if self.readers.is_empty()
            && let Some(bytes) = self.take(max)
        {
            return Outcome::Now(Ok(bytes));
        }
        if deadline <= clock::now() {
            return Outcome::Now(Err(Error::TimedOut));
        }
        if self.readers.len() >= WAITING_MAX {
            return Outcome::Now(Err(Error::LimitReached));
        }
        match call.detach() {
            Ok(pending) => {
                self.readers.push_back(ReadRequest {
                    seat: seat.id,
                    max,
                    deadline,
                    pending,
                });
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    pub(crate) fn write(
        &mut self,
        seat: &Seat,
        call: Deferrable<u32>,
        bytes: Bytes,
    ) -> Outcome<u32> {
        let stream = match seat.kind {
            SeatKind::Terminal | SeatKind::Output => Stream::Data,
            SeatKind::Errors => Stream::Stderr,
            SeatKind::Input => return Outcome::Now(Err(Error::NoRight)),
        };
        if bytes.is_empty() {
            return Outcome::Now(Ok(0));
        }
        if self.writers.is_empty() && self.has_room(stream) {
            return Outcome::Now(Ok(self.put_out(stream, &bytes)));
        }
        if self.writers.len() >= WAITING_MAX {
            return Outcome::Now(Err(Error::LimitReached));
        }
        match call.detach() {
            Ok(pending) => {
                self.writers.push_back(WriteRequest {
                    seat: seat.id,
                    stream,
                    bytes,
                    pending,
                });
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    pub(crate) fn set_mode(&mut self, seat: &Seat, mode: Mode) -> Result<Mode, Error> {
        if matches!(self.input, Input::Plain(_)) {
            return Err(Error::NotSupported);
        }
        let before = self.mode;
        self.mode_owner = (mode != Mode::COOKED).then_some(seat.id);
        if mode != before {
            self.apply(mode);
            self.advance();
        }
        Ok(before)
    }

    pub(crate) fn size(&self) -> Result<Size, Error> {
        match &self.input {
            Input::Terminal(_, size) => Ok(*size),
            Input::Plain(_) => Err(Error::NotSupported),
        }
    }

    pub(crate) fn drain(&mut self, seat: &Seat, call: Deferrable<()>) -> Outcome<()> {
        if self.is_quiet() && self.writers.is_empty() {
            return Outcome::Now(Ok(()));
        }
        wait(&mut self.drains, seat, call)
    }

    pub(crate) fn watch(&mut self, seat: &Seat, call: Deferrable<()>) -> Outcome<()> {
        if self.watchers.iter().any(|w| w.0 == seat.id) {
            return Outcome::Now(Err(Error::Busy));
        }
        wait(&mut self.watchers, seat, call)
    }

    pub(crate) fn foreground(&mut self, seat: &Seat) {
        self.foreground.retain(|id| *id != seat.id);
        self.foreground.push(seat.id);
    }
}

fn wait(list: &mut Vec<(u64, Pending<()>)>, seat: &Seat, call: Deferrable<()>) -> Outcome<()> {
    if list.len() >= WAITING_MAX {
        return Outcome::Now(Err(Error::LimitReached));
    }
    match call.detach() {
        Ok(pending) => {
            list.push((seat.id, pending));
            Outcome::Later
        }
        Err(error) => Outcome::Now(Err(error)),
    }
}

impl Duplex for Terminal {
    fn get(&mut self, stream: Stream, to: &mut [u8]) -> Got {
        let queue = match stream {
            Stream::Data => &mut self.output,
            Stream::Stderr => &mut self.errors,
        };
        match take_front(queue, to) {
            0 if self.hung_up => Got::End,
            0 => Got::Nothing,
            count => {
                self.advance();
                Got::Bytes(count)
            }
        }
    }

    fn put(&mut self, from: &[u8]) -> usize {
        if self.hung_up {
            return from.len();
        }
        let taken = match &mut self.input {
            Input::Plain(bytes) => {
                let taken = from.len().min(INPUT_MAX.saturating_sub(bytes.len()));
                bytes.extend(from.get(..taken).unwrap_or(&[]));
                taken
            }
            Input::Terminal(discipline, _) => {
                let taken = from.len().min(discipline.room());
                discipline.handle_input(from.get(..taken).unwrap_or(&[]));
                taken
            }
        };
        self.advance();
        taken
    }

    fn finish(&mut self) {
        self.input_ended = true;
        self.advance();
    }
}
