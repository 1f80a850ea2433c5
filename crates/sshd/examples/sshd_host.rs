//! The server on the host, to be tried with other programs.
//!
//! ```text
//! sshd_host --port 2222 --root DIR [--rekey-bytes N] [--rekey-seconds N] [--keepalive N]
//! ```
//!
//! Users, keys and host key are below the directory, where they are on ViperOS. Commands run with
//! the rights of whoever started it: for tests only.

mod support;

use std::time::Duration;

use sshd::{Settings, Sshd};
use support::{Host, HostNetwork};
use viper_rt::server;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str| value(name).and_then(|v| v.parse::<u64>().ok());
    let mut settings = Settings {
        port: number("--port").unwrap_or(2222) as u16,
        ..Settings::default()
    };
    if let Some(bytes) = number("--rekey-bytes") {
        settings.rekey_bytes = bytes;
    }
    if let Some(seconds) = number("--rekey-seconds") {
        settings.rekey_time = Duration::from_secs(seconds);
    }
    if let Some(seconds) = number("--keepalive") {
        settings.keepalive_time = Duration::from_secs(seconds);
    }
    let host = Host {
        root: value("--root").unwrap_or_else(|| ".".into()).into(),
        network: HostNetwork,
    };
    let result = server::serve(|sources| Sshd::new(host, settings, sources));
    eprintln!("sshd_host: {result:?}");
}
