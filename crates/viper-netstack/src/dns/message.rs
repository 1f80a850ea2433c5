//! Queries and replies, byte by byte.
//!
//! Names are kept as they are on the wire, each label behind its length, in lower case: a dot
//! inside a label cannot be taken for one between labels.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::frame::word;

/// What a reply says about the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its addresses, and for how many seconds they hold.
    Addresses(Vec<IpAddr>, u32),
    /// It is another name, which the reply says nothing more about.
    Alias(Vec<u8>, u32),
    /// It has no address of that family, for so many seconds.
    NoAddress(u32),
    /// There is no such name, for so many seconds.
    NoName(u32),
    /// The reply was cut off: ask again by TCP.
    Truncated,
    /// This server will not, or cannot, say.
    Failure,
}

/// A name as it is on the wire, or `None` if it cannot be a host's.
pub(super) fn encode_name(name: &str) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if label.is_empty() || label.len() > LABEL_MAX || !label.bytes().all(is_good) {
            return None;
        }
        wire.push(label.len() as u8);
        wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    wire.push(0);
    (wire.len() <= NAME_MAX).then_some(wire)
}

/// A query for records of `kind` of `name`.
pub(super) fn query(id: u16, name: &[u8], kind: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + name.len() + 4);
    for number in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&INTERNET.to_be_bytes());
    bytes
}

/// Reads a reply; `None` if it is none to this query, and has to be ignored (RFC 5452, 9.1).
pub(super) fn parse(reply: &[u8], id: u16, name: &[u8], kind: u16) -> Option<Answer> {
    let flags = word(reply, 2)?;
    let is_reply = flags & RESPONSE != 0 && flags & OPCODE == 0;
    if !is_reply || word(reply, 0)? != id || word(reply, 4)? != 1 {
        return None;
    }
    let (question, at) = read_name(reply, HEADER_LEN)?;
    if question != name || word(reply, at)? != kind || word(reply, at + 2)? != INTERNET {
        return None;
    }
    if flags & TRUNCATED != 0 {
        return Some(Answer::Truncated);
    }
    let code = flags & 15;
    if code != 0 && code != NAME_ERROR {
        return Some(Answer::Failure);
    }
    let answers = word(reply, 6)?;
    let (records, at) = read_records(reply, at + 4, answers)?;
    let (end, ttl) = follow(&records, name)?;
    let addresses: Vec<&Record> = records
        .iter()
        .filter(|record| record.kind == kind && record.name == end)
        .collect();
    if !addresses.is_empty() {
        let ttl = addresses
            .iter()
            .map(|record| record.ttl)
            .min()
            .unwrap_or(0)
            .min(ttl);
        let addresses = addresses.iter().filter_map(|record| record.address);
        return Some(Answer::Addresses(
            addresses.take(ADDRESSES_MAX).collect(),
            ttl,
        ));
    }
    let (authority, _) = read_records(reply, at, word(reply, 8)?)?;
    let negative = authority
        .iter()
        .find_map(|record| record.negative_ttl)
        .unwrap_or(NEGATIVE_TTL);
    Some(match code {
        NAME_ERROR => Answer::NoName(negative.min(ttl)),
        _ if end != name => Answer::Alias(end.to_vec(), ttl),
        _ => Answer::NoAddress(negative.min(ttl)),
    })
}

/// What matters of a resource record.
struct Record {
    name: Vec<u8>,
    kind: u16,
    ttl: u32,
    address: Option<IpAddr>,
    alias: Option<Vec<u8>>,
    negative_ttl: Option<u32>,
}

/// Goes from alias to alias, and says where they end and for how long that holds.
fn follow<'a>(records: &'a [Record], name: &'a [u8]) -> Option<(&'a [u8], u32)> {
    let (mut name, mut ttl) = (name, u32::MAX);
    for _ in 0..ALIASES_MAX {
        let is_next = |record: &&Record| record.name == name && record.alias.is_some();
        let Some(record) = records.iter().find(is_next) else {
            return Some((name, ttl));
        };
        ttl = ttl.min(record.ttl);
        name = record.alias.as_deref()?;
    }
    None
}

fn read_records(reply: &[u8], mut at: usize, count: u16) -> Option<(Vec<Record>, usize)> {
    let mut records = Vec::new();
    for _ in 0..count {
        let (name, after) = read_name(reply, at)?;
        let (kind, class) = (word(reply, after)?, word(reply, after + 2)?);
        let ttl = long(reply, after + 4)?;
        let start = after + 10;
        let end = start + usize::from(word(reply, after + 8)?);
        let data = reply.get(start..end)?;
        at = end;
        if class != INTERNET {
            continue;
        }
        let address = match kind {
            KIND_A => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?))),
            KIND_AAAA => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?))),
            _ => None,
        };
        let alias = if kind == KIND_CNAME {
            Some(read_name(reply, start)?.0)
        } else {
            None
        };
        let negative_ttl = if kind == KIND_SOA {
            Some(soa_minimum(reply, start)?.min(ttl))
        } else {
            None
        };
        // RFC 2181, 8: a sign bit means 0.
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        if address.is_some() || alias.is_some() || negative_ttl.is_some() {
            records.push(Record {
                name,
                kind,
                ttl,
                address,
                alias,
                negative_ttl,
            });
        }
        if records.len() >= RECORDS_MAX {
            return None;
        }
    }
    Some((records, at))
}

/// RFC 2308, 4: the last field of the SOA record says how long a negative answer holds.
fn soa_minimum(reply: &[u8], at: usize) -> Option<u32> {
    let (_, at) = read_name(reply, at)?;
    let (_, at) = read_name(reply, at)?;
    long(reply, at + 16)
}

/// The name at `at`, and where it ends there. Pointers may only point further to the front.
fn read_name(reply: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let (mut at, mut end, mut limit) = (start, None, start);
    loop {
        let len = usize::from(*reply.get(at)?);
        match len >> 6 {
            0 => {
                let label = reply.get(at..at + 1 + len)?;
                name.extend(label.iter().enumerate().map(|(i, byte)| match i {
                    0 => *byte,
                    _ => byte.to_ascii_lowercase(),
                }));
                at += 1 + len;
                if name.len() > NAME_MAX {
                    return None;
                }
                if len == 0 {
                    return Some((name, end.unwrap_or(at)));
                }
            }
            3 => {
                let target = usize::from(word(reply, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                if target >= limit {
                    return None;
                }
                (at, limit) = (target, target);
            }
            _ => return None,
        }
    }
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) const KIND_A: u16 = 1;
pub(super) const KIND_AAAA: u16 = 28;
const KIND_CNAME: u16 = 5;
const KIND_SOA: u16 = 6;
const INTERNET: u16 = 1;
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const NAME_ERROR: u16 = 3;
const HEADER_LEN: usize = 12;
const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 255;
/// Aliases that are followed in one reply.
const ALIASES_MAX: usize = 16;
/// Addresses of one name that are kept.
const ADDRESSES_MAX: usize = 16;
/// Records that matter in one section.
const RECORDS_MAX: usize = 256;
/// How long a negative answer holds that does not say it, in seconds.
const NEGATIVE_TTL: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Vec<u8> {
        encode_name(text).unwrap()
    }

    fn reply(flags: u16, question: &str, records: &[(&str, u16, u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = query(7, &name(question), KIND_A);
        bytes[2..4].copy_from_slice(&(RESPONSE | flags).to_be_bytes());
        bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (owner, kind, ttl, data) in records {
            bytes.extend(name(owner));
            bytes.extend(kind.to_be_bytes());
            bytes.extend(INTERNET.to_be_bytes());
            bytes.extend(ttl.to_be_bytes());
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(encode_name("Ab.c."), Some(b"\x02ab\x01c\0".to_vec()));
        for bad in [
            "",
            ".",
            "a..b",
            "a b",
            &"a".repeat(64),
            &["a"; 128].join("."),
            "ä.de",
        ] {
            assert_eq!(encode_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        let records = [
            ("www.a.de", KIND_CNAME, 50, name("b.de")),
            ("b.de", KIND_CNAME, 40, name("c.de")),
            ("c.de", KIND_A, 60, vec![1, 2, 3, 4]),
            ("evil.de", KIND_A, 60, vec![6, 6, 6, 6]),
            ("c.de", KIND_A, 70, vec![1, 2, 3, 5]),
        ];
        let answer = parse(
            &reply(0, "www.a.de", &records),
            7,
            &name("WWW.a.de"),
            KIND_A,
        );
        let addresses = vec![[1, 2, 3, 4].into(), [1, 2, 3, 5].into()];
        assert_eq!(answer, Some(Answer::Addresses(addresses, 40)));
        let answer = parse(
            &reply(0, "www.a.de", &records[..2]),
            7,
            &name("www.a.de"),
            KIND_A,
        );
        assert_eq!(answer, Some(Answer::Alias(name("c.de"), 40)));
        let circle = [
            ("a.de", KIND_CNAME, 50, name("b.de")),
            ("b.de", KIND_CNAME, 50, name("a.de")),
        ];
        assert_eq!(
            parse(&reply(0, "a.de", &circle), 7, &name("a.de"), KIND_A),
            None
        );
    }

    #[test]
    fn replies_to_other_queries_are_ignored() {
        let good = reply(0, "a.de", &[("a.de", KIND_A, 60, vec![1, 2, 3, 4])]);
        assert!(parse(&good, 7, &name("a.de"), KIND_A).is_some());
        assert_eq!(parse(&good, 8, &name("a.de"), KIND_A), None);
        assert_eq!(parse(&good, 7, &name("b.de"), KIND_A), None);
        assert_eq!(parse(&good, 7, &name("a.de"), KIND_AAAA), None);
        assert_eq!(
            parse(&query(7, &name("a.de"), KIND_A), 7, &name("a.de"), KIND_A),
            None
        );
        for len in 0..good.len() {
            assert_eq!(parse(&good[..len], 7, &name("a.de"), KIND_A), None, "{len}");
        }
    }

    #[test]
    fn failures_and_truncation_are_told() {
        let parse = |flags| parse(&reply(flags, "a.de", &[]), 7, &name("a.de"), KIND_A);
        assert_eq!(parse(2), Some(Answer::Failure));
        assert_eq!(parse(3), Some(Answer::NoName(NEGATIVE_TTL)));
        assert_eq!(parse(TRUNCATED), Some(Answer::Truncated));
        assert_eq!(parse(0), Some(Answer::NoAddress(NEGATIVE_TTL)));
    }

    #[test]
    fn pointers_go_to_the_front_only() {
        let mut bytes = query(7, &name("a.de"), KIND_A);
        bytes[2] = 0x80;
        bytes[7] = 1;
        let start = bytes.len() as u8;
        for pointer in [12, start, start + 2] {
            let mut bytes = bytes.clone();
            bytes.extend([0xc0, pointer, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 9, 9, 9, 9]);
            let answer = parse(&bytes, 7, &name("a.de"), KIND_A);
            assert_eq!(answer.is_some(), pointer == 12);
        }
    }
}
