//! How often each crate says `unsafe`, compared with the ledger in `docs/unsafe.md`.
//!
//! Counted are the tokens in `src/` (blocks, functions, traits, implementations, attributes), so
//! comments and strings do not count and macros do.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};

use super::Package;
use crate::error::{Context, Result};
use crate::workspace::{Workspace, write_if_changed};

/// Differences between the sources and the ledger, in both directions.
///
/// With `update` the ledger gets the counts first; rows that it lacks remain complaints, since the
/// reason has to be written by somebody.
///
/// # Errors
///
/// When a file cannot be read or written, or is not Rust.
pub fn complaints(
    workspace: &Workspace,
    packages: &[Package],
    update: bool,
) -> Result<Vec<String>> {
    let path = workspace.root().join("docs/unsafe.md");
    let mut text = std::fs::read_to_string(&path).context(path.display())?;
    let counts = counts(packages)?;
    if update {
        text = updated(&text, &counts);
        write_if_changed(&path, text.as_bytes())?;
    }
    Ok(compare(&read_ledger(&text), &counts))
}

fn counts(packages: &[Package]) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for package in packages {
        let mut count = 0;
        for file in package.sources()? {
            let text = std::fs::read_to_string(&file).context(file.display())?;
            let tokens: TokenStream = text.parse().context(file.display())?;
            count += count_in(tokens);
        }
        counts.insert(package.name.clone(), count);
    }
    Ok(counts)
}

/// The ledger with the second cell of each row replaced.
fn updated(text: &str, counts: &BTreeMap<String, u64>) -> String {
    let lines = text.lines().map(|line| {
        let mut cells: Vec<_> = line.split('|').map(String::from).collect();
        let count = cells
            .get(1)
            .and_then(|name| counts.get(name.trim().trim_matches('`')));
        if let (Some(count), true) = (count, cells.len() > 3) {
            cells[2] = format!(" {count} ");
        }
        cells.join("|") + "\n"
    });
    lines.collect()
}

fn compare(ledger: &BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, count) in counts {
        let listed = ledger.get(name).copied().unwrap_or(0);
        if listed != *count {
            complaints.push(format!(
                "{name} says it {count} times, docs/unsafe.md {listed}"
            ));
        }
    }
    for name in ledger.keys().filter(|name| !counts.contains_key(*name)) {
        complaints.push(format!(
            "docs/unsafe.md lists {name}, which is not in the workspace"
        ));
    }
    complaints
}

fn count_in(tokens: TokenStream) -> u64 {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Ident(word) => u64::from(word == "unsafe"),
            TokenTree::Group(group) => count_in(group.stream()),
            _ => 0,
        })
        .sum()
}

/// Reads table rows `| crate | number | ...`.
fn read_ledger(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let name = cells.next()?.trim_matches('`').to_string();
            Some((name, cells.next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_in_code_counts() {
        let text = r#"
            // unsafe in a comment
            /// unsafe in documentation
            fn f() -> &'static str { "unsafe in a string" }
            unsafe fn g() { unsafe { h() } }
            #[unsafe(no_mangle)] extern "C" fn i() {}
            macro_rules! m { () => { unsafe { h() } } }
        "#;
        assert_eq!(count_in(text.parse().expect("Rust")), 4);
    }

    #[test]
    fn the_ledger_is_a_table() {
        let ledger = read_ledger("# t\n| crate | count | why |\n|---|---|---|\n| `a` | 3 | x |\n");
        assert_eq!(ledger, BTreeMap::from([("a".to_string(), 3)]));
        let counts = BTreeMap::from([("a".to_string(), 4), ("b".to_string(), 0)]);
        assert_eq!(
            compare(&ledger, &counts),
            ["a says it 4 times, docs/unsafe.md 3"]
        );
        assert_eq!(compare(&ledger, &BTreeMap::new()).len(), 1);
        let new = updated(
            "| crate | count | why |\n|---|---|---|\n| `a` | 3 | x |\n",
            &counts,
        );
        assert_eq!(
            new,
            "| crate | count | why |\n|---|---|---|\n| `a` | 4 | x |\n"
        );
    }
}
