//! The ticket lock excludes, and what was done under it is seen.

use loom::sync::Arc;
use loom::thread;
use viper_sync::{SpinHint, TicketLock};

use crate::model;

#[test]
fn ticket_lock_excludes() {
    model(4, || {
        let lock = Arc::new(TicketLock::<_, SpinHint>::new(0));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let lock = lock.clone();
                thread::spawn(move || *lock.lock() += 1)
            })
            .collect();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn ticket_lock_tries() {
    model(4, || {
        let lock = Arc::new(TicketLock::<_, SpinHint>::new(0));
        let other = {
            let lock = lock.clone();
            thread::spawn(move || lock.try_lock().map(|mut count| *count += 1).is_some())
        };
        *lock.lock() += 1;
        let both = other.join().unwrap();
        assert_eq!(*lock.lock(), 1 + i32::from(both));
        assert!(!lock.is_locked());
    });
}
