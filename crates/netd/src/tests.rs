//! The server against programs and a host on its wire.

mod hostile;
mod local;
mod wire;
mod world;
