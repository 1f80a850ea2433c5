//! The buddy allocator against a plain set of frames.

use std::collections::BTreeMap;

use proptest::prelude::*;
use viper_vm::{Buddy, Frame, FrameMeta, FrameRange, ORDER_MAX, PAGE_SIZE, PhysAddr, VmError};

fn range(start: u32, count: u32) -> FrameRange {
    FrameRange::new(Frame(start), count).unwrap()
}

fn metadata(ranges: &[FrameRange]) -> Vec<FrameMeta> {
    vec![FrameMeta::EMPTY; Buddy::metadata_len(ranges).unwrap()]
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(u8),
    Run(u32),
    Free(usize),
    Share(usize),
    Release(usize),
    Split(usize),
    /// Any frame at all, owned or not.
    Wild(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => prop_oneof![4 => Just(0u8), 1 => 0..9u8].prop_map(Op::Alloc),
        1 => (0..40u32).prop_map(Op::Run),
        4 => any::<usize>().prop_map(Op::Free),
        1 => any::<usize>().prop_map(Op::Share),
        3 => any::<usize>().prop_map(Op::Release),
        1 => any::<usize>().prop_map(Op::Split),
        1 => (0..1500u32).prop_map(Op::Wild),
    ]
}

/// What should be: the blocks held, by first frame, with order and owners.
#[derive(Default)]
struct Model {
    held: BTreeMap<u32, (u8, u32)>,
}

impl Model {
    fn add(&mut self, ranges: &[FrameRange], reserved: &[FrameRange], start: u32, order: u8) {
        let end = start + (1 << order);
        assert_eq!(start % (1 << order), 0, "blocks are aligned");
        let mut frames = start..end;
        assert!(frames.all(|frame| {
            ranges.iter().any(|range| range.contains(Frame(frame)))
                && !reserved.iter().any(|range| range.contains(Frame(frame)))
        }));
        let before = self.held.range(..end).next_back();
        assert!(
            before.is_none_or(|(&at, &(order, _))| at + (1 << order) <= start),
            "no overlap"
        );
        self.held.insert(start, (order, 1));
    }

    fn frames(&self) -> usize {
        self.held.values().map(|&(order, _)| 1usize << order).sum()
    }

    fn nth(&self, choice: usize) -> Option<(u32, (u8, u32))> {
        let at = choice.checked_rem(self.held.len())?;
        self.held
            .iter()
            .nth(at)
            .map(|(&start, &block)| (start, block))
    }
}

fn check(ops: Vec<Op>) {
    let ranges = [range(3, 500), range(512, 300), range(1024, 256)];
    let reserved = [range(600, 5), range(0, 7), range(602, 10), range(1279, 99)];
    let mut metadata = metadata(&ranges);
    let mut buddy = Buddy::new(&ranges, &reserved, &mut metadata).unwrap();
    let usable = buddy.free_frames();
    assert_eq!(usable, 500 + 300 + 256 - 4 - 12 - 1);
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Alloc(order) => match buddy.alloc_order(order) {
                Ok(frame) => model.add(&ranges, &reserved, frame.0, order),
                Err(error) => {
                    assert_eq!(error, VmError::OutOfFrames);
                    assert!(
                        order > 0 || model.frames() == usable,
                        "one frame always fits"
                    );
                }
            },
            Op::Run(0) => assert_eq!(buddy.alloc_run(0), Err(VmError::BadRange)),
            Op::Run(count) => {
                if let Ok(run) = buddy.alloc_run(count) {
                    assert_eq!(run.count(), count);
                    (run.start().0..run.end())
                        .for_each(|frame| model.add(&ranges, &reserved, frame, 0));
                }
            }
            Op::Free(choice) => {
                let Some((start, (_, refs))) = model.nth(choice) else {
                    continue;
                };
                if refs == 1 {
                    assert_eq!(buddy.free(Frame(start)), Ok(()));
                    model.held.remove(&start);
                    assert_eq!(buddy.free(Frame(start)), Err(VmError::DoubleFree));
                } else {
                    assert_eq!(buddy.free(Frame(start)), Err(VmError::Shared));
                }
            }
            Op::Share(choice) => {
                let Some((start, (order, refs))) = model.nth(choice) else {
                    continue;
                };
                assert_eq!(buddy.share(Frame(start)), Ok(refs + 1));
                model.held.insert(start, (order, refs + 1));
            }
            Op::Release(choice) => {
                let Some((start, (order, refs))) = model.nth(choice) else {
                    continue;
                };
                assert_eq!(buddy.release(Frame(start)), Ok(refs == 1));
                model.held.remove(&start);
                if refs > 1 {
                    model.held.insert(start, (order, refs - 1));
                }
            }
            Op::Split(choice) => {
                let Some((start, (order, refs))) = model.nth(choice) else {
                    continue;
                };
                if refs > 1 {
                    assert_eq!(buddy.split(Frame(start)), Err(VmError::Shared));
                    continue;
                }
                buddy.split(Frame(start)).unwrap();
                model.held.remove(&start);
                (start..start + (1 << order)).for_each(|frame| {
                    model.held.insert(frame, (0, 1));
                });
            }
            Op::Wild(frame) => {
                let refs = model.held.get(&frame).map_or(0, |&(_, refs)| refs);
                assert_eq!(buddy.ref_count(Frame(frame)), refs);
                if refs == 0 {
                    assert!(buddy.free(Frame(frame)).is_err());
                    assert!(buddy.release(Frame(frame)).is_err());
                    assert!(buddy.share(Frame(frame)).is_err());
                }
            }
        }
        assert_eq!(buddy.free_frames() + model.frames(), usable);
    }
    for (&start, &(_, refs)) in &model.held {
        for left in (0..refs).rev() {
            assert_eq!(buddy.release(Frame(start)), Ok(left == 0));
        }
    }
    assert_eq!(buddy.free_frames(), usable);
    // All has merged again: the blocks are those of a fresh allocator.
    assert_eq!(buddy.alloc_order(ORDER_MAX), Err(VmError::OutOfFrames));
    let mut fresh_metadata = self::metadata(&ranges);
    let fresh = Buddy::new(&ranges, &reserved, &mut fresh_metadata).unwrap();
    for order in 0..=ORDER_MAX {
        assert_eq!(
            buddy.free_blocks(order),
            fresh.free_blocks(order),
            "order {order}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_a_set_of_frames(ops in prop::collection::vec(op(), 0..200)) {
        check(ops);
    }
}

#[test]
fn hands_out_each_frame_once_and_then_none() {
    let ranges = [range(16, 1000)];
    let mut metadata = metadata(&ranges);
    let mut buddy = Buddy::new(&ranges, &[], &mut metadata).unwrap();
    let mut frames: Vec<_> = (0..1000).map(|_| buddy.alloc().unwrap()).collect();
    assert_eq!(buddy.alloc(), Err(VmError::OutOfFrames));
    assert_eq!(buddy.free_frames(), 0);
    frames.sort();
    assert!(frames.iter().map(|frame| frame.0).eq(16..1016));
    frames.iter().for_each(|&frame| buddy.free(frame).unwrap());
    assert_eq!(buddy.free_frames(), 1000);
    let mut blocks = [buddy.alloc_order(8).unwrap(), buddy.alloc_order(8).unwrap()];
    blocks.sort();
    assert_eq!(
        blocks,
        [Frame(256), Frame(512)],
        "all that is aligned is whole again"
    );
    assert_eq!(buddy.alloc_order(8), Err(VmError::OutOfFrames));
}

#[test]
fn large_memory_with_holes_has_blocks_of_1_gib() {
    let gib = 1u32 << 18;
    let ranges = [range(gib, 2 * gib), range(16 * gib, gib)];
    let mut metadata = metadata(&ranges);
    let mut buddy = Buddy::new(&ranges, &[range(gib, 1)], &mut metadata).unwrap();
    assert_eq!(buddy.free_blocks(ORDER_MAX), 2);
    let first = buddy.alloc_order(ORDER_MAX).unwrap();
    let second = buddy.alloc_order(ORDER_MAX).unwrap();
    assert_eq!([first.0, second.0].iter().copied().max(), Some(16 * gib));
    assert_eq!(buddy.alloc_order(ORDER_MAX), Err(VmError::OutOfFrames));
    assert_eq!(buddy.alloc_order(ORDER_MAX + 1), Err(VmError::BadOrder));
    assert_eq!(buddy.alloc_run(gib + 1), Err(VmError::BadOrder));
    assert_eq!(buddy.alloc_run(u32::MAX), Err(VmError::BadOrder));
    assert_eq!(
        buddy.free(Frame(16 * gib + 5)),
        Err(VmError::NotManaged),
        "inside of a block"
    );
    assert_eq!(buddy.free(Frame(gib)), Err(VmError::NotManaged), "reserved");
    assert_eq!(
        buddy.free(Frame(gib + 8)),
        Err(VmError::DoubleFree),
        "inside of a free block"
    );
    assert_eq!(
        buddy.free(Frame(5)),
        Err(VmError::NotManaged),
        "no memory at all"
    );
}

#[test]
fn refuses_bad_ranges() {
    let bad = |ranges: &[FrameRange]| Buddy::metadata_len(ranges).unwrap_err();
    assert_eq!(bad(&[range(10, 10), range(19, 1)]), VmError::BadRange);
    assert_eq!(bad(&[range(10, 10), range(0, 1)]), VmError::BadRange);
    assert_eq!(bad(&[range(0, u32::MAX)]), VmError::BadRange);
    let many: Vec<_> = (0..9).map(|at| range(at * 10, 5)).collect();
    assert_eq!(bad(&many), VmError::BadRange);
    let touching: Vec<_> = (0..20).map(|at| range(at * 10, 10)).collect();
    assert_eq!(Buddy::metadata_len(&touching), Ok(200));
    let mut small = [FrameMeta::EMPTY; 9];
    let error = Buddy::new(&[range(0, 10)], &[], &mut small).err();
    assert_eq!(error, Some(VmError::MetadataTooSmall));
    assert_eq!(
        FrameRange::new(Frame(u32::MAX), 1).err(),
        Some(VmError::BadRange)
    );
    assert_eq!(
        FrameRange::inside(PhysAddr(u64::MAX), 2).err(),
        Some(VmError::BadRange)
    );
}

#[test]
fn ranges_round_towards_the_safe_side() {
    let (base, len) = (PhysAddr(PAGE_SIZE - 1), 2 * PAGE_SIZE);
    assert_eq!(FrameRange::inside(base, len), Ok(range(1, 1)));
    assert_eq!(FrameRange::covering(base, len), Ok(range(0, 3)));
    assert_eq!(FrameRange::inside(PhysAddr(1), 10), Ok(range(1, 0)));
    assert_eq!(FrameRange::covering(PhysAddr(1), 0), Ok(range(0, 0)));
}

#[test]
fn reserved_frames_can_be_put_into_use_once() {
    let ranges = [range(0, 64)];
    let mut metadata = metadata(&ranges);
    let mut buddy = Buddy::new(&ranges, &[range(8, 10)], &mut metadata).unwrap();
    assert_eq!(buddy.unreserve(range(7, 3)), Err(VmError::NotManaged));
    assert_eq!(buddy.unreserve(range(60, 10)), Err(VmError::NotManaged));
    assert_eq!(buddy.unreserve(range(8, 10)), Ok(()));
    assert_eq!(buddy.unreserve(range(8, 1)), Err(VmError::NotManaged));
    assert_eq!(buddy.free_frames(), 64);
    assert_eq!(buddy.alloc_order(6), Ok(Frame(0)));
}

#[test]
fn stacked_frames_serve_large_blocks_too() {
    let ranges = [range(0, 64)];
    let mut metadata = metadata(&ranges);
    let mut buddy = Buddy::new(&ranges, &[], &mut metadata).unwrap();
    let frames: Vec<_> = (0..64).map(|_| buddy.alloc().unwrap()).collect();
    frames.iter().for_each(|&frame| buddy.free(frame).unwrap());
    assert_eq!(buddy.alloc_order(6), Ok(Frame(0)));
}

/// The buddy of frame 21 would be frame 20, and where its record would be, there is another.
#[test]
fn buddies_outside_of_the_range_are_left_alone() {
    let ranges = [range(0, 9), range(21, 19)];
    let mut metadata = metadata(&ranges);
    let mut buddy = Buddy::new(&ranges, &[], &mut metadata).unwrap();
    assert_eq!(buddy.free_blocks(0), 2);
    let mut frames: Vec<_> = std::iter::from_fn(|| buddy.alloc().ok()).collect();
    frames.sort();
    assert!(frames.iter().map(|frame| frame.0).eq((0..9).chain(21..40)));
    frames.iter().for_each(|&frame| buddy.free(frame).unwrap());
    assert_eq!(buddy.alloc_order(4), Err(VmError::OutOfFrames));
    assert_eq!(buddy.free_blocks(0), 2);
}
