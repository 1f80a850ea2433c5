#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod arguments;
pub mod fetch;
mod guest;
pub mod httpd;
mod nc;
mod netinfo;
mod netstat;
mod ntp;
mod ping;
mod resolve;
pub mod stream;
mod text;

use arguments::Problem;
use core::fmt;
use viper_rt::{Error, clock, eprintln, println, program};

pub use guest::{fetch_main, httpd_main};
pub use nc::nc;
pub use netinfo::netinfo;
pub use netstat::netstat;
pub use ntp::ntp;
pub use ping::{ping, ping6};
pub use resolve::resolve;

/// Well.
const OK: i64 = 0;
/// Partly.
const WARN: i64 = 5;
/// Failed.
const FAILED: i64 = 10;
/// Not used as it must be, or without a network at all.
const UNUSABLE: i64 = 20;

/// How long a name may take to be resolved.
const RESOLVE_NS: u64 = 10 * clock::SECOND;

/// Why a program ends before its time.
#[derive(Debug)]
enum Stop {
    /// It was asked how it is used.
    Usage,
    /// Its arguments are wrong.
    Wrong(Problem),
    /// Something failed; what, if that is not plain.
    Failed(Option<&'static str>, Error),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Stop {
        Stop::Wrong(problem)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(None, error)
    }
}

/// Runs a program: says what stopped it, and makes a return code of it.
fn run(usage: &str, work: impl FnOnce(&mut Words) -> Result<i64, Stop>) -> i64 {
    let name = program::arguments().next().unwrap_or("?");
    let name = name.rsplit(['/', ':']).next().unwrap_or(name);
    let mut words = arguments::own();
    match work(&mut words) {
        Ok(code) => code,
        Err(Stop::Usage) => {
            println!("{usage}");
            OK
        }
        Err(Stop::Wrong(problem)) => {
            eprintln!("{name}: {problem}\n{usage}");
            UNUSABLE
        }
        Err(Stop::Failed(what, error)) => {
            let code = if error == Error::NoService {
                UNUSABLE
            } else {
                FAILED
            };
            match what {
                Some(what) => eprintln!("{name}: {what}: {}", Said(error)),
                None => eprintln!("{name}: {}", Said(error)),
            }
            code
        }
    }
}

type Words = arguments::Arguments<arguments::Own>;

/// An error in the words of the network.
struct Said(Error);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::NoService => f.write_str("the network service is not running"),
            Error::NoRight => f.write_str("this program may not do that on the network"),
            Error::NotFound => f.write_str("no such host"),
            error => write!(f, "{error}"),
        }
    }
}
