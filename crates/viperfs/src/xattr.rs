//! Extended attributes: small named values on any inode.

use crate::device::BlockDevice;
use crate::dir::name_hash;
use crate::error::Error;
use crate::fs::Fs;
use crate::layout::{Key, MAX_NAME, MAX_XATTR_VALUE, XattrHead, kind};
use alloc::vec::Vec;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

/// What [`Fs::set_xattr`] does when the name is or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum XattrMode {
    /// Set it either way.
    Set,
    /// Fail with [`Error::Exists`] when it is there.
    Create,
    /// Fail with [`Error::NoAttribute`] when it is not.
    Replace,
}

const COLLISIONS: u64 = 256;

/// Name and value of an attribute item; `None` when its shape is wrong.
pub(crate) fn parse_xattr(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = XattrHead::ref_from_prefix(value).ok()?;
    let (name_len, value_len) = (head.name_len as usize, head.value_len.get() as usize);
    let good = rest.len() == name_len + value_len && name_len > 0 && value_len <= MAX_XATTR_VALUE;
    good.then(|| rest.split_at(name_len))
}

/// An attribute item.
pub(crate) fn encode(name: &[u8], value: &[u8]) -> Vec<u8> {
    let head = XattrHead {
        name_len: name.len() as u8,
        reserved: 0,
        value_len: U16::new(value.len() as u16),
    };
    let mut item = Vec::with_capacity(size_of::<XattrHead>() + name.len() + value.len());
    item.extend_from_slice(head.as_bytes());
    item.extend_from_slice(name);
    item.extend_from_slice(value);
    item
}

fn check(name: &[u8]) -> Result<(), Error> {
    if name.len() > MAX_NAME {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name.contains(&0) {
        Err(Error::InvalidName)
    } else {
        Ok(())
    }
}

impl<D: BlockDevice> Fs<D> {
    /// The value of an attribute.
    ///
    /// # Errors
    /// [`Error::NoAttribute`].
    pub fn xattr(&mut self, ino: u64, name: &[u8]) -> Result<Vec<u8>, Error> {
        check(name)?;
        self.inode(ino)?;
        let (key, _) = self.find_xattr(ino, name)?;
        let key = key.ok_or(Error::NoAttribute)?;
        let value = self
            .store
            .get(key, |item| parse_xattr(item).map(|x| x.1.to_vec()))?;
        value.flatten().ok_or(Error::Corrupt)
    }

    /// Sets an attribute; values have at most [`MAX_XATTR_VALUE`] bytes.
    ///
    /// # Errors
    /// [`Error::AttributeTooLarge`], [`Error::Exists`], [`Error::NoAttribute`],
    /// [`Error::NoSpace`].
    pub fn set_xattr(
        &mut self,
        ino: u64,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        now_ns: i64,
    ) -> Result<(), Error> {
        check(name)?;
        if value.len() > MAX_XATTR_VALUE {
            return Err(Error::AttributeTooLarge);
        }
        self.writable()?;
        self.require(0)?;
        let item = encode(name, value);
        self.mutate(|fs| {
            let mut inode = fs.inode(ino)?;
            let (found, free) = fs.find_xattr(ino, name)?;
            match (found, mode) {
                (Some(_), XattrMode::Create) => return Err(Error::Exists),
                (None, XattrMode::Replace) => return Err(Error::NoAttribute),
                (Some(key), _) => fs.store.update(key, &item)?,
                (None, _) => fs.store.insert(free.ok_or(Error::NoSpace)?, &item)?,
            }
            inode.attr.ctime_ns = now_ns;
            fs.put_inode(inode)
        })
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// [`Error::NoAttribute`].
    pub fn remove_xattr(&mut self, ino: u64, name: &[u8], now_ns: i64) -> Result<(), Error> {
        check(name)?;
        self.mutate(|fs| {
            let mut inode = fs.inode(ino)?;
            let key = fs.find_xattr(ino, name)?.0.ok_or(Error::NoAttribute)?;
            fs.store.remove(key)?;
            inode.attr.ctime_ns = now_ns;
            fs.put_inode(inode)
        })
    }

    /// Shows the name of each attribute to `each`, until it returns `false`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn list_xattrs(
        &mut self,
        ino: u64,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Error> {
        self.inode(ino)?;
        let first = Key::new(ino, kind::XATTR, 0);
        let mut intact = true;
        self.store.scan(first, |key, item| {
            if !key.same_object(first) {
                return false;
            }
            let name = parse_xattr(item).map(|x| x.0);
            intact &= name.is_some();
            name.is_some_and(&mut each)
        })?;
        if intact { Ok(()) } else { Err(Error::Corrupt) }
    }

    /// The key of an attribute if it exists, else a key that is free for it.
    fn find_xattr(&mut self, ino: u64, name: &[u8]) -> Result<(Option<Key>, Option<Key>), Error> {
        let hash = name_hash(self.store.geo.hash_seed, name);
        let first = Key::new(ino, kind::XATTR, hash);
        let (mut free, mut found, mut intact) = (hash, None, true);
        self.store.scan(first, |key, item| {
            if !key.same_object(first) || key.offset() >= hash + COLLISIONS {
                return false;
            }
            free += u64::from(key.offset() == free);
            match parse_xattr(item) {
                None => intact = false,
                Some((n, _)) if n == name => found = Some(key),
                Some(_) => return true,
            }
            false
        })?;
        if !intact {
            return Err(Error::Corrupt);
        }
        let room = free < hash + COLLISIONS;
        Ok((found, room.then(|| Key::new(ino, kind::XATTR, free))))
    }
}
