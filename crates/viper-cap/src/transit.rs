//! Capabilities in transit: taken out of one table, not yet in another.
//!
//! A message that waits in a queue holds the capabilities it carries. They are in no process'
//! table, but they still have their place in the forest, so that revoking reaches them there.

use crate::space::PARKED;
use crate::{CapError, CapSpace, Entry, Handle, MOVE_MAX, TableId};

/// Up to [`MOVE_MAX`] capabilities on their way, for example in a queued message.
///
/// It must be handed back, to [`CapSpace::unpark`] or [`CapSpace::drop_parked`] of the space it
/// came from; if it is lost, what it holds lives until revoked. It is not `Copy`, so nothing can
/// be delivered twice.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "parked capabilities must be unparked or dropped"]
pub struct Parked {
    slots: [u32; MOVE_MAX],
    len: u8,
}

impl Parked {
    /// Nothing in transit.
    pub const EMPTY: Self = Self {
        slots: [0; MOVE_MAX],
        len: 0,
    };

    /// How many capabilities were parked, revoked ones included.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether none was parked.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slots(&self) -> &[u32] {
        self.slots.get(..self.len()).unwrap_or_default()
    }
}

impl<O: Copy> CapSpace<O> {
    /// Takes up to [`MOVE_MAX`] capabilities out of a table: all of them, or on an error none.
    /// O(1) but for growth.
    ///
    /// # Errors
    /// As [`transfer_many`](Self::transfer_many).
    pub fn park(&mut self, src: TableId, handles: &[Handle]) -> Result<Parked, CapError> {
        self.check_move(src, handles)?;
        self.tables[PARKED as usize].reserve(handles.len() as u32)?;
        let mut parked = Parked {
            slots: [0; MOVE_MAX],
            len: handles.len() as u8,
        };
        for (slot, handle) in parked.slots.iter_mut().zip(handles) {
            *slot = self.relocate(src.index, handle.index(), PARKED).index();
        }
        Ok(parked)
    }

    /// Puts parked capabilities into a table: all of them, or on an error none, and then `parked`
    /// is still whole. Ones revoked in the meantime arrive as [`Handle::INVALID`], as do the
    /// places after the last.
    ///
    /// On success `parked` is [`Parked::EMPTY`].
    ///
    /// # Errors
    /// [`CapError::BadTable`], [`CapError::TableFull`], [`CapError::OutOfMemory`].
    pub fn unpark(
        &mut self,
        parked: &mut Parked,
        dst: TableId,
    ) -> Result<[Handle; MOVE_MAX], CapError> {
        let live = (0..parked.len())
            .filter(|&at| self.parked(parked, at).is_some())
            .count();
        self.table_mut(dst)?.reserve(live as u32)?;
        let parked = core::mem::replace(parked, Parked::EMPTY);
        let mut moved = [Handle::INVALID; MOVE_MAX];
        for (moved, &slot) in moved.iter_mut().zip(parked.slots()) {
            if self.tables[PARKED as usize].occupant(slot).is_some() {
                *moved = self.relocate(PARKED, slot, dst.index);
            } else {
                self.tables[PARKED as usize].unpin(slot);
            }
        }
        Ok(moved)
    }

    /// Ends parked capabilities, as [`close`](Self::close) does.
    pub fn drop_parked(&mut self, parked: Parked, mut sink: impl FnMut(O)) {
        for &slot in parked.slots() {
            if let Some((entry, node)) = self.tables[PARKED as usize].occupant(slot) {
                let object = entry.object;
                self.forest.remove(node);
                sink(object);
            }
            self.tables[PARKED as usize].unpin(slot);
        }
    }

    /// The capability at position `at` of `parked`, unless it was revoked. O(1).
    pub fn parked(&self, parked: &Parked, at: usize) -> Option<&Entry<O>> {
        let &slot = parked.slots().get(at)?;
        Some(self.tables[PARKED as usize].occupant(slot)?.0)
    }
}
