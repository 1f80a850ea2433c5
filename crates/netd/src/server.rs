//! The server: what makes it move.

use crate::card::NetworkCard;
use crate::convert;
use crate::datagrams::Gate;
use crate::lease;
use crate::questions::Question;
use crate::sockets::{Kind, Socket, Sockets};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use viper_netstack::{Cidr, Config, FrameDevice, InterfaceConfig, SocketId, Stack, TcpOptions};
use viper_proto::net;
use viper_proto::net::rules::Rules;
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::Interrupt;
use viper_rt::message::Reader;
use viper_rt::server::{Answer, NewClient, Pending, Service, Sources};
use viper_rt::{Error, clock};

/// Key of the card's interrupt among the server's sources. Below are the sockets.
pub const DEVICE_KEY: u32 = u32::MAX;
/// Sockets of all clients, at most: what the server's memory is for.
pub const SOCKETS_MAX: usize = 512;
/// Sockets of one client, at most.
pub const CLIENT_SOCKETS_MAX: usize = 384;
/// Bytes of each ring of a socket.
pub const RING_BYTES: u32 = 32 * 1024;
/// The same for a connection while there are few sockets: twice the window of a peer without
/// window scaling, so that it may send the next while the program reads the last.
pub const WIDE_RING_BYTES: u32 = 128 * 1024;
/// How many sockets are few.
pub const WIDE_MAX: usize = 64;
/// How long after the start whoever needs an address waits for it.
const SETTLE_NS: u64 = 10 * clock::SECOND;
/// How long what a program left behind may take to go out.
const LINGER_NS: u64 = 60 * clock::SECOND;
/// How often the stack is polled before other requests have their turn.
const ROUNDS_MAX: usize = 32;

/// How often frames are taken before something is sent.
const RECEIVED_MAX: usize = 8;

/// Keeps a text for the server that follows this one.
pub type Keep = Box<dyn FnMut(&str)>;

/// A client.
#[derive(Debug)]
pub struct Client {
    pub(crate) number: u64,
    pub(crate) process_id: u64,
}

/// What a client may do.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) rules: Rules,
    /// Names that were resolved for it, for rules with names.
    pub(crate) named: Vec<(String, IpAddr)>,
}

impl Permit {
    pub(crate) fn is_named(&self, name: &str, address: IpAddr) -> bool {
        let same = |(n, a): &(String, IpAddr)| *a == address && n.eq_ignore_ascii_case(name);
        self.named.iter().any(same)
    }
}

/// The network server on a card, or without one.
pub struct Netd<C> {
    pub(crate) stack: Stack,
    pub(crate) card: Option<C>,
    interrupt: Option<Interrupt>,
    pub(crate) sources: Sources<Client>,
    pub(crate) sockets: Sockets,
    pub(crate) by_id: BTreeMap<SocketId, u32>,
    /// What each client may do: its sockets need it while others are served.
    permits: BTreeMap<u64, Permit>,
    pub(crate) questions: Vec<Question>,
    pub(crate) own: Vec<IpAddr>,
    pub(crate) waiting_ready: Vec<(u64, Pending<()>)>,
    clients: u64,
    /// Tells a successor of the lease; no text: that there is none.
    keep: Option<Keep>,
    kept: String,
    settled_at: u64,
    is_settled: bool,
    /// Before this no socket that its owner has let go of is given up.
    orphans_at: u64,
    deadline: u64,
}

impl<C> core::fmt::Debug for Netd<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Netd")
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

impl<C: NetworkCard> Netd<C> {
    /// A server on this card with its interrupt, if there is one. `seed` is unpredictable.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a card that says nonsense about itself.
    pub fn new(
        card: Option<(C, Option<Interrupt>)>,
        seed: [u8; 32],
        sources: Sources<Client>,
    ) -> Result<Netd<C>, Error> {
        let now = clock::now();
        let mut stack = Stack::new(stack_config(), seed, now);
        if let Some((card, _)) = &card {
            let hardware = hardware_address(card.hardware(), seed);
            let mut interface = InterfaceConfig::ethernet("net0", hardware);
            interface.sum = Some(viper_rt::checksum::internet);
            interface.mtu = card.mtu().map_or(1500, usize::from).clamp(1280, 1500);
            stack.add_interface(&interface).map_err(convert::error)?;
        }
        let (card, interrupt) = card.map_or((None, None), |(c, i)| (Some(c), i));
        let mut netd = Netd {
            settled_at: if card.is_some() { now + SETTLE_NS } else { now },
            is_settled: card.is_none(),
            stack,
            card,
            interrupt,
            sources,
            sockets: Sockets::default(),
            by_id: BTreeMap::new(),
            permits: BTreeMap::new(),
            questions: Vec::new(),
            own: Vec::new(),
            waiting_ready: Vec::new(),
            clients: 0,
            keep: None,
            kept: String::new(),
            orphans_at: FOREVER,
            deadline: now,
        };
        netd.work();
        Ok(netd)
    }

    /// Gives the card a fixed address.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a card, [`Error::InvalidArgument`] for an address that cannot be
    /// that of one host.
    pub fn set_address(&mut self, address: IpAddr, prefix_bits: u8) -> Result<(), Error> {
        let interface = self.stack.interfaces().nth(1).ok_or(Error::NotFound)?.id;
        let cidr = Cidr::new(address, prefix_bits).ok_or(Error::InvalidArgument)?;
        self.stack
            .add_address(interface, cidr)
            .map_err(convert::error)?;
        self.work();
        Ok(())
    }

    /// Begins with the lease that a predecessor has kept, if that is what `text` is: nobody has to
    /// wait for the DHCP server, which is asked all the same. `keep` is told of the lease whenever
    /// there is another one, for a successor.
    pub fn follow(&mut self, text: &str, keep: Keep) {
        self.keep = Some(keep);
        self.kept = text.into();
        let interface = self.stack.interfaces().nth(1).map(|interface| interface.id);
        if let (Some(interface), Some(lease)) = (interface, lease::from_text(text)) {
            // It is there.
            let _ = self.stack.remember_lease(interface, lease);
        }
        self.keep_lease();
        self.work();
    }

    fn keep_lease(&mut self) {
        let interface = self.stack.interfaces().nth(1).map(|interface| interface.id);
        let lease = interface.and_then(|interface| self.stack.lease(interface));
        let text = lease.map_or(String::new(), lease::to_text);
        if let Some(keep) = &mut self.keep
            && text != self.kept
        {
            keep(&text);
            self.kept = text;
        }
    }

    /// How connections are made.
    #[expect(
        clippy::field_reassign_with_default,
        reason = "nobody else can name all fields"
    )]
    pub(crate) fn tcp_options() -> TcpOptions {
        let mut options = TcpOptions::default();
        // What a program writes goes out; it writes whole pieces.
        options.nagle = false;
        options
    }

    /// What a client may do.
    pub(crate) fn permit(&mut self, client: u64) -> Result<&mut Permit, Error> {
        self.permits.get_mut(&client).ok_or(Error::Internal)
    }

    /// A number that changes from client to client.
    pub(crate) fn clients_seen(&self) -> u64 {
        self.clients
    }

    /// Bytes of each ring of the next connection.
    pub(crate) fn ring_bytes(&self) -> u32 {
        if self.sockets.count() < WIDE_MAX {
            WIDE_RING_BYTES
        } else {
            RING_BYTES
        }
    }

    /// Whether an address may still come.
    pub(crate) fn is_settling(&self) -> bool {
        !self.is_settled && clock::now() < self.settled_at
    }

    /// Moves frames and bytes until nothing moves any more.
    pub(crate) fn work(&mut self) {
        let mut next = None;
        for _ in 0..ROUNDS_MAX {
            let now = clock::now();
            let mut is_moved = self.receive(now);
            next = match &mut self.card {
                Some(card) => self
                    .stack
                    .transmit(now, &mut [card as &mut dyn FrameDevice]),
                None => self.stack.transmit(now, &mut []),
            };
            is_moved |= self.pump_ready();
            is_moved |= self.answer_questions();
            if self.stack.take_addresses_changed() {
                is_moved = true;
                self.addresses_changed();
            }
            if is_moved {
                next = Some(now);
            } else if next.is_none_or(|next| next > now) {
                break;
            }
        }
        if let Some(card) = &mut self.card {
            card.flush();
        }
        self.deadline = next.unwrap_or(FOREVER).min(self.own_deadline());
    }

    /// Takes what has come, and moves it on before anything is acknowledged: bytes in the rings are
    /// not in the way of what the peers may send next. Whether there was anything.
    fn receive(&mut self, now: u64) -> bool {
        let mut any = false;
        for _ in 0..RECEIVED_MAX {
            let has_more = match &mut self.card {
                Some(card) => {
                    card.reclaim();
                    self.stack.receive(now, &mut [card as &mut dyn FrameDevice])
                }
                None => self.stack.receive(now, &mut []),
            };
            if !has_more {
                break;
            }
            self.pump_ready();
            any = true;
        }
        any
    }

    /// Moves bytes of the sockets for which there is something to do, and says if there are any.
    fn pump_ready(&mut self) -> bool {
        let mut any = false;
        while let Some(id) = self.stack.take_ready() {
            any = true;
            if let Some(&index) = self.by_id.get(&id) {
                self.pump(index);
            }
        }
        any
    }

    /// When something other than the stack is due.
    fn own_deadline(&self) -> u64 {
        let ready = self.waiting_ready.iter().map(|(deadline, _)| *deadline);
        let questions = self.questions.iter().map(|question| question.deadline);
        let ready = ready.chain(questions);
        let settle = if self.is_settled {
            FOREVER
        } else {
            self.settled_at
        };
        let first = ready.min().unwrap_or(FOREVER);
        first.min(settle).min(self.orphans_at)
    }

    /// Moves bytes of one socket.
    pub(crate) fn pump(&mut self, index: u32) {
        let is_settling = self.is_settling();
        let Some(socket) = self.sockets.get_mut(index) else {
            return;
        };
        match &mut socket.kind {
            Kind::Flow(flow) if socket.owner.is_none() => {
                let id = flow.id;
                if flow.is_drained(&mut self.stack) {
                    self.forget(index, id);
                }
            }
            Kind::Flow(flow) if flow.wants.is_some() => self.start(index),
            Kind::Flow(flow) => {
                let id = flow.id;
                if let Err(error) = flow.pump(&mut self.stack) {
                    flow.fail(&mut self.stack, error);
                    id.map(|id| self.by_id.remove(&id));
                }
            }
            Kind::Datagrams(datagrams) => {
                let gate = OwnersGate {
                    permit: socket.owner.and_then(|owner| self.permits.get(&owner)),
                    is_settling,
                };
                if let Err(error) = datagrams.pump(&mut self.stack, &gate) {
                    datagrams.pipe.set_status(error.code() as i32);
                    datagrams.pipe.wake(net::bits::ALL);
                }
            }
            Kind::Listener(listener) => {
                let _ = listener.wake.signal(net::bits::READ);
            }
            Kind::Local(_) => {}
        }
    }

    /// Starts a connection that had to wait for an address, or says that it cannot be.
    fn start(&mut self, index: u32) {
        let is_settling = self.is_settling();
        let Some(Socket { kind, .. }) = self.sockets.get_mut(index) else {
            return;
        };
        let Kind::Flow(flow) = kind else {
            return;
        };
        let Some(to) = flow.wants else {
            return;
        };
        match self.stack.tcp_connect(to, None, &Self::tcp_options()) {
            Ok(id) => {
                flow.id = Some(id);
                flow.wants = None;
                self.by_id.insert(id, index);
            }
            Err(viper_netstack::Error::NoRoute) if is_settling => {}
            Err(error) => {
                flow.wants = None;
                flow.fail(&mut self.stack, convert::error(error));
            }
        }
    }

    fn addresses_changed(&mut self) {
        let interfaces = self.stack.interfaces();
        self.own = interfaces
            .flat_map(|interface| interface.addresses)
            .map(|cidr| cidr.address())
            .collect();
        let is_global = |a: &IpAddr| match a {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(_) => false,
        };
        if self.own.iter().any(is_global) {
            self.settled();
        }
        self.keep_lease();
    }

    /// There is an address, or there will be none soon: nobody waits any longer.
    fn settled(&mut self) {
        self.is_settled = true;
        for (_, pending) in self.waiting_ready.drain(..) {
            pending.answer(Ok(()));
        }
        self.ask_again();
        let waiting = |socket: &Socket| matches!(socket.kind, Kind::Flow(_) | Kind::Datagrams(_));
        for index in self.sockets.find(waiting) {
            self.pump(index);
        }
    }

    /// Takes a socket out of all tables.
    pub(crate) fn forget(&mut self, index: u32, id: Option<SocketId>) {
        if let Some(id) = id {
            self.by_id.remove(&id);
        }
        self.sockets.remove(index);
    }

    /// The owner of a socket lets go of it, or has gone.
    pub(crate) fn let_go(&mut self, index: u32, abort: bool) {
        let Some(socket) = self.sockets.get_mut(index) else {
            return;
        };
        socket.owner = None;
        socket.process_id = 0;
        socket.give_up = clock::after(LINGER_NS);
        self.orphans_at = self.orphans_at.min(socket.give_up);
        match &mut socket.kind {
            Kind::Flow(flow) => {
                let _ = self.sources.unwatch(flow.pipe.bell());
                let id = flow.id;
                if abort {
                    flow.abort(&mut self.stack);
                }
                if flow.let_go(&mut self.stack) {
                    self.forget(index, id);
                }
            }
            Kind::Datagrams(datagrams) => {
                let _ = self.sources.unwatch(datagrams.pipe.bell());
                let id = datagrams.id;
                let _ = self.stack.close(id);
                self.forget(index, Some(id));
            }
            Kind::Listener(_) => self.close_listener(index),
            Kind::Local(_) => self.close_local(index, abort),
        }
    }

    fn timed_out(&mut self) {
        let now = clock::now();
        if !self.is_settled && now >= self.settled_at {
            self.settled();
        }
        let (over, still): (Vec<_>, Vec<_>) = core::mem::take(&mut self.waiting_ready)
            .into_iter()
            .partition(|(deadline, _)| *deadline <= now);
        self.waiting_ready = still;
        for (_, pending) in over {
            pending.answer(Err(Error::TimedOut));
        }
        self.give_up_questions(now);
        if now >= self.orphans_at {
            self.give_up_orphans(now);
        }
    }

    fn give_up_orphans(&mut self, now: u64) {
        let given_up = |socket: &Socket| socket.owner.is_none() && socket.give_up <= now;
        for index in self.sockets.find(given_up) {
            let Some(socket) = self.sockets.get_mut(index) else {
                continue;
            };
            let mut id = None;
            if let Kind::Flow(flow) = &mut socket.kind {
                id = flow.id;
                flow.abort(&mut self.stack);
            }
            self.forget(index, id);
        }
        let orphans = { self.sockets.iter() }.filter(|(_, socket)| socket.owner.is_none());
        let first = orphans.map(|(_, socket)| socket.give_up).min();
        self.orphans_at = first.unwrap_or(FOREVER);
    }
}

#[expect(
    clippy::field_reassign_with_default,
    reason = "nobody else can name all fields"
)]
fn stack_config() -> Config {
    let mut config = Config::default();
    config.sockets_max = SOCKETS_MAX;
    config
}

/// The rules of a socket's owner.
struct OwnersGate<'a> {
    permit: Option<&'a Permit>,
    is_settling: bool,
}

impl Gate for OwnersGate<'_> {
    fn may_exchange(&self, local: SocketAddr, with: SocketAddr) -> bool {
        self.permit.is_some_and(|permit| {
            let named = |name: &str, ip| permit.is_named(name, ip);
            permit.rules.may_exchange(local.port(), with, named)
        })
    }

    fn is_settling(&self) -> bool {
        self.is_settling
    }
}

impl<C: NetworkCard> Service for Netd<C> {
    type Client = Client;

    fn connect(&mut self, who: NewClient) -> Result<Client, Error> {
        let text = who.grant.as_str().unwrap_or_default();
        let rules = Rules::parse(text).unwrap_or_default();
        self.clients += 1;
        let permit = Permit {
            rules,
            named: Vec::new(),
        };
        self.permits.insert(self.clients, permit);
        Ok(Client {
            number: self.clients,
            process_id: who.process_id,
        })
    }

    fn request(&mut self, client: &mut Client, request: Reader) -> Answer {
        net::dispatch(self, client, request)
    }

    fn disconnect(&mut self, client: Client) {
        self.permits.remove(&client.number);
        self.forget_questions(client.number);
        let is_its = |socket: &Socket| socket.owner == Some(client.number);
        for index in self.sockets.find(is_its) {
            self.let_go(index, false);
        }
        self.work();
    }

    fn signal(&mut self, key: u32, _: Signals) {
        if key != DEVICE_KEY {
            self.pump(key);
            self.work();
            return;
        }
        if let Some(card) = &mut self.card {
            card.on_interrupt();
        }
        self.work();
        if let Some(interrupt) = &self.interrupt {
            let _ = interrupt.acknowledge();
        }
    }

    fn deadline(&self) -> u64 {
        self.deadline
    }

    fn timeout(&mut self) {
        self.timed_out();
        self.work();
    }
}

/// The card's address; one made of the seed for a card that has none, marked as local.
fn hardware_address(mac: Option<[u8; 6]>, seed: [u8; 32]) -> [u8; 6] {
    mac.unwrap_or([2, seed[0], seed[1], seed[2], seed[3], seed[4]])
}
