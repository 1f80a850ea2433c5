//! Addresses with a prefix, routes, and how they become the types of the engine below.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{IpAddress, IpCidr};

use crate::InterfaceId;

/// An address together with the length of its network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// `address/prefix_len`, or `None` if the prefix is longer than the address.
    pub const fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        if prefix_len > bits_max {
            return None;
        }
        Some(Self {
            address,
            prefix_len,
        })
    }

    /// The address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits name the network.
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether `address` is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b), 128),
            _ => return false,
        };
        let host_bits = width - u32::from(self.prefix_len);
        (own ^ other).checked_shr(host_bits).unwrap_or(0) == 0
    }

    pub(crate) fn to_engine(self) -> IpCidr {
        IpCidr::new(self.address.into(), self.prefix_len)
    }

    pub(crate) fn from_engine(cidr: &IpCidr) -> Self {
        Self {
            address: cidr.address().into(),
            prefix_len: cidr.prefix_len(),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Where packets for a network go that is not on a link of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub network: Cidr,
    /// The router, on the link of `interface`.
    pub gateway: IpAddr,
    /// The interface that leads to the router.
    pub interface: InterfaceId,
}

/// Whether `address` may be that of one host: not unspecified, multicast or broadcast.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => !(a.is_unspecified() || a.is_multicast() || a.is_broadcast()),
        IpAddr::V6(a) => !(a.is_unspecified() || a.is_multicast()),
    }
}

/// The link-local address that a hardware address gives (RFC 4291, appendix A).
pub(crate) fn link_local(mac: [u8; 6]) -> Cidr {
    let [a, b, c, d, e, f] = mac;
    let id = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    let address = Ipv6Addr::from((0xfe80_u128 << 112) | u128::from(u64::from_be_bytes(id)));
    Cidr {
        address: IpAddr::V6(address),
        prefix_len: 64,
    }
}

/// An address as a number, IPv4 mapped into IPv6, to compare and hash quickly.
pub(crate) fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => 0xffff_0000_0000 | u128::from(u32::from(a)),
        IpAddr::V6(a) => a.into(),
    }
}

pub(crate) fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

pub(crate) fn to_engine(address: IpAddr) -> IpAddress {
    address.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_hosts() {
        let cidr = |text: &str, len| Cidr::new(text.parse().unwrap(), len).unwrap();
        assert!(cidr("10.0.2.15", 24).contains("10.0.2.2".parse().unwrap()));
        assert!(!cidr("10.0.2.15", 24).contains("10.0.3.2".parse().unwrap()));
        assert!(cidr("0.0.0.0", 0).contains("8.8.8.8".parse().unwrap()));
        assert!(cidr("::", 0).contains("2001:db8::1".parse().unwrap()));
        assert!(!cidr("::", 0).contains("8.8.8.8".parse().unwrap()));
        assert!(cidr("10.0.0.1", 32).contains("10.0.0.1".parse().unwrap()));
        assert_eq!(Cidr::new("10.0.0.1".parse().unwrap(), 33), None);
    }

    proptest::proptest! {
        #[test]
        fn a_network_is_what_shares_its_first_bits(own: u128, flipped in 0u32..128, len in 0u8..=128) {
            let other = IpAddr::V6(Ipv6Addr::from(own ^ (1 << (127 - flipped))));
            let cidr = Cidr::new(IpAddr::V6(Ipv6Addr::from(own)), len).unwrap();
            proptest::prop_assert_eq!(cidr.contains(other), flipped >= u32::from(len));
            let own = own as u32;
            let Some(cidr) = Cidr::new(IpAddr::V4(Ipv4Addr::from(own)), len) else {
                proptest::prop_assert!(len > 32);
                return Ok(());
            };
            let flipped = flipped % 32;
            let other = IpAddr::V4(Ipv4Addr::from(own ^ (1 << (31 - flipped))));
            proptest::prop_assert_eq!(cidr.contains(other), flipped >= u32::from(len));
        }
    }

    #[test]
    fn a_hardware_address_gives_a_link_local_one() {
        let cidr = link_local([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(
            cidr.address(),
            "fe80::5054:ff:fe12:3456".parse::<IpAddr>().unwrap()
        );
    }
}
