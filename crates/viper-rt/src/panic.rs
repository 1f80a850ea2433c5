//! A panic is said on standard error and ends the process with code 101.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if !PANICKING.swap(true, Ordering::Relaxed) {
        let name = crate::program::arguments().next().unwrap_or("?");
        crate::eprintln!("{name}: {info}");
    }
    crate::program::exit(101)
}
