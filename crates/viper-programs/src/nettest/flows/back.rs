//! What comes back after a death: the listener, and as many connections as there were.

use super::figures::Figures;
use super::{ANY, LISTENER_KEY, Round};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use viper_proto::net::client::{Network, TcpStream};
use viper_rt::handle::PollSet;
use viper_rt::{Error, Object, clock, sys};

/// How long everything may take to be back.
const BACK_NS: u64 = 30 * clock::SECOND;
/// After so many new connections callers from outside have their turn.
const CALLERS_TURN: usize = 4;

/// What comes back after a death.
pub(super) struct Back {
    set: PollSet,
    died: u64,
    /// How often somebody from outside had been accepted before.
    calls: u64,
    new: Vec<New>,
    /// Numbers of those that may have more to do.
    ready: VecDeque<usize>,
}

impl Back {
    /// Registers the listener again, is accepted by it, and begins to connect.
    pub(super) fn begin(
        round: &mut Round<'_>,
        count: usize,
        died: u64,
        figures: &mut Figures,
    ) -> Result<Back, String> {
        let listener = |error| format!("the listener: {error}");
        let calls = round.calls;
        round.accept(drop).map_err(listener)?;
        let _near = round.within().map_err(listener)?;
        let mut came = false;
        round.accept(|_| came = true).map_err(listener)?;
        figures.listener = clock::now() - died;
        if !came {
            return Err("the listener is back, and accepts nobody".into());
        }
        let mut back = Back {
            set: PollSet::new().map_err(|e| e.to_string())?,
            died,
            calls,
            new: Vec::new(),
            ready: (0..count).collect(),
        };
        for index in 0..count {
            if index % CALLERS_TURN == 0 {
                back.accept(round, figures)?;
            }
            let new = New::begin(round.network, round.at, &back.set, index as u64);
            back.new.push(new.map_err(|error| {
                format!("{index} of {count} connections could be had after the death: {error}")
            })?);
        }
        let watched = back.set.add(round.listener.event(), LISTENER_KEY, ANY);
        watched.map_err(|e| e.to_string())?;
        Ok(back)
    }

    /// Lets callers from outside in.
    fn accept(&self, round: &mut Round<'_>, figures: &mut Figures) -> Result<(), String> {
        let accepted = round.accept(drop);
        accepted.map_err(|e| format!("the listener: {e}"))?;
        if figures.outside.is_none() && round.calls > self.calls {
            figures.outside = Some(clock::now() - self.died);
        }
        Ok(())
    }

    /// Until all new ones have been answered and, if there are callers, one of them was accepted.
    pub(super) fn wait(
        &mut self,
        round: &mut Round<'_>,
        figures: &mut Figures,
    ) -> Result<(), String> {
        let late = self.died + BACK_NS;
        let mut answered = 0;
        loop {
            while let Some(index) = self.ready.pop_front() {
                let Some(new) = self.new.get_mut(index) else {
                    continue;
                };
                let step = new.step();
                answered += usize::from(step.map_err(|e| format!("a new connection: {e}"))?);
            }
            if figures.all == 0 && answered == self.new.len() {
                figures.all = clock::now() - self.died;
            }
            let outside = figures.outside.is_some() || self.calls == 0;
            if outside && figures.all > 0 {
                return Ok(());
            }
            let got = sys::receive(self.set.raw(), late);
            if got.check().is_err() {
                let count = self.new.len();
                return Err(format!(
                    "{answered} of {count} new connections work, calls from outside: {outside}"
                ));
            }
            match got.key {
                LISTENER_KEY => self.accept(round, figures)?,
                index => self.ready.push_back(index as usize),
            }
        }
    }
}

/// A connection after the death: connected, asked for an echo, answered.
struct New {
    stream: TcpStream,
    asked: bool,
    answered: bool,
}

impl New {
    fn begin(network: &Network, at: SocketAddr, set: &PollSet, key: u64) -> Result<New, Error> {
        let stream = network.tcp_connect_start(at)?;
        set.add(stream.event(), key, ANY)?;
        Ok(New {
            stream,
            asked: false,
            answered: false,
        })
    }

    /// Whether it has been answered just now.
    fn step(&mut self) -> Result<bool, Error> {
        if self.answered || !self.stream.is_connected()? {
            return Ok(false);
        }
        if !self.asked {
            self.stream.try_write(b"echo\n!")?;
            self.asked = true;
        }
        let mut byte = [0];
        match self.stream.try_read(&mut byte) {
            Ok(1) if byte == *b"!" => {
                self.answered = true;
                Ok(true)
            }
            Ok(_) => Err(Error::Corrupt),
            Err(Error::WouldBlock) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
