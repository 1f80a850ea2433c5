//! Files and directories from one machine to the other.

use crate::commands::Commands;
use crate::failure::{Result, fail};
use crate::pattern::{self, inside, is_plain, last};
use crate::user::User;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::fs::kind;
use viper_rt::clock::{self, MILLISECOND};
use viper_shell::glob::is_pattern;
use viper_ssh::sftp::{Attributes, FileKind};

/// Directories within directories that are copied.
const DEPTH_MAX: u32 = 32;
/// How often progress is shown.
const SHOW_NS: u64 = 200 * MILLISECOND;

/// What of a path is copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Directories, with what is in them.
    pub tree: bool,
    /// Only what of a file is not there yet.
    pub resume: bool,
    /// Times and permissions, too.
    pub keep: bool,
}

impl Commands<'_> {
    /// Fetches a file, or if `how` says so a directory with what is in it; into a directory under
    /// its own name.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn get(&mut self, from: &str, to: &str, how: How) -> Result<()> {
        let whole = self.remote_path(from);
        let name = last(from);
        let to = match to {
            "" => String::from(name),
            to if self.local.is_directory(to) => inside(to, name),
            to => String::from(to),
        };
        if self.remote.is_directory(&whole) {
            return match how.tree {
                true => self.get_tree(&whole, &to, how, 0),
                false => fail(format!("{from} is a directory")),
            };
        }
        self.get_file(&whole, &to, how)
    }

    /// Fetches what a path, which may be a pattern, means on the server.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn get_matching(&mut self, from: &str, to: &str, how: How) -> Result<()> {
        let found = self.matching(from)?;
        if found.len() > 1 && !to.is_empty() && !self.local.is_directory(to) {
            return fail(format!("{to} is no directory"));
        }
        for whole in &found {
            // Whoever takes a pattern may not have meant them.
            if found.len() > 1 && !how.tree && self.remote.is_directory(whole) {
                self.user.say(&format!("{whole}: a directory, not fetched"));
                continue;
            }
            self.get(whole, to, how)?;
        }
        Ok(())
    }

    /// Fetches what is in a directory, which is made here if it is not there.
    fn get_tree(&mut self, from: &str, to: &str, how: How, depth: u32) -> Result<()> {
        if depth >= DEPTH_MAX {
            return fail(format!("{from}: directories are too deep"));
        }
        if !self.local.is_directory(to) {
            self.local.make_directory(to)?;
        }
        for entry in self.remote.list(from)? {
            if !is_plain(&entry.name) {
                return fail(format!("{from}: the server names a file {:?}", entry.name));
            }
            let (from, to) = (inside(from, &entry.name), inside(to, &entry.name));
            match entry.attributes.kind() {
                Some(FileKind::Directory) => self.get_tree(&from, &to, how, depth + 1)?,
                // A link to a directory could lead back to where this began.
                Some(FileKind::Symlink) if self.remote.is_directory(&from) => {
                    self.user.say(&format!("{from}: a link, not followed"));
                }
                _ => self.get_file(&from, &to, how)?,
            }
        }
        self.keep_here(from, to, how)
    }

    fn get_file(&mut self, whole: &str, to: &str, how: How) -> Result<()> {
        let name = last(whole);
        let mut shown = Shown::new(self.user, name, self.shows_progress);
        let mut progress = |done, of| shown.show(done, of);
        let result = self
            .remote
            .get(whole, self.local, to, how.resume, &mut progress);
        shown.end();
        result?;
        self.keep_here(whole, to, how)
    }

    /// Gives what was fetched the times and permissions that it has there.
    fn keep_here(&mut self, from: &str, to: &str, how: How) -> Result<()> {
        if !how.keep {
            return Ok(());
        }
        let known = self.remote.attributes(from)?;
        self.local.keep(to, known.permissions, known.times)
    }

    /// Stores a file, or if `how` says so a directory with what is in it; into a directory under its
    /// own name.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn put(&mut self, from: &str, to: &str, how: How) -> Result<()> {
        let name = last(from);
        let to = match to {
            "" => self.remote_path(name),
            to => {
                let whole = self.remote_path(to);
                if self.remote.is_directory(&whole) {
                    inside(&whole, name)
                } else {
                    whole
                }
            }
        };
        if how.tree && self.local.is_directory(from) {
            return self.put_tree(from, &to, how, 0);
        }
        self.put_file(from, &to, how)
    }

    /// Stores what a path, which may be a pattern, means here.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn put_matching(&mut self, from: &str, to: &str, how: How) -> Result<()> {
        let found = match !is_pattern(from) || self.local.stat(from).is_ok() {
            true => Vec::from([String::from(from)]),
            false => pattern::expand(from, |directory| self.local.names_in(directory))?,
        };
        let is_one = found.len() == 1;
        if !is_one && !to.is_empty() && !self.remote.is_directory(&self.remote_path(to)) {
            return fail(format!("{to} is no directory"));
        }
        for from in &found {
            if !is_one && !how.tree && self.local.is_directory(from) {
                self.user.say(&format!("{from}: a directory, not stored"));
                continue;
            }
            self.put(from, to, how)?;
        }
        Ok(())
    }

    /// Stores what is in a directory, which is made there if need be.
    fn put_tree(&mut self, from: &str, to: &str, how: How, depth: u32) -> Result<()> {
        if depth >= DEPTH_MAX {
            return fail(format!("{from}: directories are too deep"));
        }
        if !self.remote.is_directory(to) {
            self.remote.make_directory(to)?;
        }
        for entry in self.local.list(from)? {
            let (from, to) = (inside(from, &entry.name), inside(to, &entry.name));
            match entry.kind {
                kind::DIRECTORY => self.put_tree(&from, &to, how, depth + 1)?,
                kind::LINK if self.local.is_directory(&from) => {
                    self.user.say(&format!("{from}: a link, not followed"));
                }
                _ => self.put_file(&from, &to, how)?,
            }
        }
        self.keep_there(from, to, how)
    }

    fn put_file(&mut self, from: &str, to: &str, how: How) -> Result<()> {
        let mut shown = Shown::new(self.user, last(from), self.shows_progress);
        let mut progress = |done, of| shown.show(done, of);
        let result = self
            .remote
            .put(self.local, from, to, how.resume, &mut progress);
        shown.end();
        result?;
        self.keep_there(from, to, how)
    }

    /// Gives what was stored the times and permissions that it has here.
    fn keep_there(&mut self, from: &str, to: &str, how: How) -> Result<()> {
        if !how.keep {
            return Ok(());
        }
        let known = self.local.stat(from)?;
        let seconds = |ns: u64| u32::try_from(ns / clock::SECOND).unwrap_or(u32::MAX);
        let keep = Attributes {
            permissions: Some(known.mode & 0o7777),
            times: Some((seconds(known.accessed_ns), seconds(known.modified_ns))),
            ..Attributes::default()
        };
        self.remote.set_attributes(to, &keep)
    }
}

/// Progress on a terminal.
struct Shown<'a> {
    user: &'a User,
    name: &'a str,
    on: bool,
    next_ns: u64,
    since_ns: u64,
    line: String,
}

impl<'a> Shown<'a> {
    fn new(user: &'a User, name: &'a str, on: bool) -> Self {
        let now = clock::now();
        Shown {
            user,
            name,
            on,
            next_ns: now,
            since_ns: now,
            line: String::new(),
        }
    }

    fn show(&mut self, done: u64, of: Option<u64>) {
        let now = clock::now();
        if !self.on || now < self.next_ns && of != Some(done) {
            return;
        }
        self.next_ns = now + SHOW_NS;
        let share = match of {
            Some(of) if of > 0 => format!("{:>3}%", done.saturating_mul(100) / of),
            _ => String::from("    "),
        };
        let milliseconds = ((now - self.since_ns) / MILLISECOND).max(1);
        let rate = done / milliseconds;
        self.line = format!("\r{} {share} {} KiB, {rate} KB/s ", self.name, done / 1024);
        let _ = self.user.write(self.line.as_bytes());
    }

    fn end(&self) {
        if !self.line.is_empty() {
            let _ = self.user.write(b"\n");
        }
    }
}
