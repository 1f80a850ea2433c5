//! A client and a server joined in memory.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use viper_ssh::{
    AuthAnswer, AuthMethod, ChannelId, Client, Config, Credential, Error, Event, PrivateKey,
    Server, ServerConfig, Session,
};

pub fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

pub fn host_key() -> PrivateKey {
    PrivateKey::from_ed25519_seed(&[1; 32])
}

pub fn user_key() -> PrivateKey {
    PrivateKey::from_ed25519_seed(&[2; 32])
}

pub fn server_config() -> ServerConfig {
    ServerConfig::new(vec![
        host_key(),
        PrivateKey::from_p256_scalar(&[3; 32]).unwrap(),
    ])
}

/// Both sides, the bytes on their way, and the events nobody took yet.
pub struct Pair {
    pub client: Client,
    pub server: Server,
    pub now: Duration,
    /// How many bytes arrive at a time.
    pub chunk_len: usize,
    pub client_events: VecDeque<Event>,
    pub server_events: VecDeque<Event>,
    pub to_server: VecDeque<u8>,
    pub to_client: VecDeque<u8>,
}

impl Pair {
    pub fn new(client: &Config, server: ServerConfig) -> Self {
        let now = Duration::ZERO;
        Pair {
            client: Client::new(client, rng(10), now).unwrap(),
            server: Server::new(server, rng(11), now).unwrap(),
            now,
            chunk_len: 4096,
            client_events: VecDeque::new(),
            server_events: VecDeque::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
        }
    }

    /// A pair whose client is logged in by its key.
    pub fn logged_in(client: &Config, server: ServerConfig) -> Self {
        let mut pair = Pair::new(client, server);
        pair.log_in();
        pair
    }

    pub fn log_in(&mut self) {
        self.run().unwrap();
        assert_eq!(
            self.client_events.pop_back(),
            Some(Event::ReadyToAuthenticate)
        );
        self.client
            .authenticate("viper", &Credential::Key(user_key()))
            .unwrap();
        self.run().unwrap();
        assert_eq!(self.client_events.pop_back(), Some(Event::Authenticated));
        assert_eq!(self.server_events.pop_back(), Some(Event::Authenticated));
        self.client_events.clear();
        self.server_events.clear();
    }

    /// A pair with an open session channel: its name on both sides.
    pub fn with_channel(client: &Config, server: ServerConfig) -> (Self, ChannelId, ChannelId) {
        let mut pair = Pair::logged_in(client, server);
        let channel = pair.client.open_session().unwrap();
        pair.run().unwrap();
        let Some(Event::ChannelOffered {
            channel: offered, ..
        }) = pair.server_events.pop_front()
        else {
            panic!("a channel is offered");
        };
        pair.server.accept_channel(offered).unwrap();
        pair.run().unwrap();
        assert_eq!(
            pair.client_events.pop_front(),
            Some(Event::ChannelOpened(channel))
        );
        (pair, channel, offered)
    }

    /// Moves bytes both ways until nothing moves any more.
    pub fn run(&mut self) -> Result<(), Error> {
        while self.step()? {}
        Ok(())
    }

    /// Moves bytes both ways once; tells whether anything happened.
    pub fn step(&mut self) -> Result<bool, Error> {
        let mut moved = take_output(&mut self.client, &mut self.to_server);
        moved |= take_output(&mut self.server, &mut self.to_client);
        let chunk_len = self.chunk_len;
        moved |= give_input(&mut self.server, self.now, &mut self.to_server, chunk_len)?;
        moved |= give_input(&mut self.client, self.now, &mut self.to_client, chunk_len)?;
        while let Some(event) = self.client.poll_event() {
            moved = true;
            match event {
                Event::HostKey(key) => {
                    assert!(
                        [host_key(), PrivateKey::from_p256_scalar(&[3; 32]).unwrap()]
                            .iter()
                            .any(|known| known.public() == key)
                    );
                    self.client.accept_host_key()?;
                }
                other => self.client_events.push_back(other),
            }
        }
        while let Some(event) = self.server.poll_event() {
            moved = true;
            match event {
                Event::AuthAttempt(attempt) => {
                    let right = match &attempt.method {
                        AuthMethod::PublicKey { key, .. } => *key == user_key().public(),
                        AuthMethod::Password(text) => text.as_str() == "secret",
                        _ => false,
                    };
                    let right = right && attempt.user == "viper";
                    let answer = if right {
                        AuthAnswer::Accept
                    } else {
                        AuthAnswer::Reject
                    };
                    self.server.answer_auth(answer)?;
                }
                other => self.server_events.push_back(other),
            }
        }
        Ok(moved)
    }
}

fn take_output<R: viper_ssh::Role>(session: &mut Session<R>, to: &mut VecDeque<u8>) -> bool {
    let len = session.poll_output().len();
    to.extend(session.poll_output());
    session.output_sent(len);
    len > 0
}

fn give_input<R: viper_ssh::Role>(
    session: &mut Session<R>,
    now: Duration,
    from: &mut VecDeque<u8>,
    chunk_len: usize,
) -> Result<bool, Error> {
    let len = chunk_len.min(from.len());
    let input: Vec<u8> = from.iter().copied().take(len).collect();
    // Also without bytes: the session may go on with what it holds.
    let taken = session.handle_input(now, &input)?;
    from.drain(..taken);
    Ok(taken > 0)
}
