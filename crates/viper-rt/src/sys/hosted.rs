//! On the host, system calls go to the fake kernel.

use super::Ipc;
use crate::host;
use viper_abi::{Handle, IpcBuffer, MsgInfo};

pub(crate) fn ipc_buffer() -> *mut IpcBuffer {
    host::ipc_buffer()
}

pub(super) fn svc<const NUMBER: u16, const N: usize>(arguments: [u64; N]) -> [u64; 8] {
    let mut registers = [0u64; 9];
    registers[..N].copy_from_slice(&arguments);
    host::syscall(NUMBER, &mut registers);
    registers[..8].try_into().expect("eight of nine")
}

pub(super) fn message<const NUMBER: u16>(
    handle: Handle,
    info: MsgInfo,
    words: [u64; 6],
    deadline: u64,
) -> Ipc {
    let mut r = [0u64; 9];
    r[0] = u64::from(handle.0);
    r[1] = info.0;
    r[2..8].copy_from_slice(&words);
    r[8] = deadline;
    host::syscall(NUMBER, &mut r);
    Ipc {
        status: r[0],
        info: MsgInfo(r[1]),
        words: r[2..8].try_into().expect("six of nine"),
        key: r[8],
    }
}

pub(super) fn receive(source: Handle, deadline: u64) -> Ipc {
    message::<{ viper_abi::number::receive }>(source, MsgInfo::default(), [0; 6], deadline)
}
