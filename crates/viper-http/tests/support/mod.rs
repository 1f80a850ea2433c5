//! Shared by the tests and the long fuzzing example.
#![allow(dead_code, reason = "not every test uses everything")]

pub mod fuzz;
pub mod random;
pub mod urls;
