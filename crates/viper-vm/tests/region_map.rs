//! The region map against one value per page.

use std::collections::BTreeMap;

use proptest::prelude::*;
use viper_vm::{GapRequest, PAGE_SIZE, PageRange, RegionMap, RegionValue, VirtAddr, VmError};

const PAGES: u64 = 64;
const REGIONS_MAX: usize = 12;

/// An offset into an object, and permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value {
    object: u8,
    offset: u64,
    writable: bool,
}

impl RegionValue for Value {
    fn advanced(self, offset_bytes: u64) -> Self {
        Self {
            offset: self.offset + offset_bytes,
            ..self
        }
    }
    fn continues(self, len_bytes: u64, next: Self) -> bool {
        self.advanced(len_bytes) == next
    }
}

fn range(first: u64, len: u64) -> PageRange {
    PageRange::new(VirtAddr(first * PAGE_SIZE), len * PAGE_SIZE).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64, u8, bool),
    Remove(u64, u64),
    Protect(u64, u64, bool),
    Gap {
        hint: Option<u64>,
        len: u64,
        align: u32,
        guard: u64,
        from: u64,
        to: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let at = || (0..PAGES, 1..12u64);
    prop_oneof![
        4 => (at(), 0..2u8, any::<bool>())
            .prop_map(|((first, len), object, writable)| Op::Insert(first, len, object, writable)),
        2 => at().prop_map(|(first, len)| Op::Remove(first, len)),
        2 => (at(), any::<bool>()).prop_map(|((first, len), to)| Op::Protect(first, len, to)),
        2 => (prop::option::of(0..PAGES), 1..12u64, 0..4u32, 0..3u64, 0..PAGES, 1..=PAGES).prop_map(
            |(hint, len, align, guard, from, to)| Op::Gap { hint, len, align, guard, from, to }
        ),
    ]
}

type Model = BTreeMap<u64, Value>;

fn pages_of(map: &RegionMap<Value>) -> Model {
    let mut pages = Model::new();
    let mut end = VirtAddr(0);
    for region in map.iter() {
        assert!(region.range.start() >= end, "sorted and disjoint");
        end = region.range.end();
        for page in 0..region.range.len_pages() {
            let value = region.value.advanced(page * PAGE_SIZE);
            pages.insert(region.range.start().0 / PAGE_SIZE + page, value);
        }
    }
    pages
}

/// Value of an object mapped at its own page numbers, so that neighbours may continue each other.
fn value(first: u64, object: u8, writable: bool) -> Value {
    Value {
        object,
        offset: first * PAGE_SIZE,
        writable,
    }
}

fn apply(map: &mut RegionMap<Value>, model: &mut Model, op: &Op) -> Result<(), VmError> {
    match *op {
        Op::Insert(first, len, object, writable) => {
            let taken = (first..first + len).any(|page| model.contains_key(&page));
            let result = map.insert(range(first, len), value(first, object, writable));
            if result != Err(VmError::BadRange) {
                assert_eq!(result == Err(VmError::Overlap), taken);
            }
            result?;
            model.extend((first..first + len).map(|page| (page, value(page, object, writable))));
        }
        Op::Remove(first, len) => {
            let mut removed = Model::new();
            map.remove(range(first, len), |region| {
                for page in 0..region.range.len_pages() {
                    let at = region.range.start().0 / PAGE_SIZE + page;
                    removed.insert(at, region.value.advanced(page * PAGE_SIZE));
                }
            })?;
            let (gone, kept): (Model, Model) = model
                .iter()
                .map(|(page, value)| (*page, *value))
                .partition(|(page, _)| (first..first + len).contains(page));
            assert_eq!(removed, gone);
            *model = kept;
        }
        Op::Protect(first, len, writable) => {
            let change = |value: Value| (value.object == 0).then_some(Value { writable, ..value });
            let result = map.update(range(first, len), change);
            let parts: Vec<_> = (first..first + len).map(|page| model.get(&page)).collect();
            let hole = parts.iter().any(|value| value.is_none());
            let refused = parts
                .iter()
                .any(|value| value.is_some_and(|value| value.object != 0));
            match result {
                Err(VmError::Hole) => assert!(hole),
                Err(VmError::Refused) => assert!(refused),
                Err(VmError::BadRange) => assert!(first + len > PAGES),
                _ => assert!(!hole && !refused),
            }
            result?;
            for page in first..first + len {
                model.get_mut(&page).unwrap().writable = writable;
            }
        }
        Op::Gap {
            hint,
            len,
            align,
            guard,
            from,
            to,
        } => {
            let Ok(within) =
                PageRange::between(VirtAddr(from * PAGE_SIZE), VirtAddr(to * PAGE_SIZE))
            else {
                return Ok(());
            };
            let found = map.find_gap(&GapRequest {
                len_bytes: len * PAGE_SIZE,
                align_bytes: PAGE_SIZE << align,
                hint: hint.map(|page| VirtAddr(page * PAGE_SIZE)),
                within,
                guard_bytes: guard * PAGE_SIZE,
            });
            let free = |&first: &u64| {
                first % (1 << align) == 0
                    && first >= from
                    && first + len <= to
                    && !(first.saturating_sub(guard)..first + len + guard)
                        .any(|page| model.contains_key(&page))
            };
            let expected = hint.filter(free).or_else(|| (0..PAGES).find(free));
            let expected = expected
                .map(|first| range(first, len))
                .ok_or(VmError::NoGap);
            assert_eq!(found, expected, "{op:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_a_value_per_page(ops in prop::collection::vec(op(), 0..60)) {
        let mut map = RegionMap::new(range(0, PAGES), REGIONS_MAX);
        let mut model = Model::new();
        for op in ops {
            let before = model.clone();
            let result = apply(&mut map, &mut model, &op);
            if result.is_err() {
                model = before;
            }
            prop_assert_eq!(&pages_of(&map), &model, "{:?} gave {:?}", op, result);
            prop_assert!(map.len() <= REGIONS_MAX);
            if result == Err(VmError::TooManyRegions) {
                prop_assert!(map.len() + 2 > REGIONS_MAX);
            }
            for page in 0..PAGES {
                let found = map.find(VirtAddr(page * PAGE_SIZE + 17));
                let value = found.map(|region| {
                    region.value.advanced(page * PAGE_SIZE - region.range.start().0)
                });
                prop_assert_eq!(value, model.get(&page).copied());
            }
        }
        prop_assert_eq!(pages_of(&map.try_clone().unwrap()), model);
    }
}

#[test]
fn neighbours_that_continue_each_other_merge() {
    let mut map = RegionMap::new(range(0, PAGES), 3);
    map.insert(range(0, 4), value(0, 0, true)).unwrap();
    map.insert(range(8, 4), value(8, 0, true)).unwrap();
    map.insert(range(4, 4), value(4, 0, true)).unwrap();
    assert_eq!(map.len(), 1);
    map.update(range(4, 4), |value| {
        Some(Value {
            writable: false,
            ..value
        })
    })
    .unwrap();
    assert_eq!(map.len(), 3);
    map.update(range(4, 4), |value| {
        Some(Value {
            writable: true,
            ..value
        })
    })
    .unwrap();
    assert_eq!(map.len(), 1);
    assert_eq!(map.pop().unwrap().range, range(0, 12));
    assert!(map.is_empty());
}

#[test]
fn splitting_beyond_the_limit_changes_nothing() {
    let mut map = RegionMap::new(range(0, PAGES), 2);
    map.insert(range(0, 10), value(0, 0, true)).unwrap();
    map.insert(range(20, 1), value(20, 0, true)).unwrap();
    let before = pages_of(&map);
    assert_eq!(
        map.remove(range(4, 1), |_| unreachable!()),
        Err(VmError::TooManyRegions)
    );
    assert_eq!(map.update(range(4, 1), Some), Err(VmError::TooManyRegions));
    assert_eq!(
        map.insert(range(30, 1), value(30, 0, true)),
        Err(VmError::TooManyRegions)
    );
    assert_eq!(pages_of(&map), before);
    // Continuing a region needs no room.
    map.insert(range(21, 1), value(21, 0, true)).unwrap();
    assert_eq!(map.len(), 2);
}

#[test]
fn malformed_gap_requests_are_refused() {
    let map = RegionMap::<Value>::new(range(0, PAGES), 1);
    let good = GapRequest {
        len_bytes: PAGE_SIZE,
        align_bytes: PAGE_SIZE,
        hint: None,
        within: range(0, PAGES),
        guard_bytes: 0,
    };
    let find = |request| map.find_gap(&request);
    assert_eq!(find(good), Ok(range(0, 1)));
    assert_eq!(
        find(GapRequest {
            len_bytes: 0,
            ..good
        }),
        Err(VmError::BadRange)
    );
    assert_eq!(
        find(GapRequest {
            len_bytes: 5,
            ..good
        }),
        Err(VmError::BadRange)
    );
    assert_eq!(
        find(GapRequest {
            align_bytes: 3,
            ..good
        }),
        Err(VmError::BadRange)
    );
    assert_eq!(
        find(GapRequest {
            align_bytes: 1,
            ..good
        }),
        Err(VmError::BadRange)
    );
    assert_eq!(
        find(GapRequest {
            guard_bytes: 1,
            ..good
        }),
        Err(VmError::BadRange)
    );
    assert_eq!(
        find(GapRequest {
            within: range(PAGES, 1),
            ..good
        }),
        Err(VmError::BadRange)
    );
    let huge = !(PAGE_SIZE - 1);
    assert_eq!(
        find(GapRequest {
            len_bytes: huge,
            ..good
        }),
        Err(VmError::NoGap)
    );
    assert_eq!(
        find(GapRequest {
            align_bytes: 1 << 63,
            ..good
        }),
        Ok(range(0, 1))
    );
    assert_eq!(
        find(GapRequest {
            guard_bytes: huge,
            ..good
        }),
        Ok(range(0, 1))
    );
    assert_eq!(
        find(GapRequest {
            hint: Some(VirtAddr(huge)),
            ..good
        }),
        Ok(range(0, 1))
    );
}
