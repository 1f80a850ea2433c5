//! An independent implementation, the drivers of `virtio-drivers`, on our registers and models:
//! what both sides of this crate take the standard to say is not only agreed among themselves.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ptr::NonNull;

use viper_virtio::bridge::Bridge;
use viper_virtio::fake::{Fake, FakeDisk, FakeMemory, FakeNet, FakeRng, Model};
use viper_virtio::{Block, BlockConfig, Request, RequestKind, Transport};
use virtio_drivers::device::blk::VirtIOBlk;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::Transport as _;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

thread_local! {
    /// The memory of the test on this thread, and the buffers shared with its device.
    static MEMORY: RefCell<Option<FakeMemory>> = const { RefCell::new(None) };
}

struct TestHal;

fn memory() -> FakeMemory {
    MEMORY.with_borrow_mut(|memory| {
        memory
            .get_or_insert_with(|| FakeMemory::new(4 << 20))
            .clone()
    })
}

// SAFETY: `dma_alloc` gives out pages of `FakeMemory`, once each and on page boundaries, zeroed;
// `share` and `unshare` copy through such pages.
unsafe impl Hal for TestHal {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let region = memory().take(pages * PAGE_SIZE);
        (region.base().raw(), memory().pointer(region.base().raw()))
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("this is for PCI")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        // SAFETY: the caller passes a valid buffer, which nobody changes during the call.
        let bytes = unsafe { buffer.as_ref() };
        let mut region = memory().take(bytes.len());
        region.write(0, bytes).expect("the region is as long");
        region.base().raw()
    }

    unsafe fn unshare(address: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        if direction != BufferDirection::DriverToDevice {
            // SAFETY: the caller passes a valid buffer, which nobody else uses during the call.
            assert!(memory().read(address, unsafe { buffer.as_mut() }));
        }
    }
}

fn bridge<M: Model>(fake: &Fake<M>) -> Bridge<viper_virtio::fake::FakeRegisters<M>> {
    Bridge::new(Transport::probe(fake.registers()).unwrap().unwrap()).unwrap()
}

#[test]
fn their_block_driver_and_ours_see_the_same_disk() {
    let memory = memory();
    let disk = Fake::new(FakeDisk::new(64), &memory);
    for (indirect, event_index) in [(false, false), (true, false), (false, true), (true, true)] {
        disk.offer(indirect, event_index);
        let mut theirs = VirtIOBlk::<TestHal, _>::new(bridge(&disk)).unwrap();
        assert_eq!((theirs.capacity(), theirs.readonly()), (64, false));
        let pattern: Vec<u8> = (0..2048u32).map(|i| (i * 13 % 253) as u8).collect();
        theirs.write_blocks(5, &pattern).unwrap();
        let mut back = vec![0; 2048];
        theirs.read_blocks(5, &mut back).unwrap();
        assert_eq!(back, pattern);
        theirs.flush().unwrap();
        drop(theirs);

        let config = BlockConfig {
            depth: 8,
            segments_max: 6,
        };
        let transport = Transport::probe(disk.registers()).unwrap().unwrap();
        let mut ours = Block::new(transport, memory.take(config.dma_len()), config).unwrap();
        let buffer = memory.take(2048);
        let segments = [buffer.segment(0, 2048).unwrap()];
        let read = Request {
            kind: RequestKind::Read,
            sector: 5,
            segments: &segments,
            token: 1,
        };
        ours.submit(&read).unwrap();
        ours.kick().unwrap();
        assert_eq!(ours.poll_completion().unwrap().unwrap().bytes, 2048);
        buffer.read(0, &mut back).unwrap();
        assert_eq!(back, pattern);
        disk.model(|disk| disk.data.fill(0));
    }
    assert_eq!(disk.violations(), [""; 0]);
}

#[test]
fn their_entropy_driver_gets_the_bytes_of_the_source() {
    let source = Fake::new(
        FakeRng {
            next: 1,
            answer_len_max: 5,
        },
        &memory(),
    );
    let mut theirs = VirtIORng::<TestHal, _>::new(bridge(&source)).unwrap();
    let mut bytes = [0; 16];
    assert_eq!(theirs.request_entropy(&mut bytes), Ok(5));
    assert_eq!(bytes[..6], [1, 2, 3, 4, 5, 0]);
    assert_eq!(source.violations(), [""; 0]);
}

#[test]
fn their_network_driver_talks_to_the_card() {
    let card = Fake::new(FakeNet::new([2, 0, 0, 0, 0, 9]), &memory());
    let mut theirs = VirtIONetRaw::<TestHal, _, 16>::new(bridge(&card)).unwrap();
    assert_eq!(theirs.mac_address(), [2, 0, 0, 0, 0, 9]);
    theirs.send(b"a frame, sixty bytes or not").unwrap();
    let sent = card.model(|card| card.outbox.remove(0));
    assert_eq!(
        sent,
        [&[0; 12][..], b"a frame, sixty bytes or not"].concat()
    );
    card.model(|card| card.inbox.push_back([&[0; 12][..], &[7; 60]].concat()));
    let mut buffer = [0; 2048];
    let (start, len) = theirs.receive_wait(&mut buffer).unwrap();
    assert_eq!(buffer[start..start + len], [7; 60]);
    assert_eq!(card.violations(), [""; 0]);
}

#[test]
fn the_bridge_stays_inside_the_configuration_space() {
    let disk = Fake::new(FakeDisk::new(64), &memory());
    let bridge = bridge(&disk);
    assert_eq!(bridge.read_config_space::<u32>(0), Ok(64));
    assert_eq!(bridge.read_config_space::<u32>(0xfc), Ok(0));
    assert!(bridge.read_config_space::<u32>(0x100).is_err());
    assert!(bridge.read_config_space::<u32>(usize::MAX - 2).is_err());
}
