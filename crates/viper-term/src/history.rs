//! Lines entered before.

use alloc::collections::VecDeque;
use alloc::string::String;

/// The last lines entered, oldest first, without blank lines and consecutive duplicates.
#[derive(Clone, Debug)]
pub struct History {
    lines: VecDeque<String>,
    lines_max: usize,
}

impl History {
    /// An empty history of at most `lines_max` lines.
    pub const fn new(lines_max: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            lines_max,
        }
    }

    /// Adds a line and drops the oldest when full. Blank lines and repeats are not kept.
    pub fn add(&mut self, line: &str) {
        let repeated = self.lines.back().is_some_and(|last| last == line);
        if line.trim().is_empty() || repeated || self.lines_max == 0 {
            return;
        }
        if self.lines.len() >= self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(String::from(line));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Line `index`, 0 being the oldest.
    pub fn line(&self, index: usize) -> Option<&str> {
        self.lines.get(index).map(String::as_str)
    }

    /// All lines, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.lines.iter().map(String::as_str)
    }

    /// The newest line before `before` that holds `part`. O(total length).
    pub fn find_before(&self, before: usize, part: &str) -> Option<usize> {
        (0..before.min(self.len()))
            .rev()
            .find(|&i| self.lines[i].contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_without_repeats() {
        let mut history = History::new(3);
        for line in ["a", "a", " ", "b", "a", "c", "d"] {
            history.add(line);
        }
        assert_eq!(history.iter().collect::<Vec<_>>(), ["a", "c", "d"]);
        assert_eq!(history.find_before(3, "c"), Some(1));
        assert_eq!(history.find_before(1, "c"), None);
        history.clear();
        assert!(history.is_empty());
        assert_eq!(history.line(0), None);
    }
}
