//! The derivation forest: which capability came from which, across all tables.
//!
//! The forest is written down as nested brackets, in one doubly linked circular list. A node owns
//! an opening and a closing bracket; its descendants are exactly the brackets between the two:
//!
//! ```text
//! world( a( b( ) c( d( ) ) ) e( ) )world        c is derived from a, d from c
//! ```
//!
//! There are no parent, child or depth fields to keep right, and every operation is O(1):
//! deriving puts `()` behind the parent's opening bracket; taking a node out removes its two
//! brackets, which by itself hands its children to its parent; the first descendant is whatever
//! follows the opening bracket. The links are indices into an arena, so the forest is bounded,
//! cheap to check and free of unsafe code. Node 0 is the world: roots are derived from it.

use alloc::vec::Vec;

use crate::CapError;

/// One node of the forest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct NodeId(u32);

/// Where the capability of a node is: a table and a slot in it, both as indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) table: u32,
    pub(crate) slot: u32,
}

#[derive(Debug)]
pub(crate) struct Forest {
    nodes: Vec<Node>,
    free_head: u32,
    free_count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The opening and the closing bracket.
    brackets: [Link; 2],
    /// For a free node, `table` is `FREE` and `slot` the next free node.
    place: Place,
}

/// Neighbours of a bracket. A bracket is named `node << 1`, or `node << 1 | 1` if it closes.
#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

impl NodeId {
    /// The node of which every root is a child. It has no place.
    pub(crate) const WORLD: Self = Self(0);

    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    pub(crate) const fn raw(self) -> u32 {
        self.0
    }

    const fn opening(self) -> u32 {
        self.0 << 1
    }

    const fn closing(self) -> u32 {
        self.0 << 1 | 1
    }
}

impl Forest {
    pub(crate) fn new() -> Result<Self, CapError> {
        let mut nodes = Vec::new();
        nodes
            .try_reserve(NODES_AT_FIRST)
            .map_err(|_| CapError::OutOfMemory)?;
        let (open, close) = (NodeId::WORLD.opening(), NodeId::WORLD.closing());
        nodes.push(Node {
            brackets: [
                Link {
                    prev: close,
                    next: close,
                },
                Link {
                    prev: open,
                    next: open,
                },
            ],
            place: NOWHERE,
        });
        Ok(Self {
            nodes,
            free_head: NIL,
            free_count: 0,
        })
    }

    /// Makes sure that the next `count` calls of `insert_under` do not allocate.
    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), CapError> {
        let fresh = count.saturating_sub(self.free_count as usize);
        if self.nodes.capacity() - self.nodes.len() >= fresh {
            return Ok(());
        }
        if self.nodes.len().saturating_add(fresh) > NODES_MAX {
            return Err(CapError::OutOfMemory);
        }
        self.nodes
            .try_reserve(fresh)
            .map_err(|_| CapError::OutOfMemory)
    }

    /// A new first child of `parent`. The caller has reserved room for it.
    pub(crate) fn insert_under(&mut self, parent: NodeId, place: Place) -> NodeId {
        let id = self.claim(place);
        let (open, close) = (id.opening(), id.closing());
        let prev = parent.opening();
        let next = self.link(prev).next;
        self.node_mut(id.0).brackets = [Link { prev, next: close }, Link { prev: open, next }];
        self.link_mut(prev).next = open;
        self.link_mut(next).prev = close;
        id
    }

    /// Takes a node out; its children become children of its parent.
    pub(crate) fn remove(&mut self, id: NodeId) -> Place {
        let Node {
            brackets: [open, close],
            place,
        } = *self.node_mut(id.0);
        if open.next == id.closing() {
            self.join(open.prev, close.next);
        } else {
            self.join(open.prev, open.next);
            self.join(close.prev, close.next);
        }
        self.free(id);
        place
    }

    /// Takes out up to `max` descendants of a node, each before its own descendants. Gives their
    /// places to `each`; says how many there were and whether all are out. O(max).
    ///
    /// What follows the opening bracket goes first, so the gap behind it grows and is closed once
    /// at the end. Depth costs nothing: the children of what went are then what comes next.
    pub(crate) fn sweep(
        &mut self,
        id: NodeId,
        max: usize,
        mut each: impl FnMut(Place),
    ) -> (usize, bool) {
        let mut next = self.link(id.opening()).next;
        let mut count = 0;
        while next != id.closing() && count < max {
            let child = NodeId(next >> 1);
            let Node {
                brackets: [open, close],
                place,
            } = *self.node_mut(child.0);
            if open.next == child.closing() {
                next = close.next;
            } else {
                self.join(close.prev, close.next);
                next = open.next;
            }
            self.free(child);
            each(place);
            count += 1;
        }
        self.join(id.opening(), next);
        (count, next == id.closing())
    }

    /// The youngest child, if there is one.
    #[inline]
    pub(crate) fn first_child(&self, id: NodeId) -> Option<NodeId> {
        let next = self.link(id.opening()).next;
        // What follows an opening bracket is its own closing one or the opening one of a child.
        (next != id.closing()).then_some(NodeId(next >> 1))
    }

    pub(crate) fn set_place(&mut self, id: NodeId, place: Place) {
        self.node_mut(id.0).place = place;
    }

    /// Nodes in use, the world not counted.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - 1 - self.free_count as usize
    }

    /// Walks the whole list: calls `visit(depth, place)` for each node, roots at depth 1, parents
    /// before children. Says whether the brackets nest, count and link up.
    pub(crate) fn walk(&self, mut visit: impl FnMut(usize, NodeId, Place)) -> bool {
        let mut stack: Vec<u32> = Vec::new();
        let mut at = NodeId::WORLD.opening();
        for _ in 0..=self.len() * 2 {
            let next = self.link(at).next;
            if self.link(next).prev != at {
                return false;
            }
            at = next;
            if at == NodeId::WORLD.closing() {
                return stack.is_empty() && self.link(at).next == NodeId::WORLD.opening();
            } else if at & 1 == 0 {
                if stack.try_reserve(1).is_err() {
                    return false;
                }
                stack.push(at >> 1);
                let id = NodeId(at >> 1);
                visit(stack.len(), id, self.nodes[id.0 as usize].place);
            } else if stack.pop() != Some(at >> 1) {
                return false;
            }
        }
        false
    }

    fn claim(&mut self, place: Place) -> NodeId {
        let index = self.free_head;
        if index == NIL {
            let blank = Link {
                prev: NIL,
                next: NIL,
            };
            self.nodes.push(Node {
                brackets: [blank; 2],
                place,
            });
            return NodeId(self.nodes.len() as u32 - 1);
        }
        let node = self.node_mut(index);
        let next_free = node.place.slot;
        node.place = place;
        self.free_head = next_free;
        self.free_count -= 1;
        NodeId(index)
    }

    fn free(&mut self, id: NodeId) {
        let slot = self.free_head;
        self.node_mut(id.0).place = Place { table: FREE, slot };
        self.free_head = id.0;
        self.free_count += 1;
    }

    /// Makes two brackets neighbours.
    #[inline]
    fn join(&mut self, prev: u32, next: u32) {
        self.link_mut(prev).next = next;
        self.link_mut(next).prev = prev;
    }

    // Every index in the arena and in the slots of the tables comes from `claim`, and nodes are
    // never dropped from the arena: the three functions below cannot be out of bounds.

    #[inline]
    fn link(&self, bracket: u32) -> Link {
        self.nodes[(bracket >> 1) as usize].brackets[(bracket & 1) as usize]
    }

    #[inline]
    fn link_mut(&mut self, bracket: u32) -> &mut Link {
        &mut self.nodes[(bracket >> 1) as usize].brackets[(bracket & 1) as usize]
    }

    #[inline]
    fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }
}

const NIL: u32 = u32::MAX;
const FREE: u32 = u32::MAX;
const NOWHERE: Place = Place {
    table: NIL,
    slot: NIL,
};
const NODES_AT_FIRST: usize = 16;
/// Bracket names have one bit less than a `u32`.
const NODES_MAX: usize = 1 << 30;
