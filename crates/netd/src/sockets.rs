//! The table of sockets.

use crate::datagrams::Datagrams;
use crate::flow::Flow;
use crate::pipe::Shared;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use viper_netstack::SocketId;
use viper_rt::handle::Event;

/// A socket and whose it is.
#[derive(Debug)]
pub struct Socket {
    /// The client it belongs to; `None` if that has let go of it.
    pub owner: Option<u64>,
    /// The client's process.
    pub process_id: u64,
    /// What it is.
    pub kind: Kind,
    /// When it is forgotten, in nanoseconds of uptime, if nobody owns it.
    pub give_up: u64,
}

/// What a socket is.
#[derive(Debug)]
pub enum Kind {
    /// A connection that goes through the stack.
    Flow(Flow),
    /// A connection between two programs of this machine: they share the rings, and no byte of it
    /// passes through here.
    Local(LocalEnd),
    /// A listener.
    Listener(Listener),
    /// UDP or echoes.
    Datagrams(Datagrams),
}

/// One end of a connection between two programs of this machine.
#[derive(Debug)]
pub struct LocalEnd {
    /// What both share.
    pub shared: Rc<Shared>,
    /// Which end: 0 has connected, 1 was connected to.
    pub end: usize,
    /// Where it is.
    pub local: SocketAddr,
    /// Where the other end is.
    pub peer: SocketAddr,
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the stack.
    pub id: SocketId,
    /// Where it listens.
    pub local: SocketAddr,
    /// Connections that may wait.
    pub backlog: usize,
    /// Signalled when one does.
    pub wake: Event,
    /// Second ends of connections from this machine that wait.
    pub pending: VecDeque<LocalEnd>,
}

/// Sockets by number.
#[derive(Debug, Default)]
pub struct Sockets {
    places: Vec<Option<Socket>>,
    free: Vec<u32>,
    len: usize,
}

impl Sockets {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.len
    }

    /// Adds one.
    pub fn insert(&mut self, socket: Socket) -> u32 {
        self.len += 1;
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            *place = Some(socket);
            return index;
        }
        self.places.push(Some(socket));
        self.places.len() as u32 - 1
    }

    /// Takes one out.
    pub fn remove(&mut self, index: u32) -> Option<Socket> {
        let socket = self.places.get_mut(index as usize)?.take()?;
        self.free.push(index);
        self.len -= 1;
        Some(socket)
    }

    /// The one with this number.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Socket> {
        self.places.get(index as usize)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Socket> {
        self.places.get_mut(index as usize)?.as_mut()
    }

    /// All, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Socket)> {
        (0..)
            .zip(&self.places)
            .filter_map(|(index, place)| Some((index, place.as_ref()?)))
    }

    /// The numbers of those that fit.
    pub fn find(&self, fits: impl Fn(&Socket) -> bool) -> Vec<u32> {
        self.iter()
            .filter(|(_, socket)| fits(socket))
            .map(|(index, _)| index)
            .collect()
    }
}
