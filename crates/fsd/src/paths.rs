//! Opening by path: what OPEN finds or makes.

use crate::clients::OpenFile;
use crate::node::Node;
use alloc::vec::Vec;
use viper_proto::fs::flags;
use viper_rt::Error;
use viperfs::{Attr, BlockDevice, FileKind, Fs, MAX_LINKS, Owner, ROOT_INO};

/// Every flag there is.
const ALL: u32 = flags::READ
    | flags::WRITE
    | flags::CREATE
    | flags::EXCLUSIVE
    | flags::TRUNCATE
    | flags::APPEND
    | flags::DIRECTORY
    | flags::NO_FOLLOW;

/// Checks flags on their own.
///
/// # Errors
/// [`Error::InvalidArgument`] for what makes no sense together.
pub(crate) const fn check_flags(wanted: u32) -> Result<(), Error> {
    let writes = wanted & (flags::TRUNCATE | flags::APPEND) != 0;
    let makes_directory = wanted & flags::CREATE != 0 && wanted & flags::DIRECTORY != 0;
    if wanted & !ALL != 0 || (writes && wanted & flags::WRITE == 0) || makes_directory {
        Err(Error::InvalidArgument)
    } else {
        Ok(())
    }
}

/// Whether opening with these flags may change the volume.
pub(crate) const fn may_change(wanted: u32) -> bool {
    wanted & (flags::CREATE | flags::TRUNCATE) != 0
}

/// Finds or makes the file, and checks that it is of the kind wanted. It is not pinned yet.
/// This is for one volume, and for user 0; `open.rs` has the other ways.
///
/// # Errors
/// As OPEN documents.
pub(crate) fn open<D: BlockDevice>(
    fs: &mut Fs<D>,
    path: &[u8],
    wanted: u32,
    mode: u32,
    now_ns: i64,
) -> Result<(OpenFile, Attr), viperfs::Error> {
    let attr = if wanted & flags::CREATE != 0 {
        find_or_make(fs, path, wanted, mode, now_ns)?
    } else {
        let inode = fs.walk(ROOT_INO, path, wanted & flags::NO_FOLLOW == 0)?;
        fs.getattr(inode)?
    };
    judge(fs, Node::new(0, attr.ino), attr, wanted, now_ns)
}

/// Opens the file that a path is known to lead to, links followed: as [`open`] would.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_node<D: BlockDevice>(
    fs: &mut Fs<D>,
    node: Node,
    wanted: u32,
    now_ns: i64,
) -> Result<(OpenFile, Attr), viperfs::Error> {
    let attr = fs.getattr(node.inode())?;
    judge(fs, node, attr, wanted, now_ns)
}

/// Whether opening with these flags finds what the path leads to, links followed.
pub(crate) const fn follows(wanted: u32) -> bool {
    wanted & (flags::EXCLUSIVE | flags::NO_FOLLOW) == 0
}

fn judge<D: BlockDevice>(
    fs: &mut Fs<D>,
    node: Node,
    attr: Attr,
    wanted: u32,
    now_ns: i64,
) -> Result<(OpenFile, Attr), viperfs::Error> {
    let is_directory = attr.kind == FileKind::Directory;
    match attr.kind {
        FileKind::Directory if wanted & flags::WRITE != 0 => {
            return Err(viperfs::Error::IsDirectory);
        }
        FileKind::Directory => {}
        FileKind::Symlink => return Err(viperfs::Error::Loop),
        _ if wanted & flags::DIRECTORY != 0 => return Err(viperfs::Error::NotDirectory),
        FileKind::File => {}
        _ => return Err(viperfs::Error::Invalid),
    }
    let file = OpenFile {
        node,
        flags: wanted,
        is_directory,
    };
    if wanted & flags::TRUNCATE != 0 && attr.size > 0 {
        fs.truncate(attr.ino, 0, now_ns)?;
        return Ok((file, fs.getattr(attr.ino)?));
    }
    Ok((file, attr))
}

/// As POSIX has it: a link that leads nowhere makes the file where it leads.
fn find_or_make<D: BlockDevice>(
    fs: &mut Fs<D>,
    path: &[u8],
    wanted: u32,
    mode: u32,
    now_ns: i64,
) -> Result<Attr, viperfs::Error> {
    let (mut base, mut path): (u64, Vec<u8>) = (ROOT_INO, path.to_vec());
    for _ in 0..MAX_LINKS {
        // The root, `..` and the like have no last name, but they exist.
        let (directory, name) = match fs.walk_parent(base, &path) {
            Err(viperfs::Error::InvalidName) => {
                let inode = fs.walk(base, &path, true)?;
                return found(fs, inode, wanted);
            }
            result => result?,
        };
        let inode = match fs.lookup(directory, name) {
            Err(viperfs::Error::NotFound) if path.last() == Some(&b'/') => {
                return Err(viperfs::Error::IsDirectory);
            }
            Err(viperfs::Error::NotFound) => {
                return fs.create(directory, name, mode, Owner::default(), now_ns);
            }
            result => result?,
        };
        let follow = wanted & (flags::NO_FOLLOW | flags::EXCLUSIVE) == 0;
        if !follow || fs.getattr(inode)?.kind != FileKind::Symlink {
            return found(fs, inode, wanted);
        }
        // A target that starts at the root is seen from there whatever the base is.
        (base, path) = (directory, fs.readlink(inode)?);
    }
    Err(viperfs::Error::Loop)
}

fn found<D: BlockDevice>(fs: &mut Fs<D>, inode: u64, wanted: u32) -> Result<Attr, viperfs::Error> {
    if wanted & flags::EXCLUSIVE != 0 {
        return Err(viperfs::Error::Exists);
    }
    fs.getattr(inode)
}
