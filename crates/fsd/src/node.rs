//! Numbers of files over all volumes.

use viperfs::ROOT_INO;

/// Volumes there may be.
pub(crate) const VOLUMES_MAX: usize = 8;
const INODE_BITS: u32 = 56;

/// A file: its volume and its inode there, in a number that is the inode on the first volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(u64);

impl Node {
    /// The root of everything.
    pub(crate) const ROOT: Node = Node(ROOT_INO);

    #[inline]
    pub(crate) const fn new(volume: u32, inode: u64) -> Node {
        Node((volume as u64) << INODE_BITS | inode)
    }

    /// The root of a volume.
    pub(crate) const fn root(volume: u32) -> Node {
        Node::new(volume, ROOT_INO)
    }

    #[inline]
    pub(crate) const fn volume(self) -> u32 {
        (self.0 >> INODE_BITS) as u32
    }

    #[inline]
    pub(crate) const fn inode(self) -> u64 {
        self.0 & ((1 << INODE_BITS) - 1)
    }

    /// What tells it from all others.
    #[inline]
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// Another file of the same volume.
    #[inline]
    pub(crate) const fn beside(self, inode: u64) -> Node {
        Node::new(self.volume(), inode)
    }
}

// Inodes have room below the volume's number.
const _: () = assert!(VOLUMES_MAX <= 1 << (64 - INODE_BITS));
