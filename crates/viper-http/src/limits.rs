//! How much of a message is held or let through.

/// Limits on every size that a peer chooses. Exceeding one is an error, never a truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, with its line ends; of a trailer section, too.
    pub head_bytes_max: usize,
    /// Bytes of one line of a head or trailer section, without its line end.
    pub line_bytes_max: usize,
    /// Bytes of a request target.
    pub target_bytes_max: usize,
    /// Header lines in a head or trailer section.
    pub headers_max: usize,
    /// Bytes of a chunk's size line: the number and all extensions.
    pub chunk_line_bytes_max: usize,
    /// Bytes of a body, as they are given to the caller: after decompression.
    pub body_bytes_max: u64,
    /// Heads with a status 1xx that may come before the answer.
    pub informational_max: u8,
}

impl Limits {
    /// For a client: heads of 64 KiB, bodies of any size.
    pub const CLIENT: Limits = Limits {
        head_bytes_max: 64 << 10,
        line_bytes_max: 16 << 10,
        target_bytes_max: 8 << 10,
        headers_max: 128,
        chunk_line_bytes_max: 256,
        body_bytes_max: u64::MAX,
        informational_max: 8,
    };
    /// For a server: heads of 16 KiB, bodies of 1 MiB.
    pub const SERVER: Limits = Limits {
        head_bytes_max: 16 << 10,
        line_bytes_max: 8 << 10,
        target_bytes_max: 4 << 10,
        headers_max: 64,
        chunk_line_bytes_max: 256,
        body_bytes_max: 1 << 20,
        informational_max: 0,
    };
}
