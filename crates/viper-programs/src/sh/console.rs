//! The shell's console: the standard streams it was started with, the console server, or the debug
//! port where there is none.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use viper_proto::console::{Client, Mode};
use viper_proto::names;
use viper_proto::stream::CHUNK_MAX;
use viper_rt::abi::{FOREVER, Signals, Slot};
use viper_rt::handle::{Channel, Event, OwnedHandle, System};
use viper_rt::{Error, Object, clock, program, thread};
use viper_term::discipline::{Discipline, ReadOutcome, Signal};
use viper_term::termios::Termios;

/// How long the shell waits for the console server when it starts, and when that died.
const CONNECT_NS: u64 = 3 * clock::SECOND;
/// The bit of the event that says that control-C was pressed.
pub(super) const INTERRUPT: Signals = Signals(1);

/// A console.
pub struct Console {
    served: Option<Client>,
    /// Given by whoever started the shell. A console it may be, or a pipe or file.
    streams: Option<Streams>,
    debug: Option<System>,
    discipline: Discipline,
    mode: Mode,
    /// Signalled at control-C.
    interrupt: Option<Event>,
    typed: VecDeque<u8>,
}

/// Standard streams.
struct Streams {
    input: Option<Client>,
    output: Option<Client>,
    errors: Option<Client>,
    /// Lines are edited on it.
    is_terminal: bool,
}

impl Streams {
    /// Those in the slots for them, if there are any.
    fn given() -> Option<Streams> {
        let take = |slot| {
            let handle = program::take(slot).filter(|h| !h.raw().is_none());
            handle.map(|h: OwnedHandle| Client::new(h.into_object()))
        };
        let (input, output) = (take(Slot::STDIN), take(Slot::STDOUT));
        let errors = take(Slot::STDERR);
        if input.is_none() && output.is_none() && errors.is_none() {
            return None;
        }
        let is_terminal = input.as_ref().is_some_and(|i| i.size().is_ok());
        Some(Streams {
            input,
            output,
            errors,
            is_terminal,
        })
    }
}

impl Console {
    /// The standard streams that were given, the console server's, or the debug port in recovery and when there is no server.
    pub(super) fn open(names: &names::Client, recovery: bool, system: Option<&System>) -> Console {
        let mut console = Console {
            served: None,
            streams: if recovery { None } else { Streams::given() },
            debug: system.and_then(|s| s.try_clone().ok()),
            discipline: Discipline::new(Termios::cooked()),
            mode: Mode::COOKED,
            interrupt: None,
            typed: VecDeque::new(),
        };
        if let Some(input) = console.streams.as_ref().and_then(|s| s.input.as_ref()) {
            console.interrupt = watch(input).ok();
        } else if !recovery && console.streams.is_none() {
            let _ = console.connect(names);
        }
        console
    }

    /// Whether standard streams were given.
    pub(super) fn has_streams(&self) -> bool {
        self.streams.is_some()
    }

    /// Whether somebody types on it.
    pub(super) fn is_terminal(&self) -> bool {
        self.streams.as_ref().is_none_or(|s| s.is_terminal)
    }

    /// Whether it is the debug port.
    pub(super) fn is_debug(&self) -> bool {
        self.served.is_none() && self.streams.is_none()
    }

    /// The event that control-C signals, if the console tells of it.
    pub(super) fn interrupt(&self) -> Option<&Event> {
        self.interrupt.as_ref()
    }

    fn connect(&mut self, names: &names::Client) -> Result<(), Error> {
        self.served = None;
        let deadline = clock::after(CONNECT_NS);
        let client = Client::new(names.connect(b"CONSOLED:", deadline)?);
        self.interrupt = watch(&client).ok();
        if self.mode != Mode::COOKED {
            client.set_mode(self.mode)?;
        }
        self.served = Some(client);
        Ok(())
    }

    /// What a program gets for one of its standard streams; nothing if the shell has none.
    pub(super) fn stream(&self, slot: Slot) -> Result<Option<Channel>, Error> {
        let Some(streams) = &self.streams else {
            let served = self.served.as_ref().ok_or(Error::NoService)?;
            return served.duplicate().map(Some);
        };
        let given = match slot {
            Slot::STDIN => &streams.input,
            Slot::STDERR => &streams.errors,
            _ => &streams.output,
        };
        match given {
            Some(console) if streams.is_terminal => console.duplicate().map(Some),
            // Programs share it: all read from, and write to, the same place.
            Some(stream) => stream.connection().channel().try_clone().map(Some),
            None => Ok(None),
        }
    }

    /// Writes everything.
    pub(super) fn write(
        &mut self,
        names: &names::Client,
        bytes: &[u8],
        error: bool,
    ) -> Result<(), Error> {
        let mut rest = bytes;
        if let Some(streams) = &self.streams {
            let to = if error {
                &streams.errors
            } else {
                &streams.output
            };
            return to.as_ref().map_or(Ok(()), |to| write_all(to, rest));
        }
        while !rest.is_empty() {
            let Some(client) = &self.served else {
                return self.debug_write(rest);
            };
            match client.write(&rest[..rest.len().min(CHUNK_MAX)]) {
                Ok(taken) => rest = rest.get(taken as usize..).unwrap_or(&[]),
                Err(Error::PeerClosed) => drop(self.connect(names)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads some bytes; none at the end of the input.
    pub(super) fn read(&mut self, names: &names::Client, to: &mut [u8]) -> Result<usize, Error> {
        if let Some(streams) = &self.streams {
            let Some(input) = &streams.input else {
                return Ok(0);
            };
            return match input.read(to.len().min(CHUNK_MAX) as u32, FOREVER) {
                Ok(bytes) => {
                    let count = bytes.len().min(to.len());
                    to[..count].copy_from_slice(&bytes[..count]);
                    Ok(count)
                }
                // Whoever was there is gone.
                Err(Error::PeerClosed) => Ok(0),
                Err(error) => Err(error),
            };
        }
        loop {
            let Some(client) = &self.served else {
                return self.debug_read(to);
            };
            let max = to.len().min(CHUNK_MAX);
            match client.read(max as u32, FOREVER) {
                Ok(bytes) => {
                    let count = bytes.len().min(to.len());
                    to[..count].copy_from_slice(&bytes[..count]);
                    return Ok(count);
                }
                Err(Error::PeerClosed) => drop(self.connect(names)),
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn set_mode(&mut self, names: &names::Client, mode: Mode) -> Result<(), Error> {
        self.mode = mode;
        let termios = if mode.cooked {
            Termios::cooked()
        } else {
            Termios::raw()
        };
        if let Some(streams) = &self.streams {
            return match &streams.input {
                Some(input) if streams.is_terminal => input.set_mode(mode).map(|_| ()),
                _ => Ok(()),
            };
        }
        match &self.served {
            Some(client) => match client.set_mode(mode) {
                Err(Error::PeerClosed) => drop(self.connect(names)),
                result => return result.map(|_| ()),
            },
            None => self.discipline.set_termios(termios),
        }
        Ok(())
    }

    pub(super) fn width(&self) -> usize {
        let console = match &self.streams {
            Some(streams) => streams.input.as_ref(),
            None => self.served.as_ref(),
        };
        let size = console.and_then(|c| c.size().ok());
        size.map_or(80, |s| s.columns as usize)
    }

    pub(super) fn drain(&self) {
        let streams = self.streams.iter();
        let given = streams.flat_map(|s| [&s.output, &s.errors]).flatten();
        for client in given.chain(&self.served) {
            // A stream that is no console cannot be waited for.
            let _ = client.drain();
        }
    }

    /// Whether control-C was pressed since the last call.
    pub(super) fn interrupted(&mut self) -> bool {
        let pressed = self
            .interrupt
            .as_ref()
            .map(|event| event.wait(INTERRUPT, 0));
        matches!(pressed, Some(Ok(_)))
    }

    fn debug_write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut processed = Vec::with_capacity(bytes.len() + 8);
        self.discipline.process_output(bytes, &mut processed);
        self.debug
            .as_ref()
            .ok_or(Error::NoService)?
            .debug_write(&processed)
    }

    fn debug_read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        let debug = self.debug.as_ref().ok_or(Error::NoService)?;
        loop {
            if self.typed.is_empty() {
                match self.discipline.read(to) {
                    ReadOutcome::Bytes(count) => return Ok(count),
                    ReadOutcome::Eof => return Ok(0),
                    ReadOutcome::Pending => {}
                }
            }
            let mut part = [0; 64];
            let count = debug.debug_read(&mut part, FOREVER)?;
            self.discipline.handle_input(&part[..count]);
            let mut echo = [0; 256];
            let shown = self.discipline.poll_output(&mut echo);
            debug.debug_write(&echo[..shown])?;
            if self.discipline.poll_event() == Some(Signal::Interrupt) {
                return Err(Error::Interrupted);
            }
        }
    }
}

fn write_all(to: &Client, bytes: &[u8]) -> Result<(), Error> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = to.write(&rest[..rest.len().min(CHUNK_MAX)])?;
        if taken == 0 {
            return Err(Error::PeerClosed);
        }
        rest = rest.get(taken as usize..).unwrap_or(&[]);
    }
    Ok(())
}

/// Starts a thread that waits for control-C, and the event it signals then.
fn watch(client: &Client) -> Result<Event, Error> {
    let watcher = Client::new(client.duplicate()?);
    let event = Event::new()?;
    let signal = event.try_clone()?;
    thread::spawn(move || {
        while watcher.interrupt().is_ok() {
            if signal.signal(INTERRUPT.0 as u32).is_err() {
                return;
            }
        }
    })?;
    Ok(event)
}
