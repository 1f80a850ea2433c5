//! The client: checking the host key, logging in, opening channels.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::channel::ChannelId;
use crate::connection::Core;
use crate::request::{ChannelKind, lossy};
use crate::session::{Role, Session, sealed, tcpip};
use crate::wire::{Put, Reader};
use crate::{Config, Error, Event, PrivateKey, Prompt, Prompts, message};

/// The client's side of a connection.
pub type Client = Session<ClientRole>;

const AUTH_SERVICE: &str = "ssh-userauth";
const CONNECTION_SERVICE: &str = "ssh-connection";
const PROMPTS_MAX: u32 = 16;
const METHODS_MAX: usize = 16;

/// How a client proves who its user is.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// Nothing: succeeds where no proof is asked for, and else tells the methods.
    None,
    /// A password.
    Password(Zeroizing<String>),
    /// A key.
    Key(PrivateKey),
    /// Answers to whatever the server asks, by [`Event::Prompts`].
    KeyboardInteractive,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::None => "None",
            Credential::Password(_) => "Password(..)",
            Credential::Key(_) => "Key(..)",
            Credential::KeyboardInteractive => "KeyboardInteractive",
        })
    }
}

/// State of the client's authentication.
pub struct ClientRole {
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waiting for the service to be accepted.
    Service,
    /// The caller may try.
    Idle,
    /// An attempt is under way.
    Trying(Method),
    /// The caller has to answer questions.
    Asked,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    None,
    Password,
    Key,
    KeyboardInteractive,
}

impl Session<ClientRole> {
    /// Starts a connection; the first output is ready at once.
    ///
    /// `rng` gives keys, nonces and padding, so it has to be both secret and quick.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if the algorithm lists are absurdly long.
    pub fn new(
        config: &Config,
        rng: impl CryptoRng + Send + 'static,
        now: Duration,
    ) -> Result<Client, Error> {
        Session::with_role(
            ClientRole {
                stage: Stage::Service,
            },
            config,
            None,
            rng,
            now,
        )
    }

    /// Says that the key of [`Event::HostKey`] is the right one.
    ///
    /// # Errors
    /// [`Error::WrongState`] if no key waits for a decision.
    pub fn accept_host_key(&mut self) -> Result<(), Error> {
        self.run(|core| core.transport.accept_host_key(core.now))
    }

    /// Ends the session because the key of [`Event::HostKey`] is not the right one.
    pub fn refuse_host_key(&mut self) {
        let _: Result<(), Error> = self.guard(Err(Error::HostKeyRefused));
    }

    /// Tries to log in; [`Event::Authenticated`], [`Event::AuthFailed`] or questions follow.
    ///
    /// # Errors
    /// [`Error::WrongState`] before [`Event::ReadyToAuthenticate`], while another attempt is
    /// under way, and after success.
    pub fn authenticate(&mut self, user: &str, credential: &Credential) -> Result<(), Error> {
        if self.role.stage != Stage::Idle {
            return Err(self.failed().unwrap_or(Error::WrongState));
        }
        let session = *self.core.transport.session().ok_or(Error::WrongState)?;
        let mut payload = alloc::vec![message::USERAUTH_REQUEST];
        payload.put_string(user);
        payload.put_string(CONNECTION_SERVICE);
        let method = match credential {
            Credential::None => {
                payload.put_string("none");
                Method::None
            }
            Credential::Password(password) => {
                payload.put_string("password");
                payload.put_bool(false);
                payload.put_string(password.as_bytes());
                Method::Password
            }
            Credential::Key(key) => {
                payload.put_string("publickey");
                payload.put_bool(true);
                payload.put_string(key.algorithm().name());
                payload.put_string(key.public().blob());
                payload.put_string(sign(key, &session, &payload));
                Method::Key
            }
            Credential::KeyboardInteractive => {
                payload.put_string("keyboard-interactive");
                payload.put_string("");
                payload.put_string("");
                Method::KeyboardInteractive
            }
        };
        self.run(|core| core.transport.send(payload))?;
        self.role.stage = Stage::Trying(method);
        Ok(())
    }

    /// Answers the questions of [`Event::Prompts`], in their order.
    ///
    /// # Errors
    /// [`Error::WrongState`] if nothing was asked.
    pub fn answer_prompts(&mut self, answers: &[Zeroizing<String>]) -> Result<(), Error> {
        if self.role.stage != Stage::Asked {
            return Err(self.failed().unwrap_or(Error::WrongState));
        }
        let mut payload = alloc::vec![message::USERAUTH_INFO_RESPONSE];
        payload.put_u32(answers.len() as u32);
        for answer in answers {
            payload.put_string(answer.as_bytes());
        }
        self.run(|core| core.transport.send(payload))?;
        self.role.stage = Stage::Trying(Method::KeyboardInteractive);
        Ok(())
    }

    /// Opens a channel for a program; [`Event::ChannelOpened`] follows.
    ///
    /// # Errors
    /// [`Error::WrongState`] before the log-in, [`Error::LimitExceeded`] for too many channels.
    pub fn open_session(&mut self) -> Result<ChannelId, Error> {
        self.open(&ChannelKind::Session)
    }

    /// Asks the server to connect somewhere (local forwarding).
    ///
    /// # Errors
    /// As [`open_session`](Self::open_session).
    pub fn open_direct_tcpip(
        &mut self,
        host: &str,
        port: u16,
        originator: (&str, u16),
    ) -> Result<ChannelId, Error> {
        self.open(&ChannelKind::DirectTcpip(tcpip(host, port, originator)))
    }

    /// Asks the server to listen (remote forwarding); [`Event::ForwardReply`] follows.
    ///
    /// # Errors
    /// [`Error::WrongState`] before the log-in, [`Error::LimitExceeded`] for too many ports.
    pub fn request_forward(&mut self, address: &str, port: u16) -> Result<(), Error> {
        self.run(|core| core.request_forward(address, port))
    }

    /// Asks the server to stop listening.
    ///
    /// # Errors
    /// As [`request_forward`](Self::request_forward).
    pub fn cancel_forward(&mut self, address: &str, port: u16) -> Result<(), Error> {
        self.run(|core| core.cancel_forward(address, port))
    }
}

/// "The value of 'signature' is a signature by the corresponding private key over the following
/// data": the session identifier, and the request so far (RFC 4252 section 7).
fn sign(key: &PrivateKey, session: &[u8], request: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    data.put_string(session);
    data.put_bytes(request);
    key.sign(&data)
}

impl sealed::Sealed for ClientRole {}

impl Role for ClientRole {
    fn keys_exchanged(&mut self, core: &mut Core) -> Result<(), Error> {
        let mut payload = alloc::vec![message::SERVICE_REQUEST];
        payload.put_string(AUTH_SERVICE);
        core.transport.send(payload)
    }

    fn is_waiting(&self) -> bool {
        false
    }

    fn handle(&mut self, core: &mut Core, number: u8, payload: &[u8]) -> Result<(), Error> {
        let mut body = Reader::new(payload);
        body.u8()?;
        match (number, self.stage) {
            (message::SERVICE_ACCEPT, Stage::Service) => {
                if body.text()? != AUTH_SERVICE {
                    return Err(Error::Malformed);
                }
                self.stage = Stage::Idle;
                core.events.push_back(Event::ReadyToAuthenticate);
            }
            (message::USERAUTH_BANNER, stage) if stage != Stage::Done => {
                core.events.push_back(Event::Banner(lossy(body.string()?)));
            }
            (message::USERAUTH_FAILURE, Stage::Trying(_) | Stage::Asked) => {
                let methods = body.text()?.split(',').filter(|name| !name.is_empty());
                let methods = methods.take(METHODS_MAX).map(String::from).collect();
                self.stage = Stage::Idle;
                core.events.push_back(Event::AuthFailed {
                    methods,
                    partial: body.bool()?,
                });
            }
            (message::USERAUTH_SUCCESS, Stage::Trying(_)) => {
                self.stage = Stage::Done;
                core.authenticated = true;
                core.events.push_back(Event::Authenticated);
            }
            (message::USERAUTH_PK_OK, Stage::Trying(Method::Password)) => {
                self.stage = Stage::Idle;
                core.events
                    .push_back(Event::PasswordExpired(lossy(body.string()?)));
            }
            (message::USERAUTH_PK_OK, Stage::Trying(Method::KeyboardInteractive)) => {
                self.stage = Stage::Asked;
                core.events
                    .push_back(Event::Prompts(read_prompts(&mut body)?));
            }
            _ => return Err(Error::UnexpectedMessage(number)),
        }
        Ok(())
    }
}

/// Reads SSH_MSG_USERAUTH_INFO_REQUEST (RFC 4256 section 3.2).
fn read_prompts(body: &mut Reader<'_>) -> Result<Prompts, Error> {
    let name = lossy(body.string()?);
    let instruction = lossy(body.string()?);
    body.string()?;
    let count = body.u32()?;
    if count > PROMPTS_MAX {
        return Err(Error::LimitExceeded);
    }
    let mut prompts = Vec::new();
    for _ in 0..count {
        prompts.push(Prompt {
            text: lossy(body.string()?),
            echo: body.bool()?,
        });
    }
    Ok(Prompts {
        name,
        instruction,
        prompts,
    })
}
