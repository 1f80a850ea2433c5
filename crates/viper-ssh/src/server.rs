//! The server: letting users in, taking channels.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::algorithm::SignatureAlgorithm;
use crate::channel::ChannelId;
use crate::connection::Core;
use crate::request::{ChannelKind, lossy};
use crate::session::{Role, Session, sealed, tcpip};
use crate::wire::{Put, Reader};
use crate::{
    AuthAnswer, AuthAttempt, AuthMethod, Error, Event, Prompts, PublicKey, ServerConfig, message,
};

/// The server's side of a connection.
pub type Server = Session<ServerRole>;

const AUTH_SERVICE: &[u8] = b"ssh-userauth";
const CONNECTION_SERVICE: &[u8] = b"ssh-connection";
const ANSWERS_MAX: u32 = 16;

/// State of the server's authentication.
pub struct ServerRole {
    config: ServerConfig,
    stage: Stage,
    user: String,
    attempts: u32,
    asked_for_methods: bool,
    /// This attempt is not counted.
    free_attempt: bool,
}

enum Stage {
    /// Waiting for the service to be asked for.
    Service,
    /// Waiting for the client to try.
    Idle,
    /// The caller has to decide.
    Deciding(Pending),
    /// The client has to answer questions.
    Asked,
    Done,
}

/// What the caller decides upon.
enum Pending {
    Proof,
    /// A key was offered; if it would do, this is the answer.
    Offer(Vec<u8>),
    Questions,
}

impl Session<ServerRole> {
    /// Starts a connection; the first output is ready at once.
    ///
    /// `rng` gives keys, nonces and padding, so it has to be both secret and quick.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if the algorithm lists are absurdly long.
    pub fn new(
        config: ServerConfig,
        rng: impl CryptoRng + Send + 'static,
        now: Duration,
    ) -> Result<Server, Error> {
        let common = config.common.clone();
        let host_keys = config.host_keys.clone();
        let role = ServerRole {
            config,
            stage: Stage::Service,
            user: String::new(),
            attempts: 0,
            asked_for_methods: false,
            free_attempt: false,
        };
        Session::with_role(role, &common, Some(&host_keys), rng, now)
    }

    /// Decides on [`Event::AuthAttempt`].
    ///
    /// # Errors
    /// [`Error::WrongState`] if none waits, or for questions where none can be asked;
    /// [`Error::TooManyAttempts`] if this was the last one, which ends the session.
    pub fn answer_auth(&mut self, answer: AuthAnswer) -> Result<(), Error> {
        if let Some(error) = self.failed() {
            return Err(error);
        }
        let Stage::Deciding(pending) = core::mem::replace(&mut self.role.stage, Stage::Idle) else {
            return Err(Error::WrongState);
        };
        let result = self.role.answer(&mut self.core, pending, answer);
        if self.core.authenticated {
            self.logged_in();
        }
        self.guard(result)
    }

    /// The user who logged in, or last tried to.
    pub fn user(&self) -> &str {
        &self.role.user
    }

    /// Answers the oldest [`Event::ForwardRequested`]: the port listened on, or `None`.
    ///
    /// # Errors
    /// [`Error::WrongState`] if none is due.
    pub fn answer_forward(&mut self, port: Option<u16>) -> Result<(), Error> {
        self.run(|core| core.answer_forward(port))
    }

    /// Offers the client a connection that came to a port it asked for.
    ///
    /// `address` and `port` are those of the client's request.
    ///
    /// # Errors
    /// [`Error::WrongState`] before the log-in, [`Error::LimitExceeded`] for too many channels.
    pub fn open_forwarded_tcpip(
        &mut self,
        address: &str,
        port: u16,
        originator: (&str, u16),
    ) -> Result<ChannelId, Error> {
        self.open(&ChannelKind::ForwardedTcpip(tcpip(
            address, port, originator,
        )))
    }
}

impl sealed::Sealed for ServerRole {}

impl Role for ServerRole {
    fn keys_exchanged(&mut self, _core: &mut Core) -> Result<(), Error> {
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Deciding(_))
    }

    fn handle(&mut self, core: &mut Core, number: u8, payload: &[u8]) -> Result<(), Error> {
        let mut body = Reader::new(payload);
        body.u8()?;
        match (number, &self.stage) {
            (message::SERVICE_REQUEST, Stage::Service) => self.start_service(core, body),
            // "all further authentication requests received after that SHOULD be silently ignored"
            (message::USERAUTH_REQUEST, Stage::Done) => Ok(()),
            (message::USERAUTH_REQUEST, Stage::Idle | Stage::Asked) => {
                self.handle_request(core, payload)
            }
            (message::USERAUTH_INFO_RESPONSE, Stage::Asked) => self.handle_answers(core, body),
            _ => Err(Error::UnexpectedMessage(number)),
        }
    }
}

impl ServerRole {
    fn start_service(&mut self, core: &mut Core, mut body: Reader<'_>) -> Result<(), Error> {
        if body.string()? != AUTH_SERVICE {
            return Err(Error::UnexpectedMessage(message::SERVICE_REQUEST));
        }
        let mut payload = alloc::vec![message::SERVICE_ACCEPT];
        payload.put_string(AUTH_SERVICE);
        core.transport.send(payload)?;
        if let Some(banner) = &self.config.banner {
            let mut payload = alloc::vec![message::USERAUTH_BANNER];
            payload.put_string(banner);
            payload.put_string("");
            core.transport.send(payload)?;
        }
        self.stage = Stage::Idle;
        Ok(())
    }

    fn handle_request(&mut self, core: &mut Core, payload: &[u8]) -> Result<(), Error> {
        let mut body = Reader::new(payload);
        body.u8()?;
        self.stage = Stage::Idle;
        self.user = lossy(body.string()?);
        if body.string()? != CONNECTION_SERVICE {
            return self.refuse(core, false);
        }
        match body.text()? {
            "none" => {
                // The usual way to ask for the methods is not held against the client, once.
                self.free_attempt = !core::mem::replace(&mut self.asked_for_methods, true);
                self.ask_caller(core, AuthMethod::None, Pending::Proof)
            }
            "password" if self.config.password => {
                let change = body.bool()?;
                let password = Zeroizing::new(lossy(body.string()?));
                if change {
                    return self.refuse(core, false);
                }
                self.ask_caller(core, AuthMethod::Password(password), Pending::Proof)
            }
            "publickey" if self.config.public_key => self.handle_key(core, payload, body),
            "keyboard-interactive" if self.config.keyboard_interactive => {
                self.ask_caller(core, AuthMethod::KeyboardInteractive, Pending::Questions)
            }
            _ => self.refuse(core, false),
        }
    }

    /// The public key method (RFC 4252 section 7).
    fn handle_key(
        &mut self,
        core: &mut Core,
        payload: &[u8],
        mut body: Reader<'_>,
    ) -> Result<(), Error> {
        let proven = body.bool()?;
        let algorithm_name = body.text()?;
        let blob = body.string()?;
        let signed_len = payload.len() - body.len();
        let algorithm = SignatureAlgorithm::from_name(algorithm_name);
        let key = PublicKey::from_blob(blob).ok();
        let usable = algorithm
            .zip(key)
            .filter(|(algorithm, key)| key.fits(*algorithm));
        let Some((algorithm, key)) = usable else {
            return self.refuse(core, false);
        };
        if !proven {
            let mut offer = alloc::vec![message::USERAUTH_PK_OK];
            offer.put_string(algorithm_name);
            offer.put_string(blob);
            let method = AuthMethod::PublicKey { key, proven };
            return self.ask_caller(core, method, Pending::Offer(offer));
        }
        let signature = body.string()?;
        body.finish()?;
        let mut data = Vec::new();
        data.put_string(core.transport.session().ok_or(Error::WrongState)?);
        data.put_bytes(payload.get(..signed_len).ok_or(Error::Malformed)?);
        if key.verify(algorithm, &data, signature).is_err() {
            return self.refuse(core, false);
        }
        self.ask_caller(core, AuthMethod::PublicKey { key, proven }, Pending::Proof)
    }

    /// SSH_MSG_USERAUTH_INFO_RESPONSE (RFC 4256 section 3.4).
    fn handle_answers(&mut self, core: &mut Core, mut body: Reader<'_>) -> Result<(), Error> {
        let count = body.u32()?;
        if count > ANSWERS_MAX {
            return Err(Error::LimitExceeded);
        }
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(Zeroizing::new(lossy(body.string()?)));
        }
        self.ask_caller(core, AuthMethod::Answers(answers), Pending::Questions)
    }

    fn ask_caller(
        &mut self,
        core: &mut Core,
        method: AuthMethod,
        pending: Pending,
    ) -> Result<(), Error> {
        self.stage = Stage::Deciding(pending);
        let attempt = AuthAttempt {
            user: self.user.clone(),
            method,
        };
        core.events.push_back(Event::AuthAttempt(attempt));
        Ok(())
    }

    fn answer(
        &mut self,
        core: &mut Core,
        pending: Pending,
        answer: AuthAnswer,
    ) -> Result<(), Error> {
        match (answer, pending) {
            (AuthAnswer::Accept, Pending::Offer(offer)) => core.transport.send(offer),
            (AuthAnswer::Accept, _) => {
                self.stage = Stage::Done;
                core.authenticated = true;
                core.events.push_back(Event::Authenticated);
                core.transport.send(alloc::vec![message::USERAUTH_SUCCESS])
            }
            (AuthAnswer::Ask(prompts), Pending::Questions) => {
                self.stage = Stage::Asked;
                core.transport.send(write_prompts(&prompts))
            }
            (AuthAnswer::Partial, Pending::Proof | Pending::Questions) => self.refuse(core, true),
            (AuthAnswer::Ask(_) | AuthAnswer::Partial | AuthAnswer::Reject, _) => {
                self.refuse(core, false)
            }
        }
    }

    fn refuse(&mut self, core: &mut Core, partial: bool) -> Result<(), Error> {
        let free = core::mem::take(&mut self.free_attempt);
        if !partial && !free {
            self.attempts = self.attempts.saturating_add(1);
            if self.attempts >= self.config.attempts_max {
                return Err(Error::TooManyAttempts);
            }
        }
        let methods = [
            (self.config.public_key, "publickey"),
            (self.config.password, "password"),
            (self.config.keyboard_interactive, "keyboard-interactive"),
        ];
        let mut payload = alloc::vec![message::USERAUTH_FAILURE];
        payload.put_name_list(methods.iter().filter(|(on, _)| *on).map(|(_, name)| *name));
        payload.put_bool(partial);
        core.transport.send(payload)
    }
}

/// Writes SSH_MSG_USERAUTH_INFO_REQUEST (RFC 4256 section 3.2).
fn write_prompts(prompts: &Prompts) -> Vec<u8> {
    let mut payload = alloc::vec![message::USERAUTH_PK_OK];
    payload.put_string(&prompts.name);
    payload.put_string(&prompts.instruction);
    payload.put_string("");
    payload.put_u32(prompts.prompts.len() as u32);
    for prompt in &prompts.prompts {
        payload.put_string(&prompt.text);
        payload.put_bool(prompt.echo);
    }
    payload
}
