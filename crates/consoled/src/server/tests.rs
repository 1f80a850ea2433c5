//! The console on a UART that is a model.

use super::Console;
use crate::pl011::Pl011;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use viper_proto::console::{Client, Mode};
use viper_proto::names::rights;
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::handle::{Channel, Device};
use viper_rt::host::{self, DeviceModel};
use viper_rt::registers::Registers;
use viper_rt::server::{Server, supervisor};
use viper_rt::{Error, Object, client, clock, sys};

/// A UART whose transmitter takes a byte only while `room` is above zero.
#[derive(Default)]
struct Uart {
    typed: Mutex<VecDeque<u8>>,
    shown: Mutex<Vec<u8>>,
    room: Mutex<Option<usize>>,
}

impl DeviceModel for Uart {
    fn read(&self, offset: u64) -> u32 {
        let no_room = *self.room.lock().unwrap() == Some(0);
        match offset {
            0x00 => self.typed.lock().unwrap().pop_front().map_or(0, u32::from),
            0x18 => {
                let empty = self.typed.lock().unwrap().is_empty();
                u32::from(empty) << 4 | u32::from(no_room) << 5
            }
            _ => 0,
        }
    }

    fn write(&self, offset: u64, value: u32) {
        if offset == 0 {
            self.shown.lock().unwrap().push(value as u8);
            if let Some(room) = &mut *self.room.lock().unwrap() {
                *room = room.saturating_sub(1);
            }
        }
    }
}

struct Rig {
    uart: Arc<Uart>,
    device: Device,
    up: Channel,
}

impl Rig {
    fn new() -> Rig {
        let uart = Arc::new(Uart::default());
        let device = host::device(uart.clone(), 0x1000, 1);
        let (up, down) = Channel::pair(16).unwrap();
        let copy = device.try_clone().unwrap();
        let slots = vec![
            (Slot::SUPERVISOR, down.into_owned()),
            (Slot::DEVICE, copy.into_owned()),
        ];
        host::spawn_process("consoled", slots, &["consoled"], || {
            let device = viper_rt::program::take(Slot::DEVICE).unwrap().into_object();
            let server = Server::new().unwrap();
            let uart = Pl011::new(Registers::new(device).unwrap());
            let mut console = Console::new(uart, server.sources()).unwrap();
            server.run(&mut console).map_or(1, |()| 0)
        })
        .unwrap();
        sys::receive(up.raw(), FOREVER).check().unwrap();
        Rig { uart, device, up }
    }

    fn connect(&self) -> Client {
        let (ours, theirs) = Channel::pair(8).unwrap();
        let message = (1u64, rights::ALL, theirs);
        client::send(&self.up, supervisor::NEW_CLIENT, message, FOREVER).unwrap();
        Client::new(ours)
    }

    fn type_in(&self, text: &str) {
        self.uart.typed.lock().unwrap().extend(text.bytes());
        host::raise(&self.device, 0);
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.uart.shown.lock().unwrap()).into_owned()
    }
}

fn soon() -> u64 {
    clock::after(5 * clock::SECOND)
}

#[test]
fn lines_are_edited_shown_and_read_whole() {
    let rig = Rig::new();
    let console = rig.connect();
    rig.type_in("helpo\x7f\x7flo\r");
    assert_eq!(&*console.read(100, soon()).unwrap(), b"hello\n");
    assert!(rig.shown().starts_with("helpo"), "{:?}", rig.shown());
    rig.type_in("longer line\r");
    assert_eq!(&*console.read(6, soon()).unwrap(), b"longer");
    assert_eq!(&*console.read(6, soon()).unwrap(), b" line\n");
    rig.type_in("\x04");
    assert_eq!(&*console.read(6, soon()).unwrap(), b"");
    assert_eq!(console.read(0, soon()).err(), Some(Error::InvalidArgument));
    assert_eq!(
        console.read(241, soon()).err(),
        Some(Error::InvalidArgument)
    );
}

#[test]
fn a_read_waits_until_its_deadline() {
    let rig = Rig::new();
    let console = rig.connect();
    assert_eq!(console.read(9, 0).err(), Some(Error::TimedOut));
    let deadline = clock::after(30 * clock::MILLISECOND);
    assert_eq!(console.read(9, deadline).err(), Some(Error::TimedOut));
    assert!(clock::now() >= deadline);
}

#[test]
fn raw_bytes_come_as_they_are_and_the_mode_ends_with_its_client() {
    let rig = Rig::new();
    let (usual, editor) = (rig.connect(), rig.connect());
    assert_eq!(editor.set_mode(Mode::RAW), Ok(Mode::COOKED));
    rig.type_in("a\x03");
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend_from_slice(&editor.read(10, soon()).unwrap());
    }
    assert_eq!(got, b"a\x03");
    assert_eq!(rig.shown(), "", "no echo");
    drop(editor);
    while usual.set_mode(Mode::COOKED).unwrap() != Mode::COOKED {
        clock::sleep(clock::MILLISECOND);
    }
    rig.type_in("x\r");
    assert_eq!(&*usual.read(10, soon()).unwrap(), b"x\n");
}

#[test]
fn control_c_interrupts_reader_and_watcher() {
    let rig = Rig::new();
    let (reader, watcher) = (rig.connect(), rig.connect());
    let waiting = viper_rt::thread::spawn({
        let uart = rig.uart.clone();
        let device = rig.device.try_clone().unwrap();
        move || {
            clock::sleep(30 * clock::MILLISECOND);
            uart.typed.lock().unwrap().push_back(3);
            host::raise(&device, 0);
        }
    })
    .unwrap();
    let watching =
        viper_rt::thread::spawn(move || assert_eq!(watcher.interrupt(), Ok(()))).unwrap();
    assert_eq!(reader.read(10, soon()).err(), Some(Error::Interrupted));
    watching.join(soon()).unwrap();
    waiting.join(soon()).unwrap();
}

#[test]
fn output_waits_for_the_device_and_holds_up_only_writers() {
    let rig = Rig::new();
    let console = rig.connect();
    assert_eq!(console.write(b"one\n"), Ok(4));
    console.drain().unwrap();
    assert_eq!(rig.shown(), "one\r\n");
    *rig.uart.room.lock().unwrap() = Some(0);
    let mut sent = 0;
    let writer = rig.connect();
    writer.connection().set_timeout(50 * clock::MILLISECOND);
    // The queue takes what it holds, then the writer waits in vain.
    let stuck = loop {
        match writer.write(&[b'x'; 240]) {
            Ok(taken) => sent += taken,
            Err(error) => break error,
        }
    };
    assert_eq!(stuck, Error::TimedOut);
    assert!(
        sent as usize >= viper_console::OUTPUT_MAX
            && (sent as usize) < viper_console::OUTPUT_MAX + 500
    );
    assert_eq!(
        console.size().unwrap().columns,
        80,
        "others are served meanwhile"
    );
    *rig.uart.room.lock().unwrap() = None;
    host::raise(&rig.device, 0);
    console.drain().unwrap();
    assert!(rig.shown().len() >= 5 + sent as usize);
}

#[test]
fn a_client_that_goes_takes_its_read_along() {
    let rig = Rig::new();
    let (gone, stays) = (rig.connect(), rig.connect());
    gone.connection().set_timeout(20 * clock::MILLISECOND);
    assert_eq!(gone.read(10, FOREVER).err(), Some(Error::TimedOut));
    drop(gone);
    // The console hears of it before it hears of the key.
    stays.size().unwrap();
    clock::sleep(20 * clock::MILLISECOND);
    rig.type_in("mine\r");
    assert_eq!(&*stays.read(10, soon()).unwrap(), b"mine\n");
}

#[test]
fn duplicates_serve_and_the_foreground_reads_first() {
    let rig = Rig::new();
    let shell = rig.connect();
    let child = Client::new(shell.duplicate().unwrap());
    child.foreground().unwrap();
    let reading = viper_rt::thread::spawn(move || {
        assert_eq!(&*shell.read(10, FOREVER).unwrap(), b"two\n");
    })
    .unwrap();
    clock::sleep(20 * clock::MILLISECOND);
    let typing = viper_rt::thread::spawn({
        let (uart, device) = (rig.uart.clone(), rig.device.try_clone().unwrap());
        move || {
            clock::sleep(20 * clock::MILLISECOND);
            uart.typed.lock().unwrap().extend(b"one\r");
            host::raise(&device, 0);
        }
    })
    .unwrap();
    assert_eq!(&*child.read(10, soon()).unwrap(), b"one\n");
    drop(child);
    rig.type_in("two\r");
    reading.join(soon()).unwrap();
    typing.join(soon()).unwrap();
}
