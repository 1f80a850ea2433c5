//! A shell on a fake system.
#![allow(dead_code)]

use viper_shell::fake::FakeSystem;
use viper_shell::{Outcome, Shell};

pub struct Rig {
    pub sys: FakeSystem,
    pub shell: Shell,
}

impl Rig {
    pub fn new() -> Self {
        Self {
            sys: FakeSystem::new(),
            shell: Shell::new(),
        }
    }

    /// Runs a line; gives the return code and everything on the console.
    pub fn run(&mut self, line: &str) -> (i32, String) {
        let Outcome { code, .. } = self.shell.run(&mut self.sys, line);
        assert_eq!(self.sys.leaks(), 0, "left open after `{line}`");
        let temporary = |name: &&str| name.starts_with("/t/shell-");
        assert_eq!(
            self.sys.disk.names().iter().find(|n| temporary(n)),
            None,
            "after `{line}`"
        );
        (code, self.sys.take_console())
    }

    /// Runs a line that succeeds; gives what is on the console.
    #[track_caller]
    pub fn ok(&mut self, line: &str) -> String {
        let (code, text) = self.run(line);
        assert_eq!(code, 0, "{line}: {text}");
        text
    }

    /// Runs a line that returns `code`; gives what is on the console.
    #[track_caller]
    pub fn fails(&mut self, line: &str, code: i32) -> String {
        let (got, text) = self.run(line);
        assert_eq!(got, code, "{line}: {text}");
        text
    }
}
