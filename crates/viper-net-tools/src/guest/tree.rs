//! The files below a directory, for `httpd`.

use super::System;
use crate::httpd::{Denied, Facts, Found, Item, Tree};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::fs::{Attributes, FileId, flags, kind};
use viper_rt::{Error, clock};

/// Entries of a directory that a listing shows at most.
const ITEMS_MAX: usize = 10_000;

/// A directory of the file service.
pub(super) struct Folder {
    pub(super) system: System,
    /// Absolute, without a slash at the end.
    pub(super) root: String,
}

impl Folder {
    fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    /// What is at a path, if no symbolic link is on the way to it: each part is looked at by
    /// itself, as the file service would follow a link to anywhere.
    fn look(&mut self, path: &str) -> Result<Attributes, Denied> {
        let mut place = self.root.clone();
        let mut found = self.facts(if place.is_empty() { "/" } else { &place })?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if found.kind != kind::DIRECTORY {
                return Err(Denied::NotFound);
            }
            place.push('/');
            place.push_str(name);
            found = self.facts(&place)?;
        }
        Ok(found)
    }

    fn facts(&mut self, place: &str) -> Result<Attributes, Denied> {
        let System { names, files, .. } = &mut self.system;
        files.stat_path(names, place, false).map_err(denied)
    }
}

fn denied(error: Error) -> Denied {
    match error {
        Error::ServerDied | Error::NoService | Error::TimedOut | Error::LimitReached => {
            Denied::Unavailable
        }
        _ => Denied::NotFound,
    }
}

impl Tree for Folder {
    type File = FileId;

    fn find(&mut self, path: &str) -> Result<Found<FileId>, Denied> {
        match self.look(path)?.kind {
            kind::DIRECTORY => Ok(Found::Folder),
            kind::FILE => {
                let place = self.place(path);
                let System { names, files, .. } = &mut self.system;
                let opened = files.open(names, &place, flags::READ | flags::NO_FOLLOW, 0);
                let (file, now) = opened.map_err(denied)?;
                let facts = Facts {
                    len: now.size_bytes,
                    modified_s: now.modified_ns / clock::SECOND,
                    version: now.changed_ns ^ now.inode.rotate_left(40),
                };
                Ok(Found::File(file, facts))
            }
            _ => Err(Denied::NotFound),
        }
    }

    fn list(&mut self, path: &str) -> Result<Vec<Item>, Denied> {
        let place = self.place(path);
        let System { names, files, .. } = &mut self.system;
        let how = flags::READ | flags::DIRECTORY | flags::NO_FOLLOW;
        let (folder, _) = files.open(names, &place, how, 0).map_err(denied)?;
        let (mut entries, mut cookie) = (Vec::new(), 0);
        while entries.len() < ITEMS_MAX {
            match files.read_directory(names, folder, cookie, &mut entries) {
                Ok(Some(next)) => cookie = next,
                Ok(None) | Err(_) => break,
            }
        }
        let _ = files.close(folder);
        let mut items = Vec::new();
        for entry in entries {
            let is_dots = matches!(entry.name.as_str(), "." | "..");
            if is_dots || !matches!(entry.kind, kind::FILE | kind::DIRECTORY) {
                continue;
            }
            if let Ok(facts) = self.facts(&format!("{place}/{}", entry.name)) {
                items.push(Item {
                    name: entry.name,
                    is_folder: facts.kind == kind::DIRECTORY,
                    len: facts.size_bytes,
                    modified_s: facts.modified_ns / clock::SECOND,
                });
            }
        }
        Ok(items)
    }

    fn read(&mut self, file: &mut FileId, at: u64, to: &mut [u8]) -> Result<usize, Denied> {
        let System { names, files, .. } = &mut self.system;
        files.read(names, *file, at, to).map_err(denied)
    }

    fn close(&mut self, file: FileId) {
        let _ = self.system.files.close(file);
    }

    fn unix_s(&mut self) -> Option<u64> {
        self.system.unix_s().map(|seconds| seconds.0)
    }
}
