//! The server against programs and a host on its wire.

mod deaths;
mod hostile;
mod local;
mod wire;
mod world;
