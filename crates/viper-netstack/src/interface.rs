//! One interface: an engine of its own, its addresses, its lease, and its way out.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use smoltcp::iface::Route as EngineRoute;
use smoltcp::iface::{Config as EngineConfig, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, DeviceCapabilities, Medium as EngineMedium};
use smoltcp::socket::dhcpv4;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpCidr, IpProtocol, IpRepr, TcpPacket, TcpRepr,
};

use crate::address::{is_unicast, link_local, to_engine};
use crate::device::{FrameDevice, FrameQueue};
use crate::frame::{ETHERNET_LEN, ICMP, Packet, word};
use crate::neighbour::Neighbours;
use crate::recovery::Recovery;
use crate::slaac::{Slaac, solicitation};
use crate::slot::Half;
use crate::stack::{HASTE, to_nanos};
use crate::status::{Counters, DhcpState};
use crate::wire::{Out, Wire};
use crate::{Cidr, Dhcp, Error, InterfaceConfig, Medium, Route, Sum};

/// The name of an interface. 0 is loopback, the others count from 1 as they are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub(crate) u8);

impl InterfaceId {
    /// The interface that leads back to this stack.
    pub const LOOPBACK: Self = Self(0);

    /// The number: 0 for loopback, 1 for the first that was added.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An interface and everything that belongs to it.
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: usize,
    pub(crate) engine: Box<Interface>,
    /// What is sent in answer to a received frame, or everything that is sent on loopback.
    pub(crate) queue: FrameQueue,
    pub(crate) counters: Counters,
    pub(crate) neighbours: Neighbours,
    pub(crate) fragments: Fragments,
    pub(crate) lease: Option<Lease>,
    pub(crate) slaac: Option<Slaac>,
    pub(crate) checks_frames: bool,
    pub(crate) sum: Option<Sum>,
    /// Whether the checksums of TCP are filled in here.
    fills_sums: bool,
    /// When the interface itself wants to be served, in nanoseconds.
    pub(crate) due: Option<u64>,
    /// The router and the addresses that are there because a router announced them.
    announced: Option<IpAddr>,
    announced_addresses: Vec<Cidr>,
    system: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    abilities: DeviceCapabilities,
    spare: Vec<u8>,
}

/// What a DHCP server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Cidr,
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) server: Ipv4Addr,
}

/// What came of letting a socket send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Packets that left.
    pub(crate) packets: usize,
    /// When to try again, in nanoseconds.
    pub(crate) next: Option<u64>,
    /// There is something to send and no room for it.
    pub(crate) is_stalled: bool,
    /// There is something to send, but no hardware address to send it to.
    pub(crate) is_waiting: bool,
    /// The engine has sent a question for that address.
    pub(crate) has_asked: bool,
}

impl Port {
    /// An interface, without addresses except its link-local one.
    pub(crate) fn new(config: &InterfaceConfig, seed: u64, now: Instant) -> Result<Self, Error> {
        if !(MTU_MIN..=MTU_MAX).contains(&config.mtu) {
            return Err(Error::BadArgument);
        }
        let is_loopback = config.name == LOOPBACK_NAME;
        let abilities = abilities(config, is_loopback);
        let (mac, hardware) = match config.medium {
            Medium::Ethernet { mac } => (Some(mac), EthernetAddress(mac).into()),
            Medium::Ip => (None, HardwareAddress::Ip),
        };
        if mac.is_some_and(|mac| !EthernetAddress(mac).is_unicast()) {
            return Err(Error::BadArgument);
        }
        let mut engine_config = EngineConfig::new(hardware);
        engine_config.random_seed = seed;
        let mut counters = Counters::default();
        let mut queue = FrameQueue::new(QUEUE_MAX);
        let mut wire = Wire {
            frame: None,
            out: Out::Queue(&mut queue),
            abilities: &abilities,
            counters: &mut counters,
            sum: None,
            watch: None,
        };
        let mut engine = Box::new(Interface::new(engine_config, &mut wire, now));
        engine.set_any_ip(is_loopback);
        engine.set_reassembly_timeout(Duration::from_secs(REASSEMBLY_S * HASTE));
        let mut system = SocketSet::new(Vec::new());
        let dhcp =
            (config.dhcp == Dhcp::On && mac.is_some()).then(|| system.add(dhcpv4::Socket::new()));
        let mut port = Self {
            name: config.name.clone(),
            mac,
            mtu: config.mtu,
            engine,
            queue,
            counters,
            neighbours: Neighbours::default(),
            fragments: Fragments::default(),
            lease: None,
            slaac: mac
                .filter(|_| config.slaac)
                .map(|mac| Slaac::new(mac, to_nanos(now))),
            checks_frames: config.checksums_checked,
            sum: config.sum,
            fills_sums: config.sum.is_some() && !config.checksums_filled && !is_loopback,
            due: Some(0),
            announced: None,
            announced_addresses: Vec::new(),
            system,
            dhcp,
            abilities,
            spare: Vec::new(),
        };
        if let Some(mac) = mac {
            port.add_address(link_local(mac))?;
        }
        for &address in &config.addresses {
            port.add_address(address)?;
        }
        Ok(port)
    }

    /// How much lies before the packet in a frame.
    pub(crate) const fn link_len(&self) -> usize {
        if self.mac.is_some() { ETHERNET_LEN } else { 0 }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = Cidr> {
        self.engine.ip_addrs().iter().map(Cidr::from_engine)
    }

    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        let address = to_engine(address);
        self.engine
            .ip_addrs()
            .iter()
            .any(|cidr| cidr.address() == address)
    }

    /// Adds an address, or says why not. To add it again is no error.
    pub(crate) fn add_address(&mut self, cidr: Cidr) -> Result<(), Error> {
        if !is_unicast(cidr.address()) {
            return Err(Error::BadArgument);
        }
        let new = cidr.to_engine();
        let mut result = Ok(());
        self.engine.update_ip_addrs(|addresses| {
            if !addresses.contains(&new) {
                result = addresses.push(new).map_err(|_| Error::NoMemory);
            }
        });
        self.due = Some(0);
        result
    }

    pub(crate) fn remove_address(&mut self, cidr: Cidr) {
        let old = cidr.to_engine();
        self.engine
            .update_ip_addrs(|addresses| addresses.retain(|address| *address != old));
    }

    /// The address of ours that a packet to `to` should come from.
    pub(crate) fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        match to {
            IpAddr::V4(to) => self.engine.get_source_address_ipv4(&to).map(IpAddr::V4),
            IpAddr::V6(to) => {
                let has_any = self.addresses().any(|cidr| cidr.address().is_ipv6());
                has_any.then(|| IpAddr::V6(self.engine.get_source_address_ipv6(&to)))
            }
        }
    }

    /// Where packets for other networks of that family go; `None` takes the route away.
    pub(crate) fn set_gateway(&mut self, gateway: IpAddr, is_there: bool) {
        let routes = self.engine.routes_mut();
        match (gateway, is_there) {
            (IpAddr::V4(gateway), true) => drop(routes.add_default_ipv4_route(gateway)),
            (IpAddr::V6(gateway), true) => drop(routes.add_default_ipv6_route(gateway)),
            (IpAddr::V4(_), false) => drop(routes.remove_default_ipv4_route()),
            (IpAddr::V6(_), false) => drop(routes.remove_default_ipv6_route()),
        }
    }

    /// The default routers.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let routes = self.engine.routes();
        [
            routes.get_default_ipv4_route(),
            routes.get_default_ipv6_route(),
        ]
        .into_iter()
        .flatten()
        .map(|route| route.via_router.into())
    }

    /// The name servers that the interface was told of.
    pub(crate) fn name_servers(&self) -> impl Iterator<Item = IpAddr> {
        let lease = self.lease.iter();
        let leased = lease.flat_map(|lease| lease.name_servers.iter().copied());
        leased.chain(self.slaac.iter().flat_map(Slaac::name_servers))
    }

    pub(crate) fn push_route(&mut self, route: Route) -> Result<(), Error> {
        let mut result = Ok(());
        self.engine.routes_mut().update(|routes| {
            let route = EngineRoute {
                cidr: route.network.to_engine(),
                via_router: route.gateway.into(),
                preferred_until: None,
                expires_at: None,
            };
            result = routes.push(route).map_err(|_| Error::NoMemory);
        });
        result
    }

    /// Removes the routes to `network`.
    pub(crate) fn retain_routes(&mut self, network: Cidr) {
        let cidr = network.to_engine();
        self.engine
            .routes_mut()
            .update(|routes| routes.retain(|route| route.cidr != cidr));
    }

    /// A segment as it would come from the peer, in a frame in `space`.
    pub(crate) fn frame_of<'b>(
        &self,
        (source, destination): (IpAddr, IpAddr),
        segment: &TcpRepr<'_>,
        space: &'b mut [u8],
    ) -> Option<&'b [u8]> {
        let link_len = self.link_len();
        let (from, to) = (to_engine(source), to_engine(destination));
        let len = segment.buffer_len();
        let header = IpRepr::new(from, to, IpProtocol::Tcp, len, 64);
        let frame = space.get_mut(..link_len + header.buffer_len())?;
        let (link, packet) = frame.split_at_mut(link_len);
        if let Some(mac) = self.mac {
            let kind: u16 = if source.is_ipv4() { 0x0800 } else { 0x86dd };
            link.get_mut(..6)?.copy_from_slice(&mac);
            link.get_mut(12..)?.copy_from_slice(&kind.to_be_bytes());
        }
        let sums = ChecksumCapabilities::default();
        header.emit(&mut *packet, &sums);
        let at = packet.len() - len;
        let mut packet = TcpPacket::new_unchecked(packet.get_mut(at..)?);
        segment.emit(&mut packet, &from, &to, &sums);
        Some(frame)
    }

    /// Shows the engine a frame, together with the one socket that it may be for.
    pub(crate) fn feed(&mut self, now: Instant, frame: &[u8], set: &mut SocketSet<'static>) {
        let mut wire = Wire {
            frame: Some(frame),
            out: Out::Queue(&mut self.queue),
            abilities: &self.abilities,
            counters: &mut self.counters,
            sum: self.sum.filter(|_| self.fills_sums),
            watch: None,
        };
        self.engine.poll_ingress_single(now, &mut wire, set);
    }

    /// Shows the engine a frame that is for no socket, or for those of the interface itself.
    pub(crate) fn feed_system(&mut self, now: Instant, frame: &[u8]) {
        let mut wire = Wire {
            frame: Some(frame),
            out: Out::Queue(&mut self.queue),
            abilities: &self.abilities,
            counters: &mut self.counters,
            sum: self.sum.filter(|_| self.fills_sums),
            watch: None,
        };
        self.engine
            .poll_ingress_single(now, &mut wire, &mut self.system);
    }

    /// Lets a socket send what it has to send.
    pub(crate) fn flush<'a>(
        &'a mut self,
        now: Instant,
        half: &mut Half,
        watch: Option<(&'a mut Recovery, u64)>,
        device: Option<&'a mut dyn FrameDevice>,
    ) -> Sent {
        let Some(out) = out(device, &mut self.queue, &mut self.spare, self.mac.is_none()) else {
            return Sent {
                is_stalled: true,
                ..Sent::default()
            };
        };
        let (has_neighbours, frames_before) = (self.mac.is_some(), self.counters.frames_sent);
        let mut wire = Wire {
            frame: None,
            out,
            abilities: &self.abilities,
            counters: &mut self.counters,
            sum: self.sum.filter(|_| self.fills_sums),
            watch,
        };
        let mut packets = 0;
        while packets < BURST {
            let result = self.engine.poll_egress(now, &mut wire, &mut half.set);
            if result == PollResult::None {
                break;
            }
            packets += 1;
            if half.is_datagram() {
                send_fragments(&mut self.engine, now, &mut wire);
            }
        }
        let next = self.engine.poll_at(now, &half.set);
        let is_overdue = next.is_some_and(|next| next <= now);
        let is_silenced = next == Some(now + DISCOVERY_SILENCE);
        Sent {
            packets,
            next: next.map(|next| to_nanos(next).max(to_nanos(now))),
            is_stalled: is_overdue && packets == 0,
            is_waiting: is_silenced && packets == 0 && has_neighbours,
            has_asked: wire.counters.frames_sent > frames_before,
        }
    }

    /// Sends what the interface itself has to send, and says when to come again.
    pub(crate) fn serve<'a>(
        &'a mut self,
        now: Instant,
        device: Option<&'a mut dyn FrameDevice>,
    ) -> bool {
        self.due = None;
        let Some(out) = out(device, &mut self.queue, &mut self.spare, self.mac.is_none()) else {
            return false;
        };
        let mut wire = Wire {
            frame: None,
            out,
            abilities: &self.abilities,
            counters: &mut self.counters,
            sum: self.sum.filter(|_| self.fills_sums),
            watch: None,
        };
        self.engine.poll_maintenance(now);
        send_fragments(&mut self.engine, now, &mut wire);
        let mut any = false;
        for _ in 0..BURST {
            match self.engine.poll_egress(now, &mut wire, &mut self.system) {
                PollResult::None => break,
                PollResult::SocketStateChanged => any = true,
            }
        }
        let next = self.engine.poll_at(now, &self.system);
        // What is due but does not go out waits for room, not for time.
        self.due = next.map(|next| to_nanos(next).max(to_nanos(now) + STALL_NS));
        any
    }

    /// Takes over what the DHCP client has found out; `true` if something has changed.
    pub(crate) fn take_lease(&mut self) -> bool {
        let Some(handle) = self.dhcp else {
            return false;
        };
        let lease = match self.system.get_mut::<dhcpv4::Socket>(handle).poll() {
            None => return false,
            Some(dhcpv4::Event::Deconfigured) => None,
            Some(dhcpv4::Event::Configured(config)) => lease(&config),
        };
        if lease == self.lease {
            return false;
        }
        if let Some(old) = self.lease.take() {
            self.remove_address(old.address);
            if old.router.is_some() {
                self.set_gateway(IpAddr::V4(Ipv4Addr::UNSPECIFIED), false);
            }
        }
        if let Some(new) = &lease {
            let (address, router) = (new.address, new.router);
            if self.add_address(address).is_err() {
                return false;
            }
            if let Some(router) = router {
                self.set_gateway(IpAddr::V4(router), true);
            }
        }
        self.lease = lease;
        true
    }

    /// Takes an announcement of a router in; `false` if it is dropped.
    pub(crate) fn take_announcement(&mut self, packet: &Packet<'_>, now: u64) -> bool {
        let Some(slaac) = &mut self.slaac else {
            return false;
        };
        let is_good = slaac.take(packet, now).is_ok();
        self.due = Some(now);
        is_good
    }

    /// Asks routers if it is time, and brings addresses and routes up to date with what they
    /// have announced. Says whether a frame is to be sent, and whether an address has changed.
    pub(crate) fn serve_slaac(&mut self, now: u64) -> (bool, bool) {
        let Some(slaac) = &mut self.slaac else {
            return (false, false);
        };
        let before: Vec<Cidr> = slaac.addresses().collect();
        slaac.expire(now);
        let solicits = slaac.solicits(now);
        if let (true, Some(mac)) = (solicits, self.mac) {
            let (queue, counters) = (&mut self.queue, &mut self.counters);
            solicitation(mac, |len, fill| {
                queue.push_with(len, fill);
                counters.frames_sent += 1;
                counters.bytes_sent += len as u64;
            });
        }
        let (addresses, router, next): (Vec<Cidr>, _, _) =
            (slaac.addresses().collect(), slaac.router(), slaac.next());
        self.due = [self.due, next].into_iter().flatten().min();
        let gateway = self.engine.routes().get_default_ipv6_route();
        match (
            gateway.map(|route| IpAddr::from(route.via_router)),
            router.map(IpAddr::V6),
        ) {
            (old, Some(new)) if old != Some(new) => self.set_gateway(new, true),
            (Some(old), None) if self.announced == Some(old) => self.set_gateway(old, false),
            _ => {}
        }
        self.announced = router.map(IpAddr::V6);
        let known: Vec<Cidr> = self.addresses().collect();
        let gone = self
            .announced_addresses
            .iter()
            .filter(|old| !addresses.contains(old));
        let gone: Vec<Cidr> = gone.copied().collect();
        let is_new = |address: &&Cidr| !known.contains(address);
        let new: Vec<Cidr> = addresses.iter().filter(is_new).copied().collect();
        for address in &gone {
            self.remove_address(*address);
        }
        for address in &new {
            // An interface that is full stays without.
            let _ = self.add_address(*address);
        }
        let has_changed = !gone.is_empty() || !new.is_empty() || before != addresses;
        self.announced_addresses = addresses;
        (solicits, has_changed)
    }

    /// Forgets the lease and asks for a new one.
    pub(crate) fn restart_dhcp(&mut self) {
        if let Some(handle) = self.dhcp {
            self.system.get_mut::<dhcpv4::Socket>(handle).reset();
            self.due = Some(0);
        }
    }

    pub(crate) fn dhcp_state(&self) -> DhcpState {
        match (&self.dhcp, &self.lease) {
            (None, _) => DhcpState::Off,
            (Some(_), None) => DhcpState::Asking,
            (Some(_), Some(lease)) => DhcpState::Bound {
                server: lease.server,
            },
        }
    }

    /// Sends the answers that received frames gave rise to.
    pub(crate) fn send_answers(&mut self, device: &mut dyn FrameDevice) {
        while !self.queue.is_empty() && device.can_transmit() {
            self.queue.pop(|frame| {
                device.transmit(frame.len(), &mut |buffer| {
                    if buffer.len() == frame.len() {
                        buffer.copy_from_slice(frame);
                    }
                })
            });
        }
    }
}

/// A lease, if what the server says can be one.
fn lease(config: &dhcpv4::Config<'_>) -> Option<Lease> {
    let address = Cidr::from_engine(&IpCidr::Ipv4(config.address));
    if !is_unicast(address.address()) || address.address().is_loopback() {
        return None;
    }
    Some(Lease {
        address,
        router: config
            .router
            .filter(|router| is_unicast(IpAddr::V4(*router))),
        name_servers: config
            .dns_servers
            .iter()
            .map(|server| IpAddr::V4(*server))
            .collect(),
        server: config.server.address,
    })
}

fn abilities(config: &InterfaceConfig, is_loopback: bool) -> DeviceCapabilities {
    let mut abilities = DeviceCapabilities::default();
    (abilities.medium, abilities.max_transmission_unit) = match config.medium {
        Medium::Ethernet { .. } => (EngineMedium::Ethernet, config.mtu + ETHERNET_LEN),
        Medium::Ip => (EngineMedium::Ip, config.mtu),
    };
    let transport = match (config.checksums_filled, config.checksums_checked) {
        (false, false) => Checksum::Both,
        (true, false) => Checksum::Rx,
        (false, true) => Checksum::Tx,
        (true, true) => Checksum::None,
    };
    // What is received is looked at before the engine sees it.
    abilities.checksum.tcp = if config.checksums_filled || config.sum.is_some() {
        Checksum::None
    } else {
        Checksum::Tx
    };
    abilities.checksum.udp = transport;
    if is_loopback {
        abilities.checksum = smoltcp::phy::ChecksumCapabilities::ignored();
    }
    abilities
}

fn out<'a>(
    device: Option<&'a mut dyn FrameDevice>,
    queue: &'a mut FrameQueue,
    spare: &'a mut Vec<u8>,
    may_queue: bool,
) -> Option<Out<'a>> {
    match device {
        Some(device) => Some(Out::Device(device, spare)),
        None => may_queue.then_some(Out::Queue(queue)),
    }
}

/// Sends the rest of a datagram that was too large for one packet, before the next begins:
/// the engine has one buffer for that.
fn send_fragments(engine: &mut Interface, now: Instant, wire: &mut Wire<'_>) {
    let mut none = SocketSet::new(Vec::new());
    for _ in 0..FRAGMENTS_MAX {
        if engine.poll_at(now, &none).is_none() {
            break;
        }
        engine.poll_egress(now, wire, &mut none);
    }
}

/// Which ports the later fragments of a datagram are for: only the first one says.
#[derive(Default)]
pub(crate) struct Fragments {
    seen: VecDeque<(FragmentKey, (u16, u16))>,
}

type FragmentKey = (IpAddr, IpAddr, u16, u8);

impl Fragments {
    /// The ports of the datagram that `packet` is a fragment of, if they are known. Those of a
    /// control message are its type and code, and its identifier.
    pub(crate) fn ports(&mut self, packet: &Packet<'_>) -> Option<(u16, u16)> {
        let fragment = packet.fragment?;
        let key = (
            packet.source,
            packet.destination,
            fragment.id,
            packet.protocol,
        );
        if !fragment.is_first {
            return self
                .seen
                .iter()
                .find(|(seen, _)| *seen == key)
                .map(|(_, ports)| *ports);
        }
        let ports = match packet.protocol {
            ICMP => (word(packet.payload, 0)?, word(packet.payload, 4)?),
            _ => crate::frame::ports(packet.payload)?,
        };
        self.seen.retain(|(seen, _)| *seen != key);
        if self.seen.len() >= FRAGMENTED_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((key, ports));
        Some(ports)
    }
}

/// The name of the interface that every stack has.
pub(crate) const LOOPBACK_NAME: &str = "lo";
const MTU_MIN: usize = 1280;
pub(crate) const MTU_MAX: usize = 65_535;
/// Frames that wait on loopback, or as answers, at most.
const QUEUE_MAX: usize = 256;
/// Packets that one socket sends before others have their turn.
const BURST: usize = 64;
/// The fragments of the largest datagram.
const FRAGMENTS_MAX: usize = 64;
/// Datagrams in fragments whose ports are remembered.
const FRAGMENTED_MAX: usize = 16;
/// How long the fragments of a datagram wait for each other (RFC 1122, 3.3.2 has 60 to 120).
const REASSEMBLY_S: u64 = 60;
/// The engine lets a socket that lacks a hardware address rest for exactly so long.
const DISCOVERY_SILENCE: Duration = Duration::from_secs(1);
/// How long to wait for room in a device that does not say when it has some.
pub(crate) const STALL_NS: u64 = 1_000_000;
