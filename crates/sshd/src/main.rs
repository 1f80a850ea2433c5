//! `sshd`: the SSH server, on the port that the manifest lets it listen on.
#![cfg_attr(target_os = "none", no_std, no_main)]

use sshd::guest::Guest;
use sshd::{Settings, Sshd};
use viper_rt::{Error, server};

viper_rt::entry!(run);

fn run() -> Result<(), Error> {
    let guest = match Guest::new() {
        // Without a network there is nothing to do, and nothing to complain about.
        Err(Error::NoService) => return Ok(()),
        guest => guest?,
    };
    server::serve(|sources| Sshd::new(guest, Settings::default(), sources))
}
