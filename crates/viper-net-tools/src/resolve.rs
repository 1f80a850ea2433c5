//! `resolve`.

use crate::arguments::{Problem, Word};
use crate::{FAILED, OK, RESOLVE_NS, Said, Stop, WARN, run};
use alloc::vec::Vec;
use viper_proto::net::client::Network;
use viper_rt::{clock, eprintln, println};

const USAGE: &str = "\
resolve NAME...
Prints the addresses of names. Returns 0, 5 if some have none, 10 if none has.";

/// Prints the addresses of names.
#[must_use]
pub fn resolve() -> i64 {
    run(USAGE, |words| {
        let mut names = Vec::new();
        while let Some(word) = words.take() {
            match word {
                Word::Help => return Err(Stop::Usage),
                Word::Option(option) => return Err(Problem::UnknownOption(option).into()),
                Word::Plain(name) => names.push(name),
            }
        }
        if names.is_empty() {
            return Err(Problem::Missing("a name").into());
        }
        let network = Network::connect()?;
        let mut known = 0;
        for &name in &names {
            match network.resolve(name, clock::after(RESOLVE_NS)) {
                Ok(addresses) => {
                    known += 1;
                    addresses
                        .iter()
                        .for_each(|address| println!("{name} {address}"));
                }
                Err(error) => eprintln!("host: {name}: {}", Said(error)),
            }
        }
        Ok(match known {
            0 => FAILED,
            _ if known < names.len() => WARN,
            _ => OK,
        })
    })
}
