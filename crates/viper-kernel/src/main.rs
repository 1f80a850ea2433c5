//! The kernel binary: the machine around the kernel's logic.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod board;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("viper-kernel runs on bare metal; build and boot it with `cargo run -p distro`");
    std::process::exit(2);
}
