//! `netinfo`.

use crate::arguments::{Problem, Word};
use crate::{FAILED, OK, Stop, run};
use core::net::IpAddr;
use viper_proto::net::client::Network;
use viper_proto::net::{AddressInfo, InterfaceInfo, RouteInfo, medium, origin};
use viper_rt::{Error, clock, eprintln, println};

const USAGE: &str = "\
netinfo [-w SECONDS]
Prints interfaces with their counters, addresses, routes and name servers.
  -w  wait so long for the network to have an address
Returns 0, or 10 if there is no network card, or no address after waiting.";

/// Tells about the network.
#[must_use]
pub fn netinfo() -> i64 {
    run(USAGE, |words| {
        let mut wait_s = 0;
        while let Some(word) = words.take() {
            match word {
                Word::Help => return Err(Stop::Usage),
                Word::Option('w') => wait_s = words.number(1, 3600)?,
                Word::Option(option) => return Err(Problem::UnknownOption(option).into()),
                Word::Plain(_) => return Err(Problem::TooMany.into()),
            }
        }
        let network = Network::connect()?;
        let mut code = OK;
        if wait_s > 0
            && let Err(error) = network.wait_ready(clock::after(wait_s * clock::SECOND))
            && error != Error::NotFound
        {
            eprintln!("netinfo: no address yet: {error}");
            code = FAILED;
        }
        tell(&network)?;
        if network.interfaces()?.len() < 2 {
            eprintln!("netinfo: there is no network card");
            code = FAILED;
        }
        Ok(code)
    })
}

fn tell(network: &Network) -> Result<(), Stop> {
    let addresses = network.addresses()?;
    for (index, (name, interface)) in (0..).zip(network.interfaces()?) {
        tell_interface(&name, &interface);
        for address in addresses.iter().filter(|a| a.interface == index) {
            tell_address(address);
        }
    }
    for route in network.routes()? {
        tell_route(&route);
    }
    for server in network.name_servers()? {
        println!("name server {server}");
    }
    Ok(())
}

fn tell_interface(name: &str, interface: &InterfaceInfo) {
    let kind = match interface.medium {
        medium::ETHERNET => "ethernet",
        _ => "loopback",
    };
    let state = if interface.is_up { "up" } else { "down" };
    println!("{name}: {kind}, {state}, mtu {}", interface.mtu);
    if interface.hardware != 0 {
        let [_, _, a, b, c, d, e, f] = interface.hardware.to_be_bytes();
        println!("  hardware {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    }
    println!(
        "  in {} packets, {} bytes; out {} packets, {} bytes; {} dropped",
        interface.packets_in,
        interface.bytes_in,
        interface.packets_out,
        interface.bytes_out,
        interface.dropped
    );
}

fn tell_address(address: &AddressInfo) {
    let from = origin_name(address.origin);
    println!(
        "  address {}/{}{from}",
        IpAddr::from(address.address),
        address.prefix_bits
    );
}

fn tell_route(route: &RouteInfo) {
    let (network, gateway) = (IpAddr::from(route.network), IpAddr::from(route.gateway));
    let from = origin_name(route.origin);
    if gateway.is_unspecified() {
        println!("route {network}/{} on link{from}", route.prefix_bits);
    } else {
        println!("route {network}/{} by {gateway}{from}", route.prefix_bits);
    }
}

fn origin_name(origin: u32) -> &'static str {
    match origin {
        origin::DHCP => " (dhcp)",
        origin::ROUTER => " (router)",
        _ => "",
    }
}
