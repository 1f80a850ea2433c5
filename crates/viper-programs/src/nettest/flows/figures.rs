//! The figures of deaths, for people.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use viper_rt::{Error, clock};

/// What one death was like; times are nanoseconds after it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// When the last end heard of it.
    pub(super) heard: u64,
    pub(super) listener: u64,
    /// When somebody from outside was accepted, if anybody had called before.
    pub(super) outside: Option<u64>,
    /// When as many new connections as before had answered.
    pub(super) all: u64,
    pub(super) moved_bytes: u64,
}

pub(super) fn line(number: u64, count: usize, figures: &Figures) -> String {
    let ms = |ns: u64| ns / clock::MILLISECOND;
    let outside = figures.outside.map_or(String::new(), |ns| {
        format!("to callers from outside after {} ms, ", ms(ns))
    });
    format!(
        "flows: death {number}: {count} connections ended with \"{}\" within {} ms; the listener \
         was back after {} ms, {outside}{count} new connections worked after {} ms; {} KiB had moved",
        Error::ServerDied,
        ms(figures.heard),
        ms(figures.listener),
        ms(figures.all),
        figures.moved_bytes >> 10
    )
}

pub(super) fn summary(all: &[Figures]) -> String {
    let mut text = format!("flows: {} deaths:", all.len());
    let mut say = |what: &str, of: &dyn Fn(&Figures) -> Option<u64>| {
        let mut times: Vec<u64> = all.iter().filter_map(of).collect();
        times.sort_unstable();
        if let (Some(middle), Some(last)) = (times.get(times.len() / 2), times.last()) {
            let ms = |ns: &u64| ns / clock::MILLISECOND;
            let (middle, last) = (ms(middle), ms(last));
            let _ = write!(
                text,
                " {what} {middle} ms in the middle, {last} ms at most;"
            );
        }
    };
    say("all had heard after", &|f| Some(f.heard));
    say("the listener was back after", &|f| Some(f.listener));
    say("to callers from outside after", &|f| f.outside);
    say("as many new connections worked after", &|f| Some(f.all));
    text
}
