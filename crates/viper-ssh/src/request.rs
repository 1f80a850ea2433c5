//! What is asked on channels and of the connection as a whole (RFC 4254 sections 4, 6 and 7).

use alloc::string::String;
use alloc::vec::Vec;

use crate::Error;
use crate::wire::{Put, Reader};

/// What a channel is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelKind {
    /// A program, a shell or a subsystem.
    Session,
    /// A connection the client wants the server to make.
    DirectTcpip(Tcpip),
    /// A connection that came to a port the server listens on for the client.
    ForwardedTcpip(Tcpip),
}

/// The two ends of a forwarded connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcpip {
    /// Where to connect to, or where the connection came in.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Who connected.
    pub originator: String,
    /// The port there.
    pub originator_port: u16,
}

/// Size of a terminal. Zero means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalSize {
    /// Width in characters.
    pub columns: u32,
    /// Height in characters.
    pub rows: u32,
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
}

/// A request on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Give the session a terminal.
    Pty {
        /// The value for `TERM`.
        term: String,
        /// Its size.
        size: TerminalSize,
        /// Encoded terminal modes (RFC 4254 section 8), as they came.
        modes: Vec<u8>,
    },
    /// Set a variable for the program.
    Env {
        /// Its name.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// Start the user's shell.
    Shell,
    /// Run a command.
    Exec(Vec<u8>),
    /// Start a subsystem, such as `sftp`.
    Subsystem(String),
    /// The terminal has a new size.
    WindowChange(TerminalSize),
    /// Send a signal, named without `SIG`, to the program.
    Signal(String),
    /// Send a break on a serial line (RFC 4335).
    Break {
        /// How long.
        milliseconds: u32,
    },
    /// The program ended with this status.
    ExitStatus(u32),
    /// The program was ended by a signal.
    ExitSignal {
        /// Named without `SIG`.
        signal: String,
        /// Whether it left a core file.
        core_dumped: bool,
        /// For people.
        message: String,
    },
}

impl Request {
    /// The type as it stands on the wire.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Request::Pty { .. } => "pty-req",
            Request::Env { .. } => "env",
            Request::Shell => "shell",
            Request::Exec(_) => "exec",
            Request::Subsystem(_) => "subsystem",
            Request::WindowChange(_) => "window-change",
            Request::Signal(_) => "signal",
            Request::Break { .. } => "break",
            Request::ExitStatus(_) => "exit-status",
            Request::ExitSignal { .. } => "exit-signal",
        }
    }

    /// Reads the type-specific part. `None` for a type that is not known.
    pub(crate) fn parse(name: &str, body: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        let request = match name {
            "pty-req" => Request::Pty {
                term: lossy(body.string()?),
                size: TerminalSize::parse(body)?,
                modes: body.string()?.to_vec(),
            },
            "env" => Request::Env {
                name: lossy(body.string()?),
                value: body.string()?.to_vec(),
            },
            "shell" => Request::Shell,
            "exec" => Request::Exec(body.string()?.to_vec()),
            "subsystem" => Request::Subsystem(lossy(body.string()?)),
            "window-change" => Request::WindowChange(TerminalSize::parse(body)?),
            "signal" => Request::Signal(lossy(body.string()?)),
            "break" => Request::Break {
                milliseconds: body.u32()?,
            },
            "exit-status" => Request::ExitStatus(body.u32()?),
            "exit-signal" => {
                let request = Request::ExitSignal {
                    signal: lossy(body.string()?),
                    core_dumped: body.bool()?,
                    message: lossy(body.string()?),
                };
                body.string()?;
                request
            }
            _ => return Ok(None),
        };
        Ok(Some(request))
    }

    /// Writes the type-specific part.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Request::Pty { term, size, modes } => {
                out.put_string(term);
                size.write(out);
                out.put_string(modes);
            }
            Request::Env { name, value } => {
                out.put_string(name);
                out.put_string(value);
            }
            Request::Shell => {}
            Request::Exec(command) => out.put_string(command),
            Request::Subsystem(name) | Request::Signal(name) => out.put_string(name),
            Request::WindowChange(size) => size.write(out),
            Request::Break {
                milliseconds: value,
            }
            | Request::ExitStatus(value) => {
                out.put_u32(*value);
            }
            Request::ExitSignal {
                signal,
                core_dumped,
                message,
            } => {
                out.put_string(signal);
                out.put_bool(*core_dumped);
                out.put_string(message);
                out.put_string("");
            }
        }
    }

    /// Whether a client may ask it; the rest only comes from a server.
    pub(crate) fn is_from_client(&self) -> bool {
        !matches!(self, Request::ExitStatus(_) | Request::ExitSignal { .. })
    }
}

impl TerminalSize {
    fn parse(body: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(TerminalSize {
            columns: body.u32()?,
            rows: body.u32()?,
            width_px: body.u32()?,
            height_px: body.u32()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        for value in [self.columns, self.rows, self.width_px, self.height_px] {
            out.put_u32(value);
        }
    }
}

impl Tcpip {
    pub(crate) fn parse(body: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Tcpip {
            host: lossy(body.string()?),
            port: port(body.u32()?)?,
            originator: lossy(body.string()?),
            originator_port: port(body.u32()?)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(&self.host);
        out.put_u32(self.port.into());
        out.put_string(&self.originator);
        out.put_u32(self.originator_port.into());
    }
}

impl ChannelKind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            ChannelKind::Session => "session",
            ChannelKind::DirectTcpip(_) => "direct-tcpip",
            ChannelKind::ForwardedTcpip(_) => "forwarded-tcpip",
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            ChannelKind::Session => {}
            ChannelKind::DirectTcpip(tcpip) | ChannelKind::ForwardedTcpip(tcpip) => {
                tcpip.write(out);
            }
        }
    }
}

/// A port number from the wire, where it has 32 bits.
pub(crate) fn port(value: u32) -> Result<u16, Error> {
    u16::try_from(value).map_err(|_| Error::Malformed)
}

/// Text from the wire; what is no UTF-8 becomes a replacement character.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
