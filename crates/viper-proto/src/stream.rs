//! Streams: standard input and output, whatever is behind them.

use viper_rt::message::Bytes;

/// Most bytes that one READ or WRITE moves.
pub const CHUNK_MAX: usize = viper_rt::stdio::STREAM_WRITE_MAX;

interface! {
    "stream" version 1;

    /// Reads at most `max` bytes (1..=240), waiting for the first. No bytes: the end (control-D).
    ///
    /// `Interrupted` if the user interrupted it instead; `TimedOut` at the deadline, in nanoseconds
    /// of uptime.
    1 => once later read(max: u32, deadline: u64) -> (bytes: Bytes);
    /// Writes bytes. Returns how many were taken; waits until at least one was.
    2 => once later write(bytes: Bytes) -> (taken: u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_knows_the_number_of_write() {
        let write = OPERATIONS.iter().find(|o| o.name == "write").unwrap();
        assert_eq!(u32::from(write.number), viper_rt::stdio::STREAM_WRITE);
    }
}
