//! The entropy service (`ENTROPYD:`): random bytes from a hardware source.
//!
//! Programs do not ask it for each number: they seed a generator of their own, see
//! `viper_rt::random`.

use viper_rt::message::Bytes;

/// Most bytes that one call gives.
pub const GET_MAX: u32 = 128;

interface! {
    "entropy" version 1;

    /// Gives `len` random bytes, 1..=128. `NoService` if there is no source.
    1 => retry later get(len: u32) -> (bytes: Bytes);
}
