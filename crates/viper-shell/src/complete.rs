//! What Tab knows: commands, programs, files, assigns.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use viper_term::Completion;

use crate::commands;
use crate::context::Context;
use crate::io::Io;
use crate::path;
use crate::shell::Shell;
use crate::system::{AssignTarget, DirEntry, FileKind, System};

/// Entries of one directory that are looked at.
const ENTRIES_MAX: usize = 5000;

impl Shell {
    /// Candidates for the word before `cursor`.
    pub fn complete(&mut self, sys: &mut dyn System, line: &str, cursor: usize) -> Completion {
        let before = line.get(..cursor).unwrap_or(line);
        let start = word_start(before);
        let word = before.get(start..).unwrap_or("");
        let first = before.get(..start).unwrap_or("").trim_end();
        let is_command = first.is_empty() || first.ends_with([';', '|', '&', '(', '{']);
        let mut context = Context {
            shell: self,
            sys,
            io: Io::console(),
        };
        let plain: String = word.chars().filter(|c| !"'\"\\".contains(*c)).collect();
        let mut candidates = Vec::new();
        if is_command && !plain.contains(['/', ':']) {
            context.commands(&plain, &mut candidates);
        }
        if !is_command || candidates.is_empty() {
            context.files(&plain, &mut candidates);
            context.assigns(&plain, &mut candidates);
        }
        candidates.sort_by_key(|name| name.to_lowercase());
        candidates.dedup();
        Completion { start, candidates }
    }
}

/// Where the word that ends here begins. Quoted and escaped blanks do not end it.
fn word_start(before: &str) -> usize {
    let (mut start, mut quote, mut escaped) = (0, None, false);
    for (at, c) in before.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, c) if c.is_whitespace() || ";|&<>()".contains(c) => start = at + c.len_utf8(),
            _ => {}
        }
    }
    start
}

fn begins(name: &str, with: &str) -> bool {
    name.get(..with.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// The name as it has to be typed.
fn typed(name: &str) -> String {
    let special = |c: char| c.is_whitespace() || "'\"\\$`;|&<>()*?[]#".contains(c);
    if name.contains(special) {
        crate::simple::quote(name)
    } else {
        name.to_string()
    }
}

impl Context<'_> {
    fn commands(&mut self, word: &str, into: &mut Vec<String>) {
        let names = commands::all().map(|spec| spec.name);
        into.extend(
            names
                .filter(|name| begins(name, word))
                .map(|name| format!("{name} ")),
        );
        let state = &self.shell.state;
        let own = state.aliases.keys().chain(state.functions.keys());
        into.extend(
            own.filter(|name| begins(name, word))
                .map(|name| format!("{name} ")),
        );
        for dir in self.shell.state.search.clone() {
            for entry in self.entries(&dir) {
                let name = entry.name.strip_suffix(".elf").unwrap_or(&entry.name);
                if entry.kind == FileKind::File && begins(name, word) {
                    into.push(format!("{} ", typed(name)));
                }
            }
        }
        // Other names only when nothing else fits: they are many.
        if into.is_empty() {
            let aliases = commands::all().flat_map(|spec| spec.aliases.iter());
            into.extend(
                aliases
                    .filter(|name| begins(name, word))
                    .map(|name| format!("{name} ")),
            );
        }
    }

    fn entries(&mut self, dir: &str) -> Vec<DirEntry> {
        let mut entries = Vec::new();
        let Ok(path) = self.locate(dir) else {
            return entries;
        };
        let mut next = Some(0);
        while let Some(at) = next.filter(|_| entries.len() < ENTRIES_MAX) {
            next = self.sys.read_dir(&path, at, &mut entries).unwrap_or(None);
        }
        entries
    }

    fn files(&mut self, word: &str, into: &mut Vec<String>) {
        let split = word.rfind(['/', ':']).map_or(0, |at| at + 1);
        let (dir, name) = word.split_at(split);
        for entry in self.entries(if dir.is_empty() { "." } else { dir }) {
            let hidden = entry.name.starts_with('.') && !name.starts_with('.');
            if hidden || !begins(&entry.name, name) {
                continue;
            }
            let full = path::beside(dir, &entry.name);
            let path = self.locate(&full).unwrap_or_default();
            let directory = match entry.kind {
                FileKind::Directory => true,
                FileKind::Link => self
                    .sys
                    .stat(&path, true)
                    .is_ok_and(|s| s.kind == FileKind::Directory),
                _ => false,
            };
            into.push(format!(
                "{}{}",
                typed(&full),
                if directory { "/" } else { " " }
            ));
        }
    }

    fn assigns(&mut self, word: &str, into: &mut Vec<String>) {
        if word.contains(['/', ':']) {
            return;
        }
        for assign in self.sys.assigns().unwrap_or_default() {
            if assign.target != AssignTarget::Service && begins(&assign.name, word) {
                into.push(format!("{}:", assign.name));
            }
        }
    }
}
