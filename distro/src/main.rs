//! Pins, builds and boots ViperOS.

fn main() {}
