//! Connecting and logging in: keys first, then what the server asks for.

use crate::arguments::{Options, user_and_host};
use crate::failure::{About, Result, fail};
use crate::hosts;
use crate::link::Link;
use crate::local::Local;
use crate::user::User;
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::net::client::Network;
use viper_rt::program;
use viper_ssh::{Credential, Error, Event, PrivateKey};
use zeroize::Zeroizing;

/// The key that is tried when none is named.
pub const DEFAULT_KEY: &str = "S:ssh/id_ed25519";
const DEFAULT_USER: &str = "viper";
const PASSWORD_TRIES: u32 = 3;

/// Connects to `[USER@]HOST`, through the machines on the way if there are any, and logs in.
///
/// # Errors
/// A sentence about what went wrong.
pub fn open(local: &mut Local, user: &User, options: &Options, target: &str) -> Result<Link> {
    let (named, host) = user_and_host(target);
    if host.is_empty() {
        return fail("no host is named");
    }
    let name = options.user.as_deref().or(named);
    let end = (name, host, options.port.unwrap_or(22));
    let mut link = None;
    for hop in &options.jumps {
        let hop = (hop.user.as_deref(), hop.host.as_str(), hop.port);
        link = Some(log_in(local, user, options, hop, link)?);
    }
    log_in(local, user, options, end, link)
}

/// Connects, as the machine at the end of `before` sees it or directly, and logs in.
fn log_in(
    local: &mut Local,
    user: &User,
    options: &Options,
    (name, host, port): (Option<&str>, &str, u16),
    before: Option<Link>,
) -> Result<Link> {
    let name = name.or(program::variable("USER")).unwrap_or(DEFAULT_USER);
    let mut link = match before {
        Some(before) => Link::through(before, local.names(), (host, port), options)?,
        None => {
            let network = Network::connect_through(local.names()).about("the network")?;
            Link::connect(local.names(), &network, (host, port), options)?
        }
    };
    let mut attempts = Attempts {
        name,
        host,
        keys: keys(local, user, options)?,
        passwords: 0,
    };
    loop {
        match link.next_event()? {
            Event::HostKey(key) => {
                let checked = hosts::check(local, user, options, (host, port), &key);
                if let Err(failure) = checked {
                    link.session.refuse_host_key();
                    link.close();
                    return Err(failure);
                }
                link.session.accept_host_key()?;
            }
            Event::Banner(text) => user.say(text.trim_end()),
            Event::ReadyToAuthenticate => attempts.next(&mut link, user, options, None)?,
            Event::AuthFailed { methods, .. } => {
                attempts.next(&mut link, user, options, Some(&methods))?;
            }
            Event::Prompts(prompts) => {
                let mut answers = Vec::new();
                for prompt in &prompts.prompts {
                    answers.push(user.ask(&prompt.text, prompt.echo)?);
                }
                link.session.answer_prompts(&answers)?;
            }
            Event::Authenticated => break,
            _ => {}
        }
    }
    if options.verbose {
        user.say(&alloc::format!(
            "{} {:?}, strict: {}",
            link.session.peer_version(),
            link.session.algorithms(),
            link.session.is_strict()
        ));
    }
    Ok(link)
}

/// The user's keys. One that is named has to be there.
fn keys(local: &mut Local, user: &User, options: &Options) -> Result<Vec<PrivateKey>> {
    let mut keys = Vec::new();
    let named = options.keys.iter().map(String::as_str);
    let usual = options.keys.is_empty().then_some(DEFAULT_KEY);
    for path in named.chain(usual) {
        let text = Zeroizing::new(local.text(path)?);
        if text.is_empty() {
            if !options.keys.is_empty() {
                return fail(alloc::format!("{path} is not there, or empty"));
            }
            continue;
        }
        let key = match PrivateKey::from_openssh(&text, None) {
            Err(Error::BadPassphrase) if !options.batch && user.terminal().is_some() => {
                let question = alloc::format!("Passphrase of {path}: ");
                PrivateKey::from_openssh(&text, Some(&user.ask(&question, false)?))
            }
            key => key,
        };
        keys.push(key.about(path)?);
    }
    keys.reverse();
    Ok(keys)
}

struct Attempts<'a> {
    name: &'a str,
    host: &'a str,
    /// Those that were not tried yet, the next one last.
    keys: Vec<PrivateKey>,
    passwords: u32,
}

impl Attempts<'_> {
    /// Tries what has not been tried; `methods` are those that the server takes, once it said so.
    fn next(
        &mut self,
        link: &mut Link,
        user: &User,
        options: &Options,
        methods: Option<&[String]>,
    ) -> Result<()> {
        let takes = |method: &str| methods.is_none_or(|known| known.iter().any(|m| m == method));
        if takes("publickey")
            && let Some(key) = self.keys.pop()
        {
            let credential = Credential::Key(key);
            return Ok(link.session.authenticate(self.name, &credential)?);
        }
        if methods.is_none() {
            // Asks what the server takes.
            return Ok(link.session.authenticate(self.name, &Credential::None)?);
        }
        let may_ask = !options.batch && user.terminal().is_some();
        if may_ask && self.passwords < PASSWORD_TRIES {
            self.passwords += 1;
            if takes("password") {
                let question = alloc::format!("{}@{}'s password: ", self.name, self.host);
                let password = user.ask(&question, false)?;
                let credential = Credential::Password(password);
                return Ok(link.session.authenticate(self.name, &credential)?);
            }
            if takes("keyboard-interactive") {
                let credential = Credential::KeyboardInteractive;
                return Ok(link.session.authenticate(self.name, &credential)?);
            }
        }
        let left = methods.unwrap_or_default().join(", ");
        fail(alloc::format!(
            "permission denied; {} takes: {left}",
            self.host
        ))
    }
}
