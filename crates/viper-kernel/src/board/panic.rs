//! The end: one report on the debug port, then off.

use core::fmt::{Arguments, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{OFFSET, machine, uart};
use viper_kernel::line::Line;

static IS_DYING: AtomicBool = AtomicBool::new(false);

/// Reports and turns the machine off. `pc` and `frame` begin the backtrace.
pub fn die(what: Arguments<'_>, pc: u64, frame: u64) -> ! {
    if !IS_DYING.swap(true, Ordering::Relaxed) {
        let mut line = Line::new();
        let _ = write!(
            line,
            "\r\nKERNEL PANIC: {what}; pc={pc:#x}; backtrace: kernel {pc:#x}"
        );
        let mut frame = frame;
        for _ in 0..16 {
            if frame < OFFSET || !frame.is_multiple_of(16) {
                break;
            }
            // SAFETY: frame records lie on the stack of this core, which is mapped; a broken chain
            // at worst faults once more, which `IS_DYING` ends.
            let [next, back] = unsafe { *(frame as *const [u64; 2]) };
            let _ = write!(line, " {back:#x}");
            if next <= frame {
                break;
            }
            frame = next;
        }
        let _ = line.write_str("\r\n");
        uart::put(line.as_bytes());
        machine::power(viper_abi::PowerAction::OFF);
    }
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (pc, frame): (u64, u64);
    // SAFETY: reads two registers.
    unsafe { core::arch::asm!("adr {}, .", "mov {}, x29", out(reg) pc, out(reg) frame) };
    match info.location() {
        Some(at) => die(
            format_args!("{} at {}:{}", info.message(), at.file(), at.line()),
            pc,
            frame,
        ),
        None => die(format_args!("{}", info.message()), pc, frame),
    }
}
