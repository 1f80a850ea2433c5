//! The commands of `sftp`.

use crate::failure::{Result, fail};
use crate::local::Local;
use crate::remote::Remote;
use crate::user::User;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::fs::kind;
use viper_rt::clock::{self, MILLISECOND};
use viper_ssh::sftp::FileKind;

const HELP: &str = "\
cd PATH, pwd, ls [-l] [PATH]     on the server
lcd PATH, lpwd, lls [PATH]       on this machine
get [-r] REMOTE [LOCAL], put [-r] LOCAL [REMOTE]
reget REMOTE [LOCAL], reput LOCAL [REMOTE]   go on where it ended
mkdir, rmdir, rm PATH            on the server
rename FROM TO, ln -s TARGET PATH, chmod MODE PATH
exit, quit, bye";
/// Directories within directories that are copied.
const DEPTH_MAX: u32 = 32;
/// How often progress is shown.
const SHOW_NS: u64 = 200 * MILLISECOND;

/// A session of `sftp`.
pub struct Commands<'a> {
    remote: Remote,
    local: &'a mut Local,
    user: &'a User,
    directory: String,
    shows_progress: bool,
}

/// What of a path is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A file.
    File,
    /// What of a file is not there yet.
    Rest,
    /// A directory with what is in it; or a file.
    Tree,
}

/// What is to happen after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next command.
    GoOn,
    /// No more.
    End,
}

impl<'a> Commands<'a> {
    /// Begins where the server begins.
    ///
    /// # Errors
    /// A sentence about what went wrong.
    pub fn new(
        mut remote: Remote,
        local: &'a mut Local,
        user: &'a User,
        quiet: bool,
    ) -> Result<Commands<'a>> {
        Ok(Commands {
            directory: remote.real_path(".")?,
            remote,
            local,
            user,
            shows_progress: !quiet && user.shows_output(),
        })
    }

    /// Ends the session.
    pub fn close(self) {
        self.remote.close();
    }

    /// Goes to a directory of the server.
    ///
    /// # Errors
    /// A sentence if it is none.
    pub fn change(&mut self, path: &str) -> Result<()> {
        let whole = self.remote.real_path(&self.remote_path(path))?;
        if !self.remote.is_directory(&whole) {
            return fail(format!("{path} is no directory"));
        }
        self.directory = whole;
        Ok(())
    }

    /// Runs one line.
    ///
    /// # Errors
    /// A sentence about what went wrong.
    pub fn run(&mut self, line: &str) -> Result<Next> {
        let words = split(line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["exit" | "quit" | "bye"] => return Ok(Next::End),
            ["help" | "?"] => self.print(HELP)?,
            ["pwd"] => self.print(&self.directory)?,
            ["lpwd"] => self.print(self.local.directory())?,
            ["cd", path] => self.change(path)?,
            ["lcd", path] => self.local.change(path)?,
            ["ls"] => self.list("", false)?,
            ["ls", "-l" | "-la" | "-al"] => self.list("", true)?,
            ["ls", "-l" | "-la" | "-al", path] => self.list(path, true)?,
            ["ls", path] => self.list(path, false)?,
            ["lls"] => self.list_local("")?,
            ["lls", path] => self.list_local(path)?,
            ["get", "-r", from] => self.get(from, "", How::Tree)?,
            ["get", "-r", from, to] => self.get(from, to, How::Tree)?,
            ["reget", from] | ["get", "-a", from] => self.get(from, "", How::Rest)?,
            ["reget", from, to] | ["get", "-a", from, to] => self.get(from, to, How::Rest)?,
            ["get", from] => self.get(from, "", How::File)?,
            ["get", from, to] => self.get(from, to, How::File)?,
            ["put", "-r", from] => self.put(from, "", How::Tree)?,
            ["put", "-r", from, to] => self.put(from, to, How::Tree)?,
            ["reput", from] | ["put", "-a", from] => self.put(from, "", How::Rest)?,
            ["reput", from, to] | ["put", "-a", from, to] => self.put(from, to, How::Rest)?,
            ["put", from] => self.put(from, "", How::File)?,
            ["put", from, to] => self.put(from, to, How::File)?,
            ["mkdir", path] => self.remote.make_directory(&self.remote_path(path))?,
            ["rmdir", path] => self.remote.remove_directory(&self.remote_path(path))?,
            ["rm", path] => self.remote.remove(&self.remote_path(path))?,
            ["rename" | "mv", from, to] => {
                let (from, to) = (self.remote_path(from), self.remote_path(to));
                self.remote.rename(&from, &to)?;
            }
            ["ln" | "symlink", "-s", target, path] | ["symlink", target, path] => {
                self.remote.symlink(target, &self.remote_path(path))?;
            }
            ["chmod", mode, path] => match u32::from_str_radix(mode, 8) {
                Ok(mode) => self.remote.set_mode(&self.remote_path(path), mode)?,
                Err(_) => return fail(format!("{mode} is no mode")),
            },
            _ => {
                return fail(format!(
                    "{line}: no such command; `help` tells what there is"
                ));
            }
        }
        Ok(Next::GoOn)
    }

    /// A path of the server, from where the session stands.
    fn remote_path(&self, path: &str) -> String {
        if path.starts_with('/') || path.contains(':') {
            String::from(path)
        } else {
            format!("{}/{path}", self.directory.trim_end_matches('/'))
        }
    }

    fn print(&self, text: &str) -> Result<()> {
        self.user.write(format!("{text}\n").as_bytes())
    }

    fn list(&mut self, path: &str, long: bool) -> Result<()> {
        let whole = self.remote_path(path);
        for entry in self.remote.list(&whole)? {
            let line = if long { entry.long_name() } else { entry.name };
            self.print(&line)?;
        }
        Ok(())
    }

    fn list_local(&mut self, path: &str) -> Result<()> {
        let path = if path.is_empty() { "." } else { path };
        for entry in self.local.list(path)? {
            self.print(&entry.name)?;
        }
        Ok(())
    }

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
            return match how {
                How::Tree => self.get_tree(&whole, &to, 0),
                _ => fail(format!("{from} is a directory")),
            };
        }
        self.get_file(&whole, &to, how)
    }

    /// Fetches what is in a directory, which is made here if it is not there.
    fn get_tree(&mut self, from: &str, to: &str, depth: u32) -> Result<()> {
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
                Some(FileKind::Directory) => self.get_tree(&from, &to, depth + 1)?,
                // A link to a directory could lead back to where this began.
                Some(FileKind::Symlink) if self.remote.is_directory(&from) => {
                    self.user.say(&format!("{from}: a link, not followed"));
                }
                _ => self.get_file(&from, &to, How::Tree)?,
            }
        }
        Ok(())
    }

    fn get_file(&mut self, whole: &str, to: &str, how: How) -> Result<()> {
        let name = last(whole);
        let mut shown = Shown::new(self.user, name, self.shows_progress);
        let mut progress = |done, of| shown.show(done, of);
        let resume = how == How::Rest;
        let result = self
            .remote
            .get(whole, self.local, to, resume, &mut progress);
        shown.end();
        result
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
        if how == How::Tree && self.local.is_directory(from) {
            return self.put_tree(from, &to, 0);
        }
        self.put_file(from, &to, how)
    }

    /// Stores what is in a directory, which is made there if need be.
    fn put_tree(&mut self, from: &str, to: &str, depth: u32) -> Result<()> {
        if depth >= DEPTH_MAX {
            return fail(format!("{from}: directories are too deep"));
        }
        if !self.remote.is_directory(to) {
            self.remote.make_directory(to)?;
        }
        for entry in self.local.list(from)? {
            let (from, to) = (inside(from, &entry.name), inside(to, &entry.name));
            match entry.kind {
                kind::DIRECTORY => self.put_tree(&from, &to, depth + 1)?,
                kind::LINK if self.local.is_directory(&from) => {
                    self.user.say(&format!("{from}: a link, not followed"));
                }
                _ => self.put_file(&from, &to, How::Tree)?,
            }
        }
        Ok(())
    }

    fn put_file(&mut self, from: &str, to: &str, how: How) -> Result<()> {
        let mut shown = Shown::new(self.user, last(from), self.shows_progress);
        let mut progress = |done, of| shown.show(done, of);
        let resume = how == How::Rest;
        let result = self.remote.put(self.local, from, to, resume, &mut progress);
        shown.end();
        result
    }
}

/// Whether a name that a server tells may be one here: nothing that leads elsewhere.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', ':', '\0'])
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit(['/', ':'])
        .next()
        .unwrap_or(path)
}

fn inside(directory: &str, name: &str) -> String {
    if directory.ends_with(['/', ':']) {
        format!("{directory}{name}")
    } else {
        format!("{directory}/{name}")
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

/// Words; quotes hold spaces together, and a backslash takes the next character as it is.
fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.trim().chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return fail("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes() {
        let split = |line| split(line).unwrap();
        assert_eq!(split("get  a b"), ["get", "a", "b"]);
        assert_eq!(split("put \"a b\" 'c'\\ d \"\""), ["put", "a b", "c d", ""]);
        assert!(split("").is_empty());
        assert!(super::split("get \"a").is_err());
    }

    #[test]
    fn names_within_paths() {
        assert!(is_plain("a b") && is_plain("..."));
        for wrong in ["", ".", "..", "../a", "/a", "S:a"] {
            assert!(!is_plain(wrong), "{wrong}");
        }
        assert_eq!(last("a/b//"), "b");
        assert_eq!((last("a/b"), last("T:x"), last("x")), ("b", "x", "x"));
        assert_eq!(inside("T:", "x"), "T:x");
        assert_eq!(inside("/a", "x"), "/a/x");
    }
}
