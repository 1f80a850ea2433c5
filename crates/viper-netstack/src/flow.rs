//! Which connection a segment belongs to: a key that compares and hashes quickly.

use core::hash::{BuildHasher, Hasher};
use core::net::SocketAddr;

use crate::address::to_bits;

/// Both ends of a connection, and the interface that it runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    local: u128,
    remote: u128,
    rest: u64,
}

impl Key {
    pub(crate) fn new(interface: usize, local: SocketAddr, remote: SocketAddr) -> Self {
        let ports = (u64::from(local.port()) << 16) | u64::from(remote.port());
        Self {
            local: to_bits(local.ip()),
            remote: to_bits(remote.ip()),
            rest: ((interface as u64) << 32) | ports,
        }
    }

    pub(crate) const fn interface(&self) -> usize {
        (self.rest >> 32) as usize
    }
}

/// Keyed hashing for the tables: outsiders choose addresses and ports, but not the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedHash {
    key: u64,
}

impl KeyedHash {
    pub(crate) const fn new(key: u64) -> Self {
        Self { key }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer { state: self.key }
    }
}

/// Folds 64 bits after 64 bits into a state by a wide multiplication.
#[derive(Debug)]
pub(crate) struct Mixer {
    state: u64,
}

impl Mixer {
    const fn mix(&mut self, value: u64) {
        let wide = ((self.state ^ value) as u128).wrapping_mul(FACTOR as u128);
        self.state = (wide as u64) ^ ((wide >> 64) as u64) ^ self.state.rotate_left(23);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        let wide = (self.state as u128).wrapping_mul(FACTOR as u128);
        (wide as u64) ^ ((wide >> 64) as u64)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut()
                .zip(chunk)
                .for_each(|(to, from)| *to = *from);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_u128(&mut self, value: u128) {
        self.mix(value as u64);
        self.mix((value >> 64) as u64);
    }
}

/// The golden ratio in 64 bits, odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
