//! The words of the kernel's command line that are for init.

use alloc::string::String;
use alloc::vec::Vec;
use viper_rt::log::Level;

/// What the command line asks for. Words that are not known are for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `viper.mode=recovery`: only the shell.
    pub recovery: bool,
    /// `viper.exec`: run the archive's `exec` and turn the machine off.
    pub exec: bool,
    /// `viper.servers=-NAME`: these are not started.
    pub switched_off: Vec<String>,
    /// `viper.log=..`, as it is.
    pub log: Option<String>,
}

impl Options {
    /// Reads the words.
    pub fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Options {
        let mut options = Options::default();
        for word in words.flat_map(str::split_ascii_whitespace) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "viper.mode" => options.recovery = value == "recovery",
                "viper.exec" => options.exec = value != "0",
                "viper.servers" => options.servers(value),
                "viper.log" => options.log = Some(value.into()),
                _ => {}
            }
        }
        options
    }

    fn servers(&mut self, value: &str) {
        for item in value.split(',') {
            if let Some(name) = item.strip_prefix('-') {
                self.switched_off.push(name.into());
            } else if let Some(name) = item.strip_prefix('+') {
                self.switched_off.retain(|off| off != name);
            }
        }
    }

    /// How much a subsystem is to log, if the command line says.
    #[must_use]
    pub fn level(&self, subsystem: &str) -> Option<Level> {
        Level::of(subsystem, self.log.as_deref()?)
    }

    /// Whether a server is switched off.
    #[must_use]
    pub fn is_off(&self, name: &str) -> bool {
        self.switched_off.iter().any(|off| off == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        let words = [
            "kernel.x=1",
            "viper.mode=normal viper.exec=1",
            "viper.servers=-netd,-fsd,+fsd",
        ];
        let options = Options::parse(words.into_iter());
        assert!(options.exec && !options.recovery);
        assert!(options.is_off("netd") && !options.is_off("fsd"));
        assert!(Options::parse(["viper.mode=recovery"].into_iter()).recovery);
        assert!(Options::parse(["viper.exec"].into_iter()).exec);
        let options = Options::parse(["viper.log=fsd:debug,kernel:info"].into_iter());
        assert_eq!(options.level("fsd"), Some(Level::Debug));
        assert_eq!(options.level("blkd"), None);
    }
}
