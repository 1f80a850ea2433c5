//! `authorized_keys`: which user keys may log in, and with what restrictions.

use alloc::string::String;
use alloc::vec::Vec;

use super::PublicKey;
use super::known::one_matches;

/// The restrictions in front of a key. Each is reported; the server's user obeys them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyOptions {
    /// Run this, whatever the client asks for (`command="..."`).
    pub command: Option<String>,
    /// Patterns of the addresses from which the key may be used (`from="..."`).
    pub from: Option<String>,
    /// No terminal (`no-pty`).
    pub no_pty: bool,
    /// No forwarding of ports (`no-port-forwarding`).
    pub no_port_forwarding: bool,
    /// No forwarding of the agent (`no-agent-forwarding`).
    pub no_agent_forwarding: bool,
    /// No forwarding of X11 (`no-X11-forwarding`).
    pub no_x11_forwarding: bool,
    /// `host:port` pairs to which forwarding is limited (`permitopen="..."`).
    pub permit_open: Vec<String>,
    /// Variables to set, as `NAME=value` (`environment="..."`).
    pub environment: Vec<String>,
}

impl KeyOptions {
    /// Whether the key may be used from this address.
    pub fn permits_from(&self, address: &str) -> bool {
        self.from
            .as_ref()
            .is_none_or(|list| one_matches(list.split(',').map(str::trim), address))
    }

    /// Whether connections to this host and port may be forwarded.
    pub fn permits_open(&self, host: &str, port: u16) -> bool {
        let fits = |entry: &String| {
            entry.rsplit_once(':').is_some_and(|(known, at)| {
                let known = known.trim_start_matches('[').trim_end_matches(']');
                known.eq_ignore_ascii_case(host) && (at == "*" || at.parse() == Ok(port))
            })
        };
        let listed = self.permit_open.is_empty() || self.permit_open.iter().any(fits);
        !self.no_port_forwarding && listed
    }

    /// Reads options as they stand in the file; `None` if one is unknown or malformed.
    ///
    /// An option that is not understood could be a restriction, so the key must not be used.
    fn parse(text: &str) -> Option<Self> {
        let mut options = KeyOptions::default();
        for option in split_options(text)? {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(unquote(value)?)),
                None => (option, None),
            };
            options.apply(&name.to_ascii_lowercase(), value)?;
        }
        Some(options)
    }

    fn apply(&mut self, name: &str, value: Option<String>) -> Option<()> {
        match (name, value) {
            ("command", Some(value)) => self.command = Some(value),
            ("from", Some(value)) => self.from = Some(value),
            ("permitopen", Some(value)) => self.permit_open.push(value),
            ("environment", Some(value)) => self.environment.push(value),
            ("no-pty", None) => self.no_pty = true,
            ("pty", None) => self.no_pty = false,
            ("no-port-forwarding", None) => self.no_port_forwarding = true,
            ("port-forwarding", None) => self.no_port_forwarding = false,
            ("no-agent-forwarding", None) => self.no_agent_forwarding = true,
            ("agent-forwarding", None) => self.no_agent_forwarding = false,
            ("no-x11-forwarding", None) => self.no_x11_forwarding = true,
            ("x11-forwarding", None) => self.no_x11_forwarding = false,
            ("no-user-rc" | "user-rc", None) => {}
            ("restrict", None) => {
                self.no_pty = true;
                self.no_port_forwarding = true;
                self.no_agent_forwarding = true;
                self.no_x11_forwarding = true;
            }
            _ => return None,
        }
        Some(())
    }
}

/// One usable line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedKey {
    /// The key.
    pub key: PublicKey,
    /// What stands in front of it.
    pub options: KeyOptions,
    /// What stands behind it.
    pub comment: String,
}

/// The usable lines of an `authorized_keys` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizedKeys {
    keys: Vec<AuthorizedKey>,
    ignored: usize,
}

impl AuthorizedKeys {
    /// Reads a file. Lines that cannot be used are left out and counted: other kinds of keys,
    /// certificate authorities, options this crate does not know, damage.
    pub fn parse(file: &str) -> Self {
        let mut result = AuthorizedKeys::default();
        for line in file.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse_line(line) {
                Some(key) => result.keys.push(key),
                None => result.ignored += 1,
            }
        }
        result
    }

    /// The line for this key, if it may log in at all.
    pub fn find(&self, key: &PublicKey) -> Option<&AuthorizedKey> {
        self.keys.iter().find(|entry| entry.key == *key)
    }

    /// All usable lines.
    pub fn keys(&self) -> &[AuthorizedKey] {
        &self.keys
    }

    /// How many lines could not be used.
    pub fn ignored(&self) -> usize {
        self.ignored
    }
}

fn parse_line(line: &str) -> Option<AuthorizedKey> {
    if let Ok(key) = PublicKey::from_text(line) {
        return Some(AuthorizedKey {
            key,
            options: KeyOptions::default(),
            comment: comment(line),
        });
    }
    let (options, rest) = line.split_at_checked(end_of_options(line)?)?;
    let rest = rest.trim_start();
    let options = KeyOptions::parse(options)?;
    let key = PublicKey::from_text(rest).ok()?;
    Some(AuthorizedKey {
        key,
        options,
        comment: comment(rest),
    })
}

/// What follows the key type and the base64 text.
fn comment(line: &str) -> String {
    let after_type = line
        .split_once(char::is_whitespace)
        .map_or("", |(_, rest)| rest.trim_start());
    String::from(
        after_type
            .split_once(char::is_whitespace)
            .map_or("", |(_, rest)| rest.trim()),
    )
}

/// The index of the first white space outside quotes.
fn end_of_options(line: &str) -> Option<usize> {
    let mut scan = Scan::default();
    line.char_indices()
        .find(|(_, c)| !scan.inside(*c) && c.is_ascii_whitespace())
        .map(|(i, _)| i)
}

fn split_options(text: &str) -> Option<Vec<&str>> {
    let mut scan = Scan::default();
    let options: Vec<&str> = text.split(|c| !scan.inside(c) && c == ',').collect();
    if scan.quoted || options.iter().any(|option| option.is_empty()) {
        None
    } else {
        Some(options)
    }
}

/// `"text"` without its quotes; `\"` stands for a quote.
fn unquote(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'"') => text.extend(chars.next()),
            '"' => return None,
            _ => text.push(c),
        }
    }
    Some(text)
}

/// Follows quotes through a line.
#[derive(Default)]
struct Scan {
    quoted: bool,
    escaped: bool,
}

impl Scan {
    /// Whether this character stands inside quotes.
    fn inside(&mut self, c: char) -> bool {
        let was_escaped = core::mem::replace(&mut self.escaped, self.quoted && c == '\\');
        if c == '"' && !was_escaped {
            self.quoted = !self.quoted;
            return true;
        }
        self.quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restrictions_on_addresses_and_ports() {
        let options = KeyOptions::parse(
            "from=\"10.0.*,!10.0.0.9\",permitopen=\"web:80\",permitopen=\"[::1]:*\"",
        );
        let options = options.unwrap();
        assert!(options.permits_from("10.0.0.1"));
        assert!(!options.permits_from("10.0.0.9"));
        assert!(!options.permits_from("192.168.0.1"));
        assert!(options.permits_open("WEB", 80) && options.permits_open("::1", 7));
        assert!(!options.permits_open("web", 81) && !options.permits_open("other", 80));
        let free = KeyOptions::default();
        assert!(free.permits_from("any") && free.permits_open("any", 1));
        let none = KeyOptions::parse("restrict").unwrap();
        assert!(!none.permits_open("any", 1));
    }
}
