//! Addresses that an interface makes itself of what routers announce (RFC 4861, 4862, 8106).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use smoltcp::wire::{EthernetAddress, HardwareAddress, Icmpv6Packet, NdiscRepr};

use crate::address::{is_unicast, link_local};
use crate::frame::{Packet, word};
use crate::neighbour::write_ndisc;
use crate::{Cidr, Error};

/// What an interface knows from routers. All times are in nanoseconds.
#[derive(Debug)]
pub(crate) struct Slaac {
    mac: [u8; 6],
    solicitations_left: u8,
    solicit_at: u64,
    prefixes: Vec<Lasting<Cidr>>,
    routers: Vec<Lasting<Ipv6Addr>>,
    name_servers: Vec<Lasting<Ipv6Addr>>,
}

/// Something that holds until a time.
#[derive(Clone, Copy, Debug)]
struct Lasting<T> {
    value: T,
    until: u64,
}

impl Slaac {
    pub(crate) const fn new(mac: [u8; 6], now: u64) -> Self {
        Self {
            mac,
            solicitations_left: SOLICITATIONS,
            solicit_at: now,
            prefixes: Vec::new(),
            routers: Vec::new(),
            name_servers: Vec::new(),
        }
    }

    /// The addresses that hold.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Cidr> {
        self.prefixes.iter().map(|prefix| prefix.value)
    }

    /// The router to use.
    pub(crate) fn router(&self) -> Option<Ipv6Addr> {
        self.routers.first().map(|router| router.value)
    }

    pub(crate) fn name_servers(&self) -> impl Iterator<Item = IpAddr> {
        self.name_servers
            .iter()
            .map(|server| IpAddr::V6(server.value))
    }

    /// Whether routers are to be asked now.
    pub(crate) fn solicits(&mut self, now: u64) -> bool {
        if self.solicitations_left == 0 || self.solicit_at > now {
            return false;
        }
        self.solicitations_left -= 1;
        self.solicit_at = now.saturating_add(SOLICITATION_NS);
        true
    }

    /// When something ends or is to be asked.
    pub(crate) fn next(&self) -> Option<u64> {
        let asks = (self.solicitations_left > 0).then_some(self.solicit_at);
        let ends = self.prefixes.iter().map(|prefix| prefix.until);
        let ends = ends.chain(self.routers.iter().map(|router| router.until));
        let ends = ends.chain(self.name_servers.iter().map(|server| server.until));
        ends.chain(asks).min().filter(|next| *next != u64::MAX)
    }

    /// Forgets what has ended.
    pub(crate) fn expire(&mut self, now: u64) {
        self.prefixes.retain(|prefix| prefix.until > now);
        self.routers.retain(|router| router.until > now);
        self.name_servers.retain(|server| server.until > now);
    }

    /// Takes an announcement in.
    ///
    /// # Errors
    ///
    /// `Malformed` if it is not one that a router on this link can have sent.
    pub(crate) fn take(&mut self, packet: &Packet<'_>, now: u64) -> Result<(), Error> {
        let (IpAddr::V6(router), IpAddr::V6(destination)) = (packet.source, packet.destination)
        else {
            return Err(Error::Malformed);
        };
        let message = Icmpv6Packet::new_checked(packet.payload).map_err(|_| Error::Malformed)?;
        let is_sound = packet.hop_limit == 255
            && router.is_unicast_link_local()
            && packet.payload.get(1) == Some(&0)
            && message.verify_checksum(&router, &destination);
        let lifetime = word(packet.payload, 6)
            .filter(|_| is_sound)
            .ok_or(Error::Malformed)?;
        let mut options = packet.payload.get(16..).ok_or(Error::Malformed)?;
        // RFC 4861, 6.1.2: all options must have a length before any of them counts.
        options_are_sound(options)?;
        self.solicitations_left = 0;
        let until = now.saturating_add(u64::from(lifetime) * SECOND);
        keep(&mut self.routers, router, until, now);
        while let [kind, len, ..] = *options {
            let (option, rest) = options.split_at((usize::from(len) * 8).min(options.len()));
            match kind {
                PREFIX => self.take_prefix(option, now),
                NAME_SERVERS => self.take_name_servers(option, now),
                _ => {}
            }
            options = rest;
        }
        Ok(())
    }

    /// RFC 4862, 5.5.3.
    fn take_prefix(&mut self, option: &[u8], now: u64) {
        let Some(option) = option.first_chunk::<32>() else {
            return;
        };
        let [_, _, prefix_len, flags, ..] = *option;
        let lifetime = seconds(option, 4);
        let prefix: [u8; 8] = core::array::from_fn(|i| option.get(16 + i).copied().unwrap_or(0));
        let is_usable = prefix_len == 64
            && flags & AUTONOMOUS != 0
            && prefix[0] != 0xff
            && prefix[..2] != [0xfe, 0x80]
            && prefix != [0; 8];
        if !is_usable || seconds(option, 8) > lifetime {
            return;
        }
        let IpAddr::V6(own) = link_local(self.mac).address() else {
            return;
        };
        let id = u128::from(own) & u128::from(u64::MAX);
        let bits = (u128::from(u64::from_be_bytes(prefix)) << 64) | id;
        let Some(address) = Cidr::new(IpAddr::V6(Ipv6Addr::from(bits)), 64) else {
            return;
        };
        let old = self
            .prefixes
            .iter()
            .find(|old| old.value == address)
            .map(|old| old.until);
        let until = match old {
            // Whoever forges an announcement shall not take an address away at once.
            Some(old) if lifetime < TWO_HOURS && old > now.saturating_add(lifetime) => {
                old.min(now.saturating_add(TWO_HOURS))
            }
            _ => end(now, lifetime),
        };
        keep(&mut self.prefixes, address, until, now);
    }

    /// RFC 8106, 5.1.
    fn take_name_servers(&mut self, option: &[u8], now: u64) {
        let until = end(now, seconds(option, 4));
        for server in option.get(8..).unwrap_or(&[]).chunks_exact(16) {
            let Ok(octets) = <[u8; 16]>::try_from(server) else {
                continue;
            };
            let server = Ipv6Addr::from(octets);
            if is_unicast(IpAddr::V6(server)) && !server.is_loopback() {
                keep(&mut self.name_servers, server, until, now);
            }
        }
    }
}

/// Writes the frame that asks routers to announce themselves.
pub(crate) fn solicitation(mac: [u8; 6], send: impl FnOnce(usize, &mut dyn FnMut(&mut [u8]))) {
    let IpAddr::V6(source) = link_local(mac).address() else {
        return;
    };
    let hardware = HardwareAddress::Ethernet(EthernetAddress(mac)).into();
    let message = NdiscRepr::RouterSolicit {
        lladdr: Some(hardware),
    };
    write_ndisc(mac, source, ALL_ROUTERS, message, send);
}

/// Makes `value` last until `until`, which may be now; the table stays small.
fn keep<T: PartialEq>(table: &mut Vec<Lasting<T>>, value: T, until: u64, now: u64) {
    let has_room = table.len() < TABLE_MAX;
    match table.iter_mut().find(|old| old.value == value) {
        Some(old) => old.until = until,
        None if until > now && has_room => table.push(Lasting { value, until }),
        None => {}
    }
    table.retain(|entry| entry.until > now);
}

fn options_are_sound(mut options: &[u8]) -> Result<(), Error> {
    while !options.is_empty() {
        let len = options.get(1).map_or(0, |len| usize::from(*len) * 8);
        if len == 0 {
            return Err(Error::Malformed);
        }
        options = options.get(len..).ok_or(Error::Malformed)?;
    }
    Ok(())
}

/// A lifetime in nanoseconds; all ones is for ever.
fn seconds(option: &[u8], at: usize) -> u64 {
    let bytes = option.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
    match bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes)) {
        u32::MAX => u64::MAX,
        seconds => u64::from(seconds) * SECOND,
    }
}

fn end(now: u64, lifetime: u64) -> u64 {
    now.saturating_add(lifetime)
}

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const SECOND: u64 = 1_000_000_000;
const TWO_HOURS: u64 = 7200 * SECOND;
/// RFC 4861, 10.
const SOLICITATIONS: u8 = 3;
const SOLICITATION_NS: u64 = 4 * SECOND;
const PREFIX: u8 = 3;
const NAME_SERVERS: u8 = 25;
const AUTONOMOUS: u8 = 0x40;
/// Prefixes, routers and name servers that are kept, of each.
const TABLE_MAX: usize = 4;
