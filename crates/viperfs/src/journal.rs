//! The redo log: whole metadata blocks, written twice, once here and once at home.
//!
//! A transaction in the log is its descriptors, which name each block and its checksum, and then
//! the blocks. It counts when every one of them is intact: no separate commit record, no flush
//! between the two. The log starts over at its beginning after every checkpoint.

use crate::cache::flag;
use crate::device::{BLOCK_SIZE, BlockDevice};
use crate::error::Error;
use crate::layout::{
    Block, DescriptorHead, JournalHeader, LOG_ENTRIES, LogEntry, MAGIC_DESCRIPTOR, MAGIC_JOURNAL,
    MAGIC_NODE, PAYLOAD, header, seal, set_header, verify, view, view_mut, zeroed,
};
use crate::node;
use crate::store::{IO_BLOCKS, Store};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// Where the journal's numbers start over from 1. No honest volume gets here.
const RESTART: u64 = 1 << 62;

/// Descriptors that a transaction of `blocks` blocks needs.
fn descriptors(blocks: usize) -> usize {
    blocks.div_ceil(LOG_ENTRIES)
}

/// What replay found.
pub(crate) struct Replayed {
    /// Committed transactions that were still in the log.
    pub transactions: u64,
}

impl<D: BlockDevice> Store<D> {
    /// Makes the running transaction durable. A no-op when nothing changed since the last one.
    ///
    /// # Errors
    /// Any error makes the mount read-only; the device holds the last committed state.
    pub fn commit(&mut self) -> Result<(), Error> {
        if self.running.is_empty() && self.freed.is_empty() {
            return if self.unflushed { self.flush() } else { Ok(()) };
        }
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.commit_running().map_err(|e| self.fail(e))
    }

    fn commit_running(&mut self) -> Result<(), Error> {
        self.apply_freed()?;
        self.store_state()?;
        // Data first: the log must not point to what could still be lost.
        if self.unflushed {
            self.flush()?;
        }
        let cache = &self.cache;
        self.running.sort_unstable_by_key(|&at| cache.slot(at).key);
        let written = self.write_log()?;
        self.flush()?;
        // Only now: what failed is written again, to the same place with the same number.
        self.log_head += written;
        self.seq += 1;
        for &at in &self.running {
            let slot = self.cache.slot_mut(at);
            slot.flags &= !flag::RUNNING;
            if slot.flags & flag::LOGGED == 0 {
                slot.flags |= flag::LOGGED;
                self.logged.push(at);
            }
        }
        self.running.clear();
        let room = self.tx_limit + descriptors(self.tx_limit);
        let full = self.geo.log_len - self.log_head < room as u64;
        // A freed tree block must not be reused while the log could still write to it.
        if full || self.freed_nodes || self.logged.len() > self.cache.capacity() / 4 {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Writes the running transaction behind the log's end. Returns its length in blocks.
    fn write_log(&mut self) -> Result<u64, Error> {
        let total = self.running.len();
        let count = descriptors(total);
        let (fsid, seq, crc) = (self.geo.fsid, self.seq, self.crc);
        let start = self.geo.log_start + self.log_head;
        let mut sums = Vec::with_capacity(total);
        for i in 0..total {
            let slot = self.cache.slot_mut(self.running[i]);
            let (magic, block) = (header(&slot.data).magic.get(), slot.key.1);
            set_header(&mut slot.data, magic, block, fsid, seq);
            let sum = seal(&mut slot.data, crc);
            sums.push(LogEntry {
                block: U64::new(block),
                crc: U32::new(sum),
                reserved: U32::new(0),
            });
        }
        let mut all = Vec::with_capacity(count + total);
        for (index, chunk) in sums.chunks(LOG_ENTRIES).enumerate() {
            let mut descriptor = zeroed();
            let block = start + index as u64;
            set_header(&mut descriptor, MAGIC_DESCRIPTOR, block, fsid, seq);
            let head: &mut DescriptorHead = view_mut(&mut descriptor);
            head.total = U32::new(total as u32);
            head.index = U32::new(index as u32);
            let bytes = chunk.as_bytes();
            descriptor[PAYLOAD..PAYLOAD + bytes.len()].copy_from_slice(bytes);
            seal(&mut descriptor, crc);
            all.push(descriptor);
        }
        let cache = &self.cache;
        let descriptors = all.iter().map(|block| &**block);
        let logged = self.running.iter().map(|&at| &*cache.slot(at).data);
        let all: Vec<&Block> = descriptors.chain(logged).collect();
        write_run(&mut self.dev, &mut self.io, start, &all)?;
        Ok((count + total) as u64)
    }

    /// Writes everything committed to its home and empties the log.
    ///
    /// Only right after a commit: the running transaction must be empty.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        if self.logged.is_empty() && self.log_head == 0 {
            self.freed_nodes = false;
            return Ok(());
        }
        self.write_home()?;
        self.flush()?;
        self.reset_log(self.seq)?;
        self.freed_nodes = false;
        Ok(())
    }

    /// Starts the log over; both header copies alternate, so one is always intact.
    fn reset_log(&mut self, start_seq: u64) -> Result<(), Error> {
        if self.epoch.max(start_seq) >= RESTART {
            return self.clear_journal();
        }
        // A header that failed is written again to the same place: the other one is intact.
        self.write_journal_header(self.epoch + 1, start_seq)?;
        self.flush()?;
        self.epoch += 1;
        self.log_head = 0;
        self.seq = start_seq;
        Ok(())
    }

    /// Makes the journal anew and empty, whatever it held.
    pub fn clear_journal(&mut self) -> Result<(), Error> {
        let zero = zeroed();
        for position in 0..self.geo.log_len {
            self.dev.write(self.geo.log_start + position, &zero[..])?;
        }
        for epoch in 0..2 {
            self.write_journal_header(epoch, 1)?;
        }
        (self.epoch, self.seq, self.log_head) = (1, 1, 0);
        self.flush()
    }

    fn write_journal_header(&mut self, epoch: u64, start_seq: u64) -> Result<(), Error> {
        let block = self.geo.log_start - 2 + epoch % 2;
        let data = journal_header(block, self.geo.fsid, epoch, start_seq, self.crc);
        self.dev.write(block, &data[..])?;
        Ok(())
    }

    fn write_home(&mut self) -> Result<(), Error> {
        let mut list = core::mem::take(&mut self.logged);
        list.sort_unstable_by_key(|&at| self.cache.slot(at).key);
        if let Err(error) = self.write_blocks_home(&list) {
            self.logged = list;
            return Err(error);
        }
        for at in list {
            self.cache.slot_mut(at).flags &= !flag::LOGGED;
        }
        Ok(())
    }

    fn write_blocks_home(&mut self, list: &[u32]) -> Result<(), Error> {
        let slots = |run: &[u32]| -> Vec<&Block> {
            run.iter().map(|&at| &*self.cache.slot(at).data).collect()
        };
        let home = |at: u32| self.cache.slot(at).key.1;
        for run in list.chunk_by(|&a, &b| home(a) + 1 == home(b)) {
            write_run(&mut self.dev, &mut self.io, home(run[0]), &slots(run))?;
        }
        Ok(())
    }

    /// Finds the committed transactions in the log and applies them: to the device when `write`,
    /// else to the cache only.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when no header is intact or a committed transaction is damaged.
    pub fn replay(&mut self, write: bool) -> Result<Replayed, Error> {
        let (epoch, start_seq) = self.read_journal_headers()?;
        (self.epoch, self.seq) = (epoch, start_seq);
        let mut latest = BTreeMap::new();
        let mut at = 0;
        while let Some(entries) = self.read_transaction(at, self.seq)? {
            at += descriptors(entries.len()) as u64;
            for entry in entries {
                latest.insert(entry.block.get(), at);
                at += 1;
            }
            self.seq += 1;
        }
        let transactions = self.seq - start_seq;
        if !self.lenient {
            self.find_lost(at)?;
        }
        for (&block, &position) in &latest {
            self.apply(block, position)?;
            if write && self.logged.len() >= self.cache.capacity() / 4 {
                self.write_home()?;
            }
        }
        self.log_head = at;
        // Leave a gap, so that no sequence number that may be in the log is used again.
        self.seq += 1;
        if write {
            self.write_home()?;
            if at > 0 {
                self.flush()?;
            }
            self.reset_log(self.seq)?;
        }
        Ok(Replayed { transactions })
    }

    fn read_journal_headers(&mut self) -> Result<(u64, u64), Error> {
        let mut best = None;
        let mut data = zeroed();
        for block in self.geo.log_start - 2..self.geo.log_start {
            self.dev.read(block, &mut data[..])?;
            if verify(&data, MAGIC_JOURNAL, block, self.geo.fsid, self.crc) {
                let h: &JournalHeader = view(&data);
                best = best.max(Some((h.epoch.get(), h.start_seq.get())));
            }
        }
        // The numbers count up from 1 and start over long before this.
        best.filter(|&(epoch, seq)| epoch < u64::MAX / 2 && seq < u64::MAX / 2)
            .ok_or(Error::Corrupt)
    }

    /// The entries of the transaction at `at` if it is complete and has this number.
    fn read_transaction(&mut self, at: u64, seq: u64) -> Result<Option<Vec<LogEntry>>, Error> {
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut data = zeroed();
        loop {
            let index = entries.len() / LOG_ENTRIES;
            let position = at + index as u64;
            if position >= self.geo.log_len {
                return Ok(None);
            }
            let block = self.geo.log_start + position;
            self.dev.read(block, &mut data[..])?;
            if !verify(&data, MAGIC_DESCRIPTOR, block, self.geo.fsid, self.crc) {
                return Ok(None);
            }
            let head: &DescriptorHead = view(&data);
            let total = head.total.get() as usize;
            let end = at + descriptors(total) as u64 + total as u64;
            if header(&data).seq.get() != seq
                || head.index.get() as usize != index
                || total <= entries.len()
                || end > self.geo.log_len
            {
                return Ok(None);
            }
            let n = (total - entries.len()).min(LOG_ENTRIES);
            let bytes = &data[PAYLOAD..PAYLOAD + n * size_of::<LogEntry>()];
            let chunk = <[LogEntry]>::ref_from_bytes(bytes).map_err(|_| Error::Bug)?;
            entries.extend_from_slice(chunk);
            if entries.len() == total {
                break;
            }
        }
        let first = at + descriptors(entries.len()) as u64;
        for (i, entry) in entries.iter().enumerate() {
            let block = self.geo.log_start + first + i as u64;
            self.dev.read(block, &mut data[..])?;
            let sum = self.crc.of(&data[4..]);
            let home = entry.block.get();
            if sum != entry.crc.get() || header(&data).crc.get() != sum {
                return Ok(None);
            }
            if !self.geo.loggable(home) || header(&data).block.get() != home {
                return Err(Error::Corrupt);
            }
        }
        Ok(Some(entries))
    }

    /// Looks for a complete transaction behind the point where replay stopped.
    ///
    /// Each commit is flushed before the next begins, so one that is complete proves that the one
    /// replay missed was durable once and has been damaged since.
    fn find_lost(&mut self, from: u64) -> Result<(), Error> {
        let expected = self.seq;
        let mut io = core::mem::take(&mut self.io);
        let mut suspects = Vec::new();
        let mut result = Ok(());
        let mut at = from;
        while at < self.geo.log_len && result.is_ok() {
            let n = (self.geo.log_len - at).min(IO_BLOCKS as u64) as usize;
            let buf = &mut io[..n * BLOCK_SIZE];
            result = self
                .dev
                .read(self.geo.log_start + at, buf)
                .map_err(Error::Device);
            for (i, data) in buf.as_chunks::<BLOCK_SIZE>().0.iter().enumerate() {
                let position = at + i as u64;
                let seq = header(data).seq.get();
                let block = self.geo.log_start + position;
                if seq > expected && verify(data, MAGIC_DESCRIPTOR, block, self.geo.fsid, self.crc)
                {
                    suspects.push((position, seq));
                }
            }
            at += n as u64;
        }
        self.io = io;
        result?;
        for (position, seq) in suspects.into_iter().take(2) {
            if self.read_transaction(position, seq)?.is_some() {
                return Err(Error::Corrupt);
            }
        }
        Ok(())
    }

    /// Puts a logged block into the cache, newer than its home.
    fn apply(&mut self, block: u64, position: u64) -> Result<(), Error> {
        let at = match self.cache.find((0, block)) {
            Some(at) => at,
            None => self.cache.claim((0, block)),
        };
        let data = &mut self.cache.slot_mut(at).data;
        let mut good = self
            .dev
            .read(self.geo.log_start + position, &mut data[..])
            .is_ok();
        if good {
            let magic = header(data).magic.get();
            good = verify(data, magic, block, self.geo.fsid, self.crc)
                && (magic != MAGIC_NODE || node::valid(data));
        }
        if !good {
            self.cache.remove((0, block));
            return Err(Error::Corrupt);
        }
        self.cache.slot_mut(at).flags |= flag::LOGGED;
        self.logged.push(at);
        Ok(())
    }
}

/// A journal header block.
pub(crate) fn journal_header(
    block: u64,
    fsid: u64,
    epoch: u64,
    start_seq: u64,
    crc: crate::checksum::Crc32c,
) -> alloc::boxed::Box<Block> {
    let mut data = zeroed();
    set_header(&mut data, MAGIC_JOURNAL, block, fsid, start_seq);
    let h: &mut JournalHeader = view_mut(&mut data);
    h.start_seq = U64::new(start_seq);
    h.epoch = U64::new(epoch);
    seal(&mut data, crc);
    data
}

/// Writes consecutive blocks, in requests as large as the scratch buffer is.
fn write_run<D: BlockDevice>(
    dev: &mut D,
    scratch: &mut [u8],
    at: u64,
    blocks: &[&Block],
) -> Result<(), Error> {
    for (n, part) in blocks.chunks(IO_BLOCKS).enumerate() {
        let scratch = &mut scratch[..part.len() * BLOCK_SIZE];
        dev.write_with(at + (n * IO_BLOCKS) as u64, scratch, &mut |copy| {
            part.iter()
                .enumerate()
                .for_each(|(n, block)| copy(n, block));
        })?;
    }
    Ok(())
}
