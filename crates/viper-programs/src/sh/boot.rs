//! The boot archive as a read-only file system with one directory.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::names::Client;
use viper_rt::Error;
use viper_rt::handle::Memory;

/// Members that were opened, as memory.
#[derive(Debug, Default)]
pub(super) struct BootFiles {
    members: BTreeMap<String, (u64, Memory)>,
}

/// A path in the archive: `/name`, or `/c/name` as programs are looked for in `C:`.
pub(super) fn member_of(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_prefix("c/").unwrap_or(path)
}

impl BootFiles {
    /// A member's length and memory.
    pub(super) fn member(&mut self, names: &Client, name: &str) -> Result<&(u64, Memory), Error> {
        if !self.members.contains_key(name) {
            let member = names.boot_memory(name.as_bytes())?;
            self.members.insert(name.into(), member);
        }
        self.members.get(name).ok_or(Error::NotFound)
    }

    /// Length of a member, without fetching it.
    pub(super) fn length(&self, names: &Client, name: &str) -> Result<u64, Error> {
        names
            .boot_file(name.as_bytes(), u64::MAX)
            .map(|(len, _)| len)
    }

    pub(super) fn read(
        &mut self,
        names: &Client,
        name: &str,
        offset: u64,
        to: &mut [u8],
    ) -> Result<usize, Error> {
        let (len, memory) = self.member(names, name)?;
        let left = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(to.len()).min(1 << 20);
        let part = &mut to[..count];
        memory.read(offset, part)?;
        Ok(part.len())
    }

    pub(super) fn read_all(&mut self, names: &Client, name: &str) -> Result<Vec<u8>, Error> {
        let len = self.member(names, name)?.0;
        let len = usize::try_from(len.min(1 << 24)).map_err(|_| Error::FileTooLarge)?;
        let mut bytes = alloc::vec![0; len];
        let mut done = 0;
        while done < len {
            done += self.read(names, name, done as u64, &mut bytes[done..])?;
        }
        Ok(bytes)
    }

    /// The names of the members with their lengths.
    pub(super) fn list(&self, names: &Client) -> Result<Vec<(String, u64)>, Error> {
        let mut list = Vec::new();
        for index in 0.. {
            match names.boot_at(index) {
                Ok((len, name)) => list.push((name.as_str()?.into(), len)),
                Err(Error::NotFound) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }
}
