//! Nothing but tests: see `tests/` and the README.
#![no_std]
