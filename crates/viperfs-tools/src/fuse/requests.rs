//! The requests, one by one.

use super::{SharedVolume, convert, number, owner_in};
use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLock, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use viperfs::{Attr, FileKind, Lock, LockKind, NewNode, RenameMode, SeekTo, SetAttr, XattrMode};

/// How long the kernel may believe an answer: nobody else changes the volume.
const TTL: Duration = Duration::from_secs(60);
/// Inode numbers are not used again.
const GENERATION: Generation = Generation(0);

// Numbers of the Linux interface.
const F_RDLCK: i32 = 0;
const F_WRLCK: i32 = 1;
const F_UNLCK: i32 = 2;
const FALLOC_KEEP_SIZE: i32 = 1;
const FALLOC_PUNCH_HOLE: i32 = 2;
const FALLOC_ZERO_RANGE: i32 = 16;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;
const XATTR_CREATE: i32 = 1;
const XATTR_REPLACE: i32 = 2;

fn now() -> i64 {
    convert::nanoseconds(SystemTime::now())
}

fn answer_entry(result: Result<Attr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&TTL, &convert::attr(&attr), GENERATION),
        Err(error) => reply.error(error),
    }
}

fn answer_attr(result: Result<Attr, Errno>, reply: ReplyAttr) {
    match result {
        Ok(attr) => reply.attr(&TTL, &convert::attr(&attr)),
        Err(error) => reply.error(error),
    }
}

fn answer(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

/// Sends a value, or its size when none of it is wanted yet.
fn answer_xattr(result: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match result {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(error),
    }
}

/// Access control lists would be kept, but not enforced: better to refuse them.
fn refused(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"system.")
}

impl SharedVolume {
    fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        kind: FileKind,
        mode: u32,
        rdev: u32,
    ) -> Result<Attr, Errno> {
        self.with(|v| {
            let dir = v.getattr(number(parent))?;
            let inherited = if kind == FileKind::Directory {
                dir.mode & 0o2000
            } else {
                0
            };
            let node = NewNode {
                kind,
                mode: mode & 0o7777 | inherited,
                owner: owner_in(&dir, request),
                rdev: u64::from(rdev),
            };
            v.make_node(dir.ino, name.as_bytes(), &node, now())
        })
    }
}

impl Filesystem for SharedVolume {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without it the kernel keeps locks to itself, which is as good for one machine.
        let _ = config.add_capabilities(InitFlags::FUSE_POSIX_LOCKS);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.with(|v| {
            let ino = v.lookup(number(parent), name.as_bytes())?;
            v.getattr(ino)
        });
        answer_entry(found, reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        answer_attr(self.with(|v| v.getattr(number(ino))), reply);
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let now = now();
        let set = SetAttr {
            mode: mode.map(|m| m & 0o7777),
            uid,
            gid,
            size,
            atime_ns: atime.map(|t| convert::wanted_time(t, now)),
            mtime_ns: mtime.map(|t| convert::wanted_time(t, now)),
        };
        answer_attr(self.with(|v| v.setattr(number(ino), &set, now)), reply);
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.with(|v| v.readlink(number(ino))) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let made = match FileKind::from_mode(mode) {
            Some(kind) => self.make(req, parent, name, kind, mode, rdev),
            None => Err(Errno::EINVAL),
        };
        answer_entry(made, reply);
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make(req, parent, name, FileKind::Directory, mode, 0);
        answer_entry(made, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.with(|v| v.unlink(number(parent), name.as_bytes(), now()));
        answer(done, reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.with(|v| v.rmdir(number(parent), name.as_bytes(), now()));
        answer(done, reply);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let made = self.with(|v| {
            let dir = v.getattr(number(parent))?;
            let target = target.as_os_str().as_bytes();
            v.symlink(
                dir.ino,
                link_name.as_bytes(),
                target,
                owner_in(&dir, req),
                now(),
            )
        });
        answer_entry(made, reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            f if f.is_empty() => RenameMode::Replace,
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
            _ => return reply.error(Errno::EINVAL),
        };
        let (from, to) = (number(parent), number(newparent));
        let done =
            self.with(|v| v.rename(from, name.as_bytes(), to, newname.as_bytes(), mode, now()));
        answer(done, reply);
    }

    fn link(
        &self,
        _req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let (ino, dir) = (number(ino), number(newparent));
        let made = self.with(|v| v.link(ino, dir, newname.as_bytes(), now()));
        answer_entry(made, reply);
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // What is open outlives its names.
        match self.with(|v| v.pin(number(ino))) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.make(req, parent, name, FileKind::File, mode, 0);
        match made.and_then(|attr| self.with(|v| v.pin(attr.ino)).map(|()| attr)) {
            Ok(attr) => reply.created(
                &TTL,
                &convert::attr(&attr),
                GENERATION,
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buf = vec![0; size as usize];
        match self.with(|v| v.read(number(ino), offset, &mut buf)) {
            Ok(n) => reply.data(&buf[..n]),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.with(|v| v.write(number(ino), offset, data, now())) {
            Ok(n) => reply.written(n as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Closing any handle of a file gives up all locks that the process has on it.
        let mut inner = self.lock();
        inner.locks.release(number(ino), lock_owner.0);
        inner.answer_waiters();
        reply.ok();
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        answer(self.with(|v| v.unpin(number(ino))), reply);
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer(self.with(|v| v.fsync(number(ino))), reply);
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer(self.with(|v| v.fsync(number(ino))), reply);
    }

    /// Cursors are the engine's, moved by two to make room for `.` and `..`.
    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let done = self.with(|v| {
            let up = v.lookup(number(ino), b"..")?;
            for (i, (ino, name)) in [(number(ino), "."), (up, "..")].into_iter().enumerate() {
                let directory = fuser::FileType::Directory;
                let next = i as u64 + 1;
                if offset < next && reply.add(INodeNo(ino), next, directory, name) {
                    return Ok(());
                }
            }
            v.readdir(number(ino), offset.saturating_sub(2), |e| {
                let name = OsStr::from_bytes(e.name);
                !reply.add(INodeNo(e.ino), e.next + 2, convert::kind(e.kind), name)
            })
            .map(drop)
        });
        match done {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match self.with(|v| Ok(v.statfs())) {
            Ok(s) => reply.statfs(
                s.total_blocks,
                s.free_blocks,
                s.available_blocks,
                s.inodes.unwrap_or(0),
                s.available_blocks,
                s.block_size,
                viperfs::MAX_NAME as u32,
                s.block_size,
            ),
            Err(error) => reply.error(error),
        }
    }

    fn setxattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        if refused(name) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let mode = match flags {
            XATTR_CREATE => XattrMode::Create,
            XATTR_REPLACE => XattrMode::Replace,
            _ => XattrMode::Set,
        };
        let done = self.with(|v| v.set_xattr(number(ino), name.as_bytes(), value, mode, now()));
        answer(done, reply);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if refused(name) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        answer_xattr(
            self.with(|v| v.xattr(number(ino), name.as_bytes())),
            size,
            reply,
        );
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let mut list = Vec::new();
        let done = self.with(|v| {
            v.list_xattrs(number(ino), |name| {
                list.extend_from_slice(name);
                list.push(0);
                true
            })
        });
        answer_xattr(done.map(|()| list), size, reply);
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.with(|v| v.remove_xattr(number(ino), name.as_bytes(), now()));
        answer(done, reply);
    }

    fn getlk(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        lock_owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let Some(wanted) = lock_of(lock_owner, start, end, typ, pid) else {
            return reply.error(Errno::EINVAL);
        };
        match self.lock().locks.test(number(ino), &wanted) {
            Some(l) if l.kind == LockKind::Shared => reply.locked(l.start, l.end, F_RDLCK, l.pid),
            Some(l) => reply.locked(l.start, l.end, F_WRLCK, l.pid),
            None => reply.locked(start, end, F_UNLCK, 0),
        }
    }

    fn setlk(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        lock_owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let mut inner = self.lock();
        if typ == F_UNLCK {
            match inner.locks.unlock(number(ino), lock_owner.0, start, end) {
                Ok(()) => reply.ok(),
                Err(_) => reply.error(Errno::ENOLCK),
            }
            return inner.answer_waiters();
        }
        match lock_of(lock_owner, start, end, typ, pid) {
            Some(lock) => inner.take_lock(number(ino), lock, sleep, reply),
            None => reply.error(Errno::EINVAL),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (ino, keep) = (number(ino), mode & FALLOC_KEEP_SIZE != 0);
        let done = match mode & !FALLOC_KEEP_SIZE {
            0 => self.with(|v| v.allocate(ino, offset, length, keep, now())),
            FALLOC_PUNCH_HOLE if keep => self.with(|v| v.punch_hole(ino, offset, length, now())),
            FALLOC_ZERO_RANGE => self.with(|v| {
                v.punch_hole(ino, offset, length, now())?;
                v.allocate(ino, offset, length, keep, now())
            }),
            _ => Err(Errno::EOPNOTSUPP),
        };
        answer(done, reply);
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let to = match whence {
            SEEK_DATA => SeekTo::Data,
            SEEK_HOLE => SeekTo::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        match self.with(|v| v.seek(number(ino), offset, to)) {
            Ok(Some(at)) => reply.offset(i64::try_from(at).unwrap_or(i64::MAX)),
            Ok(None) => reply.error(Errno::ENXIO),
            Err(error) => reply.error(error),
        }
    }
}

fn lock_of(owner: LockOwner, start: u64, end: u64, typ: i32, pid: u32) -> Option<Lock> {
    let kind = match typ {
        F_RDLCK => LockKind::Shared,
        F_WRLCK => LockKind::Exclusive,
        _ => return None,
    };
    Some(Lock {
        owner: owner.0,
        pid,
        kind,
        start,
        end,
    })
}
