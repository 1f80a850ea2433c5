//! Threads of this process.

#[cfg(target_os = "none")]
use crate::handle::Memory;
use crate::handle::{Object, Thread};
use crate::sys;
use alloc::boxed::Box;
#[cfg(target_os = "none")]
use viper_abi::Protection;
use viper_abi::{Error, Handle, Signals};

/// Bytes of stack a thread gets unless it says otherwise.
pub const STACK_BYTES: usize = 64 * 1024;

/// How a thread is to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of stack; pages cost memory when they are touched.
    pub stack_bytes: usize,
    /// Priority 0..=7, at most the caller's own.
    pub priority: u8,
    /// Mask of the cores it may run on; 0 for any.
    pub cores: u8,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            stack_bytes: STACK_BYTES,
            priority: 3,
            cores: 0,
        }
    }
}

/// A thread that can be waited for.
#[derive(Debug)]
pub struct JoinHandle {
    thread: Thread,
    stack: (u64, u64),
}

impl JoinHandle {
    /// The thread.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Waits until it has ended, then frees its stack.
    ///
    /// # Errors
    /// [`Error::TimedOut`] at the deadline: the thread runs on, its stack is kept.
    pub fn join(self, deadline: u64) -> Result<(), Error> {
        self.thread.wait(Signals::ENDED, deadline)?;
        let (address, len) = self.stack;
        if len > 0 {
            // SAFETY: the thread that used the stack has ended.
            let _ = unsafe { sys::memory_unmap(Handle::NONE, address, len) };
        }
        Ok(())
    }
}

type Body = Box<dyn FnOnce() + Send>;

/// Starts a thread.
///
/// # Errors
/// [`Error::OutOfMemory`], [`Error::LimitReached`], [`Error::NoRight`] for the priority.
pub fn spawn(body: impl FnOnce() + Send + 'static) -> Result<JoinHandle, Error> {
    spawn_with(Options::default(), body)
}

/// Starts a thread with options.
///
/// # Errors
/// As [`spawn`].
#[cfg(target_os = "none")]
pub fn spawn_with(
    options: Options,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle, Error> {
    let len = options.stack_bytes.next_multiple_of(viper_abi::PAGE_SIZE) as u64;
    let memory = Memory::new(len)?;
    let protection = Protection::READ | Protection::WRITE | Protection::GUARD;
    // SAFETY: without FIXED, nothing in use is mapped over.
    let (stack,) = unsafe { sys::memory_map(Handle::NONE, memory.raw(), 0, len, protection, 0)? };
    let body: Body = Box::new(body);
    let argument = Box::into_raw(Box::new(body));
    let entry = crate::arch::entry::thread_start as *const () as u64;
    let how = u64::from(options.priority) | u64::from(options.cores) << 8;
    // SAFETY: the entry is ours, the stack is fresh, and the argument is a box that only the new
    // thread opens.
    let made =
        unsafe { sys::thread_create(Handle::NONE, entry, stack + len, argument as u64, 0, how) };
    match made {
        Ok((thread, _)) => Ok(JoinHandle {
            thread: Thread::from_raw(thread),
            stack: (stack, len),
        }),
        Err(error) => {
            // SAFETY: no thread was made, so box and stack are still only ours.
            unsafe {
                drop(Box::from_raw(argument));
                let _ = sys::memory_unmap(Handle::NONE, stack, len);
            }
            Err(error)
        }
    }
}

/// Starts a thread of the host in the same fake process.
///
/// # Errors
/// [`Error::LimitReached`] if the host refuses.
#[cfg(not(target_os = "none"))]
pub fn spawn_with(_: Options, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle, Error> {
    let thread = crate::host::spawn_thread(Box::new(body) as Body)?;
    Ok(JoinHandle {
        thread: Thread::from_raw(thread),
        stack: (0, 0),
    })
}

/// Where a new thread begins in Rust.
///
/// # Safety
/// `body` came from `Box::into_raw` in `spawn_with` and is given to one thread only.
#[cfg(target_os = "none")]
pub(crate) unsafe extern "C" fn further_thread(body: *mut Body) -> ! {
    // SAFETY: the contract of this function.
    let body = unsafe { Box::from_raw(body) };
    body();
    let _ = sys::thread_exit();
    loop {
        core::hint::spin_loop();
    }
}

/// Lets another thread of the same priority run.
pub fn yield_now() {
    let _ = sys::thread_yield();
}
