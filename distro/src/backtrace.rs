//! Names for the addresses in the guest's crash reports.
//!
//! A report has a line `backtrace: NAME 0xADDRESS 0xADDRESS ...`, innermost first, where NAME is
//! `kernel` or a process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::elf_file::Symbols;
use crate::image::System;

const MARK: &str = "backtrace: ";

/// Explains backtraces of one system; symbols are read on first use.
pub struct Backtraces<'a> {
    system: &'a System,
    known: RefCell<HashMap<String, Option<Rc<Symbols>>>>,
}

impl<'a> Backtraces<'a> {
    /// For the executables of `system`.
    pub fn new(system: &'a System) -> Self {
        Self {
            system,
            known: RefCell::default(),
        }
    }

    /// The lines to print after `text`: one per address in each backtrace in it.
    pub fn explain(&self, text: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(text);
        text.lines()
            .flat_map(|line| explain(line, |name| self.symbols(name)))
            .collect()
    }

    fn symbols(&self, name: &str) -> Option<Rc<Symbols>> {
        let mut known = self.known.borrow_mut();
        let read = || self.system.symbols(name).map(Rc::new);
        known.entry(name.into()).or_insert_with(read).clone()
    }
}

fn explain(line: &str, symbols: impl Fn(&str) -> Option<Rc<Symbols>>) -> Vec<String> {
    let Some(at) = line.find(MARK) else {
        return Vec::new();
    };
    let mut words = line[at + MARK.len()..].split_whitespace();
    let Some(table) = words.next().and_then(symbols) else {
        return Vec::new();
    };
    let addresses = words.map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    addresses
        .enumerate()
        .map(|(depth, address)| frame(depth, address, &table))
        .collect()
}

fn frame(depth: usize, address: u64, table: &Symbols) -> String {
    // Return addresses point behind the call, which may be behind the function's end.
    let inside = if depth == 0 {
        address
    } else {
        address.saturating_sub(4)
    };
    match table.find(inside) {
        Some((name, offset)) => {
            format!(
                "    {depth:2}: {address:#x} {name} + {:#x}",
                offset + (address - inside)
            )
        }
        None => format!("    {depth:2}: {address:#x} ?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_known_name_are_left_alone() {
        let none = |_: &str| None;
        assert!(explain("backtrace: ghost 0x1", none).is_empty());
        assert!(explain("backtrace: ", none).is_empty());
        let empty = |_: &str| Some(Rc::new(Symbols::default()));
        assert!(explain("hello", empty).is_empty());
        assert_eq!(
            explain("pc backtrace: kernel 0x10 0x20 end", empty).len(),
            2
        );
        assert_eq!(explain("backtrace: kernel 0x10", empty), ["     0: 0x10 ?"]);
    }
}
