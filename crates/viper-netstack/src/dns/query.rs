//! Questions that are under way: whom to ask, how, and for how long.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand_core::Rng;

use super::cache::Cache;
use super::message::{Answer, KIND_A, KIND_AAAA, encode_name, parse, query};
use crate::flow::KeyedHash;
use crate::{Error, SocketId, Stack, TcpOptions};

/// The name of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(u64);

impl QueryId {
    /// The name as a number.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The name that [`to_bits`](Self::to_bits) gave.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// Everything about names.
pub(crate) struct Resolver {
    cache: Cache,
    questions: Vec<Question>,
    finished: VecDeque<QueryId>,
    next_id: u64,
    /// Sockets of questions that have something new.
    pub(crate) ready: Vec<SocketId>,
}

struct Question {
    id: QueryId,
    parts: Vec<Part>,
    is_told: bool,
}

/// The question for one type of record.
struct Part {
    /// The name that was asked for, under which the answer is kept.
    name: Vec<u8>,
    /// The name that is asked for now, an alias perhaps.
    target: Vec<u8>,
    kind: u16,
    ttl: u32,
    aliases: usize,
    attempt: usize,
    transaction: u16,
    state: State,
    /// Why the last server was of no use.
    trouble: Error,
}

enum State {
    Asking {
        server: IpAddr,
        socket: SocketId,
        stream: Option<Stream>,
        deadline: u64,
    },
    Idle,
    Done(Result<Vec<IpAddr>, Error>),
}

/// A question that is asked by TCP.
struct Stream {
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl Resolver {
    pub(crate) fn new(cache_max: usize, hash: KeyedHash) -> Self {
        Self {
            cache: Cache::new(cache_max, hash),
            questions: Vec::new(),
            finished: VecDeque::new(),
            next_id: 1,
            ready: Vec::new(),
        }
    }

    /// When the next server has had time enough.
    pub(crate) fn next(&self) -> Option<u64> {
        let parts = self.questions.iter().flat_map(|question| &question.parts);
        parts.filter_map(Part::deadline).min()
    }
}

impl Part {
    fn deadline(&self) -> Option<u64> {
        match &self.state {
            State::Asking { deadline, .. } => Some(*deadline),
            State::Idle => Some(0),
            State::Done(_) => None,
        }
    }

    fn done(kind: u16, answer: Result<Vec<IpAddr>, Error>) -> Self {
        Self {
            state: State::Done(answer),
            ..Self::new(Vec::new(), kind)
        }
    }

    fn new(name: Vec<u8>, kind: u16) -> Self {
        Self {
            target: name.clone(),
            name,
            kind,
            ttl: u32::MAX,
            aliases: 0,
            attempt: 0,
            transaction: 0,
            state: State::Idle,
            trouble: Error::TimedOut,
        }
    }
}

impl Stack {
    /// Asks for the addresses of a name. Addresses in figures and `localhost` need no server.
    ///
    /// The answer is there at once, or `take_resolved` names the question when it is; the
    /// first servers are asked by the next [`poll`](Self::poll).
    ///
    /// # Errors
    ///
    /// `BadArgument` if that cannot be a name, `NoMemory` if too many questions are under way.
    pub fn resolve(&mut self, name: &str, family: Family) -> Result<QueryId, Error> {
        if self.resolver.questions.len() >= QUESTIONS_MAX {
            return Err(Error::NoMemory);
        }
        let kinds: &[u16] = match family {
            Family::Any => &[KIND_A, KIND_AAAA],
            Family::V4 => &[KIND_A],
            Family::V6 => &[KIND_AAAA],
        };
        let parts = match known(name) {
            Some(addresses) => kinds
                .iter()
                .map(|kind| known_part(*kind, &addresses))
                .collect(),
            None => {
                let name = encode_name(name).ok_or(Error::BadArgument)?;
                kinds.iter().map(|kind| self.part(&name, *kind)).collect()
            }
        };
        let id = QueryId(self.resolver.next_id);
        self.resolver.next_id += 1;
        self.resolver.questions.push(Question {
            id,
            parts,
            is_told: false,
        });
        self.tell_finished();
        Ok(id)
    }

    /// The answer to a question, once: `None` while there is none. The order of the addresses
    /// is that in which to try them.
    pub fn resolve_result(&mut self, id: QueryId) -> Option<Result<Vec<IpAddr>, Error>> {
        let questions = &mut self.resolver.questions;
        let Some(position) = questions.iter().position(|question| question.id == id) else {
            return Some(Err(Error::BadArgument));
        };
        let is_done = |part: &Part| matches!(part.state, State::Done(_));
        if !questions.get(position)?.parts.iter().all(is_done) {
            return None;
        }
        let question = questions.swap_remove(position);
        self.resolver.finished.retain(|other| *other != id);
        Some(self.combine(question))
    }

    /// The next question that has been answered since the last call.
    pub fn take_resolved(&mut self) -> Option<QueryId> {
        self.resolver.finished.pop_front()
    }

    /// Gives up a question.
    pub fn resolve_cancel(&mut self, id: QueryId) {
        let questions = &mut self.resolver.questions;
        let Some(position) = questions.iter().position(|question| question.id == id) else {
            return;
        };
        let question = questions.swap_remove(position);
        self.resolver.finished.retain(|other| *other != id);
        for part in question.parts {
            if let State::Asking { socket, .. } = part.state {
                let _ = self.close(socket);
            }
        }
    }

    /// Forgets all answers.
    pub fn resolve_flush(&mut self) {
        self.resolver.cache.clear();
    }

    /// How many answers are kept.
    pub fn resolve_cache_len(&self) -> usize {
        self.resolver.cache.len()
    }

    /// Reads replies and asks the next servers where it is time; `true` if it has done anything.
    pub(crate) fn serve_resolver(&mut self) -> bool {
        if self.resolver.questions.is_empty() {
            self.resolver.ready.clear();
            return false;
        }
        let ready = core::mem::take(&mut self.resolver.ready);
        if ready.is_empty() && self.resolver.next().is_none_or(|next| next > self.now) {
            return false;
        }
        let mut questions = core::mem::take(&mut self.resolver.questions);
        for part in questions
            .iter_mut()
            .flat_map(|question| &mut question.parts)
        {
            match &part.state {
                State::Asking { socket, .. } if ready.contains(socket) => self.hear(part),
                State::Asking { deadline, .. } if *deadline <= self.now => {
                    self.stop(part, Error::TimedOut);
                    self.ask_next(part);
                }
                State::Idle => self.ask_next(part),
                _ => {}
            }
        }
        self.resolver.questions = questions;
        self.tell_finished();
        true
    }

    fn tell_finished(&mut self) {
        for question in &mut self.resolver.questions {
            let is_done = question
                .parts
                .iter()
                .all(|part| matches!(part.state, State::Done(_)));
            if is_done && !question.is_told {
                question.is_told = true;
                self.resolver.finished.push_back(question.id);
            }
        }
    }

    fn part(&self, name: &[u8], kind: u16) -> Part {
        match self.resolver.cache.find(name, kind, self.now) {
            Some(answer) => Part::done(kind, answer.clone()),
            None => Part::new(name.to_vec(), kind),
        }
    }

    /// Asks the server whose turn it is, by UDP, or gives up.
    fn ask_next(&mut self, part: &mut Part) {
        let servers = self.name_servers();
        let attempts_max = (servers.len() * ROUNDS).clamp(1, ATTEMPTS_MAX);
        while part.attempt < attempts_max {
            let Some(&server) = servers.get(part.attempt % servers.len().max(1)) else {
                break;
            };
            let round = part.attempt / servers.len().max(1);
            part.attempt += 1;
            part.transaction = self.rng.next_u32() as u16;
            let message = query(part.transaction, &part.target, part.kind);
            let Ok(socket) = self.ask_by_udp(server, &message) else {
                part.trouble = Error::NameServerFailed;
                continue;
            };
            let deadline = self.now.saturating_add(TIMEOUT_NS << round.min(3));
            part.state = State::Asking {
                server,
                socket,
                stream: None,
                deadline,
            };
            return;
        }
        let error = if servers.is_empty() {
            Error::NoNameServer
        } else {
            part.trouble
        };
        part.state = State::Done(Err(error));
    }

    fn ask_by_udp(&mut self, server: IpAddr, message: &[u8]) -> Result<SocketId, Error> {
        let local = SocketAddr::new(crate::address::unspecified_like(server), 0);
        let socket = self.udp_bind_small(local)?;
        self.make_internal(socket);
        let sent = self.udp_send(socket, SocketAddr::new(server, DNS_PORT), message);
        if let Err(error) = sent {
            let _ = self.close(socket);
            return Err(error);
        }
        Ok(socket)
    }

    /// Asks the same server once more, by TCP.
    fn ask_by_tcp(&mut self, part: &mut Part, server: IpAddr) {
        part.transaction = self.rng.next_u32() as u16;
        let message = query(part.transaction, &part.target, part.kind);
        let mut unsent = (message.len() as u16).to_be_bytes().to_vec();
        unsent.extend_from_slice(&message);
        let options = TcpOptions {
            receive_bytes: 16_384,
            send_bytes: 1024,
            ..self.config.tcp
        };
        let address = SocketAddr::new(server, DNS_PORT);
        match self.tcp_connect(address, None, &options) {
            Ok(socket) => {
                self.make_internal(socket);
                let stream = Some(Stream {
                    unsent,
                    received: Vec::new(),
                });
                let deadline = self.now.saturating_add(TCP_TIMEOUT_NS);
                part.state = State::Asking {
                    server,
                    socket,
                    stream,
                    deadline,
                };
            }
            Err(_) => {
                part.trouble = Error::NameServerFailed;
                self.ask_next(part);
            }
        }
    }

    /// Ends the conversation with a server.
    fn stop(&mut self, part: &mut Part, trouble: Error) {
        if let State::Asking { socket, .. } = core::mem::replace(&mut part.state, State::Idle) {
            let _ = self.close(socket);
        }
        part.trouble = trouble;
    }

    /// The socket of a question has something new.
    fn hear(&mut self, part: &mut Part) {
        let State::Asking {
            server,
            socket,
            stream,
            ..
        } = &mut part.state
        else {
            return;
        };
        let (server, socket) = (*server, *socket);
        let (id, target, kind) = (part.transaction, &part.target, part.kind);
        let heard = match stream {
            None => self.hear_udp(socket, server, |reply| parse(reply, id, target, kind)),
            Some(stream) => self.hear_tcp(socket, stream).map(|reply| {
                reply.map(|reply| parse(&reply, id, target, kind).unwrap_or(Answer::Failure))
            }),
        };
        let by_tcp = matches!(
            &part.state,
            State::Asking {
                stream: Some(_),
                ..
            }
        );
        match heard {
            Ok(None) => {}
            Ok(Some(Answer::Truncated)) if !by_tcp => {
                self.stop(part, Error::NameServerFailed);
                self.ask_by_tcp(part, server);
            }
            Ok(Some(Answer::Truncated | Answer::Failure)) | Err(_) => {
                self.stop(part, Error::NameServerFailed);
                self.ask_next(part);
            }
            Ok(Some(answer)) => {
                self.stop(part, Error::NameServerFailed);
                self.conclude(part, answer);
            }
        }
    }

    /// Looks for a reply to the question among what has come in.
    fn hear_udp(
        &mut self,
        socket: SocketId,
        server: IpAddr,
        read: impl Fn(&[u8]) -> Option<Answer>,
    ) -> Result<Option<Answer>, Error> {
        loop {
            let heard = self.udp_recv_with(socket, |data, from, _| {
                let is_server = from == SocketAddr::new(server, DNS_PORT);
                if is_server { read(data) } else { None }
            });
            match heard {
                Ok(None) => {}
                Ok(answer) => return Ok(answer),
                Err(Error::WouldBlock) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn hear_tcp(
        &mut self,
        socket: SocketId,
        stream: &mut Stream,
    ) -> Result<Option<Vec<u8>>, Error> {
        if !self.tcp_is_connected(socket)? {
            return Ok(None);
        }
        if !stream.unsent.is_empty() {
            let sent = self.tcp_send(socket, &stream.unsent)?;
            stream.unsent.drain(..sent.min(stream.unsent.len()));
        }
        let mut buffer = [0; 512];
        loop {
            match self.tcp_recv(socket, &mut buffer) {
                Ok(0) => return Err(Error::NameServerFailed),
                Ok(len) => stream
                    .received
                    .extend_from_slice(buffer.get(..len).unwrap_or(&[])),
                Err(Error::WouldBlock) => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some((len, rest)) = stream.received.split_first_chunk::<2>()
                && let Some(reply) = rest.get(..usize::from(u16::from_be_bytes(*len)))
            {
                return Ok(Some(reply.to_vec()));
            }
        }
    }

    /// An answer: it is kept, or leads to another name.
    fn conclude(&mut self, part: &mut Part, answer: Answer) {
        let (answer, ttl) = match answer {
            Answer::Addresses(addresses, ttl) => (Ok(addresses), ttl),
            Answer::NoName(ttl) | Answer::NoAddress(ttl) => (Err(Error::NameNotFound), ttl),
            Answer::Alias(target, ttl) if part.aliases < ALIASES_MAX => {
                part.aliases += 1;
                part.attempt = 0;
                part.ttl = part.ttl.min(ttl);
                part.target = target;
                return self.ask_next(part);
            }
            Answer::Alias(..) | Answer::Truncated | Answer::Failure => {
                (Err(Error::NameServerFailed), 0)
            }
        };
        let ttl = ttl.min(part.ttl);
        self.resolver
            .cache
            .insert(&part.name, part.kind, answer.clone(), ttl, self.now);
        part.state = State::Done(answer);
    }

    /// The answers to the parts of a question, as one.
    fn combine(&self, question: Question) -> Result<Vec<IpAddr>, Error> {
        let mut addresses = Vec::new();
        let mut error = Error::NameNotFound;
        for part in question.parts {
            match part.state {
                State::Done(Ok(found)) => addresses.extend(found),
                State::Done(Err(Error::NameNotFound)) => {}
                State::Done(Err(other)) => error = other,
                _ => {}
            }
        }
        if addresses.is_empty() {
            return Err(error);
        }
        addresses.sort_by_key(|address| self.rank(*address));
        Ok(addresses)
    }

    /// Smaller is better (RFC 6724, 6, as far as it matters here): what can be reached; then
    /// IPv6 if we have a global address ourselves, IPv4 otherwise.
    fn rank(&self, to: IpAddr) -> u8 {
        let source = self
            .route_to(to)
            .and_then(|index| self.source_for(index, to));
        match (to, source) {
            (_, None) => 3,
            (IpAddr::V4(_), Some(_)) => 1,
            (IpAddr::V6(_), Some(IpAddr::V6(source))) if source.octets()[0] >> 5 == 1 => 0,
            _ => 2,
        }
    }

    fn make_internal(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.is_internal = true;
        }
    }
}

/// The addresses that need no server.
fn known(name: &str) -> Option<Vec<IpAddr>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(vec![address]);
    }
    // RFC 6761, 6.3.
    let name = name.strip_suffix('.').unwrap_or(name);
    let tail = name
        .len()
        .checked_sub(LOCALHOST.len())
        .and_then(|at| name.get(at..))?;
    let rest = &name[..name.len() - tail.len()];
    let is_local = tail.eq_ignore_ascii_case(LOCALHOST) && (rest.is_empty() || rest.ends_with('.'));
    is_local.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

fn known_part(kind: u16, addresses: &[IpAddr]) -> Part {
    let suits = |address: &&IpAddr| address.is_ipv4() == (kind == KIND_A);
    let found: Vec<IpAddr> = addresses.iter().filter(suits).copied().collect();
    let answer = if found.is_empty() {
        Err(Error::NameNotFound)
    } else {
        Ok(found)
    };
    Part::done(kind, answer)
}

const LOCALHOST: &str = "localhost";
const DNS_PORT: u16 = 53;
/// Questions that are under way at most.
const QUESTIONS_MAX: usize = 64;
/// How often each server is asked.
const ROUNDS: usize = 3;
const ATTEMPTS_MAX: usize = 9;
/// How long the first server has, in nanoseconds. Each round doubles it.
const TIMEOUT_NS: u64 = 1_500_000_000;
const TCP_TIMEOUT_NS: u64 = 5_000_000_000;
/// Aliases that are followed from reply to reply.
const ALIASES_MAX: usize = 8;
