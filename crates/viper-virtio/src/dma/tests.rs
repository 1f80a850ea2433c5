use super::*;

const BASE: u64 = 0x8000_0000;

/// A region whose processor address is `skew` bytes beyond where its device address would have it.
fn region(len: usize, skew: usize) -> DmaRegion {
    let bytes = vec![0xffu8; len + 2 * 4096].leak();
    let start = bytes.as_ptr() as usize;
    let skip = start.next_multiple_of(4096) - start + skew;
    let cpu = NonNull::from(&mut bytes[skip..]).cast();
    // SAFETY: `len` bytes, leaked, of which no reference remains; there is no device.
    unsafe { DmaRegion::new(cpu, DeviceAddress::new(BASE), len) }
}

#[test]
fn a_region_is_split_without_overlap() {
    let mut back = region(4096, 0);
    let mut front = back.split_front(1000).unwrap();
    assert_eq!((front.len(), back.len()), (1000, 3096));
    assert_eq!(back.base().raw(), BASE + 1000);
    front.write(0, &[1; 1000]).unwrap();
    back.write(0, &[2; 3096]).unwrap();
    let mut bytes = [0; 1000];
    front.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 1000]);
    assert_eq!(back.split_front(3097).err(), Some(Error::OutOfMemory));
    assert!(back.split_front(3096).is_ok() && back.is_empty());
}

#[test]
fn nothing_reaches_past_the_end() {
    let mut region = region(100, 0);
    let mut byte = [0];
    for offset in [100, 101, usize::MAX] {
        assert_eq!(region.read(offset, &mut byte), Err(Error::OutOfRange));
        assert_eq!(region.write(offset, &byte), Err(Error::OutOfRange));
        assert_eq!(region.segment(offset, 1), Err(Error::OutOfRange));
    }
    assert_eq!(region.read(0, &mut [0; 101]), Err(Error::OutOfRange));
    assert_eq!(region.segment(1, 100), Err(Error::OutOfRange));
    let last = region.segment(99, 1).unwrap();
    assert_eq!((last.address().raw(), last.len()), (BASE + 99, 1));
}

#[test]
fn a_window_names_its_own_bytes_only() {
    // SAFETY: there is no device that could touch the memory.
    let window = unsafe { DmaWindow::new(DeviceAddress::new(BASE), 1 << 33) };
    let segment = window.segment((1 << 33) - 5, 5).unwrap();
    assert_eq!(
        (segment.address().raw(), segment.len()),
        (BASE + (1 << 33) - 5, 5)
    );
    assert_eq!(window.segment((1 << 33) - 5, 6), Err(Error::OutOfRange));
    assert_eq!(window.segment(u64::MAX, 1), Err(Error::OutOfRange));
    // SAFETY: as above.
    let top = unsafe { DmaWindow::new(DeviceAddress::new(u64::MAX - 1), 8) };
    assert_eq!(
        top.segment(4, 1),
        Err(Error::OutOfRange),
        "the address would wrap"
    );
}

#[test]
fn arrays_are_aligned_zeroed_and_apart() {
    let mut pool = DmaPool::new(region(4096, 0));
    let bytes: DmaArray<u8> = pool.array(3, 1).unwrap();
    let pairs: DmaArray<[u64; 2]> = pool.array(4, 64).unwrap();
    let words: DmaArray<u32> = pool.array(2, 4).unwrap();
    assert_eq!((bytes.base().raw(), pairs.base().raw()), (BASE, BASE + 64));
    assert_eq!(words.address(1), BASE + 64 + 64 + 4);
    assert!((0..4).all(|i| pairs.get(i) == [0, 0]), "zeroed");
    pairs.set_pair(3, u64::MAX, 7);
    words.set(0, 5);
    words.set(1, 6);
    assert_eq!(
        (pairs.get(3), words.get_two(0), bytes.get(2)),
        ([u64::MAX, 7], [5, 6], 0)
    );
    assert_eq!(words.load_acquire(1), 6);
}

#[test]
fn a_pool_gives_no_more_than_it_has() {
    let mut pool = DmaPool::new(region(100, 0));
    assert!(pool.array::<u8>(101, 1).is_err());
    assert!(pool.array::<[u64; 2]>(usize::MAX / 8, 1).is_err());
    assert!(pool.array::<u8>(100, 1).is_ok());
    assert!(pool.array::<u8>(1, 1).is_err());
    pool.rewind();
    assert!(pool.array::<u8>(100, 1).is_ok());
    assert_eq!(pool.into_region().len(), 100);
}

#[test]
fn an_alignment_that_holds_on_one_side_only_is_refused() {
    let mut pool = DmaPool::new(region(4096, 8));
    assert!(pool.array::<Pair>(1, 8).is_ok());
    assert_eq!(pool.array::<Pair>(1, 16).err(), Some(Error::OutOfMemory));
}

type Pair = [u64; 2];
