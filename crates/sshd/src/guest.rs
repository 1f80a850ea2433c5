//! The world of the server on ViperOS.

use crate::files::GuestFiles;
use crate::login::Identity;
use crate::net;
use crate::world::{Launch, World};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use viper_proto::entropy::Random;
use viper_proto::names;
use viper_proto::net::client::{Network, TcpListener, TcpStream};
use viper_rt::abi::{Handle, Rights, Slot};
use viper_rt::handle::{Event, OwnedHandle, Process, Quota, System};
use viper_rt::spawn::{Program, Start};
use viper_rt::{Error, Object, program};

/// The shell, in the boot archive.
const SHELL: &[u8] = b"sh";
/// Memory that one session may use, with all that it starts, in bytes.
const SESSION_BYTES: u64 = 48 << 20;
const PRIORITY: u8 = 3;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 8;

/// ViperOS.
#[derive(Debug)]
pub struct Guest {
    names: names::Client,
    network: Network,
    system: Option<System>,
    quota: Option<Quota>,
    shell: Option<Program>,
}

impl Guest {
    /// Takes what the process was started with.
    ///
    /// # Errors
    /// [`Error::NoService`] without a name channel or a network.
    pub fn new() -> Result<Guest, Error> {
        let names = program::take(Slot::NAMES).ok_or(Error::NoService)?;
        let names = names::Client::new(names.into_object());
        Ok(Guest {
            network: Network::connect_through(&names)?,
            names,
            system: program::take(Slot::SYSTEM).map(OwnedHandle::into_object),
            quota: program::take(Slot::QUOTA).map(OwnedHandle::into_object),
            shell: None,
        })
    }

    /// The shell's executable, which is loaded once; its sessions share it.
    fn shell(&mut self) -> Result<&Program, Error> {
        if self.shell.is_none() {
            let (len, memory) = self.names.boot_memory(SHELL)?;
            self.shell = Some(Program::from_memory(&memory, 0, len)?);
        }
        self.shell.as_ref().ok_or(Error::NotFound)
    }
}

impl World for Guest {
    type Network = Network;
    type Files = GuestFiles;
    type Random = Random;

    fn network(&self) -> &Network {
        &self.network
    }

    fn start(
        &mut self,
        launch: &Launch,
        streams: Vec<(Slot, OwnedHandle)>,
    ) -> Result<Process, Error> {
        self.shell()?;
        let quota = self.quota.as_ref().ok_or(Error::NoRight)?;
        let quota = quota.carve(SESSION_BYTES)?;
        // A session may what this server may, and no more; files are those of its user.
        let Identity { user, group } = launch.identity;
        let all = names::rights::ALL;
        let names = self.names.duplicate_as(all, user, group)?;
        let mut handles: Vec<(Slot, Handle, Rights)> = streams
            .iter()
            .map(|(slot, handle)| (*slot, handle.raw(), Rights::ALL))
            .collect();
        handles.push((Slot::NAMES, names.raw(), Rights::ALL));
        handles.push((Slot::QUOTA, quota.raw(), Rights::ALL));
        if let Some(system) = &self.system {
            // To see memory and processes; not to end others' or turn the machine off.
            handles.push((Slot::SYSTEM, system.raw(), Rights::READ));
        }
        let mut arguments: Vec<&[u8]> = Vec::from([SHELL]);
        if let Some(command) = &launch.command {
            arguments.extend([b"-c".as_slice(), command.as_bytes()]);
        }
        let environment: Vec<&[u8]> = launch.environment.iter().map(String::as_bytes).collect();
        self.shell.as_ref().ok_or(Error::NotFound)?.start(&Start {
            name: "sh",
            quota: &quota,
            priority: PRIORITY,
            arguments: &arguments,
            environment: &environment,
            handles: &handles,
        })
    }

    fn end_family(&mut self, process_id: u64) {
        // Init may be gone only with the whole system.
        let _ = self.names.end_family(process_id);
    }

    fn files(&mut self, identity: Identity) -> Result<GuestFiles, Error> {
        let Identity { user, group } = identity;
        let own = self.names.duplicate_as(0, user, group)?;
        Ok(GuestFiles::new(names::Client::new(own)))
    }

    fn random(&mut self) -> Result<Random, Error> {
        Random::new(&self.names)
    }

    fn tell(&mut self, line: &str) {
        viper_rt::eprintln!("sshd: {line}");
    }
}

impl net::Network for Network {
    type Stream = TcpStream;
    type Listener = TcpListener;

    fn listen(&self, at: IpAddr, port: u16) -> Result<TcpListener, Error> {
        self.tcp_listen(SocketAddr::new(at, port), BACKLOG)
    }

    fn connect(&self, host: &str, port: u16, deadline: u64) -> Result<TcpStream, Error> {
        let mut result = Err(Error::NotFound);
        for address in self.resolve(host, deadline)? {
            result = self.tcp_connect(SocketAddr::new(address, port), deadline);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

impl net::Stream for TcpStream {
    fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        TcpStream::try_read(self, to)
    }

    fn try_write(&mut self, from: &[u8]) -> Result<usize, Error> {
        TcpStream::try_write(self, from)
    }

    fn shutdown_write(&mut self) -> Result<(), Error> {
        TcpStream::shutdown_write(self)
    }

    fn peer(&self) -> SocketAddr {
        TcpStream::peer(self)
    }

    fn event(&self) -> &Event {
        TcpStream::event(self)
    }
}

impl net::Listener for TcpListener {
    type Stream = TcpStream;

    fn try_accept(&mut self) -> Result<TcpStream, Error> {
        TcpListener::try_accept(self)
    }

    fn port(&self) -> u16 {
        self.local().port()
    }

    fn event(&self) -> &Event {
        TcpListener::event(self)
    }
}
