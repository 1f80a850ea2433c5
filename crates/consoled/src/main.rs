//! `consoled`: the console server on the UART that the manifest gives it.
#![cfg_attr(target_os = "none", no_std, no_main)]

use consoled::Console;
use consoled::pl011::Pl011;
use viper_rt::abi::Slot;
use viper_rt::handle::OwnedHandle;
use viper_rt::registers::Registers;
use viper_rt::{Error, program, server};

viper_rt::entry!(run);

fn run() -> Result<(), Error> {
    let device = program::take(Slot::DEVICE).map(OwnedHandle::into_object);
    let registers = Registers::new(device.ok_or(Error::NotFound)?)?;
    server::serve(|sources| Console::new(Pl011::new(registers), sources))
}
