//! What the space promises, one promise at a time, through the public interface.

use viper_cap::{CapError, CapSpace, Handle, Limits, Parked, Rights, TableId};

const R: Rights = Rights::from_bits(1);
const RW: Rights = Rights::from_bits(3);

fn space_with_tables<const N: usize>(live_max: u32) -> (CapSpace<u32>, [TableId; N]) {
    let mut space = CapSpace::new().unwrap();
    let tables = [(); N].map(|()| space.create_table(Limits::live(live_max)).unwrap());
    (space, tables)
}

fn revoke_all(space: &mut CapSpace<u32>, table: TableId, handle: Handle) -> Vec<u32> {
    let mut ended = Vec::new();
    let count = space
        .revoke(table, handle, |object| ended.push(object))
        .unwrap();
    assert_eq!(count, ended.len());
    ended.sort_unstable();
    ended
}

#[test]
fn no_made_up_handle_resolves() {
    let (mut space, [table]) = space_with_tables(8);
    let only = space.insert_root(table, 1, RW).unwrap();
    for generation in 0..=255u32 {
        for index in [0, 1, 2, 7, 8, 0xFF_FFFE, 0xFF_FFFF] {
            let handle = Handle::from_raw(generation << 24 | index);
            assert_eq!(space.query(table, handle).is_ok(), handle == only);
        }
    }
    assert_eq!(
        space.query(table, Handle::INVALID),
        Err(CapError::BadHandle)
    );
    assert_eq!(
        space.query(table, Handle::from_raw(0)),
        Err(CapError::BadHandle)
    );
}

#[test]
fn a_slot_serves_255_handles_and_retires() {
    let mut space = CapSpace::new().unwrap();
    let table = space
        .create_table(Limits {
            live_max: 5,
            slots_max: 2,
        })
        .unwrap();
    let mut handles = Vec::new();
    for round in 0..2 * 255u32 {
        let handle = space.insert_root(table, round, R).unwrap();
        assert_eq!(space.close(table, handle), Ok(round));
        handles.push(handle);
    }
    assert_eq!(space.table(table).unwrap().retired(), 2);
    assert_eq!(space.insert_root(table, 0, R), Err(CapError::TableFull));
    assert!(
        handles
            .iter()
            .all(|&handle| space.query(table, handle).is_err())
    );
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), 2 * 255);
}

#[test]
fn retired_slots_do_not_count_as_live() {
    let (mut space, [table]) = space_with_tables(1);
    for round in 0..10_000 {
        let handle = space.insert_root(table, round, R).unwrap();
        assert_eq!(space.insert_root(table, round, R), Err(CapError::TableFull));
        space.close(table, handle).unwrap();
    }
    assert_eq!(space.table(table).unwrap().retired(), 10_000 / 255);
}

#[test]
fn rights_only_shrink() {
    let (mut space, [a, b]) = space_with_tables(8);
    let root = space.insert_root(a, 1, RW).unwrap();
    let less = space.copy(a, root, b, R).unwrap();
    assert_eq!(space.derive(b, less, RW), Err(CapError::RightsExceeded));
    assert_eq!(
        space.mint(b, less, a, 9, Rights::ALL),
        Err(CapError::RightsExceeded)
    );
    let moved = space.transfer(b, less, a).unwrap();
    assert_eq!(space.query(a, moved).unwrap().rights, R);
    assert_eq!(
        space.table(a).unwrap().require(moved, RW),
        Err(CapError::RightsMissing)
    );
    assert!(space.derive(a, moved, Rights::NONE).is_ok());
    assert_eq!(space.len(), 3);
}

#[test]
fn revocation_reaches_through_tables_and_moves() {
    let (mut space, [a, b, c]) = space_with_tables(8);
    let root = space.insert_root(a, 0, RW).unwrap();
    let other = space.insert_root(a, 100, RW).unwrap();
    let child = space.mint(a, root, b, 1, RW).unwrap();
    let grandchild = space.mint(b, child, c, 2, R).unwrap();
    let moved = space.transfer(b, child, c).unwrap();
    let late = space.mint(c, moved, a, 3, R).unwrap();
    let parked = space.park(c, &[grandchild]).unwrap();
    assert_eq!(revoke_all(&mut space, a, root), [1, 2, 3]);
    assert!(space.query(c, moved).is_err() && space.query(a, late).is_err());
    assert!(space.parked(&parked, 0).is_none());
    assert!(space.query(a, root).is_ok() && space.query(a, other).is_ok());
    space.drop_parked(parked, |_| panic!("it ended already"));
    assert!(space.is_consistent());
}

#[test]
fn children_of_a_closed_capability_belong_to_its_parent() {
    let (mut space, [a, b]) = space_with_tables(8);
    let root = space.insert_root(a, 0, RW).unwrap();
    let middle = space.mint(a, root, b, 1, RW).unwrap();
    let low = space.mint(b, middle, a, 2, R).unwrap();
    let sibling = space.mint(a, root, a, 3, R).unwrap();
    assert_eq!(space.close(b, middle), Ok(1));
    assert!(revoke_all(&mut space, a, sibling).is_empty());
    assert_eq!(revoke_all(&mut space, a, root), [2, 3]);
    assert!(space.query(a, low).is_err());

    let orphan = space.mint(a, root, b, 4, R).unwrap();
    space.close(a, root).unwrap();
    assert_eq!(space.query(b, orphan).unwrap().object, 4);
    assert!(space.is_consistent());
}

#[test]
fn revocation_in_steps_ends_each_once() {
    let (mut space, [a, b]) = space_with_tables(1000);
    let root = space.insert_root(a, 0, RW).unwrap();
    let mut at = (a, root);
    for object in 1..=100 {
        let to = if object % 2 == 0 { a } else { b };
        at = (to, space.mint(at.0, at.1, to, object, RW).unwrap());
    }
    let mut ended = Vec::new();
    for step in 1..=10 {
        let result = space
            .revoke_step(a, root, 10, |object| ended.push(object))
            .unwrap();
        assert_eq!((result.count, result.is_done), (10, step == 10));
        assert!(space.is_consistent());
    }
    // Each ends before what was derived from it.
    assert_eq!(ended, (1..=100).collect::<Vec<_>>());
    let nothing = space.revoke_step(a, root, 0, |_| ()).unwrap();
    assert!(nothing.is_done && nothing.count == 0);
}

#[test]
fn a_move_of_several_is_all_or_nothing() {
    let (mut space, [a, b]) = space_with_tables(6);
    let handles: Vec<_> = (0..5)
        .map(|object| space.insert_root(a, object, R).unwrap())
        .collect();
    for object in 10..13 {
        space.insert_root(b, object, R).unwrap();
    }
    let refused = [
        (handles[..5].to_vec(), CapError::TooManyHandles),
        (handles[..4].to_vec(), CapError::TableFull),
        (
            vec![handles[0], handles[1], handles[0]],
            CapError::DuplicateHandle,
        ),
        (vec![handles[0], Handle::INVALID], CapError::BadHandle),
    ];
    for (handles, error) in refused {
        assert_eq!(space.transfer_many(a, &handles, b), Err(error));
        assert_eq!(
            (space.table(a).unwrap().len(), space.table(b).unwrap().len()),
            (5, 3)
        );
    }
    let moved = space.transfer_many(a, &handles[..3], b).unwrap();
    assert_eq!(moved[3], Handle::INVALID);
    for object in 0..3 {
        assert_eq!(space.query(b, moved[object]).unwrap().object, object as u32);
        assert!(space.query(a, handles[object]).is_err());
    }
    assert!(space.transfer_many(a, &[], b).is_ok());
}

#[test]
fn a_full_receiver_leaves_the_message_whole() {
    let (mut space, [a, b]) = space_with_tables(2);
    let handles = [1, 2].map(|object| space.insert_root(a, object, R).unwrap());
    let taken = space.insert_root(b, 3, R).unwrap();
    let mut parked = space.park(a, &handles).unwrap();
    assert!(space.table(a).unwrap().is_empty());
    assert_eq!(space.unpark(&mut parked, b), Err(CapError::TableFull));
    assert_eq!(parked.len(), 2);
    space.close(b, taken).unwrap();
    let arrived = space.unpark(&mut parked, b).unwrap();
    assert_eq!(parked, Parked::EMPTY);
    assert_eq!(space.query(b, arrived[1]).unwrap().object, 2);
    let mut ended = Vec::new();
    let parked = space.park(b, &arrived[..2]).unwrap();
    space.drop_parked(parked, |object| ended.push(object));
    assert_eq!(ended, [1, 2]);
    assert!(space.is_empty() && space.is_consistent());
}

#[test]
fn a_capability_revoked_on_its_way_arrives_as_invalid() {
    let (mut space, [a, b]) = space_with_tables(4);
    let root = space.insert_root(a, 1, R).unwrap();
    let lent = space.derive(a, root, R).unwrap();
    let own = space.insert_root(a, 2, R).unwrap();
    let mut parked = space.park(a, &[lent, own]).unwrap();
    assert_eq!(revoke_all(&mut space, a, root), [1]);
    let arrived = space.unpark(&mut parked, b).unwrap();
    assert_eq!(arrived[0], Handle::INVALID);
    assert_eq!(space.query(b, arrived[1]).unwrap().object, 2);
}

#[test]
fn messages_cost_no_slots_in_the_long_run() {
    let (mut space, [a]) = space_with_tables(4);
    let kept = space.insert_root(a, 1, R).unwrap();
    for _ in 0..100_000 {
        let copy = space.derive(a, kept, R);
        let Ok(copy) = copy else { panic!("{copy:?}") };
        let parked = space.park(a, &[copy]).unwrap();
        space.drop_parked(parked, |_| ());
    }
    // The sender's handles are spent, those of the messages are not.
    let retired = space.table(a).unwrap().retired();
    assert_eq!(retired, 100_000 / 255);
    assert!(space.is_consistent());
}

#[test]
fn a_destroyed_table_is_gone_for_good() {
    let (mut space, [a, b]) = space_with_tables(100);
    let root = space.insert_root(a, 0, RW).unwrap();
    let middle = space.mint(a, root, b, 1, RW).unwrap();
    let low = space.mint(b, middle, a, 2, R).unwrap();
    for object in 3..40 {
        space.insert_root(b, object, R).unwrap();
    }
    let mut ended = Vec::new();
    let first = space
        .destroy_table_step(b, 5, |object| ended.push(object))
        .unwrap();
    assert!(!first.is_done);
    // From now on nothing gets in or out, but revocation still reaches what is left.
    assert_eq!(space.query(b, middle), Err(CapError::BadTable));
    assert_eq!(space.transfer(a, root, b), Err(CapError::BadTable));
    assert_eq!(space.insert_root(b, 0, R), Err(CapError::BadTable));
    assert_eq!(revoke_all(&mut space, a, root), [1, 2]);
    assert!(space.query(a, low).is_err());
    space.destroy_table(b, |object| ended.push(object)).unwrap();
    ended.sort_unstable();
    assert_eq!(ended, (3..40).collect::<Vec<_>>());

    let again = space.create_table(Limits::live(1)).unwrap();
    assert_eq!(again.index(), b.index());
    assert_ne!(again, b);
    assert!(space.table(b).is_err() && space.destroy_table(b, |_| ()).is_err());
    assert!(space.table(again).unwrap().is_empty() && space.is_consistent());
}

#[test]
fn reserved_room_is_there() {
    let (mut space, [a]) = space_with_tables(10);
    space.reserve(a, 10).unwrap();
    let bytes = space.table(a).unwrap().size_bytes();
    for object in 0..10 {
        space.insert_root(a, object, R).unwrap();
    }
    assert_eq!(space.table(a).unwrap().size_bytes(), bytes);
    assert_eq!(space.reserve(a, 1), Err(CapError::TableFull));
    assert_eq!(space.reserve(a, usize::MAX), Err(CapError::TableFull));
}

#[test]
fn a_table_lists_in_steps() {
    let (mut space, [a]) = space_with_tables(10);
    let handles: Vec<_> = (0..6)
        .map(|object| space.insert_root(a, object, R).unwrap())
        .collect();
    space.close(a, handles[2]).unwrap();
    let table = space.table(a).unwrap();
    let all: Vec<_> = table.iter().map(|(_, entry)| entry.object).collect();
    assert_eq!(all, [0, 1, 3, 4, 5]);
    let (first, _) = table.iter().nth(1).unwrap();
    let rest: Vec<_> = table
        .iter_from(first.index() + 1)
        .map(|(handle, _)| handle)
        .collect();
    assert_eq!(rest, handles[3..]);
    assert_eq!(table.iter_from(u32::MAX).count(), 0);
}

#[test]
fn objects_keep_a_move_within_one_table_apart_from_a_copy() {
    let (mut space, [a]) = space_with_tables(2);
    let first = space.insert_root(a, 7, R).unwrap();
    let second = space.transfer(a, first, a).unwrap();
    assert_ne!(first, second);
    assert!(space.query(a, first).is_err());
    assert_eq!(space.query(a, second).unwrap().object, 7);
    assert_eq!(space.len(), 1);
}

#[test]
fn a_lowered_limit_keeps_what_there_is_and_refuses_more() {
    let mut space = CapSpace::new().unwrap();
    let table = space.create_table(Limits::live(10)).unwrap();
    for object in 0..4 {
        space.insert_root(table, object, Rights::ALL).unwrap();
    }
    space.lower_limit(table, 5).unwrap();
    space.lower_limit(table, 8).unwrap();
    let fifth = space.insert_root(table, 4, Rights::ALL).unwrap();
    let full = space.insert_root(table, 5, Rights::ALL);
    assert_eq!(full, Err(CapError::TableFull));
    space.lower_limit(table, 2).unwrap();
    space.close(table, fifth).unwrap();
    assert_eq!(space.table(table).unwrap().len(), 4);
    assert!(space.insert_root(table, 5, Rights::ALL).is_err());
}
