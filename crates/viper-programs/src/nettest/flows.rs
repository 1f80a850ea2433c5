//! `nettest flows`: connections of all kinds that are at work when the network server dies.
//!
//! Each has to end with the same clear error, whoever waits for it in whatever way; the listener
//! has to be there again by itself, and as many connections as before have to work.

mod back;
mod end;
mod figures;
mod standing;

use super::{CHUNK, PATIENCE_NS, connect};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use back::Back;
use core::fmt::Write;
use core::mem::ManuallyDrop;
use core::net::{Ipv4Addr, SocketAddr};
use end::{End, Ending, Waiter};
use figures::{Figures, line, summary};
use standing::Standing;
use viper_proto::names;
use viper_proto::net::bits;
use viper_proto::net::client::{Network, TcpListener, TcpStream};
use viper_rt::abi::{Signals, Slot};
use viper_rt::handle::{Channel, PollSet};
use viper_rt::{Error, Object, clock, println, program, sys};

/// Where the program listens meanwhile: also to others, who are told a line.
const PORT: u16 = 5033;
const SERVER: &[u8] = b"netd";
const LISTENER_KEY: u64 = u64::MAX;
/// How long all are at work before this program ends the server itself.
const AT_WORK_NS: u64 = 300 * clock::MILLISECOND;
/// Who has not ended after this does not end.
const HANGS_NS: u64 = 5 * clock::SECOND;
/// How long the listener may be away.
const LISTENER_NS: u64 = clock::SECOND;

/// Has `count` connections at work until the server dies.
///
/// Without `kills` somebody else ends it, within so many seconds; otherwise this program does, so
/// often, and compares what the system has in use after the first and after the last.
///
/// # Errors
/// A sentence about what went wrong.
pub(super) fn run(at: SocketAddr, count: usize, seconds: u64, kills: u64) -> Result<(), String> {
    let network = Network::connect().map_err(|e| e.to_string())?;
    let names = names().map_err(|e| e.to_string())?;
    let mut all = Vec::new();
    let mut before = None;
    for number in 1..=kills.max(1) {
        let listener = network.tcp_listen((Ipv4Addr::UNSPECIFIED, PORT).into(), 64);
        let mut round = Round {
            network: &network,
            listener: listener.map_err(|e| format!("port {PORT}: {e}"))?,
            at,
            seconds,
            calls: 0,
            is_mine: kills > 0,
            number,
        };
        all.push(round.run(count)?);
        drop(round);
        // The first lets tables grow that stay.
        if number == 1 && kills > 1 {
            before = Some(Standing::now(&names, &network)?);
        }
    }
    if kills > 1 {
        println!("{}", summary(&all));
    }
    before.map_or(Ok(()), |before| before.compare(&names, &network))
}

struct Round<'a> {
    network: &'a Network,
    listener: TcpListener,
    at: SocketAddr,
    /// How long somebody else may take to end the server.
    seconds: u64,
    /// How often somebody from outside was accepted.
    calls: u64,
    is_mine: bool,
    number: u64,
}

impl Round<'_> {
    fn run(&mut self, count: usize) -> Result<Figures, String> {
        let mut flows = Flows::open(self, count)?;
        let died = flows.work(self)?;
        let mut figures = Figures {
            moved_bytes: flows.moved(),
            ..Figures::default()
        };
        // It can be in one set only.
        let removed = flows.set.remove(self.listener.event());
        removed.map_err(|e| e.to_string())?;
        // Who has only just ended is still held while everything comes back, as programs do.
        let mut back = Back::begin(self, count, died, &mut figures)?;
        back.wait(self, &mut figures)?;
        figures.heard = flows.verdict(died)?;
        // The peer cannot know of connections whose end here it was never told.
        ask(self.network, self.at, b"end\n").map_err(|e| e.to_string())?;
        println!("{}", line(self.number, count, &figures));
        match figures.listener.max(figures.outside.unwrap_or(0)) {
            ..LISTENER_NS => Ok(figures),
            _ => Err("the listener took too long".into()),
        }
    }

    /// Takes those that wait: the ends of connections from within; others are told a line.
    fn accept(&mut self, mut within: impl FnMut(TcpStream)) -> Result<(), Error> {
        loop {
            match self.listener.try_accept() {
                Ok(stream) if stream.peer().ip().is_loopback() => within(stream),
                Ok(mut caller) => {
                    self.calls += 1;
                    // Whoever does not listen to the end has had it.
                    let _ = caller.try_write(b"here\n");
                }
                Err(Error::WouldBlock) => return Ok(()),
                // Those that were cut off while they waited.
                Err(Error::ConnectionReset) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn within(&self) -> Result<TcpStream, Error> {
        connect(self.network, (Ipv4Addr::LOCALHOST, PORT).into())
    }
}

/// A connection for a thread, and what that will do.
type Waiting = (TcpStream, fn(TcpStream) -> Result<Waiter, Error>);

/// The connections of a round, before the death and after it.
struct Flows {
    set: PollSet,
    ends: Vec<End>,
    waiters: Vec<Waiter>,
    /// Ends that may have more to do than they have had time for.
    ready: VecDeque<usize>,
    /// Whether somebody may wait at the listener.
    is_called: bool,
    chunk: Vec<u8>,
}

impl Flows {
    /// Opens them: of ten, four send, three receive, one is between two ends of this machine, and
    /// two are left to threads that wait, one to read and one to write.
    fn open(round: &mut Round<'_>, count: usize) -> Result<Flows, String> {
        let set = PollSet::new().map_err(|e| e.to_string())?;
        let mut flows = Flows {
            set,
            ends: Vec::new(),
            waiters: Vec::new(),
            ready: VecDeque::new(),
            is_called: false,
            chunk: vec![0; CHUNK],
        };
        // Those who work by themselves begin when all are there.
        let mut waiting = Vec::new();
        for index in 0..count {
            let opened = flows.open_one(round, index, &mut waiting);
            opened.map_err(|error| {
                format!("{count} connections wanted, {index} could be had: {error}")
            })?;
        }
        for (stream, begin) in waiting {
            flows
                .waiters
                .push(begin(stream).map_err(|e| e.to_string())?);
        }
        let listener = round.listener.event();
        let watched = flows.set.add(listener, LISTENER_KEY, ANY);
        watched.map_err(|e| e.to_string())?;
        for (key, end) in flows.ends.iter().enumerate() {
            let watched = flows.set.add(end.stream.event(), key as u64, ANY);
            watched.map_err(|e| e.to_string())?;
            flows.ready.push_back(key);
        }
        Ok(flows)
    }

    fn open_one(
        &mut self,
        round: &mut Round<'_>,
        index: usize,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), Error> {
        let (network, at) = (round.network, round.at);
        let asked = |what| ask(network, at, what);
        match index % 10 {
            0..=3 => self.ends.push(End::new(asked(b"take\n")?, true)),
            4..=6 => self.ends.push(End::new(asked(b"give\n")?, false)),
            7 => {
                let near = round.within()?;
                self.ends.push(End::new(near, true));
                let ends = &mut self.ends;
                let before = ends.len();
                round.accept(|far| ends.push(End::new(far, false)))?;
                if ends.len() == before {
                    return Err(Error::Internal);
                }
            }
            8 => waiting.push((asked(b"hold\n")?, Waiter::reads)),
            _ => waiting.push((asked(b"take\n")?, Waiter::writes)),
        }
        Ok(())
    }

    /// Moves bytes until all have ended, or hang. When the server died.
    fn work(&mut self, round: &mut Round<'_>) -> Result<u64, String> {
        let late = clock::after(round.seconds * clock::SECOND);
        let mut at_work = None;
        let mut killed = None;
        loop {
            let died = killed.or_else(|| self.first_end());
            if self.ends.iter().all(|end| end.over.is_some())
                && self.waiters.iter().all(|waiter| waiter.over().is_some())
            {
                let died = died.ok_or("they ended, but not by the server's death")?;
                at_work.ok_or("the server ended before all were at work")?;
                return Ok(died);
            }
            let now = clock::now();
            match (died, at_work) {
                (Some(died), _) if now > died + HANGS_NS => return Ok(died),
                (Some(_), _) => {}
                (None, None) if self.are_at_work() => {
                    let ends = self.ends.len() + self.waiters.len();
                    println!("flows: all at work, {ends} ends in this program");
                    at_work = Some(now);
                }
                (None, Some(since)) if round.is_mine && now > since + AT_WORK_NS => {
                    killed = Some(now);
                    kill().map_err(|e| format!("the server is not ended: {e}"))?;
                }
                _ if now > late => return Err(self.too_late(at_work.is_some())),
                _ => {}
            }
            self.turn(round);
        }
    }

    /// One turn for all that can move, or a wait for one that can.
    fn turn(&mut self, round: &mut Round<'_>) {
        for _ in 0..self.ready.len() {
            if let Some(index) = self.ready.pop_front()
                && let Some(end) = self.ends.get_mut(index)
                && end.pump(&mut self.chunk)
            {
                self.ready.push_back(index);
            }
        }
        // After the death it is registered again, but first all are to end.
        if core::mem::take(&mut self.is_called) && self.first_end().is_none() {
            let _ = round.accept(drop);
        }
        let mut deadline = match self.ready.is_empty() {
            true => clock::after(20 * clock::MILLISECOND),
            false => 0,
        };
        loop {
            let got = sys::receive(self.set.raw(), deadline);
            if got.check().is_err() {
                return;
            }
            deadline = 0;
            match got.key {
                LISTENER_KEY => self.is_called = true,
                index if self.ready.contains(&(index as usize)) => {}
                index => self.ready.push_back(index as usize),
            }
        }
    }

    fn are_at_work(&self) -> bool {
        self.ends.iter().all(|end| end.moved_bytes > 0)
            && self.waiters.iter().all(Waiter::is_at_work)
    }

    fn too_late(&self, were_at_work: bool) -> String {
        match were_at_work {
            true => "nobody has ended the server".into(),
            false => {
                let idle = { self.ends.iter() }.filter(|end| end.moved_bytes == 0);
                format!("{} ends have not moved a byte", idle.count())
            }
        }
    }

    /// When the first end heard that the server had died.
    fn first_end(&self) -> Option<u64> {
        let endings = self.endings().flatten();
        let deaths = endings.filter(|(ending, _)| *ending == Err(Error::ServerDied));
        deaths.map(|(_, at)| at).min()
    }

    fn endings(&self) -> impl Iterator<Item = Option<(Ending, u64)>> {
        let waiters = self.waiters.iter().map(Waiter::over);
        self.ends.iter().map(|end| end.over).chain(waiters)
    }

    fn moved(&self) -> u64 {
        let waiters = self.waiters.iter().map(Waiter::moved_bytes);
        { self.ends.iter() }
            .map(|end| end.moved_bytes)
            .chain(waiters)
            .sum()
    }

    /// All ended with the one error, and go on saying it. How long the last took to hear of it.
    fn verdict(self, died: u64) -> Result<u64, String> {
        let mut tally: BTreeMap<String, usize> = BTreeMap::new();
        let mut last = died;
        for over in self.endings() {
            let how = match over {
                Some((Ok(()), _)) => "the end of the stream".into(),
                Some((Err(error), at)) => {
                    last = last.max(at);
                    format!("\"{error}\"")
                }
                None => "no end at all".into(),
            };
            *tally.entry(how).or_default() += 1;
        }
        let died_text = format!("\"{}\"", Error::ServerDied);
        if tally.len() != 1 || !tally.contains_key(&died_text) {
            let mut text = String::from("ends:");
            for (how, count) in &tally {
                let _ = write!(text, " {count} with {how},");
            }
            return Err(text);
        }
        let changed = self.ends.into_iter().filter_map(End::says_something_else);
        if let Some(other) = { changed }.next() {
            return Err(format!("an end that was over says: {other}"));
        }
        for waiter in self.waiters {
            waiter.join().map_err(|e| format!("a thread: {e}"))?;
        }
        Ok(last - died)
    }
}

/// A connection to the peer, which is told what it is for.
fn ask(network: &Network, at: SocketAddr, what: &[u8]) -> Result<TcpStream, Error> {
    let mut stream = connect(network, at)?;
    stream.write_all(what, clock::after(PATIENCE_NS))?;
    Ok(stream)
}

fn kill() -> Result<(), Error> {
    names()?.server_kill(SERVER)
}

/// The name service; its handle stays the program's.
fn names() -> Result<ManuallyDrop<names::Client>, Error> {
    let channel = program::peek(Slot::NAMES).ok_or(Error::NoService)?;
    Ok(ManuallyDrop::new(names::Client::new(Channel::from_raw(
        channel,
    ))))
}

const ANY: Signals = Signals(bits::ALL as u64);
