//! Terminal settings, with the bits of the AArch64 Linux ABI so that a C library can pass them on.
//!
//! Bits that are not declared here are kept by nobody and do nothing.

use bitflags::bitflags;

bitflags! {
    /// How input is changed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InputFlags: u32 {
        /// A line feed arrives as a carriage return.
        const INLCR = 0o100;
        /// Carriage returns are dropped.
        const IGNCR = 0o200;
        /// A carriage return arrives as a line feed.
        const ICRNL = 0o400;
        /// Ctrl-S stops output, Ctrl-Q goes on.
        const IXON = 0o2000;
        /// Input is UTF-8: erase takes a whole character.
        const IUTF8 = 0o40000;
    }

    /// How output is changed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OutputFlags: u32 {
        /// Output is changed at all.
        const OPOST = 0o1;
        /// A line feed goes out as carriage return, line feed.
        const ONLCR = 0o4;
    }

    /// How lines are edited and shown.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LocalFlags: u32 {
        /// Ctrl-C, Ctrl-\ and Ctrl-Z are signals.
        const ISIG = 0o1;
        /// Cooked mode: whole lines, editable before Return.
        const ICANON = 0o2;
        /// Input is shown.
        const ECHO = 0o10;
        /// Erased characters vanish from the screen.
        const ECHOE = 0o20;
        /// A killed line vanishes from the screen.
        const ECHOK = 0o40;
        /// A line feed is shown even without `ECHO`.
        const ECHONL = 0o100;
        /// A signal does not drop what was typed before.
        const NOFLSH = 0o200;
        /// Control characters are shown as `^X`.
        const ECHOCTL = 0o1000;
        /// Word erase, reprint and literal-next work.
        const IEXTEN = 0o100000;
    }
}

/// Names of the entries of [`Termios::control`].
pub mod index {
    /// Signal "interrupt", Ctrl-C.
    pub const INTR: usize = 0;
    /// Signal "quit", Ctrl-\.
    pub const QUIT: usize = 1;
    /// Erase a character, DEL (BS always works too).
    pub const ERASE: usize = 2;
    /// Erase the line, Ctrl-U.
    pub const KILL: usize = 3;
    /// End of file, Ctrl-D.
    pub const EOF: usize = 4;
    /// Raw mode: tenths of a second between bytes. Kept here; the reader's server honours it.
    pub const TIME: usize = 5;
    /// Raw mode: bytes a read waits for.
    pub const MIN: usize = 6;
    /// Go on with output, Ctrl-Q.
    pub const START: usize = 8;
    /// Stop output, Ctrl-S.
    pub const STOP: usize = 9;
    /// Signal "suspend", Ctrl-Z.
    pub const SUSP: usize = 10;
    /// One more character that ends a line; 0 for none.
    pub const EOL: usize = 11;
    /// Show the line again, Ctrl-R.
    pub const REPRINT: usize = 12;
    /// Erase a word, Ctrl-W.
    pub const WERASE: usize = 14;
    /// The next byte is text, Ctrl-V.
    pub const LNEXT: usize = 15;
}

/// Entries of [`Termios::control`].
pub const CONTROL_MAX: usize = 19;

/// Settings of one terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// How input is changed.
    pub input: InputFlags,
    /// How output is changed.
    pub output: OutputFlags,
    /// How lines are edited and shown.
    pub local: LocalFlags,
    /// Special characters by [`index`]; 0 switches one off.
    pub control: [u8; CONTROL_MAX],
}

impl Termios {
    /// Cooked mode: line editing, echo, signals.
    pub const fn cooked() -> Self {
        let mut control = [0; CONTROL_MAX];
        control[index::INTR] = 0x03;
        control[index::QUIT] = 0x1c;
        control[index::ERASE] = 0x7f;
        control[index::KILL] = 0x15;
        control[index::EOF] = 0x04;
        control[index::MIN] = 1;
        control[index::START] = 0x11;
        control[index::STOP] = 0x13;
        control[index::SUSP] = 0x1a;
        control[index::REPRINT] = 0x12;
        control[index::WERASE] = 0x17;
        control[index::LNEXT] = 0x16;
        Self {
            input: InputFlags::ICRNL.union(InputFlags::IUTF8),
            output: OutputFlags::OPOST.union(OutputFlags::ONLCR),
            local: LocalFlags::ISIG
                .union(LocalFlags::ICANON)
                .union(LocalFlags::ECHO)
                .union(LocalFlags::ECHOE)
                .union(LocalFlags::ECHOK)
                .union(LocalFlags::ECHOCTL)
                .union(LocalFlags::IEXTEN),
            control,
        }
    }

    /// Raw mode: bytes pass as they are, both ways.
    pub const fn raw() -> Self {
        Self {
            input: InputFlags::IUTF8,
            output: OutputFlags::empty(),
            local: LocalFlags::empty(),
            ..Self::cooked()
        }
    }
}

impl Default for Termios {
    fn default() -> Self {
        Self::cooked()
    }
}
