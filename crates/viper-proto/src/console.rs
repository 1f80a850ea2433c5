//! The console service (`CONSOLED:`): a stream with a terminal behind it.
//!
//! Operations 1 and 2 are those of [`crate::stream`], so that a console channel serves as standard
//! input and output.

use viper_rt::handle::Channel;
use viper_rt::message::Bytes;
use viper_rt::message_struct;

message_struct! {
    /// How input is treated.
    pub struct Mode {
        /// Lines are edited and come as a whole; otherwise bytes come as they are typed.
        pub cooked: bool,
        /// What is typed is shown.
        pub echo: bool,
        /// Control-C interrupts instead of being a byte.
        pub signals: bool,
    }
}

impl Mode {
    /// Lines, shown, interruptible.
    pub const COOKED: Mode = Mode {
        cooked: true,
        echo: true,
        signals: true,
    };
    /// Bytes as typed.
    pub const RAW: Mode = Mode {
        cooked: false,
        echo: false,
        signals: false,
    };
}

message_struct! {
    /// Size of the terminal in cells.
    pub struct Size {
        /// Columns.
        pub columns: u32,
        /// Rows.
        pub rows: u32,
    }
}

interface! {
    "console" version 1;

    /// Reads at most `max` bytes (1..=240), waiting for the first. No bytes: the end (control-D).
    ///
    /// `Interrupted` if the user interrupted it instead; `TimedOut` at the deadline, in nanoseconds
    /// of uptime.
    1 => once later read(max: u32, deadline: u64) -> (bytes: Bytes);
    /// Writes bytes. Returns how many were taken; waits until at least one was.
    2 => once later write(bytes: Bytes) -> (taken: u32);
    /// Sets how this client's input is treated. Returns how it was.
    3 => retry now set_mode(mode: Mode) -> (before: Mode);
    /// Size of the terminal.
    4 => retry now size() -> (size: Size);
    /// Waits until everything written is out.
    5 => retry later drain() -> ();
    /// Waits for control-C. Each client has one such call at a time; the one that reads last asked.
    6 => once later interrupt() -> ();
    /// Makes this client the one that gets the input; the one before gets it back when it goes.
    7 => retry now foreground() -> ();
    /// Another channel to the console, to be handed to a child.
    8 => once now duplicate() -> (channel: Channel);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream;

    #[test]
    fn a_console_is_a_stream() {
        assert_eq!(OPERATIONS[..2], *stream::OPERATIONS);
    }
}
