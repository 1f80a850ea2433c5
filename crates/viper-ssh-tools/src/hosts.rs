//! Whether a server is the one it is taken for: `S:ssh/known_hosts`.

use crate::arguments::{Options, Strict};
use crate::failure::{About, Result, fail};
use crate::local::Local;
use crate::user::User;
use viper_proto::entropy::Random;
use viper_ssh::key::{HostKeyCheck, KnownHosts};
use viper_ssh::{Error, PublicKey};

/// Where the known hosts are.
pub const KNOWN_HOSTS: &str = "S:ssh/known_hosts";

/// Decides upon a server's key. An unknown one is asked about on a terminal; one that changed is
/// never accepted.
///
/// # Errors
/// A sentence about why it is refused.
pub fn check(
    local: &mut Local,
    user: &User,
    options: &Options,
    (host, port): (&str, u16),
    key: &PublicKey,
) -> Result<()> {
    let path = options.known_hosts.as_deref().unwrap_or(KNOWN_HOSTS);
    let known = KnownHosts::parse(&local.text(path)?);
    let fingerprint = key.fingerprint();
    match known.check(host, port, key) {
        Ok(HostKeyCheck::Known) => return Ok(()),
        Ok(HostKeyCheck::Unknown) => {}
        Err(Error::HostKeyRevoked) => {
            return fail(alloc::format!(
                "the host key of {host} is revoked: {fingerprint}"
            ));
        }
        Err(_) => {
            return fail(alloc::format!(
                "the host key of {host} has CHANGED: somebody may be listening in, or the host was \
                 set up anew. The key it shows is {fingerprint}. If that is right, remove the old \
                 one from {path}"
            ));
        }
    }
    let accepted = match options.strict {
        Strict::AcceptNew => true,
        Strict::Ask if !options.batch && user.terminal().is_some() => {
            user.say(&alloc::format!(
                "The host {host} is not known. Its {} key has the fingerprint\n{fingerprint}",
                key.type_name()
            ));
            let answer = user.ask("Is that right (yes/no)? ", true)?;
            answer.trim().eq_ignore_ascii_case("yes")
        }
        Strict::Ask | Strict::Yes => false,
    };
    if !accepted {
        return fail(alloc::format!(
            "the host {host} is not known: {fingerprint}"
        ));
    }
    if let Err(failure) = remember(local, options, path, (host, port), key) {
        user.say(&alloc::format!("the host is not remembered: {failure}"));
    }
    Ok(())
}

fn remember(
    local: &mut Local,
    options: &Options,
    path: &str,
    (host, port): (&str, u16),
    key: &PublicKey,
) -> Result<()> {
    let line = if options.plain_hosts {
        KnownHosts::line(host, port, key)
    } else {
        let mut random = Random::new(local.names()).about("random numbers")?;
        KnownHosts::hashed_line(host, port, key, &mut random)
    };
    local.append(path, &line)
}
