//! What a session is set up with.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Algorithms, PrivateKey};

/// Settings of either side. `default()` is meant for use.
#[derive(Clone, Debug)]
pub struct Config {
    /// Algorithms, best first.
    pub algorithms: Algorithms,
    /// Name and version of the program, shown to the peer.
    pub software: String,
    /// Exchange new keys after so many bytes in one direction. At most 1 GiB is advised.
    pub rekey_bytes: u64,
    /// Exchange new keys after this time.
    pub rekey_time: Duration,
    /// How long a log-in may take, from the first byte on.
    pub login_time: Duration,
    /// Ask the peer for a sign of life after this time without one.
    pub keepalive_time: Option<Duration>,
    /// So many unanswered questions end the session.
    pub keepalive_count: u32,
    /// Bytes that may be unread on a channel.
    pub window_len: u32,
    /// Channels that may be open.
    pub channels_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            algorithms: Algorithms::default(),
            software: String::from("ViperSSH_0.1"),
            rekey_bytes: 1 << 30,
            rekey_time: Duration::from_secs(3600),
            login_time: Duration::from_secs(120),
            keepalive_time: None,
            keepalive_count: 3,
            window_len: 512 * 1024,
            channels_max: 32,
        }
    }
}

/// What a server needs besides.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Settings of either side.
    pub common: Config,
    /// The host's keys, at most one of each kind.
    pub host_keys: Vec<PrivateKey>,
    /// Whether to offer log-in by password.
    pub password: bool,
    /// Whether to offer log-in by public key.
    pub public_key: bool,
    /// Whether to offer log-in by questions.
    pub keyboard_interactive: bool,
    /// Failed attempts after which the session ends.
    pub attempts_max: u32,
    /// Text shown before the log-in.
    pub banner: Option<String>,
}

impl ServerConfig {
    /// A server with these host keys that offers log-in by password and by public key.
    pub fn new(host_keys: Vec<PrivateKey>) -> Self {
        ServerConfig {
            common: Config::default(),
            host_keys,
            password: true,
            public_key: true,
            keyboard_interactive: false,
            attempts_max: 6,
            banner: None,
        }
    }
}
