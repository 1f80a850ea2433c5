//! The command lines of the programs: options in the manner of OpenSSH.

use crate::failure::{Result, fail};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What to do about host keys that are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strict {
    /// Ask on a terminal, refuse elsewhere.
    #[default]
    Ask,
    /// Refuse.
    Yes,
    /// Accept, and remember them.
    AcceptNew,
}

/// A port that is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Where to listen; empty for the machine itself.
    pub bind: String,
    /// The port there.
    pub port: u16,
    /// Where connections go.
    pub host: String,
    /// The port there.
    pub host_port: u16,
}

/// Somewhere to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The user to be there.
    pub user: Option<String>,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What the options of all programs say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-p`, of `sftp` and `scp` `-P`.
    pub port: Option<u16>,
    /// `-l`.
    pub user: Option<String>,
    /// `-i`.
    pub keys: Vec<String>,
    /// `-L`.
    pub local: Vec<Forwarded>,
    /// `-R`.
    pub remote: Vec<Forwarded>,
    /// `-J`: the machines on the way, the nearest first.
    pub jumps: Vec<Target>,
    /// `-W`: where standard input and output go, instead of to a program.
    pub direct: Option<Target>,
    /// `-N`: no program, only forwarding.
    pub no_program: bool,
    /// `-t` or `-T`: a terminal, whatever is usual.
    pub terminal: Option<bool>,
    /// `-n`: nothing is read from standard input.
    pub no_input: bool,
    /// `-v`.
    pub verbose: bool,
    /// `-q`: no progress.
    pub quiet: bool,
    /// `-r`: directories with what is in them.
    pub recursive: bool,
    /// `-p` of `sftp` and `scp`: times and permissions stay the same.
    pub keeps: bool,
    /// `-b`: commands from a file.
    pub batch_file: Option<String>,
    /// `-o StrictHostKeyChecking`.
    pub strict: Strict,
    /// `-o BatchMode`: ask nothing.
    pub batch: bool,
    /// `-o UserKnownHostsFile`.
    pub known_hosts: Option<String>,
    /// `-o HashKnownHosts=no`: the names of known hosts are kept as they are.
    pub plain_hosts: bool,
    /// `-o RekeyLimit`, in bytes.
    pub rekey_bytes: Option<u64>,
    /// What stands behind the options.
    pub words: Vec<String>,
}

impl Options {
    /// Reads the arguments behind the program's name. `port_letter` is `p` for `ssh`, else `P`.
    ///
    /// # Errors
    /// A sentence about the first that is wrong.
    pub fn parse<'a>(
        arguments: impl Iterator<Item = &'a str>,
        port_letter: char,
    ) -> Result<Options> {
        let mut options = Options::default();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            // Behind the host everything belongs to the command.
            let letters = match argument.strip_prefix('-') {
                Some(letters) if !letters.is_empty() && options.words.is_empty() => letters,
                _ => {
                    options.words.push(argument.to_string());
                    options.words.extend(arguments.map(String::from));
                    break;
                }
            };
            let mut rest = letters;
            while let Some(letter) = rest.chars().next() {
                rest = &rest[letter.len_utf8()..];
                if letter != port_letter && options.flag(letter) {
                    continue;
                }
                let value = match rest {
                    "" => arguments.next(),
                    attached => Some(attached),
                };
                let Some(value) = value else {
                    return fail(alloc::format!("-{letter} needs a value"));
                };
                options.valued(letter, value, port_letter)?;
                break;
            }
        }
        Ok(options)
    }

    fn flag(&mut self, letter: char) -> bool {
        match letter {
            'N' => self.no_program = true,
            't' => self.terminal = Some(true),
            'T' => self.terminal = Some(false),
            'n' => self.no_input = true,
            'v' => self.verbose = true,
            'q' => self.quiet = true,
            'r' => self.recursive = true,
            'p' => self.keeps = true,
            _ => return false,
        }
        true
    }

    fn valued(&mut self, letter: char, value: &str, port_letter: char) -> Result<()> {
        match letter {
            letter if letter == port_letter => self.port = Some(port(value)?),
            'l' => self.user = Some(value.into()),
            'i' => self.keys.push(value.into()),
            'b' => self.batch_file = Some(value.into()),
            'L' => self.local.push(forwarded(value)?),
            'R' => self.remote.push(forwarded(value)?),
            'J' => self.jumps = jumps(value)?,
            'W' => self.direct = Some(target(value, None)?),
            'o' => return self.named(value),
            _ => return fail(alloc::format!("unknown option -{letter}")),
        }
        Ok(())
    }

    fn named(&mut self, text: &str) -> Result<()> {
        let Some((name, value)) = text.split_once(['=', ' ']) else {
            return fail(alloc::format!("{text}: NAME=VALUE is wanted"));
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "stricthostkeychecking" => {
                self.strict = match value {
                    "ask" => Strict::Ask,
                    "yes" => Strict::Yes,
                    // Not even "no" lets a changed key pass.
                    "accept-new" | "no" => Strict::AcceptNew,
                    _ => return fail(alloc::format!("StrictHostKeyChecking: not {value}")),
                }
            }
            "batchmode" => self.batch = value == "yes",
            "hashknownhosts" => self.plain_hosts = value == "no",
            "userknownhostsfile" => self.known_hosts = Some(value.into()),
            "user" => self.user = Some(value.into()),
            "port" => self.port = Some(port(value)?),
            "identityfile" => self.keys.push(value.into()),
            "proxyjump" => self.jumps = jumps(value)?,
            "rekeylimit" => self.rekey_bytes = Some(bytes(value)?),
            _ => return fail(alloc::format!("unknown option {name}")),
        }
        Ok(())
    }
}

fn port(text: &str) -> Result<u16> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => fail(alloc::format!("{text} is no port")),
    }
}

/// A number of bytes, with K, M or G behind it.
fn bytes(text: &str) -> Result<u64> {
    let (digits, factor) = match text.chars().last() {
        Some('K' | 'k') => (&text[..text.len() - 1], 1 << 10),
        Some('M' | 'm') => (&text[..text.len() - 1], 1 << 20),
        Some('G' | 'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor));
    number.map_or_else(|| fail(alloc::format!("{text} is no number of bytes")), Ok)
}

/// `[BIND:]PORT:HOST:PORT`; addresses of version 6 stand in brackets.
fn forwarded(text: &str) -> Result<Forwarded> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = match rest.strip_prefix('[') {
            Some(inner) => inner.find(']').map_or(rest.len(), |at| at + 2),
            None => rest.find(':').unwrap_or(rest.len()),
        };
        let (part, behind) = rest.split_at(end.min(rest.len()));
        parts.push(part.trim_start_matches('[').trim_end_matches(']'));
        rest = behind.strip_prefix(':').unwrap_or(behind);
    }
    let (bind, [at, host, to]) = match parts[..] {
        [at, host, to] => ("", [at, host, to]),
        [bind, at, host, to] => (bind, [at, host, to]),
        _ => return fail(alloc::format!("{text}: [BIND:]PORT:HOST:PORT is wanted")),
    };
    Ok(Forwarded {
        bind: bind.into(),
        port: port(at)?,
        host: host.into(),
        host_port: port(to)?,
    })
}

/// Machines on the way, by commas; `none` for none.
fn jumps(text: &str) -> Result<Vec<Target>> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    text.split(',').map(|hop| target(hop, Some(22))).collect()
}

/// `[USER@]HOST:PORT`, where the port may have a usual value.
fn target(text: &str, usual: Option<u16>) -> Result<Target> {
    let (user, place) = user_and_host(text);
    let (host, behind) = match place.strip_prefix('[').and_then(|p| p.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        // An address of version 6 without brackets has no port.
        None if place.matches(':').count() > 1 => (place, None),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match (behind, usual) {
        (Some(text), _) => port(text)?,
        (None, Some(usual)) => usual,
        (None, None) => return fail(alloc::format!("{text}: HOST:PORT is wanted")),
    };
    if host.is_empty() {
        return fail(alloc::format!("{text}: no host is named"));
    }
    Ok(Target {
        user: user.map(String::from),
        host: host.into(),
        port,
    })
}

/// `[USER@]HOST`.
#[must_use]
pub fn user_and_host(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, text),
    }
}

/// `[USER@]HOST:PATH`, unless it is a local path: those of ViperOS have colons, too, so a host is
/// only what has an `@` or a dot before it, or is `localhost`.
#[must_use]
pub fn remote_path(text: &str) -> Option<(&str, &str)> {
    let (host, path) = match text.find("]:") {
        Some(end) => (&text[..end + 1], &text[end + 2..]),
        None => text.split_once(':')?,
    };
    let bare = user_and_host(host).1;
    let is_host = host.contains('@') || bare.contains('.') || bare.starts_with('[');
    (is_host || bare.eq_ignore_ascii_case("localhost")).then_some((host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace(), 'p')
    }

    #[test]
    fn options_end_where_the_host_stands() {
        let options =
            parsed("-p 2222 -lviper -rvT -i S:key -o BatchMode=yes me@host ls -l").unwrap();
        assert_eq!(options.port, Some(2222));
        assert_eq!(options.user.as_deref(), Some("viper"));
        assert_eq!(options.terminal, Some(false));
        assert!(options.verbose && options.batch && options.recursive);
        assert_eq!(options.keys, ["S:key"]);
        assert_eq!(options.words, ["me@host", "ls", "-l"]);
        for wrong in [
            "-p 0",
            "-p x",
            "-p",
            "-z",
            "-o X=y",
            "-L 1:2",
            "-o BatchMode",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn forwarded_ports() {
        let plain = forwarded("80:web:8080").unwrap();
        assert_eq!(
            (plain.port, plain.host.as_str(), plain.host_port),
            (80, "web", 8080)
        );
        let bound = forwarded("[::1]:80:[fe80::2]:81").unwrap();
        assert_eq!(
            (bound.bind.as_str(), bound.host.as_str()),
            ("::1", "fe80::2")
        );
        assert!(forwarded("80:web:0").is_err() && forwarded("[").is_err());
    }

    #[test]
    fn machines_on_the_way() {
        let options = parsed("-J me@one:2200,[::1],two -W [fe80::2]:80 host").unwrap();
        let hop = |user: Option<&str>, host: &str, port| Target {
            user: user.map(String::from),
            host: host.into(),
            port,
        };
        let on_the_way = [
            hop(Some("me"), "one", 2200),
            hop(None, "::1", 22),
            hop(None, "two", 22),
        ];
        assert_eq!(options.jumps, on_the_way);
        assert_eq!(options.direct, Some(hop(None, "fe80::2", 80)));
        let named = parsed("-o ProxyJump=fe80::3 host").unwrap();
        assert_eq!(named.jumps, [hop(None, "fe80::3", 22)]);
        assert!(parsed("-J none host").unwrap().jumps.is_empty());
        for wrong in ["-W host", "-W :80", "-W host:x", "-J a,,b", "-J a:0"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_letter_may_mean_two_things() {
        let copy = Options::parse("-rp -P 22 a b".split_whitespace(), 'P').unwrap();
        assert!(copy.keeps && copy.recursive && copy.port == Some(22));
        assert!(!parsed("-p 22 host").unwrap().keeps);
    }

    #[test]
    fn hosts_are_told_from_assigns() {
        assert_eq!(remote_path("viper@box:a:b"), Some(("viper@box", "a:b")));
        assert_eq!(remote_path("10.0.2.2:x"), Some(("10.0.2.2", "x")));
        assert_eq!(remote_path("localhost:"), Some(("localhost", "")));
        assert_eq!(remote_path("u@[::1]:x"), Some(("u@[::1]", "x")));
        assert_eq!(remote_path("T:file"), None);
        assert_eq!(remote_path("file"), None);
    }

    #[test]
    fn limits_have_units() {
        assert_eq!(bytes("1M"), Ok(1 << 20));
        assert_eq!(bytes("17"), Ok(17));
        assert!(bytes("M").is_err() && bytes("99999999999G").is_err());
    }
}
