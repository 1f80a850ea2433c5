use super::meta::NIL;
use super::*;

fn range(start: u32, count: u32) -> FrameRange {
    FrameRange::new(Frame(start), count).unwrap()
}

#[test]
fn reference_count_stops_at_its_maximum() {
    let mut meta = [FrameMeta::EMPTY; 16];
    let mut buddy = Buddy::new(&[range(16, 16)], &[], &mut meta).unwrap();
    let frame = buddy.alloc().unwrap();
    let (_, index) = buddy.zones.find(frame).unwrap();
    buddy.lists.set(index, FrameMeta::held(0, u32::MAX - 1));
    assert_eq!(buddy.share(frame), Ok(u32::MAX));
    assert_eq!(buddy.share(frame), Err(VmError::TooManyRefs));
    assert_eq!(buddy.ref_count(frame), u32::MAX);
    assert_eq!(buddy.release(frame), Ok(false));
    assert_eq!(buddy.ref_count(frame), u32::MAX - 1);
}

#[test]
fn records_keep_their_fields() {
    let meta = FrameMeta::free(18, NIL - 1, 5);
    assert_eq!((meta.next(), meta.previous()), (NIL - 1, 5));
    assert!(meta.is_free(18) && !meta.is_free(17));
    let held = FrameMeta::held(7, u32::MAX).state();
    assert_eq!(
        held,
        State::Held {
            order: 7,
            refs: u32::MAX
        }
    );
    assert_eq!(size_of::<FrameMeta>(), 8);
}
