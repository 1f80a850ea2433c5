//! Model devices that really walk the rings: honest ones for function, hostile ones for safety.
//!
//! A [`Fake`] holds a model ([`FakeDisk`], [`FakeRng`], [`FakeNet`], [`FakeInput`]) behind the
//! registers of a modern virtio-mmio device. It reads descriptors out of [`FakeMemory`] by device
//! address, as hardware does, checks the driver against the standard ([`Fake::violations`]) and
//! counts its register accesses ([`Fake::counts`]). [`Fault`]s make it misbehave.

mod device;
mod memory;
mod models;
mod rings;

pub use device::{Counts, Fake, FakeRegisters, Fault, Model};
pub use memory::FakeMemory;
pub use models::{FakeDisk, FakeInput, FakeNet, FakeRng};
pub use rings::Chain;
