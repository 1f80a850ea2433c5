//! Channels, wait queues, timers and the ends of processes, in the orders in which cores can enter
//! the kernel, as far as the bound on preemptions goes. `ci/loom` runs it.
//!
//! All of the kernel's state is under one lock (which `viper-sync` checks on its own), and what a
//! core does between taking it and leaving it is a system call, an interrupt, or a timer. So orders
//! of these are all the orders there are, and loom goes through them.
#![allow(unexpected_cfgs, reason = "`--cfg loom` is how loom is switched on")]
#![cfg(loom)]

mod scenes;
mod world;
