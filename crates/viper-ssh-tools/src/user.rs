//! The user of a program: what it says, what it asks, and whether somebody is there to answer.

use crate::failure::{About, Result, fail};
use alloc::string::String;
use viper_proto::console::{Client, Mode};
use viper_proto::stream::CHUNK_MAX;
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::handle::OwnedHandle;
use viper_rt::{Error, Object, program};
use zeroize::Zeroizing;

/// The standard streams of a program.
#[derive(Debug)]
pub struct User {
    input: Option<Client>,
    output: Option<Client>,
    errors: Option<Client>,
}

fn stream(slot: Slot) -> Option<Client> {
    let handle = program::take(slot).filter(|h| !h.raw().is_none());
    handle.map(|h: OwnedHandle| Client::new(h.into_object()))
}

impl User {
    /// Takes the standard streams that the program was started with.
    #[must_use]
    pub fn new() -> User {
        User {
            input: stream(Slot::STDIN),
            output: stream(Slot::STDOUT),
            errors: stream(Slot::STDERR),
        }
    }

    /// A terminal that somebody sits at.
    #[must_use]
    pub fn terminal(&self) -> Option<&Client> {
        self.input.as_ref().filter(|input| input.size().is_ok())
    }

    /// Whether the standard output is a terminal.
    #[must_use]
    pub fn shows_output(&self) -> bool {
        self.output.as_ref().is_some_and(|o| o.size().is_ok())
    }

    /// A second channel to the standard input, for a thread.
    ///
    /// # Errors
    /// Those of making one.
    pub fn input(&self) -> core::result::Result<Option<Client>, Error> {
        match (&self.input, self.terminal()) {
            (_, Some(terminal)) => terminal.duplicate().map(|c| Some(Client::new(c))),
            (Some(input), None) => {
                let channel = input.connection().channel().try_clone()?;
                Ok(Some(Client::new(channel)))
            }
            (None, _) => Ok(None),
        }
    }

    /// Writes to the standard output.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        write_all(self.output.as_ref(), bytes).about("standard output")
    }

    /// Writes to the standard error.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub fn write_error(&self, bytes: &[u8]) -> Result<()> {
        write_all(self.errors.as_ref(), bytes).about("standard error")
    }

    /// A line on the standard error.
    pub fn say(&self, text: &str) {
        let line = alloc::format!("{text}\n");
        // There is nobody left to tell about it.
        let _ = self.write_error(line.as_bytes());
    }

    /// Asks for a line; what is typed shows only if `echo`.
    ///
    /// # Errors
    /// Without a terminal, at its end, and at control-C.
    pub fn ask(&self, question: &str, echo: bool) -> Result<Zeroizing<String>> {
        let Some(terminal) = self.terminal() else {
            return fail("there is no terminal to ask on");
        };
        write_all(Some(terminal), question.as_bytes()).about("the terminal")?;
        let mode = Mode {
            echo,
            ..Mode::COOKED
        };
        let before = terminal.set_mode(mode).about("the terminal")?;
        let line = read_line(terminal);
        let _ = terminal.set_mode(before);
        if !echo {
            let _ = write_all(Some(terminal), b"\n");
        }
        line
    }
}

impl Default for User {
    fn default() -> User {
        User::new()
    }
}

/// A line without its end.
fn read_line(input: &Client) -> Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    loop {
        let bytes = input
            .read(CHUNK_MAX as u32, FOREVER)
            .about("the terminal")?;
        if bytes.is_empty() {
            return fail("nothing was entered");
        }
        line.push_str(bytes.as_str().about("what was typed")?);
        if line.ends_with('\n') {
            let len = line.trim_end_matches(['\n', '\r']).len();
            line.truncate(len);
            return Ok(line);
        }
    }
}

fn write_all(to: Option<&Client>, bytes: &[u8]) -> core::result::Result<(), Error> {
    let Some(to) = to else { return Ok(()) };
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = to.write(rest.get(..CHUNK_MAX).unwrap_or(rest))?;
        rest = match rest.get(taken as usize..) {
            Some(behind) if taken > 0 => behind,
            _ => return Err(Error::PeerClosed),
        };
    }
    Ok(())
}
