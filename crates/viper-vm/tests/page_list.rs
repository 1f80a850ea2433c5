//! The page list against a map.

mod common;

use std::collections::BTreeMap;

use common::Owners;
use proptest::prelude::*;
use viper_vm::{Frame, PageList, VmError};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_a_map(
        len in 1..3000u32,
        ops in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8), 0..150),
    ) {
        let mut owners = Owners::new(0);
        let mut list = PageList::new(len).unwrap();
        let mut model = BTreeMap::new();
        for (number, (index, op)) in ops.into_iter().enumerate() {
            let page = index.index(len as usize) as u32;
            if op == 0 {
                let taken = list.take(page);
                prop_assert_eq!(taken, model.remove(&page));
                taken.map(|frame| owners.count.remove(&frame));
            } else {
                let frame = owners.fresh(Frame(number as u32));
                let old = list.set(page, frame).unwrap();
                prop_assert_eq!(old, model.insert(page, frame));
                old.map(|frame| owners.count.remove(&frame));
            }
            prop_assert_eq!(list.frame(page), model.get(&page).copied());
            prop_assert_eq!(list.present() as usize, model.len());
        }
        prop_assert!(list.iter().eq(model.clone()));

        // Copies share everything, or nothing at all.
        owners.shares_left = model.len().saturating_sub(1);
        if !model.is_empty() {
            let refused = list.clone_shared(&mut owners).map(|_| ());
            prop_assert_eq!(refused, Err(VmError::TooManyRefs));
            prop_assert!(owners.count.values().all(|&count| count == 1));
        }
        owners.shares_left = model.len();
        let mut copy = list.clone_shared(&mut owners).unwrap();
        prop_assert!(copy.iter().eq(model.clone()));
        prop_assert!(owners.count.values().all(|&count| count == 2));
        while !copy.release(&mut owners, 100) {}
        prop_assert_eq!(copy.present(), 0);
        prop_assert!(owners.count.values().all(|&count| count == 1));
        list.resize(len / 2, &mut owners).unwrap();
        prop_assert_eq!(owners.count.len(), model.range(..len / 2).count());
        list.release(&mut owners, u32::MAX);
        prop_assert!(owners.count.is_empty());
    }
}

#[test]
fn sharing_into_a_taken_place_leaves_both_as_they_were() {
    let mut owners = Owners::new(100);
    let mut list = PageList::new(10).unwrap();
    let mut copy = PageList::new(10).unwrap();
    for page in [1, 2, 4] {
        list.set(page, owners.fresh(Frame(page))).unwrap();
    }
    for page in [3, 4] {
        copy.set(page, owners.fresh(Frame(100 + page))).unwrap();
    }
    assert_eq!(
        list.share_into(&mut copy, 0, 10, &mut owners),
        Err(VmError::AlreadyMapped)
    );
    assert!(owners.count.values().all(|&count| count == 1));
    assert!(copy.iter().eq([(3, Frame(103)), (4, Frame(104))]));
    assert_eq!(list.share_into(&mut copy, 1, 3, &mut owners), Ok(()));
    assert_eq!(copy.present(), 4);
}

#[test]
fn bounds_are_kept() {
    let mut list = PageList::new(PageList::LEN_MAX).unwrap();
    assert_eq!(
        list.set(PageList::LEN_MAX, Frame(1)),
        Err(VmError::BadRange)
    );
    assert_eq!(list.set(PageList::LEN_MAX - 1, Frame(1)), Ok(None));
    assert_eq!(list.set(0, Frame(u32::MAX)), Err(VmError::BadRange));
    assert_eq!(
        list.next_present(0),
        Some((PageList::LEN_MAX - 1, Frame(1)))
    );
    assert_eq!(list.frame(u32::MAX), None);
    assert_eq!(list.take(u32::MAX), None);
    assert!(PageList::new(PageList::LEN_MAX + 1).is_err());
}

#[test]
fn prepared_pages_can_be_set() {
    let mut list = PageList::new(5).unwrap();
    assert_eq!(list.prepare(5), Err(VmError::BadRange));
    list.prepare(4).unwrap();
    assert_eq!((list.frame(4), list.present()), (None, 0));
    assert_eq!(list.set(4, Frame(9)), Ok(None));
    assert_eq!(list.set(4, Frame(8)), Ok(Some(Frame(9))));
}
