//! Between the engine's words and those of FUSE.

use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use viperfs::{Attr, DeviceError, Error, FileKind};

pub(super) fn errno(error: Error) -> Errno {
    match error {
        Error::NotFound => Errno::ENOENT,
        Error::Exists => Errno::EEXIST,
        Error::NotDirectory => Errno::ENOTDIR,
        Error::IsDirectory => Errno::EISDIR,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::NoSpace => Errno::ENOSPC,
        Error::QuotaExceeded => Errno::EDQUOT,
        Error::Unsupported => Errno::EOPNOTSUPP,
        Error::ReadOnly | Error::Device(DeviceError::ReadOnly) => Errno::EROFS,
        Error::TooManyLinks => Errno::EMLINK,
        Error::FileTooLarge => Errno::EFBIG,
        Error::Loop => Errno::ELOOP,
        Error::NoAttribute => Errno::ENODATA,
        Error::AttributeTooLarge => Errno::E2BIG,
        Error::InvalidName | Error::Invalid => Errno::EINVAL,
        _ => Errno::EIO,
    }
}

pub(super) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

pub(super) fn attr(a: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(a.ino),
        size: a.size,
        blocks: a.blocks * 8,
        atime: time(a.atime_ns),
        mtime: time(a.mtime_ns),
        ctime: time(a.ctime_ns),
        crtime: time(a.btime_ns),
        kind: kind(a.kind),
        perm: a.mode as u16,
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        rdev: a.rdev as u32,
        blksize: 4096,
        flags: 0,
    }
}

/// Nanoseconds since 1970 as the host's time.
fn time(ns: i64) -> SystemTime {
    let away = Duration::from_nanos(ns.unsigned_abs());
    if ns < 0 {
        UNIX_EPOCH - away
    } else {
        UNIX_EPOCH + away
    }
}

pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    }
}

pub(super) fn wanted_time(time: TimeOrNow, now_ns: i64) -> i64 {
    match time {
        TimeOrNow::SpecificTime(time) => nanoseconds(time),
        TimeOrNow::Now => now_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back() {
        for ns in [
            0,
            1,
            -1,
            1_700_000_000_123_456_789,
            -5_000_000_001,
            i64::MAX,
            -i64::MAX,
        ] {
            assert_eq!(nanoseconds(time(ns)), ns);
        }
    }
}
