//! A machine of vectors: the kernel's logic, on the host.
//!
//! [`FakePlatform`] is RAM, clock, timers and a translation cache; [`FakeMachine`] is cores that
//! run "programs" made of system calls and memory accesses, as the vectors and `eret` would.
//! The cache remembers each translation that was used until the kernel invalidates it, and fails
//! the test when a stale one is used.

mod check;
mod machine;
mod platform;

pub use check::Census;
pub use machine::{FakeMachine, Outcome};
pub use platform::{FakeFrames, FakePlatform, RAM_BASE};
