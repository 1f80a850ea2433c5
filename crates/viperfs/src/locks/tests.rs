use super::*;
use proptest::prelude::*;

fn lock(owner: u64, kind: LockKind, start: u64, end: u64) -> Lock {
    Lock {
        owner,
        pid: owner as u32,
        kind,
        start,
        end,
    }
}

use LockKind::{Exclusive, Shared};

#[test]
fn ranges_split_and_merge() {
    let mut t = LockTable::new(100);
    t.set(1, lock(1, Exclusive, 0, 99)).unwrap();
    t.unlock(1, 1, 40, 59).unwrap();
    assert_eq!(
        t.locks(1),
        [lock(1, Exclusive, 0, 39), lock(1, Exclusive, 60, 99)]
    );
    t.set(1, lock(1, Shared, 30, 69)).unwrap();
    assert_eq!(
        t.locks(1),
        [
            lock(1, Exclusive, 0, 29),
            lock(1, Shared, 30, 69),
            lock(1, Exclusive, 70, 99)
        ]
    );
    t.set(1, lock(1, Exclusive, 30, 69)).unwrap();
    assert_eq!(t.locks(1), [lock(1, Exclusive, 0, 99)]);
    t.set(1, lock(1, Exclusive, 100, u64::MAX)).unwrap();
    assert_eq!(t.locks(1), [lock(1, Exclusive, 0, u64::MAX)]);
    t.unlock(1, 1, 0, u64::MAX).unwrap();
    assert!(t.locks(1).is_empty() && t.held == 0);
}

#[test]
fn conflicts_name_who_is_in_the_way() {
    let mut t = LockTable::new(100);
    t.set(1, lock(1, Shared, 0, 9)).unwrap();
    t.set(1, lock(2, Shared, 5, 20)).unwrap();
    let blocked = t.set(1, lock(3, Exclusive, 15, 15));
    assert_eq!(blocked, Err(LockError::Conflict(lock(2, Shared, 5, 20))));
    // Another file is another matter; one's own lock is no obstacle.
    t.set(2, lock(3, Exclusive, 15, 15)).unwrap();
    t.set(1, lock(2, Exclusive, 15, 15)).unwrap();
    assert_eq!(
        t.test(1, &lock(1, Shared, 15, 15)).map(|l| l.owner),
        Some(2)
    );
    assert_eq!(t.set(1, lock(1, Shared, 9, 8)), Err(LockError::Invalid));
}

#[test]
fn waiters_are_served_in_order_and_deadlocks_told() {
    let mut t = LockTable::new(100);
    t.set(1, lock(1, Exclusive, 0, 0)).unwrap();
    t.set(2, lock(2, Exclusive, 0, 0)).unwrap();
    t.set(3, lock(3, Exclusive, 0, 0)).unwrap();
    let Ok(Wait::Queued(a)) = t.wait(2, lock(1, Exclusive, 0, 0)) else {
        panic!("should wait");
    };
    let Ok(Wait::Queued(b)) = t.wait(3, lock(2, Exclusive, 0, 0)) else {
        panic!("should wait");
    };
    assert_eq!(t.wait(1, lock(3, Shared, 0, 0)), Err(LockError::Deadlock));
    assert_eq!(t.next_granted(), None);
    t.release_owner(3);
    assert_eq!((t.next_granted(), t.next_granted()), (Some(b), None));
    t.release(2, 2);
    assert_eq!(t.next_granted(), Some(a));
    assert_eq!(t.wait(9, lock(7, Shared, 0, 1)), Ok(Wait::Granted));
    assert!(!t.cancel(a));
}

#[test]
fn the_table_has_an_end() {
    let mut t = LockTable::new(3);
    for i in 0..3 {
        t.set(1, lock(1, Exclusive, i * 10, i * 10 + 4)).unwrap();
    }
    assert_eq!(t.set(1, lock(1, Exclusive, 50, 50)), Err(LockError::Full));
    assert_eq!(t.unlock(1, 1, 1, 2), Err(LockError::Full));
    t.unlock(1, 1, 0, 4).unwrap();
    t.set(2, lock(1, Exclusive, 50, 50)).unwrap();
    t.release_owner(1);
    assert_eq!(t.held, 0);
}

proptest! {
    /// Against one byte per byte: who holds it, and how.
    #[test]
    fn agrees_with_a_map_of_bytes(
        ops in prop::collection::vec((0u64..3, 0u8..3, 0u64..24, 0u64..24), 1..60)
    ) {
        let mut table = LockTable::new(1000);
        let mut bytes: Vec<BTreeMap<u64, LockKind>> = vec![BTreeMap::new(); 24];
        for (owner, what, a, b) in ops {
            let (start, end) = (a.min(b), a.max(b));
            let range = start as usize..=end as usize;
            let kind = if what == 1 { Shared } else { Exclusive };
            if what == 0 {
                table.unlock(1, owner, start, end).unwrap();
                bytes[range].iter_mut().for_each(|m| { m.remove(&owner); });
                continue;
            }
            let free = bytes[range.clone()].iter().all(|m| m.iter().all(|(&o, &k)| {
                o == owner || (k == Shared && kind == Shared)
            }));
            let got = table.set(1, lock(owner, kind, start, end));
            prop_assert_eq!(got.is_ok(), free);
            if free {
                bytes[range].iter_mut().for_each(|m| { m.insert(owner, kind); });
            }
            // Held ranges are what the bytes say, and no two of them could be one.
            let mut shown: Vec<BTreeMap<u64, LockKind>> = vec![BTreeMap::new(); 24];
            for l in table.locks(1) {
                for at in l.start..=l.end {
                    prop_assert!(shown[at as usize].insert(l.owner, l.kind).is_none());
                }
                let next = |m: &&Lock| (m.owner, m.kind, m.start) == (l.owner, l.kind, l.end + 1);
                prop_assert!(table.locks(1).iter().find(next).is_none());
            }
            prop_assert_eq!(&shown, &bytes);
        }
        prop_assert_eq!(table.held, table.locks(1).len());
    }
}
