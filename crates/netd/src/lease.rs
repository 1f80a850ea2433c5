//! The lease that a successor of this server begins with, as a line of text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::IpAddr;
use viper_netstack::{Cidr, Lease};

/// Servers of a lease that are kept, which is as many as are asked.
const NAME_SERVERS_MAX: usize = 3;

/// `ADDRESS/BITS SERVER ROUTER NAMESERVER...`, `-` for a router that there is not.
pub(crate) fn to_text(lease: &Lease) -> String {
    let router = lease
        .router
        .map_or("-".into(), |router| format!("{router}"));
    let mut text = format!("{} {} {router}", lease.address, lease.server);
    for server in lease.name_servers.iter().take(NAME_SERVERS_MAX) {
        let _ = write!(text, " {server}");
    }
    text
}

/// What such a line says; `None` if it is not one.
pub(crate) fn from_text(text: &str) -> Option<Lease> {
    let mut words = text.split(' ');
    let (address, bits) = words.next()?.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    Some(Lease {
        address: Cidr::new(address, bits.parse().ok()?)?,
        server: words.next()?.parse().ok()?,
        router: match words.next()? {
            "-" => None,
            router => Some(router.parse().ok()?),
        },
        name_servers: words
            .map(|word| word.parse().ok())
            .collect::<Option<Vec<_>>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_round_trips_and_nonsense_is_none() {
        for text in [
            "10.0.2.15/24 10.0.2.2 10.0.2.2 10.0.2.3",
            "10.0.2.15/8 10.0.2.2 -",
            "10.0.2.15/8 10.0.2.2 - 1.1.1.1 8.8.8.8 9.9.9.9",
        ] {
            let lease = from_text(text).unwrap();
            assert_eq!(to_text(&lease), text);
            for len in 0..text.len() {
                // Shorter ones may be leases, too.
                let _ = from_text(&text[..len]);
            }
        }
        for text in [
            "",
            "-",
            "10.0.2.15 10.0.2.2 -",
            "10.0.2.15/33 10.0.2.2 -",
            "10.0.2.15/24 10.0.2.2",
            "10.0.2.15/24 :: -",
            "10.0.2.15/24 10.0.2.2 - nobody",
        ] {
            assert_eq!(from_text(text), None, "{text:?}");
        }
    }
}
