//! The boot archive: a cpio "newc" archive in a memory object.

use alloc::string::String;
use alloc::vec::Vec;
use viper_rt::Error;
use viper_rt::handle::Memory;

const HEADER_BYTES: u64 = 110;
const NAME_MAX: u64 = 256;

/// A member of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where its bytes begin in the archive.
    pub offset: u64,
    /// How many it has.
    pub len_bytes: u64,
}

/// The archive with its index.
#[derive(Debug)]
pub struct Archive {
    memory: Memory,
    members: Vec<Member>,
}

impl Archive {
    /// Reads the index.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not such an archive, and those of reading the memory.
    pub fn open(memory: Memory) -> Result<Archive, Error> {
        let (size, _) = memory.size()?;
        let mut members = Vec::new();
        let mut at = 0u64;
        loop {
            let (member, next) = header(&memory, at, size)?;
            if member.name == "TRAILER!!!" {
                return Ok(Archive { memory, members });
            }
            members.push(member);
            at = next;
        }
    }

    /// The members, in their order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of this name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn find(&self, name: &str) -> Result<&Member, Error> {
        self.members
            .iter()
            .find(|m| m.name == name)
            .ok_or(Error::NotFound)
    }

    /// The memory it is in.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Reads from a member; as much as there is.
    ///
    /// # Errors
    /// Those of reading the memory.
    pub fn read(&self, member: &Member, offset: u64, to: &mut [u8]) -> Result<usize, Error> {
        let left = member.len_bytes.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(to.len());
        self.memory
            .read(member.offset + offset.min(member.len_bytes), &mut to[..len])?;
        Ok(len)
    }

    /// A member as text.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`] if it is not UTF-8 or longer than 1 MiB.
    pub fn text(&self, name: &str) -> Result<String, Error> {
        let member = self.find(name)?;
        if member.len_bytes > 1 << 20 {
            return Err(Error::Corrupt);
        }
        let mut bytes = alloc::vec![0; member.len_bytes as usize];
        self.read(member, 0, &mut bytes)?;
        String::from_utf8(bytes).map_err(|_| Error::Corrupt)
    }
}

fn header(memory: &Memory, at: u64, size: u64) -> Result<(Member, u64), Error> {
    if at.checked_add(HEADER_BYTES).is_none_or(|end| end > size) {
        return Err(Error::Corrupt);
    }
    let mut header = [0; HEADER_BYTES as usize];
    memory.read(at, &mut header)?;
    if &header[..6] != b"070701" {
        return Err(Error::Corrupt);
    }
    let (len_bytes, name_len) = (field(&header, 6)?, field(&header, 11)?);
    if name_len == 0 || name_len > NAME_MAX {
        return Err(Error::Corrupt);
    }
    let name_at = at + HEADER_BYTES;
    let offset = (name_at + name_len).next_multiple_of(4);
    let next = (offset + len_bytes).next_multiple_of(4);
    if offset + len_bytes > size {
        return Err(Error::Corrupt);
    }
    let mut name = alloc::vec![0; name_len as usize - 1];
    memory.read(name_at, &mut name)?;
    let name = String::from_utf8(name).map_err(|_| Error::Corrupt)?;
    let member = Member {
        name,
        offset,
        len_bytes,
    };
    Ok((member, next))
}

/// Field `index` of the header: eight hexadecimal digits each, behind the magic number.
fn field(header: &[u8; HEADER_BYTES as usize], index: usize) -> Result<u64, Error> {
    let digits = &header[6 + index * 8..14 + index * 8];
    let text = core::str::from_utf8(digits).map_err(|_| Error::Corrupt)?;
    u32::from_str_radix(text, 16)
        .map(u64::from)
        .map_err(|_| Error::Corrupt)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes an archive of these members.
    pub(crate) fn make(members: &[(&str, &[u8])]) -> Memory {
        let mut bytes = Vec::new();
        for (name, data) in members.iter().chain([&("TRAILER!!!", &[][..])]) {
            bytes.extend(b"070701");
            for index in 0..13 {
                let value = match index {
                    6 => data.len(),
                    11 => name.len() + 1,
                    _ => 0,
                };
                bytes.extend(format!("{value:08x}").bytes());
            }
            bytes.extend(name.bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let memory = Memory::new(bytes.len() as u64).unwrap();
        memory.write(0, &bytes).unwrap();
        memory
    }

    #[test]
    fn members_are_found() {
        let archive = Archive::open(make(&[("a", b"one"), ("bb", b""), ("c", b"12345")])).unwrap();
        assert_eq!(archive.members().len(), 3);
        assert_eq!(archive.text("a").unwrap(), "one");
        assert_eq!(archive.text("bb").unwrap(), "");
        let mut part = [0; 9];
        let c = archive.find("c").unwrap();
        assert_eq!(archive.read(c, 3, &mut part), Ok(2));
        assert_eq!(&part[..2], b"45");
        assert_eq!(archive.read(c, 30, &mut part), Ok(0));
        assert_eq!(archive.text("d"), Err(Error::NotFound));
    }

    #[test]
    fn damaged_archives_are_refused() {
        for at in 0..240u64 {
            let memory = make(&[("a", b"one"), ("bb", b"two")]);
            let mut byte = [0];
            memory.read(at, &mut byte).unwrap();
            memory.write(at, &[byte[0] ^ 0x41]).unwrap();
            let _ = Archive::open(memory).map(|a| a.text("a"));
        }
        assert!(Archive::open(Memory::new(4096).unwrap()).is_err());
    }
}
