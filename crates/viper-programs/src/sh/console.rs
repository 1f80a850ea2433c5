//! The shell's console: the console server, or the debug port where there is none.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use viper_proto::console::{Client, Mode};
use viper_proto::names;
use viper_proto::stream::CHUNK_MAX;
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::{Channel, Event, System};
use viper_rt::{Error, Object, clock, thread};
use viper_term::discipline::{Discipline, ReadOutcome, Signal};
use viper_term::termios::Termios;

/// How long the shell waits for the console server when it starts, and when that died.
const CONNECT_NS: u64 = 3 * clock::SECOND;
/// The bit of the event that says that control-C was pressed.
pub(super) const INTERRUPT: Signals = Signals(1);

/// A console.
pub struct Console {
    served: Option<Client>,
    debug: Option<System>,
    discipline: Discipline,
    mode: Mode,
    /// Signalled at control-C.
    interrupt: Option<Event>,
    typed: VecDeque<u8>,
}

impl Console {
    /// The console server's, or the debug port in recovery and when there is no server.
    pub(super) fn open(names: &names::Client, recovery: bool, system: Option<&System>) -> Console {
        let mut console = Console {
            served: None,
            debug: system.and_then(|s| s.try_clone().ok()),
            discipline: Discipline::new(Termios::cooked()),
            mode: Mode::COOKED,
            interrupt: None,
            typed: VecDeque::new(),
        };
        if !recovery {
            let _ = console.connect(names);
        }
        console
    }

    /// Whether it is the debug port.
    pub(super) fn is_debug(&self) -> bool {
        self.served.is_none()
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

    /// Another channel to the console, for a program.
    pub(super) fn duplicate(&self) -> Result<Channel, Error> {
        self.served.as_ref().ok_or(Error::NoService)?.duplicate()
    }

    /// Writes everything.
    pub(super) fn write(&mut self, names: &names::Client, bytes: &[u8]) -> Result<(), Error> {
        let mut rest = bytes;
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
        let size = self.served.as_ref().and_then(|c| c.size().ok());
        size.map_or(80, |s| s.columns as usize)
    }

    pub(super) fn drain(&self) {
        if let Some(client) = &self.served {
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
