//! Names become addresses (RFC 1034, 1035, 2308, 5452, 7766).

mod cache;
mod message;
mod query;

pub(crate) use query::Resolver;
pub use query::{Family, QueryId};

/// Reads a reply to a query with this id, name and type (1 for A, 28 for AAAA), for fuzzing.
#[doc(hidden)]
pub fn fuzz_reply(reply: &[u8], id: u16, name: &str, kind: u16) -> bool {
    let Some(name) = message::encode_name(name) else {
        return false;
    };
    message::parse(reply, id, &name, kind).is_some()
}
