//! Patterns: `*`, `?`, `[a-z]`, `[!a-z]`, with `\` before a character that stands for itself.

use alloc::string::String;
use alloc::vec::Vec;

use crate::context::{Context, Stop, fail};
use crate::path;
use crate::system::{DirEntry, FileKind};

/// File names one pattern may give.
const FOUND_MAX: usize = 20_000;

/// Whether text has characters that match others.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Appends `text` so that every character of it stands for itself.
pub(crate) fn escape(text: &str, pattern: &mut String) {
    for c in text.chars() {
        if "*?[]\\#".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
}

/// The text a pattern without matching characters stands for.
fn unescape(pattern: &str) -> String {
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' {
            chars.next().unwrap_or(c)
        } else {
            c
        });
    }
    text
}

fn has_wildcard(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => _ = chars.next(),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// Whether all of `text` matches. O(pattern x text), constant memory.
///
/// ```
/// use viper_shell::glob::matches;
///
/// assert!(matches("*.t[w-y]?", "a.txt") && !matches("*.txt", "a.txt.gz"));
/// assert!(matches(r"\*", "*") && !matches("[!a]", "a"));
/// ```
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut p, mut t) = (pattern, text);
    // After the last `*`: what follows it, and where in the text it was tried.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        if let Some(after) = p.strip_prefix('*') {
            p = after;
            retry = Some((p, t));
            continue;
        }
        if p.is_empty() && t.is_empty() {
            return true;
        }
        if let Some((after_p, after_t)) = one(p, t) {
            (p, t) = (after_p, after_t);
            continue;
        }
        let Some((after_star, tried)) = retry else {
            return false;
        };
        let mut chars = tried.chars();
        if chars.next().is_none() {
            return false;
        }
        (p, t) = (after_star, chars.as_str());
        retry = Some((p, t));
    }
}

/// Matches one character; gives the rest of both.
fn one<'p, 't>(pattern: &'p str, text: &'t str) -> Option<(&'p str, &'t str)> {
    let mut p = pattern.chars();
    let mut t = text.chars();
    let (want, have) = (p.next()?, t.next()?);
    match want {
        '?' => {}
        '[' => {
            if let Some((fits, rest)) = set(p.as_str(), have) {
                return fits.then_some((rest, t.as_str()));
            }
            // Not closed: an ordinary character.
            if have != '[' {
                return None;
            }
        }
        '\\' => {
            if p.next().unwrap_or('\\') != have {
                return None;
            }
        }
        other if other == have => {}
        _ => return None,
    }
    Some((p.as_str(), t.as_str()))
}

/// Whether `c` is in the set that begins after `[`, and what follows the set.
fn set(pattern: &str, c: char) -> Option<(bool, &str)> {
    let negated = pattern.starts_with(['!', '^']);
    let mut chars = pattern[usize::from(negated)..].chars();
    let mut fits = false;
    let mut first = true;
    loop {
        let mut low = chars.next()?;
        if low == ']' && !first {
            return Some((fits != negated, chars.as_str()));
        }
        first = false;
        if low == '\\' {
            low = chars.next()?;
        }
        let mut ahead = chars.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                chars = ahead;
                high
            }
            _ => low,
        };
        fits |= (low..=high).contains(&c);
    }
}

/// `value` without the shortest or longest start or end that matches.
pub(crate) fn trim<'v>(value: &'v str, pattern: &str, end: bool, longest: bool) -> &'v str {
    let edges = value.char_indices().map(|(at, _)| at).chain([value.len()]);
    let mut edges: Vec<usize> = edges.collect();
    // Shortest first: short starts end early, short ends begin late.
    if end != longest {
        edges.reverse();
    }
    for at in edges {
        let (start, rest) = value.split_at(at);
        let (cut, kept) = if end { (rest, start) } else { (start, rest) };
        if matches(pattern, cut) {
            return kept;
        }
    }
    value
}

impl Context<'_> {
    /// The files a pattern means, sorted, written as the pattern is; empty when there are none.
    pub(crate) fn matching_files(&mut self, pattern: &str) -> Result<Vec<String>, Stop> {
        let (mut found, components) = match pattern.split_once(':') {
            Some((name, rest)) if !name.contains('/') && !has_wildcard(name) => {
                (Vec::from([alloc::format!("{}:", unescape(name))]), rest)
            }
            _ if pattern.starts_with('/') => (Vec::from([String::from("/")]), &pattern[1..]),
            _ => (Vec::from([String::new()]), pattern),
        };
        for component in components
            .split('/')
            .filter(|component| !component.is_empty())
        {
            self.check()?;
            let mut next = Vec::new();
            for base in &found {
                self.matching_names(base, component, &mut next)?;
            }
            found = next;
        }
        found.sort();
        Ok(found)
    }

    fn matching_names(
        &mut self,
        base: &str,
        component: &str,
        into: &mut Vec<String>,
    ) -> Result<(), Stop> {
        let here = if base.is_empty() { "." } else { base };
        if !has_wildcard(component) {
            let name = path::beside(base, &unescape(component));
            if let Ok(path) = self.locate(&name)
                && self.sys.stat(&path, false).is_ok()
            {
                into.push(name);
            }
            return Ok(());
        }
        let Ok(dir) = self.locate(here) else {
            return Ok(());
        };
        let mut from = Some(0);
        while let Some(at) = from {
            let mut entries: Vec<DirEntry> = Vec::new();
            // What cannot be read matches nothing.
            from = self.sys.read_dir(&dir, at, &mut entries).unwrap_or(None);
            for entry in entries {
                let hidden = entry.name.starts_with('.') && !component.starts_with('.');
                if !hidden && entry.kind != FileKind::Other && matches(component, &entry.name) {
                    into.push(path::beside(base, &entry.name));
                }
            }
            if into.len() > FOUND_MAX {
                return fail("a pattern matches more than 20000 files");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards() {
        for (pattern, text) in [
            ("*", ""),
            ("*.c", "a.c"),
            ("a*b*c", "aXbYbc"),
            ("?", "é"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]]", "]"),
            ("[a-]", "-"),
            ("\\*", "*"),
            ("[", "["),
            ("a[", "a["),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("a*b", "aXbc"),
            ("[a-c]", "d"),
            ("\\*", "x"),
            ("[!a]", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn trimmed() {
        assert_eq!(trim("a.b.c", ".*", true, false), "a.b");
        assert_eq!(trim("a.b.c", ".*", true, true), "a");
        assert_eq!(trim("a/b/c", "*/", false, false), "b/c");
        assert_eq!(trim("a/b/c", "*/", false, true), "c");
        assert_eq!(trim("abc", "x", true, true), "abc");
    }

    #[test]
    fn many_stars_stay_fast() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(199)));
        assert!(matches(&pattern, &"a".repeat(5000)));
    }

    proptest! {
        #[test]
        fn escaped_text_matches_itself_only(text: String, other: String) {
            let mut pattern = String::new();
            escape(&text, &mut pattern);
            prop_assert!(matches(&pattern, &text));
            prop_assert_eq!(matches(&pattern, &other), other == text);
            prop_assert_eq!(unescape(&pattern), text);
        }

        #[test]
        fn any_pattern_ends(pattern: String, text: String) {
            let _ = matches(&pattern, &text);
        }
    }
}
