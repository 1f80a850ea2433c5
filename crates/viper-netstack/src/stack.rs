//! The stack as a whole: its tables, its interfaces, and which of them leads where.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use chacha20::ChaCha20Rng;
use hashbrown::HashMap;
use rand_core::{Rng, SeedableRng};
use smoltcp::time::Instant;

use crate::address::{is_unicast, to_bits};
use crate::dns::Resolver;
use crate::flow::{Key, KeyedHash};
use crate::gather::Gather;
use crate::interface::{LOOPBACK_NAME, MTU_MAX, Port};
use crate::slot::{Half, Slots, Socket};
use crate::time_wait::TimeWait;
use crate::timer::Timers;
use crate::{
    Cidr, Config, Error, FrameDevice, InterfaceConfig, InterfaceId, Medium, Route, SocketId,
};

/// A TCP/IP stack without I/O.
///
/// Calls on sockets only change tables; frames move in [`poll`](Self::poll) alone. Call it
/// after calls that send, when a device has frames or room, and at the time it returned last.
pub struct Stack {
    pub(crate) config: Config,
    pub(crate) rng: ChaCha20Rng,
    /// What the ports of connections begin from, for each destination.
    port_secret: [u8; 32],
    /// How many ports connections have been given.
    ports_given: u32,
    /// The time of the last `poll`, in nanoseconds.
    pub(crate) now: u64,
    pub(crate) ports: Vec<Port>,
    pub(crate) slots: Slots,
    pub(crate) connections: HashMap<Key, SocketId, KeyedHash>,
    pub(crate) listeners: HashMap<u16, Vec<SocketId>, KeyedHash>,
    pub(crate) datagrams: HashMap<u16, Vec<SocketId>, KeyedHash>,
    pub(crate) pings: HashMap<u16, SocketId, KeyedHash>,
    pub(crate) time_wait: TimeWait,
    pub(crate) timers: Timers,
    pub(crate) ready: VecDeque<SocketId>,
    pub(crate) dirty: VecDeque<SocketId>,
    pub(crate) stalled: Vec<SocketId>,
    pub(crate) idle: Vec<Half>,
    pub(crate) gathered: Gather,
    pub(crate) routes: Vec<Route>,
    pub(crate) addresses_changed: bool,
    pub(crate) resolver: Resolver,
}

impl Stack {
    /// A stack with a loopback interface and nothing else.
    ///
    /// `seed` is 32 unpredictable bytes: sequence numbers, ports and identifiers come of it.
    /// `now` is the time in nanoseconds since any moment, as in all calls that take it.
    pub fn new(config: Config, seed: [u8; 32], now: u64) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let hash = KeyedHash::new(rng.next_u64());
        let mut port_secret = [0; 32];
        rng.fill_bytes(&mut port_secret);
        let time_wait = TimeWait::new(config.time_wait_max, hash);
        let resolver = Resolver::new(config.dns_cache_max, hash);
        let mut stack = Self {
            config,
            rng,
            port_secret,
            ports_given: 0,
            now,
            ports: Vec::new(),
            slots: Slots::default(),
            connections: HashMap::with_hasher(hash),
            listeners: HashMap::with_hasher(hash),
            datagrams: HashMap::with_hasher(hash),
            pings: HashMap::with_hasher(hash),
            time_wait,
            timers: Timers::default(),
            ready: VecDeque::new(),
            dirty: VecDeque::new(),
            stalled: Vec::new(),
            idle: Vec::new(),
            gathered: Gather::default(),
            routes: Vec::new(),
            addresses_changed: false,
            resolver,
        };
        let loopback = InterfaceConfig {
            mtu: MTU_MAX,
            ..InterfaceConfig::fixed(LOOPBACK_NAME, Medium::Ip, &LOOPBACK_ADDRESSES)
        };
        stack
            .add_interface(&loopback)
            .expect("its configuration is a constant, and right");
        stack
    }

    /// Adds an interface. In `poll`, `devices[0]` is the device of the first one added.
    ///
    /// # Errors
    ///
    /// `BadArgument` if the configuration makes no sense or the name is taken, `NoMemory` if
    /// it has more addresses than fit.
    pub fn add_interface(&mut self, config: &InterfaceConfig) -> Result<InterfaceId, Error> {
        if self.ports.iter().any(|port| port.name == config.name) {
            return Err(Error::BadArgument);
        }
        let index = u8::try_from(self.ports.len()).map_err(|_| Error::NoMemory)?;
        let seed = self.rng.next_u64();
        self.ports.push(Port::new(config, seed, instant(self.now))?);
        for &gateway in &config.gateways {
            self.add_default_route(InterfaceId(index), gateway)?;
        }
        self.addresses_changed = true;
        Ok(InterfaceId(index))
    }

    /// Gives an interface one more address.
    ///
    /// # Errors
    ///
    /// `BadArgument` if there is no such interface or the address cannot be that of one host,
    /// `NoMemory` if it has eight already.
    pub fn add_address(&mut self, interface: InterfaceId, cidr: Cidr) -> Result<(), Error> {
        self.port_mut(interface)?.add_address(cidr)?;
        self.addresses_changed = true;
        Ok(())
    }

    /// Takes an address away. Connections that use it end with `AddressGone`.
    ///
    /// # Errors
    ///
    /// `BadArgument` if there is no such interface, or the address is its link-local one.
    pub fn remove_address(&mut self, interface: InterfaceId, cidr: Cidr) -> Result<(), Error> {
        let port = self.port_mut(interface)?;
        if port
            .mac
            .is_some_and(|mac| crate::address::link_local(mac) == cidr)
        {
            return Err(Error::BadArgument);
        }
        port.remove_address(cidr);
        self.addresses_changed = true;
        Ok(())
    }

    /// Makes `gateway`, on the link of `interface`, the way to all other networks of its family.
    ///
    /// # Errors
    ///
    /// `BadArgument` if there is no such interface or the gateway cannot be one host.
    pub fn add_default_route(
        &mut self,
        interface: InterfaceId,
        gateway: IpAddr,
    ) -> Result<(), Error> {
        let network = Cidr::new(crate::address::unspecified_like(gateway), 0);
        let network = network.ok_or(Error::BadArgument)?;
        self.add_route(Route {
            network,
            gateway,
            interface,
        })
    }

    /// Adds a route, in place of one to the same network over the same interface.
    ///
    /// # Errors
    ///
    /// `BadArgument` if there is no such interface or the gateway cannot be one host,
    /// `NoMemory` if the table of the interface is full.
    pub fn add_route(&mut self, route: Route) -> Result<(), Error> {
        if !is_unicast(route.gateway)
            || route.gateway.is_ipv4() != route.network.address().is_ipv4()
        {
            return Err(Error::BadArgument);
        }
        self.remove_route(route.network, route.interface);
        self.port_mut(route.interface)?.push_route(route)?;
        self.routes.push(route);
        Ok(())
    }

    /// Removes the route to `network` over `interface`, if there is one.
    pub fn remove_route(&mut self, network: Cidr, interface: InterfaceId) {
        self.routes
            .retain(|route| route.network != network || route.interface != interface);
        if let Ok(port) = self.port_mut(interface) {
            port.retain_routes(network);
        }
    }

    /// The routes that were added by calls. Those of DHCP and of router advertisements show as
    /// gateways of their interface.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Asks the DHCP server of an interface anew.
    ///
    /// # Errors
    ///
    /// `BadArgument` if there is no such interface.
    pub fn restart_dhcp(&mut self, interface: InterfaceId) -> Result<(), Error> {
        self.port_mut(interface)?.restart_dhcp();
        Ok(())
    }

    /// The next socket that has something new: data, room, a connection, an end. Each change is
    /// told once; `None` when all have been.
    pub fn take_ready(&mut self) -> Option<SocketId> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.is_ready = false;
                return Some(id);
            }
        }
        None
    }

    /// Whether addresses of interfaces have changed since the last call.
    pub fn take_addresses_changed(&mut self) -> bool {
        core::mem::take(&mut self.addresses_changed)
    }

    /// The name servers to ask: those of the configuration, then those of the leases.
    pub fn name_servers(&self) -> Vec<IpAddr> {
        let mut servers = self.config.name_servers.clone();
        for port in &self.ports {
            servers.extend(port.name_servers());
        }
        let mut seen = Vec::new();
        servers.retain(|server| {
            let is_new = is_unicast(*server) && !seen.contains(server);
            seen.push(*server);
            is_new
        });
        servers
    }

    /// Closes a socket of any kind. Data that a connection has taken is still sent; unread
    /// data makes it end with a reset. Its name is no longer valid.
    ///
    /// # Errors
    ///
    /// `BadSocket` if there is no such socket.
    pub fn close(&mut self, id: SocketId) -> Result<(), Error> {
        match &self.slots.get(id).ok_or(Error::BadSocket)?.socket {
            Socket::Tcp(_) => self.tcp_close(id),
            Socket::Listener(_) => self.close_listener(id),
            Socket::Udp(_) => self.close_udp(id),
            Socket::Ping(_) => self.close_ping(id),
        }
    }

    /// Which interface leads to `to`.
    pub(crate) fn route_to(&self, to: IpAddr) -> Option<usize> {
        if to.is_loopback() || self.is_own(to) {
            return Some(0);
        }
        if !is_unicast(to) {
            return self.link_for_all(to);
        }
        let on_link = self
            .ports
            .iter()
            .enumerate()
            .skip(1)
            .flat_map(|(index, port)| port.addresses().map(move |cidr| (index, cidr)));
        let by_router = self
            .routes
            .iter()
            .map(|route| (route.interface.index(), route.network));
        let best = on_link
            .chain(by_router)
            .filter(|(_, cidr)| cidr.contains(to))
            .max_by_key(|(index, cidr)| (cidr.prefix_len(), core::cmp::Reverse(*index)));
        if let Some((index, _)) = best {
            return Some(index);
        }
        self.ports
            .iter()
            .position(|port| port.gateways().any(|g| g.is_ipv4() == to.is_ipv4()))
    }

    /// The address that packets to `to` over an interface come from.
    pub(crate) fn source_for(&self, index: usize, to: IpAddr) -> Option<IpAddr> {
        if index == 0 {
            return match to {
                IpAddr::V4(to) if to.is_loopback() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                to => Some(to),
            };
        }
        self.ports.get(index)?.source_for(to)
    }

    /// Whether `address` is one of ours.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        self.ports.iter().any(|port| port.has_address(address))
    }

    /// Whether a socket may be bound to `local`.
    pub(crate) fn may_bind(&self, local: IpAddr) -> bool {
        local.is_unspecified() || local.is_loopback() || self.is_own(local)
    }

    pub(crate) fn port_mut(&mut self, interface: InterfaceId) -> Result<&mut Port, Error> {
        self.ports
            .get_mut(interface.index())
            .ok_or(Error::BadArgument)
    }

    pub(crate) fn mark_ready(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id)
            && !slot.is_ready
        {
            if slot.is_internal {
                self.resolver.ready.push(id);
                return;
            }
            slot.is_ready = true;
            self.ready.push_back(id);
        }
    }

    pub(crate) fn mark_dirty(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id)
            && !slot.is_dirty
        {
            slot.is_dirty = true;
            self.dirty.push_back(id);
        }
    }

    /// A number below `bound`, which is not 0, close enough to evenly chosen.
    pub(crate) fn random_below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.rng.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// A port that `is_free`, chosen at random from those that are for this.
    pub(crate) fn ephemeral(&mut self, is_free: impl Fn(&Self, u16) -> bool) -> Option<u16> {
        let start = self.random_below(PORTS);
        for attempt in 0..PORTS {
            let offset = if attempt < RANDOM_ATTEMPTS {
                self.random_below(PORTS)
            } else {
                (start + attempt) % PORTS
            };
            let port = EPHEMERAL_MIN + offset as u16;
            if is_free(self, port) {
                return Some(port);
            }
        }
        None
    }

    /// A port for a connection from `local` to `remote`, of those that are free (RFC 6056, 3.3.3).
    ///
    /// They go up one by one, from a place that outsiders cannot know. A port comes again as late
    /// as possible: the peer may still remember the connection that had it, and half of the time
    /// would take the new one for old.
    pub(crate) fn connection_port(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        is_free: impl Fn(&Self, u16) -> bool,
    ) -> Option<u16> {
        let mut seed = self.port_secret;
        let ends = [
            to_bits(remote.ip()),
            to_bits(local) ^ u128::from(remote.port()),
        ];
        let ends = ends.iter().flat_map(|end| end.to_le_bytes());
        seed.iter_mut().zip(ends).for_each(|(to, byte)| *to ^= byte);
        let start = ChaCha20Rng::from_seed(seed).next_u32();
        for _ in 0..PORTS {
            let offset = start.wrapping_add(self.ports_given) % PORTS;
            self.ports_given = self.ports_given.wrapping_add(1);
            let port = EPHEMERAL_MIN + offset as u16;
            if is_free(self, port) {
                return Some(port);
            }
        }
        None
    }

    /// The first interface, not loopback, that has an address of the family of `to`.
    fn link_for_all(&self, to: IpAddr) -> Option<usize> {
        let suits = |cidr: Cidr| cidr.address().is_ipv4() == to.is_ipv4();
        let index = self
            .ports
            .iter()
            .skip(1)
            .position(|port| port.addresses().any(suits))?;
        (!to.is_unspecified()).then_some(index + 1)
    }

    /// The device of an interface, of those that `poll` was given.
    pub(crate) fn device<'a>(
        devices: &'a mut [&mut dyn FrameDevice],
        index: usize,
    ) -> Option<&'a mut dyn FrameDevice> {
        let device = devices.get_mut(index.checked_sub(1)?)?;
        Some(&mut **device)
    }
}

/// Whether a socket bound to `bound` gets what is sent to `to`. `::` takes IPv4, too.
pub(crate) fn is_for(bound: SocketAddr, to: IpAddr) -> bool {
    match bound.ip() {
        IpAddr::V6(address) if address.is_unspecified() => true,
        IpAddr::V4(address) if address.is_unspecified() => to.is_ipv4(),
        address => address == to,
    }
}

/// Whether two sockets would claim the same packets.
pub(crate) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip() == b.ip()
}

/// The engine's idea of a time in nanoseconds: it sees [`HASTE`] seconds go by in each.
pub(crate) fn instant(now: u64) -> Instant {
    Instant::from_micros((now / (1000 / HASTE)) as i64)
}

/// The time in nanoseconds at which the engine sees this one.
pub(crate) fn to_nanos(instant: Instant) -> u64 {
    u64::try_from(instant.total_micros())
        .unwrap_or(0)
        .saturating_mul(1000 / HASTE)
}

/// How much faster the engine's clock runs.
///
/// The engine repeats a segment after a second at the earliest, and cannot be told otherwise. It
/// hears of more than one loss in a window only by such time-outs, so that a wire that loses one
/// packet in a hundred would stand still most of the time. With its clock five times as fast it
/// repeats after 200 ms, as other systems do. What else it counts in seconds is either given to
/// it by this crate, in its own measure, or does no harm when it comes early: hardware addresses
/// are asked for again after 12 s instead of 60 s, and leases are renewed after a tenth of their
/// time instead of half.
pub(crate) const HASTE: u64 = 5;

const LOOPBACK_ADDRESSES: [Cidr; 2] = [
    match Cidr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8) {
        Some(cidr) => cidr,
        None => unreachable!(),
    },
    match Cidr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128) {
        Some(cidr) => cidr,
        None => unreachable!(),
    },
];

/// The ports that are given out: RFC 6056, 3.2 wants many. All others are as likely a server's.
const EPHEMERAL_MIN: u16 = 32_768;
const PORTS: u32 = 32_768;
const RANDOM_ATTEMPTS: u32 = 64;
