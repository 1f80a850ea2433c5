//! What a program was started with, and how it ends.

use crate::handle::OwnedHandle;
use crate::sys;
use core::sync::atomic::{AtomicU64, Ordering};
use viper_abi::{Handle, Slot, Startup};

#[cfg(target_os = "none")]
mod state {
    use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
    use viper_abi::Startup;

    static BLOCK: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
    static TAKEN: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

    pub(super) fn set(block: *mut u8) {
        BLOCK.store(block, Ordering::Release);
    }

    pub(super) fn block() -> Option<Startup<'static>> {
        let block = BLOCK.load(Ordering::Acquire);
        if block.is_null() {
            return None;
        }
        // SAFETY: the kernel and the spawning library map the block for the life of the process,
        // read-only, and a block is never shorter than its header.
        let header = unsafe { core::slice::from_raw_parts(block, 16) };
        let len = Startup::length(header).ok()?;
        // SAFETY: as above; the maker of the block mapped as much as its header says.
        let bytes = unsafe { core::slice::from_raw_parts(block, len) };
        Startup::parse(bytes).ok()
    }

    pub(super) fn taken(index: usize) -> Option<&'static AtomicU64> {
        TAKEN.get(index)
    }
}

#[cfg(not(target_os = "none"))]
use crate::host::startup as state;

/// The startup block; `None` only where no program runs.
#[must_use]
pub fn startup() -> Option<Startup<'static>> {
    state::block()
}

/// The arguments; the first is the program's name.
pub fn arguments() -> impl Iterator<Item = &'static str> {
    let startup = startup();
    (0..)
        .map_while(move |index| startup?.arguments().nth(index))
        .map(|a| core::str::from_utf8(a).unwrap_or("?"))
}

/// The value of an environment variable.
#[must_use]
pub fn variable(name: &str) -> Option<&'static str> {
    environment().find(|&(n, _)| n == name).map(|(_, v)| v)
}

/// All environment variables with their values.
pub fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    let startup = startup();
    (0..)
        .map_while(move |index| startup?.environment().nth(index))
        .filter_map(|e| core::str::from_utf8(e).ok()?.split_once('='))
}

/// The number of the handle in this slot, which stays the program's.
#[must_use]
pub fn peek(slot: Slot) -> Option<Handle> {
    startup()?.handle(slot)
}

/// Takes the handle in this slot. Each can be taken once.
#[must_use]
pub fn take(slot: Slot) -> Option<OwnedHandle> {
    let (index, (_, handle)) = startup()?
        .handles()
        .enumerate()
        .find(|&(_, (s, _))| s == slot)?;
    let word: &AtomicU64 = state::taken(index / 64)?;
    let bit = 1 << (index % 64);
    if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        Some(OwnedHandle::new(handle))
    } else {
        None
    }
}

/// Ends the process.
pub fn exit(code: i64) -> ! {
    let _ = sys::process_exit(code);
    #[cfg(not(target_os = "none"))]
    crate::host::exit();
    #[cfg(target_os = "none")]
    loop {
        core::hint::spin_loop();
    }
}

/// Where the entry code goes: remembers the startup block, runs the program, ends the process.
///
/// # Safety
/// `block` is the address of the startup block that the kernel gave in `x0`.
#[cfg(target_os = "none")]
pub(crate) unsafe extern "C" fn first_thread(block: *mut u8) -> ! {
    unsafe extern "Rust" {
        // Made by `entry!` in the program.
        safe fn viper_main() -> i64;
    }
    state::set(block);
    exit(viper_main())
}

/// What the main function of a program may return.
pub trait Termination {
    /// The exit code.
    fn code(self) -> i64;
}

impl Termination for () {
    fn code(self) -> i64 {
        0
    }
}

impl Termination for i64 {
    fn code(self) -> i64 {
        self
    }
}

impl Termination for Result<(), viper_abi::Error> {
    fn code(self) -> i64 {
        match self {
            Ok(()) => 0,
            Err(error) => {
                let name = arguments().next().unwrap_or("?");
                crate::eprintln!("{name}: {error}");
                20
            }
        }
    }
}

/// Makes a function the program's main function.
///
/// On the host the program only says where it runs.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[cfg(target_os = "none")]
        #[allow(unsafe_code, reason = "the one symbol the runtime looks for")]
        #[unsafe(no_mangle)]
        extern "Rust" fn viper_main() -> i64 {
            $crate::program::Termination::code($main())
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            let _ = $main as fn() -> _;
            std::eprintln!("{} runs on ViperOS only", env!("CARGO_BIN_NAME"));
            std::process::exit(125);
        }
    };
}
