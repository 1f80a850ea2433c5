//! All tables of a system and the derivation forest over them.

use alloc::vec::Vec;

use crate::forest::{Forest, NodeId, Place};
use crate::table::NIL;
use crate::{CapError, CapTable, Entry, Handle, Limits, MOVE_MAX, Rights, TableId};

/// Every capability of a system: one table per process, one derivation forest over all of them.
///
/// `O` says what a capability is for. It is copied about and never looked into; keep it at 16
/// bytes or less so that a slot is 32. Whatever an object is worth (a reference count, memory)
/// belongs to the caller, who learns of every capability that ends: [`close`](Self::close)
/// returns its object, the operations that end many give each to a `sink`.
#[derive(Debug)]
pub struct CapSpace<O> {
    /// The first one holds the parked capabilities and has no [`TableId`].
    pub(crate) tables: Vec<CapTable<O>>,
    pub(crate) forest: Forest,
    free_table: u32,
}

/// What one step of a revocation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a revocation may need more steps"]
pub struct Revoked {
    /// How many capabilities this step ended.
    pub count: usize,
    /// Whether no descendant is left.
    pub is_done: bool,
}

/// What one step of destroying a table did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "destroying a table may need more steps"]
pub struct Destroyed {
    /// How many capabilities this step ended.
    pub count: usize,
    /// Whether the table is gone.
    pub is_done: bool,
}

/// Tables.
impl<O: Copy> CapSpace<O> {
    /// A space without tables.
    ///
    /// # Errors
    /// [`CapError::OutOfMemory`].
    pub fn new() -> Result<Self, CapError> {
        let mut tables = Vec::new();
        tables
            .try_reserve(TABLES_AT_FIRST)
            .map_err(|_| CapError::OutOfMemory)?;
        let mut parked = CapTable::new();
        parked.open(Limits::live(u32::MAX));
        tables.push(parked);
        Ok(Self {
            tables,
            forest: Forest::new()?,
            free_table: NIL,
        })
    }

    /// A new empty table. It allocates nothing until it is used. O(1).
    ///
    /// # Errors
    /// [`CapError::OutOfMemory`].
    pub fn create_table(&mut self, limits: Limits) -> Result<TableId, CapError> {
        let mut index = self.free_table;
        if index == NIL {
            index = u32::try_from(self.tables.len()).map_err(|_| CapError::OutOfMemory)?;
            self.tables
                .try_reserve(1)
                .map_err(|_| CapError::OutOfMemory)?;
            self.tables.push(CapTable::new());
        } else {
            self.free_table = self.tables[index as usize].next_free;
        }
        let table = &mut self.tables[index as usize];
        table.open(limits);
        table.generation += 1;
        Ok(TableId {
            index,
            generation: table.generation,
        })
    }

    /// Ends a table and every capability in it, looking at no more than `max` slots.
    ///
    /// From the first step on `id` is good for nothing but further steps. Capabilities in other
    /// tables that were derived from ones in here stay, as children of what those came from.
    ///
    /// # Errors
    /// [`CapError::BadTable`] if the table is gone already.
    pub fn destroy_table_step(
        &mut self,
        id: TableId,
        max: usize,
        mut sink: impl FnMut(O),
    ) -> Result<Destroyed, CapError> {
        let index = self.begin_destroy(id)?;
        let mut count = 0;
        for _ in 0..max {
            match self.tables[index].pop_slot() {
                Some(Some((entry, node))) => {
                    self.forest.remove(node);
                    sink(entry.object);
                    count += 1;
                }
                Some(None) => {}
                None => {
                    self.finish_destroy(index);
                    return Ok(Destroyed {
                        count,
                        is_done: true,
                    });
                }
            }
        }
        Ok(Destroyed {
            count,
            is_done: false,
        })
    }

    /// Ends a table and every capability in it. O(slots).
    ///
    /// # Errors
    /// [`CapError::BadTable`].
    pub fn destroy_table(&mut self, id: TableId, sink: impl FnMut(O)) -> Result<usize, CapError> {
        self.destroy_table_step(id, usize::MAX, sink)
            .map(|step| step.count)
    }

    /// The table, to look capabilities up in it or list them. O(1).
    ///
    /// # Errors
    /// [`CapError::BadTable`].
    #[inline]
    pub fn table(&self, id: TableId) -> Result<&CapTable<O>, CapError> {
        match self.tables.get(id.index as usize) {
            Some(table) if table.generation == id.generation => Ok(table),
            _ => Err(CapError::BadTable),
        }
    }

    /// The table at the place that `id` names, which the caller knows to be live: for paths where
    /// checking it again would cost too much. O(1).
    ///
    /// If the table is gone, this is whatever table has its place now, or none: memory-safe, but
    /// no capability of the caller's.
    #[inline(always)]
    pub fn table_at(&self, id: TableId) -> Option<&CapTable<O>> {
        self.tables.get(id.index as usize)
    }

    /// Lowers the most capabilities that a table can hold; what it holds already stays. O(1).
    ///
    /// # Errors
    /// [`CapError::BadTable`].
    pub fn lower_limit(&mut self, id: TableId, live_max: u32) -> Result<(), CapError> {
        let table = self.table_mut(id)?;
        let limits = table.limits();
        table.open(Limits {
            live_max: limits.live_max.min(live_max),
            ..limits
        });
        Ok(())
    }

    /// Makes sure that the next `count` capabilities for this table find room without allocating.
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::TableFull`], [`CapError::OutOfMemory`].
    pub fn reserve(&mut self, id: TableId, count: usize) -> Result<(), CapError> {
        let count_slots = u32::try_from(count).map_err(|_| CapError::TableFull)?;
        self.table_mut(id)?.reserve(count_slots)?;
        self.forest.reserve(count)
    }

    /// How many capabilities there are in all tables and parked.
    pub fn len(&self) -> usize {
        self.forest.len()
    }

    /// Whether there is no capability at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn table_mut(&mut self, id: TableId) -> Result<&mut CapTable<O>, CapError> {
        match self.tables.get_mut(id.index as usize) {
            Some(table) if table.generation == id.generation => Ok(table),
            _ => Err(CapError::BadTable),
        }
    }

    fn begin_destroy(&mut self, id: TableId) -> Result<usize, CapError> {
        let index = id.index as usize;
        let table = self.tables.get_mut(index).ok_or(CapError::BadTable)?;
        if table.generation == id.generation {
            table.generation += 1;
            table.is_dying = true;
        }
        if !table.is_dying || table.generation != id.generation.wrapping_add(1) {
            return Err(CapError::BadTable);
        }
        Ok(index)
    }

    fn finish_destroy(&mut self, index: usize) {
        let generation = self.tables[index].generation;
        let mut table = CapTable::new();
        table.generation = generation;
        // A table whose ids are used up is retired, like a slot.
        if generation < u32::MAX - 1 {
            table.next_free = self.free_table;
            self.free_table = index as u32;
        }
        self.tables[index] = table;
    }
}

/// Capabilities.
impl<O: Copy> CapSpace<O> {
    /// The capability that `handle` names in `table`. O(1).
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::BadHandle`].
    #[inline]
    pub fn query(&self, table: TableId, handle: Handle) -> Result<&Entry<O>, CapError> {
        self.table(table)?.lookup(handle).ok_or(CapError::BadHandle)
    }

    /// Whether anything derived from the capability is left in any table. O(1).
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::BadHandle`].
    pub fn has_descendants(&self, table: TableId, handle: Handle) -> Result<bool, CapError> {
        Ok(self.forest.first_child(self.node(table, handle)?).is_some())
    }

    /// A capability to a new object, derived from none. O(1) but for growth.
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::TableFull`], [`CapError::OutOfMemory`].
    pub fn insert_root(
        &mut self,
        table: TableId,
        object: O,
        rights: Rights,
    ) -> Result<Handle, CapError> {
        self.plant(NodeId::WORLD, table, Entry { object, rights })
    }

    /// A further capability to the same object in the same table, with `rights` of the rights
    /// held. O(1) but for growth.
    ///
    /// # Errors
    /// [`CapError::RightsExceeded`], and as [`insert_root`](Self::insert_root) and
    /// [`query`](Self::query).
    pub fn derive(
        &mut self,
        table: TableId,
        handle: Handle,
        rights: Rights,
    ) -> Result<Handle, CapError> {
        self.copy(table, handle, table, rights)
    }

    /// Derives into another table. O(1) but for growth.
    ///
    /// # Errors
    /// As [`derive`](Self::derive).
    pub fn copy(
        &mut self,
        src: TableId,
        handle: Handle,
        dst: TableId,
        rights: Rights,
    ) -> Result<Handle, CapError> {
        let (entry, node) = self.resolve(src, handle)?;
        if !rights.is_subset_of(entry.rights) {
            return Err(CapError::RightsExceeded);
        }
        let object = entry.object;
        self.plant(node, dst, Entry { object, rights })
    }

    /// Derives into a table, with an `object` of the caller's: the same one with a badge, say, or
    /// a part of it. That it grants no more than the original is the caller's promise.
    ///
    /// # Errors
    /// As [`derive`](Self::derive).
    pub fn mint(
        &mut self,
        src: TableId,
        handle: Handle,
        dst: TableId,
        object: O,
        rights: Rights,
    ) -> Result<Handle, CapError> {
        let (entry, node) = self.resolve(src, handle)?;
        if !rights.is_subset_of(entry.rights) {
            return Err(CapError::RightsExceeded);
        }
        self.plant(node, dst, Entry { object, rights })
    }

    /// A capability to a new object that exists by the authority of another one, such as an
    /// interrupt by that of its device: revoking reaches it. O(1) but for growth.
    ///
    /// `rights` are rights to the new object: they are not compared with those to the other one.
    ///
    /// # Errors
    /// As [`insert_root`](Self::insert_root) and [`query`](Self::query).
    pub fn insert_under(
        &mut self,
        src: TableId,
        handle: Handle,
        dst: TableId,
        object: O,
        rights: Rights,
    ) -> Result<Handle, CapError> {
        let node = self.node(src, handle)?;
        self.plant(node, dst, Entry { object, rights })
    }

    /// Moves a capability to another table (or to a new handle in the same one). It keeps its
    /// ancestors and descendants. O(1) but for growth.
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::BadHandle`], [`CapError::TableFull`],
    /// [`CapError::OutOfMemory`].
    pub fn transfer(
        &mut self,
        src: TableId,
        handle: Handle,
        dst: TableId,
    ) -> Result<Handle, CapError> {
        self.transfer_many(src, &[handle], dst)
            .map(|[moved, ..]| moved)
    }

    /// Moves up to [`MOVE_MAX`] capabilities: all of them, or on an error none.
    ///
    /// Gives the new handles in the order of `handles`, followed by [`Handle::INVALID`].
    ///
    /// # Errors
    /// As [`transfer`](Self::transfer), [`CapError::TooManyHandles`],
    /// [`CapError::DuplicateHandle`].
    pub fn transfer_many(
        &mut self,
        src: TableId,
        handles: &[Handle],
        dst: TableId,
    ) -> Result<[Handle; MOVE_MAX], CapError> {
        self.check_move(src, handles)?;
        self.table_mut(dst)?.reserve(handles.len() as u32)?;
        let mut moved = [Handle::INVALID; MOVE_MAX];
        for (moved, handle) in moved.iter_mut().zip(handles) {
            *moved = self.relocate(src.index, handle.index(), dst.index);
        }
        Ok(moved)
    }

    /// Ends one capability and returns its object. What was derived from it stays, as children of
    /// what it came from. O(1).
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::BadHandle`].
    pub fn close(&mut self, table: TableId, handle: Handle) -> Result<O, CapError> {
        let node = self.node(table, handle)?;
        Ok(self.uproot(node))
    }

    /// Ends everything derived from a capability, in every table and parked; not itself.
    /// O(descendants). Gives their number.
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::BadHandle`].
    pub fn revoke(
        &mut self,
        table: TableId,
        handle: Handle,
        sink: impl FnMut(O),
    ) -> Result<usize, CapError> {
        self.revoke_step(table, handle, usize::MAX, sink)
            .map(|step| step.count)
    }

    /// Ends at most `max` capabilities derived from this one. O(max).
    ///
    /// Needs no state between steps: what is left is still derived from `handle`. Holders of what
    /// is left may derive more between two steps.
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::BadHandle`].
    pub fn revoke_step(
        &mut self,
        table: TableId,
        handle: Handle,
        max: usize,
        mut sink: impl FnMut(O),
    ) -> Result<Revoked, CapError> {
        let node = self.node(table, handle)?;
        let tables = &mut self.tables;
        let (count, is_done) = self
            .forest
            .sweep(node, max, |place| sink(evict(tables, place).object));
        Ok(Revoked { count, is_done })
    }

    /// Walks everything and says whether it fits together. For tests and fuzzing. O(everything).
    pub fn is_consistent(&self) -> bool {
        let mut found = 0;
        let mut all_in_place = true;
        let nests = self.forest.walk(|_, node, place| {
            found += 1;
            all_in_place &= self
                .tables
                .get(place.table as usize)
                .and_then(|table| table.occupant(place.slot))
                .is_some_and(|(_, occupant)| occupant == node);
        });
        let live: usize = self.tables.iter().map(|table| table.iter().count()).sum();
        let counted = self.tables[1..].iter().filter(|table| !table.is_dying);
        nests
            && all_in_place
            && found == self.forest.len()
            && found == live
            && counted
                .into_iter()
                .all(|table| table.iter().count() == table.len())
    }

    fn plant(
        &mut self,
        parent: NodeId,
        table: TableId,
        entry: Entry<O>,
    ) -> Result<Handle, CapError> {
        self.forest.reserve(1)?;
        let Self { tables, forest, .. } = self;
        let slots = match tables.get_mut(table.index as usize) {
            Some(slots) if slots.generation == table.generation => slots,
            _ => return Err(CapError::BadTable),
        };
        slots.reserve(1)?;
        let place = Place {
            table: table.index,
            slot: slots.next_index(),
        };
        let node = forest.insert_under(parent, place);
        Ok(slots.claim(entry, node))
    }

    /// What a handle names, with its place in the forest.
    #[inline]
    fn resolve(&self, table: TableId, handle: Handle) -> Result<(&Entry<O>, NodeId), CapError> {
        self.table(table)?
            .resolve(handle)
            .ok_or(CapError::BadHandle)
    }

    fn uproot(&mut self, node: NodeId) -> O {
        let place = self.forest.remove(node);
        evict(&mut self.tables, place).object
    }

    pub(crate) fn check_move(&self, src: TableId, handles: &[Handle]) -> Result<(), CapError> {
        if handles.len() > MOVE_MAX {
            return Err(CapError::TooManyHandles);
        }
        for (at, &handle) in handles.iter().enumerate() {
            self.query(src, handle)?;
            if handles[..at].contains(&handle) {
                return Err(CapError::DuplicateHandle);
            }
        }
        Ok(())
    }

    /// Moves a live slot to a reserved one of another table.
    pub(crate) fn relocate(&mut self, src: u32, slot: u32, dst: u32) -> Handle {
        let from = &mut self.tables[src as usize];
        let Some((&entry, node)) = from.occupant(slot) else {
            return Handle::INVALID;
        };
        match src {
            PARKED => from.unpin(slot),
            _ => _ = from.release(slot),
        }
        let moved = self.tables[dst as usize].claim(entry, node);
        self.forest.set_place(
            node,
            Place {
                table: dst,
                slot: moved.index(),
            },
        );
        moved
    }

    #[inline]
    fn node(&self, table: TableId, handle: Handle) -> Result<NodeId, CapError> {
        self.table(table)?.node(handle).ok_or(CapError::BadHandle)
    }
}

/// Empties the slot of a node that left the forest.
fn evict<O: Copy>(tables: &mut [CapTable<O>], place: Place) -> Entry<O> {
    let table = &mut tables[place.table as usize];
    match place.table {
        PARKED => table.void(place.slot),
        _ => table.release(place.slot),
    }
}

/// The table of parked capabilities.
pub(crate) const PARKED: u32 = 0;
const TABLES_AT_FIRST: usize = 8;
