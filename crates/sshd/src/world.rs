//! What the server needs of the system around it, so that tests can give it another one.

use crate::login::Identity;
use crate::net::Network;
use alloc::string::String;
use alloc::vec::Vec;
use rand_core::CryptoRng;
use viper_proto::console::Size;
use viper_rt::Error;
use viper_rt::abi::Slot;
use viper_rt::handle::{OwnedHandle, Process};
use viper_ssh::sftp::SftpFs;

/// What a session asks to be started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// Who asks.
    pub user: String,
    /// For whom it is to work.
    pub identity: Identity,
    /// The command; `None` for a shell to type into.
    pub command: Option<String>,
    /// Name and size of the terminal, if there is one.
    pub terminal: Option<(String, Size)>,
    /// Variables, as `NAME=value`.
    pub environment: Vec<String>,
    /// It was started: there is one program for each channel.
    pub(crate) started: bool,
}

/// The world of the server.
pub trait World: 'static {
    /// The network.
    type Network: Network;
    /// The files.
    type Files: SftpFs + Send + 'static;
    /// A source of randomness.
    type Random: CryptoRng + Send + 'static;

    /// The network.
    fn network(&self) -> &Self::Network;

    /// Starts the shell with these handles as its standard streams.
    ///
    /// # Errors
    /// Any error: the client hears that its request failed.
    fn start(
        &mut self,
        launch: &Launch,
        streams: Vec<(Slot, OwnedHandle)>,
    ) -> Result<Process, Error>;

    /// Ends a process with what it started, and what that started. It may have ended already.
    fn end_family(&mut self, process_id: u64);

    /// The files as a user may use them, for a thread of its own.
    ///
    /// # Errors
    /// Any error: what needs files fails.
    fn files(&mut self, identity: Identity) -> Result<Self::Files, Error>;

    /// A generator with a fresh seed.
    ///
    /// # Errors
    /// [`Error::NoService`] without a source of entropy: nobody is served then.
    fn random(&mut self) -> Result<Self::Random, Error>;

    /// Tells about a problem that nobody else would hear of.
    fn tell(&mut self, line: &str);
}
