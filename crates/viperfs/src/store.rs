//! Transactions over blocks: read, change, allocate, undo, commit.
//!
//! An *operation* is all or nothing in memory: the first change of a block saves a copy, and
//! [`Store::end`] puts the copies back when the operation fails for any reason. A
//! *transaction* is all or nothing on the device: it gathers the operations since the last commit
//! and the journal makes them durable together.

use crate::cache::{Cache, flag};
use crate::checksum::Crc32c;
use crate::device::{BLOCK_SIZE, BlockDevice};
use crate::error::Error;
use crate::layout::{
    Block, GROUP_BLOCKS, JOURNAL_START, MAGIC_NODE, MAGIC_STATE, STATE_BLOCK, StateBlock,
    Superblock, set_header, verify, view, view_mut, zeroed,
};
use crate::node;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use zerocopy::little_endian::U64;

/// Where things are on this volume.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    pub fsid: u64,
    pub total: u64,
    pub groups: u64,
    pub log_start: u64,
    pub log_len: u64,
    pub hash_seed: u64,
}

impl Geometry {
    /// From a superblock whose numbers have been validated.
    pub fn new(sb: &Superblock) -> Self {
        let total = sb.total_blocks.get();
        Self {
            fsid: sb.volume_fsid(),
            total,
            groups: total.div_ceil(GROUP_BLOCKS),
            log_start: sb.journal_start.get() + 2,
            log_len: sb.journal_blocks.get() - 2,
            hash_seed: sb.hash_seed.get(),
        }
    }

    /// First block after the journal: everything before it is fixed.
    pub fn first_free(&self) -> u64 {
        self.log_start + self.log_len
    }

    /// Whether a block may hold data or a tree node.
    pub fn allocatable(&self, block: u64) -> bool {
        (self.first_free()..self.total - 1).contains(&block) && !block.is_multiple_of(GROUP_BLOCKS)
    }

    /// Whether every block of a run may hold data or tree nodes.
    pub fn allocatable_run(&self, block: u64, len: u64) -> bool {
        len > 0
            && block.checked_add(len).is_some_and(|end| end <= self.total)
            && self.allocatable(block)
            && self.allocatable(block + len - 1)
            && block / GROUP_BLOCKS == (block + len - 1) / GROUP_BLOCKS
    }

    /// Whether a block's new contents may come from the log.
    pub fn loggable(&self, block: u64) -> bool {
        block < self.total - 1 && block != 0 && !(JOURNAL_START..self.first_free()).contains(&block)
    }
}

/// The mutable counters of the volume.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub next_ino: u64,
    pub free_blocks: u64,
    pub groups_ready: u64,
}

struct Saved {
    slot: u32,
    flags: u8,
    data: Box<Block>,
}

/// What undo needs besides the saved blocks.
#[derive(Clone, Copy)]
struct Mark {
    state: State,
    running: usize,
    freed: usize,
    freed_blocks: u64,
    freed_nodes: bool,
}

pub(crate) struct Store<D> {
    pub dev: D,
    pub crc: Crc32c,
    pub geo: Geometry,
    pub cache: Cache,
    pub state: State,
    /// Slots changed by the running transaction.
    pub running: Vec<u32>,
    /// Slots committed to the log and not yet at home.
    pub logged: Vec<u32>,
    /// Runs freed by the running transaction; their bits are cleared when it commits.
    pub freed: Vec<(u64, u64)>,
    pub freed_blocks: u64,
    pub freed_nodes: bool,
    /// Data was written since the last flush.
    pub unflushed: bool,
    pub group_free: Vec<u16>,
    /// Where the last allocation ended, the default goal of the next.
    pub goal: u64,
    /// Next free block of the log, relative to its start.
    pub log_head: u64,
    pub epoch: u64,
    pub seq: u64,
    /// Most blocks a transaction may hold.
    pub tx_limit: usize,
    pub read_only: bool,
    pub failed: bool,
    /// Apply what is intact of a damaged journal instead of refusing it.
    pub lenient: bool,
    /// Scratch for large requests.
    pub io: Vec<u8>,
    saved: Vec<Saved>,
    mark: Mark,
    pool: Vec<Box<Block>>,
    in_operation: bool,
}

/// Blocks in the scratch buffer, the largest device request.
pub(crate) const IO_BLOCKS: usize = 64;

impl<D: BlockDevice> Store<D> {
    pub fn new(dev: D, geo: Geometry, crc: Crc32c, cache_blocks: usize) -> Self {
        let log = geo.log_len as usize;
        let share = if log < 128 { log * 3 / 4 } else { log / 2 };
        let state = State {
            next_ino: 0,
            free_blocks: 0,
            groups_ready: 0,
        };
        Self {
            dev,
            crc,
            geo,
            cache: Cache::new(cache_blocks.max(MIN_CACHE)),
            state,
            running: Vec::new(),
            logged: Vec::new(),
            freed: Vec::new(),
            freed_blocks: 0,
            freed_nodes: false,
            unflushed: false,
            group_free: vec![u16::MAX; geo.groups as usize],
            goal: 0,
            log_head: 0,
            epoch: 0,
            seq: 1,
            tx_limit: share.min(cache_blocks.max(MIN_CACHE) / 4),
            read_only: true,
            failed: false,
            lenient: false,
            io: vec![0; IO_BLOCKS * BLOCK_SIZE],
            saved: Vec::new(),
            mark: Mark {
                state,
                running: 0,
                freed: 0,
                freed_blocks: 0,
                freed_nodes: false,
            },
            pool: Vec::new(),
            in_operation: false,
        }
    }

    /// Reads the counters; the journal must have been replayed.
    pub fn load_state(&mut self) -> Result<(), Error> {
        let at = self.load(STATE_BLOCK, MAGIC_STATE)?;
        let s: &StateBlock = view(&self.cache.slot(at).data);
        self.state = State {
            next_ino: s.next_ino.get(),
            free_blocks: s.free_blocks.get(),
            groups_ready: s.groups_ready.get(),
        };
        let ok = self.state.groups_ready >= 1
            && self.state.groups_ready <= self.geo.groups
            && self.state.free_blocks < self.geo.total
            && self.state.next_ino <= crate::layout::MAX_INO;
        if ok { Ok(()) } else { Err(Error::Corrupt) }
    }

    /// Puts the counters into their block, as part of the transaction.
    pub fn store_state(&mut self) -> Result<(), Error> {
        let at = self.load(STATE_BLOCK, MAGIC_STATE)?;
        let now = self.state;
        let s: &StateBlock = view(&self.cache.slot(at).data);
        if (s.next_ino.get(), s.free_blocks.get(), s.groups_ready.get())
            == (now.next_ino, now.free_blocks, now.groups_ready)
        {
            return Ok(());
        }
        let s: &mut StateBlock = view_mut(self.modify(at)?);
        s.next_ino = U64::new(now.next_ino);
        s.free_blocks = U64::new(now.free_blocks);
        s.groups_ready = U64::new(now.groups_ready);
        Ok(())
    }

    /// A metadata block by address, verified when it comes from the device.
    pub fn load(&mut self, block: u64, magic: u32) -> Result<u32, Error> {
        if let Some(at) = self.cache.find((0, block)) {
            return if crate::layout::header(&self.cache.slot(at).data).magic.get() == magic {
                Ok(at)
            } else {
                Err(Error::Corrupt)
            };
        }
        if block >= self.geo.total {
            return Err(Error::Corrupt);
        }
        let at = self.cache.claim((0, block));
        let data = &mut self.cache.slot_mut(at).data[..];
        let mut result = self.dev.read(block, data).map_err(Error::Device);
        if result.is_ok() {
            let data = &self.cache.slot(at).data;
            let good = verify(data, magic, block, self.geo.fsid, self.crc)
                && (magic != MAGIC_NODE || node::valid(data));
            result = if good { Ok(()) } else { Err(Error::Corrupt) };
        }
        if let Err(error) = result {
            self.cache.remove((0, block));
            return Err(error);
        }
        Ok(at)
    }

    /// The bytes of a cached metadata block, to be changed by the running transaction.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when the transaction is full: the operation is too large for the journal.
    pub fn modify(&mut self, at: u32) -> Result<&mut Block, Error> {
        let flags = self.cache.slot(at).flags;
        if flags & flag::RUNNING == 0 {
            // One block is kept back for the counters, which the commit itself may change.
            if self.running.len() + usize::from(self.in_operation) >= self.tx_limit {
                return Err(Error::NoSpace);
            }
            self.running.push(at);
        }
        if self.in_operation && flags & flag::SAVED == 0 {
            let mut copy = self.pool.pop().unwrap_or_else(zeroed);
            copy.copy_from_slice(&self.cache.slot(at).data[..]);
            self.saved.push(Saved {
                slot: at,
                flags,
                data: copy,
            });
            self.cache.slot_mut(at).flags |= flag::SAVED;
        }
        let slot = self.cache.slot_mut(at);
        slot.flags |= flag::RUNNING;
        Ok(&mut slot.data)
    }

    /// A cached, changeable slot for a metadata block whose old contents do not matter.
    pub fn fresh(&mut self, block: u64, magic: u32) -> Result<u32, Error> {
        let at = match self.cache.find((0, block)) {
            Some(at) => at,
            None => self.cache.claim((0, block)),
        };
        // The slot may hold what this block was in an earlier life; undo must not bring it back.
        if self.cache.slot(at).flags & flag::PINNED == 0 {
            self.cache.slot_mut(at).data.fill(0);
        }
        let fsid = self.geo.fsid;
        match self.modify(at) {
            Ok(data) => {
                data.fill(0);
                set_header(data, magic, block, fsid, 0);
                Ok(at)
            }
            Err(error) => {
                self.cache.remove((0, block));
                Err(error)
            }
        }
    }

    /// Starts an operation: from here to [`Self::end`] every change can be taken back.
    pub fn begin(&mut self) {
        debug_assert!(self.saved.is_empty());
        self.mark = Mark {
            state: self.state,
            running: self.running.len(),
            freed: self.freed.len(),
            freed_blocks: self.freed_blocks,
            freed_nodes: self.freed_nodes,
        };
        self.in_operation = true;
    }

    /// Ends an operation: keeps its changes, or puts the transaction back as it was.
    pub fn end(&mut self, keep: bool) {
        self.in_operation = false;
        if keep {
            self.keep();
        } else {
            self.undo();
        }
    }

    /// Blocks that the transaction can still take.
    pub fn room(&self) -> usize {
        self.tx_limit - self.running.len().min(self.tx_limit)
    }

    fn keep(&mut self) {
        while let Some(saved) = self.saved.pop() {
            self.cache.slot_mut(saved.slot).flags &= !flag::SAVED;
            self.recycle(saved.data);
        }
    }

    fn undo(&mut self) {
        let mark = self.mark;
        while let Some(mut saved) = self.saved.pop() {
            let slot = self.cache.slot_mut(saved.slot);
            core::mem::swap(&mut slot.data, &mut saved.data);
            slot.flags = saved.flags;
            // A block that this operation brought into being has no valid contents to go back to.
            if crate::layout::header(&slot.data).magic.get() == 0 {
                let key = slot.key;
                self.cache.remove(key);
            }
            self.recycle(saved.data);
        }
        if self.running.len() != mark.running || self.state != mark.state {
            // Counts are reread from the bitmaps when needed.
            self.group_free.fill(u16::MAX);
        }
        self.running.truncate(mark.running);
        self.freed.truncate(mark.freed);
        self.freed_nodes = mark.freed_nodes;
        self.freed_blocks = mark.freed_blocks;
        self.state = mark.state;
    }

    fn recycle(&mut self, data: Box<Block>) {
        if self.pool.len() < 32 {
            self.pool.push(data);
        }
    }

    /// Stops all writing: the device failed in a way that leaves its contents unknown.
    pub fn fail(&mut self, error: Error) -> Error {
        self.read_only = true;
        self.failed = true;
        error
    }

    /// Flushes the device; any failure makes the mount read-only.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.dev.flush().map_err(|e| self.fail(e.into()))?;
        self.unflushed = false;
        Ok(())
    }
}

/// The smallest cache that the bounds on pinned blocks allow, in blocks.
pub(crate) const MIN_CACHE: usize = 160;
