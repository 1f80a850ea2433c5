//! One line per test.

use alloc::format;
use alloc::string::String;
use core::fmt::Debug;
use viper_rt::{Error, println};

/// Why a test failed.
pub type Verdict = Result<(), String>;

/// Runs tests and counts.
#[derive(Debug)]
pub struct Report<'a> {
    filter: Option<&'a str>,
    passed: usize,
    failed: usize,
}

impl<'a> Report<'a> {
    /// Of all tests, or those with this in their name.
    #[must_use]
    pub fn new(filter: Option<&'a str>) -> Report<'a> {
        Report {
            filter,
            passed: 0,
            failed: 0,
        }
    }

    /// Runs a test unless it is filtered out.
    pub fn run(&mut self, name: &str, test: impl FnOnce() -> Verdict) {
        if self.filter.is_some_and(|part| !name.contains(part)) {
            return;
        }
        match test() {
            Ok(()) => {
                self.passed += 1;
                println!("ok {name}");
            }
            Err(reason) => {
                self.failed += 1;
                println!("not ok {name} {reason}");
            }
        }
    }

    /// Prints the sum; the return code.
    #[must_use]
    pub fn finish(self) -> i64 {
        println!("# {} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 {
            0
        } else {
            super::FAILED
        }
    }
}

/// Whether what came is what was expected.
///
/// # Errors
/// Both of them, in words.
pub fn want<T: Debug + PartialEq>(what: &str, got: T, expected: T) -> Verdict {
    if got == expected {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, got {got:?}"))
    }
}

/// An error as a verdict.
pub(super) fn failed(what: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{what}: {}", error.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_says_both() {
        assert_eq!(want("x", 1, 1), Ok(()));
        assert_eq!(want("x", 1, 2), Err("x: expected 2, got 1".into()));
    }
}
