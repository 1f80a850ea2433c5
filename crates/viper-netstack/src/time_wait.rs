//! Connections that are over, but whose last segments may still be about.
//!
//! RFC 9293, 3.3.2 wants them remembered. The engine would keep their buffers for that; here
//! an entry is a key and a time. What it owes the peer, an acknowledgement of a repeated FIN,
//! can be made of that FIN alone.

use alloc::collections::VecDeque;

use hashbrown::HashMap;

use crate::flow::{Key, KeyedHash};

/// The connections in TIME-WAIT.
pub(crate) struct TimeWait {
    entries: HashMap<Key, u64, KeyedHash>,
    order: VecDeque<(u64, Key)>,
    max: usize,
}

impl TimeWait {
    pub(crate) fn new(max: usize, hash: KeyedHash) -> Self {
        Self {
            entries: HashMap::with_hasher(hash),
            order: VecDeque::new(),
            max,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// Remembers `key` until `end`.
    pub(crate) fn insert(&mut self, key: Key, end: u64) {
        while self.order.len() >= self.max.max(1) {
            self.drop_first();
        }
        if self.order.capacity() == 0 {
            // All at once, and never more: what is used then does not depend on how busy it gets.
            self.order.reserve_exact(self.max.min(RESERVED_MAX));
            self.entries.reserve(self.max.min(RESERVED_MAX));
        }
        self.entries.insert(key, end);
        self.order.push_back((end, key));
    }

    /// Forgets `key` before its time.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.entries.remove(key);
    }

    /// Forgets what is over.
    pub(crate) fn expire(&mut self, now: u64) {
        while self.order.front().is_some_and(|(end, _)| *end <= now) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some((end, key)) = self.order.pop_front() else {
            return;
        };
        // The key may have been used and put here again since.
        if self.entries.get(&key) == Some(&end) {
            self.entries.remove(&key);
        }
    }
}

/// Room for so many is made beforehand at most.
const RESERVED_MAX: usize = 4096;
