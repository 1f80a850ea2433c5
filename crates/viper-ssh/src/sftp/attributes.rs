//! What is told about files (section 5), and the status codes (section 7).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::BitOr;

use crate::Error;
use crate::request::lossy;
use crate::wire::{Put, Reader};

const HAS_SIZE: u32 = 1;
const HAS_OWNER: u32 = 2;
const HAS_PERMISSIONS: u32 = 4;
const HAS_TIMES: u32 = 8;
const HAS_EXTENDED: u32 = 0x8000_0000;
const EXTENDED_MAX: u32 = 32;

/// The attributes of a file; each may be unknown, or be left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Length in bytes.
    pub size: Option<u64>,
    /// User and group, as numbers.
    pub owner: Option<(u32, u32)>,
    /// POSIX mode: kind of file and permissions.
    pub permissions: Option<u32>,
    /// Last access and last change, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A plain file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Something else.
    Other,
}

impl Attributes {
    /// What the mode says of the kind, if it is there.
    pub fn kind(&self) -> Option<FileKind> {
        self.permissions.map(|mode| match mode & 0o170_000 {
            0o100_000 => FileKind::File,
            0o040_000 => FileKind::Directory,
            0o120_000 => FileKind::Symlink,
            _ => FileKind::Other,
        })
    }

    pub(super) fn parse(body: &mut Reader<'_>) -> Result<Self, Error> {
        let flags = body.u32()?;
        let has = |flag: u32| flags & flag != 0;
        let attributes = Attributes {
            size: if has(HAS_SIZE) {
                Some(body.u64()?)
            } else {
                None
            },
            owner: if has(HAS_OWNER) {
                Some((body.u32()?, body.u32()?))
            } else {
                None
            },
            permissions: if has(HAS_PERMISSIONS) {
                Some(body.u32()?)
            } else {
                None
            },
            times: if has(HAS_TIMES) {
                Some((body.u32()?, body.u32()?))
            } else {
                None
            },
        };
        if has(HAS_EXTENDED) {
            let count = body.u32()?;
            if count > EXTENDED_MAX {
                return Err(Error::LimitExceeded);
            }
            for _ in 0..count {
                body.string()?;
                body.string()?;
            }
        }
        Ok(attributes)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let flags = [
            (self.size.is_some(), HAS_SIZE),
            (self.owner.is_some(), HAS_OWNER),
            (self.permissions.is_some(), HAS_PERMISSIONS),
            (self.times.is_some(), HAS_TIMES),
        ];
        out.put_u32(
            flags
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, flag)| flag)
                .sum(),
        );
        if let Some(size) = self.size {
            out.put_u64(size);
        }
        if let Some((user, group)) = self.owner {
            out.put_u32(user);
            out.put_u32(group);
        }
        if let Some(mode) = self.permissions {
            out.put_u32(mode);
        }
        if let Some((access, change)) = self.times {
            out.put_u32(access);
            out.put_u32(change);
        }
    }
}

/// A name in a directory, or the answer to a question for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without its directory.
    pub name: String,
    /// What is known about it.
    pub attributes: Attributes,
}

impl Entry {
    /// A line as `ls -l` prints it, which the protocol wants.
    pub fn long_name(&self) -> String {
        let Attributes {
            size,
            owner,
            permissions,
            times,
        } = self.attributes;
        let (uid, gid) = owner.unwrap_or_default();
        let (year, month, day) = date(times.unwrap_or_default().1);
        let mode = mode_text(permissions.unwrap_or_default());
        let size = size.unwrap_or_default();
        let name = &self.name;
        format!("{mode}    1 {uid:<8} {gid:<8} {size:>8} {month} {day:>2}  {year} {name}")
    }

    pub(super) fn parse(body: &mut Reader<'_>) -> Result<Self, Error> {
        let name = lossy(body.string()?);
        body.string()?;
        Ok(Entry {
            name,
            attributes: Attributes::parse(body)?,
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_string(&self.name);
        out.put_string(self.long_name());
        self.attributes.write(out);
    }
}

fn mode_text(mode: u32) -> String {
    let kind = match (Attributes {
        permissions: Some(mode),
        ..Attributes::default()
    })
    .kind()
    {
        Some(FileKind::Directory) => 'd',
        Some(FileKind::Symlink) => 'l',
        Some(FileKind::File) => '-',
        _ => '?',
    };
    let bits = "rwxrwxrwx".chars().enumerate();
    let bits = bits.map(|(bit, c)| if mode & (0o400 >> bit) != 0 { c } else { '-' });
    core::iter::once(kind).chain(bits).collect()
}

/// The day of a time in seconds since 1970, in the Gregorian calendar.
fn date(seconds: u32) -> (u32, &'static str, u32) {
    const MONTHS: [&str; 12] = [
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
    ];
    // Days since 1 March 2000 minus 400 years, so that leap days come last in their year.
    let days = seconds / 86_400 + 719_468 - 1600 / 400 * 146_097;
    let era = days / 146_097;
    let day = days % 146_097;
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let year = 1600 + era * 400 + year_of_era + u32::from(month >= 10);
    (
        year,
        MONTHS.get(month as usize).copied().unwrap_or("?"),
        day_of_month,
    )
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags(pub(crate) u32);

impl OpenFlags {
    /// For reading.
    pub const READ: Self = OpenFlags(1);
    /// For writing.
    pub const WRITE: Self = OpenFlags(2);
    /// Each write goes to the end.
    pub const APPEND: Self = OpenFlags(4);
    /// It is made if it is not there.
    pub const CREATE: Self = OpenFlags(8);
    /// What it holds is dropped.
    pub const TRUNCATE: Self = OpenFlags(16);
    /// With `CREATE`: it must not be there.
    pub const EXCLUSIVE: Self = OpenFlags(32);

    /// Whether all of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for OpenFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        OpenFlags(self.0 | other.0)
    }
}

/// How a request went, as the protocol tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was done.
    Ok,
    /// There is no more.
    Eof,
    /// There is no such file.
    NoSuchFile,
    /// The user may not do this.
    PermissionDenied,
    /// Anything else.
    Failure,
    /// The request made no sense.
    BadMessage,
    /// The server cannot do this at all.
    Unsupported,
}

impl Status {
    pub(super) fn code(self) -> u32 {
        match self {
            Status::Ok => 0,
            Status::Eof => 1,
            Status::NoSuchFile => 2,
            Status::PermissionDenied => 3,
            Status::Failure => 4,
            Status::BadMessage => 5,
            Status::Unsupported => 8,
        }
    }

    pub(super) fn from_code(code: u32) -> Self {
        match code {
            0 => Status::Ok,
            1 => Status::Eof,
            2 => Status::NoSuchFile,
            3 => Status::PermissionDenied,
            5 => Status::BadMessage,
            8 => Status::Unsupported,
            _ => Status::Failure,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Ok => "done",
            Status::Eof => "end of file",
            Status::NoSuchFile => "no such file",
            Status::PermissionDenied => "permission denied",
            Status::Failure => "failure",
            Status::BadMessage => "bad message",
            Status::Unsupported => "unsupported",
        })
    }
}

impl core::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_round_trip() {
        let full = Attributes {
            size: Some(1 << 40),
            owner: Some((0o644, 0)),
            permissions: Some(0o644),
            times: Some((0o644, 0)),
        };
        let some = Attributes {
            permissions: Some(0o755),
            ..Attributes::default()
        };
        for attributes in [full, some, Attributes::default()] {
            let mut out = Vec::new();
            attributes.write(&mut out);
            let mut reader = Reader::new(&out);
            assert_eq!(Attributes::parse(&mut reader), Ok(attributes));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), (1970, "Jan", 1));
        assert_eq!(date(951_782_400), (2000, "Feb", 29));
        assert_eq!(date(1_709_164_800), (2024, "Feb", 29));
        assert_eq!(date(1_735_689_599), (2024, "Dec", 31));
        assert_eq!(date(u32::MAX), (2106, "Feb", 7));
    }

    #[test]
    fn long_names() {
        let attributes = Attributes {
            size: Some(5),
            owner: Some((1, 2)),
            permissions: Some(0o100_644),
            times: Some((0, 0)),
        };
        let entry = Entry {
            name: "a".into(),
            attributes,
        };
        let line = "-rw-r--r--    1 1        2               5 Jan  1  1970 a";
        assert_eq!(entry.long_name(), line);
    }
}
