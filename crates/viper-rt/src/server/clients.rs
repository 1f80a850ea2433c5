//! The clients of a server, by the key of their channel in the poll set.

use crate::handle::Channel;
use alloc::vec::Vec;

/// A slab: the low half of a key is the place, the high half (31 bits) its generation.
#[derive(Debug)]
pub(super) struct Clients<C> {
    places: Vec<Place<C>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<C> {
    generation: u32,
    client: Option<(Channel, C)>,
}

impl<C> Clients<C> {
    pub(super) const fn new() -> Clients<C> {
        Clients {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Adds a client and tells its key.
    pub(super) fn insert(&mut self, channel: Channel, client: C) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                client: None,
            });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.client = Some((channel, client));
        u64::from(place.generation) << 32 | u64::from(index)
    }

    #[inline]
    pub(super) fn find(&mut self, key: u64) -> Option<&mut C> {
        let place = self.places.get_mut(key as u32 as usize)?;
        if u64::from(place.generation) != key >> 32 {
            return None;
        }
        place.client.as_mut().map(|(_, client)| client)
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<(Channel, C)> {
        let index = key as u32;
        let place = self.places.get_mut(index as usize)?;
        if u64::from(place.generation) != key >> 32 {
            return None;
        }
        let client = place.client.take()?;
        // 31 bits: the top bit of a key says that it is not a client.
        place.generation = place.generation.wrapping_add(1) & 0x7fff_ffff;
        self.free.push(index);
        Some(client)
    }
}
