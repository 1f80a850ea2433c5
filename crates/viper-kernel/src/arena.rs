//! Arenas: kernel objects of one type, named by small indices, at addresses that never change.
//!
//! Growth is by chunks and can fail; nothing moves. Who holds an index keeps the object alive by
//! a count in the object or by unlinking itself first: indexing a free slot is a kernel bug.

use alloc::boxed::Box;
use alloc::vec::Vec;
use viper_abi::Error;

/// "No object".
pub const NIL: u32 = u32::MAX;

const CHUNK: usize = 32;

enum Slot<T> {
    Used(T),
    Free(u32),
}

/// Objects of type `T`. Insert, remove and access are O(1).
pub struct Arena<T> {
    chunks: Vec<Box<[Slot<T>; CHUNK]>>,
    free: u32,
    live: u32,
}

impl<T> Arena<T> {
    /// An arena without objects.
    pub const fn new() -> Self {
        Arena {
            chunks: Vec::new(),
            free: NIL,
            live: 0,
        }
    }

    /// How many objects there are.
    pub const fn len(&self) -> u32 {
        self.live
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds an object.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn insert(&mut self, value: T) -> Result<u32, Error> {
        if self.free == NIL {
            self.grow()?;
        }
        let index = self.free;
        let slot = &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK];
        let Slot::Free(next) = *slot else {
            return Err(Error::Internal);
        };
        self.free = next;
        *slot = Slot::Used(value);
        self.live += 1;
        Ok(index)
    }

    /// Adds an object, or gives it back with the error.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn insert_or_back(&mut self, value: T) -> Result<u32, (Error, T)> {
        if self.free == NIL
            && let Err(e) = self.grow()
        {
            return Err((e, value));
        }
        self.insert(value)
            .map_err(|_| unreachable!("a free slot was found or made"))
    }

    /// Takes an object out.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let slot = &mut self.chunks.get_mut(index as usize / CHUNK)?[index as usize % CHUNK];
        if matches!(slot, Slot::Free(_)) {
            return None;
        }
        let old = core::mem::replace(slot, Slot::Free(self.free));
        self.free = index;
        self.live -= 1;
        match old {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// The object, if this index names one.
    #[inline(always)]
    pub fn get(&self, index: u32) -> Option<&T> {
        match &self.chunks.get(index as usize / CHUNK)?[index as usize % CHUNK] {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// The object, if this index names one.
    #[inline(always)]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match &mut self.chunks.get_mut(index as usize / CHUNK)?[index as usize % CHUNK] {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// Two different objects at once.
    #[inline(always)]
    pub fn pair_mut(&mut self, a: u32, b: u32) -> Option<(&mut T, &mut T)> {
        if a == b {
            return None;
        }
        let (chunk_a, chunk_b) = (a as usize / CHUNK, b as usize / CHUNK);
        let (a, b) = (a as usize % CHUNK, b as usize % CHUNK);
        let (a, b) = if chunk_a == chunk_b {
            let [a, b] = self
                .chunks
                .get_mut(chunk_a)?
                .get_disjoint_mut([a, b])
                .ok()?;
            (a, b)
        } else {
            let [x, y] = self.chunks.get_disjoint_mut([chunk_a, chunk_b]).ok()?;
            (&mut x[a], &mut y[b])
        };
        match (a, b) {
            (Slot::Used(a), Slot::Used(b)) => Some((a, b)),
            _ => None,
        }
    }

    /// The smallest live index at or above `from`.
    pub fn next_from(&self, from: u32) -> Option<u32> {
        (from..(self.chunks.len() * CHUNK) as u32).find(|&i| self.get(i).is_some())
    }

    /// All live indices, ascending.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        (0..(self.chunks.len() * CHUNK) as u32).filter(|&i| self.get(i).is_some())
    }

    /// All indices are below this.
    pub fn bound(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    fn grow(&mut self) -> Result<(), Error> {
        let base = u32::try_from(self.chunks.len() * CHUNK).map_err(|_| Error::LimitReached)?;
        let mut chunk = Vec::new();
        chunk
            .try_reserve_exact(CHUNK)
            .map_err(|_| Error::OutOfMemory)?;
        self.chunks.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        for i in 1..=CHUNK as u32 {
            chunk.push(Slot::Free(if i == CHUNK as u32 { NIL } else { base + i }));
        }
        let chunk: Box<[Slot<T>; CHUNK]> = chunk
            .into_boxed_slice()
            .try_into()
            .map_err(|_| Error::Internal)?;
        self.chunks.push(chunk);
        self.free = base;
        Ok(())
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> core::ops::Index<u32> for Arena<T> {
    type Output = T;
    #[inline(always)]
    fn index(&self, index: u32) -> &T {
        self.get(index)
            .expect("an index is only kept while its object lives")
    }
}

impl<T> core::ops::IndexMut<u32> for Arena<T> {
    #[inline(always)]
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index)
            .expect("an index is only kept while its object lives")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_reused_and_addresses_stay() {
        let mut arena = Arena::new();
        let ids: Vec<u32> = (0..100).map(|i| arena.insert(i).unwrap()).collect();
        let at = core::ptr::from_ref(&arena[ids[0]]);
        for _ in 0..1000 {
            arena.insert(0).unwrap();
        }
        assert_eq!(at, core::ptr::from_ref(&arena[ids[0]]));
        assert_eq!(arena.remove(ids[50]), Some(50));
        assert_eq!(arena.remove(ids[50]), None);
        assert_eq!(arena.insert(7).unwrap(), ids[50]);
        assert_eq!(arena.len(), 1100);
        assert_eq!(arena.indices().count(), 1100);
    }
}
