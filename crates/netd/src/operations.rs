//! The service, operation by operation.

use crate::card::NetworkCard;
use crate::convert;
use crate::datagrams::Datagrams;
use crate::flow::Flow;
use crate::pipe::Pipe;
use crate::server::{CLIENT_SOCKETS_MAX, Client, Netd, RING_BYTES, SOCKETS_MAX};
use crate::sockets::{Kind, Listener, Socket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use viper_netstack::{DhcpState, InterfaceStatus, Medium};
use viper_proto::net::{
    ADDRESSES_MAX, Address, AddressInfo, Endpoint, InterfaceInfo, Link, RouteInfo, Serve,
    SocketInfo, UNSPECIFIED, kind, medium, origin, status, tcp_state,
};
use viper_rt::Error;
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::{Event, Memory, Process};
use viper_rt::message::{Bytes, List};
use viper_rt::server::{Deferrable, Outcome};

type Made = (Link, Memory, Event, Event);

impl<C: NetworkCard> Serve for Netd<C> {
    type Client = Client;

    fn resolve(
        &mut self,
        client: &mut Client,
        call: Deferrable<List<Address, ADDRESSES_MAX>>,
        name: Bytes,
        deadline: u64,
    ) -> Outcome<List<Address, ADDRESSES_MAX>> {
        match name.as_str() {
            Ok(name) => self.ask(client, call, name, deadline),
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn tcp_connect(&mut self, client: &mut Client, to: Endpoint) -> Result<Made, Error> {
        let (to, is_within) = self.within(to.into());
        let permit = self.permit(client.number)?;
        let named = |name: &str, ip| permit.is_named(name, ip);
        if !permit.rules.may_connect(to, named) {
            return Err(Error::NoRight);
        }
        self.check_room(client)?;
        if is_within {
            return self.connect_local(client, to);
        }
        let mut flow = Flow::new(None, Pipe::new(self.ring_bytes())?);
        let mut local = UNSPECIFIED;
        match self.stack.tcp_connect(to, None, &Self::tcp_options()) {
            Ok(id) => {
                flow.id = Some(id);
                local = self.stack.tcp_ends(id).map_or(local, |ends| ends.0);
            }
            Err(viper_netstack::Error::NoRoute) if self.is_settling() => flow.wants = Some(to),
            Err(error) => return Err(convert::error(error)),
        }
        let made = self.add_flow(client, flow, local, to)?;
        self.work();
        Ok(made)
    }

    fn tcp_listen(
        &mut self,
        client: &mut Client,
        at: Endpoint,
        backlog: u32,
        wake: Event,
    ) -> Result<(u32, Endpoint), Error> {
        let at = SocketAddr::from(at);
        if !self.permit(client.number)?.rules.may_listen(at.port()) {
            return Err(Error::NoRight);
        }
        self.check_room(client)?;
        let backlog = backlog.clamp(1, BACKLOG_MAX) as usize;
        let options = Self::tcp_options();
        let id = self.stack.tcp_listen(at, backlog, &options);
        let id = id.map_err(convert::error)?;
        let local = self.stack.listener_address(id).unwrap_or(at);
        let index = self.sockets.insert(Socket {
            owner: Some(client.number),
            process_id: client.process_id,
            kind: Kind::Listener(Listener {
                id,
                local,
                backlog,
                wake,
                pending: VecDeque::new(),
            }),
            give_up: FOREVER,
        });
        self.by_id.insert(id, index);
        Ok((index, local.into()))
    }

    fn tcp_accept(&mut self, client: &mut Client, listener: u32) -> Result<Made, Error> {
        let Kind::Listener(Listener { id, .. }) = self.owned(client, listener)? else {
            return Err(Error::BadHandle);
        };
        let id = *id;
        self.check_room(client)?;
        if let Some(made) = self.accept_local(client, listener)? {
            return Ok(made);
        }
        let id = self.stack.tcp_accept(id).map_err(convert::error)?;
        let made = Pipe::new(self.ring_bytes()).and_then(|pipe| {
            let (local, peer) = self.stack.tcp_ends(id).map_err(convert::error)?;
            self.add_flow(client, Flow::new(Some(id), pipe), local, peer)
        });
        match made {
            Ok(made) => {
                self.pump(made.0.socket);
                self.work();
                Ok(made)
            }
            Err(error) => {
                let _ = self.stack.tcp_abort(id);
                Err(error)
            }
        }
    }

    fn udp_bind(&mut self, client: &mut Client, at: Endpoint) -> Result<Made, Error> {
        let at = SocketAddr::from(at);
        if !self.permit(client.number)?.rules.may_bind(at.port()) {
            return Err(Error::NoRight);
        }
        self.check_room(client)?;
        let pipe = Pipe::new(RING_BYTES)?;
        let id = self.stack.udp_bind(at).map_err(convert::error)?;
        let local = self.stack.udp_address(id).unwrap_or(at);
        self.add_datagrams(client, Datagrams::new(id, pipe, local, false))
    }

    fn ping_open(&mut self, client: &mut Client) -> Result<Made, Error> {
        if !self.permit(client.number)?.rules.may_ping() {
            return Err(Error::NoRight);
        }
        self.check_room(client)?;
        let pipe = Pipe::new(RING_BYTES)?;
        let id = self.stack.ping_open().map_err(convert::error)?;
        self.add_datagrams(client, Datagrams::new(id, pipe, UNSPECIFIED, true))
    }

    fn close(&mut self, client: &mut Client, socket: u32, abort: bool) -> Result<(), Error> {
        self.owned(client, socket)?;
        self.let_go(socket, abort);
        self.work();
        Ok(())
    }

    fn ready(&mut self, _: &mut Client, call: Deferrable<()>, deadline: u64) -> Outcome<()> {
        if self.card.is_none() {
            return Outcome::Now(Err(Error::NotFound));
        }
        if !self.is_settling() || self.waiting_ready.len() >= READY_MAX {
            return Outcome::Now(Ok(()));
        }
        match call.detach() {
            Ok(pending) => {
                self.waiting_ready.push((deadline, pending));
                self.work();
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn interface_at(
        &mut self,
        _: &mut Client,
        index: u32,
    ) -> Result<(InterfaceInfo, Bytes), Error> {
        let mut all = self.stack.interfaces();
        let interface = all.nth(index as usize).ok_or(Error::NotFound)?;
        let hardware = match interface.medium {
            Medium::Ethernet { mac } => mac.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)),
            _ => 0,
        };
        let is_up = index == 0 || self.card.as_ref().is_some_and(|card| card.is_link_up());
        let counters = &interface.counters;
        let info = InterfaceInfo {
            medium: if index == 0 {
                medium::LOOPBACK
            } else {
                medium::ETHERNET
            },
            is_up,
            mtu: interface.mtu as u32,
            hardware,
            packets_in: counters.frames_received,
            bytes_in: counters.bytes_received,
            packets_out: counters.frames_sent,
            bytes_out: counters.bytes_sent,
            dropped: counters.receive_drops + counters.send_drops,
        };
        Ok((info, Bytes::clip(interface.name.as_bytes())))
    }

    fn address_at(&mut self, _: &mut Client, index: u32) -> Result<AddressInfo, Error> {
        let all = (0..)
            .zip(self.stack.interfaces())
            .flat_map(|(interface, status)| {
                let is_leased = matches!(status.dhcp, DhcpState::Bound { .. });
                status.addresses.into_iter().map(move |cidr| AddressInfo {
                    interface,
                    address: cidr.address().into(),
                    prefix_bits: cidr.prefix_len().into(),
                    origin: origin_of(cidr.address(), is_leased),
                })
            });
        { all }.nth(index as usize).ok_or(Error::NotFound)
    }

    fn route_at(&mut self, _: &mut Client, index: u32) -> Result<RouteInfo, Error> {
        let mut all = Vec::new();
        for (interface, status) in (0..).zip(self.stack.interfaces()) {
            all.extend(routes_of(interface, &status));
        }
        all.get(index as usize).copied().ok_or(Error::NotFound)
    }

    fn name_server_at(&mut self, _: &mut Client, index: u32) -> Result<Address, Error> {
        let all = self.stack.name_servers();
        let server = all.get(index as usize).ok_or(Error::NotFound)?;
        Ok((*server).into())
    }

    fn introduce(&mut self, client: &mut Client, process: Process) -> Result<(), Error> {
        client.process_id = process.info()?.id;
        Ok(())
    }

    fn socket_at(&mut self, _: &mut Client, index: u32) -> Result<SocketInfo, Error> {
        let mut all: Vec<SocketInfo> = Vec::new();
        for status in self.stack.sockets() {
            let socket = self.by_id.get(&status.id);
            let socket = socket.and_then(|&index| self.sockets.get(index));
            let process_id = socket.map_or(0, |socket| socket.process_id);
            all.push(convert::socket(&status, process_id));
        }
        all.extend(
            self.sockets
                .iter()
                .filter_map(|(_, socket)| match &socket.kind {
                    Kind::Local(end) => Some(SocketInfo {
                        kind: kind::TCP,
                        state: tcp_state::ESTABLISHED,
                        process_id: socket.process_id,
                        local: end.local.into(),
                        peer: end.peer.into(),
                        ..SocketInfo::default()
                    }),
                    _ => None,
                }),
        );
        all.get(index as usize).copied().ok_or(Error::NotFound)
    }
}

impl<C: NetworkCard> Netd<C> {
    /// The socket with this number, if it is this client's.
    fn owned(&mut self, client: &Client, socket: u32) -> Result<&mut Kind, Error> {
        match self.sockets.get_mut(socket) {
            Some(socket) if socket.owner == Some(client.number) => Ok(&mut socket.kind),
            _ => Err(Error::BadHandle),
        }
    }

    /// Whether this client may have one more socket.
    fn check_room(&self, client: &Client) -> Result<(), Error> {
        let its = |(_, socket): &(u32, &Socket)| socket.owner == Some(client.number);
        let count = self.sockets.iter().filter(its).count();
        if count >= CLIENT_SOCKETS_MAX || self.sockets.count() >= SOCKETS_MAX {
            return Err(Error::LimitReached);
        }
        Ok(())
    }

    fn add_flow(
        &mut self,
        client: &Client,
        flow: Flow,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Made, Error> {
        let id = flow.id;
        let made = self.add(client, Kind::Flow(flow), local, peer);
        match (&made, id) {
            (Ok(made), Some(id)) => drop(self.by_id.insert(id, made.0.socket)),
            (Err(_), Some(id)) => drop(self.stack.tcp_abort(id)),
            _ => {}
        }
        made
    }

    fn add_datagrams(&mut self, client: &Client, datagrams: Datagrams) -> Result<Made, Error> {
        let (id, local) = (datagrams.id, datagrams.local);
        datagrams.pipe.set_status(status::OPEN);
        let made = self.add(client, Kind::Datagrams(datagrams), local, UNSPECIFIED);
        match &made {
            Ok(made) => drop(self.by_id.insert(id, made.0.socket)),
            Err(_) => drop(self.stack.close(id)),
        }
        made
    }

    /// Puts a socket with a pipe into the table, and listens to its bell.
    fn add(
        &mut self,
        client: &Client,
        kind: Kind,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Made, Error> {
        let socket = self.sockets.insert(Socket {
            owner: Some(client.number),
            process_id: client.process_id,
            kind,
            give_up: FOREVER,
        });
        let made = self.introduce(socket, local, peer);
        if made.is_err() {
            self.sockets.remove(socket);
        }
        made
    }

    fn introduce(
        &mut self,
        socket: u32,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Made, Error> {
        let pipe = match self.sockets.get(socket).map(|socket| &socket.kind) {
            Some(Kind::Flow(flow)) => &flow.pipe,
            Some(Kind::Datagrams(datagrams)) => &datagrams.pipe,
            _ => return Err(Error::Internal),
        };
        let (memory, wake, bell) = pipe.handles()?;
        self.sources
            .watch(pipe.bell(), socket, Signals(0xffff_ffff))?;
        let link = Link {
            socket,
            ring_bytes: pipe.ring_bytes(),
            is_second: false,
            local: local.into(),
            peer: peer.into(),
        };
        Ok((link, memory, wake, bell))
    }
}

fn origin_of(address: IpAddr, is_leased: bool) -> u32 {
    match address {
        IpAddr::V4(ip) if is_leased && !ip.is_loopback() => origin::DHCP,
        IpAddr::V6(ip) if !ip.is_loopback() && !ip.is_unicast_link_local() => origin::ROUTER,
        _ => origin::FIXED,
    }
}

/// The networks on the link, and the ways to all others.
fn routes_of(interface: u32, status: &InterfaceStatus) -> Vec<RouteInfo> {
    let is_leased = matches!(status.dhcp, DhcpState::Bound { .. });
    let on_link = status.addresses.iter().map(|cidr| RouteInfo {
        network: network_of(cidr.address(), cidr.prefix_len()),
        prefix_bits: cidr.prefix_len().into(),
        gateway: unspecified(cidr.address()),
        interface,
        origin: origin_of(cidr.address(), is_leased),
    });
    let by_router = status.gateways.iter().map(|gateway| RouteInfo {
        network: unspecified(*gateway),
        prefix_bits: 0,
        gateway: (*gateway).into(),
        interface,
        origin: if gateway.is_ipv6() {
            origin::ROUTER
        } else {
            origin_of(*gateway, is_leased)
        },
    });
    on_link.chain(by_router).collect()
}

fn network_of(address: IpAddr, prefix_bits: u8) -> Address {
    let apart = |width: u8| u32::from(width - prefix_bits.min(width));
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(apart(32)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask)).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(apart(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask)).into()
        }
    }
}

fn unspecified(like: IpAddr) -> Address {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED).into(),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED).into(),
    }
}

/// Connections that wait for a listener at most.
const BACKLOG_MAX: u32 = 64;
/// Calls that wait for an address at most.
const READY_MAX: usize = 64;
