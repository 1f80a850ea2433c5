//! The file server: mounts the volume that the block server has, and serves it.
#![cfg_attr(target_os = "none", no_std, no_main)]

use fsd::{Fsd, System};
use viper_proto::names;
use viper_rt::abi::Slot;
use viper_rt::handle::OwnedHandle;
use viper_rt::{Error, program, server};

viper_rt::entry!(run);

fn run() -> Result<(), Error> {
    let names = program::take(Slot::NAMES).map(OwnedHandle::into_object);
    let system = System::new(names.map(names::Client::new));
    server::serve(|sources| Ok(Fsd::new(system, sources)))
}
