//! Answers that are still good.

use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashMap;

use crate::Error;
use crate::flow::KeyedHash;

/// Answers by name and record type, until their time is over.
pub(super) struct Cache {
    entries: HashMap<(Vec<u8>, u16), Entry, KeyedHash>,
    max: usize,
}

struct Entry {
    answer: Result<Vec<IpAddr>, Error>,
    until: u64,
}

impl Cache {
    pub(super) fn new(max: usize, hash: KeyedHash) -> Self {
        Self {
            entries: HashMap::with_hasher(hash),
            max,
        }
    }

    pub(super) fn find(
        &self,
        name: &[u8],
        kind: u16,
        now: u64,
    ) -> Option<&Result<Vec<IpAddr>, Error>> {
        let entry = self.entries.get(&(name.to_vec(), kind))?;
        (entry.until > now).then_some(&entry.answer)
    }

    /// Keeps an answer for `ttl` seconds, a day at most.
    ///
    /// # Complexity
    ///
    /// O(1); O(n) when the cache is full and something has to go.
    pub(super) fn insert(
        &mut self,
        name: &[u8],
        kind: u16,
        answer: Result<Vec<IpAddr>, Error>,
        ttl: u32,
        now: u64,
    ) {
        let ttl_max = if answer.is_ok() {
            TTL_MAX
        } else {
            NEGATIVE_TTL_MAX
        };
        let until = now.saturating_add(u64::from(ttl.min(ttl_max)) * 1_000_000_000);
        if until == now || self.max == 0 {
            return;
        }
        if self.entries.len() >= self.max {
            self.entries.retain(|_, entry| entry.until > now);
        }
        if self.entries.len() >= self.max
            && let Some(soonest) = self.soonest()
        {
            self.entries.remove(&soonest);
        }
        self.entries
            .insert((name.to_vec(), kind), Entry { answer, until });
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn soonest(&self) -> Option<(Vec<u8>, u16)> {
        let soonest = self.entries.iter().min_by_key(|(_, entry)| entry.until);
        soonest.map(|(key, _)| key.clone())
    }
}

const TTL_MAX: u32 = 86_400;
/// RFC 2308, 5 lets negative answers live for hours; a host that comes up should not wait so.
const NEGATIVE_TTL_MAX: u32 = 900;
