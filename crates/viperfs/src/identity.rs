//! What a volume is called, and what its format may hold: changes of the superblock.
//!
//! The superblock is in no transaction. Its copy at the end is written and flushed first, so one
//! of the two is intact whenever power fails; until both are written the change may be undone.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::format::write_superblocks;
use crate::fs::Fs;
use crate::layout::{FEATURE_STORED_FSID, FEATURE_UNWRITTEN, Superblock};
use zerocopy::little_endian::U64;

impl<D: BlockDevice> Fs<D> {
    /// Gives the volume another name, at most 64 bytes without a zero byte. Durable on return.
    ///
    /// # Errors
    /// [`Error::NameTooLong`], [`Error::InvalidName`], or any device error.
    pub fn set_label(&mut self, label: &str) -> Result<(), Error> {
        if label.len() > 64 {
            return Err(Error::NameTooLong);
        }
        if label.contains('\0') {
            return Err(Error::InvalidName);
        }
        self.change_superblock(|sb| {
            sb.label = [0; 64];
            sb.label[..label.len()].copy_from_slice(label.as_bytes());
        })
    }

    /// Gives the volume another identity. Durable on return.
    ///
    /// Metadata blocks keep the tag they were made with, so this needs the superblock only; code
    /// of format 1.0 refuses the volume from then on.
    ///
    /// # Errors
    /// Any device error.
    pub fn set_uuid(&mut self, uuid: [u8; 16]) -> Result<(), Error> {
        let fsid = self.store.geo.fsid;
        self.change_superblock(|sb| {
            sb.fsid = U64::new(fsid);
            sb.incompat = U64::new(sb.incompat.get() | FEATURE_STORED_FSID);
            sb.uuid = uuid;
        })
    }

    /// Lets a volume of an older format hold all that this code can write. Durable on return;
    /// older code then refuses the volume.
    ///
    /// # Errors
    /// Any device error.
    pub fn upgrade(&mut self) -> Result<(), Error> {
        self.change_superblock(|sb| {
            sb.incompat = U64::new(sb.incompat.get() | FEATURE_UNWRITTEN);
        })
    }

    fn change_superblock(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<(), Error> {
        self.writable()?;
        let mut sb = self.sb;
        change(&mut sb);
        if crate::superblock::same(&sb, &self.sb) {
            return Ok(());
        }
        write_superblocks(&mut self.store.dev, &sb).map_err(|e| self.store.fail(e))?;
        self.sb = sb;
        Ok(())
    }
}
