//! Connecting clients to servers, now or when they are ready.

use super::{CLIENT_DEPTH, Init};
use crate::manifest::Cap;
use crate::supervision::State;
use crate::world::World;
use viper_proto::names::rights;
use viper_rt::abi::NOW;
use viper_rt::handle::Channel;
use viper_rt::server::{Deferrable, Outcome, Pending, supervisor};
use viper_rt::{Error, client, clock};

/// A client that waits for a server to be ready.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) deadline: u64,
    server: usize,
    who: super::NameClient,
    pending: Pending<Channel>,
}

/// Most clients that wait.
const WAITERS_MAX: usize = 256;

impl<W: World> Init<W> {
    pub(super) fn connect_client(
        &mut self,
        who: &super::NameClient,
        call: Deferrable<Channel>,
        name: &str,
        deadline: u64,
    ) -> Outcome<Channel> {
        let server = match self.permitted(who, name) {
            Ok(server) => server,
            Err(error) => return Outcome::Now(Err(error)),
        };
        let state = self.managed[server].supervision.state();
        match state {
            State::Ready => Outcome::Now(self.introduce(server, who)),
            State::Off | State::Failed => Outcome::Now(Err(Error::NoService)),
            _ if deadline <= clock::now() => Outcome::Now(Err(Error::TimedOut)),
            _ if self.waiters.len() >= WAITERS_MAX => Outcome::Now(Err(Error::LimitReached)),
            _ => match call.detach() {
                Ok(pending) => {
                    self.waiters.push(Waiter {
                        deadline,
                        server,
                        who: who.clone(),
                        pending,
                    });
                    Outcome::Later
                }
                Err(error) => Outcome::Now(Err(error)),
            },
        }
    }

    /// Answers those whose server is ready or without hope, and those that waited long enough.
    pub(super) fn answer_waiters(&mut self) {
        let now = clock::now();
        let mut index = 0;
        while let Some(waiter) = self.waiters.get(index) {
            let supervision = &self.managed[waiter.server].supervision;
            let is_ready = supervision.state() == State::Ready;
            if !is_ready && supervision.has_hope() && waiter.deadline > now {
                index += 1;
                continue;
            }
            let has_hope = supervision.has_hope();
            let waiter = self.waiters.swap_remove(index);
            let result = if is_ready {
                self.introduce(waiter.server, &waiter.who)
            } else if has_hope {
                Err(Error::TimedOut)
            } else {
                Err(Error::NoService)
            };
            waiter.pending.answer(result);
        }
    }

    /// The server of a service, if this client may connect to it.
    fn permitted(&self, who: &super::NameClient, name: &str) -> Result<usize, Error> {
        let wanted = name.to_ascii_uppercase();
        let server = self
            .managed
            .iter()
            .position(|m| m.entry.service() == wanted);
        let server = server.ok_or(Error::NotFound)?;
        let caps = &self
            .managed
            .get(who.owner)
            .ok_or(Error::NoRight)?
            .entry
            .caps;
        if caps.contains(&Cap::Connect(wanted)) {
            Ok(server)
        } else {
            Err(Error::NoRight)
        }
    }

    /// Makes a channel and gives one end to the server.
    fn introduce(&mut self, server: usize, who: &super::NameClient) -> Result<Channel, Error> {
        let service = self.managed[server].entry.service();
        let owner = self.managed.get(who.owner).ok_or(Error::NoRight)?;
        let grant = owner.entry.grants(service);
        let to = self.managed[server]
            .channel
            .as_ref()
            .ok_or(Error::NoService)?;
        let (ours, theirs) = Channel::pair(CLIENT_DEPTH)?;
        let message = (
            who.process_id,
            rights::ALL,
            theirs,
            grant.as_bytes(),
            u64::from(who.user),
            u64::from(who.group),
        );
        match client::send(to, supervisor::NEW_CLIENT, message, NOW) {
            Ok(()) => Ok(ours),
            Err(Error::WouldBlock) => Err(Error::Busy),
            // It has just died (`PeerClosed`): whoever asks again waits for the next one.
            Err(error) => Err(error),
        }
    }
}
