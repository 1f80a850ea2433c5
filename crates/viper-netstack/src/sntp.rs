//! The simple network time protocol (RFC 4330), without a socket or a clock of its own.
//!
//! ```
//! use viper_netstack::sntp::{Exchange, Timestamp};
//!
//! let exchange = Exchange::new(0x0123_4567_89ab_cdef);
//! let request = exchange.request();
//! // ... send it to port 123 at uptime `sent`, and get a reply at uptime `received` ...
//! # let mut reply = [0; 48];
//! # reply[0] = 0x24;
//! # reply[1] = 2;
//! # reply[24..32].copy_from_slice(&request[40..48]);
//! # reply[32..40].copy_from_slice(&(3_944_678_400u64 << 32).to_be_bytes());
//! # reply[40..48].copy_from_slice(&(3_944_678_400u64 << 32).to_be_bytes());
//! let (sent, received) = (5_000_000_000, 5_020_000_000);
//! let answer = exchange.answer(&reply, sent, received)?;
//! assert_eq!(answer.unix_ns, 1_735_689_600_010_000_000); // at uptime `received`
//! # Ok::<(), viper_netstack::Error>(())
//! ```

use crate::Error;
use crate::frame::word;

/// A question to a time server.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    cookie: u64,
}

/// What a time server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The time at which the reply came, in nanoseconds since 1970, without leap seconds.
    pub unix_ns: u64,
    /// How wrong that can be because of the way there and back, in nanoseconds.
    pub uncertainty_ns: u64,
    /// How many servers are between this one and a clock, from 1 to 15.
    pub stratum: u8,
}

/// A time of the protocol: seconds since 1900 and their 2^32nd parts, modulo 2^32 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time in nanoseconds since 1970, of those that are possible the one from 1968 to 2104.
    ///
    /// `None` if it is before 1970.
    pub fn unix_ns(self) -> Option<u64> {
        let seconds = self.0 >> 32;
        // RFC 4330, 3: with the first bit clear, it counts from 2036.
        let seconds = if seconds & 0x8000_0000 == 0 {
            seconds + (1 << 32)
        } else {
            seconds
        };
        let seconds = seconds.checked_sub(SECONDS_1900_TO_1970)?;
        let nanos = ((self.0 & 0xffff_ffff) * 1_000_000_000) >> 32;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
    }
}

impl Exchange {
    /// A question with 64 random bits, by which its answer is known.
    pub const fn new(cookie: u64) -> Self {
        Self { cookie }
    }

    /// The datagram for port 123. It tells nothing about our clock.
    pub fn request(&self) -> [u8; LEN] {
        let mut request = [0; LEN];
        request[0] = VERSION_4 | CLIENT;
        request[40..48].copy_from_slice(&self.cookie.to_be_bytes());
        request
    }

    /// Reads the reply. `sent` and `received` are times of one clock, in nanoseconds.
    ///
    /// # Errors
    ///
    /// `Malformed` if it is no reply to this question, `Refused` if the server says that we
    /// should not ask it (any more), `TimedOut` if the server does
    /// not know the time itself.
    pub fn answer(&self, reply: &[u8], sent: u64, received: u64) -> Result<Answer, Error> {
        let (Some(&first), Some(&stratum)) = (reply.first(), reply.get(1)) else {
            return Err(Error::Malformed);
        };
        let (leap, version, mode) = (first >> 6, (first >> 3) & 7, first & 7);
        let is_ours = timestamp(reply, 24)?.0 == self.cookie;
        if !is_ours || mode != SERVER || !(3..=4).contains(&version) {
            return Err(Error::Malformed);
        }
        if stratum == 0 {
            return Err(Error::Refused);
        }
        if leap == 3 || stratum > 15 {
            return Err(Error::TimedOut);
        }
        let arrived = timestamp(reply, 32)?.unix_ns().ok_or(Error::Malformed)?;
        let left = timestamp(reply, 40)?.unix_ns().ok_or(Error::Malformed)?;
        let at_server = left.checked_sub(arrived).ok_or(Error::Malformed)?;
        let round_trip = received.checked_sub(sent).ok_or(Error::BadArgument)?;
        let on_the_way = round_trip.saturating_sub(at_server);
        let unix_ns = left.checked_add(on_the_way / 2).ok_or(Error::Malformed)?;
        Ok(Answer {
            unix_ns,
            uncertainty_ns: on_the_way.div_ceil(2),
            stratum,
        })
    }
}

fn timestamp(reply: &[u8], at: usize) -> Result<Timestamp, Error> {
    let mut bits = 0;
    for offset in [0, 2, 4, 6] {
        bits = (bits << 16) | u64::from(word(reply, at + offset).ok_or(Error::Malformed)?);
    }
    Ok(Timestamp(bits))
}

/// The length of requests, and of replies at least.
pub const LEN: usize = 48;
const VERSION_4: u8 = 4 << 3;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
const SECONDS_1900_TO_1970: u64 = 2_208_988_800;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(exchange: &Exchange) -> [u8; LEN] {
        let mut reply = [0; LEN];
        reply[0] = VERSION_4 | SERVER;
        reply[1] = 1;
        reply[24..32].copy_from_slice(&exchange.request()[40..48]);
        for at in [32, 40] {
            let bits = (SECONDS_1900_TO_1970 + 1_700_000_000) << 32 | 0x8000_0000;
            reply[at..at + 8].copy_from_slice(&bits.to_be_bytes());
        }
        reply
    }

    #[test]
    fn half_of_the_way_counts() {
        let exchange = Exchange::new(99);
        let answer = exchange.answer(&reply(&exchange), 100, 300).unwrap();
        assert_eq!(answer.unix_ns, 1_700_000_000_500_000_100);
        assert_eq!(answer.uncertainty_ns, 100);
    }

    #[test]
    fn replies_that_are_none_are_refused() {
        let exchange = Exchange::new(99);
        let good = reply(&exchange);
        assert_eq!(Exchange::new(98).answer(&good, 0, 1), Err(Error::Malformed));
        for (at, value, error) in [
            (0, VERSION_4 | CLIENT, Error::Malformed),
            (0, 0xc0 | VERSION_4 | SERVER, Error::TimedOut),
            (1, 0, Error::Refused),
            (1, 16, Error::TimedOut),
            (32, 0xff, Error::Malformed),
        ] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(exchange.answer(&bad, 0, 1), Err(error), "{at}");
        }
        for len in 0..LEN {
            assert_eq!(exchange.answer(&good[..len], 0, 1), Err(Error::Malformed));
        }
    }

    #[test]
    fn time_goes_on_after_2036() {
        assert_eq!(
            Timestamp(0).unix_ns(),
            Some(((1 << 32) - SECONDS_1900_TO_1970) * 1_000_000_000)
        );
        assert_eq!(Timestamp(0x8000_0000_0000_0000).unix_ns(), None);
    }
}
