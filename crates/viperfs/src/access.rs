//! Who may do what: the POSIX rules on modes and owners, for servers that enforce them.
//!
//! The engine itself stores modes and enforces nothing. These are pure functions.

use crate::inode::{Attr, FileKind};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// User; 0 may do almost everything.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: &'a [u32],
}

impl Credentials<'_> {
    /// Whether this is the user, or user 0.
    pub fn acts_for(&self, uid: u32) -> bool {
        self.uid == 0 || self.uid == uid
    }

    /// Whether a group is among theirs.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// What is asked for: any of [`Want::READ`], [`Want::WRITE`], [`Want::EXECUTE`], joined by `|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want(u8);

impl Want {
    /// Nothing but that it exists.
    pub const NOTHING: Self = Self(0);
    /// Run a file, or search a directory.
    pub const EXECUTE: Self = Self(1);
    /// Change contents, or the names in a directory.
    pub const WRITE: Self = Self(2);
    /// Read contents, or list a directory.
    pub const READ: Self = Self(4);

    /// From the bits of `access(2)`: 4, 2, 1. Others are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 7)
    }
}

impl core::ops::BitOr for Want {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether the permission bits of an object let somebody do something.
///
/// One class decides: the owner's bits for the owner, else the group's for its members, else the
/// others'. User 0 may read and write everything, search every directory, and run a file that
/// anybody may run.
pub fn access(
    kind: FileKind,
    mode: u32,
    uid: u32,
    gid: u32,
    who: &Credentials<'_>,
    want: Want,
) -> bool {
    let granted = if who.uid == 0 {
        let runs = kind == FileKind::Directory || mode & 0o111 != 0;
        if runs { 7 } else { 6 }
    } else if who.uid == uid {
        mode >> 6
    } else if who.in_group(gid) {
        mode >> 3
    } else {
        mode
    };
    want.0 & !(granted as u8) == 0
}

/// Whether somebody may remove or rename away `child` out of `dir`: the directory must be theirs
/// to change, and in a sticky one the child or the directory must be theirs.
pub fn may_remove(dir: &Attr, child: &Attr, who: &Credentials<'_>) -> bool {
    let sticky = dir.mode & 0o1000 != 0;
    dir.permits(who, Want::WRITE | Want::EXECUTE)
        && (!sticky || who.acts_for(child.uid) || who.acts_for(dir.uid))
}

/// The mode of a file after somebody other than user 0 wrote to it or changed its owner: without
/// set-user-id, and without set-group-id where the group may execute.
pub fn mode_after_write(kind: FileKind, mode: u32, who: &Credentials<'_>) -> u32 {
    if who.uid == 0 || kind != FileKind::File {
        return mode;
    }
    let set_gid = if mode & 0o010 != 0 { 0o2000 } else { 0 };
    mode & !(0o4000 | set_gid)
}

impl Attr {
    /// [`access`] for this inode.
    pub fn permits(&self, who: &Credentials<'_>, want: Want) -> bool {
        access(self.kind, self.mode, self.uid, self.gid, who, want)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inode::Inode;

    const ALL: Want = Want(7);

    fn who(uid: u32, gid: u32) -> Credentials<'static> {
        Credentials {
            uid,
            gid,
            groups: &[50],
        }
    }

    #[test]
    fn one_class_decides() {
        let file = |uid, gid, want| access(FileKind::File, 0o604, 10, 20, &who(uid, gid), want);
        assert!(file(10, 99, Want::READ | Want::WRITE) && !file(10, 99, Want::EXECUTE));
        // The group has less than the others, and gets it.
        assert!(!file(11, 20, Want::READ) && file(11, 21, Want::READ));
        assert!(!access(
            FileKind::File,
            0o604,
            10,
            50,
            &who(11, 21),
            Want::READ
        ));
        // The owner's class counts even when the group's would grant more.
        assert!(!access(
            FileKind::File,
            0o070,
            10,
            20,
            &who(10, 20),
            Want::READ
        ));
        assert!(file(11, 20, Want::NOTHING));
    }

    #[test]
    fn user_zero_runs_only_what_somebody_may_run() {
        let root = who(0, 0);
        assert!(access(
            FileKind::File,
            0o000,
            1,
            1,
            &root,
            Want::READ | Want::WRITE
        ));
        assert!(!access(FileKind::File, 0o666, 1, 1, &root, Want::EXECUTE));
        assert!(access(FileKind::File, 0o001, 1, 1, &root, ALL));
        assert!(access(FileKind::Directory, 0o000, 1, 1, &root, ALL));
    }

    #[test]
    fn sticky_directories_protect_their_entries() {
        let attr = |kind, mode, uid| {
            let mut inode = Inode::blank(2, kind, mode, 0);
            inode.attr.uid = uid;
            inode.attr
        };
        let tmp = attr(FileKind::Directory, 0o1777, 1);
        let file = attr(FileKind::File, 0o666, 7);
        assert!(may_remove(&tmp, &file, &who(7, 7)) && may_remove(&tmp, &file, &who(1, 1)));
        assert!(may_remove(&tmp, &file, &who(0, 0)) && !may_remove(&tmp, &file, &who(8, 8)));
        let plain = attr(FileKind::Directory, 0o777, 1);
        assert!(may_remove(&plain, &file, &who(8, 8)));
        assert!(!may_remove(
            &attr(FileKind::Directory, 0o755, 1),
            &file,
            &who(7, 7)
        ));
    }

    #[test]
    fn writing_takes_set_id_bits() {
        let user = who(5, 5);
        assert_eq!(mode_after_write(FileKind::File, 0o6755, &user), 0o755);
        assert_eq!(mode_after_write(FileKind::File, 0o2644, &user), 0o2644);
        assert_eq!(mode_after_write(FileKind::File, 0o6755, &who(0, 0)), 0o6755);
        assert_eq!(mode_after_write(FileKind::Directory, 0o2775, &user), 0o2775);
    }
}
