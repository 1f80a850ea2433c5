//! The few Linux system calls that are needed.

use core::arch::asm;
use core::ffi::CStr;
use core::fmt;

/// A negative error number, as the kernel gives it.
pub type Result<T> = core::result::Result<T, i64>;

pub const READ: u32 = 0;
pub const WRITE: u32 = 1;
pub const CREATE: u32 = 0o100;

/// The host as a guest of QEMU's user network sees it.
pub const HOST: [u8; 4] = [10, 0, 2, 2];
const AT_FDCWD: u64 = -100_i64 as u64;

fn call(number: u64, arguments: [u64; 6]) -> Result<u64> {
    let result: i64;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: a system call of Linux; the wrappers below pass pointers to what lives for the call.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
            in("x3") d, in("x4") e, in("x5") f, options(nostack));
    }
    if result < 0 {
        Err(result)
    } else {
        Ok(result as u64)
    }
}

fn at(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

fn name(text: &CStr) -> u64 {
    text.as_ptr() as u64
}

pub fn mount(source: &CStr, target: &CStr, kind: &CStr) -> Result<()> {
    let _ = make_dir(target);
    call(40, [name(source), name(target), name(kind), 0, 0, 0]).map(drop)
}

pub fn make_dir(path: &CStr) -> Result<()> {
    call(34, [AT_FDCWD, name(path), 0o755, 0, 0, 0]).map(drop)
}

pub fn open(path: &CStr, flags: u32) -> Result<i32> {
    call(56, [AT_FDCWD, name(path), flags.into(), 0o644, 0, 0]).map(|fd| fd as i32)
}

pub fn close(fd: i32) -> Result<()> {
    call(57, [fd as u64, 0, 0, 0, 0, 0]).map(drop)
}

pub fn read(fd: i32, to: &mut [u8]) -> Result<usize> {
    call(63, [fd as u64, at(to), to.len() as u64, 0, 0, 0]).map(|count| count as usize)
}

pub fn read_exact(fd: i32, mut to: &mut [u8]) -> Result<()> {
    while !to.is_empty() {
        match read(fd, to)? {
            0 => return Err(-5),
            count => to = &mut to[count..],
        }
    }
    Ok(())
}

pub fn write_all(fd: i32, mut from: &[u8]) -> Result<()> {
    while !from.is_empty() {
        let count = call(64, [fd as u64, at(from), from.len() as u64, 0, 0, 0])?;
        from = &from[count as usize..];
    }
    Ok(())
}

pub fn fsync(fd: i32) -> Result<()> {
    call(82, [fd as u64, 0, 0, 0, 0, 0]).map(drop)
}

pub fn sync() {
    let _ = call(81, [0; 6]);
}

pub fn load_module(path: &CStr) -> Result<()> {
    let file = open(path, READ)?;
    call(273, [file as u64, name(c""), 0, 0, 0, 0])?;
    close(file)
}

pub fn now_ns() -> u64 {
    let mut time = [0_u64; 2];
    let _ = call(113, [1, time.as_mut_ptr() as u64, 0, 0, 0, 0]);
    time[0] * 1_000_000_000 + time[1]
}

pub fn power_off() -> ! {
    sync();
    loop {
        let _ = call(142, [0xfee1_dead, 672_274_793, 0x4321_fedc, 0, 0, 0]);
    }
}

const INET: u16 = 2;

/// `sockaddr_in`.
fn address(ip: [u8; 4], port: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&INET.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&ip);
    bytes
}

/// Gives `eth0` the address that QEMU's user network leases to its first guest.
pub fn network_up() -> Result<()> {
    let socket = call(198, [INET.into(), 2, 0, 0, 0, 0])?;
    let set = |request: u64, value: &[u8]| -> Result<()> {
        // `struct ifreq`: the interface's name, then the value.
        let mut bytes = [0_u8; 40];
        bytes[..4].copy_from_slice(b"eth0");
        bytes[16..16 + value.len()].copy_from_slice(value);
        call(29, [socket, request, at(&bytes), 0, 0, 0]).map(drop)
    };
    set(0x8916, &address([10, 0, 2, 15], 0))?;
    set(0x891c, &address([255, 255, 255, 0], 0))?;
    // IFF_UP | IFF_RUNNING
    set(0x8914, &0x41_u16.to_ne_bytes())?;
    close(socket as i32)
}

pub fn connect(ip: [u8; 4], port: u16) -> Result<i32> {
    let socket = call(198, [INET.into(), 1, 0, 0, 0, 0])?;
    let address = address(ip, port);
    call(203, [socket, at(&address), 16, 0, 0, 0])?;
    Ok(socket as i32)
}

/// The console, or nothing.
pub struct Console(Option<i32>);

impl Console {
    pub fn open() -> Self {
        Self(open(c"/dev/console", WRITE).ok())
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match self.0 {
            Some(fd) => write_all(fd, text.as_bytes()).map_err(|_| fmt::Error),
            None => Ok(()),
        }
    }
}
