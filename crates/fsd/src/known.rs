//! Paths that were looked up before.
//!
//! A path leads to the same file until a name is removed or moved: new names change nothing for a
//! path that leads somewhere already. So the table only knows paths that lead somewhere, and all of
//! it is forgotten at once when a name goes.

use crate::node::Node;
use alloc::vec;
use alloc::vec::Vec;
use viper_proto::fs::PATH_INLINE_MAX;

/// Places in the table; a power of two.
const PLACES: usize = 128;

#[derive(Clone, Copy)]
struct Place {
    /// Of the table when it was filled; older ones are empty.
    generation: u64,
    node: Node,
    len: usize,
    path: [u8; PATH_INLINE_MAX],
}

/// Where short paths lead, with links followed.
pub(crate) struct KnownPaths {
    places: Vec<Place>,
    generation: u64,
}

impl KnownPaths {
    pub(crate) fn new() -> Self {
        let empty = Place {
            generation: 0,
            node: Node::ROOT,
            len: 0,
            path: [0; PATH_INLINE_MAX],
        };
        KnownPaths {
            places: vec![empty; PLACES],
            generation: 1,
        }
    }

    /// What a path leads to, if that is known.
    #[inline]
    pub(crate) fn find(&self, path: &[u8]) -> Option<Node> {
        let place = &self.places[hash(path) % PLACES];
        let same = place.generation == self.generation && place.path.get(..place.len) == Some(path);
        same.then_some(place.node)
    }

    /// Remembers where a path leads, in the place of another one.
    pub(crate) fn note(&mut self, path: &[u8], node: Node) {
        let place = &mut self.places[hash(path) % PLACES];
        if let Some(to) = place.path.get_mut(..path.len()) {
            to.copy_from_slice(path);
            place.len = path.len();
            place.node = node;
            place.generation = self.generation;
        }
    }

    /// Forgets everything: a name is about to go.
    pub(crate) fn forget(&mut self) {
        self.generation += 1;
    }
}

/// Eight bytes at a time: multiply and fold.
#[inline]
fn hash(path: &[u8]) -> usize {
    let (words, rest) = path.as_chunks::<8>();
    let mut sum = path.len() as u64;
    let mut mix =
        |word: u64| sum = (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    mix(rest
        .iter()
        .fold(0, |word, &byte| word << 8 | u64::from(byte)));
    (sum >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn node(inode: u64) -> Node {
        Node::new(0, inode)
    }

    #[test]
    fn paths_are_found_until_they_are_forgotten_or_pushed_out() {
        let mut known = KnownPaths::new();
        assert_eq!(known.find(b""), None);
        assert_eq!(known.find(b"/a"), None);
        known.note(b"/a", node(7));
        assert_eq!(known.find(b"/a"), Some(node(7)));
        assert_eq!(known.find(b"/b"), None);
        known.note(b"/a", node(8));
        assert_eq!(known.find(b"/a"), Some(node(8)));
        known.forget();
        assert_eq!(known.find(b"/a"), None);
        known.note(&[b'x'; PATH_INLINE_MAX + 1], node(9));
        assert_eq!(known.find(&[b'x'; PATH_INLINE_MAX + 1]), None);
        let mut right = 0;
        for n in 0..1000u64 {
            known.note(format!("/some/file{n}").as_bytes(), node(n));
        }
        for n in 0..1000u64 {
            let found = known.find(format!("/some/file{n}").as_bytes());
            assert!(found.is_none_or(|found| found == node(n)));
            right += u32::from(found.is_some());
        }
        assert!(right > 100, "{right} of 128 places are in use");
    }
}
