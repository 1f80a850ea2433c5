//! The terminal: what was typed, what is shown, and who waits for either.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use viper_proto::console::{Mode, Size};
use viper_proto::stream::CHUNK_MAX;
use viper_rt::abi::FOREVER;
use viper_rt::message::Bytes;
use viper_rt::server::Pending;
use viper_rt::{Error, clock};
use viper_term::discipline::{Discipline, ReadOutcome, Signal};
use viper_term::termios::{LocalFlags, Termios};

/// Output that waits for the device, at most, in bytes. Writers wait beyond that.
pub const OUTPUT_MAX: usize = 32 * 1024;
/// Input that waits for its readers, at most, where there is no terminal.
const INPUT_MAX: usize = 64 * 1024;

/// Whose call it is, and what for: one channel of a program to its terminal or streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its number: no other seat of the terminal has it.
    pub id: u64,
    /// What it is good for.
    pub kind: SeatKind,
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

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The standard output; of a terminal, everything.
    Standard,
    /// The standard error, where there is no terminal.
    Errors,
}

#[derive(Debug)]
pub(crate) struct ReadRequest {
    pub(crate) seat: u64,
    pub(crate) max: usize,
    pub(crate) deadline: u64,
    pub(crate) pending: Pending<Bytes>,
}

#[derive(Debug)]
pub(crate) struct WriteRequest {
    pub(crate) seat: u64,
    pub(crate) to: Output,
    pub(crate) bytes: Bytes,
    pub(crate) pending: Pending<u32>,
}

#[derive(Debug)]
enum Input {
    Plain(VecDeque<u8>),
    Terminal(Discipline, Size),
}

/// A terminal, or three streams.
///
/// The owner feeds what came, calls [`Terminal::advance`], and sends what is pending. The operations
/// of the protocol are methods of the same names.
#[derive(Debug)]
pub struct Terminal {
    input: Input,
    input_ended: bool,
    output: VecDeque<u8>,
    errors: VecDeque<u8>,
    pub(crate) readers: VecDeque<ReadRequest>,
    pub(crate) writers: VecDeque<WriteRequest>,
    pub(crate) drains: Vec<(u64, Pending<()>)>,
    pub(crate) watchers: Vec<(u64, Pending<()>)>,
    /// Seats that asked for the foreground, the current one last.
    pub(crate) foreground: Vec<u64>,
    pub(crate) mode: Mode,
    /// Who set the mode that is not the usual one.
    pub(crate) mode_owner: Option<u64>,
    /// Nobody reads or writes any more: what is still there goes out, and nothing more comes.
    hung_up: bool,
}

impl Terminal {
    /// A terminal of this size, or three streams.
    #[must_use]
    pub fn new(size: Option<Size>) -> Terminal {
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

    /// Takes what came from the device, as far as there is room; returns how many bytes.
    pub fn feed(&mut self, from: &[u8]) -> usize {
        if self.hung_up {
            return from.len();
        }
        let taken = from.get(..self.room()).unwrap_or(from);
        match &mut self.input {
            Input::Plain(bytes) => bytes.extend(taken),
            Input::Terminal(discipline, _) => discipline.handle_input(taken),
        }
        taken.len()
    }

    /// How much may be fed, in bytes.
    #[must_use]
    pub fn room(&self) -> usize {
        match &self.input {
            Input::Plain(bytes) => INPUT_MAX.saturating_sub(bytes.len()),
            Input::Terminal(discipline, _) => discipline.room(),
        }
    }

    /// Nothing more will be fed.
    pub fn end_input(&mut self) {
        self.input_ended = true;
        self.advance();
    }

    /// What is to go out next; more may be behind it.
    #[must_use]
    pub fn pending(&self, output: Output) -> &[u8] {
        let (front, back) = self.queue(output).as_slices();
        if front.is_empty() { back } else { front }
    }

    /// So many bytes of what was pending went out. [`Terminal::advance`] lets writers go on.
    pub fn sent(&mut self, output: Output, count: usize) {
        let queue = match output {
            Output::Standard => &mut self.output,
            Output::Errors => &mut self.errors,
        };
        queue.drain(..count.min(queue.len()));
    }

    /// Moves what is pending to a place; returns how many bytes.
    pub fn take_out(&mut self, output: Output, to: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(room) = to.get_mut(done..).filter(|room| !room.is_empty()) {
            let pending = self.pending(output);
            let count = pending.len().min(room.len());
            if count == 0 {
                break;
            }
            room[..count].copy_from_slice(&pending[..count]);
            self.sent(output, count);
            done += count;
        }
        if done > 0 {
            self.advance();
        }
        done
    }

    fn queue(&self, output: Output) -> &VecDeque<u8> {
        match output {
            Output::Standard => &self.output,
            Output::Errors => &self.errors,
        }
    }

    /// Whether everything written went out.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.output.is_empty() && self.errors.is_empty()
    }

    /// How much waits to go out, in bytes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.output.len() + self.errors.len()
    }

    /// When [`Terminal::advance`] is due because a read times out, in nanoseconds of uptime.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        let deadlines = self.readers.iter().map(|r| r.deadline);
        deadlines.min().unwrap_or(FOREVER)
    }

    /// It has another size from now on.
    pub fn resize(&mut self, new: Size) {
        if let Input::Terminal(_, size) = &mut self.input {
            *size = new;
        }
    }

    /// Its size, if it is a terminal.
    pub(crate) fn known_size(&self) -> Option<Size> {
        match &self.input {
            Input::Terminal(_, size) => Some(*size),
            Input::Plain(_) => None,
        }
    }

    /// Control-C, or what means the same: whoever watches last hears of it, and the reader whose
    /// turn it is. Tells whether there was anybody.
    pub fn interrupt_now(&mut self) -> bool {
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

    /// All its seats are empty for good, and nothing that is fed reaches anybody.
    pub fn hang_up(&mut self) {
        self.hung_up = true;
        self.readers.clear();
        self.writers.clear();
        self.drains.clear();
        self.watchers.clear();
    }

    /// Whether [`Terminal::hang_up`] was called.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.hung_up
    }

    /// A seat is empty: its program ended, or closed it.
    pub fn leave(&mut self, seat: &Seat) {
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

    /// Moves everything that can move: signals, echo, readers, writers.
    pub fn advance(&mut self) {
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
                self.interrupt_now();
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
        let mut seats = self.readers.iter().map(|r| &r.seat);
        let preferred = seats.position(|seat| Some(seat) == foreground);
        preferred.or((!self.readers.is_empty()).then_some(0))
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
    pub(crate) fn take(&mut self, max: usize) -> Option<Bytes> {
        let mut part = [0; CHUNK_MAX];
        let room = part.get_mut(..max)?;
        let count = match &mut self.input {
            Input::Plain(bytes) => {
                let count = room.len().min(bytes.len());
                for (place, byte) in room.iter_mut().zip(bytes.drain(..count)) {
                    *place = byte;
                }
                (count > 0).then_some(count)
            }
            Input::Terminal(discipline, _) => match discipline.read(room) {
                ReadOutcome::Bytes(count) => Some(count),
                ReadOutcome::Eof => Some(0),
                ReadOutcome::Pending => None,
            },
        };
        let count = count.or(self.input_ended.then_some(0))?;
        part.get(..count).map(Bytes::clip)
    }

    pub(crate) fn accepts_output(&self, output: Output) -> bool {
        let stopped = match &self.input {
            Input::Terminal(discipline, _) => discipline.output_stopped(),
            Input::Plain(_) => false,
        };
        self.queue(output).len() < OUTPUT_MAX && !stopped
    }

    pub(crate) fn put_out(&mut self, output: Output, bytes: &[u8]) -> u32 {
        match (&mut self.input, output) {
            (Input::Terminal(discipline, _), _) => {
                let mut processed = Vec::with_capacity(bytes.len() + 8);
                discipline.process_output(bytes, &mut processed);
                self.output.extend(processed);
            }
            (_, Output::Standard) => self.output.extend(bytes),
            (_, Output::Errors) => self.errors.extend(bytes),
        }
        bytes.len() as u32
    }

    fn serve_writers(&mut self) {
        let mut index = 0;
        while let Some(writer) = self.writers.get(index) {
            if !self.accepts_output(writer.to) {
                index += 1;
                continue;
            }
            if let Some(writer) = self.writers.remove(index) {
                let taken = self.put_out(writer.to, &writer.bytes);
                writer.pending.answer(Ok(taken));
            }
        }
    }

    pub(crate) fn apply(&mut self, mode: Mode) {
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
