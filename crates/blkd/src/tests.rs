//! The server on the fake kernel, over a fake disk.

use crate::fake::{FakeDisk, NoRegisters};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use viper_proto::block::{Client, Vector};
use viper_rt::abi::{FOREVER, MsgInfo, Rights, Slot};
use viper_rt::client::send;
use viper_rt::handle::{Channel, Device, Memory, Process};
use viper_rt::server::supervisor;
use viper_rt::{Error, Mapping, Object, clock, host, sys};

const PAGE: usize = 4096;

struct Bench {
    disk: FakeDisk,
    device: Option<Device>,
    up: Channel,
    process: Process,
}

impl Bench {
    fn new(disk: &FakeDisk, patience_ns: u64) -> Bench {
        Bench::with(disk, patience_ns, true)
    }

    fn with(disk: &FakeDisk, patience_ns: u64, has_device: bool) -> Bench {
        let (up, down) = Channel::pair(16).unwrap();
        let mut slots = vec![(Slot::SUPERVISOR, down.into_owned())];
        let device = has_device.then(|| host::device(Arc::new(NoRegisters), 512, 1));
        if let Some(device) = &device {
            slots.push((Slot::DEVICE, device.try_clone().unwrap().into_owned()));
        }
        let served = disk.clone();
        let process =
            host::spawn_process("blkd", slots, &["blkd"], move || served.serve(patience_ns));
        Bench {
            disk: disk.clone(),
            device,
            up,
            process: process.unwrap(),
        }
    }

    fn channel(&self) -> Channel {
        let (ours, theirs) = Channel::pair(4).unwrap();
        send(
            &self.up,
            supervisor::NEW_CLIENT,
            (1u64, 1u64, theirs),
            FOREVER,
        )
        .unwrap();
        ours
    }

    fn client(&self) -> (Client, Mapping, u32) {
        let client = Client::new(self.channel());
        let memory = Memory::contiguous(16 * PAGE as u64).unwrap();
        let session = client.session(memory.try_clone().unwrap()).unwrap();
        (client, Mapping::whole(&memory).unwrap(), session)
    }

    fn let_go(&self) {
        self.disk.carry_out();
        host::raise(self.device.as_ref().unwrap(), 0);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.process.kill(0);
    }
}

const fn vector(sector: u64, count: u64, offset: u64) -> Vector {
    Vector {
        sector,
        count,
        offset,
    }
}

fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "it never happens"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// A call in another thread, whose fake process gets the client's channel.
fn aside(
    channel: Channel,
    call: impl FnOnce(&Client) -> Result<(), Error> + Send + 'static,
) -> thread::JoinHandle<Result<(), Error>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let main = move || {
        let channel = viper_rt::program::take(Slot::CHANNEL)
            .unwrap()
            .into_object();
        let client = Client::new(channel);
        let _ = sender.send(call(&client));
        0
    };
    let slots = vec![(Slot::CHANNEL, channel.into_owned())];
    let process = host::spawn_process("aside", slots, &["aside"], main).unwrap();
    drop(process);
    thread::spawn(move || receiver.recv().unwrap_or(Err(Error::Ended)))
}

#[test]
fn what_is_written_is_read_again() {
    let bench = Bench::new(&FakeDisk::new(100), FOREVER);
    let (client, memory, session) = bench.client();
    let info = client.info().unwrap();
    assert_eq!(
        (info.sectors, info.read_only, info.write_cache),
        (100, false, true)
    );
    assert_eq!((info.serial, info.queue_depth), (7, 4));
    let text: Vec<u8> = (0..2048u32).map(|n| n as u8).collect();
    memory.write(0, &text).unwrap();
    client
        .write(session, &[vector(10, 2, 0), vector(50, 2, 1024)])
        .unwrap();
    client
        .read(session, &[vector(50, 2, 8192), vector(10, 2, 8192 + 1024)])
        .unwrap();
    let mut back = vec![0; 2048];
    memory.read(8192, &mut back).unwrap();
    assert_eq!(
        (&back[..1024], &back[1024..]),
        (&text[1024..], &text[..1024])
    );
    assert_ne!(
        bench.disk.platter().durable[10 * 512..][..1024],
        text[..1024]
    );
    client.flush().unwrap();
    assert_eq!(
        bench.disk.platter().durable[10 * 512..][..1024],
        text[..1024]
    );
}

#[test]
fn requests_beyond_the_queue_wait_their_turn() {
    let disk = FakeDisk::new(1000);
    disk.platter().is_held = true;
    let bench = Bench::new(&disk, FOREVER);
    let mut calls = Vec::new();
    for n in 0..6u64 {
        calls.push(aside(bench.channel(), move |client| {
            let memory = Memory::contiguous(16 * PAGE as u64)?;
            let session = client.session(memory.try_clone()?)?;
            let mapping = Mapping::whole(&memory)?;
            mapping.write(0, &[n as u8 + 1; 9 * 512])?;
            let vectors: Vec<Vector> = (0..9)
                .map(|i| vector(n * 100 + i * 10, 1, i * 512))
                .collect();
            client.write(session, &vectors)
        }));
    }
    until(|| disk.waiting() == 4);
    disk.platter().is_held = false;
    bench.let_go();
    for call in calls {
        assert_eq!(call.join().unwrap(), Ok(()));
    }
    let platter = disk.platter();
    for n in 0..6 {
        for i in 0..9 {
            assert_eq!(platter.data[(n * 100 + i * 10) * 512], n as u8 + 1);
        }
    }
}

#[test]
fn nonsense_is_refused_and_nothing_breaks() {
    let bench = Bench::new(&FakeDisk::new(100), FOREVER);
    let (client, _memory, session) = bench.client();
    let bad = Err(Error::InvalidArgument);
    assert_eq!(client.read(session, &[]), bad);
    assert_eq!(client.read(session, &[vector(100, 1, 0)]), bad);
    assert_eq!(client.read(session, &[vector(u64::MAX, 1, 0)]), bad);
    assert_eq!(client.read(session, &[vector(0, u64::MAX, 0)]), bad);
    assert_eq!(
        client.write(session, &[vector(0, 1, 16 * PAGE as u64)]),
        bad
    );
    assert_eq!(client.write(session, &[vector(0, 1, u64::MAX - 15)]), bad);
    assert_eq!(
        client.write(session + 1, &[vector(0, 1, 0)]),
        Err(Error::NotFound)
    );
    assert_eq!(
        client.read(u32::MAX, &[vector(0, 1, 0)]),
        Err(Error::NotFound)
    );
    assert_eq!(client.session_close(7), Err(Error::NotFound));

    let memory = Memory::contiguous(PAGE as u64).unwrap();
    let read_only = memory
        .duplicate(Rights::READ | Rights::MAP | Rights::TRANSFER)
        .unwrap();
    assert_eq!(client.session(read_only), Err(Error::NoRight));
    let another = Client::new(bench.channel());
    assert_eq!(
        another.read(session, &[vector(0, 1, 0)]),
        Err(Error::NotFound),
        "not its session"
    );
    for _ in 1..8 {
        client.session(memory.try_clone().unwrap()).unwrap();
    }
    assert_eq!(
        client.session(memory.try_clone().unwrap()),
        Err(Error::LimitReached)
    );
    assert_eq!(client.read(session, &[vector(0, 1, 0)]), Ok(()));
}

#[test]
fn random_messages_do_no_harm() {
    let bench = Bench::new(&FakeDisk::new(100), FOREVER);
    let (client, _memory, session) = bench.client();
    let raw = client.connection().channel().raw();
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for _ in 0..3000 {
        let mut words = [0; 6];
        for word in &mut words {
            *word = match random.next_u32() % 4 {
                0 => u64::from(random.next_u32() % 10),
                1 => u64::MAX - u64::from(random.next_u32() % 1000),
                2 => u64::from(random.next_u32() % 100) * 512,
                _ => random.next_u64(),
            };
        }
        let label = random.next_u32() % 9;
        let info = MsgInfo::new(label, (random.next_u32() % 257) as usize, 0);
        let reply = sys::call(raw, info, words, clock::after(5 * clock::SECOND));
        assert_ne!(reply.check(), Err(Error::PeerClosed), "{label} {words:?}");
        assert_ne!(reply.check(), Err(Error::TimedOut), "{label} {words:?}");
    }
    let (client, _memory, _) = bench.client();
    assert_eq!(client.read(session, &[vector(0, 1, 0)]), Ok(()));
}

#[test]
fn a_silent_device_is_reset_and_its_requests_made_again() {
    let disk = FakeDisk::new(100);
    disk.platter().is_held = true;
    let bench = Bench::new(&disk, 50 * clock::MILLISECOND);
    let (client, memory, session) = bench.client();
    memory.write(0, &[9; 512]).unwrap();
    let holder = disk.clone();
    let waker = thread::spawn(move || {
        until(|| holder.platter().restarts == 1);
        holder.platter().is_held = false;
    });
    // The replay is held, too, unless the waker was quicker: then a second reset fails it.
    let result = client.write(session, &[vector(3, 1, 0)]);
    waker.join().unwrap();
    assert!(result.is_ok() || result == Err(Error::Io), "{result:?}");
    assert_eq!(client.write(session, &[vector(3, 1, 0)]), Ok(()));
    assert_eq!(disk.platter().data[3 * 512], 9);

    disk.platter().is_held = true;
    assert_eq!(
        client.write(session, &[vector(4, 1, 0)]),
        Err(Error::Io),
        "after one replay"
    );
    disk.platter().is_held = false;
    assert_eq!(client.write(session, &[vector(4, 1, 0)]), Ok(()));
}

#[test]
fn a_device_that_does_not_reset_is_given_up_and_tried_again() {
    let disk = FakeDisk::new(100);
    let bench = Bench::new(&disk, 50 * clock::MILLISECOND);
    let (client, _memory, session) = bench.client();
    {
        let mut platter = disk.platter();
        (platter.is_held, platter.is_stuck) = (true, true);
    }
    assert_eq!(client.read(session, &[vector(0, 1, 0)]), Err(Error::Io));
    assert_eq!(client.flush(), Err(Error::Io), "at once");
    {
        let mut platter = disk.platter();
        (platter.is_held, platter.is_stuck) = (false, false);
    }
    thread::sleep(Duration::from_millis(1050));
    assert_eq!(client.read(session, &[vector(0, 1, 0)]), Ok(()));
}

#[test]
fn errors_of_the_disk_reach_whom_they_concern() {
    let disk = FakeDisk::new(100);
    disk.platter().bad_from = Some(50);
    let bench = Bench::new(&disk, FOREVER);
    let (client, _memory, session) = bench.client();
    assert_eq!(client.read(session, &[vector(49, 1, 0)]), Ok(()));
    assert_eq!(
        client.read(session, &[vector(10, 1, 0), vector(60, 1, 512)]),
        Err(Error::Io)
    );
    disk.platter().is_read_only = true;
    assert_eq!(
        client.write(session, &[vector(0, 1, 0)]),
        Err(Error::ReadOnly)
    );
    assert_eq!(client.flush(), Ok(()));
}

#[test]
fn a_client_may_go_while_its_request_is_under_way() {
    let disk = FakeDisk::new(100);
    disk.platter().is_held = true;
    let bench = Bench::new(&disk, FOREVER);
    let (ours, theirs) = Channel::pair(4).unwrap();
    send(
        &bench.up,
        supervisor::NEW_CLIENT,
        (1u64, 1u64, theirs),
        FOREVER,
    )
    .unwrap();
    let slots = vec![(Slot::CHANNEL, ours.into_owned())];
    let victim = host::spawn_process("victim", slots, &["victim"], || {
        let channel = viper_rt::program::take(Slot::CHANNEL)
            .unwrap()
            .into_object();
        let client = Client::new(channel);
        let memory = Memory::contiguous(PAGE as u64).unwrap();
        memory.write(0, &[5; 512]).unwrap();
        let session = client.session(memory).unwrap();
        let _ = client.write(session, &[vector(7, 1, 0)]);
        0
    })
    .unwrap();
    until(|| disk.waiting() == 1);
    victim.kill(1).unwrap();
    let (client, _memory, session) = bench.client();
    // Its memory is the server's too, so the device still finds what was there.
    disk.platter().is_held = false;
    bench.let_go();
    assert_eq!(client.read(session, &[vector(7, 1, 0)]), Ok(()));
    assert_eq!(disk.platter().data[7 * 512..][..512], [5; 512]);
}

#[test]
fn a_session_ends_when_its_last_request_has() {
    let disk = FakeDisk::new(100);
    let bench = Bench::new(&disk, FOREVER);
    let (client, _memory, session) = bench.client();
    assert_eq!(client.session_close(session), Ok(()));
    assert_eq!(
        client.read(session, &[vector(0, 1, 0)]),
        Err(Error::NotFound)
    );
}

#[test]
fn a_flush_waits_for_the_writes_before_it() {
    let disk = FakeDisk::new(100);
    disk.platter().is_held = true;
    let bench = Bench::new(&disk, FOREVER);
    let write = aside(bench.channel(), |client| {
        let memory = Memory::contiguous(PAGE as u64)?;
        memory.write(0, &[3; 512])?;
        let session = client.session(memory)?;
        client.write(session, &[vector(1, 1, 0)])
    });
    until(|| disk.waiting() == 1);
    let flush = aside(bench.channel(), Client::flush);
    thread::sleep(Duration::from_millis(30));
    assert_eq!(disk.waiting(), 1, "the flush is not with the device yet");
    disk.platter().is_held = false;
    bench.let_go();
    assert_eq!(
        (write.join().unwrap(), flush.join().unwrap()),
        (Ok(()), Ok(()))
    );
    assert_eq!(disk.platter().durable[512], 3);
}

#[test]
fn without_a_disk_it_says_so() {
    let bench = Bench::with(&FakeDisk::new(1), FOREVER, false);
    let client = Client::new(bench.channel());
    assert_eq!(client.info().err(), Some(Error::NotFound));
    assert_eq!(client.flush(), Err(Error::NotFound));
    let memory = Memory::contiguous(PAGE as u64).unwrap();
    assert_eq!(client.session(memory), Err(Error::NotFound));
}

/// Whoever has a part of the disk sees it as a disk, and reaches nothing else.
#[test]
fn a_part_of_the_disk_is_all_that_its_holder_has() {
    let disk = FakeDisk::new(1000);
    for (sector, bytes) in disk.platter().data.chunks_exact_mut(512).enumerate() {
        bytes.fill(sector as u8);
    }
    let bench = Bench::new(&disk, clock::SECOND);
    let (whole, ..) = bench.client();
    for (first, count) in [(0, 0), (0, 1001), (1000, 1), (u64::MAX, 2), (2, u64::MAX)] {
        let refused = whole.narrow(first, count).err();
        assert_eq!(refused, Some(Error::InvalidArgument), "{first} {count}");
    }
    let part = Client::new(whole.narrow(100, 50).unwrap());
    let inner = Client::new(part.narrow(10, 5).unwrap());
    assert_eq!(part.narrow(46, 5).err(), Some(Error::InvalidArgument));
    assert_eq!(
        (part.info().unwrap().sectors, inner.info().unwrap().sectors),
        (50, 5)
    );
    for (client, first, count) in [(&part, 100u64, 50u64), (&inner, 110, 5)] {
        let memory = Memory::contiguous(16 * PAGE as u64).unwrap();
        let session = client.session(memory.try_clone().unwrap()).unwrap();
        let mapping = Mapping::whole(&memory).unwrap();
        let vectors = [vector(0, 1, 0), vector(count - 1, 1, 512)];
        client.read(session, &vectors).unwrap();
        let mut bytes = [0; 1024];
        mapping.read(0, &mut bytes).unwrap();
        assert_eq!(
            (bytes[0], bytes[1023]),
            (first as u8, (first + count - 1) as u8)
        );
        mapping.write(0, &[0xEE; 512]).unwrap();
        client.write(session, &[vector(count - 2, 1, 0)]).unwrap();
        assert_eq!(
            disk.platter().data[(first + count - 2) as usize * 512],
            0xEE
        );
        for bad in [
            vector(count, 1, 0),
            vector(count - 1, 2, 0),
            vector(u64::MAX - 99, 1, 0),
        ] {
            let refused = client.read(session, &[bad]);
            assert_eq!(refused, Err(Error::InvalidArgument));
            assert_eq!(client.write(session, &[bad]), Err(Error::InvalidArgument));
        }
        client.flush().unwrap();
    }
}
