//! What the scheduler promises, one promise at a time.

use viper_sched::{
    CORES_MAX, CoreId, CoreMask, PRIORITIES, Priority, SchedError, Scheduler, ThreadId, ThreadState,
};

const SLICE_NS: u64 = 1000;
const A: ThreadId = ThreadId(0);
const B: ThreadId = ThreadId(1);
const C: ThreadId = ThreadId(2);

fn core(index: usize) -> CoreId {
    CoreId::new(index).unwrap()
}

fn priority(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

/// Threads A, B, ... with these priorities, blocked.
fn sched(core_count: usize, levels: &[u8]) -> Scheduler {
    let mut sched = Scheduler::new(core_count, [SLICE_NS; PRIORITIES]).unwrap();
    for (index, &level) in levels.iter().enumerate() {
        sched
            .add(ThreadId(index as u32), priority(level), CoreMask::ALL)
            .unwrap();
    }
    sched
}

/// Wakes a thread and has the core that is asked reschedule.
fn run(sched: &mut Scheduler, id: ThreadId, now_ns: u64) {
    if let Some(core) = sched.wake(id).unwrap() {
        let _ = sched.reschedule(core, now_ns);
    }
}

#[test]
fn misuse_is_an_error_and_changes_nothing() {
    assert_eq!(Scheduler::new(0, [0; 8]).err(), Some(SchedError::CoreCount));
    assert_eq!(
        Scheduler::new(CORES_MAX + 1, [0; 8]).err(),
        Some(SchedError::CoreCount)
    );
    let mut sched = sched(2, &[1]);
    let high = Priority::HIGHEST;
    assert_eq!(
        sched.add(A, high, CoreMask::ALL),
        Err(SchedError::ThreadExists)
    );
    assert_eq!(sched.add(B, high, CoreMask::NONE), Err(SchedError::NoCore));
    assert_eq!(
        sched.add(B, high, CoreMask(0b1100)),
        Err(SchedError::NoCore)
    );
    assert_eq!(sched.wake(B), Err(SchedError::NoThread));
    assert_eq!(sched.wake(ThreadId(u32::MAX)), Err(SchedError::NoThread));
    assert_eq!(
        sched.set_affinity(A, CoreMask(0b1100)),
        Err(SchedError::NoCore)
    );
    assert_eq!(sched.affinity(A), Ok(CoreMask(0b11)));
    sched.wake(A).unwrap();
    assert_eq!(sched.wake(A), Err(SchedError::WrongState));
    sched.remove(A).unwrap();
    assert_eq!(sched.remove(A), Err(SchedError::NoThread));
    assert!(sched.is_consistent());
}

#[test]
fn a_core_beyond_the_count_never_gets_a_thread() {
    let mut sched = sched(1, &[1, 1]);
    run(&mut sched, A, 0);
    sched.wake(B).unwrap();
    assert_eq!(sched.reschedule(core(5), 0).thread, None);
    assert_eq!(sched.block(core(5)), None);
    assert!(!sched.hand_over(core(5), B));
}

#[test]
fn a_higher_priority_preempts_and_the_interrupted_one_comes_first_again() {
    let mut sched = sched(1, &[3, 3, 5]);
    run(&mut sched, A, 0);
    assert_eq!(sched.wake(B), Ok(None));
    assert_eq!(sched.wake(C), Ok(Some(core(0))));
    assert_eq!(sched.reschedule(core(0), 400).thread, Some(C));
    sched.block(core(0));
    assert_eq!(sched.reschedule(core(0), 500).thread, Some(A));
    // A goes on with the 600 that were left of its turn.
    assert_eq!(sched.slice_end_ns(core(0)), Some(500 + 600));
    assert_eq!(sched.reschedule(core(0), 1099).thread, Some(A));
    assert_eq!(sched.reschedule(core(0), 1100).thread, Some(B));
}

#[test]
fn an_interrupted_thread_keeps_its_place_in_line_on_all_cores() {
    let mut sched = sched(2, &[3, 5, 5]);
    let waiting = ThreadId(3);
    sched
        .add(waiting, priority(3), CoreMask::only(core(1)))
        .unwrap();
    sched.set_affinity(B, CoreMask::only(core(1))).unwrap();
    run(&mut sched, A, 0);
    run(&mut sched, B, 0);
    assert_eq!(sched.wake(waiting), Ok(None));
    // C interrupts A on core 0. A has had its place since before the other one came.
    run(&mut sched, C, 400);
    assert_eq!(sched.state(A), Ok(ThreadState::Queued(core(0))));
    assert_eq!(sched.state(waiting), Ok(ThreadState::Queued(core(1))));
    sched.block(core(1));
    assert_eq!(sched.reschedule(core(1), 500).thread, Some(A));
    assert_eq!(sched.slice_end_ns(core(1)), Some(500 + 600));
}

#[test]
fn a_turn_is_renewed_when_nobody_waits() {
    let mut sched = sched(1, &[3, 2]);
    run(&mut sched, A, 0);
    sched.wake(B).unwrap();
    assert_eq!(sched.reschedule(core(0), SLICE_NS).thread, Some(A));
    assert_eq!(sched.slice_end_ns(core(0)), Some(2 * SLICE_NS));
    sched.end_slice(core(0));
    assert!(sched.needs_reschedule(core(0)));
    assert_eq!(sched.reschedule(core(0), SLICE_NS + 1).thread, Some(A));
}

#[test]
fn each_priority_has_its_own_length_of_a_turn() {
    let slices = [80, 70, 60, 50, 40, 30, 20, 10];
    let mut sched = Scheduler::new(1, slices).unwrap();
    for level in 0..PRIORITIES as u8 {
        let id = ThreadId(u32::from(level));
        sched.add(id, priority(level), CoreMask::ALL).unwrap();
        run(&mut sched, id, 1000);
        assert_eq!(
            sched.slice_end_ns(core(0)),
            Some(1000 + slices[usize::from(level)])
        );
    }
}

#[test]
fn a_woken_thread_goes_where_it_was_then_to_an_idle_core_then_to_the_least_important() {
    let mut sched = sched(2, &[4, 4, 4, 2]);
    let low = ThreadId(3);
    run(&mut sched, A, 0);
    run(&mut sched, B, 0);
    assert_eq!(sched.running(core(0)), Some(A));
    assert_eq!(sched.running(core(1)), Some(B));

    // B was on core 1, and core 1 idles.
    sched.block(core(1));
    let _ = sched.reschedule(core(1), 0);
    assert_eq!(sched.place(B), Ok(core(1)));
    // C was made for core 0, which has something as important to do; core 1 idles.
    assert_eq!(sched.place(C), Ok(core(1)));
    // Something less important runs on core 1.
    run(&mut sched, low, 0);
    assert_eq!(sched.running(core(1)), Some(low));
    assert_eq!(sched.place(C), Ok(core(1)));
    assert!(sched.should_preempt(core(1), priority(3)));
    assert!(!sched.should_preempt(core(1), priority(2)));
    // Only core 0 is allowed.
    sched.set_affinity(C, CoreMask::only(core(0))).unwrap();
    assert_eq!(sched.place(C), Ok(core(0)));
}

#[test]
fn an_idle_core_takes_work_from_another() {
    let mut sched = sched(2, &[1, 1, 1]);
    for id in [A, B, C] {
        run(&mut sched, id, 0);
    }
    let ThreadState::Queued(queue) = sched.state(C).unwrap() else {
        panic!("both cores run")
    };
    let other = core(1 - queue.index());
    sched.block(other);
    assert_eq!(sched.reschedule(other, 0).thread, Some(C));
    assert_eq!(sched.queued(queue), 0);
}

#[test]
fn donation_moves_a_queued_thread_up_and_back_down() {
    let mut sched = sched(1, &[3, 1]);
    run(&mut sched, A, 0);
    assert_eq!(sched.wake(B), Ok(None));
    assert_eq!(sched.set_donated(B, Some(priority(6))), Ok(Some(core(0))));
    assert_eq!(sched.priority(B), Ok(priority(6)));
    assert_eq!(sched.reschedule(core(0), 0).thread, Some(B));
    assert_eq!(sched.set_donated(B, None), Ok(Some(core(0))));
    assert_eq!(sched.reschedule(core(0), 0).thread, Some(A));
    // Less than its own does nothing.
    assert_eq!(sched.set_donated(A, Some(priority(0))), Ok(None));
    assert_eq!(sched.priority(A), Ok(priority(3)));
    assert!(sched.is_consistent());
}

#[test]
fn a_core_is_named_once_until_it_has_rescheduled() {
    let mut sched = sched(1, &[1, 2]);
    assert_eq!(sched.wake(A), Ok(Some(core(0))));
    assert_eq!(sched.wake(B), Ok(None));
    assert!(sched.needs_reschedule(core(0)));
    assert_eq!(sched.reschedule(core(0), 0).thread, Some(B));
    assert!(!sched.needs_reschedule(core(0)));
}

#[test]
fn hand_over_is_refused_when_the_queues_say_otherwise() {
    let mut sched = sched(1, &[5, 2, 3]);
    run(&mut sched, A, 0);
    assert_eq!(sched.wake(C), Ok(None));
    // C is more important than B and waits.
    assert!(!sched.hand_over(core(0), B));
    assert_eq!(sched.running(core(0)), Some(A));
    // With A's priority B is not less important.
    sched.set_donated(B, Some(priority(5))).unwrap();
    assert!(sched.hand_over(core(0), B));
    assert_eq!(sched.state(A), Ok(ThreadState::Blocked));
    // C is queued, not blocked; nobody can hand over to it.
    assert!(!sched.hand_over(core(0), C));
    // When a turn that was handed on ends, it ends for the one who has it.
    assert!(sched.hand_over(core(0), A));
    assert_eq!(sched.slice_end_ns(core(0)), Some(SLICE_NS));
    assert!(sched.is_consistent());
}

#[test]
fn removing_and_moving_a_running_thread_asks_its_core() {
    let mut sched = sched(2, &[1, 1]);
    run(&mut sched, A, 0);
    run(&mut sched, B, 0);
    assert_eq!(
        sched.set_affinity(A, CoreMask::only(core(1))),
        Ok(Some(core(0)))
    );
    assert_eq!(sched.reschedule(core(0), 0).thread, None);
    assert_eq!(sched.state(A), Ok(ThreadState::Queued(core(1))));
    assert_eq!(sched.remove(B), Ok(Some(core(1))));
    assert_eq!(sched.reschedule(core(1), 0).thread, Some(A));
    assert_eq!(sched.suspend(A), Ok(Some(core(1))));
    assert_eq!(sched.reschedule(core(1), 0).thread, None);
    assert!(sched.is_consistent());
}

#[test]
fn ids_and_masks_stay_in_range() {
    assert_eq!(CoreId::new(8), None);
    assert_eq!(Priority::new(8), None);
    assert_eq!(CoreMask::first(3), CoreMask(0b111));
    assert_eq!(CoreMask::first(9), CoreMask::ALL);
    assert_eq!(
        CoreMask::only(core(7)).iter().collect::<Vec<_>>(),
        [core(7)]
    );
    assert!(CoreMask(0b10).intersection(CoreMask(0b01)).is_empty());
}
