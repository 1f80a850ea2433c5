//! Numbers and places as people read them.

use core::fmt;
use core::net::IpAddr;
use viper_proto::net::client::Network;
use viper_rt::clock;

use crate::{RESOLVE_NS, Stop};

/// Nanoseconds as milliseconds with three places.
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1000;
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

/// Nanoseconds with a sign as seconds with six places.
pub struct Seconds(pub i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let micros = self.0.unsigned_abs() / 1000;
        write!(f, "{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// The first address of a host that `suits`.
pub(crate) fn address_of(
    network: &Network,
    host: &'static str,
    suits: impl Fn(&IpAddr) -> bool,
) -> Result<IpAddr, Stop> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let found = network.resolve(bare.unwrap_or(host), clock::after(RESOLVE_NS));
    let found = found.map_err(|error| Stop::Failed(Some(host), error))?;
    let first = found.into_iter().find(suits);
    first.ok_or(Stop::Failed(Some(host), viper_rt::Error::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn times_have_their_places() {
        assert_eq!(Millis(1_234_567).to_string(), "1.234");
        assert_eq!(Millis(999).to_string(), "0.000");
        assert_eq!(Seconds(-1_500_000_000).to_string(), "-1.500000");
        assert_eq!(Seconds(7_000).to_string(), "+0.000007");
    }
}
