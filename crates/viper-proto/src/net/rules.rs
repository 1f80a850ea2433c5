//! What a process may do with the network, as its entry in the manifest says.
//!
//! A rule is one of
//!
//! ```text
//! tcp connect HOST:PORTS
//! tcp listen PORTS
//! udp listen PORTS
//! udp HOST:PORTS         also receives from there; `udp *` is everything, listening included
//! icmp
//! ```
//!
//! HOST is `*`, an address, a network as `10.0.0.0/8`, `localhost` or a name; one of version 6
//! stands in brackets. PORTS is `*`, a number or a range as `8000-8099`. A rule with a name holds
//! for the addresses that the name was resolved to in the same session.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Most bytes of all rules of a process, with a line feed between them.
pub const TEXT_BYTES_MAX: usize = 200;

/// The rules of a process. Without any it may do nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    what: What,
    host: Host,
    ports: (u16, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    TcpConnect,
    TcpListen,
    Udp,
    UdpListen,
    UdpAll,
    Icmp,
}

impl What {
    fn covers(self, what: What) -> bool {
        self == what || self == What::UdpAll && matches!(what, What::Udp | What::UdpListen)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Local,
    Network(IpAddr, u8),
    Name(String),
}

/// A rule that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRule {
    /// The number of its line, from 0.
    pub line: usize,
}

impl core::fmt::Display for BadRule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "rule {} is not a network right", self.line + 1)
    }
}

impl core::error::Error for BadRule {}

impl Rules {
    /// Reads rules, one a line.
    ///
    /// # Errors
    /// [`BadRule`] with the first that is wrong.
    pub fn parse(text: &str) -> Result<Rules, BadRule> {
        let rules = text.lines().enumerate().map(|(line, text)| {
            let words: Vec<&str> = text.split(' ').collect();
            rule(&words).ok_or(BadRule { line })
        });
        rules.collect::<Result<Vec<Rule>, BadRule>>().map(Rules)
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Rules {
        let all = |what| Rule {
            what,
            host: Host::Any,
            ports: ANY_PORT,
        };
        Rules(
            [What::TcpConnect, What::TcpListen, What::UdpAll, What::Icmp]
                .map(all)
                .into(),
        )
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it may connect there. `named` tells whether a name was resolved to an address.
    pub fn may_connect(&self, to: SocketAddr, named: impl Fn(&str, IpAddr) -> bool) -> bool {
        self.allows(What::TcpConnect, to, named)
    }

    /// Whether it may listen at this TCP port; 0 is one that is free.
    #[must_use]
    pub fn may_listen(&self, port: u16) -> bool {
        self.allows_port(What::TcpListen, port)
    }

    /// Whether it may have a UDP socket at this port; 0 is one that is free, which every rule
    /// about UDP allows.
    #[must_use]
    pub fn may_bind(&self, port: u16) -> bool {
        let is_any = port == 0 && self.0.iter().any(|rule| rule.what.covers(What::Udp));
        is_any || self.allows_port(What::UdpListen, port)
    }

    /// Whether a UDP socket at `port` may send to there or receive from there: who may listen at
    /// the port may answer.
    pub fn may_exchange(
        &self,
        port: u16,
        with: SocketAddr,
        named: impl Fn(&str, IpAddr) -> bool,
    ) -> bool {
        self.allows_port(What::UdpListen, port) || self.allows(What::Udp, with, named)
    }

    /// Whether it may send ICMP echoes.
    #[must_use]
    pub fn may_ping(&self) -> bool {
        self.0.iter().any(|rule| rule.what == What::Icmp)
    }

    fn allows(&self, what: What, at: SocketAddr, named: impl Fn(&str, IpAddr) -> bool) -> bool {
        self.0.iter().any(|rule| {
            let host = match &rule.host {
                Host::Any => true,
                Host::Local => at.ip().is_loopback(),
                Host::Network(network, bits) => is_within(at.ip(), *network, *bits),
                Host::Name(name) => named(name, at.ip()),
            };
            rule.what.covers(what) && host && is_in(rule.ports, at.port())
        })
    }

    fn allows_port(&self, what: What, port: u16) -> bool {
        let fits = |rule: &Rule| port == 0 && rule.ports == ANY_PORT || is_in(rule.ports, port);
        self.0
            .iter()
            .any(|rule| rule.what.covers(what) && fits(rule))
    }
}

const ANY_PORT: (u16, u16) = (1, u16::MAX);

fn is_in((first, last): (u16, u16), port: u16) -> bool {
    (first..=last).contains(&port)
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(u32::from(a)), u128::from(u32::from(n)), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (u128::from(a), u128::from(n), 128),
        _ => return false,
    };
    let apart = u32::from(width - bits.min(width));
    (address ^ network).checked_shr(apart).unwrap_or(0) == 0
}

fn rule(words: &[&str]) -> Option<Rule> {
    let (what, host, ports) = match *words {
        ["tcp", "connect", at] => {
            let (host, ports) = place(at)?;
            (What::TcpConnect, host, ports)
        }
        ["tcp", "listen", at] => (What::TcpListen, Host::Any, ports(at)?),
        ["udp", "listen", at] => (What::UdpListen, Host::Any, ports(at)?),
        ["udp", "*"] => (What::UdpAll, Host::Any, ANY_PORT),
        ["udp", at] => {
            let (host, ports) = place(at)?;
            (What::Udp, host, ports)
        }
        ["icmp"] => (What::Icmp, Host::Any, ANY_PORT),
        _ => return None,
    };
    Some(Rule { what, host, ports })
}

fn place(text: &str) -> Option<(Host, (u16, u16))> {
    let (at, behind) = text.rsplit_once(':')?;
    Some((host(at)?, ports(behind)?))
}

fn ports(text: &str) -> Option<(u16, u16)> {
    if text == "*" {
        return Some(ANY_PORT);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse().ok().filter(|&port: &u16| port > 0);
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn host(text: &str) -> Option<Host> {
    match text {
        "*" => return Some(Host::Any),
        "localhost" => return Some(Host::Local),
        _ => {}
    }
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let (address, bits) = match inner.unwrap_or(text).split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (inner.unwrap_or(text), None),
    };
    match address.parse::<IpAddr>() {
        Ok(address) if address.is_ipv6() == inner.is_some() => {
            let width = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.unwrap_or(width);
            (bits <= width).then_some(Host::Network(address, bits))
        }
        Ok(_) => None,
        Err(_) if inner.is_none() && bits.is_none() && is_name(text) => {
            Some(Host::Name(text.into()))
        }
        Err(_) => None,
    }
}

fn is_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    text.bytes().all(good) && text.bytes().any(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn nobody(_: &str, _: IpAddr) -> bool {
        false
    }

    #[test]
    fn each_rule_allows_what_it_says_and_no_more() {
        let rules = Rules::parse(
            "tcp connect 10.0.0.0/8:443\ntcp connect [2001:db8::/32]:*\ntcp listen 22\n\
             udp 10.0.2.3:53\ntcp connect localhost:8000-8002",
        );
        let rules = rules.unwrap();
        for (to, wanted) in [
            ("10.1.2.3:443", true),
            ("10.1.2.3:80", false),
            ("11.1.2.3:443", false),
            ("[2001:db8:5::1]:7", true),
            ("[2001:db9::1]:7", false),
            ("127.0.0.1:8002", true),
            ("[::1]:8000", true),
            ("127.0.0.1:8003", false),
        ] {
            assert_eq!(rules.may_connect(at(to), nobody), wanted, "{to}");
        }
        assert!(rules.may_listen(22) && !rules.may_listen(23) && !rules.may_listen(0));
        assert!(rules.may_bind(0) && !rules.may_bind(53));
        assert!(rules.may_exchange(50_000, at("10.0.2.3:53"), nobody));
        assert!(!rules.may_exchange(50_000, at("10.0.2.3:54"), nobody));
        assert!(!rules.may_ping());
    }

    #[test]
    fn nothing_is_allowed_without_a_rule_and_everything_by_all() {
        let (none, all) = (Rules::default(), Rules::all());
        let there = at("1.2.3.4:5");
        for (rules, wanted) in [(none, false), (all, true)] {
            assert_eq!(rules.may_connect(there, nobody), wanted);
            assert_eq!(rules.may_listen(0), wanted);
            assert_eq!(rules.may_listen(22), wanted);
            assert_eq!(rules.may_bind(0), wanted);
            assert_eq!(rules.may_bind(53), wanted);
            assert_eq!(rules.may_exchange(9, there, nobody), wanted);
            assert_eq!(rules.may_ping(), wanted);
            assert_eq!(rules.is_empty(), !wanted);
        }
    }

    #[test]
    fn a_name_stands_for_what_it_was_resolved_to() {
        let rules = Rules::parse("tcp connect example.org:443").unwrap();
        let named = |name: &str, ip: IpAddr| name == "example.org" && ip == at("1.2.3.4:1").ip();
        assert!(rules.may_connect(at("1.2.3.4:443"), named));
        assert!(!rules.may_connect(at("1.2.3.5:443"), named));
        assert!(!rules.may_connect(at("1.2.3.4:80"), named));
    }

    #[test]
    fn a_socket_that_may_listen_may_answer_anybody() {
        let rules = Rules::parse("udp listen 123").unwrap();
        assert!(rules.may_bind(123) && !rules.may_bind(0));
        assert!(rules.may_exchange(123, at("9.9.9.9:9"), nobody));
        assert!(!rules.may_exchange(124, at("9.9.9.9:9"), nobody));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_line() {
        for bad in [
            "",
            "tcp",
            "tcp connect",
            "tcp connect *",
            "tcp connect *:0",
            "tcp connect *:9-8",
            "tcp connect 1.2.3.4/33:1",
            "tcp connect ::1:1",
            "tcp connect [1.2.3.4]:1",
            "tcp connect [::1:1",
            "tcp connect UPPER:1",
            "tcp listen 65536",
            "udp 1",
            "icmp *",
            "raw",
            "tcp  connect *:*",
        ] {
            let text = alloc::format!("icmp\n{bad}\n");
            if bad.is_empty() {
                continue;
            }
            assert_eq!(Rules::parse(&text), Err(BadRule { line: 1 }), "{bad}");
        }
        assert_eq!(Rules::parse(""), Ok(Rules::default()));
    }
}
