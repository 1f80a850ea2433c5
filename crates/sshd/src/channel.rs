//! The channels of a connection, and what is behind each.

use crate::job::Job;
use crate::net::{Network, Socket};
use crate::program::Program;
use crate::sftp::Sftp;
use crate::terminal::Screen;
use crate::world::{Launch, World};
use viper_rt::Error;
use viper_ssh::pump::Joint;
use viper_ssh::{ChannelId, Request, Server};

/// A connection of the world's network.
pub(crate) type Tcp<W> = <<W as World>::Network as Network>::Stream;

/// What is behind a channel.
pub(crate) enum Local<W: World> {
    /// A session for which nothing was started, or whose channel is being closed.
    Nothing,
    /// A program.
    Program(alloc::boxed::Box<Program>),
    /// Files.
    Files(Sftp),
    /// A forwarded connection.
    Tcp(Socket<Tcp<W>>),
    /// A connection that is being made, before the channel is accepted.
    Connecting(Job<Result<Tcp<W>, Error>>),
    /// A connection that came in, before the client accepts the channel.
    Offered(Socket<Tcp<W>>),
}

/// A channel.
pub(crate) struct Channel<W: World> {
    pub(crate) joint: Joint,
    pub(crate) local: Local<W>,
    /// What is to be started, as far as it is known.
    pub(crate) launch: Launch,
    /// The client has closed it: what came before that is still delivered.
    pub(crate) is_closed: bool,
}

impl<W: World> Channel<W> {
    pub(crate) fn new(local: Local<W>) -> Self {
        Channel {
            joint: Joint::default(),
            local,
            launch: Launch::default(),
            is_closed: false,
        }
    }

    /// The program, if that is what it has.
    pub(crate) fn program(&mut self) -> Option<&mut Program> {
        match &mut self.local {
            Local::Program(program) => Some(program),
            _ => None,
        }
    }

    /// Moves bytes, and closes the channel when there are no more; tells whether anything moved.
    pub(crate) fn pump(
        &mut self,
        session: &mut Server,
        id: ChannelId,
        world: &mut W,
        space: &mut [u8],
    ) -> bool {
        let moved = match &mut self.local {
            Local::Program(program) => {
                program.look();
                let mut screen = Screen(&mut program.terminal);
                self.joint.pump(session, id, &mut screen, space)
            }
            Local::Files(files) => self.joint.pump(session, id, files, space),
            Local::Tcp(socket) => self.joint.pump(session, id, socket, space),
            Local::Nothing | Local::Connecting(_) | Local::Offered(_) => false,
        };
        let drained = self.joint.is_drained();
        let exit = match &self.local {
            Local::Program(program) if drained => program.exit().cloned(),
            Local::Files(_) if drained => Some(Request::ExitStatus(0)),
            _ => None,
        };
        let is_over = match &self.local {
            Local::Tcp(socket) => {
                socket.is_lost() || (drained || self.is_closed) && self.joint.is_finished()
            }
            _ => exit.is_some(),
        };
        if is_over {
            if let Some(exit) = exit {
                // The client may have closed the channel meanwhile, as it may the next.
                let _ = session.request(id, &exit, false);
            }
            let _ = session.close(id);
            self.end(world);
        }
        moved || is_over
    }

    /// Whether it can be forgotten: closed, and everything delivered.
    pub(crate) fn is_done(&self) -> bool {
        self.is_closed && matches!(self.local, Local::Nothing)
    }

    /// Gives back what is behind it.
    pub(crate) fn end(&mut self, world: &mut W) {
        if let Local::Program(program) = core::mem::replace(&mut self.local, Local::Nothing) {
            program.end(world);
        }
    }
}
