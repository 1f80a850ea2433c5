//! The commands of `sftp`.

use crate::failure::{Result, fail};
use crate::local::Local;
use crate::pattern;
use crate::remote::Remote;
use crate::transfer::How;
use crate::user::User;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use viper_ssh::sftp::Entry;

const HELP: &str = "\
cd PATH, pwd, ls [-l] [PATH]     on the server
lcd PATH, lpwd, lls [PATH]       on this machine
get [-rpa] REMOTE [LOCAL], put [-rpa] LOCAL [REMOTE]
  -r directories, too; -p times and permissions, too; -a go on where it ended
reget, reput                     get -a, put -a
mkdir, rmdir, rm PATH            on the server
rename FROM TO, ln -s TARGET PATH, chmod MODE PATH
exit, quit, bye
ls, get, put, rm and chmod take patterns: *, ?, [a-z]";

/// A session of `sftp`.
pub struct Commands<'a> {
    pub(crate) remote: Remote,
    pub(crate) local: &'a mut Local,
    pub(crate) user: &'a User,
    directory: String,
    pub(crate) shows_progress: bool,
    keeps: bool,
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
            keeps: false,
        })
    }

    /// Has every transfer keep times and permissions, whatever its command says.
    #[must_use]
    pub fn keeping(mut self, keeps: bool) -> Self {
        self.keeps = keeps;
        self
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
            [which @ ("get" | "reget" | "mget"), rest @ ..] => {
                let (how, from, to) = transfer(which, rest)?;
                self.get_matching(from, to, self.keeping_too(how))?;
            }
            [which @ ("put" | "reput" | "mput"), rest @ ..] => {
                let (how, from, to) = transfer(which, rest)?;
                self.put_matching(from, to, self.keeping_too(how))?;
            }
            ["mkdir", path] => self.remote.make_directory(&self.remote_path(path))?,
            ["rmdir", path] => self.remote.remove_directory(&self.remote_path(path))?,
            ["rm", path] => {
                for path in self.matching(path)? {
                    self.remote.remove(&path)?;
                }
            }
            ["rename" | "mv", from, to] => {
                let (from, to) = (self.remote_path(from), self.remote_path(to));
                self.remote.rename(&from, &to)?;
            }
            ["ln" | "symlink", "-s", target, path] | ["symlink", target, path] => {
                self.remote.symlink(target, &self.remote_path(path))?;
            }
            ["chmod", mode, path] => match u32::from_str_radix(mode, 8) {
                Ok(mode) => {
                    for path in self.matching(path)? {
                        self.remote.set_mode(&path, mode)?;
                    }
                }
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

    fn keeping_too(&self, how: How) -> How {
        How {
            keep: how.keep || self.keeps,
            ..how
        }
    }

    /// A path of the server, from where the session stands.
    pub(crate) fn remote_path(&self, path: &str) -> String {
        if path.starts_with('/') || path.contains(':') {
            String::from(path)
        } else {
            format!("{}/{path}", self.directory.trim_end_matches('/'))
        }
    }

    fn print(&self, text: &str) -> Result<()> {
        self.user.write(format!("{text}\n").as_bytes())
    }

    /// The paths of the server that are meant: one as it is if it is there, else by its pattern.
    pub(crate) fn matching(&mut self, path: &str) -> Result<Vec<String>> {
        let whole = self.remote_path(path);
        if !viper_shell::glob::is_pattern(path) || self.remote.attributes(&whole).is_ok() {
            return Ok(Vec::from([whole]));
        }
        let remote = &mut self.remote;
        pattern::expand(&whole, |directory| {
            let entries = remote.list(directory).unwrap_or_default();
            entries.into_iter().map(|entry| entry.name).collect()
        })
    }

    fn list(&mut self, path: &str, long: bool) -> Result<()> {
        let found = self.matching(path)?;
        match found.as_slice() {
            [one] if self.remote.is_directory(one) => {
                for entry in self.remote.list(one)? {
                    let line = if long { entry.long_name() } else { entry.name };
                    self.print(&line)?;
                }
            }
            all => {
                for whole in all {
                    self.list_one(whole, long)?;
                }
            }
        }
        Ok(())
    }

    /// A line about one file, by its path from where the session stands.
    fn list_one(&mut self, whole: &str, long: bool) -> Result<()> {
        let attributes = self.remote.attributes(whole)?;
        let here = whole.strip_prefix(self.directory.trim_end_matches('/'));
        let name = here
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(whole);
        let name = String::from(name);
        match long {
            true => self.print(&Entry { name, attributes }.long_name()),
            false => self.print(&name),
        }
    }

    fn list_local(&mut self, path: &str) -> Result<()> {
        let path = if path.is_empty() { "." } else { path };
        for entry in self.local.list(path)? {
            self.print(&entry.name)?;
        }
        Ok(())
    }
}

/// What `get`, `put` and their like are to do, with which path, and where it goes.
fn transfer<'w>(which: &str, words: &[&'w str]) -> Result<(How, &'w str, &'w str)> {
    let mut how = How {
        resume: which.starts_with("re"),
        ..How::default()
    };
    let mut rest = words;
    while let [first, behind @ ..] = rest
        && let Some(letters) = first.strip_prefix('-')
    {
        for letter in letters.chars() {
            match letter {
                'r' | 'R' => how.tree = true,
                'p' | 'P' => how.keep = true,
                'a' => how.resume = true,
                _ => return fail(format!("{which}: unknown option -{letter}")),
            }
        }
        rest = behind;
    }
    match rest {
        [from] => Ok((how, from, "")),
        [from, to] => Ok((how, from, to)),
        _ => fail(format!("{which}: one path, and where it goes")),
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
    fn options_of_a_transfer() {
        let how = |tree, resume, keep| How { tree, resume, keep };
        for (which, words, wanted) in [
            ("get", &["a"][..], (how(false, false, false), "a", "")),
            (
                "get",
                &["-rp", "a", "b"],
                (how(true, false, true), "a", "b"),
            ),
            ("put", &["-r", "-a", "a"], (how(true, true, false), "a", "")),
            ("reget", &["a"], (how(false, true, false), "a", "")),
            ("mput", &["a*", "b"], (how(false, false, false), "a*", "b")),
        ] {
            assert_eq!(transfer(which, words), Ok(wanted));
        }
        for wrong in [&["-x", "a"][..], &[], &["-r"], &["a", "b", "c"]] {
            assert!(transfer("put", wrong).is_err(), "{wrong:?}");
        }
    }
}
