//! A program of a session: its process, and the terminal or streams it has.

use crate::terminal::Seat;
use crate::world::{Launch, World};
use alloc::string::String;
use viper_console::{SeatKind, Terminal};
use viper_proto::console::Size;
use viper_rt::abi::{EndReason, FaultKind, ProcessInfo, Signals, Slot};
use viper_rt::handle::{Channel, Process};
use viper_rt::server::Sources;
use viper_rt::{Error, Object};
use viper_ssh::{ChannelId, Request, TerminalSize};

const DEPTH: u32 = 8;

/// A program that was started for a channel.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) terminal: Terminal,
    process: Process,
    process_id: u64,
    sources: Sources<Seat>,
    exit: Option<Request>,
    /// The signal that the client sent to end it.
    signal: Option<String>,
    next_seat: u64,
}

impl Program {
    /// Starts a program; the loop hears of its end under the connection's number.
    pub(crate) fn start<W: World>(
        world: &mut W,
        sources: &Sources<Seat>,
        (connection, channel): (u32, ChannelId),
        launch: &Launch,
    ) -> Result<Program, Error> {
        let seats: &[(Slot, SeatKind)] = match launch.terminal {
            Some(_) => &[
                (Slot::STDIN, SeatKind::Terminal),
                (Slot::STDOUT, SeatKind::Terminal),
                (Slot::STDERR, SeatKind::Terminal),
            ],
            None => &[
                (Slot::STDIN, SeatKind::Input),
                (Slot::STDOUT, SeatKind::Output),
                (Slot::STDERR, SeatKind::Errors),
            ],
        };
        let (mut streams, mut ours) = (alloc::vec::Vec::new(), alloc::vec::Vec::new());
        for (id, (slot, kind)) in (0..).zip(seats) {
            let (here, there) = Channel::pair(DEPTH)?;
            let seat = Seat {
                connection,
                channel,
                seat: viper_console::Seat { id, kind: *kind },
            };
            ours.push((here, seat));
            streams.push((*slot, there.into_owned()));
        }
        let process = world.start(launch, streams)?;
        let program = Program {
            terminal: Terminal::new(launch.terminal.as_ref().map(|(_, size)| *size)),
            process_id: process.info()?.id,
            process,
            sources: sources.clone(),
            exit: None,
            signal: None,
            next_seat: seats.len() as u64,
        };
        if let Err(error) = sources.watch(&program.process, connection, Signals::ENDED) {
            let _ = program.process.kill(20);
            return Err(error);
        }
        for (channel, seat) in ours {
            sources.adopt(channel, seat);
        }
        Ok(program)
    }

    /// Another channel to the terminal.
    pub(crate) fn duplicate(&mut self, seat: &Seat) -> Result<Channel, Error> {
        let (ours, theirs) = Channel::pair(DEPTH)?;
        let mut copy = seat.clone();
        copy.seat.id = self.next_seat;
        self.next_seat += 1;
        self.sources.adopt(ours, copy);
        Ok(theirs)
    }

    /// Looks whether the process has ended.
    pub(crate) fn look(&mut self) {
        // What is in a poll set cannot be waited for, but asked.
        let info = match self.process.info() {
            _ if self.exit.is_some() => return,
            Ok(info) if info.end_reason == EndReason::RUNNING => return,
            info => info.ok(),
        };
        let _ = self.sources.unwatch(&self.process);
        self.exit = Some(exit_request(info.as_ref(), self.signal.take()));
        self.terminal.hang_up();
    }

    /// How it ended, once it has.
    pub(crate) fn exit(&self) -> Option<&Request> {
        self.exit.as_ref()
    }

    /// Delivers a signal of the client; tells whether there is such a signal here.
    pub(crate) fn signal(&mut self, name: &str) -> bool {
        match name {
            "INT" if self.terminal.interrupt_now() => true,
            "INT" | "TERM" | "KILL" | "HUP" | "QUIT" | "ABRT" => {
                self.signal = Some(name.into());
                self.process.kill(20).is_ok()
            }
            _ => false,
        }
    }

    /// Ends it with all that it started, and gives back what it had.
    pub(crate) fn end<W: World>(self, world: &mut W) {
        if self.exit.is_none() {
            let _ = self.sources.unwatch(&self.process);
            // It may have ended meanwhile, which is as good.
            let _ = self.process.kill(20);
        }
        world.end_family(self.process_id);
    }
}

/// What is told to the client about the end of a process.
fn exit_request(info: Option<&ProcessInfo>, signal: Option<String>) -> Request {
    let Some(info) = info else {
        return Request::ExitStatus(20);
    };
    let by_signal = |signal: String, message: String| Request::ExitSignal {
        signal,
        core_dumped: false,
        message,
    };
    match info.end_reason {
        EndReason::FAULT => by_signal(
            fault_signal(info.fault_kind).into(),
            alloc::format!(
                "{} at {:#x}, pc {:#x}",
                info.fault_kind.name(),
                info.fault_address,
                info.fault_pc
            ),
        ),
        EndReason::KILLED => by_signal(signal.unwrap_or_else(|| "KILL".into()), String::new()),
        _ => Request::ExitStatus(u32::try_from(info.exit_code).unwrap_or(20)),
    }
}

fn fault_signal(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::ILLEGAL => "ILL",
        FaultKind::ALIGNMENT => "BUS",
        FaultKind::BREAKPOINT => "TRAP",
        _ => "SEGV",
    }
}

/// The size of a window as the console protocol has it; what the client does not know is usual.
pub(crate) fn size(size: TerminalSize) -> Size {
    let known = |cells: u32, usual| if cells == 0 { usual } else { cells.min(1000) };
    Size {
        columns: known(size.columns, 80),
        rows: known(size.rows, 24),
    }
}
