//! Requests of the connection as a whole: forwarding of ports, signs of life (RFC 4254 sections 4
//! and 7.1).

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::Core;
use crate::wire::{Put, Reader};
use crate::{Config, Error, Event, message, request};

/// Answers to the peer that may wait for the caller, and requests of ours for the peer.
const GLOBAL_MAX: usize = 32;
/// Ports the server may be asked to listen on.
const FORWARDS_MAX: usize = 64;

/// What is asked and owed on either side.
pub(super) struct Global {
    asked: VecDeque<Asked>,
    due: VecDeque<Due>,
    forwards: Vec<(String, u16)>,
    keepalive: Keepalive,
}

/// A global request of ours that the peer has still to answer.
enum Asked {
    Keepalive,
    Forward { address: String, port: u16 },
    CancelForward,
}

/// An answer to a global request that we owe, in the order of the requests.
enum Due {
    Ready(Vec<u8>),
    Forward {
        chosen_port: bool,
        reply_wanted: bool,
    },
}

struct Keepalive {
    time: Option<Duration>,
    count: u32,
    unanswered: u32,
    at: Duration,
}

impl Global {
    pub fn new(config: &Config, now: Duration) -> Self {
        Global {
            asked: VecDeque::new(),
            due: VecDeque::new(),
            forwards: Vec::new(),
            keepalive: Keepalive {
                time: config.keepalive_time,
                count: config.keepalive_count,
                unanswered: 0,
                at: now,
            },
        }
    }

    /// Whether the server was asked to listen on this port.
    pub fn is_forwarded(&self, port: u16) -> bool {
        self.forwards.iter().any(|(_, known)| *known == port)
    }
}

impl Core {
    pub(crate) fn heard(&mut self) {
        self.global.keepalive.unanswered = 0;
        self.global.keepalive.at = self
            .now
            .saturating_add(self.global.keepalive.time.unwrap_or_default());
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        (self.authenticated && self.global.keepalive.time.is_some())
            .then_some(self.global.keepalive.at)
    }

    pub(crate) fn handle_timeout(&mut self) -> Result<(), Error> {
        let Some(time) = self.global.keepalive.time else {
            return Ok(());
        };
        if !self.authenticated || self.now < self.global.keepalive.at {
            return Ok(());
        }
        if self.global.keepalive.unanswered >= self.global.keepalive.count {
            return Err(Error::TimedOut);
        }
        self.global.keepalive.unanswered += 1;
        self.global.keepalive.at = self.now.saturating_add(time);
        self.global_request("keepalive@openssh.com", Asked::Keepalive, |_| {})
    }

    pub(super) fn handle_global_request(&mut self, mut body: Reader<'_>) -> Result<(), Error> {
        let name = body.text()?;
        let reply_wanted = body.bool()?;
        if self.global.due.len() >= GLOBAL_MAX {
            return Err(Error::LimitExceeded);
        }
        match name {
            "tcpip-forward" if self.is_server => {
                let address = request::lossy(body.string()?);
                let port = request::port(body.u32()?)?;
                self.global.due.push_back(Due::Forward {
                    chosen_port: port == 0,
                    reply_wanted,
                });
                self.events
                    .push_back(Event::ForwardRequested { address, port });
            }
            "cancel-tcpip-forward" if self.is_server => {
                let address = request::lossy(body.string()?);
                let port = request::port(body.u32()?)?;
                self.events
                    .push_back(Event::ForwardCancelled { address, port });
                if reply_wanted {
                    self.global
                        .due
                        .push_back(Due::Ready(alloc::vec![message::REQUEST_SUCCESS]));
                }
            }
            _ if reply_wanted => {
                self.global
                    .due
                    .push_back(Due::Ready(alloc::vec![message::REQUEST_FAILURE]));
            }
            _ => {}
        }
        self.send_due()
    }

    /// Sends the answers whose turn it is: they have to come in the order of the requests.
    fn send_due(&mut self) -> Result<(), Error> {
        while let Some(Due::Ready(_)) = self.global.due.front() {
            if let Some(Due::Ready(payload)) = self.global.due.pop_front()
                && !payload.is_empty()
            {
                self.transport.send(payload)?;
            }
        }
        Ok(())
    }

    pub(super) fn handle_global_reply(&mut self, success: Option<Reader<'_>>) -> Result<(), Error> {
        let unexpected = Error::UnexpectedMessage(match success {
            Some(_) => message::REQUEST_SUCCESS,
            None => message::REQUEST_FAILURE,
        });
        if let Asked::Forward { address, port } = self.global.asked.pop_front().ok_or(unexpected)? {
            let port = match success {
                Some(mut body) if port == 0 => Some(request::port(body.u32()?)?),
                Some(_) => Some(port),
                None => None,
            };
            if let Some(port) = port {
                self.global.forwards.push((address.clone(), port));
            }
            self.events.push_back(Event::ForwardReply { address, port });
        }
        Ok(())
    }

    fn global_request(
        &mut self,
        name: &str,
        asked: Asked,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        if !self.authenticated {
            return Err(Error::WrongState);
        }
        if self.global.asked.len() >= GLOBAL_MAX {
            return Err(Error::LimitExceeded);
        }
        let mut payload = alloc::vec![message::GLOBAL_REQUEST];
        payload.put_string(name);
        payload.put_bool(true);
        write(&mut payload);
        self.transport.send(payload)?;
        self.global.asked.push_back(asked);
        Ok(())
    }

    pub(crate) fn request_forward(&mut self, address: &str, port: u16) -> Result<(), Error> {
        if self.global.forwards.len() + self.global.asked.len() >= FORWARDS_MAX {
            return Err(Error::LimitExceeded);
        }
        let asked = Asked::Forward {
            address: String::from(address),
            port,
        };
        self.global_request("tcpip-forward", asked, |out| {
            out.put_string(address);
            out.put_u32(port.into());
        })
    }

    pub(crate) fn cancel_forward(&mut self, address: &str, port: u16) -> Result<(), Error> {
        self.global
            .forwards
            .retain(|(known, at)| known != address || *at != port);
        self.global_request("cancel-tcpip-forward", Asked::CancelForward, |out| {
            out.put_string(address);
            out.put_u32(port.into());
        })
    }

    pub(crate) fn answer_forward(&mut self, port: Option<u16>) -> Result<(), Error> {
        let due = self
            .global
            .due
            .iter_mut()
            .find(|due| matches!(due, Due::Forward { .. }));
        let due = due.ok_or(Error::WrongState)?;
        let Due::Forward {
            chosen_port,
            reply_wanted,
        } = *due
        else {
            return Err(Error::WrongState);
        };
        let mut payload = Vec::new();
        match port {
            _ if !reply_wanted => {}
            None => payload.put_u8(message::REQUEST_FAILURE),
            Some(port) => {
                payload.put_u8(message::REQUEST_SUCCESS);
                if chosen_port {
                    payload.put_u32(port.into());
                }
            }
        }
        *due = Due::Ready(payload);
        self.send_due()
    }
}
