//! `known_hosts`: which keys the hosts have shown before.

use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::{PublicKey, decode_base64};
use crate::Error;

/// What the file says about a host and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyCheck {
    /// The key is the one known for the host.
    Known,
    /// Nothing is known of the host: ask the user, then [`KnownHosts::line`] to remember it.
    Unknown,
}

/// A `known_hosts` file that has been read.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
    ignored: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    revoked: bool,
    hosts: Hosts,
    key: PublicKey,
}

#[derive(Clone, Debug)]
enum Hosts {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl KnownHosts {
    /// Reads a file. Lines that cannot be used are left out and counted: other kinds of keys,
    /// `@cert-authority`, unknown markers, damage.
    pub fn parse(file: &str) -> Self {
        let mut result = KnownHosts::default();
        for line in file.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse_line(line) {
                Some(entry) => result.entries.push(entry),
                None => result.ignored += 1,
            }
        }
        result
    }

    /// Looks the key up for a host name or address and its port.
    ///
    /// # Errors
    /// [`Error::HostKeyRevoked`] if the key is marked `@revoked` for the host, and
    /// [`Error::HostKeyChanged`] if the host is known, but only with other keys. The connection
    /// must not go on in either case.
    pub fn check(&self, host: &str, port: u16, key: &PublicKey) -> Result<HostKeyCheck, Error> {
        let name = host_name(host, port);
        let mut result = HostKeyCheck::Unknown;
        let mut other_key = false;
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.hosts.matches(&name))
        {
            match (entry.revoked, entry.key == *key) {
                (true, true) => return Err(Error::HostKeyRevoked),
                (false, true) => result = HostKeyCheck::Known,
                (false, false) => other_key = true,
                (true, false) => {}
            }
        }
        if result == HostKeyCheck::Unknown && other_key {
            return Err(Error::HostKeyChanged);
        }
        Ok(result)
    }

    /// The types of the keys known for a host, to be preferred in the negotiation.
    pub fn key_types(&self, host: &str, port: u16) -> Vec<&'static str> {
        let name = host_name(host, port);
        let known = self
            .entries
            .iter()
            .filter(|entry| !entry.revoked && entry.hosts.matches(&name));
        known.map(|entry| entry.key.type_name()).collect()
    }

    /// The line that makes a host known by its name.
    pub fn line(host: &str, port: u16, key: &PublicKey) -> String {
        let mut line = host_name(host, port);
        line.push(' ');
        line.push_str(&key.to_text());
        line.push('\n');
        line
    }

    /// The line that makes a host known without telling its name to readers of the file.
    pub fn hashed_line(
        host: &str,
        port: u16,
        key: &PublicKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> String {
        let mut salt = [0; 20];
        rng.fill_bytes(&mut salt);
        let mut line = String::from("|1|");
        line.push_str(&Base64::encode_string(&salt));
        line.push('|');
        line.push_str(&Base64::encode_string(&hash(&salt, &host_name(host, port))));
        line.push(' ');
        line.push_str(&key.to_text());
        line.push('\n');
        line
    }

    /// How many lines could not be used.
    pub fn ignored(&self) -> usize {
        self.ignored
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        let Some(hashed) = text.strip_prefix("|1|") else {
            let patterns = text.split(',').map(str::to_ascii_lowercase).collect();
            return Some(Hosts::Patterns(patterns));
        };
        let (salt, hash) = hashed.split_once('|')?;
        Some(Hosts::Hashed {
            salt: decode_base64(salt).ok()?,
            hash: decode_base64(hash).ok()?,
        })
    }

    /// A negated pattern that matches wins over all others.
    fn matches(&self, name: &str) -> bool {
        match self {
            Hosts::Hashed { salt, hash: known } => hash(salt, name).as_slice().ct_eq(known).into(),
            Hosts::Patterns(patterns) => one_matches(patterns.iter().map(String::as_str), name),
        }
    }
}

fn parse_line(line: &str) -> Option<Entry> {
    let (marker, line) = match line.strip_prefix('@') {
        Some(rest) => {
            let (marker, rest) = rest.split_once(char::is_whitespace)?;
            (Some(marker), rest.trim_start())
        }
        None => (None, line),
    };
    let revoked = match marker {
        None => false,
        Some("revoked") => true,
        Some(_) => return None,
    };
    let (hosts, rest) = line.split_once(char::is_whitespace)?;
    let key = PublicKey::from_text(rest).ok()?;
    Some(Entry {
        revoked,
        hosts: Hosts::parse(hosts)?,
        key,
    })
}

/// `host`, or `[host]:port` for other ports than 22; lower case.
fn host_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 {
        host
    } else {
        alloc::format!("[{host}]:{port}")
    }
}

fn hash(salt: &[u8], name: &str) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).expect("HMAC takes keys of any length");
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Whether a name fits one of the patterns, and none of those negated with `!`.
pub(super) fn one_matches<'a>(patterns: impl Iterator<Item = &'a str>, name: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(pattern, name) => return false,
            Some(_) => {}
            None => found |= glob(pattern, name),
        }
    }
    found
}

/// Matches `*` and `?`. Linear in the product of the lengths, without recursion.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut pos) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while pos < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, pos));
                at += 1;
            }
            Some(c) if *c == b'?' || name.get(pos) == Some(c) => {
                at += 1;
                pos += 1;
            }
            _ => {
                let Some((after_star, start)) = retry else {
                    return false;
                };
                retry = Some((after_star, start + 1));
                at = after_star;
                pos = start + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|c| *c == b'*')
}
