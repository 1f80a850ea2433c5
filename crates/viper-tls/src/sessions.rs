//! Sessions to resume, on both sides, in bounded memory.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::server::StoresServerSessions;
use spin::Mutex;

/// A bounded list from which the oldest entry goes first.
///
/// Remembering a session is a courtesy: whoever finds the list in use by another thread does
/// without, so nobody ever waits for the lock, and a full handshake follows.
struct Recent<T> {
    entries: Mutex<VecDeque<T>>,
    max: usize,
}

impl<T> Recent<T> {
    fn new(max: usize) -> Self {
        let entries = Mutex::new(VecDeque::new());
        Self { entries, max }
    }

    fn insert(&self, entry: T) -> bool {
        let Some(mut entries) = self.entries.try_lock() else {
            return false;
        };
        while entries.len() >= self.max {
            if entries.pop_front().is_none() {
                return false;
            }
        }
        entries.push_back(entry);
        true
    }

    /// Takes the newest entry that `wanted` is true for.
    fn take(&self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut entries = self.entries.try_lock()?;
        let index = entries.iter().rposition(wanted)?;
        entries.remove(index)
    }
}

impl<T> fmt::Debug for Recent<T> {
    /// Says nothing about the entries, which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recent({})", self.max)
    }
}

/// Tickets of servers that were talked to. Each is used once, as RFC 8446, appendix C.4 advises.
#[derive(Debug)]
pub(crate) struct ClientSessions(Recent<(ServerName<'static>, Tls13ClientSessionValue)>);

impl ClientSessions {
    pub(crate) fn new(max: usize) -> Self {
        Self(Recent::new(max))
    }
}

impl ClientSessionStore for ClientSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.insert((name, ticket));
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0
            .take(|(server, _)| server == name)
            .map(|(_, ticket)| ticket)
    }
}

/// Sessions of a server's clients, under the random name that the client got as its ticket.
///
/// They are kept here instead of inside the ticket: each serves once, and there is no key that
/// could open all of them.
#[derive(Debug)]
pub(crate) struct ServerSessions(Recent<(Vec<u8>, Vec<u8>)>);

/// The largest session that is kept, in bytes: some hundred, and the client's certificates.
const SESSION_LEN_MAX: usize = 8 * 1024;

impl ServerSessions {
    pub(crate) fn new(max: usize) -> Self {
        Self(Recent::new(max))
    }
}

impl StoresServerSessions for ServerSessions {
    fn put(&self, name: Vec<u8>, session: Vec<u8>) -> bool {
        session.len() <= SESSION_LEN_MAX && self.0.insert((name, session))
    }

    /// Only TLS 1.2 looks without taking.
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, name: &[u8]) -> Option<Vec<u8>> {
        let found = self.0.take(|(known, _)| known == name);
        found.map(|(_, session)| session)
    }

    fn can_cache(&self) -> bool {
        self.0.max > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_and_serve_once() {
        let sessions = ServerSessions::new(2);
        for name in 0..3u8 {
            assert!(sessions.put(vec![name], vec![name]));
        }
        assert_eq!(sessions.take(&[0]), None);
        assert_eq!(sessions.take(&[1]), Some(vec![1]));
        assert_eq!(sessions.take(&[1]), None);
        assert_eq!(sessions.take(&[2]), Some(vec![2]));
        assert!(!sessions.put(vec![4], vec![0; SESSION_LEN_MAX + 1]));
        assert!(!ServerSessions::new(0).put(vec![1], vec![1]));
    }

    #[test]
    fn a_busy_list_is_a_miss() {
        let sessions = ServerSessions::new(2);
        assert!(sessions.put(vec![1], vec![1]));
        let guard = sessions.0.entries.lock();
        assert_eq!(sessions.take(&[1]), None);
        assert!(!sessions.put(vec![2], vec![2]));
        drop(guard);
        assert_eq!(sessions.take(&[1]), Some(vec![1]));
    }
}
